"""The features that readouts learn from: computed once for every image, since the network is frozen, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from padprint.baselines.readout.taps import official_layers, whole_specs
from padprint.errors import ImagesError, ModelError
from padprint.geometry.layer import MapSpec
from padprint.images.photographs import Images
from padprint.measuring.crops import Crops, iterate
from padprint.measuring.session import Setup, refuse_other_axes
from padprint.network.batchnorm import calibrate_batchnorm
from padprint.network.copies import copied
from padprint.network.layers import Tap, run_to
from padprint.network.preserved import as_measured

CALIBRATION = 32
"""Images that set BatchNorm's statistics in a network with random weights."""

Specs = Mapping[str, MapSpec]


class KeptFeatures:
    """Features of every view (a resized image, or a crop of one), by where they come from.

    Args:
        storage: precision to keep them in.

    Attributes:
        images: for every view, the image it belongs to.
        pixels: the views themselves, `(3, H, W)`, where they are kept.
        digests: of the views' pixels; empty for a view of one colour, which may be in any image.
    """

    def __init__(self, storage: torch.dtype) -> None:
        self.storage = storage
        self.images: list[tuple[int, int]] = []
        self.pixels: list[Tensor] = []
        self.digests: list[bytes] = []
        self._features: dict[str, list[Tensor]] = {}

    def add_views(self, dataset: int, index: int, pixels: Tensor, *, keep: bool) -> None:
        """Note `(B, 3, H, W)` views of image `index` of one of the sets of images."""
        for one in pixels.cpu():
            self.images.append((dataset, index))
            plain = float((one - one[:, :1, :1]).abs().max()) < 1e-5
            self.digests.append(b"" if plain else hashlib.sha256(one.contiguous().numpy().tobytes()).digest())
            if keep:
                self.pixels.append(one.clone())

    def add(self, source: str, features: Tensor) -> None:
        """Keep `(B, C, h, w)` features of the next views.

        Raises:
            ModelError: they are not finite, or too large for the precision they are kept in.
        """
        stored = features.to("cpu", self.storage)
        if not bool(torch.isfinite(stored).all()):
            own = bool(torch.isfinite(features).all())
            why = f"do not fit into {str(self.storage).removeprefix('torch.')}" if own else "are not finite"
            raise ModelError(f"features of {source} {why}")
        self._features.setdefault(source, []).extend(stored.permute(0, 2, 3, 1).contiguous())

    def holds(self, source: str) -> bool:
        """Whether there are features from there."""
        return source in self._features

    def features(self, source: str, views: Sequence[int]) -> list[Tensor]:
        """`(C, h, w)` features of some views, channels last in memory; not copied."""
        return [self._features[source][view].permute(2, 0, 1) for view in views]

    def forget(self, source: str) -> None:
        """Keep the features of a source no longer."""
        del self._features[source]


def from_whole(kept: KeptFeatures, dataset: int, setup: Setup, feat_size: int, sources: Sequence[str]) -> Specs:
    """Keep features of whole images, resized to the network's input size without regard to their aspect.

    Args:
        kept: what they are added to.
        dataset: number of the set of images.
        setup: the network and the images.
        feat_size: rows and columns of the features.
        sources: which are wanted.

    Returns:
        The layers that were read.
    """
    options = setup.options
    specs: Specs = {}
    waiting: list[Tensor] = []

    def run(device: torch.device, dtype: torch.dtype) -> None:
        nonlocal specs
        pixels = torch.stack(waiting).to(device, dtype)
        waiting.clear()
        with as_measured(setup.model):
            specs = specs or whole_specs(setup.model, options["layers"], pixels[:1])
            if "padded" in sources:
                kept.add("padded", features_of(setup.model, specs, pixels, feat_size))
        if "raw" in sources:
            kept.add("raw", resized(pixels, feat_size))

    with setup.opened() as opened:
        for scene in opened:
            refuse_other_axes(scene.size, "PosENet")
            view = interpolate(scene.image.float()[None], setup.crop(2), mode="bilinear", antialias=True)[0]
            kept.add_views(dataset, scene.index, view[None], keep="random" in sources)
            waiting.append(view)
            if len(waiting) == setup.settings.batch_size:
                run(*opened.places[0])
        if waiting:
            run(*opened.places[0])
    return specs


