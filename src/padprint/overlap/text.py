"""Halos as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from padprint.overlap.distance import ERRORS
from padprint.overlap.tile_sizes import Choice, choices
from padprint.support.axes import Size, side_names
from padprint.support.text_table import aligned
from padprint.support.wording import label, number, past_and_future, through

if TYPE_CHECKING:
    from padprint.overlap.output_halo import Width
    from padprint.overlap.result import Halo
    from padprint.overlap.tiling import Tiling
    from padprint.overlap.widths import PaddingHalo

HEADERS = (
    "padding",
    "structural px",
    "effective px [images]",
    "advised halo px",
)


ROUNDING = 1e-4
"""Changes below this share of an output's size may be rounding, in single precision and many layers."""


def table(halo: Halo) -> str:
    """The table of a halo and what must be said of it."""
    lines = aligned(HEADERS, cells(halo))
    return "\n".join(
        [
            halo.verdict,
            "",
            summary(halo),
            *(line.rstrip() for line in lines),
            "",
            *table_of_tiles(halo),
            "",
            *remarks(halo),
        ]
    )


TILE_HEADERS = ("padding", "tile px", "overlap px", "extra pixels")


def tile_headers(halo: Halo) -> tuple[str, ...]:
    """Headers of `tile_rows`."""
    if not halo.first.floors:
        return (*TILE_HEADERS, f"error [{_share(halo.first)} of images]")
    return (*TILE_HEADERS, f"padding leaves [{_share(halo.first)} of images]", "statistics leave")


def tile_rows(halo: Halo) -> list[tuple[str, ...]]:
    """One row for each padding and tile size: what it needs, costs and leaves."""
    if not halo.first.floors:
        return [_tile_row(each) for each in choices(halo)]
    return [(*_tile_row(each), _left(halo[each.padding], each.tile)) for each in choices(halo)]


def _left(one: PaddingHalo, tile: Size) -> str:
    """What statistics over tiles of a size leave, where that was measured; of the worst output."""
    known = [floor.value if tile == one.tile else floor.sizes.get(tile) for floor in one.floors.values()]
    values = [value for value in known if value is not None]
    return number(max(values)) if values else ""


def _tile_row(each: Choice) -> tuple[str, ...]:
    mark = "" if each.measured else "~" if each.crossed else "*"
    first = (label(each.padding), pair(each.tile) + mark)
    tiles = each.tiling
    if tiles is None or each.error is None or each.limit is None:
        return (*first, "no room", "", "")
    cost = f"{100 * tiles.cost:.0f} %{' (absurd)' * each.absurd}"
    return (*first, pair(tiles.overlap), cost, f"{number(each.error)} [{number(each.limit)}]")


def table_of_tiles(halo: Halo) -> Iterator[str]:
    """The rows of `tile_rows`, aligned, and what their marks mean."""
    rows = [tile_headers(halo), *tile_rows(halo)]
    yield from aligned(rows[0], rows[1:])
    yield from tile_notes(halo)


def tile_notes(halo: Halo) -> Iterator[str]:
    """What the marks of `tile_rows` mean."""
    yield f"* by the errors at each distance from the border, measured on tiles of {pair(halo.tile)} px"
    if any(each.crossed and not each.measured for each in choices(halo)):
        yield "~ likewise, but in a tile below two structural halos some cells see two borders at once: measure with --tile before you rely on it"


def cells(halo: Halo) -> list[tuple[str, ...]]:
    """One row for each padding."""
    return [_row(one) for one in halo.values()]


def _row(one: PaddingHalo) -> tuple[str, ...]:
    first = (label(one.padding), str(one.structural), width(one.effective))
    tiles = one.tiling
    if tiles is None:
        return (*first, "not reached")
    return (*first, halo_pixels(tiles))


def _share(one: PaddingHalo) -> str:
    return f"{100 * one.promises.promised:.3g} %"


def width(one: Width) -> str:
    """``72 [56, 96]``: over all images, and of the single images the least and the most."""
    return f"{one.value} [{one.low}, {one.high}]"


def pair(values: Sequence[int | str]) -> str:
    """One number, or ``rows x columns`` where they differ."""
    return str(values[0]) if len(set(values)) == 1 else " x ".join(map(str, values))


def halo_pixels(tiles: Tiling) -> str:
    """One number, or (top, bottom, left, right) where they differ."""
    sides = tiles.pixels
    return str(sides[0]) if len(set(sides)) == 1 else " ".join(map(str, sides))


def summary(halo: Halo) -> str:
    """What was asked."""
    outputs = ", ".join(label(name) for name in halo.first.outputs)
    return (
        f"{outputs}: tile {pair(halo.tile)} px, tolerance {halo.tolerance:g} ({ERRORS[halo.error]}), "
        f"{halo.n_images} image{'s' * (halo.n_images > 1)}, {halo.n_tiles} tiles, total stride "
        f"{pair(halo.first.period)} px"
    )


