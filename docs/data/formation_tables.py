"""The tables of docs/formation.md, from the tables beside this file.

python docs/data/formation_tables.py      # writes them into the page
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from blocks import markdown, write

from padprint.results.statistics import student_quantile
from padprint.studies.formation_finding import gains
from padprint.studies.formation_report import trainings
from padprint.studies.learned import (
    Reading,
    alike,
    by_step,
    by_task_and_depth,
    chosen,
    how_much,
    joined,
    shares,
)

HERE = Path(__file__).parent
PAGE = HERE.parent / "formation.md"
LARGE = ("zeros", "reflect", "replicate", "circular", "partial")
"""Schemes that reached the end of the larger study."""


def two(value: float) -> str:
    """Two significant digits, without an exponent."""
    digits = max(0, 1 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.0f}"


def percent(share: float) -> str:
    """A share in percent, whole from 10 on."""
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}"


def accuracy(table: pd.DataFrame) -> str:
    every = trainings(table)
    by = every.groupby(["network", "task"], sort=False)["accuracy"].agg(["min", "max"])
    of_schemes = every.groupby("scheme", sort=False)["accuracy"].mean()
    rows = [
        (network, task, f"{100 * one['min']:.0f} to {100 * one['max']:.0f}") for (network, task), one in by.iterrows()
    ]
    rows.append(("both", "both, means of schemes", f"{100 * of_schemes.min():.0f} to {100 * of_schemes.max():.0f}"))
    return markdown(["network", "task", "held-out accuracy, %"], rows)


def by_scheme(table: pd.DataFrame, sizes: pd.DataFrame) -> str:
    found = {quantity: gains(table, ["scheme"], quantity).set_index("scheme") for quantity in ("snr", "response")}
    frame = joined(table, sizes)
    rows = []
    for scheme, one in found["snr"].sort_values("trained", ascending=False).iterrows():
        part = frame[frame["scheme"] == scheme]
        trained = part[part["weights"] == "trained"]
        rows.append(
            (
                scheme,
                two(one["initial"]),
                two(one["trained"]),
                times(one),
                times(change_of(part, "relative")),
                f"{10 ** change_of(part, 'rms')['log']:.2f}",
                times(found["response"].loc[scheme]),
                f"{100 * (trained['mae_floor'] / trained['mae']).median():.0f}",
            )
        )
    headers = [
        "scheme",
        "SNR before",
        "after",
        "SNR: times",
        "`relative`: times",
        "rms: times",
        "response: times",
        "of MAE after, floor, %",
    ]
    return markdown(headers, rows)


def times(one: Mapping[str, float]) -> str:
    """A factor with its interval."""
    return f"{one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f})"


def change_of(part: pd.DataFrame, quantity: str) -> dict[str, float]:
    """What training does to a quantity: the factor, Student's interval over seeds, and the logarithm of the factor."""
    steps = chosen(part, Reading("", quantity)).pivot_table("answer", "seed", "weights")
    change = steps["trained"] - steps["initial"]
    mean = float(change.mean())
    half = student_quantile(len(change) - 1) * float(change.std()) / len(change) ** 0.5 if len(change) > 1 else np.nan
    return {"log": mean, "ratio": 10**mean, "low": 10 ** (mean - half), "high": 10 ** (mean + half)}


def together(table: pd.DataFrame, sizes: pd.DataFrame) -> str:
    frame = joined(table, sizes)
    rows = []
    for name, quantity in (("SNR", "snr"), ("`relative`", "relative"), ("rms", "rms"), ("response", "response")):
        cells: list[object] = [name]
        for deepest in (False, True):
            kept = chosen(frame, Reading("", quantity, deepest=deepest))
            means = kept.pivot_table("answer", "weights", "scheme")
            apart = 10 ** (means.max(axis=1) - means.min(axis=1))
            cells += [two(apart["initial"]), two(apart["trained"])]
        rows.append(cells)
    return markdown(["largest scheme over smallest", "before", "after", "last layer: before", "after"], rows)


def tasks_and_depth(table: pd.DataFrame, sizes: pd.DataFrame, quantity: str) -> str:
    ratios = by_task_and_depth(joined(table, sizes), quantity)
    headers = ["scheme", *(f"{task}, layer {layer}" for task, layer in ratios.columns)]
    return markdown(
        headers,
        [
            (scheme, *(f"{value:.2f}" for value in row))
            for scheme, row in zip(ratios.index, ratios.to_numpy(), strict=True)
        ],
    )


def variance(table: pd.DataFrame, sizes: pd.DataFrame) -> str:
    frame = joined(table, sizes)
    columns = {"log SNR": "snr", "log `relative`": "relative", "log rms": "rms", "log response": "response"}
    found = {}
    for name, quantity in columns.items():
        rows = chosen(frame, Reading("", quantity))
        found[name] = {term.name: term.share for term in shares(rows).terms}
    names = [n for n in next(iter(found.values())) if max(one[n] for one in found.values()) >= 0.01 or n == "weights"]
    words = {"weights": "trained or initial (weights)", "residual": "residual (seeds and all higher interactions)"}
    return markdown(
        ["share of the variance, %", *found],
        [(words.get(n, n), *(percent(one[n]) for one in found.values())) for n in names],
    )


