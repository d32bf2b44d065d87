"""Axes of space, one to three of them: what sizes and sides are called, and how windows are cut.

What is said of every axis is a tuple in the order of the axes: (height, width), or (depth, height, width). What is said of every
side is a flat tuple too, before and after each axis in turn: (top, bottom, left, right).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor

Size = tuple[int, ...]
"""One number for each axis, px or cells."""

Sides = tuple[int, ...]
"""Two numbers for each axis, before and after: (start, end); (top, bottom, left, right); (front, back, top, bottom, left, right)."""

MOST = 3
"""Axes of space that images may have."""

_SIDES = {1: ("start", "end"), 2: ("top", "bottom", "left", "right")}
_SIDES[3] = ("front", "back", *_SIDES[2])
_LETTERS = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}
_SIZES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
_CELLS = {1: ("cell",), 2: ("row", "column"), 3: ("plane", "row", "column")}

CELLS = {1: "samples", 2: "px", 3: "voxels"}
"""What the cells of images are called, by the number of axes."""

T = TypeVar("T")


def side_names(axes: int) -> tuple[str, ...]:
    """Names of the sides of so many axes, in the order of `Sides`."""
    return _SIDES[axes]


def initials(axes: int) -> str:
    """What a table's header says of the sides: ``t b l r``."""
    return " ".join({1: ("start", "end"), 2: "tblr", 3: ("front", "back", *"tblr")}[axes])


def letters(axes: int) -> tuple[str, ...]:
    """A letter for each axis."""
    return _LETTERS[axes]


def size_names(axes: int) -> tuple[str, ...]:
    """What the size along each axis is called."""
    return _SIZES[axes]


def cell_names(axes: int) -> tuple[str, ...]:
    """What a place along each axis of a map is called: row, column."""
    return _CELLS[axes]


def map_form(axes: int) -> str:
    """The dimensions of a batch of maps in words: ``(batch, channels, height, width)``."""
    return f"({', '.join(('batch', 'channels', *size_names(axes)))})"


def pairs(sides: Sequence[T]) -> tuple[tuple[T, T], ...]:
    """What is said of every side, as one pair (before, after) for each axis."""
    return tuple(zip(sides[::2], sides[1::2], strict=True))


def each_side(values: Sequence[T]) -> tuple[T, ...]:
    """What is said of every axis, for both of its sides."""
    return tuple(one for one in values for _ in (0, 1))


def with_sides(size: Sequence[int], sides: Sequence[int]) -> Size:
    """A size with something on each side."""
    return tuple(n + before + after for n, (before, after) in zip(size, pairs(sides), strict=True))


def window(corner: Sequence[int], size: Sequence[int]) -> tuple[Any, ...]:
    """An index of the last dimensions of a tensor: so many cells along each axis from a corner on."""
    return (..., *(slice(first, first + n) for first, n in zip(corner, size, strict=True)))


def inside(size: Sequence[int], rim: Sequence[int]) -> tuple[slice, ...]:
    """The part of a map that a rim leaves, as one slice for each axis; empty where nothing is left."""
    return tuple(slice(a, max(a, n - b)) for n, (a, b) in zip(size, pairs(rim), strict=True))


def space(x: Tensor, before: int) -> tuple[int, ...]:
    """The dimensions of space of a tensor, counted from the end; `before` come first."""
    return tuple(range(before - x.dim(), 0))


def along(values: Tensor, axis: int, axes: int) -> Tensor:
    """`(n,)` values along one of so many axes, in a shape that extends over the others."""
    return values.view([-1 if one == axis else 1 for one in range(axes)])


def times(numbers: Sequence[object], sign: str = "x") -> str:
    """``3x4``."""
    return sign.join(map(str, numbers))


def plural(axes: int) -> str:
    """``1 space axis``, ``2 space axes``."""
    return f"{axes} space ax{'i' if axes == 1 else 'e'}s"
