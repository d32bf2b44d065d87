"""Ring NMSE, shift consistency, tile mismatch, meanE and disR: answers by hand, slow references, pairs that agree."""

import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import padprint.padding as pp
from helpers import left_as_found, noise, save_photographs
from nets import Lambda, box_filter, conv, pointwise, sequential, stack, stride_two, unet, valid
from padprint.baselines.labels import entropy_sums, label_consistency
from padprint.baselines.probe import probe
from padprint.baselines.ring import ring_errors, ring_nmse
from padprint.baselines.shifts import change_squares, shift_consistency
from padprint.baselines.tiles import seam_squares, tile_mismatch
from padprint.cli.baseline import app
from padprint.errors import ImagesError, LayerError, ModelError, PaddingError
from padprint.images.photographs import as_source
from padprint.results.estimates import GroupSums, ratio, share_of
from padprint.results.measurement import Estimate
from padprint.results.statistics import student_quantile


def numbers(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def test_sums_by_group_by_hand() -> None:
    """Groups of 1 of 2, 2 of 2 and 3 of 2: the ratio is 1, without one of them 5/4, 1 and 3/4; t with 2 degrees is 4.303."""
    sums = GroupSums()
    for group, above in ((0, 1), (1, 2), (2, 1.5), (2, 1.5)):
        sums.add(group, above, 1 if group == 2 else torch.tensor(2.0))
    found = sums.estimate(lambda total: ratio(*total))
    assert found.value == 1
    assert found.replicates == (1.25, 1, 0.75)
    half = 4.302653 * math.sqrt(2 / 3 * 2 * 0.25**2)
    assert (found.low, found.high) == pytest.approx((1 - half, 1 + half))
    alone = GroupSums()
    alone.add(0, 3.0, 2.0)
    one = alone.estimate(lambda total: ratio(*total))
    assert one.value == 1.5
    assert math.isnan(one.low)
    assert [float(ratio(torch.tensor(a), torch.tensor(0.0))) for a in (0.0, 1.0)] == [0, math.inf]


# ---------------------------------------------------------------------------------------------------------- ring NMSE


def test_ring_by_hand() -> None:
    truth = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)  # the ring holds all but the 5: mean 5, squares 60 / 8
    error, variance = ring_errors(truth, torch.zeros(1, 1, 3, 3))
    assert float(variance) == pytest.approx(60 / 8)
    assert float(error) == pytest.approx((285 - 25) / 8)
    at_mean = [float(part) for part in ring_errors(truth, torch.full((1, 1, 3, 3), 5.0))]
    assert at_mean[0] / at_mean[1] == pytest.approx(1)


def test_ring_of_a_ramp_by_hand() -> None:
    """Columns 0 1 2 3 of a ramp, a ring of 20 cells: replicating errs by 1 in both outer columns of 6 cells."""
    ramp = torch.arange(32.0).expand(3, 32, 32)
    images = [ramp + 10 * i for i in range(4)]
    found = ring_nmse(sequential(conv()), images, ["replicate", "reflect"], window=16, size=4)["0 conv2d"]
    assert (found.channels, found.size) == (3, 4)
    assert numbers(found.nmse["replicate"]) == pytest.approx((12 / 85,) * 3)
    assert found.nmse["reflect"].value == pytest.approx(4 * 12 / 85)


def test_zeros_around_a_ramp_depend_on_its_offset() -> None:
    ramp = torch.arange(16.0).expand(3, 16, 16)
    found = ring_nmse(sequential(conv()), [ramp], window=16, size=4)["0 conv2d"]  # columns 5 to 10
    ring = torch.tensor([5.0, 10.0] * 6 + [6.0, 7.0, 8.0, 9.0] * 2)
    assert found.nmse["own"].value == pytest.approx(float(ring.square().mean() / ring.var(correction=0)))
    assert math.isnan(found.nmse["own"].low)


