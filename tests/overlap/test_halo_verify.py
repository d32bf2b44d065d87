"""The advice kept on images it has not seen, by padprint's own tiles and by other tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import nets
from helpers import noise
from padprint import calibrate_batchnorm
from padprint.errors import HaloError, ImagesError
from padprint.images.synthetic import dead_leaves
from padprint.overlap import Halo, Tiling, halo, monai_arguments
from padprint.overlap import load as load_halo
from padprint.overlap.stitching import place_tiles
from padprint.overlap.tiling import tiling

TOLERANCES = (0.1, 0.01, 0.001)


def scenes(n: int, size: int, seed: int = 0) -> list[Tensor]:
    """Dead leaves, normalised to about zero mean and unit deviation."""
    return [(dead_leaves(size, seed + i) - 0.5) / 0.25 for i in range(n)]


def halved(tiles: Tiling) -> Tiling:
    """Tiles of half the overlap, on the total stride."""
    need = {name: [n // 2 for n in cells] for name, cells in tiles.halos.items()}
    found = tiling(tiles.tile, tiles.period, tiles.maps, need)
    assert found is not None
    assert found.step > tiles.step
    return found


def unet(depth: int = 3) -> nn.Module:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="its U-Net is tested")
    torch.manual_seed(0)
    widths = (64, 64, 32, 32, 16)[-depth:]
    net: nn.Module = smp.Unet("resnet18", encoder_depth=depth, encoder_weights=None, decoder_channels=widths, classes=3)
    return net


@pytest.mark.parametrize(
    "tolerance", [pytest.param(one, marks=[] if one == TOLERANCES[1] else pytest.mark.slow) for one in TOLERANCES]
)
def test_a_unet_keeps_the_tolerance_on_other_images(tolerance: float, measured_unet: tuple[nn.Module, Halo]) -> None:
    net, measured = measured_unet
    check = measured.at(tolerance).verify(net, scenes(2, 272, seed=100))
    assert check.passed, str(check)
    assert all(check.exact)


def test_half_the_overlap_does_not(measured_unet: tuple[nn.Module, Halo]) -> None:
    net, measured = measured_unet
    failed = []
    for tolerance in TOLERANCES[:2]:
        advice = measured.at(tolerance)
        check = advice.verify(net, scenes(2, 272, seed=100), tiling=halved(advice.first.advised))
        failed.append(not check.passed)
        assert ("FAIL" in str(check)) == failed[-1]
    assert any(failed)


@pytest.fixture(scope="module")
def measured_unet() -> tuple[nn.Module, Halo]:
    net = unet()
    calibrate_batchnorm(net, [x[:, :128, :128] for x in scenes(6, 128, seed=50)])
    return net.eval(), halo(net.eval(), scenes(8, 304), tile=160, tiles_per_image=2)


@pytest.mark.parametrize("name", ["upsampled", "larger", "nested", "asymmetric", "uneven"])
def test_stitched_tiles_beyond_the_structural_halo_are_one_pass(name: str) -> None:
    net, tile = {
        "upsampled": (nets.unet(2, "bilinear"), 48),
        "larger": (nets.twice_the_size(), (32, 40)),
        "nested": (nets.ready(nets.Nested()), 32),
        "asymmetric": (nets.even_same(), (24, 31)),
        "uneven": (nets.stride_two(), 33),
    }[name]
    measured = halo(net, noise(2, 128), tile=tile, tolerance=1e-5)
    check = measured.verify(net, noise(2, (101, 119), seed=1))
    assert check.passed
    assert max(one.largest for one in check.outputs.values()) < 1e-5


test_stitched_tiles_beyond_the_structural_halo_are_one_pass = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel:UserWarning"
)(test_stitched_tiles_beyond_the_structural_halo_are_one_pass)


@pytest.mark.parametrize("size", [(64, 64), (64, 90), (131, 200)])
def test_every_cell_of_the_whole_map_is_given_by_one_tile(size: tuple[int, int]) -> None:
    measured = halo(nets.unet(2, "nearest"), noise(1, 128), tile=64, tolerance=0.02)
    tiles = measured.first.advised
    size = tuple(64 + (n - 64) // 4 * 4 for n in size)
    count = torch.zeros(1, *size)
    places = place_tiles(tiles, size)
    for place in places:
        mine = torch.zeros(1, *size)
        place.paste("output", mine, torch.ones(1, 64, 64))
        count += mine
    assert bool((count == 1).all())


def test_the_error_is_found_where_it_is() -> None:
    """A vertical box on ones: with no overlap, the first row behind a seam misses half of its taps."""
    net = nn.Conv2d(1, 1, (31, 1), padding=(15, 0), bias=False)
    nn.init.constant_(net.weight, 1 / 31)
    net = nn.Sequential(net).eval()
    images = [torch.ones(1, 160, 80)] * 3
    measured = halo(net, images, tile=(64, 48), tolerance=0.1)
    none = tiling((64, 48), (1, 1), measured.first.maps, {"0": (0, 0, 0, 0)})
    check = measured.verify(net, [torch.ones(1, 128, 96)], tiling=none)
    (one,) = check.outputs.values()
    assert not check.passed
    assert one.worst == pytest.approx(15 / 31, rel=1e-5)
    assert one.worst_distance[1] == 0
    assert one.largest == pytest.approx(15 / 31, rel=1e-5)
    assert one.largest_at[:2] in ((0, 63), (0, 64))
    # sixteen rows on each side of the one seam miss 15, 14, ... 0 taps
    assert one.mean == pytest.approx(2 * sum(range(16)) / 31 / 128, rel=1e-4)


def test_a_share_finer_than_one_cell_is_said() -> None:
    """Labels change in some of the cells next to the seam, of which 3 images have 96 each."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, (9, 1), padding=(4, 0))).eval()
    images = noise(3, (128, 96), channels=1)
    measured = halo(net, images, tile=(64, 48), tolerance=1e-4, error="labels")
    assert measured.first.advised.pixels == (4, 4, 0, 0)
    none = tiling((64, 48), (1, 1), measured.first.maps, {"0": (0, 0, 0, 0)})
    check = measured.verify(net, noise(3, (128, 96), channels=1, seed=1), tiling=none)
    assert not check.passed
    assert "one changed cell at that distance makes 0.00347, more than the tolerance" in str(check)


