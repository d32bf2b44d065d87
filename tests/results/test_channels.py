"""The test of each channel: known answers, an independent t test, and false calls and power in simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import nets
from helpers import noise as scenes
from helpers import only
from padprint import load, measure
from padprint.results.channels import LEVEL, ChannelTest, places, position_test, regions
from padprint.results.statistics import discovery_rates, student_tail

SIZE, RIM = (8, 10), (1, 1, 2, 1)


def found_in(means: Tensor, rim=RIM, noise: float = 1.0) -> ChannelTest:
    channels = means.shape[1]
    return position_test(
        means.double(),
        torch.full((channels,), noise, dtype=torch.float64),
        rim,
        torch.zeros(channels, dtype=torch.bool),
    )


def drawn(kind: str, groups: int, channels: int, seed: int) -> Tensor:
    """`(G, C, h, w)` group means without any pattern; neighbouring cells and channels correlate."""
    rng = np.random.default_rng(seed)
    shape = (groups, channels, *SIZE)
    if kind == "normal":
        x = rng.standard_normal(shape)
    elif kind == "heavy":  # one image in a group decides: Student's t with 2 degrees of freedom for the whole group
        x = rng.standard_normal(shape) / np.sqrt(rng.chisquare(2, (groups, 1, 1, 1)) / 2)
    elif kind == "skewed":  # 16 crops a group, exponential
        x = rng.standard_exponential((16, *shape)).mean(0) - 1
    elif kind.startswith("loud"):  # "loud": one image a group, "loud x 5": five
        images = int(kind.removeprefix("loud").removeprefix(" x ") or 1)
        x = 0.3 * rng.standard_normal(shape)
        for name, mask in regions(SIZE, RIM).items():
            if name != "corners":  # an image's effect on an edge is log-normal, independent from channel to channel
                effect = rng.lognormal(0, 1, (images, groups, channels)).mean(0) - np.exp(0.5)
                x += (effect * np.sqrt(images / ((np.e - 1) * np.e)))[..., None, None] * mask.numpy()
        return torch.from_numpy(x)
    else:  # the last groups hold a quarter of the images
        x = rng.standard_normal(shape) * np.where(np.arange(groups) < groups // 2, 1, 2)[:, None, None, None]
    for axis in (1, 2, 3):
        x = (x + np.roll(x, 1, axis) + np.roll(x, 2, axis)) / np.sqrt(3)
    return torch.from_numpy(x)


# ------------------------------------------------------------------------------------------------- known answers


def hall(x: np.ndarray) -> list[float]:
    """By channel, of `(G, C)` values: the largest of Student's p value and Hall's for its own and the channels' common skewness."""
    count = len(x)
    skews = [stats.skew(one, bias=False) for one in x.T]
    chance = 6 * count * (count - 1) / ((count - 2) * (count + 1) * (count + 3))
    pooled = np.sqrt(max(0, np.mean(np.square(skews)) - chance))
    found = []
    for one, skew in zip(x.T, skews, strict=True):
        t = one.mean() / one.std(ddof=1)
        tails = [stats.ttest_1samp(one, 0.0).pvalue]
        for g in (skew, pooled, -pooled):
            straight = t + g * t**2 / 3 + g**2 * t**3 / 27 + g / (6 * count)
            tails.append(2 * stats.t.sf(max(0, straight * np.sign(t)) * np.sqrt(count), count - 1))
        found.append(max(tails))
    return found


def test_p_is_a_bonferroni_of_scipys_t_tests_and_halls() -> None:
    means = drawn("normal", 6, 7, 0)
    placed = (means - means.mean((2, 3), keepdim=True)).numpy()
    top, bottom = placed[:, :, 0, 2:9].mean(-1), placed[:, :, 7, 2:9].mean(-1)
    left, right = placed[:, :, 1:7, :2].mean((-2, -1)), placed[:, :, 1:7, 9].mean(-1)
    corners = placed[:, :, [0, 0, 0, 7, 7, 7], [0, 1, 9, 0, 1, 9]].mean(-1)
    expected = [hall(x) for x in (top, bottom, left, right, corners)]
    np.testing.assert_allclose(found_in(means).p.numpy(), np.minimum(1, 5 * np.min(expected, 0)), rtol=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 30])
def test_tail_and_rates_equal_scipys(freedom: int) -> None:
    t = torch.linspace(-12, 12, 49, dtype=torch.float64)
    np.testing.assert_allclose(
        student_tail(t, freedom).numpy(), 2 * stats.t.sf(t.abs().numpy(), freedom), rtol=1e-6, atol=1e-14
    )
    p = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(freedom)) ** 2
    np.testing.assert_allclose(discovery_rates(p).numpy(), stats.false_discovery_control(p.numpy()), rtol=1e-12)
    assert discovery_rates(torch.tensor([0.02, torch.nan, 0.01])).isnan().tolist() == [False, True, False]
    assert len(discovery_rates(torch.zeros(0))) == 0


