"""TIFFs of any number of bands, bits and pages, OME-TIFF among them, as tifffile reads them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from padprint.errors import ImagesError
from padprint.images.contents import Contents, Files, check_numbers, named, numbers
from padprint.support.optional import require

SUFFIXES = (".tif", ".tiff")

_MILLIMETRES = {"nm": 1e-6, "µm": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1e3}


def is_tiff(path: Path) -> bool:
    """Whether a file's name says that it is a TIFF."""
    return path.suffix.lower() in SUFFIXES


def can_read_tiffs() -> bool:
    """Whether tifffile is there."""
    return find_spec("tifffile") is not None


def tiff_contents(path: Path, asked: Files) -> Contents:
    """The only series of a TIFF."""
    tifffile = require("tifffile", why="for TIFFs of more than 8 bits, three bands or one page", extra="readers")
    with tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            raise ImagesError(f"it holds {len(file.series)} images; one is read")
        series = file.series[0]
        check_numbers(series.dtype)
        shape = tuple(series.shape)
        order = named(series.axes, shape, asked.axes)
        spacing = _ome_spacing(tifffile, file) if file.is_ome else {}
        piece = tuple(series.keyframe.chunks)
    whole = order.shape(shape)
    millimetres = tuple(spacing.get(axis, 0.0) for axis in "ZYX"[-(len(whole) - 1) :])
    return Contents(
        whole,
        lambda: numbers(order(_values(tifffile, path))),
        spacing=millimetres if all(millimetres) else None,
        piece=piece,
    )


def _values(tifffile: Any, path: Path) -> Any:
    with tifffile.TiffFile(path) as file:
        return file.series[0].asarray()


def _ome_spacing(tifffile: Any, file: Any) -> dict[str, float]:
    """By axis, mm, as far as OME's description says them; its unit is the micrometre where it names none."""
    image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    sizes = {axis: (pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XYZ"}
    return {
        axis: float(size) * _MILLIMETRES[unit] for axis, (size, unit) in sizes.items() if size and unit in _MILLIMETRES
    }
