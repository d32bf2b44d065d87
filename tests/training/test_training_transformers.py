"""The callback of the Trainer of Hugging Face Transformers: the same training, the same numbers, readable logs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import noise
from padprint import LayerError, PadprintError, measure
from padprint.errors import MissingPackageError
from padprint.training.logs import scalars
from training_runs import OPTIONS, Augmented, Drawn, assert_equal, left, network

transformers = pytest.importorskip("transformers", reason="the callback is for Hugging Face Transformers")
pytest.importorskip("accelerate", reason="its Trainer needs Accelerate")
from padprint.training.transformers import PatternCallback  # noqa: E402


def trainer(folder: Path, **options: Any) -> Any:
    """Trains a seeded network for 7 steps."""
    arguments = transformers.TrainingArguments(
        **{
            "output_dir": str(folder),
            "max_steps": 7,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "report_to": "none",
            "save_strategy": "no",
            "use_cpu": True,
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            **options,
        }
    )
    return transformers.Trainer(network(), arguments, train_dataset=Augmented())


@pytest.mark.parametrize("options", [{}, {"bf16": True}, {"gradient_accumulation_steps": 2}], ids=str)
def test_a_training_is_bit_for_bit_the_same_with_the_callback(options: dict[str, Any], tmp_path: Path) -> None:
    plain = trainer(tmp_path / "plain", **options)
    plain.train()
    expected = left(plain.model, plain.optimizer)
    watched = trainer(tmp_path / "watched", **options)
    watched.add_callback(PatternCallback(Drawn(), log=watched, every=2, budget=None, strict=True, **OPTIONS))
    watched.train()
    assert_equal(expected, left(watched.model, watched.optimizer))
    losses = [[entry["loss"] for entry in one.state.log_history if "loss" in entry] for one in (plain, watched)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 7


@pytest.mark.parametrize("bf16", [False, True])
def test_what_is_logged_is_what_measure_finds(bf16: bool, tmp_path: Path) -> None:
    scenes = noise(3, 40)
    one = trainer(tmp_path, bf16=bf16)
    one.add_callback(PatternCallback(scenes, log=one, every=7, budget=None, **OPTIONS))
    one.train()
    logged = [entry for entry in one.state.log_history if "padprint/body.6/snr" in entry]
    assert [entry["step"] for entry in logged] == [0, 7]
    expected = scalars(measure(network().to("cpu"), scenes, **OPTIONS))
    assert logged[0]["padprint/body.6/snr"] == expected["body.6/snr"]
    trained = network()
    trained.load_state_dict(one.model.state_dict())
    assert logged[1]["padprint/body.6/snr"] == scalars(measure(trained, scenes, **OPTIONS))["body.6/snr"]


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    one = trainer(tmp_path, report_to="tensorboard")
    one.add_callback(PatternCallback(noise(3, 40), log=one, every=7, budget=None, **OPTIONS))
    one.train()
    [file] = tmp_path.rglob("events.out.tfevents.*")
    events = accumulator.EventAccumulator(str(file.parent)).Reload()
    assert [event.step for event in events.Scalars("train/padprint/body.6/snr")] == [0, 7]
    assert [image.step for image in events.Images("padprint/patterns")] == [0, 7]
    assert len(events.Scalars("train/loss")) == 7


def test_errors_when_training_starts(tmp_path: Path) -> None:
    one = trainer(tmp_path)
    one.add_callback(PatternCallback(noise(3, 40), log=one, **{**OPTIONS, "layers": "layer9"}))
    with pytest.raises(LayerError, match="no layer of the model is called 'layer9'"):
        one.train()
    one = trainer(tmp_path)
    one.add_callback(PatternCallback(noise(3, 40), log=None, **OPTIONS))
    with pytest.raises(PadprintError, match="there is no logger"):
        one.train()


def test_a_failure_does_not_end_the_training(tmp_path: Path) -> None:
    def log(values: dict[str, float], step: int) -> None:
        raise OSError("disk full")

    one = trainer(tmp_path)
    callback = PatternCallback(noise(3, 40), log=log, every=1, budget=None, **OPTIONS)
    one.add_callback(callback)
    with pytest.warns(UserWarning, match="not measured at step 0 .*disk full"):
        one.train()
    assert one.state.global_step == 7
    assert callback.watch is not None
    assert len(callback.watch.failures) == 8
    assert torch.isfinite(one.model.head.weight).all()


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"transformers is needed for .*: pip install 'padprint\[training\]'"):
        importlib.reload(importlib.import_module("padprint.training.transformers"))
