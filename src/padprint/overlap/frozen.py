"""Tiles under the statistics of their scene: what networks that see all of their input take over the map, taken once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.network.calls import refuse_opaque
from padprint.network.example import crop_size
from padprint.network.layers import space_axes, unwrapped
from padprint.network.preserved import as_measured
from padprint.support.axes import MOST, size_names
from padprint.wholemap.freezing import take_statistics
from padprint.wholemap.network import WholeMap

_LEARNT = 256  # px: size at which operators are found that see the whole map, where the scene is larger


@contextmanager
def frozen_statistics(model: nn.Module, image: Tensor, tile: int | tuple[int, ...] | None = None) -> Iterator[None]:
    """Run a network under statistics of a whole scene for as long as a block lasts, whoever runs it on tiles of that scene.

    Normalisation over the map, gates, attention and global pooling take their statistics over what they are given: a tile has
    others than its scene, and no overlap mends that. In the block they are those of the scene; what is left of a seam is
    padding, which an overlap removes (`padprint.halo` with ``statistics="scene"``). A smaller copy of the scene may stand for
    it; `padprint.halo` tells what that leaves.

    Args:
        model: run as it is; call it itself in the block, with one tile or a batch.
        image: the scene, `(1, C, *space)` or, of images, `(C, H, W)`, normalised as the model wants it, on the model's device.
        tile: where the scene is too large for one pass: size of tiles in px, one number or one for each axis, over which
            statistics are averaged (variances with what lies between tiles). Attention has none that could be averaged.

    Raises:
        ModelError: no operator of the network sees the whole map; the network fails; in the block, an operator depends on where
            in its scene a tile lies (coordinate attention, pooling to a grid that is stretched over the map,
            ``align_corners=True``).
    """
    network = unwrapped(model)
    refuse_opaque(network, "")
    axes = space_axes(network)
    scene = image[None] if image.dim() == axes + 1 else image
    size = tuple(scene.shape[2:])
    if not 1 <= len(size) <= MOST or len(scene) != 1:
        dims = ", ".join(name[0].upper() for name in size_names(axes))
        raise ModelError(f"the scene must be (C, {dims}) or (1, C, {dims}), but has the shape {tuple(image.shape)}")
    whole = WholeMap(network)
    with as_measured(network):
        whole.learn(scene.shape[1], tuple(min(n, _LEARNT) for n in size))
        take_statistics(whole, scene, None if tile is None else crop_size(tile, len(size), "tile"))
    if not whole.state.kept:
        raise ModelError("no operator of the network sees the whole map, so that tiles have no statistics of their own")
    try:
        with whole.frozen():
            yield
    finally:
        whole.forget()
