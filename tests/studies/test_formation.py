"""The formation study: tasks that say nothing about position, trainings that survive a kill, and what is made of them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from padprint import PadprintError, measure, trace
from padprint.cli import app
from padprint.errors import ImagesError, ModelError, ResultError
from padprint.studies import formation_finding as finding
from padprint.studies import tasks
from padprint.studies.formation import Clock, formation, read_config, table, task_of, weights_file
from padprint.studies.formation_config import ConfigError, FormationConfig, Unit
from padprint.studies.formation_report import document, pictures, words
from padprint.studies.formation_training import learning_rate
from padprint.studies.networks import NETWORKS, build
from padprint.studies.properties import trained
from padprint.support.atomic import SAVING

pytest.importorskip("lightning_fabric")
pytest.importorskip("sklearn")

TINY = {
    "networks": ("residual",),
    "tasks": ("photographs",),
    "schemes": ("randn",),
    "seeds": (0,),
    "crop": 24,
    "scene": 72,
    "crops_per_image": 2,
    "groups": 3,
    "steps": 6,
    "batch_size": 4,
    "snapshots": 2,
    "calibration": 2,
    "held_out": 8,
    "learned": 0.0,
    "checkpoint_every": 2,
    "accelerator": "cpu",
}


def photographs(folder: Path, count: int = 4, width: int = 96) -> str:
    """Noise of another brightness in every image."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for i in range(count):
        pixels = generator.integers(40 * i, 40 * i + 80, (72, width, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return str(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> FormationConfig:
    return FormationConfig(**TINY, images=photographs(tmp_path_factory.mktemp("photographs")))


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory) -> Path:
    """A finished study."""
    folder = tmp_path_factory.mktemp("study")
    formation(tiny, folder)
    return folder


def outcome(folder: Path) -> tuple[dict[str, bytes], pd.DataFrame]:
    """Final weights and the table."""
    return {file.name: file.read_bytes() for file in (folder / "weights").iterdir()}, table(folder)


def assert_same_outcome(one: Path, two: Path) -> None:
    (weights, rows), (other_weights, other_rows) = outcome(one), outcome(two)
    assert weights == other_weights
    pd.testing.assert_frame_equal(rows, other_rows, check_exact=True)
    assert not list((two / "checkpoints").glob("*"))


# --------------------------------------------------------------------------------------------------------------- tasks


def test_a_study_names_its_photographs_from_where_it_lies(study: Path, tiny: FormationConfig, monkeypatch):
    saved = json.loads((study / "config.json").read_text())["images"]
    assert not Path(saved).is_absolute()
    assert (study / saved).resolve() == Path(tiny.images).resolve()
    for file in (study / "config.json", *(study / "records").rglob("*.json")):
        assert str(study.parent) not in file.read_text()
    monkeypatch.chdir(study.parent)
    assert Path(read_config(study.name).images).resolve() == Path(tiny.images).resolve()
    assert len(formation(tiny, study.name)) == len(table(study))  # it is the same study, and goes on


def test_photographs_are_cut_anywhere_but_in_the_held_out_quarter(tmp_path):
    columns = np.broadcast_to(np.arange(96, dtype=np.uint8)[None, :, None], (72, 96, 3))
    for name in ("a.png", "b.png"):
        Image.fromarray(np.ascontiguousarray(columns)).save(tmp_path / name)
    task = tasks.Photographs(24, 72, tmp_path)

    def first_columns(crops):
        return ((crops * tasks.STD + tasks.MEAN) * 255).round().to(int)[:, 0, 0, 0].unique().tolist()

    assert first_columns(task.batch(0, 0, 900)[0]) == list(range(96 - 24 - 24 + 1))
    assert first_columns(task.held_out(50)[0]) == [72]
    assert task.scenes[0].shape == (3, 72, 96)


@pytest.mark.parametrize(("count", "width", "message"), [(1, 96, "two or more"), (2, 72, "as wide as two crops")])
def test_photographs_that_cannot_be_told_apart_or_cut_are_an_error(tmp_path, count, width, message):
    with pytest.raises(ImagesError, match=message):
        tasks.Photographs(40, 72, photographs(tmp_path, count, width))


@pytest.fixture(scope="module")
def digits():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.Digits, "BACKGROUNDS", 2)
        task = tasks.Digits(64, 96, 2)
        task.held_out(1)
        task.batch(0, 0, 1)
    return task


def test_digits_lie_anywhere_in_a_crop_whatever_they_are(digits):
    crops, labels = digits.batch(0, 0, 1500)
    ink = ((crops * tasks.STD + tasks.MEAN).amin(1) > 0.7).double()  # leaves are darker than this in some channel
    assert bool((ink.sum((1, 2)) > 0).all())
    at = torch.arange(64, dtype=torch.float64)
    rows, columns = ((ink.sum(other) * at).sum(1) / ink.sum((1, 2)) for other in (2, 1))
    for place in (rows, columns):
        spread = float(place.std())
        assert spread == pytest.approx(33 / 12**0.5, rel=0.12)  # 33 places for 32 px digits, all equally likely
        for label in range(10):
            own = place[labels == label]
            # where a digit's own centre of ink is, within its square, differs by up to 2 px from digit to digit
            assert abs(float(own.mean() - place.mean())) < 2 + 4 * spread / len(own) ** 0.5


def test_held_out_digits_are_not_seen_in_training(digits):
    assert not set(digits._held) & set(digits._kept)
    assert len(digits._held) + len(digits._kept) == 1797
    assert not any(torch.equal(a, b) for a in digits._backgrounds for b in digits._held_backgrounds)


@pytest.mark.parametrize("kind", ["digits", "photographs"])
def test_crops_follow_from_seed_and_step(kind, digits, tiny):
    task = digits if kind == "digits" else task_of("photographs", tiny)
    one, again, later, other = (task.batch(*key, 5)[0] for key in ((0, 3), (0, 3), (0, 4), (1, 3)))
    assert torch.equal(one, again)
    assert not torch.equal(one, later)
    assert not torch.equal(one, other)
    assert torch.equal(task.held_out(5)[0], task.held_out(5)[0])


# ------------------------------------------------------------------------------------------------------------ networks


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_have_four_resolutions_that_can_be_measured(name):
    geometry = trace(build(name, 10, 0), "auto", 64)
    assert [layer.size for layer in geometry.values()] == [(64, 64), (32, 32), (16, 16), (8, 8)]
    assert all(layer.reason is None for layer in geometry.values())


def test_weights_follow_from_the_seed_and_leave_torch_alone():
    before = torch.get_rng_state()
    one, again, other = (build("vgg", 10, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_other_networks_are_loaded():
    assert build("torchvision:resnet18", 10, 0).fc.out_features == 1000
    with pytest.raises(ModelError, match="there is no network 'resnet18'"):
        build("resnet18", 10, 0)


# ------------------------------------------------------------------------------------------------------------ settings


def test_the_default_study_has_every_combination():
    config = FormationConfig()
    assert len(config.units) == 2 * 2 * 7 * 3
    assert len({unit.key for unit in config.units}) == 84
    assert config.measured_at == [0, 3, 8, 19, 48, 119, 300]


def test_settings_survive_json(tmp_path):
    config = FormationConfig(networks=("torchvision:resnet18",), schemes=("constant:value=0.5",), learned=0.25)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert FormationConfig.read(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stesp": 3}, "there is no setting stesp"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"steps": True}, "steps must be a whole number"),
        ({"seeds": [0, 0]}, "each once"),
        ({"seeds": []}, "one or more"),
        ({"seeds": [-1]}, "seeds must be 0 or more"),
        ({"networks": "vgg"}, "networks must be a list of texts"),
        ({"images": 3}, "images must be a text or nothing"),
        ({"tasks": ["cats"]}, "there is no 'cats'; there are photographs, digits"),
        ({"precision": "16-true"}, "there is no '16-true'"),
        ({"schemes": ["reflct"]}, "did you mean reflect"),
        ({"schemes": ["full"]}, "changes the sizes of maps"),
        ({"networks": ["a:b", "a-b"]}, "differ in more than signs"),
    ],
)
def test_settings_that_make_no_sense_are_an_error(change, message):
    with pytest.raises(PadprintError, match=message):
        FormationConfig.from_dict(change)


def test_settings_that_cannot_be_read_are_an_error(tmp_path):
    (tmp_path / "config.json").write_text("{")
    for file, message in (("none.json", "cannot be read"), ("config.json", "cannot be read")):
        with pytest.raises(ConfigError, match=message):
            FormationConfig.read(tmp_path / file)


def test_the_learning_rate_rises_and_falls():
    rates = [learning_rate(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] < 1e-4


# ----------------------------------------------------------------------------------------------------------- trainings


def test_the_last_row_is_a_measurement_of_the_saved_weights(study, tiny):
    (unit,) = tiny.units
    task = task_of("photographs", tiny)
    model = trained(unit, study, tiny, task)
    result = measure(model, task.scenes, crop=24, crops_per_image=2, groups=3, batch_size=32)
    rows = table(study).query("step == 6")
    assert rows["snr"].tolist() == [layer.snr.value for layer in result.layers.values()]
    assert rows["rim"].tolist() == [" ".join(map(str, layer.rim)) for layer in result.layers.values()]
    crops, labels = task.held_out(8)
    with torch.no_grad():
        assert rows["accuracy"].iloc[0] == pytest.approx(float((model(crops).argmax(1) == labels).double().mean()))


def test_the_first_row_is_of_the_network_before_training(study, tiny):
    first, last = (table(study).query(f"step == {step}")["mae"].to_numpy() for step in (0, 6))
    assert (first != last).all()
    assert set(table(study)["step"]) == {0, 3, 6}


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(5, marks=pytest.mark.slow)])
def test_a_study_that_is_stopped_goes_on_to_the_same_end(at, study, tiny, tmp_path):
    def stop(progress):
        if progress.step == at and progress.finished is None:
            raise Stopped

    with pytest.raises(Stopped):
        formation(tiny, tmp_path, stop)
    assert not list((tmp_path / "weights").glob("*"))
    formation(tiny, tmp_path)
    assert_same_outcome(study, tmp_path)


def test_measuring_more_often_changes_no_training(study, tiny, tmp_path):
    formation(dataclasses.replace(tiny, snapshots=4, checkpoint_every=100), tmp_path)
    assert outcome(study)[0] == outcome(tmp_path)[0]
    rows = table(tmp_path)
    assert len(set(rows["step"])) > 3
    assert rows.query("step == 6")["snr"].tolist() == table(study).query("step == 6")["snr"].tolist()


def test_a_finished_study_does_nothing_again(study, tiny, monkeypatch):
    monkeypatch.setattr("padprint.studies.formation.Training", None)
    before = outcome(study)
    assert formation(tiny, study).equals(before[1])


def test_a_folder_of_other_settings_is_refused(study, tiny):
    with pytest.raises(ResultError, match="steps is 6 there and 7 here"):
        formation(dataclasses.replace(tiny, steps=7), study)
    with pytest.raises(ResultError, match="holds no formation study"):
        table(study / "weights")


def test_processes_that_cannot_share_a_batch_are_an_error(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="batch_size 4 cannot be shared by 3 processes"):
        formation(tiny, tmp_path)


def test_an_accelerator_that_is_not_there_is_an_error(tiny, tmp_path):
    with pytest.raises(ConfigError, match="accelerator 'abacus'"):
        formation(dataclasses.replace(tiny, accelerator="abacus"), tmp_path)


RUN = """
import os, sys
import torch
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # sums in another number of threads differ in their last bit
from padprint.studies.formation import formation, FormationConfig
formation(FormationConfig.read(sys.argv[1]), sys.argv[2], lambda now: print(now.step, flush=True))
"""


def killed(config: FormationConfig, folder: Path, steps: int, seed: int) -> bool:
    """Run the study in a process of its own, killed somewhere in the step after `steps` steps; whether it was still at work."""
    settings = folder.with_suffix(".json")
    settings.write_text(json.dumps(config.to_dict()))
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(settings), str(folder)], env=environment, stdout=subprocess.PIPE, text=True
    ) as child:
        lines = iter(child.stdout.readline, "")
        next(lines)
        start = time.perf_counter()
        done = sum(1 for _ in itertools.islice(lines, steps - 1))
        step = (time.perf_counter() - start) / max(done, 1)
        time.sleep(random.Random(seed).random() * step)
        child.send_signal(signal.SIGKILL)
    return child.returncode == -signal.SIGKILL


