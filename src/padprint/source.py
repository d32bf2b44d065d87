"""What every kind of images is to the engine: a `Source` of numbered `(C, H, W)` tensors, shared out over processes.

An image's index is its position in what the user gave. It decides the image's group and its crops, so it
never depends on how many processes share the work or on which files turn out to be broken.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from padprint.errors import ImagesError


class Source(ABC):
    """Images with fixed indices, shared out over processes.

    Attributes:
        description: what the images are, without absolute paths.
        length: how many images there are at most, or None where that is unknown.
        skipped: the files this process could not decode, with the reason.
    """

    def __init__(self, description: str, length: int | None) -> None:
        self.description = description
        self.length = length
        self.skipped: dict[str, str] = {}
        self._enlarged: set[int] = set()

    @property
    def upsampled(self) -> int:
        """How many of the images this process decoded were enlarged."""
        return len(self._enlarged)

    def items(self, rank: int = 0, world: int = 1) -> Iterator[tuple[int, Tensor]]:
        """The images whose index is `rank` modulo `world`, in order.

        Yields:
            the index and the (C, H, W) floating point image. Undecodable files leave a gap.

        Raises:
            ImagesError: an image is not as `check_image` wants it, or has not as many channels as the first.
        """
        channels: int | None = None
        for index, name, raw in self._raw(rank, world):
            image = check_image(raw, index, name)
            channels = channels or image.shape[0]
            if image.shape[0] != channels:
                raise ImagesError(
                    f"{called(index, name)} has {image.shape[0]} channels and the first image {channels}: "
                    "all images need the same number"
                )
            yield index, image

    def sizes(self) -> list[tuple[int, int] | None] | None:
        """(H, W) in pixels of every image by index, None where unknown; None if unknown without decoding."""
        return None

    @abstractmethod
    def _raw(self, rank: int, world: int) -> Iterator[tuple[int, str | None, object]]:
        """Index, file name where there is one, and unchecked image."""


def check_image(image: object, index: int, name: str | None = None) -> Tensor:
    """`image` itself, if it is a floating point (C, H, W) tensor of finite numbers.

    Args:
        image: what was given as image.
        index: its index, and
        name: its file name, for the message.

    Raises:
        ImagesError: it is something else.
    """
    what = called(index, name)
    if not isinstance(image, Tensor):
        raise ImagesError(f"{what} is a {type(image).__name__}: it must be a torch tensor (C, H, W)")
    if not image.is_floating_point():
        raise ImagesError(
            f"{what} is of dtype {str(image.dtype).removeprefix('torch.')}: convert it "
            "(x.float() / 255 for uint8) and normalise it the way the network was trained"
        )
    if image.ndim != 3 or 0 in image.shape:
        raise ImagesError(f"{what} has shape {tuple(image.shape)}: one image is (C, H, W)")
    bad = image.numel() - int(torch.isfinite(image).sum())
    if bad:
        raise ImagesError(f"{what} has {bad} of {image.numel()} values that are NaN or infinite")
    return image


def nothing_decoded(source: Source) -> ImagesError:
    """The error to raise when all processes together got no image out of `source`."""
    if source.skipped:
        name, reason = next(iter(source.skipped.items()))
        return ImagesError(
            f"no image left: {count(len(source.skipped), 'file')} of {source.description} could not be "
            f"decoded, the first {name}: {reason}"
        )
    return ImagesError(f"no image in {source.description} (a generator can be read only once)")


def check_positive(option: str, value: int | None) -> None:
    """Raise ImagesError where a number is given and is below 1."""
    if value is not None and value < 1:
        raise ImagesError(f"{option} must be 1 or more, got {value}")


def called(index: int, name: str | None) -> str:
    """How messages name an image."""
    return f"image {index}" if name is None else f"image {index} ({name})"


def count(number: int, what: str) -> str:
    """A number and a noun."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
