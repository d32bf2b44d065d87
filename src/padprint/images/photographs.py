"""Image files, and whatever else holds images, turned into a `Source`."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from padprint.errors import ImagesError, readable
from padprint.images.bands import bands_size, can_read_tiffs, is_bands, is_tiff, read_bands
from padprint.images.files import CutError, find_files, header_size, look_for_files, read_upright, upright
from padprint.images.source import Source, check_positive
from padprint.images.tensors import TensorScenes
from padprint.support.wording import count

Files: TypeAlias = str | Path | Sequence[str] | Sequence[Path]
MAX_MEGAPIXELS = 160
"""The default of ``max_megapixels``: above the sensors of cameras, below what takes a computer's whole memory."""
Pixels: TypeAlias = Image.Image | NDArray[Any]
Images: TypeAlias = Files | Pixels | Sequence[Pixels] | Iterable[Tensor] | Dataset[Any] | DataLoader[Any]


class _Photographs(Source):
    """Images of pixels, which are resized and normalised: files, or images in memory.

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

    def _normalised(self, image: Image.Image, index: int) -> Tensor:
        """An upright image of RGB bytes or of numbers, resized and normalised, `(3, H, W)`."""
        height, width = self._resized(image.height, image.width)
        if height > image.height:
            self._enlarged.add(index)
        if (height, width) != (image.height, image.width):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(image, dtype=np.float32))
        pixels = pixels.permute(2, 0, 1) / 255 if image.mode == "RGB" else pixels.clamp(0, 1).expand(3, -1, -1)
        return self._scaled(pixels)

    def _normalised_bands(self, bands: NDArray[np.float32], index: int) -> Tensor:
        """Bands `(C, H, W)`, resized and normalised."""
        height, width = self._resized(*bands.shape[1:])
        if height > bands.shape[1]:
            self._enlarged.add(index)
        if (height, width) != bands.shape[1:]:
            size = (width, height)
            bands = np.stack(
                [np.asarray(Image.fromarray(band).resize(size, Image.Resampling.LANCZOS)) for band in bands]
            )
        return self._scaled(torch.from_numpy(bands))

    def _scaled(self, pixels: Tensor) -> Tensor:
        """Less the mean, over the deviation.

        Raises:
            ImagesError: there are not as many numbers as channels.
        """
        for name, values in (("mean", self._mean), ("std", self._std)):
            if len(values) not in (1, len(pixels)):
                raise _RefusedError(
                    f"has {len(pixels)} channels and {name} has {len(values)} numbers: give one for each channel, or one for all"
                )
        return ((pixels - self._mean) / self._std).contiguous()

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self._short is None:
            return height, width
        scale = self._short / min(height, width)
        return round(height * scale), round(width * scale)

    def _checked(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing, of an image that is small enough before and after."""
        size = self._resized(height, width)
        for (rows, columns), when in (((height, width), ""), (size, f" after resizing ({height}x{width} px before)")):
            if rows * columns > self._most * 1e6:
                raise _RefusedError(
                    f"has {rows}x{columns} px{when}, {rows * columns / 1e6:.4g} megapixels, and {self._most:g} are allowed: "
                    "leave it out, crop it, or raise max_megapixels (--max-megapixels)"
                )
        return size


class InMemory(_Photographs):
    """Pillow images, or arrays of bytes (H, W, 3) or (H, W): pixels, normalised as those of files are; see `ImageFolder`.

    Raises:
        ImagesError: no image, or an option that makes no sense.
    """

    def __init__(self, images: Sequence[Pixels], *, limit: int | None = None, **options: Any) -> None:
        self._images = list(images[:limit])
        kind = type(self._images[0]).__name__
        super().__init__(f"list of {kind} ({count(len(self._images), 'image')})", len(self._images), **options)

    def sizes(self) -> list[tuple[int, int] | None] | None:
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
            except _RefusedError as error:
                raise ImagesError(f"image {index} {error}") from error
            yield index, None, image

    def _size(self, index: int) -> tuple[int, int]:
        picture = _as_picture(self._images[index], index)
        lies = picture.getexif().get(0x0112, 1) >= 5  # EXIF orientations of pictures on their side
        try:
            return self._checked(*(picture.size if lies else picture.size[::-1]))
        except _RefusedError as error:
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


