r"""A position probe in closed form: how well a linear readout of the features tells where a cell lies.

Ridge regression from a cell's C features to its place (row, column) and its distance to the border, once from the padded
features F(x; p) and once from the optimally padded features F(x; *) of the same crops. What the second already knows is
content: the sky is above. What the first knows beyond that, padding told it.

All that ridge regression needs of some cells is the Gram matrix of Z = [1, X, Y], so a layer keeps one matrix for each
fold of images, however many images there are, and leaving out folds is subtraction: cross-validation by image is exact.

Sources: PosENet (Islam, Jia, Bruce, ICLR 2020) reads position out of features with a trained readout; that a linear
probe with a control task separates what features hold from what the readout can learn is Hewitt and Liang, EMNLP 2019.
The distance to the border follows Islam et al., "Position, Padding and Predictions" (arXiv 2101.12322). The closed form,
and optimal padding as the control, are padprint's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from padprint.errors import ImagesError, ModelError
from padprint.images.photographs import Images
from padprint.measuring.crops import iterate
from padprint.padding import Scheme
from padprint.results.estimates import ByLayer, Contrast, estimate_of
from padprint.results.statistics import interval_of
from padprint.support.axes import Size, cell_names
from padprint.support.typed import INLINE

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padprint.measuring.options import Options

BORDER = "border"
"""What is read out of a cell's features beside its place along each axis."""

STRENGTHS = (1e-4, 1e-2, 1.0, 1e2)
"""Ridge strengths to choose from, in units of the mean variance of a feature times the number of cells."""

FOLDS = 5


@dataclass(frozen=True)
class LayerProbe:
    """How well a linear readout of one layer tells position: R^2 out of fold; 1 is perfect, 0 no better than the mean.

    Attributes:
        targets: by what is read out: ``row`` and ``column``, where a cell lies in the crop (``cell`` in waveforms, ``plane``, ``row``
            and ``column`` in volumes), and ``border``, how far it is from the nearest border.
    """

    HEADERS: ClassVar[tuple[str, ...]] = ("target", "R2 padded [95 %]", "R2 optimal [95 %]", "added by padding [95 %]")
    targets: Mapping[str, Contrast] = field(metadata=INLINE)

    def __getattr__(self, name: str) -> Contrast:
        targets: Mapping[str, Contrast] = self.__dict__.get("targets", {})
        if name in targets:
            return targets[name]
        raise AttributeError(f"no {name!r} was read out, only {', '.join(targets)}")

    def cells(self) -> list[tuple[str, ...]]:
        """Rows for people, without the layer's name."""
        return [(target, *one.cells()) for target, one in self.targets.items()]

    def rows(self) -> list[dict[str, Any]]:
        """One row for each target: target, r2_padded, r2_optimal and r2_added, each with _low and _high."""
        return [{"target": target, **one.columns("r2")} for target, one in self.targets.items()]


def probe(
    model: nn.Module,
    images: Images,
    *,
    padding: str | Scheme | None = None,
    strengths: Sequence[float] = STRENGTHS,
    **options: Unpack[Options],
) -> ByLayer[LayerProbe]:
    """Read position out of a network's layers by ridge regression, with and without padding.

    Memory: 16 (C + 4)^2 bytes for each layer and fold, so 0.34 GB for a layer of 2048 channels and 5 folds, however many
    images there are. Time, beyond running the network: one Cholesky factorisation of a C x C matrix for each strength and
    pair of folds.

    Args:
        model: see `padprint.measure`.
        images: likewise; three at least, and more give the readout more to learn from.
        padding: likewise.
        strengths: of the ridge, to choose from; for each fold the one that serves the other folds best, by
            cross-validation among them alone. One strength leaves nothing to choose.
        **options: see `padprint.measure`. `groups` are the folds, 5 unless said otherwise.

    Returns:
        For each layer and target, R^2 out of fold with a delete-one-fold jackknife interval; the replicates are
        cross-validated anew among the folds left, with the strengths chosen before.

    Raises:
        ImagesError: fewer than three images; and see `padprint.measure`.
        LayerError, ModelError, PaddingError: see `padprint.measure`. Strengths that are not positive are an error too.
    """
    if not strengths or not all(isfinite(s) and s > 0 for s in strengths):
        raise ModelError(f"ridge strengths are numbers above 0, but got {list(strengths)}")
    options.setdefault("groups", FOLDS)
    crops = iterate(model, images, padding, **options)
    kinds: dict[str, tuple[FoldGrams, FoldGrams]] = {}
    for batch in crops:
        for name, padded in batch.padded.items():
            sums = kinds.setdefault(name, (FoldGrams(), FoldGrams()))
            for one, features in zip(sums, (padded, batch.optimal[name]), strict=True):
                one.add(batch.group, features)
    layers = {name: _read_out(*sums, strengths) for name, sums in kinds.items()}
    return ByLayer(layers, crops.geometry.unmeasured, crops.n_images, crops.n_crops)


