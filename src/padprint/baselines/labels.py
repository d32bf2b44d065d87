"""meanE and disR: whether a pixel gets the same label wherever the window lies that it is seen through.

Windows slide over an image; each pixel is labelled once by every window that holds it. Where padding changes labels, a
pixel near a window's border gets another one than in its middle.

Source: PP-Pad, "Peripheral prediction padding for semantic segmentation" (public code, segment_val.py): windows of 475 px in
steps of 47 px over images of 1050 px, the first at the image's corner; pixels less than a window from the image's border are
not counted, so that as many windows as fit hold each pixel that is; meanE = mean over an image's pixels of the entropy of
their labels in bits, disR = share of its pixels whose entropy is above zero; images have equal weights. Here windows
step by multiples of the total stride unless asked otherwise, so that aliasing has no part in it; and a layer without labels is
labelled by its strongest channel. The other protocol, of which every covered cell counts, serves images that are too
small for the source's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from padprint.errors import ImagesError, LayerError, ModelError
from padprint.geometry.layer import Geometry, MapSpec
from padprint.geometry.tracing import trace
from padprint.images.photographs import Images
from padprint.measuring.checked import reseed
from padprint.measuring.crops import paddings
from padprint.measuring.forwards import swapping
from padprint.measuring.options import LoadOptions, check_counts
from padprint.measuring.session import Scene, Setup, refuse_other_axes
from padprint.network.example import crop_size
from padprint.network.layers import Tap, discover, run_to
from padprint.network.preserved import as_measured
from padprint.padding import Scheme
from padprint.results.estimates import ByLayer, GroupSums, ratio
from padprint.results.measurement import Estimate
from padprint.support import frames, wording
from padprint.support.axes import Size
from padprint.support.reasons import by_layer

if TYPE_CHECKING:
    from typing_extensions import Unpack

WINDOW = 475
"""Side of a window, px."""
Cells: TypeAlias = Literal["inner", "all"]
"""Which cells count, see `label_consistency`."""


@dataclass(frozen=True)
class LayerLabels:
    """How labels change with the window.

    Attributes:
        mean_entropy: of a cell's labels, bits, averaged over cells (meanE).
        disagreeing: share of cells whose labels are not all the same (disR).
        stride: px from one cell to the next, rows and columns.
    """

    HEADERS: ClassVar[tuple[str, ...]] = ("stride", "meanE, bits [95 %]", "disR [95 %]")
    mean_entropy: Estimate
    disagreeing: Estimate
    stride: tuple[float, float]

    def cells(self) -> list[tuple[str, ...]]:
        """A row for people, without the layer's name."""
        values = (wording.interval(one) for one in (self.mean_entropy, self.disagreeing))
        return [(wording.stride(self.stride), *values)]

    def rows(self) -> list[dict[str, Any]]:
        """One row: stride_y, stride_x (px), mean_entropy (bits) and disagreeing, each with _low and _high."""
        found = frames.estimate("mean_entropy", self.mean_entropy) | frames.estimate("disagreeing", self.disagreeing)
        return [{**frames.by_axis("stride", self.stride), **found}]


