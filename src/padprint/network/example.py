"""Inputs to try a network on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.network.layers import axes_of, space_axes
from padprint.support.axes import MOST, Size, plural


def input_channels(model: nn.Module) -> int:
    """Channels of the images that a network is for: those of its first convolution over as many axes as it takes.

    Of a network for images of two axes 3, if any of its convolutions takes 3; 3 where there is no convolution.
    """
    axes = space_axes(model)
    taken = [
        int(one.in_channels)
        for one in model.modules()
        if isinstance(one, nn.modules.conv._ConvNd) and axes_of(one) == axes
    ]
    return 3 if not taken or (axes == 2 and 3 in taken) else taken[0]


def example_for(model: nn.Module, channels: int, size: Size) -> Tensor:
    """A harmless input `(1, channels, *size)`: not constant, so that no normalisation divides by zero."""
    blank = blank_for(model, channels, size)
    return blank + torch.linspace(-1, 1, size[-1], dtype=blank.dtype, device=blank.device)


def blank_for(model: nn.Module, channels: int, size: Size) -> Tensor:
    """Zeros `(1, channels, *size)` in a model's precision, on its device."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    return torch.zeros(1, channels, *size) if parameter is None else parameter.new_zeros(1, channels, *size)


def crop_size(crop: int | Sequence[int], axes: int = 2, what: str = "crop") -> Size:
    """One number for each of so many axes, from one number for all or one for each.

    Raises:
        ModelError: no positive whole numbers, or another number of them.
    """
    found: tuple[Any, ...] = tuple(crop) if isinstance(crop, Sequence) else (crop,) * axes
    if not found or not all(type(n) is int and n > 0 for n in found):
        raise ModelError(
            f"{what} must be a positive number of pixels, or one for each axis such as (height, width), but got {crop!r}"
        )
    if len(found) != axes:
        raise ModelError(f"{what} must be one number, or one for each of {plural(axes)}, but got {crop!r}")
    return found


def crop_for(model: nn.Module, crop: int | Sequence[int], what: str = "crop") -> Size:
    """The size of a crop where there are no images yet: one number is for every axis that the network runs over.

    Raises:
        ModelError: no positive whole numbers, or more than three.
    """
    axes = min(max(1, len(crop)), MOST) if isinstance(crop, Sequence) else space_axes(model)
    return crop_size(crop, axes, what)
