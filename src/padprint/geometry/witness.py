"""The second witness of a network's geometry: change the scene outside a crop, and see which cells of the crop move.

It needs no list of operators: a map that is extended by slices, by look-ups or in a spectrum moves like any other. But
it sees only what moves: a cell that a change reaches seldom, or by less than rounding, may be missed. How the change is seen is
in `padprint.geometry.changes`; what is made of it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, inf, prod

import torch
from torch import Tensor

from padprint.errors import ModelError
from padprint.geometry.changes import Change, Trial, change_of, quick_change, repeating_shift, tolerances
from padprint.geometry.fading import OPEN, fading, untouched
from padprint.geometry.strip import Strip
from padprint.network.layers import Leaf, Tap
from padprint.support.axes import Size
from padprint.support.reasons import Reason, changes_throughout, depends_on_place, depends_on_size
from padprint.support.wording import first_line

_LEVEL = 0.1
_TRIES = 4  # lengths that are tried
_CLEAR = 2  # periods between the two rims in which a quick look finds what moves
_DRAWS = 24  # of random content at most
_QUIET = 2  # draws in a row that show nothing new
_SMALL = {1: 64, 2: 64, 3: 16}  # px: a crop that is no wider is looked at in its own width; by axes of space
_NARROW = {1: 32, 2: 32, 3: 8}  # px, and the total stride at least: the width in which others are looked at
_BUDGET = 1 << 22  # input cells of one look
_LONGEST = {1: 8192, 2: 512, 3: 512}  # px: the longest total stride that is looked for, by axes of space


@dataclass(frozen=True)
class Expected:
    """What the first witness says of a layer along the axis; see `AxisLayer`. `across`: dimensions that run along the others."""

    dim: int
    stride: Fraction
    phases: int
    rim: tuple[int, int]
    size: int
    across: Size


@dataclass(frozen=True)
class Lengths:
    """Lengths in px.

    Attributes:
        crop: along the axis, and
        across: along the others.
        length: of a strip on which the rims of all layers end, congruent to the crop.
        period: total stride.
        draws: of random content; several where the first witness could not read every operator.
        period_across: total strides along the others.
    """

    crop: int
    across: Size
    length: int
    period: int
    draws: int = 1
    period_across: Size = ()


@dataclass(frozen=True)
class Finding:
    """What the second witness says of one layer: the cells before and after that it saw move, or why none is local.

    `moved` says that shifts by the total stride change more than where cells lie.
    """

    rim: tuple[int, int] | None = None
    reason: Reason | None = None
    moved: bool = False

    @property
    def clean(self) -> bool:
        """Whether cells are left that nothing moves."""
        return self.reason is None and self.rim != OPEN and not self.moved

    def wide(self, stride: Fraction) -> int:
        """The rim's wider side, px; below 0 where none is known."""
        return ceil(max(self.rim or OPEN) * stride)


@dataclass(frozen=True)
class Findings:
    """What the second witness says.

    Attributes:
        layers: by layer.
        period: a longer total stride than was believed, px; None where shifts by that move the cells and no more.
        error: why it says nothing.
    """

    layers: dict[Leaf, Finding]
    period: int | None = None
    error: str | None = None


