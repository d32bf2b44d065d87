"""A properties study in words, as JSON, and in pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padprint.errors import PadprintError
from padprint.plot._base import COLOURS, LINES, MARKERS, new_figure
from padprint.studies.anova import anova
from padprint.studies.formation_finding import FLOOR, logarithm
from padprint.support.atomic import publish_file
from padprint.support.strict_json import finite

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tables = Mapping[str, "pd.DataFrame"]


def document(tables: Tables) -> dict[str, Any]:
    """The tables as plain JSON values."""
    plain: dict[str, Any] = finite({name: table.to_dict("records") for name, table in tables.items()})
    return plain


def swap_matrix(table: pd.DataFrame, value: str = "snr", depth: int | None = None) -> pd.DataFrame:
    """Rows: trained with; columns: run with. Means over trainings; of the SNR geometric ones, floored at -30 dB.

    Args:
        table: part "swap" of `padprint.studies.properties.properties`.
        value: "snr" or "accuracy".
        depth: the layer; None: the last.
    """
    chosen = table[table["depth"] == (table["depth"].max() if depth is None else depth)]
    order = list(dict.fromkeys(chosen["run"]))
    if value == "snr":
        chosen = chosen.assign(snr=np.log10(chosen["snr"].clip(lower=FLOOR)))
    means = chosen.pivot_table(value, "scheme", "run", aggfunc="mean", sort=False)
    rows = [name for name in order if name in means.index]
    matrix: pd.DataFrame = means.loc[rows, order]
    return 10**matrix if value == "snr" else matrix


def swap_shares(table: pd.DataFrame) -> dict[str, float]:
    """How much of the variance of the last layer's log SNR goes with the scheme trained with ("scheme"), and run with ("run").

    Raises:
        PadprintError: too little was varied.
    """
    last = table[table["depth"] == table["depth"].max()]
    last = last.assign(log=logarithm(last, "snr"))
    factors = [name for name in ("scheme", "run", "network", "task") if last[name].nunique() > 1]
    return {term.name: term.share for term in anova(last, "log", factors).terms}


def side_ratio(table: pd.DataFrame) -> pd.DataFrame:
    """Pattern at the far sides over that at the near ones, by network, scheme, crop and depth: medians over trainings.

    A mean square estimated at zero or below leaves no ratio; such trainings are not counted.
    """
    positive = table[(table["near"] > 0) & (table["far"] > 0)].sort_values("crop", kind="stable")
    ratios = positive.assign(ratio=positive["far"] / positive["near"])
    medians: pd.DataFrame = (
        ratios.groupby(["network", "scheme", "crop", "depth"], sort=False)["ratio"].median().reset_index()
    )
    return medians


def words(tables: Tables) -> list[str]:
    """What a reader should know first, in lines."""
    lines = []
    if "swap" in tables:
        matrix, accuracy = swap_matrix(tables["swap"]), swap_matrix(tables["swap"], "accuracy")
        lines.append("last layer, trained with (rows), run with (columns): SNR, and accuracy")
        width = max(map(len, matrix.columns)) + 2
        lines.append(" " * width + "".join(f"{name:>{width}}" for name in matrix.columns))
        for name in matrix.index:
            cells = (f"{matrix.loc[name, run]:.2g} {accuracy.loc[name, run]:.0%}" for run in matrix.columns)
            lines.append(f"{name:<{width}}" + "".join(f"{cell:>{width}}" for cell in cells))
        with suppress(PadprintError):
            shares = ", ".join(f"{name} {share:.0%}" for name, share in swap_shares(tables["swap"]).items())
            lines.append(f"variance of the last layer's log SNR, scheme: trained with, run: run with: {shares}")
    if "size" in tables:
        ratios = side_ratio(tables["size"])
        last = ratios[ratios["depth"] == ratios["depth"].max()]
        for (network, scheme), group in last.groupby(["network", "scheme"], sort=False):
            parts = ", ".join(f"{row.crop} px {row.ratio:.2g}" for row in group.itertuples())
            lines.append(f"{network}, {scheme}: squared pattern at the far sides over the near, last layer: {parts}")
    if "images" in tables:
        table = tables["images"]
        gap = (table["snr_plain"] - table["snr"]) * table["images"]
        lines.append(f"plain SNR less unbiased SNR, times the number of images: median {gap.median():.2f}")
    return lines


def pictures(tables: Tables, folder: Path) -> list[Path]:
    """Draw a figure for each part that is there: ``properties-swap.png``, ``-size.png``, ``-images.png``.

    Raises:
        MissingPackageError: matplotlib is missing.
    """
    drawn = []
    for name, draw in (("swap", swap), ("size", size), ("images", images)):
        if name in tables:
            drawn.append(publish_file(folder / f"properties-{name}.png", draw(tables[name]).savefig))
    return drawn


def swap(table: pd.DataFrame) -> Figure:
    """Trained with A, run with B: the last layer's SNR in dB, and the accuracy that is left."""
    figure = new_figure(9.5, 4.4)
    for axes, part in zip(figure.subplots(1, 2), _matrices(table), strict=True):
        _squares(axes, *part)
    return figure


