"""Small hand-made networks whose geometry can be worked out by hand.

Every factory gives a network in evaluation mode, float32, three input channels, random weights of a fixed seed, and
smooth or leaky activations, so that what structure lets through is not zero by accident.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def ready(net: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and biases of a fixed seed, evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        fan_in = max(1, parameter[0].numel()) if parameter.dim() > 1 else 4
        values = torch.randn(parameter.shape, generator=generator) * fan_in**-0.5
        parameter.data.copy_(values)
    return net.eval()


def sequential(*modules: nn.Module) -> nn.Module:
    return ready(nn.Sequential(*modules))


def conv(cin: int = 3, cout: int = 4, k: int | tuple[int, int] = 3, **kwargs: object) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1 unless `padding` is given."""
    if "padding" not in kwargs:
        d = kwargs.get("dilation", 1)
        kernel = (k, k) if isinstance(k, int) else k
        kwargs["padding"] = tuple(d * (n // 2) for n in kernel)
    return nn.Conv2d(cin, cout, k, **kwargs)


# ------------------------------------------------------------------------------------------------- plain stacks


def box_filter() -> nn.Module:
    """Mean over 3x3 of each channel, zero padding: the pattern of a constant image is known in closed form."""
    net = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
    nn.init.constant_(net.weight, 1 / 9)
    return nn.Sequential(net).eval()


def pointwise() -> nn.Module:
    return sequential(conv(3, 4, 1), nn.Tanh(), conv(4, 5, 1))


def stack() -> nn.Module:
    return sequential(conv(), nn.Tanh(), conv(4, 4), nn.Tanh(), conv(4, 4))


def stride_one() -> nn.Module:
    return sequential(conv(stride=2))


def stride_two() -> nn.Module:
    return sequential(conv(stride=2), nn.Tanh(), conv(4, 4, stride=2))


def dilated() -> nn.Module:
    return sequential(conv(dilation=2), nn.Tanh(), conv(4, 4, dilation=3))


def separable() -> nn.Module:
    return sequential(conv(3, 4, (1, 7)), nn.Tanh(), conv(4, 4, (7, 1)))


def lopsided() -> nn.Module:
    """Different along the axes: 1x7, then 3x3 of stride (2, 1)."""
    return sequential(conv(3, 4, (1, 7)), nn.Tanh(), conv(4, 4, stride=(2, 1)))


def even_same() -> nn.Module:
    """Even kernels, `padding="same"`: the extra cell goes after."""
    return sequential(conv(3, 4, 4, padding="same"), nn.Tanh(), conv(4, 4, 2, padding="same"))


def valid() -> nn.Module:
    return sequential(conv(3, 4, 5, padding=0), nn.Tanh(), conv(4, 4, 3, padding=0, stride=2))


def circular() -> nn.Module:
    return sequential(conv(padding_mode="circular"), nn.Tanh(), conv(4, 4, padding_mode="circular"))


def reflected() -> nn.Module:
    return sequential(conv(padding_mode="reflect"), nn.Tanh(), conv(4, 4, padding_mode="reflect"))


def in_place() -> nn.Module:
    """A leaky in-place activation overwrites the layer before it."""
    return sequential(conv(), nn.LeakyReLU(0.2, inplace=True), conv(4, 4), nn.LeakyReLU(0.2, inplace=True))


class Shared(nn.Module):
    """One convolution called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4, 1)
        self.body = conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = torch.tanh(self.body(x))
        return x


# ------------------------------------------------------------------------------------------------------- branches


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4, 1)
        self.body = nn.Sequential(conv(4, 4), nn.Tanh(), conv(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.body(x)


class Branches(nn.Module):
    """Three branches of different reach, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.near = conv(3, 2, 1)
        self.mid = conv(3, 2, 3)
        self.far = conv(3, 2, 7)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.near(x), self.mid(x), self.far(x)], dim=1)


class UNet(nn.Module):
    """A U-Net of depth 1 or 2; `up` names how it goes up again."""

    def __init__(self, depth: int, up: str) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.down = nn.ModuleList(conv(4, 4, stride=2) for _ in range(depth))
        self.up = nn.ModuleList(_upsampling(up) for _ in range(depth))
        self.merge = nn.ModuleList(conv(8, 4) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        skips = []
        for down in self.down:
            skips.append(x)
            x = torch.tanh(down(x))
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = torch.tanh(merge(torch.cat([up(x), skip], dim=1)))
        return x


def _upsampling(name: str) -> nn.Module:
    return {
        "nearest": lambda: nn.Upsample(scale_factor=2),
        "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
        "bicubic": lambda: nn.Upsample(scale_factor=2, mode="bicubic"),
        "transposed2": lambda: nn.ConvTranspose2d(4, 4, 2, stride=2),
        "transposed3": lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1),
        "transposed4": lambda: nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1),
    }[name]()


