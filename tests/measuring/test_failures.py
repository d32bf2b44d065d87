"""Bad input, each with one clear error; and a model that is left as found, whatever happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import nets
from helpers import left_as_found, noise
from padprint import ImagesError, LayerError, ModelError, PadprintError, load, measure, trace

NORM = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


class Fails(nn.Module):
    """Raises from its `after`-th forward pass on, in the middle of the network."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.passes, self.after = 0, after

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        y = self.first(x)
        if self.passes > self.after:
            raise RuntimeError("the sky falls")
        return self.last(y)


def passes() -> int:
    """Forward passes of a whole measurement of two images with two batches of crops each, on the model itself."""
    net = Fails(10**6)
    measure(net, noise(2, 32), crop=16, crops_per_image=4, batch_size=2)
    return net.passes


def test_nothing_survives_a_forward_that_raises() -> None:
    for after in range(passes()):
        net = Fails(after)
        net.first.train()
        with left_as_found(net), pytest.raises(PadprintError, match="the sky falls"):
            measure(net, noise(2, 32), crop=16, crops_per_image=4, batch_size=2)


def test_nothing_is_changed_by_success() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5)
    ).train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    with left_as_found(net):
        measure(net, noise(3, 32), crop=16)
    with left_as_found(net):
        trace(net, crop=16)


def test_nothing_is_changed_by_an_error_in_a_user_hook() -> None:
    net = nets.stack()

    def hook(*_: object) -> None:
        raise RuntimeError("hooked")

    net[1].register_forward_hook(hook)
    with left_as_found(net), pytest.raises(ModelError, match="hooked"):
        measure(net, noise(2, 32), crop=16)


# --------------------------------------------------------------------------------------------------------- images


def test_no_image() -> None:
    with pytest.raises(ImagesError, match="no image"):
        measure(nets.stack(), [], crop=16)
    with pytest.raises(ImagesError, match="no image"):
        measure(nets.stack(), iter(()), crop=16)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match=re.escape(str(tmp_path))):
        measure(nets.stack(), tmp_path, crop=16, **NORM)


