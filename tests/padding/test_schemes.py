"""What every padding scheme promises, and the vocabulary of schemes by name."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers import doubles
from padprint.errors import PaddingError
from padprint.padding.scheme import Scheme, available, make, register
from padprint.padding.schemes import pad_constant
from padprint.padding.windowed import Pads

DETERMINISTIC = [
    "zeros",
    "constant:value=0.5",
    "reflect",
    "symmetric",
    "replicate",
    "circular",
    "partial",
    "distribution",
    "distribution:variant=reflect",
    "polynomial",
    "polynomial:order=3",
    "linear-prediction",
    "linear-prediction:order=3",
    "padding-module:channels=3",
    "full",
    "none",
]
SPECS = [
    *DETERMINISTIC,
    "pp-pad",
    "pp-pad:variant=conv,channels=3",
    "randn:seed=1",
    "random-side:seed=1",
]
UNEQUAL: Pads = ((1, 2), (2, 0), (0, 1))


def scheme(spec: str, dims: int = 2) -> Scheme:
    if spec.startswith("pp-pad"):
        spec = f"{spec}{',' if ':' in spec else ':'}dims={dims}"
    return make(spec).double().eval()


def padded(spec: str, x: Tensor, pads: Pads) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the weights of learned schemes
        return scheme(spec, len(pads)).pad(x, pads)


def inside(y: Tensor, pads: Pads) -> Tensor:
    sizes = y.shape[y.dim() - len(pads) :]
    return y[(..., *(slice(before, n - after) for n, (before, after) in zip(sizes, pads, strict=True)))]


# ------------------------------------------------------------------------------------------------- every scheme's maps


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("spec", SPECS)
def test_the_map_is_extended_by_the_cells_asked_for_and_not_changed(spec: str, dims: int) -> None:
    x, pads = doubles(2, 3, *(7, 8, 6)[:dims]), UNEQUAL[:dims]
    before = x.clone()
    y = padded(spec, x, pads)
    assert torch.equal(x, before)
    assert y.shape[2:] == tuple(n + sum(pair) for n, pair in zip(x.shape[2:], pads, strict=True))
    assert y.isfinite().all()
    if not spec.startswith("random-side"):
        assert torch.equal(inside(y, pads), x)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("spec", [*DETERMINISTIC, "pp-pad"])
def test_an_unbatched_map_is_padded_as_in_a_batch(spec: str, dims: int) -> None:
    x, pads = doubles(2, 3, *(7, 8, 6)[:dims]), UNEQUAL[:dims]
    torch.testing.assert_close(padded(spec, x[0], pads), padded(spec, x, pads)[0])


@pytest.mark.parametrize("spec", DETERMINISTIC)
def test_images_and_channels_do_not_know_of_each_other(spec: str) -> None:
    x, pads = doubles(3, 3, 7, 6), UNEQUAL[:2]
    y = padded(spec, x, pads)
    torch.testing.assert_close(padded(spec, x[[2, 0, 1]], pads), y[[2, 0, 1]])
    torch.testing.assert_close(padded(spec, x[:, [2, 0, 1]], pads), y[:, [2, 0, 1]])
    other = x.clone()
    other[0] = 7.0
    torch.testing.assert_close(padded(spec, other, pads)[1:], y[1:])


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("spec", DETERMINISTIC)
def test_a_mirrored_map_is_padded_with_mirrored_cells(spec: str, axis: int) -> None:
    x, pads = doubles(2, 3, 7, 6), UNEQUAL[:2]
    swapped = tuple(pair[::-1] if at == axis else pair for at, pair in zip((-2, -1), pads, strict=True))
    torch.testing.assert_close(padded(spec, x.flip(axis), swapped), padded(spec, x, pads).flip(axis))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("spec", SPECS)
def test_short_floats_keep_their_dtype_and_come_close(spec: str, dtype: torch.dtype) -> None:
    x, pads = doubles(2, 3, 7, 6), ((1, 1), (2, 1))
    y = make(spec).to(dtype).eval().pad(x.to(dtype), pads)
    assert y.dtype == dtype
    assert y.isfinite().all()
    if spec in DETERMINISTIC:
        amplified = 3000 if spec == "polynomial:order=3" else 60  # its weights sum to 15 for one cell, to 49 for two
        tolerance = amplified * torch.finfo(dtype).eps
        torch.testing.assert_close(y.double(), padded(spec, x, pads), rtol=0, atol=tolerance)


@pytest.mark.parametrize("spec", [*DETERMINISTIC, "pp-pad"])
def test_memory_formats_and_strides_make_no_difference(spec: str) -> None:
    x, pads = doubles(2, 3, 7, 6), UNEQUAL[:2]
    y = padded(spec, x, pads)
    torch.testing.assert_close(padded(spec, x.to(memory_format=torch.channels_last), pads), y)
    torch.testing.assert_close(padded(spec, x.mT.contiguous().mT, pads), y)
    torch.testing.assert_close(padded(spec, x[:1, :1].expand(2, 3, 7, 6), pads), y[:1, :1].expand(2, 3, *y.shape[2:]))


@pytest.mark.parametrize("spec", [spec for spec in DETERMINISTIC if not spec.startswith("padding-module")])
def test_a_row_of_many_maps_is_padded_along_the_last_dimension_alone(spec: str) -> None:
    x = doubles(2, 3, 4, 6)  # F.pad(x, (1, 2)) of a batch of images
    y = padded(spec, x, ((1, 2),))
    torch.testing.assert_close(y, padded(spec, x.reshape(2, 12, 6), ((1, 2),)).reshape(2, 3, 4, 9))


@pytest.mark.parametrize("spec", SPECS)
def test_without_gradients_in_inference_and_under_autocast(spec: str) -> None:
    x, pads, module = doubles(2, 3, 7, 6).float(), UNEQUAL[:2], make(spec)
    for mode in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        with mode:
            y = module.pad(x, pads)
            assert y.dtype == torch.float32
            if not spec.startswith("random-side"):
                assert torch.equal(inside(y, pads), x)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=2), st.integers(4, 7))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_any_amounts_on_maps_that_hold_them(pairs: list[tuple[int, int]], n: int) -> None:
    x = doubles(1, 2, n, 7)
    for spec in ("reflect", "symmetric", "replicate", "circular", "polynomial:order=2", "linear-prediction", "randn"):
        assert torch.equal(inside(make(spec).pad(x, tuple(pairs)), tuple(pairs)), x)


# --------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("spec", [s for s in DETERMINISTIC if not s.startswith("distribution")] + ["pp-pad"])
def test_gradients(spec: str) -> None:
    torch.manual_seed(0)
    module, x = scheme(spec), doubles(1, 3, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: module.pad(x, ((1, 2), (0, 2))), (x,))


# ---------------------------------------------------------------------------------------------------- compile and export


class Padder(nn.Module):
    def __init__(self, spec: str) -> None:
        super().__init__()
        self.scheme = make(spec)

    def forward(self, x: Tensor) -> Tensor:
        return self.scheme.pad(x, ((1, 2), (2, 1)))


@pytest.mark.parametrize("spec", SPECS)
def test_export(spec: str) -> None:
    model, x = Padder(spec).eval(), doubles(2, 3, 6, 5).float()
    y = torch.export.export(model, (x,)).module()(x)
    assert y.shape == (2, 3, 9, 8)
    if not model.scheme.stochastic:
        torch.testing.assert_close(y, model(x))


@pytest.mark.parametrize(
    "spec",
    ["reflect", "symmetric", "distribution", "linear-prediction", "padding-module:channels=3", "randn", "random-side"],
)
def test_compile_without_breaking_the_graph(spec: str) -> None:
    torch._dynamo.reset()
    model, x = Padder(spec), doubles(2, 3, 6, 5).float().requires_grad_()
    y = torch.compile(model, fullgraph=True, backend="eager")(x)
    y.sum().backward()
    assert x.grad is not None
    if model.scheme.stochastic:
        again = torch.compile(model, fullgraph=True, backend="eager")
        assert len({tuple(again(x).detach().flatten().tolist()) for _ in range(20)}) > 1
    else:
        torch.testing.assert_close(y, model(x))


# ------------------------------------------------------------------------------------------------------- copies and state


@pytest.mark.parametrize("spec", SPECS)
def test_copies_pad_alike(spec: str) -> None:
    x, module = doubles(2, 3, 7, 6).float(), make(spec)
    module.pad(x, UNEQUAL[:2])
    twins = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    y = module.pad(x, UNEQUAL[:2])
    for twin in twins:
        assert torch.equal(twin.pad(x, UNEQUAL[:2]), y)


def test_only_learned_schemes_have_state() -> None:
    for spec in SPECS:
        module = make(spec)
        assert bool(module.state_dict()) == module.learned == bool(list(module.parameters()))


def test_what_schemes_say_of_themselves() -> None:
    kinds = {kind: {name for name, known in available().items() if getattr(known, kind)} for kind in FLAGS}
    assert kinds["changes_size"] == {"full", "none"}
    assert kinds["stochastic"] == {"randn", "random-side"}
    assert kinds["learned"] == {"padding-module", "pp-pad"}


FLAGS = ("changes_size", "stochastic", "learned")


def test_schemes_that_do_not_learn_are_the_same_for_any_number_of_channels() -> None:
    module = make("reflect")
    assert module.sized(3) is module


# ------------------------------------------------------------------------------------------------------------ too small


@pytest.mark.parametrize(
    ("spec", "pads", "needs"),
    [
        ("reflect", (0, 3), 4),
        ("symmetric", (4, 0), 4),
        ("circular", (0, 4), 4),
        ("distribution", (2, 1), 4),
        ("polynomial:order=3", (1, 0), 4),
        ("linear-prediction:order=3", (0, 1), 4),
        ("pp-pad:depth=4", (1, 0), 4),
        ("padding-module:channels=2,depth=4", (1, 0), 4),
    ],
)
def test_small_maps_are_refused_by_name_amount_and_size(spec: str, pads: tuple[int, int], needs: int) -> None:
    module, name = make(spec).double(), spec.partition(":")[0]
    words = (
        rf"{name}.* padding cannot add {pads[0]} cells before and {pads[1]} after a map of 3 cells.*at least {needs}"
    )
    with pytest.raises(PaddingError, match=words):
        module.pad(doubles(1, 2, 9, 3), ((0, 0), pads))
    module.pad(doubles(1, 2, 9, 4), ((0, 0), pads))
    module.pad(doubles(1, 2, 4, 1), (pads, (0, 0)))  # a dimension that is not padded may be of any size


# --------------------------------------------------------------------------------------------------------- whole numbers


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("spec", SPECS)
def test_whole_numbers_are_copied_or_refused(spec: str, dtype: torch.dtype) -> None:
    x, pads = torch.arange(84).reshape(1, 3, 4, 7).to(dtype), ((1, 1), (2, 1))
    if spec.startswith(("distribution", "linear-prediction", "padding-module", "pp-pad")):
        kind = str(dtype).removeprefix("torch.")
        with pytest.raises(PaddingError, match=rf"{spec[:6]}.* padding computes with floating.*the map is {kind}"):
            make(spec).pad(x, pads)
    elif spec.startswith(("zeros", "reflect", "symmetric", "replicate", "circular")):
        y = make(spec).pad(x, pads)
        assert y.dtype == dtype
        assert torch.equal(y.double(), make(spec).pad(x.double(), pads))


# ------------------------------------------------------------------------------------------------------------- learned


@pytest.mark.parametrize("spec", ["pp-pad", "padding-module:channels=3"])
def test_whether_something_has_trained_it(spec: str) -> None:
    module = make(spec)
    assert module.untrained
    assert copy.deepcopy(module).untrained
    assert pickle.loads(pickle.dumps(module)).untrained
    assert copy.deepcopy(module).to(torch.bfloat16).untrained
    start = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        next(module.parameters()).add_(0.1)
    assert not module.untrained
    assert not copy.deepcopy(module).untrained
    module.load_state_dict(start)
    assert module.untrained
    assert make("padding-module").untrained
    assert not any(make(name).untrained for name in ("zeros", "randn", "partial"))


# ----------------------------------------------------------------------------------------------------------- the registry


def test_a_scheme_of_ones_own_in_five_lines() -> None:
    @register("mean")
    class Mean(Scheme):
        def pad(self, x: Tensor, pads: Pads) -> Tensor:
            return pad_constant(x, pads, x.mean((-2, -1), keepdim=True))

    assert make("mean").name == "mean"
    assert "mean" in available()
    x = torch.tensor([[[[1.0, 3.0]], [[5.0, 6.0]]]])
    y = make("mean").pad(x, ((0, 1), (1, 0)))
    assert y.tolist() == [[[[2, 1, 3], [2, 2, 2]], [[5.5, 5, 6], [5.5, 5.5, 5.5]]]]
    with pytest.raises(PaddingError, match="takes no order; its parameters: none"):
        make("mean:order=2")


def test_parameters_are_read() -> None:
    assert make("constant:value=-1.5").value == -1.5
    assert make("polynomial:order=2").order == 2
    assert make("distribution: variant = reflect").variant == "reflect"
    assert make("padding-module:channels=3,depth=4").weight.shape == (3, 4)
    assert make("randn").seed is None
    own = make("reflect")
    assert make(own) is own


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("reflekt", "there is no padding scheme 'reflekt'; did you mean reflect"),
        ("", "there is no padding scheme ''"),
        ("zeros:value=1", "'zeros' takes no value; its parameters: none"),
        ("constant:1", "'1' in 'constant:1' is no parameter: write constant:key=value"),
        ("constant:value=much", "the value of constant padding is a number; it is 'much'"),
        ("constant:value=abc", "the value of constant padding is a number; it is 'abc'"),
        ("constant:value=true", "is a number; it is True"),
        ("constant:value=nan", "is a number; it is NaN"),
        ("polynomial:order=4", "order of polynomial padding is 1, 2 or 3; it is 4"),
        ("polynomial:order=7", "order of polynomial padding is 1, 2 or 3; it is 7"),
        ("polynomial:order=", "order is a whole number, 1 or more; it is ''"),
        ("polynomial:order=1,order=2", "order is there twice in 'polynomial:order=1,order=2'"),
        ("polynomial:order=0", "order is a whole number, 1 or more; it is 0"),
        ("linear-prediction:order=1.5", "order is a whole number, 1 or more; it is 1.5"),
        ("distribution:variant=mean", "interp or reflect; it is 'mean'"),
        ("distribution:variant=x", "the variant of distribution padding is interp or reflect; it is 'x'"),
        ("randn:seed=-1", "seed is a whole number, 0 or more; it is -1"),
        ("random-side:seed=-1", "seed is a whole number, 0 or more; it is -1"),
        ("randn:seed=now", "seed is a whole number, 0 or more; it is 'now'"),
        ("pp-pad:dims=0", "dims is a whole number, 1 or more; it is 0"),
        ("pp-pad:width=2", "the width of pp-pad is odd; it is 2"),
        ("pp-pad:variant=x", "the variant of pp-pad is mlp or conv; it is 'x'"),
        ("pp-pad:order=x", "the order of pp-pad is steps or dimensions; it is 'x'"),
        ("pp-pad:channels=3", "the channels of pp-pad are for variant=conv"),
        ("linear-prediction:width=2", "the width of linear-prediction padding is odd; it is 2"),
        ("padding-module:channels=0", "channels is a whole number, 1 or more; it is 0"),
    ],
)
def test_specifications_that_mean_nothing(spec: str, message: str) -> None:
    with pytest.raises(PaddingError, match=message):
        make(spec)


def test_a_name_is_given_once() -> None:
    def taken() -> Any:
        @register("zeros")
        class Mine(Scheme):
            pass

    with pytest.raises(PaddingError, match=r"'zeros' exists already \(padprint\.padding\.schemes\.plain\.Zeros\)"):
        taken()
    Zeros = type("Zeros", (Scheme,), {"__module__": __name__})
    with pytest.raises(PaddingError, match="exists already"):
        register("zeros")(Zeros)
    with pytest.raises(PaddingError, match="cannot name a padding scheme"):
        register("a:b")(Zeros)


def test_a_scheme_that_defines_nothing_says_so() -> None:
    class Empty(Scheme):
        pass

    with pytest.raises(NotImplementedError, match="Empty defines neither pad nor run"):
        Empty().pad(torch.zeros(1, 1, 2), ((1, 1),))
