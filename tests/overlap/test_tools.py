"""The advice in the units of tools, for one to three axes, kept by the tools themselves where they are installed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import padprint
from padprint.overlap import monai_arguments, structural, weight_map
from padprint.overlap.blending import blended_error, linear
from padprint.overlap.tiling import Map, Tiling
from padprint.overlap.tools import lines_of, units, units_of
from padprint.overlap.tools.blended import gaussian

CONV, DECONV, BATCH_NORM = (
    {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d},
    {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d},
    {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
)


def net_of(axes: int, seed: int = 0) -> nn.Module:
    """Down and up again, as large as its input, with a total stride of 2."""
    torch.manual_seed(seed)
    conv, deconv = CONV[axes], DECONV[axes]
    layers = [conv(1, 4, 3, padding=1), nn.Tanh(), conv(4, 4, 3, stride=2, padding=1), BATCH_NORM[axes](4)]
    return nn.Sequential(*layers, nn.Tanh(), deconv(4, 4, 2, stride=2), conv(4, 1, 5, padding=2)).eval()


class Causal(nn.Module):
    """WaveNet's stack: it sees 1 + 2 + 4 + 8 = 15 samples of the past."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(1, 1, 2, dilation=2**i) for i in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convolutions):
            x = torch.tanh(conv(nn.functional.pad(x, (2**i, 0))))
        return x


def noise(size: Sequence[int], seed: int = 0, n: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, *size, generator=generator) for _ in range(n)]