def unet(depth: int, up: str) -> nn.Module:
    return ready(UNet(depth, up))


def upsampled(up: str) -> nn.Module:
    """3x3 of stride 2, then up again: twice the cells, the same resolution."""
    return sequential(conv(stride=2), nn.Tanh(), _upsampling(up))


def twice_the_size() -> nn.Module:
    """3x3, then a transposed 4x4 of stride 2: an output of twice the input's resolution."""
    return sequential(conv(3, 4), nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1))


def resized() -> nn.Module:
    """Bilinear to twice the size by `size=`, taken from the tensor's own shape."""

    def twice(x: Tensor) -> Tensor:
        return F.interpolate(x, size=(2 * x.shape[-2], 2 * x.shape[-1]), mode="bilinear")

    return sequential(conv(), Lambda(twice))


def corner_aligned() -> nn.Module:
    """Sampling positions move with the size of the input: no layer behind it can be compared."""
    return sequential(conv(stride=2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True))


def shuffled() -> nn.Module:
    """Down by pixel unshuffle, up by pixel shuffle."""
    return sequential(nn.PixelUnshuffle(2), conv(12, 8), nn.Tanh(), nn.PixelShuffle(2), conv(2, 3))


def sliced() -> nn.Module:
    return sequential(conv(), Lambda(lambda x: x[:, :, ::2, ::2]), conv(4, 4))


# --------------------------------------------------------------------------------------------- pooling and padding


def max_pooled() -> nn.Module:
    return sequential(conv(), nn.MaxPool2d(3, 2, 1))


def avg_pooled(count_include_pad: bool) -> nn.Module:
    return sequential(conv(), nn.AvgPool2d(3, 2, 1, count_include_pad=count_include_pad))


def ceil_max() -> nn.Module:
    return sequential(conv(), nn.MaxPool2d(3, 2, ceil_mode=True))


def ceil_avg() -> nn.Module:
    return sequential(conv(), nn.AvgPool2d(3, 2, 1, ceil_mode=True))


def padded(mode: str, *pads: int) -> nn.Module:
    """`F.pad` by (left, right, top, bottom), then a valid 3x3."""
    return sequential(Lambda(lambda x: F.pad(x, pads, mode=mode)), conv(padding=0))


