"""Running sums of the parts of one layer's change, and the numbers they give."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from padprint.measuring.moments import LayerMoments
from padprint.measuring.states import States
from padprint.results.estimates import estimate_of
from padprint.results.measurement import PARTS, Estimate, Part
from padprint.results.pattern_size import sizes
from padprint.results.statistics import jackknife
from padprint.support.axes import Size, space

_SUMMED = ("local", "through", "context", "total")
"""Parts of which squares are summed here; those of ``padding`` are a layer's own."""


class PartSums(States):
    """Sums of the parts of a layer's change, beside its `LayerMoments`, which hold what padding does as a whole.

    All float64 (G groups, a map `(C, *cells)`):

    =======  ==============  ======================================================================
    local    `(G, C, *cells)`  sum of A - R, the crop less its scene under the crop's statistics
    context  `(G, C, *cells)`  sum of W - S, statistics over the crop's window less over the scene
    energy   `(4, G)`        sums of the squares of local, through, context, total, averaged over cells
    cells    `(4, *cells)`     the same by cell, over all groups, averaged over channels
    =======  ==============  ======================================================================

    Args:
        channels: C.
        size: cells along each axis.
        groups: G.
        device: where the sums lie.
    """

    local: Tensor
    context: Tensor
    energy: Tensor
    cells: Tensor

    def __init__(self, channels: int, size: Size, groups: int, device: torch.device | None = None) -> None:
        shapes: dict[str, tuple[int, ...]] = {
            "local": (groups, channels, *size),
            "context": (groups, channels, *size),
            "energy": (len(_SUMMED), groups),
            "cells": (len(_SUMMED), *size),
        }
        super().__init__(shapes, device)

    @torch.no_grad()
    def update(
        self, group: int, alone: Tensor, replayed: Tensor, windowed: Sequence[Tensor], scene: Sequence[Tensor]
    ) -> None:
        """Add a batch of B crops.

        Args:
            group: of their image.
            alone: `(B, C, *cells)`, F(x; p).
            replayed: `(B, C, *cells)`, the scene under the crop's statistics.
            windowed: B maps `(C, *cells)`, F(x; *).
            scene: B maps `(C, *cells)`, the scene as it is.
        """
        for a, r, w, s in zip(alone.double(), replayed.double(), windowed, scene, strict=True):
            local, through, context = a - r, r - w.double(), w.double() - s.double()
            self.local[group] += local
            self.context[group] += context
            for i, part in enumerate((local, through, context, a - s.double())):
                square = part.square()
                self.energy[i, group] += square.mean()
                self.cells[i] += square.mean(0)

    def parts(self, moments: LayerMoments, rounding: float) -> dict[str, Part]:
        """Every part's numbers; groups without images are left out.

        Args:
            moments: of the same crops.
            rounding: size of a part, in units of the features' own, at or below which there is nothing.
        """
        full = moments.crops.cpu() > 0
        crops, power = moments.crops.cpu()[full], moments.power.cpu()[full].mean(1)
        typical = (power.sum() / crops.sum()).sqrt()
        diff, local, context = (one.cpu()[full] for one in (moments.diff, self.local, self.context))
        sums = {
            "local": local,
            "through": diff - local,
            "padding": diff,
            "context": context,
            "total": diff + context,
        }
        energy = dict(zip(_SUMMED, self.energy.cpu()[:, full], strict=True))
        by_cell = moments.energy.cpu()[full]
        energy["padding"] = by_cell.mean(space(by_cell, 1))
        cells = dict(zip(_SUMMED, self.cells.cpu(), strict=True))
        cells["padding"] = moments.energy.cpu().sum(0)
        return {
            name: _part(sums[name], energy[name], cells[name] / crops.sum() / typical.square(), crops, power, rounding)
            for name in PARTS
        }


def _part(sums: Tensor, energy: Tensor, cells: Tensor, crops: Tensor, power: Tensor, rounding: float) -> Part:
    """One part's numbers from `(G, C, *cells)` sums of it, `(G,)` of its square, and `(*cells)` its mean square."""
    means = (sums / crops.view(-1, *[1] * (sums.dim() - 1))).flatten(1)

    def squared(keep: Tensor) -> Tensor:
        return energy[keep].sum() / power[keep].sum()

    size = jackknife(lambda keep: squared(keep).sqrt(), len(crops), 1)
    found = sizes(means @ means.T / means.shape[1], energy, power, crops)
    pattern, by_cell = sums.sum(0) / crops.sum(), cells.sqrt()
    if size.value <= rounding:
        none = Estimate(0.0, 0.0, 0.0, (0.0,) * len(size.replicates))
        return Part(none, none, none, pattern, by_cell)
    return Part(estimate_of(size), estimate_of(found.relative), estimate_of(found.snr), pattern, by_cell)
