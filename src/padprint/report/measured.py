"""What the page of measurements says: of one, of several over the same crops, and of several side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from padprint import plot
from padprint.measuring.options import OWN
from padprint.plot._base import figure_of, new_figure
from padprint.report import numbers
from padprint.report.advice import steps, what_to_do
from padprint.report.charts import svg
from padprint.report.command import names_only
from padprint.report.compared import comparison_verdict
from padprint.report.levels import WORDS, shown_first, stands_out
from padprint.report.sections import depth_figures, layer_sections, over_depth, scale_table, side_by_side
from padprint.report.verdict import verdict, voids
from padprint.report.words import comparison_findings
from padprint.results import tables
from padprint.results.comparison import Comparison
from padprint.results.measurement import Measurement
from padprint.support import wording
from padprint.support.wording import listed

IN_PYTHON = "padprint.measure(...)"
MEANING = (
    "Padding adds a pattern to the features near the border that is the same in every image, whatever it shows: from it the network can "
    "tell where it is in the frame. It matters where tiles are joined, where inputs have another size than in training, and where "
    "what lies at the border counts."
)
SWAPPED = "This measures other padding in the network as it is; a network that is trained with it may differ in either direction."


def content(named: Mapping[str, Measurement], result: Comparison | None) -> dict[str, Any]:
    """Everything that ``page.html.j2`` names.

    Args:
        named: the measurements, at least one of which has a layer.
        result: the same, where they are over the same crops.
    """
    several = len(named) > 1
    first = next(measured for measured in named.values() if measured.layers)
    layer = _first_layer(named, result)
    shared = several and layer in first
    sections = layer_sections(named, paired=result is not None, above=layer if shared else None)
    hero = side_by_side("hero", layer, named, paired=result is not None) if shared else over_depth(first)
    views = [view for section in sections for view in section["views"]]
    maps = [
        *hero,
        *(shown for section in sections for shown in section["row"]),
        *(shown for v in views for shown in v["maps"]),
    ]
    return {
        "title": _title(named),
        "several": several,
        "voids": names_only(_voids(named)),
        **_said(named, result),
        "hero": hero,
        "hero_title": f"What is left in {wording.label(layer)}" if shared else "From layer to layer",
        "scale": scale_table(named) if several or len(first) > len(hero) else {"rows": []},
        "words": WORDS,
        "steps": steps(first, result),
        "measurements": [
            {
                "name": name,
                "summary": tables.summary(measured),
                "provenance": numbers.provenance(measured),
                "command": names_only(str(measured.provenance.get("command") or IN_PYTHON)),
            }
            for name, measured in named.items()
        ],
        "remarks": names_only(_remarks(named, result) if several else tables.remarks(first)),
        "columns": numbers.columns(len(first.crop)),
        "rows": [(name, numbers.layer_row(layer)) for name, measured in named.items() for layer in measured.values()],
        "differences": [] if result is None else numbers.difference_rows(result),
        "findings": [] if result is None or not several else comparison_findings(result),
        "figures": _figures(named, result),
        "sections": sections,
        "first": next(i for i, section in enumerate(sections) if section["label"] == f"{i + 1} {wording.label(layer)}"),
        "data": {
            "channels": {view["id"]: view.pop("channels") for view in views},
            "maps": {shown["id"]: shown["map"].data for shown in maps},
        },
    }


def _title(named: Mapping[str, Measurement]) -> str:
    """The model; of several measurements their names as well, or of many how many they are."""
    if len(named) == 1:
        return next(iter(named))
    models = dict.fromkeys(str(measured.provenance.get("model") or "model") for measured in named.values())
    names = listed(list(named)) if len(named) <= 6 else f"{len(named)} measurements"
    return names if len(models) > 1 else f"{next(iter(models))}: {names}"


def _said(named: Mapping[str, Measurement], result: Comparison | None) -> dict[str, Any]:
    """The verdict, and the lines below it."""
    if len(named) == 1:
        only = next(iter(named.values()))
        meaning = [MEANING] if any(map(stands_out, only.values())) else []
        return {"verdict": verdict(only), "lead": [what_to_do(only, only.provenance.get("strides")), *meaning]}
    each = [f"{_with(name)}: {_small(verdict(measured))}" for name, measured in named.items() if measured.layers]
    if result is None:
        words = "These measurements are not over the same crops: they stand side by side, and nothing is said of differences."
        return {"verdict": words, "lead": each}
    swapped = [SWAPPED] if any(measured.provenance.get("padding") for measured in named.values()) else []
    return {"verdict": comparison_verdict(result), "lead": [*swapped, *each[:1]]}


def _with(name: str) -> str:
    return "With its own padding" if name == OWN else name


def _small(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _voids(named: Mapping[str, Measurement]) -> list[str]:
    """What voids the verdict, each line once, with the names of those it is about where not of all."""
    said: dict[str, list[str]] = {}
    for name, measured in named.items():
        for line in voids(measured):
            said.setdefault(line, []).append(wording.label(name))
    return [line if len(names) == len(named) else f"{', '.join(names)}: {line}" for line, names in said.items()]


def _remarks(named: Mapping[str, Measurement], result: Comparison | None) -> list[str]:
    """What must be known of several measurements."""
    return [*([] if result is None else tables.absent(result)), *tables.shared_remarks(named)]


def _first_layer(named: Mapping[str, Measurement], result: Comparison | None) -> str:
    """The layer to show first: of those that all have, where there are any."""
    first = next(measured for measured in named.values() if measured.layers)
    shared = (
        result.layers
        if result is not None
        else [name for name in first if all(name in measured for measured in named.values())]
    )
    return shown_first(first, shared or list(first))


def _figures(named: Mapping[str, Measurement], result: Comparison | None) -> list[dict[str, str]]:
    """The charts of the whole."""
    if result is not None and result.layers and len(named) > 1:
        axes = new_figure(max(4.8, min(9.0, 0.5 * len(result.layers) + 2)), 3.8).add_subplot()
        plot.comparison(result, ax=axes)
        return [{"svg": svg(figure_of(axes), "SNR of each measurement by layer.")}]
    return [
        figure | ({"caption": name} if len(named) > 1 else {})
        for name, each in named.items()
        if each.layers
        for figure in depth_figures(each)
    ]
