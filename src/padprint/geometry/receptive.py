"""Receptive fields: the input pixels that a cell can see, and the cells that can see a pixel; each axis by itself.

A field is that of a cell with scene all around: it may begin before the input and end behind it, and what lies there is
padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from operator import index
from typing import Any

import torch
from torch import Tensor

from padprint.errors import LayerError
from padprint.support.axes import cell_names, side_names, times

Span = tuple[int, int]
"""Pixels from the first up to the second, which is not among them."""

Spans = tuple[Span, ...]
"""What a cell sees along one axis, in order; several where there are gaps, as behind a dilated window."""


@dataclass(frozen=True)
class AxisFields:
    """The receptive fields of a map's cells along one axis.

    Attributes:
        first: the pixels that each of the first cells can see, one period of them. Behind upsampling they differ.
        period: pixels after which the cells repeat.
        cells: of the map.
        pixels: of the input.
    """

    first: tuple[Spans, ...]
    period: int
    cells: int
    pixels: int

    def of(self, cell: int) -> Spans:
        """The pixels that a cell can see; 0 is the first cell, and the first pixel."""
        turn, phase = divmod(cell, len(self.first))
        return tuple((start + turn * self.period, stop + turn * self.period) for start, stop in self.first[phase])

    def seeing(self, span: Span) -> tuple[int, ...]:
        """The cells that can see any of some pixels, in order."""
        start, stop = span
        return tuple(i for i in range(self.cells) if any(a < stop and start < b for a, b in self.of(i)))


@dataclass(frozen=True)
class Field:
    """The box of input pixels that one cell can see, as `LayerGeometry.field` finds it; pixel (0, 0) is the input's corner.

    Attributes:
        layer: the layer's name.
        cell: its place in the map, (row, column), all at least 0.
        box: for each axis (rows, then columns): the first pixel and the one behind the last. Where the box begins below 0 or ends
            behind the input, the cell sees padding there.
        spans: the same without gaps: the pixels of the box that the cell can see along each axis. A cell behind dilated windows
            skips some.
        image: size of the input, (height, width), px.
        exact: see `LayerGeometry.exact`; else the box may be too small.
    """

    layer: str
    cell: tuple[int, ...]
    box: tuple[Span, ...]
    spans: tuple[Spans, ...]
    image: tuple[int, ...]
    exact: bool

    @property
    def size(self) -> tuple[int, ...]:
        """Size of the box, (rows, columns), px."""
        return tuple(stop - start for start, stop in self.box)

    @property
    def centre(self) -> tuple[float, ...]:
        """The box's middle, (y, x), px; pixel 0 has centre 0."""
        return tuple((start + stop - 1) / 2 for start, stop in self.box)

    @property
    def inside(self) -> tuple[Span, ...]:
        """The part of the box that lies on the input, for each axis; from a pixel to itself where there is none."""
        limits = [(min(max(a, 0), n), min(max(b, 0), n)) for (a, b), n in zip(self.box, self.image, strict=True)]
        return tuple(limits)

    @property
    def slices(self) -> tuple[slice, ...]:
        """`inside` as slices: ``image[(..., *field.slices)]``."""
        return tuple(slice(start, stop) for start, stop in self.inside)

    @property
    def outside(self) -> tuple[int, ...]:
        """Pixels of the box that lie beyond the input on each side (top, bottom, left, right)."""
        return tuple(
            beyond
            for (a, b), n in zip(self.box, self.image, strict=True)
            for beyond in (min(max(-a, 0), b - a), min(max(b - n, 0), b - a))
        )

    @property
    def padding(self) -> float:
        """Share of the box that lies beyond the input, 0 to 1."""
        return 1 - prod(b - a for a, b in self.inside) / prod(self.size)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "layer": self.layer,
            "cell": list(self.cell),
            "box": [list(one) for one in self.box],
            "size": list(self.size),
            "centre": list(self.centre),
            "spans": [[list(one) for one in axis] for axis in self.spans],
            "image": list(self.image),
            "outside": list(self.outside),
            "padding": self.padding,
            "exact": self.exact,
        }

    def __str__(self) -> str:
        where = f"{self.layer}, cell {times(self.cell, ',')}"
        names = cell_names(len(self.box)) if len(self.box) > 1 else ("pixel",)
        spans = ", ".join(f"{name}s {a} to {b - 1}" for name, (a, b) in zip(names, self.box, strict=True))
        box = f"{spans} ({times(self.size, ' x ')} px)"
        sides = zip(side_names(len(self.box)), self.outside, strict=True)
        beyond = ", ".join(f"{n} px {side}" for side, n in sides if n)
        padding = f"{100 * self.padding:.0f} % is padding: {beyond}" if beyond else "all of it on the input"
        gaps = " with gaps" if any(len(one) > 1 for one in self.spans) else ""
        return f"{where}: sees {box}{gaps}; {padding}{'' if self.exact else '; as far as was seen'}"


