"""What could have padded a map unseen is named; the same functions along channels or for whole maps are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
import padprint
from padprint.network.calls import Call, Interceptor
from padprint.padding.hidden import could_extend

IDS = torch.tensor([0, 0, 1, 2, 3, 3])


def named(function: Callable[[Tensor], Any], x: Tensor) -> list[str]:
    """What is said of the calls that a function makes."""
    words: list[str] = []

    def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        reason = could_extend(func, args, kwargs)
        if reason is not None:
            words.append(f"{call.operator}: {reason}")
        return func(*args, **kwargs)

    with Interceptor(handle):
        function(x)
    return words


def like(x: Tensor, *dims: int) -> Tensor:
    return torch.zeros([1 if d % x.dim() in [e % x.dim() for e in dims] else n for d, n in enumerate(x.shape)]).long()


def framed(x: Tensor) -> Tensor:
    return x.new_zeros(1, 2, 6, 6)


def assigned(x: Tensor) -> None:
    framed(x)[..., 1:-1, 1:-1] = x


UNSEEN: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "cat": (lambda x: torch.cat((x[..., :1], x), -1), "cat: joins pieces"),
    "cat rows": (lambda x: torch.cat([x, x], dim=2), "cat: joins pieces"),
    "cat by other names": (lambda x: torch.concatenate((x, x), axis=3), "concatenate: joins pieces"),
    "cat without a batch": (lambda x: torch.cat([x[0], x[0]], 1), "cat: joins pieces"),
    "cat of tokens": (lambda x: torch.cat([x.flatten(2).mT, x.flatten(2).mT], 1), "cat: joins pieces"),
    "cat of ATen": (lambda x: torch.ops.aten.cat([x, x], 2), "cat: joins pieces"),
    "stack": (lambda x: torch.stack((x, x), -1).flatten(-2), "stack: joins pieces"),
    "hstack": (lambda x: torch.hstack((x[0], x[0])), "hstack: joins pieces"),
    "dstack": (lambda x: torch.dstack((x, x)), "dstack: joins pieces"),
    "diff": (lambda x: x.diff(prepend=x[..., :1]), "diff: joins pieces"),
    "repeat": (lambda x: x.repeat(1, 1, 1, 3), "repeat: repeats cells"),
    "tile": (lambda x: torch.tile(x, (2,)), "tile: repeats cells"),
    "repeat the edge": (lambda x: x.repeat_interleave(torch.tensor([2, 1, 1, 2]), -1), "repeat_interleave: repeats"),
    "index": (lambda x: x[..., IDS], "__getitem__: looks cells up"),
    "index by a list": (lambda x: x[:, :, [0, 0, 1, 2, 3]], "__getitem__: looks cells up"),
    "index by an array": (lambda x: x[..., np.array([0, 0, 1])], "__getitem__: looks cells up"),
    "index after a new dimension": (lambda x: x[None, :, :, IDS], "__getitem__: looks cells up"),
    "index by a mask": (lambda x: x[x > 0], "__getitem__: looks cells up"),
    "index of ATen": (lambda x: torch.ops.aten.index.Tensor(x, [None, None, IDS]), "index: looks cells up"),
    "flat index": (lambda x: x.flatten(1)[:, IDS], "__getitem__: looks cells up"),
    "index_select": (lambda x: x.index_select(-1, IDS), "index_select: looks cells up"),
    "gather": (lambda x: torch.gather(x, -1, like(x, -1)), "gather: looks cells up"),
    "take": (lambda x: x.take(IDS), "take: looks cells up"),
    "take_along_dim": (lambda x: torch.take_along_dim(x, like(x, 2), dim=2), "take_along_dim: looks cells up"),
    "masked_select": (lambda x: x.masked_select(x > 0), "masked_select: looks cells up"),
    "assignment": (assigned, "__setitem__: writes into a part"),
    "copy into a part": (lambda x: framed(x)[..., 1:5, 1:5].copy_(x), "copy_: writes into a part"),
    "copy into rows": (lambda x: x.new_zeros(1, 2, 6, 4).narrow(2, 1, 4).copy_(x), "copy_: writes into a part"),
    "out": (lambda x: torch.mul(x, 2, out=framed(x)[..., 1:5, 1:5]), "mul: writes into a part"),
    "every second cell": (lambda x: x.new_zeros(1, 2, 8, 8)[..., ::2, ::2].add_(x), "add_: writes into a part"),
    "slice_scatter": (lambda x: torch.slice_scatter(framed(x)[..., 1:5], x, 2, 1, 5), "slice_scatter: writes"),
    "index_put": (lambda x: x.index_put((like(x, 0, 1, 2, 3),) * 4, x[:1, :1, :1, :1]), "index_put: writes"),
    "scatter": (lambda x: framed(x).scatter_(-1, like(x, -1), x), "scatter_: puts values"),
    "index_copy": (lambda x: framed(x)[..., :4, :].index_copy(-1, IDS[1:5], x), "index_copy: puts values"),
    "max_unpool": (lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), "max_unpool2d: puts"),
    "cumsum": (lambda x: x.cumsum(-1), "cumsum: adds up"),
    "cumprod": (lambda x: torch.cumprod(x, dim=2), "cumprod: adds up"),
    "logcumsumexp": (lambda x: torch.logcumsumexp(x, 3), "logcumsumexp: adds up"),
    "cummax": (lambda x: x.cummax(dim=-1), "cummax: adds up"),
    "flip": (lambda x: x.flip(1, -1), "flip: turns the map"),
    "rot90": (lambda x: x.rot90(1, (2, 3)), "rot90: turns the map"),
    "roll": (lambda x: x.roll(1, -1), "roll: moves cells"),
    "as_strided": (lambda x: x.as_strided((1, 2, 6, 4), (0, 0, 0, 0)), "as_strided: reads memory"),
    "numpy": (lambda x: torch.from_numpy(np.pad(np.asarray(x), 1)), "__array__: leaves torch"),
    "lists": (lambda x: torch.tensor(x.tolist()), "tolist: leaves torch"),
    "recurrence": (lambda x: nn.LSTM(4, 4)(x[0]), "lstm: runs along"),
    "fold": (lambda x: F.fold(F.unfold(x, 2), (4, 4), 2), "fold: adds up windows"),
    "spectra": (lambda x: torch.fft.ifft2(torch.fft.fft2(x)), "fft_fft2: takes the signal for periodic"),
    "sampling": (lambda x: F.grid_sample(x, torch.zeros(1, 4, 4, 2), align_corners=False), "grid_sample: samples"),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_could_have_padded_is_named(name: str) -> None:
    function, words = UNSEEN[name]
    with torch.inference_mode():
        found = named(function, torch.randn(1, 2, 4, 4))
    assert any(one.startswith(words) for one in found), found


HARMLESS: dict[str, Callable[[Tensor], Any]] = {
    "a skip connection": lambda x: torch.cat((x, x), 1),
    "a skip connection by a negative number": lambda x: torch.cat((x, x), dim=-3),
    "more images": lambda x: torch.cat((x, x)),
    "images stacked": lambda x: torch.vstack((x, x)),
    "channels stacked": lambda x: torch.hstack((x, x)),
    "a new dimension before space": lambda x: torch.stack((x, x), 1),
    "slices": lambda x: x[..., 1:, ::2],
    "one row": lambda x: (x[:, :, 1], x[..., torch.tensor(1)]),
    "a new dimension": lambda x: (x[None], x[..., None], x[:, None, True]),
    "channels by index": lambda x: (x[:, [1, 0]], x[0, IDS % 2], x.index_select(1, IDS % 2)),
    "channels gathered": lambda x: torch.gather(x, 1, like(x, 1)),
    "a table by index": lambda x: torch.randn(9, 2)[IDS],
    "channels assigned": lambda x: x.__setitem__((slice(None), 0), 1.0),
    "all assigned": lambda x: x.__setitem__(..., 1.0),
    "a part of the channels": lambda x: x.chunk(2, 1)[1].relu_(),
    "images in place": lambda x: x.relu_().add_(1),
    "transposed in place": lambda x: x.transpose(-1, -2).relu_(),
    "channels last in place": lambda x: x.contiguous(memory_format=torch.channels_last).relu_(),
    "upsampling": lambda x: x.repeat_interleave(2, -1),
    "more channels": lambda x: (x.repeat(1, 3, 1, 1), x.tile(2, 1, 1)),
    "sums over channels": lambda x: (x.cumsum(1), torch.cumsum(x, 0)),
    "channels turned": lambda x: (x.flip(1), x.flip([0, 1])),
    "differences": lambda x: x.diff(),
    "operators of every day": lambda x: F.avg_pool2d(torch.sigmoid(x @ x.mT), 2).mean((2, 3)),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_could_not_is_not_named(name: str) -> None:
    with torch.inference_mode():
        assert named(HARMLESS[name], torch.randn(2, 2, 4, 4)) == []


def test_other_ranks() -> None:
    line, volume = torch.randn(2, 3, 8), torch.randn(1, 2, 4, 4, 4)
    assert named(lambda x: torch.cat((x[..., -1:], x), -1), line) == ["cat: joins pieces along a dimension of space"]
    assert named(lambda x: x[..., IDS], volume) == ["__getitem__: looks cells up by index"]
    assert named(lambda x: torch.cat((x, x), 1), volume) == []


def test_inspect_lists_no_skip_connection() -> None:
    """The generous list is not the one that `inspect` shows."""
    assert {one.operator for one in padprint.inspect(nets.unet(2, "nearest"), 32)} == {"conv2d"}
    assert len(padprint.inspect(nets.Lambda(lambda x: torch.cat((x[..., :1], x[..., IDS].cumsum(-1)), -1)), 32)) == 0
