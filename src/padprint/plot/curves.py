"""Curves: by distance to the border, and by depth in the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from padprint.errors import ResultError
from padprint.plot._base import (
    COLOURS,
    LINES,
    MARKERS,
    below_zero,
    figure_of,
    layer_ticks,
    log_floor,
    new_figure,
    plain,
    with_ends,
    with_intervals,
)
from padprint.support.axes import side_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from padprint.results.measurement import Curve, LayerMeasurement, Measurement

_QUANTITIES = {"response": "response, E[D²]", "noise": "noise, Var[D]", "pattern": "pattern, P²"}


def profile(layer: LayerMeasurement, ax: Axes | Sequence[Axes] | None = None) -> Figure:
    """Draw pattern, noise and response against the distance to the border, and the pattern of each side.

    Bands are 95 % intervals, where there are any. The pattern is estimated without bias and may fall to zero or below, where a logarithmic axis
    ends: there the curve runs along the bottom. An arrow at the bottom says that the interval at that distance reaches below it.

    Args:
        layer: the layer.
        ax: axes for the curves over all sides, or two, the second for the sides apart; without them a new figure with both.

    Returns:
        The figure drawn into.

    Raises:
        ResultError: the layer has no profile.
        MissingPackageError: matplotlib is missing.
    """
    if "all" not in layer.profile or len(layer.profile["all"].cells) == 0:
        raise ResultError(f"{layer.name!r} has no profile, so there is nothing to draw")
    whole = layer.profile["all"]
    own = ax is None
    if ax is None:
        ax = list(new_figure(10.0, 4.2).subplots(1, 2, sharey=True))
    panels = list(ax) if isinstance(ax, Sequence) else [ax]
    floor = _floor([getattr(whole, quantity) for quantity in _QUANTITIES])
    pixels = whole.pixels.numpy()
    for i, (quantity, label) in enumerate(_QUANTITIES.items()):
        _curve(panels[0], pixels, getattr(whole, quantity), floor, i, label)
    _axes(panels[0], "all sides")
    panels[0].set_ylabel("mean square change (feature units²)")
    if len(panels) > 1:
        for i, side in enumerate(side_names(len(layer.stride))):
            if side in layer.profile:
                one = layer.profile[side]
                _curve(panels[1], one.pixels.numpy(), one.pattern, floor, i, side)
        _axes(panels[1], "pattern of each side, over the cells nearest to it")
    if own:
        figure_of(panels[0]).suptitle(f"{plain(layer.name)}: by distance to the border", fontsize=12)
        words = [
            "bands: 95 % intervals, arrows: to below the axis" if any(map(_banded, _curves(layer))) else "no intervals"
        ]
        words += ["what is not above zero runs along the bottom"]
        words += ["below 0: receptive fields centred outside the crop"] * (_ends(layer)[0] < 0)
        figure_of(panels[0]).supxlabel("; ".join(words), fontsize=9)
    for axes in panels:
        axes.set_ylim(bottom=floor)
        axes.set_xlim(*_ends(layer))
    return figure_of(panels[0])


def depth(measurement: Measurement, ax: Sequence[Axes] | None = None) -> Figure:
    """Draw SNR and relative size of the pattern by layer, in order of execution, with 95 % intervals.

    Args:
        measurement: the measurement.
        ax: two axes, for SNR and for relative size; without them a new figure.

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
        figure = new_figure(min(max(6.0, 1.1 * len(layers) + 2), 14.0), 5.6 if len(layers) <= 12 else 7.2)
        every = [e for layer in layers for e in (layer.snr, layer.relative)]
        what = "Pattern by depth, 95 % intervals" if with_ends(every) else "Pattern by depth, no intervals"
        figure.suptitle("\n".join(filter(None, (what, "; ".join(below_zero(every))))), fontsize=11)
        ax = list(figure.subplots(2, 1, sharex=True))
    places = list(range(len(layers)))
    for axes, key, label in zip(ax, ("snr", "relative"), ("SNR", "relative size"), strict=True):
        estimates = [getattr(layer, key) for layer in layers]
        floor = log_floor(estimates)
        with_intervals(axes, places, estimates, floor, 0)
        axes.set_yscale("log")
        axes.set_ylim(bottom=floor / 1.2)
        axes.set_ylabel(f"{label} (1)")
        layer_ticks(axes, [layer.name for layer in layers])
    return figure_of(ax[0])


def _floor(curves: Sequence[Curve]) -> float:
    """The bottom of a logarithmic axis: five decades below the top at most."""
    values = np.concatenate([curve.value.numpy() for curve in curves])
    positive = values[np.isfinite(values) & (values > 0)]
    if len(positive) == 0:
        return 0.5
    return max(float(positive.min()) / 2, float(positive.max()) * 1e-5)


def _ends(layer: LayerMeasurement) -> tuple[float, float]:
    """Where the axis of distances begins and ends, px: a little beyond the rim, where everything is zero.

    It begins at the crop's edge, or at the receptive fields that are centred farthest outside it.
    """
    pixels = torch.cat([one.pixels for one in layer.profile.values()])
    near, far = min(0.0, float(pixels.min())), float(pixels.max())
    room = 0.04 * max(far - near, *layer.stride)
    start = near - room if near < 0 else 0.0
    return start, min(far + room, start + max(1.25 * max(layer.rim_pixels), 4 * max(layer.stride)))


def _curves(layer: LayerMeasurement) -> list[Curve]:
    """All that `profile` draws."""
    sides = [layer.profile[side].pattern for side in side_names(len(layer.stride)) if side in layer.profile]
    return [*(getattr(layer.profile["all"], quantity) for quantity in _QUANTITIES), *sides]


def _banded(curve: Curve) -> bool:
    """Whether a curve has a band."""
    return len(curve.value) > 1 and bool(curve.low.isfinite().any())


def _curve(axes: Axes, pixels: np.ndarray, curve: Curve, floor: float, series: int, label: str) -> None:
    value, low, high = (np.maximum(part.numpy(), floor) for part in (curve.value, curve.low, curve.high))
    colour = COLOURS[series]
    style, marker = LINES[series % len(LINES)], MARKERS[series]
    axes.plot(pixels, value, style, marker=marker, markersize=4, color=colour, label=label)
    if _banded(curve):
        axes.fill_between(pixels, low, high, color=colour, alpha=0.18, linewidth=0)
        down = pixels[curve.low.numpy() < floor]
        if len(down):
            axes.plot(down, [0.02] * len(down), "v", color=colour, markersize=4, transform=axes.get_xaxis_transform())


def _axes(axes: Axes, title: str) -> None:
    axes.set_yscale("log")
    axes.set_xlabel("distance to the border (input px)")
    axes.set_title(title, fontsize=10)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=9, loc="upper right")
