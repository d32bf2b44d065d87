"""`check`: the first answer about a network in under a minute: what pads, how far that reaches, what it leaves, what to do next."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from padprint.errors import ImagesError, LayerError, ModelError, PadprintError
from padprint.geometry.inspection import Inspection, inspect, stride_record
from padprint.geometry.layer import Geometry
from padprint.geometry.tracing import trace
from padprint.images.photographs import Images, as_source, holds_pixels
from padprint.images.source import Source
from padprint.images.synthetic import DeadLeaves
from padprint.measuring.engine import measure
from padprint.network.batchnorm import calibrate_batchnorm, uncalibrated
from padprint.network.example import crop_size, input_channels
from padprint.network.layers import unwrapped
from padprint.network.loading import as_model, declared_normalisation
from padprint.report.advice import SWAPS, what_to_do
from padprint.report.first_look import FirstLook, first_look_page
from padprint.report.inspected import inspection_verdict
from padprint.report.layout import publish
from padprint.report.levels import level
from padprint.report.verdict import verdict
from padprint.results import storage
from padprint.results.measurement import Estimate, LayerMeasurement, Measurement
from padprint.support import frames
from padprint.support.progress import display, phase
from padprint.support.text_table import aligned, fitted
from padprint.support.wording import count, label, short, stride, through

if TYPE_CHECKING:
    import pandas as pd

SCENES = 6
"""Images of a quick measurement."""

_CROPS = 4
_LARGEST = 1024  # px: scenes are no larger, and the margin shrinks instead
_HALF = 0.5, 0.25  # mean and deviation of every channel
_STEMS = 32  # images that an untrained network's BatchNorm is calibrated on

REPORT_FILE, DOCUMENT_FILE = "report.html", "check.json"
_NAMED = 6  # layers and calls named one by one

HEADERS = ("layer", "channels", "size", "stride", "rim px t b l r", "mark", "of its size")
LESS = ("channels", "stride", "size")
"""Columns that a narrow table does without, the first of them first."""


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
        replaced: whether images were given, and synthetic scenes stood in for them.
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
    replaced: bool = False

    @property
    def verdict(self) -> tuple[str, str, str]:
        """Three sentences: what pads, what that leaves in the features, and what to do."""
        pads = "What pads cannot be read." if self.inspection is None else inspection_verdict(self.inspection)
        marks = f"Not measured: {self.refused}." if self.measurement is None else verdict(self.measurement)
        if self.replaced and self.measurement is not None:
            marks = f"Your images are too small, so on synthetic scenes: {marks[:1].lower()}{marks[1:]}"
        strides = None if self.inspection is None else stride_record(self.inspection)
        return pads.removesuffix(".") + self._joins(), marks, what_to_do(self.measurement, strides)

    def _joins(self) -> str:
        """How far apart the maps are that shortcuts and the like join."""
        joins = self.geometry.misaligned
        if not joins:
            return "."
        apart = max(max(one.pixels) for one in joins)
        most = "" if len(joins) == 1 else "up to "
        mix = "mixes" if len(joins) == 1 else "mix"
        return f"; {count(len(joins), 'join')} of branches {mix} maps that are centred {most}{apart:g} px apart."

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

    def remarks(self) -> list[str]:
        """What a reader must know, as lines."""
        lines = []
        if any(one.exact is False for one in self.geometry.values()):
            lines.append("* as far as was seen: an operator on the way cannot be read")
        lines += self._seeing_all()
        lines += [f"misaligned: {one}" for one in self.geometry.misaligned[:_NAMED]]
        if len(self.geometry.misaligned) > _NAMED:
            lines.append(f"misaligned: {len(self.geometry.misaligned) - _NAMED} more")
        lines += [f"cannot be measured: {label(name)}: {why}" for name, why in self.geometry.unmeasured.items()]
        if self.measurement is not None:
            refused = self.measurement.unmeasured.items()
            lines += [f"not measured: {label(name)}: {why}" for name, why in refused if name in self.geometry.maps]
            lines.append(f"measured on {self.scenes}")
        height, width = self.smallest
        lines.append(f"smallest image for all of these layers: {height} x {width} px")
        return lines + [f"note: {note}" for note in self.notes]

    def _seeing_all(self) -> list[str]:
        """Layers that see the whole input, and through what."""
        seeing = {name: one.sees_all_through for name, one in self.geometry.items() if one.sees_all_through}
        if not seeing:
            return []
        names, last = short(list(seeing)), list(seeing.values())[-1]
        which = ", ".join(names) if len(names) <= _NAMED else f"{names[0]} to {names[-1]}"
        return [
            f"sees the whole input: {which}, through {through(last)}; rims are of what is local, and statistics were taken over the crop"
        ]

    def lines(self, width: int | None = None) -> list[str]:
        """All of it as text: the verdict, the table, remarks, and commands.

        Args:
            width: characters that the table has room for; None: as many as it takes.
        """
        headers, rows, absent = fitted(HEADERS, self.rows(), width or 1_000_000, LESS)
        lines = [*self.verdict, "", *aligned(headers, rows), ""]
        lines += [f"not shown on {width} columns (--wide shows all): {', '.join(absent)}"] * bool(absent)
        return [*lines, *self.remarks(), "", "next:", *(f"  {command}" for command in self.commands)]

    def page(self) -> str:
        """One HTML page, everything in it.

        Raises:
            MissingPackageError: jinja2 or matplotlib is missing.
        """
        made = None if self.measurement is None else self.measurement.provenance.get("command")
        return first_look_page(
            FirstLook(
                self.name,
                self.verdict,
                self.measurement,
                self.inspection,
                HEADERS,
                self.rows(),
                self.remarks(),
                self.commands,
                str(made or "padprint.check(...)"),
            )
        )

    def save(self, folder: str | Path, *, report: bool = False) -> Path:
        """Write ``check.json``, and where there is a measurement its files, which `padprint.load` reads.

        Args:
            folder: where to write; made with its parents.
            report: write ``report.html`` as well.

        Returns:
            The folder.

        Raises:
            ResultError: the folder's path is a file.
            MissingPackageError: jinja2 or matplotlib is missing for the report.
        """
        folder = Path(folder)
        if self.measurement is not None:
            self.measurement.save(folder)
        storage.write_document(folder / DOCUMENT_FILE, self.to_dict())
        if report:
            publish(self.page(), folder / REPORT_FILE)
        return folder

    def __str__(self) -> str:
        return "\n".join(self.lines())


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
        channels = _channels(network, images, declared)
        geometry = trace(network, crop=crop, channels=channels, inputs=inputs)
        with phase("inspecting"):
            try:
                inspection: Inspection | None = inspect(network, crop, channels=channels)
            except PadprintError:
                inspection = None
        plan = _Plan(network, geometry, crop, channels, declared, (mean, std), resize_short_side, seed)
        source = plan.scenes(images)
        measurement, refused = None, None
        if geometry.maps:
            try:
                measurement = _measured(plan, source, geometry, inputs, seed)
            except (LayerError, ModelError, ImagesError) as error:
                refused = str(error)
            else:
                measurement.provenance["strides"] = None if inspection is None else stride_record(inspection)
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
        plan.replaced,
    )


def _channels(network: nn.Module, images: Images | None, declared: Any) -> int:
    """Channels of the images: of those given, else those that the network is made for."""
    if images is not None:
        options: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)} if holds_pixels(images) else {}
        first = next(as_source(images, **options).items(), None)
        if first is not None:
            return len(first[1])
    return input_channels(network) if declared is None else len(declared[0])


class _Plan:
    """Which scenes a quick measurement takes, how large and how normalised; and what must be said of that."""

    def __init__(
        self,
        network: nn.Module,
        geometry: Geometry,
        crop: tuple[int, int],
        channels: int,
        declared: Any,
        asked: tuple[Sequence[float] | None, Sequence[float] | None],
        short: int | None,
        seed: int,
    ) -> None:
        self.network, self.crop, self.channels, self.short, self.seed = network, crop, channels, short, seed
        self.notes: list[str] = []
        self.normalised = declared is not None or None not in asked
        fallback = declared or tuple((one,) * channels for one in _HALF)
        self.mean, self.std = (
            tuple(one) * channels if len(one) == 1 else tuple(one)
            for one in (asked[0] or fallback[0], asked[1] or fallback[1])
        )
        self.replaced = False
        self.smallest = geometry.smallest_image()
        room = [max(0, (_LARGEST - n) // 2) for n in crop]
        self.margin: int | None = None
        self.needed = self.smallest
        if any(most > max(_LARGEST, 2 * n) for most, n in zip(self.smallest, crop, strict=True)):
            self.margin = min(max(room), max(geometry.margin))
            self.needed = crop[0] + 2 * self.margin, crop[1] + 2 * self.margin
            self.notes.append(
                f"the layers see up to {max(geometry.margin)} px beyond the crop, and {self.margin} px were used, for which images of "
                f"{self.needed[0]} x {self.needed[1]} px do: deep layers are approximate"
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
            self.short, self.replaced = max(self.needed), True
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
        if self.channels == 3:
            return DeadLeaves(count, size, self.seed + seed, mean=self.mean, std=self.std)
        bands = [i % 3 for i in range(self.channels)]
        mean, std = (torch.tensor(one).view(-1, 1, 1) for one in (self.mean, self.std))
        plain = DeadLeaves(count, size, self.seed + seed, mean=(0.0,) * 3, std=(1.0,) * 3)
        return [(scene[bands] - mean) / std for scene in plain]


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


def _repeated(value: float, channels: int) -> str:
    return ",".join([f"{value:g}"] * channels)


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
        rest += [
            x for key, one in zip(("--mean", "--std"), _HALF, strict=True) for x in (key, _repeated(one, plan.channels))
        ]
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
