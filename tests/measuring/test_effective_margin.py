"""A margin as wide as the scene matters: found on the first image, marked approximate, and right to what it promises."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import padprint
from padprint import ImagesError, ModelError
from padprint.measuring.session import EFFECTIVE_SHARE
from padprint.scenes import DeadLeaves


def deep(layers: int = 12) -> nn.Sequential:
    """A stack that reaches `layers` px and hardly listens to what is far: each layer adds a little to what it gets."""

    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 0.05 * self.convolution(x)

    torch.manual_seed(0)
    return nn.Sequential(*(Adds() for _ in range(layers))).eval()


def test_it_is_narrower_than_the_reach_and_right() -> None:
    scenes = [torch.full((3, 160, 160), value) for value in (0.5, 1.0, 2.0)]  # the same wherever a crop lies
    options = {"layers": "39", "crop": 32, "crops_per_image": 2}
    exact = padprint.measure(deep(40), scenes, **options)
    found = padprint.measure(deep(40), scenes, **options, margin="effective")
    assert max(exact.margin) == 40
    assert max(found.margin) < 40
    assert (exact.approximate, found.approximate) == (False, True)
    one, other = exact["39"], found["39"]
    change = (one.pattern - other.pattern).square().mean().sqrt() / one.pattern.square().mean().sqrt()
    assert float(change) < 3 * EFFECTIVE_SHARE
    assert other.rms.value == pytest.approx(one.rms.value, rel=0.05)
    assert other.residual is not None
    assert other.residual < 0.05 * other.relative.value


def test_where_all_of_the_reach_matters_it_is_the_margin() -> None:
    """A mean over far cells alone: nothing less than the reach will do."""
    far = nn.Conv2d(3, 3, 3, padding=20, dilation=20)
    found = padprint.measure(far, DeadLeaves(3, 160), layers="output", crop=48, margin="effective")
    assert (found.margin, found.approximate) == ((20, 20, 20, 20), False)


def test_it_says_where_there_is_no_room() -> None:
    with pytest.raises(
        ImagesError, match=r"an effective margin cannot be told: \d+ px and half as much again have no room"
    ):
        padprint.measure(deep(40), DeadLeaves(3, 42), layers="39", crop=32, margin="effective")


def test_without_images_it_is_refused() -> None:
    with pytest.raises(ModelError, match="is found on images"):
        padprint.PatternMetric(deep(), "3", 32, margin="effective")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="margin must be a number of px, None or 'effective'"):
        padprint.measure(deep(), DeadLeaves(3, 96), crop=32, margin="wide")


def test_halos_take_it_too() -> None:
    advice = padprint.halo(deep(24), DeadLeaves(4, 128), tile=48, tolerance=0.01, margin="effective")
    assert advice.approximate
    exact = padprint.halo(deep(24), DeadLeaves(4, 128), tile=48, tolerance=0.01)
    assert advice.first.effective == exact.first.effective
    assert not math.isnan(advice.first.effective.value)


def test_the_command_line_takes_it() -> None:
    from padprint.cli import app

    done = CliRunner().invoke(app, ["measure", "torchvision:resnet18", "photos", "--margin", "wide"])
    assert done.exit_code == 2
    assert "effective" in done.stderr
