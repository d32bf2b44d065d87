"""A measurement as text and as data frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from padprint.results.documents import ESTIMATES, QUANTITIES, SIZES
from padprint.support import frames
from padprint.support.axes import initials, times
from padprint.support.text_table import aligned
from padprint.support.wording import SEES_ALL, aware, interval, label, number, printable, stride, through

if TYPE_CHECKING:
    import pandas as pd

    from padprint.results.comparison import Comparison
    from padprint.results.measurement import Estimate, LayerMeasurement, Measurement

_FIRST = ("layer", "stride", "SNR [95 %]", "rms", "MAE (floor)", "relative %", "aware channels")


def headers(axes: int = 2) -> tuple[str, ...]:
    """Headers of the table for people, of networks over so many axes of space."""
    return (*_FIRST, f"rim cells {initials(axes)}", f"rim px {initials(axes)}")


def less(axes: int = 2) -> tuple[str, ...]:
    """Columns that a narrow table does without, the first of them first."""
    *_, cells, pixels = headers(axes)
    return (cells, "aware channels", "MAE (floor)", "rms", "stride", pixels, "relative %")


def cells(layer: LayerMeasurement) -> tuple[str, ...]:
    """One layer's row of the table for people, in the order of `headers`."""
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
    channels, *size = layer.pattern.shape
    sides = ", ".join(f"{count} {side}" for side, count in layer.channels.by_side().items() if count)
    return [
        ("map", f"{channels} channels, {times(size, ' x ')} cells, stride {stride(layer.stride)} px"),
        (
            f"rim {initials(len(size))}",
            f"{' '.join(map(str, layer.rim))} cells, {' '.join(f'{px:g}' for px in layer.rim_pixels)} px",
        ),
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
    estimate: Estimate = getattr(layer, name)
    hidden = name == "positional" and not layer.has_pattern
    return type(estimate)(math.nan, math.nan, math.nan) if hidden else estimate


def layer_text(layer: LayerMeasurement) -> str:
    """One layer as fixed-width plain text."""
    return "\n".join([*aligned((label(layer.name), ""), layer_rows(layer)), *map(printable, layer.notes)])


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
    layers = dict.fromkeys(name for measured in measurements.values() for name in measured)
    return [
        (
            " / ".join((label(layer), label(name)) if len(measurements) > 1 else (label(layer),)),
            *(interval(entry.parts[part].size) for part in ("local", "through", "context", "total")),
            through(entry.sees_all_through),
        )
        for layer in layers
        for name, measured in measurements.items()
        if layer in measured and (entry := measured[layer]).parts
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


def summary(measurement: Measurement) -> str:
    """One line: images, crops, margin, numeric floor."""
    margin = " ".join(str(side) for side in measurement.margin)
    about = ", approximate" if measurement.approximate else ""
    return (
        f"{measurement.n_images} images, {measurement.n_crops} crops of {times(measurement.crop, ' x ')} px, "
        f"margin {margin} px ({initials(len(measurement.crop))}), numeric floor {measurement.numeric_floor:.1e}{about}"
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
    return "\n".join(
        [*aligned(headers(len(measurement.crop)), rows), "", *parts, summary(measurement), *remarks(measurement)]
    )


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
    layers = dict.fromkeys(layer for measured in comparison.values() for layer in measured)
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
    first = [summary(measured) for measured in comparison.values()][:1] or ["no measurement"]
    paired = "differences are paired over crops and groups of images"
    return [*first, paired, *absent(comparison), *shared_remarks(comparison)]


def absent(comparison: Comparison) -> list[str]:
    """A line for each measurement that lacks layers of another without having refused them: they have no difference."""
    layers = dict.fromkeys(layer for measured in comparison.values() for layer in measured)
    lines = []
    for name, measured in comparison.items():
        lacking = [label(layer) for layer in layers if layer not in measured and layer not in measured.unmeasured]
        if lacking:
            lines.append(f"{label(name)}: not among its layers, so without a difference: {', '.join(lacking)}")
    return lines


def shared_remarks(measurements: Mapping[str, Measurement]) -> list[str]:
    """The remarks of several measurements, each once, with the names of those it is about where not of all."""
    said: dict[str, list[str]] = {}
    for name, measured in measurements.items():
        for line in remarks(measured):
            said.setdefault(line, []).append(name)
    whole = len(measurements)
    return [line if len(names) == whole else f"{', '.join(map(label, names))}: {line}" for line, names in said.items()]


def comparison_text(comparison: Comparison) -> str:
    """A whole comparison as fixed-width plain text."""
    lines = aligned(COMPARISON_HEADERS, comparison_cells(comparison))
    return "\n".join([*lines, "", *parts_text(comparison), *comparison_remarks(comparison)])


def frame(measurement: Measurement) -> pd.DataFrame:
    """One row per layer."""
    return frames.frame(map(_row, measurement.layers.values()), ("layer",))


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
            **frames.estimate("size", part.size),
            **frames.estimate("pattern", part.pattern),
            **frames.estimate("snr", part.snr),
        }
        for name, key, part in every
    )
    return frames.frame(rows, ("layer", "part"))


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
    channels, *size = layer.pattern.shape
    row: dict[str, Any] = {"layer": layer.name, "channels": channels} | frames.size(size)
    row |= frames.by_axis("stride", layer.stride) | frames.sides("rim", layer.rim)
    row |= {f"{side}_px": n for side, n in frames.sides("rim", layer.rim_pixels).items()}
    for key in (*ESTIMATES, *SIZES):
        row |= frames.estimate(key, shown(layer, key))
        if key == "snr":
            row |= frames.estimate("snr_db", layer.snr.db)
    row["aware_channels"] = layer.channels.count
    residual = math.nan if layer.residual is None else layer.residual
    return row | {
        "numeric_floor": layer.numeric_floor,
        "residual": residual,
        "notes": "; ".join(layer.notes),
    }
