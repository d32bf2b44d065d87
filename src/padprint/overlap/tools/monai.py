"""MONAI's sliding windows, which weight what overlaps by one map of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from math import ceil
from typing import Any

import torch
from torch import Tensor

from padprint.errors import HaloError
from padprint.overlap.text import halo_pixels, pair
from padprint.overlap.tiling import Tiling
from padprint.overlap.tools.tool import Dropping, Tool, overlap_fraction
from padprint.support.axes import pairs

DROP = 6.0
"""Decades by which a tile's weights along one axis are less at the inner end of its halo than inside."""

_DECADES = 30.0
"""Weights are products along the axes, from ten to the power of minus so many to ten to that power: what single precision holds, and a margin."""


def monai_arguments(tiles: Tiling, image_size: Sequence[int]) -> dict[str, Any]:
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
        fractions.append(overlap_fraction(tile, units * period // count or step))
    return {
        "roi_size": tiles.tile,
        "overlap": tuple(fractions),
        "mode": "constant",
        "roi_weight_map": weight_map(tiles),
    }


def weight_map(tiles: Tiling) -> Tensor:
    """Float32 weights of a tile's px, of the tile's size, a product of one profile along each axis.

    Constant inside; a million times less at the inner end of the halo, and falling from there to the tile's border, so that
    at the image's own border, where only halos are, a window that ends there outweighs one that ends a step later.
    """
    most = min(15.0, _DECADES / len(tiles.tile))
    profiles = [_profile(n, *halo, most) for n, halo in zip(tiles.tile, pairs(tiles.pixels), strict=True)]
    return reduce(lambda whole, one: whole[..., None] * one, profiles).float()


def _profile(n: int, before: int, after: int, most: float) -> Tensor:
    """Weights along one axis, from ten to the power of `most` inside to that of minus as much at the tile's border."""
    power = torch.full((n,), most, dtype=torch.float64)
    inner, border = most - DROP, -most
    power[:before] = torch.linspace(border, inner, before, dtype=torch.float64)
    power[n - after :] = torch.linspace(inner, border, after, dtype=torch.float64)
    return 10**power


def _entry(tiles: Tiling, one: Dropping) -> dict[str, Any]:
    if len({each.size for each in one.maps.values()}) > 1 or not tiles.covers:
        return {"reason": "it weights windows right only where all outputs have one size and cover the whole tile"}
    return {
        "roi_size": list(tiles.tile),
        "overlap": [overlap_fraction(n, step) for n, step in zip(tiles.tile, tiles.step, strict=True)],
        "mode": "constant",
        "roi_weight_map": f"padprint.overlap.weight_map of a halo of {halo_pixels(tiles)} px",
    }


def _words(told: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"sliding_window_inference(roi_size={tuple(told['roi_size'])}, overlap={tuple(told['overlap'])}, mode='constant', "
        "roi_weight_map=padprint.overlap.weight_map(tiling)); for an image's size: padprint.overlap.monai_arguments"
    )


TOOL = Tool("monai", "MONAI", (1, 2, 3), _entry, _words)
