"""`measure` against a slow reference written from the definitions: one canvas and two forwards for each crop, plain sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, gamma, nan, pi, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import nets
import nets_by_axes
from helpers import ESTIMATES, distance, gap, noise, photographs
from padprint import ImagesError, measure
from padprint.errors import MissingPackageError
from padprint.measuring.crop_plan import CropPlan
from padprint.results.measurement import Curve, Estimate, LayerMeasurement, Measurement

Array = np.ndarray
pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")


# ------------------------------------------------------------------------------------------------- the reference


def features(model: nn.Module, layer: str, x: Tensor) -> Array:
    """`(C, *cells)` output of a layer for one image."""
    found: list[Tensor] = []
    handle = model.get_submodule("" if layer == "output" else layer).register_forward_hook(
        lambda m, i, out: found.append(out.detach().clone())
    )
    try:
        with torch.no_grad():
            model(x[None])
    finally:
        handle.remove()
    return found[-1][0].double().numpy()


class Reference:
    """Every crop's D and F(x; *) in lists."""

    def __init__(
        self, model: nn.Module, images: Sequence[Tensor], layer: str, result: Measurement, **plan: Any
    ) -> None:
        options = result.provenance
        self.groups = options["groups"]
        draw = CropPlan(
            result.crop, result.margin, tuple(options["period"]), options["crops_per_image"], options["seed"]
        )
        crop, before, after = result.crop, result.margin[::2], result.margin[1::2]
        self.diffs: list[Array] = []
        self.optimal: list[Array] = []
        self.group: list[int] = []
        self.corners: list[tuple[int, ...]] = []
        for index, image in enumerate(images):
            for canvas in draw.canvases(tuple(image.shape[1:]), index):
                for place in canvas.crops:
                    corner = [a + b for a, b in zip(canvas.corner, place, strict=True)]
                    # where the margin is short, more scene is better: all that the canvas holds
                    first, last = list(canvas.corner), [a + n for a, n in zip(canvas.corner, canvas.size, strict=True)]
                    if not result.approximate:
                        first = [a - m for a, m in zip(corner, before, strict=True)]
                        last = [a + n + m for a, n, m in zip(corner, crop, after, strict=True)]
                    surrounded = image[(slice(None), *(slice(a, b) for a, b in zip(first, last, strict=True)))]
                    assert list(surrounded.shape[1:]) == [b - a for a, b in zip(first, last, strict=True)]
                    own = [slice(a, a + n) for a, n in zip(corner, crop, strict=True)]
                    padded = features(model, layer, image[(slice(None), *own)])
                    whole = features(model, layer, surrounded)
                    cells = [int((a - b) / s) for a, b, s in zip(corner, first, result[layer].stride, strict=True)]
                    window = whole[
                        (slice(None), *(slice(i, i + n) for i, n in zip(cells, padded.shape[1:], strict=True)))
                    ]
                    self.diffs.append(padded - window)
                    self.optimal.append(window)
                    self.group.append(index % self.groups)
                    self.corners.append((index, *corner))

    def means(self, kept: Sequence[int]) -> list[Array]:
        return [np.mean([d for d, g in zip(self.diffs, self.group, strict=True) if g == one], axis=0) for one in kept]

    def of(self, values: list[Array], kept: Sequence[int]) -> Array:
        return np.stack([v for v, g in zip(values, self.group, strict=True) if g in kept])

    def pattern(self, kept: Sequence[int]) -> Array:
        return self.of(self.diffs, kept).mean(0)

    def noise(self, kept: Sequence[int]) -> Array:
        """E[D^2] less P^2, which is the mean's square less the mean's variance; a single group's crops count as independent."""
        diffs, mean = self.of(self.diffs, kept), self.pattern(kept)
        if len(kept) == 1:
            return diffs.var(0, ddof=1)
        sizes = [self.group.count(group) for group in kept]
        apart = sum((n * (one - mean)) ** 2 for n, one in zip(sizes, self.means(kept), strict=True))
        variance = apart / (len(diffs) ** 2 - sum(n**2 for n in sizes))
        return (diffs**2).mean(0) - mean**2 + variance

    def energy(self, kept: Sequence[int], centred: bool = False) -> Array:
        """`(*cells)` unbiased squared pattern, averaged over channels."""
        means = self.means(kept)
        if centred:
            means = [mean - mean.mean(tuple(range(1, mean.ndim)), keepdims=True) for mean in means]
        pairs = [means[g] * means[h] for g in range(len(kept)) for h in range(len(kept)) if g != h]
        return np.mean(pairs, axis=0).mean(0)

    def estimate(self, name: str, kept: Sequence[int]) -> float:
        if name == "snr":
            return self.energy(kept).mean() / self.noise(kept).mean()
        if name == "snr_plain":
            return (self.pattern(kept) ** 2).mean() / self.noise(kept).mean()
        if name == "mae":
            return np.abs(self.pattern(kept)).mean()
        if name == "mae_floor":
            return self.floor(kept)
        if name == "response":
            return np.abs(self.of(self.diffs, kept)).mean()
        if name == "squared":
            return self.energy(kept).mean()
        if name == "relative squared":
            return self.energy(kept).mean() / (self.of(self.optimal, kept) ** 2).mean()
        if name == "relative":
            return sqrt(max(0.0, self.energy(kept).mean()) / (self.of(self.optimal, kept) ** 2).mean())
        return self.energy(kept, centred=True).mean() / self.energy(kept).mean()

    def floor(self, kept: Sequence[int]) -> float:
        """Mean over cells of sqrt(2/pi) times the standard error of P, from the spread of the group sums."""
        count, total = len(kept), len(self.of(self.diffs, kept))
        pattern, spread = self.pattern(kept), 0.0
        for group, mean in zip(kept, self.means(kept), strict=True):
            spread = spread + (self.group.count(group) / total * (mean - pattern)) ** 2
        c4 = sqrt(2 / (count - 1)) * gamma(count / 2) / gamma((count - 1) / 2)
        return sqrt(2 / pi) * np.sqrt(count / (count - 1) * spread).mean() / c4

    def interval(self, statistic: Callable[[Sequence[int]], Any], least: int) -> tuple[Any, Any, Any]:
        """Value and jackknife interval over the groups that have images."""
        every = sorted(set(self.group))
        count, value = len(every), statistic(every)
        if count <= least:
            return value, value * nan, value * nan
        left_out = [statistic([g for g in every if g != out]) for out in every]
        spread = sum((one - sum(left_out) / count) ** 2 for one in left_out)
        half = stats.t.ppf(0.975, count - 1) * np.sqrt((count - 1) / count * spread)
        return value, value - half, value + half

    def widened(self, name: str) -> tuple[float, float, float]:
        """SNR, or a squared size: the jackknife's variance less what it counts too much of pairs, the rest times the skewness."""
        every = sorted(set(self.group))
        count, value = len(every), self.estimate(name, every)
        if count < 3:
            return value, nan, nan
        left_out = [self.estimate(name, [g for g in every if g != out]) for out in every]
        spread = (count - 1) / count * sum((one - sum(left_out) / count) ** 2 for one in left_out)
        power = (self.of(self.optimal, every) ** 2).mean()
        unit = {"snr": self.noise(every).mean(), "squared": 1.0, "relative squared": power}[name]
        pairs = self.pair_variance(every) / unit**2
        apart = max(0.0, spread - pairs * 2 * (count - 1) / (count - 2))
        quantile = stats.t.ppf(0.975, count - 1)
        half = quantile * sqrt(pairs + self.skewness(name) * apart)
        if count > 3 and value > quantile * sqrt(pairs):  # a pattern: its interval begins above 0
            return value, value * exp(-1.25 * half / value), value + half
        return value, value - half, value + half

    def pair_variance(self, kept: Sequence[int]) -> float:
        """A two-way table of products of group means without its diagonal; what is left without row and column effects."""
        means, count = self.means(kept), len(kept)
        if count < 4:
            return 0.0
        table = [[(a * b).mean() for b in means] for a in means]
        row = [sum(table[g][h] for h in range(count) if h != g) / (count - 2) for g in range(count)]
        whole = sum(row) / (count - 1)
        left = [(table[g][h] - row[g] - row[h] + whole) ** 2 for g in range(count) for h in range(count) if g != h]
        return 2 / (count * (count - 1)) * sum(left) / (count * (count - 3))

    def skewness(self, name: str) -> float:
        """Variance of a log-normal over that of the sample: of the squared change and its spread, or of the features' power."""
        every = sorted(set(self.group))
        if name == "relative squared":
            return skewness([(self.of(self.optimal, [g]) ** 2).mean() for g in every])
        changes = [self.of(self.diffs, [g]) for g in every]
        return max(
            skewness([(one**2).mean() for one in changes]), skewness([one.var(axis=0).mean() for one in changes])
        )

    def sizes(self) -> dict[str, tuple[float, float, float]]:
        """The estimates whose intervals are widened; the sizes are roots of theirs."""
        found = {"snr": self.widened("snr")}
        for name, square in (("rms", "squared"), ("relative", "relative squared")):
            value, low, high = self.widened(square)
            ends = (value, low, max(high, high - value))
            found[name] = tuple(one if one != one else sqrt(max(0.0, one)) for one in ends)
        found["mae_corrected"] = self.corrected(found["snr"][1], found["rms"][2])
        return found

    def corrected(self, least: float, most: float) -> tuple[float, float, float]:
        """MAE without its floor, between the group means with the sign of the other groups, and the plain one or `most`."""
        every = sorted(set(self.group))
        count, plain = len(every), self.interval(lambda kept: self.estimate("mae", kept), 1)
        value = sqrt(max(0.0, plain[0] ** 2 - self.floor(every) ** 2)) if count > 1 else nan
        if count < 3:
            return value, nan, nan
        signed = [(np.sign(self.pattern([g for g in every if g != one])) * self.pattern([one])).mean() for one in every]
        wider = sqrt(self.skewness("snr"))
        half = stats.t.ppf(0.975, count - 1) * wider * np.std(signed, ddof=1) / sqrt(count)
        low = max(0.0, np.mean(signed) - half) if least > 0 else 0.0
        high = max(low, min(plain[0] + wider * (plain[2] - plain[0]), most))
        return min(max(value, low), high), low, high


