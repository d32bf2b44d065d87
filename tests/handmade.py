"""Small networks of one kind each, with their rims worked out by hand, and networks that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grammar import Network
from grammar_ops import MODES, Op, Step


def of(
    *modules: nn.Module | Callable[[Tensor], Any],
    stride: int | Fraction = 1,
    block: int = 1,
    reach: int = 8,
    ending: str = "map",
) -> Network:
    """A network of known stride, period and reach, its parameters drawn."""
    steps = [one if isinstance(one, nn.Module) else Step(lambda s, x, f=one: f(x)) for one in modules]
    scale = Fraction(1) / stride
    op = Op(nn.Sequential(*steps), "by hand", 0, (scale, scale), (block, block), reach)
    net = Network([op], ending=ending).double().eval()
    generator = torch.Generator().manual_seed(5)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def conv(k: int = 3, cin: int = 3, cout: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, k, **{"padding": k // 2, **options})


def clamped(x: Tensor, dim: int, shift: int) -> Tensor:
    n = x.shape[dim]
    return x.index_select(dim, (torch.arange(n) + shift).clamp(0, n - 1))


def warped(x: Tensor, dx: float) -> Tensor:
    h, w = x.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(h).to(x.dtype), torch.arange(w).to(x.dtype) + dx, indexing="ij")
    grid = torch.stack([(2 * columns + 1) / w - 1, (2 * rows + 1) / h - 1], -1)
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1), align_corners=False)


def circular_by_hand(x: Tensor) -> Tensor:
    x = torch.cat([x[..., -1:, :], x, x[..., :1, :]], 2)
    return torch.cat([x[..., -1:], x, x[..., :1]], 3)


def assigned(x: Tensor) -> Tensor:
    y = x.new_zeros(*x.shape[:2], x.shape[2] + 2, x.shape[3] + 2)
    y[..., 1:-1, 1:-1] = x
    return y


def shifted(x: Tensor) -> Tensor:
    y = x.clone()
    y[..., 1:, :] += x[..., :-1, :]
    y[..., :-1] -= x[..., 1:]
    return y


def box(x: Tensor) -> Tensor:
    """Over three columns, fewer at the edge, by running sums."""
    n, i = x.shape[-1], torch.arange(x.shape[-1])
    sums = F.pad(x, (1, 0)).cumsum(-1)
    low, high = (i - 1).clamp(min=0), (i + 2).clamp(max=n)
    return (sums[..., high] - sums[..., low]) / (high - low)


def by_fourier(x: Tensor) -> Tensor:
    """x[i] + x[i - 1] / 2 + x[i - 2] / 4 along rows, around the corner."""
    kernel = torch.tensor([1, 0.5, 0.25]).to(x.dtype)
    n = x.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(kernel, n), n)


def complex_of(x: Tensor) -> Tensor:
    real, imaginary = torch.linspace(-1, 1, 27).to(x), torch.linspace(2, -1, 27).to(x)
    return F.conv2d(torch.complex(x, x), torch.complex(real, imaginary).reshape(1, 3, 3, 3), padding=1).abs()


def coded(x: Tensor) -> Tensor:
    codes = torch.linspace(-2, 2, 15).to(x.dtype).reshape(5, 3)
    cells = x.permute(0, 2, 3, 1)
    return F.embedding(torch.cdist(cells, codes).argmin(-1), codes).permute(0, 3, 1, 2)


def unpooled(x: Tensor) -> Tensor:
    y, where = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(y.exp(), where, 2, output_size=x.shape[-2:])


def blocks(x: Tensor) -> Tensor:
    """Means over blocks of 4 x 4, zeros added at the bottom and on the right."""
    h, w = x.shape[-2:]
    y = F.pad(x, (0, -w % 4, 0, -h % 4)).unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2))
    return y.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :h, :w]


def to_a_multiple(x: Tensor) -> Tensor:
    h, w = x.shape[-2:]
    top, left = -h % 4 // 2, -w % 4 // 2
    y = F.pad(x, (left, -w % 4 - left, top, -h % 4 - top), "reflect")
    return F.interpolate(F.avg_pool2d(y, 4), scale_factor=4)[..., top : top + h, left : left + w]


def faded(x: Tensor) -> Tensor:
    """Three cells from the border are scaled down."""
    i = torch.arange(x.shape[-2])
    return x * (torch.minimum(i, x.shape[-2] - 1 - i).clamp(max=3) / 3).to(x.dtype)[:, None]


def by_numpy(x: Tensor) -> Tensor:
    a = np.pad(x.detach().numpy(), ((0, 0), (0, 0), (0, 2), (0, 0)), mode="edge")
    return torch.from_numpy(a[:, :, 2:].copy())


def flattened(x: Tensor) -> Tensor:
    """The neighbour on the right; at a row's end, the next row's first; none at the last."""
    y = x.flatten(2)
    return (y + F.pad(y[..., 1:], (0, 1))).reshape(x.shape)


def rows_of(x: Tensor, high: float) -> Tensor:
    return torch.linspace(-1, high, x.shape[-2], dtype=x.dtype)[:, None]


class Keeping(nn.Module):
    """Scales by what it makes of its first input."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make, self.kept = make, None

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.make(x) if self.kept is None else self.kept
        return x * self.kept


