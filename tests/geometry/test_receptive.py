"""Receptive fields of cells: by hand, and against networks in which every single pixel is changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nets
from bruteforce import crop_of, features, scene, wide_margin
from nets import LOCAL, Lambda, conv, ready, sequential
from padprint.errors import LayerError
from padprint.geometry.layer import Geometry, LayerGeometry
from padprint.geometry.tracing import trace

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

CROP = (12, 16)
DRAWS = (1.0, 30.0, 100.0, 1000.0)  # sizes of the content that takes a pixel's place: a max pool sees no small one


class Cross(nn.Module):
    """Looks along rows in one branch and along columns in the other."""

    def __init__(self) -> None:
        super().__init__()
        self.row, self.column = conv(3, 4, (1, 5)), conv(3, 4, (5, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.row(x) + self.column(x)


SEEN = {
    name: LOCAL[name]
    for name in (
        "stride_two",
        "dilated",
        "lopsided",
        "even_same",
        "valid",
        "residual",
        "unet1_nearest",
        "unet1_bilinear",
        "unet1_transposed3",
        "unet1_transposed4",
        "upsampled_transposed2",
        "upsampled_bicubic",
        "resized",
        "shuffled",
        "sliced",
        "max_pooled",
        "ceil_max",
        "ceil_avg",
        "tf_same",
        "pad_asymmetric",
        "channels_last",
    )
} | {
    "stride_three": lambda: sequential(
        conv(3, 4, 2, stride=3), nn.Tanh(), nn.Conv2d(4, 4, (3, 2), dilation=(1, 3), padding=1)
    ),
    "twice_the_size": nets.twice_the_size,
    "resized_to_thirds": lambda: sequential(conv(), nn.Upsample(scale_factor=1.5, mode="nearest"), conv(4, 4)),
}
COPYING = ("circular", "reflected", "pad_reflect", "pad_replicate", "blur_pooled")


def pixels_seen(net: nn.Module, x: Tensor, geometry: Geometry) -> dict[str, Tensor]:
    """By layer `(H, W, h, w)`: whether other content in an input pixel changes a cell. One pixel after another."""
    before = features(net, x, geometry)
    h, w = x.shape[-2:]
    found = {name: torch.zeros(h, w, *one.shape[-2:], dtype=torch.bool) for name, one in before.items()}
    generator = torch.Generator().manual_seed(0)
    for size in DRAWS:
        other = size * torch.randn(x.shape, dtype=x.dtype, generator=generator)
        for i in range(h):
            rows = x.repeat(w, 1, 1, 1)
            for j in range(w):
                rows[j, :, i, j] = other[0, :, i, j]
            for name, after in features(net, rows, geometry).items():
                found[name][i] |= (after - before[name]).abs().amax(1) > 1e-12
    return found


def pixels_told(layer: LayerGeometry, size: tuple[int, int], corner: tuple[int, int] = (0, 0)) -> Tensor:
    """`(H, W, h, w)` of the same, as the geometry has it; `corner` is where the crop lies in the input."""
    h, w = layer.size
    found = torch.zeros(*size, h, w, dtype=torch.bool)
    for i in range(h):
        for j in range(w):
            rows, columns = (torch.zeros(n, dtype=torch.bool) for n in size)
            for mask, spans, at in zip((rows, columns), layer.field((i, j)).spans, corner, strict=True):
                for start, stop in spans:
                    mask[max(0, start + at) : max(0, stop + at)] = True
            found[:, :, i, j] = rows[:, None] & columns
    return found


@pytest.mark.parametrize("name", SEEN)
def test_fields_with_scene_around_by_changing_every_pixel(name: str) -> None:
    net = SEEN[name]().double()
    geometry = trace(net, "*", CROP)
    margin = wide_margin(geometry, extra=0)
    seen = pixels_seen(net, scene(geometry, margin), geometry)
    for layer, found in geometry.items():
        corner = [int(m / s) for m, s in zip((margin[0], margin[2]), found.stride, strict=True)]
        window = seen[layer][:, :, corner[0] :, corner[1] :][:, :, : found.size[0], : found.size[1]]
        told = pixels_told(found, seen[layer].shape[:2], (margin[0], margin[2]))
        assert torch.equal(window, told), layer


@pytest.mark.parametrize("name", sorted(SEEN.keys() - {"dilated"}))
def test_fields_of_a_crop_alone_by_changing_every_pixel(name: str) -> None:
    net = SEEN[name]().double()
    geometry = trace(net, "*", CROP)
    seen = pixels_seen(net, crop_of(scene(geometry, (0,) * 4), geometry, (0,) * 4), geometry)
    for layer, found in geometry.items():
        assert torch.equal(seen[layer], pixels_told(found, CROP)), layer


@pytest.mark.parametrize("net", [LOCAL["dilated"](), ready(Cross())], ids=["dilated", "cross"])
def test_a_field_leaves_no_pixel_out(net: nn.Module) -> None:
    # what a dilated window would see through a cell that is padding is missing in a crop alone; a cross is no box
    net = net.double()
    geometry = trace(net, "*", CROP)
    seen = pixels_seen(net, crop_of(scene(geometry, (0,) * 4), geometry, (0,) * 4), geometry)
    for layer, found in geometry.items():
        told = pixels_told(found, CROP)
        assert not bool((seen[layer] & ~told).any()), layer
        i, j = (n // 2 for n in found.size)
        for axis in (0, 1):  # the box fits
            assert torch.equal(seen[layer][:, :, i, j].any(1 - axis), told[:, :, i, j].any(1 - axis))


@pytest.mark.parametrize("name", ["circular", "reflected", "pad_replicate"])
def test_padding_that_copies_shows_the_border_other_pixels_and_the_rest_none(name: str) -> None:
    net = LOCAL[name]().double()
    geometry = trace(net, "*", CROP)
    seen = pixels_seen(net, crop_of(scene(geometry, (0,) * 4), geometry, (0,) * 4), geometry)
    for layer, found in geometry.items():
        (h, w), (top, bottom, left, right) = found.size, found.rim
        inner = (slice(None), slice(None), slice(top, h - bottom), slice(left, w - right))
        assert torch.equal(seen[layer][inner], pixels_told(found, CROP)[inner]), layer


@pytest.mark.parametrize("name", [*SEEN, "circular", "unet2_bilinear"])
def test_cells_see_the_pixels_that_are_in_their_fields(name: str) -> None:
    geometry = trace((SEEN | LOCAL)[name](), "*", CROP)
    for found in geometry.values():
        told = pixels_told(found, CROP)
        for pixel in [(0, 0), (11, 15), (5, 9), (7, 2)]:
            rows, columns = found.cells(pixel)
            expected = torch.zeros(found.size, dtype=torch.bool)
            expected[np.ix_(rows, columns)] = True
            assert torch.equal(told[pixel], expected)
        rows, columns = found.cells(((3, 8), (-2, 5)))
        each = [set(found.cells((y, x))[0]) for y in range(3, 8) for x in range(-2, 5)]
        assert set(rows) == set().union(*each)
        assert set(columns) == set().union(*(set(found.cells((3, x))[1]) for x in range(-2, 5)))


# --------------------------------------------------------------------------------------------------- worked by hand


def last(net: nn.Module, crop: int | tuple[int, int]) -> LayerGeometry:
    return list(trace(net, "*", crop).values())[-1]


def test_two_strides() -> None:
    # cell i of the second 3x3 of stride 2 sees 4i-3..4i+3; 64 px give 16 cells
    found = last(nets.stride_two(), 64)
    corner = found.field((0, -1))
    assert corner.cell == (0, 15)
    assert corner.box == ((-3, 4), (57, 64))
    assert (corner.size, corner.centre, corner.image) == ((7, 7), (0, 60), (64, 64))
    assert (corner.inside, corner.slices) == (((0, 4), (57, 64)), (slice(0, 4), slice(57, 64)))
    assert corner.outside == (3, 0, 0, 0)
    assert corner.padding == pytest.approx(3 / 7)
    assert corner.exact
    assert found.cells((0, 63)) == ((0,), (15,))  # 4i - 3 <= 0 <= 4i + 3, 4i - 3 <= 63 <= 4i + 3
    assert found.cells((3, 32)) == ((0, 1), (8,))
    assert found.cells(((0, 8), (60, 64))) == ((0, 1, 2), (15,))  # 4i - 3 <= 7; 57 <= 4i <= 66
    assert found.cells((-3, -4)) == ((0,), ())  # px before the input


def test_gaps_between_the_taps_of_a_dilated_window() -> None:
    found = last(sequential(conv(dilation=4)), 24).field((10, 4))
    assert found.box == ((6, 15), (0, 9))
    assert found.spans == (((6, 7), (10, 11), (14, 15)), ((0, 1), (4, 5), (8, 9)))
    assert (found.outside, found.padding) == ((0, 0, 0, 0), 0)
    assert "with gaps; all of it on the input" in str(found)


def test_upsampling_gives_neighbours_other_fields() -> None:
    nearest = last(sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2)), 8)
    assert [nearest.field((i, 0)).box[0] for i in (4, 5, 6)] == [(4, 6), (4, 6), (6, 8)]
    bilinear = last(sequential(conv(k=1), nn.Upsample(scale_factor=2, mode="bilinear")), 8)
    # cell 2j lies at j - 0.25, cell 2j+1 at j + 0.25
    assert [bilinear.field((i, 0)).box[0] for i in (0, 1, 2, -1)] == [(-1, 1), (0, 2), (0, 2), (7, 9)]
    transposed = last(sequential(nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)), 8)
    # cell 2j gets tap 1 of cell j; cell 2j+1 taps 2 of j and 0 of j+1
    assert [transposed.field((i, 0)).box[0] for i in (0, 1, 2)] == [(0, 1), (0, 2), (1, 2)]


def test_a_cell_that_sees_padding_alone() -> None:
    found = last(sequential(conv(padding=3)), 8).field((0, -1))
    assert (found.box, found.inside) == (((-3, 0), (8, 11)), ((0, 0), (8, 8)))
    assert (found.outside, found.padding) == ((3, 0, 0, 3), 1)


def test_a_field_as_text_and_as_plain_values() -> None:
    found = last(nets.stride_two(), 64).field((0, 5))
    assert str(found) == "2, cell 0,5: sees rows -3 to 3, columns 17 to 23 (7 x 7 px); 43 % is padding: 3 px top"
    assert found.to_dict() == {
        "layer": "2",
        "cell": [0, 5],
        "box": [[-3, 4], [17, 24]],
        "size": [7, 7],
        "centre": [0, 20],
        "spans": [[[-3, 4]], [[17, 24]]],
        "image": [64, 64],
        "outside": [3, 0, 0, 0],
        "padding": pytest.approx(3 / 7),
        "exact": True,
    }


# ---------------------------------------------------------------------------------------------------- misaligned paths


class Block(nn.Module):
    """A residual block: what `body` and `skip` make of the input, added or concatenated."""

    def __init__(self, body: nn.Module, skip: nn.Module, join: str = "add") -> None:
        super().__init__()
        self.body, self.skip, self.join = body, skip, join

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.body(x), self.skip(x)
        if self.join == "add in place":
            one += two
            return one
        return one + two if self.join == "add" else torch.cat([one, two], 1)


def apart(net: nn.Module, crop: int | tuple[int, int] = 32) -> list[tuple[str, tuple[float, ...]]]:
    return [(one.module, one.pixels) for one in trace(ready(net), "*", crop).misaligned]


@pytest.mark.parametrize("join", ["add", "add in place", "cat"])
def test_paths_of_a_residual_block_are_aligned(join: str) -> None:
    # 3x3 of stride 2 with padding 1, then 3x3: cell i is centred on px 2i, as that of a 1x1 of stride 2
    body = nn.Sequential(conv(3, 4, stride=2), nn.Tanh(), conv(4, 4))
    assert apart(Block(body, conv(3, 4, 1, stride=2), join)) == []
    assert apart(Block(conv(3, 3, 5), nn.Identity(), join)) == []


@pytest.mark.parametrize("join", ["add", "add in place", "cat"])
def test_an_even_kernel_beside_none_is_half_a_pixel_off(join: str) -> None:
    # cell i sees i-1..i+2: centred on i + 0.5
    block = Block(conv(3, 3, 4, padding="same"), nn.Identity(), join)
    assert apart(nn.Sequential(block, nn.Tanh())) == [("0", (0.5, 0.5))]
    block = Block(conv(3, 3, (1, 4), padding="same"), conv(3, 3), join)
    assert apart(nn.Sequential(conv(3, 3), block, nn.Tanh())) == [("1", (0.0, 0.5))]


def test_strides_of_another_phase_are_a_pixel_off() -> None:
    # 2i against 2i + 1
    other = nn.Sequential(Lambda(lambda x: x[:, :, 1:, :]), conv(3, 4, 1, stride=2))
    assert apart(Block(conv(3, 4, stride=2), other)) == [("", (1.0, 0.0))]


def test_a_shortcut_that_pools_is_half_a_cell_off() -> None:
    # 3x3 of stride 2 with padding 1: 2i; 2x2 of stride 2: 2i + 0.5; behind another stride of 2 twice as far
    blocks = [Block(conv(c, 4, stride=2), nn.Sequential(nn.AvgPool2d(2), conv(c, 4, 1))) for c in (3, 4)]
    found = trace(ready(nn.Sequential(*blocks)), "*", 32).misaligned
    assert [(one.module, one.pixels) for one in found] == [("0", (0.5, 0.5)), ("1", (1.0, 1.0))]
    assert found[0].offsets == ((0.0, 0.5), (0.0, 0.5))
    assert str(found[1]) == "add in 1 joins maps that are centred 1 x 1 px apart"
    assert found[0].to_dict() == {
        "module": "0",
        "operator": "add",
        "pixels": [0.5, 0.5],
        "offsets": [[0.0, 0.5], [0.0, 0.5]],
    }


@pytest.mark.parametrize(
    ("down", "up", "px"),
    [
        # a 3x3 of stride 2 puts cell j on 2j, a 2x2 pooling on 2j + 0.5; the first of both cells that come of it lies on 2j
        ("conv", "nearest", 0.5),
        ("conv", "bilinear", 0.5),
        ("conv", "transposed2", 0.5),
        ("conv", "transposed3", 0.0),  # cell 2j sees j, cell 2j + 1 sees j and j + 1
        ("conv", "transposed4", 0.5),
        ("pool", "nearest", 0.0),
        ("pool", "bilinear", 0.0),
        ("pool", "transposed2", 0.0),
        ("pool", "transposed3", 0.5),
        ("pool", "transposed4", 0.0),
    ],
)
def test_u_nets_whose_way_up_is_not_their_way_down(down: str, up: str, px: float) -> None:
    smaller = conv(3, 4, stride=2) if down == "conv" else nn.Sequential(nn.MaxPool2d(2), conv(3, 4))
    body = nn.Sequential(smaller, nets._upsampling(up))
    assert apart(Block(body, conv(3, 4), "cat")) == ([("", (px, px))] if px else [])


@pytest.mark.parametrize("up", nets.UPS)
def test_centres_of_paths_are_those_of_their_layers(up: str) -> None:
    geometry = trace(nets.unet(1, up), "*", (24, 32))
    offsets = geometry["up.0"].offset, geometry["stem"].offset  # checked against changes of pixels with the trace
    apart_by = tuple(abs(a - b) for a, b in zip(*offsets, strict=True))
    assert [one.pixels for one in geometry.misaligned] == [apart_by] * any(apart_by)


class OneByOne(nn.Sequential):
    """Takes a batch of one image alone, as some exported programs do."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) != 1:
            raise ValueError("one image, please")
        return super().forward(x)


