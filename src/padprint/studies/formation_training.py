"""One training of the formation study: a state that a checkpoint holds whole, and what is measured of it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from pickle import UnpicklingError
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from padprint.errors import ResultError
from padprint.measuring.engine import measure
from padprint.network.batchnorm import calibrate_batchnorm
from padprint.network.preserved import as_measured
from padprint.padding import Scheme, convert
from padprint.results import documents
from padprint.studies.formation_config import FormationConfig, Unit
from padprint.studies.networks import build
from padprint.studies.tasks import Task
from padprint.support.atomic import publish_file
from padprint.support.wording import first_line

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from padprint.results.measurement import LayerMeasurement, Measurement

_WARM = 0.1  # share of the steps over which the learning rate rises
_MEASURING = 2**31 - 1  # stands for the step when the numbers of stochastic schemes are fixed for measuring


class Training:
    """A network in training, after `step` steps.

    Whatever is random in a step follows from the seed and the step's number: the crops, the numbers of stochastic
    schemes, torch's own. So weights, optimiser, gradient scaler and step are all there is to a checkpoint, and measuring
    in between changes nothing.

    Args:
        unit: which training.
        config: of the study.
        task: the unit's.
        fabric: where it runs; launched.

    Attributes:
        step: steps done.
        seconds: spent on steps and measurements, also before a resumption.
    """

    def __init__(self, unit: Unit, config: FormationConfig, task: Task, fabric: Fabric) -> None:
        self.unit, self.config, self.task, self.fabric = unit, config, task, fabric
        model = initial(unit, config, task).train()
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=config.weight_decay)
        self._wrapped, self._optimizer = fabric.setup(model, optimizer)
        self.model: nn.Module = self._wrapped.module
        self.step, self.seconds = 0, 0.0

    def advance(self) -> None:
        """Take one step. Each process takes its share of the batch."""
        start = perf_counter()
        config, fabric = self.config, self.fabric
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self.step, config.steps, config.learning_rate)
        fix_randomness(self.model, self.unit.seed, self.step, fabric.global_rank)
        crops, labels = self.task.batch(self.unit.seed, self.step, config.batch_size)
        mine = slice(fabric.global_rank, None, fabric.world_size)
        loss = F.cross_entropy(self._wrapped(crops[mine].to(fabric.device)), labels[mine].to(fabric.device))
        self._optimizer.zero_grad()
        fabric.backward(loss)
        self._optimizer.step()
        self.step += 1
        self.seconds += perf_counter() - start

    def snapshot(self) -> dict[str, Any]:
        """What is measured of the network as it stands, plain JSON values; all processes take part in it."""
        start = perf_counter()
        model = settled(self.model, self.unit.seed, self.task, self.config)
        loss, accuracy = held_out(model, self.task, self.config.held_out)
        layers = measured(model, self.task, self.config, distributed=self.fabric.world_size > 1)
        self.seconds += perf_counter() - start
        return {"step": self.step, "loss": loss, "accuracy": accuracy, "layers": layers, "seconds": self.seconds}

    # ------------------------------------------------------------------------------------------------- checkpoints

    def save(self, file: Path) -> None:
        """Write a checkpoint; after this call it is whole on the disk. The first process writes."""
        if self.fabric.is_global_zero:
            state = {
                "step": self.step,
                "seconds": self.seconds,
                "model": self.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
            }
            publish_file(file, lambda unfinished: torch.save(state, unfinished))
        self.fabric.barrier()

    def load(self, file: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ResultError: it is damaged.
        """
        try:
            state = torch.load(file, map_location=self.fabric.device, weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
            raise ResultError(f"{file} cannot be read ({first_line(error)}); remove it to train anew") from error
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])


