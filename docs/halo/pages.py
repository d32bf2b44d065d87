"""Images with text for the guide on halos: printed pages, scans, and photographs with captions.

    python pages.py FOLDER HELD_OUT UNLIKE

writes 24 images into the first folder, eight others of the same kinds into the second, and one that is like none of them into
the third. Needs scikit-image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
# a word a line would be fifty lines
WORDS = """
tiles seam border padding image network overlap halo crop margin scene stride field weight page line letter reader
print paper edge corner window pixel filter layer depth light shadow river stone forest morning market street
""".split()  # noqa: SIM905
SIZE, HELD_OUT = 1536, 1232  # px; checking takes smaller images than measuring
PHOTOGRAPHS = """
astronaut brick camera clock coffee grass hubble_deep_field immunohistochemistry moon retina
rocket chelsea coins gravel
""".split()  # noqa: SIM905
MEASURED = 10  # of the photographs


def printed(rng: np.random.Generator) -> Image.Image:
    """A page of random words in a font, size and spacing of its own, on paper of its own grey."""
    paper, ink = int(rng.integers(200, 256)), int(rng.integers(0, 80))
    page = Image.new("RGB", (SIZE, SIZE), (paper, paper, paper - int(rng.integers(0, 30))))
    draw = ImageDraw.Draw(page)
    name = rng.choice(["DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSerif-Bold.ttf"])
    size = int(rng.integers(18, 44))
    y = int(rng.integers(20, 80))
    while y < SIZE - size:
        line = " ".join(rng.choice(WORDS, int(rng.integers(3, 14))))
        draw.text((int(rng.integers(20, 60)), y), line, (ink, ink, ink), ImageFont.truetype(FONTS / str(name), size))
        y += int(size * rng.uniform(1.2, 2.2))
    return page.rotate(float(rng.uniform(-3, 3)), Image.Resampling.BICUBIC, fillcolor=(paper, paper, paper))


def captioned(name: str, rng: np.random.Generator) -> Image.Image:
    """A photograph with words on it."""
    photograph = Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")
    scale = 1.02 * SIZE / min(photograph.size)
    photograph = photograph.resize((round(photograph.width * scale), round(photograph.height * scale)))
    draw = ImageDraw.Draw(photograph)
    for _ in range(8):
        place = int(rng.integers(0, SIZE - 200)), int(rng.integers(0, SIZE - 60))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        font = ImageFont.truetype(FONTS / "DejaVuSans-Bold.ttf", int(rng.integers(20, 70)))
        draw.text(place, " ".join(rng.choice(WORDS, 2)), colour, font)
    return photograph


def scanned(name: str) -> Image.Image:
    """One of scikit-image's scans, enlarged."""
    scan = Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")
    scale = 1.001 * SIZE / min(scan.size)
    return scan.resize((round(scan.width * scale), round(scan.height * scale)), Image.Resampling.BICUBIC)


def main(folder: Path, held_out: Path, unlike: Path) -> None:
    """Write the three folders."""
    rng = np.random.default_rng(0)
    images = [
        scanned("page"),
        *(printed(rng) for _ in range(13)),
        *(captioned(name, rng) for name in PHOTOGRAPHS[:MEASURED]),
    ]
    others = [*(captioned(name, rng) for name in PHOTOGRAPHS[MEASURED:]), *(printed(rng) for _ in range(4))]
    for where, what in ((folder, images), (held_out, others), (unlike, [scanned("text")])):
        where.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(what):
            side = SIZE if where == folder else HELD_OUT
            image.crop((0, 0, side, side)).save(where / f"{i:02}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
