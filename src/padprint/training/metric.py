"""The measurement as a torchmetrics metric: fed with scenes, added up over processes, saved with checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from padprint.errors import ImagesError
from padprint.geometry.layer import Geometry
from padprint.images.photographs import as_source
from padprint.images.source import fingerprint
from padprint.measuring.checked import Checked, Traced
from padprint.measuring.options import OWN, Options, run_settings, schemes_by_name
from padprint.measuring.outcome import Counts, measurement
from padprint.measuring.session import planned, traced_on_blank
from padprint.measuring.sums import NetworkSums
from padprint.network.layers import unwrapped
from padprint.network.preserved import as_measured, inputs_made, on_device
from padprint.padding import Scheme
from padprint.results.measurement import Measurement
from padprint.support.defaults import BATCH_SIZE, CROP, CROPS_PER_IMAGE, GROUPS, SEED
from padprint.support.optional import torchmetrics_module
from padprint.training.logs import scalars

if TYPE_CHECKING:
    from torchmetrics import Metric
else:
    Metric = torchmetrics_module().Metric

REMEMBERED = 4096
"""So many first scenes are told apart, to count those that come again."""


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
        crop: int | tuple[int, ...] = CROP,
        *,
        channels: int = 3,
        crops_per_image: int = CROPS_PER_IMAGE,
        groups: int = GROUPS,
        margin: int | Sequence[int] | None = None,
        batch_size: int = BATCH_SIZE,
        seed: int = SEED,
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
        self._settings = run_settings(options)
        self._paddings = schemes_by_name([OWN if padding is None else padding], seed)
        self._network = _Network(unwrapped(model))
        self._crop, self._channels, self._inputs = crop, channels, inputs
        self._checked: Checked | None = None
        traced = self._traced(layers)
        self.geometry = traced.geometry
        self._plan = planned([traced], self._settings)
        for name, moments in NetworkSums(traced, self._plan, groups).states(self._padding).items():
            for state in moments.states:
                self.add_state(f"{name}/{state}", torch.zeros_like(getattr(moments, state)), dist_reduce_fx="sum")
        count = len(self.geometry.maps)
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(REMEMBERED, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("floor", torch.zeros(count, dtype=torch.float64), dist_reduce_fx="max")
        self.add_state("moved", torch.zeros(count, 2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, images: Tensor | Sequence[Tensor]) -> None:
        """Measure scenes; an update that fails leaves the metric as it was.

        Args:
            images: `(N, C, *space)`, or N tensors `(C, *space)`, larger than the crop, normalised as the model wants them.

        Raises:
            ImagesError: see `padprint.measure`.
            ModelError: see `padprint.measure`.
        """
        scenes = [scene for _, scene in as_source(images, strict=True).items()]
        sizes = [tuple(scene.shape[1:]) for scene in scenes]
        rank, world = self._share()
        done = int(self.images)
        with (
            on_device(self._network.model, None) as place,
            inputs_made(self._network.model, self._inputs),
            as_measured(self._network.model),
        ):
            self._plan.refuse_small(sizes)
            checked = self._checked
            if checked is None or checked.traced.device != place[0]:
                model, crop = self._network.model, self._plan.crop
                traced = Traced.of(model, self.geometry, crop, self._channels, place, self._paddings)
                checked = Checked(traced, self._plan, scenes[0])
                checked.refuse_nothing_left()
            self.to(place[0])
            sums = self._sums(checked.traced, copied=True)
            seen = self.seen.clone()
            for i, scene in enumerate(scenes):
                number = rank + (done + i) * world
                self._add(sums, checked, scene, number)
                if number < REMEMBERED:
                    seen[number] = _number(scene)
            checked.finish()
            checked.refuse_contradicted()
        self._checked = checked
        for name, moments in sums.states(self._padding).items():
            for state, value in moments.states.items():
                setattr(self, f"{name}/{state}", value)
        self.moved = torch.stack(list(sums.moved.values())).to(place[0])
        self.images = self.images + len(scenes)
        self.seen = seen
        if done == 0 and rank == 0:
            self.floor = torch.tensor(list(checked.floor.values()), dtype=torch.float64, device=place[0])

    def _add(self, sums: NetworkSums, checked: Checked, scene: Tensor, number: int) -> None:
        """Add one scene of this number; crops are numbered image by image, as nobody knows how many are to come."""
        crops = self._plan.crops
        canvases = self._plan.canvases(tuple(scene.shape[1:]), number)
        order = range(number * crops, (number + 1) * crops)
        sums.add(checked, scene, number, canvases, self._settings.batch_size, order)
        checked.count_image(f"image {number}")

    def compute(self) -> dict[str, Tensor]:
        """``"layer/quantity"`` for each layer measured: snr, mae, mae_floor, response, relative, positional, rms, mae_corrected; float64.

        Raises:
            ImagesError: no process has seen an image.
        """
        found = scalars(self._filled().measured(self._padding, self._floors()))
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
            sums = self._filled()
            known = [number for number in self.seen.tolist() if number]
            counts = Counts("scenes fed to a metric", int(self.images), repeated=len(known) - len(set(known)))
            record = {"model": type(model).__name__, "processes": self._share()[1]}
            return measurement(sums, self._padding, self._floors(), {}, self._settings, counts, record)

    def reset(self) -> None:
        """See `torchmetrics.Metric.reset`; the geometry is kept."""
        super().reset()
        self._checked = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_checked": None}

    @property
    def _padding(self) -> str:
        return next(iter(self._paddings))

    def _share(self) -> tuple[int, int]:
        """This process's rank among those whose images are added up, and how many these are."""
        if self.sync_on_compute and dist.is_available() and dist.is_initialized():
            return dist.get_rank(self.process_group), dist.get_world_size(self.process_group)
        return 0, 1

    def _traced(self, layers: str | Sequence[str] | Geometry) -> Traced:
        model, crop = self._network.model, self._crop
        return traced_on_blank(model, layers, crop, self._channels, self._paddings, self._inputs)

    def _filled(self) -> NetworkSums:
        """NetworkSums that are what the states say.

        Raises:
            ImagesError: they say that there was no image.
        """
        if int(self.images) == 0:
            raise ImagesError("no image was measured: update the metric with scenes first")
        return self._sums(self._traced(self.geometry), copied=False)

    def _floors(self) -> dict[str, float]:
        return dict(zip(self.geometry.maps, self.floor.tolist(), strict=True))

    def _sums(self, traced: Traced, *, copied: bool) -> NetworkSums:
        """NetworkSums that are the states, or copies of them."""
        sums = NetworkSums(traced, self._plan, self._settings.groups)
        for name, moments in sums.states(self._padding).items():
            for state in moments.states:
                value = getattr(self, f"{name}/{state}")
                setattr(moments, state, value.clone() if copied else value)
        sums.moved = dict(zip(self.geometry.maps, self.moved.cpu().clone().unbind(), strict=True))
        return sums


def _number(scene: Tensor) -> int:
    """A scene's fingerprint as a whole number of 64 bits, not 0."""
    return int.from_bytes(bytes.fromhex(fingerprint(scene)), "big", signed=True) or 1


class _Network:
    """Holds a network without owning it: of a copy, the copied network where there is one, else the same."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __deepcopy__(self, memo: dict[int, Any]) -> _Network:
        return _Network(memo.get(id(self.model), self.model))
