"""Images given as tensors, in any container: iterables, datasets, loaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

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
from padprint.source import Source, count

_KEYS = ("image", "images", "pixel_values")


class Given(Source):
    """Images that are tensors already, in any container.

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
        super().__init__(kind if length is None else f"{kind} ({count(length, 'image')})", length)

    def sizes(self) -> list[tuple[int, int] | None] | None:
        """(H, W) of every tensor of a batch or list; None for datasets and streams, which would have to be read."""
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


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except (TypeError, NotImplementedError):
        return None
