"""Networks and scenes of which it is known what padding tells about position: the truths that metrics are tried on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padprint.images.synthetic import DeadLeaves
from padprint.network.batchnorm import calibrate_batchnorm

CROP = 64
CHANNELS = 8
REACH = 16
"""How far the injected pattern reaches into the crop, px."""
LAYER = "features"
"""The layer to look at: each network's only output, a `(B, CHANNELS, h, w)` map of stride 1."""


@dataclass(frozen=True)
class Known:
    """A network, its scenes, and what is true of them.

    Attributes:
        name: for tables and records.
        words: what makes the truth known.
        network: makes the network from a seed, in evaluation mode.
        scenes: makes so many scenes from a seed, `(3, H, W)`, mean about 0 and variance about 1.
        response: whether padding changes features at all.
        position: whether what padding adds tells where a cell is.
        amplitude: root mean square over cells and channels of the pattern that padding adds, or None where it is not
            known. The features have variance 1 where it is.
    """

    name: str
    words: str
    network: Callable[[int], nn.Module]
    scenes: Callable[[int, int], Sequence[Tensor]]
    response: bool
    position: bool
    amplitude: float | None = None


def known() -> list[Known]:
    """The cases of the reliability study."""
    return [
        Known("1x1 convolutions", "nothing pads", pointwise, _leaves(96), False, False, 0.0),
        Known("no padding", "nothing pads", lambda seed: relu_net(seed, padding=0), _leaves(96), False, False, 0.0),
        Known(
            "circular, periodic scenes",
            "what circular padding supplies is what is really there",
            lambda seed: relu_net(seed, padding_mode="circular"),
            lambda seed, count: Changed(DeadLeaves(count, CROP, seed, radii=(3, 24), periodic=True), tiled),
            False,
            False,
            0.0,
        ),
        Known(
            "position in the scenes, no padding",
            "bright above and dark below, and nothing pads",
            pointwise,
            lambda seed, count: Changed(DeadLeaves(count, 80, seed), graded),
            False,
            False,
            0.0,
        ),
        Known(
            "constant shift",
            "padding moves every cell by the same amount",
            lambda seed: Shifted(seed, 0.5),
            _leaves(352),
            True,
            False,
        ),
        Known(
            "zeros, linear, mean 0",
            "padding changes the border's variance; its mean stays 0",
            lambda seed: Marked(seed, 0.0),
            _leaves(160),
            True,
            False,
            0.0,
        ),
        Known("zeros, random ReLU network", "zero padding of an untrained network", relu_net, _leaves(96), True, True),
        *injected((0.1, 0.5)),
    ]


def injected(amplitudes: Sequence[float]) -> list[Known]:
    """Networks with an injected pattern of known size."""
    return [
        Known(
            f"injected pattern, {amplitude:g}",
            f"a fixed pattern from padding, rms {amplitude:g} of the features'",
            lambda seed, amplitude=amplitude: Marked(seed, amplitude),  # type: ignore[misc]
            _leaves(160),
            True,
            amplitude > 0,
            amplitude,
        )
        for amplitude in amplitudes
    ]


# ------------------------------------------------------------------------------------------------------- the networks


def pointwise(seed: int) -> nn.Module:
    """Two 1x1 convolutions: every cell sees one pixel."""
    with _seeded(seed):
        layers = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, CHANNELS, 1))
    return Named(layers)


