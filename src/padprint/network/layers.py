"""Which tensors inside a model are measured, and how they are reached: names, hooks, and a model left as found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from padprint.errors import LayerError, ModelError
from padprint.network.preserved import (
    state_kept,
    weights_kept,
)
from padprint.support.axes import plural, times

OUTPUT = "output"
"""Name of the model's own output, where no named submodule returns the same tensor."""


class Leaf(NamedTuple):
    """One tensor in one module's output: dotted module name, and the keys that lead to it in nested outputs."""

    module: str
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Tap:
    """A tensor that a forward pass of the model produces.

    Attributes:
        name: the name users see: the module's, with the keys appended where its output holds several tensors.
        leaf: where the tensor is.
        calls: how often the module runs in one forward pass; the last call counts.
        shape: at the crop's size, with a batch of one.
        dtype: of its numbers.
        returned: its place among the tensors that the model returns; None where it returns others alone.
    """

    name: str
    leaf: Leaf
    calls: int
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    returned: int | None = None


class _EnoughError(BaseException):
    """Ends a forward pass early; a BaseException, so that no `except Exception` in a model swallows it."""


def leaves_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Tensor]]:
    """Every tensor in nested tuples, lists, dictionaries and dataclasses, with the keys or names that lead to it."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves_of(item, (*path, key))
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from leaves_of(item, (*path, i))
    elif is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            yield from leaves_of(getattr(value, one.name, None), (*path, one.name))


def one_pass(model: nn.Module, x: Tensor) -> Any:
    """What a model returns for a copy of `x`: it may write to its input, and what its modules hold is put back.

    So no pass sees what another one left behind.

    Raises:
        ModelError: the model writes to its own parameters. What it raises itself passes through.
    """
    with state_kept(model):
        return model(x.clone())


def run_to(model: nn.Module, x: Tensor, taps: Sequence[Tap], visit: Callable[[Tap, Tensor], None]) -> None:
    """Run `model` on `x` until every tap has been visited, and no further.

    Args:
        model: run as it is; see `as_measured`.
        x: input `(B, C, *space)`.
        taps: tensors to visit; each is handed over inside the forward pass, before a later layer can change it.
        visit: called with (tap, tensor).

    Raises:
        ModelError: the pass ended without producing one of the tensors. What the model raises passes through.
    """
    waiting = {tap.leaf: tap for tap in taps}
    seen: dict[str, int] = {}

    def hook_for(name: str, own: list[Tap]) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            seen[name] = seen.get(name, 0) + 1
            if seen[name] < own[0].calls:
                return
            found = dict(leaves_of(output))
            for tap in own:
                if tap.leaf.path in found and waiting.pop(tap.leaf, None) is not None:
                    visit(tap, found[tap.leaf.path].detach())
            if not waiting:
                raise _EnoughError

        return hook

    modules = dict(model.named_modules())
    with ExitStack() as stack:
        for name in {tap.leaf.module for tap in taps}:
            own = [tap for tap in taps if tap.leaf.module == name]
            handle = modules[name].register_forward_hook(hook_for(name, own))
            stack.callback(handle.remove)
        try:
            one_pass(model, x)
        except _EnoughError:
            return
    missing = ", ".join(tap.name for tap in waiting.values())
    raise ModelError(
        f"a forward pass on an input of {_size(x)} did not reach {missing}, which one at the crop's size did: "
        "the model takes another way at another size; measure other layers"
    )


def discover(model: nn.Module, x: Tensor) -> list[Tap]:
    """Run `model` once on `x` (batch of one) and list every tensor its modules return, in order of execution.

    Raises:
        ModelError: the forward pass fails.
    """
    events: list[tuple[Leaf, bool, Tensor]] = []
    calls: dict[str, int] = {}
    misread: list[tuple[str, int]] = []
    axes = x.dim() - 2

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            own = axes_of(module)
            if own == axes + 1 and args and isinstance(args[0], Tensor) and args[0].dim() == own + 1:
                misread.append((name, own))
            found = list(leaves_of(output))
            for path, tensor in found:
                events.append((Leaf(name, path), len(found) == 1, tensor))

        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_hook(hook_for(name)).remove)
        try:
            with weights_kept(model):
                one_pass(model, x)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(_forward_failed(model, x, error)) from error
    if misread:
        name, own = misread[0]
        raise ModelError(
            f"images have {plural(axes)}, the network takes {own}: {name or 'the model'} would read the batch of images as one image"
        )
    last = {leaf: i for i, (leaf, *_) in enumerate(events)}
    named = {id(tensor) for i, (leaf, _, tensor) in enumerate(events) if leaf.module and last[leaf] == i}
    returned: dict[int, int] = {}
    for leaf, _, tensor in events:
        if not leaf.module:
            returned.setdefault(id(tensor), len(returned))
    return [
        Tap(
            _tap_name(leaf, alone),
            leaf,
            calls[leaf.module],
            tuple(tensor.shape),
            tensor.dtype,
            returned.get(id(tensor)),
        )
        for i, (leaf, alone, tensor) in enumerate(events)
        if last[leaf] == i and (leaf.module or id(tensor) not in named)
    ]


def outputs(taps: Sequence[Tap]) -> list[Tap]:
    """Of each tensor that the model returns the tap that goes by the outermost module's name, in the order of the output."""
    found = {tap.returned: tap for tap in taps if tap.returned is not None}
    return [found[place] for place in sorted(found)]


