"""Models by name, with weights from a file, and BatchNorm that has seen data."""

from padprint.network.batchnorm import calibrate_batchnorm
from padprint.network.loading import load_model

__all__ = ["calibrate_batchnorm", "load_model"]
