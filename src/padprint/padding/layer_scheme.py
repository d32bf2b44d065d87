"""The scheme of one layer of a converted network: a copy of the one asked for, sized and seeded for it."""

from __future__ import annotations

import copy

import torch
from torch import nn

from padprint.errors import PaddingError
from padprint.padding.scheme import Scheme
from padprint.padding.swap import title


def scheme_for(
    scheme: Scheme, name: str, module: nn.Module, channels: set[int], seed: int | None, index: int
) -> Scheme:
    """A copy of `scheme` for one layer: sized and seeded."""
    own = copy.deepcopy(scheme)
    if own.learned:
        channels = channels or {n for n in [getattr(module, "in_channels", None)] if n is not None}
        if len(channels) != 1:
            many = " and ".join(map(str, sorted(channels)))
            why = (
                f"its calls pad maps of {many} channels"
                if many
                else "its channels are not known: give an example input that reaches it"
            )
            raise PaddingError(f"{title(own)} padding cannot be sized for {name or 'the model'}: {why}")
        own = own.sized(channels.pop())
    if own.stochastic:  # copies would draw the same numbers
        seed = getattr(own, "seed", None) if seed is None else seed
        own.reseed(None if seed is None else _layer_seed(seed, index))
    return own.train(module.training)


def _layer_seed(seed: int, index: int) -> int:
    """A seed for one layer: different for every pair, and far from its neighbours."""
    generator = torch.Generator().manual_seed(seed)
    return int(torch.randint(2**62, (index + 1,), generator=generator)[index])
