"""Memory: what a pass takes, what fits, and what is refused before it is computed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import padprint
from padprint.errors import ImagesError, ModelError
from padprint.measuring import memory, session
from padprint.measuring.memory import free_bytes, peak_bytes

CPU = torch.device("cpu")


def scenes(axes: int, size: int, n: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, *(size,) * axes, generator=generator) for _ in range(n)]


def network(axes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
    return nn.Sequential(conv(2, 8, 3, padding=1), nn.Tanh(), conv(8, 4, 3, padding=1))


def test_the_peak_is_what_lives_at_once() -> None:
    def work() -> Tensor:
        first = torch.zeros(1000)  # 4000 bytes
        second = first + 1  # 8000
        del first
        third = second[:10]  # a view: nothing new
        return third * 2  # 4000 and 40

    assert peak_bytes(work) == 8000
    assert peak_bytes(lambda: [torch.zeros(10, dtype=torch.float64) for _ in range(3)]) == 240
    assert peak_bytes(lambda: None) == 0


def test_a_network_takes_what_its_maps_take() -> None:
    """Of 2 channels in, 8 and 8 and 4 out, of 4 bytes: the input, 8 and 8 at once, while the measured 8 are kept."""
    found: list[Any] = []
    whole = memory.taken_by

    def told(*given: Any) -> Any:
        found.append(whole(*given))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "taken_by", told)
        padprint.measure(network(), scenes(2, 96), layers=["0", "2"], crop=32, memory=10, groups=3)
    (taken,) = found
    assert taken.kept == 4 * (8 + 4 + 2)
    assert 4 * (2 + 8 + 8) <= taken.running <= 4 * (2 + 2 + 8 + 8 + 8 + 4)
    assert taken.states == 3
    canvas, crop = (96, 96), (32, 32)
    states = 2 * 3 * taken.kept * 32 * 32
    assert taken.need(canvas, 1, crop) == pytest.approx(
        max(taken.running * 96**2, taken.kept * 96**2 + taken.running * 32**2) + states, abs=1
    )


def test_what_is_free_is_told() -> None:
    free = free_bytes(CPU)
    assert free is not None
    assert 1e6 < free < 1e15
    assert free_bytes(torch.device("meta")) is None


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_what_cannot_fit_is_refused_before_it_runs_with_what_fits(axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    crop = {1: 400, 2: 48, 3: 24}[axes]
    canvas = "x".join([str(crop + 4)] * axes)
    images = scenes(axes, {1: 2000, 2: 96, 3: 40}[axes])
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100 * crop**axes)
    monkeypatch.setattr(session, "Checked", lambda *_: pytest.fail("it ran"))
    with pytest.raises(
        ImagesError, match=rf"one canvas of {canvas} .*, a crop of .* with batch_size=1, and .* GB are free: use "
    ) as error:
        padprint.measure(network(axes), images, crop=crop, groups=2)
    assert "a smaller crop (crop=" in str(error.value)
    with pytest.raises(
        ImagesError, match=rf"one canvas of {canvas} .*, a tile of .* GB are free: use a smaller tile \(tile="
    ):
        monkeypatch.setattr(memory, "free_bytes", lambda device: 20 * crop**axes)
        padprint.halo(network(axes), images, tile=crop)


def test_the_crop_that_is_named_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100 * 48**2)
    with pytest.raises(ImagesError, match="a smaller crop") as error:
        padprint.measure(network(), scenes(2, 96), crop=48, groups=2, batch_size=1)
    named = int(str(error.value).split("(crop=")[1].split(")")[0])
    assert 1 < named < 48
    assert padprint.measure(network(), scenes(2, 96), crop=named, groups=2, batch_size=1).crop == (named, named)
    with pytest.raises(ImagesError, match="one canvas of"):
        padprint.measure(network(), scenes(2, 96), crop=named + 1, groups=2, batch_size=1)


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 800_000)
    with pytest.raises(
        ImagesError, match=r"batches of 16 crops of 32x32 px take .* use batch_size=\d+, or memory=N"
    ) as error:
        padprint.measure(network(), scenes(2, 96), crop=32, groups=2)
    named = int(str(error.value).split("batch_size=")[1].split(",")[0])
    assert 1 <= named < 16
    padprint.measure(network(), scenes(2, 96), crop=32, groups=2, batch_size=named)


def test_what_is_free_never_changes_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    first = padprint.measure(network(), scenes(2, 96), crop=32, groups=3)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 40_000_000)  # enough, and little enough to be looked at
    second = padprint.measure(network(), scenes(2, 96), crop=32, groups=3)
    assert torch.equal(first["2"].pattern, second["2"].pattern)
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    third = padprint.measure(network(), scenes(2, 96), crop=32, groups=3)
    assert torch.equal(first["2"].pattern, third["2"].pattern)


def test_a_stated_bound_cuts_canvases_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Any] = []
    whole = session.fitted

    def seen(plan: Any, *given: Any) -> Any:
        plans.append((plan, whole(plan, *given)))
        return plans[-1][1]

    monkeypatch.setattr(session, "fitted", seen)
    found = padprint.measure(network(), scenes(2, 128), crop=32, groups=3, memory=0.004)
    (before, (plan, settings)), *_ = plans
    assert settings.batch_size < 16
    assert plan.most < before.most
    sizes = [one.size for one in plan.canvases((128, 128), 0)]
    assert all(rows * columns <= max(plan.most, 36 * 36) for rows, columns in sizes)
    assert len(sizes) > len(before.canvases((128, 128), 0))
    assert found.provenance["memory"] == 0.004
    for wrong in (0.0, -1.0, float("inf")):
        with pytest.raises(ModelError, match="memory must be GB above 0"):
            padprint.measure(network(), scenes(2, 96), crop=32, memory=wrong)
    with pytest.raises(ImagesError, match=r"of the memory stated 2\.86e-06 GB are for"):
        padprint.measure(network(), scenes(2, 96), crop=32, memory=1e-5)


MEASURED = """
import sys, threading, time
import torch, padprint
from torch import nn
import padprint.measuring.session as session

