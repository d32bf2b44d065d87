"""``padprint halo``."""

# heavy imports wait until the command runs
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from padprint.cli._options import (
    BatchSize,
    Calibrate,
    Device,
    Images,
    Json,
    Limit,
    Margin,
    Mean,
    Megapixels,
    Model,
    Quiet,
    Resize,
    Seed,
    Std,
    Strict,
    Weights,
)

EPILOG = (
    "Examples: padprint halo mypackage.models:segmenter photos/ --tile 512 --tolerance 0.01 --verify others/ | "
    "padprint halo torchvision:mobilenet_v2@DEFAULT photos/ --output-layer features.6 --padding own reflect"
)


def halo(
    model: Model,
    images: Images,
    *,
    output_layer: Annotated[
        list[str] | None,
        typer.Option(
            "--output-layer",
            metavar="NAMES",
            help="Names or globs, separated by commas; repeatable. Default: what the model returns.",
        ),
    ] = None,
    tile: Annotated[str, typer.Option("--tile", metavar="PX", help="Tile size: one number, or ROWSxCOLUMNS.")] = "512",
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Error allowed at every distance beyond the halo.")
    ] = 0.01,
    error: Annotated[
        str,
        typer.Option(
            "--error",
            help="relative (rms change over the output's rms), absolute (rms), maximum, or labels (share that changes).",
        ),
    ] = "relative",
    confidence: Annotated[
        float, typer.Option("--confidence", help="Share of further images that are to stay within the tolerance.")
    ] = 0.99,
    padding: Annotated[
        list[str] | None,
        typer.Option("--padding", metavar="SCHEMES", help='Schemes to swap in, one or several; "own": as it is.'),
    ] = None,
    verify: Annotated[
        list[Path] | None,
        typer.Option(
            "--verify", metavar="PATH", help="Other images: run them in the advised tiles and compare; repeatable."
        ),
    ] = None,
    tiles_per_image: Annotated[int, typer.Option("--tiles-per-image", min=1, help="Tiles drawn from each image.")] = 4,
    margin: Margin = None,
    batch_size: BatchSize = 4,
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
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder for halo.json, halo.safetensors and halo.png."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find how much tiles must overlap so that a tiled run agrees with one pass, in the units of tiling tools.

    With --verify the exit status is 1 where the tiled run does not keep the tolerance.
    """
    from padprint.cli import _commands, _loading, _parse, _show

    rgb = _parse.channels(mean, "--mean"), _parse.channels(std, "--std")
    names = _parse.layers(output_layer)
    options: dict[str, Any] = {
        "seed": seed,
        "limit": images_limit,
        "strict": strict,
        "resize_short_side": resize_short_side,
        **_parse.limit_of(max_megapixels),
    }
    size = _parse.crop(tile, "--tile")
    with _show.reporting() as console:
        _commands.check_output(output, plots=output is not None)
        loaded, given, normalisation = _loading.one_model(
            model, weights, images, rgb, calibrate, {**options, "crop": size}
        )
        shared = {"device": device, "batch_size": batch_size, "progress": _show.wants_progress(quiet), **normalisation}
        document, lines, failed = _work(
            loaded.model,
            given,
            verify,
            output,
            {
                "output_layer": None if names == "auto" else names,
                "tile": size,
                "tolerance": tolerance,
                "error": error,
                "confidence": confidence,
                "padding": padding or ["own"],
                "tiles_per_image": tiles_per_image,
                "margin": margin,
                "name": loaded.name,
                **options,
            },
            shared,
        )
        if not quiet:
            _show.lines(console, lines)
    if json:
        _show.as_json(document)
    if failed:
        raise typer.Exit(1)


def _work(
    model: Any,
    images: Any,
    others: list[Path] | None,
    output: Path | None,
    asked: dict[str, Any],
    shared: dict[str, Any],
) -> tuple[dict[str, Any], list[str], bool]:
    """Measure, verify and write: the document, what is said, and whether verification failed."""
    from padprint._tables import label
    from padprint.overlap import halo as work
    from padprint.overlap import tools

    result = work(model, images, **asked, **shared)
    document = result.to_dict()
    lines = str(result).splitlines()
    for one in result.values():
        if one.tiling is not None:
            lines += [f"in the units of other tools, padding {label(one.padding)}:"] * (len(result) > 1)
            lines += tools.lines(one)
    if output is not None:  # before anything else can fail
        result.save(output)
        result.plot().savefig(output / "halo.png")
        written = f"wrote halo.json, halo.safetensors and halo.png to {output}"
    failed = False
    if others:
        loading = {key: asked[key] for key in ("seed", "strict", "resize_short_side", "max_megapixels") if key in asked}
        held_out = others[0] if len(others) == 1 else others
        checks = [
            result.verify(model, held_out, padding=one.padding, **loading, **shared)
            for one in result.values()
            if one.tiling is not None
        ]
        failed = not all(check.passed for check in checks)
        document["verification"] = [check.to_dict() for check in checks]
        lines += [line for check in checks for line in str(check).splitlines()]
    if output is not None:
        lines.append(written)
    return document, lines, failed
