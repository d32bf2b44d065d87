"""PosENet: ground truths, readout, training, scores, controls; formulas written anew, SciPy, pairs that agree."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from helpers import left_as_found
from nets import Lambda, conv, pointwise, ready, sequential, stack
from padprint.baselines import (
    PATTERNS,
    PosENetResult,
    Readout,
    ReadoutSettings,
    ground_truth,
    ground_truths,
    posenet,
    score,
    train_readout,
)
from padprint.baselines.readout.features import (
    KeptFeatures,
    check_apart,
    features_of,
    from_random,
    official_layers,
    reinitialised,
    resized,
)
from padprint.baselines.readout.ground_truths import grey_levels
from padprint.baselines.readout.network import MapError, rank_correlation, ranks, spearman
from padprint.baselines.readout.taps import whole_specs
from padprint.cli import app
from padprint.errors import ImagesError, LayerError, ModelError, ResultError
from padprint.geometry.tracing import trace
from padprint.images.synthetic import DeadLeaves
from padprint.network.preserved import as_measured
from padprint.results.statistics import crossed

QUICK = ReadoutSettings(feat_size=12, epochs=2)
SMALL: dict[str, Any] = {"crop": 32, "settings": QUICK, "patterns": ["H", "G"]}


TILE = 96


@cache
def tiles() -> list[Tensor]:
    """Dead leaves, cut into 64 tiles: a scene each."""
    (whole,) = DeadLeaves(1, 8 * TILE, radii=(4, 16))
    return [tile for row in whole.split(TILE, 1) for tile in row.split(TILE, 2)]


def leaves(count: int, size: int = 64, start: int = 0) -> list[Tensor]:
    return [tile[:, :size, :size].clone() for tile in tiles()[start : start + count]]


def random_features(n: int, channels: int = 6, size: int = 28, seed: int = 0) -> Tensor:
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------ ground truths


def formula(pattern: str, i: int, j: int) -> float:
    """Grey level of pixel (i, j) of a 256 x 256 map, from the published description."""
    corner = math.exp(-(128**2 + 128**2) / (2 * 128**2))
    gauss = math.exp(-((i - 128) ** 2 + (j - 128) ** 2) / (2 * 128**2))
    return {
        "H": j,
        "V": i,
        "G": 255 * (gauss - corner) / (1 - corner),
        "HS": 127 + 127 * math.cos(2 * math.pi * i / 102.4 + 0.03),
        "VS": 127 + 127 * math.cos(2 * math.pi * j / 102.4 + 0.03),
    }[pattern]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_grey_levels_follow_the_formulas(pattern: str) -> None:
    levels = grey_levels(pattern)
    assert levels.shape == (256, 256)
    assert levels.dtype == np.uint8
    inside = range(1, 255, 6)  # the authors' stripes leave the cosine by three levels in the outermost rows
    for i in inside:
        for j in inside:
            assert abs(levels[i, j] - formula(pattern, i, j)) <= 1


def test_landmarks_of_the_patterns() -> None:
    gauss = grey_levels("G")
    assert (gauss[0, 0], gauss[128, 128], gauss[128, 0]) == (0, 255, 96)
    assert (grey_levels("H")[7] == np.arange(256)).all()
    assert (grey_levels("V")[:, 7] == np.arange(256)).all()
    assert (grey_levels("VS") == grey_levels("HS").T).all()
    stripes = grey_levels("HS")[:, 0].astype(int)
    crossings = np.flatnonzero(np.diff(np.sign(stripes - 127)) != 0)
    assert len(crossings) == 5  # two and a half periods
    assert (grey_levels("HS") == grey_levels("HS")[:, :1]).all()


@pytest.mark.parametrize(
    ("pattern", "mae", "mae_half", "mse"),
    [
        ("H", 0.251, 0.251, 0.0840),
        ("V", 0.251, 0.251, 0.0840),
        ("G", 0.197, 0.203, 0.0545),
        ("HS", 0.317, 0.317, 0.124),
        ("VS", 0.317, 0.317, 0.124),
    ],
)
def test_floors_of_a_constant_drawing(pattern: str, mae: float, mae_half: float, mse: float) -> None:
    target = ground_truth(pattern)
    assert target.shape == (224, 224)
    assert float(target.min()) == 0
    assert float((target - target.median()).abs().mean()) == pytest.approx(mae, abs=5e-4)
    assert float((target - 0.5).abs().mean()) == pytest.approx(mae_half, abs=5e-4)
    assert float(target.var()) == pytest.approx(mse, abs=5e-4)


def test_unknown_patterns_are_refused() -> None:
    with pytest.raises(ModelError, match="there is no pattern 'D'; there are H, V, G, HS, VS"):
        ground_truth("D")
    for wrong in ([], "HV", ["H", "H"]):
        with pytest.raises(ModelError, match="patterns is a list of different ones"):
            ground_truths(wrong)


# ------------------------------------------------------------------------------------------------------------ readout


def test_the_readout_draws_26_cells_and_enlarges_them_to_224_px() -> None:
    readout = Readout(1472, 1, (224, 224), ReadoutSettings())
    assert [type(layer) for layer in readout.layers] == [nn.Conv2d, nn.BatchNorm2d, nn.Sigmoid]
    assert sum(p.numel() for p in readout.parameters()) == 1472 * 9 + 1 + 2
    features = random_features(2, 1472)
    assert readout.cells(features).shape == (2, 1, 26, 26)
    assert readout(features).shape == (2, 1, 224, 224)
    limit = math.sqrt(6 / (9 * (1472 + 1)))
    weight = readout.layers[0].weight.detach()
    assert 0.99 * limit < float(weight.abs().max()) <= limit
    assert float(readout.layers[0].bias.detach().abs().max()) == 0


def test_a_deeper_readout_keeps_its_channels_and_shrinks_at_every_convolution() -> None:
    settings = ReadoutSettings(depth=3)
    readout = Readout(6, 2, (224, 224), settings)
    assert readout.cells(random_features(2)).shape == (2, 2, 22, 22)
    kinds = [type(layer) for layer in readout.layers]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2 + [nn.Conv2d, nn.BatchNorm2d, nn.Sigmoid]
    alone = 2 * (6 * 6 * 9 + 6 + 12) + (6 * 9 + 1 + 2)
    assert sum(p.numel() for p in readout.parameters()) == 2 * alone
    padded = Readout(6, 1, (224, 224), ReadoutSettings(padding=1))
    assert padded.cells(random_features(1)).shape == (1, 1, 28, 28)


def test_the_error_of_enlarged_drawings_needs_no_enlarging() -> None:
    targets = ground_truths()
    cells = torch.rand(3, 5, 26, 26, requires_grad=True)
    quick = MapError(targets, 26)(cells)
    (slope,) = torch.autograd.grad(quick.sum(), cells)
    slow = torch.stack(
        [
            F.mse_loss(F.interpolate(cells[:, p : p + 1], (224, 224), mode="bilinear"), targets[p].expand(3, 1, -1, -1))
            for p in range(5)
        ]
    )
    (expected,) = torch.autograd.grad(slow.sum(), cells)
    assert torch.allclose(quick, slow, atol=1e-6)
    assert float((slope - expected).norm() / expected.norm()) < 1e-5


def official_training(features: Tensor, target: Tensor, epochs: int, drop: int, seed: int) -> nn.Module:
    """The authors' training as plain steps: one pattern, a readout written out, the loss on the enlarged drawing."""
    generator = torch.Generator().manual_seed(seed)
    channels = features.shape[1]
    layer = nn.Conv2d(channels, 1, 3)
    limit = math.sqrt(6 / (9 * (channels + 1)))
    layer.weight.data.uniform_(-limit, limit, generator=generator)
    layer.bias.data.zero_()
    net = nn.Sequential(layer, nn.BatchNorm2d(1), nn.Sigmoid(), nn.Upsample(target.shape, mode="bilinear"))
    speed = [torch.zeros_like(p) for p in net.parameters()]
    for epoch in range(epochs):
        rate = 0.1 * (0.1 if epoch >= drop else 1)
        for chosen in torch.randperm(len(features), generator=generator).split(32):
            net.zero_grad()
            drawn = net(features[chosen])
            ((drawn - target) ** 2).mean().backward()
            with torch.no_grad():
                for v, p in zip(speed, net.parameters(), strict=True):
                    v.mul_(0.9).add_(p.grad + 1e-4 * p)
                    p.sub_(rate * v)
    return net.eval()


