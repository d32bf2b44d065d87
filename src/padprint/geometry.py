"""Geometry of a network's maps, found by running it: stride, offset, receptive field, rim, reach.

Two witnesses are heard. The first runs the network on a long strip of input. Where an operator pads along the strip, the
cells it supplies are NaN; what is NaN in a layer's map is its rim, without receptive-field formulas. That is exact where every
operator on the way is read: padding made by look-ups, slices or spectra supplies no NaN, and where numbers lose NaN it is
carried on beside them (`padprint.taint`). Across the strip every window is collapsed to its middle tap, so that the strip can
be one cell wide at every layer; a network that does not run that way is run on a strip as wide as the crop instead. Two strips,
one for each image axis. The second witness (`padprint.witness`) changes what lies outside a crop and sees which cells move. The
wider rim counts, and `LayerGeometry` says whose it is.

The strips are congruent to the crop modulo the total stride, because the far side's rim depends on the input's size:
two 3x3 convolutions of stride 2 touch one cell on the left and none on the right at 64 px, one and one at 65 px.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, inf, lcm
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from padprint.axis import Axis, AxisLayer
from padprint.errors import LayerError, ModelError
from padprint.layers import Tap, as_measured, check_runnable, discover, run_to, select, unwrapped
from padprint.models import as_model
from padprint.progress import phase
from padprint.receptive import AxisFields, Field, Misalignment, cells_seeing, field_of
from padprint.strip import cpu_copy
from padprint.untouched import inputs_made, state_kept
from padprint.weights import first_line
from padprint.wholemap.local import followed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Sides = tuple[int, int, int, int]
"""(top, bottom, left, right)."""


@dataclass(frozen=True)
class LayerGeometry:
    """Where a layer's cells lie on the input, and which of them padding can reach.

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
    reason: str | None
    channels: int | None = None
    size: tuple[int, int] | None = None
    stride: tuple[float, float] | None = None
    offset: tuple[float, float] | None = None
    receptive_field: tuple[int, int] | None = None
    rim: Sides | None = None
    reach: Sides | None = None
    margin: Sides | None = None
    witness: str | None = None
    exact: bool | None = None
    sees_all_through: tuple[str, ...] = ()
    axes: tuple[AxisFields, ...] = field(default=(), repr=False, compare=False)

    @property
    def middle(self) -> tuple[int, int]:
        """(row, column) of the cell in the middle of the map; the later one where there are two.

        Raises:
            LayerError: the layer has no map.
        """
        self._fields()
        rows, columns = self.size or (0, 0)
        return rows // 2, columns // 2

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
        """The rows and the columns of the layer's map that can see any of a box of input pixels.

        The cells are those in one of the rows and in one of the columns. None is left out; where a network looks along rows
        and along columns in different branches, some of them see no pixel of the box.

        Args:
            box: a pixel (row, column); or for rows, then columns, the first pixel and the one behind the last, as in
                `Field.box`. Pixels below 0 lie before the input.

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
    dims: tuple[int, int]
    stride: tuple[Fraction, Fraction]
    size: tuple[int, int]
    channels: int

    def as_map(self, tensor: Tensor) -> Tensor:
        """The layer's output as `(B, C, h, w)`, whatever its layout: a view; whole numbers and truth values as numbers."""
        y, x = self.dims
        if not tensor.is_floating_point():
            tensor = tensor.to(torch.get_default_dtype())
        moved = tensor.movedim((y, x), (-2, -1))
        return moved if moved.dim() == 4 else moved.unsqueeze(1)


