"""PosENet: how well a trained readout draws maps of position from a frozen network's features, beside its controls.

Source: Islam, Jia, Bruce, "How much position information do convolutional neural networks encode?", ICLR 2020. The
controls random-weight and optimally padded features are padprint's own: what a readout draws from features of the same
network that no padding reached, it owes to the readout, the resizing or the photographer, and not to padding.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import padprint
from padprint.baselines.readout.choices import (
    check_files_apart,
    chosen,
    few_updates,
    normalisation_remark,
    plain_options,
    with_normalisation,
)
from padprint.baselines.readout.features import (
    KeptFeatures,
    Specs,
    check_apart,
    crops_of,
    from_crops,
    from_random,
    from_whole,
)
from padprint.baselines.readout.ground_truths import PATTERNS, ground_truths
from padprint.baselines.readout.network import OFFICIAL, ReadoutSettings, score, train_readout
from padprint.baselines.readout.result import PosENetResult, Score
from padprint.errors import ImagesError, ModelError
from padprint.images.photographs import Images
from padprint.measuring.options import check_counts
from padprint.measuring.session import Setup
from padprint.network.example import crop_size
from padprint.network.layers import unwrapped
from padprint.network.preserved import on_device
from padprint.results.estimates import estimate_of
from padprint.results.measurement import Estimate
from padprint.results.statistics import crossed
from padprint.support.progress import progress_bar

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from padprint.measuring.options import Options

WHOLE_OPTIONS = (
    "layers",
    "crop",
    "batch_size",
    "seed",
    "device",
    "progress",
    "mean",
    "std",
    "limit",
    "strict",
    "max_megapixels",
)
CROPS = 4


def posenet(
    model: nn.Module,
    images: Images,
    *,
    test_images: Images | None = None,
    views: str = "whole",
    sources: Sequence[str] | None = None,
    patterns: Sequence[str] = PATTERNS,
    settings: ReadoutSettings = OFFICIAL,
    normalise: bool = False,
    test_share: float = 0.25,
    storage: torch.dtype = torch.float32,
    seeds: int = 1,
    name: str | None = None,
    **options: Unpack[Options],
) -> PosENetResult:
    """Train PosENet's readout on a frozen network's features, and on features that know nothing of its padding.

    The defaults are those of the authors' code: whole images resized to 224 x 224 px, pixels in [0, 1] without the
    network's normalisation, and the training of `ReadoutSettings`. Only ``views="crops"`` admits the control that tells
    padding from content: "optimal".

    Features are computed once and kept: `4 feat_size^2 C` bytes for each view and source, so 4.6 MB for VGG16 and 12 MB
    for ResNet-152; "padded" and "optimal" are kept at the same time, "random" after them.

    Args:
        model: see `padprint.measure`.
        images: likewise, to train on, and to test on where there are no others. Tensors are taken as they are.
        test_images: to test on.
        views: "whole": images are resized to the crop's size, aspect not kept. "crops": crops of them, as
            `padprint.measure` takes them.
        sources: see `SOURCES`; None: all that the views admit.
        patterns: what is to be drawn; see `PATTERNS`.
        settings: of the readout.
        normalise: normalise the photographs of a folder as the model declares; `mean` and `std` do so too.
        test_share: without `test_images`, the share of images that is kept for testing; a draw by image, from the seed.
        storage: precision in which features are kept; half precision takes half the memory.
        seeds: trainings of every readout, from seeds that follow each other; intervals hold their spread too. One training may be
            off by more than the test images tell.
        name: of the model, for provenance.
        **options: see `padprint.measure`; with whole views those about crops and margins make no sense. `layers` "auto"
            are the authors' for torchvision's VGGs and ResNets. `crops_per_image` is 4 unless said otherwise; the seed
            decides the crops, the split and the readouts.

    Returns:
        Scores with 95 % intervals over test images and, of several seeds, trainings. Those of one seed do not hold the spread
        over trainings.

    Raises:
        ImagesError: fewer than two images, or images both for training and testing; and see `padprint.measure`.
        ModelError, LayerError: a choice that does not exist; and see `padprint.measure`.
    """
    wanted = chosen(views, sources)
    check_counts(1, seeds=seeds)
    height, width = crop_size(options.get("crop", 224))
    targets = ground_truths(patterns, (height, width))
    if not 0 < test_share < 1:
        raise ModelError(f"test_share must lie between 0 and 1, but got {test_share!r}")
    model = unwrapped(model)
    sets = [images] if test_images is None else [images, test_images]
    check_files_apart(sets)
    given = with_normalisation(model, options, images, normalise)
    kept = KeptFeatures(storage)
    with on_device(model, given.pop("device", None)) as (device, _):
        read = [_read(kept, i, model, one, views, settings.feat_size, wanted, given) for i, one in enumerate(sets)]
        train, test = _split(kept.images, len(sets), test_share, given.get("seed", 0))
        check_apart([kept.digests[i] for i in train], [kept.digests[i] for i in test])
        scores, remarks = _learnt(
            kept, model, read[0].specs, wanted, (train, test), targets, settings, device, given, seeds
        )
    units = [kept.images[i] for i in test]
    values = {source: (_by_image(spc, units), _by_image(mae, units)) for source, (spc, mae) in scores.items()}
    by_source = {source: _by_pattern(spc, mae, patterns) for source, (spc, mae) in values.items()}
    return PosENetResult(
        scores={**by_source, **({"constant": _constant(targets, patterns)} if "constant" in wanted else {})},
        added=_added(values, patterns),
        layers={name: (spec.channels, spec.size[0], spec.size[1]) for name, spec in read[0].specs.items()},
        unmeasured=dict(read[0].unmeasured),
        n_train=len({kept.images[i] for i in train}),
        n_test=len(set(units)),
        n_train_views=len(train),
        n_test_views=len(test),
        constant_drawings={source: int(spc.isnan().sum()) for source, (spc, _) in scores.items()},
        updates=settings.epochs * ceil(len(train) / settings.batch_size),
        remarks=(normalisation_remark(given, images), *few_updates(len(train), settings), *remarks, _of_seeds(seeds)),
        provenance={
            **_versions(),
            "model": name or type(model).__name__,
            "images": [one.description for one in read],
            "views": views,
            "test_share": None if len(sets) > 1 else test_share,
            "storage": str(storage).removeprefix("torch."),
            "device": device.type,
            **plain_options(given),
            "settings": asdict(settings),
            "seeds": seeds,
        },
    )


def _learnt(
    kept: KeptFeatures,
    model: nn.Module,
    specs: Specs,
    wanted: Sequence[str],
    split: tuple[Sequence[int], Sequence[int]],
    targets: Tensor,
    settings: ReadoutSettings,
    device: torch.device,
    options: Mapping[str, Any],
    seeds: int,
) -> tuple[dict[str, tuple[Tensor, Tensor]], list[str]]:
    """Train and try readouts of every source; see `score` for what they score.

    Returns:
        `(seeds, views, P)` scores by source, and remarks.
    """
    scores: dict[str, tuple[Tensor, Tensor]] = {}
    remarks: list[str] = []
    seed = options.get("seed", 0)
    sources = [source for source in wanted if source != "constant"]
    bar = progress_bar(settings.epochs * len(sources) * seeds, options.get("progress", False), "training", "epochs")
    with bar as advance:
        for source in sources:
            if source == "random":
                remarks += from_random(kept, model, specs, settings.feat_size, options.get("batch_size", 16), seed)
            if kept.holds(source):
                train, test = (kept.features(source, views) for views in split)
                each = []
                for own in range(seed, seed + seeds):
                    readout = train_readout(train, targets, settings, seed=own, device=device, advance=advance)
                    each.append(score(readout, test, targets, device=device))
                scores[source] = torch.stack([spc for spc, _ in each]), torch.stack([mae for _, mae in each])
                del train, test
                kept.forget(source)
    return scores, remarks


def _versions() -> dict[str, str]:
    return {
        "padprint": padprint.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


# ------------------------------------------------------------------------------------------------ images and scores


class _ReadSet(NamedTuple):
    specs: Specs
    unmeasured: Mapping[str, str]
    description: str


def _read(
    kept: KeptFeatures,
    dataset: int,
    model: nn.Module,
    images: Images,
    views: str,
    feat_size: int,
    sources: Sequence[str],
    options: dict[str, Any],
) -> _ReadSet:
    """Keep the features of one set of images."""
    if views == "whole":
        setup = Setup.of(model, images, options, WHOLE_OPTIONS)
        return _ReadSet(from_whole(kept, dataset, setup, feat_size, sources), {}, setup.source.description)
    crops = crops_of(model, images, {"crops_per_image": CROPS, **options})
    specs = from_crops(kept, dataset, crops, feat_size, sources)
    return _ReadSet(specs, crops.geometry.unmeasured, crops.setup.source.description)


def _split(units: Sequence[tuple[int, int]], sets: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Which views are for training and which for testing; all views of an image are on one side.

    Args:
        units: for every view, its set of images and its image.
        sets: how many sets there are; with two, the second is for testing.
        share: of images for testing, with one set.
        seed: of the draw.

    Raises:
        ImagesError: there is one image only.
    """
    images = sorted(set(units))
    if sets == 1:
        if len(images) < 2:
            raise ImagesError("one image cannot be for training and for testing: give two or more, or test_images")
        count = min(max(round(share * len(images)), 1), len(images) - 1)
        order = np.random.default_rng([seed, len(images)]).permutation(len(images))
        held_out = {images[i] for i in order[:count]}
    else:
        held_out = {one for one in images if one[0] == 1}
    test = [i for i, one in enumerate(units) if one in held_out]
    return [i for i, one in enumerate(units) if one not in held_out], test


