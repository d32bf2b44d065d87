"""Halos of networks that see all of a tile: what statistics leave, what padding does beside, and tiles under frozen statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from test_wholemap import BLOCKS
from torch import Tensor, nn
from typer.testing import CliRunner

import nets
import padprint
from helpers import noise
from padprint.cli import app
from padprint.overlap import Halo, frozen_statistics, load


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


# ---------------------------------------------------------------------------------------------- frozen statistics

PLACED = ("pyramid", "corners", "coordinate")
"""Blocks for which it matters where in its scene a tile lies."""
ATTENTION = ("torch's heads", "fused", "heads", "masked", "product", "bmm", "einsum")


def with_block(block: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), BLOCKS[block](), nn.Conv2d(8, 4, 3, padding=1)).eval()


@torch.no_grad()
def apart(block: str, tile: int | None) -> float:
    """How far a batch of tiles is from one pass, beyond two cells of their borders, in units of the output."""
    net, (image,) = with_block(block), uneven(1, 32)
    corners = [(0, 4), (0, 12), (8, 4), (8, 12)]
    whole = net(image[None])
    with frozen_statistics(net, image, tile):
        found = net(torch.stack([image[:, y : y + 16, x : x + 16] for y, x in corners]))
    wanted = torch.cat([whole[..., y : y + 16, x : x + 16] for y, x in corners])
    return float((found - wanted)[..., 2:-2, 2:-2].abs().max() / wanted.std())


@pytest.mark.parametrize("block", [block for block in BLOCKS if block not in (*PLACED, "masked")])
def test_tiles_under_their_scenes_statistics_are_exact_inside(block: str) -> None:
    assert apart(block, None) < 1e-4


@pytest.mark.parametrize("block", PLACED)
def test_operators_that_must_know_a_tiles_place_are_refused(block: str) -> None:
    with pytest.raises(padprint.ModelError, match="depends on where in its scene a tile lies"):
        apart(block, None)


@pytest.mark.parametrize("block", ["gate", "kernel", "instance", "group", "layer"])
def test_statistics_of_tiles_together_are_those_of_the_scene(block: str) -> None:
    torch.manual_seed(0)
    net, image = nn.Sequential(nn.Conv2d(3, 8, 1), BLOCKS[block]()).eval(), uneven(1, 64)[0]
    with torch.no_grad(), frozen_statistics(net, image, 32):
        tile = net(image[None, :, 8:40, 16:48])
    whole = net(image[None])[..., 8:40, 16:48].detach()
    assert torch.allclose(tile, whole, atol=1e-5)
    with torch.no_grad():
        assert not torch.allclose(net(image[None, :, 8:40, 16:48]), whole, atol=1e-3)


@pytest.mark.parametrize("block", ATTENTION)
def test_attention_has_no_average(block: str) -> None:
    with pytest.raises(padprint.ModelError, match="has no statistic that could be averaged over tiles"):
        apart(block, 16)


def test_the_network_is_left_as_found_and_others_run_as_they_are() -> None:
    net, image = padded().train(), uneven(1, 64)[0]
    other = padded()
    before = other(image[None])
    with frozen_statistics(net, image):
        assert net.training
        assert torch.equal(other(image[None]), before)
        assert torch.equal(torch.nn.functional.instance_norm(image[None]), F.instance_norm(image[None]))
        inside = nn.Sequential(net, nn.Identity())(image[None, :, :32, :32])
    assert not net._forward_pre_hooks
    with frozen_statistics(net, image):
        assert torch.allclose(net(image[None, :, :32, :32]), inside)
    assert not torch.allclose(net(image[None, :, :32, :32]), inside, atol=1e-3)


def test_nothing_to_freeze() -> None:
    with (
        pytest.raises(padprint.ModelError, match="no operator of the network sees the whole map"),
        frozen_statistics(nets.stack(), noise(1, 48)[0]),
    ):
        pass
    with (
        pytest.raises(padprint.ModelError, match=r"must be \(C, H, W\)"),
        frozen_statistics(padded(), torch.zeros(2, 3, 32, 32)),
    ):
        pass
    with (
        pytest.raises(padprint.ModelError, match="smaller than a tile"),
        frozen_statistics(padded(), noise(1, 48)[0], 64),
    ):
        pass
    with pytest.raises(padprint.HaloError, match="no output sees all of a tile"):
        padprint.halo(nets.stack(), noise(2, 64), tile=32, statistics="scene")
    with pytest.raises(padprint.HaloError, match="statistics must be one of tile, scene, tiles, but got 'image'"):
        padprint.halo(nets.stack(), noise(2, 64), tile=32, statistics="image")


def test_halos_under_statistics_of_the_scene(tmp_path: Path) -> None:
    found = padprint.halo(padded(), uneven(6, 96), tile=32, tiles_per_image=4, tolerance=0.01, statistics="scene")
    (out,) = found.first.outputs.values()
    assert out.floor is None
    assert float(out.errors[:, 2:].nan_to_num(0).max()) < 1e-5
    assert max(found.first.advised.pixels) <= 2
    assert found.verdict.startswith("Under statistics of the whole scene: 32-px tiles need")
    again = load(found.save(tmp_path / "halo"))
    assert again.statistics == "scene"
    assert again.verdict == found.verdict
    check = again.verify(padded(), uneven(3, 96, seed=9))
    assert check.passed
    own = padprint.halo(padded(), uneven(6, 96), tile=32, tiles_per_image=4, tolerance=0.01)
    assert not own.first.keeps


def test_halos_under_statistics_of_the_scenes_tiles() -> None:
    own, several = (
        padprint.halo(padded(), uneven(6, 96), tile=32, tiles_per_image=4, statistics=one) for one in ("tile", "tiles")
    )
    (one,), (two,) = own.first.floors.values(), several.first.floors.values()
    assert 0 < two.value < one.value
    assert several.verify(padded(), uneven(3, 96, seed=9)).outputs


def test_the_command_knows_statistics(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        pixels = (torch.rand(96, 96, 3, generator=torch.Generator().manual_seed(i)) * 255).byte().numpy()
        Image.fromarray(pixels).save(folder / f"{i}.png")
    arguments = ["halo", "nets:SqueezeExcite", str(folder), "--tile", "32", "--mean", "0.5", "--std", "0.2"]
    own = CliRunner().invoke(app, arguments)
    assert own.exit_code == (0 if "need 2 x" in own.output else 1), own.output
    assert "which no overlap mends" in own.output
    frozen = CliRunner().invoke(app, [*arguments, "--statistics", "scene"])
    assert frozen.exit_code == 0, frozen.output
    assert "Under statistics of the whole scene" in frozen.output
