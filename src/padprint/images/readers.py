"""Which reader reads a file of numbers, by how its name ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from padprint.errors import ImagesError
from padprint.images.arrays import numpy_contents, zarr_contents
from padprint.images.contents import Reader
from padprint.images.tiffs import SUFFIXES as TIFFS
from padprint.images.tiffs import tiff_contents
from padprint.images.volumes import nifti_contents
from padprint.images.waveforms import miniseed_contents, sound_contents

FOLDERS = (".zarr",)
"""Ends of names of folders that are one file to their reader."""

_READERS: dict[str, Reader] = {
    ".npy": numpy_contents,
    ".npz": numpy_contents,
    ".zarr": zarr_contents,
    ".wav": sound_contents,
    ".flac": sound_contents,
    ".mseed": miniseed_contents,
    ".miniseed": miniseed_contents,
    ".nii": nifti_contents,
    ".nii.gz": nifti_contents,
    **dict.fromkeys(TIFFS, tiff_contents),
}


def register_reader(*suffixes: str) -> Callable[[Reader], Reader]:
    """Teach padprint a kind of file.

    Args:
        suffixes: how names of such files, or folders, end, such as ``".h5"``. One that is known is read by the new reader from then on.

    Returns:
        A decorator for a reader: ``reader(path, asked)`` looks at the header and returns `Contents`.

    Raises:
        ImagesError: no suffix, or one that does not begin with a dot.

    Examples:
        >>> import numpy as np
        >>> from padprint.scenes import Contents, register_reader
        >>> @register_reader(".samples")
        ... def read_text(path, asked):
        ...     samples = np.loadtxt(path, dtype=np.float32)
        ...     return Contents((1, len(samples)), lambda: samples[None], sample_rate=asked.sample_rate)
    """
    if not suffixes or not all(map(_is_end, suffixes)):
        raise ImagesError(f"register_reader takes ends of names, such as '.h5', but got {suffixes!r}")

    def keep(reader: Reader) -> Reader:
        _READERS.update(dict.fromkeys((one.lower() for one in suffixes), reader))
        return reader

    return keep


def _is_end(suffix: object) -> bool:
    return isinstance(suffix, str) and len(suffix) > 1 and suffix.startswith(".")


def reader_of(path: Path) -> Reader | None:
    """The reader of a file by the longest end of its name that is known; None where Pillow is to try."""
    name = path.name.lower()
    known = [suffix for suffix in _READERS if name.endswith(suffix)]
    return _READERS[max(known, key=len)] if known else None