def _by_image(values: Tensor, units: Sequence[tuple[int, int]]) -> Tensor:
    """`(seeds, images, P)` means over each image's views, of `(seeds, views, P)` values; constant drawings count as 0."""
    names = sorted(set(units))
    member = torch.tensor([[float(unit == name) for unit in units] for name in names], dtype=torch.float64)
    member /= member.sum(1, keepdim=True)
    return member @ values.nan_to_num()


def _by_pattern(spc: Tensor, mae: Tensor, patterns: Sequence[str]) -> dict[str, Score]:
    """Scores of `(seeds, images, P)` values: the mean over seeds and images, with an interval."""
    estimates = [[estimate_of(crossed(column)) for column in values.unbind(-1)] for values in (spc, mae)]
    return {pattern: Score(*pair) for pattern, *pair in zip(patterns, *estimates, strict=True)}


def _of_seeds(seeds: int) -> str:
    if seeds == 1:
        return "one training: intervals are over test images and do not hold the spread over trainings (seeds, --seeds)"
    return f"{seeds} trainings: intervals are over test images and trainings"


def _constant(targets: Tensor, patterns: Sequence[str]) -> dict[str, Score]:
    """Scores of the mean of the pattern, which is what least squared error draws where nothing is known of position."""
    errors = (targets - targets.mean((1, 2), keepdim=True)).abs().mean((1, 2)).tolist()
    return {
        pattern: Score(Estimate(0.0, 0.0, 0.0), Estimate(error, error, error))
        for pattern, error in zip(patterns, errors, strict=True)
    }


def _added(values: Mapping[str, tuple[Tensor, Tensor]], patterns: Sequence[str]) -> dict[str, Score]:
    """Padded minus optimal, paired over images and seeds."""
    if not {"padded", "optimal"} <= set(values):
        return {}
    spc, mae = (one - two for one, two in zip(values["padded"], values["optimal"], strict=True))
    return _by_pattern(spc, mae, patterns)
