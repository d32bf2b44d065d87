"""`measure` and `compare`: check what they are given, put the models in order, and run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import inf
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import nn

from padprint.comparison import Comparison
from padprint.errors import ImagesError, ModelError, PaddingError
from padprint.geometry import Geometry, crop_size
from padprint.images import Images, are_files, as_source
from padprint.layers import as_measured, unwrapped
from padprint.models import declared_normalisation
from padprint.padding import Scheme, make
from padprint.processes import share, together
from padprint.progress import progress_bar
from padprint.result import Measurement
from padprint.run import Run, Settings
from padprint.subject import Paddings, Subject
from padprint.weights import weights_sha256


class Options(TypedDict, total=False):
    """Keywords that `measure` and `compare` share; `measure` says what they mean."""

    layers: str | Sequence[str] | Geometry
    crop: int | tuple[int, int]
    crops_per_image: int
    groups: int
    margin: int | None
    batch_size: int
    seed: int
    device: str | torch.device | None
    progress: bool
    mean: Sequence[float] | None
    std: Sequence[float] | None
    limit: int | None
    strict: bool
    resize_short_side: int | None
    spend: float
    distributed: bool


if TYPE_CHECKING:
    from typing_extensions import Unpack

OWN = "own"
"""Name, among paddings, of the network's own."""


