"""What PosENet returns: scores of every pattern from every source of features, beside what knows nothing of padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padprint.errors import ResultError
from padprint.results import documents, storage
from padprint.results.estimates import plain
from padprint.results.measurement import Estimate
from padprint.support import frames, strict_json, text_table, wording
from padprint.support.mapping import Over
from padprint.support.typed import Fields, restored

if TYPE_CHECKING:
    import pandas as pd

FILE = "posenet.json"

SOURCES = ("padded", "optimal", "random", "raw", "constant")
"""Where features come from.

padded: the network, as it pads. optimal: the same network and crops, with the real scene around the crop in the place of
padding. random: the same architecture with random weights. raw: the pixels. constant: nothing; the mean of the pattern.
"""

HEADERS: tuple[str, ...] = ("features", "pattern", "SPC [95 %]", "MAE [95 %]")


@dataclass(frozen=True)
class Score:
    """How well readouts drew one pattern on test images.

    Attributes:
        spc: Spearman's rank correlation between drawing and pattern over all pixels, mean over images; 1 is perfect. A
            constant drawing, which has no order, counts as 0.
        mae: mean absolute error, the pattern spanning 0 to 1; mean over images.
    """

    spc: Estimate
    mae: Estimate

    def cells(self) -> tuple[str, str]:
        """For a table."""
        return wording.interval(self.spc), wording.interval(self.mae)


@dataclass(frozen=True, repr=False)
class PosENetResult(Over[str, Mapping[str, Score]]):
    """Scores by source of features (see `SOURCES`) and pattern: ``result["padded"]["H"].spc``.

    Attributes:
        scores: by source and pattern.
        added: padded minus optimal, by pattern, paired over images: what padding adds; empty without "optimal".
        layers: the layers that were read, and (channels, rows, columns) of each.
        unmeasured: layers that were not, with the reason.
        n_train, n_test: images.
        n_train_views, n_test_views: images, or crops of them.
        constant_drawings: by source, how many drawings on test views were constant.
        updates: steps of gradient descent that each readout was trained for.
        remarks: what a reader of the numbers must know.
        provenance: versions, model, images, settings; plain JSON values.
    """

    ENTRIES = "scores"

    scores: dict[str, dict[str, Score]]
    added: dict[str, Score]
    layers: dict[str, tuple[int, int, int]]
    unmeasured: dict[str, str]
    n_train: int
    n_test: int
    n_train_views: int
    n_test_views: int
    constant_drawings: dict[str, int]
    updates: int
    remarks: tuple[str, ...]
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        return f"PosENetResult({', '.join(self.scores)}; {self.n_train} training images, {self.n_test} test images)"

    def __str__(self) -> str:
        headers, rows = self.table()
        return "\n".join([*text_table.aligned(headers, rows), "", *self.lines()])

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Headers and rows for people."""
        return HEADERS, [(source, pattern, *score.cells()) for source, pattern, score in self._long()]

    def lines(self) -> list[str]:
        """What belongs under the table."""
        counts = (
            f"{self.n_train} training and {self.n_test} test images ({self.n_train_views} and {self.n_test_views} "
            f"views), {self.updates} updates; 95 % intervals over test images"
        )
        return [counts, *self.remarks, *(f"not read: {name}: {why}" for name, why in self.unmeasured.items())]

    def to_frame(self) -> pd.DataFrame:
        """One row per source and pattern: source, pattern, spc and mae with _low and _high; "padded - optimal" is a source, too."""
        rows = (
            {
                "source": source,
                "pattern": pattern,
                **frames.estimate("spc", score.spc),
                **frames.estimate("mae", score.mae),
            }
            for source, pattern, score in self._long()
        )
        return frames.frame(rows, ("source", "pattern"))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; None for what is not finite."""
        document: dict[str, Any] = strict_json.finite(plain(self))
        return document

    def save(self, folder: str | Path) -> Path:
        """Write ``posenet.json`` into a folder, which is made; an older one in it is replaced. Returns the folder.

        Raises:
            ResultError: the folder's path is a file.
        """
        where = Path(folder)
        storage.write_document(where / FILE, {"schema": documents.SCHEMA, **plain(self)})
        return where

    @staticmethod
    def load(folder: str | Path) -> PosENetResult:
        """Read what `save` wrote; the estimates' replicates are not kept.

        Raises:
            ResultError: nothing is there, or it is damaged or of another schema.
        """
        path = Path(folder) / FILE
        document = storage.read_document(path)
        try:
            return restored(PosENetResult, Fields(document))
        except ValueError as error:
            raise ResultError(f"{path} is damaged ({error}); measure again or restore the file") from error

    def _long(self) -> Iterator[tuple[str, str, Score]]:
        named = {**self.scores, **({"padded - optimal": self.added} if self.added else {})}
        return ((source, pattern, score) for source, scores in named.items() for pattern, score in scores.items())
