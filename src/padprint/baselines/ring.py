"""Padding-ring NMSE: how wrong the cells are that a padding scheme invents, at every operator of a network that pads.

The network is run on windows of an image with NaN for all of its padding: what is not NaN in a map is what the scene
alone gives. The middle of each map that enters a padding operator is cut out, padded by a scheme, and the ring of new
cells is compared with the cells that are really there. This measures the scheme; how much the network makes of its
errors, the pattern tells.

Source: the evaluation in "Depth-wise auto-regressive linear prediction padding in tiled CNN processing of 2D spatial
data", as its public code does it (github.com/hamk-uas/linear-prediction-padding-paper, eval_layer_nmse.py): 28 x 28 cells
from the middle of each map, a ring one cell wide, windows at the four corners of an image, and NMSE = sum of the mean
squared errors / sum of the variances of the true ring around its own mean, each for one image and channel. There the
network is a valid one; NaN padding makes any network valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import nan
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from padprint.errors import ImagesError, ModelError, PaddingError
from padprint.images.photographs import Images
from padprint.measuring.checked import reseed
from padprint.measuring.options import OWN, LoadOptions, Paddings, check_counts, schemes_by_name
from padprint.measuring.session import Scene, Setup
from padprint.network.calls import Call, Interceptor
from padprint.network.layers import one_pass
from padprint.network.preserved import as_measured
from padprint.padding import Scheme, make
from padprint.padding.operators import Windowed, read_call
from padprint.padding.scheme import available
from padprint.padding.swap import channels_of, fixed, title, untrained
from padprint.padding.windowed import supply_cells
from padprint.results.estimates import ByLayer, GroupSums, ratio
from padprint.results.measurement import Estimate
from padprint.support import frames, wording
from padprint.support.axes import map_form, times
from padprint.support.axes import window as part_of
from padprint.support.typed import BESIDE
from padprint.support.wording import first_line

if TYPE_CHECKING:
    from typing_extensions import Unpack

SIZE = 28
WINDOW = {1: 1 << 15, 2: 768, 3: 96}
"""Px along each side of a window, by axes of space."""
FEWEST = 4
"""Cells along each side of a crop of a map, below which a map is not measured."""


@dataclass(frozen=True)
class LayerRing:
    """How wrong the cells are that schemes supply to one padding operator.

    Attributes:
        channels: of the map that enters it.
        size: cells along each side of the part that was padded.
        nmse: by scheme: squared error over the variance of the true ring; 1 is what the ring's own mean would score. NaN
            for the network's own padding where that supplies no cells that could be compared.
    """

    HEADERS: ClassVar[tuple[str, ...]] = ("channels", "cells", "padding", "NMSE [95 %]")
    channels: int
    size: int
    nmse: dict[str, Estimate]
    axes: int = field(default=2, metadata=BESIDE)

    def cells(self) -> list[tuple[str, ...]]:
        """Rows for people, without the operator's name."""
        about = (str(self.channels), times([self.size] * self.axes, " x "))
        return [(*about, name, wording.interval(one)) for name, one in self.nmse.items()]

    def rows(self) -> list[dict[str, Any]]:
        """One row for each padding: channels, cells (along each side), padding, nmse with _low and _high."""
        about = {"channels": self.channels, "cells": self.size}
        return [{**about, "padding": name, **frames.estimate("nmse", one)} for name, one in self.nmse.items()]


