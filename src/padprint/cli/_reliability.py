"""``padprint study reliability``."""

# heavy imports wait until the command runs
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padprint.cli._bundles import bundled
from padprint.cli._options import Report, Screen

if TYPE_CHECKING:
    from rich.console import Console

    from padprint.studies.reliability_tables import Reliability

EPILOG = "Example: padprint study reliability --output reliability --quick"


@bundled()
def reliability(
    output: Annotated[
        Path,
        typer.Option("--output", metavar="DIR", help="Folder for records, tables and figure; a stopped study goes on."),
    ],
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few scenes and repetitions: minutes, wide intervals.")
    ] = False,
    repetitions: Annotated[int | None, typer.Option(min=3, help="Of everything, with other scenes and seeds.")] = None,
    scenes: Annotated[int | None, typer.Option(min=6, help="Scenes in each repetition.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of PosENet's readout.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything.")] = None,
    report: Report = False,
    screen: Screen,
) -> None:
    """Try every metric of position on networks of which the truth is known."""
    from dataclasses import replace

    from padprint.cli import _show
    from padprint.studies.reliability import QUICK, Settings, run

    asked: dict[str, Any] = {"repetitions": repetitions, "scenes": scenes, "epochs": epochs, "seed": seed}
    with _show.reporting(screen) as console:
        from padprint.cli._commands import check_output

        check_output(output, plots=True, report=report)
        settings = replace(QUICK if quick else Settings(), **{k: v for k, v in asked.items() if v is not None})
        study = run(output, settings, progress=_show.wants_progress(screen.quiet))
        study.save(output)
        if report:
            from padprint.report import publish
            from padprint.studies.reliability_page import reliability_page

            publish(reliability_page(study), output / "report.html")
        if not screen.quiet:
            _print(console, study, output)
            _show.lines(console, [f"wrote {output / 'report.html'}"] * report)
    if screen.json:
        _show.as_json(study.to_dict())


def _print(console: Console, study: Reliability, output: Path) -> None:
    from padprint.cli import _show

    headers, rows = study.table()
    _show.table(console, headers, rows)
    _show.lines(console, [*study.lines(), f"wrote tables and reliability.png, reliability.svg to {output}"])
