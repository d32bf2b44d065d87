"""Axes of maps on which the cells near each border have equal room and the untouched ones between are one folded band.

A rim of two cells of a hundred is too thin to see; folded, the frame that padding leaves looks the same at every depth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from padprint.errors import ResultError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from padprint.results.measurement import LayerMeasurement

Span = tuple[int, int]


def refuse_other_axes(size: Sequence[int]) -> None:
    """Raise ResultError where a map has not two axes of space: others cannot be drawn."""
    if len(size) != 2:
        raise ResultError(f"maps are drawn of 2 space axes, and this one has {len(size)}: use its numbers")


@dataclass(frozen=True)
class Fold:
    """What is drawn along one axis of a map.

    Attributes:
        spans: the cells (first, last + 1) that each drawn step stands for.
        middle: which step is the folded band; None where nothing is folded.
        room: steps that the band is drawn as wide as.
    """

    spans: tuple[Span, ...]
    middle: int | None = None
    room: int = 1

    @property
    def length(self) -> int:
        """Length of the axis as drawn, steps."""
        return len(self.spans) + (self.room - 1) * (self.middle is not None)

    def place(self, cell: float) -> float:
        """Where the near edge of a cell is drawn, steps; fractions of cells count too."""
        at = 0.0
        for i, (start, stop) in enumerate(self.spans):
            wide = self.room if i == self.middle else 1
            if cell < stop or i == len(self.spans) - 1:
                return at + wide * (cell - start) / (stop - start)
            at += wide
        return at

    def torn(self) -> list[float]:
        """Where the folded band begins and ends, steps; [] where nothing is folded."""
        return [] if self.middle is None else [self.place(cell) for cell in self.spans[self.middle]]


def folds(layer: LayerMeasurement, most: int = 1024) -> tuple[Fold, Fold]:
    """The folds of a layer's rows and columns, of one depth at all borders: half as much again as the widest rim.

    Args:
        layer: the layer.
        most: steps along an axis, about; of larger maps each step is a block of cells.
    """
    refuse_other_axes(layer.pattern.shape[1:])
    widest = max(layer.rim)
    keep = widest + max(1, math.ceil(widest / 2)) if widest else 0
    rows, columns = layer.pattern.shape[1:]
    return axis_fold(rows, keep, most), axis_fold(columns, keep, most)


def is_folded(layer: LayerMeasurement) -> bool:
    """Whether a layer's map is drawn with both axes folded; where only one would be, neither is."""
    return None not in [fold.middle for fold in folds(layer)]


def axis_fold(size: int, keep: int, most: int) -> Fold:
    """The fold of one axis.

    Args:
        size: cells.
        keep: cells at each border that stay apart; with 0, or where no more than so many lie between, all do.
        most: steps, about.
    """
    if keep == 0 or size - 2 * keep <= keep:
        return Fold(_blocks(0, size, math.ceil(size / most)))
    block = math.ceil(2 * keep / most)
    near, far = _blocks(0, keep, block), _blocks(size - keep, size, block)
    return Fold((*near, (keep, size - keep), *far), len(near), max(1, round(len(near) / 2)))


def folded(values: NDArray[np.float64], rows: Fold, columns: Fold, *, square: bool) -> NDArray[np.float64]:
    """Values of a map by drawn step: the mean over a step's cells, or their root mean square.

    Args:
        values: `(..., h, w)`.
        rows: of its rows.
        columns: of its columns.
        square: whether to take root mean squares.
    """
    if all(stop - start == 1 for fold in (rows, columns) for start, stop in fold.spans):
        return values
    found = values**2 if square else values
    for axis, fold in ((-2, rows), (-1, columns)):
        parts = [found.take(range(*span), axis).mean(axis, keepdims=True) for span in fold.spans]
        found = np.concatenate(parts, axis)
    return np.sqrt(found) if square else found


def drawn(values: NDArray[np.float64], rows: Fold, columns: Fold) -> NDArray[np.float64]:
    """`(..., steps, steps)` values as pictures: a folded band takes as many rows or columns as it has room."""
    for axis, fold in ((-2, rows), (-1, columns)):
        times = [fold.room if i == fold.middle else 1 for i in range(len(fold.spans))]
        values = values.repeat(times, axis)
    return values


def edges(fold: Fold, near: int, far: int, size: int, pixels: int, stride: float) -> list[tuple[float, float]]:
    """Ticks of an axis, (place in steps, input px): its two ends, and the inner edges of the rim where there is one.

    Args:
        fold: of the axis.
        near: rim at the start, cells.
        far: rim at the end, cells.
        size: cells.
        pixels: size of the crop along it, input px.
        stride: input px per cell.
    """
    ticks = [(0.0, 0.0), (float(fold.length), float(pixels))]
    if near + far < size:
        ticks += [(fold.place(near), near * stride)] * (near > 0)
        ticks += [(fold.place(size - far), pixels - far * stride)] * (far > 0)
    return sorted(ticks)


def span_pixels(span: Span, start: float, stride: float) -> tuple[float, float]:
    """Input px that the cells of a span stand for.

    Args:
        span: the cells.
        start: where the first cell of the map starts, input px.
        stride: input px per cell.
    """
    return start + span[0] * stride, start + span[1] * stride


def _blocks(start: int, stop: int, block: int) -> tuple[Span, ...]:
    return tuple((at, min(at + block, stop)) for at in range(start, stop, max(1, block)))
