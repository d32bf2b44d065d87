"""Several paddings and networks over the same crops: each as when measured alone, and differences that are paired."""

from __future__ import annotations

import json
from math import isnan, sqrt
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from typer.testing import CliRunner

import nets
from helpers import assert_same, distance, noise
from measurements import made_layer, made_measurement
from padprint import (
    Comparison,
    ImagesError,
    ModelError,
    PaddingError,
    ResultError,
    compare,
    load_comparison,
    measure,
)
from padprint.cli import app
from padprint.padding import Scheme, use
from padprint.results.comparison import difference
from padprint.results.measurement import Estimate

OPTIONS = {"crop": 16, "crops_per_image": 4}
SCHEMES = ("own", "zeros", "reflect", "replicate", "circular", "symmetric", "partial", "distribution", "polynomial")


def scenes(n: int = 6, size: int = 64) -> list[Tensor]:
    return noise(n, size, mean=0.5)


@pytest.fixture(scope="module")
def paddings() -> Comparison:
    return compare(nets.stack(), scenes(), SCHEMES, **OPTIONS)


@pytest.mark.parametrize("name", SCHEMES)
def test_each_is_what_it_is_alone(name: str, paddings: Comparison) -> None:
    alone = measure(nets.stack(), scenes(), **OPTIONS, padding=None if name == "own" else name)
    for layer in alone:
        assert_same(alone[layer], paddings[name][layer], 0.0)


def test_zeros_reproduce_a_zero_padded_network(paddings: Comparison) -> None:
    for layer in paddings.layers:
        assert_same(paddings["own"][layer], paddings["zeros"][layer], 1e-5)
        assert distance(paddings["own"][layer].pattern, paddings["reflect"][layer].pattern) > 0.5


def test_a_swap_is_torchs_own_padding_mode() -> None:
    """The same weights in a network built with reflect padding: its crops are padded alike, and so is its scene's edge."""

    def net(mode: str) -> nn.Module:
        torch.manual_seed(0)
        return nets.sequential(
            nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode),
            nn.ReLU(),
            nn.Conv2d(4, 4, 5, padding=2, padding_mode=mode),
        )

    zeros, reflect = net("zeros"), net("reflect")
    reflect.load_state_dict(zeros.state_dict())
    swapped = measure(zeros, scenes(), **OPTIONS, padding="reflect")
    for name, layer in measure(reflect, scenes(), **OPTIONS).items():
        assert_same(layer, swapped[name], 1e-5)


def test_box_filter_with_a_constant() -> None:
    """Cells of value v instead of a scene of mean mu: 3 (v - mu) / 9 on edges, 5 (v - mu) / 9 in corners."""
    box = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    box.weight.data.fill_(1 / 9)
    found = measure(
        nn.Sequential(box), noise(60, 40, channels=1, mean=2.0), crop=16, padding="constant:value=5.0", layers="0"
    )["0"].pattern[0]
    assert found[0, 1:-1].mean() == pytest.approx(3 * 3 / 9, abs=0.02)
    assert found[-1, -1] == pytest.approx(5 * 3 / 9, abs=0.1)
    assert found[1:-1, 1:-1].abs().max() < 1e-6


def test_max_pooling_is_padding_too() -> None:
    """A pool of padding 1 over a scene below zero: its own padding never wins, zeros do."""
    net = nn.Sequential(nn.MaxPool2d(3, 1, 1))
    low = [image - 20 for image in noise(4, 40)]
    own, zeros = (measure(net, low, crop=16, padding=p, layers="0")["0"] for p in (None, "zeros"))
    assert own.pattern[:, 0].max() < 0
    assert own.pattern.abs().max() < 3
    assert zeros.pattern[:, 0].min() > 15
    assert zeros.pattern[:, 1:-1, 1:-1].abs().max() == 0


