"""Pictures and pages of waveforms and volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import nets_by_axes
import padprint
from padprint import ResultError, plot, report
from padprint.plot.views import by_channel, raster, slices, views
from padprint.results.comparison import Comparison
from padprint.support.axes import side_names

pytest.importorskip("matplotlib")
AXES = (1, 3)
CROP = {1: (48,), 3: (8, 10, 12)}


@pytest.fixture(scope="module")
def compared() -> dict[int, Comparison]:
    found = {}
    for axes in AXES:
        net, size = nets_by_axes.local(axes)["padded"], {1: 120, 3: 20}[axes]
        images = [x + 1 for x in nets_by_axes.scenes(axes, size, 4)]
        found[axes] = padprint.compare(
            net, images, ["own", "reflect"], layers=["0", "3"], crop=CROP[axes], crops_per_image=2
        )
    return found


def test_a_waveform_is_a_raster_of_channels(compared: dict[int, Comparison]) -> None:
    layer = compared[1]["own"]["3"]
    flat, crop, _ = raster(layer, (48,))
    assert torch.equal(flat.pattern[0], layer.pattern)
    assert crop == (3, 48)
    assert flat.rim == (0, 0, *layer.rim)
    figure = plot.pattern_map(layer, (48,))
    along, channels = figure.axes[:2]
    assert np.allclose(along.lines[0].get_ydata(), layer.pattern.mean(0))
    assert channels.images[0].get_array().shape == (3, 48)
    assert np.allclose(channels.images[0].get_array(), layer.pattern)
    assert (along.get_xlabel(), channels.get_ylabel()) == ("input (px)", "channel")


def test_a_volume_is_three_middle_slices(compared: dict[int, Comparison]) -> None:
    layer = compared[3]["own"]["3"]
    found = slices(layer, CROP[3])
    assert [one.crop for one in found] == [(10, 12), (8, 12), (8, 10)]
    assert torch.equal(found[0].layer.pattern, layer.pattern[:, 4])
    assert torch.equal(found[1].layer.pattern, layer.pattern[:, :, 5])
    assert torch.equal(found[2].layer.pattern, layer.pattern[..., 6])
    assert [one.layer.rim for one in found] == [layer.rim[2:], (*layer.rim[:2], *layer.rim[4:]), layer.rim[:4]]
    figure = plot.pattern_map(layer, CROP[3])
    maps = [axes.images[0].get_array() for axes in figure.axes[:6]]
    assert np.allclose(maps[1], layer.pattern[:, :, 5].mean(0))
    assert np.allclose(maps[3], layer.pattern[:, 4].square().mean(0).sqrt())
    assert figure.axes[0].get_title() == "Mean, middle plane (z = 4)"


def test_a_map_of_two_axes_stands_for_itself(compared: dict[int, Comparison]) -> None:
    layer = slices(compared[3]["own"]["3"], CROP[3])[0].layer
    assert views(layer, (10, 12)) == [(layer, (10, 12), "")]
    assert by_channel(layer, (10, 12)).layer is layer


@pytest.mark.parametrize("axes", AXES)
def test_every_picture_is_drawn(compared: dict[int, Comparison], axes: int, tmp_path: Path) -> None:
    both = compared[axes]
    measured = both["own"]
    layer = measured["3"]
    drawn = {
        "overview": plot.overview(measured),
        "signed": plot.overview(measured, signed=True),
        "profile": plot.profile(layer),
        "depth": plot.depth(measured),
        "emergence": plot.emergence(layer, measured.crop),
        "channels": plot.top_channels(layer, measured.crop),
        "aware": plot.aware_channels(measured),
        "comparison": plot.comparison(both),
    }
    for name, figure in drawn.items():
        figure.savefig(tmp_path / f"{name}.png")
    sides = side_names(axes)
    assert [text.get_text() for text in drawn["profile"].axes[1].get_legend().get_texts()] == list(sides)
    assert [text.get_text() for text in drawn["aware"].axes[0].get_legend().get_texts()] == [
        *sides,
        "corners",
        "uniform",
    ]
    if axes == 1:
        assert "channel" in drawn["overview"].get_supylabel()
    with pytest.raises(ResultError, match="axes, one for each panel"):
        plot.pattern_map(layer, measured.crop, ax=drawn["depth"].axes[:1])


@pytest.mark.parametrize("axes", AXES)
def test_pages_are_written(compared: dict[int, Comparison], axes: int, tmp_path: Path) -> None:
    both = compared[axes]
    sides = " ".join(side_names(axes))
    for name, result in (("one", both["own"]), ("two", both)):
        page = report.write(result, tmp_path / f"{name}.html").read_text()
        assert f"rim px, {sides}" in page
        assert ("middle plane (z = 4)" if axes == 3 else "channels down, time across") in page
    net = nets_by_axes.local(axes)["padded"]
    scenes = nets_by_axes.scenes(axes, {1: 120, 3: 20}[axes], 3)
    advice = padprint.halo(net, scenes, tile=CROP[axes])
    assert "<html" in report.write(advice, tmp_path / "halo.html").read_text()
    advice.plot().savefig(tmp_path / "halo.png")


def test_fields_are_drawn_over_images_alone() -> None:
    geometry = padprint.trace(nets_by_axes.local(3)["padded"].float(), crop=8, channels=2)
    with pytest.raises(ResultError, match="maps are drawn of 2 space axes, and this one has 3"):
        geometry.show()
