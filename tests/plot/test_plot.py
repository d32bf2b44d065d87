from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from measurements import made_layer, made_measurement
from padprint.errors import ResultError
from padprint.plot import map_box, overview, pattern_map, rim_box, save_patterns

CROP = (224, 144)


def drawn(axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def panels(figure: Figure) -> list:
    return [axes for axes in figure.axes if axes.images]


def test_what_is_drawn_is_what_was_measured() -> None:
    layer = made_layer()
    mean, size = panels(pattern_map(layer, CROP))
    np.testing.assert_array_equal(drawn(mean), layer.pattern.mean(0).numpy())
    np.testing.assert_array_equal(drawn(size), layer.pattern.square().mean(0).sqrt().numpy())
    assert mean.images[0].get_interpolation() == "nearest"


def test_scales_are_symmetric_and_from_zero() -> None:
    layer = made_layer()
    mean, size = panels(pattern_map(layer, CROP))
    low, high = mean.images[0].get_clim()
    assert low == -high == -layer.pattern.mean(0).abs().max()
    assert size.images[0].get_clim() == (0.0, layer.pattern.square().mean(0).sqrt().max())
    assert size.images[0].get_cmap().name == "cividis"


def test_scale_of_a_layer_without_pattern_is_not_empty() -> None:
    layer = made_layer(pattern=torch.zeros(2, 3, 3))
    for axes in panels(pattern_map(layer, CROP)):
        low, high = axes.images[0].get_clim()
        assert low < high


def test_sign_stays_readable_in_grey() -> None:
    cmap = panels(pattern_map(made_layer(), CROP))[0].images[0].get_cmap()
    grey = np.array([cmap(x)[:3] for x in (0.0, 0.25, 0.5, 0.75, 1.0)]) @ (0.299, 0.587, 0.114)
    assert grey.argmax() == 2  # zero is lightest
    assert grey[0] < grey[4] - 0.15
    assert grey[1] < grey[3] - 0.1


def test_cells_lie_on_their_receptive_fields_centres() -> None:
    # centres of the first cell at pixel 15.5 and 7.5: the middle of the first 32 x 16 pixels
    assert map_box(made_layer()) == (0.0, 144.0, 0.0, 224.0)
    assert map_box(made_layer(offset=(0.0, 0.0))) == (-7.5, 136.5, -15.5, 208.5)
    assert map_box(made_layer(offset=None)) == (0.0, 144.0, 0.0, 224.0)


def test_rim_outline_stands_at_the_rims_inner_edge() -> None:
    layer = made_layer()  # rim 2 1 1 2 cells of 32 x 16 px
    assert rim_box(layer) == (16.0, 112.0, 64.0, 192.0)
    for axes in panels(pattern_map(layer, CROP)):
        for edge in axes.patches:
            assert edge.get_bbox().extents.tolist() == [16.0, 64.0, 112.0, 192.0]
        assert len(axes.patches) == 2


@pytest.mark.parametrize(
    ("rim", "words"),
    [((4, 3, 1, 1), "padding reaches every cell"), ((0, 0, 0, 0), "no padding reaches this layer")],
)
def test_without_an_inner_edge_the_picture_says_why(rim, words) -> None:
    figure = pattern_map(made_layer(rim=rim), CROP)
    assert all(not axes.patches for axes in panels(figure))
    assert figure.get_supxlabel() == words


def test_title_names_layer_and_interval() -> None:
    assert pattern_map(made_layer(), CROP).get_suptitle() == "layer4: SNR 0.123 [0.110, 0.136]"


def test_given_axes_are_used() -> None:
    figure = Figure()
    pair = tuple(figure.subplots(1, 2))
    assert pattern_map(made_layer(), CROP, ax=pair) is figure
    assert all(axes.images for axes in pair)


def test_one_picture_per_layer_under_safe_and_distinct_names(tmp_path: Path) -> None:
    names = ["a/b", "a:b", "", "features.1"]
    measurement = made_measurement(*(made_layer(name, (1, 3, 3), rim=(1, 1, 1, 1)) for name in names))
    paths = save_patterns(measurement, tmp_path / "new")
    assert [path.name for path in paths] == [
        "pattern-a_b.png",
        "pattern-a_b_.png",
        "pattern-model.png",
        "pattern-features.1.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_overview_draws_every_layer_in_order() -> None:
    measurement = made_measurement(*(made_layer(f"l{i}", (1, 3, 3), rim=(1, 1, 1, 1)) for i in range(7)))
    figure = overview(measurement)
    assert [axes.get_title().split("\n")[0] for axes in panels(figure)] == [f"l{i}" for i in range(7)]
    figure.draw_without_rendering()


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(ResultError, match="nothing to draw"):
        pattern_map(made_layer(pattern=torch.zeros(0, 3, 3)), CROP)
    measurement = made_measurement()
    measurement.layers.clear()
    with pytest.raises(ResultError, match="nothing to draw"):
        overview(measurement)
