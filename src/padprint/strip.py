"""One image axis of a network's geometry, traced on a long strip of input."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor, lcm, nan
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.layers import Leaf, Tap, leaves_of, run_to
from padprint.padding.intercept import Call, Interceptor
from padprint.padding.operators import Windowed, read_call

_GROWTH = 64 * 3 * 5 * 7  # px by which the strip grows to find strides: a multiple of every common total stride
_LONGEST = 32_768  # px: a layer whose rims still meet on a strip of this length is called out of reach
_BUDGET = 1 << 21  # input cells of the receptive-field probe, which runs one strip for each phase


@dataclass(frozen=True)
class AxisLayer:
    """A layer along one axis.

    Attributes:
        dim: the dimension of the layer's output that runs along the axis, or None.
        flat: the output's shape does not depend on the input's size.
        size: cells at the crop's size.
        stride: input pixels from cell to cell.
        rim: cells touched by padding (before, after) on a map long enough to hold both.
        field: first and last input pixel that can reach cell 0, or None where not found.
        reason: the operator that makes the layer global, or another reason why it cannot be measured.
    """

    dim: int | None = None
    flat: bool = False
    size: int = 0
    stride: Fraction = Fraction(1)
    rim: tuple[int, int] = (0, 0)
    field: tuple[Fraction, Fraction] | None = None
    reason: str | None = None

    @property
    def offset(self) -> float:
        """Centre of cell 0's receptive field, in pixels."""
        return float(sum(self.field)) / 2 if self.field else nan

    @property
    def field_size(self) -> int:
        """Receptive field of one cell, in pixels."""
        return floor(self.field[1] - self.field[0]) + 1 if self.field else 0

    def reach(self, crop: int) -> tuple[int, int]:
        """Pixels beyond the crop's edge that the map sees (before, after)."""
        if self.field is None:
            return ceil(self.rim[0] * self.stride), ceil(self.rim[1] * self.stride)
        first, last = self.field
        after = last + (self.size - 1) * self.stride - (crop - 1)
        return max(0, ceil(-first)) if self.rim[0] else 0, max(0, floor(after)) if self.rim[1] else 0


class _Strip(NamedTuple):
    """How the network is run: axis 0 is vertical; a strip of width None is collapsed to one cell across."""

    model: nn.Module
    axis: int
    channels: int
    width: int | None

    def blank(self, length: int, batch: int = 1) -> Tensor:
        across = self.width or 1
        size = (length, across) if self.axis == 0 else (across, length)
        parameter = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        dtype = torch.float64 if parameter is None else parameter.dtype
        return torch.full((batch, self.channels, *size), 0.5, dtype=dtype)


