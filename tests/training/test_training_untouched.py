"""Measuring leaves a network, and the process around it, as found: random numbers, buffers, precision."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nets
import padprint.padding as pp
from helpers import noise
from padprint import ModelError, measure, trace
from training_runs import Drawn

OPTIONS: dict[str, Any] = {"crop": 16, "crops_per_image": 2}


class Restless(nn.Module):
    """Writes to a buffer whenever it runs, draws from a generator of its own, and keeps a cache in another buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.register_buffer("largest", torch.zeros(()))
        self.register_buffer("ones", torch.ones(1))
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        self.largest.copy_(torch.maximum(self.largest, x.abs().max()))
        if self.ones.shape != x.shape[-1:]:
            self.ones = torch.ones(x.shape[-1])
        return self.conv(x) * self.ones + 0.1 * torch.randn((), generator=self.generator)


def test_buffers_and_generators_of_modules() -> None:
    net = Restless().eval()
    net(torch.zeros(1, 3, 8, 8))
    before = net.largest.clone(), net.generator.get_state()
    with pytest.raises(ModelError):  # an offset that changes from pass to pass depends on place, for all that is known
        measure(net, noise(3, 40), **OPTIONS)
    trace(net, crop=16)
    assert torch.equal(net.largest, before[0])
    assert torch.equal(net.generator.get_state(), before[1])
    assert net(torch.zeros(1, 3, 12, 12)).shape[-1] == 12


def test_buffers_that_cannot_be_compared() -> None:
    net = nets.stack()
    net.register_buffer("graph", torch.eye(3).to_sparse())
    net.register_buffer("unknown", torch.tensor([torch.nan, 1.0]))
    trace(net, crop=16)
    assert net.graph.is_sparse
    assert net.unknown.isnan().tolist() == [True, False]


def test_global_generators_that_images_draw_from() -> None:
    net = nets.stack()
    state = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    measure(net, Drawn(), **OPTIONS)
    assert random.getstate() == state[0]
    assert str(np.random.get_state()) == state[1]
    assert torch.equal(torch.get_rng_state(), state[2])


def test_a_stochastic_network_is_measured_the_same_wherever_its_generators_stand() -> None:
    net = pp.convert(nets.stride_two(), "randn", seed=1)
    states = [one._generator.get_state() for one in net.modules() if isinstance(one, pp.Scheme)]
    first = measure(net, noise(4, 40), **OPTIONS)
    after = [one._generator.get_state() for one in net.modules() if isinstance(one, pp.Scheme)]
    assert all(torch.equal(a, b) for a, b in zip(states, after, strict=True))
    net(torch.zeros(1, 3, 16, 16))
    assert dict(measure(net, noise(4, 40), **OPTIONS)) == dict(first)
    assert dict(measure(net, noise(4, 40), **OPTIONS, batch_size=1)) == dict(
        measure(net, noise(4, 40), **OPTIONS, batch_size=1)
    )
    assert dict(measure(net, noise(4, 40), **OPTIONS, seed=1)) != dict(first)


# ---------------------------------------------------------------------------------------------------------- precision


def readings() -> list[Any]:
    """All that can be asked about precision; an error is an answer too."""
    backends = torch.backends
    asks: list[Callable[[], Any]] = [
        torch.get_float32_matmul_precision,
        lambda: backends.cuda.matmul.allow_tf32,
        lambda: backends.cudnn.allow_tf32,
        lambda: backends.cudnn.benchmark,
        lambda: backends.cudnn.deterministic,
        lambda: backends.cuda.matmul.fp32_precision,
        lambda: backends.cudnn.conv.fp32_precision,
        lambda: backends.cudnn.rnn.fp32_precision,
        lambda: backends.mkldnn.matmul.fp32_precision,
        lambda: backends.mkldnn.conv.fp32_precision,
    ]
    return [reading(ask) for ask in asks]


def reading(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (RuntimeError, AttributeError) as error:
        return type(error).__name__


NEW = hasattr(torch.backends.cuda.matmul, "fp32_precision")
"""torch 2.9 and later."""


@contextmanager
def asking(how: str) -> Iterator[None]:
    """A user's wish about precision, taken back at the end."""
    backends = torch.backends
    before = [backends.cuda.matmul.fp32_precision, backends.mkldnn.matmul.fp32_precision] if NEW else []
    try:
        if how in ("medium", "high"):
            torch.set_float32_matmul_precision(how)
        elif how == "allow_tf32":
            backends.cuda.matmul.allow_tf32 = True
        elif how == "no tf32 in convolutions":
            backends.cudnn.allow_tf32 = False
        elif how == "benchmark":
            backends.cudnn.benchmark = True
        elif how == "new name":
            backends.cuda.matmul.fp32_precision = "tf32"
        yield
    finally:
        backends.cudnn.benchmark = False
        backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("highest")
        if NEW:
            backends.cuda.matmul.fp32_precision, backends.mkldnn.matmul.fp32_precision = before


HOW = ["default", "medium", "high", "allow_tf32", "no tf32 in convolutions", "benchmark"]


@pytest.mark.parametrize("how", [*HOW, *(["new name"] if NEW else [])])
def test_precision_is_put_back_however_it_was_asked_for(how: str) -> None:
    with asking(how):
        before = readings()
        measure(nets.stack(), noise(2, 40), **OPTIONS)
        assert readings() == before


def test_full_precision_while_measuring() -> None:
    seen = []
    net = nets.stack()
    net[0].register_forward_hook(
        lambda *_: seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark))
    )
    with asking("medium"):
        torch.backends.cudnn.benchmark = True
        measure(net, noise(2, 40), **OPTIONS)
    assert set(seen) == {("highest", False)}


# ----------------------------------------------------------------------------------------------- geometry found before


def test_a_geometry_stands_for_its_layers() -> None:
    net, images = nets.stride_two(), noise(4, 44)
    geometry = trace(net, ["0", "2"], crop=16)
    with torch.no_grad():
        net[0].weight.mul_(0.5)  # trained on
    assert dict(measure(net, images, geometry, **OPTIONS)) == dict(measure(net, images, ["0", "2"], **OPTIONS))


def test_a_geometry_of_something_else() -> None:
    geometry = trace(nets.stride_two(), crop=16)
    with pytest.raises(ModelError, match=r"traced at a crop of \(16, 16\) px and the crop is \(20, 20\)"):
        measure(nets.stride_two(), noise(3, 44), geometry, crop=20)
    with pytest.raises(ModelError, match="of another network: this one has no 1, 2"):
        measure(nets.stride_one(), noise(3, 44), geometry, crop=16)