def from_crops(kept: KeptFeatures, dataset: int, crops: Crops, feat_size: int, sources: Sequence[str]) -> Specs:
    """Keep features of crops of scenes; see `from_whole`."""
    for batch in crops:
        refuse_other_axes(batch.pixels.shape[2:], "PosENet")
        kept.add_views(dataset, batch.index, batch.pixels, keep="random" in sources)
        if "raw" in sources:
            kept.add("raw", resized(batch.pixels, feat_size))
        for source, maps in (("padded", batch.padded), ("optimal", batch.optimal)):
            if source in sources:
                kept.add(source, joined([maps[name] for name in crops.geometry.maps], feat_size))
    return crops.geometry.maps


def crops_of(model: nn.Module, images: Images, options: Mapping[str, Any]) -> Crops:
    """The crops of one set of images, read at the authors' layers where the network has them."""
    layers = options.get("layers", "auto")
    named = official_layers(model) if layers == "auto" else None
    return iterate(model, images, **{**options, "layers": named or layers})


def from_random(
    kept: KeptFeatures, model: nn.Module, specs: Specs, feat_size: int, batch_size: int, seed: int
) -> list[str]:
    """Keep features of a network of the same architecture with random weights, of the views that were kept.

    Returns:
        Remarks for people. Nothing is kept where there is no weight that could be drawn anew.
    """
    parameter = next(model.parameters(), None)
    other, same = reinitialised(model, seed)
    if parameter is None or same is None:
        return ["no random-weight control: no weight of the network can be drawn anew"]
    if any(isinstance(m, _BatchNorm) and m.running_mean is not None for m in other.modules()):
        calibrate_batchnorm(
            other, kept.pixels[:CALIBRATION]
        )  # before measuring, which puts back all that a pass changes
    with as_measured(other):
        for start in range(0, len(kept.pixels), batch_size):
            pixels = torch.stack(kept.pixels[start : start + batch_size]).to(parameter)
            kept.add("random", features_of(other, specs, pixels, feat_size))
    kept.pixels.clear()
    return [f"random-weight control: {', '.join(same)} could not be drawn anew and are the network's"] if same else []


# ---------------------------------------------------------------------------------------------- maps and weights


def features_of(model: nn.Module, specs: Specs, pixels: Tensor, feat_size: int) -> Tensor:
    """`(B, C, feat_size, feat_size)`: all layers of `(B, 3, H, W)` views, resized and joined.

    Raises:
        ModelError: the model fails.
    """
    found: dict[str, Tensor] = {}

    def keep(tap: Tap, tensor: Tensor) -> None:
        found[tap.name] = resized(specs[tap.name].as_map(tensor), feat_size)

    run_to(model, pixels, [spec.tap for spec in specs.values()], keep)
    return torch.cat([found[name] for name in specs], 1)


def joined(maps: Sequence[Tensor], feat_size: int) -> Tensor:
    """`(B, C, h, w)` maps of several layers, resized and joined along the channels."""
    return torch.cat([resized(one, feat_size) for one in maps], 1)


def resized(maps: Tensor, feat_size: int) -> Tensor:
    """Maps as the readout wants them: float32, square, bilinear with aligned corners."""
    return interpolate(maps.float(), (feat_size, feat_size), mode="bilinear", align_corners=True)


def reinitialised(model: nn.Module, seed: int) -> tuple[nn.Module, list[str] | None]:
    """A copy with random weights: He-normal convolutions without bias, everything else as PyTorch initialises it.

    Args:
        model: left alone.
        seed: of the weights.

    Returns:
        The copy, and the names of weights (parameters of two or more dimensions) that are still the model's; None where
        all are.
    """
    other = copied(model)
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        for module in other.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            if isinstance(module, _ConvNd):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    before = dict(model.named_parameters())
    weights = [name for name, parameter in before.items() if parameter.dim() > 1]
    after = dict(other.named_parameters())
    same = [name for name in weights if torch.equal(before[name], after[name])]
    return other, None if len(same) == len(weights) else same


def check_apart(train: Sequence[bytes], test: Sequence[bytes]) -> None:
    """Raise ImagesError where a view is in both sets, so that scores would not be out of sample."""
    both = len(set(train) & set(test) - {b""})
    if both:
        raise ImagesError(
            f"{both} of the images for testing are also among those for training, pixel by pixel: remove the copies"
        )
