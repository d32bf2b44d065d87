"""Synthetic scenes of any size."""

from padprint.images.synthetic import DeadLeaves, dead_leaves

__all__ = ["DeadLeaves", "dead_leaves"]
