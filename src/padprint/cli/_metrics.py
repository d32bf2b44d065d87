"""Commands of ``padprint baseline`` that train nothing: probe, ring, shift, tiles, labels, constant."""

# heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padprint.cli._bundles import bundled
from padprint.cli._options import (
    BatchSize,
    Crop,
    Crops,
    Groups,
    Images,
    Layers,
    Model,
    Network,
    Padding,
    Photographs,
    SceneMargin,
    Screen,
    Seed,
)
from padprint.support.defaults import CROP

if TYPE_CHECKING:
    from padprint.results.estimates import ByLayer


@bundled(groups=5)
def probe(
    model: Model,
    images: Images,
    *,
    crops: Crops,
    photographs: Photographs,
    network: Network,
    padding: Padding = None,
    screen: Screen,
) -> None:
    """Read row, column and distance to the border out of a model's features by ridge regression."""
    from padprint.baselines.probe import probe as work

    _run(work, model, images, photographs, network, {**crops.keywords(), "padding": padding}, screen)


@bundled()
def shift(
    model: Model,
    images: Images,
    *,
    shift: Annotated[
        int, typer.Option("--shift", metavar="PX", min=1, help="Crops of a pair lie fewer px apart.")
    ] = 32,
    step: Annotated[int, typer.Option("--step", metavar="PX", min=1, help="Shifts are multiples of this.")] = 1,
    pairs_per_image: Annotated[int, typer.Option("--pairs-per-image", min=1, help="Pairs of crops per image.")] = 4,
    layers: Layers = None,
    crop: Crop = str(CROP),
    groups: Groups = 10,
    margin: SceneMargin = None,
    seed: Seed = 0,
    photographs: Photographs,
    network: Network,
    padding: Padding = None,
    screen: Screen,
) -> None:
    """Compare the top class, and the maps, of crops of a scene that lie a few pixels apart."""
    from padprint.baselines.shifts import shift_consistency as work

    crops = Crops(layers, crop, pairs_per_image, groups, margin, seed)
    options = {**crops.keywords(), "padding": padding, "shift": shift, "step": step}
    _run(work, model, images, photographs, network, options, screen)


@bundled(groups=10)
def tiles(
    model: Model,
    images: Images,
    *,
    width: Annotated[int, typer.Option("--width", metavar="CELLS", min=1, help="How wide a seam is.")] = 1,
    crops: Crops,
    photographs: Photographs,
    network: Network,
    padding: Padding = None,
    screen: Screen,
) -> None:
    """Compare features at the seams of tiles, as large as a crop, with one pass over the image."""
    from padprint.baselines.tiles import tile_mismatch as work

    _run(work, model, images, photographs, network, {**crops.keywords(), "padding": padding, "width": width}, screen)


@bundled()
def ring(
    model: Model,
    images: Images,
    *,
    padding: Annotated[
        list[str] | None,
        typer.Option("--padding", metavar="SCHEMES", help='Schemes to measure, one or several; "own": the model\'s.'),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option("--window", metavar="PX", min=1, help="Side of a window. Default: 768, less in small images."),
    ] = None,
    size: Annotated[int, typer.Option("--size", metavar="CELLS", min=1, help="Side of the padded part of a map.")] = 28,
    width: Annotated[int, typer.Option("--width", metavar="CELLS", min=1, help="How wide the ring is.")] = 1,
    grid: Annotated[int, typer.Option("--grid", min=1, help="Windows along each side of an image.")] = 2,
    groups: Groups = 10,
    seed: Seed = 0,
    photographs: Photographs,
    network: Network,
    screen: Screen,
) -> None:
    """Measure how wrong padded cells are, at every operator of a model that pads."""
    from padprint.baselines.ring import ring_nmse as work

    options: dict[str, Any] = {"groups": groups, "seed": seed, "padding": padding or ["own"]}
    options |= {"window": window, "size": size, "width": width, "grid": grid}
    _run(work, model, images, photographs, network, options, screen, whole=True)


@bundled()
def labels(
    model: Model,
    images: Images,
    *,
    window: Annotated[str, typer.Option("--window", metavar="PX", help="Window: one number, or ROWSxCOLUMNS.")] = "475",
    step: Annotated[
        int | None,
        typer.Option("--step", metavar="PX", min=1, help="From window to window. Default: about a tenth of it."),
    ] = None,
    region: Annotated[
        int | None,
        typer.Option("--region", metavar="PX", min=1, help="Side of the middle of an image to cover. Default: all."),
    ] = None,
    cells: Annotated[
        str,
        typer.Option(
            "--cells", help="Cells that count: inner (a window or more from every border, as published), or all."
        ),
    ] = "inner",
    layers: Layers = None,
    groups: Groups = 10,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    photographs: Photographs,
    network: Network,
    padding: Padding = None,
    screen: Screen,
) -> None:
    """Count the labels that each cell gets from sliding windows: mean entropy (meanE), disagreement (disR)."""
    from padprint.baselines.labels import label_consistency as work
    from padprint.cli import _parse

    options: dict[str, Any] = {"groups": groups, "seed": seed, "layers": _parse.layers(layers), "padding": padding}
    options |= {"window": _parse.crop(window, "--window"), "step": step, "region": region, "cells": cells}
    _run(work, model, images, photographs, network, {**options, "batch_size": batch_size}, screen, whole=True)


@bundled()
def constant(
    model: Model,
    images: Images,
    *,
    value: Annotated[
        float, typer.Option("--value", help="Of the constant image's pixels, normalised as the model wants them.")
    ] = -2.0,
    components: Annotated[
        int | None,
        typer.Option("--components", min=1, help="Directions of the subspace. Default: 99 % of what it shows."),
    ] = None,
    crops_per_image: Annotated[int, typer.Option("--crops-per-image", min=1, help="Crops of each image.")] = 4,
    layers: Layers = None,
    crop: Crop = str(CROP),
    groups: Groups = 10,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    photographs: Photographs,
    network: Network,
    screen: Screen,
) -> None:
    """Compare features of a constant image, in which all that differs between cells is position, with those of images."""
    from padprint.baselines.constant import constant_image as work
    from padprint.cli import _parse

    options: dict[str, Any] = {"groups": groups, "seed": seed, "layers": _parse.layers(layers)}
    options |= {"crop": _parse.crop(crop, "--crop"), "crops_per_image": crops_per_image, "value": value}
    options |= {"components": components, "batch_size": batch_size}
    _run(work, model, images, photographs, network, options, screen, whole=True)


def _run(
    work: Callable[..., ByLayer[Any]],
    model: str,
    images: list[Path],
    photographs: Photographs,
    network: Network,
    options: dict[str, Any],
    screen: Screen,
    *,
    whole: bool = False,
) -> None:
    """Load, measure and show."""
    from padprint.cli import _loading, _show

    options |= photographs.keywords()
    job = _loading.Job([(model, network.weights)], images, photographs, network, options, whole)
    with _show.reporting(screen) as console:
        loaded = _loading.load(job)
        shown = {"device": network.device, "progress": _show.wants_progress(screen.quiet)}
        result = work(loaded.model.model, loaded.images, **loaded.normalisation, **shown, **options)
        if not screen.quiet:
            _show.by_layer(console, result)
    if screen.json:
        _show.as_json(result.to_dict())
