"""Maps as inline SVG: a picture of one pixel a step in the page's colours, and the values behind it for its script."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from padprint.plot.fold import Fold, axis_fold, drawn, edges, folded, folds, span_pixels
from padprint.plot.maps import map_box, maps_of
from padprint.plot.views import View, by_channel, flattened
from padprint.support.wording import number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from padprint.results.measurement import LayerMeasurement

MOST = 48
"""Steps of a map along an axis, about; of larger maps each is a block of cells."""


@dataclass(frozen=True)
class Map:
    """What the template draws, and what the script tells.

    Attributes:
        title, alt, caption: texts.
        width, height: steps.
        more, less: masks as PNG in data URIs: how much of the colour for more, and for less, there is in each place.
        top, bottom, left, right: (place in steps, text) of the ticks along rows and columns.
        inner: x, y, width and height of what no padding touches, steps; None where there is no such part.
        torn: places of the folded bands' ends: those across columns, and those across rows.
        data: values, and the cells and input px of each step; None where the script tells nothing of it.
        scale: what the ends of the colours stand for.
    """

    title: str
    alt: str
    caption: str
    width: int
    height: int
    more: str
    less: str | None
    columns: list[tuple[float, str]]
    rows: list[tuple[float, str]]
    inner: tuple[float, float, float, float] | None
    torn: tuple[list[float], list[float]]
    data: dict[str, Any] | None
    scale: tuple[str, str]


def layer_map(
    layer: LayerMeasurement,
    crop: Sequence[int],
    *,
    title: str,
    caption: str = "",
    limit: float,
    signed: bool = False,
    view: View | None = None,
) -> Map:
    """One map of a layer's pattern over channels: its root mean square, or its mean.

    Args:
        layer: the layer.
        crop: (rows, columns) input px.
        title: of the map.
        caption: below it.
        limit: value of the fullest colour, feature units.
        signed: whether to draw the mean.
        view: which picture of a layer that has not two axes; None: the first of `padprint.plot.views`.
    """
    axes = len(crop)
    layer, crop, what = flattened(layer, crop) if view is None else view
    rows, columns = folds(layer, MOST)
    values = folded(maps_of(layer)[0 if signed else 1], rows, columns, square=not signed)
    shown = np.nan_to_num(drawn(values, rows, columns) / limit, nan=0.0, posinf=1.0, neginf=-1.0)
    height, width = layer.pattern.shape[1:]
    top, bottom, left, right = layer.rim
    ticks_x = edges(columns, left, right, width, crop[1], layer.stride[1])
    ticks_y = edges(rows, top, bottom, height, crop[0], layer.stride[0])
    x0, _, y0, _ = map_box(layer)
    kind = "mean" if signed else "root mean square"
    over = "each channel" if axes == 1 else "the pattern over channels"
    title = f"{title}, {what}" if what else f"{title}; channels down, time across" if axes == 1 else title
    return Map(
        title=title,
        alt=f"{title}: {kind} of {over}, {height} x {width} cells.",
        caption=caption,
        width=columns.length,
        height=rows.length,
        more=_mask(shown),
        less=_mask(-shown) if signed else None,
        columns=[(place, f"{px:.0f}") for place, px in ticks_x],
        rows=[(place, f"{px:.0f}") for place, px in ticks_y],
        inner=_inner(layer, rows, columns),
        torn=(columns.torn(), rows.torn()),
        data={
            "values": [[_rounded(value) for value in row] for row in values.tolist()],
            "rows": _steps(rows, y0, layer.stride[0]),
            "columns": _steps(columns, x0, layer.stride[1]),
        },
        scale=(
            f"-{number(limit)}" if signed else "0",
            f"{number(limit)}{'+' * bool(np.abs(shown).max(initial=0) > 1.001)}",
        ),
    )


def emergence_maps(layer: LayerMeasurement, crop: Sequence[int]) -> list[Map]:
    """Features averaged over channels and over ever more crops, from the least to the most that they are over all crops."""
    layer, crop, _ = by_channel(layer, crop)
    features = layer.emergence.features.numpy()
    last = features[-1][np.isfinite(features[-1])]
    if not len(last):
        return []
    low, high = float(last.min()), float(last.max())
    height, width = features.shape[1:]
    rows, columns = axis_fold(height, 0, MOST), axis_fold(width, 0, MOST)
    found = []
    for count, values in zip(layer.emergence.counts, features, strict=True):
        shown = np.nan_to_num((folded(values, rows, columns, square=False) - low) / (high - low or 1.0))
        title = f"{count} crop{'s' * (count != 1)}"
        found.append(
            Map(
                title=title,
                alt=f"Features averaged over channels and over {title}.",
                caption="",
                width=columns.length,
                height=rows.length,
                more=_mask(shown),
                less=None,
                columns=[(0.0, "0"), (float(columns.length), str(crop[1]))],
                rows=[(0.0, "0"), (float(rows.length), str(crop[0]))],
                inner=None,
                torn=([], []),
                data=None,
                scale=(number(low), number(high)),
            )
        )
    return found


def _mask(shown: NDArray[np.float64]) -> str:
    """White of the opacity that each value from 0 to 1 asks for."""
    from PIL import Image

    opacity = (shown.clip(0, 1) ** 0.75 * 255).round().astype(np.uint8)  # weak parts stay visible
    content = io.BytesIO()
    Image.fromarray(opacity).save(content, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _inner(layer: LayerMeasurement, rows: Fold, columns: Fold) -> tuple[float, float, float, float] | None:
    height, width = layer.pattern.shape[1:]
    top, bottom, left, right = layer.rim
    if not any(layer.rim) or top + bottom >= height or left + right >= width:
        return None
    x0, x1 = columns.place(left), columns.place(width - right)
    y0, y1 = rows.place(top), rows.place(height - bottom)
    return x0, y0, x1 - x0, y1 - y0


def _steps(fold: Fold, start: float, stride: float) -> list[list[float]]:
    """Place, room, first and last cell, first and last px of each step."""
    found = []
    for i, span in enumerate(fold.spans):
        room = fold.room if i == fold.middle else 1
        found.append([fold.place(span[0]), room, span[0], span[1] - 1, *span_pixels(span, start, stride)])
    return found


def _rounded(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None
