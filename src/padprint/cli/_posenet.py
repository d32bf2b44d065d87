"""``padprint baseline posenet``."""

# heavy imports wait until the command runs
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padprint.cli._bundles import bundled
from padprint.cli._options import (
    FILES,
    PHOTOGRAPHS,
    BatchSize,
    Config,
    Crop,
    Images,
    Layers,
    Model,
    Network,
    Photographs,
    SceneMargin,
    Screen,
)
from padprint.support.defaults import CROP

if TYPE_CHECKING:
    from padprint.cli._loading import Job

_Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", help="Folder for the result, posenet.json.", rich_help_panel=FILES),
]

EPILOG = (
    "Examples: padprint baseline posenet torchvision:vgg16@DEFAULT train/ --test-images test/ | "
    "padprint baseline posenet torchvision:mobilenet_v2@DEFAULT photos/ --views crops --normalise"
)


@bundled()
def posenet(
    model: Model,
    images: Images,
    *,
    test_images: Annotated[
        list[Path] | None,
        typer.Option("--test-images", metavar="PATH", help="Folder or file to test on; repeatable for files."),
    ] = None,
    test_share: Annotated[
        float, typer.Option("--test-share", help="Without --test-images: share of images kept for testing.")
    ] = 0.25,
    views: Annotated[
        str,
        typer.Option("--views", metavar="VIEWS", help='"whole" images, resized, or "crops", which allow all controls.'),
    ] = "whole",
    sources: Annotated[
        str | None,
        typer.Option("--sources", metavar="NAMES", help="Out of padded,optimal,random,raw,constant. Default: all."),
    ] = None,
    patterns: Annotated[
        str, typer.Option("--patterns", metavar="NAMES", help="What is to be drawn, out of H,V,G,HS,VS.")
    ] = "H,V,G,HS,VS",
    layers: Layers = None,
    crop: Crop = str(CROP),
    crops_per_image: Annotated[
        int | None, typer.Option("--crops-per-image", min=1, help="Crops drawn from each image. Default: 4.")
    ] = None,
    margin: SceneMargin = None,
    batch_size: BatchSize = 16,
    feat_size: Annotated[int, typer.Option("--feat-size", min=1, help="Features are resized to so many cells.")] = 28,
    kernel: Annotated[int, typer.Option("--kernel", min=1, help="Kernel of the readout, cells.")] = 3,
    readout_padding: Annotated[int, typer.Option("--readout-padding", min=0, help="Padding of the readout.")] = 0,
    depth: Annotated[int, typer.Option("--depth", min=1, help="Convolutions of the readout.")] = 1,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training images.")] = 15,
    drop_epoch: Annotated[
        int, typer.Option("--drop-epoch", min=1, help="Epoch from which on the learning rate is a tenth.")
    ] = 10,
    readout_batch_size: Annotated[
        int, typer.Option("--readout-batch-size", min=1, help="Images in one step of the readout's training.")
    ] = 32,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate.")] = 0.1,
    momentum: Annotated[float, typer.Option("--momentum", help="Momentum.")] = 0.9,
    weight_decay: Annotated[float, typer.Option("--weight-decay", help="Weight decay.")] = 1e-4,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of crops, split and readouts.")] = 0,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Trainings of every readout; intervals hold their spread.")
    ] = 1,
    normalise: Annotated[
        bool,
        typer.Option(
            "--normalise",
            help="Normalise images as the model wants them; the authors do not, and --mean and --std say how else.",
            rich_help_panel=PHOTOGRAPHS,
        ),
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="Keep features in half precision: half the memory.")] = False,
    photographs: Photographs,
    network: Network,
    output: _Output = None,
    config: Config = None,  # noqa: ARG001  # read before the command runs
    screen: Screen,
) -> None:
    """Train PosENet's readout of position on a model's features, and on controls that padding cannot reach."""
    from padprint.cli import _loading, _parse

    if not normalise and photographs.rgb == (None, None):
        photographs = replace(photographs, mean="none")
    options: dict[str, Any] = {
        "layers": _parse.layers(layers),
        "crop": _parse.crop(crop),
        "batch_size": batch_size,
        "seed": seed,
        **photographs.keywords(),
    }
    of_crops = {
        "crops_per_image": crops_per_image,
        "margin": _parse.margin(margin),
        "resize_short_side": options.pop("resize_short_side"),
    }
    given = {key: value for key, value in of_crops.items() if value is not None}
    if given and views == "whole":
        named = ", ".join(f"--{key.replace('_', '-')}" for key in given)
        raise typer.BadParameter(f"{named} is for crops: add --views crops", param_hint="--views")
    training = {
        "feat_size": feat_size,
        "kernel": kernel,
        "padding": readout_padding,
        "depth": depth,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "batch_size": readout_batch_size,
        "epochs": epochs,
        "drops": (drop_epoch,),
    }
    wanted = {
        "test_images": test_images,
        "test_share": test_share,
        "views": views,
        "sources": None if sources is None else _names(sources),
        "patterns": _names(patterns),
        "seeds": seeds,
    }
    job = _loading.Job(
        [(model, network.weights)], images, photographs, network, {**options, **given}, whole=views == "whole"
    )
    _run(job, training, wanted, half, output, screen)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _run(
    job: Job, training: dict[str, Any], wanted: dict[str, Any], half: bool, output: Path | None, screen: Screen
) -> None:
    """Load, train, write and show."""
    from padprint.cli import _commands, _loading, _show

    with _show.reporting(screen) as console:
        _commands.check_output(output)
        import torch

        from padprint.baselines import ReadoutSettings
        from padprint.baselines import posenet as work

        settings = ReadoutSettings(**training)
        loaded = _loading.load(job)
        tests = wanted.pop("test_images")
        result = work(
            loaded.model.model,
            loaded.images,
            test_images=tests[0] if tests and len(tests) == 1 else tests or None,
            settings=settings,
            storage=torch.float16 if half else torch.float32,
            name=loaded.model.name,
            **loaded.normalisation,
            device=job.place.device,
            progress=_show.wants_progress(screen.quiet),
            **wanted,
            **job.options,
        )
        if output is not None:
            result.save(output)
        if not screen.quiet:
            _show.lines(console, str(result).splitlines())
            _show.lines(console, [] if output is None else [f"wrote {output}/posenet.json"])
    if screen.json:
        _show.as_json(result.to_dict())
