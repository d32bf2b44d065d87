"""How strong a layer's pattern is, in four words; where it lies, and on which sides, as far as intervals carry it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from padprint.results.measurement import LayerMeasurement, Measurement
from padprint.support.axes import pairs, side_names

LEVELS = ("none", "faint", "clear", "strong")
CLEAR, STRONG = 0.05, 0.20
"""From which share of the features' size a pattern is called clear, and strong."""
WORDS: Mapping[str, str] = {
    "none": "no pattern stands out: the interval of the SNR reaches down to zero",
    "faint": f"a pattern stands out, of less than {100 * CLEAR:g} % of the features' size",
    "clear": f"at least {100 * CLEAR:g} % of the features' size",
    "strong": f"at least {100 * STRONG:g} % of the features' size, by the lower end of the 95 % interval, as all these words",
}
MOST = 0.9
"""The share of a pattern's energy that "most of it" stands for."""


def stands_out(layer: LayerMeasurement) -> bool:
    """Whether the interval of the SNR lies above zero; without an interval, whether the SNR does."""
    low = layer.snr.value if math.isnan(layer.snr.low) else layer.snr.low
    return low > 0


def level(layer: LayerMeasurement) -> str | None:
    """One of `LEVELS`, by the lower end of the interval of the relative size; None where there is no number.

    A word is never too strong for the interval. Without an interval (from two images, say) the value itself counts.
    """
    if math.isnan(layer.snr.value) or math.isnan(layer.relative.value):
        return None
    if not stands_out(layer):
        return "none"
    size = least(layer)
    return "strong" if size >= STRONG else "clear" if size >= CLEAR else "faint"


def least(layer: LayerMeasurement) -> float:
    """The relative size that is sure: the lower end of its interval; without an interval, the value."""
    return layer.relative.value if math.isnan(layer.relative.low) else layer.relative.low


def reach(layer: LayerMeasurement, share: float = MOST) -> float | None:
    """Input px from the border within which so much of the pattern's energy lies, to the far edge of the cells.

    None where there is no profile, or no energy in it. Cells centred outside the crop count as at its edge.
    """
    profile = layer.profile.get("all")
    if profile is None or len(profile.cells) == 0:
        return None
    energy = profile.pattern.value.clamp_min(0) * profile.count
    order = profile.pixels.argsort()
    found = energy[order].cumsum(0) / energy.sum()
    if not bool(found.isfinite().all()):
        return None
    step = int((found >= share).int().argmax())
    return max(0.0, float(profile.pixels[order][step])) + min(layer.stride) / 2


def everywhere(layer: LayerMeasurement, crop: Sequence[int], share: float = MOST) -> bool:
    """Whether that reach takes in four fifths of the way to the crop's centre."""
    px = reach(layer, share)
    return px is not None and px >= 0.8 * min(crop) / 2


def sides(layer: LayerMeasurement) -> tuple[str, ...]:
    """The one side, or the two, that hold more of the pattern than each of the others; () where none surely does.

    A side holds more than another where the sum of the lower ends of its profile lies above the sum of the other's upper
    ends; that is stricter than the interval of a sum.
    """
    ends, names = {}, side_names(len(layer.stride))
    for side in names:
        if side not in layer.profile:
            return ()
        curve, count = layer.profile[side].pattern, layer.profile[side].count
        ends[side] = float((curve.low * count).sum()), float((curve.high * count).sum())
    for size in range(1, min(3, len(names))):
        held = sorted(names, key=lambda side: -ends[side][0])[:size]
        if min(ends[side][0] for side in held) > max(ends[side][1] for side in names if side not in held):
            return tuple(side for side in names if side in held)
    return ()


def shown_first(measurement: Measurement, names: Sequence[str] | None = None) -> str:
    """The layer to show first: the strongest that can be seen well, of these or of all.

    Of the layers whose pattern stands out and whose rim is a tenth of the map or more, the one of which the largest relative
    size is sure (`least`); where there is none such, of those that stand out; else of all.
    """

    def visible(layer: LayerMeasurement) -> bool:
        return any(10 * sum(rim) >= n for n, rim in zip(layer.pattern.shape[1:], pairs(layer.rim), strict=True))

    layers = [measurement[name] for name in (measurement if names is None else names)]
    clear = [layer for layer in layers if stands_out(layer)]
    seen = [layer for layer in clear if visible(layer)] or clear or layers
    return max(seen, key=lambda layer: -1.0 if math.isnan(layer.relative.value) else least(layer)).name
