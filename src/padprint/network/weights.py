"""Weights: read from a file without running code, put into a model strictly, and fingerprinted."""

from __future__ import annotations

import hashlib
import io
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
from padprint.support.wording import first_line

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
    """The state dict in a weights file, unwrapped; no code from the file is run.

    Raises:
        ModelError: no such file, one that would run code, or one that holds no names of dense tensors.
    """
    name = file.name
    if not file.is_file():
        raise ModelError(f"there is no weights file {str(file)!r}")
    if file.suffix == ".safetensors":
        try:
            state: Any = safetensors.torch.load_file(file)
        except Exception as error:  # a damaged file fails in many ways
            raise ModelError(f"{name} cannot be read as a weights file ({first_line(error)})") from error
    else:
        state = plain(
            file,
            name,
            "padprint does not run code from a weights file; save model.state_dict() instead",
            "a weights file",
        )
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        held = f"keys: {', '.join(map(str, list(state)[:5]))}" if isinstance(state, Mapping) else type(state).__name__
        raise ModelError(f"{name} holds no state dict ({held})")
    for key, value in state.items():
        _check_entry(key, value, name)
    return dict(state)


def plain(source: Path | bytes, name: str, instead: str, kind: str = "tensors") -> Any:
    """What a pickle of tensors and plain containers holds; anything that asks Python for more is refused.

    Args:
        source: a file, or what is in one.
        name: what to call it in messages.
        instead: what to do where it is refused.
        kind: what it should hold, in words.

    Raises:
        ModelError: it would run code, or cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the pickle's protocol, before it is refused
            return torch.load(
                io.BytesIO(source) if isinstance(source, bytes) else source, map_location="cpu", weights_only=True
            )
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it asks Python for {asked[1]}" if asked else "it is no plain state dict, or damaged"
        raise ModelError(f"{name} is refused ({why}): {instead}") from error
    except Exception as error:  # a damaged file fails in many ways
        raise ModelError(f"{name} cannot be read as {kind} ({first_line(error)})") from error


def _check_entry(key: object, value: object, name: str) -> None:
    """Raise ModelError where a name is no text, or a tensor has no dense numbers to copy."""
    if not isinstance(key, str):
        raise ModelError(
            f"{name} holds no state dict: its key {key!r} is a {type(key).__name__}, and the names of parameters are texts; "
            "save model.state_dict()"
        )
    if not isinstance(value, Tensor):
        return
    if value.is_quantized:
        raise ModelError(f"{name}: {key} is quantised ({_kind(value.dtype)}): save it as numbers, tensor.dequantize()")
    if value.layout is not torch.strided or value.is_nested:
        kind = "nested" if value.is_nested else f"sparse ({_kind(value.layout)})"
        raise ModelError(f"{name}: {key} is {kind}: save it dense, tensor.to_dense()")
    if value.is_meta:
        raise ModelError(f"{name}: {key} is on the meta device and has no numbers: save the weights themselves")


def _kind(what: object) -> str:
    return str(what).removeprefix("torch.")


def fill(model: nn.Module, name: str, state: Mapping[str, Tensor], file_name: str) -> None:
    """Load a state dict into the model, strictly."""
    own = model.state_dict()
    if all(key.startswith("module.") for key in state) and not any(key.startswith("module.") for key in own):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # tensors of another shape, or no tensors
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        shapes = [line for line in lines if "size mismatch" in line]
        reason = f"{len(shapes)} of another shape: {shapes[0]}" if shapes else lines[0] if lines else first_line(error)
        raise ModelError(f"{file_name} does not fit {name}: {reason}") from error
    wrong = [
        f"{len(keys)} {word} keys ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})"
        for word, keys in (("missing", missing), ("unexpected", unexpected))
        if keys
    ]
    if wrong:
        raise ModelError(f"{file_name} does not fit {name}: {' and '.join(wrong)}")
