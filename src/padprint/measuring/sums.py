"""The running sums of one network: what every crop adds to the moments of its layers, under each padding."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from padprint.measuring.checked import Checked, Traced
from padprint.measuring.crop_plan import Canvas, CropPlan
from padprint.measuring.forwards import Rest, Visit, first_cell
from padprint.measuring.moments import LayerMoments
from padprint.measuring.parts import PartSums
from padprint.measuring.self_check import change_when_grown, relative
from padprint.measuring.states import States
from padprint.measuring.summary import summarise
from padprint.results.measurement import LayerMeasurement
from padprint.support.axes import window

RESIDUAL_IMAGES = 4
"""How many of the first images tell how far an approximate F(x; *) still moves."""


class NetworkSums:
    """Running sums of one network's layers.

    Args:
        traced: the network.
        plan: how scenes are cut.
        groups: of images.

    Attributes:
        moments: by padding and layer.
        parts: likewise, of layers that see the whole map.
        moved: of an approximate margin, by layer: sums of (change of F(x; *))^2 and F(x; *)^2, float64.
    """

    def __init__(self, traced: Traced, plan: CropPlan, groups: int) -> None:
        self.traced, self.plan, self.groups = traced, plan, groups
        maps, seeing_all = traced.geometry.maps, traced.seeing_all
        self.moments = {
            padding: {
                name: LayerMoments(spec.channels, spec.size, groups, traced.device) for name, spec in maps.items()
            }
            for padding in traced.paddings
        }
        self.parts = {
            padding: {
                name: PartSums(maps[name].channels, maps[name].size, groups, traced.device) for name in seeing_all
            }
            for padding in traced.paddings
        }
        self.moved = {name: torch.zeros(2, dtype=torch.float64) for name in maps}

    def states(self, padding: str) -> dict[str, States]:
        """All sums under one padding, by name."""
        parts = {f"{name}/parts": one for name, one in self.parts[padding].items()}
        return {**self.moments[padding], **parts}

    def add(
        self,
        network: Checked,
        image: Tensor,
        index: int,
        canvases: Sequence[Canvas],
        batch_size: int,
        order: Sequence[int],
    ) -> None:
        """Add the crops of one image.

        Args:
            network: that runs.
            image: `(C, *space)`.
            index: of the image, which decides its group too.
            canvases: of the image.
            batch_size: crops in one forward pass.
            order: numbers of its crops among the crops of all images.

        Raises:
            ModelError: the network fails, or no layer is left that is believed.
        """
        network.reseed(self.plan.seed, index)
        first, group = 0, index % self.groups
        for canvas in canvases:
            self._canvas(network, group, image, canvas, batch_size, order[first : first + len(canvas.crops)])
            first += len(canvas.crops)
        network.refuse_nothing_left()
        if network.short and index < RESIDUAL_IMAGES:
            for name, squares in change_when_grown(network.forwards, self.plan, image).items():
                self.moved[name] += squares

    def _canvas(
        self, network: Checked, group: int, image: Tensor, canvas: Canvas, batch_size: int, order: Sequence[int]
    ) -> None:
        """Add the crops of one canvas, numbered by `order`."""
        forwards = network.forwards
        x = forwards.placed(canvas.cut(image))
        maps = forwards.maps(x)
        optimal = forwards.optimal(x, canvas.crops)
        self._add_features(group, canvas, maps, optimal)
        for padding, scheme in self.traced.paddings.items():
            for start in range(0, len(canvas.crops), batch_size):
                corners = canvas.crops[start : start + batch_size]
                add = self._adder(padding, group, order[start : start + len(corners)])
                there = {name: one[start : start + len(corners)] for name, one in optimal.items()}
                forwards.crops(x, maps, corners, add, scheme, there)

    def _add_features(
        self, group: int, canvas: Canvas, maps: Mapping[str, Tensor], optimal: Mapping[str, Sequence[Tensor]]
    ) -> None:
        """Add F(x; *): each cell of a map as often as crops hold it; of layers that see the whole map, crop by crop."""
        for name, spec in self.traced.geometry.maps.items():
            if name in optimal:
                weighted = [(one, torch.ones(one.shape[1:], device=self.traced.device)) for one in optimal[name]]
            else:
                coverage = torch.zeros(maps[name].shape[1:], device=self.traced.device)
                for corner in canvas.crops:
                    coverage[window(first_cell(spec, corner), spec.size)] += 1
                weighted = [(maps[name], coverage)]
            for moments in self.moments.values():
                for features, coverage in weighted:
                    moments[name].update_features(group, features, coverage)

    def _adder(self, padding: str, group: int, numbers: Sequence[int]) -> Visit:
        """Adds a batch of crops, which have these numbers among all crops."""
        moments, parts = self.moments[padding], self.parts[padding]

        def add(name: str, features: Tensor, optimal: list[Tensor], rest: Rest | None) -> Tensor:
            moments[name].update(group, features, optimal, numbers)
            if rest is not None:
                parts[name].update(group, features, rest.replayed, optimal, rest.scene)
            return moments[name].latest

        return add

    def measured(
        self, padding: str, floor: Mapping[str, float], refused: Collection[str] = ()
    ) -> dict[str, LayerMeasurement]:
        """All estimates of every layer under one padding.

        Args:
            padding: one of the network's.
            floor: by layer, relative change of F(x; *) that is rounding.
            refused: layers that are not believed, and left out.
        """
        short = self.traced.short(self.plan)
        return {
            name: summarise(
                moments,
                self.traced.geometry[name],
                self.plan.crop,
                numeric_floor=floor[name],
                residual=relative(self.moved[name]) if name in short and float(self.moved[name][1]) > 0 else None,
                precision=torch.finfo(self.traced.dtype).eps,
                parts=self.parts[padding].get(name),
            )
            for name, moments in self.moments[padding].items()
            if name not in refused
        }

    def join(self, moved: Sequence[Mapping[str, Tensor]]) -> None:
        """Add up the sums of all processes; `moved` of each."""
        self.moved = {name: torch.stack([one[name] for one in moved]).sum(0) for name in self.moved}
        for padding in self.traced.paddings:
            for one in self.states(padding).values():
                one.join()
