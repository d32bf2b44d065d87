"""Attention over the map, as one operator or written by hand: keys and values of the window are the statistic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.wholemap.operators import (
    Cells,
    Split,
    Statistic,
    UnreadError,
    averaged,
    constants,
    filled,
    named,
    reduction,
    register,
)


@register("softmax", "log_softmax")
def _softmax(cells: Cells, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Split | None:
    o = named("input dim", args, kwargs)
    x, dim = o["input"], o.get("dim")
    if dim is None or not cells.runs(x, dim):
        return None
    if kwargs.get("dtype") is not None:
        x = x.to(kwargs["dtype"])
    logarithm = "log" in func.__name__

    def apply(taken: Statistic) -> Tensor:
        out: Tensor = x - taken[0]
        return out if logarithm else out.exp()

    def take() -> Statistic:
        return (torch.logsumexp(cells.cut(args[0] if args else o["input"], dim).to(x.dtype), dim, keepdim=True),)

    alone = len(cells.over(o["input"])) == 1 or not _is_weights(cells, o["input"], dim)
    if alone:  # one distribution over the map: its normaliser is a statistic
        return Split(take, apply, lambda: x * 1.0, _mean_of_sums)
    return Split(lambda: (), lambda _: _within(cells, func, o["input"], x, dim), lambda: func(x, dim))


def _mean_of_sums(several: Sequence[Statistic]) -> Statistic:
    """The logarithm of the mean of some sums, from their logarithms."""
    logs = torch.stack([one for (one,) in several])
    return (torch.logsumexp(logs, 0) - logs.new_tensor(float(len(several))).log(),)


def _is_weights(cells: Cells, x: Tensor, dim: int) -> bool:
    """Whether each query has a distribution of its own: cells along other dimensions that hold the same axes."""
    dim = dim % x.dim()
    own, others = cells.axes(x, dim), {axis for one in range(x.dim()) if one != dim for axis in cells.axes(x, one)}
    return bool(own & others)


def _within(cells: Cells, func: Callable[..., Any], like: Tensor, x: Tensor, dim: int) -> Tensor:
    """A softmax over the window's cells of a dimension."""
    shape = [1] * x.dim()
    shape[dim] = -1
    found: Tensor = func(x.masked_fill(~cells.inside(like, dim).view(shape), float("-inf")), dim)
    return found


