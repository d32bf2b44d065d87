"""What of a picture file would be lost if it were read as 8 bits of red, green and blue."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from PIL import Image

_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3}  # bands that a TIFF's photometric interpretation explains
_HEAD = 1 << 16  # bytes that hold a file's header


def cut(image: Image.Image, path: Path) -> str | None:
    """What Pillow would cut off a picture, in words; None where it reads all of it.

    Grey of 16 bits and of floating point is read whole. Transparency does not count.

    Args:
        image: opened, and not decoded yet.
        path: its file, for formats whose depth Pillow does not tell.
    """
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # a photograph with a preview or a second view of it
        return f"it holds {pages} pages or frames, of which Pillow reads the first"
    if image.format == "TIFF":
        return _of_tiff(image)
    if image.format == "FITS":
        axes = re.search(rb"NAXIS +=\s*(\d+)", _head(path))
        return f"it has {int(axes[1])} axes, of which Pillow reads two" if axes and int(axes[1]) > 2 else None
    if image.mode[0] in "IF":
        return None
    readers: dict[str | None, Any] = {"JPEG2000": _bits_of_jpeg2000, "AVIF": _bits_of_avif}
    reader = readers.get(image.format)
    bits = _bits_of_tiles(image) if reader is None else reader(_head(path))
    return None if bits <= 8 else f"it has {bits} bits in each band, of which Pillow reads 8"


def _of_tiff(image: Any) -> str | None:
    tags = image.tag_v2
    bits, bands = max(tags.get(258, (1,))), tags.get(277, 1)
    colours = _COLOURS.get(tags.get(262), bands)
    extra = tuple(tags.get(338, ()))
    if bands > colours + (extra in ((1,), (2,))):  # of further bands, one that is called transparency
        return f"it has {bands} bands, of which Pillow reads {min(colours, 3)}"
    if image.mode[0] in "IF":
        return None
    if bits > 8:
        return f"it has {bits} bits in each of {bands} bands, of which Pillow reads 8"
    return "its numbers have signs, which Pillow does not read" if 2 in tags.get(339, ()) else None


def _bits_of_tiles(image: Any) -> int:
    """From how Pillow is going to decode it: RGB;16B (BGR;16 is 16 bits in all), a PPM's largest value, half floats."""
    bits = 8
    for tile in image.tile:
        codec, args = tile[0], tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        named = [int(one) for arg in args if isinstance(arg, str) for one in re.findall(r";(\d+)[A-Z]", arg)]
        if codec in ("ppm", "ppm_plain"):
            named.append(int(args[-1]).bit_length())
        elif codec == "SGI16" or (codec == "bcn" and args[0] == 6):
            named.append(16)
        bits = max([bits, *named])
    return bits


def _bits_of_jpeg2000(head: bytes) -> int:
    """Of the components, from the marker SIZ of the code stream."""
    at = head.find(b"\xff\x4f\xff\x51")
    if at < 0:
        return 8
    count = int.from_bytes(head[at + 40 : at + 42], "big")
    depths = head[at + 42 : at + 42 + 3 * count : 3]
    return max([(depth & 0x7F) + 1 for depth in depths], default=8)


def _bits_of_avif(head: bytes) -> int:
    """From the flags of the box av1C: high bit depth, and twelve bits."""
    at = head.find(b"av1C")
    flags = head[at + 6] if 0 <= at < len(head) - 6 else 0
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)
