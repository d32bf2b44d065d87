"""The constant image: what a network's features of an image without content tell of position, and how much of it real ones hold.

One constant image has no content, so all that differs between the cells of its features is position: by padding, and by
position embeddings too, so that transformers can be asked as well. It is one input, though, and unlike those that networks see.

Source: INSID3 (arXiv 2603.28480; public code): features of a black image, each cell's of unit length, less their mean over
cells; the first directions of their singular value decomposition are the "positional subspace" that is projected out of
features of images. There are 500 of 1024 there; here as many as hold 99 % of what the constant image shows, unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, nan
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from padprint.errors import ImagesError, LayerError, ModelError
from padprint.images.photographs import Images
from padprint.measuring.options import LoadOptions, check_counts
from padprint.measuring.session import Scene, Setup, refuse_other_axes
from padprint.network.example import crop_size
from padprint.network.layers import Tap, discover, run_to, select
from padprint.network.preserved import as_measured
from padprint.results.estimates import ByLayer, GroupSums, estimate_of, ratio
from padprint.results.measurement import Estimate
from padprint.results.statistics import jackknife, unbiased_energy
from padprint.support import frames, wording
from padprint.support.axes import Size

if TYPE_CHECKING:
    from typing_extensions import Unpack

HELD = 0.99
"""Share of what the constant image shows that the subspace holds, where the number of directions is not given."""
BLACK = -2.0
"""About black, for networks whose images are normalised to mean 0 and variance 1. Of 0, zeros at the border are the right padding."""
PREFIX = 16
"""So many tokens at the most may stand before those of the cells."""


@dataclass(frozen=True)
class LayerConstant:
    """What a constant image tells of one layer.

    Attributes:
        size: rms over channels and cells of its features less their mean over cells, in units of the images' own.
        agreement: cosine of its features and the images' mean features, each less the mean over cells: whether it shows
            what images have in common; unbiased, n/a where the images have nothing in common.
        share: of the images' squared features (each cell's of unit length, less the mean over cells) inside the subspace.
        components: directions of the subspace.
        chance: the share that a random subspace of so many directions holds, directions over channels.
    """

    HEADERS: ClassVar[tuple[str, ...]] = (
        "size [95 %]",
        "agreement [95 %]",
        "share in subspace [95 %]",
        "directions",
        "chance",
    )
    size: Estimate
    agreement: Estimate
    share: Estimate
    components: int
    chance: float

    def cells(self) -> list[tuple[str, ...]]:
        """A row for people, without the layer's name."""
        values = (wording.interval(one) for one in (self.size, self.agreement, self.share))
        return [(*values, str(self.components), wording.number(self.chance))]

    def rows(self) -> list[dict[str, Any]]:
        """One row: size, agreement and share, each with _low and _high; components, chance."""
        found = frames.estimate("size", self.size) | frames.estimate("agreement", self.agreement)
        return [{**found, **frames.estimate("share", self.share), "components": self.components, "chance": self.chance}]


