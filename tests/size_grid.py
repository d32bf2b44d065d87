"""The grid of ``benchmarks/coverage.py`` in which intervals of sizes are simulated.

Crop k of image i differs by D = P + c_i s_ik (reading "change") or c_i (P + s_ik) (reading "image"), features are
c_i times white noise; c_i is the image's contrast, log-normal with the given standard deviation of its logarithm. s_ik has unit
variance, neighbouring cells correlate, and so do the crops of an image, by 0.3. Four crops an image. A second padding has a
pattern of another size on the same crops, and its s_ik correlates with the first's by 0.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import exp, sqrt
from typing import NamedTuple

import numpy as np
import torch
from test_simulation import SHAPE, draw, true_pattern
from torch import Tensor

from padprint.results.comparison import difference
from padprint.results.measurement import Estimate
from padprint.results.pattern_size import corrected_mae, sizes
from padprint.results.statistics import Interval, floor_of_mae, interval_of, jackknife, mean_noise, unbiased_energy

CROPS, ALIKE, POWER, SHARED = 4, 0.3, 4.0, 0.7
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
    """Of many runs: the arguments of `padprint.results.pattern_size.sizes`, the runs last, the truths, and sums of D by group, run, channel and cell."""

    gram: Tensor
    energy: Tensor
    power: Tensor
    crops: Tensor
    snr: float
    rms: float
    relative: float
    mae: float
    diff: Tensor


def simulate(cell: Cell, runs: int, seed: int = 1, *, gamma: bool = False) -> Sums:
    """Group sums of `runs` measurements; see `simulate_paddings`."""
    return simulate_paddings(cell, (1.0,), runs, seed, gamma=gamma)[0]


def simulate_paddings(
    cell: Cell, ratios: Sequence[float], runs: int, seed: int = 1, *, gamma: bool = False
) -> list[Sums]:
    """Group sums of `runs` measurements under one padding or two.

    Args:
        cell: of the grid.
        ratios: for each padding, its mean P^2 over that of the cell.
        runs: how many.
        seed: of all.
        gamma: whether contrasts are gamma distributed, of mean 1 and standard deviation `cell.contrast`, and not log-normal.
    """
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    groups, patterns = min(cell.groups, cell.images), [true_pattern(cell.size) * sqrt(one) for one in ratios]
    diff = torch.zeros(len(ratios), groups, runs, *SHAPE, dtype=torch.float64)
    energy = torch.zeros(len(ratios), groups, runs, dtype=torch.float64)
    power = torch.zeros(groups, runs, dtype=torch.float64)
    crops = torch.zeros(groups, dtype=torch.float64)
    whole = cell.reading == "image"
    for i in range(cell.images):
        g = i % groups
        contrast = (cell.contrast * torch.randn(runs, 1, 1, 1, generator=generator, dtype=torch.float64)).exp()
        if gamma and cell.contrast:
            shape = cell.contrast**-2
            contrast = torch.from_numpy(rng.gamma(shape, 1 / shape, (runs, 1, 1, 1)))
        own = _drawn(generator, runs, len(ratios))
        for _ in range(CROPS):
            crop = _drawn(generator, runs, len(ratios))
            for k, pattern in enumerate(patterns):
                change = sqrt(ALIKE) * own[k] + sqrt(1 - ALIKE) * crop[k]
                d = contrast * (pattern + change) if whole else pattern + contrast * change
                diff[k, g] += d
                energy[k, g] += d.square().mean((1, 2, 3))
        features = contrast * sqrt(POWER) * torch.randn(runs, *SHAPE, generator=generator, dtype=torch.float64)
        power[g] += CROPS * features.square().mean((1, 2, 3))
        crops[g] += CROPS
    mean, square = (1.0, 1 + cell.contrast**2) if gamma else (exp(cell.contrast**2 / 2), exp(2 * cell.contrast**2))
    found = []
    for k, ratio in enumerate(ratios):
        means = (diff[k] / crops.view(-1, 1, 1, 1, 1)).flatten(2)
        gram = torch.einsum("grk,hrk->ghr", means, means) / means.shape[-1]
        energy_of_pattern = ratio * cell.size * (mean**2 if whole else 1)
        noise = square * (1 + ratio * cell.size) - energy_of_pattern if whole else square
        rms, mae = sqrt(energy_of_pattern), float(patterns[k].abs().mean()) * (mean if whole else 1)
        truths = (energy_of_pattern / noise, rms, rms / sqrt(POWER * square), mae)
        found.append(Sums(gram, energy[k], power, crops, *truths, diff[k]))
    return found


def _drawn(generator: torch.Generator, runs: int, count: int) -> list[Tensor]:
    """One map a padding; the second correlates with the first."""
    first, *rest = (draw(generator, runs, heavy=False) for _ in range(count))
    return [first, *(SHARED * first + sqrt(1 - SHARED**2) * one for one in rest)]


def corrected(sums: Sums, runs: int | None = None) -> list[Interval]:
    """`padprint.results.pattern_size.corrected_mae` of each run, or of the first so many."""
    found, crops = [], sums.crops
    groups = len(crops)
    for r in range(runs or sums.diff.shape[1]):
        diff = sums.diff[:, r]
        total, weighted = diff.sum(0), torch.einsum("g,gchw->chw", crops, diff)
        totals = (total, diff.square().sum(0), weighted)

        def out(keep: Tensor) -> int | None:
            return None if len(keep) == groups else groups * (groups - 1) // 2 - int(keep.sum())

        mae = jackknife(lambda k: (diff[k].sum(0) / crops[k].sum()).abs().mean(), groups, 1)  # noqa: B023
        floor = jackknife(lambda k: floor_of_mae(diff, crops, totals, out(k)), groups)  # noqa: B023
        size = sizes(sums.gram[..., r], sums.energy[:, r], sums.power[:, r], crops)
        found.append(corrected_mae(diff, crops, mae, floor, size))
    return found


def paired(one: Sums, two: Sums, name: str, *, plain: bool = False) -> float:
    """Share of the intervals of a difference (of snr, rms, relative or mae) that hold the truth; `plain`: of the paired jackknife."""
    if name == "mae":
        pairs = list(zip(corrected(two), corrected(one), strict=True))
    else:
        a, b = (getattr(sizes(*each[:4]), name) for each in (two, one))
        runs = range(len(a.value))
        pairs = [tuple(Interval(*(part[..., r] for part in each)) for each in (a, b)) for r in runs]
    truth = getattr(two, name) - getattr(one, name)
    held = 0
    for of, to in pairs:
        if plain:
            found = interval_of(of.value - to.value, of.replicates - to.replicates)
        else:
            found = difference(*(Estimate(*map(float, x[:3]), tuple(x.replicates.tolist())) for x in (of, to)))
        held += bool(found.low - 1e-12 <= truth <= found.high + 1e-12)
    return held / len(pairs)


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
    for images, (reading, contrast), size in product(IMAGES, READINGS, SNRS):
        yield Cell(images, reading, contrast, size)


def pair_cells() -> Iterator[tuple[Cell, float]]:
    """The grid of differences: a second padding of the same size, of a tenth of the squared size, and without a pattern."""
    for cell in size_cells():
        for ratio in (1.0, 0.1, 0.0) if cell.size else (1.0,):
            yield cell, ratio
