"""Studies as pages: a verdict, tables to decide by, charts of one panel each, and what one can do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from padprint.errors import PadprintError
from padprint.plot._base import figure_of, new_figure
from padprint.report import names_only
from padprint.report.charts import svg
from padprint.report.plain import Chart, Plain, Table, plain_page
from padprint.studies import formation_report, properties_report, reliability_figure
from padprint.studies.formation_finding import FLOOR
from padprint.studies.reliability_tables import TABLES
from padprint.support.wording import count, listed, number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from padprint.studies.properties_report import Tables
    from padprint.studies.reliability_tables import Reliability

_NAMED = 3
"""Names in a sentence; further ones are counted."""


# ---------------------------------------------------------------------------------------------------------- reliability


def reliability_page(found: Reliability) -> str:
    """The page of a reliability study.

    Raises:
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    columns = ("metric", "about", "false alarms", "misses", "least seen")
    summary = found.summary()
    parts = (
        (
            reliability_figure.spread,
            (5.2, 4.8),
            "Spread: standard deviation over mean, on networks that tell position.",
        ),
        (reliability_figure.truths, (5.2, 6.4), "What each metric says of position from padding, against the truth."),
        (
            reliability_figure.doses,
            (4.8, 3.8),
            "Response to an injected pattern, each curve in units of its largest value.",
        ),
    )
    charts = []
    for draw, size, words in parts:
        axes = new_figure(*size).add_subplot()
        draw(axes, found)
        charts.append(Chart(svg(figure_of(axes), words), words))
    return plain_page(
        Plain(
            heading="Which metric of position can be trusted?",
            title="",
            verdict=reliability_verdict(found),
            lead=[
                "A false alarm says that padding tells position where it does not; a miss says nothing where it does. Metrics "
                "about the response are not meant to tell the two apart. Least seen: the smallest injected pattern, in units "
                "of the features' size, from which on a metric says position; 0: it says so where nothing was injected.",
                f"{count(found.settings['repetitions'], 'repetition')}: with more of them, smaller patterns are seen and fewer "
                "errors are chance.",
            ],
            first=[Table("Errors of each metric", columns, _rows(summary, columns))],
            charts=charts,
            steps=[
                {
                    "text": "Measure a network of yours by the pattern, which has these errors and an interval of its own:",
                    "command": "padprint measure MODEL IMAGES --output result --report",
                },
                {
                    "text": "Add repetitions to this study; those that are there are kept:",
                    "command": f"padprint study reliability --output FOLDER --repetitions {4 * found.settings['repetitions']}",
                },
            ],
            tables=[_table(name.capitalize(), table) for name in TABLES if len(table := getattr(found, name)())],
            remarks=found.lines(),
            settings=_settings(found.settings),
        )
    )


def reliability_verdict(found: Reliability) -> str:
    """One sentence: which metrics of position err least and most, and which sees the smallest pattern without false alarms."""
    summary = found.summary()
    own = summary[summary["about"] == "position"]
    if own.empty:
        return "No metric of position was tried."
    errors = own["false alarms"] + own["misses"]
    best, worst = int(errors.min()), int(errors.max())
    said = f"On {count(found.truths()['network'].nunique(), 'network')} of which the truth is known, "
    if best == worst:
        said += f"all metrics of position err alike ({best or 'no'} errors)"
    else:
        said += (
            f"the fewest errors are made by {_some(own['metric'][errors == best])} ({best or 'none'}), the most by "
            f"{_some(own['metric'][errors == worst])} ({worst})"
        )
    sound = own[(own["false alarms"] == 0) & (own["least seen"] > 0)]
    if len(sound):
        least = sound["least seen"].min()
        said += (
            f"; without a false alarm, the smallest pattern is seen by {_some(sound['metric'][sound['least seen'] == least])}: "
            f"{100 * least:.3g} % of the features' size"
        )
    return f"{said}."


# ------------------------------------------------------------------------------------------------------------ formation


