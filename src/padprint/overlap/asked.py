"""What is asked of a halo, checked."""

from __future__ import annotations

from typing import Any

import torch

from padprint.errors import HaloError

LARGEST = 10**6
"""Pixels of a tile, and other counts of a saved halo, at most."""


def check_tolerance(tolerance: Any) -> None:
    """Raises HaloError where a tolerance is no positive number."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 < tolerance < torch.inf:
        raise HaloError(f"tolerance must be a number above 0, such as 0.01, but got {tolerance!r}")


STATISTICS = {
    "tile": "each tile's own statistics",
    "scene": "statistics of the whole scene",
    "tiles": "statistics averaged over the scene's tiles",
}


def check_statistics(statistics: object) -> None:
    """Raises HaloError where there are no such statistics."""
    if statistics not in STATISTICS:
        raise HaloError(f"statistics must be one of {', '.join(STATISTICS)}, but got {statistics!r}")


def check_confidence(confidence: Any) -> None:
    """Raises HaloError where a confidence is no probability above a half."""
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0.5 < confidence < 1:
        raise HaloError(f"confidence must be above 0.5 and below 1, such as 0.99, but got {confidence!r}")
