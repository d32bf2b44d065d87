"""Analysis of variance against tables worked out by hand, scipy and statsmodels."""

import itertools

import numpy as np
import pandas as pd
import pytest

from padprint import PadprintError
from padprint.studies.anova import anova


def layout(values):
    """A table of a 2 x 2 layout with two rows in each cell."""
    rows = [(a, b, y) for (a, b), ys in values.items() for y in ys]
    return pd.DataFrame(rows, columns=["a", "b", "y"])


def test_a_layout_worked_out_by_hand():
    # cell means 2, 4, 6, 12; grand mean 6; means of a 3, 9; of b 4, 8
    frame = layout({("-", "-"): (1, 3), ("-", "+"): (3, 5), ("+", "-"): (5, 7), ("+", "+"): (11, 13)})
    found = anova(frame, "y", ["a", "b", ("a", "b")])
    squares = {term.name: term.squares for term in found.terms}
    # a: 8 * 3^2, b: 8 * 2^2, interaction: 8 * 1^2, residual: 8 rows each 1 away from their cell's mean
    assert squares == pytest.approx({"a": 72, "b": 32, "a x b": 8, "residual": 8})
    assert found.total == pytest.approx(120)
    assert {term.name: term.df for term in found.terms} == {"a": 1, "b": 1, "a x b": 1, "residual": 4}
    assert found["a"].share == pytest.approx(0.6)
    assert found["a"].f == pytest.approx(36)  # 72 / (8 / 4)
    assert found["a"].omega == pytest.approx((72 - 2) / (120 + 2))


def test_one_way_equals_scipy():
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    groups = [generator.normal(shift, 1, n) for shift, n in ((0, 5), (0.5, 9), (1, 7))]
    frame = pd.DataFrame([(i, y) for i, group in enumerate(groups) for y in group], columns=["g", "y"])
    assert anova(frame, "y", ["g"])["g"].f == pytest.approx(stats.f_oneway(*groups).statistic)


def unbalanced():
    generator = np.random.default_rng(1)
    rows = [
        (a, b, c, a * 0.5 + (a == b) + generator.normal())
        for a, b, c in itertools.product(range(2), range(3), range(2))
        for _ in range(generator.integers(1, 5))
    ]
    return pd.DataFrame(rows, columns=["a", "b", "c", "y"])


def test_unbalanced_tables_equal_statsmodels_type_two():
    formula = pytest.importorskip("statsmodels.formula.api")
    from statsmodels.stats.anova import anova_lm

    frame = unbalanced()
    theirs = anova_lm(formula.ols("y ~ C(a) + C(b) + C(c) + C(a):C(b)", frame).fit(), typ=2)
    ours = anova(frame, "y", ["a", "b", "c", ("a", "b")])
    assert [term.squares for term in ours.terms] == pytest.approx(theirs["sum_sq"].tolist())
    assert [term.df for term in ours.terms] == theirs["df"].tolist()


def test_type_two_against_residuals_of_nested_fits():
    """The definition itself, by least squares on dummies: what a term adds to all terms that do not contain it."""
    frame = unbalanced()

    def left(*terms):
        parts = [np.ones((len(frame), 1))]
        parts += [pd.get_dummies(frame[list(term)].astype(str).agg("/".join, axis=1)).to_numpy(float) for term in terms]
        x, y = np.hstack(parts), frame["y"].to_numpy()
        return np.square(y - x @ np.linalg.lstsq(x, y, rcond=None)[0]).sum()

    found = anova(frame, "y", ["a", "b", "c", ("a", "b")])
    assert found["a"].squares == pytest.approx(left("b", "c") - left("a", "b", "c"))
    assert found["a x b"].squares == pytest.approx(left("a", "b", "c") - left("a", "b", "c", ("a", "b")))
    assert found["residual"].squares == pytest.approx(left("a", "b", "c", ("a", "b")))


def study(seed, spread, schemes=4, seeds=3, layers=3):
    """A table of runs: a scheme's effect, and a run's own that all its layers share."""
    generator = np.random.default_rng(seed)
    effect = np.linspace(-1, 1, schemes)
    rows = []
    for scheme, run in itertools.product(range(schemes), range(seeds)):
        own = generator.normal(0, spread)
        rows += [(scheme, run, layer, effect[scheme] + own + generator.normal(0, 0.01)) for layer in range(layers)]
    return pd.DataFrame(rows, columns=["scheme", "seed", "layer", "y"])


def test_intervals_hold_the_share_and_widen_with_the_spread_of_runs():
    options = {"units": ["scheme"], "replicates": "seed", "draws": 300}
    narrow, wide = (anova(study(3, spread), "y", ["scheme", "layer"], **options)["scheme"] for spread in (0.02, 0.5))
    assert narrow.low <= narrow.share <= narrow.high
    assert narrow.high - narrow.low < 0.02
    assert wide.high - wide.low > 0.1


def test_identical_runs_leave_no_interval():
    frame = study(3, 0.0)
    frame["y"] = frame["scheme"] + 0.1 * frame["layer"] ** 2 * frame["scheme"]
    term = anova(frame, "y", ["scheme", "layer"], units=["scheme"], replicates="seed", draws=20)["scheme"]
    assert (term.low, term.high) == pytest.approx((term.share, term.share))


def test_order_of_rows_and_names_of_levels_do_not_matter():
    frame = study(5, 0.3)
    mixed = frame.sample(frac=1, random_state=0).replace({"scheme": {0: "zeros", 1: "reflect", 2: "a", 3: "b"}})
    one, two = (anova(each, "y", ["scheme", "seed", "layer"]) for each in (frame, mixed))
    assert [t.squares for t in one.terms] == pytest.approx([t.squares for t in two.terms])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(y=1.0), "the same in every row"),
        (lambda f: f.assign(y=float("nan")), "finite"),
        (lambda f: f.head(0), "there must be rows"),
        (lambda f: f.drop(columns="scheme"), "no column scheme"),
        (lambda f: f.head(2), "too few"),
    ],
)
def test_what_cannot_be_analysed_is_an_error(change, message):
    with pytest.raises(PadprintError, match=message):
        anova(change(study(0, 0.1)), "y", ["scheme", "layer"])


def test_units_of_different_rows_are_an_error():
    with pytest.raises(PadprintError, match="same rows"):
        anova(study(0, 0.1).iloc[1:], "y", ["scheme"], units=["scheme"], replicates="seed")
