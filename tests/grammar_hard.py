"""Operators of the grammar that hide what they do: by hand, by NumPy, by size, by chance, by memory, by rare content."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grammar_ops import Draw, Op, Step, alike, operator, twice


@operator
def fade(d: Draw) -> Op:
    """A weight by the distance to the border: a rim without any padding."""
    n = d.whole(1, 4)

    def run(s: Any, x: Tensor) -> Tensor:
        for dim in (2, 3):
            i = torch.arange(x.shape[dim], dtype=x.dtype)
            weight = (torch.minimum(i, x.shape[dim] - 1 - i).clamp(max=n) + 1) / (n + 1)
            x = x * (weight[:, None] if dim == 2 else weight)
        return x

    return alike(d, f"faded over {n} cells from the border", run, reach=n)


@operator
def coverage(d: Draw) -> Op:
    """Partial convolution: divided by how much of the window lies on the map."""
    kind = d.pick("divided", "alone")

    def run(s: Any, x: Tensor) -> Tensor:
        ones = F.conv2d(torch.ones_like(x[:, :1]), torch.ones(1, 1, 3, 3, dtype=x.dtype), padding=1)
        return F.conv2d(x, s.weight, padding=1) / ones if kind == "divided" else x * ones / 9

    return Op(Step(run, weight=d.weights(d.c, d.c, 3, 3)), f"coverage of the window, {kind}", d.c, reach=2)


@operator
def cropped(d: Draw) -> Op:
    n, mode = d.whole(1, 2), d.pick("constant", "reflect", "replicate")
    by = d.pick("slice", "negative pad")

    def run(s: Any, x: Tensor) -> Tensor:
        y = x[..., n:-n, n:-n] if by == "slice" else F.pad(x, (-n,) * 4)
        return F.pad(y, (n,) * 4, mode)

    return alike(d, f"{n} cells cut by {by} and put back ({mode})", run, reach=3 * n)


@operator
def panorama(d: Draw) -> Op:
    def run(s: Any, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(F.pad(x, (1, 1, 0, 0), "circular"), (0, 0, 1, 1)), s.weight)

    return Op(Step(run, weight=d.weights(4, d.c, 3, 3)), "circular along x, zeros along y, conv", 4, reach=2)


@operator
def learned_border(d: Draw) -> Op:
    def run(s: Any, x: Tensor) -> Tensor:
        row = s.border.expand(len(x), -1, 1, x.shape[3])
        x = torch.cat([row, x, row], 2)
        column = s.border.expand(len(x), -1, x.shape[2], 1)
        return F.conv2d(torch.cat([column, x, column], 3), s.weight)

    own = {"border": d.normal(1, d.c, 1, 1), "weight": d.weights(4, d.c, 3, 3)}
    return Op(Step(run, **own), "learned border by cat, conv", 4, reach=2)


@operator
def flattened(d: Draw) -> Op:
    """A convolution over the flattened map: a row's end is the next row's neighbour."""

    def run(s: Any, x: Tensor) -> Tensor:
        return F.conv1d(x.flatten(2), s.weight, padding=1).reshape(len(x), 4, *x.shape[2:])

    return Op(Step(run, weight=d.weights(4, d.c, 3)), "conv1d over the flattened map", 4, reach=2)


@operator
def halves(d: Draw) -> Op:
    """The map in two halves, each padded on its own: a seam in the middle."""
    axis = d.pick(2, 3)

    def run(s: Any, x: Tensor) -> Tensor:
        return torch.cat([F.conv2d(part, s.weight, padding=1) for part in x.chunk(2, axis)], axis)

    return Op(Step(run, weight=d.weights(4, d.c, 3, 3)), f"two halves along {'yx'[axis - 2]}, each padded", 4, reach=2)


@operator
def mirrored(d: Draw) -> Op:
    kinds: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "x + x.flip": lambda s, x: x + x.flip(-1),
        "rolled by half": lambda s, x: x + x.roll(x.shape[-1] // 2, -1),
        "fftshift": lambda s, x: torch.fft.fftshift(x, (-2, -1)),
    }
    kind = d.pick(*kinds)
    return alike(d, kind, kinds[kind])


@operator
def tiles(d: Draw) -> Op:
    """Tiles of 8 x 8, each padded on its own, the last ones smaller."""
    n = 8

    def run(s: Any, x: Tensor) -> Tensor:
        rows = [
            torch.cat([F.conv2d(part, s.weight, padding=1) for part in row.split(n, 3)], 3) for row in x.split(n, 2)
        ]
        return torch.cat(rows, 2)

    return Op(Step(run, weight=d.weights(4, d.c, 3, 3)), "tiles of 8 x 8, each padded", 4, block=(n, n), reach=2)


@operator
def space_to_batch(d: Draw) -> Op:
    def run(s: Any, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(4 * b, c, h // 2, w // 2)
        y = F.conv2d(y, s.weight, padding=1)
        return y.reshape(b, 2, 2, 4, h // 2, w // 2).permute(0, 3, 4, 1, 5, 2).reshape(b, 4, h, w)

    return Op(Step(run, weight=d.weights(4, d.c, 3, 3)), "space to batch, conv, back", 4, block=(2, 2), reach=4)


@operator
def inside_windows(d: Draw) -> Op:
    """A mean over three cells along each axis, its window moved so that it lies on the map."""

    def run(s: Any, x: Tensor) -> Tensor:
        for dim in (2, 3):
            n = x.shape[dim]
            first = (torch.arange(n) - 1).clamp(0, n - 3)
            parts = [x.index_select(dim, first + k) * w for k, w in enumerate((0.5, 0.3, 0.4))]
            x = parts[0] + parts[1] + parts[2]
        return x

    return alike(d, "windows of three kept inside the map", run, reach=2)


@operator
def numpy_filter(d: Draw) -> Op:
    """Through NumPy and back."""
    kind = d.pick("pad edge", "pad wrap", "roll", "gradient")

    def run(s: Any, x: Tensor) -> Tensor:
        a = x.detach().numpy()
        if kind == "roll":
            return x + torch.from_numpy(np.roll(a, 1, -1).copy())
        if kind == "gradient":
            return torch.from_numpy(np.gradient(a, axis=2).copy())
        a = np.pad(a, ((0, 0), (0, 0), (1, 1), (1, 1)), mode=kind.removeprefix("pad "))  # type: ignore[call-overload]
        return torch.from_numpy((a[..., 2:, 1:-1] - a[..., :-2, 1:-1] + a[..., 1:-1, 2:]).copy())

    return alike(d, f"NumPy: {kind}", run, reach=2)


@operator
def strided_view(d: Draw) -> Op:
    def run(s: Any, x: Tensor) -> Tensor:
        y = F.pad(x, (1, 1, 1, 1)).contiguous()
        b, c, h, w = y.shape
        sb, sc, sh, sw = y.stride()
        windows = y.as_strided((b, c, h - 2, w - 2, 3, 3), (sb, sc, sh, sw, sh, sw))
        return torch.einsum("bchwij,ocij->bohw", windows, s.weight)

    return Op(Step(run, weight=d.weights(4, d.c, 3, 3)), "conv by as_strided and einsum", 4, reach=2)


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=1)


@operator
def functional(d: Draw) -> Op:
    """Convolutions inside autograd's machinery."""

    def gradient(s: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            z = x.detach().clone().requires_grad_()
            energy = torch.tanh(F.conv2d(z, s.weight.detach(), padding=1)).square().sum()
        return torch.autograd.grad(energy, z)[0]

    kinds: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "autograd.Function": lambda s, x: Doubling.apply(x, s.weight),
        "gradient of an energy": gradient,
        "vmap": lambda s, x: torch.func.vmap(lambda one: F.conv2d(one[None], s.weight, padding=1)[0])(x),
    }
    kind = d.pick(*kinds)
    return alike(d, kind, kinds[kind], reach=4, weight=d.weights(d.c, d.c, 3, 3))


