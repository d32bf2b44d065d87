"""Results as tables: every result with rows has one, in the form that the page tells, with the numbers of its plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import nets
from helpers import noise
from measurements import NAN, made_layer, made_measurement
from nets import Sorted, conv, sequential
from padprint import inspect, trace
from padprint.baselines.fconv.quadrants import Located, QuadrantsResult
from padprint.baselines.fconv.trials import Trials
from padprint.baselines.labels import LayerLabels
from padprint.baselines.probe import LayerProbe
from padprint.baselines.readout.result import PosENetResult, Score
from padprint.baselines.ring import LayerRing
from padprint.baselines.shifts import LayerShift, ShiftConsistency
from padprint.baselines.tiles import LayerTiles
from padprint.checkup import Checkup
from padprint.overlap import halo, structural
from padprint.report.levels import level
from padprint.results.comparison import Comparison
from padprint.results.estimates import ByLayer, Contrast
from padprint.results.measurement import PARTS, Estimate, Part
from padprint.studies.anova import anova
from padprint.studies.reliability_tables import Reliability
from padprint.studies.scores import SCORES

PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text()


def columns_of(name: str) -> list[str]:
    """The columns that the page tells of a result."""
    (entry,) = re.findall(rf"^- \*\*{name}\*\*: (.*?)(?=^- \*\*|^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    first = {"Checkup": "Geometry", "Comparison": "Measurement"}.get(name)
    found: list[str] = []
    for token, interval in re.findall(r"`([^`.]+)`( ±)?", entry):
        parts = [part.split(",") for part in re.split(r"[{}]", token)]
        for spelled in map("".join, product(*parts)):
            found += [spelled, f"{spelled}_low", f"{spelled}_high"] if interval else [spelled]
    if name == "Inspection":
        found = found[:10]  # a remark on some of them follows
    if name == "Anova":
        found = found[:8]
    rest = [] if first is None else columns_of(first)
    return found + rest if name == "Comparison" else rest + found


def estimates(seed: int = 0) -> Iterator[Estimate]:
    """Others every time."""
    while True:
        seed += 1
        yield Estimate(seed / 10, seed / 10 - 0.05, math.inf if seed % 5 == 0 else seed / 10 + 0.07)


NEW = estimates()


def contrast() -> Contrast:
    return Contrast(next(NEW), next(NEW), next(NEW))


def part() -> Part:
    return Part(next(NEW), next(NEW), next(NEW), torch.zeros(2, 3, 3), torch.zeros(3, 3))


def made_posenet() -> PosENetResult:
    scores = {source: {one: Score(next(NEW), next(NEW)) for one in "HV"} for source in ("padded", "optimal")}
    added = {one: Score(next(NEW), Estimate(NAN, NAN, NAN)) for one in "HV"}
    return PosENetResult(scores, added, {"a": (3, 8, 8)}, {}, 4, 2, 4, 2, {}, 10, (), {})


def made_trials() -> Trials:
    runs = {
        "zeros": ({"accuracy": 0.5, "updates": 30.0}, {"accuracy": 0.9, "updates": 10.0}),
        "circular": ({"accuracy": 0.25, "updates": 40.0}, {"accuracy": 0.25, "updates": 40.0}),
    }
    return Trials(runs, ("accuracy",), ("updates",), (), {}, ())


def made_reliability() -> Reliability:
    def record(
        part: str, network: str, repetition: int, value: float, amplitude: float | None = None
    ) -> dict[str, Any]:
        return {
            "part": part,
            "network": network,
            "repetition": repetition,
            "response": True,
            "position": bool(amplitude),
            "amplitude": amplitude,
            "scores": {score.name: value + score.nothing for score in SCORES[:2]},
            "seconds": {score.metric.__name__: 1.0 for score in SCORES[:2]},
        }

    records = []
    for i in range(3):
        records += [record("spread", "net", i, 1.0 + i), record("truth", "tells", i, 5 + 0.01 * i, 1.0)]
        records += [record("dose", f"{a}", i, 10 * a + 0.01 * i, a) for a in (0.0, 0.1, 0.3)]
    return Reliability({"repetitions": 3}, records)


def made_anova() -> Any:
    table = pd.DataFrame({"y": [1.0, 2, 4, 8, 3, 5], "a": list("xxyyzz"), "b": list("uvuvuv")})
    return anova(table, "y", [("a",), ("b",)])


def geometry() -> Any:
    return trace(nn.Sequential(conv(3, 4, (3, 5), stride=2), Sorted()).eval(), "*", (24, 32))


def checkup() -> Checkup:
    found = geometry()
    return Checkup("net", (24, 32), found, None, made_measurement(made_layer("0")), None, "", (26, 34), (), ())


@pytest.fixture(scope="module")
def measured() -> Any:
    net = sequential(conv(), nn.Tanh(), conv(4, 4))
    found = halo(net, noise(2, 96), tile=32, tiles_per_image=2, tolerance=0.5)
    return net, found


MADE: dict[str, Callable[[], Any]] = {
    "Geometry": geometry,
    "Inspection": lambda: inspect(nets.stack(), 24),
    "Checkup": checkup,
    "Measurement": lambda: made_measurement(made_layer("a"), made_layer("b")),
    "Comparison": lambda: Comparison({"own": made_measurement(), "reflect": made_measurement()}),
    "Structural": lambda: structural(nets.stride_two(), tile=32),
    "probe": lambda: ByLayer(
        {"a": LayerProbe({"row": contrast(), "column": contrast(), "border": contrast()})}, {}, 3, 6
    ),
    "ring": lambda: ByLayer({"a": LayerRing(4, 28, {"own": next(NEW), "reflect": next(NEW)})}, {}, 3, 6),
    "shift": lambda: ShiftConsistency({"a": LayerShift(contrast())}, {}, 3, 6),
    "tiles": lambda: ByLayer({n: LayerTiles(next(NEW), next(NEW), next(NEW)) for n in "ab"}, {}, 3, 6),
    "labels": lambda: ByLayer({"a": LayerLabels(next(NEW), next(NEW), (8.0, 4.0))}, {}, 3, 6),
    "PosENetResult": made_posenet,
    "Trials": made_trials,
    "QuadrantsResult": lambda: QuadrantsResult(
        {0: Located(next(NEW), 0.9), 32: Located(next(NEW), 0.8)}, "a", 4, 0.25, {}, ()
    ),
    "Reliability": made_reliability,
    "Anova": made_anova,
}


def check_form(name: str, table: pd.DataFrame) -> None:
    assert list(table.columns) == columns_of(name)
    assert len(table)
    assert list(table.index) == list(range(len(table)))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", column) for column in table.columns)
    for column in table.columns:
        if any(isinstance(value, float | int) for value in table[column].dropna()):
            assert table[column].dtype.kind in "ifb" or column == "exact", column


@pytest.mark.parametrize("name", MADE)
def test_tables_are_as_the_page_says(name: str) -> None:
    check_form(name, MADE[name]().to_frame())


def test_tables_of_halos_are_as_the_page_says(measured: Any) -> None:
    net, found = measured
    check_form("Halo", found.to_frame())
    check_form("Verification", found.verify(net, noise(2, 96, seed=7)).to_frame())


def test_every_result_stands_on_the_page() -> None:
    told = re.findall(r"^- \*\*(\w+)\*\*:", PAGE, re.MULTILINE)
    assert sorted(told) == sorted([*MADE, "Halo", "Verification"])


# ------------------------------------------------------------------------------ the numbers are those of the plain values


def same(row: Any, name: str, plain: dict[str, Any] | None) -> None:
    """An estimate's columns and its plain values, where what is not finite is None."""
    for key, column in (("value", name), ("low", f"{name}_low"), ("high", f"{name}_high")):
        expected, value = plain[key], row[column]
        assert value == expected if expected is not None else not math.isfinite(value)


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.to_dict("records")
    return found


