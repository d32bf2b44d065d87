"""Pooling and `F.unfold` in `Windowed` form.

The overhang of ``ceil_mode`` follows the output-size rule of `torch.nn.MaxPool2d`: windows that would start beyond the
input and its left padding are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.padding.windowed import Pads, Reader, Windowed, bind, last, numbers

_MAX_POOL: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _pool_pads(
    size: Sequence[int],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: tuple[int, ...],
    ceil_mode: bool,
) -> Pads:
    pads = []
    for n, k, s, d, p in zip(size, kernel, stride, dilation, padding, strict=True):
        span = d * (k - 1) + 1
        overhang = 0
        if ceil_mode:
            out = -((span - n - 2 * p) // s) + 1
            if (out - 1) * s >= n + p:  # the last window would start beyond the input: torch drops it
                out -= 1
            overhang = max(0, (out - 1) * s + span - (n + 2 * p))
        pads.append((p, p + overhang))
    return tuple(pads)


def read_max_pool(n: int, indices: bool = False) -> Reader:
    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        names = "input kernel_size stride padding dilation ceil_mode return_indices"
        a = bind(names, args, kwargs, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=indices)
        kernel = numbers(a["kernel_size"], n)
        stride, dilation = numbers(a["stride"], n, kernel), numbers(a["dilation"], n)
        pads = _pool_pads(a["input"].shape[-n:], kernel, stride, dilation, numbers(a["padding"], n), a["ceil_mode"])

        def apply(op: Windowed, x: Tensor) -> Any:
            out = _MAX_POOL[n](x, op.kernel, op.stride, 0, op.dilation, False, return_indices=a["return_indices"])
            return (out[0], _indices_inside(out[1], x, op)) if a["return_indices"] else out

        window, fill = (kernel, stride, dilation), float("-inf")
        return Windowed(f"max_pool{n}d", a["input"], last(n), *window, pads, fill, apply, mode="-inf")

    return read


def _indices_inside(indices: Tensor, padded: Tensor, op: Windowed) -> Tensor:
    """Flat indices into the padded map as indices into the map itself; a supplied cell counts as its nearest neighbour."""
    inside, step = torch.zeros_like(indices), 1
    for axis, (before, after) in reversed(list(zip(op.axes, op.pads, strict=True))):
        length = padded.shape[axis]
        size = length - before - after
        inside += (indices % length - before).clamp(0, size - 1) * step
        indices, step = indices // length, step * size
    return inside


def read_avg_pool(n: int) -> Reader:
    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        names = "input kernel_size stride padding ceil_mode count_include_pad divisor_override"
        defaults = {
            "stride": None,
            "padding": 0,
            "ceil_mode": False,
            "count_include_pad": True,
            "divisor_override": None,
        }
        a = bind(names, args, kwargs, **defaults)
        kernel, padding = numbers(a["kernel_size"], n), numbers(a["padding"], n)
        stride, ones = numbers(a["stride"], n, kernel), (1,) * n
        pads = _pool_pads(a["input"].shape[-n:], kernel, stride, ones, padding, a["ceil_mode"])
        # the overhang of ceil_mode is never counted, with a divisor it is
        counted = a["divisor_override"] is not None or (a["count_include_pad"] and any(padding))

        def apply(op: Windowed, x: Tensor) -> Tensor:
            if a["divisor_override"] is None:
                return _AVG_POOL[n](x, op.kernel, op.stride)
            return _AVG_POOL[n](x, op.kernel, op.stride, divisor_override=a["divisor_override"])

        mode = "zeros" if counted or not any(map(any, pads)) else "left out"
        return Windowed(f"avg_pool{n}d", a["input"], last(n), kernel, stride, ones, pads, 0.0, apply, mode=mode)

    return read


def read_unfold(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
    a = bind("input kernel_size dilation padding stride", args, kwargs, dilation=1, padding=0, stride=1)
    kernel, stride, dilation, padding = (numbers(a[key], 2) for key in ("kernel_size", "stride", "dilation", "padding"))

    def apply(op: Windowed, x: Tensor) -> Tensor:
        return F.unfold(x, op.kernel, op.dilation, 0, op.stride)

    pads = tuple((p, p) for p in padding)
    return Windowed("unfold", a["input"], last(2), kernel, stride, dilation, pads, 0.0, apply)
