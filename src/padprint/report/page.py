"""Results to one HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padprint import _saved, _tables
from padprint.comparison import Comparison, load_comparison
from padprint.errors import ResultError
from padprint.plot.maps import scale_of
from padprint.report.charts import svg
from padprint.report.command import names_only
from padprint.report.layout import fill, publish
from padprint.report.levels import WORDS, everywhere, level, reach, shown_first
from padprint.report.maps import layer_map
from padprint.report.pictures import channel_maps
from padprint.report.verdict import percent, verdict, voids
from padprint.report.words import comparison_findings, layer_findings
from padprint.result import LayerMeasurement, Measurement, load

if TYPE_CHECKING:
    from padprint.result import Estimate

Results = Measurement | Comparison | Mapping[str, Measurement]

MAPS_BUDGET = 1_000_000
"""Bytes of channel maps in a page."""
MANY = 12
"""With more layers than this, each has its map alone, without emergence and profile: a page stays under 5 MB."""
HERO = 6
"""Maps in the row over depth."""
IN_PYTHON = "padprint.measure(...)"


def write(results: Results, path: str | Path) -> Path:
    """Write the report of a measurement, a comparison, or several measurements by name.

    Args:
        results: what to show.
        path: the HTML file; its folder is made. It takes its place when it is complete.

    Raises:
        ResultError: there is nothing to show, or the path is a folder or its folder a file.
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    return publish(render(results), path)


