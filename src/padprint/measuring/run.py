"""One pass over the images: the same crops for every network and padding under measurement, and nothing kept of them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from math import inf
from typing import Any

import torch
from torch import Tensor

import padprint
from padprint.errors import ImagesError
from padprint.geometry.layer import surroundings
from padprint.images.source import Source, fingerprint, nothing_decoded
from padprint.measuring.crop_plan import CropPlan
from padprint.measuring.subject import Subject
from padprint.network.layers import uncalibrated
from padprint.results.measurement import LayerMeasurement, Measurement
from padprint.support.processes import everyone, same_images
from padprint.support.wording import count


@dataclass(frozen=True)
class Settings:
    """What a measurement was asked for, beyond models and layers.

    Attributes:
        crops_per_image, groups, batch_size, seed, spend: see `padprint.measure`.
        margin: pixels asked for, or None for as many as the layers reach.
    """

    crops_per_image: int
    groups: int
    batch_size: int
    seed: int
    spend: float
    margin: int | None = None


class Run:
    """State of one pass.

    Args:
        subjects: the networks; all see the same crops.
        settings: see `Settings`.
    """

    plan: CropPlan

    def __init__(self, subjects: Sequence[Subject], settings: Settings) -> None:
        self.subjects, self.settings = subjects, settings
        self.n_images = 0
        self.first: int | None = None
        self.length: int | None = None
        self.small: list[str] = []
        self.seen: list[str] = []

    # ------------------------------------------------------------------------------------------------- the images

    def over(self, source: Source, rank: int, world: int, advance: Callable[[], None]) -> None:
        """Measure the images whose index is `rank` modulo `world`.

        The first of them is also used, by every process, to trace the models and to check them.

        Raises:
            ImagesError, LayerError, ModelError: see `padprint.measure`.
        """
        sizes, self.length = source.sizes(), source.length
        for index, image in source.items(rank, world):
            if self.first is None:
                self.first = index
                self.start(image, sizes)
            self.add(index, image, source.called(index))
            advance()
        if self.small:
            raise ImagesError(self._too_small(self.small, self.n_images + len(self.small)))
        for subject in self.subjects:
            subject.finish()

    def start(self, image: Tensor, sizes: Sequence[tuple[int, int] | None] | None) -> None:
        """Trace the models, plan the crops and check the networks on the first image; `sizes` of all, where known."""
        self.look(image.shape[0])
        self.refuse_small(sizes or [])
        for subject in self.subjects:
            subject.start(self.plan, self.settings.groups, image)

    def look(self, channels: int) -> None:
        """Trace the models and plan the crops, which takes no image."""
        for subject in self.subjects:
            subject.look(channels)
        self.plan = self._planned()

    def refuse_small(self, sizes: Sequence[tuple[int, int] | None]) -> None:
        """Raise ImagesError where a scene of one of these (H, W), as far as they are known, does not hold a crop."""
        least = self.plan.smallest
        known = [size for size in sizes if size is not None]
        small = [f"{h}x{w}" for h, w in known if h < least[0] or w < least[1]]
        if small:
            raise ImagesError(self._too_small(small, len(known)))

    def _planned(self) -> CropPlan:
        """Crops on the grid of every network, with room for the layers of all."""
        margin, period = surroundings([subject.geometry for subject in self.subjects], self.settings.margin)
        settings = self.settings
        whole = any(subject.seeing_all for subject in self.subjects)
        spend = inf if whole else settings.spend  # statistics are compared with those of large scenes
        return CropPlan(self.subjects[0].crop, margin, period, settings.crops_per_image, settings.seed, spend)

    def _too_small(self, small: Sequence[str], total: int) -> str:
        need = "x".join(str(n) for n in self.plan.smallest)
        crop = "x".join(str(n) for n in self.plan.crop)
        return (
            f"{len(small)} of {total} images are too small (the first is {small[0]} px): a {crop} crop with the margins "
            f"{self.plan.margin} (top, bottom, left, right) these layers reach needs {need} px; enlarge the photographs "
            f"(resize_short_side={max(self.plan.smallest)}), use a smaller crop, earlier layers, or a margin below the reach"
        )

    def add(self, index: int, image: Tensor, called: str = "") -> None:
        """Measure one `(C, H, W)` image, which messages call so; one that is too small is only counted."""
        size = (image.shape[-2], image.shape[-1])
        canvases = self.plan.canvases(size, index)
        if not canvases:
            self.small.append("x".join(str(n) for n in size))
        if self.small:  # the others are only counted, for one error that says how many
            return
        group = index % self.settings.groups
        for subject in self.subjects:
            subject.add(index, group, image, canvases, self.settings.batch_size, self._order(index))
            subject.tick(called or f"image {index}")
        self.n_images += 1
        self.seen.append(fingerprint(image))

    def _order(self, index: int) -> range:
        """Numbers of an image's crops among all crops: the first crop of every image, then the second of every image.

        Where it is not known how many images there are, image by image.
        """
        crops = self.plan.crops
        if self.length is None:
            return range(index * crops, (index + 1) * crops)
        return range(index, crops * self.length, self.length)

    # ------------------------------------------------------------------------------------------------ the results

    def results(self, source: Source, records: Sequence[dict[str, Any]], distributed: bool) -> list[list[Measurement]]:
        """Everything measured, by all processes: for each subject, one measurement for each of its paddings.

        Args:
            source: the images.
            records: for each subject, what provenance says of it.
            distributed: whether there are other processes.

        Raises:
            ImagesError: no image was measured.
        """
        counts = self._merge(source, distributed)
        return [
            [self.result(subject, padding, counts, record) for padding in subject.paddings]
            for subject, record in zip(self.subjects, records, strict=True)
        ]

    def result(self, subject: Subject, padding: str, counts: dict[str, Any], record: dict[str, Any]) -> Measurement:
        """Everything measured of one network under one padding.

        Args:
            subject: the network.
            padding: one of its paddings.
            counts: of the images: "source" (in words), "images", "skipped", "upsampled" and "repeated".
            record: what provenance says of the network.
        """
        measured = subject.measured(padding)
        swapped = subject.paddings[padding] is not None
        return Measurement(
            layers=measured,
            unmeasured=subject.unmeasured,
            crop=self.plan.crop,
            margin=self.plan.margin,
            numeric_floor=max(subject.floor[name] for name in measured),
            n_images=counts["images"],
            n_crops=int(next(iter(subject.moments[padding].values())).crops.sum()),
            approximate=subject.approximate,
            warnings=tuple(self._warnings(subject, padding, counts, measured)),
            provenance={
                "padprint": padprint.__version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
                "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                **record,
                "padding": padding if swapped else None,
                **asdict(self.settings),
                "period": list(self.plan.period),
                "device": subject.device.type,
                "dtype": str(subject.dtype).removeprefix("torch."),
                "images": counts["source"],
                "skipped": counts["skipped"],
                "upsampled": counts["upsampled"],
            },
        )

    def _merge(self, source: Source, distributed: bool) -> dict[str, Any]:
        """Counts of all processes together; moments, geometry and checks become everyone's own.

        Raises:
            ImagesError: nobody had an image.
        """
        own = {
            "images": self.n_images,
            "source": source.description,
            "fingerprint": source.fingerprint() if distributed else "",
            "skipped": dict(source.skipped),
            "upsampled": source.upsampled,
            "seen": self.seen,
            "first": inf if self.first is None else self.first,
            "plan": None if self.first is None else self.plan,
            "subjects": [subject.report() for subject in self.subjects],
        }
        reports = everyone(own, distributed)
        same_images([one["fingerprint"] for one in reports], [one["source"] for one in reports])
        leader = min(reports, key=lambda one: one["first"])
        n_images = sum(one["images"] for one in reports)
        if leader["plan"] is None or n_images == 0:
            raise nothing_decoded(source, {k: v for one in reports for k, v in one["skipped"].items()})
        self.plan = leader["plan"]
        if distributed:
            for i, subject in enumerate(self.subjects):
                subject.join(leader["subjects"][i], [one["subjects"][i] for one in reports], self.settings.groups)
        return {
            "source": source.description,
            "images": n_images,
            "skipped": dict(sorted((k, v) for one in reports for k, v in one["skipped"].items())),
            "upsampled": sum(one["upsampled"] for one in reports),
            "repeated": n_images - len({one for report in reports for one in report["seen"]}),
        }

    def _warnings(
        self, subject: Subject, padding: str, counts: dict[str, Any], measured: dict[str, LayerMeasurement]
    ) -> Iterator[str]:
        n = counts["images"]
        if subject.paddings[padding] is not None:
            yield (
                "the padding was swapped for this measurement: the numbers are those of the swap on the network as it is, "
                "not of a network trained with that padding"
            )
        yield from subject.untrained(padding)
        fresh = uncalibrated(subject.model)
        if fresh is not None:
            yield fresh
        if n < 3:
            yield f"{n} image{'s' * (n > 1)}: intervals need at least 3"
        elif self.settings.groups < 3:
            yield f"groups={self.settings.groups}: intervals need at least 3 groups, and hold better with 10 or more"
        elif n < self.settings.groups:
            yield (
                f"{n} images make {n} groups: the intervals rest on {n - 1} degrees of freedom, and the test of "
                "channels misses many: 20 images or more are better"
            )
        if counts["upsampled"]:
            yield (
                f"{counts['upsampled']} of {n} images were enlarged so that a crop fits: they are smoother than photographs "
                "of that size, and so are the features; for numbers to rely on, measure larger photographs"
            )
        if counts["repeated"]:
            yield (
                f"{counts['repeated']} of {n} images are the same as an earlier one: they add nothing, and intervals are too narrow"
            )
        if counts["skipped"]:
            yield f"skipped {count(len(counts['skipped']), 'image')} that could not be used"
        for name, layer in measured.items():
            if not layer.pattern.isfinite().all():
                yield (
                    f"{name} holds NaN or infinite values, so that its numbers are n/a: check the weights, the normalisation "
                    "of the images, and their precision"
                )
            if layer.residual is None and subject.short_of(name):
                yield f"{name} is approximate, and no image is large enough to tell by how much"
            if layer.snr.value > 0 and layer.relative.value < 10 * layer.numeric_floor:
                yield f"{name}: the pattern is within ten times the numeric floor {layer.numeric_floor:.1e}"
