"""Schemes that draw fresh numbers at every call, from a generator of their own."""

from __future__ import annotations

import copy
import hashlib
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.padding.scheme import Scheme, register
from padprint.padding.schemes.edges import at_least_float32, flat, require, require_floats, whole
from padprint.padding.schemes.plain import copied
from padprint.padding.windowed import Pads


class Drawing(Scheme):
    """A scheme with its own random numbers: torch's global generator is neither read nor advanced.

    The numbers are drawn on the CPU and moved, so a seed gives the same ones on every device and in every
    precision. The generator survives
    copying and pickling where it stood. Compiled and exported graphs cannot hold a generator: there the numbers come from
    torch's global one. Activation checkpointing, which runs a layer twice, gets other numbers the second time.

    Args:
        seed: fixes the numbers; None for others each time.
    """

    stochastic = True

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.reseed(seed)

    def reseed(self, seed: int | None) -> None:
        """Start again from `seed`; None starts anywhere.

        Raises:
            PaddingError: `seed` is no whole number.
        """
        self.seed = None if seed is None else whole(seed, "seed", 0)
        self._generator = torch.Generator()
        self._by_layer: dict[str, Drawing] = {}
        if self.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self.seed)

    def for_layer(self, name: str) -> Drawing:
        """See `Scheme.for_layer`: a stream of numbers for each layer, which the seed and the layer's name fix."""
        if name not in self._by_layer:
            digest = hashlib.blake2s(f"{self.seed} {name}".encode(), digest_size=7).digest()
            own = copy.deepcopy(self)
            own.reseed(None if self.seed is None else int.from_bytes(digest, "big"))
            self._by_layer[name] = own
        return self._by_layer[name]

    def generator(self, x: Tensor) -> torch.Generator | None:
        """Where the next numbers for `x` come from; None, torch's global generator, in traced graphs."""
        return None if torch.compiler.is_compiling() or x.device.type == "meta" else self._generator

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        return {**state, "_generator": state["_generator"].get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_generator": torch.Generator()})  # type: ignore[no-untyped-call]
        self._generator.set_state(state["_generator"])


@register("randn")
class Randn(Drawing):
    """Normal noise with the mean and standard deviation of the border nearby, for each image and channel.

    x[c] = m + s N(0, 1), independent for every added cell c. m and s are the mean and the standard deviation (divided by
    the count) of the window around the cell of the map that is nearest to c: all cells of the map no more than r away
    from it along every dimension, r = the largest of `pads`, at least 1. The windows end at the edge of the map. The noise
    is drawn image by image, so that how images are split into batches does not matter.

    Source: the stochastic padding of the PPP paper, in our reading; its formula was not available to us.

    Cost: averages and squares of strips of r + 1 cells along every side, and as many normal numbers as there are added
    cells. Gradients flow through m and s.

    Args:
        seed: fixes the noise; see `Drawing`.
    """

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        require_floats(x, self.name)
        require(x, pads, self.name, lambda *_: 1)
        n, radius = len(pads), max(1, *(max(pair) for pair in pads))
        lead = x.shape[: x.dim() - n]
        images, maps = (lead[0], lead[1:]) if len(lead) > 1 else (1, lead)
        sizes = [list(x.shape[-n:]) for _ in range(2 * n)]  # of the cells added before and after, the last axis first
        for at, pair in enumerate(reversed(pads)):
            for later in range(at + 1, n):
                for end in (0, 1):
                    sizes[2 * later + end][-at - 1] += sum(pair)
            for end in (0, 1):
                sizes[2 * at + end][-at - 1] = pair[end]
        counts = [prod(maps) * prod(size) for size in sizes]
        noise = torch.split(self._noise(x, images, sum(counts)), counts, 1)
        padded, done = x, [(0, 0)] * n
        for at in range(n):
            axis, sides = -at - 1, []
            for end in (0, 1):
                if pads[axis][end]:
                    mean, std = border_statistics(x, axis, end, radius, n)
                    if any(map(any, done)):
                        mean, std = (copied(values, tuple(done), "replicate") for values in (mean, std))
                    own = noise[2 * at + end].reshape(*lead, *sizes[2 * at + end])
                    sides.append((end, (mean + std * own).to(x.dtype)))
            padded = torch.cat([*(s for e, s in sides if e == 0), padded, *(s for e, s in sides if e == 1)], axis)
            done[axis] = pads[axis]
        return padded

    def _noise(self, x: Tensor, images: int, count: int) -> Tensor:
        """`(images, count)` normal numbers, in the precision that statistics are taken in; the same ones in any."""
        dtype, generator = at_least_float32(x.new_empty(0)).dtype, self.generator(x)
        if generator is None or images == 0:
            return torch.randn((images, count), device=x.device, dtype=dtype)
        drawn = [torch.randn((count,), generator=generator, dtype=torch.float32) for _ in range(images)]
        stacked = torch.stack(drawn)
        if x.is_cuda:  # from pinned memory the copy waits for nothing
            stacked = stacked.pin_memory()
        return stacked.to(x.device, dtype, non_blocking=True)


def border_statistics(x: Tensor, axis: int, end: int, radius: int, n: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation around every cell of one side of the map, which spans the last `n` dimensions."""
    thick = min(radius + 1, x.shape[axis])
    slab = at_least_float32(x.narrow(axis, x.shape[axis] - thick if end else 0, thick))
    middle = slab.mean(tuple(range(-n, 0)), keepdim=True)  # squares of large numbers close to each other lose digits
    slab = slab - middle
    mean, square = slab.mean(axis, keepdim=True), slab.square().mean(axis, keepdim=True)
    for other in range(-n, 0):
        if other != axis:
            mean, square = box_mean(mean, other, radius), box_mean(square, other, radius)
    tiny = torch.finfo(slab.dtype).tiny  # the slope of the root at zero is infinite
    return mean + middle, (square - mean.square()).clamp_min(tiny).sqrt()


def box_mean(x: Tensor, axis: int, radius: int) -> Tensor:
    """Mean over the cells no more than `radius` away along `axis`."""
    y = x.movedim(axis, -1)
    means = F.avg_pool1d(y.reshape(1, -1, y.shape[-1]), 2 * radius + 1, 1, radius, count_include_pad=False)
    return means.reshape(y.shape).movedim(-1, axis)


@register("random-side")
class RandomSide(Drawing):
    """Zeros on a random half of the borders (Yang et al. 2023, arXiv 2302.08682; our reading of its abstract).

    For each image and dimension all before + after zeros go to one side, drawn anew at every call; all channels of an
    image move alike. The size is kept; the map moves by as much as the side it lost. The sides are drawn image by image, so
    that how images are split into batches does not matter. In training and in evaluation alike. Cost: two copies of the
    map.

    Args:
        seed: fixes the sides; see `Drawing`.
    """

    moves = True

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        n = len(pads)
        batched = x.dim() > n + 1
        if torch.compiler.is_compiling():
            return self._traced(x, pads, batched)
        images = x if batched else x[None]
        coins = torch.rand((len(images), n), generator=self.generator(x)).lt(0.5).tolist()
        padded = []
        for image, own in zip(images, coins, strict=True):
            sides = [(sum(pair), 0) if coin else (0, sum(pair)) for coin, pair in zip(own, pads, strict=True)]
            padded.append(F.pad(image, flat(tuple(sides))))
        if not batched:
            return padded[0]
        return torch.stack(padded) if padded else F.pad(x, flat(pads))

    def _traced(self, x: Tensor, pads: Pads, batched: bool) -> Tensor:
        """The same without a Python branch on the coin."""
        shape = [x.shape[0] if batched else 1, *[1] * (x.dim() - 1)]
        for axis, pair in zip(range(-len(pads), 0), pads, strict=True):
            if any(pair):
                total, rest = sum(pair), [0, 0] * (-axis - 1)
                coin = torch.rand(shape, device=x.device) < 0.5
                x = torch.where(coin, F.pad(x, [*rest, total, 0]), F.pad(x, [*rest, 0, total]))
        return x
