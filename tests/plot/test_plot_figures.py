"""What the figures draw equals the result's numbers; scales are shared where promised; three figures look as they did."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from helpers import in_turn
from measurements import NAN, made_channels, made_layer, made_measurement, made_profile
from padprint import plot
from padprint.errors import MissingPackageError, ResultError
from padprint.results.channels import ChannelTest
from padprint.results.comparison import Comparison
from padprint.results.documents import ESTIMATES
from padprint.results.measurement import Curve, Emergence, Estimate, LayerMeasurement, Measurement
from padprint.support.axes import side_names
from padprint.support.wording import number

CROP = (224, 144)
HOSTILE = '<script>alert("x")</script>\n$\\frac{$ & \'' + "a" * 280
BASELINES = Path(__file__).parents[1] / "images"


def maps(figure: Figure) -> list:
    return [axes for axes in figure.axes if axes.images and not axes.get_label().startswith("<colorbar")]


def drawn(axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def test_emergence_draws_every_mean_and_the_pattern() -> None:
    layer = made_layer()
    figure = plot.emergence(layer, CROP)
    views = maps(figure)
    assert [axes.get_title() for axes in figure.axes[:4]] == [
        "1 crop",
        "10 crops",
        "192 crops",
        "pattern (PPP), 192 crops",
    ]
    for axes, values in zip(views, [*layer.emergence.features, layer.pattern.mean(0)], strict=True):
        np.testing.assert_array_equal(drawn(axes), values.numpy())
    limits = [axes.images[0].get_clim() for axes in views]
    assert limits[0] == limits[1] == limits[2]
    low, high = limits[3]
    assert low == -high == -layer.pattern.mean(0).abs().max()
    surfaces = [axes for axes in figure.axes if axes.name == "3d"]
    assert len(surfaces) == 4
    assert len({axes.get_zlim() for axes in surfaces[:3]}) == 1


def test_emergence_draws_into_given_axes_or_says_how_many_it_needs() -> None:
    figure = Figure()
    assert plot.emergence(made_layer(), CROP, ax=list(figure.subplots(1, 4))) is figure
    with pytest.raises(ResultError, match="needs 4 axes"):
        plot.emergence(made_layer(), CROP, ax=list(Figure().subplots(1, 2)))


def test_profile_draws_the_curves_and_ends_at_the_rim() -> None:
    layer = made_layer()
    figure = plot.profile(layer)
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.lines}
    profile = layer.profile["all"]
    for quantity, label in (("pattern", "pattern, P²"), ("noise", "noise, Var[D]"), ("response", "response, E[D²]")):
        np.testing.assert_array_equal(lines[label].get_xdata(), profile.pixels.numpy())
        np.testing.assert_array_equal(lines[label].get_ydata(), getattr(profile, quantity).value.numpy())
    labels = [line.get_label() for line in right.lines]
    assert [label for label in labels if not label.startswith("_")] == ["top", "bottom", "left", "right"]
    arrows = [line for line in left.lines if line.get_marker() == "v"]
    assert [list(line.get_xdata()) for line in arrows] == [[float(profile.pixels[-1])]] * 3  # 0.1 - 0.2 lies below zero
    assert all(
        line.get_transform() == left.get_xaxis_transform() for line in arrows
    )  # at the bottom, whatever the axis
    assert "px" in left.get_xlabel()
    assert left.get_xlim()[1] <= 1.04 * float(profile.pixels.max())
    assert plot.profile(layer, ax=left) is figure
    with pytest.raises(ResultError, match="no profile"):
        plot.profile(made_layer(profile={}))


def points(axes) -> list[tuple[float, float]]:
    return [tuple(point) for box in axes.containers for point in box.lines[0].get_xydata()]


def test_depth_draws_values_and_intervals() -> None:
    figure = plot.depth(made_measurement())
    upper, lower = figure.axes
    assert [y for _, y in points(upper)] == [0.123, 0.123]
    assert [y for _, y in points(lower)] == [0.031, 0.031]
    low, high = upper.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.11, 0.136))
    assert [label.get_text() for label in lower.get_xticklabels()] == ["features.1", "layer4"]


def test_what_is_not_above_zero_stands_hollow_on_the_axis() -> None:
    figure = plot.depth(made_measurement(made_layer("a"), made_layer("b", snr=Estimate(-0.01, -0.1, 0.2))))
    axes = figure.axes[0]
    assert axes.lines[-1].get_markerfacecolor() == "white"
    assert min(y for _, y in points(axes)) > 0
    plot.depth(made_measurement(made_layer(snr=Estimate(NAN, NAN, NAN)))).draw_without_rendering()


def test_top_channels_share_one_scale_and_name_their_side() -> None:
    layer = made_layer(shape=(5, 7, 9))
    figure = plot.top_channels(layer, CROP, count=4)
    panels = maps(figure)
    for axes, channel in zip(panels, layer.channels.top(4), strict=True):
        np.testing.assert_array_equal(drawn(axes), layer.pattern[channel].numpy())
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    assert [axes.get_title().split("\n")[0] for axes in panels] == [
        "channel 0, top",
        "channel 1, bottom",
        "channel 2, left",
        "channel 3, not called",
    ]


def test_aware_channels_are_counted_by_side() -> None:
    layer = made_layer(shape=(12, 3, 3), rim=(1, 1, 1, 1))
    figure = plot.aware_channels(made_measurement(layer))
    bars = {bar.get_label(): [patch.get_width() for patch in bar] for bar in figure.axes[0].containers}
    assert {side: sum(widths) * 12 / 100 for side, widths in bars.items()} == pytest.approx(layer.channels.by_side())
    assert figure.axes[0].texts[0].get_text() == f"{layer.channels.count} of 12"


def compared(*names: str) -> Comparison:
    found = {}
    for i, name in enumerate(names):
        layers = [made_layer(one, pattern=(i + 1) * made_layer(one).pattern) for one in ("layer3", "layer4")]
        found[name] = made_measurement(*layers)
    return Comparison(found)


def test_a_comparison_shares_a_colour_scale_in_each_layer() -> None:
    figure = plot.comparison(compared("own", "reflect", "randn"))
    panels = maps(figure)
    assert len(panels) == 6
    for row in (panels[:3], panels[3:]):
        assert len({axes.images[0].get_clim() for axes in row}) == 1
    assert panels[0].images[0].get_clim()[1] == drawn(panels[2]).max()
    assert [axes.get_title() for axes in panels[:3]] == ["own", "reflect", "randn"]
    one = Figure().subplots()
    assert plot.comparison(compared("a", "b"), ax=one) is one.figure


FIGURES = {
    "emergence": lambda: plot.emergence(smooth(), CROP),
    "profile": lambda: plot.profile(smooth()),
    "comparison": lambda: plot.comparison(compared("own", "reflect")),
}


def smooth():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 7), torch.linspace(-1, 1, 9), indexing="ij")
    pattern = torch.stack([x.square() + y, y.square() - x, x * y]).double()
    layer = made_layer(pattern=pattern)
    return made_layer(pattern=pattern, emergence=type(layer.emergence)((1, 10, 192), pattern.mean(0) + layer.pattern))


@pytest.mark.parametrize("name", list(FIGURES))
def test_figures_look_as_they_did(name: str) -> None:
    content = io.BytesIO()
    FIGURES[name]().savefig(content, format="png", dpi=40)
    baseline = BASELINES / f"{name}.png"
    if os.environ.get("PADPRINT_NEW_IMAGES"):  # after a change that was meant: look at the new ones, then commit them
        BASELINES.mkdir(exist_ok=True)
        baseline.write_bytes(content.getvalue())
    with Image.open(content) as found, Image.open(baseline) as expected:
        assert abs(found.width - expected.width) <= 2
        size = (expected.width // 4, expected.height // 4)  # fonts differ between machines in their edges
        a, b = (np.asarray(one.convert("RGB").resize(size, Image.Resampling.BOX), float) for one in (found, expected))
    assert math.sqrt(((a - b) ** 2).mean()) < 8.0


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_hostile_names_are_drawn_in_every_format(suffix: str) -> None:
    layer = made_layer(HOSTILE)
    measurement = made_measurement(layer, made_layer("b"))
    figures = [
        plot.pattern_map(layer, CROP),
        plot.emergence(layer, CROP),
        plot.profile(layer),
        plot.top_channels(layer, CROP),
        plot.depth(measurement),
        plot.aware_channels(measurement),
        plot.overview(measurement),
        plot.comparison(Comparison({HOSTILE: measurement, "b": measurement})),
    ]
    for figure in figures if suffix == "png" else figures[:1]:
        content = io.BytesIO()
        figure.savefig(content, format=suffix, dpi=40)
        assert content.tell() > 1000
        assert b"<script>alert" not in content.getvalue()


LONG = "encoder.backbone.stages.2.blocks.17.feed_forward.pointwise_convolution_with_a_long_name.norm"
NAMES = {
    "one": ["layer4"],
    "four long": [f"{LONG}{i}" for i in range(4)],
    "sixty": [f"stages.{i // 6}.blocks.{i}.conv_depthwise.bn" for i in range(60)],
}
DRAWN = {
    "depth": plot.depth,
    "aware": plot.aware_channels,
    "overview": plot.overview,
    "comparison": lambda one: plot.comparison(Comparison({LONG + "1": one, LONG + "2": one})),
    "pattern": lambda one: plot.pattern_map(next(iter(one.values())), CROP),
    "emergence": lambda one: plot.emergence(next(iter(one.values())), CROP),
    "profile": lambda one: plot.profile(next(iter(one.values()))),
    "channels": lambda one: plot.top_channels(next(iter(one.values())), CROP),
}


@pytest.mark.parametrize(
    ("figure", "names"),
    [
        *((f, n) for f in list(DRAWN)[:2] for n in NAMES),
        *((f, "four long") for f in DRAWN if f not in list(DRAWN)[:2]),
        ("overview", "one"),
    ],
)
def test_no_text_touches_another_or_leaves_the_figure(figure: str, names: str, monkeypatch) -> None:
    layers = [made_layer(name, (4, 3, 3), rim=(1, 1, 1, 1)) for name in NAMES[names]]
    no_text_touches(DRAWN[figure](made_measurement(*layers)), len(layers), monkeypatch)


def strip_of(crop: tuple[int, int], channels: int = 4) -> Measurement:
    """Two layers of a crop that is far longer than wide, or wider than long; one has a name of many letters."""
    fine = (channels, crop[0] // 2, crop[1] // 2)
    coarse = (channels, max(1, crop[0] // 16), max(1, crop[1] // 16))
    layers = (
        made_layer("stem", fine, stride=(2, 2), offset=(0.5, 0.5), rim=(1, 1, 1, 1)),
        made_layer(LONG, coarse, stride=(16, 16), offset=(7.5, 7.5), rim=(1, 0, 1, 1)),
    )
    return dataclasses.replace(made_measurement(*layers), crop=crop)


@pytest.mark.parametrize(("figure", "crop"), in_turn(DRAWN, [(16, 200), (200, 16)]))
def test_crops_far_from_square(figure: str, crop: tuple[int, int], monkeypatch) -> None:
    monkeypatch.setitem(globals(), "CROP", crop)
    no_text_touches(DRAWN[figure](strip_of(crop)), 2, monkeypatch)


@pytest.mark.parametrize("figure", DRAWN)
def test_one_channel_of_one_image(figure: str, monkeypatch) -> None:
    """Nothing promises intervals that one image does not give."""
    drawn = DRAWN[figure](of_one_image(made_layer(LONG, (1, 7, 9))))
    assert "95 %" not in " ".join(one.get_text() for one in drawn.findobj(Text))
    no_text_touches(drawn, 1, monkeypatch)


def of_one_image(layer: LayerMeasurement) -> Measurement:
    bare = {key: Estimate(getattr(layer, key).value, NAN, NAN) for key in ESTIMATES}
    curve = Curve(*(torch.full((4,), value, dtype=torch.float64) for value in (0.5, NAN, NAN)))
    profile = {
        side: dataclasses.replace(made_profile(4), pattern=curve, noise=curve, response=curve)
        for side in ("all", *side_names(2))
    }
    emergence = Emergence((1,), layer.emergence.features[:1])
    layer = dataclasses.replace(layer, **bare, profile=profile, emergence=emergence)
    return dataclasses.replace(made_measurement(layer), n_images=1, n_crops=1)


@pytest.mark.parametrize(("figure", "value"), in_turn(DRAWN, (NAN, math.inf)))
def test_a_layer_of_no_finite_number_is_drawn_as_such(figure: str, value: float, monkeypatch) -> None:
    drawn = DRAWN[figure](made_measurement(broken(value), made_layer("fine")))
    texts = [one.get_text() for one in drawn.findobj(Text)]
    if figure in ("depth", "comparison"):
        assert number(value) in texts
    if figure in ("overview", "comparison", "pattern", "emergence", "channels"):
        assert "no finite\nvalue" in texts
    no_text_touches(drawn, 1, monkeypatch)


def broken(value: float) -> LayerMeasurement:
    """Nothing in it is finite."""

    def full(*shape: int) -> torch.Tensor:
        return torch.full(shape, value, dtype=torch.float64)

    curve = Curve(full(4), full(4), full(4))
    profile = {
        side: dataclasses.replace(made_profile(4), pattern=curve, noise=curve, response=curve)
        for side in ("all", *side_names(2))
    }
    return made_layer(
        "broken",
        pattern=full(3, 7, 9),
        noise=full(3, 7, 9),
        **{key: Estimate(value, value, value) for key in ESTIMATES},
        profile=profile,
        channels=ChannelTest(full(3), full(3), full(3), ("top",) * 3, 0.05),
        emergence=Emergence((1, 10, 192), full(3, 7, 9)),
    )


def test_some_cells_that_are_not_finite_stay_grey() -> None:
    layer = made_layer()
    pattern = layer.pattern.clone()
    pattern[:, 0, 0] = math.inf
    for draw in (plot.pattern_map, plot.emergence, plot.top_channels):
        figure = draw(made_layer(pattern=pattern), CROP)
        figure.draw_without_rendering()
        last = maps(figure)[-1]
        assert np.isnan(drawn(last)[0, 0])
        assert np.isfinite(drawn(last)).sum() == 62
        assert np.isfinite(last.images[0].get_clim()).all()


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "3"])
def test_channels_to_draw_are_counted(count: object) -> None:
    with pytest.raises(ResultError, match="count must be a whole number of 1 or more, but got"):
        plot.top_channels(made_layer(), CROP, count)


def test_distances_outside_the_crop_are_on_the_axis() -> None:
    """Receptive fields that begin in the padding, as of upsampled maps."""
    profile = dataclasses.replace(made_profile(4), pixels=torch.tensor([-3.0, -1.0, 1.0, 3.0], dtype=torch.float64))
    layer = made_layer(profile=dict.fromkeys(("all", *side_names(2)), profile), stride=(2, 2), rim=(3, 3, 3, 3))
    figure = plot.profile(layer)
    low, high = figure.axes[0].get_xlim()
    assert low < -3
    assert high > 3
    assert "below 0: receptive fields centred outside the crop" in figure.get_supxlabel()
    assert "below 0" not in plot.profile(made_layer()).get_supxlabel()


def no_text_touches(drawn: Figure, count: int, monkeypatch) -> None:
    """Every text is inside the figure, and none is on another."""
    shown: list[Text] = []  # a figure also holds texts that it does not draw, of ticks beyond an axis' end
    draw = Text.draw
    monkeypatch.setattr(Text, "draw", lambda one, renderer: (shown.append(one), draw(one, renderer))[1])
    drawn.draw_without_rendering()
    whole = drawn.bbox.padded(1.0)
    boxes = [(one, one.get_window_extent()) for one in shown if one.get_text().strip() and one.get_visible()]
    assert len(boxes) > count
    for i, (one, box) in enumerate(boxes):
        assert whole.x0 <= box.x0 <= box.x1 <= whole.x1, one
        assert whole.y0 <= box.y0 <= box.y1 <= whole.y1, one
        if one.get_rotation() % 90 == 0:  # boxes of slanted texts overlap where the texts do not
            touching = [b for b, other in boxes[:i] if b.get_rotation() % 90 == 0 and box.padded(-1).overlaps(other)]
            assert not touching, (one, touching)


def test_names_that_would_look_alike_are_numbered() -> None:
    axes = plot.aware_channels(
        made_measurement(*(made_layer(name, (4, 3, 3)) for name in [*NAMES["sixty"], "fc"]))
    ).axes
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert len(set(labels)) == 61
    assert labels[1].startswith("2: stages.0")
    assert labels[60] == "fc"


def test_one_scale_over_layers_or_measurements_and_signed_maps() -> None:
    layers = [made_layer("a"), made_layer("b", pattern=3 * made_layer("b").pattern)]
    largest = max(float(one.pattern.mean(0).abs().max()) for one in layers)
    panels = maps(plot.overview(made_measurement(*layers), signed=True, one_scale=True))
    assert [axes.images[0].get_clim() for axes in panels] == [(-largest, largest)] * 2
    np.testing.assert_array_equal(drawn(panels[1]), layers[1].pattern.mean(0).numpy())
    own = maps(plot.overview(made_measurement(*layers), signed=True))
    assert own[0].images[0].get_clim() != own[1].images[0].get_clim()
    for layer in layers:
        mean, size = maps(plot.pattern_map(layer, CROP, limits=plot.scale_of(*layers)))
        assert mean.images[0].get_clim() == (-largest, largest)
        assert size.images[0].get_clim() == (0.0, plot.scale_of(layers[1])[1])
    several = compared("own", "reflect")
    panels = maps(plot.comparison(several, signed=True))
    for row, layer in zip((panels[:2], panels[2:]), several.layers, strict=True):
        end = float(several["reflect"][layer].pattern.mean(0).abs().max())
        assert [axes.images[0].get_clim() for axes in row] == [(-end, end)] * 2


def test_a_map_of_one_row_has_no_surface() -> None:
    figure = plot.emergence(made_layer(shape=(3, 1, 9), rim=(0, 0, 1, 1)), CROP)
    assert len(figure.axes) == 4
    figure.draw_without_rendering()


def test_a_large_map_is_a_surface_of_few_faces() -> None:
    figure = plot.emergence(made_layer(shape=(2, 57, 100)), CROP)
    faces = next(axes for axes in figure.axes if axes.name == "3d").collections[0]
    figure.draw_without_rendering()
    assert len(faces.get_facecolor()) == 31 * 31


def test_hostile_names_become_short_file_names(tmp_path: Path) -> None:
    other = HOSTILE + "b"
    paths = plot.save_patterns(made_measurement(made_layer(HOSTILE), made_layer(other)), tmp_path)
    assert len({path.name for path in paths}) == 2
    assert all(path.parent == tmp_path and path.is_file() and len(path.name) < 160 for path in paths)


def test_without_matplotlib_there_is_one_clear_line(monkeypatch) -> None:
    monkeypatch.setattr("padprint.plot._base.find_spec", lambda name: None)
    for draw in (lambda: plot.depth(made_measurement()), lambda: plot.pattern_map(made_layer(), CROP)):
        with pytest.raises(MissingPackageError, match=r"^matplotlib is needed to draw: pip install matplotlib$"):
            draw()


def test_figures_are_drawn_without_pyplot() -> None:
    code = "import sys\nfrom measurements import made_measurement\nfrom padprint import plot\n"
    code += "plot.depth(made_measurement()).draw_without_rendering()\nassert 'matplotlib.pyplot' not in sys.modules"
    folder = Path(__file__).parents[1]
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MPLBACKEND")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, env=environment, timeout=120)


def test_nothing_to_draw_is_said() -> None:
    empty = made_layer(pattern=torch.zeros(0, 3, 3), channels=made_channels(0))
    for draw in (plot.emergence, plot.top_channels):
        with pytest.raises(ResultError, match="nothing to draw"):
            draw(empty, CROP)
    measurement = made_measurement()
    measurement.layers.clear()
    for draw in (plot.depth, plot.aware_channels):
        with pytest.raises(ResultError, match="nothing to draw"):
            draw(measurement)
    with pytest.raises(ResultError, match="nothing to draw"):
        plot.comparison(Comparison({"a": measurement, "b": measurement}))


def test_results_draw_themselves() -> None:
    one = made_measurement()
    drawn_by_itself, by_function = one.plot(), plot.overview(one)
    assert [axes.get_title() for axes in drawn_by_itself.axes] == [axes.get_title() for axes in by_function.axes]
    both = Comparison({"own": one, "other": one})
    assert len(both.plot().axes) == len(plot.comparison(both).axes)