def learned(table: pd.DataFrame, sizes: pd.DataFrame) -> str:
    found = how_much(joined(table, sizes))
    rows = []
    for one in found.itertuples():
        parts = [
            percent(v) if np.isnan(a) else f"{percent(v)} ({percent(a)} to {percent(b)})"
            for v, a, b in (
                (one.initial, one.initial_low, one.initial_high),
                (one.trained, one.trained_low, one.trained_high),
            )
        ]
        factors = ["", ""] if np.isnan(one.typical) else [f"{one.typical:.1f}", f"{one.mean:.2f}"]
        right = "**yes**" if one.learned > one.scheme else "no"
        rows.append(
            (
                one.reading,
                one.seeds,
                *parts,
                percent(one.scheme),
                percent(one.weights),
                percent(one.learned),
                *factors,
                right,
            )
        )
    headers = [
        "reading",
        "seeds",
        "scheme, among initial, %",
        "scheme, among trained, %",
        "scheme, both, %",
        "weights alone, %",
        "learned, %",
        "typical change, times",
        "mean change, times",
        "learned more than scheme?",
    ]
    return markdown(headers, rows)


def likeness(pairs: pd.DataFrame, value: str) -> str:
    found = alike(pairs)[value]
    order = list(dict.fromkeys([*pairs["scheme"], *pairs["other"]]))
    cells = {frozenset(pair): one for pair, one in found.iterrows()}
    rows = []
    for a in order:
        row = [a]
        for b in order:
            if a == b:
                row.append("")
            else:
                weights = "initial" if order.index(a) < order.index(b) else "trained"
                row.append(f"{cells[frozenset((a, b))][weights]:.2f}")
        rows.append(row)
    return markdown(["above: initial, below: trained", *order], rows)


def large(table: pd.DataFrame, small: pd.DataFrame) -> str:
    parts = {
        "large": table[table["seed"] == 0],
        "small": small[(small["seed"] == 0) & (small["task"] == "photographs")],
    }
    rows = []
    for frame in parts.values():
        found = {q: by_step(frame, q, LARGE).set_index(["network", "step"]) for q in ("snr", "relative", "response")}
        for (network, step), one in found["snr"].iterrows():
            rel, resp = found["relative"].loc[network, step], found["response"].loc[network, step]
            rows.append(
                (
                    network,
                    step,
                    f"{100 * one.accuracy:.0f}",
                    percent(one.share),
                    percent(rel.share),
                    percent(resp.share),
                    two(one.apart),
                    two(rel.apart),
                )
            )
    headers = [
        "network",
        "step",
        "accuracy, %",
        "scheme's share of log SNR, %",
        "of log `relative`, %",
        "of log response, %",
        "SNR, largest scheme over smallest",
        "`relative`, largest over smallest",
    ]
    return markdown(headers, rows)


def reached(table: pd.DataFrame) -> str:
    last = table.groupby(["network", "seed", "scheme"], sort=False)["step"].max().unstack("scheme")
    schemes = ["zeros", "reflect", "replicate", "circular", "partial", "randn", "distribution"]
    rows = [
        (network, seed, *("not run" if np.isnan(v) else f"{v:.0f}" for v in row))
        for (network, seed), row in zip(last.index, last[schemes].to_numpy(), strict=True)
    ]
    return markdown(["network", "seed", *schemes], rows)


@cache
def read(name: str) -> pd.DataFrame:
    """A table beside this file."""
    return pd.read_csv(HERE / f"{name}.csv")


MAKERS: dict[str, Callable[[], str]] = {
    "accuracy": lambda: accuracy(read("formation")),
    "by-scheme": lambda: by_scheme(read("formation"), read("formation-sizes")),
    "together": lambda: together(read("formation"), read("formation-sizes")),
    "relative-by-task-and-depth": lambda: tasks_and_depth(read("formation"), read("formation-sizes"), "relative"),
    "snr-by-task-and-depth": lambda: tasks_and_depth(read("formation"), read("formation-sizes"), "snr"),
    "variance": lambda: variance(read("formation"), read("formation-sizes")),
    "learned": lambda: learned(read("formation"), read("formation-sizes")),
    "cosine": lambda: likeness(read("formation-likeness"), "cosine"),
    "energy-map": lambda: likeness(read("formation-likeness"), "energy_map"),
    "large": lambda: large(read("formation-large"), read("formation")),
    "reached": lambda: reached(read("formation-large")),
}
"""What makes each block of the page."""


if __name__ == "__main__":
    print("changed" if write(PAGE, MAKERS) else "nothing changed")
