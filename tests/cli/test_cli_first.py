"""What people meet first: help, messages, narrow screens, files of arguments, and the commands of README and docs."""

from __future__ import annotations

import html
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from torch import nn
from typer.testing import CliRunner, Result

import padprint
from measurements import made_layer, made_measurement
from padprint.cli import _parse, _show, app
from padprint.cli._options import Photographs, Screen
from padprint.report.verdict import verdict
from padprint.results import tables
from padprint.results.comparison import Comparison
from padprint.support import text_table, wording
from padprint.support.progress import display, phase, progress_bar

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parents[1] / "golden"

OWN = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 3, 1, 1))

class Said(nn.Module):
    mean, std = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
    def forward(self, x):
        return self.conv(x)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a network and photographs of two sizes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "ownnet", raising=False)
    (tmp_path / "ownnet.py").write_text(OWN)
    for folder, size in (("photos", (72, 64)), ("small", (40, 30))):
        (tmp_path / folder).mkdir()
        for i in range(3):
            pixels = torch.rand(size[1], size[0], 3, generator=torch.Generator().manual_seed(i)).mul(255).byte().numpy()
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    return tmp_path


def run(*arguments: str, columns: int = 200, **env: str) -> Result:
    return CliRunner(env={"COLUMNS": str(columns), **env}).invoke(app, list(arguments))


MEASURE = ("measure", "ownnet:net", "photos", "--crop", "32", "--crops-per-image", "2", "--groups", "3")


# ------------------------------------------------------------------------------------------------- missing things


def test_everything_that_is_missing_is_told_at_once(here: Path) -> None:
    found = run("measure", "torchvision:resnet18", "nowhere")
    assert found.exit_code == 1
    (line,) = found.stderr.splitlines()
    for words in ("there is no file or folder 'nowhere'", "torchvision:resnet18 does not say", "--mean imagenet"):
        assert words in line


def test_a_network_of_ones_own_is_asked_what_it_says_in_the_same_message(here: Path) -> None:
    found = run("measure", "ownnet:net", "small", "--crop", "32", "--layers", "2,three")
    assert found.exit_code == 1
    (line,) = found.stderr.splitlines()
    for words in (
        "3 of 3 images are smaller than the crop of 32x32 px (the first is 30x40 px)",
        "--resize-short-side 32 or more",
        "no layer of ownnet:net is called 'three'",
        "ownnet:net does not say how its images must be normalised: give --mean and --std",
    ):
        assert words in line


@pytest.mark.parametrize(
    ("command", "options", "cut"),
    [("measure", (), "crop"), ("halo", ("--tile", "60"), "tile"), ("compare", (), "crop")],
)
def test_the_size_that_margins_need_is_told_beside_what_else_is_missing(
    here: Path, command: str, options: tuple[str, ...], cut: str
) -> None:
    sizes = options or ("--crop", "60", *(("--padding", "own", "reflect") if command == "compare" else ()))
    found = run(command, "ownnet:net", "photos", *sizes)
    assert found.exit_code == 1
    (line,) = found.stderr.splitlines()
    assert "ownnet:net does not say how its images must be normalised" in line
    assert f"3 of 3 images are too small (the first is 0.png, 64x72 px): a 60x60 {cut} with the margins " in line
    short = int(line.partition("--resize-short-side ")[2].partition(")")[0])
    assert (
        run(command, "ownnet:net", "photos", *sizes, "--mean", "none", "--resize-short-side", str(short)).exit_code != 2
    )
    still = run(command, "ownnet:net", "photos", *sizes, "--mean", "none").stderr
    assert f"--resize-short-side {short}" in still  # what the work itself says


def test_nothing_is_built_where_what_is_missing_is_known_before(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padprint.network.loading.load_model", lambda *_, **__: pytest.fail("it was built"))
    assert "does not say" in run("measure", "torchvision:resnet18", "photos").stderr
    assert "there is no file" in run("measure", "timm:resnet18", "nowhere").stderr


def test_images_are_named_by_their_files(here: Path) -> None:
    Image.new("RGB", (40, 64)).save(here / "photos" / "narrow.png")
    found = run("baseline", "shift", "ownnet:net", "photos", "--crop", "32", "--shift", "16", "--mean", "none")
    assert found.exit_code == 1
    assert "narrow.png is 64x40 px" in found.stderr


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("use (resize_short_side=1088)", "use (--resize-short-side 1088)"),
        ("take only layers=['a', 'b.c']", "take only --layers a,b.c"),
        ("limit=3 and margin=32.", "--images-limit 3 and --margin 32."),
        ("kept max_megapixels=160", "kept --max-megapixels 160"),
        ("padding='constant:value=1'", "--padding constant:value=1"),
        ("n=3", "n=3"),
    ],
)
def test_messages_spell_options_as_the_command_line_does(message: str, shown: str) -> None:
    assert _show._tidy(message) == shown


