"""Geometry of a network's maps, found by running it: stride, offset, receptive field, rim, reach.

Two witnesses are heard. The first runs the network on a long strip of input. Where an operator pads along the strip, the
cells it supplies are NaN; what is NaN in a layer's map is its rim, without receptive-field formulas. That is exact where every
operator on the way is read: padding made by look-ups, slices or spectra supplies no NaN, and where numbers lose NaN it is
carried on beside them (`padprint.geometry.taint`). Across the strip every window is collapsed to its middle tap, so that the strip can
be one cell wide at every layer; a network that does not run that way is run on a strip as wide as the crop instead. One strip for
each axis of space. The second witness (`padprint.geometry.witness`) changes what lies outside a crop and sees which cells move. The
wider rim counts, and `LayerGeometry` says whose it is.

The strips are congruent to the crop modulo the total stride, because the far side's rim depends on the input's size:
two 3x3 convolutions of stride 2 touch one cell on the left and none on the right at 64 px, one and one at 65 px.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from math import ceil
from typing import Any

from torch import Tensor, nn

from padprint.errors import ModelError, PaddingError
from padprint.geometry.axis import Axis
from padprint.geometry.axis_layer import AxisLayer
from padprint.geometry.faithful import faithful_copy, holding_nan
from padprint.geometry.layer import Geometry, LayerGeometry, MapSpec
from padprint.geometry.receptive import AxisFields, Misalignment
from padprint.geometry.stages import last_at_each_stride, not_needed
from padprint.network.calls import refuse_opaque
from padprint.network.example import crop_for, example_for
from padprint.network.layers import Tap, discover, refuse_lazy, select, unwrapped
from padprint.network.loading import as_model
from padprint.network.preserved import as_measured, inputs_made, state_kept
from padprint.support.axes import Size, each_side, map_form, times
from padprint.support.progress import phase
from padprint.support.reasons import Reason, nan_of_its_own, no_map
from padprint.wholemap.local import followed


@phase("tracing")
def trace(
    model: nn.Module | str,
    layers: str | Sequence[str] = "auto",
    crop: int | tuple[int, ...] = 224,
    *,
    channels: int = 3,
    inputs: Callable[[Tensor], Any] | None = None,
) -> Geometry:
    """Find the geometry of a model's layers. The model is left as found.

    Args:
        model: any network that takes one `(B, channels, *space)` tensor of one, two or three axes of space, or its name, see
            `padprint.load_model`.
        layers: dotted module names or globs; ``"auto"``: in order of execution, the last module output of each
            stride, modules that only pad, crop or reshape left out.
        crop: input size in pixels, one for each axis such as (height, width), or one number for as many axes as the network's
            first convolution runs over. Rims are reported at this size.
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
        return trace_taps(model, choose, crop_for(model, crop), channels)


Choice = Callable[[list[Tap]], list[Tap]]
"""Picks some of all layers."""


def trace_taps(model: nn.Module, choose: Choice | None, size: Size, channels: int) -> Geometry:
    """Like `trace`, of a module as it is, and of the layers that `choose` picks of all; None: those of ``"auto"``."""
    refuse_lazy(model)
    try:
        for name, module in model.named_modules():
            refuse_opaque(module, name)
    except PaddingError as error:
        raise ModelError(str(error)) from error
    with as_measured(model):
        found, alone = _traced(model, choose, size, channels)
        names = [name for name in found.unmeasured if name not in alone]
        found = followed(model, found, names, channels, lambda *given: _traced(*given)[0])
        lost = [name for name in found.unmeasured if name not in alone]
        spoilt = holding_nan(model, lost, channels, size) if lost else []
        return found.without({name: nan_of_its_own().of(name) for name in spoilt}) if spoilt else found


def _traced(model: nn.Module, choose: Choice | None, size: Size, channels: int) -> tuple[Geometry, dict[str, Reason]]:
    """The geometry of a network as it is, where layers that see the whole input have none; and those not by image, with reasons."""
    with ExitStack() as stack:
        taps = discover(model, example_for(model, channels, size))
        wanted = [tap for tap in taps if len(tap.shape) == len(size) + 2] if choose is None else choose(taps)
        if not wanted:
            raise ModelError(f"no module of the model returns a {map_form(len(size))} map")
        copied, dtype, alone = faithful_copy(model, not_needed(model, taps, wanted), wanted, channels, size)
        stack.enter_context(state_kept(copied))
        axes = [Axis(copied, wanted, size, channels, axis, dtype) for axis in range(len(size))]
        if choose is None:
            wanted = last_at_each_stride(wanted, axes)
        maps = [tap for tap in wanted if tap.name not in alone and _not_a_map(tap, axes) is None]
        for i, axis in enumerate(axes):
            axis.trace(maps, [*axes[:i], *axes[i + 1 :]])
            maps = [tap for tap in maps if axis.layers[tap.leaf].reason is None]
    found = _joined(wanted, axes, size)
    alone = {name: reason for name, reason in alone.items() if name in found}
    return found.without(alone), alone


