"""The page of a first look at a network: the page of its quick measurement, with what pads, and what to run next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from padprint.geometry.inspection import Inspection
from padprint.geometry.inspection_text import table
from padprint.report.advice import Step
from padprint.report.layout import fill
from padprint.report.measured import MEANING, content
from padprint.report.numbers import cells
from padprint.report.plain import Plain, Table, plain_page
from padprint.results.measurement import Measurement

_TEXTS = {
    "measure": "Measure it on more images, with narrower intervals:",
    "compare": "See what other padding would leave of the print; nothing is trained for it:",
    "inspect": "See each uneven stride, and every operator that pads:",
    "halo": "See how far padding can reach into tiles of large images, without images:",
    "layers": "See which layers there are, and why some cannot be measured:",
}
"""What commands are for, by their verb."""


@dataclass(frozen=True)
class FirstLook:
    """What the page says.

    Attributes:
        model: its name, as a command takes it.
        verdict: three sentences: what pads, what that leaves, and what to do.
        measurement: a quick one, or None.
        inspection: what pads, or None.
        headers, rows: of the table of layers.
        remarks: what a reader must know.
        commands: to run next.
        command: that made it.
    """

    model: str
    verdict: tuple[str, str, str]
    measurement: Measurement | None
    inspection: Inspection | None
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    remarks: Sequence[str]
    commands: Sequence[str]
    command: str


def first_look_page(found: FirstLook) -> str:
    """The page as text."""
    pads, marks, advice = found.verdict
    steps: list[Step] = [{"text": _TEXTS[one.split()[1]], "command": one} for one in found.commands]
    tables = [Table("Layers, their geometry and their marks", found.headers, found.rows)]
    if found.inspection is not None:
        tables.append(Table("Padding operators, in order of execution", *table(found.inspection)))
    if found.measurement is None or not found.measurement.layers:
        return plain_page(
            Plain(
                heading="What padding does in",
                title=found.model,
                verdict=pads,
                lead=[marks, advice],
                steps=steps,
                tables=tables,
                remarks=found.remarks,
            )
        )
    page = content({found.model: found.measurement}, None)
    page |= {"verdict": marks, "lead": [advice, pads, MEANING], "steps": steps}
    page["remarks"] = [*found.remarks, *page["remarks"]]
    page["measurements"] = [one | {"command": found.command} for one in page["measurements"]]
    shown = [{"title": one.title, "headers": one.headers, "rows": [_row(row) for row in one.rows]} for one in tables]
    return fill("page.html.j2", **page, tables=shown)


def _row(row: Sequence[float | str]) -> list[dict[str, object]]:
    return cells(*((str(text), text) for text in row))
