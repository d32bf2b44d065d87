"""Schemes that learn: what they predict, what trains them, and what does not."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from helpers import doubles
from padprint.errors import PaddingError
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
    module, x = PPPad().double(), doubles(4, 5)
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