def placed_at(mask: Tensor, groups: int = 5) -> Tensor:
    """One channel, pattern 1 in `mask`, with a little noise."""
    generator = torch.Generator().manual_seed(0)
    return mask.double() + 0.05 * torch.randn(groups, 1, *mask.shape, generator=generator, dtype=torch.float64)


def box(rows: slice, columns: slice) -> Tensor:
    mask = torch.zeros(SIZE)
    mask[rows, columns] = 1.0
    return mask


EVERY = slice(None)
CASES = {
    "top": box(slice(0, 1), EVERY),
    "bottom": box(slice(7, 8), EVERY),
    "left": box(EVERY, slice(0, 2)),
    "right": box(EVERY, slice(9, 10)),
    "corners": sum(box(y, x) for y in (slice(0, 1), slice(7, 8)) for x in (slice(0, 2), slice(9, 10))),
    "uniform": 1 - box(slice(1, 7), slice(2, 9)),
}


@pytest.mark.parametrize("value", [1.0, 0.1, 1 / 3, -7e-5])
@pytest.mark.parametrize("side", places(2))
def test_a_detector_of_borders_alone_is_certain(side: str, value: float) -> None:
    """The same in every image, and zero elsewhere: no noise at all. A shift, just as certain, is no position."""
    means = torch.stack([CASES[side].double() * value, torch.full(SIZE, value, dtype=torch.float64)])
    found = found_in(means.expand(5, 2, *SIZE), noise=0.0)
    assert found.p.tolist() == [0.0, 1.0]
    assert found.q.tolist() == [0.0, 1.0]
    assert found.aware.tolist() == [True, False]
    assert found.side[0] == side
    assert found.snr.tolist() == [np.inf, 0.0]
    assert found.top(1) == [0]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_not_called(value: float) -> None:
    means = torch.cat([placed_at(CASES["top"]), placed_at(CASES["top"])], 1)
    means[2, 1, 0, 0] = value
    found = found_in(means)
    assert found.p.isnan().tolist() == found.q.isnan().tolist() == [False, True]
    assert found.aware.tolist() == [True, False]
    assert found.snr.isnan().tolist() == [False, True]


@pytest.mark.parametrize("side", places(2))
def test_a_pattern_at_one_place_is_found_there(side: str) -> None:
    found = found_in(placed_at(CASES[side]))
    assert found.aware.tolist() == [True]
    assert found.side == (side,)
    assert found.by_side() == {name: int(name == side) for name in places(2)}


def test_edges_that_add_up_in_the_corners_are_not_a_corner_pattern() -> None:
    both = box(slice(0, 1), EVERY) + box(slice(7, 8), EVERY) + box(EVERY, slice(0, 2)) + box(EVERY, slice(9, 10))
    assert found_in(placed_at(both)).side == ("uniform",)


def test_a_constant_shift_is_not_position() -> None:
    found = found_in(placed_at(torch.ones(SIZE)))
    assert not found.aware.any()
    assert abs(float(found.snr)) < 0.01


def test_effect_size_is_the_positional_energy_over_the_noise() -> None:
    mask = CASES["top"]
    found = found_in(mask.expand(4, 1, *SIZE), noise=0.5)
    assert float(found.snr) == pytest.approx(float((mask - mask.mean()).square().mean()) / 0.5)
    assert float(found.p) == 0.0  # no spread between groups


def test_few_groups_small_maps_and_idle_channels() -> None:
    assert found_in(placed_at(CASES["top"], groups=2)).p.isnan().all()
    assert found_in(placed_at(CASES["top"], groups=1)).count == 0
    assert list(regions((1, 1), (1, 1, 1, 1))) == []
    assert list(regions((2, 7), (1, 1, 0, 0))) == ["left", "right"]
    single = found_in(torch.randn(5, 3, 1, 1), rim=(0, 0, 0, 0))
    assert single.p.tolist() == [1.0] * 3
    assert single.side == ("uniform",) * 3
    idle = position_test(placed_at(CASES["top"]), torch.ones(1), RIM, torch.ones(1, dtype=torch.bool))
    assert (float(idle.p), float(idle.snr)) == (1.0, 0.0)
    assert found_in(torch.zeros(5, 2, *SIZE)).p.tolist() == [1.0, 1.0]


def test_depth_of_an_edge_is_the_rim_at_most_a_quarter() -> None:
    parts = regions((16, 16), (9, 2, 0, 3))
    assert [int(parts[name].any(1).sum()) for name in ("top", "bottom")] == [4, 2]
    assert [int(parts[name].any(0).sum()) for name in ("left", "right")] == [1, 3]
    assert sum(mask.int() for mask in parts.values()).max() == 1  # no cell in two regions


# ---------------------------------------------------------------------------------------------------- simulation


