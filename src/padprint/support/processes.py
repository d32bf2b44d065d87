"""Several processes on one measurement, through `torch.distributed`: who has which share, and failing together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from padprint.errors import ImagesError, ModelError, PadprintError


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
    """Fail in every process where one fails, or where its model's code ends the program; none waits for it for ever."""
    error: Exception | SystemExit | None = None
    try:
        yield
    except (Exception, SystemExit) as caught:
        if not distributed:
            raise
        error = caught
    if not distributed:
        return
    reports = everyone(None if error is None else _said(error), distributed)
    if error is not None:
        raise error
    for rank, report in enumerate(reports):
        if report is not None:
            raise PadprintError(f"process {rank}: {report}")


def _said(error: BaseException) -> str:
    ended = f"code that was run ended the program ({type(error).__name__}: {error})"
    return (str(error) or type(error).__name__) if isinstance(error, Exception) else ended


def everyone(value: Any, distributed: bool) -> list[Any]:
    """What every process holds, in order of rank."""
    if not distributed:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def same_images(fingerprints: Sequence[str], descriptions: Sequence[str]) -> None:
    """Check that all processes share out the same images.

    Args:
        fingerprints: `padprint.images.source.Source.fingerprint` of each process's images, in order of rank.
        descriptions: of the same images, in words.

    Raises:
        ImagesError: one process has other images than the first.
    """
    for rank, (fingerprint, described) in enumerate(zip(fingerprints, descriptions, strict=True)):
        if fingerprint != fingerprints[0]:
            raise ImagesError(
                f"the processes were given different images: process 0 has {descriptions[0]}, and process {rank} "
                f"{described}, other names, sizes or values; give every process the same ones, padprint shares them out"
            )
