"""A measurement as text and as data frames."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from padprint import _frames
from padprint._document import ESTIMATES, QUANTITIES, SIZES

if TYPE_CHECKING:
    import pandas as pd

    from padprint.comparison import Comparison
    from padprint.result import Estimate, LayerMeasurement, Measurement

HEADERS = (
    "layer",
    "stride",
    "SNR [95 %]",
    "rms",
    "MAE (floor)",
    "relative %",
    "aware channels",
    "rim cells t b l r",
    "rim px t b l r",
)
LESS = ("rim cells t b l r", "aware channels", "MAE (floor)", "rms", "stride", "rim px t b l r", "relative %")
"""Columns that a narrow table does without, the first of them first."""


def number(value: float, digits: int = 3) -> str:
    """A number with three significant digits, trailing zeros kept; "n/a" for NaN."""
    if math.isnan(value):
        return "n/a"
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])  # of the rounded number: 0.9996 is 1.00
    if not -4 <= exponent < 6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def printable(text: str) -> str:
    """A text on one line, without what a terminal would obey; the place of such characters is kept."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text).split())


def label(name: str) -> str:
    """A layer's or a measurement's name for people."""
    return printable(name) or "(model)"


def interval(estimate: Estimate) -> str:
    """``0.123 [0.110, 0.136]``, or the value alone where there is no interval."""
    value, low, high = (end + 0.0 for end in (estimate.value, estimate.low, estimate.high))  # no "-0"
    if math.isnan(low) and math.isnan(high):
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def middle(text: str, width: int) -> str:
    """A text of at most so many characters (4 or more); of a longer one the middle is left out."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}\u2026{text[-tail:]}"


def fitted(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, less: Sequence[str], names: int = 1, gap: int = 2
) -> tuple[list[str], list[list[str]], list[str]]:
    """A table that fits a width: columns are left out one after another, then names lose their middle.

    Args:
        headers: of the columns.
        rows: of texts.
        width: characters.
        less: columns it may do without, the first of them first.
        names: so many first columns hold names; each keeps 12 characters while there are columns to leave out.
        gap: characters between columns.

    Returns:
        Headers, rows, and the columns left out in the order they stood.
    """
    kept = list(headers)
    for absent in (None, *less):
        if absent in kept:
            kept.remove(absent)
        places = [headers.index(header) for header in kept]
        widths = [max(len(row[place]) for row in (headers, *rows)) for place in places]
        room = width - sum(widths[names:]) - gap * (len(places) - 1)
        if room >= sum(min(one, 12) for one in widths[:names]):
            break
    of_names = widths[:names]
    while sum(of_names) > room and max(of_names) > 4:
        of_names[of_names.index(max(of_names))] -= 1
    cut = [
        [middle(text, of_names[i]) if i < names else text for i, text in enumerate(row[place] for place in places)]
        for row in rows
    ]
    return kept, cut, [header for header in headers if header not in kept]


def cells(layer: LayerMeasurement) -> tuple[str, ...]:
    """One layer's row of the table for people, in the order of `HEADERS`."""
    return (
        label(layer.name),
        stride(layer.stride),
        interval(layer.snr),
        number(layer.rms.value),
        mae(layer),
        number(100 * layer.relative.value),
        aware(layer),
        " ".join(str(side) for side in layer.rim),
        " ".join(f"{side:g}" for side in layer.rim_pixels),
    )


def mae(layer: LayerMeasurement) -> str:
    """MAE with its floor in brackets; below twice its floor it is mostly chance, and marked as an upper bound by "<"."""
    return f"{'<' if layer.mae_is_chance else ''}{number(layer.mae.value)} ({number(layer.mae_floor.value)})"


def layer_rows(layer: LayerMeasurement) -> list[tuple[str, str]]:
    """What is known of one layer, as (quantity, value)."""
    channels, rows, columns = layer.pattern.shape
    sides = ", ".join(f"{count} {side}" for side, count in layer.channels.by_side().items() if count)
    return [
        ("map", f"{channels} channels, {rows} x {columns} cells, stride {stride(layer.stride)} px"),
        ("rim t b l r", f"{' '.join(map(str, layer.rim))} cells, {' '.join(f'{px:g}' for px in layer.rim_pixels)} px"),
        *(
            (name.replace("_", " ").replace("snr", "SNR").replace("mae", "MAE"), estimate(layer, name))
            for name in (*ESTIMATES, *SIZES)
        ),
        ("aware channels", f"{aware(layer)}{': ' + sides if sides else ''}"),
        ("numeric floor", f"{layer.numeric_floor:.1e}"),
        *((f"size of {name}", interval(part.size)) for name, part in layer.parts.items()),
        *([("sees all through", through(layer.sees_all_through))] if layer.sees_all_through else []),
    ]


def estimate(layer: LayerMeasurement, name: str) -> str:
    """An estimate with its interval; `mae` where it is mostly chance as `mae` has it."""
    return mae(layer) if name == "mae" and layer.mae_is_chance else interval(getattr(layer, name))