@register("scaled_dot_product_attention")
def _attention(cells: Cells, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Split | None:
    o = named("query key value attn_mask dropout_p is_causal", args, kwargs)
    q, k, v, mask = o.pop("query"), o.pop("key"), o.pop("value"), o.pop("attn_mask", None)
    if not (cells.runs(k, -2) or cells.runs(q, -1)):
        return None
    if o.get("is_causal"):
        raise UnreadError("it is causal, so that its tokens have an order that begins at the scene's corner")
    if cells.runs(q, -1):  # over channels: the products of queries and keys are sums over the map
        raise UnreadError("it attends over channels")
    if mask is not None:
        mask = cells.cut(mask, -1)

    def neutral() -> Tensor:
        found: Tensor = (q.mean(-1, keepdim=True) * 1.0).expand(*q.shape[:-1], v.shape[-1])
        return found

    return Split(
        lambda: (cells.cut(k, -2), cells.cut(v, -2)),
        lambda taken: func(q, taken[0], taken[1], attn_mask=mask, **o),
        neutral,
    )


@register("multi_head_attention_forward")
def _heads(cells: Cells, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Split | None:
    o = dict(signature(F.multi_head_attention_forward).bind(*args, **kwargs).arguments)
    query, key, value = o["query"], o["key"], o["value"]
    dim = key.dim() - 3 if key.dim() == 3 else 0
    if not cells.runs(key, dim):
        return None
    if o.get("is_causal") or o.get("attn_mask") is not None or o.get("key_padding_mask") is not None:
        raise UnreadError("it has a mask of its own")

    def apply(taken: Statistic) -> Any:
        images = query.shape[-2] if query.dim() == 3 else 1  # of one scene for a batch of its tiles
        keys, values = (
            one.expand(-1, images, -1) if one.dim() == 3 and one.shape[1] == 1 else one for one in (taken[0], taken[1])
        )
        return func(**{**o, "key": keys, "value": values})

    return Split(lambda: (cells.cut(key, dim), cells.cut(value, dim)), apply, lambda: (query * 1.0, None))


@register("matmul", "__matmul__", "bmm", "mm", "__rmatmul__")
def _matmul(cells: Cells, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Split | None:
    o = named(
        "input other", args, {("other" if key in ("mat2", "tensor2") else key): one for key, one in kwargs.items()}
    )
    a, b = o["input"], o["other"]
    if func.__name__ == "__rmatmul__":
        a, b = b, a
    if min(a.dim(), b.dim()) < 2:
        return reduction(cells, func, args, kwargs) if cells.vanishing else None
    return _product(cells, torch.matmul, (a, b), (a.dim() - 1, b.dim() - 2), (a.dim() - 2, b.dim() - 1))


@register("einsum")
def _einsum(cells: Cells, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Split | None:
    operands = args[1:] if len(args) > 2 else args[1] if isinstance(args[1], (tuple, list)) else (args[1],)
    equation = args[0].replace(" ", "") if isinstance(args[0], str) else ""
    inputs, _, output = equation.partition("->")
    letters = inputs.split(",")
    if len(operands) != 2 or not output or "." in equation:
        return reduction(cells, func, args, kwargs) if cells.vanishing else None
    a, b = operands
    summed = [c for c in letters[0] if c in letters[1] and c not in output and cells.runs(a, letters[0].index(c))]
    free = [[c for c in one if c not in other and c in output] for one, other in (letters, letters[::-1])]
    wide = [[c for c in own if cells.runs(x, one.index(c))] for own, x, one in zip(free, (a, b), letters, strict=True)]
    if len(summed) > 1 or max(map(len, wide)) > 1:
        raise UnreadError(f"{equation!r} is not read")
    dims = (letters[0].index(summed[0]), letters[1].index(summed[0])) if summed else (-1, -1)
    rows = (letters[0].index(wide[0][0]) if wide[0] else -1, letters[1].index(wide[1][0]) if wide[1] else -1)

    def run(one: Tensor, two: Tensor) -> Tensor:
        found: Tensor = func(args[0], one, two)
        return found

    return _product(cells, run, (a, b), dims if summed else None, (rows[0], rows[1]))


def _product(
    cells: Cells,
    run: Callable[[Tensor, Tensor], Tensor],
    operands: tuple[Tensor, Tensor],
    summed: tuple[int, int] | None,
    free: tuple[int, int],
) -> Split | None:
    """A product of two tensors that sums over one dimension of each, and keeps one of each apart."""
    a, b = operands
    keeps = [dim >= 0 and cells.runs(x, dim) for x, dim in zip(operands, free, strict=True)]
    if summed is None or not (cells.runs(a, summed[0]) or cells.runs(b, summed[1])):
        if not all(keeps):
            return None
        # queries times keys: what follows sees the keys in the window
        return Split(lambda: (cells.cut(b, free[1]),), lambda taken: run(a, taken[0]), lambda: run(a, filled(b, 0.0)))

    def own() -> tuple[Tensor, Tensor]:
        return cells.cut(a, summed[0]), cells.cut(b, summed[1])

    if not any(keeps):  # nothing of the map is left
        return Split(lambda: (run(*own()),), lambda taken: taken[0], lambda: constants(lambda: run(a, b)), averaged)
    if all(keeps):
        raise UnreadError("both of its factors run over the map twice")
    if keeps[0]:  # weights of a's rows times values
        return Split(lambda: (own()[1],), lambda taken: run(own()[0], taken[0]), lambda: run(a, filled(b)))
    return Split(lambda: (own()[0],), lambda taken: run(taken[0], own()[1]), lambda: run(filled(a), b))
