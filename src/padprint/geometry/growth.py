"""How the tensors of a network grow with the length of a strip: which dimensions run along it, and at which stride."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from padprint.geometry.strip import SQUARE, Run, Strip, run_strip
from padprint.network.calls import Call
from padprint.network.layers import Tap

GROWTH = {1: 1024 * 3 * 5 * 7, 2: 64 * 3 * 5 * 7, 3: 64 * 3 * 5 * 7}
"""Px by which a collapsed strip grows to find strides, by axes of space: a multiple of every common total stride."""

LARGEST_STRIDE = {1: 8192, 2: 512, 3: 512}
"""Px: a stride above it means that the growth was no multiple of it, or that the map grows unevenly."""


def along_strip(strip: Strip, short: Sequence[int], long: Sequence[int]) -> list[int]:
    """Dimensions of a tensor that differ between a strip and a longer one; of a strip as wide as it is long, the one along it."""
    found = [d for d, (a, b) in enumerate(zip(short, long, strict=False)) if a != b]
    square = strip.width == SQUARE and strip.axes > 1 and len(found) == strip.axes
    return [found[strip.axis]] if square else found


def grown_strips(strip: Strip, crop: int, growth: int, taps: Sequence[Tap]) -> tuple[Run, Run, int]:
    """A run on a strip of the crop's length, one on a longer strip, and how much longer that is."""
    short, long = (run_strip(strip, n, taps, Run()) for n in (crop, crop + growth))
    if max(strides_of(short, long, growth), default=1) > LARGEST_STRIDE[strip.axes]:
        growth *= 4
        long = run_strip(strip, crop + growth, taps, Run())
    return short, long, growth


def _paired(short: Run, long: Run) -> set[tuple[str, str]]:
    """Modules and operators whose calls are as many in both runs, so that they can be told from each other by number."""
    counts = [Counter((call.module, call.operator) for call in run.shapes) for run in (short, long)]
    return {where for where, n in counts[0].items() if counts[1][where] == n}


def grown_dims(short: Run, long: Run, strip: Strip) -> dict[Call, set[int]]:
    """For each operator that pads: the dimensions of its input, counted from the end, that run along the strip."""
    grown = {}
    paired = _paired(short, long)
    for call, shape in short.inputs.items():
        other = long.inputs.get(call)
        if other is not None and len(other) == len(shape) and (call.module, call.operator) in paired:
            dims = [d - len(shape) for d in along_strip(strip, shape, other)]
            grown[call] = set(dims)
    return grown


def joining(short: Run, long: Run, growth: int, strip: Strip) -> dict[Call, tuple[int, Fraction]]:
    """For each call that returns a map: the dimension, counted from the end, that runs along the strip, and its stride."""
    found = {}
    paired = _paired(short, long)
    for call, shapes in short.shapes.items():
        one, other = shapes[0], long.shapes.get(call, ((),))[0]
        if (call.module, call.operator) not in paired or len(one) != len(other):
            continue
        dims = [d for d in along_strip(strip, one, other) if other[d] > one[d]]
        if len(dims) == 1:
            found[call] = dims[0] - len(one), Fraction(growth, other[dims[0]] - one[dims[0]])
    return found


def strides_of(short: Run, long: Run, growth: int) -> set[int]:
    """Strides of every tensor on the way, in pixels; for one of 3/2 px, the 3 after which its cells fall on pixels again."""
    strides = set()
    paired = _paired(short, long)
    for call, shapes in short.shapes.items():
        if (call.module, call.operator) not in paired:
            continue
        for shape, other in zip(shapes, long.shapes.get(call, ()), strict=False):
            strides |= {Fraction(growth, b - a).numerator for a, b in zip(shape, other, strict=False) if b > a}
    return strides
