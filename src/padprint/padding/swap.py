"""Swap the padding of whatever runs, for as long as a block lasts."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from padprint.errors import PaddingError
from padprint.network.calls import Call, Interceptor
from padprint.padding.hidden import may_invent
from padprint.padding.operators import moves, read_call
from padprint.padding.scheme import Scheme, make
from padprint.padding.space import Space, Verdict
from padprint.padding.windowed import Windowed, supply_cells


@dataclass
class Replaced:
    """What a `use` block has replaced so far.

    Attributes:
        scheme: what supplies the cells.
        layers: for each module by its path ("" is the outermost one), how many calls made in it got other padding.
        operators: the same, for each operator.
    """

    scheme: Scheme
    layers: Counter[str] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """All calls that got other padding."""
        return self.layers.total()


@contextmanager
def use(scheme: str | Scheme) -> Iterator[Replaced]:
    """Swap the padding of all that runs inside the block, in this thread.

    Modules and functional calls alike, with gradients or without, eager modules and unflattened exported programs:
    convolutions, pooling (whose overhang by ``ceil_mode`` is padding too), transposed convolutions (cells beyond the
    edge, which torch leaves out), `F.unfold`, and `F.pad` of a map's spatial dimensions. Left as they are: upsampling,
    which clamps inside, `torch.roll`, and what pads no space of a map: tables, tokens, scores, channels. Which dimensions
    are space is told by running a copy of the network on shapes alone, once for each network that leaves it in doubt, with
    the sizes of its input doubled; where that fails, by the form of the call. Padding that cannot be seen is not swapped.
    `padprint.inspect` lists what stays, with the reason, and what may hide some.

    Blocks nest, and the inner one wins; so does a converted module's own padding. A learned scheme serves all layers with
    the parameters it has, or, where it must know the number of channels first, with new ones for each number. Where
    nothing has trained them a warning says so; `convert` is for training.

    Args:
        scheme: a name, with parameters as ``"constant:value=0.5"``, or a scheme.

    Yields:
        What was replaced so far.

    Raises:
        PaddingError: no such scheme; it cannot supply what a layer needs; it changes sizes and the network then fails;
            a module is compiled or TorchScript; or, at the end of the block, nothing was replaced. What the block
            itself raises passes through.

    Examples:
        A mean over 3 x 3 cells of ones: reflection leaves ones, where zeros take away.

        >>> import torch
        >>> from torch import nn
        >>> import padprint
        >>> blur = nn.Conv2d(3, 1, 3, padding=1, bias=False)
        >>> _ = nn.init.constant_(blur.weight, 1 / 27)
        >>> with padprint.padding.use("reflect") as replaced, torch.no_grad():
        ...     ninths = 9 * blur(torch.ones(1, 3, 8, 8))[0, 0, 0, :3]
        >>> ninths.round().int().tolist()
        [9, 9, 9]
        >>> replaced.operators
        Counter({'conv2d': 1})
        >>> with torch.no_grad():
        ...     ninths = 9 * blur(torch.ones(1, 3, 8, 8))[0, 0, 0, :3]
        >>> ninths.round().int().tolist()
        [4, 6, 6]
    """
    wanted = make(scheme)
    if wanted.untrained:
        warnings.warn(f"{untrained(wanted)}; convert the network to train it", stacklevel=3)
    with swapped(wanted) as replaced:
        yield replaced


@contextmanager
def swapped(scheme: Scheme) -> Iterator[Replaced]:
    """See `use`; without its warning."""
    replaced = Replaced(scheme)
    sized: dict[int, Scheme] = {}
    kept: dict[str, str] = {}  # until something is replaced

    spaces: dict[int, Space] = {}

    def judge(call: Call, op: Windowed) -> Verdict | None:
        outermost = watch.outermost
        if outermost is None:
            return None
        key = id(outermost[1])
        if key not in spaces:
            spaces.clear()
            spaces[key] = Space(*outermost)
        return spaces[key].verdict(call, op)

    def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        op = swappable(func, args, kwargs, lambda op: judge(call, op))
        if op is None:
            if replaced.scheme.changes_size and replaced.layers:
                return _run_resized(replaced.scheme, call, func, args, kwargs)
            reason = None if replaced.layers else stays(func, args, kwargs, lambda op: judge(call, op))
            if reason is not None:
                kept.setdefault(str(call), reason)
            return func(*args, **kwargs)
        own = replaced.scheme.for_layer(f"{call} {call.ordinal}")
        if own.learned and next(own.parameters(), None) is None:
            channels = channels_of(op)
            if channels not in sized:
                sized[channels] = own.sized(channels).to(op.input.device)
            own = sized[channels]
        out = run_replaced(op, own, call.module, lambda: func(*args, **kwargs))
        replaced.layers[call.module] += 1
        replaced.operators[op.operator] += 1
        return out

    watch = Interceptor(handle)
    with watch:
        yield replaced
    if not replaced.layers:
        words = "; ".join(f"{call} {reason}" for call, reason in kept.items())
        raise PaddingError(
            f"{title(replaced.scheme)} padding replaced nothing: no operator with padding to swap ran inside the block"
            f"{words and f' ({words})'}; padprint.inspect(model, example) lists what there is"
        )


Judge = Callable[[Windowed], "Verdict | None"]
"""What is known of a call beside the call itself."""


def _nothing_known(_: Windowed) -> Verdict | None:
    return None


def swappable(
    func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], judge: Judge = _nothing_known
) -> Windowed | None:
    """The call in `Windowed` form where it has padding that can be swapped, else None."""
    if func is supply_cells or moves(func):  # reading upsampling would fix the sizes of a graph being exported
        return None
    op = read_call(func, args, kwargs)
    return op if op is not None and op.supplies and fixed(op, judge(op)) is None else None


def stays(
    func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], judge: Judge = _nothing_known
) -> str | None:
    """Why a call that is not `swappable` keeps its padding, or may hide some; None where there is nothing to tell.

    Upsampling and `torch.roll` never are, so they are not told.
    """
    op = None if func is supply_cells else read_call(func, args, kwargs)
    if op is None:
        return may_invent(func)
    return fixed(op, judge(op)) if op.supplies and op.operator not in ("roll", "interpolate") else None


def fixed(op: Windowed, known: Verdict | None = None) -> str | None:
    """Why the padding of a call stays as it is, in words; None where it can be swapped.

    Args:
        op: the call.
        known: what the size of the network's input tells of it; None where that is nothing.
    """
    if op.operator == "roll":
        return "moves the cells of the map around and invents none"
    if op.operator == "interpolate":
        return "clamps inside the resampling"
    if not (op.input.is_floating_point() or op.input.is_complex()):
        return (
            f"pads a tensor of {str(op.input.dtype).removeprefix('torch.')}, not of floating point or complex numbers"
        )
    if op.fill != op.fill:
        return "marks its cells with NaN, which a trace looks for"
    by_form = _not_spatial(op, known) if op.operator == "pad" else None
    return by_form or (None if known is None else known.reason)


def _not_spatial(op: Windowed, known: Verdict | None) -> str | None:
    """Which dimensions `F.pad` pads: a map is (batch, channels, space), or (channels, space) without a batch.

    By its form alone a tensor of two dimensions is no map, nor one of four that is padded from the second dimension on,
    but for torch's modes beside ``constant``, which are defined on maps.
    """
    dims = op.input.dim()
    padded = sorted(axis for axis, pair in zip(op.axes, op.pads, strict=True) if any(pair))
    first = dims + padded[0]
    by_torch = op.mode in ("reflect", "replicate", "circular") and dims == len(op.axes) + 1
    judged = known == Verdict(None) and first > 0 and padded == list(range(padded[0], 0))
    if by_torch or judged or (dims == 3 and padded in ([-1], [-2, -1])):
        return None
    reason = None
    if dims <= 3:
        reason = f"pads a tensor of {dims} dimensions in dimension {first}, which is no map in (channels, space)"
    elif first < 2:
        reason = f"pads dimension {first}: channels or batch, or a map with its channels last"
    elif min(op.axes) + dims < 2 and -1 not in padded:
        reason = "leaves the last dimension alone: a map with its channels last"
    elif known is None and len(padded) == 1 and math.isfinite(op.fill) and op.fill:
        reason = f"appends {op.fill:g} along dimension {first} alone: no edge of a map, as far as can be told"
    return reason


def channels_of(op: Windowed) -> int:
    """Channels of the padded map."""
    if op.operator != "pad":
        return op.input.shape[-len(op.axes) - 1]
    padded = [axis for axis, pair in zip(op.axes, op.pads, strict=True) if any(pair)]
    unbatched = op.input.dim() + min(padded) < 2
    return op.input.shape[0 if unbatched else 1]


_OWN = {"zeros", "reflect", "replicate", "circular"}  # modes of torch's that are schemes of the same name


def run_replaced(op: Windowed, scheme: Scheme, module: str, unchanged: Callable[[], Any]) -> Any:
    """Run a call with the cells that `scheme` supplies.

    Args:
        op: the call.
        scheme: supplies the cells.
        module: path of the module that makes the call, for the message.
        unchanged: the call as it was made, which serves where it pads like the scheme already.

    Raises:
        PaddingError: the scheme cannot.
    """
    try:
        return unchanged() if op.mode == scheme.name in _OWN else supply_cells(op.input, op, scheme)
    except (PaddingError, RuntimeError) as error:
        if type(error) not in (PaddingError, RuntimeError):  # out of memory, and the like
            raise
        sides = " and ".join(f"{before} + {after}" for before, after in op.pads)
        size = " x ".join(str(op.input.shape[axis]) for axis in op.axes)
        where = Call(module, op.operator, 0)
        changes = ", which changes the sizes of maps," if scheme.changes_size else ""
        raise PaddingError(
            f"{title(scheme)} padding{changes} cannot be applied to {where} ({sides} cells before + after, "
            f"map of {size}): {error}"
        ) from error


def _run_resized(
    scheme: Scheme, call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:
        if type(error) is not RuntimeError:
            raise
        reason = str(error).strip().splitlines()[0]
        raise PaddingError(
            f"{title(scheme)} padding changes the sizes of maps, and {call} cannot take them: {reason}"
        ) from error


def untrained(scheme: Scheme) -> str:
    """What to say of a learned scheme that has learnt nothing."""
    return (
        f"{title(scheme)} padding learns, and nothing has trained it: its cells come from the parameters it starts with"
    )


def title(scheme: Scheme) -> str:
    """What to call a scheme in a message."""
    return scheme.name or type(scheme).__name__
