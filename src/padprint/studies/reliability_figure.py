"""The reliability study in one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint.plot._base import COLOURS, LINES, MARKERS, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from padprint.studies.reliability_tables import Reliability

CURVES = ("PPP-SNR", "PPP relative", "PosENet", "PosENet less control", "probe R2 added", "tile mismatch")
"""Metrics whose response is drawn; all others are in the tables."""


def draw(study: Reliability) -> Figure:
    """Spread, errors where the truth is known, and response, of every metric.

    Raises:
        MissingPackageError: matplotlib is missing.
    """
    figure = new_figure(15, 7.2)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.35, 1))
    spread(left, study)
    truths(middle, study)
    doses(right, study)
    return figure


def spread(axes: Axes, study: Reliability) -> None:
    """Draw each metric's spread on every network."""
    table = study.spread()
    names = [score.name for score in study.scores]
    for i, network in enumerate(table.network.unique()):
        cv = table[table.network == network].set_index("metric").cv.reindex(names)
        axes.plot(cv, range(len(names)), MARKERS[i], color=COLOURS[i], label=plain(network), linestyle="none")
    axes.set(
        xscale="log",
        xlabel="standard deviation over mean",
        title=f"Spread over {study.settings['repetitions']} sets of scenes and seeds",
    )
    _metrics(axes, study)
    axes.grid(axis="x", alpha=0.4)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)


def truths(axes: Axes, study: Reliability) -> None:
    """Draw what each metric says of every network, against the truth."""
    table = study.truths()
    networks = list(table.network.unique())
    looks = {"right": (".", "#9a9a9a", 5), "false alarm": ("^", COLOURS[1], 9), "miss": ("v", COLOURS[0], 9)}
    for verdict, (marker, colour, size) in looks.items():
        own = table[table.verdict == verdict]
        x = [networks.index(network) for network in own.network]
        y = [[score.name for score in study.scores].index(metric) for metric in own.metric]
        axes.plot(x, y, marker, color=colour, markersize=size, label=verdict, linestyle="none")
    tells = table.drop_duplicates("network").position.tolist()
    words = [f"{plain(n)}\n({'tells' if t else 'tells nothing'})" for n, t in zip(networks, tells, strict=True)]
    axes.set_xticks(range(len(networks)), words, rotation=90)
    axes.set(xlim=(-0.5, len(networks) - 0.5))
    axes.set_title("What it says of position from padding", pad=28)
    _metrics(axes, study)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)


def doses(axes: Axes, study: Reliability) -> None:
    """Draw some metrics against the amplitude of an injected pattern."""
    table = study.doses()
    nothing = {score.name: score.nothing for score in study.scores}
    for i, metric in enumerate(curve for curve in CURVES if curve in nothing):
        own = table[(table.metric == metric) & (table.amplitude > 0)].sort_values("amplitude")
        top = (own["mean"] - nothing[metric]).abs().max()
        if not top > 0:
            continue
        line = LINES[i % len(LINES)]
        axes.plot(
            own.amplitude,
            (own["mean"] - nothing[metric]) / top,
            line,
            marker=MARKERS[i],
            color=COLOURS[i],
            label=metric,
        )
    axes.set(
        xscale="log",
        xlabel="injected pattern, rms in units of the features'",
        ylabel="score, in units of its largest",
        title="Response to an injected pattern",
    )
    axes.grid(alpha=0.4)
    axes.legend(frameon=False)


def _metrics(axes: Axes, study: Reliability) -> None:
    axes.set_yticks(range(len(study.scores)), [score.name for score in study.scores])
    axes.set_ylim(len(study.scores) - 0.5, -0.5)