def test_differences_are_paired_over_groups(paddings: Comparison) -> None:
    """Value and interval from the replicates, by hand: as much wider as the estimates' own intervals are, at the least as wide."""

    def plain(values: Tensor) -> float:
        g = len(values)
        assert g == 6
        return stats.t.ppf(0.975, g - 1) * sqrt((g - 1) / g * float((values - values.mean()).square().sum()))

    seen = 0
    for found in paddings.differences("relative"):
        a, b = (paddings[name][found.layer].relative for name in (found.first, found.second))
        assert found.estimate.value == pytest.approx(b.value - a.value, abs=1e-9)
        left_out = [torch.tensor(one.replicates, dtype=torch.float64) for one in (a, b)]
        if 0 in (a.low, b.low):
            continue
        wider = max(1, *((one.high - one.value) / plain(out) for one, out in zip((a, b), left_out, strict=True)))
        half = wider * plain(left_out[1] - left_out[0])
        seen += 1
        assert found.estimate.high - found.estimate.low == pytest.approx(2 * half, abs=1e-9)
    assert seen > 2


def test_difference_to_a_size_that_may_be_none() -> None:
    """Replicates of a root that are all 0 have no spread: its own interval has."""
    none, some = Estimate(0.0, 0.0, 3.0, (0.0,) * 6), Estimate(5.0, 4.0, 7.0, (5.0, 5.1, 4.9, 5.0, 5.1, 4.9))
    found = difference(some, none)
    assert (found.value, found.low, found.high) == (5.0, 1.0, 7.0)
    back = difference(none, some)
    assert (back.value, back.low, back.high) == (-5.0, -7.0, -1.0)


def test_mae_that_is_mostly_chance_has_no_interval_of_differences() -> None:
    layers = [made_layer(mae=Estimate(value, value, value, (value,) * 6)) for value in (0.0019, 0.0123)]
    pair = Comparison({name: made_measurement(one) for name, one in zip("ab", layers, strict=True)})
    (found,) = pair.differences("mae")
    assert found.estimate.value == pytest.approx(0.0104)
    assert isnan(found.estimate.low) and isnan(found.estimate.high)
    table = str(pair)
    assert "<0.00190 (0.00100)" in table and " 0.0123 (0.00100)" in table
    assert "<0.00190 (0.00100)" in str(layers[0]) and "0.0123 [0.0123, 0.0123]" in str(layers[1])


def test_pairing_is_sharper_than_two_separate_intervals() -> None:
    """Two networks that differ little share nearly all of their noise: the paired interval is far narrower."""
    one, two = nets.stack(), nets.stack()
    two.load_state_dict(one.state_dict())
    with torch.no_grad():
        next(two.parameters()).mul_(1.01)
    found = compare({"one": one, "two": two}, scenes(10), **OPTIONS)
    for d in found.differences("mae"):
        apart = sum((e.mae.high - e.mae.low) ** 2 for e in (found["one"][d.layer], found["two"][d.layer]))
        assert d.estimate.high - d.estimate.low < 0.2 * sqrt(apart)


def test_the_same_twice_differs_by_exactly_nothing() -> None:
    found = compare({"a": nets.stack(), "b": nets.stack()}, scenes(), **OPTIONS)
    for d in found.differences():
        assert (d.estimate.value, d.estimate.low, d.estimate.high) == (0, 0, 0)


def test_models_of_different_reach_and_stride_share_their_crops() -> None:
    found = compare({"stack": nets.stack(), "strides": nets.stride_two()}, scenes(), layers="*", **OPTIONS)
    stack, strides = found["stack"], found["strides"]
    assert stack.margin == strides.margin
    assert stack.provenance["period"] == strides.provenance["period"] == [4, 4]
    assert stack.n_crops == strides.n_crops
    assert {d.layer for d in found.differences()} == set(stack) & set(strides) != set()


def test_models_times_paddings() -> None:
    found = compare({"a": nets.stack(), "b": nets.stride_two()}, scenes(), ["own", "reflect"], **OPTIONS)
    assert list(found) == ["a / own", "a / reflect", "b / own", "b / reflect"]


