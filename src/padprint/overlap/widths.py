"""What all outputs under one padding need: halos, the curve of errors and costs, and the tiles that follow from them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, prod
from operator import sub
from typing import TYPE_CHECKING

from padprint.errors import HaloError
from padprint.overlap import text
from padprint.overlap.distance import halo_cells
from padprint.overlap.floors import Floor
from padprint.overlap.output_halo import OutputHalo, Width
from padprint.overlap.promise import Promises, promises
from padprint.overlap.tiling import Map, Tiling, grid, sides, tiling
from padprint.support.axes import Size

if TYPE_CHECKING:
    from padprint.padding import Scheme


@dataclass(frozen=True)
class Point:
    """One overlap and what it gives and costs.

    Attributes:
        halo: px dropped on each side of a tile.
        overlap: px that tiles share, along each axis.
        error: the largest at any distance beyond the halo, over all images together; of the worst output.
        worst: the same of any single image measured.
        limit: the same that a further image stays below, see `PaddingHalo.limit_of`.
        cost: extra pixels computed per pixel of a large image.
        aligned: whether the step from tile to tile is a multiple of the total stride.
    """

    halo: int
    overlap: Size
    error: float
    worst: float
    limit: float
    cost: float
    aligned: bool


@dataclass(frozen=True, eq=False)
class PaddingHalo:
    """What one padding needs.

    Attributes:
        padding: of the tiles; "own" is the network's.
        tile: size, (height, width), px.
        period: total stride along each axis, px.
        outputs: by name.
        confidence: share of further images that are to stay within the tolerance.
        scheme: what is swapped in, or None.
    """

    padding: str
    tile: Size
    period: Size
    outputs: Mapping[str, OutputHalo]
    confidence: float
    scheme: Scheme | None = None

    @property
    def effective(self) -> Width:
        """The effective halo in input px: the widest side of the widest output."""
        widths = [one.effective_pixels for one in self.outputs.values()]
        return Width(*(max(getattr(one, part) for one in widths) for part in ("value", "low", "high")))

    @property
    def structural(self) -> int:
        """The structural halo in input px: the widest side of the widest output."""
        return max(max(one.structural_pixels) for one in self.outputs.values())

    @property
    def image_pixels(self) -> list[int]:
        """The effective halo of each image, input px."""
        halos = [[one._pixels(halo) for halo in one.image_halos] for one in self.outputs.values()]
        return [max(ones) for ones in zip(*halos, strict=True)]

    @cached_property
    def promises(self) -> Promises:
        """What nested halos promise of a further image."""
        return promises(self.outputs, self.confidence)

    @property
    def tolerance(self) -> float:
        """The error that padding may make: all that is allowed, less what statistics over tiles leave; see `OutputHalo.room`."""
        return min(one.room for one in self.outputs.values())

    @property
    def floors(self) -> dict[str, Floor]:
        """What statistics over tiles leave, by output that has some."""
        return {name: one.floor for name, one in self.outputs.items() if one.floor is not None}

    @property
    def keeps(self) -> bool:
        """Whether some overlap keeps the tolerance asked for."""
        return all(one.keeps for one in self.outputs.values())

    @cached_property
    def need(self) -> dict[str, list[int]]:
        """By output, cells on (top, bottom, left, right) beyond which a further image, and all together, stay within the tolerance."""
        return self.need_at(self.tolerance)

    def need_at(self, tolerance: float) -> dict[str, list[int]]:
        """`need` at another tolerance."""
        single = self.promises.narrowest_within(tolerance)
        return {
            name: [
                max(both) for both in zip(single[name], halo_cells(one.errors, tolerance, one.structural), strict=True)
            ]
            for name, one in self.outputs.items()
        }

    @property
    def need_pixels(self) -> int:
        """`need` in input px: the widest side of the widest output."""
        return max(one._pixels(self.need[name]) for name, one in self.outputs.items())

    def need_by_side(self, name: str) -> list[int]:
        """`need` of one output in input px, by side."""
        return [ceil(n * s) for n, s in zip(self.need[name], sides(self.maps[name]), strict=True)]

    @cached_property
    def fitting(self) -> Tiling | None:
        """Tiles that drop at least `need`, whatever lies beyond the structural halo; None where the tile has no room for that."""
        return tiling(self.tile, self.period, self.maps, self.need)

    @cached_property
    def tiling(self) -> Tiling | None:
        """Tiles that drop at least `need`, if all that was measured says that they keep the tolerance; else None."""
        tiles = self.fitting
        if tiles is None or any(bool(one.stray.any()) for one in self.outputs.values()):
            return None
        kept = self.error_of(tiles) <= self.tolerance and self.limit_of(tiles.halos) <= self.tolerance
        return tiles if kept else None

    @property
    def reason(self) -> str | None:
        """Why there is no advice; None where there is."""
        return text.not_reached(self) if self.tiling is None else None

    @property
    def advised(self) -> Tiling:
        """`tiling`.

        Raises:
            HaloError: there is none.
        """
        if self.tiling is None:
            raise HaloError(text.not_reached(self))
        return self.tiling

    def at(self, tolerance: float) -> PaddingHalo:
        """The same at another tolerance."""
        outputs = {name: replace(out, tolerance=tolerance) for name, out in self.outputs.items()}
        return replace(self, outputs=outputs)

    @cached_property
    def best(self) -> tuple[Tiling, float] | None:
        """The tiles that drop most, and the smallest tolerance they keep; None where not even one step fits."""
        every = range(len(self.promises.limits))

        def tiles(k: int) -> Tiling | None:
            return tiling(self.tile, self.period, self.maps, self.promises.at(k))

        widest = bisect_left(every, True, key=lambda k: tiles(k) is not None)
        found = tiles(widest) if widest < len(every) else None
        return None if found is None else (found, max(float(self.promises.limits[widest]), self.error_of(found)))

    def error_of(self, tiles: Tiling, *, worst: bool = False) -> float:
        """The largest error that tiles leave, of any output; see `OutputHalo.error_beyond`."""
        return max(one.error_beyond(tiles.halos[name], worst=worst) for name, one in self.outputs.items())

    def limit_of(self, halos: Mapping[str, Sequence[int]]) -> float:
        """The error that a further image stays below with these halos, by output, with a probability of `confidence`."""
        return self.promises.limit(halos)

    @cached_property
    def curve(self) -> tuple[Point, ...]:
        """Error and cost by halo, from none to as much as the tile has room for."""
        unit = max(grid(self.maps))
        points: list[Point] = []
        halo = 0
        while True:
            cells = {name: [int(halo / s) for s in sides(one)] for name, one in self.maps.items()}
            step = [
                min(
                    int((one.size[axis] - 2 * cells[name][2 * axis]) * one.stride[axis])
                    for name, one in self.maps.items()
                )
                for axis in range(len(self.tile))
            ]
            if min(step) <= 0:
                return tuple(points)
            errors = [
                max(one.error_beyond(cells[name], worst=worst) for name, one in self.outputs.items())
                for worst in (False, True)
            ]
            overlap = tuple(map(sub, self.tile, step))
            cost = prod(self.tile) / prod(step) - 1
            aligned = all(one % period == 0 for one, period in zip(step, self.period, strict=True))
            points.append(Point(halo, overlap, errors[0], errors[1], self.limit_of(cells), cost, aligned))
            halo += unit

    @property
    def maps(self) -> dict[str, Map]:
        """By output, how its map lies on the tile."""
        return {name: one.map for name, one in self.outputs.items()}
