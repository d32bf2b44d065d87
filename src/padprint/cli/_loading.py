"""What commands are asked to run on: models with their weights, images, and how these are normalised."""

# each command imports only what it uses
from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import ceil
from operator import lt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padprint.cli import _processes
from padprint.cli._options import Photographs, Place
from padprint.cli._parse import Channels, Lengths
from padprint.errors import ImagesError, LayerError, ModelError, PadprintError, readable

if TYPE_CHECKING:
    from torch import Tensor

    from padprint.images.contents import Files
    from padprint.network.loading import LoadedModel

_RAW: Channels = (0.0,)
_UNIT: Channels = (1.0,)


@dataclass(frozen=True)
class Job:
    """What a command runs on.

    Attributes:
        models: for each model, its specification and a file with a state dict, or None.
        images: image files and folders.
        photographs: which of them, how large and how normalised.
        place: where networks run, and on how many images BatchNorm is calibrated.
        options: keywords of the work, without the normalisation; "crop", "seed" and "layers" are read here too.
        whole: whether images are taken as they are, however small, and not cut into crops.
        what: messages call a crop.
        told: whether results say themselves that BatchNorm never saw data; else it is said when the model is loaded.
    """

    models: Sequence[tuple[str, Path | None]]
    images: Sequence[Path]
    photographs: Photographs
    place: Place
    options: dict[str, Any] = field(default_factory=dict)
    whole: bool = False
    what: str = "crop"
    told: bool = False

    def __post_init__(self) -> None:
        self.photographs.rgb, self.given  # noqa: B018  # wrong usage is told before anything is done

    @property
    def crop(self) -> Lengths:
        """Px along all axes, or along each."""
        size: Lengths = self.options.get("crop", 224)
        return size

    @property
    def given(self) -> Path | list[Path] | Files:
        """One folder or file, or a list of files, with how they are read where that was said."""
        files: Path | list[Path] | Files = self.photographs.files(self.images)
        return files


@dataclass(frozen=True)
class Loaded:
    """Models and images, ready for the work.

    Attributes:
        models: by name; of one model with several weights files, by the files'.
        images: as a source takes them.
        normalisation: "mean" and "std" of the images.
    """

    models: dict[str, LoadedModel]
    images: Path | list[Path] | Files
    normalisation: dict[str, Any]

    @property
    def model(self) -> LoadedModel:
        """The first one."""
        return next(iter(self.models.values()))


def load(job: Job) -> Loaded:
    """Load the models; what is missing is told at once, and before a model is built where that can be.

    Raises:
        PadprintError: images that are not there, unreadable or too small, a model that cannot be loaded, normalisation that
            nobody says, layers that no model has: all of it in one message.
    """
    from padprint.support.processes import together
    from padprint.support.progress import phase

    with together(_processes.several()), phase("loading"):
        problems, small = _of_images(job)
        unsaid = [spec for spec, weights in job.models if _says_nothing(spec, weights)]
        if None in job.photographs.rgb and unsaid:
            problems.append(ImagesError(_unsaid(unsaid[0], job.photographs.rgb)))
        if [*problems, *small] and (unsaid or all(_built_elsewhere(spec) for spec, _ in job.models)):
            raise _together([*problems, *small])
        models = _models(job)
        problems += _of_layers(job, models)
        try:
            mean, std = common_normalisation(job.photographs, list(models.values()))
        except ImagesError as error:
            problems.append(error)
        if problems or small:
            raise _together([*problems, *(_of_margins(job, models) or small)])
        for loaded in models.values():
            if job.place.calibrate:
                _calibrate(loaded, job, mean, std)
            elif loaded.random:
                warnings.warn(
                    f"{loaded.name} has random initial weights: name weights (torchvision:NAME@DEFAULT), give "
                    "--weights FILE, or set BatchNorm's statistics with --calibrate N",
                    stacklevel=2,
                )
            elif not job.told:
                warn_uncalibrated(loaded)
    return Loaded(models, job.given, {"mean": mean, "std": std})


