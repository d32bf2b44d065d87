"""Schemes, models or checkpoints side by side, on shared scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from padprint.errors import ResultError
from padprint.plot._base import figure_of, layer_ticks, log_floor, new_figure, plain, with_intervals
from padprint.plot.maps import draw_map, maps_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from padprint.comparison import Comparison


def comparison(result: Comparison, ax: Axes | None = None) -> Figure:
    """Draw the SNR of several measurements by layer with intervals, and below it their patterns.

    Patterns are root mean squares over channels; all measurements of a layer share one colour scale.

    Args:
        result: the comparison.
        ax: axes for the SNR alone; without them a new figure, with the patterns.

    Returns:
        The figure drawn into.

    Raises:
        ResultError: no layer was measured in all of them.
        MissingPackageError: matplotlib is missing.
    """
    layers, names = result.layers, list(result)
    if not layers:
        raise ResultError("no layer was measured in all of them, so there is nothing to draw")
    if ax is not None:
        _snr(ax, result, layers)
        return figure_of(ax)
    panel = 1.5
    width, below = max(7.5, panel * len(names) + 2.6), panel * len(layers) + 0.9
    figure = new_figure(width, 3.8 + below)
    upper, lower = cast("Sequence[SubFigure]", figure.subfigures(2, 1, height_ratios=(3.8, below)))
    _snr(upper.subplots(), result, layers)
    _patterns(lower, result, layers)
    return figure


def _snr(axes: Axes, result: Comparison, layers: list[str]) -> None:
    estimates = [[one[layer].snr for layer in layers] for one in result.values()]
    floor = log_floor([e for one in estimates for e in one])
    count = len(estimates)
    for i, (name, one) in enumerate(zip(result, estimates, strict=True)):
        shift = 0.7 * ((i + 0.5) / count - 0.5)
        with_intervals(axes, [x + shift for x in range(len(layers))], one, floor, i, plain(name, 30))
    axes.set_yscale("log")
    axes.set_ylim(bottom=floor / 1.2)
    axes.set_ylabel("SNR (1), 95 % intervals")
    layer_ticks(axes, layers)
    for x in range(1, len(layers)):
        axes.axvline(x - 0.5, color="#dddddd", linewidth=0.6)
    axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)


def _patterns(figure: SubFigure, result: Comparison, layers: list[str]) -> None:
    grid = figure.subplots(len(layers), len(result), squeeze=False)
    for row, layer in zip(grid, layers, strict=True):
        maps = {name: maps_of(one[layer])[1] for name, one in result.items()}
        top = max(float(values.max()) for values in maps.values()) or 1.0
        for axes, (name, values) in zip(row, maps.items(), strict=True):
            one = result[name]
            draw_map(axes, values, one[layer], one.crop, cmap="cividis", limits=(0.0, top))
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(plain(layer, 22), fontsize=9)
        bar = figure.colorbar(row[-1].images[-1], ax=list(row), shrink=0.85, aspect=12, pad=0.02)
        bar.ax.tick_params(labelsize=8)
    for axes, name in zip(grid[0], result, strict=True):
        axes.set_title(plain(name, 20), fontsize=9)
    figure.supxlabel(
        "rms of the pattern over channels (feature units), one scale a layer; dashed: inner edge of the rim", fontsize=9
    )