@pytest.mark.parametrize("groups", [3, 10])
@pytest.mark.parametrize("kind", ["normal", "heavy", "skewed", "unequal"])
def test_false_calls_stay_below_the_level_without_any_pattern(kind: str, groups: int) -> None:
    runs = 100
    called = sum(found_in(drawn(kind, groups, 40, seed)).count > 0 for seed in range(runs))
    assert called / runs <= LEVEL + 2.33 * (LEVEL * (1 - LEVEL) / runs) ** 0.5


@pytest.mark.parametrize("groups", [10, 20])
def test_loud_images_make_no_false_calls(groups: int) -> None:
    """Plain t tests have one in four fifths of these."""
    runs = 100
    called = sum(found_in(drawn("loud", groups, 40, seed)).count > 0 for seed in range(runs))
    assert called / runs <= LEVEL + 2.33 * (LEVEL * (1 - LEVEL) / runs) ** 0.5


@pytest.mark.parametrize("kind", ["normal", "heavy", "skewed"])
def test_false_discovery_rate_and_power_where_a_tenth_of_the_channels_has_a_pattern(kind: str) -> None:
    runs, channels, true = 60, 40, 4
    rates, power = [], []
    for seed in range(runs):
        means = drawn(kind, 10, channels, seed)
        means[:, :true] += 3 * CASES["top"]  # in units of a group mean's standard deviation
        aware = found_in(means).aware
        rates.append(float(aware[true:].sum()) / max(1, int(aware.sum())))
        power.append(float(aware[:true].double().mean()))
    assert np.mean(rates) <= LEVEL + 2.33 * np.std(rates) / runs**0.5
    assert np.mean(power) > (0.2 if kind == "heavy" else 0.9)


# ----------------------------------------------------------------------------------------------------- measured


def test_measured_channels_are_in_tables_and_files(tmp_path) -> None:
    result = measure(nets.box_filter(), scenes(12, 24, mean=5.0), crop=16, crops_per_image=2)
    layer = result["" if "" in result else next(iter(result))]
    assert layer.channels.count == 3  # zeros among fives: every channel knows its border
    assert set(layer.channels.side) == {"uniform"}
    assert "3 of 3" in str(result)
    frame = result.channel_frame()
    assert frame["aware"].all()
    assert result.to_frame()["aware_channels"].tolist() == [3]
    assert result.to_dict()["layers"][layer.name]["channel_test"]["side"] == ["uniform"] * 3
    assert load(result.save(tmp_path)) == result


def test_a_network_without_padding_has_no_aware_channel() -> None:
    assert only(nets.pointwise(), scenes(6, 24)).channels.count == 0


def test_means_over_ever_more_crops_are_those_of_the_features() -> None:
    images = scenes(30, 24, mean=1.0)
    net = nets.box_filter()
    result = measure(net, images, crop=16, crops_per_image=5, batch_size=3)
    emergence = next(iter(result.values())).emergence
    assert emergence.counts == (1, 10, 100, 150)
    assert emergence.features.shape == (4, 16, 16)
    assert float(emergence.features[3, 8, 8]) == pytest.approx(1.0, abs=0.1)
    assert float(emergence.features[3, 0, 0]) == pytest.approx(4 / 9, abs=0.1)
    spread = [float(one[4:12, 4:12].std()) for one in emergence.features]
    assert spread[0] > spread[1] > spread[2]
    few = next(iter(measure(net, images[:2], crop=16, crops_per_image=5).values())).emergence
    assert few.counts == (1, 10)
    same = next(iter(measure(net, images, crop=16, crops_per_image=5, batch_size=16).values())).emergence
    torch.testing.assert_close(same.features, emergence.features, rtol=1e-6, atol=1e-6)


def test_the_first_crops_come_from_as_many_images_as_there_are() -> None:
    # image i is i everywhere, and a network of one 1 x 1 convolution keeps it: the mean tells which images it is over
    images = [torch.full((1, 16, 16), float(i)) for i in range(20)]
    net = torch.nn.Conv2d(1, 1, 1, bias=False)
    torch.nn.init.ones_(net.weight)

    def means(given) -> dict[int, float]:
        emergence = next(iter(measure(net, given, crop=8, crops_per_image=6, batch_size=4).values())).emergence
        return dict(zip(emergence.counts, emergence.features.mean((1, 2)).tolist(), strict=True))

    assert means(images) == pytest.approx({1: 0.0, 10: 4.5, 100: 9.5, 120: 9.5})  # 0; 0 to 9; five of each
    assert means(images[:4]) == pytest.approx({1: 0.0, 10: 1.3, 24: 1.5})  # three of 0 and 1, two of 2 and 3
    # of a stream it is not known how many images will come: six crops of image 0, four of image 1
    assert means(iter(images)) == pytest.approx({1: 0.0, 10: 0.4, 100: (6 * sum(range(16)) + 4 * 16) / 100, 120: 9.5})
