"""What must not change a measurement, and what must change it in a known way.

Tolerances, relative to each quantity's size: 1e-9 where the same sums are taken in double precision in another order; 1e-5
where single precision features come from convolutions of other shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from helpers import assert_same, distance, gap, last, left_as_found, noise, only
from padprint import measure
from padprint.training import PatternMetric

TINY = 1e-9
SINGLE = 1e-5


def doubled(net: nn.Module) -> nn.Module:
    return net.double()


def scenes(n: int = 6, size: int | tuple[int, int] = 48, seed: int = 0) -> list[Tensor]:
    return [image.double() for image in noise(n, size, mean=0.3, seed=seed)]


def tight(model: nn.Module, n: int, crop: int = 16) -> list[Tensor]:
    """Scenes in which exactly one crop fits."""
    top, bottom, left, right = measure(model, scenes(1, 96), crop=crop, crops_per_image=1).margin
    return scenes(n, (crop + top + bottom, crop + left + right))


# ------------------------------------------------------------------------------------------- what changes nothing


@pytest.mark.parametrize("net", [nets.stack, nets.tf_same, lambda: nets.unet(1, "bilinear")])
def test_batch_size(net: Callable[[], nn.Module]) -> None:
    one, many = (only(net(), noise(4, 64), crops_per_image=16, batch_size=b) for b in (1, 32))
    assert_same(one, many, SINGLE)


def test_seed_and_repetition() -> None:
    first, again, other = (only(nets.stack(), noise(4, 64), seed=seed) for seed in (0, 0, 1))
    assert_same(first, again, 0.0)
    assert distance(first.pattern, other.pattern) > 1e-3


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradient_modes(mode: Callable[[], Any]) -> None:
    usual = only(nets.in_place(), noise(4, 48))
    with mode():
        assert_same(usual, only(nets.in_place(), noise(4, 48)), 0.0)


def test_a_model_whose_forward_turns_gradients_on() -> None:
    class Saliency(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets.stack()

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                return self.net(x)

    usual, turned = (only(net, noise(4, 48), layers="*4") for net in (nets.stack(), Saliency()))
    assert_same(usual, turned, 0.0)
    assert not turned.pattern.requires_grad


def test_channels_last_memory() -> None:
    usual = only(nets.stride_two(), noise(4, 48))
    assert_same(usual, only(nets.stride_two().to(memory_format=torch.channels_last), noise(4, 48)), SINGLE)


def test_double_precision_agrees_with_single() -> None:
    single = only(nets.stack(), noise(6, 48))
    double = only(nets.stack().double(), [image.double() for image in noise(6, 48)])
    assert_same(single, double, SINGLE)
    assert double.numeric_floor <= 1e-14


def test_images_of_another_precision_are_converted() -> None:
    double = only(nets.stack(), [image.double() for image in noise(4, 48)])
    assert_same(only(nets.stack(), noise(4, 48)), double, 0.0)


@pytest.mark.parametrize("inplace", [True, False])
def test_an_activation_in_place_does_not_reach_the_layer_before(inplace: bool) -> None:
    def net(inplace: bool) -> nn.Module:
        return nets.sequential(nets.conv(), nn.ReLU(inplace=inplace), nets.conv(4, 4))

    apart = measure(net(False), noise(4, 48), layers=["0", "1", "2"], crop=16)
    together = measure(net(inplace), noise(4, 48), layers=["0", "1", "2"], crop=16)
    for name, layer in apart.items():
        assert_same(layer, together[name], 0.0)
    assert distance(together["0"].pattern, together["1"].pattern) > 0.1


def test_training_mode_is_measured_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nets.conv(), nn.BatchNorm2d(4), nn.Dropout(0.9), nets.conv(4, 4)).eval()
    net[1].running_mean.fill_(0.3)
    usual = only(net, noise(4, 48))
    net.train()
    net[2].eval()
    with left_as_found(net):
        assert_same(usual, only(net, noise(4, 48)), 0.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_is_measured_as_its_original() -> None:
    net = nets.stack()
    usual = only(net, noise(4, 48))
    compiled = torch.compile(net, backend="eager")
    assert_same(usual, only(compiled, noise(4, 48)), 0.0)
    compiled(noise(1, 48)[0][None])  # and after it has run
    assert_same(usual, only(compiled, noise(4, 48)), 0.0)


def test_nested_outputs() -> None:
    net = nets.ready(nets.Nested())
    result = measure(net, noise(4, 48), layers="*", crop=16)
    assert {"first", "second", "output[low]", "output[high.1.0]"} <= set(result)
    plain = measure(net, noise(4, 48), layers=["second"], crop=16)["second"]
    assert_same(plain, result["second"], SINGLE)


def test_names_globs_and_neighbours_do_not_matter() -> None:
    # the margin comes from the deepest layer asked for: the same crops need the same margin
    every = measure(nets.stack(), noise(4, 48), layers="*", crop=16)
    alone = measure(nets.stack(), noise(4, 48), layers="4", crop=16)
    assert_same(every["4"], alone["4"], 0.0)


def test_a_generator_a_list_a_batch_and_a_loader() -> None:
    images = noise(5, 48)
    usual = only(nets.stack(), images)
    loader = torch.utils.data.DataLoader(images, batch_size=2)
    for given in (iter(images), torch.stack(images), loader):
        assert_same(usual, only(nets.stack(), given), 0.0)


@pytest.mark.parametrize("net", [nets.stack, nets.stride_two, lambda: nets.unet(1, "bilinear")])
def test_a_margin_larger_than_needed(net: Callable[[], nn.Module]) -> None:
    # scenes as large as the larger margin needs leave one crop position with it; the crops agree where both have that one
    model = doubled(net())
    needed = max(measure(model, scenes(1, 96), crop=16).margin)
    size = 16 + 2 * 2 * needed
    wide = measure(model, scenes(6, size), crop=16, margin=2 * needed)
    inner = [image[:, needed : size - needed, needed : size - needed] for image in scenes(6, size)]
    narrow = measure(model, inner, crop=16, margin=needed)
    assert wide.margin == (2 * needed,) * 4
    assert not wide.approximate
    assert_same(last(wide), last(narrow), TINY)


def test_the_scene_beyond_the_margin_does_not_matter() -> None:
    model = doubled(nets.stride_two())
    small = tight(model, 5)
    height, width = small[0].shape[1:]
    usual = measure(model, small, crop=16)
    assert usual.n_crops == 5
    # the same crop in the middle of other scenes: shifted by the total stride, with anything around
    around = [torch.nn.functional.pad(image, (4, 0, 4, 0), value=50.0) for image in small]
    moved = [image[:, 4:, 4:].clone() for image in around]
    assert moved[0].shape[1:] == (height, width)
    assert_same(last(usual), last(measure(model, moved, crop=16)), 0.0)
    assert last(usual).numeric_floor <= 1e-14


def test_spend_changes_the_canvases_and_not_the_truth() -> None:
    model = doubled(nets.stack())
    thrifty, lavish = (measure(model, scenes(20, 64), crop=16, spend=s, crops_per_image=8) for s in (1.0, 8.0))
    one, two = last(thrifty), last(lavish)
    assert one.snr.low < two.snr.value < one.snr.high or two.snr.low < one.snr.value < two.snr.high
    assert one.response.value == pytest.approx(two.response.value, rel=0.05)


# -------------------------------------------------------------------------------------- what changes it as it must


@pytest.mark.parametrize("axis", [1, 2])
def test_a_mirrored_network_on_mirrored_scenes_gives_the_mirrored_pattern(axis: int) -> None:
    def net(mirrored: bool) -> nn.Module:
        model = nets.sequential(nets.conv(3, 4, (3, 5)), nn.Tanh(), nets.conv(4, 5)).double()
        for part in model:
            if mirrored and isinstance(part, nn.Conv2d):
                part.weight.data = part.weight.data.flip(axis + 1)
        return model

    images = tight(net(False), 8)
    usual, mirrored = (
        last(measure(net(False), images, crop=16)),
        last(measure(net(True), [image.flip(axis) for image in images], crop=16)),
    )
    assert distance(usual.pattern, mirrored.pattern.flip(axis)) < TINY
    assert distance(usual.noise, mirrored.noise.flip(axis)) < TINY
    assert gap(usual.snr, mirrored.snr) < TINY
    before, after = ("top", "bottom") if axis == 1 else ("left", "right")
    assert distance(usual.profile[before].pattern.value, mirrored.profile[after].pattern.value) < TINY


def test_transposed_scenes_give_the_transposed_pattern() -> None:
    def net(transposed: bool) -> nn.Module:
        model = nets.lopsided().double()
        for part in model:
            if transposed and isinstance(part, nn.Conv2d):
                part.weight.data = part.weight.data.transpose(2, 3)
                part.kernel_size, part.stride = part.kernel_size[::-1], part.stride[::-1]
                part.padding = part.padding[::-1]
                part._reversed_padding_repeated_twice = [p for p in part.padding[::-1] for _ in (0, 1)]
        return model

    top, bottom, left, right = measure(net(False), scenes(1, 64), crop=(12, 16)).margin
    images = scenes(6, (12 + top + bottom, 16 + left + right))
    usual = last(measure(net(False), images, crop=(12, 16)))
    turned = last(measure(net(True), [image.transpose(1, 2) for image in images], crop=(16, 12)))
    assert distance(usual.pattern, turned.pattern.transpose(1, 2)) < TINY
    assert usual.rim == (*turned.rim[2:], *turned.rim[:2])


def test_permuted_channels() -> None:
    model, order = doubled(nets.stack()), torch.tensor([2, 0, 3, 1])
    usual = only(model, scenes())
    model[4].weight.data, model[4].bias.data = model[4].weight.data[order], model[4].bias.data[order]
    permuted = only(model, scenes())
    assert distance(usual.pattern[order], permuted.pattern) < TINY
    for name in ("snr", "mae", "relative", "positional", "response"):
        assert gap(getattr(usual, name), getattr(permuted, name)) < TINY


def test_scaled_features() -> None:
    model = doubled(nets.stack())
    usual = only(model, scenes())
    for parameter in model[4].parameters():
        parameter.data *= 8
    scaled = only(model, scenes())
    for name, power in (("snr", 0), ("relative", 0), ("positional", 0), ("mae", 1), ("mae_floor", 1), ("response", 1)):
        assert getattr(scaled, name).value == pytest.approx(8**power * getattr(usual, name).value, rel=TINY)
    assert distance(scaled.noise, 64 * usual.noise) < TINY


def test_an_image_listed_twice_counts_twice() -> None:
    # one crop fits each image; groups of all images but the group of each is its index modulo 3: a, b | a, b, a
    model = doubled(nets.stack())
    a, b = tight(model, 2)
    one, two = (last(measure(model, [image], crop=16)).pattern for image in (a, b))
    both = last(measure(model, [a, a, b], crop=16, groups=3))
    assert distance(both.pattern, (2 * one + two) / 3) < TINY
    # three crops, each a group: variance with n - 1
    assert distance(both.noise, torch.stack([one, one, two]).var(0)) < 1e-6


def test_order_of_the_images() -> None:
    # where each image has one crop and one group, the order cannot matter at all
    model = doubled(nets.stack())
    images = tight(model, 7)
    one, other = (last(measure(model, given, crop=16)) for given in (images, images[::-1]))
    assert_same(one, other, TINY)
    # in fewer groups the order decides who is in which: the pattern is the same, the intervals are not
    one, other = (last(measure(model, given, crop=16, groups=3)) for given in (images, images[1:] + images[:1]))
    assert distance(one.pattern, other.pattern) < TINY
    assert gap(one.snr, other.snr) > 1e-3


@pytest.mark.parametrize("value", [0.3, 1.0, -20.0])
@pytest.mark.parametrize("size", [24, 48, 200])
def test_constant_scenes_have_a_pattern_and_no_ratio(size: int, value: float) -> None:
    result = measure(nets.stack(), [torch.full((3, size, size), value)] * 4, crop=16)
    layer = last(result)
    assert layer.mae.value > 0.01
    assert layer.snr.value != layer.snr.value
    assert "do not vary" in layer.notes[0]


def test_features_far_from_zero_are_not_called_constant() -> None:
    # a bias of 300 on features of deviation 0.3: in single precision the squares hold no digit of the variance
    model = nets.stack()
    model[4].bias.data += 300
    layer = only(model, noise(6, 48))
    assert not any("do not vary" in note for note in layer.notes)
    assert layer.snr.value == pytest.approx(only(nets.stack(), noise(6, 48)).snr.value, rel=0.01)


# ------------------------------------------------------------------------------------------------------- memory


def test_memory_does_not_grow_with_the_images() -> None:
    def cells(n: int) -> int:
        metric = PatternMetric(nets.stack(), ["4"], 16)
        for image in noise(n, 40):
            metric.update([image])
        states = (getattr(metric, name) for name in metric.metric_state if "/" in name)
        return sum(state.numel() for state in states)

    assert cells(2) == cells(12) == 20 + 20 * 4 * 256 + 4 * 256 + 20 * 256 + 20 + 2 * 20 * 4 + 4 * 256 + 4
