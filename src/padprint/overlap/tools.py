"""The advice in the units of the tools that tile images.

Tools differ in what they do where tiles overlap. Dropping the rim of every tile keeps the tolerance by construction;
averaging overlapping tiles mixes their rims in, and keeps it only where the weights are small enough there
(`blending`). Each entry says what its tool must be told so that the tolerance holds, or why it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from padprint.errors import HaloError
from padprint.overlap.blending import linear, longest_step
from padprint.overlap.text import halo_pixels, pair
from padprint.overlap.tiling import Map, Tiling, sides
from padprint.support.axes import along, letters, pairs
from padprint.support.wording import label, number

if TYPE_CHECKING:
    from padprint.overlap.widths import PaddingHalo

INSIDE, DROP = {1: 15.0, 2: 15.0, 3: 10.0}, 6.0
"""Decimal logarithm of a tile's weights along one axis, by axes of space, and how much less it is at the halo's inner end; it falls to
minus that of the inside at the tile's border. The product along all axes stays within single precision."""

TENSOR = "input"
"""What outputs of the bioimage.io entry call the tensor they are as large as."""


def units(one: PaddingHalo) -> dict[str, Any]:
    """The advice as the arguments of other tools, in plain values; an entry that does not apply holds a "reason".

    Args:
        one: what a padding needs.

    Raises:
        HaloError: the tile has no room for the advice.
    """
    return units_of(one.advised, one) | {"diffusers": _diffusers(one)}


class Dropping(Protocol):
    """What must be dropped of tiles: measured (`PaddingHalo`) or told by structure alone (`Structural`)."""

    @property
    def tile(self) -> tuple[int, ...]:
        """Size, px."""

    @property
    def period(self) -> tuple[int, ...]:
        """Total stride along each axis, px."""

    @property
    def maps(self) -> Mapping[str, Map]:
        """By output, how its map lies on the tile."""

    @property
    def need(self) -> Mapping[str, Sequence[int]]:
        """By output, cells to drop on (top, bottom, left, right)."""


def units_of(tiles: Tiling, one: Dropping) -> dict[str, Any]:
    """The entries of `units` for tools that drop what overlaps."""
    return {
        "pixels": _pixels(tiles),
        "monai": _monai(tiles),
        "sahi": _sahi(tiles),
        "bioimageio": _bioimageio(one),
        "real_esrgan": _real_esrgan(one),
    }


