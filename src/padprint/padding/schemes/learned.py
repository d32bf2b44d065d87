"""Schemes with parameters, trained with the network they sit in. Every layer has one of its own: see `Scheme.sized`."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padprint.errors import PaddingError
from padprint.padding.scheme import Scheme, register
from padprint.padding.schemes.edges import by_axis, flat, framed, outwards, require, require_floats, weighted, whole
from padprint.padding.windowed import Pads


@register("padding-module")
class PaddingModule(Scheme):
    """Each channel's filter predicts the next row outwards, and learns it inside the map (arXiv 2301.04608).

    x0 = sum over j = 1 .. depth of w[c, j] x_j, where x1 .. are the cells inside x0. The filter learns from a loss of its
    own: the mean square error of the outermost rows of the map, predicted from the rows inside them. The task's gradient
    passes through the padding to the map but does not reach the filter; the local loss does not reach the map.

    Our reading: the paper's formula was not available to us. One filter for all sides, one cell wide, that starts as
    replicate padding (w[c, 1] = 1, the rest 0) is ours.

    In training, add ``sum(local_losses(model).values())`` to the task's loss. A map needs `depth` cells, and one more to
    learn from.

    Cost: `depth` products for each added cell and one copy of the map for each dimension; in training, a copy of the
    border too.

    Args:
        channels: of the map; None until `sized` tells.
        depth: rows that predict the next.
    """

    learned = True
    weight: nn.Parameter | None

    def __init__(self, channels: int | None = None, depth: int = 2) -> None:
        super().__init__()
        self.depth = whole(depth, "depth", 1)
        self.channels = None if channels is None else whole(channels, "channels", 1)
        self.register_parameter("weight", None)
        if self.channels is not None:
            self.weight = nn.Parameter(torch.eye(1, self.depth).repeat(self.channels, 1))
        self._border: Tensor | None = None

    @property
    def untrained(self) -> bool:
        """See `Scheme.untrained`."""
        w = self.weight
        return w is None or torch.equal(w, torch.eye(1, self.depth, dtype=w.dtype, device=w.device).expand_as(w))

    def sized(self, channels: int) -> PaddingModule:
        """See `Scheme.sized`."""
        if self.channels is None:
            return PaddingModule(channels, self.depth)
        if self.channels != channels:
            raise PaddingError(
                f"this padding-module has filters for {self.channels} channels, the layer has {channels}"
            )
        return deepcopy(self)

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        n, depth = len(pads), self.depth
        require_floats(x, self.name)
        weight = self._filters(x, n)
        require(x, pads, f"padding-module:depth={depth}", lambda *_: depth)
        if self.training and torch.is_grad_enabled():
            self._border = border_rows(x, pads, depth + 1)
        taps = [tap.reshape(-1, *[1] * n) for tap in weight.detach().to(x.dtype).unbind(-1)]
        return by_axis(
            x, pads, lambda y, axis, sides: outwards(y, axis, sides, depth, lambda near, _: weighted(near, taps))
        )

    def local_loss(self) -> Tensor | None:
        """The loss the filter learns from, on the last map it padded in training; None where there was none."""
        if self._border is None or self.weight is None:
            return None
        rows = self._border.to(self.weight.dtype)
        predicted = (rows[..., 1:] * self.weight[:, None]).sum(-1)
        return F.mse_loss(predicted, rows[..., 0])

    def _filters(self, x: Tensor, n: int) -> Tensor:
        if self.weight is None:
            raise PaddingError(
                "padding-module has a filter for each channel and does not know how many there are: convert the model, "
                "call sized(channels), or write padding-module:channels=..."
            )
        if x.dim() <= n or x.shape[-n - 1] != self.channels:
            raise PaddingError(f"padding-module has filters for {self.channels} channels, the map is {tuple(x.shape)}")
        return self.weight

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_border": None}


def border_rows(x: Tensor, pads: Pads, depth: int) -> Tensor | None:
    """The outermost rows on all padded sides, detached: `(C, cells, depth)`, the outermost first; None if x is too small."""
    n = len(pads)
    sides = []
    for axis, pair in zip(range(-n, 0), pads, strict=True):
        if any(pair) and x.shape[axis] >= depth:
            rows = x.detach().movedim(axis, -1)
            sides += [rows[..., :depth], rows[..., -depth:].flip(-1)]
    by_channel = [side.movedim(-n - 1, 0).reshape(x.shape[-n - 1], -1, depth) for side in sides]
    return torch.cat(by_channel, 1) if sides else None


def local_losses(model: nn.Module) -> dict[str, Tensor]:
    """The losses of the schemes in `model` that learn from one of their own, by module name.

    Only schemes that padded a map in training mode, with gradients on, since they were made.
    """
    losses = {}
    for name, module in model.named_modules():
        loss = module.local_loss() if isinstance(module, PaddingModule) else None
        if loss is not None:
            losses[name] = loss
    return losses


@register("pp-pad")
class PPPad(Scheme):
    """Peripheral prediction (Mukai and Yamanaka 2023, arXiv 2307.07725): small networks predict the next row outwards.

    x0 = ReLU(W3 ReLU(W2 ReLU(W1 u + b1) + b2) + b3), where u holds the `depth` rows inside x0, `width` cells of each,
    centred on x0. One network for each side, with 8 hidden units; applied once for each added row. Trained by the task's loss.
    Beyond the ends of a row there are zeros, as in the authors' code.

    Two variants, both theirs: ``mlp``, the paper's, one network shared by all channels; ``conv``, what their configuration
    chooses, whose u holds all channels and whose one number goes to every channel.

    Two orders: ``steps``, as their code, ring after ring around the map, in each ring top, bottom, left, right; the outermost
    corners stay zero. ``dimensions``, ours: the last dimension first, and the rows of the next one are as long as that made
    them, so that corners are predicted too. Maps of 1 and 3 dimensions, where u is `width` cells wide in every direction, are
    ours.

    Cost: depth width 8 + 64 + 8 products for each added cell (``conv``: depth width C 8 instead of the first), and one copy of the
    map for each dimension or row.

    Args:
        dims: dimensions of the map.
        depth: rows that predict the next.
        width: cells of each row; odd.
        hidden: units of both hidden layers.
        variant: ``mlp`` or ``conv``.
        order: ``steps`` or ``dimensions``.
        channels: of the map, for ``conv``; None until `sized` tells.
    """

    learned = True

    def __init__(
        self,
        dims: int = 2,
        depth: int = 2,
        width: int = 3,
        hidden: int = 8,
        variant: str = "mlp",
        order: str = "steps",
        channels: int | None = None,
    ) -> None:
        super().__init__()
        self.dims, self.depth, self.width = whole(dims, "dims", 1), whole(depth, "depth", 1), whole(width, "width", 1)
        if width % 2 == 0:
            raise PaddingError(f"the width of pp-pad is odd; it is {width}")
        if variant not in ("mlp", "conv"):
            raise PaddingError(f"the variant of pp-pad is mlp or conv; it is {variant!r}")
        if order not in ("steps", "dimensions"):
            raise PaddingError(f"the order of pp-pad is steps or dimensions; it is {order!r}")
        if channels is not None and variant == "mlp":
            raise PaddingError(
                "the channels of pp-pad are for variant=conv: the networks of mlp are shared by all channels"
            )
        self.variant, self.order, self.hidden = variant, order, whole(hidden, "hidden", 1)
        self.channels = None if channels is None else whole(channels, "channels", 1)
        inputs = depth * width ** (dims - 1) * (self.channels or 1)
        known = variant == "mlp" or self.channels is not None
        self.sides = nn.ModuleList(three_layers(inputs, self.hidden) for _ in range(2 * dims if known else 0))
        self._start = [parameter.detach().clone() for parameter in self.parameters()]

    @property
    def untrained(self) -> bool:
        """See `Scheme.untrained`."""
        pairs = zip(self.parameters(), self._start, strict=True)
        return all(torch.equal(now.detach(), start.to(now)) for now, start in pairs)

    def sized(self, channels: int) -> PPPad:
        """See `Scheme.sized`: networks of the same sizes with fresh weights."""
        if self.channels not in (None, channels):
            raise PaddingError(f"this pp-pad has networks for {self.channels} channels, the layer has {channels}")
        own = channels if self.variant == "conv" else None
        return PPPad(self.dims, self.depth, self.width, self.hidden, self.variant, self.order, own)

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """See `Scheme.pad`."""
        if len(pads) != self.dims:
            raise PaddingError(
                f"this pp-pad is for {self.dims} dimensions, the map has {len(pads)}: write pp-pad:dims=..."
            )
        require_floats(x, self.name)
        require(x, pads, f"pp-pad:depth={self.depth}", lambda *_: self.depth)
        if self.variant == "conv":
            self._require_channels(x)
        if self.order == "steps":
            return self._in_steps(x, pads)

        def extend(y: Tensor, axis: int, sides: tuple[int, int]) -> Tensor:
            return outwards(y, axis, sides, self.depth, lambda near, end: self._predicted(near, axis, end))

        return by_axis(x, pads, extend)

    def _require_channels(self, x: Tensor) -> None:
        if self.channels is None:
            raise PaddingError(
                "pp-pad:variant=conv has networks for all channels and does not know how many there are: convert the model, "
                "call sized(channels), or write channels=..."
            )
        if x.dim() <= self.dims or x.shape[-self.dims - 1] != self.channels:
            raise PaddingError(f"this pp-pad has networks for {self.channels} channels, the map is {tuple(x.shape)}")

    def _predicted(self, near: list[Tensor], axis: int, end: int) -> Tensor:
        """The next row outwards of an axis, from the rows inside it, the nearest first."""
        around = torch.cat([neighbourhoods(row, axis, self.dims, self.width) for row in near], -1)
        channel = -self.dims - 2  # of `around`, which has one dimension more
        if self.variant == "conv":
            around = around.movedim(channel, -2).flatten(-2)
        network = cast("nn.Sequential", self.sides[2 * (axis + self.dims) + end])
        weight = cast("nn.Linear", network[0]).weight
        made: Tensor = network(around.to(weight.dtype)).to(near[0].dtype)
        if self.variant == "conv":
            return made.movedim(-1, -self.dims - 1).expand_as(near[0])
        return made.squeeze(-1)

    def _in_steps(self, x: Tensor, pads: Pads) -> Tensor:
        """Ring after ring around the map, side after side; outermost corners stay zero."""
        out = framed(x, pads, x.new_zeros(()))
        axes = range(-self.dims, 0)
        for step in range(max(max(pair) for pair in pads)):
            for axis, pair in zip(axes, pads, strict=True):
                for end, count in enumerate(pair):
                    if step >= count:
                        continue
                    row = pair[0] + x.shape[axis] + step if end else pair[0] - 1 - step
                    inwards = -1 if end else 1
                    near = [out.narrow(axis, row + inwards * (k + 1), 1) for k in range(self.depth)]
                    made, target = self._predicted(near, axis, end), out.narrow(axis, row, 1)
                    for other, (before, after) in zip(axes, pads, strict=True):
                        if other != axis:
                            first = min(before, 1)
                            length = out.shape[other] - first - min(after, 1)
                            made, target = made.narrow(other, first, length), target.narrow(other, first, length)
                    target.copy_(made)
        return out


def three_layers(inputs: int, hidden: int) -> nn.Sequential:
    """The network of one side."""
    layers = (
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 1),
        nn.ReLU(),
    )
    return nn.Sequential(*layers)


def neighbourhoods(row: Tensor, axis: int, n: int, width: int) -> Tensor:
    """For each cell of a row across `axis`, the `width` cells around it along the other dimensions, in a last dimension."""
    dims, half = row.dim(), width // 2
    along = [at for at in range(-n, 0) if at != axis]
    y = F.pad(row, flat(tuple((0, 0) if at == axis else (half, half) for at in range(-n, 0))))
    for at in along:
        y = y.unfold(dims + at, width, 1)
    return y.reshape(*row.shape, -1)