def test_stochastic_padding_is_repeatable_and_differs_between_images() -> None:
    first, again = (measure(nets.stack(), scenes(), **OPTIONS, padding="randn") for _ in range(2))
    for name in first:
        assert_same(first[name], again[name], 0.0)
    other = measure(nets.stack(), scenes(), **OPTIONS, padding="randn", seed=1)
    assert all(distance(first[n].pattern, other[n].pattern) > 1e-3 for n in first)


def test_stochastic_padding_does_not_depend_on_the_batch_size() -> None:
    one, many = (measure(nets.stack(), scenes(), **OPTIONS, padding="randn", batch_size=size) for size in (1, 32))
    for name in one:  # the energy of so small a pattern is a difference of large numbers
        assert distance(one[name].pattern, many[name].pattern) < 1e-5
        assert distance(one[name].noise, many[name].noise) < 1e-5


def test_noise_of_random_padding_is_no_pattern() -> None:
    """Converted to randn: its own noise is part of Var[D], and the pattern of white scenes stays zero within error."""
    from padprint.padding import convert

    found = measure(convert(nets.stack(), "randn", seed=0), noise(40, 64), crop=16, crops_per_image=8)["4"]
    assert found.snr.low <= 0 <= found.snr.high
    assert found.noise.mean() > 0
    assert found.mae.value == pytest.approx(found.mae_floor.value, rel=0.15)


def test_the_output_says_that_a_swap_is_a_swap(paddings: Comparison) -> None:
    assert any("not of a network trained with that padding" in w for w in paddings["reflect"].warnings)
    assert not any("trained with that padding" in w for w in paddings["own"].warnings)
    assert paddings["reflect"].provenance["padding"] == "reflect"
    assert paddings["own"].provenance["padding"] is None
    assert "not of a network trained with that padding" in str(paddings)


def test_saved_and_loaded(paddings: Comparison, tmp_path: Path) -> None:
    paddings.save(tmp_path / "all")
    loaded = load_comparison(tmp_path / "all")
    assert dict(loaded) == dict(paddings)
    assert loaded.difference_frame().equals(paddings.difference_frame())
    (tmp_path / "all" / "comparison.json").unlink()
    with pytest.raises(ResultError, match=r"comparison\.json"):
        load_comparison(tmp_path / "all")


def test_frames(paddings: Comparison) -> None:
    frame = paddings.to_frame()
    assert list(frame["name"].unique()) == list(SCHEMES)
    pairs = len(SCHEMES) * (len(SCHEMES) - 1) // 2
    assert len(paddings.difference_frame("mae")) == pairs * len(paddings.layers)
    json.dumps(paddings.to_dict(), allow_nan=False)
    with pytest.raises(ResultError, match="no quantity 'size'; there are snr"):
        paddings.differences("size")


def test_measurements_of_other_crops_do_not_compare() -> None:
    one, two = (measure(nets.stack(), scenes(), **OPTIONS, seed=seed) for seed in (0, 1))
    with pytest.raises(ResultError, match="two was not measured over the crops of one: seed differs"):
        Comparison({"one": one, "two": two})


def test_estimates_without_replicates_differ_without_an_interval() -> None:
    found = difference(Estimate(3.0, 2.0, 4.0, (1.0, 2.0)), Estimate(1.0, float("nan"), float("nan")))
    assert found.value == 2.0
    assert found.low != found.low


def test_one_user_scheme_for_one_measurement() -> None:
    class Seven(Scheme):
        def pad(self, x: Tensor, pads: object) -> Tensor:
            return nn.functional.pad(x, [n for pair in reversed(pads) for n in pair], value=7.0)

    found = measure(nets.stack(), scenes(), **OPTIONS, padding=Seven())
    assert_same(found["4"], measure(nets.stack(), scenes(), **OPTIONS, padding="constant:value=7")["4"], 1e-6)


