"""Networks, outputs and images of kinds that once gave a wrong number, a wrong reason or a traceback; the right value of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import padprint
from padprint.errors import HaloError, ImagesError, LayerError, ModelError
from padprint.geometry.taint import without_nan
from padprint.geometry.tracing import trace
from padprint.overlap.distance import ErrorSums
from padprint.scenes import DeadLeaves

KERNEL = torch.linspace(-1, 1, 27).reshape(3, 1, 3, 3)


class By(nn.Module):
    """A function of x."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def blurred(x: Tensor, kernel: Tensor = KERNEL) -> Tensor:
    return F.conv2d(x, kernel.to(x), padding=1, groups=3)


def noise(n: int, *size: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(3, *size, generator=generator) for _ in range(n)]


def by_brute_force(net: nn.Module, images: list[Tensor], crop: int, margin: int) -> float:
    """Mean |D| of crops with so much scene around them, one after another."""
    with torch.no_grad():
        inside = slice(margin, margin + crop)
        each = [
            (net(x[None, :, inside, inside].contiguous()) - net(x[None])[..., inside, inside]).abs().mean()
            for x in images
        ]
    return float(torch.stack(each).mean())


# ---------------------------------------------------------------------------------- what is remembered of tensors


def test_what_is_found_of_one_network_stays_with_it() -> None:
    """A weight that both use, converted to the input's type: it is the very tensor that comes back."""
    kernel = KERNEL.double()
    anchored = By(lambda x: blurred(F.interpolate(x, size=(40, 40)), kernel)).double()
    assert trace(anchored, "output", 32)["output"].reason is not None
    found = trace(By(lambda x: blurred(x, kernel)).double(), "output", 32)["output"]
    assert found.reason is None and found.rim == (1, 1, 1, 1)
    assert "_padprint_mark" not in vars(kernel)


def test_a_network_s_own_tensors_keep_no_notes() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(KERNEL.clone())
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen.add_(0 * x.mean())
            return F.conv2d(x * x.mean((2, 3), keepdim=True), self.weight.to(x), padding=1, groups=3)

    net = Gated()
    found = padprint.measure(net, noise(3, 40, 40), layers="output", crop=32)
    assert found["output"].sees_all_through
    assert not vars(net.weight) and not vars(net.seen)


def test_types_and_shapes_taken_from_another_tensor_mix_nothing() -> None:
    """`to`, `new_zeros` and the like depend on no number of the map; what is to blame is named alone."""
    net = By(lambda x: blurred(x).sort(-1).values + x.new_zeros(1, 3, 1, 1) + torch.zeros_like(x))
    reason = trace(net, "output", 24)["output"].reason or ""
    assert "sort" in reason and "batch" not in reason and "zeros" not in reason


# ------------------------------------------------------------------------------------ statistics held constant


@pytest.mark.parametrize(
    "centre",
    [
        lambda x: x - x.flatten(2).topk(4, -1).values.mean(-1)[..., None, None],
        lambda x: x - x.flatten(2).median(-1).values[..., None, None],
        lambda x: (x - x.amin((2, 3), keepdim=True)) / (x.amax((2, 3), keepdim=True) - x.amin((2, 3), keepdim=True)),
    ],
    ids=["topk", "median", "between smallest and largest"],
)
def test_statistics_by_name_and_by_difference(centre: Callable[[Tensor], Tensor]) -> None:
    """Results by name (``.values``), and differences of two statistics, which are not 0 when both are held constant."""
    net, images, crop = By(lambda x: centre(blurred(x))), noise(3, 34, 34), 32
    found = padprint.measure(net.double(), [x.double() for x in images], layers="output", crop=crop)["output"]
    assert found.rim == (1, 1, 1, 1) and found.sees_all_through
    right = []
    for x in images:
        alone = blurred(x[None, :, 1:33, 1:33].double())
        whole = blurred(x[None].double())[..., 1:33, 1:33]  # local: the window's cells, and the statistics of these
        right.append((centre(alone) - centre(whole)).abs().mean())
    assert found.response.value == pytest.approx(float(torch.stack(right).mean()), rel=1e-6)


# ------------------------------------------------------------------------------------------------ place and period


def test_what_depends_on_the_row_less_the_column_is_refused() -> None:
    """Every image holds one crop at one place, and a shift by as much down as across changes nothing."""
    with pytest.raises(ModelError, match="absolute"):
        padprint.measure(By(torch.tril), noise(3, 63, 32), layers="output", crop=32)


def test_cells_that_repeat_after_more_pixels_than_sizes_tell() -> None:
    def some_rows(x: Tensor) -> Tensor:
        kept = torch.arange(x.shape[-2]) % 4 == 0
        return blurred(x * kept.to(x.dtype)[:, None])

    net, images = By(some_rows), noise(3, 40, 34)
    geometry = trace(net, "output", 32)
    assert geometry.period == (4, 1) and geometry["output"].rim == (1, 1, 1, 1)
    found = padprint.measure(net, images, layers="output", crop=32)
    right = []
    for x in images:
        whole, alone = some_rows(x[None])[..., 4:36, 1:33], some_rows(x[None, :, 4:36, 1:33])
        right.append(float((alone - whole).abs().mean()))
    assert found["output"].response.value == pytest.approx(sum(right) / len(right), rel=1e-5)