class SameStride(nn.Module):
    """TensorFlow's SAME: how much is padded, and on which side, depends on the input's size."""

    def __init__(self, cin: int, cout: int, k: int = 3, stride: int = 2) -> None:
        super().__init__()
        self.k, self.stride = k, stride
        self.conv = nn.Conv2d(cin, cout, k, stride)

    def forward(self, x: Tensor) -> Tensor:
        h, w = (max((-(-n // self.stride) - 1) * self.stride + self.k - n, 0) for n in x.shape[-2:])
        return self.conv(F.pad(x, (w // 2, w - w // 2, h // 2, h - h // 2)))


def tf_same() -> nn.Module:
    return sequential(SameStride(3, 4), nn.Tanh(), SameStride(4, 4))


class BlurPool(nn.Module):
    """Zhang's anti-aliased stride: reflect padding, a fixed binomial filter, stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0])
        kernel = (taps[:, None] * taps[None, :] / 16).repeat(channels, 1, 1, 1)
        self.register_buffer("kernel", kernel)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(x, self.kernel, stride=2, groups=x.shape[1])


def blur_pooled() -> nn.Module:
    return sequential(conv(), nn.Tanh(), BlurPool(4))


class UnfoldConv(nn.Module):
    """A 3x3 convolution written with unfold and a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 27))

    def forward(self, x: Tensor) -> Tensor:
        columns = F.unfold(x, 3, padding=1)
        return (self.weight @ columns).reshape(x.shape[0], 4, *x.shape[-2:])


# ------------------------------------------------------------------------------------------------ layouts, outputs


class ChannelsLast(nn.Module):
    """ConvNeXt's way: depthwise 7x7, then LayerNorm and Linear on (B, H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4, 1)
        self.depthwise = conv(4, 4, 7, groups=4)
        self.norm = nn.LayerNorm(4)
        self.mix = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.depthwise(x).permute(0, 2, 3, 1)
        return x + self.mix(self.norm(y)).permute(0, 3, 1, 2)


class Nested(nn.Module):
    """Outputs in a dictionary, a tuple and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv()
        self.second = conv(4, 4, stride=2)

    def forward(self, x: Tensor) -> dict[str, object]:
        a = torch.tanh(self.first(x))
        b = self.second(a)
        return {"low": a, "high": (b, [torch.tanh(b)])}


def fixed_head(size: int = 32) -> nn.Module:
    """Flatten and Linear: the network runs at one size alone."""
    head = nn.Linear(4 * (size // 4) ** 2, 5)
    return sequential(conv(stride=2), nn.Tanh(), conv(4, 4, stride=2), nn.Flatten(), head)


# -------------------------------------------------------------------------------------------------- whole-input nets


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.head = conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x * self.gate(x))


def group_normed() -> nn.Module:
    return sequential(conv(), nn.GroupNorm(2, 4), nn.Tanh(), conv(4, 4))


class SelfAttention(nn.Module):
    """Every cell attends to every other; `fused` takes torch's own kernel, else softmax by hand."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.qkv = nn.Conv2d(4, 12, 1)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        q, k, v = (t.flatten(2).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=1))
        by_hand = (q @ k.transpose(1, 2)).softmax(-1) @ v
        y = F.scaled_dot_product_attention(q, k, v) if self.fused else by_hand
        return x + y.transpose(1, 2).reshape(x.shape)


class ImagePooling(nn.Module):
    """DeepLab's image-level branch: a global mean, spread over the map again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.project = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        pooled = x.mean((2, 3), keepdim=True)
        return self.project(torch.cat([x, pooled.expand_as(x)], dim=1))


class PositionEmbedding(nn.Module):
    """An absolute embedding of a fixed size, resized to the map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4, 4, stride=4, padding=0)
        self.embedding = nn.Parameter(torch.zeros(1, 4, 8, 8))
        self.head = conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + F.interpolate(self.embedding, size=x.shape[-2:], mode="bilinear"))


UPS = ("nearest", "bilinear", "bicubic", "transposed2", "transposed3", "transposed4")

LOCAL: dict[str, Callable[[], nn.Module]] = {
    "box_filter": box_filter,
    "pointwise": pointwise,
    "stack": stack,
    "stride_one": stride_one,
    "stride_two": stride_two,
    "dilated": dilated,
    "separable": separable,
    "lopsided": lopsided,
    "even_same": even_same,
    "valid": valid,
    "circular": circular,
    "reflected": reflected,
    "in_place": in_place,
    "shared": lambda: ready(Shared()),
    "residual": lambda: ready(Residual()),
    "branches": lambda: ready(Branches()),
    **{f"unet{depth}_{up}": (lambda d=depth, u=up: unet(d, u)) for depth in (1, 2) for up in UPS},
    **{f"upsampled_{up}": (lambda u=up: upsampled(u)) for up in UPS},
    "resized": resized,
    "shuffled": shuffled,
    "sliced": sliced,
    "max_pooled": max_pooled,
    "avg_pooled": lambda: avg_pooled(True),
    "avg_pooled_exclusive": lambda: avg_pooled(False),
    "ceil_max": ceil_max,
    "ceil_avg": ceil_avg,
    "pad_zeros": lambda: padded("constant", 1, 1, 1, 1),
    "pad_asymmetric": lambda: padded("constant", 0, 2, 2, 1),
    "pad_reflect": lambda: padded("reflect", 1, 1, 1, 1),
    "pad_replicate": lambda: padded("replicate", 1, 1, 1, 1),
    "pad_circular": lambda: padded("circular", 1, 2, 2, 1),
    "tf_same": tf_same,
    "blur_pooled": blur_pooled,
    "unfold": lambda: ready(UnfoldConv()),
    "channels_last": lambda: ready(ChannelsLast()),
    "nested": lambda: ready(Nested()),
}
"""Nets every layer of which sees a bounded window; they run at any size."""


class Sorted(nn.Module):
    """Mixes the whole map in a way that is no statistic."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x.sort(-1).values.sort(-2).values


def sorting() -> nn.Module:
    """Sees the whole input in a way that is not followed."""
    return sequential(conv(), Sorted(), conv(4))


WHOLE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "squeeze_excite": (lambda: ready(SqueezeExcite()), "adaptive_avg_pool2d in gate.0"),
    "group_norm": (group_normed, "group_norm in 1"),
    "attention_fused": (lambda: ready(SelfAttention(True)), "scaled_dot_product_attention in the model itself"),
    "attention": (lambda: ready(SelfAttention(False)), "in the model itself"),
    "image_pooling": (lambda: ready(ImagePooling()), "mean in the model itself"),
}
"""Nets whose output sees the whole input, and the operator that is to blame."""
