"""Running a network on tiles: the change of each output by distance to the tile's border, and what statistics change throughout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from operator import add

import torch
from torch import Tensor

from padprint.errors import HaloError, LayerError
from padprint.geometry.layer import MapSpec
from padprint.images.source import fingerprint
from padprint.measuring.crop_plan import Canvas
from padprint.measuring.forwards import Rest, first_cell, swapping, window
from padprint.measuring.session import Scene, Session
from padprint.network.batchnorm import uncalibrated
from padprint.network.preserved import as_measured
from padprint.network.weights import weights_sha256
from padprint.overlap.distance import ErrorSums, changed_labels, nearest_side, pooled, scale_of, whole_numbers
from padprint.overlap.floors import FloorSums, corner_of, other_sizes
from padprint.overlap.output_halo import OutputHalo
from padprint.overlap.result import Halo
from padprint.overlap.tiling import Map
from padprint.overlap.widths import PaddingHalo
from padprint.results.statistics import promised
from padprint.support.axes import Sides, Size
from padprint.support.axes import window as part_of
from padprint.support.reasons import Kind, Reason
from padprint.support.version import __version__


@dataclass
class _Output:
    """An output while it is measured: where its cells lie, and its sums by padding and image."""

    map: Map
    channels: int
    structural: Sides
    side: Tensor
    distance: Tensor
    sums: dict[str, list[ErrorSums]]
    floors: dict[str, FloorSums]
    dtype: torch.dtype

    @property
    def whole_numbers(self) -> bool:
        """Whether it holds classes, masks or counts."""
        return not self.dtype.is_floating_point


class Tiles:
    """The change of every output in tiles, by distance to a tile's border, under one padding or several.

    Args:
        session: the pass over the tiles.
        structural: by output, cells that padding can touch on each side.
        statistics: see `padprint.halo`.
    """

    def __init__(self, session: Session, structural: Mapping[str, Sides], statistics: str) -> None:
        self.session, self.network, self.plan = session, session.network, session.plan
        self.settings, self.statistics = session.settings, statistics
        self.n_images = self.n_tiles = 0
        self.fingerprints: list[str] = []
        self.outputs = {
            name: self._empty(name, spec, structural[name]) for name, spec in self.network.geometry.maps.items()
        }

    def _empty(self, name: str, spec: MapSpec, structural: Sides) -> _Output:
        """Empty sums for an output."""
        side, distance = nearest_side(spec.size, [float(s) for s in spec.stride], structural)
        sums: dict[str, list[ErrorSums]] = {padding: [] for padding in self.network.paddings}
        seen = self.network.geometry[name].sees_all_through
        left = seen and self.statistics != "scene"  # nothing is left of them under the scene's own
        floors = {padding: FloorSums(seen, side, distance) for padding in self.network.paddings if left}
        dtype = spec.tap.dtype
        return _Output(Map(spec.size, spec.stride), spec.channels, structural, side, distance, sums, floors, dtype)

    def add(self, scene: Scene) -> None:
        """Add the tiles of one image."""
        for out in self.outputs.values():
            for sums in out.sums.values():
                sums.append(ErrorSums(max(out.map.size), 2 * len(out.map.size)))
            for floor in out.floors.values():
                floor.start_image()
        canvases = self.session.canvases(scene)
        if self.network.seeing_all:
            canvases = [self._at_once(scene.size, canvases)]
        with as_measured(self.network.model):
            self.network.reseed(self.plan.seed, scene.index)
            for canvas in canvases:
                self._canvas(scene, canvas)
                self.n_tiles += len(canvas.crops)
            self.network.count_image(scene.called)
        for name, out in self.outputs.items():
            for sums in out.sums.values():
                sums[-1].check(name, scene.called)
        self.believe()
        self.fingerprints.append(fingerprint(scene.image))
        self.n_images += 1

    def believe(self) -> None:
        """Raise HaloError where the data contradict what was found of an output."""
        try:
            self.network.refuse_contradicted()
        except LayerError as error:
            raise HaloError(f"tiles cannot be compared with a larger scene: {error}") from error

    def _canvas(self, scene: Scene, canvas: Canvas) -> None:
        forwards = self.network.forwards
        x = forwards.placed(canvas.cut(scene.image))
        if self.statistics == "tile":
            maps = forwards.maps(x)
            self._tiles(x, canvas, maps, maps)
            for padding in self.network.paddings if self.network.seeing_all else ():
                self._other_sizes(scene, x, maps, padding)
            return
        with forwards.under(x, self.plan.crop if self.statistics == "tiles" else None) as whole:
            self._tiles(x, canvas, whole, forwards.maps(x))

    def _tiles(self, x: Tensor, canvas: Canvas, whole: Mapping[str, Tensor], near: Mapping[str, Tensor]) -> None:
        """Add the tiles of a canvas.

        Args:
            x: the canvas, a batch of one.
            canvas: where the tiles lie.
            whole: by output, the map of one pass.
            near: the same under the statistics of the tiles, where all have the same.
        """
        forwards, seeing_all = self.network.forwards, self.network.seeing_all
        for padding, scheme in self.network.paddings.items():
            for start in range(0, len(canvas.crops), self.settings.batch_size):
                corners = canvas.crops[start : start + self.settings.batch_size]
                one_pass = {
                    name: [window(forwards.specs[name], whole[name], corner) for corner in corners]
                    for name in seeing_all
                }

                def add(
                    name: str,
                    tiles: Tensor,
                    others: list[Tensor],
                    rest: Rest | None,
                    padding: str = padding,
                    one_pass: Mapping[str, list[Tensor]] = one_pass,
                ) -> None:
                    if rest is None and name in one_pass:  # one pass under frozen statistics
                        rest, others = Rest(torch.stack(others), one_pass[name]), one_pass[name]
                    self._add(self.outputs[name], padding, tiles, torch.stack(others), rest)

                forwards.crops(x, near, corners, add, scheme, one_pass)

    @staticmethod
    def _add(out: _Output, padding: str, tiles: Tensor, whole: Tensor, rest: Rest | None) -> None:
        near = whole if rest is None else rest.replayed
        labels = changed_labels(tiles, near, whole_numbers=out.whole_numbers)
        out.sums[padding][-1].add(tiles - near, labels, whole, out.side, out.distance)
        if rest is not None and padding in out.floors:
            labels = changed_labels(near, whole, whole_numbers=out.whole_numbers)
            out.floors[padding].add(near - whole, labels, whole)

    def _at_once(self, size: Size, canvases: Sequence[Canvas]) -> Canvas:
        """All tiles of an image on one canvas, as much of it as the total stride allows: statistics are compared with those of one pass."""
        covered = tuple(
            own + (n - own) // p * p for n, own, p in zip(size, self.plan.smallest, self.plan.period, strict=True)
        )
        corners = tuple(tuple(map(add, one.corner, crop)) for one in canvases for crop in one.crops)
        return Canvas((0,) * len(size), covered, corners)

    def _other_sizes(self, scene: Scene, x: Tensor, maps: Mapping[str, Tensor], padding: str) -> None:
        """Add one tile of each of some other sizes, of which cells that padding does not reach tell what statistics leave."""
        forwards, period = self.network.forwards, self.plan.period
        own = {name: self.outputs[name] for name in self.network.seeing_all}
        image = tuple(x.shape[2:])
        places = {name: out.map for name, out in own.items()}, {name: out.structural for name, out in own.items()}
        for size in other_sizes(self.plan.crop, period, image, *places):
            corner = corner_of(size, image, period, (self.plan.seed, scene.index))
            part = x[part_of(corner, size)].contiguous(memory_format=forwards.layout)
            with swapping(self.network.paddings[padding]):
                tile = forwards.maps(part)
            for name, out in own.items():
                cell = first_cell(forwards.specs[name], corner)
                whole = maps[name][part_of(cell, tile[name].shape[1:])][None]
                labels = changed_labels(tile[name][None], whole, whole_numbers=out.whole_numbers)
                change = tile[name][None] - whole
                out.floors[padding].add_of_size(size, change, labels, whole, out.structural)

    def read(self, tolerance: float, error: str, confidence: float, name: str) -> Halo:
        """Everything measured, read at one tolerance.

        Raises:
            HaloError: labels are asked for, and a map has one channel.
        """
        network, geometry = self.network, self.network.geometry
        without = [key for key, out in self.outputs.items() if out.channels < 2 and not out.whole_numbers]
        if error == "labels" and without:
            one = without[0]
            raise HaloError(f"{one} has one channel and so no labels; measure another error than 'labels'")
        paddings = {
            padding: PaddingHalo(
                padding,
                geometry.crop,
                self.plan.period,
                {
                    key: _output_halo(key, out, padding, error, tolerance, confidence)
                    for key, out in self.outputs.items()
                },
                confidence,
                scheme,
            )
            for padding, scheme in network.paddings.items()
        }
        record = self.session.setup.source.record
        return Halo(
            paddings,
            tile=geometry.crop,
            tolerance=tolerance,
            error=error,
            confidence=confidence,
            n_images=self.n_images,
            n_tiles=self.n_tiles,
            margin=self.plan.margin,
            approximate=bool(network.short),
            statistics=self.statistics,
            unmeasured=geometry.unmeasured,
            warnings=tuple(self._cautions(confidence, error)),
            provenance={
                "padprint": __version__,
                "torch": str(torch.__version__),
                "model": name,
                "weights_sha256": weights_sha256(network.model),
                "tiles_per_image": self.settings.crops_per_image,
                "seed": self.settings.seed,
                "device": network.traced.device.type,
                "images": self.session.setup.source.description,
                "skipped": dict(self.session.setup.source.skipped),
                **({"scenes": record} if record else {}),
                "measured": list(self.fingerprints),
            },
        )

    def _cautions(self, confidence: float, error: str) -> Iterator[Reason]:
        fresh = uncalibrated(self.network.model)
        if fresh is not None:
            yield Reason(Kind.UNTRAINED, fresh)
        for name, out in self.outputs.items():
            yield from _constancy(name, out, error)
        if self.n_images == 1:
            said = "one image cannot tell how images differ, so the structural halo is advised: use a dozen or more"
            yield Reason(Kind.FEW, said)
        elif promised(self.n_images, confidence) < confidence:
            yield Reason(
                Kind.FEW,
                f"measured on {self.n_images} images, this holds for {100 * promised(self.n_images, confidence):.3g} % of further images; "
                f"to hold for {100 * confidence:g} % it must be measured on {ceil(confidence / (1 - confidence) - 1e-9)}",
            )
        if self.network.short:
            yield Reason(
                Kind.APPROXIMATE,
                f"the scene around a tile is {self.plan.margin} px wide, less than the output sees, so that the reference "
                "itself is changed by padding: the result is approximate",
            )
        if any(scheme is not None for scheme in self.network.paddings.values()):
            said = "padding was swapped into the network as it is: one that is trained with it may need another overlap"
            yield Reason(Kind.SWAPPED, said)


def _constancy(name: str, out: _Output, error: str) -> Iterator[Reason]:
    """What is to be said of an output that padding could hardly change, whatever it does inside the network."""
    seen = pooled(next(iter(out.sums.values())))
    precision = torch.finfo(out.dtype).eps if out.dtype.is_floating_point else 0.0
    if seen.constant(precision):
        said = f"{name} is the same in every cell of every image (a dead output, or not calibrated), so that its halo says nothing"
        yield Reason(Kind.CONSTANT, said, layer=name)
    elif error == "labels" and out.channels > 1 and seen.one_label():
        said = f"every cell of every image has the same label in {name}, so that a halo for labels says nothing"
        yield Reason(Kind.CONSTANT, said, layer=name)


def _output_halo(name: str, out: _Output, padding: str, error: str, tolerance: float, confidence: float) -> OutputHalo:
    sums = out.sums[padding]
    scale = scale_of(sums)
    by_image = torch.stack([one.errors(error, scale) for one in sums])
    return OutputHalo(
        name,
        out.map,
        out.channels,
        out.structural,
        scale,
        pooled(sums).errors(error, scale),
        by_image,
        torch.stack([one.resolution(error, scale, whole=whole_numbers(sums)) for one in sums]),
        tolerance,
        error,
        out.floors[padding].floor(sums, error, scale, confidence) if padding in out.floors else None,
    )
