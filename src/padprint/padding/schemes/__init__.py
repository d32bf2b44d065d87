"""padprint's own padding schemes; importing this package registers them all.

docs/padding.md has them in one table.
"""

from padprint.padding.schemes.edges import pad_constant
from padprint.padding.schemes.extrapolating import LinearPrediction, Polynomial
from padprint.padding.schemes.learned import PaddingModule, PPPad, local_losses
from padprint.padding.schemes.plain import Circular, Constant, Reflect, Replicate, Symmetric, Zeros
from padprint.padding.schemes.statistical import Distribution
from padprint.padding.schemes.stochastic import Randn, RandomSide
from padprint.padding.schemes.windows import Full, NoPadding, Partial

__all__ = [
    "Circular",
    "Constant",
    "Distribution",
    "Full",
    "LinearPrediction",
    "NoPadding",
    "PPPad",
    "PaddingModule",
    "Partial",
    "Polynomial",
    "Randn",
    "RandomSide",
    "Reflect",
    "Replicate",
    "Symmetric",
    "Zeros",
    "local_losses",
    "pad_constant",
]
