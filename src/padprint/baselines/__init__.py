"""Older metrics of position and border effects, on the crops that `padprint.measure` takes.

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint.support.lazy import loader

if TYPE_CHECKING:
    from padprint.baselines.readout.ground_truths import PATTERNS, ground_truth, ground_truths
    from padprint.baselines.readout.network import Readout, ReadoutSettings, score, train_readout
    from padprint.baselines.readout.result import PosENetResult, Score
    from padprint.baselines.readout.run import posenet
    from padprint.measuring.crops import Batch, iterate

_HOMES = {
    "Batch": ".measuring.crops",
    "iterate": ".measuring.crops",
    "PATTERNS": "readout.ground_truths",
    "ground_truth": "readout.ground_truths",
    "ground_truths": "readout.ground_truths",
    "Readout": "readout.network",
    "ReadoutSettings": "readout.network",
    "score": "readout.network",
    "train_readout": "readout.network",
    "PosENetResult": "readout.result",
    "Score": "readout.result",
    "posenet": "readout.run",
}

__all__ = [
    "PATTERNS",
    "Batch",
    "PosENetResult",
    "Readout",
    "ReadoutSettings",
    "Score",
    "ground_truth",
    "ground_truths",
    "iterate",
    "posenet",
    "score",
    "train_readout",
]


__getattr__ = loader(__name__, _HOMES)
