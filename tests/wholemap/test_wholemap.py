"""Networks that see the whole input: by hand, against a slow loop with explicit windows, and what must be refused."""

from __future__ import annotations

import json
from fractions import Fraction
from math import prod
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
import padprint
from helpers import noise
from padprint.results.measurement import LayerMeasurement
from padprint.wholemap import Cells, Split, register
from padprint.wholemap.anchored import _weights
from padprint.wholemap.extents import Extent, Window, extents
from padprint.wholemap.operators import _HANDLERS

SLOW = 1e-5


class Gate(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Response(nn.Module):
    """Global response normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        size = x.norm(dim=(2, 3), keepdim=True)
        return x + x * size / (size.mean(1, keepdim=True) + 1e-6)


class Attention(nn.Module):
    """Attention of all cells to all, in one of its spellings."""

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        self.qkv, self.kind = nn.Conv2d(channels, 3 * channels, 1), kind

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2).transpose(1, 2).chunk(3, -1)
        if self.kind == "fused":
            out = F.scaled_dot_product_attention(q, k, v)
        elif self.kind == "heads":
            q, k, v = (one.unflatten(-1, (2, -1)).transpose(1, 2) for one in (q, k, v))
            out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        elif self.kind == "masked":
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=q.new_zeros(q.shape[1], q.shape[1]))
        elif self.kind == "product":
            out = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        elif self.kind == "bmm":  # values on the left, as in position attention modules
            weights = torch.bmm(q, k.transpose(1, 2)).softmax(-1)
            out = torch.bmm(v.transpose(1, 2), weights.transpose(1, 2)).transpose(1, 2)
        elif self.kind == "einsum":
            weights = torch.einsum("bic,bjc->bij", q, k).softmax(-1)
            out = torch.einsum("bij,bjc->bic", weights, v)
        elif self.kind == "channels":  # cross-covariance
            q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
            out = v @ (q.transpose(1, 2) @ k).softmax(-1)
        else:  # linear
            context = k.softmax(1).transpose(1, 2) @ v
            out = q.softmax(-1) @ context
        return x + out.transpose(1, 2).reshape(x.shape)


class Coordinate(nn.Module):
    """Coordinate attention: means over rows and over columns."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean(3, keepdim=True).sigmoid() * x.mean(2, keepdim=True).sigmoid()


class Context(nn.Module):
    """A global context block: one distribution over the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.key = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.key(x).flatten(2).softmax(-1)
        return x + (x.flatten(2) @ weights.transpose(1, 2)).unsqueeze(-1)


class ByHand(nn.Module):
    """Group normalisation written by hand, its count of cells taken from the input's size."""

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        own = x.reshape(b, 2, -1)
        mean = own.sum(-1, keepdim=True) / (c // 2 * h * w)
        variance = (own - mean).square().sum(-1, keepdim=True) / (c // 2 * h * w)
        return ((own - mean) / (variance + 1e-5).sqrt()).reshape(b, c, h, w)


class KernelOfItsSize(nn.Module):
    """A pooling whose kernel is the map."""

    def forward(self, x: Tensor) -> Tensor:
        return x - F.avg_pool2d(x, x.shape[-2:])


class Pyramid(nn.Module):
    """Poolings to grids of fixed size, stretched over the map by its corners."""

    def forward(self, x: Tensor) -> Tensor:
        grids = (F.adaptive_avg_pool2d(x, n) for n in (1, 3))
        return x + sum(F.interpolate(one, x.shape[-2:], mode="bilinear", align_corners=True) for one in grids)


class Heads(nn.Module):
    """torch's own attention module."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        out = tokens + self.heads(tokens, tokens, tokens)[0]
        return out.transpose(1, 2).reshape(x.shape)


BLOCKS = {
    "pyramid": Pyramid,
    "corners": lambda: nn.Sequential(nn.InstanceNorm2d(8), nn.UpsamplingBilinear2d(scale_factor=2)),
    "torch's heads": Heads,
    "instance": lambda: nn.InstanceNorm2d(8, affine=True),
    "group": lambda: nn.GroupNorm(2, 8),
    "layer": lambda: nn.GroupNorm(1, 8),
    "gate": lambda: Gate(8),
    "response": Response,
    "coordinate": Coordinate,
    "context": lambda: Context(8),
    "by hand": ByHand,
    "kernel": KernelOfItsSize,
    **{
        kind: (lambda kind=kind: Attention(8, kind))
        for kind in ("fused", "heads", "masked", "product", "bmm", "einsum", "channels", "linear")
    },
}


def net(block: str, padding: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, 2, padding=padding), nn.ReLU(), BLOCKS[block](), nn.Conv2d(8, 4, 3, padding=padding)
    ).eval()


def last(found: padprint.Measurement) -> LayerMeasurement:
    """The last layer that was measured."""
    return found[list(found)[-1]]


def images(n: int = 3, size: tuple[int, int] = (44, 52), channels: int = 2, mean: float = 0.5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    level = torch.linspace(0, 1, size[0]).view(-1, 1) * torch.linspace(
        1, 2, size[1]
    )  # statistics differ from place to place
    return [torch.randn(channels, *size, generator=generator) * level + mean for _ in range(n)]


# ------------------------------------------------------------------------------------------------------------ by hand


def test_a_pointwise_network_with_instance_norm_has_context_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.InstanceNorm2d(3)).eval()
    image = images(1)[0]
    found = last(padprint.measure(model, [image], ["output"], crop=32, crops_per_image=1))
    with torch.no_grad():
        features = model[0](image[None])[0].double()
        own = [(features[:, y : y + 32, x : x + 32], y, x) for y in range(44 - 31) for x in range(52 - 31)]
        scene = _standardised(features, features)
        changes = [_standardised(crop, crop) - scene[:, y : y + 32, x : x + 32] for crop, y, x in own]
    assert found.parts["padding"].size.value < 1e-6
    assert found.parts["context"].size.value > 0.01
    least = min(float((found.parts["context"].pattern_map - change).abs().max()) for change in changes)
    assert least < 1e-5  # the crop is one of them


def _standardised(x: Tensor, like: Tensor) -> Tensor:
    mean = like.mean((1, 2), keepdim=True)
    return (x - mean) / ((like - mean).square().mean((1, 2), keepdim=True) + 1e-5).sqrt()


def test_padding_shifts_a_gate_by_what_it_takes_from_the_mean() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False), Gate(1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model[0].weight.fill_(1 / 9)
        model[1].gate[1].bias.fill_(0.0)
    found = last(padprint.measure(model, [torch.full((1, 40, 40), 2.0)], ["output"], crop=16, crops_per_image=1))
    mean = 2 * (14 * 14 + 4 * 14 * 6 / 9 + 4 * 4 / 9) / 16**2  # of the map: 9, 6 and 4 cells of nine in the sums
    gates = [float(torch.sigmoid(torch.tensor(x, dtype=torch.float64))) for x in (mean, 2.0)]
    assert found.parts["through"].size.value == pytest.approx((gates[1] - gates[0]) / gates[1], rel=1e-4)
    assert float(found.parts["local"].pattern_map[0, 0, 0]) == pytest.approx(gates[0] * 2 * (4 / 9 - 1), rel=1e-4)
    assert found.rim == (1, 1, 1, 1)
    mean = 2 * (38 * 38 + 4 * 38 * 6 / 9 + 4 * 4 / 9) / 40**2  # of the scene, which has a border of its own
    scene = float(torch.sigmoid(torch.tensor(mean, dtype=torch.float64)))
    assert found.parts["context"].size.value == pytest.approx((gates[1] - scene) / gates[1], rel=1e-4)
    assert found.sees_all_through == ("adaptive_avg_pool2d in 1.gate.0",)


def test_group_norm_over_large_maps_is_measured() -> None:
    """Channels-last group normalisation of torch's CPU rounds coarsely where the mean is large; it must not be fed so."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 3, padding=1)).eval()
    nn.init.constant_(net[0].bias, 3.0)
    found = padprint.measure(net, noise(2, 260), crop=224, crops_per_image=1, groups=2, layers=["1", "2"])
    assert set(found) == {"1", "2"}, found.unmeasured


def test_group_norm_of_one_group_on_a_ramp() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.GroupNorm(1, 2, eps=0.0)).eval()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    ramp = torch.arange(64.0).expand(1, 32, 64).contiguous()
    found = last(padprint.measure(model, [ramp], ["output"], crop=(32, 16), crops_per_image=1))
    slopes = found.parts["context"].pattern_map.diff(dim=-1)
    own, scene = (((n * n - 1) / 12) ** -0.5 for n in (16, 64))
    assert torch.allclose(slopes, torch.full_like(slopes, own - scene), atol=1e-5)
    assert found.parts["padding"].size.value < 1e-6


# -------------------------------------------------------------------------------------------------------- brute force


def _slow(
    model: nn.Sequential, x: Tensor, corner: tuple[int, int], crop: int, given: list[Tensor] | None
) -> tuple[Tensor, list[Tensor]]:
    """A network run layer by layer, its statistics over an explicit window, or as given; its map of the window, its statistics."""
    stride, cells = 1, crop
    taken: list[Tensor] = []
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            x = layer(x)
            cells = (cells + 2 * layer.padding[0] - 3) // layer.stride[0] + 1 if layer.kernel_size[0] == 3 else cells
            stride *= layer.stride[0]
        elif isinstance(layer, nn.ReLU):
            x = x.clamp_min(0)
        else:
            top, left = corner[0] // stride, corner[1] // stride
            window = x[..., top : top + cells, left : left + cells]
            statistic = _statistic(layer, window) if given is None else given[len(taken)]
            taken.append(statistic)
            x = _applied(layer, x, statistic)
    top, left = corner[0] // stride, corner[1] // stride
    return x[..., top : top + cells, left : left + cells], taken


def _statistic(layer: nn.Module, window: Tensor) -> Tensor:
    if isinstance(layer, Gate):
        return torch.stack([window[0, c].sum() / window[0, c].numel() for c in range(window.shape[1])])
    if isinstance(layer, Response):
        return torch.stack([window[0, c].square().sum().sqrt() for c in range(window.shape[1])])
    if isinstance(layer, Attention):
        return torch.stack(
            [layer.qkv(window)[0, :, i, j] for i in range(window.shape[2]) for j in range(window.shape[3])]
        )
    groups = 8 if isinstance(layer, nn.InstanceNorm2d) else layer.num_groups
    chunks = [window[0, c * 8 // groups : (c + 1) * 8 // groups] for c in range(groups)]
    return torch.stack([torch.stack([one.mean(), (one - one.mean()).square().mean()]) for one in chunks])


def _applied(layer: nn.Module, x: Tensor, statistic: Tensor) -> Tensor:
    if isinstance(layer, Gate):
        gate = layer.gate[2](layer.gate[1](statistic.view(1, -1, 1, 1)))
        return x * gate
    if isinstance(layer, Response):
        size = statistic.view(1, -1, 1, 1)
        return x + x * size / (size.mean() + 1e-6)
    if isinstance(layer, Attention):
        out = x.clone()
        keys, values = statistic[:, 8:16], statistic[:, 16:]
        queries = layer.qkv(x)[0, :8]
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                weights = (keys @ queries[:, i, j] / 8**0.5).softmax(0)
                out[0, :, i, j] += weights @ values
        return out
    mean, variance = statistic.repeat_interleave(8 // len(statistic), 0).T.reshape(2, 1, -1, 1, 1)
    y = (x - mean) / (variance + layer.eps).sqrt()
    return y if layer.weight is None else y * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("block", "padding"),
    [("gate", 1), ("response", 1), ("instance", 1), ("group", 1), ("product", 1), ("group", 0)],
)
def test_a_slow_loop_with_explicit_windows_agrees(block: str, padding: int) -> None:
    model = net(block, padding).double()
    crop, size = (33 if padding == 0 else 32), 52
    image = images(1, (size, size))[0].double()
    found = padprint.measure(model, [image], ["output"], crop=crop, crops_per_image=1, margin=None)
    one, margin = last(found), found.margin
    corners = [
        (y, x)
        for y in range(margin[0], size - crop - margin[1] + 1, 2)
        for x in range(margin[2], size - crop - margin[3] + 1, 2)
    ]
    apart = []
    with torch.no_grad():
        for y, x in corners:
            alone, taken = _slow(model, image[None, :, y : y + crop, x : x + crop], (0, 0), crop, None)
            tight = image[None, :, y - margin[0] : y + crop + margin[1], x - margin[2] : x + crop + margin[3]]
            replayed, _ = _slow(model, tight, (margin[0], margin[2]), crop, taken)
            windowed, _ = _slow(model, tight, (margin[0], margin[2]), crop, None)
            parts = alone - replayed, replayed - windowed
            maps = one.parts["local"].pattern_map, one.parts["through"].pattern_map
            apart.append(max(float((a[0] - b).abs().max()) for a, b in zip(parts, maps, strict=True)))
            if apart[-1] < SLOW:
                assert torch.allclose(alone, model(image[None, :, y : y + crop, x : x + crop]), atol=1e-9)
                break
    assert min(apart) < SLOW  # the crop is one of them


# --------------------------------------------------------------------------------------------- operators and settings


@pytest.mark.parametrize("block", BLOCKS)
def test_every_operator_is_followed(block: str) -> None:
    found = last(padprint.measure(net(block), images(), ["output"], crop=32, crops_per_image=2))
    assert found.numeric_floor < 1e-5
    assert found.parts["local"].size.value > 0.01
    assert found.sees_all_through


@pytest.mark.parametrize(
    "block", [pytest.param(block, marks=[pytest.mark.slow] * (block == "torch's heads")) for block in BLOCKS]
)
def test_without_padding_nothing_is_left_but_context(block: str) -> None:
    found = last(padprint.measure(net(block, padding=0), images(), ["output"], crop=33, crops_per_image=2))
    assert found.parts["padding"].size.value < 1e-5
    assert found.parts["context"].size.value > 100 * found.parts["padding"].size.value
    assert found.rim == (
        (3,) * 4 if block == "corners" else (0,) * 4
    )  # where it reads moves with the window: wide, to be sure


def test_parts_add_up_and_do_not_depend_on_the_batch() -> None:
    one, many = (last(padprint.measure(net("gate"), images(), crop=32, batch_size=n)) for n in (1, 16))
    total = one.parts["local"].pattern_map + one.parts["through"].pattern_map + one.parts["context"].pattern_map
    assert torch.allclose(total, one.parts["total"].pattern_map, atol=1e-9)
    for part in ("local", "through", "context"):
        assert torch.allclose(one.parts[part].pattern_map, many.parts[part].pattern_map, atol=1e-5)
        assert many.parts[part].size.value == pytest.approx(one.parts[part].size.value, rel=1e-3)


def test_channels_last_and_double_precision() -> None:
    plain = last(padprint.measure(net("instance"), images(), ["output"], crop=32))
    turned = last(
        padprint.measure(net("instance").to(memory_format=torch.channels_last), images(), ["output"], crop=32)
    )
    double = last(padprint.measure(net("instance").double(), images(), ["output"], crop=32))
    for other in (turned, double):
        assert torch.allclose(plain.parts["padding"].pattern_map, other.parts["padding"].pattern_map, atol=1e-4)
    assert double.numeric_floor < 1e-12


class UNet(nn.Module):
    """Gates and instance normalisation at two resolutions, joined by a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.InstanceNorm2d(8), nn.ReLU(), Gate(8))
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, 2, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), Gate(8))
        self.last = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        top = self.first(x)
        return self.last(torch.cat([top, F.interpolate(self.deep(top), scale_factor=2)], 1))


def test_resizing_by_corners_agrees_with_torch_on_the_window() -> None:
    x = torch.randn(1, 3, 9, 12, dtype=torch.float64)
    weights = [_weights((3, 4, n), (6, 8, 2 * n)) for n in x.shape[-2:]]
    inside = (weights[0] @ x @ weights[1].T)[..., 6:14, 6:14]
    assert torch.allclose(inside, F.interpolate(x[..., 3:7, 3:7], (8, 8), mode="bilinear", align_corners=True))


def test_a_stretched_position_embedding_stays_refused() -> None:
    class Stretched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grid = nn.Parameter(torch.randn(1, 8, 4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x + F.interpolate(self.grid, x.shape[-2:], mode="bilinear", align_corners=False)

    model = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), Stretched(), nn.Conv2d(8, 4, 3, padding=1)).eval()
    with pytest.raises(padprint.LayerError, match="absolute: interpolate in 1"):
        padprint.measure(model, images(), ["output"], crop=32)


@pytest.mark.parametrize("scheme", ["own", "reflect", "replicate"])
def test_paddings_are_compared_as_they_are_measured(scheme: str) -> None:
    several = padprint.compare(net("instance"), images(5), ["own", "reflect", "replicate"], crop=32, crops_per_image=2)
    alone = last(padprint.measure(net("instance"), images(5), crop=32, crops_per_image=2, padding=scheme))
    one = last(several[scheme])
    for part in ("local", "through", "context"):
        assert torch.allclose(one.parts[part].pattern_map, alone.parts[part].pattern_map, atol=1e-5)
    assert torch.allclose(one.pattern, alone.pattern, atol=1e-5)
    # what the scene does beyond padding is the same under all of them
    assert one.parts["context"].size.value == pytest.approx(last(several["own"]).parts["context"].size.value, rel=1e-5)
    assert "3 / reflect" in str(several)


def test_one_of_several_networks_sees_the_whole_map() -> None:
    local = nn.Sequential(nn.Conv2d(2, 4, 3, 2, padding=1), nn.Conv2d(4, 4, 3, padding=1)).eval()
    found = padprint.compare(
        {"local": local, "gate": net("gate")}, images(4), crop=32, layers="output", crops_per_image=2
    )
    assert last(found["local"]).parts == {}
    assert last(found["gate"]).parts
    assert found["local"].margin == found["gate"].margin


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = net("gate")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.body(x) * 2, "other": x}


def test_outputs_by_name() -> None:
    found = padprint.measure(Named(), images(), "output[logits]", crop=32)
    assert list(found) == ["output[logits]"]


def test_gates_inside_a_unet_and_the_model_is_left_as_found() -> None:
    torch.manual_seed(0)
    model = UNet().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = padprint.measure(model, images(4), crop=32)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert len(last(found).sees_all_through) == 4
    assert set(found) == {"deep", "last"}  # the layers' names are the network's own
    for one in found.values():
        assert one.numeric_floor < 1e-4
        assert one.parts["local"].size.low < one.parts["local"].size.value < one.parts["local"].size.high


class Idle(nn.Module):
    """A gate that changes nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0 * x.mean((2, 3), keepdim=True)


def test_windows_of_their_own_agree_with_the_shared_canvas() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, padding=1)]
    scenes = [image[:, :36, :36].contiguous() for image in images(4)]  # nine positions, all of them taken
    local = last(padprint.measure(nn.Sequential(*layers).eval(), scenes, "output", crop=32, crops_per_image=99))
    model = nn.Sequential(*layers[:2], Idle(), layers[2]).eval()
    one = last(padprint.measure(model, scenes, "output", crop=32, crops_per_image=99, padding="own"))
    assert local.parts == {}
    assert local.sees_all_through == ()
    assert torch.allclose(one.pattern, local.pattern, atol=1e-6)
    assert torch.allclose(one.noise, local.noise, atol=1e-6)
    for name in ("snr", "mae", "rms", "relative", "response"):
        assert getattr(one, name).value == pytest.approx(getattr(local, name).value, rel=1e-4)
        assert getattr(one, name).low == pytest.approx(getattr(local, name).low, rel=1e-3)
    assert one.parts["through"].size.value == one.parts["context"].size.value == 0
    assert one.parts["padding"].pattern.value == pytest.approx(one.relative.value)
    assert one.parts["padding"].snr.value == pytest.approx(one.snr.value)


# ------------------------------------------------------------------------------------------------- what is refused


class Embedded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.linspace(0, 1, x.shape[-1])


@pytest.mark.parametrize(("layer", "said"), [(nets.Sorted(), "sort"), (Embedded(), "absolute")])
def test_what_is_not_followed_is_refused(layer: nn.Module, said: str) -> None:
    model = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), layer, nn.Conv2d(8, 4, 3, padding=1)).eval()
    with pytest.raises(padprint.LayerError, match=said):
        padprint.measure(model, images(), ["output"], crop=32)


