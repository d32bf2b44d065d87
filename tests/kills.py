"""Kill a process at each of its changes to files in turn, and see what is left: run as a script by test_atomic."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove")


def changes(event: str, details: tuple[object, ...]) -> bool:
    """Whether an audited operation changes files."""
    return event in CHANGES or (event == "open" and isinstance(details[2], int) and details[2] & os.O_ACCMODE != 0)


def killed_at(operation: int, work: Callable[[], object]) -> bool:
    """Do the work in a process of its own that dies before the n-th of its changes to files; whether it came to that."""
    child = os.fork()
    if child == 0:
        left = iter(range(operation))

        def stop(event: str, details: tuple[object, ...]) -> None:
            if changes(event, details) and next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(stop)
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


def every_kill(
    folder: Path,
    first: Callable[[Path], object] | None,
    second: Callable[[Path], object],
    check: Callable[[Path], str],
) -> tuple[list[str], list[str]]:
    """What `check` says after each kill of `second`, and what else there is in the folder when `second` then runs whole.

    Args:
        folder: to work in.
        first: makes what is there before, if anything is.
        second: is killed.
        check: reads the folder.
    """
    said: list[str] = []
    left: list[str] = []
    second(folder / "warm")  # what is imported on first use is imported
    for operation in count():
        place = folder / str(operation)
        if first is not None:
            first(place)
        ended = not killed_at(operation, lambda place=place: second(place))
        said.append(check(place))
        second(place)
        assert check(place) == "new"
        left += [str(one) for one in place.rglob(".sav*")]
        shutil.rmtree(place)
        if ended:
            break
    return said, left
