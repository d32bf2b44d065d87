"""The commands of docs/files.md, on the files that it makes."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from test_cli_first import ROOT
from typer.testing import CliRunner

from padprint.cli import app

PAGE = (ROOT / "docs" / "files.md").read_text()
COMMANDS = [line.removeprefix("$ padprint ") for line in PAGE.splitlines() if line.startswith("$ padprint halo own:")]


def printed_after(command: str) -> list[str]:
    """What the page shows of a command, but what it leaves out."""
    after = PAGE.split(f"$ padprint {command}\n", 1)[1].split("```", 1)[0].split("\n$ ", 1)[0]
    return [line for line in after.splitlines() if line.strip() not in ("", "...")]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_shows_what_its_commands_print(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "files"))
    runpy.run_path(str(ROOT / "docs" / "files" / "own.py"), run_name="__main__")
    found = CliRunner(env={"COLUMNS": "400"}).invoke(app, command.split())
    assert found.exit_code == int("error" in printed_after(command)[0])
    for line in printed_after(command):
        assert line in found.stderr


def test_there_are_commands_of_every_kind() -> None:
    assert len(COMMANDS) == 4
