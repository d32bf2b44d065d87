"""What a network does to crops and to the scenes around them, found by running it: slow, and without padprint's trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grammar import Network, fresh
from padprint.geometry.layer import Geometry
from padprint.images.synthetic import dead_leaves


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


# --------------------------------------------------------------------- what is true of a network drawn from the grammar


KINDS = 6


@dataclass(frozen=True)
class Verdict:
    """What a network does to a crop, seen by running it.

    Attributes:
        covariant: whether the features of a crop with ample scene around it depend on nothing but that: not on where the crop
            lies, on the scene's size, on what lies further away, nor on chance. By output; the rest means little where not.
        repeatable: whether a crop alone gives the same features twice.
        steady: kinds of content on which a change of the input by rounding error changes the output by no more than that.
            The rest is judged by these alone.
        changed: by output `(h, w)`, cells that differ between the crop alone and the same crop in its scene.
    """

    covariant: tuple[bool, ...]
    repeatable: bool
    steady: tuple[int, ...]
    changed: tuple[Tensor, ...]

    def rim(self, output: int) -> tuple[int, int, int, int]:
        """The narrowest (top, bottom, left, right) cells that hold all that changed; the smaller sides where they meet."""
        return rim_of(self.changed[output])


def judge(net: Network, crop: tuple[int, int], seed: int = 0, scenes: int = KINDS) -> Verdict:
    """Run a network on crops alone and within scenes of several kinds, each at two places."""
    (py, px), around = net.period, context(net)
    size = tuple(c + 2 * a + 2 * lcm(py, px) for c, a in zip(crop, around, strict=True))
    covariant, repeatable, steady = [True] * len(net.strides), True, []
    changed: list[Tensor] = []
    for i in range(scenes):
        generator = torch.Generator().manual_seed(1000 * seed + i)
        world = content(i, size, generator)
        corner = (around[0] + py * (i % 3), around[1] + px * ((i + 1) % 3))
        x = world[..., corner[0] :, corner[1] :][..., : crop[0], : crop[1]]
        alone, maps = run(net, x), run(net, world)
        changed = changed or [torch.zeros(one.shape[-2:], dtype=torch.bool) for one in alone]
        repeatable = repeatable and all(map(alike, alone, run(net, x)))
        repeated = all(map(alike, maps, run(net, world)))
        if repeated and not all(map(alike, maps, run(net, world + 1e-13 * noise_like(world, generator)))):
            continue
        steady.append(i)
        within, again = cut(maps, net, corner, alone), cut(*_elsewhere(net, world, corner, generator), alone)
        for k, (a, b, c) in enumerate(zip(alone, within, again, strict=True)):
            covariant[k] &= b is not None and c is not None and alike(b, c)
            changed[k] |= torch.ones_like(changed[k]) if b is None else differ(a, b).any(0).any(0)
    return Verdict(tuple(covariant), repeatable, tuple(steady), tuple(changed))


def _elsewhere(
    net: Network, world: Tensor, corner: tuple[int, int], generator: torch.Generator
) -> tuple[tuple[Tensor, ...], Network, tuple[int, int]]:
    """The same world within a larger one, at another place, the mean of which has the other sign."""
    step = whole_periods(9, lcm(*net.period))
    for more in (3, 4):  # another shape; the same for a network that takes squares alone
        size = (world.shape[-2] + more * step, world.shape[-1] + 4 * step)
        larger = content(0, size, generator) * 2 - 3 * world.mean().sign()
        larger[..., step : step + world.shape[-2], 3 * step : 3 * step + world.shape[-1]] = world
        try:
            return run(net, larger), net, (corner[0] + step, corner[1] + 3 * step)
        except ValueError:
            if more == 4:
                raise
    raise AssertionError


def context(net: Network) -> tuple[int, int]:
    """Ample scene around a crop, px, in whole periods; the same along both axes, so that squares stay squares."""
    return (whole_periods(ceil(net.reach) + 12, lcm(*net.period)),) * 2


def run(net: Network, x: Tensor) -> tuple[Tensor, ...]:
    """The maps that a network returns, by a fresh copy of it, in double precision; `x` is left alone."""
    with torch.no_grad():
        return tuple(one.double() for one in net.as_maps(fresh(net)(x.double().clone())))


def cut(
    maps: Sequence[Tensor], net: Network, corner: tuple[int, int], like: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """The windows of maps that belong to a crop at `corner`; None where the map has no such cells."""
    found: list[Tensor | None] = []
    for one, stride, alone in zip(maps, net.strides, like, strict=True):
        row, column = (Fraction(n) / s for n, s in zip(corner, stride, strict=True))
        assert row.denominator == column.denominator == 1
        window = one[..., int(row) :, int(column) :][..., : alone.shape[-2], : alone.shape[-1]]
        found.append(window if window.shape == alone.shape else None)
    return tuple(found)


def content(kind: int, size: Sequence[int], generator: torch.Generator) -> Tensor:
    """A `(1, 3, H, W)` float64 scene: noise, dead leaves, a smooth one, rare spikes, positive values, steps."""
    shape = (1, 3, *size)
    plain = torch.randn(shape, generator=generator, dtype=torch.float64)
    mean = torch.randn(1, 3, 1, 1, generator=generator, dtype=torch.float64)
    if kind % KINDS == 1:
        seed = int(torch.randint(1 << 30, (1,), generator=generator))
        return (dead_leaves((size[0], size[1]), seed, radii=(2, 24))[None].double() - 0.5) * 12**0.5
    if kind % KINDS == 2:
        small = torch.randn(1, 3, size[0] // 8 + 2, size[1] // 8 + 2, generator=generator, dtype=torch.float64)
        return F.interpolate(small, size=tuple(size), mode="bicubic") + 0.01 * plain
    if kind % KINDS == 3:
        return 0.1 * plain + 4 * plain * (torch.rand(shape, generator=generator) < 0.02)
    if kind % KINDS == 4:
        return plain.abs() * 3
    return plain + 0.5 * mean if kind % KINDS == 0 else plain.round() + 0.1 * plain


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


def differ(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> Tensor:
    """Which values of two maps `(B, C, h, w)` differ by more than rounding, by the size of each channel."""
    both = a.isnan() & b.isnan() | (a == b)
    size = b.nan_to_num(0, 0, 0).abs().amax((0, 2, 3), keepdim=True)
    return ~both & ~((a - b).abs() <= tolerance * size + 1e-300)


def alike(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> bool:
    return not bool(differ(a, b, tolerance).any())


def rim_of(changed: Tensor) -> tuple[int, int, int, int]:
    """The narrowest (top, bottom, left, right) cells that hold all of `(h, w)` changed cells.

    They hold them when every changed cell lies in one of the four bands, so that what is left is a rectangle without
    any: the largest one.
    """
    h, w = changed.shape
    sums = F.pad(changed.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    best, found = 0, (h, 0, w, 0)
    for top in range(h):
        for bottom in range(top + 1, h + 1):
            inner = (sums[bottom] - sums[top]).tolist()
            left = 0
            for right in range(1, w + 1):
                while inner[right] - inner[left] > 0:
                    left += 1
                if (bottom - top) * (right - left) > best:
                    best, found = (bottom - top) * (right - left), (top, h - bottom, left, w - right)
    return found


def outside(changed: Tensor, rim: Sequence[int]) -> Tensor:
    """`(h, w)`: changed cells that no band of a rim (top, bottom, left, right) holds."""
    h, w = changed.shape
    rest = torch.zeros_like(changed)
    rest[rim[0] : h - rim[1], rim[2] : w - rim[3]] = True
    return changed & rest
