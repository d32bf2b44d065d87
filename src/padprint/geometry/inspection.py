"""Which operators of a network pad: where, how much, how, and whether that can be swapped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor, nn

from padprint.errors import ModelError, PadprintError
from padprint.geometry import inspection_text
from padprint.geometry.evenness import EvenSizes, StridedWindow, even_sizes, strided_window
from padprint.network.calls import Call, Interceptor
from padprint.network.example import blank_for, crop_for
from padprint.network.layers import leaves_of, refuse_lazy, unwrapped
from padprint.network.loading import as_model
from padprint.network.preserved import as_measured, weights_kept
from padprint.padding.hidden import may_invent
from padprint.padding.operators import Windowed, read_call
from padprint.padding.space import Space, Verdict
from padprint.padding.swap import fixed, title
from padprint.padding.windowed import supply_cells
from padprint.support import frames, text_table
from padprint.support.wording import first_line

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PaddingOperator:
    """One call that pads, or may.

    Attributes:
        module: path of the module that made the call; "" is the model itself.
        operator: its name.
        mode: how it pads, in words: ``zeros``, ``constant``, ``-inf``, ``left out``, ``reflect``, ``replicate``,
            ``circular``, ``clamp``, ``nothing there`` (transposed convolutions); the scheme that replaces its padding;
            or ``unclassified``.
        shape: of the tensor that is padded, without its padding.
        axes: its padded dimensions, counted from the end; those below, one entry each. Empty where unclassified.
        amounts: cells (before, after). For transposed convolutions and clamps: how many can have a part in the output.
        kernel: cells; empty for what states no window.
        stride: cells; likewise.
        swappable: whether `padprint.padding.use` and `convert` can give it other padding.
        reason: why not, in words; None where they can.
    """

    module: str
    operator: str
    mode: str
    shape: tuple[int, ...]
    axes: tuple[int, ...] = ()
    amounts: tuple[tuple[int, int], ...] = ()
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    swappable: bool = False
    reason: str | None = None


@dataclass(frozen=True, repr=False)
class Inspection(Sequence[PaddingOperator]):
    """The padding operators of a network in the order in which they ran.

    Attributes:
        operators: one for every call that pads, or may.
        shape: of the input.
        plain: how many calls of window operators ran without padding.
        strided: every window with a stride above 1, padded or not, and whether its stride divides evenly.
        even: the nearest input sizes at which all of them are even.
    """

    operators: tuple[PaddingOperator, ...]
    shape: tuple[int, ...]
    plain: int
    strided: tuple[StridedWindow, ...]
    even: EvenSizes

    @overload
    def __getitem__(self, index: int) -> PaddingOperator: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PaddingOperator]: ...
    def __getitem__(self, index: int | slice) -> PaddingOperator | Sequence[PaddingOperator]:
        return self.operators[index]

    def __len__(self) -> int:
        return len(self.operators)

    def __repr__(self) -> str:
        return f"Inspection({len(self)} padding operators, input {' x '.join(map(str, self.shape))})"

    def __str__(self) -> str:
        headers, rows = inspection_text.table(self)
        return "\n".join([*text_table.aligned(headers, rows), "", *inspection_text.remarks(self)])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        document: dict[str, Any] = _plain(asdict(self))
        for window, entry in zip(self.strided, document["strided"], strict=True):
            entry["even"] = window.even
        return document

    def to_frame(self) -> pd.DataFrame:
        """One row per operator, as `PaddingOperator` names its columns; those of several axes hold a tuple."""
        return frames.frame(map(asdict, self.operators), list(PaddingOperator.__dataclass_fields__))


_NO_WINDOW = ("pad", "interpolate", "roll")


def inspect(model: nn.Module | str, example: Tensor | int | tuple[int, ...] = 224, *, channels: int = 3) -> Inspection:
    """List every call of a forward pass that pads, and every call that may hide padding. The model is left as found.

    Calls in modules and in functions alike, of eager modules and of unflattened exported programs. Padding made of
    slices and `torch.cat`, of assignments and of indexing cannot be told from other uses of these functions.

    Args:
        model: any network, or its name, see `padprint.load_model`; it is run once in evaluation mode, then on shapes alone, at several sizes.
        example: an input `(B, C, *spatial)`; or a size in pixels, one for each axis such as (height, width), or one
            number for as many axes as the network runs over.
        channels: of the input, where `example` is a size.

    Raises:
        ModelError: the model is TorchScript, or fails on the input.
        PaddingError: a module in it is compiled or TorchScript.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> import padprint
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        >>> found = padprint.inspect(net, 32)
        >>> [(one.module, one.operator, one.mode, one.amounts) for one in found.operators]
        [('0', 'conv2d', 'zeros', ((1, 1), (1, 1))), ('2', 'conv2d', 'zeros', ((1, 1), (1, 1)))]
        >>> found.even.below, found.even.above  # input sizes at which no stride leaves cells over
        ((31, 31), (33, 33))
    """
    model = unwrapped(as_model(model))
    refuse_lazy(model)
    x = example if isinstance(example, Tensor) else blank_for(model, channels, crop_for(model, example, "example"))
    operators: list[PaddingOperator] = []
    windows: list[StridedWindow] = []
    plain = 0
    space = Space(model, (x,))

    def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal plain
        op = read_call(func, args, kwargs)
        if op is None:
            reason = may_invent(func)
            if reason is not None:
                shape = next((tuple(tensor.shape) for _, tensor in leaves_of((args, kwargs))), ())
                operators.append(PaddingOperator(call.module, call.operator, "unclassified", shape, reason=reason))
            return func(*args, **kwargs)
        window = strided_window(call.module, op)
        if window is not None:
            windows.append(window)
        if op.supplies:
            replaced = title(args[2]) if func is supply_cells else None
            operators.append(_entry(call.module, op, replaced, space.verdict(call, op)))
        elif op.operator not in _NO_WINDOW:
            plain += 1
        return func(*args, **kwargs)

    try:
        with as_measured(model), weights_kept(model), Interceptor(handle):
            model(x)
    except PadprintError:
        raise
    except Exception as error:
        shape = " x ".join(map(str, x.shape))
        raise ModelError(
            f"the model fails on an input of {shape}: {first_line(error)}; give another example"
        ) from error
    return Inspection(tuple(operators), tuple(x.shape), plain, tuple(windows), even_sizes(model, x, windows))


def stride_record(found: Inspection) -> dict[str, Any]:
    """What a result's provenance says of uneven strides: counts, and the nearest even sizes, None where there is none."""
    size = list(found.shape[2:])
    uneven = sum(not window.even for window in found.strided)
    even = {"below": list(found.even.below), "above": list(found.even.above)}
    return {"size": size, "windows": len(found.strided), "uneven": uneven, **even}


def _entry(module: str, op: Windowed, replaced: str | None, known: Verdict | None) -> PaddingOperator:
    reason = fixed(op, known) if replaced is None else "replaced already"
    return PaddingOperator(
        module,
        op.operator,
        replaced or op.mode,
        tuple(op.input.shape),
        op.axes,
        op.pads,
        *(((), ()) if op.operator in _NO_WINDOW else (op.kernel, op.stride)),
        reason is None,
        reason,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
