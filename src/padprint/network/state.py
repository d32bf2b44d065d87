"""What a network's modules hold beside their parameters: kept before a pass, and put back after it."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from padprint.errors import ModelError

WRITES = (
    "the network writes to its own parameters in a forward pass ({}), so that no two passes run the same network; take that "
    "out of its forward"
)


@contextmanager
def state_kept(model: nn.Module) -> Iterator[None]:
    """Put back whatever the modules of a network hold: attributes, what is in their containers, buffers.

    A module that keeps something of one input, a grid or a ratio say, would serve the next one with it. Blocks around the
    same model nest; all go back to what the outermost one found.

    Raises:
        ModelError: a forward pass has written to a parameter.
    """
    known = _KNOWN.get(model)
    state = _State(model) if known is None else known
    _KNOWN[model] = state
    try:
        yield
    finally:
        state.restore()
        if known is None:
            del _KNOWN[model]
    state.check()


_KNOWN: WeakKeyDictionary[nn.Module, _State] = WeakKeyDictionary()
"""What models held when the outermost block around them was entered, which blocks inside go back to."""

_DEPTH = 6  # how deep objects inside attributes are followed
_FOREIGN = (
    "torch",
    "numpy",
    "builtins",
    "logging",
    "threading",
    "collections",
    "weakref",
)  # no state of a network's own


def _is_own(value: Any) -> bool:
    """Whether an object may hold state of a network's own: a record, a cache."""
    if isinstance(value, type) or callable(value) or not hasattr(value, "__dict__"):
        return False
    return isinstance(value, SimpleNamespace) or type(value).__module__.partition(".")[0] not in _FOREIGN


class _State:
    """What the attributes of a network's modules hold at one moment."""

    def __init__(self, model: nn.Module) -> None:
        self._seen: set[int] = set()
        self._mappings: list[tuple[MutableMapping[Any, Any], dict[Any, Any]]] = []
        self._sequences: list[tuple[list[Any], list[Any]]] = []
        self._sets: list[tuple[set[Any], set[Any]]] = []
        self._tensors: list[tuple[Tensor, int, Tensor]] = []
        self._notes: list[tuple[dict[str, Any], dict[str, Any]]] = []  # what tensors have as attributes
        self._weights: list[tuple[str, Tensor, int]] = []
        for module in model.modules():
            self._keep(vars(module), _DEPTH)
        for name, weight in model.named_parameters():
            if not any((is_lazy(weight), weight.is_inference())):
                self._weights.append((name, weight, weight._version))

    def _keep(self, value: Any, depth: int) -> None:
        if isinstance(value, (bool, int, float, str, type(None))) or id(value) in self._seen or depth == 0:
            return
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            self._keep_tensor(value)
        elif isinstance(value, dict):
            self._mappings.append((value, dict(value)))
            for key, held in list(value.items()):
                if not (isinstance(key, str) and "_hooks" in key):  # who adds a hook meanwhile wants it there
                    self._keep(held, depth - 1)
        elif isinstance(value, (list, tuple)):
            if isinstance(value, list):
                self._sequences.append((value, list(value)))
            for held in value:
                self._keep(held, depth - 1)
        elif isinstance(value, set):
            self._sets.append((value, set(value)))
        elif isinstance(value, nn.Module):
            self._keep(vars(value), _DEPTH)
        elif _is_own(value):
            self._keep(vars(value), depth - 1)

    def _keep_tensor(self, tensor: Tensor) -> None:
        self._notes.append((vars(tensor), dict(vars(tensor))))
        odd = any((is_lazy(tensor), tensor.is_meta, tensor.is_inference(), tensor.is_nested))
        if not (odd or isinstance(tensor, nn.Parameter)) and tensor.layout is torch.strided:
            self._tensors.append((tensor, tensor._version, tensor.detach().clone()))

    def restore(self) -> None:
        """Put everything back; what is as it was is not touched."""
        for mapping, before in self._mappings:
            if len(mapping) != len(before) or any(mapping.get(key, self) is not held for key, held in before.items()):
                mapping.clear()
                mapping.update(before)
        for sequence, items in self._sequences:
            if len(sequence) != len(items) or any(a is not b for a, b in zip(sequence, items, strict=True)):
                sequence[:] = items
        for group, members in self._sets:
            if group != members:
                group.clear()
                group.update(members)
        for notes, before in self._notes:
            if notes.keys() != before.keys() or any(notes[key] is not held for key, held in before.items()):
                notes.clear()
                notes.update(before)
        with torch.no_grad():
            for tensor, version, value in self._tensors:
                if tensor._version != version:
                    tensor.copy_(value)

    def check(self) -> None:
        """Raise ModelError where a parameter was written to."""
        written = [name for name, weight, version in self._weights if weight._version != version]
        if written:
            raise ModelError(WRITES.format(", ".join(written[:3])))
