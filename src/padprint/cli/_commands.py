"""What the commands do, once their options are read."""

# each command imports only what it uses
from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padprint.cli import _processes, _show
from padprint.errors import ImagesError, ResultError

if TYPE_CHECKING:
    from torch import Tensor

    from padprint.models import LoadedModel
    from padprint.result import Measurement

Channels = tuple[float, ...]
RANDOM = "random initialisation"  # what load_model calls it


@dataclass(frozen=True)
class Job:
    """One ``padprint measure``.

    Attributes:
        model: the model's specification.
        weights: a file with a state dict, or None.
        images: image files and folders.
        mean: channel means, or None for the model's own.
        std: channel deviations, or None for the model's own.
        device: torch device, or None.
        calibrate: images to calibrate BatchNorm on; 0 for none.
        output: folder for the result, or None.
        plots: whether to write pictures too.
        options: further arguments of `padprint.measure`.
    """

    model: str
    weights: Path | None
    images: Sequence[Path]
    mean: Channels | None
    std: Channels | None
    device: str | None
    calibrate: int
    output: Path | None
    plots: bool
    options: dict[str, Any]


def measure(job: Job, *, as_json: bool, quiet: bool) -> None:
    """Measure, then write and show the result; only the first process of several shows and writes."""
    with _show.reporting() as console:
        check_output(job.output)
        with _processes.joined(job.device) as device:
            result = _measure(job, device, progress=_show.wants_progress(quiet))
        if _processes.first():
            written = write(result, job.output, plots=job.plots)
            if not quiet:
                _show.measurement(console, result)
                _show.lines(console, written)
    if as_json and _processes.first():
        _show.as_json(result.to_dict())


def layers(model: str, weights: Path | None, names: str | list[str], crop: tuple[int, int], *, as_json: bool) -> None:
    """Show the geometry of a model's layers."""
    with _show.reporting() as console:
        from padprint.geometry import trace
        from padprint.models import load_model

        geometry = trace(load_model(model, weights=weights).model, layers=names, crop=crop)
        if not as_json:
            _show.geometry(console, geometry, crop)
    if as_json:
        _show.as_json(_show.geometry_document(geometry, crop))


def inspect(model: str, size: tuple[int, int], *, as_json: bool) -> None:
    """Show every operator of a model that pads."""
    with _show.reporting() as console:
        from padprint.inspection import inspect
        from padprint.models import load_model

        found = inspect(load_model(model).model, size)
        if not as_json:
            _show.inspection(console, found)
    if as_json:
        _show.as_json(found.to_dict())


def demo(output: Path, *, as_json: bool, quiet: bool) -> None:
    """Run the demonstration, write its files and show them."""
    with _show.reporting() as console:
        check_output(output)
        from padprint import demo

        result = demo.run(progress=_show.wants_progress(quiet))
        written = write(result, output, plots=True)
        if not quiet:
            _show.measurement(console, result)
            _show.lines(console, written)
    if as_json:
        _show.as_json(result.to_dict())


def check_output(folder: Path | None) -> None:
    """Refuse an output folder that cannot be one before the work, not after it.

    Raises:
        ResultError: the path, or one of its parents, is a file.
    """
    for path in () if folder is None else (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise ResultError(f"{path} cannot be a folder, a file has that name; choose another --output")


def write(result: Measurement, folder: Path | None, *, plots: bool) -> list[str]:
    """Save a result, with pictures where wanted; returns a line about what was written."""
    if folder is None:
        return []
    result.save(folder)
    if not plots:
        return [f"wrote {folder}/result.json and patterns.safetensors"]
    from padprint.plot import save_patterns

    pictures = save_patterns(result, folder)
    return [f"wrote {folder}/result.json, patterns.safetensors and {len(pictures)} pictures (pattern-*.png)"]


def _measure(job: Job, device: str | None, *, progress: bool) -> Measurement:
    import torch

    from padprint.engine import measure
    from padprint.models import load_model
    from padprint.processes import together

    torch.manual_seed(job.options["seed"])  # random initial weights are the same in every run and process
    with together(_processes.several()):
        loaded = load_model(job.model, weights=job.weights)
        mean, std = _normalisation(job, loaded)
        if job.calibrate:
            _calibrate(loaded, job, mean, std)
    if not job.calibrate and loaded.weights_source == RANDOM:
        warnings.warn(
            f"{loaded.name} has random initial weights: name weights (torchvision:NAME@DEFAULT), give "
            "--weights FILE, or set BatchNorm's statistics with --calibrate N",
            stacklevel=2,
        )
    result: Measurement = measure(
        loaded.model,
        _images(job),
        device=device,
        progress=progress,
        mean=mean,
        std=std,
        distributed=_processes.several(),
        name=loaded.name,
        **job.options,
    )
    given = job.mean is not None or job.std is not None
    result.provenance.update(
        weights_source=loaded.weights_source,
        normalisation_source="command line" if given else loaded.normalisation_source,
        calibrated_on=job.calibrate,
    )
    return result


def _images(job: Job) -> Path | list[Path]:
    """One folder or file, or a list of files."""
    return job.images[0] if len(job.images) == 1 else list(job.images)


def _normalisation(job: Job, loaded: LoadedModel) -> tuple[Channels, Channels]:
    """What was asked for, else what the model declares.

    Raises:
        ImagesError: neither says it.
    """
    mean, std = job.mean or loaded.mean, job.std or loaded.std
    if mean is None or std is None:
        raise ImagesError(
            f"it is not known how {loaded.name} wants its images normalised: give --mean and --std as in "
            "training, for ImageNet mostly --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
        )
    return mean, std


def _calibrate(loaded: LoadedModel, job: Job, mean: Channels, std: Channels) -> None:
    """Set BatchNorm's statistics from centre crops of the first images."""
    from padprint.images import as_source
    from padprint.models import calibrate_batchnorm

    source = as_source(
        _images(job),
        mean=mean,
        std=std,
        limit=job.calibrate,
        strict=job.options["strict"],
        resize_short_side=job.options["resize_short_side"],
    )
    crop = job.options["crop"]
    images = (image for _, image in source.items())
    calibrate_batchnorm(loaded.model, (_centre(image, crop) for image in images))


def _centre(image: Tensor, crop: tuple[int, int]) -> Tensor:
    """The middle of a (C, H, W) image, as large as the crop where the image is that large."""
    rows, columns = crop
    top, left = max(0, image.shape[1] - rows) // 2, max(0, image.shape[2] - columns) // 2
    return image[:, top : top + rows, left : left + columns]
