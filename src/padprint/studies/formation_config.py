"""All settings of the formation study, in one frozen record that is saved with the results and can be run again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

from padprint.errors import PadprintError
from padprint.padding import make
from padprint.support.records import CONFIG_FILE

TASKS = ("photographs", "digits")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


class ConfigError(PadprintError):
    """Settings of a study that cannot be read or make no sense."""


@dataclass(frozen=True)
class Unit:
    """One training: a network on a task, with a padding scheme and a seed."""

    network: str
    task: str
    scheme: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the study's folder."""
        parts = (re.sub(r"[^\w.=+-]", "-", part) for part in (self.network, self.task, self.scheme))
        return f"{'_'.join(parts)}_{self.seed}"

    def __str__(self) -> str:
        return f"{self.network}, {self.task}, {self.scheme}, seed {self.seed}"


@dataclass(frozen=True)
class FormationConfig:
    """Settings of the formation study.

    Attributes:
        networks: "residual", "vgg", or what `padprint.models.load_model` takes (it is trained from random weights).
        tasks: "photographs" (which photograph is this crop from) and "digits" (which digit, in front of dead leaves).
        schemes: padding schemes, as for `padprint.padding.convert`.
        seeds: of weights, of the order of crops, and of stochastic schemes.
        images: folder of photographs; None: those that come with scikit-image.
        crop: input size, px.
        scene: size of scenes, and short side of photographs, px.
        scenes: how many dead-leaves scenes are measured on; of photographs, all are.
        layers: which to measure, see `padprint.measure`.
        crops_per_image: see `padprint.measure`.
        groups: see `padprint.measure`.
        steps: of training.
        batch_size: crops in a step, over all processes.
        learning_rate: of AdamW at its highest: it rises over a tenth of the steps, then falls as a cosine to 0.
        weight_decay: of AdamW.
        snapshots: how often is measured after the first step, at the end included; before it, once more.
        calibration: batches of training crops that BatchNorm is calibrated on before anything is measured.
        held_out: crops that accuracy is taken on.
        learned: held-out accuracy from which on a training counts as one that learned its task.
        checkpoint_every: steps between checkpoints.
        precision: of training, see Lightning Fabric; measuring is in single precision always.
        accelerator: see Lightning Fabric.
    """

    networks: tuple[str, ...] = ("residual", "vgg")
    tasks: tuple[str, ...] = TASKS
    schemes: tuple[str, ...] = ("zeros", "reflect", "replicate", "circular", "randn", "partial", "distribution")
    seeds: tuple[int, ...] = (0, 1, 2)
    images: str | None = None
    crop: int = 64
    scene: int = 256
    scenes: int = 24
    layers: tuple[str, ...] = ("auto",)
    crops_per_image: int = 8
    groups: int = 12
    steps: int = 300
    batch_size: int = 16
    learning_rate: float = 5e-3
    weight_decay: float = 1e-4
    snapshots: int = 6
    calibration: int = 8
    held_out: int = 400
    learned: float = 0.5
    checkpoint_every: int = 100
    precision: str = "32-true"
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for name, value in vars(self).items():
            if not _is(value, kinds[name]):
                raise ConfigError(f"{name} must be {_words(kinds[name])}, but is {value!r}")
            if isinstance(value, tuple) and (not value or len(set(value)) < len(value)):
                raise ConfigError(f"{name} must name one or more, each once, but is {list(value)}")
            least = 0 if name in ("learned", "weight_decay") else 1
            if (isinstance(value, int) and value < least) or (isinstance(value, float) and value < 0):
                raise ConfigError(f"{name} must be {least} or more, but is {value!r}")
        if min(self.seeds) < 0:
            raise ConfigError(f"seeds must be 0 or more, but are {list(self.seeds)}")
        for name, allowed in (("tasks", TASKS), ("precision", PRECISIONS)):
            given = getattr(self, name)
            for choice in (given,) if isinstance(given, str) else given:
                if choice not in allowed:
                    raise ConfigError(f"{name}: there is no {choice!r}; there are {', '.join(allowed)}")
        for scheme in self.schemes:
            if make(scheme).changes_size:
                raise ConfigError(
                    f"schemes: {scheme} changes the sizes of maps, which cannot be measured against a scene"
                )
        keys = [unit.key for unit in self.units]
        if len(set(keys)) < len(keys):
            raise ConfigError("networks and schemes must differ in more than signs, since folders are named after them")

    @property
    def units(self) -> list[Unit]:
        """Every training; the seeds come last, so that a study that is cut short has all of the first seed."""
        combined = product(self.seeds, self.tasks, self.networks, self.schemes)
        return [Unit(network, task, scheme, seed) for seed, task, network, scheme in combined]

    @property
    def measured_at(self) -> list[int]:
        """Steps before which is measured: 0, then evenly on a logarithmic scale up to the last."""
        count = self.snapshots
        first = min(3.0, self.steps)
        grown = [first * (self.steps / first) ** (i / (count - 1)) for i in range(count - 1)] if count > 1 else []
        return sorted({0, *(round(step) for step in grown), self.steps})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def beside(self, folder: str | Path) -> dict[str, Any]:
        """Plain JSON values that a study in `folder` is saved with: the way from there to the photographs.

        A study that is there already keeps its own spelling of the same way.
        """
        if self.images is None:
            return self.to_dict()
        there = Path(folder) / CONFIG_FILE
        try:
            saved = json.loads(there.read_text(encoding="utf-8"))["images"]
            same = (there.parent / saved).resolve() == Path(self.images).resolve()
        except (OSError, ValueError, KeyError, TypeError):  # none there, or no settings: whoever reads them says so
            same = False
        return {**self.to_dict(), "images": saved if same else Path(os.path.relpath(self.images, folder)).as_posix()}

    def found_beside(self, folder: str | Path) -> FormationConfig:
        """Settings that were saved by `beside`, with the photographs as they are found from here."""
        return self if self.images is None else replace(self, images=os.path.normpath(Path(folder) / self.images))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FormationConfig:
        """What `to_dict` gave; settings that are absent take their defaults.

        Raises:
            ConfigError: a setting that does not exist, or a value that makes no sense.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"there is no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**given)

    @classmethod
    def read(cls, file: str | Path) -> FormationConfig:
        """Settings from a JSON file.

        Raises:
            ConfigError: the file is not there, is not JSON, or see `from_dict`.
        """
        try:
            values = json.loads(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"the settings in {file} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{file} must hold an object of settings")
        return cls.from_dict(values)


def _is(value: Any, kind: Any) -> bool:
    if kind == str | None:
        return value is None or isinstance(value, str)
    if kind in (tuple[str, ...], tuple[int, ...]):
        item = kind.__args__[0]
        return isinstance(value, tuple) and all(type(entry) is item for entry in value)
    return (
        type(value) is int if kind is int else type(value) in (int, float) if kind is float else isinstance(value, kind)
    )


def _words(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "a text", str | None: "a text or nothing"}
    return words.get(kind) or f"a list of {'texts' if kind == tuple[str, ...] else 'whole numbers'}"