def _together(problems: Sequence[PadprintError]) -> PadprintError:
    """One error that says them all."""
    return problems[0] if len(problems) == 1 else ImagesError("; and ".join(str(problem) for problem in problems))


def _of_images(job: Job) -> tuple[list[PadprintError], list[PadprintError]]:
    """What the files and their headers say against the work: that they cannot be read; that they are smaller than a crop."""
    from padprint.images.photographs import as_source
    from padprint.network.example import crop_size
    from padprint.support.axes import times

    try:
        source = as_source(job.given, mean=_RAW, std=_UNIT, **job.photographs.keywords())
        sizes = [size for size in source.sizes() or () if size is not None]
        crop = crop_size(job.crop, len(sizes[0]) if sizes else 2)
    except PadprintError as error:
        return [error], []
    small = [size for size in sizes if len(size) == len(crop) and any(map(lt, size, crop))]
    if job.whole or not small:
        return [], []
    least, first = times(crop), times(small[0])
    short = max(ceil(min(size) * max(c / n for n, c in zip(size, crop, strict=True))) for size in small)
    enlarge = f", or enlarge them (to resize_short_side={short} or more)" if len(crop) == 2 else ""
    told = ImagesError(
        f"{len(small)} of {len(sizes)} images are smaller than the crop of {least} px (the first is {first} px), "
        f"and a margin around it is needed too: give larger ones, a smaller crop{enlarge}"
    )
    return [], [told]


def _of_margins(job: Job, models: dict[str, LoadedModel]) -> list[PadprintError]:
    """That images hold no crop with the margins that the layers need, as far as headers and a trace can tell.

    Asked where something else is missing, so that all of it is in one message; the work itself says it otherwise.
    """
    from padprint.images.photographs import as_source
    from padprint.measuring.options import DEFAULTS, OWN, run_settings
    from padprint.measuring.session import planned, traced_on_blank
    from padprint.network.example import input_channels

    options = {key: job.options.get(key, default) for key, default in DEFAULTS.items()}
    if job.whole or isinstance(options["margin"], str):
        return []
    try:
        source = as_source(job.given, mean=_RAW, std=_UNIT, **job.photographs.keywords())
        sizes = source.sizes() or ()
        traced = [
            traced_on_blank(loaded.model, options["layers"], job.crop, input_channels(loaded.model), {OWN: None})
            for loaded in models.values()
        ]
        plan = planned(traced, run_settings(options))
    except PadprintError:  # said already, or for the work to say
        return []
    try:
        plan.refuse_small(sizes, job.what, source.called)
    except ImagesError as error:
        return [error]
    return []


def _of_layers(job: Job, models: dict[str, LoadedModel]) -> Iterator[PadprintError]:
    """Names of layers that match no module of any model; what a call returns is called output."""
    from padprint.network.layers import OUTPUT, unwrapped

    asked = job.options.get("layers", "auto")
    if isinstance(asked, str):
        return
    for loaded in models.values():
        known = [name for name, _ in unwrapped(loaded.model).named_modules()]
        for name in asked:
            if name in known or name in ("", OUTPUT) or any(sign in name for sign in "*?["):
                continue  # what a glob or a part of an output means is known when the network has run
            near = get_close_matches(name, known, n=3, cutoff=0.4) or known[-3:]
            yield LayerError(
                f"no layer of {loaded.name} is called {name!r}; nearest: {', '.join(near)} (globs work too: 'layer*')"
            )


def _says_nothing(spec: str, weights: Path | None) -> bool:
    """Whether a model is known to say nothing of normalisation, before it is built."""
    return (weights is None and spec.startswith("torchvision:") and "@" not in spec) or spec.lower().endswith(".pt2")


