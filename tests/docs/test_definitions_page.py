"""The example by hand of docs/definitions.md is what the estimators give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from padprint.results import statistics
from padprint.results.pattern_size import corrected_mae, sizes

PAGE = (Path(__file__).parents[2] / "docs" / "definitions.md").read_text(encoding="utf-8").split("## By hand\n")[1]
D = torch.tensor([[3.0, 1.0], [1.0, -1.0], [2.0, 0.0]], dtype=torch.float64).view(
    3, 1, 1, 2
)  # group, channel, row, column


def by_name() -> dict[str, float]:
    crops, every = torch.ones(3, dtype=torch.float64), torch.arange(3)
    gram = statistics.group_gram(D).mean((-2, -1))
    energy = D.square().mean((1, 2, 3))
    found = sizes(gram, energy, torch.full((3,), 16.0, dtype=torch.float64), crops)
    mae = statistics.jackknife(lambda keep: D[keep].mean(0).abs().mean(), 3, 1)
    totals = (D.sum(0), D.square().sum(0), D.sum(0))
    floor = statistics.jackknife(
        lambda keep: statistics.floor_of_mae(D, crops, totals, None if len(keep) == 3 else int(3 - keep.sum())), 3
    )
    response = statistics.jackknife(lambda keep: D[keep].abs().mean(), 3, 1)
    placed = gram - statistics.spatial_mean_gram(D)
    noise = statistics.mean_noise(gram, energy, crops, every)
    return {
        "noise": float(noise),
        "unbiased P^2": float(statistics.unbiased_energy(gram, every)),
        "snr": float(found.snr.value),
        "snr_plain": float(statistics.plain_energy(gram, crops, every) / noise),
        "rms": float(found.rms.value),
        "relative": float(found.relative.value),
        "mae": float(mae.value),
        "mae_floor": float(floor.value),
        "mae_corrected": float(corrected_mae(D, crops, mae, floor, found).value),
        "response": float(response.value),
        "low": float(response.low),
        "high": float(response.high),
        "positional": float(statistics.unbiased_energy(placed, every) / statistics.unbiased_energy(gram, every)),
    }


def test_table_holds_the_example() -> None:
    rows = re.findall(r"^\| image \d \| (\S+) \| (\S+) \| (\S+) \|$", PAGE, flags=re.M)
    assert torch.tensor([[float(a), float(b)] for a, b, _ in rows], dtype=torch.float64).equal(D.view(3, 2))
    assert [float(c) for _, _, c in rows] == D.abs().mean((1, 2, 3)).tolist()


BOLD = [float(one) for one in re.findall(r"\*\*(-?\d+(?:\.\d+)?)(?: to -?[\d.]+)?\*\*", PAGE)]
ENDS = re.findall(r"\*\*(-?[\d.]+) to (-?[\d.]+)\*\*", PAGE)


def test_numbers_are_those_of_the_estimators() -> None:
    found = by_name()
    order = (
        "noise",
        "unbiased P^2",
        "snr",
        "snr_plain",
        "rms",
        "relative",
        "mae",
        "mae_floor",
        "mae_corrected",
        "response",
        "low",
    )
    assert pytest.approx([found[name] for name in (*order, "positional")], abs=0.006) == BOLD
    assert [float(end) for end in ENDS[0]] == pytest.approx([found["low"], found["high"]], abs=0.006)
