from __future__ import annotations

import json
import subprocess
import sys
import types
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Optional, get_args

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import padprint
from measurements import made_measurement
from padprint.cli import _commands, _parse, _processes, app
from padprint.cli._bundles import _described
from padprint.errors import ModelError
from padprint.images.contents import Files

runner = CliRunner(env={"COLUMNS": "200"})


@pytest.fixture
def calls(monkeypatch, tmp_path_factory) -> list[dict]:
    """A fake engine and a fake model loader beside real images; the list of what the engine was called with."""
    seen: list[dict] = []
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    (here / "photos").mkdir()
    for name in ("photos/a.png", "a.png", "b.png"):
        Image.new("L", (640, 700)).save(here / name)
    for name in ("a.npy", "b.npy"):
        np.save(here / name, np.zeros((4, 640, 700), np.uint8))

    def measure(model, images, **options):
        seen.append({"model": model, "images": images, **options})
        warnings.warn("one\n  line", RuntimeWarning, stacklevel=2)
        print("the model's own chatter")  # noqa: T201
        return made_measurement()

    def load_model(spec, weights=None):
        if spec == "wrong":
            raise ModelError("no model\n'wrong'")
        mean, std = (None, None) if spec == "unknown" else ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
        source = f"file {weights}" if weights else "random initialisation" if spec == "random" else "trained"
        return types.SimpleNamespace(
            model=nn.Sequential(OrderedDict((name, nn.Identity()) for name in "abc")),
            name=spec,
            mean=mean,
            std=std,
            normalisation_source="declared",
            weights_source=source,
            random=source == "random initialisation",
        )

    engine = types.ModuleType("padprint.measuring.engine")
    engine.measure = measure
    monkeypatch.setitem(sys.modules, "padprint.measuring.engine", engine)
    monkeypatch.setattr("padprint.network.loading.load_model", load_model)
    # outside pytest, warnings are shown and not raised
    monkeypatch.setattr(warnings, "filters", [("default", None, Warning, None, 0)])
    return seen


@pytest.mark.parametrize("command", ["measure", "layers", "demo"])
def test_help_carries_an_example(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example: padprint {command}" in result.output


def test_defaults_reach_the_engine(calls) -> None:
    result = runner.invoke(app, ["measure", "net", "photos"])
    assert result.exit_code == 0, result.output
    assert calls == [
        {
            "model": calls[0]["model"],
            "images": Path("photos"),
            "layers": "auto",
            "crop": 224,
            "crops_per_image": 16,
            "groups": 20,
            "margin": None,
            "batch_size": 16,
            "memory": None,
            "seed": 0,
            "limit": None,
            "resize_short_side": None,
            "max_megapixels": None,
            "strict": False,
            "device": None,
            "progress": False,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.2, 0.2, 0.2),
            "distributed": False,
            "name": "net",
            "padding": None,
        }
    ]


def test_every_option_reaches_the_engine(calls) -> None:
    given = "--layers a,b --layers c* --crop 224x320 --crops-per-image 3 --groups 5 --margin 128"
    given += (
        " --batch-size 7 --seed 9 --mean 0,0.5,1 --std 1,2,3 --images-limit 4"
        " --resize-short-side 600 --strict --device cpu"
    )
    result = runner.invoke(app, ["measure", "net", "a.png", "b.png", *given.split()])
    assert result.exit_code == 0, result.output
    call = calls[0]
    assert call["images"] == [Path("a.png"), Path("b.png")]
    assert (call["layers"], call["crop"], call["margin"]) == (["a", "b", "c*"], (224, 320), 128)
    assert (call["crops_per_image"], call["groups"], call["batch_size"], call["seed"]) == (3, 5, 7, 9)
    assert (call["mean"], call["std"]) == ((0.0, 0.5, 1.0), (1.0, 2.0, 3.0))
    assert (call["limit"], call["resize_short_side"], call["strict"], call["device"]) == (4, 600, True, "cpu")


