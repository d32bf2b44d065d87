"""Option texts to values; a text that cannot be read is wrong usage (exit status 2)."""

from __future__ import annotations

from collections.abc import Sequence

import typer


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
