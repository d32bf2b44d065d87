"""The page of a first look at a network: the page of its quick measurement, with what pads, and what to run next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from padprint.errors import ResultError
from padprint.geometry.inspection import Inspection
from padprint.geometry.inspection_text import table
from padprint.report.advice import Step
from padprint.report.layout import fill
from padprint.report.measured import MEANING, content
from padprint.report.numbers import cells
from padprint.report.plain import Plain, Table, plain_page
from padprint.results import storage
from padprint.results.measurement import Measurement
from padprint.results.saved import load
from padprint.support.typed import Fields

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

    def page(self) -> str:
        """The page as text."""
        return first_look_page(self)


def saved_first_look(folder: Path) -> FirstLook | None:
    """What `padprint.check` wrote into a folder; None where nothing did, or where its measurement has been replaced since.

    Raises:
        ResultError: something of it is missing or damaged.
    """
    file = folder / storage.CHECK_FILE
    if not storage.is_saved(file):
        return None
    document = storage.read_document(file)
    try:
        source = Fields(document)
        measured = source.get("result_sha256", str | None)
        if measured is not None and measured != storage.saved_sha256(folder):
            return None
        layers = source.get("layers", tuple[dict[str, str], ...])
        return FirstLook(
            model=source.get("model", str),
            verdict=source.get("verdict", tuple[str, str, str]),
            measurement=None if measured is None else load(folder),
            inspection=None if document.get("inspection") is None else source.get("inspection", Inspection),
            headers=source.get("headers", tuple[str, ...]),
            rows=[tuple(row.values()) for row in layers],
            remarks=source.get("remarks", tuple[str, ...]),
            commands=source.get("commands", tuple[str, ...]),
            command=source.get("command", str),
        )
    except ValueError as error:
        raise ResultError(f"{file} is damaged ({error}); run padprint check again or restore the file") from error


def first_look_page(look: FirstLook) -> str:
    """The page as text."""
    pads, marks, advice = look.verdict
    steps: list[Step] = [{"text": _TEXTS[command.split()[1]], "command": command} for command in look.commands]
    tables = [Table("Layers, their geometry and their marks", look.headers, look.rows)]
    if look.inspection is not None:
        tables.append(Table("Padding operators, in order of execution", *table(look.inspection)))
    if look.measurement is None or not look.measurement.layers:
        return plain_page(
            Plain(
                heading="What padding does in",
                title=look.model,
                verdict=pads,
                lead=[marks, advice],
                steps=steps,
                tables=tables,
                remarks=look.remarks,
            )
        )
    page = content({look.model: look.measurement}, None)
    page |= {"verdict": marks, "lead": [advice, pads, MEANING], "steps": steps}
    page["remarks"] = [*look.remarks, *page["remarks"]]
    page["measurements"] = [entry | {"command": look.command} for entry in page["measurements"]]
    shown = [
        {"title": each.title, "headers": each.headers, "rows": [_row(row) for row in each.rows]} for each in tables
    ]
    return fill("page.html.j2", **page, tables=shown)


def _row(row: Sequence[float | str]) -> list[dict[str, object]]:
    return cells(*((str(text), text) for text in row))
