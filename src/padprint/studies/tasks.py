"""Two tasks whose labels carry no position, on scenes larger than the crop, so that optimal padding exists.

What a batch holds depends on its seed alone: no loader has a state, so a training that is resumed sees what it would
have seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from padprint.errors import ImagesError
from padprint.images.contents import Paths
from padprint.images.folder import ImageFolder
from padprint.images.synthetic import DeadLeaves
from padprint.support.optional import require

MEAN, STD = 0.5, 0.25
"""What the pixels of both tasks, in [0, 1], are normalised with."""
_HELD_OUT = 2**31 - 1  # seed of held-out crops; those of training start with a step
_SCENES = 2**31 - 2


class Task(ABC):
    """Crops with labels, and the scenes they are cut from.

    Args:
        crop: rows and columns of a crop, px.
        scene: rows and columns of a scene, px; of a photograph the shorter of the two.
    """

    classes: int

    def __init__(self, crop: int, scene: int) -> None:
        self.crop, self.scene = crop, scene

    def batch(self, seed: int, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Training crops `(count, 3, crop, crop)`, normalised, and their labels `(count,)`, int64."""
        return self._drawn(np.random.default_rng((step, seed)), count, held_out=False)

    def held_out(self, count: int) -> tuple[Tensor, Tensor]:
        """Crops and labels that no training sees: always the same."""
        return self._drawn(np.random.default_rng(_HELD_OUT), count, held_out=True)

    @property
    @abstractmethod
    def scenes(self) -> Sequence[Tensor]:
        """Normalised `(3, H, W)` scenes to measure on: the same for every training."""

    @abstractmethod
    def _drawn(self, generator: np.random.Generator, count: int, *, held_out: bool) -> tuple[Tensor, Tensor]: ...


class Photographs(Task):
    """Which photograph is this crop from? Crops lie anywhere in a photograph; its right quarter is held out.

    Args:
        crop: see `Task`.
        scene: the photographs' short side is resized to this, px.
        files: a folder or image files, one class each.

    Raises:
        ImagesError: fewer than two photographs, one that cannot be read, or one narrower than two crops.
    """

    def __init__(self, crop: int, scene: int, files: Paths) -> None:
        super().__init__(crop, scene)
        folder = ImageFolder(files, mean=(0, 0, 0), std=(1, 1, 1), resize_short_side=scene, strict=True)
        self._pixels = [(image * 255).round().to(torch.uint8) for image in folder]
        self.classes = len(self._pixels)
        if self.classes < 2:
            raise ImagesError(f"telling photographs apart needs two or more, and {folder.description} is one")
        narrowest = min(pixels.shape[-1] for pixels in self._pixels)
        if narrowest < 2 * crop:
            raise ImagesError(f"photographs must be as wide as two crops of {crop} px, and one is {narrowest} px wide")

    @cached_property
    def scenes(self) -> Sequence[Tensor]:
        """See `Task.scenes`."""
        return [_normalised(pixels) for pixels in self._pixels]

    def _drawn(self, generator: np.random.Generator, count: int, *, held_out: bool) -> tuple[Tensor, Tensor]:
        labels = generator.integers(self.classes, size=count)
        crops = [self._crop(generator, self._pixels[label], held_out) for label in labels]
        return _normalised(torch.stack(crops)), torch.from_numpy(labels)

    def _crop(self, generator: np.random.Generator, pixels: Tensor, held_out: bool) -> Tensor:
        width = pixels.shape[-1]
        border = width - max(width // 4, self.crop)
        first, last = (border, width) if held_out else (0, border)
        return _cut(generator, pixels[..., first:last], self.crop)


class Digits(Task):
    """Which digit is this? Scikit-learn's handwritten digits, each somewhere in front of dead leaves.

    In a training crop one digit lies wholly inside, all places being equally likely. The scenes for measuring have
    digits everywhere, as many to an area, without regard to any frame. A fifth of the digits is held out, and the
    backgrounds of held-out crops are others too.

    Args:
        crop: see `Task`; digits are half as large.
        scene: see `Task`.
        count: how many scenes to measure on.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """

    classes = 10
    BACKGROUNDS = 32

    def __init__(self, crop: int, scene: int, count: int) -> None:
        super().__init__(crop, scene)
        require("sklearn", why="for its digits", extra="studies")
        digits = import_module("sklearn.datasets").load_digits()
        small = torch.from_numpy(digits.images).float()[:, None] / 16
        self._ink = interpolate(small, scale_factor=max(1, crop // 16), mode="bilinear")[:, 0]
        self._labels = torch.from_numpy(digits.target).long()
        order = np.random.default_rng(0).permutation(len(self._labels))
        self._kept, self._held = np.split(order, [len(order) * 4 // 5])
        self._count = count

    @cached_property
    def scenes(self) -> Sequence[Tensor]:
        """See `Task.scenes`."""
        return [
            self._scene(np.random.default_rng((_SCENES, i)), leaves)
            for i, leaves in enumerate(self._leaves(2, self._count))
        ]

    @cached_property
    def _backgrounds(self) -> list[Tensor]:
        return self._leaves(0, self.BACKGROUNDS)

    @cached_property
    def _held_backgrounds(self) -> list[Tensor]:
        return self._leaves(1, self.BACKGROUNDS)

    def _leaves(self, seed: int, count: int) -> list[Tensor]:
        """Dead leaves of little contrast, in [0.1, 0.4], so that white digits stand out."""
        return [0.1 + 0.3 * leaves for leaves in DeadLeaves(count, self.scene, seed, mean=0, std=1)]

    def _scene(self, generator: np.random.Generator, scene: Tensor) -> Tensor:
        size = self._ink.shape[-1]
        for _ in range(generator.poisson((self.scene + size) ** 2 / self.crop**2)):
            top, left = generator.integers(1 - size, self.scene, size=2)
            _paste(scene, self._ink[generator.choice(self._held)], int(top), int(left))
        return _normalised(scene)

    def _drawn(self, generator: np.random.Generator, count: int, *, held_out: bool) -> tuple[Tensor, Tensor]:
        backgrounds = self._held_backgrounds if held_out else self._backgrounds
        digits = self._held if held_out else self._kept
        chosen = generator.choice(digits, size=count)
        crops = []
        for digit in chosen:
            crop = _cut(generator, backgrounds[generator.integers(len(backgrounds))], self.crop).clone()
            top, left = generator.integers(self.crop - self._ink.shape[-1] + 1, size=2)
            _paste(crop, self._ink[digit], int(top), int(left))
            crops.append(crop)
        return _normalised(torch.stack(crops)), self._labels[chosen]


def _cut(generator: np.random.Generator, scene: Tensor, crop: int) -> Tensor:
    """A crop of a `(C, H, W)` scene, all positions being equally likely."""
    height, width = scene.shape[-2:]
    top, left = generator.integers(height - crop + 1), generator.integers(width - crop + 1)
    return scene[:, top : top + crop, left : left + crop]


def _paste(scene: Tensor, ink: Tensor, top: int, left: int) -> None:
    """Paint white where there is ink `(n, n)`, in [0, 1]; what lies outside the scene is lost. In place."""
    n = ink.shape[-1]
    height, width = scene.shape[-2:]
    rows, columns = slice(max(top, 0), min(top + n, height)), slice(max(left, 0), min(left + n, width))
    seen = ink[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    scene[:, rows, columns] += seen * (1 - scene[:, rows, columns])


def _normalised(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1], or bytes, as networks see them."""
    values = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
    return (values - MEAN) / STD
