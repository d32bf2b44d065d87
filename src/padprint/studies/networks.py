"""Small networks that the studies train from scratch: a residual one and a VGG-like one, four resolutions each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.network.loading import load_model

WIDTHS = (8, 16, 24, 32)
"""Channels at 1, 1/2, 1/4 and 1/8 of the input's resolution."""


class Block(nn.Module):
    """A basic residual block: two 3x3 convolutions, and a 1x1 convolution where the shape changes (He et al., 2016)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, before, H, W)` to `(B, after, H / stride, W / stride)`."""
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class Staged(nn.Module):
    """Stages at falling resolution, a global mean, and a linear classifier: nothing but padding knows where a cell is.

    Args:
        stages: each halves the resolution but the first; their outputs are what is measured.
        width: channels of the last one.
        classes: of the task.
    """

    def __init__(self, stages: Sequence[nn.Module], width: int, classes: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 3, H, W)` to `(B, classes)` logits."""
        logits: Tensor = self.head(self.stages(x).mean((-2, -1)))
        return logits


def residual(classes: int, widths: Sequence[int] = WIDTHS) -> Staged:
    """A 3x3 convolution, then one basic block at each further resolution, strided."""
    stages: list[nn.Module] = [_convolution(3, widths[0])]
    stages += [Block(before, after, 2) for before, after in pairwise(widths)]
    return Staged(stages, widths[-1], classes)


def vgg(classes: int, widths: Sequence[int] = WIDTHS) -> Staged:
    """3x3 convolutions with BatchNorm, one at the input's resolution and two at each further one, and max pooling."""
    stages: list[nn.Module] = [_convolution(3, widths[0])]
    for before, after in pairwise(widths):
        stages.append(nn.Sequential(nn.MaxPool2d(2), _convolution(before, after), _convolution(after, after)))
    return Staged(stages, widths[-1], classes)


def _convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


NETWORKS: Mapping[str, Callable[[int], Staged]] = {"residual": residual, "vgg": vgg}


def build(spec: str, classes: int, seed: int) -> nn.Module:
    """A network with fresh weights, which depend on the seed alone.

    Args:
        spec: "residual", "vgg", or what `padprint.models.load_model` takes; such a network needs `classes` outputs or
            more, and those in excess stay unused.
        classes: of the task.
        seed: of the weights.

    Raises:
        ModelError: there is no such network, or its weights are not random.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if spec in NETWORKS:
            return NETWORKS[spec](classes)
        if ":" not in spec:
            names = ", ".join(NETWORKS)
            raise ModelError(
                f"there is no network {spec!r}: take {names}, or torchvision:NAME, timm:NAME, package.module:factory"
            )
        return load_model(spec).model
