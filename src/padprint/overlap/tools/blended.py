"""Tools that average tiles where they overlap: how long their steps may be, by what tiles were measured to lose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil, inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from padprint.overlap.blending import blended_error, errors_by_distance, linear, longest_step
from padprint.overlap.tools.tool import Tool, overlap_fraction
from padprint.support.wording import number

if TYPE_CHECKING:
    from padprint.overlap.output_halo import OutputHalo
    from padprint.overlap.widths import PaddingHalo

UNMEASURED = {"reason": "it blends tiles, and what that leaves must be measured on images"}

_STEPS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Values of nnU-Net's step that are tried."""

_GROWTH, _SIZES = 1.1, 16
"""Each size of patches that is tried for a step of a half over the one before, and how many are."""


def _diffusers(one: PaddingHalo) -> dict[str, Any]:
    if len(set(one.tile)) > 1:
        return {"reason": "its tiles are square"}
    found = longest_step(one, linear)
    if isinstance(found, str):
        return {"reason": found}
    step, error = found
    factor = overlap_fraction(one.tile[0], step)
    return {"tile_sample_min_size": one.tile[0], "tile_overlap_factor": factor, "error": error}


def _diffusers_words(told: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"tile_sample_min_size={told['tile_sample_min_size']}, tile_overlap_factor={told['tile_overlap_factor']:.6g} "
        f"(blended error at most {number(told['error'])})"
    )


def gaussian(n: int) -> Tensor:
    """`(n,)`, nnU-Net's weights of a patch along one axis: a Gaussian around cell n // 2 of a deviation of n / 8."""
    return torch.exp(-0.5 * ((torch.arange(n, dtype=torch.float64) - n // 2) / (n / 8)).square())


def _nnunet(one: PaddingHalo) -> dict[str, Any]:
    """Patches every ``tile_step_size`` of their size at most, in even steps over the image, averaged under a Gaussian.

    The bound is for images over which the steps are multiples of the total stride.

    Source: nnunetv2 2.8.1, ``inference/sliding_window_prediction.py``.
    """
    errors = errors_by_distance(one)
    if isinstance(errors, str):
        return {"reason": errors}
    (out,) = one.outputs.values()
    enough, least = _enough(errors, one, out), inf
    for step in _STEPS:
        bound = _gaussian_error(errors, out, one.tile, step)
        if bound <= out.room:
            return {"patch_size": list(one.tile), "tile_step_size": step, "error": bound, "patch_for_half": enough}
        least = min(least, bound)
    half = "" if enough is None else f"; 0.5 is enough for patches of {enough} px or more"
    most = f"at steps of {_STEPS[-1]:g} to {_STEPS[0]:g} of a patch the error may be {number(least)}"
    return {"reason": f"blending mixes the patches' rims in: {most}{half}"}


def _gaussian_error(errors: Tensor, out: OutputHalo, tile: tuple[int, ...], share: float) -> float:
    """The bound for patches of this size, px, every `share` of it.

    Images even the steps, down to half of that at most: the bound holds for shorter ones too at which one more patch just reaches a place,
    where they are worst.
    """
    along = []
    for n, stride in zip(tile, out.map.stride, strict=True):
        cells = int(n / stride)
        most = min(cells, ceil(ceil(n * share) / stride))
        reached = {(cells - 1) // k for k in range(1, cells)}
        along.append((gaussian(cells), sorted({most, *(step for step in reached if most < 2 * step < 2 * most)})))
    return blended_error(errors, along)


def _enough(errors: Tensor, one: PaddingHalo, out: OutputHalo) -> int | None:
    """Px of the smallest patch, as long along each axis, for which steps of a half keep the tolerance; None where none was found."""
    period, stride = max(one.period), min(out.map.stride)
    # half-way between two patches, a quarter of one from their borders, each counts half
    far = int((errors > 2 * out.room).nonzero().max()) + 1 if bool((errors > 2 * out.room).any()) else 0
    size = max(1, ceil(4 * far * stride / period)) * period
    for _ in range(_SIZES):
        if _gaussian_error(errors, out, (size,) * len(one.tile), 0.5) <= out.room:
            return size
        size = ceil(_GROWTH * size / period) * period
    return None


def _nnunet_words(told: Mapping[str, Any]) -> Iterator[str]:
    half = told["patch_for_half"]
    yield (
        f"tile_step_size={told['tile_step_size']:g} for patches of {tuple(told['patch_size'])} (blended error at most {number(told['error'])})"
        + ("" if half is None else f"; 0.5 is enough for patches of {half} px or more")
    )


TOOLS = (
    Tool("diffusers", "diffusers", (2,), _diffusers, _diffusers_words),
    Tool("nnunet", "nnU-Net", (2, 3), _nnunet, _nnunet_words),
)
