"""Scenes, photographs and comparisons that the tests of measuring share."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from padprint import Measurement, measure
from padprint.padding import use
from padprint.results.measurement import Estimate, LayerMeasurement

ESTIMATES = ("snr", "snr_plain", "mae", "mae_floor", "response", "relative", "positional")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

OLD_EXPORT = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7)
"""Whether `torch.export.unflatten` fails on programs that newer ones take apart."""


def noise(n: int, size: int | tuple[int, int], *, channels: int = 3, mean: float = 0.0, seed: int = 0) -> list[Tensor]:
    """`n` images of white noise, unit variance."""
    shape = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(channels, *shape, generator=generator) + mean for _ in range(n)]


def singles(*shape: int, seed: int = 0) -> Tensor:
    """White noise of unit variance, float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def doubles(*shape: int, seed: int = 0) -> Tensor:
    """White noise of unit variance, float64."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@cache
def photographs(names: tuple[str, ...], short_side: int) -> list[Tensor]:
    """Photographs from scikit-image, enlarged, normalised as for ImageNet."""
    data = pytest.importorskip("skimage.data", reason="scikit-image holds the photographs")
    images = []
    for name in names:
        pixels = np.asarray(getattr(data, name)())
        image = Image.fromarray(pixels).convert("RGB")
        scale = short_side / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        images.append((x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])
    return images


def last(result: Measurement) -> LayerMeasurement:
    """The last measured layer."""
    return list(result.values())[-1]


def only(model: nn.Module, images: Any, **options: Any) -> LayerMeasurement:
    """The last layer of `model`, by few crops unless said otherwise."""
    return last(measure(model, images, **{"crop": 16, "crops_per_image": 4, **options}))


def distance(one: Tensor, two: Tensor) -> float:
    """Relative rms difference, in units of the larger."""
    size = max(float(one.double().norm()), float(two.double().norm()))
    return float((one.double() - two.double()).norm()) / size if size > 0 else 0.0


def estimates(layer: LayerMeasurement) -> dict[str, Estimate]:
    return {name: getattr(layer, name) for name in ESTIMATES}


def gap(one: Estimate, two: Estimate) -> float:
    """Largest difference of value, low and high, in units of the largest of them; NaN equals NaN."""
    a, b = np.array([[e.value, e.low, e.high] for e in (one, two)])
    assert np.array_equal(np.isnan(a), np.isnan(b)), (one, two)
    size = np.nanmax(np.abs([a, b])) if not np.isnan(a).all() else 0.0
    return float(np.nanmax(np.abs(a - b))) / size if size > 0 else 0.0


def assert_same(one: LayerMeasurement, two: LayerMeasurement, tolerance: float, skip: Sequence[str] = ()) -> None:
    """Equal patterns, noise and estimates, relative to the size of each."""
    for name in ("pattern", "noise"):
        found = distance(getattr(one, name), getattr(two, name))
        assert found <= tolerance, f"{name}: {found:.1e}"
    for name, estimate in estimates(one).items():
        if name not in skip:
            found = gap(estimate, getattr(two, name))
            assert found <= tolerance, f"{name}: {found:.1e}: {estimate!r} {getattr(two, name)!r}"


def swapped(net: nn.Module, scheme: str, x: Tensor) -> Tensor:
    """What `net` gives with `scheme` in the place of its padding."""
    with torch.no_grad(), use(scheme):
        return net(x)


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Fails where hooks, training flags, gradient flags, precision or random state differ afterwards."""
    before = state_of(model)
    yield
    after = state_of(model)
    for name, value in before.items():
        assert value == after[name], f"{name} changed from {value} to {after[name]}"


def state_of(model: nn.Module) -> dict[str, Any]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules: list[tuple[str, nn.Module]] = list(model.named_modules())
    return {
        "training": {name: module.training for name, module in modules},
        "hooks": {name: [len(getattr(module, hook)) for hook in hooks] for name, module in modules},
        "global hooks": len(nn.modules.module._global_forward_hooks),
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "gradients": {name: p.grad is not None for name, p in model.named_parameters()},
        "tensors": {
            name: (id(t), t._version, t.device, t.dtype) for name, t in model.state_dict(keep_vars=True).items()
        },
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
        "random state": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
    }


def with_weights(net: nn.Module, *values: Tensor | float) -> nn.Module:
    """`net` with its parameters filled in order."""
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.data.copy_(torch.as_tensor(value, dtype=parameter.dtype).expand_as(parameter))
    return net


def published(name: str, **options: Any) -> nn.Module:
    """A network of torchvision or timm (`timm:NAME`) with random weights, in eval mode; `options` are its factory's."""
    library, _, name = name.rpartition(":")
    torch.manual_seed(0)
    if library == "timm":
        return pytest.importorskip("timm").create_model(name, pretrained=False, **options).eval()
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, **options}
    return pytest.importorskip("torchvision.models").get_model(name, weights=None, **options).eval()


def fresh_module(names: Iterator[str], source: str, folder: Path, patch: pytest.MonkeyPatch) -> str:
    """The name of a new module with this source in a folder, which becomes the current one."""
    name = next(names)
    (folder / f"{name}.py").write_text(source)
    patch.chdir(folder)
    return name


def save_photographs(images: Sequence[Tensor], folder: Path) -> str:
    """The folder, with images of about zero mean and unit variance in it as files."""
    for i, image in enumerate(images):
        pixels = (image.permute(1, 2, 0) * 40 + 128).clamp(0, 255).byte().numpy()
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return str(folder)


def in_processes(work: Callable[..., None], processes: int, *arguments: Any, minutes: float = 10) -> None:
    """Call `work(rank, *arguments)` in processes of their own, which may meet by gloo; fails where one does.

    They are forked from a process that has imported torch and done nothing else, so that each need not import it again.
    """
    multiprocessing.set_forkserver_preload(["torch", "torch.distributed", "padprint.measuring.engine"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        context = start_processes(work, arguments, nprocs=processes, join=False, start_method="forkserver")
    until = time.monotonic() + 60 * minutes
    while not context.join(timeout=2):
        if time.monotonic() > until:
            for process in context.processes:
                process.kill()
            pytest.fail(f"the processes did not end within {minutes} minutes")


def in_turn(first: Iterable[Any], others: Sequence[Any]) -> list[Any]:
    """Parameters `(one of first, one of others)`: each of both comes up, and the products that are left are slow tests."""
    pairs = [(a, b, i % len(others) == j) for i, a in enumerate(first) for j, b in enumerate(others)]
    return [pytest.param(a, b, marks=[] if default else pytest.mark.slow) for a, b, default in pairs]


Make = Callable[[], nn.Module]
