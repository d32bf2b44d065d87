"""Files that take their places together: a process killed at any moment leaves the old result or the new one, whole."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kills import every_kill
from measurements import made_layer, made_measurement
from padprint import Comparison, ResultError, load, load_comparison, report
from padprint.overlap import load as load_halo
from padprint.support import atomic
from padprint.support.records import Records

OLD = made_measurement(made_layer("conv", (1, 3, 3)), made_layer("pool", (1, 2, 2)))
NEW = made_measurement(*(dataclasses.replace(one, pattern=one.pattern + 1) for one in OLD.values()))  # of other weights

Case = tuple[Callable[[Path], object], Callable[[Path], object], Callable[[Path], str]]


def read(load: Callable[[Path], object], old: object, new: object) -> Callable[[Path], str]:
    """What a folder holds: "old", "new", "mixture" or "nothing"."""

    def check(place: Path) -> str:
        try:
            found = load(place)
        except ResultError as error:
            assert "no such folder" in str(error) or "no result was saved there" in str(error), error
            return "nothing"
        return "new" if found == new else "old" if found == old else "mixture"

    return check


def measurements() -> Case:
    return OLD.save, NEW.save, read(load, OLD, NEW)


def comparisons() -> Case:
    """One of the members is there before and after, with other weights."""
    old, new = Comparison({"a": OLD, "b": OLD}), Comparison({"a": NEW, "c": OLD})
    return old.save, new.save, read(load_comparison, old, new)


def members() -> Case:
    """A member of a comparison, read alone."""
    old, new = Comparison({"a": OLD}), Comparison({"a": NEW})
    return old.save, new.save, read(lambda place: load(place / "00-a"), OLD, NEW)


def single_files() -> Case:
    """Reports, and records of studies."""

    def save(x: int) -> Callable[[Path], object]:
        return lambda place: Records(place, {}).put("a/b", {"x": x})

    def loaded(place: Path) -> object:
        found = Records(place, {}).get("a/b")
        if found is None:
            raise ResultError("no result was saved there")
        return found

    return save(1), save(2), read(loaded, {"x": 1}, {"x": 2})


def run(folder: str) -> None:
    """Print what is left after every kill, for each kind, and for one where there was nothing before."""
    found = {}
    for case in (measurements, comparisons, members, single_files):
        first, second, check = case()
        found[case.__name__] = every_kill(Path(folder) / case.__name__, first, second, check)
    found["first"] = every_kill(Path(folder) / "first", None, NEW.save, measurements()[2])
    sys.stdout.write(json.dumps(found))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """In a process of its own, as only one without threads may be forked."""
    command = [sys.executable, "-c", f"import test_atomic; test_atomic.run({str(tmp_path)!r})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 5
    for name, (said, left) in found.items():
        before = "nothing" if name == "first" else "old"
        turn = said.index("new")
        assert said == [before] * turn + ["new"] * (len(said) - turn), name
        assert turn > 3, name  # there were many moments before it counted
        assert len(said) > turn + 1, name  # and one or more after
        assert left == [], name  # the next save tidies up


def test_a_report_is_whole_or_absent(tmp_path: Path, monkeypatch) -> None:
    page = "older"
    monkeypatch.setattr(report.page, "render", lambda *_, **__: page)
    report.write(OLD, tmp_path / "report.html")
    monkeypatch.setattr(report.page, "render", lambda *_, **__: "newer")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        report.write(NEW, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == page
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    report.write(NEW, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "newer"
    report.write(NEW, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "newer"


def test_a_folder_of_other_files_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "00-a").mkdir()
    (tmp_path / "00-a" / "picture.png").write_text("mine")
    Comparison({"a": OLD, "b": OLD}).save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == (tmp_path / "00-a" / "picture.png").read_text() == "mine"


def test_a_live_save_is_left_alone_and_a_dead_one_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".saving-dead").mkdir()
    (tmp_path / ".saving-dead" / "result.json").write_text("half")

    def write(unfinished: Path) -> None:
        (unfinished / "a").write_text("slow")
        atomic.publish(tmp_path, lambda other: (other / "a").write_text("fast"))
        assert not (tmp_path / ".saving-dead").exists()
        assert (unfinished / "a").read_text() == "slow"
        assert (tmp_path / "a").read_text() == "fast"

    atomic.publish(tmp_path, write)
    assert (tmp_path / "a").read_text() == "slow"
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("taken", ["result.json", "patterns.safetensors"])
def test_a_folder_in_a_files_place_is_refused(tmp_path: Path, taken: str) -> None:
    OLD.save(tmp_path)
    (tmp_path / taken).unlink()
    (tmp_path / taken).mkdir()
    with pytest.raises(ResultError, match=f"{taken} cannot be a file, a folder has that name"):
        NEW.save(tmp_path)
    assert [one.name for one in tmp_path.glob(".sav*")] == []


def test_a_file_in_a_members_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "01-b").write_text("mine")
    with pytest.raises(ResultError, match="01-b cannot be a folder, a file has that name"):
        Comparison({"a": OLD, "b": OLD}).save(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["00-a", "01-b"]


def test_members_of_two_comparisons_are_told_apart(tmp_path: Path) -> None:
    Comparison({"a": OLD, "b": OLD}).save(tmp_path / "one")
    Comparison({"a": NEW, "b": OLD}).save(tmp_path / "two")
    shutil.rmtree(tmp_path / "one" / "00-a")
    shutil.copytree(tmp_path / "two" / "00-a", tmp_path / "one" / "00-a")
    with pytest.raises(ResultError, match=r"00-a/result\.json is not the file that the comparison was saved with"):
        load_comparison(tmp_path / "one")


def test_a_halo_has_nothing_to_read_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no such folder"):
        load_halo(tmp_path / "none")
