"""How far the metrics of position can be trusted: their spread, their errors where the truth is known, their response.

(a) Spread: the same network, again and again with other scenes and other seeds: the coefficient of variation.
(b) Known truths: does a metric say "position" where padding tells none, and is it silent where padding does?
(c) Dose and response: does it rank networks by the size of a pattern that was put into them, and how exactly does it
    tell that size?

Every metric gets the same number of crops, from the same scenes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.images.synthetic import DeadLeaves
from padprint.studies import scores as tried
from padprint.studies.known import CROP, LAYER, Known, injected, known
from padprint.studies.reliability_tables import Reliability
from padprint.studies.scores import Score, Scores, Trial
from padprint.support.progress import progress_bar
from padprint.support.records import Records

REAL = "MobileNetV2 (ImageNet)"
PARTS = ("truth", "dose", "spread")


@dataclass(frozen=True)
class Settings:
    """What the study is run with.

    Attributes:
        repetitions: of everything, each with scenes and seeds of its own. A study can be given more of them later.
        scenes: in each repetition.
        crops_per_scene: crops of 64 px from each.
        epochs: of PosENet's readout, more than its authors' 15, because there are fewer images; the learning rate falls
            after two thirds of them.
        amplitudes: sizes of the injected pattern, in units of the features' standard deviation.
        seed: of everything.
        real: whether spread is measured on ImageNet's MobileNetV2 too.
        metrics: names of the functions in `padprint.studies.scores` that are tried; empty: all.
    """

    repetitions: int = 20
    scenes: int = 24
    crops_per_scene: int = 4
    epochs: int = 60
    amplitudes: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    seed: int = 0
    real: bool = True
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ModelError: one of them makes no sense.
        """
        for name, least in (("repetitions", 3), ("scenes", 6), ("crops_per_scene", 1), ("epochs", 1)):
            if getattr(self, name) < least:
                raise ModelError(f"{name} must be {least} or more, but got {getattr(self, name)}")
        if len(set(self.amplitudes)) < 3 or min(self.amplitudes) < 0:
            raise ModelError(
                f"amplitudes must be three different ones or more, none below 0, but got {self.amplitudes}"
            )
        there = list(dict.fromkeys(score.metric.__name__ for score in tried.SCORES))
        unknown = sorted(set(self.metrics) - set(there))
        if unknown:
            raise ModelError(f"there is no metric {', '.join(unknown)}; there are {', '.join(there)}")

    @property
    def scores(self) -> list[Score]:
        """What is compared."""
        return [score for score in tried.SCORES if not self.metrics or score.metric.__name__ in self.metrics]


QUICK = Settings(repetitions=3, scenes=12, crops_per_scene=2, epochs=30, amplitudes=(0.0, 0.1, 0.5), real=False)
"""For a first look, and to see that everything runs."""


# -------------------------------------------------------------------------------------------------------- the work


@dataclass(frozen=True)
class Unit:
    """One network and its scenes in one repetition, on which all metrics are tried.

    Attributes:
        part: "spread" (the same network in every repetition), "truth" or "dose" (another one in each).
        case: what the network is.
        repetition: which one.
    """

    part: str
    case: Known | None
    repetition: int

    @property
    def name(self) -> str:
        """The network's name."""
        return REAL if self.case is None else self.case.name

    @property
    def key(self) -> str:
        """Of its records; the same network in the table of truths and among the doses has the same."""
        kind = "same" if self.part == "spread" else "other"
        return f"{kind}/{re.sub(r'[^A-Za-z0-9.]+', '-', self.name)}/{self.repetition}"


def units(settings: Settings) -> list[Unit]:
    """All work of a study, in the order it is done: one repetition after the other."""
    spread = [case for case in known() if case.position]
    cases: list[tuple[str, Known | None]] = [("truth", case) for case in known()]
    cases += [("dose", case) for case in injected(settings.amplitudes)]
    cases += [("spread", case) for case in spread]
    cases += [("spread", None)] if settings.real else []
    return [Unit(part, case, i) for i in range(settings.repetitions) for part, case in cases]


def run(
    folder: str | Path,
    settings: Settings | None = None,
    *,
    parts: Sequence[str] = PARTS,
    progress: bool = False,
) -> Reliability:
    """Run the study, or go on with one that was stopped.

    Args:
        folder: for its records; work that is there is not done again.
        settings: None for the defaults.
        parts: of `PARTS`, what is done; amplitudes and ratios need no "truth", the summary needs all.
        progress: whether to show a progress bar on standard error.

    Returns:
        The records as tables.

    Raises:
        ResultError: the folder holds a study of other settings, or cannot be used.
        MissingPackageError: the real network's weights cannot be fetched.
    """
    settings = settings or Settings()
    fixed = {key: value for key, value in asdict(settings).items() if key != "repetitions"}
    records = Records(folder, {"study": "reliability", **fixed})
    results, work = [], [unit for unit in units(settings) if unit.part in parts]
    with progress_bar(len(work), progress, label="trying metrics", unit="networks") as advance:
        for unit in work:
            results.append(_tried(unit, settings, records))
            advance()
    return Reliability(asdict(settings), results)


def _tried(unit: Unit, settings: Settings, records: Records) -> dict[str, Any]:
    """All scores of a unit, and the time each metric took; each metric's record is kept when it is done."""
    trial = cache(partial(_trial, unit, settings))  # made when the first metric without a record wants it

    def work(metric: Callable[[Trial], Scores]) -> dict[str, Any]:
        given, start = trial(), time.perf_counter()
        scores = metric(given)
        return {"scores": scores, "seconds": time.perf_counter() - start}

    scores: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for metric in dict.fromkeys(score.metric for score in settings.scores):
        name = metric.__name__
        wanted = {score.name: float for score in settings.scores if score.metric is metric}
        kinds = {"scores": wanted, "seconds": float}
        record = records.compute(f"{unit.key}/{name}", partial(work, metric), kinds)
        scores |= record["scores"]
        seconds[name] = record["seconds"]
    truth = {} if unit.case is None else {key: getattr(unit.case, key) for key in ("response", "position", "amplitude")}
    about = {"part": unit.part, "network": unit.name, "repetition": unit.repetition}
    return {**about, **truth, "scores": scores, "seconds": seconds}


def _trial(unit: Unit, settings: Settings) -> Trial:
    """The network and the scenes of a unit; in a spread the network stays and the scenes change."""
    seed = 1000 * settings.seed + unit.repetition
    if unit.case is None:
        network, scenes, layers, crop, step = _real(settings, seed)
    else:
        network = unit.case.network(1000 * settings.seed if unit.part == "spread" else seed)
        scenes, layers, crop = list(unit.case.scenes(seed, settings.scenes)), [LAYER], CROP
        step = CROP // 4
    return Trial(network, layers, scenes, crop, settings.crops_per_scene, step, seed, settings.epochs)


def _real(settings: Settings, seed: int) -> tuple[nn.Module, Sequence[Tensor], list[str], int, int]:
    """ImageNet's MobileNetV2 on dead leaves: network, scenes, its layers at five resolutions, crop, step."""
    from padprint.demo import mobilenet_weights
    from padprint.network.loading import load_model

    loaded = load_model("torchvision:mobilenet_v2", weights=mobilenet_weights())
    assert loaded.mean is not None and loaded.std is not None  # noqa: S101  # torchvision's models declare them
    scenes = DeadLeaves(settings.scenes, 736, seed, mean=loaded.mean, std=loaded.std)
    layers = ["features.1", "features.3", "features.6", "features.13", "features.18"]
    return loaded.model.eval(), list(scenes), layers, 224, 64
