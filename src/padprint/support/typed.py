"""Dataclasses as saved documents (`described`) and back (`restored`), every value checked against the type it must have.

One pair of functions over the fields of a dataclass and their type hints, so that a new field is saved and read without a line more.
cattrs was tried in their place: it makes numbers of texts, flags of texts and whole numbers of fractions, so that a damaged file would
load; every leaf, tensors and fields that older files lack would each have needed a hook, and messages a place of their own.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from types import GenericAlias, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
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

Made = TypeVar("Made")

BESIDE = {"beside": True}
"""Metadata of a field that is not in the document: a tensor which is saved in a file of its own, or what the rest tells."""

INLINE = {"inline": True}
"""Metadata of a field that holds values by name, which stand in the document in its place."""


def limits(least: int, most: int | None = None, of: Any = None) -> dict[str, Any]:
    """Metadata of a field that holds whole numbers, one or several, or nothing.

    Args:
        least: that each must be.
        most: that each may be; None for any.
        of: how the document has it, where that is not the field's own type: ``tuple[int, ...]`` for a tensor of int64.
    """
    return {"least": least, "most": most, "of": of}


def described(value: Any, without: Sequence[str] = (), **given: Any) -> Any:
    """A value as it is saved: dataclasses as objects of their fields, tensors and tuples as lists.

    Args:
        value: a dataclass, a container of such, or what JSON has; NaN and infinities stay as they are.
        without: names of fields that are left out, however deep.
        **given: of the outermost dataclass, fields that are written as they are given here.
    """
    if is_dataclass(value):
        kept = [part for part in fields(value) if part.name not in without and "beside" not in part.metadata]
        entries: dict[str, Any] = {}
        for part in kept:
            entry = given[part.name] if part.name in given else described(getattr(value, part.name), without)
            entries |= entry if "inline" in part.metadata else {part.name: entry}
        return entries
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): described(entry, without) for key, entry in value.items()}
    return [described(entry, without) for entry in value] if isinstance(value, list | tuple) else value


def several(kind: type, count: int) -> Any:
    """The type of a list of so many values of one type, for `Fields.get`."""
    return GenericAlias(tuple, (kind,) * count)


def restored(kind: type[Made], source: Fields, types: Mapping[str, Any] | None = None, **given: Any) -> Made:
    """A dataclass from an object of a document, each field by its type hint; those with a default may be missing.

    Args:
        kind: the dataclass.
        source: the object.
        types: of fields of which more is known than their hints tell: how many numbers they hold, say.
        **given: fields that are not read there.

    Raises:
        ValueError: a field is missing, of another type, or outside its `limits`.
    """
    hints = get_type_hints(kind)
    for part in fields(kind):  # type: ignore[arg-type]  # a dataclass
        optional = part.default is not MISSING or part.default_factory is not MISSING
        if part.name not in given and not (optional and part.name not in source):
            given[part.name] = _field(part, {**hints, **(types or {})}[part.name], source)
    return kind(**given)


def _field(part: Field[Any], hint: Any, source: Fields) -> Any:
    of = part.metadata.get("of") or (tuple[float, ...] if hint is Tensor else hint)
    value = source.get(part.name, of)
    if "least" in part.metadata:
        source.within(part.name, value, part.metadata["least"], part.metadata["most"])
    if hint is not Tensor:
        return value
    return torch.tensor(value, dtype=torch.int64 if get_args(of)[0] is int else float64)


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
        """A field as a type: float (NaN as None, infinities as "inf" and "-inf"), int, bool, str, `X | None`, tuple, dict, Any or a dataclass.

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

    def within(self, key: str, value: Any, least: int, most: int | None = None) -> None:
        """Say between what numbers those of a field must lie: one, several, or None.

        Raises:
            ValueError: one does not.
        """
        numbers = () if value is None else value if isinstance(value, tuple) else (value,)
        right = all(least <= number and (most is None or number <= most) for number in numbers)
        self.check(key, right, f"it must be {least} {'or more' if most is None else f'to {most}'}")

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
    if is_dataclass(kind) and isinstance(kind, type):
        return restored(kind, Fields(value, where))
    composed = _composed(value, kind, where)
    if composed is not None:
        return composed
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
        return [typed(entry, kind[0], f"{where}[{i}]") for i, entry in enumerate(value)]
    origin, parts = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list):
        kinds = parts if parts[-1] is not ... else parts[:1] * len(value)
        if len(kinds) != len(value):
            raise ValueError(f"{where} is {reprlib.repr(value)}, not a list of {len(kinds)}")
        each = enumerate(zip(value, kinds, strict=True))
        return tuple(typed(entry, part, f"{where}[{i}]") for i, (entry, part) in each)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
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
    saved = tensors.get(key)
    if saved is None:
        raise ValueError(f"the tensor {reprlib.repr(key)} is missing")
    same = saved.dim() == len(shape) and all(n in (None, m) for n, m in zip(shape, saved.shape, strict=True))
    if saved.dtype != float64 or not same:
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        have = " x ".join(map(str, saved.shape)) or "one number"
        raise ValueError(f"the tensor {reprlib.repr(key)} is {have} of {saved.dtype}, not {wanted} of {float64}")
    return saved
