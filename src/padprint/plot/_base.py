"""What all pictures share: figures without pyplot, colours that survive grey print, and text that is drawn as it is."""

# matplotlib is imported when a picture is drawn, so that measuring does not pay for it
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from padprint.errors import MissingPackageError
from padprint.support.wording import label, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from padprint.results.measurement import Estimate

DPI = 150
# Blue to orange is safe for colour-blind readers; blue ends darker than orange, so grey print keeps the sign.
_SIGNED = ("#08264f", "#3f7cba", "#c9dcee", "#f8f8f8", "#fbd8ab", "#f0983a", "#b75a06")
# Every series has a marker and a line of its own as well; neighbours differ in lightness.
COLOURS = ("#08264f", "#e08a2c", "#2a7f9e", "#a33b20", "#6d6d6d", "#8fb8de", "#5b3a8c", "#3d7a3a")
MARKERS = "osD^vPX*h"  # one more than colours, so that the pairs do not repeat soon
LINES: tuple[str, ...] = ("-", "--", "-.", ":")
_LETTER, _LINE = 0.08, 0.16  # inches that a letter and a line of a layer's name take under an axis


def check_available() -> None:
    """Say early that nothing can be drawn.

    Raises:
        MissingPackageError: matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise MissingPackageError("matplotlib is needed to draw: pip install matplotlib")


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, safe without a display.

    Raises:
        MissingPackageError: matplotlib is missing.
    """
    check_available()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def figure_of(axes: Axes) -> Figure:
    """The figure that axes belong to."""
    return cast("Figure", axes.figure)


def narrow(axes: Axes) -> bool:
    """Whether axes are in a figure of less than 6 inches, where a legend has no room at the side."""
    return float(axes.figure.bbox.width) / axes.figure.dpi < 6


def plain(name: str, limit: int = 48) -> str:
    """A name for a picture: on one line, cut in the middle beyond `limit` characters, "$" drawn as "$"."""
    flat = label(name)
    if len(flat) > limit:
        half = (limit - 1) // 2
        flat = f"{flat[:half]}…{flat[-half:]}"
    return flat.replace("$", r"\$")


def signed_colours() -> Colormap:
    """Blue for less, orange for more, white for none."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("padprint", _SIGNED)


def log_floor(estimates: Sequence[Estimate]) -> float:
    """A bottom for a logarithmic axis: below every positive value and every positive end of an interval."""
    ends = [end for e in estimates for end in (e.value, e.low) if end > 0 and math.isfinite(end)]
    top = max(ends, default=1.0)
    return max(min(ends, default=1.0), top * 1e-5) / 2


def with_intervals(
    axes: Axes, places: Sequence[float], estimates: Sequence[Estimate], floor: float, series: int, label: str = ""
) -> None:
    """Points with their intervals on a logarithmic axis; what is not above zero stands hollow on its bottom.

    An interval that reaches below the axis, to zero or less, ends in an arrow there. What is not finite is written in words.
    """
    colour, marker = COLOURS[series % len(COLOURS)], MARKERS[series % len(MARKERS)]
    known = [(x, e) for x, e in zip(places, estimates, strict=True) if math.isfinite(e.value)]
    for x, e in zip(places, estimates, strict=True):
        if not math.isfinite(e.value):
            bottom = axes.get_xaxis_transform()
            axes.text(x, 0.02, number(e.value), color=colour, fontsize=8, ha="center", transform=bottom)
    shown = [max(e.value, floor) for _, e in known]
    lows = [0.0 if math.isnan(e.low) else y - max(min(e.low, y), floor) for (_, e), y in zip(known, shown, strict=True)]
    highs = [0.0 if math.isnan(e.high) else max(e.high - y, 0.0) for (_, e), y in zip(known, shown, strict=True)]
    axes.errorbar(
        [x for x, _ in known],
        shown,
        yerr=(lows, highs),
        fmt=marker,
        color=colour,
        markersize=6,
        capsize=3,
        linestyle="none",
        label=label or None,
    )
    down = [x for x, e in known if e.low < floor]
    if down:
        axes.plot(down, [floor / 1.2] * len(down), "v", color=colour, markersize=6, clip_on=False, zorder=4)
    hollow = [(x, y) for (x, e), y in zip(known, shown, strict=True) if e.value <= floor]
    if hollow:
        axes.plot(*zip(*hollow, strict=True), marker, color=colour, markerfacecolor="white", markersize=6, zorder=5)


def below_zero(estimates: Iterable[Estimate]) -> list[str]:
    """What a figure says of the marks at the bottom of its logarithmic axis; nothing where there are none."""
    found = list(estimates)
    words = ["arrow: the interval reaches zero or below"] * any(e.low <= 0 for e in found)
    return words + ["hollow: not above zero"] * any(e.value <= 0 for e in found)


def with_ends(estimates: Iterable[Estimate]) -> bool:
    """Whether any of them has an interval; from few images none has."""
    return any(math.isfinite(end) for e in estimates for end in (e.low, e.high))


def distinct(names: Sequence[str], limit: int) -> list[str]:
    """`plain` names, of which those that look alike once they are cut have their number in the row put before them."""
    cut = [plain(name, limit) for name in names]
    return [f"{i + 1}: {one}" if cut.count(one) > 1 else one for i, one in enumerate(cut)]


def layer_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Names of layers under equal steps, turned where they would touch; where even so they would, not all of them."""
    labels = distinct(names, 28)
    step = axes.bbox.width / axes.figure.dpi / max(1, len(names))  # inches
    if max(map(len, labels), default=0) * _LETTER < 0.9 * step:
        turned, align = 0, "center"
    else:
        turned, align = (30, "right") if step > 2.5 * _LINE else (90, "center")
    apart = math.ceil(_LINE / step)
    axes.set_xticks(range(0, len(names), apart), labels[::apart], rotation=turned, ha=align)
    axes.tick_params(axis="x", labelsize=8 if turned == 90 else 9)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
