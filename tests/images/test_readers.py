"""Arrays in files: every band, every bit, one to three axes, and nothing that would run."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from test_image_files import colours, tiff
from torch import nn

import padprint
from padprint.errors import ImagesError
from padprint.images.arrays import numpy_contents
from padprint.images.contents import Contents, Files
from padprint.images.folder import ImageFolder
from padprint.images.readers import reader_of, register_reader

tifffile = pytest.importorskip("tifffile", reason="files are written with it: padprint[readers]")
zarr = pytest.importorskip("zarr", reason="files are written with it: padprint[readers]")

RNG = np.random.default_rng(0)
FIVE: NDArray[np.uint16] = RNG.integers(0, 65536, (5, 6, 8), dtype=np.uint16)
RAW: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)}


def read(path: Path, **asked: Any) -> NDArray[Any]:
    """All numbers of a file, before they are normalised."""
    reader = reader_of(path)
    assert reader is not None
    contents = reader(path, Files(path, **asked))
    values = contents.values()
    assert values.shape == contents.shape
    return values


@pytest.mark.parametrize("last", [False, True])
def test_bands_come_first_wherever_they_were(tmp_path: Path, last: bool) -> None:
    np.save(tmp_path / "a.npy", np.moveaxis(FIVE, 0, -1) if last else FIVE)
    found = read(tmp_path / "a.npy")
    assert found.dtype == np.float32
    assert np.array_equal(found, FIVE.astype(np.float32) / np.float32(65535))
    assert ImageFolder(tmp_path, **RAW).sizes() == [(6, 8)]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, 255], [51, 102]], np.uint8), [[[0, 1], [0.2, 0.4]]]),
        (np.array([[-1000, 3000], [0, 1]], np.int16), [[[-1000, 3000], [0, 1]]]),
        (np.array([[-0.5, 7.25], [0, 1]], np.float64), [[[-0.5, 7.25], [0, 1]]]),
    ],
    ids=["bytes", "signed", "floating point"],
)
def test_unsigned_numbers_are_shares_and_others_are_as_they_are(array: Any, expected: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", array)
    assert np.allclose(read(tmp_path / "a.npz"), np.array(expected, np.float32), rtol=1e-6, atol=0)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/").joinpath, ("ran",))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Evil()))
    np.savez(tmp_path / "c.npz", np.array([Evil()], dtype=object))
    for name in ("a.npy", "b.npy", "c.npz"):
        with pytest.raises(ImagesError, match=r"no array of numbers that NumPy saved"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5, 4)), r"shape 4 x 5 x 4 does not say which axis holds the bands"),
        (
            np.zeros((2, 3, 4, 5, 6)),
            r"shape is 2 x 3 x 4 x 5 x 6; rows and columns, and channels first or last, are read$",
        ),
        (np.zeros((2, 0, 4)), r"shape is 2 x 0 x 4; rows and columns, and channels first or last, are read$"),
        (np.zeros((3, 4), complex), r"it holds complex128, not numbers"),
        (np.array([["a"]]), r"it holds <U1, not numbers"),
    ],
)
def test_other_arrays_are_refused_in_one_line(array: Any, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImagesError, match=words):
        read(tmp_path / "a.npy")
    np.savez(tmp_path / "two.npz", a=array, b=array)
    with pytest.raises(ImagesError, match=r"it holds 2 arrays \(a, b\); one is read"):
        read(tmp_path / "two.npz")


def test_a_tiff_keeps_its_bands_and_bits(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "planes.tif", FIVE, photometric="minisblack", planarconfig="separate", metadata={"axes": "SYX"}
    )
    tifffile.imwrite(
        tmp_path / "mixed.tif", np.moveaxis(FIVE, 0, -1).copy(), photometric="minisblack", planarconfig="contig"
    )
    (tmp_path / "rgb.tif").write_bytes(tiff(colours(), 2))
    expected = torch.from_numpy(FIVE.astype(np.float32) / np.float32(65535))
    for name in ("planes", "mixed"):
        folder = ImageFolder(tmp_path / f"{name}.tif", **RAW)
        assert torch.equal(folder[0], expected)
        assert folder.sizes() == [(6, 8)]
    rgb = torch.from_numpy(np.moveaxis(colours(), -1, 0).astype(np.float32) / np.float32(65535))
    assert torch.equal(ImageFolder(tmp_path / "rgb.tif", **RAW)[0], rgb)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((9,), None, (1, 9)),
        ((9,), 1, (1, 9)),
        ((2, 9), 1, (2, 9)),
        ((9, 2), 1, (2, 9)),
        ((6, 8), None, (1, 6, 8)),
        ((2, 6, 8), None, (2, 6, 8)),
        ((2, 6, 8), 2, (2, 6, 8)),
        ((2, 6, 8), 3, (1, 2, 6, 8)),
        ((2, 4, 6, 8), None, (2, 4, 6, 8)),
        ((4, 6, 8, 2), 3, (2, 4, 6, 8)),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz", "zarr"])
def test_arrays_are_waveforms_pictures_and_volumes(
    shape: tuple[int, ...], axes: int | None, expected: tuple[int, ...], kind: str, tmp_path: Path
) -> None:
    array = RNG.random(shape, dtype=np.float32)
    path = tmp_path / f"a.{kind}"
    if kind == "zarr":
        zarr.save_array(path, array)
    else:
        (np.save if kind == "npy" else np.savez)(path, array)
    found = read(path, axes=axes)
    assert found.shape == expected
    last = np.prod(shape[:1]) == expected[1] and len(shape) == len(expected)  # channels came last
    assert np.array_equal(found, np.moveaxis(array, -1, 0) if last else array.reshape(expected))
    source = ImageFolder(Files(tmp_path, axes=axes), **RAW)
    assert source.sizes() == [expected[1:]]
    assert np.array_equal(source[0].numpy(), found)
    assert source.record["axes"] == len(expected) - 1


@pytest.mark.parametrize(
    ("shape", "axes", "words"),
    [
        ((2, 6, 8), 1, r"shape is 2 x 6 x 8; samples, .* \(axes=2 or axes=3 fits\)"),
        ((6, 8), 3, r"shape is 6 x 8; slices, rows and columns, .* \(axes=1 or axes=2 fits\)"),
        ((7, 7), 1, r"shape 7 x 7 does not say which axis holds the bands"),
    ],
)
def test_another_number_of_axes_than_asked_for_is_refused(
    shape: tuple[int, ...], axes: int, words: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(ImagesError, match=words):
        read(tmp_path / "a.npy", axes=axes)


def test_files_of_other_axes_than_the_first_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 6, 8)))
    np.save(tmp_path / "b.npy", np.zeros((2, 4, 6, 8)))
    with pytest.raises(ImagesError, match=r"image 1 \(b\.npy\) has 3 space axes and the first image 2.*--axes"):
        list(ImageFolder(tmp_path, **RAW).items())


def test_channels_are_chosen_in_the_order_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FIVE)
    whole = ImageFolder(tmp_path, **RAW)[0]
    some = ImageFolder(Files(tmp_path, channels=(4, 0)), mean=(0.25, 0.5), std=(1.0, 2.0))
    scaled = (whole[[4, 0]] - torch.tensor([0.25, 0.5])[:, None, None]) / torch.tensor([1.0, 2.0])[:, None, None]
    assert torch.equal(some[0], scaled)
    assert some.record["channels"] == [4, 0]
    with pytest.raises(ImagesError, match=r"a\.npy has channels 0 to 4 without names, and channels asks for 5"):
        list(ImageFolder(Files(tmp_path, channels=5), **RAW).items())
    Image.fromarray((FIVE[:3].transpose(1, 2, 0) >> 8).astype(np.uint8)).save(tmp_path / "p.png")
    red = ImageFolder(Files(tmp_path / "p.png", channels=[2]), **RAW)[0]
    assert torch.equal(red, ImageFolder(tmp_path / "p.png", **RAW)[0][2:])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"axes": 4}, r"one, two or three space axes, but axes is 4"),
        ({"channels": (-1,)}, r"channels are numbers from 0 on, or names"),
        ({"channels": ()}, r"channels are numbers from 0 on, or names"),
        ({"sample_rate": 0.0}, r"sample_rate must be above 0, got 0"),
        ({"spacing": (1.0, float("nan"))}, r"spacing must be above 0, got 1, nan"),
    ],
)
def test_how_files_are_read_is_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ImagesError, match=words):
        Files("anywhere", **options)


def test_spacing_and_rate_are_kept_where_files_do_not_say_them(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 6, 8)))
    volume = ImageFolder(Files(tmp_path, axes=3, spacing=(3, 1, 1)), **RAW)
    assert volume.record == {} and volume[0].shape == (1, 4, 6, 8)
    assert volume.record == {"axes": 3, "spacing": [3.0, 1.0, 1.0]}
    assert ImageFolder(Files(tmp_path, axes=3), **RAW).fingerprint() != volume.fingerprint()
    np.save(tmp_path / "a.npy", np.zeros(50))
    waveform = ImageFolder(Files(tmp_path, sample_rate=16000), **RAW)
    assert waveform.sizes() == [(50,)]
    assert waveform.record == {"axes": 1, "sample_rate": 16000}
    with pytest.raises(ImagesError, match=r"a\.npy has 1 space axis and spacing has 2 numbers"):
        list(ImageFolder(Files(tmp_path, spacing=(1, 2)), **RAW).items())
    with pytest.raises(ImagesError, match=r"a\.npy has 1 space axis: resize_short_side is for rows and columns"):
        list(ImageFolder(tmp_path, **RAW, resize_short_side=8).items())


def test_a_compressed_file_is_refused_by_its_header(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", np.zeros((300, 300, 300), np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 30_000
    volume = ImageFolder(Files(tmp_path, axes=3), **RAW, max_megapixels=10)
    words = r"a\.npz has 300x300x300 voxels, 27 million, and 10 are allowed: leave it out, crop it"
    with pytest.raises(ImagesError, match=words):
        list(volume.items())
    with pytest.raises(ImagesError, match=words):
        volume.sizes()
    np.savez_compressed(tmp_path / "a.npz", np.zeros((200, 300, 300), np.uint8))
    with pytest.raises(ImagesError, match=r"a\.npz has 200x300x300 numbers, and 16 million are allowed"):
        list(ImageFolder(Files(tmp_path, axes=2), **RAW, max_megapixels=1).items())


def test_chunks_that_swell_are_refused_by_what_the_header_says(tmp_path: Path) -> None:
    zarr.open(str(tmp_path / "a.zarr"), mode="w", shape=(10, 10), chunks=(100_000, 100_000), dtype="uint8")
    with pytest.raises(
        ImagesError, match=r"a\.zarr has 100000x100000 numbers in one piece, and 2560 million are allowed"
    ):
        list(ImageFolder(tmp_path, **RAW).items())


@pytest.mark.parametrize("damage", ["cut", "empty", "header"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_damaged_arrays_are_skipped_and_say_so(kind: str, damage: str, tmp_path: Path) -> None:
    (np.save if kind == "npy" else np.savez)(tmp_path / f"a.{kind}", FIVE)
    (np.save if kind == "npy" else np.savez)(tmp_path / f"b.{kind}", FIVE)
    whole = (tmp_path / f"a.{kind}").read_bytes()
    cuts = {"cut": whole[:-200], "empty": b"", "header": whole[:10]}
    (tmp_path / f"a.{kind}").write_bytes(cuts[damage])
    source = ImageFolder(tmp_path, **RAW)
    with pytest.warns(UserWarning, match=rf"skipped a\.{kind}"):
        assert [index for index, _ in source.items()] == [1]
    assert str(tmp_path) not in source.skipped[f"a.{kind}"]


def test_a_reader_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padprint.images.readers._READERS", {".npy": numpy_contents})

    @register_reader(".raw.gz", ".GZ")
    def gzipped(path: Path, asked: Files) -> Contents:
        numbers = np.frombuffer(gzip.decompress(path.read_bytes()), np.float32)
        return Contents((1, len(numbers)), lambda: numbers[None], names=("only",), sample_rate=asked.sample_rate)

    wave = RNG.random(40, dtype=np.float32)
    (tmp_path / "a.RAW.gz").write_bytes(gzip.compress(wave.tobytes()))
    source = ImageFolder(Files(tmp_path, sample_rate=100), **RAW)
    assert np.array_equal(source[0][0].numpy(), wave)
    assert source.record == {"axes": 1, "channels": ["only"], "sample_rate": 100}
    assert reader_of(tmp_path / "b.gz") is gzipped
    for wrong in ((), ("npy",), (".",), (3,)):
        with pytest.raises(ImagesError, match=r"register_reader takes ends of names"):
            register_reader(*wrong)  # type: ignore[arg-type]


def test_a_reader_whose_header_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "padprint.images.readers._READERS", {".wrong": lambda path, asked: Contents((1, 9), lambda: np.zeros((1, 8)))}
    )
    (tmp_path / "a.wrong").touch()
    with pytest.raises(ImagesError, match=r"its header says 1x9 numbers, and 1x8 are there"):
        ImageFolder(tmp_path, **RAW)[0]


def test_bands_are_resized_one_by_one_and_normalised_each(tmp_path: Path) -> None:
    array = RNG.random((4, 20, 30), dtype=np.float32)
    np.save(tmp_path / "a.npy", array)
    mean, std = (0.1, 0.2, 0.3, 0.4), (1.0, 2.0, 3.0, 4.0)
    whole = ImageFolder(tmp_path, mean=mean, std=std, resize_short_side=10)
    assert whole.sizes() == [(10, 15)]
    for band in range(4):
        np.save(tmp_path / "one.npy", array[band])
        one = ImageFolder(tmp_path / "one.npy", mean=(mean[band],), std=(std[band],), resize_short_side=10)
        assert torch.equal(whole[0][band], one[0][0])
        (tmp_path / "one.npy").unlink()
    assert ImageFolder(tmp_path, mean=mean, std=std, resize_short_side=40)[0].shape == (4, 40, 60)


def test_numbers_for_other_channels_are_an_error_and_not_skipped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FIVE)
    with pytest.raises(ImagesError, match=r"a\.npy has 5 channels and mean has 3 numbers"):
        list(ImageFolder(tmp_path, mean=(0.5,) * 3, std=(0.5,) * 3).items())


def test_arrays_beside_pictures_are_left_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", FIVE)
    assert len(ImageFolder(tmp_path, **RAW)) == 1
    (tmp_path / "rgb.tif").write_bytes(tiff(colours(), 2))
    assert [ImageFolder(tmp_path, **RAW).called(i) for i in range(len(ImageFolder(tmp_path, **RAW)))] == ["rgb.tif"]


def test_too_many_pixels_are_refused_before_they_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 100, 100), np.float32))
    with pytest.raises(ImagesError, match=r"a\.npy has 100x100 px, 0\.01 megapixels, and 0\.005 are allowed"):
        ImageFolder(tmp_path, **RAW, max_megapixels=0.005).sizes()


def test_a_network_of_five_bands_is_measured(tmp_path: Path) -> None:
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).integers(0, 65536, (5, 40, 44), dtype=np.uint16))
    torch.manual_seed(0)
    net = nn.Conv2d(5, 4, 3, padding=1)
    by_file = padprint.measure(net, tmp_path, crop=16, groups=4, mean=(0.5,), std=(0.25,))
    scenes = [
        (torch.from_numpy(np.load(tmp_path / f"{i}.npy").astype(np.float32)) / 65535 - 0.5) / 0.25 for i in range(4)
    ]
    by_tensor = padprint.measure(net, scenes, crop=16, groups=4)
    assert by_file["output"].snr.value == pytest.approx(by_tensor["output"].snr.value, rel=1e-6)


def test_results_keep_what_is_known_of_the_files(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).random((5, 40, 44), dtype=np.float32))
    torch.manual_seed(0)
    net = nn.Conv2d(2, 4, 3, padding=1)
    files = Files(tmp_path, axes=2, channels=(4, 0), spacing=0.5)
    known = {"axes": 2, "channels": [4, 0], "spacing": [0.5, 0.5]}
    measured = padprint.measure(net, files, crop=16, groups=3, mean=(0.5,), std=(0.25,))
    assert measured.provenance["scenes"] == known
    measured.save(tmp_path / "result")
    assert padprint.load(tmp_path / "result").provenance["scenes"] == known
    advice = padprint.halo(net, files, tile=16, mean=(0.5,), std=(0.25,))
    assert advice.provenance["scenes"] == known
    assert "scenes" not in padprint.measure(net, torch.rand(3, 2, 40, 44), crop=16, groups=3).provenance


def test_without_tifffile_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rgb.tif").write_bytes(tiff(colours(), 2))
    monkeypatch.setattr("padprint.images.folder.can_read_tiffs", lambda: False)
    with pytest.raises(ImagesError, match=r"16 bits in each of 3 bands.*install tifffile.*padprint\[readers\]"):
        ImageFolder(tmp_path, **RAW)[0]
