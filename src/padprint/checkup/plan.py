"""Which scenes a quick measurement takes, how large and how normalised; and what must be said of that."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from padprint.errors import ImagesError
from padprint.geometry.layer import Geometry
from padprint.images.photographs import Images, as_source, holds_pixels
from padprint.images.source import Source
from padprint.images.synthetic import DeadLeaves
from padprint.network.batchnorm import calibrate_batchnorm, uncalibrated
from padprint.support.axes import Size, times

SCENES = 6
"""Images of a quick measurement."""
STEMS = 32
"""Images that the commands proposed calibrate an untrained network's BatchNorm on; half as many do for a quick measurement."""
FALLBACK = 0.5, 0.25
"""Mean and deviation of every channel, where neither the model nor the caller says them."""

_LARGEST = 1024  # px: scenes are no larger, and the margin shrinks instead

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation by channel."""


@dataclass(frozen=True)
class Plan:
    """How a network is measured quickly.

    Attributes:
        network: it.
        crop: size along each axis, px.
        channels: of the images.
        mean, std: of the images, by channel.
        normalised: whether the model or the caller says so.
        smallest: size of the smallest image that all layers can be measured on, px.
        needed: likewise, of the images that are used: smaller where the margin is less than the layers reach.
        margin: px of scene around a crop; None for as many as the layers reach.
        period: of the grid that crops lie on along each axis, px.
        uncalibrated: what is said of BatchNorm that never saw data; None where there is none.
        seed: of scenes.
        notes: what a reader must know.
    """

    network: nn.Module
    crop: Size
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    normalised: bool
    smallest: Size
    needed: Size
    margin: int | None
    period: Size
    uncalibrated: str | None
    seed: int
    notes: tuple[str, ...]

    def calibrated(self) -> nn.Module:
        """The network, or a copy whose BatchNorm has seen scenes where the network's has not."""
        if self.uncalibrated is None:
            return self.network
        trained = copy.deepcopy(self.network)
        calibrate_batchnorm(trained, self.leaves(STEMS // 2, self.crop, seed=1), batch_size=8)
        return trained

    def leaves(self, count: int, size: Size, seed: int = 0) -> Sequence[Tensor]:
        """So many dead leaves (C, H, W) of a size in px, in the network's bands.

        Raises:
            ImagesError: they are wanted of another number of axes than two.
        """
        if len(size) != 2:
            raise ImagesError(no_scenes(len(size)))
        if self.channels == 3:
            return DeadLeaves(count, (size[0], size[1]), self.seed + seed, mean=self.mean, std=self.std)
        bands = [i % 3 for i in range(self.channels)]
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        plain = DeadLeaves(count, (size[0], size[1]), self.seed + seed, mean=(0.0,) * 3, std=(1.0,) * 3)
        return [(scene[bands] - mean) / std for scene in plain]


def planned(
    network: nn.Module,
    geometry: Geometry,
    channels: int,
    declared: Normalisation | None,
    asked: tuple[Sequence[float] | None, Sequence[float] | None],
    seed: int,
) -> Plan:
    """How a network with this geometry is measured.

    Args:
        network: it.
        geometry: traced at the crop's size.
        channels: of the images.
        declared: mean and deviation that the model says.
        asked: mean and deviation that the caller gives, each None where it does not.
        seed: of scenes.
    """
    crop, notes = geometry.crop, []
    fallback = declared or tuple((value,) * channels for value in FALLBACK)
    mean, std = (
        tuple(values) * channels if len(values) == 1 else tuple(values)
        for values in (asked[0] or fallback[0], asked[1] or fallback[1])
    )
    smallest = needed = geometry.smallest_image()
    margin: int | None = None
    if any(most > max(_LARGEST, 2 * n) for most, n in zip(smallest, crop, strict=True)):
        room = max(max(0, (_LARGEST - n) // 2) for n in crop)
        margin = min(room, max(geometry.margin))
        needed = tuple(n + 2 * margin for n in crop)
        notes.append(
            f"the layers see up to {max(geometry.margin)} px beyond the crop, and {margin} px were used, for which images of "
            f"{times(needed, ' x ')} px do: deep layers are approximate"
        )
    fresh = uncalibrated(network)
    if fresh is not None:
        notes.append(f"{fresh}: a copy was calibrated for this, on {STEMS // 2} scenes")
    normalised = declared is not None or None not in asked
    return Plan(
        network,
        crop,
        channels,
        mean,
        std,
        normalised,
        smallest,
        needed,
        margin,
        geometry.period,
        fresh,
        seed,
        tuple(notes),
    )


def no_scenes(axes: int) -> str:
    """Why there are no synthetic scenes for a network over so many axes."""
    return f"synthetic scenes have 2 space axes, and the network takes {axes}: give images"


@dataclass(frozen=True)
class Scenes:
    """What is measured on.

    Attributes:
        images: at most `SCENES`, (C, H, W), normalised.
        words: what they are.
        notes: what a reader must know of them.
        short_side: px that photographs are resized to, in the commands that are proposed; None where they are not.
        replaced: whether images were given, and synthetic scenes stand in for them.
    """

    images: Sequence[Tensor]
    words: str
    notes: tuple[str, ...] = ()
    short_side: int | None = None
    replaced: bool = False


def chosen(plan: Plan, images: Images | None, short_side: int | None) -> Scenes:
    """The images given where they are large enough, else dead leaves.

    Raises:
        ImagesError: there is no image among those given.
    """
    if images is None:
        return _synthetic(plan, (), short_side, replaced=False)
    pixels = holds_pixels(images)
    options: dict[str, Any] = {"mean": plan.mean, "std": plan.std, "resize_short_side": short_side} if pixels else {}
    source = as_source(images, **options)
    sizes = source.sizes()
    small = [size for size in sizes or () if size and not _fits(size, plan.needed)]
    if sizes is None or len(small) < len(sizes):
        return _given(plan, source, small, short_side, pixels=pixels)
    note = (
        f"the images are too small ({times(small[0], ' x ')} px, {times(plan.needed, ' x ')} are needed), so dead leaves "
        f"stood in for them: give larger ones, or enlarge them (--resize-short-side {max(plan.needed)})"
    )
    return _synthetic(plan, (note,), max(plan.needed), replaced=True)


def _fits(size: Sequence[int], needed: Size) -> bool:
    return all(n >= least for n, least in zip(size, needed, strict=True))


def _given(plan: Plan, source: Source, small: Sequence[Size], short_side: int | None, *, pixels: bool) -> Scenes:
    """The first images that are large enough."""
    notes = []
    if pixels and not plan.normalised:
        notes.append(
            "the model does not say how its images are normalised: mean 0.5 and deviation 0.25 were taken; give those of its training"
        )
    if small:
        short_side = max(plan.needed)
        notes.append(
            f"{len(small)} of {len(source.sizes() or ())} images are too small and were left out: the commands below resize all to a short "
            f"side of {short_side} px, unless you leave those files out too"
        )
    large = (image for _, image in source.items() if _fits(image.shape[1:], plan.needed))
    return Scenes(list(islice(large, SCENES)), source.description, tuple(notes), short_side)


def _synthetic(plan: Plan, notes: tuple[str, ...], short_side: int | None, *, replaced: bool) -> Scenes:
    if len(plan.crop) != 2:
        return Scenes([], "no scenes", notes, short_side, replaced)
    size = tuple(map(add, plan.needed, plan.period))
    words = f"{SCENES} synthetic scenes (dead leaves) of {times(size, ' x ')} px"
    return Scenes(list(plan.leaves(SCENES, size)), words, notes, short_side, replaced)
