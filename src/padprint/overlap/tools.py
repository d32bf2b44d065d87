"""The advice in the units of the tools that tile images.

Tools differ in what they do where tiles overlap. Dropping the rim of every tile keeps the tolerance by construction;
averaging overlapping tiles mixes their rims in, and keeps it only where the weights are small enough there
(`blended_error`). Each entry says what its tool must be told so that the tolerance holds, or why it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil, exp
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from padprint._tables import label, number
from padprint.overlap.tiling import Tiling, sides

if TYPE_CHECKING:
    from padprint.overlap.widths import PaddingHalo

FAINT = 1e-6
"""Weight of a cell in the halo, where it is not zero because the border of the image has no other tile."""

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
        "monai": _monai(one, tiles),
        "monai_gaussian": _monai_gaussian(one),
        "sahi": _sahi(tiles),
        "bioimageio": _bioimageio(one),
        "real_esrgan": _real_esrgan(one),
        "diffusers": _diffusers(one),
    }


def weight_map(tiles: Tiling) -> Tensor:
    """The `(height, width)` weights of a tile's px that let MONAI's sliding window keep the inside of each tile alone.

    1 inside; in the halo a trace that loses against any tile's inside, row by row and column by column, and that only
    matters at the border of the image, where no other tile is. Pass it as ``roi_weight_map``, in single precision.
    """
    rows, columns = (torch.full((n,), FAINT) for n in tiles.tile)
    top, bottom, left, right = tiles.pixels
    rows[top : tiles.tile[0] - bottom] = 1
    columns[left : tiles.tile[1] - right] = 1
    return rows[:, None] * columns


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
    yield f"pixels: tiles of {_pair(p['tile'])} px every {_pair(p['step'])} px; drop {_sides(p['halo'])} px where a tile has a neighbour"
    m = found["monai"]
    yield "MONAI: " + (
        m.get("reason")
        or f"sliding_window_inference(roi_size={tuple(m['roi_size'])}, overlap={tuple(m['overlap'])}, mode='constant', "
        "roi_weight_map=padprint.overlap.weight_map(tiling))"
    )
    g = found["monai_gaussian"]
    yield "MONAI without a weight map: " + (
        g.get("reason") or f"mode='gaussian', overlap={g['overlap']} (error at most {number(g['error'])})"
    )
    s = found["sahi"]
    yield (
        f"SAHI: slice_height={s['slice_height']}, slice_width={s['slice_width']}, "
        f"overlap_height_ratio={s['overlap_height_ratio']:.6g}, overlap_width_ratio={s['overlap_width_ratio']:.6g}"
    )
    for name, axes in found["bioimageio"]["outputs"].items():
        yield f"bioimage.io: {label(name)}: halo y {axes['y']['halo']}, x {axes['x']['halo']} cells"
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
        "image_size": f"{_pair(tiles.tile)} px plus a multiple of {_pair(tiles.period)} px",
    }


def _monai(one: PaddingHalo, tiles: Tiling) -> dict[str, Any]:
    if not _covers(one):
        return {"reason": "its output must cover the tile, and this one does not"}
    return {
        "roi_size": list(tiles.tile),
        "overlap": [_overlap_fraction(n, step) for n, step in zip(tiles.tile, tiles.step, strict=True)],
        "mode": "constant",
        "roi_weight_map": {"halo_px": list(tiles.pixels), "inside": 1.0, "halo": FAINT},
    }


def _monai_gaussian(one: PaddingHalo) -> dict[str, Any]:
    reason = _no_blending(one)
    if reason:
        return {"reason": reason}
    (out,) = one.outputs.values()
    n = out.map.size[0]
    found = _blend(one, lambda cells: _gaussian(n, cells), n // 2)
    if isinstance(found, str):
        return {"reason": found}
    step, error = found
    return {"overlap": _overlap_fraction(one.tile[0], step), "mode": "gaussian", "sigma_scale": 0.125, "error": error}


def _sahi(tiles: Tiling) -> dict[str, Any]:
    height, width = (_ratio(n, overlap) for n, overlap in zip(tiles.tile, tiles.overlap, strict=True))
    return {
        "slice_height": tiles.tile[0],
        "slice_width": tiles.tile[1],
        "overlap_height_ratio": height,
        "overlap_width_ratio": width,
    }


def _bioimageio(one: PaddingHalo) -> dict[str, Any]:
    """Halos are dropped on both sides alike, and given in cells of the output."""
    outputs = {}
    for name, need in one.need.items():
        axes = {}
        for axis, key in enumerate("yx"):
            n, stride, period = one.maps[name].size[axis], one.maps[name].stride[axis], one.period[axis]
            least = max(need[2 * axis : 2 * axis + 2])
            fits = [h for h in range(least, (n + 1) // 2) if (n - 2 * h) * stride % period == 0]
            axes[key] = {"halo": fits[0] if fits else least, "scale": float(stride)}
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


def _covers(one: PaddingHalo) -> bool:
    return all(n * s == t for m in one.maps.values() for n, s, t in zip(m.size, m.stride, one.tile, strict=True))


def _no_blending(one: PaddingHalo) -> str | None:
    if len(one.outputs) != 1 or one.tile[0] != one.tile[1] or one.period[0] != one.period[1] or not _covers(one):
        return "blending is worked out for one output that covers a square tile"
    if next(iter(one.outputs.values())).error == "labels":
        return "an average of labels has no error that could be bounded"
    return None


def _blend(one: PaddingHalo, weights: Weights, most: int) -> tuple[int, float] | str:
    """The longest step, px, at which blended tiles keep the tolerance for every image, and the bound; or why there is none."""
    (out,) = one.outputs.values()
    n, stride = out.map.size[0], out.map.stride[0]
    errors = out.by_image.nan_to_num(0).amax((0, 1))
    best = float("inf")
    for step in range(one.tile[0] // one.period[0] * one.period[0], 0, -one.period[0]):
        overlap = n - int(step / stride)
        if overlap > most:
            break
        bound = blended_error(errors, overlap, weights)
        best = min(best, bound)
        if bound <= out.tolerance:
            return step, bound
    return f"blending mixes the tiles' rims in: up to half a tile of overlap the error may be {number(best)}"


def _gaussian(n: int, overlap: int) -> tuple[Tensor, Tensor]:
    """MONAI's weights for n cells, its default width; weights below a thousandth are raised to it."""
    centre, sigma = (n - 1) / 2, 0.125 * n
    weight = [max(exp(-0.5 * ((i - centre) / sigma) ** 2), 1e-3) for i in range(overlap)]
    near = torch.tensor(weight, dtype=torch.float64)
    return near / (near + near.flip(0)), near.flip(0) / (near + near.flip(0))


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


def _pair(values: list[int] | tuple[int, ...]) -> str:
    return str(values[0]) if len(set(values)) == 1 else " x ".join(map(str, values))


def _sides(values: list[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else f"{values} (top, bottom, left, right)"