def test_constant_maps_are_replicated_without_error() -> None:
    found = ring_nmse(box_filter(), [torch.full((3, 24, 24), 2.0)] * 3, ["replicate", "zeros"], window=24)["0 conv2d"]
    assert found.nmse["replicate"].value == 0
    assert found.nmse["zeros"].value == math.inf


def test_noise_scores_what_it_must() -> None:
    """Independent cells of mean m and variance v: zeros miss by m^2 + v, a neighbour by 2 v."""
    found = ring_nmse(sequential(conv()), noise(20, 40, mean=2), ["zeros", "replicate"], window=40)["0 conv2d"]
    assert found.nmse["zeros"].value == pytest.approx(5, rel=0.05)
    assert found.nmse["replicate"].value == pytest.approx(2, rel=0.05)
    assert found.nmse["zeros"].low < 5.05
    assert found.nmse["zeros"].high > 4.95


def test_true_cells_are_those_of_a_valid_network() -> None:
    """The third layer of a stack, against the same layers without padding, its ring gone through cell by cell."""
    net, images = stack(), noise(3, 30)
    found = ring_nmse(net, images, ["zeros", "reflect"], window=30, size=8, grid=1)["4 conv2d"]
    for name in ("zeros", "reflect"):
        error = variance = 0.0
        for image in images:
            x = F.conv2d(image, net[0].weight, net[0].bias).tanh()
            x = F.conv2d(x, net[2].weight, net[2].bias).tanh()[:, 8:18, 8:18].detach()  # 26 cells, the middle 10
            padded = F.pad(x[:, 1:9, 1:9], (1, 1, 1, 1), mode="constant" if name == "zeros" else "reflect")
            for true, made in zip(x, padded, strict=True):
                ring = [(i, j) for i in range(10) for j in range(10) if i in (0, 9) or j in (0, 9)]
                mean = sum(float(true[at]) for at in ring) / len(ring)
                error += sum(float(true[at] - made[at]) ** 2 for at in ring)
                variance += sum((float(true[at]) - mean) ** 2 for at in ring)
        assert found.nmse[name].value == pytest.approx(error / variance, rel=1e-4)


def test_circular_padding_is_true_to_a_scene_of_that_period() -> None:
    images = [one.repeat(1, 3, 3) for one in noise(3, 8)]
    found = ring_nmse(stack(), images, ["circular", "zeros"], window=24, size=8)
    assert len(found) == 3
    for layer in found.values():
        assert layer.nmse["circular"].value < 1e-10
        assert layer.nmse["zeros"].value > 0.5


def test_own_padding_is_what_each_operator_does() -> None:
    images = noise(3, 48)
    net = sequential(conv(padding_mode="reflect"), nn.MaxPool2d(3, 1, 1), conv(4, 4))
    found = ring_nmse(net, images, ["own", "reflect", "zeros"], window=48)
    assert list(found) == ["0 pad", "1 max_pool2d", "2 conv2d"]
    assert found["0 pad"].nmse["own"] == found["0 pad"].nmse["reflect"]
    assert found["2 conv2d"].nmse["own"] == found["2 conv2d"].nmse["zeros"]
    assert math.isnan(found["1 max_pool2d"].nmse["own"].value)
    converted = ring_nmse(pp.convert(net, "replicate"), images, ["own", "replicate"], window=48)
    for layer in converted.values():
        assert layer.nmse["own"] == layer.nmse["replicate"]


def test_operators_without_true_cells_are_listed() -> None:
    found = ring_nmse(unet(1, "bilinear"), noise(2, 32), window=32)
    assert found.unmeasured == {"up.0 interpolate": "clamps inside the resampling"}
    pooled = sequential(conv(), Lambda(lambda x: x * x.mean((2, 3), keepdim=True)), conv(4, 4))
    assert "no cell is free of padding" in ring_nmse(pooled, noise(2, 32), window=32).unmeasured["2 conv2d"]
    small = ring_nmse(stack(), noise(2, 9), window=9)
    assert list(small) == ["0 conv2d", "2 conv2d"]
    assert "only 5 x 5 cells of 9 x 9" in small.unmeasured["4 conv2d"]
    assert "not measured: 4 conv2d" in str(small)