@operator
def other_dims(d: Draw) -> Op:
    """Padding along channels, which is none along the image."""
    kinds: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "local response norm": lambda s, x: F.local_response_norm(x, 3),
        "conv3d over channels": lambda s, x: F.conv3d(x[:, None], s.weight, padding=(1, 0, 0))[:, 0],
        "conv3d": lambda s, x: F.conv3d(x[:, None], s.wide, padding=1)[:, 0],
        "channels rolled": lambda s, x: x.roll(1, 1),
    }
    kind = d.pick(*kinds)
    return alike(d, kind, kinds[kind], reach=2, weight=d.weights(1, 1, 3, 1, 1), wide=d.weights(1, 1, 3, 3, 3))


@operator
def rare(d: Draw) -> Op:
    """What only rare content sets off."""
    kinds: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "relu above 2.5": lambda s, x: F.relu(x - 2.5),
        "mask above 2": lambda s, x: (x > 2).to(x.dtype),
        "divided by the largest above 9": lambda s, x: x / (x.abs().amax() / 9).clamp(min=1),
        "faint": lambda s, x: x + 1e-6 * torch.sign(F.conv2d(x, s.weight, padding=1)),
        "fainter": lambda s, x: x + 1e-8 * F.conv2d(x, s.weight, padding=1),
        "large next to small": lambda s, x: torch.cat([1e9 * x[:, :1], 1e-6 * F.avg_pool2d(x, 3, 1, 1)[:, 1:]], 1),
        "dead": lambda s, x: F.relu(-x.abs() - 1),
        "dead but for zeros": lambda s, x: F.relu(1e-3 - F.avg_pool2d(x.abs(), 5, 1, 2)),
    }
    kind = d.pick(*kinds)
    return alike(d, kind, kinds[kind], reach=4, weight=d.weights(d.c, d.c, 3, 3))


