"""A network, and the process around it, left as found: what running a network may change on the way is put back."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from padprint.errors import ModelError
from padprint.network.state import WRITES
from padprint.network.state import state_kept as state_kept  # noqa: PLC0414  # offered here with the others
from padprint.support.wording import first_line


def generators(model: nn.Module) -> list[torch.Generator]:
    """The random number generators that modules hold as attributes, each once, in the order of the modules.

    Modules that are kept in dictionaries are looked into last.
    """
    held = [value for module in model.modules() for value in vars(module).values()]
    inside = (entry for value in held if isinstance(value, dict) for entry in value.values())
    inner = [module for module in inside if isinstance(module, nn.Module)]
    known = set(map(id, model.modules()))
    own = {id(value): value for value in held if isinstance(value, torch.Generator)}
    further = {id(g): g for module in inner if id(module) not in known for g in generators(module)}
    return list({**own, **further}.values())


@contextmanager
def continued(own: Sequence[torch.Generator], states: list[torch.Tensor]) -> Iterator[None]:
    """Let generators go on from `states`, which hold afterwards where they have stopped: one pass in several blocks."""
    for generator, state in zip(own, states, strict=True):
        generator.set_state(state)
    try:
        yield
    finally:
        states[:] = [generator.get_state() for generator in own]


@contextmanager
def randomness_kept(own: Iterable[torch.Generator] = (), devices: Sequence[int] = ()) -> Iterator[None]:
    """Put back where random numbers stood: torch's, NumPy's and Python's global ones, and those of `own`.

    Args:
        own: further generators.
        devices: CUDA devices whose global generator is put back too.
    """
    states = [(generator, generator.get_state()) for generator in own]
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        for generator, state in states:
            generator.set_state(state)


@contextmanager
def weights_kept(model: nn.Module) -> Iterator[None]:
    """Make sure that a pass leaves the parameters alone, also where it writes past what torch counts (``.data``, NumPy).

    Raises:
        ModelError: it does not; they are put back.
    """
    plain = [
        (name, weight)
        for name, weight in model.named_parameters()
        if not any((is_lazy(weight), weight.is_meta, weight.is_nested)) and weight.layout is torch.strided
    ]
    before = [weight.detach().clone() for _, weight in plain]
    try:
        yield
    finally:
        written = []
        for (name, weight), value in zip(plain, before, strict=True):
            if weight.shape != value.shape or not _same(weight.detach(), value):
                written.append(name)
                weight.data = value
        if written:
            raise ModelError(WRITES.format(", ".join(written[:3])))


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether all numbers are equal; NaN equals NaN."""
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


@contextmanager
def observers_off(model: nn.Module) -> Iterator[None]:
    """Let quantisation-aware networks quantise as they were calibrated: observers that watch every input are switched off."""
    held = (getattr(module, "observer_enabled", None) for module in model.modules())
    switches = [switch for switch in held if isinstance(switch, Tensor)]
    before = [switch.clone() for switch in switches]
    for switch in switches:
        switch.zero_()
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.copy_(value)


