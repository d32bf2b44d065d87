"""F-Conv's tests of absolute location: answers by hand, slow references, pairs that agree, the published table."""

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import nets
from helpers import left_as_found, noise, save_photographs
from padprint.baselines.fconv.boxes import BOX, ROWS, SHIFT, red_green_data
from padprint.baselines.fconv.canvases import CanvasSettings, pictures, placed
from padprint.baselines.fconv.location import LocationSettings, last_map, maxima
from padprint.baselines.fconv.quadrants import _splits, quadrants, wilson
from padprint.baselines.fconv.red_green import CHUNK, RedGreenSettings, evaluate, network, red_green, train
from padprint.baselines.fconv.rook import rook, rook_images
from padprint.baselines.fconv.variants import parsed
from padprint.cli.baseline import app
from padprint.errors import ImagesError, LayerError, ModelError, PaddingError, ResultError
from padprint.images.photographs import as_source
from padprint.images.synthetic import DeadLeaves
from padprint.network.preserved import as_measured

# ---------------------------------------------------------------------------------------------------------- convolutions


def scattered(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Full convolution by its meaning: every weight meets every pixel, and a pixel adds to all outputs it can reach."""
    k = weight.shape[-1]
    out = x.new_zeros(len(x), len(weight), x.shape[2] + k - 1, x.shape[3] + k - 1)
    for i, j in itertools.product(range(x.shape[2]), range(x.shape[3])):
        for a, b in itertools.product(range(k), range(k)):
            out[:, :, i + k - 1 - a, j + k - 1 - b] += x[:, :, i, j] @ weight[:, :, a, b].T
    return out[:, :, ::stride, ::stride]


def test_full_convolution_lets_every_weight_meet_every_pixel() -> None:
    x = torch.rand(2, 3, 7, 6, dtype=torch.float64)
    net = network("full").double()
    expected = x
    for convolution in net.convolutions:  # type: ignore[union-attr]
        expected = F.relu(scattered(expected, convolution.weight.detach(), convolution.stride[0]))
    found = net(x)
    torch.testing.assert_close(found, net.classes(expected.amax((-2, -1))))  # type: ignore[operator]
    first = net.convolutions[0](x)  # type: ignore[index,operator]
    assert first.shape[-2:] == (9, 8)
    sums = torch.einsum("ncij,ocab->no", x, net.convolutions[0].weight)  # type: ignore[index,union-attr]
    torch.testing.assert_close(first.sum((-2, -1)), sums)  # nothing of the input is lost at the sides


@pytest.mark.parametrize(
    ("variant", "padding", "mode", "sizes"),
    [
        ("none", 0, "zeros", [30, 14, 6, 2]),
        ("zeros", 1, "zeros", [32, 16, 8, 4]),
        ("full", 2, "zeros", [34, 18, 10, 6]),
        ("circular", 1, "circular", [32, 16, 8, 4]),
        ("circular@1", 1, "circular", [32, 16, 8, 4]),
        ("circular@2", 2, "circular", [34, 18, 10, 6]),
        ("reflect", 1, "reflect", [32, 16, 8, 4]),
    ],
)
def test_variants_are_torchs_convolutions_from_the_same_weights(
    variant: str, padding: int, mode: str, sizes: list[int]
) -> None:
    x = torch.rand(2, 3, 32, 32)
    net: Any = network(variant, seed=3)
    same: Any = network("zeros", seed=3)
    y = found = x
    for convolution, other, size in zip(net.convolutions, same.convolutions, sizes, strict=True):
        assert torch.equal(convolution.weight, other.weight)
        torch_pad = F.pad(y, (padding,) * 4, mode="constant" if mode == "zeros" else mode)
        y = F.relu(F.conv2d(torch_pad, other.weight, stride=other.stride))
        found = F.relu(convolution(found))
        assert found.shape[-2:] == (size, size)
        torch.testing.assert_close(found, y)
    assert not torch.equal(network("zeros", 4).convolutions[0].weight, same.convolutions[0].weight)  # type: ignore[index,union-attr]


def test_variants_that_are_none() -> None:
    assert parsed("constant:value=0.5@2") == ("constant:value=0.5", 2)
    assert parsed("randn") == ("randn", None)
    with pytest.raises(PaddingError, match="there is no padding scheme 'rflect'; did you mean reflect"):
        parsed("rflect")
    for cells in ("0", "-1", "two", ""):
        with pytest.raises(PaddingError, match=f"asks for '{cells}' cells: write SCHEME@CELLS"):
            parsed(f"circular@{cells}")


# ----------------------------------------------------------------------------------------------------------- red-green


def keys(images: Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def boxes(images: Tensor, channel: int) -> Tensor:
    """First row and column of each image's box of one colour, after checking that it is 4 x 4 and full."""
    one = images[:, channel]
    assert bool(((one == 0) | (one == 1)).all())
    rows, columns = one.amax(2), one.amax(1)
    assert bool((rows.sum(1) == BOX).all() and (columns.sum(1) == BOX).all() and (one.sum((1, 2)) == BOX**2).all())
    return torch.stack([rows.argmax(1), columns.argmax(1)], 1)


@pytest.mark.parametrize("leaky", [False, True])
def test_boxes_lie_where_the_class_says(leaky: bool) -> None:
    data = red_green_data(leaky=leaky)
    assert [len(one.images) for one in data] == [2000, 1000, 1000, 1000]
    for name, (images, labels) in data._asdict().items():
        assert images.shape[1:] == (3, 32, 32)
        assert int(labels.sum()) * 2 == len(labels)
        assert not images[:, 2].any()
        red, green = boxes(images, 0), boxes(images, 1)
        left = torch.where(labels == 0, green[:, 1] - red[:, 1], red[:, 1] - green[:, 1])
        assert int(left.min()) == BOX + 1
        for box in (red, green):
            upper = labels == (1 if name == "dissimilar" else 0)
            for rows, start in zip((box[upper, 0], box[~upper, 0]), ROWS, strict=True):
                assert (int(rows.min()), int(rows.max())) == (start - 4, start + 3)
    down = data.similar.labels == 0
    assert torch.equal(data.dissimilar.labels, data.similar.labels)
    assert torch.equal(data.dissimilar.images[down], data.similar.images[down].roll(SHIFT, 2))
    assert torch.equal(data.dissimilar.images[~down], data.similar.images[~down].roll(-SHIFT, 2))


def test_the_published_protocol_tests_on_training_images() -> None:
    data = red_green_data(leaky=True)
    assert torch.equal(data.validation.images, data.train.images[:1000])
    assert torch.equal(data.similar.images, data.train.images[:1000])
    seen = set(keys(data.train.images))
    assert len(seen) == 1911
    assert seen.isdisjoint(keys(data.dissimilar.images))


def test_the_first_image_by_hand() -> None:
    random = np.random.RandomState(1988)
    x, y = random.randint(10), random.randint(-4, 4) + 7
    right, other = random.randint(x, 28), random.randint(-4, 4) + 7
    while right - x <= 4:
        right, other = random.randint(x, 28), random.randint(-4, 4) + 7
    image = red_green_data(1, 1, 1, leaky=True).train.images
    assert boxes(image, 0).tolist() == [[y, x]]
    assert boxes(image, 1).tolist() == [[other, right]]


def test_no_image_is_there_twice_by_default() -> None:
    data = red_green_data()
    everything = [key for one in data for key in keys(one.images)]
    assert len(set(everything)) == len(everything) == 5000
    assert keys(red_green_data(seed=5).train.images) != keys(data.train.images)
    assert keys(red_green_data().train.images) == keys(data.train.images)


def test_data_that_cannot_be_drawn() -> None:
    with pytest.raises(ImagesError, match="every set needs an image"):
        red_green_data(10, 0, 10)
    with pytest.raises(ImagesError, match="22000 images without a repetition are too many: at most 11840"):
        red_green_data(20000, 1000, 1000)


@pytest.mark.parametrize(("variant", "blind"), [("full", True), ("circular", True), ("zeros", False), ("none", False)])
def test_who_cannot_tell_similar_from_dissimilar(variant: str, blind: bool) -> None:
    """Boxes move by 16 px, two total strides: without a border the maxima stay what they are."""
    data = red_green_data(2, 2, 40)
    net = network(variant).double()
    here, there = (net(one.images.double()) for one in (data.similar, data.dissimilar))
    assert torch.allclose(here, there, rtol=1e-9, atol=1e-12) is blind


def test_one_epoch_is_steps_of_adadelta_on_whole_batches_in_order() -> None:
    data = red_green_data(75, 5, 5)
    settings = RedGreenSettings(75, 5, 5, epochs=1, batch_size=60)
    assert settings.batch_size > CHUNK
    net, other = network("full", 1).double(), network("full", 1).double()
    data = type(data)(*(one._replace(images=one.images.double()) for one in data))
    train(net, data, settings)
    optimiser = torch.optim.Adadelta(other.parameters(), lr=1.0, rho=0.9, eps=1e-6, weight_decay=5e-5)
    for part in (slice(0, 60), slice(60, 75)):
        optimiser.zero_grad()
        F.cross_entropy(other(data.train.images[part]), data.train.labels[part]).backward()
        optimiser.step()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])


