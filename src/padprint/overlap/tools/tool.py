"""What every entry shares: which tool it is for, and the arithmetic of fractions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Generic, Protocol, TypeVar

from padprint.overlap.tiling import Map, sides
from padprint.support.axes import Size, pairs

Entry = TypeVar("Entry", bound=Callable[..., dict[str, Any]])


class Dropping(Protocol):
    """What must be dropped of tiles: measured (`PaddingHalo`) or told by structure alone (`Structural`)."""

    @property
    def tile(self) -> Size:
        """Size, px."""

    @property
    def period(self) -> Size:
        """Total stride along each axis, px."""

    @property
    def maps(self) -> Mapping[str, Map]:
        """By output, how its map lies on the tile."""

    @property
    def need(self) -> Mapping[str, Sequence[int]]:
        """By output, cells to drop on each side."""


@dataclass(frozen=True)
class Tool(Generic[Entry]):
    """A tool that people tile with.

    Attributes:
        name: its key among the entries.
        title: what lines call it.
        axes: how many space axes it takes.
        entry: what it must be told, in plain values; of one that cannot, a "reason".
        words: the same in words, line by line.
    """

    name: str
    title: str
    axes: tuple[int, ...]
    entry: Entry
    words: Callable[[Mapping[str, Any]], Iterable[str]]


def need_pixels(one: Dropping) -> tuple[int, ...]:
    """Input px to drop on each side, the largest over the outputs."""
    every = [
        [ceil(n * s) for n, s in zip(cells, sides(one.maps[name]), strict=True)] for name, cells in one.need.items()
    ]
    return tuple(map(max, zip(*every, strict=True)))


def need_by_axis(one: Dropping) -> tuple[int, ...]:
    """The same for tools that drop alike on both sides of an axis."""
    return tuple(map(max, pairs(need_pixels(one))))


def same_size(maps: Mapping[str, Map], tile: Size) -> bool:
    """Whether every output is as large as the tile."""
    return all(one.size == tile and set(one.stride) == {1} for one in maps.values())


def overlap_fraction(tile: int, step: int) -> float:
    """A fraction f for which int(tile * (1 - f)) is the step."""
    fraction = 1 - step / tile
    while int(tile * (1 - fraction)) < step:
        fraction -= 1e-9
    return fraction


def ratio(tile: int, overlap: int) -> float:
    """A fraction f for which int(f * tile) is the overlap."""
    fraction = overlap / tile
    while int(fraction * tile) < overlap:
        fraction += 1e-9
    return fraction
