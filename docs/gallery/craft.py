"""The text detector CRAFT (Baek et al., CVPR 2019, arXiv 1904.01941), written from the paper for the gallery.

A VGG-16 with batch normalisation, whose maps at four depths are joined from the deepest to the shallowest, and five
convolutions for two maps of scores at half the input's resolution. Parameters have the names of the published weights.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512)
"""VGG-16's convolutions up to the second of the last block."""
ENDS = (12, 19, 29, 39)
"""Where the four slices end, counting convolutions, normalisations, activations and pools."""


def vgg() -> list[nn.Module]:
    """The modules of VGG-16 with batch normalisation, in order."""
    modules: list[nn.Module] = []
    channels = 3
    for width in WIDTHS:
        if isinstance(width, str):
            modules.append(nn.MaxPool2d(2))
        else:
            modules += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
    return modules


class Backbone(nn.Module):
    """Maps at strides 2, 4, 8, 16 and 16."""

    def __init__(self) -> None:
        super().__init__()
        start = 0
        modules = vgg()
        for i, end in enumerate(ENDS):
            named = [(str(k), modules[k]) for k in range(start, end)]
            self.add_module(f"slice{i + 1}", nn.Sequential(OrderedDict(named)))
            start = end
        self.slice5 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
            nn.Conv2d(1024, 1024, 1),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps by depth; those of the first three slices after their activation."""
        maps = []
        for i in range(1, 6):
            x = self.get_submodule(f"slice{i}")(x)
            maps.append(x.relu() if i < 4 else x)
            x = maps[-1]
        return maps


class Join(nn.Module):
    """Two convolutions over what comes from below and from the side."""

    def __init__(self, channels: int, middle: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, middle, 1),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, out, 3, padding=1),
            nn.BatchNorm2d(out),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(B, channels, h, w)` to `(B, out, h, w)`."""
        return self.conv(x)


class Craft(nn.Module):
    """Scores of characters and of the links between them."""

    def __init__(self) -> None:
        super().__init__()
        self.basenet = Backbone()
        self.upconv1 = Join(1024 + 512, 512, 256)
        self.upconv2 = Join(256 + 512, 256, 128)
        self.upconv3 = Join(128 + 256, 128, 64)
        self.upconv4 = Join(64 + 128, 64, 32)
        self.conv_cls = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 1),
            nn.ReLU(),
            nn.Conv2d(16, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 3, H, W)` images to `(B, 2, H / 2, W / 2)` scores."""
        one, two, three, four, deepest = self.basenet(x)
        y = self.upconv1(torch.cat([deepest, four], 1))
        for join, side in ((self.upconv2, three), (self.upconv3, two), (self.upconv4, one)):
            y = join(torch.cat([F.interpolate(y, size=side.shape[2:], mode="bilinear", align_corners=False), side], 1))
        return self.conv_cls(y)


def build() -> nn.Module:
    """The network, to be given its weights with --weights."""
    return Craft()
