"""Images: every file and container arrives as the right tensor, or fails with a message that names it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, TensorDataset

from padprint.errors import ImagesError
from padprint.images.folder import ImageFolder
from padprint.images.photographs import as_source
from padprint.images.source import check_image, nothing_decoded

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
ORIENTATION = 0x0112


def noise(h: int = 6, w: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pgm" and array is not None:  # which older Pillows read and do not write
        height, width = array.shape
        path.write_bytes(f"P5 {width} {height} 65535\n".encode() + array.astype(">u2").tobytes())
        return path
    Image.fromarray(noise() if array is None else array).save(path, **options)
    return path


def load(path: Path) -> torch.Tensor:
    return ImageFolder(path, **PLAIN)[0]


def rgb(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1) / 255


def mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def damaged(path: Path) -> Path:
    save(path, noise(200, 200))
    path.write_bytes(path.read_bytes()[:3000])
    return path


# ---- files ---------------------------------------------------------------------------------------------


def test_rgb_is_normalised_per_channel(tmp_path):
    array = noise()
    save(tmp_path / "a.png", array)
    folder = ImageFolder(tmp_path, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    expected = (rgb(array) - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 1, 2])[:, None, None]
    torch.testing.assert_close(folder[0], expected)
    assert folder[0].dtype == torch.float32
    assert folder[0].is_contiguous()


def test_folder_order_hidden_nested_and_other_files(tmp_path):
    for name in ("b/z.png", "b.PNG", "a/2.jpg", "a/10.jpg", ".hidden.png", ".git/x.png", "b/.cache/y.png"):
        save(tmp_path / "scenes" / name)
    (tmp_path / "scenes" / "notes.txt").write_text("not an image")
    (tmp_path / "scenes" / "folder.png").mkdir()
    folder = ImageFolder(tmp_path / "scenes", **PLAIN)
    assert [name for name, _ in folder._files] == ["a/10.jpg", "a/2.jpg", "b.PNG", "b/z.png"]
    assert len(folder) == len(list(folder)) == 4
    assert folder.description == "scenes (4 image files)"
    assert str(tmp_path) not in folder.description
    with pytest.raises(IndexError):
        folder[4]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_is_scaled_by_65535(tmp_path, suffix):
    values = np.array([[0, 1, 255, 256], [257, 32768, 65534, 65535]], dtype=np.uint16)
    image = load(save(tmp_path / f"a.{suffix}", values))
    expected = torch.from_numpy(values.astype(np.float32) / 65535).expand(3, -1, -1)
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-7)


def test_32_bit_integer_grey_out_of_16_bits_is_refused(tmp_path):
    assert load(save(tmp_path / "a.tif", np.array([[65535, 0]], dtype=np.int32))).max() == 1
    path = save(tmp_path / "b.tif", np.array([[70000, 0]], dtype=np.int32))
    with pytest.raises(ImagesError, match=r"b\.tif cannot be decoded.*from 0 to 70000, outside \[0, 65535\]"):
        load(path)


def test_16_bit_grey_keeps_its_depth_when_resized(tmp_path):
    save(tmp_path / "a.png", np.full((40, 60), 12345, dtype=np.uint16))
    image = ImageFolder(tmp_path, **PLAIN, resize_short_side=20)[0]
    torch.testing.assert_close(image, torch.full((3, 20, 30), 12345 / 65535))


def test_palette_with_and_without_transparency(tmp_path):
    indices = np.arange(4, dtype=np.uint8).reshape(2, 2)
    palette = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120]
    expected = rgb(np.array(palette, dtype=np.uint8).reshape(2, 2, 3))
    image = Image.fromarray(indices).convert("L")
    image.putpalette(palette)
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "bytes.png", transparency=b"\x00\x80\xff\x10")
    image.save(tmp_path / "index.png", transparency=1)
    for path in sorted(tmp_path.iterdir()):
        assert mode(path) == "P"
        torch.testing.assert_close(load(path), expected)


def test_alpha_is_dropped_not_composited(tmp_path):
    array = np.dstack([noise(), np.zeros((6, 8), dtype=np.uint8)])
    torch.testing.assert_close(load(save(tmp_path / "rgba.png", array)), rgb(array[..., :3]))
    grey = noise()[..., 0]
    Image.fromarray(np.dstack([grey, np.zeros_like(grey)])).save(tmp_path / "la.png")
    assert mode(tmp_path / "la.png") == "LA"
    torch.testing.assert_close(load(tmp_path / "la.png"), rgb(np.dstack([grey] * 3)))
    Image.fromarray(noise()).save(tmp_path / "key.png", transparency=(1, 2, 3))
    torch.testing.assert_close(load(tmp_path / "key.png"), rgb(noise()))


def test_grey_one_bit_and_cmyk(tmp_path):
    grey = noise()[..., 0]
    torch.testing.assert_close(load(save(tmp_path / "l.png", grey)), rgb(np.dstack([grey] * 3)))
    bits = grey > 127
    Image.fromarray(bits).save(tmp_path / "bit.png")
    assert mode(tmp_path / "bit.png") == "1"
    torch.testing.assert_close(load(tmp_path / "bit.png"), rgb(np.dstack([bits * np.uint8(255)] * 3)))
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    red = load(tmp_path / "c.jpg")
    assert red.shape == (3, 8, 8)
    assert red[0].min() > 0.95
    assert red[1:].max() < 0.05


def test_float_grey_inside_and_outside_the_unit_range(tmp_path):
    values = np.array([[0.0, 0.25], [0.5, 1.0]], dtype=np.float32)
    torch.testing.assert_close(load(save(tmp_path / "in.tif", values)), torch.from_numpy(values).expand(3, -1, -1))
    for name, bad in (("over.tif", 1.5), ("under.tif", -0.1), ("nan.tif", float("nan"))):
        path = save(tmp_path / name, np.array([[0.5, bad]], dtype=np.float32))
        with pytest.raises(ImagesError, match=rf"{name}.*outside \[0, 1\]"):
            load(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_and_sizes_agree(tmp_path, suffix):
    array = np.zeros((32, 48, 3), dtype=np.uint8)
    array[:16, :24] = 255  # white upper left; orientation 6 turns it to the upper right
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    save(tmp_path / f"a.{suffix}", array, exif=exif)
    folder = ImageFolder(tmp_path, **PLAIN)
    assert folder[0].shape == (3, 48, 32)
    assert folder[0][:, :20, 20:].min() > 0.9
    assert folder[0][:, :20, :12].max() < 0.1
    assert folder.sizes() == [(48, 32)]


def test_resizing_keeps_aspect_counts_enlarged_and_matches_sizes(tmp_path):
    save(tmp_path / "a.png", noise(20, 31))
    save(tmp_path / "b.png", noise(100, 80))
    save(tmp_path / "c.png", noise(40, 40))
    folder = ImageFolder(tmp_path, **PLAIN, resize_short_side=40)
    for _ in range(2):  # a second pass does not count twice
        shapes = [tuple(image.shape[1:]) for image in folder]
    assert shapes == folder.sizes() == [(40, 62), (50, 40), (40, 40)]
    assert folder.upsampled == 1


def test_undecodable_files_are_skipped_once_with_a_warning_and_keep_their_index(tmp_path):
    save(tmp_path / "a.png")
    damaged(tmp_path / "b.jpg")
    (tmp_path / "c.png").write_text("plain text")
    (tmp_path / "d.png").touch()
    save(tmp_path / "e.png")
    source = as_source(tmp_path, **PLAIN)
    assert source.length == 5
    with pytest.warns(UserWarning) as seen:
        assert [index for index, _ in source.items()] == [0, 4]
    assert [str(one.message).split(":")[0] for one in seen] == [
        "skipped b.jpg",
        "skipped c.png",
        "skipped d.png",
    ]
    assert "truncated" in source.skipped["b.jpg"]
    assert "cannot identify" in source.skipped["c.png"]
    assert source.sizes() == [(6, 8), (200, 200), None, None, (6, 8)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(source.items())) == 2
    with pytest.raises(ImagesError, match=r"b\.jpg cannot be decoded.*truncated"):
        list(as_source(tmp_path, **PLAIN, strict=True).items())


@pytest.mark.filterwarnings("ignore:skipped")
def test_all_files_broken(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("plain text")
    source = as_source(tmp_path, **PLAIN)
    assert list(source.items()) == []
    message = str(nothing_decoded(source))
    assert f"2 files of {tmp_path.name} (2 image files)" in message
    assert "a.png: UnidentifiedImageError" in message


@pytest.mark.filterwarnings("ignore:skipped")
@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shares_partition_the_images_exactly_whatever_is_broken(tmp_path, world):
    for number in range(5):
        save(tmp_path / f"{number}.png", noise(seed=number))
    damaged(tmp_path / "1b.jpg")
    whole = dict(as_source(tmp_path, **PLAIN).items())
    assert list(whole) == [0, 1, 3, 4, 5]
    shares = [dict(as_source(tmp_path, **PLAIN).items(rank, world)) for rank in range(world)]
    assert sorted(index for share in shares for index in share) == list(whole)
    for rank, share in enumerate(shares):
        for index, image in share.items():
            assert index % world == rank
            assert torch.equal(image, whole[index])


def test_explicit_files_single_file_and_limit(tmp_path):
    first, second = save(tmp_path / "z.png", noise(4, 4)), save(tmp_path / "a.png", noise(5, 5))
    source = as_source([first, str(second)], **PLAIN)
    assert source.sizes() == [(4, 4), (5, 5)]
    assert source.description == "list (2 image files)"
    assert as_source(str(first), **PLAIN).description == "z.png (1 image file)"
    assert as_source(tmp_path, **PLAIN, limit=1).sizes() == [(5, 5)]


def test_folder_errors_name_the_folder(tmp_path):
    (tmp_path / "void").mkdir()
    with pytest.raises(ImagesError, match=r"no image file in the folder .*void"):
        as_source(tmp_path / "void", **PLAIN)
    with pytest.raises(ImagesError, match=r"there is no file or folder 'nowhere'"):
        as_source("nowhere")
    with pytest.raises(ImagesError, match=r"gone\.png is no file"):
        as_source([tmp_path / "gone.png"], **PLAIN)
    with pytest.raises(ImagesError, match=r"void is a folder"):
        as_source([tmp_path / "void"], **PLAIN)
    with pytest.raises(ImagesError, match=r"the list is empty"):
        as_source([])
    with pytest.raises(ImagesError, match=r"the list of files is empty"):
        ImageFolder([], **PLAIN)


def test_options_are_checked(tmp_path):
    save(tmp_path / "a.png")
    with pytest.raises(ImagesError, match=r"mean= and std= are needed.*0\.485"):
        as_source(tmp_path, mean=(0, 0, 0))
    with pytest.raises(ImagesError, match=r"std must be above 0"):
        ImageFolder(tmp_path, mean=(0, 0, 0), std=(1, 0, 1))
    with pytest.raises(
        ImagesError, match=r"mean must be finite numbers, one for each channel or one for all, got \[\]"
    ):
        ImageFolder(tmp_path, mean=(), std=(1, 1, 1))
    two = ImageFolder(tmp_path, mean=(0.5, 0.5), std=(1, 1, 1))
    with pytest.raises(ImagesError, match=r"a\.png has 3 channels and mean has 2 numbers: give one for each"):
        next(two.items())
    one = ImageFolder(tmp_path, mean=(0.5,), std=(2,))
    assert torch.equal(one[0], ImageFolder(tmp_path, mean=(0.5,) * 3, std=(2,) * 3)[0])
    with pytest.raises(ImagesError, match=r"limit must be 1 or more, got 0"):
        as_source(torch.rand(2, 3, 4, 4), limit=0)
    with pytest.raises(ImagesError, match=r"resize_short_side must be 1 or more"):
        ImageFolder(tmp_path, **PLAIN, resize_short_side=0)
    with pytest.raises(ImagesError, match=r"resize_short_side= is for image files"):
        as_source(torch.rand(2, 3, 4, 4), resize_short_side=8)
    with pytest.raises(ImagesError, match=r"mean= is for image files"):
        as_source(torch.rand(2, 3, 4, 4), **PLAIN)


# ---- containers ----------------------------------------------------------------------------------------

BATCH = torch.rand(7, 3, 5, 6, generator=torch.Generator().manual_seed(0))


class Labelled(Dataset):
    def __init__(self, make):
        self.make, self.touched = make, []

    def __len__(self):
        return len(BATCH)

    def __getitem__(self, index):
        self.touched.append(index)
        return self.make(BATCH[index], index)


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield from ((image, 0) for image in BATCH)


SAMPLES = {
    "bare": lambda image, index: image,
    "labelled": lambda image, index: (image, index),
    "list": lambda image, index: [image, index, "name"],
    "image": lambda image, index: {"label": index, "image": image},
    "pixel_values": lambda image, index: {"pixel_values": image, "labels": index},
}
CONTAINERS = {
    "tensor": lambda: BATCH,
    "list": lambda: list(BATCH),
    "generator": lambda: (image for image in BATCH),
    **{f"dataset-{name}": (lambda make=make: Labelled(make)) for name, make in SAMPLES.items()},
    **{
        f"loader-{name}": (lambda make=make: DataLoader(Labelled(make), batch_size=3)) for name, make in SAMPLES.items()
    },
    "loader-unbatched": lambda: DataLoader(Labelled(SAMPLES["labelled"]), batch_size=None),
    "loader-of-lists": lambda: DataLoader(Labelled(SAMPLES["bare"]), batch_size=3, collate_fn=lambda batch: batch),
    "loader-detection": lambda: DataLoader(
        Labelled(SAMPLES["labelled"]), batch_size=3, collate_fn=lambda batch: tuple(zip(*batch, strict=True))
    ),
}


@pytest.mark.parametrize("space", [(9,), (5, 6), (3, 4, 5)], ids=["waveforms", "pictures", "volumes"])
@pytest.mark.parametrize("hold", ["tensor", "list", "loader", "labelled"])
def test_images_of_any_number_of_axes_come_one_by_one(space, hold):
    batch = torch.rand(5, 2, *space)
    labelled = TensorDataset(batch, torch.arange(5))
    held = {
        "tensor": batch,
        "list": list(batch),
        "loader": DataLoader(list(batch), batch_size=2),
        "labelled": DataLoader(labelled, batch_size=2),
    }
    source = as_source(held[hold])
    found = [image for _, image in source.items()]
    assert torch.equal(torch.stack(found), batch)
    assert source.sizes() == ([space] * 5 if hold in ("tensor", "list") else None)


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_every_image_once(name, world):
    shares = [list(as_source(CONTAINERS[name]()).items(rank, world)) for rank in range(world)]
    for rank, share in enumerate(shares):
        assert [index for index, _ in share] == list(range(rank, len(BATCH), world))
        for index, image in share:
            assert torch.equal(image, BATCH[index])


def test_map_style_dataset_is_asked_for_the_wanted_samples_only():
    data = Labelled(SAMPLES["labelled"])
    source = as_source(data, limit=6)
    assert source.length == 6
    assert source.sizes() is None
    assert [index for index, _ in source.items(1, 4)] == [1, 5]
    assert data.touched == [1, 5]


def test_limit_stops_endless_streams():
    for endless in (Endless(), DataLoader(Endless(), batch_size=2)):
        assert [index for index, _ in as_source(endless, limit=9).items()] == list(range(9))

    def counted():
        for number, image in enumerate(BATCH):
            drawn.append(number)
            yield image

    drawn = []
    assert len(list(as_source(counted(), limit=2).items())) == 2
    assert drawn == [0, 1]


def test_sizes_and_descriptions():
    assert as_source(BATCH).sizes() == [(5, 6)] * 7
    assert as_source([torch.rand(3, 4, 5), torch.rand(3, 6, 7)]).sizes() == [(4, 5), (6, 7)]
    assert as_source(BATCH).description == "Tensor (7 images)"
    loader = as_source(DataLoader(Labelled(SAMPLES["bare"]), batch_size=2))
    assert (loader.description, loader.length, loader.sizes()) == (
        "DataLoader of Labelled (7 images)",
        7,
        None,
    )
    generator = as_source(image for image in BATCH)
    assert (generator.description, generator.length) == ("generator", None)


def test_a_source_passes_through(tmp_path):
    save(tmp_path / "a.png")
    folder = ImageFolder(tmp_path, **PLAIN)
    assert as_source(folder) is folder
    with pytest.raises(ImagesError, match=r"limit= must be given when"):
        as_source(folder, limit=1)


def test_loaders_with_an_order_per_process_are_refused_for_several_processes():
    data = Labelled(SAMPLES["bare"])
    shuffled = as_source(DataLoader(data, shuffle=True))
    assert len(list(shuffled.items())) == 7
    with pytest.raises(ImagesError, match=r"Labelled.*RandomSampler.*each of 2 processes"):
        list(shuffled.items(0, 2))
    shared = DataLoader(data, sampler=DistributedSampler(data, num_replicas=2, rank=0))
    with pytest.raises(ImagesError, match=r"DistributedSampler"):
        list(as_source(shared).items(0, 2))


def test_bad_images_are_named():
    with pytest.raises(ImagesError, match=r"image 3 is a list: it must be a torch tensor or NumPy array"):
        check_image([[[0.0]]], 3)
    with pytest.raises(ImagesError, match=r"image 3 \(a\.png\) is of dtype uint8: convert it .* normalise"):
        check_image(torch.zeros(3, 4, 4, dtype=torch.uint8), 3, "a.png")
    for shape in ((4,), (1, 2, 3, 4, 5)):
        with pytest.raises(
            ImagesError,
            match=rf"image 3 has shape {re.escape(str(shape))}: one image is \(C, H, W\), a waveform \(C, T\)",
        ):
            check_image(torch.zeros(shape), 3)
    with pytest.raises(ImagesError, match=r"image 3 has shape \(3, 0, 4\)"):
        check_image(torch.zeros(3, 0, 4), 3)
    bad = torch.zeros(3, 4, 4)
    bad[0, 0, :2] = float("nan")
    bad[1, 0, 0] = float("inf")
    with pytest.raises(ImagesError, match=r"image 3 has 3 of 48 values that are NaN or infinite"):
        check_image(bad, 3)
    good = torch.zeros(3, 4, 4, dtype=torch.bfloat16)
    assert check_image(good, 0) is good


def test_containers_that_do_not_fit_are_named():
    with pytest.raises(ImagesError, match=r"image 1 has 1 channels and the first image 3"):
        list(as_source([torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)]).items())
    with pytest.raises(
        ImagesError, match=r"image 1 has 1 space axis and the first image 2: all images need the same number"
    ):
        list(as_source([torch.zeros(3, 4, 4), torch.zeros(3, 4)]).items())
    with pytest.raises(ImagesError, match=r"\(N, C, H, W\), .*, got shape \(3, 4\)"):
        as_source(torch.zeros(3, 4))
    with pytest.raises(ImagesError, match=r"the Tensor is empty"):
        as_source(torch.zeros(0, 3, 4, 4))
    with pytest.raises(ImagesError, match=r"keys \['x', 'y'\]: none of image, images, pixel_values"):
        list(as_source(Labelled(lambda image, index: {"x": image, "y": index})).items())
    for wrong in ({"image": BATCH}, 3):
        with pytest.raises(ImagesError, match=rf"a {type(wrong).__name__} holds no images"):
            as_source(wrong)
    used = as_source(image for image in BATCH)
    list(used.items())
    assert list(used.items()) == []
    assert "no image in generator" in str(nothing_decoded(used))
