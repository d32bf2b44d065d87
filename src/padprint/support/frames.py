"""Results as tables for pandas: one row for each thing, one column for each number of it.

A pair (y, x) is two columns, ``name_y`` and ``name_x``; four sides are ``name_top``, ``name_bottom``, ``name_left`` and
``name_right``; an estimate is ``name``, ``name_low`` and ``name_high``.
"""

# pandas is imported when a table is made, so that measuring does not pay for it
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from padprint.results.measurement import Estimate

SIDES = ("top", "bottom", "left", "right")


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


def pair(name: str, value: Sequence[Any] | None) -> dict[str, Any]:
    """The columns of (y, x)."""
    y, x = (None, None) if value is None else value
    return {f"{name}_y": y, f"{name}_x": x}


def sides(name: str, value: Sequence[Any] | None) -> dict[str, Any]:
    """The columns of (top, bottom, left, right)."""
    return {f"{name}_{side}": n for side, n in zip(SIDES, (None,) * 4 if value is None else value, strict=True)}


def estimate(name: str, value: Estimate) -> dict[str, float]:
    """The columns of an estimate."""
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