which, bound = sys.argv[1], float(sys.argv[2])
torch.set_num_threads(1)
torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)

def scenes(channels, *size):
    return [torch.randn(channels, *size, generator=generator) for _ in range(2)]

if which == "vgg":
    from torchvision.models import vgg11_bn
    net, images = vgg11_bn(weights=None).features, scenes(3, 720, 720)
    options = dict(crop=128, margin=64)
elif which == "unet":
    from monai.networks.nets import BasicUNet
    net, images = BasicUNet(3, 1, 2, features=(8, 8, 16, 32, 64, 8), norm="batch"), scenes(1, 96, 96, 96)
    options = dict(crop=32, margin=16, crops_per_image=8)
else:
    widths = [1, *[32] * 8]
    net = nn.Sequential(*[nn.Sequential(nn.Conv1d(a, 32, 9, padding=4 * 2**i, dilation=2**i), nn.ReLU()) for i, a in enumerate(widths[:-1])])
    images, options = scenes(1, 200000), dict(crop=8192)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

first, most, over = resident(), [0], threading.Event()

def watch():
    while not over.is_set():
        most[0] = max(most[0], resident())
        time.sleep(0.001)

fitted = session.fitted
def start(*given):
    found = fitted(*given)
    global first
    first = resident()
    threading.Thread(target=watch, daemon=True).start()
    return found
session.fitted = start
padprint.measure(net.eval(), images, groups=2, memory=bound, **options)
over.set()
print((most[0] - first) / 1e9)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads what a process holds from /proc")
@pytest.mark.parametrize(("which", "bound"), [("vgg", 0.5), ("unet", 0.8), ("wave", 0.3)])
def test_a_pass_stays_within_its_bound(which: str, bound: float) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, which, str(bound)], capture_output=True, text=True, check=True
    )
    assert 0.1 * bound < float(done.stdout.split()[-1]) <= bound
