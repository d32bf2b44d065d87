"""The page of a reliability study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint.plot._base import figure_of, new_figure
from padprint.report.charts import svg
from padprint.report.plain import Chart, Plain, Table, plain_page
from padprint.studies import reliability_figure
from padprint.studies.pages import rows_of, settings_of, some, table_of
from padprint.studies.reliability_tables import TABLES
from padprint.support.wording import count

if TYPE_CHECKING:
    from padprint.studies.reliability_tables import Reliability


def reliability_page(study: Reliability) -> str:
    """The page of a reliability study.

    Raises:
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    columns = ("metric", "about", "false alarms", "misses", "least seen")
    summary = study.summary()
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
        draw(axes, study)
        charts.append(Chart(svg(figure_of(axes), words), words))
    return plain_page(
        Plain(
            heading="Which metric of position can be trusted?",
            title="",
            verdict=reliability_verdict(study),
            lead=[
                "A false alarm says that padding tells position where it does not; a miss says nothing where it does. Metrics "
                "about the response are not meant to tell the two apart. Least seen: the smallest injected pattern, in units "
                "of the features' size, from which on a metric says position; 0: it says so where nothing was injected.",
                f"{count(study.settings['repetitions'], 'repetition')}: with more of them, smaller patterns are seen and fewer "
                "errors are chance.",
            ],
            first=[Table("Errors of each metric", columns, rows_of(summary, columns))],
            charts=charts,
            steps=[
                {
                    "text": "Measure a network of yours by the pattern, which has these errors and an interval of its own:",
                    "command": "padprint measure MODEL IMAGES --output result --report",
                },
                {
                    "text": "Add repetitions to this study; those that are there are kept:",
                    "command": f"padprint study reliability --output FOLDER --repetitions {4 * study.settings['repetitions']}",
                },
            ],
            tables=[table_of(name.capitalize(), table) for name in TABLES if len(table := getattr(study, name)())],
            remarks=study.lines(),
            settings=settings_of(study.settings),
        )
    )


def reliability_verdict(study: Reliability) -> str:
    """One sentence: which metrics of position err least and most, and which sees the smallest pattern without false alarms."""
    summary = study.summary()
    own = summary[summary["about"] == "position"]
    if own.empty:
        return "No metric of position was tried."
    errors = own["false alarms"] + own["misses"]
    best, worst = int(errors.min()), int(errors.max())
    said = f"On {count(study.truths()['network'].nunique(), 'network')} of which the truth is known, "
    if best == worst:
        said += f"all metrics of position err alike ({best or 'no'} errors)"
    else:
        said += (
            f"the fewest errors are made by {some(own['metric'][errors == best])} ({best or 'none'}), the most by "
            f"{some(own['metric'][errors == worst])} ({worst})"
        )
    sound = own[(own["false alarms"] == 0) & (own["least seen"] > 0)]
    if len(sound):
        least = sound["least seen"].min()
        said += (
            f"; without a false alarm, the smallest pattern is seen by {some(sound['metric'][sound['least seen'] == least])}: "
            f"{100 * least:.3g} % of the features' size"
        )
    return f"{said}."
