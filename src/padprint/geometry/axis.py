"""One axis of space of a network's geometry, read from runs over strips of input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil, lcm, nan, prod
from typing import Any

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.geometry.axis_layer import AxisLayer
from padprint.geometry.fading import OPEN, untouched
from padprint.geometry.growth import GROWTH, LARGEST_STRIDE, along_strip, grown_dims, grown_strips, joining, strides_of
from padprint.geometry.receptive import fields_from, offset_of
from padprint.geometry.strip import SQUARE, Run, Strip, run_strip
from padprint.geometry.witness import Expected, Lengths, find_by_change
from padprint.network.calls import Call
from padprint.network.layers import Leaf, Tap
from padprint.support.axes import Size
from padprint.support.reasons import (
    Reason,
    depends_on_size,
    grows_unevenly,
    lost_on,
    never_repeats,
    one_size,
    padded_in_parts,
    reaches_far,
    sees_all,
)

# by axes of space, where a network is the dearer the more it has
_LESS = {1: 5, 2: 5, 3: 10}  # times by which strips grow less that cannot be collapsed
_LONGEST = {1: 1 << 18, 2: 1 << 15, 3: 1 << 15}  # px: a layer whose rims still meet on a strip so long is out of reach
_SHORTER = {1: 1, 2: 8, 3: 32}  # times by which strips are shorter that cannot be collapsed
_NARROW = {1: 64, 2: 64, 3: 32}  # px
_PERIODS = 3  # total strides that are tried, each the one before with what the second witness found
_SIZED = 1e-3  # of a layer's mean size: by how much features may differ with the input's size by rounding in single precision
_BUDGET = 1 << 21  # input cells of the receptive-field probe, which runs one strip for each phase


class Axis:
    """One axis of a model that `cpu_copy` made: shapes at once, then `trace` for rims and receptive fields.

    Attributes:
        joins: by call of several maps, the pixel on which the first cell's field of each of them is centred.

    Args:
        model: the copy; it is run on strips of two lengths, in evaluation mode and without gradients.
        taps: the layers; a run ends when all were reached.
        crop: size along each axis, px.
        channels: of the input.
        axis: of space, 0 the first one.
        dtype: that the copy runs in.

    Raises:
        ModelError: the model runs on no strip at all.
    """

    def __init__(
        self, model: nn.Module, taps: Sequence[Tap], crop: Size, channels: int, axis: int, dtype: torch.dtype
    ) -> None:
        axes = len(crop)
        self.crop, self._across = crop[axis], (*crop[:axis], *crop[axis + 1 :])
        best = -1, -1
        full, less = GROWTH[axes], GROWTH[axes] // _LESS[axes]
        narrow = tuple(_narrow(n, _NARROW[axes]) for n in self._across)
        widths: dict[Size | None, int] = {None: full, narrow: less, self._across: less, SQUARE: self.crop}
        for width, step in widths.items():
            strip = Strip(model, axis, axes, channels, width, dtype)
            short, long, by = grown_strips(strip, self.crop, step, taps)
            reached = short.leaves.keys() & long.leaves.keys()
            numbers = sum(leaf in reached for leaf in _holding_numbers(strip, self.crop, taps))
            if (len(reached), numbers) > best:
                best, self.strip, self._growth = (len(reached), numbers), strip, by
                self._short, self._long = short, long
            if numbers == len(taps):
                break
        if best[0] == 0:
            failed = long.error or short.error
            reasons = {"": one_size(failed)}
            raise ModelError(
                f"the model runs at the crop's size and not at others: {failed}; no larger scene can stand in for its padding "
                "(`padprint baseline constant` tells what such a network shows of position)",
                reasons=reasons,
            )
        self._error = self._short.error or self._long.error
        self._along = grown_dims(self._short, self._long, strip=self.strip)
        self._length = self.crop
        self._suspects: dict[Leaf, Reason] = {}
        self._soft: dict[Leaf, str] = {}
        self.lost: dict[str, str] = {}
        self.joins: dict[Call, tuple[Fraction, ...]] = {}
        strides = strides_of(self._short, self._long, self._growth)
        self.period = lcm(1, *(n for n in strides if n <= LARGEST_STRIDE[axes]))
        self._taps = list(taps)
        self._shapes()

    def trace(self, taps: Sequence[Tap], others: Sequence[Axis]) -> None:
        """Find the rims and receptive fields of `taps`, all of them maps; those that have none get a reason.

        Args:
            taps: the layers.
            others: the other axes.
        """
        self._find(taps)
        for _ in range(_PERIODS):
            longer = self._check_by_change(taps, others)
            if longer is None:
                break
            self.period = longer  # cells repeat after more px than sizes tell
            self._shapes()
            self._find(taps)
        else:
            for tap in taps:
                self._set(tap.leaf, reason=never_repeats())
        self._refuse_sized(taps)

    def operators_in(self, module: str) -> set[str]:
        """Names of the operators that ran in a module and in those inside it."""
        inside = f"{module}."
        return {call.operator for call in self._short.shapes if call.module == module or call.module.startswith(inside)}

    def _find(self, taps: Sequence[Tap]) -> None:
        self._find_rims([tap for tap in taps if self.layers[tap.leaf].reason is None])
        self._find_fields([tap for tap in taps if self.layers[tap.leaf].reason is None])

    def _shapes(self) -> None:
        self.layers = {tap.leaf: self._shape(tap, self._error) for tap in self._taps}

    def _shape(self, tap: Tap, error: str | None) -> AxisLayer:
        short, long = self._short.leaves.get(tap.leaf), self._long.leaves.get(tap.leaf)
        if short is None or long is None:
            return AxisLayer(reason=one_size(error))
        grown = along_strip(self.strip, short, long)
        if len(short) != len(long) or len(grown) != 1:
            return AxisLayer(flat=short == long)
        dim = grown[0]
        stride = Fraction(self._growth, long[dim] - short[dim])
        found = AxisLayer(dim, size=short[dim], stride=stride, period=self.period)
        if self.period % stride:
            cells = f"{short[dim]} cells at {self.crop} px, {long[dim]} at {self.crop + self._growth} px"
            return replace(found, reason=grows_unevenly(cells))
        return found

    def _dims(self, taps: Sequence[Tap]) -> dict[Leaf, int]:
        return {tap.leaf: dim for tap in taps if (dim := self.layers[tap.leaf].dim) is not None}

    def _lengths(self, start: int, longest: int) -> Iterator[int]:
        """Strip lengths congruent to the crop, each about twice the last."""
        length = start
        while length < longest:
            yield length
            length += ceil(length / self.period) * self.period

    def _find_rims(self, taps: list[Tap]) -> None:
        longest = _LONGEST[self.strip.axes]
        if self.strip.width == SQUARE:
            longest = 4 * self.crop
        elif self.strip.width is not None:
            longest //= _SHORTER[self.strip.axes]
        self.lost = {}
        for length in self._lengths(self.crop + self.period, longest):
            if not taps:
                return
            self._length = length
            dims = self._dims(taps)
            run = run_strip(self.strip, length, taps, Run(True, along=self._along, dims=dims))
            if not all(tap.leaf in run.leaves for tap in taps) and self._lengthen_period(taps):
                self._find_rims(taps)
                return
            self.lost.update(run.lost)
            noisy = Run()
            if run.lost:
                noise = torch.Generator().manual_seed(length)
                noisy = Run(noise=noise, along=self._along, dims=dims)
                run_strip(self.strip, self.strip.pairs(length), taps, noisy)
            for tap in taps:
                self._settle(tap, run, noisy.masks.get(tap.leaf), length)
                if tap.leaf in run.soft and self.layers[tap.leaf].rim == OPEN:  # only the second witness can tell
                    self._soft[tap.leaf] = run.soft[tap.leaf]
                    self.lost.setdefault(run.soft[tap.leaf], "spreads NaN further than numbers")
                    self._set(tap.leaf, rim=(0, 0), exact=False)
            holed = [
                tap for tap in taps if self.layers[tap.leaf].rim != OPEN and _holed(tap, run, self.layers[tap.leaf])
            ]
            if holed:
                self._refuse_seams(holed, length)
            taps = [tap for tap in taps if self.layers[tap.leaf].rim == OPEN]
        for tap in taps:
            self._set(tap.leaf, reason=self._suspects.get(tap.leaf, reaches_far(self._length)))

    def _refuse_seams(self, taps: Sequence[Tap], length: int) -> None:
        """Refuse layers that padding reaches somewhere inside, at a place that moves with the input's length.

        A map that is worked on in parts, each padded, has a seam between them. A strip that is about twice as long
        tells it from a window with holes, whose rim is the same on every length.
        """
        longer = length + ceil(length / self.period) * self.period
        run = run_strip(self.strip, longer, taps, Run(True, along=self._along, dims=self._dims(taps)))
        for tap in taps:
            mask, layer = run.masks.get(tap.leaf), self.layers[tap.leaf]
            if mask is not None and untouched(mask.any(0), layer.phases) != layer.rim:
                self._set(tap.leaf, reason=padded_in_parts((length, longer)))

    def _lengthen_period(self, taps: Sequence[Tap]) -> bool:
        """Double the total stride until the network runs on strips that are longer by it: some take multiples of a size alone.

        Returns:
            Whether it is longer now.
        """
        known, longer, most = self.period, self.period, LARGEST_STRIDE[self.strip.axes]
        while longer <= most:
            run = run_strip(self.strip, self.crop + longer, taps, Run())
            if all(tap.leaf in run.leaves for tap in taps):
                break
            longer *= 2
        found = known < longer <= most
        if found:
            self.period = longer
            self.layers = {leaf: replace(layer, period=longer) for leaf, layer in self.layers.items()}
        return found

    def _settle(self, tap: Tap, run: Run, moved: Tensor | None, length: int) -> None:
        leaf, layer = tap.leaf, self.layers[tap.leaf]
        expected = layer.size + Fraction(length - self.crop) / layer.stride
        mask = run.masks.get(leaf)
        if mask is None or mask.shape[-1] != expected:
            reason = (
                lost_on(length, run.error)
                if mask is None
                else grows_unevenly(f"{mask.shape[-1]} cells where {expected} were expected at {length} px")
            )
            self._set(leaf, reason=reason, rim=(0, 0))
        elif leaf in run.reasons:
            # local operators too spoil a short strip throughout, but deeper ones on a longer strip
            sure = self._suspects.get(leaf) == run.reasons[leaf]
            self._suspects[leaf] = run.reasons[leaf]
            self._set(leaf, reason=run.reasons[leaf] if sure else None, rim=(0, 0) if sure else OPEN)
        else:
            touched = mask.any(0)
            if moved is not None and moved.shape == mask[:1].shape:
                touched = touched | moved[0]
            self._set(leaf, rim=untouched(touched, layer.phases), exact=not run.lost)

    def _find_fields(self, taps: list[Tap]) -> None:
        """Mark one input row in each of `period` strips; the cells it reaches give the receptive field to the pixel."""
        joined = joining(self._short, self._long, self._growth, self.strip)
        joins = {call: dim for call, (dim, _) in joined.items()}
        # what the marked rows reach, if it is as far as padding does, a period of rows, and one more to spare on each side
        need = max((ceil(sum((layer := self.layers[tap.leaf]).rim) * layer.stride) for tap in taps), default=0)
        start = self.crop + max(1, ceil(need / self.period) + 4 - self.crop // self.period) * self.period
        for length in self._lengths(start, _LONGEST[self.strip.axes]):
            if not taps or length * prod(self.strip.across(length)) * self.period > _BUDGET:
                return
            strip = self.strip.blank(length, self.period)
            first = (length - self.period) // 2
            rows = strip.movedim(2 + self.strip.axis, 1)
            for i in range(self.period):
                rows[i, first + i] = nan
            run = self._marked(strip, taps, joins)
            for call, masks in run.joined.items():
                self._join(call, masks, first, joined[call][1])
            self._blame([tap for tap in taps if (m := run.masks.get(tap.leaf)) is not None and bool(m.all())], strip)
            taps = [
                tap
                for tap in taps
                if self.layers[tap.leaf].reason is None and not self._field(tap.leaf, run.masks.get(tap.leaf), first)
            ]

    def _blame(self, taps: Sequence[Tap], strip: Tensor) -> None:
        """Give layers that a single input row reaches everywhere the operator that spreads it, if it does on two lengths."""
        if not taps:
            return
        run = run_strip(self.strip, strip, taps, Run(spread=True, along=self._along, dims=self._dims(taps)))
        for tap in taps:
            reason = run.reasons.get(tap.leaf)
            if reason is not None:
                sure = self._suspects.get(tap.leaf) == reason
                self._suspects[tap.leaf] = reason
                self._set(tap.leaf, reason=reason if sure else None)

    def _field(self, leaf: Leaf, mask: Tensor | None, first: int) -> bool:
        """Set the fields from what was touched; False where the touched cells meet the end of the map."""
        if mask is None or mask.shape[0] != self.period or not bool(mask.any()):
            return True
        if bool(mask[:, 0].any()) or bool(mask[:, -1].any()):
            return False
        self._set(leaf, fields=fields_from(mask, first, self.layers[leaf].phases) or ())
        return True

    def _marked(self, strips: Tensor, taps: Sequence[Tap], joins: dict[Call, int]) -> Run:
        """A run over strips of which each holds one row of NaN; one strip after another where a batch of them does not run."""
        run = run_strip(self.strip, strips, taps, Run(along=self._along, dims=self._dims(taps), joins=joins))
        if run.masks or run.error is None or len(strips) == 1:
            return run
        runs: list[Run] = []
        for strip in strips:
            one = run_strip(self.strip, strip[None], taps, Run(along=self._along, dims=self._dims(taps), joins=joins))
            if not one.masks:
                return run
            runs.append(one)
        leaves = set.intersection(*(set(one.masks) for one in runs))
        calls = set.intersection(*(set(one.joined) for one in runs))
        run.masks = {leaf: torch.cat([one.masks[leaf] for one in runs]) for leaf in leaves}
        run.joined = {
            call: [torch.cat(masks) for masks in zip(*(one.joined[call] for one in runs), strict=True)]
            for call in runs[0].joined
            if call in calls
        }
        return run

    def _join(self, call: Call, masks: Sequence[Tensor], first: int, stride: Fraction) -> None:
        """Note where the inputs of a call are centred; those that reach the strip's ends are not known on this length."""
        phases = self.period / stride
        if phases.denominator == 1:
            found = [fields_from(mask, first, int(phases)) for mask in masks]
            if None not in found:
                self.joins[call] = tuple(offset_of(one, stride) for one in found if one is not None)

    def _check_by_change(self, taps: Sequence[Tap], others: Sequence[Axis]) -> int | None:
        """Widen rims by what the second witness sees, and refuse what it contradicts.

        Returns:
            A longer total stride, where shifts by the one found change more than where cells lie.
        """
        expected = {}
        for tap in taps:
            layer, across = self.layers[tap.leaf], [other.layers[tap.leaf].dim for other in others]
            if layer.reason is None and layer.dim is not None and None not in across:
                dims = tuple(dim for dim in across if dim is not None)
                expected[tap.leaf] = Expected(layer.dim, layer.stride, layer.phases, layer.rim, layer.size, dims)
        taps = [tap for tap in taps if self.layers[tap.leaf].reason is None]
        periods = tuple(other.period for other in others)
        lengths = Lengths(self.crop, self._across, self._length, self.period, 4 if self.lost else 1, periods)
        found = find_by_change(self.strip, lengths, expected, taps)
        if found.error is not None:
            for leaf in expected:
                self._set(leaf, exact=False)
        if found.period is not None:
            return found.period
        for leaf in self._soft.keys() - found.layers.keys():
            if self.layers[leaf].reason is None:
                self._set(leaf, reason=sees_all(self._soft[leaf], sure=False))
        blame = "; ".join(f"{call} {what}" for call, what in list(self.lost.items())[:3])
        for leaf, one in found.layers.items():
            if one.reason is not None:
                self._set(leaf, reason=one.reason.more(blame and f" (it may be that {blame})"))
                continue
            seen, rim = one.rim or (0, 0), self.layers[leaf].rim
            if seen[0] > rim[0] or seen[1] > rim[1]:
                rim = max(seen[0], rim[0]), max(seen[1], rim[1])
                self._set(leaf, rim=rim, seen=seen, wider=True, exact=False, fields=())
            else:
                self._set(leaf, seen=seen)
        return None

    def _refuse_sized(self, taps: Sequence[Tap]) -> None:
        """Refuse layers whose cells beyond the rims are others on a much longer strip that starts with the same content.

        Layers of which all is known are believed.
        """
        layers = {tap: layer for tap in taps if (layer := self.layers[tap.leaf]).reason is None}
        doubted = [tap for tap, layer in layers.items() if layer.wider or not layer.exact]
        if not doubted:
            return
        once, again, long = Run(values={}), Run(values={}), Run()
        for run in (once, again):
            run_strip(self.strip, self.strip.content(self.crop), doubted, run)
        long.start = once.values or {}
        run_strip(self.strip, self.strip.content(self.crop + self._growth), doubted, long)
        for tap in doubted:
            apart, layer = long.apart.get(tap.leaf), layers[tap]
            if apart is None or _differ(once, again, tap.leaf):  # else it draws random numbers
                continue
            within = apart[layer.rim[0] : max(0, layer.size - layer.rim[1])]
            if bool((within > _SIZED).any()):
                self._set(tap.leaf, reason=depends_on_size(self.crop + self._growth))

    def _set(self, leaf: Leaf, **changes: Any) -> None:
        self.layers[leaf] = replace(self.layers[leaf], **changes)


