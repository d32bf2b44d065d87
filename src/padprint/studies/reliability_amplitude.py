"""How exactly a metric tells the size of a pattern: the relative error of the amplitude that its value stands for.

A metric's spread says little where the metric saturates: what no longer moves does not spread either. So its standard
deviation over repetitions is divided by how much it moves with the logarithm of the amplitude: the relative error of an
amplitude that is read off the metric. Intervals draw repetitions anew, the same ones for all metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
DRAWS = 2000
AGAINST = ("PPP-SNR", "PPP-MAE", "PPP-MAE above floor", "PPP rms", "PPP relative")
"""The metrics that PosENet is compared with."""
READOUTS = ("PosENet", "PosENet less control", "PosENet, last layer")


def error(spread: Array, below: Array, above: Array, step: float) -> Array:
    """Relative error of the amplitude.

    Args:
        spread: `(..., n)` values over repetitions at the amplitude.
        below: `(..., n)` values at the next smaller amplitude.
        above: `(..., n)` values at the next larger one.
        step: natural logarithm of the larger over the smaller.

    Returns:
        `(...)`: standard deviation over slope; infinite where the metric does not move.
    """
    slope = (above.mean(-1) - below.mean(-1)) / step
    with np.errstate(divide="ignore", invalid="ignore"):
        variation: Array = spread.std(-1, ddof=1) / np.abs(slope)
    return variation


def drawn(count: int, draws: int = DRAWS, seed: int = 0) -> NDArray[np.int64]:
    """`(draws, count)` repetitions drawn anew."""
    return np.random.default_rng(seed).integers(count, size=(draws, count))


def interval(values: Array) -> tuple[float, float]:
    """From the 2.5th to the 97.5th percentile; NaN where there are no values."""
    usable = values[~np.isnan(values)]
    if not len(usable):
        return nan, nan
    low, high = np.percentile(usable, (2.5, 97.5), method="nearest")
    return float(low), float(high)


def amplitudes(
    doses: Mapping[float, Mapping[str, Sequence[float]]], same: Mapping[float, Mapping[str, Sequence[float]]]
) -> pd.DataFrame:
    """A row for each metric and each amplitude between two others: amplitude, ``error`` with ``low`` and ``high``.

    ``kind`` says over what: "other networks" (all anew in each repetition) or "same network" (only scenes and seeds).

    Args:
        doses: by amplitude and metric, values over repetitions with other networks.
        same: likewise with the same network, where it was tried.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = [
        {"metric": metric, "amplitude": amplitude, "kind": kind, "error": value, "low": low, "high": high}
        for (metric, amplitude, kind), (value, draws) in _errors(doses, same).items()
        for low, high in [interval(draws)]
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=["metric", "amplitude", "kind", "error", "low", "high"])
    return table


def ratios(
    doses: Mapping[float, Mapping[str, Sequence[float]]],
    same: Mapping[float, Mapping[str, Sequence[float]]],
    spreads: Mapping[str, Mapping[str, Sequence[float]]],
) -> pd.DataFrame:
    """How many times PosENet's error is PPP's: a row for each network, readout and metric.

    Columns: quantity ("amplitude error" or "spread", sd over mean), network, metric, than, ratio, low, high.

    Args:
        doses: see `amplitudes`.
        same: likewise.
        spreads: by network and metric, values over repetitions with the same network.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []

    def add(quantity: str, network: str, metric: str, than: str, value: float, draws: Array) -> None:
        low, high = interval(draws)
        about = {"quantity": quantity, "network": network, "metric": metric, "than": than}
        rows.append({**about, "ratio": value, "low": low, "high": high})

    errors = _errors(doses, same)
    for (metric, amplitude, kind), (value, draws) in errors.items():
        for than in AGAINST:
            if metric in READOUTS and (than, amplitude, kind) in errors:
                other, others = errors[than, amplitude, kind]
                with np.errstate(divide="ignore", invalid="ignore"):
                    add(
                        "amplitude error",
                        f"{amplitude:g}, {kind}",
                        metric,
                        than,
                        float(np.divide(value, other)),
                        draws / others,
                    )
    for network, values in spreads.items():
        cv = {metric: _variation(np.asarray(told, float)) for metric, told in values.items()}
        for metric in READOUTS:
            for than in AGAINST:
                if metric in cv and than in cv:
                    (value, draws), (other, others) = cv[metric], cv[than]
                    with np.errstate(divide="ignore", invalid="ignore"):
                        add("spread", network, metric, than, float(np.divide(value, other)), draws / others)
    table: pd.DataFrame = pd.DataFrame(rows, columns=["quantity", "network", "metric", "than", "ratio", "low", "high"])
    return table


def _variation(values: Array) -> tuple[float, Array]:
    """Standard deviation over mean, and the same of repetitions drawn anew."""
    again = values[drawn(len(values))]
    with np.errstate(divide="ignore", invalid="ignore"):
        draws: Array = again.std(1, ddof=1) / np.abs(again.mean(1))
        return float(values.std(ddof=1) / np.abs(values.mean())), draws


def _errors(
    doses: Mapping[float, Mapping[str, Sequence[float]]], same: Mapping[float, Mapping[str, Sequence[float]]]
) -> dict[tuple[str, float, str], tuple[float, Array]]:
    """By metric, amplitude and kind: the error, and those of repetitions drawn anew."""
    grid = sorted(amplitude for amplitude in doses if amplitude > 0)
    errors: dict[tuple[str, float, str], tuple[float, Array]] = {}
    for below, at, above in zip(grid, grid[1:], grid[2:], strict=False):
        step = float(np.log(above / below))
        for metric in doses[at]:
            lower, upper = (np.asarray(doses[dose][metric], float) for dose in (below, above))
            again = drawn(len(lower))
            for kind, values in (("same network", same.get(at)), ("other networks", doses[at])):
                if values is not None:
                    own = np.asarray(values[metric], float)
                    value = error(own, lower, upper, step)
                    errors[metric, at, kind] = (
                        float(value),
                        error(own[again], lower[again], upper[again], step),
                    )
    return errors