def test_a_study_that_is_killed_goes_on_to_the_same_end(study, tiny, tmp_path):
    folder = tmp_path / "killed"
    killed(tiny, folder, 3, 0)
    formation(tiny, folder)
    assert_same_outcome(study, folder)


@pytest.mark.slow
def test_a_study_that_is_killed_ten_times_goes_on_to_the_same_end(tiny, tmp_path):
    config = dataclasses.replace(tiny, schemes=("randn", "zeros"), steps=200, checkpoint_every=5, snapshots=5)
    formation(config, tmp_path / "whole")
    folder = tmp_path / "killed"
    # of 400 steps: into the second training, and not to its end
    kills = sum(killed(config, folder, 21 + seed, seed) for seed in range(10))
    assert kills == 10
    assert not list((folder / "weights").glob("*zeros*"))  # it had not got to the end
    formation(config, folder)
    assert_same_outcome(tmp_path / "whole", folder)


def test_an_unfinished_file_is_no_checkpoint(study, tiny, tmp_path):
    unfinished = tmp_path / "checkpoints" / f"{SAVING}1" / f"{tiny.units[0].key}.pt"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"half")
    formation(tiny, tmp_path)
    assert_same_outcome(study, tmp_path)


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tiny, tmp_path):
    """Two gloo processes through Fabric; then one process measures the weights that they saved."""
    settings, folder = tmp_path / "config.json", tmp_path / "study"
    config = dataclasses.replace(tiny, steps=2, snapshots=1)
    settings.write_text(json.dumps(config.to_dict()))
    script = tmp_path / "script.py"
    script.write_text(RUN)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*command, script, settings, folder], check=False, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    task = task_of("photographs", config)
    model = trained(config.units[0], folder, config, task)
    result = measure(model, task.scenes, crop=24, crops_per_image=2, groups=3, batch_size=32)
    rows = table(folder).query("step == 2")
    for name in ("snr", "mae", "response", "relative"):
        alone = [getattr(layer, name).value for layer in result.layers.values()]
        assert rows[name].tolist() == pytest.approx(alone, rel=1e-6)