def shown(layer: LayerMeasurement, name: str) -> Estimate:
    """An estimate for people and frames: `positional` is n/a where there may be no pattern, of which it is a share."""
    found: Estimate = getattr(layer, name)
    hidden = name == "positional" and not layer.has_pattern
    return type(found)(math.nan, math.nan, math.nan) if hidden else found


def layer_text(layer: LayerMeasurement) -> str:
    """One layer as fixed-width plain text."""
    return "\n".join([*aligned((label(layer.name), ""), layer_rows(layer)), *map(printable, layer.notes)])


def aware(layer: LayerMeasurement) -> str:
    """``12 of 96``, the channels called padding-aware; "n/a" where they could not be tested."""
    channels = layer.channels
    return "n/a" if bool(channels.q.isnan().all()) else f"{channels.count} of {len(channels.q)}"


def stride(pair: tuple[float, float]) -> str:
    """``16``, or ``16x8`` where rows and columns differ."""
    rows, columns = pair
    return f"{rows:g}" if rows == columns else f"{rows:g}x{columns:g}"


SEES_ALL = "sees all through"
PART_HEADERS = (
    "layer",
    "local [95 %]",
    "through statistics [95 %]",
    "context [95 %]",
    "total [95 %]",
    SEES_ALL,
)
"""Of the table of layers that see the whole map."""
PART_LESS = ("total [95 %]", "context [95 %]")
"""Columns that it does without on a narrow screen, the first of them first."""


def part_rows(measurements: Mapping[str, Measurement]) -> list[tuple[str, ...]]:
    """Rows of that table: a layer's name, that of a measurement where there are several, and sizes of its parts."""
    layers = dict.fromkeys(name for one in measurements.values() for name in one)
    return [
        (
            " / ".join((label(layer), label(name)) if len(measurements) > 1 else (label(layer),)),
            *(interval(found.parts[part].size) for part in ("local", "through", "context", "total")),
            through(found.sees_all_through),
        )
        for layer in layers
        for name, one in measurements.items()
        if layer in one and (found := one[layer]).parts
    ]


PART_REMARKS = (
    "sizes of what changes when a crop is seen by itself, rms in units of the features' own; local and through statistics: what its",
    "padding does, by local operators and by statistics over the map; context: its statistics against those of all of its scene",
)
"""Lines under the table of layers that see the whole map."""


def parts_text(measurements: Mapping[str, Measurement]) -> list[str]:
    """The table of layers that see the whole map, as lines; nothing without such layers."""
    rows = part_rows(measurements)
    return [*aligned(PART_HEADERS, rows), "", *PART_REMARKS, ""] if rows else []


def through(operators: Sequence[str]) -> str:
    """Operators that a layer sees the whole map through: one with its module, several by kind."""
    if len(operators) < 2:
        return printable("".join(operators))
    kinds = Counter(one.partition(" in ")[0] for one in operators)
    return printable(", ".join(f"{n} {kind}" if n > 1 else kind for kind, n in kinds.items()))


def summary(measurement: Measurement) -> str:
    """One line: images, crops, margin, numeric floor."""
    rows, columns = measurement.crop
    margin = " ".join(str(side) for side in measurement.margin)
    about = ", approximate" if measurement.approximate else ""
    return (
        f"{measurement.n_images} images, {measurement.n_crops} crops of {rows} x {columns} px, "
        f"margin {margin} px (t b l r), numeric floor {measurement.numeric_floor:.1e}{about}"
    )


def remarks(measurement: Measurement) -> list[str]:
    """The lines under the table: notes of layers, unmeasured layers with the reason, warnings."""
    lines = [f"{label(name)}: {note}" for name, layer in measurement.layers.items() for note in layer.notes]
    lines += [f"not measured: {label(name)}: {reason}" for name, reason in measurement.unmeasured.items()]
    return [printable(line) for line in [*lines, *(f"warning: {warning}" for warning in measurement.warnings)]]


def text(measurement: Measurement) -> str:
    """The whole measurement as fixed-width plain text."""
    rows = [cells(layer) for layer in measurement.layers.values()]
    parts = parts_text({"": measurement})
    return "\n".join([*aligned(HEADERS, rows), "", *parts, summary(measurement), *remarks(measurement)])


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in columns of fixed width, as lines."""
    table = [headers, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(headers))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return [line.rstrip() for line in lines]


COMPARISON_HEADERS = (
    "layer",
    "measured",
    "SNR [95 %]",
    "rms",
    "MAE (floor)",
    "relative %",
    "SNR minus the first [95 %]",
)

COMPARISON_LESS = ("MAE (floor)", "rms", "relative %", "SNR [95 %]")
"""Likewise, of a comparison."""


def comparison_cells(comparison: Comparison) -> list[tuple[str, ...]]:
    """The rows of a comparison's table for people, layer by layer; what was refused is there too."""
    names = list(comparison)
    against = {(d.second, d.layer): d.estimate for d in comparison.differences() if d.first == names[0]}
    layers = dict.fromkeys(layer for one in comparison.values() for layer in one)
    rows: list[tuple[str, ...]] = []
    for layer in layers:
        for name in names:
            if layer in comparison[name].unmeasured:
                rows.append((label(layer), label(name), "not measured", "", "", "", ""))
            if layer not in comparison[name]:
                continue
            _, _, *sizes = cells(comparison[name][layer])
            minus = against.get((name, layer))
            rows.append((label(layer), label(name), *sizes[:4], "" if minus is None else interval(minus)))
    return rows


