"""Geometry in words, plain values and tables: the smallest image, fields, misaligned paths; `padprint layers`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import nets
import padprint
from nets import conv, ready, sequential
from padprint.cli import app
from padprint.errors import ImagesError
from padprint.geometry.layer import surroundings
from padprint.geometry.tracing import trace

OWN = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, stride=2, padding=1)
    def forward(self, x):
        return self.body(x) + nn.functional.avg_pool2d(x, 2)

class Pair(nn.Module):
    def forward(self, x):
        return x + 1, 2 * x

def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), nn.Conv2d(4, 5, 3, 2, 1))

def wide():
    return nn.Conv2d(3, 3, 3, padding=80, dilation=80)

def blocks():
    return nn.Sequential(*[Block() for _ in range(1)], nn.Conv2d(3, 4, 1))

def many():
    return nn.Sequential(*[Shifted() for _ in range(8)])

class Shifted(nn.Module):
    def forward(self, x):
        return x[..., 1:] + x[..., :-1]

def twice():
    return nn.Sequential(nn.Conv2d(3, 4, 1), Pair())

class Sorted(nn.Module):
    def forward(self, x):
        return x.sort(-1).values

def sorts():
    return nn.Sequential(nn.Conv2d(3, 4, 3), Sorted())
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "layersnet.py").write_text(OWN)
    return tmp_path


def layers(*arguments: str, status: int = 0) -> tuple[str, str]:
    """What the command prints: standard output and error."""
    found = CliRunner().invoke(app, ["layers", *arguments])
    assert found.exit_code == status, found.output
    return found.stdout, found.stderr


# ------------------------------------------------------------------------------------------------ the smallest image


def test_the_smallest_image_by_hand() -> None:
    # two 3x3 of stride 2 at 32 px reach 3 px beyond the near side and none beyond the far one: a margin of 4 px there
    geometry = trace(nets.stride_two(), "*", (32, 40))
    assert geometry.smallest_image() == (36, 44)
    assert geometry.smallest_image(margin=1) == (40, 48)  # rounded up to the total stride, on each side
    assert geometry.smallest_image(margin=0) == (32, 40)
    assert not geometry.approximate(4)
    assert not geometry.approximate(1)
    assert geometry.approximate(0)


@pytest.mark.parametrize("margin", [None, 0, 3, 8])
def test_the_smallest_image_is_the_smallest_that_measure_takes(margin: int | None) -> None:
    net = sequential(conv(stride=2), nn.Tanh(), conv(4, 4, 5), nn.Tanh(), conv(4, 4, stride=2))
    geometry = trace(net, "*", 24)
    h, w = geometry.smallest_image(margin)
    options = {"crop": 24, "layers": "*", "margin": margin, "crops_per_image": 1, "groups": 2}
    found = padprint.measure(net, [torch.rand(3, h, w) for _ in range(2)], **options)
    assert found.approximate == (margin is not None and geometry.approximate(margin))
    for size in ((h - 1, w), (h, w - 1)):
        with pytest.raises(ImagesError, match=f"needs {h}x{w} px"):
            padprint.measure(net, [torch.rand(3, *size) for _ in range(2)], **options)


def test_several_networks_share_a_grid() -> None:
    two, three = (trace(sequential(conv(stride=s)), "*", 24) for s in (2, 3))
    margin, period = surroundings([two, three])
    assert period == (6, 6)
    assert margin == (6, 0, 6, 0)  # cell i sees 2i-1..2i+1 and 3i-1..3i+1 of 24 px
    assert surroundings([two, three], 7) == ((12,) * 4, (6, 6))


# -------------------------------------------------------------------------------------------- plain values and a table


def test_plain_values_and_table_agree_with_the_layers() -> None:
    net = ready(nn.Sequential(conv(3, 4, (3, 5), stride=2), nn.Tanh(), conv(4, 4), nets.Sorted()))
    geometry = trace(net, "*", (24, 32))
    document, table = geometry.to_dict(), geometry.to_frame()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert list(table.layer) == list(geometry) == list(document["layers"])
    assert document["smallest_image"] == list(geometry.smallest_image())
    for (name, found), (_, row) in zip(geometry.items(), table.iterrows(), strict=True):
        plain = document["layers"][name]
        assert plain["reason"] == found.reason == (None if row.isna()["reason"] else row["reason"])
        assert (found.reason is None) == (name != "3")
        if found.reason is not None:
            assert row.drop(["layer", "reason", "sees_all_through"]).isna().all()
            continue
        assert (row["height"], row["width"]) == found.size == tuple(plain["size"])
        for key in ("stride", "offset", "receptive_field"):
            assert (row[f"{key}_y"], row[f"{key}_x"]) == getattr(found, key) == tuple(plain[key])
        for key in ("rim", "reach", "margin"):
            sides = tuple(row[f"{key}_{side}"] for side in ("top", "bottom", "left", "right"))
            assert sides == getattr(found, key) == tuple(plain[key])
        for key in ("channels", "witness", "exact"):
            assert row[key] == getattr(found, key) == plain[key]


def test_a_network_without_maps_has_no_smallest_image() -> None:
    net = ready(nn.Sequential(conv(), nets.Sorted()))
    assert trace(net, ["1"], 24).to_dict()["smallest_image"] is None


# ----------------------------------------------------------------------------------------------------- the command


def test_the_command_tells_the_smallest_image(here: Path) -> None:
    # 80 px on each side
    said = layers("layersnet:wide", "--crop", "32")[1]
    assert "smallest image: 192 x 192 px; with --margin 64: 160 x 160 px, approximate\n" in said
    assert "with --margin 8: 48 x 48 px, approximate\n" in layers("layersnet:wide", "--crop", "32", "--margin", "8")[1]
    assert "with --margin 80: 192 x 192 px\n" in layers("layersnet:wide", "--crop", "32", "--margin", "80")[1]
    assert "smallest image: 36 x 36 px\n" in layers("layersnet:plain", "--crop", "32")[1]
    assert "smallest image" not in layers("layersnet:sorts", "--layers", "1", "--crop", "32")[1]


def test_the_command_tells_fields(here: Path) -> None:
    said = layers("layersnet:plain", "--crop", "32x64", "--field", "2", "--field", "2:0,-1", "--field", "0:15,0")[1]
    # cell i of 2 sees 4i-3..4i+3, of its map of 8 x 16 the middle one is 4, 8; cell i of 0 sees 2i-1..2i+1
    assert "2, cell 4,8: sees rows 13 to 19, columns 29 to 35 (7 x 7 px); all of it on the input\n" in said
    assert "2, cell 0,15: sees rows -3 to 3, columns 57 to 63 (7 x 7 px); 43 % is padding: 3 px top\n" in said
    assert "0, cell 15,0: sees rows 29 to 31, columns -1 to 1 (3 x 3 px); 33 % is padding: 1 px left\n" in said


def test_the_command_prints_fields_as_json(here: Path) -> None:
    out = layers("layersnet:plain", "--crop", "32", "--layers", "0", "--field", "2:0,0", "--margin", "0", "--json")[0]
    document = json.loads(out)
    net = sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), nn.Conv2d(4, 5, 3, 2, 1))
    geometry = trace(net, ["0", "2"], 32)
    fields = document.pop("fields")
    assert document.pop("with_margin") == {"margin": 0, "smallest_image": [32, 32], "approximate": True}
    assert document == geometry.to_dict()
    assert fields == [geometry["2"].field((0, 0)).to_dict()]


def test_the_command_tells_misaligned_paths(here: Path) -> None:
    # 3x3 of stride 2: 2i; 2x2 pooling: 2i + 0.5
    out, _ = layers("layersnet:blocks", "--crop", "32", "--json")
    assert [one["pixels"] for one in json.loads(out)["misaligned"]] == [[0.5, 0.5]]
    assert (
        "misaligned: add in 0 joins maps that are centred 0.5 x 0.5 px apart\n"
        in layers("layersnet:blocks", "--crop", "32")[1]
    )
    many = layers("layersnet:many", "--crop", "32")[1]
    assert many.count("joins maps that are centred 0 x 1 px apart") == 6
    assert "misaligned: 2 more\n" in many
    assert "misaligned" not in layers("layersnet:plain", "--crop", "32")[1]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("9", "error: no layer of the model is called '9'"),
        ("*", "error: --field takes the name of one map, not '*'; there are 0, 1, 2"),
        ("2:0,8", "error: 2 has no cell (0, 8): a cell is (row, column) of its map of 8 x 8 cells, counted from 0"),
    ],
)
def test_fields_that_are_not_there(field: str, said: str, here: Path) -> None:
    assert said in layers("layersnet:plain", "--crop", "32", "--field", field, status=1)[1]


def test_a_layer_of_two_maps(here: Path) -> None:
    said = layers("layersnet:twice", "--crop", "32", "--field", "1", status=1)[1]
    assert "--field takes the name of one map, not '1'; there are 1[0], 1[1]" in said
    assert "1[1], cell 3,4: sees rows 3 to 3" in layers("layersnet:twice", "--crop", "32", "--field", "1[1]:3,4")[1]


def test_a_layer_that_sees_the_whole_input_has_no_field(here: Path) -> None:
    said = layers("layersnet:sorts", "--crop", "32", "--field", "1", status=1)[1]
    assert "error: 1 has no receptive fields: global: sort in 1 sees the whole input" in said


@pytest.mark.parametrize("field", ["2:0,", "2:0,0,0,0", ":0,0", "2:a,b", ""])
def test_what_is_no_field_is_wrong_usage(field: str, here: Path) -> None:
    assert "is not a layer, or one of its cells" in layers("layersnet:plain", "--field", field, status=2)[1]
