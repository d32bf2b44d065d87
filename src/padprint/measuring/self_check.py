"""Whether F(x; *) is what it claims to be: the self-check before a measurement, and the residual of a short margin."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, sqrt

import torch
from torch import Tensor

from padprint.geometry.layer import Sides
from padprint.measuring.crop_plan import Canvas, CropPlan
from padprint.measuring.forwards import Forwards, window
from padprint.measuring.guard import NUDGE, Guard, nudged
from padprint.support.progress import phase
from padprint.support.reasons import (
    Reason,
    beyond_margin,
    differs_by_pass,
    handled_otherwise,
    place_in_scene,
    size_of_canvas,
)

_Ring = tuple[tuple[int, int], tuple[int, int]]

_PIECES = 2
"""How many pieces of crops the self-check looks at."""

_SMALLEST = 32  # px of a piece, and two total strides

_RINGS = (((1, 2), (3, 1)), ((3, 1), (1, 3)))
"""By piece, (down, across): total strides of other content laid around it, (before, after), where the canvas leaves none. The first
piece gets one above, two below, three to the left and one to the right.

Equal shifts down and across would hide features of (row - column)."""


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
    canvases = plan.canvases((image.shape[-2], image.shape[-1]), 0)
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


def _calibrate(
    forwards: Forwards, guard: Guard, x: Tensor, maps: Mapping[str, Tensor], corner: tuple[int, int]
) -> None:
    """Set the guard's limits by the crop at a corner of a canvas, and refuse layers that differ when it is run again."""
    top, left = corner
    crop = x[..., top : top + forwards.crop[0], left : left + forwards.crop[1]].clone()
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
        top, left: where it lies in its canvas, px.
        less: total strides (y, x) by which it is smaller than the crop.
    """

    top: int
    left: int
    less: tuple[int, int]

    @staticmethod
    def of(plan: CropPlan, canvas: Canvas, number: int, *, whole: bool) -> _Piece:
        """A piece of the canvas's first crop, or of its last one: at other places of their crops; with `whole` all of it."""
        least = [max(_SMALLEST, 2 * p) for p in plan.period]
        less = [0 if whole else max(0, (n - m) // p) for n, m, p in zip(plan.crop, least, plan.period, strict=True)]
        further = [n - n // 2 if (number + axis) % 2 == 0 else n for axis, n in enumerate(less)]
        y, x = canvas.crops[-1 if number else 0]
        return _Piece(y + further[0] * plan.period[0], x + further[1] * plan.period[1], (less[0], less[1]))


class _View:
    """A piece of a crop, seen in several surroundings.

    Args:
        forwards: the network.
        plan: how scenes are cut.
        piece: of the canvas.
        canvas: `(1, C, H, W)`, as the network is fed with it.
        content: `(C, H, W)`, real content to lay around the piece.
        number: of the piece.
    """

    def __init__(
        self, forwards: Forwards, plan: CropPlan, piece: _Piece, canvas: Tensor, content: Tensor, number: int
    ) -> None:
        self.forwards, self.plan, self.piece, self.content, self.number = forwards, plan, piece, content, number
        height, width = (n - less * p for n, less, p in zip(plan.smallest, piece.less, plan.period, strict=True))
        self.top, self.left = piece.top - plan.margin[0], piece.left - plan.margin[2]
        tight = canvas[..., self.top : self.top + height, self.left : self.left + width]
        self.tight = tight.contiguous(memory_format=forwards.layout)
        self.canvas = canvas
        self.alike = (
            height == canvas.shape[-2] or width == canvas.shape[-1]
        )  # as large as the canvas, at the same place

    def _windows(self, maps: Mapping[str, Tensor], corner: tuple[int, int]) -> dict[str, Tensor]:
        """F(x; *) of the piece in the maps of a canvas, by layer."""
        found = {}
        for name, spec in self.forwards.specs.items():
            less = [int(n * p / s) for n, p, s in zip(self.piece.less, self.plan.period, spec.stride, strict=True)]
            size = spec.size[0] - less[0], spec.size[1] - less[1]
            found[name] = window(replace(spec, size=size), maps[name], corner).clone()
        return found

    def windows(self, x: Tensor, corner: tuple[int, int]) -> dict[str, Tensor]:
        """F(x; *) of the piece in a canvas, by layer."""
        if self.forwards.whole is not None:
            return self.forwards.window(x, corner)
        return self._windows(self.forwards.maps(x), corner)

    def here(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """F(x; *) of the piece in the canvas, from its maps."""
        corner = self.piece.top, self.piece.left
        return self._windows(maps, corner) if self.forwards.whole is None else self.windows(self.canvas, corner)

    def there(self) -> dict[str, Tensor]:
        """F(x; *) of the piece with nothing but its margins around it; or with other content, where the canvas has no more."""
        if self.alike:
            return self.windows(*self.surrounded(_RINGS[self.number], self.number))
        return self.windows(self.tight, (self.plan.margin[0], self.plan.margin[2]))

    def surrounded(self, ring: _Ring, seed: int, *, far: bool = True) -> tuple[Tensor, tuple[int, int]]:
        """The tight canvas with other content around it, and where the piece lies in it.

        Args:
            ring: total strides before and after, down and across.
            seed: of the content.
            far: whether other content lies above and to the left too, which shifts the piece.
        """
        py, px = self.plan.period
        top, left = (ring[0][0] * py, ring[1][0] * px) if far else (0, 0)
        height, width = self.tight.shape[-2:]
        generator = torch.Generator().manual_seed(seed)
        large = _rolled(self.content, (height + sum(ring[0]) * py, width + sum(ring[1]) * px), generator)
        wide = self.forwards.placed(large).clone()
        wide[..., top : top + height, left : left + width] = self.tight
        return wide, (self.plan.margin[0] + top, self.plan.margin[2] + left)

    def staying(self, guard: Guard, names: Sequence[str], exempt: Collection[str]) -> dict[str, float]:
        """Of layers in doubt those whose change stays when the input is nudged, with the relative change."""
        found: dict[str, float] = {}
        stays = dict.fromkeys(names, True)
        corner = self.plan.margin[0], self.plan.margin[2]
        for seed in range(_AGAIN if names else 0):
            tight = nudged(self.tight, NUDGE, seed)
            if self.alike:
                wide, there = self.surrounded(_RINGS[self.number], self.number)
            else:
                wide, there = self.canvas.clone(), (self.piece.top, self.piece.left)
            top, left = there[0] - corner[0], there[1] - corner[1]
            wide[..., top : top + tight.shape[-2], left : left + tight.shape[-1]] = tight
            one, two = self.windows(tight, corner), self.windows(wide, there)
            for name in names:
                stays[name] = stays[name] and guard.differs(name, one[name], two[name], whole=name not in exempt)
                found[name] = relative(_squares(one[name], two[name]))
        return {name: figure for name, figure in found.items() if stays[name]}

    def cause(self, guard: Guard, name: str) -> Reason:
        """Why a layer's features are not the same in both canvases, in words."""
        margin = self.plan.margin[0], self.plan.margin[2]

        def differ(one: tuple[Tensor, tuple[int, int]], two: tuple[Tensor, tuple[int, int]]) -> bool:
            first, second = self.windows(*one)[name], self.windows(*two)[name]
            return guard.differs(name, first, second, whole=True)

        if differ((self.tight, margin), (self.tight, margin)):
            return differs_by_pass()
        ring: _Ring = (1, 2), (2, 1)
        if differ(self.surrounded(ring, 10), self.surrounded(ring, 11)):
            return beyond_margin(followed=self.forwards.sees_all(name))
        if differ((self.tight, margin), self.surrounded(ring, 10, far=False)):
            return size_of_canvas()
        return place_in_scene()


_ROUNDING = 8  # machine epsilons: a relative rms change up to that is rounding, whatever single cells do
_AGAIN = 3
_REPEATED = 64  # machine epsilons: how far two passes over the same input may be apart where sums are not always alike


def _rolled(image: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Content of `size` put together from an image, shifted by a random number of px and repeated as often as needed."""
    shifts = [int(torch.randint(1, max(2, n), (), generator=generator)) for n in image.shape[-2:]]
    moved = torch.roll(image, shifts, (-2, -1))
    times = [ceil(want / have) for want, have in zip(size, image.shape[-2:], strict=True)]
    return moved.repeat(1, *times)[:, : size[0], : size[1]]


def change_when_grown(forwards: Forwards, plan: CropPlan, image: Tensor) -> dict[str, Tensor]:
    """How far F(x; *) of one crop moves when its margins grow by half: (sum of squared changes, sum of squares) by layer.

    Empty where the image is too small for the larger margins.
    """
    py, px = plan.period
    grown = [max(p, ceil(1.5 * m / p) * p) for m, p in zip(plan.margin, (py, py, px, px), strict=True)]
    wider = CropPlan(plan.crop, (grown[0], grown[1], grown[2], grown[3]), plan.period, 1, plan.seed)
    canvases = wider.canvases((image.shape[-2], image.shape[-1]), 0)
    if not canvases:
        return {}
    wide = forwards.placed(_around(image, canvases[0], wider))
    corner, inner = (wider.margin[0], wider.margin[2]), (plan.margin[0], plan.margin[2])
    dy, dx = corner[0] - inner[0], corner[1] - inner[1]
    height, width = plan.smallest
    tight = wide[:, :, dy : dy + height, dx : dx + width].contiguous(memory_format=forwards.layout)
    far, near = forwards.window(wide, corner), forwards.window(tight, inner)
    return {name: _squares(far[name], near[name]) for name in forwards.specs}


def change_by_padding(forwards: Forwards, plan: CropPlan, image: Tensor) -> dict[str, Tensor]:
    """What padding changes in one crop: (sum of D^2, sum of F(x; *)^2) by layer; empty where the image is too small for it."""
    canvases = plan.canvases((image.shape[-2], image.shape[-1]), 0)
    if not canvases:
        return {}
    around = forwards.placed(_around(image, canvases[0], plan))
    top, left = plan.margin[0], plan.margin[2]
    optimal = forwards.window(around, (top, left))
    alone = forwards.of_crop(around[..., top : top + plan.crop[0], left : left + plan.crop[1]].clone())
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
    """The first crop of a canvas with exactly the plan's margin around it, `(C, H, W)`."""
    margin: Sides = plan.margin
    y, x = canvas.crops[0]
    top, left = canvas.top + y - margin[0], canvas.left + x - margin[2]
    height, width = plan.smallest
    return image[:, top : top + height, left : left + width]
