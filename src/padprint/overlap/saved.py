"""Saved halos, read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from padprint.errors import ResultError
from padprint.measuring.options import schemes_by_name
from padprint.overlap.asked import STATISTICS, check_confidence, check_tolerance
from padprint.overlap.distance import ERRORS, SIDES
from padprint.overlap.document import LARGEST, PARTS
from padprint.overlap.floors import Floor
from padprint.overlap.result import Halo
from padprint.overlap.tiling import Map
from padprint.overlap.widths import OutputHalo, PaddingHalo
from padprint.results import storage
from padprint.results.saved import unmeasured_of, warnings_of
from padprint.support.typed import Fields, tensor


def load(folder: str | Path) -> Halo:
    """Read what `Halo.save` wrote; it can be read at other tolerances, drawn and verified like the one that was saved.

    Raises:
        ResultError: nothing is there, a file is missing or damaged, the files belong to different runs, or were written in
            another schema; it was measured under a scheme that has no name in padprint.
    """
    found = storage.read(Path(folder), storage.HALO)
    try:
        return restored(*found)
    except ResultError as error:
        raise ResultError(f"{folder}: {error}") from error


def restored(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Halo:
    """The halo behind an encoded document and its errors.

    Raises:
        ResultError: a field or a tensor is missing, of the wrong kind, or does not fit the others; a padding has no name in
            padprint.
    """
    try:
        fields = Fields(document)
        shared = {"tolerance": fields.get("tolerance", float), "error": fields.get("error", str)}
        check_tolerance(shared["tolerance"])
        fields.check("error", shared["error"] in ERRORS, f"there are {', '.join(ERRORS)}")
        confidence = fields.get("confidence", float)
        check_confidence(confidence)
        tile, images = _positive(fields, "tile", tuple[int, int]), _positive(fields, "n_images", int)
        entries = dict(fields.object("paddings").items())
        fields.check("paddings", bool(entries), "there must be one or more")
        schemes = schemes_by_name(list(entries), fields.object("provenance").get("seed", int))
        paddings = {}
        for padding, entry in entries.items():
            outputs = {
                name: _output(f"{padding}/{name}", name, out, tensors, images, shared)
                for name, out in entry.object("outputs").items()
            }
            entry.check("outputs", bool(outputs), "there must be one or more")
            period = _positive(entry, "period", tuple[int, int])
            paddings[padding] = PaddingHalo(padding, tile, period, outputs, confidence, schemes[padding])
        return Halo(
            paddings,
            tile,
            **shared,
            confidence=confidence,
            n_images=images,
            n_tiles=_positive(fields, "n_tiles", int),
            margin=fields.get("margin", tuple[int, int, int, int]),
            approximate=fields.get("approximate", bool),
            unmeasured=unmeasured_of(fields),
            warnings=warnings_of(fields),
            provenance=fields.get("provenance", dict[str, Any]),
            statistics=_statistics(fields),
        )
    except ValueError as error:  # padprint's own errors are of this kind as well
        raise ResultError(f"the saved halo lacks a field or holds a wrong one ({error}); measure again") from error


def _statistics(fields: Fields) -> str:
    found = fields.get("statistics", str) if "statistics" in fields else "tile"  # before there were others
    fields.check("statistics", found in STATISTICS, f"there are {', '.join(STATISTICS)}")
    return found


def _output(
    key: str, name: str, fields: Fields, tensors: Mapping[str, Tensor], images: int, shared: Mapping[str, Any]
) -> OutputHalo:
    size = _positive(fields, "size", tuple[int, int])
    y, x = (_stride(fields, text) for text in fields.get("stride", tuple[str, str]))
    structural = fields.object("structural")
    top, bottom, left, right = (structural.get(side, int) for side in SIDES)
    fields.check("structural", min(top, bottom, left, right) >= 0, "no halo is below 0")
    length = max(size)
    shapes = {"errors": (4, length), "by_image": (images, 4, length), "resolution": (images, 4, length)}
    errors: dict[str, Any] = {part: tensor(tensors, f"{key}/{part}", shapes[part]) for part in PARTS}
    if not all(bool(((one >= 0) & (one < inf) | one.isnan()).all()) for one in errors.values()):
        raise ValueError(f"the errors of {key!r} are not all finite and 0 or more")
    return OutputHalo(
        name=name,
        map=Map(size, (y, x)),
        channels=_positive(fields, "channels", int),
        structural=(top, bottom, left, right),
        scale=fields.get("scale", float),
        **errors,
        **shared,
        floor=_floor(fields.object("floor"), images) if "floor" in fields else None,
    )


def _floor(fields: Fields, images: int) -> Floor:
    by_image = fields.get("by_image", tuple[float, ...])
    fields.check("by_image", len(by_image) == images, f"there must be one for each of {images} images")
    every = [*by_image, fields.get("value", float), fields.get("share", float)]
    fields.check("value", all(0 <= one < inf for one in every), "errors and shares are finite and 0 or more")
    sizes = fields.get("sizes", tuple[tuple[int, int, float], ...])
    return Floor(
        fields.get("operators", tuple[str, ...]),
        fields.get("value", float),
        torch.tensor(by_image, dtype=torch.float64),
        fields.get("limit", float),
        fields.get("share", float),
        {(height, width): value for height, width, value in sizes},
    )


def _stride(fields: Fields, text: str) -> Fraction:
    """A stride as it is saved, such as 16 or 1/2."""
    right = re.fullmatch(r"[1-9]\d{0,5}(/[1-9]\d{0,5})?", text, re.ASCII) is not None
    fields.check("stride", right, "a stride is a whole number or a fraction above 0")
    return Fraction(text)


def _positive(fields: Fields, key: str, kind: Any) -> Any:
    """A whole number of 1 or more, or a tuple of such."""
    found = fields.get(key, kind)
    every = found if isinstance(found, tuple) else (found,)
    fields.check(key, all(1 <= one <= LARGEST for one in every), f"it must be 1 to {LARGEST}")
    return found
