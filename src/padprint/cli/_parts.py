"""``padprint parts``: padding, and a crop's own statistics, of networks that see the whole input."""

# heavy imports wait until the command runs
from __future__ import annotations

from padprint.cli._options import (
    BatchSize,
    Calibrate,
    Crop,
    CropsPerImage,
    Device,
    Groups,
    Images,
    Json,
    Layers,
    Limit,
    Margin,
    Mean,
    Megapixels,
    Model,
    Output,
    Quiet,
    Resize,
    Seed,
    Std,
    Strict,
    Weights,
)

EPILOG = "Example: padprint parts torchvision:mobilenet_v3_small@DEFAULT photos/ --crop 128"


def parts(
    model: Model,
    images: Images,
    *,
    layers: Layers = None,
    crop: Crop = "224",
    crops_per_image: CropsPerImage = 4,
    groups: Groups = 10,
    margin: Margin = None,
    batch_size: BatchSize = 4,
    seed: Seed = 0,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    images_limit: Limit = None,
    resize_short_side: Resize = None,
    max_megapixels: Megapixels = None,
    strict: Strict = False,
    device: Device = None,
    calibrate: Calibrate = 0,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell padding from a crop's own statistics in a network that sees the whole input (normalisation, gates, attention)."""
    from padprint.cli import _commands, _loading, _parse, _show

    options = _parse.options(
        layers,
        crop,
        crops_per_image,
        groups,
        margin,
        batch_size,
        seed,
        images_limit,
        resize_short_side,
        strict,
        max_megapixels,
    )
    rgb = _parse.channels(mean, "--mean"), _parse.channels(std, "--std")
    folder = _parse.output(output, plots=False)
    with _show.reporting() as console:
        from padprint.wholemap.run import parts as work

        _commands.check_output(folder)
        loaded, files, normalisation = _loading.one_model(model, weights, images, rgb, calibrate, options)
        found = work(
            loaded.model,
            files,
            device=device,
            progress=_show.wants_progress(quiet),
            name=loaded.name,
            **normalisation,
            **options,
        )
        written = [] if folder is None else [f"wrote {found.save(folder)}"]
        if not quiet:
            _show.lines(console, [*str(found).splitlines(), *written])
    if json:
        _show.as_json(found.to_dict())
