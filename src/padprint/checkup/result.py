"""What a first look at a network found."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padprint.checkup import text
from padprint.geometry.inspection import Inspection
from padprint.geometry.layer import Geometry
from padprint.report.first_look import FirstLook, first_look_page
from padprint.report.layout import publish
from padprint.report.levels import level
from padprint.results import documents, storage
from padprint.results.measurement import Estimate, LayerMeasurement, Measurement
from padprint.support import frames
from padprint.support.axes import Size

if TYPE_CHECKING:
    import pandas as pd

REPORT_FILE, DOCUMENT_FILE = "report.html", storage.CHECK_FILE


@dataclass(frozen=True, eq=False)
class Checkup:
    """What a quick look at a network found.

    Attributes:
        name: of the network.
        size: of its input along each axis, (height, width), px.
        geometry: of the last layer at each stride.
        inspection: what pads; None where the network cannot be inspected.
        measurement: a quick one; None where it was refused.
        refused: why there is no measurement, or None.
        scenes: what was measured on, in words.
        smallest: (height, width) of the smallest image that all layers can be measured on, px.
        notes: what a reader must know.
        commands: what to run next, ready to be pasted; IMAGES stands for what was not given.
        replaced: whether images were given, and synthetic scenes stood in for them.
    """

    name: str
    size: Size
    geometry: Geometry
    inspection: Inspection | None
    measurement: Measurement | None
    refused: str | None
    scenes: str
    smallest: Size
    notes: tuple[str, ...]
    commands: tuple[str, ...]
    replaced: bool = False

    @property
    def verdict(self) -> tuple[str, str, str]:
        """Three sentences: what pads, what that leaves in the features, and what to do."""
        return text.verdict(self)

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each layer that has a local geometry, as `HEADERS`."""
        return text.rows(self)

    def to_frame(self) -> pd.DataFrame:
        """One row per layer: as `Geometry.to_frame`, then mark (a word) and relative with _low and _high, where it was measured."""
        measured: dict[str, LayerMeasurement] = {} if self.measurement is None else self.measurement.layers
        rows = []
        for name in self.geometry:
            layer = measured.get(name)
            relative = Estimate(nan, nan, nan) if layer is None else layer.relative
            rows.append({"mark": None if layer is None else level(layer), **frames.estimate("relative", relative)})
        frame: pd.DataFrame = self.geometry.to_frame().join(frames.frame(rows))
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain values."""
        return {
            "model": self.name,
            "size": list(self.size),
            "verdict": list(self.verdict),
            "smallest_image": list(self.smallest),
            "period": list(self.geometry.period),
            "layers": [dict(zip(text.headers_of(self), row, strict=True)) for row in self.rows()],
            "unmeasured": dict(self.geometry.unmeasured),
            "inspection": None if self.inspection is None else self.inspection.to_dict(),
            "measurement": None if self.measurement is None else self.measurement.to_dict(),
            "refused": self.refused,
            "scenes": self.scenes,
            "notes": list(self.notes),
            "commands": list(self.commands),
        }

    def remarks(self) -> list[str]:
        """What a reader must know, as lines."""
        return text.remarks(self)

    def lines(self, width: int | None = None) -> list[str]:
        """All of it as text: the verdict, the table, remarks, and commands.

        Args:
            width: characters that the table has room for; None: as many as it takes.
        """
        return text.lines(self, width)

    def page(self) -> str:
        """One HTML page, everything in it.

        Raises:
            MissingPackageError: jinja2 or matplotlib is missing.
        """
        return first_look_page(
            FirstLook(
                self.name,
                self.verdict,
                self.measurement,
                self.inspection,
                text.headers_of(self),
                self.rows(),
                self.remarks(),
                self.commands,
                self._command(),
            )
        )

    def _command(self) -> str:
        made = None if self.measurement is None else self.measurement.provenance.get("command")
        return str(made or "padprint.check(...)")

    def save(self, folder: str | Path, *, report: bool = False) -> Path:
        """Write ``check.json``, and where there is a measurement its files, which `padprint.load` reads; `padprint report` makes the page again.

        Args:
            folder: where to write; made with its parents.
            report: write ``report.html`` as well.

        Returns:
            The folder.

        Raises:
            ResultError: the folder's path is a file.
            MissingPackageError: jinja2 or matplotlib is missing for the report.
        """
        folder = Path(folder)
        if self.measurement is not None:
            self.measurement.save(folder)
        document = {
            "schema": documents.SCHEMA,
            **self.to_dict(),
            "headers": list(text.headers_of(self)),
            "remarks": self.remarks(),
        }
        document |= {"command": self._command(), "result_sha256": None}
        if self.measurement is not None:
            document["result_sha256"] = storage.saved_sha256(folder)  # whoever reads it knows its measurement
        storage.write_document(folder / DOCUMENT_FILE, document)
        if report:
            publish(self.page(), folder / REPORT_FILE)
        return folder

    def __str__(self) -> str:
        return "\n".join(self.lines())
