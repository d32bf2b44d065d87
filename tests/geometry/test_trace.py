"""The trace against numbers worked out by hand, and against brute force on networks small enough for it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from bruteforce import change, crop_of, features, influence, scene, wide_margin, window
from nets import LOCAL, WHOLE, conv, ready, sequential
from padprint.errors import LayerError, ModelError
from padprint.geometry.layer import LayerGeometry
from padprint.geometry.tracing import trace
from padprint.overlap import structural

EVERY_SIZE = [name for name in LOCAL if not name.startswith(("unet", "shuffled"))]
CASES = [(name, (40, 48)) for name in LOCAL] + [(name, (33, 35)) for name in EVERY_SIZE]
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
    pytest.mark.usefixtures("one_thread"),
]


def last(net: nn.Module, crop: int | tuple[int, int], layers: str = "*") -> LayerGeometry:
    return list(trace(net, layers, crop).values())[-1]


# ----------------------------------------------------------------------------------------------------- brute force


@pytest.mark.parametrize(("name", "crop"), CASES)
def test_padding_reaches_the_rim_and_no_further(name: str, crop: tuple[int, int]) -> None:
    net = LOCAL[name]().double()
    geometry = trace(net, "*", crop)
    assert not geometry.unmeasured
    margin = wide_margin(geometry)
    whole = scene(geometry, margin)
    of_crop = features(net, crop_of(whole, geometry, margin), geometry)
    of_scene = features(net, whole, geometry)
    for layer, found in geometry.items():
        assert tuple(of_crop[layer].shape[1:]) == (found.channels, *found.size)
        reference = window(of_scene[layer], geometry, layer, margin)
        moved = change(of_crop[layer], reference)
        (h, w), (top, bottom, left, right) = moved.shape, found.rim
        rows, columns = slice(top, h - bottom), slice(left, w - right)
        rest = moved[rows, columns]
        assert rest.numel() > 0, f"{layer}: the crop is too small for this test"
        assert rest.max() < 1e-9, layer
        edges = {
            "top": moved[top - 1, columns] if top else None,
            "bottom": moved[h - bottom, columns] if bottom else None,
            "left": moved[rows, left - 1] if left else None,
            "right": moved[rows, w - right] if right else None,
        }
        for side, edge in edges.items():
            assert edge is None or edge.max() > 1e-9, f"{layer}: the rim is smaller than {found.rim} on the {side}"
        # the smallest canvas that the layer's own margin allows, cut out of the scene
        (py, px), (top, bottom, left, right) = geometry.period, found.margin
        assert all(m % p == 0 for m, p in zip(found.margin, (py, py, px, px), strict=True))
        rows = slice(margin[0] - top, margin[0] + crop[0] + bottom)
        columns = slice(margin[2] - left, margin[2] + crop[1] + right)
        seen = window(features(net, whole[..., rows, columns], geometry)[layer], geometry, layer, found.margin)
        assert change(seen, reference).max() < 1e-9, f"{layer}: the margin {found.margin} is too small"


@pytest.mark.parametrize("name", LOCAL)
def test_receptive_field_reach_and_offset_by_changing_pixels(name: str) -> None:
    crop = (32, 40)
    net = LOCAL[name]().double()
    geometry = trace(net, "*", crop)
    margin = wide_margin(geometry, extra=1)
    for axis in (0, 1):
        touched = influence(net, geometry, margin, axis)
        for layer, found in geometry.items():
            spec = geometry.maps[layer]
            start = int(margin[2 * axis] / spec.stride[axis])
            pixels = [c.nonzero().flatten() - margin[2 * axis] for c in touched[layer].T[start:][: spec.size[axis]]]
            first, last = [int(p.min()) for p in pixels], [int(p.max()) for p in pixels]
            spans = [b - a + 1 for a, b in zip(first, last, strict=True)]
            assert found.receptive_field[axis] == max(spans), layer
            reach = max(0, -min(first)), max(0, max(last) - (crop[axis] - 1))
            assert found.reach[2 * axis : 2 * axis + 2] == reach, layer
            phases = int(geometry.period[axis] / spec.stride[axis])
            centres = [
                Fraction(a + b, 2) - i * spec.stride[axis] for i, (a, b) in enumerate(zip(first, last, strict=True))
            ]
            assert found.offset[axis] == pytest.approx(float(sum(centres[:phases]) / phases)), layer


# --------------------------------------------------------------------------------------------------- worked by hand


def test_one_convolution() -> None:
    # 3x3, padding 1, at 9 px: cells 0 and 8 see pixels -1 and 9; field 2 * 1 + 1 = 3.
    found = last(nets.box_filter(), 9)
    assert found == LayerGeometry(
        "0", None, 3, (9, 9), (1, 1), (0.0, 0.0), (3, 3), (1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1), "both", True
    )


def test_a_pointwise_network_has_no_rim() -> None:
    found = last(nets.pointwise(), 8)
    assert (found.rim, found.reach, found.margin, found.receptive_field) == ((0,) * 4, (0,) * 4, (0,) * 4, (1, 1))


@pytest.mark.parametrize(("crop", "far"), [(64, 0), (65, 1), (66, 1), (67, 1), (68, 0)])
def test_two_strides_touch_the_far_side_or_not(crop: int, far: int) -> None:
    # 3x3, stride 2, padding 1, twice. Cell i of the second reads 2i-1..2i+1 of the first, which read 4i-3..4i+3 px.
    # 64 px: 32 and 16 cells; the last, 15, reads up to 4 * 15 + 3 = 63, the last pixel: nothing touched.
    # 65 px: 33 and 17 cells; the last, 16, reads up to 67: touched, by 67 - 64 = 3 px.
    # 66 px: 33 and 17 cells, up to 67, 2 px beyond 65. 67 px: 34 and 17, up to 67, 1 px beyond 66.
    found = last(nets.stride_two(), crop)
    reach = 4 * (found.size[0] - 1) + 3 - (crop - 1)
    assert found.rim == (1, far, 1, far)
    assert found.reach == (3, reach, 3, reach)
    assert found.margin == (4, 4 * far, 4, 4 * far)
    assert (found.stride, found.offset, found.receptive_field) == ((4, 4), (0.0, 0.0), (7, 7))


def test_dilation() -> None:
    # half widths 2 * 1 and 3 * 1 add to 5: field 11, rim 5.
    found = last(nets.dilated(), 24)
    assert (found.receptive_field, found.rim, found.reach) == ((11, 11), (5,) * 4, (5,) * 4)


def test_axes_differ() -> None:
    # vertically only the 3x3 of stride 2: rim 1 above, none below at 32 px (cell 15 reads up to 31); across 3 + 1 = 4.
    found = last(nets.lopsided(), 32)
    assert (found.stride, found.rim, found.reach) == ((2, 1), (1, 0, 4, 4), (1, 0, 4, 4))
    assert found.receptive_field == (3, 9)


def test_even_kernels_pad_more_after() -> None:
    # 'same' with 4 taps: 1 before, 2 after; with 2 taps: 0 before, 1 after. Together 1 and 3, field 1 + 3 + 1 = 5.
    found = last(nets.even_same(), 16)
    assert (found.rim, found.receptive_field, found.offset) == ((1, 3, 1, 3), (5, 5), (1.0, 1.0))


def test_valid_convolutions_touch_nothing() -> None:
    # 5x5 valid, then 3x3 of stride 2: cell 0 reads pixels 0..6, centre 3; 21 px give 17, then 8 cells.
    found = last(nets.valid(), 21)
    assert (found.size, found.rim, found.margin) == ((8, 8), (0,) * 4, (0,) * 4)
    assert (found.receptive_field, found.offset) == ((7, 7), (3.0, 3.0))


def test_tf_same_pads_by_the_size() -> None:
    # 3 taps, stride 2. 32 px: ceil(32 / 2) = 16 cells need 15 * 2 + 3 = 33 px: 0 before, 1 after; 16 the same.
    # cell i reads 4i..4i+6, centre 3; the last, 7, up to 34: 3 px beyond 31.
    even = last(nets.tf_same(), 32)
    assert (even.rim, even.offset, even.reach) == ((0, 1, 0, 1), (3.0, 3.0), (0, 3, 0, 3))
    # 33 px: 17 cells need 35 px: 1 and 1; then 9 cells of 17 the same: cell i reads 4i-3..4i+3, as with padding 1.
    odd = last(nets.tf_same(), 33)
    assert (odd.rim, odd.offset, odd.reach) == ((1, 1, 1, 1), (0.0, 0.0), (3, 3, 3, 3))


def test_ceil_mode_hangs_over() -> None:
    # max pool 3/2 with ceil_mode on 32 cells: ceil(29 / 2) + 1 = 16 windows, the last reads 30..32: one cell too far.
    # the 3x3 before it has touched cells 0 and 31: windows 0 (0..2) and 15 are touched.
    assert last(nets.ceil_max(), 32).rim == (1, 1, 1, 1)
    # on 33 cells the last window reads 30..32, all there; cell 32 was touched by the 3x3.
    assert last(nets.ceil_max(), 33).rim == (1, 1, 1, 1)
    assert last(sequential(nn.MaxPool2d(3, 2, ceil_mode=True)), 32).rim == (0, 1, 0, 1)
    assert last(sequential(nn.MaxPool2d(3, 2, ceil_mode=True)), 33).rim == (0, 0, 0, 0)


def test_upsampling_nearest() -> None:
    # 3x3 of stride 2 at 16 px: cell 0 of 8 touched, the last reads up to 2 * 7 + 1 = 15: not. Doubled: 2 and 0 cells.
    # pairs of cells share one field of 3 pixels, 2j-1..2j+1, centre 2j: at cells 2j and 2j + 1, so offsets 0 and -1.
    found = last(nets.upsampled("nearest"), 16)
    assert (found.size, found.stride, found.rim) == ((16, 16), (1, 1), (2, 0, 2, 0))
    assert (found.receptive_field, found.offset, found.reach) == ((3, 3), (-0.5, -0.5), (1, 0, 1, 0))


def test_upsampling_bilinear_clamps_at_the_edge() -> None:
    # doubled, cell 2j mixes cells j - 1 and j, cell 2j + 1 mixes j and j + 1. Cell 0 of 8 is touched by the 3x3, so
    # cells 0, 1, 2 are; cell 15 mixes 7 and a clamped 8: touched too.
    found = last(nets.upsampled("bilinear"), 16)
    assert found.rim == (3, 1, 3, 1)
    # cell 0 reads cells -1 and 0: pixels -3..1; cell 15 reads 7 and 8: pixels 13..17.
    assert (found.reach, found.receptive_field) == ((3, 2, 3, 2), (5, 5))


def test_finer_than_the_input() -> None:
    found = last(nets.resized(), 16)
    assert (found.size, found.stride) == ((32, 32), (0.5, 0.5))


def test_concatenated_branches_take_the_longest() -> None:
    geometry = trace(ready(nets.Branches()), "*", 16)
    assert [g.rim[0] for g in geometry.values()] == [0, 1, 3, 3]


def test_a_module_called_three_times_counts_its_last_call() -> None:
    assert trace(ready(nets.Shared()), "body", 16)["body"].rim == (3, 3, 3, 3)


def test_nested_outputs_have_their_keys_as_names() -> None:
    geometry = trace(ready(nets.Nested()), "output*", 16)
    assert list(geometry) == ["output[low]", "output[high.1.0]"]
    assert [g.stride for g in geometry.values()] == [(1, 1), (2, 2)]


def test_the_rim_is_no_larger_than_the_map_and_the_margin_tells_the_rest() -> None:
    # ten 3x3 at 8 px: padding reaches 10 cells from each side, the map has 8.
    found = last(sequential(conv(), *(conv(4, 4) for _ in range(9))), 8)
    assert (found.rim, found.margin, found.reach) == ((8,) * 4, (10,) * 4, (10,) * 4)


@pytest.mark.parametrize(
    ("name", "layer", "rim", "reach", "margin"),
    [
        ("resnet50", "layer4", (7, 6), (213, 182), (224, 192)),
        pytest.param("vgg19", "features", (4, 4), (118, 118), (128, 128), marks=pytest.mark.slow),
        ("mobilenet_v2", "features", (7, 7), (245, 214), (256, 224)),  # 8 and 7 cells of a map of 7
        pytest.param("densenet121", "features", (7, 7), (1021, 1018), (1024, 1024), marks=pytest.mark.slow),
    ],
)
def test_known_networks_at_224_px(
    name: str, layer: str, rim: tuple[int, int], reach: tuple[int, int], margin: tuple[int, int]
) -> None:
    models = pytest.importorskip("torchvision.models")
    kwargs = {"init_weights": False} if name == "vgg19" else {}
    found = trace(models.get_model(name, weights=None, **kwargs), layer)[layer]
    assert found.rim == rim * 2
    assert found.reach == reach * 2
    assert found.margin == margin * 2


# ------------------------------------------------------------------------------------------- not local, not possible


@pytest.mark.parametrize("name", WHOLE)
def test_layers_that_see_the_whole_input_name_the_operator(name: str) -> None:
    make, blame = WHOLE[name]
    found = last(make(), 24)
    assert any(blame in one for one in found.sees_all_through)
    assert found.reason is None
    assert found.rim is not None  # of what is local
    assert max(found.rim) < 12


def test_layers_that_see_the_whole_input_unread_name_the_operator() -> None:
    found = last(sequential(conv(), nets.Sorted(), conv(4)), 32)
    assert found.reason == "global: sort in 1 sees the whole input"
    assert found.rim is None


def test_layers_before_the_global_one_are_measured() -> None:
    geometry = trace(ready(nets.SqueezeExcite()), "*", 32)
    assert geometry["stem"].rim == (1, 1, 1, 1)
    assert geometry["stem"].sees_all_through == ()
    assert geometry["head"].rim == (2, 2, 2, 2)
    assert geometry["head"].sees_all_through == ("adaptive_avg_pool2d in gate.0",)
    assert "does not grow with the input" in geometry["gate"].reason


def test_layers_tied_to_absolute_position_are_refused() -> None:
    found = last(ready(nets.PositionEmbedding()), 32)
    assert found.reason.startswith("absolute: interpolate in the model itself")


def test_resizing_by_corners_sees_the_whole_map() -> None:
    found = last(nets.corner_aligned(), 32)
    assert found.reason is None
    assert found.sees_all_through == ("interpolate in 1",)


def test_resizing_to_a_skip_of_odd_size_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = conv(stride=2)

        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(self.down(x), size=x.shape[-2:], mode="bilinear")

    assert last(ready(Odd()), 32).reason is None
    assert "positions that move" in last(ready(Odd()), 33).reason


def test_a_fixed_head_does_not_hide_the_layers_before_it() -> None:
    geometry = trace(nets.fixed_head(32), "*", 32)
    assert geometry["2"].rim == (1, 0, 1, 0)
    assert geometry["4"].reason is not None


def test_one_sided_branches_are_not_global() -> None:
    """One branch sees far to the left, one far to the right: on a short strip their sum is spoilt throughout."""

    class OneSided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = conv(3, 4, 1)
            self.before = conv(4, 4, (1, 41), padding=0)
            self.after = conv(4, 4, (1, 41), padding=0)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.stem(x))
            return self.before(F.pad(x, (40, 0))) + self.after(F.pad(x, (0, 40)))

    found = last(ready(OneSided()), 32)
    assert found.reason is None
    assert (found.reach, found.margin) == ((0, 0, 40, 40), (0, 0, 40, 40))


def test_rows_and_columns_swapped_inside() -> None:
    class Swapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = conv(3, 4, (1, 7), stride=(1, 2)), conv(4, 4, (1, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).transpose(2, 3)).transpose(2, 3)

    found = last(ready(Swapped()), 32)
    # columns: 7 taps of stride 2, cell 0 and 1 reach -3 and -1; cell 15 reads 27..33: 15 and 14 (..31): one cell.
    assert (found.rim, found.stride, found.receptive_field) == ((1, 1, 2, 1), (1, 2), (3, 7))


def test_rolled_maps_wrap_around() -> None:
    net = sequential(conv(3, 4, 1), nets.Lambda(lambda x: x + torch.roll(x, (2, -3), (2, 3))))
    assert last(net, 16).rim == (2, 0, 0, 3)


def test_a_pyramid_of_stride_128() -> None:
    # seven 3x3 of stride 2: cell 0 reads up to 1 + 2 + ... + 64 = 127 px before 0; at 256 px the far side is free.
    net = sequential(conv(stride=2), *(conv(4, 4, stride=2) for _ in range(6)))
    found = last(net, 256)
    assert (found.stride, found.rim, found.reach) == ((128, 128), (1, 0, 1, 0), (127, 0, 127, 0))


class Stage(nn.Sequential):
    """A convolution of stride 1, one of stride 2."""

    def __init__(self, stride: int) -> None:
        super().__init__(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, stride, 1))


class Ladder(nn.Module):
    """Down by two stages, and up again in a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, padding=1)
        self.down = nn.ModuleList([Stage(2), Stage(2)])
        self.up = nn.Sequential(
            *(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 3, 3, padding=1)) for _ in range(2))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for stage in self.down:
            x = stage(x)
        return self.up(x)


