"""The advice in the units of the tools that tile images.

Tools differ in what they do where tiles overlap. Dropping the rim of every tile keeps the tolerance by construction (`dropping`);
averaging overlapping tiles mixes their rims in, and keeps it only where the weights are small enough there (`blended`). Each entry says
what its tool must be told so that the tolerance holds, or why it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from padprint.overlap.tiling import Tiling
from padprint.overlap.tools import blended, dropping, monai
from padprint.overlap.tools.monai import monai_arguments, weight_map
from padprint.overlap.tools.tool import Dropping

if TYPE_CHECKING:
    from padprint.overlap.widths import PaddingHalo

__all__ = ["Dropping", "lines", "lines_of", "monai_arguments", "units", "units_of", "weight_map"]

_DROPPING = (*dropping.FIRST, monai.TOOL, *dropping.TOOLS)
_TOOLS = (*_DROPPING, *blended.TOOLS)


def units(one: PaddingHalo, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The advice as the arguments of other tools for images of as many axes, in plain values; an entry that does not apply holds a "reason".

    Args:
        one: what a padding needs.
        known: of the images, see `Source.record`: with a "sample_rate" times are told in seconds too, with a "spacing" distances in mm.

    Raises:
        HaloError: the tile has no room for the advice.
    """
    measured = {tool.name: tool.entry(one) for tool in blended.TOOLS if len(one.tile) in tool.axes}
    return units_of(one.advised, one, known) | measured


def units_of(tiles: Tiling, one: Dropping, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The entries of `units` for tools that drop what overlaps."""
    found = {tool.name: tool.entry(tiles, one) for tool in _DROPPING if len(tiles.tile) in tool.axes}
    return found | dropping.measures(tiles, one, known or {})


def lines(one: PaddingHalo, known: Mapping[str, Any] | None = None) -> Iterator[str]:
    """The advice in words, one line for each tool."""
    yield from lines_of(units(one, known), one.advised)


def lines_of(found: Mapping[str, Any], tiles: Tiling) -> Iterator[str]:
    """Entries of `units` in words."""
    yield from dropping.measured_lines(found)
    for tool in _TOOLS:
        if len(tiles.tile) in tool.axes:
            entry = found.get(tool.name, blended.UNMEASURED)
            for said in [entry["reason"]] if "reason" in entry else tool.words(entry):
                yield f"{tool.title}: {said}"
