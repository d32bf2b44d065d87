"""The tables of docs/atlas.md: what padding reaches in common networks, one process for each, random weights unless said otherwise.

    python docs/data/atlas.py                        # looks at the networks that are missing, then writes the page
    python docs/data/atlas.py --photos nature        # and the effective halo of MobileNetV2 with ImageNet weights
    python docs/data/atlas.py --page                 # the page alone, of what is there

A run that was stopped goes on where it was: each network adds a line to atlas.jsonl as soon as its geometry is known, and another with its
pattern, after all geometries.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blocks import markdown, write

HERE = Path(__file__).parent
FILE, PAGE = HERE / "atlas.jsonl", HERE.parent / "atlas.md"
SECONDS = 600
"""Of processor time for each network."""
LARGEST = 1024
"""px: larger scenes are not run, so that those layers have a geometry and no pattern."""
TILES = (512, 1024, 2048)
"""px, of which the structural halo is told: of the first that has room for it."""
TOLERANCES = (0.1, 0.05, 0.01)

CLASSIFIERS = """
torchvision:resnet18 torchvision:alexnet torchvision:squeezenet1_1 torchvision:resnet50 timm:resnet50d torchvision:mobilenet_v2
torchvision:vgg16_bn torchvision:resnet34 torchvision:convnext_tiny timm:repvgg_a0 torchvision:shufflenet_v2_x1_0 torchvision:mnasnet1_0
torchvision:regnet_x_400mf timm:tf_efficientnet_lite0 timm:darknet53 torchvision:googlenet torchvision:efficientnet_b0
torchvision:mobilenet_v3_small torchvision:densenet121 torchvision:regnet_y_400mf timm:hrnet_w18_small timm:dla34 timm:convnextv2_atto
torchvision:resnext50_32x4d torchvision:inception_v3 timm:seresnet18 timm:res2net50_26w_4s timm:resnetv2_50x1_bit timm:ghostnet_100
torchvision:mobilenet_v3_large torchvision:efficientnet_v2_s timm:cspdarknet53 timm:mixnet_s timm:ese_vovnet19b_slim_dw
torchvision:resnet101 timm:rexnet_100 timm:skresnet18 timm:nf_resnet26
""".split()  # noqa: SIM905
DENSE = """
smp:Unet monai:BasicUNet torchvision:segmentation.fcn_resnet50 smp:DeepLabV3Plus smp:FPN monai:UNet smp:UnetPlusPlus
torchvision:segmentation.lraspp_mobilenet_v3_large smp:Linknet monai:DynUNet torchvision:segmentation.deeplabv3_resnet50 smp:PAN
monai:SegResNet smp:PSPNet
""".split()  # noqa: SIM905
TRAINED = "torchvision:mobilenet_v2, ImageNet weights"


def names() -> list[str]:
    """Every network, two classifiers and a dense one by turns, so that a part of the atlas has both."""
    dense = iter(DENSE)
    found = []
    for i, name in enumerate(CLASSIFIERS):
        found += [name, *([next(dense, "")] if i % 2 else [])]
    return [name for name in [*found, *dense] if name]


# ---------------------------------------------------------------------------------------------------- one network


def built(name: str) -> tuple[Any, int]:
    """A network with random weights, and an input size that it takes, px."""
    sys.path.insert(0, str(HERE.parent.parent / "benchmarks"))
    import torch

    from survey import CROPS, build

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = build(name).eval()
    for crop in sorted(CROPS, key=lambda size: size != 224):
        try:
            with torch.no_grad():
                net(torch.zeros(1, 3, crop, crop))
            break
        except Exception:  # noqa: BLE001, S112  # a network may raise anything at a size it does not take
            continue
    return net, crop


def look(name: str) -> dict[str, Any]:
    """The geometry of a network."""
    import padprint

    net, crop = built(name)
    geometry = padprint.trace(net, crop=crop)
    found: dict[str, Any] = {"name": name, "crop": crop, "layers": {}}
    for layer, one in geometry.items():
        plain = {key: getattr(one, key) for key in ("stride", "size", "receptive_field", "rim", "reach", "exact")}
        found["layers"][layer] = plain | {
            "sees_all_through": len(one.sees_all_through),
            "reason": one.reason and str(one.reason),
        }
    known = [layer for layer, one in geometry.items() if one.margin is not None]
    if not known:
        return found
    found["smallest"] = geometry.smallest_image()
    found["misaligned"] = max((max(one.pixels) for one in geometry.misaligned), default=0)
    strides = padprint.inspect(net, crop)
    found["uneven"] = sum(not one.even for one in strides.strided), len(strides.strided)
    found["even"] = strides.even.below, strides.even.above
    for tile in TILES:
        try:
            halo = padprint.overlap.structural(net, known[-1], tile)
        except padprint.PadprintError as error:
            found["no halo"] = str(error)
            break
        found["halo"] = {
            "px": halo.pixels,
            "cells": halo.need[known[-1]],
            "tile": tile,
            "room": halo.tiling is not None,
        }
        if halo.tiling is not None:
            break
    return found


def depths(one: dict[str, Any]) -> dict[str, Any]:
    """The pattern of a network whose geometry is known."""
    import torch

    import padprint
    from padprint.scenes import DeadLeaves

    known = [layer for layer, found in one["layers"].items() if found["reach"] is not None]
    net, crop = built(one["name"])
    if any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in net.modules()):
        padprint.calibrate_batchnorm(net, list(DeadLeaves(16, crop, seed=1)))
    scenes = DeadLeaves(6, tuple(one["smallest"]))
    measured = padprint.measure(net, scenes, known, crop, crops_per_image=1, batch_size=1)
    return {"name": one["name"], "pattern": pattern(measured)}


def trained(photos: Path) -> Iterator[dict[str, Any]]:
    """MobileNetV2 with ImageNet weights: its pattern, and the effective halo of the last layer at each stride."""
    import padprint
    from padprint.demo import mobilenet_weights

    loaded = padprint.load_model("torchvision:mobilenet_v2", weights=mobilenet_weights())
    normal = {"mean": loaded.mean, "std": loaded.std}
    found: dict[str, Any] = {"name": TRAINED, "crop": 224}
    measured = padprint.measure(loaded.model, photos, crop=224, crops_per_image=8, **normal)
    found["pattern"] = pattern(measured)
    yield found
    advice = padprint.halo(loaded.model, photos, list(measured), 512, TOLERANCES[0], **normal)
    found["images"] = advice.n_images
    found["halos"] = {
        layer: {
            "structural": max(one.structural_pixels),
            "effective": {t: advice.at(t).first.outputs[layer].effective_pixels.value for t in TOLERANCES},
        }
        for layer, one in advice.first.outputs.items()
    }
    yield found


def pattern(measured: Any) -> dict[str, Any]:
    """By layer, the pattern's size beside the features', with its interval."""
    return {
        layer: (one.stride[0], one.relative.value, one.relative.low, one.relative.high)
        for layer, one in measured.items()
    }


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))


def record(name: str, stage: str, arguments: list[str]) -> dict[str, Any]:
    """Look at one network in a process of its own; what was found before it ran out of time counts."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", name, "--stage", stage, *arguments]
    limits = _limited if name != TRAINED else None
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limits)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"name"')]
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {"name": name}
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        found[f"no {stage}"] = f"more than {SECONDS} s"
    elif done.returncode:
        found[f"no {stage}"] = done.stderr.strip().splitlines()[-1][:300]
    return found