def monai_arguments(tiles: Tiling, image_size: tuple[int, ...]) -> dict[str, Any]:
    """Arguments of MONAI's ``sliding_window_inference`` with which it keeps the tolerance on an image of this size.

    MONAI averages windows with one map of weights for all of them, and moves the last window back to the image's end. So
    the overlap is raised until windows divide the image evenly, and the weights (`weight_map`) fall off so steeply in the
    halo that of all windows over a cell the one that knows best decides.

    Args:
        tiles: the advice.
        image_size: along each axis, (height, width), px.

    Returns:
        ``roi_size``, ``overlap``, ``mode`` and ``roi_weight_map``, for images in single precision.

    Raises:
        HaloError: the image is no tile plus a multiple of the total stride, or outputs differ in size.
    """
    sizes = {one.size for one in tiles.maps.values()}
    if len(sizes) > 1 or not tiles.covers:
        raise HaloError("MONAI weights windows right only where all outputs have one size and cover the whole tile")
    fractions = []
    for n, tile, step, period in zip(image_size, tiles.tile, tiles.step, tiles.period, strict=True):
        if n < tile or (n - tile) % period:
            raise HaloError(
                f"an image of {pair(image_size)} px is no tile of {pair(tiles.tile)} px plus a multiple of the total stride, "
                f"{pair(tiles.period)} px: pad it or cut it to such a size first"
            )
        units = (n - tile) // period
        count = next((k for k in range(ceil(units * period / step), units + 1) if k and units % k == 0), 1)
        fractions.append(_overlap_fraction(tile, units * period // count or step))
    return {
        "roi_size": tiles.tile,
        "overlap": tuple(fractions),
        "mode": "constant",
        "roi_weight_map": weight_map(tiles),
    }


def weight_map(tiles: Tiling) -> Tensor:
    """float32 weights of a tile's px, of its size: a product of one profile along each axis.

    Constant inside; a million times less at the inner end of the halo, and falling from there to the tile's border, so that
    at the image's own border, where only halos are, a window that ends there outweighs one that ends a step later.
    """
    axes = len(tiles.tile)
    profiles = [_profile(n, *drop, INSIDE[axes]) for n, drop in zip(tiles.tile, pairs(tiles.pixels), strict=True)]
    weights = along(profiles[0], 0, axes)
    for axis, one in enumerate(profiles[1:], start=1):
        weights = weights * along(one, axis, axes)
    return weights.float()


def _profile(n: int, before: int, after: int, inside: float) -> Tensor:
    power = torch.full((n,), inside, dtype=torch.float64)
    inner, border = inside - DROP, -inside
    power[:before] = torch.linspace(border, inner, before, dtype=torch.float64)
    power[n - after :] = torch.linspace(inner, border, after, dtype=torch.float64)
    return 10**power


def lines(one: PaddingHalo) -> Iterator[str]:
    """The advice in words, one line for each tool."""
    yield from lines_of(units(one), one.advised)


def lines_of(found: Mapping[str, Any], tiles: Tiling) -> Iterator[str]:
    """Entries of `units` in words."""
    p = found["pixels"]
    yield f"pixels: tiles of {pair(p['tile'])} px every {pair(p['step'])} px; drop {halo_pixels(tiles)} px where a tile has a neighbour"
    m = found["monai"]
    yield "MONAI: " + (
        m.get("reason")
        or f"sliding_window_inference(roi_size={tuple(m['roi_size'])}, overlap={tuple(m['overlap'])}, mode='constant', "
        "roi_weight_map=padprint.overlap.weight_map(tiling)); for an image's size: padprint.overlap.monai_arguments"
    )
    s = found["sahi"]
    yield "SAHI: " + (
        s.get("reason")
        or f"slice_height={s['slice_height']}, slice_width={s['slice_width']}, "
        f"overlap_height_ratio={s['overlap_height_ratio']:.6g}, overlap_width_ratio={s['overlap_width_ratio']:.6g}"
    )
    for name, axes in found["bioimageio"]["outputs"].items():
        halos = ", ".join(f"{key} {one.get('halo', 0)}" for key, one in axes.items() if "reason" not in axes)
        yield f"bioimage.io: {label(name)}: " + (axes.get("reason") or f"halo {halos} cells")
    r = found["real_esrgan"]
    yield "Real-ESRGAN: " + (r.get("reason") or f"tile={r['tile']}, tile_pad={r['tile_pad']}")
    d = found.get("diffusers") or {"reason": "it blends tiles, and what that leaves must be measured on images"}
    yield "diffusers: " + (
        d.get("reason")
        or f"tile_sample_min_size={d['tile_sample_min_size']}, tile_overlap_factor={d['tile_overlap_factor']:.6g} "
        f"(blended error at most {number(d['error'])})"
    )


# ------------------------------------------------------------------------------------------------------- tool by tool


def _pixels(tiles: Tiling) -> dict[str, Any]:
    return {
        "tile": list(tiles.tile),
        "step": list(tiles.step),
        "overlap": list(tiles.overlap),
        "halo": list(tiles.pixels),
        "image_size": f"{pair(tiles.tile)} px plus a multiple of {pair(tiles.period)} px",
    }


def _monai(tiles: Tiling) -> dict[str, Any]:
    if len({one.size for one in tiles.maps.values()}) > 1 or not tiles.covers:
        return {"reason": "it weights windows right only where all outputs have one size and cover the whole tile"}
    return {
        "roi_size": list(tiles.tile),
        "overlap": [_overlap_fraction(n, step) for n, step in zip(tiles.tile, tiles.step, strict=True)],
        "mode": "constant",
        "roi_weight_map": f"padprint.overlap.weight_map of a halo of {halo_pixels(tiles)} px",
    }


def _sahi(tiles: Tiling) -> dict[str, Any]:
    if len(tiles.tile) != 2:
        return {"reason": "it slices images of two axes"}
    height, width = (_ratio(n, overlap) for n, overlap in zip(tiles.tile, tiles.overlap, strict=True))
    return {
        "slice_height": tiles.tile[0],
        "slice_width": tiles.tile[1],
        "overlap_height_ratio": height,
        "overlap_width_ratio": width,
    }


def _bioimageio(one: Dropping) -> dict[str, Any]:
    """Sizes of input axes and, by output, its axes, shaped as in bioimageio.spec 0.5; `TENSOR` stands for the input's name.

    Halos are dropped on both sides alike, and given in cells of the output. An axis without a halo has none in the
    specification.
    """
    outputs = {name: _output_axes(one, name, need) for name, need in one.need.items()}
    sizes = {key: {"min": one.tile[axis], "step": one.period[axis]} for axis, key in enumerate(letters(len(one.tile)))}
    return {"inputs": sizes, "outputs": outputs}


def _output_axes(one: Dropping, name: str, need: Sequence[int]) -> dict[str, Any]:
    axes: dict[str, Any] = {}
    for axis, key in enumerate(letters(len(one.tile))):
        n, stride, period = one.maps[name].size[axis], one.maps[name].stride[axis], one.period[axis]
        least = max(need[2 * axis : 2 * axis + 2])
        halo = next((h for h in range(least, (n + 1) // 2) if (n - 2 * h) * stride % period == 0), None)
        if halo is None:
            return {"reason": f"no halo of {least} cells or more, the same on both sides, keeps to the total stride"}
        size = {"tensor_id": TENSOR, "axis_id": key, "offset": n - int(one.tile[axis] / stride)}
        axes[key] = {"type": "space", "id": key, "size": size, "scale": float(stride)} | (
            {"halo": halo} if halo else {}
        )
    return axes


def _real_esrgan(one: Dropping) -> dict[str, Any]:
    """Tiles are cut without their pad, which is added on all sides; starts and pads on the total stride."""
    if len(one.tile) != 2:
        return {"reason": "it tiles images of two axes"}
    period = max(one.period)
    need = max(
        ceil(n * s) for name, cells in one.need.items() for n, s in zip(cells, sides(one.maps[name]), strict=True)
    )
    pad = ceil(need / period) * period
    core = (min(one.tile) - 2 * pad) // period * period
    if core <= 0 or one.period[0] != one.period[1]:
        return {"reason": f"nothing is left of the tile between pads of {pad} px"}
    return {"tile": core, "tile_pad": pad}


def _diffusers(one: PaddingHalo) -> dict[str, Any]:
    found = longest_step(one, linear)
    if isinstance(found, str):
        return {"reason": found}
    step, error = found
    factor = _overlap_fraction(one.tile[0], step)
    return {"tile_sample_min_size": one.tile[0], "tile_overlap_factor": factor, "error": error}


# ---------------------------------------------------------------------------------------------------------- arithmetic


def _overlap_fraction(tile: int, step: int) -> float:
    """A fraction f for which int(tile * (1 - f)) is the step."""
    fraction = 1 - step / tile
    while int(tile * (1 - fraction)) < step:
        fraction -= 1e-9
    return fraction


def _ratio(tile: int, overlap: int) -> float:
    """A fraction f for which int(f * tile) is the overlap."""
    fraction = overlap / tile
    while int(fraction * tile) < overlap:
        fraction += 1e-9
    return fraction
