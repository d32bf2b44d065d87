"""Scenes: files and how they are read, kinds of files of one's own, and scenes without end."""

from padprint.images.contents import Contents, Files
from padprint.images.readers import register_reader
from padprint.images.synthetic import DeadLeaves, dead_leaves

__all__ = ["Contents", "DeadLeaves", "Files", "dead_leaves", "register_reader"]
