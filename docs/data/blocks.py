"""Text in a page that a script makes, between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

BLOCK = re.compile(r"(<!-- begin (\S+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)


def filled(page: str, makers: Mapping[str, Callable[[], str]]) -> str:
    """The page with its blocks made anew.

    Raises:
        KeyError: the page has a block that nothing makes.
    """
    return BLOCK.sub(lambda found: f"{found[1]}{makers[found[2]]().rstrip()}\n{found[4]}", page)


def contents(page: str) -> dict[str, str]:
    """The blocks of a page by name."""
    return {found[2]: found[3] for found in BLOCK.finditer(page)}


def markdown(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write(page: Path, makers: Mapping[str, Callable[[], str]]) -> bool:
    """Fill a page's blocks; whether anything changed."""
    old = page.read_text(encoding="utf-8")
    new = filled(old, makers)
    if new != old:
        page.write_text(new, encoding="utf-8")
    return new != old
