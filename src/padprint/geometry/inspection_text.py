"""An inspection as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from padprint.support.wording import label

if TYPE_CHECKING:
    from padprint.geometry.inspection import Inspection

_NAMED = 6  # uneven windows named in a line of text


def table(found: Inspection) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows of the table of padding operators."""
    headers = ("module", "operator", "mode", "cells before, after", "kernel", "stride", "map", "swappable")
    rows: list[tuple[str, ...]] = []
    for one in found.operators:
        sizes = [one.shape[axis] for axis in one.axes] or one.shape
        cells = "  ".join(f"{before},{after}" for before, after in one.amounts)
        swap = "yes" if one.swappable else f"no: {one.reason}"
        rows.append(
            (
                label(one.module),
                one.operator,
                one.mode,
                cells,
                times(one.kernel),
                times(one.stride),
                times(sizes),
                swap,
            )
        )
    return headers, rows


def remarks(found: Inspection) -> list[str]:
    """The lines under the table of padding operators: counts, and what is uneven."""
    size = times(found.shape[2:])
    lines = [f"{len(found.operators)} padding operators at {size} px; {found.plain} windows without padding"]
    uneven = [window for window in found.strided if not window.even]
    if not found.strided:
        return lines
    if not uneven:
        return [*lines, f"all {len(found.strided)} strided windows are even at this size"]
    names = ", ".join(f"{window.module or window.operator} ({times(window.remainder)})" for window in uneven[:_NAMED])
    names += f" and {len(uneven) - _NAMED} more" if len(uneven) > _NAMED else ""
    lines.append(f"uneven, with cells left over: {len(uneven)} of {len(found.strided)} strided windows: {names}")
    sizes = [times(["?" if n is None else n for n in side]) for side in (found.even.below, found.even.above)]
    because = f" ({found.even.reason})" if found.even.reason else ""
    if all(n is None for side in (found.even.below, found.even.above) for n in side):
        return [*lines, f"no input size nearby makes every stride even{because}"]
    return [*lines, f"even sizes, below and above: {sizes[0]} and {sizes[1]} px{because}"]


def times(numbers: Sequence[object]) -> str:
    """``3 x 5``."""
    return " x ".join(map(str, numbers))
