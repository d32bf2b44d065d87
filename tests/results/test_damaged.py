"""Damaged results: whatever is in a saved document, it loads as what it should be or is refused in one line."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from random import Random
from types import UnionType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from helpers import noise
from measurements import made_layer, made_measurement
from padprint import Comparison, Estimate, ResultError, load, load_comparison
from padprint.baselines.readout.result import PosENetResult, Score
from padprint.cli import app
from padprint.overlap import Halo, halo
from padprint.overlap import load as load_halo
from padprint.results import storage
from padprint.support.records import Records

MEASUREMENT = made_measurement(made_layer("conv", (2, 3, 4)), made_layer("pool", (1, 2, 2), residual=0.1, offset=None))


def posenet() -> PosENetResult:
    score = Score(Estimate(0.5, 0.4, 0.6), Estimate(0.1, math.nan, math.nan))
    return PosENetResult(
        scores={"padded": {"H": score, "V": score}},
        added={"H": score},
        layers={"conv": (2, 3, 4)},
        unmeasured={"pool": "sees the whole input"},
        n_train=4,
        n_test=3,
        n_train_views=8,
        n_test_views=6,
        constant_drawings={"padded": 1},
        updates=10,
        remarks=("few images",),
        provenance={"seed": 0, "images": ["a.png"]},
    )


def made_halo() -> Halo:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1, stride=2))
    return halo(net, noise(2, 48), tile=16, padding=["own", "constant:value=0.5"], tolerance=0.5, confidence=0.9)


KINDS: dict[str, tuple[Callable[[], Any], str, str | None, Callable[[Path], Any]]] = {
    "measurement": (lambda: MEASUREMENT, "result.json", "patterns.safetensors", load),
    "comparison": (lambda: Comparison({"a": MEASUREMENT, "b": MEASUREMENT}), "comparison.json", None, load_comparison),
    "posenet": (posenet, "posenet.json", None, PosENetResult.load),
    "halo": (made_halo, "halo.json", "halo.safetensors", load_halo),
}


@pytest.fixture(scope="module", params=KINDS)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Callable]:
    make, document, _, reader = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    make().save(folder)
    return folder / document, without_checksum(folder / document), reader


def without_checksum(path: Path) -> dict[str, Any]:
    """A saved document as those were before they held a checksum, which load as they did."""
    document: dict[str, Any] = json.loads(path.read_text())
    del document[storage.CHECKSUM]
    return document


def typed(value: Any, hint: Any) -> bool:
    """Whether a loaded value is of the type that its class declares."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, UnionType):
        return any(typed(value, part) for part in parts)
    if origin is tuple and not isinstance(value, tuple):
        return False
    if origin is tuple:
        kinds = parts if parts[-1] is not ... else parts[:1] * len(value)
        return len(value) == len(kinds) and all(map(typed, value, kinds))
    if origin is not None and issubclass(origin, Mapping):
        return all(typed(key, parts[0]) and typed(one, parts[1]) for key, one in value.items())
    if is_dataclass(hint):
        hints = typing.get_type_hints(hint, localns=NAMES)
        return isinstance(value, hint) and all(typed(getattr(value, f.name), hints[f.name]) for f in fields(hint))
    if hint is Tensor:
        return value.dtype in (torch.float64, torch.int64)
    return type(value) is hint or (isinstance(value, hint) and not isinstance(value, bool | int | float))


def names() -> dict[str, Any]:
    from padprint.padding import Scheme

    return {"Scheme": Scheme}


NAMES = names()
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(
        [-1, 0, 2**63, 10**400, -0.5, 1e308, math.nan, math.inf, "", "inf", "nan", "1/0", "own", "../x", "\ud800"]
    ),
    st.text(max_size=3),
    st.lists(st.integers(-2, 3) | st.none(), max_size=4),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@st.composite
def damaged(draw: st.DrawFn, document: Any) -> Any:
    """The document with one value dropped, or replaced by another."""
    found = copy.deepcopy(document)
    place: Any = found
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = draw(st.sampled_from(keys))
        inner = place[key]
        if isinstance(inner, dict | list) and inner and draw(st.integers(0, 5)):
            place = inner
            continue
        if draw(st.booleans()):
            del place[key]
        else:
            place[key] = draw(ANYTHING)
        return found


