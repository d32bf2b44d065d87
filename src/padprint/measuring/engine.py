"""`measure` and `compare`: check what they are given, put the models in order, and run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from padprint.errors import ModelError
from padprint.geometry.layer import Geometry
from padprint.images.photographs import Images
from padprint.measuring.options import DEFAULTS, OWN, Options, schemes_by_name
from padprint.measuring.session import Setup
from padprint.measuring.tally import Tally
from padprint.network.preserved import as_measured
from padprint.network.weights import weights_sha256
from padprint.padding import Scheme
from padprint.results.comparison import Comparison
from padprint.results.measurement import Measurement
from padprint.support.defaults import BATCH_SIZE, CROP, CROPS_PER_IMAGE, GROUPS, SEED
from padprint.support.processes import share, together
from padprint.support.progress import display

if TYPE_CHECKING:
    from typing_extensions import Unpack


def measure(
    model: nn.Module | str,
    images: Images,
    layers: str | Sequence[str] | Geometry = "auto",
    crop: int | tuple[int, ...] = CROP,
    crops_per_image: int = CROPS_PER_IMAGE,
    groups: int = GROUPS,
    margin: int | str | Sequence[int] | None = None,
    batch_size: int = BATCH_SIZE,
    seed: int = SEED,
    device: str | torch.device | None = None,
    progress: bool = False,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    strict: bool = False,
    resize_short_side: int | None = None,
    max_megapixels: float | None = None,
    memory: float | None = None,
    inputs: Callable[[Tensor], Any] | None = None,
    spend: float = 1.0,
    distributed: bool = False,
    name: str | None = None,
    padding: str | Scheme | None = None,
) -> Measurement:
    """Measure the padding pattern of a network's layers.

    The model is run in evaluation mode and left as found: mode, hooks, gradients, random state, device, precision.

    Args:
        model: any module that takes one `(B, C, *space)` tensor of one, two or three axes of space; its outputs may be nested.
            Or its name, as `load_model` takes it, ``"torchvision:resnet50@DEFAULT"``.
        images: scenes larger than the crop: an iterable of `(C, H, W)` float tensors or arrays normalised as the model
            wants them (waveforms `(C, L)`, volumes `(C, D, H, W)`), a Dataset or DataLoader of them (labels ignored), or photographs: a folder, Pillow images, arrays of
            bytes (H, W, 3).
        layers: dotted module names or globs; ``"auto"``: the last module output of each stride, the end of a stage. Or what
            `trace` found at the same crop, so that a network measured again and again, in training say, is traced once.
        crop: input size in pixels, one number or one for each axis, (height, width).
        crops_per_image: crops drawn from each image, without replacement; fewer where it admits fewer positions.
        groups: image i belongs to group i mod `groups`; error bars are delete-one-group jackknife. More groups
            know more of how images differ, and take memory: one map of a layer each.
        margin: pixels of scene kept around a crop, at least, one number or one for each axis; None: as many as the layers reach. Below the reach the
            result is approximate and carries its residual. ``"effective"``: as many as matter: the margin grows until F(x; *)
            of a crop of the first image moves by no more than 2 % of what padding changes, in every layer, when it grows by half.
        batch_size: crops in one forward pass.
        seed: of the crop positions; each image draws from (seed, index) alone.
        device: where to run; None: where the model is. The model is moved back at the end.
        progress: show a progress bar on standard error.
        mean: normalisation of a folder's photographs by channel; None: what the model declares.
        std: likewise, standard deviation.
        limit: use the first so many images.
        strict: images that cannot be used (files that cannot be decoded; values that are NaN or infinite, in tensors too)
            are an error that names the first, instead of being skipped and counted, with a warning.
        resize_short_side: photographs of a folder are resized to this short side first, pixels.
        max_megapixels: most pixels of a photograph, in millions, before and after resizing; None: 160. A larger one is an
            error, told by its header.
        memory: GB of its device that the pass may take: canvases and batches of crops are cut to it. None: what is free, to which nothing is
            cut. What does not fit is refused before it is computed, as far as the memory of one small forward tells.
        inputs: for a model that takes more than a batch of images: makes its arguments of a batch `(B, C, *space)`, a tuple of
            them or a mapping by name, ``inputs=lambda x: (x, torch.zeros(len(x)))``.
        spend: canvas pixels over crop pixels that one image may cost, where the margins allow.
        distributed: share the images among the processes of the default `torch.distributed` group; every process gets
            the whole result. All must call.
        name: of the model, for the record; None: its class.
        padding: a scheme to swap in for the network's own padding while its crops run (`padprint.padding`). This measures
            the swap, not a network trained with that scheme.

    Returns:
        Estimates, patterns and profiles by layer; layers that cannot be measured are listed with their reason.

    Raises:
        ImagesError: no image, one that is too small, not finite or not of the model's channels.
        LayerError: a layer that does not exist, or none that can be measured.
        ModelError: the model fails, is in half precision, or its features depend on absolute position.
        PaddingError: `padding` names no scheme, changes sizes, cannot be applied to a layer, or replaces nothing.

    Source: Lin et al., ICML 2023, for the idea; the formulas are padprint's own reading.

    Examples:
        A mean over 3 x 3 cells, on images of ones. Along an edge three of nine cells are zeros, in a corner five: the pattern is
        what that takes away.

        >>> import torch
        >>> from torch import nn
        >>> import padprint
        >>> blur = nn.Conv2d(3, 1, 3, padding=1, bias=False)
        >>> _ = nn.init.constant_(blur.weight, 1 / 27)
        >>> found = padprint.measure(blur, [torch.ones(3, 64, 64)] * 3, crop=16)
        >>> found["output"].rim  # cells: top, bottom, left, right
        (1, 1, 1, 1)
        >>> ninths = -9 * found["output"].pattern[0, :3, :4]
        >>> ninths.round().int().tolist()
        [[5, 3, 3, 3], [3, 0, 0, 0], [3, 0, 0, 0]]

        Names of layers, and scenes that need no files:

        >>> from padprint.scenes import DeadLeaves
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        >>> found = padprint.measure(net, DeadLeaves(6, 96), layers=["0", "2"], crop=32)
        >>> found["2"].snr.low > 0  # there is a pattern
        True
        >>> found["2"].pattern.shape
        torch.Size([4, 16, 16])
        >>> found.to_frame()[["layer", "rim_top", "rim_bottom"]].values.tolist()
        [['0', 1, 0], ['2', 2, 1]]
    """
    options: Options = {
        "layers": layers,
        "crop": crop,
        "crops_per_image": crops_per_image,
        "groups": groups,
        "margin": margin,
        "batch_size": batch_size,
        "seed": seed,
        "device": device,
        "progress": progress,
        "mean": mean,
        "std": std,
        "limit": limit,
        "strict": strict,
        "resize_short_side": resize_short_side,
        "max_megapixels": max_megapixels,
        "memory": memory,
        "inputs": inputs,
        "spend": spend,
        "distributed": distributed,
    }
    label = name or (model if isinstance(model, str) else type(model).__name__)
    return _measured({label: model}, [OWN if padding is None else padding], images, options)[0][0]


def compare(
    models: nn.Module | str | Mapping[str, nn.Module | str],
    images: Images,
    padding: Sequence[str | Scheme] = (OWN,),
    **options: Unpack[Options],
) -> Comparison:
    """Measure several networks, or one under several paddings, over the same crops.

    One pass over the images: every crop is seen by all, and the optimal features are computed once for all paddings of
    a network. Differences between any two are paired over crops and groups (`Comparison.differences`).

    Args:
        models: one network, or several by name; a string is the name of one, see `measure`. Crops lie on the grid of all, with room for the layers of all.
        images: see `measure`; normalised alike for all networks.
        padding: schemes to swap in, by name or as schemes (`padprint.padding`); ``"own"`` is the network's own padding.
        **options: see `measure`.

    Returns:
        One measurement for each network and padding, named by whichever of the two differ.

    Raises:
        ImagesError, LayerError, ModelError, PaddingError: see `measure`. Less than two things to compare is an error too.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> import padprint
        >>> from padprint.scenes import DeadLeaves
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        >>> found = padprint.compare(net, DeadLeaves(6, 96), ["own", "reflect"], layers="2", crop=32)
        >>> list(found)
        ['own', 'reflect']
        >>> (change,) = found.differences("relative")  # second minus first, with an interval
        >>> change.estimate.high < 0  # reflection leaves less
        True
    """
    named: dict[str, nn.Module | str] = (
        dict(models)
        if isinstance(models, Mapping)
        else {models if isinstance(models, str) else type(models).__name__: models}
    )
    if len(named) * len(padding) < 2:
        raise ModelError("there is nothing to compare: give two paddings or more, or two models or more")
    results = _measured(named, padding, images, options)
    found = {}
    for model, measurements in zip(named, results, strict=True):
        for scheme, measurement in zip(schemes_by_name(padding), measurements, strict=True):
            parts = [model] * (len(named) > 1) + [scheme] * (len(padding) > 1)
            found[" / ".join(parts)] = measurement
    return Comparison(found)


def _measured(
    models: Mapping[str, nn.Module | str], padding: Sequence[str | Scheme], images: Images, options: Options
) -> list[list[Measurement]]:
    """For each model, one measurement for each padding."""
    distributed = bool(options.get("distributed"))
    rank, world = share() if distributed else (0, 1)
    with ExitStack() as stack:
        stack.enter_context(display(bool(options.get("progress")) and rank == 0))
        with together(distributed):
            setup = Setup.of(models, images, options, DEFAULTS, (rank, world))
            opened = stack.enter_context(setup.opened())
            for model in setup.models.values():
                stack.enter_context(as_measured(model))
            tally = Tally(setup, schemes_by_name(padding, setup.settings.seed))
            tally.over(opened)
        records = [
            {"model": name, "weights_sha256": weights_sha256(model), "processes": world}
            for name, model in setup.models.items()
        ]
        return tally.results(opened, records, distributed)
