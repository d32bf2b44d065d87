"""The page of a formation study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from padprint.report.plain import Plain, Table, plain_page
from padprint.studies import formation_report
from padprint.studies.pages import NAMED, charts_of, settings_of, table_of, values_of
from padprint.support.wording import listed, number

if TYPE_CHECKING:
    import pandas as pd


def formation_page(table: pd.DataFrame, findings: dict[str, Any]) -> str:
    """The page of a formation study.

    Args:
        table: of the study.
        findings: as `padprint.studies.formation_report.document` gives it.

    Raises:
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    gains = findings.get("gains", {})
    shown = ("trainings", "initial", "trained", "ratio", "low", "high")
    panels = [
        (
            formation_report.curves,
            ("network", "task"),
            "SNR against training steps: a thin line for each seed, a thick one for their mean.",
        ),
        (
            formation_report.before_and_after,
            ("depth",),
            "SNR before and after training, in one layer: a point is a training.",
        ),
        (
            formation_report.variance,
            (),
            "Shares of the variance of the pattern's size that go with each factor, 95 % intervals.",
        ),
    ]
    return plain_page(
        Plain(
            heading="How training forms the pattern",
            title="",
            verdict=formation_verdict(findings),
            lead=[
                "Networks were trained with each padding, and what padding tells their features about position was measured along "
                "the way. Factors are of the SNR, means over trainings and layers; their intervals cover the choice of seeds, of "
                "which two give hardly any.",
            ],
            first=[_gains_table("padding", "scheme", gains["scheme"])] if gains else [],
            charts=[chart for draw, by, words in panels for chart in charts_of(draw, table, by, words)],
            steps=[
                {
                    "text": "See what these networks do with other padding, other input sizes and fewer images:",
                    "command": "padprint study properties FOLDER --report",
                },
                *(
                    {
                        "text": f"To train a network of yours with {row['scheme']}, which left the least pattern here, in Python:",
                        "command": f"model = padprint.padding.convert(model, {row['scheme']!r})",
                    }
                    for row in sorted(gains.get("scheme", ()), key=_trained)[:1]
                ),
            ],
            tables=[
                *(
                    Table(f"Before and after, by {by}", (by, *shown), [values_of(row, (by, *shown)) for row in rows])
                    for by, rows in gains.items()
                    if by != "scheme"
                ),
                table_of("Trainings", formation_report.trainings(table)),
            ],
            remarks=formation_report.words(table, findings),
            settings=settings_of(findings["config"]),
            voids=[findings["not_analysed"]] if "not_analysed" in findings else [],
        )
    )


def _gains_table(title: str, key: str, rows: Sequence[dict[str, Any]]) -> Table:
    headers = (title, "SNR before", "after", "factor [95 %]")
    return Table(
        "What training does to the SNR",
        headers,
        [(row[key], number(row["initial"]), number(row["trained"]), _factor(row)) for row in rows],
    )


def formation_verdict(findings: dict[str, Any]) -> str:
    """One sentence: with which padding training makes the pattern larger, smaller, or neither as far as intervals carry it."""
    rows = findings.get("gains", {}).get("scheme", [])
    if not rows:
        return "No training has finished and learned its task: there is nothing to say yet."
    larger = [row for row in rows if row["low"] is not None and row["low"] > 1]
    smaller = [row for row in rows if row["high"] is not None and row["high"] < 1]
    untold = [row for row in rows if row not in larger and row not in smaller]
    said = []
    for word, group in (("larger", larger), ("smaller", smaller)):
        if group:
            parts = [f"{row['scheme']} ({_factor(row)} times)" for row in group[:NAMED]]
            parts += [f"{len(group) - NAMED} more"] * (len(group) > NAMED)
            said.append(f"training makes the pattern {word} against the noise with {listed(parts)}")
    if untold:
        names = [f"{row['scheme']} ({_factor(row)} times)" for row in untold[:NAMED]]
        names += [f"{len(untold) - NAMED} more"] * (len(untold) > NAMED)
        said.append(f"with {listed(names)} no change can be told from these seeds")
    least, most = min(rows, key=_trained), max(rows, key=_trained)
    if least is not most:
        said.append(
            f"after training {least['scheme']} has the least SNR ({number(least['trained'])}), {most['scheme']} the most "
            f"({number(most['trained'])})"
        )
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _trained(row: dict[str, Any]) -> float:
    return float(row["trained"])


def _factor(row: dict[str, Any]) -> str:
    ends = (
        "" if row["low"] is None or not math.isfinite(row["low"]) else f" [{number(row['low'])}, {number(row['high'])}]"
    )
    return f"{number(row['ratio'])}{ends}"
