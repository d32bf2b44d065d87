"""What a file of numbers holds, told before they are read; and which files are read, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from padprint.errors import ImagesError

Paths: TypeAlias = str | Path | Sequence[str] | Sequence[Path]


@dataclass(frozen=True)
class Files:
    """Files, and how they are read; given wherever a folder can be given.

    Attributes:
        paths: a folder, one file, or a list of files (see `ImageFolder`).
        axes: how many space axes an image has, 1 to 3, for files that do not say it: arrays and stacks of pages. None: a waveform
            is an array of one axis, a picture one of two or three, a volume one of four.
        channels: which channels are read, in this order, by number (from 0) or by the name that the file has for them. None: all.
        sample_rate: samples per second, for files that do not say it.
        spacing: mm from cell to cell, one number or one for each space axis, in the place of what the files say.

    Raises:
        ImagesError: an option makes no sense.

    Examples:
        >>> from padprint.scenes import Files
        >>> Files("volumes", axes=3, spacing=(3, 1, 1)).spacing
        (3.0, 1.0, 1.0)
    """

    paths: Paths
    axes: int | None = None
    channels: Sequence[int | str] | None = None
    sample_rate: float | None = None
    spacing: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.axes not in (None, 1, 2, 3):
            raise ImagesError(f"an image has one, two or three space axes, but axes is {self.axes!r}")
        if self.channels is not None:
            channels = (self.channels,) if isinstance(self.channels, int | str) else tuple(self.channels)
            if not channels or any(isinstance(one, int) and one < 0 for one in channels):
                raise ImagesError(f"channels are numbers from 0 on, or names, but got {self.channels!r}")
            object.__setattr__(self, "channels", channels)
        if self.sample_rate is not None:
            _check_positive("sample_rate", (self.sample_rate,))
        if self.spacing is not None:
            spacing = (self.spacing,) if isinstance(self.spacing, int | float) else tuple(self.spacing)
            _check_positive("spacing", spacing)
            object.__setattr__(self, "spacing", tuple(map(float, spacing)))


def _check_positive(option: str, values: Sequence[float]) -> None:
    if not values or not all(isfinite(value) and value > 0 for value in values):
        raise ImagesError(f"{option} must be above 0, got {', '.join(f'{value:g}' for value in values) or 'nothing'}")


@dataclass(frozen=True)
class Contents:
    """What a file holds, by its header.

    Attributes:
        shape: `(C, *space)`, of one to three space axes.
        values: reads the numbers, an array of that shape.
        names: of the channels, where the file has any.
        sample_rate: samples per second, where the file says it.
        spacing: mm from cell to cell along each space axis, likewise.
        orientation: where each space axis points in the body, one letter each, such as "RAS" (right, anterior, superior).
        piece: the shape of what is decoded at once, where that may be larger than the whole.
    """

    shape: tuple[int, ...]
    values: Callable[[], NDArray[Any]]
    names: tuple[str, ...] = ()
    sample_rate: float | None = None
    spacing: tuple[float, ...] | None = None
    orientation: str | None = None
    piece: tuple[int, ...] = ()


Reader: TypeAlias = Callable[[Path, Files], Contents]
"""Looks at the header of a file, and at what was asked for; raises ImagesError where the file cannot be used."""


def numbers(array: NDArray[Any]) -> NDArray[np.float32]:
    """An array in single precision: unsigned whole numbers over the largest of their kind, others as they are.

    Raises:
        ImagesError: it holds no numbers.
    """
    check_numbers(array.dtype)
    whole = np.ascontiguousarray(array, dtype=np.float32)
    return whole / np.float32(np.iinfo(array.dtype).max) if array.dtype.kind == "u" else whole


def check_numbers(kind: np.dtype[Any]) -> None:
    """Raise ImagesError where this is no kind of real numbers."""
    if kind.kind not in "uif":
        raise ImagesError(f"it holds {kind}, not numbers")


@dataclass(frozen=True)
class Order:
    """How an array becomes `(C, *space)`.

    Attributes:
        dropped: axes of one place, which are dropped.
        channel: which of the axes left holds the channels; None where there is one channel.
    """

    dropped: tuple[int, ...] = ()
    channel: int | None = None

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that an array of this one gets."""
        left = [n for axis, n in enumerate(shape) if axis not in self.dropped]
        channels = 1 if self.channel is None else left.pop(self.channel)
        return (channels, *left)

    def __call__(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array in this order."""
        left = array.squeeze(self.dropped) if self.dropped else array
        return left[None] if self.channel is None else np.moveaxis(left, self.channel, 0)


def unnamed(shape: tuple[int, ...], axes: int | None) -> Order:
    """The order of an array whose axes have no names: channels are the shorter of the first and the last axis.

    Args:
        shape: of the array.
        axes: space axes asked for; None: one of an array of one, three of one of four, else two.

    Raises:
        ImagesError: it has more or fewer axes, none long enough, or both ends are equally long.
    """
    space = {1: 1, 4: 3}.get(len(shape), 2) if axes is None else axes
    if len(shape) not in (space, space + 1) or 0 in shape:
        what = {1: "samples", 2: "rows and columns", 3: "slices, rows and columns"}[space]
        raise ImagesError(
            f"its shape is {times(shape)}; {what}, and channels first or last, are read"
            f"{_how(len(shape)) if 0 not in shape else ''}"
        )
    if len(shape) == space:
        return Order()
    if shape[0] == shape[-1]:
        raise ImagesError(
            f"its shape {times(shape)} does not say which axis holds the bands; save it with bands first, padded apart"
        )
    return Order(channel=0 if shape[0] < shape[-1] else len(shape) - 1)


def _how(ndim: int) -> str:
    """What to do with an array of so many axes, where the space axes asked for do not fit it."""
    fits = [n for n in (ndim - 1, ndim) if 1 <= n <= 3]
    return f" ({' or '.join(f'axes={n}' for n in fits)} fits)" if fits else ""


def named(names: str, shape: tuple[int, ...], axes: int | None) -> Order:
    """The order of an array whose axes have names, of one letter each: X, Y, Z are space, C and S channels, anything else is a sequence.

    Where three axes are asked for and there is no Z, a sequence is a volume's third axis; where two are asked for, it is of channels.

    Args:
        names: by axis.
        shape: likewise.
        axes: space axes asked for; None: three where there is a Z of more than one cell, else two.

    Raises:
        ImagesError: more or fewer axes than asked for, or more than one of channels.
    """
    long = [axis for axis, n in enumerate(shape) if n > 1 or names[axis] in "YX"]
    wanted = axes or (3 if any(names[axis] == "Z" for axis in long) else 2)
    plane, deep = [[axis for axis in long if names[axis] in letters] for letters in ("YX", "Z")]
    channels = [axis for axis in long if names[axis] in "CS"]
    others = [axis for axis in long if axis not in (*plane, *deep, *channels)]
    what = f"its axes are {names} of {times(shape)}"
    if 0 in shape or [names[axis] for axis in plane] != ["Y", "X"]:
        raise ImagesError(f"{what}; rows and columns are read, with slices before them and channels anywhere")
    if wanted == 3:
        flat = [axis for axis, name in enumerate(names) if name == "Z"]  # one slice
        deep = deep or others[:1] or flat[:1]
        others = [axis for axis in others if axis not in deep]
    elif axes == 2 and not channels:
        channels, deep, others = [*deep, *others], [], []  # pages are bands where that is said
    if wanted == 1 or others or len(plane) + len(deep) != wanted:
        raise ImagesError(f"{what}; {_instead(wanted, len(others) + len(deep))}")
    if len(channels) > 1:
        raise ImagesError(
            f"{what}, with more than one axis of channels; one is read: save one place of the others apart"
        )
    dropped = tuple(axis for axis in range(len(names)) if axis not in (*plane, *deep, *channels))
    left = [axis for axis in range(len(names)) if axis not in dropped]
    return Order(dropped, left.index(channels[0]) if channels else None)


def _instead(wanted: int, further: int) -> str:
    if wanted == 1:
        return "it holds no waveform, and axes=1 asks for one"
    if wanted == 3 and not further:
        return "it holds no volume, and axes=3 asks for one"
    if wanted == 2 and further == 1:
        return (
            "it is a stack that does not say of what: axes=3 reads it as a volume, axes=2 its pages as bands; "
            "where they are images, save each as a file"
        )
    return "one image is read, of rows, columns, slices and channels: save one time or one series apart"


def times(shape: Sequence[int]) -> str:
    """``2 x 3``."""
    return " x ".join(map(str, shape))
