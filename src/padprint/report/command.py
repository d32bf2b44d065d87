"""How a result was made, without the folders it was made in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

_PATH = re.compile(
    r"(?<![\w.:/\\~<])(?:~[/\\]|(?:[A-Za-z]:)?[/\\][^\s/\\:'\"<>]+[/\\])(?:[^\s/\\:'\"<>]+[/\\])*([^\s/\\:'\"<>]+)[/\\]?"
)
_WHOLE = re.compile(r"(?:~|[A-Za-z]:)?[/\\]")


def command_line(arguments: Sequence[str]) -> str:
    """The command as one would type it; of absolute paths the last part stays.

    Args:
        arguments: those after the program's name.
    """
    return shlex.join(["padprint", *(_short(argument) for argument in arguments)])


def names_only(value: Any) -> Any:
    """A document in which absolute paths have become their last part, keys included."""
    if isinstance(value, dict):
        return {names_only(key): names_only(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [names_only(entry) for entry in value]
    return _PATH.sub(r"\1", value) if isinstance(value, str) else value


def _short(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if _WHOLE.match(value):
        value = re.split(r"[/\\]", value.rstrip("/\\"))[-1] or value
    return f"{option}{equals}{value}"
