"""Tools that drop the rims of tiles, or whose overlap is told so that they can be dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from padprint.overlap.text import pair
from padprint.overlap.tiling import Tiling
from padprint.overlap.tools.tool import Dropping, Tool, need_by_axis, need_pixels, ratio, same_size
from padprint.support.axes import CELLS, each_side, letters
from padprint.support.wording import label, number

TENSOR = "input"
"""What outputs of the bioimage.io entry call the tensor they are as large as."""

_SAME_SIZE = "it stitches outputs that are as large as the tile, cell for cell"


# ------------------------------------------------------------------------------------------------- cells, times, distances


def _pixels(tiles: Tiling, one: Dropping) -> dict[str, Any]:
    return {
        "tile": list(tiles.tile),
        "step": list(tiles.step),
        "overlap": list(tiles.overlap),
        "halo": list(tiles.pixels),
        "need": list(need_pixels(one)),
        "image_size": f"{pair(tiles.tile)} px plus a multiple of {pair(tiles.period)} px",
    }


def _pixels_words(told: Mapping[str, Any]) -> Iterator[str]:
    cells, halo = CELLS[len(told["tile"])], " ".join(map(str, told["halo"]))
    halo = halo if len(set(told["halo"])) > 1 else str(told["halo"][0])
    yield f"tiles of {pair(told['tile'])} {cells} every {pair(told['step'])} {cells}; drop {halo} {cells} where a tile has a neighbour"


def measures(tiles: Tiling, one: Dropping, known: Mapping[str, Any]) -> dict[str, Any]:
    """Tile, step, overlap, halo and need in seconds where a sample rate is known, in mm where a spacing is.

    Args:
        tiles: the advice.
        one: what must be dropped.
        known: of the images, see `Source.record`.
    """
    axes, rate, spacing = len(tiles.tile), known.get("sample_rate"), known.get("spacing") or ()
    spacing = tuple(spacing) * axes if len(spacing) == 1 else tuple(spacing)
    found: dict[str, Any] = {}
    if axes == 1 and rate is not None:
        found["seconds"] = {"sample_rate": rate} | _scaled(tiles, one, (1 / rate,))
    if len(spacing) == axes:
        found["millimetres"] = {"spacing": list(spacing)} | _scaled(tiles, one, spacing)
    return found


def _scaled(tiles: Tiling, one: Dropping, unit: Sequence[float]) -> dict[str, list[float]]:
    by_axis = {"tile": tiles.tile, "step": tiles.step, "overlap": tiles.overlap}
    by_side = {"halo": tiles.pixels, "need": need_pixels(one)}
    return {name: [n * u for n, u in zip(values, unit, strict=True)] for name, values in by_axis.items()} | {
        name: [n * u for n, u in zip(values, each_side(unit), strict=True)] for name, values in by_side.items()
    }


def measured_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What is needed along time, and tiles, in ms and mm, as far as rate and spacing are known."""
    seconds, millimetres = found.get("seconds"), found.get("millimetres")
    if seconds is not None:
        rate = seconds["sample_rate"]
        tile, step, past, future = (
            f"{number(1e3 * one)} ms" if one else "none"
            for one in (*seconds["tile"], *seconds["step"], *seconds["need"])
        )
        yield f"at {rate:g} Hz: needs {past} of the past and {future} of the future: tiles of {tile} every {step}"
    if millimetres is not None:
        tile, step = (" x ".join(number(one) for one in millimetres[key]) for key in ("tile", "step"))
        yield f"in mm: tiles of {tile} every {step}; drop {' '.join(number(one) for one in millimetres['halo'])}"


# ------------------------------------------------------------------------------------------------------- tool by tool


def _sahi(tiles: Tiling, _: Dropping) -> dict[str, Any]:
    height, width = (ratio(n, overlap) for n, overlap in zip(tiles.tile, tiles.overlap, strict=True))
    return {
        "slice_height": tiles.tile[0],
        "slice_width": tiles.tile[1],
        "overlap_height_ratio": height,
        "overlap_width_ratio": width,
    }


def _sahi_words(told: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"slice_height={told['slice_height']}, slice_width={told['slice_width']}, "
        f"overlap_height_ratio={told['overlap_height_ratio']:.6g}, overlap_width_ratio={told['overlap_width_ratio']:.6g}"
    )


def _bioimageio(_: Tiling, one: Dropping) -> dict[str, Any]:
    """Sizes of input axes and, by output, its axes, shaped as in bioimageio.spec 0.5; `TENSOR` stands for the input's name.

    Halos are dropped on both sides alike, and given in cells of the output. An axis without a halo has none in the
    specification.
    """
    outputs = {name: _output_axes(one, name, need) for name, need in one.need.items()}
    sizes = {
        key: {"min": tile, "step": period}
        for key, tile, period in zip(letters(len(one.tile)), one.tile, one.period, strict=True)
    }
    return {"inputs": sizes, "outputs": outputs}


