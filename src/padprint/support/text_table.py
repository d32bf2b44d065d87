"""Tables in columns of fixed width."""

from __future__ import annotations

from collections.abc import Sequence

from padprint.support.wording import middle


def fitted(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, less: Sequence[str], names: int = 1, gap: int = 2
) -> tuple[list[str], list[list[str]], list[str]]:
    """A table that fits a width: columns are left out one after another, then names lose their middle.

    Args:
        headers: of the columns.
        rows: of texts.
        width: characters.
        less: columns it may do without, the first of them first.
        names: so many first columns hold names; each keeps 12 characters while there are columns to leave out.
        gap: characters between columns.

    Returns:
        Headers, rows, and the columns left out in the order they stood.
    """
    kept = list(headers)
    for absent in (None, *less):
        if absent in kept:
            kept.remove(absent)
        places = [headers.index(header) for header in kept]
        widths = [max(len(row[place]) for row in (headers, *rows)) for place in places]
        room = width - sum(widths[names:]) - gap * (len(places) - 1)
        if room >= sum(min(width, 12) for width in widths[:names]):
            break
    of_names = widths[:names]
    while sum(of_names) > room and max(of_names) > 4:
        of_names[of_names.index(max(of_names))] -= 1
    cut = [
        [middle(text, of_names[i]) if i < names else text for i, text in enumerate(row[place] for place in places)]
        for row in rows
    ]
    return kept, cut, [header for header in headers if header not in kept]


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in columns of fixed width, as lines."""
    table = [headers, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(headers))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return [line.rstrip() for line in lines]
