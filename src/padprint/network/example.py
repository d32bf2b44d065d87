"""Inputs to try a network on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from padprint.errors import ModelError


def input_channels(model: nn.Module) -> int:
    """Channels of the images that a network is for: 3, unless none of its two-dimensional convolutions takes 3; then those of the first."""
    taken = [one.in_channels for one in model.modules() if isinstance(one, nn.Conv2d)]
    return 3 if 3 in taken or not taken else taken[0]


def example_for(model: nn.Module, channels: int, size: tuple[int, int]) -> Tensor:
    """A harmless input `(1, channels, *size)`: not constant, so that no normalisation divides by zero."""
    blank = blank_for(model, channels, size)
    return blank + torch.linspace(-1, 1, size[1], dtype=blank.dtype, device=blank.device)


def blank_for(model: nn.Module, channels: int, size: tuple[int, int]) -> Tensor:
    """Zeros `(1, channels, *size)` in a model's precision, on its device."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    return torch.zeros(1, channels, *size) if parameter is None else parameter.new_zeros(1, channels, *size)


def crop_size(crop: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) from one number or two.

    Raises:
        ModelError: not one or two positive whole numbers.
    """
    pair: tuple[Any, ...] = tuple(crop) if isinstance(crop, Sequence) else (crop, crop)
    if len(pair) != 2 or not all(type(n) is int and n > 0 for n in pair):
        raise ModelError(f"crop must be a positive number of pixels or (height, width), but got {crop!r}")
    return pair[0], pair[1]