def constant_image(
    model: nn.Module,
    images: Images,
    *,
    layers: str | Sequence[str] = "auto",
    crop: int | tuple[int, int] = 224,
    crops_per_image: int = 4,
    batch_size: int = 16,
    value: float = BLACK,
    components: int | None = None,
    **options: Unpack[LoadOptions],
) -> ByLayer[LayerConstant]:
    """Compare a network's features of a constant image with those of crops of images.

    Args:
        model: see `padprint.measure`; of any architecture whose layers give maps, or one token for each cell of a square map.
        images: see `padprint.measure`; as large as the crop.
        layers: names or globs; "auto": the last map of each size.
        crop: see `padprint.measure`.
        crops_per_image: crops from anywhere in each image.
        batch_size: crops in one forward pass.
        value: of the constant image's pixels, normalised as the network wants them; about black, as in INSID3. Of 0, the mean
            colour, padding with zeros is right, and a network without biases answers nothing at all.
        components: directions of the subspace; None: as many as hold 99 % of what the constant image shows.
        **options: see `padprint.measure`.

    Raises:
        ImagesError: an image is smaller than the crop; and see `padprint.measure`.
        LayerError: no layer gives a map.
        ModelError: see `padprint.measure`.
    """
    size = crop_size(crop)
    check_counts(1, crops_per_image=crops_per_image, batch_size=batch_size, components=components or 1)
    setup = Setup.of(model, images, options, LoadOptions.__annotations__)
    found: dict[str, _Layer] = {}
    n_images = 0
    with setup.opened() as opened:
        for scene in opened:
            with as_measured(setup.model):
                if not n_images:
                    refuse_other_axes(scene.size, "the constant image")
                    blank = torch.full((1, scene.image.shape[0], *size), value, device=scene.device, dtype=scene.dtype)
                    found = {tap.name: _Layer(tap, size) for tap in _chosen(setup.model, layers, blank)}
                    for name, maps in _features(setup.model, blank, found).items():
                        found[name].learn(maps[0], components)
                crops = _crops(scene, size, crops_per_image, setup.settings.seed)
                for start in range(0, len(crops), batch_size):
                    for name, maps in _features(setup.model, crops[start : start + batch_size], found).items():
                        found[name].add(scene.group, maps)
            n_images += 1
    results = {name: one.result() for name, one in found.items()}
    return ByLayer(results, {}, n_images, n_images * crops_per_image)


