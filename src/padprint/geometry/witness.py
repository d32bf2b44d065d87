"""The second witness of a network's geometry: change the scene outside a crop, and see which cells of the crop move.

It needs no list of operators: a map that is extended by slices, by look-ups or in a spectrum moves like any other. But
it sees only what moves: a cell that a change reaches seldom, or by less than rounding, may be missed.

Everything runs in the network as it is, in double precision, on strips of random content:

scene     a crop with scene around it
other     the same inside the crop and other content outside, of the same size and up to a thousand times larger
shifted   the same content, one period further on
crop      the crop alone
again     where every cell moves, or one moves with the place, the scene once more: a random network differs from itself
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, inf

import torch
from torch import Tensor

from padprint.errors import ModelError
from padprint.geometry.strip import Strip, change
from padprint.network.layers import Leaf, Tap, run_to
from padprint.support.reasons import Reason, changes_throughout, depends_on_place, depends_on_size
from padprint.support.wording import first_line

_OUTSIDE = 3
"""Other content outside the crop is larger than that in it, up to this power of ten."""

_SIZES = (1.0, 0.3, 3.0, 10.0)
"""Sizes of the random content, one draw after another."""

_MEANS = (0.0, 1.0, -1.0, 0.0)
"""Means of the other content in units of its largest size: what is decided by a mean is decided otherwise."""

_FLIPS = 0.02
"""Share of a row's numbers that rounding may turn over in single precision."""

_SHIFTS = 8
"""Shifts that are tried in one pass."""


