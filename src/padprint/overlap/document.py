"""A halo as a plain document: dicts, lists, numbers, strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from padprint.overlap import floors
from padprint.overlap.output_halo import OutputHalo
from padprint.overlap.tiling import Tiling
from padprint.overlap.tools import units
from padprint.overlap.widths import PaddingHalo
from padprint.results.documents import SCHEMA, ending_in, kinds_of
from padprint.support.axes import side_names
from padprint.support.typed import described

if TYPE_CHECKING:
    from padprint.overlap.result import Halo

PARTS = ("errors", "by_image", "resolution")
"""Tensors of an output that are saved beside the document."""


def document(halo: Halo) -> dict[str, Any]:
    """Everything but the errors of single images; floats stay as they are, NaN and infinities included."""
    paddings = {name: _padding_document(padding, halo.known) for name, padding in halo.items()}
    whole = {"schema": SCHEMA, **described(halo, paddings=paddings), "reasons": kinds_of(halo)}
    return ending_in(whole, "unmeasured", "warnings", "reasons", "provenance", "paddings")


def _padding_document(padding: PaddingHalo, known: Mapping[str, Any]) -> dict[str, Any]:
    tiles = padding.tiling
    entry: dict[str, Any] = {
        "period": list(padding.period),
        "structural_px": padding.structural,
        "effective_px": described(padding.effective),
        "effective_px_by_image": padding.image_pixels,
        "advised": None,
        "reason": padding.reason,
        "units": None,
    }
    if tiles is not None:
        errors = {
            "error": padding.error_of(tiles),
            "worst_image_error": padding.error_of(tiles, worst=True),
            "limit": padding.limit_of(tiles.halos),
        }
        entry |= {"advised": tiling_document(tiles) | errors, "units": units(padding, known)}
    entry["outputs"] = {name: _output_document(out) for name, out in padding.outputs.items()}
    entry["curve"] = described(padding.curve)
    return entry


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


def _output_document(out: OutputHalo) -> dict[str, Any]:
    return {
        "size": list(out.map.size),
        "channels": out.channels,
        "stride": [str(s) for s in out.map.stride],
        "scale": out.scale,
        "structural": _by_side(out.structural),
        "structural_px": _by_side(out.structural_pixels),
        "effective": _by_side(out.effective),
        "errors": _by_side(out.errors),
        "worst_image_errors": _by_side(out.by_image.amax(0)),
        **({} if out.floor is None else {"floor": floors.document(out.floor)}),
    }


def _by_side(values: Any) -> dict[str, Any]:
    """Values of every side as they are saved, by its name."""
    names = side_names(len(values) // 2)
    return {side: described(value) for side, value in zip(names, values, strict=True)}


def errors_of(halo: Halo) -> dict[str, Tensor]:
    """Errors by distance of every padding and output."""
    return {
        f"{name}/{output}/{part}": getattr(out, part)
        for name, padding in halo.items()
        for output, out in padding.outputs.items()
        for part in PARTS
    }
