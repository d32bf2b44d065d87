"""What the pages of studies share: charts of one panel each, tables, settings. Each study has its own: `reliability_page` and so on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from padprint.errors import PadprintError
from padprint.report import names_only
from padprint.report.charts import svg
from padprint.report.plain import Chart, Table
from padprint.support.wording import listed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NAMED = 3
"""Names in a sentence; further ones are counted."""


def charts_of(draw: Callable[[Any], Figure], table: pd.DataFrame, by: Sequence[str], words: str) -> Iterator[Chart]:
    """A chart for each group of rows: what is drawn of all in one figure does not fit a phone; without `by`, one chart."""
    groups = [((), table)] if not by else list(table.groupby(list(by), sort=False))
    for name, part in groups:
        with suppress(PadprintError):  # nothing to draw of it
            named = zip(by, name, strict=True)
            where = ", ".join(f"{key} {group}" if key == "depth" else str(group) for key, group in named)
            text = words if not where or len(groups) == 1 else f"{where}: {words}"
            yield Chart(svg(draw(part), text), text)


def table_of(title: str, frame: pd.DataFrame) -> Table:
    """All of a table."""
    return Table(title, tuple(map(str, frame.columns)), rows_of(frame, tuple(frame.columns)))


def rows_of(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str | float, ...]]:
    """Some columns of a table, row by row."""
    return [values_of(row, columns) for row in frame.to_dict("records")]


def values_of(row: dict[Any, Any], columns: Sequence[str]) -> tuple[str | float, ...]:
    """Some cells of a row."""
    return tuple(_cell(row[column]) for column in columns)


def _cell(value: Any) -> str | float:
    """A number, or a text; what is not known is not a number."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return float(value)


def settings_of(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Settings as texts, without the folders they name."""
    plain: dict[str, Any] = names_only(values)
    return [
        (key.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value))
        for key, value in plain.items()
    ]


def some(names: pd.Series[str]) -> str:
    """``a, b, c and 2 more``."""
    every = [name.replace(",", "") for name in names]
    return listed(every if len(every) <= NAMED else [*every[:NAMED], f"{len(every) - NAMED} more"])
