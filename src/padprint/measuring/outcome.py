"""What a pass found, as results: counts of images, warnings, and where the numbers come from."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

import torch

from padprint.measuring.options import Settings
from padprint.measuring.sums import NetworkSums
from padprint.network.batchnorm import uncalibrated
from padprint.results.measurement import LayerMeasurement, Measurement
from padprint.support.reasons import Kind, Reason
from padprint.support.version import __version__
from padprint.support.wording import count


@dataclass(frozen=True)
class Counts:
    """The images of a pass.

    Attributes:
        source: what they are, in words.
        images: how many were measured.
        skipped: by name, why not.
        upsampled: how many were enlarged.
        repeated: how many are the same as an earlier one.
        record: what else is known of them, see `Source.record`.
    """

    source: str
    images: int
    skipped: Mapping[str, str] = field(default_factory=dict)
    upsampled: int = 0
    repeated: int = 0
    record: Mapping[str, Any] = field(default_factory=dict)


def measurement(
    sums: NetworkSums,
    padding: str,
    floor: Mapping[str, float],
    refused: Mapping[str, Reason],
    settings: Settings,
    counts: Counts,
    record: Mapping[str, Any],
) -> Measurement:
    """Everything measured of one network under one padding.

    Args:
        sums: of the network.
        padding: one of its paddings.
        floor: by layer, relative change of F(x; *) that is rounding.
        refused: layers that the data contradict, with the reason.
        settings: of the pass.
        counts: of the images.
        record: what provenance says of the network.
    """
    traced, plan = sums.traced, sums.plan
    layers = sums.measured(padding, floor, refused)
    swapped = traced.paddings[padding] is not None
    return Measurement(
        layers=layers,
        unmeasured={**traced.geometry.unmeasured, **refused},
        crop=plan.crop,
        margin=plan.margin,
        numeric_floor=max(floor[name] for name in layers),
        n_images=counts.images,
        n_crops=int(next(iter(sums.moments[padding].values())).crops.sum()),
        approximate=bool(traced.short(plan)),
        warnings=tuple(_warnings(sums, padding, settings, counts, layers)),
        provenance={
            "padprint": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **record,
            "padding": padding if swapped else None,
            **asdict(settings),
            "period": list(plan.period),
            "device": traced.device.type,
            "dtype": str(traced.dtype).removeprefix("torch."),
            "images": counts.source,
            "skipped": dict(counts.skipped),
            "upsampled": counts.upsampled,
            **({"scenes": dict(counts.record)} if counts.record else {}),
        },
    )


def _warnings(
    sums: NetworkSums, padding: str, settings: Settings, counts: Counts, layers: Mapping[str, LayerMeasurement]
) -> Iterator[Reason]:
    traced = sums.traced
    if traced.paddings[padding] is not None:
        yield Reason(
            Kind.SWAPPED,
            "the padding was swapped for this measurement: the numbers are those of the swap on the network as it is, "
            "not of a network trained with that padding",
        )
    for said in traced.untrained(padding):
        yield Reason(Kind.UNTRAINED, said)
    fresh = uncalibrated(traced.model)
    if fresh is not None:
        yield Reason(Kind.UNTRAINED, fresh)
    yield from _of_images(settings, counts)
    short = traced.short(sums.plan)
    for name, layer in layers.items():
        if not layer.pattern.isfinite().all():
            yield Reason(
                Kind.NOT_FINITE,
                f"{name} holds NaN or infinite values, so that its numbers are n/a: check the weights, the normalisation "
                "of the images, and their precision",
                layer=name,
            )
        if layer.residual is None and name in short:
            said = f"{name} is approximate, and no image is large enough to tell by how much"
            yield Reason(Kind.APPROXIMATE, said, layer=name)
        if layer.snr.value > 0 and layer.relative.value < 10 * layer.numeric_floor:
            said = f"{name}: the pattern is within ten times the numeric floor {layer.numeric_floor:.1e}"
            yield Reason(Kind.FLOOR, said, layer=name)


def _of_images(settings: Settings, counts: Counts) -> Iterator[Reason]:
    n = counts.images
    if n < 3:
        yield Reason(Kind.FEW, f"{n} image{'s' * (n > 1)}: intervals need at least 3")
    elif settings.groups < 3:
        said = f"groups={settings.groups}: intervals need at least 3 groups, and hold better with 10 or more"
        yield Reason(Kind.FEW, said)
    elif n < settings.groups:
        yield Reason(
            Kind.FEW,
            f"{n} images make {n} groups: the intervals rest on {n - 1} degrees of freedom, and the test of "
            "channels misses many: 20 images or more are better",
        )
    if counts.upsampled:
        yield Reason(
            Kind.IMAGES,
            f"{counts.upsampled} of {n} images were enlarged so that a crop fits: they are smoother than photographs "
            "of that size, and so are the features; for numbers to rely on, measure larger photographs",
        )
    if counts.repeated:
        said = f"{counts.repeated} of {n} images are the same as an earlier one: they add nothing, and intervals are too narrow"
        yield Reason(Kind.IMAGES, said)
    if counts.skipped:
        yield Reason(Kind.IMAGES, f"skipped {count(len(counts.skipped), 'image')} that could not be used")
