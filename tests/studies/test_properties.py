"""The properties study: known answers of its three parts, and what it takes from a formation study."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from padprint import measure
from padprint.cli import app
from padprint.errors import ResultError
from padprint.images.synthetic import DeadLeaves
from padprint.studies import properties as study
from padprint.studies import tasks
from padprint.studies.formation import formation, table
from padprint.studies.formation_config import FormationConfig
from padprint.studies.properties_report import pictures, side_ratio, swap_matrix, swap_shares, words

SETTING = study.Setting("auto", 24, 2, 4)


def strided() -> nn.Module:
    """One zero-padded 3x3 convolution of stride 2."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding=1, bias=True))


def scenes(count=4):
    """Bright ones: where features have no mean, zeros leave no pattern."""
    return [scene + 1.5 for scene in DeadLeaves(count, 80, seed=1)]


def test_the_far_side_has_a_pattern_only_where_the_stride_reads_its_padding():
    """At even sizes a convolution of stride 2 never reads the padding on the far side; at odd sizes it does."""
    rows = pd.DataFrame(study.sizes(strided(), scenes(), SETTING))
    assert rows["crop"].tolist() == [24, 25, 36, 37]
    even, odd = rows[rows["crop"] % 2 == 0], rows[rows["crop"] % 2 == 1]
    assert (even["near"] > 1e-4).all()
    assert (odd["far"] > 0.1 * odd["near"]).all()
    corners = even["far"] / even["near"]  # the far sides' cells end where they meet the near sides
    assert (corners < 0.2).all()


def test_every_scheme_is_run_over_the_same_crops():
    net = strided()
    rows = study.swaps(net, scenes(), ["zeros", "reflect"], SETTING)
    assert [row["run"] for row in rows] == ["zeros", "reflect"]
    for row in rows:
        alone = measure(net, scenes(), "auto", 24, 2, 4, padding=row["run"])
        assert row["snr"] == pytest.approx(next(iter(alone.layers.values())).snr.value, rel=1e-6)
    assert study.swaps(net, scenes(), ["reflect"], SETTING)[0]["snr"] == pytest.approx(rows[1]["snr"], rel=1e-6)


def test_the_plain_snr_lies_above_the_unbiased_by_one_over_the_number_of_images():
    """With a crop to an image and an image to a group, that is so exactly."""
    rows = pd.DataFrame(study.convergence(strided(), scenes(8), (2, 4, 8, 16), study.Setting("auto", 24, 4, 8)))
    assert rows["images"].tolist() == [2, 4, 8]  # there are no 16
    assert (rows["snr_plain"] - rows["snr"]).tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 8])


# ------------------------------------------------------------------------------------------------- of a formation study


