"""A geometry as text, as plain values and as a table for pandas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from padprint.support import frames
from padprint.support.axes import initials, times
from padprint.support.wording import SEES_ALL, label, past_and_future, stride, through

if TYPE_CHECKING:
    import pandas as pd

    from padprint.geometry.layer import Geometry, LayerGeometry, Margin

LESS = ("witness", "channels", "receptive field px", "size", "stride", SEES_ALL)
"""Columns that a narrow table does without, the first of them first."""

MARGIN = 64
"""Pixels of scene around a crop that are proposed where the layers reach further."""

_NAMED = 6  # misaligned calls named
_KEYS = (
    "channels",
    "size",
    "stride",
    "offset",
    "receptive_field",
    "rim",
    "reach",
    "margin",
    "witness",
    "exact",
    "sees_all_through",
    "reason",
)


def table_of(found: Geometry) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers, and one row for each layer that can be measured."""
    layers = [layer for layer in found.values() if layer.reason is None]
    sides = initials(len(found.crop))
    first = ("layer", "channels", "size", "stride", "receptive field px")
    headers = (*first, f"rim cells {sides}", f"reach px {sides}", "witness")
    if not any(layer.sees_all_through for layer in layers):
        return headers, [_row(layer) for layer in layers]
    rows = [(*_row(layer), through(layer.sees_all_through) or "-") for layer in layers]
    return (*headers, SEES_ALL), rows


def _row(layer: LayerGeometry) -> tuple[str, ...]:
    return (
        label(layer.name),
        str(layer.channels),
        " x ".join(f"{size}" for size in layer.size or ()),
        stride(layer.stride) if layer.stride else "",
        " x ".join(f"{size}" for size in layer.receptive_field or ()),
        " ".join(f"{side}" for side in layer.rim or ()) + ("" if layer.exact else "*"),
        " ".join(f"{side}" for side in layer.reach or ()),
        f"{layer.witness}",
    )


def remarks(found: Geometry, margin: Margin = None) -> Iterator[str]:
    """The lines under the table.

    Args:
        found: the geometry.
        margin: scene around a crop, px, for which the smallest image is told too; None: `MARGIN`, if that is less than needed.
    """
    yield f"crop {_times(found.crop)} px, total stride {_times(found.period)} px"
    if found.maps:
        yield f"smallest image: {_times(found.smallest_image())} px{_with_margin(found, margin)}"
    if len(found.crop) == 1 and found.maps:
        last = found[list(found.maps)[-1]]
        yield f"{label(last.name)} needs {past_and_future(*(last.reach or (0, 0)))}"
    if any(layer.sees_all_through for layer in found.values()):
        yield f"{SEES_ALL}: operators that see the whole map; the other columns are of what is local"
    if any(layer.exact is False for layer in found.values()):
        yield "* as far as was seen: an operator on the way cannot be read, or loses the trace; other content may reach further"
    for one in found.misaligned[:_NAMED]:
        yield f"misaligned: {one}"
    if len(found.misaligned) > _NAMED:
        yield f"misaligned: {len(found.misaligned) - _NAMED} more"
    for name, reason in found.unmeasured.items():
        yield f"cannot be measured: {label(name)}: {reason}"


def _with_margin(found: Geometry, margin: Margin) -> str:
    asked = MARGIN if margin is None else margin
    less = found.approximate(asked)
    if margin is None and not less:
        return ""
    return f"; with --margin {asked if isinstance(asked, int) else _times(asked)}: {_times(found.smallest_image(asked))} px{', approximate' * less}"


def with_margin(found: Geometry, margin: int | Sequence[int]) -> dict[str, Any]:
    """The smallest image for another margin, as plain JSON values."""
    return {
        "margin": margin if isinstance(margin, int) else list(margin),
        "smallest_image": list(found.smallest_image(margin)),
        "approximate": found.approximate(margin),
    }


def document(found: Geometry) -> dict[str, Any]:
    """Everything as plain JSON values."""
    layers = {name: {key: _plain(getattr(layer, key)) for key in _KEYS} for name, layer in found.items()}
    return {
        "crop": list(found.crop),
        "period": list(found.period),
        "smallest_image": list(found.smallest_image()) if found.maps else None,
        "layers": layers,
        "misaligned": [one.to_dict() for one in found.misaligned],
    }


def table(found: Geometry) -> pd.DataFrame:
    """One row for each layer."""
    return frames.frame((_columns(layer, len(found.crop)) for layer in found.values()), ("layer",))


def _columns(layer: LayerGeometry, axes: int) -> dict[str, Any]:
    return {
        "layer": layer.name,
        "channels": layer.channels,
        **frames.size(layer.size, axes),
        **frames.by_axis("stride", layer.stride, axes),
        **frames.by_axis("offset", layer.offset, axes),
        **frames.by_axis("receptive_field", layer.receptive_field, axes),
        **frames.sides("rim", layer.rim, axes),
        **frames.sides("reach", layer.reach, axes),
        **frames.sides("margin", layer.margin, axes),
        "witness": layer.witness,
        "exact": layer.exact,
        "sees_all_through": ", ".join(layer.sees_all_through),
        "reason": layer.reason,
    }


def _times(numbers: Sequence[int]) -> str:
    return times(numbers, " x ")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
