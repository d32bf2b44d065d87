"""`check`: the first answer about a network in under a minute: what pads, how far that reaches, what it leaves, what to do next."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, nan
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from padprint.errors import ImagesError, LayerError, ModelError, PadprintError
from padprint.geometry.inspection import Inspection, inspect, stride_record
from padprint.geometry.layer import Geometry
from padprint.geometry.tracing import crop_size, trace
from padprint.images.dead_leaves import DeadLeaves
from padprint.images.photographs import Images, as_source, holds_pixels
from padprint.images.source import Source
from padprint.measuring.engine import measure
from padprint.network.layers import uncalibrated, unwrapped
from padprint.network.loading import as_model, calibrate_batchnorm, declared_normalisation
from padprint.report.advice import SWAPS, strides_step
from padprint.report.inspected import inspection_verdict
from padprint.report.levels import level, stands_out
from padprint.report.verdict import verdict
from padprint.results.measurement import Estimate, LayerMeasurement, Measurement
from padprint.support import frames
from padprint.support.progress import display, phase
from padprint.support.text_table import aligned
from padprint.support.wording import label, stride

if TYPE_CHECKING:
    import pandas as pd

SCENES = 6
"""Images of a quick measurement."""

_CROPS = 4
_LARGEST = 1024  # px: scenes are no larger, and the margin shrinks instead
_HALF = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
_STEMS = 32  # images that an untrained network's BatchNorm is calibrated on

HEADERS = ("layer", "channels", "size", "stride", "rim px t b l r", "mark", "of its size")


@dataclass(frozen=True, eq=False)
class Checkup:
    """What a quick look at a network found.

    Attributes:
        name: of the network.
        size: (height, width) of its input, px.
        geometry: of the last layer at each stride.
        inspection: what pads; None where the network cannot be inspected.
        measurement: a quick one; None where it was refused.
        refused: why there is no measurement, or None.
        scenes: what was measured on, in words.
        smallest: (height, width) of the smallest image that all layers can be measured on, px.
        notes: what a reader must know.
        commands: what to run next, ready to be pasted; IMAGES stands for what was not given.
    """

    name: str
    size: tuple[int, int]
    geometry: Geometry
    inspection: Inspection | None
    measurement: Measurement | None
    refused: str | None
    scenes: str
    smallest: tuple[int, int]
    notes: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def verdict(self) -> tuple[str, str, str]:
        """Three sentences: what pads, what that leaves in the features, and what to do."""
        pads = "What pads cannot be read." if self.inspection is None else inspection_verdict(self.inspection)
        marks = f"Not measured: {self.refused}." if self.measurement is None else verdict(self.measurement)
        return pads, marks, self._advice()

    def _advice(self) -> str:
        found = []
        uneven = None if self.inspection is None else strides_step(stride_record(self.inspection), None)
        if uneven is not None and self.inspection is not None:
            even = [one for one in (self.inspection.even.below, self.inspection.even.above) if None not in one]
            sizes = " or ".join(str(one[0]) if len(set(one)) == 1 else "x".join(map(str, one)) for one in even)
            found.append(f"feed it {sizes} px, where every stride is even" if even else "mind its uneven strides")
        if self.measurement is not None and any(stands_out(layer) for layer in self.measurement.values()):
            found.append("compare other paddings, and let tiles overlap if you tile")
        if not found and self.measurement is not None:
            return "Nothing needs to change; more and larger images would tell smaller marks."
        found = found or ["look at the layers that can be measured, or at one pass over whole images"]
        return f"What to do: {'; '.join(found)}."

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each layer that has a local geometry, as `HEADERS`."""
        found: list[tuple[str, ...]] = []
        for name, one in self.geometry.items():
            if one.reason is not None or one.rim is None or one.stride is None or one.size is None:
                continue
            layer = None if self.measurement is None else self.measurement.layers.get(name)
            y, x = one.stride
            pixels = [ceil(n * s) for n, s in zip(one.rim, (y, y, x, x), strict=True)]
            mark = (
                ("not measured", "")
                if layer is None
                else (level(layer) or "unknown", f"{100 * layer.relative.value:.2g} %")
            )
            size = " x ".join(map(str, one.size))
            rim = " ".join(map(str, pixels)) + "*" * (one.exact is False)
            found.append((label(name), str(one.channels), size, stride(one.stride), rim, *mark))
        return found

    def to_frame(self) -> pd.DataFrame:
        """One row per layer: as `Geometry.to_frame`, then mark (a word) and relative with _low and _high, where it was measured."""
        measured: dict[str, LayerMeasurement] = {} if self.measurement is None else self.measurement.layers
        rows = []
        for name in self.geometry:
            layer = measured.get(name)
            relative = Estimate(nan, nan, nan) if layer is None else layer.relative
            rows.append({"mark": None if layer is None else level(layer), **frames.estimate("relative", relative)})
        found: pd.DataFrame = self.geometry.to_frame().join(frames.frame(rows))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain values."""
        return {
            "model": self.name,
            "size": list(self.size),
            "verdict": list(self.verdict),
            "smallest_image": list(self.smallest),
            "period": list(self.geometry.period),
            "layers": [dict(zip(HEADERS, row, strict=True)) for row in self.rows()],
            "unmeasured": dict(self.geometry.unmeasured),
            "inspection": None if self.inspection is None else self.inspection.to_dict(),
            "measurement": None if self.measurement is None else self.measurement.to_dict(),
            "refused": self.refused,
            "scenes": self.scenes,
            "notes": list(self.notes),
            "commands": list(self.commands),
        }

    def __str__(self) -> str:
        lines = [*self.verdict, "", *aligned(HEADERS, self.rows()), ""]
        if any(one.exact is False for one in self.geometry.values()):
            lines.append("* as far as was seen: an operator on the way cannot be read")
        for name, reason in self.geometry.unmeasured.items():
            lines.append(f"cannot be measured: {label(name)}: {reason}")
        height, width = self.smallest
        lines += [f"measured on {self.scenes}"] * (self.measurement is not None)
        lines.append(f"smallest image for all of these layers: {height} x {width} px")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, "", "next:", *(f"  {command}" for command in self.commands)])


def check(
    model: nn.Module | str,
    images: Images | None = None,
    *,
    size: int | tuple[int, int] = 224,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize_short_side: int | None = None,
    inputs: Callable[[Tensor], Any] | None = None,
    seed: int = 0,
    progress: bool = False,
    name: str | None = None,
    arguments: Sequence[str] = (),
) -> Checkup:
    """Look at a network: geometry, uneven strides, what pads, and a quick measurement. It is left as found.

    Args:
        model: any network that takes one `(B, C, H, W)` tensor, or its name, see `padprint.load_model`.
        images: see `padprint.measure`; a few are used. None, or images that are too small: dead leaves.
        size: of the input, px, one number or (height, width).
        mean: see `padprint.measure`; None: what the model declares, else 0.5.
        std: likewise; else 0.25.
        resize_short_side: see `padprint.measure`.
        inputs: see `padprint.measure`.
        seed: of crops, scenes and random weights.
        progress: show what is being done on standard error.
        name: of the model, as a command takes it; None: what it was given by, or MODEL.
        arguments: further ones of the commands that are proposed.

    Returns:
        What was found, a verdict in three sentences, and the next commands. A network that cannot be measured gets the rest,
        and the reason.

    Raises:
        ModelError: the network does not run on an input of this size.
        ImagesError: there is no image among those given.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> import padprint
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        >>> found = padprint.check(net, size=32)
        >>> pads, marks, advice = found.verdict
        >>> pads
        '2 operators of this network pad (2 with zeros); all can be given other padding; ...'
        >>> found.smallest  # image that all layers can be measured on, px
        (38, 38)
    """
    crop = crop_size(size)
    spec = name or (model if isinstance(model, str) else "MODEL")
    with display(progress):
        with phase("loading"):
            network = unwrapped(as_model(model, seed=seed))
        declared = declared_normalisation(network)
        geometry = trace(network, crop=crop, inputs=inputs)
        with phase("inspecting"):
            try:
                inspection: Inspection | None = inspect(network, crop)
            except PadprintError:
                inspection = None
        plan = _Plan(network, geometry, crop, declared, (mean, std), resize_short_side, seed)
        source = plan.scenes(images)
        measurement, refused = None, None
        if geometry.maps:
            try:
                measurement = _measured(plan, source, geometry, inputs, seed)
            except (LayerError, ModelError, ImagesError) as error:
                refused = str(error)
        else:
            refused = "every layer sees the whole input, or is no map"
    return Checkup(
        spec,
        crop,
        geometry,
        inspection,
        measurement,
        refused,
        plan.words,
        plan.smallest,
        tuple(plan.notes),
        tuple(_commands(spec, plan, images, geometry, inspection, measurement, arguments)),
    )


class _Plan:
    """Which scenes a quick measurement takes, how large and how normalised; and what must be said of that."""

    def __init__(
        self,
        network: nn.Module,
        geometry: Geometry,
        crop: tuple[int, int],
        declared: Any,
        asked: tuple[Sequence[float] | None, Sequence[float] | None],
        short: int | None,
        seed: int,
    ) -> None:
        self.network, self.crop, self.short, self.seed = network, crop, short, seed
        self.notes: list[str] = []
        self.normalised = declared is not None or None not in asked
        fallback = declared or _HALF
        self.mean, self.std = asked[0] or fallback[0], asked[1] or fallback[1]
        self.smallest = geometry.smallest_image()
        room = [max(0, (_LARGEST - n) // 2) for n in crop]
        self.margin: int | None = None
        self.needed = self.smallest
        if any(most > max(_LARGEST, 2 * n) for most, n in zip(self.smallest, crop, strict=True)):
            self.margin = min(max(room), max(geometry.margin))
            self.needed = crop[0] + 2 * self.margin, crop[1] + 2 * self.margin
            self.notes.append(
                f"the layers see up to {max(geometry.margin)} px beyond the crop, and {self.margin} px were used: deep layers are "
                "approximate"
            )
        self.period = geometry.period
        fresh = uncalibrated(network)
        self.calibrate = fresh is not None
        if fresh is not None:
            self.notes.append(f"{fresh}: a copy was calibrated for this, on {_STEMS // 2} scenes")
        self.words = ""

    def scenes(self, images: Images | None) -> Images | Source:
        """Those given where they are large enough, else dead leaves."""
        if images is not None:
            pixels = holds_pixels(images)
            options: dict[str, Any] = (
                {"mean": self.mean, "std": self.std, "resize_short_side": self.short} if pixels else {}
            )
            source = as_source(images, **options)
            sizes = source.sizes()
            small = [one for one in sizes or () if one and (one[0] < self.needed[0] or one[1] < self.needed[1])]
            if sizes is None or len(small) < len(sizes):
                self.words = source.description
                if pixels and not self.normalised:
                    self.notes.append(
                        "the model does not say how its images are normalised: mean 0.5 and deviation 0.25 were taken; give those of "
                        "its training"
                    )
                if small:
                    self.short = max(self.needed)
                    self.notes.append(
                        f"{len(small)} of {len(sizes or ())} images are too small and were left out: the commands below resize all to a short "
                        f"side of {self.short} px, unless you leave those files out too"
                    )
                large = (
                    x for _, x in source.items() if all(n >= m for n, m in zip(x.shape[1:], self.needed, strict=True))
                )
                return list(islice(large, SCENES))
            height, width = small[0]
            self.notes.append(
                f"the images are too small ({height} x {width} px, {self.needed[0]} x {self.needed[1]} are needed), so dead leaves "
                f"stood in for them: give larger ones, or enlarge them (--resize-short-side {max(self.needed)})"
            )
            self.short = max(self.needed)
        size = self.needed[0] + self.period[0], self.needed[1] + self.period[1]
        self.words = f"{SCENES} synthetic scenes (dead leaves) of {size[0]} x {size[1]} px"
        return list(self._leaves(SCENES, size))

    def calibrated(self) -> nn.Module:
        """The network, or a copy whose BatchNorm has seen scenes where the network's has not."""
        if not self.calibrate:
            return self.network
        made = copy.deepcopy(self.network)
        calibrate_batchnorm(made, self._leaves(_STEMS // 2, self.crop, seed=1), batch_size=8)
        return made

    def _leaves(self, count: int, size: tuple[int, int], seed: int = 0) -> Sequence[Tensor]:
        return DeadLeaves(count, size, self.seed + seed, mean=self.mean, std=self.std)


def _measured(
    plan: _Plan, scenes: Any, geometry: Geometry, inputs: Callable[[Tensor], Any] | None, seed: int
) -> Measurement:
    return measure(
        plan.calibrated(),
        scenes,
        geometry,
        plan.crop,
        crops_per_image=_CROPS,
        groups=SCENES,
        margin=plan.margin,
        batch_size=_CROPS,
        seed=seed,
        inputs=inputs,
    )


def _commands(
    spec: str,
    plan: _Plan,
    images: Images | None,
    geometry: Geometry,
    inspection: Inspection | None,
    measurement: Measurement | None,
    arguments: Sequence[str],
) -> list[str]:
    """What to run next, ready to be pasted."""
    where = shlex.quote(str(images)) if isinstance(images, str) or hasattr(images, "__fspath__") else "IMAGES"
    model = shlex.quote(spec)
    rest = list(arguments)
    if not plan.normalised and "--mean" not in rest:
        rest += ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]
    if plan.short is not None and "--resize-short-side" not in rest:
        rest += ["--resize-short-side", str(plan.short)]
    if plan.calibrate:
        rest += ["--calibrate", str(_STEMS)]
    size = str(plan.crop[0]) if len(set(plan.crop)) == 1 else "x".join(map(str, plan.crop))
    sized = [] if plan.crop == (224, 224) else ["--crop", size]
    sized += [] if plan.margin is None else ["--margin", str(plan.margin)]
    tail = " ".join(shlex.quote(one) for one in (*rest, *sized))
    found = []
    if measurement is not None:
        found = [
            f"padprint measure {model} {where} {tail} --output result --report",
            f"padprint compare {model} {where} --padding own {SWAPS} {tail} --output swaps --report",
        ]
    if inspection is not None and any(not window.even for window in inspection.strided):
        found.append(f"padprint inspect {model} --size {size}")
    if geometry.maps:
        found.append(f"padprint halo {model} --structural --output-layer {shlex.quote(list(geometry.maps)[-1])}")
    else:
        found.append(f"padprint layers {model} --layers '*' --crop {size}")
    return [" ".join(one.split()) for one in found]
