"""How much must tiles overlap? `halo` measures what a network's output loses at a tile's border, and advises.

The way through: `advice` lets `running` run tiles of the `outputs` and sum errors by `distance` (`floors`: what statistics change); `output_halo`, `widths` and `promise` read halos from the
sums, `tiling` makes tiles of them and `tile_sizes` of other sizes, `result` holds all (`document` saves it, `text` and `plot` show it, `tools` and
`blending` tell it in other tools' units); `structure` needs no images; `verification` runs the tiles (`stitching`) and gives a `verdict`.

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint.support.lazy import loader

if TYPE_CHECKING:
    from padprint.overlap.advice import halo
    from padprint.overlap.frozen import frozen_statistics
    from padprint.overlap.output_halo import OutputHalo
    from padprint.overlap.result import Halo
    from padprint.overlap.saved import load
    from padprint.overlap.structure import Structural, structural
    from padprint.overlap.tile_sizes import Choice, choices
    from padprint.overlap.tiling import Tiling
    from padprint.overlap.tools import monai_arguments, units, weight_map
    from padprint.overlap.verdict import Verification
    from padprint.overlap.verification import verify
    from padprint.overlap.widths import PaddingHalo

_HOMES = {
    "Choice": "tile_sizes",
    "choices": "tile_sizes",
    "Structural": "structure",
    "structural": "structure",
    "frozen_statistics": "frozen",
    "halo": "advice",
    "Halo": "result",
    "OutputHalo": "output_halo",
    "PaddingHalo": "widths",
    "Tiling": "tiling",
    "Verification": "verdict",
    "load": "saved",
    "monai_arguments": "tools",
    "units": "tools",
    "verify": "verification",
    "weight_map": "tools",
}

__all__ = [
    "Choice",
    "Halo",
    "OutputHalo",
    "PaddingHalo",
    "Structural",
    "Tiling",
    "Verification",
    "choices",
    "frozen_statistics",
    "halo",
    "load",
    "monai_arguments",
    "structural",
    "units",
    "verify",
    "weight_map",
]


__getattr__ = loader(__name__, _HOMES)