@dataclass(frozen=True)
class Geometry(Mapping[str, LayerGeometry]):
    """Geometry of every layer asked for, by name, in order of execution.

    Attributes:
        layers: the layers, those that cannot be measured included.
        crop: (height, width) in input pixels.
        period: (y, x): the total stride in input pixels; shifting the input by it shifts every map by whole cells.
        maps: for the layers that can be measured, how to read them.
        misaligned: calls before the last layer that join maps whose cells look at different places, in order of execution.
            Behind them one cell mixes what lies some pixels apart. Only joins of maps whose receptive fields were found are told.
    """

    layers: dict[str, LayerGeometry]
    crop: tuple[int, int]
    period: tuple[int, int]
    maps: dict[str, MapSpec]
    misaligned: tuple[Misalignment, ...] = ()

    def __getitem__(self, name: str) -> LayerGeometry:
        if name not in self.layers:
            raise KeyError(
                f"no layer {name!r} was traced, only {', '.join(self.layers)}; ask for it with layers=[{name!r}]"
            )
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def without(self, reasons: Mapping[str, str]) -> Geometry:
        """The same, with some layers refused."""
        layers = {name: LayerGeometry(name, reasons[name]) if name in reasons else one for name, one in self.items()}
        maps = {name: one for name, one in self.maps.items() if name not in reasons}
        return replace(self, layers=layers, maps=maps)

    @property
    def margin(self) -> Sides:
        """The largest margin any measurable layer needs, per side, in input pixels."""
        margins = [g.margin for g in self.layers.values() if g.margin is not None]
        top, bottom, left, right = (max(side) for side in zip(*margins, strict=True)) if margins else (0,) * 4
        return top, bottom, left, right

    @property
    def unmeasured(self) -> dict[str, str]:
        """Layers that cannot be measured, with the reason."""
        return {name: g.reason for name, g in self.layers.items() if g.reason is not None}

    def smallest_image(self, margin: int | None = None) -> tuple[int, int]:
        """(height, width) of the smallest image that the measurable layers can be measured on, px.

        Args:
            margin: pixels of scene around a crop, as in `padprint.measure`; None: as many as the layers need.
        """
        (top, bottom, left, right), _ = surroundings([self], margin)
        return self.crop[0] + top + bottom, self.crop[1] + left + right

    def approximate(self, margin: int) -> bool:
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
        from padprint import _geometry_text  # which knows results

        return _geometry_text.document(self)

    def to_frame(self) -> pd.DataFrame:
        """One row per layer: layer, channels, height, width, stride, offset and receptive_field (each _y, _x; px), rim (cells),
        reach and margin (px; each _top, _bottom, _left, _right), witness, exact, sees_all_through, reason; empty where a layer has no
        geometry.
        """  # noqa: D205
        from padprint import _geometry_text

        return _geometry_text.table(self)


def surroundings(found: Sequence[Geometry], margin: int | None = None) -> tuple[Sides, tuple[int, int]]:
    """Scene around the crops that several networks are measured on, px, and the stride (y, x) of the grid that the crops lie on.

    Args:
        found: the networks' geometries.
        margin: pixels asked for on each side; None: as many as the layers of all need.
    """
    py, px = (lcm(*(one.period[axis] for one in found)) for axis in (0, 1))
    wanted = (
        [max(side) for side in zip(*(one.margin for one in found), strict=True)] if margin is None else [margin] * 4
    )
    top, bottom, left, right = (ceil(m / p) * p for m, p in zip(wanted, (py, py, px, px), strict=True))
    return (top, bottom, left, right), (py, px)


@phase("tracing")
def trace(
    model: nn.Module | str,
    layers: str | Sequence[str] = "auto",
    crop: int | tuple[int, int] = 224,
    *,
    channels: int = 3,
    inputs: Callable[[Tensor], Any] | None = None,
) -> Geometry:
    """Find the geometry of a model's layers. The model is left as found.

    Args:
        model: any network that takes one `(B, channels, H, W)` tensor, or its name, see `padprint.load_model`.
        layers: dotted module names or globs; ``"auto"``: in order of execution, the last module output of each
            stride, modules that only pad, crop or reshape left out.
        crop: input size in pixels, one number or (height, width). Rims are reported at this size.
        channels: of the input.
        inputs: for a model that takes more than a batch of images: makes its arguments of one, a tuple or a mapping by name.

    Returns:
        The geometry of each layer, or the reason why it has none: an output that is not a map, or an operator that sees the
        whole input in a way that is not followed. Of layers behind operators that are followed (normalisation over the map,
        gates, attention, pooling; `padprint.wholemap`) it is the geometry of what is local, their statistics held constant.

    Raises:
        ModelError: the model does not run on an input of the crop's size.
        LayerError: a layer that does not exist was asked for.

    Source: the rim by NaN padding is padprint's own; definitions of stride, offset and receptive field follow
    Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> import padprint
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        >>> layer = padprint.trace(net, crop=32)["2"]
        >>> layer.stride, layer.receptive_field
        ((2, 2), (7, 7))
        >>> layer.rim  # cells that padding touches: top, bottom, left, right
        (2, 1, 2, 1)
        >>> layer.field((0, 0)).box  # rows and columns of input that a cell sees
        ((-3, 4), (-3, 4))
    """
    model = unwrapped(as_model(model))
    asked = [layers] if isinstance(layers, str) else list(layers)
    choose = None if layers == "auto" else lambda taps: select(taps, asked)
    with inputs_made(model, inputs):
        return trace_taps(model, choose, crop_size(crop), channels)


