"""The two files of a saved result: both complete and of the same run, or a clear refusal."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as pack_tensors
from torch import Tensor

from padprint import __version__
from padprint._document import SCHEMA, encode
from padprint.errors import ResultError

RESULT_FILE = "result.json"
PATTERNS_FILE = "patterns.safetensors"
COMPARISON_FILE = "comparison.json"
MEASUREMENT = (RESULT_FILE, PATTERNS_FILE)
HALO = ("halo.json", "halo.safetensors")
"""A document, and the tensors that belong to it."""


def write(
    folder: Path, document: Mapping[str, Any], tensors: Mapping[str, Tensor], files: tuple[str, str] = MEASUREMENT
) -> Path:
    """Write a document and its tensors; the files take their places only when both are complete.

    Raises:
        ResultError: the folder's path, or a parent of it, is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ResultError(f"{folder} cannot be a folder, a file has that name; choose another one") from error
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as unfinished:
        result, patterns = (Path(unfinished) / name for name in files)
        whole = {
            name: tensor.detach().to("cpu", torch.float64).clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        content = pack_tensors(whole, metadata={"schema": str(SCHEMA), "padprint": __version__})
        patterns.write_bytes(content)
        entry = {"file": patterns.name, "sha256": hashlib.sha256(content).hexdigest()}
        _dump(result, {**document, "patterns": entry})
        patterns.replace(folder / patterns.name)
        result.replace(folder / result.name)
    return folder


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document into a folder that exists; the file takes its place when it is complete."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as unfinished:
        whole = Path(unfinished) / path.name
        _dump(whole, document)
        whole.replace(path)


def _dump(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(encode(document), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read(folder: Path, files: tuple[str, str] = MEASUREMENT) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read back what `write` wrote, the document still encoded.

    Raises:
        ResultError: nothing there, half written, damaged, files of different runs, or another schema.
    """
    if not folder.is_dir():
        raise ResultError(f"no saved result at {folder}: no such folder")
    result, patterns = (folder / name for name in files)
    document = read_document(result)
    if not patterns.is_file():
        raise ResultError(f"{folder} has no {patterns.name}; copy it from where the result was saved")
    content = patterns.read_bytes()
    if hashlib.sha256(content).hexdigest() != document.get("patterns", {}).get("sha256"):
        raise ResultError(
            f"{patterns} is not the file that {result.name} was saved with: "
            "it is damaged or comes from another run; copy both files again or measure again"
        )
    try:
        return document, load_tensors(content)
    except SafetensorError as error:
        raise ResultError(f"{patterns} is not a readable safetensors file: {error}") from error


def read_document(path: Path) -> dict[str, Any]:
    """A document that was written here, still encoded.

    Raises:
        ResultError: it is missing, no JSON, or of another schema.
    """
    if not path.is_file():
        raise ResultError(f"{path.parent} has no {path.name}: no result was saved there, or its save was stopped")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # invalid JSON or invalid UTF-8
        raise ResultError(f"{path} is not valid JSON ({error}); measure again or restore the file") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ResultError(
            f"{path} has schema {schema!r} and this padprint reads schema {SCHEMA}; "
            "read it with the padprint version that wrote it, or measure again"
        )
    if not isinstance(document.get("patterns", {}), dict):
        raise ResultError(f"{path} is damaged: its entry 'patterns' is not an object; measure again")
    return dict(document)
