"""What the schemes put beyond the edge: answers worked out by hand, and slow references."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal.windows import tukey
from torch import Tensor

from helpers import doubles
from padprint import PaddingError
from padprint.padding.scheme import make
from padprint.padding.schemes import stochastic
from padprint.padding.schemes.extrapolating import levinson

Array = NDArray[np.float64]
amounts = st.tuples(st.integers(0, 4), st.integers(0, 4))


def row(spec: str, cells: list[float], before: int, after: int) -> list[float]:
    return make(spec).pad(torch.tensor([[cells]], dtype=torch.float64), ((before, after),))[0, 0].tolist()


# ----------------------------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("zeros", [0, 0, 1, 2, 4, 0]),
        ("constant", [0, 0, 1, 2, 4, 0]),
        ("constant:value=7", [7, 7, 1, 2, 4, 7]),
        ("reflect", [4, 2, 1, 2, 4, 2]),
        ("symmetric", [2, 1, 1, 2, 4, 4]),
        ("replicate", [1, 1, 1, 2, 4, 4]),
        ("circular", [2, 4, 1, 2, 4, 1]),
        ("partial", [0, 0, 1, 2, 4, 0]),
        ("full", [0, 0, 1, 2, 4, 0]),
        ("none", [0, 0, 1, 2, 4, 0]),
        ("polynomial", [-1, 0, 1, 2, 4, 6]),
        ("polynomial:order=2", [2, 1, 1, 2, 4, 7]),  # 3 - 6 + 4, 3 - 3 + 2; 12 - 6 + 1
        ("padding-module:channels=1", [1, 1, 1, 2, 4, 4]),
    ],
)
def test_a_row_of_three(spec: str, expected: list[float]) -> None:
    assert row(spec, [1.0, 2.0, 4.0], 2, 1) == expected


def test_squares_continue_as_squares_and_cubes_as_cubes() -> None:
    assert row("polynomial:order=2", [1, 4, 9], 3, 2) == [4, 1, 0, 1, 4, 9, 16, 25]
    assert row("polynomial:order=3", [1, 8, 27, 64], 3, 2) == [-8, -1, 0, 1, 8, 27, 64, 125, 216]


def test_distribution_of_a_row() -> None:
    # windows of 3: means 2 and 4; resized to 6 cells the ends clamp to them, resized to 4 the second cell is 2.5
    assert row("distribution", [0, 3, 3, 6], 1, 1) == [2, 0, 3, 3, 6, 4]
    assert row("distribution:variant=reflect", [0, 3, 3, 6], 1, 1) == [2.5, 0, 3, 3, 6, 3.5]
    assert row("distribution", [0, 3, 6], 1, 1) == [3, 0, 3, 6, 3]  # one window holds the whole map


# -------------------------------------------------------------------------------------------------- cells of the map


def source_index(name: str, i: int, n: int) -> int:
    """The cell of a row of `n` that cell `i` beyond it copies."""
    if name == "replicate":
        return min(max(i, 0), n - 1)
    if name == "circular":
        return i % n
    shift = 0 if name == "reflect" else 1
    return -i - shift if i < 0 else (2 * n - 2 + shift - i if i >= n else i)


@pytest.mark.parametrize("name", ["reflect", "symmetric", "replicate", "circular"])
@given(amounts, amounts, st.integers(5, 7), st.integers(5, 6))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_copying_schemes_copy_the_cell_they_say(
    name: str, rows: tuple[int, int], columns: tuple[int, int], h: int, w: int
) -> None:
    x = doubles(1, 2, h, w)
    y = make(name).pad(x, (rows, columns))
    for i, j in product(range(-rows[0], h + rows[1]), range(-columns[0], w + columns[1])):
        expected = x[..., source_index(name, i, h), source_index(name, j, w)]
        assert torch.equal(y[..., i + rows[0], j + columns[0]], expected)


def test_four_padded_dimensions() -> None:
    x, pads = doubles(2, 4, 5, 4, 5), ((1, 2), (0, 1), (2, 0), (1, 1))
    for name in ("reflect", "symmetric", "replicate", "circular"):
        y = make(name).pad(x, pads)
        index = [
            [source_index(name, i, n) for i in range(-b, n + a)] for n, (b, a) in zip(x.shape[1:], pads, strict=True)
        ]
        assert torch.equal(y, torch.from_numpy(x.numpy()[np.ix_(range(2), *index)]))


@given(st.integers(1, 3), amounts, amounts)
@settings(deadline=None, max_examples=20, derandomize=True)
def test_polynomials_are_continued_exactly(order: int, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    weights = np.random.default_rng(order).standard_normal((order + 1, order + 1))
    i, j = np.arange(-rows[0], 6 + rows[1]), np.arange(-columns[0], 5 + columns[1])
    whole = torch.from_numpy(np.polynomial.polynomial.polygrid2d(i, j, weights))
    x = whole[rows[0] : rows[0] + 6, columns[0] : columns[0] + 5]
    y = make(f"polynomial:order={order}").pad(x[None], (rows, columns))
    torch.testing.assert_close(y[0], whole, rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------------------------- distribution


def interpolation(old: int, new: int) -> Array:
    """Linear resizing, cells as areas: one row of weights for each new cell."""
    weights = np.zeros((new, old))
    for i in range(new):
        at = max((i + 0.5) * old / new - 0.5, 0.0)
        low = min(int(at), old - 1)
        weights[i, low] += 1 - (at - low)
        weights[i, min(low + 1, old - 1)] += at - low
    return weights


def window_means(x: Array, totals: tuple[int, int]) -> Array:
    out = np.zeros((x.shape[0] - totals[0], x.shape[1] - totals[1]))
    for i, j in np.ndindex(*out.shape):
        out[i, j] = x[i : i + totals[0] + 1, j : j + totals[1] + 1].mean()
    return out


@pytest.mark.parametrize("pads", [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((2, 1), (0, 3)), ((0, 0), (1, 0))])
@pytest.mark.parametrize("variant", ["interp", "reflect"])
def test_distribution_against_loops(variant: str, pads: tuple[tuple[int, int], tuple[int, int]]) -> None:
    x = doubles(8, 9)
    totals = (sum(pads[0]), sum(pads[1]))
    means = window_means(x.numpy(), totals)
    grown = totals if variant == "interp" else (0, 0)
    rows, columns = (interpolation(m, n + g) for m, n, g in zip(means.shape, x.shape, grown, strict=True))
    around = rows @ means @ columns.T
    if variant == "reflect":
        around = np.pad(around, pads, mode="reflect")
    (top, _), (left, _) = pads
    around[top : top + 8, left : left + 9] = x
    y = make(f"distribution:variant={variant}").pad(x[None], pads)
    torch.testing.assert_close(y[0], torch.from_numpy(around), rtol=0, atol=1e-12)


def test_no_gradient_flows_into_the_border_of_distribution_padding() -> None:
    for variant in ("interp", "reflect"):
        x = doubles(1, 2, 6, 6).requires_grad_()
        make(f"distribution:variant={variant}").pad(x, ((1, 1), (1, 1))).sum().backward()
        assert torch.equal(x.grad, torch.ones_like(x))


# --------------------------------------------------------------------------------------------------------------- randn


def window_of(x: Array, i: int, j: int, radius: int) -> Array:
    h, w = x.shape
    i, j = min(max(i, 0), h - 1), min(max(j, 0), w - 1)
    return x[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]


def drawing(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    def draw(shape: list[int], **options: object) -> Tensor:
        return torch.full(shape, value, dtype=options["dtype"])

    monkeypatch.setattr(stochastic.torch, "randn", draw)


@pytest.mark.parametrize("pads", [((1, 1), (1, 1)), ((2, 1), (0, 3)), ((0, 0), (1, 0)), ((3, 3), (9, 9))])
@pytest.mark.parametrize("value", [0.0, 1.0, -2.0])
def test_randn_scales_and_shifts_by_the_border_nearby(
    monkeypatch: pytest.MonkeyPatch, value: float, pads: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    x = doubles(4, 5)
    drawing(monkeypatch, value)
    y = make("randn:seed=0").pad(x[None, None] + 1000, pads)[0, 0]
    (top, bottom), (left, right) = pads
    radius = max(1, top, bottom, left, right)
    for i, j in product(range(-top, 4 + bottom), range(-left, 5 + right)):
        cells = window_of(x.numpy(), i, j, radius)
        beyond = not (0 <= i < 4 and 0 <= j < 5)
        expected = cells.mean() + value * cells.std() if beyond else x.numpy()[i, j]
        assert float(y[i + top, j + left]) - 1000 == pytest.approx(expected, abs=1e-9)


def test_randn_in_one_and_three_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing(monkeypatch, 1.0)
    cells = [1.0, 5.0, 2.0, 8.0]
    y = row("randn", cells, 1, 2)  # radius 2: the windows are the first three cells and the last three
    assert y == pytest.approx(
        [np.mean(cells[:3]) + np.std(cells[:3]), *cells, *[np.mean(cells[1:]) + np.std(cells[1:])] * 2]
    )
    x = doubles(3, 4, 3)
    y3 = make("randn").pad(x[None], ((1, 0), (0, 1), (1, 1)))[0]
    corner = x[:2, 2:, :2].numpy()
    assert float(y3[0, 4, 0]) == pytest.approx(corner.mean() + corner.std())
    edge = x[:2, 1:4, :].numpy()
    assert float(y3[0, 2, 2]) == pytest.approx(edge.mean() + edge.std())


def test_randn_gradients() -> None:
    module, x = make("randn"), doubles(1, 2, 4, 3).requires_grad_()

    def same_noise(x: Tensor) -> Tensor:
        module.reseed(0)
        return module.pad(x, ((1, 2), (0, 1)))

    assert torch.autograd.gradcheck(same_noise, (x,))


def test_flat_maps_get_no_noise_and_finite_gradients() -> None:
    module = make("randn")
    flat = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    y = module.pad(flat, ((1, 1), (1, 1)))
    y.sum().backward()
    torch.testing.assert_close(y, torch.full((1, 1, 6, 6), 0.3))
    assert flat.grad.isfinite().all()


def test_randn_draws_normal_numbers_of_that_mean_and_deviation() -> None:
    x = torch.tensor([1.0, 3.0, 2.0, 0.0]).expand(20_000, 1, 4)
    y = make("randn:seed=3").pad(x, ((1, 2),))[:, 0]
    for cell, window in ((0, x[0, 0, :3]), (5, x[0, 0, 1:]), (6, x[0, 0, 1:])):
        mean, std = float(window.mean()), float(window.std(correction=0))
        assert float(y[:, cell].mean()) == pytest.approx(mean, abs=4 * std / math.sqrt(20_000))
        assert float(y[:, cell].std()) == pytest.approx(std, rel=0.03)
    added = torch.corrcoef(y[:, [0, 5, 6]].T) - torch.eye(3)
    assert float(added.abs().max()) < 0.03


# ---------------------------------------------------------------------------------------------------- linear prediction


def predicted(x: Array, order: int, pads: tuple[tuple[int, int], tuple[int, int]]) -> Array:
    """The model of one map, with scipy's window, a sum for each covariance and numpy's solver."""
    h, w = x.shape
    mean = x.mean()
    y = (x - mean) * tukey(h + 2)[1:-1, None] * tukey(w + 2)[1:-1]
    out = x - mean
    for axis in (1, 0):
        z = y if axis else y.T
        r = [
            sum(z[i, j] * z[i, j + k] for i, j in np.ndindex(*z.shape) if j + k < z.shape[1]) for k in range(order + 1)
        ]
        matrix = np.array([[r[abs(i - j)] * (1 + 1e-6 * (i == j)) for j in range(order)] for i in range(order)])
        a = np.linalg.solve(matrix, np.array(r[1:]))
        lines = out if axis else out.T
        for _ in range(pads[axis][0]):
            lines = np.column_stack([lines[:, :order] @ a, lines])
        for _ in range(pads[axis][1]):
            lines = np.column_stack([lines, lines[:, ::-1][:, :order] @ a])
        out = lines if axis else lines.T
    return out + mean


def wide_prediction(x: Array, pads: tuple[tuple[int, int], ...], order: int, width: int) -> Array:
    """Cell after cell from `order` rows of `width` cells: least squares with the covariances of the tapered map, by loops."""
    h, w = x.shape
    mean = x.mean()
    window = np.outer(tukey(h + 2)[1:-1], tukey(w + 2)[1:-1])
    z = (x - mean) * window

    def covariance(dy: int, dx: int) -> float:
        cells = [(i, j) for i in range(h) for j in range(w) if 0 <= i + dy < h and 0 <= j + dx < w]
        return sum(z[i, j] * z[i + dy, j + dx] for i, j in cells)

    out = x - mean
    for axis in (1, 0):
        for end, count in enumerate(pads[axis]):
            for _ in range(count):
                size, across = out.shape[axis], out.shape[1 - axis]
                at = size if end else -1
                made = np.zeros(across)
                for place in range(across):
                    start = min(max(place - width // 2, 0), across - width)
                    inside = [(at + (-k if end else k), start + c) for k in range(1, order + 1) for c in range(width)]

                    def lag(one: tuple[int, int], two: tuple[int, int], axis: int = axis) -> float:
                        along, beside = two[0] - one[0], two[1] - one[1]
                        return covariance(*((along, beside) if axis == 0 else (beside, along)))

                    system = np.array([[lag(a, b) for b in inside] for a in inside])
                    system += np.eye(len(inside)) * 1e-6 * covariance(0, 0)
                    weights = np.linalg.solve(system, [lag(a, (at, place)) for a in inside])
                    values = [out[a] if axis == 0 else out[a[::-1]] for a in inside]
                    made[place] = weights @ values
                added = np.expand_dims(made, axis)
                out = np.concatenate([out, added] if end else [added, out], axis)
    return out + mean


@pytest.mark.parametrize(("order", "width"), [(1, 3), (2, 3)])
def test_linear_prediction_from_wide_windows_against_loops(order: int, width: int) -> None:
    x, pads = doubles(6, 7), ((1, 2), (2, 1))
    y = make(f"linear-prediction:order={order},width={width}").pad(x[None, None], pads)[0, 0]
    np.testing.assert_allclose(y.numpy(), wide_prediction(x.numpy(), pads, order, width), rtol=0, atol=1e-9)


def test_wide_windows_see_slanted_waves() -> None:
    """A plane wave that runs at an angle is continued by a window that is wide, and not by one cell a row."""
    i, j = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    scene = torch.sin(0.9 * i + 0.7 * j).double()
    x, truth = scene[None, None, 1:-1, 1:-1], scene[None, None]
    ring = torch.ones_like(truth, dtype=torch.bool)
    ring[..., 1:-1, 1:-1] = False
    errors = [
        float((make(spec).pad(x, ((1, 1), (1, 1))) - truth)[ring].square().mean().sqrt())
        for spec in ("linear-prediction:order=1", "linear-prediction:order=1,width=3")
    ]
    assert errors[1] < 0.2 * errors[0]


def test_wide_windows_turn_with_the_map() -> None:
    x, pads = doubles(2, 3, 7, 6), ((1, 2), (2, 0))
    y = make("linear-prediction:width=3").pad(x, pads)
    mirrored = make("linear-prediction:width=3").pad(x.flip(-2), (pads[0][::-1], pads[1]))
    torch.testing.assert_close(mirrored, y.flip(-2))
    assert torch.autograd.gradcheck(
        lambda x: make("linear-prediction:width=3").pad(x, ((1, 0), (0, 1))), (x[:1, :1].clone().requires_grad_(),)
    )


def test_wide_windows_need_room_and_two_dimensions() -> None:
    with pytest.raises(PaddingError, match="for maps of 2 dimensions, this one has 1"):
        make("linear-prediction:width=3").pad(doubles(1, 1, 9), ((1, 1),))
    with pytest.raises(PaddingError, match="at least 5 cells, this one has 9x4"):
        make("linear-prediction:width=5").pad(doubles(1, 1, 9, 4), ((1, 1), (1, 1)))


@pytest.mark.parametrize("order", [1, 2, 4])
def test_linear_prediction_against_loops(order: int) -> None:
    x, pads = doubles(7, 9).cumsum(-1).cumsum(-2), ((1, 2), (3, 0))
    y = make(f"linear-prediction:order={order}").pad(x[None, None], pads)
    torch.testing.assert_close(y[0, 0], torch.from_numpy(predicted(x.numpy(), order, pads)), rtol=0, atol=1e-8)


def test_a_wave_goes_on_as_a_wave() -> None:
    wave: Callable[[Tensor], Tensor] = lambda t: torch.sin(0.3 * t) + 5  # noqa: E731
    x = wave(torch.arange(400, dtype=torch.float64))
    y = make("linear-prediction:order=2").pad(x[None], ((0, 6),))[0, 400:]
    torch.testing.assert_close(y, wave(torch.arange(400, 406)).double(), rtol=0, atol=0.1)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_constant_maps_are_continued_as_they_are(value: float) -> None:
    x = torch.full((1, 2, 5, 6), value, requires_grad=True)
    y = make("linear-prediction:order=3").pad(x, ((2, 2), (2, 2)))
    y.sum().backward()
    torch.testing.assert_close(y, torch.full((1, 2, 9, 10), value), rtol=1e-6, atol=0)
    assert x.grad.isfinite().all()


def test_far_predictions_fade_to_the_mean() -> None:
    x = doubles(1, 1, 30, seed=2).cumsum(-1)
    y = make("linear-prediction:order=4").pad(x, ((0, 3000),))
    assert float(y.abs().max()) < 2 * float(x.abs().max() + x.mean().abs())
    assert float(y[..., -1]) == pytest.approx(float(x.mean()), abs=1e-3)


def test_levinson_by_hand() -> None:
    # first order: 4 / 8; second: (1 - 0.5 * 4) / (8 * 0.75) = -1/6, and 0.5 + 0.5 / 6
    first, second = levinson([torch.tensor(v, dtype=torch.float64) for v in (8.0, 4.0, 1.0)])
    assert float(first) == pytest.approx(0.5 + 0.5 / 6, rel=1e-5)
    assert float(second) == pytest.approx(-1 / 6, rel=1e-5)
