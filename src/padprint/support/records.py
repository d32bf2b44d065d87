"""A study's folder: its settings, and one record for each unit of work, each whole or absent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from padprint.errors import ResultError
from padprint.support import atomic, strict_json
from padprint.support.atomic import publish_file
from padprint.support.typed import typed

CONFIG_FILE = "config.json"
Record = dict[str, Any]


class Records:
    """Records of finished work, by key, in a folder of their own.

    Args:
        folder: made with its parents if it is not there.
        config: the study's settings, plain JSON values. A folder that holds work of other settings is refused.

    Raises:
        ResultError: the folder is a file, holds work of other settings, or its settings cannot be read.
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        try:
            (self.folder / "records").mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ResultError(f"{folder} cannot be a folder, a file has that name; choose another one") from error
        atomic.tidy(self.folder)
        asked = json.loads(json.dumps(config))
        path = self.folder / CONFIG_FILE
        if not path.exists():
            write_json(path, asked)
            return
        there = _read(path)
        differ = [key for key in sorted(set(asked) | set(there)) if asked.get(key) != there.get(key)]
        if differ:
            changes = "; ".join(f"{key} is {there.get(key)!r} there and {asked.get(key)!r} here" for key in differ)
            raise ResultError(f"{folder} holds a study of other settings ({changes}): choose another folder")

    def get(self, key: str, kinds: Mapping[str, Any] | None = None) -> Record | None:
        """The record of a unit of work; None where it is not done.

        Args:
            key: of the record.
            kinds: fields that it must have, with their types, see `padprint.support.typed.Fields.get`.

        Raises:
            ResultError: the record is there and cannot be read, or lacks a field.
        """
        path = self._path(key)
        if not path.exists():
            return None
        record = _read(path)
        try:
            return cast("Record", typed(record, kinds or {}, ""))
        except ValueError as error:
            raise ResultError(f"{path} is damaged ({error}); remove it to do its work again") from error

    def put(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep a record, plain JSON values; after this call it is whole on the disk."""
        write_json(self._path(key), record)

    def compute(
        self, key: str, work: Callable[[], Mapping[str, Any]], kinds: Mapping[str, Any] | None = None
    ) -> Record:
        """The record of a unit of work, which is done only if there is none; always as it reads from the disk.

        Raises:
            ResultError: see `get`.
        """
        record = self.get(key, kinds)
        if record is None:
            self.put(key, work())
            record = self.get(key, kinds)
        if record is None:
            raise ResultError(f"{self._path(key)} was removed while it was written; run again")
        return record

    def _path(self, key: str) -> Path:
        if not re.fullmatch(r"[\w=+-][\w.=+-]*(/[\w=+-][\w.=+-]*)*", key):
            raise ResultError(
                f"{key!r} is not a record's key: letters, digits and . = + - only, in parts between slashes"
            )
        return self.folder / "records" / f"{key}.json"


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write plain JSON values, and nan and inf as Python's json spells them; the file is whole or absent."""
    text = json.dumps(document, indent=1) + "\n"
    publish_file(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def _read(path: Path) -> Record:
    try:
        record = strict_json.parsed(path.read_bytes(), "it")
    except (ValueError, OSError) as error:
        raise ResultError(f"{path} cannot be read ({error}); remove it to do its work again") from error
    if not isinstance(record, dict):
        raise ResultError(f"{path} is no record; remove it to do its work again")
    return record
