"""Every command of README and docs is run, in the order of its page, on a small network and with small settings."""

from __future__ import annotations

import re
import shlex
import textwrap
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from test_cli_first import ROOT, commands
from torch import Tensor, nn
from typer.testing import CliRunner

import padprint
from padprint.cli import app
from padprint.network.loading import LoadedModel
from padprint.padding import scheme

SMALL: dict[str, str] = {
    "--crop": "32",
    "--crops-per-image": "2",
    "--pairs-per-image": "2",
    "--tiles-per-image": "2",
    "--groups": "3",
    "--images-limit": "3",
    "--tile": "32",
    "--size": "33",
    "--window": "24",
    "--step": "8",
    "--region": "40",
    "--shift": "8",
    "--calibrate": "4",
    "--epochs": "2",
    "--feat-size": "8",
    "--seeds": "1",
    "--train": "20",
    "--validation": "10",
    "--test": "10",
    "--picture": "16",
    "--canvas": "40",
    "--borders": "0,8",
    "--folds": "3",
}
"""What is small here, for each option that a command has."""

VARIABLES = {"$L": "features.1,features.6", "$N": "--mean imagenet"}  # of the gallery's commands
ELSEWHERE = (
    "padprint study",
    "padprint halo own:",
    "padprint halo timm:resnet50_gn",
)  # their own tests; minutes of work

FILES = ("weights.safetensors", "best.pth", "epoch1.pth", "epoch90.pth", "mobilenet_v2-b0353104.pth")
FOLDERS = ("photos", "others", "nature")


class Network(nn.Module):
    """Has the layers that the pages name, reaches a few px, and gives labels or maps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        convolve = lambda i: nn.Conv2d(3 if i == 0 else 4, 4, 3 if i < 2 else 1, padding=int(i < 2), bias=False)  # noqa: E731
        self.features = nn.Sequential(*(convolve(i) for i in range(19)))
        for i in range(1, 5):
            setattr(self, f"layer{i}", nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return x


def load(spec: str, weights: Path | None = None) -> LoadedModel:
    """Stands in for `padprint.load_model`: weights come from places that a test cannot reach."""
    net = Network()
    net(torch.randn(4, 3, 16, 16))  # so that BatchNorm has seen data
    net.eval()
    half = (0.5, 0.5, 0.5)
    return LoadedModel(net, spec.replace(":", "-"), half, half, "the weights", "trained")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name."""
    folder = tmp_path_factory.mktemp("sandbox")
    for i, name in enumerate(FOLDERS):
        (folder / name).mkdir()
        for j in range(3):
            noise = torch.rand(90, 100, 3, generator=torch.Generator().manual_seed(10 * i + j))
            Image.fromarray(noise.mul(255).byte().numpy()).save(folder / name / f"{j}.png")
    for name in FILES:
        (folder / name).touch()
    scenes = torch.randn(3, 3, 90, 100, generator=torch.Generator().manual_seed(0))
    padprint.halo(Network().eval(), scenes, tile=32).save(folder / "small")
    return folder


def arguments_of(text: str) -> tuple[list[str], Any]:
    """What a page's command gives, and the command."""
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    arguments = shlex.split(text.split(" > ", maxsplit=1)[0], comments=True)[1:]
    command: Any = typer.main.get_command(app)
    for one in arguments:
        if one not in getattr(command, "commands", {}):
            break
        command = command.commands[one]
    return arguments, command


RUN = [(page, text) for page, text in commands() if not text.startswith(ELSEWHERE)]


def by_page() -> list[Any]:
    """The pages, the README first; those that give no command an option which no page before gave it are slow tests."""
    pages: dict[str, set[tuple[str, ...]]] = {}
    for page, text in RUN:
        arguments, command = arguments_of(text)
        given = (one.partition("=")[0] for one in arguments if one.startswith("-"))
        pages.setdefault(page, set()).update((command.name, one) for one in ("", *given))
    found, seen = [], set[tuple[str, ...]]()
    for page in sorted(pages, key=lambda page: (page != "README.md", -len(pages[page]), page)):
        found.append(pytest.param(page, marks=[] if pages[page] - seen else pytest.mark.slow))
        seen |= pages[page]
    return found


@pytest.mark.parametrize("page", by_page())
def test_every_command_of_a_page_runs(page: str, sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sandbox)
    monkeypatch.setattr("padprint.network.loading.load_model", load)
    monkeypatch.setattr(warnings, "filters", [("default", None, Warning, None, 0)])  # shown, as outside pytest
    for text in (text for where, text in RUN if where == page):
        arguments, command = arguments_of(text)
        known = {name for parameter in command.params for name in parameter.opts}
        asked = {"--calibrate", *(("--crops-per-image",) if "posenet" in arguments else ())}
        small = [
            part
            for name, value in SMALL.items()
            if name in known and (name not in asked or name in arguments)
            for part in (name, value)
        ]
        found = CliRunner(env={"COLUMNS": "120"}).invoke(app, [*arguments, *small])
        assert found.exit_code == 0, (text, found.output, found.exception)
        if "--output" in arguments:
            assert Path(arguments[arguments.index("--output") + 1]).exists()


PYTHON = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("quick-start", "measuring", "geometry", "padding", "training", "channels", "tables")
    ),
    *(f"docs/questions/{name}.md" for name in ("border", "padding", "tiles", "training")),
]
"""Pages whose Python is run."""


def test_what_is_named_here_is_on_the_pages() -> None:
    texts = [text for _, text in commands()]
    for start in ELSEWHERE:
        assert any(text.startswith(start) for text in texts), start
    for name in (*VARIABLES, *FILES, *FOLDERS):
        assert any(name in text for text in texts), name


@pytest.mark.parametrize("page", PYTHON)
def test_python_of_a_page_runs(page: str, sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sandbox)
    monkeypatch.setattr(warnings, "filters", [("default", None, Warning, None, 0)])
    monkeypatch.setattr("padprint.padding.scheme._SCHEMES", {**scheme._SCHEMES})
    model = load("a:network").model
    scenes = torch.randn(4, 3, 240, 250, generator=torch.Generator().manual_seed(0))
    names: dict[str, Any] = {
        "padprint": padprint,
        "model": model,
        "model_a": model,
        "model_b": load("b:network").model,
        "images": scenes,
        "scenes": scenes,
        "x": scenes[:1],
        "writer": lambda *_: None,
        "loader": [1, 2],
        "Trainer": lambda **_: SimpleNamespace(),
        "trainer": None,
    }
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.S)
    assert blocks
    for block in blocks:
        names["trainer"] = SimpleNamespace(add_callback=lambda _: None)
        exec(compile(textwrap.dedent(block), page, "exec"), names)