class Scripted(nn.Module):
    """Answers that make the validation loss what a list says, epoch by epoch; its weight counts training epochs."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.epoch = nn.Parameter(torch.zeros(()))
        self.losses = losses

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.epoch += 1
            return self.epoch * x.new_zeros(len(x), 2)
        lead = math.log(math.expm1(self.losses[int(self.epoch.detach()) - 1]))  # softplus of it is the loss
        return x.new_tensor([0.0, lead]).expand(len(x), 2)


@pytest.mark.parametrize(
    ("losses", "kept", "seen"),
    [([3, 2, 1, 2, 2, 2, 0.5], 3, 6), ([3, 2, 1, 2, 2, 0.5, 1, 1], 6, 8), ([1, 1, 1, 1, 1], 1, 4)],
    ids=["patience ends", "better in time", "equal is not better"],
)
def test_the_best_epoch_is_kept_and_patience_ends(losses: list[float], kept: int, seen: int) -> None:
    data = red_green_data(4, 4, 4)
    zeros = torch.zeros(4, dtype=torch.int64)
    data = type(data)(*(one._replace(labels=zeros) for one in data))
    net = Scripted(losses)
    calls = []
    net.register_forward_pre_hook(lambda module, _: calls.append(module.training))
    settings = RedGreenSettings(4, 4, 4, epochs=len(losses), patience=2, lr=0, weight_decay=0)
    assert train(net, data, settings) == kept
    assert float(net.epoch.detach()) == kept
    assert sum(calls) == seen
    assert evaluate(net, data.validation)[0] == pytest.approx(min(losses[:seen]))


TINY = RedGreenSettings(30, 10, 10, epochs=2, batch_size=10)


def test_seeds_decide_everything_and_order_nothing() -> None:
    one = red_green(["randn", "zeros"], seeds=[1, 2], settings=TINY)
    torch.rand(7)
    two = red_green(["zeros", "randn"], seeds=[2, 1], settings=TINY)
    for variant in ("zeros", "randn"):
        assert sorted(map(str, one.runs[variant])) == sorted(map(str, two.runs[variant]))
    with left_as_found(nn.Linear(1, 1)), torch.no_grad():
        three = red_green(["zeros"], seeds=[1], settings=TINY)
    assert three.runs["zeros"] == one.runs["zeros"][:1]


def test_an_interrupted_test_goes_on(tmp_path: Any) -> None:
    folder = tmp_path / "runs"
    red_green(["circular@2"], seeds=[0], settings=TINY, folder=folder)
    (kept,) = (folder / "records").rglob("*.json")
    kept.write_text(json.dumps({"seed": 0, "similar": 0.25, "dissimilar": 0.75, "epoch": 1}))
    result = red_green(["circular@2", "full"], seeds=[0, 1], settings=TINY, folder=folder)
    assert result.runs["circular@2"][0]["similar"] == 0.25
    assert len(list((folder / "records").rglob("*.json"))) == 4
    with pytest.raises(ResultError, match="other settings"):
        red_green(["full"], seeds=[0], settings=RedGreenSettings(30, 10, 10, epochs=3), folder=folder)


def test_trials_by_hand(tmp_path: Any) -> None:
    folder = tmp_path / "runs"
    red_green(["zeros"], seeds=[0, 1, 2], settings=TINY, folder=folder)
    for seed, value in enumerate((0.5, 0.6, 1.0)):
        path = folder / "records" / "zeros" / f"{seed}.json"
        path.write_text(json.dumps({"seed": seed, "similar": value, "dissimilar": 0.5, "epoch": 1 + seed}))
    result = red_green(["zeros"], seeds=[0, 1, 2], settings=TINY, folder=folder)
    half = 4.302653 * math.sqrt(0.07 / 3)  # t with 2 degrees of freedom, variance 0.07
    estimate = result.accuracy("zeros", "similar")
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.7, 0.7 - half, 0.7 + half))
    assert result.deviation("zeros", "similar") == pytest.approx(math.sqrt(0.14 / 3))
    row = str(result).splitlines()[2].split()
    assert row[:2] == ["zeros", "70.0"]
    assert row[-3:] == ["1", "to", "3"]
    document = result.to_dict()
    assert document["variants"]["zeros"]["similar"]["sd"] == pytest.approx(math.sqrt(0.14 / 3))
    assert len(document["runs"]["zeros"]) == 3
    assert "no image is in two sets" in document["remarks"][1]
    alone = red_green(["zeros"], seeds=[0], settings=TINY, folder=folder).to_dict()
    assert alone["variants"]["zeros"]["similar"]["low"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of 1 or more, but got 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number of 1 or more, but got 1.5"),
        ({"patience": -1}, "patience must be a whole number of 0 or more"),
        ({"lr": -0.1}, "lr must be a number of 0 or more, but got -0.1"),
        ({"rho": math.nan}, "rho must be a number of 0 or more, but got nan"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        RedGreenSettings(**settings)


@pytest.mark.parametrize("test", [red_green, rook])
def test_lists_that_make_no_sense(test: Any) -> None:
    with pytest.raises(ResultError, match="variants must be a list without repetitions, but got 'zeros'"):
        test("zeros")
    with pytest.raises(ResultError, match="variants must be a list without repetitions"):
        test(["zeros", "zeros"])
    with pytest.raises(ResultError, match="seeds must be a list without repetitions"):
        test(["zeros"], seeds=[])
    with pytest.raises(PaddingError, match="no padding scheme 'nothing'"):
        test(["zeros", "nothing"], seeds=[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "similar", "dissimilar", "tolerance"),
    [("none", 1.0, 0.002, 0.005), ("zeros", 0.998, 0.084, 0.03), ("full", 0.897, 0.897, 0.015)],
)
def test_the_published_table(variant: str, similar: float, dissimilar: float, tolerance: float) -> None:
    """One seed against the published means; three of their deviations at most, and half a percent for "none"."""
    settings = RedGreenSettings(leaky=True)
    (found,) = red_green([variant], seeds=[0], settings=settings).runs[variant]
    assert found["similar"] == pytest.approx(similar, abs=tolerance)
    assert found["dissimilar"] == pytest.approx(dissimilar, abs=tolerance)


# ---------------------------------------------------------------------------------------------------------------- rook


def test_the_rook_stands_in_two_corners() -> None:
    upper, lower = rook_images(3)[:, 0]
    assert torch.equal(lower[13:29, 16:29], upper[3:19, 3:16])
    for image, rows, columns in ((upper, slice(3, 19), slice(3, 16)), (lower, slice(13, 29), slice(16, 29))):
        assert image[rows, columns].sum() == image.sum() > 0
        sides = (image[rows, columns][[0, -1]].any(1), image[rows, columns][:, [0, -1]].any(0))
        assert all(bool(side.all()) for side in sides)
    with pytest.raises(ImagesError, match="inset must lie between 0 and 16 px, but got 17"):
        rook_images(17)


def test_one_convolution_tells_the_corner_as_published() -> None:
    """Zero padding 100.0 +- 0.0 over five seeds; full and circular convolution give both images one answer."""
    runs = rook(["zeros"]).runs["zeros"]
    assert [(run["accuracy"], run["dead"]) for run in runs] == [(1.0, 0)] * 5
    for variant, found in rook(["full", "circular"], seeds=[2, 3]).runs.items():
        assert [(run["accuracy"], run["dead"]) for run in found] == [(0.5, 0)] * 2, variant


@pytest.mark.parametrize(("variant", "reach"), [("zeros", 2), ("none", 4), ("reflect", 3)])
def test_the_corner_is_told_only_within_reach_of_the_border(variant: str, reach: int) -> None:
    """Cells of the figure meet all 25 weights from 2 px on with zeros, from 4 px on without padding.

    Without padding the corner is told all the same: the test does not need padding, only a border.
    """
    told = {i: {run["accuracy"] for run in rook([variant], seeds=[2, 3], inset=i).runs[variant]} for i in (0, reach)}
    assert told == {0: {1.0}, reach: {0.5}}


def test_a_dead_rook_is_reported() -> None:
    result = rook(["zeros"], seeds=[0], lr=50.0, epochs=20)
    (run,) = result.runs["zeros"]
    assert (run["accuracy"], run["dead"]) == (0.5, 1)
    assert "1 of 1" in str(result)
    for name, value in (("epochs", 0), ("inset", -1), ("lr", -1.0)):
        with pytest.raises(ModelError, match=f"{name} must be"):
            rook(["zeros"], **{name: value})


# ----------------------------------------------------------------------------------------------------------- quadrants


class NearEdge(nn.Module):
    """How bright the image is in its first column: all that it knows of the rest is nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.edge = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.bright = nn.ReLU()
        with torch.no_grad():
            self.edge.weight.zero_()
            self.edge.weight[0, 0, 1, 0] = -1

    def forward(self, x: Tensor) -> Tensor:
        left = 1 + self.edge(torch.ones_like(x[:, :1]))  # the cell to the left is padding
        return self.bright(x.abs().amax(1, keepdim=True) + 100 * (left - 1))


