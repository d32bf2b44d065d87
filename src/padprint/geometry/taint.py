"""NaN carried on where numbers lose it: through comparisons, whole numbers, look-ups and the like.

A trace puts NaN where padding is. `y > 0`, `argmax`, a cast to whole numbers or a look-up give ordinary numbers for
NaN, although what they give there depends on padding. So the cells concerned are remembered with the tensor (whole
numbers and truth values have no NaN), and become NaN again as soon as a tensor can hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from padprint.padding.windowed import bind

_ATTRIBUTE = "_padprint_taint"

_LOOK_UPS = {"embedding", "__getitem__", "index", "index_select", "gather", "take_along_dim", "take", "one_hot"}
_COUNTING = {"any", "all", "count_nonzero"}
"""Operators that reduce truth values."""

_PICKS = {"gather", "take_along_dim", "take", "index_select"}

_CHOICES = {"where", "masked_fill"}
"""Operators that choose by truth values."""

_SELECTING = {
    "argmax",
    "argmin",
    "max",
    "min",
    "topk",
    "sort",
    "argsort",
    "kthvalue",
    "median",
    "mode",
    "cummax",
    "cummin",
}
_LOSING = {
    "nan_to_num",
    "nan_to_num_",
    "fmax",
    "fmin",
    "sign",
    "sign_",
    "sgn",
    "heaviside",
    "bucketize",
    "searchsorted",
}
"""Operators on single cells that return numbers for NaN."""

_PARTS = ("grid_sampl", "deform_conv2d", "fake_quant", "max_unpool")
"""Parts of names of operators in which other inputs than the first decide what becomes of NaN."""


def taint_of(tensor: Tensor) -> Tensor | None:
    """Which cells depend on padding, of a tensor that cannot say so by NaN: bool, in its shape; None for no cell."""
    found: Tensor | None = getattr(tensor, _ATTRIBUTE, None)
    return found


def marked(tensor: Tensor) -> Tensor | None:
    """Which cells depend on padding, by NaN or by memory; None for no cell."""
    known = taint_of(tensor)
    if known is not None:
        return known
    if tensor.is_floating_point() or tensor.is_complex():
        try:
            spoilt = tensor.isnan()
            return spoilt if bool(spoilt.any()) else None
        except RuntimeError:  # inside a transformation such as vmap a tensor has no numbers to look at
            return None
    return None


def may_lose(name: str, inputs: Sequence[Tensor], shares: Sequence[float]) -> bool:
    """Whether a call must be looked at before it is made: it is handed marks, and may lose them.

    Args:
        name: of the operator.
        inputs: its tensors.
        shares: which share of each is NaN.
    """
    if any(taint_of(one) is not None for one in inputs):
        return True
    known = name in _LOSING or name in _PICKS or name.strip("_") in _CHOICES or any(part in name for part in _PARTS)
    return known and any(shares)


def without_nan(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """Arguments of another library's operator with 0 for NaN in all tensors but the first.

    They may be positions, as the offsets of torchvision's deformable convolution are; its kernel reads memory at NaN, and the
    process ends there.
    """
    first = next(iter(_tensors((args, kwargs))), None)

    def clean(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf is not first and leaf.is_floating_point():
            return leaf.nan_to_num(0.0, torch.inf, -torch.inf)
        return leaf

    return pytree.tree_map(clean, tuple(args)), pytree.tree_map(clean, dict(kwargs))


def carry_on(
    name: str,
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    before: dict[int, Tensor],
    outputs: Sequence[Tensor],
) -> bool:
    """Put marks on what a call returned.

    Args:
        name: of the operator.
        func: what was called, with
        args: its positional and
        kwargs: its keyword arguments.
        before: by ``id``, what was `marked` of its inputs before the call.
        outputs: tensors it returned.

    Returns:
        False where a mark may have been lost: this operator is not known.
    """
    if not before or not outputs:
        return True
    sure = True
    for number, out in enumerate(outputs):
        if out.is_meta:
            continue
        mask = _mask(name, func, args, kwargs, before, out, number)
        if mask is None:
            sure = False
        elif bool(mask.any()):
            sure = _set(out, mask) and sure
    return sure


def _set(out: Tensor, mask: Tensor) -> bool:
    if out.is_floating_point() or out.is_complex():
        try:
            out.masked_fill_(mask, torch.nan)
        except RuntimeError:  # several cells share memory
            return False
    else:
        setattr(out, _ATTRIBUTE, mask)
        known = out[~mask] if mask.shape == out.shape else out[:0]
        if out.dtype != torch.bool:  # NaN as a whole number is one that no table has
            with suppress(RuntimeError):
                out.masked_fill_(mask, known.flatten()[0] if known.numel() else 0)
    return True


def _mask(  # noqa: PLR0911  # one kind of operator after another
    name: str,
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    before: dict[int, Tensor],
    out: Tensor,
    number: int,
) -> Tensor | None:
    """Which cells of an output depend on padding; None where that is not known."""
    real = out.is_floating_point() or out.is_complex()
    remembered = any(taint_of(one) is not None for one in _tensors((args, kwargs)))
    plain = name.strip("_")
    try:
        if "grid_sampl" in name:
            return _by_positions(args, kwargs, before, out)
        if "max_unpool" in name:
            return _unpooled(args, kwargs, before, out)
        if "deform_conv2d" in name:
            return _any_over(before, _tensors((args, kwargs))[1:], 1, out) if real else None
        if plain in _CHOICES:  # what is not chosen on this input may be on another
            return _cell_by_cell(before, out)
        if name in _LOOK_UPS and remembered:
            return _looked_up(plain, args, kwargs, before, out)
        if name in _PICKS and real:  # what is not picked on this input may be on another
            return None
        if plain in _SELECTING or plain in _COUNTING:
            return _selected(args, kwargs, before, out)
        if not real or name in _LOSING or "fake_quant" in name:
            found = _cell_by_cell(before, out)
            if found is not None:
                return found
        if remembered:
            return _shadow(func, args, kwargs, before, number)
    except (RuntimeError, TypeError, IndexError, ValueError):
        return None
    if not real:
        return None
    # anything else computes with NaN as it should; where it returns none it has cut the cells off, or lost them
    return (
        _no_cell(out) if bool(out.isnan().any()) or out.numel() < max(one.numel() for one in before.values()) else None
    )


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _no_cell(out: Tensor) -> Tensor:
    return torch.zeros(out.shape, dtype=torch.bool)


def _cell_by_cell(before: dict[int, Tensor], out: Tensor) -> Tensor | None:
    """The marks of all inputs laid over each other, where they fit the output."""
    found = _no_cell(out)
    for mask in before.values():
        if mask.dim() > out.dim() or any(
            n not in (1, m) for n, m in zip(mask.shape[::-1], out.shape[::-1], strict=False)
        ):
            return None
        found |= mask.broadcast_to(out.shape)
    return found


def _shadow(
    func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], before: dict[int, Tensor], number: int
) -> Tensor:
    """The call made once more, with floating point numbers and NaN in the place of what remembers."""

    def instead(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and taint_of(leaf) is not None:
            return leaf.double().masked_fill(before[id(leaf)], torch.nan)
        return leaf

    again = func(*pytree.tree_map(instead, tuple(args)), **pytree.tree_map(instead, dict(kwargs)))
    found = _tensors(again)[number]
    if not found.is_floating_point():
        raise TypeError("numbers that cannot be NaN say nothing")
    return found.isnan()


def _looked_up(
    name: str, args: Sequence[Any], kwargs: dict[str, Any], before: dict[int, Tensor], out: Tensor
) -> Tensor | None:
    """What was looked up at positions that depend on padding."""
    if name == "getitem" and not isinstance(args[1], (Tensor, tuple, list)):
        return None
    for one in _tensors((args, kwargs)):
        mask = before.get(id(one))
        if mask is None or one.is_floating_point():
            continue
        if name == "index_select":
            dim = bind("input dim index", args, kwargs)["dim"] % out.dim()
            return mask.view([-1 if d == dim else 1 for d in range(out.dim())]).expand(out.shape)
        if tuple(out.shape[: mask.dim()]) == tuple(mask.shape):
            return mask.reshape(*mask.shape, *[1] * (out.dim() - mask.dim())).expand(out.shape)
    return None


def _selected(args: Sequence[Any], kwargs: dict[str, Any], before: dict[int, Tensor], out: Tensor) -> Tensor | None:
    """What was chosen along a dimension in which some depend on padding."""
    mask = next(iter(before.values()))
    if len(before) > 1:
        return _cell_by_cell(before, out)
    rest = [one for one in args[1:] if isinstance(one, (int, tuple, list)) and not isinstance(one, bool)]
    dim = kwargs.get("dim", kwargs.get("axis", rest[-1] if rest else None))
    if dim is None:
        return (
            bool(mask.any()) * torch.ones(out.shape, dtype=torch.bool)
            if out.dim() == 0
            else mask.any(-1, keepdim=True).expand(out.shape)
        )
    touched = mask.any(dim, keepdim=True)
    if touched.dim() != out.dim():
        touched = touched.squeeze(dim)
    return touched.expand(out.shape)


def _by_positions(args: Sequence[Any], kwargs: dict[str, Any], before: dict[int, Tensor], out: Tensor) -> Tensor | None:
    """Samples taken at positions that depend on padding; NaN in what is sampled is carried on anyway."""
    grid = before.get(id(bind("input grid", args, kwargs)["grid"]))
    return _no_cell(out) if grid is None else grid.any(-1).unsqueeze(1).expand(out.shape)


def _unpooled(args: Sequence[Any], kwargs: dict[str, Any], before: dict[int, Tensor], out: Tensor) -> Tensor | None:
    """All cells of a window whose largest value depends on padding: it may have come from any of them."""
    mask = before.get(id(bind("input indices", args, kwargs)["input"]))
    if mask is None:
        return _no_cell(out)
    for axis in range(2 - out.dim(), 0):
        times = out.shape[axis] // mask.shape[axis]
        if times * mask.shape[axis] != out.shape[axis]:
            return None
        mask = mask.repeat_interleave(times, axis)
    return mask


def _any_over(before: dict[int, Tensor], tensors: Sequence[Tensor], dim: int, out: Tensor) -> Tensor:
    found = _no_cell(out)
    for one in tensors:
        mask = before.get(id(one))
        if mask is not None and mask.dim() == out.dim():
            found |= mask.any(dim, keepdim=True).expand(out.shape)
    return found
