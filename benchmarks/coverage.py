"""How often the intervals hold, simulated: ``PYTHONPATH=src:tests python benchmarks/coverage.py [PART ...] [--runs N]``.

Parts: sizes, halo, channels; all without any. A cell that was worked out before is read from ``--kept FILE``, where one is given.

The grids are described in ``tests/size_grid.py`` and in docs/trust.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

from padprint.sizes import Sizes, sizes
from size_grid import Cell, before, covered, simulate, size_cells, warned


def size_row(cell: Cell, runs: int) -> dict[str, float]:
    """One row of the table of sizes."""
    sums = simulate(cell, runs)
    found: Sizes = sizes(*sums[:4])
    now = {name: (getattr(found, name).low, getattr(found, name).high) for name in ("snr", "rms", "relative")}
    old = sums if cell.images <= 10 else simulate(cell._replace(groups=10), runs)
    return {
        "before": covered(old, before(old))["snr"],
        "before, relative": covered(old, before(old))["relative"],
        **covered(sums, now),
        "ratio": float(found.snr.value.mean()) / sums.snr if sums.snr else 1.0,
        "warned": warned(sums),
    }


def print_sizes(runs: int, keep: Callable[[str, Callable[[], Any]], Any]) -> None:
    """The table of sizes."""
    print(
        f"95 % intervals: share that holds the truth, %, of {runs} runs; standard error {100 * sqrt(0.0475 / runs):.1f}"
    )
    print(
        f"{'images':>6} {'contrast':13}{'SNR':>6} | {'before':>7}{'relative':>9} | {'SNR':>6}{'rms':>7}{'relative':>9} | {'mean/true':>9}{'warned':>7}"
    )
    rows = []
    for cell in size_cells():
        row = keep(f"sizes {cell} {runs}", lambda cell=cell: size_row(cell, runs))
        rows.append(row)
        name = cell.reading if not cell.contrast else f"{cell.reading} {cell.contrast:g}"
        print(
            f"{cell.images:6} {name:13}{cell.size:6g} | {100 * row['before']:7.1f}{100 * row['before, relative']:9.1f} | "
            f"{100 * row['snr']:6.1f}{100 * row['rms']:7.1f}{100 * row['relative']:9.1f} | {row['ratio']:9.2f}{100 * row['warned']:7.0f}"
        )
    for name in ("before", "before, relative", "snr", "rms", "relative"):
        values = [100 * row[name] for row in rows]
        print(
            f"{name:17} {min(values):5.1f} to {max(values):5.1f}; below 92: {sum(v < 92 for v in values)}, above 98: {sum(v > 98 for v in values)} of {len(values)}"
        )


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
    parts = {"sizes": print_sizes}
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--kept", type=Path)
    given = parser.parse_args()
    for part in given.parts or parts:
        parts[part](given.runs, keeper(given.kept))


if __name__ == "__main__":
    main()