SCENES = DeadLeaves(10, 60, 0)
FAST = LocationSettings(epochs=20, lr=0.1)


def test_without_a_response_to_padding_the_corner_is_chance() -> None:
    result = quadrants(nets.pointwise(), SCENES, borders=[0, 8], training=FAST)
    assert [one.accuracy.value for one in result.values()] == [0.5, 0.5]
    assert [one.fitted for one in result.values()] == [0.5, 0.5]
    assert result.chance == 0.5
    low, high = result[0].accuracy.low, result[0].accuracy.high
    assert low < 0.5 < high


def test_padding_tells_the_corner_within_its_reach_and_no_farther() -> None:
    with torch.no_grad(), left_as_found(model := NearEdge()):
        result = quadrants(model, SCENES, borders=[0, 1, 5], training=FAST)
    assert {border: one.accuracy.value for border, one in result.items()} == {0: 1.0, 1: 0.5, 5: 0.5}
    assert result[0].fitted == 1.0
    assert result[0].accuracy.low > 0.5


def test_a_random_network_tells_the_corner_by_zeros_and_not_by_full_convolution() -> None:
    """Weights and images are the same; only padding differs."""
    from padprint.padding import convert

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for cin, cout in ((3, 16), (16, 32), (32, 32), (32, 32)):
        layers += [nn.Conv2d(cin, cout, 3, 2, 1), nn.ReLU()]
    net = nets.sequential(*layers)
    scenes = DeadLeaves(20, 60, 0)
    training = LocationSettings(epochs=60, lr=0.1)
    zeros = quadrants(net, scenes, borders=[0], training=training)[0].accuracy
    assert zeros.low > 0.5
    for convolution in layers[::2]:
        assert isinstance(convolution, nn.Conv2d)
        convolution.bias = None  # an empty canvas then is 0 on every map, and full convolution sees no border
    full = quadrants(convert(net, "full"), scenes, borders=[0], training=training)[0].accuracy
    assert full.low < 0.5 < full.high


