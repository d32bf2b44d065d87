"""Scenes: tensors, files, loaders and dead leaves.

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint.support.lazy import loader

if TYPE_CHECKING:
    from padprint.images.contents import Contents, Files
    from padprint.images.folder import ImageFolder
    from padprint.images.pixels import InMemory
    from padprint.images.readers import register_reader
    from padprint.images.synthetic import DeadLeaves, dead_leaves

_HOMES = {
    "Contents": "contents",
    "Files": "contents",
    "DeadLeaves": "synthetic",
    "dead_leaves": "synthetic",
    "ImageFolder": "folder",
    "InMemory": "pixels",
    "register_reader": "readers",
}

__all__ = ["Contents", "DeadLeaves", "Files", "ImageFolder", "InMemory", "dead_leaves", "register_reader"]

__getattr__ = loader(__name__, _HOMES)