Choice = Callable[[list[Tap]], list[Tap]]
"""Picks some of all layers."""


def trace_taps(model: nn.Module, choose: Choice | None, size: tuple[int, int], channels: int) -> Geometry:
    """Like `trace`, of a module as it is, and of the layers that `choose` picks of all; None: those of ``"auto"``."""
    check_runnable(model)
    with as_measured(model):
        found, alone = _traced(model, choose, size, channels)
        names = [name for name in found.unmeasured if name not in alone]
        return followed(model, found, names, channels, lambda *given: _traced(*given)[0])


def _traced(
    model: nn.Module, choose: Choice | None, size: tuple[int, int], channels: int
) -> tuple[Geometry, dict[str, str]]:
    """The geometry of a network as it is, where layers that see the whole input have none; and those not by image, with reasons."""
    with ExitStack() as stack:
        taps = discover(model, example_for(model, channels, size))
        wanted = [tap for tap in taps if len(tap.shape) == 4] if choose is None else choose(taps)
        if not wanted:
            raise ModelError("no module of the model returns a (batch, channels, height, width) map")
        copied, dtype, alone = _faithful_copy(model, _not_needed(model, taps, wanted), wanted, channels, size)
        stack.enter_context(state_kept(copied))
        vertical, horizontal = (Axis(copied, wanted, size, channels, axis, dtype) for axis in (0, 1))
        if choose is None:
            wanted = _last_at_each_stride(wanted, vertical, horizontal)
        maps = [tap for tap in wanted if tap.name not in alone and _not_a_map(tap, vertical, horizontal) is None]
        vertical.trace(maps, horizontal)
        horizontal.trace([tap for tap in maps if vertical.layers[tap.leaf].reason is None], vertical)
    found = _joined(wanted, vertical, horizontal, size)
    alone = {name: reason for name, reason in alone.items() if name in found}
    return found.without(alone), alone


def example_for(model: nn.Module, channels: int, size: tuple[int, int]) -> Tensor:
    """A harmless input `(1, channels, *size)`: not constant, so that no normalisation divides by zero."""
    blank = blank_for(model, channels, size)
    return blank + torch.linspace(-1, 1, size[1], dtype=blank.dtype, device=blank.device)


