"""Models by name, with weights from a file, and BatchNorm that has seen data."""

from padprint.network.loading import calibrate_batchnorm, load_model

__all__ = ["calibrate_batchnorm", "load_model"]
