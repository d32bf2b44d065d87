"""Right or refused: networks that break an assumption, each with the right answer by hand or by running it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import padprint
from helpers import noise
from nets import sequential
from padprint.errors import HaloError, LayerError, ModelError, PadprintError
from padprint.geometry import strip
from padprint.measuring.crops import iterate

CROP = 32


class Net(nn.Module):
    """A function as a network; its modules are those handed over by name."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Any], **modules: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        y = self.run(self, x)
        return y.clone() if isinstance(y, Tensor) else y  # a tensor of its own, called "output"


def make(run: Callable[[nn.Module, Tensor], Any], seed: int = 0, **modules: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(seed)
    return Net(run, **{name: one() for name, one in modules.items()}).eval()


def conv(k: int = 3, channels: tuple[int, int] = (3, 4), padding: int | None = None) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(*channels, k, padding=k // 2 if padding is None else padding)


def rim(net: nn.Module, layer: str = "output", crop: int = CROP) -> tuple[int, ...] | None:
    found = padprint.trace(net, layer, crop)[layer]
    assert found.reason is None, found.reason
    return found.rim


# -------------------------------------------------------------------------------- what a network does to what it is given


def test_a_network_that_writes_into_its_input() -> None:
    plain = make(lambda net, x: net.c((x - 0.5) / 0.25), c=conv())
    writing = make(lambda net, x: net.c(x.sub_(0.5).div_(0.25)), c=conv())
    images = [torch.rand(3, 96, 96) for _ in range(4)]
    kept = [image.clone() for image in images]
    options: dict[str, Any] = {"layers": "c", "crop": CROP, "crops_per_image": 4}
    one, two = padprint.measure(writing, images, **options), padprint.measure(plain, images, **options)
    assert all(torch.equal(a, b) for a, b in zip(images, kept, strict=True))
    torch.testing.assert_close(one["c"].pattern, two["c"].pattern)
    assert (
        padprint.halo(writing, images, tile=CROP).first.effective
        == padprint.halo(plain, images, tile=CROP).first.effective
    )
    assert all(torch.equal(a, b) for a, b in zip(images, kept, strict=True))


class Caching(nn.Module):
    """Keeps a factor made of the first input's borders, in an attribute, a list, a dictionary, an object and a buffer."""

    def __init__(self, place: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c, self.place = nn.Conv2d(3, 4, 3, padding=1), place
        self.kept: Any = None
        self.list: list[Any] = []
        self.dict: dict[str, Any] = {}
        self.record = Record()
        self.register_buffer("buffer", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(x)
        size = 1 + y[..., :2, :].detach().std().reshape(1)
        if self.place == "attribute":
            self.kept = size if self.kept is None else self.kept
            return y * self.kept
        if self.place == "list":
            self.list = self.list or [size]
            return y * self.list[0]
        if self.place == "appended":
            self.list.append(size)
            return y * self.list[0]
        if self.place == "dict":
            return y * self.dict.setdefault("size", size)
        if self.place == "object":
            self.record.size = size if self.record.size is None else self.record.size
            return y * self.record.size
        if not bool(self.buffer.any()):
            self.buffer.copy_(size)
        return y * self.buffer


class Record:
    """Not a module."""

    size: Any = None


@pytest.mark.parametrize("place", ["attribute", "list", "appended", "dict", "object", "buffer"])
def test_no_pass_sees_what_another_one_left_behind(place: str) -> None:
    # the factor depends on the whole input, so nothing can be told apart: every padding must be refused, in any order
    net = Caching(place).eval()
    before = {name: copy.copy(value) for name, value in vars(net).items()}
    for order in (["own", "reflect"], ["reflect", "own"]):
        with pytest.raises(PadprintError, match=r"global|contradicted|absolute|random|batch"):
            padprint.compare(net, noise(3, 80), padding=order, crop=CROP, layers="output", crops_per_image=2)
    assert net.kept is None
    assert net.list == []
    assert net.dict == {}
    assert net.record.size is None
    assert not bool(net.buffer.any())
    assert set(vars(net)) == set(before)


class SizedOnce(nn.Module):
    """Local, but what it pads with is worked out in the first pass and kept."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c = nn.Conv2d(3, 4, 3)
        self.grid: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is None or self.grid.shape[-2:] != x.shape[-2:]:
            self.grid = torch.ones(1, 1, *x.shape[-2:])
        return self.c(F.pad(x * self.grid, (1, 1, 1, 1))).clone()


def test_paddings_give_the_same_in_either_order() -> None:
    net, options = SizedOnce().eval(), {"crop": CROP, "layers": "output", "crops_per_image": 2}
    one = padprint.compare(net, noise(3, 80), padding=["own", "reflect"], **options)
    two = padprint.compare(net, noise(3, 80), padding=["reflect", "own"], **options)
    for name in ("own", "reflect"):
        assert torch.equal(one[name]["output"].pattern, two[name]["output"].pattern)
    assert net.grid is None


def test_a_network_that_writes_to_its_own_weights() -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        net.c.weight.mul_(0.9)
        return net.c(x)

    with pytest.raises(ModelError, match=r"writes to its own parameters.*c\.weight"):
        padprint.measure(make(run, c=conv()), noise(3, 80), crop=CROP)


@pytest.mark.parametrize("way", ["data", "numpy"])
def test_weights_that_are_written_past_torch_s_count_are_put_back(way: str) -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        if way == "data":
            net.c.weight.data = net.c.weight.data * 0.9
        else:
            weight = net.c.weight.detach().numpy()
            weight *= 0.9
        return net.c(x)

    net = make(run, c=conv())
    before = net.c.weight.detach().clone()
    for use in (
        lambda: padprint.trace(net, crop=CROP),
        lambda: padprint.measure(net, noise(3, 80), crop=CROP),
        lambda: padprint.halo(net, noise(3, 80), tile=CROP),
    ):
        with pytest.raises(ModelError, match="writes to its own parameters"):
            use()
        assert torch.equal(net.c.weight, before)


def test_output_is_what_the_model_returns_under_any_name() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.d = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.c(x)
            return self.d(y), y + 1

    for layers in (["output"], [""]):
        assert list(padprint.trace(Both().eval(), layers, CROP)) == ["d", "output[1]"]
    assert list(padprint.trace(sequential(nn.Conv2d(3, 4, 3)).eval(), "output", CROP)) == ["0"]


# -------------------------------------------------------------------------------------------- global ahead of any padding


class Squeeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.f(x.mean((2, 3), keepdim=True)))


AHEAD: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "instance norm": (lambda: nn.Sequential(nn.InstanceNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)), "instance_norm"),
    "softmax over space": (
        lambda: make(lambda net, x: net.c(x.flatten(2).softmax(-1).view_as(x)), c=conv()),
        "softmax",
    ),
    "mean and std first": (
        lambda: make(lambda net, x: net.c((x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True)), c=conv()),
        "",
    ),
    "squeeze between valid convolutions": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), Squeeze(8), nn.Conv2d(8, 4, 3)),
        "mean",
    ),
    "a faint squeeze behind a 1x1 stem": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), Squeeze(8), nn.Conv2d(8, 4, 3, padding=1)),
        "mean",
    ),
}


@pytest.mark.parametrize("name", AHEAD)
def test_a_global_operator_ahead_of_any_padding(name: str) -> None:
    torch.manual_seed(0)
    net = AHEAD[name][0]().eval()
    reason = padprint.trace(net, "output" if isinstance(net, Net) else list(dict(net.named_children()))[-1], CROP)
    (found,) = reason.values()
    assert AHEAD[name][1] in " ".join(found.sees_all_through)
    assert found.sees_all_through
    (one,) = padprint.measure(net, noise(3, 80), layers=list(reason), crop=CROP, crops_per_image=2).values()
    assert one.sees_all_through == found.sees_all_through
    assert one.parts["context"].size.value > 1e-4
    halo = padprint.halo(net, noise(3, 80), tile=CROP)
    assert all(floor.value > 1e-4 for floor in halo.first.floors.values())


# ------------------------------------------------------------------------------------------------------- where NaN dies

CODE = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


def nearest_code(y: Tensor) -> Tensor:
    code = CODE.to(y)
    found = code[torch.cdist(y.permute(0, 2, 3, 1).flatten(0, 2), code).argmin(1)]
    return found.view(y.shape[0], *y.shape[2:], 4).permute(0, 3, 1, 2)


DEATHS: dict[str, Callable[[Tensor], Tensor]] = {
    "labels": lambda y: y.argmax(1, keepdim=True),
    "labels by topk": lambda y: y.topk(1, 1).indices,
    "mask": lambda y: (y > 0).float(),
    "where": lambda y: torch.where(y > 0, y, 0.0),
    "gate": lambda y: y * (y > 0),
    "masked_fill": lambda y: y.masked_fill(y < 0, 0.0),
    "nan_to_num": torch.nan_to_num,
    "sign": torch.sign,
    "bytes": lambda y: (y * 20 + 99).clamp(0, 255).byte(),
    "fmax": lambda y: torch.fmax(y, torch.zeros_like(y)),
    "both": lambda y: ((y > 0) & (y < 1)).to(y.dtype),
    "one hot": lambda y: F.one_hot(y.argmax(1), 4).permute(0, 3, 1, 2).to(y.dtype),
    "embedding": lambda y: F.embedding(y.argmax(1), CODE.to(y)).permute(0, 3, 1, 2),
    "nearest code": nearest_code,
    "buckets": lambda y: torch.bucketize(y, torch.linspace(-1, 1, 9, dtype=y.dtype)),
}


@pytest.mark.parametrize("name", DEATHS)
def test_the_rim_is_followed_through_what_loses_nan(name: str) -> None:
    # two padded 3x3 convolutions: 2 cells, whatever single cells are turned into
    net = make(lambda net, x: DEATHS[name](net.b(torch.tanh(net.a(x)))), a=conv(), b=conv(3, (4, 4)))
    found = padprint.trace(net, "output", CROP)["output"]
    assert found.rim == (2, 2, 2, 2)
    assert found.receptive_field == (5, 5)


def test_and_on_through_a_convolution_behind_it() -> None:
    net = make(lambda net, x: net.b((net.a(x) > 0).float().to(x.dtype)), a=conv(5), b=conv(3, (4, 4)))
    assert rim(net) == (3, 3, 3, 3)


def test_a_halo_of_labels() -> None:
    net = make(lambda net, x: net.b(torch.tanh(net.a(x))).argmax(1, keepdim=True), a=conv(), b=conv(3, (4, 4)))
    found = padprint.halo(net, noise(6, 96), tile=CROP, error="labels", tolerance=0.001)
    assert found.first.outputs["output"].structural == (2, 2, 2, 2)
    assert found.first.effective.value in (1, 2)
    whole = net(noise(1, 96)[0][None])
    assert padprint.measure(net, noise(2, 96), crop=CROP, layers="output")["output"].response.value > 0
    assert whole.dtype == torch.int64


def test_max_unpooling_touches_all_of_a_window() -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        y, where = F.max_pool2d(torch.tanh(net.a(x)), 2, return_indices=True)
        return F.max_unpool2d(y, where, 2)

    found = padprint.trace(make(run, a=conv()), "output", CROP)["output"]
    assert (found.rim, found.receptive_field) == ((2, 2, 2, 2), (4, 4))


# ------------------------------------------------------------------------------------------- padding that no reader knows


def ring(x: Tensor) -> Tensor:
    x = torch.cat([x[..., -1:], x, x[..., :1]], -1).mT
    return torch.cat([x[..., -1:], x, x[..., :1]], -1).mT


def edge(x: Tensor, n: int = 4) -> Tensor:
    for d in (2, 3):
        x = x.index_select(d, torch.arange(-n, x.shape[d] + n).clamp(0, x.shape[d] - 1))
    return x


def written(x: Tensor) -> Tensor:
    y = x.new_zeros(*x.shape[:2], x.shape[2] + 2, x.shape[3] + 2)
    y[:, :, 1:-1, 1:-1] = x
    return y


KERNEL = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))


def by_spectrum(x: Tensor) -> Tensor:
    n = (x.shape[2] + 4, x.shape[3] + 4)
    product = torch.fft.rfft2(x, s=n) * torch.fft.rfft2(KERNEL.to(x), s=n)
    return torch.fft.irfft2(product, s=n)[:, :, 2:-2, 2:-2]


def box(x: Tensor) -> Tensor:
    for d in (2, 3):
        s, n = x.cumsum(d), x.shape[d]
        far = s.narrow(d, n - 1, 1) - s.narrow(d, n - 7, 3)
        x = torch.cat([s.narrow(d, 3, 4), s.narrow(d, 7, n - 7) - s.narrow(d, 0, n - 7), far], d)
    return x


def centred(net: nn.Module, x: Tensor) -> Tensor:
    h, w = x.shape[2:]
    t, s = (-h % 32) // 2, (-w % 32) // 2
    y = net.b(torch.tanh(net.a(F.pad(x, (s, -w % 32 - s, t, -h % 32 - t), mode="replicate"))))
    return y[:, :, t : t + h, s : s + w]


def complex_numbers(net: nn.Module, x: Tensor) -> Tensor:
    return net.b(net.a(x).to(torch.complex64)).abs()


UNREAD: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int, int]]] = {
    "cat of slices": (lambda: make(lambda net, x: net.c(ring(x)), c=conv(padding=0)), (1, 1, 1, 1)),
    "clamped look-up": (lambda: make(lambda net, x: net.c(edge(x)), c=conv(9, padding=0)), (4, 4, 4, 4)),
    "slice assignment": (lambda: make(lambda net, x: net.c(written(x)), c=conv(padding=0)), (1, 1, 1, 1)),
    "spectrum": (lambda: make(lambda net, x: by_spectrum(x)), (2, 2, 2, 2)),
    "fold of unfold": (lambda: make(lambda net, x: F.fold(F.unfold(x, 5), x.shape[2:], 5)), (4, 4, 4, 4)),
    "cumulative sums": (lambda: make(lambda net, x: box(x)), (3, 3, 3, 3)),
    "padded to a multiple and cut": (lambda: make(centred, a=conv(), b=conv(3, (4, 3))), (2, 2, 2, 2)),
    "complex": (
        lambda: make(complex_numbers, a=conv(1), b=lambda: nn.Conv2d(4, 4, 5, padding=2, dtype=torch.complex64)),
        (2, 2, 2, 2),
    ),
}


@pytest.mark.parametrize("name", UNREAD)
def test_padding_that_no_reader_knows(name: str) -> None:
    net, expected = UNREAD[name][0](), UNREAD[name][1]
    crop = 64 if name.startswith("padded to") else CROP
    geometry = padprint.trace(net, "output", crop)
    found = geometry["output"]
    assert found.reason is None, found.reason
    assert found.rim == expected
    # by running it: on each side the outermost cells that ever change
    moved = torch.zeros(crop, dtype=torch.bool)
    for seed in range(4):
        x = torch.randn(1, 3, crop + 64, crop, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            apart = (net(x)[:, :, 32 : 32 + crop] - net(x[:, :, 32 : 32 + crop].contiguous())).abs()
        moved |= apart.amax((0, 1, 3)) > 1e-4 * apart.max()
    rows = moved.nonzero().flatten().tolist()
    assert rows == [*range(expected[0]), *range(crop - expected[1], crop)]
    measured = padprint.measure(net, noise(3, crop + 64), layers="output", crop=crop, crops_per_image=2)
    assert measured["output"].rim == expected
    assert not bool(measured["output"].pattern[:, 8:-8, 8:-8].abs().max() > 1e-4)


def test_what_only_images_tell_is_refused_while_they_are_measured() -> None:
    # bright pixels are replaced by those 10 px to the left, which are made up at the edge: 10 cells and the convolution's one.
    # Random content is never that bright, so that the trace cannot see it.
    def run(net: nn.Module, x: Tensor) -> Tensor:
        left = x.index_select(3, (torch.arange(x.shape[3]) - 10).clamp(min=0))
        return net.c(torch.where(x > 1000, left, x))

    net = make(run, c=conv())
    dark = noise(6, 80)
    bright = [torch.where(image > 1, image + 2000, image) if i >= 3 else image for i, image in enumerate(dark)]
    assert "output" in padprint.measure(net, dark, layers="output", crop=CROP, crops_per_image=2)
    said = r"contradicted: padding changes cells as far as 1[01] cells \(1[01] px\).*trace says that it reaches \(1, 1, 1, 1\)"
    with pytest.raises(ModelError, match=said):
        padprint.measure(net, bright, layers="output", crop=CROP, crops_per_image=4)
    with pytest.raises(HaloError, match=said):
        padprint.halo(net, bright, tile=CROP)
    with pytest.raises(LayerError, match=said):
        list(iterate(net, bright, layers="output", crop=CROP, crops_per_image=4))

    def with_another(net: nn.Module, x: Tensor) -> Tensor:
        return net.other(x) + run(net, x)

    both = padprint.measure(
        make(with_another, c=conv(), other=conv()), bright, layers=["other", "output"], crop=CROP, crops_per_image=4
    )
    assert list(both) == ["other"]
    assert "contradicted" in both.unmeasured["output"]
    assert "index_select in the model itself looks cells up" in both.unmeasured["output"]


# ------------------------------------------------------------------------------------------------------ period and axes


def windows(net: nn.Module, x: Tensor) -> Tensor:
    """Each cell gets its 7x7 window's mean."""
    b, c, h, w = x.shape
    parts = x.view(b, c, h // 7, 7, w // 7, 7)
    return (parts - parts.mean((3, 5), keepdim=True)).reshape(b, c, h, w)


def rolled(net: nn.Module, x: Tensor) -> Tensor:
    """Channels last, a cyclic shift by 2, windows of 4, and back: what shifted-window attention does."""
    x = net.c(x).permute(0, 2, 3, 1)
    b, h, w, c = x.shape
    t = torch.roll(F.pad(x, (0, 0, 0, -w % 4, 0, -h % 4)), (-2, -2), (1, 2))
    n, m = t.shape[1] // 4, t.shape[2] // 4
    t = t.view(b, n, 4, m, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(b, n, m, 16 * c)
    t = net.l(t).view(b, n, m, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(b, 4 * n, 4 * m, c)
    return torch.roll(t, (2, 2), (1, 2))[:, :h, :w].permute(0, 3, 1, 2)


def test_windows_repeat_after_their_side() -> None:
    net = make(windows)
    geometry = padprint.trace(net, "output", 35)
    assert (geometry.period, geometry["output"].rim) == ((7, 7), (0, 0, 0, 0))


def test_shifted_windows_lose_no_axis() -> None:
    net = make(rolled, c=conv(1, (3, 8)), l=lambda: nn.Linear(128, 128))
    assert rim(net) == (2, 2, 2, 2)


def test_a_network_that_makes_more_calls_at_other_sizes() -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        y = net.a(x)
        if x.shape[-1] != 64 or x.shape[-2] != 64:
            y.new_zeros(22).view(22, 1)
        return net.b(y.view(y.shape[0], 60, *y.shape[2:]))

    net = make(run, a=conv(3, (3, 60)), b=conv(3, (60, 3)))
    for crop in (64, 72):
        found = padprint.trace(net, "b", crop)
        assert (found.period, found["b"].rim, found["b"].margin) == ((1, 1), (2,) * 4, (2,) * 4)


def test_multiples_of_a_size_alone_and_squares_alone() -> None:
    def only(fits: Callable[[Tensor], bool]) -> nn.Module:
        def run(net: nn.Module, x: Tensor) -> Tensor:
            if not fits(x):
                raise ValueError("no such size")
            return net.c(x)

        return make(run, c=conv(5))

    multiples = padprint.trace(only(lambda x: x.shape[-1] % 16 == 0 and x.shape[-2] % 16 == 0), "c", 32)
    assert (multiples["c"].rim, multiples.period) == ((2,) * 4, (16, 16))
    assert rim(only(lambda x: x.shape[-1] == x.shape[-2]), "c") == (2, 2, 2, 2)


def test_nearest_resizing_by_one_cell_is_a_shift() -> None:
    # 2n - 1 cells to 2n: cell i takes i - 1, and the first itself
    def run(net: nn.Module, x: Tensor) -> Tensor:
        return F.interpolate(net.up(net.down(x)), size=x.shape[2:])

    net = make(
        run,
        down=lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
        up=lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1),
    )
    found = padprint.trace(net, "output", CROP)["output"]
    assert found.reason is None
    x = torch.randn(1, 3, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        apart = (net.double()(x)[..., 32:64, 32:64] - net(x[..., 32:64, 32:64])).abs().amax((0, 1))
    rows = (apart[:, 10:-10] > 1e-12).any(1).nonzero().flatten().tolist()
    top, bottom = found.rim[:2]
    assert rows == [*range(top), *range(CROP - bottom, CROP)]


def test_what_resizes_inside_has_a_reason() -> None:
    net = make(lambda net, x: net.c(F.interpolate(x, size=(64, 64), mode="bilinear")), c=conv())
    found = padprint.trace(net, "auto", 64)
    assert list(found.unmeasured)
    with pytest.raises(LayerError, match="does not grow with the input"):
        padprint.measure(net, noise(3, 128), crop=64)


# ------------------------------------------------------------------------------------------------ copies and precision


class Copied(nn.Module):
    """Copies itself as something else."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(x)

    def __deepcopy__(self, memo: dict[int, Any]) -> Copied:
        return Copied()


@pytest.mark.parametrize("crop", [CROP, 200])  # large crops are looked at on small inputs first
def test_a_copy_that_computes_something_else_is_refused(crop: int) -> None:
    with pytest.raises(ModelError, match="deep copy of the model computes something else"):
        padprint.trace(Copied(), crop=crop)


def test_a_graph_module_is_measured_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    plain = sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)).eval()
    graph = torch.fx.symbolic_trace(plain).eval()
    assert padprint.trace(graph, "2", CROP)["2"].rim == (2, 2, 2, 2)
    same = padprint.padding.convert(graph, "zeros")
    assert not any(module.training for module in same.modules())
    x = torch.randn(1, 3, CROP, CROP)
    assert torch.equal(same(x), plain(x))


@pytest.mark.parametrize("crop", [CROP, 200])
def test_a_network_that_insists_on_single_precision(crop: int) -> None:
    class Single(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float()).type(x.dtype)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Single(4), nn.Conv2d(4, 4, 3, padding=1)).eval()
    assert padprint.trace(net, "2", crop)["2"].rim == (2, 2, 2, 2)


@pytest.mark.filterwarnings("ignore")
def test_a_network_in_quantisation_aware_training() -> None:
    from torch.ao import quantization

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)).train()
    net.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    quantization.prepare_qat(net, inplace=True)
    net(torch.randn(2, 3, 32, 32))
    net.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert rim(net, "2") == (2, 2, 2, 2)
    assert padprint.measure(net, noise(3, 80), layers="2", crop=CROP, crops_per_image=2)["2"].rim == (2, 2, 2, 2)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


# -------------------------------------------------------------------------------------------- what is not for one number


def test_lazy_modules_and_networks_for_other_images() -> None:
    with pytest.raises(ModelError, match="lazy parameters"):
        padprint.trace(nn.Sequential(nn.LazyConv2d(4, 3, padding=1)), crop=CROP)
    with pytest.raises(ModelError, match="lazy parameters"):
        padprint.inspect(nn.Sequential(nn.LazyConv2d(4, 3, padding=1)), CROP)
    volumes = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 1, 3, padding=1)).eval()
    for run in (
        lambda: padprint.trace(volumes, crop=(CROP, CROP), channels=1),
        lambda: padprint.measure(volumes, noise(3, 64, channels=1), crop=CROP),
        lambda: padprint.halo(volumes, noise(3, 64, channels=1), tile=CROP),
    ):
        with pytest.raises(ModelError, match="images have 2 space axes, the network takes 3"):
            run()
    with pytest.raises(ModelError, match="images have 2 space axes, the network takes 1"):
        padprint.measure(nn.Sequential(nn.Conv1d(1, 4, 3, padding=1)), noise(3, 64, channels=1), crop=CROP)


def test_a_list_of_maps_is_no_batch() -> None:
    net = make(lambda net, images: [net.a(one[None])[0] for one in images], a=conv())
    for run in (
        lambda: padprint.measure(net, noise(3, 80), crop=CROP, layers="output"),
        lambda: padprint.halo(net, noise(3, 80), tile=CROP),
    ):
        with pytest.raises(PadprintError, match="one map for each image of a batch"):
            run()


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor, *, gain: float) -> Tensor:
        return self.c(torch.cat([x, mask], 1)) * gain


def test_several_inputs_are_made_of_a_batch() -> None:
    net = Two().eval()
    with pytest.raises(ModelError, match="inputs="):
        padprint.measure(net, noise(3, 80), crop=CROP)

    def inputs(x: Tensor) -> dict[str, Any]:
        return {"x": x, "mask": x[:, :1] * 0, "gain": 2.0}

    plain = nn.Conv2d(3, 4, 3, padding=1).eval()
    with torch.no_grad():
        plain.weight.copy_(2 * net.c.weight[:, :3])
        plain.bias.copy_(2 * net.c.bias)
    options: dict[str, Any] = {"crop": CROP, "layers": "output", "crops_per_image": 2}
    one = padprint.measure(net, noise(3, 80), inputs=inputs, **options)["output"]
    two = padprint.measure(plain, noise(3, 80), **options)["output"]
    torch.testing.assert_close(one.pattern, two.pattern, atol=1e-6, rtol=1e-4)
    assert padprint.trace(net, "output", CROP, inputs=inputs)["output"].rim == (1, 1, 1, 1)
    assert padprint.halo(net, noise(3, 80), tile=CROP, inputs=inputs).first.structural == 1
    with pytest.raises(TypeError):
        net(torch.zeros(1, 3, 8, 8))  # left as found


# ----------------------------------------------------------------------------------------- chance, and change meanwhile


def test_chance_is_told_from_everything_else() -> None:
    net = make(lambda net, x: F.dropout(net.c(x), 0.5, training=True), c=conv())
    with pytest.raises(ModelError, match="random: the features differ from pass to pass"):
        padprint.measure(net, noise(3, 80), crop=CROP, layers="output")


@pytest.mark.parametrize("change", ["weights", "hook", "dropout"])
def test_a_network_that_changes_while_it_is_measured(change: str) -> None:
    net = make(lambda net, x: F.dropout(net.c(x), 0.5 * state["on"]), c=conv())
    state = {"on": 0.0}
    handles = []

    def images() -> Any:
        for i, image in enumerate(noise(6, 80)):
            if i == 2 and change == "weights":
                with torch.no_grad():
                    net.c.weight.mul_(1.5)
            if i == 2 and change == "hook":
                handles.append(net.c.register_forward_hook(lambda *args: args[-1] * 1.5))
            if i == 2 and change == "dropout":
                state["on"] = 1.0
            yield image

    layer = "c" if change == "weights" else "output"
    with pytest.raises(PadprintError, match=r"has changed|contradicted|global"):
        padprint.measure(net, images(), crop=CROP, layers=layer, crops_per_image=2)


# ----------------------------------------------------------------------------------------------- large, small, constant


@pytest.mark.parametrize(("scale", "offset"), [(1e25, 0.0), (1e-25, 0.0), (1.0, 1e4)])
def test_the_unit_of_features_changes_no_ratio(scale: float, offset: float) -> None:
    options: dict[str, Any] = {"crop": 16, "layers": "output", "crops_per_image": 4}
    images = [image + 1 for image in noise(8, 64)]
    one = padprint.measure(make(lambda net, x: net.c(x), c=conv()), images, **options)["output"]
    two = padprint.measure(make(lambda net, x: net.c(x) * scale + offset, c=conv()), images, **options)["output"]
    for name in ("snr", "positional"):
        assert getattr(two, name).value == pytest.approx(getattr(one, name).value, rel=2e-2)
    assert two.mae.value == pytest.approx(scale * one.mae.value, rel=1e-3)
    assert two.notes == one.notes == ()


def test_a_batchnorm_that_never_saw_data_is_told() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)).eval()
    said = "1 BatchNorm layers (1) have never seen data"
    assert any(said in one for one in padprint.measure(net, noise(3, 80), crop=CROP, crops_per_image=2).warnings)
    assert any(said in one for one in padprint.halo(net, noise(3, 80), tile=CROP).warnings)
    padprint.calibrate_batchnorm(net, noise(4, 32))
    assert not any(said in one for one in padprint.measure(net, noise(3, 80), crop=CROP, crops_per_image=2).warnings)


def test_auto_takes_no_module_that_only_pads_and_one_for_each_stride() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ZeroPad2d(2),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.ReflectionPad2d(1),
        nn.Conv2d(4, 4, 3),
        nn.Identity(),
        nn.ConstantPad2d(1, 0.5),
    ).eval()
    assert list(padprint.trace(net, "auto", CROP)) == ["0", "4"]


def test_trace_says_which_witness_it_has() -> None:
    seen = padprint.trace(make(lambda net, x: net.c(x), c=conv()), "c", CROP)["c"]
    assert (seen.witness, seen.exact) == ("both", True)
    unread = padprint.trace(UNREAD["clamped look-up"][0](), "output", CROP)["output"]
    assert (unread.witness, unread.exact) == ("change", False)


@pytest.mark.filterwarnings("ignore")
def test_scripted_functions_pad_unseen() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(_scripted)
    assert rim(make(lambda net, x: scripted(x))) == (2, 2, 2, 2)


def _scripted(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(F.pad(x, [2, 2, 2, 2], mode="reflect"), 5, 1)


# ------------------------------------------------------------------------------------------------ what decides by values


def settles(net: nn.Module, x: Tensor) -> Tensor:
    y = net.c(x)
    while True:
        z = 0.5 * y
        if bool((z - y).abs().max() < 1e-4):
            return z
        y = z


@pytest.mark.parametrize("calls", [5000, pytest.param(strip._MOST_CALLS, marks=pytest.mark.slow)])
def test_a_loop_that_waits_for_numbers_ends(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strip, "_MOST_CALLS", calls)
    with pytest.raises(PadprintError, match="a loop waits for numbers"):
        padprint.measure(make(settles, c=conv()), noise(3, 80), crop=CROP, layers="output")


@pytest.mark.parametrize("way", ["mean", "any", "any of tensors"])
def test_a_way_that_the_whole_map_decides(way: str) -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        y = net.c(x)
        if way == "any of tensors":
            return y + (y > 2.5).any().to(y.dtype)
        decided = bool(y.mean() > 0) if way == "mean" else bool((y > 2.5).any())
        return 2 * y if decided else y

    with pytest.raises(PadprintError, match=r"global|contradicted|absolute|random"):
        padprint.measure(make(run, c=conv()), noise(8, 96), crop=CROP, layers="output", crops_per_image=4)


def test_a_count_over_the_map_is_a_statistic() -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        y = net.c(x)
        return y + (y > 1.5).count_nonzero((2, 3))[..., None, None].to(y.dtype) / 100

    found = padprint.measure(make(run, c=conv()), noise(8, 96), crop=CROP, layers="output", crops_per_image=4)
    assert found["output"].sees_all_through == ("count_nonzero in the model itself",)
    assert found["output"].parts["through"].size.value > 0.001


@pytest.mark.parametrize("way", ["mean", "first", "number"])
def test_images_of_a_batch_that_change_each_other(way: str) -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        y = net.c(x)
        if way == "mean":
            return y - y.mean(0, keepdim=True)
        return y - 0.1 * y[:1] if way == "first" else y * len(x)

    with pytest.raises(LayerError, match="batch: its features depend on the other images"):
        padprint.measure(make(run, c=conv()), noise(3, 80), crop=CROP, layers="output")
    found = padprint.trace(make(run, c=conv()), "output", 200)
    assert "batch: its features depend on the other images" in (found["output"].reason or "")


class Switched(nn.Module):
    """Seven convolutions whose rims meet, so that no cell of a crop tells whether what is beyond its rim stays; and a switch."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.down = nn.Sequential(*(nn.Sequential(nn.Conv2d(n, 4, 3, 2, 1), nn.Tanh()) for n in (3, 4, 4)))
        self.deep = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        if self.kind == "global":
            y = y + y.mean((2, 3), keepdim=True)
        elif self.kind == "far":
            y = y + F.avg_pool2d(y, (1, 9), 1, (0, 4))
        elif self.kind == "place":
            y = y + torch.arange(y.shape[-1]).to(y.dtype) / 50
        elif self.kind == "chance":
            y = F.dropout(y, 0.1, training=True)
        result: Tensor = self.deep(y)
        return result


@pytest.mark.parametrize("crops", [1, 4])
@pytest.mark.parametrize("crop", [32, 100])  # as large as the piece of it that is looked at, and larger
@pytest.mark.parametrize(
    ("kind", "cause"),
    [("plain", None), ("global", "global: "), ("far", "global: "), ("place", "absolute: "), ("chance", "random: ")],
)
def test_what_the_self_check_tells_without_a_trace(kind: str, cause: str | None, crop: int, crops: int) -> None:
    geometry = padprint.trace(Switched("plain"), "deep", crop)
    assert geometry["deep"].rim == ((4, 4, 4, 4) if crop == 32 else (5, 5, 5, 5))

    def measured() -> padprint.Measurement:
        images = noise(2, 300)
        return padprint.measure(Switched(kind), images, layers=geometry, crop=crop, crops_per_image=crops)

    if cause is None:
        assert measured().numeric_floor < 1e-5
    else:
        with pytest.raises(ModelError, match=cause):
            measured()


def test_the_canvas_of_the_self_check_is_run_once() -> None:
    sizes: list[int] = []

    def run(net: nn.Module, x: Tensor) -> Tensor:
        sizes.append(min(x.shape[-2:]))
        return net.c(x)

    result = padprint.measure(make(run, c=conv()), noise(1, 120), crop=64, layers="output", crops_per_image=4)
    largest = max(n for n in sizes if n <= 120)
    assert largest > 66 and sizes.count(largest) == 1
    assert result.n_crops == 4


def test_a_branch_that_is_not_chosen_counts() -> None:
    # where() chooses the narrow branch on constant content: 1 cell; the wide one reaches 4
    net = make(lambda net, x: torch.where(x[:, :1] > 1e3, net.wide(x), net.narrow(x)), narrow=conv(), wide=conv(9))
    assert rim(net) == (4, 4, 4, 4)
