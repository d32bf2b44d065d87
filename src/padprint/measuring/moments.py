"""Running sums of one layer: all that the statistics need, and no more. Memory does not grow with the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from padprint.measuring.states import States
from padprint.support.axes import Size

_BLOCK = 1 << 20
"""Numbers worked on at once: few enough to stay in a processor's cache, where a whole batch's map would not."""

_SAMPLE = 1024
"""Cells of a canvas that tell about what value its features lie."""

_TINY = 1e-16
"""Mean |D| below which squares are summed in double precision: in single precision they would vanish."""

FIRST = (1, 10, 100)
"""How many of the first crops the means kept beside that of all crops are over; `update` is told which come first."""


class LayerMoments(States):
    """Sums of a layer's differences D = F(x; p) - F(x; *) and optimal features F(x; *), by group of images.

    All float64 (G groups, a map `(C, *cells)`):

    ==========  ================  =============================================================
    crops       `(G,)`            number of crops
    diff        `(G, C, *cells)`  sum of D
    square      `(C, *cells)`     sum of D^2 over all groups
    energy      `(G, *cells)`     sum of D^2, averaged over channels
    absolute    `(G,)`            sum of |D|, averaged over channels and cells
    feature     `(G, C)`          sum of F(x; *), averaged over cells
    power       `(G, C)`          sum of F(x; *)^2, averaged over cells
    early       `(4, *cells)`     sum of F(x; p), averaged over channels: of the first 1, 10, 100 crops and of all
    counted     `(4,)`            number of crops in each of these
    ==========  ================  =============================================================

    Args:
        channels: C.
        size: cells along each axis.
        groups: G; image i belongs to group i mod G.
        device: where the sums lie.
    """

    latest: Tensor
    """D^2 of the last batch, summed over its crops, `(C, *cells)`; no state."""

    crops: Tensor
    diff: Tensor
    square: Tensor
    energy: Tensor
    absolute: Tensor
    feature: Tensor
    power: Tensor
    early: Tensor
    counted: Tensor

    def __init__(self, channels: int, size: Size, groups: int, device: torch.device | None = None) -> None:
        shapes: dict[str, tuple[int, ...]] = {
            "crops": (groups,),
            "diff": (groups, channels, *size),
            "square": (channels, *size),
            "energy": (groups, *size),
            "absolute": (groups,),
            "feature": (groups, channels),
            "power": (groups, channels),
            "early": (len(FIRST) + 1, *size),
            "counted": (len(FIRST) + 1,),
        }
        super().__init__(shapes, device)

    @torch.no_grad()
    def update(self, group: int, features: Tensor, optimal: Sequence[Tensor], order: Sequence[int] = ()) -> None:
        """Add a batch of crops.

        Args:
            group: of the image the crops come from.
            features: `(B, C, *cells)`, F(x; p) of each crop, in the model's precision; sums over a batch are taken in it.
            optimal: B maps `(C, *cells)`, F(x; *) of each crop.
            order: B numbers that say which crops are the first, whichever process sees them; without them none is.
        """
        layout = _order_in_memory(features)
        own = features.permute(layout)
        others = [one.permute([d - 1 for d in layout[1:]]) for one in optimal]
        sums, absolute = _sums(own, others)
        tiny = 0 < float(absolute) < _TINY * own.numel()
        if own.dtype != torch.float64 and (
            tiny or not bool(sums[1].isfinite().all())
        ):  # squares leave the type's range
            sums, absolute = _sums(own.double(), [one.double() for one in others])
        total, square = sums.permute(0, *(layout.index(d) for d in range(1, len(layout)))).unbind()
        self.crops[group] += len(own)
        self.diff[group] += total
        self.square += square
        self.energy[group] += square.mean(0)
        self.absolute[group] += absolute / own[0].numel()
        self._add_early(features.mean(1), order)
        self.latest = square

    def _add_early(self, means: Tensor, order: Sequence[int]) -> None:
        """Add the `(B, *cells)` channel means of F(x; p)."""
        for row, least in enumerate(FIRST):
            early = [i for i, number in enumerate(order) if number < least]
            if early:
                self.early[row] += means[early].sum(0)
                self.counted[row] += len(early)
        self.early[-1] += means.sum(0)
        self.counted[-1] += len(means)

    @torch.no_grad()
    def update_features(self, group: int, features: Tensor, coverage: Tensor) -> None:
        """Add a canvas of optimal features.

        Args:
            group: of the image.
            features: `(C, *cells)` map of the canvas.
            coverage: `(*cells)`, how many of the canvas's crops see each cell.
        """
        cells = self.diff[0, 0].numel()
        total, middle, first, second = _weighted(features, coverage, cells)
        small = bool((second < _TINY**2 * total).any()) and bool((features != 0).any())
        if features.dtype != torch.float64 and (small or not bool(second.isfinite().all())):
            total, middle, first, second = _weighted(features.double(), coverage, cells)
        shift = middle.flatten().double()
        self.feature[group] += total * shift + first
        self.power[group] += total * shift.square() + 2 * shift * first + second


def _weighted(features: Tensor, coverage: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum of the weights, a middle `(C, 1, ...)`, and by channel the weighted sums of what is left without it, and its square."""
    weights = coverage.to(features.dtype) / cells
    # sums around a middle keep the digits of a variance that is small beside the mean; a sample of covered cells gives one
    places = coverage.nonzero().unbind(1)
    apart = max(1, len(places[0]) // _SAMPLE)
    sampled: Any = (slice(None), *(place[::apart] for place in places))
    middle = features[sampled].mean(1).view(-1, *[1] * coverage.dim())
    first = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    second = torch.zeros_like(first)
    step = max(1, _BLOCK * features.shape[1] // max(1, features.numel()))
    for start in range(0, features.shape[1], step):
        weight = weights[start : start + step].flatten()
        rest = features[:, start : start + step] - middle
        by_cell = rest.movedim(0, -1)  # as channels-last memory lies; a plain map is taken by channel
        if by_cell.is_contiguous():
            flat = by_cell.flatten(0, -2)
            first += weight @ flat
            second += weight @ flat.square_()
        else:
            flat = rest.flatten(1)
            first += flat @ weight
            second += flat.square_() @ weight
    return weights.double().sum(), middle, first, second


def _sums(own: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sums over a batch: `(2, ...)` of D and of D^2 by cell, and of |D| over all cells."""
    sums = own.new_empty(2, *own.shape[1:])
    absolute = torch.zeros((), dtype=torch.float64, device=own.device)
    step = max(1, _BLOCK * own.shape[1] // max(1, own.numel()))
    block = own.new_empty(len(own), step, *own.shape[2:])
    for start in range(0, own.shape[1], step):
        part = slice(start, start + step)
        diff = block[:, : own.shape[1] - start]
        for row, one, other in zip(diff, own, others, strict=True):
            torch.sub(one[part], other[part], out=row)
        torch.sum(diff, 0, out=sums[0, part])
        absolute += diff.abs_().sum()
        torch.sum(diff.square_(), 0, out=sums[1, part])
    return sums, absolute


def _order_in_memory(x: Tensor) -> tuple[int, ...]:
    """The order of a batch's dimensions `(B, C, *cells)` in which its numbers lie side by side, as far as that is known."""
    every = tuple(range(x.dim()))
    last = x.dim() > 3 and x.movedim(1, -1).is_contiguous() and not x.is_contiguous()
    return (0, *every[2:], 1) if last else every
