"""How often the intervals hold, simulated: ``PYTHONPATH=src:tests python benchmarks/coverage.py [PART ...] [--runs N]``.

Parts: sizes, mae, differences, limits; all without any. A cell that was worked out before is read from ``--kept FILE``, where one is given.

The grids are described in ``tests/size_grid.py`` and in docs/trust.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from math import log, sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limit_grid import KINDS
from padprint.results.pattern_size import Sizes, sizes
from padprint.results.statistics import prediction_limit, promised, student_quantile
from size_grid import (
    Cell,
    before,
    corrected,
    covered,
    pair_cells,
    paired,
    simulate,
    simulate_paddings,
    size_cells,
    warned,
)

TOLERANCE = 0.01


def size_row(cell: Cell, runs: int, seed: int, gamma: bool) -> dict[str, float]:
    """One row of the table of sizes."""
    sums = simulate(cell, runs, seed, gamma=gamma)
    found: Sizes = sizes(*sums[:4])
    now = {name: (getattr(found, name).low, getattr(found, name).high) for name in ("snr", "rms", "relative")}
    old = sums if cell.images <= 10 else simulate(cell._replace(groups=10), runs, seed, gamma=gamma)
    return {
        "before": covered(old, before(old))["snr"],
        "before, relative": covered(old, before(old))["relative"],
        **covered(sums, now),
        "ratio": float(found.snr.value.mean()) / sums.snr if sums.snr else 1.0,
        "warned": warned(sums),
    }


def print_sizes(
    runs: int, keep: Callable[[str, Callable[[], Any]], Any], seed: int = 1, *, gamma: bool = False
) -> None:
    """The table of sizes."""
    print(
        f"95 % intervals: share that holds the truth, %, of {runs} runs; standard error {100 * sqrt(0.0475 / runs):.1f}"
    )
    print(
        f"{'images':>6} {'contrast':13}{'SNR':>6} | {'before':>7}{'relative':>9} | {'SNR':>6}{'rms':>7}{'relative':>9} | {'mean/true':>9}{'warned':>7}"
    )
    rows = []
    for cell in size_cells():
        row = keep(f"sizes {cell} {runs} {seed} {gamma}", lambda cell=cell: size_row(cell, runs, seed, gamma))
        rows.append(row)
        print(
            f"{about(cell)} | {100 * row['before']:7.1f}{100 * row['before, relative']:9.1f} | "
            f"{100 * row['snr']:6.1f}{100 * row['rms']:7.1f}{100 * row['relative']:9.1f} | {row['ratio']:9.2f}{100 * row['warned']:7.0f}"
        )
    for name in ("before", "before, relative", "snr", "rms", "relative"):
        print_ends(name, [100 * row[name] for row in rows])


def mae_row(cell: Cell, runs: int, seed: int) -> dict[str, float]:
    """One row of the table of MAE: means of estimates, and how often the intervals hold mean |P|."""
    sums = simulate(cell, runs, seed)
    mean = sums.diff.sum(0) / sums.crops.sum()
    plain = mean.abs().mean((1, 2, 3))
    every, crops = jackknifed(sums.diff, sums.crops), float(len(sums.crops))
    half = (
        student_quantile(len(sums.crops) - 1) * ((crops - 1) / crops * (every - every.mean(0)).square().sum(0)).sqrt()
    )
    found = corrected(sums)
    held = [bool(one.low <= sums.mae <= one.high) for one in found]
    return {
        "true": sums.mae,
        "plain": float(plain.mean()),
        "corrected": fmean(float(one.value) for one in found),
        "held, plain": float(((plain - half <= sums.mae) & (sums.mae <= plain + half)).double().mean()),
        "held": sum(held) / len(held),
    }


def jackknifed(diff: Tensor, crops: Tensor) -> Tensor:
    """`(G, runs)` mean |P| with each group left out."""
    total = diff.sum(0)
    return torch.stack(
        [((total - one) / (crops.sum() - n)).abs().mean((1, 2, 3)) for one, n in zip(diff, crops, strict=True)]
    )


def print_mae(runs: int, keep: Callable[[str, Callable[[], Any]], Any], seed: int) -> None:
    """The table of MAE."""
    print(f"mean |P|, and the share of 95 % intervals that hold it, %, of {runs} runs")
    print(
        f"{'images':>6} {'contrast':13}{'SNR':>6} | {'true':>7}{'mae':>8}{'corrected':>11} | {'mae':>6}{'corrected':>11}"
    )
    rows = []
    for cell in size_cells():
        row = keep(f"mae {cell} {runs} {seed}", lambda cell=cell: mae_row(cell, runs, seed))
        rows.append(row)
        print(
            f"{about(cell)} | {row['true']:7.3f}{row['plain']:8.3f}{row['corrected']:11.3f} | "
            f"{100 * row['held, plain']:6.1f}{100 * row['held']:11.1f}"
        )
    for name in ("held, plain", "held"):
        print_ends(name, [100 * row[name] for row in rows])


QUANTITIES = ("snr", "rms", "relative", "mae")


def print_differences(runs: int, keep: Callable[[str, Callable[[], Any]], Any], seed: int) -> None:
    """The table of differences."""
    print(f"differences of two paddings over the same crops: share of 95 % intervals that hold, %, of {runs} runs")
    print(f"{'images':>6} {'contrast':13}{'SNR':>6}{'second':>8} | {'':8}plain jackknife{'':8} | {'':12}padprint")
    print(f"{'':35} | " + " | ".join("".join(f"{name:>9}" for name in QUANTITIES[:n]) for n in (3, 4)))
    rows = []
    for cell, ratio in pair_cells():

        def work(cell: Cell = cell, ratio: float = ratio) -> dict[str, float]:
            one, two = simulate_paddings(cell, (1.0, ratio), runs, seed)
            plain = {f"{name}, plain": paired(one, two, name, plain=True) for name in QUANTITIES[:3]}
            return {**plain, **{name: paired(one, two, name) for name in QUANTITIES}}

        row = keep(f"differences {cell} {ratio} {runs} {seed}", work)
        rows.append(row)
        old, new = (
            [100 * row[f"{name}{end}"] for name in QUANTITIES if f"{name}{end}" in row] for end in (", plain", "")
        )
        print(f"{about(cell)}{ratio:8g} | {''.join(f'{v:9.1f}' for v in old)} | {''.join(f'{v:9.1f}' for v in new)}")
    for name in rows[0]:
        print_ends(name, [100 * row[name] for row in rows])


def about(cell: Cell) -> str:
    """What a row is of."""
    name = cell.reading if not cell.contrast else f"{cell.reading} {cell.contrast:g}"
    return f"{cell.images:6} {name:13}{cell.size:6g}"


def print_ends(name: str, values: list[float]) -> None:
    """The line under a table for one column of shares, %."""
    print(
        f"{name:17} {min(values):5.1f} to {max(values):5.1f}; below 92: {sum(v < 92 for v in values)}, above 98: {sum(v > 98 for v in values)} of {len(values)}"
    )


def limit_row(kind: str, n: int, level: float, runs: int) -> dict[str, float]:
    """Share of further images below the limit, and the halo's width by the limit over that of the oracle, median.

    An image's error falls from its amplitude by e every 8 px; the oracle knows the quantile that n images can promise.
    """
    rng = np.random.default_rng(n)
    values = torch.from_numpy(KINDS[kind](rng, (n + 1, runs)))
    limit = prediction_limit(values[:n], level)
    share = promised(n, level)
    quantile = float(np.quantile(KINDS[kind](rng, 200_000), share))
    width = (limit / TOLERANCE).clamp_min(1).log() / log(max(quantile / TOLERANCE, 1 + 1e-9))
    return {"promised": share, "covered": float((values[n] <= limit).double().mean()), "width": float(width.median())}


def print_limits(runs: int, keep: Callable[[str, Callable[[], Any]], Any]) -> None:
    """The table of limits; twenty runs for each of the others, they are cheap."""
    print(f"one further image, {20 * runs} runs; widths at a tolerance of {TOLERANCE:g} of the unit of the amplitudes")
    print(f"{'errors':20}{'images':>7}{'asked':>7}{'promised':>9}{'covered':>8}{'width / oracle':>15}")
    for kind in KINDS:
        for n in (4, 12, 24, 48):
            for level in (0.9, 0.99):
                row = keep(
                    f"limits {kind} {n} {level} {runs}", lambda k=kind, n=n, p=level: limit_row(k, n, p, 20 * runs)
                )
                numbers = f"{100 * row['promised']:9.1f}{100 * row['covered']:8.1f}{row['width']:15.2f}"
                print(f"{kind:20}{n:7}{100 * level:7g}{numbers}")


def keeper(path: Path | None) -> Callable[[str, Callable[[], Any]], Any]:
    """Reads what was worked out before, works out the rest and writes it down."""
    known = json.loads(path.read_text()) if path and path.exists() else {}

    def keep(key: str, work: Callable[[], Any]) -> Any:
        if key not in known:
            known[key] = work()
            if path:
                path.write_text(json.dumps(known))
        return known[key]

    return keep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["sizes", "mae", "differences", "limits", []], default=[])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of all but the limits")
    parser.add_argument(
        "--gamma", action="store_true", help="gamma distributed contrasts of the same standard deviation"
    )
    given = parser.parse_args()
    keep = keeper(given.kept)
    if "sizes" in given.parts or not given.parts:
        print_sizes(given.runs, keep, given.seed, gamma=given.gamma)
    if "mae" in given.parts or not given.parts:
        print_mae(given.runs, keep, given.seed)
    if "differences" in given.parts or not given.parts:
        print_differences(given.runs, keep, given.seed)
    if "limits" in given.parts or not given.parts:
        print_limits(given.runs, keep)


if __name__ == "__main__":
    main()
