"""Results as tables for pandas: one row for each thing, one column for each number of it.

What is said of each axis is a column for each, ``name_y`` and ``name_x`` (``name_x`` alone of one axis, ``name_z`` first of three);
sides are ``name_top``, ``name_bottom``, ``name_left`` and ``name_right`` (``name_start`` and ``name_end``; ``name_front`` and ``name_back``
first); an estimate is ``name``, ``name_low`` and ``name_high``.
"""

# pandas is imported when a table is made, so that measuring does not pay for it
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from padprint.support.axes import letters, side_names, size_names

if TYPE_CHECKING:
    import pandas as pd

    from padprint.results.measurement import Estimate


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> pd.DataFrame:
    """A table of rows.

    Args:
        rows: by column; all have the same.
        columns: their names where there is no row.
    """
    import pandas as pd

    listed = list(rows)
    made: pd.DataFrame = pd.DataFrame(listed, columns=list(listed[0] if listed else columns))
    return made


def size(value: Sequence[Any] | None, axes: int = 0) -> dict[str, Any]:
    """The columns of a size: height and width, or length, or depth, height and width; empty ones where there is no value."""
    each = (None,) * axes if value is None else value
    return dict(zip(size_names(len(each)), each, strict=True))


def by_axis(name: str, value: Sequence[Any] | None, axes: int = 0) -> dict[str, Any]:
    """A column for each axis; where there is no value, empty ones for so many."""
    each = (None,) * axes if value is None else value
    return {f"{name}_{letter}": n for letter, n in zip(letters(len(each)), each, strict=True)}


def sides(name: str, value: Sequence[Any] | None, axes: int = 0) -> dict[str, Any]:
    """A column for each side; where there is no value, empty ones for those of so many axes."""
    each = (None,) * (2 * axes) if value is None else value
    return {f"{name}_{side}": n for side, n in zip(side_names(len(each) // 2), each, strict=True)}


def estimate(name: str, value: Estimate) -> dict[str, float]:
    """The columns of an estimate."""
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