def blank_for(model: nn.Module, channels: int, size: tuple[int, int]) -> Tensor:
    """Zeros `(1, channels, *size)` in a model's precision, on its device."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    return torch.zeros(1, channels, *size) if parameter is None else parameter.new_zeros(1, channels, *size)


def _faithful_copy(
    model: nn.Module, unused: set[str], taps: Sequence[Tap], channels: int, size: tuple[int, int]
) -> tuple[nn.Module, torch.dtype, dict[str, str]]:
    """A copy on the CPU that computes what the model does; its precision, double where the network runs in it; and layers
    that do not hold one map of each image of a batch, with the reason.

    All is tried on small inputs first, where the network is as it is on large ones. What is odd there is looked at on inputs
    of the crop's size.

    Raises:
        ModelError: it computes something else, or does not run.
    """  # noqa: D205
    height, width = (n if n <= 2 * _SMALL else _SMALL + n % _SMALL for n in size)
    small = height, width
    if small != size:
        try:
            pair = _pair(model, channels, small)
            odd, alone = _not_by_image(model, taps, pair)
            made = cpu_copy(model, unused)
            if not odd and alone is not None:
                found = _value(made, pair[1:].to("cpu", torch.float64), taps[-1])
                if _apart(alone, found) <= _COPY:
                    return made, torch.float64, {}
        except Exception:  # noqa: BLE001, S110  # of that size, or in double precision; the crop's size tells
            pass
    pair = _pair(model, channels, size)
    odd, original = _not_by_image(model, taps, pair)
    x = pair[1:]
    original = _value(model, x, taps[-1]) if original is None else original
    error: Exception | None = None
    for double in (True, False):
        made, dtype = cpu_copy(model, unused, double=double), torch.float64 if double else x.dtype
        try:
            found = _value(made, x.to("cpu", dtype), taps[-1])
        except Exception as failed:  # noqa: BLE001  # a network may raise anything in a precision it was not made for
            error = failed
            continue
        apart = _apart(original, found)
        if apart > _COPY and _apart(original, _value(model, x, taps[-1])) < apart / 10:  # else it is random itself
            raise ModelError(
                f"a deep copy of the model computes something else at {taps[-1].name}, so that nothing found on the copy would "
                "hold: mend its __deepcopy__, or pass the network inside it (a graph module's original, a wrapper's module)"
            )
        return made, dtype, odd
    raise ModelError(f"a copy of the model on the CPU does not run: {first_line(error) if error else ''}")


def _pair(model: nn.Module, channels: int, size: tuple[int, int]) -> Tensor:
    """Two images of noise: where numbers are equal, as in a ramp, which of them is the largest is up to rounding."""
    like = blank_for(model, channels, size)
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1)).to(like.device, like.dtype)


def _not_by_image(model: nn.Module, taps: Sequence[Tap], pair: Tensor) -> tuple[dict[str, str], Tensor | None]:
    """Layers that do not hold one map of each image of a batch, and of it alone; the last tap of the second image alone.

    None for that where no batch of two can be run.
    """
    shapes: list[dict[str, tuple[int, ...]]] = []

    def run(x: Tensor) -> Tensor:
        shapes.append({})
        kept: list[Tensor] = []

        def keep(tap: Tap, tensor: Tensor) -> None:
            shapes[-1][tap.name] = tuple(tensor.shape)
            if tap is taps[-1]:
                kept.append(_real(tensor.clone()))

        run_to(model, x, taps, keep)
        return kept[0]

    try:
        both, alone = run(pair), run(pair[1:])
    except Exception:  # noqa: BLE001  # made for a batch of one
        return {}, None
    if both.shape[:1] == (2,) and alone.shape == both[1:].shape:
        apart = _apart(both[1:], alone)
        if apart > _BATCH and _apart(_value(model, pair[1:], taps[-1]), alone) < apart / 10:
            said = "batch: its features depend on the other images of the batch (statistics over it), or on how many there are"
            return {tap.name: said for tap in taps}, alone
    reason = (
        "it does not hold one map for each image of a batch: the network takes batches apart, or returns a list of maps"
    )
    two, one = shapes
    return {
        name: reason
        for name, shape in one.items()
        if (two[name] == shape if shape[:1] != (1,) else two[name] != (2, *shape[1:]))
    }, alone


def _value(model: nn.Module, x: Tensor, tap: Tap) -> Tensor:
    found: list[Tensor] = []
    run_to(model, x, [tap], lambda _, tensor: found.append(tensor.clone()))
    return _real(found[0])


def _real(x: Tensor) -> Tensor:
    return x.abs() if x.is_complex() else x


_SMALL = 64  # px, and up to twice that, of an input that is large enough to tell copies apart

_BATCH = 1e-3
"""Relative rms difference between an image alone and in a batch that rounding may explain."""

_COPY = 0.05
"""Relative rms difference between a model and its copy that precision may explain, where features are quantised."""


def _apart(one: Tensor, other: Tensor) -> float:
    """Relative rms difference of two maps, where both are finite; infinite for maps of different sizes."""
    if one.shape != other.shape:
        return inf
    one, other = one.double().cpu(), other.double().cpu()
    known = one.isfinite() & other.isfinite()
    change, size = float((one - other)[known].norm()), float(one[known].norm())
    return change / size if size > 0 else change


def crop_size(crop: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) from one number or two.

    Raises:
        ModelError: not one or two positive whole numbers.
    """
    pair: tuple[Any, ...] = tuple(crop) if isinstance(crop, Sequence) else (crop, crop)
    if len(pair) != 2 or not all(type(n) is int and n > 0 for n in pair):
        raise ModelError(f"crop must be a positive number of pixels or (height, width), but got {crop!r}")
    return pair[0], pair[1]


