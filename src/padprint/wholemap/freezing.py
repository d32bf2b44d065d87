"""Statistics of a whole scene, taken for tiles of it."""

from __future__ import annotations

from torch import Tensor

from padprint.errors import ModelError
from padprint.network.layers import one_pass
from padprint.support.wording import first_line
from padprint.wholemap.network import TAKING, WholeMap


def take_statistics(whole: WholeMap, scene: Tensor, tile: tuple[int, int] | None) -> None:
    """Take and keep the statistics of a scene `(1, C, H, W)`, or those of its tiles, together.

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


def tiles_of(scene: Tensor, tile: tuple[int, int]) -> list[Tensor]:
    """Tiles side by side over a scene `(1, C, H, W)`; what is left over at its lower and right end is not used.

    Raises:
        ModelError: the scene is smaller than a tile.
    """
    rows, columns = (range(0, n - size + 1, size) for n, size in zip(scene.shape[-2:], tile, strict=True))
    if not rows or not columns:
        raise ModelError(f"the scene of {tuple(scene.shape[-2:])} px is smaller than a tile of {tile} px")
    return [scene[..., y : y + tile[0], x : x + tile[1]].contiguous() for y in rows for x in columns]
