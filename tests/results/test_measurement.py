from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from measurements import NAN, made_layer, made_measurement
from padprint.errors import ResultError
from padprint.results import documents
from padprint.results.measurement import Estimate
from padprint.results.saved import load, restore
from padprint.support import strict_json


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return made_measurement().save(tmp_path / "deep" / "folder")


def edit(folder: Path, **changes: object) -> None:
    path = folder / "result.json"
    document = json.loads(path.read_text())
    document.pop("checksum", None)
    path.write_text(json.dumps({**document, **changes}))


def test_load_gives_back_an_equal_measurement(saved: Path) -> None:
    back = load(saved)
    assert back == made_measurement()
    assert list(back) == ["features.1", "layer4"]
    assert back["layer4"].pattern.dtype == torch.float64
    assert back["layer4"].positional.value == math.inf
    assert back["layer4"].residual is None
    assert back["layer4"].profile["top"].cells.dtype == torch.int64
    assert sorted(path.name for path in saved.iterdir()) == ["patterns.safetensors", "result.json"]


@pytest.mark.parametrize(
    "other",
    [
        made_layer(snr=Estimate(0.123, 0.11, NAN)),
        made_layer(pattern=made_layer().pattern + 1e-12),
        made_layer(notes=()),
        made_layer(profile={}),
        made_layer(stride=(32, 17)),
    ],
)
def test_equality_sees_every_difference(other) -> None:
    assert made_layer() == made_layer()
    assert other != made_layer()
    assert made_measurement(other) != made_measurement(made_layer())
    assert made_measurement() != "text"


def test_noncontiguous_and_shared_patterns_are_saved(tmp_path: Path) -> None:
    pattern = torch.randn(9, 7, 3, dtype=torch.float64).permute(2, 1, 0)
    measurement = made_measurement(made_layer(pattern=pattern, noise=pattern))
    assert load(measurement.save(tmp_path)) == measurement


def test_the_files_are_plain_json_and_named_tensors(saved: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads((saved / "result.json").read_text(), parse_constant=refuse)
    assert document["schema"] == 1
    assert document["layers"]["layer4"]["snr_plain"] == {"value": 0.2, "low": None, "high": None}
    from safetensors import safe_open

    with safe_open(saved / "patterns.safetensors", "pt") as tensors:
        assert set(tensors.keys()) == {
            f"{n}/{k}" for n in ("layer4", "features.1") for k in ("pattern", "noise", "emergence")
        }
        assert tensors.metadata()["schema"] == "1"


def test_both_files_are_as_readable_as_any_new_file(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("")
    for path in saved.iterdir():
        assert path.stat().st_mode == (tmp_path / "new").stat().st_mode


def test_to_dict_has_no_number_that_json_lacks() -> None:
    plain = made_measurement().to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["layers"]["layer4"]["positional"] == {"value": None, "low": None, "high": 1.0}
    assert plain["layers"]["layer4"]["profile"]["all"]["count"] == [16, 12, 8, 4]


def test_saving_over_an_older_result_replaces_it(saved: Path) -> None:
    newer = made_measurement(made_layer("other"))
    newer.save(saved)
    assert load(saved) == newer


@pytest.mark.parametrize(
    "failing", ["padprint.results.storage.pack_tensors", "padprint.results.storage.json.dumps", "pathlib.Path.replace"]
)
def test_an_interrupted_save_keeps_the_old_result(saved: Path, monkeypatch, failing: str) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(failing, stop)
        made_measurement(made_layer("other")).save(saved)
    assert load(saved) == made_measurement()
    assert sorted(path.name for path in saved.iterdir()) == ["patterns.safetensors", "result.json"]


def test_a_save_stopped_between_the_two_moves_is_done(saved: Path, monkeypatch) -> None:
    move = Path.replace

    def stop_at_result(self: Path, target: Path) -> Path:
        if self.name == "result.json":
            raise KeyboardInterrupt
        return move(self, target)

    newer = made_measurement(made_layer("other"))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", stop_at_result)
        newer.save(saved)
    assert load(saved) == newer
    made_measurement().save(saved)
    assert load(saved) == made_measurement()
    assert sorted(path.name for path in saved.iterdir()) == ["patterns.safetensors", "result.json"]


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(ResultError, match="a file has that name"):
            made_measurement().save(folder)


def test_missing_and_damaged_files_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no such folder"):
        load(tmp_path / "nowhere")
    patterns, result = saved / "patterns.safetensors", saved / "result.json"
    content, text = patterns.read_bytes(), result.read_text()
    patterns.write_bytes(content[:-1] + b"?")
    with pytest.raises(ResultError, match="damaged or comes from another run"):
        load(saved)
    patterns.unlink()
    with pytest.raises(ResultError, match=r"has no patterns\.safetensors"):
        load(saved)
    patterns.write_bytes(content)
    result.write_text(text[: len(text) // 2])
    with pytest.raises(ResultError, match="not valid JSON"):
        load(saved)
    result.unlink()
    with pytest.raises(ResultError, match=r"has no result\.json"):
        load(saved)


def test_other_schemas_and_missing_fields_are_refused(saved: Path) -> None:
    edit(saved, crop=None)
    with pytest.raises(ResultError, match="the result is damaged"):
        load(saved)
    edit(saved, layers={"gone": {}})
    with pytest.raises(ResultError, match="the result is damaged"):
        load(saved)
    edit(saved, schema=2)
    with pytest.raises(ResultError, match="schema 2 and this padprint reads schema 1; read it with"):
        load(saved)
    (saved / "result.json").write_text("[]")
    with pytest.raises(ResultError, match="schema None"):
        load(saved)


def test_a_wrong_name_is_answered_with_the_nearest_or_the_reason() -> None:
    measurement = made_measurement()
    with pytest.raises(KeyError, match="did you mean 'layer4'"):
        measurement["layer3"]
    with pytest.raises(KeyError, match=r"pool.*was not measured: mean sees the whole input"):
        measurement["pool"]
    with pytest.raises(KeyError, match="measured: features"):
        measurement["zzzzzz"]
    assert "layer3" not in measurement
    assert measurement.get("layer3") is None
    assert len(measurement) == 2


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.123, 0.11, 0.136), "0.123 [0.110, 0.136]"),
        (Estimate(12.34, 10, 130), "12.3 [10.0, 130]"),
        (Estimate(2e-7, -1e-7, 0.0), "2.00e-07 [-1.00e-07, 0]"),
        (Estimate(0.5, NAN, NAN), "0.500"),
        (Estimate(NAN, NAN, NAN), "n/a"),
        (Estimate(math.inf, 1, math.inf), "inf [1.00, inf]"),
        (Estimate(0.9999, 0.09996, 999.7), "1.00 [0.100, 1000]"),
    ],
)
def test_estimates_print_three_digits(estimate: Estimate, text: str) -> None:
    assert str(estimate) == text


