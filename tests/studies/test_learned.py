"""Other readings of a formation study: sums by hand, shares of made-up tables, and the pages' tables from their data."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from padprint import measure
from padprint.images.synthetic import DeadLeaves
from padprint.studies.learned import Reading, alike, by_step, by_task_and_depth, chosen, how_much, joined, shares
from padprint.studies.readings import CropSums, across, likeness, sizes, sums

DATA = Path(__file__).parents[2] / "docs" / "data"


def made(diff, square, average, features=1.0):
    return CropSums(torch.ones(len(diff), dtype=torch.float64), diff.double(), square, average, features)


def test_products_across_groups_leave_out_a_groups_own():
    a, b = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[3.0], [5.0], [7.0]])
    pairs = [float(a[g] * b[h]) for g, h in product(range(3), repeat=2) if g != h]
    assert float(across(a, b)) == pytest.approx(sum(pairs) / 6)


def test_sizes_by_hand():
    diff = torch.tensor(
        [[[[1.0, 2.0]], [[3.0, 2.0]]], [[[2.0, 2.0]], [[1.0, 0.0]]]]
    )  # two groups, 2 channels, 1 x 2 cells
    energy = (1 * 2 + 2 * 2 + 3 * 1 + 2 * 0) / 4
    averaged = (2 * 1.5 + 2 * 1) / 2
    found = sizes(made(diff, 5.0, 4.0, 9.0))
    assert found["snr"] == pytest.approx(energy / (5 - energy))
    assert found["rms"] == pytest.approx(math.sqrt(energy))
    assert found["relative"] == pytest.approx(math.sqrt(energy / 9))
    assert found["snr_average"] == pytest.approx(averaged / (4 - averaged))
    plain = (1.5**2 + 2**2 + 2**2 + 1**2) / 4
    assert found["snr_plain"] == pytest.approx(plain / (5 - energy))


def test_patterns_that_are_the_same_but_for_their_size_are_alike():
    pattern = torch.arange(12.0).reshape(1, 3, 2, 2).expand(4, -1, -1, -1)
    noise = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 1e-4
    same = likeness(made(pattern + noise[0], 99, 99), made(-2 * pattern + noise[1], 99, 99))
    assert same["cosine"] == pytest.approx(-1, abs=1e-3)
    assert same["energy_map"] == pytest.approx(1, abs=1e-3)
    nothing = torch.stack([pattern[0], -pattern[0]])
    assert math.isnan(likeness(made(nothing, 99, 99), made(pattern[:2], 99, 99))["cosine"])


def test_sums_of_crops_say_what_a_measurement_says():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1)).eval()
    scenes = list(DeadLeaves(6, 48, seed=0))
    options = {"layers": ["2"], "crop": 24, "crops_per_image": 4, "groups": 6}
    layer = measure(model, scenes, **options)["2"]
    found = sizes(sums(model, scenes, **options)["2"])
    assert found["snr"] == pytest.approx(layer.snr.value, rel=1e-4)
    assert found["snr_plain"] == pytest.approx(layer.snr_plain.value, rel=1e-4)
    assert found["relative"] == pytest.approx(layer.relative.value, rel=1e-4)


def table(scheme_effect, training_effect, tasks=("photographs", "digits")):
    """A study in which log10 SNR is a sum of what the scheme brings and what training brings to each scheme."""
    rows = []
    for network, task, (i, scheme), seed, (t, step), depth in product(
        ("a", "b"), tasks, enumerate(("zeros", "reflect", "randn")), (0, 1, 2), enumerate((0, 300)), (1, 2)
    ):
        log = -1 + scheme_effect * i + training_effect * t * (-1) ** i + 1e-3 * math.sin(7.0 * len(rows))
        row = {"network": network, "task": task, "scheme": scheme, "seed": seed, "step": step, "depth": depth}
        rows.append(
            {**row, "accuracy": 0.9, "learned": True, "layer": f"l{depth}", "snr": 10**log, "relative": 10 ** (log / 2)}
        )
    return pd.DataFrame(rows)


def read(frame):
    sizes = frame.assign(weights=np.where(frame["step"] == 0, "initial", "trained"), rms=frame["snr"] ** 2)
    return joined(frame, sizes[["network", "task", "scheme", "seed", "weights", "layer", "depth", "snr", "rms"]])


READING = [Reading("one", "snr"), Reading("lin", "snr", scale="linear"), Reading("last", "relative", deepest=True)]


def test_the_scheme_decides_where_only_it_does():
    found = how_much(read(table(0.5, 0.0)), READING, draws=20).set_index("reading")
    assert (found[["initial", "trained", "scheme"]] > 0.99).all(axis=None)
    assert (found["learned"] < 0.01).all()
    assert found.typical["one"] == pytest.approx(1, abs=0.01)
    assert math.isnan(found.typical["lin"])


def test_opposite_changes_are_learned_though_their_mean_is_small():
    found = how_much(read(table(0.0, 0.5)), READING, draws=20).set_index("reading")
    # six cells of equal size, 0, 0, 0, +, -, +: squares 3 - 1/6 around the mean, of which weights alone have 1/6, their
    # interaction with the scheme 4/3, and the scheme 4/3
    assert found.weights["one"] == pytest.approx(1 / 17, abs=0.01)
    assert found.learned["one"] == pytest.approx(9 / 17, abs=0.01)
    assert found.scheme["one"] == pytest.approx(8 / 17, abs=0.01)
    assert found.typical["one"] == pytest.approx(10**0.5, rel=0.01)
    assert found["mean"]["one"] == pytest.approx(10 ** (0.5 / 3), rel=0.01)
    assert found.typical["last"] == pytest.approx(10**0.25, rel=0.01)


def test_tasks_and_layers_are_kept_apart():
    frame = read(table(0.0, 0.5))
    frame.loc[(frame["task"] == "digits") & (frame["weights"] == "trained"), "snr"] *= 10
    ratios = by_task_and_depth(frame, "snr")
    assert ratios.loc["zeros", ("photographs", 1)] == pytest.approx(10**0.5, rel=0.01)
    assert ratios.loc["zeros", ("digits", 2)] == pytest.approx(10**1.5, rel=0.01)


def test_a_floor_and_numbers_at_zero():
    frame = read(table(0.5, 0.0))
    frame.loc[frame.index[0], ["snr", "relative"]] = [-1.0, 0.0]
    assert chosen(frame, Reading("", "snr")).answer.iloc[0] == pytest.approx(-3)
    least = frame["relative"][frame["relative"] > 0].min()
    assert chosen(frame, Reading("", "relative")).answer.iloc[0] == pytest.approx(math.log10(least))


def test_by_step_leaves_out_what_not_every_scheme_reached():
    frame = table(0.5, 0.0, tasks=("photographs",)).query("seed == 0")
    frame = frame.drop(frame[(frame.step == 300) & (frame.scheme == "randn") & (frame.network == "b")].index)
    found = by_step(frame, "snr", ("zeros", "reflect", "randn"))
    assert list(zip(found.network, found.step, strict=True)) == [("a", 0), ("a", 300), ("b", 0)]
    assert found["apart"].tolist() == pytest.approx([10.0] * 3, rel=0.02)
    assert (found["share"] > 0.99).all()


def test_networks_that_were_not_measured_once_more_are_left_out_of_those_readings():
    frame = table(0.5, 0.0)
    sizes = frame[frame["seed"] == 1].assign(
        weights=np.where(frame["step"][frame["seed"] == 1] == 0, "initial", "trained")
    )
    both = joined(frame, sizes[["network", "task", "scheme", "seed", "weights", "layer", "depth", "snr"]])
    found = how_much(both, [Reading("own", "snr"), Reading("again", "snr_again")], draws=20).set_index("reading")
    assert found["rows"].to_dict() == {"own": len(both), "again": len(both) / 3}
    assert found["seeds"].to_dict() == {"own": 3, "again": 1}
    assert math.isnan(found.trained_low["again"])
    assert found.trained_low["own"] > 0.9


def test_likeness_is_summed_up_by_pair():
    rows = [
        ("zeros", "randn", w, v, 2 * v)
        for w, vs in (("initial", (0.1, 0.3, 0.2)), ("trained", (0.5, 0.6, 0.9)))
        for v in vs
    ]
    found = alike(pd.DataFrame(rows, columns=["scheme", "other", "weights", "cosine", "energy_map"]))
    assert found.loc[("zeros", "randn"), ("cosine", "initial")] == pytest.approx(0.2)
    assert found.loc[("zeros", "randn"), ("energy_map", "trained")] == pytest.approx(1.2)


def test_shares_without_seeds_drawn_anew_have_no_interval():
    rows = chosen(read(table(0.5, 0.1)), READING[0])
    assert math.isnan(shares(rows)["scheme"].low)
    assert shares(rows, draws=20)["scheme"].low <= 1
