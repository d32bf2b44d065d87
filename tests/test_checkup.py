"""The first look at a network: what it says is what trace, inspect and measure say, and its commands can be pasted."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import nets
import padprint
from helpers import left_as_found, noise
from padprint.checkup import HEADERS
from padprint.cli import app
from padprint.errors import ImagesError, ResultError

runner = CliRunner(env={"COLUMNS": "200"})


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.long, self.short = nn.Conv2d(3, 4, 3, 2, 1), nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.long(x) + self.short(x)


def uneven() -> nn.Module:
    return nn.Sequential(nets.conv(stride=2), nn.BatchNorm2d(4), nn.Tanh(), nets.conv(4, 4, stride=2)).eval()


def photos(folder: Path, size: tuple[int, int]) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def test_it_says_what_the_others_say() -> None:
    net, images = nets.stride_two(), noise(6, 64)
    with left_as_found(net):
        found = padprint.check(net, images, size=32)
    assert found.geometry == padprint.trace(net, crop=32)
    assert found.inspection is not None and len(found.inspection) == len(padprint.inspect(net, 32))
    again = padprint.measure(net, images, crop=32, crops_per_image=4, groups=6, batch_size=4)
    assert found.measurement is not None
    assert {name: one.snr for name, one in found.measurement.items()} == {name: one.snr for name, one in again.items()}
    top, bottom, left, right = found.geometry.margin
    assert found.smallest == (32 + top + bottom, 32 + left + right)
    assert f"smallest image for all of these layers: {found.smallest[0]} x {found.smallest[1]} px" in str(found)
    for row, one in zip(found.rows(), found.geometry.values(), strict=True):
        assert len(row) == len(HEADERS) and row[0] == one.name and one.rim is not None and one.stride is not None
        assert row[4] == " ".join(
            str(int(n * s)) for n, s in zip(one.rim, (*one.stride[:1] * 2, *one.stride[1:] * 2), strict=True)
        )
    assert len(found.verdict) == 3 and all(one.endswith(".") for one in found.verdict)


def test_untrained_networks_are_calibrated_in_a_copy() -> None:
    net = uneven()
    with left_as_found(net):
        found = padprint.check(net, size=33)
    assert "dead leaves" in found.scenes
    assert any("a copy was calibrated for this" in note for note in found.notes)
    assert any("--calibrate 32" in command for command in found.commands)
    assert found.measurement is not None


def test_uneven_strides_and_the_size_without() -> None:
    found = padprint.check(uneven(), size=32)
    assert "strided windows are uneven" in found.verdict[0]
    assert "feed it 29 or 33 px, where every stride is even" in found.verdict[2]
    assert "padprint inspect MODEL --size 32" in found.commands
    assert "feed it" not in padprint.check(uneven(), size=33).verdict[2]


def test_a_network_that_cannot_be_measured_gets_the_rest() -> None:
    net = nn.Sequential(nets.Sorted(), nets.conv(), nn.Tanh()).eval()
    found = padprint.check(net, size=32)
    assert found.measurement is None and found.refused
    assert found.verdict[0].startswith("1 operator of this network pads")
    assert found.verdict[1].startswith("Not measured: ")
    assert all("global" in reason for reason in found.geometry.unmeasured.values())
    assert "sort in 0" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_network_without_an_even_size_nearby_is_told_so() -> None:
    found = padprint.check(Joined().eval(), size=32)
    assert found.inspection is not None and set(found.inspection.even.below + found.inspection.even.above) == {None}
    assert "expect a lopsided print, since no input size near 32 px makes every stride even" in found.verdict[2]


def test_joins_that_are_not_aligned_are_told() -> None:
    found = padprint.check(Joined().eval(), size=32)
    (join,) = found.geometry.misaligned
    assert found.verdict[0].endswith("; 1 join of branches mixes maps that are centred 0.5 px apart.")
    assert f"misaligned: {join}" in str(found)


def test_layers_that_a_measurement_refuses_are_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = padprint.check(nets.stride_two(), noise(3, 64), size=32)
    assert found.measurement is not None
    name = list(found.geometry.maps)[-1]
    layers = {key: one for key, one in found.measurement.layers.items() if key != name}
    less = dataclasses.replace(found.measurement, layers=layers, unmeasured={name: "contradicted: by the data"})
    shown = str(dataclasses.replace(found, measurement=less))
    assert f"not measured: {name}: contradicted: by the data" in shown


def test_layers_that_see_the_whole_input_are_told() -> None:
    net = nn.Sequential(nets.conv(), nn.GroupNorm(2, 4), nn.Tanh(), nets.conv(4, 4, stride=2)).eval()
    found = padprint.check(net, noise(3, 64), size=32)
    assert "sees the whole input: 2, 3, through group_norm in 1; " in str(found)
    assert found.measurement is not None and set(found.measurement) == {"2", "3"}


@pytest.mark.parametrize("bands", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_networks_of_other_bands(bands: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"bands{bands}.py").write_text(
        f"from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Conv2d({bands}, 4, 3, 2, 1), nn.Tanh())\n"
    )
    (tmp_path / "scenes").mkdir()
    for i in range(3):
        values = np.random.default_rng(i).integers(0, 65536, (bands, 60, 70), dtype=np.uint16)
        np.save(tmp_path / "scenes" / f"{i}.npy", values)
    for images in ([], ["scenes"]):
        result = runner.invoke(app, ["check", f"bands{bands}:make", *images, "--size", "32", "--json"])
        assert result.exit_code == 0, result.output
        document = json.loads(result.stdout)
        assert document["measurement"] is not None, document["refused"]
        assert ("dead leaves" in document["scenes"]) == (not images)
    for command in document["commands"]:
        ran = runner.invoke(app, shlex.split(command)[1:])
        assert ran.exit_code == 0, (command, ran.output)


def test_what_is_saved_is_what_was_said(tmp_path: Path) -> None:
    found = padprint.check(uneven(), noise(3, 64), size=32)
    folder = found.save(tmp_path / "first", report=True)
    assert json.loads((folder / "check.json").read_text())["verdict"] == list(found.verdict)
    assert padprint.load(folder) == found.measurement
    page = (folder / "report.html").read_text()
    for sentence in found.verdict:  # terms are marked up, so words are looked for, one after another
        for word in re.findall(r"[A-Za-z]{4,}", sentence):
            assert word in page
    assert page == padprint.report.render(found)
    assert all(html.escape(command, quote=False) in page for command in found.commands)
    sorting = padprint.check(nn.Sequential(nets.Sorted(), nets.conv(), nn.Tanh()).eval(), size=32)
    assert "Not measured: " in padprint.report.render(sorting)


def test_the_command_writes_a_folder_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.chdir(tmp_path)
    arguments = ["check", "nets:stride_two", "--size", "33", "--output", "first", "--report"]
    monkeypatch.setattr("sys.argv", ["padprint", *arguments])
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "wrote first/check.json, result.json, patterns.safetensors, report.html" in result.output
    page = (tmp_path / "first" / "report.html").read_text()
    assert "padprint check nets:stride_two --size 33 --output first --report" in page
    assert runner.invoke(app, ["check", "nets:stride_two", "--report"]).exit_code == 2
    again = runner.invoke(app, ["check", "--config", "first/check.toml", "--output", "second"])
    assert again.exit_code == 0, again.output
    assert padprint.load("second")["2"].snr == padprint.load("first")["2"].snr


def test_images_that_are_too_small_are_replaced(tmp_path: Path) -> None:
    found = padprint.check(nets.stride_two(), photos(tmp_path / "small", (20, 24)), size=32)
    assert "dead leaves" in found.scenes
    assert found.verdict[1].startswith("Your images are too small, so on synthetic scenes: ")
    (note,) = [one for one in found.notes if "too small (20 x 24 px, " in one]
    assert f"--resize-short-side {max(found.smallest)}" in note
    assert f"--resize-short-side {max(found.smallest)}" in found.commands[0]
    with pytest.raises(ImagesError):
        padprint.check(nets.stride_two(), tmp_path / "nowhere", size=32)


def test_far_reaching_layers_are_measured_approximately() -> None:
    net = nn.Sequential(*(nets.conv(3, 3, dilation=200) for _ in range(3))).eval()
    found = padprint.check(net, size=32)
    assert found.measurement is not None and found.measurement.approximate
    assert any("deep layers are approximate" in note for note in found.notes)
    assert "--margin 496" in found.commands[0]


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos", (80, 96))
    result = runner.invoke(app, ["check", "nets:stride_two", "photos", "--size", "33", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["measurement"]["n_images"] == 3
    assert any("mean 0.5 and deviation 0.25 were taken" in note for note in document["notes"])
    assert len(document["commands"]) >= 3
    for command in document["commands"]:
        program, *arguments = shlex.split(command)
        assert program == "padprint"
        ran = runner.invoke(app, arguments)
        assert ran.exit_code == 0, (command, ran.output)
    assert (tmp_path / "result" / "report.html").exists() and (tmp_path / "swaps" / "report.html").exists()


def test_lines_that_fit_a_terminal() -> None:
    found = padprint.check(nets.stride_two(), noise(3, 64), size=32)
    for width in (48, 80):
        lines = found.lines(width)
        table = lines[lines.index("") + 1 :]
        assert all(len(line) <= width for line in table[: table.index("")])
    assert "not shown on 48 columns (--wide shows all): channels" in "\n".join(found.lines(48))
    assert torch.is_grad_enabled()


def test_a_folder_of_mixed_sizes_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    folder = photos(tmp_path / "mixed", (80, 96))
    photos(tmp_path / "small", (20, 24))
    (tmp_path / "small" / "0.png").rename(folder / "a.png")
    found = padprint.check(nets.stride_two(), folder, size=32)
    assert found.measurement is not None and found.measurement.n_images == 3
    (note,) = [one for one in found.notes if "1 of 4 images are too small and were left out" in one]
    short = f"--resize-short-side {max(found.smallest)}"
    assert short in found.commands[0] and f"short side of {max(found.smallest)} px" in note


def test_the_report_of_its_folder_is_its_own_page(tmp_path: Path) -> None:
    found = padprint.check(uneven(), noise(3, 64), size=32)
    folder = found.save(tmp_path / "first", report=True)
    page = (folder / "report.html").read_text()
    result = runner.invoke(app, ["report", str(folder), "--output", str(tmp_path / "again.html")])
    assert result.exit_code == 0, result.output
    again = (tmp_path / "again.html").read_text()  # strides are floating point numbers once they are read back
    assert re.sub(r'(data-key="\d+)\.0"', r'\1"', again) == re.sub(r'(data-key="\d+)\.0"', r'\1"', page)
    sorting = padprint.check(nn.Sequential(nets.Sorted(), nets.conv(), nn.Tanh()).eval(), size=32)
    assert padprint.report.render(padprint.report.collect([sorting.save(tmp_path / "sorting")])) == sorting.page()
    padprint.measure(nets.stride_two(), noise(3, 64), crop=32).save(folder)  # another measurement in its place
    assert isinstance(padprint.report.collect([folder]), padprint.Measurement)
    (tmp_path / "sorting" / "check.json").write_text('{"schema": 1, "result_sha256": 3}')
    with pytest.raises(
        ResultError, match=r"check.json is damaged \(result_sha256 is 3, not a text\); run padprint check"
    ):
        padprint.report.collect([tmp_path / "sorting"])
