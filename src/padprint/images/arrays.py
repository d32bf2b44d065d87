"""Arrays that NumPy and Zarr saved."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from padprint.errors import ImagesError
from padprint.images.contents import Contents, Files, Order, check_numbers, named, numbers, unnamed
from padprint.support.optional import require

MILLIMETRES = {
    "nanometer": 1e-6,
    "micrometer": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "meter": 1e3,
}
"""Units of length that have their own name in OME-Zarr, in mm."""


def numpy_contents(path: Path, asked: Files) -> Contents:
    """``.npy``, and ``.npz`` of one array; nothing is unpickled."""
    with _opened(path) as file:
        shape, kind = _header(file)
    order = unnamed(shape, asked.axes)
    return Contents(order.shape(shape), partial(_numpy_values, path, kind, order))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of the only array of a file.

    Raises:
        ImagesError: there is none, or more than one.
    """
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = [one.removesuffix(".npy") for one in archive.namelist()]
            if len(names) != 1:
                raise ImagesError(f"it holds {len(names)} arrays ({', '.join(names[:4])}); one is read")
            with archive.open(archive.namelist()[0]) as member:
                yield member
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise _no_array(error) from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and kind of numbers.

    Raises:
        ImagesError: the header is none, or of something else than numbers.
    """
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read(file)
    except ValueError as error:
        raise _no_array(error) from error
    if kind.hasobject:
        raise _no_array("it holds Python objects, which only run when they are read; save numbers")
    check_numbers(kind)
    return shape, kind


def _no_array(reason: object) -> ImagesError:
    return ImagesError(f"it is no array of numbers that NumPy saved ({str(reason).splitlines()[0]})")


def _numpy_values(path: Path, kind: np.dtype[Any], order: Order) -> NDArray[np.float32]:
    with _opened(path) as file:
        try:
            array = npy.read_array(file, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _no_array(error) from error
    if array.dtype != kind:
        raise _no_array("its header changes from one reading to the next")
    return numbers(order(array))


def zarr_contents(path: Path, asked: Files) -> Contents:
    """A Zarr array; of a group its only array, or the finest of an image of OME-Zarr."""
    found = require("zarr", why="for Zarr arrays", extra="readers").open(str(path), mode="r")
    names, spacing = "", dict[str, float]()
    if not hasattr(found, "dtype"):
        scales = _scales(dict(found.attrs))
        if scales is None:
            arrays = sorted(name for name, _ in found.arrays())
            if len(arrays) != 1:
                raise ImagesError(f"it is a group of {len(arrays)} arrays ({', '.join(arrays[:4])}); one is read")
            found = found[arrays[0]]
        else:
            at, names, spacing = scales
            found = found[at]
    shape = tuple(found.shape)
    check_numbers(found.dtype)
    order = named(names, shape, asked.axes) if len(names) == len(shape) else unnamed(shape, asked.axes)
    kept = [spacing.get(axis, 0.0) for axis in _space(names, order)]
    return Contents(
        order.shape(shape),
        lambda: numbers(order(np.asarray(found[...]))),
        spacing=tuple(kept) if kept and all(kept) else None,
        piece=tuple(found.chunks),
    )


def _space(names: str, order: Order) -> list[str]:
    """Names of the space axes, in order."""
    left = [name for axis, name in enumerate(names) if axis not in order.dropped]
    return [name for axis, name in enumerate(left) if axis != order.channel]


def _scales(attributes: Mapping[str, Any]) -> tuple[str, str, dict[str, float]] | None:
    """Of an image of OME-Zarr (0.4 and 0.5): path, names of the axes and mm by axis of its finest array; None where it is none."""
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        return None
    finest, axes = multiscales[0]["datasets"][0], multiscales[0]["axes"]
    steps = next((one["scale"] for one in finest["coordinateTransformations"] if one["type"] == "scale"), ())
    names = "".join(one["name"][0].upper() for one in axes)
    millimetres = {
        name: step * MILLIMETRES[one["unit"]]
        for name, one, step in zip(names, axes, steps, strict=False)
        if one.get("unit") in MILLIMETRES
    }
    return str(finest["path"]), names, millimetres
