"""Copies of a network that are traced: do they compute what it computes, and for each image by itself?"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.network.copies import cpu_copy
from padprint.network.example import blank_for
from padprint.network.layers import Tap, discover, run_to
from padprint.support.axes import Size
from padprint.support.reasons import Reason, depends_on_batch, no_map
from padprint.support.wording import first_line


def faithful_copy(
    model: nn.Module, unused: set[str], taps: Sequence[Tap], channels: int, size: Size
) -> tuple[nn.Module, torch.dtype, dict[str, Reason]]:
    """A copy on the CPU that computes what the model does; its precision, double where the network runs in it; and layers
    that do not hold one map of each image of a batch, with the reason.

    All is tried on small inputs first, where the network is as it is on large ones. What is odd there is looked at on inputs
    of the crop's size.

    Raises:
        ModelError: it computes something else, or does not run.
    """  # noqa: D205
    small = tuple(n if n <= 2 * _SMALL else _SMALL + n % _SMALL for n in size)
    if small != size:
        try:
            pair = _pair(model, channels, small)
            odd, alone = _not_by_image(model, taps, pair)
            made = cpu_copy(model, unused)
            if not odd and alone is not None:
                found = _value(made, pair[1:].to("cpu", torch.float64), taps[-1])
                if _apart(alone, found) <= _COPY:
                    return made, torch.float64, {}
        except Exception:  # noqa: BLE001, S110  # of that size, or in double precision; the crop's size tells
            pass
    pair = _pair(model, channels, size)
    odd, original = _not_by_image(model, taps, pair)
    x = pair[1:]
    original = _value(model, x, taps[-1]) if original is None else original
    error: Exception | None = None
    for double in (True, False):
        made, dtype = cpu_copy(model, unused, double=double), torch.float64 if double else x.dtype
        try:
            found = _value(made, x.to("cpu", dtype), taps[-1])
        except Exception as failed:  # noqa: BLE001  # a network may raise anything in a precision it was not made for
            error = failed
            continue
        apart = _apart(original, found)
        if apart > _COPY and _apart(original, _value(model, x, taps[-1])) < apart / 10:  # else it is random itself
            error = ModelError(
                f"a deep copy of the model computes something else at {taps[-1].name}, so that nothing found on the copy would "
                "hold: mend its __deepcopy__, or pass the network inside it (a graph module's original, a wrapper's module)"
            )
            continue  # in double precision alone, it may be
        return made, dtype, odd
    if isinstance(error, ModelError):
        raise error
    raise ModelError(f"a copy of the model on the CPU does not run: {first_line(error) if error else ''}")


def _pair(model: nn.Module, channels: int, size: Size) -> Tensor:
    """Two images of noise: where numbers are equal, as in a ramp, which of them is the largest is up to rounding."""
    like = blank_for(model, channels, size)
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1)).to(like.device, like.dtype)


def _not_by_image(model: nn.Module, taps: Sequence[Tap], pair: Tensor) -> tuple[dict[str, Reason], Tensor | None]:
    """Layers that do not hold one map of each image of a batch, and of it alone; the last tap of the second image alone.

    None for that where no batch of two can be run.
    """
    shapes: list[dict[str, tuple[int, ...]]] = []

    def run(x: Tensor) -> dict[str, Tensor]:
        shapes.append({})
        kept: dict[str, Tensor] = {}

        def keep(tap: Tap, tensor: Tensor) -> None:
            shapes[-1][tap.name] = tuple(tensor.shape)
            if tap is taps[-1] or tensor.numel() <= _SMALL_MAP:
                kept[tap.name] = _real(tensor.clone())

        run_to(model, x, taps, keep)
        return kept

    try:
        both, alone = run(pair), run(pair[1:])
    except Exception:  # noqa: BLE001  # made for a batch of one
        return {}, None
    last = alone[taps[-1].name]
    mixed = [tap for tap in taps if tap.name in both and _mixes(model, tap, pair, both[tap.name], alone.get(tap.name))]
    if taps[-1] in mixed:
        return {tap.name: depends_on_batch() for tap in taps}, last
    reason = no_map(
        "it does not hold one map for each image of a batch: the network takes batches apart, or returns a list of maps"
    )
    two, one = shapes
    apart = {
        name: reason
        for name, shape in one.items()
        if len(shape) > 2 and (two[name] == shape if shape[:1] != (1,) else two[name] != (2, *shape[1:]))
    }
    return apart | {tap.name: depends_on_batch() for tap in mixed}, last


def _mixes(model: nn.Module, tap: Tap, pair: Tensor, both: Tensor, alone: Tensor | None) -> bool:
    """Whether an image's map in a batch, the second of `both`, is another than where it is all there is, by more than rounding."""
    if alone is None or both.shape[:1] != (2,) or alone.shape != both[1:].shape:
        return False
    apart = _apart(both[1:], alone)
    if apart <= _BATCH or not _apart(_value(model, pair[1:], tap), alone) < apart / 10:  # else it is random
        return False
    return not _alike_in_double(model, tap, pair)


def _alike_in_double(model: nn.Module, tap: Tap, pair: Tensor) -> bool:
    """Whether an image alone and in a batch are alike in double precision: then what differs is rounding, however large it grows."""
    try:
        made, x = cpu_copy(model), pair.to("cpu", torch.float64)
        return _apart(_value(made, x, tap)[1:], _value(made, x[1:], tap)) <= _BATCH
    except Exception:  # noqa: BLE001  # a network may raise anything in a precision it was not made for
        return False


def holding_nan(model: nn.Module, names: Sequence[str], channels: int, size: Size) -> list[str]:
    """Those of some layers that hold NaN on an ordinary input."""
    x, spoilt = _pair(model, channels, size)[1:], []
    taps = [tap for tap in discover(model, x) if tap.name in names]

    def look(tap: Tap, tensor: Tensor) -> None:
        if bool(tensor.isnan().any()):
            spoilt.append(tap.name)

    run_to(model, x, taps, look)
    return spoilt


def _value(model: nn.Module, x: Tensor, tap: Tap) -> Tensor:
    found: list[Tensor] = []
    run_to(model, x, [tap], lambda _, tensor: found.append(tensor.clone()))
    return _real(found[0])


def _real(x: Tensor) -> Tensor:
    return x.abs() if x.is_complex() else x


_SMALL = 64  # px, and up to twice that, of an input that is large enough to tell copies apart


_SMALL_MAP = 1 << 20  # numbers of a map that is kept to be compared, beside the last one

_BATCH = 1e-3
"""Relative rms difference between an image alone and in a batch that rounding may explain."""


_COPY = 0.05
"""Relative rms difference between a model and its copy that precision may explain, where features are quantised."""


def _apart(one: Tensor, other: Tensor) -> float:
    """Relative rms difference of two maps, where both are finite; infinite for maps of different sizes."""
    if one.shape != other.shape:
        return inf
    one, other = one.double().cpu(), other.double().cpu()
    known = one.isfinite() & other.isfinite()
    change, size = float((one - other)[known].norm()), float(one[known].norm())
    return change / size if size > 0 else change