def ring_nmse(
    model: nn.Module,
    images: Images,
    padding: Sequence[str | Scheme] = (OWN,),
    *,
    window: int | None = None,
    size: int = SIZE,
    width: int = 1,
    grid: int = 2,
    **options: Unpack[LoadOptions],
) -> ByLayer[LayerRing]:
    """Measure how wrong padding is at every operator of a network that pads.

    Padding made of slices and `torch.cat`, which cannot be told from other uses of these functions, stays as it is.

    Args:
        model: see `padprint.measure`.
        images: likewise; at least as large as a window.
        padding: schemes to measure, by name or as schemes; ``"own"`` is what each operator does itself.
        window: px along each side of the windows on which the network runs; None: 768 (32768 of waveforms, 96 of volumes), or the
            shortest side of the first image where that is less. Deep maps have cells that no padding reaches in large windows only.
        size: cells along each side of the part of a map that is padded; as many as there are where a map has fewer.
        width: of the ring, cells.
        grid: windows along each side of an image, spread from edge to edge.
        **options: see `padprint.measure`.

    Returns:
        By operator in the order in which they run: the module's name, then the operator's.

    Raises:
        ImagesError: an image is smaller than a window; and see `padprint.measure`.
        ModelError: the model fails on a window, or a number makes no sense.
        PaddingError: no such scheme, one that does more than supplying cells, or cannot supply so many.
    """
    check_counts(1, size=size, width=width, grid=grid, window=1 if window is None else window)
    setup = Setup.of(model, images, options, LoadOptions.__annotations__)
    schemes = schemes_by_name(padding, setup.settings.seed)
    for scheme in schemes.values():
        if scheme is not None and not _supplies(scheme):
            raise PaddingError(
                f"{title(scheme)} padding changes what operators do, and its cells alone do not say how wrong it is; leave it out"
            )
    rings = _Rings(schemes, size, width)
    n_images = n_windows = 0
    with setup.opened() as opened:
        for scene in opened:
            window = window or min(WINDOW[len(scene.size)], *scene.size)
            with as_measured(setup.model):
                reseed(setup.model, schemes.values(), setup.settings.seed, scene.index)
                for part in _windows(scene, window, grid):
                    rings.see(setup.model, part.to(scene.device, scene.dtype), scene.group)
                    n_windows += 1
            n_images += 1
    return ByLayer(rings.results(), rings.unmeasured, n_images, n_windows, tuple(rings.remarks()), "windows")


def ring_errors(truth: Tensor, padded: Tensor, width: int = 1) -> tuple[Tensor, Tensor]:
    """Squared error and variance of a ring of cells, averaged over its cells and summed over images and channels.

    Args:
        truth: `(B, C, n, ...)`, the ring of `width` cells included.
        padded: the same, its ring as a scheme supplies it.
        width: of the ring.

    Returns:
        Sum of mean squared errors, and sum of variances of the true ring around its mean.
    """
    ring = torch.ones(truth.shape[2:], dtype=torch.bool, device=truth.device)
    ring[(slice(width, -width),) * ring.dim()] = False
    true, supplied = truth[..., ring].double(), padded[..., ring].double()
    variance = (true - true.mean(-1, keepdim=True)).square().mean(-1)
    return (supplied - true).square().mean(-1).sum(), variance.sum()


# ------------------------------------------------------------------------------------------------------- one network


