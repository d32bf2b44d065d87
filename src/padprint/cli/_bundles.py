"""Options that stand in several commands, written once: a command takes dataclasses of them, typer sees their fields."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from typer.models import OptionInfo

Work = TypeVar("Work", bound=Callable[..., None])


def bundled(**defaults: Any) -> Callable[[Work], Callable[..., None]]:
    """A command whose parameters may be dataclasses of options; each becomes as many options as it has fields.

    Args:
        **defaults: of fields, where the command's differ from the dataclass's.
    """

    def made(work: Work) -> Callable[..., None]:
        hints = get_type_hints(work, include_extras=True)
        bundles = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}
        spread: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(work).parameters.items():
            if name in bundles:
                spread += _parameters(bundles[name], defaults)
            else:
                spread.append(parameter.replace(annotation=_described(hints[name])))
        taken = {parameter.name for parameter in spread}
        if len(taken) < len(spread) or set(defaults) - taken:
            raise TypeError(f"{work.__name__}: an option stands there twice, or a default is of none")

        @functools.wraps(work)
        def command(**given: Any) -> None:
            for name, kind in bundles.items():
                given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            work(**given)

        del command.__wrapped__
        command.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
        return command

    return made


def _parameters(kind: type, defaults: dict[str, Any]) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters by keyword; every field has a default."""
    hints = get_type_hints(kind, include_extras=True)
    parameters = []
    for field in fields(kind):
        assert field.default is not MISSING, field.name  # noqa: S101  # a mistake of ours, seen at the first import
        default = defaults.get(field.name, field.default)
        parameters.append(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_described(hints[field.name])
            )
        )
    return parameters


def _described(hint: Any) -> Any:
    """An option's annotation, with a short name for its value in --help; a flag, which has no value, gets none.

    Python 3.10 puts `Optional` around the annotation of what is None by default: typer would not see what stands inside.
    """
    hint = next((each for each in get_args(hint) if get_origin(each) is Annotated), hint)
    kind, *extras = get_args(hint)
    (info,) = extras
    if not isinstance(info, OptionInfo) or info.metavar is not None:
        return hint
    info = copy(info)
    plain = next((known for known in (bool, int, float) if known is kind or known in get_args(kind)), str)
    info.metavar = {bool: " ", int: "N", float: "X", str: "TEXT"}[plain]
    return Annotated[kind, info]
