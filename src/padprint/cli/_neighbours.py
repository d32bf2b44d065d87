"""Commands of ``padprint baseline`` that train nothing: probe, ring, shift, tiles, labels."""

# heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padprint.cli._options import (
    BatchSize,
    Calibrate,
    Crop,
    CropsPerImage,
    Device,
    Groups,
    Images,
    Json,
    Layers,
    Limit,
    Margin,
    Mean,
    Megapixels,
    Model,
    Padding,
    Quiet,
    Resize,
    Seed,
    Std,
    Strict,
    Weights,
)

if TYPE_CHECKING:
    from padprint.baselines.estimates import ByLayer


def probe(
    model: Model,
    images: Images,
    *,
    layers: Layers = None,
    crop: Crop = "224",
    crops_per_image: CropsPerImage = 16,
    groups: Groups = 5,
    margin: Margin = None,
    batch_size: BatchSize = 16,
    seed: Seed = 0,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    images_limit: Limit = None,
    resize_short_side: Resize = None,
    max_megapixels: Megapixels = None,
    strict: Strict = False,
    device: Device = None,
    calibrate: Calibrate = 0,
    padding: Padding = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read row, column and distance to the border out of a model's features by ridge regression."""
    from padprint.baselines.probe import probe as work
    from padprint.cli import _parse

    options = _parse.options(
        layers,
        crop,
        crops_per_image,
        groups,
        margin,
        batch_size,
        seed,
        images_limit,
        resize_short_side,
        strict,
        max_megapixels,
    )
    _run(work, model, weights, images, mean, std, device, calibrate, {**options, "padding": padding}, json, quiet)


def shift(
    model: Model,
    images: Images,
    *,
    shift: Annotated[
        int, typer.Option("--shift", metavar="PX", min=1, help="Crops of a pair lie fewer px apart.")
    ] = 32,
    step: Annotated[int, typer.Option("--step", metavar="PX", min=1, help="Shifts are multiples of this.")] = 1,
    layers: Layers = None,
    crop: Crop = "224",
    pairs_per_image: Annotated[int, typer.Option("--pairs-per-image", min=1, help="Pairs of crops per image.")] = 4,
    groups: Groups = 10,
    margin: Margin = None,
    seed: Seed = 0,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    images_limit: Limit = None,
    resize_short_side: Resize = None,
    max_megapixels: Megapixels = None,
    strict: Strict = False,
    device: Device = None,
    calibrate: Calibrate = 0,
    padding: Padding = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare the top class, and the maps, of crops of a scene that lie a few pixels apart."""
    from padprint.baselines.shifts import shift_consistency as work
    from padprint.cli import _parse

    options = _parse.options(
        layers, crop, pairs_per_image, groups, margin, 16, seed, images_limit, resize_short_side, strict, max_megapixels
    )
    options |= {"padding": padding, "shift": shift, "step": step}
    _run(work, model, weights, images, mean, std, device, calibrate, options, json, quiet)


def tiles(
    model: Model,
    images: Images,
    *,
    width: Annotated[int, typer.Option("--width", metavar="CELLS", min=1, help="How wide a seam is.")] = 1,
    layers: Layers = None,
    crop: Crop = "224",
    crops_per_image: CropsPerImage = 16,
    groups: Groups = 10,
    margin: Margin = None,
    batch_size: BatchSize = 16,
    seed: Seed = 0,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    images_limit: Limit = None,
    resize_short_side: Resize = None,
    max_megapixels: Megapixels = None,
    strict: Strict = False,
    device: Device = None,
    calibrate: Calibrate = 0,
    padding: Padding = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare features at the seams of tiles, as large as a crop, with one pass over the image."""
    from padprint.baselines.tiles import tile_mismatch as work
    from padprint.cli import _parse

    options = _parse.options(
        layers,
        crop,
        crops_per_image,
        groups,
        margin,
        batch_size,
        seed,
        images_limit,
        resize_short_side,
        strict,
        max_megapixels,
    )
    options |= {"padding": padding, "width": width}
    _run(work, model, weights, images, mean, std, device, calibrate, options, json, quiet)


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
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    images_limit: Limit = None,
    resize_short_side: Resize = None,
    max_megapixels: Megapixels = None,
    strict: Strict = False,
    device: Device = None,
    calibrate: Calibrate = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how wrong padded cells are, at every operator of a model that pads."""
    from padprint.baselines.ring import ring_nmse as work

    options = _loading(groups, seed, images_limit, resize_short_side, strict, max_megapixels)
    options |= {"padding": padding or ["own"], "window": window, "size": size, "width": width, "grid": grid}
    _run(work, model, weights, images, mean, std, device, calibrate, options, json, quiet)


def labels(
    model: Model,
    images: Images,
    *,
    layers: Layers = None,
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
    groups: Groups = 10,
    batch_size: BatchSize = 16,
    seed: Seed = 0,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    images_limit: Limit = None,
    resize_short_side: Resize = None,
    max_megapixels: Megapixels = None,
    strict: Strict = False,
    device: Device = None,
    calibrate: Calibrate = 0,
    padding: Padding = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count the labels that each cell gets from sliding windows: mean entropy (meanE), disagreement (disR)."""
    from padprint.baselines.labels import label_consistency as work
    from padprint.cli import _parse

    options = _loading(groups, seed, images_limit, resize_short_side, strict, max_megapixels)
    options |= {"layers": _parse.layers(layers), "window": _parse.crop(window, "--window"), "step": step}
    options |= {"region": region, "cells": cells, "padding": padding, "batch_size": batch_size}
    _run(work, model, weights, images, mean, std, device, calibrate, options, json, quiet)


def _loading(
    groups: int, seed: int, limit: int | None, resize_short_side: int | None, strict: bool, max_megapixels: float | None
) -> dict[str, Any]:
    """Keywords that every metric on images takes."""
    from padprint.cli import _parse

    return {
        "groups": groups,
        "seed": seed,
        "limit": limit,
        "resize_short_side": resize_short_side,
        "strict": strict,
        **_parse.limit_of(max_megapixels),
    }


def _run(
    work: Callable[..., ByLayer[Any]],
    model: str,
    weights: Path | None,
    images: Sequence[Path],
    mean: str | None,
    std: str | None,
    device: str | None,
    calibrate: int,
    options: dict[str, Any],
    as_json: bool,
    quiet: bool,
) -> None:
    """Load, measure and show."""
    from padprint.cli import _loading, _parse, _show

    rgb = _parse.channels(mean, "--mean"), _parse.channels(std, "--std")
    with _show.reporting() as console:
        loaded, given, normalisation = _loading.one_model(model, weights, images, rgb, calibrate, options)
        shown = {"device": device, "progress": _show.wants_progress(quiet)}
        result = work(loaded.model, given, **normalisation, **shown, **options)
        if not quiet:
            _show.lines(console, str(result).splitlines())
    if as_json:
        _show.as_json(result.to_dict())
