"""``padprint halo``, on small networks and real files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from padprint.cli import app

runner = CliRunner(env={"COLUMNS": "200"})
NORMALISED = ("--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--tile", "48")

pytestmark = pytest.mark.filterwarnings("ignore:.*has random initial weights")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two folders of random images, and a module of networks on the path."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    rng = np.random.default_rng(0)
    for name in ("photos", "others"):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = rng.integers(0, 256, (96, 112, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    return str(tmp_path / "photos"), str(tmp_path / "others")


def run(*arguments: str):
    return runner.invoke(app, ["halo", *arguments])


def test_one_command_measures_advises_and_verifies(folders: tuple[str, str], tmp_path: Path) -> None:
    photos, others = folders
    out = tmp_path / "out"
    result = run("nets:stack", photos, *NORMALISED, "--verify", others, "--output", str(out))
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    for part in ("structural px", "own", "drop 3 px", "roi_size=(48, 48)", "tile_pad=3", "PASS: 4", "wrote"):
        assert part in result.stderr, result.stderr
    assert json.loads((out / "halo.json").read_text())["paddings"]["own"]["structural_px"] == 3
    assert (out / "halo.png").stat().st_size > 1000


def test_json_alone_is_printed(folders: tuple[str, str]) -> None:
    photos, others = folders
    result = run(
        "nets:stride_two", photos, *NORMALISED, "--padding", "own", "reflect", "--verify", others, "--json", "--quiet"
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert list(document["paddings"]) == ["own", "reflect"]
    assert [one["passed"] for one in document["verification"]] == [True, True]
    assert document["paddings"]["own"]["units"]["bioimageio"]["outputs"]["2"]["y"]["scale"] == 4


def test_a_check_that_fails_is_exit_status_1(folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out images with more contrast than any that the advice has seen."""
    photos, others = folders
    for path in Path(photos).iterdir():
        flat = np.asarray(Image.open(path)).astype(float)
        Image.fromarray((127.5 + (flat - 127.5) * 0.02).astype(np.uint8)).save(path)
    result = run(
        "nets:box_filter", photos, *NORMALISED, "--error", "absolute", "--tolerance", "0.05", "--verify", others
    )
    assert result.exit_code == 1
    assert "FAIL: 0: rms change" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nets:SqueezeExcite", "--tile", "48"), "no overlap of tiles can keep"),
        (("nets:stack", "--tile", "6"), "has no room for a tolerance of 0.01"),
        (("nets:stack", "--tile", "96"), "images are too small"),
        (("nets:stack", "--tile", "48", "--tolerance", "0"), "tolerance must be a number above 0"),
        (("nets:stack", "--tile", "48", "--error", "l2"), "there is no error 'l2'"),
        (("nets:stack", "--tile", "48", "--output-layer", "9"), "no layer of the model is called '9'"),
    ],
)
def test_what_cannot_be_done_is_one_line(folders: tuple[str, str], arguments: tuple[str, ...], message: str) -> None:
    model, *options = arguments
    result = run(model, folders[0], "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", *options)
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def test_wrong_usage_is_exit_status_2(folders: tuple[str, str]) -> None:
    assert run("nets:stack", folders[0], "--tile", "many").exit_code == 2
    assert "Examples: padprint halo" in run("--help").output