Make = Callable[[], Network]
Rim = tuple[int, int, int, int]

PLAIN: dict[str, tuple[Make, tuple[int, int], Rim]] = {
    "conv": (lambda: of(conv()), (32, 32), (1, 1, 1, 1)),
    "three convs": (lambda: of(conv(), nn.Tanh(), conv(), nn.Tanh(), conv()), (32, 32), (3, 3, 3, 3)),
    "conv, stride 2": (lambda: of(conv(stride=2), stride=2), (32, 33), (1, 0, 1, 1)),
    "conv, valid": (lambda: of(conv(5, padding=0)), (32, 32), (0, 0, 0, 0)),
    "conv, dilated": (lambda: of(conv(dilation=2, padding=2)), (32, 32), (2, 2, 2, 2)),
    "conv, same, even": (lambda: of(conv(4, padding="same")), (32, 32), (1, 2, 1, 2)),
    "conv, groups": (lambda: of(conv(groups=3)), (32, 32), (1, 1, 1, 1)),
    **{f"conv, {mode}": (lambda m=mode: of(conv(padding_mode=m)), (32, 32), (1, 1, 1, 1)) for mode in MODES},
    "F.pad": (lambda: of(lambda x: F.pad(x, (0, 2, 2, 1)), conv(padding=0)), (32, 32), (2, 1, 0, 2)),
    "max pool": (lambda: of(nn.MaxPool2d(3, 1, 1)), (32, 32), (1, 1, 1, 1)),
    "avg pool": (lambda: of(nn.AvgPool2d(3, 2, 1), stride=2), (32, 33), (1, 0, 1, 1)),
    "avg pool, ceil_mode": (lambda: of(nn.AvgPool2d(2, 2, ceil_mode=True), stride=2), (32, 33), (0, 0, 0, 1)),
    "lp pool": (lambda: of(nn.LPPool2d(2, 2), stride=2), (32, 32), (0, 0, 0, 0)),
    "transposed conv": (lambda: of(nn.ConvTranspose2d(3, 3, 4, 2, 1), stride=Fraction(1, 2)), (32, 32), (1, 1, 1, 1)),
    "nearest": (lambda: of(nn.Upsample(scale_factor=2), stride=Fraction(1, 2)), (32, 32), (0, 0, 0, 0)),
    "bilinear": (
        lambda: of(nn.Upsample(scale_factor=2, mode="bilinear"), stride=Fraction(1, 2)),
        (32, 32),
        (1, 1, 1, 1),
    ),
    "bicubic": (lambda: of(nn.Upsample(scale_factor=2, mode="bicubic"), stride=Fraction(1, 2)), (32, 32), (3, 3, 3, 3)),
    "pixel shuffle": (
        lambda: of(nn.PixelUnshuffle(2), conv(3, 12, 12), nn.PixelShuffle(2), block=2),
        (32, 32),
        (2, 2, 2, 2),
    ),
    "U-Net": (lambda: of(conv(stride=2), nn.Upsample(scale_factor=2), block=2), (32, 32), (2, 0, 2, 0)),
    "conv by unfold": (
        lambda: of(lambda x: F.unfold(x, 3, padding=1).reshape(len(x), 27, *x.shape[-2:]).sum(1, keepdim=True)),
        (32, 32),
        (1, 1, 1, 1),
    ),
    "batch norm": (lambda: of(conv(), nn.BatchNorm2d(3)), (32, 32), (1, 1, 1, 1)),
    "in place": (lambda: of(lambda x: x.sub_(0.2).div_(1.5), conv(), nn.ReLU(inplace=True)), (32, 32), (1, 1, 1, 1)),
    "channel scales": (
        lambda: of(conv(), lambda x: x * torch.tensor([1e-12, 1, 1e12]).to(x.dtype).view(3, 1, 1)),
        (32, 32),
        (1, 1, 1, 1),
    ),
}
"""Networks that must be measured: (network, crop, rim)."""

