"""The metric gives what `measure` gives, however it is fed, copied, saved and shared."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics import MetricCollection

import nets
import padprint.padding as pp
from helpers import in_processes, left_as_found, noise
from padprint import ImagesError, LayerError, ModelError, PadprintError, measure
from padprint.measuring.self_check import self_check
from padprint.training import PatternMetric, Watch
from padprint.training.logs import QUANTITIES, scalars
from training_runs import Net

OPTIONS: dict[str, Any] = {"crop": 16, "crops_per_image": 3}
SIZE = 44


def metric(net: nn.Module, **options: Any) -> PatternMetric:
    return PatternMetric(net, **{**OPTIONS, **options})


def values(one: PatternMetric) -> dict[str, float]:
    return {name: value.item() for name, value in one.compute().items()}


def asked(net: nn.Module, images: Sequence[Tensor], **options: Any) -> dict[str, float]:
    return scalars(measure(net, images, **{**OPTIONS, **options}))


def stochastic() -> nn.Module:
    return pp.convert(nets.stride_two(), "randn", seed=1)


# ---------------------------------------------------------------------------------------------- the same as measure


@pytest.mark.parametrize(
    ("net", "options"),
    [
        (nets.stride_two, {}),
        (nets.stride_two, {"layers": "2", "groups": 4, "batch_size": 2, "seed": 9, "spend": 3.0}),
        (nets.stack, {"margin": 1}),  # below the reach: approximate, with a residual
        (nets.stack, {"padding": "reflect"}),
        (nets.stack, {"padding": "randn"}),
        (stochastic, {}),
    ],
    ids=["plain", "options", "approximate", "swapped", "swapped for noise", "converted to noise"],
)
def test_equal_to_measure(net: Any, options: dict[str, Any]) -> None:
    images, model = noise(6, SIZE), net()
    one = metric(model, **options)
    one.update(torch.stack(images[:1]))
    one.update(images[1:3])
    one.update(torch.stack(images[3:]))
    found, expected = values(one), asked(model, images, **options)
    assert found == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
    whole, m = one.measurement(), measure(model, images, **{**OPTIONS, **options})
    for name, layer in m.items():
        assert torch.equal(whole[name].pattern, layer.pattern)
        assert torch.equal(whole[name].noise, layer.noise)
        assert whole[name].snr == layer.snr
        assert whole[name].residual == layer.residual
        assert whole[name].numeric_floor == layer.numeric_floor
        assert whole[name].notes == layer.notes
    assert (whole.n_images, whole.n_crops, whole.margin) == (m.n_images, m.n_crops, m.margin)
    assert whole.warnings == m.warnings


def test_names_and_types() -> None:
    one = metric(nets.stride_two(), layers="2")
    one.update(noise(3, SIZE))
    found = one.compute()
    assert set(found) == {f"2/{quantity}" for quantity in QUANTITIES}
    assert all(value.dtype == torch.float64 and value.dim() == 0 for value in found.values())


def test_the_network_is_left_as_found() -> None:
    net = Net().train()
    one = metric(net, layers="body.6")
    with left_as_found(net):
        one.update(noise(3, SIZE))
        one.compute()


def test_the_network_is_measured_as_it_is_at_each_update() -> None:
    net, images = nets.stride_two(), noise(4, SIZE)
    one = metric(net)
    one.update(images)
    before = values(one)
    with torch.no_grad():
        net[2].weight.mul_(2.0)
    assert values(one) == before
    one.reset()
    one.update(images)
    assert values(one) == asked(net, images) != before


# --------------------------------------------------------------------------------------------- what torchmetrics does


def test_scenes_that_come_again_are_counted() -> None:
    one, (a, b, c) = metric(nets.stride_two()), noise(3, SIZE)
    one.update(torch.stack([a, b]))
    one.update(torch.stack([c, a]))
    assert any(w.startswith("1 of 4 images are the same as an earlier one") for w in one.measurement().warnings)
    one.reset()
    one.update(torch.stack([a, b]))
    assert not any("same as" in w for w in one.measurement().warnings)


def test_reset() -> None:
    net, images = nets.stride_two(), noise(4, SIZE)
    one = metric(net)
    one.update(noise(3, SIZE, mean=5.0, seed=8))
    one.compute()
    one.reset()
    one.update(images)
    assert values(one) == asked(net, images)


def test_calling_it_gives_the_batch_and_keeps_the_whole() -> None:
    net, images = nets.stride_two(), noise(6, SIZE)
    one = metric(net)
    one(torch.stack(images[:4]))
    batch = one(torch.stack(images[4:]))
    assert {name: value.item() for name, value in batch.items()} == asked(net, images[4:])
    assert values(one) == asked(net, images)


def test_states_saved_midway_go_on_elsewhere() -> None:
    net, images = nets.stride_two(), noise(6, SIZE)
    one, two = metric(net), metric(net)
    one.persistent(True)
    one.update(images[:3])
    state = {name: value.clone() for name, value in one.state_dict().items()}
    assert not any(name.startswith(("0.", "2.")) for name in state)  # no weights of the network
    two.load_state_dict(state)
    two.update(images[3:])
    assert values(two) == asked(net, images)


def test_the_self_check_reported_is_that_of_the_first_image(monkeypatch) -> None:
    """The check of every further start is made to find more than the first one did: real floors may be zero."""
    net, images = nets.stack(), noise(4, SIZE)
    expected = measure(net, images, layers="4", **OPTIONS).numeric_floor + 1e-9
    added = itertools.count(1)

    def checked(*given: Any) -> dict[str, float]:
        more = 1e-9 * next(added)
        return {name: floor + more for name, floor in self_check(*given).items()}

    monkeypatch.setattr("padprint.measuring.checked.self_check", checked)
    one, two = metric(net, layers="4"), metric(net, layers="4")
    one.persistent(True)
    one.update(images[:2])
    two.load_state_dict(one.state_dict())
    two.update([image * 3 for image in images[2:]])
    assert next(added) > 2  # the second metric did check anew
    assert one.measurement().numeric_floor == two.measurement().numeric_floor == expected


def test_in_a_collection() -> None:
    net, images = nets.stack(), noise(4, SIZE)
    both = MetricCollection({"own": metric(net, layers="4"), "reflect": metric(net, layers="4", padding="reflect")})
    both.update(images[:2])
    both.update(images[2:])
    found = {name: value.item() for name, value in both.compute().items()}
    assert found["own_4/snr"] == asked(net, images, layers="4")["4/snr"]
    assert found["reflect_4/snr"] == asked(net, images, layers="4", padding="reflect")["4/snr"]


def test_copies_measure_the_same_network() -> None:
    net, images = nets.stride_two(), noise(3, SIZE)
    one = metric(net).clone()
    with torch.no_grad():
        net[2].weight.mul_(2.0)
    one.update(images)
    assert values(one) == asked(net, images)


class Holder(nn.Module):
    """A network and its metric, as in a LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.stride_two()
        self.pattern = metric(self.net)


