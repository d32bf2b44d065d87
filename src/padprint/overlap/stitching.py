"""Running a network in tiles over a whole image, and putting together what each tile keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import nan
from operator import sub

import torch
from torch import Tensor

from padprint.measuring.forwards import Forwards, Rest
from padprint.overlap.tiling import Tiling
from padprint.support.axes import Size, window


@dataclass(frozen=True)
class Place:
    """Where a tile lies in an image, and what of its maps is kept.

    Attributes:
        corner: px.
        borders: whether the tile has a neighbour at each side.
        kept: by output, cells (first, end) of the tile's map along each axis.
        strides: by output.
    """

    corner: Size
    borders: tuple[bool, ...]
    kept: Mapping[str, tuple[tuple[int, int], ...]]
    strides: Mapping[str, tuple[Fraction, ...]]

    def paste(self, name: str, target: Tensor, features: Tensor) -> None:
        """Put what a tile keeps of its map `(C, *cells)` into the map of the whole image."""
        firsts, ends = zip(*self.kept[name], strict=True)
        size = tuple(map(sub, ends, firsts))
        cell = tuple(int(at / s) + first for at, s, first in zip(self.corner, self.strides[name], firsts, strict=True))
        target[window(cell, size)] = features[window(firsts, size)]


def place_tiles(tiles: Tiling, size: Sequence[int]) -> list[Place]:
    """The tiles of an image of `size` px, a tile plus a multiple of the total stride, row by row."""
    starts = tiles.starts(size)
    kept = {name: [tiles.kept(name, axis, one) for axis, one in enumerate(starts)] for name in tiles.maps}
    strides = {name: one.stride for name, one in tiles.maps.items()}
    return [
        Place(
            tuple(one[i] for one, i in zip(starts, at, strict=True)),
            tuple(side for one, i in zip(starts, at, strict=True) for side in (i > 0, i < len(one) - 1)),
            {name: tuple(cells[i] for cells, i in zip(along, at, strict=True)) for name, along in kept.items()},
            strides,
        )
        for at in product(*(range(len(one)) for one in starts))
    ]


def stitch(
    forwards: Forwards, x: Tensor, maps: Mapping[str, Tensor], tiles: Tiling, batch_size: int
) -> tuple[dict[str, Tensor], list[Place]]:
    """Run a network in tiles and put together what each tile keeps.

    Args:
        forwards: runs the network; its crop is the tile.
        x: `(1, C, *space)`, a tile plus a multiple of the total stride along every axis.
        maps: by output, the map `(C, *cells)` of the whole; tells sizes, and nothing else is taken from it.
        tiles: see `Tiling`.
        batch_size: tiles in one forward pass.

    Returns:
        By output the stitched map `(C, *cells)`; and the tiles.
    """
    places = place_tiles(tiles, x.shape[2:])
    stitched = {name: torch.full_like(one, nan) for name, one in maps.items()}
    for first in range(0, len(places), batch_size):
        part = places[first : first + batch_size]

        def paste(name: str, features: Tensor, _: list[Tensor], __: Rest | None, part: Sequence[Place] = part) -> None:
            for place, one in zip(part, features, strict=True):
                place.paste(name, stitched[name], one)

        forwards.crops(x, maps, [place.corner for place in part], paste)
    return stitched, places
