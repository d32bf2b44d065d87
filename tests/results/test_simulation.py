"""Estimators against a known truth, without a network: differences are drawn, fed to the moments and summarised.

A map of 3x8x8 cells has the pattern A at its border cells. Crop k of image i differs by P + s (r b_i + q e_ik): the image's
own part b_i is shared by its crops, so crops of one image are correlated by r^2 (r^2 + q^2 = 1), and neighbouring cells
share a common factor, as features do.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import nan, sqrt
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from helpers import ESTIMATES
from padprint.geometry.layer import LayerGeometry
from padprint.measuring import summary
from padprint.measuring.moments import LayerMoments
from padprint.measuring.summary import summarise
from padprint.results.measurement import LayerMeasurement
from padprint.results.statistics import cell_noise, group_gram, mean_noise

SHAPE = (3, 8, 8)
GEOMETRY = LayerGeometry("layer", None, 3, (8, 8), (1, 1), (0.0, 0.0), (3, 3), (1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1))


@pytest.fixture(scope="module", autouse=True)
def without_profiles() -> Iterator[None]:
    """Profiles by distance to the border would take half of the time, and are asked for nowhere here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "border_distances", lambda *_: {})
        yield


class Setting(NamedTuple):
    """`alike` is the correlation of two crops of one image."""

    images: int
    snr: float
    alike: float = 0.3
    heavy: bool = False
    crops: int = 4
    groups: int = 10


def true_pattern(snr: float) -> Tensor:
    """Border cells of alternating sign and a constant shift: its mean square is `snr`, at unit noise."""
    p = torch.zeros(SHAPE, dtype=torch.float64)
    p[:, 0], p[:, -1], p[:, 1:-1, 0], p[:, 1:-1, -1] = 1.0, -0.5, 0.8, -0.7
    p += 0.2
    return p * sqrt(snr / float(p.square().mean()))


def draw(generator: torch.Generator, *lead: int, heavy: bool) -> Tensor:
    """`(*lead, C, h, w)` of unit variance; neighbours are correlated; heavy tails: Student's t, 5 degrees of freedom."""
    white = torch.randn(*lead, SHAPE[0], SHAPE[1] + 1, SHAPE[2] + 1, generator=generator, dtype=torch.float64)
    smooth = (white[..., 1:, 1:] + white[..., :-1, 1:] + white[..., 1:, :-1] + white[..., :-1, :-1]) / 2
    if not heavy:
        return smooth
    scale = torch.randn(*lead, 5, generator=generator, dtype=torch.float64).square().mean(-1)
    return smooth / scale.view(*lead, 1, 1, 1).sqrt() * sqrt(3 / 5)


def one(setting: Setting, generator: torch.Generator, pattern: Tensor) -> LayerMeasurement:
    own = draw(generator, setting.images, 1, heavy=setting.heavy)
    each = draw(generator, setting.images, setting.crops, heavy=setting.heavy)
    diffs = pattern + sqrt(setting.alike) * own + sqrt(1 - setting.alike) * each
    features = 2 * torch.randn(setting.images, *SHAPE, generator=generator, dtype=torch.float64)
    moments = LayerMoments(SHAPE[0], SHAPE[1:], setting.groups)
    for group in range(min(setting.groups, setting.images)):  # a group's images at once: the sums are the same
        mine = diffs[group :: setting.groups].flatten(0, 1)
        moments.update(group, mine, list(torch.zeros_like(mine)))
        for feature in features[group :: setting.groups]:
            moments.update_features(group, feature, torch.full(SHAPE[1:], float(setting.crops)))
    return summarise(moments, GEOMETRY, SHAPE[1:], numeric_floor=0.0, residual=None, precision=2e-16)


class Outcome(NamedTuple):
    """Over all repetitions: mean of the estimate, its mean over the truth, and the share of intervals that hold the truth."""

    mean: float
    ratio: float
    coverage: float


def truths(setting: Setting, pattern: Tensor) -> dict[str, float]:
    """What the unbiased estimates aim at. The others aim at their own mean over many measurements of this size."""
    if setting.snr == 0:
        return {}
    energy, shift = float(pattern.square().mean()), float(pattern.mean((1, 2)).square().mean())
    return {"snr": setting.snr, "relative": sqrt(energy / 4), "positional": 1 - shift / energy}


@cache
def simulate(setting: Setting, repetitions: int, seed: int = 1) -> dict[str, Outcome]:
    generator = torch.Generator().manual_seed(seed)
    pattern = true_pattern(setting.snr)
    results = [one(setting, generator, pattern) for _ in range(repetitions)]
    true = truths(setting, pattern)
    found = {}
    noise = float(torch.stack([result.noise.mean() for result in results]).mean())
    found["noise"] = Outcome(noise, noise, nan)
    for name in ESTIMATES:
        numbers = [[e.value, e.low, e.high] for e in (getattr(result, name) for result in results)]
        value, low, high = torch.tensor(numbers, dtype=torch.float64).T
        mean = float(value.mean())
        truth = true.get(name, mean)
        found[name] = Outcome(mean, mean / truth, float(((low <= truth) & (truth <= high)).double().mean()))
    return found