def test_the_metric_owns_no_part_of_the_network() -> None:
    holder = Holder()
    assert [name for name, _ in holder.named_parameters()] == [
        f"net.{name}" for name, _ in holder.net.named_parameters()
    ]
    assert all(name.startswith("net.") for name in holder.state_dict())
    other = copy.deepcopy(holder)
    with torch.no_grad():
        holder.net[2].weight.mul_(2.0)
    other.pattern.update(noise(3, SIZE))
    assert values(other.pattern) == asked(other.net, noise(3, SIZE)) != asked(holder.net, noise(3, SIZE))


def test_a_metric_can_be_pickled() -> None:
    import pickle

    one = metric(nets.stride_two())
    one.update(noise(2, SIZE))
    two = pickle.loads(pickle.dumps(one))
    two.update(noise(4, SIZE)[2:])
    assert values(two) == asked(nets.stride_two(), noise(4, SIZE))


# -------------------------------------------------------------------------------------------------- what can go wrong


def test_an_update_that_fails_leaves_the_metric_as_it_was() -> None:
    net, images = nets.stride_two(), noise(4, SIZE)
    one = metric(net)
    one.update(images[:2])
    bad = images[2].clone()
    bad[0, 0, 0] = torch.nan
    with pytest.raises(ImagesError, match="NaN"):
        one.update([images[3], bad])
    with pytest.raises(ImagesError, match="1 of 2 images are too small"):
        one.update([images[3], images[3][:, :10]])
    passes: list[int] = []

    def fails_in_the_second_image(*_: Any) -> None:
        passes.append(1)
        if len(passes) == 3:  # after the first image's canvas and crops
            raise RuntimeError("out of memory")

    handle = net[2].register_forward_hook(fails_in_the_second_image)
    with pytest.raises(ModelError, match="out of memory"):
        one.update(images[2:])
    handle.remove()
    one.update(images[2:])
    assert values(one) == asked(net, images)