def test_measurements_and_comparisons() -> None:
    one, two = made_measurement(made_layer("a"), made_layer("b")), made_measurement(made_layer("a"), made_layer("b"))
    both = Comparison({"one": one, "two": two})
    plain = both.to_dict()["measurements"]
    for row in rows(both.to_frame()):
        layer = plain[row["name"]]["layers"][row["layer"]]
        for key in ("snr", "snr_plain", "mae", "mae_floor", "response", "relative", "positional", "rms", "rms_floor"):
            same(row, key, layer[key])
        assert [row["stride_y"], row["stride_x"]] == layer["stride"]
        assert [row[f"rim_{side}"] for side in ("top", "bottom", "left", "right")] == layer["rim"]


def test_parts() -> None:
    layers = [replace(made_layer(name), parts={one: part() for one in PARTS}) for name in "ab"]
    found = made_measurement(*layers, made_layer("c"))
    plain, table = found.to_dict()["layers"], rows(found.parts_frame())
    assert [(row["layer"], row["part"]) for row in table] == [(name, one) for name in "ab" for one in PARTS]
    for row in table:
        for key in ("size", "pattern", "snr"):
            same(row, key, plain[row["layer"]]["parts"][row["part"]][key])


@pytest.mark.parametrize("name", ["probe", "shift", "tiles", "labels", "ring"])
def test_baselines_by_layer(name: str) -> None:
    found = MADE[name]()
    plain, table = found.to_dict()["layers"], rows(found.to_frame())
    assert list(dict.fromkeys(row["layer"] for row in table)) == list(plain)
    for row in table:
        layer = plain[row["layer"]]
        if name == "probe":
            for key in ("padded", "optimal", "added"):
                same(row, f"r2_{key}", layer[row["target"]][key])
        elif name == "ring":
            same(row, "nmse", layer["nmse"][row["padding"]])
            assert (row["channels"], row["cells"]) == (layer["channels"], layer["size"])
        elif name == "shift":
            for key in ("padded", "optimal", "added"):
                same(row, f"change_{key}", layer["change"][key])
        else:
            keys = ("seam", "elsewhere", "ratio") if name == "tiles" else ("mean_entropy", "disagreeing")
            for key in keys:
                same(row, key, layer[key])
    if name == "probe":
        assert [row["target"] for row in table] == ["row", "column", "border"]
    if name == "ring":
        assert [row["padding"] for row in table] == ["own", "reflect"]
    if name == "labels":
        assert [[row["stride_y"], row["stride_x"]] for row in table] == [[8.0, 4.0]]