# ------------------------------------------------------------------------------------------------------- remaining time


def test_remaining_time_is_that_of_trainings_alike():
    a0, b0, a1, b1 = (Unit("n", "t", scheme, seed) for seed in (0, 1) for scheme in ("a", "b"))
    clock = Clock([a0, b0, a1, b1])
    assert clock.remaining(a0, 0, 0) is None
    assert clock.remaining(a0, 0.25, 5) == pytest.approx(15 + 3 * 20)  # nothing finished: all are taken for alike
    clock.finish(a0, 20)
    assert clock.remaining(b0, 0.5, 30) == pytest.approx(10 + 20 + 20)  # of b's network only a is known
    clock.finish(b0, 60)
    assert clock.remaining(a1, 0.5, 10) == pytest.approx(10 + 60)
    clock.finish(a1, 20)
    clock.finish(b1, 60)
    assert clock.remaining(None, 0, 0) == 0


# ---------------------------------------------------------------------------------------------------------- the finding


def rows(effects, learned=lambda scheme, seed: True):
    """A table: log10 SNR by (scheme, weights), plus a hundredth for each seed and layer."""
    out = []
    for (scheme, trained_), level in effects.items():
        for seed in (0, 1, 2):
            for depth in (1, 2):
                value = 10 ** (level + 0.01 * seed + 0.01 * depth)
                out.append(
                    {
                        "network": "n",
                        "task": "t",
                        "scheme": scheme,
                        "seed": seed,
                        "step": 10 * trained_,
                        "accuracy": 0.9,
                        "loss": 0.1,
                        "learned": learned(scheme, seed),
                        "layer": f"l{depth}",
                        "depth": depth,
                        "snr": value,
                        "mae": value,
                    }
                )
    return pd.DataFrame(out)


