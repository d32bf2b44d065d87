"""Halos from a network's structure alone: no images, no tolerance; tiles that drop them agree with one pass exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from padprint.errors import HaloError
from padprint.network.example import crop_for
from padprint.network.layers import unwrapped
from padprint.network.loading import as_model
from padprint.network.preserved import as_measured, inputs_made
from padprint.overlap import tools
from padprint.overlap.outputs import geometry_of, structural_halos
from padprint.overlap.text import halo_pixels, pair
from padprint.overlap.tile_sizes import ABSURD, resized, smallest
from padprint.overlap.tiling import Map, Tiling, sides, tiling
from padprint.support import frames
from padprint.support.axes import Sides, Size, side_names
from padprint.support.wording import label, past_and_future, through

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Structural:
    """How far padding reaches into tiles, by a network's structure.

    Attributes:
        tile: size, (height, width), px.
        period: total stride along each axis, px.
        maps: by output, how its map lies on the tile.
        need: by output, cells on each side (top, bottom, left, right) that padding can touch.
        exact: whether all operators on the way were read; else a cell further in may be touched by other content.
        sees_all_through: operators that take statistics over all of a tile. Then every cell changes with the tile, and what is told
            here is padding's part.
        tiling: tiles that drop these cells; None where the tile has no room for that.
        known: of images, a "sample_rate" (per second) or "spacing" (mm, by axis), in which units are told too.
    """

    tile: Size
    period: Size
    maps: dict[str, Map]
    need: dict[str, Sides]
    exact: bool
    tiling: Tiling | None
    sees_all_through: tuple[str, ...] = ()
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pixels(self) -> int:
        """The halo on the widest side of the widest output, input px."""
        return max(
            ceil(n * s) for name, one in self.maps.items() for n, s in zip(self.need[name], sides(one), strict=True)
        )

    def units(self) -> dict[str, Any]:
        """The halo as the arguments of other tools, see `padprint.overlap.units`.

        Raises:
            HaloError: the tile has no room for it.
        """
        if self.tiling is None:
            raise HaloError(self._no_room())
        return tools.units_of(self.tiling, self, self.known)

    def to_frame(self) -> pd.DataFrame:
        """One row for each output: output, height and width of a tile's map (cells), stride_y and stride_x (px), halo_top,
        halo_bottom, halo_left and halo_right (cells), and the same with _px.
        """  # noqa: D205
        return frames.frame((self._row(name) for name in self.maps), ("output",))

    def _row(self, name: str) -> dict[str, Any]:
        one, cells = self.maps[name], self.need[name]
        pixels = [ceil(n * s) for n, s in zip(cells, sides(one), strict=True)]
        size = {"output": name} | frames.size(one.size)
        halo = frames.sides("halo", cells) | {f"{side}_px": n for side, n in frames.sides("halo", pixels).items()}
        return size | frames.by_axis("stride", [float(s) for s in one.stride]) | halo

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain values."""
        return {
            "tile": list(self.tile),
            "period": list(self.period),
            "halo_px": self.pixels,
            "cells": {name: list(one) for name, one in self.need.items()},
            "exact": self.exact,
            "sees_all_through": list(self.sees_all_through),
            "units": None if self.tiling is None else self.units(),
        }

    def __str__(self) -> str:
        lines = [
            f"structural halo {self.pixels} px, total stride {pair(self.period)} px: beyond it no padding of a tile is seen, "
            f"whatever the image{'' if self.exact else ' (as far as was seen: an operator on the way cannot be read)'}"
        ]
        if self.sees_all_through:
            lines.append(
                f"but every cell changes with the tile by statistics over it ({through(self.sees_all_through)}), which no overlap "
                "mends: measure on images how much they leave (padprint halo MODEL IMAGES)"
            )
        for name, cells in self.need.items():
            stride = pair([f"{float(s):g}" for s in self.maps[name].stride])
            lines.append(
                f"{label(name)}: cells of {stride} px, on {', '.join(side_names(len(self.tile)))}: {' '.join(map(str, cells))} cells"
            )
        if len(self.tile) == 1:
            each = zip(
                *(
                    [ceil(n * s) for n, s in zip(self.need[name], sides(one), strict=True)]
                    for name, one in self.maps.items()
                ),
                strict=True,
            )
            before, after = map(max, each)
            lines.append(f"a tile needs {past_and_future(before, after)}")
        if self.tiling is None:
            return "\n".join([*lines, self._no_room()])
        tiles = self.tiling
        lines.append(
            f"tiles of {pair(tiles.tile)} px: overlap {pair(tiles.overlap)} px, drop {halo_pixels(tiles)} px, "
            f"{100 * tiles.cost:.0f} % extra pixels"
        )
        if tiles.cost > ABSURD:
            lines.append(f"so many extra pixels make no sense: {self._instead()}")
        return "\n".join([*lines, *tools.lines_of(self.units(), tiles)])

    def _no_room(self) -> str:
        return f"a tile of {pair(self.tile)} px has no room for 2 x {self.pixels} px: {self._instead()}"

    def _instead(self) -> str:
        enough = smallest(self.tile, self.period, self.pixels, self._tiles)
        return (
            f"take {'larger tiles' if enough is None else f'tiles of {enough} px or more'}, or measure on images how much of "
            "that matters (padprint halo MODEL IMAGES)"
        )

    def _tiles(self, tile: Size) -> Tiling | None:
        maps = {name: resized(one, self.tile, tile) for name, one in self.maps.items()}
        return tiling(tile, self.period, maps, self.need)


def structural(
    model: nn.Module | str,
    output_layer: str | Sequence[str] | None = None,
    tile: int | tuple[int, ...] = 512,
    *,
    channels: int = 3,
    inputs: Callable[[Tensor], Any] | None = None,
) -> Structural:
    """The halo that a network's structure needs, without images. The model is left as found.

    Args:
        model: see `padprint.halo`.
        output_layer: see `padprint.halo`.
        tile: input size of a tile, px, one number or one for each axis, (height, width).
        channels: of the input.
        inputs: see `padprint.measure`.

    Raises:
        HaloError: an output sees the whole input, is no map, or takes one input size.
        ModelError, LayerError: see `padprint.trace`.

    Examples:
        >>> import padprint
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        >>> need = padprint.overlap.structural(net, tile=64)
        >>> need.pixels
        4
        >>> need.tiling.step
        (58, 58)
    """
    network = unwrapped(as_model(model))
    size = crop_for(network, tile, "tile")
    with inputs_made(network, inputs), as_measured(network):
        geometry = geometry_of(network, channels, output_layer, size)
        need = structural_halos(network, geometry, channels)
    maps = {name: Map(spec.size, spec.stride) for name, spec in geometry.maps.items()}
    exact = all(geometry[name].exact for name in maps)
    seen = dict.fromkeys(call for name in maps for call in geometry[name].sees_all_through)
    tiles = tiling(size, geometry.period, maps, need)
    return Structural(size, geometry.period, maps, need, exact, tiles, tuple(seen))
