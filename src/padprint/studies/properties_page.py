"""The page of a properties study."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from padprint.errors import PadprintError
from padprint.report.charts import svg
from padprint.report.plain import Chart, Plain, Table, plain_page
from padprint.studies import properties_report
from padprint.studies.formation_finding import FLOOR
from padprint.studies.pages import charts_of, table_of
from padprint.support.wording import number

if TYPE_CHECKING:
    from padprint.studies.properties_report import Tables


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
        chart
        for part, draw, words in panels
        if part in tables
        for chart in charts_of(draw, tables[part], ("network",), words)
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
            tables=[table_of(name.capitalize(), table) for name, table in tables.items()],
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
