"""What `padprint.halo` returns: halos, errors by distance, and the tiles that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from padprint.overlap import text
from padprint.overlap.asked import LARGEST, STATISTICS, check_tolerance
from padprint.overlap.document import document, errors_of
from padprint.overlap.tile_sizes import Choice, choices, verdict
from padprint.overlap.widths import PaddingHalo
from padprint.results import storage
from padprint.support import frames
from padprint.support.axes import Sides, Size, letters
from padprint.support.mapping import Over
from padprint.support.strict_json import finite
from padprint.support.typed import limits

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from padprint.images.photographs import Images
    from padprint.overlap.verdict import Verification


@dataclass(frozen=True, eq=False)
class Halo(Over[str, PaddingHalo]):
    """How much tiles must overlap, by padding.

    Attributes:
        paddings: by name, in the order asked for.
        tile: size, (height, width), px.
        tolerance: the error allowed, in the unit of `error`.
        error: how it is measured, one of "relative", "absolute", "maximum" and "labels".
        confidence: share of further images that stay within the tolerance with the advice.
        n_images, n_tiles: that were compared.
        margin: scene px around a tile, on each side (top, bottom, left, right).
        approximate: the margin is below what the output sees.
        statistics: of operators that see all of a tile, see `padprint.halo`.
        unmeasured: outputs that are no maps, with the reason.
        warnings: what a reader must know.
        provenance: the network, the options and the software.
    """

    ENTRIES = "paddings"

    paddings: dict[str, PaddingHalo]
    tile: Size = field(metadata=limits(1, LARGEST))
    tolerance: float
    error: str
    confidence: float
    n_images: int = field(metadata=limits(1, LARGEST))
    n_tiles: int = field(metadata=limits(1, LARGEST))
    margin: Sides
    approximate: bool
    unmeasured: Mapping[str, str]
    warnings: tuple[str, ...]
    provenance: dict[str, Any]
    statistics: str = "tile"

    @property
    def first(self) -> PaddingHalo:
        """The first padding that was asked for, the network's own by default."""
        return next(iter(self.paddings.values()))

    @property
    def known(self) -> Mapping[str, Any]:
        """What is known of the images beyond their numbers, such as their sample rate; see `padprint.scenes.Files`."""
        known: Mapping[str, Any] = self.provenance.get("scenes", {})
        return known

    def at(self, tolerance: float) -> Halo:
        """The same measurement read at another tolerance.

        Raises:
            HaloError: the tolerance is no positive number.
        """
        check_tolerance(tolerance)
        paddings = {name: one.at(tolerance) for name, one in self.items()}
        return replace(self, tolerance=tolerance, paddings=paddings)

    def verify(self, model: nn.Module, images: Images, **options: Any) -> Verification:
        """Run the network in the advised tiles on other images, and compare; see `padprint.overlap.verify`."""
        from padprint.overlap.verification import verify

        return verify(self, model, images, **options)

    def units(self, padding: str | None = None) -> dict[str, Any]:
        """The advice in the units of other tools; see `padprint.overlap.units`.

        Args:
            padding: which; None: the first.

        Raises:
            HaloError: the tile has no room for the advice.
        """
        from padprint.overlap.tools import units

        return units(self.first if padding is None else self[padding], self.known)

    def choices(self, sizes: Iterable[int] | None = None) -> list[Choice]:
        """Tiles of several sizes that keep the tolerance, by padding; see `padprint.overlap.choices`."""
        return choices(self, sizes)

    @property
    def verdict(self) -> str:
        """One sentence: what the tile needs and costs, what a larger one would, and another padding."""
        said = verdict(self)
        return said if self.statistics == "tile" else f"Under {STATISTICS[self.statistics]}: {said}"

    def plot(self, ax: Sequence[Axes] | None = None) -> Figure:
        """Draw error against halo and against cost; see `padprint.overlap.plot`."""
        from padprint.overlap.plot import plot

        return plot(self, ax)

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain values; what is not finite is None."""
        plain: dict[str, Any] = finite(document(self))
        return plain

    def to_frame(self) -> pd.DataFrame:
        """One row per padding and halo: padding, halo, overlap_y and overlap_x (px), error, worst_image, limit, cost, aligned; see
        `padprint.overlap.widths.Point`.
        """  # noqa: D205
        overlap = [f"overlap_{letter}" for letter in letters(len(self.tile))]
        columns = ["padding", "halo", *overlap, "error", "worst_image", "limit", "cost", "aligned"]
        rows = (
            (name, p.halo, *p.overlap, p.error, p.worst, p.limit, p.cost, p.aligned)
            for name, one in self.items()
            for p in one.curve
        )
        return frames.frame((dict(zip(columns, row, strict=True)) for row in rows), columns)

    def save(self, folder: str | Path) -> Path:
        """Write halo.json and halo.safetensors (errors by distance, of every image) into a folder.

        Args:
            folder: made where it is missing; files that are there already are replaced.

        Returns:
            The folder.

        Raises:
            ResultError: the folder's path is a file.
        """
        return storage.write(Path(folder), document(self), errors_of(self), storage.HALO)

    def __str__(self) -> str:
        return text.table(self)

    def __repr__(self) -> str:
        return f"<Halo: tile {self.tile}, tolerance {self.tolerance:g} ({self.error}), {', '.join(self)}>"
