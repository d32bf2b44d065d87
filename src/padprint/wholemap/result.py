"""What `padprint.parts` returns: how much of a crop's change padding makes, and how much the statistics of the crop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from padprint import _frames, _saved, _tables
from padprint._document import FLOATS, FOUR, SCHEMA, estimate, finite
from padprint._equality import ByValue
from padprint._fields import Fields, tensor
from padprint.errors import ResultError
from padprint.result import Estimate

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("local", "through", "padding", "context", "total")
"""Names of the parts: ``padding`` is the first two together, ``total`` all of them."""
FILES = ("parts.json", "parts.safetensors")
_HEADERS = ("layer", "stride", "rim t b l r", "local", "through", "context", "total", "sees all through")


@dataclass(frozen=True, eq=False)
class Part(ByValue):
    """One part of the change between a crop by itself and the same place in its scene.

    Attributes:
        size: root mean square over crops, channels and cells, in units of the features' own size (rms of F(x; *)).
        pattern: the same of its mean over crops, without bias: what is alike in every image, so that it tells of position.
        snr: mean squared pattern over mean variance between crops.
        pattern_map: `(C, h, w)` float64, the mean over crops, feature units.
        size_map: `(h, w)` float64, `size` by cell.
    """

    size: Estimate
    pattern: Estimate
    snr: Estimate
    pattern_map: Tensor
    size_map: Tensor


@dataclass(frozen=True, eq=False)
class LayerParts(ByValue):
    """The parts of one layer's change.

    Attributes:
        name: the layer.
        local: padding that reaches a cell by local operators: the crop less its scene under the crop's statistics; 0 inside `rim`.
        through: padding that reaches it through statistics: the scene under the crop's statistics less the scene with every
            statistic over the crop's window.
        padding: both together: F(x; p) - F(x; *).
        context: statistics over the crop's window less those over all of the scene, whose own border is padded, too. No overlap of
            tiles mends what is done to statistics, ``through`` and ``context`` together, which may cancel in part.
        total: all of it: the crop by itself less its place in the scene.
        sees_all_through: operators before the layer that see the whole map, with their modules, in order of execution.
        stride: (rows, columns), pixels from one cell to the next.
        rim: cells that padding reaches by local operators: top, bottom, left, right.
        reach: pixels beyond the crop that the layer sees by local operators.
        numeric_floor: relative rms difference of the same F(x; *) seen from two places of its canvas.
    """

    name: str
    local: Part
    through: Part
    padding: Part
    context: Part
    total: Part
    sees_all_through: tuple[str, ...]
    stride: tuple[float, float]
    rim: tuple[int, int, int, int]
    reach: tuple[int, int, int, int]
    numeric_floor: float

    def part(self, name: str) -> Part:
        """A part by its name, one of ``PARTS``."""
        if name not in PARTS:
            raise KeyError(f"there is no part {name!r}, only {', '.join(PARTS)}")
        found: Part = getattr(self, name)
        return found


@dataclass(frozen=True, eq=False, repr=False)
class Parts(ByValue, Mapping[str, LayerParts]):
    """The parts of every measured layer by name, in order of execution: ``parts["layer4"].local.size``.

    Attributes:
        layers: by name.
        unmeasured: why a layer that was looked at has no numbers, by name.
        crop: (rows, columns), pixels.
        margin: pixels of scene around a crop: top, bottom, left, right.
        approximate: whether the margin is below what some layer reaches.
        n_images: images used.
        n_crops: crops used.
        warnings: what a reader of the numbers must know.
        provenance: versions, model, seed, images and settings; plain JSON values.
    """

    layers: dict[str, LayerParts]
    unmeasured: dict[str, str]
    crop: tuple[int, int]
    margin: tuple[int, int, int, int]
    approximate: bool
    n_images: int
    n_crops: int
    warnings: tuple[str, ...]
    provenance: dict[str, Any]

    def __getitem__(self, name: str) -> LayerParts:
        if name in self.layers:
            return self.layers[name]
        if name in self.unmeasured:
            raise KeyError(f"layer {name!r} was not measured: {self.unmeasured[name]}")
        raise KeyError(f"no layer {name!r}; measured: {', '.join(self.layers) or 'none'}")

    def __contains__(self, name: object) -> bool:
        return name in self.layers

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"Parts({', '.join(self.layers) or 'no layers'}; {self.n_crops} crops of {self.n_images} images)"

    def __str__(self) -> str:
        rows = [
            (
                _tables.label(one.name),
                _tables.stride(one.stride),
                " ".join(map(str, one.rim)),
                *(_tables.interval(one.part(name).size) for name in ("local", "through", "context", "total")),
                _through(one.sees_all_through),
            )
            for one in self.layers.values()
        ]
        lines = _tables.aligned(_HEADERS, rows)
        lines += [
            "",
            "rms in units of the features' own; local and through: padding, by local operators and through statistics;",
        ]
        lines.append(
            "context: statistics over the crop against the scene's, whose own border is padded too; total: all of it."
        )
        lines.append(
            f"{self.n_crops} crops of {self.crop[0]}x{self.crop[1]} px from {self.n_images} images; margin {self.margin}"
        )
        lines += [f"warning: {_tables.printable(one)}" for one in self.warnings]
        lines += [
            f"not measured: {_tables.label(name)}: {_tables.printable(why)}" for name, why in self.unmeasured.items()
        ]
        return "\n".join(lines)

    def to_frame(self) -> pd.DataFrame:
        """One row per layer and part: layer, part, and size, pattern and snr with ``_low`` and ``_high``."""
        parts = ((name, part, one.part(part)) for name, one in self.items() for part in PARTS)
        rows = (
            {
                "layer": name,
                "part": part,
                **_frames.estimate("size", one.size),
                **_frames.estimate("pattern", one.pattern),
                **_frames.estimate("snr", one.snr),
            }
            for name, part, one in parts
        )
        return _frames.frame(rows, ("layer", "part"))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps as plain JSON values; numbers that are not finite become None."""
        plain: dict[str, Any] = finite(_described(self))
        return plain

    def save(self, folder: str | Path) -> Path:
        """Write ``parts.json`` and ``parts.safetensors``; see `padprint.wholemap.load`.

        Returns:
            The folder.

        Raises:
            ResultError: the folder's path is a file.
        """
        maps = {
            f"{name}/{part}/{key}": getattr(one.part(part), key)
            for name, one in self.items()
            for part in PARTS
            for key in ("pattern_map", "size_map")
        }
        return _saved.write(Path(folder), _described(self), maps, FILES)


