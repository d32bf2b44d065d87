"""Shift consistency: whether a network says the same of two crops of a scene that lie a few pixels apart.

Two things make it differ: aliasing (strides sample another phase) and the border (other pixels lie next to it). With
optimal padding the second is gone, so that what is left is aliasing, and the difference is the border's part.

Source: Zhang, "Making convolutional networks shift-invariant again", ICML 2019 (consistency: how often the top class of
two crops agrees, both offsets uniform over 32 px; github.com/adobe/antialiased-cnns). The change of feature maps, and
optimal padding as the control, are padprint's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import sub
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from padprint.errors import ImagesError
from padprint.geometry.layer import MapSpec
from padprint.images.photographs import Images
from padprint.measuring.checked import Checked
from padprint.measuring.crop_plan import CropPlan
from padprint.measuring.crops import Batch, batch_of, paddings, start
from padprint.measuring.forwards import swapping
from padprint.measuring.options import check_counts
from padprint.measuring.session import Scene, Session, Setup
from padprint.network.layers import leaves_of, one_pass
from padprint.network.preserved import as_measured
from padprint.padding import Scheme
from padprint.results.estimates import ByLayer, Contrast, GroupSums, ratio, share_of
from padprint.results.measurement import Estimate
from padprint.support.axes import Size, times, window

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padprint.measuring.options import Options

SHIFT = 32
PAIRS = 4


@dataclass(frozen=True)
class LayerShift:
    """How far a layer's maps of two shifted crops differ where they show the same part of the scene.

    Attributes:
        change: rms difference, in units of the features' rms. The maps are laid over each other to the nearest cell.
    """

    HEADERS: ClassVar[tuple[str, ...]] = ("change padded [95 %]", "change optimal [95 %]", "added by padding [95 %]")
    change: Contrast

    def cells(self) -> list[tuple[str, ...]]:
        """A row for people, without the layer's name."""
        return [self.change.cells()]

    def rows(self) -> list[dict[str, Any]]:
        """One row: change_padded, change_optimal and change_added, each with _low and _high."""
        return [dict(self.change.columns("change"))]


@dataclass(frozen=True, repr=False)
class ShiftConsistency(ByLayer[LayerShift]):
    """Shift consistency of a network, and by layer how far its maps move.

    Attributes:
        classes: how often the top class of the two crops agrees; None for a network without classes, or, the control,
            without a layer that all of the output depends on.
        classes_from: the layer whose optimally padded map stands in for the padded one in the control.
    """

    classes: Contrast | None = None
    classes_from: str | None = None

    def lines(self) -> list[str]:
        """What belongs under the table."""
        if self.classes is None:
            return super().lines()
        padded, optimal, added = self.classes.cells()
        control = f"; optimal padding up to {self.classes_from}: {optimal}, difference {added}"
        return [f"top class agrees: {padded}{control if self.classes_from else ''}", *super().lines()]


