"""Which tensors of a network are stitched, and where their cells lie."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from padprint.errors import HaloError, ModelError, PadprintError
from padprint.geometry.layer import Geometry
from padprint.geometry.tracing import trace, trace_taps
from padprint.network.layers import Tap, outputs
from padprint.support.axes import Sides, Size
from padprint.support.reasons import Kind, by_layer


def geometry_of(model: nn.Module, channels: int, asked: str | Sequence[str] | None, tile: Size) -> Geometry:
    """The geometry of the outputs: of all tensors that a model returns, by the names of the layers that made them.

    Raises:
        HaloError: one of them sees the whole input, or cannot be run at another size; or none is a map.
        ModelError, LayerError: see `padprint.trace`.
    """
    try:
        found = (
            trace_taps(model, _returned, tile, channels)
            if asked is None
            else trace(model, asked, tile, channels=channels)
        )
    except ModelError as error:
        if not any(reason.kind is Kind.ONE_SIZE for reason in error.reasons.values()):
            raise
        raise HaloError(
            f"tiles cannot be compared with a larger scene: {error}; only inputs of that size can be run"
        ) from error
    for name, reason in found.unmeasured.items():
        if reason.kind in (Kind.GLOBAL, Kind.ABSOLUTE):
            raise HaloError(
                f"no overlap of tiles can keep {name} as it is in one pass: {reason}, so every cell changes with the tile; "
                "only one pass over the whole image, or a network without that operator, does"
            )
        if reason.kind is Kind.ONE_SIZE:
            raise HaloError(
                f"{name} cannot be compared with a larger scene, the network takes inputs of one size: {reason}"
            )
    lost = found.unmeasured if asked is not None or not found.maps else {}
    if lost:
        raise HaloError(f"nothing to stitch: {by_layer(lost)}{_instead(model, tile, channels)}", reasons=lost)
    return found


def _instead(model: nn.Module, tile: Size, channels: int) -> str:
    """The last layer that is a map, to be named instead of the output."""
    try:
        maps = trace(model, "auto", tile, channels=channels).maps
    except PadprintError:
        return ""
    return f"; name a layer that is a map, such as the last one, output_layer={list(maps)[-1]}" if maps else ""


def _returned(taps: list[Tap]) -> list[Tap]:
    """In order of execution, one tap of each tensor that a model returns.

    Raises:
        HaloError: it returns no tensor.
    """
    names = {tap.name for tap in outputs(taps)}
    if not names:
        raise HaloError("the model returns no tensor, so there is nothing to stitch; name a layer with output_layer")
    return [tap for tap in taps if tap.name in names]


def structural_halos(model: nn.Module, geometry: Geometry, channels: int) -> dict[str, Sides]:
    """Cells that padding can touch on each side, by output, also where a tile has fewer cells than that.

    Where it has, the network is traced on tiles that are longer along one axis at a time: on larger ones along all, a volume would
    not fit.
    """
    found = {name: [*(geometry[name].rim or ())] for name in geometry.maps}
    for axis, own in enumerate(geometry.crop):
        sides = slice(2 * axis, 2 * axis + 2)
        if any(spec.size[axis] in found[name][sides] for name, spec in geometry.maps.items()):
            long = own + sum(geometry.margin[sides])  # congruent to the tile
            tile = (*geometry.crop[:axis], long, *geometry.crop[axis + 1 :])
            larger = trace(model, list(geometry.maps), tile, channels=channels)
            for name in geometry.maps:
                found[name][sides] = (larger[name].rim or found[name])[sides]
    return {name: tuple(cells) for name, cells in found.items()}
