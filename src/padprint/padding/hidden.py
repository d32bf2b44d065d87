"""Calls that may invent cells in ways `read_call` cannot read: they are listed, and never swapped.

Some padding no list can name: a map that is extended by slices and `torch.cat`, by writing into zeros, or by indexing is
indistinguishable from any other use of these functions. `may_invent` therefore leaves them out; `could_extend` names them
too, for when it is known already that something has padded. What runs inside TorchScript functions is not seen at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from padprint.network.calls import operator_name
from padprint.padding.windowed import bind

_SAMPLES = "samples positions that may lie beyond the edge"
_FOLDS = "adds up windows, of which fewer meet at the edge"
_FRAMES = "pads its signal where center is set"
_PERIODIC = "takes the signal for periodic"
_CONVOLVES = "a convolution whose padding is not read"
_POOLS = "pooling whose padding is not read"
_MAY_INVENT: dict[str, str] = {
    # the value beyond the edge is zeros, the border's or a reflection, as padding_mode says
    "grid_sample": _SAMPLES,
    "grid_sampler": _SAMPLES,
    "grid_sampler_2d": _SAMPLES,
    "grid_sampler_3d": _SAMPLES,
    "cudnn_grid_sampler": _SAMPLES,
    # the inverse of unfold; its padding is cropped, as in transposed convolutions
    "fold": _FOLDS,
    "col2im": _FOLDS,
    # center=True reflects; torch.istft undoes it
    "stft": _FRAMES,
    "istft": _FRAMES,
    # ceil_mode lets windows hang over
    **dict.fromkeys(("lp_pool1d", "lp_pool2d", "lp_pool3d"), "windows may hang over the edge where ceil_mode is set"),
    # pads with zeros, but over channels
    "local_response_norm": "pads channels",
    # forms of convolution and pooling below the public functions, and for special back ends
    "conv_tbc": _CONVOLVES,
    "_convolution_mode": _CONVOLVES,
    "convolution_overrideable": _CONVOLVES,
    "convolution_backward": _CONVOLVES,
    "cudnn_convolution": _CONVOLVES,
    "cudnn_convolution_relu": _CONVOLVES,
    "cudnn_convolution_add_relu": _CONVOLVES,
    "cudnn_convolution_transpose": _CONVOLVES,
    "miopen_convolution": _CONVOLVES,
    "miopen_convolution_transpose": _CONVOLVES,
    "miopen_depthwise_convolution": _CONVOLVES,
    "mkldnn_convolution": _CONVOLVES,
    "mps_convolution": _CONVOLVES,
    "thnn_conv2d": _CONVOLVES,
    "_slow_conv2d_forward": _CONVOLVES,
    "slow_conv3d": _CONVOLVES,
    "slow_conv_dilated2d": _CONVOLVES,
    "slow_conv_dilated3d": _CONVOLVES,
    "slow_conv_transpose2d": _CONVOLVES,
    "slow_conv_transpose3d": _CONVOLVES,
    "_conv_depthwise2d": _CONVOLVES,
    "conv_depthwise3d": _CONVOLVES,
    "mkldnn_max_pool2d": _POOLS,
    "mkldnn_max_pool3d": _POOLS,
    "quantized_max_pool1d": _POOLS,
    "quantized_max_pool2d": _POOLS,
    "quantized_max_pool3d": _POOLS,
    # padding under other names
    "_pad_circular": "pads by copies of the other side",
    "_pad_enum": "pads",
    "pad_sequence": "pads sequences to one length",
    # a product of spectra is a circular convolution
    **dict.fromkeys(
        [f"fft_{inverse}{kind}fft{n}" for inverse in ("", "i") for kind in ("", "r", "h") for n in ("", "2", "n")],
        _PERIODIC,
    ),
    **dict.fromkeys(("_fft_r2c", "_fft_c2r", "_fft_c2c"), _PERIODIC),
}

_OWN = {"aten", "prim", "prims", "profiler", "c10d", "_c10d_functional"}  # libraries of torch, read above or harmless
_HARMLESS = {"torchvision::nms", "torchvision::_batched_nms"}


def may_invent(func: Callable[..., Any]) -> str | None:
    """Why a call may invent cells beyond the edge of its input, in words; None where it is not known to.

    Args:
        func: what an `Interceptor`'s handler was handed; one that `read_call` does not read.
    """
    name = operator_name(func)
    library, both, _ = name.partition("::")
    if both and library not in _OWN and name not in _HARMLESS:
        return f"an operator of {library}, of which nothing is known"
    if any(kind.__name__ == "HigherOrderOperator" for kind in type(func).__mro__):
        return "runs a graph that cannot be seen into"
    return _MAY_INVENT.get(name)


# ------------------------------------------------------------------------- what may be anything, but could have padded

_LOOKS_UP = "looks cells up by index"
_WRITES = "writes into a part of a map"
_PLACES = "puts values where an index says"
_JOINS = "joins pieces along a dimension of space"
_REPEATS = "repeats cells along a dimension of space"
_RUNNING = "adds up along a dimension of space, from the edge on"
_TURNS = "turns the map around"
_LEAVES = "leaves torch, outside which nothing is seen"
_STATE = "runs along its input from a state of its own at the edge"

# the names of the arguments up to `dim`, and what to say where that is a dimension of space
_ALONG: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), ("input dim", _JOINS)),
    **dict.fromkeys(("gather", "index_select"), ("input dim", _LOOKS_UP)),
    "take_along_dim": ("input indices dim", _LOOKS_UP),
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce"), ("input dim", _PLACES)),
    **dict.fromkeys(("index_add", "index_copy", "index_fill", "index_reduce"), ("input dim", _PLACES)),
    **dict.fromkeys(("slice_scatter", "select_scatter"), ("input src dim", _WRITES)),
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"), ("input dim", _RUNNING)),
    **dict.fromkeys(("_cummax_helper", "_cummin_helper"), ("input values indices dim", _RUNNING)),
    "cumulative_trapezoid": ("input x dim", _RUNNING),
    "repeat_interleave": ("input repeats dim", _REPEATS),
    "flip": ("input dim", _TURNS),
    "rot90": ("input k dim", _TURNS),
}
_STACKS = {"hstack": 1, "column_stack": 1, "row_stack": 0, "vstack": 0, "dstack": 2}  # the dimension they join along
_ANYWHERE: dict[str, str] = {
    **dict.fromkeys(("take", "masked_select"), _LOOKS_UP),
    **dict.fromkeys(("put", "masked_scatter"), _PLACES),
    **dict.fromkeys((f"max_unpool{n}d" for n in (1, 2, 3)), _PLACES),
    "as_strided": "reads memory as a map of another form",
    "as_strided_scatter": _WRITES,
    "roll": "moves cells over the edge to the other side",
    **dict.fromkeys(("fliplr", "flipud"), _TURNS),
    **dict.fromkeys(("numpy", "__array__", "tolist", "from_numpy"), _LEAVES),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _STATE),
}


def could_extend(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> str | None:
    """Why a call could have padded a map in a way that no trace sees, in words; None where it could not.

    Generous: most calls it names pad nothing. It is for when the features tell that something has padded, to say what
    may have. All that `may_invent` names, and what joins, repeats, writes, looks up, adds up or turns cells along a
    dimension of space: any from the third on, or from the second where the tensor has at most three.

    Args:
        func: what an `Interceptor`'s handler was handed.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    name = operator_name(func)
    plain = name.removesuffix("_") if not name.endswith("__") else name  # scatter_ is scatter
    words = may_invent(func) or _ANYWHERE.get(plain) or _of_places(name, plain, args, kwargs)
    if words is None:
        written = kwargs.get("out", args[0] if args and plain != name else None)
        words = _WRITES if isinstance(written, Tensor) and _is_part(written) else None
    return words


