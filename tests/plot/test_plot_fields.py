"""Rim and receptive fields over an image: every box is at its pixels, colours follow the page's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from PIL import Image
from torch import nn

import nets
from nets import conv, ready, sequential
from padprint import plot
from padprint.errors import ImagesError, LayerError
from padprint.geometry.layer import Geometry
from padprint.geometry.tracing import trace
from padprint.report.charts import _PAGE, svg

CROP = (32, 40)


@pytest.fixture(scope="module")
def geometry() -> Geometry:
    # the last layer: cell i sees 4i-3..4i+3; its map has 8 x 10 cells, and the rim is the first row and column
    return trace(nets.stride_two(), "*", CROP)


def boxes(axes: Axes, label: str | None = None) -> list[tuple[float, ...]]:
    """(left, right, top, bottom) of the rectangles drawn, all or those in the legend under a label."""
    found = []
    for one in axes.patches:
        if isinstance(one, Rectangle) and label in (None, one.get_label()):
            x, y = one.get_xy()
            found.append((x, x + one.get_width(), y, y + one.get_height()))
    return found


def colour_at(axes: Axes, x: float, y: float) -> str:
    """What is seen at a place of the picture."""
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    column, row = axes.transData.transform((x, y))
    seen = np.asarray(canvas.buffer_rgba())
    return to_hex(seen[seen.shape[0] - 1 - int(row), int(column), :3] / 255)


def panel(figure: Figure, number: int = -1) -> Axes:
    return [axes for axes in figure.axes if axes.axison][number]


def test_fields_are_drawn_at_their_pixels(geometry: Geometry) -> None:
    axes = panel(geometry.show())
    assert boxes(axes, "seen by the first cell") == [(-3, 4, -3, 4)]
    assert boxes(axes, "seen by the middle cell") == [(17, 24, 13, 20)]  # cell 4, 5
    crosses = {tuple(float(one.get_data()[i][0]) for i in (0, 1)) for one in axes.lines}
    assert crosses == {(0.5, 0.5), (20.5, 16.5)}  # the middle of pixel 0 is half a pixel from the edge
    (x0, x1), (y1, y0) = axes.get_xlim(), axes.get_ylim()
    assert x0 < -3
    assert y0 < -3
    assert x1 > 40
    assert y1 > 32
    assert boxes(axes)[0] == (0, 40, 0, 32)  # the image's frame


def test_any_cell_of_any_layer(geometry: Geometry) -> None:
    figure = plot.fields(geometry, layers=["0", "2"], cells=[(-1, 0), (2, 3)])
    first, last = panel(figure, 0), panel(figure, 1)
    assert boxes(first, "seen by cell -1,0") == [(-1, 2, 29, 32)]  # cell i of the first layer sees 2i-1..2i+1
    assert boxes(first, "seen by cell 2,3") == [(5, 8, 3, 6)]
    assert boxes(last, "seen by cell -1,0") == [(-3, 4, 25, 32)]
    titles = [axes.get_title() for axes in (first, last)]
    assert titles == ["0\nfield 3 x 3 px, stride 2 px", "2\nfield 7 x 7 px, stride 4 px"]


def test_every_field_equals_the_geometry() -> None:
    net = nets.unet(1, "transposed4")
    geometry = trace(net, "*", (24, 20))
    cells = [(0, 0), (3, 4), (-1, -2)]
    figure = geometry.show(cells=cells)
    for axes, layer in zip((axes for axes in figure.axes if axes.axison), geometry.values(), strict=True):
        for i, j in cells:
            (top, bottom), (left, right) = layer.field((i, j)).box
            assert boxes(axes, f"seen by cell {i},{j}") == [(left, right, top, bottom)]


def test_the_rim_is_shaded(geometry: Geometry) -> None:
    # cells are 4 px wide, the first one centred on px 0, whose middle is at 0.5: the map begins at -1.5
    axes = panel(geometry.show())
    (shade,) = [one for one in axes.patches if isinstance(one, PathPatch)]
    corners = {tuple(point) for point in shade.get_path().vertices}
    outer = {(x, y) for x in (-1.5, 38.5) for y in (-1.5, 30.5)}
    inner = {(x, y) for x in (2.5, 38.5) for y in (2.5, 30.5)}
    assert corners == outer | inner
    assert (2.5, 38.5, 2.5, 30.5) in boxes(axes)  # the rim's inner edge
    places = [(2.0, 12.0), (30.0, 1.5), (10.0, 10.0), (39.5, 20.0)]
    orange = "#f1caa0"  # 45 % of #e08a2c over white
    assert [colour_at(axes, *one) for one in places] == [orange, orange, "#ffffff", "#ffffff"]


def test_a_map_that_padding_reaches_throughout_is_shaded_whole() -> None:
    geometry = trace(sequential(conv(k=9, padding=4)), "*", 8)
    (shade,) = [one for one in panel(geometry.show()).patches if isinstance(one, PathPatch)]
    assert {tuple(point) for point in shade.get_path().vertices} == {(x, y) for x in (0, 8) for y in (0, 8)}


def test_a_network_without_padding_has_no_rim() -> None:
    axes = panel(trace(sequential(conv(k=1)), "*", 8).show())
    assert not [one for one in axes.patches if isinstance(one, PathPatch)]
    assert boxes(axes, "seen by the first cell") == [(0, 1, 0, 1)]


def test_where_fields_are_not_known_the_rim_is_drawn() -> None:
    geometry = trace(sequential(nn.ConvTranspose2d(3, 4, 1, stride=2)), "*", 16)
    axes = panel(geometry.show())
    assert "receptive field not known" in axes.get_title()
    assert not [text for text in axes.get_legend_handles_labels()[1] if text.startswith("seen")]
    with pytest.raises(LayerError, match="are not known"):
        geometry.show(cells=[(0, 0)])


# ---------------------------------------------------------------------------------------------------------- images


def test_images_lie_on_their_pixels(geometry: Geometry, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*CROP, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    for image in (pixels, Image.fromarray(pixels), tmp_path / "image.png", str(tmp_path / "image.png")):
        (shown,) = panel(geometry.show(image)).images
        assert tuple(shown.get_extent()) == (0, 40, 32, 0)
        np.testing.assert_array_equal(shown.get_array(), pixels)
    (grey,) = panel(geometry.show(pixels[..., 0])).images
    np.testing.assert_array_equal(grey.get_array(), pixels[..., 0])


@pytest.mark.parametrize("shape", [(3, *CROP), (1, *CROP), (1, 3, *CROP)])
def test_tensors_are_drawn_from_their_least_to_their_largest_value(geometry: Geometry, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 - 5
    (shown,) = panel(geometry.show(x)).images
    expected = ((x - x.min()) / (x.max() - x.min())).reshape(-1, *CROP).movedim(0, -1).squeeze(-1)
    np.testing.assert_allclose(shown.get_array(), expected.double(), atol=1e-6)
    constant = panel(geometry.show(torch.ones(shape))).images[0].get_array()
    assert np.isfinite(constant).all()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((32, 39)), "has 32 x 39 px and the geometry is that of 32 x 40 px"),
        (Image.new("RGB", (32, 40)), "has 40 x 32 px and the geometry is that of 32 x 40 px"),
        (torch.zeros(2, 3, *CROP), "not Tensor of shape"),
        (np.zeros((32, 40, 7)), "not ndarray of shape"),
        ([1, 2], "not list of shape"),
        (object(), "not object of shape"),
        ("nowhere.png", "nowhere.png cannot be opened as an image"),
    ],
)
def test_what_is_no_image_of_this_size(geometry: Geometry, image: Any, said: str) -> None:
    with pytest.raises(ImagesError, match=said):
        geometry.show(image)


# ---------------------------------------------------------------------------------------------------------- layers


def test_layers_without_a_geometry() -> None:
    geometry = trace(ready(nn.Sequential(conv(), nets.Sorted())), "*", 16)
    assert len([axes for axes in geometry.show().figure.axes if axes.axison]) == 1
    with pytest.raises(LayerError, match="1 has no geometry to draw: global: "):
        geometry.show(layers=["1"])
    with pytest.raises(LayerError, match="no layer '7' was traced, only 0, 1"):
        geometry.show(layers=["7"])
    with pytest.raises(LayerError, match="names no layer"):
        geometry.show(layers=[])
    with pytest.raises(LayerError, match="0 has no cell"):
        geometry.show(cells=[(16, 0)])
    with pytest.raises(LayerError, match="no layer has a geometry to draw: global"):
        trace(ready(nn.Sequential(conv(), nets.Sorted())), ["1"], 16).show()


def test_a_layer_that_sees_all_through_statistics_has_a_rim_and_no_fields() -> None:
    geometry = trace(nets.group_normed(), ["1"], 16)
    assert geometry["1"].sees_all_through
    (axes,) = [axes for axes in geometry.show().figure.axes if axes.axison]
    assert "seen by" not in str(axes.get_legend_handles_labels()[1])
    with pytest.raises(LayerError, match="1 has no receptive fields: global: group_norm in 1 sees the whole input"):
        geometry.show(cells=[(0, 0)])


def test_many_layers_fill_rows(geometry: Geometry) -> None:
    geometry = trace(nets.unet(2, "nearest"), "*", 16)
    figure = geometry.show()
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == len(geometry) > 4
    for axes in shown:  # no legend of its own; one for all, of each entry once
        assert axes.get_legend() is None
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "rim: reached by padding",
        "seen by the first cell",
        "seen by the middle cell",
    ]


def test_nothing_is_drawn_over_something_else(geometry: Geometry) -> None:
    for figure in (geometry.show(), geometry.show(layers=["2"]), trace(nets.unet(2, "nearest"), "*", 16).show()):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        parts = [figure.legends[0], figure._supxlabel, figure._supylabel]
        parts += [axes.title for axes in figure.axes if axes.axison]
        extents = [one.get_window_extent(renderer) for one in parts]
        assert not [(a, b) for i, a in enumerate(extents) for b in extents[:i] if a.overlaps(b)]
        assert all(one.x0 >= 0 and one.x1 <= figure.bbox.width for one in extents)


def test_colours_are_those_that_follow_the_page(geometry: Geometry) -> None:
    figure = geometry.show(cells=[(0, 0), (1, 1), (2, 2), (3, 3)])
    drawn = svg(figure, "fields")
    assert "#" not in "".join(part for part in drawn.split('style="')[1:] if part.startswith("#"))
    for axes in figure.axes:
        for one in axes.patches:
            for colour in (one.get_edgecolor(), one.get_facecolor()):
                assert colour[3] == 0 or to_hex(colour) in _PAGE
        for line in axes.lines:
            assert to_hex(line.get_color()) in _PAGE
