"""A measurement as a plain document (dicts, lists, numbers, strings); `padprint.results.saved` reads it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from padprint.support.axes import size_names
from padprint.support.reasons import Reason
from padprint.support.typed import described

if TYPE_CHECKING:
    from padprint.results.measurement import LayerMeasurement, Measurement

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
QUANTITIES = ("pattern", "noise", "response")


def describe(measurement: Measurement) -> dict[str, Any]:
    """Everything but the patterns; floats stay as they are, NaN and infinities included."""
    layers = {name: _describe_layer(layer) for name, layer in measurement.layers.items()}
    document = {"schema": SCHEMA, **described(measurement, layers=layers), "reasons": kinds_of(measurement)}
    return ending_in(document, "layers", "unmeasured", "provenance")


def ending_in(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The same document with these keys last, where files have them."""
    return {
        **{key: value for key, value in document.items() if key not in keys},
        **{key: document[key] for key in keys},
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


def kinds_of(result: Explained) -> dict[str, Any]:
    """The kinds of a result's reasons and warnings, beside their words."""
    return {
        "unmeasured": {name: why.describe() for name, why in result.unmeasured.items() if isinstance(why, Reason)},
        "warnings": [why.describe() if isinstance(why, Reason) else None for why in result.warnings],
    }


def _describe_layer(layer: LayerMeasurement) -> dict[str, Any]:
    """A layer's fields; the estimates come first, and their replicates in an object of their own."""
    channels, *cells = layer.pattern.shape
    test = {"aware": layer.channels.count, "level": layer.channels.level, **described(layer.channels)}
    rest = described(layer, channels=test, emergence=list(layer.emergence.counts))
    estimates = {name: rest.pop(name) for name in (*ESTIMATES, *SIZES)}
    replicates = {name: estimate.pop("replicates") for name, estimate in estimates.items()}
    del rest["name"]
    if not layer.parts:  # of a layer that does not see the whole map
        del rest["parts"], rest["sees_all_through"]
    rest = {"channel_test" if key == "channels" else key: value for key, value in rest.items()}
    size = {"channels": channels, **dict(zip(size_names(len(cells)), cells, strict=True))}
    return {**size, **estimates, "replicates": replicates, **rest}
