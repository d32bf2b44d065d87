"""Files of arguments, TOML: read for ``--config``, and written by every run into its folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand


def expanded(command: TyperCommand, ctx: Any, args: Sequence[str]) -> list[str]:
    """The arguments given, and before them what the file that ``--config`` names has beyond them.

    Raises:
        typer.BadParameter: the file cannot be read, or holds what the command does not take.
    """
    given, *_ = command.make_parser(ctx).parse_args(list(args))
    if given.get("config") is None:
        return list(args)
    file = Path(given["config"])
    known = {_key(parameter): parameter for parameter in command.params if parameter.name != "config"}
    options: list[str] = []
    places: list[str] = []
    for key, value in _read(file).items():
        parameter = known.get(key)
        if parameter is None:
            raise typer.BadParameter(
                f"{file}: {command.name} takes no {key!r}; it takes {', '.join(sorted(known))}", param_hint="--config"
            )
        values = value if isinstance(value, list) else [value]
        if given.get(parameter.name or "") not in (None, ()):
            continue
        if parameter.param_type_name == "argument":
            places += map(str, values)
        elif getattr(parameter, "is_flag", False):
            options += _flag(parameter, value, f"{file}: {key}")
        else:
            options += [text for entry in values for text in (parameter.opts[0], str(entry))]
    return [*options, *args, *places]


def _flag(parameter: Any, value: object, what: str) -> list[str]:
    if not isinstance(value, bool):
        raise typer.BadParameter(f"{what} is {value!r}; it is true or false", param_hint="--config")
    return [parameter.opts[0]] if value else list(parameter.secondary_opts[:1])


def write(file: Path, command: TyperCommand, ctx: Any) -> None:
    """Write what was given of a command's arguments; a name that is no Unicode text leaves no file."""
    from padprint.support.atomic import publish_file

    lines = [f"# padprint {command.name} --config {file.name}"]
    for parameter in command.params:
        value = ctx.params.get(parameter.name)
        source = ctx.get_parameter_source(parameter.name)
        if (
            parameter.name in ("config", "json", "quiet", "wide", "verbose")
            or source is None
            or "DEFAULT" in source.name
        ):
            continue
        if value not in (None, [], ()):
            lines.append(f"{_key(parameter)} = {_value(value)}")
    text = "\n".join(lines) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    publish_file(file, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def _key(parameter: Any) -> str:
    """What a file calls a parameter: its long option, or the argument's name."""
    name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name
    return str(name).lstrip("-").replace("_", "-")


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value if isinstance(value, bool | int | float) else str(value), ensure_ascii=False)


def _read(file: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with file.open("rb") as opened:
            values: dict[str, Any] = tomllib.load(opened)
            return values
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read ({error})", param_hint="--config") from error
    except tomllib.TOMLDecodeError as error:
        raise typer.BadParameter(f"{file} is no TOML ({error})", param_hint="--config") from error
