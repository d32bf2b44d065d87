"""Resizing that is anchored to the map's corners, and grids of fixed size: on a canvas both work as if the crop's window were the whole map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.wholemap.operators import Cells, Split, UnreadError, constants, named, register

_LINEAR = ("linear", "bilinear", "trilinear")


@register("interpolate")
def _interpolate(
    cells: Cells, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Split | None:
    o = named("input size scale_factor mode align_corners recompute_scale_factor antialias", args, kwargs)
    x = o["input"]
    axes = x.dim() - 2
    if axes < 1 or not cells.outputs or not all(cells.outputs[0][2:]):
        return None
    if cells.over(x):
        corners = o.get("align_corners") and len(cells.over(x)) == axes
        return _by_corners(cells, func, args, kwargs, x, o.get("mode", "nearest")) if corners else None
    if not cells.of_image(
        x
    ):  # no data of the image, such as a position embedding: left alone, so that the layer stays refused as absolute
        return None
    mode, corners = o.get("mode", "nearest"), o.get("align_corners")

    def apply(_: object) -> Tensor:
        found = cells.output_places()
        if found is None:
            plain: Tensor = func(*args, **kwargs)
            return plain
        own = F.interpolate(x, tuple(count for _, count, _ in found), mode=mode, align_corners=corners)
        sides = [n for first, count, total in reversed(found) for n in (first, total - first - count)]
        return F.pad(own, sides, mode="replicate")

    return Split(lambda: (), apply, lambda: constants(lambda: func(*args, **kwargs)), placed=True)


def _by_corners(
    cells: Cells, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], x: Tensor, mode: str
) -> Split:
    """Resizing whose scale is (cells - 1) / (cells - 1) of the map: of the window's cells."""
    if mode not in _LINEAR:
        raise UnreadError(f"resizing in mode {mode!r} with align_corners is not read")
    axes = x.dim() - 2

    def apply(_: object) -> Tensor:
        inside, outside = cells.places(x), cells.output_places()
        if inside is None or outside is None:
            plain: Tensor = func(*args, **kwargs)
            return plain
        resized = x
        for dim, (one, two) in enumerate(zip(inside, outside, strict=True), start=-axes):
            weights = _weights(one, two).to(x)
            resized = resized @ weights.T if dim == -1 else (weights @ resized.movedim(dim, -2)).movedim(-2, dim)
        return resized

    def neutral() -> Tensor:
        # a cell may read up to one input cell beside its place, so the neighbours are taken along
        wide = x * 1.0
        with torch._C.DisableTorchFunction():  # in place, and unseen: it is no operator of the network
            for dim in range(-1, -axes - 1, -1):
                n = x.shape[dim] - 1
                wide.narrow(dim, 1, n).add_(x.narrow(dim, 0, n))
                wide.narrow(dim, 0, n).add_(x.narrow(dim, 1, n))
        found: Tensor = func(
            wide, *args[1:], **{key: one for key, one in kwargs.items() if key != "input"} | {"align_corners": False}
        )
        return found

    return Split(lambda: (), apply, neutral, placed=True)


def _weights(inside: tuple[int, int, int], outside: tuple[int, int, int]) -> Tensor:
    """`(m, n)` weights of a linear resizing that maps the window's first and last cells onto each other.

    Args:
        inside: (first cell, cells of the window, cells of the canvas) of the input.
        outside: likewise, of the output.
    """
    first, count, n = inside
    start, many, m = outside
    scale = (count - 1) / (many - 1) if many > 1 else 0.0
    place = (first + (torch.arange(m, dtype=torch.float64) - start) * scale).clamp(0, n - 1)
    low = place.floor().long().clamp_max(max(n - 2, 0))
    weights = torch.zeros(m, n, dtype=torch.float64)
    rows = torch.arange(m)
    weights[rows, low] = 1 - (place - low)
    if n > 1:
        weights[rows, low + 1] += place - low
    return weights
