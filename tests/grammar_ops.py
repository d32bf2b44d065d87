"""Operators of the grammar of random networks, and what each says of itself: channels, stride, period, reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[int, int]
ONE = (Fraction(1), Fraction(1))
MODES = ("zeros", "reflect", "replicate", "circular")


@dataclass
class Op:
    """One operator.

    Attributes:
        module: `(B, channels in, h, w)` to `(B, channels, h', w')`, or several of them in a tuple.
        text: what it is, with its parameters.
        channels: of its output.
        scale: output cells per input cell (y, x).
        block: cells of its input after which it repeats itself (y, x).
        reach: cells of its input that one of its cells can see in any direction, at most.
        kinds: of operators inside.
    """

    module: nn.Module
    text: str
    channels: int
    scale: tuple[Fraction, Fraction] = ONE
    block: Pair = (1, 1)
    reach: int = 0
    kinds: tuple[str, ...] = ()


class Step(nn.Module):
    """A function of (the module itself, x), with tensors of its own."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **own: Any) -> None:
        super().__init__()
        self.function = function
        for name, value in own.items():
            setattr(self, name, nn.Parameter(value) if isinstance(value, Tensor) else value)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


class Draw:
    """Where an operator's parameters come from."""

    def __init__(self, random: Random, channels: int) -> None:
        self.random, self.c = random, channels
        self.torch = torch.Generator().manual_seed(random.getrandbits(31))

    def pick(self, *values: Any) -> Any:
        return self.random.choice(values)

    def whole(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def normal(self, *shape: int, size: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=self.torch) * size

    def weights(self, *shape: int) -> Tensor:
        """Of a convolution or linear map: the output is about as large as the input."""
        fan = max(1, int(torch.tensor(shape[1:]).prod()))
        return self.normal(*shape, size=1.3 * fan**-0.5)

    def filled(self, module: nn.Module) -> nn.Module:
        for parameter in module.parameters():
            shape = tuple(parameter.shape)
            parameter.data.copy_(self.weights(*shape) if len(shape) > 1 else self.normal(*shape, size=0.3))
        return module


Maker = Callable[[Draw], Op]
OPERATORS: dict[str, Maker] = {}


def operator(make: Maker) -> Maker:
    OPERATORS[make.__name__] = make
    return make


def alike(d: Draw, text: str, function: Callable[[Any, Tensor], Any], reach: int = 0, **own: Any) -> Op:
    """An operator that keeps size and channels."""
    return Op(Step(function, **own), text, d.c, reach=reach)


def twice(scale: Fraction | int) -> tuple[Fraction, Fraction]:
    return Fraction(scale), Fraction(scale)


# ------------------------------------------------------------------------------------------------------- convolutions


@operator
def conv(d: Draw) -> Op:
    k = d.pick((3, 3), (d.whole(1, 5), d.whole(1, 5)), (5, 5), (1, 1))
    stride = d.pick((1, 1), (1, 1), (2, 2), (1, 2), (2, 1))
    dilation = d.pick((1, 1), (1, 1), (2, 2), (1, 3))
    out = d.pick(4, 6)
    groups = d.pick(1, 1, 2) if d.c % 2 == 0 else 1
    padding: Any = d.pick(
        (0, 0), (d.whole(0, 3), d.whole(0, 3)), *[tuple(e * (n // 2) for n, e in zip(k, dilation, strict=True))] * 3
    )
    if stride == (1, 1) and d.pick(True, False, False):
        padding = "same"
    mode = d.pick("zeros", *MODES)
    module = nn.Conv2d(d.c, out, k, stride, padding, dilation, groups, d.pick(True, False), mode)
    reach = max(e * (n - 1) for n, e in zip(k, dilation, strict=True)) + (0 if padding == "same" else max(padding))
    text = f"conv(k={k}, stride={stride}, dilation={dilation}, groups={groups}, padding={padding}, {mode})"
    return Op(d.filled(module), text, out, tuple(Fraction(1, s) for s in stride), reach=reach)  # type: ignore[arg-type]


@operator
def asymmetric_pad(d: Draw) -> Op:
    pads = tuple(d.whole(0, 3) for _ in range(4))
    mode, value = d.pick("constant", "reflect", "replicate", "circular"), d.pick(0.0, 0.7)
    extra = {"value": value} if mode == "constant" else {}
    module = nn.Sequential(Step(lambda s, x: F.pad(x, pads, mode, **extra)), d.filled(nn.Conv2d(d.c, 4, 3)))
    return Op(module, f"F.pad({pads}, {mode}, {value}) + valid 3x3", 4, reach=6)


@operator
def complex_conv(d: Draw) -> Op:
    pad = d.pick(0, 1)

    def run(s: Any, x: Tensor) -> Tensor:
        y = F.conv2d(torch.complex(x, 0.5 * x), torch.complex(s.re, s.im), padding=pad)
        return torch.cat([y.real, y.imag], 1)

    own = {"re": d.weights(2, d.c, 3, 3), "im": d.weights(2, d.c, 3, 3)}
    return Op(Step(run, **own), f"complex conv(3x3, padding={pad})", 4, reach=3)


@operator
def transposed(d: Draw) -> Op:
    k, stride, dilation = d.whole(2, 4), d.pick(1, 2, 2), d.pick(1, 1, 2)
    pad = d.pick(0, 1, dilation * (k - 1) // 2)
    extra = d.pick(0, 1) if stride == 2 else 0
    module = nn.ConvTranspose2d(d.c, 4, k, stride, pad, extra, dilation=dilation)
    text = f"transposed conv(k={k}, stride={stride}, padding={pad}, output_padding={extra}, dilation={dilation})"
    return Op(d.filled(module), text, 4, twice(stride), reach=dilation * k + pad)


@operator
def unfolded_conv(d: Draw) -> Op:
    pad = d.pick(0, 1)

    def run(s: Any, x: Tensor) -> Tensor:
        size = [n + 2 * pad - 2 for n in x.shape[-2:]]
        return (s.weight @ F.unfold(x, 3, padding=pad)).reshape(len(x), 4, *size)

    return Op(Step(run, weight=d.weights(4, d.c * 9)), f"conv by unfold(3, padding={pad})", 4, reach=3)


@operator
def fold_of_unfold(d: Draw) -> Op:
    k = d.pick(2, 3)
    pad = d.pick(0, k // 2)

    def run(s: Any, x: Tensor) -> Tensor:
        return F.fold(F.unfold(x, k, padding=pad), x.shape[-2:], k, padding=pad) / k**2

    return alike(d, f"fold(unfold({k}, padding={pad}))", run, reach=2 * k)


@operator
def windows_by_unfold(d: Draw) -> Op:
    """Tensor.unfold over zero-padded maps: a median, or a largest value without a pooling operator."""
    kind = d.pick("median", "max")

    def run(s: Any, x: Tensor) -> Tensor:
        windows = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)
        return windows.median(-1).values if kind == "median" else windows.amax(-1)

    return alike(d, f"3x3 {kind} by Tensor.unfold, zeros", run, reach=2)


@operator
def cumsum_box(d: Draw) -> Op:
    """A box filter from running sums: over zeros, or with look-ups clamped to the edge."""
    r, clamped = d.whole(1, 2), d.pick(True, False)

    def run(s: Any, x: Tensor) -> Tensor:
        for dim in (2, 3):
            n = x.shape[dim]
            sums = F.pad(x.movedim(dim, -1), (1, 0)).cumsum(-1)
            i = torch.arange(n)
            if clamped:
                low, high = (i - r).clamp(min=0), (i + r + 1).clamp(max=n)
                y = (sums[..., high] - sums[..., low]) / (high - low)
            else:
                y = F.pad(sums, (0, r), "replicate")[..., 2 * r + 1 :] - F.pad(sums, (r, 0))[..., : n - r]
                y = F.pad(y, (r, 0), "replicate") / (2 * r + 1)
                y = y[..., :n]
            x = y.movedim(-1, dim)
        return x

    return alike(d, f"box filter of radius {r} by cumsum, {'clamped' if clamped else 'zeros'}", run, reach=4 * r + 2)


@operator
def fft_conv(d: Draw) -> Op:
    """A convolution by FFT: circular, or with zeros around."""
    circular = d.pick(True, False)

    def run(s: Any, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        size = (h, w) if circular else (h + 2, w + 2)
        y = torch.fft.irfft2(torch.fft.rfft2(x, s=size) * torch.fft.rfft2(s.weight, s=size), s=size)
        return y if circular else y[..., 1 : h + 1, 1 : w + 1]

    return alike(
        d, f"FFT conv, {'circular' if circular else 'zeros'}", run, reach=3, weight=d.normal(d.c, 3, 3, size=0.4)
    )


@operator
def slice_assignment(d: Draw) -> Op:
    p = d.whole(1, 2)

    def run(s: Any, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = x.new_zeros(b, c, h + 2 * p, w + 2 * p)
        y[..., p : p + h, p : p + w] = x
        return F.conv2d(y, s.weight)

    weight = d.weights(4, d.c, 2 * p + 1, 2 * p + 1)
    return Op(Step(run, weight=weight), f"zeros by slice assignment of {p}, then conv", 4, reach=2 * p)


@operator
def shifted_sums(d: Draw) -> Op:
    def run(s: Any, x: Tensor) -> Tensor:
        y = x.clone()
        y[..., 1:, :] += 0.5 * x[..., :-1, :]
        y[..., :-1] -= 0.4 * x[..., 1:]
        return y

    return alike(d, "shifted slices added in place", run, reach=1)


@operator
def cat_pad(d: Draw) -> Op:
    """Padding by hand with cat, then a valid 3x3."""
    kind = d.pick("circular", "edge", "flipped", "zeros")

    def ends(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        n = x.shape[dim]
        if kind == "circular":
            return x.narrow(dim, n - 1, 1), x.narrow(dim, 0, 1)
        first, last = x.narrow(dim, 0, 1), x.narrow(dim, n - 1, 1)
        if kind == "edge":
            return first, last
        if kind == "zeros":
            return torch.zeros_like(first), torch.zeros_like(last)
        return x.narrow(dim, 0, 2).flip(dim).narrow(dim, 0, 1), x.narrow(dim, n - 2, 2).flip(dim).narrow(dim, 1, 1)

    def run(s: Any, x: Tensor) -> Tensor:
        for dim in (2, 3):
            first, last = ends(x, dim)
            x = torch.cat([first, x, last], dim)
        return F.conv2d(x, s.weight)

    return Op(Step(run, weight=d.weights(4, d.c, 3, 3)), f"{kind} padding by cat, then conv", 4, reach=3)


@operator
def look_up(d: Draw) -> Op:
    """Neighbours looked up by index: clamped to the edge, or wrapped around."""
    shift, axis, wrap, how = d.whole(-3, 3), d.pick(2, 3), d.pick(True, False), d.pick("index_select", "[]", "gather")

    def run(s: Any, x: Tensor) -> Tensor:
        n = x.shape[axis]
        i = torch.arange(n) + shift
        i = i % n if wrap else i.clamp(0, n - 1)
        if how == "index_select":
            y = x.index_select(axis, i)
        elif how == "[]":
            y = x[:, :, i] if axis == 2 else x[..., i]
        else:
            y = x.gather(axis, (i[:, None] if axis == 2 else i[None]).expand_as(x))
        return x + 0.6 * y

    text = f"look-up by {how}, {shift} cells along {'yx'[axis - 2]}, {'wrapped' if wrap else 'clamped'}"
    return alike(d, text, run, reach=3)


@operator
def roll(d: Draw) -> Op:
    last, (y, x) = d.pick(True, False), d.pick((1, 0), (0, -2), (1, 2), (-1, 0))

    def run(s: Any, t: Tensor) -> Tensor:
        if last:
            t = t.permute(0, 2, 3, 1)
            return (t + 0.5 * t.roll((y, x), (1, 2))).permute(0, 3, 1, 2)
        return t + 0.5 * t.roll((y, x), (2, 3))

    return alike(d, f"roll by ({y}, {x}){', channels last' if last else ''}", run, reach=2)


# ------------------------------------------------------------------------------------------- pooling and resampling


@operator
def pool(d: Draw) -> Op:
    k, stride = d.whole(2, 3), d.pick(1, 2, 2)
    pad, ceil_mode = d.pick(0, 1), d.pick(True, False)
    kind = d.pick("max", "avg", "avg exclusive", "avg divisor", "lp", "min")
    lp = kind == "lp"
    module: nn.Module = {
        "max": lambda: nn.MaxPool2d(k, stride, pad, d.pick(1, 2), ceil_mode=ceil_mode),
        "min": lambda: Step(lambda s, x: -F.max_pool2d(-x, k, stride, pad, ceil_mode=ceil_mode)),
        "avg": lambda: nn.AvgPool2d(k, stride, pad, ceil_mode),
        "avg exclusive": lambda: nn.AvgPool2d(k, stride, pad, ceil_mode, False),
        "avg divisor": lambda: nn.AvgPool2d(k, stride, pad, ceil_mode, True, 3),
        "lp": lambda: nn.LPPool2d(2, k, stride, ceil_mode),
    }[kind]()
    text = f"{kind} pool(k={k}, stride={stride}, padding={0 if lp else pad}, ceil_mode={ceil_mode})"
    return Op(module, text, d.c, twice(Fraction(1, stride)), reach=2 * k + pad)


@operator
def unpool(d: Draw) -> Op:
    def run(s: Any, x: Tensor) -> Tensor:
        y, where = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(torch.tanh(y) + 1, where, 2, output_size=x.shape[-2:])

    return Op(Step(run), "max pool 2 and max unpool", d.c, block=(2, 2), reach=2)


@operator
def upsample(d: Draw) -> Op:
    mode = d.pick("nearest", "bilinear", "bicubic", "nearest-exact", "bilinear", "bicubic")
    scale = d.pick(2, 2, 2, Fraction(1, 2), Fraction(3, 2))
    options: dict[str, Any] = {} if "nearest" in mode else {"align_corners": d.pick(None, None, False, True)}
    if options and scale < 1:
        options["antialias"] = d.pick(True, False)
    by_size = d.pick(True, False)

    def run(s: Any, x: Tensor) -> Tensor:
        size = {"size": [int(n * scale) for n in x.shape[-2:]]} if by_size else {"scale_factor": float(scale)}
        return F.interpolate(x, **size, mode=mode, **options)

    text = f"interpolate(x{scale}, {mode}, {options}{', by size' if by_size else ''})"
    return Op(Step(run), text, d.c, twice(scale), (scale.denominator,) * 2 if scale != 2 else (1, 1), reach=6)


@operator
def shuffle(d: Draw) -> Op:
    def run(s: Any, x: Tensor) -> Tensor:
        y = F.conv2d(F.pixel_unshuffle(x, 2), s.weight, padding=1)
        return F.pixel_shuffle(y, 2)

    weight = d.weights(16, d.c * 4, 3, 3)
    return Op(Step(run, weight=weight), "pixel unshuffle, conv, pixel shuffle", 4, block=(2, 2), reach=5)


@operator
def decimate(d: Draw) -> Op:
    return Op(Step(lambda s, x: x[..., ::2, ::2]), "x[::2, ::2]", d.c, twice(Fraction(1, 2)))


@operator
def warp(d: Draw) -> Op:
    """grid_sample with offsets that are fixed or predicted, in cells."""
    predicted, mode, padding = (
        d.pick(True, False),
        d.pick("bilinear", "bicubic", "nearest"),
        d.pick("zeros", "border", "reflection"),
    )
    corners, dy, dx = d.pick(True, False), d.whole(-25, 25) / 10 + 0.03, d.whole(-25, 25) / 10 + 0.03  # no ties

    def run(s: Any, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        gy, gx = torch.meshgrid(torch.arange(h, dtype=x.dtype), torch.arange(w, dtype=x.dtype), indexing="ij")
        grid = torch.stack([gx + dx, gy + dy], -1).expand(len(x), h, w, 2)
        if predicted:
            grid = grid + 2 * torch.tanh(F.conv2d(x, s.offsets)).permute(0, 2, 3, 1)
        size = torch.tensor([w, h], dtype=x.dtype)
        grid = 2 * grid / (size - 1) - 1 if corners else (2 * grid + 1) / size - 1
        return F.grid_sample(x, grid, mode, padding, corners)

    text = f"grid_sample({'predicted' if predicted else 'fixed'} offsets, {mode}, {padding}, align_corners={corners}, {dy}, {dx})"
    return alike(d, text, run, reach=7, offsets=d.weights(2, d.c, 1, 1))


@operator
def pad_to_multiple(d: Draw) -> Op:
    """Both sides padded so that the size is a multiple, blocks of that size averaged and spread again, cropped."""
    m, mode = d.pick(2, 4), d.pick("constant", "reflect", "replicate")

    def run(s: Any, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        ph, pw = -h % m, -w % m
        y = F.pad(x, (pw // 2, pw - pw // 2, ph // 2, ph - ph // 2), mode)
        y = F.interpolate(F.conv2d(y, s.weight, stride=m), scale_factor=m)
        return y[..., ph // 2 : ph // 2 + h, pw // 2 : pw // 2 + w]

    weight = d.weights(4, d.c, m, m)
    return Op(Step(run, weight=weight), f"padded to a multiple of {m} ({mode}), cropped", 4, block=(m, m), reach=2 * m)


# ------------------------------------------------------------------------------------- comparisons, labels, integers


@operator
def mask(d: Draw) -> Op:
    """What is compared, rounded or looked up: a blind spot of NaN."""
    kinds: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "where": lambda s, x: torch.where(x > 0.1, x, 0.2 * x),
        "where of ones": lambda s, x: torch.where(x > 0, torch.ones_like(x), -torch.ones_like(x)),
        "float of >": lambda s, x: (x > 0).to(x.dtype),
        "sign": lambda s, x: torch.sign(x),
        "round": lambda s, x: torch.round(4 * x) / 4,
        "uint8": lambda s, x: (x.clamp(-1, 1) * 100 + 128).to(torch.uint8).to(x.dtype) / 100,
        "long": lambda s, x: (x.nan_to_num(0.0) * 10).long().to(x.dtype) / 10,
        "one-hot argmax": lambda s, x: F.one_hot(x.argmax(1), x.shape[1]).permute(0, 3, 1, 2).to(x.dtype),
        "bucketize": lambda s, x: (
            torch.bucketize(x.contiguous(), torch.linspace(-2, 2, 9).to(x.dtype)).to(x.dtype) / 4 - 1
        ),
        "heaviside": lambda s, x: torch.heaviside(x, torch.zeros((), dtype=x.dtype)),
        "masked_fill": lambda s, x: x.masked_fill(x < 0, 0.3),
        "rare": lambda s, x: F.relu(x - 2.5),
        "isnan guard": lambda s, x: torch.where(torch.isnan(x), torch.zeros_like(x), x),
        "nan_to_num": lambda s, x: torch.nan_to_num(torch.log(x.clamp(min=-0.5)), nan=0.0, neginf=-3.0).clamp(-3, 3),
        "nan_to_num alone": lambda s, x: torch.nan_to_num(x),
        "top": lambda s, x: x * (x >= x.amax(1, keepdim=True)).to(x.dtype),
    }
    kind = d.pick(*kinds)
    return alike(d, kind, kinds[kind])


@operator
def nearest_code(d: Draw) -> Op:
    def run(s: Any, x: Tensor) -> Tensor:
        cells = x.permute(0, 2, 3, 1)
        nearest = torch.cdist(cells.flatten(0, 2)[None], s.codes[None])[0].argmin(-1)
        return F.embedding(nearest, s.codes).reshape(cells.shape).permute(0, 3, 1, 2)

    return alike(d, "nearest of 8 codes by cdist, argmin, embedding", run, codes=d.normal(8, d.c))


@operator
def value_dependent(d: Draw) -> Op:
    return alike(d, "another way where the mean is positive", lambda s, x: 2 * x if bool(x.mean() > 0) else x)


# ------------------------------------------------------------------------- windows, norms, statistics over the whole


@operator
def window_op(d: Draw) -> Op:
    """Attention or a mean inside k x k blocks, the map padded to a multiple of k; shifted or not."""
    k, kind, shift = d.pick(2, 4), d.pick("attention", "mean"), d.pick(0, 1)

    def run(s: Any, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = F.pad(x, (0, -w % k, 0, -h % k))
        y = y.roll((-shift, -shift), (2, 3)) if shift else y
        height, width = y.shape[-2:]
        cells = y.reshape(b, c, height // k, k, width // k, k).permute(0, 2, 4, 3, 5, 1).reshape(-1, k * k, c)
        cells = (
            F.scaled_dot_product_attention(cells, cells, cells)
            if kind == "attention"
            else cells.mean(1, True).expand_as(cells)
        )
        y = cells.reshape(b, height // k, width // k, k, k, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, height, width)
        y = y.roll((shift, shift), (2, 3)) if shift else y
        return x + y[..., :h, :w]

    op = alike(d, f"window {kind} in {k}x{k} blocks{', shifted' if shift else ''}", run, reach=2 * k)
    op.block = (k, k)
    return op


@operator
def norm(d: Draw) -> Op:
    kind = d.pick("batch", "instance", "group", "layer", "batch statistics", "l2", "softmax over channels")
    batch = nn.BatchNorm2d(d.c)
    batch.running_mean, batch.running_var = d.normal(d.c, size=0.3), d.normal(d.c).square() + 0.3
    modules: dict[str, nn.Module] = {
        "batch": batch,
        "instance": nn.InstanceNorm2d(d.c),
        "group": nn.GroupNorm(1, d.c),
        "layer": Step(lambda s, x: F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)),
        "batch statistics": nn.BatchNorm2d(d.c, track_running_stats=False),
        "l2": Step(lambda s, x: F.normalize(x + 0.1, dim=1)),
        "softmax over channels": nn.Softmax(1),
    }
    return Op(modules[kind], f"{kind} norm", d.c)


@operator
def whole(d: Draw) -> Op:
    """Operators that see the whole input."""

    def squeeze(s: Any, x: Tensor) -> Tensor:
        return x * torch.sigmoid(F.conv2d(x.mean((2, 3), keepdim=True), s.weight))

    def pooled_attention(s: Any, x: Tensor) -> Tensor:
        q, kv = x.flatten(2).transpose(1, 2), F.adaptive_avg_pool2d(x, 4).flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(q, kv, kv).transpose(1, 2).reshape(x.shape)

    kinds: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "softmax over space": lambda s, x: x.flatten(2).softmax(-1).reshape(x.shape) * x[0, 0].numel(),
        "squeeze and excite": squeeze,
        "standardised": lambda s, x: (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True),
        "divided by the largest": lambda s, x: x / x.abs().amax((1, 2, 3), keepdim=True),
        "pooled attention": pooled_attention,
        "row attention": lambda s, x: x + x.transpose(2, 3).softmax(-1).mean(-1, keepdim=True).transpose(2, 3),
        "running sum": lambda s, x: x.cumsum(-1) / 10,
    }
    kind = d.pick(*kinds)
    return alike(d, kind, kinds[kind], weight=d.weights(d.c, d.c, 1, 1))


@operator
def recursion(d: Draw) -> Op:
    """y[i] = x[i] + y[i - 1] / 2: sees all that is to the left, less and less."""

    def run(s: Any, x: Tensor) -> Tensor:
        columns, state = [], x.new_zeros(x.shape[:3])
        for column in x.unbind(-1):
            state = column + 0.5 * state
            columns.append(state)
        return torch.stack(columns, -1)

    return alike(d, "recursion along rows", run, reach=44)


# ------------------------------------------------------------------------------------------- position, size, memory


@operator
def position(d: Draw) -> Op:
    def coordinates(s: Any, x: Tensor, kind: str) -> Tensor:
        h, w = x.shape[-2:]
        if kind == "coordinates from -1 to 1":
            row = torch.linspace(-1, 1, w, dtype=x.dtype)
        else:
            row = torch.arange(w, dtype=x.dtype) / 10
        return x + row.expand(h, w)

    def tiled(s: Any, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        return x + s.embedding[:, :, torch.arange(h) % 4][..., torch.arange(w) % 4]

    kinds: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "coordinates from -1 to 1": lambda s, x: coordinates(s, x, "coordinates from -1 to 1"),
        "coordinates in cells": lambda s, x: coordinates(s, x, "coordinates in cells"),
        "embedding stretched": lambda s, x: x + F.interpolate(s.embedding, x.shape[-2:], mode="bilinear"),
        "embedding cropped": lambda s, x: x + F.pad(s.embedding, (0, 1000, 0, 1000))[..., : x.shape[-2], : x.shape[-1]],
        "embedding tiled": tiled,
        "divided by the height": lambda s, x: x * 30 / x.shape[-2],
        "another way in large maps": lambda s, x: 2 * x if x.shape[-1] > 40 else x,
    }
    kind = d.pick(*kinds)
    op = alike(d, kind, kinds[kind], embedding=d.normal(1, d.c, 8, 8))
    op.block = (4, 4) if kind == "embedding tiled" else (1, 1)
    return op


@operator
def fixed_size(d: Draw) -> Op:
    n, kind = d.pick(4, 16), d.pick("interpolate", "adaptive pool")

    def run(s: Any, x: Tensor) -> Tensor:
        y = F.interpolate(x, (n, n), mode="bilinear") if kind == "interpolate" else F.adaptive_avg_pool2d(x, n)
        return F.interpolate(y, x.shape[-2:], mode="bilinear")

    return alike(d, f"{kind} to {n}x{n} and back", run)


@operator
def remembers(d: Draw) -> Op:
    """An attribute that the first input sets, and later ones use."""
    kind = d.pick("ratio", "grid", "calls", "mean", "per size")

    def run(s: Any, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        if kind == "ratio":
            s.kept = 30 / h if s.kept is None else s.kept
            return x * s.kept
        if kind == "grid":
            if s.kept is None or min(s.kept.shape[-2:]) < max(h, w):
                n = max(h, w)
                s.kept = torch.linspace(0, 1, n, dtype=x.dtype).expand(n, n)
            return x + s.kept[:h, :w]
        if kind == "calls":
            s.kept = 1 if s.kept is None else s.kept + 1
            return x * s.kept
        if kind == "mean":
            s.kept = x.mean() if s.kept is None else s.kept
            return x - s.kept
        s.kept = {} if s.kept is None else s.kept  # a cache that is right
        if (h, w) not in s.kept:
            s.kept[h, w] = torch.ones(h, w, dtype=x.dtype)
        return x + s.kept[h, w]

    return alike(d, f"keeps a {kind}", run, kept=None)


@operator
def noisy(d: Draw) -> Op:
    kind = d.pick("dropout", "noise", "random padding")

    def run(s: Any, x: Tensor) -> Tensor:
        if kind == "dropout":
            return F.dropout(x, 0.3, training=True)
        if kind == "noise":
            return x + 0.1 * torch.randn_like(x)
        b, c, h, w = x.shape
        y = torch.randn(b, c, h + 2, w + 2, dtype=x.dtype)
        y[..., 1:-1, 1:-1] = x
        return F.avg_pool2d(y, 3, 1)

    return alike(d, kind, run, reach=2)


@operator
def turned(d: Draw) -> Op:
    """Turned or flipped, convolved, and turned back."""
    kind = d.pick("transpose", "flip")

    def run(s: Any, x: Tensor) -> Tensor:
        x = x.transpose(2, 3) if kind == "transpose" else x.flip(-1)
        y = F.conv2d(F.pad(x, (2, 0, 1, 1)), s.weight)
        return y.transpose(2, 3) if kind == "transpose" else y.flip(-1)

    return Op(Step(run, weight=d.weights(4, d.c, 3, 3)), f"{kind}, lopsided conv, and back", 4, reach=2)


# --------------------------------------------------------------------------------------- elementwise, in place, scale


@operator
def elementwise(d: Draw) -> Op:
    kinds: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "tanh": lambda s, x: torch.tanh(x),
        "relu": lambda s, x: F.relu(x),
        "relu_": lambda s, x: x.relu_(),
        "leaky_relu_": lambda s, x: F.leaky_relu_(x, 0.2),
        "sub_ div_": lambda s, x: x.sub_(0.2).div_(1.5),
        "gelu": lambda s, x: F.gelu(x),
        "channel scales": lambda s, x: x * s.scales.view(1, -1, 1, 1).to(x.dtype),
        "zeros a channel": lambda s, x: x.index_fill_(1, torch.tensor([0]), 0.0),
    }
    kind = d.pick("tanh", *kinds)
    return alike(d, kind, kinds[kind], scales=10.0 ** d.normal(d.c, size=5).clamp(-12, 12))
