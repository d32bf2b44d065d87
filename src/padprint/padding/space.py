"""Whether what a call pads is the space of a map: told by how its tensor follows the size of the network's input.

`F.pad` also extends tables, tokens and scores, and a convolution over channels pads channels. So a network is run on
shapes alone, once as it is and once with each dimension of its input doubled. In a map every dimension behind the batch
follows one dimension of the input or none, no two of them the same one, and what is padded follows one. Tokens follow
several at once, scores have two dimensions that follow one and the same, features and heads follow none; and what
belongs to the parameters has no gradient with respect to the input.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from padprint.network.calls import Call, Interceptor
from padprint.padding.operators import moves, read_call
from padprint.padding.windowed import Windowed, supply_cells

Form = tuple[str, int, tuple[int, ...], float, str]
"""What tells calls of one module apart at any size: operator, dimensions, which of them are padded, with what, how."""


class Verdict(NamedTuple):
    """What the size of the input tells of one call: it pads the space of a map, or why it does not, in words."""

    reason: str | None


class Space:
    """What is known of the calls of one network. It is found out when first asked, and kept for as long as it holds.

    Args:
        model: any network; it is copied, and left as found.
        inputs: what it is called with.
    """

    def __init__(self, model: nn.Module, inputs: Sequence[Any]) -> None:
        self._model, self._inputs = model, inputs
        self._rank = max((x.dim() - 2 for x in inputs if isinstance(x, Tensor)), default=0)
        self._shapes = tuple(x.shape[1:] if isinstance(x, Tensor) else None for x in inputs)
        self._found: _BySize | None = None

    def verdict(self, call: Call, op: Windowed) -> Verdict | None:
        """What is known of a call; None where that is nothing, or where the call pads a map for sure."""
        if not (op.supplies and (op.operator == "pad" or (len(op.axes) == 1 < self._rank))):
            return None
        if self._found is None:
            self._found = _kept(self._model)
        known = self._known(call, op)
        if known is None and op.operator == "pad" and op.input.dim() == 3 and self._rank > 1 and _padded(op) == (-1,):
            fewer = f"pads the last of 3 dimensions in a network whose input has {self._rank + 2}: no space of a map"
            return Verdict(fewer)
        return known

    def _known(self, call: Call, op: Windowed) -> Verdict | None:
        found, shape = cast("_BySize", self._found), op.input.shape[1:]
        here = found.get(self._shapes)
        if here is None:  # another size of the input will do
            there = next((forms[call] for forms in found.values() if call in forms), None)
            if there is not None and len(there.shape) == len(shape):
                return there.verdict
        elif call not in here or here[call].shape == shape:
            return here[call].verdict if call in here else None
        else:
            found.clear()  # the network has changed
        found[self._shapes] = _alone(_find, self._model, self._inputs)
        known = found[self._shapes].get(call)
        return None if known is None else known.verdict


def form(op: Windowed) -> Form:
    """See `Form`."""
    return (op.operator, op.input.dim(), _padded(op), op.fill, op.mode)


def _padded(op: Windowed) -> tuple[int, ...]:
    return tuple(sorted(axis for axis, pair in zip(op.axes, op.pads, strict=True) if max(pair) > 0))


# ------------------------------------------------------------------------------------------------------- finding out


class _Known(NamedTuple):
    """A verdict, None where there is nothing to judge by, and the shape without the batch that the call had."""

    verdict: Verdict | None
    shape: tuple[int, ...]


_BySize = dict[tuple[Any, ...], dict[Call, _Known]]
_FOUND: weakref.WeakKeyDictionary[nn.Module, tuple[Any, _BySize]] = weakref.WeakKeyDictionary()


def _kept(model: nn.Module) -> _BySize:
    """What has been found out of a network, by the sizes of its inputs, for as long as it consists of the same modules."""
    modules = [(id(module), type(module), module.training) for module in model.modules()]
    if model not in _FOUND or _FOUND[model][0] != modules:
        _FOUND[model] = (modules, {})
    return _FOUND[model][1]


def _alone(function: Callable[..., Any], *args: Any) -> Any:
    """Run in a thread of its own, where no mode and no hook of an `Interceptor` is at work."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


