"""Pictures and channel maps as text that fits into a page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from padprint.result import LayerMeasurement

_DPI = 110
_LARGEST = 96
"""Cells of a channel's map along an axis, at most; of larger maps the largest change in each block of cells is kept."""


def data_uri(figure: Figure) -> str:
    """A figure as a PNG of few colours in a data URI."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # once, where savefig would draw twice
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
    content = io.BytesIO()
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).save(
        content, format="png", optimize=True
    )
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def channel_maps(layer: LayerMeasurement, budget: int) -> dict[str, Any]:
    """The strongest channels of a layer for the channel browser.

    Each channel's map is scaled to whole numbers from -127 to 127, its largest change being 127.

    Args:
        layer: the layer.
        budget: bytes to spend on maps; 4 channels are always kept, and 96 at most.
    """
    channels = layer.channels
    height, width = (min(size, _LARGEST) for size in layer.pattern.shape[1:])
    chosen = channels.top(max(4, min(96, budget // max(1, height * width))))
    maps = _reduced(layer.pattern[chosen].nan_to_num(0.0, 0.0, 0.0))
    largest = maps.flatten(1).abs().amax(1) if maps.numel() else maps.new_zeros(len(chosen))
    levels = (maps / largest.clamp_min(torch.finfo(maps.dtype).tiny).view(-1, 1, 1) * 127).round().to(torch.int8)
    return {
        "total": len(layer.pattern),
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


def _reduced(maps: Tensor) -> Tensor:
    """`(k, h, w)` maps of at most `_LARGEST` cells along an axis."""
    size = tuple(min(n, _LARGEST) for n in maps.shape[1:])
    if size == tuple(maps.shape[1:]):
        return maps
    high, low = F.adaptive_max_pool2d(maps, size), -F.adaptive_max_pool2d(-maps, size)
    return torch.where(high >= -low, high, low)


def _plain(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
