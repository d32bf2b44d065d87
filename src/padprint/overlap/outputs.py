"""Which tensors of a network are stitched, and where their cells lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from padprint.errors import HaloError, ModelError
from padprint.geometry import Geometry, Sides, trace
from padprint.layers import Leaf, discover, leaves_of, one_pass


def output_names(model: nn.Module, x: Tensor) -> list[str]:
    """Names of the tensors that a model returns, as layers are named: a submodule's where one returns the same tensor.

    Args:
        model: in evaluation mode.
        x: `(1, C, H, W)`.

    Raises:
        ModelError: the forward pass fails.
        HaloError: it returns no tensor.
    """
    taps = discover(model, x)
    returned: dict[Leaf, int] = {}
    kept: list[Tensor] = []  # alive, so that no two have one id

    def hook_for(module: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            for path, tensor in leaves_of(output):
                returned[Leaf(module, path)] = id(tensor)
                kept.append(tensor)

        return hook

    handles = [module.register_forward_hook(hook_for(name)) for name, module in model.named_modules()]
    try:
        one_pass(model, x)
    finally:
        for handle in handles:
            handle.remove()
    wanted = [value for leaf, value in returned.items() if not leaf.module]
    if not wanted:
        raise HaloError("the model returns no tensor, so there is nothing to stitch; name a layer with output_layer")
    last = {returned[tap.leaf]: tap.name for tap in taps if tap.leaf in returned}
    return list(dict.fromkeys(last[one] for one in wanted))


def geometry_of(model: nn.Module, x: Tensor, asked: str | Sequence[str] | None, tile: tuple[int, int]) -> Geometry:
    """The geometry of the outputs.

    Raises:
        HaloError: one of them sees the whole input, or cannot be run at another size; or none is a map.
    """
    names = output_names(model, x) if asked is None else [asked] if isinstance(asked, str) else list(asked)
    try:
        found = trace(model, names, tile, channels=x.shape[1])
    except ModelError as error:
        if "at others" not in str(error):
            raise
        raise HaloError(
            f"tiles cannot be compared with a larger scene: {error}; only inputs of that size can be run"
        ) from error
    for name, reason in found.unmeasured.items():
        if reason.startswith(("global", "absolute")):
            raise HaloError(
                f"no overlap of tiles can keep {name} as it is in one pass: {reason}, so every cell changes with the tile; "
                "only one pass over the whole image, or a network without that operator, does"
            )
        if "at another size" in reason:
            raise HaloError(
                f"{name} cannot be compared with a larger scene, the network takes inputs of one size: {reason}"
            )
    lost = found.unmeasured if asked is not None or not found.maps else {}
    if lost:
        raise HaloError(f"nothing to stitch: {'; '.join(f'{name}: {reason}' for name, reason in lost.items())}")
    return found


def structural_halos(model: nn.Module, geometry: Geometry, channels: int) -> dict[str, Sides]:
    """Cells that padding can touch on each side, by output, also where a tile has fewer cells than that."""
    found = {name: geometry[name].rim for name in geometry.maps}
    if any(n in one for name, spec in geometry.maps.items() if (one := found[name]) for n in spec.size):
        top, bottom, left, right = geometry.margin
        wide = geometry.crop[0] + top + bottom, geometry.crop[1] + left + right  # congruent to the tile
        larger = trace(model, list(geometry.maps), wide, channels=channels)
        found = {name: larger[name].rim for name in geometry.maps}
    return {name: rim for name, rim in found.items() if rim is not None}
