"""A halo as a plain document: dicts, lists, numbers, strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from torch import Tensor

from padprint._document import SCHEMA
from padprint.errors import ResultError
from padprint.options import schemes_by_name
from padprint.overlap.distance import SIDES
from padprint.overlap.tiling import Map, Tiling
from padprint.overlap.tools import units
from padprint.overlap.widths import OutputHalo, PaddingHalo

if TYPE_CHECKING:
    from padprint.overlap.result import Halo

PARTS = ("errors", "by_image", "resolution")
"""Tensors of an output that are saved beside the document."""


def document(halo: Halo) -> dict[str, Any]:
    """Everything but the errors of single images; floats stay as they are, NaN and infinities included."""
    return {
        "schema": SCHEMA,
        "tile": list(halo.tile),
        "tolerance": halo.tolerance,
        "error": halo.error,
        "confidence": halo.confidence,
        "n_images": halo.n_images,
        "n_tiles": halo.n_tiles,
        "margin": list(halo.margin),
        "approximate": halo.approximate,
        "unmeasured": dict(halo.unmeasured),
        "warnings": list(halo.warnings),
        "provenance": dict(halo.provenance),
        "paddings": {name: _padding_document(one) for name, one in halo.items()},
    }


def _padding_document(one: PaddingHalo) -> dict[str, Any]:
    tiles = one.tiling
    found: dict[str, Any] = {
        "period": list(one.period),
        "structural_px": one.structural,
        "effective_px": vars(one.effective),
        "effective_px_by_image": one.image_pixels,
        "advised": None,
        "reason": one.reason,
        "units": None,
    }
    if tiles is not None:
        errors = {
            "error": one.error_of(tiles),
            "worst_image_error": one.error_of(tiles, worst=True),
            "limit": one.limit_of(tiles.halos),
        }
        found |= {"advised": tiling_document(tiles) | errors, "units": units(one)}
    found["outputs"] = {name: _output_document(out) for name, out in one.outputs.items()}
    found["curve"] = [{**vars(point), "overlap": list(point.overlap)} for point in one.curve]
    return found


def tiling_document(tiles: Tiling) -> dict[str, Any]:
    """Tiles as plain values."""
    return {
        "tile": list(tiles.tile),
        "step": list(tiles.step),
        "overlap": list(tiles.overlap),
        "period": list(tiles.period),
        "halo_px": list(tiles.pixels),
        "halo_cells": {name: list(halo) for name, halo in tiles.halos.items()},
        "cost": tiles.cost,
    }


def _output_document(one: OutputHalo) -> dict[str, Any]:
    return {
        "size": list(one.map.size),
        "channels": one.channels,
        "stride": [str(s) for s in one.map.stride],
        "scale": one.scale,
        "structural": dict(zip(SIDES, one.structural, strict=True)),
        "structural_px": dict(zip(SIDES, one.structural_pixels, strict=True)),
        "effective": {side: vars(width) for side, width in zip(SIDES, one.effective, strict=True)},
        "errors": {side: row.tolist() for side, row in zip(SIDES, one.errors, strict=True)},
        "worst_image_errors": {side: row.tolist() for side, row in zip(SIDES, one.by_image.amax(0), strict=True)},
    }


def errors_of(halo: Halo) -> dict[str, Tensor]:
    """Errors by distance of every padding and output."""
    return {
        f"{padding}/{name}/{part}": getattr(out, part)
        for padding, one in halo.items()
        for name, out in one.outputs.items()
        for part in PARTS
    }


def restored(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Halo:
    """The halo behind an encoded document and its errors.

    Raises:
        ResultError: a field or a tensor is missing or of the wrong kind.
        PaddingError: a padding has no name in padprint.
    """
    from padprint.overlap.result import Halo  # result imports this module

    try:
        schemes = schemes_by_name(list(document["paddings"]), document["provenance"]["seed"])
        shared: dict[str, Any] = {"tolerance": float(document["tolerance"]), "error": str(document["error"])}
        paddings = {
            padding: PaddingHalo(
                padding,
                _pair(document["tile"]),
                _pair(entry["period"]),
                {name: _output(f"{padding}/{name}", out, tensors, shared) for name, out in entry["outputs"].items()},
                float(document["confidence"]),
                schemes[padding],
            )
            for padding, entry in document["paddings"].items()
        }
        top, bottom, left, right = document["margin"]
        return Halo(
            paddings,
            _pair(document["tile"]),
            **shared,
            confidence=float(document["confidence"]),
            n_images=document["n_images"],
            n_tiles=document["n_tiles"],
            margin=(top, bottom, left, right),
            approximate=document["approximate"],
            unmeasured=dict(document["unmeasured"]),
            warnings=tuple(document["warnings"]),
            provenance=dict(document["provenance"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultError(f"the saved halo lacks a field or holds a wrong one ({error!r}); measure again") from error


def _output(key: str, entry: Mapping[str, Any], tensors: Mapping[str, Tensor], shared: Mapping[str, Any]) -> OutputHalo:
    y, x = map(Fraction, entry["stride"])
    top, bottom, left, right = (entry["structural"][side] for side in SIDES)
    errors: dict[str, Any] = {part: tensors[f"{key}/{part}"] for part in PARTS}
    name = key.split("/", 1)[1]
    return OutputHalo(
        name=name,
        map=Map(_pair(entry["size"]), (y, x)),
        channels=entry["channels"],
        structural=(top, bottom, left, right),
        scale=float(entry["scale"]),
        **errors,
        **shared,
    )


def _pair(values: Sequence[int]) -> tuple[int, int]:
    height, width = values
    return height, width
