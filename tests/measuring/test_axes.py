"""Waveforms and volumes: `measure` and `compare` over one and over three axes of space, against answers by hand and twins."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import nets_by_axes
import padprint
from padprint import ImagesError, ModelError, compare, measure
from padprint.measuring.crops import iterate
from padprint.support.axes import side_names

pytestmark = pytest.mark.usefixtures("one_thread")


def box(axes: int, size: int = 3) -> nn.Module:
    """A mean over cubes of cells, padded with zeros."""
    net = nets_by_axes.CONV[axes](1, 1, size, padding=size // 2, bias=False).double()
    nn.init.constant_(net.weight, 1 / size**axes)
    return net.eval()


def constant(axes: int, mean: float, size: int = 24) -> list[Tensor]:
    return [torch.full((1, *(size,) * axes), mean, dtype=torch.float64) for _ in range(3)]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_box_filter_loses_what_lies_beyond_the_border(axes: int) -> None:
    """-m/3 at the ends of a line; on faces, edges and corners of a cube -(1 - (2/3)^k) m, where k sides meet."""
    mean = 1.5
    layer = measure(box(axes), constant(axes, mean), crop=8, crops_per_image=4)["output"]
    assert layer.rim == (1,) * (2 * axes)
    for cell in product((0, 3, 7), repeat=axes):
        beyond = sum(n in (0, 7) for n in cell)
        assert float(layer.pattern[(0, *cell)]) == pytest.approx(-(1 - (2 / 3) ** beyond) * mean, abs=1e-12)
    assert list(layer.profile) == ["all", *side_names(axes)]
    near = layer.profile["all"]
    assert near.cells.tolist() == [0, 1, 2, 3]
    assert near.count.tolist() == [n**axes - (n - 2) ** axes for n in (8, 6, 4, 2)]
    assert near.pixels.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert not near.response.value[1:].any()


@pytest.mark.parametrize("axes", [1, 3])
def test_no_padding_leaves_nothing(axes: int) -> None:
    net = nets_by_axes.local(axes)["one by one"]
    for layer in measure(net, nets_by_axes.scenes(axes, 20), crop=8, layers="*").values():
        assert layer.snr.value == layer.relative.value == layer.rms.value == 0
        assert layer.rim == (0,) * (2 * axes)
        assert not layer.pattern.any()


def test_only_the_past_of_a_causal_stack_is_padded() -> None:
    net = nets_by_axes.Causal(3).double().eval()
    layer = measure(net, nets_by_axes.scenes(1, 200), crop=32, layers="output")["output"]
    assert (layer.rim, layer.reach) == ((7, 0), (7, 0))
    assert bool((layer.pattern[:, :7].abs().amax(0) > 1e-3).all())
    assert float(layer.pattern[:, 7:].abs().max()) < 1e-12
    assert set(layer.channels.side) <= {"start", "uniform"}


@pytest.mark.parametrize("padding", ["zeros", "reflect", "replicate"])
def test_an_image_network_and_its_twin_for_volumes_agree(padding: str) -> None:
    """A stack of equal planes under kernels (1, k, k) has in every plane what the image network has."""
    torch.manual_seed(0)
    flat = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 3, 3, stride=2, padding=1), nn.Conv2d(3, 2, 3, padding=1)
    )
    deep = nn.Sequential(
        *(
            nn.Conv3d(m.in_channels, m.out_channels, (1, 3, 3), (1, *m.stride), (0, 1, 1))
            if isinstance(m, nn.Conv2d)
            else m
            for m in flat
        )
    )
    for one, two in zip(flat, deep, strict=True):
        if isinstance(one, nn.Conv2d):
            two.load_state_dict({"weight": one.weight[:, :, None], "bias": one.bias})
    images = nets_by_axes.scenes(2, (32, 36), 4)
    # as many planes as a crop has: along them there is one place alone, so that both draw the same crops
    volumes = [x[:, None].expand(-1, 3, -1, -1).contiguous() for x in images]
    options = {"crops_per_image": 3, "layers": ["0", "3"], "padding": padding}
    two = measure(flat.double().eval(), images, crop=(12, 16), **options)
    three = measure(deep.double().eval(), volumes, crop=(3, 12, 16), **options)
    for name, one in two.items():
        other = three[name]
        assert other.rim == (0, 0, *one.rim)
        assert torch.allclose(other.pattern, one.pattern[:, None].expand_as(other.pattern), atol=1e-12)
        assert torch.allclose(other.noise, one.noise[:, None].expand_as(other.noise), atol=1e-12)
        for estimate in ("snr", "rms", "mae", "response", "relative", "positional", "mae_corrected"):
            assert getattr(other, estimate).value == pytest.approx(getattr(one, estimate).value, rel=1e-9)
            assert getattr(other, estimate).high == pytest.approx(getattr(one, estimate).high, rel=1e-9)


@pytest.mark.parametrize("axes", [1, 3])
def test_an_axis_in_the_other_direction_turns_the_pattern_around(axes: int) -> None:
    net = nets_by_axes.local(axes)["dilated"]
    mirrored = nets_by_axes.local(axes)["dilated"]
    for module in mirrored.modules():
        if hasattr(module, "weight"):
            module.weight.data = module.weight.data.flip(2)
    size = 24 + 6  # no more than one crop and its margins along each axis: there is one place alone
    images = nets_by_axes.scenes(axes, size)
    one = measure(net, images, crop=24, layers="2", crops_per_image=1)["2"]
    two = measure(mirrored, [x.flip(1) for x in images], crop=24, layers="2", crops_per_image=1)["2"]
    assert torch.allclose(two.pattern.flip(1), one.pattern, atol=1e-12)
    before, after, *rest = one.rim
    assert two.rim == (after, before, *rest)
    sides = side_names(axes)
    assert torch.allclose(two.profile[sides[0]].pattern.value, one.profile[sides[1]].pattern.value)


@pytest.mark.parametrize("axes", [1, 3])
def test_paddings_are_compared_on_the_same_crops(axes: int) -> None:
    net = nets_by_axes.local(axes)["padded"]
    found = compare(
        net, nets_by_axes.scenes(axes, {1: 80, 3: 20}[axes]), ["own", "reflect"], crop={1: 32, 3: 10}[axes], layers="3"
    )
    assert list(found) == ["own", "reflect"]
    plain = measure(net, nets_by_axes.scenes(axes, {1: 80, 3: 20}[axes]), crop={1: 32, 3: 10}[axes], layers="3")
    assert torch.equal(found["own"]["3"].pattern, plain["3"].pattern)
    assert found["reflect"]["3"].relative.value < found["own"]["3"].relative.value
    assert len(found.to_frame()) == 2


@pytest.mark.parametrize("axes", [1, 3])
def test_layers_that_see_the_whole_map_have_parts(axes: int) -> None:
    for name, net in nets_by_axes.whole(axes).items():
        layer = list(dict(net.named_children()))[-1]
        found = measure(net, nets_by_axes.scenes(axes, {1: 100, 3: 24}[axes]), crop={1: 32, 3: 10}[axes], layers=layer)[
            layer
        ]
        assert found.sees_all_through, name
        inner = tuple(
            slice(before, n - after)
            for n, before, after in zip(found.pattern.shape[1:], found.rim[::2], found.rim[1::2], strict=True)
        )
        local = found.parts["local"].pattern_map[(slice(None), *inner)]
        assert float(local.abs().max()) < 1e-10
        assert float(found.parts["through"].pattern_map.abs().max()) > 1e-6


@pytest.mark.parametrize("axes", [1, 3])
def test_what_is_saved_is_loaded(axes: int, tmp_path: Path) -> None:
    net = nets_by_axes.local(axes)["strided"]
    found = measure(net, nets_by_axes.scenes(axes, {1: 80, 3: 32}[axes]), crop={1: 32, 3: 12}[axes], margin=(8,) * axes)
    again = padprint.load(found.save(tmp_path / "one"))
    assert again == found
    assert len(again.margin) == 2 * axes
    pair = compare(net, nets_by_axes.scenes(axes, {1: 80, 3: 32}[axes]), ["own", "reflect"], crop={1: 32, 3: 12}[axes])
    assert dict(padprint.load_comparison(pair.save(tmp_path / "two"))) == dict(pair)
    words = {1: "start end", 3: "front back t b l r"}[axes]
    assert f"rim cells {words}" in str(found)
    assert words in str(found["1"])


@pytest.mark.parametrize("axes", [1, 3])
def test_crops_are_handed_over(axes: int) -> None:
    net = nets_by_axes.local(axes)["padded"]
    scenes = nets_by_axes.scenes(axes, {1: 60, 3: 18}[axes], 2)
    crops = iterate(net, scenes, crop={1: 24, 3: 8}[axes], layers="3", crops_per_image=3)
    size = (24,) if axes == 1 else (8, 8, 8)
    batches = list(crops)
    assert crops.n_crops == 6
    for batch in batches:
        assert batch.pixels.shape[2:] == size
        alone = net(batch.pixels)
        assert torch.allclose(alone, batch.padded["3"])


def test_waveforms_of_every_container_are_the_same() -> None:
    net = nets_by_axes.local(1)["padded"]
    scenes = nets_by_axes.scenes(1, 80, 4)
    stacked = torch.stack(scenes)
    labelled = DataLoader(TensorDataset(stacked, torch.arange(4)), batch_size=2)
    plain = DataLoader(stacked, batch_size=2)
    found = [
        measure(net, images, crop=32, layers="3")["3"].pattern
        for images in (scenes, stacked, stacked.numpy(), labelled, plain, iter(scenes))
    ]
    assert all(torch.equal(one, found[0]) for one in found)


def test_a_waveform_as_a_batch_of_images_is_no_batch() -> None:
    net = nets_by_axes.local(2)["padded"]
    with pytest.raises(ModelError, match="images have 1 space axis, the network takes 2"):
        measure(net, torch.zeros(2, 40, 40, dtype=torch.float64), crop=16)


def test_scenes_that_are_too_small_say_what_they_need() -> None:
    net = nets_by_axes.local(3)["padded"]
    with pytest.raises(
        ImagesError, match=r"a 8x8x8 crop .* \(3, 3, 3, 3, 3, 3\) px \(front, back, top, .* needs 14x14x14 px"
    ):
        measure(net, nets_by_axes.scenes(3, (20, 20, 12)), crop=8)
    with pytest.raises(ImagesError, match=r"\(3, 3\) px \(start, end\) of scene .* needs 46 px"):
        measure(nets_by_axes.local(1)["padded"], nets_by_axes.scenes(1, 40), crop=40)


def test_a_margin_for_each_axis() -> None:
    net = nets_by_axes.local(3)["padded"]
    scenes = nets_by_axes.scenes(3, (12, 20, 20))
    found = measure(net, scenes, crop=8, layers="3", margin=(2, 3, 3))
    assert found.margin == (2, 2, 3, 3, 3, 3)
    assert found.approximate
    assert found["3"].residual is not None or "approximate" in str(found)
