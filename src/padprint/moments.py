"""Running sums of one layer: all that the statistics need, and no more. Memory does not grow with the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from padprint._optional import torchmetrics_module

if TYPE_CHECKING:
    from torchmetrics import Metric
else:
    Metric = torchmetrics_module().Metric


class LayerMoments(Metric):
    """Sums of a layer's differences D = F(x; p) - F(x; *) and optimal features F(x; *), by group of images.

    States, all float64 and reduced over processes by summing (G groups, a `(C, h, w)` map):

    ==========  ============  =============================================================
    crops       `(G,)`        number of crops
    diff        `(G, C, h, w)`  sum of D
    square      `(C, h, w)`   sum of D^2 over all groups
    energy      `(G, h, w)`   sum of D^2, averaged over channels
    absolute    `(G,)`        sum of |D|, averaged over channels and cells
    feature     `(G, C)`      sum of F(x; *), averaged over cells
    power       `(G, C)`      sum of F(x; *)^2, averaged over cells
    ==========  ============  =============================================================

    Args:
        channels: C.
        size: (h, w).
        groups: G; image i belongs to group i mod G.
    """

    full_state_update = False

    crops: Tensor
    diff: Tensor
    square: Tensor
    energy: Tensor
    absolute: Tensor
    feature: Tensor
    power: Tensor

    def __init__(self, channels: int, size: tuple[int, int], groups: int) -> None:
        super().__init__(sync_on_compute=False)
        shapes = {
            "crops": (groups,),
            "diff": (groups, channels, *size),
            "square": (channels, *size),
            "energy": (groups, *size),
            "absolute": (groups,),
            "feature": (groups, channels),
            "power": (groups, channels),
        }
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, group: int, diff: Tensor) -> None:
        """Add a batch of differences; `diff` is used up as work space.

        Args:
            group: of the image the crops come from.
            diff: `(B, C, h, w)`, D of each crop, in the model's precision; batch sums are taken in it.
        """
        self.crops[group] += diff.shape[0]
        self.diff[group] += diff.sum(0)
        planes = torch.linalg.vector_norm(diff, 1, dim=(2, 3))  # longer sums of one sign would lose digits
        self.absolute[group] += planes.double().sum() / diff[0].numel()
        square = diff.square_().sum(0).double()
        self.square += square
        self.energy[group] += square.mean(0)

    def update_features(self, group: int, features: Tensor, coverage: Tensor) -> None:
        """Add a canvas of optimal features.

        Args:
            group: of the image.
            features: `(C, H, W)` map of the canvas.
            coverage: `(H, W)`, how many of the canvas's crops see each cell.
        """
        cells = self.diff.shape[-1] * self.diff.shape[-2]
        weights = coverage.to(features.dtype).flatten() / cells
        flat = features.flatten(1)
        middle = flat.mean(1, keepdim=True)  # sums around it: the variance of features far from zero keeps its digits
        rest = flat - middle
        total, shift = weights.double().sum(), middle.squeeze(1).double()
        first = (rest @ weights).double()
        self.feature[group] += total * shift + first
        self.power[group] += total * shift.square() + 2 * shift * first + (rest.square_() @ weights).double()

    def compute(self) -> Tensor:
        """Number of crops seen; the statistics are computed from the states by `padprint.statistics`."""
        return self.crops.sum()
