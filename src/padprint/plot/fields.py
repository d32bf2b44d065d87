"""Geometry over an image: how far padding reaches into each layer, and what single cells see."""

# matplotlib is imported when a picture is drawn, so that tracing does not pay for it
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padprint.errors import ImagesError, LayerError
from padprint.plot._base import COLOURS, distinct, new_figure
from padprint.plot.fold import refuse_other_axes
from padprint.plot.maps import Box, placed, within
from padprint.support.wording import stride

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from padprint.geometry.layer import Geometry, LayerGeometry
    from padprint.geometry.receptive import Field

_PER_ROW = 4
_LEGEND = 2.4  # inches of one entry
_RIM = COLOURS[1]
_FIELDS = (COLOURS[3], COLOURS[2], COLOURS[6], COLOURS[7])
_STYLES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))


def fields(
    geometry: Geometry,
    image: object = None,
    layers: Sequence[str] | None = None,
    cells: Sequence[Sequence[int]] | None = None,
) -> Figure:
    """Draw rim and receptive fields over an image, a panel for each layer, in input pixels.

    Shaded: the cells that padding reaches, each as large as its stride and centred on what it sees; dashed: the inner edge of
    this rim. Boxes: what cells see, marked by a cross in their middle; outside the image's frame they see padding.

    Args:
        geometry: of `padprint.trace`.
        image: of the geometry's crop size: a Pillow image, an array (H, W), (H, W, 3) or (H, W, 4), a tensor (C, H, W), which is
            drawn from its least to its largest value, or a file; None: blank.
        layers: names of the layers to draw; None: all that have a geometry.
        cells: (row, column) of the cells whose fields are drawn, as in `LayerGeometry.field`; None: the first and the middle one.

    Returns:
        A figure, which ``savefig`` writes.

    Raises:
        LayerError: a layer that was named has no geometry, or no such cell; or no layer has a geometry.
        ImagesError: the image is none, or not of the crop's size.
        MissingPackageError: matplotlib is missing.
    """
    refuse_other_axes(geometry.crop)
    chosen = _chosen(geometry, layers)
    pixels = None if image is None else _pixels(image, geometry.crop)
    shown = [(one, _seen(one, cells)) for one in chosen]
    columns = min(len(shown), _PER_ROW)
    rows = -(-len(shown) // columns)
    width = max(3.1 * columns, 5.0)
    figure = new_figure(width, 3.2 * rows + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (layer, seen), title in zip(grid.flat, shown, distinct([one.name for one in chosen], 30), strict=False):
        _draw(axes, layer, seen, geometry.crop, pixels)
        axes.set_title(f"{title}\n{_words(layer)}", fontsize=9)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    figure.supylabel("input row (px)", fontsize=9)
    figure.supxlabel("input column (px)", fontsize=9)
    known: dict[str, Any] = {}
    for axes in grid.flat:
        known |= {text: handle for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if known:
        side_by_side = min(len(known), int(width / _LEGEND))
        figure.legend(known.values(), known.keys(), loc="outside upper center", ncols=side_by_side, fontsize=8)
    return figure


def _chosen(geometry: Geometry, names: Sequence[str] | None) -> list[LayerGeometry]:
    if names is None:
        found = [one for one in geometry.values() if one.reason is None]
        if not found:
            raise LayerError(f"no layer has a geometry to draw: {'; '.join(geometry.unmeasured.values())}")
        return found
    named = [names] if isinstance(names, str) else list(names)
    for name in named:
        if name not in geometry:
            raise LayerError(
                f"no layer {name!r} was traced, only {', '.join(geometry)}; trace it with layers=[{name!r}]"
            )
        if geometry[name].reason is not None:
            raise LayerError(f"{name} has no geometry to draw: {geometry[name].reason}")
    if not named:
        raise LayerError("layers=[] names no layer to draw; leave it away for all")
    return [geometry[name] for name in named]


def _seen(layer: LayerGeometry, cells: Sequence[Sequence[int]] | None) -> list[tuple[str, Field]]:
    """The fields to draw, each with its name in the legend."""
    if cells is not None:
        return [(f"seen by cell {i},{j}", layer.field((i, j))) for i, j in map(tuple, cells)]
    if not layer.axes or layer.sees_all_through:  # not known, or the whole input: the rim is drawn all the same
        return []
    return [("seen by the first cell", layer.field((0, 0))), ("seen by the middle cell", layer.field(layer.middle))]


def _words(layer: LayerGeometry) -> str:
    if layer.receptive_field is None or layer.stride is None:
        return "receptive field not known"
    return f"field {layer.receptive_field[0]} x {layer.receptive_field[1]} px, stride {stride(layer.stride)} px"


def _draw(
    axes: Axes,
    layer: LayerGeometry,
    seen: Sequence[tuple[str, Field]],
    crop: Sequence[int],
    pixels: NDArray[np.generic] | None,
) -> None:
    from matplotlib.patches import Rectangle

    height, width = crop
    axes.set_facecolor("#e6e6e6")
    if pixels is None:
        axes.add_patch(Rectangle((0, 0), width, height, facecolor="#ffffff", edgecolor="none", zorder=0))
    else:
        axes.imshow(pixels, extent=(0, width, height, 0), cmap="gray", interpolation="nearest", zorder=0)
    axes.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor="#888888", linewidth=1, zorder=1))
    boxes: list[Box] = [(0, width, 0, height)]
    if layer.size is not None and layer.stride is not None and layer.rim is not None and any(layer.rim):
        whole = placed(layer.size, layer.stride, layer.offset)
        boxes.append(whole)
        _shade(axes, whole, within(whole, layer.size, layer.stride, layer.rim))
    for number, (label, field) in enumerate(seen):
        (top, bottom), (left, right) = field.box
        boxes.append((left, right, top, bottom))
        colour, style = _FIELDS[number % len(_FIELDS)], _STYLES[number % len(_STYLES)]
        _outline(axes, boxes[-1], colour, style, label)
        y, x = field.centre
        axes.plot(x + 0.5, y + 0.5, "+", color="#ffffff", markersize=8, markeredgewidth=3, zorder=4)
        axes.plot(x + 0.5, y + 0.5, "+", color=colour, markersize=7, markeredgewidth=1.4, zorder=5)
    x0, x1, y0, y1 = (pick(ends) for pick, ends in zip((min, max, min, max), zip(*boxes, strict=True), strict=True))
    room = 0.03 * max(x1 - x0, y1 - y0)
    axes.set_xlim(x0 - room, x1 + room)
    axes.set_ylim(y1 + room, y0 - room)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=8)


