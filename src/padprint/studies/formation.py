"""Formation: train networks with each padding scheme, and follow the pattern from before the first step to the end.

Does the pattern form in training, how early, and how much does the scheme matter? (Lin et al., ICML 2023, claim that it
forms early, grows, and depends little on the scheme.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from padprint.demo import photographs
from padprint.errors import ResultError
from padprint.studies.formation_config import ConfigError, FormationConfig, Unit
from padprint.studies.formation_training import SNAPSHOT, Training, cuda_of, save_weights
from padprint.studies.tasks import Digits, Photographs, Task
from padprint.support.optional import require
from padprint.support.processes import together
from padprint.support.records import CONFIG_FILE, Record, Records
from padprint.support.wording import first_line

if TYPE_CHECKING:
    import pandas as pd
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes:
        done, total: trainings.
        unit: the one at work, or just finished.
        step, steps: of it.
        finished: its last numbers, when it has just finished.
        remaining: seconds to go, or None as long as nothing is known.
    """

    done: int
    total: int
    unit: Unit
    step: int
    steps: int
    finished: Mapping[str, Any] | None
    remaining: float | None


def formation(
    config: FormationConfig, folder: str | Path, watch: Callable[[Progress], None] = lambda _: None
) -> pd.DataFrame:
    """Run the study, or what is left of it.

    A study that was killed goes on where its last checkpoint left it, and ends with the weights and numbers that it
    would have had. Under torchrun, processes share the batches and the scenes.

    Args:
        config: the settings.
        folder: of the study: ``config.json``, ``records/`` with a record for each measurement, ``weights/`` of finished
            trainings and ``checkpoints/`` of unfinished ones.
        watch: called after every step, in the first process.

    Returns:
        The table, see `table`.

    Raises:
        ResultError: the folder holds a study of other settings.
        ConfigError: processes cannot share a batch evenly, or there is no such accelerator.
        MissingPackageError: lightning-fabric, scikit-learn or scikit-image is needed and missing.
        ImagesError, ModelError, PaddingError, LayerError: see `padprint.measure` and `padprint.padding.convert`.
    """
    fabric = _fabric(config)
    tasks: dict[str, Task] = {}
    with together(fabric.world_size > 1):
        if fabric.is_global_zero:
            Records(folder, config.beside(folder))
    records = Records(folder, config.beside(folder))
    clock = Clock(config.units)
    for unit in config.units:
        last = fabric.broadcast(last_record(records, unit, config))
        if last is None:
            if unit.task not in tasks:
                tasks[unit.task] = task_of(unit.task, config)

            def tell(step: int, seconds: float, unit: Unit = unit) -> None:
                left = clock.remaining(unit, step / config.steps, seconds)
                if fabric.is_global_zero:
                    watch(Progress(clock.finished, len(config.units), unit, step, config.steps, None, left))

            with torch.random.fork_rng(devices=cuda_of(fabric.device)), together(fabric.world_size > 1):
                last = _train(Training(unit, config, tasks[unit.task], fabric), records, tell)
        clock.finish(unit, last["seconds"])
        if fabric.is_global_zero:
            left = clock.remaining(None, 0, 0)
            watch(Progress(clock.finished, len(config.units), unit, config.steps, config.steps, last, left))
    return table(folder)


def _fabric(config: FormationConfig) -> Fabric:
    require("lightning_fabric", why="to train", extra="studies")
    from lightning_fabric import Fabric

    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if config.batch_size % world:
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be shared by {world} processes: take a multiple of it"
        )
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=local,
            num_nodes=max(1, world // local),
            strategy="ddp" if world > 1 else "auto",
            precision=config.precision,  # type: ignore[arg-type]  # one of PRECISIONS
        )
    except Exception as error:  # Fabric raises several kinds for what is not there
        raise ConfigError(f"Fabric cannot run on accelerator {config.accelerator!r}: {first_line(error)}") from error
    fabric.launch()
    return fabric


def task_of(name: str, config: FormationConfig) -> Task:
    """The task that a study trains on.

    Raises:
        ImagesError, MissingPackageError: see `Photographs` and `Digits`.
    """
    if name == "digits":
        return Digits(config.crop, config.scene, config.scenes)
    return Photographs(config.crop, config.scene, photographs() if config.images is None else config.images)


def _train(training: Training, records: Records, tell: Callable[[int, float], None]) -> Record:
    """Train from the last checkpoint, or the beginning, to the end; the last record."""
    config, fabric, unit = training.config, training.fabric, training.unit
    checkpoint = records.folder / "checkpoints" / f"{unit.key}.pt"
    if fabric.broadcast(checkpoint.exists()):
        training.load(checkpoint)
    while training.step < config.steps:
        _measure(training, records)
        training.advance()
        tell(training.step, training.seconds)
        if training.step % config.checkpoint_every == 0 or training.step in config.measured_at:
            training.save(checkpoint)
    last = _measure(training, records)
    if fabric.is_global_zero:
        save_weights(training.model, weights_file(records.folder, unit))
        checkpoint.unlink(missing_ok=True)
    fabric.barrier()
    return last