def remarks(halo: Halo) -> Iterator[str]:
    """What must be said of the table."""
    yield from by_output(halo)
    yield from _time_of(halo)
    for one in halo.values():
        yield from statistics_of(one)
        if one.tiling is None:
            yield f"{label(one.padding)}: {not_reached(one)}"
    yield from paired(halo)
    for name, reason in halo.unmeasured.items():
        yield f"not a map: {label(name)}: {reason}"
    for warning in halo.warnings:
        yield f"warning: {warning}"


def by_output(halo: Halo) -> Iterator[str]:
    """Halos of every output by side, in its own cells."""
    for one in halo.values():
        for name, out in one.outputs.items():
            stride = pair([f"{float(s):g}" for s in out.map.stride])
            effective = [side.value for side in out.effective]
            yield (
                f"{label(one.padding)}: {label(name)}: cells of {stride} px, on {', '.join(side_names(len(halo.tile)))}: structural halo "
                f"{_by_side(out.structural)}, effective halo {_by_side(effective)} cells"
            )


def _by_side(cells: Sequence[int]) -> str:
    return " ".join(map(str, cells))


def _time_of(halo: Halo) -> Iterator[str]:
    """Of waveforms, what each padding needs before and after, in words."""
    for one in halo.values() if len(halo.tile) == 1 else ():
        each = [one.need_by_side(name) for name in one.outputs]
        yield f"{label(one.padding)}: a tile needs {past_and_future(*map(max, zip(*each, strict=True)))}"


def statistics_of(one: PaddingHalo) -> Iterator[str]:
    """What statistics over tiles leave in each output that has some."""
    for name, floor in one.floors.items():
        asked = one.outputs[name].tolerance
        below = (
            f"less than the tolerance of {asked:g}, so that {number(one.tolerance)} is left for padding"
            if one.outputs[name].keeps
            else f"not within the tolerance of {asked:g}: the overlap is that beyond which padding leaves less than statistics"
        )
        yield (
            f"{label(one.padding)}: {label(name)}: statistics over each tile ({through(floor.operators)}) leave {number(floor.value)} "
            f"over all cells, at any distance less than {number(floor.limit)} in {_share(one)} of images, {below}"
        )


def paired(halo: Halo) -> Iterator[str]:
    """Every padding against the first, on the same tiles."""
    first, *others = halo.values()
    for other in others:
        pairs = list(zip(other.image_pixels, first.image_pixels, strict=True))
        fewer, more = sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)
        yield (
            f"{label(other.padding)} needs {other.effective.value} px where {label(first.padding)} needs "
            f"{first.effective.value}: fewer in {fewer} and more in {more} of {len(pairs)} images, on the same tiles"
        )


def not_reached(one: PaddingHalo) -> str:
    """Why there is no advice."""
    if any(bool(out.stray.any()) for out in one.outputs.values()):
        return strays(one)
    need = f"{_share(one)} of further images need a halo of up to {one.need_pixels} px on each side"
    if one.fitting is not None:
        most = (
            f"tiles that drop {halo_pixels(one.fitting)} px leave {number(one.error_of(one.fitting))}, and "
            f"{number(one.limit_of(one.fitting.halos))} is what can be promised"
        )
    elif one.best is None:
        most = "no step of the total stride fits into its maps"
    else:
        tiles, limit = one.best
        whole = f"a halo of {halo_pixels(tiles)} px ({number(one.error_of(tiles))} over all images measured)"
        most = (
            f"the best it can do is {number(limit)}, with {whole}"
            if isfinite(limit)
            else f"the most it can drop is {whole}, and one image does not tell what others need: measure a dozen"
        )
    return (
        f"a tile of {pair(one.tile)} px has no room for a tolerance of {one.tolerance:g}: {need}, {most}; "
        f"take larger tiles (beyond {2 * one.structural} px the tolerance is always reached) or a larger tolerance"
    )


def strays(one: PaddingHalo) -> str:
    """What is said of an output that changes where no padding that was seen can reach."""
    name, out = max(one.outputs.items(), key=lambda each: each[1].stray_pixels)
    size = out.stray_error
    relative = size if out.error == "relative" else size / out.scale if out.error != "labels" and out.scale else 1.0
    far = f"{number(size)} at {out.stray_pixels} px from the border"
    if relative <= ROUNDING:
        return (
            f"a tolerance of {one.tolerance:g} is below rounding: {label(name)} differs by {far}, beyond the structural halo of "
            f"{max(out.structural_pixels)} px, where only rounding is left; take a larger tolerance"
        )
    return (
        f"{label(name)} changes by {far}, beyond the structural halo of {max(out.structural_pixels)} px and by more than the "
        f"tolerance of {one.tolerance:g}: something pads that was not seen, so no overlap can be advised"
    )
