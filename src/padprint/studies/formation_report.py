"""A formation study in words, as JSON, and in pictures."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import padprint
from padprint.errors import PadprintError
from padprint.plot._base import COLOURS, LINES, MARKERS, new_figure
from padprint.studies.anova import Anova
from padprint.studies.formation_config import FormationConfig
from padprint.studies.formation_finding import (
    FLOOR,
    QUANTITIES,
    UNIT,
    analyse,
    ends,
    floored,
    gains,
    learned,
    logarithm,
    spread,
)
from padprint.support.atomic import publish_file
from padprint.support.strict_json import finite

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def document(table: pd.DataFrame, config: FormationConfig) -> dict[str, Any]:
    """Everything found, as plain JSON values: settings, versions, trainings, gains and the analyses of variance."""
    made: dict[str, Any] = {
        "config": config.to_dict(),
        "versions": {
            "padprint": padprint.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "trainings": trainings(table).to_dict("records"),
    }
    try:
        made["gains"] = {by: gains(table, [by]).to_dict("records") for by in ("scheme", "task", "network", "depth")}
        made["spread"] = {quantity: spread(table, quantity) for quantity in QUANTITIES}
        made["floor"] = {"snr": FLOOR, "share_below": floored(table)}
        made["anova"] = {quantity: _plain(analyse(table, quantity)) for quantity in QUANTITIES}
    except PadprintError as error:
        made["not_analysed"] = str(error)
    plain: dict[str, Any] = finite(made)
    return plain


def _plain(analysis: Anova) -> dict[str, Any]:
    return {"rows": analysis.rows, "total": analysis.total, "terms": [vars(term) for term in analysis.terms]}


def trainings(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each training: its unit, held-out accuracy and loss at its last measured step, and whether it learned."""
    last: pd.DataFrame = table.sort_values("step", kind="stable").groupby(UNIT, sort=False).tail(1)
    kept: pd.DataFrame = last[[*UNIT, "step", "accuracy", "loss", "learned"]].reset_index(drop=True)
    kept["learned"] = kept["learned"].map(lambda learned: None if learned is None else bool(learned))
    return kept


def words(table: pd.DataFrame, findings: dict[str, Any]) -> list[str]:
    """What a reader should know first, in lines."""
    every = trainings(table)
    ended = every[every["learned"].notna()]
    failed = ended[ended["learned"].eq(False)]
    lines = [f"{len(ended)} trainings finished; held-out accuracy {_range(ended['accuracy'])}"]
    lines += [
        f"did not learn, and is left out: {row.network}, {row.task}, {row.scheme}, seed {row.seed} ({row.accuracy:.0%})"
        for row in failed.itertuples()
    ]
    for row in findings.get("gains", {}).get("scheme", ()):
        interval = "" if row["low"] is None else f" ({row['low']:.2f} to {row['high']:.2f})"
        lines.append(
            f"{row['scheme']}: SNR {row['initial']:.2g} before training, {row['trained']:.2g} after: times "
            f"{row['ratio']:.2f}{interval}"
        )
    for quantity, apart in findings.get("spread", {}).items():
        steps = list(apart)
        lines.append(
            f"scheme of the largest {quantity} over that of the smallest: times {apart[steps[0]]:.3g} before training, "
            f"{apart[steps[-1]]:.3g} after"
        )
    for quantity, analysis in findings.get("anova", {}).items():
        largest = sorted(analysis["terms"], key=lambda term: -term["share"])[:5]
        shares = ", ".join(f"{term['name']} {term['share']:.1%}" for term in largest)
        lines.append(f"variance of log {quantity}: {shares}")
    return [*lines, *([findings["not_analysed"]] if "not_analysed" in findings else [])]


def _range(values: pd.Series[float]) -> str:
    return f"{values.min():.0%} to {values.max():.0%}" if len(values) else "none"


# ------------------------------------------------------------------------------------------------------------- pictures


