"""Images of pixels and of other numbers, which are resized and normalised here, and those of them that are in memory."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from padprint.errors import ImagesError
from padprint.images.pictures import upright
from padprint.images.source import Source, check_positive
from padprint.support.axes import CELLS, plural
from padprint.support.wording import count

MAX_MEGAPIXELS = 160
"""The default of ``max_megapixels``: above the sensors of cameras, below what takes a computer's whole memory."""
Pixels: TypeAlias = Image.Image | NDArray[Any]


class Normalised(Source):
    """Images that are resized and normalised here: files, or images in memory.

    Args:
        description: see `Source`.
        length: how many.
        mean: see `ImageFolder`.
        std: likewise.
        resize_short_side: likewise.
        strict: likewise.
        max_megapixels: likewise.

    Raises:
        ImagesError: an option makes no sense.
    """

    def __init__(
        self,
        description: str,
        length: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        resize_short_side: int | None,
        strict: bool,
        max_megapixels: float | None,
    ) -> None:
        self._mean, self._std = _per_channel("mean", mean), _per_channel("std", std)
        if not bool((self._std > 0).all()):
            raise ImagesError(f"std must be above 0, got {list(std)}")
        check_positive("resize_short_side", resize_short_side)
        self._most = MAX_MEGAPIXELS if max_megapixels is None else max_megapixels
        if not self._most > 0:
            raise ImagesError(f"max_megapixels must be above 0, got {max_megapixels}")
        self._short = resize_short_side
        super().__init__(description, length, strict=strict)

    def _normalised(self, image: Image.Image, index: int, channels: Sequence[int] | None = None) -> Tensor:
        """An upright image of RGB bytes or of numbers, resized and normalised, `(3, H, W)`, or so many chosen channels."""
        height, width = self._resized((image.height, image.width))
        if height > image.height:
            self._enlarged.add(index)
        if (height, width) != (image.height, image.width):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(image, dtype=np.float32))
        pixels = pixels.permute(2, 0, 1) / 255 if image.mode == "RGB" else pixels.clamp(0, 1).expand(3, -1, -1)
        return self._scaled(pixels if channels is None else pixels[list(channels)])

    def _normalised_array(self, array: NDArray[np.float32], index: int) -> Tensor:
        """Numbers `(C, *space)`, resized and normalised."""
        size = self._resized(array.shape[1:])
        if size > array.shape[1:]:
            self._enlarged.add(index)
        if size != array.shape[1:]:
            height, width = size
            bands = [Image.fromarray(band).resize((width, height), Image.Resampling.LANCZOS) for band in array]
            array = np.stack([np.asarray(band) for band in bands])
        return self._scaled(torch.from_numpy(array))

    def _scaled(self, values: Tensor) -> Tensor:
        """Less the mean, over the deviation.

        Raises:
            ImagesError: there are not as many numbers as channels.
        """
        mean, std = (one.reshape(-1, *[1] * (values.ndim - 1)) for one in (self._mean, self._std))
        for name, given in (("mean", mean), ("std", std)):
            if len(given) not in (1, len(values)):
                raise RefusedError(
                    f"has {len(values)} channels and {name} has {len(given)} numbers: give one for each channel, or one for all"
                )
        return ((values - mean) / std).contiguous()

    def _resized(self, size: Sequence[int]) -> tuple[int, ...]:
        if self._short is None:
            return tuple(size)
        if len(size) != 2:
            raise RefusedError(f"has {plural(len(size))}: resize_short_side is for rows and columns; leave it out")
        scale = self._short / min(size)
        return tuple(round(n * scale) for n in size)

    def _checked(self, size: Sequence[int]) -> tuple[int, ...]:
        """The size after resizing, of an image that is small enough before and after."""
        then = self._resized(size)
        before = f" after resizing ({_by(size)} px before)"
        for cells, when in ((tuple(size), ""), (then, before)):
            n, kind = math.prod(cells), CELLS[len(cells)]
            if n > self._most * 1e6:
                raise RefusedError(
                    f"has {_by(cells)} {kind}{when}, {n / 1e6:.4g} {'megapixels' if kind == 'px' else 'million'}, and {self._most:g} are allowed: "
                    "leave it out, crop it, or raise max_megapixels (--max-megapixels)"
                )
        return then


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


class RefusedError(ImagesError):
    """An image of more pixels than allowed, or of other channels than are normalised, which is never skipped."""


class InMemory(Normalised):
    """Pillow images, or arrays of bytes (H, W, 3) or (H, W): pixels, normalised as those of files are; see `ImageFolder`.

    Raises:
        ImagesError: no image, or an option that makes no sense.
    """

    def __init__(self, images: Sequence[Pixels], *, limit: int | None = None, **options: Any) -> None:
        self._images = list(images[:limit])
        kind = type(self._images[0]).__name__
        super().__init__(f"list of {kind} ({count(len(self._images), 'image')})", len(self._images), **options)

    def sizes(self) -> list[tuple[int, ...] | None] | None:
        """(H, W) of every image after turning and resizing.

        Raises:
            ImagesError: one is no image of pixels, or has more of them than `max_megapixels` allows.
        """
        return [self._size(index) for index in range(len(self._images))]

    def _identity(self) -> object:
        return self.sizes(), hashlib.sha256(np.asarray(self._images[0]).tobytes()).hexdigest()

    def _raw(self, rank: int, world: int) -> Iterator[tuple[int, str | None, object]]:
        for index in range(rank, len(self._images), world):
            self._size(index)
            picture, transparent = upright(_as_picture(self._images[index], index))
            if transparent:
                warnings.warn(
                    f"image {index} has transparent pixels: transparency is dropped, not composited",
                    UserWarning,
                    stacklevel=3,
                )
            try:
                image = self._normalised(picture, index)
            except RefusedError as error:
                raise ImagesError(f"image {index} {error}") from error
            yield index, None, image

    def _size(self, index: int) -> tuple[int, ...]:
        picture = _as_picture(self._images[index], index)
        lies = picture.getexif().get(0x0112, 1) >= 5  # EXIF orientations of pictures on their side
        try:
            return self._checked(picture.size if lies else picture.size[::-1])
        except RefusedError as error:
            raise ImagesError(f"image {index} {error}") from error


def _as_picture(image: object, index: int) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3):
            if image.size:
                return Image.fromarray(image)
        elif image.ndim == 3 and image.shape[2] == 1:
            return _as_picture(image[:, :, 0], index)
    what = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise ImagesError(
        f"image {index} is {what} among images of pixels: arrays of pixels are uint8 (H, W, 3) or (H, W); anything else is given as floating "
        "point (C, H, W), normalised as the network was trained"
    )


def _per_channel(name: str, values: Sequence[float]) -> Tensor:
    if not values or not all(math.isfinite(value) for value in values):
        raise ImagesError(f"{name} must be finite numbers, one for each channel or one for all, got {list(values)}")
    return torch.tensor(values, dtype=torch.float32)
