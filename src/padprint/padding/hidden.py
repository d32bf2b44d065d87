"""Calls that may invent cells in ways `read_call` cannot read: they are listed, and never swapped.

Some padding no list can name: a map that is extended by slices and `torch.cat`, by writing into zeros, or by indexing is
indistinguishable from any other use of these functions. What runs inside TorchScript functions is not seen at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from padprint.padding.intercept import operator_name

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
