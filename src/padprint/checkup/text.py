"""A first look as text: its verdict, its table, its remarks."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from padprint.geometry.inspection import stride_record
from padprint.report.advice import what_to_do
from padprint.report.inspected import inspection_verdict
from padprint.report.levels import level
from padprint.report.verdict import verdict as verdict_of
from padprint.support.axes import each_side, initials, times
from padprint.support.text_table import aligned, fitted
from padprint.support.wording import count, label, short, stride, through

if TYPE_CHECKING:
    from padprint.checkup.result import Checkup

_NAMED = 6  # layers and calls named one by one

HEADERS = ("layer", "channels", "size", "stride", "rim px t b l r", "mark", "of its size")


def headers_of(look: Checkup) -> tuple[str, ...]:
    """`HEADERS`, with the sides of as many axes as the network runs over."""
    sides = f"rim px {initials(len(look.size))}"
    return tuple(sides if header.startswith("rim px") else header for header in HEADERS)


LESS = ("channels", "stride", "size")
"""Columns that a narrow table does without, the first of them first."""


def verdict(look: Checkup) -> tuple[str, str, str]:
    """Three sentences: what pads, what that leaves in the features, and what to do."""
    pads = "What pads cannot be read." if look.inspection is None else inspection_verdict(look.inspection)
    marks = f"Not measured: {look.refused}." if look.measurement is None else verdict_of(look.measurement)
    if look.replaced and look.measurement is not None:
        marks = f"Your images are too small, so on synthetic scenes: {marks[:1].lower()}{marks[1:]}"
    strides = None if look.inspection is None else stride_record(look.inspection)
    return pads.removesuffix(".") + _joins(look), marks, what_to_do(look.measurement, strides)


def _joins(look: Checkup) -> str:
    """How far apart the maps are that shortcuts and the like join."""
    joins = look.geometry.misaligned
    if not joins:
        return "."
    apart = max(max(join.pixels) for join in joins)
    most = "" if len(joins) == 1 else "up to "
    mix = "mixes" if len(joins) == 1 else "mix"
    return f"; {count(len(joins), 'join')} of branches {mix} maps that are centred {most}{apart:g} px apart."


def rows(look: Checkup) -> list[tuple[str, ...]]:
    """One row for each layer that has a local geometry, as `HEADERS`."""
    shown: list[tuple[str, ...]] = []
    for name, place in look.geometry.items():
        if place.reason is not None or place.rim is None or place.stride is None or place.size is None:
            continue
        layer = None if look.measurement is None else look.measurement.layers.get(name)
        pixels = [ceil(n * s) for n, s in zip(place.rim, each_side(place.stride), strict=True)]
        mark = (
            ("not measured", "")
            if layer is None
            else (level(layer) or "unknown", f"{100 * layer.relative.value:.2g} %")
        )
        size = " x ".join(map(str, place.size))
        rim = " ".join(map(str, pixels)) + "*" * (place.exact is False)
        shown.append((label(name), str(place.channels), size, stride(place.stride), rim, *mark))
    return shown


def remarks(look: Checkup) -> list[str]:
    """What a reader must know, as lines."""
    lines, joins = [], look.geometry.misaligned
    if any(place.exact is False for place in look.geometry.values()):
        lines.append("* as far as was seen: an operator on the way cannot be read")
    lines += _seeing_all(look)
    lines += [f"misaligned: {join}" for join in joins[:_NAMED]]
    if len(joins) > _NAMED:
        lines.append(f"misaligned: {len(joins) - _NAMED} more")
    lines += [f"cannot be measured: {label(name)}: {why}" for name, why in look.geometry.unmeasured.items()]
    if look.measurement is not None:
        refused = look.measurement.unmeasured.items()
        lines += [f"not measured: {label(name)}: {why}" for name, why in refused if name in look.geometry.maps]
        lines.append(f"measured on {look.scenes}")
    lines.append(f"smallest image for all of these layers: {times(look.smallest, ' x ')} px")
    return lines + [f"note: {note}" for note in look.notes]


def _seeing_all(look: Checkup) -> list[str]:
    """Layers that see the whole input, and through what."""
    seeing = {name: place.sees_all_through for name, place in look.geometry.items() if place.sees_all_through}
    if not seeing:
        return []
    names, last = short(list(seeing)), list(seeing.values())[-1]
    which = ", ".join(names) if len(names) <= _NAMED else f"{names[0]} to {names[-1]}"
    return [
        f"sees the whole input: {which}, through {through(last)}; rims are of what is local, and statistics were taken over the crop"
    ]


def lines(look: Checkup, width: int | None = None) -> list[str]:
    """All of it: the verdict, the table, remarks, and commands; `width` as `Checkup.lines` takes it."""
    headers, cells, absent = fitted(headers_of(look), rows(look), width or 1_000_000, LESS)
    texts = [*verdict(look), "", *aligned(headers, cells), ""]
    texts += [f"not shown on {width} columns (--wide shows all): {', '.join(absent)}"] * bool(absent)
    return [*texts, *remarks(look), "", "next:", *(f"  {command}" for command in look.commands)]