@pytest.fixture(scope="module")
def formed(tmp_path_factory):
    """A finished study of two schemes, and its folder."""
    pytest.importorskip("lightning_fabric")
    photographs = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for i in range(3):
        pixels = generator.integers(40 * i, 40 * i + 80, (96, 128, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(photographs / f"{i}.png")
    config = FormationConfig(
        networks=("residual",),
        tasks=("photographs", "digits"),
        schemes=("zeros", "replicate"),
        seeds=(0,),
        images=str(photographs),
        crop=24,
        scene=96,
        scenes=3,
        crops_per_image=2,
        groups=3,
        steps=2,
        batch_size=4,
        snapshots=1,
        calibration=2,
        held_out=8,
        learned=0.0,
        accelerator="cpu",
    )
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.Digits, "BACKGROUNDS", 2)
        formation(config, folder)
    return config, folder


@pytest.fixture(scope="module")
def tables(formed):
    folder = formed[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.Digits, "BACKGROUNDS", 2)
        patch.setattr(study, "COUNTS", (2, 3))
        return study.properties(folder, folder / "properties")


def test_swapping_a_network_for_its_own_scheme_is_what_the_study_measured(formed, tables):
    _, folder = formed
    last = table(folder).query("step == 2")
    own = tables["swap"].query("scheme == run")
    assert len(own) == len(last) == 2 * 2 * 4
    assert own["snr"].tolist() == pytest.approx(last["snr"].tolist(), rel=1e-3)
    assert own["accuracy"].tolist() == last["accuracy"].tolist()


def test_the_study_size_is_what_the_study_measured(formed, tables):
    _, folder = formed
    last = table(folder).query("step == 2")
    own = tables["size"].query("crop == 24")
    assert own["mae"].tolist() == pytest.approx(last["mae"].tolist(), rel=1e-6)


def test_images_are_counted_on_the_digits_of_the_first_seed(tables):
    rows = tables["images"]
    assert set(rows["task"]) == {"digits"}
    assert sorted(set(rows["images"])) == [2, 3]


def test_what_is_measured_is_not_measured_again(formed, tables, monkeypatch):
    _, folder = formed
    monkeypatch.setattr(study, "_measured", None)
    monkeypatch.setattr(tasks.Digits, "BACKGROUNDS", 2)
    again = study.properties(folder, folder / "properties")
    for part, rows in again.items():
        pd.testing.assert_frame_equal(rows, tables[part])


def test_the_command_prints_json_alone_and_draws(formed, tables, monkeypatch):
    _, folder = formed
    monkeypatch.setattr(tasks.Digits, "BACKGROUNDS", 2)
    monkeypatch.setattr(study, "COUNTS", (2, 3))
    run = CliRunner().invoke(app, ["study", "properties", str(folder), "--plots", "--json"])
    assert run.exit_code == 0, run.stderr
    assert {name: len(rows) for name, rows in json.loads(run.stdout).items()} == {
        name: len(rows) for name, rows in tables.items()
    }
    for part in study.PARTS:
        assert (folder / "properties" / f"properties-{part}.png").exists()
        assert len(pd.read_csv(folder / "properties" / f"{part}.csv")) == len(tables[part])


def test_what_is_not_there_is_an_error(formed, tmp_path):
    config, folder = formed
    with pytest.raises(ResultError, match="no part colour"):
        study.properties(folder, tmp_path / "a", ["colour"])
    with pytest.raises(ResultError, match="no training of seed 7"):
        study.properties(folder, tmp_path / "b", seeds=[7])
    with pytest.raises(ResultError, match="holds no formation study"):
        study.properties(tmp_path, tmp_path / "c")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    with pytest.raises(ResultError, match=r"no training in .* has finished"):
        study.properties(tmp_path, tmp_path / "d")


# ------------------------------------------------------------------------------------------------------------- in words


def test_the_matrix_holds_geometric_means_of_the_last_layer():
    rows = [
        {"scheme": scheme, "run": run, "depth": depth, "snr": snr * depth, "accuracy": 0.5}
        for scheme, run, snr in (("a", "a", 0.01), ("a", "a", 1.0), ("a", "b", -1.0), ("b", "a", 0.5), ("b", "b", 0.5))
        for depth in (1, 2)
    ]
    matrix = swap_matrix(pd.DataFrame(rows))
    assert matrix.loc["a", "a"] == pytest.approx((0.02 * 2) ** 0.5)
    assert matrix.loc["a", "b"] == pytest.approx(1e-3)  # below the floor
    assert matrix.loc["b", "a"] == pytest.approx(1.0)
    assert swap_matrix(pd.DataFrame(rows), "accuracy").to_numpy().tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_what_a_swap_goes_with():
    rows = [
        {"scheme": scheme, "run": run, "depth": 1, "network": "n", "task": "t", "snr": 10 ** (trained + own)}
        for scheme, trained in (("a", -0.1), ("b", 0.1))
        for run, own in (("a", -0.2), ("b", 0.2))
    ]
    shares = swap_shares(pd.DataFrame(rows))
    assert shares == pytest.approx({"scheme": 0.2, "run": 0.8, "residual": 0}, abs=1e-9)


def test_ratios_of_sides_are_medians_of_what_is_positive():
    rows = [
        {"network": "n", "scheme": "a", "crop": 24, "depth": 1, "near": near, "far": far}
        for near, far in ((1, 2), (1, 3), (1, 100), (-1, 1))
    ]
    assert side_ratio(pd.DataFrame(rows))["ratio"].tolist() == [3]


def test_words_and_pictures_are_of_the_parts_that_are_there(tables, tmp_path):
    one = {"images": tables["images"]}
    assert len(words(one)) == 1
    assert [path.name for path in pictures(one, tmp_path)] == ["properties-images.png"]