@pytest.mark.parametrize("border", [0, 5, 13])
def test_a_border_is_the_authors_padding_of_the_first_convolution(border: int) -> None:
    first = nets.conv(3, 4, 7, stride=2, padding=3)
    net = nets.sequential(first, nn.ReLU(), nets.conv(4, 4, padding=1))
    settings = CanvasSettings()
    shown = torch.randn(2, 3, 56, 56)
    corners = torch.tensor([0, 1])
    with as_measured(net):
        tap = last_map(net, placed(shown[:1], corners[:1], 0, settings), None)
        ours = maxima(net, tap, placed(shown, corners, border, settings))
        first.padding = (border + 3, border + 3)
        theirs = maxima(net, tap, placed(shown, corners, 0, settings))
    torch.testing.assert_close(ours, theirs)


def test_canvases_by_hand() -> None:
    shown = torch.arange(1.0, 5.0).reshape(1, 1, 2, 2).expand(2, 1, 2, 2)
    canvases = placed(shown, torch.tensor([0, 1]), 1, CanvasSettings(picture=2, canvas=5))
    expected = torch.zeros(2, 1, 7, 7)
    expected[0, 0, 1:3, 1:3] = expected[1, 0, 4:6, 4:6] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(canvases, expected)
    authors = placed(torch.ones(2, 1, 56, 56), torch.tensor([0, 1]), 0, CanvasSettings())
    assert authors.shape[-1] == 120
    assert authors[0, 0, :56, :56].sum() == authors[1, 0, 64:, 64:].sum() == 56**2 == authors.sum() / 2


