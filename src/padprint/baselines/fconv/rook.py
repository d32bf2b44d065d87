"""The rook test: can a single convolution and a global maximum tell in which corner of an image a figure is?

Source: Kayhan and van Gemert, CVPR 2020, and the authors' code. The figure is padprint's own drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padprint.baselines.fconv.trials import Run, Trials, check, check_numbers, trained
from padprint.baselines.fconv.variants import built
from padprint.errors import ImagesError

VARIANTS = ("zeros", "none", "circular", "full")
SIZE = 32  # px, of an image
KERNEL = 5
FIGURE = (
    "###..###..###",
    "###..###..###",
    "#############",
    "#############",
    "..#########..",
    "...#######...",
    "...#######...",
    "...#######...",
    "...#######...",
    "...#######...",
    "...#######...",
    "..#########..",
    "..#########..",
    ".###########.",
    "#############",
    "#############",
)
GREY = 0.5


class RookNet(nn.Module):
    """One 5 x 5 convolution to one channel, without bias, ReLU, global maximum, linear.

    Args:
        width: cells of zero padding on each side.
    """

    def __init__(self, width: int = KERNEL // 2) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, KERNEL, padding=width, bias=False)
        self.classes = nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 2)` scores of `(B, 1, H, W)` images."""
        scores: Tensor = self.classes(self.answer(x))
        return scores

    def answer(self, x: Tensor) -> Tensor:
        """`(B, 1)`, all that the classifier knows of an image."""
        return F.relu(self.convolution(x)).amax((-2, -1))


def rook_images(inset: int = 0) -> Tensor:
    """`(2, 1, 32, 32)`: the same grey figure, 16 x 13 px, on black, at the top left and at the bottom right.

    Args:
        inset: px between the figure and the sides of the image next to it.

    Raises:
        ImagesError: the figure does not fit.
    """
    figure = GREY * torch.tensor([[cell == "#" for cell in row] for row in FIGURE]).float()
    height, width = figure.shape
    if not 0 <= inset <= SIZE - height:
        raise ImagesError(f"inset must lie between 0 and {SIZE - height} px, but got {inset!r}")
    images = torch.zeros(2, 1, SIZE, SIZE)
    images[0, 0, inset : inset + height, inset : inset + width] = figure
    images[1, 0, SIZE - inset - height : SIZE - inset, SIZE - inset - width : SIZE - inset] = figure
    return images


def rook(
    variants: Sequence[str] = VARIANTS,
    *,
    seeds: Sequence[int] = tuple(range(5)),
    inset: int = 0,
    epochs: int = 100,
    lr: float = 0.1,
    momentum: float = 0.9,
    folder: str | Path | None = None,
    progress: bool = False,
) -> Trials:
    """Train the smallest network on two images, one figure in two corners, and test it on them.

    Runs hold "accuracy", 1 or chance, 0.5; and "dead", which is 1 where the trained convolution answers 0 to both images, so
    that the run says nothing of padding.

    With the figure more than its own padding away from the sides, same convolution gives both images one answer, and so
    does valid convolution from 4 px on. At the side, where the authors put it, valid convolution tells the corners apart
    though nothing is padded: the outermost cells of the figure meet other weights at each side.

    Args:
        variants: padding schemes; "none" is valid, "zeros" same and "full" full convolution. Any other scheme has 2 cells
            on each side, or as many as follow it, "circular@4".
        seeds: of the networks' initial weights; the authors' are 0 to 4.
        inset: see `rook_images`.
        epochs: passes over the two images, one after the other.
        lr: of gradient descent.
        momentum: likewise.
        folder: keeps what came of each training, so that an interrupted test goes on where it was.
        progress: show a bar on standard error.

    Raises:
        PaddingError: a scheme that does not exist, or does not fit these maps.
        ImagesError: an inset that leaves no room.
        ModelError: a setting that makes no sense.
        ResultError: no variant or no seed, one of them twice, or a folder of other settings.
    """
    check(variants, seeds)
    check_numbers({"inset": 0, "epochs": 1}, {"inset": inset, "epochs": epochs, "lr": lr, "momentum": momentum})
    images, labels = rook_images(inset), torch.arange(2)

    def work(variant: str, seed: int) -> Run:
        net = built(RookNet, variant, KERNEL // 2, seed)
        optimiser = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
        for _ in range(epochs):
            for image, label in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
                optimiser.zero_grad()
                F.cross_entropy(net(image), label).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        with torch.no_grad():
            right = (net(images).argmax(1) == labels).float().mean()
            dead = not cast("RookNet", net).answer(images).any()
        return {"accuracy": float(right), "dead": int(dead)}

    config = {"kind": "rook", "inset": inset, "epochs": epochs, "lr": lr, "momentum": momentum}
    kinds = {"accuracy": float, "dead": int}
    runs = trained(work, variants, seeds, kinds=kinds, settings=config, folder=folder, progress=progress)
    return Trials(runs, ("accuracy",), (), ("dead",), config, _remarks(len(seeds), inset))


def _remarks(seeds: int, inset: int) -> tuple[str, ...]:
    where = "at the sides of the image" if inset == 0 else f"{inset} px from the sides"
    return (
        f"{seeds} seeds; 95 % intervals and deviations (sd) over seeds; chance is 50 %; the figure is {where}",
        "dead: the convolution answers nothing at all, so the run says nothing of padding",
    )