def label_consistency(
    model: nn.Module,
    images: Images,
    *,
    layers: str | Sequence[str] = "auto",
    window: int | tuple[int, int] = WINDOW,
    step: int | None = None,
    region: int | None = None,
    cells: Cells = "inner",
    padding: str | Scheme | None = None,
    batch_size: int = 16,
    **options: Unpack[LoadOptions],
) -> ByLayer[LayerLabels]:
    """Measure how labels change with the window they are seen through.

    Args:
        model: see `padprint.measure`; layers that see the whole input are measured too, if their cells divide the window.
        images: likewise; larger than two windows, or with all cells, than one.
        layers: see `padprint.measure`. A map's label at a cell is its channel of largest value.
        window: px, one number or (height, width).
        step: px from one window to the next; None: about a tenth of the window, on the total stride.
        region: px along each side of the middle of an image that windows slide over; None: all of it.
        cells: "inner", as at the source: cells that lie a window or more from every border of the region, windows from
            its first corner on, means over images of each image's mean. "all": every cell that a window covers, also those
            that only one does, which never disagree; windows in the middle of the region; means over cells.
        padding: see `padprint.measure`.
        batch_size: windows in one forward pass.
        **options: see `padprint.measure`.

    Returns:
        By layer.

    Raises:
        ImagesError: an image is smaller than a window, or leaves no cell to count; and see `padprint.measure`.
        LayerError: no layer has labels, or the step is not a whole number of its cells.
        ModelError, PaddingError: see `padprint.measure`; there are no such cells.
    """
    size = crop_size(window)
    if cells not in get_args(Cells):
        raise ModelError(f"cells must be one of {', '.join(get_args(Cells))}, but got {cells!r}")
    check_counts(1, batch_size=batch_size, step=1 if step is None else step, region=1 if region is None else region)
    setup = Setup.of(model, images, options, LoadOptions.__annotations__)
    (scheme,) = paddings(padding, setup.settings.seed).values()
    found: _Labelled
    sums: dict[str, GroupSums] = {}
    n_images = n_windows = 0
    with setup.opened() as opened:
        for scene in opened:
            if not n_images:
                refuse_other_axes(scene.size, "label consistency")
                found = _Labelled(setup.model, layers, size, scene.image.shape[0], step, cells)
            with as_measured(setup.model), swapping(scheme):
                reseed(setup.model, [scheme], setup.settings.seed, scene.index)
                corners = found.corners(scene, region)
                for name, counts in found.count(scene, corners, batch_size).items():
                    rows, columns = found.counted(scene, name, region)
                    total = entropy_sums(counts[:, rows, columns])
                    sums.setdefault(name, GroupSums()).add(
                        scene.group, *(total / total[2] if cells == "inner" else total)
                    )
            n_windows += len(corners)
            n_images += 1
    results = {
        name: LayerLabels(
            one.estimate(lambda total: ratio(total[0], total[2])),
            one.estimate(lambda total: ratio(total[1], total[2])),
            found.strides(name),
        )
        for name, one in sums.items()
    }
    return ByLayer(results, found.unmeasured, n_images, n_windows, tuple(found.remarks()), "windows")


def entropy_sums(counts: Tensor) -> Tensor:
    """What meanE and disR are made of.

    Args:
        counts: `(K, rows, columns)`, how often each cell got each label.

    Returns:
        `(3,)` float64: sum of the cells' entropies in bits, cells whose entropy is above zero, cells labelled at all.
    """
    total = counts.sum(0)
    entropy = torch.zeros(total.shape, dtype=torch.float64, device=counts.device)
    for label in counts:  # one by one: there may be a thousand labels
        share = label.double() / total.clamp_min(1)
        entropy -= torch.xlogy(share, share) / torch.tensor(2.0, dtype=torch.float64).log()
    mixed = counts.amax(0) < total
    return torch.stack([entropy.sum(), mixed.double().sum(), (total > 0).double().sum()])


