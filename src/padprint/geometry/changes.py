"""What moves in a network's maps when the scene outside a crop changes, seen on strips of random content.

Everything runs in the network as it is, in double precision:

scene     a crop with scene around it
other     the same inside the crop and other content outside, of the same size and up to a thousand times larger
shifted   the same content, one period further on
crop      the crop alone
again     where every cell moves, or one moves with the place, the scene once more: a random network differs from itself
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil

import torch
from torch import Tensor

from padprint.errors import ModelError
from padprint.geometry.strip import Strip, change
from padprint.network.layers import Leaf, Tap, run_to
from padprint.support.axes import Size
from padprint.support.wording import first_line

_OUTSIDE = 3
"""Other content outside the crop is larger than that in it, up to this power of ten."""

_SIZES = (1.0, 0.3, 3.0, 10.0)
"""Sizes of the random content, one draw after another."""

_MEANS = (0.0, 1.0, -1.0, 0.0)
"""Means of the other content in units of its largest size: what is decided by a mean is decided otherwise."""

_FLIPS = 0.02
"""Share of a row's numbers that rounding may turn over in single precision."""

_SHIFTS = 8
"""Shifts that are tried in one pass."""

_STRICT = 2.0**-32
"""Change that is rounding in double precision."""

_LOOSE = 5e-5
"""Change that is rounding where a part of the network computes in single precision."""

_SINGLE = 1e-4
"""Change that is rounding where all of the network does."""


def tolerances(dtype: torch.dtype) -> tuple[float, float]:
    """What counts as rounding, strictly and loosely."""
    return (_STRICT, _LOOSE) if dtype == torch.float64 else (_SINGLE, _SINGLE)