@given(data=st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_document_with_one_wrong_value(kept: tuple[Path, Any, Callable], data: st.DataObject) -> None:
    path, document, reader = kept
    changed = data.draw(damaged(document))
    path.write_text(json.dumps(changed))
    try:
        found = reader(path.parent)
    except ResultError as error:
        assert len(str(error).splitlines()) == 1, str(error)
        assert len(str(error)) < 700
    else:
        assert typed(found, type(found)), changed
        assert str(found)
        assert json.dumps(found.to_dict(), allow_nan=False)
    finally:
        path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 2000, b"{}", b"[]", b"nul", b"\xff\xfe", b"", b"1" * 5000]
)
def test_what_is_no_document(kept: tuple[Path, Any, Callable], content: bytes) -> None:
    path, document, reader = kept
    path.write_bytes(content)
    with pytest.raises(ResultError) as raised:
        reader(path.parent)
    path.write_text(json.dumps(document))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("deep", [70, 900])
def test_a_document_nested_deeper_than_any(kept: tuple[Path, Any, Callable], deep: int) -> None:
    path, document, reader = kept
    path.write_text(
        json.dumps({**document, "provenance": {"x": 0}}).replace('"x": 0', '"x": ' + "[" * deep + "]" * deep)
    )
    with pytest.raises(ResultError, match="is nested deeper than 64 levels"):
        reader(path.parent)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("kind", ["measurement", "halo"])
@pytest.mark.parametrize("change", ["rank", "size", "type", "gone", "half"])
def test_tensors_of_another_shape(tmp_path: Path, kind: str, change: str) -> None:
    make, document, tensors, reader = KINDS[kind]
    make().save(tmp_path)
    found = load_file(tmp_path / tensors)
    key = next(iter(found))
    made = {
        "rank": lambda one: one[None],
        "size": lambda one: torch.cat([one, one]),
        "type": lambda one: one.float(),
        "half": lambda one: one,
    }
    if change == "gone":
        del found[key]
    else:
        found[key] = made[change](found[key])
    save_file(found, tmp_path / tensors)
    content = (tmp_path / tensors).read_bytes()[: 40 if change == "half" else None]
    (tmp_path / tensors).write_bytes(content)
    described = without_checksum(tmp_path / document)
    described["patterns"]["sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / document).write_text(json.dumps(described))
    with pytest.raises(ResultError, match="tensor" if change != "half" else "is not a readable safetensors file"):
        reader(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("rim", [1, 2, 3], r"layers\['conv'\]\['rim'\] is \[1, 2, 3\], not a list of 4"),
        ("rim", [1, 2, 3, "4"], r"\['rim'\]\[3\] is '4', not a whole number"),
        ("rim", [1, 2, 3, -4], "it must be 0 or more"),
        ("stride", [0, 1], "a stride must be above 0"),
        ("channels", 3, r"the tensor 'conv/pattern' is 2 x 3 x 4 .*, not 3 x 3 x 4"),
        ("notes", "text", "not a list"),
        ("numeric_floor", "small", "not a number"),
        ("profile", {"up": {}}, "there are profiles of all, top, bottom, left, right alone"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, field: str, value: Any, words: str) -> None:
    MEASUREMENT.save(tmp_path)
    document = without_checksum(tmp_path / "result.json")
    document["layers"]["conv"][field] = value
    (tmp_path / "result.json").write_text(json.dumps(document))
    with pytest.raises(ResultError, match=words):
        load(tmp_path)
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--output", str(tmp_path / "report.html")])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_floor_below_nothing_is_refused(tmp_path: Path) -> None:
    MEASUREMENT.save(tmp_path)
    document = without_checksum(tmp_path / "result.json")
    (tmp_path / "result.json").write_text(json.dumps({**document, "numeric_floor": -1.0}))
    with pytest.raises(ResultError, match="no negative rounding error"):
        load(tmp_path)


def test_a_comparison_of_nothing_is_refused(tmp_path: Path) -> None:
    Comparison({"a": MEASUREMENT, "b": MEASUREMENT}).save(tmp_path)
    document = without_checksum(tmp_path / "comparison.json")
    (tmp_path / "comparison.json").write_text(json.dumps({**document, "measurements": {}}))
    with pytest.raises(ResultError, match="one or more"):
        load_comparison(tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_is_noticed(name: str, tmp_path: Path) -> None:
    """Wherever it lies: the file is refused, or says what it said."""
    make, document, _, reader = KINDS[name]
    make().save(tmp_path)
    path = tmp_path / document
    whole = path.read_bytes()
    said = json.loads(whole)
    random = Random(0)
    for at in (whole.index(b": 1") + 2, *(random.randrange(len(whole)) for _ in range(60))):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << random.randrange(7)
        path.write_bytes(bytes(damaged))
        try:
            reader(tmp_path)
        except ResultError:
            continue
        assert json.loads(path.read_bytes()) == said or storage.CHECKSUM not in json.loads(path.read_bytes())


def test_another_layout_says_the_same(tmp_path: Path) -> None:
    MEASUREMENT.save(tmp_path)
    path = tmp_path / "result.json"
    before = load(tmp_path).to_dict()
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    assert load(tmp_path).to_dict() == before


@pytest.mark.parametrize("schema", [True, 1.0, "1", None, 2, [1]])
def test_a_schema_is_a_number(kept: tuple[Path, Any, Callable], schema: Any) -> None:
    path, document, reader = kept
    path.write_text(json.dumps({**document, "schema": schema}))
    with pytest.raises(ResultError, match=r"has schema .* and this padprint reads schema 1"):
        reader(path.parent)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"", b"3", b'{"a":' * 2000])
def test_a_damaged_record(tmp_path: Path, content: bytes) -> None:
    records = Records(tmp_path, {})
    records.put("a", {"x": 1})
    (tmp_path / "records" / "a.json").write_bytes(content)
    with pytest.raises(ResultError, match="remove it to do its work again"):
        records.get("a")
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ResultError, match=r"config\.json"):
        Records(tmp_path, {})


