"""Tiles that are averaged where they overlap, instead of dropping their rims: how far they must overlap, if that helps at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from padprint.results.statistics import prediction_limit
from padprint.support.wording import number

if TYPE_CHECKING:
    from padprint.overlap.widths import PaddingHalo

Weights = Callable[[int, int], Tensor]
"""Weights `(n,)` of a tile's n cells along one axis where neighbours share L of them; they are divided by their sum at each place."""


def linear(n: int, overlap: int) -> Tensor:
    """The weights of tiles that are blended linearly."""
    weights = torch.ones(n, dtype=torch.float64)
    ramp = torch.arange(overlap, dtype=torch.float64) / overlap
    weights[:overlap] = ramp
    weights[n - overlap :] = 1 - ramp
    return weights


def blended_error(errors: Tensor, along: Sequence[tuple[Tensor, Iterable[int]]]) -> float:
    """An upper bound of the error where overlapping tiles are averaged, by the triangle inequality.

    Args:
        errors: `(L,)` error of a tile's cell by distance to the nearest border.
        along: for each axis the weights `(n,)` of a tile's cells, and how many cells may lie from one tile to the next, n at most.
    """
    beyond = errors.nan_to_num(0).flip(0).cummax(0).values.flip(0)  # the largest at this distance or beyond
    distances = (beyond[:-1] > beyond[1:]).nonzero()[:, 0]
    drops = beyond[distances] - beyond[distances + 1]
    # the mean of beyond[least distance] over tiles drawn by their weights: beyond[0] less the drops, each times the chance that the
    # border is farther than it along every axis
    chances = [torch.ones_like(drops)[None]] * 2 + [_farther(weights, steps, distances) for weights, steps in along]
    *_, first, second, third = sorted(chances, key=len)
    return float(beyond[0]) - min(float(((first[i] * drops * second) @ third.T).min()) for i in range(len(first)))


def _farther(weights: Tensor, steps: Iterable[int], distances: Tensor) -> Tensor:
    """For places along one axis, the chance that a tile drawn by its weight has its border farther than each distance, cells.

    Returns:
        `(places, distances)`, of the places that no other one is worse than.
    """
    n = len(weights)
    found = []
    for step in steps:
        cell = torch.arange(step)[:, None] + step * torch.arange(-(-n // step))
        share = weights[cell.clamp(max=n - 1)] * (cell < n)
        border = torch.minimum(cell, n - 1 - cell)
        farther = border[..., None] > distances
        found.append((share[..., None] * farther).sum(1) / share.sum(1, keepdim=True))
    places = torch.cat(found)
    places = places[places.sum(1).argsort()]
    worse = (places[:, None] <= places).all(-1).triu(1)  # (one, other): other comes later and is nowhere worse than one
    kept: Tensor = places[~worse.any(0)]
    return kept


def longest_step(one: PaddingHalo, weights: Weights) -> tuple[int, float] | str:
    """The longest step, px, at which blended square tiles keep the tolerance for a further image, and the bound; or why there is none."""
    errors = errors_by_distance(one)
    if isinstance(errors, str):
        return errors
    (out,) = one.outputs.values()
    n, stride = out.map.size[0], out.map.stride[0]
    best = inf
    for step in range(one.tile[0] // one.period[0] * one.period[0], 0, -one.period[0]):
        cells = int(step / stride)
        if n - cells > n // 2:
            break
        bound = blended_error(errors, [(weights(n, n - cells), [cells])] * len(one.tile))
        best = min(best, bound)
        if bound <= out.room:
            return step, bound
    return f"blending mixes the tiles' rims in: up to half a tile of overlap the error may be {number(best)}"


def errors_by_distance(one: PaddingHalo) -> Tensor | str:
    """`(L,)`, what the error of a further image's tile stays below by distance to the border, cells; or why blending cannot be worked out."""
    reason = _no_blending(one)
    if reason is not None:
        return reason
    (out,) = one.outputs.values()
    errors = prediction_limit(out.tails.amax(1), one.confidence)[:-1]
    return "one image does not tell what others need: measure a dozen" if errors.isinf().any() else errors


def _no_blending(one: PaddingHalo) -> str | None:
    if len(one.outputs) != 1 or len(set(one.period)) > 1 or not one.advised.covers:
        return "blending is worked out for one output that covers the tile, at the same stride along all axes"
    if next(iter(one.outputs.values())).floor is not None:
        return "tiles differ throughout by their statistics, which blending does not mend"
    if next(iter(one.outputs.values())).error == "labels":
        return "an average of labels has no error that could be bounded"
    return None