@contextmanager
def inputs_made(model: nn.Module, make: Callable[[Tensor], Any] | None) -> Iterator[None]:
    """Let a model that takes several inputs, or inputs by name, be run on a batch of images.

    Args:
        model: whose arguments are made.
        make: of a batch `(B, C, H, W)` makes the arguments: a tuple of them, or a mapping by name; None changes nothing.
    """
    if make is None:
        yield
        return
    if not callable(make):
        raise ModelError(
            f"inputs must be a function that makes the model's arguments of a batch of images, but got {type(make).__name__}; "
            "write inputs=lambda x: (x, other), or a function that returns a mapping by name"
        )

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG001
        made = make(args[0])
        if isinstance(made, Mapping):
            return (), dict(made)
        return made if isinstance(made, tuple) else (made,), kwargs

    handle = model.register_forward_pre_hook(hook, prepend=True, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def full_precision() -> Iterator[None]:
    """Products and convolutions of float32 in float32, by algorithms chosen without trials; put back at the end.

    torch 2.9 and later know two ways to ask for less, which forbid each other's reading; both are put back.
    """
    backends, cudnn = torch.backends, torch.backends.cudnn
    homes = {backends.cuda: ["matmul"], cudnn: ["conv", "rnn"], backends.mkldnn: ["matmul", "conv", "rnn"]}
    places: list[Any] = [getattr(home, name, None) for home, names in homes.items() for name in names]
    single = [place for place in places if hasattr(place, "fp32_precision")]
    before = [place.fp32_precision for place in single]
    benchmark, matmul, convolutions = cudnn.benchmark, _readable(_matmul), _readable(_convolutions)
    try:
        cudnn.benchmark = False
        if matmul is not None:
            torch.set_float32_matmul_precision("highest")
        if convolutions is not None:
            cudnn.allow_tf32 = False
        for place in single:
            place.fp32_precision = "ieee"
        yield
    finally:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if convolutions is not None:
            cudnn.allow_tf32 = convolutions
        for place, precision in zip(single, before, strict=True):
            place.fp32_precision = precision
        cudnn.benchmark = benchmark


def _matmul() -> str:
    return torch.get_float32_matmul_precision()


def _convolutions() -> bool:
    return bool(torch.backends.cudnn.allow_tf32)


def _readable(read: Any) -> Any:
    """What `read` returns; None where the newer way was taken, under which the older one raises."""
    try:
        return read()
    except RuntimeError:
        return None


@contextmanager
def as_measured(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no autocast, full float32, no observers; all that is put back at the end."""
    training = {module: module.training for module in model.modules()}
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        try:
            model.eval()
        except NotImplementedError as error:  # what a program of torch.export gives by .module()
            raise ModelError(
                f"the model cannot be put in evaluation mode ({first_line(error)}): of an exported program pass "
                "torch.export.unflatten(program), or the path of its .pt2 file"
            ) from error
        with (
            full_precision(),
            randomness_kept(generators(model), devices),
            torch.no_grad(),
            observers_off(model),
            state_kept(model),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False) if devices else ExitStack(),
        ):
            yield
    finally:
        for module, flag in training.items():
            module.training = flag


@contextmanager
def on_device(model: nn.Module, device: str | torch.device | None) -> Iterator[tuple[torch.device, torch.dtype]]:
    """The model on the device asked for, and its precision; moved back at the end.

    Raises:
        ModelError: parameters on several devices or on the meta device, an unknown device, half precision.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in tensors:
        if tensor.dtype in (torch.float16, torch.bfloat16):
            raise ModelError(
                f"{name} is {str(tensor.dtype).removeprefix('torch.')}: its rounding would drown the pattern; "
                "measure in single precision with model.float()"
            )
    homes = {tensor.device for _, tensor in tensors} or {torch.device("cpu")}
    if len(homes) > 1:
        raise ModelError(
            f"the model is spread over {sorted(map(str, homes))}; move it to one device with model.to(...)"
        )
    home = homes.pop()
    if home.type == "meta":
        raise ModelError("the model is on the meta device and has no weights; load them first with model.to_empty(...)")
    target = home
    try:
        if device is not None and torch.device(device) != home:
            target = torch.device(device)
            if target.type == "meta":
                raise ModelError(f"device {str(device)!r} holds no numbers; measure on 'cpu' or 'cuda'")
            torch.empty(0, device=target)  # fails before anything is moved, also where there is nothing to move
            model.to(target)
    except (RuntimeError, AssertionError) as error:
        model.to(home)
        reason = str(error).splitlines()[0]
        raise ModelError(f"device {str(device)!r} cannot be used: {reason}") from error
    dtypes = [tensor.dtype for _, tensor in tensors if tensor.is_floating_point()]
    try:
        yield target, dtypes[0] if dtypes else torch.float32
    finally:
        if target != home:
            model.to(home)
