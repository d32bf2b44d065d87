"""Geometry of a network's maps, found by running it: stride, offset, receptive field, rim, reach.

Two witnesses are heard. The first runs the network on a long strip of input. Where an operator pads along the strip, the
cells it supplies are NaN; what is NaN in a layer's map is its rim, without receptive-field formulas. That is exact where every
operator on the way is read: padding made by look-ups, slices or spectra supplies no NaN, and where numbers lose NaN it is
carried on beside them (`padprint.geometry.taint`). Across the strip every window is collapsed to its middle tap, so that the strip can
be one cell wide at every layer; a network that does not run that way is run on a strip as wide as the crop instead. Two strips,
one for each image axis. The second witness (`padprint.geometry.witness`) changes what lies outside a crop and sees which cells move. The
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
from padprint.geometry.axis import Axis, AxisLayer
from padprint.geometry.faithful import faithful_copy, holding_nan
from padprint.geometry.layer import Geometry, LayerGeometry, MapSpec
from padprint.geometry.receptive import AxisFields, Misalignment
from padprint.geometry.stages import last_at_each_stride, not_needed
from padprint.network.calls import refuse_opaque
from padprint.network.example import crop_size, example_for
from padprint.network.layers import Tap, check_runnable, discover, select, unwrapped
from padprint.network.loading import as_model
from padprint.network.preserved import as_measured, inputs_made, state_kept
from padprint.support.progress import phase
from padprint.support.reasons import Reason, nan_of_its_own, no_map
from padprint.wholemap.local import followed


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


def _traced(
    model: nn.Module, choose: Choice | None, size: tuple[int, int], channels: int
) -> tuple[Geometry, dict[str, Reason]]:
    """The geometry of a network as it is, where layers that see the whole input have none; and those not by image, with reasons."""
    with ExitStack() as stack:
        taps = discover(model, example_for(model, channels, size))
        wanted = [tap for tap in taps if len(tap.shape) == 4] if choose is None else choose(taps)
        if not wanted:
            raise ModelError("no module of the model returns a (batch, channels, height, width) map")
        copied, dtype, alone = faithful_copy(model, not_needed(model, taps, wanted), wanted, channels, size)
        stack.enter_context(state_kept(copied))
        vertical, horizontal = (Axis(copied, wanted, size, channels, axis, dtype) for axis in (0, 1))
        if choose is None:
            wanted = last_at_each_stride(wanted, vertical, horizontal)
        maps = [tap for tap in wanted if tap.name not in alone and _not_a_map(tap, vertical, horizontal) is None]
        vertical.trace(maps, horizontal)
        horizontal.trace([tap for tap in maps if vertical.layers[tap.leaf].reason is None], vertical)
    found = _joined(wanted, vertical, horizontal, size)
    alone = {name: reason for name, reason in alone.items() if name in found}
    return found.without(alone), alone


def _joined(taps: Sequence[Tap], vertical: Axis, horizontal: Axis, crop: tuple[int, int]) -> Geometry:
    found: dict[str, LayerGeometry] = {}
    maps: dict[str, MapSpec] = {}
    period = (vertical.period, horizontal.period)
    for tap in taps:
        y, x = vertical.layers[tap.leaf], horizontal.layers[tap.leaf]
        reason = y.reason or x.reason or _not_a_map(tap, vertical, horizontal)
        if reason is not None or y.dim is None or x.dim is None:
            fixed = no_map(
                "the output's size does not change with the input's: it is resized inside, or pooled to one size"
            )
            found[tap.name] = LayerGeometry(tap.name, (reason or fixed).of(tap.name))
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


def _not_a_map(tap: Tap, vertical: Axis, horizontal: Axis) -> Reason | None:
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
    return None if reason is None else no_map(f"its output ({shape}) {reason}")


def _number(value: Fraction) -> float:
    return int(value) if value.denominator == 1 else float(value)


def _each_side(pair: tuple[Fraction, Fraction] | tuple[int, int]) -> tuple[Fraction | int, ...]:
    return (pair[0], pair[0], pair[1], pair[1])
