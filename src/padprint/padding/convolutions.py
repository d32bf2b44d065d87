"""Convolutions and transposed convolutions in `Windowed` form.

Every output channel of a group reads every input channel of it, and zero times NaN is NaN: for the trace, one channel of
each group and a box for a kernel tell all there is to know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from padprint.padding.windowed import Pads, Reader, Windowed, bind, last, numbers

_CONV: dict[int, Callable[..., Tensor]] = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: torch.conv_transpose1d,
    2: torch.conv_transpose2d,
    3: torch.conv_transpose3d,
}


def read_conv(n: int) -> Reader:
    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        names = "input weight bias stride padding dilation groups"
        a = bind(names, args, kwargs, bias=None, stride=1, padding=0, dilation=1, groups=1)
        return _conv(n, a)

    return read


def _conv(n: int, a: dict[str, Any]) -> Windowed:
    weight = a["weight"]
    kernel = tuple(weight.shape[-n:])
    dilation = numbers(a["dilation"], n)

    def apply(op: Windowed, x: Tensor) -> Tensor:
        w = _narrowed(weight, op.kernel)
        return _CONV[n](x, w, a["bias"], op.stride, 0, op.dilation, a["groups"])

    def outline(op: Windowed, x: Tensor) -> Tensor:
        y = _group_means(x, a["groups"], n)
        for axis, k, s, d in zip(op.axes, op.kernel, op.stride, op.dilation, strict=True):
            y = y.unfold(axis, d * (k - 1) + 1, s)[..., ::d].mean(-1)
        return torch.repeat_interleave(y, weight.shape[0] // a["groups"], -n - 1)

    pads, stride = _conv_pads(a["padding"], kernel, dilation), numbers(a["stride"], n)
    name = f"conv{n}d"
    window = (kernel, stride, dilation)
    return Windowed(name, a["input"], last(n), *window, pads, 0.0, apply, outline=outline, bias=a["bias"])


def _group_means(x: Tensor, groups: int, n: int) -> Tensor:
    """One channel for each group, over `n` spatial dimensions."""
    return x.reshape(*x.shape[: -n - 1], groups, -1, *x.shape[-n:]).mean(-n - 1)


def _conv_pads(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> Pads:
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":  # an odd total puts the extra cell after, as torch does
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((p, p) for p in numbers(padding, len(kernel)))


def _narrowed(weight: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """`weight` with the middle tap alone along every dimension that was collapsed to one cell."""
    for i, k in enumerate(kernel):
        axis = i - len(kernel)
        if weight.shape[axis] != k:
            weight = weight.narrow(axis, weight.shape[axis] // 2, 1)
    return weight


def read_conv_transpose(n: int) -> Reader:
    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        names = "input weight bias stride padding output_padding groups dilation"
        a = bind(names, args, kwargs, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1)
        return _conv_transpose(n, a)

    return read


def _conv_transpose(n: int, a: dict[str, Any]) -> Windowed:
    """Cells beyond the edge would have added to the output near it: supply as many as can reach it, crop what they add.

    A window of one cell moves nothing: there, cells of the input are cropped in place of cells of the output.
    """
    weight = a["weight"]
    kernel, stride, dilation = tuple(weight.shape[-n:]), numbers(a["stride"], n), numbers(a["dilation"], n)
    padding, extra = numbers(a["padding"], n), numbers(a["output_padding"], n)
    spans = [d * (k - 1) - p for k, d, p in zip(kernel, dilation, padding, strict=True)]  # beyond the first cell's own
    pads = tuple((max(0, span // s), max(0, (span + e) // s)) for span, s, e in zip(spans, stride, extra, strict=True))
    single = [window == (1, 1, 1) for window in zip(kernel, stride, dilation, strict=True)]
    pads = tuple((-p, -p) if alone else pair for alone, p, pair in zip(single, padding, pads, strict=True))

    def run(op: Windowed, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        alone = [window == (1, 1, 1) for window in zip(op.kernel, op.stride, op.dilation, strict=True)]  # collapsed
        pad = tuple(0 if single else p for single, p in zip(alone, padding, strict=True))
        out_pad = tuple(0 if single else e for single, e in zip(alone, extra, strict=True))
        out = _CONV_TRANSPOSE[n](x, weight, bias, op.stride, pad, out_pad, groups, op.dilation)
        for axis, (before, after), s in zip(op.axes, op.pads, op.stride, strict=True):
            if before > 0 or after > 0:
                out = out.narrow(axis, before * s, out.shape[axis] - (before + after) * s)
        return out

    def apply(op: Windowed, x: Tensor) -> Tensor:
        return run(op, x, _narrowed(weight, op.kernel), a["bias"], a["groups"])

    def outline(op: Windowed, x: Tensor) -> Tensor:
        means = _group_means(x, a["groups"], n)
        y = run(
            op, means.reshape(-1, 1, *means.shape[-n:]), x.new_full((1, 1, *op.kernel), 1 / prod(op.kernel)), None, 1
        )
        return y.reshape(*means.shape[:-n], *y.shape[-n:]).repeat_interleave(weight.shape[1], -n - 1)

    name, window, beyond = f"conv_transpose{n}d", (kernel, stride, dilation), "nothing there"
    more: dict[str, Any] = {"outline": outline, "mode": beyond, "bias": a["bias"]}
    return Windowed(name, a["input"], last(n), *window, pads, 0.0, apply, **more)


def read_convolution(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
    """``aten::convolution``, which is every convolution under the autograd layer."""
    names = "input weight bias stride padding dilation transposed output_padding groups"
    a = bind(names, args, kwargs)
    n = a["weight"].dim() - 2
    return _conv_transpose(n, a) if a["transposed"] else _conv(n, a)
