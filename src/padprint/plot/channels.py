"""Channels: the strongest patterns, and how many channels tell position, where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from padprint.errors import ResultError
from padprint.plot._base import distinct, figure_of, narrow, new_figure, plain, signed_colours
from padprint.plot.maps import draw_map, rim_line
from padprint.plot.views import by_channel, labels
from padprint.support.wording import aware, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from padprint.results.measurement import LayerMeasurement, Measurement

_PER_ROW = 6
# lightness and hatching differ, so that the six can be told apart in grey
_FILLS = {
    "start": ("#08264f", ""),
    "end": ("#8fb8de", "//"),
    "front": ("#2a7f9e", ""),
    "back": ("#b9dbe6", "xx"),
    "top": ("#08264f", ""),
    "bottom": ("#8fb8de", "//"),
    "left": ("#a33b20", ""),
    "right": ("#f4b980", "\\\\"),
    "corners": ("#6d6d6d", ".."),
    "uniform": ("#e8e8e8", ""),
}


def top_channels(layer: LayerMeasurement, crop: Sequence[int], count: int = 12) -> Figure:
    """Draw the patterns of the channels with the largest SNR, on one signed scale, with the side each prefers.

    The scale ends where 98 % of the cells do; the others have its last colours.

    Args:
        layer: the layer.
        crop: (rows, columns) input px.
        count: how many channels, at most.

    Returns:
        A new figure.

    Raises:
        ResultError: the layer's map is empty, or `count` is no whole number above 0.
        MissingPackageError: matplotlib is missing.
    """
    if type(count) is not int or count < 1:
        raise ResultError(f"count must be a whole number of 1 or more, but got {count!r}")
    if layer.pattern.numel() == 0:
        raise ResultError(f"the pattern of {layer.name!r} is empty, so there is nothing to draw")
    wave = len(crop) == 1
    layer, crop, _ = by_channel(layer, crop)
    chosen = layer.channels.top(count)
    columns = min(_PER_ROW, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = new_figure(max(2.0 * columns + 1.2, 6.0), 2.3 * rows + 1.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    patterns = layer.pattern[chosen].numpy()
    known = abs(patterns[np.isfinite(patterns)])
    limit = float(np.quantile(known, 0.98) or known.max()) if len(known) else 0.0
    limit = limit or 1.0
    for axes, channel, pattern in zip(grid.flat, chosen, patterns, strict=False):
        draw_map(axes, pattern, layer, crop, cmap=signed_colours(), limits=(-limit, limit))
        if wave:
            axes.set_aspect("auto")
            axes.set_yticks([])
        where = layer.channels.side[channel] if bool(layer.channels.aware[channel]) else "not called"
        axes.set_title(f"channel {channel}, {where}\nSNR {number(float(layer.channels.snr[channel]))}", fontsize=9)
        axes.tick_params(labelsize=7)
    for axes in grid.flat[len(chosen) :]:
        axes.set_axis_off()
    bar = figure.colorbar(grid[0, 0].images[-1], ax=grid, shrink=0.9, aspect=30, extend="both")
    bar.set_label("pattern (feature units)", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    total = len(layer.pattern)
    of = f"strongest of {total} channels" if total > 1 else "its one channel"
    figure.suptitle(f"{plain(layer.name)}\n{of}, {aware(layer)} aware", fontsize=12)
    row, column = labels(1 if wave else 2)
    figure.supxlabel(f"{column}; {rim_line(layer)}", fontsize=9)
    figure.supylabel("" if wave else row, fontsize=9)
    return figure


def aware_channels(measurement: Measurement, ax: Axes | None = None) -> Figure:
    """Draw the share of padding-aware channels of each layer, by the side they prefer.

    Args:
        measurement: the measurement.
        ax: axes to draw into; without them a new figure.

    Returns:
        The figure drawn into.

    Raises:
        ResultError: the measurement has no layer.
        MissingPackageError: matplotlib is missing.
    """
    if not measurement.layers:
        raise ResultError("no layer was measured, so there is nothing to draw")
    layers = list(measurement.layers.values())
    if ax is None:
        figure = new_figure(8.0, 0.45 * len(layers) + 1.9)
        ax = figure.add_subplot()
    start = [0.0] * len(layers)
    shown = [side for side in _FILLS if side in layers[0].channels.by_side()]
    for side in shown:
        colour, hatch = _FILLS[side]
        share = [100 * layer.channels.by_side()[side] / max(1, len(layer.pattern)) for layer in layers]
        ax.barh(
            range(len(layers)),
            share,
            left=start,
            color=colour,
            hatch=hatch,
            edgecolor="#222222",
            linewidth=0.6,
            label=side,
        )
        start = [a + b for a, b in zip(start, share, strict=True)]
    for row, (layer, end) in enumerate(zip(layers, start, strict=True)):
        ax.text(end + 1, row, aware(layer), va="center", fontsize=9)
    ax.set_yticks(range(len(layers)), distinct([layer.name for layer in layers], 34))
    ax.set_ylim(len(layers) - 0.4, -0.6)
    ax.set_xlim(0, 124)
    ax.set_xticks(range(0, 101, 20))
    level = layers[0].channels.level
    small = narrow(ax)
    ax.set_xlabel(
        f"padding-aware channels (% of the layer's;{chr(10) if small else ' '}false-discovery rate {100 * level:g} %)"
    )
    ax.legend(ncols=3 if small else 6, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return figure_of(ax)
