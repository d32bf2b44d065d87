"""The picture of a halo: error against its width, and against what it costs."""

# matplotlib is imported when a picture is drawn
from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING

import numpy as np

from padprint.overlap.distance import ERRORS
from padprint.overlap.text import pair
from padprint.overlap.tile_sizes import ABSURD, offered
from padprint.plot._base import COLOURS, LINES, figure_of, new_figure, plain
from padprint.support.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from padprint.overlap.result import Halo
    from padprint.overlap.widths import PaddingHalo


def plot(halo: Halo, ax: Sequence[Axes] | None = None) -> Figure:
    """Draw the error beyond a halo against its width and against the extra pixels it costs, for each padding.

    Against the width the same halo is dropped on all sides; against the cost stand the tiles that may be advised at some
    tolerance, whose sides may differ. Lines are over all images together, bands reach up to the prediction limit, which a further image stays
    below. A dot marks the advice on its line (its widest side, what it costs), a thin upright line where padding cannot reach any
    more. A line that falls below the axis, to zero perhaps, ends there in an arrow.

    Args:
        halo: the result.
        ax: two axes; without them a new figure.

    Returns:
        The figure drawn into.

    Raises:
        MissingPackageError: matplotlib is missing.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if ax is None:
        figure = new_figure(10.0, 4.2)
        outputs = ", ".join(plain(label(name)) for name in halo.first.outputs)
        figure.suptitle(f"{outputs}: largest error beyond the halo, tiles of {pair(halo.tile)} px", fontsize=12)
        ax = list(figure.subplots(1, 2, sharey=True))
    floor = _floor(halo)
    widest, dearest = _widest(halo), _dearest(halo)
    for i, one in enumerate(halo.values()):
        widths = [(p.halo, p.error, p.limit) for p in one.curve if p.halo <= widest]
        costs = [(100 * x.cost, one.error_of(x), one.limit_of(x.halos)) for x in offered(one) if x.cost <= dearest]
        _line(ax[0], one, widths, floor, i)
        _line(ax[1], one, costs, floor, i)
        tiles = one.tiling
        if tiles is not None:
            heights = np.log([max(error, floor) for _, error, _ in widths])
            on_line = np.exp(np.interp(max(tiles.pixels), [place for place, _, _ in widths], heights))
            _dot(ax[0], max(tiles.pixels), float(on_line), i)
            _dot(ax[1], 100 * tiles.cost, max(one.error_of(tiles), floor), i)
        ax[0].axvline(one.structural, color=COLOURS[i % len(COLOURS)], linewidth=0.7, alpha=0.6)
    for axes in ax:
        axes.axhline(halo.tolerance, color="#888888", linewidth=0.8, linestyle=":")
        axes.annotate(
            f"tolerance {halo.tolerance:g}",
            (1, halo.tolerance),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 2),
            textcoords="offset points",
            ha="right",
            color="#888888",
            fontsize=8,
        )
        axes.set_yscale("log")
        axes.set_ylim(bottom=floor)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    ax[0].set_xlim(0, 1.05 * widest)
    ax[0].set_xlabel("halo on each side (input px)")
    ax[0].set_ylabel(ERRORS[halo.error])
    ax[1].set_xlabel("extra pixels computed (%)")
    ax[1].set_xlim(0, 105 * dearest)
    handles, labels = ax[0].get_legend_handles_labels()
    key = [
        (
            Patch(color="#888888", alpha=0.25, linewidth=0),
            f"{100 * halo.first.promises.promised:.3g} % of further images",
        ),
        (Line2D([], [], marker="o", color="#888888", linestyle=""), "advised"),
        (Line2D([], [], color="#888888", linewidth=0.7), "structural halo"),
    ]
    for axes in ax[1:] if ax[0].figure is ax[1].figure else ax:  # once in a figure
        axes.legend([*handles, *(h for h, _ in key)], [*labels, *(t for _, t in key)], fontsize=8, loc="upper right")
    return figure_of(ax[0])


def _dot(axes: Axes, place: float, height: float, i: int) -> None:
    axes.plot(place, height, "o", color=COLOURS[i % len(COLOURS)], clip_on=False)


def _widest(halo: Halo) -> int:
    """How many px of a halo are drawn: the structural one, and what is advised, which may be more for the stride's sake."""
    advised = [max(one.tiling.pixels) for one in halo.values() if one.tiling is not None]
    return max(1, *advised, *(one.structural for one in halo.values()))


def _dearest(halo: Halo) -> float:
    """Extra pixels up to which costs are drawn: those of the advice, and of other tiles that make sense."""
    advised = [one.tiling.cost for one in halo.values() if one.tiling is not None]
    sensible = [each.cost for one in halo.values() for each in offered(one) if each.cost <= ABSURD]
    return max([*advised, *sensible], default=0.0) or 1.0


def _floor(halo: Halo) -> float:
    """The bottom of the axis: below the tolerance, and four decades below the top at most."""
    top = max((p.error for one in halo.values() for p in one.curve), default=1.0)
    return min(halo.tolerance / 5, top * 1e-4) if top > 0 else halo.tolerance / 5


def _line(axes: Axes, one: PaddingHalo, points: Sequence[tuple[float, float, float]], floor: float, i: int) -> None:
    """A line of (place, error, limit) and its band; it ends in an arrow where it falls below the axis."""
    colour = COLOURS[i % len(COLOURS)]
    places = [place for place, _, _ in points]
    errors = [error for _, error, _ in points]
    low = [max(error, floor) for error in errors]
    high = [max(limit, floor) if isfinite(limit) else nan for _, _, limit in points]
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    end = next((k for k, error in enumerate(errors) if max(errors[k:]) < floor), None)
    shown = slice(None if end is None else end + 1)
    axes.plot(places[shown], low[shown], LINES[i % len(LINES)], color=colour, label=plain(label(one.padding)))
    if end is not None:
        axes.plot(places[end], floor, "v", color=colour, clip_on=False)
