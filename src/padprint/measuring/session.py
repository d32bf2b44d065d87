"""A pass over scenes: what was asked for, the networks on their devices, and the networks traced, planned and checked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Any

import torch
from torch import Tensor, nn

from padprint.errors import ImagesError, ModelError
from padprint.geometry.layer import Geometry, surroundings
from padprint.images.photographs import Images, as_source, holds_pixels
from padprint.images.source import Source, nothing_decoded
from padprint.measuring.checked import Checked, Traced
from padprint.measuring.crop_plan import Canvas, CropPlan
from padprint.measuring.forwards import Forwards, whole_of
from padprint.measuring.memory import fitted
from padprint.measuring.options import DEFAULTS, EFFECTIVE, Paddings, Settings, common_normalisation, run_settings
from padprint.measuring.self_check import change_by_padding, change_when_grown, relative
from padprint.network.example import crop_for, crop_size
from padprint.network.layers import unwrapped
from padprint.network.loading import as_model
from padprint.network.preserved import as_measured, inputs_made, on_device
from padprint.support.axes import Size, times
from padprint.support.progress import progress_bar

Place = tuple[torch.device, torch.dtype]
"""Where a network is, and its precision."""


@dataclass(frozen=True)
class Scene:
    """One image.

    Attributes:
        index: of the image.
        called: what messages call it.
        group: that it belongs to, index modulo the number of groups.
        image: `(C, *space)`.
        device, dtype: of the (first) model.
    """

    index: int
    called: str
    group: int
    image: Tensor
    device: torch.device
    dtype: torch.dtype

    @property
    def size(self) -> Size:
        """Size of the image along each axis, px."""
        return tuple(self.image.shape[1:])


def refuse_other_axes(size: Sequence[int], what: str) -> None:
    """Raise ImagesError where images are not of two axes of space, for what is made for these alone."""
    if len(size) != 2:
        raise ImagesError(f"{what} takes images of 2 space axes, and these have {len(size)}")


@dataclass(frozen=True)
class Setup:
    """What a pass over scenes was asked for, checked before anything runs.

    Attributes:
        models: the networks by name, without what wraps them.
        source: the scenes.
        settings: some of the options, checked.
        options: all of them, with defaults.
        rank, world: of this process, among those that share the scenes.
    """

    models: Mapping[str, nn.Module]
    source: Source
    settings: Settings
    options: Mapping[str, Any]
    rank: int = 0
    world: int = 1

    @classmethod
    def of(
        cls,
        models: nn.Module | str | Mapping[str, nn.Module | str],
        images: Images,
        options: Mapping[str, Any],
        allowed: Collection[str] | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> Setup:
        """Check options, load models, find the scenes.

        Args:
            models: see `padprint.measure`; several by name.
            images: likewise.
            options: of `padprint.measure`, by name.
            allowed: names of the options that make sense; None for all but `distributed`.
            share: rank of this process among so many.

        Raises:
            ImagesError, ModelError: see `padprint.measure`.
            TypeError: an option that does not exist or makes no sense.
        """
        unknown = set(options) - (set(DEFAULTS) - {"distributed"} if allowed is None else set(allowed))
        if unknown:
            raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
        o: dict[str, Any] = {**DEFAULTS, **options}
        settings = run_settings(o)
        named = models if isinstance(models, Mapping) else {"": models}
        loaded = {name: unwrapped(as_model(model, seed=settings.seed)) for name, model in named.items()}
        mean, std = o["mean"], o["std"]
        if mean is None and std is None and holds_pixels(images):
            mean, std = common_normalisation(loaded.values())
        rest = {key: o[key] for key in ("limit", "strict", "resize_short_side", "max_megapixels")}
        return cls(loaded, as_source(images, mean=mean, std=std, **rest), settings, o, *share)

    @property
    def model(self) -> nn.Module:
        """The only network."""
        (model,) = self.models.values()
        return model

    def crop(self, axes: int) -> Size:
        """Size of a crop of images of so many axes, px.

        Raises:
            ModelError: it is for another number of axes.
        """
        return crop_size(self.options["crop"], axes)

    @contextmanager
    def opened(self, work: str = "measuring") -> Iterator[Opened]:
        """The networks on their devices, moved back at the end; `work` is what the progress bar says.

        Raises:
            ModelError: a device that cannot be used, half precision.
        """
        with ExitStack() as stack:
            places = []
            for model in self.models.values():
                places.append(stack.enter_context(on_device(model, self.options["device"])))
                stack.enter_context(inputs_made(model, self.options["inputs"]))
            shown = self.options["progress"] and self.rank == 0
            yield Opened(self, places, stack.enter_context(progress_bar(self.source.length, shown, work)))


class Opened:
    """Networks on their devices, and their scenes one after the other: iterating reads those of this process.

    Attributes:
        setup: what was asked for.
        places: of the networks.
    """

    def __init__(self, setup: Setup, places: Sequence[Place], advance: Callable[[], None]) -> None:
        self.setup, self.places, self._advance = setup, places, advance

    def __iter__(self) -> Iterator[Scene]:
        """The scenes.

        Raises:
            ImagesError: see `padprint.measure`; or there was none, in the only process.
        """
        setup, none = self.setup, True
        for index, image in setup.source.items(setup.rank, setup.world):
            none = False
            called, group = setup.source.called(index), index % setup.settings.groups
            yield Scene(index, called, group, image, *self.places[0])
            self._advance()
        if none and setup.world == 1:
            raise nothing_decoded(setup.source)

    def traced(self, paddings: Paddings, scene: Scene) -> list[Traced]:
        """The networks, traced for images such as this one.

        Raises:
            LayerError, ModelError, PaddingError: see `Traced.of`.
        """
        setup, channels, crop = self.setup, scene.image.shape[0], self.setup.crop(len(scene.size))
        return [
            Traced.of(model, setup.options["layers"], crop, channels, place, paddings)
            for model, place in zip(setup.models.values(), self.places, strict=True)
        ]


class Session:
    """One pass over the crops of scenes: by these networks, with these settings, checked on the first scene.

    What is done with the crops is up to those who visit it: `engine` sums them up, `crops` hands them over, tiles and shifts
    compare them.

    Args:
        setup: what was asked for.
        traced: the networks; all see the same crops.
        scene: the first one.
        what: messages call a crop.

    Attributes:
        settings: of the pass, with a batch size that fits.
        plan: how scenes are cut.
        networks: ready to run.

    Raises:
        ImagesError: scenes are too small, as far as their sizes are known.
        ModelError: a network fails.
    """

    def __init__(self, setup: Setup, traced: Sequence[Traced], scene: Scene, what: str = "crop") -> None:
        settings = setup.settings
        self.setup, self.what = setup, what
        found = effective_margin(traced, settings, scene) if settings.margin == EFFECTIVE else settings.margin
        plan = planned(traced, replace(settings, margin=found))
        self.plan, self.settings = fitted(plan, traced, scene.image.shape[0], settings, what)
        self.plan.refuse_small(setup.source.sizes() or [], what, setup.source.called)
        self.networks = tuple(Checked(one, self.plan, scene.image) for one in traced)

    @property
    def network(self) -> Checked:
        """The only network."""
        (network,) = self.networks
        return network

    def canvases(self, scene: Scene) -> list[Canvas]:
        """The canvases of a scene.

        Raises:
            ImagesError: it is too small for any.
        """
        found = self.plan.canvases(scene.size, scene.index)
        if not found:
            raise ImagesError(f"{scene.called}: {self.plan.too_small([scene.size], 1, self.what)}")
        return found

    def finish(self) -> None:
        """See `Checked.finish`."""
        for network in self.networks:
            network.finish()


EFFECTIVE_SHARE = 0.02
"""Share of what padding changes in a layer, rms, by which F(x; *) may still move when an effective margin grows by half."""


def effective_margin(traced: Sequence[Traced], settings: Settings, scene: Scene) -> int | None:
    """The least margin tried beyond which the scene hardly matters; None for the one that the layers need by structure.

    From an eighth of the crop on, half as much again each time, until F(x; *) of a crop of the first scene moves by no more than
    `EFFECTIVE_SHARE` of what padding changes, in every layer, when the margin grows by half.

    Raises:
        ImagesError: the scene has no room to tell.
    """
    (structural, period), crop = surroundings([one.geometry for one in traced]), traced[0].geometry.crop
    margin = max(*period, max(crop) // 8)
    while margin < max(structural):
        plan = planned(traced, replace(settings, margin=margin))
        moves = [_moves(one, plan, scene.image) for one in traced]
        if None in moves:
            raise ImagesError(
                f"an effective margin cannot be told: {margin} px and half as much again have no room in {scene.called} of "
                f"{times(scene.size)} px; use larger images, a smaller crop or margin=N"
            )
        if all(one is not None and one <= EFFECTIVE_SHARE for one in moves):
            return margin
        margin = ceil(1.5 * margin)
    return None


def _moves(traced: Traced, plan: CropPlan, image: Tensor) -> float | None:
    """By how much F(x; *) of one crop moves when its margins grow by half, over what padding changes: the largest of any layer.

    None where the image is too small to tell.
    """
    with as_measured(traced.model):
        whole = whole_of(traced.model, traced.geometry, plan.margin, image.shape[0])
        forwards = Forwards(traced.model, traced.geometry.maps, plan.crop, traced.device, traced.dtype, whole)
        moved, padded = change_when_grown(forwards, plan, image), change_by_padding(forwards, plan, image)
    return max((relative(torch.stack([moved[name][0], padded[name][0]])) for name in moved), default=None)


def planned(traced: Sequence[Traced], settings: Settings) -> CropPlan:
    """Crops on the grid of every network, with room for the layers of all.

    Raises:
        ModelError: an effective margin is asked for, which images alone can tell.
    """
    if isinstance(settings.margin, str):
        raise ModelError("margin='effective' is found on images; here there are none yet: give a number of px")
    margin, period = surroundings([one.geometry for one in traced], settings.margin)
    whole = any(one.seeing_all for one in traced)
    spend = inf if whole else settings.spend  # statistics are compared with those of large scenes
    crop = traced[0].geometry.crop
    return CropPlan(crop, margin, period, settings.crops_per_image, settings.seed, spend)


def traced_on_blank(
    model: nn.Module,
    layers: str | Sequence[str] | Geometry,
    crop: int | Sequence[int],
    channels: int,
    paddings: Paddings,
    inputs: Callable[[Tensor], Any] | None = None,
) -> Traced:
    """A network where it is, traced without any image.

    Raises:
        LayerError, ModelError, PaddingError: see `Traced.of`.
    """
    with on_device(model, None) as place, inputs_made(model, inputs):
        return Traced.of(model, layers, crop_for(model, crop), channels, place, paddings)
