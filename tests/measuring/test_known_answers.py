"""Answers worked out by hand: what padding does to one operator, and nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from helpers import noise, only, with_weights
from padprint import measure

MU = 2.0


def box(**options: object) -> nn.Module:
    """3x3 mean of one channel."""
    return nn.Sequential(with_weights(nn.Conv2d(1, 1, 3, bias=False, **{"padding": 1, **options}), 1 / 9))


def bright(n: int = 40, size: int = 64) -> list[Tensor]:
    """White noise of mean `MU` and deviation 0.3, one channel."""
    return [MU + 0.3 * (image - MU) for image in noise(n, size, channels=1, mean=MU)]


def parts(pattern: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Corners, edges without corners, inside of a (h, w) map."""
    corners = pattern[[0, 0, -1, -1], [0, -1, 0, -1]]
    edges = torch.cat([pattern[0, 1:-1], pattern[-1, 1:-1], pattern[1:-1, 0], pattern[1:-1, -1]])
    return corners, edges, pattern[1:-1, 1:-1]


def test_box_filter_with_zeros_loses_the_missing_taps() -> None:
    # an edge cell misses 3 of its 9 neighbours, a corner 5: D = -(sum of the missing)/9, mean -3 mu/9 and -5 mu/9
    layer = only(box(), bright(), crops_per_image=16)
    corners, edges, inside = parts(layer.pattern[0])
    error = (
        0.3 * 5**0.5 / 9 / 40**0.5
    )  # deviation of a corner's D over the root of the number of images: an upper bound
    assert (corners + 5 * MU / 9).abs().max() < 5 * error
    assert (edges + 3 * MU / 9).abs().max() < 5 * error
    assert inside.abs().max() < 1e-6
    # noise: the variance of 3 and 5 missing neighbours over 81
    assert parts(layer.noise[0])[1].mean() == pytest.approx(3 * 0.09 / 81, rel=0.1)
    assert parts(layer.noise[0])[0].mean() == pytest.approx(5 * 0.09 / 81, rel=0.2)
    assert layer.rim == (1, 1, 1, 1)
    # mean P^2: 56 edge cells and 4 corners of 256; the optimal features have mean mu and variance 0.09/9
    energy = (56 * (3 * MU / 9) ** 2 + 4 * (5 * MU / 9) ** 2) / 256
    assert layer.snr.value == pytest.approx(energy / float(layer.noise.mean()), rel=0.01)
    assert layer.relative.value == pytest.approx((energy / (MU**2 + 0.01)) ** 0.5, rel=0.01)
    assert layer.mae.value == pytest.approx((56 * 3 + 4 * 5) * MU / 9 / 256, rel=0.01)
    assert layer.response.value == pytest.approx(layer.mae.value, rel=0.01)  # all differences are negative
    assert layer.positional.value == pytest.approx(
        1 - ((56 * 3 + 4 * 5) / 256) ** 2 / ((56 * 9 + 4 * 25) / 256), rel=0.01
    )


def test_a_pointwise_network_has_no_pattern() -> None:
    layer = only(nets.pointwise(), noise(4, 48))
    assert layer.pattern.abs().max() < 1e-6
    assert layer.snr.value == 0
    assert layer.rim == (0, 0, 0, 0)
    assert layer.mae.value < 1e-7


def test_an_identity_is_exactly_zero() -> None:
    layer = only(nn.Sequential(with_weights(nn.Conv2d(1, 1, 1, bias=False), 1.0)), noise(4, 48, channels=1))
    assert torch.equal(layer.pattern, torch.zeros_like(layer.pattern))
    assert torch.equal(layer.noise, torch.zeros_like(layer.noise))
    assert (layer.snr.value, layer.mae.value, layer.response.value) == (0, 0, 0)


def test_circular_padding_on_periodic_scenes_is_zero() -> None:
    tiles = [image.repeat(1, 4, 4) for image in noise(4, 16)]
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.Tanh())
    layer = only(nets.ready(net), tiles)
    assert layer.response.value < 1e-6
    assert layer.snr.value == 0
    assert only(nets.ready(net), noise(4, 64)).response.value > 1e-3  # and is not where the scene is not periodic


def test_reflect_padding_keeps_the_mean() -> None:
    # the supplied neighbours have the mean of the true ones: P = 0 though D is not
    layer = only(box(padding_mode="reflect"), bright(), crops_per_image=16)
    assert layer.pattern.abs().max() < 0.05
    assert layer.response.value > 0.005
    assert layer.snr.low < 0.02


