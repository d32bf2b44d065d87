"""Which layers stand for a network: the end of each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from padprint.geometry.axis import Axis
from padprint.network.layers import Tap


def not_needed(model: nn.Module, taps: Sequence[Tap], wanted: Sequence[Tap]) -> set[str]:
    """Modules without children that run once, after the last wanted layer: classifiers, whose weights are many."""
    done = {tap.leaf.module for tap in taps[: taps.index(wanted[-1]) + 1]}
    modules = dict(model.named_modules())
    return {
        name
        for tap in taps
        if (name := tap.leaf.module) not in done and tap.calls == 1 and not any(modules[name].children())
    }


def last_at_each_stride(taps: Sequence[Tap], axes: Sequence[Axis]) -> list[Tap]:
    """In order of execution, the last tap of each stride.

    Where that lies inside a block that goes on to another stride, the last output before the block stands for the stride, if it is
    nested no deeper than the block: the end of a stage, not the first convolution of the next.

    Left out are tensors whose size is fixed (pooled vectors), and modules that compute nothing: those that pad, crop or
    reshape. Where all of a model's outputs are of fixed size they are kept, so that the reason is told.

    Args:
        taps: all of them.
        axes: of space.
    """
    last: dict[tuple[Any, ...], Tap] = {}
    flat: dict[tuple[Any, ...], Tap] = {}
    strides: dict[int, tuple[Any, ...]] = {}
    for tap in taps:
        layers, size = [axis.layers[tap.leaf] for axis in axes], tap.shape[-len(axes) :]
        if all(layer.flat for layer in layers):
            flat[size] = tap
            continue
        if tap.leaf.module and _computes_nothing(tap, axes[0]):
            continue
        known = all(layer.dim is not None for layer in layers)
        key = tuple(layer.stride for layer in layers) if known else size
        last[key] = tap
        if known:
            strides[id(tap)] = key
    ends = {id(_end_of_stage(tap, [one for one in taps if id(one) in strides], strides)) for tap in last.values()}
    return [tap for tap in taps if id(tap) in ends] or list(flat.values())


def _end_of_stage(last: Tap, taps: Sequence[Tap], strides: Mapping[int, tuple[Any, ...]]) -> Tap:
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
        *(f"{kind}_pad{axes}d" for kind in ("reflection", "replication") for axes in (1, 2, 3)),
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
        *("dropout1d", "dropout2d", "dropout3d"),
        "stack",
        "unbind",
    ),
}
"""Operators that move cells and compute nothing; ``__get__`` is an attribute such as ``shape``."""


def _computes_nothing(tap: Tap, axis: Axis) -> bool:
    return axis.operators_in(tap.leaf.module) <= _MOVES
