"""The trace of networks over one and over three axes of space, against changing what lies outside the crop and single pixels."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

import nets_by_axes
from bruteforce import features
from padprint import inspect, trace
from padprint.errors import LayerError, ModelError
from padprint.geometry.layer import Geometry
from padprint.support.axes import each_side, inside, pairs, window, with_sides

CASES = [(axes, name) for axes in (1, 3) for name in nets_by_axes.local(axes)]
CROP = {1: (40,), 3: (12, 14, 16)}
pytestmark = pytest.mark.usefixtures("one_thread")


def around(geometry: Geometry, extra: int = 1) -> tuple[int, ...]:
    """More scene on each side than any layer sees, whole periods."""
    reaches = [one.reach for one in geometry.values()]
    each = zip(geometry.margin, *reaches, strict=True)
    return tuple(-(-max(side) // p) * p + extra * p for side, p in zip(each, each_side(geometry.period), strict=True))


def scene_of(size: tuple[int, ...], seed: int = 0, count: int = 1) -> Tensor:
    return torch.randn(count, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def part(map_: Tensor, geometry: Geometry, name: str, margin: tuple[int, ...]) -> Tensor:
    """The crop's cells in the map of a scene."""
    spec = geometry.maps[name]
    first = [Fraction(m) / s for m, s in zip(margin[::2], spec.stride, strict=True)]
    assert all(one.denominator == 1 for one in first)
    return map_[window([int(one) for one in first], spec.size)]


@pytest.mark.parametrize(("axes", "name"), CASES)
def test_padding_reaches_the_rim_and_no_further(axes: int, name: str) -> None:
    net, crop = nets_by_axes.local(axes)[name], CROP[axes]
    geometry = trace(net, "*", crop, channels=2)
    assert not geometry.unmeasured
    assert geometry.crop == crop
    margin = around(geometry)
    scene = scene_of(with_sides(crop, margin), count=8)
    alone, maps = features(net, scene[window(margin[::2], crop)], geometry), features(net, scene, geometry)
    for layer, found in geometry.items():
        reference = part(maps[layer], geometry, layer, margin)
        assert tuple(alone[layer].shape[1:]) == (found.channels, *found.size)
        moved = (alone[layer] - reference).abs().amax((0, 1)) / reference.std()
        left = inside(found.size, found.rim)
        assert moved[left].numel(), f"{layer}: the crop is too small for this test"
        assert moved[left].max() < 1e-9, f"{layer}: the rim {found.rim} is too small"
        for axis, (before, after) in enumerate(pairs(found.rim)):
            for cell in [before - 1] * (before > 0) + [found.size[axis] - after] * (after > 0):
                here = moved[(*left[:axis], cell, *left[axis + 1 :])]
                assert here.max() > 1e-9, f"{layer}: the rim {found.rim} is too wide along axis {axis}"
        tight = scene[
            window([m - n for m, n in zip(margin[::2], found.margin[::2], strict=True)], with_sides(crop, found.margin))
        ]
        again = part(features(net, tight, geometry)[layer], geometry, layer, found.margin)
        assert (again - reference).abs().max() < 1e-9, f"{layer}: the margin {found.margin} is too small"


def influence(net: nn.Module, geometry: Geometry, margin: tuple[int, ...], axis: int) -> dict[str, Tensor]:
    """By layer `(pixels, cells)`: whether new values in a whole slice of a scene change a cell's, in any of some draws."""
    size, axes = with_sides(geometry.crop, margin), len(geometry.crop)
    found: dict[str, Tensor] = {}
    for draw in range(6):
        base, other = scene_of(size, draw), scene_of(size, draw + 10)
        before = features(net, base, geometry)
        moved = base.repeat(base.shape[2 + axis], *[1] * (axes + 1))
        for i in range(len(moved)):
            moved.select(2 + axis, i)[i] = other.select(2 + axis, i)[0]
        after = features(net, moved, geometry)
        across = [d for d in range(2, axes + 2) if d != 2 + axis]
        for layer, one in after.items():
            changed = (one - before[layer]).abs().amax((1, *across)) > 1e-12
            found[layer] = found.get(layer, torch.zeros_like(changed)) | changed
    return found


