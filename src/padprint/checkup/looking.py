"""`check` itself: trace, inspect, choose scenes, measure a little, say what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from padprint.checkup.plan import SCENES, Plan, Scenes, chosen, no_scenes, planned
from padprint.checkup.proposed import commands
from padprint.checkup.result import Checkup
from padprint.errors import ImagesError, LayerError, ModelError, PadprintError
from padprint.geometry.inspection import Inspection, inspect, stride_record
from padprint.geometry.layer import Geometry
from padprint.geometry.tracing import trace
from padprint.images.photographs import Images, as_source, holds_pixels
from padprint.measuring.engine import measure
from padprint.network.example import crop_for, input_channels
from padprint.network.layers import unwrapped
from padprint.network.loading import as_model, declared_normalisation
from padprint.results.measurement import Measurement
from padprint.support.axes import Size
from padprint.support.defaults import CROP
from padprint.support.progress import display, phase

_CROPS = 4


def check(
    model: nn.Module | str,
    images: Images | None = None,
    *,
    size: int | tuple[int, ...] = CROP,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize_short_side: int | None = None,
    inputs: Callable[[Tensor], Any] | None = None,
    seed: int = 0,
    progress: bool = False,
    name: str | None = None,
    arguments: Sequence[str] = (),
) -> Checkup:
    """Look at a network: geometry, uneven strides, what pads, and a quick measurement. It is left as found.

    Args:
        model: any network that takes one `(B, C, *space)` tensor, or its name, see `padprint.load_model`.
        images: see `padprint.measure`; a few are used. None, or images that are too small: dead leaves, for networks over two
            axes.
        size: of the input, px, one number or one for each axis, (height, width).
        mean: see `padprint.measure`; None: what the model declares, else 0.5.
        std: likewise; else 0.25.
        resize_short_side: see `padprint.measure`.
        inputs: see `padprint.measure`.
        seed: of crops, scenes and random weights.
        progress: show what is being done on standard error.
        name: of the model, as a command takes it; None: what it was given by, or MODEL.
        arguments: further ones of the commands that are proposed.

    Returns:
        What was found, a verdict in three sentences, and the next commands. A network that cannot be measured gets the rest,
        and the reason.

    Raises:
        ModelError: the network does not run on an input of this size.
        ImagesError: there is no image among those given.

    Examples:
        >>> import padprint
        >>> from torch import nn
        >>> look = padprint.check(nn.Conv2d(3, 4, 5, padding=2), size=32)
        >>> pads, marks, advice = look.verdict
        >>> pads
        '1 operator of this network pads (1 with zeros); all can be given other padding.'
        >>> look.smallest  # image that all layers can be measured on, px
        (36, 36)
    """
    spec = name or (model if isinstance(model, str) else "MODEL")
    with display(progress):
        with phase("loading"):
            network = unwrapped(as_model(model, seed=seed))
        crop = crop_for(network, size, "size")
        declared = declared_normalisation(network)
        channels = _channels(network, images, declared)
        geometry = trace(network, crop=crop, channels=channels, inputs=inputs)
        inspection = _inspected(network, crop, channels)
        plan = planned(network, geometry, channels, declared, (mean, std), seed)
        scenes = chosen(plan, images, resize_short_side)
        measurement, refused = _measured(plan, scenes, geometry, inputs)
    if measurement is not None:
        measurement.provenance["strides"] = None if inspection is None else stride_record(inspection)
    return Checkup(
        spec,
        crop,
        geometry,
        inspection,
        measurement,
        refused,
        scenes.words,
        plan.smallest,
        (*plan.notes, *scenes.notes),
        tuple(
            commands(
                spec,
                plan,
                scenes.short_side,
                images,
                geometry,
                inspection,
                arguments,
                measured=measurement is not None,
            )
        ),
        scenes.replaced,
    )


def _channels(network: nn.Module, images: Images | None, declared: Any) -> int:
    """Channels of the images: of those given, else those that the network is made for."""
    if images is not None:
        options: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)} if holds_pixels(images) else {}
        first = next(as_source(images, **options).items(), None)
        if first is not None:
            return len(first[1])
    return input_channels(network) if declared is None else len(declared[0])


@phase("inspecting")
def _inspected(network: nn.Module, crop: Size, channels: int) -> Inspection | None:
    """What pads; None where the network cannot be inspected."""
    try:
        return inspect(network, crop, channels=channels)
    except PadprintError:
        return None


def _measured(
    plan: Plan, scenes: Scenes, geometry: Geometry, inputs: Callable[[Tensor], Any] | None
) -> tuple[Measurement | None, str | None]:
    """A quick measurement; or None, and why there is none."""
    if not geometry.maps:
        return None, "every layer sees the whole input, or is no map"
    if not scenes.images:
        return None, no_scenes(len(plan.crop))
    try:
        measurement = measure(
            plan.calibrated(),
            scenes.images,
            geometry,
            plan.crop,
            crops_per_image=_CROPS,
            groups=SCENES,
            margin=plan.margin,
            batch_size=_CROPS,
            seed=plan.seed,
            inputs=inputs,
        )
    except (LayerError, ModelError, ImagesError) as error:
        return None, str(error)
    return measurement, None
