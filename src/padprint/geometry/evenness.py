"""Where strides do not divide evenly, so that a layer uses its padding on one side and not on the other.

A window of stride s covers a map of n cells with `before` and `after` cells of padding evenly where
``(n + before + after - dilation (k - 1) - 1) mod s`` is 0; else the remainder is the number of cells on the far side that no window reaches.

Source: Alsallakh, Kokhlikyan, Miglani, Yuan, Reblitz-Richardson, "Mind the Pad -- CNNs Can Develop Blind Spots", ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.network.calls import Call, Interceptor
from padprint.network.copies import shape_copy
from padprint.network.preserved import as_measured
from padprint.padding.operators import Windowed, read_call
from padprint.support.wording import first_line

_FURTHEST = 256  # px: how far from the input's size another is looked for


@dataclass(frozen=True)
class StridedWindow:
    """A convolution, a pooling or an unfolding with a stride above 1, as it ran.

    Attributes:
        module: path of the module that made the call.
        operator: its name.
        size: of the map in cells, without padding, one number for each axis; as are the others.
        kernel: cells.
        stride: cells.
        remainder: cells left over on the far side; 0 is even.
        steps: cells of the output.
    """

    module: str
    operator: str
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    remainder: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def even(self) -> bool:
        """Whether nothing is left over on any axis."""
        return not any(self.remainder)


@dataclass(frozen=True)
class EvenSizes:
    """Input sizes at which every strided window is even; one number for each axis, None where there is none.

    Attributes:
        below: the nearest at or below the size that was looked at.
        above: the nearest at or above it.
        reason: why one size was not found, in words; None where both were.
    """

    below: tuple[int | None, ...]
    above: tuple[int | None, ...]
    reason: str | None = None


def strided_window(module: str, op: Windowed) -> StridedWindow | None:
    """The call as a strided window; None where it is none, or has stride 1."""
    pooling = "_pool" in op.operator
    if not (op.operator in ("conv1d", "conv2d", "conv3d", "unfold") or pooling) or max(op.stride) == 1:
        return None
    size = tuple(op.input.shape[axis] for axis in op.axes)
    free = []
    for n, k, d, (before, after) in zip(size, op.kernel, op.dilation, op.pads, strict=True):
        after = min(before, after) if pooling else after  # noqa: PLW2901  # ceil_mode's overhang is no padding here
        free.append(n + before + after - d * (k - 1) - 1)
    remainder = tuple(cells % s for cells, s in zip(free, op.stride, strict=True))
    steps = tuple(cells // s + 1 for cells, s in zip(free, op.stride, strict=True))
    return StridedWindow(module, op.operator, size, op.kernel, op.stride, remainder, steps)


def even_sizes(model: nn.Module, example: Tensor, windows: Sequence[StridedWindow]) -> EvenSizes:
    """The nearest input sizes at which every strided window of a network is even.

    The network is run on shapes alone, axis by axis in both directions, as far as its total stride (at most 256 px).

    Args:
        model: any network; left as found.
        example: `(B, C, *spatial)`, an input it takes.
        windows: its strided windows at that size.
    """
    size = tuple(example.shape[2:])
    if all(window.even for window in windows):
        return EvenSizes(size, size)
    none: tuple[int | None, ...] = (None,) * len(size)
    try:
        search = _Search(shape_copy(model), example)
        search.run(0)
    except ModelError as error:
        return EvenSizes(none, none, f"not found, because the model does not run on shapes alone: {error}")
    steps = [
        round(n / one) for window in windows for n, one in zip(size[::-1], window.steps[::-1], strict=False) if one > 0
    ]
    reach = min(max(steps, default=1), _FURTHEST)
    below, above = (search.nearest(direction, reach) for direction in (-1, 1))
    if None not in (*below, *above):
        return EvenSizes(below, above)
    why = f"; the model fails at other sizes: {search.error}" if search.error else ""
    return EvenSizes(below, above, f"none within {reach} px{why}")


class _UnevenError(BaseException):
    """Stops a forward pass early, when every axis that was asked for is known to be uneven; a BaseException, so that no model swallows it."""


class _Search:
    """Runs a network on shapes, to see which axes are even throughout.

    Args:
        model: on the meta device.
        example: whose shape and dtype inputs take, but for the size.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self._model, self._example = model, example
        self._size = tuple(example.shape[2:])
        self.error: str | None = None

    def nearest(self, direction: int, reach: int) -> tuple[int | None, ...]:
        """For each axis the nearest even size in one direction, at most `reach` px away."""
        found: list[int | None] = [None] * len(self._size)
        for step in range(reach + 1):
            if None not in found:
                break
            if min(self._size) + direction * step < 1:
                break
            wanted = {axis for axis, size in enumerate(found) if size is None}
            try:
                even = self.run(direction * step, wanted)
            except ModelError as error:
                self.error = str(error)
                continue
            for axis in even:
                found[axis] = self._size[axis] + direction * step
        return tuple(found)

    def run(self, offset: int, wanted: set[int] | None = None) -> set[int]:
        """Which of the `wanted` axes are even throughout when every axis is longer by `offset`; None to look at none.

        Raises:
            ModelError: the network fails.
        """
        even = set(wanted or ())

        def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
            op = read_call(func, args, kwargs)
            window = None if op is None else strided_window(call.module, op)
            for back, left in enumerate(() if window is None else window.remainder[::-1], start=1):
                if left:
                    even.discard(len(self._size) - back)
            if wanted and not even:
                raise _UnevenError
            return func(*args, **kwargs)

        size = [n + offset for n in self._size]
        x = torch.empty(1, self._example.shape[1], *size, dtype=self._example.dtype, device="meta")
        try:
            with as_measured(self._model), Interceptor(handle):
                self._model(x)
        except _UnevenError:
            return set()
        except Exception as error:
            raise ModelError(first_line(error)) from error
        return even
