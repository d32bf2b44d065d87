"""Schemes, models or checkpoints side by side, on shared scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from padprint.errors import ResultError
from padprint.plot._base import (
    below_zero,
    distinct,
    figure_of,
    layer_ticks,
    log_floor,
    narrow,
    new_figure,
    with_ends,
    with_intervals,
)
from padprint.plot.maps import draw_size, end_ticks, scale_of
from padprint.plot.views import flattened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from padprint.results.comparison import Comparison


def comparison(result: Comparison, ax: Axes | None = None, *, signed: bool = False) -> Figure:
    """Draw the SNR of several measurements by layer with intervals, and below it their patterns.

    All measurements of a layer share one colour scale.

    Args:
        result: the comparison.
        ax: axes for the SNR alone; without them a new figure, with the patterns.
        signed: patterns are means over channels, on scales symmetric about zero; else root mean squares over channels.

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
    width = max(7.5, panel * len(names) + 2.6, min(0.5 * len(layers) + 3, 14.0))
    below = panel * len(layers) + 1.1
    figure = new_figure(width, 3.8 + below)
    upper, lower = cast("Sequence[SubFigure]", figure.subfigures(2, 1, height_ratios=(3.8, below)))
    _snr(upper.subplots(), result, layers)
    _patterns(lower, result, layers, signed=signed)
    return figure


def _snr(axes: Axes, result: Comparison, layers: list[str]) -> None:
    estimates = [[one[layer].snr for layer in layers] for one in result.values()]
    floor = log_floor([e for one in estimates for e in one])
    count = len(estimates)
    for i, (name, one) in enumerate(zip(distinct(list(result), 30), estimates, strict=True)):
        shift = 0.7 * ((i + 0.5) / count - 0.5)
        with_intervals(axes, [x + shift for x in range(len(layers))], one, floor, i, name)
    axes.set_yscale("log")
    axes.set_ylim(bottom=floor / 1.2)
    every = [e for one in estimates for e in one]
    axes.set_ylabel("SNR (1), 95 % intervals" if with_ends(every) else "SNR (1), no intervals")
    axes.set_title("; ".join(below_zero(every)), fontsize=9)
    layer_ticks(axes, layers)
    for x in range(1, len(layers)):
        axes.axvline(x - 0.5, color="#dddddd", linewidth=0.6)
    if narrow(axes):
        axes.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0.0, 1.05), ncols=3, frameon=False)
    else:
        axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)


def _patterns(figure: SubFigure, result: Comparison, layers: list[str], *, signed: bool) -> None:
    grid = figure.subplots(len(layers), len(result), squeeze=False)
    first = next(iter(result.values()))
    for row, layer, label in zip(grid, layers, distinct(layers, 18), strict=True):
        scale = scale_of(*(one[layer] for one in result.values()))
        for axes, one in zip(row, result.values(), strict=True):
            draw_size(axes, one[layer], one.crop, scale, signed=signed)
            axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
        row[0].set_ylabel(label, fontsize=8)
        shape = flattened(first[layer], first.crop).crop
        end_ticks(row[0].yaxis, shape[0])
        bar = figure.colorbar(row[-1].images[-1], ax=list(row), shrink=0.85, aspect=12, pad=0.02)
        bar.ax.tick_params(labelsize=8)
    for axes, name in zip(grid[0], distinct(list(result), 20), strict=True):
        axes.set_title(name, fontsize=9)
    for axes in grid[-1]:
        rows, columns = flattened(first[layers[-1]], first.crop).crop
        end_ticks(axes.xaxis, columns, both=columns >= 0.2 * rows or len(first.crop) == 1)  # where two would touch, one
    figure.supxlabel(
        f"{'mean' if signed else 'rms'} of the pattern over channels (feature units), one scale a layer; axes: input px; "
        "dashed: inner edge of the rim",
        fontsize=9,
    )