@pytest.mark.parametrize(("axes", "name"), CASES)
def test_a_cell_moves_with_the_pixels_of_its_field_and_with_no_other(axes: int, name: str) -> None:
    net = nets_by_axes.local(axes)[name]
    crop = {1: (40,), 3: (8, 8, 12)}[axes]
    geometry = trace(net, "*", crop, channels=2)
    margin = around(geometry)
    for axis in range(axes):
        reached = influence(net, geometry, margin, axis)
        for layer, found in geometry.items():
            changed = reached[layer]
            first, cells = int(Fraction(margin[2 * axis]) / geometry.maps[layer].stride[axis]), found.size[axis]
            for cell in (0, cells // 2, cells - 1):
                pixels = (changed[:, first + cell].nonzero()[:, 0] - margin[2 * axis]).tolist()
                place = [n // 2 for n in found.size]
                place[axis] = cell
                spans = found.field(place).spans[axis]
                assert pixels == [p for a, b in spans for p in range(a, b)], (layer, axis, cell)


def test_the_whole_past_of_a_causal_stack_and_none_of_its_future() -> None:
    net = nets_by_axes.Causal(10, 2).double().eval()
    found = trace(net, "output", 64, channels=2)["output"]
    assert found.reach == (1023, 0)
    assert found.receptive_field == (1024,)
    assert found.rim == (64, 0)
    assert str(found.field((0,))).startswith(
        "output, cell 0: sees pixels -1023 to 0 (1024 px); 100 % is padding: 1023 px start"
    )


def test_a_network_and_its_twin_over_one_more_axis_have_one_geometry() -> None:
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1)).eval()
    deep = nn.Sequential(
        nn.Conv3d(2, 3, (1, 3, 3), (1, 2, 2), (0, 1, 1)), nn.ReLU(), nn.Conv3d(3, 3, (1, 3, 3), padding=(0, 1, 1))
    )
    two, three = trace(flat, "*", (20, 24), channels=2), trace(deep.eval(), "*", (6, 20, 24), channels=2)
    for name, one in two.items():
        other = three[name]
        assert (other.size, other.stride, other.rim) == ((6, *one.size), (1, *one.stride), (0, 0, *one.rim))
        assert (other.reach, other.margin) == ((0, 0, *one.reach), (0, 0, *one.margin))
        assert other.receptive_field == (1, *one.receptive_field)


@pytest.mark.parametrize("axes", [1, 3])
def test_layers_that_see_the_whole_map_are_followed(axes: int) -> None:
    for name, net in nets_by_axes.whole(axes).items():
        geometry = trace(net, list(dict(net.named_children()))[-1], {1: 48, 3: 16}[axes], channels=2)
        assert not geometry.unmeasured, name
        last = list(geometry.values())[-1]
        assert last.sees_all_through, name
        assert len(last.rim) == 2 * axes
        assert max(last.rim) <= 2


def test_one_number_is_for_every_axis_of_the_network() -> None:
    assert trace(nn.Conv1d(3, 2, 3), crop=32).crop == (32,)
    assert trace(nn.Conv3d(3, 2, 3), crop=16).crop == (16, 16, 16)


@pytest.mark.parametrize(
    ("net", "crop", "channels", "message"),
    [
        (nn.Conv3d(3, 2, 3), (32, 32), 3, "images have 2 space axes, the network takes 3"),
        (nn.Conv2d(3, 2, 3), (32,), 3, "images have 1 space axis, the network takes 2"),
        (nn.Conv2d(3, 2, 3), (16, 16, 16), 3, "images have 3 space axes, the network takes 2"),
        (nn.Conv1d(3, 2, 3), (32, 32), 3, "images have 2 space axes, the network takes 1"),
        (nn.Conv2d(3, 2, 3), (8, 8, 8, 8), 3, "one for each of 3 space axes, but got (8, 8, 8, 8)"),
    ],
)
def test_a_network_that_takes_other_images_says_both_numbers(
    net: nn.Module, crop: tuple[int, ...], channels: int, message: str
) -> None:
    with pytest.raises(ModelError) as error:
        trace(net, crop=crop, channels=channels)
    assert message in str(error.value)


@pytest.mark.parametrize(("axes", "names"), [(1, "length"), (3, "depth height width")])
def test_tables_and_text_name_the_axes(axes: int, names: str) -> None:
    net = nets_by_axes.local(axes)["strided"]
    geometry = trace(net, "*", CROP[axes], channels=2)
    frame = geometry.to_frame()
    sides = {1: ["start", "end"], 3: ["front", "back", "top", "bottom", "left", "right"]}[axes]
    assert list(frame)[: 2 + axes] == ["layer", "channels", *names.split()]
    assert {f"rim_{side}" for side in sides} <= set(frame)
    assert frame["rim_" + sides[0]].tolist() == [one.rim[0] for one in geometry.values()]
    assert len(geometry.to_dict()["layers"]["0"]["rim"]) == 2 * axes
    field = geometry["0"].field((0,) * axes)
    assert sides[0] in str(field)
    assert geometry["0"].cells((0,) * axes) == ((0, 1)[:1],) * axes
    with pytest.raises(LayerError, match="a cell is"):
        geometry["0"].field((0,) * (axes + 1))


@pytest.mark.parametrize("axes", [1, 3])
def test_what_pads_is_listed(axes: int) -> None:
    found = inspect(nets_by_axes.local(axes)["strided"].float(), {1: 33, 3: 9}[axes], channels=2)
    assert [one.amounts for one in found.operators] == [((1, 1),) * axes] * 2
    assert len(found.even.below) == axes
