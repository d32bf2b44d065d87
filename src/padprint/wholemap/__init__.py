"""Networks that see the whole input: what padding does to them, and what their statistics over a crop do.

`padprint.parts` measures; `register` teaches padprint an operator that sees the whole map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint._lazy import loader

if TYPE_CHECKING:
    from padprint.wholemap.network import WholeMap
    from padprint.wholemap.operators import Cells, Split, register, registered
    from padprint.wholemap.result import LayerParts, Part, Parts, load
    from padprint.wholemap.run import parts

_HOMES = {
    "Cells": "operators",
    "LayerParts": "result",
    "Part": "result",
    "Parts": "result",
    "Split": "operators",
    "WholeMap": "network",
    "load": "result",
    "parts": "run",
    "register": "operators",
    "registered": "operators",
}

__all__ = ["Cells", "LayerParts", "Part", "Parts", "Split", "WholeMap", "load", "parts", "register", "registered"]

__getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
