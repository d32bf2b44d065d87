"""The watch in a plain loop: what it measures, when, where it goes, and that the training does not notice."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nets
import padprint
from helpers import noise
from padprint import ImagesError, LayerError, ModelError, PadprintError, measure
from padprint.measuring import checked
from padprint.training import Watch
from padprint.training.budget import Budget
from padprint.training.logs import scalars
from training_runs import OPTIONS, STEPS, Drawn, assert_equal, batches, left, network

Values = dict[int, dict[str, float]]


def train(make_watch: Callable[[nn.Module], Callable[[int], object]] | None) -> dict[str, Any]:
    model = network()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    watch = None if make_watch is None else make_watch(model)
    if watch is not None:
        watch(0)
    step = 0
    while step < STEPS:
        for batch in batches():
            step += 1
            optimiser.zero_grad()
            model(**batch)["loss"].backward()
            optimiser.step()
            if watch is not None:
                watch(step)
    return left(model, optimiser)


def small(log: Any = lambda values, step: None, **options: Any) -> Watch:
    """A watch over a network of two layers."""
    return Watch(nets.stride_two(), noise(3, 40), log, **{"crop": 16, "crops_per_image": 2, "every": 1, **options})


# ------------------------------------------------------------------------------------------------ training untouched


@pytest.fixture(scope="module")
def unwatched() -> dict[str, Any]:
    return train(None)


def test_a_training_is_bit_for_bit_the_same_with_the_watch(unwatched: dict[str, Any]) -> None:
    logged: Values = {}

    def log(values: dict[str, float], step: int) -> None:  # a logger may draw numbers too
        logged[step] = {**values, "drawn": torch.rand(1).item() + np.random.rand()}

    watched = train(lambda model: Watch(model, Drawn(), log, every=2, budget=None, strict=True, **OPTIONS))
    assert_equal(unwatched, watched)
    assert sorted(logged) == [0, 2, 4, 6, 8]


def test_wall_clock_does_not_change_a_training(unwatched: dict[str, Any]) -> None:
    assert_equal(unwatched, train(lambda model: Watch(model, Drawn(), lambda *_: None, every=1, **OPTIONS)))


def test_a_training_is_the_same_where_measuring_fails(unwatched: dict[str, Any]) -> None:
    def log(values: dict[str, float], step: int) -> None:
        raise OSError(f"disk full after {torch.rand(1).item()}")

    with pytest.warns(UserWarning, match="disk full"):
        assert_equal(unwatched, train(lambda model: Watch(model, Drawn(), log, every=2, budget=None, **OPTIONS)))


def test_the_comparison_can_fail(unwatched: dict[str, Any]) -> None:
    """A callback as people write it: a forward pass in training mode."""
    scenes = torch.stack(noise(2, 16))
    other = train(lambda model: lambda step: model(scenes) if step == 4 else None)
    different = {name.split()[0] for name in other if other[name] != unwatched[name]}
    assert {"model", "optimiser", "generator", "torch"} <= different


# ------------------------------------------------------------------------------------------------- what it measures


def test_what_is_logged_is_what_measure_finds() -> None:
    logged: Values = {}
    net, scenes = nets.stride_two(), noise(3, 40)
    watch = Watch(net, scenes, lambda values, step: logged.update({step: values}), crop=16, crops_per_image=2, every=5)
    found = watch(10)
    asked = measure(net, scenes, crop=16, crops_per_image=2)
    assert found is not None
    assert dict(found) == dict(asked)
    assert found.provenance["step"] == 10
    assert logged[10].pop("padprint/share_of_time") > 0
    assert logged[10] == {f"padprint/{name}": value for name, value in scalars(asked).items()}


def test_images_are_read_once_and_kept() -> None:
    scenes = noise(3, 40)
    watch = Watch(nets.stride_two(), (scene for scene in scenes), lambda *_: None, crop=16, every=1, budget=None)
    before = watch(1)
    for scene in scenes:
        scene.zero_()
    after = watch(2)
    assert before is not None and after is not None
    assert dict(before) == dict(after)


def test_numbers_that_are_not_finite_are_not_logged() -> None:
    logged: Values = {}
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1))  # nothing pads: no share of it is positional
    Watch(net, noise(3, 40), lambda values, step: logged.update({step: values}), crop=16, every=1)(0)
    assert logged[0]["padprint/1/snr"] == 0.0
    assert "padprint/1/positional" not in logged[0]


def test_one_step_is_measured_once() -> None:
    watch = small(budget=None)
    assert [watch(step) is not None for step in (0, 0, 1, 1, 2)] == [True, False, True, False, True]


def test_geometry_is_traced_once_and_again_when_the_network_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[nn.Module] = []
    trace = checked.trace

    def counted(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        traced.append(model)
        return trace(model, *args, **kwargs)

    monkeypatch.setattr(checked, "trace", counted)
    net = nets.stack()
    watch = Watch(net, noise(3, 48), lambda *_: None, layers="4", crop=16, crops_per_image=2, every=1, budget=None)
    assert [watch(step) is not None for step in (0, 1, 2)] == [True] * 3
    assert len(traced) == 1
    net[2].dilation = net[2].padding = (3, 3)  # a wider reach: another margin
    wider = watch(3)
    assert len(traced) == 2
    assert wider is not None
    assert dict(wider) == dict(measure(net, noise(3, 48), layers="4", crop=16, crops_per_image=2))


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_wrapped_networks_keep_their_names(wrap: Callable[[nn.Module], nn.Module]) -> None:
    watch = Watch(wrap(nets.stride_two()), noise(3, 40), lambda *_: None, layers="2", crop=16, every=1)
    found = watch(0)
    assert found is not None
    assert list(found) == ["2"]


# --------------------------------------------------------------------------------------------------------- when


def simulate(every: int, share: float | None, step_cost: float, cost: Callable[[int], float], steps: int) -> Any:
    """A run on a simulated clock: share of the time spent, and the steps measured."""
    now = 100.0
    budget = Budget(every, share, lambda: now)
    with budget.preparing():
        now += 3.0
    measured = []
    for step in range(steps + 1):
        if budget.due(step):
            with budget.spending():
                now += cost(len(measured))
            measured.append(step)
        now += step_cost
    spent = 3.0 + sum(cost(i) for i in range(len(measured)))
    assert budget.used() == pytest.approx(spent / (now - 100.0))
    return budget.used(), measured


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("step_cost", [0.05, 2.0])
@pytest.mark.parametrize("shape", ["even", "uneven", "slow start", "growing"])
def test_the_budget_is_held(share: float, step_cost: float, shape: str) -> None:
    costs: dict[str, Callable[[int], float]] = {
        "even": lambda i: 4.0,
        "uneven": lambda i: (2.0, 6.0)[i % 2],
        "slow start": lambda i: 20.0 if i == 0 else 4.0,
        "growing": lambda i: 2.0 + 0.2 * min(i, 20),
    }
    steps = int(40 * 4.0 / share / step_cost)
    used, measured = simulate(1, share, step_cost, costs[shape], steps)
    assert share / 1.5 <= used <= share * 1.5
    assert measured[0] == 0


def test_steps_between_measurements_stretch_with_their_cost() -> None:
    _, cheap = simulate(10, 0.05, 1.0, lambda i: 0.1, 1000)
    assert set(np.diff(cheap)[1:]) == {10}  # once the preparations are paid for
    _, dear = simulate(10, 0.05, 1.0, lambda i: 5.0, 1000)
    assert set(np.mod(dear, 10)) == {0}
    assert 90 <= np.diff(dear)[1:].mean() <= 110  # 5 s of every 100 s


def test_no_budget_measures_whenever_it_is_due() -> None:
    assert simulate(10, None, 0.001, lambda i: 50.0, 50)[1] == [0, 10, 20, 30, 40, 50]


def test_failed_measurements_are_paid_for() -> None:
    now = 0.0
    budget = Budget(1, 0.5, lambda: now)
    assert budget.due(0)
    with pytest.raises(OSError), budget.spending():
        now += 10.0
        raise OSError
    now += 5.0
    assert not budget.due(1)
    now += 20.0
    assert budget.due(2)


def test_figures_take_no_more_than_half_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now, drawn = 0.0, []
    monkeypatch.setattr(
        "padprint.training.watch.Budget", lambda *args: Budget(*args, *([] if len(args) > 2 else [lambda: now]))
    )

    class Writer:
        def add_scalar(self, name: str, value: float, step: int) -> None:
            nonlocal now
            now += 0.125 if name.endswith("snr") else 0.0  # two layers: measuring takes 1/4 s

        def add_figure(self, name: str, figure: Any, step: int) -> None:
            nonlocal now
            now += 1.0
            drawn.append(step)

    monkeypatch.setattr("padprint.plot.overview", lambda found: None)
    watch = small(Writer(), budget=0.5, figures=True)
    measured = []
    for step in range(30):
        measured += [step] if watch(step) is not None else []
        now += 1.0
    assert drawn[0] == 0
    assert len(drawn) * 1.0 <= 0.5 * (len(drawn) * 1.0 + len(measured) * 0.25) + 1.0
    assert 1 < len(drawn) < len(measured)
    assert watch.share <= 0.5


@pytest.mark.slow
def test_the_budget_is_held_on_a_real_clock() -> None:
    net = nets.stride_two()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
    watch = Watch(net, noise(4, 64), lambda *_: None, crop=32, every=1)
    x, end, step = torch.randn(16, 3, 32, 32), time.perf_counter() + 40, 0
    while time.perf_counter() < end:
        optimiser.zero_grad()
        net(x).square().mean().backward()
        optimiser.step()
        step += 1
        watch(step)
    assert 0.05 / 1.5 <= watch.share <= 0.05 * 1.5


# -------------------------------------------------------------------------------------------------------- where to


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        watch = small(writer, every=5, budget=None)
        found = {step: watch(step) for step in range(11)}
    events = tensorboard.EventAccumulator(str(tmp_path)).Reload()
    for name in ("1/snr", "2/mae", "2/relative"):
        written = {event.step: event.value for event in events.Scalars(f"padprint/{name}")}
        assert written == {
            step: pytest.approx(scalars(one)[name], rel=1e-6) for step, one in found.items() if one is not None
        }
        assert sorted(written) == [0, 5, 10]
    assert [image.step for image in events.Images("padprint/patterns")] == [0, 5, 10]


class Recorder:
    def __init__(self) -> None:
        self.calls: list[Any] = []


class WithMetrics(Recorder):
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.calls.append((step, metrics))


class WithDict(Recorder):
    def log_dict(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.calls.append((step, metrics))


class WithLog(Recorder):
    def log(self, data: dict[str, float], **more: Any) -> None:
        self.calls.append((more.get("step"), data))


class WithoutStep(Recorder):
    def log_metrics(self, split: str, metrics: dict[str, float]) -> None:
        raise AssertionError("this one is for something else")

    def log(self, logs: dict[str, float]) -> None:
        self.calls.append((None, logs))


@pytest.mark.parametrize("kind", [WithMetrics, WithDict, WithLog, WithoutStep])
def test_loggers_of_many_kinds(kind: type[Recorder]) -> None:
    logger = kind()
    assert small(logger)(5) is not None
    [(step, values)] = logger.calls
    assert step == (None if kind is WithoutStep else 5)
    assert "padprint/2/snr" in values


def test_several_loggers_and_another_prefix() -> None:
    one, two = WithMetrics(), WithDict()
    small([one, two], prefix="ppp")(0)
    assert one.calls == two.calls
    assert "ppp/2/snr" in one.calls[0][1]


# -------------------------------------------------------------------------------------------------- what can go wrong


class LikeALightningModule:
    def log(self, name: str, value: float) -> None: ...


@pytest.mark.parametrize("log", [None, [], [None], 3, LikeALightningModule()])
def test_without_a_logger(log: Any) -> None:
    with pytest.raises(PadprintError, match="log"):
        small(log)


def test_errors_from_the_start_are_raised_at_the_start() -> None:
    with pytest.raises(LayerError, match="no layer of the model is called 'layer9'"):
        small(layers="layer9")
    with pytest.raises(ImagesError, match="3 of 3 images are too small"):
        small(crop=40)
    with pytest.raises(ImagesError, match="empty"):
        Watch(nets.stack(), [], lambda *_: None)
    with pytest.raises(ImagesError, match="can be read only once"):
        Watch(nets.stack(), iter(()), lambda *_: None)
    with pytest.raises(ModelError, match="bfloat16"):
        Watch(nets.stack().bfloat16(), noise(3, 40), lambda *_: None, crop=16)
    with pytest.raises(PadprintError, match="every must be a whole number"):
        small(every=0)
    with pytest.raises(PadprintError, match="budget must be a share"):
        small(budget=5)
    with pytest.raises(TypeError, match="device"):
        small(device="cuda")


def test_a_sharded_network_is_refused() -> None:
    net = nets.stack()
    net[0].weight.ds_id = 7  # how DeepSpeed marks what it shards
    with pytest.raises(ModelError, match="sharded"):
        Watch(net, noise(3, 40), lambda *_: None, crop=16)


def test_a_failure_in_training_warns_once_and_goes_on() -> None:
    net = nets.stride_two()
    watch = Watch(net, noise(3, 40), lambda *_: None, crop=16, every=1, budget=None)
    net.half()
    with pytest.warns(UserWarning, match="not measured at step 1 .*the training goes on") as caught:
        assert [watch(1), watch(2)] == [None, None]
    assert len(caught) == 1
    assert [step for step, _ in watch.failures] == [1, 2]
    assert "ModelError" in watch.failures[0][1]
    net.float()
    assert watch(3) is not None


def test_a_failure_of_another_kind_warns_again() -> None:
    errors = [OSError("disk"), RuntimeError("out of memory"), OSError("disk")]

    def log(values: dict[str, float], step: int) -> None:
        raise errors[step]

    watch = small(log, budget=None)
    with pytest.warns(UserWarning, match="not measured") as caught:
        for step in range(3):
            watch(step)
    assert len(caught) == 2
    assert len(watch.failures) == 3


def test_strict_ends_the_training() -> None:
    def log(values: dict[str, float], step: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        small(log, strict=True)(0)


def test_an_interrupt_is_none_of_its_business() -> None:
    def log(values: dict[str, float], step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(log)(0)


def test_a_step_that_is_not_due_costs_nothing() -> None:
    watch = small(every=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(watch(step) is None for step in range(1, 1000))
    assert padprint.training.Watch is Watch
