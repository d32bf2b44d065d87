"""padprint imports and measures with torchvision absent, present or broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import torch, padprint
net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1))
result = padprint.measure(net, [torch.randn(3, 40, 40) for _ in range(3)], crop=16, crops_per_image=2)
assert result["0"].rim == (1, 1, 1, 1) and result["0"].snr.value == result["0"].snr.value
found = padprint.PatternMetric(net, crop=16, crops_per_image=2)
found.update([torch.randn(3, 40, 40) for _ in range(3)])
assert found.compute()["0/snr"].isfinite()
try:
    padprint.load_model("torchvision:resnet18")
except ImportError as error:
    print(error)
else:
    print("loaded")
"""
ABSENT = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

import importlib.util
from importlib.metadata import Distribution, PackageNotFoundError
found, distribution = importlib.util.find_spec, Distribution.from_name

def from_name(name):
    if name == "torchvision":
        raise PackageNotFoundError(name)
    return distribution(name)

Distribution.from_name = from_name
importlib.util.find_spec = lambda name, package=None: None if name == "torchvision" else found(name, package)
sys.meta_path.insert(0, Absent())
"""


def run(code: str, path: Path | None = None) -> str:
    """Output of a fresh interpreter that runs `code`, with the modules in `path` before all others."""
    first = "" if path is None else f"import sys; sys.path.insert(0, {str(path)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", first + code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_present() -> None:
    pytest.importorskip("torchvision")
    assert run(MEASURE) == "loaded"


def test_absent() -> None:
    said = run(ABSENT + MEASURE)
    assert "torchvision is needed" in said
    assert "pip install 'padprint[models]'" in said


@pytest.mark.parametrize(
    "fault",
    [
        "RuntimeError('operator torchvision::nms does not exist')",
        pytest.param("OSError('libtorch.so: undefined symbol')", marks=pytest.mark.slow),
    ],
)
def test_broken(tmp_path: Path, fault: str) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(f"raise {fault}\n")
    said = run(MEASURE, tmp_path)
    assert "torchvision is needed" in said
    assert "is installed but fails to import" in said
    assert fault.split("'")[1] in said