@dataclass
class _Run:
    """One run over a strip: what it is asked, then what it saw.

    Asked: whether padding along the strip is NaN (`nan`), which dimensions of each padding operator's input run along
    the strip (`along`), and which dimension of each layer does (`dims`: those are checked for NaN).
    """

    nan: bool = False
    along: dict[Call, set[int]] | None = None
    dims: dict[Leaf, int] = field(default_factory=dict)
    shapes: dict[Call, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    inputs: dict[Call, tuple[int, ...]] = field(default_factory=dict)
    leaves: dict[Leaf, tuple[int, ...]] = field(default_factory=dict)
    masks: dict[Leaf, Tensor] = field(default_factory=dict)
    killers: dict[Leaf, Call] = field(default_factory=dict)
    error: str | None = None


def double_copy(model: nn.Module) -> nn.Module:
    """A copy on the CPU in double precision, which keeps NaN where it belongs: fast convolution algorithms mix neighbours.

    Raises:
        ModelError: the model cannot be copied.
    """
    try:
        return copy.deepcopy(model).to("cpu", torch.float64)
    except Exception as error:
        raise ModelError(f"the model cannot be copied to trace it in double precision: {error}") from error


class Axis:
    """One axis of a model that `double_copy` made: shapes at once, then `trace` for rims and receptive fields.

    Args:
        model: the copy; it is run on strips of two lengths, in evaluation mode and without gradients.
        taps: the layers; a run ends when all were reached.
        crop: (height, width).
        channels: of the input.
        axis: 0 vertical, 1 horizontal.

    Raises:
        ModelError: the model runs on no strip at all.
    """

    def __init__(
        self, model: nn.Module, taps: Sequence[Tap], crop: tuple[int, int], channels: int, axis: int
    ) -> None:
        self.crop = crop[axis]
        best = -1
        for width, growth in ((None, _GROWTH), (crop[1 - axis], _GROWTH // 5)):
            strip = _Strip(model, axis, channels, width)
            short, long = (_run(strip, n, taps, _Run()) for n in (self.crop, self.crop + growth))
            reached = len(short.leaves.keys() & long.leaves.keys())
            if reached > best:
                best, self.strip, self._growth = reached, strip, growth
                self._short, self._long = short, long
            if reached == len(taps):
                break
        error = self._short.error or self._long.error
        if best == 0:
            raise ModelError(f"the model runs at the crop's size and not at others: {error}")
        self._along = _grown_dims(self._short.inputs, self._long.inputs)
        self._length = self.crop
        self.period = _period(self._short, self._long, growth)
        self.layers = {tap.leaf: self._shape(tap, error) for tap in taps}

    def trace(self, taps: Sequence[Tap]) -> None:
        """Find the rims and receptive fields of those of `taps` that are maps; the others keep their reason."""
        maps = [tap for tap in taps if self.layers[tap.leaf].dim is not None]
        self._find_rims(maps)
        self._find_fields([tap for tap in maps if self.layers[tap.leaf].reason is None])

    def _shape(self, tap: Tap, error: str | None) -> AxisLayer:
        short, long = self._short.leaves.get(tap.leaf), self._long.leaves.get(tap.leaf)
        if short is None or long is None:
            return AxisLayer(reason=f"the model cannot be run at another size to reach it: {error}")
        grown = [d for d, (a, b) in enumerate(zip(short, long, strict=False)) if a != b]
        if len(short) != len(long) or len(grown) != 1:
            return AxisLayer(flat=short == long)
        dim = grown[0]
        return AxisLayer(dim, size=short[dim], stride=Fraction(self._growth, long[dim] - short[dim]))

    def _dims(self, taps: Sequence[Tap]) -> dict[Leaf, int]:
        return {tap.leaf: dim for tap in taps if (dim := self.layers[tap.leaf].dim) is not None}

    def _lengths(self, start: int, longest: int) -> Iterator[int]:
        """Strip lengths congruent to the crop, each about twice the last."""
        length = start
        while length < longest:
            yield length
            length += ceil(length / self.period) * self.period

    def _find_rims(self, taps: list[Tap]) -> None:
        longest = _LONGEST if self.strip.width is None else _LONGEST // 8
        for length in self._lengths(self.crop + self.period, longest):
            if not taps:
                return
            self._length = length
            run = _run(self.strip, length, taps, _Run(True, self._along, self._dims(taps)))
            for tap in taps:
                self._settle(tap, run, length)
            taps = [tap for tap in taps if self.layers[tap.leaf].rim == _OPEN]
        for tap in taps:
            reason = f"its rims still meet on an input of {self._length} px: it reaches further than padprint traces"
            self._set(tap.leaf, reason=reason)

    def _settle(self, tap: Tap, run: _Run, length: int) -> None:
        leaf, layer = tap.leaf, self.layers[tap.leaf]
        expected = layer.size + Fraction(length - self.crop) / layer.stride
        mask = run.masks.get(leaf)
        if mask is None or mask.shape[-1] != expected:
            got = run.error if mask is None else f"{mask.shape[-1]} cells where {expected} were expected"
            self._set(leaf, reason=f"its map does not grow evenly with the input ({got} at {length} px)")
        elif leaf in run.killers and bool(mask.all()):
            self._set(leaf, reason=f"global: {run.killers[leaf]} sees the whole input")
        else:
            self._set(leaf, rim=_rim(mask[0]))

    def _find_fields(self, taps: list[Tap]) -> None:
        """Mark one input row in each of `period` strips; the cells it reaches give the receptive field to the pixel."""
        cells = self.strip.width or 1
        for length in self._lengths(self._length, _LONGEST):
            if not taps or length * cells * self.period > _BUDGET:
                return
            strip = self.strip.blank(length, self.period)
            first = (length - self.period) // 2
            rows = strip.movedim(2 + self.strip.axis, 1)
            for i in range(self.period):
                rows[i, first + i] = nan
            run = _run(self.strip, strip, taps, _Run(False, self._along, self._dims(taps)))
            taps = [tap for tap in taps if not self._field(tap.leaf, run.masks.get(tap.leaf), first)]

    def _field(self, leaf: Leaf, mask: Tensor | None, first: int) -> bool:
        """Set the field from what was touched; False where the touched cells meet the end of the map."""
        if mask is None or mask.shape[0] != self.period or not bool(mask.any()):
            return True
        if bool(mask[:, 0].any()) or bool(mask[:, -1].any()):
            return False
        strip, cell = mask.nonzero(as_tuple=True)
        seen = first + strip - cell * float(self.layers[leaf].stride)
        low, high = (Fraction(v).limit_denominator(_GROWTH) for v in (seen.min().item(), seen.max().item()))
        self._set(leaf, field=(low, high))
        return True

    def _set(self, leaf: Leaf, **changes: Any) -> None:
        self.layers[leaf] = replace(self.layers[leaf], **changes)


_OPEN = (-1, -1)  # a rim still unknown: both sides meet


def _rim(touched: Tensor) -> tuple[int, int]:
    """Cells before and after the longest run of untouched ones; `_OPEN` where there is none."""
    best, start, run = 0, 0, 0
    flags = touched.tolist()
    for i, flag in enumerate(flags):
        run = 0 if flag else run + 1
        if run > best:
            best, start = run, i - run + 1
    return (start, len(flags) - start - best) if best else _OPEN


def _grown_dims(
    short: dict[Call, tuple[int, ...]], long: dict[Call, tuple[int, ...]]
) -> dict[Call, set[int]]:
    """For each operator that pads: the dimensions of its input, counted from the end, that run along the strip."""
    grown = {}
    for call, shape in short.items():
        other = long.get(call)
        if other is not None and len(other) == len(shape):
            grown[call] = {d - len(shape) for d, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b}
    return grown


def _period(short: _Run, long: _Run, growth: int) -> int:
    """Least common multiple of the strides of every tensor on the way."""
    period = 1
    for call, shapes in short.shapes.items():
        for shape, other in zip(shapes, long.shapes.get(call, ()), strict=False):
            for a, b in zip(shape, other, strict=False):
                if b > a:
                    period = lcm(period, Fraction(growth, b - a).numerator)
    return period


def _run(strip: _Strip, x: Tensor | int, taps: Sequence[Tap], run: _Run) -> _Run:
    """Run the network over a strip of given length, or over `x`, filling in `run`. A forward that fails is noted."""
    x = strip.blank(x) if isinstance(x, int) else x

    def visit(tap: Tap, tensor: Tensor) -> None:
        run.leaves[tap.leaf] = tuple(tensor.shape)
        killer = getattr(tensor, _MARK, None)
        if killer is not None:
            run.killers[tap.leaf] = killer
        if tap.leaf in run.dims:
            run.masks[tap.leaf] = _touched(tensor, run.dims[tap.leaf])

    def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return _handle(strip, run, call, func, args, kwargs)

    interceptor = Interceptor(strip.model, handle)
    try:
        with interceptor.running():
            run_to(strip.model, x, taps, visit)
    except Exception as error:  # noqa: BLE001  # a model may raise anything on a strip; the layers before it are good
        run.error = (str(error).strip() or type(error).__name__).splitlines()[0]
    return run


_MARK = "_padprint_killer"  # set on tensors that a global operator has made NaN throughout, and inherited


def _handle(
    strip: _Strip, run: _Run, call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    """Run one call with the strip's padding, and note shapes and global operators."""
    op = read_call(func, args, kwargs)
    inputs = [tensor for _, tensor in leaves_of((args, kwargs))]
    marked = next((getattr(tensor, _MARK) for tensor in inputs if hasattr(tensor, _MARK)), None)
    whole = run.nan and call.operator.endswith("_") and any(_state(tensor) == _WHOLLY for tensor in inputs)
    if op is None:
        out = func(*args, **kwargs)
    else:
        run.inputs[call] = tuple(op.input.shape)
        out = _supply(strip, run, call, op, lambda: func(*args, **kwargs))
    outputs = [tensor for _, tensor in leaves_of(out)]
    if outputs:
        run.shapes[call] = tuple(tuple(tensor.shape) for tensor in outputs)
    elif out is None:  # x[...] = y and the like change their first argument
        outputs = inputs[:1]
    if run.nan and marked is None and not whole and (op is None or _one_window(strip, op, outputs)):
        marked = call if _turned_whole(inputs, outputs) else None
    if marked is not None:
        for tensor in outputs:
            setattr(tensor, _MARK, marked)
    return out


def _supply(strip: _Strip, run: _Run, call: Call, op: Windowed, unchanged: Callable[[], Any]) -> Any:
    along, across = _image_axes(strip, op)
    if strip.width is None and len(op.axes) > 1:
        op = op.collapsed(across)
    elif not any(before or after for before, after in op.pads):
        return unchanged()
    axes = {along} if run.along is None else run.along.get(call, {along})
    fill = dict.fromkeys(axes, nan) if run.nan and op.input.is_floating_point() else {}
    return op.apply(op, op.padded(fill))


def _image_axes(strip: _Strip, op: Windowed) -> tuple[int, int]:
    """The input's dimensions along and across the strip: the last two, or those before the channels where `F.pad` is
    given three pairs and leaves the last dimension alone (channels-last layouts).
    """
    y, x = (-3, -2) if op.operator == "pad" and len(op.axes) == 3 and op.pads[-1] == (0, 0) else (-2, -1)
    return (y, x) if strip.axis == 0 else (x, y)


def _one_window(strip: _Strip, op: Windowed, outputs: list[Tensor]) -> bool:
    """Whether a single window covers the strip: its kernel was derived from the input's size."""
    along, _ = _image_axes(strip, op)
    taps = dict(zip(op.axes, op.kernel, strict=True)).get(along, 1)
    return taps > 1 and all(tensor.dim() >= -along and tensor.shape[along] == 1 for tensor in outputs)


_CLEAN, _PARTLY, _WHOLLY = 0, 1, 2


def _turned_whole(inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    """Whether a call made NaN throughout of inputs that were NaN in part, and none of them throughout.

    An input changed in place counts as it was before, which the caller has looked at.
    """
    if not any(_state(tensor) == _WHOLLY for tensor in outputs):
        return False
    states = {_state(tensor) for tensor in inputs if all(tensor is not out for out in outputs)}
    return _PARTLY in states and _WHOLLY not in states


def _state(tensor: Tensor) -> int:
    """How much of a tensor is NaN: none, part, all."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return _CLEAN
    bad = tensor.isnan()
    return _WHOLLY if bool(bad.all()) else _PARTLY if bool(bad.any()) else _CLEAN


def _touched(tensor: Tensor, dim: int) -> Tensor:
    """`(B, n)`: which cells along `dim` hold any NaN, for each strip of the batch."""
    return tensor.isnan().movedim(dim, -1).flatten(1, -2).any(1)