def test_random_cells_are_the_same_in_every_run() -> None:
    images, net = noise(3, 40), stack()
    runs = [ring_nmse(net, images, ["randn"], window=32, seed=s).to_dict() for s in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_bad_input_to_rings() -> None:
    net = stack()
    with left_as_found(net):
        ring_nmse(net, noise(2, 32))
        with pytest.raises(PaddingError, match="partial padding changes what operators do"):
            ring_nmse(net, noise(2, 32), ["partial"])
        with pytest.raises(PaddingError, match="0 conv2d, padded by reflect: reflect padding cannot add 1 cells"):
            ring_nmse(net, noise(2, 32), ["reflect"], size=1)
        with pytest.raises(ImagesError, match="image 0 is 32x32 px, smaller than a window of 64 px"):
            ring_nmse(net, noise(2, 32), window=64)
        with pytest.raises(ModelError, match="size must be a whole number of 1 or more, but got 0"):
            ring_nmse(net, noise(2, 32), size=0)
        with pytest.raises(ModelError, match="the model fails on a window"):
            ring_nmse(net, noise(2, 32, channels=4))
        with pytest.raises(TypeError, match="no such option: crop"):
            ring_nmse(net, noise(2, 32), crop=16)


# --------------------------------------------------------------------------------------------------- shift consistency


def test_changes_by_hand() -> None:
    scene = torch.arange(20.0).reshape(1, 4, 5)
    one, two = scene[:, :3, :3], scene[:, 1:, 2:]  # one row down, two columns to the right
    assert change_squares(one, two, (1, 2)).tolist() == [0, (7**2 + 12**2)]
    assert change_squares(two, one, (-1, -2))[0] == 0
    assert change_squares(one, one + 1, (0, 0)).tolist()[0] == 9
    assert change_squares(one, two, (3, 0)).tolist() == [0, 0]


def classifier(net: nn.Module, channels: int) -> nn.Module:
    """A head of one linear layer on the mean of `net`'s map."""
    head = nn.Linear(channels, 3)
    nn.init.orthogonal_(head.weight, generator=torch.Generator().manual_seed(1))
    nn.init.zeros_(head.bias)
    return nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()


def test_a_pointwise_network_is_consistent() -> None:
    found = shift_consistency(classifier(pointwise(), 5), [torch.ones(3, 40, 40)] * 3, crop=16, shift=8)
    assert found.classes.padded.value == found.classes.optimal.value == 1
    found = shift_consistency(pointwise(), noise(3, 40), crop=16, shift=8)
    (layer,) = found.values()
    for one in (layer.change.padded, layer.change.optimal, layer.change.added):
        assert numbers(one) == (0, 0, 0)
    assert found.classes is None
    assert "no top class: the output (1x5x16x16) is not one row of scores" in found.remarks


def test_without_strides_all_of_the_change_is_the_border() -> None:
    layer = shift_consistency(stack(), noise(4, 48), crop=16, shift=8)["4"]
    assert layer.change.optimal.value < 1e-6
    assert layer.change.padded.low > 0.05
    assert layer.change.added.value == pytest.approx(layer.change.padded.value, abs=1e-6)


def test_with_strides_steps_of_the_total_stride_leave_the_border_alone() -> None:
    images = noise(4, 64)
    free, aligned = (shift_consistency(stride_two(), images, crop=32, shift=9, step=step)["2"] for step in (1, 4))
    assert free.change.optimal.low > 0.3
    assert aligned.change.optimal.value < 1e-6
    assert aligned.change.padded.low > 0.05


def test_agreement_against_every_pair_of_shifts() -> None:
    """Few positions, many pairs: the shares approach those over all pairs of shifts, worked out one crop at a time."""
    net = stack()
    model, image = classifier(net, 4), noise(1, 19)[0]
    with torch.no_grad():
        features = net(image.unsqueeze(0))[..., 3:-3, 3:-3]  # 13 cells of the 19 are free of padding
        model[3].bias -= model[3](features.mean((-2, -1)))[0]  # no class is the top one throughout
        tops = {"padded": [], "optimal": []}
        for y in range(3):
            for x in range(3):
                tops["padded"].append(int(model(image[None, :, 3 + y : 14 + y, 3 + x : 14 + x]).argmax()))
                tops["optimal"].append(int(model[3](features[..., y : y + 11, x : x + 11].mean((-2, -1))).argmax()))
    expected = {kind: sum(a == b for a in found for b in found) / len(found) ** 2 for kind, found in tops.items()}
    assert 0.3 < expected["padded"] < 0.98
    assert expected["padded"] != expected["optimal"]
    found = shift_consistency(model, [image], crop=11, shift=3, crops_per_image=600)
    assert found.classes_from == "0"
    for kind, share in expected.items():
        assert getattr(found.classes, kind).value == pytest.approx(share, abs=0.06)


def test_no_control_where_the_output_sees_past_every_layer() -> None:
    class Skipping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = stack()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).mean((2, 3)) + x.mean((1, 2, 3)).unsqueeze(1)

    found = shift_consistency(Skipping(), noise(2, 40), layers=["net.4"], crop=16, shift=4)
    assert found.classes_from is None
    assert math.isnan(found.classes.optimal.value)
    assert found.classes.padded.value >= 0
    assert any(remark.startswith("no control for the top class") for remark in found.remarks)


