"""Dead leaves: what is in front hides the rest, the same statistics everywhere, one scene for one seed."""

import numpy as np
import pytest
import torch

from padprint.errors import ImagesError
from padprint.images import synthetic as scenes
from padprint.images.synthetic import DeadLeaves, dead_leaves


def slow(size, leaves, periodic):
    """Every pixel takes the colour of the first leaf that covers it, pixel by pixel."""
    centres, radii, colours = leaves
    picture = np.full((*size, 3), np.nan, dtype=np.float32)
    for i in range(size[0]):
        for j in range(size[1]):
            for (y, x), radius, colour in zip(centres, radii, colours, strict=True):
                dy, dx = abs(i - y), abs(j - x)
                if periodic:
                    dy, dx = min(dy % size[0], -dy % size[0]), min(dx % size[1], -dx % size[1])
                if dy * dy + dx * dx <= radius * radius:
                    picture[i, j] = colour
                    break
    return picture


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("few", [0, 10**9], ids=["leaf by leaf", "pixel by pixel"])
def test_a_pixel_shows_the_leaf_in_front(monkeypatch, periodic, few):
    drawn = []
    draw = scenes._draw

    def watched(*args):
        drawn.append(draw(*args))
        return drawn[-1]

    monkeypatch.setattr(scenes, "_draw", watched)
    monkeypatch.setattr(scenes, "_DRAWN", 300)
    monkeypatch.setattr(scenes, "_FEW", few)
    if few == 0:  # the last pixels too leaf by leaf
        monkeypatch.setattr(
            scenes, "_fill", lambda scene, free, leaves, _, periodic: scenes._lay(scene, free, leaves, periodic)
        )
    found = dead_leaves((17, 26), 3, radii=(2, 8), periodic=periodic)
    every = tuple(np.concatenate(part) for part in zip(*drawn, strict=True))
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), slow((17, 26), every, periodic))


def test_the_seed_decides_and_nothing_else():
    torch.manual_seed(0)
    first = dead_leaves(40, (1, 2))
    torch.manual_seed(1)
    assert torch.equal(first, dead_leaves(40, (1, 2)))
    assert not torch.equal(first, dead_leaves(40, (1, 3)))


def test_borders_are_as_the_middle():
    """Mean, variance and how often neighbours share a leaf do not depend on the place."""
    x = torch.stack([dead_leaves(24, (7, i), radii=(3, 10)) for i in range(120)])
    assert x.shape == (120, 3, 24, 24) and x.dtype == torch.float32
    assert x.min() >= 0 and x.max() <= 1
    edge, middle = x[:, :, 0], x[:, :, 12]
    for part in (edge, middle):
        assert abs(part.mean() - 0.5) < 0.04  # 3 standard errors of some 500 leaves
        assert abs(12 * part.var() - 1) < 0.1
    same = [(row[..., 1:] == row[..., :-1]).float().mean().item() for row in (edge, middle, x[:, :, -1], x[..., 0])]
    assert max(same) - min(same) < 0.05
    assert 0.5 < min(same) < max(same) < 0.95


def test_a_periodic_scene_has_no_seam():
    x = torch.stack([dead_leaves(24, (5, i), radii=(3, 10), periodic=True) for i in range(60)])
    across = (x[:, :, 0] == x[:, :, -1]).float().mean()
    inside = (x[:, :, 12] == x[:, :, 11]).float().mean()
    assert abs(across - inside) < 0.04
    plain = torch.stack([dead_leaves(24, (5, i), radii=(3, 10)) for i in range(60)])
    assert (plain[:, :, 0] == plain[:, :, -1]).float().mean() < inside - 0.3


def test_a_sequence_of_scenes():
    leaves = DeadLeaves(5, (20, 30), seed=4)
    assert len(leaves) == len(list(leaves)) == 5
    assert leaves[3].shape == (3, 20, 30)
    assert torch.equal(leaves[-1], leaves[4])
    assert torch.equal(DeadLeaves(50, (20, 30), seed=4)[3], leaves[3])
    assert torch.allclose(leaves[3] * 12**-0.5 + 0.5, dead_leaves((20, 30), (4, 3)))
    with pytest.raises(IndexError):
        leaves[5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "a pixel or more, but size is 0"),
        ({"size": 9, "radii": (5, 2)}, r"radii must be .* but got \(5, 2\)"),
        ({"size": 9, "radii": (0.1, 2)}, r"radii must be .* but got \(0.1, 2\)"),
        ({"size": (90, 16), "radii": (2, 8), "periodic": True}, "90 x 16 px holds radii below half its size, not 8 px"),
    ],
)
def test_what_makes_no_sense_is_said(arguments, message):
    with pytest.raises(ImagesError, match=message):
        dead_leaves(seed=0, **arguments)


def test_no_scenes():
    with pytest.raises(ImagesError, match="count is 0"):
        DeadLeaves(0, 9)
