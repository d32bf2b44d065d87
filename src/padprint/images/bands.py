"""Files of arrays: every band, with all of its bits. ``.npy``, ``.npz``, and TIFFs that tifffile reads."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from padprint.errors import ImagesError
from padprint.support.optional import require

SUFFIXES = (".npy", ".npz")
"""Of arrays that NumPy saved; TIFFs are looked at here where Pillow would cut them."""

_TIFFS = (".tif", ".tiff")


def is_bands(path: Path) -> bool:
    """Whether a file's name says that it holds an array."""
    return path.suffix.lower() in SUFFIXES


def is_tiff(path: Path) -> bool:
    """Whether a file's name says that it is a TIFF."""
    return path.suffix.lower() in _TIFFS


def can_read_tiffs() -> bool:
    """Whether tifffile is there."""
    return find_spec("tifffile") is not None


def read_bands(path: Path, check_size: Callable[[int, int], object]) -> NDArray[np.float32]:
    """All bands of a file, `(C, H, W)`: unsigned whole numbers over the largest of their kind, others as they are.

    Args:
        path: `.npy`, `.npz` with one array, or a TIFF of one page.
        check_size: is called with height and width, px, and raises where they are too much.

    Raises:
        ImagesError: more or fewer axes than rows, columns and bands, or numbers that are none.
    """
    array, axes = _tiff(path) if is_tiff(path) else (_numpy(path), None)
    if array.dtype.kind not in "uif":
        raise ImagesError(f"it holds {array.dtype}, not numbers")
    stacked = _bands_first(array, axes)
    check_size(*stacked.shape[1:])
    whole = np.ascontiguousarray(stacked, dtype=np.float32)
    return whole / np.float32(np.iinfo(array.dtype).max) if array.dtype.kind == "u" else whole


def bands_size(path: Path) -> tuple[int, int] | None:
    """(H, W) from the header; None where it cannot be read."""
    try:
        if is_tiff(path):
            with _tifffile().TiffFile(path) as file:
                series = file.series[0]
                return _size(series.shape, series.axes)
        if path.suffix.lower() == ".npy":
            return _size(np.load(path, mmap_mode="r", allow_pickle=False).shape, None)
        return _size(_numpy(path).shape, None)
    except Exception:  # noqa: BLE001  # as for reading, where the reason is reported
        return None


def _size(shape: tuple[int, ...], axes: str | None) -> tuple[int, int]:
    blank: NDArray[Any] = np.broadcast_to(np.uint8(0), shape)
    _, height, width = _bands_first(blank, axes).shape
    return height, width


def _tifffile() -> Any:
    return require("tifffile", why="for TIFFs of more than 8 bits or three bands", extra="readers")


def _tiff(path: Path) -> tuple[NDArray[Any], str]:
    with _tifffile().TiffFile(path) as file:
        if len(file.series) != 1:
            raise ImagesError(f"it holds {len(file.series)} images; one is read")
        return file.series[0].asarray(), file.series[0].axes


def _numpy(path: Path) -> NDArray[Any]:
    """The array of a file of NumPy's; objects, which would be unpickled, are refused."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            if len(found.files) != 1:
                raise ImagesError(f"it holds {len(found.files)} arrays ({', '.join(found.files[:4])}); one is read")
            return np.asarray(found[found.files[0]])
    except (ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, ImagesError):
            raise
        raise ImagesError(f"it is no array of numbers that NumPy saved ({str(error).splitlines()[0]})") from error


def _bands_first(array: NDArray[Any], axes: str | None) -> NDArray[Any]:
    """Rows and columns with all bands before them; without names of axes, bands are the shorter of the first and the last."""
    if axes is not None:
        known = [axis for axis in axes if axis in "YX"]
        if known != ["Y", "X"] or array.ndim - 2 not in (0, 1):
            raise ImagesError(f"its axes are {axes} of {_times(array.shape)}; rows, columns and bands are read")
        return (
            array[None]
            if array.ndim == 2
            else np.moveaxis(array, next(i for i, a in enumerate(axes) if a not in "YX"), 0)
        )
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3 or 0 in array.shape:
        raise ImagesError(f"its shape is {_times(array.shape)}; rows and columns, and bands first or last, are read")
    if array.shape[0] == array.shape[-1]:
        raise ImagesError(
            f"its shape {_times(array.shape)} does not say which axis holds the bands; save it with bands first, padded apart"
        )
    return array if array.shape[0] < array.shape[-1] else np.moveaxis(array, -1, 0)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
