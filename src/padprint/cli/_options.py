"""Options that commands share: each with its help, and in the bundles that commands take (see `padprint.cli._bundles`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from padprint.cli import _parse
from padprint.support.defaults import BATCH_SIZE, CROP, CROPS_PER_IMAGE, GROUPS, SEED

MODEL_HELP = (
    "torchvision:NAME or torchvision:NAME@WEIGHTS, timm:NAME, package.module:factory, or FILE.pt2. A factory and an exported "
    "program are programs, which run: name only what you trust."
)

# headings in --help
CROPS = "Layers, crops and statistics"
PHOTOGRAPHS = "Images"
NETWORK = "Network"
FILES = "Files"
SCREEN = "On the screen"

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
        help="Names or globs, separated by commas; repeatable. Default: the end of each stage, the last layer of each stride.",
        rich_help_panel=CROPS,
    ),
]
Crop = Annotated[
    str,
    typer.Option(
        "--crop",
        metavar="PX",
        help="Crop size: one number, or one for each axis, as ROWSxCOLUMNS.",
        rich_help_panel=CROPS,
    ),
]
CropsPerImage = Annotated[
    int,
    typer.Option("--crops-per-image", metavar="N", min=1, help="Crops drawn from each image.", rich_help_panel=CROPS),
]
Groups = Annotated[
    int,
    typer.Option("--groups", metavar="N", min=2, help="Groups of images for the intervals.", rich_help_panel=CROPS),
]
SceneMargin = Annotated[
    str | None,
    typer.Option(
        "--margin",
        metavar="PX",
        help='Scene kept around a crop. Default: what the layers need; less makes the result approximate. "effective": as much as matters.',
        rich_help_panel=CROPS,
    ),
]
Margin = Annotated[
    str | None,
    typer.Option(
        "--margin",
        metavar="PX",
        help="Scene kept around a crop. Default: what the layers need; less makes the result approximate.",
        rich_help_panel=CROPS,
    ),
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", metavar="N", min=1, help="Crops per forward pass.", rich_help_panel=NETWORK)
]
Memory = Annotated[
    float | None,
    typer.Option(
        "--memory",
        metavar="GB",
        help="Memory that a pass may take: canvases and batches are cut to it. Default: what is free, to which nothing is cut.",
        rich_help_panel=NETWORK,
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the crop positions.", rich_help_panel=CROPS)]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="State dict to load: .pth (tensors only) or .safetensors.",
        rich_help_panel=NETWORK,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="R,G,B",
        help="Channel means for normalisation, or imagenet, half or none for mean and deviation. Default: the model's own.",
        rich_help_panel=PHOTOGRAPHS,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        "--std",
        metavar="R,G,B",
        help="Channel deviations, or one of these names. Default: the model's own, or that of --mean.",
        rich_help_panel=PHOTOGRAPHS,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--images-limit", metavar="N", min=1, help="Use only the first images.", rich_help_panel=PHOTOGRAPHS),
]
Resize = Annotated[
    int | None,
    typer.Option(
        "--resize-short-side",
        metavar="PX",
        min=1,
        help="Resize images so that the short side has PX.",
        rich_help_panel=PHOTOGRAPHS,
    ),
]
Megapixels = Annotated[
    float | None,
    typer.Option(
        "--max-megapixels",
        metavar="N",
        min=0,
        help="Refuse images of more pixels, in millions, before or after resizing. Default: 160.",
        rich_help_panel=PHOTOGRAPHS,
    ),
]
Axes = Annotated[
    int | None,
    typer.Option(
        "--axes",
        metavar="N",
        min=1,
        max=3,
        help="Space axes of an image, for arrays and stacks of pages, which do not say it: 1 waveforms, 2 pictures, 3 volumes.",
        rich_help_panel=PHOTOGRAPHS,
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        "--channels",
        metavar="LIST",
        help="Channels to read, in this order, by number from 0 or by name: 0,2 or Z,N,E. Default: all.",
        rich_help_panel=PHOTOGRAPHS,
    ),
]
SampleRate = Annotated[
    float | None,
    typer.Option(
        "--sample-rate",
        metavar="HZ",
        min=0,
        help="Samples per second, for files that do not say it; times are then told in ms.",
        rich_help_panel=PHOTOGRAPHS,
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        "--spacing",
        metavar="MM",
        help="Distance of cells, mm: one number, or one for each axis such as 3,1,1. Default: the files' own.",
        rich_help_panel=PHOTOGRAPHS,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Fail on an image that cannot be used, do not skip and count it.",
        rich_help_panel=PHOTOGRAPHS,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="Where to run, for example cpu or cuda:0.", rich_help_panel=NETWORK),
]
Calibrate = Annotated[
    int,
    typer.Option(
        "--calibrate",
        min=0,
        metavar="N",
        help="Calibrate BatchNorm on N images first (untrained nets).",
        rich_help_panel=NETWORK,
    ),
]
Padding = Annotated[
    str | None,
    typer.Option(
        "--padding",
        metavar="SCHEME",
        help="Swap this scheme in, such as reflect or constant:value=0.5. Default: the model's own padding.",
        rich_help_panel=NETWORK,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="DIR",
        help="Folder for the result files; read them with padprint.load.",
        rich_help_panel=FILES,
    ),
]
Plots = Annotated[
    bool,
    typer.Option("--plots", help="Write a picture of each layer into the output folder.", rich_help_panel=FILES),
]
Report = Annotated[
    bool,
    typer.Option("--report", help="Write report.html into the output folder.", rich_help_panel=FILES),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file of arguments, as a run writes it into its output folder. What is given beside it comes first.",
        rich_help_panel=FILES,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON, and nothing else, on standard output.",
        rich_help_panel=SCREEN,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        help="No table, no progress bar; errors and warnings stay.",
        rich_help_panel=SCREEN,
    ),
]
Wide = Annotated[
    bool,
    typer.Option("--wide", help="Whole tables, however wide.", rich_help_panel=SCREEN),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        help="Say what is done and how long it takes. PADPRINT_LOG=debug says more.",
        rich_help_panel=SCREEN,
    ),
]


@dataclass(frozen=True)
class Screen:
    """What is shown, and how."""

    json: Json = False
    quiet: Quiet = False
    wide: Wide = False
    verbose: Verbose = False


@dataclass(frozen=True)
class Files:
    """What is written."""

    output: Output = None
    plots: Plots = False
    report: Report = False
    config: Config = None

    def checked(self) -> Files:
        """These.

        Raises:
            typer.BadParameter: pictures or a report are wanted and there is no folder.
        """
        for option, wanted in (("--plots", self.plots), ("--report", self.report)):
            if wanted and self.output is None:
                raise typer.BadParameter(f"{option} needs --output, the folder to write to", param_hint=option)
        return self


@dataclass(frozen=True)
class Sizes:
    """Which images of those given, and how large."""

    images_limit: Limit = None
    resize_short_side: Resize = None
    max_megapixels: Megapixels = None
    strict: Strict = False

    def keywords(self) -> dict[str, Any]:
        """Of `padprint.measure` and everything else on images."""
        return {
            "limit": self.images_limit,
            "resize_short_side": self.resize_short_side,
            "max_megapixels": self.max_megapixels,
            "strict": self.strict,
        }


@dataclass(frozen=True)
class Photographs(Sizes):
    """Which images of those given, how large, how read and how normalised."""

    mean: Mean = None
    std: Std = None
    axes: Axes = None
    channels: Channels = None
    sample_rate: SampleRate = None
    spacing: Spacing = None

    @property
    def known(self) -> dict[str, Any]:
        """What was said of the images that units are told in."""
        said = {"sample_rate": self.sample_rate, "spacing": _parse.spacing(self.spacing)}
        return {name: value for name, value in said.items() if value is not None}

    def files(self, paths: Sequence[Path]) -> Any:
        """One folder or file, or a list of files, with how they are read where that was said.

        Raises:
            ImagesError: it makes no sense.
        """
        given = paths[0] if len(paths) == 1 else list(paths)
        reading = self.axes, _parse.chosen(self.channels), self.sample_rate, _parse.spacing(self.spacing)
        if reading == (None,) * 4:
            return given
        from padprint.images.contents import Files  # imports NumPy

        return Files(given, *reading)

    @property
    def rgb(self) -> tuple[_parse.Channels | None, _parse.Channels | None]:
        """Mean and deviation, where they were given.

        Raises:
            typer.BadParameter: they cannot be read.
        """
        return _parse.normalisation(self.mean, self.std)


@dataclass(frozen=True)
class Place:
    """Where networks run, and what their BatchNorm saw."""

    calibrate: Calibrate = 0
    device: Device = None


@dataclass(frozen=True)
class Network(Place):
    """The network's weights, and where it runs."""

    weights: Weights = None


@dataclass(frozen=True)
class Crops:
    """Layers, crops and statistics."""

    layers: Layers = None
    crop: Crop = str(CROP)
    crops_per_image: CropsPerImage = CROPS_PER_IMAGE
    groups: Groups = GROUPS
    margin: SceneMargin = None
    seed: Seed = SEED
    batch_size: BatchSize = BATCH_SIZE
    memory: Memory = None

    def keywords(self) -> dict[str, Any]:
        """Of `padprint.measure`.

        Raises:
            typer.BadParameter: a size that is none.
        """
        return {
            "layers": _parse.layers(self.layers),
            "crop": _parse.crop(self.crop),
            "crops_per_image": self.crops_per_image,
            "groups": self.groups,
            "margin": _parse.margin(self.margin),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "memory": self.memory,
        }
