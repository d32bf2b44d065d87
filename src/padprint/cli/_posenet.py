"""``padprint baseline posenet``."""

# heavy imports wait until the command runs
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from padprint.cli._options import (
    BatchSize,
    Calibrate,
    Crop,
    Device,
    Images,
    Json,
    Layers,
    Limit,
    Margin,
    Megapixels,
    Model,
    Quiet,
    Resize,
    Strict,
    Weights,
)

_Mean = Annotated[
    str | None, typer.Option("--mean", metavar="R,G,B", help="Channel means for normalisation. Default: 0.")
]
_Std = Annotated[
    str | None, typer.Option("--std", metavar="R,G,B", help="Channel deviations for normalisation. Default: 1.")
]
_Output = Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Folder for the result, posenet.json.")]

EPILOG = (
    "Examples: padprint baseline posenet torchvision:vgg16@DEFAULT train/ --test-images test/ | "
    "padprint baseline posenet torchvision:mobilenet_v2@DEFAULT photos/ --views crops --normalise"
)


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
    crop: Crop = "224",
    crops_per_image: Annotated[
        int | None, typer.Option("--crops-per-image", min=1, help="Crops drawn from each image. Default: 4.")
    ] = None,
    margin: Margin = None,
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
    weights: Weights = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Normalise images as the model wants them; the authors do not.")
    ] = False,
    mean: _Mean = None,
    std: _Std = None,
    images_limit: Limit = None,
    resize_short_side: Resize = None,
    max_megapixels: Megapixels = None,
    strict: Strict = False,
    half: Annotated[bool, typer.Option("--half", help="Keep features in half precision: half the memory.")] = False,
    device: Device = None,
    calibrate: Calibrate = 0,
    output: _Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train PosENet's readout of position on a model's features, and on controls that padding cannot reach."""
    from padprint.cli import _parse

    rgb = _parse.channels(mean, "--mean"), _parse.channels(std, "--std")
    if not normalise and rgb == (None, None):
        rgb = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    options: dict[str, Any] = {
        "layers": _parse.layers(layers),
        "crop": _parse.crop(crop),
        "batch_size": batch_size,
        "seed": seed,
        "limit": images_limit,
        "strict": strict,
        **_parse.limit_of(max_megapixels),
    }
    of_crops = {"crops_per_image": crops_per_image, "margin": margin, "resize_short_side": resize_short_side}
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
    }
    _run(
        model,
        weights,
        images,
        rgb,
        device,
        calibrate,
        {**options, **given},
        training,
        wanted,
        half,
        output,
        json,
        quiet,
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _run(
    model: str,
    weights: Path | None,
    images: list[Path],
    rgb: tuple[tuple[float, ...] | None, tuple[float, ...] | None],
    device: str | None,
    calibrate: int,
    options: dict[str, Any],
    training: dict[str, Any],
    wanted: dict[str, Any],
    half: bool,
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Load, train, write and show."""
    from padprint.cli import _commands, _loading, _show

    with _show.reporting() as console:
        _commands.check_output(output)
        import torch

        from padprint.baselines import ReadoutSettings
        from padprint.baselines import posenet as work

        settings = ReadoutSettings(**training)
        loaded, given, normalisation = _loading.one_model(model, weights, images, rgb, calibrate, options)
        tests = wanted.pop("test_images")
        result = work(
            loaded.model,
            given,
            test_images=tests[0] if tests and len(tests) == 1 else tests or None,
            settings=settings,
            storage=torch.float16 if half else torch.float32,
            name=loaded.name,
            **normalisation,
            device=device,
            progress=_show.wants_progress(quiet),
            **wanted,
            **options,
        )
        if output is not None:
            result.save(output)
        if not quiet:
            _show.lines(console, str(result).splitlines())
            _show.lines(console, [] if output is None else [f"wrote {output}/posenet.json"])
    if as_json:
        _show.as_json(result.to_dict())
