"""The five maps of position that PosENet's readout learns to draw.

Source: Islam, Jia, Bruce, "How much position information do convolutional neural networks encode?", ICLR 2020. The maps
are images of 256 x 256 grey levels in the authors' repository; the formulas here were fitted to them and agree to one
grey level. Like the authors' loader, `ground_truth` resizes that image and brings it to [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from padprint.errors import ModelError

PATTERNS = ("H", "V", "G", "HS", "VS")
"""Horizontal ramp, vertical ramp, Gaussian, horizontal stripes, vertical stripes."""

IMAGE_SIZE = 256
WHITE = 255


def grey_levels(pattern: str) -> NDArray[np.uint8]:
    """One of the maps as the authors' image: `(256, 256)` grey levels.

    H grows from left to right and V from top to bottom by one level per pixel. G is a Gaussian around pixel (128, 128)
    with a standard deviation of 128 px, stretched to 0..255. HS is a cosine of two and a half periods down the image,
    VS the same across.

    Raises:
        ModelError: there is no such map.
    """
    at = np.arange(IMAGE_SIZE, dtype=np.float64)
    stripes = 127 + 127 * np.cos(2 * np.pi * at / 102.4 + 0.03)
    stripes[[0, -1]] = 251, 3  # where the authors' images leave the cosine
    bell = np.exp(-((at - 128) ** 2) / (2 * 128**2))
    gauss = np.outer(bell, bell)
    gauss = 255 * (gauss - gauss.min()) / (gauss.max() - gauss.min())
    rows = {"V": at, "HS": stripes}
    columns = {"H": at, "VS": stripes}
    if pattern not in PATTERNS:
        raise ModelError(f"there is no pattern {pattern!r}; there are {', '.join(PATTERNS)}")
    if pattern == "G":
        values = gauss
    elif pattern in rows:
        values = np.repeat(rows[pattern][:, None], IMAGE_SIZE, axis=1)
    else:
        values = np.repeat(columns[pattern][None], IMAGE_SIZE, axis=0)
    levels: NDArray[np.uint8] = (np.floor(values) if pattern == "G" else np.round(values)).astype(np.uint8)
    return levels


def ground_truth(pattern: str, size: int | tuple[int, int] = 224) -> Tensor:
    """What the readout is to draw: a `(rows, columns)` float32 map in [0, 1], its least value 0, white 1.

    The authors divide by the largest value, which in their images, at 224 px, is white (255).

    Args:
        pattern: one of `PATTERNS`.
        size: rows and columns, px.

    Raises:
        ModelError: there is no such map.
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    resized = Image.fromarray(grey_levels(pattern)).resize((columns, rows), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(resized, dtype=np.float32))
    return (values - values.min()) / (WHITE - values.min())


def ground_truths(patterns: Sequence[str] = PATTERNS, size: int | tuple[int, int] = 224) -> Tensor:
    """Several maps, `(P, rows, columns)`; see `ground_truth`.

    Raises:
        ModelError: there is no such map, one is named twice, or there are none.
    """
    if isinstance(patterns, str) or not patterns or len(set(patterns)) < len(patterns):
        raise ModelError(f"patterns is a list of different ones out of {', '.join(PATTERNS)}, but got {patterns!r}")
    return torch.stack([ground_truth(pattern, size) for pattern in patterns])