def test_training_follows_the_authors_steps() -> None:
    features, target = random_features(40), ground_truth("G")
    plain = official_training(features, target, epochs=4, drop=2, seed=3)
    readout = train_readout(features, target, ReadoutSettings(epochs=4, drops=(2,)), seed=3)
    with torch.no_grad():
        assert torch.allclose(readout(features), plain(features), atol=1e-4)
    constant_rate = train_readout(features, target, ReadoutSettings(epochs=4, drops=()), seed=3)
    with torch.no_grad():
        assert not torch.allclose(constant_rate(features), plain(features), atol=1e-3)


@pytest.mark.parametrize("depth", [1, 2])
def test_patterns_are_learnt_side_by_side_as_if_alone(depth: int) -> None:
    features, targets = random_features(40, size=12), ground_truths(size=48)
    settings = ReadoutSettings(feat_size=12, epochs=3, depth=depth)
    together = score(train_readout(features, targets, settings), features, targets)
    for p in range(5):
        alone = score(train_readout(features, targets[p], settings), features, targets[p])
        assert torch.allclose(alone[1][:, 0], together[1][:, p], atol=1e-4)


def test_training_depends_on_the_seed_alone_and_leaves_randomness_alone() -> None:
    features, target = random_features(40, size=12), ground_truth("H", 48)
    before = torch.get_rng_state()
    with torch.no_grad():
        one, two, other = (train_readout(features, target, QUICK, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one(features), two(features))
    assert not torch.equal(one(features), other(features))


def test_a_coordinate_is_drawn_and_noise_is_not() -> None:
    settings = ReadoutSettings(feat_size=12, epochs=15)
    targets = ground_truths(["H", "V"], 48)
    rows = torch.linspace(-1, 1, 12)
    features = random_features(48, 4, 12)
    unseen = random_features(48, 4, 12, seed=1)
    for spc in score(train_readout(features, targets, settings), unseen, targets)[0].mean(0):
        assert abs(float(spc)) < 0.1
    for one in (features, unseen):
        one[:, 0] += 5 * rows
    horizontal, vertical = score(train_readout(features, targets, settings), unseen, targets)[0].mean(0)
    assert float(horizontal) > 0.95
    assert abs(float(vertical)) < 0.1


def test_half_precision_features_are_read_as_single() -> None:
    features, target = random_features(40, size=12), ground_truth("H", 48)
    half = features.half()
    one, two = (train_readout(x, target, QUICK)(features) for x in (half, half.float()))
    assert torch.equal(one, two)


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong, words in (
        ({"epochs": 0}, "epochs of the readout must be a whole number of 1 or more, but got 0"),
        ({"depth": 1.5}, "depth of the readout must be a whole number"),
        ({"lr": -1.0}, "lr of the readout must be 0 or more, but got -1.0"),
        ({"lr": math.nan}, "lr of the readout must be 0 or more"),
        ({"feat_size": 4, "depth": 2}, "nothing is left of 4 cells after 2 convolutions of 3 cells"),
        ({"drops": (0,)}, "drops of the readout are epochs from 1 on"),
    ):
        with pytest.raises(ModelError, match=words):
            ReadoutSettings(**wrong)
    with pytest.raises(ImagesError, match=r"\(channels, 28, 28\) features of every image, got \(6, 12, 12\)"):
        train_readout(random_features(4, size=12), ground_truth("H"))
    with pytest.raises(ModelError, match="the readout's loss is nan in epoch 0"):
        train_readout(random_features(4) * math.inf, ground_truth("H"))


# ------------------------------------------------------------------------------------------------------------- scores


def test_rank_correlation_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = torch.Generator().manual_seed(0)
    target = ground_truths(["G", "HS"], 40)
    continuous = torch.rand(3, 2, 40, 40, generator=generator)
    tied = (continuous * 7).round() / 7
    for drawn in (continuous, tied, 1 - target.expand(3, -1, -1, -1)):
        found = rank_correlation(drawn, target)
        for n in range(3):
            for p in range(2):
                expected = stats.spearmanr(drawn[n, p].flatten().numpy(), target[p].flatten().numpy())[0]
                assert float(found[n, p]) == pytest.approx(expected, abs=1e-12)


def test_ranks_by_hand() -> None:
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]
    falling = spearman(torch.tensor([[3.0, 2.0, 1.0]]), [ranks(torch.tensor([0.1, 0.2, 7.0]))])
    assert falling.tolist() == [-1]


