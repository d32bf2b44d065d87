"""The four-quadrant test: can the corner that a picture lies in be told from a network's global maxima, and from how far?

Source: Kayhan and van Gemert, CVPR 2020 (4-Quadrant ImageNet), and the authors' code. Images in folds are padprint's own:
there, the same images served for training, validation and testing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from padprint.baselines.fconv.canvases import CORNERS, CanvasSettings, pictures, placed
from padprint.baselines.fconv.location import Inputs, LocationSettings, Locator, last_map, maxima, scores, train
from padprint.baselines.fconv.trials import percent
from padprint.errors import ImagesError, ModelError
from padprint.images.photographs import Images, are_files, as_source
from padprint.network.copies import copied
from padprint.network.layers import Tap, unwrapped
from padprint.network.preserved import as_measured, full_precision, on_device, randomness_kept
from padprint.results.estimates import plain
from padprint.results.measurement import Estimate
from padprint.support import frames, text_table
from padprint.support.mapping import Over
from padprint.support.progress import progress_bar
from padprint.support.strict_json import finite

if TYPE_CHECKING:
    import pandas as pd

BORDERS = (0, 16, 32, 64, 128)
CHANCE = 0.5
CANVASES = CanvasSettings()
TRAINING = LocationSettings()
FEW_UPDATES = 1000
LEAST_FOLDS = 3  # one to test, one to choose the epoch, one to train on
_NORMAL = 1.959964  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Located:
    """How well the corner was told at one border.

    Attributes:
        accuracy: share of right answers on the images tested, with Wilson's 95 % interval for as many independent images.
        fitted: the same on the images trained on, for which chance would be enough.
    """

    accuracy: Estimate
    fitted: float


@dataclass(frozen=True, repr=False)
class QuadrantsResult(Over[int, Located]):
    """Accuracy by border, px.

    Attributes:
        borders: what was found at each.
        layer: whose global maxima were read.
        n_images: images; each is shown in two corners.
        chance: share of right answers of who knows nothing.
        settings: plain JSON values.
        remarks: what a reader of the numbers must know.
    """

    ENTRIES = "borders"

    borders: dict[int, Located]
    layer: str
    n_images: int
    chance: float
    settings: dict[str, Any]
    remarks: tuple[str, ...]

    def __repr__(self) -> str:
        return f"QuadrantsResult({self.layer}, {len(self)} borders, {self.n_images} images)"

    def __str__(self) -> str:
        headers = ("border px", "accuracy % [95 %]", "in training %")
        rows = [(f"{border}", percent(one.accuracy), f"{100 * one.fitted:.1f}") for border, one in self.items()]
        return "\n".join([*text_table.aligned(headers, rows), "", *self.remarks])

    def to_frame(self) -> pd.DataFrame:
        """One row for each border: border (px), accuracy with _low and _high, fitted; shares of right answers."""
        rows = (
            {"border": border, **frames.estimate("accuracy", one.accuracy), "fitted": one.fitted}
            for border, one in self.items()
        )
        return frames.frame(rows, ("border",))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; None for what is not finite."""
        document: dict[str, Any] = finite(plain(self))
        return document


