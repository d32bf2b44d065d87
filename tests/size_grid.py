"""The grid of ``benchmarks/coverage.py`` in which intervals of sizes are simulated.

Crop k of image i differs by D = P + c_i s_ik (reading "change") or c_i (P + s_ik) (reading "image"), features are
c_i times white noise; c_i is the image's contrast, log-normal with the given standard deviation of its logarithm. s_ik has unit
variance, neighbouring cells correlate, and so do the crops of an image, by 0.3. Four crops an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from padprint.statistics import jackknife, mean_noise, unbiased_energy
from test_simulation import SHAPE, draw, true_pattern

CROPS, ALIKE, POWER = 4, 0.3, 4.0
IMAGES = (4, 10, 20, 50)
READINGS = (("normal", 0.0), ("change", 0.5), ("change", 1.0), ("image", 0.5), ("image", 1.0))
SNRS = (0.0, 0.01, 0.25, 4.0)


class Cell(NamedTuple):
    """One cell of the grid of sizes; `size` is the mean P^2 at unit noise and contrast 1."""

    images: int
    reading: str
    contrast: float
    size: float
    groups: int = 20


class Sums(NamedTuple):
    """Of many runs: the arguments of `padprint.sizes.sizes`, the runs last, and the truths."""

    gram: Tensor
    energy: Tensor
    power: Tensor
    crops: Tensor
    snr: float
    rms: float
    relative: float


def simulate(cell: Cell, runs: int, seed: int = 1, *, gamma: bool = False) -> Sums:
    """Group sums of `runs` measurements.

    Args:
        cell: of the grid.
        runs: how many.
        seed: of all.
        gamma: whether contrasts are gamma distributed, of mean 1 and standard deviation `cell.contrast`, and not log-normal.
    """
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    groups, pattern = min(cell.groups, cell.images), true_pattern(cell.size)
    diff = torch.zeros(groups, runs, *SHAPE, dtype=torch.float64)
    energy, power = torch.zeros(2, groups, runs, dtype=torch.float64).unbind()
    crops = torch.zeros(groups, dtype=torch.float64)
    whole = cell.reading == "image"
    for i in range(cell.images):
        g = i % groups
        contrast = (cell.contrast * torch.randn(runs, 1, 1, 1, generator=generator, dtype=torch.float64)).exp()
        if gamma and cell.contrast:
            shape = cell.contrast**-2
            contrast = torch.from_numpy(rng.gamma(shape, 1 / shape, (runs, 1, 1, 1)))
        own = draw(generator, runs, heavy=False)
        for _ in range(CROPS):
            change = sqrt(ALIKE) * own + sqrt(1 - ALIKE) * draw(generator, runs, heavy=False)
            d = contrast * (pattern + change) if whole else pattern + contrast * change
            diff[g] += d
            energy[g] += d.square().mean((1, 2, 3))
        features = contrast * sqrt(POWER) * torch.randn(runs, *SHAPE, generator=generator, dtype=torch.float64)
        power[g] += CROPS * features.square().mean((1, 2, 3))
        crops[g] += CROPS
    means = (diff / crops.view(-1, 1, 1, 1, 1)).flatten(2)
    gram = torch.einsum("grk,hrk->ghr", means, means) / means.shape[-1]
    mean, square = (1.0, 1 + cell.contrast**2) if gamma else (exp(cell.contrast**2 / 2), exp(2 * cell.contrast**2))
    energy_of_pattern = cell.size * (mean**2 if whole else 1)
    noise = square * (1 + cell.size) - energy_of_pattern if whole else square
    rms = sqrt(energy_of_pattern)
    return Sums(gram, energy, power, crops, energy_of_pattern / noise, rms, rms / sqrt(POWER * square))


def before(sums: Sums) -> dict[str, tuple[Tensor, Tensor]]:
    """The plain jackknife intervals that padprint had until `sizes` took their place."""
    gram, energy, power, crops = sums[:4]
    found = {
        "snr": jackknife(lambda k: unbiased_energy(gram, k) / mean_noise(gram, energy, crops, k), len(crops)),
        "relative": jackknife(
            lambda k: (unbiased_energy(gram, k).clamp_min(0) / (power[k].sum(0) / crops[k].sum())).sqrt(), len(crops)
        ),
    }
    return {name: (one.low, one.high) for name, one in found.items()}


def covered(sums: Sums, ends: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Share of intervals that hold the truth, by quantity."""
    return {
        name: float(((low <= getattr(sums, name)) & (getattr(sums, name) <= high)).double().mean())
        for name, (low, high) in ends.items()
    }


def warned(sums: Sums) -> float:
    """Share of runs that are warned of loud groups: squared shares of the change above 3 over the number of groups."""
    share = sums.energy / sums.energy.sum(0)
    return float((share.square().sum(0) > 3 / len(sums.crops)).double().mean()) if len(sums.crops) > 3 else 0.0


def size_cells() -> Iterator[Cell]:
    """The grid of sizes."""
    for images in IMAGES:
        for reading, contrast in READINGS:
            for size in SNRS:
                yield Cell(images, reading, contrast, size)
