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
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
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
        (("nets:sorting", "--tile", "48"), "no overlap of tiles can keep"),
        (("nets:stack", "--tile", "96"), "images are too small"),
        (("nets:stack", "--tile", "48", "--tolerance", "0"), "tolerance must be a number above 0"),
        (("nets:stack", "--tile", "48", "--error", "l2"), "there is no error 'l2'"),
        (
            ("nets:stack", "--tile", "48", "--output-layer", "9"),
            "no layer of nets:stack is called '9'; nearest: 2, 3, 4",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(folders: tuple[str, str], arguments: tuple[str, ...], message: str) -> None:
    model, *options = arguments
    result = run(model, folders[0], "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", *options)
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_check_on_the_images_of_the_advice_is_refused_before_anything_is_measured(
    folders: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run("nets:stack", folders[0], *NORMALISED, "--verify", folders[0], "--output", str(out))
    assert result.exit_code == 1
    assert "error: --verify names the images that are measured on" in result.stderr
    assert not out.exists()


def test_wrong_usage_is_exit_status_2(folders: tuple[str, str]) -> None:
    assert run("nets:stack", folders[0], "--tile", "many").exit_code == 2
    assert "Examples: padprint halo" in run("--help").output


def test_what_was_measured_is_kept_and_read_again(folders: tuple[str, str], tmp_path: Path) -> None:
    out, again = str(tmp_path / "out"), str(tmp_path / "again")
    options = ("--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--output", out, "--report")
    result = run("nets:stack", folders[0], "--tile", "6", *options)
    assert result.exit_code == 1, result.output
    assert "6-px tiles have no room for a tolerance of 0.01" in result.stderr
    assert f"padprint halo {out} --tolerance" in result.stderr
    assert {"halo.json", "halo.png", "report.html"} <= {one.name for one in Path(out).iterdir()}
    result = run(out, "--tolerance", "5", "--output", again)
    assert result.exit_code == 0, result.output
    assert "tolerance 5 (relative rms change)" in result.stderr
    assert json.loads((Path(again) / "halo.json").read_text())["tolerance"] == 5
    page = tmp_path / "page.html"
    assert runner.invoke(app, ["report", out, "--output", str(page)]).exit_code == 0
    text = page.read_text()
    assert "have no room for a tolerance of 0.01" in text
    assert text.index("no room") < text.index("Tiles to choose from") < text.index("<svg") < text.index("<details")
    assert run(out).exit_code == 1  # at the tolerance it was measured with


def test_structure_needs_no_images(folders: tuple[str, str]) -> None:
    result = run("nets:stack", "--structural", "--tile", "48", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["halo_px"] == 3 and document["units"]["real_esrgan"] == {"tile": 42, "tile_pad": 3}
    assert "structural halo 3 px" in result.stderr
    assert run("nets:stack", "--structural", "--tile", "4").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nets:stack",), "there are no images after the model; --structural needs none"),
        (("nets:stack", "photos", "--structural"), "--structural needs no images: leave out images"),
        (("nets:stack", "--structural", "--output", "x"), "--structural measures nothing that could be written"),
        (("nets:stack", "photos", "--report"), "--report needs --output"),
    ],
)
def test_arguments_that_do_not_go_together(folders: tuple[str, str], arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
