"""Running sums of the parts of one layer's change, and the numbers they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from padprint.result import Estimate
from padprint.statistics import Interval, jackknife, mean_noise, unbiased_energy
from padprint.wholemap.result import PARTS, Part

SINGLE = ("local", "through", "context")
"""Parts that are measured; the others are sums of them."""
_MADE = {"local": (0,), "through": (1,), "context": (2,), "padding": (0, 1), "total": (0, 1, 2)}


class PartSums:
    """Sums over crops, by group of images.

    Args:
        channels: of the layer.
        size: (h, w) of its map.
        groups: of images.
    """

    def __init__(self, channels: int, size: tuple[int, int], groups: int) -> None:
        self.crops = torch.zeros(groups, dtype=torch.float64)
        self.power = torch.zeros(groups, dtype=torch.float64)
        self.diff = torch.zeros(len(SINGLE), groups, channels, *size, dtype=torch.float64)
        self.energy = torch.zeros(len(PARTS), groups, dtype=torch.float64)
        self.cells = torch.zeros(len(PARTS), *size, dtype=torch.float64)

    def add(self, group: int, alone: Tensor, replayed: Tensor, windowed: Tensor, scene: Tensor) -> None:
        """Add the four runs of a batch of crops, `(B, C, h, w)` each."""
        a, r, w, s = (run.double() for run in (alone, replayed, windowed, scene))
        single = a - r, r - w, w - s
        self.crops[group] += len(a)
        self.power[group] += w.square().mean((1, 2, 3)).sum().cpu()
        self.diff[:, group] += torch.stack([part.sum(0) for part in single]).cpu()
        for i, name in enumerate(PARTS):
            square = torch.stack([single[j] for j in _MADE[name]]).sum(0).square()
            self.energy[i, group] += square.mean((1, 2, 3)).sum().cpu()
            self.cells[i] += square.mean(1).sum(0).cpu()

    def parts(self) -> dict[str, Any]:
        """Every part's numbers; groups without images are left out."""
        kept = self.crops > 0
        crops, power = self.crops[kept], self.power[kept]
        typical = (power.sum() / crops.sum()).sqrt()
        means = self.diff[:, kept] / crops.view(1, -1, 1, 1, 1)
        found = {}
        for i, name in enumerate(PARTS):
            mean = means[list(_MADE[name])].sum(0)
            flat = mean.flatten(1)
            gram, energy = flat @ flat.T / flat.shape[1], self.energy[i, kept]
            size, pattern, snr = (jackknife(f, len(crops), n) for f, n in _estimators(gram, energy, crops, power))
            found[name] = Part(
                _estimate(size),
                _estimate(pattern),
                _estimate(snr),
                pattern_map=(mean * crops.view(-1, 1, 1, 1)).sum(0) / crops.sum(),
                size_map=(self.cells[i] / crops.sum()).sqrt() / typical,
            )
        return found


def _estimate(one: Interval) -> Estimate:
    return Estimate(float(one.value), float(one.low), float(one.high), tuple(one.replicates.tolist()))


def _estimators(
    gram: Tensor, energy: Tensor, crops: Tensor, power: Tensor
) -> list[tuple[Callable[[Tensor], Tensor], int]]:
    """Size, pattern and signal-to-noise ratio of a part as statistics of groups, and the groups each of them needs."""

    def size(keep: Tensor) -> Tensor:
        return (energy[keep].sum() / power[keep].sum()).sqrt()

    def squared(keep: Tensor) -> Tensor:
        return unbiased_energy(gram, keep) if len(keep) > 1 else gram[keep][:, keep].mean()

    def pattern(keep: Tensor) -> Tensor:
        return (squared(keep).clamp_min(0) * crops[keep].sum() / power[keep].sum()).sqrt()

    def snr(keep: Tensor) -> Tensor:
        return squared(keep) / mean_noise(gram, energy, crops, keep)

    return [(size, 1), (pattern, 2), (snr, 2)]
