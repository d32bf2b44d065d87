"""How large a pattern is, with intervals that hold where images differ much: SNR, rms, relative size, and MAE without its floor.

The first three are the unbiased mean P^2 over something. The jackknife of it is too wide without a pattern, because it counts the
variance of products twice, and too narrow where a few images are loud, because those are rare in a sample: both are mended
here, see `widened`. How often the intervals hold is simulated in ``benchmarks/coverage.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import NamedTuple

import torch
from torch import Tensor

from padprint.results.statistics import Interval, jackknife, mean_noise, student_quantile, unbiased_energy

_LOW = 1.25  # see `widened`


class Sizes(NamedTuple):
    """Sizes of a pattern.

    Attributes:
        snr: mean P^2 over the mean noise.
        rms: root of the mean P^2.
        relative: `rms` over the rms of the features.
        floor: the `rms` that 97.5 % of measurements without a pattern stay below; NaN below four groups.
        loud: `skewness` of the groups' squared change, by which the variance over groups is multiplied.
    """

    snr: Interval
    rms: Interval
    relative: Interval
    floor: Tensor
    loud: Tensor


def sizes(gram: Tensor, energy: Tensor, power: Tensor, crops: Tensor) -> Sizes:
    """The sizes of a pattern, NaN from one group, which cannot tell it from its images' own part.

    Args:
        gram: `(G, G, ...)` products of group means, averaged over channels and cells.
        energy: `(G, ...)` sums of D^2 over the crops of a group, averaged likewise.
        power: `(G, ...)` sums of F(x; *)^2, averaged likewise.
        crops: `(G,)`.
    """
    groups, count = len(crops), crops.view(-1, *[1] * (energy.ndim - 1))
    pairs = pair_variance(gram)

    def ratio(bottom: Callable[[Tensor], Tensor], skew: Tensor) -> Interval:
        def over(keep: Tensor) -> Tensor:
            top = unbiased_energy(gram, keep) if groups > 1 else torch.full_like(gram[0, 0], nan)
            return top / bottom(keep)

        unit = bottom(torch.arange(groups))
        return widened(jackknife(over, groups), pairs / unit.square(), skew)

    each = energy / count
    within = each - gram.diagonal().movedim(-1, 0)
    several = (within > 1e-9 * each).all(0)  # crops in every group
    loud = torch.maximum(skewness(each), torch.where(several, skewness(within), 1.0))
    features = ratio(lambda keep: power[keep].sum(0) / crops[keep].sum(), skewness(power / count))
    return Sizes(
        snr=ratio(lambda keep: mean_noise(gram, energy, crops, keep), loud),
        rms=root(ratio(lambda keep: torch.ones_like(pairs), loud)),  # noqa: ARG005
        relative=root(features),
        floor=(student_quantile(groups - 1) * pairs.sqrt()).sqrt() if groups > 3 else torch.full_like(pairs, nan),
        loud=loud,
    )


def corrected_mae(diff: Tensor, crops: Tensor, mae: Interval, floor: Interval, found: Sizes) -> Interval:
    """Mean |P| with the floor of its plain estimate taken out, and an interval that holds mean |P|.

    The value is sqrt(mae^2 - floor^2), which is exact where pattern and errors are normal over cells; within the interval. Its ends
    err outwards: each group's mean with the sign that the other groups give it has an expectation of at most mean |P|,
    and the plain estimate one of at least that, as `rms` has. So the interval is from the first less its error, 0 where no
    pattern is seen, to the plain one plus its error, or to the upper end of `rms` if that is less.

    Args:
        diff: `(G, C, *cells)` sums of D.
        crops: `(G,)`.
        mae: the plain estimate, of `jackknife`.
        floor: what it would be without a pattern, likewise.
        found: `sizes` of the same sums.
    """
    value = (mae.value.square() - floor.value.square()).clamp_min(0).sqrt()
    groups = len(crops)
    if groups < 3:
        none = torch.full_like(value, nan)
        return Interval(value, none, none, mae.replicates[:0])
    replicates = (mae.replicates.square() - floor.replicates.square()).clamp_min(0).sqrt()
    total = diff.sum(0)
    signed = torch.stack([((total - one).sign() * one).mean() / n for one, n in zip(diff, crops, strict=True)])
    quantile = student_quantile(groups - 1)
    below = quantile * (found.loud * signed.var() / groups).sqrt()
    above = (mae.high - mae.value) * found.loud.sqrt()
    low = torch.where(found.snr.low > 0, (signed.mean() - below).clamp_min(0), 0.0)
    high = torch.maximum(torch.minimum(mae.value + above, found.rms.high), low)
    return Interval(value.clamp(low, high), low, high, replicates)


def widened(found: Interval, paired: Tensor, skew: Tensor) -> Interval:
    """The interval of a statistic that is linear in `unbiased_energy`, honest where images are skewed.

    The jackknife counts the variance of products of two groups 2 (G - 1) / (G - 2) times (Efron and Stein 1981), which made
    intervals too wide without a pattern: here it counts once. The rest, the variance of sums over groups, is too small where
    a few images are loud, which are rare in a sample: it is multiplied by `skewness`.

    Whether there is a pattern is another question than how large it is: without one, all of the variance is that of products. A
    value beyond Student's quantile of that is a pattern, however much images differ, and its interval begins above 0, at
    value exp(-1.25 h / value), where h is the half width. From four groups on. The factor 1.25 is what makes the ends hold on the
    grid of ``benchmarks/coverage.py``.

    Args:
        found: of `jackknife`.
        paired: `(...)`, `pair_variance` in the unit of the statistic.
        skew: `(...)`, `skewness`, 1 or more.
    """
    groups = len(found.replicates)
    if groups < 3:
        return found
    spread = (found.replicates - found.replicates.mean(0)).square().sum(0) * ((groups - 1) / groups)
    linear = (spread - paired * (2 * (groups - 1) / (groups - 2))).clamp_min(0)
    quantile = student_quantile(groups - 1)
    half = quantile * (paired + skew * linear).sqrt()
    low, high = found.value - half, found.value + half
    if groups > 3:
        present = found.value > quantile * paired.sqrt()
        low = torch.where(present, found.value * torch.exp(-_LOW * half / found.value), low)
    return Interval(found.value, low, high, found.replicates)


def root(found: Interval) -> Interval:
    """The square root of an estimate that may be negative: that of 0 where it is; its interval keeps its width above 0."""
    value = found.value.clamp_min(0)
    high = torch.maximum(found.high, found.high - found.value)
    return Interval(value.sqrt(), found.low.clamp_min(0).sqrt(), high.sqrt(), found.replicates.clamp_min(0).sqrt())


def pair_variance(gram: Tensor) -> Tensor:
    """`(...)` variance that `unbiased_energy` owes to products of two groups, beyond what either group adds alone.

    From a Gram matrix `(G, G, ...)` less the means of its rows and columns, diagonal left out (U-centring, Szekely and Rizzo,
    Ann. Statist. 42, 2014). Zero with fewer than four groups, which cannot tell.
    """
    groups = len(gram)
    if groups < 4:
        return torch.zeros_like(gram[0, 0])
    off = gram.clone()
    off.diagonal().zero_()
    rows = off.sum(1) / (groups - 2)
    centred = off - rows.unsqueeze(0) - rows.unsqueeze(1) + off.sum((0, 1)) / ((groups - 1) * (groups - 2))
    centred.diagonal().zero_()
    return centred.square().sum((0, 1)) / (groups * (groups - 3)) * (2 / (groups * (groups - 1)))


def skewness(values: Tensor) -> Tensor:
    """`(...)` by how much the variance of positive group means `(G, ...)` exceeds the sample's if they are log-normal; 1 or more.

    The log-normal variance over the mean's square is exp(s^2) - 1, where s is the standard deviation of the logarithms; its
    exponent is raised by 4 / (G - 1) because a small sample rarely holds what decides it. 1 where a value is not positive.
    """
    groups = len(values)
    if groups < 3:
        return torch.ones_like(values[0])
    relative = (values / values.mean(0) - 1).square().sum(0) / (groups - 1)
    logs = values.clamp_min(torch.finfo(values.dtype).tiny).log().var(0)
    raised = (logs * (1 + 4 / (groups - 1))).clamp(1e-12, 700)
    excess = (logs / relative * torch.expm1(raised) / raised).nan_to_num(1.0)
    return torch.where((values > 0).all(0), excess.clamp_min(1), 1.0)
