r"""Which channels tell position: a test for each, and where on the map its pattern lies.

Padding-aware channels in the spirit of Garcia-Gasulla et al. (ICCV workshops 2023, "Padding Aware Neurons"), by a
statistic of padprint's own: that paper's could not be read, and no equivalence is claimed.

The null hypothesis of a channel: its pattern is the same in every cell, so that it says nothing about position. For each
group of images g, A_g is the mean of D over the group's crops less its spatial mean. The map has five regions, the four
edges and the corners (see `regions`; of one axis of space the two ends, of three the six faces and what two of them share); the mean of A_g over a region is one number a group, with expectation zero under the
null hypothesis, and groups are independent. Each region gets a two-sided one-sample t test with G - 1 degrees of freedom
over the unweighted group means. It is exact for normal means of equal variance and conservative for independent normal means
of unequal variance, mixtures of such (so, heavy tails) included, at levels up to 8 % (Bakirov and Szekely, J. Math. Sci.
139, 2006; Ibragimov and Mueller, J. Bus. Econ. Statist. 28, 2010). One loud image among many
quiet ones makes means skewed, to which a t test is blind: it calls channels whose mean is small because no loud image was drawn. So
the larger of its p value and that of Hall's transformation (J. R. Statist. Soc. B 54, 1992) counts, which takes the skewness out: the channel's own, and the root mean
square of all channels' of either sign, less what normal values have by chance, since a channel in which no loud image was drawn
does not show its own. The least of a channel's p values times the number of
regions is the channel's (Bonferroni), and Benjamini and Hochberg's procedure over the channels of a layer holds the expected
share of false calls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from padprint.results.statistics import discovery_rates, student_tail
from padprint.support.axes import Sides, Size, along, pairs, side_names, space
from padprint.support.equality import ByValue
from padprint.support.typed import BESIDE

LEVEL = 0.05
"""Expected share of false calls among the channels called padding-aware."""
FLAT = 1e-6
"""A pattern that differs between cells by a smaller share of its size than this, the rounding of single precision, is a shift."""


def places(axes: int) -> tuple[str, ...]:
    """Where a channel's pattern can lie in maps of so many axes, see `ChannelTest`."""
    return (*side_names(axes), "corners", "uniform")


@dataclass(frozen=True, eq=False)
class ChannelTest(ByValue):
    """Which channels of a layer have a position-dependent pattern, by padprint's own statistic.

    Attributes:
        p: (C,) float64, probability of so large a pattern at some edge or in the corners if there were none; 0 where it is there
            and the same in every group, as of a detector of borders alone; NaN with fewer than three groups of images, and
            where features are not finite.
        q: (C,) float64, the least false-discovery rate at which the channel is called padding-aware.
        snr: (C,) float64, effect size: mean square of the pattern less its spatial mean (unbiased, so it may be slightly
            negative) over the mean noise; infinite where there is no noise.
        side: where the pattern is largest, for each channel: the name of a side, "corners" (what two sides share) or "uniform".
        level: the false-discovery rate of `aware`.
        axes: of space, which say what sides there are.
    """

    p: Tensor
    q: Tensor
    snr: Tensor
    side: tuple[str, ...]
    level: float
    axes: int = field(default=2, metadata=BESIDE)

    @property
    def aware(self) -> Tensor:
        """(C,) bool, the channels called padding-aware."""
        return self.q <= self.level

    @property
    def count(self) -> int:
        """How many channels are called padding-aware."""
        return int(self.aware.sum())

    def by_side(self) -> dict[str, int]:
        """How many padding-aware channels there are at each side, in the corners and uniform."""
        called = [side for side, aware in zip(self.side, self.aware.tolist(), strict=True) if aware]
        return {side: called.count(side) for side in places(self.axes)}

    def top(self, count: int) -> list[int]:
        """The `count` channels of largest `snr`, largest first."""
        order: list[int] = self.snr.nan_to_num(-math.inf).argsort(descending=True, stable=True).tolist()
        return order[:count]