@dataclass(frozen=True)
class Misalignment:
    """A call that joins maps (adds, concatenates) whose cells look at different places.

    Attributes:
        module: path of the module that makes the call; "" is the model itself.
        operator: its name.
        offsets: for each axis: the pixel on which the first cell's receptive field is centred, for each of the maps;
            where the cells of one period differ, as behind upsampling, on average. Empty along an axis where it is not known.
    """

    module: str
    operator: str
    offsets: tuple[tuple[float, ...], ...]

    @property
    def pixels(self) -> tuple[float, ...]:
        """How far the maps' centres are apart along each axis, input px."""
        return tuple(max(one) - min(one) if one else 0.0 for one in self.offsets)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        offsets = [list(one) for one in self.offsets]
        return {"module": self.module, "operator": self.operator, "pixels": list(self.pixels), "offsets": offsets}

    def __str__(self) -> str:
        apart = " x ".join(f"{n:g}" for n in self.pixels)
        return f"{self.operator} in {self.module or 'the model itself'} joins maps that are centred {apart} px apart"


def field_of(layer: str, cell: object, axes: Sequence[AxisFields], *, exact: bool) -> Field:
    """The field of a cell; see `LayerGeometry.field`.

    Raises:
        LayerError: the map has no such cell.
    """
    size = tuple(axis.cells for axis in axes)
    found = _whole(cell)
    if len(found) != len(size) or not all(-n <= i < n for i, n in zip(found, size, strict=True)):
        raise LayerError(
            f"{layer} has no cell {cell!r}: a cell is ({', '.join(cell_names(len(size)))}) of its map of {times(size, ' x ')} cells, "
            "counted from 0, or from the end where below 0"
        )
    place = tuple(i % n for i, n in zip(found, size, strict=True))
    spans = tuple(axis.of(i) for axis, i in zip(axes, place, strict=True))
    box = tuple((one[0][0], one[-1][1]) for one in spans)
    return Field(layer, place, box, spans, tuple(axis.pixels for axis in axes), exact)


def cells_seeing(layer: str, box: object, axes: Sequence[AxisFields]) -> tuple[tuple[int, ...], ...]:
    """The cells along each axis of a map that can see a box; see `LayerGeometry.cells`.

    Raises:
        LayerError: the box is none.
    """
    pixel = _whole(box)
    spans: list[tuple[int, ...]] = [(n, n + 1) for n in pixel]
    if not pixel and isinstance(box, Sequence):
        spans = [_whole(one) for one in box]
    if len(spans) != len(axes) or not all(len(one) == 2 and one[0] < one[1] for one in spans):
        raise LayerError(
            f"{box!r} is no box of the input of {layer}: give a pixel ({', '.join(cell_names(len(axes)))}), or for "
            f"{' and for '.join(f'{name}s' for name in cell_names(len(axes)))} the first pixel and the one behind the last, such as "
            f"{((0, 8),) * len(axes)}"
        )
    return tuple(axis.seeing((one[0], one[1])) for axis, one in zip(axes, spans, strict=True))


def _whole(numbers: object) -> tuple[int, ...]:
    """Whole numbers, those of NumPy too, as Python's; empty where one of them is none."""
    found = tuple(numbers) if isinstance(numbers, Sequence) else ()
    good = all(hasattr(n, "__index__") and not isinstance(n, bool) for n in found)
    return tuple(index(n) for n in found) if good else ()


def fields_from(mask: Tensor, first: int, phases: int) -> tuple[Spans, ...] | None:
    """The fields of one period of cells, from what single pixels reach.

    Args:
        mask: `(period, cells)` bool: row i says which cells pixel ``first + i`` reaches.
        first: the first of these pixels.
        phases: cells in one period.

    Returns:
        None where the ends of the map are reached, so that more may be, or where a cell of the period is not.
    """
    if bool(mask[:, 0].any()) or bool(mask[:, -1].any()):
        return None
    period = len(mask)
    row, cell = mask.nonzero(as_tuple=True)
    pixel = first + row - torch.div(cell, phases, rounding_mode="floor") * period
    found = tuple(_runs(sorted(set(pixel[cell % phases == i].tolist()))) for i in range(phases))
    return found if all(found) else None


def _runs(pixels: Sequence[int]) -> Spans:
    """Sorted pixels as spans."""
    edges = [i for i in range(1, len(pixels)) if pixels[i] != pixels[i - 1] + 1]
    return tuple(
        (pixels[a], pixels[b - 1] + 1) for a, b in zip([0, *edges], [*edges, len(pixels)], strict=True) if b > a
    )


def offset_of(fields: Sequence[Spans], stride: Fraction) -> Fraction:
    """Pixel on which the first cell's field is centred; where the cells of a period differ, what fits them on average."""
    centres = [Fraction(one[0][0] + one[-1][1] - 1, 2) - i * stride for i, one in enumerate(fields)]
    return sum(centres, Fraction(0)) / len(centres)
