"""Saved measurements, read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from padprint.errors import ResultError
from padprint.results import storage
from padprint.results.channels import SIDES, ChannelTest
from padprint.results.documents import ESTIMATES, FLOATS, FOUR, OF_PARTS, PROFILES, QUANTITIES, SIZES
from padprint.results.measurement import PARTS, Curve, Emergence, Estimate, LayerMeasurement, Measurement, Part, Profile
from padprint.support.reasons import restored
from padprint.support.typed import Fields, tensor


def load(folder: str | Path, *, expected: str | None = None) -> Measurement:
    """Read a measurement that `Measurement.save` wrote; it equals the one saved.

    Args:
        folder: the folder that was saved to.
        expected: sha256 of ``result.json``, where another file tells it.

    Raises:
        ResultError: nothing is there, a file is missing or damaged, the files belong to different runs, or
            the result was written in another schema.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> import padprint
        >>> blur = nn.Conv2d(3, 1, 3, padding=1, bias=False)
        >>> _ = nn.init.constant_(blur.weight, 1 / 27)
        >>> found = padprint.measure(blur, [torch.ones(3, 64, 64)] * 3, crop=16)
        >>> folder = found.save("result")
        >>> sorted(one.name for one in folder.iterdir())
        ['patterns.safetensors', 'result.json']
        >>> padprint.load("result") == found
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


def _layer(name: str, fields: Fields, tensors: Mapping[str, Tensor]) -> LayerMeasurement:
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
    value, low, high = (fields.get(key, float) for key in ("value", "low", "high"))
    return Estimate(value, low, high, replicates)


def _channels(fields: Fields, count: int) -> ChannelTest:
    numbers = {key: _numbers(fields, key, count) for key in ("p", "q", "snr")}
    side = fields.get("side", tuple[str, ...])
    fields.check("side", len(side) == count, f"there must be one for each of {count} channels")
    fields.check("side", set(side) <= set(SIDES), f"each must be one of {', '.join(SIDES)}")
    return ChannelTest(**numbers, side=side, level=fields.get("level", float))


def _profile(fields: Fields) -> Profile:
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
