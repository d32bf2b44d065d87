"""WAV, FLAC and MiniSEED: all channels, the rate, and what cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from padprint.errors import ImagesError, MissingPackageError
from padprint.images.contents import Files
from padprint.images.folder import ImageFolder

obspy = pytest.importorskip("obspy", reason="files are written with it: padprint[readers,miniseed]")
soundfile = pytest.importorskip("soundfile", reason="files are written with it: padprint[readers,miniseed]")

RAW: Any = {"mean": (0.0,), "std": (1.0,)}
STEREO: NDArray[np.int16] = np.random.default_rng(0).integers(-32768, 32768, (60, 2), dtype=np.int16)


def seismogram(path: Path, channels: str = "ZNE", rate: float = 100.0, **other: Any) -> NDArray[np.int32]:
    """A file of one station with counts of 32 bits, which are returned by channel."""
    counts = np.random.default_rng(1).integers(-(2**20), 2**20, (len(channels), 50), dtype=np.int32)
    traces = []
    for letter, samples in zip(channels, counts, strict=True):
        header = {"network": "XX", "station": "A", "channel": f"HH{letter}", "sampling_rate": rate} | other
        traces.append(obspy.Trace(samples.copy(), header))
    obspy.Stream(traces).write(str(path), format="MSEED")
    return counts


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_sound_is_read_with_all_channels_and_its_rate(kind: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"a.{kind}", STEREO, 16000)
    source = ImageFolder(tmp_path, **RAW)
    assert source.sizes() == [(60,)]
    assert np.array_equal(source[0].numpy(), STEREO.T.astype(np.float32) / 32768)
    assert source.record == {"axes": 1, "sample_rate": 16000.0}
    one = ImageFolder(Files(tmp_path, channels=1, sample_rate=16000), **RAW)
    assert np.array_equal(one[0].numpy(), source[0][1:].numpy())


def test_24_bits_are_kept(tmp_path: Path) -> None:
    counts = np.array([[-(2**23)], [1], [2**23 - 1]], dtype=np.int32)
    soundfile.write(tmp_path / "a.wav", counts * 256, 8000, subtype="PCM_24")
    assert np.array_equal(ImageFolder(tmp_path, **RAW)[0].numpy(), counts.T.astype(np.float32) / 2**23)


def test_files_of_different_rates_are_refused_with_both(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", STEREO, 16000)
    soundfile.write(tmp_path / "b.wav", STEREO, 44100)
    words = r"b\.wav has the sample rate 44100 Hz and a\.wav 16000 Hz: all files need the same; resample them"
    with pytest.raises(ImagesError, match=words):
        ImageFolder(tmp_path, **RAW).sizes()
    with pytest.raises(ImagesError, match=words):
        list(ImageFolder(tmp_path, **RAW).items())
    with pytest.raises(
        ImagesError, match=r"a\.wav has 16000 samples per second, and sample_rate=8000 was given: resample"
    ):
        list(ImageFolder(Files(tmp_path, sample_rate=8000), **RAW).items())


def test_a_file_that_does_not_say_its_rate_differs_from_one_that_does(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", STEREO, 16000)
    np.save(tmp_path / "b.npy", STEREO.astype(np.float32))
    with pytest.raises(ImagesError, match=r"b\.npy has the sample rate which it does not say and a\.wav 16000 Hz"):
        list(ImageFolder(Files(tmp_path, axes=1), **RAW).items())
    both = ImageFolder(Files(tmp_path, axes=1, sample_rate=16000), **RAW)
    assert [image.shape for image in both] == [(2, 60)] * 2


def test_waveforms_are_no_pictures_and_no_volumes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", STEREO, 16000)
    with pytest.raises(
        ImagesError, match=r"a\.wav cannot be decoded: it is a waveform, of one space axis, and axes=2 asks for 2"
    ):
        ImageFolder(Files(tmp_path, axes=2), **RAW)[0]


@pytest.mark.parametrize("kind", ["wav", "flac", "mseed"])
def test_damaged_waveforms_are_skipped_and_say_so(kind: str, tmp_path: Path) -> None:
    (tmp_path / f"a.{kind}").write_bytes(b"RIFF and nothing else")
    soundfile.write(tmp_path / "b.wav", STEREO, 16000)
    source = ImageFolder(tmp_path, **RAW)
    with pytest.warns(UserWarning, match=rf"skipped a\.{kind}: "):
        assert [index for index, _ in source.items()] == [1]
    assert str(tmp_path) not in source.skipped[f"a.{kind}"]


def test_a_sound_file_cut_short_is_read_as_far_as_it_goes_or_skipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.tile(STEREO, (400, 1)), 16000)
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImagesError, match=r"a\.flac cannot be decoded"):
        ImageFolder(tmp_path, **RAW)[0]


def test_seismograms_are_read_with_their_channels(tmp_path: Path) -> None:
    counts = seismogram(tmp_path / "a.mseed")
    source = ImageFolder(tmp_path, **RAW)
    assert np.array_equal(source[0].numpy(), counts.astype(np.float32))
    assert source.record == {"axes": 1, "channels": ["HHZ", "HHN", "HHE"], "sample_rate": 100.0}
    for channels in (("HHE", "HHZ"), ("E", "Z"), (2, 0)):
        some = ImageFolder(Files(tmp_path, channels=channels), **RAW)
        assert np.array_equal(some[0].numpy(), counts[[2, 0]].astype(np.float32))
        assert some.record["channels"] == ["HHE", "HHZ"]
    with pytest.raises(ImagesError, match=r"a\.mseed has channels 0 to 2 \(HHZ HHN HHE\), and channels asks for HHX"):
        list(ImageFolder(Files(tmp_path, channels=["HHX"]), **RAW).items())
    with pytest.raises(ImagesError, match=r"channels asks for H$"):
        list(ImageFolder(Files(tmp_path, channels=["H"]), **RAW).items())


def test_seismograms_in_another_order_are_refused_but_by_name(tmp_path: Path) -> None:
    first, second = seismogram(tmp_path / "a.mseed", "ZNE"), seismogram(tmp_path / "b.mseed", "ENZ")
    with pytest.raises(
        ImagesError, match=r"b\.mseed has the channels HHE HHN HHZ and a\.mseed HHZ HHN HHE: name those wanted"
    ):
        list(ImageFolder(tmp_path, **RAW).items())
    both = ImageFolder(Files(tmp_path, channels=("Z", "N")), **RAW)
    assert [image.numpy().tolist() for image in both] == [first[:2].tolist(), second[[2, 1]].tolist()]


def test_seismograms_that_are_no_one_record_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mseed"
    header = {"channel": "HHZ", "sampling_rate": 100.0}
    late = header | {"starttime": obspy.UTCDateTime(10)}
    samples = np.arange(50, dtype=np.int32)
    cases: dict[str, list[tuple[Any, dict[str, Any]]]] = {
        r"its 2 traces are pieces of 1 channels: there are gaps or overlaps": [(samples, header), (samples, late)],
        r"differ in starttime": [(samples, header), (samples, late | {"channel": "HHN"})],
        r"differ in npts \(HHZ: 50, HHN: 49\)": [(samples, header), (samples[1:], header | {"channel": "HHN"})],
        r"differ in sampling_rate \(HHZ: 100\.0, HHN: 50\.0\)": [
            (samples, header),
            (samples, header | {"channel": "HHN", "sampling_rate": 50.0}),
        ],
        r"channels of several stations": [(samples, header), (samples, header | {"station": "B"})],
    }
    for words, traces in cases.items():
        obspy.Stream([obspy.Trace(data.copy(), dict(about)) for data, about in traces]).write(str(path), format="MSEED")
        with pytest.raises(ImagesError, match=words):
            ImageFolder(path, **RAW)[0]


@pytest.mark.parametrize(
    ("kind", "package", "extra"), [("wav", "soundfile", "readers"), ("mseed", "obspy", "miniseed")]
)
def test_without_its_package_a_reader_names_the_extra(
    kind: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"a.{kind}").touch()
    monkeypatch.setitem(sys.modules, package, None)
    source = ImageFolder(tmp_path, **RAW)
    with pytest.raises(MissingPackageError, match=rf"{package} is needed for .*: pip install 'padprint\[{extra}\]'"):
        list(source.items())
    assert source.skipped == {}
