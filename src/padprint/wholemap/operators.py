"""Operators that see the whole map, split into what they take of the crop's window and what they do with it everywhere.

A handler is given one call and says how to split it: `take` computes the statistic over the window's cells, `apply` uses a
statistic, whoever took it, on all cells there are. From these two all runs are made: the crop's own, the scene's over the crop's
window, the scene under the crop's statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import count
from typing import Any

import torch
from torch import Tensor

from padprint.errors import PadprintError
from padprint.network.layers import leaves_of
from padprint.wholemap.extents import UNKNOWN, Extent, Window, axes_of

Statistic = tuple[Any, ...]
SEEN = "_padprint_seen_through"
"""Attribute of tensors that depend on the image: the operators on the way to them that see the whole map."""


@dataclass(frozen=True)
class Split:
    """One call of an operator that sees the whole map.

    Attributes:
        take: the statistic, over the window's cells: tensors whose shapes do not depend on the canvas.
        apply: what the call returns under a statistic.
        neutral: what it returns, in shape, under a statistic that does not depend on the input. Each cell depends on what it
            would depend on beside the statistic.
        join: the statistic that stands for several windows of one size, from those of each; None where there is none, as of
            attention, whose statistic are all keys and values.
        placed: whether `apply` must know where in the map cells lie, so that a part of the map alone cannot be run under the
            statistics of all of it.
    """

    take: Callable[[], Statistic]
    apply: Callable[[Statistic], Any]
    neutral: Callable[[], Any]
    join: Callable[[Sequence[Statistic]], Statistic] | None = None
    placed: bool = False


class Cells:
    """Which cells of one call's tensors belong to the crop's window.

    Args:
        known: for each tensor, by ``id``, how its dimensions run over the image.
        outputs: likewise, of what it returns, in order.
        window: where the crop lies; None where the crop is all there is.
    """

    def __init__(
        self,
        known: Mapping[int, Sequence[Extent | None]],
        outputs: Sequence[Sequence[Extent | None]],
        window: Window | None,
    ) -> None:
        self._known, self.outputs, self._window = known, outputs, window
        self.vanishing = vanishing(list(known.values()), outputs)

    def runs(self, tensor: Tensor, dim: int) -> bool:
        """Whether a dimension runs over the image."""
        return self._extent(tensor, dim) is not None

    def over(self, tensor: Tensor) -> list[int]:
        """The dimensions that run over the image."""
        return [dim for dim in range(tensor.dim()) if self.runs(tensor, dim)]

    def cut(self, tensor: Tensor, *dims: int) -> Tensor:
        """The window's part of a tensor along some dimensions, or along all that run over the image.

        Raises:
            ModelError: how one of them runs over the image is not known.
        """
        found = tensor
        for dim in dims or self.over(tensor):
            extent = self._extent(tensor, dim)
            if extent is not None and self._window is not None:
                found = self._window.cut(found, dim, _known(extent))
        return found

    def cut_vanishing(self, tensor: Tensor) -> Tensor:
        """The window's part along the dimensions that the call's outputs do not have."""
        extents = {dim: self._extent(tensor, dim) for dim in range(tensor.dim())}
        dims = [
            dim
            for dim, one in extents.items()
            if one is not None and (one == UNKNOWN or self.vanishing & set(one.axes))
        ]
        return self.cut(tensor, *dims) if dims else tensor

    def inside(self, tensor: Tensor, dim: int) -> Tensor:
        """`(n,)`: which cells of a dimension belong to the window."""
        extent, n = self._extent(tensor, dim), tensor.shape[dim]
        if extent is None or self._window is None:
            return torch.ones(n, dtype=torch.bool, device=tensor.device)
        return self._window.inside(n, _known(extent)).to(tensor.device)

    def places(self, tensor: Tensor) -> tuple[tuple[int, int, int], ...] | None:
        """(first cell, cells of the window, cells of the canvas) of each dimension of a map that runs over the image.

        None where the crop is all there is.
        """
        return self._places([self._extent(tensor, dim) for dim in range(tensor.dim())])

    def output_places(self) -> tuple[tuple[int, int, int], ...] | None:
        """The same of what the call returns."""
        return self._places(self.outputs[0])

    def _places(self, found: Sequence[Extent | None]) -> tuple[tuple[int, int, int], ...] | None:
        if self._window is None:
            return None
        return tuple(self._window.cells(_known(one), 0) for one in found if one is not None)

    def of_image(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on the image; else it is made of parameters."""
        return seen_by(tensor) is not None

    def put(self, taken: Any, own: Any) -> Any:
        """What a call has returned of the crop, in the place of the window in what it returns of a canvas."""
        made = tensors(own)
        for one, two, extents in zip(made, tensors(taken), self.outputs, strict=True):
            place = [slice(None)] * one.dim()
            for dim, extent in enumerate(extents):
                if extent is not None and self._window is not None and one.shape[dim] != two.shape[dim]:
                    if len(_known(extent).axes) != 1:
                        raise UnreadError("its outputs run over a part of the map's axes, flattened")
                    first, count, _ = self._window.cells(extent, 0)
                    place[dim] = slice(first, first + count)
            one[tuple(place)] = two
        return own

    def axes(self, tensor: Tensor, dim: int) -> set[int]:
        """Image axes that a dimension runs over."""
        extent = self._extent(tensor, dim)
        return set() if extent is None else set(extent.axes)

    def _extent(self, tensor: Tensor, dim: int) -> Extent | None:
        found = self._known.get(id(tensor))
        return None if found is None or not -len(found) <= dim < len(found) else found[dim]