def test_bad_input_to_shifts() -> None:
    net = stack()
    with left_as_found(net):
        shift_consistency(net, noise(2, 40), crop=16, shift=4)
        with pytest.raises(ImagesError, match=r"image 0 is 22x22 px.* needs 25x25 px"):
            shift_consistency(net, noise(2, 22), crop=16, shift=4)
        with pytest.raises(ModelError, match="shift must be a whole number of 1 or more, but got 0"):
            shift_consistency(net, noise(2, 40), crop=16, shift=0)


# ------------------------------------------------------------------------------------------------------- tile mismatch


def test_seams_by_hand() -> None:
    whole = torch.ones(1, 2, 3, 3)
    tiles = whole.clone()
    tiles[0, 0, 0] = 3.0  # three cells of the seam, in one of two channels, are off by 2
    tiles[0, 1, 1, 1] = 2.0
    assert seam_squares(tiles, whole).tolist() == [12, 16, 1, 2]
    seam, size, *elsewhere = seam_squares(tiles, whole, 2).tolist()
    assert (seam, size) == (13, 18)
    assert all(map(math.isnan, elsewhere))


def test_zeros_around_ones_at_the_seams() -> None:
    """A box filter of ones next to zeros: edges are short of 1/3, corners of 5/9, of whole features of 1."""
    found = tile_mismatch(box_filter(), [torch.ones(3, 32, 32)] * 3, crop=8)["0"]
    expected = math.sqrt((24 / 9 + 4 * 25 / 81) / 28)
    assert numbers(found.seam) == pytest.approx((expected,) * 3)
    assert found.elsewhere.value == 0
    assert found.ratio.value == math.inf


@pytest.mark.parametrize("make", [pointwise, valid])
def test_no_seam_where_nothing_is_padded(make: object) -> None:
    for layer in tile_mismatch(make(), noise(3, 40), crop=16).values():
        assert (layer.seam.value, layer.elsewhere.value) == pytest.approx((0, 0), abs=1e-6)


