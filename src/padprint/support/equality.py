"""Equality by value for what holds tensors and NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


class ByValue:
    """Equality by value for dataclasses that hold tensors and NaN (two NaN count as equal)."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _same(self, other)

    __hash__ = None  # type: ignore[assignment]  # tensors have no hash by value


def _same(own: Any, other: Any) -> bool:
    """Equality by value through dataclasses, mappings and sequences; None and NaN both mean "no number"."""
    if isinstance(own, Tensor):
        alike = isinstance(other, Tensor) and own.shape == other.shape and own.dtype == other.dtype
        return alike and torch.allclose(own, other, rtol=0.0, atol=0.0, equal_nan=True)
    if is_dataclass(own):
        names = [field.name for field in fields(own)]
        return type(own) is type(other) and all(_same(getattr(own, n), getattr(other, n)) for n in names)
    if isinstance(own, Mapping):
        return isinstance(other, Mapping) and list(own) == list(other) and all(_same(own[k], other[k]) for k in own)
    if isinstance(own, (list, tuple)):
        alike = isinstance(other, (list, tuple)) and len(own) == len(other)
        return alike and all(_same(a, b) for a, b in zip(own, other, strict=True))
    return bool(own == other) or (_blank(own) and _blank(other))


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
