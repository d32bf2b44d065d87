"""Which dimensions of a tensor run over the image, told by running a network at several sizes, and cutting a window out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt, prod
from typing import NamedTuple

import torch
from torch import Tensor

from padprint.errors import ModelError
from padprint.support.axes import Size, window

Shape = tuple[int, ...]


class Extent(NamedTuple):
    """How one dimension of a tensor runs over the image.

    Attributes:
        axes: of space; several for cells that are flattened, row by row, whatever stands before them.
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
        crop: size of the crop.
        canvas: size of the canvas.
        corner: of the crop's first pixel.
    """

    crop: Size
    canvas: Size
    corner: Size

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
        firsts, counts, totals = zip(*(self.cells(extent, i) for i in range(len(extent.axes))), strict=True)
        if n % prod(totals):
            _check(n, prod(counts), prod(totals))
            return tensor
        index = torch.arange(n, device=tensor.device).view(-1, *totals)
        return tensor.index_select(dim, index[window(firsts, counts)].reshape(-1))

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
    crop: Shape, grown: Sequence[Shape], size: Size, growth: Sequence[int], at: Sequence[Fraction]
) -> list[Extent | None]:
    """How each dimension of a tensor runs over the image; None for one that does not.

    Args:
        crop: shape at the crop's size.
        grown: for each axis, shape where the input is longer along it by `growth`, and
        size: size of the crop.
        growth: pixels, by axis.
        at: strides of the latest map before it, which tell cells from channels where both are flattened.
    """
    if any(len(one) != len(crop) for one in grown):
        return [UNKNOWN] * len(crop)
    return [
        _extent(n, [longer - n for longer in each], size, growth, at) for n, *each in zip(crop, *grown, strict=True)
    ]


def _extent(n: int, more: Sequence[int], size: Size, growth: Sequence[int], at: Sequence[Fraction]) -> Extent | None:
    axes = tuple(axis for axis, one in enumerate(more) if one)
    if not axes:
        return None
    if min(more) < 0:
        return UNKNOWN
    if len(axes) == 1:
        (axis,) = axes
        return Extent(axes, (n,), (Fraction(growth[axis], more[axis]),))
    # n = k times the cells along each axis, and growing by T px of stride s adds T / s cells along one; k of what is flattened with them
    by = [Fraction(n * growth[axis], more[axis]) for axis in axes]  # cells times stride along each axis
    square = _root(prod(by, start=Fraction(1, n)), len(axes))
    for strides in ([at[axis] for axis in axes], [square] * len(axes)):
        if None in strides:
            continue
        own = tuple(one for one in strides if one is not None)
        cells = [one / stride for one, stride in zip(by, own, strict=True)]
        k = n / prod(cells, start=Fraction(1))
        near = all(abs(c * s - size[axis]) <= 4 * s for c, s, axis in zip(cells, own, axes, strict=True))
        if all(one.denominator == 1 for one in (k, *cells)) and k > 0 and near:
            return Extent(axes, tuple(map(int, cells)), own)
    return UNKNOWN


def _root(x: Fraction, order: int) -> Fraction | None:
    """The root of a square or a cube."""
    over, under = (_whole_root(one, order) for one in (x.numerator, x.denominator))
    return None if over is None or under is None else Fraction(over, under)


def _whole_root(n: int, order: int) -> int | None:
    near = isqrt(n) if order == 2 else round(n ** (1 / order))
    return near if near**order == n else None


def axes_of(found: Sequence[Sequence[Extent | None]]) -> set[int]:
    """Image axes that any of several tensors run over."""
    return {axis for one in found for extent in one if extent is not None for axis in extent.axes}