# ---------------------------------------------------------------------------------------------- normalisation


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (None, None, (None, None)),
        ("imagenet", None, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        (None, "half", ((0.5,), (0.5,))),
        ("none", None, ((0.0,), (1.0,))),
        ("imagenet", "1,1,2", ((0.485, 0.456, 0.406), (1.0, 1.0, 2.0))),
        ("none", "half", ((0.0,), (0.5,))),
        ("0.1", None, ((0.1,), None)),
    ],
)
def test_normalisation_by_name(mean: str | None, std: str | None, expected: object) -> None:
    assert _parse.normalisation(mean, std) == expected == Photographs(mean=mean, std=std).rgb


def test_a_normalisation_that_is_none_names_those_there_are() -> None:
    with pytest.raises(typer.BadParameter, match=r"'imagnet' is not a list such as .* none of imagenet, half, none"):
        _parse.normalisation("imagnet", None)


def test_the_name_gives_the_numbers_that_it_stands_for(here: Path) -> None:
    def snr(*given: str) -> float:
        found = run(*MEASURE, *given, "--json")
        assert found.exit_code == 0, found.stderr
        value: float = json.loads(found.stdout)["layers"]["2"]["snr"]["value"]
        return value

    assert snr("--mean", "half") == snr("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5") != snr("--mean", "none")


def test_what_the_network_says_is_taken(here: Path) -> None:
    found = run("measure", "ownnet:Said", "photos", "--crop", "32", "--crops-per-image", "2", "--json")
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["provenance"]["normalisation_source"] == "the model of ownnet:Said"


# ------------------------------------------------------------------------------------------- files of arguments


