"""Every way to call an operator: `inspect`, `use` and `convert` agree on it, and give what padding by hand gives."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
import padprint
from helpers import singles
from padprint.errors import PaddingError
from padprint.padding import convert, revert, use

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")

Net = Callable[[Tensor], Tensor]
SIZES = (9, 8, 7)
aten = torch.ops.aten


def around(x: Tensor, before: int, after: int, n: int) -> Tensor:
    """Replicate padding by hand, cell by cell."""
    for dim in range(-n, 0):
        size = x.shape[dim]
        x = x.index_select(dim, torch.arange(-before, size + after).clamp(0, size - 1))
    return x


def named(kind: str, n: int) -> type[nn.Module]:
    return getattr(nn, kind.format(n=n))


def convolutions(n: int) -> dict[str, tuple[nn.Module | Net, Net]]:
    """By name: a way to call a 3-cell convolution with one cell of padding, and the same by hand."""
    w, b = singles(4, 3, *[3] * n, seed=1), singles(4, seed=2)
    even = singles(4, 3, *[2] * n, seed=3)
    plain, function = getattr(torch, f"conv{n}d"), getattr(F, f"conv{n}d")

    def module(weight: Tensor, **options: object) -> nn.Module:
        made = named("Conv{n}d", n)(3, 4, weight.shape[-1], **options)
        made.load_state_dict({"weight": weight, "bias": b})
        return made

    def hand(x: Tensor) -> Tensor:
        return plain(around(x, 1, 1, n), w, b)

    def hand_even(x: Tensor) -> Tensor:
        return plain(around(x, 0, 1, n), even, b)

    ones, zeros, none = [1] * n, [0] * n, [False] * 3
    ways: dict[str, tuple[nn.Module | Net, Net]] = {
        "module": (module(w, padding=1), hand),
        "module same": (module(w, padding="same"), hand),
        "module same, even": (module(even, padding="same"), hand_even),
        **{
            f"module {mode}": (module(w, padding=1, padding_mode=mode), hand)
            for mode in ("reflect", "replicate", "circular")
        },
        "module same circular": (module(w, padding="same", padding_mode="circular"), hand),
        "function": (lambda x: function(x, w, b, padding=1), hand),
        "function, positions": (lambda x: function(x, w, b, 1, 1), hand),
        "function same": (lambda x: function(x, even, b, padding="same"), hand_even),
        "torch": (lambda x: plain(x, w, b, padding=(1,) * n), hand),
        "aten": (lambda x: getattr(aten, f"conv{n}d")(x, w, b, ones, ones), hand),
        "aten overload": (lambda x: getattr(aten, f"conv{n}d").default(x, w, b, ones, ones, ones), hand),
        "aten same": (lambda x: getattr(aten, f"conv{n}d").padding(x, even, b, ones, "same"), hand_even),
    }
    ways |= {
        "torch.convolution, batched": (lambda x: torch.convolution(x, w, b, ones, ones, ones, False, zeros, 1), hand),
        "aten.convolution, batched": (
            lambda x: aten.convolution.default(x, w, b, ones, ones, ones, False, zeros, 1),
            hand,
        ),
        "aten._convolution, batched": (
            lambda x: aten._convolution(x, w, b, ones, ones, ones, False, zeros, 1, *none, False),
            hand,
        ),
    }
    return ways


def transposed(n: int) -> dict[str, tuple[nn.Module | Net, Net]]:
    """Transposed convolutions, 4 cells wide with stride 2: one cell beyond each edge reaches the output."""
    w, b = singles(3, 4, *[4] * n, seed=1), singles(4, seed=2)
    plain = getattr(torch, f"conv_transpose{n}d")
    module = named("ConvTranspose{n}d", n)(3, 4, 4, 2, 1)
    narrow = named("ConvTranspose{n}d", n)(3, 4, 2, 2)
    for made, weight in ((module, w), (narrow, w[(...,) + (slice(2),) * n])):
        made.load_state_dict({"weight": weight, "bias": b})

    def hand(x: Tensor) -> Tensor:
        out = plain(around(x, 1, 1, n), w, b, 2, 1)
        return out[(...,) + (slice(2, -2),) * n]

    def hand_sized(x: Tensor) -> Tensor:
        return plain(around(x, 0, 1, n), narrow.weight, b, 2)[(...,) + (slice(-1),) * n]

    twos, ones, zeros = [2] * n, [1] * n, [0] * n
    return {
        "module": (module, hand),
        "module with output_size": (Sized(narrow), hand_sized),
        "function": (lambda x: getattr(F, f"conv_transpose{n}d")(x, w, b, stride=2, padding=1), hand),
        "torch": (lambda x: plain(x, w, b, 2, 1), hand),
        "aten": (lambda x: getattr(aten, f"conv_transpose{n}d")(x, w, b, twos, ones), hand),
        "aten.convolution, batched": (
            lambda x: aten.convolution.default(x, w, b, twos, ones, ones, True, zeros, 1),
            hand,
        ),
    }


class Sized(nn.Module):
    """A transposed convolution that is asked for one row and column more."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        inner = self.inner
        return inner(x, output_size=[2 * k + 1 for k in x.shape[-len(inner.kernel_size) :]])


