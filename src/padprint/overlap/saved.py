"""Saved halos, read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from math import inf
from pathlib import Path
from types import GenericAlias
from typing import Any

from torch import Tensor

from padprint.errors import ResultError
from padprint.measuring.options import schemes_by_name
from padprint.overlap.asked import LARGEST, STATISTICS, check_confidence, check_tolerance
from padprint.overlap.distance import ERRORS
from padprint.overlap.document import PARTS
from padprint.overlap.floors import Floor
from padprint.overlap.output_halo import OutputHalo
from padprint.overlap.result import Halo
from padprint.overlap.tiling import Map
from padprint.overlap.widths import PaddingHalo
from padprint.results import storage
from padprint.results.saved import axes_of, unmeasured_of, warnings_of
from padprint.support.axes import side_names
from padprint.support.typed import Fields, restored, several, tensor


def load(folder: str | Path) -> Halo:
    """Read what `Halo.save` wrote; it can be read at other tolerances, drawn and verified like the one that was saved.

    Raises:
        ResultError: nothing is there, a file is missing or damaged, the files belong to different runs, or were written in
            another schema; it was measured under a scheme that has no name in padprint.
    """
    document, tensors = storage.read(Path(folder), storage.HALO)
    try:
        return restore(document, tensors)
    except ResultError as error:
        raise ResultError(f"{folder}: {error}") from error


def restore(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Halo:
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
        axes, images = axes_of(fields, "tile"), fields.get("n_images", int)
        tile = fields.get("tile", several(int, axes))
        entries = dict(fields.object("paddings").items())
        fields.check("paddings", bool(entries), "there must be one or more")
        schemes = schemes_by_name(list(entries), fields.object("provenance").get("seed", int))
        paddings = {}
        for padding, entry in entries.items():
            outputs = {
                name: _output(f"{padding}/{name}", name, out, tensors, images, axes, shared)
                for name, out in entry.object("outputs").items()
            }
            entry.check("outputs", bool(outputs), "there must be one or more")
            period = entry.get("period", several(int, axes))
            entry.within("period", period, 1, LARGEST)
            paddings[padding] = PaddingHalo(padding, tile, period, outputs, confidence, schemes[padding])
        found = restored(
            Halo,
            fields,
            {"margin": several(int, 2 * axes)},
            paddings=paddings,
            unmeasured=unmeasured_of(fields),
            warnings=warnings_of(fields),
        )
        fields.check("statistics", found.statistics in STATISTICS, f"there are {', '.join(STATISTICS)}")
        return found
    except ValueError as error:  # padprint's own errors are of this kind as well
        raise ResultError(f"the saved halo lacks a field or holds a wrong one ({error}); measure again") from error


def _output(
    key: str,
    name: str,
    fields: Fields,
    tensors: Mapping[str, Tensor],
    images: int,
    axes: int,
    shared: Mapping[str, Any],
) -> OutputHalo:
    size = fields.get("size", several(int, axes))
    fields.within("size", size, 1, LARGEST)
    stride = tuple(_stride(fields, text) for text in fields.get("stride", several(str, axes)))
    by_side = fields.object("structural")
    structural = tuple(by_side.get(side, int) for side in side_names(axes))
    fields.check("structural", min(structural) >= 0, "no halo is below 0")
    length, sides = max(size), 2 * axes
    shapes = {"errors": (sides, length), "by_image": (images, sides, length), "resolution": (images, sides, length)}
    errors: dict[str, Any] = {part: tensor(tensors, f"{key}/{part}", shapes[part]) for part in PARTS}
    if not all(bool(((values >= 0) & (values < inf) | values.isnan()).all()) for values in errors.values()):
        raise ValueError(f"the errors of {key!r} are not all finite and 0 or more")
    floor = _floor(fields.object("floor"), images, axes) if "floor" in fields else None
    return restored(
        OutputHalo,
        fields,
        name=name,
        map=Map(size, stride),
        structural=structural,
        **errors,
        **shared,
        floor=floor,
    )


def _floor(fields: Fields, images: int, axes: int) -> Floor:
    sizes = fields.get("sizes", GenericAlias(tuple, (GenericAlias(tuple, (*(int,) * axes, float)), ...)))
    floor = restored(Floor, fields, sizes={tuple(size): value for *size, value in sizes})
    by_image = floor.by_image.tolist()
    fields.check("by_image", len(by_image) == images, f"there must be one for each of {images} images")
    right = all(0 <= number < inf for number in (*by_image, floor.value, floor.share))
    fields.check("value", right, "errors and shares are finite and 0 or more")
    return floor


def _stride(fields: Fields, text: str) -> Fraction:
    """A stride as it is saved, such as 16 or 1/2."""
    right = re.fullmatch(r"[1-9]\d{0,5}(/[1-9]\d{0,5})?", text, re.ASCII) is not None
    fields.check("stride", right, "a stride is a whole number or a fraction above 0")
    return Fraction(text)