@dataclass(frozen=True)
class Look:
    """What is looked at along one axis.

    Attributes:
        strip: the network and how it is run; never collapsed.
        crop: length of the crop, px.
        period: total stride, px.
        margin: of scene on either side, px; a multiple of the period.
        dims: by layer, the dimension that runs along the axis.
        strides: by layer, px from cell to cell.
        wider: px of scene across, too, on either side; then only the cells in the middle across are looked at, which padding
            there does not reach. 0 for strips, on which padding across is the same in all that is compared.
        across: by layer, the dimension that runs across.
    """

    strip: Strip
    crop: int
    period: int
    margin: int
    dims: dict[Leaf, int]
    strides: dict[Leaf, Fraction]
    wider: int = 0
    across: dict[Leaf, int] = field(default_factory=dict)

    def content(self, length: int, seed: int) -> Tensor:
        """Random numbers of unit size, `(1, channels, length, width)` for the vertical axis."""
        generator = torch.Generator().manual_seed(seed)
        c, *size = self.strip.shape(length)
        size[1 - self.strip.axis] += 2 * self.wider
        return torch.randn(1, c, *size, generator=generator, dtype=torch.float64).to(self.strip.dtype)

    def run(self, x: Tensor, taps: Sequence[Tap]) -> dict[Leaf, Tensor]:
        """Every layer's map of a batch, `(B, ..., n)` with the axis last.

        Raises:
            ModelError: the network fails.
        """
        found: dict[Leaf, Tensor] = {}

        def keep(tap: Tap, tensor: Tensor) -> None:
            if tensor.shape[0] != len(x):
                raise ModelError("a layer's first dimension is not the batch's")
            if self.wider:
                dim = self.across[tap.leaf]
                tensor = tensor.narrow(dim, tensor.shape[dim] // 2, 1)
            found[tap.leaf] = tensor.clone().movedim(self.dims[tap.leaf], -1)

        try:
            run_to(self.strip.model, x, taps, keep)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(first_line(error)) from error
        return found


@dataclass(frozen=True)
class Seen:
    """What was seen of one layer; each is `(n,)`, by cell along the axis, in units of the layer's typical number.

    Attributes:
        outside: how far cells move with what lies outside the crop.
        alone: how far they differ where the crop is all there is.
        random: how far they differ from pass to pass; None where that was not tried.
        moved: how far they differ one period further on.
    """

    outside: Tensor
    alone: Tensor
    random: Tensor | None
    moved: Tensor


def glance(one: Look, taps: Sequence[Tap]) -> dict[Leaf, Seen]:
    """The same at less cost: the crop with other content around it that lies one period further on.

    Cells may move for one reason or for the other, and count as moved by what lies outside. So it tells no more than
    whether cells stay.

    Raises:
        ModelError: the network fails on the strips.
    """
    axis, start, length = 2 + one.strip.axis, one.margin, one.crop + 2 * one.margin
    scene, other = one.content(length, 1), _others(one, length, 0)
    inside = scene.narrow(axis, start, one.crop)
    other.narrow(axis, start - one.period, one.crop).copy_(inside)
    maps, crops = one.run(torch.cat([scene, other]), taps), one.run(inside, taps)
    found = {}
    for tap in taps:
        stride, alone = one.strides[tap.leaf], crops[tap.leaf]
        first, step, n = int(start / stride), int(one.period / stride), alone.shape[-1]
        here = maps[tap.leaf][:1].narrow(-1, first, n)
        there = maps[tap.leaf][1:].narrow(-1, first - step, n)
        found[tap.leaf] = Seen(_cells(there, here), _cells(alone, here), None, torch.zeros(n))
    return found


def _others(one: Look, length: int, draw: int) -> Tensor:
    """Content to lay around a crop, up to a thousand times larger than what is in it."""
    size = _SIZES[draw % len(_SIZES)]
    other = one.content(length, 3 * draw + 2) * size
    other *= 10 ** (_OUTSIDE * one.content(length, 3 * draw + 3).sigmoid())
    other += _MEANS[draw % len(_MEANS)] * 10.0**_OUTSIDE * size
    return other


def look(one: Look, taps: Sequence[Tap], draw: int = 0) -> dict[Leaf, Seen]:
    """See which cells of the layers move, and with what.

    Args:
        one: what is looked at.
        taps: the layers.
        draw: number of the random content; each has another size.

    Raises:
        ModelError: the network fails on the strips.
    """
    axis, start, length = 2 + one.strip.axis, one.margin, one.crop + 2 * one.margin
    size = _SIZES[draw % len(_SIZES)]
    long = one.content(length + one.period, 3 * draw + 1) * size
    scene = long.narrow(axis, 0, length)
    inside = scene.narrow(axis, start, one.crop)
    other = _others(one, length, draw)
    other.narrow(axis, start, one.crop).copy_(inside)
    shifted = long.narrow(axis, one.period, length)
    maps = one.run(torch.cat([scene, other, shifted]), taps)
    if one.wider:
        inside = inside.narrow(5 - axis, one.wider, inside.shape[5 - axis] - 2 * one.wider)
    crops = one.run(inside, taps)
    found = {}
    for tap in taps:
        stride = one.strides[tap.leaf]
        n = crops[tap.leaf].shape[-1]
        first, step = int(start / stride), int(one.period / stride)
        windows = maps[tap.leaf].narrow(-1, first, n)
        here = windows[:1]
        there = maps[tap.leaf][-1:].narrow(-1, first - step, n)
        found[tap.leaf] = Seen(
            outside=_cells(windows[1:2], here),
            alone=_cells(crops[tap.leaf], here),
            random=None,
            moved=_cells(there, here),
        )
    everywhere = [
        tap
        for tap in taps
        if bool((found[tap.leaf].outside.maximum(found[tap.leaf].alone) > _tolerances(one.strip.dtype)[0]).all())
        or bool((found[tap.leaf].moved > _LOOSE).any())
    ]
    if everywhere:
        again = one.run(scene, everywhere), one.run(scene, everywhere)
        for tap in everywhere:
            two, three = (
                one_of[tap.leaf].narrow(-1, int(start / one.strides[tap.leaf]), len(found[tap.leaf].alone))
                for one_of in again
            )
            found[tap.leaf] = replace(found[tap.leaf], random=_cells(two, three))
    return found


def _laid_over(one: Seen, two: Seen) -> Seen:
    """The larger of what was seen in two draws."""
    random = one.random if two.random is None else two.random if one.random is None else one.random.maximum(two.random)
    return Seen(one.outside.maximum(two.outside), one.alone.maximum(two.alone), random, one.moved.maximum(two.moved))


def periods(one: Look, taps: Sequence[Tap], candidates: Sequence[int]) -> int | None:
    """The first of some growing shifts in px that changes nothing but where cells lie; None where there is none.

    Raises:
        ModelError: the network fails on the strips.
    """
    axis, start, length = 2 + one.strip.axis, one.margin, one.crop + 2 * one.margin
    for at in range(0, len(candidates), _SHIFTS):
        shifts = candidates[at : at + _SHIFTS]
        long = one.content(length + max(shifts), 1)
        maps = one.run(torch.cat([long.narrow(axis, shift, length) for shift in (0, *shifts)]), taps)
        for i, shift in enumerate(shifts, start=1):
            same = True
            for tap in taps:
                stride = one.strides[tap.leaf]
                n, first = int(one.crop / stride), int(start / stride)
                if (shift / stride).denominator != 1 or first < shift / stride:
                    same = False
                    break
                here = maps[tap.leaf][:1].narrow(-1, first, n)
                there = maps[tap.leaf][i : i + 1].narrow(-1, first - int(shift / stride), n)
                same = same and bool((_cells(there, here) <= _LOOSE).all())
            if same:
                return shift
    return None


def _cells(some: Tensor, here: Tensor) -> Tensor:
    """`(n,)`: along the last dimension, how far any of `some` is from `here`, in units of its typical number.

    In single precision a few numbers may differ by rounding alone, where a network quantises.
    """
    apart = change(some, here.expand_as(some), here).reshape(-1, here.shape[-1])
    if here.dtype != torch.float32:
        return apart.amax(0)
    return apart.kthvalue(ceil((1 - _FLIPS) * len(apart)), 0).values


_STRICT = 2.0**-32
"""Change that is rounding in double precision."""

_LOOSE = 5e-5
"""Change that is rounding where a part of the network computes in single precision."""

_SINGLE = 1e-4
"""Change that is rounding where all of the network does."""


# ----------------------------------------------------------------------------------------------------- what it tells


@dataclass(frozen=True)
class Expected:
    """What the first witness says of a layer along the axis; see `AxisLayer`."""

    dim: int
    stride: Fraction
    phases: int
    rim: tuple[int, int]
    size: int
    across: int


@dataclass(frozen=True)
class Sizes:
    """Lengths in px.

    Attributes:
        crop: along the axis, and
        across: across it.
        length: of a strip on which the rims of all layers end, congruent to the crop.
        period: total stride.
        draws: of random content; several where the first witness could not read every operator.
        period_across: total stride across.
    """

    crop: int
    across: int
    length: int
    period: int
    draws: int = 1
    period_across: int = 1


@dataclass(frozen=True)
class Told:
    """What the second witness tells of one layer: the cells before and after that it saw move, or why none is local.

    `moved` says that shifts by the total stride change more than where cells lie.
    """

    rim: tuple[int, int] | None = None
    reason: Reason | None = None
    moved: bool = False

    @property
    def clean(self) -> bool:
        """Whether cells are left that nothing moves."""
        return self.reason is None and self.rim != OPEN and not self.moved


@dataclass(frozen=True)
class Heard:
    """What the second witness tells.

    Attributes:
        layers: by layer.
        period: a longer total stride than was believed, px; None where shifts by that move the cells and no more.
        error: why it tells nothing.
    """

    layers: dict[Leaf, Told]
    period: int | None = None
    error: str | None = None


def hear(strip: Strip, sizes: Sizes, expected: dict[Leaf, Expected], taps: Sequence[Tap]) -> Heard:
    """Ask the second witness about layers that the first one has measured.

    Args:
        strip: the network; its width is chosen here.
        sizes: see `Sizes`.
        expected: what the first witness says.
        taps: the layers.
    """
    told = _as_expected(strip, sizes, expected, taps) if taps else {}
    if told:
        return Heard(told)
    # as long as the crop where that leaves cells that padding does not reach, else as long as the first witness needed
    short = any(sum(expected[tap.leaf].rim) + expected[tap.leaf].phases > expected[tap.leaf].size for tap in taps)
    length = sizes.length if short else sizes.crop
    reach = max(_pixels(expected.values()), sizes.crop)
    # by how much the cell that moves least moved, while all of them do, on strips and on planes
    least: tuple[dict[Tap, float], dict[Tap, float]] = {}, {}
    waiting = list(taps)
    for _ in range(_LOOKS):
        if not waiting:
            break
        margin = (ceil(reach / sizes.period) + 2) * sizes.period
        found = _on_some_width(strip, sizes, length, margin, expected, waiting)
        if isinstance(found, str):
            return Heard(told, error=found)
        one, seen = found
        room = margin - sizes.period  # nearer to the crop than that the scene's own border reaches into it
        answers = _answers(seen, expected, strip.dtype, waiting, least[0], room)
        unclear = [tap for tap in waiting if not answers[tap].clean or _random(seen[tap.leaf], strip.dtype)]
        if unclear:  # padding across may be random, or depend on the size: look where it does not reach
            plane = _on_some_width(strip, sizes, length, margin, expected, unclear, plane=True)
            if not isinstance(plane, str):
                seen |= plane[1]
                answers |= _answers(plane[1], expected, strip.dtype, unclear, least[1], room)
        if any(_random(seen[tap.leaf], strip.dtype) for tap in waiting):
            return Heard(told, error="the network draws random numbers")  # the self-check tells chance from padding
        wide = {tap: _wide(one, expected[tap.leaf]) for tap, one in answers.items()}
        near = [tap for tap in waiting if wide[tap] > room]
        settled = [tap for tap in waiting if answers[tap].rim != OPEN and tap not in near]
        # the crop alone may differ because it lies elsewhere in a longer period
        moved = [
            tap
            for tap in settled
            if answers[tap].moved
            or (answers[tap].rim is None and bool((seen[tap.leaf].moved > _tolerances(strip.dtype)[1]).any()))
        ]
        if moved:
            longer = periods(replace(one, margin=margin + _LONGEST), settled, _multiples(sizes.period))
            if longer is not None:
                return Heard(told, period=longer)
        for tap in settled:
            apart = float(seen[tap.leaf].moved.max())
            told[tap.leaf] = (
                Told(reason=depends_on_place(sizes.period, apart))
                if answers[tap].moved
                else _further(answers[tap], seen[tap.leaf], expected[tap.leaf])
            )
            waiting.remove(tap)
        reach = max([reach, *(wide[tap] for tap in near)])
        if any(answers[tap].rim == OPEN for tap in waiting):
            length += ceil(2 * length / sizes.period) * sizes.period
            reach = max(reach, length // 2)
    for tap in waiting:
        told[tap.leaf] = Told(reason=changes_throughout(length))
    return Heard(told)


def _as_expected(strip: Strip, sizes: Sizes, expected: dict[Leaf, Expected], taps: Sequence[Tap]) -> dict[Leaf, Told]:
    """What a glance tells of all layers, where nothing moves that should not; else nothing."""
    if sizes.draws > 1:
        return {}
    ends = max((ceil(sum(one.rim) * one.stride) for one in expected.values()), default=0)
    length = sizes.crop + max(0, ceil((ends - sizes.crop) / sizes.period) + _CLEAR) * sizes.period
    reach = max(_pixels(expected.values()), sizes.crop)  # strips of other sizes too, where nothing reaches far
    margin = (ceil(reach / sizes.period) + 1) * sizes.period
    found = _on_some_width(strip, sizes, length, margin, expected, taps, see=glance)
    if isinstance(found, str):
        return {}
    told = {tap.leaf: _told_at(found[1][tap.leaf], expected[tap.leaf], _tolerances(strip.dtype)[0]) for tap in taps}
    rims = ((one.rim or OPEN, expected[leaf].rim) for leaf, one in told.items() if one.clean)
    fits = [seen[0] <= rim[0] and seen[1] <= rim[1] for seen, rim in rims]
    return told if len(fits) == len(taps) and all(fits) else {}


def _answers(
    seen: dict[Leaf, Seen],
    expected: dict[Leaf, Expected],
    dtype: torch.dtype,
    taps: Sequence[Tap],
    least: dict[Tap, float],
    room: int,
) -> dict[Tap, Told]:
    """What was seen of each layer, in words; `least` is kept from length to length. `room`: px that a rim may be wide."""
    answers = {}
    for tap in taps:
        strict, loose = (_told_at(seen[tap.leaf], expected[tap.leaf], limit) for limit in _tolerances(dtype))
        now = float(seen[tap.leaf].outside.maximum(seen[tap.leaf].alone).min())
        # what does not fade with distance is rounding of a part that runs in single precision; what does goes further
        rounding = now > _LEVEL * least.get(tap, inf)
        answers[tap] = strict
        # a rim that is known to the strict but too wide for the strip is no rounding: the strip must grow
        if loose.clean and not strict.clean and not _wide(strict, expected[tap.leaf]) > room:
            answers[tap] = loose if rounding else Told(OPEN)
        least[tap] = now
    return answers


def _wide(told: Told, expected: Expected) -> int:
    """The rim's wider side, px; below 0 where none is known."""
    return ceil(max(told.rim or OPEN) * expected.stride)


def _random(seen: Seen, dtype: torch.dtype) -> bool:
    return seen.random is not None and bool((seen.random > _tolerances(dtype)[1]).any())


def _tolerances(dtype: torch.dtype) -> tuple[float, float]:
    """What counts as rounding, strictly and loosely."""
    return (_STRICT, _LOOSE) if dtype == torch.float64 else (_SINGLE, _SINGLE)


_FADING = 6, 16  # periods at the inner end of a rim that must fade, at least and at most
_FAINT = 1e-3  # change to which the last of them must have faded
_STEADY = -0.9  # correlation of distance with the logarithm of change
_LEVEL = 0.1
_LOOKS = 4
_CLEAR = 2  # periods between the two rims in which a glance looks for what moves
_DRAWS = 24  # of random content at most
_QUIET = 2  # draws in a row that show nothing new
_SMALL = 64  # px: a crop that is no wider is looked at in its own width
_BUDGET = 1 << 22  # input cells of one look
_LONGEST = 512  # px: the longest total stride that is looked for

OPEN = (-1, -1)
"""A rim still unknown: both sides meet."""


def untouched(touched: Tensor, phases: int) -> tuple[int, int]:
    """Cells before and after the longest run of untouched ones; `OPEN` where it is shorter than a period.

    Args:
        touched: `(n,)` bool.
        phases: cells in one period.
    """
    best, start, run = 0, 0, 0
    flags = touched.tolist()
    for i, flag in enumerate(flags):
        run = 0 if flag else run + 1
        if run > best:
            best, start = run, i - run + 1
    return (start, len(flags) - start - best) if best >= phases else OPEN


def _told_at(seen: Seen, expected: Expected, tolerance: float) -> Told:
    outside = seen.outside > tolerance
    rim = untouched(outside | (seen.alone > tolerance), expected.phases)
    if rim == OPEN and untouched(outside, expected.phases) != OPEN:
        return Told(reason=depends_on_size())
    return Told(rim, moved=rim != OPEN and bool((seen.moved > tolerance).any()))


def _further(told: Told, seen: Seen, expected: Expected) -> Told:
    """The same, its rim as wide as what fades into rounding; where the first witness knows the rim, it knows better."""
    if told.rim is None or (told.rim[0] <= expected.rim[0] and told.rim[1] <= expected.rim[1]):
        return told
    apart = seen.outside.maximum(seen.alone)
    before = told.rim[0] + fading(apart, told.rim[0], expected.phases)
    after = told.rim[1] + fading(apart.flip(0), told.rim[1], expected.phases)
    return replace(told, rim=(before, after))


def fading(apart: Tensor, rim: int, phases: int) -> int:
    """Cells by which a rim is wider than what was seen of it, because what padding changes fades with distance.

    A recursion (an exponential average, an IIR filter) halves it from cell to cell, say, and never ends: the rim that is seen
    ends where the tolerance does. Where the last cells of a rim fade steadily down to the tolerance, the line through their
    logarithms is followed down to the rounding error of double precision.

    Args:
        apart: `(n,)` change of each cell, the side's outermost cell first.
        rim: cells that were seen to change.
        phases: cells in one period.
    """
    steps = min(rim // phases, _FADING[1])
    if steps < _FADING[0]:
        return 0
    last = apart[rim - steps * phases : rim].reshape(steps, phases).amax(1)
    if not bool(last.isfinite().all()) or bool((last <= 0).any()) or float(last[-2:].max()) > _FAINT:
        return 0
    bits, step = last.log2(), torch.arange(steps, dtype=torch.float64)
    together = torch.corrcoef(torch.stack([step, bits]))[0, 1]
    fall = float(-together * bits.std() / step.std())  # by least squares, bits in a period
    if not float(together) < _STEADY:
        return 0
    return phases * ceil(max(0.0, float(bits[-2:].max()) + 52) / fall)


def _on_some_width(
    strip: Strip,
    sizes: Sizes,
    length: int,
    margin: int,
    expected: dict[Leaf, Expected],
    taps: Sequence[Tap],
    *,
    see: Callable[[Look, Sequence[Tap]], dict[Leaf, Seen]] | None = None,
    plane: bool = False,
) -> tuple[Look, dict[Leaf, Seen]] | str:
    """On narrow strips or on strips as wide as the crop, the first that runs; why none does.

    `see` stands in for looks at as many draws as it takes. With `plane`, on one as wide as keeps padding across away from its middle, with scene around it on all sides.
    """
    least = sizes.across if sizes.across <= _SMALL else max(sizes.period, 32)
    narrow = least + (sizes.across - least) % sizes.period
    wider = ceil(margin / sizes.period_across) * sizes.period_across if plane else 0
    roomy = sizes.across + ceil(max(0, 2 * margin + 2 - sizes.across) / sizes.period_across) * sizes.period_across
    error = "the strips are too large"
    for width in (roomy,) if plane else dict.fromkeys((min(narrow, sizes.across), sizes.across)):
        if (length + 2 * margin) * (width + 2 * wider) * 4 > _BUDGET * (2 if plane else 1):
            continue
        one = Look(
            strip._replace(width=width),
            length,
            sizes.period,
            margin,
            {tap.leaf: expected[tap.leaf].dim for tap in taps},
            {tap.leaf: expected[tap.leaf].stride for tap in taps},
            wider,
            {tap.leaf: expected[tap.leaf].across for tap in taps},
        )
        try:
            return one, see(one, taps) if see else _over_draws(one, taps, sizes.draws, expected, plane=plane)
        except ModelError as failed:
            error = str(failed)
        except RuntimeError as failed:  # a map of another size than was expected
            error = first_line(failed)
    return error


def _over_draws(
    one: Look, taps: Sequence[Tap], draws: int, expected: dict[Leaf, Expected], *, plane: bool
) -> dict[Leaf, Seen]:
    """What was seen in several draws, laid over each other.

    Where the first witness is contradicted, or few cells are looked at, drawing goes on until further draws show nothing new:
    a mask that content seldom sets moves a cell in one draw and not in another.

    Raises:
        ModelError: the network fails on the strips.
    """
    tolerance, quiet = _tolerances(one.strip.dtype)[1], 0
    seen = look(one, taps)
    for draw in range(1, _DRAWS):
        unsure = [tap for tap in taps if plane or _contradicted(seen[tap.leaf], expected[tap.leaf], tolerance)]
        if draw >= draws and (not unsure or quiet == _QUIET):
            break
        more = look(one, taps if draw < draws else unsure, draw)
        new = any(bool((_moving(two, tolerance) & ~_moving(seen[leaf], tolerance)).any()) for leaf, two in more.items())
        quiet = 0 if new else quiet + 1
        seen |= {leaf: _laid_over(seen[leaf], two) for leaf, two in more.items()}
    return seen


def _moving(seen: Seen, tolerance: float) -> Tensor:
    return seen.outside.maximum(seen.alone) > tolerance


def _contradicted(seen: Seen, expected: Expected, tolerance: float) -> bool:
    """Whether cells move that should not, while others stay."""
    moving = _moving(seen, tolerance)
    if bool(moving.all()):
        return False
    before, after = untouched(moving, expected.phases)
    return before > expected.rim[0] or after > expected.rim[1] or (before, after) == OPEN


def _pixels(layers: Iterable[Expected]) -> int:
    return max((ceil(max(one.rim) * one.stride) for one in layers), default=0)


def _multiples(period: int) -> list[int]:
    return list(range(2 * period, _LONGEST + 1, period))[:63]
