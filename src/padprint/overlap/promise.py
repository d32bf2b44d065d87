"""How wide a halo must be for an image not yet seen: nested halos, and the error that each of them promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from padprint.results.statistics import prediction_limit, promised

if TYPE_CHECKING:
    from padprint.overlap.output_halo import OutputHalo


@dataclass(frozen=True, eq=False)
class Promises:
    """Halos inside one another, the structural one first, and the error that a further image stays below with each.

    Every halo is what the median image needs at some tolerance, so that sides and outputs keep their proportions and no single
    image shapes them; there is one for each value of the error. What it promises is the upper prediction limit of the
    error of one further image (`padprint.results.statistics.prediction_limit`), never more than the worst image measured.

    Attributes:
        outputs: by name.
        confidence: share of further images that are to stay below.
        halos: by output, `(K, S)` cells on each side, the widest first.
        limits: `(K,)` errors, growing.
    """

    outputs: Mapping[str, OutputHalo]
    confidence: float
    halos: Mapping[str, Tensor]
    limits: Tensor

    @property
    def promised(self) -> float:
        """Share of further images that do stay below: `confidence`, but of n images no more than n / (n + 1)."""
        return promised(len(next(iter(self.outputs.values())).by_image), self.confidence)

    def narrowest_within(self, tolerance: float) -> dict[str, list[int]]:
        """By output, the narrowest of the halos that promises to stay within a tolerance."""
        return self.at(int(torch.searchsorted(self.limits, tolerance, right=True)) - 1)

    def at(self, k: int) -> dict[str, list[int]]:
        """By output, cells of the k-th halo."""
        return {name: halos[k].tolist() for name, halos in self.halos.items()}

    def limit(self, halo: Mapping[str, Sequence[int]]) -> float:
        """The error promised with any halo, by output, cells: its own, or that of a nested halo inside it if that is less."""
        cells = {name: torch.tensor(halo[name])[None] for name in self.outputs}
        inside = torch.stack([(self.halos[name] <= cells[name]).all(1) for name in self.outputs]).all(0)
        own = prediction_limit(_beyond(self.outputs, cells), self.confidence)
        return float(torch.cat([own, self.limits[inside][:1]]).min())


def promises(outputs: Mapping[str, OutputHalo], confidence: float) -> Promises:
    """What nested halos promise, from the errors of single images.

    Args:
        outputs: by name, with errors by image.
        confidence: share of further images, above 0.5 and below 1.
    """
    typical = {name: _typical(one) for name, one in outputs.items()}
    levels = torch.unique(torch.cat([one.flatten() for one in typical.values()]))
    halos = {}
    for name, one in typical.items():
        cells = (one[None] > levels[:, None, None]).sum(-1)
        halos[name] = torch.cat([torch.tensor([outputs[name].structural]), cells])
    limits = prediction_limit(_beyond(outputs, halos), confidence)
    return Promises(outputs, confidence, halos, limits.cummax(0).values)


def _typical(one: OutputHalo) -> Tensor:
    """`(S, L + 1)`, the median image's largest error at each distance or beyond; where that is 0 a trace of the mean, so that halos go on."""
    return one.tails.median(0).values + 1e-9 * one.tails.mean(0)


def _beyond(outputs: Mapping[str, OutputHalo], halos: Mapping[str, Tensor]) -> Tensor:
    """`(n, K)`, the largest error of each image beyond each of K halos, of any output.

    No less than what can be told from none of the cells that come next to the halo.
    """
    found = []
    for name, one in outputs.items():
        sides = torch.arange(one.tails.shape[1])
        cells = halos[name].clamp(max=one.tails.shape[-1] - 1)
        found.append(torch.maximum(one.tails[:, sides, cells], one.least[:, sides, cells]).amax(-1))
    return torch.stack(found).amax(0)
