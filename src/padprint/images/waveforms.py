"""Waveforms: what libsndfile reads (WAV, FLAC), and MiniSEED."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from padprint.errors import ImagesError
from padprint.images.contents import Contents, Files
from padprint.support.optional import require


def sound_contents(path: Path, asked: Files) -> Contents:
    """A sound file; whole numbers become shares of full scale, in [-1, 1)."""
    _check_axes(asked)
    soundfile = require("soundfile", why="for WAV and FLAC", extra="readers")
    about = soundfile.info(str(path))
    return Contents(
        (about.channels, about.frames),
        lambda: soundfile.read(str(path), dtype="float32", always_2d=True)[0].T,
        sample_rate=float(about.samplerate),
    )


def miniseed_contents(path: Path, asked: Files) -> Contents:
    """The traces of a MiniSEED file as channels, in the file's order; counts as they are.

    Raises:
        ImagesError: traces with gaps, or that differ in rate, start or length.
    """
    _check_axes(asked)
    obspy = require("obspy", why="for MiniSEED", extra="miniseed")
    traces = obspy.read(str(path), format="MSEED", headonly=True).traces
    names = [trace.stats.channel for trace in traces]
    ids = {trace.id for trace in traces}
    if len(ids) < len(traces):
        raise ImagesError(
            f"its {len(traces)} traces are pieces of {len(ids)} channels: there are gaps or overlaps; fill or cut them first "
            "(in ObsPy: stream.merge, stream.trim)"
        )
    if len(set(names)) < len(names):
        raise ImagesError(f"it holds channels of several stations ({', '.join(sorted(ids)[:4])}); save each as a file")
    first = traces[0].stats
    for trace in traces[1:]:
        for what, late in (
            ("sampling_rate", trace.stats.sampling_rate != first.sampling_rate),
            ("npts", trace.stats.npts != first.npts),
            ("starttime", abs(trace.stats.starttime - first.starttime) > first.delta / 2),
        ):
            if late:
                raise ImagesError(
                    f"its channels differ in {what} ({first.channel}: {first[what]}, {trace.stats.channel}: {trace.stats[what]}); resample or "
                    "cut them to the same times first (in ObsPy: stream.resample, stream.trim)"
                )
    shape = (len(traces), int(first.npts))
    return Contents(shape, lambda: _counts(obspy, path, names), tuple(names), sample_rate=float(first.sampling_rate))


def _counts(obspy: Any, path: Path, names: list[str]) -> NDArray[np.float32]:
    traces = {trace.stats.channel: trace.data for trace in obspy.read(str(path), format="MSEED").traces}
    return np.stack([np.asarray(traces[name], dtype=np.float32) for name in names])


def _check_axes(asked: Files) -> None:
    if asked.axes not in (None, 1):
        raise ImagesError(f"it is a waveform, of one space axis, and axes={asked.axes} asks for {asked.axes}")
