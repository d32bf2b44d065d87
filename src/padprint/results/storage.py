"""The two files of a saved result: both complete and of the same run, or a clear refusal."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as pack_tensors
from torch import Tensor

from padprint.errors import ResultError
from padprint.results.documents import SCHEMA
from padprint.support import atomic
from padprint.support.strict_json import encode, parsed
from padprint.support.version import __version__

RESULT_FILE = "result.json"
PATTERNS_FILE = "patterns.safetensors"
COMPARISON_FILE = "comparison.json"
INSPECTION_FILE = "inspection.json"
CHECK_FILE = "check.json"
MEASUREMENT = (RESULT_FILE, PATTERNS_FILE)
HALO = ("halo.json", "halo.safetensors")
"""A document, and the tensors that belong to it."""


def write(
    folder: Path, document: Mapping[str, Any], tensors: Mapping[str, Tensor], files: tuple[str, str] = MEASUREMENT
) -> Path:
    """Write a document and its tensors; the files take their places together when both are complete.

    Raises:
        ResultError: the folder's path, or a parent of it, is a file.
    """
    atomic.publish(folder, lambda unfinished: fill(unfinished, document, tensors, files))
    return folder


def fill(
    folder: Path, document: Mapping[str, Any], tensors: Mapping[str, Tensor], files: tuple[str, str] = MEASUREMENT
) -> str:
    """Write a document and its tensors into a folder that is not in its place yet; the document's sha256."""
    whole = {
        name: tensor.detach().to("cpu", torch.float64).clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    content = pack_tensors(whole, metadata={"schema": str(SCHEMA), "padprint": __version__})
    (folder / files[1]).write_bytes(content)
    return dump(folder / files[0], {**document, "patterns": {"file": files[1], "sha256": sha256(content)}})


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document; its folder is made, and the file takes its place when it is complete.

    Raises:
        ResultError: the folder's path is a file.
    """
    atomic.publish_file(path, lambda unfinished: dump(unfinished, document))


def dump(path: Path, document: Mapping[str, Any]) -> str:
    """Write a document, and its own checksum, into a folder that is not in its place yet; the file's sha256."""
    plain = encode(document)
    content = (json.dumps({**plain, CHECKSUM: checksum(plain)}, indent=1, allow_nan=False) + "\n").encode()
    path.write_bytes(content)
    return sha256(content)


CHECKSUM = "checksum"
"""The field by which a document knows that no number of it was changed."""


def checksum(document: Mapping[str, Any]) -> str:
    """The hash of what an encoded document says, however it is laid out, without the field that holds it."""
    said = {key: value for key, value in document.items() if key != CHECKSUM}
    return sha256(json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def sha256(content: bytes) -> str:
    """The hash of what is in a file."""
    return hashlib.sha256(content).hexdigest()


def read(
    folder: Path, files: tuple[str, str] = MEASUREMENT, expected: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read back what `write` wrote, the document still encoded.

    Args:
        folder: that was written to.
        files: see `write`.
        expected: the document's sha256, where another file tells it.

    Raises:
        ResultError: nothing there, half written, damaged, files of different runs, or another schema.
    """
    result, patterns = (folder / name for name in files)
    text = _content(result)
    document = _decoded(result, text)
    if expected not in (None, sha256(text)):
        raise ResultError(f"{result} is not the file that the comparison was saved with; compare again")
    content = _content(patterns)
    entry = document.get("patterns")
    if not isinstance(entry, dict) or sha256(content) != entry.get("sha256"):
        if _content(result) != text:  # saved again meanwhile
            return read(folder, files, expected)
        raise ResultError(
            f"{patterns} is not the file that {result.name} was saved with: "
            "it is damaged or comes from another run; copy both files again or measure again"
        )
    try:
        return document, load_tensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ResultError(f"{patterns} is not a readable safetensors file: {error}") from error


def is_saved(path: Path) -> bool:
    """Whether a file is there to be read."""
    return atomic.current(path).is_file()


def saved_sha256(folder: Path) -> str | None:
    """Of the measurement's document in a folder; None where there is none."""
    file = folder / RESULT_FILE
    return sha256(_content(file)) if is_saved(file) else None


def read_document(path: Path) -> dict[str, Any]:
    """A document that was written here, still encoded.

    Raises:
        ResultError: it is missing, no JSON, or of another schema.
    """
    return _decoded(path, _content(path))


def _content(path: Path) -> bytes:
    try:
        return atomic.read(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not path.parent.is_dir():
            raise ResultError(f"no saved result at {path.parent}: no such folder") from error
        raise ResultError(
            f"{path.parent} has no {path.name}: no result was saved there, or not all of its files were copied"
        ) from error
    except (OSError, ValueError) as error:  # no permission, or no name that a file can have
        raise ResultError(f"{str(path)!r} cannot be read ({error})") from error


def _decoded(path: Path, content: bytes) -> dict[str, Any]:
    try:
        document = parsed(content, "it")
    except ValueError as error:  # invalid JSON or invalid UTF-8
        raise ResultError(f"{path} is not valid JSON ({error}); measure again or restore the file") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if type(schema) is not int or schema != SCHEMA:
        raise ResultError(
            f"{path} has schema {reprlib.repr(schema)} and this padprint reads schema {SCHEMA}; "
            "read it with the padprint version that wrote it, or measure again"
        )
    if CHECKSUM in document and document.pop(CHECKSUM) != checksum(document):
        raise ResultError(
            f"{path} does not say what it said when it was written (its {CHECKSUM} is another): it is damaged, or was edited; "
            "restore the file or measure again"
        )
    return dict(document)
