"""Results as HTML for notebooks: tables without styles of their own beyond what keeps them readable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from padprint.results import tables

if TYPE_CHECKING:
    from padprint.results.comparison import Comparison
    from padprint.results.measurement import LayerMeasurement, Measurement


def measurement(result: Measurement) -> str:
    """The table of a measurement with its remarks."""
    rows = [tables.cells(layer) for layer in result.layers.values()]
    title = str(result.provenance.get("model") or "measurement")
    remarks = _lines([tables.summary(result), *tables.remarks(result)])
    return _table(title, tables.headers(len(result.crop)), rows) + _parts({"": result}) + remarks


def comparison(result: Comparison) -> str:
    """The table of a comparison with its remarks."""
    rows = tables.comparison_cells(result)
    return (
        _table("comparison", tables.COMPARISON_HEADERS, rows)
        + _parts(result)
        + _lines(tables.comparison_remarks(result))
    )


def _parts(results: Mapping[str, Measurement]) -> str:
    """The table of layers that see the whole map, if there are any."""
    rows = tables.part_rows(results)
    title = "layers that see the whole map"
    return _table(title, tables.PART_HEADERS, rows) + _lines(tables.PART_REMARKS) if rows else ""


def layer(result: LayerMeasurement) -> str:
    """The numbers of one layer, one a row."""
    return _table(result.name or "(model)", ("quantity", "value"), tables.layer_rows(result)) + _lines(result.notes)


def _table(caption: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col" style="text-align:left">{escape(header)}</th>' for header in headers)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(c)}</td>' for c in row) + "</tr>" for row in rows
    )
    caption = f'<caption style="text-align:left;font-weight:bold;overflow-wrap:anywhere">{escape(caption)}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
