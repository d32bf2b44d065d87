"""Folded axes: cells near the borders keep their room, what lies between becomes one band, and nothing is lost but detail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from measurements import made_layer, made_measurement
from padprint import plot
from padprint.plot.fold import Fold, axis_fold, drawn, edges, folded, folds, is_folded, span_pixels
from padprint.results.measurement import Estimate

CROP = (224, 224)


def thin_rim(size: int = 112, rim: tuple[int, int, int, int] = (2, 1, 2, 1)):
    """A frame of ones, as wide as the rim, on a map of stride 2."""
    pattern = torch.zeros(2, size, size, dtype=torch.float64)
    top, bottom, left, right = rim
    pattern[:, :top], pattern[:, size - bottom :] = 1.0, 1.0
    pattern[..., :left], pattern[..., size - right :] = 1.0, 1.0
    return made_layer("thin", pattern=pattern, rim=rim, stride=(2, 2), offset=(0.5, 0.5))


def test_an_axis_is_folded_by_hand() -> None:
    fold = axis_fold(12, keep=3, most=100)
    assert fold.spans == ((0, 1), (1, 2), (2, 3), (3, 9), (9, 10), (10, 11), (11, 12))
    assert (fold.middle, fold.room, fold.length) == (3, 2, 8)
    assert [fold.place(cell) for cell in (0, 3, 6, 9, 11.5, 12)] == [0, 3, 4, 5, 7.5, 8]
    assert fold.torn() == [3, 5]
    assert span_pixels(fold.spans[3], -1.0, 4.0) == (11.0, 35.0)


@pytest.mark.parametrize(("size", "keep"), [(9, 3), (8, 4), (5, 0), (1, 3)])
def test_what_would_save_nothing_is_not_folded(size: int, keep: int) -> None:
    fold = axis_fold(size, keep, most=100)
    assert fold.spans == tuple((i, i + 1) for i in range(size))
    assert fold.middle is None
    assert fold.torn() == []
    assert fold.length == size


@pytest.mark.parametrize(("size", "keep", "most"), [(1000, 300, 48), (1000, 0, 48), (500, 4, 48), (7, 2, 3)])
def test_every_cell_is_in_one_step_and_steps_are_few(size: int, keep: int, most: int) -> None:
    spans = axis_fold(size, keep, most).spans
    assert [cell for start, stop in spans for cell in range(start, stop)] == list(range(size))
    assert len(spans) <= most + 2


def test_folding_keeps_means_and_root_mean_squares() -> None:
    values = np.random.default_rng(0).normal(size=(20, 31))
    rows, columns = axis_fold(20, 3, 100), axis_fold(31, 5, 100)
    mean, size = (folded(values, rows, columns, square=square) for square in (False, True))
    for i, (top, bottom) in enumerate(rows.spans):
        for k, (left, right) in enumerate(columns.spans):
            part = values[top:bottom, left:right]
            assert mean[i, k] == pytest.approx(part.mean())
            assert size[i, k] == pytest.approx(math.sqrt((part**2).mean()))
    assert drawn(mean, rows, columns).shape == (rows.length, columns.length)


def test_ticks_stand_at_the_ends_and_at_the_rims_inner_edges() -> None:
    fold = axis_fold(112, 3, 100)
    assert edges(fold, 2, 1, 112, 224, 2) == [(0, 0), (2, 4), (7, 222), (8, 224)]
    assert edges(Fold(((0, 1), (1, 2))), 1, 1, 2, 8, 4) == [(0, 0), (2, 8)]  # no cell is untouched


@pytest.mark.parametrize("size", [28, 112, 512])
def test_a_thin_frame_has_the_same_room_at_every_size(size: int) -> None:
    """The share of the drawn map that the frame takes does not fall with the size of the map."""
    layer = thin_rim(size)
    figure = plot.overview(made_measurement(layer))
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert is_folded(layer)
    assert shown.shape == (8, 8)
    assert (shown == 1).mean() == 1 - (5 / 8) ** 2
    edge = figure.axes[0].patches[0].get_bbox().extents.tolist()
    assert edge == [2, 2, 7, 7]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["0", "4", "222", "224"]


def test_maps_of_wide_rims_and_of_none_lie_over_input_pixels() -> None:
    for layer in (made_layer(), thin_rim(rim=(0, 0, 0, 0))):
        assert not is_folded(layer)
        axes = plot.pattern_map(layer, (224, 144)).axes[0]
        np.testing.assert_array_equal(np.asarray(axes.images[0].get_array()), layer.pattern.mean(0).numpy())


def test_features_are_never_folded_beside_a_folded_pattern() -> None:
    layer = thin_rim(28)
    features = torch.randn(3, 28, 28, dtype=torch.float64)
    layer = made_layer(
        pattern=layer.pattern,
        rim=layer.rim,
        stride=(2, 2),
        offset=(0.5, 0.5),
        emergence=type(layer.emergence)((1, 10, 20), features),
    )
    shapes = [
        one.images[0].get_array().shape
        for one in plot.emergence(layer, CROP, ax=list(Figure().subplots(1, 4))).axes[:4]
    ]
    assert shapes == [(28, 28)] * 3 + [(8, 8)]


def test_an_interval_that_reaches_zero_ends_in_an_arrow() -> None:
    sure, unsure = made_layer("a", snr=Estimate(0.5, 0.4, 0.6)), made_layer("b", snr=Estimate(0.1, -0.1, 0.3))
    figure = plot.depth(made_measurement(sure, unsure))
    arrows = [line.get_xdata().tolist() for line in figure.axes[0].lines if line.get_marker() == "v"]
    assert arrows == [[1]]
    assert "arrow: the interval reaches zero or below" in figure.get_suptitle()
    figure = plot.depth(made_measurement(sure, sure))
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "v"]
    assert "arrow" not in figure.get_suptitle()


def test_folds_are_as_deep_at_every_border() -> None:
    rows, columns = folds(thin_rim(rim=(4, 1, 0, 0)))
    assert rows == columns
    assert rows.spans[rows.middle] == (6, 106)
