"""Tiles under the statistics of their scene: what networks that see all of their input take over the map, taken once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.network.calls import refuse_opaque
from padprint.network.example import crop_size
from padprint.network.layers import unwrapped
from padprint.network.preserved import as_measured
from padprint.wholemap.freezing import take_statistics
from padprint.wholemap.network import WholeMap

_LEARNT = 256  # px: size at which operators are found that see the whole map, where the scene is larger


@contextmanager
def frozen_statistics(model: nn.Module, image: Tensor, tile: int | tuple[int, int] | None = None) -> Iterator[None]:
    """Run a network under statistics of a whole scene for as long as a block lasts, whoever runs it on tiles of that scene.

    Normalisation over the map, gates, attention and global pooling take their statistics over what they are given: a tile has
    others than its scene, and no overlap mends that. In the block they are those of the scene; what is left of a seam is
    padding, which an overlap removes (`padprint.halo` with ``statistics="scene"``). A smaller copy of the scene may stand for
    it; `padprint.halo` tells what that leaves.

    Args:
        model: run as it is; call it itself in the block, with one tile or a batch.
        image: the scene, `(C, H, W)` or `(1, C, H, W)`, normalised as the model wants it, on the model's device.
        tile: where the scene is too large for one pass: size of tiles in px, one number or (height, width), over which
            statistics are averaged (variances with what lies between tiles). Attention has none that could be averaged.

    Raises:
        ModelError: no operator of the network sees the whole map; the network fails; in the block, an operator depends on where
            in its scene a tile lies (coordinate attention, pooling to a grid that is stretched over the map,
            ``align_corners=True``).
    """
    network = unwrapped(model)
    refuse_opaque(network, "")
    scene = image if image.dim() == 4 else image[None]
    if scene.dim() != 4 or len(scene) != 1:
        raise ModelError(f"the scene must be (C, H, W) or (1, C, H, W), but has the shape {tuple(image.shape)}")
    height, width = scene.shape[-2:]
    whole = WholeMap(network)
    with as_measured(network):
        whole.learn(scene.shape[1], (min(height, _LEARNT), min(width, _LEARNT)))
        take_statistics(whole, scene, None if tile is None else crop_size(tile))
    if not whole.state.kept:
        raise ModelError("no operator of the network sees the whole map, so that tiles have no statistics of their own")
    try:
        with whole.frozen():
            yield
    finally:
        whole.forget()