def test_images_too_small_and_a_network_of_one_size() -> None:
    with pytest.raises(padprint.ImagesError, match=r"1 of 1 images are too small \(the first is image 0, 34x34 px\)"):
        padprint.measure(net("gate"), images(1, (34, 34)), ["output"], crop=32)
    mixed = nn.Linear(1024, 1024), nn.Unflatten(2, (32, 32))
    fixed = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(2), *mixed, nn.Conv2d(4, 4, 1)).eval()
    with pytest.raises(padprint.ModelError, match="runs at the crop's size and not at others"):
        padprint.measure(fixed, images(), "output", crop=32)


def test_statistics_that_are_nan() -> None:
    model = net("instance")
    with torch.no_grad():
        model[0].bias.fill_(float("nan"))
    found = padprint.measure(model, images(), ["output"], crop=32)
    assert "holds NaN or infinite values" in str(found)
    assert last(found).snr.value != last(found).snr.value


def test_a_statistic_that_is_not_of_the_window_is_found_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), Centred(), nn.Conv2d(8, 4, 3, padding=1)).eval()

    def handler(_cells: Cells, _func: object, args: tuple[Tensor, ...], _kwargs: object) -> Split:
        (x,) = args
        return Split(lambda: (x.mean((2, 3), keepdim=True),), lambda taken: x - taken[0], lambda: x * 1.0)

    register("padprint_test::centred")(handler)
    try:
        with pytest.raises(padprint.ModelError, match="statistics over the crop's window the features still change"):
            padprint.measure(model, images(), ["output"], crop=32)
    finally:
        del _HANDLERS["padprint_test::centred"]


