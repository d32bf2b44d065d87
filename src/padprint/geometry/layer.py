"""What a trace finds: stride, rim, reach and receptive field of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, lcm
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from padprint.errors import LayerError, ModelError
from padprint.geometry.receptive import AxisFields, Field, Misalignment, cells_seeing, field_of
from padprint.network.layers import Tap
from padprint.support.axes import Sides, Size, each_side, plural, with_sides
from padprint.support.mapping import Over
from padprint.support.reasons import Reason

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Margin = int | Sequence[int] | None
"""Pixels of scene around a crop: one number, one for each axis, or None for as many as the layers need."""


@dataclass(frozen=True)
class LayerGeometry:
    """Where a layer's cells lie on the input, and which of them padding can reach.

    Sizes and the like hold one number for each axis of space, in the images' order; rim, reach and margin two, before and after:
    what is written here of (height, width) and (top, bottom, left, right) is (length,) and (start, end) of waveforms, (depth,
    height, width) and (front, back, top, bottom, left, right) of volumes.

    Attributes:
        name: the layer.
        reason: why the layer cannot be measured (the operator that makes it global, or that it is not a map), or None.
            Where it is set, the numbers are None.
        channels, size: C and (h, w) of the layer's map at the crop's size.
        stride: (sy, sx), input pixels from one cell to the next; 0.5 for a map of twice the input's size.
        offset: input coordinates (y, x) of the centre of the first cell's receptive field; pixel 0 has centre 0. Behind
            upsampling the cells' fields lie unevenly: the offset that fits them all on average.
        receptive_field: (rows, columns) of input pixels that can reach one cell; the largest of any cell's.
        rim: cells touched by padding at the crop's own size (top, bottom, left, right).
        reach: input pixels beyond the crop's edge that the layer would see in a larger scene, per side.
        margin: input pixels of scene needed around the crop so that no padding reaches the crop's window, per side,
            a multiple of the total stride.
        witness: which of the two witnesses the rim rests on: ``"both"`` where they agree, ``"structure"`` (NaN in the place of
            padding) or ``"change"`` (other content outside the crop), whichever is wider.
        exact: whether the rim is exact: the structural witness could read every operator, and the other one does not
            contradict it. Else it is what was seen to move, and may be too small for content that was not tried.
        sees_all_through: operators on the way that see the whole map, with their modules, in order of execution. The other
            numbers are then those of the network with its statistics over the map held constant.
        axes: the receptive fields along the map's axes; empty where they were not found.
    """

    name: str
    reason: Reason | None
    channels: int | None = None
    size: Size | None = None
    stride: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    receptive_field: Size | None = None
    rim: Sides | None = None
    reach: Sides | None = None
    margin: Sides | None = None
    witness: str | None = None
    exact: bool | None = None
    sees_all_through: tuple[str, ...] = ()
    axes: tuple[AxisFields, ...] = field(default=(), repr=False, compare=False)

    @property
    def middle(self) -> Size:
        """Place (row, column) of the cell in the middle of the map; the later one where there are two.

        Raises:
            LayerError: the layer has no map.
        """
        self._fields()
        return tuple(n // 2 for n in self.size or ())

    def field(self, cell: Sequence[int]) -> Field:
        """The box of input pixels that a cell can see, were there scene all around; what lies beyond the input is padding.

        Padding that copies (reflect, replicate, circular) shows a cell at the border pixels of the input that may lie
        outside its box.

        Args:
            cell: (row, column) of the layer's map, counted from 0, or from the end where below 0, as in Python.

        Raises:
            LayerError: the map has no such cell, or the fields are not known: the layer sees the whole input, say.
        """
        return field_of(self.name, cell, self._fields(), exact=bool(self.exact))

    def cells(self, box: Sequence[int | Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        """For each axis, which cells along it (the rows and the columns of the layer's map) can see any of a box of input pixels.

        The cells are those in one of the rows and in one of the columns. None is left out; where a network looks along rows
        and along columns in different branches, some of them see no pixel of the box.

        Args:
            box: a pixel (row, column); or for each axis the first pixel and the one behind the last, as in `Field.box`. Pixels
                below 0 lie before the input.

        Raises:
            LayerError: the box is none, or the fields are not known.
        """
        return cells_seeing(self.name, box, self._fields())

    def _fields(self) -> tuple[AxisFields, ...]:
        if self.sees_all_through:
            raise LayerError(
                f"{self.name} has no receptive fields: global: {self.sees_all_through[0]} sees the whole input"
            )
        if self.axes:
            return self.axes
        if self.reason is not None:
            raise LayerError(f"{self.name} has no receptive fields: {self.reason}")
        why = (
            "more cells move with what lies outside a crop than the operators that were read account for"
            if self.witness == "change"
            else "some cell sees no pixel at all, or the network does not run on narrow strips of input, so that finding them takes "
            "too many runs"
        )
        raise LayerError(f"the receptive fields of {self.name} are not known: {why}; name another layer")


@dataclass(frozen=True)
class MapSpec:
    """How the engine reads a layer's map: the tap, its map dimensions and exact strides."""

    tap: Tap
    dims: tuple[int, ...]
    stride: tuple[Fraction, ...]
    size: Size
    channels: int

    def as_map(self, tensor: Tensor) -> Tensor:
        """The layer's output as `(B, C, *size)`, whatever its layout: a view; whole numbers and truth values as numbers."""
        axes = len(self.dims)
        if not tensor.is_floating_point():
            tensor = tensor.to(torch.get_default_dtype())
        moved = tensor.movedim(self.dims, tuple(range(-axes, 0)))
        return moved if moved.dim() == axes + 2 else moved.unsqueeze(1)


@dataclass(frozen=True)
class Geometry(Over[str, LayerGeometry]):
    """Geometry of every layer asked for, by name, in order of execution.

    Attributes:
        layers: the layers, those that cannot be measured included.
        crop: (height, width) in input pixels.
        period: for each axis, the total stride in input pixels; shifting the input by it shifts every map by whole cells.
        maps: for the layers that can be measured, how to read them.
        misaligned: calls before the last layer that join maps whose cells look at different places, in order of execution.
            Behind them one cell mixes what lies some pixels apart. Only joins of maps whose receptive fields were found are told.
    """

    ENTRIES = "layers"

    layers: dict[str, LayerGeometry]
    crop: Size
    period: Size
    maps: dict[str, MapSpec]
    misaligned: tuple[Misalignment, ...] = ()

    def __getitem__(self, name: str) -> LayerGeometry:
        if name not in self.layers:
            raise KeyError(
                f"no layer {name!r} was traced, only {', '.join(self.layers)}; ask for it with layers=[{name!r}]"
            )
        return self.layers[name]

    def without(self, reasons: Mapping[str, Reason]) -> Geometry:
        """The same, with some layers refused."""
        layers = {
            name: LayerGeometry(name, reasons[name].of(name)) if name in reasons else one for name, one in self.items()
        }
        maps = {name: one for name, one in self.maps.items() if name not in reasons}
        return replace(self, layers=layers, maps=maps)

    @property
    def margin(self) -> Sides:
        """The largest margin any measurable layer needs, per side, in input pixels."""
        margins = [g.margin for g in self.layers.values() if g.margin is not None]
        return tuple(max(side) for side in zip(*margins, strict=True)) if margins else (0,) * (2 * len(self.crop))

    @property
    def unmeasured(self) -> dict[str, Reason]:
        """Layers that cannot be measured, with the reason."""
        return {name: g.reason for name, g in self.layers.items() if g.reason is not None}

    def smallest_image(self, margin: Margin = None) -> Size:
        """(height, width) of the smallest image that the measurable layers can be measured on, px.

        Args:
            margin: pixels of scene around a crop, as in `padprint.measure`; None: as many as the layers need.
        """
        return with_sides(self.crop, surroundings([self], margin)[0])

    def approximate(self, margin: Margin) -> bool:
        """Whether a margin, px, is less than some layer needs."""
        have, _ = surroundings([self], margin)
        return any(n < least for n, least in zip(have, self.margin, strict=True))

    def show(
        self,
        image: object = None,
        layers: Sequence[str] | None = None,
        cells: Sequence[Sequence[int]] | None = None,
    ) -> Figure:
        """Draw rim and receptive fields over an image, a panel for each layer; see `padprint.plot.fields`.

        Raises:
            LayerError: a layer has no geometry, or no such cell.
            ImagesError: the image is none, or not of the crop's size.
            MissingPackageError: matplotlib is missing.
        """
        from padprint.plot import fields

        return fields(self, image, layers, cells)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        from padprint.geometry import text  # which knows results

        return text.document(self)

    def to_frame(self) -> pd.DataFrame:
        """One row per layer: layer, channels, height, width, stride, offset and receptive_field (each _y, _x; px), rim (cells),
        reach and margin (px; each _top, _bottom, _left, _right), witness, exact, sees_all_through, reason; empty where a layer has no
        geometry.
        """  # noqa: D205
        from padprint.geometry import text

        return text.table(self)


def surroundings(found: Sequence[Geometry], margin: Margin = None) -> tuple[Sides, Size]:
    """Scene around the crops that several networks are measured on, px, and the stride of the grid that the crops lie on.

    Args:
        found: the networks' geometries.
        margin: pixels asked for on each side, one number or one for each axis; None: as many as the layers of all need.

    Raises:
        ModelError: as many numbers are given as there are no axes.
    """
    axes = len(found[0].crop)
    period = tuple(lcm(*(one.period[axis] for one in found)) for axis in range(axes))
    if margin is None:
        wanted: Sequence[int] = [max(side) for side in zip(*(one.margin for one in found), strict=True)]
    else:
        each = (margin,) * axes if isinstance(margin, int) else tuple(margin)
        if len(each) != axes:
            raise ModelError(f"margin must be one number, or one for each of {plural(axes)}, but got {margin!r}")
        wanted = each_side(each)
    return tuple(ceil(m / p) * p for m, p in zip(wanted, each_side(period), strict=True)), period