def _joined(taps: Sequence[Tap], axes: Sequence[Axis], crop: Size) -> Geometry:
    """What is known along each axis, by layer."""
    found: dict[str, LayerGeometry] = {}
    maps: dict[str, MapSpec] = {}
    period = tuple(axis.period for axis in axes)
    for tap in taps:
        layers = [axis.layers[tap.leaf] for axis in axes]
        dims = tuple(layer.dim for layer in layers if layer.dim is not None)
        reason = next((layer.reason for layer in layers if layer.reason), None) or _not_a_map(tap, axes)
        if reason is not None or len(dims) < len(axes):
            fixed = no_map(
                "the output's size does not change with the input's: it is resized inside, or pooled to one size"
            )
            found[tap.name] = LayerGeometry(tap.name, (reason or fixed).of(tap.name))
            continue
        size, strides = tuple(layer.size for layer in layers), tuple(layer.stride for layer in layers)
        rest = [n for d, n in enumerate(tap.shape) if d not in (0, *dims)]
        channels = rest[0] if rest else 1
        rims = [cells for layer in layers for cells in layer.rim]
        known = all(layer.fields for layer in layers)
        found[tap.name] = LayerGeometry(
            tap.name,
            None,
            channels=channels,
            size=size,
            stride=tuple(map(_number, strides)),
            offset=tuple(layer.offset for layer in layers) if known else None,
            receptive_field=tuple(layer.field_size for layer in layers) if known else None,
            rim=tuple(map(min, rims, each_side(size))),
            reach=tuple(px for layer, n in zip(layers, crop, strict=True) for px in layer.reach(n)),
            margin=tuple(
                ceil(r * s / p) * p for r, s, p in zip(rims, each_side(strides), each_side(period), strict=True)
            ),
            witness=_witness(layers),
            exact=all(layer.exact for layer in layers),
            axes=_fields(layers, crop) if known else (),
        )
        maps[tap.name] = MapSpec(tap, dims, strides, size, channels)
    return Geometry(found, crop, period, maps, _misaligned(axes))


def _misaligned(along: Sequence[Axis]) -> tuple[Misalignment, ...]:
    calls = dict.fromkeys(call for axis in along for call in axis.joins)
    found = (
        Misalignment(call.module, call.operator, tuple(tuple(map(float, axis.joins.get(call, ()))) for axis in along))
        for call in calls
    )
    return tuple(one for one in found if any(one.pixels))


def _fields(along: Sequence[AxisLayer], crop: Size) -> tuple[AxisFields, ...]:
    return tuple(AxisFields(one.fields, one.period, one.size, n) for one, n in zip(along, crop, strict=True))


def _witness(along: Sequence[AxisLayer]) -> str:
    if any(one.wider for one in along):
        return "change"
    return "both" if all(one.seen == one.rim for one in along) else "structure"


def _not_a_map(tap: Tap, axes: Sequence[Axis]) -> Reason | None:
    """Why a layer has no map, as far as shapes tell; None where it has one."""
    layers = [axis.layers[tap.leaf] for axis in axes]
    known = next((layer.reason for layer in layers if layer.reason), None)
    if known is not None:
        return known
    dims, size = [layer.dim for layer in layers], tuple(layer.size for layer in layers)
    reason = None
    if None in dims:
        reason = "does not grow with the input, so it is not a map"
    elif len(set(dims)) < len(dims):
        both = "rows and columns" if len(axes) == 2 else "several axes"
        reason = f"holds {both} in one dimension (tokens), so it is not a map"
    elif tap.dtype.is_complex:
        reason = "holds complex numbers; name a layer behind which they are real"
    elif 0 in dims or len(tap.shape) > len(axes) + 2:
        reason = f"is not a {map_form(len(axes))} map"
    elif size != tuple(tap.shape[dim] for dim in dims if dim is not None):
        reason = f"has another size on a strip ({times(size)}), so it cannot be traced there"
    return None if reason is None else no_map(f"its output ({times(tap.shape)}) {reason}")


def _number(value: Fraction) -> float:
    return int(value) if value.denominator == 1 else float(value)
