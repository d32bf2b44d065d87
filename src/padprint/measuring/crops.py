"""The crops that `padprint.measure` takes, handed over one batch at a time: padded features beside optimally padded ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from padprint.errors import ImagesError
from padprint.geometry.layer import Geometry
from padprint.geometry.tracing import crop_size
from padprint.images.photographs import Images, as_source, holds_pixels
from padprint.images.source import nothing_decoded
from padprint.measuring import engine
from padprint.measuring.crop_plan import Canvas, CropPlan
from padprint.measuring.forwards import Rest
from padprint.measuring.options import OWN, common_normalisation, on_device, run_settings, schemes_by_name
from padprint.measuring.run import Run, Settings
from padprint.measuring.subject import Paddings, Subject, reseed
from padprint.network.layers import as_measured, unwrapped
from padprint.network.loading import as_model
from padprint.network.preserved import continued, generators, inputs_made
from padprint.padding import Scheme
from padprint.support.progress import progress_bar

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padprint.measuring.options import Options


@dataclass(frozen=True)
class Batch:
    """Some crops of one image.

    Attributes:
        index: of the image.
        called: what messages call it.
        group: of the image, index modulo the number of groups.
        pixels: `(B, C, H, W)`, the crops themselves.
        padded: by layer, `(B, C, h, w)` features F(x; p) of the crops alone.
        optimal: by layer, `(B, C, h, w)` features F(x; *) of the same crops with the scene around them.
    """

    index: int
    group: int
    pixels: Tensor
    padded: dict[str, Tensor]
    optimal: dict[str, Tensor]


def iterate(model: nn.Module, images: Images, padding: str | Scheme | None = None, **options: Unpack[Options]) -> Crops:
    """Iterate over the crops of images: what `padprint.measure` sums up, one batch at a time.

    The same options give the same crops as in `measure`. Between two batches the model is as it was found, and nothing
    switches gradients off: features carry none, and what is computed from them may.

    Args:
        model: see `padprint.measure`.
        images: likewise.
        padding: likewise.
        **options: likewise; `distributed` is not supported.

    Returns:
        An iterable of `Batch`, which runs anew each time it is iterated over.

    Raises:
        ImagesError, LayerError, ModelError, PaddingError: see `padprint.measure`; some only while iterating.
    """
    return Crops(model, images, padding, options)


class Crops:
    """See `iterate`.

    Attributes:
        geometry: of the layers; there from the first batch on, like the others.
        plan: how scenes are cut.
        n_images: images that are done.
        n_crops: crops handed over.
    """

    geometry: Geometry
    plan: CropPlan

    def __init__(
        self, model: nn.Module, images: Images, padding: str | Scheme | None, options: Mapping[str, Any]
    ) -> None:
        self._scenes = Scenes(model, images, options)
        self._paddings = paddings(padding, self._scenes.settings.seed)
        self.n_images = self.n_crops = 0

    def __iter__(self) -> Iterator[Batch]:
        self.n_images = self.n_crops = 0
        run: CropRun
        for scene in self._scenes:
            if not self.n_images:
                run = started(self._scenes, scene, self._paddings)
                self.geometry, self.plan = run.subject.geometry, run.plan
                self._scenes.at_end = [run.subject.finish]
            with as_measured(run.subject.model):
                reseed(run.subject.model, self._paddings.values(), run.plan.seed, scene.index)
                states = [one.get_state() for one in generators(run.subject.model)]
            for canvas in run.canvases(scene.size, scene.index):
                for batch in self._batches(run.subject, scene, canvas, states):
                    self.n_crops += len(batch.pixels)
                    yield batch
            self.n_images += 1
            with as_measured(run.subject.model):
                run.subject.tick(scene.called)

    def _batches(self, subject: Views, scene: Scene, canvas: Canvas, states: list[Tensor]) -> Iterator[Batch]:
        size, own = self._scenes.settings.batch_size, generators(subject.model)
        x = subject.forwards.placed(
            scene.image[:, canvas.top : canvas.top + canvas.height, canvas.left : canvas.left + canvas.width]
        )
        maps: dict[str, Tensor] = {}
        for start in range(0, len(canvas.crops), size):
            with as_measured(subject.model), continued(own, states):
                maps = maps or subject.forwards.maps(x)
                batch = subject.batch(scene, x, maps, canvas.crops[start : start + size])
            yield batch


# ------------------------------------------------------------------------------- what other metrics on images start from


@dataclass(frozen=True)
class Scene:
    """One image.

    Attributes:
        index: of the image.
        called: what messages call it.
        group: that it belongs to, index modulo the number of groups.
        image: `(C, H, W)`.
        device, dtype: of the model.
    """

    index: int
    called: str
    group: int
    image: Tensor
    device: torch.device
    dtype: torch.dtype

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image, px."""
        return self.image.shape[-2], self.image.shape[-1]


