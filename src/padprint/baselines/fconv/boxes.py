"""Images of the Red-Green test: a red and a green box on black; which of them is left is the class.

Source: Kayhan and van Gemert, CVPR 2020, and the random draws of the authors' code. In all sets but "dissimilar", class 0
(red is left) lies in the upper half and class 1 (green is left) in the lower one, so location gives the class away.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from padprint.errors import ImagesError

SIZE = 32  # px, of an image
BOX = 4  # px, of a box
ROWS = (7, 23)  # where the boxes of class 0 and of class 1 start, before the jitter
JITTER = (-4, 4)  # px, the upper end excluded
LEFT = 10  # columns that the left box can start at
SHIFT = ROWS[1] - ROWS[0]  # px that "dissimilar" images are moved
MOST = 23680  # different images that can be drawn

Layout = tuple[int, int, int, int, int]
"""Class, then row and column of the left box, then of the right one."""


class Labelled(NamedTuple):
    """Images `(N, 3, 32, 32)` float32, 0 or 1, and their classes `(N,)`."""

    images: Tensor
    labels: Tensor


class RedGreenData(NamedTuple):
    """The four sets.

    Attributes:
        train, validation, similar: class 0 above, class 1 below.
        dissimilar: the images of `similar`, moved by 16 rows into the other half.
    """

    train: Labelled
    validation: Labelled
    similar: Labelled
    dissimilar: Labelled


def red_green_data(
    train: int = 2000, validation: int = 1000, test: int = 1000, *, leaky: bool = False, seed: int = 1988
) -> RedGreenData:
    """Draw the four sets.

    Args:
        train: images to train on.
        validation: images to choose the epoch by.
        test: images in each test set.
        leaky: every set starts from the same seed, as in the authors' code: with the published sizes, validation and
            "similar" are the first 1000 training images. Otherwise no image is there twice, in one set or in two.
        seed: of the draws; the authors' is 1988.

    Raises:
        ImagesError: an empty set, or more images than there are.
    """
    sizes = (train, validation, test)
    if min(sizes) < 1:
        raise ImagesError(f"every set needs an image, but train, validation and test have {sizes}")
    if not leaky and sum(sizes) > MOST // 2:
        raise ImagesError(f"{sum(sizes)} images without a repetition are too many: at most {MOST // 2} of {MOST}")
    if leaky:
        sets = [_layouts(n, np.random.RandomState(seed), distinct=False) for n in sizes]
    else:
        every = _layouts(sum(sizes), np.random.RandomState(seed), distinct=True)
        sets = [every[:train], every[train : train + validation], every[train + validation :]]
    fit, choose, similar = sets
    return RedGreenData(_drawn(fit), _drawn(choose), _drawn(similar), _drawn([_moved(one) for one in similar]))


def _layouts(count: int, random: np.random.RandomState, *, distinct: bool) -> list[Layout]:
    """Layouts of classes 0, 1, 0, 1, ...; each another one if `distinct`."""
    found: list[Layout] = []
    seen: set[Layout] = set()
    while len(found) < count:
        one = _layout(len(found) % 2, random)
        if not (distinct and one in seen):
            found.append(one)
            seen.add(one)
    return found


def _layout(label: int, random: np.random.RandomState) -> Layout:
    def row() -> int:
        return int(random.randint(*JITTER)) + ROWS[label]

    x = int(random.randint(LEFT))
    y = row()
    while True:
        right, other = int(random.randint(x, SIZE - BOX)), row()
        if right - x > BOX:  # a column between the boxes at least
            return label, y, x, other, right


def _moved(layout: Layout) -> Layout:
    label, y, x, other, right = layout
    step = SHIFT if label == 0 else -SHIFT
    return label, y + step, x, other + step, right


def _drawn(layouts: list[Layout]) -> Labelled:
    images = torch.zeros(len(layouts), 3, SIZE, SIZE)
    for image, (label, y, x, other, right) in zip(images, layouts, strict=True):
        image[label, y : y + BOX, x : x + BOX] = 1  # red is channel 0, green channel 1
        image[1 - label, other : other + BOX, right : right + BOX] = 1
    return Labelled(images, torch.tensor([layout[0] for layout in layouts]))