def skewness(values: Sequence[float]) -> float:
    """Of positive numbers."""
    count, mean = len(values), sum(values) / len(values)
    relative = sum((one / mean - 1) ** 2 for one in values) / (count - 1)
    logs = np.var(np.log(values), ddof=1)
    raised = logs * (1 + 4 / (count - 1))
    return max(1.0, logs * np.expm1(raised) / raised / relative)


# --------------------------------------------------------------------------------------------------- comparison


def compare(model: nn.Module, images: Sequence[Tensor], result: Measurement, layer: str, tolerance: float) -> float:
    """Largest relative difference of anything measured; fails where it exceeds `tolerance`."""
    reference = Reference(model, images, layer, result)
    measured = result[layer]
    every = sorted(set(reference.group))
    assert result.n_crops == len(reference.diffs)
    found = {
        "pattern": distance(measured.pattern, torch.from_numpy(reference.pattern(every))),
        "noise": distance(measured.noise, torch.from_numpy(reference.noise(every))),
    }
    sizes = reference.sizes()
    found |= {name: gap(getattr(measured, name), Estimate(*expected)) for name, expected in sizes.items()}
    detectable = nan
    if len(every) > 3:
        detectable = sqrt(stats.t.ppf(0.975, len(every) - 1) * sqrt(reference.pair_variance(every)))
    found["rms_floor"] = gap(measured.rms_floor, Estimate(detectable, nan, nan))
    for name in ESTIMATES:
        if name in sizes:
            continue
        least = 1 if name in ("snr_plain", "mae", "response") else 2
        expected = reference.interval(lambda kept, name=name: reference.estimate(name, kept), least)
        found[name] = gap(getattr(measured, name), Estimate(*expected))
    found |= profiles(reference, measured, every)
    assert max(found.values()) <= tolerance, {name: f"{value:.1e}" for name, value in found.items()}
    return max(found.values())


