"""What each padding scheme costs inside a network: ratios measured side by side in one run, never absolute promises.

    python benchmarks/padding.py                       # ResNet-50, about eight minutes on 2 cores
    python benchmarks/padding.py --model resnet18 --schemes reflect randn

Each round times, one after the other: the network as it is (zeros, which torch fuses into its convolutions), the network
converted to the scheme, the network under `use(scheme)`, and, where torch has the mode, the same network built with
torch's own ``padding_mode`` (and a pad module before its max pooling, which the scheme pads too). The table gives medians
over rounds of the ratios within a round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from padprint.padding import available, convert, use

MODES = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "circular": nn.CircularPad2d}


def network(name: str) -> nn.Module:
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None).eval()


def in_torchs_mode(model: nn.Module, mode: str) -> nn.Module:
    """`model`, changed in place, with torch's own padding in every convolution, and a pad module before every pool."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and any(child.padding):
                options = {key: getattr(child, key) for key in ("stride", "padding", "dilation", "groups")}
                bias = child.bias is not None
                made = nn.Conv2d(
                    child.in_channels, child.out_channels, child.kernel_size, **options, bias=bias, padding_mode=mode
                )
                made.load_state_dict(child.state_dict())
                setattr(parent, name, made)
            elif isinstance(child, nn.MaxPool2d) and child.padding:
                pool = nn.MaxPool2d(child.kernel_size, child.stride)
                setattr(parent, name, nn.Sequential(MODES[mode](child.padding), pool))
    return model.eval()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ways(name: str, scheme: str, x: Tensor) -> dict[str, Callable[[], object]]:
    plain = network(name)
    converted = convert(plain, scheme, seed=0, example=x)

    def swapped() -> None:
        with use(f"{scheme}:seed=0" if available()[scheme].stochastic else scheme):
            plain(x)

    found: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(x),
        "converted": lambda: converted(x),
        "swapped": swapped,
    }
    if scheme in MODES:
        theirs = in_torchs_mode(network(name), scheme)
        difference = float((theirs(x) - converted(x)).norm() / theirs(x).norm())
        if difference > 1e-4:
            raise SystemExit(f"{scheme}: torch's own mode gives other features (relative {difference:.1e})")
        found["torch"] = lambda: theirs(x)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--schemes", nargs="+", help="default: all that keep sizes")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = options.schemes or [name for name, scheme in available().items() if not scheme.changes_size]
    x = torch.randn(options.batch, 3, options.size, options.size, generator=torch.Generator().manual_seed(0))
    print(
        f"torch {torch.__version__}, {options.threads} threads, {options.model}, {options.batch} images of {options.size} px"
    )
    print("| scheme | converted / plain | swapped / plain | torch's own / plain | converted / torch's own |")
    print("|---|---|---|---|---|")
    for scheme in names:
        with torch.no_grad():
            works = ways(options.model, scheme, x)
            rounds = [{way: seconds(work) for way, work in works.items()} for _ in range(options.repeats + 1)][1:]

        def ratio(one: str, other: str, rounds: list[dict[str, float]] = rounds) -> str:
            if one not in rounds[0] or other not in rounds[0]:
                return ""
            return f"{statistics.median(row[one] / row[other] for row in rounds):.2f}"

        cells = [
            ratio("converted", "plain"),
            ratio("swapped", "plain"),
            ratio("torch", "plain"),
            ratio("converted", "torch"),
        ]
        print(f"| {scheme} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
