"""Saved files keep to the schemas that are published beside the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from torch import nn

import nets_by_axes
import padprint
from padprint.scenes import DeadLeaves

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"


def net(*middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), *middle, nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))


def against(name: str, folder: Path) -> dict[str, Any]:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    file = next(folder.rglob(f"{name}.json"))
    document: dict[str, Any] = json.loads(file.read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


@pytest.mark.parametrize("middle", [(), (nn.InstanceNorm2d(4),), (nn.Flatten(2), nn.Unflatten(2, (-1, 16)))])
def test_measurements(middle: tuple[nn.Module, ...], tmp_path: Path) -> None:
    images = 1 if not middle else 4
    padprint.measure(net(*middle), DeadLeaves(images, 96), "*", crop=32, crops_per_image=2).save(tmp_path)
    assert against("result", tmp_path)["layers"]


@pytest.mark.parametrize(("middle", "tolerance"), [((), 0.01), ((), 1e-9), ((nn.InstanceNorm2d(4),), 0.01)])
def test_halos(middle: tuple[nn.Module, ...], tolerance: float, tmp_path: Path) -> None:
    advice = padprint.halo(net(*middle), DeadLeaves(3, 128), tile=32, tolerance=tolerance, padding=["own", "reflect"])
    advice.save(tmp_path)
    assert set(against("halo", tmp_path)["paddings"]) == {"own", "reflect"}


@pytest.mark.parametrize("axes", [1, 3])
def test_waveforms_and_volumes(axes: int, tmp_path: Path) -> None:
    net, scenes = nets_by_axes.local(axes)["strided"], nets_by_axes.scenes(axes, {1: 100, 3: 28}[axes], 3)
    padprint.measure(net, scenes, "*", crop={1: 32, 3: 8}[axes], crops_per_image=2).save(tmp_path / "one")
    assert len(against("result", tmp_path / "one")["crop"]) == axes
    padprint.halo(net, scenes, tile={1: 32, 3: 12}[axes], tolerance=0.1).save(tmp_path / "two")
    assert len(against("halo", tmp_path / "two")["tile"]) == axes


def test_a_wrong_document_is_told() -> None:
    schema = json.loads((SCHEMAS / "result.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({"schema": 1})
