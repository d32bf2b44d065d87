"""matplotlib figures as inline SVG that takes its colours and its font from the page, in light and in dark."""

from __future__ import annotations

import hashlib
import io
import re
from html import escape
from typing import TYPE_CHECKING

from padprint.plot._base import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE = {
    "#000000": "var(--ink)",
    "#ffffff": "var(--paper)",
    "#dddddd": "var(--line)",
    "#888888": "var(--soft)",
    "#e6e6e6": "var(--tint)",
    "#222222": "var(--soft)",
    "#cccccc": "var(--line)",
    **{colour: f"var(--series-{i})" for i, colour in enumerate(COLOURS)},
}


def svg(figure: Figure, alt: str) -> str:
    """A figure as an `<svg>` element; text stays text.

    Args:
        figure: of black, white, greys and the colours of `padprint.plot`, for which the page's are put; others stay.
        alt: what it shows, for those who do not see it.
    """
    from matplotlib import rc_context

    content = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "padprint"}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'style="[^"]*"', lambda match: _restyled(match[0]), text)
    own = hashlib.sha256(text.encode()).hexdigest()[:8]  # ids are unique in a page
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'\bid="', f'id="{own}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{own}-", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    width, height = figure.get_size_inches() * 72
    start = f'<svg class="figure" viewBox="0 0 {width:g} {height:g}" width="{width * 4 / 3:.0f}" height="{height * 4 / 3:.0f}" '
    start += f'role="img" aria-label="{escape(alt)}">'
    return start + text[text.index(">") + 1 :].strip()


def _restyled(style: str) -> str:
    """A style with the page's colours and font."""
    style = re.sub(r"#[0-9a-f]{6}\b", lambda match: _PAGE.get(match[0], match[0]), style)
    return re.sub(r"(font(?:-family)?: [^;\"]*?)'[^;\"]*", r"\1var(--font)", style)
