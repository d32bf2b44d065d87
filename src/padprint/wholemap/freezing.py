"""Statistics of a whole scene, taken for tiles of it."""

from __future__ import annotations

from itertools import product

from torch import Tensor

from padprint.errors import ModelError
from padprint.network.layers import one_pass
from padprint.support.axes import Size, window
from padprint.support.wording import first_line
from padprint.wholemap.network import TAKING, WholeMap


def take_statistics(whole: WholeMap, scene: Tensor, tile: Size | None) -> None:
    """Take and keep the statistics of a scene `(1, C, *space)`, or those of its tiles, together.

    Raises:
        ModelError: the network fails, or statistics of tiles cannot be put together.
    """
    parts = [scene] if tile is None else tiles_of(scene, tile)
    try:
        for part in parts:
            with whole.watching(TAKING, None, part):
                one_pass(whole.net, part)
    except ModelError:
        raise
    except Exception as error:
        shape = tuple(parts[0].shape)
        raise ModelError(f"the model fails on an input of {shape}: {first_line(error)}") from error
    whole.keep()


def tiles_of(scene: Tensor, tile: Size) -> list[Tensor]:
    """Tiles side by side over a scene `(1, C, *space)`; what is left over at the end of an axis is not used.

    Raises:
        ModelError: the scene is smaller than a tile.
    """
    size = scene.shape[2:]
    starts = [range(0, n - own + 1, own) for n, own in zip(size, tile, strict=True)]
    if not all(starts):
        raise ModelError(f"the scene of {tuple(size)} px is smaller than a tile of {tile} px")
    return [scene[window(corner, tile)].contiguous() for corner in product(*starts)]