def test_a_network_that_takes_one_image_alone() -> None:
    blocks = [Block(conv(c, 4, stride=2), nn.Sequential(nn.AvgPool2d(2), conv(c, 4, 1))) for c in (3, 4)]
    many, one = trace(ready(nn.Sequential(*blocks)), "*", 32), trace(ready(OneByOne(*blocks)), "*", 32)
    assert one.misaligned == many.misaligned != ()
    assert [layer.axes for layer in one.values()] == [layer.axes for layer in many.values()]
    assert one["1"].field((2, 3)).box == many["1"].field((2, 3)).box


def test_paths_behind_the_last_layer_that_was_asked_for_are_not_looked_at() -> None:
    net = ready(nn.Sequential(conv(3, 3), Block(conv(3, 3, 4, padding="same"), nn.Identity())))
    assert trace(net, ["0"], 32).misaligned == ()
    assert len(trace(net, ["1"], 32).misaligned) == 1


def test_gates_and_masks_are_no_paths_of_their_own() -> None:
    gated = Lambda(lambda x: x * torch.sigmoid(x) + torch.linspace(0, 1, x.shape[1]).view(1, -1, 1, 1))
    assert apart(nn.Sequential(conv(3, 4, 4, padding="same"), gated)) == []


# ------------------------------------------------------------------------------------------------------- not at all


