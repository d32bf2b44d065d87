"""``padprint baseline fconv``: rook, quadrants, red-green."""

# heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padprint.cli._bundles import bundled
from padprint.cli._options import (
    FILES,
    BatchSize,
    Device,
    Images,
    Limit,
    Mean,
    Megapixels,
    Model,
    Network,
    Photographs,
    Screen,
    Std,
    Strict,
)
from padprint.cli._parse import Command, Group

if TYPE_CHECKING:
    from rich.console import Console

    from padprint.baselines.fconv.quadrants import QuadrantsResult
    from padprint.baselines.fconv.trials import Trials

app = typer.Typer(
    cls=Group,
    name="fconv",
    help="F-Conv's tests: does a convolutional network know where things are?",
    no_args_is_help=True,
)

_Variants = Annotated[
    list[str] | None,
    typer.Option(
        "--padding",
        metavar="SCHEMES",
        help='Schemes to train with, one or several: "none" trains with valid, "zeros" with same, "full" with full convolutions; '
        "SCHEME@CELLS for so many cells on each side.",
        show_default=False,
    ),
]
_Seeds = typer.Option("--seeds", min=1, help="Networks trained with each scheme: seeds 0, 1, ...")
_Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="DIR",
        help="Folder that keeps each training; the same command goes on there.",
        rich_help_panel=FILES,
    ),
]


@app.command(epilog="Example: padprint baseline fconv rook --padding zeros none full --inset 2", cls=Command)
@bundled()
def rook(
    *,
    padding: _Variants = None,
    seeds: Annotated[int, _Seeds] = 5,
    inset: Annotated[
        int, typer.Option("--inset", min=0, metavar="PX", help="Between the figure and the image's sides.")
    ] = 0,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the two images.")] = 100,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate.")] = 0.1,
    momentum: Annotated[float, typer.Option("--momentum", help="Momentum.")] = 0.9,
    output: _Output = None,
    screen: Screen,
) -> None:
    """Train one convolution to tell in which of two corners a figure is."""
    from padprint.cli import _show

    with _show.reporting(screen) as console:
        from padprint.baselines.fconv import rook as test

        training = {"epochs": epochs, "lr": lr, "momentum": momentum}
        result = test.rook(
            padding or test.VARIANTS,
            seeds=range(seeds),
            inset=inset,
            folder=output,
            progress=_show.wants_progress(screen.quiet),
            **training,  # type: ignore[arg-type]
        )
        _shown(console, result, screen)
    if screen.json:
        _show.as_json(result.to_dict())


@app.command("red-green", epilog="Example: padprint baseline fconv red-green --padding zeros full --leaky", cls=Command)
@bundled()
def red_green(
    *,
    padding: _Variants = None,
    seeds: Annotated[int, _Seeds] = 10,
    leaky: Annotated[
        bool, typer.Option("--leaky", help="The published protocol: validate and test on training images.")
    ] = False,
    train: Annotated[int, typer.Option("--train", min=1, help="Training images.")] = 2000,
    validation: Annotated[int, typer.Option("--validation", min=1, help="Validation images.")] = 1000,
    test: Annotated[int, typer.Option("--test", min=1, help="Images in each test set.")] = 1000,
    data_seed: Annotated[int, typer.Option("--data-seed", min=0, help="Seed of the images.")] = 1988,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training images, at most.")] = 50,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images in one step.")] = 200,
    patience: Annotated[int, typer.Option("--patience", min=0, help="Epochs without progress that are borne.")] = 8,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate of Adadelta.")] = 1.0,
    rho: Annotated[float, typer.Option("--rho", help="Decay of Adadelta's averages.")] = 0.9,
    eps: Annotated[float, typer.Option("--eps", help="Adadelta's least step.")] = 1e-6,
    weight_decay: Annotated[float, typer.Option("--weight-decay", help="Weight decay.")] = 5e-5,
    output: _Output = None,
    device: Device = None,
    screen: Screen,
) -> None:
    """Train a network with each padding scheme on a task that location would solve, and test it where that misleads."""
    from padprint.cli import _show

    with _show.reporting(screen) as console:
        from padprint.baselines.fconv import red_green as home

        settings = home.RedGreenSettings(
            train, validation, test, leaky, data_seed, epochs, batch_size, patience, lr, rho, eps, weight_decay
        )
        result = home.red_green(
            padding or home.VARIANTS,
            seeds=range(seeds),
            settings=settings,
            folder=output,
            device=device,
            progress=_show.wants_progress(screen.quiet),
        )
        _shown(console, result, screen)
    if screen.json:
        _show.as_json(result.to_dict())


