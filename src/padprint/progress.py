"""What is being done, on standard error: phases by name, and a bar with the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

Advance = Callable[[], None]


@contextmanager
def progress_bar(total: int | None, shown: bool, label: str = "measuring", unit: str = "images") -> Iterator[Advance]:
    """Yield a function to call after each unit of work; it moves a bar with rate and remaining time, if `shown`.

    Args:
        total: number of units, or None where it is not known beforehand.
        shown: False yields a function that does nothing.
        label: in front of the bar.
        unit: what is counted, in the plural.
    """
    if not shown:
        yield lambda: None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}"),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("left"),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="")

        def advance() -> None:
            bar.advance(task)
            speed = bar.tasks[task].finished_speed or bar.tasks[task].speed
            bar.update(task, rate=f"{speed:.2f} {unit}/s" if speed else "")

        yield advance


class Phases:
    """Names what is being done, one phase after another, on one line that is gone at the end.

    Args:
        shown: False shows nothing.
    """

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._status: Status | None = None

    def __enter__(self) -> Phases:
        if self._shown:
            from rich.console import Console

            self._status = Console(stderr=True).status("starting")
            self._status.start()
        return self

    def __call__(self, name: str) -> None:
        """The phase that begins now."""
        if self._status is not None:
            self._status.update(name)

    def pause(self) -> None:
        """Leave the line to somebody else's bar."""
        if self._status is not None:
            self._status.stop()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()
