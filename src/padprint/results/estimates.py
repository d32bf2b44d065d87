"""What the training-free metrics share: sums by group of images, and results by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan, sqrt
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from padprint.results.measurement import Estimate
from padprint.results.statistics import Interval, jackknife, student_quantile
from padprint.support import frames, strict_json, text_table, wording
from padprint.support.mapping import Over
from padprint.support.typed import described

if TYPE_CHECKING:
    import pandas as pd


class GroupSums:
    """Running sums of a few numbers for each group of images, float64 on the CPU."""

    def __init__(self) -> None:
        self._sums: dict[int, Tensor] = {}

    def add(self, group: int, *values: Tensor | float) -> None:
        """Add scalars to a group's sums; the same number of them in every call."""
        row = torch.stack([torch.as_tensor(value, dtype=torch.float64, device="cpu") for value in values])
        self._sums[group] = self._sums.get(group, torch.zeros_like(row)) + row

    def estimate(self, statistic: Callable[[Tensor], Tensor]) -> Estimate:
        """A statistic of the sums over all groups, with its 95 % interval.

        Args:
            statistic: maps the `(n,)` sums to a scalar.
        """
        if not self._sums:
            return Estimate(nan, nan, nan)
        by_group = torch.stack([self._sums[group] for group in sorted(self._sums)])
        return estimate_of(jackknife(lambda keep: statistic(by_group[keep].sum(0)), len(by_group), least=1))


@dataclass(frozen=True)
class Contrast:
    """A number with the network's padding and without.

    Attributes:
        padded: from padded features F(x; p).
        optimal: from the optimally padded features F(x; *) of the same crops.
        added: padded minus optimal, paired over groups of images: what padding adds.
    """

    padded: Estimate
    optimal: Estimate
    added: Estimate

    def cells(self) -> tuple[str, str, str]:
        """For a table."""
        return wording.interval(self.padded), wording.interval(self.optimal), wording.interval(self.added)

    def columns(self, name: str) -> dict[str, float]:
        """For a table for pandas: ``name_padded``, ``name_optimal`` and ``name_added``, each with its interval."""
        columns: dict[str, float] = {}
        for part in ("padded", "optimal", "added"):
            columns |= frames.estimate(f"{name}_{part}", getattr(self, part))
        return columns


def share_of(estimate: Estimate) -> Estimate:
    """A share, 0 to 1, with Wilson's interval in the place of the jackknife's, which may leave that range.

    The number of independent trials is what the spread of the replicates says, p (1 - p) over the variance of p: crops of an
    image are alike, and fewer than there are of them. Where all agree the spread says nothing, and each group counts as one
    trial. Student's quantile stands for the normal one. No interval where there are no replicates.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927); Korn and Graubard, Survey Methodology 24 (1998), for the number of trials.
    """
    p, groups = estimate.value, len(estimate.replicates)
    if groups < 2 or isnan(p):
        return estimate
    middle = sum(estimate.replicates) / groups
    variance = (groups - 1) / groups * sum((replicate - middle) ** 2 for replicate in estimate.replicates)
    n = p * (1 - p) / variance if variance > 0 and 0 < p < 1 else float(groups)
    t = student_quantile(groups - 1)
    centre = (p + t * t / (2 * n)) / (1 + t * t / n)
    half = t / (1 + t * t / n) * sqrt(p * (1 - p) / n + (t / (2 * n)) ** 2)
    return Estimate(p, max(0.0, centre - half), min(1.0, centre + half), estimate.replicates)


def estimate_of(interval: Interval) -> Estimate:
    """An interval of scalars as an `Estimate`."""
    return Estimate(
        float(interval.value), float(interval.low), float(interval.high), tuple(interval.replicates.tolist())
    )


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """`above / below`; 0 for 0 / 0, which is nothing of nothing, and infinite for anything else over 0."""
    nothing = torch.where(above == 0, torch.zeros_like(above), torch.full_like(above, inf))
    return torch.where(below == 0, nothing, above / below)


class LayerResult(Protocol):
    """What one layer's result can do.

    Attributes:
        HEADERS: of its columns in a table.
    """

    HEADERS: ClassVar[tuple[str, ...]]

    def cells(self) -> Sequence[tuple[str, ...]]:
        """Its rows in a table, without the layer's name."""
        ...

    def rows(self) -> Sequence[dict[str, Any]]:
        """The same for pandas."""
        ...


One = TypeVar("One", bound=LayerResult)


@dataclass(frozen=True, repr=False)
class ByLayer(Over[str, One], Generic[One]):
    """Results by layer, in order of execution.

    Attributes:
        layers: the results.
        unmeasured: layers that could not be measured, with the reason.
        n_images: how many images were seen.
        n_crops: how many crops, or windows.
        remarks: for people.
        unit: what `n_crops` counts.
    """

    ENTRIES = "layers"

    layers: dict[str, One]
    unmeasured: Mapping[str, str]
    n_images: int
    n_crops: int
    remarks: tuple[str, ...] = ()
    unit: str = "crops"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} layers, {self.n_images} images)"

    def __str__(self) -> str:
        headers, rows = self.table()
        return "\n".join([*text_table.aligned(headers, rows), "", *self.lines()])

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Headers and rows for people."""
        first = next(iter(self.layers.values()), None)
        headers = ("layer", *(() if first is None else first.HEADERS))
        return headers, [(name, *row) for name, layer in self.layers.items() for row in layer.cells()]

    def lines(self) -> list[str]:
        """What belongs under the table."""
        counts = f"{self.n_images} images, {self.n_crops} {self.unit}; 95 % intervals over images"
        return [counts, *self.remarks, *(f"not measured: {name}: {why}" for name, why in self.unmeasured.items())]

    def to_frame(self) -> pd.DataFrame:
        """One row for each row of the table: layer, then as the layer's result names its columns; see its `rows`."""
        return frames.frame(
            ({"layer": name, **row} for name, entry in self.layers.items() for row in entry.rows()), ("layer",)
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; None for what is not finite."""
        document: dict[str, Any] = strict_json.finite(plain(self))
        return document


def plain(value: Any) -> Any:
    """Results as dicts, lists and numbers; of an estimate, value and interval."""
    return described(value, without=("replicates",))
