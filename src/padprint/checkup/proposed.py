"""Commands that a first look proposes to run next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from padprint.checkup.plan import FALLBACK, STEMS, Plan
from padprint.geometry.inspection import Inspection
from padprint.geometry.layer import Geometry
from padprint.images.photographs import Images
from padprint.report.advice import SWAPS
from padprint.support.defaults import CROP


def commands(
    spec: str,
    plan: Plan,
    short_side: int | None,
    images: Images | None,
    geometry: Geometry,
    inspection: Inspection | None,
    arguments: Sequence[str],
    *,
    measured: bool,
) -> list[str]:
    """What to run next, ready to be pasted.

    Args:
        spec: the model, as a command takes it.
        plan: of the quick measurement.
        short_side: px that photographs are resized to, or None.
        images: that were given.
        geometry: of the layers.
        inspection: what pads, or None.
        arguments: further ones of `measure` and `compare`.
        measured: whether the quick measurement worked.
    """
    where = shlex.quote(str(images)) if isinstance(images, str) or hasattr(images, "__fspath__") else "IMAGES"
    model = shlex.quote(spec)
    size = str(plan.crop[0]) if len(set(plan.crop)) == 1 else "x".join(map(str, plan.crop))
    tail = " ".join(map(shlex.quote, [*arguments, *_options(plan, short_side, arguments), *_sizes(plan, size)]))
    proposed = []
    if measured:
        proposed = [
            f"padprint measure {model} {where} {tail} --output result --report",
            f"padprint compare {model} {where} --padding own {SWAPS} {tail} --output swaps --report",
        ]
    if inspection is not None and any(not window.even for window in inspection.strided):
        proposed.append(f"padprint inspect {model} --size {size}")
    if geometry.maps:
        proposed.append(f"padprint halo {model} --structural --output-layer {shlex.quote(list(geometry.maps)[-1])}")
    else:
        proposed.append(f"padprint layers {model} --layers '*' --crop {size}")
    return [" ".join(command.split()) for command in proposed]


def _options(plan: Plan, short_side: int | None, given: Sequence[str]) -> list[str]:
    """Options that the commands need and that were not given."""
    options = []
    if not plan.normalised and "--mean" not in given:
        for option, value in zip(("--mean", "--std"), FALLBACK, strict=True):
            options += [option, ",".join([f"{value:g}"] * plan.channels)]
    if short_side is not None and "--resize-short-side" not in given:
        options += ["--resize-short-side", str(short_side)]
    if plan.uncalibrated is not None:
        options += ["--calibrate", str(STEMS)]
    return options


def _sizes(plan: Plan, size: str) -> list[str]:
    crop = [] if set(plan.crop) == {CROP} else ["--crop", size]
    return crop + ([] if plan.margin is None else ["--margin", str(plan.margin)])
