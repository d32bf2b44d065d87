"""A measurement as a plain document (dicts, lists, numbers, strings) and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from padprint.support.reasons import Reason

if TYPE_CHECKING:
    from padprint.results.measurement import Curve, Estimate, LayerMeasurement, Measurement, Profile

SCHEMA = 1


class Explained(Protocol):
    """A result that says what is missing, and what a reader must know."""

    @property
    def unmeasured(self) -> Mapping[str, str]:
        """By layer, why there are no numbers."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know."""


ESTIMATES = ("snr", "snr_plain", "mae", "mae_floor", "response", "relative", "positional")
SIZES = ("rms", "rms_floor", "mae_corrected")
"""Estimates that results of before do not have."""
OF_PARTS = ("size", "pattern", "snr")
"""Estimates of a part."""
QUANTITIES = ("pattern", "noise", "response")
PROFILES = ("all", "top", "bottom", "left", "right")
FLOATS = tuple[float, ...]
FOUR = tuple[int, int, int, int]


def describe(measurement: Measurement) -> dict[str, Any]:
    """Everything but the patterns; floats stay as they are, NaN and infinities included."""
    return {
        "schema": SCHEMA,
        "crop": list(measurement.crop),
        "margin": list(measurement.margin),
        "numeric_floor": measurement.numeric_floor,
        "n_images": measurement.n_images,
        "n_crops": measurement.n_crops,
        "approximate": measurement.approximate,
        "warnings": list(measurement.warnings),
        "reasons": described(measurement),
        "layers": {name: _describe_layer(layer) for name, layer in measurement.layers.items()},
        "unmeasured": dict(measurement.unmeasured),
        "provenance": dict(measurement.provenance),
    }


def tensors_of(measurement: Measurement) -> dict[str, Tensor]:
    """The patterns: what `describe` leaves out, by layer and quantity."""
    return {
        f"{name}/{key}": values for name, layer in measurement.layers.items() for key, values in _maps_of(layer).items()
    }


def _maps_of(layer: LayerMeasurement) -> dict[str, Tensor]:
    maps = {"pattern": layer.pattern, "noise": layer.noise, "emergence": layer.emergence.features}
    for name, part in layer.parts.items():
        maps |= {f"{name}/pattern": part.pattern_map, f"{name}/size": part.size_map}
    return maps


def described(result: Explained) -> dict[str, Any]:
    """The kinds of a result's reasons and warnings, beside their words."""
    return {
        "unmeasured": {name: one.describe() for name, one in result.unmeasured.items() if isinstance(one, Reason)},
        "warnings": [one.describe() if isinstance(one, Reason) else None for one in result.warnings],
    }


def _describe_layer(layer: LayerMeasurement) -> dict[str, Any]:
    channels, height, width = layer.pattern.shape
    return {
        "channels": channels,
        "height": height,
        "width": width,
        **{name: _describe_estimate(getattr(layer, name)) for name in (*ESTIMATES, *SIZES)},
        "replicates": {name: list(getattr(layer, name).replicates) for name in (*ESTIMATES, *SIZES)},
        "stride": list(layer.stride),
        "offset": None if layer.offset is None else list(layer.offset),
        "receptive_field": None if layer.receptive_field is None else list(layer.receptive_field),
        "rim": list(layer.rim),
        "reach": list(layer.reach),
        "profile": {side: _describe_profile(profile) for side, profile in layer.profile.items()},
        "channel_test": {
            "aware": layer.channels.count,
            "level": layer.channels.level,
            **{key: getattr(layer.channels, key).tolist() for key in ("p", "q", "snr")},
            "side": list(layer.channels.side),
        },
        "emergence": list(layer.emergence.counts),
        "numeric_floor": layer.numeric_floor,
        "residual": layer.residual,
        "notes": list(layer.notes),
        **_describe_parts(layer),
    }


def _describe_parts(layer: LayerMeasurement) -> dict[str, Any]:
    """What is known of a layer that sees the whole map beside what is known of any; nothing of others."""
    if not layer.parts:
        return {}
    parts = {
        name: {
            key: {**_describe_estimate(one), "replicates": list(one.replicates)}
            for key in OF_PARTS
            for one in [getattr(part, key)]
        }
        for name, part in layer.parts.items()
    }
    return {"sees_all_through": list(layer.sees_all_through), "parts": parts}


def _describe_estimate(estimate: Estimate | Curve) -> dict[str, Any]:
    parts = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {key: part.tolist() if isinstance(part, Tensor) else part for key, part in parts.items()}


def _describe_profile(profile: Profile) -> dict[str, Any]:
    return {
        "cells": profile.cells.tolist(),
        "pixels": profile.pixels.tolist(),
        "count": profile.count.tolist(),
        **{name: _describe_estimate(getattr(profile, name)) for name in QUANTITIES},
    }
