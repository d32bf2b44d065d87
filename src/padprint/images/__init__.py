"""Scenes: tensors, files, loaders and dead leaves.

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint.support.lazy import loader

if TYPE_CHECKING:
    from padprint.images.photographs import ImageFolder, InMemory
    from padprint.images.synthetic import DeadLeaves, dead_leaves

_HOMES = {
    "DeadLeaves": "synthetic",
    "dead_leaves": "synthetic",
    "ImageFolder": "photographs",
    "InMemory": "photographs",
}

__all__ = ["DeadLeaves", "ImageFolder", "InMemory", "dead_leaves"]

__getattr__ = loader(__name__, _HOMES)