def run(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = net(x[None])[0]
    return found


def stitched_of_halves(net: nn.Module, x: Tensor, tile: Sequence[int], overlap: Sequence[int]) -> Tensor:
    """Tiles every tile less overlap, the last one moved back to the image's end; half the overlap dropped where there is a neighbour."""
    whole = torch.full_like(x, math.nan)
    starts = [sorted({*range(0, n - t, t - o), n - t}) for n, t, o in zip(x.shape[1:], tile, overlap, strict=True)]
    for corner in itertools.product(*starts):
        window = tuple(slice(c, c + t) for c, t in zip(corner, tile, strict=True))
        kept = tuple(
            slice(0 if c == 0 else o // 2, t if c + t == n else t - o // 2)
            for c, t, o, n in zip(corner, tile, overlap, x.shape[1:], strict=True)
        )
        there = tuple(slice(c + k.start, c + k.stop) for c, k in zip(corner, kept, strict=True))
        whole[(slice(None), *there)] = run(net, x[(slice(None), *window)])[(slice(None), *kept)]
    return whole


SIZES: dict[int, tuple[int, ...]] = {1: (64,), 2: (24, 32), 3: (16, 20, 24)}


# ------------------------------------------------------------------------------------------------- which entries, in which units


def test_tools_are_those_for_so_many_axes() -> None:
    always = {"pixels", "monai", "bioimageio"}
    kinds = {
        1: {"seisbench"},
        2: {"sahi", "real_esrgan", "careamics", "diffusers", "nnunet"},
        3: {"careamics", "torchio", "panseg", "nnunet"},
    }
    for axes, names in kinds.items():
        found = structural(net_of(axes), tile=SIZES[axes], channels=1)
        assert found.tiling is not None
        measured_only = {"diffusers", "nnunet"}
        assert set(found.units()) == (always | names) - measured_only
        said = str(found)
        for title in ("SeisBench", "CAREamics", "TorchIO", "PanSeg", "SAHI", "nnU-Net"):
            assert (f"\n{title}: " in said) == (title.lower().replace("-", "") in always | names)
        if axes > 1:
            assert "nnU-Net: it blends tiles, and what that leaves must be measured on images" in said


def test_a_causal_network_needs_the_past_alone() -> None:
    found = structural(Causal(), tile=100, channels=1)
    assert found.tiling is not None
    assert found.need == {"output": (15, 0)}
    assert found.units()["pixels"]["need"] == [15, 0]
    assert found.units()["seisbench"] == {"in_samples": 100, "overlap": 15, "blinding": [15, 0]}
    assert "a tile needs 15 samples of the past and none of the future" in str(found)
    said = list(lines_of(units_of(found.tiling, found, {"sample_rate": 1000.0}), found.tiling))
    assert said[:2] == [
        "at 1000 Hz: needs 15.0 ms of the past and none of the future: tiles of 100 ms every 85.0 ms",
        "samples: tiles of 100 samples every 85 samples; drop 15 0 samples where a tile has a neighbour",
    ]


def test_times_and_distances_are_told_where_they_are_known() -> None:
    found = structural(net_of(1), tile=64, channels=1)
    assert found.tiling is not None
    assert "seconds" not in units_of(found.tiling, found, {"spacing": [1.0, 1.0]})
    told = units_of(found.tiling, found, {"sample_rate": 16.0})["seconds"]
    assert told["tile"] == [4.0]
    assert told["step"] == [found.tiling.step[0] / 16]
    assert told["halo"] == [n / 16 for n in found.tiling.pixels]
    deep = structural(net_of(3), tile=SIZES[3], channels=1)
    assert deep.tiling is not None
    told = units_of(deep.tiling, deep, {"spacing": [3.0, 1.0, 0.5], "sample_rate": 5.0})
    assert "seconds" not in told
    assert told["millimetres"]["tile"] == [48.0, 20.0, 12.0]
    assert told["millimetres"]["halo"] == [
        n * s for n, s in zip(deep.tiling.pixels, (3, 3, 1, 1, 0.5, 0.5), strict=True)
    ]
    assert any(line.startswith("in mm: tiles of 48.0 x 20.0 x 12.0 every ") for line in lines_of(told, deep.tiling))


# ------------------------------------------------------------------------------------------------------------ tools that drop


@pytest.mark.parametrize("axes", [2, 3])
def test_half_the_overlap_dropped_on_each_side_is_one_pass(axes: int) -> None:
    net, found = net_of(axes), structural(net_of(axes), tile=SIZES[axes], channels=1)
    told = found.units()["careamics"]
    assert all(n % 2 == 0 for n in told["tile_overlap"])
    (x,) = noise([2 * n - o + 4 for n, o in zip(SIZES[axes], told["tile_overlap"], strict=True)])
    assert torch.allclose(stitched_of_halves(net, x, told["tile_size"], told["tile_overlap"]), run(net, x), atol=1e-5)
    less = [n - 4 for n in told["tile_overlap"]]  # keeps to the total stride
    assert not torch.allclose(stitched_of_halves(net, x, told["tile_size"], less), run(net, x), atol=1e-5)
    if axes == 3:
        assert list(found.units()["torchio"].values()) == list(told.values())


@pytest.mark.parametrize("axes", [2, 3])
def test_careamics_tiles_are_one_pass(axes: int) -> None:
    tiled = pytest.importorskip("careamics.dataset.patching.tiled_patching", reason="its tiles are run (0.3.5)")
    net = net_of(axes)
    told = structural(net, tile=SIZES[axes], channels=1).units()["careamics"]
    (x,) = noise([2 * n - o + 4 for n, o in zip(SIZES[axes], told["tile_overlap"], strict=True)])
    whole = torch.full_like(x, math.nan)
    for one in tiled.TiledPatching([(1, *x.shape)], told["tile_size"], told["tile_overlap"]).tile_specs:
        window, crop, there = (
            tuple(slice(first, first + n) for first, n in zip(one[at], one[size], strict=True))
            for at, size in (("coords", "patch_size"), ("crop_coords", "crop_size"), ("stitch_coords", "crop_size"))
        )
        whole[(slice(None), *there)] = run(net, x[(slice(None), *window)])[(slice(None), *crop)]
    assert torch.allclose(whole, run(net, x), atol=1e-5)


def test_torchio_patches_are_one_pass() -> None:
    torchio = pytest.importorskip("torchio", reason="its sampler and aggregator are run (1.2.1)")
    net = net_of(3)
    told = structural(net, tile=SIZES[3], channels=1).units()["torchio"]
    (x,) = noise([2 * n - o + 4 for n, o in zip(SIZES[3], told["patch_overlap"], strict=True)])
    sampler = torchio.GridSampler(torchio.Subject(image=torchio.ScalarImage(tensor=x)), **told)
    aggregator = torchio.GridAggregator(sampler, overlap_mode="crop")
    for patch in sampler:
        aggregator.add_batch(run(net, patch["image"][torchio.DATA])[None], patch[torchio.LOCATION][None])
    assert torch.allclose(aggregator.get_output_tensor(), run(net, x), atol=1e-5)


def test_panseg_patches_are_one_pass_but_at_the_border() -> None:
    """Patches every patch, each with its halo around it, over a volume that is mirrored at its border (PanSeg 2.1.1)."""
    net = net_of(3)
    found = structural(net, tile=(28, 30, 32), channels=1)
    told = found.units()["panseg"]
    patch, halo = told["patch"], told["patch_halo"]
    assert all(p + 2 * h <= n for p, h, n in zip(patch, halo, found.tile, strict=True))
    assert all(p % 2 == 0 and h % 2 == 0 for p, h in zip(patch, halo, strict=True))
    (x,) = noise([2 * n + 2 for n in patch])
    mirrored = torch.from_numpy(np.pad(x.numpy(), [(0, 0), *((h, h) for h in halo)], mode="reflect"))
    whole = torch.zeros_like(x)
    for corner in itertools.product(*([0, p, n - p] for p, n in zip(patch, x.shape[1:], strict=True))):
        window = tuple(slice(c, c + p + 2 * h) for c, p, h in zip(corner, patch, halo, strict=True))
        part = run(net, mirrored[(slice(None), *window)])
        kept = part[(slice(None), *(slice(h, -h) for h in halo))]
        whole[(slice(None), *(slice(c, c + p) for c, p in zip(corner, patch, strict=True)))] = kept
    inside = (slice(None), *(slice(h, -h) for h in halo))
    assert torch.allclose(whole[inside], run(net, x)[inside], atol=1e-5)
    assert not torch.allclose(whole, run(net, x), atol=1e-5)


class Up(nn.Module):
    """Nearest neighbours, as large again."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, scale_factor=2)


@pytest.mark.parametrize(("levels", "theirs"), [(0, 2), (1, 8), (2, 20)])
def test_panseg_sums_kernels_and_we_trace(levels: int, theirs: int) -> None:
    """PanSeg's `compute_halo` (panseg/core/zoo.py, 2.1.1): half of each kernel times 2 to the level; pooling and upsampling reach beyond that."""

    def double() -> list[nn.Module]:
        return [nn.Conv3d(1, 1, 3, padding=1), nn.Conv3d(1, 1, 3, padding=1)]

    down = [one for _ in range(levels) for one in [*double(), nn.MaxPool3d(2)]]
    up = [one for _ in range(levels) for one in [Up(), *double()]]
    net = nn.Sequential(*down, *double(), *up)
    level, summed = 0, 0
    for module in net:
        level += isinstance(module, nn.MaxPool3d) - isinstance(module, Up)
        summed += 2**level * (module.kernel_size[0] // 2) if isinstance(module, nn.Conv3d) else 0
    assert summed == theirs
    found = structural(net, tile=16 * 2**levels, channels=1)
    (need,) = found.need.values()
    # each pooling and each upsampling adds up to 2 ** level - 1 px on one of the sides
    assert summed <= max(need) <= summed + 2 * sum(2**i for i in range(levels))
    assert found.exact


def seisbench_model(net: nn.Module, samples: int) -> Any:
    """A model of SeisBench around a network, that looks at so many samples and leaves windows as they are."""
    models = pytest.importorskip("seisbench.models", reason="its windows are run (0.12.6)")

    class Plain(models.PhaseNet):  # type: ignore[misc, name-defined]
        def forward(self, x: Tensor, logits: bool = False) -> Tensor:
            found: Tensor = net(x)
            return found

        def annotate_batch_pre(self, batch: Tensor, argdict: dict[str, Any]) -> Tensor:
            return batch

    model = Plain(in_channels=1, classes=1, phases="P", sampling_rate=100, component_order="Z")
    model.in_samples, model.pred_sample = samples, (0, samples)
    return model.eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [Causal, lambda: net_of(1)], ids=["causal", "strided"])
def test_seisbench_windows_are_one_pass_where_they_are_not_blind(make: Callable[[], nn.Module]) -> None:
    net = make()
    model = seisbench_model(net, 64)
    obspy = pytest.importorskip("obspy")
    found = structural(net, tile=64, channels=1)
    told = found.units()["seisbench"]
    (x,) = noise([64 + 5 * found.period[0] * 16])
    about = {"network": "XX", "station": "A", "channel": "HHZ", "sampling_rate": 100.0}
    stream = obspy.Stream([obspy.Trace(x[0].numpy(), about)])
    before, after = told["blinding"]
    (trace,) = model.annotate(
        stream, overlap=told["overlap"], blinding=told["blinding"], flexible_horizontal_components=False
    )
    expected = run(net, x)[0].numpy()[before : x.shape[1] - after]
    assert np.allclose(trace.data, expected, atol=1e-5)
    (worse,) = model.annotate(stream, overlap=told["overlap"], blinding=(0, 0))
    assert not np.allclose(worse.data[before : x.shape[1] - after], expected, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------------- MONAI, bioimage.io


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_monai_windows_keep_one_pass(axes: int) -> None:
    inferers = pytest.importorskip("monai.inferers", reason="its sliding window is tested")
    net, found = net_of(axes), structural(net_of(axes), tile=SIZES[axes], channels=1)
    assert found.tiling is not None
    (x,) = noise([2 * n + 4 for n in SIZES[axes]])
    arguments = monai_arguments(found.tiling, x.shape[1:])
    with torch.no_grad():
        windows = inferers.sliding_window_inference(x[None], sw_batch_size=4, predictor=net, **arguments)[0]
    assert torch.allclose(windows, run(net, x), atol=1e-4)
    arguments["overlap"] = 0.0
    with torch.no_grad():
        windows = inferers.sliding_window_inference(x[None], sw_batch_size=4, predictor=net, **arguments)[0]
    assert not torch.allclose(windows, run(net, x), atol=1e-4)


def test_weights_are_a_product_along_the_axes() -> None:
    maps = {"": Map((4, 5, 6), (Fraction(1),) * 3)}
    tiles = Tiling((4, 5, 6), (2, 3, 4), (1, 1, 1), maps, {"": (1, 1, 1, 1, 2, 0)})
    found = weight_map(tiles).double()
    assert found.shape == (4, 5, 6)
    assert found.isfinite().all()
    assert (found > 0).all()
    assert found[1, 1, 5] == found[2, 3, 2] == found.max()
    profiles = [found[:, 1, 5] / found.max(), found[1, :, 5] / found.max(), found[1, 1] / found.max()]
    product = profiles[0][:, None, None] * profiles[1][:, None] * profiles[2]
    assert torch.allclose(found / found.max(), product, rtol=1e-4, atol=0)
    assert profiles[2][0] < profiles[2][1] < 1e-5


@pytest.mark.parametrize("axes", [1, 3])
def test_the_bioimageio_halo_is_valid_for_other_axes(axes: int) -> None:
    spec = pytest.importorskip("bioimageio.spec.model.v0_5", reason="its halos are tested")
    found = structural(net_of(axes), tile=SIZES[axes], channels=1)
    told = found.units()["bioimageio"]
    (axes_told,), (need,) = told["outputs"].values(), found.need.values()
    assert "".join(axes_told) == "zyx"[-axes:]
    for axis, (key, one) in enumerate(axes_told.items()):
        given = spec.SpaceInputAxis(id=key, size=told["inputs"][key])
        output = spec.SpaceOutputAxisWithHalo(**one)
        assert output.halo >= max(need[2 * axis : 2 * axis + 2])
        for k in (0, 1, 3):
            size = told["inputs"][key]["min"] + k * told["inputs"][key]["step"]
            assert output.size.get_size(output, given, n=k) == size
            assert (size - 2 * output.halo) % found.period[axis] == 0


# ----------------------------------------------------------------------------------------------------------------- tools that blend


def test_blended_errors_of_two_tiles_by_hand() -> None:
    errors = torch.tensor([0.8, 0.4, 0.0, 0.0], dtype=torch.float64)
    # along an edge, cells 0 and 1 of two: 0 * 0.8 + 1 * 0.4 and 0.5 * 0.4 + 0.5 * 0.8
    # at the corner (1, 1): each of four tiles weighs a quarter, nearest distances 1, 0, 0 and 0
    along = (linear(8, 2), [6])
    assert blended_error(errors, [along]) == pytest.approx(0.6)
    assert blended_error(errors, [along] * 2) == pytest.approx(0.25 * (0.4 + 3 * 0.8))
    assert blended_error(errors, [along] * 3) == pytest.approx(0.125 * (0.4 + 7 * 0.8))
    assert blended_error(errors, [(linear(8, 0), [8])] * 2) == pytest.approx(0.8)


@pytest.mark.parametrize("steps", [[6], [3, 5], [2]])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_blended_errors_are_those_of_loops(axes: int, steps: list[int]) -> None:
    errors = torch.tensor([0.5, 0.9, 0.3, 0.35, 0.1], dtype=torch.float64)
    beyond = [0.9, 0.9, 0.35, 0.35, 0.1]
    along = [(gaussian(n), steps) for n in (8, 6, 9)[:axes]]
    worst = 0.0
    for chosen in itertools.product(steps, repeat=axes):
        places = itertools.product(*(range(step) for step in chosen))
        for place in places:
            tiles = [
                [(float(w[x]), min(x, len(w) - 1 - x)) for x in range(first, len(w), step)]
                for (w, _), first, step in zip(along, place, chosen, strict=True)
            ]
            total = math.prod(sum(w for w, _ in one) for one in tiles)
            error = sum(
                math.prod(w for w, _ in each) * beyond[min(*(d for _, d in each), 4)]
                for each in itertools.product(*tiles)
            )
            worst = max(worst, error / total)
    assert blended_error(errors, along) == pytest.approx(worst)


def seam(net: nn.Module, whole: Tensor, x: Tensor, scale: float) -> float:
    """The largest rms change of any plane of cells across any axis, over the output's rms."""
    change = (whole - run(net, x)).double().square()
    axes = range(1, change.ndim)
    planes = [change.mean([other for other in range(change.ndim) if other != axis]).max() for axis in axes]
    return float(max(planes)) ** 0.5 / scale


def by_nnunet(net: nn.Module, x: Tensor, patch: Sequence[int], share: float) -> tuple[Tensor, list[list[int]]]:
    """nnU-Net's own steps and weights around a network, and where its patches start."""
    sliding = pytest.importorskip(
        "nnunetv2.inference.sliding_window_prediction", reason="its steps and weights are run (2.8.1)"
    )
    steps = sliding.compute_steps_for_sliding_window(tuple(x.shape[1:]), tuple(patch), share)
    weights = sliding.compute_gaussian(tuple(patch), device=torch.device("cpu")).float()
    total, weight = torch.zeros_like(x), torch.zeros_like(x)
    for corner in itertools.product(*steps):
        window = (slice(None), *(slice(c, c + p) for c, p in zip(corner, patch, strict=True)))
        total[window] += run(net, x[window]) * weights
        weight[window] += weights
    return total / weight, steps


@pytest.mark.parametrize("axes", [2, 3])
def test_nnunet_steps_keep_their_bound(axes: int) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(CONV[axes](1, 1, 5, padding=2), nn.Tanh(), CONV[axes](1, 1, 5, padding=2)).eval()
    size, tile = ((96,) * 2, 32) if axes == 2 else ((40,) * 3, 20)
    measured = padprint.halo(net, noise(size, n=12), tile=tile, tolerance=0.05)
    told = measured.units()["nnunet"]
    assert told["tile_step_size"] >= 0.3
    assert told["error"] <= 0.05
    (out,) = measured.first.outputs.values()
    (x,) = noise(size, seed=9)
    whole, _ = by_nnunet(net, x, told["patch_size"], told["tile_step_size"])
    assert seam(net, whole, x, out.scale) <= told["error"]
    half = (told["patch_for_half"],) * axes
    whole, steps = by_nnunet(net, noise([3 * n for n in half], seed=9)[0], half, 0.5)
    assert len(steps[0]) == 5
    assert seam(net, whole, noise([3 * n for n in half], seed=9)[0], out.scale) <= 0.05
    coarse = measured.at(1e-6).units()["nnunet"]
    assert coarse["reason"].startswith(
        "blending mixes the patches' rims in: at steps of 0.3 to 0.9 of a patch the error may be "
    )


@pytest.mark.parametrize("patch", [(32, 32), (16, 20, 24)])
def test_nnunet_weights_are_its_own(patch: tuple[int, ...]) -> None:
    sliding = pytest.importorskip(
        "nnunetv2.inference.sliding_window_prediction", reason="its weights are compared (2.8.1)"
    )
    theirs = sliding.compute_gaussian(patch, dtype=torch.float64, device=torch.device("cpu"))
    ours = torch.ones(())
    for n in patch:
        ours = ours[..., None] * gaussian(n)
    assert torch.allclose(theirs / theirs.max(), ours / ours.max(), rtol=1e-6, atol=1e-12)


def test_networks_whose_tiles_cannot_be_blended_say_why() -> None:
    torch.manual_seed(0)
    shrinking = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, padding=1)).eval()
    told = units(padprint.halo(shrinking, noise((64, 64), n=6), tile=32, tolerance=0.1).first)
    assert "covers the tile" in told["nnunet"]["reason"]
    assert told["careamics"]["reason"] == "it stitches outputs that are as large as the tile, cell for cell"
