"""The gallery's pictures, from saved results: ``python docs/gallery/draw.py RESULTS docs/images``."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

import padprint
from padprint import plot

LAYERS = {"mobilenet": "features.6", "craft": "basenet.slice5", "resnet18": "layer2"}


def keep(figure: Figure, path: Path) -> None:
    """Write a figure as a small PNG of few colours."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    with Image.open(content) as picture:
        picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).save(
            path, optimize=True
        )


def geometry(images: Path) -> None:
    """Rim and receptive fields of ResNet-50 over a photograph of scikit-image."""
    from skimage import data

    found = padprint.trace("torchvision:resnet50", layers=["layer1", "layer2", "layer4"])
    photo = Image.fromarray(data.astronaut()).resize(found.crop, Image.Resampling.BICUBIC)
    keep(found.show(photo), images / "fields-resnet50.png")


def main(results: Path, images: Path) -> None:
    """Draw every result that is there."""
    for name, layer in LAYERS.items():
        found = padprint.load(results / name)
        keep(plot.emergence(found[layer], found.crop), images / f"gallery-{name}-emergence.png")
        keep(plot.aware_channels(found), images / f"gallery-{name}-aware.png")
    for name, picture in (("mobilenet", "mobilenet_v2"), ("initial", "mobilenet_v2_initial")):
        keep(plot.overview(padprint.load(results / name)), images / f"{picture}.png")
    found = padprint.load(results / "craft")
    keep(plot.depth(found), images / "gallery-craft-depth.png")
    keep(plot.profile(found["basenet.slice5"]), images / "gallery-craft-profile.png")
    found = padprint.load(results / "mobilenet")
    keep(plot.depth(found), images / "gallery-mobilenet-depth.png")
    keep(plot.top_channels(found["features.6"], found.crop), images / "gallery-mobilenet-channels.png")
    keep(plot.comparison(padprint.load_comparison(results / "paddings")), images / "gallery-comparison.png")


if __name__ == "__main__":
    geometry(Path(sys.argv[2]))
    main(Path(sys.argv[1]), Path(sys.argv[2]))
