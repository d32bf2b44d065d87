"""Halos of networks that see all of a tile: what statistics leave, what padding does beside, and tiles under frozen statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
import padprint
from helpers import noise
from padprint.overlap import Halo, load
from test_wholemap import BLOCKS


def pointwise() -> nn.Sequential:
    """Sees a tile through its statistics alone."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4)).eval()


def uneven(count: int, size: int, seed: int = 0) -> list[Tensor]:
    """Scenes whose statistics differ from place to place."""
    generator = torch.Generator().manual_seed(seed)
    gains = torch.rand(count, 1, 5, 5, generator=generator) + 0.5
    return [
        image * gain + gain
        for image, gain in zip(noise(count, size, seed=seed), F.interpolate(gains, size), strict=True)
    ]


def windows(size: int, tile: int, step: int) -> list[tuple[int, int]]:
    return [(y, x) for y in range(0, size - tile + 1, step) for x in range(0, size - tile + 1, step)]


def test_what_statistics_leave_by_hand() -> None:
    net, scenes = pointwise(), uneven(3, 40)
    found = padprint.halo(net, scenes, tile=32, tiles_per_image=99)
    (floor,), (out,) = found.first.floors.values(), found.first.outputs.values()
    squares, energy, count, by_image = 0.0, 0.0, 0, []
    with torch.no_grad():
        for image in scenes:
            whole = net(image[None])[0].double()
            changes = []
            for y, x in windows(40, 32, 1):
                part = whole[:, y : y + 32, x : x + 32]
                changes.append(net(image[None, :, y : y + 32, x : x + 32])[0].double() - part)
                energy += float(part.square().sum())
                count += part.numel()
            squares += float(torch.stack(changes).square().sum())
            by_image.append(float(torch.stack(changes).square().mean().sqrt()))
    scale = (energy / count) ** 0.5
    assert floor.value == pytest.approx((squares / count) ** 0.5 / scale, rel=1e-4)
    assert all(one >= mean / scale * 0.99 for one, mean in zip(floor.by_image.tolist(), by_image, strict=True))
    assert floor.limit == pytest.approx(float(floor.by_image.max()))
    assert floor.share == pytest.approx(1, abs=1e-6)
    assert out.structural == (0, 0, 0, 0)
    assert float(out.errors.nan_to_num(0).max()) < 1e-5


def padded() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.InstanceNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1)
    ).eval()


@pytest.fixture(scope="module")
def measured() -> Halo:
    return padprint.halo(padded(), uneven(6, 96), tile=32, tolerance=0.01, tiles_per_image=8)


def test_padding_and_statistics_apart(measured: Halo) -> None:
    one = measured.first
    (floor,), (out,) = one.floors.values(), one.outputs.values()
    assert out.structural == (2, 2, 2, 2)
    assert float(out.errors[:, 2:].nan_to_num(0).max()) < 1e-5  # padding's part ends at the structural halo
    assert float(out.errors[:, 0].max()) > floor.value  # and is more at the border
    assert not one.keeps
    assert out.room == floor.value
    assert out.most == floor.value + floor.limit
    assert 0 < floor.share < 1


def test_larger_tiles_are_measured_where_they_fit() -> None:
    found = padprint.halo(pointwise(), uneven(3, 300), tile=64, tiles_per_image=2)
    (floor,) = found.first.floors.values()
    assert list(floor.sizes) == [(256, 256)]
    assert floor.sizes[256, 256] < floor.value
    assert "tiles of 64, 256 px" in found.verdict


def test_a_tolerance_above_what_statistics_leave_is_kept(measured: Halo) -> None:
    (floor,) = measured.first.floors.values()
    wide = measured.at(floor.limit + 0.1)
    (out,) = wide.first.outputs.values()
    assert wide.first.keeps
    assert out.room == pytest.approx(0.1)
    assert out.most == pytest.approx(wide.tolerance)
    check = wide.verify(padded(), uneven(4, 96, seed=9))
    assert check.passed
    (found,) = check.outputs.values()
    assert found.worst <= found.allowed
    assert found.inside is not None
    assert "statistics over each tile leave" in str(check)
    assert wide.verdict.startswith(f"32-px tiles need 2 x {max(wide.first.advised.pixels)} px")


def test_a_check_fails_where_statistics_leave_more(measured: Halo) -> None:
    steeper = [image * torch.linspace(0.01, 8, 96) for image in uneven(3, 96, seed=9)]
    check = measured.verify(padded(), steeper)
    assert not check.passed


def test_without_an_overlap_the_check_fails(measured: Halo) -> None:
    (floor,) = measured.first.floors.values()
    wide = measured.at(floor.limit + 0.02)
    none = padprint.overlap.Tiling(
        (32, 32), (32, 32), (1, 1), wide.first.maps, dict.fromkeys(wide.first.maps, (0,) * 4)
    )
    assert not wide.verify(padded(), uneven(4, 96, seed=9), tiling=none).passed


def test_saved_and_read_again(measured: Halo, tmp_path: Path) -> None:
    again = load(measured.save(tmp_path / "halo"))
    assert str(again) == str(measured)
    assert again.to_dict() == measured.to_dict()
    one = padprint.halo(padded(), uneven(1, 96), tile=32)
    assert load(one.save(tmp_path / "one")).to_dict() == one.to_dict()  # a limit that is not known


def test_several_paddings(measured: Halo) -> None:
    both = padprint.halo(padded(), uneven(4, 96), tile=32, padding=["own", "reflect"], tiles_per_image=2)
    floors = [next(iter(one.floors.values())) for one in both.values()]
    assert floors[0].value != floors[1].value
    assert "reflect: 3: statistics over each tile" in str(both)


@pytest.mark.parametrize("block", ["fused", "pyramid", "response", "coordinate"])
def test_other_operators(block: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), BLOCKS[block](), nn.Conv2d(8, 4, 3, padding=1)).eval()
    found = padprint.halo(net, uneven(3, 64), tile=32, tiles_per_image=2)
    (floor,), (out,) = found.first.floors.values(), found.first.outputs.values()
    assert floor.value > 1e-4
    assert float(out.errors[:, 2:].nan_to_num(0).max()) < 1e-4


def test_the_structure_alone_says_that_statistics_remain() -> None:
    found = padprint.overlap.structural(padded(), tile=32)
    assert found.sees_all_through == ("instance_norm in 1",)
    assert "which no overlap mends" in str(found)
    assert padprint.overlap.structural(nets.stack(), tile=32).sees_all_through == ()