def _joined(taps: Sequence[Tap], vertical: Axis, horizontal: Axis, crop: tuple[int, int]) -> Geometry:
    found: dict[str, LayerGeometry] = {}
    maps: dict[str, MapSpec] = {}
    period = (vertical.period, horizontal.period)
    for tap in taps:
        y, x = vertical.layers[tap.leaf], horizontal.layers[tap.leaf]
        reason = y.reason or x.reason or _not_a_map(tap, vertical, horizontal)
        if reason is not None or y.dim is None or x.dim is None:
            reason = (
                reason
                or "the output's size does not change with the input's: it is resized inside, or pooled to one size"
            )
            found[tap.name] = LayerGeometry(tap.name, reason)
            continue
        size = (y.size, x.size)
        rest = [n for d, n in enumerate(tap.shape) if d not in (0, y.dim, x.dim)]
        channels = rest[0] if rest else 1
        strides = (y.stride, x.stride)
        rims = (*y.rim, *x.rim)
        found[tap.name] = LayerGeometry(
            tap.name,
            None,
            channels=channels,
            size=size,
            stride=(_number(y.stride), _number(x.stride)),
            offset=(y.offset, x.offset) if y.fields and x.fields else None,
            receptive_field=(y.field_size, x.field_size) if y.fields and x.fields else None,
            rim=tuple(min(r, n) for r, n in zip(rims, (size[0],) * 2 + (size[1],) * 2, strict=True)),  # type: ignore[arg-type]
            reach=(*y.reach(crop[0]), *x.reach(crop[1])),
            margin=tuple(  # type: ignore[arg-type]
                ceil(r * s / p) * p for r, s, p in zip(rims, _each_side(strides), _each_side(period), strict=True)
            ),
            witness=_witness(y, x),
            exact=y.exact and x.exact,
            axes=_axes((y, x), crop),
        )
        maps[tap.name] = MapSpec(tap, (y.dim, x.dim), strides, size, channels)
    return Geometry(found, crop, period, maps, _misaligned((vertical, horizontal)))


def _misaligned(along: Sequence[Axis]) -> tuple[Misalignment, ...]:
    calls = dict.fromkeys(call for axis in along for call in axis.joins)
    found = (
        Misalignment(call.module, call.operator, tuple(tuple(map(float, axis.joins.get(call, ()))) for axis in along))
        for call in calls
    )
    return tuple(one for one in found if any(one.pixels))


def _axes(along: Sequence[AxisLayer], crop: Sequence[int]) -> tuple[AxisFields, ...]:
    if not all(one.fields for one in along):
        return ()
    return tuple(AxisFields(one.fields, one.period, one.size, n) for one, n in zip(along, crop, strict=True))


def _witness(y: AxisLayer, x: AxisLayer) -> str:
    if y.wider or x.wider:
        return "change"
    return "both" if y.seen == y.rim and x.seen == x.rim else "structure"


def _not_a_map(tap: Tap, vertical: Axis, horizontal: Axis) -> str | None:
    shape = "x".join(str(n) for n in tap.shape)
    y, x = vertical.layers[tap.leaf], horizontal.layers[tap.leaf]
    if y.reason or x.reason:
        return y.reason or x.reason
    reason = None
    if y.dim is None or x.dim is None:
        reason = "does not grow with the input, so it is not a map"
    elif y.dim == x.dim:
        reason = "holds rows and columns in one dimension (tokens), so it is not a map"
    elif tap.dtype.is_complex:
        reason = "holds complex numbers; name a layer behind which they are real"
    elif 0 in (y.dim, x.dim) or len(tap.shape) > 4:
        reason = "is not a (batch, channels, height, width) map"
    elif (y.size, x.size) != (tap.shape[y.dim], tap.shape[x.dim]):
        reason = f"has another size on a strip ({y.size}x{x.size}), so it cannot be traced there"
    return reason and f"its output ({shape}) {reason}"


