"""The watch as a callback of the Trainer of Hugging Face Transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from padprint.images.photographs import Images
from padprint.support.optional import require
from padprint.training.watch import Watch

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
else:
    TrainerCallback = require(
        "transformers", why="for padprint.training.transformers", extra="training"
    ).TrainerCallback


class PatternCallback(TrainerCallback):
    """Watches the network that a Trainer trains.

    ::

        trainer.add_callback(PatternCallback(scenes, log=trainer, layers=["resnet.encoder.stages.*"], every=500))

    It measures at step 0 and after steps that are due (``state.global_step``), in the first process. With the Trainer for
    a logger the numbers go wherever the Trainer reports to, figures to its TensorBoard. What cannot work is an error when
    training starts. Mixed precision is left off while measuring.

    Args:
        images: see `padprint.training.Watch`.
        log: the Trainer, or see `padprint.training.Watch`.
        **options: see `padprint.training.Watch`.

    Attributes:
        watch: the `Watch`, from the start of training on.
    """

    def __init__(self, images: Images, log: Any, **options: Any) -> None:
        super().__init__()
        self._images, self._log, self._options = images, log, options
        self.watch: Watch | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Prepare, and measure where training starts."""
        if state.is_world_process_zero:
            with _as_defined(given["model"]):
                self.watch = Watch(given["model"], self._images, self._log, **self._options)
            self.on_step_end(args, state, control, **given)

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **given: Any,
    ) -> None:
        """Measure, if the step is due."""
        if self.watch is None:
            return
        should_log = control.should_log
        with _as_defined(given["model"]):
            self.watch(state.global_step)
        control.should_log = should_log  # which logging something else takes for done


@contextmanager
def _as_defined(model: nn.Module) -> Iterator[None]:
    """The network without the mixed precision that Accelerate wrapped its ``forward`` in."""
    attributes = vars(model)
    original, wrapped = attributes.get("_original_forward"), attributes.get("forward")
    if original is not None:
        attributes["forward"] = original
    try:
        yield
    finally:
        if original is not None:
            attributes["forward"] = wrapped
