"""Whether F(x; *) is what it claims to be: the self-check before a measurement, and the residual of a short margin."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, sqrt
from operator import add, eq, sub

import torch
from torch import Tensor

from padprint.measuring.crop_plan import Canvas, CropPlan
from padprint.measuring.forwards import Forwards, window
from padprint.measuring.guard import NUDGE, Guard, nudged
from padprint.support.axes import Size, each_side, space
from padprint.support.axes import window as part_of
from padprint.support.progress import phase
from padprint.support.reasons import (
    Reason,
    beyond_margin,
    differs_by_pass,
    handled_otherwise,
    place_in_scene,
    size_of_canvas,
)

_Ring = tuple[tuple[int, int], ...]

_PIECES = 2
"""How many pieces of crops the self-check looks at."""

_SMALLEST = 32  # px of a piece, and two total strides

_RINGS = (((1, 2), (3, 1), (2, 1)), ((3, 1), (1, 3), (2, 2)))
"""By piece and axis: total strides of other content laid around it, (before, after), where the canvas leaves none. The first
piece gets one above, two below, three to the left and one to the right.

Equal shifts along two axes would hide features of (row - column)."""

_RING: _Ring = (1, 2), (2, 1), (3, 1)
"""Likewise, of the look at why features differ."""


@phase("self-check")
def self_check(
    forwards: Forwards, guard: Guard, plan: CropPlan, image: Tensor, exempt: Collection[str]
) -> dict[str, float]:
    """Pieces of crops seen from two places of two canvases must give the same F(x; *), to rounding error.

    One canvas is the first that is measured, the other one holds nothing but the piece and its margins: neither where a crop
    lies, nor how large the canvas is, nor what lies beyond the margin may matter. Layers for which one of these does are put
    down in `guard.refused`, with the cause.

    Args:
        forwards: the network. It remembers the first canvas, so that its pass counts for the measurement too.
        guard: whose limits are set here.
        plan: how scenes are cut.
        image: the first scene; where it is too small for a crop the result is empty.
        exempt: layers whose margin is below their reach. What lies beyond does matter to them, and `change_when_grown`
            says how much; cells that padding does not reach must agree all the same, unless they see the whole map.

    Returns:
        Relative rms change of F(x; *) by layer, the largest over the pieces; exempt layers get the largest value of the other layers.

    Raises:
        ModelError: the network fails.
    """
    canvases = plan.canvases(tuple(image.shape[1:]), 0)
    if not canvases:
        return {}
    canvas = canvases[0]
    x = forwards.placed(canvas.cut(image))
    maps = forwards.maps(x)
    _calibrate(forwards, guard, x, maps, canvas.crops[0])
    undivided = bool(exempt) or forwards.whole is not None  # statistics are taken over the window of the whole crop
    floor: dict[str, float] = {}
    for number in range(_PIECES):
        view = _View(forwards, plan, _Piece.of(plan, canvas, number, whole=undivided), x, image, number)
        here, there = view.here(maps), view.there()
        doubted = []
        for name, one in here.items():
            change = relative(_squares(one, there[name]))
            whole = name not in exempt
            if not whole and forwards.sees_all(name):
                continue  # what lies beyond the margin is in the statistics, and so in every cell
            if whole:
                floor[name] = max(floor.get(name, 0.0), change)
            # compared with the layer's size at the border too: a detector of borders is rounding and nothing else inside
            size = max(_size(one), _size(guard.first[name]))
            small = change * _size(one) <= _ROUNDING * torch.finfo(one.dtype).eps * size
            if not small and guard.differs(name, one, there[name], whole=whole):
                doubted.append(name)
        for name, change in view.staying(guard, doubted, exempt).items():
            guard.refused.setdefault(name, view.cause(guard, name).more(f"; relative change of {name} {change:.1e}"))
        guard.allow({name: one for name, one in here.items() if name not in exempt}, there)
    forwards.remember(x, maps)
    rounding = max((value for name, value in floor.items() if name not in guard.refused), default=0.0)
    return {name: floor.get(name, rounding) for name in forwards.specs}


def _calibrate(forwards: Forwards, guard: Guard, x: Tensor, maps: Mapping[str, Tensor], corner: Size) -> None:
    """Set the guard's limits by the crop at a corner of a canvas, and refuse layers that differ when it is run again."""
    crop = x[part_of(corner, forwards.crop)].clone()
    alone, again = forwards.of_crop(crop), forwards.of_crop(crop)
    guard.crop, guard.first = crop, alone
    for name, one in alone.items():
        parts = [guard.part(name, both, whole=False) for both in (one, again[name])]
        apart = _size(parts[0] - parts[1]) / max(_size(parts[0]), _size(one), 1e-300)
        if apart > _REPEATED * torch.finfo(one.dtype).eps:
            guard.refused[name] = differs_by_pass().more(f"; relative change of {name} {apart:.1e}")
    optimal = {name: window(spec, maps[name], corner) for name, spec in forwards.specs.items()}
    optimal |= {name: one[0] for name, one in forwards.optimal(x, [corner]).items()}
    guard.calibrate(alone, forwards.of_crop(nudged(crop, 1, 0)), optimal)
    for name, one in forwards.of_crop(crop, plain=True).items() if forwards.whole is not None else ():
        if guard.differs(name, alone[name], one, whole=True):
            guard.refused[name] = handled_otherwise(relative(_squares(one, alone[name])))