class ImageFolder(_Photographs):
    """The image files of a folder (recursively), or of an explicit list; sized, indexable and iterable.

    A folder's files are those with a suffix that Pillow can open, hidden ones left out, sorted by their posix
    path below the folder; links to folders, links that lead nowhere, pipes and the like are left out and counted
    among the skipped. An image (files of several pages or frames are refused) is a (3, H, W) float32 tensor, (x - mean) / std with x
    in [0, 1], turned upright by its EXIF orientation. Grey, palette, CMYK and 1-bit images become RGB;
    transparency is dropped, not composited, with a warning where it hid something. 16-bit grey is divided by 65535;
    floating point grey must lie in [0, 1]. A file of which bits or bands would be cut (colours of more than 8 bits, TIFFs
    of more than three colours) cannot be used, but for TIFFs where tifffile is installed, which reads them whole.

    Arrays (``.npy``, and ``.npz`` with one array; of a folder only where it holds no pictures) and what tifffile reads are images of any
    number of bands: (H, W), or bands first or last, whichever axis is the shorter; of a TIFF, as it says. Unsigned whole numbers are
    divided by the largest of their kind, others are taken as they are.

    Args:
        files: a folder, one image file, or a list of files (kept in the order given).
        mean: mean the network was trained with, for each channel or one for all.
        std: standard deviation, likewise, above 0.
        resize_short_side: resize so that the short side has this many pixels (Lanczos, aspect kept).
        strict: raise at the first file that cannot be used instead of warning, skipping and counting it.
        limit: take only the first so many files.
        max_megapixels: most pixels of an image, in millions, before and after resizing; None: 160. A larger one is an
            error, which its header tells before anything is decoded.

    Raises:
        ImagesError: nothing there, no image file, or an option that makes no sense.
    """

    named = True

    def __init__(
        self,
        files: Files,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        resize_short_side: int | None = None,
        strict: bool = False,
        limit: int | None = None,
        max_megapixels: float | None = None,
    ) -> None:
        check_positive("limit", limit)
        found, where, self._left_out = look_for_files(files)
        self._files = found[:limit]
        self._told = False
        self._transparent: set[int] = set()
        super().__init__(
            f"{where} ({count(len(self._files), 'image file')})",
            len(self._files),
            mean=mean,
            std=std,
            resize_short_side=resize_short_side,
            strict=strict,
            max_megapixels=max_megapixels,
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Tensor:
        name, path = self._files[index]
        try:
            return self._load(path, range(len(self))[index])
        except _RefusedError as error:
            raise ImagesError(f"{name} {error}") from error
        except Exception as error:  # Pillow raises whatever a damaged file leads it to
            raise ImagesError(_said(name, _reason(error, name, path))) from error

    def __iter__(self) -> Iterator[Tensor]:
        return (image for _, image in self.items())

    def sizes(self) -> list[tuple[int, int] | None] | None:
        """(H, W) of every file after turning and resizing, from the headers; None for unreadable ones.

        A PNG that keeps its orientation behind the pixels is listed unturned.

        Raises:
            ImagesError: one has more pixels than `max_megapixels` allows.
        """
        found: list[tuple[int, int] | None] = []
        for name, path in self._files:
            size = None if is_bands(path) else header_size(path)
            size = size or (bands_size(path) if is_bands(path) or is_tiff(path) else None)
            try:
                found.append(None if size is None else self._checked(*size))
            except _RefusedError as error:
                raise ImagesError(f"{name} {error}") from error
        return found

    def called(self, index: int) -> str:
        """The file's name."""
        return self._files[index][0]

    def _identity(self) -> object:
        return [(name, path.stat().st_size) for name, path in self._files]

    def _raw(self, rank: int, world: int) -> Iterator[tuple[int, str | None, object]]:
        for name, reason in self._left_out.items():
            self._skip(name, reason, _said(name, reason))
        for index in range(rank, len(self), world):
            name, path = self._files[index]
            try:
                image = self[index]
            except ImagesError as error:
                if isinstance(error.__cause__, _RefusedError):
                    raise
                self._skip(name, _reason(error.__cause__ or error, name, path), str(error))
            else:
                if index in self._transparent and not self._told:
                    self._told = True
                    warnings.warn(
                        f"{name} has transparent pixels: transparency is dropped, the colours behind it are taken as they "
                        "are stored (said once, for the first such file)",
                        UserWarning,
                        stacklevel=3,
                    )
                yield index, name, image

    def _load(self, path: Path, index: int) -> Tensor:
        if is_bands(path):
            return self._normalised_bands(read_bands(path, self._checked), index)
        try:
            image, transparent = read_upright(path, self._checked)
        except (CutError, UnidentifiedImageError):
            if is_tiff(path) and can_read_tiffs():
                return self._normalised_bands(read_bands(path, self._checked), index)
            raise
        if transparent:
            self._transparent.add(index)
        return self._normalised(image, index)


class _RefusedError(ImagesError):
    """An image of more pixels than allowed, or of other channels than are normalised, which is never skipped."""


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
        images: pixels: a folder, a file or a list of files (see `ImageFolder`), Pillow images, or arrays of bytes (H, W, 3)
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
            find_files(images)
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


def are_files(images: object) -> TypeGuard[Files]:
    """Whether `images` names a folder or files, as opposed to holding tensors."""
    listed = isinstance(images, list | tuple) and bool(images) and isinstance(images[0], str | Path)
    return listed or isinstance(images, str | Path)


def _per_channel(name: str, values: Sequence[float]) -> Tensor:
    if not values or not all(math.isfinite(value) for value in values):
        raise ImagesError(f"{name} must be finite numbers, one for each channel or one for all, got {list(values)}")
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _reason(error: BaseException, name: str, path: Path) -> str:
    """Why a file cannot be used, in one line that names no folder."""
    kind = "" if isinstance(error, ImagesError) else f"{type(error).__name__}: "
    line = f"{kind}{error}".splitlines()[0]
    for folder in (path, path.absolute()):
        for spelled in (repr(folder), repr(str(folder)), str(folder)):
            line = line.replace(spelled, name)
    return readable(line)


def _said(name: str, reason: str) -> str:
    return f"{name} cannot be decoded: {reason}"
