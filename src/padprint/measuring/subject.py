"""One network under measurement: its geometry, its two forwards, and the moments of its layers under each padding."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from padprint.errors import LayerError, ModelError, PaddingError
from padprint.geometry.layer import Geometry
from padprint.geometry.tracing import trace
from padprint.measuring.crop_plan import Canvas, CropPlan
from padprint.measuring.forwards import Forwards, Rest, Visit, first_cell, whole_of
from padprint.measuring.guard import Guard
from padprint.measuring.moments import LayerMoments
from padprint.measuring.parts import PartSums
from padprint.measuring.self_check import change_when_grown, relative, self_check
from padprint.measuring.summary import summarise
from padprint.network.layers import as_measured, one_pass
from padprint.network.preserved import generators
from padprint.padding import Scheme
from padprint.padding.hidden import could_extend
from padprint.padding.intercept import Call, Interceptor
from padprint.padding.operators import read_call
from padprint.padding.swap import untrained
from padprint.results.measurement import LayerMeasurement

if TYPE_CHECKING:
    from torchmetrics import Metric

RESIDUAL_IMAGES = 4
"""How many of the first images tell how far an approximate F(x; *) still moves."""

Paddings = Mapping[str, Scheme | None]
"""Schemes that stand in for the network's padding while its crops run, by name; None is the network's own."""


class Subject:
    """A network being measured under one padding or several, over the same crops.

    Args:
        model: in evaluation mode, on `device`.
        layers: as asked for; or their geometry, found before on a network of the same architecture.
        crop: (height, width), pixels.
        device, dtype: of the model.
        paddings: what its crops are padded with. The optimal features are computed once for all of them.

    Raises:
        PaddingError: a scheme that changes the size of maps, whose cells cannot be compared with those of the scene.
    """

    geometry: Geometry
    plan: CropPlan
    forwards: Forwards

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str] | Geometry,
        crop: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype,
        paddings: Paddings,
    ) -> None:
        for name, scheme in paddings.items():
            if scheme is not None and scheme.changes_size:
                raise PaddingError(
                    f"{name} padding changes the sizes of maps, so their cells cannot be compared with those of the "
                    "scene around the crop; measure a scheme that keeps sizes"
                )
        moving = [name for name, module in model.named_modules() if isinstance(module, Scheme) and module.moves]
        if moving:
            raise ModelError(
                f"{moving[0]} moves its map to a random side at every call, so that no cell of a crop has a partner in the scene: "
                "revert the conversion, and measure with padding='random-side'"
            )
        self.model, self.layers, self.crop = model, layers, crop
        self.paddings = {
            name: deepcopy(scheme).to(device) if scheme is not None and scheme.learned else scheme
            for name, scheme in paddings.items()
        }
        self.device, self.dtype = device, dtype
        self.moments: dict[str, dict[str, LayerMoments]] = {}  # by padding, by layer
        self.parts: dict[str, dict[str, PartSums]] = {}  # likewise, of layers that see the whole map
        self.floor: dict[str, float] = {}
        self.refused: dict[str, str] = {}  # layers that the data contradict, with the reason
        self.again: Again | None = None
        self.moved: dict[str, Tensor] = {}  # for an approximate margin: sums of (change of F*)^2 and F*^2

    def look(self, channels: int) -> None:
        """Trace the model, unless its geometry was given.

        Raises:
            LayerError: none of the layers can be measured.
            ModelError: the geometry that was given is that of another crop or network.
        """
        if isinstance(self.layers, Geometry):
            self.geometry = self.layers
            self._refuse_other_geometry()
        else:
            self.geometry = trace(self.model, self.layers, self.crop, channels=channels)
        if not self.geometry.maps:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.geometry.unmeasured.items())
            raise LayerError(f"none of the layers can be measured: {reasons}")

    def _refuse_other_geometry(self) -> None:
        if self.geometry.crop != self.crop:
            raise ModelError(
                f"the geometry given was traced at a crop of {self.geometry.crop} px and the crop is {self.crop} px; "
                "trace the network at the crop it is measured at"
            )
        known = dict(self.model.named_modules())
        lost = [name for name, spec in self.geometry.maps.items() if spec.tap.leaf.module not in known]
        if lost:
            raise ModelError(
                f"the geometry given is of another network: this one has no {', '.join(lost)}; trace it anew"
            )

    def start(self, plan: CropPlan, groups: int, image: Tensor) -> None:
        """Get ready for crops drawn by `plan`, and check the network on the first image."""
        self.prepare(plan, groups)
        whole = whole_of(self.model, self.geometry, plan.margin, image.shape[0])
        self.forwards = Forwards(self.model, self.geometry.maps, self.crop, self.device, self.dtype, whole)
        self.forwards.choose_layout(image)
        short = set(filter(self.short_of, self.geometry.maps))
        guard = Guard(self.geometry)
        self.floor = self_check(self.forwards, guard, plan, image, short)
        if guard.crop is not None:
            self.forwards.guard = guard
            self.again = Again(self, guard.crop, guard.first)
        self.refuse_nothing_left()

    @property
    def seeing_all(self) -> list[str]:
        """Layers that see the whole map and are measured."""
        return [name for name in self.geometry.maps if self.geometry[name].sees_all_through]

    def refuse_nothing_left(self) -> None:
        """Raise ModelError where no layer is left that is believed."""
        self._gather()
        if self.geometry.maps and not set(self.geometry.maps) - set(self.refused):
            raise ModelError("; ".join(dict.fromkeys(self.refused.values())))

    def refuse_contradicted(self) -> None:
        """Raise LayerError where the data contradict what was found of any layer."""
        self._gather()
        if self.refused:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())
            sound = [name for name in self.geometry.maps if name not in self.refused]
            raise LayerError(f"{reasons}{f'; take only layers={sound}' if sound else ''}")

    def _gather(self) -> None:
        guard = self.forwards.guard if hasattr(self, "forwards") else None
        fresh = {} if guard is None else {name: one for name, one in guard.refused.items() if name not in self.refused}
        blame = suspects(self.model, self.again.crop) if fresh and self.again is not None else ""
        for name, reason in fresh.items():
            self.refused[name] = f"{reason}{blame and f' (it may be that {blame})'}"

    def tick(self, image: str) -> None:
        """Count an image as done, and check every so often that the network is still the one it was.

        Raises:
            ModelError: it is not.
        """
        if self.again is not None:
            self.again.tick(image)

    def prepare(self, plan: CropPlan, groups: int) -> None:
        """Empty moments, for a process that may have no image of its own too."""
        self.plan = plan
        self.moments = {
            padding: {
                name: LayerMoments(spec.channels, spec.size, groups).to(self.device)
                for name, spec in self.geometry.maps.items()
            }
            for padding in self.paddings
        }
        self.parts = {
            padding: {
                name: PartSums(spec.channels, spec.size, groups).to(self.device)
                for name, spec in self.geometry.maps.items()
                if name in self.seeing_all
            }
            for padding in self.paddings
        }
        self.moved = {name: torch.zeros(2, dtype=torch.float64) for name in self.geometry.maps}

    def sums(self, padding: str) -> dict[str, Metric]:
        """All running sums under one padding, by name."""
        parts = {f"{name}/parts": one for name, one in self.parts[padding].items()}
        return {**self.moments[padding], **parts}

    def add(
        self, index: int, group: int, image: Tensor, canvases: Sequence[Canvas], batch_size: int, order: Sequence[int]
    ) -> None:
        """Measure the crops of one `(C, H, W)` image; `order` numbers them among the crops of all images."""
        reseed(self.model, self.paddings.values(), self.plan.seed, index)
        first = 0
        for canvas in canvases:
            self._canvas(group, image, canvas, batch_size, order[first : first + len(canvas.crops)])
            first += len(canvas.crops)
        self.refuse_nothing_left()
        if self.approximate and index < RESIDUAL_IMAGES:
            for name, squares in change_when_grown(self.forwards, self.plan, image).items():
                self.moved[name] += squares

    def _canvas(self, group: int, image: Tensor, canvas: Canvas, batch_size: int, order: Sequence[int]) -> None:
        """Measure the crops of one canvas, numbered by `order`."""
        window = image[:, canvas.top : canvas.top + canvas.height, canvas.left : canvas.left + canvas.width]
        x = self.forwards.placed(window)
        maps = self.forwards.maps(x)
        optimal = self.forwards.optimal(x, canvas.crops)
        for name, windows in optimal.items():
            for own in self.moments.values():
                for one in windows:
                    own[name].update_features(group, one, torch.ones(one.shape[-2:], device=self.device))
        for name, spec in self.geometry.maps.items():
            if name in optimal:
                continue
            coverage = torch.zeros(maps[name].shape[-2:], device=self.device)
            for corner in canvas.crops:
                row, column = first_cell(spec, corner)
                coverage[row : row + spec.size[0], column : column + spec.size[1]] += 1
            for moments in self.moments.values():
                moments[name].update_features(group, maps[name], coverage)
        for padding, scheme in self.paddings.items():
            for start in range(0, len(canvas.crops), batch_size):
                corners = canvas.crops[start : start + batch_size]
                numbers = order[start : start + len(corners)]
                add = self._adder(padding, group, numbers)
                there = {name: one[start : start + len(corners)] for name, one in optimal.items()}
                self.forwards.crops(x, maps, corners, add, scheme, there)

    def _adder(self, padding: str, group: int, numbers: Sequence[int]) -> Visit:
        """Adds a batch of crops, which have these numbers among all crops."""
        moments, parts = self.moments[padding], self.parts[padding]

        def add(name: str, features: Tensor, optimal: list[Tensor], rest: Rest | None) -> Tensor:
            moments[name].update(group, features, optimal, numbers)
            if rest is not None:
                parts[name].update(group, features, rest.replayed, optimal, rest.scene)
            return moments[name].latest

        return add

    @property
    def approximate(self) -> bool:
        """Whether the margin is below what some layer needs."""
        return any(map(self.short_of, self.geometry.maps))

    def short_of(self, name: str) -> bool:
        """Whether the margin is below what a layer needs."""
        need = self.geometry[name].margin or (0, 0, 0, 0)
        return any(have < want for have, want in zip(self.plan.margin, need, strict=True))

    def untrained(self, padding: str) -> Iterator[str]:
        """What is to be said of learned schemes that have learnt nothing: the one swapped in, and those of the network."""
        given = self.paddings[padding]
        own = (module for module in self.model.modules() if isinstance(module, Scheme))
        yield from dict.fromkeys(untrained(one) for one in (*([] if given is None else [given]), *own) if one.untrained)

    def measured(self, padding: str) -> dict[str, LayerMeasurement]:
        """All estimates of every layer under one padding."""
        return {
            name: summarise(
                moments,
                self.geometry[name],
                self.crop,
                numeric_floor=self.floor[name],
                residual=relative(self.moved[name]) if self._residual_known(name) else None,
                precision=torch.finfo(self.dtype).eps,
                parts=self.parts[padding].get(name),
            )
            for name, moments in self.moments[padding].items()
            if name not in self.refused
        }

    @property
    def unmeasured(self) -> dict[str, str]:
        """Layers that cannot be measured, or that the data contradict, with the reason."""
        return {**self.geometry.unmeasured, **self.refused}

    def finish(self) -> None:
        """Check once more, at the end of a pass, that the network is still the one it was.

        Raises:
            ModelError: it is not; or no layer is left that is believed.
        """
        if self.again is not None:
            with as_measured(self.model):
                self.again.check()
            self.refuse_nothing_left()

    def _residual_known(self, name: str) -> bool:
        return self.short_of(name) and float(self.moved[name][1]) > 0

    # -------------------------------------------------------------------------------------------- several processes

    def report(self) -> dict[str, Any]:
        """What other processes need of this one's: geometry and checks; nothing where it had no image."""
        if not self.moments:
            return {}
        return {
            "geometry": self.geometry,
            "plan": self.plan,
            "floor": self.floor,
            "moved": self.moved,
            "refused": self.refused,
        }

    def join(self, leader: dict[str, Any], reports: Sequence[dict[str, Any]], groups: int) -> None:
        """Take geometry and floor from the process that had the first image, and add up moments and residuals."""
        if not self.moments:
            self.geometry = leader["geometry"]
            self.prepare(leader["plan"], groups)
        self.floor = leader["floor"]
        self.refused = {
            name: reason for report in reports[::-1] if report for name, reason in report["refused"].items()
        }
        moved = [report["moved"] for report in reports if report]
        self.moved = {name: torch.stack([one[name] for one in moved]).sum(0) for name in self.moved}
        for padding in self.paddings:
            for one in self.sums(padding).values():
                one.sync()


