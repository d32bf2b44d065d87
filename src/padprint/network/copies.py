"""Copies of a network to try things on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.support.wording import first_line


def cpu_copy(model: nn.Module, unused: Collection[str] = (), *, double: bool = True) -> nn.Module:
    """A copy on the CPU in double precision, which keeps NaN in its place: fast convolution algorithms mix neighbours.

    Args:
        model: copied, and left alone.
        unused: names of modules that will not be run, whose weights need not be copied.
        double: False keeps the precision, for networks that insist on it.

    Raises:
        ModelError: the model cannot be copied, or holds TorchScript, inside which padding cannot be seen.
    """
    return _copy_with(lambda tensor: _moved(tensor, "cpu", double=double), model, unused)


def shape_copy(model: nn.Module) -> nn.Module:
    """A copy without numbers, on the meta device, which runs on shapes alone.

    Raises:
        ModelError: the model cannot be copied, or holds TorchScript.
    """
    return _copy_with(lambda tensor: _moved(tensor, "meta"), model)


def _copy_with(change: Callable[[Tensor], Tensor], model: nn.Module, unused: Collection[str] = ()) -> nn.Module:
    made: dict[int, Any] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(f"{name} is TorchScript, inside which padding cannot be seen; pass the eager module")
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if id(tensor) not in made or name not in unused:
                made[id(tensor)] = tensor if name in unused else change(tensor)
    made_model = copied(model, made)
    for module in made_model.modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor):  # a plain attribute
                setattr(module, key, change(value))
    return made_model


def _moved(tensor: Tensor, device: str, *, double: bool = False) -> Tensor:
    dtype = tensor.dtype
    if double and tensor.is_floating_point():
        dtype = torch.float64
    elif double and tensor.is_complex():
        dtype = torch.complex128
    made = tensor.detach().to(device, dtype, copy=True)
    return nn.Parameter(made, requires_grad=False) if isinstance(tensor, nn.Parameter) else made


def copied(model: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """A deep copy, of an unflattened exported program too, whose input nodes hold what cannot be copied.

    Args:
        model: left alone.
        memo: what to put in the place of some objects, by ``id``, as for `copy.deepcopy`.

    Raises:
        ModelError: something in the model cannot be copied.
    """
    memo = {} if memo is None else memo
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, list) and value and isinstance(value[0], torch.fx.Node):
                memo[id(value)] = value  # only read: the sizes that the program takes
    kept = _results_kept(model)
    try:
        made: nn.Module = copy.deepcopy(model, {**memo, **{id(tensor): tensor.detach().clone() for tensor in kept}})
    except Exception as error:
        raise ModelError(f"the model cannot be copied: {first_line(error)}") from error
    names = [name for name, _ in model.named_modules()]
    copies = [name for name, _ in made.named_modules()] if hasattr(made, "named_modules") else []
    if copies != names:
        raise ModelError(
            f"a deep copy of the model ({type(model).__name__}) is not the same network: it has other modules; "
            "mend its __deepcopy__, or pass the network inside it"
        )
    for copied, original in zip(made.modules(), model.modules(), strict=True):
        copied.training = original.training
    return made


def _results_kept(model: nn.Module) -> list[Tensor]:
    """Tensors with a history of gradients that modules hold as attributes: results of an earlier pass."""
    held = (value for module in model.modules() for value in vars(module).values())
    return [value for value in held if isinstance(value, Tensor) and not value.is_leaf]
