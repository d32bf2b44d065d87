"""The measurements of docs/global.md: a U-Net with three normalisations, trained to remove noise; networks of libraries.

python docs/data/norms.py PHOTOS            # a folder of a dozen photographs; about six minutes on one core
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import padprint
from padprint.images.folder import ImageFolder

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BatchNorm": nn.BatchNorm2d,
    "InstanceNorm": lambda n: nn.InstanceNorm2d(n, affine=True),
    "GroupNorm": lambda n: nn.GroupNorm(4, n),
}
STEPS, TILES = 400, (64, 128, 256)


class UNet(nn.Module):
    """Three resolutions, two convolutions at each, nearest-neighbour upsampling."""

    def __init__(self, norm: Callable[[int], nn.Module], width: int = 12) -> None:
        super().__init__()

        def block(n: int, m: int) -> nn.Sequential:
            layers = [[nn.Conv2d(a, m, 3, padding=1), norm(m), nn.ReLU()] for a in (n, m)]
            return nn.Sequential(*layers[0], *layers[1])

        self.down = nn.ModuleList([block(3, width), block(width, 2 * width), block(2 * width, 4 * width)])
        self.up = nn.ModuleList([block(6 * width, 2 * width), block(3 * width, width)])
        self.last = nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The input without its noise."""
        first = self.down[0](x)
        second = self.down[1](F.max_pool2d(first, 2))
        third = self.down[2](F.max_pool2d(second, 2))
        second = self.up[0](torch.cat([F.interpolate(third, scale_factor=2.0), second], 1))
        first = self.up[1](torch.cat([F.interpolate(second, scale_factor=2.0), first], 1))
        noise: Tensor = self.last(first)
        return x - noise


def trained(norm: str, photographs: list[Tensor]) -> tuple[nn.Module, float]:
    """A network trained on 64 px crops with noise of standard deviation 0.1; its mean squared error on the last steps."""
    torch.manual_seed(0)
    net = UNet(NORMS[norm]).train()
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    errors = []
    for _ in range(STEPS):
        clean = []
        for i in torch.randint(len(photographs), (8,)).tolist():
            y, x = (int(torch.randint(n - 63, ())) for n in photographs[i].shape[-2:])
            clean.append(photographs[i][:, y : y + 64, x : x + 64])
        batch = torch.stack(clean)
        error = F.mse_loss(net(batch + 0.1 * torch.randn_like(batch)), batch)
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    return net.eval(), sum(errors[-50:]) / 50


def main(folder: str) -> None:
    """Train, measure and print."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    files = sorted(Path(folder).iterdir())
    half = ImageFolder(files, mean=(0, 0, 0), std=(1, 1, 1), resize_short_side=512)
    images = [image for _, image in half.items()]
    training, others = (
        images[::2],
        [
            one + 0.1 * torch.randn(one.shape, generator=torch.Generator().manual_seed(i))
            for i, one in enumerate(images[1::2])
        ],
    )
    for norm in NORMS:
        started = time.perf_counter()
        net, error = trained(norm, training)
        print(
            f"## {norm}: mean squared error {error:.5f} (noise 0.01), trained in {time.perf_counter() - started:.0f} s\n"
        )
        for tile in TILES:
            print(padprint.measure(net, others, "output", tile, crops_per_image=4, name=norm), "\n", flush=True)
    generator = torch.Generator().manual_seed(1)
    crops = [image[:, :256, :256] for image in training]
    torch.manual_seed(0)
    import monai.networks.nets
    import torchvision

    gates = torchvision.models.mobilenet_v3_small()
    padprint.calibrate_batchnorm(gates, crops)
    print("## torchvision mobilenet_v3_small, random weights, BatchNorm calibrated\n")
    large = ImageFolder(files[1::2], mean=(0, 0, 0), std=(1, 1, 1), resize_short_side=768)
    print(
        padprint.measure(gates, (image for _, image in large.items()), crop=64, crops_per_image=2, batch_size=2),
        "\n",
        flush=True,
    )
    print("## MONAI UNet, random weights, noise of 80 px\n")
    unet = monai.networks.nets.UNet(2, 1, 2, (8, 16, 32), (2, 2))
    noise = [torch.randn(1, 80, 80, generator=generator) for _ in range(20)]
    print(padprint.measure(unet, noise, "output", 64, crops_per_image=1), "\n")


if __name__ == "__main__":
    main(sys.argv[1])
