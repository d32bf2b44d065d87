r"""Estimators: from a layer's moments to numbers with error bars. Pure functions of tensors.

Crops of one image are correlated and groups of images are not, so every estimate that squares a mean works across
groups. With P_g the mean difference of group g, the Gram matrix K[g, h] = mean over channels and cells of P_g P_h holds
all that is needed: the mean of K over g != h estimates mean P^2 without bias, because the noise of two different groups
is independent. Intervals are delete-one-group jackknife (Efron and Stein, Ann. Statist. 9, 1981), Student's t with one
degree of freedom less than there are groups, 95 %; those of sizes are of `padprint.results.pattern_size`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import ceil, gamma, inf, nan, pi, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from padprint.support.axes import space

Sums = Callable[[Tensor], Tensor]


class Interval(NamedTuple):
    """A value and its 95 % interval, tensors of one shape; NaN where no interval exists.

    `replicates` holds the value with each group left out, `(G, ...)`; `(0, ...)` where no interval exists.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    replicates: Tensor


def jackknife(statistic: Sums, groups: int, least: int = 2) -> Interval:
    """Delete-one-group jackknife of a statistic.

    Args:
        statistic: maps a tensor of group indices to a tensor.
        groups: how many groups there are.
        least: groups the statistic needs; with fewer than `least` + 1 there is no interval.
    """
    every = torch.arange(groups)
    value = statistic(every)
    if groups <= least:
        return interval_of(value, value.new_empty(0, *value.shape))
    return interval_of(value, torch.stack([statistic(every[every != g]) for g in range(groups)]))


def interval_of(value: Tensor, replicates: Tensor) -> Interval:
    """The interval of a value from its `(G, ...)` leave-one-group-out replicates."""
    groups = len(replicates)
    if groups == 0:
        return Interval(value, torch.full_like(value, nan), torch.full_like(value, nan), replicates)
    spread = (replicates - replicates.mean(0)).square().sum(0)
    half = student_quantile(groups - 1) * ((groups - 1) / groups * spread).sqrt()
    return Interval(value, value - half, value + half, replicates)


def crossed(values: Tensor) -> Interval:
    """The mean of `(S, n)` values, S random repetitions over the same n units, with an interval that holds both spreads.

    The variance of the mean is that over units, plus that over repetitions, less what both hold of the residual, and no less
    than the larger of the two; degrees of freedom after Satterthwaite, rounded down. With one repetition it is the interval
    over units alone. `replicates` are the mean with each unit left out.

    Source: the two-way random effects model, Searle, Casella and McCulloch, Variance Components (1992), chapter 4.
    """
    repetitions, units = values.shape
    mean, by_unit, by_repetition = values.mean(), values.mean(0), values.mean(1)
    replicates = (by_unit.sum() - by_unit) / (units - 1) if units > 1 else by_unit[:0]
    if units < 2:
        return interval_of(mean, replicates)
    between = [by_unit.var() / units]
    freedom = [units - 1]
    total = between[0]
    if repetitions > 1:
        between.append(by_repetition.var() / repetitions)
        freedom.append(repetitions - 1)
        residual = values - by_unit - by_repetition[:, None] + mean
        shared = residual.square().sum() / ((units - 1) * (repetitions - 1)) / (units * repetitions)
        total = torch.maximum(between[0] + between[1] - shared, torch.maximum(between[0], between[1]))
    weighted = sum(one.square() / df for one, df in zip(between, freedom, strict=True))
    whole = sum(between).square() / weighted if weighted > 0 else units - 1  # type: ignore[union-attr]
    half = student_quantile(max(1, int(whole + 1e-9))) * total.sqrt()
    return Interval(mean, mean - half, mean + half, replicates)


def group_gram(means: Tensor) -> Tensor:
    """`(G, G, *cells)` products of group means, averaged over channels, from `(G, C, *cells)` means."""
    return torch.stack([(means[g].unsqueeze(0) * means).mean(1) for g in range(means.shape[0])])


def unbiased_energy(gram: Tensor, keep: Tensor) -> Tensor:
    """Mean over pairs of different groups of a Gram matrix `(G, G, ...)`: E of the mean squared, without bias."""
    kept = gram[keep][:, keep]
    pairs = kept.sum((0, 1)) - kept.diagonal().sum(-1)
    return pairs / (len(keep) * (len(keep) - 1))


def plain_energy(gram: Tensor, crops: Tensor, keep: Tensor) -> Tensor:
    """Mean square of the mean over all crops, whose expectation is too high by the noise over the number of crops."""
    weights = crops[keep] / crops[keep].sum()
    return torch.einsum("g,h,gh...->...", weights, weights, gram[keep][:, keep])


def mean_noise(gram: Tensor, energy: Tensor, crops: Tensor, keep: Tensor) -> Tensor:
    """Variance over crops, averaged like `gram` and `energy` `(G, ...)` (sums of D^2) are: E[D^2] less the pattern's square.

    The mean's square exceeds the pattern's by the mean's own variance, which the spread of the groups tells: unbiased
    however alike the crops of an image are. From a single group, and only there, crops are taken for independent. NaN for
    a single crop.
    """
    sizes, kept = crops[keep], gram[keep][:, keep]
    n = sizes.sum()
    plain = plain_energy(gram, crops, keep)
    within = (energy[keep].sum(0) / n - plain).clamp_min(0)
    if len(keep) == 1:
        return within * torch.where(n > 1, n / (n - 1), nan)
    cross = torch.einsum("h,gh...->g...", sizes / n, kept)
    apart = kept.diagonal().movedim(-1, 0) - 2 * cross + plain
    return within + torch.einsum("g,g...->...", _pull(sizes), apart)


