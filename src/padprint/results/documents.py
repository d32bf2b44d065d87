"""A measurement as a plain document (dicts, lists, numbers, strings) and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from padprint.errors import ResultError
from padprint.results.channels import SIDES, ChannelTest
from padprint.support.reasons import Reason, restored
from padprint.support.typed import Fields, tensor

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


def restore(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Measurement:
    """The measurement behind an encoded document and its patterns.

    Raises:
        ResultError: a field or a pattern is missing, of the wrong kind, or does not fit the others.
    """
    from padprint.results.measurement import Measurement  # result imports this module

    try:
        fields = Fields(document)
        return Measurement(
            layers={name: _layer(name, layer, tensors) for name, layer in fields.object("layers").items()},
            unmeasured=unmeasured_of(fields),
            crop=_counts(fields, "crop", tuple[int, int], 1),
            margin=_counts(fields, "margin", FOUR),
            numeric_floor=fields.get("numeric_floor", float),
            n_images=_counts(fields, "n_images", int),
            n_crops=_counts(fields, "n_crops", int),
            approximate=fields.get("approximate", bool),
            warnings=warnings_of(fields),
            provenance=fields.get("provenance", dict[str, Any]),
        )
    except ValueError as error:
        raise ResultError(f"the result is damaged ({error}); measure again or restore the file") from error


def described(result: Explained) -> dict[str, Any]:
    """The kinds of a result's reasons and warnings, beside their words."""
    return {
        "unmeasured": {name: one.describe() for name, one in result.unmeasured.items() if isinstance(one, Reason)},
        "warnings": [one.describe() if isinstance(one, Reason) else None for one in result.warnings],
    }


def unmeasured_of(fields: Fields) -> dict[str, str]:
    """Layers of a saved result that were not measured, with the reason.

    Raises:
        ValueError: a field is missing or of the wrong kind.
    """
    kinds = fields.object("reasons").get("unmeasured", dict[str, dict[str, str]]) if "reasons" in fields else {}
    return {name: restored(text, kinds.get(name)) for name, text in fields.get("unmeasured", dict[str, str]).items()}


def warnings_of(fields: Fields) -> tuple[str, ...]:
    """Warnings of a saved result.

    Raises:
        ValueError: a field is missing or of the wrong kind.
    """
    texts = fields.get("warnings", tuple[str, ...])
    kinds: tuple[dict[str, str] | None, ...] = (None,) * len(texts)
    if "reasons" in fields:
        kinds = fields.object("reasons").get("warnings", tuple[dict[str, str] | None, ...])
        fields.check("reasons", len(kinds) == len(texts), f"there must be a kind for each of {len(texts)} warnings")
    return tuple(restored(text, kind) for text, kind in zip(texts, kinds, strict=True))


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


def _layer(name: str, fields: Fields, tensors: Mapping[str, Tensor]) -> LayerMeasurement:
    from padprint.results.measurement import Emergence, LayerMeasurement  # see above

    shape = tuple(_counts(fields, key, int) for key in ("channels", "height", "width"))
    counts = _counts(fields, "emergence", tuple[int, ...], 1)
    fields.check("emergence", bool(counts), "there must be one number of crops or more")
    stride, offset = fields.get("stride", tuple[float, float]), fields.get("offset", tuple[float, float] | None)
    fields.check("stride", all(0 < one < math.inf for one in stride), "a stride must be above 0")
    fields.check("offset", all(map(math.isfinite, offset or ())), "an offset must be finite")
    present = [*ESTIMATES, *(key for key in SIZES if key in fields)]
    estimates: dict[str, Any] = {
        key: estimate(fields.object(key), fields.object("replicates").get(key, FLOATS)) for key in present
    }
    profiles = dict(fields.object("profile").items())
    fields.check("profile", set(profiles) <= set(PROFILES), f"there are profiles of {', '.join(PROFILES)} alone")
    return LayerMeasurement(
        name=name,
        pattern=tensor(tensors, f"{name}/pattern", shape),
        noise=tensor(tensors, f"{name}/noise", shape),
        **estimates,
        stride=stride,
        offset=offset,
        receptive_field=_counts(fields, "receptive_field", tuple[int, int] | None, 1),
        rim=_counts(fields, "rim", FOUR),
        reach=_counts(fields, "reach", FOUR),
        profile={side: _profile(profile) for side, profile in profiles.items()},
        channels=_channels(fields.object("channel_test"), shape[0]),
        emergence=Emergence(counts, tensor(tensors, f"{name}/emergence", (len(counts), *shape[1:]))),
        numeric_floor=fields.get("numeric_floor", float),
        residual=fields.get("residual", float | None),
        notes=fields.get("notes", tuple[str, ...]),
        **_parts(name, fields, tensors, shape),
    )


