"""Picture files: how one becomes an upright image of red, green and blue, or of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from padprint.errors import ImagesError
from padprint.images.depth import cut

_DRAWN = ("EPS", "WMF")  # pages that Pillow hands to another program, which runs what they say


_WITH_TIFFFILE = "install tifffile, which reads all of it (pip install 'padprint[readers]'), or "


class CutError(ImagesError):
    """Not all bits or bands of a picture would be read."""


def suffixes() -> set[str]:
    """How names of pictures end."""
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in _formats()}


def _formats() -> list[str]:
    Image.init()
    return [kind for kind in Image.OPEN if kind not in _DRAWN]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A picture whose header is read; Pillow's own limit on pixels is off, callers have theirs."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path, formats=_formats()) as image:
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def read_upright(path: Path, check_size: Callable[[tuple[int, int]], object]) -> tuple[Image.Image, bool]:
    """First frame, turned upright, as an RGB image of bytes or an F image of numbers in [0, 1].

    Args:
        path: the file.
        check_size: is called with (height, width), px, before anything is decoded, and raises where they are too much.

    Returns:
        the image, and whether transparency was dropped that hid something.

    Raises:
        ImagesError: not all bits or bands of the file would be read, or it holds numbers outside [0, 1].
    """
    with _opened(path) as opened:
        check_size((opened.height, opened.width))
        lost = cut(opened, path)
        if lost:
            raise CutError(
                f"{lost}: {_WITH_TIFFFILE if opened.format == 'TIFF' else ''}turn it into a tensor (C, H, W) with a reader of your own "
                "(tifffile, rasterio, OpenCV), normalise it as the network was trained, and give the tensors"
            )
        maybe_more = opened.format in ("TIFF", "JPEG2000")  # what cameras with four bands are saved as
        image, hides = upright(opened)
        if hides and maybe_more:
            raise ImagesError(
                "its last band counts as transparency and is not opaque throughout, so that it may be a band of its own: "
                "save the file without it, or give tensors"
            )
        return image, hides


def upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """An image turned upright, as RGB of bytes or as F of numbers in [0, 1]; and whether transparency that hid something went.

    Raises:
        ImagesError: it holds numbers outside [0, 1].
    """
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        return _numbers(image), False
    if not image.has_transparency_data:
        return image.convert("RGB"), False
    whole = image.convert("RGBA")  # a palette with transparency reaches RGB through RGBA only
    return whole.convert("RGB"), whole.getchannel("A").getextrema() != (255, 255)


def _numbers(image: Image.Image) -> Image.Image:
    """A grey image of 16 bits or of floating point, as numbers in [0, 1]."""
    grey = np.asarray(image, dtype=np.float32)
    top = 1 if image.mode == "F" else 65535  # Pillow's own conversion would clip 16 bits to 8
    bad = int(grey.size - np.isfinite(grey).sum())
    if bad:
        raise ImagesError(f"it has {bad} of {grey.size} values that are NaN or infinite, outside [0, {top}]")
    low, high = float(grey.min()), float(grey.max())
    if not (low >= 0 and high <= top):
        raise ImagesError(f"its values run from {low:g} to {high:g}, outside [0, {top}]")
    return Image.fromarray(grey / np.float32(top))


def reads_whole(path: Path) -> bool:
    """Whether Pillow opens a file and reads all of its bits, bands and pages."""
    try:
        with _opened(path) as opened:
            return cut(opened, path) is None
    except Exception:  # noqa: BLE001  # as for decoding, where the reason is reported
        return False


def header_size(path: Path) -> tuple[int, int] | None:
    """(H, W) after turning upright, from the header alone; None where it cannot be read."""
    try:
        with _opened(path) as image:
            width, height = image.size
            if image.format == "TIFF":  # some Pillow versions report it turned already, some do not
                width, height = image.tag_v2[256], image.tag_v2[257]
            # not image.getexif(), which decodes a PNG without orientation to look behind its pixels
            turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except Exception:  # noqa: BLE001  # as for decoding, where the reason is reported
        return None
    return (width, height) if turned else (height, width)