@pytest.mark.parametrize(
    ("padding", "error", "message"),
    [
        (["own"], ModelError, "nothing to compare"),
        (["own", "reflects"], PaddingError, "no padding scheme 'reflects'; did you mean reflect"),
        (["own", "full"], PaddingError, "full padding changes the sizes of maps"),
        (["reflect", "reflect"], PaddingError, "'reflect' is there twice"),
        ("reflect", PaddingError, "padding must be a list"),
    ],
)
def test_wrong_paddings(padding: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compare(nets.stack(), scenes(2), padding, **OPTIONS)


def test_a_scheme_that_does_not_fit_names_the_layer() -> None:
    wide = nets.sequential(nets.conv(), nn.MaxPool2d(8), nn.Conv2d(4, 4, 7, padding=3))
    with pytest.raises(PaddingError, match=r"reflect padding cannot be applied to conv2d in 2 .*map of 2 x 2"):
        measure(wide, scenes(2, 160), crop=16, padding="reflect")


def test_a_network_without_padding_is_refused_a_swap() -> None:
    with pytest.raises(PaddingError, match="reflect padding replaced nothing"):
        measure(nn.Sequential(nn.Conv2d(3, 4, 3)), scenes(2), crop=16, padding="reflect")


def test_an_unknown_option() -> None:
    with pytest.raises(TypeError, match="no such option: crops"):
        compare(nets.stack(), scenes(2), ["own", "reflect"], crops=3)


def test_models_that_declare_different_normalisations(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    one, two = nets.stack(), nets.stack()
    one.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    two.pretrained_cfg = {"mean": (0.4, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    with pytest.raises(ImagesError, match="declare different normalisations"):
        compare({"one": one, "two": two}, tmp_path, **OPTIONS)


def test_measuring_under_an_outer_swap_is_the_swap_in_both_forwards() -> None:
    """The optimal features keep clear of any padding, so an outer `use` around `measure` gives the same."""
    with use("reflect"):
        outer = measure(nets.stack(), scenes(), **OPTIONS)
    for name, layer in measure(nets.stack(), scenes(), **OPTIONS, padding="reflect").items():
        assert_same(layer, outer[name], 1e-5)


# --------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    import numpy as np
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def run(*arguments: object) -> object:
    plain = ["--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2", "--crop", "32", "--json"]
    return CliRunner().invoke(app, ["compare", *map(str, arguments), *plain])


@pytest.mark.parametrize(
    "spelled",
    [
        ["--padding", "own", "reflect", "constant:value=0.5"],
        ["--padding", "own", "--padding", "reflect", "--padding", "constant:value=0.5"],
    ],
)
def test_command_with_paddings(spelled: list[str], photographs: Path, tmp_path: Path) -> None:
    result = run("nets:stack", photographs, *spelled, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert list(json.loads(result.stdout)["measurements"]) == ["own", "reflect", "constant:value=0.5"]
    assert list(load_comparison(tmp_path / "out")) == ["own", "reflect", "constant:value=0.5"]
    assert "paired" in result.stderr


def test_command_with_paddings_before_the_model(photographs: Path) -> None:
    result = run("--padding", "own", "reflect", "nets:stack", photographs)
    assert result.exit_code == 0, result.stderr
    assert list(json.loads(result.stdout)["measurements"]) == ["own", "reflect"]


def test_command_with_models_and_checkpoints(photographs: Path, tmp_path: Path) -> None:
    result = run(photographs, "--model", "nets:stack", "--model", "nets:stride_two")
    assert result.exit_code == 0, result.stderr
    assert list(json.loads(result.stdout)["measurements"]) == ["nets:stack", "nets:stride_two"]
    files = []
    for i in range(2):
        net = nets.stack()
        next(net.parameters()).data.mul_(1 + i)
        files.append(tmp_path / f"epoch{i}.pth")
        torch.save(net.state_dict(), files[-1])
    result = run("nets:stack", photographs, "--weights", files[0], "--weights", files[1])
    assert result.exit_code == 0, result.stderr
    assert list(json.loads(result.stdout)["measurements"]) == ["nets:stack epoch0", "nets:stack epoch1"]


def test_command_with_nothing_to_compare_or_no_images(photographs: Path) -> None:
    result = run("nets:stack", photographs)
    assert (result.exit_code, "nothing to compare" in result.stderr) == (1, True)
    assert run("nets:stack").exit_code == 2
