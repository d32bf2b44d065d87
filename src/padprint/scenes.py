"""Synthetic scenes of any size."""

from padprint.images.dead_leaves import DeadLeaves, dead_leaves

__all__ = ["DeadLeaves", "dead_leaves"]
