"""Where images come from: folders, files, tensors, datasets and loaders, all turned into one `Source`.

An image's index is its position in what the user gave. It decides the image's group and its crops, so it
never depends on how many processes share the work or on which files turn out to be broken.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
)

from padprint.errors import ImagesError
from padprint.pictures import find_files, header_size, read_upright

Files: TypeAlias = str | Path | Sequence[str] | Sequence[Path]
Images: TypeAlias = Files | Iterable[Tensor] | Dataset[Any] | DataLoader[Any]
_KEYS = ("image", "images", "pixel_values")


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
                    f"{_called(index, name)} has {image.shape[0]} channels and the first image {channels}: "
                    "all images need the same number"
                )
            yield index, image

    def sizes(self) -> list[tuple[int, int] | None] | None:
        """(H, W) in pixels of every image by index, None where unknown; None if unknown without decoding."""
        return None

    @abstractmethod
    def _raw(self, rank: int, world: int) -> Iterator[tuple[int, str | None, object]]:
        """Index, file name where there is one, and unchecked image."""


class ImageFolder(Source):
    """The image files of a folder (recursively), or of an explicit list; sized, indexable and iterable.

    A folder's files are those with a suffix that Pillow can open, hidden ones left out, sorted by their posix
    path below the folder. An image is the first frame as a (3, H, W) float32 tensor, (x - mean) / std with x
    in [0, 1], turned upright by its EXIF orientation. Grey, palette, CMYK and 1-bit images become RGB;
    transparency is dropped, not composited. 16-bit grey is divided by 65535; floating point grey must lie in
    [0, 1].

    Args:
        files: a folder, one image file, or a list of files (kept in the order given).
        mean: per-channel mean the network was trained with.
        std: per-channel standard deviation, likewise, above 0.
        resize_short_side: resize so that the short side has this many pixels (Lanczos, aspect kept).
        strict: raise at the first file that cannot be decoded instead of warning and skipping it.
        limit: take only the first so many files.

    Raises:
        ImagesError: nothing there, no image file, or an option that makes no sense.
    """

    def __init__(
        self,
        files: Files,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        resize_short_side: int | None = None,
        strict: bool = False,
        limit: int | None = None,
    ) -> None:
        self._mean, self._std = _per_channel("mean", mean), _per_channel("std", std)
        if not bool((self._std > 0).all()):
            raise ImagesError(f"std must be above 0, got {list(std)}")
        for option, value in (("resize_short_side", resize_short_side), ("limit", limit)):
            _check_positive(option, value)
        named, where = find_files(files)
        self._files = named[:limit]
        self._short, self._strict = resize_short_side, strict
        super().__init__(f"{where} ({_count(len(self._files), 'image file')})", len(self._files))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Tensor:
        name, path = self._files[index]
        try:
            return self._load(path, range(len(self))[index])
        except Exception as error:  # Pillow raises whatever a damaged file leads it to
            raise ImagesError(f"{name} cannot be decoded: {_reason(error)}") from error

    def __iter__(self) -> Iterator[Tensor]:
        return (image for _, image in self.items())

    def sizes(self) -> list[tuple[int, int] | None] | None:
        """(H, W) of every file after turning and resizing, from the headers; None for unreadable ones.

        A PNG that keeps its orientation behind the pixels is listed unturned.
        """
        found = [header_size(path) for _, path in self._files]
        return [None if size is None else self._resized(*size) for size in found]

    def _raw(self, rank: int, world: int) -> Iterator[tuple[int, str | None, object]]:
        for index in range(rank, len(self), world):
            name = self._files[index][0]
            try:
                image = self[index]
            except ImagesError as error:
                if self._strict:
                    raise
                if name not in self.skipped:
                    self.skipped[name] = _reason(error.__cause__ or error)
                    warnings.warn(f"skipped {name}: {self.skipped[name]}", UserWarning, stacklevel=3)
            else:
                yield index, name, image

    def _load(self, path: Path, index: int) -> Tensor:
        image = read_upright(path)
        height, width = self._resized(image.height, image.width)
        if height > image.height:
            self._enlarged.add(index)
        if (height, width) != (image.height, image.width):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(image, dtype=np.float32))
        pixels = pixels.permute(2, 0, 1) / 255 if image.mode == "RGB" else pixels.clamp(0, 1).expand(3, -1, -1)
        return ((pixels - self._mean) / self._std).contiguous()

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self._short is None:
            return height, width
        scale = self._short / min(height, width)
        return round(height * scale), round(width * scale)


class _Given(Source):
    """Images given as tensors, in any container.

    Of a batch, list or map-style dataset only the wanted images are touched. Anything else is read by every
    process from its start, and each keeps its share.
    """

    def __init__(self, data: Any, limit: int | None) -> None:
        loader, kind = isinstance(data, DataLoader), type(data).__name__
        if isinstance(data, Tensor) and data.ndim != 4:
            raise ImagesError(f"a tensor of images must be (N, C, H, W), got shape {tuple(data.shape)}")
        if isinstance(data, Mapping) or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
            raise ImagesError(f"a {kind} holds no images: pass a folder, tensors, a Dataset or a DataLoader")
        if _length(data) == 0:
            raise ImagesError(f"no image: the {kind} is empty")
        self._data, self._limit = data, limit
        self._indexed = isinstance(data, Tensor | list | tuple) or (
            isinstance(data, Dataset) and not isinstance(data, IterableDataset) and _length(data) is not None
        )
        length = _length(data.sampler if loader else data)
        if length is not None and limit is not None:
            length = min(length, limit)
        kind = f"{kind} of {type(data.dataset).__name__}" if loader else kind
        super().__init__(kind if length is None else f"{kind} ({_count(length, 'image')})", length)

    def sizes(self) -> list[tuple[int, int] | None] | None:
        if not isinstance(self._data, Tensor | list | tuple):
            return None
        shapes: list[Any] = [getattr(image, "shape", ()) for image in self._data[: self.length]]
        return [(int(shape[1]), int(shape[2])) if len(shape) == 3 else None for shape in shapes]

    def _raw(self, rank: int, world: int) -> Iterator[tuple[int, str | None, object]]:
        if self._indexed:
            for index in range(rank, self.length or 0, world):
                yield index, None, _image_of(self._data[index])
            return
        if isinstance(self._data, DataLoader):
            self._check_order(self._data.sampler, world)
            stream: Iterable[object] = _unbatched(self._data)
        else:
            stream = map(_image_of, self._data)
        for index, image in enumerate(islice(stream, self._limit)):
            if index % world == rank:
                yield index, None, image

    def _check_order(self, sampler: object, world: int) -> None:
        if world > 1 and isinstance(sampler, DistributedSampler | RandomSampler | SubsetRandomSampler):
            raise ImagesError(
                f"the {self.description} uses a {type(sampler).__name__}, so that each of {world} processes "
                "gets its own order: pass a loader with shuffle=False, padprint shares out the images"
            )


def as_source(
    images: Images | Source,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    strict: bool = False,
    resize_short_side: int | None = None,
) -> Source:
    """Turn whatever holds images into a `Source`.

    Args:
        images: a folder, a file or a list of files (see `ImageFolder`); or images already normalised: a
            tensor (N, C, H, W), an iterable of (C, H, W) floating point tensors, or a Dataset or DataLoader
            of tensors, of (image, label, ...) or of dicts with "image", "images" or "pixel_values".
        mean: for files only, and required there: per-channel mean.
        std: likewise, per-channel standard deviation.
        limit: take only the first so many images.
        strict: for files, raise at the first undecodable one.
        resize_short_side: for files only, pixels of the short side after resizing.

    Raises:
        ImagesError: nothing there, files without mean and std, or tensors with an option for files.
    """
    _check_positive("limit", limit)
    if are_files(images):
        find_files(images)
        if mean is None or std is None:
            raise ImagesError(
                "mean= and std= are needed: images must be normalised the way the network was trained, for "
                "ImageNet mostly mean=(0.485, 0.456, 0.406) and std=(0.229, 0.224, 0.225)"
            )
        return ImageFolder(images, mean=mean, std=std, resize_short_side=resize_short_side, strict=strict, limit=limit)
    for option, value in (("mean", mean), ("std", std), ("resize_short_side", resize_short_side)):
        if value is not None:
            raise ImagesError(f"{option}= is for image files: tensors are taken as they are, already normalised")
    if isinstance(images, Source):
        if limit is not None:
            raise ImagesError("limit= must be given when the ImageFolder is made")
        return images
    return _Given(images, limit)


def check_image(image: object, index: int, name: str | None = None) -> Tensor:
    """`image` itself, if it is a floating point (C, H, W) tensor of finite numbers.

    Args:
        image: what was given as image.
        index: its index, and
        name: its file name, for the message.

    Raises:
        ImagesError: it is something else.
    """
    called = _called(index, name)
    if not isinstance(image, Tensor):
        raise ImagesError(f"{called} is a {type(image).__name__}: it must be a torch tensor (C, H, W)")
    if not image.is_floating_point():
        raise ImagesError(
            f"{called} is of dtype {str(image.dtype).removeprefix('torch.')}: convert it "
            "(x.float() / 255 for uint8) and normalise it the way the network was trained"
        )
    if image.ndim != 3 or 0 in image.shape:
        raise ImagesError(f"{called} has shape {tuple(image.shape)}: one image is (C, H, W)")
    bad = image.numel() - int(torch.isfinite(image).sum())
    if bad:
        raise ImagesError(f"{called} has {bad} of {image.numel()} values that are NaN or infinite")
    return image


def nothing_decoded(source: Source) -> ImagesError:
    """The error to raise when all processes together got no image out of `source`."""
    if source.skipped:
        name, reason = next(iter(source.skipped.items()))
        return ImagesError(
            f"no image left: {_count(len(source.skipped), 'file')} of {source.description} could not be "
            f"decoded, the first {name}: {reason}"
        )
    return ImagesError(f"no image in {source.description} (a generator can be read only once)")


def _image_of(sample: Any) -> object:
    """The image in a dataset's sample."""
    if isinstance(sample, Mapping):
        found = [sample[key] for key in _KEYS if key in sample]
        if not found:
            raise ImagesError(f"a sample has the keys {list(sample)}: none of {', '.join(_KEYS)}")
        return found[0]
    return sample[0] if isinstance(sample, tuple | list) and sample else sample


