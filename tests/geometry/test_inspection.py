"""Every padding operator that ran is listed, with what it does; and where strides leave cells over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typer.testing import CliRunner

import nets
import padprint
from helpers import left_as_found
from padprint.cli import app
from padprint.errors import ModelError
from padprint.network.loading import load_model

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")


def rows(net: nn.Module, size: int | tuple[int, int] = 32) -> list[tuple[object, ...]]:
    return [(one.module, one.operator, one.mode, one.amounts, one.swappable) for one in padprint.inspect(net, size)]


def test_a_plain_stack() -> None:
    one = ((1, 1), (1, 1))
    assert rows(nets.stack()) == [(name, "conv2d", "zeros", one, True) for name in ("0", "2", "4")]
    found = padprint.inspect(nets.stack(), 32)[1]
    assert (found.shape, found.kernel, found.stride, found.axes) == ((1, 4, 32, 32), (3, 3), (1, 1), (-2, -1))


@pytest.mark.parametrize(
    ("net", "operator", "mode", "amounts"),
    [
        (nn.Conv2d(3, 4, (4, 3), padding="same"), "conv2d", "zeros", ((1, 2), (1, 1))),
        (nn.Conv2d(3, 4, 3, padding=(2, 0), dilation=2), "conv2d", "zeros", ((2, 2), (0, 0))),
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), "pad", "circular", ((1, 1), (1, 1))),
        (nn.MaxPool2d(3, 2, 1), "max_pool2d", "-inf", ((1, 1), (1, 1))),
        (nn.MaxPool2d(3, 2, ceil_mode=True), "max_pool2d", "-inf", ((0, 1), (0, 1))),
        (nn.AvgPool2d(3, 1, 1), "avg_pool2d", "zeros", ((1, 1), (1, 1))),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), "avg_pool2d", "left out", ((1, 1), (1, 1))),
        (nn.ReflectionPad2d((1, 2, 3, 4)), "pad", "reflect", ((3, 4), (1, 2))),
        (nn.ReplicationPad2d(1), "pad", "replicate", ((1, 1), (1, 1))),
        (nets.Lambda(lambda x: F.pad(x, (0, 1, 0, 1), value=2.0)), "pad", "constant", ((0, 1), (0, 1))),
        (nets.Lambda(lambda x: F.max_pool2d(x, 3, 2, 1)), "max_pool2d", "-inf", ((1, 1), (1, 1))),
        (nn.ConvTranspose2d(3, 4, 4, 2, 1), "conv_transpose2d", "nothing there", ((1, 1), (1, 1))),
    ],
)
def test_modes_and_amounts(net: nn.Module, operator: str, mode: str, amounts: tuple[tuple[int, int], ...]) -> None:
    path = "" if isinstance(net, nets.Lambda) else "0"
    net = net if isinstance(net, nets.Lambda) else nn.Sequential(net)
    found = rows(net)
    assert [row[:3] for row in found] == [(path, operator, mode)]
    assert found[0][3] == amounts
    assert found[0][4] is True


def test_tensorflows_padding_depends_on_the_size() -> None:
    timm = pytest.importorskip("timm")
    layer = timm.layers.create_conv2d(3, 4, 3, stride=2, padding="same")
    assert rows(nn.Sequential(layer), 32)[0] == ("0", "pad", "zeros", ((0, 1), (0, 1)), True)
    assert rows(nn.Sequential(layer), 33)[0] == ("0", "pad", "zeros", ((1, 1), (1, 1)), True)


def test_blur_pooling() -> None:
    timm = pytest.importorskip("timm")
    (found,) = rows(nn.Sequential(timm.layers.BlurPool2d(3)))
    assert found[:3] == ("0", "pad", "reflect")


def test_windows_without_padding_are_counted() -> None:
    found = padprint.inspect(nets.sequential(nets.conv(3, 4, 1), nn.MaxPool2d(2), nets.conv(4, 4)), 32)
    assert (len(found), found.plain) == (1, 2)


@pytest.mark.parametrize(
    ("function", "operator", "mode", "reason"),
    [
        (lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)), "pad", "zeros", "channels or batch"),
        (lambda x: F.pad(x.movedim(1, -1), (0, 0, 0, 2, 0, 3)), "pad", "zeros", "channels last"),
        (lambda x: F.pad(x > 0, (1, 1, 1, 1)), "pad", "zeros", "bool"),
        (lambda x: F.pad(x.flatten(1), (0, 4)), "pad", "zeros", "2 dimensions"),
        (lambda x: F.local_response_norm(x, 3), "local_response_norm", "unclassified", "channels"),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), "interpolate", "clamp", "clamps inside"),
        (lambda x: torch.roll(x, 1, -1), "roll", None, "moves the cells"),
        (
            lambda x: F.grid_sample(x, torch.zeros(1, 4, 4, 2), align_corners=False),
            "grid_sample",
            "unclassified",
            "beyond",
        ),
        (lambda x: F.fold(F.unfold(x, 2), (32, 32), 2), "fold", "unclassified", "adds up windows"),
        (lambda x: torch.fft.ifft2(torch.fft.fft2(x)).real, "fft_fft2", "unclassified", "periodic"),
    ],
)
def test_what_is_not_swappable_is_listed_with_the_reason(
    function, operator: str, mode: str | None, reason: str
) -> None:
    found = padprint.inspect(nn.Sequential(nets.Lambda(function)), 32)
    first = next(one for one in found if one.operator == operator)
    assert not first.swappable
    assert reason in str(first.reason)
    assert mode is None or first.mode == mode
    assert reason in str(found)


def test_operators_of_other_libraries_are_listed() -> None:
    torchvision = pytest.importorskip("torchvision")
    net = torchvision.ops.DeformConv2d(3, 4, 3, padding=1)
    found = padprint.inspect(nets.Lambda(lambda x: net(x, torch.zeros(1, 18, 32, 32))), 32)
    assert [(one.mode, one.swappable) for one in found] == [("unclassified", False)]
    assert "torchvision" in str(found[0].reason)


def test_operators_of_ones_own_are_listed() -> None:
    with torch.library._scoped_library("padprint_tests", "DEF") as library:
        library.define("blur(Tensor x) -> Tensor")
        library.impl("blur", lambda x: x.clone(), "CompositeExplicitAutograd")
        found = padprint.inspect(nets.Lambda(torch.ops.padprint_tests.blur), 32)
    assert [(one.operator, one.mode) for one in found] == [("padprint_tests::blur", "unclassified")]


def test_what_invents_nothing_is_not_listed() -> None:
    net = nn.Sequential(
        nn.ConvTranspose2d(3, 4, 2, 2),
        nn.Upsample(scale_factor=2),
        nn.UpsamplingBilinear2d(scale_factor=2),
        nets.Lambda(lambda x: F.pad(x, (-1, 0, 0, -1))),
        nn.AdaptiveAvgPool2d(4),
    )
    assert rows(net) == []


def test_inside_a_swap_the_networks_own_padding_is_listed() -> None:
    with padprint.padding.use("reflect") as replaced:
        assert rows(nets.stack())[0][2] == "zeros"
    assert replaced.count >= 3


def test_exported_programs(tmp_path: Path) -> None:
    net = nets.sequential(nets.conv(), nn.MaxPool2d(3, 2, 1), nn.ReflectionPad2d(1))
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 32, 32),)), tmp_path / "net.pt2")
    assert rows(load_model(str(tmp_path / "net.pt2")).model) == rows(net)


def test_the_model_is_left_as_found() -> None:
    net = nets.unet(2, "bilinear").train()
    with left_as_found(net):
        padprint.inspect(net, 32)


def test_converted_layers_show_their_scheme() -> None:
    from padprint.padding import convert

    assert {row[2] for row in rows(convert(nets.stack(), "randn", seed=0))} == {"randn"}


def test_a_model_that_fails() -> None:
    with pytest.raises(ModelError, match=r"fails on an input of 1 x 5 x 32 x 32"):
        padprint.inspect(nets.stack(), 32, channels=5)


# ------------------------------------------------------------------------------------------------------- evenness


def test_a_stride_by_hand() -> None:
    """(n + 2 - 3) mod 2 is 1 at 32 and 0 at 33; (n + 4 - 5) mod 3 is 1 at 32, 2 at 33, 0 at 31."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1))
    found = padprint.inspect(net, (32, 33))
    assert [(w.module, w.remainder, w.even) for w in found.strided] == [("0", (1, 0), False)]
    assert (found.even.below, found.even.above) == ((31, 33), (33, 33))
    three = padprint.inspect(nn.Sequential(nn.Conv2d(3, 4, 5, stride=3, padding=2)), 32)
    assert three.strided[0].remainder == (1, 1)
    assert (three.even.below, three.even.above) == ((31, 31), (34, 34))