def test_pictures_by_hand() -> None:
    """A picture is a quarter of the middle 224 px in size: bilinear, it sees the middle 2 x 2 of each 4 x 4."""
    image = torch.rand(3, 256, 300)
    found = pictures(as_source([image]), CanvasSettings())
    middle = image[:, 16:240, 38:262].reshape(3, 56, 4, 56, 4)
    torch.testing.assert_close(found[0], middle[:, :, 1:3, :, 1:3].mean((2, 4)))
    small = pictures(as_source([torch.full((3, 20, 30), 2.5)]), CanvasSettings())
    torch.testing.assert_close(small, torch.full((1, 3, 56, 56), 2.5))


def test_files_are_resized_first(tmp_path: Any) -> None:
    Image.fromarray(np.full((40, 80, 3), 128, dtype=np.uint8)).save(tmp_path / "grey.png")
    result = quadrants(nets.pointwise(), tmp_path, borders=[0], leaky=True, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert result.n_images == 1
    with pytest.raises(ImagesError, match="mean= and std= are needed"):
        quadrants(nets.pointwise(), tmp_path, leaky=True)


@pytest.mark.parametrize(("images", "folds"), [(10, 5), (11, 3), (7, 7)])
def test_nobody_is_tested_on_what_it_learnt(images: int, folds: int) -> None:
    splits = _splits(images, folds, False, 0)
    assert sorted(int(i) for split in splits for i in split.test) == list(range(images))
    for split in splits:
        assert sorted(int(i) for part in split for i in part) == list(range(images))
        assert min(map(len, split)) > 0
    (leaky,) = _splits(images, folds, True, 0)
    assert all(torch.equal(part, torch.arange(images)) for part in leaky)
    assert not torch.equal(_splits(images, folds, False, 1)[0].test, splits[0].test)


def test_seeds_decide_and_batches_do_not() -> None:
    net = nets.stack()
    one = quadrants(net, SCENES, borders=[0, 3], training=FAST, seed=4)
    torch.rand(3)
    two = quadrants(net, SCENES, borders=[3, 0], training=FAST, seed=4, batch_size=3)
    assert {b: one[b].accuracy for b in (0, 3)} == {b: two[b].accuracy for b in (0, 3)}


def test_training_all_of_it_leaves_the_model_alone() -> None:
    torch.manual_seed(0)
    net = nets.sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
    training = LocationSettings(epochs=10, lr=0.02)
    scenes = DeadLeaves(15, 60, 0)
    with left_as_found(net):
        frozen = quadrants(net, scenes, borders=[0], training=training)[0]
        result = quadrants(net, scenes, borders=[0], training=training, train_backbone=True)
    assert result[0].fitted > frozen.fitted
    assert "3 of them tested" in str(result)


def test_which_layer_is_read() -> None:
    net = nets.sequential(nets.conv(3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(196, 2))
    with as_measured(net):
        assert last_map(net, torch.zeros(1, 3, 20, 20), None).name == "1"
        assert last_map(net, torch.zeros(1, 3, 20, 20), "0").name == "0"
        with pytest.raises(LayerError, match="'3' stands for a tensor of shape"):
            last_map(net, torch.zeros(1, 3, 20, 20), "3")
        with pytest.raises(LayerError, match="no layer of the model is called 'nowhere'"):
            last_map(net, torch.zeros(1, 3, 20, 20), "nowhere")
    flat = nets.sequential(nn.Flatten(), nn.Linear(3 * 120**2, 2))
    with pytest.raises(ModelError, match="no layer of Sequential returns"):
        quadrants(flat, SCENES, borders=[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"borders": []}, ModelError, "borders must be a list"),
        ({"borders": [3, -1]}, ModelError, "borders must be a list of different whole numbers"),
        ({"borders": [3, 3]}, ModelError, "borders must be a list of different"),
        ({"folds": 2}, ModelError, "folds must be a whole number of 3 or more, but got 2"),
        ({"folds": 11}, ImagesError, "10 images cannot be parted into 11 folds"),
        ({"batch_size": 0}, ModelError, "batch_size must be"),
        ({"mean": (0.5,) * 3}, ImagesError, "mean= is for image files"),
    ],
)
def test_quadrants_that_make_no_sense(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        quadrants(nets.pointwise(), SCENES, **options)


def test_sizes_and_training_that_make_no_sense() -> None:
    with pytest.raises(ImagesError, match="a canvas of 56 px leaves a picture of 56 px no two corners"):
        CanvasSettings(canvas=56)
    with pytest.raises(ImagesError, match="crop must be a whole number of 1 px or more, but got 0"):
        CanvasSettings(crop=0)
    with pytest.raises(ModelError, match="epochs must be"):
        LocationSettings(epochs=0)
    with pytest.raises(ModelError, match="Nesterov's momentum needs"):
        LocationSettings(momentum=0)
    with pytest.raises(ModelError, match="the model fails on an input of 3 channels and 120x120 px"):
        quadrants(nets.fixed_head(), noise(5, 60), borders=[0])


def test_wilson_by_hand() -> None:
    z2 = 1.959964**2
    full = wilson(1.0, 10)
    assert (full.value, full.low, full.high) == pytest.approx((1, 10 / (10 + z2), 1))
    none = wilson(0.0, 10)
    assert (none.value, none.low, none.high) == pytest.approx((0, 0, z2 / (10 + z2)))
    half = wilson(0.5, 16)
    assert half.high - 0.5 == pytest.approx(0.5 - half.low) == pytest.approx(0.5 * math.sqrt(z2 / (16 + z2)))


# ------------------------------------------------------------------------------------------------------- command line


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["fconv", *arguments])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_photographs(SCENES, tmp_path_factory.mktemp("photos"))


