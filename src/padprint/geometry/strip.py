"""Running a network on a long strip of input, its padding replaced by NaN, by noise or left alone, and noting what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import nan
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.geometry.taint import carry_on, marked, may_lose, taint_of, without_nan
from padprint.network.calls import Call, Interceptor, depended_on
from padprint.network.layers import Leaf, Tap, leaves_of, run_to
from padprint.padding.hidden import could_extend
from padprint.padding.operators import Windowed, read_call
from padprint.support.axes import Size
from padprint.support.reasons import Reason, anchored, sees_all, stretched

PAIRS = 6
"""Pairs of strips that differ in what stands in for their padding alone."""

_MOST_CALLS = 200_000  # of one run; a network of a thousand layers makes some ten thousand

SQUARE = (-1,)
"""Width of a strip that is as wide as it is long, for networks that take square inputs alone."""


class Strip(NamedTuple):
    """How the network is run: on an input that is long along one axis of space.

    Attributes:
        model: the network.
        axis: that the strip runs along, 0 the first one.
        axes: how many there are.
        channels: of the input.
        width: px along each of the other axes; None: collapsed to one cell across.
        dtype: of the input.
    """

    model: nn.Module
    axis: int
    axes: int
    channels: int
    width: Size | None
    dtype: torch.dtype = torch.float64

    def blank(self, length: int, batch: int = 1) -> Tensor:
        """A constant input, `(batch, channels, *size)`, `length` px along the axis."""
        return torch.full((batch, *self.shape(length)), 0.5, dtype=self.dtype)

    def content(self, length: int) -> Tensor:
        """Random numbers, `(1, channels, *size)`, up to a thousand times larger in some rows across.

        A shorter strip is the start of a longer one.
        """
        values, sizes = (torch.Generator().manual_seed(seed) for seed in (0, 1))
        shape = length, self.channels, *self.across(length)
        noise = torch.rand(shape, generator=values, dtype=torch.float64)
        scale = torch.rand(length, *[1] * self.axes, generator=sizes, dtype=torch.float64)
        noise = (4 * noise - 2) * 10 ** (3 * scale)
        return noise.movedim(0, 1 + self.axis)[None].to(self.dtype).contiguous()

    def pairs(self, length: int) -> Tensor:
        """Random inputs, each twice in a row: `(2 PAIRS, channels, *size)`."""
        generator = torch.Generator().manual_seed(length)
        noise = torch.randn(PAIRS, *self.shape(length), generator=generator, dtype=torch.float64)
        return noise.repeat_interleave(2, 0).to(self.dtype)

    def shape(self, length: int) -> tuple[int, ...]:
        """(channels, *size) of an input."""
        across = self.across(length)
        return (self.channels, *across[: self.axis], length, *across[self.axis :])

    def across(self, length: int) -> Size:
        """Px along the other axes."""
        if self.width is None or self.width == SQUARE:
            return (1 if self.width is None else length,) * (self.axes - 1)
        return self.width


@dataclass
class Run:
    """One run over a strip: what it is asked, then what it saw.

    Attributes:
        nan: asked: padding along the strip is NaN.
        noise: asked: padding along the strip is noise of many sizes, another one in each strip of a pair; cells that differ
            count as touched, where NaN would be lost in a comparison or a whole number.
        spread: asked: operators that make NaN throughout of NaN in part are looked for.
        along: asked: for each padding operator, the dimensions of its input that run along the strip.
        dims: asked: the dimension of each layer that runs along the strip; those layers are checked for NaN.
        joins: asked: calls whose inputs are looked at, where they hold NaN in part: the dimension of their output, counted from
            the end, that runs along the strip.
        shapes: of every tensor each call returned.
        inputs: shape of each padding operator's input.
        leaves: shape of each layer reached.
        masks: `(batch, cells)`, which cells of a layer are NaN.
        joined: `(batch, cells)` likewise, for each input of such a call that is as long as its output; where there are several.
        reasons: why a layer has no local geometry: the operator to blame, in words.
        soft: operators that spread NaN further than numbers, because what they add up cancels; by layer.
        lost: operators that lost NaN on the way, and operators whose padding is not read, each with what is known of it.
        values: asked: to be filled with each layer's numbers.
        start: asked: `values` of a shorter strip that is the start of this one.
        apart: `(cells,)` of the shorter strip: how far a layer's numbers are from `start`, in units of its mean size, at most;
            of layers where that is more than rounding.
        error: the forward pass failed.
    """

    nan: bool = False
    noise: torch.Generator | None = None
    spread: bool = False
    along: dict[Call, set[int]] | None = None
    dims: dict[Leaf, int] = field(default_factory=dict)
    joins: Mapping[Call, int] = field(default_factory=dict)
    shapes: dict[Call, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    inputs: dict[Call, tuple[int, ...]] = field(default_factory=dict)
    leaves: dict[Leaf, tuple[int, ...]] = field(default_factory=dict)
    masks: dict[Leaf, Tensor] = field(default_factory=dict)
    joined: dict[Call, list[Tensor]] = field(default_factory=dict)
    reasons: dict[Leaf, Reason] = field(default_factory=dict)
    soft: dict[Leaf, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    values: dict[Leaf, Tensor] | None = None
    start: dict[Leaf, Tensor] = field(default_factory=dict)
    apart: dict[Leaf, Tensor] = field(default_factory=dict)
    error: str | None = None

    @property
    def numbers(self) -> bool:
        """Whether numbers matter, and not only which of them are NaN."""
        return self.values is not None or bool(self.start)


def run_strip(strip: Strip, x: Tensor | int, taps: Sequence[Tap], run: Run) -> Run:
    """Run the network over a strip of given length, or over `x`, filling in `run`. A forward that fails is noted."""
    x = strip.blank(x) if isinstance(x, int) else x

    def visit(tap: Tap, tensor: Tensor) -> None:
        with torch._C.DisableTorchFunction():  # what is done here is none of the network's
            see(tap, tensor)

    def see(tap: Tap, tensor: Tensor) -> None:
        run.leaves[tap.leaf] = tuple(tensor.shape)
        if run.values is not None:
            run.values[tap.leaf] = tensor.clone()
        elif tap.leaf in run.start and (apart := from_start(tensor, run.start[tap.leaf])) is not None:
            run.apart[tap.leaf] = apart
        mark = _mark_of([tensor])
        find = _touched if run.noise is None else _differing
        touched = find(tensor, run.dims[tap.leaf]) if tap.leaf in run.dims else None
        if touched is not None:
            run.masks[tap.leaf] = touched
        if mark is not None and mark.soft:
            run.soft[tap.leaf] = mark.soft
        if mark is not None and mark.reason and (mark.always or touched is None or bool(touched.all())):
            run.reasons[tap.leaf] = mark.reason

    calls = 0

    def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal calls
        calls += 1
        if calls > _MOST_CALLS:
            raise ModelError(
                "it goes on and on where padding is marked: a loop waits for numbers that marks never reach"
            )
        return _handle(strip, run, call, func, args, kwargs)

    try:
        with Interceptor(handle):
            run_to(strip.model, x, taps, visit)
    except Exception as error:  # noqa: BLE001  # a model may raise anything on a strip; the layers before it are good
        run.error = (str(error).strip() or type(error).__name__).splitlines()[0]
    return run


def _touched(tensor: Tensor, dim: int) -> Tensor:
    """`(B, n)`: which cells along `dim` hold any NaN, or depend on any, for each strip of the batch."""
    touched = marked(tensor)
    if touched is None:
        return torch.zeros(tensor.shape[0], tensor.shape[dim], dtype=torch.bool)
    return touched.movedim(dim, -1).reshape(tensor.shape[0], -1, tensor.shape[dim]).any(1)


def _differing(tensor: Tensor, dim: int) -> Tensor | None:
    """`(1, n)`: which cells along `dim` differ between the strips of any pair."""
    if tensor.shape[0] != 2 * PAIRS:
        return None
    one, two = tensor[0::2], tensor[1::2]
    return (change(one, two, tensor) > 2.0**-32).movedim(dim, -1).reshape(-1, tensor.shape[dim]).any(0)[None]


def from_start(long: Tensor, short: Tensor) -> Tensor | None:
    """`(n,)`: how far a map is from the start of a longer one, along the dimension in which they differ; None where it is not."""
    grown = [d for d, (a, b) in enumerate(zip(long.shape, short.shape, strict=False)) if a != b]
    if long.dim() != short.dim() or len(grown) != 1 or long.shape[grown[0]] < short.shape[grown[0]]:
        return None
    (dim,) = grown
    start = long.narrow(dim, 0, short.shape[dim])
    same = (start == short) | (start.isnan() & short.isnan())
    if bool(same.all()):
        return None
    if not (short.is_floating_point() or short.is_complex()):
        apart = torch.where(same, 0.0, torch.inf)
    else:
        apart = torch.where(same, 0.0, (start - short).abs().double() / short.abs().double().mean().clamp_min(1e-300))
    return apart.nan_to_num(torch.inf).movedim(dim, -1).reshape(-1, short.shape[dim]).amax(0)


def change(one: Tensor, two: Tensor, like: Tensor) -> Tensor:
    """How far two tensors are apart, float64, in units of a typical number of `like`; whole numbers are 0 or infinite."""
    if not (one.is_floating_point() or one.is_complex()):
        return torch.where(one != two, torch.inf, 0.0).double()
    size = like[like.isfinite()].abs().double()
    typical = (size.median() if bool(size.median() > 0) else size.mean()) if len(size) else torch.ones(())
    known = one.isfinite() & two.isfinite()
    apart = (one - two).abs().double() / typical.clamp_min(1e-300)
    same = (one == two) | (one.isnan() & two.isnan())
    return torch.where(same, 0.0, torch.where(known, apart, torch.inf))


# ------------------------------------------------------------------------------------------------ one call of the run


class _Mark(NamedTuple):
    """What a tensor inherits from the first call that spoilt it.

    Attributes:
        reason: None where all of a tensor became NaN because the strip is too short to tell why.
        always: the reason stands whether or not the whole map is NaN.
        soft: an operator that spreads NaN further than numbers.
    """

    reason: Reason | None
    always: bool = False
    soft: str = ""


_MARK = "_padprint_mark"  # the attribute of a tensor that holds its mark
_TOO_SHORT = _Mark(None)
_SOFT = (
    "fft_",
    "_fft",
    "cumsum",
    "unbind",
)  # NaN tells too much of them: sums cancel, and a product of spectra is local


def _mark_of(tensors: Sequence[Tensor]) -> _Mark | None:
    """The mark that weighs most."""
    marks = [getattr(tensor, _MARK) for tensor in tensors if hasattr(tensor, _MARK)]
    return max(marks, key=lambda mark: (mark.always, bool(mark.reason), bool(mark.soft)), default=None)


def _handle(
    strip: Strip, run: Run, call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    """Run one call with the strip's padding, and note shapes and operators that spoil what follows."""
    op = read_call(func, args, kwargs)
    # an exported program compares its input's shape with that of a tensor without numbers
    every = [tensor for _, tensor in leaves_of((args, kwargs)) if not hasattr(tensor, "fake_mode")]
    inputs = depended_on(call.operator, every)
    mark = _mark_of(inputs)
    watched = (run.nan or run.spread) and (mark is None or not mark.reason)
    # before: the call may change them in place
    follows = bool(run.dims) and run.noise is None
    shares = [_nan_share(tensor, count=watched) for tensor in inputs] if watched or follows else []
    risky = follows and op is None and may_lose(call.operator, inputs, shares)
    marks = {id(tensor): mask for tensor in inputs if (mask := marked(tensor)) is not None} if risky else {}
    if strip.width is None and call.operator.removeprefix("_").startswith("max_unpool"):
        raise ModelError("max unpooling puts cells where indices say, which a strip of one cell has no room for")
    parts = _parts(run, call, inputs, shares) if op is None else []
    if op is None:
        given, named = without_nan(args, kwargs) if "::" in call.operator else (args, kwargs)
        out = func(*given, **named)
    else:
        run.inputs[call] = tuple(op.input.shape)
        out = _supply(strip, run, call, op, lambda: func(*args, **kwargs))
    outputs = [tensor for _, tensor in leaves_of(out)]
    _note_join(run, call, parts, outputs)
    if outputs:
        run.shapes[call] = tuple(tuple(tensor.shape) for tensor in outputs)
    elif out is None:  # x[...] = y and the like change their first argument
        outputs = inputs[:1]
    if follows and op is None:
        unread = could_extend(func, args, kwargs) or _DECISIONS.get(call.operator)
        if unread is not None:
            run.lost.setdefault(str(call), unread)
        whole = any(not (tensor.is_floating_point() or tensor.is_complex()) for tensor in outputs)
        if not risky and any(shares) and (whole or not any(_nan_share(tensor, count=False) for tensor in outputs)):
            marks = {id(tensor): mask for tensor in inputs if (mask := marked(tensor)) is not None}
        if marks and call.operator not in _HARMLESS and not carry_on(call.operator, func, args, kwargs, marks, outputs):
            run.lost.setdefault(str(call), unread or "does not carry NaN on")
    if watched:
        mark = _position_mark(strip, run, call, op) or mark or _spread_mark(strip, call, op, shares, outputs)
    if mark is not None:
        for tensor in outputs:
            setattr(tensor, _MARK, mark)
    return out


