"""The crops that `padprint.measure` takes, handed over one batch at a time: padded features beside optimally padded ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from padprint.geometry.layer import Geometry
from padprint.images.photographs import Images
from padprint.measuring.checked import Checked
from padprint.measuring.crop_plan import Canvas, CropPlan
from padprint.measuring.forwards import Rest
from padprint.measuring.options import OWN, Paddings, schemes_by_name
from padprint.measuring.session import Opened, Scene, Session, Setup
from padprint.network.preserved import as_measured, continued, generators
from padprint.padding import Scheme
from padprint.support.axes import Size

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padprint.measuring.options import Options


@dataclass(frozen=True)
class Batch:
    """Some crops of one image.

    Attributes:
        index: of the image.
        group: of the image, index modulo the number of groups.
        pixels: `(B, C, *space)`, the crops themselves.
        padded: by layer, `(B, C, *cells)` features F(x; p) of the crops alone.
        optimal: by layer, `(B, C, *cells)` features F(x; *) of the same crops with the scene around them.
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
        self.setup = Setup.of(model, images, options)
        self._paddings = paddings(padding, self.setup.settings.seed)
        self.n_images = self.n_crops = 0

    def __iter__(self) -> Iterator[Batch]:
        self.n_images = self.n_crops = 0
        model, session = self.setup.model, None
        with self.setup.opened() as opened:
            for scene in opened:
                with as_measured(model):
                    session = session or start(opened, scene, self._paddings)
                    self.geometry, self.plan = session.network.geometry, session.plan
                    session.network.reseed(session.plan.seed, scene.index)
                    states = [one.get_state() for one in generators(model)]
                for canvas in session.canvases(scene):
                    for batch in self._batches(session, scene, canvas, states):
                        self.n_crops += len(batch.pixels)
                        yield batch
                self.n_images += 1
                with as_measured(model):
                    session.network.count_image(scene.called)
            if session is not None:
                session.finish()

    def _batches(self, session: Session, scene: Scene, canvas: Canvas, states: list[Tensor]) -> Iterator[Batch]:
        network, size = session.network, session.settings.batch_size
        own = generators(network.model)
        x = network.forwards.placed(canvas.cut(scene.image))
        maps: dict[str, Tensor] = {}
        for start in range(0, len(canvas.crops), size):
            with as_measured(network.model), continued(own, states):
                maps = maps or network.forwards.maps(x)
                batch = batch_of(network, scene, x, maps, canvas.crops[start : start + size])
            yield batch


def start(opened: Opened, scene: Scene, paddings: Paddings) -> Session:
    """A session of one network, all of whose layers are believed.

    Raises:
        ImagesError, LayerError, ModelError, PaddingError: see `padprint.measure`.
    """
    session = Session(opened.setup, opened.traced(paddings, scene), scene)
    session.network.refuse_nothing_left()
    return session


def paddings(padding: str | Scheme | None, seed: int) -> Paddings:
    """A scheme to swap in by its name; None stands for the network's own.

    Raises:
        PaddingError: there is no such scheme.
    """
    return schemes_by_name([OWN if padding is None else padding], seed)


def batch_of(network: Checked, scene: Scene, x: Tensor, maps: Mapping[str, Tensor], corners: Sequence[Size]) -> Batch:
    """Run some crops of a canvas under the network's one padding; see `Forwards.crops`.

    Raises:
        LayerError: the data contradict what was found of a layer.
    """
    padded: dict[str, Tensor] = {}
    optimal: dict[str, Tensor] = {}

    def keep(name: str, features: Tensor, windows: list[Tensor], _: Rest | None) -> None:
        padded[name], optimal[name] = features.clone(), torch.stack(windows)

    (scheme,) = network.paddings.values()
    network.forwards.crops(x, maps, corners, keep, scheme)
    network.refuse_contradicted()
    pixels = torch.cat(network.forwards.cut(x, corners))
    return Batch(scene.index, scene.group, pixels, padded, optimal)
