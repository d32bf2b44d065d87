"""How tiles of one size cover an image when their rims are dropped: the step from tile to tile, and what each keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm, prod
from operator import sub

from padprint.support.axes import Sides, Size, each_side


@dataclass(frozen=True)
class Map:
    """A map that tiles are stitched to.

    Attributes:
        size: of one tile's map, cells along each axis.
        stride: input px from cell to cell, along each axis.
    """

    size: Size
    stride: tuple[Fraction, ...]


@dataclass(frozen=True)
class Tiling:
    """Tiles of one size, a fixed step apart, each of which gives the inside of its maps.

    Tiles start at multiples of the total stride, so that all of them sample the image alike. Of an image of
    tile + k * period px they cover all; of another one a border of less than the period is left over.

    Attributes:
        tile: size, (height, width), px.
        step: px from one tile to the next along each axis; a multiple of the period.
        period: the network's total stride along each axis, px.
        maps: by output, how its map lies on the tile.
        halos: by output, cells dropped on each side (top, bottom, left, right) where the tile has a neighbour.
    """

    tile: Size
    step: Size
    period: Size
    maps: Mapping[str, Map]
    halos: Mapping[str, Sides]

    @property
    def overlap(self) -> Size:
        """Px that a tile shares with the next, along each axis."""
        return tuple(map(sub, self.tile, self.step))

    @property
    def pixels(self) -> Sides:
        """Input px dropped on each side, the largest over the outputs."""
        every = [
            [ceil(n * s) for n, s in zip(self.halos[name], sides(one), strict=True)] for name, one in self.maps.items()
        ]
        return tuple(map(max, zip(*every, strict=True)))

    @property
    def cost(self) -> float:
        """Extra pixels computed per pixel of a large image: pixels of a tile over those of a step, minus 1."""
        return prod(self.tile) / prod(self.step) - 1

    @property
    def covers(self) -> bool:
        """Whether every map covers the whole tile."""
        return all(
            n * s == t for one in self.maps.values() for n, s, t in zip(one.size, one.stride, self.tile, strict=True)
        )

    def starts(self, size: Sequence[int]) -> list[list[int]]:
        """Where tiles start along each axis in an image of `size` px, itself tile + k * period."""
        return [[*range(0, n - tile, step), n - tile] for n, tile, step in zip(size, self.tile, self.step, strict=True)]

    def kept(self, name: str, axis: int, starts: Sequence[int]) -> list[tuple[int, int]]:
        """For each tile along one axis the cells (first, end) of its own map that it gives.

        A tile keeps from its halo, or from the image's border, up to where the next one's share begins.
        """
        n, stride = self.maps[name].size[axis], self.maps[name].stride[axis]
        before = self.halos[name][2 * axis]
        firsts = [0 if i == 0 else before for i in range(len(starts))]
        where = [int(start / stride) + first for start, first in zip(starts, firsts, strict=True)]  # on the whole map
        last = int(starts[-1] / stride) + n
        ends = [*where[1:], last]
        return [(first, end - int(s / stride)) for first, end, s in zip(firsts, ends, starts, strict=True)]


def sides(one: Map) -> tuple[Fraction, ...]:
    """The stride along every side."""
    return each_side(one.stride)


def tiling(tile: Size, period: Size, maps: Mapping[str, Map], need: Mapping[str, Sequence[int]]) -> Tiling | None:
    """The tiles with the longest step that drop at least so many cells on each side.

    What aligning the step to the total stride leaves over is shared between the two sides of an axis.

    Args:
        tile: size, px.
        period: total stride along each axis, px.
        maps: by output.
        need: by output, cells to drop on each side at least.

    Returns:
        None where nothing is left of the tile.
    """
    found = [_axis(tile[axis], period[axis], maps, need, axis) for axis in range(len(tile))]
    axes = [one for one in found if one is not None]
    if len(axes) < len(tile):
        return None
    halos = {name: tuple(n for _, cells in axes for n in cells[name]) for name in maps}
    return Tiling(tile, tuple(step for step, _ in axes), period, dict(maps), halos)


def _axis(
    tile: int, period: int, maps: Mapping[str, Map], need: Mapping[str, Sequence[int]], axis: int
) -> tuple[int, dict[str, tuple[int, int]]] | None:
    """Along one axis: the longest step, and by output the cells dropped before and after."""
    for step in range(tile // period * period, 0, -period):
        found = _split(tile, step, maps, {name: cells[2 * axis : 2 * axis + 2] for name, cells in need.items()}, axis)
        if found is not None:
            return step, found
    return None


def _split(
    tile: int, step: int, maps: Mapping[str, Map], need: Mapping[str, Sequence[int]], axis: int
) -> dict[str, tuple[int, int]] | None:
    """Cells to drop before and after so that `step` px are left of every map; None where that is less than needed.

    Where all maps cover the whole tile they are cut at the same px, else each about evenly.
    """
    strides = {name: one.stride[axis] for name, one in maps.items()}
    sizes = {name: one.size[axis] for name, one in maps.items()}
    if all(sizes[name] * strides[name] == tile for name in maps):
        unit = grid(maps)[axis]
        least, last = (max(ceil(need[name][i] * strides[name]) for name in maps) for i in (0, 1))
        lowest, highest = ceil(least / unit) * unit, (tile - step - last) // unit * unit
        if highest < lowest:
            return None
        before = min(max((tile - step) // 2 // unit * unit, lowest), highest)
        return {name: (int(before / s), int((tile - step - before) / s)) for name, s in strides.items()}
    found = {}
    for name, (before, after) in need.items():
        drop = sizes[name] - int(step / strides[name])
        if drop < before + after:
            return None
        first = min(max(drop // 2, before), drop - after)
        found[name] = (first, drop - first)
    return found


def grid(maps: Mapping[str, Map]) -> Size:
    """The finest step in px along each axis that is a whole number of cells of every map, and of px."""
    every = zip(*(one.stride for one in maps.values()), strict=True)
    return tuple(lcm(*(stride.numerator for stride in strides)) for strides in every)
