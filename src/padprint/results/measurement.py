"""What a measurement returns: numbers with intervals, patterns, profiles, and how they are kept."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from padprint.results import documents, html, storage, tables
from padprint.results.channels import ChannelTest
from padprint.support import strict_json, wording
from padprint.support.axes import Sides, Size, each_side
from padprint.support.equality import ByValue
from padprint.support.mapping import Over
from padprint.support.typed import BESIDE, limits

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Estimate(ByValue):
    """A number with its 95 % interval.

    Attributes:
        value: the estimate, in the unit of the quantity.
        low: lower end of the interval, NaN where there is no interval.
        high: upper end of the interval, NaN where there is no interval.
        replicates: the estimate with each group of images left out in turn; empty where there is no interval. Two
            estimates over the same crops and groups have paired replicates.
    """

    value: float
    low: float
    high: float
    replicates: tuple[float, ...] = field(default=(), repr=False)

    @property
    def db(self) -> Estimate:
        """The three numbers as 10 log10, in decibels; NaN where a number is not positive."""
        return Estimate(_decibel(self.value), _decibel(self.low), _decibel(self.high))

    def __str__(self) -> str:
        return wording.interval(self)


def _unknown() -> Estimate:
    return Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Curve(ByValue):
    """An estimate at each step of a profile.

    Attributes:
        value: (n,) float64.
        low: (n,) float64, NaN where there is no interval.
        high: (n,) float64, NaN where there is no interval.
    """

    value: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True, eq=False)
class Profile(ByValue):
    """Means over the cells at equal distance to the border.

    Attributes:
        cells: (n,) int64, distance to the border in cells; 0 is the border cell.
        pixels: (n,) float64, mean distance of the cells' receptive-field centres from the crop's edge, input px;
            negative where the centres lie outside the crop.
        count: (n,) int64, how many cells stand at that distance.
        pattern: squared pattern, feature^2, unbiased (so it may be slightly negative).
        noise: variance between crops, feature^2.
        response: mean squared change, feature^2.
    """

    cells: Tensor = field(metadata=limits(0, of=tuple[int, ...]))
    pixels: Tensor
    count: Tensor = field(metadata=limits(1, of=tuple[int, ...]))
    pattern: Curve
    noise: Curve
    response: Curve


@dataclass(frozen=True, eq=False)
class Emergence(ByValue):
    """How the pattern comes out of the features: means over ever more crops, in the order they were taken.

    Attributes:
        counts: how many crops each mean is over: the first 1, 10, 100 and all, where there are so many.
        features: (k, *cells) float64, the padded features averaged over channels and over these crops, feature units.
    """

    counts: tuple[int, ...] = field(metadata=limits(1))
    features: Tensor = field(metadata=BESIDE)


PARTS = ("local", "through", "padding", "context", "total")
"""Names of the parts of a layer that sees the whole map."""


@dataclass(frozen=True, eq=False)
class Part(ByValue):
    """One part of the change between a crop by itself and the same place in its scene.

    Attributes:
        size: root mean square over crops, channels and cells, in units of the features' own size (rms of F(x; *)).
        pattern: the same of its mean over crops, without bias: what is alike in every image, so that it tells of position.
        snr: mean squared pattern over mean variance between crops.
        pattern_map: `(C, *cells)` float64, the mean over crops, feature units.
        size_map: `(*cells)` float64, `size` by cell.
    """

    size: Estimate
    pattern: Estimate
    snr: Estimate
    pattern_map: Tensor = field(metadata=BESIDE)
    size_map: Tensor = field(metadata=BESIDE)


@dataclass(frozen=True, eq=False)
class LayerMeasurement(ByValue):
    """What padding does to one layer.

    What is said of (rows, columns) and of (top, bottom, left, right) is said of one axis and (start, end) in waveforms, of
    (planes, rows, columns) and (front, back, top, bottom, left, right) in volumes.

    Attributes:
        name: the layer's name in the model.
        pattern: (C, *cells) float64, (C, h, w) in images, mean over crops of padded minus unpadded features.
        noise: (C, *cells) float64, unbiased variance of the same difference, feature^2.
        snr: mean squared pattern (unbiased) over mean noise.
        snr_plain: the same from the plain square, which has a floor of about one over the number of crops.
        mae: mean absolute pattern, feature units. Its interval is that of this biased estimate, not of the true mean |P|; see `mae_corrected`.
        mae_floor: the `mae` to expect where there is no pattern at all, feature units.
        response: mean absolute change, image-dependent part included, feature units.
        relative: pattern size in units of the features' own size.
        positional: share of the squared pattern left after each channel's spatial mean is removed; tables hide it where
            the interval of `snr` holds 0: meaningless where there may be no pattern.
        stride: (rows, columns) input px per cell; 0.5 for a map twice the input.
        offset: receptive-field centre of cell (0, 0), input px, or None where it is not known.
        receptive_field: (rows, columns) input px, or None where it is not known.
        rim: cells touched by padding at the crop's size: top, bottom, left, right.
        reach: input px beyond the crop that the layer can see: top, bottom, left, right.
        profile: profiles by side, under "all" and the name of each side.
        channels: which channels have a position-dependent pattern, and where.
        emergence: channel-averaged features over ever more crops.
        numeric_floor: relative rms difference of the same features seen from two places of a canvas.
        residual: where the margin is below the reach, the relative rms change of the unpadded features when
            the margin grows by half; None where the margin covers the reach.
        notes: remarks for people, such as dead features.
        rms: sqrt of the mean squared pattern, without bias and so without a floor, feature units; n/a in older results.
        rms_floor: the `rms` that measurements without a pattern stay below, 97.5 % of them, feature units.
        mae_corrected: `mae` with its floor taken out, sqrt(mae^2 - mae_floor^2), feature units; its interval holds the mean
            absolute pattern itself. n/a in older results.
        sees_all_through: operators on the way that see the whole map, with their modules, in order of execution. F(x; *) takes their
            statistics over the crop's window of the scene, and `rim` and `reach` are those of what is local.
        parts: of such a layer, else empty, what changes when a crop is seen by itself: ``"local"``, padding that reaches a cell by
            local operators, 0 beyond `rim`; ``"through"``, padding that reaches it through statistics; ``"padding"``, both
            together, as in the other numbers here; ``"context"``, statistics over the crop's window less those over all of the
            scene, whose own border is padded too; ``"total"``, all of it.
    """

    name: str
    pattern: Tensor = field(metadata=BESIDE)
    noise: Tensor = field(metadata=BESIDE)
    snr: Estimate
    snr_plain: Estimate
    mae: Estimate
    mae_floor: Estimate
    response: Estimate
    relative: Estimate
    positional: Estimate
    stride: tuple[float, ...]
    offset: tuple[float, ...] | None
    receptive_field: Size | None = field(metadata=limits(1))
    rim: Sides = field(metadata=limits(0))
    reach: Sides = field(metadata=limits(0))
    profile: Mapping[str, Profile]
    channels: ChannelTest
    emergence: Emergence
    numeric_floor: float
    residual: float | None
    notes: tuple[str, ...]
    rms: Estimate = field(default_factory=_unknown)
    rms_floor: Estimate = field(default_factory=_unknown)
    mae_corrected: Estimate = field(default_factory=_unknown)
    sees_all_through: tuple[str, ...] = ()
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def has_pattern(self) -> bool:
        """Whether the interval of `snr` lies above 0; True where there is no interval."""
        return not self.snr.low <= 0

    @property
    def mae_is_chance(self) -> bool:
        """Whether `mae` is below twice its floor: then it is an upper bound and no more."""
        return self.mae.value < 2 * self.mae_floor.value

    @property
    def rim_pixels(self) -> tuple[float, ...]:
        """The rim in input px (cells times stride): top, bottom, left, right."""
        return tuple(n * stride for n, stride in zip(self.rim, each_side(self.stride), strict=True))

    def __repr__(self) -> str:
        shape = " x ".join(str(size) for size in self.pattern.shape)
        return f"LayerMeasurement({self.name!r}, {shape}, SNR {self.snr})"

    def __str__(self) -> str:
        return tables.layer_text(self)

    def _repr_html_(self) -> str:
        return html.layer(self)


@dataclass(frozen=True, eq=False, repr=False)
class Measurement(ByValue, Over[str, LayerMeasurement]):
    """The measured layers by name, in order of execution: ``measurement["layer4"]``.

    Attributes:
        layers: the measured layers by name.
        unmeasured: why a layer that was looked at has no numbers, by name.
        crop: (rows, columns) input px.
        margin: real surroundings used for the unpadded features, input px: top, bottom, left, right.
        numeric_floor: the largest of the layers' numeric floors.
        n_images: images used.
        n_crops: crops used.
        approximate: whether the margin is below some layer's reach.
        warnings: what a reader of the numbers must know.
        provenance: versions, model, seed, images and settings behind the numbers; plain JSON values.
    """

    ENTRIES = "layers"

    layers: dict[str, LayerMeasurement]
    unmeasured: Mapping[str, str]
    crop: Size = field(metadata=limits(1))
    margin: Sides = field(metadata=limits(0))
    numeric_floor: float
    n_images: int = field(metadata=limits(0))
    n_crops: int = field(metadata=limits(0))
    approximate: bool
    warnings: tuple[str, ...]
    provenance: dict[str, Any]

    def __getitem__(self, name: str) -> LayerMeasurement:
        if name in self.layers:
            return self.layers[name]
        if name in self.unmeasured:
            raise KeyError(f"layer {name!r} was not measured: {self.unmeasured[name]}")
        near = difflib.get_close_matches(str(name), [*self.layers, *self.unmeasured], n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"measured: {', '.join(self.layers) or 'none'}"
        raise KeyError(f"no layer {name!r}; {hint}")

    def __contains__(self, name: object) -> bool:
        return name in self.layers

    def __repr__(self) -> str:
        size = f"{self.n_crops} crops of {self.n_images} images"
        return f"Measurement({', '.join(self.layers) or 'no layers'}; {size})"

    def __str__(self) -> str:
        return tables.text(self)

    def _repr_html_(self) -> str:
        return html.measurement(self)

    def plot(self, *, signed: bool = False) -> Figure:
        """The patterns of all layers side by side, in order of execution; see `padprint.plot.overview`.

        Raises:
            ResultError: no layer was measured.
            MissingPackageError: matplotlib is missing.
        """
        from padprint.plot import overview

        return overview(self, signed=signed)

    def to_frame(self) -> pd.DataFrame:
        """One row per layer: geometry, every estimate with ``_low`` and ``_high``, SNR in dB, notes."""
        return tables.frame(self)

    def profile_frame(self) -> pd.DataFrame:
        """Long table of the profiles: layer, side, cells, pixels, count, quantity, value, low, high."""
        return tables.profile_frame(self)

    def parts_frame(self) -> pd.DataFrame:
        """Long table of the parts of layers that see the whole map: layer, part, and size, pattern and snr with ``_low`` and ``_high``."""
        return tables.parts_frame(self)

    def channel_frame(self) -> pd.DataFrame:
        """One row per layer and channel: layer, channel, snr, p, q, aware, side."""
        return tables.channel_frame(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the patterns as plain JSON values; numbers that are not finite become None."""
        plain: dict[str, Any] = strict_json.finite(documents.describe(self))
        return plain

    def save(self, folder: str | Path) -> Path:
        """Write ``result.json`` and ``patterns.safetensors``.

        They take their places together: a save that is stopped, at any moment, leaves the older result or the newer one.

        Args:
            folder: where to write; made with its parents. An older result in it is replaced.

        Returns:
            The folder.

        Raises:
            ResultError: the folder's path is a file.
        """
        document, tensors = documents.describe(self), documents.tensors_of(self)
        return storage.write(Path(folder), document, tensors)


def _decibel(value: float) -> float:
    return 10.0 * math.log10(value) if value > 0 else math.nan
