"""Random small networks, drawn from a grammar of operators; each knows its stride and period and says what it is made of.

`network(random.Random(seed))` draws one. Nothing here uses padprint: strides, periods and reaches are kept by the grammar
itself, an operator at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from fractions import Fraction
from math import ceil, lcm
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import grammar_hard  # noqa: F401  # its operators
from grammar_ops import ONE, OPERATORS, Draw, Op, Pair, operator

FURTHEST = 56  # px that a network of local operators may see in any direction
SMALLEST = 5  # cells of a map at the crop's size

# -------------------------------------------------------------------------------------------------------- composites


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, join: str) -> None:
        super().__init__()
        self.inner, self.join = inner, join

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x.clone())
        return torch.cat([x, y], 1)[:, ::2] if self.join == "cat" else x + y


class Hourglass(nn.Module):
    """Down by two, something, up to the size there was, joined with it."""

    def __init__(self, inner: nn.Module, weight: Tensor, mode: str) -> None:
        super().__init__()
        self.inner, self.weight, self.mode = inner, nn.Parameter(weight), mode

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(F.conv2d(x, self.weight, stride=2, padding=1))
        return x[:, :1] + F.interpolate(y, x.shape[-2:], mode=self.mode)


def _inner(d: Draw) -> Op:
    """Any operator that keeps the size."""
    kind = d.pick(*KEEPING)
    op = OPERATORS[kind](d)
    if op.scale != ONE:
        raise UnfitError
    op.kinds = (kind, *op.kinds)
    return op


@operator
def residual(d: Draw) -> Op:
    inner = _inner(d)
    join = d.pick("cat", "sum") if inner.channels == d.c else "cat"
    channels = d.c if join == "sum" else ceil((d.c + inner.channels) / 2)
    text = f"{join} of x and [{inner.text}]"
    return Op(Residual(inner.module, join), text, channels, ONE, inner.block, inner.reach, inner.kinds)


@operator
def hourglass(d: Draw) -> Op:
    weight, mode = d.weights(4, d.c, 3, 3), d.pick("nearest", "bilinear")
    inner = _inner(Draw(d.random, 4))
    block = (2 * inner.block[0], 2 * inner.block[1])
    text = f"down, [{inner.text}], {mode} up, + x"
    module = Hourglass(inner.module, weight, mode)
    return Op(module, text, inner.channels, ONE, block, 2 * inner.reach + 6, inner.kinds)


_NOT_INSIDE = ("residual", "hourglass", "pool", "upsample", "decimate", "whole", "position", "fixed_size", "remembers")
KEEPING = [name for name in OPERATORS if name not in (*_NOT_INSIDE, "noisy", "patches", "from_the_end")]
PLAIN = ("conv", "conv", "conv", "pool", "elementwise", "elementwise", "transposed", "upsample", "residual")
"""Kinds that are drawn as often as all others together."""


class UnfitError(Exception):
    """Parameters that do not go together: draw again."""


# ---------------------------------------------------------------------------------------------------------- networks


ENDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "map": lambda x: x.clone(),
    "view": lambda x: x.view_as(x),
    "labels": lambda x: x.argmax(1),
    "mask": lambda x: x > 0,
    "channels last": lambda x: x.movedim(1, -1).clone(),
    "with a vector": lambda x: x.clone(),
}


class Network(nn.Module):
    """Operators one after the other.

    Attributes:
        ops: what it is made of.
        taken: after which operators a map is returned; the last is always one.
        ending: how maps are returned, one of `ENDINGS`.
        strides: input px per cell (y, x), of each returned map.
        period: input px (y, x) after which it repeats itself.
        reach: input px that a network of local operators can see in any direction, at most.
    """

    def __init__(self, ops: Sequence[Op], taken: Sequence[int] = (), ending: str = "map") -> None:
        super().__init__()
        self.ending = ending
        self.ops = list(ops)
        self.taken = sorted({*taken, len(ops) - 1})
        self.steps = nn.ModuleList(op.module for op in ops)
        self.strides: list[tuple[Fraction, Fraction]] = []
        stride, self.reach, numerators = ONE, Fraction(0), ([1], [1])
        for i, op in enumerate(ops):
            self.reach += op.reach * max(stride)
            after = tuple(s / n for s, n in zip(stride, op.scale, strict=True))
            for axis in (0, 1):
                numerators[axis].extend([(op.block[axis] * stride[axis]).numerator, after[axis].numerator])
            stride = after
            if i in self.taken:
                self.strides.append(stride)
        self.period: Pair = (lcm(*numerators[0]), lcm(*numerators[1]))

    def forward(self, x: Tensor) -> Any:
        found = []
        for i, step in enumerate(self.steps):
            x = step(x)
            if i in self.taken:
                found.append(ENDINGS[self.ending](x))
        if self.ending == "with a vector":
            return {"maps": found, "vector": x.mean((2, 3))}
        return found[0] if len(found) == 1 else tuple(found)

    def as_maps(self, output: Any) -> tuple[Tensor, ...]:
        """The `(B, C, h, w)` maps in what `forward` returned."""
        found = output["maps"] if isinstance(output, dict) else output
        maps = (found,) if isinstance(found, Tensor) else tuple(found)
        if self.ending == "channels last":
            return tuple(one.movedim(-1, 1) for one in maps)
        return tuple(one.unsqueeze(1) if one.dim() == 3 else one for one in maps)

    @property
    def names(self) -> list[str]:
        """What padprint calls the maps."""
        n = len(self.taken)
        if self.ending == "with a vector":
            return [f"output[maps.{i}]" for i in range(n)]
        return ["output"] if n == 1 else [f"output[{i}]" for i in range(n)]

    def describe(self) -> str:
        ends = "" if len(self.taken) == 1 else f"; returned after {[i + 1 for i in self.taken]}"
        ends += "" if self.ending == "map" else f"; as {self.ending}"
        return " > ".join(op.text for op in self.ops) + ends

    @property
    def kinds(self) -> set[str]:
        return {kind for op in self.ops for kind in op.kinds}

    def without(self, i: int) -> Network | None:
        """A smaller network, to see whether an operator matters; None where the others do not fit together."""
        rest = [op for j, op in enumerate(self.ops) if j != i]
        return Network(rest, (), self.ending) if rest else None


def make(kind: str, random: Random, channels: int = 3) -> Op:
    """One operator of a kind, with random parameters."""
    while True:
        try:
            op = OPERATORS[kind](Draw(random, channels))
        except UnfitError:
            continue
        op.kinds = (kind, *op.kinds)
        return op


def network(random: Random, crop: Pair = (32, 32), kinds: Sequence[str] = (), there: str | None = None) -> Network:
    """A random network of one to six operators that runs on a crop.

    Args:
        random: decides everything.
        crop: (height, width), px.
        kinds: the operators, in this order, those left out that do not fit; drawn where empty.
        there: one of those that are drawn.
    """
    wanted = list(kinds) or [
        random.choice(PLAIN if random.random() < 0.5 else list(OPERATORS)) for _ in range(random.randint(1, 6))
    ]
    if there is not None:
        wanted[random.randrange(len(wanted))] = there
    ops: list[Op] = []
    for kind in wanted:
        for _ in range(20):
            op = make(kind, random, ops[-1].channels if ops else 3)
            if _fits([*ops, op], crop):
                ops.append(op)
                break
    if not ops:
        return network(random, crop)
    taken = [random.randrange(len(ops))] if random.random() < 0.15 else []
    ending = random.choice(list(ENDINGS)) if random.random() < 0.2 else "map"
    return Network(ops, taken, ending).eval()


def _fits(ops: Sequence[Op], crop: Pair) -> bool:
    """Whether operators go together: the network runs, its maps are not too small, and it does not see too far."""
    net = Network(ops)
    if net.reach > FURTHEST or max(net.period) > 16 or min(net.strides[-1]) < Fraction(1, 2):
        return False
    try:
        with torch.no_grad():
            y = fresh(net)(torch.linspace(-1, 1, 3 * crop[0] * crop[1]).sin().reshape(1, 3, *crop).double())
    except (RuntimeError, IndexError, ValueError):
        return False
    return y.shape[1] == ops[-1].channels and min(y.shape[-2:]) >= SMALLEST


def fresh(net: Network) -> Network:
    """A copy in double precision and evaluation mode, whose memory is that of the original."""
    return deepcopy(net).double().eval()
