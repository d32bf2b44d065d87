"""The command line. Importing it costs little: torch and the rest are imported inside the commands."""

# heavy imports wait until a command runs, so that --help answers at once
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from padprint import __version__
from padprint.cli import _check, _halo, _parts, baseline, study
from padprint.cli._options import (
    MODEL_HELP,
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
    Output,
    Padding,
    Plots,
    Quiet,
    Report,
    Resize,
    Seed,
    Std,
    Strict,
    Weights,
)
from padprint.cli._parse import Lists

app = typer.Typer(
    name="padprint",
    help="Measure what padding tells a convolutional network about position.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(baseline.app)
app.add_typer(study.app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"padprint {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Measure what padding tells a convolutional network about position."""


app.command(epilog=_check.EPILOG)(_check.check)


@app.command(epilog="Example: padprint measure torchvision:resnet18@DEFAULT photos/ --layers layer4 --output result")
def measure(
    model: Model,
    images: Images,
    *,
    layers: Layers = None,
    crop: Crop = "224",
    crops_per_image: CropsPerImage = 16,
    groups: Groups = 20,
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
    output: Output = None,
    plots: Plots = False,
    report: Report = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the padding pattern of a model's layers on images; runs under torchrun too."""
    from padprint.cli import _commands, _loading, _parse

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
    schemes = () if padding is None else (padding,)
    rgb = _parse.channels(mean, "--mean"), _parse.channels(std, "--std")
    job = _loading.Job(
        [(model, weights)],
        schemes,
        images,
        *rgb,
        device,
        calibrate,
        _parse.output(output, plots, report),
        plots,
        options,
        report,
    )
    _commands.measure(job, as_json=json, quiet=quiet)


@app.command(
    cls=Lists,
    epilog="Examples: padprint compare torchvision:resnet18@DEFAULT photos/ --padding own reflect replicate randn | "
    "padprint compare photos/ --model torchvision:resnet18@DEFAULT --model torchvision:resnet34@DEFAULT | "
    "padprint compare torchvision:resnet18 photos/ --weights epoch1.pth --weights epoch90.pth",
)
def compare(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] IMAGES...",
            help=f"The model, unless --model names models; then a folder of images, or image files. {MODEL_HELP}",
            show_default=False,
        ),
    ],
    *,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="MODEL", help="A model to compare; give it twice or more.")
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option("--weights", metavar="FILE", help="State dict; repeated, each is compared (checkpoints)."),
    ] = None,
    padding: Annotated[
        list[str] | None,
        typer.Option("--padding", metavar="SCHEMES", help='Schemes to swap in, one or several; "own": as it is.'),
    ] = None,
    layers: Layers = None,
    crop: Crop = "224",
    crops_per_image: CropsPerImage = 16,
    groups: Groups = 20,
    margin: Margin = None,
    batch_size: BatchSize = 16,
    seed: Seed = 0,
    mean: Mean = None,
    std: Std = None,
    images_limit: Limit = None,
    resize_short_side: Resize = None,
    max_megapixels: Megapixels = None,
    strict: Strict = False,
    device: Device = None,
    calibrate: Calibrate = 0,
    output: Output = None,
    plots: Plots = False,
    report: Report = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare paddings, models or checkpoints over the same crops, with paired differences."""
    from padprint.cli import _commands, _loading, _parse

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
    models, images = _parse.compared(arguments, model or [], weights or [])
    rgb = _parse.channels(mean, "--mean"), _parse.channels(std, "--std")
    job = _loading.Job(
        models,
        padding or (),
        images,
        *rgb,
        device,
        calibrate,
        _parse.output(output, plots, report),
        plots,
        options,
        report,
    )
    _commands.compare(job, as_json=json, quiet=quiet)


@app.command(epilog="Example: padprint layers torchvision:resnet18 --crop 224")
def layers(
    model: Model,
    *,
    layers: Layers = None,
    crop: Crop = "224",
    weights: Weights = None,
    json: Json = False,
) -> None:
    """List a model's layers: stride, receptive field, and how far padding reaches into each."""
    from padprint.cli import _commands, _parse

    _commands.layers(model, weights, _parse.layers(layers), _parse.crop(crop), as_json=json)


@app.command(epilog="Example: padprint inspect timm:tf_efficientnet_b0 --size 256x320")
def inspect(
    model: Model,
    *,
    size: Annotated[str, typer.Option("--size", metavar="PX", help="Input size: one number, or ROWSxCOLUMNS.")] = "224",
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Also write the inspection as one HTML page.")
    ] = None,
    json: Json = False,
) -> None:
    """List every operator of a model that pads, how, and whether its stride divides evenly."""
    from padprint.cli import _commands, _parse

    _commands.inspect(model, _parse.crop(size, "--size"), as_json=json, page=report)


@app.command(epilog="Example: padprint report result --output report.html")
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders that --output wrote.")],
    *,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="The HTML file.")] = Path("report.html"),
    quiet: Quiet = False,
) -> None:
    """Write saved results as one HTML page that needs no network."""
    from padprint.cli import _commands

    _commands.report(folders, output, quiet=quiet)


@app.command(epilog="Example: padprint demo --output padprint-demo")
def demo(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for results and pictures.")] = Path(
        "padprint-demo"
    ),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure ImageNet's MobileNetV2 on a dozen photographs (under two minutes on two cores)."""
    from padprint.cli import _commands

    _commands.demo(output, as_json=json, quiet=quiet)


app.command(epilog=_halo.EPILOG, cls=Lists)(_halo.halo)
app.command(epilog=_parts.EPILOG)(_parts.parts)


def main() -> None:
    """Entry point of the ``padprint`` command."""
    app()
