"""Watch the padding pattern grow in any training loop, within a share of its time and without changing it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

import torch
import torch.distributed as dist
from torch import Tensor, nn

from padprint import plot
from padprint.errors import ModelError
from padprint.images.photographs import Images
from padprint.measuring import engine
from padprint.measuring.options import DEFAULTS, OWN
from padprint.measuring.session import Setup, planned, traced_on_blank
from padprint.network.layers import unwrapped
from padprint.network.preserved import randomness_kept
from padprint.results.measurement import Measurement
from padprint.training.budget import Budget
from padprint.training.cached import CachedScenes
from padprint.training.logs import Log, scalars


class WatchOptions(TypedDict, total=False):
    """What `Watch` hands on to `padprint.measure`, which says what each means."""

    layers: str | Sequence[str]
    crop: int | tuple[int, ...]
    crops_per_image: int
    groups: int
    margin: int | Sequence[int] | None
    batch_size: int
    seed: int
    spend: float
    inputs: Callable[[Tensor], Any] | None


if TYPE_CHECKING:
    from typing_extensions import Unpack


FIGURES = 0.5
"""Largest share of the time for measuring that goes into drawing."""


class Watch:
    """Measures a network every so many steps of its training, and logs what it finds.

    ::

        watch = Watch(model, scenes, log=writer, layers=["layer1", "layer4"], every=500)
        for step, batch in enumerate(loader, 1):
            ...  # train
            watch(step)

    Weights, optimiser, BatchNorm statistics, gradients, training mode and every global random generator are left as they
    are, so that a training goes on as it would without the watch. What is measured at a step does not depend on the
    clock; at which multiples of `every` it is measured does. The images are read once and kept.

    Among several processes the first one measures and the others wait for it where they next exchange gradients.

    Args:
        model: the network, on the device that it trains on; wrapped by `torch.compile` or DistributedDataParallel or not.
        images: scenes larger than the crop, see `padprint.measure`; read once and kept in memory.
        log: where the numbers go: a TensorBoard ``SummaryWriter``, a logger with ``log_metrics``, ``log_dict`` or ``log``,
            a function of (dictionary, step), or a list of these.
        every: steps from one measurement to the next, at least.
        budget: largest share of the time since the first call that measuring may take. A step that is due is passed over
            as long as it would lead above, so that measurements move apart; what is measured never changes. None: no limit.
            The first is always taken: nobody knows before what it costs.
        figures: draw the patterns too, where a logger takes figures (``add_figure``): with the first measurement, and
            then with those at which drawing, so far, takes no more than half of the budget.
        strict: let a measurement that fails end the training. Otherwise a warning says so once for each kind of failure
            and the training goes on; see `failures`. What is wrong from the start is an error in any case.
        prefix: of the names logged: ``prefix/layer/quantity``.
        mean: of the images, see `padprint.measure`.
        std: of the images, see `padprint.measure`.
        limit: of the images, see `padprint.measure`.
        resize_short_side: of the images, see `padprint.measure`.
        **options: layers, crop, crops_per_image, groups, margin, batch_size, seed, spend, inputs: see `padprint.measure`.

    Attributes:
        failures: step and reason of each measurement that failed.

    Raises:
        ImagesError, LayerError, ModelError: see `padprint.measure`.
        PadprintError: there is no logger, or `every` or `budget` make no sense.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        log: Any,
        *,
        every: int = 500,
        budget: float | None = 0.05,
        figures: bool = True,
        strict: bool = False,
        prefix: str = "padprint",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        limit: int | None = None,
        resize_short_side: int | None = None,
        **options: Unpack[WatchOptions],
    ) -> None:
        self.failures: list[tuple[int, str]] = []
        self._strict, self._figures, self._prefix = strict, figures, prefix
        self._log, self._budget = Log(log), Budget(every, budget)
        self._drawing = Budget(1, None if budget is None else FIGURES, self._budget.spent)
        self._model = unwrapped(model)
        self._last: int | None = None
        self._measures = not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
        if not self._measures:
            return
        _refuse_sharded(model)
        unknown = set(options) - set(WatchOptions.__annotations__)
        if unknown:
            raise TypeError(f"no such option of a watch: {', '.join(sorted(unknown))}")
        self._options: dict[str, Any] = {
            **{key: value for key, value in DEFAULTS.items() if key in WatchOptions.__annotations__},
            **options,
        }
        with self._untouched(), self._budget.preparing():
            of_images = {"mean": mean, "std": std, "limit": limit, "resize_short_side": resize_short_side}
            setup = Setup.of(self._model, images, {**self._options, **of_images})
            self._settings, self._images = setup.settings, CachedScenes(setup.source)
            self._layers: Any = self._options["layers"]
            self._trace()

    def __call__(self, step: int) -> Measurement | None:
        """Measure after this step, if it is due and within the budget.

        Args:
            step: number of optimiser steps taken; 0 before the first.

        Returns:
            What was measured, with the step in its provenance; None if nothing was.
        """
        if not self._measures or step == self._last or not self._budget.due(step):
            return None
        self._last = step
        try:
            with self._untouched(), self._budget.spending():
                return self._measured(step)
        except Exception as error:
            if self._strict:
                raise
            self._failed(step, error)
        return None

    @property
    def share(self) -> float:
        """Share of the time since the first call that went into measuring, preparations included."""
        return self._budget.used()

    def _measured(self, step: int) -> Measurement:
        if repr(self._model) != self._architecture:
            self._trace()
        found = engine.measure(self._model, self._images, **self._options)
        found = replace(found, provenance={**found.provenance, "step": step})
        values = {**scalars(found), "share_of_time": self._budget.used()}
        self._log.scalars({f"{self._prefix}/{name}": value for name, value in values.items()}, step)
        if self._figures and self._log.draws and self._drawing.due(step):
            with self._drawing.spending():
                self._log.figure(f"{self._prefix}/patterns", plot.overview(found), step)
        return found

    def _trace(self) -> None:
        """Find the geometry, and make sure that the images hold a crop."""
        crop, channels, inputs = self._options["crop"], self._images.channels, self._options["inputs"]
        traced = traced_on_blank(self._model, self._layers, crop, channels, {OWN: None}, inputs)
        planned([traced], self._settings).refuse_small(self._images.sizes() or [])
        self._architecture, self._options["layers"] = repr(self._model), traced.geometry

    def _failed(self, step: int, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        kind = type(error).__name__
        known = any(earlier.startswith(f"{kind}:") for _, earlier in self.failures)
        self.failures.append((step, reason))
        if not known:
            warnings.warn(
                f"the padding pattern was not measured at step {step} ({reason}); the training goes on, and further failures "
                "of this kind are kept in `failures` without a word",
                stacklevel=3,
            )

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """Random numbers of images, loggers and figures are none of the training's; nor is work the device has not done."""
        devices = []
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            devices = [torch.cuda.current_device()]
        with randomness_kept(devices=devices):
            yield


def _refuse_sharded(model: nn.Module) -> None:
    """Raise ModelError where no process holds the whole network, so that one alone would wait for the others for ever."""
    kinds = {type(module).__name__ for module in model.modules()} | {type(one).__name__ for one in model.parameters()}
    sharded = kinds & {"FullyShardedDataParallel", "DTensor"} or any(
        hasattr(one, "ds_id") for one in model.parameters()
    )
    if sharded:
        raise ModelError(
            "the network is sharded over processes, and is watched from one: measure a copy gathered from a checkpoint"
        )