def _parts(run: Run, call: Call, inputs: Sequence[Tensor], shares: Sequence[float]) -> list[Tensor]:
    """Which cells along the strip are NaN, of a call's inputs that are so in part; nothing where their lengths differ."""
    dim = run.joins.get(call)
    if dim is None:
        return []
    local = [tensor for tensor, share in zip(inputs, shares, strict=True) if share and tensor.dim() >= -dim]
    if len(local) < 2 or len({(tensor.shape[0], tensor.shape[dim]) for tensor in local}) > 1:
        return []
    return [_touched(tensor, dim) for tensor in local]


def _note_join(run: Run, call: Call, parts: list[Tensor], outputs: Sequence[Tensor]) -> None:
    """Keep them, where the call's output is as long."""
    if parts and outputs and outputs[0].shape[run.joins[call]] == parts[0].shape[1]:
        run.joined[call] = parts


def _supply(strip: Strip, run: Run, call: Call, op: Windowed, unchanged: Callable[[], Any]) -> Any:
    """Run an operator that pads: collapsed across the strip, with NaN for its padding along it where asked."""
    along, across = _image_axes(strip, op)
    axes = {along} if run.along is None else run.along.get(call, {along})
    if op.operator == "roll" and not axes & set(op.axes):
        return unchanged()  # over channels
    if strip.width is None and len(op.axes) > 1:
        for axis in across:
            op = op.collapsed(axis)
    elif (op.outline is None or run.numbers) and not (any(map(any, op.pads)) and (run.nan or run.noise is not None)):
        return unchanged()
    filled = (run.nan or run.noise is not None) and (op.input.is_floating_point() or op.input.is_complex())
    padded = op.padded(dict.fromkeys(axes, nan) if filled else {})
    if run.noise is not None:
        return op.apply(op, _with_noise(padded, op, run.noise))
    if op.outline is None or run.numbers or not op.input.is_floating_point():
        return op.apply(op, padded)
    return op.outline(op, padded)


