"""What else the networks of a formation study say of the pattern: other readings of its size, and how alike schemes are.

The study's own table has SNR, MAE and `relative` of calibrated networks. Here are the readings that need the networks once
more: many crops, root mean square, the map averaged over channels, BatchNorm as training left it, patterns side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from padprint.measuring.crops import iterate
from padprint.studies.formation import read_config, task_of, weights_file
from padprint.studies.formation_config import FormationConfig, Unit
from padprint.studies.formation_training import fix_randomness, initial, layers_of, settled
from padprint.studies.properties import finished
from padprint.studies.tasks import Task
from padprint.support.records import Records

if TYPE_CHECKING:
    import pandas as pd

CROPS = 480
"""Crops that readings are taken from; BatchNorm as it is, from the study's own number."""
WEIGHTS = ("initial", "trained")
_FIXED = 2**31 - 1  # stands for the step when the numbers of stochastic schemes are fixed, as in the study
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class CropSums:
    """What crops add up to in one layer, by group of images.

    Attributes:
        crops: `(G,)`.
        diff: `(G, C, h, w)` float64, mean of D.
        square: mean of D^2 over crops, channels and cells, feature^2.
        average: mean over crops and cells of the square of D's mean over channels, feature^2.
        features: mean of F(x; *)^2, feature^2.
    """

    crops: Tensor
    diff: Tensor
    square: float
    average: float
    features: float


def sums(model: nn.Module, scenes: Sequence[Tensor], **options: Any) -> dict[str, CropSums]:
    """By layer, in order of execution.

    Args:
        model: in evaluation mode.
        scenes: see `padprint.measure`.
        **options: see `padprint.measure`.
    """
    groups = options["groups"]
    crops = torch.zeros(groups, dtype=torch.float64)
    diffs: dict[str, Tensor] = {}
    totals: dict[str, Tensor] = {}
    for batch in iterate(model, scenes, **options):
        crops[batch.group] += len(batch.pixels)
        for name, padded in batch.padded.items():
            optimal = batch.optimal[name].double()
            d = padded.double() - optimal
            diffs.setdefault(name, d.new_zeros(groups, *d.shape[1:]))[batch.group] += d.sum(0)
            parts = [values.square().flatten(1).mean(1).sum() for values in (d, d.mean(1), optimal)]
            totals[name] = totals.get(name, 0.0) + torch.stack(parts)
    return {
        name: CropSums(crops, diff / crops[:, None, None, None], *(totals[name] / crops.sum()).tolist())
        for name, diff in diffs.items()
    }


def across(a: Tensor, b: Tensor) -> Tensor:
    """Mean over pairs of different groups of the products of group means, both `(G, ...)`: without bias for the product."""
    groups = len(a)
    pairs: Tensor = (a.sum(0) * b.sum(0) - (a * b).sum(0)) / (groups * (groups - 1))
    return pairs


def sizes(sums: CropSums) -> dict[str, float]:
    """How large the pattern is.

    ``snr`` and ``snr_plain``, ``rms`` (root of the unbiased mean square, 0 where that is negative) and ``relative`` as in
    `padprint.measure`; ``snr_average``: the SNR of the map averaged over channels. Groups are of one size.
    """
    energy = float(across(sums.diff, sums.diff).mean())
    noise = sums.square - energy
    mean = sums.diff.mean(1)
    averaged = float(across(mean, mean).mean())
    size = max(energy, 0.0)
    return {
        "snr": energy / noise,
        "snr_plain": float(sums.diff.mean(0).square().mean()) / noise,
        "rms": sqrt(size),
        "relative": sqrt(size / sums.features),
        "snr_average": averaged / (sums.average - averaged),
    }


def likeness(a: CropSums, b: CropSums) -> dict[str, float]:
    """How alike two patterns are.

    ``cosine``: of the patterns over channels and cells, without bias; ``energy_map``: correlation over cells of the
    squared patterns' means over channels. NaN where a pattern is estimated at nothing.
    """
    own = [across(half.diff, half.diff) for half in (a, b)]
    product = float(own[0].mean()) * float(own[1].mean())
    both = float(across(a.diff, b.diff).mean())
    usable = all(float(power.mean()) > 0 for power in own)
    maps = torch.stack([power.mean(0).flatten() for power in own])
    return {"cosine": both / sqrt(product) if usable else nan, "energy_map": float(torch.corrcoef(maps)[0, 1])}