def shift_consistency(
    model: nn.Module,
    images: Images,
    *,
    shift: int = SHIFT,
    step: int = 1,
    padding: str | Scheme | None = None,
    **options: Unpack[Options],
) -> ShiftConsistency:
    """Measure how consistent a network is under shifts, with its padding and without.

    Args:
        model: see `padprint.measure`.
        images: likewise; they must hold a crop with its margins and the shift.
        shift: both crops of a pair lie up to so many px, exclusive, behind a common corner along each axis (below it and to its right).
        step: shifts are multiples of so many px; multiples of the total stride leave no aliasing.
        padding: see `padprint.measure`.
        **options: see `padprint.measure`. `crops_per_image` counts pairs of crops, 4 unless said otherwise.

    Raises:
        ImagesError, LayerError, ModelError, PaddingError: see `padprint.measure`. A shift or step below 1 is an error too.
    """
    check_counts(1, shift=shift, step=step)
    options.setdefault("crops_per_image", PAIRS)
    setup = Setup.of(model, images, options)
    schemes = paddings(padding, setup.settings.seed)
    layers: dict[str, GroupSums] = {}
    classes = _Classes()
    session: Session | None = None
    n_images = n_pairs = 0
    with setup.opened() as opened:
        for scene in opened:
            with as_measured(setup.model):
                session = session or start(opened, scene, schemes)
                network = session.network
                network.reseed(session.plan.seed, scene.index)
                for corners in _pairs(session.plan, scene, shift, step):
                    one, two = (_view(network, scene, corner) for corner in corners)
                    moved = [b - a for a, b in zip(*corners, strict=True)]
                    for name, spec in network.geometry.maps.items():
                        cells = tuple(round(d / s) for d, s in zip(moved, spec.stride, strict=True))
                        kinds = (one.padded, two.padded), (one.optimal, two.optimal)
                        sums = [change_squares(a[name][0], b[name][0], cells) for a, b in kinds]
                        layers.setdefault(name, GroupSums()).add(scene.group, *torch.cat(sums))
                    classes.add(network, scene.group, one, two)
                    n_pairs += 1
                network.count_image(scene.called)
            n_images += 1
        assert session is not None  # noqa: S101  # where there is no image, that is an error
        session.finish()
    moves = {name: LayerShift(contrast(one, _root_ratio)) for name, one in layers.items()}
    unmeasured = session.network.geometry.unmeasured
    return ShiftConsistency(
        moves, unmeasured, n_images, n_pairs, classes.remarks(), "pairs of crops", classes.result(), classes.layer
    )


def change_squares(one: Tensor, two: Tensor, cells: Sequence[int]) -> Tensor:
    """Sums of squares behind the change of a map under a shift, float64.

    Args:
        one: map `(C, *cells)` of the first crop.
        two: map of the second crop, which lies so many `cells` further on along each axis.
        cells: may be negative.

    Returns:
        `(2,)`: squared difference, and mean of both maps' squares, over the cells that both show.
    """
    a, b = one.double(), two.double()
    for axis, d in enumerate(cells, start=1):
        n = max(0, a.shape[axis] - abs(d))
        a, b = (
            a.narrow(axis, min(max(d, 0), a.shape[axis] - n), n),
            b.narrow(axis, min(max(-d, 0), b.shape[axis] - n), n),
        )
    return torch.stack([(a - b).square().sum(), (a.square().sum() + b.square().sum()) / 2])