def pools(n: int) -> dict[str, tuple[nn.Module | Net, Net]]:
    top, mean = getattr(F, f"max_pool{n}d"), getattr(F, f"avg_pool{n}d")

    def hand_max(x: Tensor) -> Tensor:
        return top(around(x, 1, 1, n), 3, 1)

    def hand_mean(x: Tensor) -> Tensor:
        return mean(around(x, 1, 1, n), 3, 1)

    def overhang(pool: Net) -> Net:
        def hand(x: Tensor) -> Tensor:
            for dim in range(-n, 0):  # windows of 2 with stride 2 hang over where the size is odd
                x = around(x.movedim(dim, -1), 0, x.shape[dim] % 2, 1).movedim(-1, dim)
            return pool(x, 2)

        return hand

    threes, ones = [3] * n, [1] * n
    ways: dict[str, tuple[nn.Module | Net, Net]] = {
        "max module": (named("MaxPool{n}d", n)(3, 1, 1), hand_max),
        "max module, ceil_mode": (named("MaxPool{n}d", n)(2, ceil_mode=True), overhang(top)),
        "max function": (lambda x: top(x, 3, 1, 1), hand_max),
        "max function with indices": (lambda x: top(x, 3, 1, 1, return_indices=True)[0], hand_max),
        "max torch": (lambda x: getattr(torch, f"max_pool{n}d")(x, 3, 1, 1), hand_max),
        "max aten": (lambda x: getattr(aten, f"max_pool{n}d")(x, threes, ones, ones), hand_max),
        "max aten with indices": (
            lambda x: getattr(aten, f"max_pool{n}d_with_indices")(x, threes, ones, ones)[0],
            hand_max,
        ),
        "mean module": (named("AvgPool{n}d", n)(3, 1, 1), hand_mean),
        "mean module, left out": (named("AvgPool{n}d", n)(3, 1, 1, count_include_pad=False), hand_mean),
        "mean module, ceil_mode": (named("AvgPool{n}d", n)(2, ceil_mode=True), overhang(mean)),
        "mean function": (lambda x: mean(x, 3, stride=1, padding=1), hand_mean),
        "mean aten": (lambda x: getattr(aten, f"avg_pool{n}d")(x, threes, ones, ones), hand_mean),
    }
    if n == 1:
        del ways["max aten with indices"]  # torch has none
    if n == 2:
        ways["unfold module"] = (nn.Unfold(3, padding=1), lambda x: F.unfold(around(x, 1, 1, 2), 3))
        ways["unfold function"] = (lambda x: F.unfold(x, 3, padding=1), lambda x: F.unfold(around(x, 1, 1, 2), 3))
        ways["unfold aten"] = (
            lambda x: aten.im2col(x, [3, 3], [1, 1], [1, 1], [1, 1]),
            lambda x: F.unfold(around(x, 1, 1, 2), 3),
        )
    return ways