def test_a_constant_drawing_has_no_rank_order() -> None:
    target = ground_truths(["H"], 40)
    constant = torch.full((1, 1, 40, 40), 0.3)
    assert bool(spearman(constant.flatten(2)[0], [ranks(target[0].flatten())]).isnan())
    assert bool(rank_correlation(constant, target).isnan())
    rounding = constant + 1e-8 * target  # what is left of a constant after enlarging it
    assert bool(rank_correlation(rounding, target).isnan())
    assert float(rank_correlation(constant + 1e-3 * target, target)) > 0.99


# ------------------------------------------------------------------------------------------------- features and views


def test_official_layers() -> None:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        assert official_layers(models.vgg16()) == [f"features.{i}" for i in (3, 8, 15, 22, 29)]
        assert official_layers(models.resnet18()) == ["layer1", "layer2", "layer3", "layer4"]
        assert official_layers(models.mobilenet_v2()) is None
        vgg = models.vgg16(init_weights=False)
    vgg.classifier = nn.Identity()  # most of the weights, behind what is read
    vgg = ready(vgg.to_empty(device="cpu"))
    with as_measured(vgg):
        specs = whole_specs(vgg, "auto", torch.randn(1, 3, 32, 32))
        features = features_of(vgg, specs, torch.randn(2, 3, 32, 32), 28)
    assert [spec.channels for spec in specs.values()] == [64, 128, 256, 512, 512]
    assert features.shape == (2, 1472, 28, 28)
    assert float(features.min()) >= 0  # behind the ReLUs