# ------------------------------------------------------------------------------------------------- of a formation study

_NUMBERS = ("snr", "snr_plain", "rms", "relative", "snr_average", "snr_raw", "relative_raw")
_ABOUT: dict[str, Any] = {"network": str, "task": str, "seed": int, "weights": str, "layer": str, "depth": int}
_SIZES: dict[str, Any] = {**_ABOUT, "scheme": str, **dict.fromkeys(_NUMBERS, float)}
_LIKENESS: dict[str, Any] = {**_ABOUT, "scheme": str, "other": str, "cosine": float, "energy_map": float}


def readings(
    study: str | Path,
    folder: str | Path,
    seeds: Sequence[int] | None = None,
    watch: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, pd.DataFrame]:
    """Measure the networks that a formation study trained once more, before and after training.

    Args:
        study: its folder.
        folder: for the records of this one; networks that are there are not measured again.
        seeds: of the trainings to take; None: all.
        watch: called with how many sets of networks are done, of how many.

    Returns:
        "sizes": a row for each network, weights (initial or trained) and layer, see `sizes`; ``snr_raw`` and
        ``relative_raw`` are taken with BatchNorm as it is, not calibrated. "likeness": a row for each two schemes, of the
        same network, task, seed, weights and layer, see `likeness`. Trainings that did not learn are left out.

    Raises:
        ResultError: there is no such study, or none of its trainings has finished and learned.
    """
    import pandas as pd

    config = read_config(study)
    units = [unit for unit in finished(study, config) if seeds is None or unit.seed in seeds]
    records = Records(folder, {"formation": config.beside(study), "crops": CROPS})
    sets: dict[tuple[int, str, str], list[Unit]] = {}
    for unit in units:
        sets.setdefault((unit.seed, unit.task, unit.network), []).append(unit)
    tasks = {name: task_of(name, config) for name in {unit.task for unit in units}}
    tables: dict[str, Rows] = {"sizes": [], "likeness": []}
    for done, (key, members) in enumerate(sets.items()):
        watch(done, len(sets))
        for weights in WEIGHTS:
            record = records.compute(
                "/".join([*members[0].key.rsplit("_", 2)[:1], str(key[0]), weights]),
                lambda members=members, weights=weights: _set(members, weights, study, config, tasks),  # type: ignore[misc]
                {"sizes": [_SIZES], "likeness": [_LIKENESS]},
            )
            for part in tables:
                tables[part] += record[part]
    watch(len(sets), len(sets))
    return {part: pd.DataFrame(rows) for part, rows in tables.items()}


def _set(
    members: Sequence[Unit], weights: str, study: str | Path, config: FormationConfig, tasks: Mapping[str, Task]
) -> dict[str, Rows]:
    """The networks that differ in their scheme only."""
    task = tasks[members[0].task]
    options = {"layers": layers_of(config), "crop": config.crop, "groups": config.groups, "batch_size": 32}
    many = CROPS // len(task.scenes)
    about = {"network": members[0].network, "task": members[0].task, "seed": members[0].seed, "weights": weights}
    by_scheme, rows = {}, []
    for unit in members:
        model = initial(unit, config, task)
        if weights == "trained":
            model.load_state_dict(load_file(weights_file(study, unit)))
        calibrated = by_scheme[unit.scheme] = sums(
            settled(model, unit.seed, task, config), task.scenes, crops_per_image=many, **options
        )
        with torch.random.fork_rng(devices=[]):
            fix_randomness(model, unit.seed, _FIXED)
        raw = sums(model.eval(), task.scenes, crops_per_image=config.crops_per_image, **options)
        for depth, (name, summed) in enumerate(calibrated.items(), 1):
            as_is = sizes(raw[name])
            numbers = {**sizes(summed), "snr_raw": as_is["snr"], "relative_raw": as_is["relative"]}
            rows.append({**about, "layer": name, "depth": depth, "scheme": unit.scheme, **numbers})
    pairs = [
        {**about, "layer": name, "depth": depth, "scheme": a, "other": b}
        | likeness(by_scheme[a][name], by_scheme[b][name])
        for a, b in combinations(by_scheme, 2)
        for depth, name in enumerate(by_scheme[a], 1)
    ]
    return {"sizes": rows, "likeness": pairs}