def test_decibels() -> None:
    db = Estimate(10.0, 0.0, math.inf).db
    assert db == Estimate(10.0, NAN, math.inf)


def test_text_and_repr_say_what_matters() -> None:
    measurement = made_measurement()
    lines = str(measurement).splitlines()
    assert len({line.index("[", 20) for line in lines[2:4]}) == 1  # columns stay aligned
    for part in ("0.123 [0.110, 0.136]", "0.0123 (0.00100)", "3.10", "2 1 1 2", "64 32 16 32", "32x16"):
        assert part in lines[3]
    text = "\n".join(lines[4:])
    for part in ("192 crops of 224 x 144 px", "approximate", "layer4: 2 dead features", "not measured: pool"):
        assert part in text
    assert lines[-1].startswith("warning: the margin is below")
    assert repr(measurement) == "Measurement(features.1, layer4; 192 crops of 12 images)"
    assert "3 x 7 x 9" in repr(measurement["layer4"])


def test_frame_has_a_row_per_layer_and_every_estimate() -> None:
    frame = made_measurement().to_frame().set_index("layer")
    row = frame.loc["layer4"]
    assert (row.channels, row.height, row.width) == (3, 7, 9)
    assert (row.rim_top, row.rim_right, row.rim_top_px, row.rim_right_px) == (2, 2, 64, 32)
    assert row.snr_db == pytest.approx(10 * math.log10(0.123))
    assert row.notes == "2 dead features"
    for key in ("snr", "snr_plain", "mae", "mae_floor", "response", "relative", "positional"):
        assert {key, f"{key}_low", f"{key}_high"} <= set(frame.columns)
    assert math.isnan(row.residual)
    assert frame.loc["features.1"].residual == 0.02
    empty = dataclasses.replace(made_measurement(), layers={})
    assert len(empty.to_frame()) == len(empty.profile_frame()) == 0


def test_profile_frame_is_long_and_equals_the_curves() -> None:
    frame = made_measurement().profile_frame()
    assert len(frame) == 2 * 5 * 4 * 3
    part = frame.query("layer == 'layer4' and side == 'left' and quantity == 'noise'")
    profile = made_layer().profile["left"]
    assert part["cells"].tolist() == [0, 1, 2, 3]
    assert part["pixels"].tolist() == profile.pixels.tolist()
    assert part["value"].tolist() == profile.noise.value.tolist()
    assert part["high"].isna().all()


def test_results_from_before_rms_load_and_say_that_they_have_none() -> None:
    made = made_measurement()
    document = json.loads(json.dumps(strict_json.encode(documents.describe(made))))
    for layer in document["layers"].values():
        for name in documents.SIZES:
            del layer[name], layer["replicates"][name]
    older = restore(document, documents.tensors_of(made))
    for name, layer in older.items():
        assert math.isnan(layer.rms.value)
        assert layer.snr == made[name].snr