LEVELS = {("a", False): -1.0, ("a", True): 0.0, ("b", False): -2.0, ("b", True): -1.7}


def test_gains_are_ratios_of_geometric_means():
    gains = finding.gains(rows(LEVELS), ["scheme"]).set_index("scheme")
    assert gains["ratio"].tolist() == pytest.approx([10, 10**0.3])
    assert gains.loc["a", "initial"] == pytest.approx(10 ** (-1 + 0.01 + 0.015))
    assert gains["low"].tolist() == pytest.approx(gains["ratio"].tolist())  # every seed gains the same
    assert gains["trainings"].tolist() == [3, 3]


def test_the_interval_of_a_gain_is_students_over_seeds():
    frame = rows(LEVELS)
    for seed, more in ((0, -0.1), (2, 0.1)):
        frame.loc[(frame["seed"] == seed) & (frame["step"] == 10), "snr"] *= 10**more
    gain = finding.gains(frame, ["scheme"]).iloc[0]
    half = 4.302653 * 0.1 / 3**0.5
    assert (gain["low"], gain["high"]) == pytest.approx((10 ** (1 - half), 10 ** (1 + half)), rel=1e-5)


def test_the_analysis_splits_what_was_put_in():
    found = finding.analyse(rows(LEVELS), draws=50)
    # cells -1, 0, -2, -1.7 with 6 rows each: means of schemes -0.5, -1.85; of weights -1.5, -0.85
    assert found["scheme"].squares == pytest.approx(24 * 0.675**2)
    assert found["weights"].squares == pytest.approx(24 * 0.325**2)
    assert found["weights x scheme"].squares == pytest.approx(24 * 0.175**2)
    assert found["layer"].squares == pytest.approx(24 * 0.005**2)
    assert found[finding.BETWEEN].squares == pytest.approx(24 * 2 / 3 * 0.01**2)
    assert sum(term.share for term in found.terms) == pytest.approx(1)


