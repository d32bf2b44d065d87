"""Picture files that would lose something, hide something, or are none: refused, skipped and counted, or named."""

from __future__ import annotations

import json
import os
import socket
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import nets
from padprint import load, measure
from padprint.errors import ImagesError
from padprint.images.depth import cut
from padprint.images.folder import ImageFolder
from padprint.images.photographs import as_source

PLAIN: Any = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@pytest.fixture(autouse=True)
def pillow_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if tifffile were not there, which reads what Pillow would cut: see ``test_readers``."""
    monkeypatch.setattr("padprint.images.folder.can_read_tiffs", lambda: False)


def colours(bands: int = 3, h: int = 6, w: int = 8) -> np.ndarray:
    return np.random.default_rng(bands).integers(0, 65536, (h, w, bands), dtype=np.uint16)


def save(path: Path, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 90, 20)).save(path)
    return path


def png(kind: int, pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a band, which Pillow reads but does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, photometric: int, extra: tuple[int, ...] = (), sign: int = 1) -> bytes:
    """An uncompressed TIFF, little-endian, in one strip."""
    h, w, bands = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    tags: dict[int, tuple[int, ...]] = {
        256: (w,),
        257: (h,),
        258: (8 * pixels.itemsize,) * bands,
        259: (1,),
        262: (photometric,),
        273: (0,),
        277: (bands,),
        278: (h,),
        279: (len(data),),
        339: (sign,) * bands,
    }
    if extra:
        tags[338] = extra
    start = 8 + 2 + 12 * len(tags) + 4
    entries, tail = [], b""
    for tag, values in sorted(tags.items()):
        kind, packed = (
            (4, struct.pack("<I", *values)) if len(values) == 1 else (3, struct.pack(f"<{len(values)}H", *values))
        )
        if len(packed) > 4:
            tail, packed = tail + packed, struct.pack("<I", start + len(tail))
        entries.append((tag, kind, len(values), packed.ljust(4, b"\0")))
    body = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, kind, n, packed in entries:
        body += struct.pack("<HHI", tag, kind, n)
        body += struct.pack("<I", start + len(tail)) if tag == 273 else packed
    return body + struct.pack("<I", 0) + tail + data


def half_float_texture() -> bytes:
    """A DDS of BC6H: three bands of 16-bit floating point."""
    header = struct.pack("<7I44x", 124, 0x1007, 4, 4, 16, 0, 0) + struct.pack("<2I4s5I", 32, 4, b"DX10", 0, 0, 0, 0, 0)
    return b"DDS " + header + struct.pack("<5I", 0x1000, 0, 0, 0, 0) + struct.pack("<5I", 95, 3, 0, 1, 0) + bytes(16)


def jpeg2000(bits: int, bands: int) -> bytes:
    """A JPEG 2000 whose header claims so many bits; pixels are never reached."""
    pixels = np.full((6, 8, bands), 255, dtype=np.uint8)
    path = Path("ok.jp2")
    Image.fromarray(pixels).save(path)
    data = bytearray(path.read_bytes())
    path.unlink()
    at = data.find(b"\xff\x4f\xff\x51") + 42
    for band in range(bands):
        data[at + 3 * band] = bits - 1
    return bytes(data)


def fits() -> bytes:
    """A cube of three planes."""
    cards = ["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 3", "NAXIS1  = 8", "NAXIS2  = 6", "NAXIS3  = 3", "END"]
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(2880)


BYTES = (colours(5) >> 8).astype(np.uint8)
CUT = {
    "rgb.png": (lambda: png(2, colours()), "16 bits in each band, of which Pillow reads 8"),
    "rgba.png": (lambda: png(6, colours(4)), "16 bits in each band"),
    "la.png": (lambda: png(4, colours(2)), "16 bits in each band"),
    "rgb.tif": (lambda: tiff(colours(), 2), "16 bits in each of 3 bands, of which Pillow reads 8"),
    "rgba.tif": (lambda: tiff(colours(4), 2, (2,)), "16 bits in each of 4 bands"),
    "four.tif": (lambda: tiff(BYTES[..., :4], 2, (0,)), "4 bands, of which Pillow reads 3"),
    "four-unsaid.tif": (lambda: tiff(BYTES[..., :4], 2), "4 bands, of which Pillow reads 3"),
    "alpha.tif": (lambda: tiff(BYTES[..., :4], 2, (2,)), "its last band counts as transparency and is not opaque"),
    "signed.tif": (lambda: tiff(BYTES[..., :1], 1, sign=2), "its numbers have signs"),
    "deep.ppm": (lambda: b"P6 8 6 65535\n" + colours().astype(">u2").tobytes(), "16 bits in each band"),
    "ten.ppm": (lambda: b"P6 8 6 1023\n" + (colours() >> 6).astype(">u2").tobytes(), "10 bits in each band"),
    "plain.ppm": (lambda: b"P3 8 6 65535\n" + b" ".join(b"%d" % n for n in colours().ravel()), "16 bits"),
    "deep.jp2": (lambda: jpeg2000(12, 3), "12 bits in each band"),
    "half.dds": (half_float_texture, "16 bits in each band"),
    "cube.fits": (fits, "3 axes, of which Pillow reads two"),
}


@pytest.mark.parametrize("name", CUT)
def test_bits_and_bands_are_not_cut_silently(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, words = CUT[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(ImagesError) as caught:
        ImageFolder(tmp_path, **PLAIN)[0]
    message = str(caught.value)
    assert message.startswith(f"{name} cannot be decoded: it")
    assert words in message
    assert "tensors" in message
    assert "\n" not in message


def test_a_second_band_of_grey_is_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "two.tif").write_bytes(tiff(BYTES[..., :2], 1, (0,)))  # older Pillow does not open it
    with pytest.raises(
        ImagesError, match=r"two\.tif cannot be decoded: (it has 2 bands, of which Pillow reads 1|Unidentif)"
    ):
        ImageFolder(tmp_path, **PLAIN)[0]


@pytest.mark.skipif(".avif" not in Image.registered_extensions(), reason="this Pillow has no AVIF")
@pytest.mark.parametrize(("flags", "bits"), [(0x40, 10), (0x60, 12)])
def test_the_depth_of_avif_is_in_its_header(tmp_path: Path, flags: int, bits: int) -> None:
    path = tmp_path / "a.avif"
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(path)
    with Image.open(path) as image:
        assert cut(image, path) is None
        data = bytearray(path.read_bytes())
        data[data.find(b"av1C") + 6] |= flags  # Pillow writes 8 bits only, so that this header is all there is
        path.write_bytes(data)
        assert cut(image, path) == f"it has {bits} bits in each band, of which Pillow reads 8"


def test_deep_files_are_counted_or_named(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(colours(), 2))
    source = as_source(tmp_path, **PLAIN)
    with pytest.warns(UserWarning, match=r"skipped a\.tif: it has 16 bits in each of 3 bands"):
        assert list(source.items()) == []
    with pytest.raises(ImagesError, match=r"a\.tif cannot be decoded: it has 16 bits.*tifffile, rasterio"):
        list(as_source(tmp_path, **PLAIN, strict=True).items())
    with pytest.warns(UserWarning), pytest.raises(ImagesError, match=r"no image left: 1 file .*a\.tif: it has 16 bits"):
        measure(nets.stack(), tmp_path, crop=16, **PLAIN)


def test_files_that_lose_nothing_are_read(tmp_path: Path) -> None:
    rgb = BYTES[..., :3]
    (tmp_path / "rgb.tif").write_bytes(tiff(rgb, 2))
    (tmp_path / "opaque.tif").write_bytes(tiff(np.dstack([rgb, np.full((6, 8), 255, np.uint8)]), 2, (2,)))
    (tmp_path / "rgb.ppm").write_bytes(b"P6 8 6 255\n" + rgb.tobytes())
    for name in ("a.png", "b.bmp", "c.jp2"):
        Image.fromarray(rgb).save(tmp_path / name, **({"irreversible": False} if name == "c.jp2" else {}))
    expected = torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1) / 255
    found = dict(as_source(tmp_path, **PLAIN, strict=True).items())
    assert len(found) == 6
    for image in found.values():
        torch.testing.assert_close(image, expected)
    grey = colours(1)
    (tmp_path / "grey.png").write_bytes(png(0, grey))
    torch.testing.assert_close(
        ImageFolder(tmp_path / "grey.png", **PLAIN)[0][0], torch.from_numpy(grey[..., 0].astype(np.float32)) / 65535
    )


def test_other_kinds_of_bytes_still_become_rgb(tmp_path: Path) -> None:
    for mode in ("CMYK", "P", "1", "L"):
        Image.new("RGB", (8, 6), (250, 0, 0)).convert(mode).save(tmp_path / f"{mode}.tif")
    assert [tuple(image.shape) for _, image in as_source(tmp_path, **PLAIN, strict=True).items()] == [(3, 6, 8)] * 4


def test_transparency_is_dropped_with_a_warning_where_it_hides_something(tmp_path: Path) -> None:
    rgba = BYTES[..., :4].copy()
    for name, alpha in (("a.png", 255), ("b.png", 0), ("c.png", 7)):
        rgba[..., 3] = alpha
        Image.fromarray(rgba).save(tmp_path / name)
    source = as_source(tmp_path, **PLAIN)
    with pytest.warns(UserWarning) as seen:
        images = [image for _, image in source.items()]
    assert [str(one.message).split(":")[0] for one in seen] == ["b.png has transparent pixels"]
    assert source.skipped == {}
    for image in images:
        torch.testing.assert_close(image, torch.from_numpy(rgba[..., :3].astype(np.float32)).permute(2, 0, 1) / 255)


def test_files_that_other_programs_draw_are_not_opened(tmp_path: Path) -> None:
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\nshowpage\n"
    (tmp_path / "page.eps").write_bytes(page)
    with pytest.raises(ImagesError, match="no image file in the folder"):
        as_source(tmp_path, **PLAIN)
    (tmp_path / "page.png").write_bytes(page)
    with pytest.raises(ImagesError, match=r"page\.png cannot be decoded: UnidentifiedImageError"):
        ImageFolder(tmp_path, **PLAIN)[0]


# ---- too many pixels -----------------------------------------------------------------------------------


def never(*_: object) -> None:
    raise AssertionError("decoded")


def test_pixels_are_counted_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "long.png", (50000, 1))
    monkeypatch.setattr(Image.Image, "resize", never)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    message = (
        r"long\.png has 64x3200000 px after resizing .1x50000 px before., 204\.8 megapixels, and 160 are allowed.*"
    )
    for strict in (False, True):
        folder = as_source(tmp_path, **PLAIN, resize_short_side=64, strict=strict)
        with pytest.raises(ImagesError, match=message + r"max_megapixels .--max-megapixels"):
            list(folder.items())
        with pytest.raises(ImagesError, match=message):
            folder.sizes()
        with pytest.raises(ImagesError, match=message):
            measure(nets.stack(), tmp_path, crop=16, resize_short_side=64, strict=strict, **PLAIN)
    with pytest.raises(ImagesError, match=r"long\.png has 1x50000 px, 0\.05 megapixels, and 0\.04 are allowed"):
        measure(nets.stack(), tmp_path, crop=16, max_megapixels=0.04, **PLAIN)


def test_the_limit_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", (60, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # half of where Pillow refuses, above which it warns
    folder = as_source(tmp_path, **PLAIN, max_megapixels=0.003)
    assert folder.sizes() == [(50, 60)]
    assert [tuple(image.shape) for _, image in folder.items()] == [(3, 50, 60)]
    assert Image.MAX_IMAGE_PIXELS == 1000
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ImagesError, match="max_megapixels must be above 0, got"):
            as_source(tmp_path, **PLAIN, max_megapixels=wrong)
    with pytest.raises(ImagesError, match=r"max_megapixels= is for image files"):
        as_source(torch.rand(2, 3, 4, 4), max_megapixels=1)


# ---- names, links and what is no file ------------------------------------------------------------------


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    where = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        where.mkdir()
    except OSError:
        pytest.skip("this file system wants UTF-8")
    for i in range(3):
        save(where / f"{i}.png", (40, 40))
    (where / os.fsdecode(b"bad\xff.png")).write_text("no picture")
    source = as_source(where, **PLAIN)
    assert source.description == r"caf\udce9 (4 image files)"
    with pytest.warns(UserWarning, match=r"skipped bad\\udcff\.png"):
        result = measure(nets.stack(), where, crop=16, **PLAIN)
    result.save(tmp_path / "saved")
    document = json.loads((tmp_path / "saved" / "result.json").read_text(encoding="utf-8"))
    json.dumps(document, ensure_ascii=False).encode("utf-8")
    assert load(tmp_path / "saved").provenance["images"] == r"caf\udce9 (4 image files)"
    assert list(load(tmp_path / "saved").provenance["skipped"]) == [r"bad\udcff.png"]
    for wrong in (where / os.fsdecode(b"\xfe"), [where / os.fsdecode(b"\xfe.png")]):
        with pytest.raises(ImagesError) as caught:
            as_source(wrong, **PLAIN)
        str(caught.value).encode("utf-8")


def test_links_and_special_files_are_counted_and_said(tmp_path: Path) -> None:
    root, outside = tmp_path / "scenes", tmp_path / "outside"
    save(root / "a.png")
    save(outside / "b.png")
    (root / "good.png").symlink_to(outside / "b.png")
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "ring.png").symlink_to(root / "ring.png")
    (root / "more").symlink_to(outside)
    (root / "notes.txt").symlink_to(tmp_path / "nowhere.txt")
    os.mkfifo(root / "pipe.png")
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(root)
        try:
            one.bind("socket.png")
        finally:
            os.chdir(here)
    source = as_source(root, **PLAIN)
    with pytest.warns(UserWarning) as seen:
        assert [index for index, _ in source.items()] == [0, 1]
    assert [str(one.message) for one in seen] == [f"skipped {name}: {why}" for name, why in source.skipped.items()]
    assert sorted(source.skipped) == ["gone.png", "more", "pipe.png", "ring.png", "socket.png"]
    assert source.skipped["gone.png"] == "a link that leads nowhere (No such file or directory)"
    assert source.skipped["ring.png"].startswith("a link that leads nowhere (")
    assert source.skipped["more"] == "a link to a folder, which is not followed"
    assert source.skipped["pipe.png"] == "a pipe, not a file"
    assert source.skipped["socket.png"] == "a socket, not a file"
    with pytest.raises(ImagesError, match=r"gone\.png cannot be decoded: a link that leads nowhere"):
        list(as_source(root, **PLAIN, strict=True).items())
    with pytest.raises(ImagesError, match=r"pipe\.png is no file \(it is a pipe, not a file\)"):
        as_source([root / "pipe.png"], **PLAIN)
    with pytest.raises(ImagesError, match=r"there is no file or folder .*gone\.png' \(it is a link that leads nowhere"):
        as_source(root / "gone.png", **PLAIN)
    (root / "a.png").unlink()
    (root / "good.png").unlink()
    with pytest.raises(ImagesError, match=r"no image file in the folder .*gone\.png was left out: a link that leads"):
        as_source(root, **PLAIN)


def test_no_folder_above_is_named(tmp_path: Path) -> None:
    good = [save(tmp_path / "x" / "a.png"), save(tmp_path / "y" / "a.png")]
    bad = tmp_path / "y" / "b.png"
    bad.write_text("no picture")
    source = as_source([*good, bad], **PLAIN)
    with pytest.warns(UserWarning, match=r"skipped y/b\.png"):
        assert len(list(source.items())) == 2
    assert list(source.skipped) == ["y/b.png"]
    assert str(tmp_path) not in json.dumps([source.skipped, source.description])
    assert [name for name, _ in as_source([bad], **PLAIN)._files] == ["b.png"]


def test_a_fingerprint_tells_lists_apart(tmp_path: Path) -> None:
    files = [save(tmp_path / "x" / f"{name}.png", (8 + i, 6)) for i, name in enumerate("abc")]
    copies = [save(tmp_path / "elsewhere" / f"{name}.png", (8 + i, 6)) for i, name in enumerate("abc")]
    first = as_source(files, **PLAIN).fingerprint()
    assert len(first) == 64
    assert as_source(copies, **PLAIN).fingerprint() == first
    assert as_source(files[:2], **PLAIN).fingerprint() != first
    assert as_source([*files[:2], files[2].rename(tmp_path / "x" / "d.png")], **PLAIN).fingerprint() != first


def test_folders_that_cannot_be_read_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "closed" / "b.png")
    scan = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    source = as_source(tmp_path, **PLAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(list(source.items())) == 1
    assert source.skipped == {"closed": "the folder cannot be read (Permission denied)"}


@pytest.mark.parametrize("suffix", ["gif", "png", "tif", "webp"])
def test_files_of_several_pages_are_refused(tmp_path: Path, suffix: str) -> None:
    pages = [Image.new("RGB", (40, 30), (60 * i, 90, 120)) for i in range(1, 4)]
    pages[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pages[1:])
    with pytest.raises(ImagesError, match=r"3 pages or frames|axes are IYXS"):
        ImageFolder([tmp_path / f"a.{suffix}"], mean=(0.5,) * 3, std=(0.5,) * 3)[0]
    pages[0].save(tmp_path / f"b.{suffix}")
    assert ImageFolder([tmp_path / f"b.{suffix}"], mean=(0.5,) * 3, std=(0.5,) * 3)[0].shape == (3, 30, 40)