def comparison_remarks(comparison: Comparison) -> list[str]:
    """The lines under a comparison's table."""
    first = [summary(one) for one in comparison.values()][:1] or ["no measurement"]
    paired = "differences are paired over crops and groups of images"
    return [*first, paired, *absent(comparison), *shared_remarks(comparison)]


def absent(comparison: Comparison) -> list[str]:
    """A line for each measurement that lacks layers of another without having refused them: they have no difference."""
    layers = dict.fromkeys(layer for one in comparison.values() for layer in one)
    lines = []
    for name, one in comparison.items():
        lacking = [label(layer) for layer in layers if layer not in one and layer not in one.unmeasured]
        if lacking:
            lines.append(f"{label(name)}: not among its layers, so without a difference: {', '.join(lacking)}")
    return lines


def shared_remarks(measurements: Mapping[str, Measurement]) -> list[str]:
    """The remarks of several measurements, each once, with the names of those it is about where not of all."""
    said: dict[str, list[str]] = {}
    for name, one in measurements.items():
        for line in remarks(one):
            said.setdefault(line, []).append(name)
    whole = len(measurements)
    return [line if len(names) == whole else f"{', '.join(map(label, names))}: {line}" for line, names in said.items()]


def comparison_text(comparison: Comparison) -> str:
    """A whole comparison as fixed-width plain text."""
    lines = aligned(COMPARISON_HEADERS, comparison_cells(comparison))
    return "\n".join([*lines, "", *parts_text(comparison), *comparison_remarks(comparison)])


def file_stem(name: str) -> str:
    """A name for a file: characters that file names should not have become "_", and long names are cut."""
    return re.sub(r"[^\w.+-]+", "_", name).encode()[:120].decode(errors="ignore") or "model"


def frame(measurement: Measurement) -> pd.DataFrame:
    """One row per layer."""
    return _frames.frame(map(_row, measurement.layers.values()), ("layer",))


def profile_frame(measurement: Measurement) -> pd.DataFrame:
    """One row per layer, side, distance and quantity."""
    import pandas as pd  # only frames need pandas

    columns = ["layer", "side", "cells", "pixels", "count", "quantity", "value", "low", "high"]
    rows = []
    for name, layer in measurement.layers.items():
        for side, profile in layer.profile.items():
            place = (profile.cells.tolist(), profile.pixels.tolist(), profile.count.tolist())
            for quantity in QUANTITIES:
                curve = getattr(profile, quantity)
                lists = (curve.value.tolist(), curve.low.tolist(), curve.high.tolist())
                rows += [
                    (name, side, *at, quantity, *values)
                    for at, values in zip(zip(*place, strict=True), zip(*lists, strict=True), strict=True)
                ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table


def parts_frame(measurement: Measurement) -> pd.DataFrame:
    """One row per layer that sees the whole map and part."""
    every = ((name, key, part) for name, layer in measurement.layers.items() for key, part in layer.parts.items())
    rows = (
        {
            "layer": name,
            "part": key,
            **_frames.estimate("size", part.size),
            **_frames.estimate("pattern", part.pattern),
            **_frames.estimate("snr", part.snr),
        }
        for name, key, part in every
    )
    return _frames.frame(rows, ("layer", "part"))


def channel_frame(measurement: Measurement) -> pd.DataFrame:
    """One row per layer and channel."""
    import pandas as pd  # only frames need pandas

    rows = []
    for name, layer in measurement.layers.items():
        c = layer.channels
        lists = (c.snr.tolist(), c.p.tolist(), c.q.tolist(), c.aware.tolist(), c.side)
        rows += [(name, channel, *values) for channel, values in enumerate(zip(*lists, strict=True))]
    table: pd.DataFrame = pd.DataFrame(rows, columns=["layer", "channel", "snr", "p", "q", "aware", "side"])
    return table


def _row(layer: LayerMeasurement) -> dict[str, Any]:
    channels, height, width = layer.pattern.shape
    row: dict[str, Any] = {"layer": layer.name, "channels": channels, "height": height, "width": width}
    row |= _frames.pair("stride", layer.stride) | _frames.sides("rim", layer.rim)
    row |= {f"{side}_px": n for side, n in _frames.sides("rim", layer.rim_pixels).items()}
    for key in (*ESTIMATES, *SIZES):
        row |= _frames.estimate(key, shown(layer, key))
        if key == "snr":
            row |= _frames.estimate("snr_db", layer.snr.db)
    row["aware_channels"] = layer.channels.count
    residual = math.nan if layer.residual is None else layer.residual
    return row | {
        "numeric_floor": layer.numeric_floor,
        "residual": residual,
        "notes": "; ".join(layer.notes),
    }
