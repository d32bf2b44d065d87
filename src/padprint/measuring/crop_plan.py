"""Where crops lie: seeded windows of a scene, on the total-stride grid, and the crops each window serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from operator import add, lt

import numpy as np
from torch import Tensor

from padprint.errors import ImagesError
from padprint.support.axes import Sides, Size, pairs, side_names, times, window, with_sides

MAX_CANVAS = 1024 * 1024
"""Input pixels of one canvas, where the margins allow: bounds memory however large the scene is."""


@dataclass(frozen=True)
class Canvas:
    """A window of a scene on which the network runs once, and the crops compared with it.

    Attributes:
        corner, size: the window, in scene pixels.
        crops: corner of each crop, in canvas pixels; multiples of the total stride.
    """

    corner: Size
    size: Size
    crops: tuple[Size, ...]

    def cut(self, image: Tensor) -> Tensor:
        """The window of an image `(C, *space)`."""
        found: Tensor = image[window(self.corner, self.size)]
        return found


@dataclass(frozen=True)
class CropPlan:
    """How scenes are cut.

    Attributes:
        crop: size, pixels.
        margin: scene pixels needed around a crop on each side, multiples of `period`.
        period: total stride along each axis, pixels.
        crops: how many crops an image gives, where it has that many positions.
        seed: of the draws; each image draws from a generator of its own, seeded by (seed, image index) alone.
        spend: canvas pixels over crop pixels that a window may cost, where the margins allow.
        most: pixels of one canvas, likewise.
    """

    crop: Size
    margin: Sides
    period: Size
    crops: int
    seed: int = 0
    spend: float = 1.0
    most: int = MAX_CANVAS

    @property
    def before(self) -> Size:
        """Margin before the crop along each axis: its corner in the smallest canvas."""
        return self.margin[::2]

    @property
    def smallest(self) -> Size:
        """Size of the smallest scene that holds a crop and its margins."""
        return with_sides(self.crop, self.margin)

    def canvases(self, size: Size, index: int) -> list[Canvas]:
        """The canvases of one scene; none where it is too small.

        Crops are drawn without replacement. A scene that admits fewer positions than `crops` gives each of them once.

        Args:
            size: of the scene, pixels.
            index: of the image among the images; decides the draw together with the seed.
        """
        free = [(n - least) // p for n, least, p in zip(size, self.smallest, self.period, strict=True)]
        if min(free) < 0:
            return []
        rng = np.random.default_rng([self.seed, index])
        budget = self.spend * self.crops * prod(self.crop)
        count = ceil(min(budget, float(prod(size))) / self.most)
        used: set[Size] = set()
        canvases = []
        for share in _shares(self.crops, max(1, count)):
            steps = self._steps(free, share, min(budget / max(1, count), float(self.most)))
            corner = tuple(int(rng.integers(f - s + 1)) * p for f, s, p in zip(free, steps, self.period, strict=True))
            crops = self._draw(rng, corner, steps, share, used)
            if crops:
                own = tuple(n + s * p for n, s, p in zip(self.smallest, steps, self.period, strict=True))
                canvases.append(Canvas(corner, own, crops))
        return canvases

    def refuse_small(
        self,
        sizes: Sequence[Size | None],
        what: str = "crop",
        called: Callable[[int], str] | None = None,
    ) -> None:
        """Raise ImagesError where a scene of one of these sizes, as far as they are known, holds no crop.

        Args:
            sizes: of all scenes, by index.
            what: a crop is called.
            called: gives a scene's name by its index, if it has one.
        """
        known = {index: size for index, size in enumerate(sizes) if size is not None}
        small = {index: size for index, size in known.items() if any(map(lt, size, self.smallest))}
        if small:
            first = "" if called is None else called(next(iter(small)))
            raise self.too_small(list(small.values()), len(known), what, first)

    def too_small(self, small: Sequence[Size], total: int, what: str = "crop", called: str = "") -> ImagesError:
        """The error that tells of scenes of these sizes, out of `total`, that hold no crop; the first of them is called so."""
        need, crop = times(self.smallest), times(self.crop)
        first = f"{called}{', ' if called else ''}{times(small[0])}"
        sides = ", ".join(side_names(len(self.crop)))
        ways = f"{self._smaller_crop(small)}, earlier layers" if what == "crop" else f"a smaller {what}"
        return ImagesError(
            f"{len(small)} of {total} images are too small (the first is {first} px): a {crop} {what} with the margins "
            f"{self.margin} px ({sides}) of scene that the layers see around it needs {need} px; leave these images out, "
            f"enlarge all (resize_short_side={max(self.smallest)}), use {ways}, or a margin below the reach{self._smaller_margin(small)}"
        )

    def _smaller_crop(self, small: Sequence[Size]) -> str:
        """A smaller crop, with the largest square one that all of these scenes hold, if there is any."""
        room = [
            min(each) - sum(sides) for each, sides in zip(zip(*small, strict=True), pairs(self.margin), strict=True)
        ]
        side = min(n // p * p for n, p in zip(room, self.period, strict=True))
        return f"a smaller crop (crop={side})" if 0 < side < max(self.crop) else "a smaller crop"

    def _smaller_margin(self, small: Sequence[Size]) -> str:
        """The largest margin that all of these scenes have room for, if there is any."""
        room = [min(each) - n for each, n in zip(zip(*small, strict=True), self.crop, strict=True)]
        margin = min(n // 2 // p * p for n, p in zip(room, self.period, strict=True))
        return f" (margin={margin}: approximate)" if margin > 0 else ""

    def _steps(self, free: Sequence[int], crops: int, budget: float) -> Size:
        """Grid steps along each axis beyond the smallest canvas: while the budget lasts, and until `crops` positions exist."""
        steps = [0] * len(free)
        size = list(self.smallest)
        while True:
            open_axes = [axis for axis, most in enumerate(free) if steps[axis] < most]
            if not open_axes:
                break
            axis = min(open_axes, key=size.__getitem__)
            cost = prod(n + self.period[axis] * (one == axis) for one, n in enumerate(size))
            if cost > budget and prod(n + 1 for n in steps) >= crops:
                break
            steps[axis] += 1
            size[axis] += self.period[axis]
        return tuple(steps)

    def _draw(
        self, rng: np.random.Generator, corner: Size, steps: Size, crops: int, used: set[Size]
    ) -> tuple[Size, ...]:
        """Corners of crops no canvas of this scene has used yet, in canvas pixels; `used` is extended."""
        along = [
            [n + i * p for i in range(more + 1)] for n, p, more in zip(self.before, self.period, steps, strict=True)
        ]

        def in_scene(place: Size) -> Size:
            return tuple(map(add, corner, place))

        fresh = [place for place in product(*along) if in_scene(place) not in used]
        chosen = [int(i) for i in rng.choice(len(fresh), min(crops, len(fresh)), replace=False)] if fresh else []
        picked = tuple(fresh[i] for i in sorted(chosen))
        used.update(map(in_scene, picked))
        return picked


def _shares(total: int, parts: int) -> list[int]:
    """`total` split as evenly as whole numbers allow; no part is empty."""
    parts = min(parts, total)
    return [total // parts + (i < total % parts) for i in range(parts)]