def quadrants(
    model: nn.Module,
    images: Images,
    *,
    borders: Sequence[int] = BORDERS,
    layer: str | None = None,
    train_backbone: bool = False,
    leaky: bool = False,
    folds: int = 5,
    canvases: CanvasSettings = CANVASES,
    training: LocationSettings = TRAINING,
    batch_size: int = 16,
    seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    strict: bool = False,
    max_megapixels: float | None = None,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> QuadrantsResult:
    """Train a linear classifier to tell in which corner of a canvas a picture lies, and test it, border by border.

    A canvas is empty but for a picture at its top left or bottom right, so that the global maxima of a network without
    borders of its own are the same for both. A border of b empty px is added on all sides: by it padding is put out of
    reach of what the picture changes. For a network whose first convolution pads p zeros, border b is the authors'
    ``conv1.padding = b + p``.

    The network is frozen, in evaluation mode, and its maxima are computed once for every picture, corner and border.

    Args:
        model: any network that takes `(B, C, H, W)`, pretrained or random, with maps.
        images: see `padprint.measure`. Files are resized, tensors are taken as they are; see `CanvasSettings`.
        borders: empty px around the canvas.
        layer: whose maps the maxima are taken of; None: the last one that returns maps.
        train_backbone: train a copy of the whole network with the classifier, starting from the weights it has; one
            fold alone is then tested.
        leaky: train, choose the epoch and test on all images, as the authors' code does. Otherwise each image is tested by
            a classifier that was trained and chosen on others.
        folds: parts of the images; each is tested once, the next chooses the epoch, the rest are trained on.
        canvases: sizes of pictures and canvases.
        training: of the classifier.
        batch_size: canvases in one forward pass.
        seed: of folds, initial weights and order.
        mean: for files, per-channel mean of the network's training images; the empty canvas is this colour.
        std: likewise, standard deviation.
        limit: take only the first so many images.
        strict: raise at the first image that cannot be used, instead of skipping and counting it.
        max_megapixels: for files, see `padprint.measure`.
        device: where to run.
        progress: show a bar on standard error.

    Raises:
        ImagesError: fewer images than folds; and see `padprint.measure`.
        ModelError: a choice that makes no sense, or a network that fails on a canvas.
        LayerError: no such layer, or one without maps.
    """
    _check(borders, folds, batch_size)
    resize = canvases.resize_short_side if are_files(images) else None
    source = as_source(
        images, mean=mean, std=std, limit=limit, strict=strict, resize_short_side=resize, max_megapixels=max_megapixels
    )
    shown = pictures(source, canvases)
    if not leaky and len(shown) < folds:
        raise ImagesError(f"{len(shown)} images cannot be parted into {folds} folds: give more images, or fewer folds")
    splits = _splits(len(shown), folds, leaky, seed)[: 1 if train_backbone else None]
    model = unwrapped(model)
    found: dict[int, Located] = {}
    with on_device(model, device) as (where, dtype), progress_bar(len(borders), progress, unit="borders") as advance:
        test = _Test(model, shown.to(where, dtype), canvases, training, layer)
        for border in borders:
            with randomness_kept(), full_precision():
                torch.manual_seed(seed)
                found[border] = test.at(border, splits, batch_size, train_backbone)
            advance()
    settings = {
        "borders": list(borders),
        "leaky": leaky,
        "folds": folds,
        "train_backbone": train_backbone,
        "seed": seed,
    }
    settings |= {"canvases": asdict(canvases), "training": asdict(training)}
    remarks = _remarks(len(shown), splits, settings, test.tap.name)
    return QuadrantsResult(found, test.tap.name, len(shown), CHANCE, settings, remarks)


def _check(borders: Sequence[int], folds: int, batch_size: int) -> None:
    if (
        not borders
        or any(type(border) is not int or border < 0 for border in borders)
        or len(set(borders)) < len(borders)
    ):
        raise ModelError(f"borders must be a list of different whole numbers of px, 0 or more, but got {borders!r}")
    for name, value, least in (("folds", folds, LEAST_FOLDS), ("batch_size", batch_size, 1)):
        if type(value) is not int or value < least:
            raise ModelError(f"{name} must be a whole number of {least} or more, but got {value!r}")


class Split(NamedTuple):
    """Numbers of the images to train on, to choose the epoch by, and to test."""

    fit: Tensor
    choose: Tensor
    test: Tensor


def _splits(images: int, folds: int, leaky: bool, seed: int) -> list[Split]:
    """All images for everything; or, for every fold, it to test, the next to choose, the others to train on."""
    every = torch.arange(images)
    if leaky:
        return [Split(every, every, every)]
    shuffled = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    parts = shuffled.tensor_split(folds)
    return [
        Split(torch.cat([parts[(f + i) % folds] for i in range(2, folds)]), parts[(f + 1) % folds], parts[f])
        for f in range(folds)
    ]


class _Test:
    """One network and its pictures. A sample is a picture in a corner: number 2 i + c for picture i in corner c."""

    def __init__(
        self, model: nn.Module, shown: Tensor, canvases: CanvasSettings, training: LocationSettings, layer: str | None
    ) -> None:
        self.model, self.shown, self.canvases, self.training = model, shown, canvases, training
        self.labels = torch.arange(CORNERS, device=shown.device).repeat(len(shown))
        with as_measured(model):
            self.tap: Tap = last_map(model, self.canvas(torch.arange(1), 0), layer)

    def at(self, border: int, splits: Sequence[Split], batch_size: int, train_backbone: bool) -> Located:
        """Train and test at one border, on every split."""
        inputs = (
            partial(self.canvas, border=border) if train_backbone else self.features(border, batch_size).__getitem__
        )
        right, fitted = [], []
        for split in splits:
            net = self.network(train_backbone)
            train(net, inputs, self.labels, samples_of(split.fit), samples_of(split.choose), self.training)
            right.append(self.right(net, inputs, split.test))
            fitted.append(self.right(net, inputs, split.fit))
        tested = torch.cat(right)
        return Located(wilson(float(tested.mean()), len(tested)), float(torch.cat(fitted).mean()))

    def canvas(self, samples: Tensor, border: int) -> Tensor:
        """What the network sees of samples."""
        return placed(self.shown[samples // CORNERS], samples % CORNERS, border, self.canvases)

    def features(self, border: int, batch_size: int) -> Tensor:
        """`(2 N, C)` global maxima of every sample."""
        every = torch.arange(len(self.labels))
        with as_measured(self.model):
            return torch.cat(
                [maxima(self.model, self.tap, self.canvas(few, border)) for few in torch.split(every, batch_size)]
            )

    def network(self, train_backbone: bool) -> nn.Module:
        """What is trained: the classifier, or a copy of everything."""
        if train_backbone:
            return Locator(copied(self.model), self.tap).to(self.shown).requires_grad_()
        return nn.Linear(self.tap.shape[1], CORNERS).to(self.shown)

    def right(self, net: nn.Module, inputs: Inputs, images: Tensor) -> Tensor:
        """`(N,)` share of right answers for every image."""
        samples = samples_of(images)
        answers = scores(net, inputs, samples, self.training.batch_size).argmax(1)
        return (answers == self.labels[samples]).double().reshape(-1, CORNERS).mean(1).cpu()


def samples_of(images: Tensor) -> Tensor:
    """The numbers of both samples of every image."""
    return (images[:, None] * CORNERS + torch.arange(CORNERS)).flatten()


def wilson(share: float, images: int) -> Estimate:
    """A share of right answers with Wilson's 95 % score interval (J. Am. Statist. Assoc. 22, 1927).

    It has a width at 0 and 1 too. Where an image gave several answers, it is too wide rather than too narrow.
    """
    z2 = _NORMAL**2 / images
    middle, half = share + z2 / 2, sqrt(z2 * share * (1 - share) + z2**2 / 4)
    return Estimate(share, max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2)))


def _remarks(images: int, splits: Sequence[Split], settings: Mapping[str, Any], layer: str) -> tuple[str, ...]:
    training = settings["training"]
    updates = training["epochs"] * ceil(CORNERS * len(splits[0].fit) / training["batch_size"])
    tested = sum(len(split.test) for split in splits)
    if settings["leaky"]:
        protocol = "trained, chosen and tested on the same images (the published protocol)"
    else:
        protocol = f"{tested} of them tested, by classifiers that were trained and chosen on others ({settings['folds']} folds)"
    few = (
        f"{updates} updates are few (the authors make 7500): accuracies may lie below what the features hold; more epochs "
        "or a higher learning rate help"
    )
    return (
        f"{images} images in two corners of {settings['canvases']['canvas']} px; global maxima of {layer}; chance is 50 %",
        protocol,
        "95 % intervals over images; they do not hold the spread over seeds",
        *([few] if updates < FEW_UPDATES else []),
    )