def test_a_scheme_that_is_swapped_in_is_verified_too() -> None:
    net = nets.unet(2, "bilinear")
    measured = halo(net, noise(4, 128), tile=64, tolerance=0.01, padding=["own", "reflect"])
    check = measured.verify(net, noise(2, 128, seed=9), padding="reflect")
    assert check.passed
    assert check.padding == "reflect"
    with pytest.raises(HaloError, match="no padding 'circular', only own, reflect"):
        measured.verify(net, noise(2, 128), padding="circular")


def test_images_too_short_for_an_exact_seam_are_told() -> None:
    net = nets.stack()
    measured = halo(net, noise(2, 128), tile=64)
    assert measured.first.advised.step == (58, 58)
    short, long = (measured.verify(net, noise(1, size, seed=1)) for size in ((122, 121), (122, 122)))
    assert (short.exact, long.exact) == ((True, False), (True, True))
    assert "no image is 122 px large or more" in str(short)
    assert "note" not in str(long)


def test_refusals_of_verification() -> None:
    measured = halo(nets.stack(), noise(2, 128), tile=64)
    with pytest.raises(ImagesError, match="image 0 of 64x64 px holds no seam between tiles of 64 px"):
        measured.verify(nets.stack(), noise(1, 64, seed=1))
    with pytest.raises(HaloError, match="advice is of another network"):
        measured.verify(
            nets.sequential(nets.conv(), nn.Tanh(), nets.conv(4, 4), nn.Tanh(), nets.conv(4, 4, stride=2)),
            noise(1, 128, seed=1),
        )


