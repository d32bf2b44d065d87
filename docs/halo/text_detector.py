"""How much must tiles of the text detector CRAFT overlap? The run behind the guide on halos.

    PYTHONPATH=docs/gallery python docs/halo/text_detector.py WEIGHTS PAGES HELD_OUT UNLIKE OUTPUT

takes the images that pages.py wrote, and writes halo.json and halo.png. Minutes on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import craft
import torch

from padprint import load_model
from padprint.overlap import halo
from padprint.overlap.tiling import tiling
from padprint.overlap.tools import lines

NORMAL = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def main(weights: Path, pages: Path, held_out: Path, unlike: Path, output: Path) -> None:
    """Measure once, read it at several tolerances, and check them on images that were not measured."""
    net = load_model("craft:build", weights=weights).model
    assert isinstance(net, craft.Craft)  # noqa: S101
    result = halo(net, pages, tile=512, tolerance=0.1, tiles_per_image=1, padding=["own", "reflect"], **NORMAL)
    result.save(output)
    result.plot().savefig(output / "halo.png")
    for tolerance in (0.1, 0.01, 0.001):
        advice = result.at(tolerance)
        say("", str(advice))
        if advice.first.tiling is None:
            continue
        tiles = advice.first.advised
        half = {name: [n // 2 for n in cells] for name, cells in tiles.halos.items()}
        fewer = tiling(tiles.tile, tiles.period, tiles.maps, half)
        say(*lines(advice.first), "half of it:", str(advice.verify(net, held_out, tiling=fewer, **NORMAL)))
        say("all of it:", str(advice.verify(net, held_out, **NORMAL)))
    say("an image of another kind:", str(result.verify(net, unlike, **NORMAL)))


def say(*texts: str) -> None:
    """Print at once."""
    sys.stdout.write("\n".join(texts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(Path, sys.argv[1:6]))