def test_other_networks_are_read_last_at_each_resolution_as_measure_does() -> None:
    net = sequential(conv(), nn.ReLU(), conv(4, 6, stride=2), nn.ReLU(), conv(6, 5))
    with as_measured(net):
        specs = whole_specs(net, "auto", torch.randn(1, 3, 32, 32))
    assert list(specs) == list(trace(net, crop=32))
    assert [(spec.channels, spec.size) for spec in specs.values()] == [(4, (32, 32)), (5, (16, 16))]


def test_maps_with_channels_last_are_found() -> None:
    net = sequential(conv(), Lambda(lambda x: x.permute(0, 2, 3, 1)))
    x = torch.randn(2, 3, 30, 30)
    with as_measured(net):
        (spec,) = whole_specs(net, ["1"], x[:1]).values()
        assert (spec.channels, spec.size) == (4, (30, 30))
        assert torch.allclose(features_of(net, {"1": spec}, x, 30), net[0](x), atol=1e-6)


def test_layers_that_are_no_maps_are_refused() -> None:
    net = sequential(conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for layers in (["1"], ["2"]):
        with pytest.raises(LayerError, match=r"the output must be a \(batch, channels, height, width\) map"):
            posenet(net, leaves(3), layers=layers, **SMALL)


def test_features_are_resized_with_aligned_corners() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    assert torch.allclose(resized(ramp, 9)[0, 0, 3], torch.arange(9) / 2)


def test_kept_features_are_those_computed_anew() -> None:
    """A readout that sees features of fresh forward passes in every epoch ends where one on kept features ends."""
    net, images = stack(), torch.stack(leaves(40, 32))
    target, settings = ground_truth("H", 32), ReadoutSettings(feat_size=12, epochs=3)

    with as_measured(net):
        specs = whole_specs(net, "auto", images[:1])
        kept = KeptFeatures(torch.float32)
        for start in range(0, 40, 7):
            kept.add("padded", features_of(net, specs, images[start : start + 7], 12))
        stored = torch.stack(kept.features("padded", range(40)))
        generator = torch.Generator().manual_seed(0)
        readout = Readout(stored.shape[1], 1, (32, 32), settings, generator)
        optimiser = torch.optim.SGD(readout.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
        for _ in range(3):
            for chosen in torch.randperm(40, generator=generator).split(32):
                anew = features_of(net, specs, images[chosen], 12)
                with torch.enable_grad():
                    loss = F.mse_loss(readout(anew)[:, 0], target.expand(len(chosen), -1, -1))
                    optimiser.zero_grad()
                    loss.backward()
                optimiser.step()
        readout.eval()
        assert torch.allclose(train_readout(stored, target, settings)(stored), readout(stored), atol=1e-5)


def test_kept_features_hold_their_order_and_are_not_copied() -> None:
    kept = KeptFeatures(torch.float32)
    features = random_features(6, 2, 4)
    for part in features.split(4):
        kept.add("padded", part)
    one, two = kept.features("padded", [4, 0])
    assert torch.equal(one, features[4])
    assert torch.equal(two, features[0])
    assert one.data_ptr() == kept.features("padded", [4])[0].data_ptr()
    kept.forget("padded")
    assert not kept.holds("padded")


def test_a_list_of_features_is_read_as_a_tensor_is() -> None:
    features, targets = random_features(40, size=12), ground_truths(["H"], 48)
    as_tensor, as_list = (train_readout(x, targets, QUICK) for x in (features, list(features)))
    assert torch.equal(as_tensor(features), as_list(features))
    assert torch.equal(score(as_tensor, features, targets)[0], score(as_list, list(features), targets)[0])


def test_features_that_cannot_be_kept_are_an_error() -> None:
    large = sequential(conv(), Lambda(lambda x: x * 1e7))
    with pytest.raises(ModelError, match="features of padded do not fit into float16"):
        posenet(large, leaves(3), storage=torch.float16, **SMALL)
    broken = sequential(conv(), Lambda(lambda x: x / 0 * 0))
    with pytest.raises(ModelError, match="features of padded are not finite"):
        posenet(broken, leaves(3), **SMALL)


# ----------------------------------------------------------------------------------------------------------- controls


def test_random_weights_are_drawn_anew_from_the_seed() -> None:
    net = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.PReLU(), conv(4, 4)).eval()
    net[1].running_mean.fill_(3)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    (one, same), (two, _), (other, _) = (reinitialised(net, seed) for seed in (0, 0, 1))
    assert same == []
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())
    weights = [m[0].weight for m in (net, one, two, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[3])
    assert float(one[1].running_mean.abs().max()) == 0
    assert float(one[0].bias.detach().abs().max()) == 0


class OwnWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.eye(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("dc,bchw->bdhw", self.mix, x)


def test_weights_that_cannot_be_drawn_anew_are_named() -> None:
    some = nn.Sequential(OwnWeight(), conv())
    result = posenet(some, leaves(4), sources=["random"], **SMALL)
    assert any("0.mix could not be drawn anew" in remark for remark in result.remarks)
    none = posenet(OwnWeight(), leaves(4), sources=["random", "constant"], **SMALL)
    assert set(none) == {"constant"}
    assert any("no weight of the network can be drawn anew" in remark for remark in none.remarks)


def test_batchnorm_of_the_random_network_is_calibrated() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)).eval()
    images = torch.stack(leaves(8, 32)) * 100 + 7
    with as_measured(net):
        specs = whole_specs(net, ["1"], images[:1])
        kept = KeptFeatures(torch.float32)
        kept.add_views(0, 0, images, keep=True)
        assert from_random(kept, net, specs, 32, 3, seed=0) == []
    features = torch.stack(kept.features("random", range(8)))
    assert float(features.mean((0, 2, 3)).abs().max()) < 1e-3
    assert float((features.std((0, 2, 3)) - 1).abs().max()) < 1e-2


