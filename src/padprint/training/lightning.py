"""The watch as a callback of Lightning's Trainer, of `lightning` or `pytorch_lightning`: whichever was imported before.

Where neither was, of `lightning` if it is installed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from padprint.errors import ModelError
from padprint.images.photographs import Images
from padprint.support.optional import require
from padprint.training.watch import Watch

_NAMES = {"lightning": "lightning.pytorch", "pytorch_lightning": "pytorch_lightning"}


def _bases() -> list[type]:
    """The callbacks of the packages that are in use: each Trainer of an older version wants those of its own package."""
    used = [name for name in _NAMES.values() if sys.modules.get(name) is not None]
    if not used:
        package = next(filter(find_spec, _NAMES), "lightning")
        require(package, why="for padprint.training.lightning", extra="training")
        used = [_NAMES[package]]
    return [import_module(name).Callback for name in used]


if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    Callback = type("Callback", tuple(_bases()), {})


class PatternCallback(Callback):
    """Watches a LightningModule, or a part of it, while a Trainer fits it.

    ::

        trainer = Trainer(callbacks=[PatternCallback(scenes, submodule="net", layers=["layer1", "layer4"], every=500)])

    It measures at step 0 and after steps that are due (`Trainer.global_step`), in the first process, and logs to the
    Trainer's loggers. What cannot work is an error when fitting starts.

    Args:
        images: see `padprint.training.Watch`.
        submodule: dotted name of the part that takes images and whose layers are measured; "" is the module itself,
            whose ``forward`` must then take images alone and log nothing.
        log: where the numbers go instead.
        **options: see `padprint.training.Watch`.

    Attributes:
        watch: the `Watch`, from the start of fitting on.
    """

    def __init__(self, images: Images, *, submodule: str = "", log: Any = None, **options: Any) -> None:
        super().__init__()
        self._images, self._submodule, self._log, self._options = images, submodule, log, options
        self.watch: Watch | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prepare, and measure where fitting starts."""
        if not trainer.is_global_zero:
            return
        try:
            network = pl_module.get_submodule(self._submodule)
        except AttributeError as error:
            parts = ", ".join(name for name, _ in pl_module.named_children())
            raise ModelError(f"{type(pl_module).__name__} has no part {self._submodule!r}; it has: {parts}") from error
        log = trainer.loggers if self._log is None else self._log
        self.watch = Watch(network, self._images, log, **self._options)
        self.watch(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Measure, if a step was taken and it is due."""
        if self.watch is not None:
            self.watch(trainer.global_step)
