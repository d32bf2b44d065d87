"""The Red-Green test: does a network trained with a padding scheme use where things are, though what they are would do?

Source: Kayhan and van Gemert, CVPR 2020, and the authors' code: network, optimiser, stopping.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padprint.baselines.fconv.boxes import Labelled, RedGreenData, red_green_data
from padprint.baselines.fconv.trials import Run, Trials, check, check_numbers, trained, weights_of
from padprint.baselines.fconv.variants import built

VARIANTS = ("none", "zeros", "circular@1", "circular@2", "full")
CHUNK = 50  # images whose maps stay in a processor's cache; their gradients add up to those of the batch


@dataclass(frozen=True)
class RedGreenSettings:
    """Sizes and training; the defaults are the authors'.

    Attributes:
        train, validation, test: images in each set.
        leaky: validation and "similar" are training images, as in the authors' code; see `red_green_data`.
        data_seed: of the images.
        epochs: at most. Images come in the same order in every epoch.
        batch_size: images in one step.
        patience: epochs without a lower validation loss that are borne; training ends with the one after them. The
            weights of the epoch with the lowest loss are tested.
        lr, rho, eps, weight_decay: of Adadelta.
    """

    train: int = 2000
    validation: int = 1000
    test: int = 1000
    leaky: bool = False
    data_seed: int = 1988
    epochs: int = 50
    batch_size: int = 200
    patience: int = 8
    lr: float = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 5e-5

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ModelError: one of them makes no sense.
        """
        numbers = {name: value for name, value in vars(self).items() if name != "leaky"}
        least = {"train": 1, "validation": 1, "test": 1, "data_seed": 0, "epochs": 1, "batch_size": 1, "patience": 0}
        check_numbers(least, numbers)


AUTHORS = RedGreenSettings()


class RedGreenNet(nn.Module):
    """Four 3 x 3 convolutions without bias (32, 32, 64, 64 channels; strides 1, 2, 2, 2), ReLU, global maximum, linear.

    Args:
        width: cells of zero padding on each side of every map.
    """

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        channels, strides = (3, 32, 32, 64, 64), (1, 2, 2, 2)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1], 3, strides[i], width, bias=False) for i in range(4)
        )
        self.classes = nn.Linear(channels[-1], 2)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 2)` scores of `(B, 3, H, W)` images."""
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        scores: Tensor = self.classes(x.amax((-2, -1)))
        return scores


def network(variant: str, seed: int = 0) -> nn.Module:
    """The network with one padding scheme in all its convolutions.

    Args:
        variant: "none" is valid, "zeros" same and "full" full convolution; any other scheme has 1 cell on each side, or
            as many as follow, "circular@2".
        seed: of the initial weights, which depend on nothing else, and of schemes that draw random numbers.

    Raises:
        PaddingError: no such scheme, or a number of cells that is none.
    """
    return built(RedGreenNet, variant, 1, seed)


def train(net: nn.Module, data: RedGreenData, settings: RedGreenSettings) -> int:
    """Train in place; returns the epoch, from 1, with the lowest validation loss, whose weights the network then has."""
    optimiser = torch.optim.Adadelta(
        net.parameters(), settings.lr, settings.rho, settings.eps, weight_decay=settings.weight_decay
    )
    best, kept, bad, weights = float("inf"), 0, 0, weights_of(net)
    for epoch in range(1, settings.epochs + 1):
        net.train()
        for images, labels in _parts(data.train, settings.batch_size):
            optimiser.zero_grad()
            for few, theirs in _parts(Labelled(images, labels), CHUNK):
                (F.cross_entropy(net(few), theirs, reduction="sum") / len(labels)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        loss, _ = evaluate(net, data.validation)
        if loss < best:
            best, kept, bad, weights = loss, epoch, 0, weights_of(net)
        elif bad == settings.patience:
            break
        else:
            bad += 1
    net.load_state_dict(weights)
    return kept


@torch.no_grad()
def evaluate(net: nn.Module, data: Labelled) -> tuple[float, float]:
    """Mean loss and share of right answers."""
    net.eval()
    loss = right = 0.0
    for images, labels in _parts(data, CHUNK):
        scores = net(images)
        loss += float(F.cross_entropy(scores, labels, reduction="sum"))
        right += float((scores.argmax(1) == labels).sum())
    return loss / len(data.labels), right / len(data.labels)


def _parts(data: Labelled, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(data.images, size), torch.split(data.labels, size), strict=True)


def red_green(
    variants: Sequence[str] = VARIANTS,
    *,
    seeds: Sequence[int] = tuple(range(10)),
    settings: RedGreenSettings = AUTHORS,
    folder: str | Path | None = None,
    device: str | None = None,
    progress: bool = False,
) -> Trials:
    """Train the network with each padding scheme and seed, and test it where boxes lie as in training, and where not.

    Runs hold the accuracies "similar" and "dissimilar", and "epoch", whose weights were tested. A network that uses what
    the boxes are and not where is as good on both.

    Args:
        variants: padding schemes; see `network`.
        seeds: of the networks' initial weights; the authors' are 0 to 9. Images do not depend on them.
        settings: of data and training.
        folder: keeps what came of each training, so that an interrupted test goes on where it was.
        device: torch device.
        progress: show a bar on standard error.

    Raises:
        PaddingError: a scheme that does not exist, or does not fit these maps.
        ImagesError: see `red_green_data`.
        ResultError: no variant or no seed, one of them twice, or a folder of other settings.
    """
    check(variants, seeds)
    sizes = (settings.train, settings.validation, settings.test)
    data = red_green_data(*sizes, leaky=settings.leaky, seed=settings.data_seed)
    data = RedGreenData(*(_placed(one, device) for one in data))

    def work(variant: str, seed: int) -> Run:
        net = network(variant, seed).to(device).to(memory_format=torch.channels_last)
        epoch = train(net, data, settings)
        return {
            "similar": evaluate(net, data.similar)[1],
            "dissimilar": evaluate(net, data.dissimilar)[1],
            "epoch": epoch,
        }

    config = {"kind": "red-green", **asdict(settings)}
    kinds = {"similar": float, "dissimilar": float, "epoch": int}
    runs = trained(work, variants, seeds, kinds=kinds, settings=config, folder=folder, progress=progress)
    return Trials(runs, ("similar", "dissimilar"), ("epoch",), (), config, _remarks(settings, len(seeds)))


def _placed(data: Labelled, device: str | None) -> Labelled:
    return Labelled(data.images.to(device).contiguous(memory_format=torch.channels_last), data.labels.to(device))


def _remarks(settings: RedGreenSettings, seeds: int) -> tuple[str, ...]:
    shared = "validation and similar images are training images too (the published protocol)"
    return (
        f"{seeds} seeds of initial weights; 95 % intervals and deviations (sd) over seeds; chance is 50 %",
        f"{settings.train} training, {settings.validation} validation and {settings.test} test images: "
        f"{shared if settings.leaky else 'no image is in two sets'}",
    )
