"""Which tiles to take: the same halos on tiles of other sizes, what each costs, and a sentence that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, inf
from typing import TYPE_CHECKING

from padprint.overlap.tiling import Map, Tiling, sides, tiling
from padprint.support.axes import Size, each_side, times
from padprint.support.wording import label, number

if TYPE_CHECKING:
    from padprint.overlap.result import Halo
    from padprint.overlap.widths import PaddingHalo

SIZES = {1: (4096, 16384, 65536), 2: (256, 512, 768, 1024), 3: (64, 96, 128, 192)}
"""Tile sizes that people choose from, px, by axes of space."""

ABSURD = 3.0
"""Extra pixels for each pixel kept from which on an overlap makes no sense."""

_SENSIBLE = 1.0  # extra pixels for each pixel kept that people pay
_TRIED = 16  # sizes from the smallest possible one on
_HALVES = (0.4, 0.6)
_LESS = 0.9  # share of the extra pixels from which on another padding is worth a word


@dataclass(frozen=True)
class Choice:
    """Tiles of one size under one padding.

    Attributes:
        padding: of the tiles.
        tile: size, (height, width), px.
        measured: whether the errors were measured on tiles of this size.
        crossed: whether this tile, or the one that was measured on, is smaller than two structural halos, so that some cells see
            two borders at once. On tiles of another size than was measured on, that was not measured.
        tiling: the tiles that keep the tolerance; None where this size has no room for the overlap, or no overlap is enough.
        error: the largest beyond the halo, over all images together; None without tiles.
        limit: what a further image stays below; None without tiles.
    """

    padding: str
    tile: Size
    measured: bool
    crossed: bool
    tiling: Tiling | None
    error: float | None
    limit: float | None

    @property
    def cost(self) -> float | None:
        """Extra pixels computed per pixel of a large image; None without tiles."""
        return None if self.tiling is None else self.tiling.cost

    @property
    def absurd(self) -> bool:
        """Whether so many extra pixels make no sense."""
        return self.cost is not None and self.cost > ABSURD


def choices(halo: Halo, sizes: Iterable[int] | None = None) -> list[Choice]:
    """Tiles of several sizes that keep the tolerance, by padding.

    What a border does to a cell depends on how far it lies from it, not on how large the tile is, as long as the tile is
    larger than two structural halos; so errors by distance, measured on one size of tiles, serve others. Sizes are rounded
    to what is congruent to the measured tile modulo the total stride.

    Args:
        halo: the result.
        sizes: tile sizes, px; that of the measured tiles is added. None: those that people choose from.
    """
    sizes = SIZES[len(halo.tile)] if sizes is None else list(sizes)
    return [_choice(one, tile) for one in halo.values() for tile in _congruent(one, sizes)]


def _congruent(one: PaddingHalo, sizes: Iterable[int]) -> list[Size]:
    every = {one.tile}
    for size in sizes:
        tile = tuple(own + round((size - own) / p) * p for own, p in zip(one.tile, one.period, strict=True))
        if min(tile) > 0:
            every.add(tile)
    return sorted(every)


def _choice(one: PaddingHalo, tile: Size) -> Choice:
    measured = tile == one.tile
    crossed = min(*tile, *one.tile) < 2 * one.structural
    tiles = one.tiling if measured else _tiles(one, tile)
    if tiles is None:
        return Choice(one.padding, tile, measured, crossed, None, None, None)
    return Choice(one.padding, tile, measured, crossed, tiles, one.error_of(tiles), one.limit_of(tiles.halos))


def _tiles(one: PaddingHalo, tile: Size) -> Tiling | None:
    """Tiles of another size that keep the tolerance, by the errors at each distance; None where there are none."""
    if any(bool(out.stray.any()) for out in one.outputs.values()):
        return None
    maps = {name: resized(out, one.tile, tile) for name, out in one.maps.items()}
    if any(min(out.size) < 1 for out in maps.values()):
        return None
    found = tiling(tile, one.period, maps, _known_need(one))
    if found is None or one.error_of(found) > one.tolerance or one.limit_of(found.halos) > one.tolerance:
        return None
    return found


def _known_need(one: PaddingHalo) -> dict[str, list[int]]:
    """By output, cells to drop on each side; where even the middle of a measured tile needs more, all that padding can touch."""
    found = {}
    for name, cells in one.need.items():
        out = one.outputs[name]
        found[name] = [
            max(need, reached) if 2 * need >= n - 1 else need
            for need, reached, n in zip(cells, out.structural, each_side(out.map.size), strict=True)
        ]
    return found


def offered(one: PaddingHalo) -> list[Tiling]:
    """The tiles of the measured size that one may be advised, at one tolerance or another: one for each step, the cheapest first.

    Args:
        one: what a padding needs. Of its own step `PaddingHalo.fitting` is taken, where there is one.
    """
    levels = sorted((x for x in one.promises.limits.tolist() if x < inf), reverse=True)
    fitting = [tiling(one.tile, one.period, one.maps, one.need_at(level)) for level in levels]
    found = {each.step: each for each in [*fitting, one.fitting] if each is not None}
    return sorted(found.values(), key=lambda each: each.cost)


def _need_pixels(one: PaddingHalo) -> int:
    return max(
        ceil(n * s)
        for name, cells in _known_need(one).items()
        for n, s in zip(cells, sides(one.maps[name]), strict=True)
    )


def resized(out: Map, before: Size, after: Size) -> Map:
    """How a map lies on tiles of another size."""
    size = tuple(
        n + int(Fraction(new - old) / stride)
        for n, old, new, stride in zip(out.size, before, after, out.stride, strict=True)
    )
    return replace(out, size=size)


def sensible(one: PaddingHalo) -> int | None:
    """The smallest tile, px, on which the overlap costs no more than a pixel for each pixel kept; None where there is none."""
    return smallest(one.tile, one.period, _need_pixels(one), lambda tile: _tiles(one, tile))


def smallest(tile: Size, period: Size, need: int, tiles: Callable[[Size], Tiling | None]) -> int | None:
    """The smallest square tile, px, on which an overlap costs no more than a pixel for each pixel kept; None where there is none.

    Args:
        tile: sizes are congruent to it modulo the total stride.
        period: the total stride along each axis, px.
        need: px to drop on each side.
        tiles: of a size, or None.
    """
    step, side = max(period), max(tile)
    # size / (size - 2 need) <= the root of 1 + sensible
    least = 2 * need / (1 - (1 + _SENSIBLE) ** (-1 / len(tile)))
    first = side + ceil((least - side) / step) * step
    for size in range(first, first + _TRIED * step, step):
        found = tiles((size,) * len(tile)) if size > 0 else None
        if found is not None and found.cost <= _SENSIBLE:
            return size
    return None


# ------------------------------------------------------------------------------------------------------ in one sentence


def verdict(halo: Halo) -> str:
    """One sentence a user decides by: what the tile needs and costs, a larger one, and another padding."""
    one = halo.first
    if any(bool(out.stray.any()) for out in one.outputs.values()):
        return "No overlap can be advised: the output changes beyond the structural halo, or by rounding alone."
    if one.floors:
        return _with_statistics(halo)
    every = choices(halo)
    own = [each for each in every if each.padding == one.padding]
    here = next(each for each in own if each.measured)
    larger = [each for each in own if each.tiling is not None and max(each.tile) > max(one.tile)]
    others = sorted(
        (each for each in every if each.padding != one.padding and each.measured and each.cost is not None),
        key=lambda each: each.cost or 0.0,
    )
    if here.tiling is None:
        return f"{_named(here)} have no room for a tolerance of {halo.tolerance:g}: they would need 2 x {_need_pixels(one)} px{_instead(one, larger, others)}."
    said = f"{_named(here)} need {_overlap(here.tiling)}, which costs {_percent(here)} extra pixels"
    if not max(here.tiling.pixels):
        return f"{_named(here)} need no overlap at a tolerance of {halo.tolerance:g}."
    if here.absurd:
        return f"{said}: that makes no sense{_instead(one, larger, others)}."
    if others and here.cost and others[0].cost is not None and others[0].cost < _LESS * here.cost:
        share = others[0].cost / here.cost
        brings = "halves that" if _HALVES[0] <= share <= _HALVES[1] else f"brings that to {_percent(others[0])}"
        said += f"; {label(others[0].padding)} padding {brings}"
    if larger:
        said += f"; {_named(larger[-1])} cost {_percent(larger[-1])} instead"
    return f"{said}."


def _overlap(tiles: Tiling) -> str:
    """``2 x 46 px`` where all sides need alike, else the overlap of rows and columns."""
    if len(set(tiles.pixels)) == 1:
        return f"2 x {tiles.pixels[0]} px"
    overlap = tiles.overlap
    if len(set(overlap)) == 1:
        return f"an overlap of {overlap[0]} px"
    if len(overlap) == 2:
        return f"an overlap of {overlap[0]} px down and {overlap[1]} px across"
    return f"an overlap of {times(overlap, ' x ')} px"


def _with_statistics(halo: Halo) -> str:
    """The sentence for outputs that see all of a tile: what statistics do, what overlap removes padding's part, what larger tiles do."""
    one = halo.first
    floor = max(one.floors.values(), key=lambda each: each.value)
    own = next(each for each in choices(halo) if each.padding == one.padding and each.measured)
    kinds = list(dict.fromkeys(call.partition(" in ")[0] for call in floor.operators))
    whose = kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]}"
    mends = f"{100 * floor.share:.0f} % of what changes comes from statistics over each tile ({whose}), which no overlap mends"
    if one.keeps and own.tiling is not None:
        need = f"2 x {max(own.tiling.pixels)} px, which costs {_percent(own)} extra pixels"
        said = f"{_named(own)} need {need}; {mends} ({number(floor.value)} of the {halo.tolerance:g} allowed)"
    else:
        said = f"{_named(own)}: {mends} ({number(floor.value)}, tolerance {halo.tolerance:g})"
        if own.tiling is None:
            said += f"; there is no room to remove padding's part, which takes 2 x {_need_pixels(one)} px"
        else:
            said += (
                f"; with 2 x {max(own.tiling.pixels)} px padding leaves less than that ({_percent(own)} extra pixels)"
            )
    sizes = sorted({**floor.sizes, one.tile: floor.value}.items())
    if len(sizes) > 1:
        said += f"; tiles of {', '.join(text_of(size) for size, _ in sizes)} px: {' -> '.join(number(value) for _, value in sizes)}"
    return f"{said}."


def text_of(size: Size) -> str:
    """One number, or rows x columns where the axes differ."""
    return str(size[0]) if len(set(size)) == 1 else times(size, " x ")


def _instead(one: PaddingHalo, larger: list[Choice], others: list[Choice]) -> str:
    rest = "a larger tolerance, or one pass over the whole image"
    if others and not others[0].absurd:
        rest = f"{label(others[0].padding)} padding ({_percent(others[0])}), {rest}"
    best = next((each for each in larger if not each.absurd), None)
    if best is not None:
        return f"; take {_named(best)} ({_percent(best)} extra pixels), {rest}"
    enough = sensible(one)
    if enough is not None:
        return f"; take tiles of {enough} px or more, {rest}"
    return f"; take {rest}"


def _named(each: Choice) -> str:
    return f"{each.tile[0]}-px tiles" if len(set(each.tile)) == 1 else f"tiles of {times(each.tile, ' x ')} px"


def _percent(each: Choice) -> str:
    return f"{100 * (each.cost or 0.0):.0f} %"
