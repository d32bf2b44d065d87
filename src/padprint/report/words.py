"""The findings of a measurement in plain words with numbers in them."""

from __future__ import annotations

import math

import torch

from padprint.report.levels import stands_out
from padprint.results.comparison import Comparison, difference
from padprint.results.measurement import LayerMeasurement, Measurement, Profile
from padprint.support.axes import side_names, times
from padprint.support.wording import aware, interval, number

_WHERE = {"corners": "in the corners", "uniform": "alike on all sides"}


def findings(measurement: Measurement) -> list[str]:
    """A line on what was measured, one on the strongest layer, then one for each layer, in order of execution."""
    layers = list(measurement.layers.values())
    lines = [
        f"{_count(measurement.n_crops, 'crop')} of {times(measurement.crop, ' x ')} px from {_count(measurement.n_images, 'image')}, "
        f"{_count(len(layers), 'layer')} measured."
    ]
    clear = [layer for layer in layers if stands_out(layer)]
    if clear:
        most = max(clear, key=lambda layer: layer.snr.value)
        lines.append(
            f"Padding tells most about position at {_name(most)}: its pattern's energy is {number(most.snr.value)} times "
            f"that of the noise (95 % interval {_ends(most)}), its size {_percent(most.relative.value)} of the features'."
            if not math.isnan(most.snr.low)
            else f"The largest SNR is that of {_name(most)}, {number(most.snr.value)}; there is no interval."
        )
    elif layers:
        lines.append("In no layer does a pattern stand out from the noise.")
    return lines + [" ".join(layer_findings(layer)) for layer in layers]


def comparison_findings(result: Comparison) -> list[str]:
    """For each layer, where the SNR is largest and where it is least, and whether the two are apart."""
    lines = []
    for layer in result.layers:
        values = {name: one[layer].snr.value for name, one in result.items()}
        order = sorted((name for name in values if not math.isnan(values[name])), key=values.__getitem__)
        none = ", ".join(name for name in values if math.isnan(values[name]))
        if none:
            lines.append(f"{layer or 'The model'}: there is no SNR with {none}.")
        if len(order) < 2:
            continue
        least, most = order[0], order[-1]
        apart = difference(result[most][layer].snr, result[least][layer].snr)
        clear = "apart" if apart.low > 0 else "not clearly apart"
        lines.append(
            f"{layer or 'The model'}: the SNR is largest with {most} ({number(result[most][layer].snr.value)}) and least with "
            f"{least} ({number(result[least][layer].snr.value)}); the two are {clear}, by {interval(apart)}."
        )
    return lines


def layer_findings(layer: LayerMeasurement) -> list[str]:
    """What one layer's numbers say: strength, place, side, channels."""
    name = _name(layer)
    if layer.snr.value == 0 and layer.snr.high == 0:
        return [f"{name}: padding changes nothing above rounding error."]
    if math.isnan(layer.snr.value):
        called = _called(layer) if layer.channels.count else []
        return [f"{name}: {_unknown(layer)}, so there is no ratio to noise.", *called]
    if not stands_out(layer):
        return [f"{name}: no pattern stands out from the noise, SNR {interval(layer.snr)}."]
    lines = [f"{name}: SNR {interval(layer.snr)}, {_percent(layer.relative.value)} of the features' size."]
    near = _near(layer)
    if near is not None:
        share, where = near
        lines.append(f"{_percent(share)} of the pattern's energy lies {where}{_side(layer)}.")
    return lines + _called(layer)


def _unknown(layer: LayerMeasurement) -> str:
    """Why a layer has no SNR."""
    finite = bool(layer.pattern.isfinite().all() and layer.noise.isfinite().all())
    return "the features do not vary" if finite else "the features are not finite"


def _called(layer: LayerMeasurement) -> list[str]:
    """What the test of channels says."""
    if layer.channels.count:
        sides = sorted(layer.channels.by_side().items(), key=lambda one: -one[1])
        where = ", ".join(f"{count} {_WHERE.get(side, f'at the {side}')}" for side, count in sides if count)
        return [f"{aware(layer)} channels are padding-aware: {where}."]
    if bool(layer.channels.q.isnan().all()):
        return []
    level = 100 * layer.channels.level
    return [f"No single channel can be called padding-aware at a false-discovery rate of {level:g} %."]


def shares(layer: LayerMeasurement) -> dict[str, float]:
    """Share of the pattern's energy over the cells nearest to each side; they add up to one."""
    energy = {side: _energy(layer.profile[side]) for side in side_names(len(layer.stride)) if side in layer.profile}
    whole = sum(energy.values())
    return {side: value / whole for side, value in energy.items()} if whole > 0 else {}


def _side(layer: LayerMeasurement) -> str:
    """The end of a sentence: the side that holds more than half, the two that hold more than three quarters, or neither."""
    found = shares(layer)
    if not found:
        return ""
    names = side_names(len(layer.stride))
    first, second, *_ = sorted(names, key=lambda side: -found.get(side, 0.0))
    most = found[first]
    if most > 0.5:
        return f", and {_percent(most)} of it on the {first} side"
    both = most + found.get(second, 0.0)
    if both > 0.75 and len(names) > 2:
        return f", and {_percent(both)} of it on the {first} and {second} sides"
    return f"; no side holds more than the others together (the most, {_percent(most)}, is at the {first})"


def _near(layer: LayerMeasurement) -> tuple[float, str] | None:
    """The cells nearest to the border, or farthest outside it, that hold half of the pattern's energy or more: share, place."""
    profile = layer.profile.get("all")
    if profile is None or len(profile.cells) == 0:
        return None
    energy = profile.pattern.value.clamp_min(0) * profile.count
    order = profile.pixels.argsort()
    share = energy[order].cumsum(0) / energy.sum()
    if not bool(share.isfinite().all()):
        return None
    step = int((share >= 0.5).to(torch.int64).argmax())
    centre = float(profile.pixels[order][step])
    if centre < 0:  # of receptive fields, which may begin in the padding
        return float(
            share[step]
        ), f"in cells whose receptive fields are centred {-centre:.3g} px or more outside the crop"
    reach = round(centre + min(layer.stride) / 2, 1)  # to the far edge of the cells
    outside = ", or outside the crop" if float(profile.pixels.min()) < 0 else ""
    return float(share[step]), f"within {reach:g} px of the border{outside}"


def _energy(profile: Profile) -> float:
    return float((profile.pattern.value.clamp_min(0) * profile.count).sum())


def _ends(layer: LayerMeasurement) -> str:
    return f"{number(layer.snr.low)} to {number(layer.snr.high)}"


def _percent(share: float) -> str:
    return "n/a" if math.isnan(share) else f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _name(layer: LayerMeasurement) -> str:
    return layer.name or "the model's output"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
