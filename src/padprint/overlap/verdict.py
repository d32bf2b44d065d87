"""What `verify` found: whether a tiled run keeps the tolerance, where it is worst, and what a reader must know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from padprint.overlap.distance import ERRORS
from padprint.overlap.text import pair
from padprint.overlap.tiling import Tiling
from padprint.support import frames
from padprint.support.axes import side_names, times
from padprint.support.strict_json import finite
from padprint.support.wording import label, number, printable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class OutputCheck:
    """One output of a tiled run against one pass.

    Attributes:
        name: of the output.
        passed: the error stays within the tolerance at every distance from the tiles' borders, over all images together.
        worst: the largest error at any distance, over all images together, in the unit of the advice.
        worst_distance: where: (side, px from the tile's border).
        worst_image: the same of the worst single image, and which: (error, index).
        images_within: how many single images stay within the tolerance.
        coarse: what one changed cell makes of the error, if that is more than the tolerance, at the worst distance; else None.
        beyond_reach: the largest error of cells that no seam reaches, in the unit of the advice: of the image's own border, where
            a tile is padded with other values than the whole image, and no overlap helps.
        mean: mean absolute change over all cells and channels, output units.
        rms: rms change over all cells, over the scale that the advice was measured in.
        largest: largest absolute change of any cell, output units.
        largest_at: where: (image, y, x), its place along each axis in input px.
        allowed: the error that the advice allows: the tolerance; where statistics over tiles leave something, what they leave here
            (and no more than they were said to), and what padding may leave beside.
        inside: where there are such statistics, the largest error at any distance of cells that no padding reaches; else None.
    """

    name: str
    passed: bool
    worst: float
    worst_distance: tuple[str, float]
    worst_image: tuple[float, int]
    images_within: int
    coarse: float | None
    beyond_reach: float
    mean: float
    rms: float
    largest: float
    largest_at: tuple[int, ...]
    allowed: float
    inside: float | None = None


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        padding: of the tiles.
        tiling: the tiles.
        error, tolerance: what is allowed, as in the advice.
        outputs: by name.
        n_images, n_tiles: that were run.
        exact: along each axis, whether some image was a whole step longer than a tile. In shorter images the last tile is moved
            back and overlaps by more than was advised, so that the bottom or right sides of tiles are not put to the test.
        dropped: images left out because the advice was measured on them.
        names: what an image is called, by index.
    """

    padding: str
    tiling: Tiling
    error: str
    tolerance: float
    outputs: Mapping[str, OutputCheck]
    n_images: int
    n_tiles: int
    exact: tuple[bool, ...]
    dropped: int = 0
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every output stays within the tolerance."""
        return all(one.passed for one in self.outputs.values())

    def to_frame(self) -> pd.DataFrame:
        """One row for each output: output, passed, worst, worst_side, worst_px (distance), worst_image_error, worst_image (index),
        images_within, coarse, beyond_reach, mean, rms, largest, largest_image, largest_y, largest_x (px); see `OutputCheck`.
        """  # noqa: D205
        return frames.frame(map(_row, self.outputs.values()), ("output",))

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain values."""
        document: dict[str, Any] = finite(
            {
                "passed": self.passed,
                "padding": self.padding,
                "error": self.error,
                "tolerance": self.tolerance,
                "tile": list(self.tiling.tile),
                "overlap": list(self.tiling.overlap),
                "n_images": self.n_images,
                "n_tiles": self.n_tiles,
                "dropped": self.dropped,
                "exact": self.exact,
                "outputs": {name: vars(one) for name, one in self.outputs.items()},
            }
        )
        return document

    def _called(self, index: int) -> str:
        return printable(self.names.get(index, f"image {index}"))

    def __str__(self) -> str:
        lines = [
            f"verified on {self.n_images} other image{'s' * (self.n_images > 1)}, {self.n_tiles} tiles of "
            f"{pair(self.tiling.tile)} px that overlap by {pair(self.tiling.overlap)} px, padding {label(self.padding)}:"
        ]
        for one in self.outputs.values():
            side, distance = one.worst_distance
            verdict, sign = ("PASS", "<=") if one.passed else ("FAIL", ">")
            image, *place = one.largest_at
            allowed = f"{self.tolerance:g}" if one.inside is None else number(one.allowed)
            lines += [
                f"{verdict}: {label(one.name)}: {ERRORS[self.error]} {number(one.worst)} {sign} {allowed}, worst "
                f"{distance:g} px from a tile's {side} border",
                f"  within it {one.images_within} of {self.n_images} images alone, worst {self._called(one.worst_image[1])}: "
                f"{number(one.worst_image[0])}",
                f"  over all cells: rms {number(one.rms)} of the output's, mean |change| {number(one.mean)}, largest "
                f"{number(one.largest)} at ({times(place, ', ')}) px of {self._called(image)}",
            ]
            if one.coarse is not None and not one.passed:
                lines.append(
                    f"  one changed cell at that distance makes {number(one.coarse)}, more than the tolerance: "
                    "use more or larger images"
                )
            if one.inside is not None:
                lines.append(
                    f"  statistics over each tile leave {number(one.inside)} where no padding reaches; padding may leave "
                    f"{number(one.allowed - one.inside)} beside"
                )
            elif one.beyond_reach > self.tolerance:
                lines.append(
                    f"  {number(one.beyond_reach)} where no seam reaches: at the image's own border tiles are padded with other "
                    "values than the whole image (circular padding wraps around, random padding is drawn), which no overlap mends"
                )
        if self.dropped:
            lines.append(
                f"note: {self.dropped} of the images were left out: the advice was measured on them, so they prove nothing"
            )
        if not all(self.exact):
            need = [tile + step for tile, step in zip(self.tiling.tile, self.tiling.step, strict=True)]
            lines.append(
                f"note: no image is {pair(need)} px large or more, a tile and a step: the last tile was moved back and overlaps "
                f"by more than was advised, and the {' or '.join(side_names(len(need))[1::2])} sides of tiles were not tested"
            )
        return "\n".join(lines)


def _row(one: OutputCheck) -> dict[str, Any]:
    return {
        "output": one.name,
        "passed": one.passed,
        "worst": one.worst,
        "worst_side": one.worst_distance[0],
        "worst_px": one.worst_distance[1],
        "worst_image_error": one.worst_image[0],
        "worst_image": one.worst_image[1],
        "images_within": one.images_within,
        "coarse": one.coarse,
        "beyond_reach": one.beyond_reach,
        "mean": one.mean,
        "rms": one.rms,
        "largest": one.largest,
        "largest_image": one.largest_at[0],
        **frames.by_axis("largest", one.largest_at[1:]),
    }