def test_tiles_laid_side_by_side() -> None:
    """Four tiles against one pass; their seams, whichever sides meet, are what crops at the same places score."""
    net, image = stack(), noise(1, 38)[0]
    with torch.no_grad():
        whole = net(image.unsqueeze(0))[..., 3:35, 3:35]
        places = [(y, x) for y in (0, 16) for x in (0, 16)]
        tiles = torch.cat([net(image[None, :, 3 + y : 19 + y, 3 + x : 19 + x]) for y, x in places])
        windows = torch.cat([whole[..., y : y + 16, x : x + 16] for y, x in places])
    seam = torch.zeros(16, 16, dtype=torch.bool)
    seam[[0, -1]] = seam[:, [0, -1]] = True
    expected = [float((tiles - windows)[..., m].norm() / windows[..., m].norm()) for m in (seam, ~seam)]
    sums = seam_squares(tiles, windows)
    assert [float((sums[i] / sums[i + 1]).sqrt()) for i in (0, 2)] == pytest.approx(expected, rel=1e-5)
    everywhere = [image] * 3  # all 23 x 23 positions of a crop
    found = tile_mismatch(net, everywhere, crop=16, crops_per_image=529)["4"]
    assert (found.seam.value, found.elsewhere.value) == pytest.approx(expected, rel=0.1)


def test_circular_tiles_of_a_scene_of_that_period_have_no_seams() -> None:
    scenes = [one.repeat(1, 3, 3) for one in noise(3, 16)]
    own, circular = (tile_mismatch(stack(), scenes, crop=16, padding=name)["4"] for name in (None, "circular"))
    assert own.seam.low > 0.3
    assert circular.seam.value < 1e-6


def test_bad_input_to_tiles() -> None:
    net = stack()
    with left_as_found(net), pytest.raises(ModelError, match="a seam is 1 cell wide or more, but width is 0"):
        tile_mismatch(net, noise(2, 40), width=0, crop=16)


def test_the_interval_of_a_share_stays_within_0_and_1() -> None:
    sums = GroupSums()
    for group in range(10):
        sums.add(group, 4.0, 4.0)
    every = share_of(sums.estimate(lambda total: ratio(*total)))
    t2 = student_quantile(9) ** 2
    assert numbers(every) == pytest.approx((1, 1 / (1 + t2 / 10), 1))  # ten trials, all of which agree
    sums.add(3, -1.0, 0.0)
    most = share_of(sums.estimate(lambda total: ratio(*total)))
    assert 0.8 < most.low < most.value < most.high < 1
    found = shift_consistency(classifier(pointwise(), 5), [torch.ones(3, 40, 40)] * 3, crop=16, shift=8)
    assert found.classes.padded.high == 1
    assert found.classes.padded.low < 1


def test_the_interval_of_a_share_covers_it() -> None:
    """Images of which a pair agrees with a chance of their own, 0.9 on average."""
    generator, hits = torch.Generator().manual_seed(0), 0
    for _ in range(200):
        sums = GroupSums()
        for group in range(10):
            chance = 1.0 if torch.rand((), generator=generator) < 0.6 else 0.75
            sums.add(group, (torch.rand(4, generator=generator) < chance).sum(), 4.0)
        one = share_of(sums.estimate(lambda total: ratio(*total)))
        hits += one.low <= 0.9 <= one.high
    assert 184 <= hits <= 200


# ------------------------------------------------------------------------------------------------------ meanE and disR


def test_entropy_by_hand() -> None:
    counts = torch.tensor([[2, 1, 3, 0], [0, 1, 1, 0]]).reshape(2, 1, 4)  # all one, half and half, 3 to 1, unseen
    entropy, mixed, seen = entropy_sums(counts).tolist()
    assert entropy == pytest.approx(1 + 2 - 0.75 * math.log2(3))
    assert (mixed, seen) == (2, 3)


def brighter_than(threshold: float) -> nn.Module:
    """Label 0 where the mean of the 3 x 3 cells around, with zeros beyond the edge, is above a threshold, else 1."""

    def forward(x: Tensor) -> Tensor:
        mean = F.avg_pool2d(x.mean(1, keepdim=True), 3, 1, 1)
        return torch.cat([mean, torch.full_like(mean, threshold)], 1)

    return Lambda(forward).eval()