def _holding_numbers(strip: Strip, length: int, taps: Sequence[Tap]) -> list[Leaf]:
    """Layers without NaN of the network's own: on a strip of one cell it may divide by the cells across less one."""
    run = Run(values={})
    run_strip(strip, strip.content(length), taps, run)
    return [leaf for leaf, tensor in (run.values or {}).items() if not bool(tensor.isnan().any())]


def _narrow(across: int, least: int) -> int:
    """A width in px of strips for networks that cannot be collapsed: like the crop's modulo the usual total strides."""
    return across if across <= 2 * least else least + across % least


def _differ(one: Run, two: Run, leaf: Leaf) -> bool:
    """Whether two runs over the same strip gave a layer other numbers, or none."""
    found = [run.values.get(leaf) if run.values else None for run in (one, two)]
    return found[0] is None or found[1] is None or bool(((found[0] != found[1]) & (found[0] == found[0])).any())


def _holed(tap: Tap, run: Run, layer: AxisLayer) -> bool:
    """Whether a period or more of cells within a rim is untouched."""
    mask = run.masks.get(tap.leaf)
    if mask is None:
        return False
    touched = mask.any(0)
    before, after = layer.rim
    return any(
        untouched(side, layer.phases) != OPEN
        for side in (touched[:before], touched[len(touched) - after :])
        if len(side) and layer.reason is None
    )
