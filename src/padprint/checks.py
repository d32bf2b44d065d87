"""Whether F(x; *) is what it claims to be: the self-check before a measurement, and the residual of a short margin."""

from __future__ import annotations

from collections.abc import Collection
from math import ceil, inf, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.errors import ModelError
from padprint.forwards import Forwards, window
from padprint.geometry import Sides
from padprint.plan import Canvas, CropPlan

TOLERANCE = 0.3
"""Relative change of F(x; *) between two places that is still rounding, in roots of machine epsilon: 1e-4 in float32."""


def numeric_floor(forwards: Forwards, plan: CropPlan, image: Tensor, exempt: Collection[str]) -> dict[str, float]:
    """One crop seen from two places of a canvas must give the same F(x; *), to rounding error.

    The second canvas is the first with strips added around it, of unequal widths and with made-up content: neither
    where the crop lies nor what lies beyond the margin may matter.

    Args:
        forwards: the network.
        plan: how scenes are cut.
        image: the first scene; where it is too small for a crop the result is empty.
        exempt: layers whose margin is below their reach. What lies beyond does matter to them, and `change_when_grown`
            says how much; they get the largest figure of the others.

    Returns:
        Relative rms change of F(x; *) by layer.

    Raises:
        ModelError: where or in what the crop lies does matter for some layer.
    """
    canvases = plan.canvases((image.shape[-2], image.shape[-1]), 0)
    if not canvases:
        return {}
    tight = forwards.placed(_around(image, canvases[0], plan))
    py, px = plan.period
    wide = F.pad(tight, (px, 2 * px, py, 2 * py), mode="replicate")
    top, _, left, _ = plan.margin
    here, there = forwards.maps(tight), forwards.maps(wide)
    floor = {}
    for name, spec in forwards.specs.items():
        if name not in exempt:
            one, two = window(spec, here[name], (top, left)), window(spec, there[name], (top + py, left + px))
            floor[name] = relative(_squares(one, two))
    tolerance = TOLERANCE * sqrt(torch.finfo(forwards.dtype).eps)
    failed = {name: figure for name, figure in floor.items() if not figure <= tolerance}
    if failed:
        figures = ", ".join(f"{name} {figure:.1e}" for name, figure in failed.items())
        sound = [name for name in forwards.specs if name not in failed]
        rest = f"; measure only layers={sound}" if sound else ""
        raise ModelError(
            "the features depend on where the crop lies in its scene, so padding cannot be told apart from position "
            f"(absolute position embedding, align_corners, or resizing inside); relative change of {figures}{rest}"
        )
    rounding = max(floor.values(), default=0.0)
    return {name: floor.get(name, rounding) for name in forwards.specs}


def change_when_grown(forwards: Forwards, plan: CropPlan, image: Tensor) -> dict[str, Tensor]:
    """How far F(x; *) of one crop moves when its margins grow by half: (sum of squared changes, sum of squares) by layer.

    Empty where the image is too small for the larger margins.
    """
    py, px = plan.period
    grown = [max(p, ceil(1.5 * m / p) * p) for m, p in zip(plan.margin, (py, py, px, px), strict=True)]
    wider = CropPlan(plan.crop, (grown[0], grown[1], grown[2], grown[3]), plan.period, 1, plan.seed)
    canvases = wider.canvases((image.shape[-2], image.shape[-1]), 0)
    if not canvases:
        return {}
    wide = forwards.placed(_around(image, canvases[0], wider))
    corner, inner = (wider.margin[0], wider.margin[2]), (plan.margin[0], plan.margin[2])
    dy, dx = corner[0] - inner[0], corner[1] - inner[1]
    height, width = plan.smallest
    far, near = (
        forwards.maps(wide),
        forwards.maps(wide[:, :, dy : dy + height, dx : dx + width].contiguous(memory_format=forwards.layout)),
    )
    return {
        name: _squares(window(spec, far[name], corner), window(spec, near[name], inner))
        for name, spec in forwards.specs.items()
    }


def relative(squares: Tensor) -> float:
    """Root of a ratio of sums (change, size); 0 where nothing changed, infinite where nothing else is there."""
    change, size = squares.tolist()
    return sqrt(change / size) if size > 0 else (inf if change > 0 else 0.0)


def _squares(one: Tensor, two: Tensor) -> Tensor:
    """(sum of squared differences, sum of squares), float64 on the CPU."""
    sums = torch.stack([(one - two).double().square().sum(), one.double().square().sum()])
    return sums.cpu()


def _around(image: Tensor, canvas: Canvas, plan: CropPlan) -> Tensor:
    """The first crop of a canvas with exactly the plan's margin around it, `(C, H, W)`."""
    margin: Sides = plan.margin
    y, x = canvas.crops[0]
    top, left = canvas.top + y - margin[0], canvas.left + x - margin[2]
    height, width = plan.smallest
    return image[:, top : top + height, left : left + width]
