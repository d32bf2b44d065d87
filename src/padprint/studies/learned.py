"""How much of the pattern is learned: the same question put to a formation study under every reading it could have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from padprint.studies.anova import Anova, anova
from padprint.studies.formation_finding import FACTORS, FLOOR, ends

if TYPE_CHECKING:
    import pandas as pd

LOUD = ("zeros", "reflect", "replicate", "circular", "randn")
"""Schemes that fill cells, and are in every framework."""
QUIET = ("reflect", "replicate", "randn")
"""Schemes that leave next to no pattern in a random network."""
KEY = ["network", "task", "scheme", "seed", "weights", "depth"]
AGAIN = "_again"
"""Of columns that were measured once more, where the study's own table has one of the name."""


@dataclass(frozen=True)
class Reading:
    """One way to ask.

    Attributes:
        name: for tables.
        quantity: a column of `joined`.
        scale: "log", "linear" or "rank".
        schemes: the padding schemes that are looked at; None: all.
        tasks: likewise.
        deepest: whether only the last layer counts.
    """

    name: str
    quantity: str
    scale: str = "log"
    schemes: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    deepest: bool = False


READINGS = (
    Reading("SNR", "snr"),
    Reading("SNR, five schemes", "snr", schemes=LOUD),
    Reading("SNR, quiet schemes", "snr", schemes=QUIET),
    Reading("SNR, last layer", "snr", deepest=True),
    Reading("SNR, last layer, photographs", "snr", tasks=("photographs",), deepest=True),
    Reading("SNR, last layer, digits", "snr", tasks=("digits",), deepest=True),
    Reading("SNR, linear", "snr", scale="linear"),
    Reading("SNR, ranks", "snr", scale="rank"),
    Reading("SNR, 480 crops", "snr_again"),
    Reading("plain SNR, 480 crops", "snr_plain_again"),
    Reading("SNR, BatchNorm not calibrated", "snr_raw"),
    Reading("SNR of the channels' mean", "snr_average"),
    Reading("relative", "relative"),
    Reading("relative, five schemes", "relative", schemes=LOUD),
    Reading("relative, quiet schemes", "relative", schemes=QUIET),
    Reading("relative, last layer", "relative", deepest=True),
    Reading("relative, last layer, photographs", "relative", tasks=("photographs",), deepest=True),
    Reading("relative, last layer, digits", "relative", tasks=("digits",), deepest=True),
    Reading("relative, BatchNorm not calibrated", "relative_raw"),
    Reading("rms", "rms"),
    Reading("rms, last layer", "rms", deepest=True),
    Reading("rms, quiet schemes", "rms", schemes=QUIET),
    Reading("response", "response"),
    Reading("response, last layer", "response", deepest=True),
)
"""What is asked, in the order of the table."""


