"""A halo as a plain document: dicts, lists, numbers, strings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from padprint._document import SCHEMA
from padprint.overlap.distance import SIDES
from padprint.overlap.tiling import Tiling
from padprint.overlap.tools import units

if TYPE_CHECKING:
    from padprint.overlap.result import Halo
    from padprint.overlap.widths import OutputHalo, PaddingHalo


def document(halo: Halo) -> dict[str, Any]:
    """Everything but the errors of each single image; floats stay as they are, NaN included."""
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
        "stride": [float(s) for s in one.map.stride],
        "scale": one.scale,
        "structural": dict(zip(SIDES, one.structural, strict=True)),
        "structural_px": dict(zip(SIDES, one.structural_pixels, strict=True)),
        "effective": {side: vars(width) for side, width in zip(SIDES, one.effective, strict=True)},
        "errors": {side: row.tolist() for side, row in zip(SIDES, one.errors, strict=True)},
        "worst_image_errors": {side: row.tolist() for side, row in zip(SIDES, one.by_image.amax(0), strict=True)},
    }
