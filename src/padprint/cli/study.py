"""``padprint study``: padprint's own studies, run again or at another scale."""

# heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padprint.cli import _reliability
from padprint.cli._bundles import bundled
from padprint.cli._options import Report, Screen
from padprint.cli._parse import Command, Group
from padprint.support.atomic import publish_file

if TYPE_CHECKING:
    from rich.console import Console

    from padprint.studies.formation import Progress as Seen

app = typer.Typer(
    cls=Group,
    name="study",
    help="Studies of the pattern: run padprint's own again, or at your scale.",
    no_args_is_help=True,
)

app.command(epilog=_reliability.EPILOG, cls=Command)(_reliability.reliability)

Pictures = Annotated[bool, typer.Option("--plots", help="Draw the study's figures into the output folder.")]


@app.command(
    cls=Command,
    epilog="Examples: padprint study formation --output formation | padprint study formation --output big "
    "--images photos/ --model torchvision:resnet50 --crop 224 --steps 20000 --padding zeros reflect randn",
)
@bundled()
def formation(
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Folder of the study; an unfinished one goes on.")
    ],
    *,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings, as a study's config.json has them.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Folder of photographs. Default: those of scikit-image."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="MODEL", help="residual, vgg, torchvision:NAME, ...; repeatable."),
    ] = None,
    padding: Annotated[
        list[str] | None, typer.Option("--padding", metavar="SCHEMES", help="Schemes to train with, one or several.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", metavar="TASK", help="photographs or digits; repeatable.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", help="A seed; repeatable.")] = None,
    crop: Annotated[
        int | None, typer.Option("--crop", metavar="PX", min=1, help="Input size; scenes become four times as large.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps of each training.")] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Of training: 32-true, bf16-mixed or 16-mixed.")
    ] = None,
    plots: Pictures = False,
    report: Report = False,
    screen: Screen,
) -> None:
    """Train with each padding scheme and follow the pattern; resumable, and shared out under torchrun."""
    from padprint.cli import _processes, _show

    given: dict[str, Any] = {
        "images": None if images is None else str(images),
        "networks": model,
        "schemes": padding,
        "tasks": task,
        "seeds": seed,
        "crop": crop,
        "scene": None if crop is None else 4 * crop,
        "steps": steps,
        "precision": precision,
    }
    with _show.reporting(screen) as console:
        from padprint.cli._commands import check_output
        from padprint.report import publish
        from padprint.studies import formation as study
        from padprint.studies.formation_config import FormationConfig
        from padprint.studies.formation_page import formation_page
        from padprint.studies.formation_report import document, pictures, words

        check_output(output, plots=plots, report=report)
        settings = {} if config is None else FormationConfig.read(config).to_dict()
        settings |= {name: value for name, value in given.items() if value is not None}
        with _bar(console, screen.quiet) as watch:
            table = study.formation(FormationConfig.from_dict(settings), output, watch)
        if _processes.first():
            publish_file(output / "table.csv", partial(table.to_csv, index=False))
            findings = document(table, study.read_config(output))
            drawn = pictures(table, output) if plots else []
            if report:
                drawn.append(publish(formation_page(table, findings), output / "report.html"))
            if not screen.quiet:
                _show.lines(console, words(table, findings))
                names = ["table.csv", *(path.name for path in drawn)]
                _show.lines(console, [f"wrote {', '.join(names)} into {output}"])
    if screen.json and _processes.first():
        _show.as_json(findings)


@app.command(cls=Command, epilog="Example: padprint study properties formation --plots")
@bundled()
def properties(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of a formation study.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Where to write. Default: STUDY/properties.")
    ] = None,
    part: Annotated[
        list[str] | None, typer.Option("--part", metavar="PART", help="swap, size or images; repeatable. Default: all.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="Take trainings of this seed; repeatable. Default: the first.")
    ] = None,
    plots: Pictures = False,
    report: Report = False,
    screen: Screen,
) -> None:
    """Measure a formation study's networks: every scheme swapped in, other input sizes, ever more images."""
    from padprint.cli import _show

    with _show.reporting(screen) as console:
        from padprint.cli._commands import check_output
        from padprint.report import publish
        from padprint.studies.properties import PARTS, properties
        from padprint.studies.properties_page import properties_page
        from padprint.studies.properties_report import document, pictures, words
        from padprint.support.progress import progress_bar

        folder = output or study / "properties"
        check_output(folder, plots=plots, report=report)
        with progress_bar(None, _show.wants_progress(screen.quiet), "measuring", "networks") as advance:
            tables = properties(study, folder, part or PARTS, seed, watch=lambda *_: advance())
        for name, table in tables.items():
            publish_file(folder / f"{name}.csv", partial(table.to_csv, index=False))
        drawn = pictures(tables, folder) if plots else []
        if report:
            drawn.append(publish(properties_page(tables), folder / "report.html"))
        if not screen.quiet:
            _show.lines(console, words(tables))
            names = [*(f"{name}.csv" for name in tables), *(path.name for path in drawn)]
            _show.lines(console, [f"wrote {', '.join(names)} into {folder}"])
    if screen.json:
        _show.as_json(document(tables))


@contextmanager
def _bar(console: Console, quiet: bool) -> Iterator[Callable[[Seen], None]]:
    """Something to call after every step: it moves a bar, or prints a line for each finished training."""
    from padprint.cli import _show

    if not _show.wants_progress(quiet):
        yield lambda now: None if quiet or now.finished is None else _show.lines(console, [_line(now)])
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=None, left="")

        def watch(now: Seen) -> None:
            if now.finished is not None:
                _show.lines(bar.console, [_line(now)])
            done = now.done + (now.step / now.steps if now.finished is None else 0)
            left = f"{now.done}/{now.total}, {_left(now.remaining)}"
            bar.update(task, total=now.total, completed=done, description=str(now.unit), left=left)

        yield watch


def _line(now: Seen) -> str:
    """What is said of a training that has finished."""
    last = now.finished or {}
    numbers = ", ".join(f"{layer['snr']:.2g}" for layer in last["layers"])
    return (
        f"{now.done}/{now.total} {now.unit}: accuracy {last['accuracy']:.0%}, SNR by layer {numbers}; "
        f"{last['seconds']:.0f} s, {_left(now.remaining)}"
    )


def _left(seconds: float | None) -> str:
    """Remaining time in words."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"about {minutes} min left" if minutes else f"about {rest} s left"