def test_trainings_that_did_not_learn_are_left_out_and_named():
    frame = rows(LEVELS, learned=lambda scheme, seed: (scheme, seed) != ("a", 1))
    assert finding.gains(frame, ["scheme"])["trainings"].tolist() == [2, 3]
    said = words(frame, document(frame, FormationConfig()))
    assert [line for line in said if "did not learn" in line] == [
        "did not learn, and is left out: n, t, a, seed 1 (90%)"
    ]
    with pytest.raises(ResultError, match="nothing to analyse"):
        finding.ends(rows(LEVELS, learned=lambda *_: None))


def test_what_is_not_there_has_the_floor_for_logarithm():
    frame = rows(LEVELS)
    frame.loc[frame["scheme"] == "b", "snr"] = -0.001
    assert finding.floored(frame) == 0.5
    assert finding.logarithm(frame, "snr").min() == pytest.approx(-3)
    assert finding.gains(frame, ["scheme"])["ratio"].iloc[1] == pytest.approx(1)


def test_the_spread_is_the_largest_scheme_over_the_smallest():
    assert finding.spread(rows(LEVELS)) == pytest.approx({0: 10, 10: 10**1.7})


def test_pictures_are_drawn_where_there_is_enough(tmp_path):
    drawn = pictures(rows(LEVELS), tmp_path)
    assert [path.name for path in drawn] == [f"formation-{name}.png" for name in ("curves", "ends", "variance")]
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.width > 400
    assert pictures(rows(LEVELS, learned=lambda *_: False), tmp_path) == []


# ------------------------------------------------------------------------------------------------------ command line


def test_the_command_runs_a_study_and_prints_json_alone(tiny, study, tmp_path):
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(tiny.to_dict()))
    run = CliRunner().invoke(
        app, ["study", "formation", "--output", str(study), "--config", str(settings), "--plots", "--json"]
    )
    assert run.exit_code == 0, run.stderr
    found = json.loads(run.stdout)
    assert FormationConfig.from_dict(found["config"]) == tiny == read_config(study)
    assert found["trainings"][0]["learned"] is True
    assert "randn: SNR" in run.stderr
    assert pd.read_csv(study / "table.csv").shape == table(study).shape
    assert (study / "formation-curves.png").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--steps", "3"], 1, "holds a study of other settings"),
        (["--config", "none.json"], 1, "cannot be read"),
        (["--padding", "reflct"], 1, "did you mean reflect"),
        (["--steps", "none"], 2, "--steps"),
    ],
)
def test_wrong_input_is_one_line_and_a_status(study, arguments, status, message):
    run = CliRunner().invoke(app, ["study", "formation", "--output", str(study), *arguments])
    assert run.exit_code == status
    assert message in " ".join(run.stderr.split())
    assert run.stdout == ""


def test_weights_are_where_the_study_says(study, tiny):
    assert weights_file(study, tiny.units[0]).exists()