def test_padding_is_told_from_content() -> None:
    """Zero padding around bright scenes: a readout of padded features draws, one of optimally padded features does not."""
    net = ready(nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2), nn.ReLU()))
    scenes = [scene + 2 for scene in leaves(24, 80)]
    settings = ReadoutSettings(feat_size=16, epochs=15)
    result = posenet(net, scenes, views="crops", crop=16, settings=settings, patterns=["G"], test_share=0.4)
    assert list(result) == ["padded", "optimal", "random", "raw", "constant"]
    padded, optimal = result["padded"]["G"], result["optimal"]["G"]
    assert padded.spc.low > 0.3
    assert abs(optimal.spc.value) < 0.15
    assert abs(result["raw"]["G"].spc.value) < 0.15
    added = result.added["G"]
    assert added.spc.value == pytest.approx(padded.spc.value - optimal.spc.value)
    assert added.spc.low > 0.2
    assert padded.mae.value < optimal.mae.value
    assert added.mae.high < 0


def test_a_network_without_padding_scores_nothing() -> None:
    settings = ReadoutSettings(feat_size=16, epochs=15)
    options: dict[str, Any] = {"settings": settings, "test_share": 0.5, "crop": 32}
    result = posenet(pointwise(), leaves(64, 64), views="crops", sources=["padded", "optimal"], **options)
    for pattern in PATTERNS:
        assert abs(result["padded"][pattern].spc.value) < 0.15
        assert result.added[pattern].spc.value == pytest.approx(0, abs=1e-3)  # the same features


