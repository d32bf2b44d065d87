"""Schemes that fill the border from averages of the map."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from padprint.errors import PaddingError
from padprint.padding.scheme import Scheme, register
from padprint.padding.schemes.edges import at_least_float32, framed, require, require_floats
from padprint.padding.schemes.plain import copied
from padprint.padding.windowed import Pads

_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@register("distribution")
class Distribution(Scheme):
    """The border of a smoothed copy of the map (Nguyen et al., ICIP 2019).

    A = average of the map over windows of 2p + 1 cells, inside the map only, so n - 2p cells long.

    - ``interp`` (mean-interpolation): A resized linearly to n + 2p cells; its border is the padding.
    - ``reflect`` (mean-reflect): A resized linearly to n cells, then mirrored without repeating the edge.

    No gradient flows into the padding, as in the source. Ours: for unequal sides the window has before + after + 1
    cells; resizing takes cells as areas, so cell i of the result is read at (i + 1/2) s - 1/2 of A, s cells of A to one of the
    result, and a mirrored map is padded by mirrored cells (the source's code reads at (i + 1) s - 1, which is not so). A map
    needs more than before + after cells.

    Cost: an average pooling and a resizing of the whole map, and two copies.

    Args:
        variant: ``interp`` or ``reflect``.
    """

    def __init__(self, variant: str = "interp") -> None:
        super().__init__()
        if variant not in ("interp", "reflect"):
            raise PaddingError(f"the variant of distribution padding is interp or reflect; it is {variant!r}")
        self.variant = variant

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        require_floats(x, self.name)
        require(x, pads, self.name, lambda before, after: before + after + 1)
        spatial = x.shape[x.dim() - len(pads) :]
        totals = [before + after for before, after in pads]
        with torch.no_grad():
            if self.variant == "interp":
                around = smoothed(x, totals, [n + total for n, total in zip(spatial, totals, strict=True)])
            else:
                around = copied(smoothed(x, totals, list(spatial)), pads, "reflect")
        return framed(x, pads, around)


def smoothed(x: Tensor, totals: list[int], sizes: list[int]) -> Tensor:
    """Averages over windows of ``total + 1`` cells inside the map, resized linearly to `sizes`."""
    n = len(totals)
    if n not in _AVERAGE:
        raise PaddingError(f"distribution padding works on 1 to 3 dimensions, not {n}")
    leading, spatial = x.shape[: x.dim() - n], x.shape[x.dim() - n :]
    maps = at_least_float32(x).reshape(1, -1, *spatial)
    means = _AVERAGE[n](maps, [total + 1 for total in totals], 1)
    if n == 2 and means.is_cuda:  # in the usual layout CUDA's resizing walks through the maps one after another
        means = means.contiguous(memory_format=torch.channels_last)
    return F.interpolate(means, sizes, mode=_LINEAR[n], align_corners=False).reshape(*leading, *sizes)
