"""Every metric of position as one number for a network and some scenes, so that they can be tried side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Any

from torch import Tensor, nn

from padprint.measuring.engine import measure

Scores = dict[str, float]


@dataclass(frozen=True)
class Trial:
    """What a metric is tried on.

    Attributes:
        network: in evaluation mode.
        layers: the layers to look at; where a metric gives a number for each, the last one counts.
        scenes: normalised as the network wants them.
        crop: px.
        crops_per_scene: how many crops every metric gets.
        step: px from one sliding window to the next, a multiple of the layers' strides.
        seed: of crops, readouts and classifiers.
        epochs: of trained readouts.
    """

    network: nn.Module
    layers: Sequence[str]
    scenes: Sequence[Tensor]
    crop: int
    crops_per_scene: int
    step: int
    seed: int
    epochs: int

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of `padprint.measure`."""
        return {
            "layers": list(self.layers),
            "crop": self.crop,
            "crops_per_image": self.crops_per_scene,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Score:
    """One of the numbers that are compared.

    Attributes:
        name: for tables.
        metric: the function that gives it.
        source: who proposed it.
        about: "position" where it is meant to tell of position, "response" where of what padding does to features.
        nothing: its value where there is nothing to see.
    """

    name: str
    metric: Callable[[Trial], Scores]
    source: str
    about: str
    nothing: float = 0.0


def ppp(trial: Trial) -> Scores:
    """The padding pattern (Lin et al., 2023, in padprint's reading)."""
    layer = measure(trial.network, trial.scenes, **trial.options)[trial.layers[-1]]
    positional = layer.positional.value
    return {
        "PPP-SNR": layer.snr.value,
        "PPP-MAE": layer.mae.value,
        "PPP-MAE above floor": layer.mae.value - layer.mae_floor.value,
        "PPP rms": layer.rms.value,
        "PPP relative": layer.relative.value,
        "PPP-SNR x positional": layer.snr.value * (0.0 if isnan(positional) else positional),
    }


def posenet(trial: Trial) -> Scores:
    """PosENet's rank correlation, mean over its three simple maps, from padded and from optimally padded features.

    It reads all the layers together, as its authors have it; "PosENet, last layer" reads the one that PPP is taken of.
    """
    padded, optimal = _read(trial, trial.layers)
    last = padded if len(trial.layers) == 1 else _read(trial, trial.layers[-1:])[0]
    return {"PosENet": padded, "PosENet less control": padded - optimal, "PosENet, last layer": last}


def _read(trial: Trial, layers: Sequence[str]) -> tuple[float, float]:
    """PosENet's score of padded and of optimally padded features of some layers."""
    from padprint.baselines.readout.network import ReadoutSettings
    from padprint.baselines.readout.run import posenet as read

    settings = ReadoutSettings(epochs=trial.epochs, drops=(max(1, 2 * trial.epochs // 3),))
    found = read(
        trial.network,
        trial.scenes,
        views="crops",
        sources=["padded", "optimal"],
        patterns=["H", "V", "G"],
        settings=settings,
        **{**trial.options, "layers": list(layers)},
    )
    padded, optimal = ([score.spc.value for score in found[source].values()] for source in ("padded", "optimal"))
    return sum(padded) / len(padded), sum(optimal) / len(optimal)


def corner(trial: Trial) -> Scores:
    """F-Conv's four-quadrant test: how often the corner of a scene on an empty canvas is told, without a border.

    Five epochs for one of PosENet's readout, and ten times the authors' learning rate, because there are fewer images.
    """
    from padprint.baselines.fconv.canvases import CanvasSettings
    from padprint.baselines.fconv.location import LocationSettings
    from padprint.baselines.fconv.quadrants import quadrants

    size = CanvasSettings().picture
    scenes = [scene[:, :size, :size] for scene in trial.scenes]
    training = LocationSettings(epochs=5 * trial.epochs, lr=1e-2, patience=trial.epochs)
    found = quadrants(trial.network, scenes, borders=[0], layer=trial.layers[-1], training=training, seed=trial.seed)
    return {"F-Conv quadrants": found[0].accuracy.value}


def ridge(trial: Trial) -> Scores:
    """R^2 of the closed-form probe, mean over row, column and distance to the border."""
    from padprint.baselines.probe import probe

    layer = probe(trial.network, trial.scenes, **trial.options)[trial.layers[-1]]
    gains = list(layer.targets.values())
    return {
        "probe R2": sum(gain.padded.value for gain in gains) / len(gains),
        "probe R2 added": sum(gain.added.value for gain in gains) / len(gains),
    }


def ring(trial: Trial) -> Scores:
    """Padding-ring NMSE of the network's own padding, mean over its operators; 0 where nothing pads.

    Operators whose true ring does not vary are left out: there any error is infinitely large.
    """
    from padprint.baselines.ring import ring_nmse

    found = ring_nmse(trial.network, trial.scenes, seed=trial.seed)
    values = [value.value for layer in found.values() for value in layer.nmse.values() if isfinite(value.value)]
    return {"ring NMSE": sum(values) / len(values) if values else 0.0}


def shift(trial: Trial) -> Scores:
    """Change of features between two crops that are shifted against each other, by up to 8 px."""
    from padprint.baselines.shifts import shift_consistency

    change = shift_consistency(trial.network, trial.scenes, shift=8, **trial.options)[trial.layers[-1]].change
    return {"shift change": change.padded.value, "shift change added": change.added.value}


def tiles(trial: Trial) -> Scores:
    """Change of features next to the seams of tiles."""
    from padprint.baselines.tiles import tile_mismatch

    return {"tile mismatch": tile_mismatch(trial.network, trial.scenes, **trial.options)[trial.layers[-1]].seam.value}


def labels(trial: Trial) -> Scores:
    """Entropy (meanE) and disagreement (disR) of the labels that the layer's channels make, in sliding windows."""
    from padprint.baselines.labels import label_consistency

    found = label_consistency(
        trial.network,
        trial.scenes,
        layers=list(trial.layers),
        window=trial.crop,
        step=trial.step,
        region=min(2 * trial.crop, *trial.scenes[0].shape[1:]),
        cells="all",
        seed=trial.seed,
    )
    layer = found[trial.layers[-1]]
    return {"meanE": layer.mean_entropy.value, "disR": layer.disagreeing.value}


def constant(trial: Trial) -> Scores:
    """What an image of one colour shows, about black, in units of the features of the scenes."""
    from padprint.baselines.constant import constant_image

    found = constant_image(
        trial.network,
        trial.scenes,
        layers=list(trial.layers),
        crop=trial.crop,
        crops_per_image=trial.crops_per_scene,
        seed=trial.seed,
    )
    return {"constant image": found[trial.layers[-1]].size.value}


SCORES = (
    Score("PPP-SNR", ppp, "Lin et al. 2023", "position"),
    Score("PPP-SNR x positional", ppp, "padprint", "position"),
    Score("PPP-MAE", ppp, "Lin et al. 2023", "position"),
    Score("PPP-MAE above floor", ppp, "padprint", "position"),
    Score("PPP rms", ppp, "padprint", "position"),
    Score("PPP relative", ppp, "padprint", "position"),
    Score("PosENet", posenet, "Islam et al. 2020", "position"),
    Score("PosENet less control", posenet, "padprint", "position"),
    Score("PosENet, last layer", posenet, "Islam et al. 2020", "position"),
    Score("F-Conv quadrants", corner, "Kayhan & van Gemert 2020", "position", nothing=0.5),
    Score("probe R2", ridge, "padprint", "position"),
    Score("probe R2 added", ridge, "padprint", "position"),
    Score("constant image", constant, "INSID3 2026", "position"),
    Score("ring NMSE", ring, "LP padding 2025", "response"),
    Score("shift change", shift, "Zhang 2019", "response"),
    Score("shift change added", shift, "padprint", "response"),
    Score("tile mismatch", tiles, "Buglakova et al. 2025", "response"),
    Score("meanE", labels, "PP-Pad 2023", "response"),
    Score("disR", labels, "PP-Pad 2023", "response"),
)
"""What is compared, in the order of the tables."""