def pictures(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw the study's figures; those that the study is too small for are left out.

    Returns:
        The files: ``formation-curves.png``, ``formation-ends.png`` and ``formation-variance.png``.

    Raises:
        MissingPackageError: matplotlib is missing.
    """
    drawn = []
    for name, draw in (("curves", curves), ("ends", before_and_after), ("variance", variance)):
        try:
            figure = draw(table)
        except PadprintError:
            continue
        drawn.append(publish_file(folder / f"formation-{name}.png", figure.savefig))
    return drawn


def curves(table: pd.DataFrame) -> Figure:
    """SNR against training steps, a panel for each network and task: geometric means over layers, one line per seed."""
    ends(table)  # there is something to draw
    kept = learned(table)
    kept = kept.assign(log=logarithm(kept, "snr"))
    networks, tasks = kept["network"].unique(), kept["task"].unique()
    schemes = list(kept["scheme"].unique())
    figure = new_figure(4.2 * len(networks), 3.1 * len(tasks))
    grid = figure.subplots(len(tasks), len(networks), squeeze=False, sharex=True, sharey=True)
    for axes, (task, network) in zip(grid.flat, [(t, n) for t in tasks for n in networks], strict=True):
        panel = kept[(kept["task"] == task) & (kept["network"] == network)]
        for (scheme, _), line in panel.groupby(["scheme", "seed"], sort=False):
            means = line.groupby("step")["log"].mean()
            axes.plot(means.index, 10**means, lw=0.7, alpha=0.45, color=_colour(schemes, scheme))
        for scheme, line in panel.groupby("scheme", sort=False):
            means, at = line.groupby("step")["log"].mean(), schemes.index(scheme)
            style = {"marker": MARKERS[at % len(MARKERS)], "ls": LINES[at % len(LINES)], "ms": 4, "lw": 1.6}
            axes.plot(means.index, 10**means, color=_colour(schemes, scheme), label=scheme, **style)
        _log_axes(axes)
        axes.set_title(f"{network}, {task}", fontsize=9)
        axes.set_xscale("symlog", linthresh=3)
        axes.set_xlim(-0.3, 1.2 * kept["step"].max())
    _label(grid, "training step", "SNR")
    figure.legend(
        *grid.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=8, frameon=False
    )
    return figure


def before_and_after(table: pd.DataFrame) -> Figure:
    """SNR of each scheme before and after training, a panel for each layer; a point is a training."""
    frame = ends(table)
    frame = frame.assign(log=logarithm(frame, "snr"))
    schemes, depths = list(frame["scheme"].unique()), sorted(frame["depth"].unique())
    figure = new_figure(2.7 * len(depths), 3.4)
    grid = figure.subplots(1, len(depths), squeeze=False, sharey=True)
    for axes, depth in zip(grid.flat, depths, strict=True):
        for weights, shift, colour, fill in (
            ("initial", -0.17, COLOURS[1], "none"),
            ("trained", 0.17, COLOURS[0], COLOURS[0]),
        ):
            panel = frame[(frame["depth"] == depth) & (frame["weights"] == weights)]
            places = np.array([schemes.index(scheme) for scheme in panel["scheme"]]) + shift
            axes.scatter(places, 10 ** panel["log"], s=10, facecolors=fill, edgecolors=colour, lw=0.8, label=weights)
            means = panel.groupby("scheme")["log"].mean()
            axes.scatter([schemes.index(s) + shift for s in means.index], 10**means, s=160, marker="_", color=colour)
        _log_axes(axes)
        axes.set_xticks(range(len(schemes)), schemes, rotation=60, ha="right", fontsize=7)
        axes.set_title(f"layer {depth}", fontsize=9)
    _label(grid, "", "SNR")
    grid.flat[-1].legend(fontsize=7)
    return figure


def variance(table: pd.DataFrame) -> Figure:
    """Shares of the variance of log SNR and log MAE, with 95 % intervals where there are seeds."""
    analyses = {quantity: analyse(table, quantity) for quantity in QUANTITIES}
    names = [term.name for term in analyses["snr"].terms]
    figure = new_figure(7.5, 0.26 * len(names) + 1)
    axes = figure.subplots()
    for shift, (quantity, analysis), colour in zip((-0.19, 0.19), analyses.items(), COLOURS, strict=False):
        shares = np.array([term.share for term in analysis.terms])
        bars = np.nan_to_num([[max(0, t.share - t.low), max(0, t.high - t.share)] for t in analysis.terms]).T
        places = np.arange(len(names)) + shift
        axes.barh(places, shares, 0.36, color=colour, label=f"log {quantity}", xerr=bars, error_kw={"lw": 0.8})
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("share of the variance")
    axes.legend(fontsize=8)
    return figure


def _colour(names: Sequence[str], name: str) -> str:
    return COLOURS[list(names).index(name) % len(COLOURS)]


def _log_axes(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)


def _label(grid: Any, below: str, beside: str) -> None:
    for axes in grid[-1]:
        axes.set_xlabel(below)
    for axes in grid[:, 0]:
        axes.set_ylabel(beside)
