"""Pillow images and arrays are what files of the same pixels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nets
from padprint import ImagesError, measure
from padprint.images.photographs import as_source

HALF = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 1.0)}


def pictures(count: int = 3, size: tuple[int, int] = (40, 48)) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


def test_pixels_are_normalised_by_hand() -> None:
    x = np.zeros((2, 3, 3), np.uint8)
    x[1, 2] = 255, 0, 51
    (index, found), *rest = as_source(x, **HALF).items()
    assert (index, rest, found.shape) == (0, [], (3, 2, 3))
    torch.testing.assert_close(found[:, 1, 2], torch.tensor([2.0, -0.8, -0.1]))
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([-2.0, -0.8, -0.3]))


@pytest.mark.parametrize("resize", [None, 24])
def test_arrays_and_pillow_images_are_what_files_are(tmp_path: Path, resize: int | None) -> None:
    arrays = pictures()
    for i, one in enumerate(arrays):
        Image.fromarray(one).save(tmp_path / f"{i}.png")
    expected = [x for _, x in as_source(tmp_path, **HALF, resize_short_side=resize).items()]
    for given in (arrays, tuple(arrays), np.stack(arrays), [Image.fromarray(one) for one in arrays]):
        source = as_source(given, **HALF, resize_short_side=resize)
        found = [x for _, x in source.items()]
        assert source.sizes() == [tuple(x.shape[1:]) for x in found]
        assert all(map(torch.equal, found, expected)) and len(found) == 3


def test_turned_and_grey_images() -> None:
    turned = Image.fromarray(pictures(1)[0])
    turned.getexif()[0x0112] = 6
    source = as_source(turned, **HALF)
    assert source.sizes() == [(48, 40)] == [tuple(x.shape[1:]) for _, x in source.items()]
    grey = [np.full((5, 4), 51, np.uint8), np.full((5, 4, 1), 51, np.uint8)]
    for x in dict(as_source(grey, **HALF).items()).values():
        torch.testing.assert_close(x[:, 0, 0], torch.tensor([-1.2, -0.4, -0.1]))


def test_floating_point_arrays_are_taken_as_they_are() -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 6, 5)).astype(np.float32)
    for given in (x, list(x), (one for one in x)):
        assert [torch.equal(a, torch.from_numpy(b)) for (_, a), b in zip(as_source(given).items(), x, strict=True)]


def test_measured_alike() -> None:
    arrays = pictures(4)
    tensors = [x for _, x in as_source(arrays, **HALF).items()]
    options = {"crop": 16, "crops_per_image": 2}
    one, two = measure(nets.stack(), arrays, **HALF, **options), measure(nets.stack(), tensors, **options)
    assert one["4"].snr.value == two["4"].snr.value


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (pictures(1), {}, r"mean= and std= are needed"),
        (
            [pictures(1)[0], pictures(1)[0].astype(float)],
            HALF,
            r"image 1 is float64 of shape \(40, 48, 3\) among images",
        ),
        ([pictures(1)[0], torch.zeros(3, 8, 8)], HALF, r"image 1 is Tensor among images of pixels"),
        (np.zeros((4, 8, 5), np.uint8), HALF, r"image 0 is uint8 of shape \(4, 8, 5\) among"),
        (np.zeros((0, 8, 3), np.uint8), HALF, r"image 0 is uint8 of shape \(0, 8, 3\) among"),
        (pictures(1), {**HALF, "max_megapixels": 0.001}, r"image 0 has 40x48 px, 0.00192 megapixels"),
        (np.zeros((2, 3, 8, 8), np.int64), {}, r"image 0 is of dtype int64"),
        ([np.zeros((3, 8, 8), np.float32)], HALF, r"mean= is for image files, Pillow images and arrays of bytes"),
    ],
)
def test_what_cannot_be_read(given: object, options: dict, message: str) -> None:
    with pytest.raises(ImagesError, match=message):
        list(as_source(given, **options).items()), as_source(given, **options).sizes()
