"""What every kind of images is to the engine: a `Source` of numbered `(C, *space)` tensors of one to three space axes, shared out over processes.

An image's index is its position in what the user gave. It decides the image's group and its crops, so it
never depends on how many processes share the work or on which files turn out to be broken.
"""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padprint.errors import ImagesError
from padprint.support.axes import plural
from padprint.support.wording import count


class Source(ABC):
    """Images with fixed indices, shared out over processes.

    Attributes:
        description: what the images are, without absolute paths.
        length: how many images there are at most, or None where that is unknown.
        strict: whether an image that cannot be used is an error instead of being skipped and counted.
        skipped: what this process could not use, with the reason: by file name, or as "image 3" where there is none.
        named: whether the images are files.
    """

    named = False

    def __init__(self, description: str, length: int | None, *, strict: bool = False) -> None:
        self.description = description
        self.length = length
        self.strict = strict
        self.skipped: dict[str, str] = {}
        self._enlarged: set[int] = set()

    @property
    def upsampled(self) -> int:
        """How many of the images this process decoded were enlarged."""
        return len(self._enlarged)

    def items(self, rank: int = 0, world: int = 1) -> Iterator[tuple[int, Tensor]]:
        """The images whose index is `rank` modulo `world`, in order.

        Yields:
            the index and the (C, *space) floating point image. Files that cannot be decoded, and images with values that
            are NaN or infinite, leave a gap.

        Raises:
            ImagesError: an image is not as `check_image` wants it, or has not as many channels or axes as the first; or, where
                `strict`, one has values that are not finite.
        """
        first: Tensor | None = None
        for index, name, raw in self._raw(rank, world):
            try:
                image = check_image(raw, index, name)
            except _NotFiniteError as error:
                reason = str(error).removeprefix(called(index, name)).strip()
                self._skip(name or called(index, None), reason, str(error))
                continue
            first = image if first is None else first
            if image.ndim != first.ndim:
                raise ImagesError(
                    f"{called(index, name)} has {plural(image.ndim - 1)} and the first image {first.ndim - 1}: "
                    "all images need the same number; of files, axes (--axes) says how they are read"
                )
            if image.shape[0] != first.shape[0]:
                raise ImagesError(
                    f"{called(index, name)} has {image.shape[0]} channels and the first image {first.shape[0]}: "
                    "all images need the same number"
                )
            yield index, image

    def sizes(self) -> list[tuple[int, ...] | None] | None:
        """The size of every image in space by index, cells, None where unknown; None if unknown without decoding."""
        return None

    @property
    def record(self) -> dict[str, Any]:
        """What is known of the images beyond their numbers, once one of them was read, in plain values.

        Of files that readers read: "axes" (how many), "channels" (which of them, by name or number, where some were chosen or have
        names), "sample_rate" (per second), "spacing" (mm, by space axis), "orientation" (see `Contents`); each where it is known.
        """
        return {}

    def called(self, index: int) -> str:
        """How messages name an image: by its file, where it is one."""
        return called(index, None)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over what tells these images from others without reading them: how many, names, sizes.

        The same in every process that was given the same images; of what can only be read through, once it was.
        """
        return hashlib.sha256(repr(self._identity()).encode("utf-8", "backslashreplace")).hexdigest()

    def _identity(self) -> object:
        """What `fingerprint` is taken over; its `repr` must be the same in every process."""
        return self.length

    def _skip(self, name: str, reason: str, error: str) -> None:
        """Count an image that cannot be used, and say so once; `error` is the message where the source is strict."""
        if self.strict:
            raise ImagesError(error)
        if name not in self.skipped:
            self.skipped[name] = reason
            warnings.warn(f"skipped {name}: {reason}", UserWarning, stacklevel=4)

    @abstractmethod
    def _raw(self, rank: int, world: int) -> Iterator[tuple[int, str | None, object]]:
        """Index, file name where there is one, and unchecked image."""


class _NotFiniteError(ImagesError):
    """An image with values that are no numbers, which may be skipped."""


def fingerprint(image: Tensor) -> str:
    """Sixteen hexadecimal digits that tell images apart."""
    values = image.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.blake2s(values.tobytes() + str(values.shape).encode(), digest_size=8).hexdigest()


def check_image(image: object, index: int, name: str | None = None) -> Tensor:
    """The image, if it is a finite floating point tensor of shape (C, *space), one to three space axes, without empty sides.

    Args:
        image: what was given as image.
        index: its index, and
        name: its file name, for the message.

    Raises:
        ImagesError: it is something else.
    """
    what = called(index, name)
    if isinstance(image, np.ndarray) and image.dtype.kind in "fiub":
        image = torch.from_numpy(np.ascontiguousarray(image, image.dtype.newbyteorder("=")))
    if isinstance(image, Tensor) and (image.is_meta or image.layout is not torch.strided or image.is_nested):
        kind = "nested" if image.is_nested else "meta" if image.is_meta else str(image.layout).removeprefix("torch.")
        raise ImagesError(f"{what} is a {kind} tensor: give numbers, a dense tensor (C, H, W)")
    if not isinstance(image, Tensor):
        raise ImagesError(f"{what} is a {type(image).__name__}: it must be a torch tensor or NumPy array (C, H, W)")
    if not image.is_floating_point():
        raise ImagesError(
            f"{what} is of dtype {str(image.dtype).removeprefix('torch.')}: convert it "
            "(x.float() / 255 for uint8) and normalise it the way the network was trained"
        )
    if image.ndim not in (2, 3, 4) or 0 in image.shape:
        raise ImagesError(
            f"{what} has shape {tuple(image.shape)}: one image is (C, H, W), a waveform (C, T), a volume (C, D, H, W)"
        )
    bad = image.numel() - int(torch.isfinite(image).sum())
    if bad:
        raise _NotFiniteError(f"{what} has {bad} of {image.numel()} values that are NaN or infinite")
    return image


def nothing_decoded(source: Source, skipped: Mapping[str, str] | None = None) -> ImagesError:
    """The error to raise when there was no image to use in `source`.

    Args:
        source: the images.
        skipped: what all processes together could not use; None: what this one could not.
    """
    skipped = source.skipped if skipped is None else skipped
    if skipped:
        name, reason = next(iter(skipped.items()))
        return ImagesError(
            f"no image left: {count(len(skipped), 'file' if source.named else 'image')} of {source.description} could "
            f"not be used, the first {name}: {reason}"
        )
    return ImagesError(f"no image in {source.description} (a generator can be read only once)")


def check_positive(option: str, value: int | None) -> None:
    """Raise ImagesError where a number is given and is below 1."""
    if value is not None and value < 1:
        raise ImagesError(f"{option} must be 1 or more, got {value}")


def called(index: int, name: str | None) -> str:
    """How messages name an image."""
    return f"image {index}" if name is None else f"image {index} ({name})"