@app.command(cls=Command, epilog="Example: padprint baseline fconv quadrants torchvision:mobilenet_v2@DEFAULT photos/")
@bundled()
def quadrants(
    model: Model,
    images: Images,
    *,
    borders: Annotated[
        str, typer.Option("--borders", metavar="PX", help="Empty px around the canvas, separated by commas.")
    ] = "0,16,32,64,128",
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="NAME", help="Whose maps to read. Default: the last one with maps.")
    ] = None,
    train_backbone: Annotated[
        bool, typer.Option("--train-backbone", help="Train a copy of the whole network, not the classifier alone.")
    ] = False,
    leaky: Annotated[
        bool, typer.Option("--leaky", help="The published protocol: train, validate and test on the same images.")
    ] = False,
    folds: Annotated[int, typer.Option("--folds", min=3, help="Parts of the images; each is tested once.")] = 5,
    crop: Annotated[int, typer.Option("--crop", min=1, metavar="PX", help="Side of the middle that is shown.")] = 224,
    resize_short_side: Annotated[
        int, typer.Option("--resize-short-side", metavar="PX", min=1, help="Short side of images, before.")
    ] = 256,
    picture: Annotated[int, typer.Option("--picture", min=1, metavar="PX", help="Side it is shrunk to.")] = 56,
    canvas: Annotated[int, typer.Option("--canvas", min=2, metavar="PX", help="Side of the canvas.")] = 120,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training images, at most.")] = 30,
    training_batch_size: Annotated[
        int, typer.Option("--training-batch-size", min=1, help="Canvases in one step of training.")
    ] = 8,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate.")] = 1e-3,
    momentum: Annotated[float, typer.Option("--momentum", help="Momentum.")] = 0.9,
    nesterov: Annotated[bool, typer.Option(help="Nesterov's momentum.")] = True,
    weight_decay: Annotated[float, typer.Option("--weight-decay", help="Weight decay.")] = 5e-5,
    patience: Annotated[int, typer.Option("--patience", min=0, help="Epochs without progress before lr falls.")] = 5,
    least_lr: Annotated[float, typer.Option("--least-lr", help="Learning rate at which training ends.")] = 1e-6,
    batch_size: BatchSize = 16,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of folds, initial weights and order.")] = 0,
    mean: Mean = None,
    std: Std = None,
    images_limit: Limit = None,
    max_megapixels: Megapixels = None,
    strict: Strict = False,
    network: Network,
    screen: Screen,
) -> None:
    """Tell the corner that a picture lies in from a model's global maxima, the farther from the border the harder."""
    from padprint.cli import _loading, _show

    photographs = Photographs(images_limit, resize_short_side, max_megapixels, strict, mean, std)
    options = {"seed": seed, "crop": (crop, crop)}
    job = _loading.Job([(model, network.weights)], images, photographs, network, options, whole=True)
    widths = _numbers(borders, "--borders")
    with _show.reporting(screen) as console:
        from padprint.baselines.fconv.canvases import CanvasSettings
        from padprint.baselines.fconv.location import LocationSettings
        from padprint.baselines.fconv.quadrants import quadrants as work

        canvases = CanvasSettings(resize_short_side, crop, picture, canvas)
        training = LocationSettings(
            epochs, training_batch_size, lr, momentum, nesterov, weight_decay, patience, least_lr
        )
        loaded = _loading.load(job)
        result = work(
            loaded.model.model,
            loaded.images,
            borders=widths,
            layer=layer,
            train_backbone=train_backbone,
            leaky=leaky,
            folds=folds,
            canvases=canvases,
            training=training,
            batch_size=batch_size,
            seed=seed,
            limit=images_limit,
            strict=strict,
            max_megapixels=max_megapixels,
            device=network.device,
            progress=_show.wants_progress(screen.quiet),
            **loaded.normalisation,
        )
        _shown(console, result, screen)
    if screen.json:
        _show.as_json(result.to_dict())


def _numbers(text: str, option: str) -> Sequence[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r} is not a list of px such as 0,16,32", param_hint=option)
    return [int(part) for part in parts]


def _shown(console: Console, result: Trials | QuadrantsResult, screen: Screen) -> None:
    from padprint.cli import _show

    if not screen.quiet:
        _show.lines(console, str(result).splitlines())
