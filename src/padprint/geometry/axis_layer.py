"""What is known of a layer along one axis of space."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, nan

from padprint.geometry.receptive import Spans, offset_of
from padprint.support.reasons import Reason


@dataclass(frozen=True)
class AxisLayer:
    """A layer along one axis.

    Attributes:
        dim: the dimension of the layer's output that runs along the axis, or None.
        flat: the output's shape does not depend on the input's size.
        size: cells at the crop's size.
        stride: input pixels from cell to cell.
        period: input pixels after which the cells repeat.
        rim: cells touched by padding (before, after) on a map long enough to hold both.
        seen: the part of the rim that the second witness saw move; None where it saw nothing at all, or did not run.
        wider: whether the second witness saw more cells move than the first one could tell.
        exact: whether the first witness could read every operator on the way.
        fields: the input pixels that can reach each of the first cells, one period of them; empty where not found. Behind
            upsampling the cells of one period differ.
        reason: the operator that makes the layer global, or another reason why it cannot be measured.
    """

    dim: int | None = None
    flat: bool = False
    size: int = 0
    stride: Fraction = Fraction(1)
    period: int = 1
    rim: tuple[int, int] = (0, 0)
    seen: tuple[int, int] | None = None
    wider: bool = False
    exact: bool = True
    fields: tuple[Spans, ...] = ()
    reason: Reason | None = None

    @property
    def phases(self) -> int:
        """Cells in one period."""
        return int(self.period / self.stride)

    @property
    def offset(self) -> float:
        """Centre of cell 0's receptive field, in pixels; where the cells of a period differ, what fits them on average."""
        return float(offset_of(self.fields, self.stride)) if self.fields else nan

    @property
    def field_size(self) -> int:
        """Receptive field of one cell in pixels, the largest in a period."""
        return max((one[-1][1] - one[0][0] for one in self.fields), default=0)

    def reach(self, crop: int) -> tuple[int, int]:
        """Pixels beyond the crop's edge that the map sees (before, after)."""
        if not self.fields:
            return ceil(self.rim[0] * self.stride), ceil(self.rim[1] * self.stride)
        n = self.phases
        before = min((one[0][0] for one in self.fields[: self.size]), default=0)
        cells = range(max(0, self.size - n), self.size)
        after = max((self.fields[i % n][-1][1] + i // n * self.period for i in cells), default=0) - crop
        return max(0, -before) if self.rim[0] else 0, max(0, after) if self.rim[1] else 0
