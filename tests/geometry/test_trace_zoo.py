"""The trace against brute force on published architectures: a crop alone, and the same crop inside a scene."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bruteforce import change, crop_of, features, scene, whole_periods, window
from helpers import published
from padprint.geometry.layer import Geometry
from padprint.geometry.tracing import trace

LOCAL = {
    "torchvision": "alexnet vgg11_bn resnet18 densenet121 mobilenet_v2 shufflenet_v2_x0_5 squeezenet1_0 googlenet "
    "inception_v3 mnasnet0_5 regnet_x_400mf convnext_tiny",
    "timm": "resnet18 resnet26t resnetblur18 resnetv2_18 vgg11_bn densenet121 convnext_atto mobilenetv2_050 "
    "efficientnet_lite0 tf_efficientnet_lite0 hrnet_w18_small dla34 darknet17 cspdarknet53 cspresnet50 regnetx_002 "
    "repvgg_a0 selecsls42 res2net50_26w_4s inception_v3 inception_v4 inception_resnet_v2 xception41 xception41p "
    "nf_resnet26 mobileone_s0 ghostnetv3_050 repghostnet_050 fbnetc_100 hardcorenas_a mixnet_s "
    "lcnet_050 semnasnet_075 starnet_s1 ese_vovnet19b_dw gernet_s fastvit_t8 vovnet39a mnasnet_small "
    "spnasnet_100 dpn48b tf_mixnet_s edgenext_xx_small hgnet_tiny resnext26ts wide_resnet50_2 legacy_xception",
}
"""Families whose layers, or the first of them, see a bounded window."""

GLOBAL = {
    "convnextv2_atto": "norm",
    "mobilenetv3_small_050": "mean",
    "efficientnet_b0": "mean",
    "regnety_002": "mean",
    "resnest14d": "mean",
    "skresnet18": "mean",
    "poolformer_s12": "group_norm",
    "poolformerv2_s12": "group_norm",
    "tinynet_e": "mean",
    "rexnet_100": "mean",
    "seresnet18": "mean",
    "coatnet_nano_rw_224": "mean",
}
"""timm families of which some layer sees the whole input, and the operator to be named."""

SMALL = {
    "torchvision:alexnet",
    "torchvision:squeezenet1_0",
    "torchvision:resnet18",
    "torchvision:mobilenet_v2",
    "torchvision:shufflenet_v2_x0_5",
    "timm:tf_efficientnet_lite0",
    "timm:convnext_atto",
    "timm:repvgg_a0",
    "timm:resnetblur18",
}
"""Networks that are small enough for both axes."""
QUICK = SMALL - {"torchvision:mobilenet_v2", "timm:tf_efficientnet_lite0", "timm:convnext_atto", "timm:repvgg_a0"}
"""Those of the default suite."""
NAMES = [f"{library}:{name}" for library, names in LOCAL.items() for name in names.split()]
CASES = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES]
GLOBALS = [pytest.param(n, o, marks=[] if n == "regnety_002" else pytest.mark.slow) for n, o in GLOBAL.items()]
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


def build(name: str) -> nn.Module:
    """A network with random weights, biases too, so that what structure lets through is not zero by accident."""
    net = published(name)
    for key, parameter in net.named_parameters():
        if parameter.dim() == 1 and key.endswith(("bias", "gamma", "weight")):
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return net


def checked(
    net: nn.Module, crop: int | tuple[int, int], axes: tuple[int, ...] = (0, 1), most: int = 700
) -> tuple[Geometry, dict[str, str]]:
    """The geometry of the automatic layers, and for each what brute force says: ok, or what is wrong.

    Layers whose margin is larger than `most` pixels are left out: their scenes would be too large. So are those that see the
    whole input through statistics: a crop's are not its scene's, and no cell is the same in both.
    """
    geometry = trace(net, "auto", crop)
    net = net.double()
    verdicts = dict(geometry.unmeasured)
    far = [name for name in geometry.maps if max(geometry[name].margin) > most]
    verdicts.update(dict.fromkeys(far, "far"))
    through = {name: geometry[name].sees_all_through for name in geometry.maps if geometry[name].sees_all_through}
    verdicts.update({name: f"global: {'; '.join(operators)}" for name, operators in through.items()})
    for name in {*far, *through}:
        del geometry.maps[name]
    if not geometry.maps:
        return geometry, verdicts
    need = [max(side) for side in zip(*(geometry[name].margin for name in geometry.maps), strict=True)]
    # one more period before, so that a margin just large enough is not told from a large one by chance
    py, px = geometry.period
    margin = tuple(whole_periods(n + 1, p) for n, p in zip(need, (py, py, px, px), strict=True))
    # the axes one at a time keep scenes small: the other side of the scene is the crop's own
    for axis in axes:
        sides = tuple(m if i // 2 == axis else 0 for i, m in enumerate(margin))
        whole = scene(geometry, sides)
        of_crop = features(net, crop_of(whole, geometry, sides), geometry)
        of_scene = features(net, whole, geometry)
        for name in geometry.maps:
            reference = window(of_scene[name], geometry, name, sides)
            moved = change(of_crop[name], reference).amax(1 - axis)
            before, after = geometry[name].rim[2 * axis : 2 * axis + 2]
            rest = moved[before : len(moved) - after]
            if rest.numel() and not rest.max() < 1e-9:
                verdicts[name] = f"WRONG: axis {axis}: {float(rest.max()):.1e} inside the rim {before}, {after}"
            verdicts.setdefault(name, "ok" if rest.numel() else "ok: all rim")
            touched = (moved > 1e-13).nonzero().flatten().tolist()
            if rest.numel() and not (
                before in (0, *(t + 1 for t in touched)) and (not after or len(moved) - after in touched)
            ):
                verdicts[name] += f", the rim's edge on axis {axis} below 1e-13"
    return geometry, verdicts


@pytest.mark.parametrize("name", CASES)
def test_padding_reaches_no_further_than_the_rim(name: str) -> None:
    if name in SMALL:
        _, verdicts = checked(build(name), (64, 96))
    elif "ception" in name:
        _, verdicts = checked(build(name), 160)
    else:  # one axis, long enough to have cells between the rims of the deeper layers too
        _, verdicts = checked(build(name), (64, 256), axes=(1,))
    assert not [v for v in verdicts.values() if v.startswith("WRONG")], verdicts
    assert any(v.startswith("ok") for v in verdicts.values()), verdicts


@pytest.mark.parametrize(("name", "operator"), GLOBALS)
def test_layers_that_see_the_whole_input_name_the_operator(name: str, operator: str) -> None:
    _, verdicts = checked(build(f"timm:{name}"), (64, 96) if "224" not in name else 224)
    assert not [v for v in verdicts.values() if v.startswith("WRONG")], verdicts
    assert any(verdict.startswith(f"global: {operator} in ") for verdict in verdicts.values()), verdicts