HARD: dict[str, tuple[Make, tuple[int, int], Rim]] = {
    "complex conv": (lambda: of(complex_of), (32, 32), (1, 1, 1, 1)),
    "sign": (lambda: of(conv(), torch.sign, conv()), (32, 32), (2, 2, 2, 2)),
    "where": (lambda: of(conv(), lambda x: torch.where(x > 0, 1.0, -1.0).to(x.dtype)), (32, 32), (1, 1, 1, 1)),
    "mask": (lambda: of(conv(), lambda x: (x > 0).to(x.dtype)), (32, 32), (1, 1, 1, 1)),
    "round": (lambda: of(conv(), lambda x: torch.round(4 * x)), (32, 32), (1, 1, 1, 1)),
    "uint8": (
        lambda: of(conv(), lambda x: (x.clamp(-3, 3) * 40 + 128).to(torch.uint8).to(x.dtype)),
        (32, 32),
        (1, 1, 1, 1),
    ),
    "argmax": (lambda: of(conv(), lambda x: x.argmax(1, keepdim=True).to(x.dtype)), (32, 32), (1, 1, 1, 1)),
    "nearest code": (lambda: of(conv(), coded), (32, 32), (1, 1, 1, 1)),
    "guard against NaN": (lambda: of(conv(), lambda x: torch.where(x.isnan(), 0.0, x)), (32, 32), (1, 1, 1, 1)),
    "nan_to_num": (lambda: of(conv(), torch.nan_to_num), (32, 32), (1, 1, 1, 1)),
    "fold of unfold": (lambda: of(lambda x: F.fold(F.unfold(x, 3), x.shape[-2:], 3)), (32, 32), (2, 2, 2, 2)),
    "running sums": (lambda: of(box), (32, 32), (0, 0, 1, 1)),
    "FFT": (lambda: of(by_fourier), (32, 32), (0, 0, 2, 0)),
    "slice assignment": (lambda: of(assigned, conv(padding=0)), (32, 32), (1, 1, 1, 1)),
    "shifted slices": (lambda: of(shifted), (32, 32), (1, 0, 0, 1)),
    "cat": (lambda: of(circular_by_hand, conv(padding=0)), (32, 32), (1, 1, 1, 1)),
    "look-up": (lambda: of(lambda x: clamped(x, 2, 2)), (32, 32), (0, 2, 0, 0)),
    "look-up, later": (lambda: of(conv(), lambda x: clamped(x, 3, -2)), (32, 32), (1, 1, 3, 0)),
    "roll": (lambda: of(lambda x: x.roll(1, 2)), (32, 32), (1, 0, 0, 0)),
    "roll, channels last": (
        lambda: of(lambda x: x.permute(0, 2, 3, 1).roll((1, -2), (1, 2)).permute(0, 3, 1, 2)),
        (32, 32),
        (1, 0, 0, 2),
    ),
    "unpool": (lambda: of(unpooled, block=2), (33, 32), (0, 1, 0, 0)),
    "windows": (lambda: of(blocks, block=4), (30, 32), (0, 2, 0, 0)),
    "to a multiple": (lambda: of(to_a_multiple, block=4), (30, 32), (3, 3, 0, 0)),
    "warp": (lambda: of(lambda x: warped(x, 1.5)), (32, 32), (0, 0, 0, 2)),
    "weights near the border": (lambda: of(faded), (32, 32), (3, 3, 0, 0)),
    "NumPy": (lambda: of(by_numpy), (32, 32), (0, 2, 0, 0)),
    "a flattened map": (lambda: of(flattened), (32, 32), (0, 0, 0, 1)),
    "labels": (lambda: of(conv(), ending="labels"), (32, 32), (1, 1, 1, 1)),
    "a mask": (lambda: of(conv(), ending="mask"), (32, 32), (1, 1, 1, 1)),
    "cache that changes nothing": (lambda: of(conv(), Keeping(lambda x: 2.0)), (32, 32), (1, 1, 1, 1)),
}
"""Networks whose padding is hard to see: this rim, a wider one, or a refusal."""

