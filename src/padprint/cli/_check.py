"""``padprint check``."""

# heavy imports wait until the command runs
from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from padprint.cli._bundles import bundled
from padprint.cli._options import CROPS, Config, Files, Mean, Model, Output, Report, Resize, Screen, Seed, Std, Weights
from padprint.support.defaults import CROP

EPILOG = "Examples: padprint check torchvision:resnet50 | padprint check mynet:make photos/ --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25"


@bundled()
def check(
    model: Model,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGES...]",
            help="A folder of images, or image files, of which a few are used. Default: synthetic scenes.",
            show_default=False,
        ),
    ] = None,
    *,
    size: Annotated[
        str,
        typer.Option("--size", metavar="PX", help="Input size: one number, or ROWSxCOLUMNS.", rich_help_panel=CROPS),
    ] = str(CROP),
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    resize_short_side: Resize = None,
    seed: Seed = 0,
    output: Output = None,
    report: Report = False,
    config: Config = None,  # noqa: ARG001  # read before the command runs
    screen: Screen,
) -> None:
    """Look at a network for the first time: what pads, how far that reaches, what it leaves, and what to do next.

    Takes less than a minute, on a few images or on synthetic scenes.
    """
    from padprint.cli import _commands, _parse, _show

    Files(output, report=report).checked()
    crop = _parse.crop(size, "--size")
    rgb = _parse.normalisation(mean, std)
    given = None if not images else images[0] if len(images) == 1 else images
    with _show.reporting(screen) as console:
        _commands.check_output(output, report=report)
        import torch

        from padprint.checkup import DOCUMENT_FILE, REPORT_FILE
        from padprint.checkup import check as work
        from padprint.network.loading import load_model
        from padprint.report.command import command_line
        from padprint.results.storage import MEASUREMENT

        torch.manual_seed(seed)  # random initial weights are the same in every run
        loaded = load_model(model, weights=weights)
        options = {"--weights": weights, "--mean": mean, "--std": std, "--resize-short-side": resize_short_side}
        arguments = [text for key, value in options.items() if value is not None for text in (key, str(value))]
        look = work(
            loaded.model,
            given,
            size=crop,
            mean=rgb[0],
            std=rgb[1],
            resize_short_side=resize_short_side,
            seed=seed,
            progress=_show.wants_progress(screen.quiet),
            name=model,
            arguments=arguments,
        )
        if look.measurement is not None:
            look.measurement.provenance["command"] = command_line(sys.argv[1:])
        if output is not None:
            look.save(output, report=report)
        if not screen.quiet:
            _show.lines(console, look.lines(console.width))
            if output is not None:
                names = [DOCUMENT_FILE, *(MEASUREMENT if look.measurement is not None else ())]
                written = [*names, *([REPORT_FILE] if report else [])]
                _show.lines(console, ["", f"wrote {output}/{', '.join(written)}"])
    if screen.json:
        _show.as_json(look.to_dict())