class FoldGrams:
    """Gram matrices of one layer's cells, by fold; `axes` are those of its maps."""

    def __init__(self) -> None:
        self.grams: dict[int, Tensor] = {}
        self.rounding = 0.0
        """Mean variance of features that is rounding alone: what differs by so little says nothing of position."""
        self.axes = 0
        self._shift: Tensor | None = None

    def add(self, fold: int, features: Tensor) -> None:
        """Add the cells of `(B, C, *cells)` features."""
        if self._shift is None:  # near the mean, so that little is lost when the mean is taken away
            self._shift = features.double().mean((0, *range(2, features.dim())))
            self.rounding = (4 * torch.finfo(features.dtype).eps) ** 2 * float(self._shift.square().mean())
        self.axes = features.dim() - 2
        y = targets(tuple(features.shape[2:])).to(features.device) - 0.5
        for one in features:  # one by one bounds memory
            found = gram(one.double().flatten(1).T - self._shift, y)
            self.grams[fold] = self.grams[fold] + found if fold in self.grams else found

    def stacked(self) -> Tensor:
        """`(folds, D, D)`."""
        if len(self.grams) < 3:
            raise ImagesError(
                f"the probe is cross-validated by image, and {len(self.grams)} folds of images are too few: "
                "it needs 3 images and 3 groups at least"
            )
        return torch.stack([self.grams[fold] for fold in sorted(self.grams)])


def _read_out(padded: FoldGrams, optimal: FoldGrams, strengths: Sequence[float]) -> LayerProbe:
    names = (*cell_names(padded.axes), BORDER)
    scores = [cross_validated(sums.stacked(), len(names), strengths, sums.rounding) for sums in (padded, optimal)]
    values, replicates = (torch.stack(part) for part in zip(*scores, strict=True))  # (2, T), (2, folds, T)

    def contrast(t: int) -> Contrast:
        value, own = values[:, t].cpu(), replicates[:, :, t].cpu()
        pairs = [(value[0], own[0]), (value[1], own[1]), (value[0] - value[1], own[0] - own[1])]
        return Contrast(*(estimate_of(interval_of(*pair)) for pair in pairs))

    return LayerProbe({name: contrast(t) for t, name in enumerate(names)})


# --------------------------------------------------------------------------------------------- pure tensor functions


