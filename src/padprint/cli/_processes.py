"""One process or several (torchrun): which one prints and writes, and the process group's life."""

# torch is imported only where there are several processes
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def several() -> bool:
    """Whether torchrun started more than one process."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def first() -> bool:
    """Whether this process is the one that shows and writes."""
    return not several() or os.environ["RANK"] == "0"


@contextmanager
def joined(device: str | None) -> Iterator[str | None]:
    """Join the process group where there are several processes, and leave it at the end, failed or not.

    Args:
        device: the device asked for; "cuda", or none where CUDA is present, becomes this process's own.

    Yields:
        The device to use.
    """
    if not several():
        yield device
        return
    import torch
    import torch.distributed as dist

    if device == "cuda" or (device is None and torch.cuda.is_available()):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    on_cuda = device is not None and device.startswith("cuda")
    if on_cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()
