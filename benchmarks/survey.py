"""Which networks padprint can measure: one small member of each family, random weights, each in a process of its own.

    python benchmarks/survey.py results.jsonl               # goes on where it stopped; 120 s of processor time each
    python benchmarks/survey.py results.jsonl --table       # the table of docs/coverage.md, of what is there

Of each network the last map at the deepest stride is looked at: what `padprint.trace` says of it, and whether `padprint.measure`
measures it with its self-check passing, on crops of noise: of 64 px, or where a network does not run at that, of 128, 224 or 256 px.
Canvases of more than 1536 px are not run.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

CROPS = (64, 128, 224, 256)
"""px; of a network the first at which it runs."""
LARGEST = 1536
SECONDS = 120
"""Of processor time for each network; other work on the machine does not count."""


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


TIMM = words("""
resnet18 mobilenetv3_small_050 efficientnet_b0 convnext_atto convnextv2_atto regnetx_002 regnety_002 densenet121 resnetv2_50x1_bit
mobilevit_xxs mobilevitv2_050 fastvit_t8 efficientvit_b0 efficientvit_m0 edgenext_xx_small ghostnet_050 hrnet_w18_small seresnet18
legacy_seresnet18 skresnet18 ecaresnet26t resnest14d res2net50_26w_4s gcresnet33ts bat_resnext26ts eca_resnet33ts halonet26t botnet26t_256
lambda_resnet26t repvgg_a0 gernet_s mobileone_s0 cs3darknet_s darknet17 dla34 dpn48b hgnetv2_b0 inception_v3 inception_v4
inception_next_atto inception_resnet_v2 lcnet_035 lcnetv2_small tinynet_e mixnet_s mnasnet_small mobilenetv2_035 fbnetv3_b hardcorenas_a
mobilenetv4_conv_small_035 mobilenetv4_hybrid_medium efficientnet_b0_gn tf_efficientnetv2_b0 nf_resnet26 nfnet_f0 dm_nfnet_f0 eca_nfnet_l0
rdnet_tiny repghostnet_050 repvit_m0_9 rexnet_100 selecsls42 starnet_s050 swiftformer_xs tresnet_m vgg11 vgg11_bn visformer_tiny
ese_vovnet19b_slim_dw xception41 legacy_xception mambaout_femto fasternet_t0 focalnet_tiny_srf caformer_s18 convformer_s18 poolformer_s12
poolformerv2_s12 convmixer_768_32 csatv2 davit_tiny efficientformer_l1 efficientformerv2_s0 gcvit_xxtiny iformer_t levit_128s
coatnet_nano_rw_224 coat_lite_tiny maxvit_tiny_tf_224 mvitv2_tiny nest_tiny nextvit_small pit_ti_224 pvt_v2_b0 sequencer2d_s shvit_s1
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224 twins_pcpvt_small twins_svt_small xcit_nano_12_p16_224
lowformer_b0 hiera_tiny_224 volo_d1_224 vit_tiny_patch16_224 deit_tiny_patch16_224 mixer_s32_224 cait_xxs24_224 crossvit_9_240
vit_tiny_r_s16_p8_224 convit_tiny samvit_base_patch16 resmlp_12_224
""")
TORCHVISION = words("""
alexnet squeezenet1_1 googlenet shufflenet_v2_x0_5 mnasnet0_5 mobilenet_v2 mobilenet_v3_small efficientnet_b0 efficientnet_v2_s
regnet_y_400mf regnet_x_400mf convnext_tiny resnet18 resnext50_32x4d wide_resnet50_2 densenet121 inception_v3 vgg11 swin_t swin_v2_t vit_b_32
maxvit_t segmentation.fcn_resnet50 segmentation.deeplabv3_mobilenet_v3_large segmentation.deeplabv3_resnet50
segmentation.lraspp_mobilenet_v3_large
""")
SMP = words("Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet Segformer DPT")
MONAI = {
    "UNet": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "channels": (8, 16, 32), "strides": (2, 2)},
    "UNet (BatchNorm)": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "channels": (8, 16, 32), "strides": (2, 2), "norm": "batch"},
    "BasicUNet": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "features": (8, 8, 16, 32, 32, 8)},
    "BasicUNetPlusPlus": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "features": (8, 8, 16, 32, 32, 8)},
    "DynUNet": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "kernel_size": (3, 3, 3), "strides": (1, 2, 2), "upsample_kernel_size": (2, 2)},
    "SegResNet": {"spatial_dims": 2, "init_filters": 8, "in_channels": 3, "out_channels": 2},
    "AttentionUnet": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "channels": (8, 16, 32), "strides": (2, 2)},
    "VNet": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2},
    "HighResNet": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2},
    "FlexibleUNet": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "backbone": "efficientnet-b0"},
    "SwinUNETR": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "feature_size": 12},
    "UNETR": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "img_size": 64},
    "AutoencoderKL": {"spatial_dims": 2, "in_channels": 3, "out_channels": 3, "channels": (8, 16), "num_res_blocks": (1, 1), "latent_channels": 4, "norm_num_groups": 4, "attention_levels": (False, True)},
    "VQVAE": {"spatial_dims": 2, "in_channels": 3, "out_channels": 3, "channels": (8, 16), "num_res_channels": (8, 16), "num_res_layers": 1},
}  # fmt: skip
TRANSFORMERS = {
    "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]},
    "RegNet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "groups_width": 8, "layer_type": "y"},
    "ConvNext": {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2},
    "ConvNextV2": {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2},
    "MobileNetV1": {},
    "MobileNetV2": {},
    "MobileViT": {},
    "EfficientNet": {},
    "PoolFormer": {},
    "Segformer": {},
    "Swin": {},
    "Bit": {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1]},
    "FocalNet": {},
    "SwiftFormer": {},
    "PvtV2": {},
    "Cvt": {},
    "Levit": {},
    "ViT": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
}  # fmt: skip


def names() -> list[str]:
    """Every network, ``library:name``, libraries by turns, so that a part of the survey is fair to all."""
    by_library = {
        "timm": TIMM,
        "torchvision": TORCHVISION,
        "smp": SMP,
        "monai": list(MONAI),
        "transformers": list(TRANSFORMERS),
    }
    share = {library: [(i + 0.5) / len(own) for i in range(len(own))] for library, own in by_library.items()}
    places = [
        (at, f"{library}:{name}")
        for library, own in by_library.items()
        for at, name in zip(share[library], own, strict=True)
    ]
    return [name for _, name in sorted(places)]


def build(full: str) -> Any:
    """A network with random weights."""
    library, _, name = full.partition(":")
    if library == "timm":
        import timm

        return timm.create_model(name)
    if library == "torchvision":
        import torchvision.models

        home: Any = torchvision.models
        for part in name.split(".")[:-1]:
            home = getattr(home, part)
        options = {"weights_backbone": None} if "segmentation" in name else {}
        options |= {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return getattr(home, name.split(".")[-1])(weights=None, **options)
    if library == "smp":
        import segmentation_models_pytorch

        encoder = "tu-vit_tiny_patch16_224" if name == "DPT" else "resnet18"
        return getattr(segmentation_models_pytorch, name)(encoder, encoder_weights=None)
    if library == "monai":
        import monai.networks.nets

        return getattr(monai.networks.nets, name.split(" ")[0])(**MONAI[name])
    import transformers

    config = getattr(transformers, f"{name}Config")(**TRANSFORMERS[name])
    return getattr(transformers, f"{name}Model")(config)


def survey(full: str) -> dict[str, Any]:
    """What padprint makes of one network."""
    import torch

    import padprint

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    started = time.process_time()
    found: dict[str, Any] = {"name": full}
    try:
        net = build(full).eval()
    except Exception as error:  # noqa: BLE001  # a library may raise anything
        return found | {"status": "not built", "reason": f"{type(error).__name__}: {error}"[:300]}

    crop, noise = 0, torch.zeros(0)
    for crop in CROPS:
        noise = torch.randn(4, 3, crop, crop)
        try:
            with torch.no_grad():
                net(noise[:1])
        except Exception as error:  # noqa: BLE001  # a network may raise anything
            found["reason"] = f"does not run at {crop} px: {type(error).__name__}: {error}"[:300]
        else:
            found.pop("reason", None)
            break
    found["crop"] = crop
    if "reason" in found:
        return found | {"status": "refused"}
    try:
        if any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in net.modules()):
            padprint.calibrate_batchnorm(net, list(noise))
        geometry = padprint.trace(net, crop=crop)
        layer = list(geometry)[-1]
        one = geometry[layer]
        found |= {"layer": layer, "sees all through": one.sees_all_through, "margin": one.margin}
        found["trace seconds"] = time.process_time() - started
        if one.margin is None:
            return found | {"status": "refused", "reason": one.reason, "seconds": time.process_time() - started}
        top, bottom, left, right = one.margin
        need = crop + top + bottom, crop + left + right
        found["need"] = need
        if max(need) > LARGEST:
            return found | {"status": "local, too large", "seconds": time.process_time() - started}
        scenes = [torch.randn(3, *need, generator=torch.Generator().manual_seed(i)) for i in range(2)]
        alone = replace(geometry, layers={layer: one}, maps={layer: geometry.maps[layer]})
        numbers = padprint.measure(net, scenes, alone, crop, crops_per_image=1, batch_size=1)[layer]
        found |= {"relative": numbers.relative.value, **{name: part.size.value for name, part in numbers.parts.items()}}
        found |= {"status": "measured", "floor": numbers.numeric_floor}
    except Exception as error:  # noqa: BLE001
        found |= {"status": "refused" if isinstance(error, padprint.PadprintError) else "crash"}
        found |= {"reason": f"{type(error).__name__}: {error}"[:400]}
    return found | {"seconds": time.process_time() - started}


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))


def run(path: Path, only: Callable[[str], bool]) -> None:
    """Survey what is not in the file yet."""
    done = {json.loads(line)["name"] for line in path.read_text().splitlines()} if path.exists() else set()
    for name in names():
        if name in done or not only(name):
            continue
        command = [sys.executable, "-W", "ignore", __file__, "--one", name]
        started = time.perf_counter()
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=10 * SECONDS, check=False, preexec_fn=_limited
            )
            lines = [line for line in answer.stdout.splitlines() if line.startswith('{"name"')]
            late = answer.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
            record = (
                json.loads(lines[-1])
                if lines
                else {"name": name, "status": "time", "reason": f"more than {SECONDS} s"}
                if late
                else {"name": name, "status": "crash", "reason": answer.stderr[-300:]}
            )
        except subprocess.TimeoutExpired:
            record = {"name": name, "status": "time", "reason": f"more than {10 * SECONDS} s on a busy machine"}
        record.setdefault("seconds", time.perf_counter() - started)
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def table(path: Path) -> str:
    """Counts by library, and a row for each network, as Markdown."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    states = ["measured", "local, too large", "refused", "time", "crash", "not built"]
    lines = [
        "| library | networks | sees the whole input | " + " | ".join(states) + " |",
        "|---" * (len(states) + 3) + "|",
    ]
    libraries = [*dict.fromkeys(one["name"].partition(":")[0] for one in records), ""]
    for library in libraries:
        own = [one for one in records if one["name"].startswith(library)]
        count = Counter(one["status"] for one in own)
        whole = sum(bool(one.get("sees all through")) for one in own)
        lines.append(
            f"| {library or 'all'} | {len(own)} | {whole} | " + " | ".join(str(count[s]) for s in states) + " |"
        )
    lines += [
        "",
        "| network | layer | sees all through | needs, px | pattern | local | through | context | why not |",
        "|---" * 9 + "|",
    ]
    for one in sorted(records, key=lambda record: record["name"]):
        kinds = Counter(call.partition(" in ")[0] for call in one.get("sees all through", []))
        numbers = [f"{one[part]:.3f}" if part in one else "" for part in ("relative", "local", "through", "context")]
        why = (
            ""
            if one["status"] == "measured"
            else f"{one['status']}{': ' if one.get('reason') else ''}{one.get('reason', '')}"
        )
        cells = [
            one["name"],
            one.get("layer", ""),
            ", ".join(f"{n} {kind}" for kind, n in kinds.items()),
            "x".join(map(str, one.get("need", ()))),
            *numbers,
            why.replace("|", "/").replace("\n", " ")[:160],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the survey, one network of it, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--one", help="a network, whose record is printed")
    parser.add_argument("--library", default="", help="networks whose name begins so")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(survey(options.one)))
    elif options.path is None:
        parser.error("name a file for the results")
    elif options.table:
        print(table(options.path))
    else:
        run(options.path, lambda name: name.startswith(options.library))


if __name__ == "__main__":
    main()
