"""The two forwards: one over a canvas, which gives F(x; *) for every crop inside it, and one over the crops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from padprint.errors import ModelError, PadprintError
from padprint.geometry import MapSpec
from padprint.guard import Guard, differences
from padprint.layers import Tap, run_to
from padprint.padding import Scheme
from padprint.untouched import generators, randomness_kept


class Forwards:
    """Runs a network and hands over the maps of the layers that are measured.

    Args:
        model: in evaluation mode, on `device`.
        specs: the layers, and how to read them.
        crop: (height, width), pixels.
        device, dtype: of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        specs: Mapping[str, MapSpec],
        crop: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.model, self.specs, self.crop = model, specs, crop
        self.device, self.dtype = device, dtype
        self.layout = torch.contiguous_format
        self._taps = [spec.tap for spec in specs.values()]
        self._overwritten: set[str] = set()
        self.guard: Guard | None = None

    def choose_layout(self, image: Tensor) -> None:
        """Feed the network channels-last images where it runs on a CPU and takes them: convolutions are faster that way.

        Args:
            image: `(C, H, W)`, at least as large as the crop.
        """
        if self.device.type != "cpu":
            return
        x = self.placed(image[:, : self.crop[0], : self.crop[1]])
        as_it_is: dict[str, Tensor] = {}
        self._run(x, lambda tap, tensor: as_it_is.update({tap.name: tensor.clone()}))
        alike: list[bool] = []

        def compare(tap: Tap, tensor: Tensor) -> None:
            before = as_it_is[tap.name]
            if tensor.shape != before.shape:
                alike.append(False)
            elif before.is_floating_point() or before.is_complex():
                change = torch.linalg.vector_norm(tensor - before)
                alike.append(bool(change <= 1e-4 * torch.linalg.vector_norm(before)))
            else:
                alike.append(bool(torch.equal(tensor, before)))

        try:
            self._run(x.contiguous(memory_format=torch.channels_last), compare)
        except ModelError:  # `view` refuses memory that it cannot describe
            return
        self.layout = torch.channels_last if all(alike) else torch.contiguous_format

    def placed(self, image: Tensor) -> Tensor:
        """A `(C, H, W)` image as a batch of one, on the model's device, in its precision and the layout chosen."""
        return image.to(self.device, self.dtype).unsqueeze(0).contiguous(memory_format=self.layout)

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        """`(C, H, W)` map of every layer on the canvas `x`, a batch of one.

        Raises:
            ModelError: the model fails, or a map is not as large as the canvas calls for.
        """
        maps: dict[str, Tensor] = {}
        versions: dict[str, int] = {}

        def keep(tap: Tap, tensor: Tensor) -> None:
            spec = self.specs[tap.name]
            features = spec.as_map(tensor)[0]
            expected = tuple(
                n + (have - crop) / s
                for n, have, crop, s in zip(spec.size, x.shape[-2:], self.crop, spec.stride, strict=True)
            )
            if tuple(features.shape[-2:]) != expected:
                raise ModelError(
                    f"{tap.name} has {tuple(features.shape[-2:])} cells on an input of {tuple(x.shape[-2:])} px where "
                    f"{expected} were expected: its map does not grow evenly with the input"
                )
            if tap.name in self._overwritten or features.is_inference():
                features = features.clone()
            else:
                versions[tap.name] = features._version
            maps[tap.name] = features

        self._run(x, keep)
        changed = {name for name, version in versions.items() if maps[name]._version != version}
        if not changed:
            return maps
        self._overwritten |= changed  # by a later layer, in place: copy them in time from now on
        return self.maps(x)

    def crops(
        self,
        x: Tensor,
        maps: Mapping[str, Tensor],
        corners: Sequence[tuple[int, int]],
        visit: Callable[[str, Tensor, list[Tensor]], Tensor | None],
        scheme: Scheme | None = None,
    ) -> None:
        """Run the crops of a canvas as one batch, and hand over F(x; p) and F(x; *) of each layer.

        What differs beyond the rims is compared with rounding, see `Guard`.

        Args:
            x: the canvas, a batch of one.
            maps: what `maps` returned for it.
            corners: (y, x) of each crop, canvas pixels, on the total-stride grid.
            visit: called with (layer's name, `(B, C, h, w)` features, B optimal maps `(C, h, w)`). It may return the squared
                differences summed over the crops, `(C, h, w)`, if it has them.
            scheme: what stands in for the network's padding. Nothing is compared under one that moves maps.

        Raises:
            ModelError: the model fails.
        """
        guard = None if scheme is not None and scheme.moves else self.guard

        def watched(name: str, features: Tensor, optimal: list[Tensor]) -> None:
            squares = visit(name, features, optimal)
            if guard is not None:
                if squares is None:
                    squares = squared_differences(features, optimal)
                guard.look(name, squares, len(features))

        self.compare(x, maps, corners, watched)
        if guard is not None and guard.doubts:
            sizes = {name: one.flatten(1).double().square().mean(1).sqrt() for name, one in maps.items()}
            drawn = [] if scheme is None else generators(scheme)
            with randomness_kept([*generators(self.model), *drawn]):
                guard.settle(differences(self, corners), x, sizes)

    def of_crop(self, x: Tensor) -> dict[str, Tensor]:
        """F(x; p) of a crop `(1, C, H, W)`, by layer `(C, h, w)`."""
        found: dict[str, Tensor] = {}
        self._run(x, lambda tap, tensor: found.update({tap.name: self.specs[tap.name].as_map(tensor)[0].clone()}))
        return found

    def compare(
        self,
        x: Tensor,
        maps: Mapping[str, Tensor],
        corners: Sequence[tuple[int, int]],
        visit: Callable[[str, Tensor, list[Tensor]], None],
    ) -> None:
        """Like `crops`, without looking at what is found."""
        height, width = self.crop
        batch = torch.cat([x[:, :, top : top + height, left : left + width] for top, left in corners])

        def at(tap: Tap, tensor: Tensor) -> None:
            spec = self.specs[tap.name]
            optimal = [window(spec, maps[tap.name], corner) for corner in corners]
            visit(tap.name, spec.as_map(tensor), optimal)

        self._run(batch, at)

    def _run(self, x: Tensor, visit: Callable[[Tap, Tensor], None]) -> None:
        """Run the model; what `visit` raises passes through, what the model raises becomes a `ModelError`."""
        own: list[Exception] = []

        def watched(tap: Tap, tensor: Tensor) -> None:
            try:
                visit(tap, tensor)
            except Exception as error:
                own.append(error)
                raise

        try:
            run_to(self.model, x, self._taps, watched)
        except Exception as error:
            if error in own or isinstance(error, PadprintError):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"the model fails on an input of {tuple(x.shape)}: {reason}") from error


def squared_differences(features: Tensor, optimal: Sequence[Tensor]) -> Tensor:
    """D^2 summed over a batch, `(C, h, w)`."""
    total = torch.zeros_like(features[0])
    for one, other in zip(features, optimal, strict=True):
        total += (one - other).square()
    return total


def first_cell(spec: MapSpec, corner: tuple[int, int]) -> tuple[int, int]:
    """The map's first cell (row, column) of a crop whose corner lies at `corner` pixels, on the total-stride grid."""
    return int(corner[0] / spec.stride[0]), int(corner[1] / spec.stride[1])


def window(spec: MapSpec, features: Tensor, corner: tuple[int, int]) -> Tensor:
    """The part of a canvas's `(C, H, W)` map that belongs to one crop."""
    row, column = first_cell(spec, corner)
    return features[:, row : row + spec.size[0], column : column + spec.size[1]]