def formation_page(table: pd.DataFrame, found: dict[str, Any]) -> str:
    """The page of a formation study.

    Args:
        table: of the study.
        found: as `padprint.studies.formation_report.document` gives it.

    Raises:
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    gains = found.get("gains", {})
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
            verdict=formation_verdict(found),
            lead=[
                "Networks were trained with each padding, and what padding tells their features about position was measured along "
                "the way. Factors are of the SNR, means over trainings and layers; their intervals cover the choice of seeds, of "
                "which two give hardly any.",
            ],
            first=[_gains_table("padding", "scheme", gains["scheme"])] if gains else [],
            charts=[one for draw, by, words in panels for one in _each(draw, table, by, words)],
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
                    Table(f"Before and after, by {by}", (by, *shown), [_values(row, (by, *shown)) for row in rows])
                    for by, rows in gains.items()
                    if by != "scheme"
                ),
                _table("Trainings", formation_report.trainings(table)),
            ],
            remarks=formation_report.words(table, found),
            settings=_settings(found["config"]),
            voids=[found["not_analysed"]] if "not_analysed" in found else [],
        )
    )


def _gains_table(title: str, key: str, rows: Sequence[dict[str, Any]]) -> Table:
    headers = (title, "SNR before", "after", "factor [95 %]")
    return Table(
        "What training does to the SNR",
        headers,
        [(row[key], number(row["initial"]), number(row["trained"]), _factor(row)) for row in rows],
    )


def formation_verdict(found: dict[str, Any]) -> str:
    """One sentence: with which padding training makes the pattern larger, smaller, or neither as far as intervals carry it."""
    rows = found.get("gains", {}).get("scheme", [])
    if not rows:
        return "No training has finished and learned its task: there is nothing to say yet."
    larger = [row for row in rows if row["low"] is not None and row["low"] > 1]
    smaller = [row for row in rows if row["high"] is not None and row["high"] < 1]
    untold = [row for row in rows if row not in larger and row not in smaller]
    said = []
    for word, group in (("larger", larger), ("smaller", smaller)):
        if group:
            parts = [f"{row['scheme']} ({_factor(row)} times)" for row in group[:_NAMED]]
            parts += [f"{len(group) - _NAMED} more"] * (len(group) > _NAMED)
            said.append(f"training makes the pattern {word} against the noise with {listed(parts)}")
    if untold:
        names = [f"{row['scheme']} ({_factor(row)} times)" for row in untold[:_NAMED]]
        names += [f"{len(untold) - _NAMED} more"] * (len(untold) > _NAMED)
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


# ----------------------------------------------------------------------------------------------------------- properties


def properties_page(tables: Tables) -> str:
    """The page of a properties study.

    Raises:
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    charts: list[Chart] = []
    if "swap" in tables:
        charts += [Chart(svg(figure, words), words) for figure, words in properties_report.swap_panels(tables["swap"])]
    panels = (
        (
            "size",
            properties_report.size,
            "The pattern at the bottom and right over that at the top and left, by input size.",
        ),
        ("images", properties_report.images, "SNR against the number of images: plain, and without bias."),
    )
    charts += [
        one for part, draw, words in panels if part in tables for one in _each(draw, tables[part], ("network",), words)
    ]
    first = []
    if "swap" in tables:
        matrix = properties_report.swap_matrix(tables["swap"])
        rows = [(str(name), *(number(float(x)) for x in matrix.loc[name])) for name in matrix.index]
        first.append(
            Table("SNR of the last layer", ("trained with", *(f"run with {run}" for run in matrix.columns)), rows)
        )
    return plain_page(
        Plain(
            heading="Properties of the pattern",
            title="",
            verdict=properties_verdict(tables),
            lead=[
                "The networks of a formation study, measured again: with every padding swapped in, at other input sizes, on ever more "
                "images. Means over trainings; these numbers have no intervals."
            ],
            first=first,
            notes=[f"{FLOOR:g} stands for an SNR of so much or less."] * ("swap" in tables),
            charts=charts,
            steps=[
                {
                    "text": "Swap padding in a network of yours, and check your own metric: the charts show what accuracy a swap left here.",
                    "command": "padprint compare MODEL IMAGES --padding own reflect replicate circular --output swaps --report",
                },
                {
                    "text": "Look for input sizes at which no stride is uneven:",
                    "command": "padprint inspect MODEL --size 224",
                },
            ],
            tables=[_table(name.capitalize(), table) for name, table in tables.items()],
            remarks=properties_report.words(tables),
        )
    )


def properties_verdict(tables: Tables) -> str:
    """One sentence: which padding leaves the least and the most when it is run with, and what that goes with."""
    if "swap" not in tables:
        return "These networks were not run with other padding: see the charts."
    table = tables["swap"]
    matrix = properties_report.swap_matrix(table)
    means = matrix.prod() ** (1 / len(matrix))  # geometric, over what the networks were trained with
    least, most = str(means.idxmin()), str(means.idxmax())
    said = (
        f"Over all that these networks were trained with, running them with {least} leaves the least SNR in the last layer "
        f"({number(means[least])}), with {most} the most ({number(means[most])})"
    )
    with suppress(PadprintError):
        shares = properties_report.swap_shares(table)
        if {"run", "scheme"} <= set(shares):
            said += (
                f"; {100 * shares['run']:.0f} % of the variance of its logarithm goes with the padding that is run with, "
                f"{100 * shares['scheme']:.0f} % with the one of the training"
            )
    return f"{said}."


# -------------------------------------------------------------------------------------------------------------- helpers


def _each(draw: Callable[[Any], Figure], table: pd.DataFrame, by: Sequence[str], words: str) -> Iterator[Chart]:
    """A chart for each group of rows: what is drawn of all in one figure does not fit a phone; without `by`, one chart."""
    groups = [((), table)] if not by else list(table.groupby(list(by), sort=False))
    for name, part in groups:
        with suppress(PadprintError):  # nothing to draw of it
            where = ", ".join(f"{key} {one}" if key == "depth" else str(one) for key, one in zip(by, name, strict=True))
            text = words if not where or len(groups) == 1 else f"{where}: {words}"
            yield Chart(svg(draw(part), text), text)


def _table(title: str, frame: pd.DataFrame) -> Table:
    return Table(title, tuple(map(str, frame.columns)), _rows(frame, tuple(frame.columns)))


def _rows(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str | float, ...]]:
    return [_values(row, columns) for row in frame.to_dict("records")]


def _values(row: dict[Any, Any], columns: Sequence[str]) -> tuple[str | float, ...]:
    return tuple(_cell(row[column]) for column in columns)


def _cell(value: Any) -> str | float:
    """A number, or a text; what is not known is not a number."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return float(value)


def _settings(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Settings as texts, without the folders they name."""
    plain: dict[str, Any] = names_only(values)
    return [
        (key.replace("_", " "), ", ".join(map(str, one)) if isinstance(one, (list, tuple)) else str(one))
        for key, one in plain.items()
    ]


def _some(names: pd.Series[str]) -> str:
    """``a, b, c and 2 more``."""
    every = [name.replace(",", "") for name in names]
    return listed(every if len(every) <= _NAMED else [*every[:_NAMED], f"{len(every) - _NAMED} more"])