class Coordinates(nn.Module):
    """Three channels of noise-free position, whatever the image."""

    def forward(self, x: Tensor) -> Tensor:
        y, x_ = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in x.shape[-2:]), indexing="ij")
        return torch.stack([y, x_, y**2 + x_**2]).expand(len(x), -1, -1, -1) + 0 * x


def test_a_network_that_returns_coordinates_scores_one() -> None:
    settings = ReadoutSettings(feat_size=28, epochs=60, drops=(50,))
    result = posenet(Coordinates(), leaves(8, 40), crop=56, settings=settings, sources=["padded", "constant"])
    for pattern in ("H", "V", "G"):
        assert result["padded"][pattern].spc.value > 0.98
        assert result["padded"][pattern].mae.value < 0.5 * result["constant"][pattern].mae.value


def test_constant_features_draw_nothing() -> None:
    net = sequential(conv(), Lambda(lambda x: 0 * x + 1.3))
    result = posenet(net, leaves(8), sources=["padded", "constant"], **SMALL)
    assert result["padded"]["H"].spc.value == 0
    assert result.constant_drawings == {"padded": 2 * 2}
    assert result["constant"]["H"].spc.value == 0
    assert result["constant"]["H"].mae.value == pytest.approx(0.25, abs=0.01)


# ------------------------------------------------------------------------------------------------- the run as a whole


def test_batch_size_and_company_do_not_matter() -> None:
    def values(**options: Any) -> list[float]:
        result = posenet(stack(), leaves(8), **{**SMALL, "sources": ["padded", "random"], **options})
        return [s.value for name in ("padded", "random") for s in (result[name]["H"].spc, result[name]["H"].mae)]

    one = values()
    assert values() == one
    for same in ({"batch_size": 3}, {"patterns": ["H"]}, {"sources": ["random", "raw", "padded"]}):
        assert values(**same) == pytest.approx(one, abs=1e-4)
    assert values(seed=1) != pytest.approx(one, abs=1e-4)


def test_the_model_is_left_as_found() -> None:
    net = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(inplace=True)).train()
    for views in ("whole", "crops"):
        with left_as_found(net):
            posenet(net, leaves(4), views=views, **SMALL)


def test_split_is_by_image_and_crops_of_an_image_stay_together() -> None:
    result = posenet(
        stack(), leaves(8, 96), views="crops", crops_per_image=3, test_share=0.25, sources=["padded"], **SMALL
    )
    assert (result.n_train, result.n_test, result.n_train_views, result.n_test_views) == (6, 2, 18, 6)
    assert result.updates == 2
    given = posenet(stack(), leaves(5), test_images=leaves(3, start=9), sources=["padded"], **SMALL)
    assert (given.n_train, given.n_test) == (5, 3)


def test_copies_in_both_sets_are_refused(tmp_path: Path) -> None:
    images = leaves(4)
    with pytest.raises(ImagesError, match="1 of the images for testing are also among those for training"):
        posenet(stack(), images, test_images=[*leaves(2, start=5), images[1].clone()], **SMALL)
    with pytest.raises(ImagesError, match="also among those for training"):
        check_apart([b"a", b"b"], [b"b"])
    posenet(stack(), [torch.ones(3, 40, 40)] * 4, sources=["padded"], **SMALL)  # nothing was learnt from a colour
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "one.png")
    with pytest.raises(ImagesError, match=r"1 files are both for training and for testing, the first one\.png"):
        posenet(stack(), tmp_path, test_images=[tmp_path / "one.png"], **SMALL)


