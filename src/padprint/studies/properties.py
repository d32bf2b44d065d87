"""Properties of the pattern: what it does when the padding is swapped, the input's size changes, or images are few.

Depth, scheme, network, and trained against initial weights are read off the formation study's own table; what is here
needs networks to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from torch import Tensor, nn

from padprint.errors import ResultError
from padprint.measuring.engine import compare, measure
from padprint.measuring.options import OWN
from padprint.padding import convert, revert
from padprint.results.measurement import LayerMeasurement, Measurement
from padprint.studies.formation import last_record, read_config, task_of, weights_file
from padprint.studies.formation_config import FormationConfig, Unit
from padprint.studies.formation_training import ROW, held_out, initial, layers_of, rows_of, settled
from padprint.studies.tasks import Digits, Task
from padprint.support.records import Records

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("swap", "size", "images")
COUNTS = (2, 4, 8, 16, 32, 64, 128)
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Setting:
    """How networks are measured.

    Attributes:
        layers, crop, crops_per_image, groups: see `padprint.measure`.
    """

    layers: str | Sequence[str]
    crop: int
    crops_per_image: int
    groups: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Crops of the size, half as large again, and one more px of each: a stride that divides one size evenly does not divide the other."""
        return self.crop, self.crop + 1, self.crop * 3 // 2, self.crop * 3 // 2 + 1

    def options(self, **changes: Any) -> Any:
        """Keywords of `padprint.measure`."""
        return {**vars(self), "batch_size": 32, **changes}


def swaps(model: nn.Module, scenes: Sequence[Tensor], schemes: Sequence[str], setting: Setting) -> Rows:
    """Run with each of several schemes, over the same crops: a row for each scheme ("run") and layer."""
    results: Mapping[str, Measurement]
    if len(schemes) > 1:
        results = compare(model, scenes, schemes, **setting.options())
    else:
        padding = None if schemes[0] == OWN else schemes[0]
        results = {schemes[0]: measure(model, scenes, padding=padding, **setting.options())}
    return [{"run": scheme, **row} for scheme, result in results.items() for row in rows_of(result)]


def sizes(model: nn.Module, scenes: Sequence[Tensor], setting: Setting) -> Rows:
    """Inputs of several sizes: a row for each size ("crop") and layer.

    ``near`` and ``far`` are the mean squared pattern of the cells nearest to the top or left, and nearest to the bottom or
    right (feature^2): they differ where a stride leaves more padding on one side.
    """
    out: Rows = []
    for crop in setting.sizes:
        result = measure(model, scenes, **setting.options(crop=crop))
        for row, layer in zip(rows_of(result), result.layers.values(), strict=True):
            out.append(
                {"crop": crop, **row, "near": _energy(layer, "top", "left"), "far": _energy(layer, "bottom", "right")}
            )
    return out


def convergence(model: nn.Module, scenes: Sequence[Tensor], counts: Sequence[int], setting: Setting) -> Rows:
    """Ever more images, one crop of each: a row for each number ("images") and layer."""
    kept = [count for count in counts if count <= len(scenes)]
    return [
        {"images": count, **row}
        for count in kept
        for row in rows_of(measure(model, scenes, limit=count, **setting.options(crops_per_image=1)))
    ]


def _energy(layer: LayerMeasurement, *sides: str) -> float:
    """Mean squared pattern over the cells nearest to some sides, without bias."""
    profiles = [layer.profile[side] for side in sides]
    total = sum(float((profile.pattern.value * profile.count).sum()) for profile in profiles)
    return total / sum(int(profile.count.sum()) for profile in profiles)


# ------------------------------------------------------------------------------------------------- of a formation study

_COLUMNS: dict[str, dict[str, Any]] = {
    "swap": {"run": str, "accuracy": float},
    "size": {"crop": int, "near": float, "far": float},
    "images": {"images": int},
}
"""What a row of each part has besides `ROW`."""


def properties(
    study: str | Path,
    folder: str | Path,
    parts: Sequence[str] = PARTS,
    seeds: Sequence[int] | None = None,
    watch: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, pd.DataFrame]:
    """Measure the networks that a formation study trained, or what is left of it.

    Args:
        study: its folder.
        folder: for the records of this one.
        parts: of `PARTS`. "swap": every network run with every scheme, with its held-out accuracy; "size": inputs of
            several sizes; "images": ever more images, networks of the digits task and the first of the seeds.
        seeds: of the trainings to take; None: the study's first.
        watch: called with how many networks are done, of how many.

    Returns:
        By part a row for each network, setting and layer: network, task, scheme (trained with), seed; then see `swaps`,
        `sizes` and `convergence`. Trainings that did not learn their task are left out.

    Raises:
        ResultError: there is no such study or part, or none of its trainings has finished and learned.
    """
    import pandas as pd

    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise ResultError(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    config = read_config(study)
    chosen = config.seeds[:1] if seeds is None else tuple(seeds)
    units = [unit for unit in finished(study, config) if unit.seed in chosen]
    if not units:
        raise ResultError(f"no training of seed {', '.join(map(str, chosen))} has finished and learned its task")
    records = Records(folder, {"formation": config.beside(study)})
    work = [
        (part, unit)
        for part in parts
        for unit in units
        if part != "images" or (unit.task, unit.seed) == ("digits", chosen[0])
    ]
    tasks = {name: task_of(name, config) for name in {unit.task for _, unit in work}}
    gathered: dict[str, Rows] = {part: [] for part in parts}
    for done, (part, unit) in enumerate(work):
        watch(done, len(work))
        record = records.compute(
            f"{part}/{unit.key}",
            lambda part=part, unit=unit: {"rows": _measured(part, unit, study, config, tasks[unit.task])},  # type: ignore[misc]
            {"rows": [{**ROW, **_COLUMNS[part]}]},
        )
        gathered[part] += [{**vars(unit), **row} for row in record["rows"]]
    watch(len(work), len(work))
    return {part: pd.DataFrame(rows) for part, rows in gathered.items()}


def finished(study: str | Path, config: FormationConfig) -> list[Unit]:
    """The trainings that are finished and learned their task.

    Raises:
        ResultError: there is none.
    """
    records = Records(study, config.beside(study))
    last = {unit: last_record(records, unit, config) for unit in config.units}
    learned = [unit for unit, record in last.items() if record is not None and record["accuracy"] >= config.learned]
    if not learned:
        raise ResultError(f"no training in {study} has finished and learned its task: there is nothing to measure")
    return learned


def trained(unit: Unit, study: str | Path, config: FormationConfig, task: Task) -> nn.Module:
    """A finished training's network, as it was measured at its end."""
    model = initial(unit, config, task)
    model.load_state_dict(load_file(weights_file(study, unit)))
    return settled(model, unit.seed, task, config)


def _measured(part: str, unit: Unit, study: str | Path, config: FormationConfig, task: Task) -> Rows:
    setting = Setting(layers_of(config), config.crop, config.crops_per_image, config.groups)
    model = trained(unit, study, config, task)
    if part == "size":
        return sizes(model, task.scenes, setting)
    if part == "images":
        scenes = Digits(config.crop, config.scene, max(COUNTS)).scenes
        return convergence(model, scenes, COUNTS, setting)
    plain = revert(model)
    accuracy = {scheme: held_out(convert(plain, scheme, seed=0), task, config.held_out)[1] for scheme in config.schemes}
    return [{**row, "accuracy": accuracy[row["run"]]} for row in swaps(plain, task.scenes, config.schemes, setting)]