@operator
def by_size(d: Draw) -> Op:
    def at_least(s: Any, x: Tensor, n: int) -> Tensor:
        h, w = x.shape[-2:]
        y = F.pad(x, (0, max(0, n - w), 0, max(0, n - h)))
        return F.conv2d(F.pad(y, (1, 1, 1, 1), "replicate"), s.weight)[..., :h, :w]

    def middle(s: Any, x: Tensor) -> Tensor:
        i = (torch.arange(x.shape[-1]) - x.shape[-1] // 2) % 4
        return x + s.embedding[..., :1, :][..., i]

    def from_the_end(s: Any, x: Tensor) -> Tensor:
        i = torch.arange(x.shape[-1]).flip(0) % 4
        return x + s.embedding[..., :1, :][..., i]

    def demands(s: Any, x: Tensor) -> Tensor:
        if x.shape[-1] % 4 or x.shape[-2] % 4:
            raise ValueError(f"sizes must be multiples of 4, not {tuple(x.shape[-2:])}")
        return x

    def square(s: Any, x: Tensor) -> Tensor:
        if x.shape[-1] != x.shape[-2]:
            raise ValueError("only square inputs")
        return x

    kinds: dict[str, tuple[Callable[[Any, Tensor], Tensor], int]] = {
        "padded to 48 at least": (lambda s, x: at_least(s, x, 48), 1),
        "another way in maps above 40": (lambda s, x: 2 * x if x.shape[-1] > 40 else x, 1),
        "another way in maps above 4000": (lambda s, x: 2 * x if x.shape[-2] > 400 else x, 1),
        "by the aspect": (lambda s, x: x * x.shape[-1] / x.shape[-2], 1),
        "embedding tiled from the middle": (middle, 4),
        "embedding tiled from the end": (from_the_end, 4),
        "demands multiples of 4": (demands, 4),
        "demands squares": (square, 1),
        "fixed noise": (
            lambda s, x: x + torch.randn(x.shape[-2:], generator=torch.Generator().manual_seed(0), dtype=x.dtype),
            1,
        ),
        "turned by affine_grid": (
            lambda s, x: F.grid_sample(
                x,
                F.affine_grid(
                    torch.tensor([[[0.9, 0.1, 0], [-0.1, 0.9, 0]]], dtype=x.dtype).expand(len(x), 2, 3),
                    x.shape,
                    align_corners=False,
                ),
                align_corners=False,
            ),
            1,
        ),
        "pool indices as features": (
            lambda s, x: F.max_pool2d(x, 3, 1, 1, return_indices=True)[1].to(x.dtype) / 1000,
            1,
        ),
        "to half the size by adaptive pool": (
            lambda s, x: F.interpolate(F.adaptive_avg_pool2d(x, [n // 2 for n in x.shape[-2:]]), x.shape[-2:]),
            2,
        ),
    }
    kind = d.pick(*kinds)
    op = alike(d, kind, kinds[kind][0], reach=4, embedding=d.normal(1, d.c, 4, 4), weight=d.weights(d.c, d.c, 3, 3))
    op.block = (kinds[kind][1],) * 2
    return op


@operator
def by_batch(d: Draw) -> Op:
    """What depends on the other images of the batch."""
    kinds: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "half the batch's mean taken away": lambda s, x: x - 0.5 * x.mean(0, keepdim=True),
        "the neighbour in the batch": lambda s, x: x + 0.5 * x.roll(1, 0),
        "the first image": lambda s, x: x + 0.5 * x[:1],
        "batch size": lambda s, x: x * len(x),
    }
    kind = d.pick(*kinds)
    return alike(d, kind, kinds[kind])


@operator
def memory(d: Draw) -> Op:
    """State that a pass leaves behind: in a buffer, a list, a reused output."""
    kind = d.pick("buffer", "list", "reused output", "weights", "running mean")

    def run(s: Any, x: Tensor) -> Tensor:
        if kind == "buffer":
            s.count.add_(1)
            return x * s.count
        if kind == "list":
            s.kept.append(x.shape[-1])
            return x * (1 + 0.1 * len(s.kept))
        if kind == "weights":
            with torch.no_grad():
                s.weight.mul_(1.1)
            return x * s.weight
        if kind == "running mean":
            s.count.mul_(0.9).add_(0.1 * x.mean())
            return x - s.count
        shape = tuple(x.shape)
        if shape not in s.outputs:
            s.outputs[shape] = torch.empty_like(x)
        return torch.mul(x, 2, out=s.outputs[shape])

    step = Step(run, kept=[], outputs={}, weight=torch.ones(1))
    step.register_buffer("count", torch.zeros(()))
    return Op(step, f"remembers: {kind}", d.c)


@operator
def precision(d: Draw) -> Op:
    kinds: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "bfloat16": lambda s, x: x.bfloat16().to(x.dtype),
        "float16": lambda s, x: x.half().to(x.dtype),
        "log": lambda s, x: torch.log(x + 2.5),
        "square root": lambda s, x: torch.sqrt(x + 3),
    }
    kind = d.pick(*kinds)
    return alike(d, kind, kinds[kind])


@operator
def patches(d: Draw) -> Op:
    """A stem of patches, or large steps."""
    k = d.pick(3, 4)
    pad = d.pick(0, 1)
    module = d.filled(nn.Conv2d(d.c, 4, d.pick(k, k + 3), k, pad))
    return Op(
        module, f"conv of kernel {module.kernel_size}, stride {k}, padding {pad}", 4, twice(Fraction(1, k)), reach=8
    )


@operator
def far(d: Draw) -> Op:
    """A dilated convolution that reaches far, padded."""
    n, mode = d.pick(6, 10, 15), d.pick("zeros", "reflect", "circular")
    module = d.filled(nn.Conv2d(d.c, 4, 3, padding=n, dilation=n, padding_mode=mode))
    return Op(module, f"conv of dilation {n}, {mode}", 4, reach=n)


@operator
def from_the_end(d: Draw) -> Op:
    return Op(
        Step(lambda s, x: x.flip(-1)[..., ::2, ::2].flip(-1)), "x[::2, ::2] from the right", d.c, twice(Fraction(1, 2))
    )
