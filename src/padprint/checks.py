"""Whether F(x; *) is what it claims to be: the self-check before a measurement, and the residual of a short margin."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import ceil, inf, sqrt

import torch
from torch import Tensor

from padprint.forwards import Forwards
from padprint.geometry import Sides
from padprint.guard import NUDGE, Guard, nudged
from padprint.plan import Canvas, CropPlan
from padprint.progress import phase

_SCENES = 2
"""How many scenes the self-check looks at, the first one as it is and others put together from its pieces."""

_RINGS = ((1, 2), (3, 1))
"""By scene: total strides of other content laid around the canvas, before and after the crop."""


@phase("self-check")
def self_check(
    forwards: Forwards, guard: Guard, plan: CropPlan, image: Tensor, exempt: Collection[str]
) -> dict[str, float]:
    """A crop seen from two places of two canvases must give the same F(x; *), to rounding error.

    The second canvas is the first with other real content laid around it, more on one side than on the other: neither where
    the crop lies, nor how large the canvas is, nor what lies beyond the margin may matter. Layers for which one of these does
    are put down in `guard.refused`, with the cause.

    Args:
        forwards: the network.
        guard: whose limits are set here.
        plan: how scenes are cut.
        image: the first scene; where it is too small for a crop the result is empty.
        exempt: layers whose margin is below their reach. What lies beyond does matter to them, and `change_when_grown`
            says how much; cells that padding does not reach must agree all the same, unless they see the whole map.

    Returns:
        Relative rms change of F(x; *) by layer, the largest of the scenes; of exempt layers the largest of the others.

    Raises:
        ModelError: the network fails.
    """
    canvases = plan.canvases((image.shape[-2], image.shape[-1]), 0)
    if not canvases:
        return {}
    corner = plan.margin[0], plan.margin[2]
    floor: dict[str, float] = {}
    for number in range(_SCENES):
        view = _View(forwards, plan, _scene(image, canvases[0], plan, number))
        here = view.windows(view.tight, corner)
        crop = view.crop(corner)
        alone = forwards.of_crop(crop)
        if number == 0:
            again = forwards.of_crop(crop)
            for name, one in alone.items():
                parts = [guard.part(name, both, whole=False) for both in (one, again[name])]
                apart = _size(parts[0] - parts[1]) / max(_size(parts[0]), _size(one), 1e-300)
                if apart > _REPEATED * torch.finfo(one.dtype).eps:
                    guard.refused[name] = f"{_RANDOM}; relative change of {name} {apart:.1e}"
            guard.calibrate(alone, forwards.of_crop(nudged(crop, 1, number)), here)
            for name, one in forwards.of_crop(crop, plain=True).items() if forwards.whole is not None else ():
                if guard.differs(name, alone[name], one, whole=True):
                    guard.refused[name] = _HANDLED.format(relative(_squares(one, alone[name])))
        wide, there_corner = view.surrounded(_RINGS[number], number)
        there = view.windows(wide, there_corner)
        doubted = []
        for name, one in here.items():
            change = relative(_squares(one, there[name]))
            whole = name not in exempt
            if not whole and forwards.sees_all(
                name
            ):  # what lies beyond the margin is in the statistics, and so in every cell
                continue
            if whole:
                floor[name] = max(floor.get(name, 0.0), change)
            # beside what padding makes of the layer: of a detector of borders nothing but rounding is left inside
            small = change * _size(one) <= _ROUNDING * torch.finfo(one.dtype).eps * max(_size(one), _size(alone[name]))
            if not small and guard.differs(name, one, there[name], whole=whole):
                doubted.append(name)
        for name, change in view.staying(guard, doubted, number, exempt).items():
            guard.refused.setdefault(name, f"{view.cause(guard, name)}; relative change of {name} {change:.1e}")
        guard.allow({name: one for name, one in here.items() if name not in exempt}, there)
    rounding = max((value for name, value in floor.items() if name not in guard.refused), default=0.0)
    return {name: floor.get(name, rounding) for name in forwards.specs}


class _View:
    """One crop of one scene, seen in several surroundings.

    Args:
        forwards: the network.
        plan: how scenes are cut.
        scene: `(C, H, W)`, the crop with exactly the plan's margin around it, and real content to lay around that.
    """

    def __init__(self, forwards: Forwards, plan: CropPlan, scene: tuple[Tensor, Tensor]) -> None:
        self.forwards, self.plan = forwards, plan
        window, self.content = scene
        self.tight = forwards.placed(window)

    def windows(self, x: Tensor, corner: tuple[int, int]) -> dict[str, Tensor]:
        """F(x; *) of the crop in a canvas, by layer."""
        return self.forwards.window(x, corner)

    def crop(self, corner: tuple[int, int]) -> Tensor:
        """The crop alone, `(1, C, H, W)`."""
        (top, left), (height, width) = corner, self.plan.crop
        return self.tight[..., top : top + height, left : left + width]

    def surrounded(self, ring: tuple[int, int], seed: int, *, far: bool = True) -> tuple[Tensor, tuple[int, int]]:
        """The tight canvas with other content around it, and where the crop lies in it.

        Args:
            ring: total strides before and after.
            seed: of the content.
            far: whether there is any before, so that the crop lies elsewhere.
        """
        py, px = self.plan.period
        before = ring[0] if far else 0
        top, left = before * py, before * px
        height, width = self.tight.shape[-2:]
        generator = torch.Generator().manual_seed(seed)
        large = _rolled(self.content, (height + sum(ring) * py, width + sum(ring) * px), generator)
        wide = self.forwards.placed(large).clone()
        wide[..., top : top + height, left : left + width] = self.tight
        return wide, (self.plan.margin[0] + top, self.plan.margin[2] + left)

    def staying(self, guard: Guard, names: Sequence[str], number: int, exempt: Collection[str]) -> dict[str, float]:
        """Of layers in doubt those whose change stays when the input is nudged, with the relative change."""
        found: dict[str, float] = {}
        stays = dict.fromkeys(names, True)
        for seed in range(_AGAIN if names else 0):
            tight = nudged(self.tight, NUDGE, seed)
            wide, corner = self.surrounded(_RINGS[number], number)
            top, left = corner[0] - self.plan.margin[0], corner[1] - self.plan.margin[2]
            wide[..., top : top + tight.shape[-2], left : left + tight.shape[-1]] = tight
            here, there = self.windows(tight, (self.plan.margin[0], self.plan.margin[2])), self.windows(wide, corner)
            for name in names:
                stays[name] = stays[name] and guard.differs(name, here[name], there[name], whole=name not in exempt)
                found[name] = relative(_squares(here[name], there[name]))
        return {name: figure for name, figure in found.items() if stays[name]}

    def cause(self, guard: Guard, name: str) -> str:
        """Why a layer's features are not the same in both canvases, in words."""
        margin = self.plan.margin[0], self.plan.margin[2]

        def differ(one: tuple[Tensor, tuple[int, int]], two: tuple[Tensor, tuple[int, int]]) -> bool:
            first, second = self.windows(*one)[name], self.windows(*two)[name]
            return guard.differs(name, first, second, whole=True)

        if differ((self.tight, margin), (self.tight, margin)):
            return _RANDOM
        ring = 1, 1
        if differ(self.surrounded(ring, 10), self.surrounded(ring, 11)):
            if self.forwards.sees_all(name):
                return (
                    "global: with statistics over the crop's window the features still change with what lies beyond the margin: an "
                    "operator sees the whole map in a way that is not followed"
                )
            return (
                "global: the features change with what lies beyond the margin that the trace found: an operator that sees the "
                "whole input (a normalisation, squeeze-and-excitation, attention, pooling), or padding that was not seen"
            )
        if differ((self.tight, margin), self.surrounded(ring, 10, far=False)):
            return (
                "absolute: the features depend on the size of the input (resizing inside, align_corners, a position embedding "
                "that is stretched)"
            )
        return (
            "absolute: the features depend on where the crop lies in its scene, so padding cannot be told apart from position "
            "(position embedding or coordinates)"
        )


_ROUNDING = 8  # machine epsilons: a relative rms change up to that is rounding, whatever single cells do
_AGAIN = 3
_REPEATED = 64  # machine epsilons: how far two passes over the same input may be apart where sums are not always alike
_HANDLED = (
    "a handler of an operator that sees the whole map does not compute what the operator does; relative change {:.1e}"
)
_RANDOM = "random: the features differ from pass to pass on the same input (dropout that is active, noise)"


def _scene(image: Tensor, canvas: Canvas, plan: CropPlan, number: int) -> tuple[Tensor, Tensor]:
    """What a scene shows around the first crop, `(C, H, W)`, and content to lay around that."""
    window = _around(image, canvas, plan)
    if number:
        window = _rolled(image, (window.shape[-2], window.shape[-1]), torch.Generator().manual_seed(number))
    return window, image


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
