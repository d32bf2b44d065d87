"""`verify`: run a network in the advised tiles on images that the advice has not seen, and compare with one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from padprint.errors import HaloError, ImagesError
from padprint.geometry.tracing import trace
from padprint.images.photographs import Images
from padprint.images.source import fingerprint
from padprint.measuring.checked import reseed
from padprint.measuring.forwards import Forwards, swapping, whole_of
from padprint.measuring.session import Opened, Scene, Setup
from padprint.network.preserved import as_measured
from padprint.overlap.distance import (
    ErrorSums,
    changed_labels,
    nearest_side,
    pooled,
    whole_numbers,
    worst_beyond,
)
from padprint.overlap.stitching import Place, stitch
from padprint.overlap.text import pair
from padprint.overlap.tiling import Tiling, sides
from padprint.overlap.verdict import OutputCheck, Verification
from padprint.support.axes import side_names, times, window

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padprint.measuring.options import LoadOptions
    from padprint.overlap.output_halo import OutputHalo
    from padprint.overlap.result import Halo


def verify(
    halo: Halo,
    model: nn.Module,
    images: Images,
    *,
    padding: str | None = None,
    tiling: Tiling | None = None,
    batch_size: int = 4,
    **options: Unpack[LoadOptions],
) -> Verification:
    """Run a network in tiles over whole images, stitch, and compare with one pass over each.

    The check is the promise: over all images together, the error at every distance from the tiles' borders must stay within
    the tolerance, in the unit and on the scale of the advice. Cells that lie far from any border do not dilute it. Of an
    image, as many px are used as tiles on the total stride cover.

    Args:
        halo: the advice.
        model: the network it was given for.
        images: images that the advice has not seen, larger than a tile; see `padprint.measure`.
        padding: under which of the advice's paddings tiles run; None: the first. One that is swapped in pads the pass over the
            whole image as well, so that both agree at the image's own border.
        tiling: other tiles than the advised ones.
        batch_size: tiles in one forward pass.
        **options: see `padprint.measure`.

    Raises:
        HaloError: the advice has no such padding, or has no room for it.
        ImagesError: an image is not larger than a tile; the advice was measured on all of them; and see `padprint.measure`.
        ModelError, PaddingError: see `padprint.measure`.
    """
    name = halo.first.padding if padding is None else padding
    if name not in halo:
        raise HaloError(f"the advice has no padding {name!r}, only {', '.join(halo)}")
    tiles = halo[name].advised if tiling is None else tiling
    setup = Setup.of(model, images, {"crop": halo.tile, "batch_size": batch_size, **options})
    check: _Check | None = None
    seen, dropped = set(halo.provenance.get("measured", ())), 0
    with setup.opened("verifying") as opened:
        for scene in opened:
            if fingerprint(scene.image) in seen:
                dropped += 1
                continue
            check = check or _Check(halo, name, tiles, opened, scene)
            check.add(scene)
    if check is None:
        raise ImagesError(
            f"the advice was measured on all {dropped} of these images, so they prove nothing: verify it on others"
        )
    return replace(check.result(), dropped=dropped)


class _Check:
    """A tiled run while it goes over the images."""

    def __init__(self, halo: Halo, padding: str, tiles: Tiling, opened: Opened, scene: Scene) -> None:
        self.advice, self.halo, self.padding, self.tiles = halo[padding], halo, padding, tiles
        self.model, self.settings = opened.setup.model, opened.setup.settings
        channels = scene.image.shape[0]
        geometry = trace(self.model, list(self.advice.outputs), halo.tile, channels=channels)
        lost = [name for name in self.advice.outputs if name not in geometry.maps]
        if lost or any(geometry.maps[name].size != one.map.size for name, one in self.advice.outputs.items()):
            raise HaloError(f"the advice is of another network: {', '.join(lost or geometry.maps)} differs in this one")
        frozen = halo.statistics != "tile"
        whole = whole_of(self.model, geometry, geometry.margin, channels) if frozen else None
        self.forwards = Forwards(self.model, geometry.maps, halo.tile, scene.device, scene.dtype, whole)
        self.tallies = {
            name: _Tally(one, not geometry.maps[name].tap.dtype.is_floating_point)
            for name, one in self.advice.outputs.items()
        }
        self.n_images = self.n_tiles = 0
        self.names: dict[int, str] = {}
        self.exact = [False] * len(tiles.tile)

    def add(self, scene: Scene) -> None:
        """Compare one image."""
        image = self._covered(scene)
        with as_measured(self.model), swapping(self.advice.scheme):
            reseed(self.model, [self.advice.scheme], self.settings.seed, scene.index)
            if not self.n_images:
                self.forwards.choose_layout(image)
            x = self.forwards.placed(image)
            maps, stitched, places = self._stitched(x)
        for name, tally in self.tallies.items():
            tally.add(scene.index, stitched[name], maps[name], self._sides(name, maps[name], places))
        self.n_images += 1
        self.names[scene.index] = scene.called
        self.n_tiles += len(places)
        for axis, n in enumerate(image.shape[1:]):
            self.exact[axis] |= n >= self.tiles.tile[axis] + self.tiles.step[axis]

    def _stitched(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Place]]:
        """Maps of one pass and of tiles, and the tiles."""
        size = self.settings.batch_size
        if self.halo.statistics == "tile":
            maps = {name: features.clone() for name, features in self.forwards.maps(x).items()}
            return maps, *stitch(self.forwards, x, maps, self.tiles, size)
        with self.forwards.under(x, self.halo.tile if self.halo.statistics == "tiles" else None) as maps:
            return maps, *stitch(self.forwards, x, maps, self.tiles, size)

    def _covered(self, scene: Scene) -> Tensor:
        """As much of an image as tiles on the total stride cover.

        Raises:
            ImagesError: there is no seam in it.
        """
        tile, period = self.tiles.tile, self.tiles.period
        size = [t + (n - t) // p * p for n, t, p in zip(scene.size, tile, period, strict=True)]
        if any(n < t for n, t in zip(size, tile, strict=True)) or tuple(size) == tile:
            have, need = times(scene.size), times([t + p for t, p in zip(tile, period, strict=True)])
            raise ImagesError(
                f"{scene.called} of {have} px holds no seam between tiles of {pair(tile)} px; use images of {need} px or more"
            )
        found: Tensor = scene.image[window((0,) * len(size), size)]
        return found

    def _sides(self, name: str, whole: Tensor, places: Sequence[Place]) -> tuple[Tensor, Tensor]:
        """For every cell of a stitched map, which border of its tile it belongs to and how far it is from there."""
        one = self.advice.outputs[name]
        stride = [float(s) for s in one.map.stride]
        side, distance = torch.full((2, *whole.shape[1:]), -1)
        for place in places:
            parts = nearest_side(one.map.size, stride, one.structural, place.borders)
            for target, part in zip((side, distance), parts, strict=True):
                place.paste(name, target[None], part[None])
        return side, distance.clamp(min=0)

    def result(self) -> Verification:
        """Everything compared."""
        outputs = {name: tally.result(self.halo.error) for name, tally in self.tallies.items()}
        return Verification(
            self.padding,
            self.tiles,
            self.halo.error,
            self.halo.tolerance,
            outputs,
            self.n_images,
            self.n_tiles,
            tuple(self.exact),
            names=self.names,
        )


class _Tally:
    """ErrorSums of one output over the images."""

    def __init__(self, advice: OutputHalo, whole_numbers: bool) -> None:
        self.advice, self.whole_numbers = advice, whole_numbers
        self.sums: list[ErrorSums] = []
        self.indices: list[int] = []
        self.absolute, self.squares, self.count = 0.0, 0.0, 0
        self.largest, self.largest_at = -1.0, (0,) * (1 + len(advice.map.size))

    def add(self, index: int, stitched: Tensor, whole: Tensor, places: tuple[Tensor, Tensor]) -> None:
        """Add the maps of one image, both `(C, *cells)`."""
        change = (stitched - whole)[None]
        sums = ErrorSums(max(self.advice.map.size), 2 * len(self.advice.map.size))
        sums.add(
            change, changed_labels(stitched[None], whole[None], whole_numbers=self.whole_numbers), whole[None], *places
        )
        sums.check(self.advice.name, f"image {index}")
        self.sums.append(sums)
        self.indices.append(index)
        amount = change[0].abs().double()
        self.absolute += float(amount.sum())
        self.squares += float(amount.square().sum())
        self.count += amount.numel()
        cells = amount.amax(0)
        if float(cells.max()) > self.largest:
            cell = torch.unravel_index(cells.argmax(), cells.shape)
            place = tuple(int(int(at) * s) for at, s in zip(cell, self.advice.map.stride, strict=True))
            self.largest, self.largest_at = float(cells.max()), (index, *place)

    def result(self, kind: str) -> OutputCheck:
        """The check of this output, in an error of this kind."""
        one = self.advice
        total = pooled(self.sums)
        errors = total.errors(kind, one.scale).nan_to_num(0)
        side, distance = divmod(int(errors.argmax()), errors.shape[1])
        single = [float(sums.errors(kind, one.scale).nan_to_num(0).max()) for sums in self.sums]
        hardest = max(range(len(single)), key=single.__getitem__)
        worst = float(errors.max())
        cell = 2 * float(total.resolution(kind, one.scale, whole=whole_numbers(self.sums))[side, distance])
        inside = None if one.floor is None else worst_beyond(errors, one.structural)
        allowed = one.most if one.floor is None or not inside else min(inside, one.floor.limit) + one.room
        within = one.floor is None or not inside or inside <= one.floor.limit
        return OutputCheck(
            one.name,
            worst <= allowed and within,
            worst,
            (side_names(len(one.map.size))[side], float(distance * sides(one.map)[side])),
            (single[hardest], self.indices[hardest]),
            sum(error <= one.most for error in single),
            cell if cell > allowed else None,
            worst_beyond(errors, one.structural),
            self.absolute / self.count,
            (self.squares / self.count) ** 0.5 / one.scale if one.scale else nan,
            self.largest,
            self.largest_at,
            allowed,
            inside,
        )
