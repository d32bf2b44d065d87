"""Normalisations over the map: their mean and variance are the statistic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from padprint.wholemap.operators import Cells, Split, Statistic, UnreadError, averaged, named, register


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (1, -1) + (1,) * (x.dim() - 2)
    x = x if weight is None else x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)


def _by_group(
    cells: Cells, x: Tensor, groups: int, eps: float, weight: Tensor | None, bias: Tensor | None
) -> Split | None:
    if not cells.over(x):
        return None

    def take() -> Statistic:
        own = cells.cut(x).reshape(x.shape[0], groups, -1)
        variance, mean = torch.var_mean(own, -1, correction=0)
        return mean, variance

    def apply(taken: Statistic) -> Tensor:
        mean, variance = taken
        own = x.reshape(x.shape[0], groups, -1)
        own = (own - mean[..., None]) * (variance[..., None] + eps).rsqrt()
        return _scaled(own.reshape(x.shape), weight, bias)

    return Split(take, apply, lambda: _scaled(x * 1.0, weight, bias), _moments)


def _moments(several: Sequence[Statistic]) -> Statistic:
    """Mean and variance of several windows of one size together."""
    means, variances = (torch.stack(list(one)) for one in zip(*several, strict=True))
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)


@register("group_norm")
def _group_norm(
    cells: Cells, _func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Split | None:
    o = named("input num_groups weight bias eps", args, kwargs)
    return _by_group(cells, o["input"], o["num_groups"], o.get("eps", 1e-5), o.get("weight"), o.get("bias"))


@register("native_group_norm")
def _native_group_norm(
    cells: Cells, _func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Split | None:
    o = named("input weight bias N C HxW group eps", args, kwargs)
    found = _by_group(cells, o["input"], o["group"], o["eps"], o.get("weight"), o.get("bias"))
    if found is None:
        return None
    return Split(found.take, lambda taken: (found.apply(taken), *taken), lambda: (found.neutral(),) * 3, found.join)


@register("instance_norm")
def _instance_norm(
    cells: Cells, _func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Split | None:
    o = named("input running_mean running_var weight bias use_input_stats momentum eps", args, kwargs)
    if not o.get("use_input_stats", True):
        return None
    x = o["input"]
    return _by_group(cells, x, x.shape[1], o.get("eps", 1e-5), o.get("weight"), o.get("bias"))


@register("layer_norm")
def _layer_norm(
    cells: Cells, _func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Split | None:
    o = named("input normalized_shape weight bias eps", args, kwargs)
    x, eps = o["input"], o.get("eps", 1e-5)
    dims = list(range(-len(o["normalized_shape"]), 0))
    if not any(cells.runs(x, dim) for dim in dims):
        return None
    if o.get("weight") is not None or o.get("bias") is not None:
        raise UnreadError("it has weights for every place of the input, which a larger scene does not have")

    def take() -> Statistic:
        variance, mean = torch.var_mean(cells.cut(x, *dims), dims, correction=0, keepdim=True)
        return mean, variance

    return Split(take, lambda taken: (x - taken[0]) * (taken[1] + eps).rsqrt(), lambda: x * 1.0, _moments)


@register("normalize")
def _normalize(cells: Cells, _func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Split | None:
    o = named("input p dim eps out", args, kwargs)
    x, p, dim, eps = o["input"], o.get("p", 2.0), o.get("dim", 1), o.get("eps", 1e-12)
    dims = [dim] if isinstance(dim, int) else list(dim)
    if not any(cells.runs(x, one) for one in dims):
        return None
    return Split(
        lambda: (torch.linalg.vector_norm(cells.cut(x, *dims), p, dims, keepdim=True).clamp_min(eps),),
        lambda taken: x / taken[0],
        lambda: x * 1.0,
        averaged,
    )
