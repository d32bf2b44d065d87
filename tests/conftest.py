"""What holds for every test."""

from __future__ import annotations

import os

import torch

# Networks of tests are small: a second thread costs more than it gives, and two processes of pytest-xdist share two cores.
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(1)
