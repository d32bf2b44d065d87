"""A network, and the process around it, left as found: what running a network may change on the way is put back."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy


def generators(model: nn.Module) -> list[torch.Generator]:
    """The random number generators that modules hold as attributes, each once, in the order of the modules."""
    held = (value for module in model.modules() for value in vars(module).values())
    return list({id(value): value for value in held if isinstance(value, torch.Generator)}.values())


@contextmanager
def continued(own: Sequence[torch.Generator], states: list[torch.Tensor]) -> Iterator[None]:
    """Let generators go on from `states`, which hold afterwards where they have stopped: one pass in several blocks."""
    for generator, state in zip(own, states, strict=True):
        generator.set_state(state)
    try:
        yield
    finally:
        states[:] = [generator.get_state() for generator in own]


@contextmanager
def randomness_kept(own: Iterable[torch.Generator] = (), devices: Sequence[int] = ()) -> Iterator[None]:
    """Put back where random numbers stood: torch's, NumPy's and Python's global ones, and those of `own`.

    Args:
        own: further generators.
        devices: CUDA devices whose global generator is put back too.
    """
    states = [(generator, generator.get_state()) for generator in own]
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        for generator, state in states:
            generator.set_state(state)


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put back buffers that a forward pass writes to in evaluation mode too: observers, data-dependent initialisation.

    A buffer that another tensor takes the place of is left: it is a cache, and its module knows what is in it.
    """
    plain = (b for b in model.buffers() if not (is_lazy(b) or b.is_meta or b.is_inference() or b.is_nested))
    kept = [(buffer, buffer.clone()) for buffer in plain if buffer.layout is torch.strided]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


@contextmanager
def full_precision() -> Iterator[None]:
    """Products and convolutions of float32 in float32, by algorithms chosen without trials; put back at the end.

    torch 2.9 and later know two ways to ask for less, which forbid each other's reading; both are put back.
    """
    backends, cudnn = torch.backends, torch.backends.cudnn
    homes = {backends.cuda: ["matmul"], cudnn: ["conv", "rnn"], backends.mkldnn: ["matmul", "conv", "rnn"]}
    places: list[Any] = [getattr(home, name, None) for home, names in homes.items() for name in names]
    single = [place for place in places if hasattr(place, "fp32_precision")]
    before = [place.fp32_precision for place in single]
    benchmark, matmul, convolutions = cudnn.benchmark, _readable(_matmul), _readable(_convolutions)
    try:
        cudnn.benchmark = False
        if matmul is not None:
            torch.set_float32_matmul_precision("highest")
        if convolutions is not None:
            cudnn.allow_tf32 = False
        for place in single:
            place.fp32_precision = "ieee"
        yield
    finally:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if convolutions is not None:
            cudnn.allow_tf32 = convolutions
        for place, precision in zip(single, before, strict=True):
            place.fp32_precision = precision
        cudnn.benchmark = benchmark


def _matmul() -> str:
    return torch.get_float32_matmul_precision()


def _convolutions() -> bool:
    return bool(torch.backends.cudnn.allow_tf32)


def _readable(read: Any) -> Any:
    """What `read` returns; None where the newer way was taken, under which the older one raises."""
    try:
        return read()
    except RuntimeError:
        return None
