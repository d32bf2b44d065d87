"""Models and weights that harm, end the program, or hold what no network has: one clear line."""

from __future__ import annotations

import io
import os
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import fresh_module
from padprint.errors import ModelError
from padprint.network.loading import load_model

FRESH = (f"hostile_module_{number}" for number in count())
FACTORY = """
from torch import nn
def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
"""


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """A fresh module with a factory in the current directory."""
    return fresh_module(FRESH, FACTORY, tmp_path, monkeypatch)


ENDINGS = (
    "raise SystemExit(0)",
    "import sys; sys.exit()",
    "raise GeneratorExit",
    "class E(BaseException): pass\nraise E",
)


@pytest.mark.parametrize("ending", ENDINGS)
def test_code_that_ends_the_program_is_an_error(tmp_path, monkeypatch, ending):
    monkeypatch.chdir(tmp_path)
    name = next(FRESH)
    Path(f"{name}.py").write_text(ending)
    with pytest.raises(ModelError, match=rf"importing {name} failed \(it tried to end the program, \w+"):
        load_model(f"{name}:small")
    name = next(FRESH)
    body = ending.replace("\n", "\n    ")
    Path(f"{name}.py").write_text(f"def small():\n    {body}\ndef __getattr__(name):\n    {body}\n")
    with pytest.raises(
        ModelError, match=rf"{name}:small failed when called .*it tried to end the program, \w+"
    ) as caught:
        load_model(f"{name}:small")
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=rf"looking up 'other' in {name} failed \(it tried to end the program"):
        load_model(f"{name}:other")


def test_an_interruption_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = next(FRESH)
    Path(f"{name}.py").write_text("def small():\n    raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_model(f"{name}:small")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:Sparse CSR")
def test_names_that_are_no_texts_and_tensors_that_are_not_dense(module):
    state = small().state_dict()
    weight = state["0.weight"]
    quantised = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
    for name, changed, message in (
        ("number.pth", {0: weight, **state}, r"holds no state dict: its key 0 is a int"),
        ("numbers.pth", {0: weight, 1: weight}, r"holds no state dict: its key 0 is a int"),
        ("pair.pth", {**state, ("a", 1): weight}, r"holds no state dict: its key \('a', 1\) is a tuple"),
        ("sparse.pth", {**state, "0.weight": weight.to_sparse()}, r"0\.weight is sparse \(sparse_coo\): save it dense"),
        ("rows.pth", {**state, "0.bias": torch.eye(4).to_sparse_csr()}, r"0\.bias is sparse \(sparse_csr\)"),
        ("q.pth", {**state, "0.weight": quantised}, r"0\.weight is quantised \(qint8\).*dequantize"),
        ("meta.pth", {**state, "0.weight": weight.to("meta")}, r"0\.weight is on the meta device"),
        ("text.pth", {**state, "0.weight": "text"}, r"does not fit .*0\.weight"),
        ("none.pth", {**state, "0.weight": None}, r"does not fit .*0\.weight"),
    ):
        torch.save({"state_dict": changed}, name)
        with pytest.raises(ModelError, match=rf"{name}:? {message}") as caught:
            load_model(f"{module}:small", name)
        assert "\n" not in str(caught.value)


def test_weights_files_whose_names_are_not_utf8(module):
    name = os.fsdecode(b"w\xff.pth")
    try:
        torch.save(small().state_dict(), name)
    except (OSError, UnicodeError, RuntimeError):
        buffer = io.BytesIO()
        torch.save(small().state_dict(), buffer)
        Path(name).write_bytes(buffer.getvalue())
    assert load_model(f"{module}:small", name).weights_source == r"file w\udcff.pth"
    Path(name).write_text("nothing")
    for gone in (name, os.fsdecode(b"gone\xff.pth")):
        with pytest.raises(ModelError, match=r"\\udcff") as caught:
            load_model(f"{module}:small", gone)
        str(caught.value).encode("utf-8")
