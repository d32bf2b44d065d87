"""Rims: the cells at the ends of a map that something moves, and those that it moves by less and less, without an end."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

_FADING = 6, 16  # periods at the inner end of a rim that must fade, at least and at most
_FAINT = 1e-3  # change to which the last of them must have faded
_STEADY = -0.9  # correlation of distance with the logarithm of change

OPEN = (-1, -1)
"""A rim still unknown: both sides meet."""


def untouched(touched: Tensor, phases: int) -> tuple[int, int]:
    """Cells before and after the longest run of untouched ones; `OPEN` where it is shorter than a period.

    Args:
        touched: `(n,)` bool.
        phases: cells in one period.
    """
    best, start, run = 0, 0, 0
    flags = touched.tolist()
    for i, flag in enumerate(flags):
        run = 0 if flag else run + 1
        if run > best:
            best, start = run, i - run + 1
    return (start, len(flags) - start - best) if best >= phases else OPEN


def fading(apart: Tensor, rim: int, phases: int) -> int:
    """Cells by which a rim is wider than what was seen of it, because what padding changes fades with distance.

    A recursion (an exponential average, an IIR filter) halves it from cell to cell, say, and never ends: the rim that is seen
    ends where the tolerance does. Where the last cells of a rim fade steadily down to the tolerance, the line through their
    logarithms is followed down to the rounding error of double precision.

    Args:
        apart: `(n,)` change of each cell, the side's outermost cell first.
        rim: cells that were seen to change.
        phases: cells in one period.
    """
    steps = min(rim // phases, _FADING[1])
    if steps < _FADING[0]:
        return 0
    last = apart[rim - steps * phases : rim].reshape(steps, phases).amax(1)
    if not bool(last.isfinite().all()) or bool((last <= 0).any()) or float(last[-2:].max()) > _FAINT:
        return 0
    bits, step = last.log2(), torch.arange(steps, dtype=torch.float64)
    together = torch.corrcoef(torch.stack([step, bits]))[0, 1]
    fall = float(-together * bits.std() / step.std())  # by least squares, bits in a period
    if not float(together) < _STEADY:
        return 0
    return phases * ceil(max(0.0, float(bits[-2:].max()) + 52) / fall)