def waits(name: str, stage: str) -> bool:
    """Whether a network has not come to a stage yet, and can."""
    one = {one["name"]: one for one in records()}.get(name)
    if name == TRAINED or stage == "layers":
        return one is None
    return bool(one and max(one.get("smallest", [LARGEST + 1])) <= LARGEST and not {"pattern", "no pattern"} & set(one))


# --------------------------------------------------------------------------------------------------------- the page


def records() -> list[dict[str, Any]]:
    """What was found so far."""
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    found: dict[str, dict[str, Any]] = {}
    for one in map(json.loads, lines):
        found[one["name"]] = found.get(one["name"], {}) | one
    return [found[name] for name in [*sorted(names(), key=str.lower), TRAINED] if name in found]


def random_ones() -> list[dict[str, Any]]:
    """Networks with random weights."""
    return [one for one in records() if one["name"] != TRAINED]


def count() -> str:
    """How far the atlas is."""
    own = random_ones()
    traced = sum("smallest" in one for one in own)
    measured = sum("pattern" in one for one in own)
    return f"{len(own)} of {len(names())} networks so far: {traced} with a geometry, {measured} with a pattern."


def by_side(values: Any) -> str:
    return " ".join(f"{n:g}" for n in values)


def axes(values: Any) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else " x ".join(f"{n:g}" for n in values)


