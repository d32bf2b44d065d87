"""Watch every torch call a model makes, with the module it was made in.

A `TorchFunctionMode` sees modules' and functional calls alike, under no_grad, inference_mode and grad mode, and in the
graphs that `torch.export.unflatten` gives back. It does not see inside TorchScript or compiled graphs, and a handler
that runs an operator does so with the mode switched off, so calls made inside are not seen twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn
from torch.overrides import TorchFunctionMode


class Call(NamedTuple):
    """Identity of one call: stable between runs of the same model on inputs of different sizes."""

    module: str
    operator: str
    ordinal: int

    def __str__(self) -> str:
        return f"{self.operator} in {self.module or 'the model itself'}"


Handler = Callable[[Call, Callable[..., Any], Sequence[Any], dict[str, Any]], Any]


class Interceptor(TorchFunctionMode):
    """Hands every torch call made inside the `with` block to `handler`, which runs it and returns its result.

    Args:
        model: whose modules name the calls.
        handler: called with (call, function, args, kwargs).
    """

    def __init__(self, model: nn.Module, handler: Handler) -> None:
        super().__init__()
        self._model = model
        self._handler = handler
        self._stack = [""]
        self._counts: Counter[tuple[str, str]] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        operator = _operator_name(func)
        where = (self._stack[-1], operator)
        call = Call(*where, self._counts[where])
        self._counts[where] += 1
        return self._handler(call, func, args, kwargs or {})

    @contextmanager
    def running(self) -> Iterator[None]:
        """Intercept, and follow which module is running, until the block ends or raises."""
        handles = []
        try:
            for name, module in self._model.named_modules():
                handles.append(module.register_forward_pre_hook(self._entering(name), prepend=True))
                handles.append(module.register_forward_hook(self._leaving))
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any) -> None:
            self._stack.append(name)

        return hook

    def _leaving(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        self._stack.pop()


def _operator_name(func: Callable[..., Any]) -> str:
    schema = getattr(func, "_schema", None)
    return str(schema.name).removeprefix("aten::") if schema is not None else getattr(func, "__name__", "?")
