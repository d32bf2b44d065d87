"""Schemes that learn: what they predict, what trains them, and what does not."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from helpers import doubles
from padprint.errors import PaddingError
from padprint.padding import convert
from padprint.padding.scheme import make
from padprint.padding.schemes import PaddingModule, PPPad, local_losses


class Net(nn.Module):
    """A convolution of two channels behind a scheme, as a converted layer would be."""

    def __init__(self, spec: str) -> None:
        super().__init__()
        self.scheme = make(spec).sized(2)
        self.conv = nn.Conv2d(2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.scheme.pad(x, ((1, 1), (1, 1))))


# ------------------------------------------------------------------------------------------------------ padding-module


def test_a_filter_for_each_channel_predicts_row_by_row() -> None:
    module = PaddingModule(2, depth=2)
    module.weight.data = torch.tensor([[2.0, -1.0], [0.0, 3.0]])
    x = torch.tensor([[[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]])
    y = module.pad(x, ((2, 1),))
    # the first channel is a straight line; in the second each cell is 3 times the one before the last
    assert y.tolist() == [[[-1, 0, 1, 2, 4, 6], [3, 6, 1, 2, 4, 6]]]
    square = module.pad(x[..., None, :].expand(1, 2, 3, 3), ((1, 0), (1, 0)))
    assert square[0, 0, 1:, 0].tolist() == [0, 0, 0]
    assert square[0, 1, 0].tolist() == [18, 3, 6, 12]


def test_the_local_loss_by_hand() -> None:
    module = PaddingModule(1, depth=2)  # predicts the neighbour
    module.pad(torch.tensor([[[1.0, 2.0, 4.0, 8.0]]]), ((1, 1),))
    assert module.local_loss().item() == ((1 - 2) ** 2 + (8 - 4) ** 2) / 2
    module.pad(torch.tensor([[[1.0, 2.0], [3.0, 5.0], [7.0, 7.0], [9.0, 9.0]]])[:, None], ((0, 1), (0, 0)))
    assert module.local_loss().item() == pytest.approx((2**2 + 3**2 + 2**2 + 2**2) / 4)


def test_the_task_does_not_train_the_filter_and_the_local_loss_trains_nothing_else() -> None:
    net, x = Net("padding-module"), doubles(3, 2, 6, 6).float().requires_grad_()
    net(x).square().sum().backward()
    assert net.scheme.weight.grad is None
    assert net.conv.weight.grad is not None
    assert x.grad[..., 0, 0].abs().sum() > 0
    x.grad = net.conv.weight.grad = None
    sum(local_losses(net).values()).backward()
    assert net.scheme.weight.grad.abs().sum() > 0
    assert x.grad is None
    assert net.conv.weight.grad is None


def test_gradients_of_the_task_pass_through_the_padding() -> None:
    x = torch.tensor([[[1.0, 2.0, 4.0]]], requires_grad=True)
    PaddingModule(1).pad(x, ((2, 0),)).sum().backward()
    assert x.grad.tolist() == [[[3, 1, 1]]]  # the edge is seen three times


def test_it_learns_to_continue_straight_lines() -> None:
    module = PaddingModule(2)
    lines = torch.linspace(-1, 1, 8) * doubles(32, 2, 1, seed=1).float() + doubles(32, 2, 1, seed=2).float()
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        module.pad(lines, ((1, 1),))
        loss = module.local_loss()
        loss.backward()
        return loss

    first = float(step().detach())
    optimizer.step(step)
    assert float(module.local_loss().detach()) < 1e-5 * first
    torch.testing.assert_close(module.weight.data, torch.tensor([[2.0, -1.0]] * 2), rtol=0, atol=0.02)


def test_losses_are_collected_by_name_after_training_forwards_alone() -> None:
    model = nn.Sequential(Net("padding-module"), nn.Identity())
    assert local_losses(model) == {}
    x = doubles(1, 2, 6, 6).float()
    with torch.no_grad():
        model(x)
    model.eval()(x)
    assert local_losses(model) == {}
    model.train()(x)
    assert list(local_losses(model)) == ["0.scheme"]


def test_a_map_of_depth_rows_is_padded_without_learning() -> None:
    module = PaddingModule(1, depth=2)
    module.pad(doubles(1, 1, 2).float(), ((1, 1),))
    assert module.local_loss() is None


def test_compiled_training_learns_too() -> None:
    torch._dynamo.reset()
    net = Net("padding-module")
    torch.compile(net, fullgraph=True, backend="eager")(doubles(1, 2, 6, 6).float())
    assert list(local_losses(net)) == ["scheme"]


def test_copies_and_files_leave_the_last_border_behind() -> None:
    net = Net("padding-module")
    net(doubles(1, 2, 6, 6).float())
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert local_losses(twin) == {}
        assert torch.equal(twin.scheme.weight, net.scheme.weight)


def test_state_has_ordinary_keys() -> None:
    net = Net("padding-module")
    assert set(net.state_dict()) == {"scheme.weight", "conv.weight", "conv.bias"}
    net.load_state_dict(Net("padding-module").state_dict())


def test_channels() -> None:
    unsized = make("padding-module:depth=3")
    with pytest.raises(PaddingError, match="does not know how many there are: convert the model"):
        unsized.pad(doubles(1, 2, 5), ((1, 1),))
    assert unsized.sized(4).weight.shape == (4, 3)
    own = PaddingModule(2)
    own.weight.data += 1
    mine = own.sized(2)
    assert mine is not own
    assert torch.equal(mine.weight, own.weight)
    with pytest.raises(PaddingError, match="filters for 2 channels, the layer has 3"):
        own.sized(3)
    with pytest.raises(PaddingError, match=r"filters for 2 channels, the map is \(1, 3, 5\)"):
        own.pad(torch.zeros(1, 3, 5), ((1, 1),))
    with pytest.raises(PaddingError, match="the map is"):
        own.pad(torch.zeros(5), ((1, 1),))


# -------------------------------------------------------------------------------------------------------------- pp-pad


def network(layers: nn.Module, u: Tensor) -> Tensor:
    for at in (0, 2, 4):
        u = (layers[at].weight @ u + layers[at].bias).clamp_min(0)
    return u


def test_pp_pad_against_loops() -> None:
    torch.manual_seed(1)
    module, x = PPPad(order="dimensions").double(), doubles(4, 5)
    for layers in module.sides:
        layers[4].bias.data += 1  # away from the flat part of the last ReLU
    out = x.clone()
    for axis, before, after in ((1, 2, 1), (0, 0, 2)):
        lines = out if axis == 0 else out.T
        for end in [0] * before + [1] * after:
            near = lines[:2] if end == 0 else lines.flip(0)[:2]
            wide = torch.cat([torch.zeros(2, 1), near, torch.zeros(2, 1)], 1)
            made = [network(module.sides[2 * axis + end], wide[:, j : j + 3].flatten()) for j in range(near.shape[1])]
            row = torch.cat(made)[None]
            lines = torch.cat([row, lines] if end == 0 else [lines, row])
        out = lines if axis == 0 else lines.T
    y = module.pad(torch.stack([x, -x])[None], ((0, 2), (2, 1)))
    torch.testing.assert_close(y[0, 0], out, rtol=0, atol=1e-12)
    assert len(out[4:].unique()) > 10


def in_rings(module: PPPad, x: Tensor, pads: tuple[tuple[int, int], ...]) -> Tensor:
    """`(C, h, w)` padded cell after cell: ring after ring, top, bottom, left, right; the outermost corners are left out."""
    (top, bottom), (left, right) = pads
    channels, h, w = x.shape
    out = torch.zeros(channels, top + h + bottom, left + w + right, dtype=x.dtype)
    out[:, top : top + h, left : left + w] = x
    first, final = min(left, 1), out.shape[2] - min(right, 1)
    high, low = min(top, 1), out.shape[1] - min(bottom, 1)
    for ring in range(max(top, bottom, left, right)):
        jobs = [(0, top - 1 - ring, 1, top), (1, top + h + ring, -1, bottom)]
        jobs += [(2, left - 1 - ring, 1, left), (3, left + w + ring, -1, right)]
        for side, at, inwards, count in jobs:
            if ring >= count:
                continue
            map_ = out if side < 2 else out.mT
            span = range(first, final) if side < 2 else range(high, low)
            before = map_.clone()
            for place in span:
                cells = torch.zeros(channels, 2, 3, dtype=x.dtype)
                for row in range(2):
                    for beside in (-1, 0, 1):
                        if 0 <= place + beside < map_.shape[2]:
                            cells[:, row, beside + 1] = before[:, at + inwards * (row + 1), place + beside]
                if module.variant == "conv":
                    map_[:, at, place] = network(module.sides[side], cells.flatten())
                else:
                    for c in range(channels):
                        map_[c, at, place] = network(module.sides[side], cells[c].flatten())[0]
    return out


@pytest.mark.parametrize("pads", [((1, 1), (1, 1)), ((2, 2), (2, 2)), ((0, 2), (2, 1)), ((1, 0), (0, 0))])
@pytest.mark.parametrize("spec", ["pp-pad", "pp-pad:variant=conv,channels=3"])
def test_pp_pad_goes_around_the_map_as_its_code_does(spec: str, pads: tuple[tuple[int, int], ...]) -> None:
    torch.manual_seed(2)
    module, x = make(spec).double(), doubles(3, 5, 4)
    for layers in module.sides:
        layers[4].bias.data += 1
    y = module.pad(x[None], pads)[0]
    torch.testing.assert_close(y.detach(), in_rings(module, x, pads).detach(), rtol=0, atol=1e-12)
    if all(map(all, pads)):
        assert (y[:, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()  # corners


def test_pp_pad_of_all_channels_gives_them_one_number() -> None:
    module = make("pp-pad:variant=conv").sized(3).double()
    for layers in module.sides:
        layers[4].bias.data += 1
    y = module.pad(doubles(2, 3, 5, 6), ((1, 1), (1, 1)))
    assert torch.equal(y[:, 0, 0], y[:, 2, 0])
    assert sum(p.numel() for p in module.parameters()) == 4 * ((3 * 6 * 8 + 8) + (8 * 8 + 8) + (8 + 1))


def test_pp_pad_of_all_channels_must_know_them() -> None:
    with pytest.raises(PaddingError, match="does not know how many there are"):
        make("pp-pad:variant=conv").pad(doubles(1, 3, 5, 6), ((1, 1), (1, 1)))
    with pytest.raises(PaddingError, match="for 2 channels, the map is"):
        make("pp-pad:variant=conv,channels=2").double().pad(doubles(1, 3, 5, 6), ((1, 1), (1, 1)))
    with pytest.raises(PaddingError, match="for 2 channels, the layer has 3"):
        make("pp-pad:variant=conv,channels=2").sized(3)


def test_networks_are_converted_to_pp_pad_of_all_channels() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    made = convert(net, "pp-pad:variant=conv", seed=0)
    x = doubles(2, 3, 8, 8).float()
    made(x).square().sum().backward()
    schemes = [module for module in made.modules() if isinstance(module, PPPad)]
    assert [scheme.channels for scheme in schemes] == [3, 4]
    torch.testing.assert_close(made(x)[..., 2:-2, 2:-2], net(x)[..., 2:-2, 2:-2])


def test_pp_pad_predicts_nothing_below_zero() -> None:
    y = PPPad().double().pad(doubles(2, 3, 6, 6), ((1, 1), (1, 1)))
    assert y[..., 0, :].min() >= 0
    assert y[..., -1].min() >= 0


def test_pp_pad_is_trained_by_the_task_on_all_sides() -> None:
    torch.manual_seed(0)
    net = Net("pp-pad")
    for layers in net.scheme.sides:
        layers[4].bias.data += 1
    x = doubles(4, 2, 6, 6).float().requires_grad_()
    net(x).square().sum().backward()
    assert all(layers[0].weight.grad.abs().sum() > 0 for layers in net.scheme.sides)
    assert x.grad.abs().min() > 0


def test_pp_pad_has_548_parameters_whatever_the_channels() -> None:
    assert sum(p.numel() for p in PPPad().parameters()) == 4 * ((6 * 8 + 8) + (8 * 8 + 8) + (8 + 1))
    module = PPPad(hidden=4)
    mine, other = module.sized(64), module.sized(64)
    assert mine.hidden == 4
    assert not torch.equal(mine.sides[0][0].weight, other.sides[0][0].weight)


def test_pp_pad_of_other_dimensions() -> None:
    with pytest.raises(PaddingError, match="this pp-pad is for 2 dimensions, the map has 1: write pp-pad:dims="):
        PPPad().pad(torch.zeros(1, 2, 5), ((1, 1),))
    assert PPPad(dims=3).pad(torch.zeros(1, 2, 3, 4, 5), ((1, 1),) * 3).shape == (1, 2, 5, 6, 7)