# ---------------------------------------------------------------------------------------------- what a strip breaks


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialiased_resizing_by_a_factor(mode: str) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1), By(lambda x: F.interpolate(x, scale_factor=0.5, mode=mode, antialias=True))
    )
    wide = 1 if mode == "bilinear" else 2
    found = trace(net, "1", 32)["1"]
    assert found.rim == (wide,) * 4 and found.exact


def test_a_network_that_divides_by_the_cells_across_less_one() -> None:
    """As coordinates for `grid_sample` with corners aligned do; on a strip of one cell that is 0."""

    def moved(x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        rows, columns = torch.meshgrid(torch.arange(h).to(x) + 1.5, torch.arange(w).to(x), indexing="ij")
        grid = torch.stack([2 * columns / (w - 1) - 1, 2 * rows / (h - 1) - 1], -1)
        return F.grid_sample(x, grid.expand(len(x), -1, -1, -1), align_corners=True)

    found = trace(By(moved).double(), "output", 32)["output"]
    assert found.reason is None and found.rim == (0, 2, 0, 0)


def test_offsets_that_padding_reaches_leave_the_process_alive() -> None:
    """torchvision's kernel of deformable convolutions reads memory at NaN, which ends the process."""
    ops = pytest.importorskip("torchvision.ops")
    weight = torch.ones(3, 3, 3, 3)

    def deformed(x: Tensor) -> Tensor:
        offsets = blurred(x).mean(1, keepdim=True).tanh().expand(-1, 18, -1, -1).contiguous()
        return ops.deform_conv2d(x, offsets, weight.to(x), padding=1)

    found = trace(By(deformed), "output", 32)["output"]
    assert found.reason is None and found.rim == (2, 2, 2, 2)


def test_other_libraries_operators_get_no_nan_but_in_their_first_tensor() -> None:
    x, offsets, whole = torch.full((2,), torch.nan), torch.tensor([torch.nan, 2.0]), torch.tensor([1])
    (one, two), named = without_nan((x, offsets), {"mask": offsets, "index": whole, "stride": 1})
    assert one is x and two.tolist() == [0.0, 2.0] and named["mask"].tolist() == [0.0, 2.0]
    assert named["index"] is whole and named["stride"] == 1 and offsets.isnan().any()


def test_numbers_that_padding_reaches_are_looked_up() -> None:
    """NaN as a whole number is the smallest there is, which no table holds."""
    table = torch.linspace(-1, 1, 201).cos()
    net = By(lambda x: table.to(x)[(10 * blurred(x)).tanh().mul(100).add(100).long()])
    assert trace(net, "output", 32)["output"].rim == (1, 1, 1, 1)


def test_nan_of_the_network_s_own_is_the_reason() -> None:
    net = By(lambda x: torch.cat([blurred(x), torch.full_like(x[:, :1], torch.nan)], 1))
    reason = trace(net, "output", 32)["output"].reason or ""
    assert "NaN of the network's own" in reason and "global" not in reason


# ----------------------------------------------------------------------------------------------- precision and batch


def test_a_network_that_does_other_things_in_double_precision_is_measured_in_its_own() -> None:
    net = By(lambda x: blurred(x) * (2 if x.dtype == torch.float64 else 1))
    images = noise(3, 34, 34)
    found = padprint.measure(net, images, layers="output", crop=32)["output"]
    assert found.rim == (1, 1, 1, 1)
    assert found.response.value == pytest.approx(by_brute_force(net, images, 32, 1), rel=1e-5)


def test_rounding_that_grows_is_not_the_batch_s_doing() -> None:
    """A small signal on an offset: what single precision leaves of it differs with the batch; in double precision all is left."""
    net = By(lambda x: blurred(1e6 * ((1e-6 * x + len(x)) - len(x))))
    assert trace(net, "output", 32)["output"].rim == (1, 1, 1, 1)


@pytest.mark.parametrize("many", [4, 16])
def test_padding_that_depends_on_how_many_images_there_are(many: int) -> None:
    """Nothing changes beyond the rim, so only the rim itself can tell."""
    net = By(lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect" if len(x) > 3 else "replicate"), KERNEL, groups=3))
    images = noise(2, 80, 80)
    with pytest.raises(ModelError, match="batch"):
        padprint.measure(net, images, layers="output", crop=32, batch_size=many)
    with pytest.raises(HaloError, match="batch"):
        padprint.halo(net, images, tile=32, batch_size=many, tiles_per_image=16)
    one_by_one = padprint.measure(net, images, layers="output", crop=32, batch_size=1)
    assert one_by_one["output"].rim == (1, 1, 1, 1)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.plain = By(lambda x: x - x.mean(0, keepdim=True)), By(blurred)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mixed(x), self.plain(x)


def test_one_branch_that_mixes_a_batch_is_refused_and_not_the_others() -> None:
    found = trace(Branches(), ["mixed", "plain"], 32)
    assert "batch" in (found["mixed"].reason or "") and found["plain"].rim == (1, 1, 1, 1)


# ---------------------------------------------------------------------------------------------------------- halos


@pytest.mark.parametrize("scale", [1e18, 1e30, 1e-18, 1e-30])
def test_halos_of_very_large_and_very_small_outputs(scale: float) -> None:
    images = noise(3, 48, 48)
    usual = padprint.halo(By(blurred), images, tile=32).first.outputs["output"]
    found = padprint.halo(By(lambda x: blurred(x) * scale), images, tile=32).first.outputs["output"]
    assert found.scale == pytest.approx(usual.scale * scale, rel=1e-4)
    torch.testing.assert_close(found.errors, usual.errors, rtol=1e-3, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("error", "as_numbers"),
    [
        ("relative", lambda x: x),
        ("absolute", lambda x: x),
        ("maximum", lambda x: x),
        ("labels", lambda x: x),
        ("relative", lambda x: x.float()),
        ("maximum", lambda x: x.float()),
    ],
)
def test_classes_that_were_not_seen_to_change_may_change(error: str, as_numbers: Callable[[Tensor], Tensor]) -> None:
    """One cell of a class map that changes is worth more than the tolerance, so that tiles of a few images without any tell little."""

    def classes(x: Tensor) -> Tensor:
        y = F.conv2d(x, torch.full((4, 3, 9, 9), 0.01) * torch.arange(1, 5)[:, None, None, None].cos().to(x), padding=4)
        return as_numbers((y + 8 * x[:, :1] * torch.arange(4)[:, None, None].sin().to(x)).argmax(1, keepdim=True))

    found = padprint.halo(By(classes), list(DeadLeaves(3, 96)), tile=32, tolerance=0.001, error=error)
    assert found.first.structural == 4
    (halo,) = found.first.advised.halos.values()
    assert min(halo) == 4


def test_resolution_of_whole_numbers() -> None:
    """Half a cell of 100: one that changes by 1 is an rms of 0.1, and of 0.05 on a scale of 2."""
    sums = ErrorSums(3, 4)
    sums.count[:] = 100
    rms = (0.5 / 100) ** 0.5
    assert sums.resolution("absolute", 2.0, whole=True)[0, 0] == pytest.approx(rms)
    assert sums.resolution("relative", 2.0, whole=True)[0, 0] == pytest.approx(rms / 2)
    assert sums.resolution("maximum", 2.0, whole=True)[0, 0] == 0.5
    assert sums.resolution("labels", 2.0, whole=False)[0, 0] == pytest.approx(0.005)
    assert not sums.resolution("relative", 2.0, whole=False).any()


@dataclass
class Answer:
    map: Tensor
    score: float


def test_outputs_in_a_dataclass() -> None:
    found = padprint.halo(By(lambda x: Answer(blurred(x), 1.0)), noise(3, 48, 48), tile=32)
    assert found.first.structural == 1 and list(found.first.outputs) == ["output"]


# ------------------------------------------------------------------------------------------------- one clear line


def test_numpy_arrays_of_the_other_byte_order() -> None:
    images = noise(3, 34, 34)
    net = By(blurred)
    usual, found = (
        padprint.measure(net, given, layers="output", crop=32)["output"].response.value
        for given in (images, [x.numpy().astype(">f4") for x in images])
    )
    assert found == usual


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (lambda x: x.to_sparse(), "sparse_coo tensor"),
        (lambda x: x.to("meta"), "meta tensor"),
        (lambda x: np.array([["a"]]), "ndarray"),
    ],
)
def test_images_without_numbers(image: Callable[[Tensor], Any], said: str) -> None:
    with pytest.raises(ImagesError, match=said):
        padprint.measure(By(blurred), [image(x) for x in noise(1, 34, 34)], layers="output", crop=32)


def test_a_seed_that_no_generator_takes() -> None:
    with pytest.raises(ModelError, match=r"seed must be below 2\*\*63"):
        padprint.measure(By(blurred), noise(1, 34, 34), layers="output", crop=32, seed=1 << 64)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_torchscript_and_compiled_modules_inside() -> None:
    with pytest.raises(ModelError, match="0 is TorchScript"):
        trace(nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3))), "0", 32)
    compiled: Any = torch.compile(nn.Conv2d(3, 4, 3), backend="eager")
    with pytest.raises(ModelError, match="0 is compiled"):
        trace(nn.Sequential(compiled), "0", 32)


def test_an_exported_program_as_a_module() -> None:
    program = torch.export.export(nn.Conv2d(3, 4, 3), (torch.randn(1, 3, 32, 32),))
    with pytest.raises(ModelError, match="unflatten"):
        trace(program.module(), "output", 32)


def test_one_number_is_no_map() -> None:
    with pytest.raises(LayerError, match="not a map"):
        padprint.measure(By(torch.sum), noise(1, 34, 34), layers="output", crop=32)
