"""Operators that users teach padprint, from outside of the package."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import padprint
from padprint.padding import Windowed, register_reader
from padprint.padding.operators import _READERS
from padprint.scenes import DeadLeaves


@torch.library.custom_op("padprint_test::blur", mutates_args=())
def blur(x: Tensor) -> Tensor:
    """The mean of three cells along the last axis, zeros beyond both ends."""
    return torch.nn.functional.avg_pool1d(x.flatten(0, -2), 3, 1, 1).reshape(x.shape)


def read_blur(args, kwargs):
    (x,) = args
    return Windowed(
        "blur", x, (-1,), (3,), (1,), (1,), ((1, 1),), 0.0, lambda op, padded: padded.unfold(-1, 3, 1).mean(-1)
    )


class Blur(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return blur(blur(x))


@pytest.fixture
def taught() -> Iterator[None]:
    register_reader("padprint_test::blur")(read_blur)
    yield
    del _READERS["padprint_test::blur"]


def test_before_it_is_known_its_rim_is_found_and_not_called_exact() -> None:
    found = padprint.trace(Blur(), "output", 16)["output"]
    assert (found.rim, found.exact) == ((0, 0, 2, 2), False)
    assert {one.mode for one in padprint.inspect(Blur(), 16).operators} == {"unclassified"}


@pytest.mark.usefixtures("taught")
def test_it_is_traced_and_inspected() -> None:
    found = padprint.trace(Blur(), "output", 16)["output"]
    assert (found.rim, found.exact) == ((0, 0, 2, 2), True)
    operators = padprint.inspect(Blur(), 16).operators
    assert [(one.operator, one.mode) for one in operators] == [("blur", "zeros")] * 2


@pytest.mark.usefixtures("taught")
def test_schemes_stand_in_for_its_padding() -> None:
    x = torch.arange(5.0).expand(1, 1, 5, 5)
    with padprint.padding.use("replicate"):
        found = Blur()(x)
    # 0 1 2 3 4, ends repeated: means 1/3 1 2 3 11/3; and of these again
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([5 / 9, 10 / 9, 2.0, 26 / 9, 31 / 9]))


@pytest.mark.usefixtures("taught")
def test_what_is_measured_is_right() -> None:
    """One image of ones, zeros outside: the first cells lose 1/3, then of what is left another share."""
    ones = [torch.ones(1, 24, 24)] * 3
    found = padprint.measure(Blur(), ones, layers="output", crop=8)["output"]
    # blurred once: 2/3 1 1 ...; twice: (0 + 2/3 + 1)/3 = 5/9, (2/3 + 1 + 1)/3 = 8/9
    torch.testing.assert_close(found.pattern[0, 3, :3], torch.tensor([5 / 9 - 1, 8 / 9 - 1, 0.0], dtype=torch.float64))


def test_names_are_wanted() -> None:
    with pytest.raises(padprint.PaddingError, match="names of operators"):
        register_reader()
    with pytest.raises(padprint.PaddingError, match="names of operators"):
        register_reader(len)  # type: ignore[arg-type]


@pytest.mark.usefixtures("taught")
def test_a_comparison_swaps_it() -> None:
    scenes = DeadLeaves(4, 48)
    mono = [scene[:1] for scene in scenes]
    found = padprint.compare(Blur(), mono, ["own", "replicate"], layers="output", crop=16)
    assert found["replicate"]["output"].rms.value < found["own"]["output"].rms.value
