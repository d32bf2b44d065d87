"""What is being done: phases by name, with their time in the log, and on standard error a bar with the time that is left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Advance = Callable[[], None]

log = logging.getLogger("padprint")
_display: ContextVar[Progress | None] = ContextVar("display", default=None)


@contextmanager
def display(shown: bool = True, console: Console | None = None) -> Iterator[None]:
    """Show the phases of the work within, one bar for the one that runs now; all are gone at the end.

    Args:
        shown: False shows nothing. Nor does a display inside another, which goes on.
        console: to show it on; None: standard error.
    """
    if not shown or _display.get() is not None:
        yield
        return
    from rich import console as rich_console
    from rich import progress as rich_progress
    from rich.text import Text

    class _TimeLeft(rich_progress.TimeRemainingColumn):
        """The time that is left, and nothing where that is not known."""

        def render(self, task: rich_progress.Task) -> Text:
            known = task.total is not None and task.time_remaining is not None
            return Text.assemble("left ", super().render(task)) if known else Text("")

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TextColumn("{task.fields[done]}"),
        rich_progress.TimeElapsedColumn(),
        _TimeLeft(),
    )
    with rich_progress.Progress(*columns, console=console or rich_console.Console(stderr=True), transient=True) as bars:
        token = _display.set(bars)
        try:
            yield
        finally:
            _display.reset(token)


@contextmanager
def phase(name: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """Name what is done within; yields a function to call after each unit of it. Also a decorator.

    Args:
        name: as in "measuring".
        total: number of units, or None where it is not known.
        unit: what is counted, in the plural; empty where nothing is.
    """
    started = time.perf_counter()
    log.info("%s%s", name, "" if total is None else f": {total} {unit}")
    with _bar(name, total, unit) as advance:
        yield advance
    log.info("%s: done in %.1f s", name, time.perf_counter() - started)


@contextmanager
def _bar(name: str, total: int | None, unit: str) -> Iterator[Advance]:
    """A bar in the place of that of the phase around it, where phases are shown."""
    bars = _display.get()
    if bars is None:
        yield lambda: None
        return
    around = [task.id for task in bars.tasks if task.visible]
    for task in around:
        bars.update(task, visible=False)
    mine = bars.add_task(name, total=total, done=f"0/{total}" if total else "")

    def advance() -> None:
        bars.advance(mine)
        task: Any = next(each for each in bars.tasks if each.id == mine)
        speed = task.finished_speed or task.speed
        of = f"{task.completed:g}" + (f"/{total}" if total else "")
        bars.update(mine, done=f"{of} {unit}" + (f", {speed:.2g}/s" if speed else ""))

    try:
        yield advance
    finally:
        bars.remove_task(mine)
        for task in around:
            bars.update(task, visible=True)


@contextmanager
def progress_bar(total: int | None, shown: bool, label: str = "measuring", unit: str = "images") -> Iterator[Advance]:
    """A phase, and a display of its own where none is shown yet.

    Args:
        total: number of units, or None where it is not known beforehand.
        shown: False shows nothing new.
        label: the phase's name.
        unit: what is counted, in the plural.
    """
    with display(shown), phase(label, total, unit) as advance:
        yield advance
