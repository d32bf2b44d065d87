"""The reliability study's truths, checked without its metrics: by looking at what padding does to each network."""

import pytest
import torch

from padprint.studies.known import CROP, LAYER, Marked, Shifted, graded, injected, known

CASES = {case.name: case for case in [*known(), *injected((0.0, 0.3))]}


def change(case, seed, count=3):
    """D of crops from the middle of scenes, without padprint: the crop alone less the same cells of the whole scene."""
    net, changes = case.network(seed), []
    for scene in case.scenes(seed, count):
        size = scene.shape[-1]
        corner = (size - CROP) // 2
        with torch.no_grad():
            alone = net(scene[None, :, corner : corner + CROP, corner : corner + CROP])
            whole = net(scene[None])
        n = alone.shape[-1]  # without padding, the first cell of either map is centred on the same offset
        changes.append(alone - whole[..., corner : corner + n, corner : corner + n])
    return torch.cat(changes)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.response])
def test_padding_changes_nothing_where_it_is_said_not_to(name):
    assert change(CASES[name], 1).abs().max() < 1e-5


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.response])
def test_padding_changes_features_where_it_is_said_to(name):
    assert change(CASES[name], 1).square().mean().sqrt() > 0.01


@pytest.mark.parametrize("amplitude", [0.1, 0.5])
def test_the_injected_pattern_has_the_size_it_is_said_to_have(amplitude):
    net = Marked(5, amplitude)
    assert net.pattern().square().mean().sqrt().item() == pytest.approx(amplitude, rel=1e-5)
    with torch.no_grad():
        x = torch.randn(1, 3, CROP, CROP)
        alone = net(x)
        wide = net(torch.nn.functional.pad(x, (16, 16, 16, 16)))[..., 16:-16, 16:-16]
    # zeros around the crop are what padding supplies, so the linear part is the same and the pattern is left over
    assert torch.allclose((alone - wide)[0], net.pattern(), atol=1e-5)


def test_the_pattern_stops_at_its_reach_and_differs_between_channels():
    pattern = Marked(0, 1.0).pattern()
    assert pattern[:, 16:-16, 16:-16].abs().max() == 0
    flat = pattern.flatten(1)
    assert torch.linalg.matrix_rank(flat.double()) == len(flat)


def test_features_have_variance_1():
    for net in (Marked(2, 0.0), Shifted(2, 0.0)):
        scenes = torch.stack(list(CASES["constant shift"].scenes(9, 4)))
        with torch.no_grad():
            inner = net(scenes)[..., 128:-128, 128:-128]
        assert inner.var().item() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("size", [CROP, 120])
def test_the_shift_is_the_same_in_all_cells(size):
    net, bare = Shifted(3, 0.5), Shifted(3, 0.0)
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        shift = net(x) - bare(x)
    assert torch.allclose(shift, shift[..., :1, :1].expand_as(shift), atol=1e-5)
    if size == CROP:
        assert shift.abs().mean().item() == pytest.approx(0.5, rel=1e-4)


def test_the_linear_layer_has_no_mean_pattern_but_a_response():
    """40 crops: the mean change is within what chance allows, the change of a single crop is not."""
    case = CASES["zeros, linear, mean 0"]
    edge = change(case, 1, 40)[:, :, 0].flatten(1)
    assert edge.std() > 0.1
    standard_error = edge.mean(1).std() / len(edge) ** 0.5
    assert abs(edge.mean()) < 4 * standard_error


def test_position_in_scenes():
    scene = torch.zeros(3, 10, 7)
    made = graded(scene)
    assert made[:, 0].tolist() == [[1.5] * 7] * 3
    assert made[:, -1].tolist() == [[-1.5] * 7] * 3


def test_seeds_decide():
    for case in known():
        x = torch.randn(1, 3, CROP, CROP, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            first, again, other = case.network(1)(x), case.network(1)(x), case.network(2)(x)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(case.scenes(1, 2)[1], case.scenes(1, 5)[1])
        assert LAYER in dict(case.network(1).named_modules())
