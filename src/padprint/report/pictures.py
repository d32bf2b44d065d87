"""Channel maps as text that fits into a page."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from padprint.plot.fold import Fold, drawn, folds
from padprint.plot.views import by_channel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from padprint.results.measurement import LayerMeasurement

_MOST = 64
"""Steps of a channel's map along an axis, about; of folded bands and blocks of cells the largest change is kept."""


def channel_maps(layer: LayerMeasurement, budget: int) -> dict[str, Any]:
    """The strongest channels of a layer for the channel browser.

    Each channel's map is scaled to whole numbers from -127 to 127, its largest change being 127.

    Args:
        layer: the layer.
        budget: bytes to spend on maps; 4 channels are always kept, and 96 at most.
    """
    channels, total = layer.channels, len(layer.pattern)
    layer = by_channel(layer, (1,) * len(layer.stride)).layer
    rows, columns = folds(layer, _MOST)
    chosen = channels.top(max(4, min(96, budget // max(1, rows.length * columns.length))))
    maps = torch.from_numpy(
        drawn(_extremes(layer.pattern[chosen].nan_to_num(0.0, 0.0, 0.0).numpy(), rows, columns), rows, columns)
    )
    largest = maps.flatten(1).abs().amax(1) if maps.numel() else maps.new_zeros(len(chosen))
    levels = (maps / largest.clamp_min(torch.finfo(maps.dtype).tiny).view(-1, 1, 1) * 127).round().to(torch.int8)
    return {
        "total": total,
        "height": levels.shape[1],
        "width": levels.shape[2],
        "reduced": tuple(levels.shape[1:]) != tuple(layer.pattern.shape[1:]),
        "index": chosen,
        "snr": [_plain(value) for value in channels.snr[chosen].tolist()],
        "q": [_plain(value) for value in channels.q[chosen].tolist()],
        "aware": channels.aware[chosen].tolist(),
        "side": [channels.side[c] for c in chosen],
        "largest": [_plain(value) for value in largest.tolist()],
        "maps": base64.b64encode(levels.contiguous().numpy().tobytes()).decode(),
    }


def _extremes(maps: NDArray[np.float64], rows: Fold, columns: Fold) -> NDArray[np.float64]:
    """`(k, h, w)` maps by drawn step: of its cells the one furthest from zero."""
    for axis, fold in ((-2, rows), (-1, columns)):
        parts = [maps.take(range(*span), axis) for span in fold.spans]
        ends = [(part.max(axis, keepdims=True), part.min(axis, keepdims=True)) for part in parts]
        maps = np.concatenate([np.where(high >= -low, high, low) for high, low in ends], axis)
    return maps


def _plain(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
