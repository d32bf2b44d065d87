"""Volumes of medical images: NIfTI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from padprint.errors import ImagesError
from padprint.images.contents import Contents, Files, check_numbers, times
from padprint.support.optional import require

_MILLIMETRES = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}


def nifti_contents(path: Path, asked: Files) -> Contents:
    """A NIfTI volume, its axes in the file's order, its values scaled as the header says.

    Raises:
        ImagesError: it has no three axes longer than 1, or a fourth of which nobody says that it holds channels.
    """
    if asked.axes not in (None, 3):
        raise ImagesError(f"it is a volume, of three space axes, and axes={asked.axes} asks for {asked.axes}")
    nibabel = require("nibabel", why="for NIfTI", extra="readers")
    image = nibabel.load(path)
    shape = tuple(map(int, image.shape))
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 4 and asked.channels is None:
        raise ImagesError(
            f"it has four axes ({times(shape)}), and does not say whether the last holds times or channels: "
            "channels=[0] reads the first as one volume, channels=[0,1] two as two channels"
        )
    if len(shape) not in (3, 4):
        raise ImagesError(
            f"its shape is {times(shape)}; volumes of three axes are read, or of four where channels are chosen"
        )
    check_numbers(image.get_data_dtype())
    unit = _MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    return Contents(
        (shape[3] if len(shape) == 4 else 1, *shape[:3]),
        lambda: _values(image, shape),
        spacing=tuple(float(size) * unit for size in image.header.get_zooms()[:3]),
        orientation="".join(letter or "?" for letter in nibabel.aff2axcodes(image.affine)),
    )


def _values(image: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    array = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    return np.ascontiguousarray(np.moveaxis(array, 3, 0) if len(shape) == 4 else array[None])
