"""The one form into which every operator that invents cells beyond the edge of its input is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

if TYPE_CHECKING:
    from padprint.padding.scheme import Scheme

Pads = tuple[tuple[int, int], ...]
Apply = Callable[["Windowed", Tensor], Any]
Reader = Callable[[Sequence[Any], dict[str, Any]], "Windowed | None"]


@dataclass(frozen=True)
class Windowed:
    """One call of an operator that pads.

    Attributes:
        operator: the operator's name, as users know it (``conv2d``, ``max_pool2d``, ``pad``).
        input: the tensor that is padded.
        axes: the padded dimensions of `input`, counted from the end, one for each window dimension.
        kernel, stride, dilation: the window, one number for each of `axes`; in cells. For `pad` they are all 1; for
            upsampling, whose window is not stated, `kernel` is 2.
        pads: (before, after) for each of `axes`: how many cells must be supplied on each side so that `apply` needs
            no padding of its own. Negative numbers crop.
        fill: the value the operator itself pads with.
        mode: how the operator itself pads, in words: ``zeros``, ``constant``, ``-inf``, ``reflect``, ``replicate``,
            ``circular``, ``left out`` (average pooling that does not count its padding), ``clamp`` (upsampling),
            ``nothing there`` (transposed convolutions).
        apply: runs the operator on an input that already has the supplied cells.
        anchored: where the operator samples depends on the size of its input, which no supplied cells can undo.
        outline: like `apply`, for when only the NaN of the result matter: the same cells are NaN, at a fraction of the cost.
        bias: what a convolution adds to every output cell, `(channels out,)`; `apply` adds it too.
    """

    operator: str
    input: Tensor
    axes: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: Pads
    fill: float
    apply: Apply
    anchored: bool = False
    outline: Apply | None = None
    mode: str = "zeros"
    bias: Tensor | None = None

    @property
    def supplies(self) -> bool:
        """Whether cells must be supplied on any side."""
        return any(before > 0 or after > 0 for before, after in self.pads)

    def padded(self, fill: dict[int, float]) -> Tensor:
        """`input` with its extra cells, filled with ``fill[axis]`` (the operator's own value where none is given)."""
        x = self.input
        for axis, (before, after) in zip(self.axes, self.pads, strict=True):
            if before or after:
                spec = [0, 0] * (-axis - 1) + [before, after]
                x = F.pad(x, spec, value=fill.get(axis, self.fill))
        return x

    def extended(self, pad: Callable[[Tensor, Pads], Tensor]) -> Tensor:
        """`input` with its extra cells as `pad` supplies them for the last dimensions; sides below zero are cropped.

        `pad` is handed one pair of numbers for every dimension from the first padded one to the last.
        """
        first = min(self.axes)
        given = dict(zip(self.axes, self.pads, strict=True))
        pads = [given.get(axis, (0, 0)) for axis in range(first, 0)]
        x = self.input
        if any(min(pair) < 0 for pair in pads):
            x = F.pad(x, [min(n, 0) for pair in reversed(pads) for n in pair])
        wanted = tuple((max(before, 0), max(after, 0)) for before, after in pads)
        if not any(map(any, wanted)):
            return x
        sizes = [x.shape[axis] for axis, pair in zip(range(first, 0), wanted, strict=True) if any(pair)]
        if x.numel() == 0 and all(sizes):
            return F.pad(x, [n for pair in reversed(wanted) for n in pair])  # no image: nothing to supply
        return pad(x, wanted)

    def collapsed(self, axis: int) -> Windowed:
        """The same call, with a window of one cell, stride 1 and no padding along `axis`."""
        if axis not in self.axes:
            return self
        at = self.axes.index(axis)

        def set_at(values: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
            return (*values[:at], value, *values[at + 1 :])

        return replace(
            self,
            kernel=set_at(self.kernel, 1),
            stride=set_at(self.stride, 1),
            dilation=set_at(self.dilation, 1),
            pads=set_at(self.pads, (0, 0)),
        )


def supply_cells(x: Tensor, op: Windowed, scheme: Scheme) -> Any:
    """``scheme.run(op)``, seen by modes outside as this one call, so that what a scheme does inside counts as padding.

    Args:
        x: `op.input`, which makes the call overridable.
        op: the call whose padding is replaced.
        scheme: supplies the cells.
    """
    if torch.compiler.is_dynamo_compiling():  # which asks tensors alone whether they override, and forgets modes
        with torch._C.DisableTorchFunctionSubclass():
            return scheme.run(op)
    if not scheme.changes_size and has_torch_function_unary(x):
        return handle_torch_function(supply_cells, (x,), x, op, scheme)
    return scheme.run(op)


def bind(names: str, args: Sequence[Any], kwargs: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """Arguments by name, positional ones named in order; ATen's ``self`` is ``input``."""
    bound = dict(defaults)
    known = names.split()
    both = min(len(known), len(args))  # compilers of older torch follow `zip` of equal lengths alone
    bound.update(zip(known[:both], args[:both], strict=True))
    bound.update({("input" if key == "self" else key): value for key, value in kwargs.items()})
    return bound


def numbers(value: Any, n: int, default: Any = None) -> tuple[int, ...]:
    """One number for each window dimension, from an int, a short list or nothing."""
    if value is None or (isinstance(value, Sequence) and len(value) == 0):
        value = default
    if isinstance(value, Sequence):
        return tuple(int(v) for v in value) if len(value) == n else tuple(int(value[0]) for _ in range(n))
    return tuple(int(value) for _ in range(n))


def last(n: int) -> tuple[int, ...]:
    """The last `n` dimensions, counted from the end."""
    return tuple(range(-n, 0))
