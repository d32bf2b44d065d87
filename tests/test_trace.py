"""The trace against numbers worked out by hand, and against brute force on networks small enough for it."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from bruteforce import change, crop_of, features, influence, scene, whole_periods, wide_margin, window
from nets import LOCAL, WHOLE
from torch import nn

from padprint.geometry import trace

EVERY_SIZE = [name for name in LOCAL if not name.startswith(("unet", "shuffled"))]
CASES = [(name, (32, 40)) for name in LOCAL] + [(name, (33, 35)) for name in EVERY_SIZE]
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def inner(values: torch.Tensor, rim: tuple[int, int, int, int]) -> torch.Tensor:
    top, bottom, left, right = rim
    return values[top : values.shape[0] - bottom, left : values.shape[1] - right]


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
        moved = change(of_crop[layer], window(of_scene[layer], geometry, layer, margin))
        rest = inner(moved, found.rim)
        assert rest.numel() > 0, f"{layer}: the crop is too small for this test"
        assert rest.max() < 1e-9, layer
        top, bottom, left, right = found.rim
        h, w = moved.shape
        edges = {
            "top": moved[top - 1, left : w - right] if top else None,
            "bottom": moved[h - bottom, left : w - right] if bottom else None,
            "left": moved[top : h - bottom, left - 1] if left else None,
            "right": moved[top : h - bottom, w - right] if right else None,
        }
        for side, edge in edges.items():
            assert edge is None or edge.max() > 1e-9, f"{layer}: the rim is smaller than {found.rim} on the {side}"


@pytest.mark.parametrize(("name", "crop"), CASES)
def test_margin_keeps_padding_away(name: str, crop: tuple[int, int]) -> None:
    net = LOCAL[name]().double()
    geometry = trace(net, "*", crop)
    wide = wide_margin(geometry)
    whole = scene(geometry, wide)
    of_scene = features(net, whole, geometry)
    for layer, found in geometry.items():
        # the smallest canvas that the layer's own margin allows, cut out of the scene
        (py, px), (top, bottom, left, right) = geometry.period, found.margin
        assert all(m % p == 0 for m, p in zip(found.margin, (py, py, px, px), strict=True))
        canvas = whole[..., wide[0] - top : wide[0] + crop[0] + bottom, wide[2] - left : wide[2] + crop[1] + right]
        seen = window(features(net, canvas, geometry)[layer], geometry, layer, found.margin)
        assert change(seen, window(of_scene[layer], geometry, layer, wide)).max() < 1e-9, layer


@pytest.mark.parametrize("name", LOCAL)
def test_receptive_field_reach_stride_and_offset_by_changing_pixels(name: str) -> None:
    crop = (32, 40)
    net = LOCAL[name]().double()
    geometry = trace(net, "*", crop)
    margin = wide_margin(geometry)
    for axis in (0, 1):
        touched = influence(net, geometry, margin, axis)
        for layer, found in geometry.items():
            spec, by = geometry.maps[layer], touched[layer]
            start = int(margin[2 * axis] / spec.stride[axis])
            cells = [by[:, start + i].nonzero().flatten() - margin[2 * axis] for i in range(spec.size[axis])]
            first = [int(rows.min()) for rows in cells]
            last = [int(rows.max()) for rows in cells]
            assert found.receptive_field[axis] == max(b - a + 1 for a, b in zip(first, last, strict=True)), layer
            reach = max(0, -min(first)), max(0, max(last) - (crop[axis] - 1))
            assert found.reach[2 * axis : 2 * axis + 2] == reach, layer
            phases = int(geometry.period[axis] / spec.stride[axis])
            centres = [Fraction(a + b, 2) - i * spec.stride[axis] for i, (a, b) in enumerate(zip(first, last, strict=True))]
            assert found.offset[axis] == pytest.approx(float(sum(centres[:phases]) / phases)), layer
            assert centres[:phases] == centres[phases : 2 * phases] or len(centres) < 2 * phases