class _Labelled:
    """The layers that are labelled, and where windows lie.

    Attributes:
        specs: by layer, how to read its map.
        unmeasured: why not, by layer.
        step: px from one window to the next, rows and columns.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str],
        window: Size,
        channels: int,
        step: int | None,
        cells: Cells,
    ) -> None:
        self.model, self.window, self.inner = model, window, cells == "inner"
        geometry = trace(model, layers, window, channels=channels)
        self.period = geometry.period
        tenths = (max(p, round(n / 10 / p) * p) for n, p in zip(window, self.period, strict=True))
        self.step = tuple(tenths) if step is None else (step, step)
        self.specs: dict[str, MapSpec] = {}
        self.unmeasured: dict[str, str] = {}
        for name, spec in self._readable(geometry, channels).items():
            reason = self._reason(spec, geometry.unmeasured.get(name))
            if spec is None or reason is not None:
                self.unmeasured[name] = reason or ""
            else:
                self.specs[name] = spec
        if not self.specs:
            raise LayerError(f"no layer has labels to compare: {by_layer(self.unmeasured)}")

    def _readable(self, geometry: Geometry, channels: int) -> dict[str, MapSpec | None]:
        """Every layer asked for; one that sees the whole input is read by its size, where its cells divide the window."""
        found: dict[str, MapSpec | None] = {name: geometry.maps.get(name) for name in geometry}
        if None in found.values():
            parameter = next(self.model.parameters(), torch.zeros(0))
            with as_measured(self.model):
                taps = {tap.name: tap for tap in discover(self.model, parameter.new_zeros(1, channels, *self.window))}
            found = {name: spec or self._by_size(taps[name]) for name, spec in found.items()}
        return found

    def _by_size(self, tap: Tap) -> MapSpec | None:
        if len(tap.shape) != 4 or any(Fraction(2 * n, s) % 1 for n, s in zip(self.window, tap.shape[2:], strict=True)):
            return None
        _, channels, h, w = tap.shape
        return MapSpec(tap, (2, 3), (Fraction(self.window[0], h), Fraction(self.window[1], w)), (h, w), channels)

    def _reason(self, spec: MapSpec | None, reason: str | None) -> str | None:
        if spec is None:
            return reason
        if spec.channels < 2:
            return "a map of one channel has one label"
        if any(step % s for step, s in zip(self.step, spec.stride, strict=True)):
            stride = " x ".join(str(s) for s in spec.stride)
            return f"a step of {self.step[0]} x {self.step[1]} px is not a whole number of its cells ({stride} px)"
        return None

    def strides(self, name: str) -> tuple[float, float]:
        """Px from one cell of a layer to the next, rows and columns."""
        y, x = self.specs[name].stride
        return float(y), float(x)

    def corners(self, scene: Scene, region: int | None) -> list[tuple[int, int]]:
        """Corners (y, x) of windows over the middle of an image, px: from the middle's own corner on, or in its middle.

        Raises:
            ImagesError: the image, or the region, is smaller than a window.
        """
        rows = []
        for n, size, step in zip(scene.size, self.window, self.step, strict=True):
            inside = min(n, region or n)
            if inside < size:
                raise ImagesError(
                    f"{scene.called} is {scene.size[0]}x{scene.size[1]} px, of which {inside} are covered: a window "
                    f"of {size} px does not fit; use larger images, a larger region or a smaller window"
                )
            covered = size + (inside - size) // step * step
            first = (n - inside) // 2 if self.inner else (n - covered) // 2
            rows.append(range(first, first + covered - size + 1, step))
        return [(y, x) for y in rows[0] for x in rows[1]]

    def counted(self, scene: Scene, name: str, region: int | None) -> tuple[slice, slice]:
        """The rows and columns of a layer's counts that count.

        Raises:
            ImagesError: there are none.
        """
        if not self.inner:
            return slice(None), slice(None)
        found = []
        for n, size, stride in zip(scene.size, self.window, self.specs[name].stride, strict=True):
            inside = min(n, region or n)
            first, end = ceil(size / stride), ceil((inside - size) / stride)
            if end <= first:
                raise ImagesError(
                    f"{scene.called} is {scene.size[0]}x{scene.size[1]} px, of which {inside} are covered: no cell of {name} "
                    f"lies {size} px or more from every border, which those that count must; use images and a region of more "
                    f"than {2 * size} px, a smaller window, or count all cells"
                )
            found.append(slice(first, end))
        return found[0], found[1]

    def count(self, scene: Scene, corners: Sequence[tuple[int, int]], batch_size: int) -> dict[str, Tensor]:
        """`(K, rows, columns)` counts of labels by layer, over the cells that windows at `corners` cover."""
        (top, left), (bottom, right) = corners[0], corners[-1]
        counts: dict[str, Tensor] = {}
        for start in range(0, len(corners), batch_size):
            part = corners[start : start + batch_size]

            def visit(tap: Tap, tensor: Tensor, part: Sequence[tuple[int, int]] = part) -> None:
                spec = self.specs[tap.name]
                labels = spec.as_map(tensor).argmax(1)
                size = [
                    int((b - a) / s) + n
                    for a, b, s, n in zip((top, left), (bottom, right), spec.stride, spec.size, strict=True)
                ]
                if tap.name not in counts:
                    counts[tap.name] = torch.zeros(spec.channels, *size, dtype=torch.int32, device=tensor.device)
                for one, (y, x) in zip(labels, part, strict=True):
                    row, column = int((y - top) / spec.stride[0]), int((x - left) / spec.stride[1])
                    window = counts[tap.name][:, row : row + spec.size[0], column : column + spec.size[1]]
                    window.scatter_add_(0, one.unsqueeze(0), torch.ones_like(one, dtype=torch.int32).unsqueeze(0))

            height, width = self.window
            batch = torch.stack([scene.image[:, y : y + height, x : x + width] for y, x in part])
            run_to(self.model, batch.to(scene.device, scene.dtype), [spec.tap for spec in self.specs.values()], visit)
        return counts

    def remarks(self) -> Iterator[str]:
        """What people must know of the windows."""
        if not self.inner:
            yield "cells near the region's border count too, which few windows or one alone hold: numbers depend on its size"
        yield f"windows of {self.window[0]} x {self.window[1]} px, {self.step[0]} x {self.step[1]} px apart"
        if any(step % p for step, p in zip(self.step, self.period, strict=True)):
            yield f"the step is no multiple of the total stride ({self.period[0]} x {self.period[1]} px): aliasing has a part in this"
