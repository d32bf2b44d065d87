"""The command line. Importing it costs little: torch and the rest are imported inside the commands."""

# heavy imports wait until a command runs, so that --help answers at once
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from padprint.cli import _check, _halo, _layers, baseline, study
from padprint.cli._bundles import bundled
from padprint.cli._options import (
    CROPS,
    FILES,
    MODEL_HELP,
    NETWORK,
    Config,
    Crops,
    Files,
    Images,
    Model,
    Network,
    Padding,
    Photographs,
    Place,
    Report,
    Screen,
)
from padprint.cli._parse import Command, Group, Repeatable
from padprint.support.defaults import CROP
from padprint.support.version import __version__

app = typer.Typer(
    name="padprint",
    cls=Group,
    help="Measure what padding tells a convolutional network about position.",
    no_args_is_help=True,
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


app.command(epilog=_check.EPILOG, cls=Repeatable)(_check.check)


@app.command(
    epilog="Example: padprint measure torchvision:resnet18@DEFAULT photos/ --layers layer4 --output result",
    cls=Repeatable,
)
@bundled()
def measure(
    model: Model,
    images: Images,
    *,
    crops: Crops,
    photographs: Photographs,
    network: Network,
    padding: Padding = None,
    files: Files,
    screen: Screen,
) -> None:
    """Measure the padding pattern of a model's layers on images; runs under torchrun too."""
    from padprint.cli import _commands, _loading

    options = {**crops.keywords(), **photographs.keywords()}
    job = _loading.Job([(model, network.weights)], images, photographs, network, options, told=True)
    _commands.measure(job, padding, files.checked(), screen)


@app.command(
    cls=Repeatable,
    epilog="Examples: padprint compare torchvision:resnet18@DEFAULT photos/ --padding own reflect replicate randn | "
    "padprint compare photos/ --model torchvision:resnet18@DEFAULT --model torchvision:resnet34@DEFAULT | "
    "padprint compare torchvision:resnet18 photos/ --weights epoch1.pth --weights epoch90.pth",
)
@bundled()
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
        list[str] | None,
        typer.Option(
            "--model", metavar="MODEL", help="A model to compare; give it twice or more.", rich_help_panel=NETWORK
        ),
    ] = None,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="State dict; repeated, each is compared (checkpoints).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    padding: Annotated[
        list[str] | None,
        typer.Option(
            "--padding",
            metavar="SCHEMES",
            help='Schemes to swap in, one or several; "own": as it is.',
            rich_help_panel=NETWORK,
        ),
    ] = None,
    crops: Crops,
    photographs: Photographs,
    place: Place,
    files: Files,
    screen: Screen,
) -> None:
    """Compare paddings, models or checkpoints over the same crops, with paired differences."""
    from padprint.cli import _commands, _loading, _parse

    models, images = _parse.compared(arguments, model or [], checkpoints or [])
    job = _loading.Job(models, images, photographs, place, {**crops.keywords(), **photographs.keywords()}, told=True)
    _commands.compare(job, padding or (), files.checked(), screen)


app.command(epilog=_layers.EPILOG, cls=Command)(_layers.layers)


@app.command(
    epilog="Example: padprint inspect timm:tf_efficientnet_b0 --size 256x320 --output pads --report", cls=Repeatable
)
@bundled()
def inspect(
    model: Model,
    page: Annotated[
        str | None, typer.Argument(hidden=True, metavar="")
    ] = None,  # where --report took a file, before it was a flag
    *,
    size: Annotated[
        str,
        typer.Option(
            "--size",
            metavar="PX",
            help="Input size: one number, or one for each axis, as ROWSxCOLUMNS.",
            rich_help_panel=CROPS,
        ),
    ] = str(CROP),
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder for inspection.json.", rich_help_panel=FILES),
    ] = None,
    report: Report = False,
    config: Config = None,  # noqa: ARG001  # read before the command runs
    screen: Screen,
) -> None:
    """List every operator of a model that pads, how, and whether its stride divides evenly."""
    from padprint.cli import _commands, _parse

    if page is not None:
        raise typer.BadParameter(
            f"inspect takes one model, and {page!r} is one more; --report writes report.html into the folder of --output: "
            "--output DIR --report"
        )
    Files(output, report=report).checked()
    _commands.inspect(model, _parse.crop(size, "--size"), screen, output, report=report)


@app.command(epilog="Example: padprint report result --output report.html", cls=Command)
@bundled()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders that --output wrote.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="The HTML file.", rich_help_panel=FILES)
    ] = Path("report.html"),
    screen: Screen,
) -> None:
    """Write saved results as one HTML page that needs no network."""
    from padprint.cli import _commands

    _commands.report(folders, output, screen)


@app.command(epilog="Example: padprint demo --output padprint-demo", cls=Command)
@bundled()
def demo(
    output: Annotated[
        Path,
        typer.Option("--output", metavar="DIR", help="Folder for results and pictures.", rich_help_panel=FILES),
    ] = Path("padprint-demo"),
    *,
    screen: Screen,
) -> None:
    """Measure ImageNet's MobileNetV2 on a dozen photographs (under two minutes on two cores)."""
    from padprint.cli import _commands

    _commands.demo(output, screen)


app.command(epilog=_halo.EPILOG, cls=Repeatable)(_halo.halo)


def main() -> None:
    """Entry point of the ``padprint`` command."""
    app()
