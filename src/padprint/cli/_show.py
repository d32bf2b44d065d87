"""What people and programs see: tables, warnings and errors on standard error, JSON on standard output."""

# rich is imported when there is something to show
from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from padprint.cli import _processes
from padprint.errors import PadprintError
from padprint.geometry import inspection_text
from padprint.results import tables
from padprint.support import text_table, wording

if TYPE_CHECKING:
    from rich.console import Console

    from padprint.cli._options import Screen
    from padprint.geometry.inspection import Inspection
    from padprint.results.comparison import Comparison
    from padprint.results.estimates import ByLayer
    from padprint.results.measurement import Measurement

_WORDS = ("swappable",)  # columns of words, which may wrap
_UNBOUND = 10_000  # columns of what goes to a file or a pipe, and of --wide
_VALUE = r"(\[[^\]]*\]|'[^']*'|[\w.+-]*\w)"
_KEYWORDS = re.compile(
    rf"\b(resize_short_side|max_megapixels|crops_per_image|batch_size|limit|margin|layers|output_layer|crop|tile|tolerance|padding|axes|channels|sample_rate|spacing|memory)={_VALUE}"
)


@contextlib.contextmanager
def reporting(screen: Screen | None = None) -> Iterator[Console]:
    """A console on standard error, with the phases of the work; one line for a warning, and one and status 1 for an expected failure.

    What the work prints on standard output (a model's own code may) goes to standard error as well.

    Args:
        screen: what is to be shown there.

    Raises:
        typer.Exit: with status 1, after a padprint error, an error of the file system, an interruption, or where the code
            of a model ends the program, whatever status it asks for.
    """
    from rich.console import Console

    from padprint.support.progress import display, phase

    unbound = (screen is not None and screen.wide) or not (sys.stderr.isatty() or "COLUMNS" in os.environ)
    console = Console(
        stderr=True, markup=False, highlight=False, emoji=False, width=_UNBOUND if unbound else None, soft_wrap=False
    )

    def one_line(message: Warning | str, *_: Any, **__: Any) -> None:
        lines(console, [f"warning: {_tidy(message)}"])

    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings(), _logging(console, screen):
        warnings.showwarning = one_line
        try:
            with display(screen is not None and wants_progress(screen.quiet), console), phase("starting"):
                yield console
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, PadprintError | OSError):
                raise
            lines(console, [f"error: {_why(error)}"])
            raise typer.Exit(1) from error


@contextlib.contextmanager
def _logging(console: Console, screen: Screen | None) -> Iterator[None]:
    """What padprint logs goes to the console: with --verbose what is done, and from the level on that PADPRINT_LOG names."""
    from padprint.support.progress import log

    named = os.environ.get("PADPRINT_LOG", "").upper()
    level = logging.getLevelName(named) if named else logging.INFO if screen is not None and screen.verbose else None
    if isinstance(level, str):
        raise typer.BadParameter(f"{named!r} is no level: debug, info, warning or error", param_hint="PADPRINT_LOG")
    if level is None or not _processes.first():
        yield
        return

    class OnConsole(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines(console, [f"{record.levelname.lower()}: {_tidy(record.getMessage())}"])

    handler, before = OnConsole(), log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def _why(error: BaseException) -> str:
    """What is said of an error, on one line."""
    if isinstance(error, Exception):
        return _tidy(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted before the work was done"
    ended = f"{type(error).__name__}: {_tidy(error)}".rstrip(": ")
    return f"code that was run, the model's perhaps, ended the program before the work was done ({ended})"


def wants_progress(quiet: bool) -> bool:
    """A progress bar is for people: not when quiet, not in a file or a pipe, not from every process."""
    return not quiet and sys.stderr.isatty() and _processes.first()


def lines(console: Console, texts: Sequence[str]) -> None:
    """Print lines as they are, however long; only the first of several processes does."""
    for text in texts if _processes.first() else ():
        console.print(text, soft_wrap=True)


def as_json(document: dict[str, Any]) -> None:
    """Print JSON on standard output."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def measurement(console: Console, result: Measurement) -> None:
    """What it says, and what to do, as its page has it; its table, then notes, unmeasured layers and warnings."""
    from padprint.report.advice import what_to_do
    from padprint.report.verdict import verdict, voids

    if result.layers:
        said = [*voids(result), verdict(result), what_to_do(result, result.provenance.get("strides"))]
        lines(console, [wording.printable(line) for line in said])
    rows = [tables.cells(layer) for layer in result.layers.values()]
    axes = len(result.crop)
    table(console, tables.headers(axes), rows, tables.less(axes))
    _parts(console, {"": result})
    lines(console, [tables.summary(result), *tables.remarks(result)])


def comparison(console: Console, result: Comparison) -> None:
    """The finding, the table of a comparison, then what a reader must know."""
    from padprint.report.compared import comparison_verdict

    lines(console, [wording.printable(comparison_verdict(result))])
    table(console, tables.COMPARISON_HEADERS, tables.comparison_cells(result), tables.COMPARISON_LESS, names=2)
    _parts(console, result)
    lines(console, tables.comparison_remarks(result))


def _parts(console: Console, results: Mapping[str, Measurement]) -> None:
    """The table of layers that see the whole map, if there are any."""
    rows = tables.part_rows(results)
    if rows:
        table(console, tables.PART_HEADERS, rows, tables.PART_LESS)
        lines(console, [*tables.PART_REMARKS, ""])


def by_layer(console: Console, result: ByLayer[Any]) -> None:
    """The table of an older metric, then what belongs under it."""
    headers, rows = result.table()
    table(console, headers, rows)
    lines(console, [wording.printable(line) for line in result.lines()])


def inspection(console: Console, result: Inspection) -> None:
    """The table of padding operators, then counts and what is uneven."""
    headers, rows = inspection_text.table(result)
    table(console, headers, rows, ("kernel", "map", "stride", "swappable"))
    lines(console, inspection_text.remarks(result))


def table(
    console: Console, headers: Sequence[str], rows: Sequence[Sequence[str]], less: Sequence[str] = (), names: int = 1
) -> None:
    """Print a table; all columns but those of names are numbers, which never wrap.

    Args:
        console: where to.
        headers: of the columns.
        rows: of texts.
        less: columns that it does without on a narrow screen, the first of them first.
        names: so many first columns hold names.
    """
    from rich import box
    from rich.table import Table

    kept, cut, absent = text_table.fitted(headers, rows, console.width - 2, less, names, gap=3)
    printed = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, header in enumerate(kept):
        wraps = header in _WORDS
        printed.add_column(
            header, no_wrap=not wraps, overflow="fold", justify="left" if position < names or wraps else "right"
        )
    for row in cut:
        printed.add_row(*row)
    console.print(printed)
    if absent:
        lines(console, [f"not shown on {console.width} columns (--wide shows all): {', '.join(absent)}"])


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _tidy(message: Any) -> str:
    """The message on one line, with options as the command line spells them."""
    return _KEYWORDS.sub(_as_option, wording.printable(str(message)))


def _as_option(match: re.Match[str]) -> str:
    name, value = match.groups()
    values = ",".join(part.strip(" '\"") for part in value.strip("[]'").split(","))
    return f"--{'images-limit' if name == 'limit' else name.replace('_', '-')} {shlex.quote(values)}"
