"""Images given as tensors, in any container: iterables, datasets, loaders."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    default_collate,
)

from padprint.errors import ImagesError
from padprint.images.source import Source
from padprint.support.wording import count

_KEYS = ("image", "images", "pixel_values")


class TensorScenes(Source):
    """Images that are tensors already, in any container.

    Of a batch, list or map-style dataset only the wanted images are touched. Anything else is read by every
    process from its start, and each keeps its share. Reading leaves random numbers as found: the global ones of torch,
    NumPy and Python, and the generators of a loader and its samplers.

    Args:
        data: the container.
        limit: take only the first so many images.
        strict: see `Source`.

    Raises:
        ImagesError: it holds no images.
    """

    def __init__(self, data: Any, limit: int | None = None, *, strict: bool = False) -> None:
        loader, kind = isinstance(data, DataLoader), type(data).__name__
        if isinstance(data, Tensor) and data.ndim not in (3, 4, 5):
            raise ImagesError(
                f"a tensor of images must be (N, C, H, W), of waveforms (N, C, T), of volumes (N, C, D, H, W), got shape {tuple(data.shape)}"
            )
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
        super().__init__(kind if length is None else f"{kind} ({count(length, 'image')})", length, strict=strict)
        self._read: int | None = None

    def sizes(self) -> list[tuple[int, ...] | None] | None:
        """The size in space of every tensor of a batch or list; None for datasets and streams, which would have to be read."""
        if not isinstance(self._data, Tensor | list | tuple):
            return None
        shapes: list[Any] = [getattr(image, "shape", ()) for image in self._data[: self.length]]
        return [tuple(map(int, shape[1:])) if len(shape) in (2, 3, 4) else None for shape in shapes]

    def _identity(self) -> object:
        if not isinstance(self._data, Tensor | list | tuple):
            return self.length, self._read
        return self.sizes(), _digest(self._data[0])

    def _raw(self, rank: int, world: int) -> Iterator[tuple[int, str | None, object]]:
        apart = _Apart(self._data)
        if self._indexed:
            for index in range(rank, self.length or 0, world):
                with apart():
                    image = _image_of(self._data[index])
                yield index, None, image
            return
        if isinstance(self._data, DataLoader):
            self._check_order(world)
            stream: Iterable[object] = _unbatched(self._data)
        else:
            stream = map(_image_of, self._data)
        numbered = enumerate(islice(stream, self._limit))
        self._read = 0
        while True:
            with apart():
                index, image = next(numbered, (-1, None))
            if index < 0:
                return
            self._read = index + 1
            if index % world == rank:
                yield index, None, image

    def _check_order(self, world: int) -> None:
        if world == 1:
            return
        for sampler in _samplers(self._data):
            if isinstance(sampler, DistributedSampler | RandomSampler | SubsetRandomSampler):
                raise ImagesError(
                    f"the {self.description} uses a {type(sampler).__name__}, so that each of {world} processes "
                    "gets its own order: pass a loader with shuffle=False, padprint shares out the images"
                )


class _Apart:
    """Random numbers for reading alone: they go on from read to read, and nobody else's move.

    Args:
        data: a loader's generators, and those of its samplers, are among them.
    """

    def __init__(self, data: Any) -> None:
        holders = [data, *_samplers(data)] if isinstance(data, DataLoader) else []
        held = [getattr(holder, "generator", None) for holder in holders]
        own = [torch.default_generator, *(one for one in held if isinstance(one, torch.Generator))]
        self._generators = list({id(one): one for one in own}.values())
        self._states: list[Any] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        outside = self._get()
        if self._states is not None:
            self._set(self._states)
        try:
            yield
        finally:
            self._states = self._get()
            self._set(outside)

    def _get(self) -> list[Any]:
        return [random.getstate(), np.random.get_state(), *(one.get_state() for one in self._generators)]

    def _set(self, states: list[Any]) -> None:
        python, legacy, *rest = states
        random.setstate(python)
        np.random.set_state(legacy)
        for generator, state in zip(self._generators, rest, strict=True):
            generator.set_state(state)


def _samplers(loader: DataLoader[Any]) -> list[Any]:
    """A loader's sampler and batch sampler, and what these draw from."""
    found: list[Any] = []
    waiting = [loader.sampler, loader.batch_sampler]
    while waiting:
        one = waiting.pop()
        if one is not None and not any(one is other for other in found):
            found.append(one)
            waiting += [getattr(one, "sampler", None), getattr(one, "batch_sampler", None)]
    return found


def _digest(image: object) -> str:
    """SHA-256 (hex) of a tensor's values; "" of anything else."""
    if not isinstance(image, Tensor) or image.layout is not torch.strided:
        return ""
    values = image.detach().to("cpu", torch.float32).contiguous()
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


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
    loader = copy.copy(loader)
    loader._iterator = None  # workers that are kept for the next epoch go on with the owner's
    collated = loader.batch_sampler is not None and loader.collate_fn is default_collate
    for batch in loader:
        images = _image_of(batch)
        if collated and isinstance(images, Tensor):
            yield from images  # whatever its number of axes
            continue
        single = isinstance(images, Tensor) and images.ndim == 3
        if single and isinstance(batch, tuple | list) and loader.batch_sampler is not None:
            images = batch  # not (images, labels) but a list of images, as for differing sizes
        if isinstance(images, tuple | list) or (isinstance(images, Tensor) and images.ndim > 3):
            yield from images
        else:
            yield images


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except (TypeError, NotImplementedError):
        return None
