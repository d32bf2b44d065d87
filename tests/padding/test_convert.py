"""Networks converted for good: the same as a swap, and they train, save, compile, export and come back."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from helpers import in_processes, singles
from padprint import measure, trace
from padprint.errors import PaddingError
from padprint.network.loading import load_model
from padprint.padding import available, convert, revert, use
from padprint.padding.schemes import local_losses

close = torch.testing.assert_close
STEADY = ("zeros", "constant:value=0.5", "reflect", "symmetric", "replicate", "circular", "partial", "distribution")
STEADY += ("distribution:variant=reflect", "polynomial:order=2", "linear-prediction")


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 4, 5, padding="same"),
    ).eval()


x = singles(2, 3, 16, 18)


@pytest.mark.parametrize("scheme", STEADY)
def test_converted_is_swapped(scheme: str) -> None:
    net = small()
    with torch.no_grad(), use(scheme):
        expected = net(x)
    with torch.no_grad():
        close(convert(net, scheme)(x), expected)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_torchs_own_padding_modes(mode: str) -> None:
    ours = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, (3, 5), padding=(1, 2)))
    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode),
        nn.Tanh(),
        nn.Conv2d(4, 4, (3, 5), padding=(1, 2), padding_mode=mode),
    )
    theirs.load_state_dict(ours.state_dict())
    close(convert(ours, mode)(x), theirs(x))


def test_every_scheme_converts() -> None:
    for name in available():
        if not available()[name].changes_size:
            out = convert(small(), name, seed=0, example=x)(x)
            assert out.shape == (2, 4, 8, 9), name
            assert out.isfinite().all(), name


def test_the_original_is_left_alone_and_keys_are_the_same() -> None:
    net = small()
    before = net(x)
    made = convert(net, "reflect")
    assert list(made.state_dict()) == list(net.state_dict())
    assert isinstance(made[0], nn.Conv2d)
    made.load_state_dict(net.state_dict())
    net.load_state_dict(made.state_dict())
    close(net(x), before)
    assert type(net[0]) is nn.Conv2d


def test_revert_is_exact() -> None:
    net = small()
    made = convert(net, "randn", seed=0)
    back = revert(made)
    assert [type(m) for m in back.modules()] == [type(m) for m in net.modules()]
    assert torch.equal(back(x), net(x))
    assert not torch.equal(made(x), net(x))
    with pytest.raises(PaddingError, match="nothing in Sequential was converted"):
        revert(net)


def test_revert_keeps_what_was_learnt() -> None:
    made = convert(small(), "reflect")
    with torch.no_grad():
        made[0].weight.mul_(2)
    assert torch.equal(revert(made)[0].weight, 2 * small()[0].weight)


def test_converting_again_replaces() -> None:
    net = small()
    close(convert(convert(net, "reflect"), "circular")(x), convert(net, "circular")(x))


def test_shared_modules_stay_shared() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    made = convert(nn.Sequential(conv, nn.Tanh(), conv), "reflect")
    assert made[0] is made[2]
    assert len(list(made.parameters())) == 2


@pytest.mark.parametrize(
    "scheme", ["randn", "reflect", "partial", "pp-pad", "padding-module", "random-side", "linear-prediction"]
)
def test_training_step(scheme: str) -> None:
    made = convert(small(), scheme, seed=0, example=x).train()
    before = {name: p.detach().clone() for name, p in made.named_parameters()}
    optimiser = torch.optim.SGD(made.parameters(), lr=0.1)
    loss = made(x).square().mean()
    if scheme == "padding-module":
        from padprint.padding.schemes import local_losses

        loss = loss + sum(local_losses(made).values())
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    optimiser.step()
    convolutions = [name for name in before if name in dict(small().named_parameters()) and name.endswith("weight")]
    assert all(not torch.equal(before[name], dict(made.named_parameters())[name]) for name in convolutions)
    assert len(before) > len(list(small().parameters())) or scheme not in ("pp-pad", "padding-module")


@pytest.mark.parametrize("scheme", ["reflect", "randn", "pp-pad"])
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_copies_and_files(scheme: str, way: str) -> None:
    made = convert(small(), scheme, seed=3, example=x)
    made(x)
    if way == "deepcopy":
        other = copy.deepcopy(made)
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(made))
    else:
        buffer = io.BytesIO()
        torch.save(made, buffer)
        buffer.seek(0)
        other = torch.load(buffer, weights_only=False)
    close(other(x), made(x))  # the random numbers go on from where they were
    close(other(x), made(x))
    assert list(other.state_dict()) == list(made.state_dict())
    assert [type(m) for m in revert(other).modules()] == [type(m) for m in small().modules()]


def test_seeds() -> None:
    one, again, other = (convert(small(), "randn", seed=seed) for seed in (0, 0, 1))
    first = one(x)
    close(again(x), first)
    assert not torch.equal(other(x), first)
    assert not torch.equal(one(x), first)  # fresh at every call
    state = torch.get_rng_state()
    one(x)
    assert torch.equal(torch.get_rng_state(), state)
    # each layer draws numbers of its own
    twice = convert(nn.Sequential(nn.ZeroPad2d(1), nn.ZeroPad2d(1)), "randn", seed=0)
    a, b = twice[0](x), twice[1](x)
    assert not torch.allclose(a[..., 0, :], b[..., 0, :])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("scheme", ["reflect", "partial", "distribution", "randn", "pp-pad"])
def test_compiled(scheme: str) -> None:
    torch.compiler.reset()
    made = convert(small(), scheme, seed=0, example=x)
    compiled = torch.compile(made, backend="eager", fullgraph=True)
    out = compiled(x)
    assert out.shape == (2, 4, 8, 9)
    if scheme != "randn":
        close(out, made(x))
    compiled(x).sum().backward()
    assert made[0].weight.grad is not None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_compiled_by_inductor() -> None:
    made = convert(small(), "reflect")
    close(torch.compile(made)(x), made(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("scheme", ["reflect", "partial", "symmetric", "pp-pad"])
def test_exported(scheme: str) -> None:
    made = convert(small(), scheme, example=x)
    program = torch.export.export(made, (x,))
    close(program.module()(x), made(x))


@pytest.mark.parametrize("scheme", ["reflect", "partial", "randn", "distribution", "linear-prediction"])
def test_half_precision_and_channels_last(scheme: str) -> None:
    made = convert(small(), scheme, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        half = made(x)
    assert half.dtype == torch.bfloat16
    assert half.isfinite().all()
    if scheme != "randn":
        close(half.float(), made(x), rtol=0.1, atol=0.1)
        last = copy.deepcopy(made).to(memory_format=torch.channels_last)
        close(last(x.contiguous(memory_format=torch.channels_last)), made(x), rtol=1e-4, atol=1e-5)


class Idle(nn.Module):
    """Layers that need no padding at this size, or on some sides alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rows = nn.Conv2d(3, 4, (3, 1), padding=(1, 0))
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.overhang = nn.AvgPool2d(5, 3, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rows(x)
        y = y.relu_()
        return self.overhang(self.up(self.pool(y)[0])[..., : y.shape[-2], : y.shape[-1]] + y)


def distributed_step(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        for name, net in (("small", small()), ("idle", Idle())):
            made = convert(net, "pp-pad", seed=0, example=x).train()
            parallel = nn.parallel.DistributedDataParallel(made)
            for step in range(3):
                parallel(singles(2, 3, 16, 18, seed=2 * step + rank)).square().mean().backward()
            torch.save({name: p.grad for name, p in made.named_parameters()}, f"{folder}/{name}{rank}.pt")
        made = convert(Idle(), "padding-module", example=x).train()
        parallel = nn.parallel.DistributedDataParallel(made)
        for step in range(2):
            loss = parallel(singles(2, 3, 16, 18, seed=step)).square().mean()
            (loss + sum(local_losses(made).values())).backward()
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("name", ["small", "idle"])
def test_distributed_data_parallel(name: str, distributed: Path) -> None:
    one, two = (torch.load(distributed / f"{name}{rank}.pt") for rank in (0, 1))
    assert set(one) > {name for name, _ in (small() if name == "small" else Idle()).named_parameters()}
    for key, gradient in one.items():
        assert torch.equal(gradient, two[key])
    assert any(gradient.abs().max() > 0 for key, gradient in one.items() if "padding_scheme" in key)


@pytest.fixture(scope="module")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    in_processes(distributed_step, 2, str(folder))
    return folder


def test_every_parameter_of_a_learned_scheme_gets_a_gradient() -> None:
    """Zeros where it had no part; and what the network computes is the same bit for bit."""
    made = convert(Idle(), "pp-pad", example=x).train()
    out = made(x)
    with torch.no_grad():
        assert torch.equal(made(x), out)
    out.square().mean().backward()
    assert all(one.grad is not None for one in made.parameters())
    assert not any(one.grad.any() for one in made.up.padding_scheme.parameters())
    assert any(one.grad.any() for one in made.rows.padding_scheme.parameters())
    frozen = convert(Idle(), "pp-pad", example=x).requires_grad_(False)
    assert not frozen(x).requires_grad


def test_transposed_convolutions_with_an_output_size() -> None:
    """2 x 2 with stride 2 needs no padding, but for the row and column more that an output size may ask for."""

    class Up(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 2, 2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(x, output_size=(2 * x.shape[-2] + 1, 2 * x.shape[-1] + 1))

    net = Up()
    with torch.no_grad(), use("replicate") as replaced:
        expected = net(x)
    assert replaced.count == 1
    for made in (convert(net, "replicate"), convert(net, "replicate", example=x)):
        close(made(x), expected)
        assert not torch.equal(made(x), net(x))
        assert torch.equal(made.up(x), net.up(x))


# --------------------------------------------------------------------------------------------- functional calls


class Functional(nn.Module):
    """Pads by hand, as many published networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.conv(F.pad(x, (1, 1, 1, 1))), 3, 2, 1)


def test_functional_calls_need_an_example() -> None:
    net = Functional()
    with pytest.raises(PaddingError, match="nothing to convert to reflect padding: give an example"):
        convert(net, "reflect")
    made = convert(net, "reflect", example=x)
    with use("reflect"):
        expected = net(x)
    close(made(x), expected)
    assert list(made.state_dict()) == list(net.state_dict())
    close(revert(made)(x), net(x))


class Nested(nn.Module):
    """Pads by hand around modules that pad."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.conv, self.wrap = nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.wrap.padding_mode = "replicate"

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.pad(self.conv(self.pad(x)), (1, 1, 1, 1)), 3)
        return F.interpolate(self.wrap(x), scale_factor=2.0, mode="bilinear")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_functional_calls_compile_and_export() -> None:
    """Compilers trace through `F.pad`, and would keep torch's own padding without a word."""
    made = convert(Nested(), "circular", example=x)
    with torch.no_grad():
        expected = made(x)
        for backend in ("eager", "aot_eager"):
            torch.compiler.reset()
            close(torch.compile(made, backend=backend, fullgraph=True)(x), expected)
        size, y = torch.export.Dim.AUTO, singles(2, 3, 24, 26)
        for strict in (False, True):
            program = torch.export.export(made, (x,), dynamic_shapes=({2: size, 3: size},), strict=strict).module()
            close(program(x), expected)
            close(program(y), made(y))
        # loaded where nothing was converted
        torch.compiler.reset()
        other = pickle.loads(pickle.dumps(made))
        close(torch.compile(other, backend="eager", fullgraph=True)(x), expected)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_exported_programs_convert(tmp_path: Path) -> None:
    net, size, x = Nested(), torch.export.Dim.AUTO, singles(1, 3, 16, 18)
    program = torch.export.export(net, (x,), dynamic_shapes=({2: size, 3: size},))
    torch.export.save(program, tmp_path / "net.pt2")
    for loaded in (torch.export.unflatten(program), load_model(str(tmp_path / "net.pt2")).model):
        made = convert(loaded, "reflect", example=x)
        with use("reflect"):
            close(made(x), net(x))
        close(revert(made)(x), net(x))
        assert trace(loaded, "conv", 32)["conv"].rim == (1, 1, 1, 1)


def test_hooks_and_parametrisations_stay() -> None:
    net, seen = small(), []
    net[0].register_forward_hook(lambda *_: seen.append("hook"))
    nn.utils.parametrizations.weight_norm(net[4])
    made = convert(net, "reflect")
    assert list(made.state_dict()) == list(net.state_dict())
    with use("reflect"):
        expected = net(x)
    close(made(x), expected)
    assert seen == ["hook", "hook"]
    assert torch.equal(revert(made)(x), net(x))


def test_layers_draw_numbers_of_their_own_without_a_seed() -> None:
    for scheme in ("randn", "randn:seed=5"):
        pads = convert(nn.Sequential(nn.ZeroPad2d(1), nn.ZeroPad2d(1)), scheme)
        assert not torch.equal(pads[0](x), pads[1](x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_modules_that_cannot_be_converted() -> None:
    with pytest.raises(PaddingError, match=r"0 is TorchScript"):
        convert(nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3, padding=1))), "reflect")
    with pytest.raises(PaddingError, match=r"0 is compiled"):
        convert(nn.Sequential(torch.compile(nn.Conv2d(3, 4, 3, padding=1))), "reflect")
    with pytest.raises(PaddingError, match=r"0 \(LazyConv2d\) cannot be converted: it is lazy"):
        convert(nn.Sequential(nn.LazyConv2d(4, 3, padding=1)), "reflect")
    net = small()
    net[0].forward = lambda x: x
    with pytest.raises(PaddingError, match=r"0 \(Conv2d\) cannot be converted: it has a forward of its own"):
        convert(net, "reflect")


def test_a_layer_that_the_scheme_does_not_fit_is_named() -> None:
    made = convert(nn.Sequential(nn.MaxPool2d(8), nn.Conv2d(3, 4, 9, padding=4)), "reflect")
    with pytest.raises(PaddingError, match=r"reflect padding cannot be applied to conv2d in 1 .*map of 2 x 2"):
        made(x)


def test_networks_of_timm() -> None:
    timm = pytest.importorskip("timm")
    for name in ("tf_efficientnet_lite0", "resnetblur18"):
        torch.manual_seed(0)
        net, example = timm.create_model(name).eval(), singles(1, 3, 64, 64)
        with torch.no_grad():
            with use("replicate") as replaced:
                expected = net(example)
            made = convert(net, "replicate", example=example)
            close(made(example), expected)
            assert list(made.state_dict()) == list(net.state_dict())
        assert replaced.count > 0


def test_what_cannot_be_converted_is_said() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nets.Lambda(lambda x: F.pad(x, (0, 0, 0, 0, 1, 1))))
    with pytest.warns(UserWarning, match=r"not converted: pad in 1 pads dimension 1"):
        convert(net, "reflect", example=x)
    with pytest.raises(PaddingError, match="nothing to convert"):
        convert(nets.pointwise(), "reflect", example=x)
    with pytest.raises(PaddingError, match=r"padding-module padding cannot be sized for 1: .*give an example"):
        convert(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1)), "padding-module")


# --------------------------------------------------------------------------------------------- and it is measured


@pytest.mark.parametrize("make", [nets.stack, nets.stride_two])
@pytest.mark.parametrize("scheme", ["reflect", "symmetric", "distribution", "randn", "circular"])
def test_a_converted_network_is_traced_as_its_original(make: Callable[[], nn.Module], scheme: str) -> None:
    net = make()
    there, here = trace(net, "*", 16), trace(convert(net, scheme, seed=0), "*", 16)
    for name, layer in there.items():
        assert (here[name].rim, here[name].reach, here[name].stride) == (layer.rim, layer.reach, layer.stride)


def test_a_converted_network_is_measured_as_the_swap() -> None:
    images = [singles(3, 48, 48, seed=i) + 0.5 for i in range(4)]
    options = {"crop": 16, "crops_per_image": 4}
    swap = measure(nets.stack(), images, **options, padding="symmetric")
    made = measure(convert(nets.stack(), "symmetric"), images, **options)
    for name, layer in swap.items():
        close(made[name].pattern, layer.pattern, rtol=1e-5, atol=1e-6)
