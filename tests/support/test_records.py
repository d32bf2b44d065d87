"""A study's folder: finished work is kept whole, and belongs to one set of settings."""

import json

import pytest

from padprint.errors import ResultError
from padprint.support.records import Records


def test_work_is_done_once(tmp_path):
    calls = []

    def work():
        calls.append(1)
        return {"value": 0.1 + 0.2, "parts": (1, 2), "none": None, "nan": float("inf")}

    first = Records(tmp_path / "a" / "study", {"seeds": (0, 1)}).compute("zeros/seed=0", work)
    again = Records(tmp_path / "a" / "study", {"seeds": (0, 1)}).compute("zeros/seed=0", work)
    assert calls == [1]
    assert first == again == {"value": 0.1 + 0.2, "parts": [1, 2], "none": None, "nan": float("inf")}
    assert Records(tmp_path / "a" / "study", {"seeds": [0, 1]}).get("zeros/seed=1") is None


def test_failed_work_leaves_no_record(tmp_path):
    records = Records(tmp_path, {})
    with pytest.raises(ZeroDivisionError):
        records.compute("a", lambda: {"x": 1 / 0})
    with pytest.raises(TypeError):
        records.compute("b", lambda: {"x": object()})
    assert records.get("a") is None
    assert records.get("b") is None
    assert records.compute("b", lambda: {"x": 1}) == {"x": 1}


def test_other_settings_are_refused(tmp_path):
    Records(tmp_path, {"seed": 0, "same": 1}).put("a", {"x": 1})
    with pytest.raises(ResultError, match=r"other settings \(seed is 0 there and 1 here\): choose another folder"):
        Records(tmp_path, {"seed": 1, "same": 1})
    assert Records(tmp_path, {"seed": 0, "same": 1}).get("a") == {"x": 1}


def test_a_damaged_record_is_named(tmp_path):
    records = Records(tmp_path, {})
    records.put("a", {"x": 1})
    path = next((tmp_path / "records").glob("a*.json"))
    path.write_text(json.dumps({"x": 1})[:-2])
    with pytest.raises(ResultError, match=r"a\.json cannot be read .* remove it"):
        records.get("a")
    path.write_text("[]")
    with pytest.raises(ResultError, match="is no record"):
        records.get("a")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="a file has that name"):
        Records(tmp_path / "file", {})


@pytest.mark.parametrize("key", ["", "../x", "a/../b", "a b", "/a", "a/"])
def test_keys_stay_inside_the_folder(tmp_path, key):
    with pytest.raises(ResultError, match="is not a record's key"):
        Records(tmp_path, {}).put(key, {})
