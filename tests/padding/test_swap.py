"""Padding swapped for a block: each kind of operator against the same thing done by hand, and what must stay as it is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from helpers import OLD_EXPORT, left_as_found, singles, swapped
from padprint import trace
from padprint.errors import PaddingError
from padprint.network.loading import load_model
from padprint.padding import Scheme, use

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")
close = torch.testing.assert_close


# ------------------------------------------------------------------------------------------- each kind of operator

x2 = singles(2, 3, 12, 13)
conv = nn.Conv2d(3, 4, 3, stride=2, padding=(1, 2), dilation=(1, 2))
same = nn.Conv2d(3, 4, (4, 3), padding="same")
grouped = nn.Conv2d(3, 6, 3, padding=1, groups=3, bias=False)
CASES: dict[str, tuple[nn.Module, Tensor, Callable[[Callable[[Tensor, list[int]], Tensor]], Tensor]]] = {
    "conv2d": (
        conv,
        x2,
        lambda pad: F.conv2d(pad(x2, [2, 2, 1, 1]), conv.weight, conv.bias, 2, 0, (1, 2)),
    ),
    "same": (same, x2, lambda pad: F.conv2d(pad(x2, [1, 1, 1, 2]), same.weight, same.bias)),
    "groups": (grouped, x2, lambda pad: F.conv2d(pad(x2, [1, 1, 1, 1]), grouped.weight, None, groups=3)),
    "max pool": (nn.MaxPool2d(3, 2, 1), x2, lambda pad: F.max_pool2d(pad(x2, [1, 1, 1, 1]), 3, 2)),
    "avg pool": (nn.AvgPool2d(3, 1, 1), x2, lambda pad: F.avg_pool2d(pad(x2, [1, 1, 1, 1]), 3, 1)),
    "avg pool, left out": (
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        x2,
        lambda pad: F.avg_pool2d(pad(x2, [1, 1, 1, 1]), 3, 1),
    ),
    "overhang": (nn.MaxPool2d(3, 2, ceil_mode=True), x2, lambda pad: F.max_pool2d(pad(x2, [0, 0, 0, 1]), 3, 2)),
    "functional": (nets.Lambda(lambda x: F.pad(x, (1, 2, 3, 0))), x2, lambda pad: pad(x2, [1, 2, 3, 0])),
    "zero pad": (nn.ZeroPad2d((1, 2, 0, 3)), x2, lambda pad: pad(x2, [1, 2, 0, 3])),
    "reflection pad": (nn.ReflectionPad2d(2), x2, lambda pad: pad(x2, [2, 2, 2, 2])),
    "crop and pad": (
        nets.Lambda(lambda x: F.pad(x, (-2, 1, 0, 0))),
        x2,
        lambda pad: pad(x2[..., 2:], [0, 1, 0, 0]),
    ),
}


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("case", CASES)
def test_by_hand(case: str, mode: str) -> None:
    net, x, expected = CASES[case]
    with torch.no_grad():
        close(swapped(net, mode, x), expected(lambda y, pads: F.pad(y, pads, mode=mode)))


@pytest.mark.parametrize("case", CASES)
def test_a_constant_by_hand(case: str) -> None:
    net, x, expected = CASES[case]
    with torch.no_grad():
        close(swapped(net, "constant:value=3", x), expected(lambda y, pads: F.pad(y, pads, value=3.0)))


@pytest.mark.parametrize(("n", "kind"), [(1, nn.Conv1d), (3, nn.Conv3d)])
def test_other_dimensions(n: int, kind: type[nn.Module]) -> None:
    net, x = kind(2, 3, 3, padding=1), singles(2, 2, *[7] * n)
    expected = getattr(F, f"conv{n}d")(F.pad(x, [1] * 2 * n, mode="replicate"), net.weight, net.bias)
    close(swapped(net, "replicate", x), expected)


def test_a_circular_convolution_gets_the_new_padding() -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    close(swapped(net, "reflect", x2), F.conv2d(F.pad(x2, [1] * 4, mode="reflect"), net.weight, net.bias))


def test_transposed_convolutions() -> None:
    """Zeros are what torch does; replicate supplies the neighbours whose contributions are missing."""
    net = nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1)
    with torch.no_grad():
        close(swapped(net, "zeros", x2), net(x2))
        wide = F.conv_transpose2d(F.pad(x2, [2] * 4, mode="replicate"), net.weight, net.bias, 2, 1)
        close(swapped(net, "replicate", x2), wide[:, :, 4:-4, 4:-4])


# --------------------------------------------------------------------------------------------------- ways to run


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_modes_and_layouts(mode: Callable[[], Any], layout: torch.memory_format) -> None:
    net = nets.tf_same()
    x = singles(1, 3, 17, 18)
    with mode(), use("reflect") as replaced:
        out = net(x.contiguous(memory_format=layout))
    assert replaced.count > 0
    close(out.detach(), swapped(net, "reflect", x), rtol=1e-5, atol=1e-6)
    assert out.requires_grad == (mode is torch.enable_grad)


@pytest.mark.parametrize(
    "make",
    [
        nets.stack,
        nets.stride_two,
        nets.dilated,
        nets.even_same,
        nets.tf_same,
        nets.in_place,
        nets.Residual,
        nets.Branches,
    ]
    + [partial(nets.unet, 2, up) for up in ("nearest", "bilinear", "transposed3")],
)
def test_zeros_leave_a_zero_padded_network_alone(make: Callable[[], nn.Module]) -> None:
    net = nets.ready(make())
    x = singles(1, 3, 32, 32)
    with torch.no_grad():
        close(swapped(net, "zeros", x), net(x))


@pytest.mark.skipif(OLD_EXPORT, reason="this torch's unflatten fails on such programs, which padprint says")
def test_exported_programs(tmp_path: Path) -> None:
    net, x = nets.sequential(nets.conv(), nn.MaxPool2d(3, 2, 1), nets.conv(4, 4, 5)), singles(1, 3, 20, 20)
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "net.pt2")
    program = load_model(str(tmp_path / "net.pt2")).model
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), use("reflect") as replaced:
            found = program(x)
        assert dict(replaced.layers) == {"0": 1, "1": 1, "2": 1}
        close(found.clone(), swapped(net, "reflect", x))


def test_timm_networks() -> None:
    timm = pytest.importorskip("timm")
    for name, operators in (
        ("tf_efficientnet_lite0", {"pad", "conv2d"}),
        ("resnetblur18", {"pad", "conv2d", "max_pool2d"}),
    ):
        torch.manual_seed(0)
        net, x = timm.create_model(name).eval(), singles(1, 3, 64, 64)
        with torch.no_grad():
            with use("replicate") as replaced:
                other = net(x)
            assert set(replaced.operators) >= operators
            assert float((other - net(x)).norm()) > 1e-4 * float(other.norm())


# ------------------------------------------------------------------------------------------------ what it counts, names


def test_counts_and_names() -> None:
    net = nets.sequential(nets.conv(), nn.Sequential(nn.MaxPool2d(3, 2, 1), nets.conv(4, 4, 1)), nets.conv(4, 4))
    with use("reflect") as replaced:
        net(x2)
        net(x2)
    assert dict(replaced.layers) == {"0": 2, "1.0": 2, "2": 2}
    assert dict(replaced.operators) == {"conv2d": 4, "max_pool2d": 2}
    assert replaced.count == 6


def test_nothing_replaced_is_an_error() -> None:
    with pytest.raises(PaddingError, match="reflect padding replaced nothing"), use("reflect"):
        nets.pointwise()(x2)


def test_the_error_names_the_layer_amounts_and_size() -> None:
    net = nets.sequential(nets.conv(), nn.Sequential(nn.MaxPool2d(4), nets.conv(4, 4, 9)))
    with pytest.raises(
        PaddingError, match=r"reflect padding cannot be applied to conv2d in 1\.1 .*4 \+ 4.*map of 3 x 3"
    ):
        swapped(net, "reflect", x2)


def test_the_blocks_own_error_passes_through() -> None:
    with pytest.raises(KeyError, match="mine"), use("reflect"):
        raise KeyError("mine")


class Stops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("stopped")


@pytest.mark.parametrize("net", [nets.sequential(nets.conv(), Stops()), nets.sequential(Stops())])
def test_nothing_survives_a_forward_that_raises(net: nn.Module) -> None:
    with left_as_found(net), pytest.raises(ValueError, match="stopped"), use("reflect"):
        net(x2)
    assert not nn.modules.module._global_forward_pre_hooks
    assert torch.overrides._get_current_function_mode_stack() == []


def test_inner_blocks_win() -> None:
    net = nets.stack()
    with use("reflect") as outer:
        before = net(x2)
        with use("circular") as inner:
            within = net(x2)
        after = net(x2)
    close(before, after)
    close(within, swapped(net, "circular", x2))
    assert inner.count == 3
    assert outer.count >= 6


@pytest.mark.filterwarnings("ignore:Using `torch.compile.module.` when there are global hooks")
def test_compiled_and_scripted_modules_are_refused() -> None:
    compiled = torch.compile(nets.stack(), backend="eager")
    for net in (compiled, nn.Sequential(compiled)):
        with pytest.raises(PaddingError, match=r"compiled.*uncompiled"), use("reflect"):
            net(x2)
    in_place = nn.Sequential(nets.conv())
    in_place[0].compile(backend="eager")
    with pytest.raises(PaddingError, match=r"0 is compiled"), use("reflect"):
        in_place(x2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_torchscript_is_refused() -> None:
    with pytest.raises(PaddingError, match=r"0 is TorchScript.*eager"), use("reflect"):
        nn.Sequential(torch.jit.script(nets.conv()))(x2)


def test_several_models_in_one_block_keep_their_names() -> None:
    class Stop(BaseException):
        pass

    def stop(*_: Any) -> None:
        raise Stop

    first, second = nets.sequential(nets.conv(), nets.conv(4)), nets.Lambda(lambda x: F.max_pool2d(x, 3, 1, 1))
    handle = first[1].register_forward_pre_hook(stop)  # ends the pass in the way an early exit does
    with use("reflect") as replaced:
        with pytest.raises(Stop):
            first(x2)
        handle.remove()
        first(x2)
        second(x2)
    assert dict(replaced.layers) == {"0": 2, "1": 1, "": 1}


def test_threads_do_not_meet() -> None:
    net, other = nets.stack(), nets.stack()
    with torch.no_grad():
        plain, expected = other(x2), swapped(net, "reflect", x2)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            work = (
                pool.submit(swapped, net, "reflect", x2),
                pool.submit(other, x2),
                pool.submit(swapped, net, "zeros", x2),
            )
            for job, wanted in zip(work, (expected, plain, plain), strict=True):
                close(job.result().detach(), wanted)


def test_a_trace_inside_a_block_sees_its_own_padding() -> None:
    net = nets.stack()
    with use("reflect") as replaced:
        found = trace(net, "4", 32)["4"]
        net(x2)
    assert found.rim == (3, 3, 3, 3)
    assert replaced.count >= 3


class Tiny(Scheme):
    """Fails in the way torch does."""

    def pad(self, x: Tensor, pads: Any) -> Tensor:
        raise RuntimeError("too small")


def test_a_scheme_of_ones_own() -> None:
    with pytest.raises(PaddingError, match=r"Tiny padding cannot be applied to conv2d in 0 .*too small"), use(Tiny()):
        nets.stack()(x2)


def test_indices_of_max_pooling_point_into_the_map() -> None:
    net, up = nn.MaxPool2d(3, 2, 1, return_indices=True), nn.MaxUnpool2d(3, 2, 1)
    x = x2.abs()
    values, indices = net(x)
    with use("zeros"):
        found, where = net(x)
    assert torch.equal(found, values) and torch.equal(where, indices)
    with use("constant:value=99"):
        found, where = net(x)
    assert int(where.min()) >= 0 and int(where.max()) < 12 * 13
    assert up(found, where, output_size=(12, 13)).max() == 99


# ------------------------------------------------------------------------------------------------ what stays as it is


def test_upsampling_and_channel_padding_stay() -> None:
    net = nets.sequential(
        nets.conv(), nn.Upsample(scale_factor=2, mode="bilinear"), nets.Lambda(lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)))
    )
    with torch.no_grad(), use("constant:value=9") as replaced:
        out = net(x2)
    assert dict(replaced.layers) == {"0": 1}
    assert out[:, [0, -1]].abs().max() == 0
    first = F.conv2d(F.pad(x2, [1] * 4, value=9.0), net[0].weight, net[0].bias)
    close(out[:, 1:-1], F.interpolate(first, scale_factor=2, mode="bilinear"))


def test_size_changing_schemes() -> None:
    net = nets.stack()
    assert swapped(net, "none", x2).shape[-2:] == (6, 7)
    assert swapped(net, "full", x2).shape[-2:] == (18, 19)
    with torch.no_grad():
        valid = x2
        for layer in net:
            valid = F.conv2d(valid, layer.weight, layer.bias) if isinstance(layer, nn.Conv2d) else layer(valid)
    close(swapped(net, "none", x2), valid)
    with pytest.raises(PaddingError, match="full padding changes the sizes of maps"):
        swapped(nets.ready(nets.Residual()), "full", x2)
