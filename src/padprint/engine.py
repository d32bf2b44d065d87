"""`measure`: checks what it is given, puts the model in order, and runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import inf

import torch
from torch import nn

from padprint.errors import ModelError
from padprint.geometry import crop_size
from padprint.images import Images, are_files, as_source
from padprint.layers import as_measured, unwrapped
from padprint.models import declared_normalisation
from padprint.processes import share, together
from padprint.progress import progress_bar
from padprint.result import Measurement
from padprint.run import Run, Settings
from padprint.weights import weights_sha256


def measure(
    model: nn.Module,
    images: Images,
    layers: str | Sequence[str] = "auto",
    crop: int | tuple[int, int] = 224,
    crops_per_image: int = 16,
    groups: int = 10,
    margin: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = False,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    strict: bool = False,
    resize_short_side: int | None = None,
    spend: float = 1.0,
    distributed: bool = False,
    name: str | None = None,
) -> Measurement:
    """Measure the padding pattern of a network's layers.

    The model is run in evaluation mode and left as found: mode, hooks, gradients, random state, device, precision.

    Args:
        model: any module that takes one `(B, C, H, W)` tensor; its outputs may be nested.
        images: scenes larger than the crop: an iterable of `(C, H, W)` float tensors normalised as the model wants them,
            a Dataset or DataLoader of them (labels ignored), or a folder of photographs.
        layers: dotted module names or globs; ``"auto"``: the last module output at each spatial resolution.
        crop: input size in pixels, one number or (height, width).
        crops_per_image: crops drawn from each image, without replacement; fewer where it admits fewer positions.
        groups: image i belongs to group i mod `groups`; error bars are delete-one-group jackknife.
        margin: pixels of scene kept around a crop, at least; None: as many as the layers reach. Below the reach the
            result is approximate and carries its residual.
        batch_size: crops in one forward pass.
        seed: of the crop positions; each image draws from (seed, index) alone.
        device: where to run; None: where the model is. The model is moved back at the end.
        progress: show a progress bar on standard error.
        mean: normalisation of a folder's photographs by channel; None: what the model declares.
        std: likewise, standard deviation.
        limit: use the first so many images.
        strict: files that cannot be decoded are an error instead of being skipped and counted.
        resize_short_side: photographs of a folder are resized to this short side first, pixels.
        spend: canvas pixels over crop pixels that one image may cost, where the margins allow.
        distributed: share the images among the processes of the default `torch.distributed` group; every process gets
            the whole result. All must call.
        name: of the model, for the record; None: its class.

    Returns:
        Estimates, patterns and profiles by layer; layers that cannot be measured are listed with their reason.

    Raises:
        ImagesError: no image, one that is too small, not finite or not of the model's channels.
        LayerError: a layer that does not exist, or none that can be measured.
        ModelError: the model fails, is in half precision, or its features depend on absolute position.

    Source: Lin et al., ICML 2023, for the idea; the formulas are padprint's own reading.
    """
    rank, world = share() if distributed else (0, 1)
    with ExitStack() as stack:
        with together(distributed):
            _check_counts(1, crops_per_image=crops_per_image, groups=groups, batch_size=batch_size)
            _check_counts(0, seed=seed, margin=0 if margin is None else margin)
            if not 0 < spend < inf:
                raise ModelError(f"spend must be a number above 0, but got {spend!r}")
            model = unwrapped(model)
            if mean is None and std is None and are_files(images):
                mean, std = declared_normalisation(model) or (None, None)
            source = as_source(
                images, mean=mean, std=std, limit=limit, strict=strict, resize_short_side=resize_short_side
            )
            where, dtype = stack.enter_context(_placed(model, device))
            stack.enter_context(as_measured(model))
            run = Run(model, layers, crop_size(crop), margin, where, dtype)
            run.settings = Settings(crops_per_image, groups, batch_size, seed, spend)
            with progress_bar(source.length, progress and rank == 0) as advance:
                run.over(source, rank, world, advance)
        record = {
            "model": name or type(model).__name__,
            "weights_sha256": weights_sha256(model),
            "processes": world,
        }
        return run.result(source, record, distributed)


def _check_counts(least: int, **counts: object) -> None:
    for option, value in counts.items():
        if not isinstance(value, int) or value < least:
            raise ModelError(f"{option} must be a whole number of {least} or more, but got {value!r}")


@contextmanager
def _placed(model: nn.Module, device: str | torch.device | None) -> Iterator[tuple[torch.device, torch.dtype]]:
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
