"""A halo as a plain document: dicts, lists, numbers, strings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from padprint.overlap import floors
from padprint.overlap.distance import SIDES
from padprint.overlap.tiling import Tiling
from padprint.overlap.tools import units
from padprint.overlap.widths import OutputHalo, PaddingHalo
from padprint.results.documents import SCHEMA, described

if TYPE_CHECKING:
    from padprint.overlap.result import Halo

PARTS = ("errors", "by_image", "resolution")
"""Tensors of an output that are saved beside the document."""
LARGEST = 10**6
"""Pixels of a tile, and other counts of a document, at most."""


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
        "statistics": halo.statistics,
        "unmeasured": dict(halo.unmeasured),
        "warnings": list(halo.warnings),
        "reasons": described(halo),
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
        **({} if one.floor is None else {"floor": floors.document(one.floor)}),
    }


def errors_of(halo: Halo) -> dict[str, Tensor]:
    """Errors by distance of every padding and output."""
    return {
        f"{padding}/{name}/{part}": getattr(out, part)
        for padding, one in halo.items()
        for name, out in one.outputs.items()
        for part in PARTS
    }