def _with_noise(padded: Tensor, op: Windowed, generator: torch.Generator) -> Tensor:
    """The padded input with random numbers of either sign, from 1 to 1000 in size, for NaN."""
    if padded.shape == op.input.shape:
        return padded
    holes = padded.isnan()
    values = torch.randn(padded.shape, generator=generator, dtype=torch.float64)
    sizes = 10 ** (3 * torch.rand(padded.shape, generator=generator, dtype=torch.float64))
    return torch.where(holes, (values * sizes).to(padded.dtype), padded)


def _image_axes(strip: Strip, op: Windowed) -> tuple[int, Size]:
    """The input's dimensions along and across the strip, counted from the end.

    Across a collapsed strip there is one cell, which tells the axes apart where a network has swapped them, and
    channels-last layouts where `F.pad` leaves the last dimension alone.
    """
    own = tuple(range(-strip.axes, 0))
    layouts = list(permutations(own))
    last_alone = dict(zip(op.axes, op.pads, strict=True)).get(-1, (0, 0)) == (0, 0)
    if op.operator in ("pad", "roll") and op.input.dim() > strip.axes + 1 and last_alone:
        layouts.insert(1, tuple(axis - 1 for axis in own))
    shape = op.input.shape
    for layout in (*layouts, own):
        along, across = layout[strip.axis], layout[: strip.axis] + layout[strip.axis + 1 :]
        if strip.width is not None or len(shape) <= strip.axes or all(shape[axis] == 1 for axis in across):
            break
    return along, across