def test_images_that_the_advice_was_measured_on_prove_nothing(tmp_path: Path) -> None:
    net, images = nets.stack(), noise(4, 128)
    measured = halo(net, images[:2], tile=64)
    with pytest.raises(ImagesError, match="measured on all 2 of these images"):
        measured.verify(net, [image.clone() for image in images[:2]])
    measured.save(tmp_path / "halo")
    check = load_halo(tmp_path / "halo").verify(net, images)
    assert (check.n_images, check.dropped) == (2, 2)
    assert "2 of the images were left out" in str(check)
    alone = measured.verify(net, images[2:])
    assert [one.worst for one in check.outputs.values()] == [one.worst for one in alone.outputs.values()]


# ------------------------------------------------------------------------------------------------ other tools


def by_monai(net: nn.Module, x: Tensor, arguments: dict) -> Tensor:
    monai = pytest.importorskip("monai.inferers", reason="its sliding window is tested")
    with torch.no_grad():
        found: Tensor = monai.sliding_window_inference(x[None], sw_batch_size=4, predictor=net, **arguments)
    return found[0]


def seam_error(net: nn.Module, stitched: Sequence[Tensor], images: Sequence[Tensor], scale: float) -> float:
    """The largest relative rms change of any row or column of cells, over all images."""
    rows, columns = [], []
    for one, image in zip(stitched, images, strict=True):
        with torch.no_grad():
            change = (one - net(image[None])[0]).double().square()
        rows.append(change.mean((0, 2)))
        columns.append(change.mean((0, 1)))
    worst = max(float(torch.stack(lines).mean(0).max()) for lines in (rows, columns))
    return worst**0.5 / scale


@pytest.mark.parametrize("size", [131, 136])
def test_monai_arguments_divide_the_image_evenly(size: int) -> None:
    tiles = halo(nets.unet(2, "nearest"), noise(2, 128), tile=64, tolerance=0.01).first.advised
    if size % 4:
        with pytest.raises(HaloError, match=f"an image of {size} px is no tile of 64 px plus a multiple of the total"):
            monai_arguments(tiles, (size, size))
        return
    told = monai_arguments(tiles, (size, 64))
    step = int(64 * (1 - told["overlap"][0]))
    assert (size - 64) % step == 0
    assert step % 4 == 0
    assert step <= tiles.step[0]
    assert told["roi_weight_map"].shape == (64, 64)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        pytest.param("unet", TOLERANCES[0], marks=pytest.mark.slow),
        ("unet", TOLERANCES[1]),
        pytest.param("unet", TOLERANCES[2], marks=pytest.mark.slow),
        *((name, tolerance) for name in ("stride 2", "larger") for tolerance in TOLERANCES),
    ],
)
def test_monai_with_our_numbers_gives_the_promised_error(
    name: str, tolerance: float, measured_unet: tuple[nn.Module, Halo]
) -> None:
    if name == "unet":
        net, measured = measured_unet
        held_out = scenes(2, 240, seed=200)
    else:
        net = nets.stride_two() if name == "stride 2" else nets.twice_the_size()
        measured = halo(net, noise(4, 128), tile=64)
        held_out = noise(2, 136, seed=1)
    advice = measured.at(tolerance)
    (out,) = advice.first.outputs.values()
    arguments = monai_arguments(advice.first.advised, tuple(held_out[0].shape[1:]))
    stitched = [by_monai(net, x, arguments) for x in held_out]
    assert seam_error(net, stitched, held_out, out.scale) <= tolerance


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
def test_monai_blending_as_it_is_does_not_keep_the_tolerance(mode: str, measured_unet: tuple[nn.Module, Halo]) -> None:
    """Without the weight map the tiles' rims are mixed in; MONAI's Gaussian is cut off, so that at the image's border too."""
    net, measured = measured_unet
    advice = measured.at(0.01)
    (out,) = advice.first.outputs.values()
    held_out = scenes(2, 240, seed=200)
    arguments = monai_arguments(advice.first.advised, (240, 240)) | {"mode": mode}
    del arguments["roi_weight_map"]
    stitched = [by_monai(net, x, arguments) for x in held_out]
    assert seam_error(net, stitched, held_out, out.scale) > 0.01


