"""One network under measurement: traced, and checked on a first image before any number of it is believed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from operator import lt
from typing import Any

import torch
from torch import Tensor, nn

from padprint.errors import LayerError, ModelError, PaddingError
from padprint.geometry.layer import Geometry
from padprint.geometry.tracing import trace
from padprint.measuring.crop_plan import CropPlan
from padprint.measuring.forwards import Forwards, whole_of
from padprint.measuring.guard import Guard
from padprint.measuring.options import Paddings
from padprint.measuring.self_check import self_check
from padprint.network.calls import Call, Interceptor
from padprint.network.layers import one_pass
from padprint.network.preserved import as_measured, generators
from padprint.padding import Scheme
from padprint.padding.hidden import could_extend
from padprint.padding.operators import read_call
from padprint.padding.swap import untrained
from padprint.support.axes import Size
from padprint.support.reasons import Reason, by_layer


@dataclass(frozen=True)
class Traced:
    """A network whose geometry is known, and what its crops are padded with.

    Attributes:
        model: the network, on `device`.
        geometry: of the layers that are measured.
        paddings: what crops are padded with; optimal features are computed once for all of them.
        device, dtype: of the model.
    """

    model: nn.Module
    geometry: Geometry
    paddings: Paddings
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(
        cls,
        model: nn.Module,
        layers: str | Sequence[str] | Geometry,
        crop: Size,
        channels: int,
        place: tuple[torch.device, torch.dtype],
        paddings: Paddings,
    ) -> Traced:
        """Trace a network, unless its geometry is given.

        Args:
            model: in evaluation mode.
            layers: as asked for; or their geometry, found before on a network of the same architecture.
            crop: size, pixels.
            channels: of the images.
            place: device and precision of the model.
            paddings: what its crops are padded with.

        Raises:
            LayerError: none of the layers can be measured.
            ModelError: the geometry that was given is that of another crop or network.
            PaddingError: a scheme that changes the size of maps, whose cells cannot be compared with those of the scene.
        """
        _refuse_moving(model, paddings)
        if isinstance(layers, Geometry):
            geometry = layers
            _refuse_other(model, geometry, crop)
        else:
            geometry = trace(model, layers, crop, channels=channels)
        if not geometry.maps:
            raise LayerError(
                f"none of the layers can be measured: {by_layer(geometry.unmeasured)}", reasons=geometry.unmeasured
            )
        device, dtype = place
        own = {
            name: deepcopy(scheme).to(device) if scheme is not None and scheme.learned else scheme
            for name, scheme in paddings.items()
        }
        return cls(model, geometry, own, device, dtype)

    @property
    def seeing_all(self) -> list[str]:
        """Layers that see the whole map and are measured."""
        return [name for name in self.geometry.maps if self.geometry[name].sees_all_through]

    def short(self, plan: CropPlan) -> frozenset[str]:
        """Layers that need more margin than a plan has: what is measured of them is approximate."""
        margins = {name: self.geometry[name].margin or (0,) * len(plan.margin) for name in self.geometry.maps}
        return frozenset(name for name, need in margins.items() if any(map(lt, plan.margin, need)))

    def untrained(self, padding: str) -> Iterator[str]:
        """What is to be said of learned schemes that have learnt nothing: the one swapped in, and those of the network."""
        given = self.paddings[padding]
        own = (module for module in self.model.modules() if isinstance(module, Scheme))
        yield from dict.fromkeys(untrained(one) for one in (*([] if given is None else [given]), *own) if one.untrained)


def _refuse_moving(model: nn.Module, paddings: Paddings) -> None:
    """Refuse schemes under which no cell of a crop has a partner in the scene."""
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


def _refuse_other(model: nn.Module, geometry: Geometry, crop: Size) -> None:
    """Refuse a geometry that is not of this network at this crop."""
    if geometry.crop != crop:
        raise ModelError(
            f"the geometry given was traced at a crop of {geometry.crop} px and the crop is {crop} px; "
            "trace the network at the crop it is measured at"
        )
    known = dict(model.named_modules())
    lost = [name for name, spec in geometry.maps.items() if spec.tap.leaf.module not in known]
    if lost:
        raise ModelError(f"the geometry given is of another network: this one has no {', '.join(lost)}; trace it anew")


class Checked:
    """A network that is ready to run on crops, and goes on being checked while it does.

    Args:
        traced: the network.
        plan: how scenes are cut.
        image: `(C, *space)`, the first one, on which the self-check runs.

    Attributes:
        forwards: how it runs.
        floor: by layer, relative change of F(x; *) that is rounding.
        short: layers that need more margin than there is.
        refused: layers that the data contradict, with the reason.
        recheck: of the first crop, every so often; None where the first image holds no crop.

    Raises:
        ModelError: the network fails.
    """

    def __init__(self, traced: Traced, plan: CropPlan, image: Tensor) -> None:
        self.traced, self.plan = traced, plan
        self.model, self.geometry, self.paddings = traced.model, traced.geometry, traced.paddings
        self.short = traced.short(plan)
        whole = whole_of(self.model, self.geometry, plan.margin, image.shape[0])
        self.forwards = Forwards(self.model, self.geometry.maps, plan.crop, traced.device, traced.dtype, whole)
        self.forwards.choose_layout(image)
        guard = Guard(self.geometry)
        self.floor = self_check(self.forwards, guard, plan, image, self.short)
        self.refused: dict[str, Reason] = {}
        self.recheck: Recheck | None = None
        if guard.crop is not None:
            self.forwards.guard = guard
            self.recheck = Recheck(self, guard, guard.crop)

    @property
    def seeing_all(self) -> list[str]:
        """Layers that see the whole map and are measured."""
        return self.traced.seeing_all

    def refuse_nothing_left(self) -> None:
        """Raise ModelError where no layer is left that is believed."""
        self._gather()
        if not set(self.geometry.maps) - set(self.refused):
            raise ModelError("; ".join(dict.fromkeys(self.refused.values())), reasons=self.refused)

    def refuse_contradicted(self) -> None:
        """Raise LayerError where the data contradict what was found of any layer."""
        self._gather()
        if self.refused:
            sound = [name for name in self.geometry.maps if name not in self.refused]
            others = f"; take only layers={sound}" if sound else ""
            raise LayerError(f"{by_layer(self.refused)}{others}", reasons=self.refused)

    def _gather(self) -> None:
        guard = self.forwards.guard
        fresh = {} if guard is None else {name: one for name, one in guard.refused.items() if name not in self.refused}
        blame = suspects(self.model, self.recheck.crop) if fresh and self.recheck is not None else ""
        for name, reason in fresh.items():
            self.refused[name] = reason.of(name).more(blame and f" (it may be that {blame})")

    def reseed(self, seed: int, index: int) -> None:
        """See `reseed`."""
        reseed(self.model, self.paddings.values(), seed, index)

    def count_image(self, image: str) -> None:
        """Count an image as done, and check every so often that the network is still the one it was.

        Raises:
            ModelError: it is not.
        """
        if self.recheck is not None:
            self.recheck.count_image(image)

    def finish(self) -> None:
        """Check once more, at the end of a pass, that the network is still the one it was.

        Raises:
            ModelError: it is not; or no layer is left that is believed.
        """
        if self.recheck is not None:
            with as_measured(self.model):
                self.recheck.check()
            self.refuse_nothing_left()


class Recheck:
    """The first crop, run once more every so often: it must give the features that it gave first.

    Args:
        network: ready to run.
        guard: its limits, and the first features of the crop.
        crop: `(1, C, *space)`.
    """

    def __init__(self, network: Checked, guard: Guard, crop: Tensor) -> None:
        self._network, self._guard, self.crop = network, guard, crop
        self._images = 0

    def count_image(self, image: str) -> None:
        """Count an image; check after the first, the second, the fourth, the eighth and so on."""
        self._images += 1
        if self._images & (self._images - 1) == 0:
            self.check(f" by {image}")

    def check(self, when: str = "") -> None:
        """Raise ModelError where the features differ from the first ones."""
        now = self._network.forwards.of_crop(self.crop)
        for name, first in self._guard.first.items():
            if name in self._network.refused:
                continue
            if now[name].shape != first.shape or self._guard.differs(name, first, now[name], whole=False):
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