def test_bad_input_gives_one_clear_error() -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"views": "tiles"}, ModelError, "views must be whole or crops, but got 'tiles'"),
        ({"sources": ["padded", "Random"]}, ModelError, "sources is a list out of padded, optimal, random, raw"),
        ({"sources": []}, ModelError, "sources is a list"),
        ({"sources": "padded"}, ModelError, "sources is a list"),
        ({"sources": ["optimal"]}, ModelError, 'ask for views="crops"'),
        ({"patterns": ["X"]}, ModelError, "there is no pattern 'X'"),
        ({"test_share": 1.0}, ModelError, "test_share must lie between 0 and 1, but got 1.0"),
        ({"normalise": True}, ImagesError, "tensors are taken as they are"),
        ({"layers": ["nowhere"]}, LayerError, "no layer of the model is called 'nowhere'"),
        ({"margin": 8}, TypeError, "no such option: margin"),
    ]
    for wrong, kind, words in cases:
        with pytest.raises(kind, match=words):
            posenet(stack(), leaves(3), **{**SMALL, **wrong})
    with pytest.raises(ImagesError, match="one image cannot be for training and for testing"):
        posenet(stack(), leaves(1), **SMALL)
    with pytest.raises(ImagesError, match="are too small"):
        posenet(stack(), leaves(3, 32), views="crops", **SMALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "photos"
    where.mkdir()
    for i, scene in enumerate(DeadLeaves(5, (60, 80), 3, radii=(2, 16), mean=0, std=1)):
        pixels = (scene.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(where / f"{i}.png")
    return where


def test_whole_photographs_are_resized_as_the_authors_loader_does(folder: Path) -> None:
    seen: list[Tensor] = []
    net = sequential(Lambda(lambda x: seen.append(x) or x), conv())
    result = posenet(net, folder, sources=["padded"], layers=["1"], **SMALL)
    first = next(x for x in seen if len(x) > 1)[0]
    with Image.open(folder / "0.png") as image:
        expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float32) / 255
    assert float((first.permute(1, 2, 0) - torch.from_numpy(expected)).abs().max()) < 1.01 / 255
    assert any("NOT normalised" in remark for remark in result.remarks)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.5, 0.5)
    seen.clear()
    normalised = posenet(net, folder, sources=["padded"], layers=["1"], mean=mean, std=std, **SMALL)
    again = next(x for x in seen if len(x) > 1)[0]
    assert torch.allclose(again, (first - torch.tensor(mean)[:, None, None]) / 0.5, atol=1e-5)
    assert any("which the authors' code does not do" in remark for remark in normalised.remarks)
    with pytest.raises(ImagesError, match="does not declare its normalisation"):
        posenet(net, folder, normalise=True, **SMALL)


def test_results_are_kept_and_shown(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    result = posenet(stack(), leaves(6, 80), views="crops", test_share=0.5, **SMALL)
    loaded = PosENetResult.load(result.save(tmp_path / "deep" / "er"))
    assert loaded.to_dict() == result.to_dict()
    assert str(loaded) == str(result)
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["scores"]["optimal"]["G"]["spc"]["value"] == result["optimal"]["G"].spc.value
    assert document["provenance"]["settings"]["feat_size"] == 12
    frame = result.to_frame()
    assert len(frame) == 2 * 6
    assert set(frame["source"]) == {*result, "padded - optimal"}
    text = str(result)
    assert "3 training and 3 test images (12 and 12 views), 2 updates" in text
    assert "2 updates are few" in text
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="cannot be a folder"):
        result.save(tmp_path / "file")
    with pytest.raises(ResultError, match=r"no posenet\.json"):
        PosENetResult.load(tmp_path)
    (tmp_path / "posenet.json").write_text('{"schema": 1, "scores": {}}')
    with pytest.raises(ResultError, match="is damaged"):
        PosENetResult.load(tmp_path)