QUICK = [Setting(20, 0.1)]
FEW = [Setting(5, 1.0), Setting(5, 1.0, alike=0.8)]
THOROUGH = [
    Setting(20, 0.01),
    Setting(20, 1.0),
    Setting(20, 10.0),
    Setting(100, 0.01),
    Setting(100, 0.1),
    Setting(100, 10.0),
    Setting(3, 1.0, alike=0.0),
    Setting(13, 10.0),  # groups of one and of two images
    Setting(13, 100.0),
    Setting(27, 1.0),
    Setting(27, 1.0, alike=0.8),
    Setting(20, 0.3, alike=0.0),
    Setting(20, 0.3, alike=0.8, crops=16),
    Setting(20, 0.3, heavy=True),
    Setting(100, 10.0, heavy=True),
]
CASES = [(s, 200) for s in QUICK] + [pytest.param(s, 1000, marks=pytest.mark.slow) for s in THOROUGH]


@pytest.mark.parametrize(("setting", "repetitions"), CASES, ids=str)
def test_snr_is_unbiased_and_its_interval_honest(setting: Setting, repetitions: int) -> None:
    found = simulate(setting, repetitions)
    assert found["snr"].ratio == pytest.approx(1, abs=0.05)
    assert 0.92 <= found["snr"].coverage <= 0.995


@pytest.mark.parametrize(("setting", "repetitions"), CASES, ids=str)
def test_the_other_estimates_hold_too(setting: Setting, repetitions: int) -> None:
    found = simulate(setting, repetitions)
    for name in ("relative", "positional"):
        assert found[name].ratio == pytest.approx(1, abs=0.05), name
    for name in ("relative", "positional", "mae", "response", "snr_plain"):
        assert 0.90 <= found[name].coverage <= 0.995, name


@pytest.mark.parametrize(
    "setting", [Setting(20, 0.0), Setting(13, 0.0, alike=0.8), Setting(20, 0.0, heavy=True)], ids=str
)
def test_without_a_pattern_mae_is_its_floor_and_snr_is_zero(setting: Setting) -> None:
    found = simulate(setting, 150)
    assert found["mae"].mean / found["mae_floor"].mean == pytest.approx(1, abs=0.1)
    n = setting.images * setting.crops
    # one over the number of crops, more where crops are alike
    floor = (1 + (setting.crops - 1) * setting.alike) / n
    assert found["snr_plain"].mean == pytest.approx(floor, rel=0.15)
    assert abs(found["snr"].mean) < 0.1 * floor


def test_independent_crops_leave_the_plain_ratio_at_one_over_their_number() -> None:
    assert simulate(Setting(20, 0.0, alike=0.0), 150)["snr_plain"].mean == pytest.approx(1 / 80, rel=0.1)


@pytest.mark.parametrize("setting", FEW, ids=str)
def test_few_images_whose_crops_are_alike_raise_neither_noise_nor_snr(setting: Setting) -> None:
    found = simulate(setting, 200)
    assert found["noise"].mean == pytest.approx(1, abs=0.03)
    assert found["snr"].ratio == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_noise_is_energy_less_products_of_crops_of_different_groups(shift: float) -> None:
    """Every pair of crops, one by one; what is added to all of them changes nothing."""
    groups, crops, cells = 3, 4, 5
    d = torch.randn(groups, crops, cells, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = [
        d[g, i] * d[h, k]
        for g in range(groups)
        for h in range(groups)
        if g != h
        for i in range(crops)
        for k in range(crops)
    ]
    expected = (d.square().flatten(0, 1).mean(0) - torch.stack(pairs).mean(0)).clamp_min(0)
    sums, sizes, every = (d + shift).sum(1), torch.full((groups,), float(crops)).double(), torch.arange(groups)
    energy = (d + shift).square().sum(1).mean((1, 2, 3))
    whole = mean_noise(group_gram(sums / crops).mean((-2, -1)), energy, sizes, every)
    torch.testing.assert_close(whole, expected.mean(), rtol=1e-6 if shift else 1e-12, atol=0)
    of_cells = cell_noise(sums, (d + shift).square().sum((0, 1)), sizes)
    torch.testing.assert_close(of_cells, expected, rtol=1e-6 if shift else 1e-12, atol=0)


def test_noise_of_one_group_takes_its_crops_for_independent() -> None:
    d = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64).view(3, 1, 1, 1)
    n, every = torch.tensor([3.0], dtype=torch.float64), torch.arange(1)
    gram = group_gram(d.mean(0, keepdim=True)).mean((-2, -1))
    assert float(mean_noise(gram, d.square().sum().view(1), n, every)) == pytest.approx(7)
    assert float(cell_noise(d.sum(0, keepdim=True), d.square().sum(0), n)) == pytest.approx(7)
    one = mean_noise(d[:1, 0] ** 2, d[0, 0] ** 2, n / 3, every)
    assert one.isnan().all()