@dataclass(frozen=True)
class _Piece:
    """A part of a crop, whole total strides smaller than it.

    Attributes:
        corner: where it lies in its canvas, px.
        less: total strides by which it is smaller than the crop.
    """

    corner: Size
    less: Size

    @staticmethod
    def of(plan: CropPlan, canvas: Canvas, number: int, *, whole: bool) -> _Piece:
        """A piece of the canvas's first crop, or of its last one: at other places of their crops; with `whole` all of it."""
        least = [max(_SMALLEST, 2 * p) for p in plan.period]
        less = tuple(
            0 if whole else max(0, (n - m) // p) for n, m, p in zip(plan.crop, least, plan.period, strict=True)
        )
        further = [n - n // 2 if (number + axis) % 2 == 0 else n for axis, n in enumerate(less)]
        crop = canvas.crops[-1 if number else 0]
        corner = tuple(at + n * p for at, n, p in zip(crop, further, plan.period, strict=True))
        return _Piece(corner, less)


class _View:
    """A piece of a crop, seen in several surroundings.

    Args:
        forwards: the network.
        plan: how scenes are cut.
        piece: of the canvas.
        canvas: `(1, C, *space)`, as the network is fed with it.
        content: `(C, *space)`, real content to lay around the piece.
        number: of the piece.
    """

    def __init__(
        self, forwards: Forwards, plan: CropPlan, piece: _Piece, canvas: Tensor, content: Tensor, number: int
    ) -> None:
        self.forwards, self.plan, self.piece, self.content, self.number = forwards, plan, piece, content, number
        size = tuple(n - less * p for n, less, p in zip(plan.smallest, piece.less, plan.period, strict=True))
        self.corner = tuple(map(sub, piece.corner, plan.before))
        self.tight = canvas[part_of(self.corner, size)].contiguous(memory_format=forwards.layout)
        self.canvas = canvas
        self.alike = any(map(eq, size, canvas.shape[2:]))  # as large as the canvas, at the same place

    def _windows(self, maps: Mapping[str, Tensor], corner: Size) -> dict[str, Tensor]:
        """F(x; *) of the piece in the maps of a canvas, by layer."""
        found = {}
        for name, spec in self.forwards.specs.items():
            less = [int(n * p / s) for n, p, s in zip(self.piece.less, self.plan.period, spec.stride, strict=True)]
            found[name] = window(replace(spec, size=tuple(map(sub, spec.size, less))), maps[name], corner).clone()
        return found

    def windows(self, x: Tensor, corner: Size) -> dict[str, Tensor]:
        """F(x; *) of the piece in a canvas, by layer."""
        if self.forwards.whole is not None:
            return self.forwards.window(x, corner)
        return self._windows(self.forwards.maps(x), corner)

    def here(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """F(x; *) of the piece in the canvas, from its maps."""
        corner = self.piece.corner
        return self._windows(maps, corner) if self.forwards.whole is None else self.windows(self.canvas, corner)

    def there(self) -> dict[str, Tensor]:
        """F(x; *) of the piece with nothing but its margins around it; or with other content, where the canvas has no more."""
        if self.alike:
            return self.windows(*self.surrounded(_RINGS[self.number], self.number))
        return self.windows(self.tight, self.plan.before)

    def surrounded(self, ring: _Ring, seed: int, *, far: bool = True) -> tuple[Tensor, Size]:
        """The tight canvas with other content around it, and where the piece lies in it.

        Args:
            ring: total strides before and after, along each axis.
            seed: of the content.
            far: whether other content lies before the canvas too, which shifts the piece.
        """
        size, period = tuple(self.tight.shape[2:]), self.plan.period
        corner = tuple(before * p * far for (before, _), p in zip(ring, period, strict=False))
        larger = tuple(n + sum(own) * p for n, own, p in zip(size, ring, period, strict=False))
        generator = torch.Generator().manual_seed(seed)
        wide = self.forwards.placed(_rolled(self.content, larger, generator)).clone()
        wide[part_of(corner, size)] = self.tight
        return wide, tuple(map(add, self.plan.before, corner))

    def staying(self, guard: Guard, names: Sequence[str], exempt: Collection[str]) -> dict[str, float]:
        """Of layers in doubt those whose change stays when the input is nudged, with the relative change."""
        found: dict[str, float] = {}
        stays = dict.fromkeys(names, True)
        corner = self.plan.before
        for seed in range(_AGAIN if names else 0):
            tight = nudged(self.tight, NUDGE, seed)
            if self.alike:
                wide, there = self.surrounded(_RINGS[self.number], self.number)
            else:
                wide, there = self.canvas.clone(), self.piece.corner
            wide[part_of(tuple(map(sub, there, corner)), tight.shape[2:])] = tight
            one, two = self.windows(tight, corner), self.windows(wide, there)
            for name in names:
                stays[name] = stays[name] and guard.differs(name, one[name], two[name], whole=name not in exempt)
                found[name] = relative(_squares(one[name], two[name]))
        return {name: figure for name, figure in found.items() if stays[name]}

    def cause(self, guard: Guard, name: str) -> Reason:
        """Why a layer's features are not the same in both canvases, in words."""
        margin = self.plan.before

        def differ(one: tuple[Tensor, Size], two: tuple[Tensor, Size]) -> bool:
            first, second = self.windows(*one)[name], self.windows(*two)[name]
            return guard.differs(name, first, second, whole=True)

        if differ((self.tight, margin), (self.tight, margin)):
            return differs_by_pass()
        if differ(self.surrounded(_RING, 10), self.surrounded(_RING, 11)):
            return beyond_margin(followed=self.forwards.sees_all(name))
        if differ((self.tight, margin), self.surrounded(_RING, 10, far=False)):
            return size_of_canvas()
        return place_in_scene()


_ROUNDING = 8  # machine epsilons: a relative rms change up to that is rounding, whatever single cells do
_AGAIN = 3
_REPEATED = 64  # machine epsilons: how far two passes over the same input may be apart where sums are not always alike


def _rolled(image: Tensor, size: Size, generator: torch.Generator) -> Tensor:
    """Content of `size` put together from an image, shifted by a random number of px and repeated as often as needed."""
    shifts = [int(torch.randint(1, max(2, n), (), generator=generator)) for n in image.shape[1:]]
    moved = torch.roll(image, shifts, space(image, 1))
    repeats = [ceil(want / have) for want, have in zip(size, image.shape[1:], strict=True)]
    found: Tensor = moved.repeat(1, *repeats)[part_of((0,) * len(size), size)]
    return found


def change_when_grown(forwards: Forwards, plan: CropPlan, image: Tensor) -> dict[str, Tensor]:
    """How far F(x; *) of one crop moves when its margins grow by half: (sum of squared changes, sum of squares) by layer.

    Empty where the image is too small for the larger margins.
    """
    grown = tuple(max(p, ceil(1.5 * m / p) * p) for m, p in zip(plan.margin, each_side(plan.period), strict=True))
    wider = CropPlan(plan.crop, grown, plan.period, 1, plan.seed)
    canvases = wider.canvases(tuple(image.shape[1:]), 0)
    if not canvases:
        return {}
    wide = forwards.placed(_around(image, canvases[0], wider))
    inner = tuple(map(sub, wider.before, plan.before))
    tight = wide[part_of(inner, plan.smallest)].contiguous(memory_format=forwards.layout)
    far, near = forwards.window(wide, wider.before), forwards.window(tight, plan.before)
    return {name: _squares(far[name], near[name]) for name in forwards.specs}


def change_by_padding(forwards: Forwards, plan: CropPlan, image: Tensor) -> dict[str, Tensor]:
    """What padding changes in one crop: (sum of D^2, sum of F(x; *)^2) by layer; empty where the image is too small for it."""
    canvases = plan.canvases(tuple(image.shape[1:]), 0)
    if not canvases:
        return {}
    around = forwards.placed(_around(image, canvases[0], plan))
    optimal = forwards.window(around, plan.before)
    alone = forwards.of_crop(around[part_of(plan.before, plan.crop)].clone())
    return {name: _squares(optimal[name], alone[name]) for name in forwards.specs}


def relative(squares: Tensor) -> float:
    """Root of a ratio of sums (change, size); 0 where nothing changed, infinite where nothing else is there."""
    change, size = squares.tolist()
    return sqrt(change / size) if size > 0 else (inf if change > 0 else 0.0)


def _size(x: Tensor) -> float:
    """Root mean square; 0 of nothing."""
    return float(x.double().square().mean().sqrt()) if x.numel() else 0.0


def _squares(one: Tensor, two: Tensor) -> Tensor:
    """(sum of squared differences, sum of squares), float64 on the CPU."""
    sums = torch.stack([(one - two).double().square().sum(), one.double().square().sum()])
    return sums.cpu()


def _around(image: Tensor, canvas: Canvas, plan: CropPlan) -> Tensor:
    """The first crop of a canvas with exactly the plan's margin around it, `(C, *space)`."""
    corner = tuple(map(sub, map(add, canvas.corner, canvas.crops[0]), plan.before))
    found: Tensor = image[part_of(corner, plan.smallest)]
    return found