GLOBAL: dict[str, Make] = {
    "instance norm": lambda: of(nn.InstanceNorm2d(3)),
    "instance norm, later": lambda: of(conv(), nn.InstanceNorm2d(3), conv()),
    "group norm": lambda: of(conv(), nn.GroupNorm(1, 3)),
    "batch statistics": lambda: of(conv(), nn.BatchNorm2d(3, track_running_stats=False)),
    "softmax over space": lambda: of(lambda x: x.flatten(2).softmax(-1).reshape(x.shape)),
    "squeeze and excite": lambda: of(lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True))),
    "standardised": lambda: of(lambda x: (x - x.mean()) / x.std(), conv()),
    "divided by the largest": lambda: of(conv(), lambda x: x / x.abs().amax((1, 2, 3), keepdim=True)),
    "running sum": lambda: of(lambda x: x.cumsum(-1)),
    "another way by the mean": lambda: of(lambda x: 2 * x if bool(x.mean() > 0) else x),
    "coordinates": lambda: of(lambda x: x + rows_of(x, 1.0), conv()),
    "coordinates in cells": lambda: of(lambda x: x + rows_of(x, x.shape[-2] - 2.0), conv()),
    "stretched embedding": lambda: of(
        lambda x: x + F.interpolate(torch.linspace(-1, 1, 64).to(x.dtype).reshape(1, 1, 8, 8), x.shape[-2:]), conv()
    ),
    "size": lambda: of(lambda x: x / x.shape[-1], conv()),
    "another way by the size": lambda: of(lambda x: 2 * x if x.shape[-1] > 40 else x),
    "another way in large maps": lambda: of(conv(stride=2), lambda x: 2 * x if x.shape[-1] > 40 else x, stride=2),
    "labels by the aspect": lambda: of(
        conv(), lambda x: x * (x.shape[-1] / x.shape[-2]), conv(cout=4, bias=True), ending="labels"
    ),
    "fixed size": lambda: of(lambda x: F.interpolate(F.interpolate(x, (16, 16), mode="bilinear"), x.shape[-2:])),
    "align_corners": lambda: of(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), stride=Fraction(1, 2)
    ),
    "dropout": lambda: of(conv(), lambda x: F.dropout(x, 0.3)),
    "noise": lambda: of(lambda x: x + torch.randn_like(x)),
    "keeps a ratio": lambda: of(conv(), Keeping(lambda x: 30 / x.shape[-1])),
    "keeps a mean": lambda: of(conv(), Keeping(lambda x: x.mean())),
}
"""Networks that must be refused: what a crop's features are depends on more than the crop and the scene near it."""