def swap_panels(table: pd.DataFrame) -> list[tuple[Figure, str]]:
    """The two parts of `swap`, each a figure of its own, and what it shows."""
    lines = []
    for part in _matrices(table):
        figure = new_figure(4.8, 4.2)
        _squares(figure.add_subplot(), *part)
        lines.append((figure, f"{part[0][0].upper()}{part[0][1:]}, by the padding trained with and run with."))
    return lines


def _matrices(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame, str]]:
    level = swap_matrix(table).map(lambda snr: 10 * math.log10(snr))
    return [
        ("SNR of the last layer, dB", level, "{:.0f}"),
        ("held-out accuracy", swap_matrix(table, "accuracy"), "{:.2f}"),
    ]


def _squares(axes: Axes, title: str, matrix: pd.DataFrame, form: str) -> None:
    axes.imshow(matrix, cmap="cividis", aspect="auto")
    axes.set_xticks(range(matrix.shape[1]), matrix.columns, rotation=50, ha="right", fontsize=8)
    axes.set_yticks(range(matrix.shape[0]), matrix.index, fontsize=8)
    axes.set_xlabel("run with")
    axes.set_ylabel("trained with")
    axes.set_title(title, fontsize=9)
    middle = (np.nanmin(matrix) + np.nanmax(matrix)) / 2
    for (y, x), value in np.ndenumerate(matrix.to_numpy()):
        colour = "#fefefe" if value <= middle else "#010101"  # stays as it is where a page puts its own black and white
        axes.text(x, y, form.format(value), ha="center", va="center", fontsize=7, color=colour)


def size(table: pd.DataFrame) -> Figure:
    """Squared pattern at the bottom and right over that at the top and left, by input size, a panel for each network."""
    ratios = side_ratio(table)
    ratios = ratios[ratios["depth"] == ratios["depth"].max()]
    networks, crops = ratios["network"].unique(), sorted(ratios["crop"].unique())
    figure = new_figure(3.6 * len(networks) + 1.2, 3.4)
    for axes, network in zip(figure.subplots(1, len(networks), squeeze=False, sharey=True)[0], networks, strict=True):
        for at, (scheme, group) in enumerate(ratios[ratios["network"] == network].groupby("scheme", sort=False)):
            places = [crops.index(crop) for crop in group["crop"]]
            axes.plot(
                places,
                group["ratio"],
                ls=LINES[at % 4],
                marker=MARKERS[at % 9],
                color=COLOURS[at % 8],
                ms=4,
                label=scheme,
            )
        axes.axhline(1, color="black", lw=0.6)
        axes.set_yscale("log")
        axes.set_xticks(range(len(crops)), [f"{crop} px" for crop in crops])
        axes.set_title(network, fontsize=9)
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("far over near squared pattern")
    figure.axes[-1].legend(fontsize=7)
    return figure


def images(table: pd.DataFrame) -> Figure:
    """SNR against the number of images, plain and unbiased, with 1/n: the schemes of the largest and the smallest SNR."""
    chosen = table[(table["depth"] == table["depth"].max()) & table["scheme"].isin(_contrast(table))]
    networks = chosen["network"].unique()
    figure = new_figure(3.9 * len(networks), 3.3)
    for axes, network in zip(figure.subplots(1, len(networks), squeeze=False, sharey=True)[0], networks, strict=True):
        panel = chosen[chosen["network"] == network].sort_values("images")
        for at, (scheme, group) in enumerate(panel.groupby("scheme", sort=False)):
            axes.plot(
                group["images"],
                group["snr_plain"],
                ls="--",
                marker="o",
                mfc="none",
                color=COLOURS[at],
                ms=4,
                label=f"{scheme}, plain",
            )
            above = group[group["snr"] > 0]
            axes.plot(
                above["images"], above["snr"], ls="-", marker="o", color=COLOURS[at], ms=4, label=f"{scheme}, unbiased"
            )
        counts = np.unique(chosen["images"])
        axes.plot(counts, 1 / counts, color="black", lw=0.8, ls=":", label="1 / images")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_title(network, fontsize=9)
        axes.set_xlabel("images")
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("SNR of the last layer")
    figure.axes[-1].legend(fontsize=7)
    return figure


def _contrast(table: pd.DataFrame) -> list[str]:
    """The schemes of the largest and the smallest SNR with the most images."""
    most = table[(table["images"] == table["images"].max()) & (table["depth"] == table["depth"].max())]
    level = most.groupby("scheme")["snr"].mean()
    return [str(level.idxmax()), str(level.idxmin())]
