"""The tables of docs/reliability.md that say how exactly metrics tell an amplitude, from the tables beside this file.

python docs/data/reliability_pages.py      # writes them into the page
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from blocks import markdown, write
from scipy.stats import chi2, f

HERE = Path(__file__).parent
PAGE = HERE.parent / "reliability.md"
FREEDOM = json.loads((HERE / "reliability.json").read_text(encoding="utf-8"))["repetitions"] - 1
AT = {0.1: (0.05, 0.2), 0.5: (0.2, 1.0)}
"""Amplitudes of which the spread was measured on one network, and their neighbours among the doses."""
READOUTS = ("PosENet", "PosENet less control", "probe R2 added", "F-Conv quadrants")
AGAINST = ("PPP-SNR", "PPP-MAE", "PPP-MAE above floor", "PPP relative")
BELOW, ABOVE = (math.sqrt(float(f.ppf(share, FREEDOM, FREEDOM))) for share in (0.025, 0.975))
"""What the ratio of two standard deviations of so many repetitions is multiplied by at the ends of a 95 % interval."""


def number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def spans(ratio: float) -> str:
    return f"{number(ratio)} ({number(ratio * BELOW)} to {number(ratio * ABOVE)})"


def errors() -> dict[tuple[str, float], float]:
    """By metric and amplitude: standard deviation on one network over slope of the mean per natural log of the amplitude."""
    spread, doses = (pd.read_csv(HERE / f"reliability-{part}.csv") for part in ("spread", "doses"))
    found = {}
    for at, (below, above) in AT.items():
        own = spread[spread["network"] == f"injected pattern, {at:g}"].set_index("metric")["sd"]
        for metric, sd in own.items():
            means = doses[doses["metric"] == metric].set_index("amplitude")["mean"]
            slope = abs(means[above] - means[below]) / math.log(above / below)
            found[str(metric), at] = sd / slope if slope else math.inf
    return found


def amplitude() -> str:
    found = errors()
    low, high = (math.sqrt(FREEDOM / float(chi2.ppf(share, FREEDOM))) for share in (0.975, 0.025))
    rows = []
    for metric in dict.fromkeys(name for name, _ in found):
        values = [found[metric, at] for at in AT]
        cells = [
            f"{100 * v:.1f} ({100 * v * low:.1f} to {100 * v * high:.1f})" if v < math.inf else "does not move"
            for v in values
        ]
        rows.append((metric, *cells))
    return markdown(["metric", *(f"error of the amplitude at {at:g}, %" for at in AT)], rows)


def ratios() -> str:
    found = errors()
    headers = ["error of the amplitude, times that of", *(f"{one}, at {at:g}" for one in AGAINST for at in AT)]
    rows = [
        (readout, *(spans(found[readout, at] / found[one, at]) for one in AGAINST for at in AT)) for readout in READOUTS
    ]
    return markdown(headers, rows)


def variation() -> str:
    spread = pd.read_csv(HERE / "reliability-spread.csv").set_index(["network", "metric"])["cv"]
    networks = list(dict.fromkeys(network for network, _ in spread.index))
    rows = [
        (one, *(spans(spread[network, "PosENet"] / spread[network, one]) for network in networks)) for one in AGAINST
    ]
    return markdown(["PosENet's spread (sd over mean), times that of", *networks], rows)


MAKERS: dict[str, Callable[[], str]] = {"amplitude": amplitude, "ratios": ratios, "variation": variation}
"""What makes each block of the page."""


if __name__ == "__main__":
    print("changed" if write(PAGE, MAKERS) else "nothing changed")
