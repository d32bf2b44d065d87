"""Made-up studies with known findings, for tests of their pages."""

from __future__ import annotations

import pandas as pd

from padprint.studies.reliability_tables import Reliability


def made_reliability() -> Reliability:
    """Three repetitions by two metrics: PPP-SNR is right everywhere, PosENet calls what is not there and misses what is.

    Spread, a network that tells, one that does not, and injected patterns of 0.1 and 0.5, of which PosENet sees the second.
    """
    values = {
        ("spread", "net"): (True, None, (1.0, 2.0, 3.0), (0.5, 0.6, 0.7)),
        ("truth", "tells"): (True, None, (10.0, 10.1, 9.9), (-0.1, 0.0, 0.1)),
        ("truth", "tells nothing"): (False, None, (-1.0, 0.0, 1.0), (0.8, 0.8, 0.8)),
        ("dose", "injected 0.1"): (True, 0.1, (1.0, 1.1, 1.2), (-0.1, 0.0, 0.1)),
        ("dose", "injected 0.5"): (True, 0.5, (3.0, 3.1, 3.2), (0.5, 0.5, 0.5)),
    }
    records = [
        {
            "part": part,
            "network": network,
            "repetition": i,
            "position": position,
            "response": True,
            "amplitude": amplitude,
        }
        | {"scores": {"PPP-SNR": ppp[i], "PosENet": readout[i]}, "seconds": {"ppp": 1.0, "posenet": 4.0}}
        for (part, network), (position, amplitude, ppp, readout) in values.items()
        for i in range(3)
    ]
    return Reliability({"repetitions": 3, "scenes": 6, "crops_per_scene": 2, "seed": 0}, records)


def made_formation() -> pd.DataFrame:
    """A formation study of two networks and three seeds: training makes the SNR ten times larger with zeros; with reflect it does not."""
    levels = {("zeros", 0): -1.0, ("zeros", 10): 0.0, ("reflect", 0): -2.0, ("reflect", 10): -2.0}
    rows = [
        {"network": network, "task": "t", "scheme": scheme, "seed": seed, "step": step, "accuracy": 0.9, "loss": 0.1}
        | {"learned": True, "layer": f"l{depth}", "depth": depth, "mae": 10**level}
        | {"snr": 10 ** (level + (0.1 * (seed - 1) * (step > 0)))}
        for (scheme, step), level in levels.items()
        for network in ("n", "m")
        for seed in range(3)
        for depth in (1, 2)
    ]
    return pd.DataFrame(rows)


def made_swaps() -> pd.DataFrame:
    """Part "swap" of a properties study: the SNR is 1 run with zeros and 0.01 with reflect, whatever was trained with."""
    rows = [
        {"network": "n", "task": "t", "scheme": trained, "run": run, "seed": 0, "depth": 1, "accuracy": 0.9}
        | {"snr": {"zeros": 1.0, "reflect": 0.01}[run]}
        for trained in ("zeros", "reflect")
        for run in ("zeros", "reflect")
    ]
    return pd.DataFrame(rows)
