"""Whatever holds images, turned into a `Source`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from padprint.errors import ImagesError
from padprint.images.contents import Files, Paths
from padprint.images.files import find_files
from padprint.images.folder import ImageFolder
from padprint.images.pixels import InMemory, Pixels
from padprint.images.source import Source, check_positive
from padprint.images.tensors import TensorScenes

Images: TypeAlias = Paths | Files | Pixels | Sequence[Pixels] | Iterable[Tensor] | Dataset[Any] | DataLoader[Any]


def as_source(
    images: Images | Source,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    strict: bool = False,
    resize_short_side: int | None = None,
    max_megapixels: float | None = None,
) -> Source:
    """Turn whatever holds images into a `Source`.

    Args:
        images: pixels: a folder, a file or a list of files (see `ImageFolder`), `Files`, Pillow images, or arrays of bytes (H, W, 3)
            or (H, W), one, a list or (N, H, W, 3). Or images already normalised: a tensor or floating point array
            (N, C, H, W), an iterable of (C, H, W) floating point tensors or arrays, or a Dataset or DataLoader of them, of
            (image, label, ...) or of dicts with "image", "images" or "pixel_values".
        mean: for pixels only, and required there: per-channel mean.
        std: likewise, per-channel standard deviation.
        limit: take only the first so many images.
        strict: an image that cannot be used (an undecodable file, values that are NaN or infinite) is an error
            instead of being skipped and counted, with a warning.
        resize_short_side: for pixels only, pixels of the short side after resizing.
        max_megapixels: for pixels only, see `ImageFolder`.

    Raises:
        ImagesError: nothing there, files without mean and std, or tensors with an option for files.
    """
    check_positive("limit", limit)
    if holds_pixels(images):
        if are_files(images):
            find_files(images)  # a path that leads nowhere is told first
        if mean is None or std is None:
            raise ImagesError(
                "mean= and std= are needed: images must be normalised the way the network was trained, for "
                "ImageNet mostly mean=(0.485, 0.456, 0.406) and std=(0.229, 0.224, 0.225)"
            )
        options: dict[str, Any] = {
            "mean": mean,
            "std": std,
            "resize_short_side": resize_short_side,
            "strict": strict,
            "limit": limit,
            "max_megapixels": max_megapixels,
        }
        return ImageFolder(images, **options) if are_files(images) else InMemory(_listed_pixels(images), **options)
    for_files = {"mean": mean, "std": std, "resize_short_side": resize_short_side, "max_megapixels": max_megapixels}
    for option, value in for_files.items():
        if value is not None:
            raise ImagesError(
                f"{option}= is for image files, Pillow images and arrays of bytes: tensors are taken as they are, already "
                "normalised"
            )
    if isinstance(images, Source):
        if limit is not None:
            raise ImagesError("limit= must be given when the ImageFolder is made")
        return images
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images)
    return TensorScenes(images, limit, strict=strict)


def holds_pixels(images: object) -> bool:
    """Whether `images` are files, Pillow images or arrays of bytes, which are normalised here, as opposed to tensors."""
    first = images[0] if isinstance(images, list | tuple) and images else images
    return (
        are_files(images)
        or isinstance(first, Image.Image)
        or (isinstance(first, np.ndarray) and first.dtype == np.uint8)
    )


def _listed_pixels(images: Any) -> list[Pixels]:
    """One image of pixels, a list of them, or an array (N, H, W, 3), as a list."""
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    return list(images) if isinstance(images, list | tuple) else [images]


def are_files(images: object) -> TypeGuard[Paths | Files]:
    """Whether `images` names a folder or files, as opposed to holding tensors."""
    if isinstance(images, Files):
        return True
    listed = isinstance(images, list | tuple) and bool(images) and isinstance(images[0], str | Path)
    return listed or isinstance(images, str | Path)
