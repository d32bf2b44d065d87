"""``padprint parts``: padding, and a crop's own statistics, of networks that see the whole input."""

# heavy imports wait until the command runs
from __future__ import annotations

from padprint.cli._bundles import bundled
from padprint.cli._options import Config, Crops, Images, Model, Network, Output, Photographs, Screen

EPILOG = "Example: padprint parts torchvision:mobilenet_v3_small@DEFAULT photos/ --crop 128"


@bundled(crops_per_image=4, groups=10, batch_size=4)
def parts(
    model: Model,
    images: Images,
    *,
    crops: Crops,
    photographs: Photographs,
    network: Network,
    output: Output = None,
    config: Config = None,  # noqa: ARG001  # read before the command runs
    screen: Screen,
) -> None:
    """Tell padding from a crop's own statistics in a network that sees the whole input (normalisation, gates, attention)."""
    from padprint.cli import _commands, _loading, _show

    options = {**crops.keywords(), **photographs.keywords()}
    job = _loading.Job([(model, network.weights)], images, photographs, network, options)
    with _show.reporting(screen) as console:
        from padprint.wholemap.run import parts as work

        _commands.check_output(output)
        loaded = _loading.load(job)
        found = work(
            loaded.model.model,
            loaded.images,
            device=network.device,
            progress=_show.wants_progress(screen.quiet),
            name=loaded.model.name,
            **loaded.normalisation,
            **options,
        )
        written = [] if output is None else [f"wrote {found.save(output)}"]
        if not screen.quiet:
            _show.lines(console, [*str(found).splitlines(), *written])
    if screen.json:
        _show.as_json(found.to_dict())
