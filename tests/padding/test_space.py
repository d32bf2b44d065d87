"""Only what pads the space of a map is swapped: tables, tokens, scores and channels keep their padding, and are listed."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
import padprint
from helpers import left_as_found, singles
from padprint.errors import PaddingError
from padprint.padding import convert, use

close = torch.testing.assert_close


class Around(nn.Module):
    """A padded convolution, then a function of its own."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], dims: int = 2) -> None:
        super().__init__()
        self.conv = nets.ready(getattr(nn, f"Conv{dims}d")(3, 4, 3, padding=1))
        self.table = nn.Parameter(singles(1, 4, 5, 5, seed=1))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.conv(x))


def linear_attention(net: nn.Module, x: Tensor) -> Tensor:
    """EfficientViT's: a column of ones makes the normaliser."""
    q = k = F.relu(x.reshape(x.shape[0], 2, 2, -1).mT)
    v = F.pad(x.reshape(x.shape[0], 2, 2, -1).mT, (0, 1), mode="constant", value=1.0)
    out = q @ (k.mT @ v)
    return out[..., :-1] / (out[..., -1:] + 1e-6)


def table(net: nn.Module, x: Tensor) -> Tensor:
    return x.mean((-2, -1)) + F.pad(net.table * 2, (1, 0, 1, 0)).sum((-2, -1))


def shifted_scores(net: nn.Module, x: Tensor) -> Tensor:
    """Transformer-XL's: a zero before each row, and the rows read anew."""
    tokens = x.flatten(2).mT
    scores = (tokens @ tokens.mT)[:, None]
    n = scores.shape[-1]
    return F.pad(scores, (1, 0)).reshape(-1, 1, n + 1, n)[:, :, 1:]


def shifted_rows(net: nn.Module, x: Tensor) -> Tensor:
    """The same along the width alone, for relative positions in rows."""
    rows = x.permute(0, 2, 3, 1).flatten(0, 1)
    return F.pad(rows @ rows.mT, (1, 0)).flatten(1)[:, 1:]


def class_tokens(net: nn.Module, x: Tensor) -> Tensor:
    return F.pad(x.flatten(2), (1, 0))


def channel_attention(net: nn.Module, x: Tensor) -> Tensor:
    weights = F.conv1d(x.mean((-2, -1))[:, None], torch.tensor([[[0.2, 0.5, 0.3]]]), padding=1)
    return x * weights[:, 0, :, None, None]


def circular_channel_attention(net: nn.Module, x: Tensor) -> Tensor:
    y = F.pad(x.mean((-2, -1))[:, None], (1, 1), mode="circular")
    return x * F.conv1d(y, torch.tensor([[[0.2, 0.5, 0.3]]]))[:, 0, :, None, None]


def frozen_attention(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return linear_attention(net, x.detach())


KEPT: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str]] = {
    "a column of ones": (linear_attention, "tokens, no map"),
    "a column of ones, no gradient": (frozen_attention, "tokens, no map"),
    "a table": (table, "does not come from the input"),
    "scores": (shifted_scores, "tokens, no map"),
    "scores in rows": (shifted_rows, "scores, no map"),
    "tokens": (class_tokens, "tokens, no map"),
    "channels": (channel_attention, "does not follow the size"),
    "channels in a circle": (circular_channel_attention, "does not follow the size"),
}


def same_padded(net: nn.Module, x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3)


SPACE: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "both": same_padded,
    "one dimension": lambda net, x: F.pad(x, (2, 0)),
    "one dimension, with ones": lambda net, x: F.pad(x, (0, 1), value=1.0),
    "a slice": lambda net, x: F.pad(x[..., 1:], (1, 0)),
    "a map of fixed size": lambda net, x: same_padded(net, F.adaptive_avg_pool2d(x, 4)),
    "a strip": lambda net, x: same_padded(net, x.mean(-1, keepdim=True)),
    "turned": lambda net, x: same_padded(net, x.mT),
    "rows alone": lambda net, x: F.pad(x.mean(-1), (1, 1)),
    "without gradient": lambda net, x: same_padded(net, x.detach()),
}


def swapped(net: nn.Module, scheme: str, x: Tensor) -> tuple[Tensor, int]:
    with torch.no_grad(), use(scheme) as replaced:
        return net(x), replaced.count


def converted(net: nn.Module, scheme: str, x: Tensor) -> Tensor:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "not converted", UserWarning)
        return convert(net, scheme, example=x)(x)


@pytest.mark.parametrize("name", KEPT)
def test_what_is_no_space_keeps_its_padding(name: str) -> None:
    """In each way to swap the convolution alone changes; by hand, it is the only one that gets other padding."""
    function, words = KEPT[name]
    net, x = Around(function), singles(2, 3, 6, 7)
    found = padprint.inspect(net, x)
    assert [one.swappable for one in found] == [True, False]
    assert words in str(found[1].reason)
    expected = function(net, F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), net.conv.weight, net.conv.bias))
    out, count = swapped(net, "replicate", x)
    assert count == 1
    close(out, expected)
    close(converted(net, "replicate", x), expected)
    with pytest.warns(UserWarning, match="not converted"):
        made = convert(net, "replicate", example=x)
    assert type(made) is Around
    assert torch.equal(swapped(net, "zeros", x)[0], net(x))


