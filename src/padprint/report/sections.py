"""The parts of a page that are about layers: the row of maps, and each layer's section."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from padprint import plot
from padprint.plot._base import new_figure
from padprint.plot.maps import scale_of
from padprint.plot.views import views
from padprint.report.charts import svg
from padprint.report.compared import bracketed, ratio
from padprint.report.levels import everywhere, level, reach, shown_first
from padprint.report.maps import emergence_maps, layer_map
from padprint.report.pictures import channel_maps
from padprint.report.words import layer_findings
from padprint.results.measurement import LayerMeasurement, Measurement
from padprint.support import wording
from padprint.support.wording import percent

Named = Mapping[str, Measurement]

MAPS_BUDGET = 1_000_000
"""Bytes of channel maps in a page."""
MANY = 12
"""With more layers than this, each has its maps alone, without features and profile: a page stays small."""
HERO = 5
"""Maps in the row over depth."""


def over_depth(measured: Measurement) -> list[dict[str, Any]]:
    """The row of maps: every layer of a measurement, or of many some, with the one that is shown first."""
    layers = list(measured.values())
    places = set(range(len(layers)))
    if len(layers) > HERO:
        first, last = list(measured).index(shown_first(measured)), len(layers) - 1
        even = [round(i * last / (HERO - 1)) for i in range(HERO)]
        near = min(even[1:-1], key=lambda place: abs(place - first))  # gives way to the one that is shown first
        places = {first if place == near and first not in even else place for place in even}
    return [
        view(
            f"hero-{i}",
            layers[i],
            measured,
            title=f"{i + 1} {wording.label(layers[i].name)}",
            caption=_strength(layers[i], measured),
            limit=scale_of(layers[i])[1],
        )
        for i in sorted(places)
    ]


def side_by_side(id_: str, name: str, named: Named, *, paired: bool) -> list[dict[str, Any]]:
    """The row of maps: one layer of every measurement that has it, on one scale.

    Args:
        id_: beginning of the maps' ids.
        name: the layer.
        named: the measurements; the first that has the layer is what the others are compared with.
        paired: whether they are over the same crops, so that shares have intervals.
    """
    having = {label: measured for label, measured in named.items() if name in measured}
    limit = _limits(having, name)[1]
    reference = next(iter(having))
    row = []
    for i, (label, measured) in enumerate(having.items()):
        layer = measured[name]
        caption = _strength(layer, measured)
        if paired and label != reference and level(layer) not in (None, "none"):
            left = ratio(layer.relative, having[reference][name].relative)
            if not math.isnan(left.value):
                caption += f"; {bracketed(left)} of that with {reference}"
        row.append(view(f"{id_}-{i}", layer, measured, title=wording.label(label), caption=caption, limit=limit))
    return row


def _limits(having: Named, name: str) -> tuple[float, float]:
    """Where the scales of a layer's mean and of its size end: at the first measurement's largest, so that its pattern is seen.

    Where the first has none, at the largest of all.
    """
    layers = [measured[name] for measured in having.values()]
    return scale_of(layers[0]) if layers[0].snr.value > 0 else scale_of(*layers)


def layer_sections(named: Named, *, paired: bool, above: str | None) -> list[dict[str, Any]]:
    """A section for each layer, with all measurements of it in one.

    Args:
        named: the measurements.
        paired: whether they are over the same crops.
        above: the layer whose row of maps stands above all sections, and not in its own again; None if there is none.
    """
    names = list(dict.fromkeys(name for measured in named.values() for name in measured))
    count = sum(len(measured) for measured in named.values())
    sections = []
    for i, name in enumerate(names):
        having = {label: measured for label, measured in named.items() if name in measured}
        several = len(named) > 1
        sections.append(
            {
                "id": f"layer-{i}",
                "label": f"{i + 1} {wording.label(name)}",
                "above": several and name == above,
                "row": side_by_side(f"row-{i}", name, having, paired=paired) if several and name != above else [],
                "views": [
                    _view(f"{i}-{k}", label, measured, name, having, count)
                    for k, (label, measured) in enumerate(having.items())
                ],
            }
        )
    return sections


def view(id_: str, layer: LayerMeasurement, measured: Measurement, **texts: Any) -> dict[str, Any]:
    """A map with its id, its level, and whether chance is all that it is known to show."""
    word = level(layer)
    return {"id": id_, "map": layer_map(layer, measured.crop, **texts), "level": word, "chance": word in (None, "none")}


def scale_table(named: Named) -> dict[str, Any]:
    """How strong each layer's pattern is in each measurement: the word, and the size with its interval.

    Layers are rows, or columns where there are more measurements than layers.
    """
    layers = list(dict.fromkeys(name for measured in named.values() for name in measured))
    labels, columns = (
        [f"{i + 1} {wording.label(name)}" for i, name in enumerate(layers)],
        list(map(wording.label, named)),
    )
    rows = [[_entry(measured[name]) if name in measured else None for measured in named.values()] for name in layers]
    corner = "layer"
    if len(columns) > len(labels):
        labels, columns, rows, corner = columns, labels, [list(row) for row in zip(*rows, strict=True)], "measured"
    scale = {"corner": corner, "columns": columns if len(named) > 1 else ["mark"]}
    return scale | {"rows": list(zip(labels, rows, strict=True))}


def _entry(layer: LayerMeasurement) -> dict[str, str]:
    word, high = level(layer), layer.relative.high
    if word == "none":
        return {"level": "none", "size": f"up to {percent(high)}" if high > 0 else ""}
    return {"level": word or "n/a", "size": bracketed(layer.relative)}


def _strength(layer: LayerMeasurement, measured: Measurement) -> str:
    """Size and reach of a pattern, in a caption."""
    if level(layer) is None:
        return "no number: the features do not vary, or are not finite"
    if level(layer) == "none":
        bound = layer.relative.high
        return (
            f"what is drawn may be chance; up to {percent(bound)} of the features' size cannot be ruled out"
            if math.isfinite(bound) and bound
            else "padding changes nothing here"
            if bound == 0
            else "what is drawn may be chance"
        )
    px = reach(layer)
    size = f"{bracketed(layer.relative)} of the features' size"
    if px is None:
        return size
    return f"{size}, most {'over the whole frame' if everywhere(layer, measured.crop) else f'within {max(1, round(px))} px'}"


def _view(id_: str, label: str, measured: Measurement, name: str, having: Named, count: int) -> dict[str, Any]:
    """One layer of one measurement; `count` of them are in the page."""
    layer = measured[name]
    limits = _limits(having, name)
    maps = []
    for place, shown in enumerate(views(layer, measured.crop)):
        own = f"map-{id_}" + (f"-{place}" if place else "")
        size, sign = "Size: root mean square over channels", "Sign: mean over channels"
        if len(measured.crop) == 1:
            size, sign = "Size of each channel", "Sign of each channel"
        maps += [
            view(f"{own}-size", layer, measured, title=size, limit=limits[1], view=shown),
            view(f"{own}-sign", layer, measured, title=sign, limit=limits[0], signed=True, view=shown),
        ]
    return {
        "name": wording.label(label),
        "findings": layer_findings(layer),
        "notes": list(layer.notes),
        "maps": [shown | {"level": None} for shown in maps],
        "features": emergence_maps(layer, measured.crop) if count <= MANY else [],
        "figures": profile_figures(layer) if count <= MANY else [],
        "id": f"channels-{id_}",
        "channels": channel_maps(layer, MAPS_BUDGET // max(1, count)),
    }


def profile_figures(layer: LayerMeasurement) -> Sequence[dict[str, str]]:
    """Pattern, noise and response by distance to the border, and the pattern of each side, each a chart of its own."""
    if "all" not in layer.profile or len(layer.profile["all"].cells) == 0:
        return []
    panels = [new_figure(4.8, 3.4).add_subplot() for _ in range(2)]
    plot.profile(layer, ax=panels)
    words = (
        "Pattern, noise and response against the distance to the border.",
        "The pattern of each side against the distance to it.",
    )
    bands = " Bands: 95 % intervals; arrows at the bottom: they reach below it."
    return [
        _chart(axes, f"{layer.name or 'The model'}: {text}") | {"caption": text + bands}
        for axes, text in zip(panels, words, strict=True)
    ]


def depth_figures(measured: Measurement) -> Sequence[dict[str, str]]:
    """SNR and relative size by layer, and the channels that tell position, each a chart of its own."""
    panels = [new_figure(max(4.8, min(9.0, 0.3 * len(measured) + 2)), 3.6).add_subplot() for _ in range(2)]
    plot.depth(measured, ax=panels)
    aware = new_figure(4.8, 0.35 * len(measured) + 1.8).add_subplot()
    plot.aware_channels(measured, ax=aware)
    words = (
        "SNR of each layer",
        "Relative size of the pattern in each layer",
        "Padding-aware channels by layer and side",
    )
    return [_chart(axes, f"{text}.") for axes, text in zip((*panels, aware), words, strict=True)]


def _chart(axes: Any, alt: str) -> dict[str, str]:
    return {"svg": svg(axes.figure, alt)}
