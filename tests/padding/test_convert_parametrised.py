"""Weights in other parametrisations, put on and taken off before and after conversion, in any order."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import utils
from torch.nn.utils import parametrizations, parametrize

from padprint.padding import convert, revert, use

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")

KINDS = {
    "weight norm": (parametrizations.weight_norm, lambda m: parametrize.remove_parametrizations(m, "weight")),
    "spectral norm": (parametrizations.spectral_norm, lambda m: parametrize.remove_parametrizations(m, "weight")),
    "old weight norm": (utils.weight_norm, utils.remove_weight_norm),
    "old spectral norm": (utils.spectral_norm, utils.remove_spectral_norm),
}
# + put on, - taken off, R and S converted to reflect and replicate, V reverted
ORDERS = ["+R", "R+", "+R-", "R+-", "+RV", "R+V", "+RV-", "R+V-", "+R-V", "R+-V", "+RS", "R+S", "+RS-", "R+S-"]
ORDERS += ["R+-S", "+RSV-", "R+SV-", "R+VS-", "+RVS-V", "R+-+S-V"]


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, 5, padding=2)).eval()


def classes(net: nn.Module) -> list[str]:
    return [one.__name__ for one in type(net).__mro__]


x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_any_order(kind: str, order: str) -> None:
    """As on a plain network, with its padding swapped by `use` where the other one is converted."""
    put, take = KINDS[kind]
    net, plain, scheme = small(), small(), None
    for step in order:
        if step in "+-":
            for one in (net, plain):
                torch.manual_seed(1)  # spectral norm starts from a random vector
                (put if step == "+" else take)(one[2])
        else:
            scheme = {"R": "reflect", "S": "replicate", "V": None}[step]
            net = revert(net) if scheme is None else convert(net, scheme)
        with torch.no_grad(), nullcontext() if scheme is None else use(scheme):
            expected: Tensor = plain(x)
        torch.testing.assert_close(net(x).detach(), expected)
        assert list(net.state_dict()) == list(plain.state_dict())
        assert isinstance(net[2], nn.Conv2d)
        if scheme is None:
            assert classes(net[2]) == classes(plain[2])
    net(x).sum().backward()
    assert all(one.grad is not None for one in net.parameters())


@pytest.mark.parametrize("step", ["convert", "revert"])
def test_what_is_taken_off_a_copy_stays_on_the_original(step: str) -> None:
    net = small()
    parametrizations.weight_norm(net[0])
    parametrizations.weight_norm(net[2])
    made = convert(net, "reflect")
    back = revert(made)
    taken, kept = (made, net) if step == "convert" else (back, made)
    expected = kept(x)
    for module in (taken[0], taken[2]):
        parametrize.remove_parametrizations(module, "weight")
    assert torch.equal(kept(x), expected)
    assert parametrize.is_parametrized(kept[2])


def test_copies_of_parametrised_and_converted_layers() -> None:
    net = small()
    parametrizations.weight_norm(net[2])
    made = convert(net, "reflect")
    assert torch.equal(copy.deepcopy(made)(x), made(x))
    made.load_state_dict(net.state_dict())


def test_two_parametrised_tensors() -> None:
    class Double(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    net = small()
    plain = copy.deepcopy(net)
    for one in (net, plain):
        for name in ("weight", "bias"):
            parametrize.register_parametrization(one[0], name, Double())
    made = convert(net, "reflect")
    for one in (made, plain):
        parametrize.remove_parametrizations(one[0], "weight")
    with use("reflect"):
        expected = plain(x)
    torch.testing.assert_close(made(x), expected)
    assert classes(revert(made)[0]) == classes(plain[0])
