"""A network whose statistics over the whole map can be taken over a crop's window, replayed, or held constant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.network.calls import Call, Interceptor, depended_on
from padprint.network.preserved import state_kept
from padprint.support.axes import Size, times
from padprint.support.wording import first_line
from padprint.wholemap.extents import Extent, Window, extents
from padprint.wholemap.operators import (
    SEEN,
    Cells,
    Split,
    Statistic,
    UnreadError,
    level,
    mapped,
    seen_by,
    split,
    tensors,
    vanishing,
)

NEUTRAL = "neutral"
"""Statistics are constants: what is left is local, and has a geometry."""
ALONE = "alone"
"""A crop by itself; its statistics are kept."""
REPLAYED = "replayed"
"""A canvas, under the statistics that were kept of the crop."""
WINDOWED = "windowed"
"""A canvas, every statistic over the crop's window."""
TAKING = "taking"
"""A scene, or a tile of it; its statistics, and the numbers that it gives of its size, are kept for tiles of it."""
FROZEN = "frozen"
"""A tile, under the statistics and numbers that were kept of its scene."""
_PROBE = "probe"

_GROWTH = {1: (512 * 3 * 5 * 7,), 2: (128, 192), 3: (64, 96, 128)}
"""Px by axis, by axes of space: unlike each other, so that axes are told from each other, and multiples of common total strides."""

_GOLDEN = (5**0.5 - 1) / 2  # whose multiples are never alike modulo 1
_ARITHMETIC = frozenset(
    f"{left}{name}{right}"
    for name in ("mul", "div", "truediv", "true_divide", "add", "sub", "pow")
    for left, right in (("", ""), ("", "_"), ("__", "__"), ("__r", "__"), ("__i", "__"))
)


@dataclass
class _Seen:
    """One call at one size: shapes of the tensors it was given and returned, and its numbers by place."""

    inputs: list[tuple[int, ...]]
    outputs: list[tuple[int, ...]]
    numbers: dict[tuple[Any, ...], Any]


@dataclass(frozen=True)
class Known:
    """What several sizes tell of one call.

    Attributes:
        inputs: how the dimensions of its tensors run over the image, in order.
        outputs: likewise, of those it returns.
        numbers: those that depend on the input's size, by place, at the crop's size.
        mixes: whether what it returns is of all images of a batch together.
        number: of the call, in order of execution.
    """

    inputs: tuple[tuple[Extent | None, ...], ...]
    outputs: tuple[tuple[Extent | None, ...], ...]
    numbers: Mapping[tuple[Any, ...], Any]
    mixes: bool = False
    number: int = 0

    @property
    def reduces(self) -> bool:
        """Whether what it returns runs over fewer axes of the image than what it is given, or over none."""
        grown = any(extent is not None for one in self.outputs for extent in one)
        return bool(vanishing(self.inputs, self.outputs)) or not grown


class _State:
    """What the runs have in common; no attribute of a module, so that it outlives a pass."""

    __slots__ = ("calls", "images", "join", "kept", "mode", "numbers", "refused", "seen", "taken", "window")

    def __init__(self) -> None:
        self.mode = NEUTRAL
        self.window: Window | None = None
        self.kept: dict[Call, Statistic] = {}
        self.taken: dict[Call, list[Statistic]] = {}  # of several tiles
        self.join: dict[Call, Callable[[Sequence[Statistic]], Statistic] | None] = {}
        self.numbers: dict[Call, dict[tuple[Any, ...], Any]] = {}  # of a scene
        self.images = 1  # in a batch of tiles
        self.calls: dict[Call, Known] = {}
        self.seen: dict[Call, _Seen] = {}
        self.refused: dict[str, str] = {}