def test_a_margin_below_the_reach_is_approximate() -> None:
    found = padprint.measure(net("gate"), images(), ["output"], crop=32, margin=0)
    assert found.approximate
    residual = last(found).residual
    assert residual is not None
    assert residual > 0.1


@torch.library.custom_op("padprint_test::centred", mutates_args=())
def centred(x: Tensor) -> Tensor:
    return x - x.mean((2, 3), keepdim=True)


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.ops.padprint_test.centred(x)
        return found


def test_users_teach_an_operator_of_their_own() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), Centred(), nn.Conv2d(8, 4, 3, padding=1)).eval()
    with pytest.raises(padprint.LayerError, match="padprint_test::centred"):
        padprint.measure(model, images(), ["output"], crop=32)

    def handler(cells: Cells, _func: object, args: tuple[Tensor, ...], _kwargs: object) -> Split:
        (x,) = args
        return Split(lambda: (cells.cut(x).mean((2, 3), keepdim=True),), lambda taken: x - taken[0], lambda: x * 1.0)

    register("padprint_test::centred")(handler)
    try:
        found = last(padprint.measure(model, images(), ["output"], crop=32))
        assert found.parts["through"].size.value > 0
        assert found.sees_all_through == ("padprint_test::centred in 1",)
        register("padprint_test::centred")(
            lambda cells, func, args, kwargs: Split(lambda: (), lambda _: args[0] * 2, lambda: args[0] * 1.0)
        )
        with pytest.raises(padprint.ModelError, match="does not compute what the operator does"):
            padprint.measure(model, images(), ["output"], crop=32)
    finally:
        del _HANDLERS["padprint_test::centred"]