def test_auto_takes_the_end_of_a_stage_and_not_what_the_next_one_begins_with() -> None:
    stages = nn.Sequential(*(Stage(2) for _ in range(3)))
    assert list(trace(stages, "auto", 64)) == ["0.0", "0", "1", "2"]
    assert list(trace(nn.Sequential(nn.Conv2d(3, 3, 1), stages), "auto", 64)) == ["0", "1.0", "1.1", "1"]
    assert list(trace(Ladder(), "auto", 64)) == ["down.1", "up.0", "up"]


def test_two_passes_of_one_module_that_are_both_returned() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv(3, 3)

        def forward(self, x: Tensor) -> list[Tensor]:
            y = self.conv(x)
            return [y, self.conv(y)]

    found = trace(ready(Twice()), "output", 16)
    assert {name: layer.rim for name, layer in found.items()} == {"conv": (2, 2, 2, 2), "output[0]": (1, 1, 1, 1)}


@pytest.mark.parametrize("run", [lambda net: trace(net, "auto", 160), lambda net: structural(net, tile=160)])
def test_one_pass_alone_is_as_large_as_the_crop(run: Callable[[nn.Module], object]) -> None:
    sizes: list[tuple[int, ...]] = []

    class Seen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(tuple(x.shape))
            return x

    run(ready(sequential(Seen(), conv(), conv(4, 4))))
    large = [size for size in sizes if min(size[-2:]) >= 160]
    assert large == [(1, 3, 160, 160)]
    assert len(sizes) > 5


