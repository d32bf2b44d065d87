"""Dataclasses as documents and back: known answers by hand, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from padprint.support.typed import BESIDE, Fields, described, limits, restored


@dataclass(frozen=True)
class Inner:
    value: float
    name: str = "none"


@dataclass(frozen=True)
class Outer:
    size: tuple[int, int] = field(metadata=limits(1, 9))
    cells: Tensor = field(metadata=limits(0, of=tuple[int, ...]))
    pixels: Tensor
    parts: Mapping[str, Inner]
    many: tuple[Inner, ...]
    beside: Tensor = field(metadata=BESIDE)
    maybe: float | None = None


OUTER = Outer(
    (2, 3),
    torch.tensor([0, 4]),
    torch.tensor([0.5], dtype=torch.float64),
    {"a": Inner(1.5), "b": Inner(2.0, "two")},
    (Inner(-1.0),),
    torch.zeros(2),
)
DOCUMENT = {
    "size": [2, 3],
    "cells": [0, 4],
    "pixels": [0.5],
    "parts": {"a": {"value": 1.5, "name": "none"}, "b": {"value": 2.0, "name": "two"}},
    "many": [{"value": -1.0, "name": "none"}],
    "maybe": None,
}


def test_every_field_in_its_order_but_those_beside() -> None:
    assert json.dumps(described(OUTER)) == json.dumps(DOCUMENT)
    assert described(OUTER, without=("name",), maybe=7)["parts"] == {"a": {"value": 1.5}, "b": {"value": 2.0}}
    assert described(OUTER, maybe=7)["maybe"] == 7


def test_there_and_back() -> None:
    again = restored(Outer, Fields(DOCUMENT), beside=OUTER.beside)
    assert again.cells.dtype == torch.int64 and again.pixels.dtype == torch.float64
    assert described(again) == DOCUMENT
    assert again.parts == OUTER.parts and again.many == OUTER.many and again.size == (2, 3)


def test_fields_with_a_default_may_be_missing_and_others_not() -> None:
    without = {key: value for key, value in DOCUMENT.items() if key != "maybe"}
    assert restored(Outer, Fields(without), beside=OUTER.beside).maybe is None
    assert math.isnan(restored(Inner, Fields({"value": None})).value)
    with pytest.raises(ValueError, match=r"^pixels is missing$"):
        restored(Outer, Fields({key: value for key, value in DOCUMENT.items() if key != "pixels"}), beside=None)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("size", [0, 3], r"^size is \[0, 3\], and it must be 1 to 9$"),
        ("size", [1, 10], r"^size is \[1, 10\], and it must be 1 to 9$"),
        ("size", [1, 2, 3], r"^size is \[1, 2, 3\], not a list of 2$"),
        ("cells", [-1], r"^cells is \[-1\], and it must be 0 or more$"),
        ("cells", [0.5], r"^cells\[0\] is 0.5, not a whole number$"),
        ("pixels", ["0.5"], r"^pixels\[0\] is '0.5', not a number$"),
        ("parts", {"a": {"value": True}}, r"^parts\['a'\]\['value'\] is True, not a number$"),
        ("many", [{}], r"^many\[0\]\['value'\] is missing$"),
        ("many", [3], r"^many\[0\] is 3, not an object$"),
    ],
)
def test_what_is_wrong_is_named(key: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        restored(Outer, Fields({**DOCUMENT, key: value}), beside=OUTER.beside)