def load(folder: str | Path) -> Parts:
    """Read what `Parts.save` wrote; it equals what was saved.

    Raises:
        ResultError: nothing is there, a file is missing or damaged, or belongs to another run.
    """
    document, tensors = _saved.read(Path(folder), FILES)
    try:
        o = Fields(document)
        return Parts(
            {name: _layer(name, one, tensors) for name, one in o.object("layers").items()},
            o.get("unmeasured", dict[str, str]),
            o.get("crop", tuple[int, int]),
            o.get("margin", FOUR),
            o.get("approximate", bool),
            o.get("n_images", int),
            o.get("n_crops", int),
            o.get("warnings", tuple[str, ...]),
            o.get("provenance", dict),
        )
    except (ResultError, ValueError) as error:
        raise ResultError(f"{folder}: {error}") from error


def _layer(name: str, o: Fields, tensors: Mapping[str, Tensor]) -> LayerParts:
    own = o.object("parts")
    return LayerParts(
        name,
        **{part: _part(f"{name}/{part}", own.object(part), tensors) for part in PARTS},
        sees_all_through=o.get("sees_all_through", tuple[str, ...]),
        stride=o.get("stride", tuple[float, float]),
        rim=o.get("rim", FOUR),
        reach=o.get("reach", FOUR),
        numeric_floor=o.get("numeric_floor", float),
    )


def _part(key: str, o: Fields, tensors: Mapping[str, Tensor]) -> Part:
    size, pattern, snr = (estimate(one, one.get("replicates", FLOATS)) for one in map(o.object, _ESTIMATES))
    pattern_map = tensor(tensors, f"{key}/pattern_map", (None, None, None))
    return Part(size, pattern, snr, pattern_map, tensor(tensors, f"{key}/size_map", tuple(pattern_map.shape[1:])))


_ESTIMATES = ("size", "pattern", "snr")
_REST = ("sees_all_through", "stride", "rim", "reach", "numeric_floor")


def _described(parts: Parts) -> dict[str, Any]:
    rest = {one.name: getattr(parts, one.name) for one in fields(parts) if one.name != "layers"}
    layers = {
        name: {key: getattr(layer, key) for key in _REST}
        | {"parts": {part: {key: vars(getattr(layer.part(part), key)) for key in _ESTIMATES} for part in PARTS}}
        for name, layer in parts.items()
    }
    return {"schema": SCHEMA, "kind": "parts", **rest, "layers": layers}


def _through(operators: tuple[str, ...]) -> str:
    if not operators:
        return "-"
    if len(operators) == 1:
        return operators[0]
    return ", ".join(f"{n} {kind}" for kind, n in Counter(one.partition(" in ")[0] for one in operators).items())