@pytest.mark.parametrize("cell", [(0, 16), (-17, 0), (0,), (0, 0, 0), 3, (0.0, 1), (True, 0), "00"])
def test_no_such_cell(cell: object) -> None:
    with pytest.raises(LayerError, match=r"2 has no cell .*: a cell is \(row, column\) of its map of 16 x 16 cells"):
        last(nets.stride_two(), 64).field(cell)


@pytest.mark.parametrize("box", [3, (1,), (1, 2, 3), ((0, 1),), ((0, 0), (0, 1)), ((5, 2), (0, 1)), ((0, 1.5), (0, 1))])
def test_no_such_box(box: object) -> None:
    with pytest.raises(LayerError, match="is no box of the input of 2: give a pixel"):
        last(nets.stride_two(), 64).cells(box)


def test_whole_numbers_of_numpy() -> None:
    found = last(nets.stride_two(), 64)
    assert found.field((np.int64(1), np.int32(2))) == found.field((1, 2))
    assert found.cells((np.int64(3), 4)) == found.cells((3, 4))


@pytest.mark.parametrize("name", ["squeeze_excite", "group_norm"])
def test_layers_that_see_the_whole_input_have_no_fields(name: str) -> None:
    make, blame = nets.WHOLE[name]
    found = last(make(), 32)
    with pytest.raises(LayerError, match=f"has no receptive fields: global: .*{blame}"):
        found.field((0, 0))
    with pytest.raises(LayerError, match="has no receptive fields: global"):
        found.cells((0, 0))


