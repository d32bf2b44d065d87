"""False discoveries and power of the test of channels, simulated: ``PYTHONPATH=tests python benchmarks/channels.py``."""

from __future__ import annotations

import numpy as np
from scipy import stats
from test_channels import CASES, RIM, SIZE, drawn, found_in

from padprint.results.channels import LEVEL, regions

CHANNELS, TRUE = 40, 4


def simulate(kind: str, groups: int, size: float, runs: int) -> tuple[float, float, float]:
    """Mean share of false calls without and with TRUE channels of pattern `size` at the top, and the share of those found."""
    null, rates, power = [], [], []
    for seed in range(runs):
        means = drawn(kind, groups, CHANNELS, seed)
        null.append(float(found_in(means).count > 0))
        means[:, :TRUE] += size * CASES["top"]
        aware = found_in(means).aware
        rates.append(float(aware[TRUE:].sum()) / max(1, int(aware.sum())))
        power.append(float(aware[:TRUE].double().mean()))
    return float(np.mean(null)), float(np.mean(rates)), float(np.mean(power))


def plain(groups: int, runs: int) -> float:
    """Share of runs of loud images without a pattern in which plain t tests over the regions call a channel."""
    called = 0
    for seed in range(runs):
        means = drawn("loud", groups, CHANNELS, seed)
        placed = means - means.mean((2, 3), keepdim=True)
        regional = [placed[..., mask].mean(-1).numpy() for mask in regions(SIZE, RIM).values()]
        p = np.minimum(1, len(regional) * np.min([stats.ttest_1samp(one, 0.0).pvalue for one in regional], 0))
        called += bool((stats.false_discovery_control(p) <= LEVEL).any())
    return called / runs


def main(runs: int = 200) -> None:
    print(f"level 0.05, {runs} runs of {CHANNELS} channels, {TRUE} with a pattern in the second part")
    print(f"{'noise':10}{'groups':>8}{'size':>6}{'any false call, no pattern':>28}{'false share':>13}{'power':>8}")
    for kind in ("normal", "unequal", "heavy", "skewed", "loud", "loud x 5"):
        for groups, size in ((20, 1.0), (10, 1.0), (10, 3.0), (3, 3.0), (3, 30.0)):
            null, rate, power = simulate(kind, groups, size, runs)
            print(f"{kind:10}{groups:8}{size:6g}{null:28.3f}{rate:13.3f}{power:8.2f}")
    for groups in (10, 20):
        print(f"loud, plain t tests, {groups} groups: any false call {plain(groups, runs):.3f}")


if __name__ == "__main__":
    main()
