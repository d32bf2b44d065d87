"""Reasons: words for people, kinds for code; both are saved, sent to other processes and carried by errors."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

import padprint
from padprint import HaloError, LayerError
from padprint.scenes import DeadLeaves
from padprint.support.reasons import Kind, Reason, restored, sees_all


def with_global_end() -> nn.Sequential:
    """A padded convolution, and behind it all cells of the map are put in order."""

    class Everywhere(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(2).sort(-1).values.unflatten(2, x.shape[2:])

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Everywhere())


def test_a_reason_is_its_words_and_has_a_kind() -> None:
    reason = sees_all("softmax in head")
    assert reason == "global: softmax in head sees the whole input"
    assert (reason.kind, reason.operator, reason.layer) == (Kind.GLOBAL, "softmax in head", "")
    more = reason.of("head").more(" (or so)")
    assert more == "global: softmax in head sees the whole input (or so)"
    assert (more.kind, more.operator, more.layer) == (Kind.GLOBAL, "softmax in head", "head")


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("sent", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_what_is_sent_arrives(kind: Kind, sent) -> None:
    reason = Reason(kind, "words: and more", "conv2d in 0", "0")
    other = sent(reason)
    assert other == reason
    assert (other.kind, other.operator, other.layer) == (kind, "conv2d in 0", "0")
    assert other.more("!") == reason.more("!")


@pytest.mark.parametrize("kind", Kind)
def test_what_is_saved_comes_back(kind: Kind) -> None:
    reason = Reason(kind, "words", "conv2d in 0", "0")
    other = restored(str(reason), json.loads(json.dumps(reason.describe())))
    assert (other, other.kind, other.operator, other.layer) == (reason, kind, "conv2d in 0", "0")
    assert other.more("!") == reason.more("!")


def test_a_result_keeps_kinds(tmp_path: Path) -> None:
    found = padprint.measure(with_global_end(), DeadLeaves(2, 64), layers=["0", "1"], crop=16, crops_per_image=2)
    assert found.unmeasured["1"].kind is Kind.GLOBAL
    assert found.unmeasured["1"].layer == "1"
    assert Kind.FEW in {one.kind for one in found.warnings}
    found.save(tmp_path / "kept")
    again = padprint.load(tmp_path / "kept")
    assert dict(again.unmeasured) == dict(found.unmeasured)
    assert again.unmeasured["1"].kind is Kind.GLOBAL
    assert [one.kind for one in again.warnings] == [one.kind for one in found.warnings]


def test_a_result_of_before_has_words_alone(tmp_path: Path) -> None:
    found = padprint.measure(with_global_end(), DeadLeaves(2, 64), layers=["0", "1"], crop=16, crops_per_image=2)
    found.save(tmp_path)
    file = next(tmp_path.rglob("result.json"))
    document = json.loads(file.read_text())
    del document["reasons"], document["checksum"]
    file.write_text(json.dumps(document))
    again = padprint.load(tmp_path)
    assert dict(again.unmeasured) == dict(found.unmeasured)
    assert again.warnings == found.warnings
    assert {one.kind for one in (*again.unmeasured.values(), *again.warnings)} == {Kind.UNKNOWN}


def test_a_damaged_kind_is_an_error(tmp_path: Path) -> None:
    found = padprint.measure(with_global_end(), DeadLeaves(2, 64), layers=["0", "1"], crop=16, crops_per_image=2)
    found.save(tmp_path)
    file = next(tmp_path.rglob("result.json"))
    document = json.loads(file.read_text())
    document["reasons"]["unmeasured"]["1"]["kind"] = "nonsense"
    del document["checksum"]
    file.write_text(json.dumps(document))
    with pytest.raises(padprint.ResultError, match="nonsense"):
        padprint.load(tmp_path)


def test_errors_carry_reasons() -> None:
    with pytest.raises(LayerError) as raised:
        padprint.measure(with_global_end(), DeadLeaves(2, 64), layers="1", crop=16)
    assert raised.value.reasons["1"].kind is Kind.GLOBAL
    with pytest.raises(HaloError, match="no overlap of tiles can keep 1"):
        padprint.halo(with_global_end(), DeadLeaves(2, 64), tile=32)
