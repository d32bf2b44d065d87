"""Older metrics on waveforms and volumes; those that are made for images refuse them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets_by_axes
from padprint import ImagesError
from padprint.baselines import posenet
from padprint.baselines.constant import constant_image
from padprint.baselines.fconv.quadrants import quadrants
from padprint.baselines.labels import label_consistency
from padprint.baselines.probe import probe, targets
from padprint.baselines.ring import ring_errors, ring_nmse
from padprint.baselines.shifts import change_squares, shift_consistency
from padprint.baselines.tiles import seam_squares, tile_mismatch

CROP = {1: 32, 3: 10}
SIZE = {1: 120, 3: 24}
PLACES = {1: ("cell",), 3: ("plane", "row", "column")}
pytestmark = pytest.mark.usefixtures("one_thread")


def net_and_scenes(axes: int, name: str = "padded") -> tuple[nn.Module, list[Tensor]]:
    """Scenes of a mean that zeros are far from."""
    return nets_by_axes.local(axes)[name], [x + 5 for x in nets_by_axes.scenes(axes, SIZE[axes], 6)]


@pytest.mark.parametrize("axes", [1, 3])
def test_a_probe_reads_the_place_along_every_axis(axes: int) -> None:
    net, scenes = net_and_scenes(axes)
    found = probe(net, scenes, crop=CROP[axes], layers="3", crops_per_image=3)
    layer = found["3"]
    assert tuple(layer.targets) == (*PLACES[axes], "border")
    assert layer.border.added.low > 0
    assert set(found.to_dict()["layers"]["3"]) == {*PLACES[axes], "border"}
    assert found.to_frame()["target"].tolist() == [*PLACES[axes], "border"]
    with pytest.raises(AttributeError, match=r"no 'depth' was read out, only"):
        _ = layer.depth


def test_targets_of_a_volume_by_hand() -> None:
    plane, row, column, border = targets((2, 1, 4)).T
    assert plane.tolist() == [0.25] * 4 + [0.75] * 4
    assert row.unique().tolist() == [0.5]
    assert column.tolist() == [0.125, 0.375, 0.625, 0.875] * 2
    assert border.tolist() == [0.25, 0.5, 0.5, 0.25] * 2
    assert targets((2,)).tolist() == [[0.25, 0.5], [0.75, 0.5]]


@pytest.mark.parametrize("axes", [1, 3])
def test_what_padding_supplies_is_compared_with_what_is_there(axes: int) -> None:
    net, scenes = net_and_scenes(axes)
    found = ring_nmse(net, scenes, ["own", "reflect", "replicate"], size=8)
    first = next(iter(found.values()))
    assert first.axes == axes
    assert first.cells()[0][1] == " x ".join(["8"] * axes)
    assert first.nmse["replicate"].value < first.nmse["own"].value


@pytest.mark.parametrize("axes", [1, 3])
def test_errors_of_a_ring_by_hand(axes: int) -> None:
    """Numbers 0 and 1 in the ring in turn, and 0 supplied: half of the squares, over a variance of a quarter."""
    truth = torch.zeros(1, 1, *(4,) * axes)
    truth.view(-1)[::2] = 1.0
    error, variance = ring_errors(truth, torch.zeros_like(truth))
    assert float(error) == pytest.approx(0.5)
    assert float(variance) == pytest.approx(0.25)
    inner = torch.zeros_like(truth)
    inner[(..., *(slice(1, -1),) * axes)] = 9.0  # what lies inside does not count
    assert ring_errors(truth, inner) == ring_errors(truth, torch.zeros_like(truth))


@pytest.mark.parametrize("axes", [1, 3])
def test_shifts_and_seams(axes: int) -> None:
    net, scenes = net_and_scenes(axes)
    moved = shift_consistency(net, scenes, shift=4, crop=CROP[axes], layers="3", crops_per_image=3)["3"].change
    assert moved.optimal.value < 1e-6
    assert moved.padded.value > 0.01
    seams = tile_mismatch(net, scenes, crop=CROP[axes], layers="3", crops_per_image=3, width=3)["3"]
    assert seams.seam.value > 0.01
    assert seams.elsewhere.value < 1e-6


@pytest.mark.parametrize("axes", [1, 3])
def test_shifted_maps_and_seams_by_hand(axes: int) -> None:
    world = torch.arange(9.0**axes).view(1, *(9,) * axes)
    one, two = (world[(..., *(slice(at, at + 6),) * axes)] for at in (0, 2))
    assert float(change_squares(one, two, (2,) * axes)[0]) == 0
    assert float(change_squares(two, one, (-2,) * axes)[0]) == 0
    assert float(change_squares(one, two, (1,) * axes)[0]) > 0
    whole = torch.ones(1, 1, *(4,) * axes)
    tiles = whole.clone()
    tiles[(..., *(slice(1, 3),) * axes)] = 3.0
    rim = 4**axes - 2**axes
    assert seam_squares(tiles, whole).tolist() == [0, rim, 4 * 2**axes, 2**axes]


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize(
    "run",
    [
        lambda net, scenes: posenet(net, scenes, crop=10, layers="3"),
        lambda net, scenes: label_consistency(net, scenes, window=8),
        lambda net, scenes: constant_image(net, scenes, crop=8),
        quadrants,
    ],
    ids=["PosENet", "label consistency", "constant image", "F-Conv"],
)
def test_what_is_made_for_images_refuses_others(axes: int, run: Callable[[nn.Module, list[Tensor]], object]) -> None:
    with pytest.raises(ImagesError, match=f"takes images of 2 space axes, and these have {axes}"):
        run(*net_and_scenes(axes))
