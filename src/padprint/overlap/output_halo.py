"""What one output under one padding needs: errors by distance from a tile's border, and the halos that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from padprint.overlap.asked import LARGEST
from padprint.overlap.distance import halo_cells, tails, within, worst_beyond
from padprint.overlap.floors import Floor
from padprint.overlap.tiling import Map, sides
from padprint.support.axes import Sides
from padprint.support.typed import limits


@dataclass(frozen=True)
class Width:
    """A width that differs between images.

    Attributes:
        value: over all images together.
        low, high: smallest and largest of the single images.
    """

    value: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class OutputHalo:
    """One output under one padding.

    Attributes:
        name: of the output.
        map: its size and stride on a tile.
        channels: of the map.
        structural: cells on each side (top, bottom, left, right) that padding can touch at all.
        scale: rms of the output in the whole scenes, over all images.
        errors: `(S, L)` error by side and distance in cells, over all images together; NaN where there is no cell. Of an output
            that sees all of a tile through statistics, padding's part: the tile less its scene under the tile's statistics.
        by_image: `(n, S, L)`, the same for each image alone.
        resolution: `(n, S, L)`, the errors that cannot be told from none, see `ErrorSums.resolution`.
        tolerance: the error allowed.
        error: how it is measured.
        floor: what statistics over a tile leave beside; None without such operators.
    """

    name: str
    map: Map
    channels: int = field(metadata=limits(1, LARGEST))
    structural: Sides
    scale: float
    errors: Tensor
    by_image: Tensor
    resolution: Tensor
    tolerance: float
    error: str
    floor: Floor | None = None

    @property
    def keeps(self) -> bool:
        """Whether some overlap keeps the tolerance: what statistics leave is less."""
        return self.floor is None or self.floor.limit < self.tolerance

    @property
    def room(self) -> float:
        """The error that padding's part may make: what statistics leave of the tolerance; where that is nothing, as much as they do."""
        if self.floor is None:
            return self.tolerance
        return self.tolerance - self.floor.limit if self.keeps else max(self.floor.value, self.tolerance)

    @property
    def most(self) -> float:
        """The error that tiles stay within with an overlap that leaves `room`: the sum of both parts."""
        return self.room if self.floor is None else self.room + self.floor.limit

    @cached_property
    def tails(self) -> Tensor:
        """`(n, S, L + 1)`, the largest error of each image at each distance or beyond, see `distance.tails`."""
        return tails(self.by_image, self.structural)

    @cached_property
    def least(self) -> Tensor:
        """`(n, S, L + 1)`, `resolution` within the structural halo, 0 beyond."""
        return within(self.resolution, self.structural)

    @cached_property
    def image_halos(self) -> list[list[int]]:
        """By image, cells on (top, bottom, left, right) beyond which it stays within the tolerance."""
        cells: list[list[int]] = (self.tails > self.room).sum(-1).tolist()
        return cells

    @cached_property
    def effective(self) -> tuple[Width, ...]:
        """The effective halo on each side (top, bottom, left, right), cells."""
        whole = halo_cells(self.errors, self.room, self.structural)
        single = zip(*self.image_halos, strict=True)
        return tuple(Width(value, min(ones), max(ones)) for value, ones in zip(whole, single, strict=True))

    @property
    def effective_pixels(self) -> Width:
        """The effective halo on its widest side, input px."""
        single = [self._pixels(halo) for halo in self.image_halos]
        return Width(self._pixels([side.value for side in self.effective]), min(single), max(single))

    @property
    def structural_pixels(self) -> Sides:
        """The structural halo in input px, rounded up."""
        return tuple(int(-(-n * s // 1)) for n, s in zip(self.structural, sides(self.map), strict=True))

    @cached_property
    def stray(self) -> Tensor:
        """`(S, L)` bool, by side and distance, where the structural halo ends and the error exceeds the tolerance all the same.

        Over all images together, or of one image by more than the label of one cell, which rounding may change.
        """
        outside = torch.arange(self.errors.shape[-1]) >= torch.tensor(self.structural)[:, None]
        single = self.by_image > (2 * self.resolution).clamp(min=self.room)
        return outside & ((self.errors > self.room) | single.any(0))

    @property
    def stray_pixels(self) -> int:
        """How far from its side of the tile the farthest of the `stray` cells begins, input px, rounded up; -1 without any."""
        places = self.stray.nonzero().tolist()
        return max((int(-(-distance * sides(self.map)[side] // 1)) for side, distance in places), default=-1)

    @property
    def stray_error(self) -> float:
        """The largest error of the `stray` cells, over all images together or of a single one."""
        every = torch.cat([self.errors[None], self.by_image])[:, self.stray]
        return float(every.nan_to_num(0).max()) if every.numel() else 0.0

    def error_beyond(self, halo: Sequence[int], *, worst: bool = False) -> float:
        """The largest error at any distance beyond a halo of (top, bottom, left, right) cells.

        Args:
            halo: cells.
            worst: of any single image, instead of over all images together.
        """
        if worst:
            return max(worst_beyond(one, halo) for one in self.by_image)
        return worst_beyond(self.errors, halo)

    def _pixels(self, halo: Sequence[int]) -> int:
        return max(int(-(-n * s // 1)) for n, s in zip(halo, sides(self.map), strict=True))
