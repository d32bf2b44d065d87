"""``padprint baseline``: older metrics of position and border effects."""

# heavy imports wait until a command runs
from __future__ import annotations

import typer

from padprint.cli import _fconv, _metrics, _posenet
from padprint.cli._parse import Command, Group, Repeatable

app = typer.Typer(
    cls=Group,
    name="baseline",
    help="Older metrics of position and border effects, with the controls they lack.",
    no_args_is_help=True,
)

app.command(epilog=_posenet.EPILOG, cls=Repeatable)(_posenet.posenet)
app.add_typer(_fconv.app)

_EXAMPLE = "torchvision:mobilenet_v2@DEFAULT photos/"
app.command(epilog=f"Example: padprint baseline probe {_EXAMPLE} --layers features.14", cls=Command)(_metrics.probe)
app.command(epilog=f"Example: padprint baseline ring {_EXAMPLE} --padding own reflect replicate", cls=Command)(
    _metrics.ring
)
app.command(epilog=f"Example: padprint baseline shift {_EXAMPLE}", cls=Command)(_metrics.shift)
app.command(epilog=f"Example: padprint baseline tiles {_EXAMPLE} --crop 256", cls=Command)(_metrics.tiles)
app.command(epilog="Example: padprint baseline constant timm:vit_small_patch16_224 photos/", cls=Command)(
    _metrics.constant
)
app.command(epilog="Example: padprint baseline labels mypackage.models:segmenter photos/ --window 473", cls=Command)(
    _metrics.labels
)
