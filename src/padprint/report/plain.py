"""A page of a verdict, charts and tables, for what has no maps of its own: an inspection, a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from padprint.report.layout import fill
from padprint.report.numbers import cells


@dataclass(frozen=True)
class Chart:
    """An `<svg>` as `padprint.report.charts.svg` makes it, and the words below it."""

    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted.

    Attributes:
        title: of it.
        headers: one for each column.
        rows: texts and numbers; numbers are sorted as such.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str | float]]


@dataclass(frozen=True)
class Plain:
    """What such a page says, in its order.

    Attributes:
        heading: what kind of page it is.
        title: what it is about.
        verdict: one sentence.
        lead: lines below it.
        first: tables to decide by, below that and unfolded.
        notes: lines below those tables.
        charts_title: above the charts.
        charts: those worth ten seconds.
        steps: what a reader can do, each a "text" and a "command" or None.
        tables: folded.
        remarks_title: above the remarks.
        remarks: lines, folded.
        settings: what it was made with, folded.
        voids: what takes the verdict its worth.
    """

    heading: str
    title: str
    verdict: str
    lead: Sequence[str] = ()
    first: Sequence[Table] = ()
    notes: Sequence[str] = ()
    charts_title: str = "At a glance"
    charts: Sequence[Chart] = ()
    steps: Sequence[Any] = ()
    tables: Sequence[Table] = ()
    remarks_title: str = "Remarks"
    remarks: Sequence[str] = ()
    settings: Sequence[tuple[str, str]] = ()
    voids: Sequence[str] = field(default=())


def plain_page(page: Plain) -> str:
    """The page as text; nothing is fetched when it is shown.

    Raises:
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    charts = [{"svg": chart.svg} | ({"caption": chart.caption} if chart.caption else {}) for chart in page.charts]
    tables, first = ([_table(table) for table in ones] for ones in (page.tables, page.first))
    return fill("plain.html.j2", **(vars(page) | {"charts": charts, "tables": tables, "first": first}))


def _table(table: Table) -> dict[str, Any]:
    rows = [cells(*((_text(x), x) for x in row)) for row in table.rows]
    return {"title": table.title, "headers": table.headers, "rows": rows}


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else "n/a" if math.isnan(value) else f"{value:.4g}"
