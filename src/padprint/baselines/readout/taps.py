"""Which layers of a network the readout reads where the network sees a whole image, and how."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor, nn
from torch.nn.functional import interpolate

from padprint.errors import LayerError, ModelError
from padprint.geometry.layer import MapSpec
from padprint.network.layers import Tap, discover, select


def official_layers(model: nn.Module) -> list[str] | None:
    """The layers that the authors read: the last ReLU of each block of a torchvision VGG, the stages of a ResNet.

    None for other networks.
    """
    kind = (type(model).__module__, type(model).__name__)
    if kind == ("torchvision.models.resnet", "ResNet"):
        return ["layer1", "layer2", "layer3", "layer4"]
    if kind == ("torchvision.models.vgg", "VGG"):
        layers = list(model.get_submodule("features").children())
        return [f"features.{i - 1}" for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    return None


def whole_specs(model: nn.Module, layers: str | Sequence[str], view: Tensor) -> dict[str, MapSpec]:
    """The layers to read, in order of execution: those asked for, the authors', or the last at each resolution.

    Which dimensions of a layer's output are rows and columns shows on an input of twice the size; a network that takes no
    other size is taken to have them last.

    Args:
        model: in evaluation mode.
        layers: names or globs, or "auto".
        view: `(1, C, H, W)` input.

    Raises:
        LayerError: there is no such layer, or it is not a map.
        ModelError: the model fails.
    """
    taps = discover(model, view)
    named = official_layers(model) if layers == "auto" else layers
    if named is not None:
        wanted = select(taps, [named] if isinstance(named, str) else list(named))
    else:
        wanted = [tap for tap in taps if len(tap.shape) == 4]
    dims = _map_dims(model, wanted, view)
    if named is None:
        last: dict[tuple[int, int], Tap] = {}
        for tap in wanted:
            if tap.name in dims:
                y, x = dims[tap.name]
                size = (tap.shape[y], tap.shape[x])
                last.pop(size, None)
                last[size] = tap
        wanted = list(last.values())
    strangers = [tap.name for tap in wanted if tap.name not in dims]
    if strangers or not wanted:
        what = ", ".join(strangers) or "no layer of the model"
        raise LayerError(f"{what}: the output must be a (batch, channels, height, width) map; read other layers")
    return {tap.name: _spec(tap, dims[tap.name], (view.shape[-2], view.shape[-1])) for tap in wanted}


def _map_dims(model: nn.Module, taps: Sequence[Tap], view: Tensor) -> dict[str, tuple[int, int]]:
    """For every tap that is a map, which dimensions are rows and columns."""
    try:
        larger = {tap.name: tap.shape for tap in discover(model, interpolate(view, scale_factor=2.0))}
    except ModelError:  # a network that takes one size only
        return {tap.name: (2, 3) for tap in taps if len(tap.shape) == 4 and min(tap.shape[2:]) > 1}
    found = {}
    for tap in taps:
        shape = larger.get(tap.name, tap.shape)
        grown = [d for d, (a, b) in enumerate(zip(tap.shape, shape, strict=False)) if b > a]
        if len(tap.shape) in (3, 4) and len(grown) == 2 and grown[0] > 0:
            found[tap.name] = (grown[0], grown[1])
    return found


def _spec(tap: Tap, dims: tuple[int, int], crop: tuple[int, int]) -> MapSpec:
    size = (tap.shape[dims[0]], tap.shape[dims[1]])
    rest = [n for d, n in enumerate(tap.shape) if d not in (0, *dims)]
    stride = (Fraction(crop[0], size[0]), Fraction(crop[1], size[1]))
    return MapSpec(tap, dims, stride, size, rest[0] if rest else 1)
