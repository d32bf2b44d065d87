"""Padding patterns while a network trains: a metric, and a watch for any training loop.

`Watch` measures every so many steps within a share of the time and leaves the training as it would be without it;
`padprint.training.lightning` and `padprint.training.transformers` are the same as callbacks. Names are loaded on first use, because
the metric alone needs torchmetrics, which imports much of what is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint.support.lazy import loader

if TYPE_CHECKING:
    from padprint.training.metric import PatternMetric
    from padprint.training.watch import Watch

_HOMES = {"PatternMetric": "metric", "Watch": "watch"}

__all__ = ["PatternMetric", "Watch"]

__getattr__ = loader(__name__, _HOMES)
