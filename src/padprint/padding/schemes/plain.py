"""Schemes that copy cells or repeat a number."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.errors import PaddingError
from padprint.padding.scheme import Scheme, register
from padprint.padding.schemes.edges import Sides, by_axis, flat, pad_constant, require
from padprint.padding.windowed import Pads


@register("zeros")
class Zeros(Scheme):
    """Zero beyond the edge: x[i] = 0.

    In max pooling too, where torch's own padding is minus infinity. Cost: one copy of the map (torch's own zero padding
    of a convolution is part of the operator, and free).
    """

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        return pad_constant(x, pads, 0.0)


@register("constant")
class Constant(Scheme):
    """One number beyond the edge: x[i] = value. Cost: one copy of the map.

    Args:
        value: the number.
    """

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PaddingError(f"the value of constant padding is a number; it is {value!r}")
        self.value = float(value)
        if math.isnan(self.value):
            raise PaddingError("the value of constant padding is a number; it is NaN")

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        return pad_constant(x, pads, self.value)


@register("reflect")
class Reflect(Scheme):
    """Mirror without repeating the edge: x[-i] = x[i]. Needs fewer cells than the map has. Cost: one copy of the map."""

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        require(x, pads, self.name, lambda before, after: max(before, after) + 1)
        return copied(x, pads, "reflect")


@register("symmetric")
class Symmetric(Scheme):
    """Mirror that repeats the edge: x[-i] = x[i - 1]. Needs no more cells than the map has.

    One cell is what `replicate` gives. Cost: one copy of the map for each dimension; for one cell, one copy.
    """

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        require(x, pads, self.name, max)
        if all(before <= 1 and after <= 1 for before, after in pads):
            return copied(x, pads, "replicate")
        return by_axis(x, pads, mirrored)


@register("replicate")
class Replicate(Scheme):
    """The nearest cell of the map: x[-i] = x[0]. Cost: one copy of the map."""

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        require(x, pads, self.name, lambda *_: 1)
        return copied(x, pads, "replicate")


@register("circular")
class Circular(Scheme):
    """The other side of the map: x[i] = x[i mod n]. Needs no more cells than the map has. Cost: one copy of the map."""

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        require(x, pads, self.name, max)
        return copied(x, pads, "circular")


def copied(x: Tensor, pads: Pads, mode: str) -> Tensor:
    """`F.pad` in one of its copying modes, for any number of dimensions."""
    if x.dim() - len(pads) in (1, 2) and len(pads) <= 3:
        return F.pad(x, flat(pads), mode=mode)

    def extend(x: Tensor, axis: int, sides: Sides) -> Tensor:
        y = x.movedim(axis, -1)
        padded = F.pad(y.reshape(1, -1, y.shape[-1]), sides, mode=mode)
        return padded.reshape(*y.shape[:-1], -1).movedim(-1, axis)

    return by_axis(x, pads, extend)


def mirrored(x: Tensor, axis: int, sides: Sides) -> Tensor:
    """Mirror that repeats the edge, along one dimension."""
    before, after = sides
    start = x.narrow(axis, 0, before).flip(axis)
    end = x.narrow(axis, x.shape[axis] - after, after).flip(axis)
    return torch.cat([start, x, end], axis)