def _position_mark(strip: Strip, run: Run, call: Call, op: Windowed | None) -> _Mark | None:
    """Resampling that ties cells to the size of the input, or that spreads something of a fixed size over the map."""
    if op is None or op.operator != "interpolate":
        return None
    fixed = run.along is not None and run.along.get(call) == set()
    if fixed and max(op.input.shape[-strip.axes :]) > 1:
        return _Mark(stretched(str(call)), True)
    if op.anchored:
        return _Mark(anchored(str(call)), True)
    return None


def _spread_mark(
    strip: Strip, call: Call, op: Windowed | None, shares: Sequence[float], outputs: Sequence[Tensor]
) -> _Mark | None:
    """Whether a call made NaN throughout of inputs that were NaN in part.

    An operator does so that sees the whole input; so may any, on a short strip: a window that meets NaN from both
    ends, or a sum of tensors that are NaN at different ends.
    """
    if 1.0 in shares or not any(shares):  # nothing was NaN in part; what is NaN now may be NaN of the network's own
        return None
    if not any(_nan_share(tensor) == 1.0 for tensor in outputs):
        return None
    if call.operator.startswith(_SOFT):
        return _Mark(None, soft=str(call))
    windowed = op is not None and not _one_window(strip, op, outputs)
    return _TOO_SHORT if windowed or sum(shares) >= 1.0 else _Mark(sees_all(str(call)))


