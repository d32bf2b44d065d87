"""Whether the runs are what they claim to be: one crop from two places, and nothing but rounding inside the local rim."""

from __future__ import annotations

from math import ceil, inf

import torch
from torch import Tensor

from padprint.geometry import LayerGeometry
from padprint.guard import nudged
from padprint.plan import Canvas
from padprint.wholemap.extents import Window
from padprint.wholemap.network import PLAIN
from padprint.wholemap.runs import Runs

_ROUNDING = 64
"""How far two runs may be apart, in units of what a change of the input by one unit in the last place does."""
_LEAST = 4096
"""Machine epsilons that two sizes of input may be apart inside the rim, whatever the nudged input says."""


class Checked:
    """What the checks have found so far.

    Attributes:
        refused: layers that cannot be measured, with the reason.
        floor: relative rms difference of the same R and W seen from two places, the larger, by layer.
    """

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.floor: dict[str, float] = {}

    def scene(self, runs: Runs, index: int, image: Tensor, canvas: Canvas) -> None:
        """One crop from two places of two canvases must give the same R and W, and by itself what the network computes."""
        tight, window = runs.tight(runs.scene(image, canvas), canvas.crops[:1])
        crop = runs.crop(tight, window)
        plain, moved = runs.maps(crop, PLAIN), runs.maps(nudged(crop, 1, index), PLAIN)
        here, there = runs.three(tight, window), runs.three(*surrounded(runs, tight, image, index))
        for layer, alone in here.alone.items():
            size = _rms(here.windowed[layer])
            if not size > 0 or not bool(alone.isfinite().all()):
                self.refused[layer] = "its features are all zero, NaN or infinite: check the weights and the images"
                continue
            allowed = _ROUNDING * max(torch.finfo(alone.dtype).eps, _apart(plain[layer], moved[layer], size))
            own = _apart(plain[layer], alone, size)
            pairs = (here.replayed, there.replayed), (here.windowed, there.windowed)
            floor = max(_apart(one[layer], two[layer], size) for one, two in pairs)
            self.floor[layer] = max(self.floor.get(layer, 0.0), floor)
            if own > allowed:
                self.refused[layer] = (
                    "a handler of an operator that sees the whole map does not compute what the operator does: relative change "
                    f"{own:.1e}, rounding {allowed:.1e}"
                )
            elif floor > allowed and not short_of(runs.plan.margin, runs.geometry[layer]):
                self.refused[layer] = (
                    "its features under statistics of the window change with where the crop lies in its canvas: an operator sees "
                    "the whole map in a way that is not followed, or the network knows absolute positions (position embeddings, "
                    f"align_corners, a grid of fixed size); relative change {floor:.1e}, rounding {allowed:.1e}"
                )

    def inside(self, runs: Runs, layer: str, alone: Tensor, replayed: Tensor) -> None:
        """Refuse a layer where crops and their scenes under the same statistics differ beyond the local rim."""
        geometry = runs.geometry[layer]
        top, bottom, left, right = geometry.rim or (0, 0, 0, 0)
        h, w = alone.shape[-2:]
        if short_of(runs.plan.margin, geometry) or top + bottom >= h or left + right >= w:
            return
        one, two = (x[..., top : h - bottom, left : w - right] for x in (alone, replayed))
        found = _apart(one, two, max(_rms(replayed), 1e-300))
        allowed = max(self.floor.get(layer, 0.0) * _ROUNDING, _LEAST * torch.finfo(one.dtype).eps)
        if not found <= allowed:
            self.refused[layer] = (
                f"a crop and its scene under the crop's statistics differ inside the rim {geometry.rim} that was traced (relative "
                f"change {found:.1e}, rounding {allowed:.1e}): padding reaches further, or an operator sees the whole map unnoticed"
            )


def short_of(margin: tuple[int, int, int, int], geometry: LayerGeometry) -> bool:
    """Whether a margin is below what a layer reaches."""
    return any(have < need for have, need in zip(margin, geometry.margin or (0, 0, 0, 0), strict=True))


def surrounded(runs: Runs, tight: Tensor, image: Tensor, seed: int) -> tuple[Tensor, Window]:
    """A canvas with other content around it: one total stride above, two below, three to the left and one to the right."""
    py, px = runs.geometry.period
    height, width = tight.shape[-2:]
    shape = height + 3 * py, width + 4 * px
    generator = torch.Generator().manual_seed(seed)
    shifts = [int(torch.randint(1, max(2, n), (), generator=generator)) for n in image.shape[-2:]]
    times = [ceil(want / have) for want, have in zip(shape, image.shape[-2:], strict=True)]
    wide = runs.placed(torch.roll(image, shifts, (-2, -1)).repeat(1, *times)[:, : shape[0], : shape[1]]).clone()
    wide[..., py : py + height, 3 * px : 3 * px + width] = tight
    top, _, left, _ = runs.plan.margin
    return wide, Window(runs.plan.crop, shape, (top + py, left + 3 * px))


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def _apart(one: Tensor, two: Tensor, size: float) -> float:
    """Relative rms difference."""
    return _rms(one - two) / size if size > 0 else inf
