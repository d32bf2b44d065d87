"""The page of a halo: which tiles to take, what they cost and leave, and how to check it."""

from __future__ import annotations

from padprint.overlap import text, tools
from padprint.overlap.distance import ERRORS
from padprint.overlap.result import Halo
from padprint.plot._base import figure_of, new_figure
from padprint.report.advice import Step, command
from padprint.report.charts import svg
from padprint.report.plain import Chart, Plain, Table, plain_page
from padprint.support.wording import label

_DRAWN = (
    "The largest error at any distance beyond a halo, against the halo's width. Lines: all images together; bands: what a "
    "further image stays below; dots: what is advised; upright lines: where padding cannot reach any more; arrows: below the axis.",
    "The same against the extra pixels that the overlap costs: tiles that one may be advised, at one tolerance or another.",
)


def halo_page(halo: Halo) -> str:
    """The page as text.

    Args:
        halo: the result.

    Raises:
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    figures = [new_figure(4.8, 3.6), new_figure(4.8, 3.6)]
    axes = [figure.add_subplot() for figure in figures]
    halo.plot(axes)
    share = f"{100 * halo.first.promises.promised:.3g} %"
    frame = halo.to_frame()
    curve = [tuple(x if isinstance(x, str) else float(x) for x in row) for row in frame.itertuples(index=False)]
    voids = [f"{label(padding.padding)}: {padding.reason}" for padding in halo.values() if padding.reason is not None]
    return plain_page(
        Plain(
            heading="Tile overlap of",
            title=str(halo.provenance.get("model") or "the network"),
            verdict=halo.verdict,
            lead=[_meaning(halo), *(f"{line[:1].upper()}{line[1:]}." for line in halo.warnings)],
            first=[Table("Tiles to choose from", text.tile_headers(halo), text.tile_rows(halo))],
            notes=[
                f"Error: over all images together, and in brackets what {share} of further images stay below.",
                *text.tile_notes(halo),
            ],
            charts_title="What an overlap leaves and costs",
            charts=[Chart(svg(figure_of(ax), alt), alt) for ax, alt in zip(axes, _DRAWN, strict=True)],
            steps=_steps(halo),
            tables=[
                Table("Halos", text.HEADERS, text.cells(halo)),
                Table("Error by halo", tuple(frame.columns), curve),
            ],
            remarks=[text.summary(halo), *text.by_output(halo), *text.paired(halo), *_units(halo)],
            settings=[
                (key.replace("_", " "), _plain(value)) for key, value in halo.provenance.items() if key != "measured"
            ],
            voids=voids if len(voids) == len(halo) else [],
        )
    )


def _meaning(halo: Halo) -> str:
    """What the verdict is about, for who has not tiled before."""
    return (
        "Near a tile's border the output differs from that of one pass over the whole image, as the tile is padded where the "
        "image goes on. So tiles overlap, and the outermost px of each are dropped: what is kept differs by no more than "
        f"{halo.tolerance:g} ({ERRORS[halo.error]})."
    )


def _steps(halo: Halo) -> list[Step]:
    first = halo.first
    steps: list[Step] = []
    if first.tiling is not None:
        units = list(tools.lines(first, halo.known))
        steps.append({"text": "Let tiles overlap so; in the units of tiling tools:", "command": None, "lines": units})
        if "command" in halo.provenance:
            again = command(halo, "halo", "--verify OTHERS")
        else:
            again = f"padprint halo MODEL IMAGES --tile {halo.tile[0]} --tolerance {halo.tolerance:g} --verify OTHERS"
        steps.append(
            {
                "text": "Check it on other images: the network is run in these tiles and compared with one pass.",
                "command": again,
            }
        )
    steps.append(
        {
            "text": "Read the same measurement at another tolerance, without measuring again:",
            "command": "padprint halo FOLDER --tolerance 0.05",
        }
    )
    return steps


def _units(halo: Halo) -> list[str]:
    return [
        f"{label(one.padding)}: {line}"
        for one in list(halo.values())[1:]
        if one.tiling is not None
        for line in tools.lines(one, halo.known)
    ]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {item}" for key, item in value.items()) or "none"
    return str(value)
