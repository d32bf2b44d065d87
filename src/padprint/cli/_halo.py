"""``padprint halo``."""

# heavy imports wait until the command runs
from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padprint.cli._bundles import bundled
from padprint.cli._options import (
    FILES,
    MODEL_HELP,
    BatchSize,
    Config,
    Files,
    Memory,
    Network,
    Photographs,
    Report,
    SceneMargin,
    Screen,
    Seed,
)

if TYPE_CHECKING:
    from padprint.cli._loading import Job
    from padprint.cli._parse import Lengths
    from padprint.overlap import Halo

EPILOG = (
    "Examples: padprint halo mypackage.models:segmenter photos/ --tile 512 --tolerance 0.01 --verify others/ | "
    "padprint halo torchvision:mobilenet_v2@DEFAULT photos/ --output-layer features.6 --padding own reflect | "
    "padprint halo torchvision:fcn_resnet50 --structural | padprint halo result/ --tolerance 0.05"
)


@bundled()
def halo(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|DIR",
            help=f"{MODEL_HELP} Or a folder that --output wrote, to read it at another --tolerance.",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGES...]",
            help="A folder of images, or image files. None with --structural, or to read a folder.",
            show_default=False,
        ),
    ] = None,
    *,
    output_layer: Annotated[
        list[str] | None,
        typer.Option(
            "--output-layer",
            metavar="NAMES",
            help="Names or globs, separated by commas; repeatable. Default: what the model returns.",
        ),
    ] = None,
    structural: Annotated[
        bool,
        typer.Option("--structural", help="Without images: how far padding can reach at all, in every tool's units."),
    ] = False,
    tile: Annotated[
        str, typer.Option("--tile", metavar="PX", help="Tile size: one number, or one for each axis, as ROWSxCOLUMNS.")
    ] = "512",
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance", help="Error allowed at every distance beyond the halo. Default: 0.01, or the folder's."
        ),
    ] = None,
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
    statistics: Annotated[
        str,
        typer.Option(
            "--statistics",
            help="Of operators that see all of a tile: its own (tile), of one pass over its scene (scene), of the scene's tiles, "
            "averaged (tiles).",
        ),
    ] = "tile",
    margin: SceneMargin = None,
    batch_size: BatchSize = 4,
    memory: Memory = None,
    seed: Seed = 0,
    photographs: Photographs,
    network: Network,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="DIR",
            help="Folder for halo.json, halo.safetensors and halo.png.",
            rich_help_panel=FILES,
        ),
    ] = None,
    report: Report = False,
    config: Config = None,  # noqa: ARG001  # read before the command runs
    screen: Screen,
) -> None:
    """Find how much tiles must overlap so that a tiled run agrees with one pass, in the units of tiling tools.

    The exit status is 1 where no tile size keeps the tolerance, and with --verify where the tiled run does not keep it; what
    was measured is written all the same, and can be read at another tolerance.
    """
    from padprint.cli import _commands, _loading, _parse, _show

    names = _parse.layers(output_layer)
    size = _parse.crop(tile, "--tile")
    Files(output, report=report).checked()
    saved = is_saved(Path(model))
    given = images or []
    if (saved or structural) and (given or verify):
        what = f"{model} is a folder of results, which is read" if saved else "--structural needs no images"
        raise typer.BadParameter(f"{what}: leave out images and --verify", param_hint="IMAGES")
    if structural and output is not None:
        raise typer.BadParameter("--structural measures nothing that could be written", param_hint="--output")
    if not saved and not structural and not given:
        raise typer.BadParameter("there are no images after the model; --structural needs none", param_hint="IMAGES")
    with _show.reporting(screen) as console:
        _commands.check_output(output, plots=output is not None, report=report)
        from padprint.network.layers import OUTPUT

        if structural:
            document, lines, failed = _structure(
                model, network.weights, None if names == "auto" else names, size, photographs.known
            )
        elif saved:
            document, lines, failed = _read(Path(model), tolerance, output, report)
        else:
            asked = {
                "output_layer": None if names == "auto" else names,
                "tile": size,
                "tolerance": 0.01 if tolerance is None else tolerance,
                "error": error,
                "confidence": confidence,
                "padding": padding or ["own"],
                "tiles_per_image": tiles_per_image,
                "statistics": statistics,
                "margin": _parse.margin(margin),
                "seed": seed,
                **photographs.keywords(),
            }
            shared = {
                "device": network.device,
                "batch_size": batch_size,
                "memory": memory,
                "progress": _show.wants_progress(screen.quiet),
            }
            outputs = [OUTPUT] if names == "auto" else names
            options = {"layers": outputs, "crop": size, "margin": asked["margin"], "seed": seed}
            job = _loading.Job([(model, network.weights)], given, photographs, network, options, what="tile", told=True)
            document, lines, failed = _measure(job, verify, output, report, asked, shared)
        if not screen.quiet:
            _show.lines(console, lines)
    if screen.json:
        _show.as_json(document)
    if failed:
        raise typer.Exit(1)


