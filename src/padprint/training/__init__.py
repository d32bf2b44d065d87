"""Padding patterns while a network trains: a metric, and a watch for any training loop.

`Watch` measures every so many steps within a share of the time and leaves the training as it would be without it;
`padprint.training.lightning` and `padprint.training.transformers` are the same as callbacks.
"""

from padprint.training.metric import PatternMetric
from padprint.training.watch import Watch

__all__ = ["PatternMetric", "Watch"]