def targets(size: Size) -> Tensor:
    """`(cells, T)` place along each axis (row, column) and distance to the nearest border of every cell, float64.

    Places go from 0 to 1 between the map's edges, cells have their centres in between; the distance is 1 in the middle.
    """
    along = [(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in size]
    places = torch.meshgrid(*along, indexing="ij")
    border = 2 * torch.stack([side for place in places for side in (place, 1 - place)]).amin(0)
    return torch.stack([*places, border], -1).flatten(0, -2)


def gram(x: Tensor, y: Tensor) -> Tensor:
    """Z^T Z of Z = [1, X, Y], `(1 + C + T, 1 + C + T)`, from `(n, C)` features and `(n, T)` targets."""
    z = torch.cat([torch.ones_like(y[:, :1]), x, y], 1)
    return z.T @ z


def fit(train: Tensor, targets: int, strengths: Sequence[float], rounding: float = 0.0) -> list[Tensor]:
    """Ridge regression with a free intercept, for each strength.

    Args:
        train: Gram matrix of the cells to learn from.
        targets: T, how many of its last columns are targets.
        strengths: in units of the mean diagonal of the centred X^T X.
        rounding: features whose mean variance does not exceed this are taken for constant.

    Returns:
        `(D, T)` coefficients w of Z for each strength, so that Z w = Y - prediction.
    """
    mean = train[0] / train[0, 0]
    centred = train[1:, 1:] - train[0, 0] * torch.outer(mean[1:], mean[1:])
    c = len(centred) - targets
    xx, xy = centred[:c, :c], centred[:c, c:]
    unit = xx.diagonal().mean()
    found = []
    for strength in strengths:
        beta = torch.zeros_like(xy)
        if unit > rounding * train[0, 0]:  # else the features are constant
            ridge = xx.clone()
            ridge.diagonal().add_(strength * unit)
            beta = torch.cholesky_solve(xy, torch.linalg.cholesky(ridge))
        intercept = mean[1 + c :] - mean[1 : 1 + c] @ beta
        identity = torch.eye(targets, dtype=train.dtype, device=train.device)
        found.append(torch.cat([-intercept.unsqueeze(0), -beta, identity]))
    return found


def squared_errors(test: Tensor, w: Tensor) -> Tensor:
    """`(T,)` sums of squared errors, over the cells of a Gram matrix, of coefficients that `fit` returned."""
    return (w * (test @ w)).sum(0)


def cross_validated(
    grams: Tensor, targets: int, strengths: Sequence[float], rounding: float = 0.0
) -> tuple[Tensor, Tensor]:
    """R^2 out of fold.

    For each fold and target the strength is the one of least error in cross-validation among the other folds.

    Args:
        grams: `(K, D, D)` Gram matrices of the folds, K of 3 or more.
        targets: T.
        strengths: to choose from.
        rounding: see `fit`.

    Returns:
        `(T,)` R^2, and `(K, T)` R^2 with each fold left out; NaN for a target that does not vary.
    """
    total, folds = grams.sum(0), len(grams)
    main = [
        [squared_errors(grams[g], w) for w in fit(total - grams[g], targets, strengths, rounding)] for g in range(folds)
    ]
    without = grams.new_zeros(len(strengths), folds, folds, targets)  # [s, g, k]: errors on g, learnt without g and k
    for g, k in combinations(range(folds), 2):
        for s, w in enumerate(fit(total - grams[g] - grams[k], targets, strengths, rounding)):
            without[s, g, k], without[s, k, g] = squared_errors(grams[g], w), squared_errors(grams[k], w)
    best = without.sum(1).argmin(0)  # [k, t]: errors of all other folds, learnt without fold k
    errors = torch.stack([torch.stack(row) for row in main], 1).gather(0, best.unsqueeze(0))[0]
    left = without.gather(0, best.unsqueeze(0).unsqueeze(2).expand(1, folds, folds, targets))[0]
    spread = _spread(grams, targets)
    value = 1 - errors.sum(0) / spread.sum(0)
    return value, 1 - left.sum(0) / (spread.sum(0) - spread)


def _spread(grams: Tensor, targets: int) -> Tensor:
    """`(K, T)` sums of squares of the targets around their mean over all folds."""
    n, sums = grams[:, :1, 0], grams[:, 0, -targets:]
    mean = sums.sum(0) / n.sum()
    squares = grams.diagonal(dim1=1, dim2=2)[:, -targets:]
    spread = squares - 2 * mean * sums + n * mean.square()
    return torch.where(spread > 1e-12 * n, spread, torch.nan)  # a map of one row has no rows to tell apart