def test_diffusers_factor_keeps_its_bound() -> None:
    """Tiles blended as diffusers blends them: linear weights over the overlap, rows first, columns after."""
    net = nn.Sequential(nn.Conv2d(1, 1, 9, padding=4, bias=False))
    torch.manual_seed(0)
    net[0].weight.data.uniform_(0, 0.004)
    net[0].weight.data[..., 4, 4] += 1  # mostly the identity, so that the rim errs little
    measured = halo(net, noise(4, 128, channels=1, mean=1.0), tile=64, tolerance=0.02)
    told = measured.units()["diffusers"]
    assert "reason" not in told, told
    n, blend = 64, int(64 * told["tile_overlap_factor"])
    step = int(n * (1 - told["tile_overlap_factor"]))
    (image,) = noise(1, n + 2 * step, channels=1, mean=1.0, seed=5)
    with torch.no_grad():
        whole = net(image[None])[0]
        tiles = [
            [net(image[None, :, y : y + n, x : x + n])[0] for x in range(0, n + step, step)]
            for y in range(0, n + step, step)
        ]
    ramp = torch.arange(blend) / blend
    rows = []
    for i, row in enumerate(tiles):
        done = []
        for j, tile in enumerate(row):
            if i > 0:
                tile[:, :blend] = tiles[i - 1][j][:, -blend:] * (1 - ramp)[:, None] + tile[:, :blend] * ramp[:, None]
            if j > 0:
                tile[:, :, :blend] = row[j - 1][:, :, -blend:] * (1 - ramp) + tile[:, :, :blend] * ramp
            done.append(tile[:, : n - blend, : n - blend])
        rows.append(torch.cat(done, -1))
    stitched = torch.cat(rows, -2)
    (out,) = measured.first.outputs.values()
    inside = whole[:, : stitched.shape[1], : stitched.shape[2]]
    assert seam_error_of(stitched - inside, out.scale) <= told["error"]


def seam_error_of(change: Tensor, scale: float) -> float:
    squares = change.double().square()
    return float(max(squares.mean((0, 1)).max(), squares.mean((0, 2)).max())) ** 0.5 / scale


def test_slices_and_pads_add_up() -> None:
    measured = halo(nets.unet(2, "bilinear"), noise(3, 128), tile=64, tolerance=0.01)
    tiles, told = measured.first.advised, measured.units()
    sahi, pads = told["sahi"], told["real_esrgan"]
    assert int(sahi["overlap_height_ratio"] * sahi["slice_height"]) == tiles.overlap[0]
    assert int(64 * (1 - told["monai"]["overlap"][0])) == tiles.step[0]
    assert pads["tile"] + 2 * pads["tile_pad"] <= 64
    assert pads["tile"] % 4 == 0
    assert pads["tile_pad"] % 4 == 0
    assert pads["tile_pad"] >= measured.first.effective.high


def test_real_esrgan_pads_give_the_promised_error() -> None:
    """Cores cut on a grid, padded with the image around them where there is one."""
    net = nets.sequential(nets.conv(3, 4), nn.Tanh(), nets.conv(4, 4), nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1))
    measured = halo(net, noise(3, 128), tile=64, tolerance=1e-4)
    told = measured.units()["real_esrgan"]
    core, pad = told["tile"], told["tile_pad"]
    (image,) = noise(1, 2 * core + 20, seed=3)
    n = image.shape[-1]
    with torch.no_grad():
        whole = net(image[None])[0]
        stitched = torch.zeros_like(whole)
        for y in range(0, n, core):
            for x in range(0, n, core):
                top, left = max(0, y - pad), max(0, x - pad)
                bottom, right = min(n, y + core), min(n, x + core)
                tile = net(image[None, :, top : min(n, bottom + pad), left : min(n, right + pad)])[0]
                part = tile[:, 2 * (y - top) : 2 * (bottom - top), 2 * (x - left) : 2 * (right - left)]
                stitched[:, 2 * y : 2 * bottom, 2 * x : 2 * right] = part
    assert float((stitched - whole).abs().max()) < 1e-5


