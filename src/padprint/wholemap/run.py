"""`padprint.parts`: the four runs of every crop, and the checks that they are what they claim to be."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from math import ceil, inf
from typing import Any

import torch
from torch import Tensor, nn

import padprint
from padprint.errors import ImagesError, LayerError
from padprint.geometry import crop_size, trace
from padprint.images import Images, as_source, holds_pixels
from padprint.layers import as_measured, run_to, uncalibrated, unwrapped
from padprint.models import as_model
from padprint.options import check_counts, common_normalisation, on_device
from padprint.padding.intercept import refuse_opaque
from padprint.plan import Canvas, CropPlan
from padprint.progress import progress_bar
from padprint.source import nothing_decoded
from padprint.untouched import inputs_made
from padprint.weights import weights_sha256
from padprint.wholemap.checks import Checked, short_of
from padprint.wholemap.network import NEUTRAL, PLAIN, WholeMap
from padprint.wholemap.result import LayerParts, Parts
from padprint.wholemap.runs import Runs
from padprint.wholemap.sums import PartSums

_INSIDE = "net"
_SCENES = 2
"""How many scenes the self-check looks at."""


def parts(
    model: nn.Module | str,
    images: Images,
    layers: str | Sequence[str] = "auto",
    crop: int | tuple[int, int] = 224,
    crops_per_image: int = 4,
    groups: int = 10,
    margin: int | None = None,
    batch_size: int = 4,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = False,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    strict: bool = False,
    resize_short_side: int | None = None,
    max_megapixels: float | None = None,
    inputs: Callable[[Tensor], Any] | None = None,
    name: str | None = None,
) -> Parts:
    """Take apart what changes when a network sees a crop by itself: padding, and statistics over the whole map.

    For networks with operators that see all of their input: squeeze-and-excitation, instance, group and global response
    normalisation, attention, global pooling. Of every crop there are four runs: by itself (A); its scene under the crop's own
    statistics (R); its scene, every statistic over the crop's window (W), which is F(x; *); the scene as it is (S), of up to
    1024 x 1024 px. A - R is padding by local operators, R - W padding through statistics, W - S the crop's statistics alone.

    Args:
        model: see `padprint.measure`, which says more of all that both take.
        images: scenes larger than the crop.
        layers: dotted module names or globs.
        crop: input size in pixels, one number or (height, width).
        crops_per_image: crops drawn from each image; each has a canvas of its own.
        groups: image i belongs to group i mod `groups`.
        margin: pixels of scene around a crop, at least; None: as many as the layers reach by local operators. Below that the
            result is approximate, and `LayerParts.numeric_floor` says how far F(x; *) moves with what lies beyond.
        batch_size: crops, and canvases, in one forward pass.
        seed: of the crop positions.
        device: where to run; None: where the model is.
        progress: show a progress bar on standard error.
        mean: normalisation of photographs by channel; None: what the model declares.
        std: likewise, standard deviation.
        limit: use the first so many images.
        strict: an image that cannot be used is an error.
        resize_short_side: photographs are resized to this short side first, pixels.
        max_megapixels: most pixels of a photograph, in millions.
        inputs: for a model that takes more than a batch of images: makes its arguments of one.
        name: of the model, for the record; None: its class.

    Returns:
        The parts of each layer, and of the others why there are none.

    Raises:
        ImagesError: no image, or one that is too small.
        LayerError: a layer that does not exist, or none that can be measured: an operator that sees the whole map and has no
            handler (`padprint.wholemap.register`), absolute position.
        ModelError: the model fails, or runs at one size alone.

    Source: padprint's own; the parts add up to the change of a tile, of which Buglakova et al. (ICCV 2025) show what
    normalisation does.
    """
    check_counts(1, crops_per_image=crops_per_image, groups=groups, batch_size=batch_size)
    check_counts(0, seed=seed, margin=0 if margin is None else margin)
    size = crop_size(crop)
    network = unwrapped(as_model(model, seed=seed))
    refuse_opaque(network, "")
    if mean is None and std is None and holds_pixels(images):
        mean, std = common_normalisation([network])
    source = as_source(
        images,
        mean=mean,
        std=std,
        limit=limit,
        strict=strict,
        resize_short_side=resize_short_side,
        max_megapixels=max_megapixels,
    )
    wrapped = WholeMap(network)
    wrapped.training = network.training
    with ExitStack() as stack:
        where, dtype = stack.enter_context(on_device(wrapped, device))
        stack.enter_context(inputs_made(wrapped, inputs))
        stack.enter_context(as_measured(wrapped))
        counts = crops_per_image, groups, batch_size, seed
        run = _Run(wrapped, layers, size, counts, margin, (where, dtype))
        with progress_bar(source.length, progress) as advance:
            for index, image in source.items():
                run.add(index, image, source.called(index))
                advance()
        if run.n_images == 0:
            raise nothing_decoded(source)
        label = name or (model if isinstance(model, str) else type(model).__name__)
        return run.result(
            {
                "padprint": padprint.__version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
                "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "model": label,
                "weights_sha256": weights_sha256(network),
                "images": source.description,
                "skipped": dict(source.skipped),
                "crops_per_image": crops_per_image,
                "groups": groups,
                "seed": seed,
                "device": where.type,
                "dtype": str(dtype).removeprefix("torch."),
            }
        )


class _Run:
    """State of one pass over the images: what `add` is given, `result` tells.

    Args:
        wrapped: the network.
        layers: see `parts`.
        crop: (height, width).
        counts: crops of an image, groups, crops in one pass, seed.
        margin: see `parts`.
        home: device and precision of the network.
    """

    runs: Runs

    def __init__(
        self,
        wrapped: WholeMap,
        layers: str | Sequence[str],
        crop: tuple[int, int],
        counts: tuple[int, int, int, int],
        margin: int | None,
        home: tuple[torch.device, torch.dtype],
    ) -> None:
        self.wrapped, self.crop, self._home = wrapped, crop, home
        self.crops, self.groups, self.batch, self.seed = counts
        self._layers, self._margin = layers, margin
        self.sums: dict[str, PartSums] = {}
        self.through: dict[str, tuple[str, ...]] = {}
        self.checked = Checked()
        self.n_images = self.n_crops = 0

    def start(self, channels: int) -> None:
        """Learn which calls see the whole map, trace what is local, and plan the crops."""
        found = self.wrapped.learn(channels, self.crop)
        layers = self._layers if self._layers == "auto" else _inside(self._layers)
        try:
            geometry = trace(self.wrapped, layers, self.crop, channels=channels)
        except LayerError as error:
            raise LayerError(_outside(str(error))) from error
        py, px = geometry.period
        wanted = geometry.margin if self._margin is None else (self._margin,) * 4
        top, bottom, left, right = (ceil(m / p) * p for m, p in zip(wanted, (py, py, px, px), strict=True))
        plan = CropPlan(self.crop, (top, bottom, left, right), (py, px), self.crops, self.seed, inf)
        self.runs = Runs(self.wrapped, geometry, plan, *self._home)
        unread = "".join(f"; {call}: {reason}" for call, reason in found.refused.items())
        self.checked.refused = {layer: f"{_outside(why)}{unread}" for layer, why in geometry.unmeasured.items()}
        for layer, spec in geometry.maps.items():
            self.sums[layer] = PartSums(spec.channels, spec.size, self.groups)
            self.through[layer] = self._operators(layer, channels)
        self._settle()

    def _operators(self, layer: str, channels: int) -> tuple[str, ...]:
        """Operators that see the whole map and run before a layer has been computed."""
        places = self.wrapped.state.places
        places.clear()
        noise = torch.randn(1, channels, *self.crop, generator=torch.Generator().manual_seed(0)).to(*self._home)
        with self.wrapped.running(NEUTRAL):
            run_to(self.wrapped, noise, [self.runs.geometry.maps[layer].tap], lambda *_: None)
        return tuple(places)

    def add(self, index: int, image: Tensor, called: str) -> None:
        """Measure one `(C, H, W)` image, which messages call so.

        Raises:
            ImagesError: it is too small.
            LayerError: no layer can be measured.
        """
        if not self.sums:
            self.start(image.shape[0])
        plan = self.runs.plan
        canvases = plan.canvases((image.shape[-2], image.shape[-1]), index)
        if not canvases:
            need, size, crop = ("x".join(map(str, one)) for one in (plan.smallest, image.shape[-2:], self.crop))
            raise ImagesError(
                f"{called} is too small ({size} px): a {crop} crop with the margins {plan.margin} (top, bottom, left, right) "
                f"these layers reach needs {need} px; enlarge the photographs (resize_short_side={max(plan.smallest)}), use a "
                "smaller crop, earlier layers, or a margin below the reach"
            )
        if self.n_images < _SCENES:
            self.checked.scene(self.runs, index, image, canvases[0])
            self._settle()
        for canvas in canvases:
            self._add_canvas(index % self.groups, image, canvas)
        self.n_images += 1

    def _add_canvas(self, group: int, image: Tensor, canvas: Canvas) -> None:
        scene = self.runs.scene(image, canvas)
        plain = self.runs.maps(scene, PLAIN)
        for start in range(0, len(canvas.crops), self.batch):
            corners = canvas.crops[start : start + self.batch]
            alone, replayed, windowed = self.runs.three(*self.runs.tight(scene, corners))
            for layer in self.runs.layers:
                own = torch.cat([self.runs.window(layer, plain[layer], corner) for corner in corners])
                self.checked.inside(self.runs, layer, alone[layer], replayed[layer])
                self.sums[layer].add(group, alone[layer], replayed[layer], windowed[layer], own)
            self._settle()
            self.n_crops += len(corners)

    def _settle(self) -> None:
        """Leave refused layers out from here on.

        Raises:
            LayerError: no layer is left.
        """
        self.runs.layers = [layer for layer in self.runs.layers if layer not in self.checked.refused]
        if not self.runs.layers:
            layer, why = next(iter(self.checked.refused.items()))
            raise LayerError(f"no layer can be measured; {_shown(layer)}: {why}")

    # --------------------------------------------------------------------------------------------------- result

    def result(self, provenance: dict[str, Any]) -> Parts:
        """Everything measured."""
        runs = self.runs
        return Parts(
            {_shown(layer): self._layer(layer) for layer in runs.layers},
            {_shown(layer): why for layer, why in self.checked.refused.items()},
            self.crop,
            runs.plan.margin,
            any(short_of(runs.plan.margin, runs.geometry[layer]) for layer in runs.layers),
            self.n_images,
            self.n_crops,
            tuple(self._warnings()),
            provenance,
        )

    def _layer(self, layer: str) -> LayerParts:
        g = self.runs.geometry[layer]
        if g.stride is None or g.rim is None or g.reach is None:
            raise LayerError(f"{layer} has no geometry")
        return LayerParts(
            _shown(layer),
            **self.sums[layer].parts(),
            sees_all_through=self.through[layer],
            stride=g.stride,
            rim=g.rim,
            reach=g.reach,
            numeric_floor=self.checked.floor[layer],
        )

    def _warnings(self) -> Iterator[str]:
        fresh = uncalibrated(self.wrapped.net)
        if fresh is not None:
            yield fresh
        if self.n_images < 3:
            yield f"{self.n_images} image{'s' * (self.n_images > 1)}: intervals need at least 3"
        for layer in self.runs.layers:
            if short_of(self.runs.plan.margin, self.runs.geometry[layer]):
                yield (
                    f"{_shown(layer)} is approximate: F(x; *) moves by {self.checked.floor[layer]:.1e} of its size with what lies "
                    "beyond the margin"
                )


def _inside(layers: str | Sequence[str]) -> list[str]:
    """Names of layers of the wrapped network."""
    names = [layers] if isinstance(layers, str) else list(layers)
    return [_inside_one(name) for name in names]


def _inside_one(name: str) -> str:
    if name in ("", "output") or name.startswith("output["):
        return _INSIDE + name.removeprefix("output")
    return f"{_INSIDE}.{name}"


def _shown(name: str) -> str:
    """A layer's name in the network itself."""
    if name == _INSIDE:
        return "output"
    if name.startswith(f"{_INSIDE}["):
        return f"output{name.removeprefix(_INSIDE)}"
    return name.removeprefix(f"{_INSIDE}.")


def _outside(message: str) -> str:
    """A message without the name that the network has inside its wrapper."""
    return (
        message.replace(f" {_INSIDE}.", " ")
        .replace(f"'{_INSIDE}.", "'")
        .replace(f" in {_INSIDE} ", " in the model itself ")
    )
