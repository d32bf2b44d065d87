"""Maps of a pattern: what padding adds to a layer, where, in input pixels."""

# matplotlib is imported when a picture is drawn, so that measuring does not pay for it
from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from padprint.errors import ResultError
from padprint.plot._base import COLOURS, distinct, figure_of, new_figure, plain, signed_colours
from padprint.plot.fold import Fold, drawn, edges, folded, folds, is_folded, refuse_other_axes
from padprint.plot.views import View, flattened, labels, raster, views
from padprint.support import atomic
from padprint.support.wording import file_stem, interval

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from padprint.results.measurement import LayerMeasurement, Measurement

Box = tuple[float, float, float, float]

_PER_ROW = 5


def pattern_map(
    layer: LayerMeasurement,
    crop: Sequence[int],
    ax: Sequence[Axes] | None = None,
    *,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw one layer's pattern: signed mean over channels (left) and root mean square over channels (right).

    A waveform's is drawn as the mean over channels with what differs between crops as a band (left), and as a raster of channels
    (right); a volume's in its three middle slices, mean above and root mean square below.

    Both maps are drawn cell by cell, without interpolation. The dashed line is the inner edge of the rim: inside it no
    padding reaches. Where the rim is thin, what lies well inside is folded into a band (`padprint.plot.fold`); else
    the map lies over the input pixels that its cells stand for.

    Args:
        layer: the layer.
        crop: (rows, columns) input px.
        ax: two axes to draw into; without them a new figure is made (no pyplot, safe without a display). Of a volume's map, whose
            three middle slices are drawn, six.
        limits: where the two scales end, feature units, such as `scale_of` gives for pictures that are compared; without
            them at this layer's largest.

    Returns:
        The figure drawn into.

    Raises:
        ResultError: the layer's map is empty.
    """
    if len(crop) != 2:
        return _other_axes(layer, crop, ax, limits or scale_of(layer))
    if ax is None:
        figure = new_figure(9.6, 4.6)
        ax = (figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2))
        figure.suptitle(f"{plain(layer.name)}: SNR {interval(layer.snr)}", fontsize=12)
        figure.supxlabel(rim_line(layer), fontsize=9)
    else:
        figure = figure_of(ax[0])
    for axes, signed, title in zip(ax, (True, False), ("Mean", "Root mean square"), strict=True):
        draw_size(axes, layer, crop, limits or scale_of(layer), signed=signed)
        axes.set_title(f"{title} over channels", fontsize=10)
    for axes, label in zip(ax, ("mean pattern (feature units)", "rms pattern (feature units)"), strict=True):
        label_map(axes, label)
    return figure


def _other_axes(
    layer: LayerMeasurement, crop: Sequence[int], ax: Sequence[Axes] | None, limits: tuple[float, float]
) -> Figure:
    """`pattern_map` of a waveform's map, or of a volume's."""
    shown, kinds = views(layer, crop), (True, False) if len(crop) > 1 else (True,)
    rows, columns = (2, 3) if len(crop) == 3 else (1, 2)
    if ax is None:
        figure = new_figure(3.4 * columns + 1.0, 2.9 * rows + 0.9)
        ax = list(figure.subplots(rows, columns, squeeze=False).flat)
        figure.suptitle(f"{plain(layer.name)}: SNR {interval(layer.snr)}", fontsize=12)
        figure.supxlabel(rim_line(shown[0].layer), fontsize=9)
    if len(ax) != rows * columns:
        raise ResultError(f"{layer.name!r} needs {rows * columns} axes, one for each panel")
    panels = list(ax)
    if len(crop) == 1:
        _along(panels.pop(0), layer, crop)
    for axes, (signed, view) in zip(panels, product(kinds, shown), strict=True):
        draw_size(axes, layer, crop, limits, signed=signed, view=view)
        kind = (
            "Pattern of each channel" if len(crop) == 1 else f"{'Mean' if signed else 'Root mean square'}, {view.title}"
        )
        axes.set_title(kind, fontsize=10)
        label_map(axes)
        row, column = labels(1) if len(crop) == 1 else ("input (px)", "input (px)")
        axes.set_xlabel(column, fontsize=9)
        axes.set_ylabel(row, fontsize=9)
    return figure_of(ax[0])


def _along(axes: Axes, layer: LayerMeasurement, crop: Sequence[int]) -> None:
    """A waveform's pattern along time: mean over channels, and how far single crops differ from it as a band."""
    left, right, *_ = map_box(raster(layer, crop).layer)
    n = layer.pattern.shape[1]
    place = [left + (i + 0.5) * (right - left) / n for i in range(n)]
    mean, spread = layer.pattern.mean(0).numpy(), layer.noise.mean(0).sqrt().numpy()
    axes.fill_between(place, mean - spread, mean + spread, color=COLOURS[2], alpha=0.25, linewidth=0, label="one crop")
    axes.plot(place, mean, color=COLOURS[0], label="pattern")
    for side, cells in zip((left, right), (layer.rim[0], -layer.rim[1]), strict=True):
        axes.axvline(side + cells * layer.stride[0], color="black", linewidth=1.0, linestyle=(0, (4, 3)))
    axes.axhline(0.0, color="#888888", linewidth=0.6)
    axes.set_title("Mean over channels, and its spread", fontsize=10)
    axes.set_xlabel(labels(1)[1], fontsize=9)
    axes.set_ylabel("feature units", fontsize=9)
    axes.legend(fontsize=8)


def overview(measurement: Measurement, *, signed: bool = False, one_scale: bool = False) -> Figure:
    """Draw the patterns of all layers in a row, in order of execution.

    Args:
        measurement: the measurement.
        signed: the mean over channels, on a scale symmetric about zero; else the root mean square over channels.
        one_scale: one colour scale for all layers; else each has its own, as layers differ in the size of their features.

    Raises:
        ResultError: the measurement has no layer.
    """
    if not measurement.layers:
        raise ResultError("no layer was measured, so there is nothing to draw")
    layers = list(measurement.layers.values())
    count = len(layers)
    columns = min(count, _PER_ROW)
    rows = -(-count // columns)
    figure = new_figure(max(3.1 * columns, 5.0), 2.9 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    titles = distinct([layer.name for layer in layers], 34)
    for axes, layer, title in zip(grid.flat, layers, titles, strict=False):
        draw_size(axes, layer, measurement.crop, scale_of(*layers) if one_scale else scale_of(layer), signed=signed)
        axes.set_title(f"{title}\nSNR {interval(layer.snr)}", fontsize=9)
        label_map(axes)
    for axes in grid.flat[count:]:
        axes.set_axis_off()
    row, column = labels(len(measurement.crop))
    figure.supylabel(row, fontsize=9)
    words = (
        column,
        _colour(len(measurement.crop), signed=signed),
        "dashed: inner edge of the rim"
        + "; between small ticks: folded"
        * any(is_folded(flattened(layer, measurement.crop).layer) for layer in layers),
    )
    figure.supxlabel(("; " if columns > 2 else "\n").join(words), fontsize=9)
    return figure


def _colour(axes: int, *, signed: bool) -> str:
    """What the colours of `overview` mean."""
    if axes == 1:
        return f"colour: {'' if signed else 'size of '}the padding pattern of each channel (feature units)"
    where = " in the middle slice" if axes == 3 else ""
    return f"colour: {'mean' if signed else 'rms'} of the padding pattern over channels{where} (feature units)"


def save_patterns(measurement: Measurement, folder: str | Path) -> list[Path]:
    """Write ``pattern-<layer>.png`` for every layer.

    Args:
        measurement: the measurement.
        folder: where to write; made with its parents.

    Returns:
        The files, in order of execution, all of them complete. Characters that file names should not have become "_".

    Raises:
        ResultError: the folder's path is a file, or a layer's map is empty.
    """
    names: list[str] = []
    for name in measurement.layers:
        file = f"pattern-{file_stem(name)}.png"
        while file in names:  # two names that differ only in such characters
            file = f"{Path(file).stem}_.png"
        names.append(file)

    def write(unfinished: Path) -> None:
        for file, layer in zip(names, measurement.layers.values(), strict=True):
            pattern_map(layer, measurement.crop).savefig(unfinished / file)

    atomic.publish(Path(folder), write)
    return [Path(folder) / file for file in names]


def map_box(layer: LayerMeasurement) -> Box:
    """The input px that a layer's cells stand for: left, right, top, bottom; (0, 0) is the crop's corner.

    A cell is one stride wide and centred on its receptive field's centre; where that is not known, the first
    cell starts at the crop's edge.
    """
    return placed(layer.pattern.shape[1:], layer.stride, layer.offset)


def placed(size: Sequence[int], stride: Sequence[float], offset: Sequence[float] | None) -> Box:
    """`map_box` of a map of (h, w) cells."""
    refuse_other_axes(size)
    (rows, columns), (sy, sx) = size, stride
    # offsets count whole pixels, and the centre of pixel 0 lies half a pixel from the crop's edge
    oy, ox = offset or ((sy - 1) / 2, (sx - 1) / 2)
    top, left = oy + 0.5 - sy / 2, ox + 0.5 - sx / 2
    return left, left + columns * sx, top, top + rows * sy


def rim_box(layer: LayerMeasurement) -> Box | None:
    """The part of `map_box` that no padding reaches (left, right, top, bottom); None where it is empty."""
    return within(map_box(layer), layer.pattern.shape[1:], layer.stride, layer.rim)


def within(box: Box, size: Sequence[int], stride: Sequence[float], rim: Sequence[int]) -> Box | None:
    """The part of a `map_box` inside a rim (top, bottom, left, right) of so many cells; None where it is empty."""
    top, bottom, left, right = rim
    if top + bottom >= size[0] or left + right >= size[1]:
        return None
    sy, sx = stride
    x0, x1, y0, y1 = box
    return x0 + left * sx, x1 - right * sx, y0 + top * sy, y1 - bottom * sy


def maps_of(layer: LayerMeasurement) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over channels and root mean square over channels, of the map's size; of a waveform each channel, and its absolute value."""
    if layer.pattern.numel() == 0:
        raise ResultError(f"the pattern of {layer.name!r} is empty, so there is nothing to draw")
    if layer.pattern.dim() == 2:
        return layer.pattern.cpu().numpy(), layer.pattern.abs().cpu().numpy()
    return layer.pattern.mean(0).cpu().numpy(), layer.pattern.square().mean(0).sqrt().cpu().numpy()


def scale_of(*layers: LayerMeasurement) -> tuple[float, float]:
    """The largest absolute mean over channels and the largest root mean square over channels, among these layers.

    Of the finite ones; 1 where there are none but zeros.
    """
    found = [maps_of(layer) for layer in layers]
    signed, size = (max(map(largest, each)) for each in zip(*found, strict=True))
    return signed or 1.0, size or 1.0


def largest(values: NDArray[np.float64]) -> float:
    """The largest absolute value of those that are finite; 0 where none is."""
    import numpy as np

    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def draw_size(
    axes: Axes,
    layer: LayerMeasurement,
    crop: Sequence[int],
    scale: tuple[float, float],
    *,
    signed: bool,
    view: View | None = None,
) -> None:
    """One map of a layer: its mean over channels (signed), or its root mean square over channels; None: the first of its `views`."""
    wave = len(crop) == 1
    layer, crop, _ = flattened(layer, crop) if view is None else view
    mean, size = maps_of(layer)
    if signed:
        draw_map(axes, mean, layer, crop, cmap=signed_colours(), limits=(-scale[0], scale[0]))
    else:
        draw_map(axes, size, layer, crop, cmap="cividis", limits=(0.0, scale[1]), square=True)
    if wave:
        axes.set_aspect("auto")  # channels have no length


def draw_map(
    axes: Axes,
    values: NDArray[np.float64],
    layer: LayerMeasurement,
    crop: Sequence[int],
    *,
    cmap: str | Colormap,
    limits: tuple[float, float],
    square: bool = False,
    fold: bool = True,
) -> None:
    """The map with its ticks, the crop's frame where the map does not fill it, and the inner edge of the rim.

    Cells that are not finite stay grey; where none is finite, the map says so.

    Args:
        axes: to draw into.
        values: `(h, w)`.
        layer: whose map it is.
        crop: (rows, columns) input px.
        cmap: colours.
        limits: where they end.
        square: whether a folded band shows the root mean square of its cells; else their mean.
        fold: whether what no padding touches is folded, so that a thin rim is seen.
    """
    import numpy as np
    from matplotlib.patches import Rectangle

    rows, columns = folds(layer)
    step = fold and is_folded(layer)
    left, right, top, bottom = map_box(layer)
    inner = rim_box(layer)
    shown = np.where(np.isfinite(values), values, np.nan)
    if step:
        shown = drawn(folded(shown, rows, columns, square=square), rows, columns)
        left, right, top, bottom = 0.0, float(columns.length), 0.0, float(rows.length)
        inner = _folded_rim(layer, rows, columns)
    low, high = limits
    axes.imshow(shown, extent=(left, right, bottom, top), cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    if np.isnan(shown).all():
        axes.text(0.5, 0.5, "no finite\nvalue", transform=axes.transAxes, ha="center", va="center", fontsize=7)
    if inner is not None and any(layer.rim):
        x0, x1, y0, y1 = inner
        for colour, style in (("black", "solid"), ("white", (0, (4, 3)))):  # seen on dark and on light cells
            edge = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, linestyle=style, color=colour)
            edge.set_linewidth(1.2)
            axes.add_patch(edge)
    axes.set_facecolor("#e6e6e6")
    if step:
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        _folded_ticks(axes, layer, crop, rows, columns)
    else:
        axes.set_xlim(min(left, 0), max(right, crop[1]))
        axes.set_ylim(max(bottom, crop[0]), min(top, 0))
        _ticks(axes)


def _folded_rim(layer: LayerMeasurement, rows: Fold, columns: Fold) -> Box | None:
    """`rim_box` on folded axes."""
    if rim_box(layer) is None:
        return None
    height, width = layer.pattern.shape[1:]
    top, bottom, left, right = layer.rim
    return columns.place(left), columns.place(width - right), rows.place(top), rows.place(height - bottom)


def _folded_ticks(axes: Axes, layer: LayerMeasurement, crop: Sequence[int], rows: Fold, columns: Fold) -> None:
    """Input px at the ends and, where there is room, at the rim's inner edges; small ticks at the folded band's ends."""
    height, width = layer.pattern.shape[1:]
    top, bottom, left, right = layer.rim
    along = (axes.xaxis, columns, left, right, width, crop[1], layer.stride[1], 0.17)
    across = (axes.yaxis, rows, top, bottom, height, crop[0], layer.stride[0], 0.09)
    for axis, fold, near, far, size, pixels, stride, room in (along, across):
        first, *between, last = edges(fold, near, far, size, pixels, stride)
        kept = [one for one in between if room * fold.length <= min(one[0], fold.length - one[0])]
        ticks = [first, *kept, last]
        axis.set_ticks([place for place, _ in ticks], [f"{px:.0f}" for _, px in ticks])
        axis.set_ticks(fold.torn(), minor=True)
        axis.set_tick_params(which="minor", direction="inout", length=6)


def end_ticks(axis: Axis, pixels: int, *, both: bool = True) -> None:
    """On a small map the crop's ends alone, or its far end."""
    low, high = sorted(axis.get_view_interval())
    folded_axis = bool(axis.get_minorticklocs().size)
    ends = [(low, "0"), (high, str(pixels))] if folded_axis else [(0.0, "0"), (float(pixels), str(pixels))]
    axis.set_ticks([at for at, _ in ends[not both :]], [text for _, text in ends[not both :]])
    axis.set_ticks([], minor=True)
    axis.set_tick_params(labelsize=7, length=3, labelbottom=True, labelleft=True)


def _ticks(axes: Axes) -> None:
    """Few ticks; along a side much shorter than the other, where they would touch, the first and the last pixel alone."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    ends = [sorted(limits) for limits in (axes.get_xlim(), axes.get_ylim())]
    longest = max(high - low for low, high in ends)
    for axis, (low, high) in zip((axes.xaxis, axes.yaxis), ends, strict=True):
        short = high - low < 0.4 * longest
        axis.set_major_locator(FixedLocator([max(low, 0.0), high]) if short else MaxNLocator(5, integer=True))
        axis.set_major_formatter("{x:.0f}")


def label_map(axes: Axes, colour_label: str | None = None) -> None:
    """A colour bar as high as the map or as a third of its width, and labels where the panel stands alone."""
    width, height = (abs(high - low) for low, high in (axes.get_xlim(), axes.get_ylim()))
    free = axes.get_aspect() == "auto"  # a raster
    thick = 0.05 * (height / width if height > 2.5 * width and not free else 1.0)
    high = 1.0 if free else max(1.0, width / height / 3)
    bar = axes.inset_axes((1.0 + 0.6 * thick, 0.0, thick, high))
    axes.figure.colorbar(axes.images[-1], cax=bar)
    bar.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
    for panel in (axes, bar):
        panel.tick_params(labelsize=8)
        panel.yaxis.get_offset_text().set_fontsize(8)
    if colour_label is not None:
        axes.set_xlabel("input column (px)")
        axes.set_ylabel("input row (px)")
        bar.set_ylabel(colour_label, fontsize=9)


def rim_line(layer: LayerMeasurement) -> str:
    """What the dashed line means, or why there is none."""
    if not any(layer.rim):
        return "no padding reaches this layer"
    if rim_box(layer) is None:
        return "padding reaches every cell"
    rows, columns = folds(layer)
    between = (
        "" if None in (rows.middle, columns.middle) else "; between the small ticks cells are folded into their mean"
    )
    return f"dashed: inner edge of the rim; inside it no padding reaches{between}"