def joined(table: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """The study's first and last measurements, beside what the same networks gave when they were measured once more.

    Columns of `sizes` that the table has too end in `AGAIN`; NaN where a network was not measured once more.

    Raises:
        ResultError: no training has finished and learned its task.
    """
    frame = ends(table)
    taken = sizes[[column for column in sizes if column != "layer"]]
    merged: pd.DataFrame = frame.merge(taken, on=KEY, how="left", suffixes=("", AGAIN))
    return merged


def chosen(frame: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """The rows that a reading looks at, with the number it analyses as ``response``.

    SNR below -30 dB counts as that; of other quantities what is not above 0 counts as the smallest number above 0.
    """
    keep = frame[reading.quantity].notna()
    if reading.schemes is not None:
        keep = keep & frame["scheme"].isin(reading.schemes)
    if reading.tasks is not None:
        keep = keep & frame["task"].isin(reading.tasks)
    if reading.deepest:
        keep = keep & (frame["depth"] == frame["depth"].max())
    kept = frame[keep]
    values = kept[reading.quantity].to_numpy(float)
    if reading.scale == "log":
        least = FLOOR if reading.quantity.startswith("snr") else values[values > 0].min()
        values = np.log10(np.maximum(values, least))
    elif reading.scale == "rank":
        values = kept[reading.quantity].rank().to_numpy(float)
    named: pd.DataFrame = kept.rename(columns={"depth": "layer", "layer": "module"}).assign(answer=values)
    return named


def shares(rows: pd.DataFrame, factors: Sequence[str] = FACTORS, draws: int = 0) -> Anova:
    """Type II shares of main effects and all interactions of two; factors with a single value are left out."""
    varied = [factor for factor in factors if rows[factor].nunique() > 1]
    terms: list[tuple[str, ...]] = [(factor,) for factor in varied]
    terms += [(a, b) for i, a in enumerate(varied) for b in varied[i + 1 :]]
    several = draws > 0 and rows["seed"].nunique() > 1
    return anova(
        rows,
        "answer",
        terms,
        units=["network", "task", "scheme"],
        replicates="seed" if several else None,
        draws=draws or 1,
    )


def change(rows: pd.DataFrame) -> NDArray[np.float64]:
    """By how much the analysed number of each training and layer changed, trained less initial."""
    paired = rows.pivot_table("answer", ["network", "task", "scheme", "seed", "layer"], "weights")
    gains: NDArray[np.float64] = (paired["trained"] - paired["initial"]).to_numpy(float)
    return gains


def how_much(frame: pd.DataFrame, readings: Iterable[Reading] = READINGS, draws: int = 500) -> pd.DataFrame:
    """The table: a row for each reading.

    Columns: reading; rows; seeds; ``initial`` and ``trained``, the scheme's share of the variance among initial and among trained
    networks (with ``_low`` and ``_high``: seeds drawn anew, 95 %); over both together ``scheme``, ``weights`` (trained or
    initial, alone) and ``learned`` (weights and all its interactions: all that training changes); ``typical``: the root
    mean square change of a training's layer and ``mean``: the mean change, as factors, of logarithms only.

    Args:
        frame: see `joined`.
        readings: which.
        draws: for the intervals.
    """
    import pandas as pd

    out = []
    for reading in readings:
        rows = chosen(frame, reading)
        both = shares(rows)
        row: dict[str, object] = {"reading": reading.name, "rows": len(rows), "seeds": rows["seed"].nunique()}
        for weights in ("initial", "trained"):
            term = shares(rows[rows["weights"] == weights], FACTORS[1:], draws)["scheme"]
            row |= {weights: term.share, f"{weights}_low": term.low, f"{weights}_high": term.high}
        row |= {
            "scheme": both["scheme"].share,
            "weights": both["weights"].share,
            "learned": sum(term.share for term in both.terms if "weights" in term.name.split(" x ")),
        }
        if reading.scale == "log":
            steps = change(rows)
            row |= {"typical": 10 ** float(np.sqrt(np.mean(steps**2))), "mean": 10 ** float(steps.mean())}
        out.append(row)
    table: pd.DataFrame = pd.DataFrame(out)
    return table


def by_task_and_depth(frame: pd.DataFrame, quantity: str = "relative") -> pd.DataFrame:
    """What training does to a quantity, by scheme, task and layer: geometric means of trained over initial.

    Columns: scheme, then one for each task and layer, as (task, layer); trainings of a cell: networks times seeds.
    """
    rows = chosen(frame, Reading("", quantity))
    paired = rows.pivot_table("answer", ["task", "layer", "scheme"], "weights")
    ratios: pd.DataFrame = (10 ** (paired["trained"] - paired["initial"])).unstack(["task", "layer"])
    order = list(dict.fromkeys(frame["scheme"]))
    ordered: pd.DataFrame = ratios.loc[order]
    return ordered


def alike(likeness: pd.DataFrame) -> pd.DataFrame:
    """Medians over networks, tasks, seeds and layers of how alike the patterns of two schemes are.

    Columns: scheme, other, then cosine and energy_map, each of initial and of trained networks.
    """
    medians = likeness.groupby(["scheme", "other", "weights"], sort=False)[["cosine", "energy_map"]].median()
    return cast("pd.DataFrame", medians.unstack("weights"))


def by_step(table: pd.DataFrame, quantity: str, schemes: Sequence[str]) -> pd.DataFrame:
    """How much the scheme decides while networks train: a row for each network and measured step.

    Columns: network, step, accuracy (mean over schemes), ``share`` (of the scheme in the variance of the logarithm over
    schemes and layers, type II main effect) and ``apart`` (the largest scheme's geometric mean over layers, by the
    smallest's). Values below 0.001 count as that.

    Args:
        table: of a study, one task and one seed.
        quantity: "snr", "relative" or "response".
        schemes: that are compared; steps that one of them did not reach are left out.
    """
    import pandas as pd

    kept = table[table["scheme"].isin(schemes)]
    kept = kept.assign(answer=np.log10(np.maximum(kept[quantity].to_numpy(float), FLOOR)))
    out = []
    for (network, step), rows in kept.groupby(["network", "step"], sort=False):
        if rows["scheme"].nunique() < len(schemes):
            continue
        means = rows.groupby("scheme")["answer"].mean()
        out.append(
            {
                "network": network,
                "step": int(step),
                "accuracy": float(rows["accuracy"].mean()),
                "share": anova(rows, "answer", ["scheme", "depth"])["scheme"].share,
                "apart": 10 ** float(means.max() - means.min()),
            }
        )
    spreads: pd.DataFrame = pd.DataFrame(out)
    return spreads