class _Padding(NamedTuple):
    """One call: the shape of what it pads, which dimensions, how many it pads at most, and whether the input is in it."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    operator: str
    derived: bool


def _find(model: nn.Module, inputs: Sequence[Any]) -> dict[Call, _Known]:
    from padprint.network.copies import shape_copy
    from padprint.network.preserved import randomness_kept

    with randomness_kept():
        try:
            made = shape_copy(model)
        except Exception:  # noqa: BLE001  # nothing is known of what cannot be copied
            return {}
        for module in made.modules():
            for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
                getattr(module, kind).clear()  # they are the user's, who expects no call
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        plain = _paddings(made, inputs, None)
        if plain is None:
            return {}
        longest = max((x.dim() for x in inputs if isinstance(x, Tensor)), default=0)
        tries = {axis: _paddings(made, inputs, axis) for axis in range(2 if longest > 3 else 1, longest)}
    runs = {axis: run for axis, run in tries.items() if run is not None}
    return {
        call: _Known(_judged(call, call_padding, runs), call_padding.shape[1:]) for call, call_padding in plain.items()
    }


def _paddings(model: nn.Module, inputs: Sequence[Any], doubled: int | None) -> dict[Call, _Padding] | None:
    """Every call that pads, with one dimension of the input doubled; None where the network fails."""
    seen: dict[Call, _Padding] = {}

    def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if call.operator in ("detach", "_set_grad_enabled"):  # by the gradient it is told what comes from the input
            return args[0].view_as(args[0]) if call.operator == "detach" else None
        op = None if moves(func) or func is supply_cells else read_call(func, args, kwargs)
        if op is not None and op.supplies:
            derived = op.input.requires_grad or not torch.is_grad_enabled()
            axes = tuple(axis + op.input.dim() for axis in _padded(op))
            seen[call] = _Padding(tuple(op.input.shape), axes, op.operator, derived)
        return func(*args, **kwargs)

    try:
        with Interceptor(handle):
            model(*_on_shapes(inputs, doubled))
    except Exception:  # noqa: BLE001  # whatever a network raises at a size it was not made for
        return None
    return seen


def _on_shapes(inputs: Sequence[Any], doubled: int | None) -> list[Any]:
    first = next(x for x in inputs if isinstance(x, Tensor))

    def made(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        shape = list(x.shape)
        alike = x.dim() == first.dim() and doubled is not None and shape[doubled] == first.shape[doubled]
        if doubled is not None and alike:
            shape[doubled] *= 2
        return torch.empty(shape, dtype=x.dtype, device="meta", requires_grad=x.is_floating_point() or x.is_complex())

    return [made(x) for x in inputs]


# -------------------------------------------------------------------------------------------------------- judging


def _judged(call: Call, own: _Padding, runs: dict[int, dict[Call, _Padding]]) -> Verdict | None:
    known = not own.derived or any(call in run for run in runs.values())
    return Verdict(_reason(call, own, runs)) if known else None


def _reason(call: Call, own: _Padding, runs: dict[int, dict[Call, _Padding]]) -> str | None:
    """Why a call pads no map, in words; None where it does."""
    if not own.derived:
        return "pads what does not come from the input: a table"
    follows: list[set[int]] = [set() for _ in own.shape]
    for axis, run in runs.items():
        other = run.get(call)
        for dim, size in enumerate(other.shape if other is not None and len(other.shape) == len(own.shape) else ()):
            if size != own.shape[dim]:
                follows[dim].add(axis)
    behind = follows[1:]  # windows and patches make the batch follow everything
    followed = [axis for axes in behind for axis in axes]
    moving = [dim for dim in own.axes if follows[dim]]
    if own.operator != "pad":  # a convolution or pooling along one dimension
        return None if moving else _follows_none(own.axes[0])
    many = next((dim for dim, axes in enumerate(behind, start=1) if len(axes) > 1), None)
    if many is not None:
        return f"pads a tensor of which dimension {many} follows several dimensions of the input: tokens, no map"
    if len(followed) != len(set(followed)):
        return "pads a tensor of which two dimensions follow the same one of the input: scores, no map"
    if moving or (not followed and len(own.axes) >= len(runs)):  # a map of fixed size
        return None
    return _follows_none(next(dim for dim in own.axes if not follows[dim]))


def _follows_none(dim: int) -> str:
    return f"pads dimension {dim}, which does not follow the size of the input: no space of a map"
