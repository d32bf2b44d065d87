"""Which files of a folder are images, and what is said of the others."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from padprint.errors import ImagesError, readable
from padprint.images.contents import Files
from padprint.images.pictures import suffixes
from padprint.images.readers import FOLDERS, reader_of
from padprint.images.tiffs import is_tiff


def find_files(files: Any) -> tuple[list[tuple[str, Path]], str]:
    """Name and path of every candidate file, and what to call the whole; see `look_for_files`."""
    named, where, _ = look_for_files(files)
    return named, where


def look_for_files(files: Any) -> tuple[list[tuple[str, Path]], str, dict[str, str]]:
    """Name and path of every candidate file, what to call the whole, and what was left out, with the reason.

    Files that hold other than two space axes are not looked for among pictures. Names hold no folder above those given, and can be printed: what is not UTF-8 in them is escaped.

    Raises:
        ImagesError: nothing there, or nothing that could be an image.
    """
    asked = files if isinstance(files, Files) else Files(files)
    if not isinstance(asked.paths, str | Path):
        return _listed([Path(file) for file in asked.paths]), "list", {}
    root = Path(asked.paths)
    if _is_file(root):
        return [(readable(root.name), root)], readable(root.name), {}
    if not root.is_dir():
        raise ImagesError(f"there is no file or folder {str(root)!r}{_instead(root)}")
    named, left_out = _found_below(root, pictures=asked.axes in (None, 2))
    if not named:
        out = "; ".join(f"{name} was left out: {reason}" for name, reason in list(left_out.items())[:3])
        raise ImagesError(f"no image file in the folder {str(root)!r}{f' ({out})' if out else ''}")
    return named, readable(root.resolve().name) or "folder", left_out


def _listed(paths: list[Path]) -> list[tuple[str, Path]]:
    for path in paths:
        if not _is_file(path):
            what = "a folder" if path.is_dir() else f"no file{_instead(path)}"
            raise ImagesError(f"{path} is {what}: a list must name files")
    if not paths:
        raise ImagesError("no image: the list of files is empty")
    whole = [path.absolute() for path in paths]
    above = os.path.commonpath([path.parent for path in whole])
    return [(readable(one.relative_to(above).as_posix()), path) for one, path in zip(whole, paths, strict=True)]


def _is_file(path: Path) -> bool:
    """Whether a path is a file, or a folder that is one to its reader."""
    return path.is_file() or (path.suffix.lower() in FOLDERS and path.is_dir())


def _found_below(root: Path, *, pictures: bool) -> tuple[list[tuple[str, Path]], dict[str, str]]:
    """The pictures below a folder, or what readers read where there is none, but hidden ones; and what cannot be used of the rest."""
    wanted = suffixes() if pictures else set()
    found: list[tuple[str, Path]] = []
    arrays: list[tuple[str, Path]] = []
    left_out: dict[str, str] = {}

    def name_of(path: Path) -> str:
        return path.relative_to(root).as_posix()

    def closed(error: OSError) -> None:
        left_out[readable(name_of(Path(error.filename)))] = f"the folder cannot be read ({error.strerror})"

    for folder, folders, files in os.walk(root, onerror=closed):
        here = Path(folder)
        whole = [one for one in folders if Path(one).suffix.lower() in FOLDERS and not (here / one).is_symlink()]
        folders[:] = [one for one in folders if not one.startswith(".") and one not in whole]
        for one in folders:
            if (here / one).is_symlink():
                left_out[readable(name_of(here / one))] = "a link to a folder, which is not followed"
        for one in [*files, *whole]:
            path = here / one
            picture = path.suffix.lower() in wanted and (reader_of(path) is None or is_tiff(path))
            if one.startswith(".") or not (picture or reader_of(path)):
                continue
            if _is_file(path):
                (found if picture else arrays).append((name_of(path), path))
            else:
                left_out[readable(name_of(path))] = _kind(path)
    # arrays beside pictures are mostly labels
    return [(readable(name), path) for name, path in sorted(found or arrays)], dict(sorted(left_out.items()))


def _kind(path: Path) -> str:
    """What a path is that is neither file nor folder."""
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        return f"it cannot be looked at ({error.strerror})"
    if stat.S_ISLNK(mode):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            return f"a link that leads nowhere ({error.strerror})"
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return f"{kinds.get(stat.S_IFMT(mode), 'something else')}, not a file"


def _instead(path: Path) -> str:
    """What is there in the place of a file, in brackets; nothing where nothing is."""
    return f" (it is {_kind(path)})" if os.path.lexists(path) else ""