def find_by_change(strip: Strip, lengths: Lengths, expected: dict[Leaf, Expected], taps: Sequence[Tap]) -> Findings:
    """Ask the second witness about layers that the first one has measured.

    Args:
        strip: the network; its width is chosen here.
        lengths: see `Lengths`.
        expected: what the first witness says.
        taps: the layers.
    """
    found = _as_expected(strip, lengths, expected, taps) if taps else {}
    if found:
        return Findings(found)
    # as long as the crop where that leaves cells that padding does not reach, else as long as the first witness needed
    short = any(sum(expected[tap.leaf].rim) + expected[tap.leaf].phases > expected[tap.leaf].size for tap in taps)
    length = lengths.length if short else lengths.crop
    reach = max(_pixels(expected.values()), lengths.crop)
    # by how much the cell that moves least moved, while all of them do, on strips and on planes
    least: tuple[dict[Tap, float], dict[Tap, float]] = {}, {}
    waiting = list(taps)
    for _ in range(_TRIES):
        if not waiting:
            break
        margin = (ceil(reach / lengths.period) + 2) * lengths.period
        tried = _on_some_width(strip, lengths, length, margin, expected, waiting)
        if isinstance(tried, str):
            return Findings(found, error=tried)
        trial, changes = tried
        room = margin - lengths.period  # nearer to the crop than that the scene's own border reaches into it
        answers = _answers(changes, expected, strip.dtype, waiting, least[0], room)
        unclear = [tap for tap in waiting if not answers[tap].clean or _random(changes[tap.leaf], strip.dtype)]
        if (
            unclear and lengths.across
        ):  # padding across may be random, or depend on the size: look where it does not reach
            plane = _on_some_width(strip, lengths, length, margin, expected, unclear, plane=True)
            if not isinstance(plane, str):
                changes |= plane[1]
                answers |= _answers(plane[1], expected, strip.dtype, unclear, least[1], room)
        if any(_random(changes[tap.leaf], strip.dtype) for tap in waiting):
            return Findings(found, error="the network draws random numbers")  # the self-check tells chance from padding
        wide = {tap: one.wide(expected[tap.leaf].stride) for tap, one in answers.items()}
        near = [tap for tap in waiting if wide[tap] > room]
        settled = [tap for tap in waiting if answers[tap].rim != OPEN and tap not in near]
        # the crop alone may differ because it lies elsewhere in a longer period
        loose = tolerances(strip.dtype)[1]
        moved = [
            tap
            for tap in settled
            if answers[tap].moved or (answers[tap].rim is None and bool((changes[tap.leaf].shifted > loose).any()))
        ]
        if moved:
            most = _LONGEST[strip.axes]
            longer = repeating_shift(replace(trial, margin=margin + most), settled, _multiples(lengths.period, most))
            if longer is not None:
                return Findings(found, period=longer)
        for tap in settled:
            found[tap.leaf] = (
                Finding(reason=depends_on_place(lengths.period, float(changes[tap.leaf].shifted.max())))
                if answers[tap].moved
                else _further(answers[tap], changes[tap.leaf], expected[tap.leaf])
            )
            waiting.remove(tap)
        reach = max([reach, *(wide[tap] for tap in near)])
        if any(answers[tap].rim == OPEN for tap in waiting):
            length += ceil(2 * length / lengths.period) * lengths.period
            reach = max(reach, length // 2)
    for tap in waiting:
        found[tap.leaf] = Finding(reason=changes_throughout(length))
    return Findings(found)


def _as_expected(
    strip: Strip, lengths: Lengths, expected: dict[Leaf, Expected], taps: Sequence[Tap]
) -> dict[Leaf, Finding]:
    """What a quick look says of all layers, where nothing moves that should not; else nothing."""
    if lengths.draws > 1:
        return {}
    ends = max((ceil(sum(one.rim) * one.stride) for one in expected.values()), default=0)
    length = lengths.crop + max(0, ceil((ends - lengths.crop) / lengths.period) + _CLEAR) * lengths.period
    reach = max(_pixels(expected.values()), lengths.crop)  # strips of other sizes too, where nothing reaches far
    margin = (ceil(reach / lengths.period) + 1) * lengths.period
    tried = _on_some_width(strip, lengths, length, margin, expected, taps, see=quick_change)
    if isinstance(tried, str):
        return {}
    strict = tolerances(strip.dtype)[0]
    found = {tap.leaf: _found_at(tried[1][tap.leaf], expected[tap.leaf], strict) for tap in taps}
    rims = ((one.rim or OPEN, expected[leaf].rim) for leaf, one in found.items() if one.clean)
    fits = [seen[0] <= rim[0] and seen[1] <= rim[1] for seen, rim in rims]
    return found if len(fits) == len(taps) and all(fits) else {}


def _answers(
    changes: dict[Leaf, Change],
    expected: dict[Leaf, Expected],
    dtype: torch.dtype,
    taps: Sequence[Tap],
    least: dict[Tap, float],
    room: int,
) -> dict[Tap, Finding]:
    """What was seen of each layer; `least` is kept from length to length. `room`: px that a rim may be wide."""
    answers = {}
    for tap in taps:
        strict, loose = (_found_at(changes[tap.leaf], expected[tap.leaf], limit) for limit in tolerances(dtype))
        now = float(changes[tap.leaf].largest.min())
        # what does not fade with distance is rounding of a part that runs in single precision; what does goes further
        rounding = now > _LEVEL * least.get(tap, inf)
        answers[tap] = strict
        # a rim that is known to the strict but too wide for the strip is no rounding: the strip must grow
        if loose.clean and not strict.clean and not strict.wide(expected[tap.leaf].stride) > room:
            answers[tap] = loose if rounding else Finding(OPEN)
        least[tap] = now
    return answers


def _random(change: Change, dtype: torch.dtype) -> bool:
    return change.random is not None and bool((change.random > tolerances(dtype)[1]).any())


def _found_at(change: Change, expected: Expected, tolerance: float) -> Finding:
    outside = change.outside > tolerance
    rim = untouched(outside | (change.alone > tolerance), expected.phases)
    if rim == OPEN and untouched(outside, expected.phases) != OPEN:
        return Finding(reason=depends_on_size())
    return Finding(rim, moved=rim != OPEN and bool((change.shifted > tolerance).any()))


def _further(found: Finding, change: Change, expected: Expected) -> Finding:
    """The same, its rim as wide as what fades into rounding; where the first witness knows the rim, it knows better."""
    if found.rim is None or (found.rim[0] <= expected.rim[0] and found.rim[1] <= expected.rim[1]):
        return found
    apart = change.largest
    before = found.rim[0] + fading(apart, found.rim[0], expected.phases)
    after = found.rim[1] + fading(apart.flip(0), found.rim[1], expected.phases)
    return replace(found, rim=(before, after))


def _on_some_width(
    strip: Strip,
    lengths: Lengths,
    length: int,
    margin: int,
    expected: dict[Leaf, Expected],
    taps: Sequence[Tap],
    *,
    see: Callable[[Trial, Sequence[Tap]], dict[Leaf, Change]] | None = None,
    plane: bool = False,
) -> tuple[Trial, dict[Leaf, Change]] | str:
    """On narrow strips or on strips as wide as the crop, the first that runs; why none does.

    `see` stands in for looks at as many draws as it takes. With `plane`, on one as wide as keeps padding across away from its
    middle, with scene around it on all sides.
    """
    wider = tuple(ceil(margin / p) * p for p in lengths.period_across) if plane else None
    error = "the strips are too large"
    for width in _planes(lengths, margin) if plane else _widths(lengths, strip.axes):
        across = prod(n + 2 * more for n, more in zip(width, wider or (0,) * len(width), strict=True))
        if (length + 2 * margin) * across * 4 > _BUDGET * (2 if plane else 1):
            continue
        trial = Trial(
            strip._replace(width=width),
            length,
            lengths.period,
            margin,
            {tap.leaf: expected[tap.leaf].dim for tap in taps},
            {tap.leaf: expected[tap.leaf].stride for tap in taps},
            wider,
            {tap.leaf: expected[tap.leaf].across for tap in taps},
        )
        try:
            return trial, see(trial, taps) if see else _over_draws(trial, taps, lengths.draws, expected, plane=plane)
        except ModelError as failed:
            error = str(failed)
        except RuntimeError as failed:  # a map of another size than was expected
            error = first_line(failed)
    return error


def _widths(lengths: Lengths, axes: int) -> Iterable[Size]:
    """Narrow strips, congruent to the crop modulo the total stride, and strips as wide as the crop."""

    def narrow(across: int, period: int) -> int:
        least = across if across <= _SMALL[axes] else max(period, _NARROW[axes])
        return min(least + (across - least) % period, across)

    return dict.fromkeys((tuple(map(narrow, lengths.across, lengths.period_across)), lengths.across))


def _planes(lengths: Lengths, margin: int) -> Iterable[Size]:
    """As wide as keeps padding across away from the middle."""
    both = zip(lengths.across, lengths.period_across, strict=True)
    return [tuple(n + ceil(max(0, 2 * margin + 2 - n) / period) * period for n, period in both)]


def _over_draws(
    trial: Trial, taps: Sequence[Tap], draws: int, expected: dict[Leaf, Expected], *, plane: bool
) -> dict[Leaf, Change]:
    """What was seen in several draws, laid over each other.

    Where the first witness is contradicted, or few cells are looked at, drawing goes on until further draws show nothing new:
    a mask that content seldom sets moves a cell in one draw and not in another.

    Raises:
        ModelError: the network fails on the strips.
    """
    tolerance, quiet = tolerances(trial.strip.dtype)[1], 0
    changes = change_of(trial, taps)
    for draw in range(1, _DRAWS):
        unsure = [tap for tap in taps if plane or _contradicted(changes[tap.leaf], expected[tap.leaf], tolerance)]
        if draw >= draws and (not unsure or quiet == _QUIET):
            break
        more = change_of(trial, taps if draw < draws else unsure, draw)
        new = any(
            bool((_moving(two, tolerance) & ~_moving(changes[leaf], tolerance)).any()) for leaf, two in more.items()
        )
        quiet = 0 if new else quiet + 1
        changes |= {leaf: changes[leaf].joined(two) for leaf, two in more.items()}
    return changes


def _moving(change: Change, tolerance: float) -> Tensor:
    return change.largest > tolerance


def _contradicted(change: Change, expected: Expected, tolerance: float) -> bool:
    """Whether cells move that should not, while others stay."""
    moving = _moving(change, tolerance)
    if bool(moving.all()):
        return False
    before, after = untouched(moving, expected.phases)
    return before > expected.rim[0] or after > expected.rim[1] or (before, after) == OPEN


def _pixels(layers: Iterable[Expected]) -> int:
    return max((ceil(max(one.rim) * one.stride) for one in layers), default=0)


def _multiples(period: int, most: int) -> list[int]:
    return list(range(2 * period, most + 1, period))[:63]
