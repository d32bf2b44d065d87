"""Containers: what cannot be used is skipped and counted, and reading moves nobody's random numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from padprint.errors import ImagesError
from padprint.images.photographs import as_source

BATCH = torch.rand(6, 3, 5, 6, generator=torch.Generator().manual_seed(0))


class Jittered(Dataset[Tensor]):
    """Adds noise from every global generator to its images, as augmentation does."""

    def __len__(self) -> int:
        return len(BATCH)

    def __getitem__(self, index: int) -> Tensor:
        return BATCH[index] + torch.rand(()) + random.random() + np.random.rand()


class Plain(Dataset[Tensor]):
    def __len__(self) -> int:
        return len(BATCH)

    def __getitem__(self, index: int) -> Tensor:
        return BATCH[index]


class Holder(Sampler[int]):
    """A sampler around a sampler, as wrappers for distribution or grouping are."""

    def __init__(self, sampler: Sampler[int]) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[int]:
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)


def nan_at(*which: int) -> Tensor:
    found = BATCH.clone()
    found[list(which), 0, 0, 0] = torch.nan
    return found


@pytest.mark.parametrize(
    "hold",
    [
        lambda batch: batch,
        list,
        iter,
        lambda batch: DataLoader(list(batch), batch_size=2),
        lambda batch: (image for image in batch),
    ],
)
def test_images_that_are_not_finite_leave_a_gap_or_are_errors(hold: Callable[[Tensor], Any]) -> None:
    source = as_source(hold(nan_at(1, 4)))
    with pytest.warns(UserWarning) as seen:
        assert [index for index, _ in source.items()] == [0, 2, 3, 5]
    reason = "has 1 of 90 values that are NaN or infinite"
    assert source.skipped == {"image 1": reason, "image 4": reason}
    assert [str(one.message) for one in seen] == [f"skipped image 1: {reason}", f"skipped image 4: {reason}"]
    with pytest.raises(ImagesError, match=f"^image 1 {reason}"):
        list(as_source(hold(nan_at(1, 4)), strict=True).items())


@pytest.mark.filterwarnings("ignore:skipped")
@pytest.mark.parametrize("world", [2, 3])
def test_shares_are_the_same_whatever_is_skipped(world: int) -> None:
    shares = [[index for index, _ in as_source(nan_at(1, 2)).items(rank, world)] for rank in range(world)]
    assert sorted(index for share in shares for index in share) == [0, 3, 4, 5]
    assert all(index % world == rank for rank, share in enumerate(shares) for index in share)


GENERATORS: dict[str, Callable[[torch.Generator], DataLoader[Tensor]]] = {
    "loader": lambda g: DataLoader(Plain(), shuffle=True, generator=g),
    "loader alone": lambda g: DataLoader(Plain(), generator=g),
    "sampler": lambda g: DataLoader(Plain(), sampler=RandomSampler(Plain(), generator=g)),
    "replacement": lambda g: DataLoader(Plain(), sampler=RandomSampler(Plain(), True, 40, generator=g)),
    "subset": lambda g: DataLoader(Plain(), sampler=SubsetRandomSampler([0, 3, 5], generator=g)),
    "weighted": lambda g: DataLoader(Plain(), sampler=WeightedRandomSampler([1.0] * 6, 6, generator=g)),
    "batch sampler": lambda g: DataLoader(
        Plain(), batch_sampler=BatchSampler(RandomSampler(Plain(), generator=g), 2, False)
    ),
    "wrapped": lambda g: DataLoader(Plain(), sampler=Holder(Holder(RandomSampler(Plain(), generator=g)))),
    "global": lambda g: DataLoader(Plain(), shuffle=True),
}


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("stop", [None, 2])
def test_a_loaders_generators_stay_where_they_are(name: str, stop: int | None) -> None:
    generator = torch.Generator().manual_seed(3)
    loader = GENERATORS[name](generator)
    torch.manual_seed(4)
    own, all_of_torch = generator.get_state(), torch.get_rng_state()
    items = as_source(loader).items()
    for _, _ in zip(range(stop or 100), items, strict=False):
        assert torch.equal(generator.get_state(), own)  # between two images too: others may be drawing from it
        assert torch.equal(torch.get_rng_state(), all_of_torch)
    del items
    assert torch.equal(generator.get_state(), own)
    assert torch.equal(torch.get_rng_state(), all_of_torch)


def test_training_on_the_same_loader_sees_the_same_order() -> None:
    def epochs(read: bool) -> list[list[float]]:
        torch.manual_seed(0)
        loader = DataLoader(Plain(), shuffle=True, generator=torch.Generator().manual_seed(1))
        if read:
            assert len(list(as_source(loader).items())) == 6
        return [[float(image.sum()) for image in loader] + [float(torch.rand(()))] for _ in range(2)]

    assert epochs(read=True) == epochs(read=False)


@pytest.mark.parametrize("hold", [lambda data: data, DataLoader])
def test_random_samples_differ_from_each_other_and_move_nothing(hold: Callable[[Any], Any]) -> None:
    def drawn() -> list[float]:
        return [float(torch.rand(())), random.random(), float(np.random.rand())]

    for reseed in (torch.manual_seed, random.seed, np.random.seed):
        reseed(5)
    expected = drawn()
    for reseed in (torch.manual_seed, random.seed, np.random.seed):
        reseed(5)
    shifts = {round(float((image - BATCH[index]).mean()), 4) for index, image in as_source(hold(Jittered())).items()}
    assert len(shifts) == len(BATCH)
    assert drawn() == expected


def test_workers_that_are_kept_go_on_with_their_owner() -> None:
    loader = DataLoader(Plain(), num_workers=1, persistent_workers=True, batch_size=1)
    mine = iter(loader)
    first = next(mine)
    assert len(list(as_source(loader).items())) == 6
    rest = list(mine)
    assert torch.equal(torch.cat([first, *rest]), BATCH)


def test_a_batch_sampler_with_an_order_of_its_own_is_refused_for_several_processes() -> None:
    loader = DataLoader(Plain(), batch_sampler=BatchSampler(RandomSampler(Plain()), 2, False))
    with pytest.raises(ImagesError, match=r"RandomSampler, so that each of 2 processes gets its own order"):
        list(as_source(loader).items(0, 2))


def test_fingerprints_tell_counts_sizes_and_values_apart() -> None:
    def read(images: Any) -> str:
        source = as_source(images)
        assert list(source.items())
        return source.fingerprint()

    same = [as_source(BATCH).fingerprint(), as_source(BATCH.clone()).fingerprint()]
    assert len(set(same)) == 1
    others = [
        as_source(BATCH[:5]).fingerprint(),
        as_source(BATCH[..., :4]).fingerprint(),
        as_source(BATCH + 1).fingerprint(),
    ]
    assert len({*same, *others}) == 4
    assert read(iter(BATCH)) == read(iter(BATCH)) != read(iter(BATCH[:5]))
    assert as_source(Plain()).fingerprint() != as_source(Plain(), limit=4).fingerprint()
    assert as_source([1, 2]).fingerprint() == as_source([1, 2]).fingerprint()  # wrong, which reading will say
