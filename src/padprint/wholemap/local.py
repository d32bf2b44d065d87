"""Layers that see the whole map: their geometry where its statistics are held constant, and the operators they see it through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import lcm
from typing import TYPE_CHECKING

from torch import Tensor, nn

from padprint.errors import ModelError, PaddingError
from padprint.network.layers import Leaf, Tap, discover, run_to
from padprint.support.axes import Size
from padprint.support.reasons import Kind, Reason, sees_all
from padprint.wholemap.network import WholeMap
from padprint.wholemap.operators import seen_by

if TYPE_CHECKING:
    from padprint.geometry.layer import Geometry

Trace = Callable[[nn.Module, Callable[[list[Tap]], list[Tap]], Size, int], "Geometry"]

_NET = "net"


def followed(model: nn.Module, found: Geometry, names: Sequence[str], channels: int, trace: Trace) -> Geometry:
    """The same geometry, with what is local of layers that see the whole map through operators that are followed.

    Args:
        model: in evaluation mode.
        found: of the network as it is.
        names: of layers that it has none of, which may see the whole map.
        channels: of the input.
        trace: finds the geometry of a network's layers, picked from all, at a crop.
    """
    if not names:
        return found
    wrapped = WholeMap(model)
    try:
        unread = wrapped.learn(channels, found.crop)
        through = _through(wrapped, names, channels, found.crop)
    except (ModelError, PaddingError) as error:
        return _without(found, names, f"; {error}")
    said = "".join(f"; {call}: {reason}" for call, reason in unread.items())
    if not through:
        return _without(found, names, said)
    try:
        inside = {_inside(name) for name in through}
        local = trace(wrapped, lambda taps: [tap for tap in taps if tap.name in inside], found.crop, channels)
    except ModelError as error:
        return _without(found, names, f"; with its statistics held constant: {_outside(str(error))}")
    return _without(_joined(found, local, through), names, said)


def _through(wrapped: WholeMap, names: Sequence[str], channels: int, crop: Size) -> dict[str, tuple[str, ...]]:
    """By layer, the operators on the way to it that see the whole map; layers without any are left out."""
    x = wrapped.noise(channels, crop)
    wanted = {_inside(name): name for name in names}
    taps = [tap for tap in discover(wrapped, x) if tap.name in wanted]
    order = {str(call): i for i, call in reversed(list(enumerate(wrapped.state.calls)))}
    found: dict[str, tuple[str, ...]] = {}

    def look(tap: Tap, tensor: Tensor) -> None:
        seen = seen_by(tensor)
        if seen:
            found[wanted[tap.name]] = tuple(sorted(seen, key=order.__getitem__))

    with suppress(ModelError):  # a layer that was not reached stays refused
        run_to(wrapped, x, taps, look)
    return found


def _joined(found: Geometry, local: Geometry, through: Mapping[str, tuple[str, ...]]) -> Geometry:
    """What was found of the network as it is, and of layers that see the whole map, what is local of them."""
    layers, maps = dict(found.layers), dict(found.maps)
    for name, operators in through.items():
        one, spec = local[_inside(name)], local.maps.get(_inside(name))
        reason = one.reason and _named(one.reason.reworded(_outside), operators[0])
        layers[name] = replace(one, name=name, reason=reason, sees_all_through=operators)
        if spec is not None:
            leaf = Leaf(_outside_one(spec.tap.leaf.module), spec.tap.leaf.path)
            maps[name] = replace(spec, tap=replace(spec.tap, name=name, leaf=leaf))
    joins = [replace(one, module=_outside_one(one.module)) for one in local.misaligned]
    return replace(
        found,
        layers=layers,
        maps={name: maps[name] for name in layers if name in maps},
        period=tuple(map(lcm, found.period, local.period)),
        misaligned=tuple(dict.fromkeys((*found.misaligned, *joins))),
    )


def _named(reason: Reason, operator: str) -> Reason:
    """Why a layer has no local geometry, with the operator that sees the whole map where the reason blames none."""
    if reason.kind is not Kind.FAR:
        return reason
    return sees_all(operator).more(f"; with what it sees held constant: {reason}")


def _without(found: Geometry, names: Sequence[str], said: str) -> Geometry:
    """The same, with more said of layers that are refused."""
    return found.without({name: found.unmeasured[name].more(said) for name in names if name in found.unmeasured})


def _inside(name: str) -> str:
    """A layer's name in the network that holds the network."""
    if name in ("", "output") or name.startswith("output["):
        return _NET + name.removeprefix("output")
    return f"{_NET}.{name}"


def _outside_one(module: str) -> str:
    """A module's name in the network itself."""
    return "" if module == _NET else module.removeprefix(f"{_NET}.")


def _outside(message: str) -> str:
    """A message with names of modules as they are in the network itself."""
    return message.replace(f" {_NET}.", " ").replace(f"'{_NET}.", "'").replace(f" in {_NET} ", " in the model itself ")