@pytest.mark.parametrize(("counted", "edge", "corner"), [(True, -3 * MU / 9, -5 * MU / 9), (False, 0.0, 0.0)])
def test_average_pooling(counted: bool, edge: float, corner: float) -> None:
    net = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=counted))
    corners, edges, inside = parts(only(net, bright(), crops_per_image=16).pattern[0])
    assert corners.mean() == pytest.approx(corner, abs=0.02)
    assert edges.mean() == pytest.approx(edge, abs=0.01)
    assert inside.abs().max() < 1e-6


def test_max_pooling_pads_with_nothing() -> None:
    # the maximum of 6 or 4 independent normals instead of 9: E max of n normals is 1.267 (6), 1.029 (4), 1.485 (9)
    corners, edges, inside = parts(only(nn.Sequential(nn.MaxPool2d(3, 1, 1)), bright(), crops_per_image=16).pattern[0])
    assert corners.mean() == pytest.approx(0.3 * (1.029 - 1.485), abs=0.02)
    assert edges.mean() == pytest.approx(0.3 * (1.267 - 1.485), abs=0.01)
    assert inside.abs().max() == 0


def test_stride_two_at_even_and_odd_sizes() -> None:
    # at 16 px the last window ends on pixel 15: only the top and left sides are touched; at 17 px both are
    even, odd = (only(box(stride=2), bright(), crop=size, crops_per_image=16) for size in (16, 17))
    assert (even.rim, odd.rim) == ((1, 0, 1, 0), (1, 1, 1, 1))
    assert even.pattern[0, -1, 1:].abs().max() < 1e-6
    assert odd.pattern[0, -1, 1:-1].mean() == pytest.approx(-3 * MU / 9, abs=0.05)
    assert even.pattern[0, 0, 0] == pytest.approx(-5 * MU / 9, abs=0.1)


def test_dilation_two_reaches_two_cells() -> None:
    layer = only(box(dilation=2, padding=2), bright(), crops_per_image=16)
    assert layer.rim == (2, 2, 2, 2)
    assert layer.pattern[0, :2, 2:-2].mean() == pytest.approx(-3 * MU / 9, abs=0.02)
    assert layer.pattern[0, 2:-2, 2:-2].abs().max() < 1e-6


def test_one_by_seven_touches_left_and_right_alone() -> None:
    net = nn.Sequential(with_weights(nn.Conv2d(1, 1, (1, 7), padding=(0, 3), bias=False), 1 / 7))
    layer = only(net, bright(), crops_per_image=16)
    assert layer.rim == (0, 0, 3, 3)
    for column, missing in enumerate((3, 2, 1, 0)):
        expected = pytest.approx(-missing * MU / 7, abs=0.03)
        assert layer.pattern[0, :, column].mean() == expected
        assert layer.pattern[0, :, -1 - column].mean() == expected


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_even_kernel_same_pads_the_end() -> None:
    net = nn.Sequential(with_weights(nn.Conv2d(1, 1, 4, padding="same", bias=False), 1 / 16))
    layer = only(net, bright(), crops_per_image=16)
    assert layer.rim == (1, 2, 1, 2)  # three cells in all, the odd one after
    assert layer.pattern[0, 0, 2:-3].mean() == pytest.approx(-4 * MU / 16, abs=0.03)
    assert layer.pattern[0, -1, 2:-3].mean() == pytest.approx(-8 * MU / 16, abs=0.03)


class Joined(nn.Module):
    """A box filter beside or on top of the input."""

    def __init__(self, join: str) -> None:
        super().__init__()
        self.box, self.join, self.end = box(), join, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.box(x)
        return self.end(x + y if self.join == "add" else torch.cat([x, y], 1))


def test_branches() -> None:
    added, beside = (only(Joined(join), bright(), layers="end", crops_per_image=16) for join in ("add", "cat"))
    assert parts(added.pattern[0])[1].mean() == pytest.approx(-3 * MU / 9, abs=0.01)
    assert beside.pattern[0].abs().max() == 0
    assert parts(beside.pattern[1])[1].mean() == pytest.approx(-3 * MU / 9, abs=0.01)


def test_transposed_convolution_misses_what_the_neighbours_would_add() -> None:
    # kernel 3, stride 2, padding 1: output 2i gets tap 1 of cell i, output 2i+1 tap 2 of i and tap 0 of i+1. Only the last
    # row and column (output_padding 1) miss a cell
    net = with_weights(nn.ConvTranspose2d(1, 1, 3, 2, 1, output_padding=1, bias=False), 1.0)
    layer = only(nn.Sequential(net), bright(), crop=8, crops_per_image=16)
    assert layer.rim == (0, 1, 0, 1)
    assert layer.stride == (0.5, 0.5)
    assert layer.pattern[0, -1, 0:-1:2].mean() == pytest.approx(-MU, abs=0.05)
    assert layer.pattern[0, -1, 1:-1:2].mean() == pytest.approx(-2 * MU, abs=0.05)
    assert layer.pattern[0, :-1, :-1].abs().max() < 1e-6


