"""What a measurement costs: ratios measured side by side in one run, never absolute promises.

    python benchmarks/measure.py                 # all five tables, about half an hour on 2 cores
    python benchmarks/measure.py overhead slow memory --models mobilenet_v2
    python benchmarks/measure.py windows --images FOLDER --weights mobilenet_v2-b0353104.pth

overhead  total time over the sum of the two plain forwards (canvas, crops): same inputs, same batches, whole network;
          padprint feeds images channels-last on a CPU, so the ratio to plain forwards that do likewise stands beside it
slow      speed against one context forward per crop
windows   time to a 10 % interval of the SNR at every layer, for three sizes of canvas
checks    share of a measurement's time that goes into checking it: the self-check before the first image, the comparison of
          every crop beyond the rim, the first crop run again
memory    peak memory with 200 images over peak memory with 10
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from math import inf
from pathlib import Path

import torch
from torch import Tensor, nn

import padprint
from padprint.measuring.checked import Checked, Traced
from padprint.measuring.crop_plan import CropPlan
from padprint.measuring.options import Settings
from padprint.measuring.session import planned
from padprint.measuring.sums import NetworkSums
from padprint.network.preserved import as_measured

CROP, CANVAS, CROPS, BATCH = 224, 1024, 64, 16
MODELS = ("mobilenet_v2", "resnet50", "vgg19")


def network(name: str) -> nn.Module:
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None).eval()


def scene(index: int, size: int = CANVAS) -> Tensor:
    return torch.randn(3, size, size, generator=torch.Generator().manual_seed(index))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor_seconds(work: Callable[[], object]) -> float:
    """Of all threads: differences of a hundredth are lost in the wall clock of a busy machine."""
    start = time.process_time()
    work()
    return time.process_time() - start


class Measuring:
    """A measurement that has traced and checked the network, so that what is timed is the work per image."""

    def __init__(self, model: nn.Module, crops: int = CROPS) -> None:
        place = torch.device("cpu"), torch.float32
        traced = Traced.of(model, "auto", (CROP, CROP), 3, place, {"own": None})
        self.plan = planned([traced], Settings(crops, 10, BATCH, 0, 1.0))
        self.network = Checked(traced, self.plan, scene(0))
        self.sums = NetworkSums(traced, self.plan, 10)

    def add(self, image: Tensor) -> None:
        """One image, as `padprint.measure` adds it."""
        canvases = self.plan.canvases((image.shape[-2], image.shape[-1]), 0)
        self.sums.add(self.network, image, 0, canvases, BATCH, range(self.plan.crops))
        self.network.count_image("the image")


def prepared(name: str, crops: int = CROPS) -> tuple[nn.Module, Measuring]:
    model = network(name)
    return model, Measuring(model, crops)


def batches(run: Measuring, x: Tensor) -> list[Tensor]:
    (canvas,) = run.plan.canvases((CANVAS, CANVAS), 0)
    cut = [x[:, :, top : top + CROP, left : left + CROP] for top, left in canvas.crops]
    return [torch.cat(cut[i : i + BATCH]) for i in range(0, len(cut), BATCH)]


def overhead(names: list[str], repeats: int) -> None:
    print(f"\noverhead: {CROPS} crops of {CROP} px on one {CANVAS}-px canvas, batches of {BATCH}")
    print(
        "| network | plain canvas s | plain crops s | padprint s | ratio (median) | ratios | to channels-last plain |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in names:
        model, run = prepared(name)
        x = scene(0).unsqueeze(0)
        cut = batches(run, x)
        last = x.contiguous(memory_format=torch.channels_last)
        cut_last = [batch.contiguous(memory_format=torch.channels_last) for batch in cut]
        rows = []
        for i in range(repeats + 1):
            canvas = seconds(lambda: model(x))
            crops = seconds(lambda: [model(batch) for batch in cut])
            ours = seconds(lambda: run.add(x[0]))
            plain_last = seconds(lambda: (model(last), [model(batch) for batch in cut_last]))
            if i:  # the first round warms up
                rows.append((canvas, crops, ours, ours / (canvas + crops), ours / plain_last))
        canvas, crops, ours, ratio, to_last = (statistics.median(column) for column in zip(*rows, strict=True))
        each = " ".join(f"{row[3]:.2f}" for row in rows)
        print(
            f"| {name} | {canvas:.2f} | {crops:.2f} | {ours:.2f} | **{ratio:.2f}** | {each} | {to_last:.2f} |",
            flush=True,
        )


def slow(names: list[str], repeats: int) -> None:
    print(
        f"\nslow: against one context forward (crop and margins) per crop, {CROPS} crops; both sides run the crops too"
    )
    print(
        "| network | context px | context s per crop | padprint s per crop | speed-up (median) |\n|---|---|---|---|---|"
    )
    for name in names:
        model, run = prepared(name)
        x = scene(0).unsqueeze(0)
        height, width = run.plan.smallest
        context = x[:, :, :height, :width].contiguous()
        crop = x[:, :, :CROP, :CROP].contiguous()
        rows = []
        for i in range(repeats + 1):
            each = seconds(lambda: [model(context) for _ in range(4)]) / 4 + seconds(lambda: model(crop))
            ours = seconds(lambda: run.add(x[0])) / CROPS
            if i:
                rows.append((each, ours, each / ours))
        each, ours, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {name} | {height}x{width} | {each:.3f} | {ours:.3f} | **{ratio:.1f}x** |", flush=True)


IMAGES = (12, 48, 192)  # of the measurements whose checks are timed


def checks(names: list[str], repeats: int) -> None:
    from padprint.measuring.guard import Guard
    from padprint.measuring.self_check import self_check

    print(f"\nchecks: of {IMAGES} images, {CROPS // 4} crops of {CROP} px each")
    print(
        "| network | self-check, processor s | comparing s per image | first crop again s | image s | share of all |\n|---|---|---|---|---|---|"
    )
    for name in names:
        model, run = prepared(name, CROPS // 4)
        checked = run.network
        x = scene(0)
        first = run.plan.canvases((CANVAS, CANVAS), 0)[0]
        canvas = checked.forwards.placed(first.cut(x))
        guard, again = checked.forwards.guard, checked.recheck
        look, looks = guard.look, []
        guard.look = lambda *given, look=look, looks=looks: looks.append(processor_seconds(lambda: look(*given)))
        checked.recheck = None
        rows = []
        with as_measured(model):
            for i in range(repeats + 1):
                before = processor_seconds(
                    lambda: self_check(checked.forwards, Guard(checked.geometry), run.plan, x, set())
                )
                checked.forwards.maps(canvas)  # what the self-check has left for the first image
                before -= processor_seconds(lambda: checked.forwards.maps(canvas))
                repeated = processor_seconds(again.check)
                looks.clear()
                alone = processor_seconds(lambda: run.add(x)) - sum(looks)
                if i:
                    rows.append((before, sum(looks), repeated, alone))
        before, watching, repeated, alone = (statistics.median(column) for column in zip(*rows, strict=True))
        shares = []
        for n in IMAGES:
            spent = before + n * watching + (n.bit_length() + 1) * repeated
            shares.append(f"**{spent / (spent + n * alone):.3f}**")
        print(
            f"| {name} | {before:.2f} | {watching:.3f} | {repeated:.2f} | {alone:.2f} | {' | '.join(shares)} |",
            flush=True,
        )


def windows(names: list[str], folder: str | None, weights: str | None, repeats: int) -> None:
    """Canvas pixels over crop pixels: half, equal, and four times as many (as much as memory allows)."""
    print(
        f"\nwindows: what it takes until the half-width of every layer's SNR interval is 10 % of the SNR, from the spread at "
        f"hand (12 photographs, median of {repeats} seeds; seconds of the quickest)"
    )
    print(
        "| network | canvas / crop pixels | crops per image | megapixels per image | seconds per image "
        "| widest half-width | gigapixels to 10 % | seconds to 10 % |\n|---|---|---|---|---|---|---|---|"
    )
    for name in names:
        model = padprint.load_model(f"torchvision:{name}", weights if name == "mobilenet_v2" else None).model
        norm = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        for crops in (8, 16):
            for spend in (0.5, 1.0, 4.0):
                options = {"crops_per_image": crops, "spend": spend, "limit": 12, **norm}
                spent, widths, pixels = inf, [], 0.0
                for seed in range(repeats):
                    start = time.perf_counter()
                    result = padprint.measure(model, folder or "photographs", seed=seed, **options)
                    spent = min(spent, (time.perf_counter() - start) / result.n_images)
                    widths.append(max((one.snr.high - one.snr.low) / 2 / one.snr.value for one in result.values()))
                    pixels = forwarded(result, folder or "photographs") / result.n_images
                width = statistics.median(widths)
                images = result.n_images * (width / 0.1) ** 2
                cells = f"{pixels / 1e6:.1f} | {spent:.2f} | {width:.2f} | **{pixels * images / 1e9:.1f}** | **{spent * images:.0f}**"
                print(f"| {name} | {spend} | {crops} | {cells} |", flush=True)


def forwarded(result: padprint.Measurement, folder: str) -> float:
    """Pixels that the two forwards of a measurement took in, canvases and crops."""
    from padprint.images.folder import ImageFolder

    o = result.provenance
    plan = CropPlan(result.crop, result.margin, tuple(o["period"]), o["crops_per_image"], o["seed"], o["spend"])
    sizes = ImageFolder(folder, mean=(0, 0, 0), std=(1, 1, 1), limit=result.n_images).sizes()
    canvases = sum(one.height * one.width for i, size in enumerate(sizes) for one in plan.canvases(size, i))
    return canvases + result.n_crops * result.crop[0] * result.crop[1]


def memory(names: list[str]) -> None:
    print(
        "\nmemory: peak resident memory with 200 images over the same with 10 (one process each, 640-px scenes, crop 64)"
    )
    print("| network | 10 images MiB | 200 images MiB | ratio |\n|---|---|---|---|")
    for name in names:
        peaks = [int(subprocess.check_output([sys.executable, __file__, "--peak", name, str(n)])) for n in (10, 200)]
        print(f"| {name} | {peaks[0]} | {peaks[1]} | **{peaks[1] / peaks[0]:.3f}** |", flush=True)


def peak(name: str, images: int) -> None:
    size = 640
    stream = (scene(i, size) for i in range(images))
    padprint.measure(network(name), stream, crop=64, crops_per_image=4)
    print(peak_mib())


def peak_mib() -> int:
    """Peak resident memory of this process alone: `ru_maxrss` would start at that of the process that started it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["overhead", "slow", "checks", "windows", "memory"])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--images", help="folder of photographs, for windows")
    parser.add_argument("--weights", help="MobileNetV2's ImageNet state dict, for windows")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", nargs=2, metavar=("MODEL", "IMAGES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        peak(options.peak[0], int(options.peak[1]))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    with as_measured(nn.Identity()):
        if "overhead" in options.parts:
            overhead(options.models, options.repeats)
        if "slow" in options.parts:
            slow(options.models, options.repeats)
        if "checks" in options.parts:
            checks(options.models, options.repeats)
    if "windows" in options.parts:
        windows(["mobilenet_v2"], options.images, options.weights, options.repeats)
    if "memory" in options.parts:
        memory(options.models)


if __name__ == "__main__":
    main()
