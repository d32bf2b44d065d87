"""Canvases of the four-quadrant test: a small picture in one of two corners of an empty canvas, with a border around it.

Source: Kayhan and van Gemert, CVPR 2020, and the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.errors import ImagesError
from padprint.images.source import Source, nothing_decoded
from padprint.measuring.session import refuse_other_axes

CORNERS = 2  # class 0 at the top left, class 1 at the bottom right


@dataclass(frozen=True)
class CanvasSettings:
    """How canvases are made; the defaults are the authors'.

    Attributes:
        resize_short_side: of image files, px.
        crop: side of the square in an image's middle that is shown, px; the whole short side where that is less.
        picture: side that it is shrunk to, px (bilinear, not smoothed before).
        canvas: side of the canvas, px. Empty is 0, the mean of normalised images, and what zero padding adds.
    """

    resize_short_side: int = 256
    crop: int = 224
    picture: int = 56
    canvas: int = 120

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ImagesError: one is below 1, or the canvas has no room for two pictures apart from each other.
        """
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise ImagesError(f"{name} must be a whole number of 1 px or more, but got {value!r}")
        if self.canvas <= self.picture:
            raise ImagesError(f"a canvas of {self.canvas} px leaves a picture of {self.picture} px no two corners")


def pictures(source: Source, settings: CanvasSettings) -> Tensor:
    """`(N, C, picture, picture)` float32, the middle of every image.

    Raises:
        ImagesError: there is no image; and see `Source.items`.
    """
    found = [_picture(image, settings) for _, image in source.items()]
    if not found:
        raise nothing_decoded(source)
    return torch.stack(found)


def _picture(image: Tensor, settings: CanvasSettings) -> Tensor:
    refuse_other_axes(image.shape[1:], "F-Conv's test")
    side = min(settings.crop, *image.shape[1:])
    top, left = ((n - side) // 2 for n in image.shape[1:])
    square = image[None, :, top : top + side, left : left + side].float()
    return F.interpolate(square, settings.picture, mode="bilinear", align_corners=False)[0]


def placed(shown: Tensor, corners: Tensor, border: int, settings: CanvasSettings) -> Tensor:
    """`(B, C, S, S)` canvases of S = canvas + 2 border px.

    Args:
        shown: `(B, C, picture, picture)`.
        corners: `(B,)`, 0 for the top left and 1 for the bottom right.
        border: empty px added on each side.
        settings: sizes.
    """
    far = settings.canvas - settings.picture
    at = border + far * corners
    size = settings.canvas + 2 * border
    canvases = shown.new_zeros(*shown.shape[:2], size, size)
    for canvas, picture, start in zip(canvases, shown, at.tolist(), strict=True):
        canvas[:, start : start + settings.picture, start : start + settings.picture] = picture
    return canvases
