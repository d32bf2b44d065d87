"""Arrays in files: every band, every bit, and nothing that would run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from test_image_files import colours, tiff
from torch import nn

import padprint
from padprint.errors import ImagesError
from padprint.images.bands import bands_size, read_bands
from padprint.images.photographs import ImageFolder

RNG = np.random.default_rng(0)
FIVE: NDArray[np.uint16] = RNG.integers(0, 65536, (5, 6, 8), dtype=np.uint16)
RAW: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)}


def fits(height: int, width: int) -> None:
    """Every size is allowed."""


@pytest.mark.parametrize("last", [False, True])
def test_bands_come_first_wherever_they_were(tmp_path: Path, last: bool) -> None:
    np.save(tmp_path / "a.npy", np.moveaxis(FIVE, 0, -1) if last else FIVE)
    found = read_bands(tmp_path / "a.npy", fits)
    assert found.dtype == np.float32
    assert np.array_equal(found, FIVE.astype(np.float32) / np.float32(65535))
    assert bands_size(tmp_path / "a.npy") == (6, 8)


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
    assert np.allclose(read_bands(tmp_path / "a.npz", fits), np.array(expected, np.float32), rtol=1e-6, atol=0)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/").joinpath, ("ran",))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Evil()))
    np.savez(tmp_path / "c.npz", np.array([Evil()], dtype=object))
    for name in ("a.npy", "b.npy", "c.npz"):
        with pytest.raises(ImagesError, match=r"no array of numbers that NumPy saved"):
            read_bands(tmp_path / name, fits)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5, 4)), r"shape 4 x 5 x 4 does not say which axis holds the bands"),
        (np.zeros((2, 3, 4, 5)), r"shape is 2 x 3 x 4 x 5; rows and columns"),
        (np.zeros(7), r"shape is 7; rows and columns"),
        (np.zeros((3, 4), complex), r"it holds complex128, not numbers"),
        (np.array([["a"]]), r"it holds <U1, not numbers"),
    ],
)
def test_other_arrays_are_refused_in_one_line(array: Any, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImagesError, match=words):
        read_bands(tmp_path / "a.npy", fits)
    np.savez(tmp_path / "two.npz", a=array, b=array)
    with pytest.raises(ImagesError, match=r"it holds 2 arrays \(a, b\); one is read"):
        read_bands(tmp_path / "two.npz", fits)


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


def test_a_tiff_of_several_images_or_of_a_volume_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "stack.tif",
        RNG.random((2, 3, 6, 8), dtype=np.float32),
        photometric="minisblack",
        metadata={"axes": "ZCYX"},
    )
    with pytest.raises(ImagesError, match=r"its axes are ZCYX of 2 x 3 x 6 x 8; rows, columns and bands are read"):
        read_bands(tmp_path / "stack.tif", fits)


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


def test_without_tifffile_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rgb.tif").write_bytes(tiff(colours(), 2))
    monkeypatch.setattr("padprint.images.photographs.can_read_tiffs", lambda: False)
    with pytest.raises(ImagesError, match=r"16 bits in each of 3 bands.*install tifffile.*padprint\[readers\]"):
        ImageFolder(tmp_path, **RAW)[0]
