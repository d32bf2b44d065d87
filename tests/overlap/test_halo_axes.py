"""Tiles of waveforms and volumes: what they must overlap by, and that they agree with one pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import nets_by_axes
import padprint
from padprint import HaloError, halo, overlap
from padprint.geometry.text import remarks
from padprint.overlap.blending import blended_error, linear
from padprint.overlap.distance import nearest_side
from padprint.overlap.tiling import Map, tiling
from padprint.support.axes import side_names

TILE = {1: 96, 3: 20}
SIZE = {1: 400, 3: 36}
CASES = [
    (axes, name)
    for axes in (1, 3)
    for name in ("padded", "strided", "transposed", "U-Net", "causal", "anisotropic")
    if (name, axes) not in (("causal", 3), ("anisotropic", 1))
]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("axes", "name"), CASES)
def test_advised_tiles_agree_with_one_pass_and_half_of_the_overlap_does_not(axes: int, name: str) -> None:
    net = nets_by_axes.local(axes)[name]
    advice = halo(net, nets_by_axes.scenes(axes, SIZE[axes], 3), tile=TILE[axes], tolerance=0.001)
    others = nets_by_axes.scenes(axes, SIZE[axes] + 1, 2)
    found = advice.verify(net, others)
    assert found.passed, str(found)
    assert found.n_tiles >= 2**axes
    assert found.to_frame()["worst_side"].isin(side_names(axes)).all()
    tiles = advice.first.advised
    half = {name: [n // 2 for n in cells] for name, cells in tiles.halos.items()}
    fewer = tiling(tiles.tile, tiles.period, tiles.maps, half)
    assert fewer is not None
    if fewer.step != tiles.step:
        assert not advice.verify(net, others, tiling=fewer).passed


def test_a_causal_network_needs_the_past_alone() -> None:
    net = nets_by_axes.Causal(10, 2).double().eval()
    found = overlap.structural(net, tile=4096, channels=2)
    assert found.need == {"output": (1023, 0)}
    assert found.tiling is not None
    assert found.tiling.step == (4096 - 1023,)
    assert "needs 1023 samples of the past and none of the future" in str(found)
    assert found.to_frame()[["length", "halo_start", "halo_end"]].values.tolist() == [[4096, 1023, 0]]
    assert "needs 1023 samples of the past and none of the future" in "\n".join(
        remarks(padprint.trace(net, "output", 4096, channels=2))
    )


@pytest.mark.parametrize("axes", [1, 3])
def test_a_halo_is_saved_and_told_by_axis(axes: int, tmp_path: Path) -> None:
    net = nets_by_axes.local(axes)["strided"]
    advice = halo(net, nets_by_axes.scenes(axes, SIZE[axes], 2), tile=TILE[axes], tolerance=0.001)
    again = overlap.load(advice.save(tmp_path / "halo"))
    assert again.to_dict() == advice.to_dict()
    assert str(again) == str(advice)
    sides = side_names(axes)
    document = advice.to_dict()["paddings"]["own"]["outputs"]["2"]
    assert list(document["structural"]) == list(sides)
    assert f"on {', '.join(sides)}: structural halo" in str(advice)
    overlaps = [f"overlap_{letter}" for letter in "zyx"[3 - axes :]]
    assert list(advice.to_frame())[2 : 2 + axes] == overlaps
    units = advice.units()
    assert units["monai"]["roi_size"] == [TILE[axes]] * axes
    assert list(units["bioimageio"]["outputs"]["2"]) == list("zyx"[3 - axes :])
    assert "sahi" not in units
    assert overlap.weight_map(advice.first.advised).shape == (TILE[axes],) * axes


def test_weights_of_a_volume_are_a_product_along_three_axes() -> None:
    tiles = tiling((8, 8, 8), (1, 1, 1), {"a": Map((8, 8, 8), (1, 1, 1))}, {"a": (1, 2, 0, 0, 2, 1)})
    assert tiles is not None
    weights = overlap.weight_map(tiles)
    assert bool(weights.isfinite().all())
    assert bool((weights > 0).all())
    powers = weights.double().log10()
    before, after, *_ = tiles.pixels
    assert float(powers[4, 4, 4]) == pytest.approx(30, abs=1e-3)
    assert float(powers[4, 0, 4]) == pytest.approx(30, abs=1e-3)  # no halo along that axis
    assert float(powers[0, 4, 4]) == float(powers[-1, 4, 4]) == pytest.approx(10, abs=1e-3)  # a border
    assert float(powers[-after, 4, 4]) == pytest.approx(24, abs=1e-3)  # the inner end of a halo
    assert before + after == 8 - tiles.step[0]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_cells_belong_to_the_nearest_side(axes: int) -> None:
    side, distance = nearest_side((5,) * axes, (1,) * axes, (3,) * (2 * axes))
    assert side.shape == (5,) * axes
    middle = (2,) * axes
    for axis in range(axes):
        for cell, expected in ((0, 2 * axis), (4, 2 * axis + 1)):
            place = (*middle[:axis], cell, *middle[axis + 1 :])
            assert (int(side[place]), int(distance[place])) == (expected, 0)
    assert int(distance[middle]) == 2


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_blended_errors_are_bounded_by_all_tiles_that_meet(axes: int) -> None:
    """An error of 1 in the border cell alone. Two cells of overlap: weights 0 and 1/2 of the tile that begins there.

    In the second cell half of the weight is that of a tile whose border cell it is. Along k axes the share of tiles that have it at
    none of their borders is 1/2^k.
    """
    errors = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert blended_error(errors, [(linear(8, 2), [6])] * axes) == pytest.approx(1 - 0.5**axes)


@pytest.mark.parametrize("axes", [1, 3])
def test_tiles_under_the_statistics_of_their_scene(axes: int) -> None:
    net = nets_by_axes.whole(axes)["instance norm"]
    scenes = nets_by_axes.scenes(axes, {1: 200, 3: 36}[axes], 3)
    advice = halo(net, scenes, tile={1: 48, 3: 16}[axes], tolerance=0.05, statistics="scene")
    assert not advice.first.floors
    assert advice.verify(net, nets_by_axes.scenes(axes, {1: 201, 3: 37}[axes], 2)).passed
    alone = halo(net, scenes, tile={1: 48, 3: 16}[axes], tolerance=0.05)
    assert alone.first.floors
    scene = scenes[0][None]
    with overlap.frozen_statistics(net, scene), torch.no_grad():
        part = net(scene[(..., *(slice(0, 24),) * axes)])
    with torch.no_grad():
        whole = net(scene)
    inner = (..., *(slice(2, 20),) * axes)
    assert torch.allclose(part[inner], whole[inner])


def test_a_network_for_images_is_refused_volumes() -> None:
    net = nn.Conv2d(2, 2, 3, padding=1).double()
    with pytest.raises(padprint.ModelError, match="images have 3 space axes, the network takes 2"):
        halo(net, nets_by_axes.scenes(3, 40, 2), tile=16)
    with pytest.raises(padprint.ModelError, match="tile must be one number"):
        overlap.structural(net, tile=(1, 2, 3, 4))
    with pytest.raises((HaloError, padprint.ImagesError), match="smaller than a tile"):
        halo(nets_by_axes.local(3)["padded"], nets_by_axes.scenes(3, 12, 2), tile=16)
