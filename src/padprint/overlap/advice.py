"""`halo`: measure what tiles lose at their borders, and say by how much they must overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from padprint.errors import HaloError, ImagesError
from padprint.images.photographs import Images
from padprint.measuring.checked import Traced
from padprint.measuring.options import OWN, Paddings, schemes_by_name
from padprint.measuring.session import Opened, Scene, Session, Setup
from padprint.network.preserved import as_measured
from padprint.overlap.asked import check_confidence, check_statistics, check_tolerance
from padprint.overlap.distance import ERRORS
from padprint.overlap.outputs import geometry_of, structural_halos
from padprint.overlap.result import Halo
from padprint.overlap.running import Tiles
from padprint.padding import Scheme
from padprint.support.axes import times

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padprint.measuring.options import LoadOptions


def halo(
    model: nn.Module | str,
    images: Images,
    output_layer: str | Sequence[str] | None = None,
    tile: int | tuple[int, ...] = 512,
    tolerance: float = 0.01,
    error: str = "relative",
    padding: Sequence[str | Scheme] = (OWN,),
    *,
    confidence: float = 0.99,
    tiles_per_image: int = 4,
    statistics: str = "tile",
    margin: int | str | Sequence[int] | None = None,
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
        model: any module that takes one `(B, C, *space)` tensor; its outputs may be nested, at any stride. Left as found. Or its
            name, see `padprint.load_model`.
        images: scenes larger than the tile and what the network sees around it; see `padprint.measure`.
        output_layer: dotted module names or globs; None: every tensor the model returns that is a map.
        tile: input size of a tile, px, one number or one for each axis, (height, width).
        tolerance: the error allowed, in the unit of `error`.
        error: "relative", rms change over the rms of the output in all scenes; "absolute", rms change; "maximum", largest
            absolute change; "labels", share of cells whose strongest channel changes. rms and shares are over the cells at
            one distance from one side.
        padding: schemes to swap in while tiles run, by name or as schemes (`padprint.padding`); ``"own"`` is the
            network's. All run on the same tiles.
        confidence: share of further images of the same kind that are to stay within the tolerance, each on its own, whatever
            their errors are distributed like; n images promise n / (n + 1) at most.
        tiles_per_image: tiles drawn from each image, without replacement; fewer where it admits fewer positions.
        statistics: of operators that see all of a tile (normalisation over the map, gates, attention, pooling): ``"tile"``, its own;
            ``"scene"``, those of one pass over its scene; ``"tiles"``, those of tiles side by side over the scene, averaged. See
            `padprint.overlap.frozen_statistics`.
        margin: px of scene around a tile; None: as many as the output sees. Less makes the result approximate; ``"effective"``: see
            `padprint.measure`.
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

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> import padprint
        >>> from padprint.scenes import DeadLeaves
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        >>> advice = padprint.halo(net, DeadLeaves(4, 160), tile=64, tolerance=0.001)
        >>> advice.first.structural  # px, beyond which padding reaches nothing
        4
        >>> tiles = advice.first.advised
        >>> tiles.tile, tiles.step, tiles.halos["2"]
        ((64, 64), (58, 58), (2, 1, 2, 1))
    """
    check_tolerance(tolerance)
    check_confidence(confidence)
    if error not in ERRORS:
        raise HaloError(f"there is no error {error!r}; known are {', '.join(ERRORS)}")
    settings = {"crop": tile, "crops_per_image": tiles_per_image, "margin": margin, "batch_size": batch_size, **options}
    setup = Setup.of(model, images, settings)
    schemes = schemes_by_name(padding, setup.settings.seed)
    if not schemes:
        raise HaloError("padding names no scheme; the network's own is 'own'")
    check_statistics(statistics)
    tiles: Tiles | None = None
    with setup.opened() as opened:
        for scene in opened:
            tiles = tiles or _started(opened, scene, schemes, output_layer, statistics)
            tiles.add(scene)
        assert tiles is not None  # noqa: S101  # where there is no image, that is an error
        tiles.session.finish()
    label = name or (model if isinstance(model, str) else type(setup.model).__name__)
    return tiles.read(tolerance, error, confidence, label)


def _started(
    opened: Opened, scene: Scene, schemes: Paddings, output_layer: str | Sequence[str] | None, statistics: str
) -> Tiles:
    """Tiles of a network that is traced, checked and planned for on its first image."""
    setup = opened.setup
    model, tile = setup.model, setup.crop(len(scene.size))
    with as_measured(model):
        if any(n < least for n, least in zip(scene.size, tile, strict=True)):
            raise ImagesError(
                f"{scene.called} of {times(scene.size)} px is smaller than a tile of {times(tile)} px; use larger images or a smaller tile"
            )
        channels = scene.image.shape[0]
        geometry = geometry_of(model, channels, output_layer, tile)
        structural = structural_halos(model, geometry, channels)
        traced = Traced.of(model, geometry, tile, channels, opened.places[0], schemes)
        if statistics != "tile" and not traced.seeing_all:
            raise HaloError(
                f"no output sees all of a tile, so that statistics={statistics!r} changes nothing; leave it out"
            )
        session = Session(setup, [traced], scene, "tile")
        tiles = Tiles(session, structural, statistics)
        tiles.believe()
    return tiles
