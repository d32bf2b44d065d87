"""The classifier of the four-quadrant test: a linear one on the global maximum of a network's maps, and its training.

Source: Kayhan and van Gemert, CVPR 2020, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padprint.baselines.fconv.trials import check_numbers, weights_of
from padprint.errors import LayerError, ModelError
from padprint.network.layers import Tap, discover, leaves_of, run_to, select

_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
Inputs = Callable[[Tensor], Tensor]
"""What the trained network sees of samples, by their numbers."""


@dataclass(frozen=True)
class LocationSettings:
    """How the classifier is trained; the defaults are those of the authors' code.

    Attributes:
        epochs: at most. The weights of the epoch with the lowest validation loss are tested.
        batch_size: canvases in one step, shuffled in every epoch.
        lr, momentum, nesterov, weight_decay: of stochastic gradient descent.
        patience: epochs without a lower validation loss that are borne; after the next, the best weights so far are taken
            up again, with a tenth of the learning rate.
        least_lr: learning rate at which training ends.
    """

    epochs: int = 30
    batch_size: int = 8
    lr: float = 1e-3
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-5
    patience: int = 5
    least_lr: float = 1e-6

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ModelError: one of them makes no sense.
        """
        numbers = {name: value for name, value in vars(self).items() if name != "nesterov"}
        check_numbers({"epochs": 1, "batch_size": 1, "patience": 0}, numbers)
        if self.nesterov and self.momentum == 0:
            raise ModelError("Nesterov's momentum needs a momentum above 0; or nesterov=False")


def last_map(model: nn.Module, x: Tensor, layer: str | None) -> Tap:
    """The layer to read: the one asked for, or the last whose output is a map of more than one cell.

    Adaptive pooling is passed over, as it averages what the global maximum is to be taken of.

    Args:
        model: run on `x`; see `as_measured`.
        x: `(1, C, H, W)`.
        layer: its name, or None.

    Raises:
        ModelError: the model fails on `x`, or has no such layer.
        LayerError: no layer of that name, several, or one that is no map.
    """
    taps = discover(model, x)
    if layer is None:
        modules = dict(model.named_modules())
        maps = [tap for tap in taps if _is_map(tap) and not isinstance(modules[tap.leaf.module], _POOLS)]
        if not maps:
            raise ModelError(f"no layer of {type(model).__name__} returns a (batch, channels, rows, columns) map")
        return maps[-1]
    found = select(taps, [layer])
    if len(found) > 1 or len(found[0].shape) != 4:
        what = f"{len(found)} tensors" if len(found) > 1 else f"a tensor of shape {found[0].shape}"
        raise LayerError(
            f"{layer!r} stands for {what}; name one layer that returns a (batch, channels, rows, columns) map"
        )
    return found[0]


def _is_map(tap: Tap) -> bool:
    return len(tap.shape) == 4 and tap.shape[2] * tap.shape[3] > 1


def maxima(model: nn.Module, tap: Tap, x: Tensor) -> Tensor:
    """`(B, C)` global maxima of a layer's map; run inside `as_measured`."""
    found: list[Tensor] = []
    run_to(model, x, [tap], lambda _, features: found.append(features.amax((-2, -1))))
    return found[0]


class Locator(nn.Module):
    """A whole network with the linear classifier on the global maximum of one layer, to train both.

    Args:
        model: changed by training.
        tap: the layer.
    """

    def __init__(self, model: nn.Module, tap: Tap) -> None:
        super().__init__()
        self.model = model
        self.classes = nn.Linear(tap.shape[1], 2)
        self._path = tap.leaf.path
        self._found: list[Tensor] = []
        model.get_submodule(tap.leaf.module).register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002  # a hook's signature
        self._found = [dict(leaves_of(output))[self._path]]

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 2)` scores."""
        self.model(x)
        scores: Tensor = self.classes(self._found.pop().amax((-2, -1)))
        return scores


@torch.enable_grad()
def train(
    net: nn.Module, inputs: Inputs, labels: Tensor, fit: Tensor, choose: Tensor, settings: LocationSettings
) -> None:
    """Train in place; the net then has the weights of the epoch with the lowest validation loss.

    Args:
        net: scores `(B, 2)` of what `inputs` returns.
        inputs: what it sees of samples.
        labels: of all samples.
        fit: numbers of the samples to train on.
        choose: of those to choose the epoch by.
        settings: of the training; the order of samples is drawn from torch's global generator.
    """
    optimiser = torch.optim.SGD(
        net.parameters(),
        settings.lr,
        settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )
    best, bad, weights = inf, 0, weights_of(net)
    for _ in range(settings.epochs):
        net.train()
        for few in torch.split(fit[torch.randperm(len(fit))], settings.batch_size):
            optimiser.zero_grad()
            F.cross_entropy(net(inputs(few)), labels[few]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        loss = float(F.cross_entropy(scores(net, inputs, choose, settings.batch_size), labels[choose]))
        if loss < best:
            best, bad, weights = loss, 0, weights_of(net)
        elif bad < settings.patience:
            bad += 1
        else:
            bad = 0
            net.load_state_dict(weights)
            for group in optimiser.param_groups:
                group["lr"] *= 0.1
        if optimiser.param_groups[0]["lr"] <= settings.least_lr:
            break
    net.load_state_dict(weights)


@torch.no_grad()
def scores(net: nn.Module, inputs: Inputs, samples: Tensor, batch_size: int) -> Tensor:
    """`(N, 2)` scores of samples, in evaluation mode."""
    net.eval()
    return torch.cat([net(inputs(few)) for few in torch.split(samples, batch_size)])