def last(one: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The last layer that has a geometry."""
    known = [(name, layer) for name, layer in one.get("layers", {}).items() if layer["reach"] is not None]
    return known[-1] if known else None


def geometry() -> str:
    """A row for each network: its last layer."""
    rows = []
    for one in random_ones():
        found = last(one)
        if found is None:
            why = one.get("no layers") or next(
                (x["reason"] for x in one.get("layers", {}).values() if x["reason"]), "no map"
            )
            rows.append((one["name"], "", "", "", "", "", "", "", why.replace("|", "/")[:120]))
            continue
        name, layer = found
        halo = one.get("halo")
        uneven, strided = one["uneven"]
        sizes = [axes(size) for size in dict.fromkeys(tuple(x) for x in one["even"] if None not in x)]
        remarks = []
        if layer["sees_all_through"]:
            remarks.append(f"sees the whole input through {layer['sees_all_through']} operators")
        if one["misaligned"]:
            remarks.append(f"branches {one['misaligned']:g} px apart")
        if not layer["exact"]:
            remarks.append("not exact")
        if one["crop"] != 224:
            remarks.append(f"at {one['crop']} px")
        rows.append(
            (
                one["name"],
                f"`{name}`",
                axes(layer["stride"]),
                axes(layer["receptive_field"]) if layer["receptive_field"] else "",
                by_side(layer["reach"]),
                by_side(halo["cells"]) if halo else "",
                f"{'' if halo.get('room', True) else 'over '}{halo['px']}" if halo else "",
                axes(one["smallest"]),
                f"{uneven} of {strided}" + (f"; even at {' and '.join(sizes)}" if uneven and sizes else ""),
                "; ".join(remarks),
            )
        )
    headers = [
        "network",
        "last map",
        "stride, px",
        "sees, px",
        "reach, px t b l r",
        "rim, cells t b l r",
        "structural halo, px",
    ]
    rows = [(*row[:8], "", row[8]) if len(row) == 9 else row for row in rows]
    return markdown([*headers, "smallest image, px", "uneven strides", "remarks"], rows)


def percent(value: float) -> str:
    return f"{100 * value:.2g} %" if 0 < value < 0.1 else f"{100 * value:.0f} %"


def depth() -> str:
    """The pattern by stride, of every network that has one."""
    strides = [1, 2, 4, 8, 16, 32]
    rows = []
    for one in records():
        if "pattern" not in one:
            continue
        by_stride = {round(stride): value for stride, value, _, _ in one["pattern"].values()}
        cells = [
            percent(by_stride[s]) if by_stride.get(s) is not None and math.isfinite(by_stride[s]) else ""
            for s in strides
        ]
        rows.append((one["name"], *cells))
    return markdown(["network", *(f"stride {s}" for s in strides)], rows)


def effective() -> str:
    """Halos of the trained network."""
    found = {one["name"]: one for one in records()}.get(TRAINED, {})
    headers = ["layer", "structural, px", *(f"effective at {100 * t:g} %, px" for t in TOLERANCES)]
    rows = [
        (f"`{layer}`", one["structural"], *(f"{one['effective'][str(t)]:g}" for t in TOLERANCES))
        for layer, one in found.get("halos", {}).items()
    ]
    return markdown(headers, rows) if rows else "Not measured yet."


MAKERS: dict[str, Callable[[], str]] = {"count": count, "geometry": geometry, "depth": depth, "effective": effective}


def main() -> None:
    """Look at networks, or at one, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", help="a network, whose records are printed")
    parser.add_argument("--stage", choices=["layers", "pattern", "halo"], default="layers", help="of it")
    parser.add_argument("--photos", type=Path, help="photographs, for the network with weights")
    parser.add_argument("--page", action="store_true", help="write the page and look at nothing")
    options = parser.parse_args()
    if options.one == TRAINED:
        for found in trained(options.photos):
            print(json.dumps(found), flush=True)
        return
    if options.one:
        known = {one["name"]: one for one in records()}
        print(json.dumps(look(options.one) if options.stage == "layers" else depths(known[options.one])))
        return
    work = [(name, stage) for stage in ("layers", "pattern") for name in names()]
    work += [(TRAINED, "halo")] if options.photos else []
    for name, stage in [] if options.page else work:
        if waits(name, stage):
            found = record(name, stage, ["--photos", str(options.photos)] if name == TRAINED else [])
            with FILE.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
            sys.stderr.write(f"{name}: {found.get(f'no {stage}', stage)}\n")
    write(PAGE, MAKERS)


if __name__ == "__main__":
    main()