def _tap_name(leaf: Leaf, alone: bool) -> str:
    name = leaf.module or OUTPUT
    return name if alone else f"{name}[{'.'.join(str(key) for key in leaf.path)}]"


def select(taps: Sequence[Tap], layers: Sequence[str]) -> list[Tap]:
    """The taps that names or globs ask for, in order of execution.

    A module whose output holds several tensors stands for all of them.

    Raises:
        LayerError: a pattern matches nothing; the nearest names are suggested.
    """
    chosen = set()
    for pattern in layers:
        wanted = OUTPUT if pattern == "" else pattern
        hits = [tap.name for tap in taps if _matches(tap, wanted)]
        if not hits:
            names = [tap.name for tap in taps]
            near = get_close_matches(pattern, names, n=3, cutoff=0.4) or names[-3:]
            raise LayerError(
                f"no layer of the model is called {pattern!r}; nearest: {', '.join(near)} (globs work too: 'layer*')"
            )
        chosen.update(hits)
    return [tap for tap in taps if tap.name in chosen]


def _matches(tap: Tap, pattern: str) -> bool:
    module = tap.leaf.module or OUTPUT
    if pattern == OUTPUT and tap.returned is not None:  # a submodule's output too, which goes by the submodule's name
        return True
    return pattern in (tap.name, module) or fnmatchcase(tap.name, pattern) or fnmatchcase(module, pattern)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module to hook: the original of what `torch.compile`, data parallelism or Lightning Fabric wrapped.

    Raises:
        ModelError: `model` is not an `nn.Module`, or is TorchScript.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"model must be a torch.nn.Module, but got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(
            "model is TorchScript, inside which padding cannot be seen; pass the eager module or a torch.export program"
        )
    parallel = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    names = ["module"] if parallel else ["_orig_mod", "_original_module"]
    inner = next((one for one in (getattr(model, name, None) for name in names) if isinstance(one, nn.Module)), None)
    return model if inner is None else unwrapped(inner)


def refuse_lazy(model: nn.Module) -> None:
    """Raise ModelError where a model has parameters that are not there yet."""
    lazy = [name for name, one in (*model.named_parameters(), *model.named_buffers()) if is_lazy(one)]
    if lazy:
        raise ModelError(
            f"the model has lazy parameters ({lazy[0]}), whose sizes are not known yet: run it once on an input, then measure"
        )


def space_axes(model: nn.Module) -> int:
    """Over how many axes of space a network runs, as far as its modules tell: those of its first convolution or pooling; else 2."""
    return next((n for module in model.modules() if (n := axes_of(module))), 2)


def axes_of(module: nn.Module) -> int:
    """Over how many axes of space a convolution or pooling runs; 0 for other modules."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return len(module.kernel_size)
    name = type(module).__name__
    kind, n = name[:-2], name[-2:]
    known = kind in {"MaxPool", "AvgPool", "LPPool", "FractionalMaxPool", "MaxUnpool"}
    return {"1d": 1, "2d": 2, "3d": 3}.get(n, 0) if known else 0


def _size(x: Tensor) -> str:
    return f"{times(x.shape[2:])} px"


def _forward_failed(model: nn.Module, x: Tensor, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    have, taken = x.dim() - 2, {n for module in model.modules() if (n := axes_of(module))}
    if taken and have not in taken:
        return f"images have {plural(have)}, the network takes {space_axes(model)}"
    if "required positional argument" in reason or "required keyword-only argument" in reason:
        return (
            f"the model takes more than a batch of images ({reason}): say with inputs= how to make its arguments of one, "
            "inputs=lambda x: (x, other)"
        )
    return (
        f"the model fails on an input of {x.shape[1]} channels and {_size(x)}: {reason}; "
        "check the images' channels and the crop"
    )
