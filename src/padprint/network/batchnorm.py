"""BatchNorm: finds statistics that have never seen data, and sets them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from padprint.errors import ImagesError, ModelError


def uncalibrated(model: object) -> str | None:
    """What to say of BatchNorm whose statistics are still those it was made with; None where there is none such.

    Counters tell nothing: converted weights often come without them.
    """
    fresh = [
        name
        for name, module in (model.named_modules() if isinstance(model, nn.Module) else ())
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.running_mean is not None
        and module.running_var is not None
        and not any((is_lazy(module.running_mean), module.running_mean.is_meta))
        and bool((module.running_mean == 0).all())
        and bool((module.running_var == 1).all())
    ]
    if not fresh:
        return None
    return (
        f"{len(fresh)} BatchNorm layers ({', '.join(fresh[:3])}{', ...' if len(fresh) > 3 else ''}) have never seen data: their "
        "statistics are 0 and 1; load trained weights, or let padprint.calibrate_batchnorm(model, batches) set them"
    )


def calibrate_batchnorm(model: nn.Module, images: Iterable[Tensor], *, batch_size: int = 16) -> None:
    """Re-estimate BatchNorm running statistics, in place: what a randomly initialised network needs first.

    Statistics are reset and become the plain average over batches of each batch's mean and unbiased variance.
    Only BatchNorm layers run in training mode. Momenta and training flags are left as found; on failure the
    statistics are too.

    Args:
        model: the network; a batch moves to its first parameter's device and dtype.
        images: (C, H, W) tensors, normalised. Neighbours of equal size share a batch, so images of differing
            sizes are fed one by one; every batch counts the same, whatever its size.
        batch_size: most images per batch.

    Raises:
        ModelError: the model has no BatchNorm layer with running statistics.
        ImagesError: there is no image, or a single image leaves a layer one value per channel.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> import padprint
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        >>> padprint.calibrate_batchnorm(net, torch.rand(8, 3, 16, 16))
        >>> net[1].num_batches_tracked
        tensor(1)
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not layers:
        raise ModelError(f"{type(model).__name__} has no BatchNorm layer with running statistics to calibrate")
    place = next(model.parameters(), layers[0].running_mean)
    seen = 0
    with _left_as_found(model, layers), torch.no_grad():
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.training = True
        for batch in _equal_batches(images, batch_size):
            seen += len(batch)
            try:
                model(batch.to(place))
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                raise ImagesError(f"{error}: give two or more images of one size in every batch") from error
        if seen == 0:
            raise ImagesError("no images to calibrate BatchNorm on")


@contextmanager
def _left_as_found(model: nn.Module, layers: Sequence[_BatchNorm]) -> Iterator[None]:
    """Put everything in eval mode; restore flags and momenta at the end, and statistics after a failure."""
    flags = [(module, module.training) for module in model.modules()]
    momenta = [(layer, layer.momentum) for layer in layers]
    statistics = [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers(recurse=False)]
    for module, _ in flags:
        module.training = False
    try:
        yield
    except BaseException:
        for buffer, saved in statistics:
            buffer.copy_(saved)
        raise
    finally:
        for module, flag in flags:
            module.training = flag
        for layer, momentum in momenta:
            layer.momentum = momentum


def _equal_batches(images: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    batch: list[Tensor] = []
    for image in images:
        if batch and (image.shape != batch[0].shape or len(batch) == size):
            yield torch.stack(batch)
            batch = []
        batch.append(image)
    if batch:
        yield torch.stack(batch)
