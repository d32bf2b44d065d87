"""Analysis of variance: how much of what varies in a study's table goes with which of its factors.

Sums of squares are of type II: what a term explains beyond all terms that do not contain it. In a balanced table, where
every combination of factors is there equally often, they add up to the total. Written for tables of a few thousand rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from padprint.errors import PadprintError
from padprint.support import frames

if TYPE_CHECKING:
    import pandas as pd

Array: TypeAlias = NDArray[np.float64]
Name: TypeAlias = tuple[str, ...]
"""The factors of a term: one for a main effect, more for an interaction."""
RESIDUAL = "residual"


@dataclass(frozen=True)
class Term:
    """One line of the analysis.

    Attributes:
        name: "scheme", or "scheme x layer" for an interaction; the last line is "residual".
        df: degrees of freedom.
        squares: sum of squares, response^2.
        share: of the total sum of squares (eta^2), 0 to 1. Chance alone gives each degree of freedom as much as one of
            the residual's.
        omega: the same less what chance gives (omega^2); it may be slightly negative.
        f: mean square over the residual's; NaN for the residual.
        low, high: 95 % interval of the share, NaN where nothing was drawn.
    """

    name: str
    df: int
    squares: float
    share: float
    omega: float
    f: float
    low: float = nan
    high: float = nan


@dataclass(frozen=True)
class Anova:
    """An analysis of variance.

    Attributes:
        terms: in the order asked for, then the residual.
        rows: of the table.
        total: sum of squares around the mean.
    """

    terms: tuple[Term, ...]
    rows: int
    total: float

    def __getitem__(self, name: str) -> Term:
        return next(term for term in self.terms if term.name == name)

    def to_frame(self) -> pd.DataFrame:
        """One row for each term: name, df, squares, share, omega, f, low, high; see `Term`."""
        return frames.frame(map(vars, self.terms), list(Term.__dataclass_fields__))


def anova(
    frame: pd.DataFrame,
    response: str,
    terms: Sequence[str | Name],
    *,
    units: Sequence[str] = (),
    replicates: str | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Anova:
    """Analyse the variance of a column.

    Args:
        frame: a row for each observation; factors are columns, whose values are taken as names.
        response: the column to explain; finite.
        terms: a factor each, or several for their interaction.
        units: with `replicates`, gives shares intervals: columns that tell cells apart, in each of which `replicates`
            tells independent units (seeds, say) apart, all rows of a unit going together.
        replicates: units of a cell are drawn anew from it, with replacement, `draws` times, each taking another's place
            with all its rows; the interval is from the 2.5th to the 97.5th percentile. With few units to a cell these
            intervals are too narrow: with three, a standard error comes out at about 0.8 of what it is.
        draws: how many.
        seed: of the draws.

    Raises:
        PadprintError: nothing to analyse: no rows, a factor that is not there, a response that is not finite or does not
            vary, or fewer rows than the terms have parameters.
    """
    names: list[Name] = [(term,) if isinstance(term, str) else tuple(term) for term in terms]
    absent = {factor for name in names for factor in name} - set(frame.columns) | {response} - set(frame.columns)
    if absent:
        raise PadprintError(f"the table has no column {', '.join(sorted(absent))}; it has {', '.join(frame.columns)}")
    y = frame[response].to_numpy(float)
    if len(y) == 0 or not np.isfinite(y).all():
        raise PadprintError(f"{response} must be finite in every row, and there must be rows")
    design = _Design(frame, names)
    if design.residual_df < 1:
        raise PadprintError(f"{len(y)} rows are too few for {len(y) - design.residual_df} parameters: take fewer terms")
    squares = design.squares(y[:, None])[:, 0]
    total = float(np.square(y - y.mean()).sum())
    if total <= 1e-24 * max(1.0, float(np.square(y).sum())):
        raise PadprintError(f"{response} is the same in every row: there is no variance to explain")
    shares = np.full((2, len(squares)), nan)
    if replicates is not None:
        drawn = _drawn(frame, y, [*units], replicates, draws, np.random.default_rng(seed))
        around = np.square(drawn - drawn.mean(0)).sum(0)
        shares = np.percentile(design.squares(drawn) / np.maximum(around, 1e-300), (2.5, 97.5), axis=1)
    labels = [*(" x ".join(name) for name in names), RESIDUAL]
    error = squares[-1] / design.residual_df
    effects = [
        Term(
            label,
            df,
            float(square),
            float(square / total),
            float((square - df * error) / (total + error)) if label != RESIDUAL else nan,
            float(square / df / error) if label != RESIDUAL and df and error else nan,
            float(low),
            float(high),
        )
        for label, df, square, low, high in zip(labels, design.df, squares, *shares, strict=True)
    ]
    return Anova(tuple(effects), len(y), total)


class _Design:
    """For each term an orthonormal basis of what it adds to the terms that do not contain it."""

    def __init__(self, frame: pd.DataFrame, names: Sequence[Name]) -> None:
        columns = {name: _indicators(frame, name) for name in names}
        mean = np.ones((len(frame), 1))
        self._bases = []
        for name in names:
            others = [columns[other] for other in names if not set(name) <= set(other)]
            self._bases.append(_extension(np.hstack([mean, *others]), columns[name]))
        self._all = _basis(np.hstack([mean, *columns.values()]))
        self.residual_df = len(frame) - self._all.shape[1]
        self.df = [*(basis.shape[1] for basis in self._bases), self.residual_df]

    def squares(self, y: Array) -> Array:
        """Sums of squares `(terms + 1, draws)` of responses `(rows, draws)`; the last are the residual's."""
        explained = [np.square(basis.T @ y).sum(0) for basis in self._bases]
        residual = y - self._all @ (self._all.T @ y)
        return np.stack([*explained, np.square(residual).sum(0)])


def _indicators(frame: pd.DataFrame, name: Name) -> Array:
    """A column for each combination of the factors' values: 1 where it is."""
    codes = frame.groupby(list(name), sort=False, dropna=False).ngroup().to_numpy()
    indicators: Array = np.eye(int(codes.max()) + 1)[codes]
    return indicators


def _basis(columns: Array) -> Array:
    """An orthonormal basis of what the columns span."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    basis: Array = left[:, sizes > 1e-9 * max(1.0, sizes[0])]
    return basis


def _extension(have: Array, more: Array) -> Array:
    """An orthonormal basis of what `more` adds to the span of `have`."""
    base = _basis(have)
    left, sizes, _ = np.linalg.svd(more - base @ (base.T @ more), full_matrices=False)
    basis: Array = left[:, sizes > 1e-9 * max(1.0, float(np.linalg.norm(more)))]
    return basis


def _drawn(
    frame: pd.DataFrame, y: Array, units: list[str], replicates: str, draws: int, generator: np.random.Generator
) -> Array:
    """Responses `(rows, draws)` in which every unit has taken the rows of a unit drawn from its cell.

    Raises:
        PadprintError: units of a cell have different rows.
    """
    out = np.repeat(y[:, None], draws, 1)
    where = np.arange(len(frame))
    cells: Mapping[Any, Any] = frame.groupby(units, sort=False).indices if units else {"": where}
    for cell in cells.values():
        members = [cell[rows] for rows in frame.iloc[cell].groupby(replicates, sort=False).indices.values()]
        if len({len(member) for member in members}) > 1:
            raise PadprintError(
                f"{replicates} must have the same rows in every one of {', '.join(units) or 'the table'}"
            )
        rows = np.stack(members)  # units x rows
        for at in range(len(rows)):
            chosen = generator.integers(len(rows), size=draws)
            out[rows[at]] = y[rows[chosen]].T
    return out