def _of_places(name: str, plain: str, args: Sequence[Any], kwargs: dict[str, Any]) -> str | None:
    """What to say of an operator for which the dimension counts, where that may be one of space."""
    words, counts = None, False
    if name in ("__getitem__", "index", "_unsafe_index"):
        words, counts = _LOOKS_UP, any(_is_list(item) for item in _indices_of_space(args, kwargs))
    elif name == "__setitem__" or plain in ("index_put", "_unsafe_index_put", "_index_put_impl"):
        words, counts = _WRITES, any(True for _ in _indices_of_space(args, kwargs))
    elif plain in _STACKS:
        words, counts = _JOINS, _of_space(args[0], _STACKS[plain])
    elif plain in ("repeat", "tile"):
        words, counts = _REPEATS, _repeats_space(args, kwargs)
    elif plain == "diff":
        words, counts = _JOINS, len(args) > 3 or bool({"prepend", "append"} & set(kwargs))
    elif plain in _ALONG:
        words, counts = _ALONG[plain][1], _runs_along_space(name, plain, args, kwargs)
    return words if counts else None


def _runs_along_space(name: str, plain: str, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    named = {_SAME_ARGUMENT.get(key, key): value for key, value in kwargs.items()}
    defaults = {"dim": (0, 1)} if name == "rot90" else {"dim": 0 if _ALONG[plain][1] in (_JOINS, _WRITES) else None}
    bound = bind(_ALONG[plain][0], args, named, repeats=None, **defaults)
    if plain == "flip" and len(args) > 2:
        bound["dim"] = args[1:]  # the method takes its dimensions one by one
    if plain == "repeat_interleave" and not isinstance(bound["repeats"], Tensor):
        return False  # the same number for each cell: upsampling
    return _of_space(bound["input"], bound["dim"], 1 if plain == "stack" else 0)


_SAME_ARGUMENT = {"tensors": "input", "axis": "dim", "dims": "dim", "y": "input"}


def _of_space(x: Any, dim: Any, more: int = 0) -> bool:
    """Whether `dim` of a tensor (or of each of several, which get `more` dimensions) may be one of space; None is all."""
    if not isinstance(x, Tensor):
        return any(_of_space(entry, dim, more) for entry in x)
    dims, first = x.dim() + more, _first_of_space(x.dim() + more)
    some = range(dims) if dim is None else dim if isinstance(dim, Sequence) else [dim]
    return any(int(dim) % dims >= first for dim in some) if dims else False


def _first_of_space(dims: int) -> int:
    return 2 if dims > 3 else 1


def _repeats_space(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    times = next((kwargs[key] for key in ("repeats", "dims") if key in kwargs), args[1:])
    while len(times) == 1 and isinstance(times[0], Sequence):
        times = times[0]
    dims = max(args[0].dim(), len(times)) if args else len(times)
    times = (1,) * (dims - len(times)) + tuple(times)
    return any(int(n) != 1 for n in times[_first_of_space(dims) :])


def _indices_of_space(args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Any]:
    """What stands in the brackets for dimensions that may be of space, without what takes all of one."""
    bound = bind("input indices", args, kwargs)
    x, given = bound["input"], bound["indices"]
    items = list(given) if isinstance(given, tuple) or (isinstance(given, list) and _holds_items(given)) else [given]
    items = [item for item in items if item is not None or not isinstance(given, tuple)]  # None in brackets: a new one
    takes = [_dimensions_of(item) for item in items]
    dim = 0
    for item, count in zip(items, takes, strict=True):
        if item is Ellipsis:
            dim += max(0, x.dim() - sum(takes))
            continue
        whole = item is None or (isinstance(item, slice) and item in (slice(None), slice(None, None, 1)))
        if count and not whole and dim + count > _first_of_space(x.dim()):
            yield item
        dim += count


def _holds_items(given: list[Any]) -> bool:
    """Whether a list stands for one index per dimension, as ATen writes it, and not for a list of cells."""
    return any(item is None or isinstance(item, Tensor) for item in given)


def _dimensions_of(item: Any) -> int:
    """How many dimensions an index takes."""
    if item is Ellipsis or isinstance(item, bool):
        return 0
    kind = getattr(item, "dtype", None)
    return getattr(item, "ndim", 1) if str(kind).removeprefix("torch.") in ("bool", "uint8") else 1


def _is_list(item: Any) -> bool:
    """Whether an index picks cells one by one: a list, an array or a tensor, not a number and not a slice."""
    return not isinstance(item, (int, slice)) and getattr(item, "ndim", 1) > 0


def _is_part(x: Tensor) -> bool:
    """Whether cells of memory lie between those of a tensor along a dimension of space: it is cut from a larger map."""
    with suppress(RuntimeError, NotImplementedError):  # of what has no memory of its own
        end = x.untyped_storage().nbytes() // x.element_size()
        steps = sorted((x.stride(d), x.shape[d], d) for d in range(x.dim()) if x.stride(d) > 0)
        if not steps:
            return False  # a single number
        if steps[0][0] > 1 and steps[0][2] >= _first_of_space(x.dim()):
            return True  # every second cell
        ends = [*(step for step, _, _ in steps[1:]), end]
        return any(
            step * size < up_to and d >= _first_of_space(x.dim())
            for (step, size, d), up_to in zip(steps, ends, strict=True)
        )
    return False
