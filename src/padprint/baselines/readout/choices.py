"""What PosENet was asked for, checked, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from torch import nn

from padprint.baselines.readout.network import ReadoutSettings
from padprint.baselines.readout.result import SOURCES
from padprint.errors import ImagesError, ModelError
from padprint.images.files import find_files
from padprint.images.photographs import Images, are_files
from padprint.network.loading import declared_normalisation

VIEWS = ("whole", "crops")
FEW_UPDATES = 1000


def chosen(views: str, sources: Sequence[str] | None) -> list[str]:
    """The sources wanted, in the order of `SOURCES`.

    Raises:
        ModelError: views or sources that do not exist, or that do not go together.
    """
    if views not in VIEWS:
        raise ModelError(f"views must be {' or '.join(VIEWS)}, but got {views!r}")
    if sources is None:
        return [source for source in SOURCES if source != "optimal" or views == "crops"]
    unknown = [source for source in ([sources] if isinstance(sources, str) else sources) if source not in SOURCES]
    if unknown or isinstance(sources, str) or not sources:
        raise ModelError(f"sources is a list out of {', '.join(SOURCES)}, but got {sources!r}")
    if "optimal" in sources and views != "crops":
        raise ModelError('optimal padding needs the scene around what the network sees: ask for views="crops"')
    return [source for source in SOURCES if source in sources]


def with_normalisation(model: nn.Module, options: Mapping[str, Any], images: Images, normalise: bool) -> dict[str, Any]:
    """The options, with a mean and a deviation for photographs: none by default, as the authors have it.

    Raises:
        ImagesError: normalisation is asked for, and nothing says which.
    """
    given = dict(options)
    if not are_files(images):
        if normalise:
            raise ImagesError("normalise= is for image files: tensors are taken as they are, already normalised")
        return given
    if given.get("mean") is None and given.get("std") is None:
        declared = declared_normalisation(model) if normalise else ((0.0,) * 3, (1.0,) * 3)
        if declared is None:
            raise ImagesError("the model does not declare its normalisation: give mean= and std=")
        given["mean"], given["std"] = declared
    return given


def check_files_apart(sets: Sequence[Images]) -> None:
    """Raise ImagesError where a file is in both sets of images."""
    found = [{path.resolve() for _, path in find_files(one)[0]} for one in sets if are_files(one)]
    both = found[0] & found[1] if len(found) == 2 else set()
    if both:
        raise ImagesError(
            f"{len(both)} files are both for training and for testing, the first {min(both).name}: the readout would be "
            "tested on what it learnt from"
        )


def normalisation_remark(given: Mapping[str, Any], images: Images) -> str:
    """How the images were normalised, in words."""
    if not are_files(images):
        return "images were taken as they were given"
    mean, std = ([round(float(v), 4) for v in given[key]] for key in ("mean", "std"))
    if not any(mean) and set(std) == {1.0}:
        return (
            "pixels were in [0, 1] and NOT normalised as the network was trained, which is what the authors' code does; "
            "normalise for features as in use"
        )
    return f"pixels were normalised with mean {mean} and deviation {std}, which the authors' code does not do"


def few_updates(train: int, settings: ReadoutSettings) -> list[str]:
    """A remark where the readout was trained for far fewer steps than the authors'; else nothing."""
    updates = settings.epochs * ceil(train / settings.batch_size)
    if updates >= FEW_UPDATES:
        return []
    return [
        f"{updates} updates are few: the authors train on some ten thousand images, about 5000 updates; scores may lie "
        "below what the features hold (more images, crops or epochs)"
    ]


def plain_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as plain JSON values."""
    plain = {key: list(value) if isinstance(value, tuple | list) else value for key, value in given.items()}
    return {key: value for key, value in plain.items() if key != "progress"}
