"""Tile mismatch: how much features at the seams of tiles differ from those of one pass over the whole image.

A network is run on tiles, alone, and on the scene around them. Where two tiles meet, each brings cells next to the seam
that padding has changed; far from the seams it has not. Seams are those cells of a tile that lie next to its border, as
if it had a neighbour on every side.

Source: Buglakova et al., "Tiling artifacts and trade-offs of feature normalization in the segmentation of large
biological images", ICCV 2025 (arXiv 2503.19545), who propose tile mismatch as an indicator; only its abstract was
available to us, so that this definition is padprint's own. They trace mismatch to normalisation that is computed for each
tile; such layers see the whole input and are listed as unmeasured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.images.photographs import Images
from padprint.measuring.crops import iterate
from padprint.padding import Scheme
from padprint.results.estimates import ByLayer, GroupSums, ratio
from padprint.results.measurement import Estimate
from padprint.support import frames, wording

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padprint.measuring.options import Options


@dataclass(frozen=True)
class LayerTiles:
    """What tiling does to one layer.

    Attributes:
        seam: rms change of the cells next to a seam, in units of their rms in the whole pass.
        elsewhere: the same for all other cells; NaN where there are none.
        ratio: seam over elsewhere; 1 where tiling shows no more at the seams than elsewhere, infinite where it shows there
            alone.
    """

    HEADERS: ClassVar[tuple[str, ...]] = ("seam [95 %]", "elsewhere [95 %]", "ratio [95 %]")
    seam: Estimate
    elsewhere: Estimate
    ratio: Estimate

    def cells(self) -> list[tuple[str, ...]]:
        """A row for people, without the layer's name."""
        return [tuple(wording.interval(one) for one in (self.seam, self.elsewhere, self.ratio))]

    def rows(self) -> list[dict[str, Any]]:
        """One row: seam, elsewhere and ratio, each with _low and _high."""
        parts = frames.estimate("seam", self.seam) | frames.estimate("elsewhere", self.elsewhere)
        return [{**parts, **frames.estimate("ratio", self.ratio)}]


def tile_mismatch(
    model: nn.Module,
    images: Images,
    *,
    width: int = 1,
    padding: str | Scheme | None = None,
    **options: Unpack[Options],
) -> ByLayer[LayerTiles]:
    """Measure what tiling does to a network's layers.

    Args:
        model: see `padprint.measure`.
        images: likewise.
        width: cells of a tile that count as the seam, from its border inwards.
        padding: of the tiles; see `padprint.measure`.
        **options: see `padprint.measure`. `crop` is the size of the tiles.

    Raises:
        ImagesError, LayerError, ModelError, PaddingError: see `padprint.measure`. A width below 1 is an error too.
    """
    if width < 1:
        raise ModelError(f"a seam is 1 cell wide or more, but width is {width!r}")
    crops = iterate(model, images, padding, **options)
    sums: dict[str, GroupSums] = {}
    for batch in crops:
        for name, tiles in batch.padded.items():
            sums.setdefault(name, GroupSums()).add(batch.group, *seam_squares(tiles, batch.optimal[name], width))
    layers = {name: _result(one) for name, one in sums.items()}
    return ByLayer(layers, crops.geometry.unmeasured, crops.n_images, crops.n_crops)


def seam_squares(tiles: Tensor, whole: Tensor, width: int = 1) -> Tensor:
    """Sums of squares behind the tile mismatch, float64.

    Args:
        tiles: `(B, C, *cells)` features of tiles.
        whole: the same windows of the pass over the whole image.
        width: of the seam, cells.

    Returns:
        `(4,)`: squared change and squared features at the seam, then both elsewhere; NaN where there is no elsewhere.
    """
    pairs = torch.stack([(tiles.double() - whole.double()).square(), whole.double().square()]).sum(
        (1, 2)
    )  # (2, *cells)
    inner = torch.zeros(pairs.shape[1:], dtype=torch.bool, device=pairs.device)
    inner[(slice(width, -width),) * inner.dim()] = True
    elsewhere = pairs[:, inner].sum(1) if inner.any() else pairs.new_full((2,), torch.nan)
    return torch.cat([pairs[:, ~inner].sum(1), elsewhere])


def _result(sums: GroupSums) -> LayerTiles:
    def seam(total: Tensor) -> Tensor:
        return ratio(total[0], total[1]).sqrt()

    def elsewhere(total: Tensor) -> Tensor:
        return ratio(total[2], total[3]).sqrt()

    def excess(total: Tensor) -> Tensor:
        one, other = seam(total), elsewhere(total)
        return torch.ones_like(one) if one == other else ratio(one, other)

    return LayerTiles(*map(sums.estimate, (seam, elsewhere, excess)))