def _unbatched(loader: DataLoader[Any]) -> Iterator[object]:
    """The images in a loader's batches, one by one; without a batch sampler it may yield single samples."""
    for batch in loader:
        images = _image_of(batch)
        single = isinstance(images, Tensor) and images.ndim == 3
        if single and isinstance(batch, tuple | list) and loader.batch_sampler is not None:
            images = batch  # not (images, labels) but a list of images, as for differing sizes
        if isinstance(images, tuple | list) or (isinstance(images, Tensor) and images.ndim == 4):
            yield from images
        else:
            yield images


def are_files(images: object) -> TypeGuard[Files]:
    """Whether `images` names a folder or files, as opposed to holding tensors."""
    listed = isinstance(images, list | tuple) and bool(images) and isinstance(images[0], str | Path)
    return listed or isinstance(images, str | Path)


def _per_channel(name: str, values: Sequence[float]) -> Tensor:
    if len(values) != 3 or not all(math.isfinite(value) for value in values):
        raise ImagesError(f"{name} must be 3 finite numbers (red, green, blue), got {list(values)}")
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _check_positive(option: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ImagesError(f"{option} must be 1 or more, got {value}")


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except (TypeError, NotImplementedError):
        return None


def _called(index: int, name: str | None) -> str:
    return f"image {index}" if name is None else f"image {index} ({name})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