# -------------------------------------------------------------------------------------------------- results, extents


def test_results_are_saved_and_shown(tmp_path: Path) -> None:
    found = padprint.measure(net("gate"), images(), crop=32)
    assert padprint.load(found.save(tmp_path / "saved")) == found
    frame = found.parts_frame()
    assert list(frame["part"].unique()) == ["local", "through", "padding", "context", "total"]
    assert frame.loc[frame["part"] == "local", "size"].iloc[-1] == last(found).parts["local"].size.value
    assert found.to_dict()["layers"]["3"]["sees_all_through"] == ["adaptive_avg_pool2d in 2.gate.0"]
    for shown in (str(found), found._repr_html_(), str(last(found))):
        assert "adaptive_avg_pool2d in 2.gate.0" in shown
    document = json.loads((tmp_path / "saved" / "result.json").read_text())
    del document["layers"]["3"]["parts"]["through"], document["checksum"]
    (tmp_path / "saved" / "result.json").write_text(json.dumps(document))
    with pytest.raises(padprint.ResultError, match="through"):
        padprint.load(tmp_path / "saved")


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("flattened_with", [1, 6])
def test_tokens_are_cut_row_by_row(stride: int, flattened_with: int) -> None:
    crop, canvas, corner = (32, 48), (56, 64), (16, 8)
    growth = (128, 192)
    own, *grown = [
        (flattened_with * (h // stride) * (w // stride),)
        for h, w in (crop, (crop[0] + growth[0], crop[1]), (crop[0], crop[1] + growth[1]))
    ]
    (extent,) = extents(own, grown, crop, growth, [Fraction(stride)] * 2)
    assert extent is not None
    assert extent.cells == (crop[0] // stride, crop[1] // stride)
    pixels = torch.arange(flattened_with * canvas[0] * canvas[1]).view(flattened_with, *canvas)[:, ::stride, ::stride]
    cut = Window(crop, canvas, corner).cut(pixels.flatten(), 0, extent)
    y, x = (c // stride for c in corner)
    assert torch.equal(cut, pixels[:, y : y + crop[0] // stride, x : x + crop[1] // stride].flatten())


@pytest.mark.parametrize("stride", [(2, 2, 2), (2, 4, 4)])
def test_tokens_of_a_volume_are_cut_plane_by_plane(stride: tuple[int, int, int]) -> None:
    crop, canvas, corner, growth = (8, 16, 24), (16, 24, 40), (4, 8, 12), (64, 96, 128)

    def tokens(*more: int) -> tuple[int]:
        return (5 * prod((n + extra) // s for n, extra, s in zip(crop, more, stride, strict=True)),)

    grown = [tokens(*(extra * (i == axis) for i, extra in enumerate(growth))) for axis in range(3)]
    (extent,) = extents(tokens(0, 0, 0), grown, crop, growth, [Fraction(s) for s in stride])
    assert extent is not None
    assert extent.cells == tuple(n // s for n, s in zip(crop, stride, strict=True))
    cells = tuple(n // s for n, s in zip(canvas, stride, strict=True))
    pixels = torch.arange(5 * prod(cells)).view(5, *cells)
    z, y, x = (c // s for c, s in zip(corner, stride, strict=True))
    d, h, w = extent.cells
    cut = Window(crop, canvas, corner).cut(pixels.flatten(), 0, extent)
    assert torch.equal(cut, pixels[:, z : z + d, y : y + h, x : x + w].flatten())


def test_a_window_off_the_grid_is_refused() -> None:
    with pytest.raises(padprint.ModelError, match="off the grid"):
        Window((32, 32), (48, 48), (3, 0)).cut(torch.zeros(24), 0, Extent((0,), (16,), (Fraction(2),)))


def test_the_command_saves_and_prints(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="its MobileNetV3 is named")
    from PIL import Image
    from typer.testing import CliRunner

    from padprint.cli import app

    (tmp_path / "photos").mkdir()
    for i in range(3):
        pixels = (torch.rand(120, 120, 3, generator=torch.Generator().manual_seed(i)) * 255).byte().numpy()
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    arguments = ["measure", "torchvision:mobilenet_v3_small", str(tmp_path / "photos"), "--layers", "features.1"]
    arguments += [
        "--calibrate",
        "3",
        "--crop",
        "64",
        "--mean",
        "0.5,0.5,0.5",
        "--std",
        "0.2,0.2,0.2",
        "--output",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "sees all through" in result.output
    assert padprint.load(tmp_path / "out")["features.1"].sees_all_through == (
        "adaptive_avg_pool2d in features.1.block.1.avgpool",
    )


def test_an_operator_that_returns_its_results_by_name_is_followed() -> None:
    class Centred(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.flatten(2).median(-1).values[..., None, None]

    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    net = nn.Sequential(convolution, Centred()).eval()
    scenes = [torch.randn(3, 18, 18) for _ in range(2)]  # room for one crop of 16 px with its margin
    for scene, batch in zip(scenes, padprint.baselines.iterate(net, scenes, layers="1", crop=16), strict=True):
        with torch.no_grad():
            window = convolution(scene[None])[:, :, 1:17, 1:17]  # what padding does not reach
        torch.testing.assert_close(batch.optimal["1"], Centred()(window), rtol=1e-5, atol=1e-6)
