"""From a layer's moments to its measurement: every number of the definitions, with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import nan, sqrt

import torch
from torch import Tensor

from padprint.geometry.layer import LayerGeometry
from padprint.measuring.moments import LayerMoments
from padprint.measuring.parts import PartSums
from padprint.results import statistics
from padprint.results.channels import ChannelTest, position_test
from padprint.results.estimates import estimate_of
from padprint.results.measurement import Curve, Emergence, Estimate, LayerMeasurement, Profile
from padprint.results.pattern_size import corrected_mae, sizes
from padprint.results.statistics import Interval, jackknife
from padprint.support.axes import Sides, Size, along, side_names, space

DEAD = 4
"""Features whose standard deviation is below so many times their rounding error are called constant."""


def summarise(
    moments: LayerMoments,
    geometry: LayerGeometry,
    crop: Size,
    *,
    numeric_floor: float,
    residual: float | None,
    precision: float,
    parts: PartSums | None = None,
) -> LayerMeasurement:
    """All estimates of one layer.

    Args:
        moments: at least one crop.
        geometry: of a layer that can be measured.
        crop: size, pixels.
        numeric_floor: relative rms difference of F(x; *) seen from two places.
        residual: relative rms change of F(x; *) when the margin grows by half, where the margin is below the reach.
        precision: machine epsilon of the features' type.
        parts: of the same crops, of a layer that sees the whole map.
    """
    sums = _Sums(moments)
    size = sqrt(float(sums.power.sum() / sums.n))
    change = sqrt(float(sums.energy.sum() / sums.n) / sums.cells)
    notes = []
    rounding = 4 * max(numeric_floor, 4 * precision) * size
    constant = sums.deviation() <= DEAD * rounding
    silent = change <= rounding
    if constant:
        notes.append("the features do not vary (not calibrated, or a dead layer): ratios to noise are meaningless")
    if silent:
        notes.append("padding changes nothing here above rounding error")
    if residual is not None:
        notes.append(
            f"approximate: the margin is below the reach; F(x; *) moves by {residual:.1e} when it grows by half"
        )
    estimates = sums.estimates()
    if silent:
        none = Estimate(0.0, 0.0, 0.0, (0.0,) * (sums.groups if sums.groups > 2 else 0))
        estimates |= dict.fromkeys(("snr", "snr_plain"), none)
        estimates |= {"positional": Estimate(nan, nan, nan)}
    elif constant:
        estimates |= dict.fromkeys(("snr", "snr_plain"), Estimate(nan, nan, nan))
    if not silent:
        notes += sums.cautions(estimates)
    if geometry.stride is None or geometry.rim is None or geometry.reach is None:
        raise AssertionError(f"{geometry.name} has no geometry")
    square = moments.square.cpu()
    noise = statistics.cell_noise(sums.diff, square, sums.crops)
    idle = (square.mean(space(square, 1)) / sums.n).sqrt() <= rounding
    return LayerMeasurement(
        name=geometry.name,
        pattern=sums.diff.sum(0) / sums.n,
        noise=noise,
        **estimates,
        stride=geometry.stride,
        offset=geometry.offset,
        receptive_field=geometry.receptive_field,
        rim=geometry.rim,
        reach=geometry.reach,
        profile=sums.profile(geometry, crop),
        channels=sums.channels(noise, geometry.rim, idle, constant),
        emergence=_emergence(moments),
        numeric_floor=numeric_floor,
        residual=residual,
        notes=tuple(notes),
        sees_all_through=geometry.sees_all_through,
        parts={} if parts is None else parts.parts(moments, 4 * max(numeric_floor, 4 * precision)),
    )


def _emergence(moments: LayerMoments) -> Emergence:
    """Running means over 1, 10, 100 crops where there are more than so many, and over all."""
    counted, sums = moments.counted.cpu(), moments.early.cpu()
    whole = float(counted[-1])
    kept = [row for row, n in enumerate(counted.tolist()) if 0 < n < whole] + [len(counted) - 1]
    kept = [row for i, row in enumerate(kept) if i == 0 or counted[row] > counted[kept[i - 1]]]
    return Emergence(
        tuple(int(counted[row]) for row in kept), sums[kept] / counted[kept].view(-1, *[1] * (sums.dim() - 1))
    )


class _Sums:
    """A layer's moments on the CPU, groups without images left out, and what several estimates share."""

    def __init__(self, moments: LayerMoments) -> None:
        full = moments.crops.cpu() > 0
        self.crops = moments.crops.cpu()[full]
        self.diff = moments.diff.cpu()[full]
        self.energy = moments.energy.cpu()[full]
        self.absolute = moments.absolute.cpu()[full]
        self.feature = moments.feature.cpu()[full]
        self.power = moments.power.cpu()[full].mean(1)
        self.groups = len(self.crops)
        self.n = float(self.crops.sum())
        self.cells = self.energy[0].numel()
        means = self.diff / self.crops.view(-1, *[1] * (self.diff.dim() - 1))
        self.means = means
        self.gram_map = statistics.group_gram(means)
        self.gram = self.gram_map.mean(space(self.gram_map, 2))
        self.shift = statistics.spatial_mean_gram(means)

    def channels(self, noise: Tensor, rim: Sides, idle: Tensor, constant: bool) -> ChannelTest:
        """The test of every channel; where features are constant its effect size, a ratio to noise, says nothing."""
        found = position_test(self.means, noise.mean(space(noise, 1)), rim, idle)
        return replace(found, snr=torch.full_like(found.snr, nan)) if constant else found

    def deviation(self) -> float:
        """Standard deviation of the optimal features around each channel's mean."""
        mean = self.feature.sum(0) / self.n
        return sqrt(max(0.0, float(self.power.sum() / self.n - mean.square().mean())))

    def estimates(self) -> dict[str, Estimate]:
        """The scalar estimates by name."""
        energy = self.energy.mean(space(self.energy, 1))

        def noise(keep: Tensor) -> Tensor:
            return statistics.mean_noise(self.gram, energy, self.crops, keep)

        def per_crop(sums: Tensor, keep: Tensor) -> Tensor:
            return sums[keep].sum() / self.crops[keep].sum()

        def snr_plain(keep: Tensor) -> Tensor:
            return statistics.plain_energy(self.gram, self.crops, keep) / noise(keep)

        def positional(keep: Tensor) -> Tensor:
            return statistics.unbiased_energy(self.gram - self.shift, keep) / statistics.unbiased_energy(
                self.gram, keep
            )

        total = self.diff.sum(0)

        def mae(keep: Tensor) -> Tensor:
            left = total if len(keep) == self.groups else total - self.diff[self._left_out(keep)]
            return (left / self.crops[keep].sum()).abs().mean()

        def response(keep: Tensor) -> Tensor:
            return per_crop(self.absolute, keep)

        size = sizes(self.gram, energy, self.power, self.crops)
        plain, floor = jackknife(mae, self.groups, 1), self._mae_floor(total)
        return {
            "snr": estimate_of(size.snr),
            "snr_plain": self._estimate(snr_plain, 1),
            "mae": estimate_of(plain),
            "mae_floor": estimate_of(floor),
            "mae_corrected": estimate_of(corrected_mae(self.diff, self.crops, plain, floor, size)),
            "rms": estimate_of(size.rms),
            "rms_floor": Estimate(float(size.floor), nan, nan),
            "response": self._estimate(response, 1),
            "relative": estimate_of(size.relative),
            "positional": self._estimate(positional) if self.groups > 1 else Estimate(nan, nan, nan),
        }

    def cautions(self, estimates: Mapping[str, Estimate]) -> list[str]:
        """What a reader must know of the estimates' reliability."""
        found = []
        if self.groups == 1:
            found.append(
                "one group of images: SNR, relative and rms are n/a, because its images' own part looks like a pattern"
            )
        shares = self.energy.sum(space(self.energy, 1)) / self.energy.sum()
        if (
            self.groups > 3 and float(shares.square().sum()) > 3 / self.groups
        ):  # as if less than a third of them counted
            held = shares.sort(descending=True).values.cumsum(0)
            count = int((held < 0.5).sum()) + 1
            which = f"{count} of {self.groups} groups of images {'carries' if count == 1 else 'carry'}"
            found.append(
                f"{which} {held[count - 1]:.0%} of the squared change: intervals may be too narrow, use more images"
            )
        if estimates["mae"].value < 2 * estimates["mae_floor"].value:
            found.append("MAE is hardly more than chance alone would give; go by rms, which chance does not raise")
        return found

    def _mae_floor(self, total: Tensor) -> Interval:
        if self.groups < 2:
            none = torch.tensor(nan, dtype=torch.float64)
            return Interval(none, none, none, none.new_empty(0))
        weighted = torch.einsum("g,g...->...", self.crops, self.diff)
        totals = (total, self.diff.square().sum(0), weighted)

        def floor(keep: Tensor) -> Tensor:
            out = None if len(keep) == self.groups else self._left_out(keep)
            return statistics.floor_of_mae(self.diff, self.crops, totals, out)

        return jackknife(floor, self.groups)

    def _left_out(self, keep: Tensor) -> int:
        return int(self.groups * (self.groups - 1) // 2 - keep.sum())

    def _estimate(self, statistic: Callable[[Tensor], Tensor], least: int = 2) -> Estimate:
        return estimate_of(jackknife(statistic, self.groups, least))

    def profile(self, geometry: LayerGeometry, crop: Size) -> dict[str, Profile]:
        """Profiles by distance to the border: over all sides, and for each side over the cells nearest to it."""
        return {
            side: self._profile(cells, pixels, member)
            for side, (cells, pixels, member) in border_distances(geometry, crop).items()
        }

    def _profile(self, cells: Tensor, pixels: Tensor, member: Tensor) -> Profile:
        present, place = torch.unique(cells[member], return_inverse=True)
        count = torch.zeros(len(present), dtype=torch.int64).index_add_(0, place, torch.ones_like(place))

        def averaged(values: Tensor) -> Tensor:
            """`(..., *cells)` to `(..., n)`: the mean over the cells at each distance."""
            chosen = values[..., member]
            return (
                torch.zeros(*chosen.shape[:-1], len(present), dtype=torch.float64).index_add_(-1, place, chosen) / count
            )

        gram, energy = averaged(self.gram_map), averaged(self.energy)

        def pattern(keep: Tensor) -> Tensor:
            if self.groups > 1:
                return statistics.unbiased_energy(gram, keep)
            plain = statistics.plain_energy(gram, self.crops, keep)
            return plain - noise(keep) / self.n

        def noise(keep: Tensor) -> Tensor:
            return statistics.mean_noise(gram, energy, self.crops, keep)

        def response(keep: Tensor) -> Tensor:
            return energy[keep].sum(0) / self.crops[keep].sum()

        return Profile(
            present,
            averaged(pixels),
            count,
            _curve(jackknife(pattern, self.groups)),
            _curve(jackknife(noise, self.groups, 1)),
            _curve(jackknife(response, self.groups, 1)),
        )


def _curve(interval: Interval) -> Curve:
    return Curve(interval.value, interval.low, interval.high)


def border_distances(geometry: LayerGeometry, crop: Size) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """For each side and for all: distance of every cell in cells, in pixels, and which cells belong.

    A cell's distance in pixels is from the crop's edge to the centre of its receptive field, half a pixel for a field
    centred on the border pixel. A cell belongs to the side (or sides) that it is nearest to in pixels.

    Returns:
        by "all" and each side's name: tensors (cells, pixels, member) of the map's size.
    """
    if geometry.size is None or geometry.stride is None:
        raise AssertionError(f"{geometry.name} has no geometry")
    size, axes = geometry.size, len(geometry.size)
    offset = geometry.offset or tuple((s - 1) / 2 for s in geometry.stride)
    cells, pixels = [], []
    for axis, (n, s, o, length) in enumerate(zip(size, geometry.stride, offset, crop, strict=True)):
        index = torch.arange(n)
        place = o + torch.arange(n, dtype=torch.float64) * s + 0.5
        cells += [along(one, axis, axes).expand(size) for one in (index, n - 1 - index)]
        pixels += [along(one, axis, axes).expand(size) for one in (place, length - place)]
    nearest, fewest = torch.stack(pixels).amin(0), torch.stack(cells).amin(0)
    sides = {
        side: (own, far, far <= nearest + 1e-9) for side, own, far in zip(side_names(axes), cells, pixels, strict=True)
    }
    return {"all": (fewest, nearest, torch.ones(size, dtype=torch.bool)), **sides}