def relu_net(seed: int, padding: int = 1, padding_mode: Literal["zeros", "circular"] = "zeros") -> nn.Module:
    """Three 3x3 convolutions with batch normalisation, calibrated on dead leaves, and ReLU; random weights."""
    with _seeded(seed):
        layers: list[nn.Module] = []
        for channels in (3, 16, 16):
            out = CHANNELS if len(layers) == 6 else 16
            layers += [
                nn.Conv2d(channels, out, 3, padding=padding, padding_mode=padding_mode, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]
    net = Named(nn.Sequential(*layers))
    calibrate_batchnorm(net, _calibration())
    return net.eval()


class Named(nn.Module):
    """Layers under the name of the layer to look at."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.features = layers
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """See `torch.nn.Module`."""
        features: Tensor = self.features(x)
        return features


class Marked(nn.Module):
    """A linear zero-padded layer of variance 1, plus a pattern of known size that comes from zero padding.

    The pattern is a convolution of a map of ones, less its value far from any border: wherever the real scene goes on
    it is exactly 0, and in a padded crop it is what the kernel misses. Each channel's kernel looks a random way and
    falls off within 2 to 6 px.

    Args:
        seed: of the weights.
        amplitude: root mean square of the pattern over a crop's cells and channels.
    """

    def __init__(self, seed: int, amplitude: float) -> None:
        super().__init__()
        with _seeded(seed):
            self.content = _linear()
            direction = 2 * torch.pi * torch.rand(CHANNELS)
            length = 2 + 4 * torch.rand(CHANNELS)
            sign = torch.sign(torch.rand(CHANNELS) - 0.5)
        at = torch.arange(-REACH, REACH + 1.0)
        y, x = torch.meshgrid(at, at, indexing="ij")
        along = x * direction.cos()[:, None, None] + y * direction.sin()[:, None, None]
        away = (x.square() + y.square()).sqrt()
        kernels = (along > 0) * torch.exp(-away / length[:, None, None]) * sign[:, None, None]
        missing = _missed(kernels, CROP)
        self.register_buffer("kernels", kernels[:, None] * (amplitude / missing.square().mean().sqrt()))
        self.features = nn.Identity()
        self.eval()

    kernels: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """See `torch.nn.Module`."""
        seen = F.conv2d(torch.ones_like(x[:, :1]), self.kernels, padding=REACH)
        pattern = seen - self.kernels.sum((1, 2, 3))[:, None, None]
        features: Tensor = self.features(self.content(x) + pattern)
        return features

    def pattern(self) -> Tensor:
        """`(CHANNELS, CROP, CROP)`: what padding adds to a crop, worked out without padding anything."""
        return -_missed(self.kernels[:, 0], CROP)


class Shifted(nn.Module):
    """A linear zero-padded layer of variance 1, plus a shift that padding causes and that is the same in all cells.

    The shift counts ones in a window so large that every cell of an input of up to 128 px sees all of it: in a crop the
    count is the crop's area, in the middle of a scene it is the window's.

    Args:
        seed: of the weights.
        amplitude: size of the shift in a crop of `CROP` px.
    """

    WIDEST = 128

    def __init__(self, seed: int, amplitude: float) -> None:
        super().__init__()
        with _seeded(seed):
            self.content = _linear()
            sign = torch.sign(torch.rand(CHANNELS) - 0.5)
        full = (2 * self.WIDEST - 1) ** 2
        self.register_buffer("scale", (amplitude * sign / (1 - CROP**2 / full))[:, None, None])
        self.features = nn.Identity()
        self.eval()

    scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """See `torch.nn.Module`."""
        n = 2 * self.WIDEST - 1
        ones = torch.ones(1, 1, n, 1, dtype=x.dtype, device=x.device)
        rows = F.conv2d(torch.ones_like(x[:, :1]), ones, padding=(n // 2, 0))
        count = F.conv2d(rows, ones.transpose(2, 3), padding=(0, n // 2))
        features: Tensor = self.features(self.content(x) + self.scale * (1 - count / n**2))
        return features


@cache
def _calibration() -> Tensor:
    """Eight scenes that set the scale of every network, `(8, 3, 96, 96)`."""
    return torch.stack(list(DeadLeaves(8, 96, seed=1_000_003)))


def _linear() -> nn.Conv2d:
    """A zero-padded 3x3 convolution without bias, scaled so that its output has variance 1 on dead leaves."""
    layer = nn.Conv2d(3, CHANNELS, 3, padding=1, bias=False)
    with torch.no_grad():
        out = layer(_calibration())[..., 1:-1, 1:-1]
        layer.weight /= out.square().mean((0, 2, 3)).sqrt()[:, None, None, None]
    return layer


def _missed(kernels: Tensor, size: int) -> Tensor:
    """`(C, size, size)`: for each cell the sum of the kernel's `(C, k, k)` values that lie outside the crop."""
    reach = kernels.shape[-1] // 2
    outside = torch.ones(size + 2 * reach, size + 2 * reach, dtype=kernels.dtype)
    outside[reach : reach + size, reach : reach + size] = 0
    return F.conv2d(outside[None, None], kernels[:, None])[0]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers from a seed, and left as found."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


# --------------------------------------------------------------------------------------------------------- the scenes


class Changed(Sequence[Tensor]):
    """Scenes, each changed when it is asked for."""

    def __init__(self, scenes: Sequence[Tensor], change: Callable[[Tensor], Tensor]) -> None:
        self._scenes, self._change = scenes, change

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # one scene at a time
        return self._change(self._scenes[index])


def tiled(scene: Tensor) -> Tensor:
    """A periodic `(C, H, W)` scene three times in each direction: any window of H x W px in it is periodic too."""
    return scene.repeat(1, 3, 3)


def graded(scene: Tensor) -> Tensor:
    """A scene made brighter above and darker below, by up to 1.5."""
    return scene + torch.linspace(1.5, -1.5, scene.shape[1])[None, :, None]


def _leaves(size: int) -> Callable[[int, int], Sequence[Tensor]]:
    return lambda seed, count: DeadLeaves(count, size, seed)
