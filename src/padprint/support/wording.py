"""Names, numbers and counts as people read them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from padprint.results.measurement import Estimate, LayerMeasurement


SEES_ALL = "sees all through"
"""Heads the column of operators that a layer sees the whole map through."""


def number(value: float, digits: int = 3) -> str:
    """A number with three significant digits, trailing zeros kept; "n/a" for NaN."""
    if math.isnan(value):
        return "n/a"
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])  # of the rounded number: 0.9996 is 1.00
    if not -4 <= exponent < 6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def printable(text: str) -> str:
    """A text on one line, without what a terminal would obey; the place of such characters is kept."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text).split())


def label(name: str) -> str:
    """A layer's or a measurement's name for people."""
    return printable(name) or "(model)"


def interval(estimate: Estimate) -> str:
    """``0.123 [0.110, 0.136]``, or the value alone where there is no interval."""
    value, low, high = (end + 0.0 for end in (estimate.value, estimate.low, estimate.high))  # no "-0"
    if math.isnan(low) and math.isnan(high):
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def middle(text: str, width: int) -> str:
    """A text of at most so many characters (4 or more); of a longer one the middle is left out."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}\u2026{text[-tail:]}"


def short(names: Sequence[str], width: int = 28) -> list[str]:
    """Names of layers or measurements for a sentence: long ones lose their middle, unless two of them would look alike then."""
    whole = [label(name) for name in names]
    cut = [middle(name, width) for name in whole]
    return [one if cut.count(one) == 1 else name for name, one in zip(whole, cut, strict=True)]


def aware(layer: LayerMeasurement) -> str:
    """``12 of 96``, the channels called padding-aware; "n/a" where they could not be tested."""
    channels = layer.channels
    return "n/a" if bool(channels.q.isnan().all()) else f"{channels.count} of {len(channels.q)}"


def stride(by_axis: Sequence[float]) -> str:
    """``16``, or ``16x8`` where the axes differ."""
    return f"{by_axis[0]:g}" if len(set(by_axis)) == 1 else "x".join(f"{one:g}" for one in by_axis)


def past_and_future(before: int, after: int) -> str:
    """What a cell of a waveform's map needs: ``1023 samples of the past and none of the future``."""
    past, future = (str(n) if n else "none" for n in (before, after))
    return f"{past}{' samples' * bool(before)} of the past and {future}{' samples' * (not before and after > 0)} of the future"


def through(operators: Sequence[str]) -> str:
    """Operators that a layer sees the whole map through: one with its module, several by kind."""
    if len(operators) < 2:
        return printable("".join(operators))
    kinds = Counter(one.partition(" in ")[0] for one in operators)
    return printable(", ".join(f"{n} {kind}" if n > 1 else kind for kind, n in kinds.items()))


def file_stem(name: str) -> str:
    """A name for a file: characters that file names should not have become "_", and long names are cut."""
    return re.sub(r"[^\w.+-]+", "_", name).encode()[:120].decode(errors="ignore") or "model"


def first_line(error: BaseException) -> str:
    """An error in one line: its class and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def count(number: int, what: str) -> str:
    """A number and a noun."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def listed(texts: Sequence[str], word: str = "and") -> str:
    """``a, b and c``."""
    return f" {word} ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))


def percent(share: float) -> str:
    """``12 %``, two digits below ten; "n/a" for NaN."""
    return "n/a" if math.isnan(share) else f"{100 * share:.0f} %" if share >= 0.0995 else f"{number(100 * share, 2)} %"
