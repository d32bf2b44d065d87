"""The crops that `padprint.measure` takes, handed over one batch at a time: padded features beside optimally padded ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from padprint import engine
from padprint.errors import ImagesError
from padprint.geometry import Geometry, crop_size
from padprint.images import Images, are_files, as_source
from padprint.layers import as_measured, unwrapped
from padprint.padding import Scheme
from padprint.padding.swap import swapped
from padprint.plan import Canvas, CropPlan
from padprint.progress import progress_bar
from padprint.run import Run
from padprint.source import nothing_decoded
from padprint.subject import Subject

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padprint.engine import Options


@dataclass(frozen=True)
class Batch:
    """Some crops of one image.

    Attributes:
        index: of the image.
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
        ImagesError, LayerError, ModelError, PaddingError: see `padprint.measure`; while iterating.
    """
    return Crops(model, images, padding, dict(options))


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

    def __init__(self, model: nn.Module, images: Images, padding: str | Scheme | None, options: dict[str, Any]) -> None:
        unknown = set(options) - set(engine._DEFAULTS)
        if unknown or options.get("distributed"):
            raise TypeError(f"no such option: {', '.join(sorted(unknown)) or 'distributed'}")
        self._options = {**engine._DEFAULTS, **options}
        self._settings = engine._settings(self._options)
        self._paddings = engine._schemes([engine.OWN if padding is None else padding], self._settings.seed)
        self._model = unwrapped(model)
        self._source = as_source(
            images,
            **normalisation(self._model, images, self._options["mean"], self._options["std"]),
            limit=self._options["limit"],
            strict=self._options["strict"],
            resize_short_side=self._options["resize_short_side"],
        )
        self.n_images = self.n_crops = 0

    def __iter__(self) -> Iterator[Batch]:
        o, self.n_images, self.n_crops = self._options, 0, 0
        with (
            engine._placed(self._model, o["device"]) as (device, dtype),
            progress_bar(self._source.length, o["progress"]) as advance,
        ):
            subject = _Subject(self._model, o["layers"], crop_size(o["crop"]), device, dtype, self._paddings)
            run = _Run([subject], self._settings)
            for index, image in self._source.items():
                if not self.n_images:
                    with as_measured(self._model):
                        run.start(image, self._source.sizes())
                    self.geometry, self.plan = subject.geometry, run.plan
                subject.reseed(index)
                for canvas in run.canvases(image, index):
                    for batch in self._batches(subject, index, image, canvas):
                        self.n_crops += len(batch.pixels)
                        yield batch
                self.n_images += 1
                advance()
        if not self.n_images:
            raise nothing_decoded(self._source)

    def _batches(self, subject: _Subject, index: int, image: Tensor, canvas: Canvas) -> Iterator[Batch]:
        group, size = index % self._settings.groups, self._settings.batch_size
        maps: dict[str, Tensor] = {}
        x = subject.forwards.placed(
            image[:, canvas.top : canvas.top + canvas.height, canvas.left : canvas.left + canvas.width]
        )
        for start in range(0, len(canvas.crops), size):
            with as_measured(self._model):
                maps = maps or subject.forwards.maps(x)
                batch = subject.batch(index, group, x, maps, canvas.crops[start : start + size])
            yield batch


class _Subject(Subject):
    """A network whose features are handed over, not summed up."""

    def prepare(self, plan: CropPlan, groups: int) -> None:  # noqa: ARG002  # nothing is summed
        self.plan = plan

    def reseed(self, index: int) -> None:
        """Start the random numbers of stochastic paddings anew, as `Subject.add` does."""
        for scheme in self.paddings.values():
            if scheme is not None:
                scheme.reseed(hash((self.plan.seed, index)) & 0x7FFFFFFF)

    def batch(
        self, index: int, group: int, x: Tensor, maps: dict[str, Tensor], corners: tuple[tuple[int, int], ...]
    ) -> Batch:
        """Run some crops of a canvas."""
        padded: dict[str, Tensor] = {}
        optimal: dict[str, Tensor] = {}

        def keep(name: str, features: Tensor, windows: list[Tensor]) -> None:
            padded[name], optimal[name] = features.clone(), torch.stack(windows)

        (scheme,) = self.paddings.values()
        with nullcontext() if scheme is None else swapped(scheme):
            self.forwards.crops(x, maps, corners, keep)
        height, width = self.crop
        pixels = torch.stack([x[0, :, top : top + height, left : left + width] for top, left in corners])
        return Batch(index, group, pixels, padded, optimal)


class _Run(Run):
    """A pass whose crops are handed over, not summed up."""

    def canvases(self, image: Tensor, index: int) -> list[Canvas]:
        """The canvases of one image.

        Raises:
            ImagesError: it is too small for any.
        """
        size = (image.shape[-2], image.shape[-1])
        found = self.plan.canvases(size, index)
        if not found:
            raise ImagesError(f"image {index}: {self._too_small([f'{size[0]}x{size[1]}'], 1)}")
        return found


def normalisation(model: nn.Module, images: Images, mean: Any, std: Any) -> dict[str, Any]:
    """`mean` and `std`, for files where neither is given those that the model declares."""
    if mean is None and std is None and are_files(images):
        mean, std = engine._common_normalisation([model])
    return {"mean": mean, "std": std}
