"""Saved measurements, read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from padprint.errors import ResultError
from padprint.results import storage
from padprint.results.channels import ChannelTest, places
from padprint.results.documents import ESTIMATES, QUANTITIES, SIZES
from padprint.results.measurement import PARTS, Emergence, Estimate, LayerMeasurement, Measurement, Part, Profile
from padprint.support import reasons
from padprint.support.axes import MOST, side_names, size_names
from padprint.support.typed import Fields, restored, several, tensor


def load(folder: str | Path, *, expected: str | None = None) -> Measurement:
    """Read a measurement that `Measurement.save` wrote; it equals the one saved.

    Args:
        folder: the folder that was saved to.
        expected: sha256 of ``result.json``, where another file tells it.

    Raises:
        ResultError: nothing is there, a file is missing or damaged, the files belong to different runs, or
            the result was written in another schema.

    Examples:
        >>> import padprint
        >>> from padprint.scenes import DeadLeaves
        >>> from torch import nn
        >>> measured = padprint.measure(nn.Conv2d(3, 1, 3, padding=1), DeadLeaves(3, 64), crop=16)
        >>> sorted(file.name for file in measured.save("result").iterdir())
        ['patterns.safetensors', 'result.json']
        >>> padprint.load("result") == measured
        True
    """
    document, tensors = storage.read(Path(folder), expected=expected)
    try:
        return restore(document, tensors)
    except ResultError as error:
        raise ResultError(f"{folder}: {error}") from error


def restore(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Measurement:
    """The measurement behind an encoded document and its patterns.

    Raises:
        ResultError: a field or a pattern is missing, of the wrong kind, or does not fit the others.
    """
    try:
        source = Fields(document)
        axes = axes_of(source, "crop")
        layers = {name: _layer(name, layer, tensors, axes) for name, layer in source.object("layers").items()}
        source.check("numeric_floor", not source.get("numeric_floor", float) < 0, "there is no negative rounding error")
        types = {"crop": several(int, axes), "margin": several(int, 2 * axes)}
        return restored(
            Measurement, source, types, layers=layers, unmeasured=unmeasured_of(source), warnings=warnings_of(source)
        )
    except ValueError as error:
        raise ResultError(f"the result is damaged ({error}); measure again or restore the file") from error


def axes_of(fields: Fields, key: str) -> int:
    """How many axes of space a saved result has, by a field that holds a number for each.

    Raises:
        ValueError: the field is missing, of the wrong kind, or holds too few or too many.
    """
    axes = len(fields.get(key, tuple[int, ...]))
    fields.check(key, 1 <= axes <= MOST, f"there must be one number for each of 1 to {MOST} axes")
    return axes


def unmeasured_of(fields: Fields) -> dict[str, str]:
    """Layers of a saved result that were not measured, with the reason.

    Raises:
        ValueError: a field is missing or of the wrong kind.
    """
    kinds = fields.object("reasons").get("unmeasured", dict[str, dict[str, str]]) if "reasons" in fields else {}
    return {
        name: reasons.restored(text, kinds.get(name)) for name, text in fields.get("unmeasured", dict[str, str]).items()
    }


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
    return tuple(reasons.restored(text, kind) for text, kind in zip(texts, kinds, strict=True))


def _layer(name: str, fields: Fields, tensors: Mapping[str, Tensor], axes: int) -> LayerMeasurement:
    shape = tuple(fields.get(key, int) for key in ("channels", *size_names(axes)))
    fields.within("channels", shape, 0)
    emergence = fields.get("emergence", tuple[int, ...])
    fields.within("emergence", emergence, 1)
    fields.check("emergence", bool(emergence), "there must be one number of crops or more")
    profiles = dict(fields.object("profile").items())
    known = ("all", *side_names(axes))
    fields.check("profile", set(profiles) <= set(known), f"there are profiles of {', '.join(known)} alone")
    present = [*ESTIMATES, *(key for key in SIZES if key in fields)]
    estimates: dict[str, Any] = {
        key: restored(Estimate, fields.object(key), replicates=fields.object("replicates").get(key, tuple[float, ...]))
        for key in present
    }
    by_axis = several(float, axes)
    layer = restored(
        LayerMeasurement,
        fields,
        {
            **{"stride": by_axis, "offset": by_axis | None, "receptive_field": several(int, axes) | None},
            **dict.fromkeys(("rim", "reach"), several(int, 2 * axes)),
        },
        name=name,
        pattern=tensor(tensors, f"{name}/pattern", shape),
        noise=tensor(tensors, f"{name}/noise", shape),
        channels=_channels(fields.object("channel_test"), shape[0], axes),
        emergence=Emergence(emergence, tensor(tensors, f"{name}/emergence", (len(emergence), *shape[1:]))),
        parts=_parts(name, fields, tensors, shape),
        **estimates,
    )
    fields.check("stride", all(0 < pixels < math.inf for pixels in layer.stride), "a stride must be above 0")
    fields.check("offset", all(map(math.isfinite, layer.offset or ())), "an offset must be finite")
    for side, profile in layer.profile.items():
        _check_profile(profiles[side], profile)
    return layer


def _parts(name: str, fields: Fields, tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> dict[str, Part]:
    """Of a layer that sees the whole map; of others nothing."""
    if "parts" not in fields:
        return {}
    return {
        part: restored(
            Part,
            fields.object("parts").object(part),
            pattern_map=tensor(tensors, f"{name}/{part}/pattern", shape),
            size_map=tensor(tensors, f"{name}/{part}/size", shape[1:]),
        )
        for part in PARTS
    }


def _channels(fields: Fields, count: int, axes: int) -> ChannelTest:
    test = restored(ChannelTest, fields, axes=axes)
    for key in ("p", "q", "snr", "side"):
        fields.check(key, len(getattr(test, key)) == count, f"there must be one for each of {count} channels")
    fields.check("side", set(test.side) <= set(places(axes)), f"each must be one of {', '.join(places(axes))}")
    return test


def _check_profile(fields: Fields, profile: Profile) -> None:
    """Raises ValueError where its parts do not fit each other."""
    count = len(profile.cells)
    for key in ("pixels", "count"):
        fields.check(key, len(getattr(profile, key)) == count, f"there must be one for each of {count} distances")
    fields.check("pixels", bool(profile.pixels.isfinite().all()), "distances must be finite")
    for key in QUANTITIES:
        curve = getattr(profile, key)
        for end in ("value", "low", "high"):
            right = len(getattr(curve, end)) == count
            fields.object(key).check(end, right, f"there must be one for each of {count} distances")