class Again:
    """The first crop, run once more every so often: it must give the features that it gave first.

    Args:
        subject: ready to run.
        crop: `(1, C, H, W)`, and
        first: its features, by layer.
    """

    def __init__(self, subject: Subject, crop: Tensor, first: Mapping[str, Tensor]) -> None:
        self._subject, self.crop, self._first = subject, crop, first
        self._images = 0

    def tick(self, image: str) -> None:
        """Count an image; check after the first, the second, the fourth, the eighth and so on."""
        self._images += 1
        if self._images & (self._images - 1) == 0:
            self.check(f" by {image}")

    def check(self, when: str = "") -> None:
        """Raise ModelError where the features differ from the first ones."""
        guard = self._subject.forwards.guard
        now = self._subject.forwards.of_crop(self.crop)
        for name, first in self._first.items():
            if guard is None or name in self._subject.refused:
                continue
            if now[name].shape != first.shape or guard.differs(name, first, now[name], whole=False):
                raise ModelError(
                    f"the network has changed{when} while it was measured: the first crop does not give the features any more "
                    f"that it gave at first ({name}); a mode, a hook or weights were changed meanwhile"
                )


def suspects(model: nn.Module, x: Tensor) -> str:
    """Calls of a network that may pad unseen, the first few, in words; empty where none is known."""
    found: dict[str, str] = {}

    def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        what = None if read_call(func, args, kwargs) is not None else could_extend(func, args, kwargs)
        if what is not None:
            found.setdefault(str(call), what)
        return func(*args, **kwargs)

    try:
        with Interceptor(handle):
            one_pass(model, x)
    except Exception:  # noqa: BLE001  # a network that fails under watch has no suspects to tell
        return ""
    return "; ".join(f"{call} {what}" for call, what in list(found.items())[:3])


def reseed(model: nn.Module, schemes: Iterable[Scheme | None], seed: int, index: int) -> None:
    """Let random numbers of one image depend on the seed and its index alone, whichever process measures it.

    Args:
        model: whose own generators are seeded; inside `as_measured`, which puts them back.
        schemes: that stand in for its padding, likewise.
        seed: of the measurement.
        index: of the image.
    """
    for scheme in schemes:
        if scheme is not None:
            scheme.reseed(hash((seed, index)) & 0x7FFFFFFF)
    for place, generator in enumerate(generators(model)):
        digest = hashlib.blake2s(f"{seed} {index} {place}".encode(), digest_size=7).digest()
        generator.manual_seed(int.from_bytes(digest, "big"))