@pytest.mark.filterwarnings("ignore:skipped")
def test_all_files_broken(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_text("no picture")
    with pytest.raises(ImagesError, match=r"2 .*a\.png|a\.png.* 2|2 image files"):
        measure(nets.stack(), tmp_path, crop=16, **NORM)


def test_one_broken_file_is_counted(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (40, 40), (i * 40, 90, 20)).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_text("no picture")
    with pytest.warns(UserWarning, match=r"1\.png"):
        result = measure(nets.stack(), tmp_path, crop=16, **NORM)
    assert result.n_images == 2
    assert list(result.provenance["skipped"]) == ["1.png"]
    with pytest.raises(ImagesError, match=r"1\.png"):
        measure(nets.stack(), tmp_path, crop=16, strict=True, **NORM)


def test_normalisation_is_asked_for(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    with pytest.raises(ImagesError, match="mean="):
        measure(nets.stack(), tmp_path, crop=16)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("stream", [list, iter, torch.stack])
def test_pixels_that_are_no_numbers(value: float, stream: Callable[[list[Tensor]], Any]) -> None:
    images = noise(4, 32)
    images[1][0, 3, 4] = value
    with pytest.warns(UserWarning, match=r"skipped image 1: has 1 of 3072 values that are NaN or infinite"):
        result = measure(nets.stack(), stream(images), crop=16)
    assert result.n_images == 3
    assert result.provenance["skipped"] == {"image 1": "has 1 of 3072 values that are NaN or infinite"}
    assert "skipped 1 image that could not be used" in result.warnings
    with pytest.raises(ImagesError, match="image 1 has 1 of 3072"):
        measure(nets.stack(), stream(images), crop=16, strict=True)


@pytest.mark.filterwarnings("ignore:skipped")
def test_nothing_but_pixels_that_are_no_numbers() -> None:
    with pytest.raises(
        ImagesError, match=r"no image left: 2 images of list .2 images. could not be used.*image 0: has"
    ):
        measure(nets.stack(), [one * torch.nan for one in noise(2, 32)], crop=16)


def test_wrong_channel_count() -> None:
    with pytest.raises(ModelError, match="1 channel"):
        measure(nets.stack(), noise(2, 32, channels=1), crop=16)
    with pytest.raises(ImagesError, match="4 channels"):
        measure(nets.stack(), [*noise(1, 32), *noise(1, 32, channels=4)], crop=16)


def test_too_small_images_say_size_count_and_options() -> None:
    images = [*noise(2, 64), *noise(3, 17)]
    for given in (images, iter(images)):  # a list is looked over first, a stream is counted to its end
        with pytest.raises(ImagesError, match=r"3 of 5 images.*17x17.*22x22 px.*resize_short_side=22.*smaller crop"):
            measure(nets.stack(), given, crop=16)


def test_too_small_images_name_the_first_and_the_values_that_would_do(tmp_path: Path) -> None:
    for i, size in enumerate([(64, 64), (26, 24)]):
        Image.fromarray(np.zeros((*size, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    options = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    with pytest.raises(ImagesError) as caught:
        measure(nets.stack(), tmp_path, crop=22, **options)
    text = str(caught.value)
    assert "1 of 2 images are too small (the first is 1.png, 26x24 px)" in text
    crop, margin = (int(re.search(rf"{key}=(\d+)", text)[1]) for key in ("crop", "margin"))
    assert measure(nets.stack(), tmp_path, crop=crop, **options).n_images == 2
    assert measure(nets.stack(), tmp_path, crop=22, margin=margin, **options).approximate


# --------------------------------------------------------------------------------------------------------- layers


def test_a_layer_that_does_not_exist() -> None:
    with pytest.raises(LayerError, match=r"'down\.1'.*down\.0"):
        measure(nets.unet(1, "nearest"), noise(2, 64), layers=["down.1"], crop=32)


def test_a_layer_that_is_no_map() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    result = measure(net, noise(2, 32), layers="*", crop=16)
    assert list(result) == ["0"]
    assert "not a map" in result.unmeasured["2"]
    with pytest.raises(LayerError, match="not a map"):
        measure(net, noise(2, 32), layers=["2"], crop=16)
    with pytest.raises(KeyError, match="not a map"):
        result["2"]


def test_a_global_layer_is_named_with_its_operator() -> None:
    net = nets.sequential(nets.conv(), nets.Sorted(), nets.conv(4))
    result = measure(net, noise(2, 32), layers=["0", "2"], crop=16)
    assert list(result) == ["0"]
    assert re.search("global.*sort.*1", result.unmeasured["2"])
    with pytest.raises(LayerError, match="none of the layers can be measured: 2: global: sort in 1"):
        measure(net, noise(2, 32), layers="2", crop=16)


# --------------------------------------------------------------------------------------------------------- models


class Placed(nn.Module):
    """Adds where a pixel is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x + torch.linspace(0, 1, x.shape[-1], device=x.device, dtype=x.dtype))


def test_absolute_position_is_refused_with_the_cause() -> None:
    with pytest.raises(LayerError, match=r"conv: absolute: .*depend"):
        measure(Placed(), noise(2, 48), crop=16)


def test_aligned_corners_are_refused_where_they_are_not_linear() -> None:
    resize = nn.Upsample(scale_factor=2, mode="bicubic", align_corners=True)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), resize)
    with pytest.raises(PadprintError, match=r"absolute.*'bicubic' with align_corners is not read"):
        measure(net, noise(2, 48), layers=["1"], crop=16)


def test_one_input_size_only() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] != 16:
                raise ValueError("16 px and no other")
            return self.conv(x)

    with pytest.raises(ModelError, match="16 px and no other"):
        measure(Fixed(), noise(2, 48), crop=16)


def test_a_head_of_fixed_size_is_no_obstacle() -> None:
    result = measure(nets.fixed_head(32), noise(3, 64), crop=32)
    assert len(result) > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ModelError, match=str(dtype).removeprefix("torch.")):
        measure(nets.stack().to(dtype), noise(2, 32), crop=16)


def test_models_elsewhere() -> None:
    with pytest.raises(ModelError, match="meta"):
        measure(nets.stack().to("meta"), noise(2, 32), crop=16)
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="'cuda'"):
            measure(nets.stack(), noise(2, 32), crop=16, device="cuda")


def test_what_is_no_module() -> None:
    with pytest.raises(ModelError, match="function"):
        measure(lambda x: x, noise(2, 32), crop=16)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"crop": 0}, "crop"),
        ({"crop": -1}, "crop"),
        ({"crop": "a"}, "crop"),
        ({"crop": (16, 16, 16)}, "crop must be one number, or one for each of 2 space axes"),
        ({"crop": 16, "margin": (1, 2, 3)}, "margin must be one number, or one for each of 2 space axes"),
        ({"crop": 16, "groups": 0}, "groups"),
        ({"crop": 16, "batch_size": 0}, "batch_size"),
        ({"crop": 16, "crops_per_image": 0}, "crops_per_image"),
        ({"crop": 16, "margin": -1}, "margin"),
    ],
)
def test_options_out_of_range(options: dict[str, object], named: str) -> None:
    with pytest.raises(PadprintError, match=f"{named}.*got"):
        measure(nets.stack(), noise(2, 32), **options)


def test_a_margin_below_the_reach_is_approximate_and_carries_its_residual() -> None:
    result = measure(nets.stack(), noise(4, 48), layers=["0", "4"], crop=16, margin=2)
    assert result.approximate
    assert result.margin == (2, 2, 2, 2)
    assert result["0"].residual is None
    assert 0 < result["4"].residual < 0.5
    assert "approximate" in result["4"].notes[0]
    exact = measure(nets.stack(), noise(4, 48), layers=["4"], crop=16)
    assert not exact.approximate and exact["4"].residual is None


def test_results_half_written_or_of_another_schema(tmp_path: Path) -> None:
    measure(nets.stack(), noise(3, 32), crop=16).save(tmp_path)
    (tmp_path / "result.json").write_text((tmp_path / "result.json").read_text().replace('"schema": 1', '"schema": 99'))
    with pytest.raises(PadprintError, match="99"):
        load(tmp_path)
    (tmp_path / "patterns.safetensors").unlink()
    with pytest.raises(PadprintError):
        load(tmp_path)


def test_an_unknown_device_or_one_without_numbers() -> None:
    for device in ("meta", "abacus"):
        net = nets.stack()
        with left_as_found(net), pytest.raises(ModelError, match=f"'{device}'"):
            measure(net, noise(2, 32), crop=16, device=device)
    bare = nn.Sequential(nn.MaxPool2d(3, 1, 1))  # nothing to move, and still no such device
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="'cuda'"):
            measure(bare, noise(2, 32), crop=16, device="cuda")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_is_refused() -> None:
    scripted = torch.jit.trace(nets.stack(), torch.zeros(1, 3, 16, 16))
    with pytest.raises(ModelError, match=r"TorchScript.*eager module"):
        measure(scripted, noise(2, 32), crop=16)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"seed": -1}, "seed"), ({"spend": 0}, "spend"), ({"spend": float("nan")}, "spend"), ({"margin": 1.5}, "margin")],
)
def test_more_options_out_of_range(options: dict[str, object], named: str) -> None:
    with pytest.raises(ModelError, match=f"{named} must be .* got"):
        measure(nets.stack(), noise(2, 32), crop=16, **options)


def test_features_that_are_not_finite_are_named() -> None:
    net = nets.stack()
    with torch.no_grad():
        net[2].bias[1] = torch.nan
    measured = measure(net, noise(4, 64), layers=["0", "2"], crop=24)
    assert not torch.isnan(torch.tensor(measured["0"].snr.value))
    named = [warning for warning in measured.warnings if "NaN or infinite" in warning]
    assert len(named) == 1
    assert named[0].startswith("2 holds NaN or infinite values")