class Scenes:
    """The images of a run, and the network on its device.

    Args:
        model: see `padprint.measure`.
        images: likewise.
        options: of `padprint.measure`, by name.
        allowed: names of the options that make sense; None for all but `distributed`.
        work: what is done with them, for the progress bar.

    Attributes:
        model: the module to hook.
        options: all of them, with defaults.
        settings: some of them, checked.
        source: the images.
        at_end: called after the last image, while the network is still on its device.

    Raises:
        ImagesError, ModelError: see `padprint.measure`.
        TypeError: an option that does not exist or makes no sense.
    """

    def __init__(
        self,
        model: nn.Module | str,
        images: Images,
        options: Mapping[str, Any],
        allowed: Collection[str] | None = None,
        work: str = "measuring",
    ) -> None:
        unknown = set(options) - (set(engine.DEFAULTS) - {"distributed"} if allowed is None else set(allowed))
        if unknown:
            raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
        self.options: dict[str, Any] = {**engine.DEFAULTS, **options}
        self.settings: Settings = run_settings(self.options)
        self.work = work
        self.at_end: list[Callable[[], None]] = []
        self.model = unwrapped(as_model(model, seed=self.settings.seed))
        mean, std = self.options["mean"], self.options["std"]
        if mean is None and std is None and holds_pixels(images):
            mean, std = common_normalisation([self.model])
        rest = {key: self.options[key] for key in ("limit", "strict", "resize_short_side", "max_megapixels")}
        self.source = as_source(images, mean=mean, std=std, **rest)

    def __iter__(self) -> Iterator[Scene]:
        """One image after the other; the model is moved to its device for as long.

        Raises:
            ImagesError: see `padprint.measure`; or there was no image.
        """
        none = True
        with (
            on_device(self.model, self.options["device"]) as (device, dtype),
            inputs_made(self.model, self.options["inputs"]),
            progress_bar(self.source.length, self.options["progress"], self.work) as advance,
        ):
            for index, image in self.source.items():
                none = False
                yield Scene(index, self.source.called(index), index % self.settings.groups, image, device, dtype)
                advance()
            for finish in self.at_end:
                finish()
        if none:
            raise nothing_decoded(self.source)


def paddings(padding: str | Scheme | None, seed: int) -> Paddings:
    """A scheme to swap in by its name; None stands for the network's own.

    Raises:
        PaddingError: there is no such scheme.
    """
    return schemes_by_name([OWN if padding is None else padding], seed)


class Views(Subject):
    """A network whose features are handed over where `Subject` sums them up."""

    def prepare(self, plan: CropPlan, groups: int) -> None:  # noqa: ARG002  # nothing is summed
        """See `Subject.prepare`."""
        self.plan = plan

    @property
    def scheme(self) -> Scheme | None:
        """What stands in for the network's padding."""
        (scheme,) = self.paddings.values()
        return scheme

    def batch(self, scene: Scene, x: Tensor, maps: Mapping[str, Tensor], corners: Sequence[tuple[int, int]]) -> Batch:
        """Run some crops of a canvas; see `Forwards.crops`."""
        padded: dict[str, Tensor] = {}
        optimal: dict[str, Tensor] = {}

        def keep(name: str, features: Tensor, windows: list[Tensor], _: Rest | None) -> None:
            padded[name], optimal[name] = features.clone(), torch.stack(windows)

        self.forwards.crops(x, maps, corners, keep, self.scheme)
        self.refuse_contradicted()
        height, width = self.crop
        pixels = torch.stack([x[0, :, top : top + height, left : left + width] for top, left in corners])
        return Batch(scene.index, scene.group, pixels, padded, optimal)


class CropRun(Run):
    """A pass over one network's crops, which are handed over where `Run` sums them up."""

    def __init__(self, subject: Views, settings: Settings) -> None:
        super().__init__([subject], settings)
        self.subject = subject

    def canvases(self, size: tuple[int, int], index: int) -> list[Canvas]:
        """The canvases of one image of (H, W) px.

        Raises:
            ImagesError: it is too small for any.
        """
        found = self.plan.canvases(size, index)
        if not found:
            raise ImagesError(f"image {index}: {self._too_small([f'{size[0]}x{size[1]}'], 1)}")
        return found


def started(scenes: Scenes, scene: Scene, paddings: Paddings) -> CropRun:
    """A run whose network is traced, checked and planned for on its first image.

    Raises:
        ImagesError, LayerError, ModelError, PaddingError: see `padprint.measure`.
    """
    o = scenes.options
    subject = Views(scenes.model, o["layers"], crop_size(o["crop"]), scene.device, scene.dtype, paddings)
    run = CropRun(subject, scenes.settings)
    with as_measured(scenes.model):
        run.start(scene.image, scenes.source.sizes())
    return run
