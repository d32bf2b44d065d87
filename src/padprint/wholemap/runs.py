"""The runs of one network over crops and their canvases: by itself, under the crop's statistics, over its window, as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from padprint.errors import ModelError, PadprintError
from padprint.forwards import first_cell
from padprint.geometry import Geometry
from padprint.layers import run_to
from padprint.plan import Canvas, CropPlan
from padprint.weights import first_line
from padprint.wholemap.extents import Window
from padprint.wholemap.network import ALONE, PLAIN, REPLAYED, WINDOWED, WholeMap

Maps = dict[str, Tensor]


class Three(NamedTuple):
    """Three runs of a batch of crops, by layer `(B, C, h, w)`: A, R and W; see `padprint.parts`."""

    alone: Maps
    replayed: Maps
    windowed: Maps


class Runs:
    """The network in all its modes, at the layers that have a geometry.

    Args:
        wrapped: the network; it has learned which calls see the whole map.
        geometry: of its local part.
        plan: how scenes are cut.
        device, dtype: of the network.
    """

    def __init__(
        self, wrapped: WholeMap, geometry: Geometry, plan: CropPlan, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.wrapped, self.geometry, self.plan = wrapped, geometry, plan
        self.device, self.dtype = device, dtype
        self.layers = list(geometry.maps)

    def placed(self, image: Tensor) -> Tensor:
        """A `(C, H, W)` image as a batch of one where the network is."""
        return image[None].to(self.device, self.dtype)

    def scene(self, image: Tensor, canvas: Canvas) -> Tensor:
        """What a canvas shows of an image, `(1, C, H, W)`."""
        rows, columns = (
            slice(first, first + n) for first, n in ((canvas.top, canvas.height), (canvas.left, canvas.width))
        )
        return self.placed(image[:, rows, columns])

    def tight(self, scene: Tensor, corners: Sequence[tuple[int, int]]) -> tuple[Tensor, Window]:
        """`(B, C, H, W)`: each crop with exactly the margin around it; and where it lies there."""
        top, _, left, _ = self.plan.margin
        height, width = self.plan.smallest
        cut = [scene[..., y - top : y - top + height, x - left : x - left + width] for y, x in corners]
        return torch.cat(cut), Window(self.plan.crop, (height, width), (top, left))

    def crop(self, canvas: Tensor, window: Window) -> Tensor:
        """The crops of a batch of canvases."""
        (y, x), (height, width) = window.corner, window.crop
        return canvas[..., y : y + height, x : x + width].contiguous()

    def three(self, canvas: Tensor, window: Window) -> Three:
        """A, R and W of the crops of a batch of canvases.

        Raises:
            ModelError: the network fails.
        """
        try:
            alone = self.maps(self.crop(canvas, window), ALONE)
            return Three(alone, self.windows(canvas, REPLAYED, window), self.windows(canvas, WINDOWED, window))
        finally:
            self.wrapped.state.kept.clear()

    def windows(self, canvas: Tensor, mode: str, window: Window) -> Maps:
        """What each layer has in the crop's window of a batch of canvases, `(B, C, h, w)`."""
        return {
            layer: self.window(layer, one, window.corner).clone()
            for layer, one in self.maps(canvas, mode, window).items()
        }

    def window(self, layer: str, features: Tensor, corner: tuple[int, int]) -> Tensor:
        """The part of a layer's map that belongs to a crop."""
        spec = self.geometry.maps[layer]
        row, column = first_cell(spec, corner)
        return features[..., row : row + spec.size[0], column : column + spec.size[1]]

    def maps(self, x: Tensor, mode: str, window: Window | None = None) -> Maps:
        """What each layer returns, `(B, C, H, W)`.

        Raises:
            ModelError: the network fails.
        """
        found: Maps = {}
        specs = {(spec := self.geometry.maps[layer]).tap.name: (layer, spec) for layer in self.layers}

        def keep(tap: Any, tensor: Tensor) -> None:
            layer, spec = specs[tap.name]
            found[layer] = spec.as_map(tensor).clone()

        try:
            with self.wrapped.running(mode, window):
                run_to(self.wrapped, x, [spec.tap for _, spec in specs.values()], keep)
        except PadprintError:
            raise
        except Exception as error:
            what = {ALONE: "the crop", PLAIN: "its scene"}.get(
                mode, "its scene under statistics of the crop or its window"
            )
            raise ModelError(f"the model fails on {what}, an input of {tuple(x.shape)}: {first_line(error)}") from error
        return found
