"""What a comparison says: how much of the first measurement's print each of the others leaves, as far as intervals carry it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch

from padprint.measuring.options import OWN
from padprint.report.levels import stands_out
from padprint.results.comparison import Comparison
from padprint.results.measurement import Estimate, Measurement
from padprint.results.statistics import interval_of
from padprint.support.wording import listed, number, percent

_NAMED = 3
"""Measurements named in a verdict, for each way they differ; the others are counted."""
_SHARES = {
    Fraction(1, 20): "a twentieth",
    Fraction(1, 10): "a tenth",
    Fraction(1, 5): "a fifth",
    Fraction(1, 4): "a quarter",
    Fraction(1, 3): "a third",
    Fraction(1, 2): "half",
    Fraction(2, 3): "two thirds",
    Fraction(3, 4): "three quarters",
}


def print_of(measured: Measurement, layers: Sequence[str]) -> Estimate:
    """The print: the pattern's size in units of the features, root mean square over layers.

    Args:
        measured: the measurement.
        layers: names of the layers.
    """
    sizes = [measured[layer].relative for layer in layers]
    value = _rms([size.value for size in sizes])
    paired = len({len(size.replicates) for size in sizes}) == 1
    replicates = [_rms(each) for each in zip(*(size.replicates for size in sizes), strict=True)] if paired else []
    interval = interval_of(torch.tensor(value, dtype=torch.float64), torch.tensor(replicates, dtype=torch.float64))
    return Estimate(value, max(0.0, float(interval.low)), float(interval.high), tuple(replicates))


def ratio(of: Estimate, to: Estimate) -> Estimate:
    """One size over another, from estimates over the same crops and groups, with an interval paired over groups.

    NaN where the second is zero; there is no interval where the groups are not the same.
    """
    if not to.value > 0:
        return Estimate(math.nan, math.nan, math.nan)
    pairs = list(zip(of.replicates, to.replicates, strict=False)) if len(of.replicates) == len(to.replicates) else []
    replicates = torch.tensor([a / b if b > 0 else math.nan for a, b in pairs], dtype=torch.float64)
    value = torch.tensor(of.value / to.value, dtype=torch.float64)
    interval = interval_of(value, replicates)
    low = float(interval.low)
    return Estimate(
        float(value), max(0.0, low) if not math.isnan(low) else low, float(interval.high), tuple(replicates.tolist())
    )


def ratios(result: Comparison) -> dict[str, Estimate]:
    """How much of the first measurement's print each of the others leaves, over all layers they share."""
    first, *others = result
    layers = finite_layers(result)
    if not layers:
        return {name: Estimate(math.nan, math.nan, math.nan) for name in others}
    whole = print_of(result[first], layers)
    return {name: ratio(print_of(result[name], layers), whole) for name in others}


def finite_layers(result: Comparison) -> list[str]:
    """Layers that all measurements have with a finite relative size."""
    return [
        name
        for name in result.layers
        if all(math.isfinite(measured[name].relative.value) for measured in result.values())
    ]


def comparison_verdict(result: Comparison) -> str:
    """One sentence: which leave less of the print than the first, which more, and for which the intervals do not say."""
    first, *_ = result
    if not finite_layers(result):
        return "No layer was measured in all of them with a number, so there is nothing to compare."
    if not any(stands_out(result[first][layer]) for layer in finite_layers(result)):
        return f"No mark of padding stands out with {_called(first)}, so there is no print of which the others could leave a share."
    left = ratios(result)
    less = sorted((name for name, ratio in left.items() if ratio.high < 1), key=lambda name: left[name].value)
    more = sorted((name for name, ratio in left.items() if ratio.low > 1), key=lambda name: -left[name].value)
    alike = [name for name in left if name not in (*less, *more)]
    said = []
    if less:
        begun, *rest = less[:_NAMED]
        parts = [f"{begun} leaves {_told(left[begun], f' of the print of {_called(first)}')}"]
        parts += [f"{name} {_told(left[name], '')}" for name in rest]
        parts += [f"{len(less) - _NAMED} more less than {_called(first)}"] * (len(less) > _NAMED)
        said.append(listed(parts))
    if more:
        begun, *rest = more[:_NAMED]
        whole = "it" if said else f"the print of {_called(first)}"
        parts = [f"{begun} makes {whole} {_grown(left[begun], short=bool(said))}"]
        parts += [f"{name} {_grown(left[name], short=True)}" for name in rest]
        parts += [f"{len(more) - _NAMED} more larger too"] * (len(more) > _NAMED)
        said.append(listed(parts))
    if alike:
        names = [f"{name} ({_spread(left[name], short=bool(said))})" for name in alike[:_NAMED]]
        names += [f"{len(alike) - _NAMED} more"] * (len(alike) > _NAMED)
        few = not any(math.isfinite(left[name].low) for name in alike)
        said.append(
            f"{listed(names)} cannot be told from {_called(first)}{': there are too few images for an interval' * few}"
        )
    return "; ".join(said) + "."


def _called(name: str) -> str:
    """A measurement in a sentence."""
    return "the network's own padding" if name == OWN else name


def _told(ratio: Estimate, whose: str) -> str:
    """A share in words with its interval, which is called so where it is said whose share it is: at the first mention."""
    if ratio.value == 0:
        return f"nothing{whose} that stands out"
    words = simple_share(ratio)
    if words is not None:
        return f"about {words}{whose} ({_spread(ratio, short=not whose)})"
    return f"{percent(ratio.value)}{whose} ({'' if not whose else '95 % interval '}{_ends(ratio)})"


def _grown(ratio: Estimate, *, short: bool) -> str:
    """How many times as large, with the interval."""
    ends = f"{'' if short else '95 % interval '}{number(ratio.low, 2)} to {number(ratio.high, 2)} times"
    return f"{number(ratio.value, 2)} times as large ({ends})"


def simple_share(ratio: Estimate) -> str | None:
    """``a tenth``, where so simple a share lies in the interval and within a tenth of the value; else None."""
    for share, words in _SHARES.items():
        if ratio.low <= share <= ratio.high and abs(ratio.value - share) <= 0.1 * share:
            return words
    return None


def bracketed(ratio: Estimate) -> str:
    """``17 % [12, 22]``: a share with its 95 % interval; where there is none, the value alone."""
    ends = (max(0.0, ratio.low), ratio.high)
    if not all(map(math.isfinite, ends)):
        return percent(ratio.value)
    low, high = ("< 0.01" if 0 < end < 1e-4 else percent(end).removesuffix(" %") for end in ends)
    return f"{percent(ratio.value)} [{low}, {high}]"


def _spread(ratio: Estimate, *, short: bool) -> str:
    """``17 %, 95 % interval 12 to 22 %``, or shorter ``17 %, 12 to 22 %``; where there is no interval, the value alone."""
    if math.isnan(ratio.value):
        return "n/a"
    if not math.isfinite(ratio.low):
        return percent(ratio.value)
    return f"{percent(ratio.value)}, {'' if short else '95 % interval '}{_ends(ratio)}"


def _ends(ratio: Estimate) -> str:
    return f"{percent(ratio.low).removesuffix(' %')} to {percent(ratio.high)}"


def _rms(sizes: Sequence[float]) -> float:
    return math.sqrt(sum(size**2 for size in sizes) / len(sizes))