def _known(extent: Extent) -> Extent:
    if extent == UNKNOWN:
        raise UnreadError("how its cells lie is not known")
    return extent


class UnreadError(PadprintError):
    """A call whose cells cannot be followed."""


Handler = Callable[[Cells, Callable[..., Any], Sequence[Any], Mapping[str, Any]], Split | None]
_HANDLERS: dict[str, Handler] = {}
_OWN = ("normalisations", "attention", "anchored")
"""Modules that hold padprint's own handlers."""


def register(*operators: str) -> Callable[[Handler], Handler]:
    """Teach padprint an operator that sees the whole map.

    Args:
        operators: names, as `padprint.trace` gives them in its reasons: the function's, ``"mypackage::op"`` for a library's own.

    Returns:
        A decorator for a handler: ``handler(cells, function, args, kwargs)`` returns a `Split`, or None for a call that stays
        local.
    """

    def keep(handler: Handler) -> Handler:
        for operator in operators:
            _HANDLERS[operator] = handler
        return handler

    return keep


def registered() -> tuple[str, ...]:
    """Names of the operators that have a handler of their own."""
    _load_own()
    return tuple(sorted(_HANDLERS))


@cache
def _load_own() -> None:
    """Load padprint's own handlers, which leave those that users have registered before as they are."""
    users = dict(_HANDLERS)
    for name in _OWN:
        import_module(f"padprint.wholemap.{name}")
    _HANDLERS.update(users)


def split(
    operator: str, cells: Cells, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Split | None:
    """How a call is split; None for one that stays local.

    An operator without a handler is split where its outputs do not run along an axis that its inputs run along: a mean, a maximum,
    a pooling to a fixed size.
    """
    _load_own()
    handler = _HANDLERS.get(operator)
    if handler is not None:
        return handler(cells, func, args, kwargs)
    return reduction(cells, func, args, kwargs) if cells.vanishing else None


def reduction(cells: Cells, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Split:
    """A call of which the outputs are the statistic."""

    def run() -> Any:
        return func(*mapped(args, cells.cut_vanishing), **mapped(kwargs, cells.cut_vanishing))

    def neutral() -> Any:
        return constants(lambda: func(*args, **kwargs))

    partial = any(extent is not None for one in cells.outputs for extent in one)
    if partial:  # of some axes: what runs over the others has the window's cells in the middle
        return Split(lambda: (run(),), lambda taken: cells.put(taken[0], run()), neutral, placed=True)
    return Split(lambda: (run(),), lambda taken: taken[0], neutral, averaged)


def averaged(several: Sequence[Statistic]) -> Statistic:
    """The mean of the statistics of several windows of one size."""
    each = [tensors(taken) for taken in several]
    means = iter([torch.stack(list(same)).mean(0) for same in zip(*each, strict=True)])
    found: Statistic = mapped(several[0], lambda _: next(means))
    return found


def constants(run: Callable[[], Any]) -> Any:
    """What a call returns, in shape; unseen by whoever watches calls, for whom it comes out of nothing.

    Each tensor of each call is filled with another number: a largest less a smallest value is not 0.
    """
    numbers = count()
    with torch._C.DisableTorchFunction():
        return mapped(run(), lambda x: filled(x, level.get() + 0.05 * next(numbers)))


level: ContextVar[float] = ContextVar("level", default=0.5)
"""What stands in for the statistics of the call that runs, where they are constants."""


def filled(x: Tensor, value: float = 0.5) -> Tensor:
    """Constants in the shape of a tensor, unseen as well; zeros for whole numbers and truth values."""
    with torch._C.DisableTorchFunction():
        return torch.full_like(x, value if x.is_floating_point() or x.is_complex() else 0)


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Nested values with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(one, change) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        made = [mapped(one, change) for one in value]
        by_name = hasattr(value, "_fields")  # torch's own named results are made of a list
        return type(value)(*made) if by_name else type(value)(made)
    return value


def named(names: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, those that were not given left out."""
    return {**dict(zip(names.split(), args, strict=False)), **kwargs}


def vanishing(inputs: Sequence[Sequence[Extent | None]], outputs: Sequence[Sequence[Extent | None]]) -> set[int]:
    """Image axes that inputs run over and outputs do not; none where there are no outputs."""
    unknown = any(extent == UNKNOWN for one in outputs for extent in one)
    return set() if unknown or not outputs else axes_of(inputs) - axes_of(outputs)


def seen_by(tensor: Tensor) -> tuple[str, ...] | None:
    """Operators on the way to a tensor that see the whole map, in order of execution; None where it does not depend on the image."""
    found: tuple[str, ...] | None = getattr(tensor, SEEN, None)
    return found


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in nested values, in order."""
    return [tensor for _, tensor in leaves_of(value)]