@dataclass(frozen=True)
class Trial:
    """A crop within its scene, along one axis.

    Attributes:
        strip: the network and how it is run; never collapsed.
        crop: length of the crop, px.
        period: total stride, px.
        margin: of scene on either side, px; a multiple of the period.
        dims: by layer, the dimension that runs along the axis.
        strides: by layer, px from cell to cell.
        wider: px of scene on either side along each of the other axes, too; then only the cells in the middle across are looked
            at, which padding there does not reach. None for strips, on which padding across is the same in all that is compared.
        across: by layer, the dimensions that run across.
    """

    strip: Strip
    crop: int
    period: int
    margin: int
    dims: dict[Leaf, int]
    strides: dict[Leaf, Fraction]
    wider: Size | None = None
    across: dict[Leaf, Size] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """The crop with its margins, px."""
        return self.crop + 2 * self.margin

    def content(self, length: int, seed: int) -> Tensor:
        """Random numbers of unit size, `(1, channels, *size)`, `length` px along the axis."""
        generator = torch.Generator().manual_seed(seed)
        c, *size = self.strip.shape(length)
        for axis, more in zip(self._others(), self.wider or (), strict=bool(self.wider)):
            size[axis] += 2 * more
        return torch.randn(1, c, *size, generator=generator, dtype=torch.float64).to(self.strip.dtype)

    def other_content(self, length: int, draw: int) -> Tensor:
        """Content to lay around a crop, up to a thousand times larger than what is in it."""
        size = _SIZES[draw % len(_SIZES)]
        other = self.content(length, 3 * draw + 2) * size
        other *= 10 ** (_OUTSIDE * self.content(length, 3 * draw + 3).sigmoid())
        other += _MEANS[draw % len(_MEANS)] * 10.0**_OUTSIDE * size
        return other

    def without_sides(self, x: Tensor) -> Tensor:
        """The input without the scene across."""
        for axis, more in zip(self._others(), self.wider or (), strict=bool(self.wider)):
            x = x.narrow(2 + axis, more, x.shape[2 + axis] - 2 * more)
        return x

    def run(self, x: Tensor, taps: Sequence[Tap]) -> dict[Leaf, Tensor]:
        """Every layer's map of a batch, `(B, ..., n)` with the axis last.

        Raises:
            ModelError: the network fails.
        """
        found: dict[Leaf, Tensor] = {}

        def keep(tap: Tap, tensor: Tensor) -> None:
            if tensor.shape[0] != len(x):
                raise ModelError("a layer's first dimension is not the batch's")
            for dim in self.across[tap.leaf] if self.wider else ():
                tensor = tensor.narrow(dim, tensor.shape[dim] // 2, 1)
            found[tap.leaf] = tensor.clone().movedim(self.dims[tap.leaf], -1)

        try:
            run_to(self.strip.model, x, taps, keep)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(first_line(error)) from error
        return found

    def _others(self) -> list[int]:
        return [axis for axis in range(self.strip.axes) if axis != self.strip.axis]


@dataclass(frozen=True)
class Change:
    """What moved in one layer; each is `(n,)`, by cell along the axis, in units of the layer's typical number.

    Attributes:
        outside: how far cells move with what lies outside the crop.
        alone: how far they differ where the crop is all there is.
        random: how far they differ from pass to pass; None where that was not tried.
        shifted: how far they differ one period further on.
    """

    outside: Tensor
    alone: Tensor
    random: Tensor | None
    shifted: Tensor

    @property
    def largest(self) -> Tensor:
        """`(n,)`: how far cells move with padding, whichever way it was changed."""
        return self.outside.maximum(self.alone)

    def joined(self, other: Change) -> Change:
        """The larger of two changes, cell by cell."""
        known = [one for one in (self.random, other.random) if one is not None]
        random = known[0].maximum(known[-1]) if known else None
        return Change(
            self.outside.maximum(other.outside),
            self.alone.maximum(other.alone),
            random,
            self.shifted.maximum(other.shifted),
        )


def quick_change(trial: Trial, taps: Sequence[Tap]) -> dict[Leaf, Change]:
    """`change_of` at less cost: the crop with other content around it lies one period further on.

    Cells may move for one reason or for the other, and count as moved by what lies outside. So it tells no more than
    whether cells stay.

    Raises:
        ModelError: the network fails on the strips.
    """
    axis, start = 2 + trial.strip.axis, trial.margin
    scene, other = trial.content(trial.length, 1), trial.other_content(trial.length, 0)
    crop = scene.narrow(axis, start, trial.crop)
    other.narrow(axis, start - trial.period, trial.crop).copy_(crop)
    maps, crops = trial.run(torch.cat([scene, other]), taps), trial.run(crop, taps)
    found = {}
    for tap in taps:
        stride, alone = trial.strides[tap.leaf], crops[tap.leaf]
        first, step, n = int(start / stride), int(trial.period / stride), alone.shape[-1]
        here = maps[tap.leaf][:1].narrow(-1, first, n)
        there = maps[tap.leaf][1:].narrow(-1, first - step, n)
        found[tap.leaf] = Change(_by_cell(there, here), _by_cell(alone, here), None, torch.zeros(n))
    return found


def change_of(trial: Trial, taps: Sequence[Tap], draw: int = 0) -> dict[Leaf, Change]:
    """See which cells of the layers move, and with what.

    Args:
        trial: the crop and its scene.
        taps: the layers.
        draw: number of the random content; each has another size.

    Raises:
        ModelError: the network fails on the strips.
    """
    axis, start, length = 2 + trial.strip.axis, trial.margin, trial.length
    size = _SIZES[draw % len(_SIZES)]
    long = trial.content(length + trial.period, 3 * draw + 1) * size
    scene = long.narrow(axis, 0, length)
    crop = scene.narrow(axis, start, trial.crop)
    other = trial.other_content(length, draw)
    other.narrow(axis, start, trial.crop).copy_(crop)
    shifted = long.narrow(axis, trial.period, length)
    maps = trial.run(torch.cat([scene, other, shifted]), taps)
    crops = trial.run(trial.without_sides(crop), taps)
    found = {}
    for tap in taps:
        stride = trial.strides[tap.leaf]
        n = crops[tap.leaf].shape[-1]
        first, step = int(start / stride), int(trial.period / stride)
        windows = maps[tap.leaf].narrow(-1, first, n)
        here = windows[:1]
        there = maps[tap.leaf][-1:].narrow(-1, first - step, n)
        found[tap.leaf] = Change(
            outside=_by_cell(windows[1:2], here),
            alone=_by_cell(crops[tap.leaf], here),
            random=None,
            shifted=_by_cell(there, here),
        )
    strict = tolerances(trial.strip.dtype)[0]
    doubted = [
        tap
        for tap in taps
        if bool((found[tap.leaf].largest > strict).all()) or bool((found[tap.leaf].shifted > _LOOSE).any())
    ]
    if doubted:
        once, again = trial.run(scene, doubted), trial.run(scene, doubted)
        for tap in doubted:
            first, n = int(start / trial.strides[tap.leaf]), len(found[tap.leaf].alone)
            random = _by_cell(once[tap.leaf].narrow(-1, first, n), again[tap.leaf].narrow(-1, first, n))
            found[tap.leaf] = replace(found[tap.leaf], random=random)
    return found


def repeating_shift(trial: Trial, taps: Sequence[Tap], candidates: Sequence[int]) -> int | None:
    """The first of some growing shifts in px that changes nothing but where cells lie; None where there is none.

    Raises:
        ModelError: the network fails on the strips.
    """
    axis, start, length = 2 + trial.strip.axis, trial.margin, trial.length
    for at in range(0, len(candidates), _SHIFTS):
        shifts = candidates[at : at + _SHIFTS]
        long = trial.content(length + max(shifts), 1)
        maps = trial.run(torch.cat([long.narrow(axis, shift, length) for shift in (0, *shifts)]), taps)
        for i, shift in enumerate(shifts, start=1):
            same = True
            for tap in taps:
                stride = trial.strides[tap.leaf]
                n, first = int(trial.crop / stride), int(start / stride)
                if (shift / stride).denominator != 1 or first < shift / stride:
                    same = False
                    break
                here = maps[tap.leaf][:1].narrow(-1, first, n)
                there = maps[tap.leaf][i : i + 1].narrow(-1, first - int(shift / stride), n)
                same = same and bool((_by_cell(there, here) <= _LOOSE).all())
            if same:
                return shift
    return None


def _by_cell(some: Tensor, here: Tensor) -> Tensor:
    """`(n,)`: along the last dimension, how far any of `some` is from `here`, in units of its typical number.

    In single precision a few numbers may differ by rounding alone, where a network quantises.
    """
    apart = change(some, here.expand_as(some), here).reshape(-1, here.shape[-1])
    if here.dtype != torch.float32:
        return apart.amax(0)
    return apart.kthvalue(ceil((1 - _FLIPS) * len(apart)), 0).values