def _measure(training: Training, records: Records) -> Record:
    """The record of the network as it stands, measured if it is due and there is none; empty if it is not due."""
    if training.step not in training.config.measured_at:
        return {}
    fabric, key = training.fabric, _record(training.unit, training.step)
    state: Record | None = fabric.broadcast(records.get(key, SNAPSHOT))
    if state is not None:
        return state
    state = training.snapshot()
    if fabric.is_global_zero:
        records.put(key, state)
    return state


def weights_file(folder: str | Path, unit: Unit) -> Path:
    """Where a finished training's state dict is."""
    return Path(folder) / "weights" / f"{unit.key}.safetensors"


def _record(unit: Unit, step: int) -> str:
    return f"{unit.key}/{step}"


def last_record(records: Records, unit: Unit, config: FormationConfig) -> Record | None:
    """The last record of a training that is finished, or None."""
    return records.get(_record(unit, config.steps), SNAPSHOT) if weights_file(records.folder, unit).exists() else None


# ------------------------------------------------------------------------------------------------------- remaining time


class Clock:
    """How long is left, from how long finished trainings took.

    A training is expected to take as long as those of its network and scheme did on average; where there are none, as
    those of its network, and where there are none, as all.

    Args:
        units: all of the study's, in order.
    """

    def __init__(self, units: list[Unit]) -> None:
        self._units = units
        self._seconds: dict[Unit, float] = {}

    @property
    def finished(self) -> int:
        """How many trainings are."""
        return len(self._seconds)

    def finish(self, unit: Unit, seconds: float) -> None:
        """Note what a training took."""
        self._seconds[unit] = seconds

    def remaining(self, current: Unit | None, share: float, seconds: float) -> float | None:
        """Seconds to go.

        Args:
            current: the training at work.
            share: of it that is done.
            seconds: that it has taken so far.
        """
        if not self._seconds and not share:
            return None
        left = [unit for unit in self._units if unit not in self._seconds and unit != current]
        own = self._expected(current, None) if current else 0.0
        if current and share and own is None:
            own = seconds / share
        total = 0.0 if not current or own is None else own * (1 - share)
        return total + sum(self._expected(unit, own) or 0.0 for unit in left)

    def _expected(self, unit: Unit, otherwise: float | None) -> float | None:
        """Seconds for a training; `otherwise` as long as none is finished."""
        alike: list[Callable[[Unit], bool]] = [
            lambda other: (other.network, other.scheme) == (unit.network, unit.scheme),
            lambda other: other.network == unit.network,
            lambda _: True,
        ]
        for like in alike:
            times = [seconds for other, seconds in self._seconds.items() if like(other)]
            if times:
                return sum(times) / len(times)
        return otherwise


# ---------------------------------------------------------------------------------------------------------- the table


def table(folder: str | Path) -> pd.DataFrame:
    """Everything measured so far: a row for each training, step and layer.

    Columns: network, task, scheme, seed, step, accuracy and loss (held-out crops), learned (whether the training, at its
    end, had reached the accuracy asked for; missing before its end), layer, depth, channels, size (cells), rim (cells:
    top, bottom, left, right), crops, and each estimate with ``_low`` and ``_high`` (see `padprint.LayerMeasurement`).

    Raises:
        ResultError: the folder holds no such study.
    """
    import pandas as pd

    config = read_config(folder)
    records = Records(folder, config.beside(folder))
    rows = []
    for unit in config.units:
        taken = {step: records.get(_record(unit, step), SNAPSHOT) for step in config.measured_at}
        last = taken[config.steps]
        learned = None if last is None else last["accuracy"] >= config.learned
        about = {"network": unit.network, "task": unit.task, "scheme": unit.scheme, "seed": unit.seed}
        for step, record in taken.items():
            if record is not None:
                numbers = {"step": step, "accuracy": record["accuracy"], "loss": record["loss"], "learned": learned}
                rows += [{**about, **numbers, **layer} for layer in record["layers"]]
    frame: pd.DataFrame = pd.DataFrame(rows)
    if "rim" in frame:
        frame["rim"] = [" ".join(map(str, rim)) for rim in frame["rim"]]
    return frame


def read_config(folder: str | Path) -> FormationConfig:
    """The settings of the study in a folder.

    Raises:
        ResultError: there is none.
        ConfigError: they cannot be read.
    """
    file = Path(folder) / CONFIG_FILE
    if not file.exists():
        raise ResultError(f"{folder} holds no formation study: there is no {CONFIG_FILE} in it")
    return FormationConfig.read(file).found_beside(folder)
