"""Halos: structural ones by arithmetic and by running networks on tiles and scenes, effective ones of known filters, errors."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import nets
from helpers import left_as_found, noise
from limit_grid import KINDS
from padprint.errors import HaloError, ImagesError, LayerError, PaddingError, ResultError
from padprint.overlap import Halo, halo, load, structural
from padprint.overlap.distance import ErrorSums, halo_cells, nearest_side, worst_beyond
from padprint.overlap.output_halo import OutputHalo
from padprint.overlap.tiling import Map
from padprint.overlap.widths import PaddingHalo
from padprint.results.statistics import prediction_limit, promised
from padprint.support.reasons import Kind

SIZE = 64


EVEN = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def stack_of(n: int) -> nn.Module:
    return nets.sequential(*(nets.conv(3, 3) for _ in range(n)))


# cells (top, bottom, left, right) on a tile of 64 px, worked out by hand
STRUCTURAL: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int, int]]] = {
    "one 3x3": (lambda: stack_of(1), (1, 1, 1, 1)),
    "five 3x3": (lambda: stack_of(5), (5, 5, 5, 5)),
    "dilations 2 and 3": (nets.dilated, (5, 5, 5, 5)),
    "1x7 and 7x1": (nets.separable, (3, 3, 3, 3)),
    "one stride 2": (nets.stride_one, (1, 0, 1, 0)),
    "two strides 2": (nets.stride_two, (1, 0, 1, 0)),
    "1x7, then stride (2, 1)": (nets.lopsided, (1, 0, 4, 4)),
    "even kernels 4 and 2, same": (nets.even_same, (1, 3, 1, 3)),
    "pads of left 3, top 1, bottom 2": (lambda: nets.padded("constant", 3, 0, 1, 2), (1, 2, 3, 0)),
    "no padding": (nets.valid, (0, 0, 0, 0)),
    "stride 2 and nearest up": (lambda: nets.upsampled("nearest"), (2, 0, 2, 0)),
    "transposed 4x4 of stride 2": (nets.twice_the_size, (3, 3, 3, 3)),
    "U-Net of depth 1": (lambda: nets.unet(1, "nearest"), (3, 3, 3, 3)),
    "U-Net of depth 2": (lambda: nets.unet(2, "nearest"), (7, 7, 7, 7)),
    "U-Net of depth 3": (lambda: nets.unet(3, "nearest"), (15, 15, 15, 15)),
}


@EVEN
@pytest.mark.parametrize("name", STRUCTURAL)
def test_structural_halos_are_those_of_arithmetic(name: str) -> None:
    make, expected = STRUCTURAL[name]
    result = halo(make(), noise(1, 128), tile=SIZE, tiles_per_image=1)
    (out,) = result.first.outputs.values()
    assert out.structural == expected


def test_a_structural_halo_wider_than_the_tile_is_not_cut_at_its_size() -> None:
    result = halo(stack_of(6), noise(3, 64), tile=5, tolerance=3.0)
    (out,) = result.first.outputs.values()
    assert out.structural == (6, 6, 6, 6)


@EVEN
@pytest.mark.parametrize(
    "make",
    [
        nets.lopsided,
        nets.even_same,
        lambda: nets.unet(2, "transposed3"),
        lambda: nets.unet(2, "bilinear"),
        lambda: nets.unet(1, "bicubic"),
        nets.twice_the_size,
        nets.shuffled,
        nets.max_pooled,
    ],
)
def test_beyond_the_structural_halo_nothing_changes_and_at_it_something_does(make: Callable[[], nn.Module]) -> None:
    net = make().double()
    margin, tile = 32, 32
    (scene,) = noise(1, tile + 2 * margin)
    result = halo(net, [scene], tile=tile, tiles_per_image=1)
    (out,) = result.first.outputs.values()
    x = scene.double()[None]
    with torch.no_grad():
        alone, whole = net(x[..., margin:-margin, margin:-margin])[0], net(x)[0]
    h, w = alone.shape[-2:]
    row, column = (int(margin / s) for s in out.map.stride)
    changed = ((alone - whole[:, row : row + h, column : column + w]).abs() > 1e-12).any(0)
    rows, columns = changed[:, w // 2].nonzero().flatten(), changed[h // 2].nonzero().flatten()
    assert (h, w) == out.map.size
    top, bottom, left, right = out.structural
    assert not changed[top : h - bottom, left : w - right].any()
    assert set(rows.tolist()) <= {*range(top), *range(h - bottom, h)}
    for side, cells, n in ((top, rows, h), (left, columns, w)):
        assert side == 0 or side - 1 in cells.tolist(), (out.structural, cells, n)


# ------------------------------------------------------------------------------------------------ known decays


def filtered(taps: Tensor) -> nn.Module:
    """A vertical filter, zero padding."""
    k = len(taps)
    net = nn.Conv2d(1, 1, (k, 1), padding=(k // 2, 0), bias=False)
    net.weight.data.copy_(taps[None, None, :, None])
    return nn.Sequential(net).eval()


BOX = torch.full((31,), 1 / 31)
DECAY = torch.tensor([0.8 ** abs(k) for k in range(-24, 25)])
DECAY /= DECAY.sum()


@pytest.mark.parametrize("taps", [BOX, DECAY], ids=["box", "exponential"])
@pytest.mark.parametrize("tolerance", [0.3, 0.1, 0.03, 0.01, 0.001])
@pytest.mark.parametrize("error", ["relative", "absolute", "maximum"])
def test_effective_halo_of_a_known_response(taps: Tensor, tolerance: float, error: str) -> None:
    """On a constant image of ones the change at distance d is the weight of the taps that reach beyond the border."""
    reach = len(taps) // 2
    missing = [float(taps[reach + d + 1 :].double().sum()) for d in range(reach + 1)]
    expected = next(d for d, value in enumerate(missing) if value <= tolerance)
    result = halo(filtered(taps), [torch.ones(1, 160, 80)] * 3, tile=(96, 48), tolerance=tolerance, error=error)
    (out,) = result.first.outputs.values()
    assert out.structural == (reach, reach, 0, 0)
    assert [(w.value, w.low, w.high) for w in out.effective] == [(expected,) * 3] * 2 + [(0, 0, 0)] * 2
    assert result.first.effective.value == expected
    assert result.first.tiling.step == (96 - 2 * expected, 48)


@pytest.mark.parametrize("tolerance", [0.4, 0.2, 0.1])
def test_effective_halo_of_a_box_on_noise(tolerance: float) -> None:
    """White noise: d cells from the border (15 - d) of 31 taps are missing, a relative rms change of sqrt((15 - d) / 31)."""
    expected = math.ceil(15 - tolerance**2 * 31)
    result = halo(filtered(BOX), noise(6, (160, 160), channels=1), tile=(96, 96), tolerance=tolerance)
    (out,) = result.first.outputs.values()
    assert abs(out.effective[0].value - expected) <= 1
    assert out.effective[0].low <= out.effective[0].value <= out.effective[0].high


def test_the_share_of_changed_labels_is_counted_by_cell() -> None:
    """Two channels, of which padding makes the other the stronger one as far as the box reaches more than half."""
    net = nn.Conv2d(1, 2, (31, 1), padding=(15, 0))
    net.weight.data.copy_(torch.stack([BOX, 0 * BOX])[:, None, :, None])
    net.bias.data.copy_(torch.tensor([0.0, 0.75]))  # the second wins where the first falls below 0.75
    result = halo(nn.Sequential(net), [torch.ones(1, 128, 80)] * 2, tile=(64, 48), tolerance=0.5, error="labels")
    (out,) = result.first.outputs.values()
    missing = [(15 - d) / 31 for d in range(16)]
    expected = next(d for d, value in enumerate(missing) if 1 - value > 0.75)
    assert out.effective[0].value == expected
    assert set(out.errors[0][:16].tolist()) == {0.0, 1.0}


def test_a_share_of_labels_is_no_finer_than_a_cell() -> None:
    """No label changes, but none of 3 images has enough cells at one distance for a share of 0.001: 2 tiles of 48 cells."""
    net = nn.Conv2d(1, 2, (5, 1), padding=(2, 0))
    net.weight.data.zero_()
    net.weight.data[0, 0, 2] = 1
    net.bias.data.copy_(torch.tensor([0.0, -9.0]))
    images = noise(3, (128, 80), channels=1)
    fine, coarse = (
        halo(nn.Sequential(net), images, tile=(64, 48), tolerance=tolerance, error="labels", tiles_per_image=2)
        for tolerance in (0.01, 0.001)
    )
    assert fine.first.effective.value == coarse.first.effective.value == 0
    assert fine.first.advised.pixels == (0, 0, 0, 0)
    assert coarse.first.advised.pixels == (2, 2, 0, 0)


def test_paddings_are_measured_on_the_same_tiles() -> None:
    """On a constant image replicated cells are right and zeros are not."""
    result = halo(filtered(BOX), [torch.ones(1, 160, 80)] * 3, tile=(96, 48), padding=["own", "replicate"])
    assert result["replicate"].effective.value == 0
    assert result["own"].effective.value == 15
    assert result["own"].image_pixels == [15] * 3
    assert "replicate needs 0 px where own needs 15: fewer in 3 and more in 0 of 3 images" in str(result)
    alone = halo(filtered(BOX), [torch.ones(1, 160, 80)] * 3, tile=(96, 48), padding=["replicate"])
    assert torch.equal(
        alone["replicate"].outputs["0"].errors.nan_to_num(), result["replicate"].outputs["0"].errors.nan_to_num()
    )


@pytest.mark.parametrize(("confidence", "level"), [(0.95, 1.0), (0.75, 1.0), (0.6, 0.5)])
def test_the_advice_leaves_room_for_a_further_image(confidence: float, level: float) -> None:
    """Of images of a fifth, a half, a half and one, the largest is what 4 of 5 stay below, the second largest 3 of 5."""
    levels = (0.5, 0.2, 0.5, 1.0)
    images = [torch.full((1, 160, 80), one) for one in levels]
    result = halo(filtered(BOX), images, tile=(96, 48), tolerance=0.1, error="absolute", confidence=confidence)
    needs = [next(d for d in range(16) if one * (15 - d) / 31 <= 0.1) for one in levels]
    assert result.first.image_pixels == needs
    assert (result.first.effective.low, result.first.effective.high) == (min(needs), max(needs))
    expected = next(d for d in range(16) if level * (15 - d) / 31 <= 0.1)
    expected = max(expected, result.first.effective.value)  # over all images together
    assert result.first.need == {"0": [expected, expected, 0, 0]}
    assert result.first.advised.pixels == (expected, expected, 0, 0)
    assert result.first.limit_of({"0": (5, 5, 0, 0)}) == pytest.approx(level * 10 / 31, rel=1e-5)
    assert result.first.limit_of({"0": (5, 9, 0, 0)}) == pytest.approx(level * 10 / 31, rel=1e-5)
    assert result.first.promises.promised == min(confidence, 0.8)
    said = any("this holds for 80 % of further images" in warning for warning in result.warnings)
    assert said == (confidence > 0.8)


def test_one_image_promises_nothing_short_of_the_structural_halo() -> None:
    result = halo(filtered(BOX), [torch.ones(1, 160, 80)], tile=(96, 48), tolerance=0.1)
    assert result.first.effective.value == 12
    assert result.first.advised.pixels == (15, 15, 0, 0)
    assert "one image cannot tell how images differ, so the structural halo is advised" in str(result)
    with pytest.raises(
        HaloError, match=r"can drop is a halo of 1[0-9 ]* px .* one image does not tell what others need"
    ):
        _ = halo(filtered(BOX), [torch.ones(1, 160, 80)], tile=(28, 48), tolerance=0.1).first.advised


def test_more_confidence_needs_more_cells() -> None:
    net, images = nets.unet(2, "bilinear"), noise(4, 128)
    narrow, wide = (halo(net, images, tile=64, confidence=confidence).first for confidence in (0.6, 0.999))
    assert all(a <= b for a, b in zip(narrow.need["output"], wide.need["output"], strict=True))
    assert narrow.need != wide.need
    assert all(n <= most for n, most in zip(wide.need["output"], wide.outputs["output"].structural, strict=True))


def test_batch_size_does_not_change_the_result_and_the_seed_does() -> None:
    net, images = nets.unet(2, "bilinear"), noise(3, 128)
    one, two, other = (halo(net, images, tile=64, batch_size=b, seed=s).to_dict() for b, s in ((1, 0), (4, 0), (4, 1)))
    errors = [d["paddings"]["own"]["outputs"]["output"]["errors"]["top"][:9] for d in (one, two, other)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-4)
    assert errors[0] != pytest.approx(errors[2], rel=1e-4)


# ------------------------------------------------------------------------------------------------ outputs and strides


def test_every_map_that_a_network_returns_is_stitched() -> None:
    net = nets.ready(nets.Nested())
    result = halo(net, noise(2, 128), tile=64)
    assert {name: one.map.size for name, one in result.first.outputs.items()} == {
        "output[low]": (64, 64),
        "second": (32, 32),
        "output[high.1.0]": (32, 32),
    }
    alone = halo(net, noise(2, 128), "first", tile=64)
    assert list(alone.first.outputs) == ["first"]


def test_what_is_no_map_is_left_out_unless_it_is_asked_for() -> None:
    class WithScore(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.score = nets.conv(), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.body(x)
            return {"map": y, "score": self.score(y.mean((-2, -1)))}

    net = nets.ready(WithScore())
    result = halo(net, noise(2, 128), tile=64)
    assert list(result.first.outputs) == ["body"]
    assert "score" in result.unmeasured
    with pytest.raises(HaloError, match=r"nothing to stitch: score: its output \(1x2\) does not grow"):
        halo(net, noise(2, 128), "score", tile=64)


def test_larger_and_smaller_maps_are_told_in_their_own_cells_and_in_input_px() -> None:
    larger = halo(nets.twice_the_size(), noise(2, 128), tile=64, tolerance=1e-4)
    (out,) = larger.first.outputs.values()
    assert (out.map.size, [float(s) for s in out.map.stride]) == ((128, 128), [0.5, 0.5])
    assert out.structural_pixels == (2, 2, 2, 2)  # three cells of half a px
    assert larger.first.tiling.pixels == (2, 2, 2, 2)
    smaller = halo(nets.stride_two(), noise(2, 128), tile=64, tolerance=1e-4)
    (out,) = smaller.first.outputs.values()
    assert out.structural_pixels == (4, 0, 4, 0)
    assert smaller.first.tiling.overlap == (4, 4)


@pytest.mark.parametrize("tile", [64, 66, 61, (64, 80)])
def test_steps_are_multiples_of_the_total_stride(tile: int | tuple[int, int]) -> None:
    result = halo(
        nets.unet(2, "nearest") if tile != 61 else nets.stride_two(), noise(2, 160), tile=tile if tile != 66 else 68
    )
    tiles = result.first.tiling
    assert all(step % period == 0 for step, period in zip(tiles.step, tiles.period, strict=True))
    for name, one in result.first.outputs.items():
        for axis in (0, 1):
            dropped = sum(tiles.halos[name][2 * axis : 2 * axis + 2])
            assert (one.map.size[axis] - dropped) * one.map.stride[axis] == tiles.step[axis]
            assert all(n >= w.high for n, w in zip(tiles.halos[name], one.effective, strict=True))


# ------------------------------------------------------------------------------------------------ curves, at, files


def test_the_curve_falls_and_costs_more() -> None:
    result = halo(nets.unet(2, "bilinear"), noise(3, 128), tile=64)
    curve = result.first.curve
    assert [p.halo for p in curve] == list(range(32))
    assert [p.overlap[0] for p in curve] == [2 * h for h in range(32)]
    assert all(a.error >= b.error and a.worst >= b.worst and a.cost < b.cost for a, b in pairwise(curve))
    assert curve[8].cost == pytest.approx(64 * 64 / 48**2 - 1)
    assert [p.halo for p in curve if p.aligned] == list(range(0, 32, 2))
    frame = result.to_frame()
    assert len(frame) == 32
    assert frame.error.tolist() == [p.error for p in curve]


def test_another_tolerance_reads_the_same_measurement() -> None:
    net, images = nets.unet(2, "bilinear"), noise(3, 128)
    one = halo(net, images, tile=64, tolerance=0.1)
    again, anew = one.at(0.001), halo(net, images, tile=64, tolerance=0.001)
    assert again.to_dict() == anew.to_dict()
    assert again.first.effective.value > one.first.effective.value
    with pytest.raises(HaloError, match="tolerance must be a number above 0"):
        one.at(-1)


def test_a_saved_halo_is_read_back_whole(tmp_path: Path) -> None:
    net = nets.ready(nets.Nested())
    result = halo(net, noise(3, 128), tile=64, padding=["own", "reflect"], confidence=0.9)
    assert result.save(tmp_path / "made") == tmp_path / "made"
    again = load(tmp_path / "made")
    assert str(again) == str(result)
    assert again.to_dict() == result.to_dict()
    assert again.at(0.2).to_dict() == result.at(0.2).to_dict()
    assert again.verify(net, noise(2, 128, seed=1), padding="reflect").passed
    found = json.loads((tmp_path / "made" / "halo.json").read_text())
    assert found["paddings"]["reflect"]["advised"] == result.to_dict()["paddings"]["reflect"]["advised"]


def test_what_is_no_saved_halo_is_refused(tmp_path: Path) -> None:
    result = halo(nets.stack(), noise(2, 128), tile=64)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="cannot be a folder"):
        result.save(tmp_path / "file")
    with pytest.raises(ResultError, match="no such folder"):
        load(tmp_path / "nothing")
    folder = result.save(tmp_path / "made")
    other = halo(nets.stack(), noise(2, 128, seed=1), tile=64).save(tmp_path / "other")
    (folder / "halo.safetensors").write_bytes((other / "halo.safetensors").read_bytes())
    with pytest.raises(ResultError, match=r"is not the file that halo.json was saved with"):
        load(folder)
    (folder / "halo.safetensors").unlink()
    with pytest.raises(ResultError, match=r"has no halo.safetensors"):
        load(folder)
    document = json.loads((other / "halo.json").read_text())
    del document["paddings"]["own"]["outputs"]["4"]["stride"], document["checksum"]
    (other / "halo.json").write_text(json.dumps(document))
    with pytest.raises(ResultError, match=r"lacks a field or holds a wrong one .*stride"):
        load(other)


def strayed(result: Halo, size: float, image: int | None = None) -> Halo:
    """The same, but the bottom side has an error of this size 20 cells from the border; of one image, or of all."""
    one = result.first
    (name, out), *_ = one.outputs.items()
    assert max(out.structural) < 20
    errors, by_image = out.errors.clone(), out.by_image.clone()
    by_image[slice(None) if image is None else image, 1, 20] = size
    if image is None:
        errors[1, 20] = size
    out = dataclasses.replace(out, errors=errors, by_image=by_image)
    return dataclasses.replace(result, paddings={"own": dataclasses.replace(one, outputs={name: out})})


@pytest.mark.parametrize("image", [None, 1])
def test_what_changes_beyond_the_structural_halo_is_not_advised(tmp_path: Path, image: int | None) -> None:
    result = halo(nets.stack(), noise(3, 128), tile=64, tolerance=0.01)
    assert result.first.reason is None
    odd = strayed(result, 0.05, image)
    for one in (odd, load(odd.save(tmp_path / "odd"))):
        assert one.first.tiling is None
        with pytest.raises(
            HaloError, match=r"changes by 0\.0500 at (20|40|80) px from the border, beyond the structural halo"
        ):
            one.first.advised  # noqa: B018
        assert "something pads that was not seen" in str(one)
        assert "not reached" in str(one).splitlines()[5]
        assert one.verdict.startswith("No overlap can be advised")
        assert all(each.tiling is None for each in one.choices())
        assert one.to_dict()["paddings"]["own"]["advised"] is None
        assert one.at(0.06).first.tiling is not None


def test_a_tolerance_below_rounding_is_not_reached() -> None:
    odd = strayed(halo(nets.stack(), noise(3, 128), tile=64, tolerance=0.01), 3e-7)
    assert odd.first.error_of(odd.first.advised) <= 0.01
    with pytest.raises(HaloError, match=r"a tolerance of 1e-08 is below rounding: .* differs by 3\.00e-07"):
        odd.at(1e-8).first.advised  # noqa: B018


def test_the_label_of_one_cell_may_change_by_rounding() -> None:
    """One cell in one image is no padding; two are."""
    result = halo(nets.stack(), noise(3, 128), tile=64, error="labels", tolerance=0.01)
    out = next(iter(result.first.outputs.values()))
    single = 2 * float(out.resolution[0, 1, 20])
    assert single > 0.01
    assert strayed(result, single, 1).first.tiling is not None
    assert strayed(result, 2 * single, 1).first.tiling is None


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_no_advice_leaves_more_than_the_tolerance(data: st.DataObject) -> None:
    """Whatever the errors, and wherever they are read."""
    sizes = st.lists(st.sampled_from([0.0, 1e-8, 1e-3, 0.02, 0.5, math.nan]), min_size=128, max_size=128)
    by_image = torch.tensor([data.draw(sizes) for _ in range(2)], dtype=torch.float64).view(2, 4, 32)
    structural = tuple(data.draw(st.lists(st.integers(0, 20), min_size=4, max_size=4)))
    out = OutputHalo(
        name="out",
        map=Map((32, 32), (Fraction(1), Fraction(1))),
        channels=3,
        structural=structural,
        scale=1.0,
        errors=by_image.nan_to_num(0).amax(0),
        by_image=by_image,
        resolution=torch.zeros_like(by_image),
        tolerance=1.0,
        error="relative",
    )
    whole = PaddingHalo("own", (32, 32), (2, 2), {"out": out}, 0.99)
    for tolerance in (1e-9, 1e-4, 0.01, 0.1, 1.0):
        one = whole.at(tolerance)
        if one.tiling is None:
            assert one.reason
            with pytest.raises(HaloError):
                one.advised  # noqa: B018
        else:
            assert one.error_of(one.advised) <= tolerance
            assert one.error_of(one.advised, worst=True) <= tolerance
            assert one.limit_of(one.advised.halos) <= tolerance


def test_a_picture_has_a_line_for_each_padding() -> None:
    result = halo(nets.unet(2, "bilinear"), noise(2, 128), tile=64, padding=["own", "reflect"])
    figure = result.plot()
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["own", "reflect", "66.7 % of further images", "advised", "structural halo"]
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert any(text.get_text() == "tolerance 0.01" for text in axes.texts)
        lines = [line for line in axes.get_lines() if line.get_label() in result]
        dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
        assert len(lines) == len(dots) == 2
        for line, dot in zip(lines, dots, strict=True):  # every dot lies on its line, straight on a logarithmic axis
            (x,), (y,) = dot.get_xdata(), dot.get_ydata()
            assert math.log(y) == pytest.approx(np.interp(x, line.get_xdata(), np.log(line.get_ydata())))
            assert y <= result.tolerance
    for one, dot in zip(result.values(), dots, strict=True):  # against cost: what is printed
        assert dot.get_xdata()[0] == pytest.approx(100 * one.advised.cost)
        assert dot.get_ydata()[0] == pytest.approx(one.error_of(one.advised))
    uprights = [
        line.get_xdata()[0]
        for line in figure.axes[0].get_lines()
        if len(set(line.get_xdata())) == 1 < len(line.get_xdata())
    ]
    assert uprights == [one.structural for one in result.values()]


# ------------------------------------------------------------------------------------------------ other tile sizes


def test_tiles_of_other_sizes_keep_the_same_halo() -> None:
    """A filter of three cells: one above and one below, whatever the tile."""
    result = halo(filtered(torch.full((3,), 1 / 3)), [torch.ones(1, 160, 160)] * 3, tile=64)
    every = {each.tile[0]: each for each in result.choices((32, 128, 65))}
    assert sorted(every) == [32, 64, 65, 128]
    for n, each in every.items():
        assert each.measured is (n == 64) and not each.crossed and not each.absurd
        assert each.tiling is not None and each.tiling.pixels == (1, 1, 0, 0)
        assert each.cost == pytest.approx(n / (n - 2) - 1)
    assert (
        result.verdict
        == "64-px tiles need an overlap of 2 px down and 0 px across, which costs 3 % extra pixels; 1024-px tiles cost 0 % instead."
    )


def test_a_choice_is_what_tiles_of_that_size_measure() -> None:
    net, images = nets.unet(2, "bilinear"), noise(4, 192)
    small = halo(net, images, tile=64, tolerance=0.05)
    (each,) = [one for one in small.choices((96,)) if one.tile == (96, 96)]
    other = halo(net, images, tile=96, tolerance=0.05).first
    assert each.tiling is not None and other.tiling is not None
    assert abs(max(each.tiling.pixels) - max(other.tiling.pixels)) <= max(other.period)


def test_sizes_are_congruent_to_the_tile() -> None:
    result = halo(nets.stride_two(), noise(3, 128), tile=50)
    assert [each.tile for each in result.choices((64, 101))] == [(50, 50), (66, 66), (102, 102)]
    assert result.choices((1,))[0].tile == (2, 2)  # smaller than two halos
    assert result.choices((1,))[0].crossed and result.choices((1,))[0].tiling is None


def test_an_absurd_overlap_is_called_so() -> None:
    """On ones, padding takes a third of a box filter of 31 cells at the border: it must be dropped all, 15 of 34 cells."""
    result = halo(filtered(BOX), [torch.ones(1, 96, 96)] * 3, tile=34, tolerance=1e-4)
    here = next(each for each in result.choices() if each.measured)
    assert here.tiling is not None and here.absurd and here.cost == pytest.approx(34 / 4 - 1)
    assert result.verdict == (
        "34-px tiles need an overlap of 30 px down and 0 px across, which costs 750 % extra pixels: that makes no sense; take 256-px tiles (13 % extra "
        "pixels), a larger tolerance, or one pass over the whole image."
    )
    assert "750 % (absurd)" in str(result)
    figure = result.plot()
    figure.draw_without_rendering()  # what lies outside would take all the room
    for axes in figure.axes:
        (dot,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
        assert dot.get_xdata()[0] <= axes.get_xlim()[1]


def test_what_was_measured_can_be_read_whatever_the_verdict(tmp_path: Path) -> None:
    result = halo(filtered(BOX), [torch.ones(1, 96, 96)] * 3, tile=24, tolerance=1e-4)
    assert result.first.tiling is None and "has no room" in (result.first.reason or "")
    assert result.verdict.startswith(
        "24-px tiles have no room for a tolerance of 0.0001: they would need 2 x 15 px; take 256-px"
    )
    again = load(result.save(tmp_path / "saved"))
    assert again.at(0.9).first.tiling is not None
    assert again.verdict == result.verdict


def test_another_padding_that_helps_is_named() -> None:
    result = halo(filtered(BOX), [torch.ones(1, 160, 96)] * 3, tile=(64, 48), padding=["own", "replicate"])
    assert "; replicate padding brings that to 0 %" in result.verdict


def test_the_structural_halo_needs_no_images() -> None:
    net = nets.unet(2, "bilinear")
    found = structural(net, tile=128)
    measured = halo(net, noise(2, 256), tile=128, tolerance=1e-3)
    assert found.pixels == measured.first.structural
    (name,) = found.need
    assert found.need[name] == measured.first.outputs[name].structural
    assert found.tiling is not None and found.exact
    assert found.units()["pixels"]["overlap"] == list(found.tiling.overlap)
    assert "diffusers: it blends tiles" in str(found)
    assert "make no sense" not in str(found)
    enough = structural(net, tile=found.pixels * 2 + 8)
    assert enough.tiling is not None and enough.tiling.cost > 3
    named = re.search(r"so many extra pixels make no sense: take tiles of (\d+) px or more", str(enough))
    assert named is not None
    for size, sense in ((int(named[1]), True), (int(named[1]) - enough.period[0], False)):
        other = structural(net, tile=size).tiling
        assert other is not None and (other.cost <= 1) is sense
    tight = structural(net, tile=20)
    assert tight.tiling is None and "has no room for 2 x" in str(tight) and tight.to_dict()["units"] is None
    with pytest.raises(HaloError, match="has no room for 2 x"):
        tight.units()


# ------------------------------------------------------------------------------------------------ refusals


def attention() -> nn.Module:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nets.conv(3, 4, stride=4)
            self.mix = nn.MultiheadAttention(4, 1, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            tokens = x.flatten(2).mT
            return self.mix(tokens, tokens, tokens)[0].mT.reshape(x.shape)

    return nets.ready(Attention())


@pytest.mark.parametrize(
    ("net", "operator"),
    [
        (lambda: nets.sequential(nets.conv(), nn.GroupNorm(2, 4), nets.conv(4, 4)), "group_norm in 1"),
        (lambda: nets.sequential(nets.conv(), nn.InstanceNorm2d(4)), "instance_norm in 1"),
        (attention, "multi_head_attention_forward in mix"),
        (lambda: nets.ready(nets.SqueezeExcite()), "adaptive_avg_pool2d in gate.0"),
        (nets.corner_aligned, "interpolate in 1"),
    ],
)
def test_no_overlap_helps_where_the_output_sees_the_whole_input(net: Callable[[], nn.Module], operator: str) -> None:
    found = halo(net(), noise(2, 128), tile=64, tolerance=1e-6)
    (floor,) = found.first.floors.values()
    assert floor.operators == (operator,)
    assert floor.value > 1e-6
    assert not found.first.keeps
    assert "which no overlap mends" in found.verdict


def test_what_sees_the_whole_input_unread_is_refused() -> None:
    net = nets.sequential(nets.conv(), nets.Sorted(), nets.conv(4))
    with pytest.raises(HaloError, match=r"no overlap of tiles can keep 2 .*sort in 1"):
        halo(net, noise(1, 128), tile=64)


def test_a_network_of_one_input_size() -> None:
    with pytest.raises(HaloError, match="only inputs of that size can be run"):
        halo(nets.fixed_head(64), noise(1, 128), tile=64)


def test_a_network_that_returns_no_map_gets_a_layer_proposed() -> None:
    net = nn.Sequential(nets.conv(), nn.Tanh(), nets.conv(4, 4, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(HaloError, match=r"nothing to stitch: .*; name a layer .* output_layer=2$"):
        structural(net, tile=48)
    assert list(structural(net, "2", tile=48).need) == ["2"]


def test_a_tile_too_small_says_the_best_that_can_be_had() -> None:
    with pytest.raises(
        HaloError, match=r"a tile of 16 px has no room for a tolerance of 0.01: .* up to 8 px .* best it"
    ) as found:
        _ = halo(nets.unet(2, "bilinear"), noise(3, 128), tile=16).first.advised
    reached = float(str(found.value).split("the best it can do is ")[1].split(",")[0])
    assert halo(nets.unet(2, "bilinear"), noise(3, 128), tile=16, tolerance=1.01 * reached).first.tiling is not None
    with pytest.raises(HaloError, match="has no room"):
        _ = halo(nets.unet(2, "bilinear"), noise(3, 128), tile=16, tolerance=0.99 * reached).first.advised


def test_one_padding_may_have_room_where_another_has_none() -> None:
    result = halo(filtered(BOX), [torch.ones(1, 160, 80)] * 3, tile=(24, 48), padding=["own", "replicate"])
    assert result["own"].tiling is None
    assert result["replicate"].tiling is not None
    assert "own: a tile of 24 x 48 px has no room" in str(result)
    assert ", replicate padding (0 %), a larger tolerance, or one pass" in result.verdict
    with pytest.raises(HaloError, match="has no room"):
        _ = result["own"].advised
    assert result.to_dict()["paddings"]["own"]["units"] is None


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"tile": 128}, ImagesError, "are too small .* a 128x128 tile with the .* needs 134x134 px"),
        ({"tile": 200}, ImagesError, "image 0 of 128x128 px is smaller than a tile of 200x200 px"),
        ({"tolerance": 0}, HaloError, "tolerance must be a number above 0"),
        ({"tolerance": math.nan}, HaloError, "tolerance must be a number above 0"),
        ({"confidence": 0.5}, HaloError, "confidence must be above 0.5 and below 1"),
        ({"confidence": 1}, HaloError, "confidence must be above 0.5 and below 1"),
        ({"error": "rms"}, HaloError, "no error 'rms'; known are relative, absolute, maximum, labels"),
        ({"padding": []}, HaloError, "padding names no scheme"),
        ({"padding": ["mirror"]}, PaddingError, "mirror"),
        ({"output_layer": "nothing"}, LayerError, "no layer of the model is called 'nothing'"),
    ],
)
def test_bad_input(options: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        halo(nets.stack(), noise(1, 128), **{"tile": 64, **options})


def test_outputs_that_are_not_finite() -> None:
    """Their errors would count as none."""
    net = nets.stack()
    measured = halo(net, noise(2, 128), tile=64)
    with torch.no_grad():
        net[4].bias[1] = math.nan
    with pytest.raises(HaloError, match="4 holds NaN or infinite values on image 0"):
        halo(net, noise(2, 128), tile=64)
    with pytest.raises(HaloError, match="4 holds NaN or infinite values on image 0"):
        measured.verify(net, noise(1, 128, seed=1))


def test_labels_need_more_than_one_channel() -> None:
    with pytest.raises(HaloError, match="one channel and so no labels"):
        halo(filtered(BOX), [torch.ones(1, 160, 80)], tile=(96, 48), error="labels")


def test_the_model_is_left_as_found() -> None:
    net = nets.unet(2, "bilinear").train()
    with left_as_found(net):
        result = halo(net, noise(2, 128), tile=64, padding=["own", "reflect"])
        result.verify(net, noise(1, 128, seed=1))


def test_a_margin_below_the_reach_is_said() -> None:
    result = halo(nets.unet(2, "bilinear"), noise(3, 96), tile=64, margin=4)
    assert result.approximate
    assert any("approximate" in warning for warning in result.warnings)


# ------------------------------------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize("n", [4, 12, 48])
@pytest.mark.parametrize("kind", KINDS)
def test_a_further_value_stays_below_the_limit_as_often_as_promised(kind: str, n: int) -> None:
    for level in (0.8, 0.95, 0.99):
        values = torch.from_numpy(KINDS[kind](np.random.default_rng(n), (n + 1, 20000)))
        limit = prediction_limit(values[:n], level)
        inside = float((values[n] <= limit).double().mean())
        assert inside > promised(n, level) - 0.01
        if kind != "half are zeros":
            assert inside < promised(n, level) + 1 / (n + 1) + 0.01
        assert bool((limit <= values[:n].amax(0)).all())


def test_small_values_cannot_move_a_limit() -> None:
    values = torch.tensor([0.3, 0.2, 0.1, 0.05, 0.01])
    tiny = torch.tensor([0.3, 0.2, 1e-9, 1e-12, 0.0])
    assert prediction_limit(values, 0.6).item() == prediction_limit(tiny, 0.6).item() == pytest.approx(0.2)


def test_limits_of_few_values() -> None:
    assert prediction_limit(torch.tensor([[0.0, 0.2]]), 0.95).tolist() == [0, math.inf]
    three = torch.tensor([0.3, 0.1, 0.2])
    assert [prediction_limit(three, level).item() for level in (0.5, 0.75, 0.99)] == pytest.approx([0.2, 0.3, 0.3])
    assert [promised(3, level) for level in (0.5, 0.75, 0.99)] == [0.5, 0.75, 0.75]


def test_cells_belong_to_the_nearest_side_where_all_are_alike() -> None:
    side, distance = nearest_side((4, 6), (1, 1), (2, 2, 2, 2))
    assert side.tolist() == [[0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 3], [2, 1, 1, 1, 1, 3], [1, 1, 1, 1, 1, 1]]
    assert distance.tolist() == [[0] * 6, [0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0], [0] * 6]


def test_cells_belong_to_the_side_that_reaches_them() -> None:
    side, distance = nearest_side((5, 5), (1, 1), (0, 0, 3, 0))
    assert side[2].tolist() == [2, 2, 2, 2, 3]
    assert distance[2, :4].tolist() == [0, 1, 2, 3]
    side, _ = nearest_side((5, 5), (1, 1), (3, 3, 3, 3), (False, False, False, True))
    assert side.unique().tolist() == [3]
    assert nearest_side((5, 5), (1, 1), (3, 3, 3, 3), (False,) * 4)[0].unique().tolist() == [-1]


def test_sums_are_those_of_loops() -> None:
    g = torch.Generator().manual_seed(0)
    change, reference = torch.randn(2, 3, 5, 7, generator=g), torch.randn(2, 3, 5, 7, generator=g)
    labels = torch.rand(2, 5, 7, generator=g) < 0.5
    side, distance = nearest_side((5, 7), (1, 1), (2, 2, 2, 2))
    sums = ErrorSums(7, 4)
    sums.add(change, labels, reference, side, distance)
    for s in range(4):
        for d in range(7):
            cells = [(y, x) for y in range(5) for x in range(7) if side[y, x] == s and distance[y, x] == d]
            values = torch.stack([change[:, :, y, x] for y, x in cells]) if cells else torch.zeros(0)
            found = {
                kind: float(sums.errors(kind, 2.0)[s, d]) for kind in ("relative", "absolute", "maximum", "labels")
            }
            if not cells:
                assert all(math.isnan(value) for value in found.values())
                continue
            assert found["absolute"] == pytest.approx(float(values.square().mean().sqrt()), rel=1e-6)
            assert found["relative"] == pytest.approx(found["absolute"] / 2)
            assert found["maximum"] == pytest.approx(float(values.abs().max()))
            assert found["labels"] == pytest.approx(
                sum(int(labels[b, y, x]) for b in (0, 1) for y, x in cells) / len(cells) / 2
            )


def test_a_halo_ends_behind_the_last_distance_above_the_tolerance() -> None:
    nan = math.nan
    errors = torch.tensor([[0.5, 0.05, 0.2, 0.01, nan], [0.01] * 5, [nan] * 5, [0.5, 0.5, 0.5, 0.5, 0.5]])
    assert halo_cells(errors, 0.1, (5, 5, 5, 5)) == [3, 0, 0, 5]
    assert halo_cells(errors, 0.1, (2, 5, 5, 3)) == [1, 0, 0, 3]
    assert worst_beyond(errors, (1, 0, 0, 5)) == pytest.approx(0.2)
    assert worst_beyond(errors, (3, 0, 0, 5)) == pytest.approx(0.01)


class OneClass(nn.Module):
    """Two channels that vary, the second always the larger: every cell has label 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nets.conv(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.cat([y, y + 1], 1)


@pytest.mark.parametrize(
    ("ending", "error", "said"),
    [
        (nn.Threshold(1e9, 0.0), "relative", "1 is the same in every cell of every image"),
        (nn.Threshold(1e9, 3.0), "labels", "1 is the same in every cell of every image"),
        (OneClass(), "labels", "every cell of every image has the same label in 1"),
        (OneClass(), "relative", None),
    ],
)
def test_a_halo_of_an_output_that_cannot_change_says_so(ending: nn.Module, error: str, said: str | None) -> None:
    net = nn.Sequential(nets.conv(3, 3), ending).eval()
    measured = halo(net, noise(2, 64), tile=32, tolerance=0.01, error=error)
    found = [str(one) for one in measured.warnings if one.kind is Kind.CONSTANT]
    assert len(found) == (0 if said is None else 1)
    assert all(one.startswith(str(said)) for one in found)
