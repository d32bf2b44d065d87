"""Files that take their places together: whoever is killed leaves all of the old ones or all of the new ones, whole.

New files are completed in a folder of their own, ``.saving-…``, inside the one they are for. One file takes its place by a
rename. Of several, the folder is renamed to ``.saved``: from then on they count, and `current` finds them there until each
has been moved to its place. What a killed process left is moved on, or removed, by the next that writes into the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from padprint.errors import ResultError

if sys.platform != "win32":
    import fcntl

SAVING = ".saving-"
SAVED = ".saved"


def publish(folder: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill an empty folder; its files then take their places below `folder`, all at once.

    Args:
        folder: made with its parents. Other files in it stay.
        write: gets the folder to fill; may make folders in it.

    Raises:
        ResultError: a path is taken, by a file where a folder is needed or the other way round.
    """
    _make(folder)
    with _unfinished(folder) as unfinished:
        write(unfinished)
        names = _files(unfinished)
        for name in names:
            _make((folder / name).parent)
            if (folder / name).is_dir():
                raise ResultError(f"{folder / name} cannot be a file, a folder has that name; choose another one")
            with (unfinished / name).open("rb+") as written:
                os.fsync(written.fileno())
        _finish(folder)
        if len(names) == 1:
            (unfinished / names[0]).replace(folder / names[0])
            return
        while not _renamed(unfinished, folder / SAVED):  # another process saved meanwhile
            _finish(folder)
    _finish(folder)


def publish_file(path: Path, write: Callable[[Path], object]) -> Path:
    """Have `write` make one file at the path it is given, which then takes its place: whole, or not at all.

    Args:
        path: of the file; its folder is made with its parents.
        write: writes to the path it is given.

    Returns:
        The path.

    Raises:
        ResultError: see `publish`.
    """
    publish(path.parent, lambda unfinished: write(unfinished / path.name))
    return path


def tidy(folder: Path, pattern: str = f"**/{SAVING}*") -> None:
    """Remove what killed processes left unfinished in a folder and below it; what is still worked on stays."""
    for left in folder.glob(pattern):
        with _locked(left) as mine:
            if mine:
                shutil.rmtree(left, ignore_errors=True)


def current(path: Path) -> Path:
    """Where a file is to be read: in its place, or among those that a stopped process had completed for it.

    Args:
        path: of a file in a folder that was published, or in a folder of such a folder.
    """
    whole = path.absolute()
    for folder in whole.parents[:2]:
        waiting = folder / SAVED / whole.relative_to(folder)
        if waiting.is_file():
            return waiting
    return path


def read(path: Path) -> bytes:
    """What is in a file, see `current`.

    Raises:
        FileNotFoundError: it is not there.
    """
    with contextlib.suppress(FileNotFoundError):  # it took its place after it was found
        return current(path).read_bytes()
    return path.read_bytes()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ResultError(f"{folder} cannot be a folder, a file has that name; choose another one") from error


def _files(folder: Path) -> list[Path]:
    """The files below a folder, relative to it, in order; none where there is no folder."""
    return sorted(file.relative_to(folder) for file in folder.rglob("*") if not file.is_dir())


def _renamed(folder: Path, other: Path) -> bool:
    """Rename a folder; False where one with files in it has that name."""
    try:
        folder.replace(other)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
            return False
        raise
    return True


def _finish(folder: Path) -> None:
    """Move what counts already to its place; several processes may do so at once."""
    saved = folder / SAVED
    for name in _files(saved):
        _make((folder / name).parent)
        with contextlib.suppress(FileNotFoundError):  # another process moved it
            (saved / name).replace(folder / name)
    for empty in (*sorted((inner for inner in saved.rglob("*") if inner.is_dir()), reverse=True), saved):
        with contextlib.suppress(OSError):  # gone, or filled anew by another process
            empty.rmdir()


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A new folder in another, kept by a lock from those that tidy up; it is removed unless it was renamed."""
    tidy(folder, f"{SAVING}*")
    with contextlib.ExitStack() as stack:
        while True:
            path = folder / f"{SAVING}{secrets.token_hex(8)}"
            path.mkdir()
            stack.enter_context(_locked(path, wait=True))
            if path.is_dir():  # no other process took it for one that was left, before it was locked
                break
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Lock a folder for this process, which the system undoes when the process ends; whether it could."""
    if sys.platform == "win32":  # no locks on folders there, so nothing is taken for left over
        yield False
        return
    handle, mine = None, False
    try:
        with contextlib.suppress(OSError):  # locked by another, gone, or on a file system without locks
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            mine = True
        yield mine
    finally:
        if handle is not None:
            os.close(handle)
