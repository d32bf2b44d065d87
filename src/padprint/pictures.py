"""Picture files: which files of a folder are pictures, and how one becomes an upright RGB image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from padprint.errors import ImagesError


def find_files(files: Any) -> tuple[list[tuple[str, Path]], str]:
    """Name and path of every candidate file, and what to call the whole."""
    if not isinstance(files, str | Path):
        paths = [Path(file) for file in files]
        for path in paths:
            if not path.is_file():
                raise ImagesError(f"{path} is {'a folder' if path.is_dir() else 'no file'}: a list must name files")
        if not paths:
            raise ImagesError("no image: the list of files is empty")
        return [(path.as_posix(), path) for path in paths], "list"
    root = Path(files)
    if root.is_file():
        return [(root.name, root)], root.name
    if not root.is_dir():
        raise ImagesError(f"there is no file or folder {str(files)!r}")
    Image.init()
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    named = [
        (path.relative_to(root).as_posix(), path)
        for path in root.rglob("*")
        if path.suffix.lower() in suffixes and path.is_file()
    ]
    named = sorted(one for one in named if not any(part.startswith(".") for part in one[0].split("/")))
    if not named:
        raise ImagesError(f"no image file in the folder {str(files)!r}")
    return named, root.resolve().name or "folder"


def read_upright(path: Path) -> Image.Image:
    """First frame, turned upright, as an RGB image of bytes or an F image of numbers in [0, 1]."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode[0] not in "IF":  # a palette with transparency reaches RGB through RGBA only
            return (image.convert("RGBA") if image.mode == "P" else image).convert("RGB")
        grey = np.asarray(image, dtype=np.float32)
        top = 1 if image.mode == "F" else 65535  # Pillow's own conversion would clip 16 bits to 8
        low, high = float(grey.min()), float(grey.max())
        if not (low >= 0 and high <= top):
            raise ValueError(f"its values run from {low:g} to {high:g}, outside [0, {top}]")
        return Image.fromarray(grey / np.float32(top))


def header_size(path: Path) -> tuple[int, int] | None:
    """(H, W) after turning upright, from the header alone."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.format == "TIFF":  # some Pillow versions report it turned already, some do not
                width, height = image.tag_v2[256], image.tag_v2[257]
            # not image.getexif(), which decodes a PNG without orientation to look behind its pixels
            turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except Exception:  # noqa: BLE001  # as for decoding, where the reason is reported
        return None
    return (width, height) if turned else (height, width)
