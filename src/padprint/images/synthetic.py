"""Scenes without end and without a photographer: dead leaves, the same wherever one looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from padprint.errors import ImagesError

RADII = (4.0, 64.0)
_DRAWN = 4096  # leaves drawn at a time
_FEW = 2048  # pixels left from which on leaves are tried on pixels, not pixels searched for leaves


def dead_leaves(
    size: int | tuple[int, int],
    seed: int | Sequence[int],
    *,
    radii: tuple[float, float] = RADII,
    periodic: bool = False,
) -> Tensor:
    """A scene of discs that hide each other: stationary, so that nothing in it says where a pixel is.

    Leaves are laid from the front to the back until every pixel is covered, which draws from the exact stationary law
    (no leaf is ever cut by the frame, and the result does not depend on how many are laid).

    Args:
        size: (rows, columns) or one number, px.
        seed: one number or several; the same seed gives the same scene.
        radii: smallest and largest radius, px; their density falls with the cube of the radius, which makes the
            statistics scale-invariant between the two.
        periodic: the scene continues at the opposite side, so that circular padding is optimal padding.

    Returns:
        `(3, rows, columns)` float32 in [0, 1]; every leaf's colour is uniform, each channel for itself: mean 1/2,
        variance 1/12.

    Raises:
        ImagesError: the size or the radii make no sense, or a leaf is larger than a periodic scene.

    Source: Lee, Mumford and Huang, IJCV 41, 2001 (the model); Kendall and Thönnes, Pattern Recognition 32, 1999 (from
    the front).

    Examples:
        >>> from padprint.scenes import dead_leaves
        >>> dead_leaves((48, 64), seed=0).shape
        torch.Size([3, 48, 64])
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    small, large = radii
    if rows < 1 or columns < 1:
        raise ImagesError(f"a scene must have a pixel or more, but size is {size!r}")
    if not 0.5 <= small <= large:
        raise ImagesError(f"radii must be a smaller and a larger number of 0.5 px or more, but got {radii!r}")
    if periodic and 2 * large >= min(rows, columns):
        raise ImagesError(
            f"a periodic scene of {rows} x {columns} px holds radii below half its size, not {large:g} px"
        )
    generator = np.random.default_rng(seed)
    scene = np.zeros((rows, columns, 3), dtype=np.float32)
    free = np.ones((rows, columns), dtype=bool)
    while True:
        leaves = _draw(generator, (rows, columns), (small, large), periodic)
        remaining = np.argwhere(free)
        if len(remaining) > _FEW:
            _lay(scene, free, leaves, periodic)
        elif len(remaining):
            _fill(scene, free, leaves, remaining, periodic)
        else:
            return torch.from_numpy(scene).permute(2, 0, 1).contiguous()


class DeadLeaves(Sequence[Tensor]):
    """Dead-leaves scenes, made when they are asked for; scene i depends on the seed and on i alone.

    Args:
        count: how many.
        size: see `dead_leaves`.
        radii: see `dead_leaves`.
        periodic: see `dead_leaves`.
        seed: of all scenes.
        mean: taken away from the colours, which lie in [0, 1].
        std: colours are divided by it. The defaults give mean 0 and variance 1.

    Raises:
        ImagesError: count below 1; and see `dead_leaves`, when a scene is made.
    """

    def __init__(
        self,
        count: int,
        size: int | tuple[int, int],
        seed: int = 0,
        *,
        radii: tuple[float, float] = RADII,
        periodic: bool = False,
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 12**-0.5,
    ) -> None:
        if count < 1:
            raise ImagesError(f"there must be a scene or more, but count is {count}")
        self._count, self.size, self.seed, self.radii, self.periodic = count, size, seed, radii, periodic
        self._mean, self._std = (torch.as_tensor(v, dtype=torch.float32).reshape(-1, 1, 1) for v in (mean, std))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # one scene at a time
        place = range(self._count)[index]
        scene = dead_leaves(self.size, (self.seed, place), radii=self.radii, periodic=self.periodic)
        return (scene - self._mean) / self._std

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(self._count))


Leaves = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]
"""Centres `(n, 2)`, radii `(n,)` and colours `(n, 3)`, the one in front first."""


def _draw(generator: np.random.Generator, size: tuple[int, int], radii: tuple[float, float], periodic: bool) -> Leaves:
    """The next leaves. Their centres also lie as far outside as a leaf can reach in from."""
    small, large = radii
    outside = 0.0 if periodic else large
    low, high = np.full(2, -outside), np.array(size) + outside
    centres = generator.uniform(low, high, (_DRAWN, 2))
    inverse = generator.uniform(large**-2, small**-2, _DRAWN) if small < large else np.full(_DRAWN, small**-2)
    return centres, inverse**-0.5, generator.random((_DRAWN, 3), dtype=np.float32)


def _lay(scene: NDArray[np.float32], free: NDArray[np.bool_], leaves: Leaves, periodic: bool) -> None:
    """Lay leaves one by one on what is still free, in place."""
    size = free.shape
    for (y, x), radius, colour in zip(*leaves, strict=True):
        rows, columns = (np.arange(int(np.ceil(c - radius)), int(np.floor(c + radius)) + 1) for c in (y, x))
        if not periodic:
            rows, columns = (at[(at >= 0) & (at < n)] for at, n in zip((rows, columns), size, strict=True))
        inside = (rows - y)[:, None] ** 2 + (columns - x)[None] ** 2 <= radius**2
        if periodic:
            place = np.ix_(rows % size[0], columns % size[1])
            seen = inside & free[place]
            at = np.nonzero(seen)
            scene[rows[at[0]] % size[0], columns[at[1]] % size[1]] = colour
            free[place] &= ~inside
        elif inside.size:
            window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            scene[window][inside & free[window]] = colour
            free[window] &= ~inside


def _fill(
    scene: NDArray[np.float32],
    free: NDArray[np.bool_],
    leaves: Leaves,
    remaining: NDArray[np.int64],
    periodic: bool,
) -> None:
    """The same for a few remaining pixels `(n, 2)`: each takes the first leaf that covers it."""
    centres, radii, colours = leaves
    apart = remaining[:, None].astype(np.float64) - centres[None]
    if periodic:
        half = np.array(free.shape) / 2
        apart = (apart + half) % (2 * half) - half
    covers = np.square(apart).sum(-1) <= np.square(radii)
    hit = covers.any(1)
    rows, columns = remaining[hit].T
    scene[rows, columns] = colours[covers.argmax(1)[hit]]
    free[rows, columns] = False
