"""PosENet's readout: a convolution of all features to one map, trained to draw a pattern of position.

Source: Islam, Jia, Bruce, ICLR 2020, and the authors' code (github.com/islamamirul/position_information), whose settings
are the defaults here. Several patterns are learnt side by side from one pass over the features; they share nothing, and
each comes out as if it were learnt alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from padprint.errors import ImagesError, ModelError


@dataclass(frozen=True)
class ReadoutSettings:
    """How the readout is built and trained; the defaults are those of the authors' code.

    Attributes:
        feat_size: features are resized to so many cells on each side, bilinearly, corners aligned.
        kernel: of its convolutions, cells.
        padding: zeros around the features, cells; anything but 0 tells the readout itself where the border is.
        depth: how many convolutions; all but the last keep the number of channels and are followed by a ReLU.
        lr, momentum, weight_decay: of stochastic gradient descent.
        batch_size: images in one step.
        epochs: passes over the training images.
        drops: epochs, counted from 0, before which the learning rate falls.
        drop_factor: by which it falls.
    """

    feat_size: int = 28
    kernel: int = 3
    padding: int = 0
    depth: int = 1
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 32
    epochs: int = 15
    drops: tuple[int, ...] = (10,)
    drop_factor: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ModelError: one of them makes no sense.
        """
        least = {"feat_size": 1, "kernel": 1, "padding": 0, "depth": 1, "batch_size": 1, "epochs": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if type(value) is not int or value < bound:
                raise ModelError(f"{name} of the readout must be a whole number of {bound} or more, but got {value!r}")
        for name in ("lr", "momentum", "weight_decay", "drop_factor"):
            if not 0 <= getattr(self, name) < inf:
                raise ModelError(f"{name} of the readout must be 0 or more, but got {getattr(self, name)!r}")
        if any(type(drop) is not int or drop < 1 for drop in self.drops):
            raise ModelError(f"drops of the readout are epochs from 1 on, but got {self.drops!r}")
        if self.cells < 1:
            raise ModelError(
                f"nothing is left of {self.feat_size} cells after {self.depth} convolutions of {self.kernel} cells "
                f"with padding {self.padding}; enlarge feat_size"
            )

    @property
    def cells(self) -> int:
        """Rows, and columns, of what the readout draws before it is enlarged: 26."""
        return self.feat_size + self.depth * (2 * self.padding - self.kernel + 1)


OFFICIAL = ReadoutSettings()

Features: TypeAlias = Tensor | Sequence[Tensor]


class Readout(nn.Module):
    """P readouts side by side: convolutions, BatchNorm, sigmoid, and bilinear enlargement.

    Args:
        channels: C, of all features together.
        patterns: P.
        size: rows and columns of what is drawn, px.
        settings: see `ReadoutSettings`.
        generator: of the initial weights (Glorot uniform); all P start alike.
    """

    def __init__(
        self,
        channels: int,
        patterns: int,
        size: tuple[int, int],
        settings: ReadoutSettings,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for i in range(settings.depth):
            last = i == settings.depth - 1
            width = patterns * (1 if last else channels)
            groups = patterns if i else 1  # the first convolution reads what all share
            layers.append(self._convolution(channels, width, groups, patterns, settings, generator))
            layers += [nn.BatchNorm2d(width), nn.Sigmoid() if last else nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    @staticmethod
    def _convolution(
        channels: int,
        width: int,
        groups: int,
        patterns: int,
        settings: ReadoutSettings,
        generator: torch.Generator | None,
    ) -> nn.Conv2d:
        """One convolution of all patterns; each pattern's share is initialised as if it were alone."""
        kernel = settings.kernel
        build: Any = nn.utils.skip_init  # no random number is drawn for weights that are replaced
        found: nn.Conv2d = build(nn.Conv2d, channels * groups, width, kernel, padding=settings.padding, groups=groups)
        own = width // patterns
        bound = sqrt(6 / (kernel**2 * (channels + own)))
        weight = torch.empty(own, channels, kernel, kernel).uniform_(-bound, bound, generator=generator)
        with torch.no_grad():
            found.weight.copy_(weight.repeat(patterns, 1, 1, 1))
            if found.bias is not None:
                nn.init.zeros_(found.bias)
        return found

    def cells(self, features: Tensor) -> Tensor:
        """`(B, P, 26, 26)` drawings, before they are enlarged, of `(B, C, 28, 28)` features."""
        drawn: Tensor = self.layers(features)
        return drawn

    def forward(self, features: Tensor) -> Tensor:
        """`(B, P, 224, 224)` drawings, in [0, 1], of `(B, C, 28, 28)` features."""
        return interpolate(self.cells(features), self.size, mode="bilinear")


def train_readout(
    features: Features,
    targets: Tensor,
    settings: ReadoutSettings = OFFICIAL,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
    advance: Callable[[], None] | None = None,
) -> Readout:
    """Train readouts of features by stochastic gradient descent on the mean squared error.

    Args:
        features: `(N, C, h, w)` of N images, or a list of N `(C, h, w)`, h and w being `settings.feat_size`. Half precision
            is read as single; channels last in memory are read fastest.
        targets: `(rows, columns)` map to draw, or `(P, rows, columns)` maps.
        settings: see `ReadoutSettings`.
        seed: of the initial weights and of the order of images.
        device: where to train; None: where the features are.
        advance: called after every epoch.

    Returns:
        The trained readout, in evaluation mode.

    Raises:
        ImagesError: no image, or features of another size than the settings'.
        ModelError: the training diverged.
    """
    _check_features(features, settings)
    where = features[0].device if device is None else torch.device(device)
    generator = torch.Generator().manual_seed(seed)
    targets = targets.reshape(-1, *targets.shape[-2:])
    size = (targets.shape[-2], targets.shape[-1])
    readout = Readout(len(features[0]), len(targets), size, settings, generator).to(where)
    error = MapError(targets.to(where), settings.cells)
    optimiser = torch.optim.SGD(
        readout.parameters(), settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(settings.drops), settings.drop_factor)
    with torch.enable_grad():
        for epoch in range(settings.epochs):
            order = torch.randperm(len(features), generator=generator)
            for chosen in torch.split(order, settings.batch_size):
                loss = error(readout.cells(_batch(features, chosen.tolist(), where))).sum()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            schedule.step()
            if not isfinite(found := loss.item()):
                raise ModelError(f"the readout's loss is {found} in epoch {epoch}: lower its learning rate")
            if advance is not None:
                advance()
    return readout.eval()


class MapError:
    """Mean squared error of enlarged drawings, worked out without enlarging them.

    Bilinear enlargement is linear: drawings S become A S B^T, so the squared error is <S, A^T A S B^T B> - 2 <S, A^T T B>
    + <T, T>.

    Args:
        targets: T, `(P, rows, columns)`.
        cells: rows, and columns, of the drawings.
    """

    def __init__(self, targets: Tensor, cells: int) -> None:
        rows, columns = (enlargement(cells, n).to(targets) for n in targets.shape[-2:])
        self.count = rows.shape[0] * columns.shape[0]
        self.left, self.right = rows.T @ rows, columns.T @ columns
        self.cross = rows.T @ targets @ columns
        self.energy = targets.square().sum((1, 2))

    def __call__(self, cells: Tensor) -> Tensor:
        """`(P,)` errors of `(B, P, cells, cells)` drawings."""
        inner = (cells * (self.left @ cells @ self.right - 2 * self.cross)).sum((2, 3)).mean(0)
        return (inner + self.energy) / self.count


def enlargement(cells: int, size: int) -> Tensor:
    """`(size, cells)` matrix that enlarges a row of cells bilinearly, as `interpolate` does."""
    return interpolate(torch.eye(cells)[None, None], (size, cells), mode="bilinear")[0, 0]


# ---------------------------------------------------------------------------------------------------------- scores

FLAT = 1e-6
"""A drawing whose values differ by less is constant: what is left is rounding, whose order says nothing."""


def score(
    readout: Readout, features: Features, targets: Tensor, *, batch_size: int = 32, device: Any = None
) -> tuple[Tensor, Tensor]:
    """Spearman's rank correlation and mean absolute error of every image's drawing.

    Args:
        readout: trained.
        features: as in `train_readout`.
        targets: `(rows, columns)`, or `(P, rows, columns)`.
        batch_size: images drawn at once.
        device: of the readout; None: where the features are.

    Returns:
        Both `(N, P)` float64. The correlation is NaN where a drawing is constant.
    """
    where = features[0].device if device is None else torch.device(device)
    targets = targets.reshape(-1, *targets.shape[-2:]).to(where)
    spc, mae = [], []
    with torch.no_grad():
        for start in range(0, len(features), batch_size):
            drawn = readout(_batch(features, range(start, min(start + batch_size, len(features))), where))
            mae.append((drawn - targets).abs().double().mean((2, 3)).cpu())
            spc.append(rank_correlation(drawn, targets).cpu())
    return torch.cat(spc), torch.cat(mae)


def rank_correlation(drawn: Tensor, targets: Tensor) -> Tensor:
    """`(N, P)` Spearman correlations of `(N, P, rows, columns)` drawings with `(P, rows, columns)` targets."""
    against = [ranks(target) for target in targets.flatten(1)]
    found = torch.stack([spearman(one, against) for one in drawn.flatten(2)])
    flat = drawn.amax((2, 3)) - drawn.amin((2, 3)) < FLAT
    return found.masked_fill(flat, torch.nan)


def spearman(values: Tensor, target_ranks: Sequence[Tensor]) -> Tensor:
    """`(P,)` rank correlations of P rows of values with P rows whose ranks are known; NaN for a constant row."""
    found = []
    for row, target in zip(values, target_ranks, strict=True):
        a, b = ranks(row), target
        a, b = a - a.mean(), b - b.mean()
        found.append((a @ b) / (a.square().sum() * b.square().sum()).sqrt())
    return torch.stack(found)


def ranks(values: Tensor) -> Tensor:
    """Ranks of `(n,)` values from 1 on, float64; equal values share the mean of their ranks."""
    ordered, order = values.sort()
    _, counts = torch.unique_consecutive(ordered, return_counts=True)
    shared = counts.cumsum(0).double() - (counts.double() - 1) / 2
    found = torch.empty(len(values), dtype=torch.float64, device=values.device)
    return found.scatter_(0, order, shared.repeat_interleave(counts))


def _batch(features: Features, chosen: Iterable[int], device: torch.device) -> Tensor:
    """`(B, C, h, w)` float32 features of some images, channels last, which makes the convolution twice as fast."""
    rows = torch.stack([features[i].permute(1, 2, 0) for i in chosen])
    return rows.permute(0, 3, 1, 2).to(device, torch.float32)


def _check_features(features: Features, settings: ReadoutSettings) -> None:
    n = settings.feat_size
    shapes = {tuple(one.shape) for one in features}
    if len(shapes) != 1 or next(iter(shapes))[1:] != (n, n):
        got = ", ".join(map(str, sorted(shapes))) or "none"
        raise ImagesError(f"the readout learns from (channels, {n}, {n}) features of every image, got {got}")
