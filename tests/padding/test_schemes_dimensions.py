"""Every scheme in one, two and three dimensions and in three precisions, against loops written from its formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.signal.windows import tukey
from torch import Tensor

from helpers import doubles
from padprint.padding.operators import read_call
from padprint.padding.scheme import Scheme, available, make
from padprint.padding.schemes import PaddingModule, PPPad, stochastic
from padprint.padding.windowed import Pads

Array = NDArray[np.float64]
PADS: Pads = ((1, 2), (2, 0), (0, 1))
SIZES = (5, 7, 5)
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def close(found: Tensor, expected: Array, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    tolerance = 30 * torch.finfo(dtype).eps * max(1, np.abs(expected).max())
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=0, atol=tolerance)


def beyond(x: Array, pads: Pads) -> list[tuple[tuple[int, ...], bool]]:
    """Every cell of the padded map by its place relative to the map, and whether it was added."""
    ranges = [range(-before, n + after) for n, (before, after) in zip(x.shape, pads, strict=True)]
    return [(at, any(i < 0 or i >= n for i, n in zip(at, x.shape, strict=True))) for at in product(*ranges)]


def cell_by_cell(x: Array, pads: Pads, value: Callable[[tuple[int, ...]], float]) -> Array:
    out = np.zeros([n + sum(pair) for n, pair in zip(x.shape, pads, strict=True)])
    for at, added in beyond(x, pads):
        to = tuple(i + before for i, (before, _) in zip(at, pads, strict=True))
        out[to] = value(at) if added else x[at]
    return out


# --------------------------------------------------------------------------------------------- cells of the map, numbers

COPIES: dict[str, Callable[[int, int], int]] = {
    "reflect": lambda i, n: -i if i < 0 else (2 * n - 2 - i if i >= n else i),
    "symmetric": lambda i, n: -i - 1 if i < 0 else (2 * n - 1 - i if i >= n else i),
    "replicate": lambda i, n: min(max(i, 0), n - 1),
    "circular": lambda i, n: i % n,
}


def copying(name: str) -> Callable[[Array, Pads], Array]:
    def reference(x: Array, pads: Pads) -> Array:
        return cell_by_cell(x, pads, lambda at: x[tuple(COPIES[name](i, n) for i, n in zip(at, x.shape, strict=True))])

    return reference


def number(value: float) -> Callable[[Array, Pads], Array]:
    return lambda x, pads: cell_by_cell(x, pads, lambda _: value)


# --------------------------------------------------------------------------------------------------------- predictions


def line_by_line(x: Array, pads: Pads, following: Callable[[int], Callable[[list[float]], float]]) -> Array:
    """One line after another, the last dimension first; ``following(axis)`` tells the next cell from all inside it."""
    out = x
    for axis in reversed(range(x.ndim)):
        predict = following(axis)

        def extended(
            line: Array, pair: tuple[int, int] = pads[axis], predict: Callable[[list[float]], float] = predict
        ) -> Array:
            cells = list(line)
            for _ in range(pair[0]):
                cells.insert(0, predict(cells))
            for _ in range(pair[1]):
                cells.append(predict(cells[::-1]))
            return np.array(cells)

        out = np.apply_along_axis(extended, axis, out)
    return out


def polynomial(order: int) -> Callable[[Array, Pads], Array]:
    def following(cells: list[float]) -> float:
        at = np.arange(1, order + 2)  # the polynomial through these cells, at 0
        return sum(c * math.prod(-b / (a - b) for b in at if b != a) for a, c in zip(at, cells, strict=False))

    return lambda x, pads: line_by_line(x, pads, lambda _: following)


def linear_prediction(order: int) -> Callable[[Array, Pads], Array]:
    def reference(x: Array, pads: Pads) -> Array:
        mean = x.mean()
        y = x - mean
        for axis, n in enumerate(x.shape):
            y = y * tukey(n + 2)[1:-1].reshape([-1 if a == axis else 1 for a in range(x.ndim)])

        def following(axis: int) -> Callable[[list[float]], float]:
            r = np.zeros(order + 1)
            for at in np.ndindex(*x.shape):
                for lag in range(order + 1):
                    if at[axis] + lag < x.shape[axis]:
                        r[lag] += y[at] * y[(*at[:axis], at[axis] + lag, *at[axis + 1 :])]
            matrix = [[r[abs(i - j)] * (1 + 1e-6 * (i == j)) for j in range(order)] for i in range(order)]
            a = np.linalg.solve(np.array(matrix), r[1:])
            return lambda cells: mean + sum(w * (c - mean) for w, c in zip(a, cells, strict=False))

        return line_by_line(x, pads, following)

    return reference


# --------------------------------------------------------------------------------------------------------- averages


def resized(x: Array, sizes: list[int]) -> Array:
    """Linear, cells as areas."""
    for axis, new in enumerate(sizes):
        old = x.shape[axis]
        places = [(i + 0.5) * old / new - 0.5 for i in range(new)]
        x = np.apply_along_axis(lambda line, at, n: np.interp(at, range(n), line), axis, x, places, old)
    return x


def distribution(variant: str) -> Callable[[Array, Pads], Array]:
    def reference(x: Array, pads: Pads) -> Array:
        totals = [sum(pair) for pair in pads]
        means = np.zeros([n - total for n, total in zip(x.shape, totals, strict=True)])
        for at in np.ndindex(*means.shape):
            means[at] = x[tuple(slice(i, i + total + 1) for i, total in zip(at, totals, strict=True))].mean()
        if variant == "reflect":
            around = copying("reflect")(resized(means, list(x.shape)), pads)
        else:
            around = resized(means, [n + total for n, total in zip(x.shape, totals, strict=True)])
        return cell_by_cell(x, pads, lambda at: around[tuple(i + p[0] for i, p in zip(at, pads, strict=True))])

    return reference


def mean_and_deviation(x: Array, pads: Pads) -> Array:
    """What noise of 1 everywhere gives."""
    radius = max(1, *(n for pair in pads for n in pair))

    def value(at: tuple[int, ...]) -> float:
        nearest = [min(max(i, 0), n - 1) for i, n in zip(at, x.shape, strict=True)]
        cells = x[tuple(slice(max(i - radius, 0), i + radius + 1) for i in nearest)]
        return cells.mean() + cells.std()

    return cell_by_cell(x, pads, value)


# ------------------------------------------------------------------------------------------------------------ each scheme

CASES: dict[str, Callable[[Array, Pads], Array]] = {
    "zeros": number(0),
    "constant:value=0.5": number(0.5),
    "partial": number(0),
    "full": number(0),
    "none": number(0),
    **{name: copying(name) for name in COPIES},
    **{f"polynomial:order={order}": polynomial(order) for order in (1, 2, 3)},
    **{f"linear-prediction:order={order}": linear_prediction(order) for order in (1, 2, 4)},
    **{f"distribution:variant={variant}": distribution(variant) for variant in ("interp", "reflect")},
    "randn": mean_and_deviation,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("spec", CASES)
def test_against_loops(spec: str, dims: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x, pads = noise_of(dims, dtype), PADS[:dims]
    monkeypatch.setattr(stochastic.torch, "randn", lambda *shape, dtype, **_: torch.ones(*shape, dtype=dtype))
    y = make(spec).pad(x, pads)
    for image, made in zip(x.double().flatten(0, 1), y.flatten(0, 1), strict=True):
        close(made, CASES[spec](image.numpy(), pads), dtype)


def noise_of(dims: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(2, 2, *SIZES[:dims], dtype=torch.float64, generator=torch.Generator().manual_seed(dims)).to(
        dtype
    )


def test_every_scheme_has_loops() -> None:
    elsewhere = {"padding-module", "pp-pad", "random-side"}  # below
    here = {name for name, known in available().items() if known.__module__.startswith("padprint.")}
    assert {spec.partition(":")[0] for spec in CASES} | elsewhere == here


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_filter_for_each_channel(dims: int, dtype: torch.dtype) -> None:
    x, pads, module = noise_of(dims, dtype), PADS[:dims], PaddingModule(2, depth=3)
    module.weight.data = torch.tensor([[0.75, 0.5, -0.25], [-0.5, 0.25, 1.0]])
    y = module.to(dtype).pad(x, pads)
    for b, c in product(range(2), range(2)):
        weights = module.weight[c].tolist()

        def following(cells: list[float], weights: list[float] = weights) -> float:
            return sum(w * cell for w, cell in zip(weights, cells, strict=False))

        close(y[b, c], line_by_line(x[b, c].double().numpy(), pads, lambda _, f=following: f), dtype)


def peripheral(module: PPPad, x: Array, pads: Pads) -> Array:
    """One cell after another: three layers of the two rows inside it, three cells of each in every direction."""
    out, n = x, x.ndim
    for axis in reversed(range(n)):
        for end, count in enumerate(pads[axis]):
            weights = [p.detach().double().numpy() for p in module.sides[2 * axis + end].parameters()]
            for _ in range(count):
                rows = np.moveaxis(out if end == 0 else np.flip(out, axis), axis, 0)[: module.depth]
                framed = np.pad(rows, [(0, 0)] + [(1, 1)] * (n - 1))
                made = np.zeros(rows.shape[1:])
                for at in np.ndindex(*made.shape):
                    u = framed[(slice(None), *(slice(i, i + 3) for i in at))].flatten()
                    for w, b in zip(weights[::2], weights[1::2], strict=True):
                        u = np.maximum(w @ u + b, 0)
                    made[at] = u[0]
                added = np.expand_dims(made, axis)
                out = np.concatenate([added, out] if end == 0 else [out, added], axis)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_networks_for_each_side(dims: int, dtype: torch.dtype) -> None:
    torch.manual_seed(dims)
    x, pads, module = noise_of(dims, dtype), PADS[:dims], PPPad(dims, order="dimensions").to(dtype)
    for layers in module.sides:
        layers[4].bias.data += 1  # away from the flat part of the last ReLU
    y = module.pad(x, pads)
    for image, made in zip(x.double().flatten(0, 1), y.flatten(0, 1), strict=True):
        close(made.detach(), peripheral(module, image.numpy(), pads), dtype)


@pytest.mark.parametrize("dims", [1, 2])
def test_parameters_of_another_precision_than_the_map(dims: int) -> None:
    for spec in (f"pp-pad:dims={dims}", "padding-module:channels=2"):
        module, x = make(spec), noise_of(dims, torch.float64)
        y = module.pad(x, PADS[:dims])
        assert y.dtype == torch.float64
        torch.testing.assert_close(y, module.double().pad(x, PADS[:dims]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_zeros_on_one_side(dims: int, dtype: torch.dtype) -> None:
    x, pads, module = noise_of(dims, dtype), PADS[:dims], make("random-side:seed=0")
    sides = [[(sum(pair), 0), (0, sum(pair))] for pair in pads]
    choices = [F.pad(x, [n for pair in reversed(choice) for n in pair]) for choice in product(*sides)]
    chosen = set()
    for _ in range(8):
        y = module.pad(x, pads)
        assert y.dtype == dtype
        drawn = [[torch.equal(image, choice[i]) for choice in choices].index(True) for i, image in enumerate(y)]
        chosen.add(tuple(drawn))
    assert any(len(set(drawn)) > 1 for drawn in chosen)  # each image has sides of its own


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("spec", ["random-side:seed=3", "randn:seed=3"])
def test_batches_of_any_size_get_the_same_numbers(spec: str, dims: int) -> None:
    x, pads = torch.randn(40, 2, *SIZES[:dims], generator=torch.Generator().manual_seed(1)), PADS[:dims]
    whole, parts, single = make(spec), make(spec), make(spec)
    expected = whole.pad(x, pads)
    assert torch.equal(torch.cat([parts.pad(part, pads) for part in x.split([1, 7, 20, 12])]), expected)
    assert torch.equal(torch.stack([single.pad(image, pads) for image in x]), expected)
    torch.testing.assert_close(make(spec).pad(x.double(), pads).float(), expected)


# ------------------------------------------------------------------------------------------------------- whole operators


def convolved(
    x: Array, weight: Array, bias: Array, stride: int, amount: int, count: Callable[[int, int], float]
) -> Array:
    """One output cell after another; ``count(seen, all)`` scales what the window adds up."""
    kernel = weight.shape[2:]
    out = np.zeros(
        [len(weight), *((s + 2 * amount - k) // stride + 1 for s, k in zip(x.shape[1:], kernel, strict=True))]
    )
    for c, *at in np.ndindex(*out.shape):
        total, seen = 0.0, 0
        for tap in np.ndindex(*kernel):
            cell = [i * stride - amount + t for i, t in zip(at, tap, strict=True)]
            if all(0 <= i < s for i, s in zip(cell, x.shape[1:], strict=True)):
                seen += 1
                total += float(x[(slice(None), *cell)] @ weight[(c, slice(None), *tap)])
        out[(c, *at)] = total * count(seen, math.prod(kernel)) + bias[c] if seen else 0.0
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", ["partial", "full", "none"])
def test_convolutions_with_another_window(name: str, stride: int, dims: int, dtype: torch.dtype) -> None:
    x, weight, bias = noise_of(dims, dtype), doubles(3, 2, *[3] * dims).to(dtype) / 4, doubles(3, seed=1).to(dtype)
    func = getattr(F, f"conv{dims}d")
    op = read_call(func, (x, weight, bias), {"padding": 1, "stride": stride})
    assert op is not None
    y = make(name).run(op)
    amount = {"partial": 1, "full": 2, "none": 0}[name]
    count: Callable[[int, int], float] = (lambda seen, all_: all_ / seen) if name == "partial" else (lambda *_: 1)
    for image, made in zip(x, y, strict=True):
        arrays = [t.double().numpy() for t in (image, weight, bias)]
        close(made, convolved(*arrays, stride, amount, count), dtype)


# ------------------------------------------------------------------------------------------------------------- gradients

DIFFERENTIABLE = [spec for spec in CASES if not spec.startswith(("distribution", "randn"))]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("spec", [*DIFFERENTIABLE, "padding-module:channels=2", "pp-pad", "randn", "random-side"])
def test_gradients(spec: str, dims: int) -> None:
    torch.manual_seed(0)
    module = make(f"{spec}:dims={dims}" if spec == "pp-pad" else spec).double()
    x = doubles(1, 2, *(5, 6, 5)[:dims]).requires_grad_()

    def pad(x: Tensor) -> Tensor:
        module.reseed(0)  # the same numbers at every call
        return module.pad(x, PADS[:dims])

    assert torch.autograd.gradcheck(pad, (x,), fast_mode=dims == 3)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_of_what_is_learnt(dims: int) -> None:
    torch.manual_seed(0)
    pp = PPPad(dims, hidden=4).double()
    for layers in pp.sides:
        layers[4].bias.data += 1
    x = doubles(1, 2, *(4, 3, 4)[:dims])
    assert checked(pp, lambda: pp.pad(x, PADS[:dims]))
    filters = PaddingModule(2).double()
    filters.weight.data += doubles(2, 2) / 4

    def loss() -> Any:
        filters.pad(x, PADS[:dims])
        return filters.local_loss()

    assert checked(filters, loss)


def checked(module: Scheme, run: Callable[[], Tensor]) -> bool:
    """Whether the gradients of a module's parameters are right."""
    names = [name for name, _ in module.named_parameters()]

    class Given(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scheme = module

        def forward(self) -> Tensor:
            return run()

    given = Given()

    def with_parameters(*values: Tensor) -> Tensor:
        swapped = {f"scheme.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(given, swapped, ())

    values = tuple(p.detach().clone().requires_grad_() for p in module.parameters())
    return torch.autograd.gradcheck(with_parameters, values, fast_mode=True)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", ["partial", "full", "none"])
def test_gradients_of_convolutions_with_another_window(name: str, dims: int) -> None:
    x, weight, bias = doubles(1, 2, *[4] * dims), doubles(2, 2, *[3] * dims, seed=1), doubles(2, seed=2)

    def run(*tensors: Tensor) -> Tensor:
        op = read_call(getattr(F, f"conv{dims}d"), tensors, {"padding": 1})
        assert op is not None
        return make(name).run(op)

    assert torch.autograd.gradcheck(run, [t.requires_grad_() for t in (x, weight, bias)], fast_mode=True)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("variant", ["interp", "reflect"])
def test_the_border_of_distribution_padding_passes_no_gradient(variant: str, dims: int) -> None:
    x = doubles(1, 2, *SIZES[:dims]).requires_grad_()
    make(f"distribution:variant={variant}").pad(x, PADS[:dims]).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
