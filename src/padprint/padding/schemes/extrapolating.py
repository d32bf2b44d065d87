"""Schemes that continue the map beyond its edge, row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from padprint.errors import PaddingError
from padprint.padding.scheme import Scheme, register
from padprint.padding.schemes.edges import (
    Sides,
    at_least_float32,
    by_axis,
    outwards,
    require,
    require_floats,
    weighted,
    whole,
)
from padprint.padding.windowed import Pads


@register("polynomial")
class Polynomial(Scheme):
    """The polynomial through the outermost cells (Lagrange extrapolation).

    With x1 the outermost cell, the first added cell is 2 x1 - x2 (order 1), 3 x1 - 3 x2 + x3 (order 2) or
    4 x1 - 6 x2 + 4 x3 - x4 (order 3). The same step from there gives the next one, on the same polynomial. A map needs
    order + 1 cells. Equivalent to the differential convolutions of arXiv 2309.06370, by its authors' own account.

    Cost: a few products for each added cell, and one copy of the map for each dimension. Noise grows with the order and
    with the distance from the edge.

    Args:
        order: 1, 2 or 3.
    """

    def __init__(self, order: int = 1) -> None:
        super().__init__()
        if whole(order, "order", 1) > 3:
            raise PaddingError(f"the order of polynomial padding is 1, 2 or 3; it is {order}")
        self.order = order

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        depth = self.order + 1
        require(x, pads, f"polynomial:order={self.order}", lambda *_: depth)
        weights = [(-1) ** i * math.comb(depth, i + 1) for i in range(depth)]
        return by_axis(
            x, pads, lambda y, axis, sides: outwards(y, axis, sides, depth, lambda near, _: weighted(near, weights))
        )


@register("linear-prediction")
class LinearPrediction(Scheme):
    """What a stationary autoregressive model of the map expects next (Niemitalo et al. 2025, arXiv 2502.12300).

    For each image, channel and dimension: x0 = m + sum over j = 1 .. order of a_j (x_j - m), x1 .. the cells inside x0
    along that dimension, m the mean of the map. The coefficients solve the Yule-Walker equations of the autocovariance
    along that dimension, r(k) = the sum of y(i) y(i + k) over the map, y = x - m tapered by a Tukey window (half of it
    cosine) along every dimension. Rows are predicted outwards one after the other, the last dimension first.

    With a `width` above 1, maps of two dimensions alone: a cell is predicted from `order` rows of `width` cells around it, by the
    same equations with r(k, l) of both dimensions; near the ends of a row the window stays inside it and the cell's place in
    it is another, as in the source.

    As in the source: the model, the mean, the window, the order of the dimensions, neighbourhoods (its lp1x1, lp2x1 and lp2x3
    are orders 1, 2 and 2 with widths 1, 1 and 3), gradients through all of it. Ours: Levinson's recursion where the width is 1,
    and r(0) raised by one part in a million instead of by an absolute amount. The autocovariance is the one that sums over the
    map alone, so the model of width 1 is stable: predictions fade to the mean, and on a constant map they are that constant. A
    map needs order + 1 cells, and `width` across.

    Cost: order + 1 products and sums over the whole map for each dimension (2 width - 1 times as many for wide
    neighbourhoods), a recursion or a system of order x width equations for each image and channel, and a few products for
    each added cell.

    Args:
        order: how many cells predict the next.
        width: cells of each row; odd.
    """

    def __init__(self, order: int = 2, width: int = 1) -> None:
        super().__init__()
        self.order, self.width = whole(order, "order", 1), whole(width, "width", 1)
        if self.width % 2 == 0:
            raise PaddingError(f"the width of linear-prediction padding is odd; it is {width}")

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        order, n = self.order, len(pads)
        require_floats(x, self.name)
        require(x, pads, f"linear-prediction:order={order}", lambda *_: order + 1)
        exact = at_least_float32(x)
        mean = exact.mean(tuple(range(-n, 0)), keepdim=True)
        tapered = taper(exact - mean, n)
        if self.width > 1:
            self._require_room(x, n)
            return by_axis(x, pads, lambda y, axis, sides: self._wide(y, axis, sides, tapered, mean))

        def extend(y: Tensor, axis: int, sides: Sides) -> Tensor:
            coefficients = levinson(autocovariance(tapered, axis, order, n))

            def predict(near: list[Tensor], _: int) -> Tensor:
                inside = [row - mean for row in near]
                return (mean + weighted(inside, coefficients)).to(y.dtype)

            return outwards(y, axis, sides, order, predict)

        return by_axis(x, pads, extend)

    def _require_room(self, x: Tensor, n: int) -> None:
        if n != 2:
            raise PaddingError(
                f"linear-prediction:width={self.width} is for maps of 2 dimensions, this one has {n}; leave the width out"
            )
        if min(x.shape[-2:]) < self.width:
            raise PaddingError(
                f"linear-prediction:width={self.width} needs maps of at least {self.width} cells, this one has "
                f"{x.shape[-2]}x{x.shape[-1]}; use larger images or a smaller width"
            )

    def _wide(self, y: Tensor, axis: int, sides: Sides, tapered: Tensor, mean: Tensor) -> Tensor:
        """Extend `y` along an axis, from windows of `width` cells."""
        lags = cross_covariance(tapered, axis, self.order, self.width)
        weights = [wide_predictor(lags, self.order, self.width, direction) for direction in (-1, 1)]
        half = self.width // 2

        def predict(near: list[Tensor], end: int) -> Tensor:
            rows = torch.stack([(row - mean).movedim(axis, -1).squeeze(-1) for row in near], -2)  # (..., order, cells)
            windows = rows.unfold(-1, self.width, 1).movedim(-2, -3).flatten(-2)  # (..., places, order width)
            middle = (windows * weights[end][..., half : half + 1, :]).sum(-1)
            first = (windows[..., :1, :] * weights[end][..., :half, :]).sum(-1)
            final = (windows[..., -1:, :] * weights[end][..., half + 1 :, :]).sum(-1)
            made = torch.cat([first, middle, final], -1).unsqueeze(axis)
            return (mean + made).to(y.dtype)

        return outwards(y, axis, sides, self.order, predict)


def cross_covariance(x: Tensor, axis: int, order: int, width: int) -> dict[tuple[int, int], Tensor]:
    """Sums of products of cells `(i, j)` apart along `axis` (0 .. order) and across it (1 - width .. width - 1), `(...)` each."""
    y = x.movedim(axis, -2)
    size, across = y.shape[-2:]
    found = {}
    for i in range(order + 1):
        for j in range(1 - width, width):
            a = y[..., : size - i, max(0, -j) : across - max(0, j)]
            b = y[..., i:, max(0, j) : across - max(0, -j)]
            found[i, j] = (a * b).sum((-2, -1))
    return found


def wide_predictor(lags: Mapping[tuple[int, int], Tensor], order: int, width: int, direction: int) -> Tensor:
    """Weights `(..., width, order width)` of the cell at each place of a window's row: of the nearest row's cells, then the next's.

    Args:
        lags: see `cross_covariance`.
        order: rows.
        width: cells of each.
        direction: 1 where rows are predicted beyond the end of the axis, -1 before its start.
    """

    def lag(rows: int, cells: int) -> Tensor:
        return lags[abs(rows), direction * cells if rows >= 0 else -direction * cells]

    # a cell of the k-th nearest row lies k rows inside; the one predicted lies at row 0
    inside = [(k, c) for k in range(1, order + 1) for c in range(width)]
    system = torch.stack([torch.stack([lag(b - a, c - d) for b, d in inside], -1) for a, c in inside], -2)
    target = torch.stack([torch.stack([lag(k, p - c) for k, c in inside], -1) for p in range(width)], -2)
    power = lags[0, 0][..., None, None]
    ridge = torch.eye(len(inside), dtype=power.dtype, device=power.device) * torch.where(power > 0, 1e-6 * power, 1)
    weights: Tensor = torch.linalg.solve(system + ridge, target.mT).mT
    return weights


def taper(x: Tensor, n: int) -> Tensor:
    """`x` times a Tukey window along each of its last `n` dimensions; the window would be 0 one cell outside the map."""
    for axis in range(-n, 0):
        size = x.shape[axis]
        at = torch.arange(1, size + 1, device=x.device, dtype=x.dtype) / (size + 1)
        edge = torch.minimum(at, 1 - at).clamp_max(0.25)
        window = (1 - torch.cos(4 * torch.pi * edge)) / 2
        x = x * window.reshape(-1, *[1] * (-axis - 1))
    return x


def autocovariance(x: Tensor, axis: int, order: int, n: int) -> list[Tensor]:
    """The sums of products of cells 0 .. `order` apart along `axis`, over the last `n` dimensions."""
    size, spatial = x.shape[axis], tuple(range(-n, 0))
    pairs = [(x.narrow(axis, 0, size - lag), x.narrow(axis, lag, size - lag)) for lag in range(order + 1)]
    return [(a * b).sum(spatial, keepdim=True) for a, b in pairs]


def levinson(r: list[Tensor]) -> list[Tensor]:
    """Coefficients of the autoregressive model of order ``len(r) - 1`` with autocovariance `r`; zeros where r(0) = 0."""
    left = r[0] * (1 + 1e-6)  # a sine is predictable without error: keep the divisor away from zero
    coefficients: list[Tensor] = []
    for lag in range(1, len(r)):
        missing = r[lag] - sum(a * r[lag - 1 - j] for j, a in enumerate(coefficients))
        reflection = torch.where(left > 0, missing / torch.where(left > 0, left, 1), 0)
        coefficients = [
            *(a - reflection * b for a, b in zip(coefficients, reversed(coefficients), strict=True)),
            reflection,
        ]
        left = left * (1 - reflection.square())
    return coefficients
