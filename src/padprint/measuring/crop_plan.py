"""Where crops lie: seeded windows of a scene, on the total-stride grid, and the crops each window serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from torch import Tensor

from padprint.errors import ImagesError

MAX_CANVAS = 1024 * 1024
"""Input pixels of one canvas, where the margins allow: bounds memory however large the scene is."""


@dataclass(frozen=True)
class Canvas:
    """A window of a scene on which the network runs once, and the crops compared with it.

    Attributes:
        top, left, height, width: the window, in scene pixels.
        crops: (y, x) of each crop's corner, in canvas pixels; multiples of the total stride.
    """

    top: int
    left: int
    height: int
    width: int
    crops: tuple[tuple[int, int], ...]

    def cut(self, image: Tensor) -> Tensor:
        """The window of a `(C, H, W)` image."""
        return image[:, self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class CropPlan:
    """How scenes are cut.

    Attributes:
        crop: (height, width), pixels.
        margin: scene pixels needed around a crop (top, bottom, left, right), multiples of `period`.
        period: total stride (y, x), pixels.
        crops: how many crops an image gives, where it has that many positions.
        seed: of the draws; each image draws from a generator of its own, seeded by (seed, image index) alone.
        spend: canvas pixels over crop pixels that a window may cost, where the margins allow.
    """

    crop: tuple[int, int]
    margin: tuple[int, int, int, int]
    period: tuple[int, int]
    crops: int
    seed: int = 0
    spend: float = 1.0

    @property
    def smallest(self) -> tuple[int, int]:
        """(height, width) of the smallest scene that holds a crop and its margins."""
        top, bottom, left, right = self.margin
        return self.crop[0] + top + bottom, self.crop[1] + left + right

    def canvases(self, size: tuple[int, int], index: int) -> list[Canvas]:
        """The canvases of one scene; none where it is too small.

        Crops are drawn without replacement. A scene that admits fewer positions than `crops` gives each of them once.

        Args:
            size: (height, width) of the scene, pixels.
            index: of the image among the images; decides the draw together with the seed.
        """
        free = [(n - least) // p for n, least, p in zip(size, self.smallest, self.period, strict=True)]
        if min(free) < 0:
            return []
        rng = np.random.default_rng([self.seed, index])
        budget = self.spend * self.crops * self.crop[0] * self.crop[1]
        count = ceil(min(budget, float(size[0] * size[1])) / MAX_CANVAS)
        used: set[tuple[int, int]] = set()
        canvases = []
        for share in _shares(self.crops, max(1, count)):
            steps = self._steps(free, share, min(budget / max(1, count), float(MAX_CANVAS)))
            corner = [int(rng.integers(f - s + 1)) * p for f, s, p in zip(free, steps, self.period, strict=True)]
            crops = self._draw(rng, corner, steps, share, used)
            if crops:
                height, width = (n + s * p for n, s, p in zip(self.smallest, steps, self.period, strict=True))
                canvases.append(Canvas(corner[0], corner[1], height, width, crops))
        return canvases

    def refuse_small(
        self,
        sizes: Sequence[tuple[int, ...] | None],
        what: str = "crop",
        called: Callable[[int], str] | None = None,
    ) -> None:
        """Raise ImagesError where a scene of one of these (H, W), as far as they are known, holds no crop.

        Args:
            sizes: of all scenes, by index.
            what: a crop is called.
            called: gives a scene's name by its index, if it has one.
        """
        known = {index: size for index, size in enumerate(sizes) if size is not None}
        least = self.smallest
        small = {index: size for index, size in known.items() if size[0] < least[0] or size[1] < least[1]}
        if small:
            first = "" if called is None else called(next(iter(small)))
            raise self.too_small(list(small.values()), len(known), what, first)

    def too_small(
        self, small: Sequence[tuple[int, ...]], total: int, what: str = "crop", called: str = ""
    ) -> ImagesError:
        """The error that tells of scenes of these (H, W), out of `total`, that hold no crop; the first of them is called so."""
        need, crop = ("x".join(map(str, size)) for size in (self.smallest, self.crop))
        first = f"{called}{', ' if called else ''}{'x'.join(map(str, small[0]))}"
        ways = f"{self._smaller_crop(small)}, earlier layers" if what == "crop" else f"a smaller {what}"
        return ImagesError(
            f"{len(small)} of {total} images are too small (the first is {first} px): a {crop} {what} with the margins "
            f"{self.margin} px (top, bottom, left, right) of scene that the layers see around it needs {need} px; leave these images out, "
            f"enlarge all (resize_short_side={max(self.smallest)}), use {ways}, or a margin below the reach{self._smaller_margin(small)}"
        )

    def _smaller_crop(self, small: Sequence[tuple[int, ...]]) -> str:
        """A smaller crop, with the largest square one that all of these scenes hold, if there is any."""
        top, bottom, left, right = self.margin
        room = min(h for h, _ in small) - top - bottom, min(w for _, w in small) - left - right
        side = min(n // p * p for n, p in zip(room, self.period, strict=True))
        return f"a smaller crop (crop={side})" if 0 < side < max(self.crop) else "a smaller crop"

    def _smaller_margin(self, small: Sequence[tuple[int, ...]]) -> str:
        """The largest margin that all of these scenes have room for, if there is any."""
        room = min(h for h, _ in small) - self.crop[0], min(w for _, w in small) - self.crop[1]
        margin = min(n // 2 // p * p for n, p in zip(room, self.period, strict=True))
        return f" (margin={margin}: approximate)" if margin > 0 else ""

    def _steps(self, free: list[int], crops: int, budget: float) -> tuple[int, int]:
        """Grid steps (y, x) beyond the smallest canvas: while the budget lasts, and until `crops` positions exist."""
        steps = [0, 0]
        size = list(self.smallest)
        while True:
            open_axes = [a for a in (0, 1) if steps[a] < free[a]]
            if not open_axes:
                break
            axis = min(open_axes, key=lambda a: size[a])
            area = (size[axis] + self.period[axis]) * size[1 - axis]
            if area > budget and (steps[0] + 1) * (steps[1] + 1) >= crops:
                break
            steps[axis] += 1
            size[axis] += self.period[axis]
        return steps[0], steps[1]

    def _draw(
        self,
        rng: np.random.Generator,
        corner: list[int],
        steps: tuple[int, int],
        crops: int,
        used: set[tuple[int, int]],
    ) -> tuple[tuple[int, int], ...]:
        """Corners of crops no canvas of this scene has used yet, in canvas pixels; `used` is extended."""
        top, _, left, _ = self.margin
        places = [
            (top + i * self.period[0], left + j * self.period[1])
            for i in range(steps[0] + 1)
            for j in range(steps[1] + 1)
        ]
        fresh = [(y, x) for y, x in places if (corner[0] + y, corner[1] + x) not in used]
        chosen = [int(i) for i in rng.choice(len(fresh), min(crops, len(fresh)), replace=False)] if fresh else []
        picked = tuple(fresh[i] for i in sorted(chosen))
        used.update((corner[0] + y, corner[1] + x) for y, x in picked)
        return picked


def _shares(total: int, parts: int) -> list[int]:
    """`total` split as evenly as whole numbers allow; no part is empty."""
    parts = min(parts, total)
    return [total // parts + (i < total % parts) for i in range(parts)]
