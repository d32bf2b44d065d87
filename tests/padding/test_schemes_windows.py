"""Schemes that change the operator: partial convolution, full and no padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers import doubles
from padprint.padding.operators import read_call
from padprint.padding.scheme import make

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def run(name: str, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    op = read_call(func, args, kwargs)
    assert op is not None
    return make(name).run(op)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


# ------------------------------------------------------------------------------------------------------------- partial


def test_edges_weigh_nine_sixths_and_corners_nine_quarters() -> None:
    x, ones = doubles(1, 1, 5, 6), torch.ones(1, 1, 3, 3, dtype=torch.float64)
    ratio = run("partial", F.conv2d, x, ones, padding=1) / F.conv2d(x, ones, padding=1)
    expected = torch.ones(5, 6, dtype=torch.float64)
    expected[[0, -1]] = expected[:, [0, -1]] = 9 / 6
    for i, j in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        expected[i, j] = 9 / 4
    close(ratio[0, 0], expected)


def test_a_constant_map_stays_constant_and_the_bias_is_not_scaled() -> None:
    x, bias = torch.full((1, 2, 4, 4), 3.0), torch.tensor([10.0, -1.0, 0.0])
    y = run("partial", F.conv2d, x, torch.ones(3, 2, 3, 3), bias, padding=1)
    torch.testing.assert_close(y, (54 + bias).reshape(1, 3, 1, 1).expand(1, 3, 4, 4))


def by_loops(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """Partial convolution, one output cell at a time."""
    span = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[-2:], strict=True)]
    size = [(n + sum(p) - s) // t + 1 for n, p, s, t in zip(x.shape[-2:], pads, span, stride, strict=True)]
    out = np.zeros((x.shape[0], weight.shape[0], *size))
    each = weight.shape[0] // groups
    for b, c, i, j in np.ndindex(*out.shape):
        total, seen = 0.0, 0
        for u, v in np.ndindex(*weight.shape[-2:]):
            h, w = i * stride[0] - pads[0][0] + u * dilation[0], j * stride[1] - pads[1][0] + v * dilation[1]
            if 0 <= h < x.shape[-2] and 0 <= w < x.shape[-1]:
                seen += 1
                first = c // each * weight.shape[1]
                total += float((x[b, first : first + weight.shape[1], h, w] * weight[c, :, u, v]).sum())
        if seen:
            out[b, c, i, j] = total * weight[0, 0].numel() / seen + (0 if bias is None else float(bias[c]))
    return torch.from_numpy(out)


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.sampled_from([1, 2]),
    st.booleans(),
)
@settings(deadline=None, max_examples=25, derandomize=True)
def test_partial_convolution_against_loops(
    kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int, with_bias: bool
) -> None:
    x, weight = doubles(2, 2, 6, 5), doubles(4, 2 // groups, *kernel, seed=1)
    bias = doubles(4, seed=2) if with_bias else None
    y = run("partial", F.conv2d, x, weight, bias, stride, padding, dilation, groups)
    pads = tuple((p, p) for p in padding)
    close(y, by_loops(x, weight, bias, stride, pads, dilation, groups))


def test_unequal_sides_of_same_padding() -> None:
    x, weight, bias = doubles(1, 2, 6, 5), doubles(3, 2, 4, 2, seed=1), doubles(3, seed=2)
    y = run("partial", F.conv2d, x, weight, bias, padding="same")
    close(y, by_loops(x, weight, bias, (1, 1), ((1, 2), (0, 1)), (1, 1), 1))


def test_windows_that_see_nothing_give_zero() -> None:
    x, bias = doubles(1, 1, 4, 4), torch.tensor([5.0], dtype=torch.float64)
    y = run("partial", F.conv2d, x, doubles(1, 1, 3, 3, seed=1), bias, padding=4)
    assert y[..., 0, :].eq(0).all()
    assert y[..., 0].eq(0).all()
    assert y[..., 2:-2, 2:-2].ne(0).all()


def test_partial_convolution_of_one_and_three_dimensions_and_of_one_image() -> None:
    line, kernel = doubles(1, 1, 6), doubles(1, 1, 3, seed=1)
    y = run("partial", F.conv1d, line, kernel, padding=1)
    flat = by_loops(line[:, :, None], kernel[:, :, None], None, (1, 1), ((0, 0), (1, 1)), (1, 1), 1)
    close(y, flat[:, :, 0])
    cube, bias = doubles(1, 2, 4, 4, 4), doubles(2, seed=3)
    box = torch.ones(2, 2, 3, 3, 3, dtype=torch.float64)
    y3 = run("partial", F.conv3d, cube, box, bias, padding=1)
    close(y3[0, 0, 0, 0, 0], cube[0, :, :2, :2, :2].sum() * 27 / 8 + bias[0])
    one = run("partial", F.conv3d, cube[0], box, bias, padding=1)
    close(one, y3[0])


def test_partial_convolution_keeps_dtype_and_the_inside_to_the_last_bit() -> None:
    x, weight, bias = doubles(1, 2, 6, 6).float(), doubles(2, 2, 3, 3, seed=1).float(), doubles(2, seed=2).float()
    y, plain = run("partial", F.conv2d, x, weight, bias, padding=1), F.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(y[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1], rtol=1e-6, atol=1e-6)
    assert run("partial", F.conv2d, x.bfloat16(), weight.bfloat16(), bias.bfloat16(), padding=1).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert run("partial", F.conv2d, x, weight, bias, padding=1).dtype == torch.bfloat16


def test_partial_convolution_gradients() -> None:
    x, weight, bias = (doubles(*s, seed=i).requires_grad_() for i, s in enumerate([(1, 2, 4, 3), (2, 2, 3, 3), (2,)]))
    assert torch.autograd.gradcheck(lambda *a: run("partial", F.conv2d, *a, padding=1), (x, weight, bias))


@pytest.mark.parametrize("options", [{}, {"ceil_mode": True}, {"count_include_pad": False}])
def test_partial_average_pooling_is_the_mean_inside_the_map(options: dict[str, bool]) -> None:
    x = doubles(2, 3, 8, 7)
    expected = F.avg_pool2d(x, 3, 2, 1, **{**options, "count_include_pad": False})
    close(run("partial", F.avg_pool2d, x, 3, 2, 1, **options), expected)


@pytest.mark.parametrize(
    ("func", "args", "kwargs"),
    [
        (F.max_pool2d, (doubles(1, 2, 7, 7) - 9, 3, 2, 1), {}),
        (F.max_pool1d, (doubles(1, 2, 8) - 9, 3, 2, 1), {"ceil_mode": True}),
        (
            F.conv_transpose2d,
            (doubles(1, 2, 5, 4), doubles(2, 3, 3, 3, seed=1), doubles(3)),
            {"stride": 2, "padding": 1},
        ),
        (F.interpolate, (doubles(1, 2, 5, 4),), {"scale_factor": 2, "mode": "bilinear", "align_corners": False}),
        (F.pad, (doubles(1, 2, 5, 4), (1, 2, 0, 1)), {}),
        (F.unfold, (doubles(1, 2, 5, 4), 3), {"padding": 1}),
        (F.conv2d, (doubles(1, 2, 5, 4), doubles(2, 2, 3, 3, seed=1)), {}),
    ],
)
def test_partial_leaves_other_operators_as_they_are(func: Any, args: Any, kwargs: Any) -> None:
    close(run("partial", func, *args, **kwargs), func(*args, **kwargs))


def test_partial_turns_other_explicit_padding_into_zeros() -> None:
    x = doubles(1, 2, 5, 4)
    close(run("partial", F.pad, x, (1, 1, 1, 1), mode="reflect"), F.pad(x, (1, 1, 1, 1)))
    close(run("partial", torch.roll, x, 1, -1)[..., 1:], x[..., :-1])


# ------------------------------------------------------------------------------------------------------- none and full


def test_no_padding() -> None:
    x, weight, bias = doubles(1, 2, 8, 7), doubles(3, 2, 3, 3, seed=1), doubles(3)
    expected = F.conv2d(x, weight, bias, 2, 0, 2)
    close(run("none", F.conv2d, x, weight, bias, 2, 2, 2), expected)
    close(run("none", F.conv2d, x, weight, padding="same"), F.conv2d(x, weight))
    close(run("none", F.max_pool2d, x, 3, 2, 1, ceil_mode=True), F.max_pool2d(x, 3, 2))
    close(run("none", F.avg_pool2d, x, 3, 2, 1), F.avg_pool2d(x, 3, 2))
    close(run("none", F.unfold, x, 3, padding=1), F.unfold(x, 3))
    close(run("none", F.pad, x, (1, 2, 0, 1)), x)
    close(run("none", F.pad, x, (-1, 2, 1, -2)), x[..., :-2, 1:])


def test_full_padding() -> None:
    x, weight = doubles(1, 2, 8, 7), doubles(3, 2, 3, 3, seed=1)
    close(run("full", F.conv2d, x, weight, padding=1), F.conv2d(x, weight, padding=2))
    close(run("full", F.conv2d, x, weight, dilation=2, padding=1), F.conv2d(x, weight, dilation=2, padding=4))
    close(run("full", F.conv2d, x, weight, padding=(0, 1)), F.conv2d(x, weight, padding=(0, 2)))
    close(run("full", F.conv2d, x, weight), F.conv2d(x, weight))
    close(run("full", F.max_pool2d, x, 3, 2, 1), F.max_pool2d(F.pad(x, (2, 2, 2, 2)), 3, 2))
    close(run("full", F.avg_pool2d, x, 3, 2, 1), F.avg_pool2d(F.pad(x, (2, 2, 2, 2)), 3, 2))
    close(run("full", F.unfold, x, 3, padding=1), F.unfold(x, 3, padding=2))
    close(run("full", F.pad, x, (1, 2, 0, 1), mode="replicate"), F.pad(x, (1, 2, 0, 1)))


def test_full_padding_shows_every_cell_to_every_tap() -> None:
    x = torch.zeros(1, 1, 3, 3)
    x[..., 0, 0] = 1
    weight = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    y = run("full", F.conv2d, x, weight, padding=1)
    assert y.shape == (1, 1, 5, 5)
    assert sorted(y[y != 0].tolist()) == list(range(1, 10))


@pytest.mark.parametrize("name", ["full", "none"])
@pytest.mark.parametrize(
    ("func", "args", "kwargs"),
    [
        (F.conv_transpose2d, (doubles(1, 2, 5, 4), doubles(2, 3, 3, 3, seed=1)), {"stride": 2, "padding": 1}),
        (F.interpolate, (doubles(1, 2, 5, 4),), {"scale_factor": 2, "mode": "bicubic", "align_corners": False}),
        (torch.roll, (doubles(1, 2, 5, 4), (1, -2), (-2, -1)), {}),
    ],
)
def test_operators_without_a_window_over_the_map_are_left_as_they_are(
    name: str, func: Any, args: Any, kwargs: Any
) -> None:
    close(run(name, func, *args, **kwargs), func(*args, **kwargs))


@pytest.mark.parametrize("name", ["partial", "full", "none"])
def test_max_pooling_with_indices(name: str) -> None:
    x = doubles(1, 2, 6, 6) + 9
    values, indices = run(name, F.max_pool2d, x, 3, 2, 1, return_indices=True)
    close(x.flatten(2).gather(2, indices.flatten(2)).reshape(values.shape), values)
