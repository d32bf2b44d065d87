"""What cannot be done on the command line: one line that names the true cause, and exit status 1."""

from __future__ import annotations

import json
import os
import sys
import warnings
from itertools import count
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner, Result

from helpers import fresh_module
from padprint.cli import _commands, _loading, app
from padprint.cli._options import Photographs
from padprint.errors import ImagesError, ResultError
from padprint.network.loading import LoadedModel

runner = CliRunner(env={"COLUMNS": "200"})
FRESH = (f"cli_module_{number}" for number in count())
NET = """
import sys
import torch
from torch import nn
class Quits(nn.Module):
    def forward(self, x):
        sys.exit(0)
class Other(BaseException):
    pass
def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1))
def bn():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4))
def quits():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), Quits())
def ends():
    sys.exit(0)
def other():
    raise Other
def interrupted():
    raise KeyboardInterrupt
"""
NORM = ("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with factories in the current directory, next to a folder of three photographs."""
    name = fresh_module(FRESH, NET, tmp_path, monkeypatch)
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (40, 40), (i * 40, 90, 20)).save(tmp_path / "photos" / f"{i}.png")
    # outside pytest, warnings are shown and not raised
    monkeypatch.setattr(warnings, "filters", [("default", None, Warning, None, 0)])
    return name


def failed(*arguments: str) -> str:
    """The one line that a command says before it gives up."""
    result = runner.invoke(app, arguments)
    assert_failed(result)
    return result.stderr.strip().splitlines()[-1]


def assert_failed(result: Result) -> None:
    assert result.exit_code == 1, (result.output, result.exception)
    assert result.stdout == ""
    said = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(said) == 1, result.stderr
    assert said[0].startswith("error: ")


@pytest.mark.parametrize("factory", ["ends", "other", "quits", "interrupted"])
@pytest.mark.parametrize("command", ["measure", "layers", "inspect", "halo"])
def test_code_that_ends_the_program_fails(module: str, factory: str, command: str, tmp_path: Path) -> None:
    images = ("photos", *NORM) if command in ("measure", "halo") else ()
    sizes = {
        "measure": ("--crop", "16"),
        "halo": ("--tile", "16"),
        "layers": ("--crop", "16"),
        "inspect": ("--size", "16"),
    }
    line = failed(command, f"{module}:{factory}", *images, *sizes[command])
    words = {
        "ends": "failed when called without arguments (it tried to end the program, SystemExit: 0)",
        "other": "failed when called without arguments (it tried to end the program, Other",
        "quits": "ended the program before the work was done (SystemExit: 0)",
        "interrupted": "interrupted before the work was done",
    }
    assert words[factory] in line
    assert {path.name for path in tmp_path.iterdir()} <= {f"{module}.py", "photos", "__pycache__"}


def test_a_module_that_ends_the_program_on_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = next(FRESH)
    Path(f"{name}.py").write_text("import sys; sys.exit(0)")
    assert f"importing {name} failed (it tried to end the program, SystemExit: 0)" in failed("layers", f"{name}:net")


def test_too_many_pixels_name_the_file_the_size_and_the_option(module: str) -> None:
    Image.new("RGB", (50000, 1)).save("photos/long.png")
    net = f"{module}:net"
    for command, sizes in (
        (("measure", net, "photos"), ("--crop", "16")),
        (("halo", net, "photos"), ("--tile", "16")),
        (("baseline", "probe", net, "photos"), ("--crop", "16")),
        (("baseline", "ring", net, "photos"), ()),
        (("baseline", "posenet", net, "photos", "--views", "crops"), ("--crop", "16")),
        (("compare", net, "photos", "--padding", "own", "--padding", "reflect"), ("--crop", "16")),
    ):
        line = failed(*command, *sizes, *NORM, "--resize-short-side", "64")
        assert "long.png has 64x3200000 px after resizing (1x50000 px before), 204.8 megapixels" in line
        assert "--max-megapixels" in line
    line = failed("measure", net, "photos", "--crop", "16", *NORM, "--max-megapixels", "0.001")
    assert "0.png has 40x40 px, 0.0016 megapixels, and 0.001 are allowed" in line
    line = failed("baseline", "fconv", "quadrants", net, "photos", *NORM, "--max-megapixels", "0.001")
    assert "megapixels, and 0.001 are allowed" in line
    line = failed("baseline", "posenet", net, "photos", "--max-megapixels", "0.001")
    assert "megapixels, and 0.001 are allowed" in line


def test_calibration_knows_the_limit_and_says_why_there_is_no_image(module: str) -> None:
    line = failed("measure", f"{module}:bn", "photos", *NORM, "--calibrate", "2", "--max-megapixels", "0.001")
    assert "0.png has 40x40 px" in line
    for file in Path("photos").iterdir():
        file.write_text("no picture")
    line = failed("measure", f"{module}:bn", "photos", *NORM, "--calibrate", "2")
    assert "no image left: 2 files of photos (2 image files) could not be used, the first 0.png: Unidentified" in line


