"""The closed-form position probe: against scikit-learn, by hand, and on networks whose answer is known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import left_as_found, noise
from nets import Lambda, box_filter, pointwise, stack, valid
from padprint.baselines.probe import (
    BORDER,
    STRENGTHS,
    FoldGrams,
    cross_validated,
    fit,
    gram,
    probe,
    squared_errors,
    targets,
)
from padprint.errors import ImagesError, LayerError, ModelError
from padprint.images.synthetic import DeadLeaves
from padprint.measuring.crops import iterate
from padprint.measuring.engine import measure
from padprint.network.preserved import generators
from padprint.padding import convert
from padprint.results.measurement import Estimate
from padprint.results.statistics import interval_of

OPTIONS = {"crop": 16, "crops_per_image": 4}


def cells(folds: int, channels: int, rows: int = 6, columns: int = 5, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """For each fold, features that hold something of position, `(cells, C)`; and the targets of the cells."""
    generator = torch.Generator().manual_seed(seed)
    y = targets((rows, columns))
    mix = torch.randn(3, channels, generator=generator, dtype=torch.float64)
    features = [
        3 + y @ mix + 0.5 * torch.randn(len(y), channels, generator=generator, dtype=torch.float64)
        for _ in range(folds)
    ]
    return features, y


def by_sklearn(x: list[Tensor], y: Tensor, strength: float, test: int, *out: int) -> np.ndarray:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="its Ridge is the reference")
    """Squared errors `(T,)` on one fold of ridge regression on all folds but it and `out`."""
    train = [k for k in range(len(x)) if k != test and k not in out]
    features, wanted = torch.cat([x[k] for k in train]), y.repeat(len(train), 1)
    energy = (features - features.mean(0)).square().sum(0).mean()
    model = linear_model.Ridge(alpha=float(strength * energy), solver="cholesky").fit(features.numpy(), wanted.numpy())
    return ((model.predict(x[test].numpy()) - y.numpy()) ** 2).sum(0)


def numbers(one: Estimate) -> tuple[float, float, float]:
    return one.value, one.low, one.high


def r2(errors: list[np.ndarray], y: Tensor) -> np.ndarray:
    spread = ((y - y.mean(0)) ** 2).sum(0).numpy()
    return 1 - np.sum(errors, 0) / (len(errors) * spread)


@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_r2_and_its_replicates_are_those_of_sklearns_ridge(strength: float) -> None:
    x, y = cells(4, 7)
    value, replicates = cross_validated(torch.stack([gram(one, y) for one in x]), 3, [strength])
    np.testing.assert_allclose(value, r2([by_sklearn(x, y, strength, k) for k in range(4)], y), atol=1e-10)
    for out in range(4):
        errors = [by_sklearn(x, y, strength, k, out) for k in range(4) if k != out]
        np.testing.assert_allclose(replicates[out], r2(errors, y), atol=1e-10)


def test_the_strength_of_a_fold_is_chosen_among_the_other_folds_alone() -> None:
    x, y = cells(4, 25, rows=4, columns=3)
    errors = []
    for test in range(4):
        others = [k for k in range(4) if k != test]
        tried = np.array([sum(by_sklearn(x, y, s, k, test) for k in others) for s in STRENGTHS])
        best = tried.argmin(0)
        errors.append(np.array([by_sklearn(x, y, STRENGTHS[s], test)[t] for t, s in enumerate(best)]))
    value, _ = cross_validated(torch.stack([gram(one, y) for one in x]), 3, STRENGTHS)
    np.testing.assert_allclose(value, r2(errors, y), atol=1e-9)


def test_shrinkage_by_hand() -> None:
    """One feature, the target itself: beta = 1 / (1 + s), so that the error is (s / (1 + s))^2 of the spread."""
    y = targets((4, 4))[:, :1]
    one = gram(y, y)
    (w,) = fit(one, 1, [1.0])
    spread = float((y - y.mean()).square().sum())
    assert float(squared_errors(one, w)) == pytest.approx(spread / 4)
    value, replicates = cross_validated(torch.stack([one] * 3), 1, [1.0])
    assert value.tolist() == pytest.approx([0.75])
    assert replicates.flatten().tolist() == pytest.approx([0.75] * 3)


def test_targets_by_hand() -> None:
    row, column, border = targets((2, 4)).T
    assert row.tolist() == [0.25] * 4 + [0.75] * 4
    assert column.tolist() == [0.125, 0.375, 0.625, 0.875] * 2
    assert border.tolist() == [0.25, 0.5, 0.5, 0.25] * 2


def test_coordinates_as_features_are_read_out_whole() -> None:
    sums = FoldGrams()
    maps = targets((6, 5)).T.reshape(3, 6, 5)
    for fold in range(3):
        sums.add(fold, 100 + 5 * maps.unsqueeze(0))
    value, _ = cross_validated(sums.stacked(), 3, STRENGTHS)
    assert (value > 1 - 1e-6).all()
    assert (value <= 1).all()


def test_constant_features_tell_nothing_and_a_single_row_has_no_rows_to_tell() -> None:
    sums = FoldGrams()
    for fold in range(3):
        sums.add(fold, torch.full((2, 4, 1, 5), 1e4))
    value, _ = cross_validated(sums.stacked(), 3, STRENGTHS)
    assert value[0].isnan()
    assert value[1:].tolist() == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_tells_nothing(dtype: torch.dtype) -> None:
    """Features that are one number, but for a last bit that is another one right of the middle."""
    sums = FoldGrams()
    maps = torch.full((1, 4, 6, 6), 0.3, dtype=dtype)
    maps[..., 3:] = maps[..., 3:].nextafter(torch.ones((), dtype=dtype))
    for fold in range(3):
        sums.add(fold, maps)
    value, _ = cross_validated(sums.stacked(), 3, STRENGTHS, sums.rounding)
    assert value.tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    value, _ = cross_validated(sums.stacked(), 3, STRENGTHS)
    assert value[1] > 0.5


def test_a_large_mean_costs_no_precision() -> None:
    near, far = FoldGrams(), FoldGrams()
    generator = torch.Generator().manual_seed(0)
    for fold in range(3):
        maps = torch.randn(2, 5, 6, 6, generator=generator).double() + targets((6, 6)).T[:1].reshape(1, 1, 6, 6)
        near.add(fold, maps)
        far.add(fold, maps + 1e7)
    one, two = (cross_validated(sums.stacked(), 3, STRENGTHS)[0] for sums in (near, far))
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)


# ------------------------------------------------------------------------------------------------------------ networks


def test_zeros_around_ones() -> None:
    """A box filter on a scene of ones is 1 inside, 2/3 at the edges, 4/9 in the corners: a line through that by hand."""
    found = probe(box_filter(), [torch.ones(3, 32, 32)] * 4, **OPTIONS, strengths=[1e-9])["0"]
    edge = torch.ones(16)
    edge[[0, -1]] = 2 / 3
    x, y = torch.outer(edge, edge).double().flatten(), targets((16, 16))[:, 2]
    expected = float(torch.corrcoef(torch.stack([x, y]))[0, 1]) ** 2
    assert found.border.padded.value == pytest.approx(expected, abs=1e-6)
    assert found.row.padded.value == pytest.approx(0, abs=1e-6)
    for target in ("row", "column", BORDER):
        assert getattr(found, target).optimal.value == pytest.approx(0, abs=1e-12)
        assert getattr(found, target).added.value == pytest.approx(getattr(found, target).padded.value, abs=1e-12)


@pytest.mark.parametrize("make", [pointwise, valid])
def test_nothing_is_added_where_nothing_is_padded(make: object) -> None:
    for layer in probe(make(), noise(6, 48), **OPTIONS).values():
        for target in ("row", "column", BORDER):
            gain = getattr(layer, target)
            assert numbers(gain.padded) == pytest.approx(numbers(gain.optimal), abs=1e-6)
            assert numbers(gain.added) == pytest.approx((0, 0, 0), abs=1e-6)


def test_dead_leaves_hold_no_position_and_padding_adds_some() -> None:
    scenes = DeadLeaves(12, 64, seed=1, radii=(2, 12))
    found = probe(stack(), scenes, crop=16, crops_per_image=8)["4"]
    for target in ("row", "column", BORDER):
        optimal = getattr(found, target).optimal
        assert optimal.low <= 0 <= optimal.high or -0.02 < optimal.value < 0
        assert abs(optimal.value) < 0.02
    assert found.border.padded.low > 0.05
    assert found.border.added.low > 0.05


def test_no_false_alarm_where_features_hold_slopes_by_chance() -> None:
    """Smooth random fields have a slope each; five folds of them rarely agree on one."""
    generator, y = torch.Generator().manual_seed(0), targets((6, 6)) - 0.5
    alarms = torch.zeros(3)
    for _ in range(60):
        fields = nn.functional.interpolate(torch.randn(5, 4, 3, 3, generator=generator).double(), 6, mode="bilinear")
        found = interval_of(*cross_validated(torch.stack([gram(one.flatten(1).T, y) for one in fields]), 3, STRENGTHS))
        alarms += found.low > 0
    assert alarms.max() <= 4


def test_batches_do_not_matter() -> None:
    images = noise(5, 40)
    one, two = (probe(stack(), images, **OPTIONS, batch_size=n)["4"] for n in (1, 4))
    for target in ("row", "column", BORDER):
        a, b = getattr(one, target).padded, getattr(two, target).padded
        assert a.value == pytest.approx(b.value, abs=1e-6)
        assert a.low == pytest.approx(b.low, abs=1e-5)


def test_a_mirrored_network_on_mirrored_scenes_scores_the_same() -> None:
    net, images = stack(), noise(5, 22)  # room for one crop
    mirrored = Lambda(lambda x: net(x.flip(-1)).flip(-1))
    mirrored.inner = net
    one = probe(net, images, crop=16)["4"]
    two = next(iter(probe(mirrored, [x.flip(-1) for x in images], crop=16, layers=[""]).values()))
    for target in ("row", "column", BORDER):
        assert getattr(one, target).padded.value == pytest.approx(getattr(two, target).padded.value, abs=1e-5)


def test_cells_handed_over_are_those_that_are_probed() -> None:
    net, images = stack(), noise(4, 40)
    crops, sums = iterate(net, images, **OPTIONS, groups=4), FoldGrams()
    for batch in crops:
        sums.add(batch.group, batch.padded["4"])
    expected, _ = cross_validated(sums.stacked(), 3, STRENGTHS)
    found = probe(net, images, **OPTIONS, groups=4)
    assert [getattr(found["4"], target).padded.value for target in ("row", "column", BORDER)] == pytest.approx(
        expected.tolist()
    )
    assert (found.n_images, found.n_crops) == (4, 16) == (crops.n_images, crops.n_crops)
    text = str(found)
    assert "border" in text
    assert "4 images, 16 crops" in text
    assert found.to_dict()["layers"]["4"]["row"]["added"].keys() == {"value", "low", "high"}


def test_between_batches_the_model_is_as_it_was_and_gradients_flow() -> None:
    net = stack().train()
    readout = torch.zeros(4, requires_grad=True)
    with left_as_found(net):
        for batch in iterate(net, noise(2, 40), **OPTIONS, batch_size=3):
            assert net.training
            assert torch.is_grad_enabled()
            torch.einsum("bchw,c->", batch.padded["4"], readout).backward()
            torch.testing.assert_close(batch.padded["4"], net(batch.pixels).detach())
            break
    assert readout.grad.abs().sum() > 0


@pytest.mark.parametrize("batch_size", [2, 7])
def test_crops_of_a_network_that_draws_its_padding_are_those_of_measure(batch_size: int) -> None:
    """Its generators are put back between batches, and yet the next batch goes on where the last one stopped."""
    net, images = convert(stack(), "randn", seed=3), noise(4, 40)
    options = {**OPTIONS, "layers": ["4"], "crops_per_image": 5, "groups": 2, "seed": 7, "batch_size": batch_size}
    before = [one.get_state() for one in generators(net)]
    total, count = torch.zeros(()), 0
    for batch in iterate(net, images, **options):
        assert all(one.get_state().equal(state) for one, state in zip(generators(net), before, strict=True))
        total = total + (batch.padded["4"].double() - batch.optimal["4"].double()).sum(0)
        count += len(batch.pixels)
    assert before
    pattern = measure(net, images, **options)["4"].pattern
    torch.testing.assert_close(total / count, pattern, atol=1e-6, rtol=0)
    assert pattern.abs().max() > 0.01


def test_circular_padding_of_one_period_is_optimal_padding() -> None:
    scenes = [one.repeat(1, 3, 3) for one in noise(5, 16)]
    own, circular = (probe(stack(), scenes, crop=16, padding=name)["4"] for name in (None, "circular"))
    assert own.border.added.low > 0.05
    assert abs(circular.border.added.value) < 1e-6


def test_bad_input() -> None:
    net = stack()
    with left_as_found(net):
        with pytest.raises(ImagesError, match="2 folds of images are too few: it needs 3 images"):
            probe(net, noise(2, 40), **OPTIONS)
        with pytest.raises(ModelError, match=r"ridge strengths are numbers above 0, but got \[0.0\]"):
            probe(net, noise(3, 40), strengths=[0.0])
        with pytest.raises(TypeError, match="no such option: distributed"):
            probe(net, noise(3, 40), distributed=True)
        with pytest.raises(ImagesError, match="too small"):
            probe(net, noise(3, 20), **OPTIONS)
        with pytest.raises(ImagesError, match="image 1: 1 of 1 images are too small"):
            probe(net, (x for x in [*noise(1, 40), *noise(2, 20)]), **OPTIONS)
        with pytest.raises(LayerError, match="no layer of the model is called 'head'"):
            probe(net, noise(3, 40), layers="head", **OPTIONS)
        probe(net, noise(3, 40), **OPTIONS)