def profiles(reference: Reference, measured: LayerMeasurement, every: list[int]) -> dict[str, float]:
    """Profiles by distance in cells: over all sides; top alone, over the cells nearest to it."""
    _, *size = reference.diffs[0].shape
    places = np.indices(size)
    fewest = np.minimum.reduce([side for n, at in zip(size, places, strict=True) for side in (at, n - 1 - at)])
    profile = measured.profile["all"]
    assert profile.cells.tolist() == sorted(set(fewest.flatten().tolist()))
    found = {}
    for k, d in enumerate(profile.cells.tolist()):
        ring = fewest == d
        assert profile.count[k] == ring.sum()
        quantities: dict[str, tuple[Curve, Callable[[Sequence[int]], float], int]] = {
            "pattern": (profile.pattern, lambda kept, ring=ring: reference.energy(kept)[ring].mean(), 2),
            "noise": (profile.noise, lambda kept, ring=ring: reference.noise(kept)[:, ring].mean(), 1),
            "response": (
                profile.response,
                lambda kept, ring=ring: (reference.of(reference.diffs, kept)[:, :, ring] ** 2).mean(),
                1,
            ),
        }
        for name, (curve, statistic, least) in quantities.items():
            expected = reference.interval(statistic, least)
            got = Estimate(*(float(part[k]) for part in (curve.value, curve.low, curve.high)))
            # a ring that padding hardly reaches holds rounding errors alone: compare with the whole curve's size
            ends = torch.stack([curve.value, curve.low, curve.high]).nan_to_num()
            size = float(ends.abs().max())
            scale = max(abs(e) for e in (got.value, got.low, got.high, *expected) if e == e)
            found[f"profile {name} {d}"] = gap(got, Estimate(*expected)) * scale / size if size > 0 else 0.0
    return found


