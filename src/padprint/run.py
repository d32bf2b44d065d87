"""One measurement under way: one forward over each canvas, one over its crops, and nothing kept but moments."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from math import ceil, inf, sqrt
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

import padprint
from padprint.errors import ImagesError, LayerError, ModelError, PadprintError
from padprint.geometry import Geometry, MapSpec, Sides, trace
from padprint.images import Source, nothing_decoded
from padprint.layers import Tap, run_to
from padprint.moments import LayerMoments
from padprint.plan import Canvas, CropPlan
from padprint.result import LayerMeasurement, Measurement
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
                self._start(image, sizes)
            self._image(index, image)
            advance()
        if self.small:
            raise ImagesError(self._too_small(self.small, self.n_images + len(self.small)))

    def _start(self, image: Tensor, sizes: list[tuple[int, int] | None] | None) -> None:
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
        self.taps = [spec.tap for spec in self.geometry.maps.values()]
        self._prepare()
        self._check(image)

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

    def _image(self, index: int, image: Tensor) -> None:
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
            self._residual(image)
        self.n_images += 1

    def _to_model(self, image: Tensor) -> Tensor:
        return image.to(self.device, self.dtype)

    # --------------------------------------------------------------------------------------------- the two forwards

    def _canvas(self, group: int, image: Tensor, canvas: Canvas) -> None:
        window = image[:, canvas.top : canvas.top + canvas.height, canvas.left : canvas.left + canvas.width]
        x = self._to_model(window).unsqueeze(0)
        maps = self._maps(x)
        for name, spec in self.geometry.maps.items():
            corners = [_cell(spec, corner) for corner in canvas.crops]
            coverage = torch.zeros(maps[name].shape[-2:], device=self.device)
            for row, column in corners:
                coverage[row : row + spec.size[0], column : column + spec.size[1]] += 1
            self.moments[name].update_features(group, maps[name], coverage)
        for start in range(0, len(canvas.crops), self.settings.batch_size):
            self._crops(group, x, maps, canvas.crops[start : start + self.settings.batch_size])

    def _maps(self, x: Tensor) -> dict[str, Tensor]:
        """`(C, H, W)` map of every layer on the canvas `x`."""
        maps: dict[str, Tensor] = {}

        def keep(tap: Tap, tensor: Tensor) -> None:
            spec = self.geometry.maps[tap.name]
            features = spec.as_map(tensor)[0]
            expected = tuple(
                n + (have - crop) / s
                for n, have, crop, s in zip(spec.size, x.shape[-2:], self.crop, spec.stride, strict=True)
            )
            if tuple(features.shape[-2:]) != expected:
                raise ModelError(
                    f"{tap.name} has {tuple(features.shape[-2:])} cells on an input of {tuple(x.shape[-2:])} px where "
                    f"{expected} were expected: its map does not grow evenly with the input"
                )
            maps[tap.name] = features.clone() if tap.overwritten else features

        self._forward(x, keep)
        return maps

    def _crops(self, group: int, x: Tensor, maps: dict[str, Tensor], corners: Sequence[tuple[int, int]]) -> None:
        height, width = self.crop
        batch = torch.cat([x[:, :, top : top + height, left : left + width] for top, left in corners])

        def compare(tap: Tap, tensor: Tensor) -> None:
            spec = self.geometry.maps[tap.name]
            features = spec.as_map(tensor)
            diff = torch.empty(features.shape, dtype=features.dtype, device=features.device)
            for one, own, corner in zip(diff, features, corners, strict=True):
                torch.sub(own, _window(spec, maps[tap.name], corner), out=one)
            self.moments[tap.name].update(group, diff)

        self._forward(batch, compare)

    def _forward(self, x: Tensor, visit: Callable[[Tap, Tensor], None]) -> None:
        try:
            run_to(self.model, x, self.taps, visit)
        except PadprintError:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"the model fails on an input of {tuple(x.shape)}: {reason}") from error

    # ------------------------------------------------------------------------------------------------- self-checks

    def _check(self, image: Tensor) -> None:
        """One crop seen from two places of a canvas must give the same F(x; *), to rounding error.

        The second canvas is the first with strips added around it, of unequal widths and with made-up content: neither
        where the crop lies nor what lies beyond the margin may matter.

        Raises:
            ModelError: it does matter for some layer.
        """
        canvases = self.plan.canvases((image.shape[-2], image.shape[-1]), 0)
        if not canvases:
            return  # too small, which is reported with the others
        tight = self._around(image, canvases[0], self.plan.margin)
        py, px = self.plan.period
        wide = F.pad(tight, (px, 2 * px, py, 2 * py), mode="replicate")
        top, _, left, _ = self.plan.margin
        here, there = self._maps(tight), self._maps(wide)
        tolerance = 3 * sqrt(torch.finfo(self.dtype).eps)
        failed = {}
        for name, spec in self.geometry.maps.items():
            one = _window(spec, here[name], (top, left))
            two = _window(spec, there[name], (top + py, left + px))
            if not self._short_of(name):  # elsewhere a larger margin does matter: the residual says how much
                self.floor[name] = _relative(_squares(one, two))
                if self.floor[name] > tolerance:
                    failed[name] = self.floor[name]
        rounding = max(self.floor.values(), default=0.0)
        self.floor = {name: self.floor.get(name, rounding) for name in self.geometry.maps}
        if failed:
            figures = ", ".join(f"{name} {figure:.1e}" for name, figure in failed.items())
            sound = [name for name in self.geometry.maps if name not in failed]
            rest = f"; measure only layers={sound}" if sound else ""
            raise ModelError(
                "the features depend on where the crop lies in its scene, so padding cannot be told apart from position "
                f"(absolute position embedding, align_corners, or resizing inside); relative change of {figures}{rest}"
            )

    def _residual(self, image: Tensor) -> None:
        """Add how far the approximate F(x; *) of one crop moves when its margins grow by half."""
        py, px = self.plan.period
        grown = [ceil(1.5 * m / p) * p for m, p in zip(self.plan.margin, (py, py, px, px), strict=True)]
        top, bottom, left, right = (max(g, p) for g, p in zip(grown, (py, py, px, px), strict=True))
        wider = CropPlan(self.crop, (top, bottom, left, right), self.plan.period, 1, self.plan.seed)
        canvases = wider.canvases((image.shape[-2], image.shape[-1]), 0)
        if not canvases:
            return
        wide = self._around(image, canvases[0], wider.margin)
        dy, dx = top - self.plan.margin[0], left - self.plan.margin[2]
        height, width = self.plan.smallest
        far, near = self._maps(wide), self._maps(wide[:, :, dy : dy + height, dx : dx + width].contiguous())
        for name, spec in self.geometry.maps.items():
            one = _window(spec, far[name], (top, left))
            two = _window(spec, near[name], (self.plan.margin[0], self.plan.margin[2]))
            self.moved[name] += _squares(one, two)

    def _around(self, image: Tensor, canvas: Canvas, margin: Sides) -> Tensor:
        """The first crop of a canvas with exactly `margin` around it, `(1, C, H, W)`."""
        y, x = canvas.crops[0]
        top, left = canvas.top + y - margin[0], canvas.left + x - margin[2]
        height = self.crop[0] + margin[0] + margin[1]
        width = self.crop[1] + margin[2] + margin[3]
        return self._to_model(image[:, top : top + height, left : left + width]).unsqueeze(0)

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
                residual=_relative(squares) if self._short_of(name) and float(squares[1]) > 0 else None,
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
        everyone = _everyone(own, distributed)
        leader = min(everyone, key=lambda one: one["first"])
        n_images = sum(one["images"] for one in everyone)
        if leader["traced"] is None or n_images == 0:
            raise nothing_decoded(source)
        if not started:
            self.geometry, self.plan = leader["traced"]
            self._prepare()
        self.floor = leader["floor"]
        ready = [one["moved"] for one in everyone if one["moved"]]
        self.moved = {name: torch.stack([moved[name] for moved in ready]).sum(0) for name in self.moments}
        return {
            "images": n_images,
            "skipped": dict(sorted((k, v) for one in everyone for k, v in one["skipped"].items())),
            "upsampled": sum(one["upsampled"] for one in everyone),
        }

    def _warnings(self, counts: dict[str, Any], measured: dict[str, LayerMeasurement]) -> Iterator[str]:
        n = counts["images"]
        if n < 3:
            yield f"{n} image{'s' * (n > 1)}: intervals need at least 3"
        elif n < self.settings.groups:
            yield f"{n} images make {n} groups: the intervals rest on {n - 1} degrees of freedom"
        if counts["upsampled"]:
            yield (
                f"{counts['upsampled']} images were enlarged: they are smoother than photographs, and so are the "
                "features"
            )
        if counts["skipped"]:
            yield f"{len(counts['skipped'])} files could not be decoded and were skipped"
        for name, layer in measured.items():
            if layer.residual is None and self._short_of(name):
                yield f"{name} is approximate, and no image is large enough to tell by how much"
            if layer.snr.value > 0 and layer.relative.value < 10 * layer.numeric_floor:
                yield f"{name}: the pattern is within ten times the numeric floor {layer.numeric_floor:.1e}"


def _cell(spec: MapSpec, corner: tuple[int, int]) -> tuple[int, int]:
    """The map's first cell (row, column) of a crop whose corner lies at `corner` pixels, on the total-stride grid."""
    return int(corner[0] / spec.stride[0]), int(corner[1] / spec.stride[1])


def _window(spec: MapSpec, features: Tensor, corner: tuple[int, int]) -> Tensor:
    """The part of a canvas's `(C, H, W)` map that belongs to one crop."""
    row, column = _cell(spec, corner)
    return features[:, row : row + spec.size[0], column : column + spec.size[1]]


def _squares(one: Tensor, two: Tensor) -> Tensor:
    """(sum of squared differences, sum of squares), float64 on the CPU."""
    sums = torch.stack([(one - two).double().square().sum(), one.double().square().sum()])
    return sums.cpu()


def _relative(squares: Tensor) -> float:
    change, size = squares.tolist()
    return sqrt(change / size) if size > 0 else (inf if change > 0 else 0.0)


@contextmanager
def together(distributed: bool) -> Iterator[None]:
    """Fail in every process where one fails, so that none waits for it for ever."""
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        if not distributed:
            raise
        error = caught
    if not distributed:
        return
    reports = _everyone(None if error is None else str(error), distributed)
    if error is not None:
        raise error
    for rank, report in enumerate(reports):
        if report is not None:
            raise PadprintError(f"process {rank}: {report}")


def _everyone(value: Any, distributed: bool) -> list[Any]:
    """What every process holds, in order of rank."""
    if not distributed:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