@pytest.mark.parametrize("make", [lambda: nets.unet(2, "bilinear"), nets.stride_two, nets.valid, nets.twice_the_size])
def test_the_bioimageio_halo_is_valid(make: Callable[[], nn.Module]) -> None:
    """Also of maps smaller than the input, larger, and without a halo, of which the specification has another class."""
    spec = pytest.importorskip("bioimageio.spec.model.v0_5", reason="its halos are tested")
    measured = halo(make(), noise(3, 128), tile=64, tolerance=0.01)
    told = measured.units()["bioimageio"]
    (axes,) = told["outputs"].values()
    (out,) = measured.first.outputs.values()
    for key, axis in (("y", 0), ("x", 1)):
        given = spec.SpaceInputAxis(id=key, size=told["inputs"][key])
        kind = spec.SpaceOutputAxisWithHalo if "halo" in axes[key] else spec.SpaceOutputAxis
        found = kind(**axes[key])
        dropped = axes[key].get("halo", 0)
        for k in (0, 1, 3):
            size = told["inputs"][key]["min"] + k * told["inputs"][key]["step"]
            cells = found.size.get_size(found, given, n=k)
            assert cells == out.map.size[axis] + (size - 64) / out.map.stride[axis]
            assert (cells - 2 * dropped) * found.scale % measured.first.period[axis] == 0
        assert dropped >= max(measured.first.need[out.name][2 * axis : 2 * axis + 2])


def test_a_halo_that_cannot_keep_to_the_total_stride_has_a_reason() -> None:
    """Of 65 px an odd number is left whatever is dropped on both sides alike, and the total stride is 2."""
    net = nets.ready(nets.sequential(nets.conv(3, 4, stride=2), nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)))
    told = halo(net, noise(3, 129), tile=65, tolerance=0.01).units()["bioimageio"]
    (axes,) = told["outputs"].values()
    assert "keeps to the total stride" in axes["reason"]


def test_circular_padding_differs_at_the_images_own_border_whatever_the_overlap() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2, padding_mode="circular")).eval()
    measured = halo(net, noise(4, 128), tile=32, tolerance=0.01)
    check = measured.verify(net, noise(2, 96, seed=1))
    assert not check.passed
    (one,) = check.outputs.values()
    assert one.beyond_reach > 0.1
    assert "at the image's own border" in str(check)
    zeros = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2)).eval()
    check = halo(zeros, noise(4, 128), tile=32, tolerance=0.01).verify(zeros, noise(2, 96, seed=1))
    assert check.passed
    assert "own border" not in str(check)
    assert check.outputs["0"].images_within == 2


# ------------------------------------------------------------------------------------------------ big networks


def check_all(net: nn.Module, advice_on: Sequence[Tensor], others: Sequence[Tensor], tile: int) -> None:
    measured = halo(net, advice_on, tile=tile, tiles_per_image=2)
    kept, failed = [], []
    for tolerance in TOLERANCES:
        advice = measured.at(tolerance)
        kept.append(advice.verify(net, others))
        failed.append(not advice.verify(net, others, tiling=halved(advice.first.advised)).passed)
    assert all(one.passed for one in kept), "\n".join(map(str, kept))
    assert all(all(one.exact) for one in kept)
    assert any(failed)


@pytest.mark.slow
def test_a_whole_unet_of_segmentation_models_pytorch() -> None:
    net = unet(5)
    calibrate_batchnorm(net, scenes(8, 256, seed=50))
    check_all(net.eval(), scenes(4, 1216), scenes(2, 1152, seed=100), 672)


