"""Small networks over one and over three axes of space, double precision: what `nets` has for images."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


class Causal(nn.Module):
    """WaveNet's stack: windows of two cells of the past, dilated by powers of two, added to what they are given."""

    def __init__(self, layers: int = 4, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv1d(2, channels, 1)
        self.steps = nn.ModuleList(nn.Conv1d(channels, channels, 2, dilation=2**i) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for step in self.steps:
            x = x + torch.tanh(step(F.pad(x, (step.dilation[0], 0))))
        return x


class UNet(nn.Module):
    """Strided steps down, transposed convolutions up, maps from the way down laid beside."""

    def __init__(self, axes: int, depth: int = 1, stride: object = 2) -> None:
        super().__init__()
        conv = CONV[axes]
        self.stem = conv(2, 3, 3, padding=1)
        self.down = nn.ModuleList(conv(3, 3, 3, stride, padding=1) for _ in range(depth))
        self.up = nn.ModuleList(TRANSPOSED[axes](3, 3, stride, stride) for _ in range(depth))
        self.merge = nn.ModuleList(conv(6, 3, 3, padding=1) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        maps = [torch.relu(self.stem(x))]
        for down in self.down:
            maps.append(torch.relu(down(maps[-1])))
        x = maps.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = torch.relu(merge(torch.cat([maps.pop(), up(x)], 1)))
        return x


class CircularTime(nn.Module):
    """The first axis wraps around, the others are padded with zeros."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        self.conv = CONV[axes](2, 3, 3)
        self.sides = [1, 1] * (axes - 1) + [0, 0]

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, [0, 0] * (x.dim() - 3) + [1, 1], mode="circular")
        return torch.relu(self.conv(F.pad(x, self.sides)))


class Gate(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, axes: int, channels: int) -> None:
        super().__init__()
        self.one, self.two = CONV[axes](channels, 2, 1), CONV[axes](2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(tuple(range(2, x.dim())), keepdim=True)
        return x * torch.sigmoid(self.two(torch.relu(self.one(mean))))


def _sequence(*modules: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*modules)


def local(axes: int) -> dict[str, nn.Module]:
    """Ten networks without statistics over the map, by name, of two channels."""
    torch.manual_seed(axes)
    conv = CONV[axes]

    def one(kernel: object, **options: object) -> nn.Module:
        return conv(3, 3, kernel, **options)

    found: dict[str, nn.Module] = {
        "padded": nn.Sequential(conv(2, 3, 3, padding=1), nn.ReLU(), NORM[axes](3), one(5, padding=2)),
        "dilated": nn.Sequential(conv(2, 3, 3, padding=1), nn.Tanh(), one(3, padding=2, dilation=2)),
        "strided": nn.Sequential(conv(2, 3, 3, stride=2, padding=1), nn.ReLU(), one(3, stride=2, padding=1)),
        "pooled": nn.Sequential(conv(2, 3, 3, padding=1), MAX_POOL[axes](3, 2, 1), one(3, padding=1)),
        "transposed": nn.Sequential(conv(2, 3, 3, stride=2, padding=1), TRANSPOSED[axes](3, 3, 3, 2, 1, 1)),
        "U-Net": UNet(axes),
        "circular time": CircularTime(axes),
        "one by one": nn.Sequential(conv(2, 3, 1), nn.ReLU(), one(1)),
        "even": nn.Sequential(conv(2, 3, 4, padding=1), nn.ReLU(), one(2, padding=1)),
    }
    if axes == 1:
        found["causal"] = Causal()
    else:
        thin, steps = (1, 3, 3), (1, 2, 2)
        found["anisotropic"] = nn.Sequential(
            conv(2, 3, thin, steps, (0, 1, 1)),
            nn.ReLU(),
            one((3, 1, 1), padding=(1, 0, 0)),
            one(thin, padding=(0, 1, 1)),
        )
    return {name: net.double().eval() for name, net in found.items()}


def whole(axes: int) -> dict[str, nn.Module]:
    """Networks with statistics over the map."""
    torch.manual_seed(axes)
    conv = CONV[axes]
    found = {
        "instance norm": nn.Sequential(
            conv(2, 3, 3, padding=1), INSTANCE[axes](3), nn.ReLU(), conv(3, 3, 3, padding=1)
        ),
        "gate": nn.Sequential(conv(2, 4, 3, padding=1), Gate(axes, 4), conv(4, 3, 3, stride=2, padding=1)),
    }
    return {name: net.double().eval() for name, net in found.items()}


def scenes(axes: int, size: int | tuple[int, ...], count: int = 5, channels: int = 2) -> list[Tensor]:
    """Smooth random scenes, double precision."""
    shape = (size,) * axes if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(7)
    found = []
    for _ in range(count):
        x = torch.randn(1, channels, *shape, generator=generator, dtype=torch.float64)
        pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[axes]
        found.append((x + 3 * pool(x, 3, 1, 1))[0])
    return found
