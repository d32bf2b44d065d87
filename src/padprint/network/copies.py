"""Copies of a network to try things on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.network.layers import copied


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