def _output_axes(one: Dropping, name: str, need: Sequence[int]) -> dict[str, Any]:
    axes: dict[str, Any] = {}
    for axis, key in enumerate(letters(len(one.tile))):
        n, stride, period = one.maps[name].size[axis], one.maps[name].stride[axis], one.period[axis]
        least = max(need[2 * axis : 2 * axis + 2])
        halo = next((h for h in range(least, (n + 1) // 2) if (n - 2 * h) * stride % period == 0), None)
        if halo is None:
            return {"reason": f"no halo of {least} cells or more, the same on both sides, keeps to the total stride"}
        size = {"tensor_id": TENSOR, "axis_id": key, "offset": n - int(one.tile[axis] / stride)}
        axes[key] = {"type": "space", "id": key, "size": size, "scale": float(stride)} | (
            {"halo": halo} if halo else {}
        )
    return axes


def _bioimageio_words(told: Mapping[str, Any]) -> Iterator[str]:
    for name, axes in told["outputs"].items():
        halos = ", ".join(f"{key} {axis.get('halo', 0)}" for key, axis in axes.items() if key != "reason")
        yield f"{label(name)}: {axes.get('reason') or f'halo {halos} cells'}"


def _padded(one: Dropping) -> list[tuple[int, int]] | None:
    """By axis, px of a tile without its pads, and of the pad on each side; starts and pads on the total stride. None without room."""
    found = []
    for need, tile, period in zip(need_by_axis(one), one.tile, one.period, strict=True):
        pad = -(-need // period) * period
        core = (tile - 2 * pad) // period * period
        if core <= 0:
            return None
        found.append((core, pad))
    return found


def _real_esrgan(_: Tiling, one: Dropping) -> dict[str, Any]:
    """Tiles are cut without their pad, which is added on all sides."""
    period = max(one.period)
    pad = -(-max(need_pixels(one)) // period) * period
    core = (min(one.tile) - 2 * pad) // period * period
    if core <= 0 or len(set(one.period)) > 1:
        return {"reason": f"nothing is left of the tile between pads of {pad} px"}
    return {"tile": core, "tile_pad": pad}


def _panseg(_: Tiling, one: Dropping) -> dict[str, Any]:
    """PanSeg (formerly PlantSeg) adds the halo around each patch, and mirrors the volume at its own border."""
    padded = _padded(one)
    if padded is None:
        return {"reason": f"nothing is left of the tile between halos of {pair(need_by_axis(one))} voxels"}
    if not same_size(one.maps, one.tile):
        return {"reason": _SAME_SIZE}
    return {"patch": [core for core, _ in padded], "patch_halo": [pad for _, pad in padded]}


def _even_overlap(one: Dropping) -> list[int] | None:
    """By axis the least even overlap, half of which is dropped on each side, that leaves a step of the total stride."""
    found = []
    for need, tile, period in zip(need_by_axis(one), one.tile, one.period, strict=True):
        overlap = next((n for n in range(2 * need, tile, 2) if (tile - n) % period == 0), None)
        if overlap is None:
            return None
        found.append(overlap)
    return found


def _halved(one: Dropping, size: str, overlap: str) -> dict[str, Any]:
    """Size and overlap for tools that drop half of the overlap on each side."""
    if not same_size(one.maps, one.tile):
        return {"reason": _SAME_SIZE}
    found = _even_overlap(one)
    if found is None:
        return {"reason": "no even overlap, half of it dropped on each side, leaves a step of the total stride"}
    return {size: list(one.tile), overlap: found}


def _careamics(_: Tiling, one: Dropping) -> dict[str, Any]:
    return _halved(one, "tile_size", "tile_overlap")


def _torchio(_: Tiling, one: Dropping) -> dict[str, Any]:
    return _halved(one, "patch_size", "patch_overlap")


def _seisbench(tiles: Tiling, one: Dropping) -> dict[str, Any]:
    """Blinded samples are dropped from every window, at the ends of a record too."""
    if len(one.maps) > 1:
        return {"reason": "its blinding is for one output"}
    (name,) = one.maps
    (tile,), (overlap,) = tiles.tile, tiles.overlap
    return {"in_samples": tile, "overlap": overlap, "blinding": list(tiles.halos[name])}


def _given(told: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={tuple(value) if isinstance(value, list) else value}" for key, value in told.items())


def _plainly(told: Mapping[str, Any]) -> Iterator[str]:
    yield _given(told)


def _torchio_words(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"GridSampler({_given(told)}), GridAggregator(overlap_mode='crop')"


def _seisbench_words(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"annotate({_given({key: told[key] for key in ('overlap', 'blinding')})}) of a model with in_samples={told['in_samples']}"


def _panseg_words(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{_given(told)} (the volume is mirrored at its own border)"


FIRST = (
    Tool("pixels", "samples", (1,), _pixels, _pixels_words),
    Tool("pixels", "pixels", (2,), _pixels, _pixels_words),
    Tool("pixels", "voxels", (3,), _pixels, _pixels_words),
)
TOOLS = (
    Tool("sahi", "SAHI", (2,), _sahi, _sahi_words),
    Tool("bioimageio", "bioimage.io", (1, 2, 3), _bioimageio, _bioimageio_words),
    Tool("real_esrgan", "Real-ESRGAN", (2,), _real_esrgan, _plainly),
    Tool("seisbench", "SeisBench", (1,), _seisbench, _seisbench_words),
    Tool("careamics", "CAREamics", (2, 3), _careamics, _plainly),
    Tool("torchio", "TorchIO", (3,), _torchio, _torchio_words),
    Tool("panseg", "PanSeg", (3,), _panseg, _panseg_words),
)
