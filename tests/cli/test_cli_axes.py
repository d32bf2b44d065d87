"""Commands on networks for waveforms and volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import padprint
from padprint.cli import app

SIDES = {1: ["start", "end"], 3: ["front", "back", "top", "bottom", "left", "right"]}
NETS = """
import torch
from torch import nn

def net(conv):
    torch.manual_seed(0)
    return nn.Sequential(conv(1, 3, 3, padding=1), nn.ReLU(), conv(3, 3, 3, stride=2, padding=1))

def waves():
    return net(nn.Conv1d)

def volumes():
    return net(nn.Conv3d)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets_of_axes.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, shape in (("1", (200,)), ("3", (24, 24, 24))):
        (tmp_path / name).mkdir()
        for i in range(4):
            np.save(tmp_path / name / f"{i}.npy", rng.normal(size=shape).astype(np.float32))
    return tmp_path


def run(*arguments: str, status: int = 0) -> Any:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == status, done.output + str(done.exception)
    return done


@pytest.mark.parametrize(("axes", "net", "crop"), [(1, "waves", "32"), (3, "volumes", "6x8x8")])
def test_sizes_are_one_number_or_one_for_each_axis(here: Path, axes: int, net: str, crop: str) -> None:
    model, images = f"nets_of_axes:{net}", [str(axes), "--axes", str(axes), "--mean", "none"]
    margin = "x".join(["4"] * axes)
    done = run("measure", model, *images, "--crop", crop, "--margin", margin, "--output", "out")
    found = padprint.load(here / "out")
    assert len(found.crop) == axes
    assert found.margin == (4,) * (2 * axes)
    assert len(SIDES[axes]) == 2 * axes
    assert SIDES[axes][0] in done.stderr
    document = json.loads(
        run(
            "layers", model, "--crop", crop, "--margin", margin, "--field", f"0:{','.join('0' * axes)}", "--json"
        ).stdout
    )
    assert document["fields"][0]["cell"] == [0] * axes
    assert document["with_margin"]["margin"] in ([4] * axes, 4)
    told = run("halo", model, "--structural", "--tile", "64", "--quiet", "--json").stdout
    assert json.loads(told)["tile"] == [64] * axes
    assert json.loads(run("inspect", model, "--size", "16", "--json").stdout)["shape"] == [1, 1, *[16] * axes]
    halo = json.loads(run("halo", model, *images, "--tile", crop, "--json", status=0).stdout)
    assert list(halo["paddings"]["own"]["outputs"]["2"]["structural"]) == SIDES[axes]


def test_a_first_look_without_images_says_what_it_lacks(here: Path) -> None:
    said = run("check", "nets_of_axes:volumes", "--size", "12").output
    assert "synthetic scenes have 2 space axes, and the network takes 3: give images" in " ".join(said.split())


def test_networks_for_other_images_are_refused_in_one_line(here: Path) -> None:
    said = run("measure", "nets_of_axes:volumes", "1", "--axes", "1", "--mean", "none", "--crop", "8", status=1).stderr
    assert said.startswith("error: images have 1 space axis, the network takes 3")
    assert len(said.strip().splitlines()) == 1
    said = run("measure", "nets_of_axes:waves", "1", "--axes", "1", "--mean", "none", "--crop", "8x8", status=1).stderr
    assert "crop must be one number, or one for each of 1 space axis, but got (8, 8)" in said


@pytest.mark.parametrize("text", ["8x8x8x8", "8x", "ax8", "0"])
def test_sizes_that_are_none(text: str) -> None:
    done = CliRunner().invoke(app, ["layers", "torchvision:resnet18", "--crop", text])
    assert done.exit_code == 2