class _Rings:
    """Sums for every padding operator and scheme."""

    def __init__(self, schemes: Paddings, size: int, width: int) -> None:
        self.schemes, self.size, self.width = schemes, size, width
        self.shapes: dict[
            str, tuple[int, int, int]
        ] = {}  # by operator: channels, cells along a side, and how many axes there are
        self.sums: dict[str, dict[str, GroupSums]] = {}  # by operator, by scheme
        self.unmeasured: dict[str, str] = {}
        self._sized: dict[tuple[str, int], Scheme] = {}

    def see(self, model: nn.Module, x: Tensor, group: int) -> None:
        """Run the network on a window `(1, C, *space)` with NaN for its padding, and measure what enters each operator."""

        def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
            op = read_call(func, args, kwargs)
            if op is None or not op.supplies:
                return func(*args, **kwargs)
            self._operator(call, op, args[2] if func is supply_cells else None, group, x.dim() - 2)
            fill = dict.fromkeys(op.axes, nan) if op.input.is_floating_point() else {}
            return op.apply(op, op.padded(fill))

        try:
            with Interceptor(handle):
                one_pass(model, x)
        except (ImagesError, ModelError, PaddingError):
            raise
        except Exception as error:
            raise ModelError(f"the model fails on a window of {tuple(x.shape)}: {first_line(error)}") from error

    def _operator(self, call: Call, op: Windowed, replaced: Scheme | None, group: int, axes: int) -> None:
        name = f"{call.module or '(model)'} {call.operator}{f' {call.ordinal + 1}' if call.ordinal else ''}"
        truth = self._truth(op, axes, replaced is not None)
        if isinstance(truth, str):
            self.unmeasured[name] = truth
            return
        inner: Tensor = truth[part_of((self.width,) * axes, [n - 2 * self.width for n in truth.shape[2:]])]
        self.shapes[name] = truth.shape[1], inner.shape[-1], axes
        for label, scheme in self.schemes.items():
            sums = self.sums.setdefault(name, {}).setdefault(label, GroupSums())
            own = _own(op, replaced) if scheme is None else self._for(scheme, name, op)
            if own is not None:
                pads = ((self.width, self.width),) * axes
                try:
                    padded = own.pad(inner.contiguous(), pads)
                except PaddingError as error:
                    raise PaddingError(f"{name}, padded by {label}: {error}") from error
                sums.add(group, *ring_errors(truth, padded, self.width))

    def _truth(self, op: Windowed, axes: int, replaced: bool) -> Tensor | str:
        """The middle of a map, ring included, where no padding reaches it; or why there is none."""
        reason = None if replaced else fixed(op)
        if reason is not None:
            return reason
        if op.input.dim() != axes + 2 or not set(op.axes) <= set(range(-axes, 0)):
            return f"what it pads is not a {map_form(axes)} map"
        free = ~op.input.isnan().any(0).any(0)
        if not bool(free.any()):
            return "no cell is free of padding: something before it sees the whole input, or the window is too small"
        places = free.nonzero()
        first, end = places.amin(0).tolist(), (places.amax(0) + 1).tolist()
        have = [b - a for a, b in zip(first, end, strict=True)]
        n = min(self.size, *(one - 2 * self.width for one in have))
        if n < min(FEWEST, self.size):
            return (
                f"only {times(have, ' x ')} cells of {times(op.input.shape[2:], ' x ')} are free of "
                f"padding, and {min(FEWEST, self.size) + 2 * self.width} are needed: a larger window (--window) has more"
            )
        n += 2 * self.width
        corner = [a + (one - n) // 2 for a, one in zip(first, have, strict=True)]
        truth: Tensor = op.input[part_of(corner, (n,) * axes)]
        return "padding reaches cells in the middle of its map" if truth.isnan().any() else truth

    def _for(self, scheme: Scheme, name: str, op: Windowed) -> Scheme:
        own = scheme.for_layer(name)
        if not own.learned or next(own.parameters(), None) is not None:
            return own
        key = (title(scheme), channels_of(op))
        if key not in self._sized:
            self._sized[key] = own.sized(channels_of(op)).to(op.input.device)
        return self._sized[key]

    def results(self) -> dict[str, LayerRing]:
        """By operator."""
        return {
            name: LayerRing(
                channels, size, {label: one.estimate(lambda total: ratio(*total)) for label, one in sums.items()}, axes
            )
            for name, sums in self.sums.items()
            for channels, size, axes in [self.shapes[name]]
        }

    def remarks(self) -> Iterator[str]:
        """What people must know of the schemes."""
        for scheme in self.schemes.values():
            if scheme is not None and scheme.untrained:
                yield untrained(scheme)


def _supplies(scheme: Scheme) -> bool:
    """Whether all that a scheme does is to supply cells."""
    return type(scheme).run is Scheme.run


def _own(op: Windowed, replaced: Scheme | None) -> Scheme | None:
    """The scheme that does what the operator does itself; None where it supplies no cells."""
    if replaced is not None:
        return replaced if _supplies(replaced) else None
    if op.mode == "constant":
        return make(f"constant:value={op.fill}")
    return make(op.mode) if op.mode in available() else None


def _windows(scene: Scene, size: int, grid: int) -> Iterator[Tensor]:
    """Windows `(1, C, size, ...)` spread over an image from edge to edge; each position once.

    Raises:
        ImagesError: the image is smaller.
    """
    spare = [n - size for n in scene.size]
    if min(spare) < 0:
        raise ImagesError(
            f"{scene.called} is {times(scene.size)} px, smaller than a window of {size} px: "
            "use larger images or a smaller window"
        )
    steps = [sorted({free * i // max(1, grid - 1) for i in range(grid)}) for free in spare]
    for corner in product(*steps):
        yield scene.image[part_of(corner, (size,) * len(corner))][None]
