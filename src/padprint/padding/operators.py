"""Operators that invent cells beyond the edge of their input, read into one form.

Padding hides in convolution arguments (``'same'`` too), in pooling (max pooling pads with minus infinity, ``ceil_mode``
lets a window hang over), in transposed convolutions (contributions from cells that do not exist), in `F.pad`, in
`F.unfold` and in upsampling (which clamps at the edge). `read_call` turns a call of any of them into a `Windowed`: which
dimensions are padded, by how many cells on each side, and how to run the operator on an input whose extra cells
somebody else has supplied.

Sources: the operators' own documentation in PyTorch; the overhang of ``ceil_mode`` follows the output-size rule of
`torch.nn.MaxPool2d` (windows that would start beyond the input and its left padding are dropped).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Pads = tuple[tuple[int, int], ...]
Apply = Callable[["Windowed", Tensor], Any]


@dataclass(frozen=True)
class Windowed:
    """One call of an operator that pads.

    Attributes:
        operator: the operator's name, as users know it (``conv2d``, ``max_pool2d``, ``pad``).
        input: the tensor that is padded.
        axes: the padded dimensions of `input`, counted from the end, one for each window dimension.
        kernel, stride, dilation: the window, one number for each of `axes`; in cells. For an operator without a
            window (`pad`, upsampling) they are all 1.
        pads: (before, after) for each of `axes`: how many cells must be supplied on each side so that `apply` needs
            no padding of its own. Negative numbers crop.
        fill: the value the operator itself pads with.
        apply: runs the operator on an input that already has the supplied cells.
    """

    operator: str
    input: Tensor
    axes: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: Pads
    fill: float
    apply: Apply

    def padded(self, fill: dict[int, float]) -> Tensor:
        """`input` with its extra cells, filled with ``fill[axis]`` (the operator's own value where none is given)."""
        x = self.input
        for axis, (before, after) in zip(self.axes, self.pads, strict=True):
            if before or after:
                spec = [0, 0] * (-axis - 1) + [before, after]
                x = F.pad(x, spec, value=fill.get(axis, self.fill))
        return x

    def collapsed(self, axis: int) -> Windowed:
        """The same call, with a window of one cell, stride 1 and no padding along `axis`."""
        if axis not in self.axes:
            return self
        at = self.axes.index(axis)

        def set_at(values: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
            return (*values[:at], value, *values[at + 1 :])

        return replace(
            self,
            kernel=set_at(self.kernel, 1),
            stride=set_at(self.stride, 1),
            dilation=set_at(self.dilation, 1),
            pads=set_at(self.pads, (0, 0)),
        )


def read_call(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed | None:
    """The call in `Windowed` form, or None where the operator supplies no cells of its own.

    Args:
        func: what a `TorchFunctionMode` was handed: a function of `torch` or `torch.nn.functional`, or an ATen overload.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    reader = _READERS.get(_name(func))
    return None if reader is None else reader(args, kwargs)


def _name(func: Callable[..., Any]) -> str:
    """``aten::conv2d`` for an ATen overload, ``conv2d`` for a function; Tensor methods get no name that matches."""
    schema = getattr(func, "_schema", None)
    if schema is not None:
        return str(schema.name)
    return "" if type(func).__name__ in _METHOD_TYPES else getattr(func, "__name__", "")


_METHOD_TYPES = {"method_descriptor", "wrapper_descriptor", "method-wrapper"}  # Tensor.unfold is not F.unfold


def _bind(names: str, args: Sequence[Any], kwargs: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    bound = dict(defaults)
    bound.update(zip(names.split(), args, strict=False))
    if "self" in bound:
        bound["input"] = bound.pop("self")
    bound.update({("input" if key == "self" else key): value for key, value in kwargs.items()})
    return bound


def _tuple(value: Any, n: int, default: Any = None) -> tuple[int, ...]:
    """One number for each window dimension, from an int, a short list or nothing."""
    if value is None or (isinstance(value, Sequence) and len(value) == 0):
        value = default
    if isinstance(value, Sequence):
        return tuple(int(v) for v in value) if len(value) == n else tuple(int(value[0]) for _ in range(n))
    return tuple(int(value) for _ in range(n))


def _last(n: int) -> tuple[int, ...]:
    return tuple(range(-n, 0))


# ---------------------------------------------------------------------------------------------------- convolutions


def _read_conv(n: int) -> Callable[[Sequence[Any], dict[str, Any]], Windowed]:
    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        names = "input weight bias stride padding dilation groups"
        a = _bind(names, args, kwargs, bias=None, stride=1, padding=0, dilation=1, groups=1)
        return _conv(n, a)

    return read


def _conv(n: int, a: dict[str, Any]) -> Windowed:
    weight = a["weight"]
    kernel = tuple(weight.shape[-n:])
    dilation = _tuple(a["dilation"], n)

    def apply(op: Windowed, x: Tensor) -> Tensor:
        w = _narrowed(weight, op.kernel)
        return _CONV[n](x, w, a["bias"], op.stride, 0, op.dilation, a["groups"])

    pads = _conv_pads(a["padding"], kernel, dilation)
    return Windowed(
        f"conv{n}d", a["input"], _last(n), kernel, _tuple(a["stride"], n), dilation, pads, 0.0, apply
    )


def _conv_pads(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> Pads:
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":  # an odd total puts the extra cell after, as torch does
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((p, p) for p in _tuple(padding, len(kernel)))


def _narrowed(weight: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """`weight` with the middle tap alone along every dimension that was collapsed to one cell."""
    for i, k in enumerate(kernel):
        axis = i - len(kernel)
        if weight.shape[axis] != k:
            weight = weight.narrow(axis, weight.shape[axis] // 2, 1)
    return weight


def _read_conv_transpose(n: int) -> Callable[[Sequence[Any], dict[str, Any]], Windowed]:
    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        names = "input weight bias stride padding output_padding groups dilation"
        a = _bind(
            names, args, kwargs, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
        )
        return _conv_transpose(n, a)

    return read


def _conv_transpose(n: int, a: dict[str, Any]) -> Windowed:
    """Cells beyond the edge would have added to the output near it: supply as many as can reach it, crop what they add."""
    weight = a["weight"]
    kernel, stride, dilation = tuple(weight.shape[-n:]), _tuple(a["stride"], n), _tuple(a["dilation"], n)
    padding, extra = _tuple(a["padding"], n), _tuple(a["output_padding"], n)
    reach = tuple(
        max(1, ceil((d * (k - 1) + e) / s))
        for k, s, d, e in zip(kernel, stride, dilation, extra, strict=True)
    )

    def apply(op: Windowed, x: Tensor) -> Tensor:
        alone = [sides == (0, 0) for sides in op.pads]  # collapsed: uncollapsed calls always supply cells
        w = _narrowed(weight, op.kernel)
        pad = tuple(0 if one else p for one, p in zip(alone, padding, strict=True))
        out_pad = tuple(0 if one else e for one, e in zip(alone, extra, strict=True))
        out = _CONV_TRANSPOSE[n](x, w, a["bias"], op.stride, pad, out_pad, a["groups"], op.dilation)
        for axis, (before, after), s in zip(op.axes, op.pads, op.stride, strict=True):
            out = out.narrow(axis, before * s, out.shape[axis] - (before + after) * s)
        return out

    pads = tuple((r, r) for r in reach)
    return Windowed(
        f"conv_transpose{n}d", a["input"], _last(n), kernel, stride, dilation, pads, 0.0, apply
    )


def _read_convolution(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
    """``aten::convolution``, which is every convolution under the autograd layer."""
    names = "input weight bias stride padding dilation transposed output_padding groups"
    a = _bind(names, args, kwargs)
    n = a["weight"].dim() - 2
    return _conv_transpose(n, a) if a["transposed"] else _conv(n, a)


# -------------------------------------------------------------------------------------------------------- pooling


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
            out = ceil((n + 2 * p - span) / s) + 1
            if (out - 1) * s >= n + p:  # the last window would start beyond the input: torch drops it
                out -= 1
            overhang = max(0, (out - 1) * s + span - (n + 2 * p))
        pads.append((p, p + overhang))
    return tuple(pads)


def _read_max_pool(
    n: int, indices: bool = False
) -> Callable[[Sequence[Any], dict[str, Any]], Windowed]:
    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        names = "input kernel_size stride padding dilation ceil_mode return_indices"
        a = _bind(
            names, args, kwargs, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=indices
        )
        kernel = _tuple(a["kernel_size"], n)
        stride, dilation = _tuple(a["stride"], n, kernel), _tuple(a["dilation"], n)
        pads = _pool_pads(
            a["input"].shape[-n:], kernel, stride, dilation, _tuple(a["padding"], n), a["ceil_mode"]
        )

        def apply(op: Windowed, x: Tensor) -> Any:
            return _MAX_POOL[n](
                x, op.kernel, op.stride, 0, op.dilation, False, return_indices=a["return_indices"]
            )

        fill = float("-inf")
        return Windowed(
            f"max_pool{n}d", a["input"], _last(n), kernel, stride, dilation, pads, fill, apply
        )

    return read


def _read_avg_pool(n: int) -> Callable[[Sequence[Any], dict[str, Any]], Windowed]:
    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        names = "input kernel_size stride padding ceil_mode"
        a = _bind(names, args, kwargs, stride=None, padding=0, ceil_mode=False)
        kernel = _tuple(a["kernel_size"], n)
        stride, ones = _tuple(a["stride"], n, kernel), (1,) * n
        pads = _pool_pads(
            a["input"].shape[-n:], kernel, stride, ones, _tuple(a["padding"], n), a["ceil_mode"]
        )

        def apply(op: Windowed, x: Tensor) -> Tensor:
            return _AVG_POOL[n](x, op.kernel, op.stride)

        return Windowed(f"avg_pool{n}d", a["input"], _last(n), kernel, stride, ones, pads, 0.0, apply)

    return read


def _read_unfold(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
    a = _bind(
        "input kernel_size dilation padding stride", args, kwargs, dilation=1, padding=0, stride=1
    )
    kernel, stride, dilation, padding = (
        _tuple(a[key], 2) for key in ("kernel_size", "stride", "dilation", "padding")
    )

    def apply(op: Windowed, x: Tensor) -> Tensor:
        return F.unfold(x, op.kernel, op.dilation, 0, op.stride)

    pads = tuple((p, p) for p in padding)
    return Windowed("unfold", a["input"], _last(2), kernel, stride, dilation, pads, 0.0, apply)


# ---------------------------------------------------------------------------------------- padding and interpolation


def _read_pad(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
    a = _bind("input pad mode value", args, kwargs, mode="constant", value=None)
    return _pad(a["input"], a["pad"] if "pad" in a else a["padding"], a["value"])


def _read_aten_pad(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
    """``aten::constant_pad_nd`` (with a value) and ``aten::reflection_pad2d`` and its like (without)."""
    a = _bind("input pad value", args, kwargs, value=None)
    return _pad(a["input"], a["pad"] if "pad" in a else a["padding"], a["value"])


def _pad(x: Tensor, spec: Sequence[int], value: float | None) -> Windowed:
    pairs = [(int(spec[i]), int(spec[i + 1])) for i in range(0, len(spec), 2)]
    pads = tuple(reversed(pairs))  # F.pad lists the last dimension first
    ones = (1,) * len(pads)
    return Windowed(
        "pad", x, _last(len(pads)), ones, ones, ones, pads, float(value or 0.0), lambda _, padded: padded
    )


def _read_interpolate(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed | None:
    names = "input size scale_factor mode align_corners recompute_scale_factor antialias"
    defaults = dict.fromkeys(names.split()[1:])
    a = _bind(names, args, kwargs, **{**defaults, "mode": "nearest"})
    return _resample(a) if a["mode"] in _SUPPORT else None


def _read_upsample(mode: str) -> Callable[[Sequence[Any], dict[str, Any]], Windowed]:
    """``aten::upsample_*`` in its vectorised overload, which is what an exported program holds."""
    corners = mode not in ("nearest", "nearest-exact")
    names = "input size align_corners scale_factor" if corners else "input size scale_factor"

    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        a = _bind(names, args, kwargs, align_corners=None, scale_factor=None, antialias=None)
        for new, old in (("size", "output_size"), ("scale_factor", "scale_factors")):
            a[new] = a.pop(old, a.get(new))
        return _resample({**a, "mode": mode, "recompute_scale_factor": None})

    return read


_SUPPORT = {"nearest": 0, "nearest-exact": 0, "linear": 1, "bilinear": 1, "trilinear": 1, "bicubic": 2}


def _resample(a: dict[str, Any]) -> Windowed:
    """Linear and cubic resampling clamp at the edge: supply the cells they clamp, crop what these add.

    Nearest never looks beyond the edge. Corner-aligned sampling moves with the size of the input, which no number of
    supplied cells can undo, so none are.
    """
    x, mode, given = a["input"], a["mode"], a["scale_factor"]
    n = x.dim() - 2
    inputs = tuple(x.shape[-n:])
    factors = given if isinstance(given, Sequence) else [given] * n
    if a["size"] is None:
        sizes = tuple(int(i * f) for i, f in zip(inputs, factors, strict=True))
    else:
        sizes = _tuple(a["size"], n)
    by_factor = a["size"] is None and not a["recompute_scale_factor"]  # then the factor sets the sampling positions
    if by_factor:
        ratios = tuple(Fraction(f).limit_denominator(1024) for f in factors)
    else:
        ratios = tuple(Fraction(o, i) for o, i in zip(sizes, inputs, strict=True))
    support = 0 if a["align_corners"] else _SUPPORT[mode]
    pads = tuple((_whole_extension(r, support, bool(a["antialias"])),) * 2 for r in ratios)

    def apply(op: Windowed, padded: Tensor) -> Tensor:
        kept = [ratio if taps else Fraction(1) for ratio, taps in zip(ratios, _resampled(op), strict=True)]
        kwargs: dict[str, Any] = {"mode": mode, "align_corners": a["align_corners"]}
        if a["antialias"]:
            kwargs["antialias"] = True
        if by_factor:
            kwargs["scale_factor"] = [float(ratio) for ratio in kept]
        else:
            whole = zip(inputs, kept, op.pads, strict=True)
            kwargs["size"] = [int((i + before + after) * r) for i, r, (before, after) in whole]
        y = F.interpolate(padded, **kwargs)
        for axis, ratio, (before, after) in zip(op.axes, kept, op.pads, strict=True):
            keep = y.shape[axis] - int((before + after) * ratio)
            y = y.narrow(axis, int(before * ratio), keep)
        return y

    taps, ones = (2,) * n, (1,) * n
    return Windowed("interpolate", x, _last(n), taps, ones, ones, pads, 0.0, apply)


def _resampled(op: Windowed) -> list[bool]:
    return [k != 1 for k in op.kernel]


def _whole_extension(ratio: Fraction, support: int, antialias: bool) -> int:
    """Cells to supply on each side: enough for the kernel, and mapping to a whole number of output cells."""
    if ratio == 1 or support == 0:
        return 0
    widened = ceil(support / ratio) if antialias and ratio < 1 else support
    step = ratio.denominator
    return ceil((widened + 1) / step) * step


_CONV: dict[int, Callable[..., Tensor]] = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: torch.conv_transpose1d,
    2: torch.conv_transpose2d,
    3: torch.conv_transpose3d,
}
_MAX_POOL: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}

_READERS: dict[str, Callable[[Sequence[Any], dict[str, Any]], Windowed | None]] = {
    "aten::convolution": _read_convolution,
    "pad": _read_pad,
    "aten::pad": _read_pad,
    "aten::constant_pad_nd": _read_aten_pad,
    "unfold": _read_unfold,
    "aten::im2col": _read_unfold,
    "interpolate": _read_interpolate,
    "upsample": _read_interpolate,
    "aten::upsample_nearest1d": _read_upsample("nearest"),
    "aten::upsample_nearest2d": _read_upsample("nearest"),
    "aten::upsample_nearest3d": _read_upsample("nearest"),
    "aten::_upsample_nearest_exact2d": _read_upsample("nearest-exact"),
    "aten::upsample_linear1d": _read_upsample("linear"),
    "aten::upsample_bilinear2d": _read_upsample("bilinear"),
    "aten::upsample_trilinear3d": _read_upsample("trilinear"),
    "aten::upsample_bicubic2d": _read_upsample("bicubic"),
}
for _n in (1, 2, 3):
    for _prefix in ("", "aten::"):
        _READERS[f"{_prefix}conv{_n}d"] = _read_conv(_n)
        _READERS[f"{_prefix}conv_transpose{_n}d"] = _read_conv_transpose(_n)
        _READERS[f"{_prefix}max_pool{_n}d"] = _read_max_pool(_n)
        _READERS[f"{_prefix}max_pool{_n}d_with_indices"] = _read_max_pool(_n, indices=True)
        _READERS[f"{_prefix}avg_pool{_n}d"] = _read_avg_pool(_n)
    for _mode in ("reflection", "replication"):
        _READERS[f"aten::{_mode}_pad{_n}d"] = _read_aten_pad
