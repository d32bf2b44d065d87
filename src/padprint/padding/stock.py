"""What torch's own modules tell of their padding without an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from padprint.padding.operators import read_call
from padprint.padding.space import Form, Verdict, form

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.Unfold)
PADS = tuple(
    getattr(nn, f"{kind}Pad{n}d")
    for kind in ("Constant", "Zero", "Reflection", "Replication", "Circular")
    for n in (1, 2, 3)
)
STOCK = (*_CONVOLUTIONS, *_TRANSPOSED, *_POOLS, *PADS)


def may_pad(module: nn.Module) -> bool:
    """Whether one of torch's own modules has padding to swap, as far as can be told without an input."""
    if isinstance(module, PADS) or own_way(type(module)):
        return True  # as it likes
    if isinstance(module, _TRANSPOSED):
        m = cast("Any", module)
        windows = zip(m.kernel_size, m.stride, m.dilation, m.padding, m.output_padding, strict=True)
        # output_size in the call may ask for any output padding below the stride
        return any(d * (k - 1) + max(e, s - 1) - p >= s for k, s, d, p, e in windows)
    padding = getattr(module, "padding", 0)
    if padding == "same":
        return any(k > 1 for k in cast("Any", module).kernel_size)
    padded = padding != "valid" and any(padding if isinstance(padding, Sequence) else [padding])
    return padded or bool(getattr(module, "ceil_mode", False))


def of_channels(model: nn.Module) -> set[str]:
    """Layers of one dimension in a network of two or three: they may run along channels, which only an input tells."""
    if not any(isinstance(module, (nn.Conv2d, nn.Conv3d)) for module in model.modules()):
        return set()
    lines = (nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d, *PADS[::3])
    return {name for name, module in model.named_modules() if isinstance(module, lines) and may_pad(module)}


def stated(module: nn.Module) -> dict[Form, Verdict]:
    """What torch's padding modules say of calls without a batch: as many dimensions as the name has are space."""
    if not isinstance(module, (nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)):
        return {}
    op = read_call(F.pad, (torch.empty([1] * (len(module.padding) // 2 + 1), device="meta"), module.padding), {})
    if op is None or not op.supplies:
        return {}
    plain = replace(op, fill=float(module.value), mode="constant" if module.value else "zeros")
    return {form(plain): Verdict(None)}


def own_way(kind: type[nn.Module]) -> bool:
    """Whether a class computes otherwise than the module of torch's that it derives from, if any."""
    base = next((base for base in kind.__mro__ if base in STOCK), None)
    return base is None or any(
        getattr(kind, method, None) is not getattr(base, method, None) for method in ("forward", "_conv_forward")
    )
