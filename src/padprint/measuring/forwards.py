"""The two forwards: one over a canvas, which gives F(x; *) for every crop inside it, and one over the crops.

Layers that see the whole map have an F(x; *) for each crop alone, its statistics taken over the crop's window: for them there
are two more, over canvases of each crop and its margin; see `Whole`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from operator import sub
from typing import NamedTuple

import torch
from torch import Tensor, nn

from padprint.errors import ModelError, PadprintError
from padprint.geometry.layer import Geometry, MapSpec
from padprint.measuring.crop_plan import MAX_CANVAS
from padprint.measuring.guard import Guard, differences
from padprint.network.layers import Tap, run_to
from padprint.network.preserved import as_measured, generators, randomness_kept
from padprint.padding import Scheme
from padprint.padding.swap import swapped
from padprint.support.axes import Sides, Size, with_sides
from padprint.support.axes import window as part_of
from padprint.wholemap.extents import Window
from padprint.wholemap.freezing import take_statistics
from padprint.wholemap.network import ALONE, FROZEN, REPLAYED, WINDOWED, WholeMap

_ROUNDING = 16
"""Machine epsilons, of a layer's size: by how much another layout of the same image may change its features."""

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Memory formats by dimensions of a batch."""

Windows = Mapping[str, Sequence[Tensor]]
"""By layer, the map `(C, *cells)` of each of several crops."""


class Rest(NamedTuple):
    """What a batch of crops has in a layer that sees the whole map, beside F(x; p) and F(x; *).

    Attributes:
        replayed: `(B, C, *cells)`, the scene around each crop under the statistics that the crop had by itself.
        scene: B maps `(C, *cells)`, the scene as it is: statistics over all of the canvas.
    """

    replayed: Tensor
    scene: list[Tensor]


Visit = Callable[[str, Tensor, list[Tensor], "Rest | None"], "Tensor | None"]
"""Called with a layer's name, features F(x; p) `(B, C, *cells)` and B maps F(x; *) `(C, *cells)` of some crops, and the `Rest` of a
layer that sees the whole map. It may return D^2 summed over the crops, `(C, *cells)`, if it has it."""


@dataclass(frozen=True)
class Whole:
    """A network with layers that see the whole map.

    Attributes:
        network: it has learned which calls see the whole map.
        layers: names of these layers.
        margin: scene around a crop on canvases of its own, px, by side.
    """

    network: WholeMap
    layers: frozenset[str]
    margin: Sides


def whole_of(model: nn.Module, geometry: Geometry, margin: Sides, channels: int) -> Whole | None:
    """The network and its layers that see the whole map; None where it has none.

    Args:
        model: in evaluation mode.
        geometry: of the layers that are measured.
        margin: see `Whole`.
        channels: of its input.
    """
    layers = [name for name in geometry.maps if geometry[name].sees_all_through]
    if not layers:
        return None
    network = WholeMap(model)
    with as_measured(model):
        network.learn(channels, geometry.crop)
    return Whole(network, frozenset(layers), margin)


class Forwards:
    """Runs a network and hands over the maps of the layers that are measured.

    Args:
        model: in evaluation mode, on `device`.
        specs: the layers, and how to read them.
        crop: size, pixels.
        device, dtype: of the model.
        whole: where layers see the whole map; None leaves such layers as they are.
    """

    def __init__(
        self,
        model: nn.Module,
        specs: Mapping[str, MapSpec],
        crop: Size,
        device: torch.device,
        dtype: torch.dtype,
        whole: Whole | None = None,
    ) -> None:
        self.model, self.specs, self.crop = model, specs, crop
        self.device, self.dtype, self.whole = device, dtype, whole
        self.layout = torch.contiguous_format
        self._taps = [spec.tap for spec in specs.values()]
        self._overwritten: set[str] = set()
        self._frozen: str | None = None
        self.guard: Guard | None = None
        self._remembered: tuple[Tensor, dict[str, Tensor]] | None = None

    def choose_layout(self, image: Tensor) -> None:
        """Feed the network channels-last images where it runs on a CPU and takes them: convolutions are faster that way.

        Only where the features stay the same to rounding: torch's group normalisation of channels-last maps on a CPU is less
        exact, by up to 1e-4 of the features' size.

        Args:
            image: `(C, *space)`, at least as large as the crop.
        """
        channels_last = CHANNELS_LAST.get(image.dim() + 1)
        if self.device.type != "cpu" or channels_last is None:
            return
        x = self.placed(image[part_of((0,) * len(self.crop), self.crop)])
        as_it_is: dict[str, Tensor] = {}
        self._run(x, lambda tap, tensor: as_it_is.update({tap.name: tensor.clone()}))
        alike: list[bool] = []

        def compare(tap: Tap, tensor: Tensor) -> None:
            before = as_it_is[tap.name]
            if tensor.shape != before.shape:
                alike.append(False)
            elif before.is_floating_point() or before.is_complex():
                change = torch.linalg.vector_norm(tensor - before)
                limit = _ROUNDING * torch.finfo(before.dtype).eps
                alike.append(bool(change <= limit * torch.linalg.vector_norm(before)))
            else:
                alike.append(bool(torch.equal(tensor, before)))

        try:
            self._run(x.contiguous(memory_format=channels_last), compare)
        except ModelError:  # `view` refuses memory that it cannot describe
            return
        self.layout = channels_last if all(alike) else torch.contiguous_format

    def placed(self, image: Tensor) -> Tensor:
        """An image `(C, *space)` as a batch of one, on the model's device, in its precision and the layout chosen."""
        return image.to(self.device, self.dtype).unsqueeze(0).contiguous(memory_format=self.layout)

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        """The map `(C, *cells)` of every layer on the canvas `x`, a batch of one.

        Raises:
            ModelError: the model fails, or a map is not as large as the canvas calls for.
        """
        known, self._remembered = self._remembered, None
        if known is not None and known[0].shape == x.shape and torch.equal(known[0], x):
            return known[1]
        maps: dict[str, Tensor] = {}
        versions: dict[str, int] = {}

        def keep(tap: Tap, tensor: Tensor) -> None:
            spec = self.specs[tap.name]
            features = spec.as_map(tensor)[0]
            expected = tuple(
                n + (have - crop) / s
                for n, have, crop, s in zip(spec.size, x.shape[2:], self.crop, spec.stride, strict=True)
            )
            if tuple(features.shape[1:]) != expected:
                raise ModelError(
                    f"{tap.name} has {tuple(features.shape[1:])} cells on an input of {tuple(x.shape[2:])} px where "
                    f"{expected} were expected: its map does not grow evenly with the input"
                )
            if tap.name in self._overwritten or features.is_inference():
                features = features.clone()
            else:
                versions[tap.name] = features._version
            maps[tap.name] = features

        self._run(x, keep, self._frozen)
        changed = {name for name, version in versions.items() if maps[name]._version != version}
        if not changed:
            return maps
        self._overwritten |= changed  # by a later layer, in place: copy them in time from now on
        return self.maps(x)

    def remember(self, x: Tensor, maps: dict[str, Tensor]) -> None:
        """Keep what `maps` returned for a canvas: if the next one is the same, the network is not run again."""
        self._remembered = x, maps

    def optimal(self, x: Tensor, corners: Sequence[Size]) -> dict[str, list[Tensor]]:
        """F(x; *) of crops in layers that see the whole map, by layer B maps `(C, *cells)`; nothing where there are none.

        Args:
            x: a canvas, a batch of one.
            corners: of each crop, canvas pixels, on the total-stride grid and the margin away from the canvas's ends.
        """
        found: dict[str, list[Tensor]] = {}
        for part in self._parts(corners):
            tight, place = self._tight(x, part)
            for name, one in self._windows(tight, WINDOWED, place).items():
                found.setdefault(name, []).extend(one)
        return found

    def window(self, x: Tensor, corner: Size) -> dict[str, Tensor]:
        """F(x; *) of one crop, by layer `(C, *cells)`, on a canvas of any size: nothing is cut off."""
        maps = self.maps(x)
        found = {name: window(spec, maps[name], corner).clone() for name, spec in self.specs.items()}
        if self.whole is None:
            return found
        place = Window(self.crop, tuple(x.shape[2:]), corner)
        return found | {name: one[0] for name, one in self._windows(x, WINDOWED, place).items()}

    def sees_all(self, name: str) -> bool:
        """Whether a layer sees the whole map."""
        return self.whole is not None and name in self.whole.layers

    def crops(
        self,
        x: Tensor,
        maps: Mapping[str, Tensor],
        corners: Sequence[Size],
        visit: Visit,
        scheme: Scheme | None = None,
        optimal: Windows | None = None,
    ) -> None:
        """Run the crops of a canvas as one batch, and hand over F(x; p) and F(x; *) of each layer.

        What differs beyond the rims is compared with rounding, see `Guard`.

        Args:
            x: the canvas, a batch of one.
            maps: what `maps` returned for it.
            corners: of each crop, canvas pixels, on the total-stride grid.
            visit: see `Visit`.
            scheme: what stands in for the network's padding. Nothing is compared under one that moves maps.
            optimal: what `optimal` returned for these corners, where it is there already.

        Raises:
            ModelError: the model fails.
        """
        guard = None if scheme is not None and scheme.moves else self.guard
        batch = self.batched(x, corners) if guard is not None and scheme is None else None
        first: dict[str, Tensor] = {}

        def watched(name: str, features: Tensor, optimal: list[Tensor], rest: Rest | None) -> None:
            if batch is not None:
                first.setdefault(name, features[0].clone())
            squares = visit(name, features, optimal, rest)
            if guard is not None:
                if squares is None or rest is not None:
                    squares = squared_differences(features, optimal if rest is None else rest.replayed.unbind())
                guard.look(name, squares, len(features))

        self.compare(x, maps, corners, watched, scheme, optimal)
        if guard is not None and batch is not None:
            guard.settle_batch(first, batch, self.of_crop)
        if guard is not None and guard.doubts:
            sizes = {name: one.flatten(1).double().square().mean(1).sqrt() for name, one in maps.items()}
            drawn = [] if scheme is None else generators(scheme)
            with randomness_kept([*generators(self.model), *drawn]):
                guard.settle(differences(self, corners, scheme), x, sizes)

    def batched(self, x: Tensor, corners: Sequence[Size]) -> Tensor | None:
        """The crops of a canvas as one batch, if it is the first of several, and the first of them is the one that the guard knows."""
        guard = self.guard
        if guard is None or guard.crop is None or guard.batched or len(corners) < 2 or self._frozen is not None:
            return None
        crops = self.cut(x, corners)
        return torch.cat(crops) if torch.equal(crops[0], guard.crop) else None

    def of_crop(self, x: Tensor, *, plain: bool = False) -> dict[str, Tensor]:
        """F(x; p) of a crop, the first of a batch `(B, C, *space)`, by layer `(C, *cells)`.

        Args:
            x: the crop, and what else is in the batch.
            plain: run the network as it is, where else operators that see the whole map are run by their handlers.
        """
        found: dict[str, Tensor] = {}

        def keep(tap: Tap, tensor: Tensor) -> None:
            found[tap.name] = self.specs[tap.name].as_map(tensor)[0].clone()

        with self._statistics_kept():
            self._run(x, keep, None if plain else ALONE)
        return found

    def cut(self, x: Tensor, corners: Sequence[Size]) -> list[Tensor]:
        """The crops at some corners of a canvas."""
        return [x[part_of(corner, self.crop)] for corner in corners]

    def compare(
        self,
        x: Tensor,
        maps: Mapping[str, Tensor],
        corners: Sequence[Size],
        visit: Callable[[str, Tensor, list[Tensor], Rest | None], None],
        scheme: Scheme | None = None,
        optimal: Windows | None = None,
    ) -> None:
        """Like `crops`, without looking at what is found."""
        batch = torch.cat(self.cut(x, corners))
        if self.whole is not None and self._frozen is None:
            found = self.optimal(x, corners) if optimal is None else optimal
            return self._compare_whole(x, batch, maps, corners, visit, scheme, found)

        def at(tap: Tap, tensor: Tensor) -> None:
            spec = self.specs[tap.name]
            visit(tap.name, spec.as_map(tensor), [window(spec, maps[tap.name], corner) for corner in corners], None)

        with swapping(scheme):
            self._run(batch, at, self._frozen)
        return None

    # ----------------------------------------------------------------------------- layers that see the whole map

    @contextmanager
    def under(self, x: Tensor, tile: Size | None) -> Iterator[dict[str, Tensor]]:
        """A block in which all runs are under statistics of a scene; what `maps` gives of it as it is.

        Args:
            x: the scene, a batch of one.
            tile: take statistics over tiles of that size, side by side; None: in one pass.

        Raises:
            ModelError: the network fails, or has no layer that sees the whole map.
        """
        if self.whole is None:
            raise ModelError("no layer sees the whole map, so that tiles have no statistics of their own")
        plain = {name: one.clone() for name, one in self.maps(x).items()}
        take_statistics(self.whole.network, x, tile)
        self._frozen = FROZEN
        try:
            yield plain
        finally:
            self._frozen = None
            self.whole.network.forget()

    def _compare_whole(
        self,
        x: Tensor,
        batch: Tensor,
        maps: Mapping[str, Tensor],
        corners: Sequence[Size],
        visit: Callable[[str, Tensor, list[Tensor], Rest | None], None],
        scheme: Scheme | None,
        optimal: Windows,
    ) -> None:
        """`compare`, with the scene of each crop under the crop's own statistics."""
        alone: dict[str, list[Tensor]] = {}
        replayed: dict[str, list[Tensor]] = {}

        def keep(tap: Tap, tensor: Tensor) -> None:
            alone.setdefault(tap.name, []).append(self.specs[tap.name].as_map(tensor).clone())

        first = 0
        for part in self._parts(corners):
            with self._statistics_kept():
                with swapping(scheme):
                    self._run(batch[first : first + len(part)], keep, ALONE)
                tight, place = self._tight(x, part)
                for name, one in self._windows(tight, REPLAYED, place).items():
                    replayed.setdefault(name, []).append(one)
            first += len(part)
        for name, spec in self.specs.items():
            scene = [window(spec, maps[name], corner) for corner in corners]
            rest = Rest(torch.cat(replayed[name]), scene) if name in replayed else None
            visit(name, torch.cat(alone[name]), scene if rest is None else list(optimal[name]), rest)

    def _parts(self, corners: Sequence[Size]) -> Iterator[Sequence[Size]]:
        """The corners of as many crops at a time as have canvases of their own in one pass; none without such layers."""
        if self.whole is None:
            return
        most = max(1, MAX_CANVAS // prod(self._smallest(self.whole)))
        for start in range(0, len(corners), most):
            yield corners[start : start + most]

    def _smallest(self, whole: Whole) -> Size:
        return with_sides(self.crop, whole.margin)

    def _tight(self, x: Tensor, corners: Sequence[Size]) -> tuple[Tensor, Window]:
        """`(B, C, *space)`: each crop of a canvas with exactly the margin around it; and where it lies there."""
        if self.whole is None:
            raise AssertionError("no layer sees the whole map")
        before, size = self.whole.margin[::2], self._smallest(self.whole)
        cut = [x[part_of(tuple(map(sub, corner, before)), size)] for corner in corners]
        batch = torch.cat(cut).contiguous(memory_format=self.layout)
        return batch, Window(self.crop, size, before)

    def _windows(self, x: Tensor, mode: str, place: Window) -> dict[str, Tensor]:
        """What layers that see the whole map have in the crop's window of a batch of canvases, `(B, C, *cells)`."""
        found: dict[str, Tensor] = {}

        def keep(tap: Tap, tensor: Tensor) -> None:
            spec = self.specs[tap.name]
            found[tap.name] = window(spec, spec.as_map(tensor), place.corner).clone()

        taps = [tap for tap in self._taps if self.sees_all(tap.name)]
        self._run(x, keep, mode, place, taps)
        return found

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """A block in which the statistics of a crop are there to be replayed."""
        try:
            yield
        finally:
            if self.whole is not None:
                self.whole.network.state.kept.clear()

    def _run(
        self,
        x: Tensor,
        visit: Callable[[Tap, Tensor], None],
        mode: str | None = None,
        place: Window | None = None,
        taps: Sequence[Tap] | None = None,
    ) -> None:
        """Run the model; what `visit` raises passes through, what the model raises becomes a `ModelError`.

        Args:
            x: its input.
            visit: see `run_to`.
            mode: of operators that see the whole map, where there are any; None runs the network as it is.
            place: of the crop in its canvas.
            taps: to be visited; None: all.
        """
        own: list[Exception] = []
        watching: AbstractContextManager[None] = nullcontext()
        if self.whole is not None and mode is not None:
            watching = self.whole.network.watching(mode, place, x)

        def watched(tap: Tap, tensor: Tensor) -> None:
            try:
                with torch._C.DisableTorchFunction():  # what is done with a map is none of the network's
                    visit(tap, tensor)
            except Exception as error:
                own.append(error)
                raise

        try:
            with watching:
                run_to(self.model, x, self._taps if taps is None else taps, watched)
        except Exception as error:
            if error in own or isinstance(error, PadprintError):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"the model fails on an input of {tuple(x.shape)}: {reason}") from error


def squared_differences(features: Tensor, optimal: Sequence[Tensor]) -> Tensor:
    """D^2 summed over a batch, `(C, *cells)`."""
    total = torch.zeros_like(features[0])
    for one, other in zip(features, optimal, strict=True):
        total += (one - other).square()
    return total


def first_cell(spec: MapSpec, corner: Size) -> Size:
    """The map's first cell of a crop whose corner lies at `corner` pixels, on the total-stride grid."""
    return tuple(int(at / stride) for at, stride in zip(corner, spec.stride, strict=True))


def swapping(scheme: Scheme | None) -> AbstractContextManager[object]:
    """A block with `scheme` in the place of the network's padding; None leaves it alone."""
    return nullcontext() if scheme is None else swapped(scheme)


def window(spec: MapSpec, features: Tensor, corner: Size) -> Tensor:
    """The part of a canvas's map `(..., C, *cells)` that belongs to one crop."""
    found: Tensor = features[part_of(first_cell(spec, corner), spec.size)]
    return found