def test_two_strides_by_hand() -> None:
    """Two 3x3 convolutions of stride 2: the second sees (n + 1) / 2 cells, even where that is odd: n = 4m + 1."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))
    found = padprint.inspect(net, 64)
    assert [w.remainder for w in found.strided] == [(1, 1), (1, 1)]
    assert (found.even.below, found.even.above) == ((61, 61), (65, 65))
    assert all(w.even for w in padprint.inspect(net, 65).strided)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_residual_networks_are_uneven_at_224(name: str) -> None:
    torchvision = pytest.importorskip("torchvision")
    net = torchvision.models.get_model(name)
    found = padprint.inspect(net, 224)
    assert len({w.size for w in found.strided}) == 5  # stem, pooling, three stages
    assert all(w.remainder == (1, 1) for w in found.strided)
    assert (found.even.below, found.even.above) == ((193, 193), (225, 225))
    assert all(w.even for w in padprint.inspect(net, 257).strided)


def test_vgg_is_even_at_224() -> None:
    torchvision = pytest.importorskip("torchvision")
    vgg = torchvision.models.vgg
    found = padprint.inspect(vgg.make_layers(vgg.cfgs["A"]), 224)
    assert found.even.below == found.even.above == (224, 224)
    assert "all 5 strided windows are even" in str(found)


def test_no_even_size_within_reach_says_why() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] != 32:
                raise ValueError("only 32")
            return self.conv(x)

    found = padprint.inspect(Fixed(), 32)
    assert found.even.above == (None, None)
    assert "only 32" in str(found.even.reason)


# --------------------------------------------------------------------------------------------------------- output


def test_documents_and_frames() -> None:
    found = padprint.inspect(nets.stride_two(), 32)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(document["operators"]) == len(found) == len(found.to_frame())
    assert document["strided"][0]["even"] is False


def test_command() -> None:
    result = CliRunner().invoke(app, ["inspect", "nets:stride_two", "--size", "32x33", "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["shape"] == [1, 3, 32, 33]
    people = CliRunner().invoke(app, ["inspect", "nets:stride_two"])
    assert (people.exit_code, people.stdout) == (0, "")
    assert "uneven" in people.stderr
    assert "Example: padprint inspect" in CliRunner().invoke(app, ["inspect", "--help"]).output
    assert CliRunner().invoke(app, ["inspect", "nets:stride_two", "--size", "big"]).exit_code == 2
    assert CliRunner().invoke(app, ["inspect", "nets:nothing"]).exit_code == 1
