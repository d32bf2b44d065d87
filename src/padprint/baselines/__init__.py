"""Older metrics of position and border effects, on the crops that `padprint.measure` takes.

Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from padprint.baselines.readout.ground_truths import PATTERNS, ground_truth, ground_truths
    from padprint.baselines.readout.network import Readout, ReadoutSettings, score, train_readout
    from padprint.baselines.readout.result import PosENetResult, Score
    from padprint.baselines.readout.run import posenet

_HOMES = {
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
    "PosENetResult",
    "Readout",
    "ReadoutSettings",
    "Score",
    "ground_truth",
    "ground_truths",
    "posenet",
    "score",
    "train_readout",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'padprint.baselines' has no attribute {name!r}")
    value = getattr(import_module(f"padprint.baselines.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