ROWS = {"rows": [{"name": str, "rim": tuple[int, ...], "snr": float}], "seconds": float}
RECORD = {"rows": [{"name": "a", "rim": [1, 2], "snr": math.nan, "more": 1}], "seconds": 2, "other": None}


def test_a_record_of_other_fields(tmp_path: Path) -> None:
    records = Records(tmp_path, {})
    records.put("a", RECORD)
    found = records.get("a", ROWS)
    assert found["rows"][0]["rim"] == (1, 2)
    assert found["seconds"] == 2.0
    assert found["other"] is None
    for changed, words in (
        ({"seconds": 1}, "rows is missing"),
        ({**RECORD, "seconds": "long"}, "seconds is 'long', not a number"),
        ({**RECORD, "rows": {}}, r"rows is \{\}, not a list"),
        ({**RECORD, "rows": [3]}, r"rows\[0\] is 3, not an object"),
        ({**RECORD, "rows": [{"name": "a", "snr": 1}]}, r"rows\[0\]\['rim'\] is missing"),
    ):
        records.put("a", changed)
        with pytest.raises(ResultError, match=rf"a\.json is damaged \({words}\); remove it to do its work again"):
            records.compute("a", dict, ROWS)


def test_damaged_work_of_a_study_is_named(tmp_path: Path) -> None:
    """A study that goes on reads what it kept, and says which file to remove."""
    from padprint.baselines.fconv.rook import rook
    from padprint.studies.formation import table
    from padprint.studies.formation_config import FormationConfig

    rook(["zeros"], seeds=[0], epochs=1, folder=tmp_path / "rook")
    (kept,) = (tmp_path / "rook" / "records").rglob("*.json")
    kept.write_text(json.dumps({"seed": 0, "accuracy": "all"}))
    with pytest.raises(ResultError, match=r"0\.json is damaged \(accuracy is 'all', not a number\); remove it"):
        rook(["zeros"], seeds=[0], epochs=1, folder=tmp_path / "rook")

    config = FormationConfig()
    unit = config.units[0]
    study = Records(tmp_path / "formation", config.to_dict())
    study.put(f"{unit.key}/{config.steps}", {"step": config.steps, "accuracy": 1.0, "loss": 0.5, "seconds": 1})
    with pytest.raises(ResultError, match=r"json is damaged \(layers is missing\); remove it"):
        table(tmp_path / "formation")