def render(results: Results) -> str:
    """The page as text, everything in it: nothing is fetched when it is shown.

    Raises:
        ResultError: there is nothing to show.
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    named = _named(results)
    if not any(one.layers for one in named.values()):
        raise ResultError("no layer was measured, so there is nothing to report")
    return fill("page.html.j2", **_content(named, results))


def collect(folders: Sequence[str | Path]) -> Measurement | Comparison | dict[str, Measurement]:
    """What was saved in one folder (a measurement or a comparison), or in several, by the folders' names.

    Raises:
        ResultError: nothing is there, or it cannot be read.
    """
    found: dict[str, Measurement] = {}
    for folder in map(Path, folders):
        if _saved.is_saved(folder / _saved.COMPARISON_FILE):
            several = load_comparison(folder)
            if len(folders) == 1:
                return several
            added = {f"{folder.name} / {name}": one for name, one in several.items()}
        else:
            added = {folder.resolve().name: load(folder)}
        for name, one in added.items():
            while name in found:
                name += "'"  # noqa: PLW2901  # two folders of one name
            found[name] = one
    if len(found) == 1:
        return next(iter(found.values()))
    return _compared(found)


def _compared(found: dict[str, Measurement]) -> Comparison | dict[str, Measurement]:
    try:
        return Comparison(found)
    except ResultError:  # not over the same crops: shown side by side, without paired differences
        return found


def _named(results: Results) -> dict[str, Measurement]:
    if isinstance(results, Measurement):
        return {str(results.provenance.get("model") or "model"): results}
    return dict(results.items())


def _content(named: dict[str, Measurement], results: Results) -> dict[str, Any]:
    """Everything the template names."""
    several = len(named) > 1
    sections = [(name, layer, one) for name, one in named.items() for layer in one.values()]
    shown = [_section(i, *each, named, len(sections)) for i, each in enumerate(sections)]
    first = next(one for one in named.values() if one.layers)
    hero = _hero(first)
    return {
        "title": " and ".join(named) if len(named) < 3 else f"{len(named)} measurements",
        "several": several,
        "voids": [line for one in named.values() for line in voids(one)],
        "verdict": verdict(first),
        "lead": comparison_findings(results) if isinstance(results, Comparison) else [],
        "hero": hero,
        "words": WORDS,
        "steps": [],
        "measurements": [
            {
                "name": name,
                "summary": _tables.summary(one),
                "provenance": _provenance(one),
                "command": names_only(str(one.provenance.get("command") or IN_PYTHON)),
            }
            for name, one in named.items()
        ],
        "remarks": names_only(_remarks(named, results)) if several else names_only(_tables.remarks(first)),
        "columns": COLUMNS,
        "rows": [_row(name, layer) for name, layer, _ in sections],
        "differences": _differences(results),
        "figures": _figures(named, results),
        "sections": shown,
        "first": next(
            i for i, (_, layer, one) in enumerate(sections) if one is first and layer.name == shown_first(one)
        ),
        "data": {
            "channels": {section["id"]: section.pop("channels") for section in shown},
            "maps": {one["id"]: one["map"].data for one in hero}
            | {each["id"]: each["map"].data for section in shown for each in section["maps"]},
        },
    }


def _hero(one: Measurement) -> list[dict[str, Any]]:
    """The row of patterns over depth: every layer, or of many some."""
    layers = list(one.values())
    places = list(range(len(layers)))
    if len(layers) > HERO:
        must = {0, len(layers) - 1, list(one).index(shown_first(one))}
        even = [round(i * (len(layers) - 1) / (HERO - 1)) for i in range(HERO)]
        places = sorted(must | set(even))
    found = []
    for i in places:
        layer = layers[i]
        px = reach(layer)
        caption = f"{percent(layer.relative.value)} of the features' size"
        if level(layer) not in (None, "none") and px is not None:
            far = "over the whole frame" if everywhere(layer, one.crop) else f"within {max(1, round(px))} px"
            caption += f", most {far}"
        map_ = layer_map(
            layer, one.crop, title=f"{i + 1} {_tables.label(layer.name)}", caption=caption, limit=scale_of(layer)[1]
        )
        found.append({"id": f"hero-{i}", "map": map_, "level": level(layer)})
    return found


def _remarks(named: dict[str, Measurement], results: Results) -> list[str]:
    """What must be known of several measurements."""
    lacking = _tables.absent(results) if isinstance(results, Comparison) else []
    return [*lacking, *_tables.shared_remarks(named)]


COLUMNS = (
    "layer",
    "stride (px)",
    "SNR [95 %]",
    "MAE (floor)",
    "relative (%)",
    "positional (%)",
    "aware channels",
    "rim px, top bottom left right",
)


def _row(name: str, layer: LayerMeasurement) -> dict[str, Any]:
    """Texts of a row of the table, with what each is sorted by."""
    texts = _tables.cells(layer)
    share = 100 * layer.channels.count / max(1, len(layer.pattern))
    cells: list[tuple[str, float | str]] = [
        (texts[0], texts[0]),
        (texts[1], layer.stride[0]),
        (texts[2], layer.snr.value),
        (texts[3], layer.mae.value),
        (texts[4], layer.relative.value),
        (_tables.number(100 * layer.positional.value), layer.positional.value),
        (_tables.aware(layer), share),
        (" ".join(f"{side:g}" for side in layer.rim_pixels), max(layer.rim_pixels)),
    ]
    return {"name": name, "cells": [{"text": text, "key": _key(key)} for text, key in cells]}


def _differences(results: Results) -> list[list[dict[str, Any]]]:
    if not isinstance(results, Comparison):
        return []
    rows = []
    for one in results.differences():
        e: Estimate = one.estimate
        apart = "yes" if e.low > 0 or e.high < 0 else "no" if math.isfinite(e.low) else "n/a"
        texts: list[tuple[str, float | str]] = [
            (one.layer or "(model)",) * 2,
            (one.first,) * 2,
            (one.second,) * 2,
            (str(e), e.value),
            (apart,) * 2,
        ]
        rows.append([{"text": text, "key": _key(key)} for text, key in texts])
    return rows


def _figures(named: dict[str, Measurement], results: Results) -> list[dict[str, str]]:
    """The pictures of the whole."""
    from padprint import plot

    if isinstance(results, Comparison) and results.layers and len(named) > 1:
        words = "SNR of each measurement by layer, and below it the patterns' root mean squares, one scale a layer."
        return [{"svg": svg(plot.comparison(results), words)}]
    found = []
    for name, one in named.items():
        if not one.layers:
            continue
        of = f" of {name}" if len(named) > 1 else ""
        found.append({"svg": svg(plot.depth(one), f"SNR and relative size of the pattern{of} by layer.")})
        found.append({"svg": svg(plot.aware_channels(one), f"Padding-aware channels{of} by layer and side.")})
    return found


def _section(
    i: int, name: str, layer: LayerMeasurement, measurement: Measurement, named: Mapping[str, Measurement], count: int
) -> dict[str, Any]:
    """One layer of one measurement; `count` of them are in the page."""
    from padprint import plot

    several, label = len(named) > 1, layer.name or "(model)"
    scale = plot.scale_of(*(one[layer.name] for one in named.values() if layer.name in one))
    drawn = []
    if count <= MANY and "all" in layer.profile and len(layer.profile["all"].cells):
        drawn.append((plot.profile(layer), "Pattern, noise and response against the distance to the border."))
    maps = [
        layer_map(layer, measurement.crop, title="Size: root mean square over channels", limit=scale[1]),
        layer_map(layer, measurement.crop, title="Sign: mean over channels", limit=scale[0], signed=True),
    ]
    place = list(measurement).index(layer.name) + 1
    return {
        "id": f"layer-{i}",
        "label": f"{name}: {place} {label}" if several else f"{place} {label}",
        "findings": layer_findings(layer),
        "notes": list(layer.notes),
        "maps": [{"id": f"map-{i}-{k}", "map": one} for k, one in enumerate(maps)],
        "figures": [{"svg": svg(figure, f"{label}. {words}")} for figure, words in drawn],
        "channels": channel_maps(layer, MAPS_BUDGET // count),
    }


def _provenance(one: Measurement) -> list[tuple[str, str]]:
    entries = names_only({key: value for key, value in one.provenance.items() if key != "command"})
    return [(key.replace("_", " "), _said(value)) for key, value in entries.items()]


def _said(value: Any) -> str:
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {entry}" for key, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _key(key: float | str) -> float | str:
    """What a table sorts by; what is not known comes last."""
    return "" if isinstance(key, float) and math.isnan(key) else key
