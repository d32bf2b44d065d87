"""A small denoising U-Net, trained in minutes with zero padding and again with reflect padding, for the guide on halos.

    python denoiser.py PHOTOGRAPHS FOLDER

writes denoiser-zeros.pth and denoiser-reflect.pth, noisy photographs (noisy/) and others that the training has not seen
(held-out/). `zeros` and `reflect` make the networks for the command line: ``padprint halo denoiser:zeros``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

NOISE = 0.1  # standard deviation, where white is 1
WIDTHS = (16, 24, 32)
STEPS, BATCH, PATCH = 400, 8, 64


class Denoiser(nn.Module):
    """A U-Net of two levels down and up, that tells the noise of an image."""

    def __init__(self, padding_mode: str) -> None:
        super().__init__()

        def two(channels: int, out: int) -> nn.Sequential:
            convolutions = [nn.Conv2d(n, out, 3, padding=1, padding_mode=padding_mode) for n in (channels, out)]
            return nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU())

        one, two_, three = WIDTHS
        self.down = nn.ModuleList([two(3, one), two(one, two_), two(two_, three)])
        self.up = nn.ModuleList([two(three + two_, two_), two(two_ + one, one)])
        self.last = nn.Conv2d(one, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 3, H, W)` noisy images to `(B, 3, H, W)` clean ones."""
        skips = []
        y = x
        for i, block in enumerate(self.down):
            y = block(y if i == 0 else F.max_pool2d(y, 2))
            skips.append(y)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            y = block(torch.cat([F.interpolate(y, scale_factor=2, mode="nearest"), skip], 1))
        return x - self.last(y)


def zeros() -> nn.Module:
    """The network with zero padding."""
    return Denoiser("zeros")


def reflect() -> nn.Module:
    """The network with reflect padding."""
    return Denoiser("reflect")


def photographs(folder: Path) -> list[Tensor]:
    """The photographs of a folder, `(3, H, W)` in [0, 1], at half their size."""
    images = []
    for path in sorted(folder.iterdir()):
        image = Image.open(path).convert("RGB")
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
        images.append(torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255)
    return images


def train(net: nn.Module, images: list[Tensor]) -> float:
    """Train on random patches; returns the rms error of the last hundred steps."""
    rng = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, STEPS)
    errors = []
    for _ in range(STEPS):
        patches = []
        for _ in range(BATCH):
            image = images[int(torch.randint(len(images), (1,), generator=rng))]
            y, x = (int(torch.randint(n - PATCH, (1,), generator=rng)) for n in image.shape[1:])
            patches.append(image[:, y : y + PATCH, x : x + PATCH])
        clean = torch.stack(patches)
        loss = F.mse_loss(net(clean + NOISE * torch.randn(clean.shape, generator=rng)), clean)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        errors.append(loss.item())
    return float(np.mean(errors[-100:])) ** 0.5


def write_noisy(images: list[Tensor], folder: Path, seed: int) -> None:
    """Write images with noise added."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(seed)
    for i, image in enumerate(images):
        noisy = (image + NOISE * torch.randn(image.shape, generator=rng)).clamp(0, 1)
        pixels = (noisy * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{i:02}.png")


def main(source: Path, folder: Path) -> None:
    """Train both networks and write everything."""
    images = photographs(source)
    seen, unseen = images[:-4], images[-4:]
    for name, make in (("zeros", zeros), ("reflect", reflect)):
        torch.manual_seed(0)
        net, start = make(), time.perf_counter()
        error = train(net, seen)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), folder / f"denoiser-{name}.pth")
        sys.stderr.write(f"{name}: rms error {error:.4f} of noise {NOISE}, {time.perf_counter() - start:.0f} s\n")
    write_noisy(seen, folder / "noisy", 1)
    write_noisy(unseen, folder / "held-out", 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