def cell_noise(diff: Tensor, square: Tensor, crops: Tensor) -> Tensor:
    """`mean_noise` of every cell, `(C, *cells)`.

    Args:
        diff: `(G, C, *cells)` sums of D.
        square: `(C, *cells)` sum of D^2.
        crops: `(G,)`.
    """
    n = crops.sum()
    mean = diff.sum(0) / n
    within = square / n - mean.square()
    if len(crops) == 1:
        return (within * n / (n - 1)).clamp_min_(0)
    for weight, size, total in zip(_pull(crops), crops, diff, strict=True):
        within += weight * (total / size - mean).square()
    return within.clamp_min_(0)


def _pull(sizes: Tensor) -> Tensor:
    """`(G,)` weights of the groups' squared distances from the mean of all crops: their sum estimates its variance.

    A group's sum of n_g crops varies by n_g times a constant, so that E of the sum of n_g^2 (P_g - P)^2 is
    n^2 - sum of n_g^2 times the variance of P.
    """
    squares = sizes.square()
    return squares / (sizes.sum().square() - squares.sum())


def spatial_mean_gram(means: Tensor) -> Tensor:
    """`(G, G)` products of each channel's spatial means, averaged over channels: what says nothing about position."""
    shift = means.mean(space(means, 2))
    return shift @ shift.T / shift.shape[1]


def floor_of_mae(diff: Tensor, crops: Tensor, totals: tuple[Tensor, Tensor, Tensor], out: int | None) -> Tensor:
    """Mean |P| to expect if P were zero: the mean over cells of sqrt(2/pi) times the standard error of P.

    The standard error comes from the spread of the groups (crops of an image are correlated), is made unbiased for
    normal errors, and treats P as a ratio of sums where groups differ in size.

    Args:
        diff: `(G, C, *cells)` sums of D.
        crops: `(G,)`.
        totals: sums over groups of diff, diff^2 and crops * diff, which are worked out once.
        out: a group to leave out, or None.
    """
    total, squares, weighted = totals
    sizes = crops
    if out is not None:
        total, squares = total - diff[out], squares - diff[out].square()
        weighted = weighted - crops[out] * diff[out]
        sizes = crops[torch.arange(len(crops)) != out]
    g, n = len(sizes), sizes.sum()
    mean = total / n
    variance = (squares - 2 * mean * weighted + mean.square() * sizes.square().sum()).clamp_min_(0) / n**2
    spread = (variance * (g / (g - 1))).sqrt_()
    return sqrt(2 / pi) * spread.mean() / _c4(g)


def _c4(groups: int) -> float:
    """E of a normal sample's standard deviation over the true one."""
    return sqrt(2 / (groups - 1)) * gamma(groups / 2) / gamma((groups - 1) / 2) if groups < 300 else 1.0


@cache
def student_quantile(freedom: int, level: float = 0.95) -> float:
    """Two-sided Student t quantile for a whole number of degrees of freedom.

    Source: the finite sums for P(|t| < x) in Abramowitz and Stegun, 26.7.3 and 26.7.4, solved by bisection.
    """
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        within = _student_within(torch.tensor(middle, dtype=torch.float64), freedom)
        low, high = (middle, high) if within < level else (low, middle)
    return (low + high) / 2


def prediction_limit(values: Tensor, level: float = 0.95) -> Tensor:
    """Upper prediction limit of one further value: the least of n values that leaves it below with the probability `promised`.

    The k-th smallest of n values, k = level (n + 1) rounded up and at most n. Values of any distribution; small ones cannot
    move it. (Wilks, Ann. Math. Statist. 12, 1941; the same as split conformal prediction.)

    Args:
        values: `(n, ...)`.
        level: probability of a further value below the limit.

    Returns:
        `(...)`; of a single value infinite, where it is not 0: it says nothing of how values differ.
    """
    n = len(values)
    if n == 1:
        return torch.where(values[0] == 0, 0.0, inf).double()
    rank = min(n, ceil(level * (n + 1) - 1e-9))
    return values.double().sort(0).values[rank - 1]


def promised(n: int, level: float) -> float:
    """With what probability a further value lies below `prediction_limit`: `level`, but no more than n values can tell, n / (n + 1)."""
    return min(level, n / (n + 1))


def student_tail(t: Tensor, freedom: int) -> Tensor:
    """Two-sided Student t tail probability P(|T| > |t|) for a whole number of degrees of freedom; NaN stays NaN."""
    return (1 - _student_within(t.abs().double(), freedom)).clamp_min(0)


def _student_within(x: Tensor, freedom: int) -> Tensor:
    angle = (x / sqrt(freedom)).atan()
    sine, cosine = angle.sin(), angle.cos()
    odd = freedom % 2 == 1
    term = cosine if odd else torch.ones_like(cosine)
    total = term.clone() if freedom > 1 else torch.zeros_like(term)
    for k in range(3 if odd else 2, freedom - 1, 2):
        term = term * cosine**2 * (k - 1) / k
        total += term
    return 2 / pi * (angle + sine * total) if odd else sine * total


def discovery_rates(p: Tensor) -> Tensor:
    """Benjamini-Hochberg q values `(n,)`: the least false-discovery rate at which each of `p` is called; NaN stays NaN.

    Source: Benjamini and Hochberg, J. R. Statist. Soc. B 57 (1995).
    """
    known = ~p.isnan()
    values, order = p[known].double().sort(descending=True)
    ranks = torch.arange(len(values), 0, -1, dtype=torch.float64)
    stepped = (values * len(values) / ranks).cummin(0).values.clamp_max(1) if len(values) else values
    q = torch.full(p.shape, nan, dtype=torch.float64)
    q[known] = torch.empty_like(stepped).scatter_(0, order, stepped)
    return q
