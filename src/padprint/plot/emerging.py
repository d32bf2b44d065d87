"""The pattern coming out of the mist: mean features over ever more crops, beside the pattern."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from padprint.errors import ResultError
from padprint.plot._base import figure_of, new_figure, plain, signed_colours
from padprint.plot.maps import draw_map, label_map, largest, map_box
from padprint.plot.views import by_channel, labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from padprint.results.measurement import LayerMeasurement

Scale = tuple[float, float]

_FACES = 32
"""Cells of a surface along an axis, at most; of larger maps evenly spaced rows and columns are drawn."""


def emergence(layer: LayerMeasurement, crop: Sequence[int], ax: Sequence[Axes] | None = None) -> Figure:
    """Draw channel-averaged padded features over 1, 10, 100 and all crops, and the pattern over all, at its right.

    Above as surfaces, below from the top. The features share one height and one colour scale, that of all crops; what lies
    beyond it has the scale's last colour. Of a volume the middle slice is drawn, of a waveform one row. The pattern has a signed scale of its own, symmetric about zero.

    Args:
        layer: the layer.
        crop: (rows, columns) input px.
        ax: one axes for each view from the top (one more than there are means); without them a new figure with surfaces too.

    Returns:
        The figure drawn into.

    Raises:
        ResultError: the layer's map is empty.
        MissingPackageError: matplotlib is missing.

    Source: after the teaser of Lin et al., ICML 2023.
    """
    if layer.pattern.numel() == 0:
        raise ResultError(f"the pattern of {layer.name!r} is empty, so there is nothing to draw")
    wave = len(crop) == 1
    layer, crop, _ = by_channel(layer, crop)
    features = layer.emergence.features.numpy()
    pattern = layer.pattern.mean(0).numpy()
    panels = [(_crops(n), one) for n, one in zip(layer.emergence.counts, features, strict=True)]
    panels.append((f"pattern (PPP), {_crops(layer.emergence.counts[-1])}", pattern))
    known = features[-1][np.isfinite(features[-1])]
    low, high = float(known.min(initial=np.inf)), float(known.max(initial=-np.inf))
    low, high = (low, high) if len(known) else (0.0, 0.0)
    room = 0.05 * (high - low) or 1.0
    size = largest(pattern) or 1.0
    scales = [(low - room, high + room)] * len(features) + [(-size, size)]
    surfaces: list[Any] = []
    if ax is None:
        # a surface needs two rows and columns, and a height everywhere
        terrain = min(pattern.shape) > 1 and all(bool(np.isfinite(values).all()) for _, values in panels)
        figure = new_figure(max(2.9 * len(panels), 7.0), 6.0 if terrain else 3.4)
        figure.suptitle(f"{plain(layer.name)}: mean over channels", fontsize=12)
        if terrain:
            surfaces = [figure.add_subplot(2, len(panels), 1 + i, projection="3d") for i in range(len(panels))]
        ax = [figure.add_subplot(1 + terrain, len(panels), 1 + terrain * len(panels) + i) for i in range(len(panels))]
        words = "colour and height" if terrain else "colour"
        figure.supxlabel(
            f"{words}: feature units, beyond the scale its last colour; dashed: inner edge of the rim", fontsize=9
        )
    elif len(ax) != len(panels):
        raise ResultError(f"{layer.name!r} needs {len(panels)} axes, one for each mean and one for the pattern")
    for i, ((title, values), scale) in enumerate(zip(panels, scales, strict=True)):
        cmap: str | Colormap = "cividis" if i < len(features) else signed_colours()
        if surfaces:
            surfaces[i].set_title(title, fontsize=10)
            _surface(surfaces[i], values, map_box(layer), scale, cmap)
        else:
            ax[i].set_title(title, fontsize=10)
        draw_map(ax[i], values, layer, crop, cmap=cmap, limits=scale, fold=i == len(features))
        if wave:
            ax[i].set_aspect("auto")
            ax[i].set_yticks([])
        label_map(ax[i])
        ax[i].set_xlabel(labels(1 if wave else 2)[1], fontsize=9)
    ax[0].set_ylabel("" if wave else labels(2)[0], fontsize=9)
    return figure_of(ax[0])


def _crops(count: int) -> str:
    return f"{count} crop{'s' * (count != 1)}"


def _surface(
    axes: Any, values: NDArray[np.float64], box: tuple[float, float, float, float], scale: Scale, cmap: str | Colormap
) -> None:
    """The map as terrain over input pixels, seen from the lower left."""
    left, right, top, bottom = box
    row, column = (np.unique(np.linspace(0, n - 1, min(n, _FACES)).round().astype(int)) for n in values.shape)
    x, y = np.meshgrid(
        left + (column + 0.5) * (right - left) / values.shape[1], top + (row + 0.5) * (bottom - top) / values.shape[0]
    )
    height = np.clip(values[np.ix_(row, column)], *scale)
    style = {"rstride": 1, "cstride": 1, "linewidth": 0.2, "edgecolor": "#55555580"}
    axes.plot_surface(x, y, height, cmap=cmap, vmin=scale[0], vmax=scale[1], **style)
    axes.set_zlim(*scale)
    axes.invert_yaxis()  # the crop's top at the back
    axes.view_init(elev=38, azim=-62)
    axes.set_box_aspect((1, 1, 0.45), zoom=1.15)
    axes.tick_params(labelsize=6, pad=-2)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(_few())


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3)
