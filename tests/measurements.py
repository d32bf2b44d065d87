"""Made-up measurements with known numbers, for tests of what happens after measuring."""

from __future__ import annotations

import math

import torch

from padprint.results.channels import ChannelTest, places
from padprint.results.measurement import Curve, Emergence, Estimate, LayerMeasurement, Measurement, Profile

NAN = math.nan


def made_profile(n: int) -> Profile:
    ramp = torch.linspace(1.0, 0.1, n, dtype=torch.float64)
    curve = Curve(ramp, ramp - 0.2, torch.full((n,), NAN, dtype=torch.float64))
    cells = torch.arange(n)
    return Profile(cells, cells.double() * 16 + 8, 4 * (n - cells), curve, curve, curve)


def made_channels(count: int) -> ChannelTest:
    """The first half is called padding-aware, of sides in turn, snr falling from 4."""
    p = torch.linspace(0.001, 0.099, count, dtype=torch.float64)
    sides = tuple(places(2)[c % len(places(2))] for c in range(count))
    return ChannelTest(p, p.clone(), 4 / torch.arange(1, count + 1, dtype=torch.float64), sides, 0.05)


def made_layer(name: str = "layer4", shape: tuple[int, int, int] = (3, 7, 9), **changes) -> LayerMeasurement:
    generator = torch.Generator().manual_seed(len(name))
    pattern = torch.randn(shape, generator=generator, dtype=torch.float64)
    pattern[:, 2:-1, 1:-2] = 0.0
    values = {
        "name": name,
        "pattern": pattern,
        "noise": pattern.square() + 0.5,
        "snr": Estimate(0.123, 0.11, 0.136),
        "snr_plain": Estimate(0.2, NAN, NAN),
        "mae": Estimate(0.0123, 0.0119, 0.0127),
        "mae_floor": Estimate(0.001, NAN, NAN),
        "rms": Estimate(0.0151, 0.0149, 0.0153),
        "rms_floor": Estimate(0.0005, NAN, NAN),
        "mae_corrected": Estimate(0.0122, 0.0119, 0.0125),
        "response": Estimate(0.05, 0.04, 0.06),
        "relative": Estimate(0.031, 0.03, 0.032),
        "positional": Estimate(math.inf, -math.inf, 1.0),
        "stride": (32, 16),
        "offset": (15.5, 7.5),
        "receptive_field": (427, 427),
        "rim": (2, 1, 1, 2),
        "reach": (213, 213, 213, 213),
        "profile": {side: made_profile(4) for side in ("all", "top", "bottom", "left", "right")},
        "channels": made_channels(shape[0]),
        "emergence": Emergence((1, 10, 192), torch.randn(3, *shape[1:], generator=generator, dtype=torch.float64)),
        "numeric_floor": 3e-7,
        "residual": None,
        "notes": ("2 dead features",),
    }
    given = {**values, **changes}
    size = given["pattern"].shape
    if size[0] != len(given["channels"].p):
        given["channels"] = made_channels(size[0])
    return LayerMeasurement(**given)


def made_measurement(*layers: LayerMeasurement) -> Measurement:
    layers = layers or (
        made_layer("features.1", (2, 14, 18), residual=0.02, offset=None),
        made_layer("layer4"),
    )
    return Measurement(
        layers={layer.name: layer for layer in layers},
        unmeasured={"pool": "mean sees the whole input"},
        crop=(224, 144),
        margin=(224, 224, 256, 256),
        numeric_floor=3e-7,
        n_images=12,
        n_crops=192,
        approximate=True,
        warnings=("the margin is below the reach of features.1",),
        provenance={"padprint": "0.1.0", "seed": 0, "images": ("a.png",), "groups": 10, "mean": [0.5, NAN]},
    )
