"""Schemes with random numbers of their own: fresh, repeatable, and nobody else's."""

from __future__ import annotations

import copy
import io
import pickle
from collections import Counter
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padprint.padding.scheme import make

STOCHASTIC = ["randn", "random-side"]
PADS = ((1, 2), (3, 1))
X = torch.arange(1.0, 31.0).reshape(1, 1, 5, 6) ** 1.3


def draws(module: nn.Module, n: int = 12) -> list[Tensor]:
    return [module.pad(X, PADS) for _ in range(n)]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


@pytest.mark.parametrize("name", STOCHASTIC)
def test_every_call_draws_anew_and_a_seed_repeats_the_sequence(name: str) -> None:
    first = draws(make(f"{name}:seed=3"))
    assert not same(first, [first[0]] * 12)
    assert same(first, draws(make(f"{name}:seed=3")))
    assert not same(first, draws(make(f"{name}:seed=4")))


@pytest.mark.parametrize("name", STOCHASTIC)
def test_without_a_seed_no_two_are_alike(name: str) -> None:
    torch.manual_seed(0)
    first = draws(make(name), 30)
    torch.manual_seed(0)
    assert not same(first, draws(make(name), 30))


@pytest.mark.parametrize("name", STOCHASTIC)
def test_reseeding(name: str) -> None:
    module = make(name)
    module.reseed(5)
    first = draws(module)
    module.reseed(5)
    assert same(first, draws(module))
    assert same(first, draws(make(f"{name}:seed=5")))
    module.reseed(None)
    assert module.seed is None
    assert not same(first, draws(module))


@pytest.mark.parametrize("spec", ["randn", "randn:seed=1", "random-side", "random-side:seed=1"])
def test_the_global_numbers_are_left_alone(spec: str) -> None:
    before = torch.get_rng_state()
    draws(make(spec))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("spec", ["randn", "randn:seed=1", "random-side", "random-side:seed=1"])
def test_copies_go_on_where_the_original_stood(spec: str) -> None:
    model = nn.Sequential(make(spec))
    draws(model[0], 3)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)]
    onwards = draws(model[0])
    for twin in twins:
        assert same(draws(twin[0]), onwards)


def test_copies_are_independent() -> None:
    module = make("randn:seed=1")
    twin = copy.deepcopy(module)
    first = draws(module)
    assert same(first, draws(twin))


@pytest.mark.parametrize("shape", [(6, 3, 7), (6, 2, 5, 6), (6, 1, 3, 4, 5)])
def test_the_split_into_batches_does_not_matter(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    pads = ((1, 2), (0, 1), (2, 0))[: len(shape) - 2]
    whole = make("randn:seed=1").pad(x, pads)
    module = make("randn:seed=1")
    for size in (1, 2, 3):
        module.reseed(1)
        assert torch.equal(torch.cat([module.pad(part, pads) for part in x.split(size)]), whole)


def test_layers_draw_numbers_of_their_own() -> None:
    module = make("randn:seed=1")
    one, two = (draws(module.for_layer(name), 1) for name in ("one", "two"))
    assert not same(one, two)
    again = make("randn:seed=1")
    assert same(draws(again.for_layer("two"), 1), two)
    module.reseed(1)
    assert same(draws(module.for_layer("one"), 1), one)


def test_maps_without_data_pad_to_their_size() -> None:
    y = make("randn:seed=1").pad(X.to("meta"), PADS)
    assert y.shape == (1, 1, 8, 10)


def test_the_noise_differs_between_cells_images_and_channels() -> None:
    x = X.expand(2, 3, 5, 6)
    y = make("randn:seed=0").pad(x, PADS)
    added = torch.cat([y[..., :1, :].flatten(), y[..., -2:, :].flatten()])
    assert len(added.unique()) == len(added)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_one_image_is_padded_as_in_a_batch(name: str) -> None:
    one = make(f"{name}:seed=0").pad(X[0], PADS)
    assert torch.equal(one, make(f"{name}:seed=0").pad(X, PADS)[0])


def test_zeros_go_to_one_side_of_each_dimension() -> None:
    module, seen = make("random-side:seed=0"), Counter()
    choices = {(h, w): F.pad(X, [*(w * 4, 4 - w * 4), *(h * 3, 3 - h * 3)]) for h, w in product((0, 1), (0, 1))}
    for _ in range(400):
        y = module.pad(X, PADS)
        (which,) = [side for side, expected in choices.items() if torch.equal(y, expected)]
        seen[which] += 1
    assert sorted(seen) == sorted(choices)
    assert max(seen.values()) < 140  # 100 expected, with a deviation of 9


def test_gradients_reach_the_map_once() -> None:
    x = X.clone().requires_grad_()
    make("random-side").pad(x, PADS).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
