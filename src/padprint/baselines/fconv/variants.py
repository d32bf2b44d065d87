"""Padding schemes as variants of a small network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from padprint.errors import PaddingError
from padprint.network.preserved import randomness_kept
from padprint.padding.convert import convert
from padprint.padding.scheme import make


def parsed(variant: str) -> tuple[str, int | None]:
    """A variant's padding scheme, and the cells on each side if it says them: "circular", "circular@2".

    Raises:
        PaddingError: no such scheme, or a number of cells that is none.
    """
    spec, at, cells = variant.partition("@")
    if at and not (cells.isdecimal() and int(cells) >= 1):
        raise PaddingError(
            f"{variant!r} asks for {cells!r} cells: write SCHEME@CELLS with a number from 1, as circular@2"
        )
    make(spec)
    return spec, int(cells) if at else None


def built(network: Callable[[int], nn.Module], variant: str, same: int, seed: int) -> nn.Module:
    """A network with a variant's padding; its initial weights depend on the seed alone, not on the variant.

    Args:
        network: makes it with so many cells of zero padding on each side of its maps.
        variant: "none" is valid, "zeros" same and "full" full convolution. Any other scheme, too, has as many cells as
            `same` says or as follow it, "circular@2"; "none" and "full" have cells of their own.
        same: cells where the variant does not say them.
        seed: of weights, and of schemes that draw random numbers or learn.

    Raises:
        PaddingError: see `parsed`.
    """
    spec, cells = parsed(variant)
    with randomness_kept():
        torch.manual_seed(seed)
        made = network(same if cells is None else cells)
        return made if spec == "zeros" else convert(made, spec, seed=seed)
