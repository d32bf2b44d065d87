"""The same small training for every variant and seed, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from padprint.baselines.fconv.variants import parsed
from padprint.errors import ModelError, ResultError
from padprint.network.preserved import full_precision, randomness_kept
from padprint.results.estimates import estimate_of, plain
from padprint.results.measurement import Estimate
from padprint.results.statistics import jackknife
from padprint.support import frames, text_table
from padprint.support.progress import progress_bar
from padprint.support.records import Records
from padprint.support.strict_json import finite

if TYPE_CHECKING:
    import pandas as pd

Run = Mapping[str, float]
"""What came of one training."""


@dataclass(frozen=True, repr=False)
class Trials:
    """Trainings by variant, one for each seed.

    Attributes:
        runs: of each variant.
        accuracies: the keys of runs that hold shares of right answers.
        ranges: the keys whose least and largest value are shown.
        flags: the keys that hold 0 or 1.
        settings: plain JSON values.
        remarks: what a reader of the numbers must know.
    """

    runs: dict[str, tuple[Run, ...]]
    accuracies: tuple[str, ...]
    ranges: tuple[str, ...]
    flags: tuple[str, ...]
    settings: dict[str, Any]
    remarks: tuple[str, ...]

    def accuracy(self, variant: str, key: str = "accuracy") -> Estimate:
        """Mean over seeds, with its 95 % interval: Student's t over seeds; NaN ends for one seed."""
        values = self._values(variant, key)
        return estimate_of(jackknife(lambda keep: values[keep].mean(), len(values), least=1))

    def deviation(self, variant: str, key: str = "accuracy") -> float:
        """Standard deviation over seeds, divided by their number, as the authors have it."""
        return float(self._values(variant, key).std(correction=0))

    def _values(self, variant: str, key: str) -> Tensor:
        return torch.tensor([run[key] for run in self.runs[variant]], dtype=torch.float64)

    def __str__(self) -> str:
        headers = ["padding"]
        for key in self.accuracies:
            headers += [f"{key} % [95 %]", "sd"]
        rows = [self._row(variant) for variant in self.runs]
        return "\n".join([*text_table.aligned([*headers, *self.ranges, *self.flags], rows), "", *self.remarks])

    def _row(self, variant: str) -> list[str]:
        row = [variant]
        for key in self.accuracies:
            row += [percent(self.accuracy(variant, key)), f"{100 * self.deviation(variant, key):.1f}"]
        for key in self.ranges:
            low, high = (int(end) for end in self._values(variant, key).aminmax())
            row.append(f"{low}" if low == high else f"{low} to {high}")
        return row + [f"{int(self._values(variant, key).sum())} of {len(self.runs[variant])}" for key in self.flags]

    def to_frame(self) -> pd.DataFrame:
        """One row for each variant: padding, runs, then each of `accuracies` with _low, _high and _sd; over seeds."""
        rows = []
        for variant, runs in self.runs.items():
            row: dict[str, Any] = {"padding": variant, "runs": len(runs)}
            for key in self.accuracies:
                row |= frames.estimate(key, self.accuracy(variant, key)) | {f"{key}_sd": self.deviation(variant, key)}
            rows.append(row)
        return frames.frame(rows, ("padding", "runs"))

    def run_frame(self) -> pd.DataFrame:
        """One row for each training: padding, run (from 0, in the order of the seeds), then everything that came of it."""
        trainings = ((name, i, run) for name, runs in self.runs.items() for i, run in enumerate(runs))
        return frames.frame(({"padding": name, "run": i, **run} for name, i, run in trainings), ("padding", "run"))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; None for what is not finite."""
        summary = {
            variant: {
                key: {**plain(self.accuracy(variant, key)), "sd": self.deviation(variant, key)}
                for key in self.accuracies
            }
            for variant in self.runs
        }
        document: dict[str, Any] = finite(
            {"variants": summary, "runs": plain(self.runs), "settings": self.settings, "remarks": list(self.remarks)}
        )
        return document


def percent(share: Estimate) -> str:
    """A share in per cent, with its interval where it has one."""
    value, low, high = (f"{100 * x:.1f}" for x in (share.value, share.low, share.high))
    return value if low == high == "nan" else f"{value} [{low}, {high}]"


def check(variants: Sequence[str], seeds: Sequence[int]) -> None:
    """Refuse what cannot be run, before anything is.

    Raises:
        PaddingError: a scheme that does not exist.
        ResultError: no variant or no seed, or one of them twice.
    """
    for name, values in (("variants", variants), ("seeds", seeds)):
        if isinstance(values, str) or not values or len(set(values)) < len(values):
            raise ResultError(f"{name} must be a list without repetitions, but got {values!r}")
    for variant in variants:
        parsed(variant)


def check_numbers(least: Mapping[str, int], given: Mapping[str, Any]) -> None:
    """Refuse settings that make no sense.

    Args:
        least: the smallest value of each that is a whole number.
        given: all; the others are numbers of 0 or more.

    Raises:
        ModelError: one of them is something else.
    """
    for name, value in given.items():
        if name in least:
            if type(value) is not int or value < least[name]:
                raise ModelError(f"{name} must be a whole number of {least[name]} or more, but got {value!r}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
            raise ModelError(f"{name} must be a number of 0 or more, but got {value!r}")


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's state, to come back to."""
    return {name: value.clone() for name, value in net.state_dict().items()}


def trained(
    work: Callable[[str, int], Run],
    variants: Sequence[str],
    seeds: Sequence[int],
    *,
    kinds: Mapping[str, Any],
    settings: Mapping[str, Any],
    folder: str | Path | None,
    progress: bool,
) -> dict[str, tuple[Run, ...]]:
    """Do the work for every variant and seed, seed by seed; with a folder, only what is not done there.

    Args:
        work: trains one network; called with torch's generator at the seed, and in full precision.
        variants: see `check`.
        seeds: likewise.
        kinds: what a run holds, with types.
        settings: of the work; a folder holds one kind alone.
        folder: for the runs, or None.
        progress: show a bar on standard error.

    Raises:
        ResultError: the folder holds other settings' work, or cannot be read.
    """
    kept = None if folder is None else Records(folder, settings)
    runs: dict[str, list[Run]] = {variant: [] for variant in variants}
    with progress_bar(len(variants) * len(seeds), progress, "training", "networks") as advance:
        for seed in seeds:
            for variant in variants:
                one = partial(_seeded, work, variant, seed)
                key = f"{re.sub('[^a-zA-Z0-9.+-]', '_', variant)}/{seed}"
                runs[variant].append(one() if kept is None else kept.compute(key, one, {"seed": int, **kinds}))
                advance()
    return {variant: tuple(found) for variant, found in runs.items()}


def _seeded(work: Callable[[str, int], Run], variant: str, seed: int) -> Run:
    with randomness_kept(), full_precision(), torch.enable_grad():
        torch.manual_seed(seed)
        return {"seed": seed, **work(variant, seed)}
