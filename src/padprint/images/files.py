"""Picture files: which files of a folder are pictures, and how one becomes an upright RGB image."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from padprint.errors import ImagesError, readable
from padprint.images.bands import is_bands
from padprint.images.depth import cut

_DRAWN = ("EPS", "WMF")  # pages that Pillow hands to another program, which runs what they say


_WITH_TIFFFILE = "install tifffile, which reads all of it (pip install 'padprint[readers]'), or "


class CutError(ImagesError):
    """Not all bits or bands of a picture would be read."""


def find_files(files: Any) -> tuple[list[tuple[str, Path]], str]:
    """Name and path of every candidate file, and what to call the whole; see `look_for_files`."""
    named, where, _ = look_for_files(files)
    return named, where


def look_for_files(files: Any) -> tuple[list[tuple[str, Path]], str, dict[str, str]]:
    """Name and path of every candidate file, what to call the whole, and what was left out, with the reason.

    Names hold no folder above those given, and can be printed: what is not UTF-8 in them is escaped.

    Raises:
        ImagesError: nothing there, or nothing that could be an image.
    """
    if not isinstance(files, str | Path):
        return _listed([Path(file) for file in files]), "list", {}
    root = Path(files)
    if root.is_file():
        return [(readable(root.name), root)], readable(root.name), {}
    if not root.is_dir():
        raise ImagesError(f"there is no file or folder {str(files)!r}{_instead(root)}")
    named, left_out = _found_below(root)
    if not named:
        out = "; ".join(f"{name} was left out: {reason}" for name, reason in list(left_out.items())[:3])
        raise ImagesError(f"no image file in the folder {str(files)!r}{f' ({out})' if out else ''}")
    return named, readable(root.resolve().name) or "folder", left_out


def _listed(paths: list[Path]) -> list[tuple[str, Path]]:
    for path in paths:
        if not path.is_file():
            what = "a folder" if path.is_dir() else f"no file{_instead(path)}"
            raise ImagesError(f"{path} is {what}: a list must name files")
    if not paths:
        raise ImagesError("no image: the list of files is empty")
    whole = [path.absolute() for path in paths]
    above = os.path.commonpath([path.parent for path in whole])
    return [(readable(one.relative_to(above).as_posix()), path) for one, path in zip(whole, paths, strict=True)]


def _found_below(root: Path) -> tuple[list[tuple[str, Path]], dict[str, str]]:
    """The pictures below a folder, or its arrays where there is none, but hidden ones; and what cannot be used of the rest."""
    Image.init()
    wanted = {suffix for suffix, kind in Image.registered_extensions().items() if kind in _formats()}
    found: list[tuple[str, Path]] = []
    arrays: list[tuple[str, Path]] = []
    left_out: dict[str, str] = {}

    def name_of(path: Path) -> str:
        return path.relative_to(root).as_posix()

    def closed(error: OSError) -> None:
        left_out[readable(name_of(Path(error.filename)))] = f"the folder cannot be read ({error.strerror})"

    for folder, folders, files in os.walk(root, onerror=closed):
        here = Path(folder)
        folders[:] = [one for one in folders if not one.startswith(".")]
        for one in folders:
            if (here / one).is_symlink():
                left_out[readable(name_of(here / one))] = "a link to a folder, which is not followed"
        for one in files:
            path = here / one
            if one.startswith(".") or not (path.suffix.lower() in wanted or is_bands(path)):
                continue
            if path.is_file():
                (arrays if is_bands(path) else found).append((name_of(path), path))
            else:
                left_out[readable(name_of(path))] = _kind(path)
    # arrays beside pictures are mostly labels
    return [(readable(name), path) for name, path in sorted(found or arrays)], dict(sorted(left_out.items()))


def _kind(path: Path) -> str:
    """What a path is that is neither file nor folder."""
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        return f"it cannot be looked at ({error.strerror})"
    if stat.S_ISLNK(mode):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            return f"a link that leads nowhere ({error.strerror})"
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return f"{kinds.get(stat.S_IFMT(mode), 'something else')}, not a file"


def _instead(path: Path) -> str:
    """What is there in the place of a file, in brackets; nothing where nothing is."""
    return f" (it is {_kind(path)})" if os.path.lexists(path) else ""


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


def read_upright(path: Path, check_size: Callable[[int, int], object]) -> tuple[Image.Image, bool]:
    """First frame, turned upright, as an RGB image of bytes or an F image of numbers in [0, 1].

    Args:
        path: the file.
        check_size: is called with height and width, px, before anything is decoded, and raises where they are too much.

    Returns:
        the image, and whether transparency was dropped that hid something.

    Raises:
        ImagesError: not all bits or bands of the file would be read, or it holds numbers outside [0, 1].
    """
    with _opened(path) as opened:
        check_size(opened.height, opened.width)
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