def test_bilinear_upsampling_clamps_a_quarter() -> None:
    # twice the size: the first output is 3/4 of cell 0 and 1/4 of the cell before it, which is clamped to cell 0: P = 0
    layer = only(nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear")), bright(), crop=8, crops_per_image=16)
    assert layer.rim == (1, 1, 1, 1)
    assert layer.pattern.abs().max() < 0.03
    assert layer.noise[0, 0, 1:-1].mean() > 1e-3
    assert layer.noise[0, 1:-1, 1:-1].abs().max() < 1e-9


@pytest.mark.parametrize("up", ["nearest", "bilinear", "transposed3", "transposed4"])
def test_a_u_net_is_touched_on_its_rim_alone(up: str) -> None:
    layer = only(nets.unet(1, up), [1 + image for image in noise(6, 96)], crop=32, crops_per_image=16, layers="output")
    top, bottom, left, right = layer.rim
    assert min(layer.rim) > 0
    assert layer.pattern[:, top : 32 - bottom, left : 32 - right].abs().max() < 1e-5
    assert layer.pattern[:, top - 1, :].abs().max() > 1e-5 or layer.noise[:, top - 1, :].abs().max() > 1e-10


class Padded(nn.Module):
    """A valid box filter behind `F.pad`, by (left, right, top, bottom)."""

    def __init__(self, *pads: int, stride: int = 1) -> None:
        super().__init__()
        self.pads, self.box = pads, box(padding=0, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.box(F.pad(x, self.pads))


def test_functional_padding_on_one_side() -> None:
    layer = only(Padded(2, 0, 0, 2), bright(), crops_per_image=16)
    assert layer.rim == (0, 2, 2, 0)
    assert layer.pattern[0, 0, 0] == pytest.approx(-6 * MU / 9, abs=0.1)  # two columns of three are missing
    assert layer.pattern[0, :-2, 2:].abs().max() < 1e-6


def test_tensorflow_same_pads_an_even_size_at_the_end() -> None:
    # 16 px, kernel 3, stride 2: 8 outputs need 17 px, so one column and one row are added after
    layer = only(Padded(0, 1, 0, 1, stride=2), bright(), crops_per_image=16)
    assert layer.rim == (0, 1, 0, 1)
    assert layer.pattern[0, -1, :-1].mean() == pytest.approx(-3 * MU / 9, abs=0.05)


def test_profile_of_the_box_filter() -> None:
    layer = only(box(), bright(), crops_per_image=16)
    every, top = layer.profile["all"], layer.profile["top"]
    assert every.cells.tolist() == list(range(8))
    assert every.count.tolist() == [60, 52, 44, 36, 28, 20, 12, 4]
    assert every.pixels.tolist() == [k + 0.5 for k in range(8)]
    assert top.count.tolist() == [16, 14, 12, 10, 8, 6, 4, 2]
    assert float(every.pattern.value[0]) == pytest.approx(
        (56 * (3 * MU / 9) ** 2 + 4 * (5 * MU / 9) ** 2) / 60, rel=0.01
    )
    assert float(every.response.value[1:].max()) < 1e-9


def test_more_groups_than_images_and_one_image() -> None:
    two, one = (measure(box(), bright(n), crop=16)["0"] for n in (2, 1))
    assert two.snr.value == pytest.approx(150, rel=0.2)
    assert two.snr.low != two.snr.low, "no interval from fewer than three groups"
    assert one.snr.value != one.snr.value, "a pattern cannot be told from what one image has of its own"
    assert one.snr_plain.value == pytest.approx(150, rel=0.2)


def test_what_makes_numbers_unreliable_is_said() -> None:
    images = bright(4)
    same = measure(box(), [images[0]] * 3 + images[1:], crop=16)
    assert any(w.startswith("2 of 6 images are the same as an earlier one") for w in same.warnings)
    few = measure(box(), images, crop=16, groups=2)
    assert any(w.startswith("groups=2: intervals need at least 3") for w in few.warnings)
    for result in (measure(box(), images, crop=16),):
        assert not any("the same as" in w or w.startswith("groups=") for w in result.warnings)
        assert not result["0"].notes
    loud = measure(box(), [images[0] * 100, *bright(12)], crop=16, groups=13)
    assert any(note.startswith("1 of 13 groups of images carries 100%") for note in loud["0"].notes)
