"""Maps of one and of three axes as maps of two, which is what pictures have.

A waveform's map is drawn as a raster, a row for each channel; of a volume's map middle slices are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from padprint.support.axes import cell_names, letters, pairs

if TYPE_CHECKING:
    from padprint.results.measurement import Emergence, LayerMeasurement


class View(NamedTuple):
    """A map of two axes that stands for a layer's.

    Attributes:
        layer: as a layer of two axes.
        crop: (rows, columns), input px; of a raster the rows are channels.
        title: which slice it is; "" of a map that has two axes itself, and of a raster.
    """

    layer: LayerMeasurement
    crop: tuple[int, int]
    title: str = ""


def labels(axes: int) -> tuple[str, str]:
    """What stands beside and below a picture of a map of so many axes."""
    return ("channel", "input (px)") if axes == 1 else ("input row (px)", "input column (px)")


def raster(layer: LayerMeasurement, crop: Sequence[int]) -> View:
    """A waveform's map, `(1, C, L)`: a row for each channel."""
    (stride,), (length,) = layer.stride, crop
    flat = replace(
        layer,
        pattern=layer.pattern[None],
        noise=layer.noise[None],
        stride=(1.0, stride),
        offset=None if layer.offset is None else (0.0, *layer.offset),
        receptive_field=None if layer.receptive_field is None else (1, *layer.receptive_field),
        rim=(0, 0, *layer.rim),
        reach=(0, 0, *layer.reach),
        emergence=_emergence(layer, lambda x: x[:, None]),
    )
    return View(flat, (len(layer.pattern), length))


def strip(layer: LayerMeasurement, crop: Sequence[int]) -> View:
    """A waveform's map, `(C, 1, L)`: every channel as one row."""
    whole = raster(layer, crop)
    flat = replace(whole.layer, pattern=layer.pattern[:, None], noise=layer.noise[:, None])
    return View(flat, (1, whole.crop[1]))


def slices(layer: LayerMeasurement, crop: Sequence[int]) -> list[View]:
    """The three middle slices of a volume's map, each perpendicular to one axis."""
    found = []
    for axis, (letter, name) in enumerate(zip(letters(3), cell_names(3), strict=True)):
        middle = layer.pattern.shape[1 + axis] // 2
        kept = [other for other in range(3) if other != axis]

        def cut(x: Tensor, axis: int = axis, middle: int = middle) -> Tensor:
            return x.select(1 + axis, middle)

        sides = [pairs(values) for values in (layer.rim, layer.reach)]
        rim, reach = (tuple(n for other in kept for n in one[other]) for one in sides)
        flat = replace(
            layer,
            pattern=cut(layer.pattern),
            noise=cut(layer.noise),
            stride=tuple(layer.stride[other] for other in kept),
            offset=None if layer.offset is None else tuple(layer.offset[other] for other in kept),
            receptive_field=None
            if layer.receptive_field is None
            else tuple(layer.receptive_field[other] for other in kept),
            rim=rim,
            reach=reach,
            emergence=_emergence(layer, cut),
        )
        found.append(View(flat, (crop[kept[0]], crop[kept[1]]), f"middle {name} ({letter} = {middle})"))
    return found


def views(layer: LayerMeasurement, crop: Sequence[int]) -> list[View]:
    """All pictures of a layer's map: itself, its raster, or its three middle slices."""
    axes = len(crop)
    if axes == 2:
        return [View(layer, (crop[0], crop[1]))]
    return [raster(layer, crop)] if axes == 1 else slices(layer, crop)


def flattened(layer: LayerMeasurement, crop: Sequence[int]) -> View:
    """One picture of a layer's map: the first of `views`."""
    return views(layer, crop)[0]


def by_channel(layer: LayerMeasurement, crop: Sequence[int]) -> View:
    """One map of two axes for each channel: itself, one row, or the middle slice along the first axis."""
    return strip(layer, crop) if len(crop) == 1 else flattened(layer, crop)


def _emergence(layer: LayerMeasurement, change: Callable[[Tensor], Tensor]) -> Emergence:
    return replace(layer.emergence, features=change(layer.emergence.features))