def test_two_windows_by_hand() -> None:
    """Ones: label 0 inside a window of 4 x 4, label 1 in its outer ring. Windows over columns 0-3 and 2-5 disagree on
    rows 1 and 2 of columns 2 and 3: 4 of 24 cells, one bit each."""
    images = [torch.ones(3, 4, 6)] * 4
    found = label_consistency(brighter_than(0.8), images, window=4, step=2, cells="all")
    assert found.n_crops == 8
    (layer,) = found.values()
    assert numbers(layer.mean_entropy) == pytest.approx((1 / 6,) * 3)
    assert numbers(layer.disagreeing) == pytest.approx((1 / 6,) * 3)
    assert layer.stride == (1, 1)
    assert any("few windows or one alone" in remark for remark in found.remarks)
    unseen = label_consistency(brighter_than(0.8), images, window=4, step=2, region=5, cells="all")["output"]
    assert unseen.mean_entropy.value == 0  # one window


@pytest.mark.parametrize(("size", "region"), [((11, 13), None), ((14, 15), 11)])
def test_the_published_cells_against_loops(size: tuple[int, int], region: int | None) -> None:
    """Windows from the corner on, pixels a window or more from every border, a mean for each image; all by loops."""
    net, images = stack(), noise(3, 16)
    images = [x[:, : size[0], : size[1]] for x in images]
    entropies, mixed = [], []
    for image in images:
        tops = [0 if region is None else (n - region) // 2 for n in size]
        inside = [n if region is None else region for n in size]
        labels: dict[tuple[int, int], list[int]] = {}
        for y in range(0, inside[0] - 4 + 1, 2):
            for x in range(0, inside[1] - 4 + 1, 2):
                window = image[None, :, tops[0] + y : tops[0] + y + 4, tops[1] + x : tops[1] + x + 4]
                with torch.no_grad():
                    found = net(window).argmax(1)[0]
                for row in range(4):
                    for column in range(4):
                        labels.setdefault((y + row, x + column), []).append(int(found[row, column]))
        cells = [labels[y, x] for y in range(4, inside[0] - 4) for x in range(4, inside[1] - 4)]
        assert {len(cell) for cell in cells} == {4}
        shares = [[cell.count(label) / len(cell) for label in set(cell)] for cell in cells]
        entropies.append(sum(-sum(p * math.log2(p) for p in cell) for cell in shares) / len(cells))
        mixed.append(sum(len(cell) > 1 for cell in shares) / len(cells))
    layer = label_consistency(net, images, window=4, step=2, region=region)["4"]
    assert layer.mean_entropy.value == pytest.approx(sum(entropies) / 3)
    assert layer.disagreeing.value == pytest.approx(sum(mixed) / 3)
    assert layer.disagreeing.value > 0.1


@pytest.mark.parametrize("padding", [None, "randn"])
def test_labels_of_single_pixels_agree(padding: str | None) -> None:
    net = sequential(conv(3, 4, 1)) if padding is None else brighter_than(-9)
    (layer,) = label_consistency(net, noise(2, 20), window=8, padding=padding).values()
    assert numbers(layer.mean_entropy) == numbers(layer.disagreeing) == (0, 0, 0)


def test_labels_depend_on_neither_batches_nor_mirrors() -> None:
    net, images = stack(), noise(3, 20)
    mirrored = Lambda(lambda x: net(x.flip(-1)).flip(-1))
    mirrored.net = net
    options = {"window": 8, "step": 4, "cells": "all"}
    one, two = (label_consistency(net, images, batch_size=n, **options)["4"] for n in (1, 5))
    three = label_consistency(mirrored, [x.flip(-1) for x in images], layers="output", **options)["output"]
    assert one == two
    assert one.mean_entropy.value == pytest.approx(three.mean_entropy.value)
    assert one.disagreeing.value > 0.2


def test_layers_that_see_everything_are_labelled_by_their_size() -> None:
    net = sequential(conv(), Lambda(lambda x: x - x.mean((2, 3), keepdim=True)), conv(4, 4, 1))
    found = label_consistency(net, noise(3, 24), window=8, step=4, layers=["2"])
    assert found["2"].stride == (1, 1)
    assert found["2"].disagreeing.value > 0


def test_aliasing_is_told() -> None:
    images = noise(2, 40)
    on, off = (label_consistency(stride_two(), images, window=16, step=step) for step in (4, 2))
    assert not any("aliasing" in remark for remark in on.remarks)
    assert any("no multiple of the total stride (4 x 4 px)" in remark for remark in off.remarks)


def test_bad_input_to_labels() -> None:
    net, coarse, single = stack(), stride_two(), sequential(conv(3, 1))
    with left_as_found(net):
        label_consistency(net, noise(2, 20), window=8)
        with pytest.raises(ImagesError, match="no cell of 4 lies 8 px or more from every border"):
            label_consistency(net, noise(2, 16), window=8)
        with pytest.raises(ModelError, match="cells must be one of inner, all, but got 'some'"):
            label_consistency(net, noise(2, 20), window=8, cells="some")
        with pytest.raises(ImagesError, match="image 0 is 20x20 px, of which 20 are covered: a window of 475 px"):
            label_consistency(net, noise(2, 20))
        with pytest.raises(LayerError, match=r"a step of 3 x 3 px is not a whole number of its cells \(4 x 4 px\)"):
            label_consistency(coarse, noise(2, 40), window=16, step=3, layers=["2"])
        with pytest.raises(LayerError, match="a map of one channel has one label"):
            label_consistency(single, noise(2, 20), window=8)


# ----------------------------------------------------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_photographs(noise(3, 48), tmp_path_factory.mktemp("photos"))


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [*arguments, "--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2"])


