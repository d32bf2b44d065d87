"""Intervals of sizes hold where images differ much; a cut of ``benchmarks/coverage.py``, whose table is docs/trust.md."""

from __future__ import annotations

from functools import cache
from math import sqrt

import numpy as np
import pytest
import torch

from padprint.results.pattern_size import Sizes, pair_variance, root, sizes, skewness
from padprint.results.statistics import Interval
from size_grid import Cell, Sums, before, corrected, covered, paired, simulate, simulate_paddings

RUNS = 500


@cache
def sums(cell: Cell) -> Sums:
    return simulate(cell, RUNS)


def shares(cell: Cell) -> dict[str, float]:
    found: Sizes = sizes(*sums(cell)[:4])
    return covered(sums(cell), {n: (getattr(found, n).low, getattr(found, n).high) for n in ("snr", "rms", "relative")})


@pytest.mark.parametrize(
    "cell",
    [
        Cell(10, "normal", 0.0, 0.25),
        Cell(10, "image", 0.5, 0.25),
        Cell(20, "image", 0.5, 4.0),
        Cell(20, "image", 1.0, 0.25),
        Cell(20, "change", 1.0, 4.0),
    ],
    ids=str,
)
def test_intervals_hold(cell: Cell) -> None:
    found = shares(cell)
    assert found["snr"] > 0.90
    assert found["relative"] > 0.90
    assert found["rms"] > 0.85  # of loud images' own size, see docs/trust.md


@pytest.mark.parametrize(
    ("cell", "most"), [(Cell(20, "image", 0.5, 4.0), 0.89), (Cell(20, "image", 1.0, 0.25), 0.80)], ids=str
)
def test_plain_jackknife_does_not_hold_there(cell: Cell, most: float) -> None:
    """What these tests would find if `sizes` lost its widening."""
    assert covered(sums(cell), before(sums(cell)))["snr"] < most


@pytest.mark.parametrize(
    "cell",
    [
        Cell(10, "normal", 0.0, 0.0),
        Cell(10, "normal", 0.0, 0.01),
        Cell(20, "image", 0.5, 4.0),
        Cell(10, "image", 1.0, 0.25),
    ],
    ids=str,
)
def test_mae_without_its_floor_holds(cell: Cell) -> None:
    found = corrected(sums(cell), 100)
    assert sum(bool(one.low <= sums(cell).mae <= one.high) for one in found) > 90
    assert all(bool(one.low <= one.value <= one.high) and bool(one.high > one.low) for one in found)
    middle = torch.stack([one.value for one in found]).mean()
    assert float(middle) == pytest.approx(sums(cell).mae, rel=0.1, abs=0.04)


@pytest.mark.parametrize(
    ("cell", "ratio", "name"),
    [
        (Cell(20, "image", 1.0, 0.25), 0.1, "snr"),
        (Cell(20, "image", 1.0, 4.0), 0.1, "relative"),
        (Cell(10, "image", 1.0, 0.25), 0.0, "rms"),
    ],
    ids=str,
)
def test_differences_hold_where_the_plain_jackknife_does_not(cell: Cell, ratio: float, name: str) -> None:
    one, two = simulate_paddings(cell, (1.0, ratio), 200)
    assert paired(one, two, name) > 0.88
    assert paired(one, two, name, plain=True) < 0.86


@pytest.mark.parametrize("groups", [4, 10, 20])
def test_an_interval_of_a_size_has_a_width(groups: int) -> None:
    found = sizes(*sums(Cell(groups, "normal", 0.0, 0.01))[:4])
    for one in (found.rms, found.relative):
        assert bool((one.high > one.low).all())
        assert bool((one.low <= one.value).all()) and bool((one.value <= one.high).all())


@pytest.mark.parametrize(
    "cell", [Cell(10, "change", 1.0, 0.25), Cell(20, "change", 1.0, 4.0), Cell(20, "image", 1.0, 0.25)], ids=str
)
def test_a_pattern_is_seen_however_loud_some_images_are(cell: Cell) -> None:
    found = sizes(*sums(cell)[:4])
    for one in (found.snr, found.rms, found.relative):
        assert float((one.low > 0).double().mean()) > 0.85


@pytest.mark.parametrize(
    "cell", [Cell(20, "normal", 0.0, 0.0), Cell(20, "image", 1.0, 0.0), Cell(5, "change", 0.5, 0.0)], ids=str
)
def test_without_a_pattern_few_are_seen(cell: Cell) -> None:
    found = sizes(*sums(cell)[:4])
    assert float((found.snr.low > 0).double().mean()) < 0.08
    assert bool(((found.snr.low > 0) == (found.rms.low > 0)).all())


def test_without_a_pattern_few_measurements_exceed_the_floor_of_rms() -> None:
    found = sizes(*sums(Cell(20, "normal", 0.0, 0.0))[:4])
    assert 0.005 < float((found.rms.value > found.floor).double().mean()) < 0.05


def test_pair_variance_is_the_variance_of_the_unbiased_square_without_a_pattern() -> None:
    gram = sums(Cell(10, "normal", 0.0, 0.0)).gram
    off = (gram.sum((0, 1)) - gram.diagonal().sum(-1)) / 90
    assert float(pair_variance(gram).mean()) == pytest.approx(float(off.var()), rel=0.2)


def test_skewness_of_lognormal_values_and_of_equal_ones() -> None:
    assert skewness(torch.ones(5, 1)).tolist() == [1.0]
    assert skewness(torch.tensor([[1.0], [0.0], [2.0]])).tolist() == [1.0]
    rng = np.random.default_rng(0)
    many = torch.from_numpy(rng.lognormal(0, 0.1, (20, 500)))
    assert float(skewness(many).mean()) == pytest.approx(1, abs=0.1)
    loud = torch.from_numpy(rng.lognormal(0, 2, (20, 500)))
    assert float(skewness(loud).median()) > 5


def test_root_of_an_interval() -> None:
    parts = [torch.tensor(v, dtype=torch.float64) for v in ([4.0, -1.0], [1.0, -3.0], [9.0, 1.0])]
    found = root(Interval(*parts, torch.zeros(0, 2, dtype=torch.float64)))
    assert found.value.tolist() == [2, 0]
    assert found.low.tolist() == [1, 0]
    assert found.high.tolist() == pytest.approx([3, sqrt(2)])
