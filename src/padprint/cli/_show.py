"""What people and programs see: tables, warnings and errors on standard error, JSON on standard output."""

# rich is imported when there is something to show
from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from padprint import _inspection_text, _tables
from padprint.cli import _processes
from padprint.errors import PadprintError

if TYPE_CHECKING:
    from rich.console import Console

    from padprint.comparison import Comparison
    from padprint.geometry import Geometry, LayerGeometry
    from padprint.inspection import Inspection
    from padprint.result import Measurement

_WIDTH = 160  # of tables that go to a file or a pipe


@contextlib.contextmanager
def reporting() -> Iterator[Console]:
    """A console on standard error, one line for a warning, and one line and status 1 for an expected failure.

    What the work prints on standard output (a model's own code may) goes to standard error as well.

    Raises:
        typer.Exit: with status 1, after a padprint error, an error of the file system, an interruption, or where the code
            of a model ends the program, whatever status it asks for.
    """
    from rich.console import Console

    fixed = None if sys.stderr.isatty() or "COLUMNS" in os.environ else _WIDTH
    console = Console(stderr=True, markup=False, highlight=False, emoji=False, width=fixed)

    def one_line(message: Warning | str, *_: Any, **__: Any) -> None:
        lines(console, [f"warning: {_tidy(message)}"])

    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.showwarning = one_line
        try:
            yield console
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, PadprintError | OSError):
                raise
            lines(console, [f"error: {_why(error)}"])
            raise typer.Exit(1) from error


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
    if _processes.first():
        for text in texts:
            console.print(text, soft_wrap=True)


def as_json(document: dict[str, Any]) -> None:
    """Print JSON on standard output."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def measurement(console: Console, result: Measurement) -> None:
    """The table of a measurement, then notes, unmeasured layers and warnings."""
    rows = [_tables.cells(layer) for layer in result.layers.values()]
    table(console, _tables.HEADERS, rows)
    lines(console, [_tables.summary(result), *_tables.remarks(result)])


def comparison(console: Console, result: Comparison) -> None:
    """The table of a comparison, then what a reader must know."""
    table(console, _tables.COMPARISON_HEADERS, _tables.comparison_cells(result))
    lines(console, _tables.comparison_remarks(result))


def geometry(console: Console, found: Geometry, crop: tuple[int, int]) -> None:
    """The table of a geometry, then the layers that cannot be measured."""
    headers = (
        "layer",
        "channels",
        "size",
        "stride",
        "receptive field px",
        "rim cells t b l r",
        "reach px t b l r",
        "witness",
    )
    table(console, headers, [_geometry_row(layer) for layer in found.values() if layer.reason is None])
    rows, columns = crop
    py, px = found.period
    top, bottom, left, right = found.margin
    needed = f"an image needs {rows + top + bottom} x {columns + left + right} px for all of these layers"
    lines(console, [f"crop {rows} x {columns} px, total stride {py} x {px} px; {needed}"])
    if any(layer.exact is False for layer in found.values()):
        note = "* as far as was seen: an operator on the way cannot be read, or loses the trace; other content may reach further"
        lines(console, [note])
    reasons = [
        f"cannot be measured: {_tables.label(name)}: {layer.reason}" for name, layer in found.items() if layer.reason
    ]
    lines(console, reasons)


def inspection(console: Console, found: Inspection) -> None:
    """The table of padding operators, then counts and what is uneven."""
    headers, rows = _inspection_text.table(found)
    table(console, headers, rows)
    lines(console, _inspection_text.remarks(found))


def geometry_document(found: Geometry, crop: tuple[int, int]) -> dict[str, Any]:
    """A geometry as plain JSON values."""
    keys = (
        "channels",
        "size",
        "stride",
        "offset",
        "receptive_field",
        "rim",
        "reach",
        "margin",
        "witness",
        "exact",
        "reason",
    )
    return {
        "crop": list(crop),
        "period": list(found.period),
        "layers": {name: {key: _plain(getattr(layer, key)) for key in keys} for name, layer in found.items()},
    }


def _geometry_row(layer: LayerGeometry) -> tuple[str, ...]:
    return (
        _tables.label(layer.name),
        str(layer.channels),
        " x ".join(f"{size}" for size in layer.size or ()),
        _tables.stride(layer.stride) if layer.stride else "",
        " x ".join(f"{size}" for size in layer.receptive_field or ()),
        " ".join(f"{side}" for side in layer.rim or ()),
        " ".join(f"{side}" for side in layer.reach or ()),
        f"{layer.witness}{'' if layer.exact else '*'}",
    )


def table(console: Console, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; all columns but the first are numbers."""
    from rich import box
    from rich.table import Table

    printed = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, header in enumerate(headers):
        printed.add_column(header, overflow="fold", justify="left" if position == 0 else "right")
    for row in rows:
        printed.add_row(*row)
    console.print(printed)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _tidy(message: Any) -> str:
    """The message on one line."""
    return _tables.printable(str(message))
