"""Several processes on one measurement, through `torch.distributed`: who has which share, and failing together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from padprint.errors import ModelError, PadprintError


def share() -> tuple[int, int]:
    """This process's rank, and how many processes there are.

    Raises:
        ModelError: there is no process group.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise ModelError(
            "distributed=True needs a process group: call torch.distributed.init_process_group() first, or measure in "
            "one process with distributed=False"
        )
    return dist.get_rank(), dist.get_world_size()


@contextmanager
def together(distributed: bool) -> Iterator[None]:
    """Fail in every process where one fails, so that none waits for it for ever."""
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        if not distributed:
            raise
        error = caught
    if not distributed:
        return
    reports = everyone(None if error is None else str(error), distributed)
    if error is not None:
        raise error
    for rank, report in enumerate(reports):
        if report is not None:
            raise PadprintError(f"process {rank}: {report}")


def everyone(value: Any, distributed: bool) -> list[Any]:
    """What every process holds, in order of rank."""
    if not distributed:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
