"""Operators that see the whole map, run over a crop's window; `register` teaches padprint one more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint.support.lazy import loader

if TYPE_CHECKING:
    from padprint.wholemap.network import WholeMap
    from padprint.wholemap.operators import Cells, Split, register, registered

_HOMES = {
    "Cells": "operators",
    "Split": "operators",
    "WholeMap": "network",
    "register": "operators",
    "registered": "operators",
}

__all__ = ["Cells", "Split", "WholeMap", "register", "registered"]

__getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
