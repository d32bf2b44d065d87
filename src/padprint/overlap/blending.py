"""Tiles that are averaged where they overlap, instead of dropping their rims: how far they must overlap, if that helps at all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import inf
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from padprint.results.statistics import prediction_limit
from padprint.support.wording import number

if TYPE_CHECKING:
    from padprint.overlap.widths import PaddingHalo

Weights = Callable[[int], tuple[Tensor, Tensor]]
"""For an overlap of L cells: weights (L,) of the tile that begins there and of the one that ends there, adding up to 1."""


def linear(cells: int) -> tuple[Tensor, Tensor]:
    """The weights of tiles that are blended linearly."""
    near = torch.arange(cells, dtype=torch.float64) / cells
    return near, 1 - near


def blended_error(errors: Tensor, overlap: int, weights: Weights, axes: int = 2) -> float:
    """An upper bound of the error where overlapping tiles are averaged, by the triangle inequality.

    Args:
        errors: `(L,)` error of a tile's cell by distance to the nearest border.
        overlap: cells that two tiles share.
        weights: see `Weights`; axes are averaged one after the other.
        axes: of space; of several, as many tiles meet as there are corners.
    """
    beyond = errors.nan_to_num(0).flip(0).cummax(0).values.flip(0)  # the largest at this distance or beyond
    if overlap == 0:
        return float(beyond[0])
    near, other = weights(overlap)
    far_cells = torch.arange(overlap - 1, -1, -1).clamp(max=len(beyond) - 1)
    distance = torch.stack([torch.arange(overlap), far_cells])
    share = torch.stack([near, other])  # (tile, cell)
    far = len(beyond) - 1
    inside = beyond[min(overlap, far)]
    worst = [inside]
    for count in range(1, axes + 1):  # where tiles overlap along so many axes: edges, corners
        mixed = torch.zeros((overlap,) * count, dtype=beyond.dtype)
        for tile in product((0, 1), repeat=count):
            weight, nearest = share[tile[0]], distance[tile[0]]
            for one in tile[1:]:
                weight, nearest = weight[..., None] * share[one], torch.minimum(nearest[..., None], distance[one])
            mixed += weight * beyond[nearest.clamp(max=far)]
        worst.append(mixed.max())
    return float(torch.stack(worst).max())


def longest_step(one: PaddingHalo, weights: Weights) -> tuple[int, float] | str:
    """The longest step, px, at which blended tiles keep the tolerance for a further image, and the bound; or why there is none."""
    reason = _no_blending(one)
    if reason is not None:
        return reason
    (out,) = one.outputs.values()
    n, stride = out.map.size[0], out.map.stride[0]
    errors = prediction_limit(out.tails.amax(1), one.confidence)[:-1]
    if errors.isinf().any():
        return "one image does not tell what others need: measure a dozen"
    best = inf
    for step in range(one.tile[0] // one.period[0] * one.period[0], 0, -one.period[0]):
        overlap = n - int(step / stride)
        if overlap > n // 2:
            break
        bound = blended_error(errors, overlap, weights, len(one.tile))
        best = min(best, bound)
        if bound <= out.room:
            return step, bound
    return f"blending mixes the tiles' rims in: up to half a tile of overlap the error may be {number(best)}"


def _no_blending(one: PaddingHalo) -> str | None:
    if len(one.outputs) != 1 or len(set(one.tile)) > 1 or len(set(one.period)) > 1 or not one.advised.covers:
        return "blending is worked out for one output that covers a square tile"
    if next(iter(one.outputs.values())).floor is not None:
        return "tiles differ throughout by their statistics, which blending does not mend"
    if next(iter(one.outputs.values())).error == "labels":
        return "an average of labels has no error that could be bounded"
    return None
