"""`halo`: measure what tiles lose at their borders, and say by how much they must overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import padprint
from padprint.baselines.crops import CropRun, Scene, Scenes, Views
from padprint.errors import HaloError, ImagesError, LayerError, ModelError
from padprint.forwards import Rest
from padprint.geometry import Sides, crop_size
from padprint.images import Images
from padprint.layers import as_measured, uncalibrated
from padprint.options import OWN, schemes_by_name
from padprint.overlap.distance import ERRORS, Sums, nearest_side, pooled, scale_of
from padprint.overlap.outputs import geometry_of, structural_halos
from padprint.overlap.result import Halo, check_confidence, check_tolerance
from padprint.overlap.tiling import Map
from padprint.overlap.widths import OutputHalo, PaddingHalo
from padprint.padding import Scheme
from padprint.plan import Canvas
from padprint.source import fingerprint
from padprint.statistics import promised
from padprint.subject import reseed
from padprint.weights import weights_sha256

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padprint.options import LoadOptions


def halo(
    model: nn.Module | str,
    images: Images,
    output_layer: str | Sequence[str] | None = None,
    tile: int | tuple[int, int] = 512,
    tolerance: float = 0.01,
    error: str = "relative",
    padding: Sequence[str | Scheme] = (OWN,),
    *,
    confidence: float = 0.99,
    tiles_per_image: int = 4,
    margin: int | None = None,
    batch_size: int = 4,
    name: str | None = None,
    **options: Unpack[LoadOptions],
) -> Halo:
    """Find how much tiles must overlap so that a tiled run agrees with one pass over the whole scene.

    The network runs on tiles drawn from the images and on the scenes around them; the change of its output is summed by
    the distance of a cell to the tile's border. The effective halo is the smallest width such that at every distance
    beyond it the error stays within the tolerance, over all images together. The advice is wider: images differ, and it
    is the narrowest halo beyond which a further image of the same kind stays within the tolerance with a probability of
    `confidence`, rounded up so that tiles start at multiples of the total stride. No more is advised than the structural
    halo, and no less for a single image, which cannot tell how images differ.

    Args:
        model: any module that takes one `(B, C, H, W)` tensor; its outputs may be nested, at any stride. Left as found. Or its
            name, see `padprint.load_model`.
        images: scenes larger than the tile and what the network sees around it; see `padprint.measure`.
        output_layer: dotted module names or globs; None: every tensor the model returns that is a map.
        tile: input size of a tile, px, one number or (height, width).
        tolerance: the error allowed, in the unit of `error`.
        error: "relative", rms change over the rms of the output in all scenes; "absolute", rms change; "maximum", largest
            absolute change; "labels", share of cells whose strongest channel changes. rms and shares are over the cells at
            one distance from one side.
        padding: schemes to swap in while tiles run, by name or as schemes (`padprint.padding`); ``"own"`` is the
            network's. All run on the same tiles.
        confidence: share of further images of the same kind that are to stay within the tolerance, each on its own, whatever
            their errors are distributed like; n images promise n / (n + 1) at most.
        tiles_per_image: tiles drawn from each image, without replacement; fewer where it admits fewer positions.
        margin: px of scene around a tile; None: as many as the output sees. Less makes the result approximate.
        batch_size: tiles in one forward pass.
        name: of the model, for the record; None: its class.
        **options: see `padprint.measure`.

    Returns:
        Structural and effective halos, the curve of errors, and the advice, by padding. Where no overlap keeps the tolerance
        the advice says so (`PaddingHalo.reason`), and what was measured can be read at another one (`Halo.at`).

    Raises:
        HaloError: an output sees the whole input, is no map, or takes one input size, so that no overlap helps; an output
            holds NaN or infinite values.
        ImagesError, LayerError, ModelError, PaddingError: see `padprint.measure`.
    """
    check_tolerance(tolerance)
    check_confidence(confidence)
    if error not in ERRORS:
        raise HaloError(f"there is no error {error!r}; known are {', '.join(ERRORS)}")
    settings = {"crop": tile, "crops_per_image": tiles_per_image, "margin": margin, "batch_size": batch_size, **options}
    scenes = Scenes(model, images, settings)
    schemes = schemes_by_name(padding, scenes.settings.seed)
    if not schemes:
        raise HaloError("padding names no scheme; the network's own is 'own'")
    run: TileRun | None = None
    for scene in scenes:
        if run is None:
            run = _started(scenes, scene, schemes, output_layer)
            scenes.at_end = [run.subject.finish]
        run.measure(scene)
    assert run is not None  # noqa: S101  # Scenes raises where there is no image
    label = name or (model if isinstance(model, str) else type(scenes.model).__name__)
    return run.read(tolerance, error, confidence, label)


# --------------------------------------------------------------------------------------------------- running on tiles


@dataclass
class _Output:
    """An output while it is measured: where its cells lie, and its sums by padding and image."""

    map: Map
    channels: int
    structural: Sides
    side: Tensor
    distance: Tensor
    sums: dict[str, list[Sums]]
    whole_numbers: bool = False


class TileRun(CropRun):
    """A pass over tiles, under one padding or several."""

    def __init__(self, scenes: Scenes, subject: Views) -> None:
        super().__init__(subject, scenes.settings)
        self.scenes = scenes
        self.n_tiles = 0
        self.fingerprints: list[str] = []
        self.outputs: dict[str, _Output] = {}

    def prepare(self, structural: dict[str, Sides]) -> None:
        """Empty sums for every output."""
        for name, spec in self.subject.geometry.maps.items():
            one = Map(spec.size, spec.stride)
            stride = [float(s) for s in spec.stride]
            side, distance = nearest_side(spec.size, stride, structural[name])
            sums: dict[str, list[Sums]] = {padding: [] for padding in self.subject.paddings}
            whole = not spec.tap.dtype.is_floating_point
            self.outputs[name] = _Output(one, spec.channels, structural[name], side, distance, sums, whole)

    def measure(self, scene: Scene) -> None:
        """Add the tiles of one image."""
        for out in self.outputs.values():
            for sums in out.sums.values():
                sums.append(Sums(max(out.map.size)))
        canvases = self.canvases(scene.size, scene.index)
        with as_measured(self.scenes.model):
            reseed(self.scenes.model, self.subject.paddings.values(), self.plan.seed, scene.index)
            for canvas in canvases:
                self._canvas(scene, canvas)
                self.n_tiles += len(canvas.crops)
            self.subject.tick(scene.called)
        for name, out in self.outputs.items():
            for sums in out.sums.values():
                sums[-1].check(name, scene.called)
        self.believe()
        self.fingerprints.append(fingerprint(scene.image))
        self.n_images += 1

    def believe(self) -> None:
        """Raise HaloError where the data contradict what was found of an output."""
        try:
            self.subject.refuse_contradicted()
        except LayerError as error:
            raise HaloError(f"tiles cannot be compared with a larger scene: {error}") from error

    def _canvas(self, scene: Scene, canvas: Canvas) -> None:
        forwards = self.subject.forwards
        x = forwards.placed(
            scene.image[:, canvas.top : canvas.top + canvas.height, canvas.left : canvas.left + canvas.width]
        )
        maps = forwards.maps(x)
        size = self.settings.batch_size
        for padding, scheme in self.subject.paddings.items():
            for start in range(0, len(canvas.crops), size):

                def add(name: str, tiles: Tensor, whole: list[Tensor], _: Rest | None, padding: str = padding) -> None:
                    self._add(self.outputs[name], padding, tiles, torch.stack(whole))

                forwards.crops(x, maps, canvas.crops[start : start + size], add, scheme)

    @staticmethod
    def _add(out: _Output, padding: str, tiles: Tensor, whole: Tensor) -> None:
        labels = changed_labels(tiles, whole, whole_numbers=out.whole_numbers)
        out.sums[padding][-1].add(tiles - whole, labels, whole, out.side, out.distance)

    def read(self, tolerance: float, error: str, confidence: float, name: str) -> Halo:
        """Everything measured, read at one tolerance.

        Raises:
            HaloError: labels are asked for, and a map has one channel.
        """
        subject, geometry = self.subject, self.subject.geometry
        without = [key for key, out in self.outputs.items() if out.channels < 2 and not out.whole_numbers]
        if error == "labels" and without:
            one = without[0]
            raise HaloError(f"{one} has one channel and so no labels; measure another error than 'labels'")
        paddings = {
            padding: PaddingHalo(
                padding,
                geometry.crop,
                self.plan.period,
                {key: _output_halo(key, out, padding, error, tolerance) for key, out in self.outputs.items()},
                confidence,
                scheme,
            )
            for padding, scheme in subject.paddings.items()
        }
        return Halo(
            paddings,
            tile=geometry.crop,
            tolerance=tolerance,
            error=error,
            confidence=confidence,
            n_images=self.n_images,
            n_tiles=self.n_tiles,
            margin=self.plan.margin,
            approximate=subject.approximate,
            unmeasured=geometry.unmeasured,
            warnings=tuple(self._cautions(confidence)),
            provenance={
                "padprint": padprint.__version__,
                "torch": str(torch.__version__),
                "model": name,
                "weights_sha256": weights_sha256(subject.model),
                "tiles_per_image": self.settings.crops_per_image,
                "seed": self.settings.seed,
                "device": subject.device.type,
                "images": self.scenes.source.description,
                "skipped": dict(self.scenes.source.skipped),
                "measured": list(self.fingerprints),
            },
        )

    def _cautions(self, confidence: float) -> list[str]:
        fresh = uncalibrated(self.subject.model)
        found = [] if fresh is None else [fresh]
        if self.n_images == 1:
            found.append(
                "one image cannot tell how images differ, so the structural halo is advised: use a dozen or more"
            )
        elif promised(self.n_images, confidence) < confidence:
            found.append(
                f"{self.n_images} images promise {100 * promised(self.n_images, confidence):.3g} % of further images, not the "
                f"{100 * confidence:g} % asked for: that takes {ceil(confidence / (1 - confidence) - 1e-9)} images"
            )
        if self.subject.approximate:
            found.append(
                f"the scene around a tile is {self.plan.margin} px wide, less than the output sees, so that the reference "
                "itself is changed by padding: the result is approximate"
            )
        if any(scheme is not None for scheme in self.subject.paddings.values()):
            found.append(
                "a scheme that is swapped in says what the swap does, not what a network trained with it would do"
            )
        return found

    def _too_small(self, small: Sequence[str], total: int) -> str:
        need = "x".join(str(n) for n in self.plan.smallest)
        tile = "x".join(str(n) for n in self.plan.crop)
        return (
            f"{len(small)} of {total} images are too small (the first is {small[0]} px): a {tile} tile with the "
            f"{self.plan.margin} px (top, bottom, left, right) that the output sees around it needs {need} px; use larger "
            f"images (or resize_short_side={max(self.plan.smallest)}), a smaller tile, or a margin below that"
        )


def changed_labels(tiles: Tensor, whole: Tensor, *, whole_numbers: bool = False) -> Tensor | None:
    """`(B, h, w)`, whether the strongest of C channels is another one; of whole numbers, whether any is another one.

    None for one channel that holds no whole numbers.
    """
    if whole_numbers:
        return (tiles != whole).any(1)
    return tiles.argmax(1) != whole.argmax(1) if tiles.shape[1] > 1 else None


def _output_halo(name: str, out: _Output, padding: str, error: str, tolerance: float) -> OutputHalo:
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
        torch.stack([one.resolution(error) for one in sums]),
        tolerance,
        error,
    )


def _started(scenes: Scenes, scene: Scene, schemes: Any, output_layer: str | Sequence[str] | None) -> TileRun:
    """A run whose network is traced, checked and planned for on its first image."""
    tile = crop_size(scenes.options["crop"])
    with as_measured(scenes.model):
        height, width = tile
        if scene.size[0] < height or scene.size[1] < width:
            size, wanted = "x".join(map(str, scene.size)), "x".join(map(str, tile))
            raise ImagesError(
                f"{scene.called} of {size} px is smaller than a tile of {wanted} px; use larger images or a smaller tile"
            )
        channels = scene.image.shape[0]
        geometry = geometry_of(scenes.model, channels, output_layer, tile)
        structural = structural_halos(scenes.model, geometry, channels)
        subject = Views(scenes.model, geometry, tile, scene.device, scene.dtype, schemes)
        run = TileRun(scenes, subject)
        try:
            run.start(scene.image, scenes.source.sizes())
            subject.refuse_contradicted()
        except (LayerError, ModelError) as refused:
            if not subject.refused:
                raise
            raise HaloError(f"tiles cannot be compared with a larger scene: {refused}") from refused
    run.prepare(structural)
    return run
