"""Schemes that draw fresh numbers at every call, from a generator of their own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.padding.scheme import Scheme, register
from padprint.padding.schemes.edges import at_least_float32, flat, require, whole
from padprint.padding.schemes.plain import copied
from padprint.padding.windowed import Pads


class Drawing(Scheme):
    """A scheme with its own random numbers: torch's global generator is neither read nor advanced.

    The generator survives copying and pickling where it stood. When maps come from another device, a generator there is
    seeded by a draw from the one before, so a seed fixes the numbers on every device (not the same ones on each).
    Compiled and exported graphs cannot hold a generator: there the numbers come from torch's global one. Activation
    checkpointing, which runs a layer twice, gets other numbers the second time.

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
        if self.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self.seed)

    def generator(self, device: torch.device) -> torch.Generator | None:
        """Where the next numbers for `device` come from; None, torch's global generator, in traced graphs."""
        if torch.compiler.is_compiling() or device.type == "meta":
            return None
        before = self._generator
        if before.device != device:
            draw = int(torch.randint(2**62, (), generator=before, device=before.device))
            self._generator = torch.Generator(device).manual_seed(draw)
        return self._generator

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        generator = state.pop("_generator")
        return {**state, "_drawn": (str(generator.device), generator.get_state())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        device, drawn = state.pop("_drawn")
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        try:
            self._generator = torch.Generator(device).set_state(drawn)
        except RuntimeError:  # saved on a device that is not here: start again
            self.reseed(self.seed)


@register("randn")
class Randn(Drawing):
    """Normal noise with the mean and standard deviation of the border nearby, for each image and channel.

    x[c] = m + s N(0, 1), independent for every added cell c. m and s are the mean and the standard deviation (divided by
    the count) of the window around the cell of the map that is nearest to c: all cells of the map no more than r away
    from it along every dimension, r = the largest of `pads`, at least 1. The windows end at the edge of the map.

    Source: the stochastic padding of the PPP paper, in our reading; its formula was not available to us.

    Cost: averages and squares of strips of r + 1 cells along every side, and as many normal numbers as there are added
    cells. Gradients flow through m and s.

    Args:
        seed: fixes the noise; see `Drawing`.
    """

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        require(x, pads, self.name, lambda *_: 1)
        radius = max(1, *map(max, pads))
        padded = x
        for axis in range(-1, -len(pads) - 1, -1):
            # the sides of the dimensions still to come are not there yet
            done = tuple(pair if at > axis else (0, 0) for at, pair in zip(range(-len(pads), 0), pads, strict=True))
            before, after = (
                [self._side(x, axis, end, n, radius, done)] if n else [] for end, n in enumerate(pads[axis])
            )
            padded = torch.cat([*before, padded, *after], axis)
        return padded

    def _side(self, x: Tensor, axis: int, end: int, count: int, radius: int, done: Pads) -> Tensor:
        """`count` rows of noise along one side of `x`, as long as the dimensions in `done` have been made."""
        mean, std = border_statistics(x, axis, end, radius, len(done))
        if any(map(any, done)):
            mean, std = copied(mean, done, "replicate"), copied(std, done, "replicate")
        shape = [count if at == axis % x.dim() else n for at, n in enumerate(mean.shape)]
        noise = torch.randn(shape, generator=self.generator(x.device), device=x.device, dtype=mean.dtype)
        return (mean + std * noise).to(x.dtype)


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

    For each dimension all before + after zeros go to one side, drawn anew at every call for the whole batch. The size is
    kept; the map moves by as much as the side it lost. In training and in evaluation alike. Cost: as `zeros`.

    Args:
        seed: fixes the sides; see `Drawing`.
    """

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        if torch.compiler.is_compiling():
            return self._traced(x, pads)
        coins = torch.rand(len(pads), generator=self.generator(torch.device("cpu"))).lt(0.5).tolist()
        sides = tuple((sum(pair), 0) if coin else (0, sum(pair)) for coin, pair in zip(coins, pads, strict=True))
        return F.pad(x, flat(sides))

    def _traced(self, x: Tensor, pads: Pads) -> Tensor:
        """The same without a Python branch on the coin."""
        for axis, pair in zip(range(-len(pads), 0), pads, strict=True):
            if any(pair):
                total, rest = sum(pair), [0, 0] * (-axis - 1)
                coin = torch.rand((), device=x.device) < 0.5
                x = torch.where(coin, F.pad(x, [*rest, total, 0]), F.pad(x, [*rest, 0, total]))
        return x