def grid_of(shape: Sequence[int], crop: Size) -> tuple[int, int, int] | None:
    """How a tensor of a crop is read as a map: first dimension of its rows (1 for tokens), rows, columns; None where it cannot be.

    Args:
        shape: of the tensor, batch first: `(B, C, h, w)`, `(B, h, w, C)`, or `(B, N, C)` with N = h w and up to 16 tokens before.
        crop: (height, width), px.
    """
    if len(shape) == 4:
        first = 1 if _divides(shape[1:3], crop) and not _divides(shape[2:], crop) else 2
        rows, columns = shape[first], shape[first + 1]
        return (first, rows, columns) if rows * columns > 1 else None
    if len(shape) == 3:
        for tokens in range(shape[1], max(3, shape[1] - PREFIX - 1), -1):
            rows = isqrt(tokens * crop[0] // crop[1])
            if rows and tokens % rows == 0 and rows * crop[1] == tokens // rows * crop[0]:
                return 1, rows, tokens // rows
    return None


def _divides(cells: Sequence[int], crop: Size) -> bool:
    """Whether so many rows and columns are square cells of a crop, more than one."""
    rows, columns = cells
    return rows * columns > 1 and crop[0] % rows == 0 and rows * crop[1] == columns * crop[0]


def _chosen(model: nn.Module, layers: str | Sequence[str], blank: Tensor) -> list[Tap]:
    """The layers asked for that give maps."""
    size = (blank.shape[-2], blank.shape[-1])
    taps = discover(model, blank)
    asked = taps if layers == "auto" else select(taps, [layers] if isinstance(layers, str) else layers)
    maps = [(tap, grid) for tap in asked if tap.dtype.is_floating_point and (grid := grid_of(tap.shape, size))]
    if not maps:
        raise LayerError(f"no layer gives a map of the crop: {', '.join(tap.name for tap in asked)}")
    if layers == "auto":
        maps = [(tap, grid) for tap, grid in maps if _divides(grid[1:], size)] or maps
        maps = list({grid[1:]: (tap, grid) for tap, grid in maps}.values())
    return [tap for tap, _ in maps]


def _features(model: nn.Module, x: Tensor, layers: Mapping[str, _Layer]) -> dict[str, Tensor]:
    """By layer `(B, C, N)` features of a batch, double precision."""
    found: dict[str, Tensor] = {}

    def visit(tap: Tap, tensor: Tensor) -> None:
        found[tap.name] = layers[tap.name].read(tensor)

    with torch.no_grad():
        run_to(model, x, [one.tap for one in layers.values()], visit)
    return found


def _crops(scene: Scene, size: Size, count: int, seed: int) -> Tensor:
    """`(count, C, H, W)` crops from anywhere in an image, drawn by (seed, index of the image)."""
    room = [n - m for n, m in zip(scene.size, size, strict=True)]
    if min(room) < 0:
        raise ImagesError(
            f"{scene.called} is {scene.size[0]}x{scene.size[1]} px, and the crop {size[0]}x{size[1]}: use larger images or a smaller crop"
        )
    corners = np.random.default_rng([seed, scene.index]).integers(0, [n + 1 for n in room], (count, 2)).tolist()
    crops = [scene.image[:, y : y + size[0], x : x + size[1]] for y, x in corners]
    return torch.stack(crops).to(scene.device, scene.dtype)


class _Layer:
    """One layer: how it is read, what the constant image shows of it, and running sums over images."""

    def __init__(self, tap: Tap, crop: Size) -> None:
        grid = grid_of(tap.shape, crop)
        if grid is None:
            raise ModelError(f"{tap.name} gives no map")
        self.tap, (self._first, self._rows, self._columns) = tap, grid
        self._sums, self._means, self._counts = GroupSums(), dict[int, Tensor](), dict[int, int]()

    def read(self, tensor: Tensor) -> Tensor:
        """The layer's output as `(B, C, N)`."""
        if tensor.dim() == 3:
            return tensor[:, tensor.shape[1] - self._rows * self._columns :].transpose(1, 2).double()
        moved = tensor if self._first == 2 else tensor.movedim(-1, 1)
        return moved.flatten(2).double()

    def learn(self, maps: Tensor, components: int | None) -> None:
        """Keep what the constant image shows, from its `(C, N)` features."""
        self._shown = centred(maps)
        directions, sizes, _ = torch.linalg.svd(centred(unit(maps)), full_matrices=False)
        energy = sizes.square()
        if components is None:
            within = energy.cumsum(0) < HELD * energy.sum()
            components = int(within.sum()) + 1 if float(energy.sum()) > 0 else 0
        rank = int((sizes > 1e-6 * sizes[:1].clamp_min(1e-9)).sum())  # directions of rounding are none
        self._basis = directions[:, : min(components, rank)]

    def add(self, group: int, maps: Tensor) -> None:
        """Add the `(B, C, N)` features of crops."""
        own, of_unit = centred(maps), centred(unit(maps))
        inside = (self._basis.T @ of_unit).square().sum()
        self._sums.add(group, own.square().sum() / own[0].numel(), len(maps), inside, of_unit.square().sum())
        self._means[group] = self._means.get(group, torch.zeros_like(own[0])) + own.sum(0)
        self._counts[group] = self._counts.get(group, 0) + len(maps)

    def result(self) -> LayerConstant:
        """What came out."""
        shown = float(self._shown.square().mean())
        rounding = 1e-6 * float(self._shown.abs().max())
        channels = len(self._shown)
        return LayerConstant(
            size=self._sums.estimate(lambda total: ratio(torch.tensor(shown).double(), total[0] / total[1]).sqrt()),
            agreement=self._agreement() if shown > rounding**2 else Estimate(nan, nan, nan),
            share=self._sums.estimate(lambda total: ratio(total[2], total[3])),
            components=self._basis.shape[1],
            chance=self._basis.shape[1] / channels,
        )

    def _agreement(self) -> Estimate:
        means = torch.stack([self._means[g] / self._counts[g] for g in sorted(self._means)])
        along = (means * self._shown).mean((1, 2))
        gram = torch.einsum("gcn,hcn->gh", means, means) / means[0].numel()
        size = self._shown.square().mean()

        def cosine(keep: Tensor) -> Tensor:
            return along[keep].mean() / (size * unbiased_energy(gram, keep)).sqrt()

        return estimate_of(jackknife(cosine, len(means)))


def centred(maps: Tensor) -> Tensor:
    """`(..., C, N)` features less their mean over cells; exactly 0 where they differ by rounding alone."""
    rest = maps - maps.mean(-1, keepdim=True)
    return torch.where(rest.abs() <= 1e-6 * maps.abs().amax((-2, -1), keepdim=True), 0.0, rest)


def unit(maps: Tensor) -> Tensor:
    """`(..., C, N)` features, each cell's of length 1."""
    return nn.functional.normalize(maps, dim=-2)