def _shade(axes: Axes, whole: Box, inner: Box | None) -> None:
    """The rim: what lies in the map and not in its inside, and the inside's edge."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    rings = [_corners(whole)] if inner is None else [_corners(whole), _corners(inner)[::-1]]
    codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY] * len(rings)
    points = [point for ring in rings for point in (*ring, ring[0])]
    ring = PathPatch(
        Outline(points, codes), facecolor=_RIM, alpha=0.45, linewidth=0, zorder=2, label="rim: reached by padding"
    )
    axes.add_patch(ring)
    if inner is not None:
        _outline(axes, inner, _RIM, (0, (4, 3)), None)


def _outline(axes: Axes, box: Box, colour: str, style: Any, label: str | None) -> None:
    """A frame that is seen on dark and on light pixels."""
    from matplotlib.patches import Rectangle

    x0, x1, y0, y1 = box
    for edge, line, width, name in (("#ffffff", "solid", 3.0, None), (colour, style, 1.5, label)):
        frame = Rectangle(
            (x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=edge, linestyle=line, linewidth=width, zorder=3
        )
        if name is not None:
            frame.set_label(name)
        axes.add_patch(frame)


def _corners(box: Box) -> list[tuple[float, float]]:
    x0, x1, y0, y1 = box
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _pixels(image: object, crop: Sequence[int]) -> NDArray[np.generic]:
    """An image as matplotlib draws it: `(H, W)` or `(H, W, C)`.

    Raises:
        ImagesError: it is none, or of another size.
    """
    import numpy as np
    from PIL import Image
    from torch import Tensor

    if isinstance(image, str | Path):
        try:
            image = Image.open(image)
        except OSError as error:
            raise ImagesError(f"{image} cannot be opened as an image: {error}") from error
    if isinstance(image, Image.Image):
        image = image.convert("RGB")
    if isinstance(image, Tensor):
        found = image.detach().cpu().double()
        found = found[0] if found.dim() == 4 and len(found) == 1 else found
        if found.dim() == 3 and len(found) in (1, 3):
            low, high = found.aminmax()
            found = ((found - low) / (high - low).clamp_min(1e-30)).movedim(0, -1).squeeze(-1)
        found_array: NDArray[np.generic] = found.numpy()
    else:
        found_array = np.asarray(image)
    if found_array.dtype == object or not (
        found_array.ndim == 2 or (found_array.ndim == 3 and found_array.shape[2] in (3, 4))
    ):
        raise ImagesError(
            f"an image to draw on is a Pillow image, a file, an array (H, W), (H, W, 3) or (H, W, 4), or a tensor (C, H, W), "
            f"not {type(image).__name__} of shape {tuple(found_array.shape)}"
        )
    if found_array.shape[:2] != tuple(crop):
        have, want = (" x ".join(map(str, size)) for size in (found_array.shape[:2], crop))
        raise ImagesError(
            f"the image has {have} px and the geometry is that of {want} px: cut the image, or trace with crop={found_array.shape[:2]}"
        )
    return found_array