SMALL: dict[str, tuple[Callable[[], nn.Module], Any, list[str]]] = {
    "stack": (nets.stack, 16, ["2", "4"]),
    "strides": (nets.stride_two, 17, ["0", "2"]),
    "branches": (nets.Branches, 12, ["mid", "far"]),
    "residual": (nets.Residual, 12, ["body.0", "body"]),
    "in place": (nets.in_place, 12, ["0", "3"]),
    "lopsided": (nets.lopsided, (12, 18), ["0", "2"]),
    "tf same": (nets.tf_same, 16, ["0", "2"]),
    "reflected": (nets.reflected, 12, ["0", "2"]),
    "even": (nets.even_same, 13, ["0", "2"]),
    "U-Net": (lambda: nets.unet(2, "bilinear"), 16, ["stem", "merge.0", "merge.1"]),
    "blur pool": (nets.blur_pooled, 16, ["0", "2"]),
    "channels last": (nets.ChannelsLast, 12, ["depthwise"]),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_agree_in_double_precision_to_rounding(name: str) -> None:
    make, crop, layers = SMALL[name]
    model = nets.ready(make()).double()
    images = [x.double() for x in [*noise(5, 64), *noise(2, (70, 90), seed=1)]]
    result = measure(model, images, layers=layers, crop=crop, crops_per_image=3, groups=3, seed=5)
    for layer in result:
        compare(model, images, result, layer, 1e-9)


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_agree_in_single_precision(name: str) -> None:
    make, crop, layers = SMALL[name]
    model = nets.ready(make())
    images = noise(5, 64, mean=0.5)
    result = measure(model, images, layers=layers, crop=crop, crops_per_image=3, batch_size=2)
    for layer in layers:
        compare(model, images, result, layer, 1e-5)


AXES = [
    (axes, name)
    for axes in (1, 3)
    for name in (
        "padded",
        "dilated",
        "strided",
        "transposed",
        "U-Net",
        "circular time",
        "even",
        "causal",
        "anisotropic",
    )
    if (name, axes) not in (("causal", 3), ("anisotropic", 1))
]


@pytest.mark.parametrize(("axes", "name"), AXES)
def test_networks_over_one_and_over_three_axes_agree(axes: int, name: str) -> None:
    model = nets_by_axes.local(axes)[name]
    crop, size = {1: (24, 120), 3: (8, 32)}[axes]
    images = [
        *nets_by_axes.scenes(axes, size, 3),
        *nets_by_axes.scenes(axes, tuple(size + 2 * i for i in range(axes)), 2),
    ]
    layer = "output" if not hasattr(model, "0") else list(dict(model.named_children()))[-1]
    result = measure(model, images, layers=layer, crop=crop, crops_per_image=3, groups=3, seed=5)
    compare(model, images, result, layer, 1e-9)


@pytest.mark.parametrize(("n", "groups"), [(1, 10), (2, 10), (3, 10), (11, 4), (6, 1)])
def test_few_images_and_unequal_groups_agree(n: int, groups: int) -> None:
    model = nets.stack().double()
    images = [x.double() for x in noise(n, 40)]
    result = measure(model, images, crop=10, crops_per_image=3, groups=groups)
    if n > 1 and groups > 1:
        compare(model, images, result, "4", 1e-9)
    else:  # one group cannot tell a pattern from its images' own part
        reference = Reference(model, images, "4", result)
        layer = result["4"]
        plain = (reference.pattern([0]) ** 2).mean() / reference.noise([0]).mean()
        assert layer.snr_plain.value == pytest.approx(plain, rel=1e-9)
        assert np.isnan([one.value for one in (layer.snr, layer.relative, layer.rms, layer.positional)]).all()
        assert any("one group" in note for note in layer.notes)


def test_the_residual_of_a_short_margin_is_the_size_of_its_error() -> None:
    """Scenes are the middle of larger ones, whose features tell what optimal padding is."""
    beyond = 12
    torch.manual_seed(0)
    net = nn.Sequential(*(module for _ in range(10) for module in (nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())))
    model = nets.ready(net).double()
    worlds = [x.double() for x in noise(4, 64 + 2 * beyond)]
    images = [world[:, beyond:-beyond, beyond:-beyond] for world in worlds]
    result = measure(model, images, crop=16, crops_per_image=4, layers="18", margin=3)
    assert result.approximate
    assert result["18"].reach == (10, 10, 10, 10)
    compare(model, images, result, "18", 1e-9)
    reference = Reference(model, images, "18", result)
    full = [features(model, "18", world) for world in worlds]
    truth = [full[i][:, y + beyond :, x + beyond :][:, :16, :16] for i, y, x in reference.corners]
    missed = np.stack(reference.optimal) - np.stack(truth)
    error = np.linalg.norm(missed) / np.linalg.norm(np.stack(truth))
    assert error > 1e-3
    assert error < result["18"].residual < 5 * error  # of bare margins; most crops have more canvas around them


# ------------------------------------------------------------------------------------------------ real networks

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea")


def calibrated(model: nn.Module, images: Sequence[Tensor]) -> nn.Module:
    from padprint.network.batchnorm import calibrate_batchnorm

    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        calibrate_batchnorm(model, [x[:, :224, :224] for x in images], batch_size=len(images))
    return model.eval()


def mobilenet() -> nn.Module:
    torchvision = pytest.importorskip("torchvision")
    from padprint.demo import mobilenet_weights

    try:
        weights = mobilenet_weights()
    except MissingPackageError as error:
        pytest.skip(str(error))
    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model.eval()


def test_mobilenet_with_imagenet_weights() -> None:
    model, images = mobilenet(), photographs(PHOTOGRAPHS, 620)
    result = measure(model, images, crop=96, crops_per_image=2, layers=["features.6", "features.18"])
    for layer in result:
        compare(model, images, result, layer, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # in single precision the networks' own rounding differs between canvases: 1.2e-5 at ResNet-50's layer4
    [pytest.param(torch.float64, 1e-9, id="double"), pytest.param(torch.float32, 2e-5, id="single")],
)
@pytest.mark.parametrize(
    ("name", "layers", "short_side"),
    [
        ("resnet50", ["layer1", "layer3", "layer4"], 700),
        ("vgg19_bn", ["features.26", "features.52"], 500),
        ("vgg19", ["features.18", "features.36"], 500),
        ("densenet121", ["features.denseblock1", "features.transition1"], 300),
    ],
)
def test_random_networks(name: str, layers: list[str], short_side: int, dtype: torch.dtype, tolerance: float) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    images = photographs(PHOTOGRAPHS, short_side)
    model = calibrated(getattr(torchvision.models, name)(), images).to(dtype)
    images = [image.to(dtype) for image in images]
    result = measure(model, images, crop=96, crops_per_image=2, layers=layers)
    for layer in layers:
        compare(model, images, result, layer, tolerance)


@pytest.mark.slow
def test_a_reach_beyond_the_scene_is_refused_or_approximated() -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    images = photographs(PHOTOGRAPHS, 480)
    model = calibrated(torchvision.models.densenet121(), images)
    with pytest.raises(ImagesError, match=r"3 of 3 images are too small .* needs \d{4}x\d{4} px.*resize_short_side"):
        measure(model, images, crop=96, layers="features.denseblock4")
    result = measure(model, images, crop=96, layers="features.denseblock4", crops_per_image=2, margin=96)
    layer = result["features.denseblock4"]
    assert result.approximate
    assert layer.residual is not None
    assert 0 < layer.residual < 0.5
    assert any("approximate" in note for note in layer.notes)
    compare(model, images, result, "features.denseblock4", 2e-5)
