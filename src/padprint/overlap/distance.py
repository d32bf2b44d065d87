"""Distances to a tile's border, and sums of errors over the cells at each distance.

Every cell of a map belongs to one side of the tile; its distance to that side is counted in cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from padprint.errors import HaloError
from padprint.support.axes import Size, along, each_side

ERRORS = {
    "relative": "relative rms change",
    "absolute": "rms change",
    "maximum": "largest change",
    "labels": "share of changed labels",
}
"""How an error may be measured, in words."""


def nearest_side(
    size: Size, stride: Sequence[float], halo: Sequence[int], borders: Sequence[bool] | None = None
) -> tuple[Tensor, Tensor]:
    """The side of a tile that each cell of a map belongs to, and how far it is from there.

    A cell belongs to the side whose structural halo it lies deepest in; where all are alike, to the nearest.

    Args:
        size: of the map, cells along each axis.
        stride: input px from cell to cell, along each axis.
        halo: structural, cells on each side.
        borders: whether the tile ends at each side; a side where the image ends too is no border. None: at all.

    Returns:
        int64 numbers of sides in the order of `Sides`, of the map's size, -1 where there is no border at all; and int64 distances
        to that side in cells, 0 for the border cell. Of sides equally near the first counts.
    """
    axes = len(size)
    borders = (True,) * (2 * axes) if borders is None else borders
    places = [(along(torch.arange(n), axis, axes).expand(size), n) for axis, n in enumerate(size)]
    cells = torch.stack([side for place, n in places for side in (place, n - 1 - place)])
    shape = (-1, *[1] * axes)
    pixels = torch.tensor(each_side([float(one) for one in stride]), dtype=torch.float64).view(shape)
    depth = (torch.tensor(list(halo)).view(shape) - cells) * pixels
    depth[~torch.tensor(list(borders))] = -torch.inf
    side = depth.argmax(0)
    distance = cells.gather(0, side[None])[0]
    return (side if any(borders) else torch.full_like(side, -1)), distance


@dataclass
class ErrorSums:
    """What errors at each distance are made of, for one image: `(S, L)` float64, by side and distance in cells.

    Attributes:
        length: L.
        sides: S, two for each axis of space.
        count: cells that were compared.
        squares: of the change, summed over cells and channels.
        largest: absolute change.
        changed: cells whose strongest channel is another one.
        energy: (2,): squares of the reference summed over all cells and channels, and how many numbers those are.
        channels: of the map.
        whole: whether all numbers of the reference are whole: classes, masks, counts.
        lowest, highest: `(C + 1,)`, of the reference by channel, and of its labels; None before anything was added.
    """

    length: int
    sides: int
    count: Tensor = field(init=False)
    squares: Tensor = field(init=False)
    largest: Tensor = field(init=False)
    changed: Tensor = field(init=False)
    energy: Tensor = field(init=False)
    channels: int = 1
    whole: bool = True
    lowest: Tensor | None = None
    highest: Tensor | None = None

    def __post_init__(self) -> None:
        self.count, self.squares, self.largest, self.changed = torch.zeros(
            4, self.sides, self.length, dtype=torch.float64
        )
        self.energy = torch.zeros(2, dtype=torch.float64)

    def add(self, change: Tensor, labels: Tensor | None, reference: Tensor, side: Tensor, distance: Tensor) -> None:
        """Add maps that were compared.

        Args:
            change: `(B, C, *cells)` features of the tile minus those of the whole scene.
            labels: `(B, *cells)`, whether a cell's label changed; None for a map of one channel, which has no labels.
            reference: `(B, C, *cells)` features of the whole scene.
            side: `(*cells)` from `nearest_side`; -1 for cells that do not count.
            distance: likewise.
        """
        self.channels = change.shape[1]
        self.whole = self.whole and bool((reference == reference.round()).all())
        known = (side >= 0).flatten()
        place = (side * self.length + distance).flatten()[known]
        amount = change.abs().double()
        squares, largest = amount.square().sum((0, 1)).cpu(), amount.amax((0, 1)).cpu()
        flat = (self.count.view(-1), self.squares.view(-1), self.largest.view(-1), self.changed.view(-1))
        flat[0].index_add_(0, place, torch.full(place.shape, float(len(change)), dtype=torch.float64))
        flat[1].index_add_(0, place, squares.flatten()[known])
        flat[2].scatter_reduce_(0, place, largest.flatten()[known], "amax")
        if labels is not None:
            flat[3].index_add_(0, place, labels.sum(0).double().cpu().flatten()[known])
        energy = [float(reference.double().square().sum()), float(reference.numel())]
        self.energy += torch.tensor(energy, dtype=torch.float64)
        values = (
            torch.cat([reference.double(), reference.argmax(1, keepdim=True).double()], 1).transpose(0, 1).flatten(1)
        )
        self._widen(*(each.cpu() for each in values.aminmax(dim=1)))

    def _widen(self, lowest: Tensor | None, highest: Tensor | None) -> None:
        if lowest is None or highest is None:
            return
        self.lowest = lowest if self.lowest is None else torch.minimum(self.lowest, lowest)
        self.highest = highest if self.highest is None else torch.maximum(self.highest, highest)

    def constant(self, precision: float) -> bool:
        """Whether no channel of the reference varies by more than rounding: an output that is dead.

        Args:
            precision: machine epsilon of the features' type.
        """
        if self.lowest is None or self.highest is None:
            return False
        low, high = self.lowest[:-1], self.highest[:-1]
        return bool((high - low <= 8 * precision * torch.maximum(low.abs(), high.abs())).all())

    def one_label(self) -> bool:
        """Whether all cells of the reference have the same label."""
        return self.lowest is not None and self.highest is not None and bool(self.lowest[-1] == self.highest[-1])

    def check(self, name: str, image: str) -> None:
        """Raises HaloError where a sum is not finite: such values would count as no error at all."""
        if not (self.energy.isfinite().all() and self.squares.isfinite().all()):
            raise HaloError(
                f"{name} holds NaN or infinite values on {image}, and errors of such an output say nothing; check the "
                "weights, the normalisation of the images, and their precision"
            )

    def errors(self, kind: str, scale: float) -> Tensor:
        """`(S, L)` errors by side and distance, NaN where there is no cell.

        Args:
            kind: one of `ERRORS`.
            scale: rms of the reference, which "relative" errors are measured in.
        """
        if kind == "maximum":
            return torch.where(self.count > 0, self.largest, torch.nan)
        if kind == "labels":
            return self.changed / self.count
        rms = (self.squares / (self.count * self.channels)).sqrt()
        return rms / scale if kind == "relative" else rms

    def resolution(self, kind: str, scale: float, *, whole: bool) -> Tensor:
        """`(S, L)`, the errors that cannot be told from none: half of what one cell makes where cells change rarely or by a whole number.

        Args:
            kind: one of `ERRORS`.
            scale: see `errors`.
            whole: whether the map holds whole numbers. Of others the resolution is 0, but for their labels.
        """
        if kind == "labels":
            half = 0.5 / self.count
        elif not whole:
            return torch.zeros_like(self.count)
        elif kind == "maximum":
            half = torch.full_like(self.count, 0.5)
        else:
            half = (0.5 / (self.count * self.channels)).sqrt() / (scale if kind == "relative" else 1.0)
        return torch.where(self.count > 0, half, torch.nan)


def pooled(sums: Sequence[ErrorSums]) -> ErrorSums:
    """The sums of several images as one."""
    total = ErrorSums(sums[0].length, sums[0].sides)
    total.channels = sums[0].channels
    for one in sums:
        for name in ("count", "squares", "changed", "energy"):
            getattr(total, name).add_(getattr(one, name))
        torch.maximum(total.largest, one.largest, out=total.largest)
        total._widen(one.lowest, one.highest)
    return total


def whole_numbers(sums: Sequence[ErrorSums]) -> bool:
    """Whether a map held whole numbers in all images, and not 0 alone."""
    return all(one.whole for one in sums) and any(float(one.energy[0]) > 0 for one in sums)


def scale_of(sums: Sequence[ErrorSums]) -> float:
    """Rms of the reference over all images."""
    energy, count = torch.stack([one.energy for one in sums]).sum(0).tolist()
    return float((energy / count) ** 0.5) if count else 0.0


def within(errors: Tensor, most: Sequence[int]) -> Tensor:
    """`(..., S, L)` errors as `(..., S, L + 1)`: 0 from the structural halo `most` on, by side, and where there is no cell.

    What lies beyond differs by rounding alone and is not looked at; at L nothing is left of the tile.
    """
    inside = torch.arange(errors.shape[-1]) < torch.tensor(list(most))[:, None]
    return torch.nn.functional.pad(torch.where(inside, errors.nan_to_num(0), 0), (0, 1))


def tails(errors: Tensor, most: Sequence[int]) -> Tensor:
    """The largest error at each distance or beyond, up to the structural halo `most`: `(..., S, L + 1)`, falling to 0.

    Args:
        errors: `(..., S, L)`, by side and distance; NaN where there is no cell.
        most: by side, cells.
    """
    return within(errors, most).flip(-1).cummax(-1).values.flip(-1)


def halo_cells(errors: Tensor, tolerance: float, most: Sequence[int]) -> list[int]:
    """By side, the fewest cells to drop so that the error stays within the tolerance at every distance beyond.

    Args:
        errors: `(S, L)`, by side and distance.
        tolerance: in the same unit.
        most: by side, the structural halo; see `within`.
    """
    cells: list[int] = (tails(errors, most) > tolerance).sum(-1).tolist()
    return cells


def worst_beyond(errors: Tensor, halo: Sequence[int]) -> float:
    """The largest error of the cells that are kept: at least `halo` cells, by side, from the border; 0 where none are."""
    kept = [row[max(0, n) :] for row, n in zip(errors, halo, strict=True)]
    values = torch.cat(kept)
    values = values[~values.isnan()]
    return float(values.max()) if len(values) else 0.0


def changed_labels(tiles: Tensor, whole: Tensor, *, whole_numbers: bool = False) -> Tensor | None:
    """`(B, *cells)`, whether the strongest of C channels is another one; of whole numbers, whether any is another one.

    None for one channel that holds no whole numbers.
    """
    if whole_numbers:
        return (tiles != whole).any(1)
    return tiles.argmax(1) != whole.argmax(1) if tiles.shape[1] > 1 else None
