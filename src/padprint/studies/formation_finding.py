"""What a formation study found: the pattern before and after training, and what its size goes with."""

from __future__ import annotations

from dataclasses import asdict
from math import nan, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from padprint.errors import ResultError
from padprint.results.statistics import student_quantile
from padprint.studies.anova import Anova, anova

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = ("snr", "mae")
"""What is analysed: the size of the pattern over that of what varies from image to image, and in feature units."""
FLOOR = 1e-3
"""SNR below this, -30 dB, counts as this: the estimate without bias of a pattern that is not there is as often negative."""
UNIT = ["network", "task", "scheme", "seed"]
BETWEEN = "between seeds"
FACTORS = ("weights", "scheme", "layer", "network", "task")


def learned(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of finished trainings that learned their task."""
    kept: pd.DataFrame = table[table["learned"].eq(True)]
    return kept


def ends(table: pd.DataFrame) -> pd.DataFrame:
    """Before the first step and after the last, of trainings that learned; ``weights`` says which: initial or trained.

    Raises:
        ResultError: no training has finished and learned its task.
    """
    kept = learned(table)
    if kept.empty:
        raise ResultError("no training of the study has finished and learned its task: there is nothing to analyse")
    kept = kept[kept["step"].isin([0, kept["step"].max()])]
    responses: pd.DataFrame = kept.assign(weights=np.where(kept["step"] == 0, "initial", "trained"))
    return responses


def logarithm(table: pd.DataFrame, quantity: str, floor: float = FLOOR) -> NDArray[np.float64]:
    """The decimal logarithm of a quantity; of an SNR, with a floor."""
    values = table[quantity].to_numpy(float)
    logarithms: NDArray[np.float64] = np.log10(np.maximum(values, floor) if quantity.startswith("snr") else values)
    return logarithms


def analyse(table: pd.DataFrame, quantity: str = "snr", *, floor: float = FLOOR, draws: int = 2000) -> Anova:
    """How much of the variance of log10 of a quantity goes with each factor.

    The factors: trained or initial weights, scheme, layer (by depth), network, task, and the interactions of any two;
    network x task x scheme; and seeds within these ("between seeds": how much trainings differ that differ in nothing
    else). Factors with a single value are left out. Intervals draw seeds anew within network, task and scheme.

    Args:
        table: of the study.
        quantity: "snr" or "mae".
        floor: see `FLOOR`.
        draws: see `padprint.studies.anova.anova`.

    Raises:
        ResultError: see `ends`.
        PadprintError: too little was varied.
    """
    frame = ends(table).rename(columns={"depth": "layer", "layer": "module"})
    frame = frame.assign(response=logarithm(frame, quantity, floor))
    varied = [factor for factor in FACTORS if frame[factor].nunique() > 1]
    terms: list[tuple[str, ...]] = [(factor,) for factor in varied]
    terms += [(a, b) for i, a in enumerate(varied) for b in varied[i + 1 :]]
    cell = tuple(factor for factor in UNIT[:3] if factor in varied)
    if len(cell) == 3:
        terms.append(cell)
    several = frame["seed"].nunique() > 1
    if several:
        terms.append((*cell, "seed"))
    analysis = anova(frame, "response", terms, units=UNIT[:3], replicates="seed" if several else None, draws=draws)
    named = " x ".join((*cell, "seed"))
    renamed = [
        type(term)(**{**asdict(term), "name": BETWEEN if term.name == named else term.name}) for term in analysis.terms
    ]
    return Anova(tuple(renamed), analysis.rows, analysis.total)


def floored(table: pd.DataFrame, floor: float = FLOOR) -> float:
    """The share of rows, of those analysed, whose SNR lies below the floor."""
    return float((ends(table)["snr"] < floor).mean())


def gains(table: pd.DataFrame, by: list[str], quantity: str = "snr", floor: float = FLOOR) -> pd.DataFrame:
    """What training does to a quantity, by group: with trained weights over the same with initial weights.

    Columns: those of `by`; trainings; initial and trained (geometric means over trainings and layers); ratio of the two,
    with low and high (95 %, Student's t over seeds, of each the mean over all else).

    Raises:
        ResultError: see `ends`.
    """
    import pandas as pd

    frame = ends(table)
    frame = frame.assign(log=logarithm(frame, quantity, floor))
    rows = []
    for name, group in frame.groupby(by, sort=False):
        change = group.pivot_table("log", "seed", "weights")
        steps = change["trained"] - change["initial"]
        half = student_quantile(len(steps) - 1) * float(steps.std()) / sqrt(len(steps)) if len(steps) > 1 else nan
        means = group.groupby("weights")["log"].mean()
        ratio = float(means["trained"] - means["initial"])
        numbers = {
            "trainings": len(group[UNIT].drop_duplicates()),
            "initial": 10 ** float(means["initial"]),
            "trained": 10 ** float(means["trained"]),
            "ratio": 10**ratio,
            "low": 10 ** (ratio - half),
            "high": 10 ** (ratio + half),
        }
        rows.append({**dict(zip(by, name, strict=True)), **numbers})
    gains: pd.DataFrame = pd.DataFrame(rows)
    return gains


def spread(table: pd.DataFrame, quantity: str = "snr", floor: float = FLOOR) -> dict[int, float]:
    """How far schemes lie apart at each step: the largest geometric mean of a scheme over the smallest, 1 if all are alike.

    Raises:
        ResultError: see `ends`.
    """
    ends(table)
    kept = learned(table)
    means = kept.assign(log=logarithm(kept, quantity, floor)).pivot_table("log", "step", "scheme")
    apart = means.max(axis=1) - means.min(axis=1)
    return {int(step): float(10**logarithm) for step, logarithm in apart.items()}
