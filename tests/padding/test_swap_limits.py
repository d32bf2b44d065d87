"""Where swapping and converting have little to work with: untrained schemes, whole numbers, empty maps, odd sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from helpers import left_as_found, noise, singles, swapped
from padprint import compare, measure
from padprint.errors import PaddingError
from padprint.padding import available, convert, make, use

close = torch.testing.assert_close
quiet = pytest.mark.filterwarnings("ignore:.*nothing has trained it")
OPTIONS = {"crop": 16, "crops_per_image": 4}


x = singles(2, 3, 12, 13)


# ----------------------------------------------------------------------------------------------------------- learned


@pytest.mark.parametrize("scheme", ["pp-pad", "padding-module"])
def test_a_scheme_that_nothing_has_trained_says_so(scheme: str) -> None:
    net = nets.stack()
    words = f"{scheme} padding learns, and nothing has trained it: .*; convert the network to train it"
    with pytest.warns(UserWarning, match=words) as caught, use(scheme) as replaced:
        net(x)
        net(x)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert replaced.count == 6
    images = noise(3, 48)
    for found in (
        measure(net, images, **OPTIONS, padding=scheme),
        measure(convert(net, scheme), images, **OPTIONS),
        compare(net, images, ("own", scheme), **OPTIONS)[scheme],
    ):
        told = [warning for warning in found.warnings if "learns" in warning]
        assert told == [
            f"{scheme} padding learns, and nothing has trained it: its cells come from the parameters it starts with"
        ]


def test_a_trained_scheme_serves_all_layers_and_says_nothing() -> None:
    net, scheme = nets.stack(), make("pp-pad")
    with torch.no_grad():
        for parameter in scheme.parameters():
            parameter.add_(0.05)
    with use(scheme):
        found = net(x)
    found.square().mean().backward()
    assert all(parameter.grad is not None for parameter in scheme.parameters())
    made = convert(net, scheme)
    for module in made.modules():
        if hasattr(module, "padding_scheme"):
            module.padding_scheme.load_state_dict(scheme.state_dict())
    close(made(x), found)
    measured = measure(net, noise(3, 48), **OPTIONS, padding=scheme)
    assert not [warning for warning in measured.warnings if "learns" in warning]


def test_what_a_learned_scheme_starts_with_is_the_same_for_every_crop_and_run() -> None:
    net, images, found = nets.stack(), noise(3, 48), []
    for batch_size in (1, 4):
        with left_as_found(net):
            found.append(measure(net, images, **OPTIONS, padding="pp-pad", batch_size=batch_size, seed=3))
        torch.manual_seed(17)
    for name, layer in found[0].items():
        close(layer.pattern, found[1][name].pattern, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------------- whole numbers


def test_whole_numbers_stay_and_are_named() -> None:
    n, weight = torch.arange(50).reshape(1, 2, 5, 5), torch.ones(2, 2, 3, 3, dtype=torch.int64)
    calls: dict[str, Callable[[], Tensor]] = {
        "conv2d": lambda: F.conv2d(n, weight, padding=1),
        "pad": lambda: F.pad(n, (1, 1)),
        "max_pool2d": lambda: F.max_pool2d(n, 3, 2, 1),
    }
    for name, run in calls.items():
        words = rf"replaced nothing.*\({name} in the model itself pads a tensor of int64, not of floating point"
        with pytest.raises(PaddingError, match=words), use("reflect"):
            run()
        plain = run()
        with use("reflect") as replaced:
            assert torch.equal(run(), plain)
            F.avg_pool2d(x, 3, 2, 1)
        assert dict(replaced.operators) == {"avg_pool2d": 1}
    net = nets.sequential(nets.conv(), nets.Lambda(lambda x: F.pad((x > 0).long(), (1, 1)).float()))
    with pytest.warns(UserWarning, match=r"not converted: pad in 1 pads a tensor of int64, not of floating point"):
        made = convert(net, "reflect", example=x)
    close(made(x), swapped(net, "reflect", x))


# ----------------------------------------------------------------------------------------------------------- empty maps


@quiet
@pytest.mark.parametrize("scheme", available())
def test_no_images_give_no_features(scheme: str) -> None:
    net = nets.sequential(
        nets.conv(),
        nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d(3, 1, 1),
        nn.ConvTranspose2d(4, 4, 3, 2, 1),
        nn.ZeroPad2d(1),
    )
    one, none = singles(1, 3, 16, 16), singles(0, 3, 16, 16)
    expected = (0, *swapped(net, scheme, one).shape[1:])
    assert swapped(net, scheme, none).shape == expected
    made = convert(net, scheme, seed=0, example=one).train()
    y = made(none.requires_grad_())
    assert y.shape == expected
    y.sum().backward()
    assert none.grad.shape == none.shape


@quiet
@pytest.mark.parametrize("scheme", sorted(set(available()) - {"full"}))
def test_maps_without_cells_name_the_layer(scheme: str) -> None:
    net = nets.sequential(nn.Identity(), nets.conv())
    words = rf"{scheme} padding.* cannot be applied to conv2d in 1 .*map of 0 x 16"
    with pytest.raises(PaddingError, match=words):
        swapped(net, scheme, singles(2, 3, 0, 16))
    made = convert(net, scheme, example=singles(2, 3, 16, 16))
    with pytest.raises(PaddingError, match=words):
        made(singles(2, 3, 0, 16))


@quiet
@pytest.mark.parametrize("scheme", sorted(set(available()) - {"full", "none"}))
def test_what_is_empty_along_a_dimension_that_is_not_padded_stays_empty(scheme: str) -> None:
    net = nets.Lambda(lambda x: F.pad(x, (1, 1, 0, 0)))
    assert swapped(net, scheme, singles(2, 3, 0, 16)).shape == (2, 3, 0, 18)


# ---------------------------------------------------------------------------------------------------------- other sizes


def test_maps_of_other_sizes_are_tried_on_the_example() -> None:
    net = nets.ready(nets.Residual())
    words = r"full padding changes the sizes of maps, and add in the model itself cannot take them: The size of tensor"
    with pytest.raises(PaddingError, match=words):
        convert(net, "full", example=x)
    chain = nets.sequential(nets.conv(), nn.MaxPool2d(3, 2, 1), nets.conv(4, 4, 5))
    large = singles(1, 3, 16, 18)
    assert convert(chain, "none", example=large)(large).shape[-2:] == (2, 3)  # 14 x 16, 6 x 7, less 4
    words = r"none padding, which changes the sizes of maps, cannot be applied to conv2d in 2 .*map of 4 x 5"
    with pytest.raises(PaddingError, match=words):
        convert(chain, "none", example=x)


# --------------------------------------------------------------------------------------- seeds, devices and precisions


def test_pooling_that_hangs_over_at_other_sizes_alone_is_sized_by_the_example() -> None:
    net = nets.sequential(nets.conv(), nn.MaxPool2d(3, 2, ceil_mode=True))
    made = convert(net, "padding-module", example=singles(1, 3, 9, 9))
    assert made[1].padding_scheme.channels == 4
    close(made(x), convert(net, "replicate")(x))


def test_what_is_learned_lives_where_the_network_does() -> None:
    net = nets.sequential(nets.conv(), nn.MaxPool2d(3, 2, 1), nets.Lambda(lambda x: F.pad(x, (1, 1, 0, 1)))).to("meta")
    made = convert(net, "pp-pad", example=x.to("meta"))
    assert {parameter.device.type for parameter in made.parameters()} == {"meta"}
    assert made(x.to("meta")).shape == (2, 4, 7, 9)


@pytest.mark.parametrize("seed", [-1, 1.5, "one", True])
def test_seeds_are_whole_numbers(seed: object) -> None:
    with pytest.raises(PaddingError, match="seed is a whole number, 0 or more; it is"):
        convert(nets.stack(), "randn", seed=seed)


@quiet
@pytest.mark.parametrize("scheme", available())
def test_double_precision(scheme: str) -> None:
    net, wide = nets.stack().double(), x.double()
    for y in (convert(net, scheme, seed=0)(wide), swapped(net, scheme, wide)):
        assert y.dtype == torch.float64
        assert y.isfinite().all()