def test_how_files_are_read_reaches_the_engine(calls) -> None:
    given = "--axes 3 --channels 1,dapi --sample-rate 100 --spacing 3,1,1 --crop 4x224x320 --margin 0x8x16"
    for images in (["a.npy"], ["a.npy", "b.npy"]):
        result = runner.invoke(app, ["measure", "net", *images, *given.split()])
        assert result.exit_code == 0, result.output
        paths = [Path(one) for one in images]
        assert (calls[-1]["crop"], calls[-1]["margin"]) == ((4, 224, 320), (0, 8, 16))
        assert calls[-1]["images"] == Files(
            paths if len(paths) > 1 else paths[0], 3, (1, "dapi"), 100.0, (3.0, 1.0, 1.0)
        )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--axes 4", "Invalid value for '--axes'"),
        ("--channels 1,,2", "'1,,2' is not a list such as 0,2 or Z,N,E"),
        ("--crop 1x2x3x4", "'1x2x3x4' is not a size such as 224, 224x320 or 32x224x320"),
        ("--crop 0x2", "'0x2' is not a size such as 224"),
        ("--margin 1x-2", "'1x-2' is no number of px"),
        ("--spacing a", "'a' is not mm such as 1 or 3,1,1"),
        ("--spacing 1,0", "'1,0' is not mm such as 1 or 3,1,1"),
        ("--spacing 1,inf", "'1,inf' is not mm such as 1 or 3,1,1"),
    ],
)
def test_how_files_are_read_is_checked(given: str, words: str) -> None:
    result = runner.invoke(app, ["measure", "net", "a.npy", *given.split()])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())


def test_json_is_alone_on_standard_output(calls) -> None:
    result = runner.invoke(app, ["measure", "net", "photos", "--json"])
    document = json.loads(result.stdout)
    assert document["layers"]["layer4"]["snr"]["value"] == 0.123
    assert document["provenance"]["weights_source"] == "trained"
    assert document["provenance"]["normalisation_source"] == "declared"
    for part in ("0.123 [0.110, 0.136]", "warning: one line", "chatter", "not measured: pool"):
        assert part in result.stderr


def test_without_json_standard_output_stays_empty(calls) -> None:
    result = runner.invoke(app, ["measure", "net", "photos"])
    assert result.stdout == ""
    assert "layer4" in result.stderr


def test_quiet_keeps_warnings_only(calls) -> None:
    result = runner.invoke(app, ["measure", "net", "photos", "--quiet"])
    assert result.stdout == ""
    assert "warning: one line" in result.stderr
    assert "layer4" not in result.stderr