def _built_elsewhere(spec: str) -> bool:
    """Whether a model comes from a library or a file, and not from the user's code, which may say more."""
    return spec.startswith(("torchvision:", "timm:")) or spec.lower().endswith(".pt2")


def _models(job: Job) -> dict[str, LoadedModel]:
    import torch

    from padprint.network.loading import load_model

    models: dict[str, LoadedModel] = {}
    for spec, weights in job.models:
        torch.manual_seed(job.options.get("seed", 0))  # random initial weights are the same in every run and process
        loaded = load_model(spec, weights=weights)
        name = loaded.name if weights is None or len(job.models) == 1 else readable(f"{loaded.name} {weights.stem}")
        if name in models:
            raise ModelError(
                f"{name} is there twice: two models would have that name in the result; compare different ones, or "
                "rename one of the weights files"
            )
        models[name] = loaded
    return models


def warn_uncalibrated(loaded: LoadedModel) -> None:
    """Say so where a model has BatchNorm that never saw data."""
    from padprint.network.batchnorm import uncalibrated

    fresh = uncalibrated(loaded.model)
    if fresh is not None:
        warnings.warn(fresh, stacklevel=2)


def common_normalisation(photographs: Photographs, models: Sequence[LoadedModel]) -> tuple[Channels, Channels]:
    """What was asked for, else what the models declare.

    Raises:
        ImagesError: neither says it, or the models differ.
    """
    wanted: list[tuple[str, Channels, Channels]] = []
    asked = photographs.rgb
    for model in models:
        mean, std = asked[0] or model.mean, asked[1] or model.std
        if mean is None or std is None:
            raise ImagesError(_unsaid(model.name, (mean, std)))
        wanted.append((model.name, mean, std))
    (first, mean, std), *others = wanted
    for name, other_mean, other_std in others:
        if (mean, std) != (other_mean, other_std):
            raise ImagesError(
                f"the models are not normalised alike, and are compared on the same images: {first} wants mean "
                f"{_listed(mean)} and deviation {_listed(std)}, {name} {_listed(other_mean)} and {_listed(other_std)}; give "
                "--mean and --std that hold for both"
            )
    return mean, std


def _unsaid(name: str, said: tuple[Channels | None, Channels | None]) -> str:
    missing = [option for option, value in zip(("--mean", "--std"), said, strict=True) if value is None]
    return (
        f"{name} does not say how its images must be normalised: give {' and '.join(missing)} as in training, as R,G,B or by name: "
        "--mean imagenet (most networks trained on photographs), --mean half ([-1, 1]), --mean none ([0, 1])"
    )


def _listed(values: Channels) -> str:
    return ",".join(f"{value:g}" for value in values)


def _calibrate(loaded: LoadedModel, job: Job, mean: Channels, std: Channels) -> None:
    """Set BatchNorm's statistics from centre crops of the first images."""
    from padprint.images.photographs import as_source
    from padprint.images.source import nothing_decoded
    from padprint.network.batchnorm import calibrate_batchnorm
    from padprint.support.progress import phase

    options = job.photographs.keywords() | {"limit": job.place.calibrate}
    source = as_source(job.given, mean=mean, std=std, **options)
    crops: list[Tensor] = []
    with phase("calibrating", source.length, "images") as advance:
        for _index, image in source.items():  # noqa: PERF102  # no dictionary
            crops.append(_centre(image, job.crop).clone())
            advance()
        if not crops:
            raise nothing_decoded(source)
        calibrate_batchnorm(loaded.model, crops)


def _centre(image: Tensor, crop: Lengths) -> Tensor:
    """The middle of a (C, *space) image, as large as the crop where the image is that large."""
    from padprint.network.example import crop_size

    size = crop_size(crop, image.ndim - 1)
    for axis, (n, wanted) in enumerate(zip(image.shape[1:], size, strict=True), start=1):
        image = image.narrow(axis, max(0, n - wanted) // 2, min(n, wanted))
    return image