def measure(
    model: nn.Module,
    images: Images,
    layers: str | Sequence[str] | Geometry = "auto",
    crop: int | tuple[int, int] = 224,
    crops_per_image: int = 16,
    groups: int = 10,
    margin: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = False,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    strict: bool = False,
    resize_short_side: int | None = None,
    spend: float = 1.0,
    distributed: bool = False,
    name: str | None = None,
    padding: str | Scheme | None = None,
) -> Measurement:
    """Measure the padding pattern of a network's layers.

    The model is run in evaluation mode and left as found: mode, hooks, gradients, random state, device, precision.

    Args:
        model: any module that takes one `(B, C, H, W)` tensor; its outputs may be nested.
        images: scenes larger than the crop: an iterable of `(C, H, W)` float tensors normalised as the model wants them,
            a Dataset or DataLoader of them (labels ignored), or a folder of photographs.
        layers: dotted module names or globs; ``"auto"``: the last module output at each spatial resolution. Or what
            `trace` found at the same crop, so that a network measured again and again, in training say, is traced once.
        crop: input size in pixels, one number or (height, width).
        crops_per_image: crops drawn from each image, without replacement; fewer where it admits fewer positions.
        groups: image i belongs to group i mod `groups`; error bars are delete-one-group jackknife.
        margin: pixels of scene kept around a crop, at least; None: as many as the layers reach. Below the reach the
            result is approximate and carries its residual.
        batch_size: crops in one forward pass.
        seed: of the crop positions; each image draws from (seed, index) alone.
        device: where to run; None: where the model is. The model is moved back at the end.
        progress: show a progress bar on standard error.
        mean: normalisation of a folder's photographs by channel; None: what the model declares.
        std: likewise, standard deviation.
        limit: use the first so many images.
        strict: files that cannot be decoded are an error instead of being skipped and counted.
        resize_short_side: photographs of a folder are resized to this short side first, pixels.
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
        "spend": spend,
        "distributed": distributed,
    }
    label = name or type(model).__name__
    return _measured({label: model}, [OWN if padding is None else padding], images, options)[0][0]


def compare(
    models: nn.Module | Mapping[str, nn.Module],
    images: Images,
    padding: Sequence[str | Scheme] = (OWN,),
    **options: Unpack[Options],
) -> Comparison:
    """Measure several networks, or one under several paddings, over the same crops.

    One pass over the images: every crop is seen by all, and the optimal features are computed once for all paddings of
    a network. Differences between any two are paired over crops and groups (`Comparison.differences`).

    Args:
        models: one network, or several by name. Crops lie on the grid of all, with room for the layers of all.
        images: see `measure`; normalised alike for all networks.
        padding: schemes to swap in, by name or as schemes (`padprint.padding`); ``"own"`` is the network's own padding.
        **options: see `measure`.

    Returns:
        One measurement for each network and padding, named by whichever of the two differ.

    Raises:
        ImagesError, LayerError, ModelError, PaddingError: see `measure`. Less than two things to compare is an error too.
    """
    named = dict(models) if isinstance(models, Mapping) else {type(models).__name__: models}
    if len(named) * len(padding) < 2:
        raise ModelError("there is nothing to compare: give two paddings or more, or two models or more")
    results = _measured(named, padding, images, options)
    found = {}
    for model, measurements in zip(named, results, strict=True):
        for scheme, measurement in zip(_schemes(padding), measurements, strict=True):
            parts = [model] * (len(named) > 1) + [scheme] * (len(padding) > 1)
            found[" / ".join(parts)] = measurement
    return Comparison(found)


def _measured(
    models: Mapping[str, nn.Module], padding: Sequence[str | Scheme], images: Images, options: Options
) -> list[list[Measurement]]:
    """For each model, one measurement for each padding."""
    o = {**_DEFAULTS, **options}
    unknown = set(o) - set(_DEFAULTS)
    if unknown:
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
    distributed = o["distributed"]
    rank, world = share() if distributed else (0, 1)
    with ExitStack() as stack:
        with together(distributed):
            settings = _settings(o)
            paddings = _schemes(padding, settings.seed)
            given = {name: unwrapped(model) for name, model in models.items()}
            mean, std = o["mean"], o["std"]
            if mean is None and std is None and are_files(images):
                mean, std = _common_normalisation(given.values())
            source = as_source(
                images,
                mean=mean,
                std=std,
                limit=o["limit"],
                strict=o["strict"],
                resize_short_side=o["resize_short_side"],
            )
            subjects = []
            for model in given.values():
                where, dtype = stack.enter_context(_placed(model, o["device"]))
                stack.enter_context(as_measured(model))
                subjects.append(Subject(model, o["layers"], crop_size(o["crop"]), where, dtype, paddings))
            run = Run(subjects, settings)
            with progress_bar(source.length, o["progress"] and rank == 0) as advance:
                run.over(source, rank, world, advance)
        records = [
            {"model": name, "weights_sha256": weights_sha256(model), "processes": world}
            for name, model in given.items()
        ]
        return run.results(source, records, distributed)


def planned(
    model: nn.Module,
    layers: str | Sequence[str] | Geometry,
    crop: int | tuple[int, int],
    channels: int,
    settings: Settings,
    paddings: Paddings,
) -> Run:
    """A run that has seen no image yet: its network is traced, unless its geometry is given, and its crops are planned.

    Raises:
        LayerError, ModelError, PaddingError: see `measure`.
    """
    with _placed(model, None) as (device, dtype):
        subject = Subject(model, layers, crop_size(crop), device, dtype, paddings)
    run = Run([subject], settings)
    run.look(channels)
    return run


def _settings(o: Mapping[str, Any]) -> Settings:
    _check_counts(1, crops_per_image=o["crops_per_image"], groups=o["groups"], batch_size=o["batch_size"])
    _check_counts(0, seed=o["seed"], margin=0 if o["margin"] is None else o["margin"])
    if not 0 < o["spend"] < inf:
        raise ModelError(f"spend must be a number above 0, but got {o['spend']!r}")
    return Settings(o["crops_per_image"], o["groups"], o["batch_size"], o["seed"], o["spend"], o["margin"])


def _schemes(padding: Sequence[str | Scheme], seed: int = 0) -> Paddings:
    """Schemes by the name they were asked for by; None for the network's own padding.

    What learned schemes start with depends on the seed alone, and is the same in every process.

    Raises:
        PaddingError: there is no such scheme, or two have one name.
    """
    if isinstance(padding, str | Scheme):
        raise PaddingError(f"padding must be a list of schemes, but got {padding!r}; write [{padding!r}]")
    found: dict[str, Scheme | None] = {}
    for one in padding:
        name = one if isinstance(one, str) else one.name or type(one).__name__
        if name in found:
            raise PaddingError(f"padding {name!r} is there twice; compare different ones")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            found[name] = None if name == OWN else make(one)
    return found


def _common_normalisation(models: Iterable[nn.Module]) -> tuple[Any, Any]:
    """The mean and deviation that all models declare; (None, None) where none is declared.

    Raises:
        ImagesError: they declare different ones.
    """
    declared = {declared_normalisation(model) or (None, None) for model in models}
    if len(declared) > 1:
        raise ImagesError(
            "the models declare different normalisations, and are compared on the same images: give mean= and std="
        )
    return declared.pop()


def _check_counts(least: int, **counts: object) -> None:
    for option, value in counts.items():
        if not isinstance(value, int) or value < least:
            raise ModelError(f"{option} must be a whole number of {least} or more, but got {value!r}")


@contextmanager
def _placed(model: nn.Module, device: str | torch.device | None) -> Iterator[tuple[torch.device, torch.dtype]]:
    """The model on the device asked for, and its precision; moved back at the end.

    Raises:
        ModelError: parameters on several devices or on the meta device, an unknown device, half precision.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in tensors:
        if tensor.dtype in (torch.float16, torch.bfloat16):
            raise ModelError(
                f"{name} is {str(tensor.dtype).removeprefix('torch.')}: its rounding would drown the pattern; "
                "measure in single precision with model.float()"
            )
    homes = {tensor.device for _, tensor in tensors} or {torch.device("cpu")}
    if len(homes) > 1:
        raise ModelError(
            f"the model is spread over {sorted(map(str, homes))}; move it to one device with model.to(...)"
        )
    home = homes.pop()
    if home.type == "meta":
        raise ModelError("the model is on the meta device and has no weights; load them first with model.to_empty(...)")
    target = home
    try:
        if device is not None and torch.device(device) != home:
            target = torch.device(device)
            if target.type == "meta":
                raise ModelError(f"device {str(device)!r} holds no numbers; measure on 'cpu' or 'cuda'")
            torch.empty(0, device=target)  # fails before anything is moved, also where there is nothing to move
            model.to(target)
    except (RuntimeError, AssertionError) as error:
        model.to(home)
        reason = str(error).splitlines()[0]
        raise ModelError(f"device {str(device)!r} cannot be used: {reason}") from error
    dtypes = [tensor.dtype for _, tensor in tensors if tensor.is_floating_point()]
    try:
        yield target, dtypes[0] if dtypes else torch.float32
    finally:
        if target != home:
            model.to(home)


_DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(measure).parameters.items()
    if name in Options.__annotations__
}
