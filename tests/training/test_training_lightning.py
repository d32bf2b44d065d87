"""The callback of Lightning's Trainer: the same training, the same numbers, readable logs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import noise
from padprint import ImagesError, LayerError, ModelError, PadprintError, measure
from padprint.errors import MissingPackageError
from padprint.training.logs import scalars
from training_runs import OPTIONS, Drawn, assert_equal, batches, left, network

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training"),
]

lightning = pytest.importorskip("lightning.pytorch", reason="the callback is for Lightning")
pytest.importorskip("pytorch_lightning", reason="the callback is for it too")
from padprint.training.lightning import PatternCallback  # noqa: E402


def module(library: Any) -> Any:
    class Classifier(library.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)["logits"]

        def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
            loss = self.net(**batch)["loss"]
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    return Classifier()


def fit(folder: Path, callback: Any = None, library: Any = lightning, **options: Any) -> tuple[Any, Any]:
    """The module and the Trainer after 7 steps."""
    logger = library.loggers.TensorBoardLogger(folder)
    trainer = library.Trainer(
        **{
            "max_steps": 7,
            "callbacks": [] if callback is None else [callback],
            "logger": logger,
            "log_every_n_steps": 1,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "enable_model_summary": False,
            **options,
        }
    )
    classifier = module(library)
    trainer.fit(classifier, batches())
    return classifier, trainer


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_a_training_is_bit_for_bit_the_same_with_the_callback(name: str, tmp_path: Path) -> None:
    library = importlib.import_module(name)
    plain, trainer = fit(tmp_path / "plain", library=library)
    expected = left(plain, trainer.optimizers[0])
    callback = PatternCallback(Drawn(), submodule="net", every=2, budget=None, strict=True, **OPTIONS)
    watched, trainer = fit(tmp_path / "watched", callback, library)
    assert_equal(expected, left(watched, trainer.optimizers[0]))
    assert callback.watch is not None
    assert callback.watch.failures == []


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    scenes = noise(3, 40)
    callback = PatternCallback(scenes, submodule="net", every=3, budget=None, **OPTIONS)
    classifier, trainer = fit(tmp_path, callback, max_steps=6)
    events = accumulator.EventAccumulator(trainer.logger.log_dir).Reload()
    written = {event.step: event.value for event in events.Scalars("padprint/body.6/snr")}
    assert sorted(written) == [0, 3, 6]
    assert written[6] == pytest.approx(scalars(measure(classifier.net, scenes, **OPTIONS))["body.6/snr"], rel=1e-6)
    assert [image.step for image in events.Images("padprint/patterns")] == [0, 3, 6]
    assert len(events.Scalars("loss")) == 6


def test_accumulated_gradients_and_the_whole_module(tmp_path: Path) -> None:
    logged: list[int] = []
    options = {**OPTIONS, "layers": "net.body.6"}
    callback = PatternCallback(noise(3, 40), log=lambda _, step: logged.append(step), every=1, budget=None, **options)
    fit(tmp_path, callback, max_steps=3, accumulate_grad_batches=2)
    assert logged == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"layers": "layer9"}, LayerError, "no layer of the model is called 'layer9'"),
        ({"crop": 64}, ImagesError, "too small"),
        ({"submodule": "backbone"}, ModelError, "has no part 'backbone'; it has: net"),
        ({"logger": False}, PadprintError, "there is no logger"),
    ],
)
def test_errors_when_fitting_starts(
    options: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    trainer_options = {"logger": options.pop("logger")} if "logger" in options else {}
    callback = PatternCallback(noise(3, 40), **{"submodule": "net", **OPTIONS, **options})
    with pytest.raises(error, match=words):
        fit(tmp_path, callback, **trainer_options)


def test_a_failure_does_not_end_the_training(tmp_path: Path) -> None:
    def log(values: dict[str, float], step: int) -> None:
        raise OSError("disk full")

    callback = PatternCallback(noise(3, 40), submodule="net", log=log, every=1, budget=None, **OPTIONS)
    with pytest.warns(UserWarning, match="not measured at step 0 .*disk full"):
        _, trainer = fit(tmp_path, callback)
    assert trainer.global_step == 7
    assert callback.watch is not None
    assert [step for step, _ in callback.watch.failures] == list(range(8))


def test_without_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=r"lightning is needed for .*: pip install 'padprint\[training\]'"):
        importlib.reload(importlib.import_module("padprint.training.lightning"))
