"""`F.pad`, `torch.roll` and interpolation in `Windowed` form."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from padprint.padding.windowed import Reader, Windowed, bind, last, numbers


def read_pad(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
    a = bind("input pad mode value", args, kwargs, mode="constant", value=None)
    return _pad(a["input"], a["pad"], a["mode"], a["value"])


def read_aten_pad(mode: str) -> Reader:
    """``aten::constant_pad_nd`` (with a value), ``aten::reflection_pad2d`` and its like (without)."""

    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        a = bind("input pad value", args, kwargs, value=None)
        return _pad(a["input"], a["pad"] if "pad" in a else a["padding"], mode, a["value"])

    return read


def _pad(x: Tensor, spec: Sequence[int], mode: str, value: float | None) -> Windowed:
    pairs = [(int(spec[i]), int(spec[i + 1])) for i in range(0, len(spec), 2)]
    pads = tuple(reversed(pairs))  # F.pad lists the last dimension first
    ones = (1,) * len(pads)
    fill = float(value or 0.0)
    if mode == "constant" and fill == 0.0:
        mode = "zeros"
    return Windowed("pad", x, last(len(pads)), ones, ones, ones, pads, fill, lambda _, padded: padded, mode=mode)


def read_roll(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed | None:
    """`torch.roll`: as many cells are supplied on one side as leave on the other. None where no dimension is named."""
    a = bind("input shifts dims", args, kwargs, dims=())
    x: Tensor = a["input"]
    dims = a["dims"] if isinstance(a["dims"], Sequence) else [a["dims"]]
    shifts = a["shifts"] if isinstance(a["shifts"], Sequence) else [a["shifts"]]
    if not dims:
        return None
    moved = [(d % x.dim() - x.dim(), s % max(1, x.shape[d])) for d, s in zip(dims, shifts, strict=True)]
    axes = tuple(axis for axis, _ in moved)
    signed = [by if 2 * by <= x.shape[axis] else by - x.shape[axis] for axis, by in moved]
    pads, ones = tuple((by, -by) for by in signed), (1,) * len(axes)
    return Windowed("roll", x, axes, ones, ones, ones, pads, 0.0, lambda _, padded: padded, mode="circular")


def read_interpolate(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed | None:
    names = "input size scale_factor mode align_corners recompute_scale_factor antialias"
    defaults = dict.fromkeys(names.split()[1:])
    a = bind(names, args, kwargs, **{**defaults, "mode": "nearest"})
    return _resample(a) if a["mode"] in _SUPPORT else None


def read_upsample(mode: str, antialias: bool = False) -> Reader:
    """``aten::upsample_*``: the vectorised overload of exported programs, and the one with a scale for each dimension."""
    corners = "align_corners " if mode not in ("nearest", "nearest-exact") else ""
    names = f"input size {corners}scale_factor scales_w"
    nothing = dict.fromkeys(("size", "align_corners", "scale_factor", "scales_w", "recompute_scale_factor"))

    def read(args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed:
        a = bind(names, args, kwargs, **nothing, mode=mode, antialias=antialias)
        for old, new in (("output_size", "size"), ("scale_factors", "scale_factor"), ("scales_h", "scale_factor")):
            a[new] = a.pop(old, a[new])
        if a["scales_w"] is not None:
            a["scale_factor"] = [a["scale_factor"], a["scales_w"]]
            a["size"] = None  # the scales set the sampling positions
        return _resample(a)

    return read


_EVEN = (
    8  # a map resized to a given size by a ratio of larger terms (17 cells to 33) gets another ratio at another size
)
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
        sizes = numbers(a["size"], n)
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
        # torch 2.14 gets wrong numbers from antialiased resizing of a map that is one cell wide: give it two alike
        thin = bool(a["antialias"]) and len(inputs) == 2 and padded.shape[-1] == 1 and kept[-1] == 1
        if thin:
            padded = padded.repeat_interleave(2, -1)
            if not by_factor:
                kwargs["size"] = [*kwargs["size"][:-1], 2]
        y = F.interpolate(padded, **kwargs)
        if thin:
            y = y.narrow(-1, 0, 1)
        for axis, ratio, (before, _), size in zip(op.axes, kept, op.pads, sizes, strict=True):
            if before:
                y = y.narrow(axis, int(before * ratio), size)
        return y

    taps, ones = (2,) * n, (1,) * n
    uneven = not by_factor and any(
        ratio.denominator > _EVEN and not (mode == "nearest" and _shifts(i, o))
        for ratio, i, o in zip(ratios, inputs, sizes, strict=True)
    )
    anchored = uneven or (bool(a["align_corners"]) and any(ratio != 1 for ratio in ratios))
    return Windowed("interpolate", x, last(n), taps, ones, ones, pads, 0.0, apply, anchored, mode="clamp")


def _shifts(before: int, after: int) -> bool:
    """Whether nearest resizing of so many cells to so many moves all but the first and last by one and the same number."""
    return len({i * before // after - i for i in range(1, after - 1)}) == 1


def _resampled(op: Windowed) -> list[bool]:
    return [k != 1 for k in op.kernel]


def _whole_extension(ratio: Fraction, support: int, antialias: bool) -> int:
    """Cells to supply on each side: enough for the kernel, and mapping to a whole number of output cells."""
    if ratio == 1 or support == 0:
        return 0
    widened = ceil(support / ratio) if antialias and ratio < 1 else support
    step = ratio.denominator
    return ceil((widened + 1) / step) * step
