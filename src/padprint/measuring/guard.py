"""Nothing is believed that the data can contradict: every crop is compared with what the geometry says of it.

Beyond the rim, a crop's features are those of the scene, whatever pads: D is rounding there. How large rounding is, is
measured: by how much the features move when the input moves in its last digits. A difference above that is looked at
again with the input moved a little: rounding is drawn anew and changes, a real difference stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from padprint.geometry.layer import Geometry
from padprint.support.axes import Size, inside
from padprint.support.reasons import Reason, changed_beyond, changed_throughout, depends_on_batch, gone_on_repetition

if TYPE_CHECKING:
    from padprint.measuring.forwards import Forwards, Rest
    from padprint.padding import Scheme

SLACK = 32
"""How many times what one unit in the last place of the input changes is still called rounding."""

NUDGE = 64
"""Units in the last place by which the input is moved to see whether a difference stays."""

_ROOM = 4  # times what two surroundings of a crop change by rounding

_NUDGES = 3
_ALIKE = 0.5  # cosine of a difference before and after, above which it has stayed
_STEP = 1e-3  # of a layer's size: what changes by more with the last digits is turned over, not rounded
_SHARE = 0.3  # of a layer's size: a channel that is nearly silent is made of numbers of that size
_RECONSIDERED = 16
"""How often differences of one layer are looked at again before those of the kind are left alone."""


@dataclass
class Guard:
    """Compares what is measured beyond the rims with rounding.

    Attributes:
        geometry: of the layers.
        limits: by layer `(C,)`, the largest difference that rounding explains, in the model's precision.
        sizes: by layer `(C,)`, the rms of the features that the limits were set on.
        crop: `(1, C, *space)`, the crop that the limits were set on, and
        first: by layer `(C, *cells)`, its features where it is all there is.
        refused: by layer, why it is not believed any more.
        considered: by layer, how often a difference was looked at again and found to be rounding.
        batched: whether that crop was compared with itself in a batch of several.
    """

    geometry: Geometry
    limits: dict[str, Tensor] = field(default_factory=dict)
    sizes: dict[str, Tensor] = field(default_factory=dict)
    crop: Tensor | None = None
    first: dict[str, Tensor] = field(default_factory=dict)
    refused: dict[str, Reason] = field(default_factory=dict)
    considered: dict[str, int] = field(default_factory=dict)
    batched: bool = False
    _doubts: dict[str, tuple[Tensor, int]] = field(default_factory=dict)

    def calibrate(
        self, before: Mapping[str, Tensor], after: Mapping[str, Tensor], optimal: Mapping[str, Tensor]
    ) -> None:
        """Set the limits from the features `(C, *cells)` of a crop, of it moved in its last digits, and of it in its scene."""
        for name, one in before.items():
            size = one.flatten(1).double()
            moved = (after[name].flatten(1).double() - size).abs()
            eps = torch.finfo(one.dtype).eps
            rms = torch.maximum(size.square().mean(1), optimal[name].flatten(1).double().square().mean(1)).sqrt()
            layer = rms.square().mean().sqrt()
            moved = torch.where(moved < _STEP * layer, moved, 0)
            least = 4 * eps * torch.maximum(rms, _SHARE * layer)
            self.sizes[name] = rms
            self.limits[name] = SLACK * torch.maximum(moved.amax(1), least)

    def allow(self, here: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> None:
        """Let limits hold what sizes and places of canvases change by rounding, where it was found to be rounding."""
        for name, one in here.items():
            if name not in self.refused:
                apart = (one - there[name]).abs().flatten(1).amax(1)
                self.limits[name] = torch.maximum(self.limits[name], _ROOM * apart)

    @property
    def axes(self) -> int:
        """How many axes of space there are."""
        return len(self.geometry.crop)

    def inside(self, name: str) -> tuple[Any, ...]:
        """The part of a layer's map beyond its rim, an index of its last dimensions."""
        found = self.geometry[name]
        size = found.size or ()
        return (..., *inside(size, found.rim or (0,) * (2 * len(size))))

    def part(self, name: str, features: Tensor, whole: bool) -> Tensor:
        """All of a map `(C, *cells)`, or what lies beyond its rim."""
        found: Tensor = features if whole else features[self.inside(name)]
        return found

    def differs(self, name: str, one: Tensor, two: Tensor, *, whole: bool) -> bool:
        """Whether two maps `(C, *cells)` of a layer differ by more than rounding, everywhere or beyond the rim alone."""
        within = self.part(name, (one - two).abs(), whole).flatten(1)
        return bool(within.numel()) and bool((within.amax(1) > self.limits[name]).any())

    def settle_batch(
        self, first: Mapping[str, Tensor], batch: Tensor, of_first: Callable[[Tensor], Mapping[str, Tensor]]
    ) -> None:
        """Refuse layers in which a crop in a batch differs from the crop alone, near its border too, where nothing else looks.

        Args:
            first: by layer `(C, *cells)`, features of the first crop of a batch, which is `crop`.
            batch: `(B, C, *space)`.
            of_first: gives these for any batch.
        """
        self.batched = True
        apart = {
            name: first[name] - one for name, one in self.first.items() if name in first and name not in self.refused
        }
        large = {name: one.abs() > _by_channel(self.limits[name], self.axes) for name, one in apart.items()}
        left = [name for name, one in large.items() if bool(one.any())]
        for number in range(_NUDGES):
            if not left:
                return
            moved = nudged(batch, NUDGE, number)
            together, alone = of_first(moved), of_first(moved[:1])
            left = [
                name for name in left if _alike(apart[name][large[name]], (together[name] - alone[name])[large[name]])
            ]
        self.refused |= {name: depends_on_batch().of(name) for name in left}

    def look(self, name: str, squares: Tensor, count: int) -> None:
        """Note a doubt where a difference beyond the rim is larger than rounding.

        Args:
            name: of the layer.
            squares: `(C, *cells)`, D^2 summed over crops, and
            count: how many crops.
        """
        if name in self.refused or self.considered.get(name, 0) >= _RECONSIDERED:
            return
        within = self.part(name, squares, whole=False)
        if within.numel() and bool((within.flatten(1).amax(1) > count * self.limits[name].square()).any()):
            self._doubts[name] = squares.detach().clone(), count

    @property
    def doubts(self) -> bool:
        """Whether there is anything to settle."""
        return bool(self._doubts)

    def settle(
        self,
        difference: Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]],
        x: Tensor,
        sizes: Mapping[str, Tensor],
    ) -> None:
        """Look at doubts again, and refuse the layers of which they stay.

        Args:
            difference: for a canvas and layers, D of each layer, `(B, C, *cells)`.
            x: the canvas `(1, C, *space)`.
            sizes: by layer `(C,)`, rms of the features of this canvas.
        """
        limits = self._limits_at(sizes)
        if not limits:
            return
        names = list(limits)
        first = difference(x, names)
        for name in names:
            squares, count = self._doubts[name]
            now = self._worst(name, first[name].double().square().sum(0))
            if bool((now < self._worst(name, squares) / 4).any()) and self._far(name, squares, count, limits):
                del self._doubts[name]
                self.refused[name] = gone_on_repetition()
        left = list(self._doubts)
        again = [difference(nudged(x, NUDGE, number), left) for number in range(_NUDGES if left else 0)]
        for name in left:
            squares, count = self._doubts.pop(name)
            within = self.inside(name)
            part = first[name][within]
            large = part.abs() > _by_channel(limits[name], self.axes)
            one = part[large]
            if all(_alike(one, other[name][within][large]) for other in again):
                self.refused[name] = self._reason(name, squares, count, limits[name])
            else:
                self._raise(name, squares, count)

    def _worst(self, name: str, squares: Tensor) -> Tensor:
        """`(C,)`: the largest of some squares `(C, *cells)` beyond the rim."""
        return self.part(name, squares, whole=False).flatten(1).amax(1)

    def _far(self, name: str, squares: Tensor, count: int, limits: Mapping[str, Tensor]) -> bool:
        """Whether some difference is larger than rounding that is drawn anew in each pass could make it."""
        return bool((self._worst(name, squares) > count * (100 * limits[name]).square()).any())

    def _limits_at(self, sizes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Limits of layers in doubt, grown with the features of the image; doubts that end with that are dropped."""
        limits = {}
        for name in list(self._doubts):
            squares, count = self._doubts[name]
            grown = (sizes[name] / self.sizes[name].clamp_min(1e-30)).clamp_min(1)
            limits[name] = self.limits[name] * grown
            if not bool((self._worst(name, squares) > count * limits[name].square()).any()):
                del self._doubts[name], limits[name]
        return limits

    def _raise(self, name: str, squares: Tensor, count: int) -> None:
        """Believe in larger rounding; not in rounding as large as features, which flips leave behind."""
        self.considered[name] = self.considered.get(name, 0) + 1
        worst = self._worst(name, squares).sqrt()
        small = worst < 1e3 * self.limits[name] * sqrt(count)
        self.limits[name] = torch.where(small, torch.maximum(self.limits[name], 2 * worst), self.limits[name])

    def _reason(self, name: str, squares: Tensor, count: int, limit: Tensor) -> Reason:
        found = self.geometry[name]
        within = self.inside(name)
        above = torch.zeros(squares.shape[1:], dtype=torch.bool, device=squares.device)
        above[within] = (squares > count * _by_channel(limit.square(), self.axes))[within].any(0)
        depth, pixels = deepest(above, found.stride or (1,) * above.dim())
        share = float(above[within].double().mean())
        if share > 0.9:
            return changed_throughout(tuple(above.shape), found.rim)
        return changed_beyond(depth, pixels, found.rim)


def _by_channel(values: Tensor, axes: int) -> Tensor:
    """`(C,)` values in a shape that extends over maps of so many axes."""
    return values.view(-1, *[1] * axes)


def deepest(above: Tensor, stride: Sequence[float]) -> tuple[int, float]:
    """How far the cells that are True lie from the border of a map at most: cells, and input px."""
    places = above.nonzero(as_tuple=True)
    if not len(places[0]):
        return 0, 0.0
    deep = [torch.minimum(place, n - 1 - place) for place, n in zip(places, above.shape, strict=True)]
    cells = torch.stack(deep).amin(0)
    pixels = torch.stack([own * px for own, px in zip(deep, stride, strict=True)]).amin(0)
    return int(cells.max()) + 1, float(pixels.max()) + max(stride)


def nudged(x: Tensor, units: int, seed: int) -> Tensor:
    """`x` with every number moved by up to so many units in the last place."""
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.device, x.dtype)
    return x * (1 + units * torch.finfo(x.dtype).eps * (2 * noise - 1))


def differences(
    forwards: Forwards, corners: Sequence[Size], scheme: Scheme | None
) -> Callable[[Tensor, Sequence[str]], dict[str, Tensor]]:
    """D of the crops of a canvas, for `Guard.settle`; of layers that see the whole map, the part that is not by statistics."""

    def of(x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}

        def keep(name: str, features: Tensor, optimal: list[Tensor], rest: Rest | None) -> None:
            if name in names:
                found[name] = features - (torch.stack(optimal) if rest is None else rest.replayed)

        maps = {name: features.clone() for name, features in forwards.maps(x).items()}
        forwards.compare(x, maps, corners, keep, scheme)
        return found

    return of


def _alike(one: Tensor, two: Tensor) -> bool:
    """Whether a difference is still there after a nudge; nothing left to compare is no difference."""
    if one.numel() == 0:
        return False
    one, two = one.double(), two.double()
    size = float(one.norm() * two.norm())
    return size > 0 and float((one * two).sum()) > _ALIKE * size and float(two.norm()) > _ALIKE * float(one.norm())
