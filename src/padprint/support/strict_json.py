"""Plain documents in strict JSON, without loss: numbers that JSON does not have are written as null and text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def finite(value: Any) -> Any:
    """The same document with None for every number that is not finite."""
    return _replace_numbers(value, lambda _: None)


def encode(value: Any) -> Any:
    """The same document in strict JSON without loss: NaN as null, infinities as "inf" and "-inf"."""
    return _replace_numbers(value, lambda number: None if math.isnan(number) else str(number))


DEPTH = 64
"""Levels of objects and lists in a document, at most."""


def parsed(content: bytes, what: str | Path) -> Any:
    """JSON from a file.

    Raises:
        ValueError: it is no JSON, no UTF-8, or nested deeper than any document of padprint's.
    """
    try:
        document = json.loads(content.decode("utf-8"))
        level = [document]
        for _ in range(DEPTH):
            level = [inner for outer in level for inner in _inside(outer)]
    except RecursionError:
        level = [None]
    if level:
        raise ValueError(f"{what} is nested deeper than {DEPTH} levels")
    return document


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _replace_numbers(value: Any, replacement: Any) -> Any:
    """Plain JSON values all the way down; `replacement(number)` stands in for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): _replace_numbers(entry, replacement) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_numbers(entry, replacement) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else replacement(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
