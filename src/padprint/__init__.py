"""padprint measures what padding tells a convolutional network about position.

`padprint.check(model)` is the first answer about a network; `padprint.measure(model, images)` returns the padding pattern of every layer with error bars;
`padprint.trace(model)` returns the geometry alone; `padprint.inspect(model)` lists what pads, and `padprint.padding`
swaps it. Names are loaded on first use, so that importing padprint costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from padprint.support.lazy import loader
from padprint.support.version import __version__ as __version__

if TYPE_CHECKING:
    from padprint import baselines, models, overlap, padding, plot, report, scenes, studies, training, wholemap
    from padprint.checkup import Checkup, check
    from padprint.errors import (
        HaloError,
        ImagesError,
        LayerError,
        ModelError,
        PaddingError,
        PadprintError,
        ResultError,
    )
    from padprint.geometry.inspection import Inspection, PaddingOperator, inspect
    from padprint.geometry.layer import Geometry, LayerGeometry
    from padprint.geometry.tracing import trace
    from padprint.measuring.engine import compare, measure
    from padprint.network.batchnorm import calibrate_batchnorm
    from padprint.network.loading import load_model
    from padprint.overlap.advice import halo
    from padprint.overlap.result import Halo
    from padprint.results.comparison import Comparison, load_comparison
    from padprint.results.measurement import Estimate, LayerMeasurement, Measurement
    from padprint.results.saved import load
    from padprint.training.metric import PatternMetric

_HOMES = {
    "check": "checkup",
    "Checkup": "checkup",
    "measure": "measuring.engine",
    "compare": "measuring.engine",
    "Comparison": "results.comparison",
    "load_comparison": "results.comparison",
    "trace": "geometry.tracing",
    "Geometry": "geometry.layer",
    "LayerGeometry": "geometry.layer",
    "inspect": "geometry.inspection",
    "Inspection": "geometry.inspection",
    "PaddingOperator": "geometry.inspection",
    "load": "results.saved",
    "Estimate": "results.measurement",
    "LayerMeasurement": "results.measurement",
    "Measurement": "results.measurement",
    "load_model": "network.loading",
    "calibrate_batchnorm": "network.batchnorm",
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
