"""``padprint layers``: geometry alone, without images."""

# heavy imports wait until the command runs
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from padprint.cli._bundles import bundled
from padprint.cli._options import CROPS, Crop, Layers, Margin, Model, Screen, Weights
from padprint.support.defaults import CROP

if TYPE_CHECKING:
    from padprint.geometry.layer import Geometry
    from padprint.geometry.receptive import Field

EPILOG = "Example: padprint layers torchvision:resnet50 --crop 224 --field layer4:0,0"

_FIELD = re.compile(r"(?P<layer>[^:]+)(?::(?P<cell>-?\d+(,-?\d+){0,2}))?")

Wanted = list[tuple[str, tuple[int, ...] | None]]


@bundled()
def layers(
    model: Model,
    *,
    layers: Layers = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="LAYER[:ROW,COL]",
            help="Tell the box of input pixels that a cell of a layer can see, the middle one by default; repeatable.",
            rich_help_panel=CROPS,
        ),
    ] = None,
    crop: Crop = str(CROP),
    margin: Margin = None,
    weights: Weights = None,
    screen: Screen,
) -> None:
    """List a model's layers: stride, receptive field, how far padding reaches into each, and the smallest image."""
    from padprint.cli import _parse, _show

    names, size, around = _parse.layers(layers), _parse.crop(crop), _parse.margin(margin)
    if isinstance(around, str):
        raise typer.BadParameter(f"{around!r} is found on images; give a number of px", param_hint="--margin")
    wanted = _wanted(field or [])
    if wanted:
        named = [name for name, _ in wanted]
        names = named if names == "auto" else [*([names] if isinstance(names, str) else names), *named]
    with _show.reporting(screen) as console:
        from padprint.cli._loading import warn_uncalibrated
        from padprint.geometry import text
        from padprint.geometry.tracing import trace
        from padprint.network.example import input_channels
        from padprint.network.loading import load_model
        from padprint.support.progress import phase

        with phase("loading"):
            loaded = load_model(model, weights=weights)
        warn_uncalibrated(loaded)
        geometry = trace(loaded.model, layers=names, crop=size, channels=input_channels(loaded.model))
        fields = [_named(geometry, name, cell) for name, cell in wanted]
        if not (screen.json or screen.quiet):
            _show.table(console, *text.table_of(geometry), text.LESS)
            _show.lines(console, [*map(str, fields), *text.remarks(geometry, around)])
    if screen.json:
        given = {} if around is None else {"with_margin": text.with_margin(geometry, around)}
        _show.as_json(geometry.to_dict() | given | {"fields": [each.to_dict() for each in fields]})


def _named(geometry: Geometry, name: str, cell: tuple[int, ...] | None) -> Field:
    """The field of a layer's cell.

    Raises:
        LayerError: the name is that of several layers, or of several maps of one; the layer has no such cell, or no fields.
    """
    from padprint.errors import LayerError

    if name not in geometry:
        raise LayerError(f"--field takes the name of one map, not {name!r}; there are {', '.join(geometry)}")
    layer = geometry[name]
    return layer.field(layer.middle if cell is None else cell)


def _wanted(texts: list[str]) -> Wanted:
    """Layers, each with a cell or None."""
    cells: Wanted = []
    for text in texts:
        match = _FIELD.fullmatch(text)
        if match is None:
            raise typer.BadParameter(
                f"{text!r} is not a layer, or one of its cells such as layer4:0,-1", param_hint="--field"
            )
        cell = match["cell"]
        cells.append((match["layer"], None if cell is None else tuple(map(int, cell.split(",")))))
    return cells