# -------------------------------------------------------------------------------------------------------- the command

runner = CliRunner(env={"COLUMNS": "200"})


def command(folder: Path, *options: str) -> Any:
    quick = ["--crop", "24", "--feat-size", "8", "--epochs", "1", "--patterns", "H,VS"]
    return runner.invoke(app, ["baseline", "posenet", "nets:stack", str(folder), *quick, *options])


def test_the_command_prints_json_alone(folder: Path, tmp_path: Path) -> None:
    done = command(folder, "--views", "crops", "--json", "--output", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert set(document["scores"]) == {"padded", "optimal", "random", "raw", "constant"}
    assert set(document["scores"]["padded"]) == {"H", "VS"}
    assert "padded - optimal" in done.stderr
    assert PosENetResult.load(tmp_path / "out").to_dict() == document
    settings = document["provenance"]["settings"]
    assert settings == {**settings, "epochs": 1, "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 32}


def test_the_command_takes_test_images_and_refuses_what_does_not_go_together(folder: Path) -> None:
    files = [str(folder / f"{i}.png") for i in range(5)]
    quick = ["--crop", "24", "--feat-size", "8", "--epochs", "1", "--quiet", "--json"]
    tests = ["--test-images", files[3], "--test-images", files[4]]
    done = runner.invoke(app, ["baseline", "posenet", "nets:stack", *files[:3], *quick, *tests])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n_test"] == 2
    assert done.stderr == ""
    assert command(folder, "--crops-per-image", "2").exit_code == 2
    wrong = command(folder, "--patterns", "Z")
    assert wrong.exit_code == 1
    assert "error: there is no pattern 'Z'" in wrong.stderr


def test_default_options_are_the_authors() -> None:
    assert ReadoutSettings() == ReadoutSettings(
        feat_size=28,
        kernel=3,
        padding=0,
        depth=1,
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        batch_size=32,
        epochs=15,
        drops=(10,),
        drop_factor=0.1,
    )


# ------------------------------------------------------------------------------------------------- several trainings


def test_an_interval_holds_images_and_trainings() -> None:
    """By hand: images differ by 0, 2, 4 (variance 4, of the mean of three 4/3), trainings by 0 and 1 (variance 1/2, of two 1/4)."""
    values = torch.tensor([[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]], dtype=torch.float64)
    found = crossed(values)
    assert float(found.value) == pytest.approx(2.5)
    total = 4 / 3 + 1 / 4  # nothing is left of either
    freedom = total**2 / ((4 / 3) ** 2 / 2 + (1 / 4) ** 2 / 1)  # 2.7
    assert int(freedom) == 2
    half = scipy.stats.t.ppf(0.975, 2) * total**0.5
    assert float(found.high - found.value) == pytest.approx(half, rel=1e-6)
    one = crossed(values[:1])
    assert float(one.high - one.value) == pytest.approx(scipy.stats.t.ppf(0.975, 2) * (4 / 3) ** 0.5, rel=1e-6)
    assert one.replicates.tolist() == [3.0, 2.0, 1.0]


def test_intervals_over_images_and_trainings_cover() -> None:
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(400):
        images, trainings = torch.randn(1, 20, generator=generator), torch.randn(4, 1, generator=generator)
        found = crossed((images + trainings + torch.randn(4, 20, generator=generator)).double())
        covered += bool(found.low <= 0 <= found.high)
    assert 0.92 <= covered / 400 <= 1


def test_several_trainings_are_reported_with_their_spread() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    images = [torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(i)) for i in range(8)]
    few = ReadoutSettings(feat_size=8, epochs=2)
    options = {"layers": "1", "crop": 32, "sources": ["padded"], "patterns": ["H"], "settings": few, "test_share": 0.5}
    single = [posenet(net, images, **options, seed=seed)["padded"]["H"] for seed in (0,)]
    several = posenet(net, images, **options, seeds=3)
    assert several.provenance["seeds"] == 3
    assert "3 trainings" in several.lines()[-1]
    wide, narrow = several["padded"]["H"].mae, single[0].mae
    assert wide.value != narrow.value
    with pytest.raises(ModelError, match="seeds must be a whole number of 1 or more"):
        posenet(net, images, **options, seeds=0)
