"""What a network does to crops and to the scenes around them, found by running it: slow, and without padprint's trace."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil

import torch
from torch import Tensor, nn

from padprint.geometry import Geometry


def features(model: nn.Module, x: Tensor, geometry: Geometry) -> dict[str, Tensor]:
    """Every measurable layer's map, `(B, C, h, w)`, copied as the layer returns it (the last call counts)."""
    found: dict[str, Tensor] = {}

    def hook_for(name: str) -> Callable[..., None]:
        spec = geometry.maps[name]

        def hook(module: nn.Module, args: object, output: object) -> None:
            for key in spec.tap.leaf.path:
                output = output[key]
            found[name] = spec.as_map(output.clone())

        return hook

    modules = dict(model.named_modules())
    handles = [modules[s.tap.leaf.module].register_forward_hook(hook_for(n)) for n, s in geometry.maps.items()]
    try:
        with torch.no_grad():
            model(x)
    except RuntimeError:  # beyond the layers asked for, a network may take inputs of one size only
        if found.keys() != geometry.maps.keys():
            raise
    finally:
        for handle in handles:
            handle.remove()
    return found


def scene(geometry: Geometry, margin: tuple[int, int, int, int], channels: int = 3, seed: int = 0) -> Tensor:
    """A random scene, float64: the crop with `margin` pixels (top, bottom, left, right) around it."""
    top, bottom, left, right = margin
    size = (geometry.crop[0] + top + bottom, geometry.crop[1] + left + right)
    return torch.randn(1, channels, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def crop_of(x: Tensor, geometry: Geometry, margin: tuple[int, int, int, int]) -> Tensor:
    return x[..., margin[0] :, margin[2] :][..., : geometry.crop[0], : geometry.crop[1]]


def window(map_: Tensor, geometry: Geometry, name: str, margin: tuple[int, int, int, int]) -> Tensor:
    """The crop's cells in the map of a scene."""
    spec = geometry.maps[name]
    y, x = (Fraction(m) / s for m, s in zip((margin[0], margin[2]), spec.stride, strict=True))
    assert y.denominator == x.denominator == 1
    cut = map_[..., int(y) :, int(x) :][..., : spec.size[0], : spec.size[1]]
    assert cut.shape[-2:] == spec.size
    return cut


def whole_periods(least: int, period: int) -> int:
    return ceil(least / period) * period


def wide_margin(geometry: Geometry, extra: int = 2) -> tuple[int, int, int, int]:
    """More scene than any layer reaches, by `extra` periods, per side."""
    reaches = [g.reach for g in geometry.values() if g.reach is not None]
    each = [max(side) for side in zip(geometry.margin, *reaches, strict=True)]
    py, px = geometry.period
    return tuple(whole_periods(r, p) + extra * p for r, p in zip(each, (py, py, px, px), strict=True))


def change(crop: Tensor, scene_window: Tensor) -> Tensor:
    """`(h, w)`: how much padding changed each cell, in standard deviations of the layer."""
    return (crop - scene_window).abs().amax((0, 1)) / scene_window.std().clamp_min(1e-300)


def influence(model: nn.Module, geometry: Geometry, margin: tuple[int, int, int, int], axis: int) -> dict[str, Tensor]:
    """For each layer `(pixels, cells)`: whether new values in a whole row (axis 0) or column of a scene change a cell's."""
    base = scene(geometry, margin)
    n = base.shape[2 + axis]
    moved = base.repeat(n, 1, 1, 1)
    other = torch.randn(base.shape, dtype=base.dtype, generator=torch.Generator().manual_seed(1))
    for i in range(n):
        moved.select(2 + axis, i)[i] = other.select(2 + axis, i)[0]
    before, after = features(model, base, geometry), features(model, moved, geometry)
    return {name: ((after[name] - before[name]).abs().amax(1).amax(2 - axis) > 1e-12) for name in before}
