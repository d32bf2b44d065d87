"""A measurement as a plain document (dicts, lists, numbers, strings) and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from padprint.channels import ChannelTest
from padprint.errors import ResultError

if TYPE_CHECKING:
    from padprint.result import Curve, Estimate, LayerMeasurement, Measurement, Profile

SCHEMA = 1
ESTIMATES = ("snr", "snr_plain", "mae", "mae_floor", "response", "relative", "positional")
QUANTITIES = ("pattern", "noise", "response")


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
        "layers": {name: _describe_layer(layer) for name, layer in measurement.layers.items()},
        "unmeasured": dict(measurement.unmeasured),
        "provenance": dict(measurement.provenance),
    }


def finite(value: Any) -> Any:
    """The same document with None for every number that is not finite."""
    return _replace_numbers(value, lambda _: None)


def encode(value: Any) -> Any:
    """The same document in strict JSON without loss: NaN as null, infinities as "inf" and "-inf"."""
    return _replace_numbers(value, lambda number: None if math.isnan(number) else str(number))


def restore(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Measurement:
    """The measurement behind an encoded document and its patterns.

    Raises:
        ResultError: a field or a pattern is missing or of the wrong kind.
    """
    from padprint.result import Measurement  # result imports this module

    try:
        return Measurement(
            layers={name: _layer(name, entry, tensors) for name, entry in document["layers"].items()},
            unmeasured=dict(document["unmeasured"]),
            crop=_integers(document["crop"]),
            margin=_integers(document["margin"]),
            numeric_floor=_number(document["numeric_floor"]),
            n_images=document["n_images"],
            n_crops=document["n_crops"],
            approximate=document["approximate"],
            warnings=tuple(document["warnings"]),
            provenance=dict(document["provenance"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ResultError(f"the result is damaged ({reason}); measure again or restore the file") from error


def _describe_layer(layer: LayerMeasurement) -> dict[str, Any]:
    channels, height, width = layer.pattern.shape
    return {
        "channels": channels,
        "height": height,
        "width": width,
        **{name: _describe_estimate(getattr(layer, name)) for name in ESTIMATES},
        "replicates": {name: list(getattr(layer, name).replicates) for name in ESTIMATES},
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
    }


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


def _layer(name: str, entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> LayerMeasurement:
    from padprint.result import Emergence, Estimate, LayerMeasurement  # see above

    estimates = {
        key: Estimate(
            _number(entry[key]["value"]),
            _number(entry[key]["low"]),
            _number(entry[key]["high"]),
            tuple(_number(one) for one in entry["replicates"][key]),
        )
        for key in ESTIMATES
    }
    return LayerMeasurement(
        name=name,
        pattern=tensors[f"{name}/pattern"],
        noise=tensors[f"{name}/noise"],
        **estimates,
        stride=_pair(entry["stride"]),
        offset=None if entry["offset"] is None else _pair(entry["offset"]),
        receptive_field=None if entry["receptive_field"] is None else _integers(entry["receptive_field"]),
        rim=_integers(entry["rim"]),
        reach=_integers(entry["reach"]),
        profile={side: _profile(profile) for side, profile in entry["profile"].items()},
        channels=_channels(entry["channel_test"]),
        emergence=Emergence(_integers(entry["emergence"]), tensors[f"{name}/emergence"]),
        numeric_floor=_number(entry["numeric_floor"]),
        residual=None if entry["residual"] is None else _number(entry["residual"]),
        notes=tuple(entry["notes"]),
    )


def _channels(entry: Mapping[str, Any]) -> ChannelTest:
    numbers = {key: _numbers(entry[key]) for key in ("p", "q", "snr")}
    return ChannelTest(**numbers, side=tuple(map(str, entry["side"])), level=_number(entry["level"]))


def _profile(entry: Mapping[str, Any]) -> Profile:
    from padprint.result import Curve, Profile  # see above

    curves = {key: Curve(**{k: _numbers(v) for k, v in entry[key].items()}) for key in QUANTITIES}
    return Profile(
        cells=torch.tensor(entry["cells"], dtype=torch.int64),
        pixels=_numbers(entry["pixels"]),
        count=torch.tensor(entry["count"], dtype=torch.int64),
        **curves,
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _numbers(values: list[Any]) -> Tensor:
    return torch.tensor([_number(value) for value in values], dtype=torch.float64)


def _pair(values: list[Any]) -> tuple[float, float]:
    rows, columns = values
    return _number(rows), _number(columns)


def _integers(values: list[Any]) -> Any:
    return tuple(int(value) for value in values)


def _replace_numbers(value: Any, replacement: Any) -> Any:
    """Plain JSON values all the way down; `replacement(number)` stands in for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): _replace_numbers(entry, replacement) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_numbers(entry, replacement) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else replacement(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
