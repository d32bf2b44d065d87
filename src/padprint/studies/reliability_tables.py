"""What the reliability study found, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan, sqrt
from pathlib import Path
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

from padprint.results.statistics import student_quantile
from padprint.studies import reliability_amplitude
from padprint.studies import scores as tried
from padprint.studies.scores import Score
from padprint.support.atomic import publish_file
from padprint.support.strict_json import finite
from padprint.support.wording import number

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.99
"""Of the interval over repetitions that must leave out a metric's value for nothing before it is said to see position."""

TABLES = ("summary", "spread", "truths", "doses", "amplitudes", "ratios")

NEGLIGIBLE = 1e-4
"""Less than so much above that value is rounding."""


@dataclass(frozen=True)
class Reliability:
    """What came out.

    Attributes:
        settings: what it was run with, plain JSON values.
        records: one for each network and repetition.
    """

    settings: dict[str, Any]
    records: list[dict[str, Any]]

    @property
    def scores(self) -> list[Score]:
        """What was compared, in the order of the tables."""
        return [score for score in tried.SCORES if all(score.name in record["scores"] for record in self.records)]

    def spread(self) -> pd.DataFrame:
        """One row per metric and network: mean, standard deviation and coefficient of variation over repetitions."""
        rows = []
        for network, values in self._values("spread"):
            for score in self.scores:
                these = values[score.name]
                mean, sd = fmean(these), stdev(these)
                rows.append(
                    {
                        "metric": score.name,
                        "network": network,
                        "mean": mean,
                        "sd": sd,
                        "cv": sd / abs(mean - score.nothing) if mean != score.nothing else nan,
                    }
                )
        return _frame(rows)

    def truths(self) -> pd.DataFrame:
        """One row per metric and network: mean, 99 % interval over repetitions, what it says, and whether that is so."""
        rows = []
        facts = {record["network"]: record for record in self.records if record["part"] == "truth"}
        for network, values in self._values("truth"):
            for score in self.scores:
                mean, low, high = _interval(values[score.name])
                says, truth = bool(low > score.nothing + NEGLIGIBLE), bool(facts[network]["position"])
                rows.append(
                    {
                        "metric": score.name,
                        "network": network,
                        "mean": mean,
                        "low": low,
                        "high": high,
                        "says": says,
                        "position": truth,
                        "response": facts[network]["response"],
                        "verdict": "right" if says == truth else "false alarm" if says else "miss",
                    }
                )
        return _frame(rows)

    def doses(self) -> pd.DataFrame:
        """One row per metric and amplitude: mean and 99 % interval over repetitions."""
        rows = []
        amplitudes = {record["network"]: record["amplitude"] for record in self.records if record["part"] == "dose"}
        for network, values in self._values("dose"):
            for score in self.scores:
                mean, low, high = _interval(values[score.name])
                entry = {"metric": score.name, "amplitude": amplitudes[network], "mean": mean, "low": low, "high": high}
                rows.append(entry | {"seen": bool(low > score.nothing + NEGLIGIBLE)})
        return _frame(rows)

    def ranks(self) -> pd.DataFrame:
        """One row per metric: Spearman's correlation of score and amplitude over all networks, the least amplitude seen.

        An amplitude is seen where the interval leaves out the metric's value for nothing, and at all larger ones too. A
        least amplitude of 0 is a false alarm.
        """
        doses, rows = self.doses(), []
        for score in self.scores:
            points = [(r["amplitude"], r["scores"][score.name]) for r in self.records if r["part"] == "dose"]
            ranked = _frame(points).rank()
            own = doses[doses.metric == score.name].sort_values("amplitude", ascending=False)
            seen = own.amplitude[own.seen.cummin()]
            correlation = ranked[0].corr(ranked[1]) if ranked[1].nunique() > 1 else 0.0
            rows.append({"metric": score.name, "spearman": correlation, "least seen": seen.min() if len(seen) else nan})
        return _frame(rows)

    def summary(self) -> pd.DataFrame:
        """The table: one row per metric."""
        truths, ranks = self.truths(), self.ranks().set_index("metric")
        spread = self.spread()
        rows = []
        for score in self.scores:
            own = truths[truths.metric == score.name]
            seconds = [r["seconds"][score.metric.__name__] for r in self.records if r["part"] != "spread"]
            rows.append(
                {
                    "metric": score.name,
                    "source": score.source,
                    "about": score.about,
                    "cv": spread[spread.metric == score.name].cv.median(),
                    "false alarms": int((own.verdict == "false alarm").sum()),
                    "misses": int((own.verdict == "miss").sum()),
                    **ranks.loc[score.name].to_dict(),
                    "seconds": median(seconds),
                }
            )
        return _frame(rows)

    def to_frame(self) -> pd.DataFrame:
        """One row per metric: `summary`, its columns named false_alarms and least_seen."""
        plain: pd.DataFrame = self.summary().rename(columns=lambda name: name.replace(" ", "_"))
        return plain

    def amplitudes(self) -> pd.DataFrame:
        """Relative error of the amplitude that each metric tells: see `padprint.studies.reliability_amplitude.amplitudes`."""
        return reliability_amplitude.amplitudes(self._by_dose("dose"), self._by_dose("spread"))

    def ratios(self) -> pd.DataFrame:
        """PosENet's errors over PPP's: see `padprint.studies.reliability_amplitude.ratios`."""
        return reliability_amplitude.ratios(
            self._by_dose("dose"), self._by_dose("spread"), dict(self._values("spread"))
        )

    def _by_dose(self, part: str) -> dict[float, dict[str, list[float]]]:
        """Each metric's values over repetitions by injected amplitude, of one part's networks."""
        sizes = {r["network"]: r.get("amplitude") for r in self.records if r["part"] in ("dose", "truth")}
        return {size: values for name, values in self._values(part) if (size := sizes.get(name)) is not None}

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The summary for people: headers and rows."""
        headers = ("metric", "source", "spread", "false alarms", "misses", "rank correlation", "least seen", "seconds")
        keys = ("cv", "false alarms", "misses", "spearman", "least seen", "seconds")
        rows = [
            (
                row["metric"],
                row["source"],
                *(f"{row[key]}" if isinstance(row[key], int) else number(row[key]) for key in keys),
            )
            for row in self.summary().to_dict("records")
        ]
        return headers, rows

    def lines(self) -> list[str]:
        """What belongs under the table."""
        truths = self.truths().drop_duplicates("network").position
        wider: dict[str, list[str]] = {}
        for row in self.ratios().to_dict("records"):
            if (row["metric"], row["than"]) == ("PosENet", "PPP-SNR"):
                ratio = f"{number(row['ratio'])} [{number(row['low'])}, {number(row['high'])}] on {row['network']}"
                wider.setdefault(row["quantity"], []).append(ratio)
        return [
            f"spread: standard deviation over mean, median of networks; {self.settings['repetitions']} repetitions, "
            f"{self.settings['scenes']} scenes of {self.settings['crops_per_scene']} crops each, seed {self.settings['seed']}",
            f"false alarms: of {int((~truths).sum())} networks whose padding tells nothing of position; "
            f"misses: of {int(truths.sum())} whose padding does",
            *(f"PosENet's {name} over that of PPP-SNR [95 %]: {'; '.join(them)}" for name, them in wider.items()),
        ]

    def to_dict(self) -> dict[str, Any]:
        """All tables as plain JSON values; None for what is not finite."""
        tables = {name: getattr(self, name)().to_dict("records") for name in TABLES}
        document: dict[str, Any] = finite({"settings": self.settings, **tables})
        return document

    def save(self, folder: str | Path) -> Path:
        """Write the tables as CSV, and the figure as PNG and SVG.

        Args:
            folder: a folder that exists, such as the study's own.
        """
        from padprint.studies.reliability_figure import draw

        for name in TABLES:
            table = getattr(self, name)()
            publish_file(Path(folder) / f"{name}.csv", partial(table.to_csv, index=False, float_format="%.6g"))
        figure = draw(self)
        for suffix in ("png", "svg"):
            publish_file(Path(folder) / f"reliability.{suffix}", figure.savefig)
        return Path(folder)

    def _values(self, part: str) -> Iterator[tuple[str, dict[str, list[float]]]]:
        """For each network of a part, each metric's values over the repetitions."""
        networks = dict.fromkeys(record["network"] for record in self.records if record["part"] == part)
        for network in networks:
            own = [r["scores"] for r in self.records if (r["part"], r["network"]) == (part, network)]
            yield network, {score.name: [scores[score.name] for scores in own] for score in self.scores}


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and Student's interval at `LEVEL`."""
    half = student_quantile(len(values) - 1, LEVEL) * stdev(values) / sqrt(len(values))
    return fmean(values), fmean(values) - half, fmean(values) + half


def _frame(rows: Sequence[Any]) -> pd.DataFrame:
    import pandas as pd

    table: pd.DataFrame = pd.DataFrame(rows)
    return table
