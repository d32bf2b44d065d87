"""The advice in the units of the tools that tile images.

Tools differ in what they do where tiles overlap. Dropping the rim of every tile keeps the tolerance by construction;
averaging overlapping tiles mixes their rims in, and keeps it only where the weights are small enough there
(`blended_error`). Each entry says what its tool must be told so that the tolerance holds, or why it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil, inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from padprint._tables import label, number
from padprint.errors import HaloError
from padprint.overlap.distance import tails
from padprint.overlap.text import halo_pixels, pair
from padprint.overlap.tiling import Tiling, sides
from padprint.statistics import lognormal_limit

if TYPE_CHECKING:
    from padprint.overlap.widths import PaddingHalo

INSIDE, HALO = 15.0, (9.0, -15.0)
"""Decimal logarithms of a tile's weights along one axis: inside, and in the halo from its inner end to the tile's border."""

TENSOR = "input"
"""What outputs of the bioimage.io entry call the tensor they are as large as."""

Weights = Callable[[int], tuple[Tensor, Tensor]]
"""For an overlap of L cells: weights (L,) of the tile that begins there and of the one that ends there, adding up to 1."""


def units(one: PaddingHalo) -> dict[str, Any]:
    """The advice as the arguments of other tools, in plain values; an entry that does not apply holds a "reason".

    Args:
        one: what a padding needs.

    Raises:
        HaloError: the tile has no room for the advice.
    """
    tiles = one.advised
    return {
        "pixels": _pixels(tiles),
        "monai": _monai(tiles),
        "sahi": _sahi(tiles),
        "bioimageio": _bioimageio(one),
        "real_esrgan": _real_esrgan(one),
        "diffusers": _diffusers(one),
    }


def monai_arguments(tiles: Tiling, image_size: tuple[int, int]) -> dict[str, Any]:
    """Arguments of MONAI's ``sliding_window_inference`` with which it keeps the tolerance on an image of this size.

    MONAI averages windows with one map of weights for all of them, and moves the last window back to the image's end. So
    the overlap is raised until windows divide the image evenly, and the weights (`weight_map`) fall off so steeply in the
    halo that of all windows over a cell the one that knows best decides.

    Args:
        tiles: the advice.
        image_size: (height, width), px.

    Returns:
        ``roi_size``, ``overlap``, ``mode`` and ``roi_weight_map``, for images in single precision.

    Raises:
        HaloError: the image is no tile plus a multiple of the total stride, or outputs differ in size.
    """
    sizes = {one.size for one in tiles.maps.values()}
    if len(sizes) > 1 or not _covers(tiles):
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
    """`(height, width)` float32 weights of a tile's px, a product of one profile along rows and one along columns.

    Constant inside; a million times less at the inner end of the halo, and falling from there to the tile's border, so that
    at the image's own border, where only halos are, a window that ends there outweighs one that ends a step later.
    """
    top, bottom, left, right = tiles.pixels
    rows, columns = _profile(tiles.tile[0], top, bottom), _profile(tiles.tile[1], left, right)
    return (rows[:, None] * columns).float()


def _profile(n: int, before: int, after: int) -> Tensor:
    power = torch.full((n,), INSIDE, dtype=torch.float64)
    inner, border = HALO
    power[:before] = torch.linspace(border, inner, before, dtype=torch.float64)
    power[n - after :] = torch.linspace(inner, border, after, dtype=torch.float64)
    return 10**power


def blended_error(errors: Tensor, overlap: int, weights: Weights) -> float:
    """An upper bound of the error where overlapping tiles are averaged, by the triangle inequality.

    Args:
        errors: `(L,)` error of a tile's cell by distance to the nearest border.
        overlap: cells that two tiles share.
        weights: see `Weights`; rows and columns are averaged one after the other.
    """
    beyond = errors.nan_to_num(0).flip(0).cummax(0).values.flip(0)  # the largest at this distance or beyond
    if overlap == 0:
        return float(beyond[0])
    near, far = weights(overlap)
    far_cells = torch.arange(overlap - 1, -1, -1).clamp(max=len(beyond) - 1)
    distance = torch.stack([torch.arange(overlap), far_cells])
    share = torch.stack([near, far])  # (tile, cell)
    row = (share * beyond[distance.clamp(max=len(beyond) - 1)]).sum(0)  # along an edge
    corner = torch.zeros(overlap, overlap, dtype=beyond.dtype)
    for i in (0, 1):
        for j in (0, 1):
            nearest = torch.minimum(distance[i][:, None], distance[j]).clamp(max=len(beyond) - 1)
            corner += share[i][:, None] * share[j] * beyond[nearest]
    inside = beyond[min(overlap, len(beyond) - 1)]
    return float(torch.stack([row.max(), corner.max(), inside]).max())


def lines(one: PaddingHalo) -> Iterator[str]:
    """The advice in words, one line for each tool."""
    found = units(one)
    p = found["pixels"]
    yield f"pixels: tiles of {pair(p['tile'])} px every {pair(p['step'])} px; drop {halo_pixels(one.advised)} px where a tile has a neighbour"
    m = found["monai"]
    yield "MONAI: " + (
        m.get("reason")
        or f"sliding_window_inference(roi_size={tuple(m['roi_size'])}, overlap={tuple(m['overlap'])}, mode='constant', "
        "roi_weight_map=padprint.overlap.weight_map(tiling)); for an image's size: padprint.overlap.monai_arguments"
    )
    s = found["sahi"]
    yield (
        f"SAHI: slice_height={s['slice_height']}, slice_width={s['slice_width']}, "
        f"overlap_height_ratio={s['overlap_height_ratio']:.6g}, overlap_width_ratio={s['overlap_width_ratio']:.6g}"
    )
    for name, axes in found["bioimageio"]["outputs"].items():
        yield f"bioimage.io: {label(name)}: " + (
            axes.get("reason") or f"halo y {axes['y'].get('halo', 0)}, x {axes['x'].get('halo', 0)} cells"
        )
    r = found["real_esrgan"]
    yield "Real-ESRGAN: " + (r.get("reason") or f"tile={r['tile']}, tile_pad={r['tile_pad']}")
    d = found["diffusers"]
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
    if len({one.size for one in tiles.maps.values()}) > 1 or not _covers(tiles):
        return {"reason": "it weights windows right only where all outputs have one size and cover the whole tile"}
    return {
        "roi_size": list(tiles.tile),
        "overlap": [_overlap_fraction(n, step) for n, step in zip(tiles.tile, tiles.step, strict=True)],
        "mode": "constant",
        "roi_weight_map": f"padprint.overlap.weight_map of a halo of {halo_pixels(tiles)} px",
    }


def _sahi(tiles: Tiling) -> dict[str, Any]:
    height, width = (_ratio(n, overlap) for n, overlap in zip(tiles.tile, tiles.overlap, strict=True))
    return {
        "slice_height": tiles.tile[0],
        "slice_width": tiles.tile[1],
        "overlap_height_ratio": height,
        "overlap_width_ratio": width,
    }


def _bioimageio(one: PaddingHalo) -> dict[str, Any]:
    """Sizes of input axes and, by output, its axes, shaped as in bioimageio.spec 0.5; `TENSOR` stands for the input's name.

    Halos are dropped on both sides alike, and given in cells of the output. An axis without a halo has none in the
    specification.
    """
    outputs: dict[str, Any] = {}
    for name, need in one.need.items():
        axes: dict[str, Any] = {}
        for axis, key in enumerate("yx"):
            n, stride, period = one.maps[name].size[axis], one.maps[name].stride[axis], one.period[axis]
            least = max(need[2 * axis : 2 * axis + 2])
            halo = next((h for h in range(least, (n + 1) // 2) if (n - 2 * h) * stride % period == 0), None)
            if halo is None:
                outputs[name] = {
                    "reason": f"no halo of {least} cells or more, the same on both sides, keeps to the total stride"
                }
                break
            size = {"tensor_id": TENSOR, "axis_id": key, "offset": n - int(one.tile[axis] / stride)}
            axes[key] = {"type": "space", "id": key, "size": size, "scale": float(stride)} | (
                {"halo": halo} if halo else {}
            )
        else:
            outputs[name] = axes
    sizes = {key: {"min": one.tile[axis], "step": one.period[axis]} for axis, key in enumerate("yx")}
    return {"inputs": sizes, "outputs": outputs}


def _real_esrgan(one: PaddingHalo) -> dict[str, Any]:
    """Tiles are cut without their pad, which is added on all sides; starts and pads on the total stride."""
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
    reason = _no_blending(one)
    if reason:
        return {"reason": reason}

    def linear(cells: int) -> tuple[Tensor, Tensor]:
        near = torch.arange(cells, dtype=torch.float64) / cells
        return near, 1 - near

    (out,) = one.outputs.values()
    found = _blend(one, linear, out.map.size[0] // 2)
    if isinstance(found, str):
        return {"reason": found}
    step, error = found
    factor = _overlap_fraction(one.tile[0], step)
    return {"tile_sample_min_size": one.tile[0], "tile_overlap_factor": factor, "error": error}


# ---------------------------------------------------------------------------------------------------------- arithmetic


def _covers(tiles: Tiling) -> bool:
    return all(n * s == t for m in tiles.maps.values() for n, s, t in zip(m.size, m.stride, tiles.tile, strict=True))


def _no_blending(one: PaddingHalo) -> str | None:
    if (
        len(one.outputs) != 1
        or one.tile[0] != one.tile[1]
        or one.period[0] != one.period[1]
        or not _covers(one.advised)
    ):
        return "blending is worked out for one output that covers a square tile"
    if next(iter(one.outputs.values())).error == "labels":
        return "an average of labels has no error that could be bounded"
    return None


def _blend(one: PaddingHalo, weights: Weights, most: int) -> tuple[int, float] | str:
    """The longest step, px, at which blended tiles keep the tolerance for a further image, and the bound; or why there is none."""
    (out,) = one.outputs.values()
    n, stride = out.map.size[0], out.map.stride[0]
    errors = lognormal_limit(tails(out.by_image, out.structural).amax(1), one.confidence)[:-1]
    best = inf
    for step in range(one.tile[0] // one.period[0] * one.period[0], 0, -one.period[0]):
        overlap = n - int(step / stride)
        if overlap > most:
            break
        bound = blended_error(errors, overlap, weights)
        best = min(best, bound)
        if bound <= out.tolerance:
            return step, bound
    if best == inf:
        return "one image does not tell what others need: measure a dozen"
    return f"blending mixes the tiles' rims in: up to half a tile of overlap the error may be {number(best)}"


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
