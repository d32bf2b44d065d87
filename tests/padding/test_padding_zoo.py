"""Every padding scheme in published architectures: they train, save, compile and export, and a swap is a conversion."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers import published
from padprint.errors import PaddingError
from padprint.padding import available, convert, use
from padprint.padding.schemes import local_losses

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

FAMILIES = {
    "alexnet": 96,
    "convnext_tiny": 224,
    "densenet121": 96,
    "efficientnet_b0": 160,
    "efficientnet_v2_s": 96,
    "googlenet": 96,
    "inception_v3": 139,
    "maxvit_t": 224,
    "mnasnet0_5": 160,
    "mobilenet_v2": 96,
    "mobilenet_v3_small": 160,
    "regnet_y_400mf": 96,
    "resnet18": 96,
    "resnext50_32x4d": 96,
    "shufflenet_v2_x0_5": 96,
    "squeezenet1_0": 96,
    "vgg11": 96,
    "wide_resnet50_2": 96,
}
"""One small member of each family of torchvision's classifiers, and a size at which every scheme finds cells enough.

The rest, vit and swin, have one convolution without padding and nothing to convert.
"""

PLAIN = {"alexnet": 224, "vgg11": 160}
"""Families that only chain their layers, and a size at which maps that shrink last to the end."""

SIZES = {"full", "none"}
LEARN = [name for name in available() if name not in SIZES]

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
    "polynomial:order=1",
    "linear-prediction",
    "full",
    "none",
]
ALIKE = {
    "torchvision:alexnet": 96,
    "torchvision:convnext_tiny": 224,
    "torchvision:densenet121": 96,
    "torchvision:inception_v3": 139,
    "torchvision:mobilenet_v2": 96,
    "torchvision:resnet18": 96,
    "torchvision:shufflenet_v2_x0_5": 96,
    "torchvision:squeezenet1_0": 96,
    "timm:resnet26t": 96,
    "timm:resnetblur18": 96,
    "timm:resnetv2_18": 96,
    "timm:ese_vovnet19b_dw": 96,
    "timm:densenet121": 96,
    "timm:convnext_atto": 224,
    "timm:mobilenetv2_050": 96,
    "timm:tf_efficientnet_lite0": 160,
    "timm:hrnet_w18_small": 96,
    "timm:dla34": 96,
    "timm:regnetx_002": 96,
    "timm:repvgg_a0": 96,
    "timm:res2net50_26w_4s": 96,
    "timm:inception_v4": 139,
    "timm:xception41p": 96,
    "timm:mobileone_s0": 96,
    "timm:poolformerv2_s12": 96,
    "timm:ghostnetv3_050": 320,
    "timm:tf_mixnet_s": 352,
    "timm:starnet_s1": 224,
    "timm:fastvit_t8": 224,
    "timm:hgnet_tiny": 96,
}
"""Networks, and a size at which every scheme finds cells enough."""


def build(name: str) -> nn.Module:
    auxiliary = {"aux_logits": False} if name.rpartition(":")[2] in ("googlenet", "inception_v3") else {}
    return published(name, num_classes=10, **auxiliary)


def image(size: int, n: int = 1) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------------------- training


def train_one_step(net: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor], set[str]]:
    """The loss, the gradients, and the names of the weights that one step has changed."""
    torch.manual_seed(0)  # dropout
    net.train()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    loss = F.cross_entropy(net(x), torch.arange(len(x))) + sum(local_losses(net).values())
    loss.backward()
    optimiser.step()
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    weights = {name: p for name, p in net.named_parameters() if p.dim() > 1}  # scales may move by less than a digit
    return loss.detach(), gradients, {name for name, p in weights.items() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_trains_with_every_scheme(name: str) -> None:
    x = image(FAMILIES[name], 2)
    net = build(name)
    _, wanted, moved = train_one_step(copy.deepcopy(net), x)
    for scheme in LEARN:
        loss, gradients, changed = train_one_step(convert(net, scheme, seed=0, example=x), x)
        assert loss.isfinite(), scheme
        assert not set(wanted) - set(gradients), scheme
        assert all(g.isfinite().all() for g in gradients.values()), scheme
        assert not moved - changed, scheme


@pytest.mark.parametrize("scheme", sorted(SIZES))
@pytest.mark.parametrize("name", FAMILIES)
def test_maps_of_other_sizes_pass_through_plain_networks_alone(name: str, scheme: str) -> None:
    net, x = build(name), image(PLAIN.get(name, FAMILIES[name]))
    if name in PLAIN:
        loss, gradients, changed = train_one_step(convert(net, scheme, example=x), x)
        assert loss.isfinite()
        assert all(g.isfinite().all() for g in gradients.values())
        assert changed
        return
    words = f"{scheme} padding.* changes the sizes of maps"
    with pytest.raises(PaddingError, match=words):
        convert(net, scheme, example=x)
    with torch.no_grad(), pytest.raises(PaddingError, match=words), use(scheme):
        net(x)


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_transformers_have_nothing_to_convert(name: str) -> None:
    net, x = build(name), image(224)
    for options in ({}, {"example": x}):
        with pytest.raises(PaddingError, match="has nothing to convert to reflect padding"):
            convert(net, "reflect", **options)


# ---------------------------------------------------------------------------------------------- saved, compiled, exported

KEPT = {"torchvision:resnet50": 96, "timm:tf_efficientnet_lite0": 160}
CARRIED = ["zeros", "reflect", "symmetric", "circular", "partial", "distribution", "linear-prediction", "pp-pad"]


@pytest.fixture(scope="module", params=KEPT)
def kept(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    return build(request.param), image(KEPT[request.param], 2)


@pytest.mark.parametrize("scheme", [*available(), "distribution:variant=reflect"])
def test_pickled(kept: tuple[nn.Module, Tensor], scheme: str) -> None:
    net, x = kept
    if scheme in SIZES:  # it converts, and no residual network runs with it
        made = convert(net, scheme)
        assert list(pickle.loads(pickle.dumps(made)).state_dict()) == list(made.state_dict())
        return
    made = convert(net, scheme, seed=0, example=x)
    with torch.no_grad():
        made(x)
        twin = pickle.loads(pickle.dumps(made))
        for _ in range(2):  # random numbers go on from where they were
            assert torch.equal(twin(x), made(x))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("scheme", CARRIED)
def test_compiled(kept: tuple[nn.Module, Tensor], scheme: str) -> None:
    net, x = kept
    compiles_alike(convert(net, scheme, example=x), x, "eager")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compiled_with_a_graph_of_gradients(kept: tuple[nn.Module, Tensor]) -> None:
    net, x = kept
    compiles_alike(convert(net, "reflect", example=x), x, "aot_eager")


def compiles_alike(made: nn.Module, x: Tensor, backend: str) -> None:
    torch._dynamo.reset()
    try:
        compiled = torch.compile(made, backend=backend, fullgraph=True)
        torch.testing.assert_close(compiled(x), made(x))
    finally:
        torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("scheme", CARRIED)
def test_exported_and_saved(kept: tuple[nn.Module, Tensor], scheme: str, tmp_path: Path) -> None:
    net, x = kept
    made = convert(net, scheme, example=x)
    with torch.no_grad():
        expected = made(x)
        assert not torch.equal(expected, net(x)) or scheme == "zeros"
        program = torch.export.export(made, (x,))
        torch.testing.assert_close(program.module()(x), expected)
        torch.export.save(program, tmp_path / "net.pt2")
        torch.testing.assert_close(torch.export.load(tmp_path / "net.pt2").module()(x), expected)


# -------------------------------------------------------------------------------------------------- a swap is a conversion


def features(net: nn.Module, run: Callable[[], Any]) -> dict[str, Tensor]:
    """What every module without children gave out, the schemes apart."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, out: Any) -> None:
            if isinstance(out, Tensor):
                found[f"{name}:{len(found)}"] = out.clone()

        return hook

    handles = [
        module.register_forward_hook(keep(name))
        for name, module in net.named_modules()
        if "padding_scheme" not in name and all(child == "padding_scheme" for child, _ in module.named_children())
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return found


@pytest.mark.parametrize("name", ALIKE)
def test_a_swap_is_a_conversion(name: str) -> None:
    net, x = build(name), image(ALIKE[name])
    own = features(net, lambda: net(x))

    def swapped(scheme: str) -> None:
        with use(scheme):
            net(x)

    for scheme in DETERMINISTIC:
        try:
            found = features(net, lambda scheme=scheme: swapped(scheme))
        except PaddingError:
            assert scheme in SIZES, scheme
            with pytest.raises(PaddingError, match="changes the sizes of maps"):
                convert(net, scheme, example=x)
            continue
        made = convert(net, scheme, example=x)
        again = features(made, lambda made=made: made(x))
        assert list(found) == list(again) == list(own), scheme
        for layer, map_ in found.items():
            assert torch.equal(map_, again[layer]), f"{scheme}: {layer}"
        assert found[list(found)[-1]].isfinite().all(), scheme
        assert scheme == "zeros" or any(not torch.equal(map_, own[layer]) for layer, map_ in found.items()), scheme
