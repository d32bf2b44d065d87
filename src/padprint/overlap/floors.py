"""What statistics over a tile leave, whatever the overlap: sums while tiles are run, and the numbers they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padprint.overlap.distance import ErrorSums, pooled
from padprint.overlap.tiling import Map
from padprint.results.statistics import prediction_limit
from padprint.support.axes import Sides, Size, inside, pairs
from padprint.support.typed import described

SIZES = {1: (4096, 16384, 65536), 2: (256, 512, 1024), 3: (64, 96, 128)}
"""Tile sizes, px, by axes of space, on which it is measured what statistics leave, beside the tile's own, as far as the images allow."""


@dataclass(frozen=True, eq=False)
class Floor:
    """What the statistics of tiles leave in an output, in the unit of the errors; no overlap mends it.

    Attributes:
        operators: that see all of a tile, with their modules.
        value: over all cells of the tiles and all images together.
        by_image: `(n,)`, of each image the largest at any distance from a tile's border.
        limit: what that of a further image stays below.
        share: of the squared change of a tile, padding's part being the rest.
        sizes: `value` on tiles of other sizes, px, of cells that padding does not reach.
    """

    operators: tuple[str, ...]
    value: float
    by_image: Tensor
    limit: float
    share: float
    sizes: Mapping[Size, float]


class FloorSums:
    """ErrorSums of what statistics change in one output under one padding.

    Args:
        operators: see `Floor`.
        side, distance: where the cells of a tile lie; see `nearest_side`.
    """

    def __init__(self, operators: tuple[str, ...], side: Tensor, distance: Tensor) -> None:
        self.operators = operators
        self._side, self._distance = side, distance
        self._images: list[ErrorSums] = []
        self._all = ErrorSums(1, 1)
        self._sizes: dict[Size, ErrorSums] = {}

    def start_image(self) -> None:
        """What is added from here on is of another image."""
        self._images.append(ErrorSums(max(self._side.shape), 2 * self._side.dim()))

    def add(self, change: Tensor, labels: Tensor | None, whole: Tensor) -> None:
        """Add tiles: see `ErrorSums.add`."""
        self._images[-1].add(change, labels, whole, self._side, self._distance)
        everywhere = torch.zeros_like(self._side)
        self._all.add(change, labels, whole, everywhere, everywhere)

    def add_of_size(self, size: Size, change: Tensor, labels: Tensor | None, whole: Tensor, structural: Sides) -> None:
        """Add a tile `(1, C, *cells)` of another size, of which the cells count that padding does not reach."""
        cells = tuple(change.shape[2:])
        side = torch.full(cells, -1)
        side[inside(cells, structural)] = 0
        self._sizes.setdefault(size, ErrorSums(1, 1)).add(change, labels, whole, side, torch.zeros_like(side))

    def floor(self, padding: Sequence[ErrorSums], error: str, scale: float, confidence: float) -> Floor:
        """The numbers.

        Args:
            padding: sums of padding's part, by image.
            error: kind of error, see `ERRORS`.
            scale: see `ErrorSums.errors`.
            confidence: share of further images that are to stay below the limit.
        """
        by_image = torch.stack([one.errors(error, scale).nan_to_num(0).amax() for one in self._images])
        own, others = (float(pooled(every).squares.sum()) for every in (self._images, padding))
        return Floor(
            self.operators,
            _only(self._all, error, scale),
            by_image,
            float(prediction_limit(by_image, confidence)),
            own / (own + others) if own else 0.0,
            {size: _only(one, error, scale) for size, one in sorted(self._sizes.items()) if float(one.count.sum())},
        )


def _only(sums: ErrorSums, error: str, scale: float) -> float:
    return float(sums.errors(error, scale)[0, 0])


def other_sizes(
    tile: Size, period: Size, image: Size, maps: Mapping[str, Map], structural: Mapping[str, Sides]
) -> list[Size]:
    """Sizes of tiles, px, on which statistics are measured beside the tile's own.

    Congruent to the tile modulo the total stride; smaller than the image, and with cells that padding does not reach.
    """
    found = []
    for each in SIZES[len(tile)]:
        size = tuple(own + round((each - own) / p) * p for own, p in zip(tile, period, strict=True))
        fits = all(n + p <= most for n, p, most in zip(size, period, image, strict=True))
        cells = (
            (n + int((new - old) / stride), rims)
            for name, one in maps.items()
            for n, new, old, stride, rims in zip(one.size, size, tile, one.stride, pairs(structural[name]), strict=True)
        )
        if size != tile and fits and all(n > sum(rims) for n, rims in cells):
            found.append(size)
    return found


def corner_of(size: Size, image: Size, period: Size, seed: Sequence[int]) -> Size:
    """Where a tile of some size lies in an image, px, on the total-stride grid; drawn from the seed alone."""
    rng = np.random.default_rng([*seed, *size])
    return tuple(int(rng.integers((n - own) // p + 1)) * p for n, own, p in zip(image, size, period, strict=True))


def document(floor: Floor) -> dict[str, Any]:
    """A floor as plain values."""
    document: dict[str, Any] = described(floor, sizes=[[*size, value] for size, value in floor.sizes.items()])
    return document