Outcome = tuple[dict[str, Any], list[str], bool]
"""The document, what is said, and whether the exit status says so."""


def is_saved(folder: Path) -> bool:
    """Whether a folder holds a halo."""
    if not folder.is_dir():
        return False
    from padprint.results import storage

    return storage.is_saved(folder / storage.HALO[0])


def _structure(
    spec: str, weights: Path | None, names: list[str] | str | None, tile: Lengths, known: dict[str, Any]
) -> Outcome:
    """The halo by structure alone."""
    from padprint.network.example import input_channels
    from padprint.network.loading import load_model
    from padprint.overlap import structural as work

    model = load_model(spec, weights=weights).model
    found = work(model, names, tile, channels=input_channels(model))
    found = replace(found, known=known)
    return found.to_dict(), str(found).splitlines(), found.tiling is None or bool(found.sees_all_through)


def _read(folder: Path, tolerance: float | None, output: Path | None, report: bool) -> Outcome:
    """What was measured, at another tolerance."""
    from padprint.overlap import load

    result = load(folder)
    result = result if tolerance is None else result.at(tolerance)
    lines = [*_said(result), *_write(result, output, report)]
    return result.to_dict(), lines, _without(result)


def _measure(
    job: Job,
    others: list[Path] | None,
    output: Path | None,
    report: bool,
    asked: dict[str, Any],
    shared: dict[str, Any],
) -> Outcome:
    """Measure, write, and verify on other images."""
    from padprint.cli import _loading
    from padprint.errors import ImagesError
    from padprint.overlap import halo as work
    from padprint.report.command import command_line

    if others and {path.resolve() for path in others} <= {path.resolve() for path in job.images}:
        raise ImagesError("--verify names the images that are measured on, so they would prove nothing: give others")
    ready = _loading.load(job)
    network = ready.model.model
    shared = {**shared, **ready.normalisation}
    result = work(network, ready.images, name=ready.model.name, **asked, **shared)
    result.provenance["command"] = command_line(sys.argv[1:])
    document, lines, failed = result.to_dict(), _said(result), _without(result)
    written = _write(result, output, report)  # before anything else can fail
    if others:
        keys = ("seed", "strict", "resize_short_side", "max_megapixels")
        options = {key: asked[key] for key in keys if key in asked}
        held_out = job.photographs.files(others)
        checks = [
            result.verify(network, held_out, padding=padding.padding, **options, **shared)
            for padding in result.values()
            if padding.tiling is not None
        ]
        failed = failed or not all(check.passed for check in checks)
        document["verification"] = [check.to_dict() for check in checks]
        lines += [line for check in checks for line in str(check).splitlines()]
    if output is not None:
        written.append(
            f"read it at another tolerance, without measuring again: padprint halo {output} --tolerance 0.05"
        )
    return document, lines + written, failed


def _said(result: Halo) -> list[str]:
    """The tables and, for paddings with advice, the units of other tools."""
    from padprint.overlap import tools
    from padprint.support.wording import label

    lines = str(result).splitlines()
    for padding in result.values():
        if padding.tiling is not None:
            lines += [f"in the units of other tools, padding {label(padding.padding)}:"] * (len(result) > 1)
            lines += tools.lines(padding, result.known)
    return lines


def _without(result: Halo) -> bool:
    """Whether no padding keeps the tolerance on the tiles that were measured."""
    return all(padding.tiling is None or not padding.keeps for padding in result.values())


def _write(result: Halo, output: Path | None, report: bool) -> list[str]:
    """Save a halo with its picture and, where wanted, its page; lines about it."""
    if output is None:
        return []
    from padprint.support.atomic import publish_file

    result.save(output)
    publish_file(output / "halo.png", result.plot().savefig)
    lines = [f"wrote halo.json, halo.safetensors and halo.png to {output}"]
    if report:
        from padprint import report as pages

        lines.append(f"wrote {pages.write(result, output / 'report.html')}")
    return lines
