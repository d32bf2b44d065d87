"""What commands are asked to run on: models with their weights, images, and how these are normalised."""

# each command imports only what it uses
from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padprint.cli import _processes
from padprint.errors import ImagesError, ModelError, readable

if TYPE_CHECKING:
    from torch import Tensor

    from padprint.models import LoadedModel

Channels = tuple[float, ...]
RANDOM = "random initialisation"  # what load_model calls it


@dataclass(frozen=True)
class Job:
    """One ``padprint measure`` or ``padprint compare``.

    Attributes:
        models: for each model, its specification and a file with a state dict, or None.
        padding: schemes to swap in; none for the models' own padding.
        images: image files and folders.
        mean: channel means, or None for the model's own.
        std: channel deviations, or None for the model's own.
        device: torch device, or None.
        calibrate: images to calibrate BatchNorm on; 0 for none.
        output: folder for the result, or None.
        plots: whether to write pictures too.
        options: further arguments of `padprint.measure`.
        report: whether to write a report too.
    """

    models: Sequence[tuple[str, Path | None]]
    padding: Sequence[str]
    images: Sequence[Path]
    mean: Channels | None
    std: Channels | None
    device: str | None
    calibrate: int
    output: Path | None
    plots: bool
    options: dict[str, Any]
    report: bool = False


def load_models(job: Job) -> dict[str, LoadedModel]:
    """The models by name; of one model with several weights files, by the files'."""
    import torch

    from padprint.models import load_model
    from padprint.processes import together

    found: dict[str, LoadedModel] = {}
    with together(_processes.several()):
        for spec, weights in job.models:
            torch.manual_seed(job.options["seed"])  # random initial weights are the same in every run and process
            loaded = load_model(spec, weights=weights)
            name = loaded.name if weights is None or len(job.models) == 1 else readable(f"{loaded.name} {weights.stem}")
            if name in found:
                raise ModelError(
                    f"{name} is there twice: two models would have that name in the result; compare different ones, or "
                    "rename one of the weights files"
                )
            found[name] = loaded
            if job.calibrate:
                _calibrate(loaded, job, *common_normalisation(job, [loaded]))
            elif loaded.weights_source == RANDOM:
                warnings.warn(
                    f"{loaded.name} has random initial weights: name weights (torchvision:NAME@DEFAULT), give "
                    "--weights FILE, or set BatchNorm's statistics with --calibrate N",
                    stacklevel=2,
                )
            else:
                warn_uncalibrated(loaded)
    return found


def warn_uncalibrated(loaded: LoadedModel) -> None:
    """Say so where a model has BatchNorm that never saw data."""
    from padprint.layers import uncalibrated

    fresh = uncalibrated(loaded.model)
    if fresh is not None:
        warnings.warn(f"{loaded.name}: {fresh}", stacklevel=2)


def one_model(
    model: str,
    weights: Path | None,
    images: Sequence[Path],
    rgb: tuple[Channels | None, Channels | None],
    calibrate: int,
    options: Mapping[str, Any],
) -> tuple[LoadedModel, Path | list[Path], dict[str, Any]]:
    """One model, its images as a source takes them, and their ``mean`` and ``std``.

    Args:
        model: its specification.
        weights: a file with a state dict, or None.
        images: files and folders.
        rgb: mean and deviation asked for.
        calibrate: images to calibrate BatchNorm on, at the options' crop; 0 for none.
        options: of the work; seed, strict, resize_short_side and crop count.
    """
    known = {"seed": 0, "strict": False, "resize_short_side": None, "crop": (224, 224), **options}
    job = Job([(model, weights)], (), images, *rgb, None, calibrate, None, False, known)
    (loaded,) = load_models(job).values()
    mean, std = common_normalisation(job, [loaded])
    return loaded, given_images(job), {"mean": mean, "std": std}


def given_images(job: Job) -> Path | list[Path]:
    """One folder or file, or a list of files."""
    return job.images[0] if len(job.images) == 1 else list(job.images)


def common_normalisation(job: Job, models: Sequence[LoadedModel]) -> tuple[Channels, Channels]:
    """What was asked for, else what the models declare.

    Raises:
        ImagesError: neither says it, or the models differ.
    """
    wanted: list[tuple[str, Channels, Channels]] = []
    for one in models:
        mean, std = job.mean or one.mean, job.std or one.std
        if mean is None or std is None:
            missing = [option for option, value in (("--mean", mean), ("--std", std)) if value is None]
            raise ImagesError(
                f"{one.name} does not say how its images must be normalised: give {' and '.join(missing)} as in training, "
                "for ImageNet mostly --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
            )
        wanted.append((one.name, mean, std))
    (first, mean, std), *others = wanted
    for name, other_mean, other_std in others:
        if (mean, std) != (other_mean, other_std):
            raise ImagesError(
                f"the models are not normalised alike, and are compared on the same images: {first} wants mean "
                f"{_listed(mean)} and deviation {_listed(std)}, {name} {_listed(other_mean)} and {_listed(other_std)}; give "
                "--mean and --std that hold for both"
            )
    return mean, std


def _listed(values: Channels) -> str:
    return ",".join(f"{value:g}" for value in values)


def _calibrate(loaded: LoadedModel, job: Job, mean: Channels, std: Channels) -> None:
    """Set BatchNorm's statistics from centre crops of the first images."""
    from padprint.images import as_source
    from padprint.models import calibrate_batchnorm
    from padprint.source import nothing_decoded

    source = as_source(
        given_images(job),
        mean=mean,
        std=std,
        limit=job.calibrate,
        strict=job.options["strict"],
        resize_short_side=job.options["resize_short_side"],
        max_megapixels=job.options.get("max_megapixels"),
    )
    crop = job.options["crop"]
    crops = [_centre(image, crop).clone() for _, image in source.items()]
    if not crops:
        raise nothing_decoded(source)
    calibrate_batchnorm(loaded.model, crops)


def _centre(image: Tensor, crop: tuple[int, int]) -> Tensor:
    """The middle of a (C, H, W) image, as large as the crop where the image is that large."""
    rows, columns = crop
    top, left = max(0, image.shape[1] - rows) // 2, max(0, image.shape[2] - columns) // 2
    return image[:, top : top + rows, left : left + columns]
