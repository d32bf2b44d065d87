"""The measurement as a torchmetrics metric: fed with scenes, added up over processes, saved with checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from padprint.errors import ImagesError
from padprint.geometry.layer import Geometry
from padprint.images.photographs import as_source
from padprint.images.source import fingerprint
from padprint.measuring import engine
from padprint.measuring.options import OWN, Options, on_device, run_settings, schemes_by_name
from padprint.measuring.run import Run, Settings
from padprint.measuring.subject import Subject
from padprint.network.layers import as_measured, unwrapped
from padprint.network.preserved import inputs_made
from padprint.padding import Scheme
from padprint.results.measurement import LayerMeasurement, Measurement
from padprint.support.optional import torchmetrics_module

if TYPE_CHECKING:
    from torchmetrics import Metric
else:
    Metric = torchmetrics_module().Metric

QUANTITIES = ("snr", "mae", "mae_floor", "response", "relative", "positional", "rms", "mae_corrected")
"""What is reported of each layer, see `padprint.LayerMeasurement`."""


REMEMBERED = 4096
"""So many first scenes are told apart, to count those that come again."""


def scalars(layers: Mapping[str, LayerMeasurement]) -> dict[str, float]:
    """``"layer/quantity"``: the estimate, for each of `QUANTITIES`."""
    return {f"{name}/{what}": getattr(layer, what).value for name, layer in layers.items() for what in QUANTITIES}


class PatternMetric(Metric):
    """The padding pattern of a network's layers as a `torchmetrics.Metric`.

    Fed with the same scenes it gives the numbers of `padprint.measure`. Synchronisation, reset, checkpoints
    (``metric.persistent(True)``) and `torchmetrics.MetricCollection` work as for any metric. The network is held, not
    owned: it is in no state dict, and copies of the metric measure the same network (in a copy of a module that holds
    both, the copied one). It is traced once, when the metric is made, and left as found by every update.

    Among n processes the images of process r count as numbers r, r + n, r + 2n, ..., as
    `torch.utils.data.DistributedSampler` without shuffling shares them out; numbers decide crops and groups.

    Args:
        model: the network to measure, as it is at each update.
        layers: see `padprint.measure`.
        crop: see `padprint.measure`.
        channels: of the scenes.
        crops_per_image: see `padprint.measure`.
        groups: see `padprint.measure`.
        margin: see `padprint.measure`.
        batch_size: see `padprint.measure`.
        seed: see `padprint.measure`.
        spend: see `padprint.measure`.
        padding: see `padprint.measure`.
        inputs: see `padprint.measure`.
        **kwargs: of `torchmetrics.Metric`.

    Attributes:
        geometry: what the trace found.

    Raises:
        LayerError, ModelError, PaddingError: see `padprint.measure`.
    """

    full_state_update = True  # numbers of images go on from update to update
    is_differentiable = False

    images: Tensor
    seen: Tensor
    floor: Tensor
    moved: Tensor

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str] | Geometry = "auto",
        crop: int | tuple[int, int] = 224,
        *,
        channels: int = 3,
        crops_per_image: int = 16,
        groups: int = 20,
        margin: int | None = None,
        batch_size: int = 16,
        seed: int = 0,
        spend: float = 1.0,
        padding: str | Scheme | None = None,
        inputs: Callable[[Tensor], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        options: Options = {
            "crops_per_image": crops_per_image,
            "groups": groups,
            "margin": margin,
            "batch_size": batch_size,
            "seed": seed,
            "spend": spend,
        }
        self._settings: Settings = run_settings(options)
        self._paddings = schemes_by_name([OWN if padding is None else padding], seed)
        self._network = _Network(unwrapped(model))
        self._crop, self._channels, self._inputs = crop, channels, inputs
        self._run: Run | None = None
        run = self._new_run(layers)
        self.geometry = run.subjects[0].geometry
        run.subjects[0].prepare(run.plan, groups)
        for name, moments in self._moments(run.subjects[0]).items():
            for state, value in moments.metric_state.items():
                self.add_state(f"{name}/{state}", torch.zeros_like(value), dist_reduce_fx="sum")
        count = len(self.geometry.maps)
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(REMEMBERED, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("floor", torch.zeros(count, dtype=torch.float64), dist_reduce_fx="max")
        self.add_state("moved", torch.zeros(count, 2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, images: Tensor | Sequence[Tensor]) -> None:
        """Measure scenes; an update that fails leaves the metric as it was.

        Args:
            images: `(N, C, H, W)`, or N tensors `(C, H, W)`, larger than the crop, normalised as the model wants them.

        Raises:
            ImagesError: see `padprint.measure`.
            ModelError: see `padprint.measure`.
        """
        scenes = [scene for _, scene in as_source(images, strict=True).items()]
        sizes = [(scene.shape[-2], scene.shape[-1]) for scene in scenes]
        rank, world = self._share()
        done = int(self.images)
        with (
            on_device(self._network.model, None) as (device, _),
            inputs_made(self._network.model, self._inputs),
            as_measured(self._network.model),
        ):
            run = self._run
            if run is None or run.subjects[0].device != device:
                run = self._new_run(self.geometry)
                run.start(scenes[0], sizes)
            run.refuse_small(sizes)
            self.to(device)
            subject = run.subjects[0]
            self._lend(subject, copied=True)
            seen = self.seen.clone()
            for i, scene in enumerate(scenes):
                number = rank + (done + i) * world
                run.add(number, scene)
                if number < REMEMBERED:
                    seen[number] = _number(scene)
            subject.finish()
            subject.refuse_contradicted()
        self._run = run
        for name, moments in self._moments(subject).items():
            for state, value in moments.metric_state.items():
                setattr(self, f"{name}/{state}", value)
        self.moved = torch.stack(list(subject.moved.values())).to(device)
        self.images = self.images + len(scenes)
        self.seen = seen
        if done == 0 and rank == 0:
            self.floor = torch.tensor(list(subject.floor.values()), dtype=torch.float64, device=device)

    def compute(self) -> dict[str, Tensor]:
        """``"layer/quantity"`` for each layer measured: snr, mae, mae_floor, response, relative, positional, rms, mae_corrected; float64.

        Raises:
            ImagesError: no process has seen an image.
        """
        subject = self._filled().subjects[0]
        found = scalars(subject.measured(self._padding))
        return {name: torch.tensor(value, dtype=torch.float64, device=self.device) for name, value in found.items()}

    def measurement(self) -> Measurement:
        """Everything measured so far, by all processes (all must call): intervals, patterns, profiles.

        The means over the first crops (`LayerMeasurement.emergence`) are over those of the first images, because nobody
        knows how many images are to come; all else is as `padprint.measure` has it.

        Raises:
            ImagesError: no process has seen an image.
        """
        model = self._network.model
        with self.sync_context(should_sync=self.sync_on_compute, distributed_available=self.distributed_available_fn):
            run = self._filled()
            known = [number for number in self.seen.tolist() if number]
            counts = {
                "source": "scenes fed to a metric",
                "images": int(self.images),
                "skipped": {},
                "upsampled": 0,
                "repeated": len(known) - len(set(known)),
            }
            record = {"model": type(model).__name__, "processes": self._share()[1]}
            return run.result(run.subjects[0], self._padding, counts, record)

    def reset(self) -> None:
        """See `torchmetrics.Metric.reset`; the geometry is kept."""
        super().reset()
        self._run = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_run": None}

    @property
    def _padding(self) -> str:
        return next(iter(self._paddings))

    def _share(self) -> tuple[int, int]:
        """This process's rank among those whose images are added up, and how many these are."""
        if self.sync_on_compute and dist.is_available() and dist.is_initialized():
            return dist.get_rank(self.process_group), dist.get_world_size(self.process_group)
        return 0, 1

    def _new_run(self, layers: str | Sequence[str] | Geometry) -> Run:
        model, crop = self._network.model, self._crop
        return engine.planned(model, layers, crop, self._channels, self._settings, self._paddings, self._inputs)

    def _filled(self) -> Run:
        """A run that has measured what the states say.

        Raises:
            ImagesError: they say that there was no image.
        """
        if int(self.images) == 0:
            raise ImagesError("no image was measured: update the metric with scenes first")
        run = self._new_run(self.geometry)
        run.subjects[0].prepare(run.plan, self._settings.groups)
        self._lend(run.subjects[0], copied=False)
        return run

    def _lend(self, subject: Subject, *, copied: bool) -> None:
        """Let a network's sums be the states, or copies of them."""
        for name, moments in self._moments(subject).items():
            for state in moments.metric_state:
                value = getattr(self, f"{name}/{state}")
                setattr(moments, state, value.clone() if copied else value)
        subject.moved = dict(zip(self.geometry.maps, self.moved.cpu().clone().unbind(), strict=True))
        if not copied:
            subject.floor = dict(zip(self.geometry.maps, self.floor.tolist(), strict=True))

    def _moments(self, subject: Subject) -> dict[str, Any]:
        return subject.sums(self._padding)


def _number(scene: Tensor) -> int:
    """A scene's fingerprint as a whole number of 64 bits, not 0."""
    return int.from_bytes(bytes.fromhex(fingerprint(scene)), "big", signed=True) or 1


class _Network:
    """Holds a network without owning it: of a copy, the copied network where there is one, else the same."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __deepcopy__(self, memo: dict[int, Any]) -> _Network:
        return _Network(memo.get(id(self.model), self.model))
