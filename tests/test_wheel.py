"""What would be published: sdist and wheel build, and the wheel alone measures, reports and advises on tiles."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

import padprint
from padprint.scenes import DeadLeaves

ROOT = Path(__file__).parents[1]
NETWORK = """
from torch import nn

mean, std = [0.5] * 3, [0.25] * 3

def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
"""

pytestmark = pytest.mark.docs


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Sdist and wheel, the wheel made of the sdist."""
    if find_spec("build") is None or find_spec("hatchling") is None:
        pytest.skip("build and hatchling are not installed: pip install --group docs")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def test_sdist_holds_what_tests_and_pages_need(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ("src/padprint/__init__.py", "tests/conftest.py", "docs/index.md", "mkdocs.yml", "CONTRIBUTING.md")
    assert {"README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "pyproject.toml", *wanted} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("site/", "shared/"))]


def test_wheel_holds_the_package_alone(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"padprint"}
    assert "padprint/py.typed" in names
    assert f"Version: {padprint.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0" in metadata


@pytest.mark.skipif(sys.platform == "win32", reason="the environment is made of links")
def test_wheel_alone_measures_reports_and_halos(built: tuple[Path, Path], tmp_path: Path) -> None:
    from fresh import environment

    scripts = environment(tmp_path / "venv", built[1])
    here = tmp_path / "work"
    (here / "photos").mkdir(parents=True)
    (here / "mynet.py").write_text(NETWORK)
    for i, scene in enumerate(DeadLeaves(3, 128, mean=(0.0,) * 3, std=(1.0,) * 3)):
        pixels = scene.clamp(0, 1).mul(255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(here / "photos" / f"{i}.png")
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(line: str, *more: str) -> str:
        program, *arguments = line.split()
        command = [str(scripts / program), *arguments, *more]
        done = subprocess.run(command, cwd=here, env=surroundings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    extra = "import importlib.util as u; print([n for n in ('torchvision', 'timm', 'scipy', 'lightning') if u.find_spec(n)])"
    assert run("python -c", extra) == "[]\n"
    assert str(tmp_path) in run("python -c", "import padprint; print(padprint.__file__)")
    assert run("padprint --version").strip().endswith(padprint.__version__)
    run("padprint measure mynet:make photos --crop 32 --crops-per-image 2 --output result --plots")
    run("padprint report result --output page.html")
    run("padprint halo mynet:make photos --tile 48 --tolerance 0.2 --output tiles --report")
    for page in ("page.html", "tiles/report.html"):
        assert "</html>" in (here / page).read_text(encoding="utf-8")
    assert "snr" in run("python -c", "import padprint; print(list(padprint.load('result').to_frame()))")