def contrast(sums: GroupSums, statistic: Callable[[Tensor], Tensor]) -> Contrast:
    """A statistic of the first half of some sums (padded), of the second half (optimal), and the difference."""

    def padded(total: Tensor) -> Tensor:
        return statistic(total[: len(total) // 2])

    def optimal(total: Tensor) -> Tensor:
        return statistic(total[len(total) // 2 :])

    return Contrast(*map(sums.estimate, (padded, optimal, lambda total: padded(total) - optimal(total))))


def _root_ratio(total: Tensor) -> Tensor:
    return ratio(*total).sqrt()


def _pairs(plan: CropPlan, scene: Scene, shift: int, step: int) -> list[tuple[Size, Size]]:
    """Corners of pairs of crops, px: a common corner anywhere in the image, and two offsets from it.

    Raises:
        ImagesError: the image is too small.
    """
    free = [n - least - (shift - 1) // step * step for n, least in zip(scene.size, plan.smallest, strict=True)]
    if min(free) < 0:
        need = times([n + (shift - 1) // step * step for n in plan.smallest])
        raise ImagesError(
            f"{scene.called} is {times(scene.size)} px: a crop with its margins and a shift of {shift} px "
            f"needs {need} px; use larger images, a smaller crop, shift or margin, or earlier layers"
        )
    rng = np.random.default_rng((plan.seed, scene.index))
    pairs = []
    for _ in range(plan.crops):
        corner = [margin + int(rng.integers(n + 1)) for margin, n in zip(plan.before, free, strict=True)]
        steps = rng.integers(-(-shift // step), size=(2, len(free))).tolist()
        first, second = (tuple(at + d * step for at, d in zip(corner, own, strict=True)) for own in steps)
        pairs.append((first, second))
    return pairs


def _view(network: Checked, scene: Scene, corner: Size) -> Batch:
    """One crop anywhere in a scene, with its margins around it: the canvas moves with the crop, so phases agree."""
    plan = network.plan
    start = tuple(map(sub, corner, plan.before))
    x = network.forwards.placed(scene.image[window(start, plan.smallest)])
    return batch_of(network, scene, x, network.forwards.maps(x), [plan.before])


# ------------------------------------------------------------------------------------------------------ the top class


class _Classes:
    """Agreement of the top class, with padding and with the optimally padded map of a layer in the place of the padded one.

    Attributes:
        layer: the last one that all of the output depends on.
    """

    def __init__(self) -> None:
        self.layer: str | None = None
        self._sums = GroupSums()
        self._reason: str | None = None
        self._looked = False

    def add(self, network: Checked, group: int, one: Batch, two: Batch) -> None:
        """Classify two crops."""
        if self._reason is not None:
            return
        with swapping(*network.paddings.values()):
            outputs = [_output(network.model, batch.pixels) for batch in (one, two)]
            if outputs[0].dim() != 2 or outputs[0].shape[1] < 2:
                shape = "x".join(map(str, outputs[0].shape))
                self._reason = f"no top class: the output ({shape}) is not one row of scores"
                return
            if not self._looked:
                self._looked, self.layer = True, _bottleneck(network, one)
            agree = [_agree(*outputs), torch.nan]
            if self.layer is not None:
                put = partial(_output_from, network.model, network.geometry.maps[self.layer])
                agree[1] = _agree(*(put(batch.pixels, batch.optimal[self.layer]) for batch in (one, two)))
        self._sums.add(group, agree[0], 1.0, agree[1], 1.0)

    def result(self) -> Contrast | None:
        """Shares of pairs that agree."""
        if self._reason is not None:
            return None
        found = contrast(self._sums, lambda total: ratio(*total))
        a = found.added
        added = Estimate(a.value, max(-1.0, a.low), min(1.0, a.high), a.replicates)
        return Contrast(share_of(found.padded), share_of(found.optimal), added)

    def remarks(self) -> tuple[str, ...]:
        """Why there are no classes, or no control."""
        if self._reason is not None:
            return (self._reason,)
        if self.layer is None:
            return ("no control for the top class: the output does not depend on one of the layers alone",)
        return ()


def _agree(one: Tensor, two: Tensor) -> float:
    return float((one.argmax(1) == two.argmax(1)).double().mean())


def _output(model: nn.Module, x: Tensor) -> Tensor:
    """The first tensor of the model's output."""
    return next(tensor for _, tensor in leaves_of(one_pass(model, x)))


def _output_from(model: nn.Module, spec: MapSpec, x: Tensor, features: Tensor) -> Tensor:
    """The output for `x` with other features, `(B, C, *cells)`, in the place of a layer's map."""
    module = model.get_submodule(spec.tap.leaf.module)
    calls = 0

    def replace(*_: object) -> Tensor | None:
        nonlocal calls
        calls += 1
        axes = len(spec.dims)
        placed = features if len(spec.tap.shape) == axes + 2 else features.squeeze(1)
        return placed.movedim(tuple(range(-axes, 0)), spec.dims).clone() if calls == spec.tap.calls else None

    handle = module.register_forward_hook(replace)
    try:
        return _output(model, x)
    finally:
        handle.remove()


def _bottleneck(network: Checked, batch: Batch) -> str | None:
    """The last layer that all of the output depends on: with its map put in, the input does not matter any more."""
    for name, spec in reversed(network.geometry.maps.items()):
        if spec.tap.leaf.path or not spec.tap.leaf.module:
            continue
        put = partial(_output_from, network.model, spec)
        features = batch.padded[name]
        here, there = put(batch.pixels, features), put(torch.zeros_like(batch.pixels), features)
        if torch.equal(here, there):
            return name
    return None