def _one_window(strip: Strip, op: Windowed, outputs: Sequence[Tensor]) -> bool:
    """Whether a single window covers the strip: its kernel was derived from the input's size."""
    along, _ = _image_axes(strip, op)
    taps = dict(zip(op.axes, op.kernel, strict=True)).get(along, 1)
    return taps > 1 and all(tensor.dim() >= -along and tensor.shape[along] == 1 for tensor in outputs)


_DECISIONS = dict.fromkeys(
    ("__bool__", "item", "__float__", "__int__", "__index__", "tolist", "equal", "allclose", "is_nonzero"),
    "takes a number out of the map, by which the network may go another way",
)
"""Calls by which numbers leave torch: what the network does may depend on them."""

_HARMLESS = {
    "isnan",
    "isfinite",
    "isinf",
    "zeros_like",
    "ones_like",
    "empty_like",
    "new_zeros",
    "new_ones",
    "new_empty",
}


def _nan_share(tensor: Tensor, *, count: bool = True) -> float:
    """Which share of a tensor's numbers is NaN, or depends on NaN; without `count` only 0 means what it says."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.numel() == 0:
        mark = taint_of(tensor)
        return 0.0 if mark is None or mark.numel() == 0 else float(mark.double().mean())
    version = 0 if tensor.is_inference() else tensor._version
    known = getattr(tensor, _SHARE, None)
    if known is None or known[0] != version or (count and known[1] == _SOME):
        try:
            share = _SOME if bool(tensor.sum().isnan()) else 0.0  # ten times as fast as looking at each
            if share and count:
                share = int(tensor.isnan().count_nonzero()) / tensor.numel()
        except RuntimeError:  # inside a transformation such as vmap a tensor has no numbers to look at
            return 0.0
        known = version, share
        setattr(tensor, _SHARE, known)
    return float(known[1])


_SHARE = "_padprint_nan_share"
_SOME = 1e-300  # not counted