def test_posenet() -> None:
    found = made_posenet()
    plain, table = found.to_dict(), rows(found.to_frame())
    assert len(table) == 6
    for row in table:
        source = plain["added"] if row["source"] == "padded - optimal" else plain["scores"][row["source"]]
        for key in ("spc", "mae"):
            same(row, key, source[row["pattern"]][key])


def test_fconv() -> None:
    found = made_trials()
    plain, table = found.to_dict(), rows(found.to_frame())
    assert [row["padding"] for row in table] == ["zeros", "circular"]
    for row in table:
        same(row, "accuracy", plain["variants"][row["padding"]]["accuracy"])
        assert row["accuracy_sd"] == plain["variants"][row["padding"]]["accuracy"]["sd"]
        assert row["runs"] == len(plain["runs"][row["padding"]])
    assert table[0]["accuracy"] == pytest.approx(0.7)
    assert table[0]["accuracy_sd"] == pytest.approx(0.2)
    for row in rows(found.run_frame()):
        run = plain["runs"][row["padding"]][row["run"]]
        assert {key: row[key] for key in run} == run
    assert len(found.run_frame()) == 4

    quadrants = MADE["QuadrantsResult"]()
    plain = quadrants.to_dict()["borders"]
    for row in rows(quadrants.to_frame()):
        same(row, "accuracy", plain[str(row["border"])]["accuracy"])
        assert row["fitted"] == plain[str(row["border"])]["fitted"]


def test_halos(measured: Any) -> None:
    net, found = measured
    for row, point in zip(rows(found.to_frame()), found.first.curve, strict=True):
        assert (row["padding"], row["halo"], row["overlap_y"], row["overlap_x"]) == ("own", point.halo, *point.overlap)
        assert (row["error"], row["worst_image"], row["limit"]) == (point.error, point.worst, point.limit)
        assert (row["cost"], row["aligned"]) == (point.cost, point.aligned)
    check = found.verify(net, noise(2, 96, seed=7))
    for row in rows(check.to_frame()):
        plain = check.to_dict()["outputs"][row["output"]]
        for key in ("passed", "worst", "images_within", "beyond_reach", "mean", "rms", "largest"):
            assert row[key] == plain[key]
        assert [row["worst_side"], row["worst_px"]] == list(plain["worst_distance"])
        assert [row["worst_image_error"], row["worst_image"]] == list(plain["worst_image"])
        assert [row["largest_image"], row["largest_y"], row["largest_x"]] == list(plain["largest_at"])


def test_structural_halos() -> None:
    # two 3x3 of stride 2 on 32 px: one cell of 4 px on the near sides
    (row,) = rows(structural(nets.stride_two(), tile=32).to_frame())
    assert [row[f"halo_{side}"] for side in ("top", "bottom", "left", "right")] == [1, 0, 1, 0]
    assert [row[f"halo_{side}_px"] for side in ("top", "bottom", "left", "right")] == [4, 0, 4, 0]
    assert (row["height"], row["width"], row["stride_y"], row["stride_x"]) == (8, 8, 4, 4)


def test_inspections() -> None:
    found = inspect(nets.stack(), 24)
    for row, plain in zip(rows(found.to_frame()), found.to_dict()["operators"], strict=True):
        assert {key: row[key] for key in ("module", "operator", "mode", "swappable")} == {
            key: plain[key] for key in ("module", "operator", "mode", "swappable")
        }
        assert [list(one) for one in row["amounts"]] == plain["amounts"]


def test_checkups() -> None:
    found = checkup()
    table = found.to_frame()
    assert list(table.layer) == ["0", "1"]
    pd.testing.assert_frame_equal(table[columns_of("Geometry")], found.geometry.to_frame())
    layer = found.measurement["0"]
    assert (table.mark[0], table.relative[0]) == (level(layer), layer.relative.value)
    assert table[["mark", "relative", "relative_low", "relative_high"]].iloc[1].isna().all()


def test_reliability_and_anova() -> None:
    found = made_reliability()
    for row, plain in zip(rows(found.to_frame()), found.to_dict()["summary"], strict=True):
        assert {key: row[key.replace(" ", "_")] for key in plain if plain[key] is not None} == {
            key: value for key, value in plain.items() if value is not None
        }
    analysed = made_anova()
    for row, term in zip(rows(analysed.to_frame()), analysed.terms, strict=True):
        assert row["name"] == term.name
        assert row["share"] == term.share


@pytest.mark.parametrize(
    "found",
    [
        ByLayer({}, {}, 0, 0),
        Trials({}, (), (), (), {}, ()),
        QuadrantsResult({}, "a", 0, 0.25, {}, ()),
    ],
    ids=["by layer", "trials", "quadrants"],
)
def test_a_result_without_rows_has_an_empty_table(found: Any) -> None:
    table = found.to_frame()
    assert len(table) == 0
    assert next(iter(table.columns)) in ("layer", "padding", "border")
