"""Operators that invent cells beyond the edge of their input, read into one form.

Padding hides in convolution arguments (``'same'`` too), in pooling (max pooling pads with minus infinity, ``ceil_mode``
lets a window hang over), in transposed convolutions (contributions from cells that do not exist), in `F.pad`, in
`F.unfold` and in upsampling (which clamps at the edge). `read_call` turns a call of any of them into a `Windowed`: which
dimensions are padded, by how many cells on each side, and how to run the operator on an input whose extra cells
somebody else has supplied.

Sources: the operators' own documentation in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from padprint.errors import PaddingError
from padprint.padding.convolutions import read_conv, read_conv_transpose, read_convolution
from padprint.padding.pooling import read_avg_pool, read_max_pool, read_unfold
from padprint.padding.resampling import read_aten_pad, read_interpolate, read_pad, read_roll, read_upsample
from padprint.padding.windowed import Pads, Reader, Windowed, supply_cells

__all__ = ["Pads", "Windowed", "moves", "read_call", "register_reader"]


def read_call(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Windowed | None:
    """The call in `Windowed` form, or None where the operator supplies no cells of its own.

    Args:
        func: what a `TorchFunctionMode` was handed: a function of `torch` or `torch.nn.functional`, or an ATen overload.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    reader = _READERS.get(_name(func))
    return None if reader is None else reader(args, kwargs)


def register_reader(*operators: str) -> Callable[[Reader], Reader]:
    """Teach padprint an operator that pads.

    Args:
        operators: names: the function's (``"conv2d"``), or ``"mypackage::op"`` for a library's own. A name that is known is read
            by the new reader from then on.

    Returns:
        A decorator for a reader: ``reader(args, kwargs)`` returns a `Windowed`, or None for a call that pads nothing.

    Raises:
        PaddingError: no name, or one that is no text.
    """
    if not operators or not all(map(_is_name, operators)):
        raise PaddingError(f"register_reader takes names of operators, such as 'mypackage::op', but got {operators!r}")

    def keep(reader: Reader) -> Reader:
        _READERS.update(dict.fromkeys(operators, reader))
        return reader

    return keep


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name)


def moves(func: Callable[..., Any]) -> bool:
    """Whether the call is `torch.roll` or upsampling, which move and mix cells and have no padding to choose."""
    return _name(func) in _MOVERS


def _name(func: Callable[..., Any]) -> str:
    """``aten::conv2d`` for ATen's, ``conv2d`` for a function; Tensor methods get no name, save ``roll``."""
    schema = getattr(func, "_schema", None)
    qualified = getattr(func, "_qualified_op_name", None) if schema is None else schema.name
    if qualified is not None:
        return str(qualified)
    name: str = getattr(func, "__name__", "")
    return name if name == "roll" or type(func).__name__ not in _METHOD_TYPES else ""  # Tensor.unfold is not F.unfold


_METHOD_TYPES = {"method_descriptor", "wrapper_descriptor", "method-wrapper"}


def _read_replaced(args: Sequence[Any], _: dict[str, Any]) -> Windowed:
    op: Windowed = args[1]
    return op


_MOVERS: dict[str, Reader] = {
    "roll": read_roll,
    "aten::roll": read_roll,
    "interpolate": read_interpolate,
    "upsample": read_interpolate,
    "aten::upsample_nearest1d": read_upsample("nearest"),
    "aten::upsample_nearest2d": read_upsample("nearest"),
    "aten::upsample_nearest3d": read_upsample("nearest"),
    "aten::_upsample_nearest_exact2d": read_upsample("nearest-exact"),
    "aten::upsample_linear1d": read_upsample("linear"),
    "aten::upsample_bilinear2d": read_upsample("bilinear"),
    "aten::upsample_trilinear3d": read_upsample("trilinear"),
    "aten::upsample_bicubic2d": read_upsample("bicubic"),
    "aten::_upsample_bilinear2d_aa": read_upsample("bilinear", antialias=True),
    "aten::_upsample_bicubic2d_aa": read_upsample("bicubic", antialias=True),
    "aten::_upsample_nearest_exact1d": read_upsample("nearest-exact"),
    "aten::_upsample_nearest_exact3d": read_upsample("nearest-exact"),
}
_READERS: dict[str, Reader] = {
    supply_cells.__name__: _read_replaced,  # padding that a scheme has replaced
    "convolution": read_convolution,
    "aten::convolution": read_convolution,
    "_convolution": read_convolution,
    "aten::_convolution": read_convolution,
    "pad": read_pad,
    "aten::pad": read_pad,
    "aten::constant_pad_nd": read_aten_pad("constant"),
    "constant_pad_nd": read_aten_pad("constant"),
    "unfold": read_unfold,
    "aten::im2col": read_unfold,
    **_MOVERS,
}
for _n in (1, 2, 3):
    for _prefix in ("", "aten::"):
        _READERS[f"{_prefix}conv{_n}d"] = read_conv(_n)
        _READERS[f"{_prefix}conv_transpose{_n}d"] = read_conv_transpose(_n)
        _READERS[f"{_prefix}max_pool{_n}d"] = read_max_pool(_n)
        _READERS[f"{_prefix}max_pool{_n}d_with_indices"] = read_max_pool(_n, indices=True)
        _READERS[f"{_prefix}avg_pool{_n}d"] = read_avg_pool(_n)
    _READERS[f"aten::reflection_pad{_n}d"] = read_aten_pad("reflect")
    _READERS[f"aten::replication_pad{_n}d"] = read_aten_pad("replicate")
