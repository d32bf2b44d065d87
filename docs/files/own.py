"""The networks and files of docs/files.md: `python own.py` writes the files."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import soundfile
import torch
from torch import Tensor, nn


class Causal(nn.Module):
    """A WaveNet-like stack: it sees 1 + 2 + ... + 512 = 1023 samples of the past."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(1 if i == 0 else 8, 8, 2, dilation=2**i) for i in range(10))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, L)` as long as its input."""
        for i, conv in enumerate(self.convolutions):
            x = torch.tanh(conv(nn.functional.pad(x, (2**i, 0))))
        return x


def volume() -> nn.Module:
    """Down and up once."""
    norm = nn.BatchNorm3d
    down = [nn.Conv3d(1, 8, 3, padding=1), norm(8), nn.ReLU(), nn.Conv3d(8, 16, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*down, nn.ConvTranspose3d(16, 8, 2, stride=2), nn.ReLU(), nn.Conv3d(8, 2, 3, padding=1))


def main() -> None:
    """Write ``speech``, ``scans`` and ``stack.npy``."""
    generator = np.random.default_rng(0)
    Path("speech").mkdir()
    Path("scans").mkdir()
    for i in range(6):
        soundfile.write(f"speech/{i}.wav", np.cumsum(generator.normal(size=40000)) / 400, 16000)
        voxels = generator.normal(size=(40, 72, 72)).astype(np.float32)
        nibabel.Nifti1Image(voxels, np.diag([-3.0, 1.0, 1.0, 1.0])).to_filename(f"scans/{i}.nii.gz")
    np.save("stack.npy", voxels)


if __name__ == "__main__":
    main()
