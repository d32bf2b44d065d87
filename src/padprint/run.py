"""One measurement under way: images to moments, and nothing else kept."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from math import ceil, inf
from typing import Any

import torch
from torch import Tensor, nn

import padprint
from padprint.checks import change_when_grown, numeric_floor, relative
from padprint.errors import ImagesError, LayerError
from padprint.forwards import Forwards, first_cell
from padprint.geometry import Geometry, Sides, trace
from padprint.moments import LayerMoments
from padprint.plan import Canvas, CropPlan
from padprint.processes import everyone
from padprint.result import LayerMeasurement, Measurement
from padprint.source import Source, nothing_decoded
from padprint.summary import summarise

RESIDUAL_IMAGES = 4
"""How many of the first images tell how far an approximate F(x; *) still moves."""


@dataclass(frozen=True)
class Settings:
    """What `measure` was asked for, beyond layers, crop and margin."""

    crops_per_image: int
    groups: int
    batch_size: int
    seed: int
    spend: float


class Run:
    """State of one measurement.

    Args:
        model: in evaluation mode, on `device`.
        layers, crop, margin: as asked for.
        device, dtype: of the model.
    """

    settings: Settings
    geometry: Geometry
    plan: CropPlan
    forwards: Forwards

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str],
        crop: tuple[int, int],
        margin: int | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.model, self.layers, self.crop, self.asked_margin = model, layers, crop, margin
        self.device, self.dtype = device, dtype
        self.moments: dict[str, LayerMoments] = {}
        self.n_images = 0
        self.first: int | None = None
        self.floor: dict[str, float] = {}
        self.moved: dict[str, Tensor] = {}  # for an approximate margin: sums of (change of F*)^2 and F*^2
        self.small: list[str] = []

    # ------------------------------------------------------------------------------------------------- the images

    def over(self, source: Source, rank: int, world: int, advance: Callable[[], None]) -> None:
        """Measure the images whose index is `rank` modulo `world`.

        The first image is also used, by every process, to trace the model and to check it.

        Raises:
            ImagesError, LayerError, ModelError: see `measure`.
        """
        sizes = source.sizes()
        for index, image in source.items(rank, world):
            if self.first is None:
                self.first = index
                self.start(image, sizes)
            self.add(index, image)
            advance()
        if self.small:
            raise ImagesError(self._too_small(self.small, self.n_images + len(self.small)))

    def start(self, image: Tensor, sizes: list[tuple[int, int] | None] | None) -> None:
        """Trace the model, plan the crops and check the network, on the first image; `sizes` of all, where known."""
        self.geometry = trace(self.model, self.layers, self.crop, channels=image.shape[0])
        if not self.geometry.maps:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.geometry.unmeasured.items())
            raise LayerError(f"none of the layers can be measured: {reasons}")
        settings = self.settings
        self.plan = CropPlan(
            self.crop,
            self._margin(),
            self.geometry.period,
            settings.crops_per_image,
            settings.seed,
            settings.spend,
        )
        least = self.plan.smallest
        known = [size for size in sizes or [] if size is not None]
        small = [f"{h}x{w}" for h, w in known if h < least[0] or w < least[1]]
        if small:
            raise ImagesError(self._too_small(small, len(known)))
        self.forwards = Forwards(self.model, self.geometry.maps, self.crop, self.device, self.dtype)
        self.forwards.choose_layout(image)
        self._prepare()
        self.floor = numeric_floor(self.forwards, self.plan, image, set(filter(self._short_of, self.geometry.maps)))

    def _prepare(self) -> None:
        for name, spec in self.geometry.maps.items():
            metric = LayerMoments(spec.channels, spec.size, self.settings.groups)
            self.moments[name] = metric.to(self.device)
            self.moved[name] = torch.zeros(2, dtype=torch.float64)

    def _margin(self) -> Sides:
        if self.asked_margin is None:
            return self.geometry.margin
        py, px = self.geometry.period
        y, x = (ceil(self.asked_margin / p) * p for p in (py, px))
        return y, y, x, x

    @property
    def approximate(self) -> bool:
        """Whether the margin is below what some layer needs."""
        return any(self._short_of(name) for name in self.geometry.maps)

    def _short_of(self, name: str) -> bool:
        need = self.geometry[name].margin or (0, 0, 0, 0)
        return any(have < want for have, want in zip(self.plan.margin, need, strict=True))

    def _too_small(self, small: Sequence[str], total: int) -> str:
        need = "x".join(str(n) for n in self.plan.smallest)
        crop = "x".join(str(n) for n in self.crop)
        return (
            f"{len(small)} of {total} images are too small (the first is {small[0]} px): a {crop} crop with the margins "
            f"{self.plan.margin} (top, bottom, left, right) these layers reach needs {need} px; enlarge the photographs "
            f"(resize_short_side={max(self.plan.smallest)}), use a smaller crop, earlier layers, or a margin below the reach"
        )

    def add(self, index: int, image: Tensor) -> None:
        """Measure one `(C, H, W)` image; one that is too small is only counted."""
        size = (image.shape[-2], image.shape[-1])
        canvases = self.plan.canvases(size, index)
        if not canvases:
            self.small.append("x".join(str(n) for n in size))
        if self.small:  # the others are only counted, for one error that says how many
            return
        group = index % self.settings.groups
        for canvas in canvases:
            self._canvas(group, image, canvas)
        if self.approximate and index < RESIDUAL_IMAGES:
            for name, squares in change_when_grown(self.forwards, self.plan, image).items():
                self.moved[name] += squares
        self.n_images += 1

    def _canvas(self, group: int, image: Tensor, canvas: Canvas) -> None:
        window = image[:, canvas.top : canvas.top + canvas.height, canvas.left : canvas.left + canvas.width]
        x = self.forwards.placed(window)
        maps = self.forwards.maps(x)
        for name, spec in self.geometry.maps.items():
            coverage = torch.zeros(maps[name].shape[-2:], device=self.device)
            for corner in canvas.crops:
                row, column = first_cell(spec, corner)
                coverage[row : row + spec.size[0], column : column + spec.size[1]] += 1
            self.moments[name].update_features(group, maps[name], coverage)

        def add(name: str, features: Tensor, optimal: list[Tensor]) -> None:
            self.moments[name].update(group, features, optimal)

        for start in range(0, len(canvas.crops), self.settings.batch_size):
            self.forwards.crops(x, maps, canvas.crops[start : start + self.settings.batch_size], add)

    # -------------------------------------------------------------------------------------------------- the result

    def result(self, source: Source, record: dict[str, Any], distributed: bool) -> Measurement:
        """Everything measured, by all processes.

        Raises:
            ImagesError: no image was measured.
        """
        counts = self._merge(source, distributed)
        if distributed:
            for moments in self.moments.values():
                moments.sync()
        measured = {}
        for name, moments in self.moments.items():
            squares = self.moved[name]
            measured[name] = summarise(
                moments,
                self.geometry[name],
                self.crop,
                numeric_floor=self.floor[name],
                residual=relative(squares) if self._short_of(name) and float(squares[1]) > 0 else None,
                precision=torch.finfo(self.dtype).eps,
            )
        first = next(iter(self.moments.values()))
        return Measurement(
            layers=measured,
            unmeasured=self.geometry.unmeasured,
            crop=self.crop,
            margin=self.plan.margin,
            numeric_floor=max(self.floor.values()),
            n_images=counts["images"],
            n_crops=int(first.crops.sum()),
            approximate=self.approximate,
            warnings=tuple(self._warnings(counts, measured)),
            provenance={
                "padprint": padprint.__version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
                "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                **record,
                **asdict(self.settings),
                "period": list(self.plan.period),
                "device": self.device.type,
                "dtype": str(self.dtype).removeprefix("torch."),
                "images": source.description,
                "skipped": counts["skipped"],
                "upsampled": counts["upsampled"],
            },
        )

    def _merge(self, source: Source, distributed: bool) -> dict[str, Any]:
        """Counts of all processes together; geometry, floor and residual sums become everyone's own.

        The floor is the one of the first image, as with a single process; a process that had no image takes the
        geometry of one that had.

        Raises:
            ImagesError: nobody had an image.
        """
        started = bool(self.moments)
        own = {
            "images": self.n_images,
            "skipped": dict(source.skipped),
            "upsampled": source.upsampled,
            "first": self.first if started else inf,
            "floor": self.floor,
            "moved": self.moved,
            "traced": (self.geometry, self.plan) if started else None,
        }
        reports = everyone(own, distributed)
        leader = min(reports, key=lambda one: one["first"])
        n_images = sum(one["images"] for one in reports)
        if leader["traced"] is None or n_images == 0:
            raise nothing_decoded(source)
        if not started:
            self.geometry, self.plan = leader["traced"]
            self._prepare()
        self.floor = leader["floor"]
        ready = [one["moved"] for one in reports if one["moved"]]
        self.moved = {name: torch.stack([moved[name] for moved in ready]).sum(0) for name in self.moments}
        return {
            "images": n_images,
            "skipped": dict(sorted((k, v) for one in reports for k, v in one["skipped"].items())),
            "upsampled": sum(one["upsampled"] for one in reports),
        }

    def _warnings(self, counts: dict[str, Any], measured: dict[str, LayerMeasurement]) -> Iterator[str]:
        n = counts["images"]
        if n < 3:
            yield f"{n} image{'s' * (n > 1)}: intervals need at least 3"
        elif n < self.settings.groups:
            yield f"{n} images make {n} groups: the intervals rest on {n - 1} degrees of freedom"
        if counts["upsampled"]:
            yield (
                f"{counts['upsampled']} of {n} images were enlarged so that a crop fits: they are smoother than photographs "
                "of that size, and so are the features; for numbers to rely on, measure larger photographs"
            )
        if counts["skipped"]:
            yield f"{len(counts['skipped'])} files could not be decoded and were skipped"
        for name, layer in measured.items():
            if layer.residual is None and self._short_of(name):
                yield f"{name} is approximate, and no image is large enough to tell by how much"
            if layer.snr.value > 0 and layer.relative.value < 10 * layer.numeric_floor:
                yield f"{name}: the pattern is within ten times the numeric floor {layer.numeric_floor:.1e}"
