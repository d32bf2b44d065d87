"""The metric and the watch on waveforms and volumes."""

from __future__ import annotations

import pytest
import torch

import nets_by_axes
import padprint
from padprint.training import Watch

pytest.importorskip("torchmetrics")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("axes", [1, 3])
def test_a_metric_has_the_numbers_of_a_measurement(axes: int) -> None:
    net, scenes = nets_by_axes.local(axes)["padded"], nets_by_axes.scenes(axes, {1: 100, 3: 22}[axes], 6)
    options = {"crop": {1: 32, 3: 8}[axes], "crops_per_image": 2, "groups": 3}
    metric = padprint.PatternMetric(net, channels=2, **options)
    assert metric.geometry.crop == (options["crop"],) * axes
    metric.update(torch.stack(scenes[:3]))
    metric.update(scenes[3:])
    plain = padprint.measure(net, scenes, **options)
    found = metric.measurement()
    for name, layer in plain.items():
        assert torch.allclose(found[name].pattern, layer.pattern, atol=1e-12)
        assert found[name].snr == layer.snr
        assert float(metric.compute()[f"{name}/snr"]) == layer.snr.value


@pytest.mark.parametrize("axes", [1, 3])
def test_a_watch_logs_them(axes: int) -> None:
    net, scenes = nets_by_axes.local(axes)["padded"], nets_by_axes.scenes(axes, {1: 100, 3: 22}[axes], 4)
    logged: dict[str, float] = {}
    watch = Watch(
        net,
        scenes,
        lambda values, _: logged.update(values),
        every=1,
        budget=None,
        figures=False,
        strict=True,
        crop={1: 32, 3: 8}[axes],
        crops_per_image=2,
    )
    found = watch(1)
    assert found is not None
    for name, layer in found.items():
        assert logged[f"padprint/{name}/snr"] == layer.snr.value