def save_weights(model: nn.Module, file: Path) -> None:
    """Write a state dict as safetensors, whole or not at all."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    publish_file(file, lambda unfinished: save_file(weights, unfinished))


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Up over the first tenth of the steps, then down as a cosine."""
    warm = max(1, round(_WARM * steps))
    if step < warm:
        return highest * (step + 1) / warm
    return highest * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def fix_randomness(model: nn.Module, seed: int, step: int, rank: int = 0) -> None:
    """Torch's random numbers and those of stochastic schemes, from the seed, the step and the process."""
    schemes = [module for module in model.modules() if isinstance(module, Scheme) and module.stochastic]
    own, *others = np.random.SeedSequence((seed, step, rank)).generate_state(1 + len(schemes)).tolist()
    torch.manual_seed(own)
    for scheme, number in zip(schemes, others, strict=True):
        scheme.reseed(number)


def cuda_of(device: torch.device) -> list[torch.device]:
    """What `torch.random.fork_rng` must be told of a device."""
    return [device] if device.type == "cuda" else []


def settled(model: nn.Module, seed: int, task: Task, config: FormationConfig) -> nn.Module:
    """A copy to measure, its BatchNorm calibrated on training crops, and its random numbers always the same."""
    model = copy.deepcopy(model)
    with torch.random.fork_rng(devices=cuda_of(next(model.parameters()).device)):
        fix_randomness(model, seed, _MEASURING)
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        size = config.batch_size
        crops, _ = task.batch(seed, _MEASURING, config.calibration * size)
        calibrate_batchnorm(model, crops, batch_size=size)
    return model.eval()


def held_out(model: nn.Module, task: Task, count: int) -> tuple[float, float]:
    """Mean cross entropy, nats, and accuracy on crops that no training sees."""
    crops, labels = task.held_out(count)
    device = next(model.parameters()).device
    with as_measured(model):
        logits = torch.cat([model(batch.to(device)) for batch in torch.split(crops, 32)]).cpu()
    loss = F.cross_entropy(logits, labels)
    return float(loss), float((logits.argmax(1) == labels).double().mean())


def measured(
    model: nn.Module, task: Task, config: FormationConfig, *, distributed: bool = False
) -> list[dict[str, Any]]:
    """For each layer in order of execution, its numbers; with `distributed`, see `padprint.measure`."""
    result = measure(
        model,
        task.scenes,
        layers_of(config),
        config.crop,
        config.crops_per_image,
        config.groups,
        batch_size=32,
        distributed=distributed,
    )
    return rows_of(result)


def layers_of(config: FormationConfig) -> str | list[str]:
    """The layers to measure, as `padprint.measure` takes them."""
    return "auto" if config.layers == ("auto",) else list(config.layers)


ROW: dict[str, Any] = {
    "layer": str,
    "depth": int,
    "channels": int,
    "size": int,
    "rim": tuple[int, ...],
    "crops": int,
    **{f"{name}{end}": float for name in documents.ESTIMATES for end in ("", "_low", "_high")},
}
"""The fields of each of `rows_of`, and their types."""
SNAPSHOT: dict[str, Any] = {"step": int, "loss": float, "accuracy": float, "layers": [ROW], "seconds": float}
"""The same of `Training.snapshot`."""


def rows_of(result: Measurement) -> list[dict[str, Any]]:
    """For each layer in order of execution, the numbers that studies keep."""
    return [_row(depth, layer, result.n_crops) for depth, layer in enumerate(result.layers.values(), 1)]


def _row(depth: int, layer: LayerMeasurement, crops: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "layer": layer.name,
        "depth": depth,
        "channels": layer.pattern.shape[0],
        "size": layer.pattern.shape[-1],
        "rim": list(layer.rim),
        "crops": crops,
    }
    for name in documents.ESTIMATES:
        estimate = getattr(layer, name)
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row


def initial(unit: Unit, config: FormationConfig, task: Task) -> nn.Module:
    """The network of a training before its first step, with its scheme."""
    example = torch.zeros(2, 3, config.crop, config.crop)
    return convert(build(unit.network, task.classes, unit.seed), unit.scheme, seed=unit.seed, example=example)
