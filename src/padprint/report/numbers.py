"""Tables of a page: texts with what each is sorted by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from padprint.report.command import names_only
from padprint.report.levels import level
from padprint.results import tables
from padprint.results.comparison import Comparison
from padprint.results.measurement import LayerMeasurement, Measurement
from padprint.support import wording
from padprint.support.axes import side_names

if TYPE_CHECKING:
    from padprint.results.measurement import Estimate


def columns(axes: int = 2) -> tuple[str, ...]:
    """Headers of the table of layers, of networks over so many axes."""
    return (
        *("layer", "mark", "stride (px)", "SNR [95 %]", "rms", "MAE (floor)", "relative (%) [95 %]", "positional (%)"),
        "aware channels",
        f"rim px, {' '.join(side_names(axes))}",
    )


def layer_row(layer: LayerMeasurement) -> list[dict[str, Any]]:
    """One layer's cells, in the order of `columns`."""
    texts = tables.cells(layer)
    share = 100 * layer.channels.count / max(1, len(layer.pattern))
    relative, positional = layer.relative, tables.shown(layer, "positional").value
    percents = type(relative)(100 * relative.value, 100 * relative.low, 100 * relative.high)
    return cells(
        (texts[0], texts[0]),
        (level(layer) or "n/a", relative.low),
        (texts[1], layer.stride[0]),
        (texts[2], layer.snr.value),
        (texts[3], layer.rms.value),
        (texts[4], layer.mae.value),
        (wording.interval(percents), relative.value),
        (wording.number(100 * positional), positional),
        (wording.aware(layer), share),
        (" ".join(f"{side:g}" for side in layer.rim_pixels), max(layer.rim_pixels)),
    )


def cells(*texts: tuple[str, float | str]) -> list[dict[str, Any]]:
    """A row of a table that can be sorted, from (text, what it is sorted by); what is not known comes last."""
    return [{"text": text, "key": "" if isinstance(key, float) and math.isnan(key) else key} for text, key in texts]


def difference_rows(result: Comparison) -> list[list[dict[str, Any]]]:
    """Every pair of measurements in every layer: by how much their SNRs differ, and whether they are apart."""
    rows = []
    for difference in result.differences():
        e: Estimate = difference.estimate
        apart = "yes" if e.low > 0 or e.high < 0 else "no" if math.isfinite(e.low) else "n/a"
        rows.append(
            cells(
                ((difference.layer or "(model)"),) * 2,
                (difference.first,) * 2,
                (difference.second,) * 2,
                (str(e), e.value),
                (apart,) * 2,
            )
        )
    return rows


def provenance(measured: Measurement) -> list[tuple[str, str]]:
    """What a result was made of and with, without the folders it was made in."""
    entries = names_only({key: value for key, value in measured.provenance.items() if key != "command"})
    return [(key.replace("_", " "), _said(value)) for key, value in entries.items()]


def _said(value: Any) -> str:
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {entry}" for key, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
