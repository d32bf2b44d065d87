"""What a measurement says, in one sentence that its intervals carry, and what would take that sentence its worth."""

from __future__ import annotations

import math
from collections.abc import Sequence

from padprint.report.levels import everywhere, level, reach, sides
from padprint.results.measurement import Estimate, LayerMeasurement, Measurement
from padprint.support.wording import count, listed, percent, short

_ADVERBS = {"strong": "strongly", "clear": "clearly", "faint": "faintly"}


def verdict(measurement: Measurement) -> str:
    """One sentence: how strong, in which layers, how far from the edge, what the last layer carries, on which sides."""
    layers, names = list(measurement.values()), called(list(measurement))
    levels = [level(layer) for layer in layers]
    marked = [layer for layer, word in zip(layers, levels, strict=True) if word in _ADVERBS]
    unknown = spanned([i for i, word in enumerate(levels) if word is None], names)
    if not marked:
        return _unmarked(layers, unknown)
    parts = [
        f"{adverb} in {spanned([i for i, mark in enumerate(levels) if mark == word], names)}"
        for word, adverb in _ADVERBS.items()
        if word in levels
    ]
    said = [f"Padding marks the border: {', '.join(parts)}{_where(marked, measurement)}"]
    if "none" in levels:
        said.append(f"no mark stands out in {spanned([i for i, mark in enumerate(levels) if mark == 'none'], names)}")
    if unknown:
        said.append(f"of {unknown} nothing can be said")
    if levels[-1] in _ADVERBS:
        said.append(_carried(layers[-1], "it" if len(layers) == 1 else f"the last, {names[-1]},"))
    said += _most(marked)
    return "; ".join(said) + "."


def voids(measurement: Measurement) -> list[str]:
    """What takes the verdict its worth; it is never folded away."""
    layers = list(measurement.values())
    lines = []
    if measurement.n_images < 3:
        lines.append(
            f"Only {count(measurement.n_images, 'image')}: there are no intervals, and the words below rest on single numbers. "
            "Measure ten images or more."
        )
    constant = [layer for layer in layers if math.isnan(layer.snr.value)]
    if constant:
        lines.append(
            f"Nothing can be said of {named(constant)}: the features do not vary, or are not finite. An untrained network must "
            "be calibrated first (--calibrate 32)."
        )
    rough = [
        layer for layer in layers if layer.residual is not None and layer.residual > 0.5 * layer.relative.value > 0
    ]
    if rough:
        lines.append(
            f"The margin is too small for {named(rough)}: what lies beyond it moves the features by more than half of what is "
            "called the pattern. Measure with a larger margin, or earlier layers."
        )
    noisy = [layer for layer in layers if 0 < layer.relative.value < 10 * layer.numeric_floor]
    if noisy:
        lines.append(f"The pattern of {named(noisy)} is within ten times what rounding alone changes.")
    return lines


def spanned(places: Sequence[int], names: Sequence[str]) -> str:
    """Layers in words: ``layer1 to layer3 and head``, ``stem``, ``all 4 layers``; "" for none.

    Args:
        places: of these, among
        names: of all, in order of execution; "" is the model's output.
    """
    names = called(names)
    if not places:
        return ""
    if 1 < len(places) == len(names):
        return f"all {len(names)} layers"
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    texts = []
    for run in runs:
        ends = [names[place] for place in run]
        texts += [f"{ends[0]} to {ends[-1]}"] if len(run) > 2 else ends
    return listed(texts)


def called(names: Sequence[str]) -> list[str]:
    """What layers are called in a sentence: long names lose their middle; "" is the model's output."""
    return [label if name else "the output" for name, label in zip(names, short(names), strict=True)]


def named(layers: Sequence[LayerMeasurement], most: int = 4) -> str:
    """Names of layers; of many the first ones."""
    names = called([layer.name for layer in layers])
    return listed(names if len(names) <= most else [*names[:most], f"{len(names) - most} more"])


def _unmarked(layers: Sequence[LayerMeasurement], unknown: str) -> str:
    if unknown and all(level(layer) is None for layer in layers):
        return f"Nothing can be said of {unknown}."
    known = [layer for layer in layers if level(layer) is not None]
    rest = f"; of {unknown} nothing can be said" if unknown else ""
    if all(layer.snr.value == 0 and layer.snr.high == 0 for layer in known):
        return f"Padding changes nothing above rounding error in {count(len(known), 'measured layer')}{rest}."
    highs = [layer.relative.high for layer in known]
    bound = (
        f"; marks of up to {percent(max(highs))} of the features' size cannot be ruled out"
        if all(map(math.isfinite, highs))
        else ""
    )
    where = f"any of {len(known)} layers" if len(known) > 1 else named(known)
    return f"No mark of padding stands out from what differs between images in {where}{bound}{rest}."


def _where(marked: Sequence[LayerMeasurement], measurement: Measurement) -> str:
    """How far from the edge most of it lies: in the first marked layer and, where that differs, in the last."""
    ends = []
    for layer in (marked[0], marked[-1]):
        px = reach(layer)
        if px is None:
            return ""
        ends.append(
            "over the whole frame"
            if everywhere(layer, measurement.crop)
            else f"within {max(1, round(px))} px of the edge"
        )
    if ends[0] == ends[1]:
        return f", most of it {ends[0]}"
    every = dict(zip(measurement, called(list(measurement)), strict=True))
    first, last = every[marked[0].name], every[marked[-1].name]
    return f", most of it {ends[0]} in {first} and {ends[1]} in {last}"


def _carried(layer: LayerMeasurement, which: str) -> str:
    """What the last layer, called so, carries; as position where most of it surely depends on the place."""
    size = f"{_size(layer.relative)} of its features' size"
    return (
        f"{which} carries {size} as position" if layer.positional.low > 0.5 else f"{which} carries a pattern of {size}"
    )


def _size(relative: Estimate) -> str:
    """``12 %``; where the interval is wider than the value, its ends."""
    if not math.isfinite(relative.low) or relative.high - relative.low <= relative.value:
        return percent(relative.value)
    low = "< 0.01" if 0 < relative.low < 1e-4 else percent(max(0.0, relative.low)).removesuffix(" %")
    return f"{low} to {percent(relative.high)}"


def _most(marked: Sequence[LayerMeasurement]) -> list[str]:
    """The sides that hold most in at least half of the marked layers."""
    marked_sides = [sides(layer) for layer in marked]
    if not any(marked_sides):
        return []
    most = max(set(filter(None, marked_sides)), key=marked_sides.count)
    if 2 * marked_sides.count(most) < len(marked):
        return []
    return [f"the {listed(most)} edge{'s' * (len(most) > 1)} most"]
