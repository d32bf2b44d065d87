"""Image files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from padprint.errors import ImagesError, MissingPackageError, readable
from padprint.images.agreement import by, check_amount, chosen, differences
from padprint.images.contents import Contents, Files, Paths, Reader
from padprint.images.files import look_for_files
from padprint.images.pictures import header_size, read_upright, reads_whole
from padprint.images.pixels import Normalised, RefusedError
from padprint.images.readers import reader_of
from padprint.images.source import check_positive
from padprint.images.tiffs import can_read_tiffs, is_tiff
from padprint.support.axes import plural
from padprint.support.wording import count


class ImageFolder(Normalised):
    """The image files of a folder (recursively), or of an explicit list; sized, indexable and iterable.

    A folder's files are those with a suffix that Pillow can open, and where there are none those that readers read, hidden ones left
    out, sorted by their posix path below the folder; links to folders, links that lead nowhere, pipes and the like are left out and
    counted among the skipped. An image is a (C, *space) float32 tensor, (x - mean) / std.

    A picture (files of several pages or frames are refused) has C = 3 and x in [0, 1], turned upright by its EXIF orientation. Grey,
    palette, CMYK and 1-bit images become RGB; transparency is dropped, not composited, with a warning where it hid something. 16-bit
    grey is divided by 65535; floating point grey must lie in [0, 1]. A file of which bits or bands would be cut (colours of more than 8
    bits, TIFFs of more than three colours) cannot be used, but for TIFFs where tifffile is installed, which reads them whole.

    Readers (see `padprint.scenes.register_reader`) read arrays (``.npy``, and ``.npz`` with one array; Zarr), TIFFs that Pillow would cut,
    waveforms (WAV, FLAC, MiniSEED) and volumes (NIfTI, stacks of a TIFF), with all channels. In arrays without names of axes channels
    come first or last, whichever axis is the shorter. Of TIFFs and arrays, unsigned whole numbers are divided by the largest of their
    kind, others are taken as they are. How many space axes there are, which channels are read, and what cells measure where files do
    not say it, is told by `Files`; all files must agree on rate, spacing, orientation and names of channels.

    Args:
        files: a folder, one image file, or a list of files (kept in the order given), or `Files`, which say how they are read.
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
        files: Paths | Files,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        resize_short_side: int | None = None,
        strict: bool = False,
        limit: int | None = None,
        max_megapixels: float | None = None,
    ) -> None:
        check_positive("limit", limit)
        self._asked = files if isinstance(files, Files) else Files(files)
        self._first: tuple[str, Contents] | None = None
        found, where, self._left_out = look_for_files(self._asked)
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
            return self._load(name, path, range(len(self))[index])
        except RefusedError as error:
            raise ImagesError(f"{name} {error}") from error
        except MissingPackageError:
            raise
        except Exception as error:  # Pillow raises whatever a damaged file leads it to
            raise ImagesError(_said(name, _reason(error, name, path))) from error

    def __iter__(self) -> Iterator[Tensor]:
        return (image for _, image in self.items())

    def sizes(self) -> list[tuple[int, ...] | None] | None:
        """The size of every file in space, after turning and resizing, from the headers; None for unreadable ones.

        A PNG that keeps its orientation behind the pixels is listed unturned.

        Raises:
            ImagesError: one has more cells than `max_megapixels` allows, or another sample rate, spacing, orientation or other names of
                channels than the first.
        """
        return [self._size(name, path) for name, path in self._files]

    def _size(self, name: str, path: Path) -> tuple[int, ...] | None:
        reader = self._reader(path)
        try:
            size = header_size(path) if reader is None else self._contents(reader, name, path).shape[1:]
            return None if size is None else self._checked(size)
        except RefusedError as error:
            raise ImagesError(f"{name} {error}") from error
        except Exception:  # noqa: BLE001  # as for reading, where the reason is reported
            return None

    @property
    def record(self) -> dict[str, Any]:
        """See `Source.record`."""
        asked, (_, first) = self._asked, self._first or ("", None)
        names = first.names if first is not None else ()
        taken = asked.channels
        if names:
            taken = [names[i] for i in chosen(names, len(names), taken)]
        known = {
            "axes": None if first is None else len(first.shape) - 1,
            "channels": None if taken is None else list(taken),
            "sample_rate": None if first is None else first.sample_rate,
            "spacing": None if first is None or first.spacing is None else list(first.spacing),
            "orientation": None if first is None else first.orientation,
        }
        return {key: value for key, value in known.items() if value is not None}

    def called(self, index: int) -> str:
        """The file's name."""
        return self._files[index][0]

    def _identity(self) -> object:
        files = [(name, path.stat().st_size) for name, path in self._files]
        asked = self._asked.axes, self._asked.channels, self._asked.sample_rate, self._asked.spacing
        return files if asked == (None,) * 4 else (files, asked)

    def _raw(self, rank: int, world: int) -> Iterator[tuple[int, str | None, object]]:
        for name, reason in self._left_out.items():
            self._skip(name, reason, _said(name, reason))
        for index in range(rank, len(self), world):
            name, path = self._files[index]
            try:
                image = self[index]
            except ImagesError as error:
                if isinstance(error.__cause__, RefusedError):
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

    def _reader(self, path: Path) -> Reader | None:
        """The reader of a file; None where Pillow reads it, or is to say why it does not."""
        reader = reader_of(path)
        if reader is None or not is_tiff(path) or self._asked.axes not in (None, 2):
            return reader
        return None if reads_whole(path) or not can_read_tiffs() else reader

    def _load(self, name: str, path: Path, index: int) -> Tensor:
        reader, channels = self._reader(path), self._asked.channels
        if reader is None:
            if self._asked.axes not in (None, 2):
                raise ImagesError(
                    f"it is a picture, of two space axes, and axes={self._asked.axes} asks for {self._asked.axes}"
                )
            image, transparent = read_upright(path, self._checked)
            if transparent:
                self._transparent.add(index)
            return self._normalised(image, index, None if channels is None else chosen("RGB", 3, channels))
        contents = self._contents(reader, name, path)
        self._checked(contents.shape[1:])
        check_amount(contents, self._most)
        values: NDArray[np.float32] = np.asarray(contents.values(), dtype=np.float32)
        if values.shape != contents.shape:
            raise ImagesError(f"its header says {by(contents.shape)} numbers, and {by(values.shape)} are there")
        if channels is not None:
            values = values[chosen(contents.names, len(values), channels)]
        return self._normalised_array(np.require(values, requirements=["C", "W"]), index)

    def _contents(self, reader: Reader, name: str, path: Path) -> Contents:
        """What a file holds and, where it does not say it, what was said of all.

        Raises:
            ImagesError: it cannot be used, or is another kind of image than the first.
        """
        found = reader(path, self._asked)
        asked, space = self._asked, len(found.shape) - 1
        rate = asked.sample_rate
        if rate is not None and found.sample_rate not in (None, rate):
            raise RefusedError(
                f"has {found.sample_rate:g} samples per second, and sample_rate={rate:g} was given: resample it, or leave that out"
            )
        spacing = found.spacing
        if asked.spacing is not None:
            given = cast("tuple[float, ...]", asked.spacing)
            if len(given) not in (1, space):
                raise RefusedError(
                    f"has {plural(space)} and spacing has {len(given)} numbers: give one for each, or one for all"
                )
            spacing = given * space if len(given) == 1 else given
        found = replace(found, sample_rate=found.sample_rate or rate, spacing=spacing)
        if self._first is None:
            self._first = name, found
        by_name = asked.channels is not None and all(isinstance(one, str) for one in asked.channels)
        where, first = self._first
        for what, (mine, other), do in differences(found, first, by_name=by_name):
            raise RefusedError(f"has {what} {mine} and {where} {other}: {do}")
        return found


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
