"""A newcomer's way, with commands of README and of what they propose alone: a budget of commands, none of which may fail."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from padprint.images.synthetic import DeadLeaves

SOURCES = {
    "mynet": """
        from torch import nn

        def make():
            blocks, width = [], 3
            for more in (16, 32, 64, 64):
                blocks += [nn.Conv2d(width, more, 3, padding=1), nn.BatchNorm2d(more), nn.ReLU(), nn.MaxPool2d(2)]
                width = more
            return nn.Sequential(nn.Sequential(*blocks), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    """,
    "myunet": """
        import torch
        from torch import nn

        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

        def double(inside, outside):
            layers = []
            for width in (inside, outside):
                layers += [nn.Conv2d(width, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]
            return nn.Sequential(*layers)

        class UNet(nn.Module):
            def __init__(self, widths=(8, 16, 32)):
                super().__init__()
                self.down = nn.ModuleList(double(a, b) for a, b in zip((3, *widths), widths))
                self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in zip(widths, widths[1:]))
                self.join = nn.ModuleList(double(2 * a, a) for a in widths[:-1])
                self.head = nn.Conv2d(widths[0], 2, 1)

            def forward(self, x):
                kept = []
                for i, block in enumerate(self.down):
                    x = block(x)
                    kept.append(x)
                    if i + 1 < len(self.down):
                        x = nn.functional.max_pool2d(x, 2)
                for i in reversed(range(len(self.up))):
                    x = self.join[i](torch.cat([kept[i], self.up[i](x)], 1))
                return self.head(x)

        def make():
            return UNet()
    """,
}
NETWORKS = ["torchvision:resnet18", "mynet:make", "myunet:make"]
PHOTOGRAPHS = {
    "640x480": [(640, 480)] * 3,
    "1024x768": [(1024, 768)] * 3,
    "2560x1600": [(2560, 1600)] * 3,
    "mixed": [(640, 480), (1024, 768), (800, 1200), (2048, 1536)],
}
PROPOSED = 4
"""Most commands that `padprint check` proposes: measure, compare, inspect and halo."""


def padprint(*arguments: str, here: Path) -> tuple[int, str, float]:
    """Exit status, what was printed, and seconds."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "padprint", *arguments],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    return done.returncode, done.stdout + done.stderr, time.perf_counter() - started


def walk(network: str, sizes: list[tuple[int, int]], here: Path, *options: str) -> None:
    """One command gives an answer; what it proposes runs as it stands, and leaves two pages."""
    for name, source in SOURCES.items():
        text = source.splitlines()
        (here / f"{name}.py").write_text("\n".join(line[8:] for line in text))
    (here / "photos").mkdir()
    for i, (width, height) in enumerate(sizes):
        (scene,) = DeadLeaves(1, (height, width), seed=i, mean=(0.0,) * 3, std=(1.0,) * 3)
        pixels = (scene.clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(here / "photos" / f"{i}.jpg", quality=90)
    status, printed, seconds = padprint("check", network, "photos", *options, here=here)
    assert status == 0, printed
    sys.stderr.write(f"\n{network}, {sizes[0]}: first answer after {seconds:.0f} s\n")
    assert "Not measured" not in printed
    assert "What to do" in printed or "Nothing needs to change" in printed
    commands = [
        line.strip() for line in printed.partition("\nnext:\n")[2].splitlines() if line.startswith("  padprint ")
    ]
    assert 2 <= len(commands) <= PROPOSED
    assert not any("IMAGES" in command for command in commands)
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "padprint"
        status, printed, seconds = padprint(*arguments, here=here)
        assert status == 0, (command, printed)
        sys.stderr.write(f"{seconds:4.0f} s: {command}\n")
    assert (here / "result" / "report.html").exists()
    assert (here / "swaps" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("photographs", PHOTOGRAPHS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_first_commands_answer_and_none_fails(network: str, photographs: str, tmp_path: Path) -> None:
    walk(network, PHOTOGRAPHS[photographs], tmp_path)


@pytest.mark.slow  # test_checkup runs the commands that are proposed in one process
@pytest.mark.parametrize("network", ["mynet:make", "myunet:make"])
def test_the_same_on_small_images(network: str, tmp_path: Path) -> None:
    walk(network, [(150, 130), (130, 140), (160, 150)], tmp_path, "--size", "48")