def regions(size: Size, rim: Sides) -> dict[str, Tensor]:
    """The parts of a map that are tested, as masks of its size: every side (without corners) and corners, what two sides share.

    An edge is as deep as the rim, at least one cell and at most a quarter of the map. A map less than three cells long along an
    axis has no edges at the two ends of it.

    Args:
        size: cells along each axis.
        rim: cells that padding touches, by side.
    """
    axes = len(size)
    edges, touched = [], torch.zeros(size, dtype=torch.int64)
    for axis, (n, sides) in enumerate(zip(size, pairs(rim), strict=True)):
        before, after = (0 if n < 3 else max(1, min(cells, n // 4)) for cells in sides)
        at = torch.arange(n)
        both = at < before, at >= n - after
        edges += [along(mask, axis, axes).expand(size) for mask in both]
        touched += along(both[0] | both[1], axis, axes).long()
    found = {name: mask & (touched == 1) for name, mask in zip(side_names(axes), edges, strict=True)}
    found["corners"] = touched > 1
    return {name: mask for name, mask in found.items() if mask.any()}


def position_test(means: Tensor, noise: Tensor, rim: Sides, idle: Tensor) -> ChannelTest:
    """Test every channel of a layer for a position-dependent pattern.

    Args:
        means: `(G, C, *cells)` mean of D over the crops of each group.
        noise: `(C,)` variance of D over crops, averaged over cells.
        rim: cells that padding touches, by side.
        idle: `(C,)`, channels that padding changes no more than rounding does; they have no pattern.
    """
    groups, channels, *size = means.shape
    cells = space(means, 2)
    placed = means - means.mean(cells, keepdim=True)
    energy = _energy(placed)
    parts = regions(tuple(size), rim)
    tested = [_t_test(placed[..., mask].mean(-1)) for mask in parts.values()]
    if groups < 3:
        p = torch.full((channels,), torch.nan, dtype=torch.float64)
    elif not tested:
        p = torch.ones(channels, dtype=torch.float64)
    else:
        p = (torch.stack(tested).amin(0) * len(tested)).clamp_max(1)
    shift = means.square().mean((0, *cells))
    flat = idle | (placed.mean(0).square().mean(cells) <= FLAT**2 * shift)
    p[flat & ~p.isnan()] = 1.0
    snr = energy.mean(cells) / noise
    snr[flat] = 0.0
    unknown = ~shift.isfinite()
    p[unknown], snr[unknown] = torch.nan, torch.nan
    return ChannelTest(
        p=p, q=discovery_rates(p), snr=snr, side=_sides(placed, energy, parts), level=LEVEL, axes=len(size)
    )


def _energy(placed: Tensor) -> Tensor:
    """`(C, *cells)` unbiased square of the mean over groups; of a single group, the plain square."""
    groups = len(placed)
    if groups == 1:
        return placed[0].square()
    return (placed.sum(0).square() - placed.square().sum(0)) / (groups * (groups - 1))


def _t_test(values: Tensor) -> Tensor:
    """`(C,)` two-sided p values of `(G, C)` values having mean zero: the largest of Student's and Hall's; 1 where all are zero."""
    groups = len(values)
    mean = values.mean(0)
    apart = values - mean
    size = (apart.square().sum(0) / max(1, groups - 1)).sqrt()
    t = (mean / size).nan_to_num(0.0, posinf=torch.inf, neginf=-torch.inf)
    p = student_tail(t * math.sqrt(groups), max(1, groups - 1))
    if groups < 3:
        return p
    spread = apart.square().mean(0)
    own = (apart.pow(3).mean(0) / spread.pow(1.5)).nan_to_num(0.0, 0.0, 0.0)
    own = own * (math.sqrt(groups * (groups - 1)) / (groups - 2))
    chance = 6 * groups * (groups - 1) / ((groups - 2) * (groups + 1) * (groups + 3))  # of normal values
    pooled = (own.square().mean() - chance).clamp_min(0).sqrt().expand_as(own)
    for skew in (own, pooled, -pooled):
        straight = ((1 + skew * t / 3).pow(3) - 1) / skew + skew / (6 * groups)
        straight = torch.where(skew.abs() < 1e-6, t, straight)
        straight = torch.where(straight * t > 0, straight, 0.0)
        hall = student_tail(straight * math.sqrt(groups), groups - 1)
        p = torch.where(t.isinf(), p, torch.maximum(p, hall))
    return p


def _sides(placed: Tensor, energy: Tensor, parts: dict[str, Tensor]) -> tuple[str, ...]:
    """Where each channel's squared pattern is largest.

    "corners": more than half of it is no sum of profiles along the axes (over rows and over columns), and its mean square in the
    corners exceeds that of every edge. An edge: its mean square exceeds the sum over the other edges. Else "uniform".
    """
    cells = space(energy, 1)
    edges = [name for name in side_names(len(cells)) if name in parts]
    if len(edges) < 2:
        return ("uniform",) * len(energy)
    size = torch.stack([energy[:, parts[name]].mean(-1) for name in edges]).clamp_min(0)
    most, which = size.max(0)
    names = [edges[at] for at in which.tolist()]
    alike = most <= size.sum(0) / 2
    corners = torch.zeros_like(alike)
    if "corners" in parts:
        others = [tuple(one for one in cells if one != axis) for axis in cells]
        summed = sum((_energy(placed.mean(dims)).mean(-1) for dims in others), torch.zeros(()))
        corners = (summed < energy.mean(cells) / 2) & (energy[:, parts["corners"]].mean(-1) > most)
    chosen = zip(names, alike.tolist(), corners.tolist(), strict=True)
    return tuple("corners" if corner else "uniform" if flat else name for name, flat, corner in chosen)
