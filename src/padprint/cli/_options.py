"""Options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MODEL_HELP = (
    "torchvision:NAME or torchvision:NAME@WEIGHTS, timm:NAME, package.module:factory, or FILE.pt2. A factory and an exported "
    "program are programs, which run: name only what you trust."
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)]
Images = Annotated[
    list[Path],
    typer.Argument(metavar="IMAGES...", help="A folder of images, or image files.", show_default=False),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layers",
        metavar="NAMES",
        help="Names or globs, separated by commas; repeatable. Default: the last layer at each resolution.",
    ),
]
Crop = Annotated[str, typer.Option("--crop", metavar="PX", help="Crop size: one number, or ROWSxCOLUMNS.")]
CropsPerImage = Annotated[int, typer.Option("--crops-per-image", min=1, help="Crops drawn from each image.")]
Groups = Annotated[int, typer.Option("--groups", min=2, help="Groups of images for the intervals.")]
Margin = Annotated[
    int | None,
    typer.Option(
        "--margin",
        metavar="PX",
        min=0,
        help="Scene kept around a crop. Default: what the layers need; less makes the result approximate.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Crops per forward pass.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the crop positions.")]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="State dict to load: .pth (tensors only) or .safetensors."),
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", metavar="R,G,B", help="Channel means for normalisation. Default: the model's own."),
]
Std = Annotated[
    str | None,
    typer.Option("--std", metavar="R,G,B", help="Channel deviations for normalisation. Default: the model's."),
]
Limit = Annotated[
    int | None,
    typer.Option("--images-limit", min=1, help="Use only the first images."),
]
Resize = Annotated[
    int | None,
    typer.Option("--resize-short-side", metavar="PX", min=1, help="Resize images so that the short side has PX."),
]
Megapixels = Annotated[
    float | None,
    typer.Option(
        "--max-megapixels",
        metavar="N",
        min=0,
        help="Refuse images of more pixels, in millions, before or after resizing. Default: 160.",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Fail on an image that cannot be used, do not skip and count it.")
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="Where to run, for example cpu or cuda:0."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", help="Folder for the result files; read them with padprint.load."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No table, no progress bar; errors and warnings stay.")]
Calibrate = Annotated[
    int,
    typer.Option("--calibrate", min=0, metavar="N", help="Calibrate BatchNorm on N images first (untrained nets)."),
]
Padding = Annotated[
    str | None,
    typer.Option(
        "--padding",
        metavar="SCHEME",
        help="Swap this scheme in, such as reflect or constant:value=0.5. Default: the model's own padding.",
    ),
]
Plots = Annotated[bool, typer.Option("--plots", help="Write a picture of each layer into the output folder.")]
Report = Annotated[bool, typer.Option("--report", help="Write report.html into the output folder.")]
