"""NIfTI, stacks of TIFF and Zarr: volumes with all channels, their spacing and orientation, and what cannot be used."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from padprint.errors import ImagesError, MissingPackageError
from padprint.images.contents import Files, named
from padprint.images.folder import ImageFolder

nibabel = pytest.importorskip("nibabel", reason="files are written with it: padprint[readers]")
tifffile = pytest.importorskip("tifffile", reason="files are written with it: padprint[readers]")
zarr = pytest.importorskip("zarr", reason="files are written with it: padprint[readers]")

RAW: Any = {"mean": (0.0,), "std": (1.0,)}
VOLUME: NDArray[np.int16] = np.random.default_rng(0).integers(-1000, 3000, (5, 6, 7), dtype=np.int16)
STACK: NDArray[np.uint16] = np.random.default_rng(1).integers(0, 65536, (4, 6, 8), dtype=np.uint16)
SHARES = STACK.astype(np.float32) / np.float32(65535)


def nifti(path: Path, array: NDArray[Any] = VOLUME, affine: Any = None, unit: str = "mm") -> Path:
    image = nibabel.Nifti1Image(array, np.diag([-1.0, 1.0, 2.5, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units(unit)
    image.to_filename(path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_keeps_spacing_and_orientation(suffix: str, tmp_path: Path) -> None:
    nifti(tmp_path / f"a{suffix}")
    source = ImageFolder(tmp_path, **RAW)
    assert source.sizes() == [(5, 6, 7)]
    assert np.array_equal(source[0].numpy(), VOLUME[None].astype(np.float32))
    assert source.record == {"axes": 3, "spacing": [1.0, 1.0, 2.5], "orientation": "LAS"}
    asked = ImageFolder(Files(tmp_path, spacing=2, axes=3), **RAW)
    assert asked.sizes() == [(5, 6, 7)]
    assert asked.record["spacing"] == [2.0] * 3


def test_nifti_is_scaled_and_measured_as_its_header_says(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOLUME, np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    image.header.set_xyzt_units("micron")
    image.to_filename(tmp_path / "a.nii")
    source = ImageFolder(tmp_path, **RAW)
    raw = nibabel.load(tmp_path / "a.nii").dataobj.get_unscaled()
    slope, intercept = nibabel.load(tmp_path / "a.nii").dataobj.slope, nibabel.load(tmp_path / "a.nii").dataobj.inter
    assert np.allclose(source[0][0].numpy(), raw * slope + intercept, rtol=1e-6)
    assert source.record["spacing"] == pytest.approx([1e-3] * 3)


def test_a_fourth_axis_is_refused_until_channels_are_chosen(tmp_path: Path) -> None:
    four = np.stack([VOLUME, VOLUME + 1, VOLUME + 2], axis=-1)
    path = nifti(tmp_path / "a.nii", four)
    with pytest.raises(
        ImagesError, match=r"it has four axes \(5 x 6 x 7 x 3\).*channels=\[0\] reads the first as one volume"
    ):
        ImageFolder(path, **RAW)[0]
    for channels, expected in ((1, four[None, ..., 1]), ((2, 0), np.stack([four[..., 2], four[..., 0]]))):
        found = ImageFolder(Files(path, channels=channels), **RAW)[0]
        assert np.array_equal(found.numpy(), expected.astype(np.float32))
    nifti(path, four[..., None, :])
    with pytest.raises(ImagesError, match=r"its shape is 5 x 6 x 7 x 1 x 3; volumes of three axes are read"):
        ImageFolder(path, **RAW)[0]
    nifti(path, VOLUME[..., None])
    assert ImageFolder(path, **RAW)[0].shape == (1, 5, 6, 7)
    nifti(path, VOLUME[0])
    with pytest.raises(ImagesError, match=r"its shape is 6 x 7; volumes of three axes are read"):
        ImageFolder(path, **RAW)[0]


def test_volumes_must_agree_on_spacing_and_orientation(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii")
    nifti(tmp_path / "b.nii", affine=np.diag([-1.0, 1.0, 5.0, 1.0]))
    with pytest.raises(
        ImagesError,
        match=r"b\.nii has the spacing 1x1x5 mm and a\.nii 1x1x2\.5 mm: resample them alike, or say with spacing",
    ):
        ImageFolder(tmp_path, **RAW).sizes()
    assert len(list(ImageFolder(Files(tmp_path, spacing=(1, 1, 3)), **RAW).items())) == 2
    nifti(tmp_path / "b.nii", affine=np.diag([1.0, 1.0, 2.5, 1.0]))
    with pytest.raises(ImagesError, match=r"b\.nii has the orientation RAS and a\.nii LAS: turn all files alike"):
        list(ImageFolder(tmp_path, **RAW).items())


@pytest.mark.parametrize("damage", ["cut", "not gzip", "empty", "bomb"])
def test_damaged_volumes_are_skipped_and_bombs_refused(damage: str, tmp_path: Path) -> None:
    nifti(tmp_path / "b.nii.gz")
    whole = gzip.decompress((tmp_path / "b.nii.gz").read_bytes())
    header = bytearray(whole)
    header[42:48] = np.array([3000, 3000, 3000], np.int16).tobytes()  # dim[1:4]
    damaged = {"cut": gzip.compress(whole[:-50]), "not gzip": whole, "empty": b"", "bomb": gzip.compress(bytes(header))}
    (tmp_path / "a.nii.gz").write_bytes(damaged[damage])
    source = ImageFolder(tmp_path, **RAW)
    if damage == "bomb":
        with pytest.raises(
            ImagesError, match=r"a\.nii\.gz has 3000x3000x3000 voxels, 2\.7e\+04 million, and 160 are allowed"
        ):
            list(source.items())
        return
    with pytest.warns(UserWarning, match=r"skipped a\.nii\.gz: "):
        assert [index for index, _ in source.items()] == [1]
    assert str(tmp_path) not in source.skipped["a.nii.gz"]


def test_values_that_are_no_numbers_are_skipped_and_counted(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii", np.where(VOLUME.max() == VOLUME, np.nan, VOLUME).astype(np.float32))
    nifti(tmp_path / "b.nii", VOLUME.astype(np.float32))
    source = ImageFolder(tmp_path, **RAW)
    with pytest.warns(UserWarning, match=r"skipped a\.nii: has \d+ of 210 values that are NaN or infinite"):
        assert [index for index, _ in source.items()] == [1]


def test_a_stack_is_a_volume_where_that_is_asked_for(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    with pytest.raises(
        ImagesError,
        match=r"its axes are QYX of 4 x 6 x 8; it is a stack that does not say of what: axes=3 reads",
    ):
        ImageFolder(tmp_path, **RAW)[0]
    volume = ImageFolder(Files(tmp_path, axes=3), **RAW)
    assert volume.sizes() == [(4, 6, 8)]
    assert np.array_equal(volume[0].numpy(), SHARES[None])
    bands = ImageFolder(Files(tmp_path, axes=2), **RAW)
    assert bands.sizes() == [(6, 8)]
    assert np.array_equal(bands[0].numpy(), SHARES)
    with pytest.raises(ImagesError, match=r"it holds no waveform, and axes=1 asks for one"):
        ImageFolder(Files(tmp_path / "a.tif", axes=1), **RAW)[0]
    tifffile.imwrite(tmp_path / "a.tif", STACK[0])
    with pytest.raises(ImagesError, match=r"it holds no volume, and axes=3 asks for one"):
        ImageFolder(Files(tmp_path, axes=3), **RAW)[0]


def test_an_ome_tiff_says_that_it_is_a_volume_and_how_large(tmp_path: Path) -> None:
    both = np.stack([STACK, STACK // 2])
    about = {
        "axes": "CZYX",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.5,
        "PhysicalSizeZ": 2000.0,
        "PhysicalSizeZUnit": "nm",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", both, photometric="minisblack", metadata=about)
    source = ImageFolder(tmp_path, **RAW)
    assert source.sizes() == [(4, 6, 8)]
    assert np.array_equal(source[0].numpy(), both.astype(np.float32) / np.float32(65535))
    assert source.record["spacing"] == pytest.approx([2e-3, 5e-4, 5e-4])


def test_zarr_groups_hold_one_array_or_an_ome_image(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group["fine"] = np.stack([STACK, STACK // 2])[None]
    source = ImageFolder(tmp_path, **RAW)
    with pytest.raises(ImagesError, match=r"its shape is 1 x 2 x 4 x 6 x 8"):
        source[0]
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}] + [
        {"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"
    ]
    scale = {"coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 2.0, 0.5, 0.5]}]}
    coarse = {"path": "coarse", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 4.0, 1.0, 1.0]}]}
    group["coarse"] = np.zeros((1, 2, 2, 3, 4), np.uint16)
    with pytest.raises(ImagesError, match=r"it is a group of 2 arrays \(coarse, fine\); one is read"):
        ImageFolder(tmp_path, **RAW)[0]
    for attributes in (
        {"multiscales": [{"axes": axes, "datasets": [{"path": "fine", **scale}, coarse]}]},
        {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "fine", **scale}, coarse]}]}},
    ):
        group.attrs.put(attributes)
        source = ImageFolder(tmp_path, **RAW)
        assert source.sizes() == [(4, 6, 8)]
        assert np.array_equal(source[0].numpy()[0], SHARES)
        assert source.record["spacing"] == pytest.approx([2e-3, 5e-4, 5e-4])
    assert len(ImageFolder([tmp_path / "a.zarr"], **RAW)) == len(ImageFolder(tmp_path / "a.zarr", **RAW)) == 1


@pytest.mark.parametrize(
    ("names", "shape", "axes", "expected"),
    [
        ("YX", (6, 8), None, (1, 6, 8)),
        ("YXS", (6, 8, 3), None, (3, 6, 8)),
        ("CYX", (5, 6, 8), 2, (5, 6, 8)),
        ("TZCYX", (1, 4, 3, 6, 8), None, (3, 4, 6, 8)),
        ("TZCYX", (1, 4, 1, 6, 8), None, (1, 4, 6, 8)),
        ("TYX", (9, 6, 8), 3, (1, 9, 6, 8)),
        ("TCYX", (9, 2, 6, 8), 3, (2, 9, 6, 8)),
        ("ZYX", (1, 6, 8), None, (1, 6, 8)),
        ("ZYX", (1, 6, 8), 3, (1, 1, 6, 8)),
        ("ZYX", (4, 6, 8), 2, (4, 6, 8)),
        ("YX", (1, 8), None, (1, 1, 8)),
    ],
)
def test_named_axes_find_their_places(
    names: str, shape: tuple[int, ...], axes: int | None, expected: tuple[int, ...]
) -> None:
    order = named(names, shape, axes)
    assert order.shape(shape) == expected
    array = np.arange(np.prod(shape)).reshape(shape)
    found = order(array)
    assert found.shape == expected
    kept = "".join(name for name, n in zip(names, shape, strict=True) if n > 1)
    channel = next((kept.index(name) for name in "CS" if name in kept), None)
    flat = array.squeeze()
    assert np.array_equal(found.squeeze(), flat if channel is None else np.moveaxis(flat, channel, 0))


@pytest.mark.parametrize(
    ("names", "shape", "axes", "words"),
    [
        ("TZYX", (3, 4, 6, 8), None, r"save one time or one series apart"),
        ("QYX", (3, 6, 8), None, r"axes=3 reads it as a volume, axes=2 its pages as bands"),
        ("CYXS", (2, 6, 8, 3), None, r"more than one axis of channels"),
        ("XY", (6, 8), None, r"rows and columns are read"),
        ("ZYX", (0, 6, 8), None, r"rows and columns are read"),
        ("TQYX", (3, 4, 6, 8), 3, r"save one time or one series apart"),
    ],
)
def test_other_axes_are_refused(names: str, shape: tuple[int, ...], axes: int | None, words: str) -> None:
    with pytest.raises(ImagesError, match=words):
        named(names, shape, axes)


@pytest.mark.parametrize(
    ("name", "package", "axes"), [("a.nii", "nibabel", None), ("a.zarr", "zarr", None), ("a.tif", "tifffile", 3)]
)
def test_without_its_package_a_reader_names_the_extra(
    name: str, package: str, axes: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).touch() if package != "zarr" else (tmp_path / name).mkdir()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"{package} is needed for .*: pip install 'padprint\[readers\]'"):
        list(ImageFolder(Files(tmp_path, axes=axes), **RAW).items())
