"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_limits

# What tests compute is small: a second thread costs more than it gives, and two processes of pytest-xdist share two cores.
if "OMP_NUM_THREADS" not in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy's, which a plugin may have imported before


TOGETHER = (
    "test_convert",
    "test_distributed",
    "test_formation",
    "test_known",
    "test_properties",
    "test_training_",
    "test_halo_verify",
)
"""Files whose tests share what takes long to make: one process runs all of a file."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files of `TOGETHER` first, each in one process; then all other tests one by one, as the slow ones all are."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            together = "not slow" in config.option.markexpr and file.rpartition("/")[2].startswith(TOGETHER)
            return file if together else nodeid

    return Scheduler(config, log)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For small networks and grouped convolutions in double precision, whatever is asked for: threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