def test_a_first_update_that_fails_leaves_no_trace() -> None:
    net, images = nets.stride_two(), noise(3, SIZE)
    one = metric(net)
    handle = net[2].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ModelError, match="division"):
        one.update(noise(3, SIZE, seed=7))
    handle.remove()
    one.update(images)
    assert values(one) == asked(net, images)


def test_errors_when_it_is_made() -> None:
    with pytest.raises(LayerError, match="no layer of the model is called 'nowhere'"):
        metric(nets.stack(), layers="nowhere")
    with pytest.raises(ModelError, match="1 channels"):
        metric(nets.stack(), channels=1)
    with pytest.raises(PadprintError, match="groups must be a whole number"):
        metric(nets.stack(), groups=0)
    with pytest.raises(PadprintError, match="there is no padding scheme 'mirror'"):
        metric(nets.stack(), padding="mirror")


def test_nothing_to_compute() -> None:
    one = metric(nets.stack())
    with (
        pytest.warns(UserWarning, match="before the ``update``"),
        pytest.raises(ImagesError, match="update the metric"),
    ):
        one.compute()
    with pytest.raises(ImagesError, match="update the metric"):
        one.measurement()


# ---------------------------------------------------------------------------------------------------- several processes


CASES: dict[str, Any] = {"plain": nets.stride_two, "converted to noise": stochastic}


def train(net: nn.Module, watched: bool) -> tuple[dict[str, Tensor], list[bool]]:
    """A few data-parallel steps, watched or not."""
    torch.manual_seed(dist.get_rank())
    parallel = nn.parallel.DistributedDataParallel(net)
    optimiser = torch.optim.SGD(parallel.parameters(), lr=0.1)
    watch = Watch(parallel, noise(3, SIZE), lambda *_: None, every=1, budget=None, **OPTIONS) if watched else None
    measured = []
    for step in range(3):
        optimiser.zero_grad()
        parallel(torch.randn(2, 3, 16, 16)).square().mean().backward()
        optimiser.step()
        measured.append(watch is not None and watch(step) is not None)
    return {name: value.clone() for name, value in net.state_dict().items()}, measured


def work(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
    try:
        images, found = noise(5, SIZE), {}
        for case, net in CASES.items():
            one = metric(net())
            for image in images[rank::world]:
                one.update(image[None])
            found[case] = values(one)
            found[f"{case}, measured"] = scalars(one.measurement())
            found[f"{case}, again"] = values(one)
            found[f"{case}, warnings"] = one.measurement().warnings
            one.update(images[0][None])  # the second process's first scene was the second one
            found[f"{case}, warnings again"] = one.measurement().warnings
            shared = measure(net(), images, **OPTIONS, distributed=True)
            found[f"{case}, by measure"] = scalars(shared)
        found["unwatched"], found["watched"] = train(nets.stride_two(), False), train(nets.stride_two(), True)
        torch.save(found, Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@cache
def two_processes(folder: Path) -> list[dict[str, Any]]:
    in_processes(work, 2, 2, str(folder))
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return two_processes(tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", ["", ", measured", ", again", ", by measure"])
def test_two_processes_equal_one(case: str, how: str, ranks: list[dict[str, Any]]) -> None:
    alone = asked(CASES[case](), noise(5, SIZE))
    for rank in (0, 1):
        assert ranks[rank][case + how] == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_scenes_that_another_process_has_seen_are_counted(case: str, ranks: list[dict[str, Any]]) -> None:
    for rank in (0, 1):
        assert not any("same as" in warning for warning in ranks[rank][f"{case}, warnings"])
        found = [w for w in ranks[rank][f"{case}, warnings again"] if "same as" in w]
        assert found == ["2 of 7 images are the same as an earlier one: they add nothing, and intervals are too narrow"]


def test_a_watched_data_parallel_training(ranks: list[dict[str, Any]]) -> None:
    for rank in (0, 1):
        (one, _), (two, measured) = ranks[rank]["unwatched"], ranks[rank]["watched"]
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert measured == [rank == 0] * 3
