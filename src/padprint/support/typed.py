"""Values of a saved document, checked against the types they must have."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from torch import Tensor, float64

_WORDS = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "a text",
    tuple: "a list",
    list: "a list",
    dict: "an object",
}
_LARGEST = 2**63 - 1


class Fields:
    """An object of a document, with its place in it for messages.

    Args:
        value: what the document has there.
        where: its place, such as ``layers['conv1']``; "" for the document itself.

    Raises:
        ValueError: it is no object.
    """

    def __init__(self, value: Any, where: str = "") -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where or 'the document'} is {reprlib.repr(value)}, not an object")
        self._value, self._where = value, where

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def get(self, key: str, kind: Any) -> Any:
        """A field as a type: float (NaN as None, infinities as "inf" and "-inf"), int, bool, str, `X | None`, tuple, dict or Any.

        A mapping of names to types stands for an object that has these fields and maybe others, a list of one type for a list.

        Raises:
            ValueError: it is missing or of another type.
        """
        return typed(self._entry(key), kind, self._place(key))

    def object(self, key: str) -> Fields:
        """A field that is an object.

        Raises:
            ValueError: it is missing or none.
        """
        return Fields(self._entry(key), self._place(key))

    def items(self) -> list[tuple[str, Fields]]:
        """The fields, which are objects all, with their names.

        Raises:
            ValueError: one of them is none.
        """
        return [(name, self.object(name)) for name in self._value]

    def check(self, key: str, right: bool, must: str) -> None:
        """Say what a field must be.

        Raises:
            ValueError: it is not right.
        """
        if not right:
            raise ValueError(f"{self._place(key)} is {reprlib.repr(self._value.get(key))}, and {must}")

    def _entry(self, key: str) -> Any:
        if key not in self._value:
            raise ValueError(f"{self._place(key)} is missing")
        return self._value[key]

    def _place(self, key: str) -> str:
        return f"{self._where}[{reprlib.repr(key)}]" if self._where else key


def typed(value: Any, kind: Any, where: str) -> Any:
    """A value of a document as a type, see `Fields.get`.

    Raises:
        ValueError: it is of another type.
    """
    origin = get_origin(kind)
    if origin in (Union, UnionType):  # X | None
        return None if value is None else typed(value, get_args(kind)[0], where)
    found = _composed(value, kind, where)
    if found is not None:
        return found
    if kind is float and (value is None or type(value) is float or _small(value) or value in ("inf", "-inf")):
        return math.nan if value is None else float(value)
    if kind is Any or (type(value) is kind and (kind is not int or _small(value))):
        return value
    word = _WORDS.get(type(kind) if isinstance(kind, Mapping | list) else origin or kind, "a value of another type")
    raise ValueError(f"{where or 'the document'} is {reprlib.repr(value)}, not {word}")


def _composed(value: Any, kind: Any, where: str) -> Any:
    """A value that holds others; None where kind or value is no such thing."""
    if isinstance(kind, Mapping) and isinstance(value, Mapping):
        fields = Fields(value, where)
        return {**value, **{key: fields.get(key, inner) for key, inner in kind.items()}}
    if isinstance(kind, list) and isinstance(value, list):
        return [typed(one, kind[0], f"{where}[{i}]") for i, one in enumerate(value)]
    origin, parts = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list):
        kinds = parts if parts[-1] is not ... else parts[:1] * len(value)
        if len(kinds) != len(value):
            raise ValueError(f"{where} is {reprlib.repr(value)}, not a list of {len(kinds)}")
        return tuple(typed(one, part, f"{where}[{i}]") for i, (one, part) in enumerate(zip(value, kinds, strict=True)))
    if origin is dict and isinstance(value, Mapping):
        return {key: typed(entry, parts[1], f"{where}[{reprlib.repr(key)}]") for key, entry in value.items()}
    return None


def _small(value: Any) -> bool:
    """Whether it is a whole number that a tensor can hold."""
    return type(value) is int and abs(value) <= _LARGEST


def tensor(tensors: Mapping[str, Tensor], key: str, shape: tuple[int | None, ...]) -> Tensor:
    """A saved tensor of float64.

    Args:
        tensors: by key.
        key: which.
        shape: that it must have; None where any size will do.

    Raises:
        ValueError: it is missing or of another type or shape.
    """
    found = tensors.get(key)
    if found is None:
        raise ValueError(f"the tensor {reprlib.repr(key)} is missing")
    same = found.dim() == len(shape) and all(n in (None, m) for n, m in zip(shape, found.shape, strict=True))
    if found.dtype != float64 or not same:
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        have = " x ".join(map(str, found.shape)) or "one number"
        raise ValueError(f"the tensor {reprlib.repr(key)} is {have} of {found.dtype}, not {wanted} of {float64}")
    return found