def pads(n: int) -> dict[str, tuple[nn.Module | Net, Net]]:
    def hand(x: Tensor) -> Tensor:
        return around(x, 1, 2, n)

    spec = (1, 2) * n
    kinds = ("Zero", "Constant", "Reflection", "Replication", "Circular")
    modules = {kind: named(f"{kind}Pad{{n}}d", n)(spec, *([0.5] if kind == "Constant" else [])) for kind in kinds}
    modes = ("constant", "reflect", "replicate", "circular")
    return {
        **{f"module {kind}": (made, hand) for kind, made in modules.items()},
        **{f"function {mode}": (lambda x, mode=mode: F.pad(x, spec, mode=mode), hand) for mode in modes},
        "function with a value": (lambda x: F.pad(x, spec, value=2.0), hand),
        **{f"aten.pad {mode}": (lambda x, mode=mode: aten.pad(x, list(spec), mode), hand) for mode in modes},
        "aten.constant_pad_nd": (lambda x: aten.constant_pad_nd.default(x, list(spec), 0.5), hand),
        "torch.constant_pad_nd": (lambda x: torch.constant_pad_nd(x, list(spec)), hand),
        "aten reflection": (lambda x: getattr(aten, f"reflection_pad{n}d")(x, list(spec)), hand),
        "aten replication": (lambda x: getattr(aten, f"replication_pad{n}d")(x, list(spec)), hand),
    }


TABLES = {"conv": convolutions, "transposed": transposed, "pool": pools, "pad": pads}
ROWS = [(kind, n, way) for kind, table in TABLES.items() for n in (1, 2, 3) for way in table(n)]
CASES = [(*row, batched) for row in ROWS for batched in (True, False) if batched or "batched" not in row[2]]


@pytest.mark.parametrize(("kind", "n", "way", "batched"), CASES)
def test_all_agree(kind: str, n: int, way: str, batched: bool) -> None:
    torch.manual_seed(0)
    call, hand = TABLES[kind](n)[way]
    own = call if isinstance(call, nn.Module) else nets.Lambda(call)
    net = nn.Sequential(nn.Identity(), own).eval()
    x = singles(*([2] if batched else []), 3, *SIZES[:n])
    expected = hand(x).detach()

    (found,) = padprint.inspect(net, x)
    assert found.swappable, found.reason

    with torch.no_grad(), use("replicate") as replaced:
        out = net(x)
    assert replaced.count == 1
    torch.testing.assert_close(out, expected)

    made = convert(net, "replicate", example=x)
    torch.testing.assert_close(made(x).detach(), expected)
    (shown,) = padprint.inspect(made, x)
    assert shown.mode == "replicate"
    assert shown.amounts == found.amounts
    assert all(type(one) is type(other) for one, other in zip(net.modules(), revert(made).modules(), strict=True))

    if isinstance(call, nn.Module):
        torch.testing.assert_close(convert(net, "replicate")(x).detach(), expected)
    else:
        with pytest.raises(PaddingError, match="nothing to convert"):
            convert(net, "replicate")


@pytest.mark.parametrize(
    "scheme", ["reflect", "zeros", "partial", "constant:value=2", "polynomial", "symmetric", "circular"]
)
def test_complex_maps(scheme: str) -> None:
    """Two real ones: the real and the imaginary part padded each for itself (a constant has no imaginary part)."""
    w = torch.complex(singles(4, 3, 3, 3), singles(4, 3, 3, 3, seed=1))
    net, x = (
        nets.Lambda(lambda x: F.conv2d(x, w, padding=1)),
        torch.complex(singles(1, 3, 8, 8), singles(1, 3, 8, 8, seed=3)),
    )
    (found,) = padprint.inspect(net, x)
    assert found.swappable
    with use(scheme) as replaced:
        out = net(x)
    assert replaced.count == 1
    torch.testing.assert_close(convert(net, scheme, example=x)(x), out)
    if scheme == "constant:value=2":
        torch.testing.assert_close(out, F.conv2d(F.pad(x, (1, 1, 1, 1), value=2.0), w))
        return

    def real(x: Tensor, w: Tensor) -> Tensor:
        with use(scheme):
            return F.conv2d(x, w, padding=1)

    first, second = real(x.real, w.real) - real(x.imag, w.imag), real(x.real, w.imag) + real(x.imag, w.real)
    torch.testing.assert_close(out, torch.complex(first, second))


@pytest.mark.parametrize(
    "scheme", ["randn", "distribution", "linear-prediction", "pp-pad", "padding-module:channels=3"]
)
def test_schemes_that_take_no_complex_maps_say_so(scheme: str) -> None:
    x, w = torch.randn(1, 3, 8, 8, dtype=torch.complex64), torch.randn(4, 3, 3, 3, dtype=torch.complex64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*nothing has trained it", UserWarning)
        with pytest.raises(PaddingError, match=r"the map is complex64; use another scheme"), use(scheme):
            F.conv2d(x, w, padding=1)
