"""What the schemes share: tensor functions that treat the last dimensions of a tensor as the map.

A map is what the last ``len(pads)`` dimensions span; every index of the dimensions before them is a map of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.errors import PaddingError
from padprint.padding.windowed import Pads

Sides = tuple[int, int]
Extend = Callable[[Tensor, int, Sides], Tensor]
Predict = Callable[[list[Tensor], int], Tensor]


def flat(pads: Pads) -> list[int]:
    """`pads` in the order of `F.pad`: the last dimension first."""
    return [n for pair in reversed(pads) for n in pair]


def require(x: Tensor, pads: Pads, name: str, needs: Callable[[int, int], int]) -> None:
    """Refuse a map that is too small.

    Args:
        x: the map.
        pads: (before, after) cells for each of its dimensions.
        name: the scheme's.
        needs: the cells a padded dimension must have, from its (before, after).

    Raises:
        PaddingError: a padded dimension has fewer.
    """
    for axis, (before, after) in zip(range(-len(pads), 0), pads, strict=True):
        least = needs(before, after)
        if (before or after) and x.shape[axis] < least:
            raise PaddingError(
                f"{name} padding cannot add {before} cells before and {after} after a map of {x.shape[axis]} cells "
                f"(dimension {axis}): it needs at least {least}; use larger images or another scheme"
            )


def require_floats(x: Tensor, name: str) -> None:
    """Refuse a map that cannot hold what the scheme computes.

    Raises:
        PaddingError: its numbers are whole or complex.
    """
    if not x.is_floating_point():
        kind = str(x.dtype).removeprefix("torch.")
        instead = "another scheme" if x.is_complex() else "x.float()"
        raise PaddingError(f"{name} padding computes with floating point numbers, the map is {kind}; use {instead}")


def whole(value: Any, name: str, least: int) -> int:
    """`value`, when it is a whole number of at least `least`.

    Raises:
        PaddingError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PaddingError(f"{name} is a whole number, {least} or more; it is {value!r}")
    return value


def by_axis(x: Tensor, pads: Pads, extend: Extend) -> Tensor:
    """`x` extended along one dimension after another, the last first: ``extend(x, axis, (before, after))``."""
    for axis in range(-1, -len(pads) - 1, -1):
        if any(pads[axis]):
            x = extend(x, axis, pads[axis])
    return x


def framed(x: Tensor, pads: Pads, around: Tensor) -> Tensor:
    """`around`, which broadcasts to the padded size, with `x` in its middle."""
    first = x.dim() - len(pads)
    sizes = [n + before + after for n, (before, after) in zip(x.shape[first:], pads, strict=True)]
    out = around.to(x.dtype).expand(*x.shape[:first], *sizes).clone()
    middle = out
    for axis, (before, _) in zip(range(-len(pads), 0), pads, strict=True):
        middle = middle.narrow(axis, before, x.shape[axis])
    middle.copy_(x)
    return out


def pad_constant(x: Tensor, pads: Pads, value: float | Tensor) -> Tensor:
    """`x` with `value` in every added cell.

    Args:
        x: `(B, C, *spatial)` map, or `(C, *spatial)`.
        pads: (before, after) cells for each of the last dimensions.
        value: a number; or a tensor that broadcasts to the padded map, such as `(B, C, 1, 1)`.
    """
    return framed(x, pads, value) if isinstance(value, Tensor) else F.pad(x, flat(pads), value=value)


def outwards(x: Tensor, axis: int, sides: Sides, depth: int, predict: Predict) -> Tensor:
    """`x` extended along `axis`, row by row from the edge: each row predicted from the `depth` rows inside it.

    Args:
        x: the map.
        axis: which dimension.
        sides: (before, after) rows to add.
        depth: rows that `predict` is handed, the nearest first, each of one cell along `axis`.
        predict: the next row outwards, from those rows and the side: 0 before the map, 1 after it.
    """
    added = []
    for end, count in enumerate(sides):
        last = x.shape[axis] - 1
        near = [x.narrow(axis, last - i if end else i, 1) for i in range(depth)]
        made: list[Tensor] = []
        for _ in range(count):
            made.append(predict(near, end))
            near = [made[-1], *near[:-1]]
        added.append(made if end else made[::-1])
    return torch.cat([*added[0], x, *added[1]], axis)


def weighted(near: list[Tensor], weights: Sequence[int | Tensor]) -> Tensor:
    """The sum of the rows, each times its weight."""
    total = near[0] * weights[0]
    for row, weight in zip(near[1:], weights[1:], strict=True):
        total = total + row * weight
    return total


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, in float32 where its own dtype is shorter: for sums and squares."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