def test_auto_takes_the_last_layer_at_each_resolution() -> None:
    assert list(trace(nets.stride_two(), "auto", 32)) == ["1", "2"]


@pytest.mark.filterwarnings("ignore:.*jit.*is deprecated", "ignore:.*jit.*is not supported")
def test_errors() -> None:
    for crop in (0, -1, None, 1.5, True, "224", (), (16, 1.5), (16, 0)):
        with pytest.raises(ModelError, match=r"crop must be .* but got"):
            trace(nets.stack(), crop=crop)
    with pytest.raises(ModelError, match="fails on an input"):
        trace(nets.stack(), crop=16, channels=4)
    with pytest.raises(LayerError, match="no layer"):
        trace(nets.stack(), "nothing", 16)
    with pytest.raises(ModelError, match="at the crop's size and not at others"):
        trace(sequential(nets.Lambda(lambda x: x.reshape(1, 3, 8, 8)), conv()), "*", 8)
    holds = nn.Sequential(conv(), torch.jit.trace(conv(4, 4), torch.zeros(1, 4, 8, 8)))
    with pytest.raises(ModelError, match="1 is TorchScript"):
        trace(holds, crop=16)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_found(fails: bool) -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = conv(), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            if fails and x.shape[-2:] != (16, 16):
                raise ValueError("only 16 px")
            return self.norm(self.conv(x))

    net = Fragile().train()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    rng = torch.random.get_rng_state()
    if fails:
        with pytest.raises(ModelError, match="only 16 px"):
            trace(net, "*", 16)
    else:
        trace(net, "*", 16)
    assert net.training and net.norm.training and torch.is_grad_enabled()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in state.items())
    assert all(p.dtype == torch.float32 and p.grad is None and p.requires_grad for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert torch.equal(rng, torch.random.get_rng_state())
    assert not torch.overrides._get_current_function_mode_stack()
