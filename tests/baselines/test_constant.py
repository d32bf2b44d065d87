"""The constant image: answers by hand, slow references, tokens and maps, and what it cannot see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from helpers import left_as_found, noise
from nets import Lambda, box_filter, pointwise, sequential
from padprint.baselines.constant import centred, constant_image, grid_of, unit
from padprint.cli.baseline import app
from padprint.errors import ImagesError, LayerError, ModelError


class Placed(nn.Module):
    """Pixels, and a map of its own that is the same for every image, as a position embedding is."""

    def __init__(self, size: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embedding = nn.Parameter(size * torch.randn(3, 8, 8, generator=generator, dtype=torch.float64))
        self.features = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x + self.embedding.to(x.dtype))


def test_a_position_embedding_by_hand() -> None:
    """The constant image shows the embedding less its mean over cells; images are noise of variance 1 on top of it."""
    net = Placed(0.5)
    found = constant_image(net, noise(40, 8), layers="features", crop=8, crops_per_image=1)["features"]
    own = net.embedding.detach() - net.embedding.detach().mean((1, 2), keepdim=True)
    size = math.sqrt(own.square().mean() / (own.square().mean() + 63 / 64))
    assert found.size.value == pytest.approx(size, rel=0.05)
    assert found.size.low < size < found.size.high
    assert found.agreement.value == pytest.approx(1, abs=0.1)
    none = constant_image(Placed(0), noise(9, 8), layers="features", crop=8)["features"]
    assert none.size.value == none.share.value == none.components == 0
    assert math.isnan(none.agreement.value)


def test_shares_against_loops() -> None:
    """Singular vectors by the eigenvectors of a covariance, projections one by one."""
    net, images = Placed(2.0), noise(5, 8)
    found = constant_image(net, images, layers="features", crop=8, crops_per_image=1, components=2)["features"]

    def of_unit(maps: np.ndarray) -> np.ndarray:
        cells = np.stack([cell / np.linalg.norm(cell) for cell in maps.reshape(3, 64).T], 1)
        return cells - cells.mean(1, keepdims=True)

    embedding = net.embedding.detach().numpy()
    shown = of_unit(embedding - 2)
    _, vectors = np.linalg.eigh(shown @ shown.T)
    inside = whole = 0.0
    for image in images:
        cells = of_unit(image.double().numpy() + embedding)
        inside += sum(float(vectors[:, -k] @ cell) ** 2 for k in (1, 2) for cell in cells.T)
        whole += float((cells**2).sum())
    assert found.share.value == pytest.approx(inside / whole, rel=1e-5)
    assert (found.components, found.chance) == (2, pytest.approx(2 / 3))
    every = constant_image(net, images, layers="features", crop=8, components=500)["features"]
    assert every.components == 3
    assert every.share.value == pytest.approx(1)


def test_zeros_around_the_mean_colour_show_nothing() -> None:
    """A box filter over 9 cells of value v misses 3 of them at an edge and 5 in a corner."""
    net = box_filter()
    grey, black = (
        constant_image(net, noise(4, 16), layers="0", crop=16, crops_per_image=1, value=v)["0"] for v in (0.0, -2.0)
    )
    assert grey.size.value == 0
    shown = torch.full((16, 16), 1.0, dtype=torch.float64)
    shown[0], shown[-1], shown[:, 0], shown[:, -1] = (2 / 3 for _ in range(4))
    shown[[0, 0, -1, -1], [0, -1, 0, -1]] = 4 / 9
    spread = 2 * float((shown - shown.mean()).square().mean().sqrt())
    maps = nn.functional.conv2d(torch.stack(noise(4, 16)), torch.full((3, 1, 3, 3), 1 / 9), padding=1, groups=3)
    rms = float((maps - maps.mean((2, 3), keepdim=True)).square().mean().sqrt())
    assert black.size.value == pytest.approx(spread / rms, rel=1e-5)


def test_nothing_pads_and_nothing_is_shown() -> None:
    found = constant_image(pointwise(), noise(3, 24), crop=16)
    assert [one.size.value for one in found.values()] == [0] * len(found)


def test_tokens_are_read_as_the_map_they_are_of() -> None:
    def tokens(before: int) -> nn.Module:
        head = Lambda(lambda y: torch.cat([torch.full((len(y), before, 3), 7.0), y.flatten(2).transpose(1, 2)], 1))
        return nn.Sequential(Placed(), head).eval()

    as_map = constant_image(Placed(), noise(4, 8), layers="features", crop=8)["features"]
    for before in (0, 1, 5):
        found = constant_image(tokens(before), noise(4, 8), layers="1", crop=8)["1"]
        assert found.rows()[0] == pytest.approx(as_map.rows()[0], rel=1e-9)


@pytest.mark.parametrize(
    ("shape", "crop", "grid"),
    [
        ((1, 4, 16, 16), (64, 64), (2, 16, 16)),
        ((1, 16, 16, 96), (64, 64), (1, 16, 16)),
        ((1, 8, 58, 58), (64, 64), (2, 58, 58)),
        ((1, 4, 8, 16), (64, 128), (2, 8, 16)),
        ((1, 197, 192), (224, 224), (1, 14, 14)),
        ((1, 196, 192), (224, 224), (1, 14, 14)),
        ((1, 128, 7), (64, 128), (1, 8, 16)),
        ((1, 1000), (224, 224), None),
        ((1, 512, 1, 1), (224, 224), None),
        ((1, 60, 5), (64, 64), (1, 7, 7)),
        ((1, 3, 5), (64, 64), None),
    ],
)
def test_grids(shape: tuple[int, ...], crop: tuple[int, int], grid: tuple[int, int, int] | None) -> None:
    assert grid_of(shape, crop) == grid


def test_rounding_is_no_position() -> None:
    maps = torch.full((1, 2, 9), 1 / 3, dtype=torch.float64)
    maps[0, 0, 4] *= 1 + 1e-8
    assert centred(maps).abs().max() == 0
    assert unit(maps).square().sum(1) == pytest.approx(torch.ones(1, 9).double())


def test_automatic_layers_are_the_last_map_of_each_size() -> None:
    net = sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.Flatten())
    assert list(constant_image(net, noise(2, 16), crop=16)) == ["1", "2"]


def test_the_network_is_left_as_found() -> None:
    net = Placed()
    with left_as_found(net):
        constant_image(net, noise(2, 8), layers="features", crop=8)


def test_bad_input() -> None:
    with pytest.raises(ImagesError, match="8x8 px, and the crop 16x16: use larger images"):
        constant_image(Placed(), noise(1, 8), layers="features", crop=8, crops_per_image=1) and constant_image(
            box_filter(), noise(1, 8), crop=16
        )
    with pytest.raises(LayerError, match="no layer gives a map of the crop"):
        constant_image(sequential(nn.Flatten()), noise(1, 8), crop=8)
    with pytest.raises(LayerError, match="nearest"):
        constant_image(Placed(), noise(1, 8), layers="feature", crop=8)
    with pytest.raises(ModelError, match="crops_per_image must be a whole number of 1 or more"):
        constant_image(Placed(), noise(1, 8), crop=8, crops_per_image=0)


def test_command(tmp_path) -> None:
    import json

    from PIL import Image

    for i in range(3):
        Image.new("RGB", (40, 40), (60 * i, 90, 200 - 60 * i)).save(tmp_path / f"{i}.png")
    found = CliRunner().invoke(
        app,
        ["constant", "nets:stack", str(tmp_path), "--mean", "half", "--crop", "16", "--layers", "4", "--json"],
    )
    assert found.exit_code == 0, found.stderr
    (layer,) = json.loads(found.stdout)["layers"].values()
    assert layer["size"]["value"] > 0 and layer["components"] >= 1
