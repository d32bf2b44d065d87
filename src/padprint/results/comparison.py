"""Several measurements over the same crops, and their differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from padprint.errors import ResultError
from padprint.results import documents, html, storage, tables
from padprint.results.measurement import Estimate, LayerMeasurement, Measurement
from padprint.results.saved import load
from padprint.results.statistics import interval_of
from padprint.support import atomic, strict_json, wording
from padprint.support.mapping import Over
from padprint.support.typed import Fields

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_SAME = ("images", "seed", "crops_per_image", "groups", "period", "spend")


@dataclass(frozen=True)
class Difference:
    """How far two measurements differ in one number of one layer.

    Attributes:
        layer: the layer's name.
        quantity: which number, such as "snr".
        first, second: names of the two measurements, in the comparison's order.
        estimate: second minus first, above zero where the second's number is larger, with an interval paired over groups: what both owe to the same images cancels.
    """

    layer: str
    quantity: str
    first: str
    second: str
    estimate: Estimate


@dataclass(frozen=True, repr=False)
class Comparison(Over[str, Measurement]):
    """Measurements by name, over the same crops and groups of images.

    Attributes:
        measurements: by name, in the order asked for.

    Raises:
        ResultError: they are not over the same crops.
    """

    ENTRIES = "measurements"

    measurements: dict[str, Measurement]

    def __post_init__(self) -> None:
        described = {name: _crops_of(measured) for name, measured in self.measurements.items()}
        first = next(iter(described.values()), None)
        for name, other in described.items():
            if other != first:
                key = next(key for key in other if first is None or other[key] != first[key])
                raise ResultError(
                    f"{wording.label(name)} was not measured over the crops of {wording.label(next(iter(described)))}: "
                    f"{key} differs; compare in one run"
                )

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.measurements)})"

    def __str__(self) -> str:
        return tables.comparison_text(self)

    def _repr_html_(self) -> str:
        return html.comparison(self)

    @property
    def layers(self) -> list[str]:
        """Layers that all measurements have."""
        every = list(self.measurements.values())
        return [name for name in (every[0] if every else ()) if all(name in layers for layers in every)]

    def differences(self, quantity: str = "snr") -> list[Difference]:
        """Every pair of measurements, the later minus the earlier, in every layer that both have; NaN where one has no number.

        Layers that one of a pair lacks have no difference; the tables and the report name them.

        Args:
            quantity: snr, snr_plain, mae, mae_floor, response, relative, positional, rms, rms_floor or mae_corrected. Of `mae` there is
                no interval where one of the two is mostly chance: take `mae_corrected`.

        Raises:
            ResultError: there is no such quantity.
        """
        known = (*documents.ESTIMATES, *documents.SIZES)
        if quantity not in known:
            raise ResultError(f"no quantity {quantity!r}; there are {', '.join(known)}")
        return [
            Difference(layer, quantity, a, b, _layer_difference(quantity, two[layer], first[layer]))
            for (a, first), (b, two) in combinations(self.measurements.items(), 2)
            for layer in first
            if layer in two
        ]

    def plot(self, *, signed: bool = False) -> Figure:
        """SNR by depth and the patterns of all members; see `padprint.plot.comparison`.

        Raises:
            ResultError: no layer was measured in all of them.
            MissingPackageError: matplotlib is missing.
        """
        from padprint.plot import comparison

        return comparison(self, signed=signed)

    def to_frame(self) -> pd.DataFrame:
        """One row for each measurement and layer: the measurement's name, then as `Measurement.to_frame`."""
        import pandas as pd  # only frames need pandas

        frames = [measured.to_frame().assign(name=name) for name, measured in self.measurements.items()]
        full = [frame for frame in frames if len(frame)] or frames[:1] or [pd.DataFrame(columns=["name", "layer"])]
        table: pd.DataFrame = pd.concat(full, ignore_index=True)
        table.insert(0, "name", table.pop("name"))
        return table

    def difference_frame(self, quantity: str = "snr") -> pd.DataFrame:
        """One row for each of `differences`: layer, quantity, first, second, value (second minus first), low, high."""
        import pandas as pd  # only frames need pandas

        rows = [_difference_row(difference) for difference in self.differences(quantity)]
        columns = ["layer", "quantity", "first", "second", "value", "low", "high"]
        table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Measurements and SNR differences as plain JSON values; numbers that are not finite become None."""
        rows = [
            _difference_row(change)
            for quantity in ("snr", "relative", "mae", "mae_corrected", "rms")
            for change in self.differences(quantity)
        ]
        plain: dict[str, Any] = strict_json.finite(
            {
                "measurements": {name: measured.to_dict() for name, measured in self.measurements.items()},
                "differences": rows,
            }
        )
        return plain

    def save(self, folder: str | Path) -> Path:
        """Write each measurement into a folder of its own below `folder`, and ``comparison.json``, which names them.

        All files take their places together: a save that is stopped, at any moment, leaves the older comparison or the newer.

        Raises:
            ResultError: a path is a file.
        """
        atomic.publish(Path(folder), self._fill)
        return Path(folder)

    def _fill(self, folder: Path) -> None:
        names = {name: f"{i:02d}-{wording.file_stem(name)}" for i, name in enumerate(self.measurements)}
        hashes = {}
        for name, measured in self.measurements.items():
            (folder / names[name]).mkdir()
            hashes[name] = storage.fill(
                folder / names[name], documents.describe(measured), documents.tensors_of(measured)
            )
        document = {"schema": documents.SCHEMA, "measurements": names, "sha256": hashes}
        storage.dump(folder / storage.COMPARISON_FILE, document)


def load_comparison(folder: str | Path) -> Comparison:
    """Read a comparison that `Comparison.save` wrote.

    Raises:
        ResultError: nothing is there, or something is missing, damaged, of another comparison or of another schema.
    """
    file = Path(folder) / storage.COMPARISON_FILE
    document = storage.read_document(file)
    try:
        fields = Fields(document)
        names = fields.get("measurements", dict[str, str])
        fields.check("measurements", all(map(_is_name, names.values())), "each must name a folder in this one")
        fields.check("measurements", bool(names), "there must be one or more")
        hashes = fields.get("sha256", dict[str, str]) if "sha256" in document else {}
    except ValueError as error:
        raise ResultError(f"{file} is damaged ({error}); compare again") from error
    return Comparison({name: load(file.parent / part, expected=hashes.get(name)) for name, part in names.items()})


def _is_name(part: str) -> bool:
    return part not in ("", "..") and Path(part).name == part and part.isprintable()


def difference(of: Estimate, to: Estimate) -> Estimate:
    """One estimate minus another over the same crops and groups; the interval is paired over groups.

    It is the paired jackknife's, as many times wider as the wider of the two estimates' own intervals is than their
    jackknife's, at least as wide. Where one of the two may be 0 and is never less (a size that may be none), its jackknife
    says too little, and the ends are one's low less the other's high, and one's high less the other's low.
    """
    value = torch.tensor(of.value - to.value, dtype=torch.float64)
    paired = len(of.replicates) == len(to.replicates)
    pairs = zip(of.replicates, to.replicates, strict=True) if paired else ()
    replicates = torch.tensor([a - b for a, b in pairs], dtype=torch.float64)
    interval = interval_of(value, replicates)
    half = float(interval.high - interval.value) * max(1.0, _widening(of), _widening(to))
    low, high = of.value - to.value - half, of.value - to.value + half
    if len(replicates) and 0 in (of.low, to.low) and of != to:
        low, high = of.low - to.high, of.high - to.low
    return Estimate(float(interval.value), low, high, tuple(replicates.tolist()))


def _widening(estimate: Estimate) -> float:
    """How many times as wide an estimate's interval is, upwards, as the plain jackknife of its replicates."""
    plain = interval_of(*(torch.tensor(x, dtype=torch.float64) for x in (estimate.value, estimate.replicates)))
    half = float(plain.high - plain.value)
    return (estimate.high - estimate.value) / half if half > 0 else 1.0


def _layer_difference(quantity: str, of: LayerMeasurement, to: LayerMeasurement) -> Estimate:
    change = difference(getattr(of, quantity), getattr(to, quantity))
    if quantity == "mae" and (of.mae_is_chance or to.mae_is_chance):
        return Estimate(change.value, math.nan, math.nan, change.replicates)
    return change


def _crops_of(measured: Measurement) -> dict[str, Any]:
    """What decides which crops were measured."""
    return {
        "crop": measured.crop,
        "margin": measured.margin,
        "number of images": measured.n_images,
        "number of crops": measured.n_crops,
        **{key: measured.provenance.get(key) for key in _SAME},
    }


def _difference_row(change: Difference) -> dict[str, Any]:
    e = change.estimate
    return {
        "layer": change.layer,
        "quantity": change.quantity,
        "first": change.first,
        "second": change.second,
        "value": e.value,
        "low": e.low,
        "high": e.high,
    }
