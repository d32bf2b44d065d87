"""Which dimensions of a tensor run over the image, told by running a network at three sizes, and cutting a window out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor

from padprint.errors import ModelError

Shape = tuple[int, ...]


class Extent(NamedTuple):
    """How one dimension of a tensor runs over the image.

    Attributes:
        axes: image axes, 0 for rows and 1 for columns; (0, 1) for cells flattened row by row, whatever stands before them.
        cells: along each of them, at the crop's size.
        stride: input pixels from one cell to the next, along each of them.
    """

    axes: tuple[int, ...]
    cells: tuple[int, ...]
    stride: tuple[Fraction, ...]


UNKNOWN = Extent((), (), ())
"""Of a dimension that grows with the image in a way that is not read."""


@dataclass(frozen=True)
class Window:
    """Where a crop lies on a canvas; pixels.

    Attributes:
        crop: (height, width) of the crop.
        canvas: (height, width) of the canvas.
        corner: (y, x) of the crop's first pixel.
    """

    crop: tuple[int, int]
    canvas: tuple[int, int]
    corner: tuple[int, int]

    def cells(self, extent: Extent, i: int) -> tuple[int, int, int]:
        """(first cell, cells of the window, cells of the canvas) along the extent's axis number `i`.

        Raises:
            ModelError: the crop does not lie on the grid of these cells.
        """
        axis, count, stride = extent.axes[i], extent.cells[i], extent.stride[i]
        first, more = self.corner[axis] / stride, (self.canvas[axis] - self.crop[axis]) / stride
        if first.denominator != 1 or more.denominator != 1:
            raise ModelError(
                f"a crop whose corner lies at {self.corner[axis]} px of a canvas of {self.canvas[axis]} px is off the grid of "
                f"{stride} px of the cells that an operator sees all of"
            )
        return int(first), count, count + int(more)

    def cut(self, tensor: Tensor, dim: int, extent: Extent) -> Tensor:
        """The window's part of a tensor along one dimension; all of it where it has been cut before."""
        n = tensor.shape[dim]
        if len(extent.axes) == 1:
            first, count, total = self.cells(extent, 0)
            if n == total:
                return tensor.narrow(dim, first, count)
            _check(n, count, total)
            return tensor
        (top, height, rows), (left, width, columns) = self.cells(extent, 0), self.cells(extent, 1)
        if n % (rows * columns):
            _check(n, height * width, rows * columns)
            return tensor
        index = torch.arange(n, device=tensor.device).view(-1, rows, columns)
        return tensor.index_select(dim, index[:, top : top + height, left : left + width].reshape(-1))

    def inside(self, n: int, extent: Extent) -> Tensor:
        """`(n,)`: which cells of a dimension belong to the window; all of them where it has been cut before."""
        kept = self.cut(torch.arange(n), 0, extent)
        mask = torch.zeros(n, dtype=torch.bool)
        mask[kept] = True
        return mask


def _check(n: int, count: int, total: int) -> None:
    if n % count:
        raise ModelError(
            f"an operator that sees the whole map has {n} cells where {total} were expected of the scene, or {count} of the crop"
        )


def extents(
    crop: Shape, tall: Shape, wide: Shape, size: tuple[int, int], growth: tuple[int, int], at: Fraction
) -> list[Extent | None]:
    """How each dimension of a tensor runs over the image; None for one that does not.

    Args:
        crop: shape at the crop's size.
        tall: shape where the input has `growth[0]` more rows.
        wide: shape where it has `growth[1]` more columns.
        size: of the crop.
        growth: pixels.
        at: stride of the latest map before it, which tells cells from channels where both are flattened.
    """
    if not len(crop) == len(tall) == len(wide):
        return [UNKNOWN] * len(crop)
    return [_extent(c, t - c, w - c, size, growth, at) for c, t, w in zip(crop, tall, wide, strict=True)]


def _extent(
    n: int, taller: int, wider: int, size: tuple[int, int], growth: tuple[int, int], at: Fraction
) -> Extent | None:
    if taller == 0 and wider == 0:
        return None
    if taller < 0 or wider < 0:
        return UNKNOWN
    if wider == 0:
        return Extent((0,), (n,), (Fraction(growth[0], taller),))
    if taller == 0:
        return Extent((1,), (n,), (Fraction(growth[1], wider),))
    # n = k h w, and growing by Ty rows of stride s adds k (Ty / s) w, by Tx columns k h (Tx / s); k of what is flattened with them
    scale = Fraction(taller * wider, n * growth[0] * growth[1])  # k / s^2
    for stride in (at, _root(1 / scale)):
        if stride is None:
            continue
        k = scale * stride**2
        height, width = wider * stride / (k * growth[1]), taller * stride / (k * growth[0])
        near = all(abs(cells * stride - px) <= 4 * stride for cells, px in zip((height, width), size, strict=True))
        if k.denominator == height.denominator == width.denominator == 1 and k > 0 and near:
            return Extent((0, 1), (int(height), int(width)), (stride, stride))
    return UNKNOWN


def _root(x: Fraction) -> Fraction | None:
    """The root of a square."""
    over, under = isqrt(x.numerator), isqrt(x.denominator)
    return Fraction(over, under) if over**2 == x.numerator and under**2 == x.denominator else None


def axes_of(found: Sequence[Sequence[Extent | None]]) -> set[int]:
    """Image axes that any of several tensors run over."""
    return {axis for one in found for extent in one if extent is not None for axis in extent.axes}
