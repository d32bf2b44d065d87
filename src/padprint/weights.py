"""Weights: read from a file without running code, put into a model strictly, and fingerprinted."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from padprint.errors import ModelError

_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")  # keys in torchvision's own files


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 (hex) over the state dict in sorted key order: key, dtype, shape and bytes of each tensor.

    The same for any device and memory format; any changed weight or buffer changes it.
    """
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(raw.numpy().tobytes())
    return digest.hexdigest()


def read_state(file: Path) -> dict[str, Tensor]:
    """The state dict in a weights file, unwrapped; no code from the file is run."""
    if not file.is_file():
        raise ModelError(f"there is no weights file {str(file)!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the pickle's protocol, before it is refused
            if file.suffix == ".safetensors":
                found: Any = safetensors.torch.load_file(file)
            else:
                found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it asks Python for {asked[1]}" if asked else "it is no plain state dict, or damaged"
        raise ModelError(
            f"{file.name} is refused ({why}): padprint does not run code from a weights file; "
            "save model.state_dict() instead"
        ) from error
    except Exception as error:  # a damaged file fails in many ways
        raise ModelError(f"{file.name} cannot be read as a weights file ({first_line(error)})") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        held = f"keys: {', '.join(map(str, list(found)[:5]))}" if isinstance(found, Mapping) else type(found).__name__
        raise ModelError(f"{file.name} holds no state dict ({held})")
    return dict(found)


def fill(model: nn.Module, name: str, state: Mapping[str, Tensor], file_name: str) -> None:
    """Load a state dict into the model, strictly."""
    own = model.state_dict()
    if all(key.startswith("module.") for key in state) and not any(key.startswith("module.") for key in own):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # tensors of another shape
        lines = [line.strip() for line in str(error).splitlines()[1:] if "size mismatch" in line]
        reason = f"{len(lines)} of another shape: {lines[0]}" if lines else first_line(error)
        raise ModelError(f"{file_name} does not fit {name}: {reason}") from error
    wrong = [
        f"{len(keys)} {word} keys ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})"
        for word, keys in (("missing", missing), ("unexpected", unexpected))
        if keys
    ]
    if wrong:
        raise ModelError(f"{file_name} does not fit {name}: {' and '.join(wrong)}")


def first_line(error: BaseException) -> str:
    """An error in one line: its class and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
