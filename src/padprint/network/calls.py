"""Watch every torch call that is made, with the module it was made in.

A `TorchFunctionMode` sees modules' and functional calls alike, under no_grad, inference_mode and grad mode, and in the
graphs that `torch.export.unflatten` gives back. It does not see inside TorchScript or compiled graphs, so their modules
are refused; and a handler that runs an operator does so with the mode switched off, so calls made inside are not seen
twice. Which module is running is followed by hooks on all modules, which act in the thread that entered the block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from padprint.errors import PaddingError


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

    Names are those of the outermost module that is called inside the block (`nn.Module.named_modules`); several may be
    called one after another. Blocks nest: the inner handler gets a call first, and what it runs goes to the outer one.

    Args:
        handler: called with (call, function, args, kwargs).
        root: the module whose calls alone are handled, wherever it runs; None: all calls.

    Raises:
        PaddingError: a module is TorchScript or compiled, inside which nothing can be seen.
    """

    def __init__(self, handler: Handler, root: nn.Module | None = None) -> None:
        super().__init__()
        self._handler, self._root = handler, root
        self._running: list[tuple[nn.Module, str]] = []  # from the outermost module to the one that runs
        self._names: dict[int, str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._thread = 0
        self._hooks: list[Any] = []
        self._outermost: tuple[nn.Module, tuple[Any, ...]] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if self._root is not None and not self._running:
            return func(*args, **(kwargs or {}))
        operator = operator_name(func)
        where = (self._running[-1][1] if self._running else "", operator)
        call = Call(*where, self._counts[where])
        self._counts[where] += 1
        return self._handler(call, func, args, kwargs or {})

    @property
    def outermost(self) -> tuple[nn.Module, tuple[Any, ...]] | None:
        """The outermost module that is running and what it was called with, keywords left out; None outside of all."""
        return self._outermost if self._running else None

    def __enter__(self) -> Interceptor:
        self._thread = get_ident()
        self._running.clear()
        self._hooks = [
            register_module_forward_pre_hook(self._entering),
            register_module_forward_hook(self._leaving, always_call=True),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def _entering(self, module: nn.Module, args: Any) -> None:
        if not self._mine() or (self._root is not None and not self._running and module is not self._root):
            return
        # a pass that a BaseException ended leaves its modules behind: the next one starts with the same module
        if not self._running or module is self._running[0][0]:
            self._running.clear()
            self._counts.clear()
            self._outermost = (module, args)
            self._names = {id(inner): name for name, inner in module.named_modules()}
            for name, inner in module.named_modules():
                if getattr(inner, "_compiled_call_impl", None) is not None:  # a compiler would trace its hooks
                    refuse_opaque(inner, name)
        name = self._names.get(id(module), self._running[-1][1] if self._running else "")
        self._running.append((module, name))
        refuse_opaque(module, name)

    def _leaving(self, module: nn.Module, args: Any, output: Any) -> None:
        if torch.compiler.is_dynamo_compiling():  # refused on entering
            return
        if self._mine() and any(running is module for running, _ in self._running):
            while self._running.pop()[0] is not module:
                pass
            if not self._running:
                self._outermost = None

    def _mine(self) -> bool:
        """Whether the hook was called in the thread that entered the block."""
        if torch.compiler.is_dynamo_compiling():  # refused, the compiler lets the hook run as it is
            raise PaddingError("a compiler traces the model, inside which padding cannot be seen")
        return get_ident() == self._thread


def operator_name(func: Callable[..., Any]) -> str:
    """What a mode was handed, by name: ``conv2d`` for a function and for ATen's, ``torchvision::nms`` for other libraries'."""
    schema = getattr(func, "_schema", None)
    name = getattr(func, "_qualified_op_name", None) if schema is None else schema.name
    return getattr(func, "__name__", "?") if name is None else str(name).removeprefix("aten::")


def depended_on(operator: str, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Of a call's tensors those whose numbers decide what it returns; the others give it a type, a device or a shape alone.

    ``weight.to(x)`` is the weight whatever x holds, and may be the very same tensor.

    Args:
        operator: see `operator_name`.
        inputs: the tensors it is called with, in order.
    """
    if operator in _LIKE_OTHERS:
        return list(inputs[:1])
    if operator.endswith("_like") or operator.startswith("new_"):
        return list(inputs[1:])
    return list(inputs)


_LIKE_OTHERS = {"to", "type_as", "expand_as", "view_as", "reshape_as", "resize_as_"}
"""Operators that change the first tensor's type or shape to that of another."""


def refuse_opaque(module: nn.Module, name: str) -> None:
    """Refuse a module inside which nothing can be seen.

    Raises:
        PaddingError: it is TorchScript or compiled.
    """
    compiled = hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
    if compiled or isinstance(module, torch.jit.ScriptModule):
        kind, instead = ("compiled", "uncompiled") if compiled else ("TorchScript", "eager")
        raise PaddingError(
            f"{name or 'the model'} is {kind}, inside which padding cannot be seen; use the {instead} module"
        )