@pytest.mark.parametrize(
    ("arguments", "work"),
    [
        (["probe", "--crop", "16", "--crops-per-image", "4"], lambda net, x: probe(net, x, crop=16, crops_per_image=4)),
        (
            ["ring", "--padding", "own", "reflect", "--window", "40"],
            lambda net, x: ring_nmse(net, x, ["own", "reflect"], window=40),
        ),
        (["shift", "--crop", "16", "--shift", "8"], lambda net, x: shift_consistency(net, x, crop=16, shift=8)),
        (
            ["tiles", "--crop", "16", "--layers", "0,4"],
            lambda net, x: tile_mismatch(net, x, crop=16, layers=["0", "4"]),
        ),
        (["labels", "--window", "16", "--step", "8"], lambda net, x: label_consistency(net, x, window=16, step=8)),
        (
            ["labels", "--window", "24", "--step", "8", "--cells", "all"],
            lambda net, x: label_consistency(net, x, window=24, step=8, cells="all"),
        ),
    ],
    ids=["probe", "ring", "shift", "tiles", "labels", "labels of all cells"],
)
def test_commands_say_what_functions_return(arguments: list[str], work: Any, photos: str) -> None:
    command, *rest = arguments
    found = run(command, "nets:stack", photos, *rest, "--json")
    assert found.exit_code == 0, found.stderr
    expected = work(stack(), as_source(photos, mean=(0.5,) * 3, std=(0.2,) * 3))
    assert json.loads(found.stdout) == json.loads(json.dumps(expected.to_dict()))
    assert all(text in found.stderr for text in (*expected.table()[1][0], *expected.lines()))
    assert run(command, "nets:stack", photos, *rest, "--quiet").stdout == ""


def test_commands_fail_in_one_line(photos: str) -> None:
    found = run("tiles", "nets:stack", photos)
    assert found.exit_code == 1
    assert found.stdout == ""
    (line,) = found.stderr.strip().splitlines()
    assert line.startswith("error: 3 of 3 images are too small (the first is 0.png, 48x48 px): a 224x224 crop")
    assert run("labels", "nets:stack", photos, "--window", "big").exit_code == 2