def test_commands_say_what_functions_return(photos: str, tmp_path: Any) -> None:
    rgb = {"mean": (0.5,) * 3, "std": (0.2,) * 3}
    texts = ("--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2")
    sizes = ("--train", "30", "--validation", "10", "--test", "10", "--epochs", "2", "--batch-size", "10")
    pairs: list[tuple[list[str], Any]] = [
        (
            ["rook", "--padding", "zeros", "circular@2", "full", "--seeds", "1"],
            rook(["zeros", "circular@2", "full"], seeds=[0]),
        ),
        (
            [
                "red-green",
                "--padding",
                "none",
                "circular@1",
                "--seeds",
                "2",
                *sizes,
                "--output",
                str(tmp_path / "runs"),
            ],
            red_green(["none", "circular@1"], seeds=[0, 1], settings=TINY),
        ),
        (
            ["quadrants", "nets:stack", photos, "--borders", "0,3", "--epochs", "4", "--lr", "0.1", *texts],
            quadrants(nets.stack(), photos, borders=[0, 3], training=LocationSettings(epochs=4, lr=0.1), **rgb),  # type: ignore[arg-type]
        ),
    ]
    for arguments, expected in pairs:
        found = run(*arguments, "--json")
        assert found.exit_code == 0, found.stderr
        assert json.loads(found.stdout) == json.loads(json.dumps(expected.to_dict()))
        assert str(expected).splitlines()[2] in found.stderr
        quiet = run(*arguments, "--quiet")
        assert quiet.stdout == quiet.stderr == ""


def test_commands_fail_in_one_line(photos: str) -> None:
    for arguments, message in (
        (["rook", "--padding", "nothing"], "error: there is no padding scheme 'nothing'"),
        (["rook", "--inset", "99"], "error: inset must lie between"),
        (["red-green", "--train", "20000"], "error: 22000 images without a repetition"),
        (["quadrants", "nets:stack", photos, "--folds", "50", "--mean", "0,0,0", "--std", "1,1,1"], "error: 10 images"),
    ):
        found = run(*arguments)
        assert (found.exit_code, found.stdout) == (1, "")
        (line,) = found.stderr.strip().splitlines()
        assert line.startswith(message)
    assert run("quadrants", "nets:stack", photos, "--borders", "0,x").exit_code == 2
    assert run("red-green", "--epochs", "0").exit_code == 2
