"""Results to one HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padprint import __version__, _atomic, _saved, _tables
from padprint.comparison import Comparison, load_comparison
from padprint.errors import MissingPackageError, ResultError
from padprint.report.command import names_only
from padprint.report.pictures import channel_maps, data_uri
from padprint.report.words import comparison_findings, findings, layer_findings
from padprint.result import LayerMeasurement, Measurement, load

if TYPE_CHECKING:
    from padprint.result import Estimate

Results = Measurement | Comparison | Mapping[str, Measurement]

MAPS_BUDGET = 1_000_000
"""Bytes of channel maps in a page."""
MANY = 12
"""With more layers than this, each has its map alone, without emergence and profile: a page stays under 5 MB."""
IN_PYTHON = "padprint.measure(...)"


def check_available() -> None:
    """Say early that no report can be written.

    Raises:
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    from padprint import plot

    if find_spec("jinja2") is None:
        raise MissingPackageError("jinja2 is needed to write a report: pip install jinja2")
    plot.check_available()


def write(results: Results, path: str | Path) -> Path:
    """Write the report of a measurement, a comparison, or several measurements by name.

    Args:
        results: what to show.
        path: the HTML file; its folder is made. It takes its place when it is complete.

    Raises:
        ResultError: there is nothing to show, or the path is a folder or its folder a file.
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    path = Path(path)
    page = render(results)
    if path.is_dir():
        raise ResultError(f"{path} is a folder; name the file to write, such as {path / 'report.html'}")
    _atomic.publish(path.parent, lambda unfinished: (unfinished / path.name).write_text(page, encoding="utf-8"))
    return path


def render(results: Results) -> str:
    """The page as text, everything in it: nothing is fetched when it is shown.

    Raises:
        ResultError: there is nothing to show.
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    check_available()
    from jinja2 import Environment, PackageLoader, StrictUndefined

    named = _named(results)
    if not any(one.layers for one in named.values()):
        raise ResultError("no layer was measured, so there is nothing to report")
    environment = Environment(
        loader=PackageLoader("padprint", "report/assets"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    assets = Path(__file__).parent / "assets"
    page = environment.get_template("page.html.j2").render(
        css=(assets / "page.css").read_text(encoding="utf-8"),
        js=(assets / "page.js").read_text(encoding="utf-8"),
        version=__version__,
        **_content(named, results),
    )
    return page.encode(errors="backslashreplace").decode()  # file names that are no UTF-8


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
    return {
        "title": " and ".join(named) if len(named) < 3 else f"{len(named)} measurements",
        "several": several,
        "measurements": [
            {
                "name": name,
                "summary": _tables.summary(one),
                "findings": findings(one)[: 2 if several else None],
                "remarks": [] if several else names_only(_tables.remarks(one)),
                "provenance": _provenance(one),
                "command": names_only(str(one.provenance.get("command") or IN_PYTHON)),
            }
            for name, one in named.items()
        ],
        "common": comparison_findings(results) if isinstance(results, Comparison) else [],
        "remarks": names_only(_remarks(named, results)) if several else [],
        "columns": COLUMNS,
        "rows": [_row(name, layer) for name, layer, _ in sections],
        "differences": _differences(results),
        "figures": _figures(named, results),
        "sections": shown,
        "data": {section["id"]: section.pop("maps") for section in shown},
    }


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
        return [{"src": data_uri(plot.comparison(results)), "alt": words}]
    found = []
    for name, one in named.items():
        if not one.layers:
            continue
        of = f" of {name}" if len(named) > 1 else ""
        found.append({"src": data_uri(plot.depth(one)), "alt": f"SNR and relative size of the pattern{of} by layer."})
        found.append(
            {"src": data_uri(plot.aware_channels(one)), "alt": f"Padding-aware channels{of} by layer and side."}
        )
    return found


def _section(
    i: int, name: str, layer: LayerMeasurement, measurement: Measurement, named: Mapping[str, Measurement], count: int
) -> dict[str, Any]:
    """One layer of one measurement; `count` of them are in the page."""
    from padprint import plot

    several, label = len(named) > 1, layer.name or "(model)"
    scale = plot.scale_of(*(one[layer.name] for one in named.values() if layer.name in one))
    words = "Pattern: mean and root mean square over channels."
    if several:
        words += " One scale for all measurements of the layer."
    drawn = [(plot.pattern_map(layer, measurement.crop, limits=scale), words)]
    if count <= MANY:
        words = "Features averaged over channels and ever more crops, and the pattern at the right."
        drawn.append((plot.emergence(layer, measurement.crop), words))
        if "all" in layer.profile and len(layer.profile["all"].cells):
            drawn.append((plot.profile(layer), "Pattern, noise and response against the distance to the border."))
    return {
        "id": f"layer-{i}",
        "label": f"{name}: {label}" if several else label,
        "findings": layer_findings(layer),
        "notes": list(layer.notes),
        "figures": [{"src": data_uri(figure), "alt": f"{label}. {words}"} for figure, words in drawn],
        "maps": channel_maps(layer, MAPS_BUDGET // count),
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