@pytest.mark.parametrize("name", SPACE)
def test_what_is_space_is_swapped(name: str) -> None:
    net, x = Around(SPACE[name]), singles(2, 3, 6, 7)
    assert [one.swappable for one in padprint.inspect(net, x)] == [True, True]
    out, count = swapped(net, "replicate", x)
    assert count == 2
    close(converted(net, "replicate", x), out)
    assert not torch.equal(swapped(net, "zeros", x)[0], out)


def test_gradients_of_a_converted_attention_are_finite() -> None:
    net, x = Around(linear_attention), singles(2, 3, 6, 7)
    with pytest.warns(UserWarning, match="tokens, no map"):
        made = convert(net, "zeros", example=x)
    made(x).sum().backward()
    assert all(one.grad.isfinite().all() for name, one in made.named_parameters() if name != "table")


def test_both_in_one_module() -> None:
    """A module that pads a map and a table in its own forward: only the one is swapped."""

    def both(net: nn.Module, x: Tensor) -> Tensor:
        return table(net, F.pad(x, (1, 1, 1, 1), mode="reflect")) + linear_attention(net, x).sum()

    net, x = Around(both), singles(2, 3, 6, 7)
    out, count = swapped(net, "replicate", x)
    assert count == 2
    close(converted(net, "replicate", x), out)


def test_what_is_in_a_module_inside_a_converted_one() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nets.Lambda(lambda x: F.pad(x.flatten(2).mT[:, None], (0, 1)).sum((1, 2)))

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(F.pad(x, (1, 1, 1, 1)))

    net, x = Outer(), singles(2, 3, 6, 7)
    out, count = swapped(net, "constant:value=2", x)
    assert count == 1
    close(converted(net, "constant:value=2", x), out)


def test_calls_that_cannot_be_told_apart_are_refused() -> None:
    net = Around(lambda net, x: F.pad(x, (1, 1, 1, 1)).mean() + F.pad(net.table, (1, 1, 1, 1)).mean())
    with pytest.raises(PaddingError, match=r"two calls of pad that pad alike, .* does not come from the input"):
        convert(net, "reflect", example=singles(2, 3, 6, 7))
    assert swapped(net, "reflect", singles(2, 3, 6, 7))[1] == 2


class FixedSize(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != (6, 7):
            raise ValueError("6 x 7 alone")
        return self.net(x)


@pytest.mark.parametrize("name", ["a column of ones", "a table", "scores in rows", "tokens"])
def test_networks_of_one_size_are_judged_by_the_form_of_the_call(name: str) -> None:
    net, x = FixedSize(Around(KEPT[name][0])), singles(2, 3, 6, 7)
    assert [one.swappable for one in padprint.inspect(net, x)] == [True, False]
    assert swapped(net, "replicate", x)[1] == 1
    close(converted(net, "replicate", x), swapped(net, "replicate", x)[0])


def test_space_alone_is_swapped_in_one_dimension() -> None:
    """Heads of tokens are no map, a line is."""
    net, x = Around(linear_attention, dims=1), singles(2, 3, 12)
    assert [one.swappable for one in padprint.inspect(net, x)] == [True, False]
    line = Around(lambda net, x: F.pad(x, (2, 0)), dims=1)
    assert [one.swappable for one in padprint.inspect(line, x)] == [True, True]


def test_nothing_of_the_model_is_touched() -> None:
    """Neither its state nor its hooks see the runs that find out; the model is looked at once."""
    net, x = Around(linear_attention).train(), singles(2, 3, 6, 7)
    calls: list[tuple[int, ...]] = []
    net.conv.register_forward_hook(lambda module, args, output: calls.append(tuple(output.shape)))
    with left_as_found(net), torch.no_grad():
        for _ in range(2):
            swapped(net, "replicate", x)
    assert calls == [(2, 4, 6, 7)] * 2


def test_a_network_that_has_changed_is_looked_at_again() -> None:
    net, x = Around(linear_attention), singles(2, 3, 6, 7)
    assert swapped(net, "replicate", x)[1] == 1
    net.function = lambda _, y: F.pad(y, (1, 0))
    assert swapped(net, "replicate", x)[1] == 2
    net.conv = nn.Sequential(net.conv, nn.ZeroPad2d((1, 0, 0, 0)))
    assert swapped(net, "replicate", x)[1] == 3


def test_without_an_example_layers_of_one_dimension_may_run_along_channels() -> None:
    class Efficient(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.along = nn.Conv2d(3, 4, 3, padding=1), nn.Conv1d(1, 1, 3, padding=1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y * self.along(y.mean((-2, -1))[:, None])[:, 0, :, None, None]

    net, x = Efficient(), singles(2, 3, 6, 7)
    out, count = swapped(net, "replicate", x)
    assert count == 1
    with pytest.warns(UserWarning, match="not converted: along: layers of one dimension"):
        made = convert(net, "replicate")
    close(made(x), out)
    close(converted(net, "replicate", x), out)
    lines = nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.MaxPool1d(3, 1, 1))
    assert [hasattr(one, "padding_scheme") for one in convert(lines, "replicate")] == [True, True]


def test_timms_networks() -> None:
    timm = pytest.importorskip("timm")
    net, x = timm.create_model("efficientvit_b0").eval(), singles(1, 3, 64, 64)
    assert {one.reason is None for one in padprint.inspect(net, x) if one.operator == "pad"} == {False}
    with torch.no_grad():
        assert torch.equal(swapped(net, "zeros", x)[0], net(x))
    close(converted(net, "replicate", x), swapped(net, "replicate", x)[0])
