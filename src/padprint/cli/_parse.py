"""Option texts to values; a text that cannot be read is wrong usage (exit status 2)."""

from __future__ import annotations

from collections.abc import Sequence

import typer


def layers(texts: Sequence[str] | None) -> str | list[str]:
    """``["a,b", "c"]`` as ``["a", "b", "c"]``; nothing, or "auto" alone, as "auto"."""
    names = [name.strip() for text in texts or () for name in text.split(",") if name.strip()]
    return "auto" if names in ([], ["auto"]) else names


def crop(text: str) -> tuple[int, int]:
    """``"224"`` or ``"224x320"`` as (rows, columns).

    Raises:
        typer.BadParameter: not one or two positive whole numbers.
    """
    sizes = _integers(text.lower().split("x"))
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise typer.BadParameter(f"{text!r} is not a size such as 224 or 224x320", param_hint="--crop")
    return sizes[0], sizes[-1]


def margin(text: str | None) -> int | tuple[int, int, int, int] | None:
    """``"256"`` as 256, ``"256,224,256,224"`` as four numbers (top, bottom, left, right).

    Raises:
        typer.BadParameter: not one or four whole numbers that are zero or more.
    """
    if text is None:
        return None
    sizes = _integers(text.split(","))
    if len(sizes) not in (1, 4) or min(sizes) < 0:
        raise typer.BadParameter(
            f"{text!r} is not a margin such as 256 or 256,224,256,224", param_hint="--margin"
        )
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1], sizes[2], sizes[3])


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
        raise typer.BadParameter(
            f"{text!r} is not a list such as 0.485,0.456,0.406", param_hint=option
        ) from None


def _integers(parts: list[str]) -> list[int]:
    try:
        return [int(part) for part in parts]
    except ValueError:
        return [-1]  # refused by every caller
