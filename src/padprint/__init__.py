"""padprint measures what padding tells a convolutional network about position.

`padprint.check(model)` is the first answer about a network; `padprint.measure(model, images)` returns the padding pattern of every layer with error bars;
`padprint.trace(model)` returns the geometry alone; `padprint.inspect(model)` lists what pads, and `padprint.padding`
swaps it. Names are loaded on first use, so that importing padprint costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint._lazy import loader

__version__ = "0.1.0"

if TYPE_CHECKING:
    from padprint import baselines, models, overlap, padding, plot, report, scenes, studies, training, wholemap
    from padprint.checkup import Checkup, check
    from padprint.comparison import Comparison, load_comparison
    from padprint.engine import compare, measure
    from padprint.errors import (
        HaloError,
        ImagesError,
        LayerError,
        ModelError,
        PaddingError,
        PadprintError,
        ResultError,
    )
    from padprint.geometry import Geometry, LayerGeometry, trace
    from padprint.inspection import Inspection, PaddingOperator, inspect
    from padprint.models import calibrate_batchnorm, load_model
    from padprint.overlap.advice import halo
    from padprint.overlap.result import Halo
    from padprint.result import Estimate, LayerMeasurement, Measurement, load
    from padprint.training.metric import PatternMetric

_HOMES = {
    "check": "checkup",
    "Checkup": "checkup",
    "measure": "engine",
    "compare": "engine",
    "Comparison": "comparison",
    "load_comparison": "comparison",
    "trace": "geometry",
    "Geometry": "geometry",
    "LayerGeometry": "geometry",
    "inspect": "inspection",
    "Inspection": "inspection",
    "PaddingOperator": "inspection",
    "load": "result",
    "Estimate": "result",
    "LayerMeasurement": "result",
    "Measurement": "result",
    "load_model": "models",
    "calibrate_batchnorm": "models",
    "PadprintError": "errors",
    "halo": "overlap.advice",
    "Halo": "overlap.result",
    "PatternMetric": "training.metric",
    "HaloError": "errors",
    "ImagesError": "errors",
    "LayerError": "errors",
    "ModelError": "errors",
    "PaddingError": "errors",
    "ResultError": "errors",
}

_MODULES = ("baselines", "models", "overlap", "padding", "plot", "report", "scenes", "studies", "training", "wholemap")

__all__ = [
    "Checkup",
    "Comparison",
    "Estimate",
    "Geometry",
    "Halo",
    "HaloError",
    "ImagesError",
    "Inspection",
    "LayerError",
    "LayerGeometry",
    "LayerMeasurement",
    "Measurement",
    "ModelError",
    "PaddingError",
    "PaddingOperator",
    "PadprintError",
    "PatternMetric",
    "ResultError",
    "baselines",
    "calibrate_batchnorm",
    "check",
    "compare",
    "halo",
    "inspect",
    "load",
    "load_comparison",
    "load_model",
    "measure",
    "models",
    "overlap",
    "padding",
    "plot",
    "report",
    "scenes",
    "studies",
    "trace",
    "training",
    "wholemap",
]


__getattr__ = loader(__name__, {**_HOMES, **dict.fromkeys(_MODULES, "")})


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