def _not_needed(model: nn.Module, taps: Sequence[Tap], wanted: Sequence[Tap]) -> set[str]:
    """Modules without children that run once, after the last wanted layer: classifiers, whose weights are many."""
    done = {tap.leaf.module for tap in taps[: taps.index(wanted[-1]) + 1]}
    modules = dict(model.named_modules())
    return {
        name
        for tap in taps
        if (name := tap.leaf.module) not in done and tap.calls == 1 and not any(modules[name].children())
    }


def _last_at_each_stride(taps: Sequence[Tap], vertical: Axis, horizontal: Axis) -> list[Tap]:
    """In order of execution, the last tap of each (y, x) stride.

    Where that lies inside a block that goes on to another stride, the last output before the block stands for the stride, if it is
    no further inside the network: the end of a stage, not the first convolution of the next.

    Left out are tensors whose size is fixed (pooled vectors), and modules that compute nothing: those that pad, crop or
    reshape. Where all of a model's outputs are of fixed size they are kept, so that the reason is told.
    """
    last: dict[tuple[Any, Any], Tap] = {}
    flat: dict[tuple[Any, Any], Tap] = {}
    strides: dict[int, tuple[Any, Any]] = {}
    for tap in taps:
        y, x = vertical.layers[tap.leaf], horizontal.layers[tap.leaf]
        known = y.dim is not None and x.dim is not None
        if y.flat and x.flat:
            flat[tap.shape[-2], tap.shape[-1]] = tap
            continue
        if tap.leaf.module and _computes_nothing(tap, vertical):
            continue
        key = (y.stride, x.stride) if known else (tap.shape[-2], tap.shape[-1])
        last[key] = tap
        if known:
            strides[id(tap)] = key
    ends = {id(_end_of_stage(tap, [one for one in taps if id(one) in strides], strides)) for tap in last.values()}
    return [tap for tap in taps if id(tap) in ends] or list(flat.values())


def _end_of_stage(last: Tap, taps: Sequence[Tap], strides: Mapping[int, tuple[Any, Any]]) -> Tap:
    """The last tap of a stride; or, where that lies in a block that goes on to larger strides, the last before the block.

    Args:
        last: of its stride.
        taps: all of known stride.
        strides: of these, by `id`.
    """
    own, name = strides.get(id(last)), last.leaf.module
    for depth in range(name.count("."), 0, -1):
        block = ".".join(name.split(".")[:depth])
        inside = [tap for tap in taps if f"{tap.leaf.module}.".startswith(f"{block}.")]
        if all(strides[id(tap)] == own for tap in inside):
            continue
        begins = bool(inside) and strides[id(inside[0])] == own
        if (
            own is None
            or not begins
            or any(n < m for tap in inside for n, m in zip(strides[id(tap)], own, strict=True))
        ):
            return last
        before = [
            tap
            for tap in taps
            if strides[id(tap)] == own and tap not in inside and tap.leaf.module.count(".") <= block.count(".")
        ]
        return before[-1] if before else last
    return last


_MOVES = {
    *(
        "pad",
        "constant_pad_nd",
        "_pad_circular",
        "reflection_pad2d",
        "replication_pad2d",
        "__getitem__",
        "narrow",
        "slice",
    ),
    *("view", "reshape", "permute", "transpose", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "clone"),
    *(
        "movedim",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "roll",
        "chunk",
        "split",
        "dropout",
        "identity",
    ),
    *(
        "__get__",
        "size",
        "dim",
        "to",
        "float",
        "type",
        "detach",
        "t",
        "T",
        "mT",
        "dropout2d",
        "stack",
        "unbind",
    ),
}
"""Operators that move cells and compute nothing; ``__get__`` is an attribute such as ``shape``."""


def _computes_nothing(tap: Tap, axis: Axis) -> bool:
    return axis.operators_in(tap.leaf.module) <= _MOVES


def _number(value: Fraction) -> float:
    return int(value) if value.denominator == 1 else float(value)


def _each_side(pair: tuple[Fraction, Fraction] | tuple[int, int]) -> tuple[Fraction | int, ...]:
    return (pair[0], pair[0], pair[1], pair[1])