def test_output_and_plots_are_written(calls, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "result"
    result = runner.invoke(app, ["measure", "net", "photos", "--output", str(folder), "--plots"])
    assert result.exit_code == 0, result.output
    loaded = padprint.load(folder)
    assert loaded["layer4"] == made_measurement()["layer4"]
    assert loaded.provenance["calibrated_on"] == 0
    assert sorted(path.name for path in folder.glob("*.png")) == [
        "pattern-features.1.png",
        "pattern-layer4.png",
    ]
    assert f"wrote {folder}/result.json" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("wrong photos", "error: no model 'wrong'"),
        ("unknown photos", "give --mean and --std"),
        ("net photos --output {file}", "a file has that name"),
        ("net photos --output {file}/below", "a file has that name"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(calls, tmp_path: Path, arguments: str, words: str) -> None:
    (tmp_path / "taken").write_text("")
    result = runner.invoke(app, ["measure", *arguments.format(file=tmp_path / "taken").split(), "--json"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "net",
        "net photos --crop 12cm",
        "net photos --crop 1x2x3x4",
        "net photos --crop 0",
        "net photos --margin 1,2",
        "net photos --margin -1",
        "net photos --mean a,b,c",
        "net photos --crops-per-image 0",
        "net photos --plots",
        "net photos --unknown",
    ],
)
def test_wrong_usage_is_status_2(calls, arguments: str) -> None:
    result = runner.invoke(app, ["measure", *arguments.split()])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert calls == []


def test_random_weights_are_pointed_out_unless_calibrated(calls, monkeypatch, tmp_path: Path) -> None:
    Image.new("RGB", (140, 30), "red").save(tmp_path / "a.png")
    seen: list = []
    monkeypatch.setattr("padprint.network.batchnorm.calibrate_batchnorm", lambda model, images: seen.extend(images))
    arguments = ["measure", "random", str(tmp_path), "--crop", "16x80"]
    assert "random initial weights" in runner.invoke(app, arguments).stderr
    result = runner.invoke(app, [*arguments, "--calibrate", "3"])
    assert result.exit_code == 0, result.output
    assert "random initial weights" not in result.stderr
    assert [tuple(image.shape) for image in seen] == [(3, 16, 80)]


def test_several_processes_join_and_leave_and_one_speaks(calls, monkeypatch) -> None:
    events: list = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("torch.distributed.init_process_group", events.append)
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: events.append("left"))
    monkeypatch.setattr("padprint.support.processes.everyone", lambda value, distributed: [value, value])
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert _processes.first() == (rank == "0")
        result = runner.invoke(app, ["measure", "net", "photos", "--json"])
        assert result.exit_code == 0
        assert bool(result.stdout) == (rank == "0")
        assert ("layer4" in result.stderr) == (rank == "0")
        failed = runner.invoke(app, ["measure", "wrong", "photos"])
        assert failed.exit_code == 1
        assert bool(failed.stderr) == (rank == "0")
    assert events == ["gloo", "left"] * 4
    assert all(call["distributed"] for call in calls)


def test_demo_writes_results_and_says_where(calls, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("padprint.demo.mobilenet_weights", lambda: Path("weights.pth"))
    result = runner.invoke(app, ["demo", "--output", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    assert calls[0]["resize_short_side"] == 832
    assert f"wrote {tmp_path}/out/result.json" in result.stderr
    assert json.loads(result.stdout)["n_images"] == padprint.load(tmp_path / "out").n_images == 12


@pytest.mark.parametrize(
    ("texts", "names"),
    [(None, "auto"), (["auto"], "auto"), (["a, b", "c"], ["a", "b", "c"]), ([","], "auto")],
)
def test_layer_names(texts, names) -> None:
    assert _parse.layers(texts) == names


def test_output_below_a_missing_folder_is_fine(tmp_path: Path) -> None:
    _commands.check_output(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def padprint_command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "padprint", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, check=False)


FACTORY = """
import torch
print("chatter on import")
def net():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.Conv2d(4, 5, 3, 1, 1))
"""


def test_layers_command_prints_json_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FACTORY)
    done = padprint_command("layers", "mine:net", "--layers", "0,1", "--crop", "64", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    layers = json.loads(done.stdout)["layers"]
    assert layers["0"]["rim"] == [1, 0, 1, 0]
    assert layers["1"]["rim"] == [2, 1, 2, 1]
    assert layers["1"]["receptive_field"] == [7, 7]
    assert "chatter" in done.stderr


def test_failure_is_one_line_without_traceback(tmp_path: Path) -> None:
    done = padprint_command("layers", "torchvision:resnet19", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: torchvision has no model 'resnet19'")
    assert done.stderr.count("\n") == 1


def test_what_is_none_by_default_keeps_its_help_on_every_python() -> None:
    """`get_type_hints` of Python 3.10 puts `Optional` around such a parameter's annotation."""
    option = typer.Option("--number", help="A number.")
    inside = Annotated[int | None, option]
    for hint in (inside, Optional[inside]):  # noqa: UP045  # as Python 3.10 spells it
        kind, found = get_args(_described(hint))
        assert kind == int | None
        assert (found.help, found.metavar) == ("A number.", "N")
