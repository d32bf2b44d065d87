"""Inputs to try a network on."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def example_for(model: nn.Module, channels: int, size: tuple[int, int]) -> Tensor:
    """A harmless input `(1, channels, *size)`: not constant, so that no normalisation divides by zero."""
    blank = blank_for(model, channels, size)
    return blank + torch.linspace(-1, 1, size[1], dtype=blank.dtype, device=blank.device)


def blank_for(model: nn.Module, channels: int, size: tuple[int, int]) -> Tensor:
    """Zeros `(1, channels, *size)` in a model's precision, on its device."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    return torch.zeros(1, channels, *size) if parameter is None else parameter.new_zeros(1, channels, *size)