def _parts(name: str, fields: Fields, tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> dict[str, Any]:
    """What `_describe_parts` has written."""
    from padprint.results.measurement import PARTS, Part  # see above

    if "parts" not in fields:
        return {}
    own = fields.object("parts")
    parts = {}
    for part in PARTS:
        one = own.object(part)
        size, pattern, snr = (estimate(one.object(key), one.object(key).get("replicates", FLOATS)) for key in OF_PARTS)
        of_pattern, of_size = (
            tensor(tensors, f"{name}/{part}/{key}", of) for key, of in (("pattern", shape), ("size", shape[1:]))
        )
        parts[part] = Part(size, pattern, snr, of_pattern, of_size)
    return {"sees_all_through": fields.get("sees_all_through", tuple[str, ...]), "parts": parts}


def estimate(fields: Fields, replicates: tuple[float, ...] = ()) -> Estimate:
    """An estimate from its fields.

    Raises:
        ValueError: a field is missing or no number.
    """
    from padprint.results.measurement import Estimate  # see above

    value, low, high = (fields.get(key, float) for key in ("value", "low", "high"))
    return Estimate(value, low, high, replicates)


def _channels(fields: Fields, count: int) -> ChannelTest:
    numbers = {key: _numbers(fields, key, count) for key in ("p", "q", "snr")}
    side = fields.get("side", tuple[str, ...])
    fields.check("side", len(side) == count, f"there must be one for each of {count} channels")
    fields.check("side", set(side) <= set(SIDES), f"each must be one of {', '.join(SIDES)}")
    return ChannelTest(**numbers, side=side, level=fields.get("level", float))


def _profile(fields: Fields) -> Profile:
    from padprint.results.measurement import Curve, Profile  # see above

    cells = _counts(fields, "cells", tuple[int, ...])
    count = _counts(fields, "count", tuple[int, ...], 1)
    fields.check("count", len(count) == len(cells), f"there must be one for each of {len(cells)} distances")
    pixels = _numbers(fields, "pixels", len(cells))
    fields.check("pixels", bool(pixels.isfinite().all()), "distances must be finite")
    return Profile(
        cells=torch.tensor(cells, dtype=torch.int64),
        pixels=pixels,
        count=torch.tensor(count, dtype=torch.int64),
        **{
            key: Curve(*(_numbers(fields.object(key), end, len(cells)) for end in ("value", "low", "high")))
            for key in QUANTITIES
        },
    )


def _numbers(fields: Fields, key: str, count: int) -> Tensor:
    numbers = fields.get(key, FLOATS)
    fields.check(key, len(numbers) == count, f"there must be {count} numbers")
    return torch.tensor(numbers, dtype=torch.float64)


def _counts(fields: Fields, key: str, kind: Any, least: int = 0) -> Any:
    """A whole number, or a tuple of such, of `least` or more."""
    found = fields.get(key, kind)
    every = () if found is None else found if isinstance(found, tuple) else (found,)
    fields.check(key, all(one >= least for one in every), f"it must be {least} or more")
    return found
