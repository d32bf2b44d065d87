"""Option texts to values; a text that cannot be read is wrong usage (exit status 2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand


def layers(texts: Sequence[str] | None) -> str | list[str]:
    """``["a,b", "c"]`` as ``["a", "b", "c"]``; nothing, or "auto" alone, as "auto"."""
    names = [name.strip() for text in texts or () for name in text.split(",") if name.strip()]
    return "auto" if names in ([], ["auto"]) else names


def crop(text: str, option: str = "--crop") -> tuple[int, int]:
    """``"224"`` or ``"224x320"`` as (rows, columns).

    Raises:
        typer.BadParameter: not one or two positive whole numbers.
    """
    parts = text.lower().split("x")
    sizes = [int(part) if part.strip().isdecimal() else 0 for part in parts]
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise typer.BadParameter(f"{text!r} is not a size such as 224 or 224x320", param_hint=option)
    return sizes[0], sizes[-1]


def channels(text: str | None, option: str) -> tuple[float, ...] | None:
    """``"0.485,0.456,0.406"`` as numbers, one per channel.

    Raises:
        typer.BadParameter: something in it is not a number.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list such as 0.485,0.456,0.406", param_hint=option) from None


def output(folder: Path | None, plots: bool, report: bool = False) -> Path | None:
    """The folder for results.

    Raises:
        typer.BadParameter: pictures or a report are wanted and there is no folder.
    """
    for option, wanted in (("--plots", plots), ("--report", report)):
        if wanted and folder is None:
            raise typer.BadParameter(f"{option} needs --output, the folder to write to", param_hint=option)
    return folder


def options(
    names: Sequence[str] | None,
    size: str,
    crops_per_image: int,
    groups: int,
    margin: int | None,
    batch_size: int,
    seed: int,
    limit: int | None,
    resize_short_side: int | None,
    strict: bool,
    max_megapixels: float | None = None,
) -> dict[str, Any]:
    """Keywords of `padprint.measure` and `padprint.compare`."""
    return {
        **limit_of(max_megapixels),
        "layers": layers(names),
        "crop": crop(size),
        "crops_per_image": crops_per_image,
        "groups": groups,
        "margin": margin,
        "batch_size": batch_size,
        "seed": seed,
        "limit": limit,
        "resize_short_side": resize_short_side,
        "strict": strict,
    }


def limit_of(max_megapixels: float | None) -> dict[str, float]:
    """The keyword, where it was given: its default is the library's."""
    return {} if max_megapixels is None else {"max_megapixels": max_megapixels}


def compared(
    arguments: Sequence[str], models: Sequence[str], weights: Sequence[Path]
) -> tuple[list[tuple[str, Path | None]], list[Path]]:
    """The models to compare, each with a weights file or None, and the images.

    Raises:
        typer.BadParameter: no image, or weights files that do not go with the models one by one.
    """
    named = list(models) or [arguments[0]]
    images = [Path(one) for one in arguments[0 if models else 1 :]]
    if not images:
        raise typer.BadParameter("there are no images after the model", param_hint="IMAGES")
    files: list[Path | None] = list(weights) or [None] * len(named)
    if len(named) == 1:
        named = named * len(files)
    if len(named) != len(files):
        raise typer.BadParameter(f"{len(files)} weights files for {len(named)} models", param_hint="--weights")
    return list(zip(named, files, strict=True)), images


class Lists(TyperCommand):
    """A command whose ``--padding`` takes several schemes in a row, as in ``--padding zeros reflect``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click: repeats ``--padding`` before each further scheme."""
        if "--padding" not in args:
            return super().parse_args(ctx, args)
        from padprint.padding import available  # imports torch

        known = {*available(), "own"}
        spelled: list[str] = []
        for one in args:
            # a further scheme follows a scheme: the option's name is put before it again
            more = spelled[-2:-1] == ["--padding"] and one.partition(":")[0].partition("@")[0] in known
            spelled += ["--padding", one] if more else [one]
        return super().parse_args(ctx, spelled)
