"""How much must tiles of the text detector CRAFT overlap? The run behind the guide on halos.

    PYTHONPATH=docs/gallery python docs/halo/text_detector.py WEIGHTS PAGES HELD_OUT UNLIKE OUTPUT

takes the images that pages.py wrote, and writes halo.json, halo.safetensors and halo.png. More than an hour on one core, most
of it the measurement.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import craft
import torch

from padprint import load_model
from padprint.overlap import Halo, PaddingHalo, halo
from padprint.overlap.distance import worst_beyond
from padprint.overlap.tiling import tiling
from padprint.overlap.tools import lines

NORMAL = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
TOLERANCES = (0.1, 0.01, 0.001)


def main(weights: Path, pages: Path, held_out: Path, unlike: Path, output: Path) -> None:
    """Measure once, read it at several tolerances, and check them on images that were not measured."""
    net = load_model("craft:build", weights=weights).model
    assert isinstance(net, craft.Craft)  # noqa: S101
    result = halo(net, pages, tile=768, tolerance=0.1, padding=["own", "reflect"], **NORMAL)
    result.save(output)
    result.plot().savefig(output / "halo.png")
    for tolerance in TOLERANCES:
        say("", str(result.at(tolerance)))
    say("", *(halves(result, tolerance) for tolerance in TOLERANCES))
    for tolerance in TOLERANCES:
        advice = result.at(tolerance)
        tiles = advice.first.advised
        half = {name: [n // 2 for n in cells] for name, cells in tiles.halos.items()}
        fewer = tiling(tiles.tile, tiles.period, tiles.maps, half)
        say(f"\ntolerance {tolerance:g}:", *lines(advice.first), str(advice.verify(net, held_out, **NORMAL)))
        say("half of it:", str(advice.verify(net, held_out, tiling=fewer, **NORMAL)))
    say("an image of another kind:", str(result.verify(net, unlike, **NORMAL)))


def halves(result: Halo, tolerance: float, draws: int = 200) -> str:
    """Advise on half of the images, drawn at random, and count those of the other half that stay within the tolerance."""
    one = result.at(tolerance).first
    n = result.n_images
    g = torch.Generator().manual_seed(0)
    kept = []
    for _ in range(draws):
        order = torch.randperm(n, generator=g)
        need = part(one, order[: n // 2]).need
        rest = part(one, order[n // 2 :]).outputs
        errors = torch.tensor([[worst_beyond(e, need[name]) for e in out.by_image] for name, out in rest.items()])
        kept.append(float((errors.amax(0) <= tolerance).double().mean()))
    return (
        f"tolerance {tolerance:g}: advised on {n // 2} images, {100 * fmean(kept):.1f} % of the others stay within it"
    )


def part(one: PaddingHalo, images: torch.Tensor) -> PaddingHalo:
    """The same of some of the images; the mean square over images of one number of tiles is that over all their cells."""
    outputs = {}
    for name, out in one.outputs.items():
        errors = out.by_image[images]
        known = {"by_image": errors, "errors": errors.square().mean(0).sqrt(), "resolution": out.resolution[images]}
        outputs[name] = replace(out, **known)
    return replace(one, outputs=outputs)


def say(*texts: str) -> None:
    """Print at once."""
    sys.stdout.write("\n".join(texts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(Path, sys.argv[1:6]))