def of_another_library(name: str) -> nn.Module:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="its networks are tested")
    monai = pytest.importorskip("monai.networks.nets", reason="its networks are tested")
    net: nn.Module = {
        "U-Net++": lambda: smp.UnetPlusPlus(
            "resnet18", encoder_depth=3, encoder_weights=None, decoder_channels=(32, 16, 8)
        ),
        "LinkNet": lambda: smp.Linknet("resnet18", encoder_depth=3, encoder_weights=None),
        "BasicUNet": lambda: monai.BasicUNet(2, 3, 2, features=(8, 8, 16, 16, 16, 8), norm="batch"),
        "SegResNet": lambda: monai.SegResNet(2, 8, 3, 2, norm="batch"),
        "DynUNet": lambda: monai.DynUNet(
            2, 3, 2, kernel_size=[3] * 3, strides=[1, 2, 2], upsample_kernel_size=[2, 2], norm_name="batch"
        ),
        "HighResNet": lambda: monai.HighResNet(2, 3, 2, norm_type="batch"),
    }[name]()
    return net


@pytest.mark.slow
@pytest.mark.parametrize("name", ["U-Net++", "LinkNet", "BasicUNet", "SegResNet", "DynUNet", "HighResNet"])
def test_networks_of_other_libraries(name: str) -> None:
    torch.manual_seed(0)
    net = of_another_library(name)
    calibrate_batchnorm(net, scenes(6, 128, seed=50))
    check_all(net.eval(), scenes(6, 512), scenes(3, 512, seed=100), 256)


def of_segmentation_models(name: str) -> nn.Module:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="its networks are tested")
    torch.manual_seed(0)
    net: nn.Module = getattr(smp, name)("resnet18", encoder_weights=None, classes=2)
    calibrate_batchnorm(net, scenes(6, 192, seed=50))
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("PAN", "interpolate in decoder.fpa samples at positions that move with the input's size"),
        ("MAnet", "matmul in decoder.center sees the whole input"),
    ],
)
def test_networks_of_segmentation_models_that_no_overlap_helps(name: str, reason: str) -> None:
    with pytest.raises(
        HaloError, match=f"no overlap of tiles can keep segmentation_head as it is in one pass: .*{reason}"
    ):
        halo(of_segmentation_models(name), scenes(1, 256), tile=160)


def change_in_the_middle(net: nn.Module, images: Sequence[Tensor], tile: int) -> float:
    """Rms change of the output in the middle quarter of tiles, by running them: where padding is far, statistics are left."""
    squares = []
    with torch.no_grad():
        for image in images:
            whole, steps = net(image[None])[0], (image.shape[-1] - tile) // 32
            half, far = steps // 2 * 32, steps * 32
            for y, x in ((0, 0), (half, far), (far, half)):
                change = net(image[None, :, y : y + tile, x : x + tile])[0] - whole[:, y : y + tile, x : x + tile]
                middle = slice(3 * tile // 8, 5 * tile // 8)
                squares.append(change[:, middle, middle].double().square().mean())
    return float(torch.stack(squares).mean().sqrt())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "operator"),
    [
        ("PSPNet", 320, "adaptive_avg_pool2d in decoder.psp.blocks.0.pool.0"),
        ("UPerNet", 768, "adaptive_avg_pool2d in decoder.psp"),
        ("FPN", 896, "group_norm in decoder"),
        ("DeepLabV3", 1280, "adaptive_avg_pool2d in decoder"),
    ],
)
def test_networks_of_segmentation_models_keep_a_floor_that_no_overlap_mends(
    name: str, size: int, operator: str
) -> None:
    net = of_segmentation_models(name)
    measured = halo(net, scenes(4, size), tile=160, tiles_per_image=4)
    (floor,), (out,) = measured.first.floors.values(), measured.first.outputs.values()
    assert any(one.startswith(operator) for one in floor.operators), floor.operators
    assert "which no overlap mends" in measured.verdict
    found = change_in_the_middle(net, scenes(4, size, seed=100), 160) / out.scale
    assert floor.value / 2 < found < 2 * floor.value


@pytest.mark.slow
def test_a_torchvision_fcn() -> None:
    torchvision = pytest.importorskip("torchvision", reason="its FCN is tested")
    torch.manual_seed(0)
    net = torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=5)
    calibrate_batchnorm(net, scenes(8, 128, seed=50))
    check_all(net.eval(), scenes(4, 968), scenes(2, 768, seed=100), 512)
