"""Running a network in tiles over a whole image, and putting together what each tile keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import nan

import torch
from torch import Tensor

from padprint.measuring.forwards import Forwards, Rest
from padprint.overlap.tiling import Tiling


@dataclass(frozen=True)
class Place:
    """Where a tile lies in an image, and what of its maps is kept.

    Attributes:
        corner: (y, x), px.
        borders: whether the tile has a neighbour at (top, bottom, left, right).
        kept: by output, cells (first, end) of the tile's map along rows and columns.
        strides: by output.
    """

    corner: tuple[int, int]
    borders: tuple[bool, bool, bool, bool]
    kept: Mapping[str, tuple[tuple[int, int], tuple[int, int]]]
    strides: Mapping[str, tuple[Fraction, Fraction]]

    def paste(self, name: str, target: Tensor, features: Tensor) -> None:
        """Put what a tile keeps of its `(C, h, w)` map into the map of the whole image."""
        (top, bottom), (left, right) = self.kept[name]
        row, column = (int(at / s) for at, s in zip(self.corner, self.strides[name], strict=True))
        target[:, row + top : row + bottom, column + left : column + right] = features[:, top:bottom, left:right]


def place_tiles(tiles: Tiling, size: Sequence[int]) -> list[Place]:
    """The tiles of an image of (height, width) px, a tile plus a multiple of the total stride, row by row."""
    rows, columns = tiles.starts(size)
    kept = {name: (tiles.kept(name, 0, rows), tiles.kept(name, 1, columns)) for name in tiles.maps}
    strides = {name: one.stride for name, one in tiles.maps.items()}
    return [
        Place(
            (y, x),
            (i > 0, i < len(rows) - 1, j > 0, j < len(columns) - 1),
            {name: (of_rows[i], of_columns[j]) for name, (of_rows, of_columns) in kept.items()},
            strides,
        )
        for i, y in enumerate(rows)
        for j, x in enumerate(columns)
    ]


def stitch(
    forwards: Forwards, x: Tensor, maps: Mapping[str, Tensor], tiles: Tiling, batch_size: int
) -> tuple[dict[str, Tensor], list[Place]]:
    """Run a network in tiles and put together what each tile keeps.

    Args:
        forwards: runs the network; its crop is the tile.
        x: `(1, C, H, W)`, a tile plus a multiple of the total stride along both axes.
        maps: by output, the `(C, h, w)` map of the whole; tells sizes, and nothing else is taken from it.
        tiles: see `Tiling`.
        batch_size: tiles in one forward pass.

    Returns:
        By output the stitched `(C, h, w)` map; and the tiles.
    """
    places = place_tiles(tiles, x.shape[-2:])
    stitched = {name: torch.full_like(one, nan) for name, one in maps.items()}
    for first in range(0, len(places), batch_size):
        part = places[first : first + batch_size]

        def paste(name: str, features: Tensor, _: list[Tensor], __: Rest | None, part: Sequence[Place] = part) -> None:
            for place, one in zip(part, features, strict=True):
                place.paste(name, stitched[name], one)

        forwards.crops(x, maps, [place.corner for place in part], paste)
    return stitched, places
