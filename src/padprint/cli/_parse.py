"""Option texts to values; a text that cannot be read is wrong usage (exit status 2)."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from padprint.cli import _config

Channels = tuple[float, ...]

NORMALISATIONS: dict[str, tuple[Channels, Channels]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
}
"""Mean and deviation that networks are often trained with: torchvision's, to [-1, 1], and none, which is [0, 1]."""


def layers(texts: Sequence[str] | None) -> str | list[str]:
    """``["a,b", "c"]`` as ``["a", "b", "c"]``; nothing, or "auto" alone, as "auto"."""
    names = [name.strip() for text in texts or () for name in text.split(",") if name.strip()]
    return "auto" if names in ([], ["auto"]) else names


Lengths = int | tuple[int, ...]
"""Px along all axes, or along each."""


def crop(text: str, option: str = "--crop") -> Lengths:
    """``"224"`` for all axes, ``"224x320"`` or ``"32x224x320"`` for each.

    Raises:
        typer.BadParameter: not one to three positive whole numbers.
    """
    sizes = _lengths(text)
    if not sizes or min(sizes) < 1:
        raise typer.BadParameter(f"{text!r} is not a size such as 224, 224x320 or 32x224x320", param_hint=option)
    return sizes if len(sizes) > 1 else sizes[0]


def _lengths(text: str) -> tuple[int, ...]:
    """One to three whole numbers, with an x between them; nothing where it is something else."""
    parts = [part.strip() for part in text.lower().split("x")]
    return tuple(map(int, parts)) if len(parts) <= 3 and all(part.isdecimal() for part in parts) else ()


def margin(text: str | None) -> Lengths | str | None:
    """``"64"`` as px on all sides, ``"8x64x64"`` along each axis; ``"effective"`` as it is.

    Raises:
        typer.BadParameter: neither.
    """
    if text is None or text == "effective":
        return text
    lengths = _lengths(text)
    if not lengths:
        raise typer.BadParameter(f'{text!r} is no number of px and not "effective"', param_hint="--margin")
    return lengths if len(lengths) > 1 else lengths[0]


def chosen(text: str | None) -> tuple[int | str, ...] | None:
    """``"0,Z"`` as channels by number and name.

    Raises:
        typer.BadParameter: there is none in it.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise typer.BadParameter(f"{text!r} is not a list such as 0,2 or Z,N,E", param_hint="--channels")
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def spacing(text: str | None) -> Channels | None:
    """``"3,1,1"`` as mm by axis.

    Raises:
        typer.BadParameter: something in it is no number above 0.
    """
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value < inf for value in values):
        raise typer.BadParameter(f"{text!r} is not mm such as 1 or 3,1,1", param_hint="--spacing")
    return values


def channels(text: str, option: str) -> Channels:
    """``"0.485,0.456,0.406"`` as numbers, one per channel.

    Raises:
        typer.BadParameter: something in it is not a number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        named = ", ".join(NORMALISATIONS)
        raise typer.BadParameter(
            f"{text!r} is not a list such as 0.485,0.456,0.406, and none of {named}", param_hint=option
        ) from None


def normalisation(mean: str | None, std: str | None) -> tuple[Channels | None, Channels | None]:
    """Mean and deviation by channel, or None where neither their own option nor a name in the other gives them.

    Raises:
        typer.BadParameter: one is neither numbers nor a name.
    """
    both: list[Channels | None] = []
    for place, (text, other, option) in enumerate(((mean, std, "--mean"), (std, mean, "--std"))):
        named = NORMALISATIONS.get(text or "") or (NORMALISATIONS.get(other or "") if text is None else None)
        both.append(named[place] if named else None if text is None else channels(text, option))
    return both[0], both[1]


def compared(
    arguments: Sequence[str], models: Sequence[str], weights: Sequence[Path]
) -> tuple[list[tuple[str, Path | None]], list[Path]]:
    """The models to compare, each with a weights file or None, and the images.

    Raises:
        typer.BadParameter: no image, or weights files that do not go with the models one by one.
    """
    named = list(models) or [arguments[0]]
    images = [Path(path) for path in arguments[0 if models else 1 :]]
    if not images:
        raise typer.BadParameter("there are no images after the model", param_hint="IMAGES")
    files: list[Path | None] = list(weights) or [None] * len(named)
    if len(named) == 1:
        named = named * len(files)
    if len(named) != len(files):
        raise typer.BadParameter(f"{len(files)} weights files for {len(named)} models", param_hint="--weights")
    return list(zip(named, files, strict=True)), images


class Group(TyperGroup):
    """Commands whose own flags are shown without a type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """See click."""
        return _untyped(super().get_params(ctx))


def _untyped(parameters: list[Any]) -> list[Any]:
    """What --help shows names no types: flags, --help among them, have no value, and arguments are named by what they are."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = " "
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None  # noqa: ARG005  # as typer calls it
    return parameters


class Command(TyperCommand):
    """A command whose flags are shown without a type, and whose ``--padding`` may take schemes in a row (``--padding zeros reflect``)."""

    def get_params(self, ctx: Any) -> list[Any]:
        """See click."""
        return _untyped(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """See click; an argument without a name, which only leads to an error, is not shown."""
        return [piece for piece in super().collect_usage_pieces(ctx) if piece != "[]"]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        several = any("--padding" in parameter.opts and parameter.multiple for parameter in self.params)
        return super().parse_args(ctx, _spelled_out(args) if several and "--padding" in args else args)


class Repeatable(Command):
    """A command that leaves its arguments in the folder that it writes, and reads such a file, ``--config``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        return super().parse_args(ctx, _config.expanded(self, ctx, args))

    def invoke(self, ctx: Any) -> Any:
        """See click: the arguments are left there whether the work was finished or not."""
        try:
            return super().invoke(ctx)
        finally:
            folder = ctx.params.get("output")
            if folder is not None and Path(folder).is_dir():  # older typer leaves paths as text here
                _config.write(Path(folder) / f"{self.name}.toml", self, ctx)


def _spelled_out(args: Sequence[str]) -> list[str]:
    """Arguments with ``--padding`` before every scheme."""
    from padprint.padding import available  # imports torch

    known = {*available(), "own"}
    spelled: list[str] = []
    for argument in args:
        # a further scheme follows a scheme: the option's name is put before it again
        more = spelled[-2:-1] == ["--padding"] and argument.partition(":")[0].partition("@")[0] in known
        spelled += ["--padding", argument] if more else [argument]
    return spelled
