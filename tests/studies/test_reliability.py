"""The reliability study: its tables from records made by hand, its resumption, and its truths on a few real scores."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from padprint.cli import app
from padprint.errors import ModelError, ResultError
from padprint.studies import reliability, reliability_amplitude, scores
from padprint.studies.known import LAYER, known
from padprint.studies.reliability import QUICK, Settings, run, units
from padprint.studies.reliability_tables import Reliability
from padprint.studies.scores import Score, Trial, ppp


def good(trial):
    return {"PPP-SNR": 0.0}


def bad(trial):
    return {"PosENet": 0.5}


@pytest.fixture
def two_metrics(monkeypatch):
    """Only two metrics: one whose value for nothing is 0, one whose is 0.5."""
    made = (Score("PPP-SNR", good, "us", "position"), Score("PosENet", bad, "them", "response", nothing=0.5))
    monkeypatch.setattr(scores, "SCORES", made)
    return made


def record(part, network, repetition, good, bad, position=False, amplitude=None):
    truth = {"response": True, "position": position, "amplitude": amplitude}
    values = {"scores": {"PPP-SNR": good, "PosENet": bad}, "seconds": {"good": 1.0 + repetition, "bad": 4.0}}
    return {"part": part, "network": network, "repetition": repetition, **truth, **values}


def made(two_metrics):
    records = []
    for i in range(3):
        records.append(record("spread", "net", i, (1, 2, 3)[i], (1.5, 1.5, 3.0)[i], True))
        records.append(record("truth", "tells", i, (10, 10.1, 9.9)[i], (0.4, 0.5, 0.6)[i], True))
        records.append(record("truth", "tells nothing", i, (-1, 0, 1)[i], (0.8, 0.8, 0.8)[i], False))
        for amplitude, values in ((0.0, (0, 0)), (0.1, (1, 0.5)), (0.2, (2, 0.5)), (0.5, (3, 0.9))):
            records.append(record("dose", f"injected {amplitude}", i, *values, amplitude > 0, amplitude))
    return Reliability({"repetitions": 3, "scenes": 6, "crops_per_scene": 2, "seed": 0}, records)


def test_spread_is_standard_deviation_over_distance_from_nothing(two_metrics):
    table = made(two_metrics).spread().set_index("metric")
    assert table.cv["PPP-SNR"] == pytest.approx(1 / 2)
    assert table["sd"]["PosENet"] == pytest.approx(math.sqrt(0.75))
    assert table.cv["PosENet"] == pytest.approx(math.sqrt(0.75) / (2 - 0.5))


def test_the_error_of_an_amplitude_is_the_spread_over_the_slope(two_metrics):
    found = made(two_metrics)
    for i, record in enumerate(r for r in found.records if r["part"] == "dose" and r["amplitude"] == 0.2):
        record["scores"] = {"PPP-SNR": (1.9, 2.0, 2.1)[i], "PosENet": (0.3, 0.5, 0.7)[i]}
    table = found.amplitudes().set_index(["metric", "amplitude", "kind"]).error
    log = math.log(0.5 / 0.1)
    assert table.to_dict() == {
        ("PPP-SNR", 0.2, "other networks"): pytest.approx(0.1 / ((3 - 1) / log)),
        ("PosENet", 0.2, "other networks"): pytest.approx(0.2 / ((0.9 - 0.5) / log)),
    }
    ratios = found.ratios().set_index(["quantity", "network", "metric", "than"])
    row = ratios.loc[("amplitude error", "0.2, other networks", "PosENet", "PPP-SNR")]
    assert row.ratio == pytest.approx((0.2 / 0.4) / (0.1 / 2))
    assert row.low <= row.ratio <= row.high
    spread = ratios.loc[("spread", "net", "PosENet", "PPP-SNR")]
    assert spread.ratio == pytest.approx(math.sqrt(0.75) / 2 / 0.5)


def test_an_interval_of_a_ratio_covers_what_it_should():
    """Two metrics of one amplitude, the first 4 times as exact: of 100 studies of 20 repetitions, few miss that."""
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        made = {
            a: {
                "PPP-SNR": (math.log(a) + 0.05 * generator.normal(size=20)).tolist(),
                "PosENet": (0.1 * math.log(a) + 0.02 * generator.normal(size=20)).tolist(),
            }
            for a in (0.1, 0.2, 0.5)
        }
        (row,) = reliability_amplitude.ratios(made, {}, {}).query("metric == 'PosENet'").to_dict("records")
        hits += row["low"] <= 4 <= row["high"]
    assert hits >= 85


def test_a_verdict_rests_on_the_interval_over_repetitions(two_metrics):
    table = made(two_metrics).truths().set_index(["metric", "network"])
    t = 9.924843200918  # Student, 2 degrees of freedom, 99 %
    row = table.loc[("PPP-SNR", "tells")]
    assert (row.low, row.high) == pytest.approx((10 - t * 0.1 / math.sqrt(3), 10 + t * 0.1 / math.sqrt(3)))
    verdicts = table.verdict.to_dict()
    assert verdicts == {
        ("PPP-SNR", "tells"): "right",
        ("PPP-SNR", "tells nothing"): "right",
        ("PosENet", "tells"): "miss",
        ("PosENet", "tells nothing"): "false alarm",
    }


def test_ranks_and_the_least_amplitude_seen(two_metrics):
    table = made(two_metrics).ranks().set_index("metric")
    assert table.spearman["PPP-SNR"] == pytest.approx(1)
    assert table["least seen"]["PPP-SNR"] == 0.1
    # amplitudes rank 2, 5, 8, 11 and scores 2, 6.5, 6.5, 11
    cov = (2 - 6.5) * (2 - 6.5) + (11 - 6.5) * (11 - 6.5)
    assert table.spearman["PosENet"] == pytest.approx(cov / math.sqrt((4.5**2 + 1.5**2) * 2 * 4.5**2 * 2))


def test_a_metric_that_answers_nothing_the_same_is_not_seen(two_metrics):
    found = made(two_metrics)
    for one in found.records:
        one["scores"]["PosENet"] = 0.5
    table = found.ranks().set_index("metric")
    assert table.spearman["PosENet"] == 0
    assert math.isnan(table["least seen"]["PosENet"])


def test_the_summary_counts(two_metrics):
    table = made(two_metrics).summary().set_index("metric")
    assert table["false alarms"].to_dict() == {"PPP-SNR": 0, "PosENet": 1}
    assert table["misses"].to_dict() == {"PPP-SNR": 0, "PosENet": 1}
    assert table.seconds["PPP-SNR"] == 2


def cheap(unit, settings):
    """A trial whose scenes say whose it is, and that costs nothing."""
    return Trial(None, [LAYER], [torch.tensor([len(unit.key), unit.repetition, settings.scenes])], 64, 1, 16, 0, 1)


def test_a_stopped_study_goes_on(two_metrics, monkeypatch, tmp_path):
    monkeypatch.setattr(reliability, "_trial", cheap)
    calls = []

    def counted(trial):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return {"PPP-SNR": float(trial.scenes[0].sum())}

    monkeypatch.setattr(scores, "SCORES", (replace(two_metrics[0], metric=counted), two_metrics[1]))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, QUICK)
    found = run(tmp_path, QUICK)
    assert len(calls) == len({unit.key for unit in units(QUICK)}) + 1
    again = run(tmp_path, QUICK)
    assert len(calls) == len({unit.key for unit in units(QUICK)}) + 1
    assert found.records == again.records
    fresh = run(tmp_path / "fresh", QUICK)
    assert [r["scores"] for r in fresh.records] == [r["scores"] for r in found.records]


def test_a_network_among_truths_and_doses_is_tried_once():
    keys = [unit.key for unit in units(QUICK)]
    both = [unit for unit in units(QUICK) if unit.name == "injected pattern, 0.5" and unit.part != "spread"]
    assert len({unit.key for unit in both}) == len(both) / 2 == QUICK.repetitions
    assert len(keys) == QUICK.repetitions * (9 + 3 + 3)


def test_repetitions_have_scenes_of_their_own_and_a_spread_keeps_its_network():
    name = "zeros, random ReLU network"
    spread = [unit for unit in units(QUICK) if (unit.part, unit.name) == ("spread", name)][:2]
    truth = [unit for unit in units(QUICK) if unit.part == "truth" and unit.case.name == spread[0].case.name][:2]

    def weights(unit):
        trial = reliability._trial(unit, replace(QUICK, scenes=6))
        return trial.network.state_dict(), trial.scenes[0]

    (first, scene), (second, other) = map(weights, spread)
    assert all(first[key].equal(second[key]) for key in first)
    assert not scene.equal(other)
    (first, _), (second, _) = map(weights, truth)
    assert not all(first[key].equal(second[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "snr"),
    [("1x1 convolutions", (0, 0)), ("injected pattern, 0.5", (6, 14)), ("zeros, linear, mean 0", (-0.1, 0.1))],
)
def test_scores_of_networks_of_which_the_truth_is_known(name, snr):
    (case,) = (case for case in known() if case.name == name)
    trial = Trial(case.network(0), [LAYER], list(case.scenes(5, 8)), 64, 2, 16, 0, 1)
    found = ppp(trial)
    assert snr[0] <= found["PPP-SNR"] <= snr[1]
    if name != "zeros, linear, mean 0":
        assert found["PPP relative"] == pytest.approx(case.amplitude, abs=0.05)


def test_every_score_has_a_metric_that_gives_it():
    (case,) = (case for case in known() if case.name == "injected pattern, 0.5")
    trial = Trial(case.network(0), [LAYER], list(case.scenes(5, 6)), 64, 1, 16, 0, 1)
    given = {}
    for metric in dict.fromkeys(score.metric for score in scores.SCORES):
        given |= metric(trial)
    assert set(given) == {score.name for score in scores.SCORES}
    assert all(isinstance(value, float) and math.isfinite(value) for value in given.values())


def test_more_repetitions_can_be_added_to_a_study(two_metrics, monkeypatch, tmp_path):
    monkeypatch.setattr(reliability, "_trial", cheap)
    few = run(tmp_path, QUICK)
    more = run(tmp_path, replace(QUICK, repetitions=4))
    assert [r for r in more.records if r["repetition"] < 3] == few.records
    assert len(more.records) == 4 * len(few.records) / 3


def test_amplitudes_need_no_truths(two_metrics, monkeypatch, tmp_path):
    monkeypatch.setattr(reliability, "_trial", cheap)
    found = run(tmp_path, QUICK, parts=("dose", "spread"))
    assert {record["part"] for record in found.records} == {"dose", "spread"}
    assert set(found.amplitudes().kind) == set()  # of three amplitudes, one is 0: none lies between two others
    assert set(found.ratios().quantity) == {"spread"}


def test_a_study_of_some_metrics(two_metrics, monkeypatch, tmp_path):
    monkeypatch.setattr(reliability, "_trial", cheap)
    found = run(tmp_path, replace(QUICK, metrics=("bad",)))
    assert set(found.summary().metric) == {"PosENet"}
    with pytest.raises(ModelError, match="there is no metric ppp; there are good, bad"):
        replace(QUICK, metrics=("ppp",))


def test_other_settings_need_another_folder(two_metrics, monkeypatch, tmp_path):
    monkeypatch.setattr(reliability, "_trial", cheap)
    run(tmp_path, QUICK)
    with pytest.raises(ResultError, match=r"scenes is 12 there and 7 here"):
        run(tmp_path, replace(QUICK, scenes=7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repetitions": 2}, "repetitions must be 3 or more, but got 2"),
        ({"scenes": 5}, "scenes must be 6 or more, but got 5"),
        ({"amplitudes": (0.0, 0.1)}, "amplitudes must be three different ones"),
        ({"amplitudes": (-0.1, 0.0, 0.1)}, "none below 0"),
    ],
)
def test_settings_that_make_no_sense(change, message):
    with pytest.raises(ModelError, match=message):
        Settings(**change)


def test_the_command_writes_tables_and_figure(two_metrics, monkeypatch, tmp_path):
    monkeypatch.setattr(reliability, "run", lambda *_, **__: made(two_metrics))
    done = CliRunner().invoke(app, ["study", "reliability", "--output", str(tmp_path), "--quick", "--json"])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["summary"][0]["metric"] == "PPP-SNR"
    assert "PosENet's spread over that of PPP-SNR [95 %]: 0.866 [" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{name}.csv" for name in ("summary", "spread", "truths", "doses", "amplitudes", "ratios")),
        "reliability.png",
        "reliability.svg",
    }
