"""What `measure` and whatever else takes its crops have in common: options, their checks, a model on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from padprint.errors import ImagesError, ModelError, PaddingError
from padprint.geometry.layer import Geometry
from padprint.network.loading import declared_normalisation
from padprint.padding import Scheme, make
from padprint.support.defaults import BATCH_SIZE, CROP, CROPS_PER_IMAGE, GROUPS, SEED


class LoadOptions(TypedDict, total=False):
    """Keywords of all that runs a network on images; `padprint.measure` says what they mean."""

    groups: int
    seed: int
    device: str | torch.device | None
    progress: bool
    mean: Sequence[float] | None
    std: Sequence[float] | None
    limit: int | None
    strict: bool
    resize_short_side: int | None
    inputs: Callable[[Tensor], Any] | None
    max_megapixels: float | None
    memory: float | None


class Options(LoadOptions, total=False):
    """Keywords that `measure` and `compare` share, and what else takes their crops."""

    layers: str | Sequence[str] | Geometry
    crop: int | tuple[int, ...]
    crops_per_image: int
    margin: int | str | Sequence[int] | None
    batch_size: int
    spend: float
    distributed: bool


DEFAULTS: Options = {
    "layers": "auto",
    "crop": CROP,
    "crops_per_image": CROPS_PER_IMAGE,
    "groups": GROUPS,
    "margin": None,
    "batch_size": BATCH_SIZE,
    "seed": SEED,
    "device": None,
    "progress": False,
    "mean": None,
    "std": None,
    "limit": None,
    "strict": False,
    "resize_short_side": None,
    "max_megapixels": None,
    "memory": None,
    "inputs": None,
    "spend": 1.0,
    "distributed": False,
}
"""Those of `padprint.measure`, for whoever takes some of its options; the numbers are `padprint.support.defaults`'."""

EFFECTIVE = "effective"
"""Margin that is as wide as the scene matters."""

OWN = "own"
"""Name, among paddings, of the network's own."""

Paddings = Mapping[str, Scheme | None]
"""Schemes that stand in for the network's padding while its crops run, by name; None is the network's own."""


@dataclass(frozen=True)
class Settings:
    """What a pass over the crops was asked for, beyond models and layers.

    Attributes:
        crops_per_image, groups, batch_size, seed, spend: see `padprint.measure`.
        margin: pixels asked for, one number or one for each axis; None for as many as the layers reach; ``"effective"`` for as many as matter.
        memory: GB that a pass may take; None for what is free.
    """

    crops_per_image: int
    groups: int
    batch_size: int
    seed: int
    spend: float
    margin: int | str | Sequence[int] | None = None
    memory: float | None = None


def run_settings(o: Mapping[str, Any]) -> Settings:
    """What options, all of them given, say of a pass over the images.

    Raises:
        ModelError: a number makes no sense.
    """
    check_counts(1, crops_per_image=o["crops_per_image"], groups=o["groups"], batch_size=o["batch_size"])
    check_counts(0, seed=o["seed"])
    margin = o["margin"]
    if isinstance(margin, str) and margin != EFFECTIVE:
        raise ModelError(f"margin must be a number of px, None or {EFFECTIVE!r}, but got {margin!r}")
    several = isinstance(margin, Sequence) and not isinstance(margin, str)
    for one in margin if several else () if margin in (None, EFFECTIVE) else (margin,):
        check_counts(0, margin=one)
    margin = list(margin) if several else margin
    if o["seed"] >= 1 << 63:
        raise ModelError(f"seed must be below 2**63, but got {o['seed']}")
    if not 0 < o["spend"] < inf:
        raise ModelError(f"spend must be a number above 0, but got {o['spend']!r}")
    memory = o.get("memory")  # those who are given their images one by one have none
    if memory is not None and not 0 < memory < inf:
        raise ModelError(f"memory must be GB above 0, or None for what is free, but got {memory!r}")
    return Settings(o["crops_per_image"], o["groups"], o["batch_size"], o["seed"], o["spend"], margin, memory)


def schemes_by_name(padding: Sequence[str | Scheme], seed: int = 0) -> Paddings:
    """Schemes by the name they were asked for by; None for the network's own padding.

    What learned schemes start with depends on the seed alone, and is the same in every process.

    Raises:
        PaddingError: there is no such scheme, or two have one name.
    """
    if isinstance(padding, str | Scheme):
        raise PaddingError(f"padding must be a list of schemes, but got {padding!r}; write [{padding!r}]")
    found: dict[str, Scheme | None] = {}
    for one in padding:
        name = one if isinstance(one, str) else one.name or type(one).__name__
        if name in found:
            raise PaddingError(f"padding {name!r} is there twice; compare different ones")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            found[name] = None if name == OWN else make(one)
    return found


def common_normalisation(models: Iterable[nn.Module]) -> tuple[Any, Any]:
    """The mean and deviation that all models declare; (None, None) where none is declared.

    Raises:
        ImagesError: they declare different ones.
    """
    declared = {declared_normalisation(model) or (None, None) for model in models}
    if len(declared) > 1:
        raise ImagesError(
            "the models declare different normalisations, and are compared on the same images: give mean= and std="
        )
    return declared.pop()


def check_counts(least: int, **counts: object) -> None:
    """Check whole numbers, by the options' names.

    Raises:
        ModelError: one is no whole number, or below `least`.
    """
    for option, value in counts.items():
        if not isinstance(value, int) or value < least:
            raise ModelError(f"{option} must be a whole number of {least} or more, but got {value!r}")