def test_fields_of_padding_that_is_not_read_are_not_known() -> None:
    def mirrored(x: Tensor) -> Tensor:
        return torch.cat([x[:, :, 1:3].flip(2), x, x[:, :, -3:-1].flip(2)], 2)

    found = last(sequential(conv(k=1), Lambda(mirrored), conv(4, 4, (5, 1), padding=0)), 32)
    assert found.witness == "change"
    with pytest.raises(LayerError, match="are not known: more cells move"):
        found.field((0, 0))


def test_cells_that_no_pixel_reaches() -> None:
    found = last(sequential(nn.ConvTranspose2d(3, 4, 1, stride=2)), 16)
    with pytest.raises(LayerError, match="are not known: some cell sees no pixel"):
        found.field((0, 0))


# ------------------------------------------------------------------------------------------------ published networks


def linear(net: nn.Module) -> nn.Module:
    """The network with weights above 0 and nothing that is not linear, so that no part of a field cancels or is cut off."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU | nn.ReLU6):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode))
    for parameter in net.parameters():
        parameter.data.abs_()
    return net.double().eval()


@pytest.mark.parametrize(
    ("name", "layer", "cells"),
    [
        ("resnet18", "layer3", [(0, 0), (2, 3), (3, 2)]),
        ("mobilenet_v2", "features.13", [(0, 3), (2, 1)]),
        ("googlenet", "inception4a", [(1, 0), (3, 3)]),
        ("densenet121", "features.transition1", [(0, 0), (4, 7)]),
    ],
)
def test_fields_of_published_networks_by_gradients(name: str, layer: str, cells: list[tuple[int, int]]) -> None:
    torchvision = pytest.importorskip("torchvision")
    options = {"init_weights": False} if name == "googlenet" else {}
    net = linear(torchvision.models.get_model(name, weights=None, **options))
    geometry = trace(net, [layer], 64)
    found = geometry[layer]
    margin = wide_margin(geometry, extra=0)
    x = scene(geometry, margin).requires_grad_()
    maps: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda _, __, out: maps.append(out))
    net(x)
    handle.remove()
    for i, j in cells:
        row, column = i + int(margin[0] / found.stride[0]), j + int(margin[2] / found.stride[1])
        (gradient,) = torch.autograd.grad(maps[0][0, :, row, column].sum(), x, retain_graph=True)
        seen = gradient[0].abs().amax(0) > 0
        box = []
        for axis, before in ((1, margin[0]), (0, margin[2])):
            pixels = seen.any(axis).nonzero().flatten() - before
            box.append((int(pixels.min()), int(pixels.max()) + 1))
        assert found.field((i, j)).box == tuple(box)