def test_names_that_are_not_utf8_are_printed(module: str) -> None:
    bad = Path("photos") / os.fsdecode(b"bad\xff.png")
    try:
        bad.write_text("no picture")
    except OSError:
        pytest.skip("this file system wants UTF-8")
    result = runner.invoke(app, ["measure", f"{module}:net", "photos", "--crop", "16", *NORM, "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    assert r"warning: skipped bad\udcff.png" in result.stderr
    document = json.loads(result.stdout)
    assert list(document["provenance"]["skipped"]) == [r"bad\udcff.png"]
    json.dumps(document, ensure_ascii=False).encode()
    line = failed("measure", f"{module}:net", str(bad), "--crop", "16", *NORM)
    assert r"bad\udcff.png" in line
    assert r"gone\udcff" in failed("measure", f"{module}:net", os.fsdecode(b"gone\xff"), "--crop", "16", *NORM)


def test_a_saved_result_names_no_folder(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)).state_dict(), tmp_path / "w.pth")
    (tmp_path / "photos" / "bad.png").write_text("no picture")
    arguments = ["measure", f"{module}:net", str(tmp_path / "photos"), "--crop", "16", *NORM, "--report"]
    arguments += ["--weights", str(tmp_path / "w.pth"), "--output", str(tmp_path / "result")]
    monkeypatch.setattr(sys, "argv", ["padprint", *arguments])
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    listed = [str(file) for file in sorted((tmp_path / "photos").iterdir())]
    arguments = ["compare", f"{module}:net", *listed, "--crop", "16", *NORM, "--padding", "own", "--padding", "reflect"]
    arguments += ["--output", str(tmp_path / "comparison")]
    monkeypatch.setattr(sys, "argv", ["padprint", *arguments])
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    arguments = ["halo", f"{module}:net", str(tmp_path / "photos"), "--tile", "16", *NORM, "--margin", "8"]
    arguments += ["--output", str(tmp_path / "halo")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    arguments = ["baseline", "posenet", f"{module}:net", str(tmp_path / "photos"), "--layers", "1", "--crop", "32"]
    arguments += ["--epochs", "1", "--patterns", "H", "--output", str(tmp_path / "posenet"), "--feat-size", "8"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    written = [path for name in ("result", "comparison", "halo", "posenet") for path in (tmp_path / name).rglob("*")]
    texts = [path for path in written if path.suffix in (".json", ".html", ".csv")]
    assert {path.name for path in texts} >= {
        "result.json",
        "report.html",
        "comparison.json",
        "halo.json",
        "posenet.json",
    }
    for path in texts:
        assert str(tmp_path) not in path.read_text(), path


def loaded(name: str, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> LoadedModel:
    return LoadedModel(nn.ReLU(), name, mean, std, None, "")  # type: ignore[arg-type]


def asked(mean: str | None = None, std: str | None = None) -> Photographs:
    return Photographs(mean=mean, std=std)


def test_what_is_not_known_of_the_normalisation_is_named() -> None:
    half = (0.5, 0.5, 0.5)
    a, b, nothing = loaded("a", half, half), loaded("b", half, (0.2, 0.2, 0.2)), loaded("c", None, None)
    assert _loading.common_normalisation(asked(), [a, a]) == (half, half)
    assert _loading.common_normalisation(asked("0.5,0.5,0.5", "0.5,0.5,0.5"), [a, b, nothing]) == (half, half)
    with pytest.raises(ImagesError, match=r"^c does not say .*: give --mean and --std as in training"):
        _loading.common_normalisation(asked(), [a, nothing])
    with pytest.raises(ImagesError, match=r"^c does not say .*: give --std as in training"):
        _loading.common_normalisation(asked(mean="0.5,0.5,0.5"), [a, nothing])
    with pytest.raises(
        ImagesError, match=r"a wants mean 0\.5,0\.5,0\.5 and deviation 0\.5,.*, b 0\.5,.* and 0\.2,0\.2,0\.2"
    ):
        _loading.common_normalisation(asked(), [a, b])


def test_a_folder_that_is_closed_to_writing_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(ResultError, match=r"nothing can be written into .*, its permissions forbid it; choose another"):
        _commands.check_output(tmp_path / "a" / "b")
    monkeypatch.undo()
    _commands.check_output(tmp_path / "a" / "b")


def test_help_says_that_models_are_programs() -> None:
    for command in ("measure", "compare", "layers", "inspect", "halo"):
        said = " ".join(runner.invoke(app, [command, "--help"]).output.replace("│", " ").split())
        assert "name only what you trust" in said