class WholeMap(nn.Module):
    """A network and the operators in it that see the whole map. By itself it runs with their statistics held constant.

    Args:
        net: run as it is.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.state = _State()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns in the mode that is on; see `running`."""
        for one in tensors((args, kwargs)):
            setattr(one, SEEN, ())
        with Interceptor(self._handle):
            return self.net(*args, **kwargs)

    @contextmanager
    def watching(self, mode: str, window: Window | None, x: Tensor) -> Iterator[None]:
        """Run the network itself in a mode for as long as a block lasts, on an input `x`."""
        setattr(x, SEEN, ())
        self.state.images = len(x)
        with self._running(mode, window), Interceptor(self._handle):
            yield

    def keep(self) -> None:
        """Keep the statistics that passes in mode `TAKING` have taken, of several of them together.

        Raises:
            ModelError: those of several tiles cannot be put together: their shapes depend on the tile.
        """
        for call, several in self.state.taken.items():
            self.state.kept[call] = several[0] if len(several) == 1 else _together(call, several, self.state.join[call])
        self.state.taken.clear()

    def forget(self) -> None:
        """Keep no statistics any more."""
        self.state.kept.clear()
        self.state.numbers.clear()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Run the network itself under the statistics that are kept, whoever calls it, for as long as a block lasts."""

        def marked(_: nn.Module, args: Any, kwargs: Any) -> None:
            with torch._C.DisableTorchFunction():
                given = tensors((args, kwargs))
                for one in given:
                    setattr(one, SEEN, ())
                self.state.images = len(given[0]) if given and given[0].dim() else 1

        handle = self.net.register_forward_pre_hook(marked, with_kwargs=True)
        try:
            with self._running(FROZEN), Interceptor(self._handle, self.net):
                yield
        finally:
            handle.remove()

    @contextmanager
    def _running(self, mode: str, window: Window | None = None) -> Iterator[None]:
        before = self.state.mode, self.state.window
        self.state.mode, self.state.window = mode, window
        try:
            yield
        finally:
            self.state.mode, self.state.window = before

    def learn(self, channels: int, crop: Size) -> dict[str, str]:
        """Run the network at the crop's size and longer along each axis, and with two images at once, and see which calls reduce the map.

        Returns:
            Calls that cannot be followed, and why.

        Raises:
            ModelError: it does not run at a size larger than the crop's.
        """
        own = self._probe(channels, crop, crop)
        longer = [
            tuple(n + more * (one == axis) for one, n in enumerate(crop))
            for axis, more in enumerate(_GROWTH[len(crop)])
        ]
        grown = [self._probe(channels, size, crop) for size in longer]
        try:
            pair = self._probe(channels, crop, crop, 2)
        except ModelError:  # made for a batch of one
            pair = {}
        self.state.calls = _known(own, grown, pair, crop)
        self.state.refused.clear()
        with torch.no_grad(), state_kept(self):
            try:
                self(self.noise(channels, crop))
            except Exception as error:
                raise ModelError(
                    f"the network does not run with its statistics held constant: {first_line(error)}"
                ) from error
        return dict(self.state.refused)

    def noise(self, channels: int, size: Size, images: int = 1) -> Tensor:
        """A random input `(images, channels, *size)`."""
        like = next((one for one in self.net.parameters() if one.is_floating_point()), torch.zeros(()))
        noise = torch.randn(images, channels, *size, generator=torch.Generator().manual_seed(0))
        return noise.to(like.device, like.dtype)

    def _probe(self, channels: int, size: Size, crop: Size, images: int = 1) -> dict[Call, _Seen]:
        self.state.seen = {}
        with self._running(_PROBE), torch.no_grad(), state_kept(self):
            try:
                self(self.noise(channels, size, images))
            except Exception as error:
                why = (
                    "choose another crop"
                    if size == crop
                    else "an input of one size alone, or position embeddings made for one, has no larger scene"
                )
                raise ModelError(
                    f"the network does not run on an input of {times(size)} px ({first_line(error)}): {why}"
                ) from error
        seen, self.state.seen = self.state.seen, {}
        return seen

    # -------------------------------------------------------------------------------------------------- one call

    def _handle(self, call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        inputs = tensors((args, kwargs))
        seen = [one for one in map(seen_by, depended_on(call.operator, inputs)) if one is not None]
        out, whole = self._called(call, func, args, kwargs)
        if whole or seen:
            own = (str(call),) if whole else ()
            joined = tuple(dict.fromkeys((*(name for one in seen for name in one), *own)))
            for one in tensors(out) if out is not None else inputs[:1]:  # x[...] = y changes x
                setattr(one, SEEN, joined)
        return out

    def _called(
        self, call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Any, bool]:
        """What a call returns, and whether it sees the whole map."""
        state = self.state
        if state.mode == _PROBE:
            inputs = [tuple(one.shape) for one in tensors((args, kwargs))]
            out = func(*args, **kwargs)
            outputs = [tuple(one.shape) for one in tensors(out)]
            state.seen[call] = _Seen(inputs, outputs, dict(_numbers((args, kwargs))))
            return out, False
        known = state.calls.get(call)
        if known is None:
            return func(*args, **kwargs), False
        inputs_now = tensors((args, kwargs))
        if len(inputs_now) != len(known.inputs):
            return func(*args, **kwargs), False
        deciding = set(map(id, depended_on(call.operator, inputs_now)))
        found: dict[int, Sequence[Extent | None]] = {
            id(one): own
            for one, own in zip(inputs_now, known.inputs, strict=True)
            if len(own) == one.dim() and id(one) in deciding
        }
        if known.numbers and state.mode == TAKING:
            here = dict(_numbers((args, kwargs)))
            state.numbers[call] = {place: here[place] for place in known.numbers if place in here}
        elif known.numbers and (
            call.operator in _ARITHMETIC or (state.mode in (REPLAYED, WINDOWED, FROZEN) and known.reduces)
        ):
            numbers = state.numbers.get(call, known.numbers) if state.mode == FROZEN else known.numbers
            args, kwargs = _with_numbers((args, kwargs), numbers)
        cells = Cells(found, known.outputs, state.window)
        try:
            parts = split(call.operator, cells, func, args, kwargs)
            if parts is not None and known.mixes:
                raise UnreadError("it mixes the images of a batch")
            return (func(*args, **kwargs), False) if parts is None else (self._run(call, parts), True)
        except UnreadError as error:
            state.refused.setdefault(str(call), str(error))
            return func(*args, **kwargs), False

    def _kept(self, call: Call, parts: Split) -> Statistic:
        """The statistic of a scene, for a batch of tiles."""
        if parts.placed:
            raise ModelError(
                f"{call} depends on where in its scene a tile lies, so that tiles cannot be run under the scene's statistics"
            )
        if call not in self.state.kept:
            raise ModelError(f"{call} did not run on the scene: the network takes another way on tiles")
        images = self.state.images

        def expanded(x: Tensor) -> Tensor:
            return x.expand(images, *x.shape[1:]) if images > 1 and x.dim() and len(x) == 1 else x

        found: Statistic = mapped(self.state.kept[call], expanded)
        return found

    def _run(self, call: Call, parts: Split) -> Any:
        state = self.state
        if state.mode == NEUTRAL:
            before = level.set(0.5 + 0.4 * (_GOLDEN * state.calls[call].number % 1))
            try:
                return parts.neutral()
            finally:
                level.reset(before)
        if state.mode == ALONE:
            state.kept[call] = parts.take()
            return parts.apply(state.kept[call])
        if state.mode == TAKING:
            taken = parts.take()
            state.taken.setdefault(call, []).append(taken)
            state.join[call] = parts.join
            return parts.apply(taken)
        if state.mode == FROZEN:
            return parts.apply(self._kept(call, parts))
        if state.mode == REPLAYED and call in state.kept:
            return parts.apply(state.kept[call])
        return parts.apply(parts.take())


def _together(
    call: Call, several: Sequence[Statistic], join: Callable[[Sequence[Statistic]], Statistic] | None
) -> Statistic:
    """The statistic of several tiles together."""
    if join is None or not all(one.is_floating_point() for one in tensors(several[0])):
        raise ModelError(
            f"{call} has no statistic that could be averaged over tiles; take it in one pass over the scene"
        )
    return join(several)


def _known(
    crop_run: Mapping[Call, _Seen], others: Sequence[Mapping[Call, _Seen]], pair: Mapping[Call, _Seen], crop: Size
) -> dict[Call, Known]:
    """What the runs tell of each call: one at the crop's size, one longer along each axis, one with two images."""
    found: dict[Call, Known] = {}
    at = [Fraction(1)] * len(crop)
    for number, (call, own) in enumerate(crop_run.items()):
        if not all(call in run for run in others):
            continue
        grown = [run[call] for run in others]
        if not all(len(own.inputs) == len(one.inputs) and len(own.outputs) == len(one.outputs) for one in grown):
            continue
        inputs, outputs = (
            [extents(shape, longer, crop, _GROWTH[len(crop)], at) for shape, *longer in zip(*each, strict=True)]
            for each in ((own.inputs, *(one.inputs for one in grown)), (own.outputs, *(one.outputs for one in grown)))
        )
        changed = {
            place: value
            for place, value in own.numbers.items()
            if any(one.numbers.get(place, value) != value for one in grown)
        }
        for one in outputs:
            single = [extent for extent in one if extent is not None and len(extent.axes) == 1]
            strides = {extent.axes[0]: extent.stride[0] for extent in single}
            if len(single) == len(strides) == len(crop):
                at = [strides[axis] for axis in range(len(crop))]
        runs_over = any(extent is not None for one in (*inputs, *outputs) for extent in one)
        if runs_over or changed:
            found[call] = Known(
                tuple(map(tuple, inputs)), tuple(map(tuple, outputs)), changed, _mixes(own, pair.get(call)), number
            )
    return found


def _mixes(one: _Seen, two: _Seen | None) -> bool:
    """Whether what a call is given grows with the images of a batch, and what it returns does not."""
    if two is None:
        return False
    return one.inputs != two.inputs and one.outputs == two.outputs and bool(one.outputs)


def _numbers(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every whole number and fraction in nested arguments, with the keys that lead to it."""
    if isinstance(value, (bool, Tensor)):
        return
    if isinstance(value, (int, float)):
        yield place, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _numbers(one, (*place, key))
    elif isinstance(value, (tuple, list)):
        for i, one in enumerate(value):
            yield from _numbers(one, (*place, i))


def _with_numbers(value: Any, numbers: Mapping[tuple[Any, ...], Any], place: tuple[Any, ...] = ()) -> Any:
    """Nested arguments with some of their numbers replaced."""
    if place in numbers:
        return numbers[place]
    if isinstance(value, Mapping):
        return {key: _with_numbers(one, numbers, (*place, key)) for key, one in value.items()}
    if type(value) in (tuple, list, torch.Size):
        made = [_with_numbers(one, numbers, (*place, i)) for i, one in enumerate(value)]
        return made if isinstance(value, list) else tuple(made)
    return value
