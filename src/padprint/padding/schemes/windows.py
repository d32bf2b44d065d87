"""Schemes that change what the operator does with the cells, or how many there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.padding.scheme import Scheme, register
from padprint.padding.schemes.edges import pad_constant
from padprint.padding.schemes.plain import copied
from padprint.padding.windowed import Pads, Windowed


def _kind(op: Windowed) -> str:
    """The operator without its number of dimensions: conv, avg_pool, max_pool, unfold, pad, ..."""
    return op.operator[:-2] if op.operator.endswith(("1d", "2d", "3d")) else op.operator


def own_way(op: Windowed) -> Any:
    """The operator with the cells that it supplies itself, where these are cells."""
    mode = "replicate" if op.mode == "clamp" else op.mode
    if mode not in ("reflect", "replicate", "circular"):
        return op.apply(op, op.padded({}))

    def pad(x: Tensor, pads: Pads) -> Tensor:
        return copied(x, pads, mode)

    grown = replace(op, pads=_each(max, op.pads)).extended(pad)  # what roll cuts off on one side it adds on the other
    return op.apply(op, replace(op, input=grown, pads=_each(min, op.pads)).extended(pad))


def _each(pick: Callable[[int, int], int], pads: Pads) -> Pads:
    """The larger or the smaller of 0 and each of `pads`."""
    return tuple((pick(before, 0), pick(after, 0)) for before, after in pads)


@register("partial")
class Partial(Scheme):
    """Partial convolution (Liu et al. 2018, arXiv 1811.11718): what the window misses is made up by what it sees.

    y = r (zero-padded convolution without bias) + bias, r = cells of the window / those of them inside the map: 9/6 on the
    edge and 9/4 in the corner of a 3x3 convolution. A window that sees no cell of the map gives 0, without bias.

    - Average pooling: r times the average, so the mean over the cells inside the map.
    - Max pooling: minus infinity beyond the edge, which never wins.
    - Upsampling clamps at the edge, as always: for linear weights that is the same.
    - `F.pad`, `F.unfold` and `roll` have no weights to scale: they get zeros.
    - Transposed convolutions have no window over the input: as always, nothing is there beyond the edge.

    Cost: a copy of the map, one multiplication of the output (two with a bias), and the counts, one for each row.
    """

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """Zeros; the weights come in `run`."""
        return pad_constant(x, pads, 0.0)

    def run(self, op: Windowed) -> Any:
        """See `Scheme.run`."""
        if _kind(op) in ("max_pool", "conv_transpose", "interpolate"):
            return own_way(op)
        y = super().run(op)
        return reweighted(op, y) if _kind(op) in ("conv", "avg_pool") else y


def reweighted(op: Windowed, y: Tensor) -> Tensor:
    """The output of a zero-padded window operator, scaled for the cells that were missing."""
    if not any(before > 0 or after > 0 for before, after in op.pads):
        return y
    exact = torch.promote_types((y.real if y.is_complex() else y).dtype, torch.float32)
    ratio = seen = torch.ones((), dtype=exact, device=y.device)
    for i, axis in enumerate(op.axes):
        inside = cells_inside(op, i, ratio).reshape(-1, *[1] * (-axis - 1))
        ratio = ratio * op.kernel[i] / inside.clamp_min(1)
        seen = seen * (inside > 0)
    ratio = (ratio * seen).to(y.dtype)
    if op.bias is None:
        return y * ratio
    bias = op.bias.to(y.dtype).reshape(-1, *[1] * len(op.axes))
    return y * ratio + bias * (seen.to(y.dtype) - ratio)  # where the ratio is 1, y as it is


def cells_inside(op: Windowed, i: int, one: Tensor) -> Tensor:
    """How many of the window's cells along its `i`-th dimension lie in the map, for each place of the window."""
    row = F.pad(one.new_ones(op.input.shape[op.axes[i]]), list(op.pads[i]))
    span = op.dilation[i] * (op.kernel[i] - 1) + 1
    return row.unfold(0, span, op.stride[i])[:, :: op.dilation[i]].sum(1)


class Resizing(Scheme):
    """A scheme that sets how many zeros the operator gets, so that outputs have another size."""

    changes_size = True

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """Zeros."""
        return pad_constant(x, pads, 0.0)

    def run(self, op: Windowed) -> Any:
        """See `Scheme.run`."""
        if _kind(op) not in ("conv", "max_pool", "avg_pool", "unfold", "pad"):
            return own_way(op)
        return super().run(replace(op, pads=self.amounts(op)))

    def amounts(self, op: Windowed) -> Pads:
        """How many cells each side gets instead of `op.pads`."""
        raise NotImplementedError


@register("full")
class Full(Resizing):
    """F-Conv (Kayhan and van Gemert, CVPR 2020): every cell of the window meets every cell of the map.

    dilation (kernel - 1) zeros on both sides of every dimension that the operator pads, in convolutions, pooling and
    `F.unfold`; with stride 1 the output grows by as many. `F.pad` states no window: it keeps its amounts, filled with
    zeros. Transposed convolutions and upsampling are left as they are.

    Cost: a larger map in every layer, growing with depth.
    """

    def amounts(self, op: Windowed) -> Pads:
        """See `Resizing`."""
        if _kind(op) == "pad":
            return op.pads
        windows = zip(op.kernel, op.dilation, op.pads, strict=True)
        return tuple((d * (k - 1),) * 2 if max(pair) > 0 else pair for k, d, pair in windows)


@register("none")
class NoPadding(Resizing):
    """No padding: the window stays inside the map, and the output shrinks ("valid").

    In convolutions, pooling, `F.unfold` and `F.pad`; sides that are cropped stay cropped. Transposed convolutions and
    upsampling are left as they are. Cost: less than none, for maps shrink.
    """

    def amounts(self, op: Windowed) -> Pads:
        """See `Resizing`."""
        return _each(min, op.pads)