def test_a_run_can_be_repeated_from_the_file_that_it_wrote(here: Path) -> None:
    first = run(*MEASURE, "--layers", "0", "--layers", "2", "--mean", "half", "--strict", "--output", "out", "--json")
    assert first.exit_code == 0, first.stderr
    text = (here / "out" / "measure.toml").read_text()
    for line in ('model = "ownnet:net"', 'images = ["photos"]', "crop = ", 'layers = ["0", "2"]', "strict = true"):
        assert line in text
    assert "json" not in text.splitlines()[1:]
    again = run("measure", "--config", "out/measure.toml", "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["layers"] == json.loads(first.stdout)["layers"]


def test_what_is_given_beside_the_file_comes_first(here: Path) -> None:
    (here / "a.toml").write_text('model = "ownnet:net"\nimages = ["photos"]\ncrop = 32\nseed = 1\nmean = "half"\n')
    given = ("--crops-per-image", "2", "--groups", "3", "--json")
    from_file = run("measure", "--config", "a.toml", *given)
    assert from_file.exit_code == 0, from_file.stderr
    plain = run(*MEASURE, "--mean", "half", "--seed", "2", "--json")
    over = run("measure", "--config", "a.toml", "--seed", "2", *given)
    assert json.loads(over.stdout)["layers"] == json.loads(plain.stdout)["layers"]
    assert json.loads(over.stdout)["layers"] != json.loads(from_file.stdout)["layers"]
    other = run("measure", "--config", "a.toml", "ownnet:Said", *given)
    assert list(json.loads(other.stdout)["layers"]) == ["conv"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cropp = 3", "takes no 'cropp'; it takes axes, batch-size, "),
        ("crop = ", "is no TOML"),
        ('strict = "yes"', "strict is 'yes'; it is true or false"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_wrong_usage(here: Path, text: str | None, words: str) -> None:
    if text is not None:
        (here / "a.toml").write_text(text)
    found = run(*MEASURE, "--config", "a.toml", columns=400)
    assert found.exit_code == 2
    assert words in " ".join(found.stderr.replace("│", " ").split())


def test_halo_keeps_its_arguments_too_whatever_it_finds(here: Path) -> None:
    found = run(
        "halo", "ownnet:net", "photos", "--tile", "32", "--tolerance", "1e-12", "--mean", "half", "--padding", "own",
        "reflect", "--output", "tiles",
    )  # fmt: skip
    assert (here / "tiles" / "halo.json").exists(), found.stderr
    text = (here / "tiles" / "halo.toml").read_text()
    assert 'padding = ["own", "reflect"]' in text
    again = run("halo", "--config", "tiles/halo.toml", "--output", "more", "--json")
    assert again.exit_code == found.exit_code
    assert list(json.loads(again.stdout)["paddings"]) == ["own", "reflect"]


# -------------------------------------------------------------------------------------------- what is shown


def leaves_of(command: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        return [(path, command)]
    return [leaf for name, one in subcommands.items() for leaf in leaves_of(one, (*path, name))]


LEAVES = leaves_of(typer.main.get_command(app))


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=" ".join)
def test_help_is_grouped_and_names_no_type_of_a_flag(path: tuple[str, ...]) -> None:
    found = run(*path, "--help", columns=80)
    assert found.exit_code == 0
    assert not re.search(r"<(bool|str|int|float|Path|list\[.*?)>", found.output)
    assert "On the screen" in found.output
    assert max(map(len, found.output.splitlines())) <= 80


def test_the_shell_can_complete() -> None:
    assert "--install-completion" in run("--help").output


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("features.18.conv", 16, "features.18.conv"),
        ("features.18.conv", 9, "feat\u2026conv"),
        ("abcdef", 4, "ab\u2026f"),
    ],
)
def test_long_names_lose_their_middle(text: str, width: int, shown: str) -> None:
    assert wording.middle(text, width) == shown


def test_columns_go_in_their_order_and_names_last() -> None:
    headers, rows = ("layer", "a", "b", "c"), [("features.0.conv.0.weight", "1.00", "2.00", "3.00")]
    fitted = lambda width: text_table.fitted(headers, rows, width, ["b", "a"])  # noqa: E731
    assert fitted(42) == (list(headers), [list(rows[0])], [])
    assert fitted(41)[1][0] == ["features.0.\u2026nv.0.weight", "1.00", "2.00", "3.00"]
    assert fitted(30)[0] == list(headers)
    assert fitted(29)[0] == ["layer", "a", "c"]
    assert fitted(23)[0] == ["layer", "c"]
    kept, ((name, last),), absent = fitted(14)
    assert (kept, last, absent, len(name)) == (["layer", "c"], "3.00", ["a", "b"], 8)


SHOWN = {
    "measure": lambda console: _show.measurement(console, made_measurement()),
    "compare": lambda console: _show.comparison(console, made_comparison()),
}


def made_comparison() -> Comparison:
    layers = [made_layer(name) for name in ("features.0", "a.layer.with.a.name.that.is.rather.long.conv")]
    return Comparison({"own": made_measurement(*layers), "reflect": made_measurement(*layers)})


def test_the_terminal_says_what_the_page_says(capsys) -> None:
    found = made_measurement(made_layer("layer4"))
    found.provenance["strides"] = {"size": [32, 32], "windows": 1, "uneven": 1, "below": [29, 29], "above": [33, 33]}
    with _show.reporting(Screen()) as console:
        _show.measurement(console, found)
    said = capsys.readouterr().err
    advice = "What to do: feed it 29 or 33 px, where every stride is even; compare other paddings"
    assert verdict(found) in said and advice in said
    page = re.sub(r"<[^>]*class=.tip.*?</span>|<[^>]+>", "", padprint.report.render(found))
    assert html.unescape(page).count(advice.split(";", maxsplit=1)[0].split(",", maxsplit=1)[0]) == 1


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("what", SHOWN)
def test_tables_are_as_they_were(what: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with _show.reporting(Screen()) as console:
        SHOWN[what](console)
    compare_golden(f"{what}-{columns}.txt", capsys.readouterr().err, columns)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", ["layers ownnet:net --crop 64", "inspect ownnet:net --size 65"])
def test_tables_of_a_network_are_as_they_were(command: str, columns: int, here: Path) -> None:
    found = run(*command.split(), columns=columns)
    assert found.exit_code == 0, found.stderr
    compare_golden(f"{command.split(maxsplit=1)[0]}-{columns}.txt", found.stderr, columns)


def compare_golden(name: str, text: str, columns: int) -> None:
    """A golden file holds what is shown; remove it and run the tests to write it anew."""
    table = [line for line in text.splitlines() if "  " in line.strip()]
    assert table
    assert max(map(len, table)) <= columns
    found = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    file = GOLDEN / name
    if not file.exists():
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(found)
        pytest.fail(f"{file} was not there and has been written: look at it")
    assert found == file.read_text()


def test_a_narrow_screen_says_what_it_leaves_out(here: Path) -> None:
    narrow = run(*MEASURE, "--mean", "half", columns=60).stderr
    assert "not shown on 60 columns (--wide shows all): " in narrow
    wide = run(*MEASURE, "--mean", "half", "--wide", columns=60).stderr
    assert "not shown" not in wide
    assert all(header in wide for header in tables.headers())


def test_what_goes_to_a_file_is_whole(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "padprint", *MEASURE, "--mean", "half"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert all(header in done.stderr for header in tables.headers())


def test_colours_are_left_out_where_nobody_wants_them() -> None:
    # in a process of its own: what a terminal can do is asked once, when rich is imported
    env = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "padprint", "--help"]
    plain = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=env).stdout
    assert "Usage" in plain
    assert "\x1b[3" not in plain


# --------------------------------------------------------------------------------------- what is being done


def test_verbose_names_the_phases_and_their_time(here: Path) -> None:
    found = run(*MEASURE, "--mean", "half", "--verbose").stderr
    for name in ("loading", "tracing", "self-check", "measuring"):
        assert re.search(rf"info: {name}: done in [\d.]+ s", found), name
    assert "info: " not in run(*MEASURE, "--mean", "half").stderr
    assert not logging.getLogger("padprint").handlers


def test_the_environment_asks_for_the_same(here: Path) -> None:
    assert "info: tracing" in run(*MEASURE, "--mean", "half", PADPRINT_LOG="info").stderr
    found = run(*MEASURE, "--mean", "half", PADPRINT_LOG="loud")
    assert found.exit_code == 2
    assert "is no level" in found.stderr


class Terminal:
    """A console of 100 columns that keeps what is written."""

    def __init__(self) -> None:
        from io import StringIO

        from rich.console import Console

        self.file = StringIO()
        self.console = Console(file=self.file, force_terminal=True, width=100, color_system=None)

    @property
    def text(self) -> str:
        return self.file.getvalue()


def test_a_bar_names_the_phase_within_the_phase_and_goes_on_after_it() -> None:
    seen = Terminal()
    with display(console=seen.console), phase("measuring", 2, "images") as advance:
        from padprint.support.progress import _display

        bars = _display.get()
        assert bars is not None
        shown = lambda: [task.description for task in bars.tasks if task.visible]  # noqa: E731
        assert shown() == ["measuring"]
        with phase("tracing"):
            assert shown() == ["tracing"]
            with progress_bar(3, shown=True, label="within") as step:
                assert shown() == ["within"]
                step()
            assert shown() == ["tracing"]
        assert shown() == ["measuring"]
        advance()
        (task,) = bars.tasks
        assert (task.completed, task.total) == (1, 2)
        bars.refresh()
    assert "measuring" in seen.text
    assert "1/2 images" in seen.text


def test_the_time_that_is_left_is_told_where_it_is_known_and_called_so() -> None:
    seen = Terminal()
    with display(console=seen.console):
        from padprint.support.progress import _display

        bars = _display.get()
        assert bars is not None
        with phase("tracing"):
            bars.refresh()
        assert "left" not in seen.text
        with phase("measuring", 3, "images") as advance:
            advance()
            advance()
            bars.refresh()
    assert re.search(r"0:00:0\d left 0:00:0\d", seen.text)


def test_the_bar_is_there_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from padprint.support.progress import _display

    monkeypatch.setattr(_show, "wants_progress", lambda quiet: not quiet)
    with _show.reporting(Screen()):
        assert [task.description for task in _display.get().tasks] == ["starting"]  # type: ignore[union-attr]
    with _show.reporting(Screen(quiet=True)):
        assert _display.get() is None


def test_a_phase_that_fails_takes_its_bar_with_it() -> None:
    seen = Terminal()
    with display(console=seen.console):
        from padprint.support.progress import _display

        with pytest.raises(ValueError, match="no"), phase("measuring"):
            raise ValueError("no")
        assert _display.get().tasks == []  # type: ignore[union-attr]
    assert _display.get() is None


def test_measure_shows_its_phases_by_itself(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    names: list[str] = []
    from rich.progress import Progress

    added = Progress.add_task
    monkeypatch.setattr(
        Progress, "add_task", lambda self, name, **options: names.append(name) or added(self, name, **options)
    )
    net = nn.Conv2d(3, 4, 3, padding=1)
    scenes = torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    padprint.measure(net, scenes, crop=16, groups=4, progress=True)
    assert names == ["tracing", "self-check", "measuring"] or names[0] == "measuring"
    assert {"tracing", "self-check", "measuring"} <= set(names)
    names.clear()
    padprint.measure(net, scenes, crop=16, groups=4)
    assert names == []


# ------------------------------------------------------------------------------ the commands of README and docs


def commands() -> list[tuple[str, str]]:
    """Every padprint command in a code block, with its page."""
    found: list[tuple[str, str]] = []
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in re.findall(r"```[a-z]*\n(.*?)```", page.read_text(), flags=re.S):
            lines = block.replace("\\\n", " ").splitlines()
            texts = (line.strip().removeprefix("$ ") for line in lines)
            found.extend(
                (page.relative_to(ROOT).as_posix(), " ".join(text.split()))
                for text in texts
                if text.startswith("padprint ")
            )
    return found


def test_there_are_commands() -> None:
    assert len(commands()) > 40


@pytest.mark.parametrize(("page", "text"), commands())
def test_every_command_of_the_pages_is_understood(page: str, text: str) -> None:
    arguments = shlex.split(text.split(" > ", maxsplit=1)[0].split(" | ", maxsplit=1)[0], comments=True)[1:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and arguments and arguments[0] in command.commands:
        command = command.commands[arguments.pop(0)]
    if arguments in (["--help"], ["--version"]) or "--config" in arguments:  # a file that another command writes
        return
    context = command.make_context(command.name or "padprint", arguments)
    assert not context.args


def test_a_warning_is_said_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "filters", [("default", None, Warning, None, 0)])  # as outside of tests
    (here / "fresh.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))\n"
    )
    found = run(
        "measure", "fresh:net", "photos", "--crop", "32", "--crops-per-image", "2", "--mean", "none", "--layers", "0,1"
    )
    assert found.exit_code == 0, found.stderr
    assert found.stderr.count("have never seen data") == 1


# ------------------------------------------------------------------------------------------------------- inspections


def test_an_inspection_is_written_like_everything_else(here: Path) -> None:
    done = run("inspect", "ownnet:net", "--size", "33", "--output", "pads", "--report")
    assert done.exit_code == 0, done.output
    assert "wrote pads/inspection.json" in done.stderr and "wrote pads/report.html" in done.stderr
    document = json.loads((here / "pads" / "inspection.json").read_text())
    assert document["model"] == "ownnet:net" and [pad["module"] for pad in document["operators"]] == ["0", "2"]
    assert run("report", "pads", "--output", "again.html").exit_code == 0
    assert (here / "again.html").read_text() == (here / "pads" / "report.html").read_text()
    assert run("inspect", "--config", "pads/inspect.toml", "--output", "more").exit_code == 0
    assert (here / "more" / "report.html").exists()
    document["operators"][0]["shape"] = "x"
    del document["checksum"]
    (here / "pads" / "inspection.json").write_text(json.dumps(document))
    assert "operators[0]['shape'] is 'x', not a list" in run("report", "pads").stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--report", "page.html"), "--report writes report.html into the folder of --output"),
        (("--report",), "--report needs --output"),
    ],
)
def test_a_page_of_an_inspection_needs_a_folder(here: Path, options: tuple[str, ...], words: str) -> None:
    done = run("inspect", "ownnet:net", "--size", "33", *options)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())


def test_calibration_counts_its_images(here: Path) -> None:
    (here / "fresh.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))\n"
    )
    arguments = ("--crop", "32", "--crops-per-image", "1", "--groups", "3", "--mean", "none", "--calibrate", "2")
    done = run("measure", "fresh:net", "photos", *arguments, "--verbose")
    assert done.exit_code == 0, done.output
    assert "info: calibrating: 2 images" in done.stderr
