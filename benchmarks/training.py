"""What watching costs a training, and that it changes nothing: digits on dead leaves, with and without the watch.

    python benchmarks/training.py [--steps 2000] [--every 25] [--tensorboard FOLDER]

Trains the same small network twice from the same seed. Needs scikit-learn (the digits).
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import padprint
from padprint.images.synthetic import dead_leaves
from padprint.training import Watch

CROP, SCENE, SCENES = 48, 128, 12
LAYERS = ["1.2", "2.2", "3.2"]


def network() -> nn.Module:
    """Four stages of convolution, BatchNorm and ReLU, strides 1, 2, 2, 2; the class from the largest value on the map."""
    torch.manual_seed(0)
    widths = (3, 16, 32, 64, 64)
    stages = [
        nn.Sequential(nn.Conv2d(a, b, 3, 1 + (i > 0), 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
        for i, (a, b) in enumerate(pairwise(widths))
    ]
    return nn.Sequential(*stages, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


class Digits:
    """Crops of dead leaves, each with one digit of 16 px anywhere in it, so that no label says where anything is."""

    def __init__(self) -> None:
        found = load_digits()
        small = torch.from_numpy(found.images).float()[:, None] / 16
        self.ink = F.interpolate(small, scale_factor=2, mode="bilinear")
        self.labels = torch.from_numpy(found.target)
        self.leaves = torch.stack([dead_leaves(SCENE, seed) for seed in range(64)])

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Crops `(count, 3, CROP, CROP)` and their digits."""
        which = torch.randint(len(self.labels), (count,))
        crops = [self._pasted(self._cut(), int(i)) for i in which]
        return torch.stack(crops), self.labels[which]

    def scenes(self) -> list[Tensor]:
        """To measure on: whole scenes with nine digits each."""
        scenes = [dead_leaves(SCENE, seed) for seed in range(1000, 1000 + SCENES)]
        for scene in scenes:
            for i in torch.randint(len(self.labels), (9,)).tolist():
                self._pasted(scene, i)
        return [(scene - 0.5) * 2 for scene in scenes]

    def _cut(self) -> Tensor:
        i, y, x = int(torch.randint(len(self.leaves), ())), *torch.randint(SCENE - CROP + 1, (2,)).tolist()
        return (self.leaves[i, :, y : y + CROP, x : x + CROP].clone() - 0.5) * 2

    def _pasted(self, scene: Tensor, i: int) -> Tensor:
        y, x = torch.randint(scene.shape[-1] - 16 + 1, (2,)).tolist()
        scene[:, y : y + 16, x : x + 16] = 2 * self.ink[i] - 1
        return scene


def train(
    data: Digits, scenes: list[Tensor], steps: int, watch_with: dict[str, object] | None
) -> tuple[nn.Module, Watch | None, float, float]:
    """The network, its watch, wall and processor seconds."""
    torch.manual_seed(1)
    net = network()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    wall, processor = time.perf_counter(), time.process_time()
    watch = (
        None if watch_with is None else Watch(net, scenes, layers=LAYERS, crop=CROP, crops_per_image=4, **watch_with)
    )
    if watch is not None:
        watch(0)
    for step in range(1, steps + 1):
        crops, labels = data.batch(32)
        optimiser.zero_grad()
        loss = F.cross_entropy(net(crops), labels)
        loss.backward()
        optimiser.step()
        if watch is not None:
            watch(step)
    return net, watch, time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=25)
    parser.add_argument("--tensorboard")
    asked = parser.parse_args()
    data, logged = Digits(), {}
    log: list[object] = [lambda values, step: logged.update({step: values})]
    if asked.tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        log.append(SummaryWriter(asked.tensorboard))
    torch.manual_seed(3)
    scenes = data.scenes()
    plain, _, *without = train(data, scenes, asked.steps, None)
    watched, watch, *with_watch = train(data, scenes, asked.steps, {"log": log, "every": asked.every, "strict": True})
    torch.manual_seed(2)
    crops, labels = data.batch(1000)
    with torch.no_grad():
        accuracy = (watched.eval()(crops).argmax(1) == labels).double().mean()
    print(f"{'step':>6}  " + "  ".join(f"SNR of {name:<4}" for name in LAYERS))
    steps = list(logged)
    for step in sorted({steps[i * (len(steps) - 1) // 9] for i in range(10)}):
        print(f"{step:>6}  " + "  ".join(f"{logged[step][f'padprint/{name}/snr']:<11.3g}" for name in LAYERS))
    print(f"{len(steps)} measurements of {SCENES} scenes in {asked.steps} steps; accuracy {accuracy:.3f}")
    print(f"share of the time, by the watch: {watch.share:.3f}")
    print(f"wall time {without[0]:.1f} s without, {with_watch[0]:.1f} s with the watch")
    print(f"processor time {without[1]:.1f} s without, {with_watch[1]:.1f} s with the watch")
    same = all(
        torch.equal(a, b) for a, b in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True)
    )
    print(f"final weights and BatchNorm statistics equal bit for bit: {same}")
    start = time.process_time()
    geometry = padprint.trace(watched, LAYERS, CROP)
    middle = time.process_time()
    padprint.measure(watched, scenes, geometry, crop=CROP, crops_per_image=4)
    print(f"one trace {middle - start:.2f} s, one measurement {time.process_time() - middle:.2f} s of processor time")


if __name__ == "__main__":
    main()
