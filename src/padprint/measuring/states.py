"""Tensors that are added up over crops, and over processes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor


class States:
    """Named sums, float64, that start at zero; each is an attribute too.

    Plain tensors, no `torchmetrics.Metric`: importing torchmetrics takes longer than importing torch, and only
    `padprint.PatternMetric` needs it.

    Args:
        shapes: of the sums, by name.
        device: where they lie.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], device: torch.device | None = None) -> None:
        self._names = tuple(shapes)
        for name, shape in shapes.items():
            setattr(self, name, torch.zeros(shape, dtype=torch.float64, device=device))

    @property
    def states(self) -> dict[str, Tensor]:
        """The sums by name."""
        return {name: getattr(self, name) for name in self._names}

    def join(self) -> None:
        """Add the sums of all processes, in the order of their ranks, so that each has the same bits; all must call."""
        for name, own in self.states.items():
            every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
            dist.all_gather(every, own.contiguous())
            setattr(self, name, torch.stack(every).sum(0))
