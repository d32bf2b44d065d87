"""The report: what it says of results constructed for it, that it is one file, and that names do no harm."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from measurements import NAN, made_channels, made_layer, made_measurement
from nets import Sorted
from padprint import measure, report
from padprint.cli import app
from padprint.errors import MissingPackageError, ResultError
from padprint.measuring import checked
from padprint.report import measured
from padprint.results.comparison import Comparison, load_comparison
from padprint.results.measurement import Curve, Estimate, Measurement, Profile
from padprint.studies import formation_page, properties_page, reliability_page, scores
from padprint.studies.formation_config import FormationConfig
from padprint.studies.formation_report import document
from padprint.studies.scores import Score
from padprint.support.wording import number
from studied import made_formation, made_reliability, made_swaps

HOSTILE = '<script>alert("x")</script>\n\' " onmouseover=alert(1) {{ 7*7 }} </title><img src=x> $x$ ' + "a" * 280
FIRST_LINE = HOSTILE.split("\n", maxsplit=1)[0]
runner = CliRunner()


@pytest.fixture
def blank(monkeypatch) -> None:
    """Pictures are not drawn, where only words are looked at."""
    for module in ("sections", "measured"):
        monkeypatch.setattr(f"padprint.report.{module}.svg", lambda figure, alt: "<svg></svg>")


class Page(HTMLParser):
    """Elements with their attributes, and the text of the page without scripts, styles and the meanings of terms."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.raw: dict[str, list[str]] = {"script": [], "style": [], "tip": []}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = "tip" if ("class", "tip") in attrs else tag

    def handle_endtag(self, tag) -> None:
        self.inside = ""

    def handle_data(self, data) -> None:
        if self.inside in self.raw:
            self.raw[self.inside].append(data)
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def one_sided(side: str, share: float = 0.8, level: float = 1.0) -> dict[str, Profile]:
    """Profiles of a map of stride 16 whose energy lies nearest to one side by `share`, 7/8 of it in the border cells."""

    def profile(energy: float) -> Profile:
        cells = torch.arange(3)
        value = torch.tensor([7.0, 0.5, 0.5], dtype=torch.float64) / 8 * energy / 10
        curve = Curve(value, value, value)
        return Profile(cells, cells.double() * 16 + 8, torch.full((3,), 10), curve, curve, curve)

    rest = (1 - share) / 3
    return {"all": profile(level)} | {
        one: profile(level * (share if one == side else rest)) for one in ("top", "bottom", "left", "right")
    }


def layer_with(**changes):
    return made_layer(**{"stride": (16, 16), "notes": (), **changes})


# ---------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_a_pattern_on_one_side_is_described_as_such(side: str) -> None:
    text = " ".join(report.findings(made_measurement(layer_with(profile=one_sided(side)))))
    assert f"88 % of the pattern's energy lies within 16 px of the border, and 80 % of it on the {side} side." in text


def test_a_pattern_on_two_sides_is_given_to_both() -> None:
    # as strides with one cell of padding at the end leave it
    parts = {"bottom": one_sided("bottom", 0.5)["bottom"], "right": one_sided("right", 0.46)["right"]}
    profiles = one_sided("top", 0.02) | {"left": one_sided("left", 0.02)["left"]} | parts
    text = " ".join(report.findings(made_measurement(layer_with(profile=profiles))))
    assert ", and 96 % of it on the bottom and right sides." in text


def test_a_pattern_alike_on_all_sides_is_not_given_to_one() -> None:
    text = " ".join(report.findings(made_measurement(layer_with(profile=one_sided("top", 0.25)))))
    assert "no side holds more than the others together (the most, 25 %" in text
    assert "on the top side" not in text


def test_the_strongest_layer_is_named_with_its_interval() -> None:
    strong = layer_with(name="strong", snr=Estimate(2.0, 1.5, 2.5), relative=Estimate(0.25, NAN, NAN))
    lines = report.findings(made_measurement(layer_with(), strong))
    assert lines[0] == "192 crops of 224 x 144 px from 12 images, 2 layers measured."
    assert "most about position at strong" in lines[1]
    assert "2.00 times that of the noise (95 % interval 1.50 to 2.50), its size 25 % of the features'" in lines[1]


@pytest.mark.parametrize(
    ("snr", "words"),
    [
        (Estimate(0.01, -0.01, 0.03), "no pattern stands out from the noise, SNR 0.0100 [-0.0100, 0.0300]"),
        (Estimate(0.0, 0.0, 0.0), "padding changes nothing above rounding error"),
        (Estimate(NAN, NAN, NAN), "the features do not vary"),
    ],
)
def test_what_is_no_pattern_is_not_called_one(snr: Estimate, words: str) -> None:
    lines = report.findings(made_measurement(layer_with(name="l", snr=snr)))
    assert words in lines[2]
    assert lines[1] == "In no layer does a pattern stand out from the noise."
    assert "energy" not in lines[2]


def test_channels_are_counted_in_words() -> None:
    channels = dataclasses.replace(made_channels(10), side=("top",) * 10)
    text = " ".join(report.findings(made_measurement(layer_with(shape=(10, 7, 9), channels=channels))))
    assert f"{channels.count} of 10 channels are padding-aware: {channels.count} at the top." in text
    several = dataclasses.replace(channels, side=("corners", "top", "uniform", "top", "left") * 2)
    text = " ".join(report.findings(made_measurement(layer_with(shape=(10, 7, 9), channels=several))))
    assert (
        "5 of 10 channels are padding-aware: 2 at the top, 1 at the left, 1 in the corners, 1 alike on all sides."
        in text
    )
    none = dataclasses.replace(channels, q=torch.ones(10))
    text = " ".join(report.findings(made_measurement(layer_with(shape=(10, 7, 9), channels=none))))
    assert "No single channel can be called padding-aware at a false-discovery rate of 5 %." in text


# ----------------------------------------------------------------------------------------------------------- page


def test_the_page_holds_all_and_fetches_nothing(tmp_path: Path) -> None:
    measurement = made_measurement()
    path = report.write(measurement, tmp_path / "new" / "report.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    addresses = [a.get(key) for _, a in page.elements for key in ("src", "href", "srcset", "data") if a.get(key)]
    assert all(str(one).startswith(("data:", "#")) for one in addresses)
    assert "http:" not in text.replace("http-equiv", "")
    assert "https:" not in text
    assert "default-src 'none'" in str(page.all("meta"))
    for word in ("features.1", "layer4", "2 dead features", "mean sees the whole input", "below the reach", "seed"):
        assert word in page.text
    assert all(image["aria-label"] for image in page.all("svg"))
    assert len(page.all("option")) == 2
    assert [path.name for path in path.parent.iterdir()] == ["report.html"]
    data = json.loads(page.raw["script"][0])
    assert data["channels"]["channels-1-0"]["index"] == measurement["layer4"].channels.top(3)


def test_a_report_of_a_large_network_stays_under_five_megabytes(tmp_path: Path) -> None:
    sizes = {"layer1": (256, 56), "layer2": (512, 28), "layer3": (1024, 14), "layer4": (2048, 7), "conv1": (64, 112)}
    layers = [made_layer(name, (c, n, n), rim=(1, 1, 1, 1)) for name, (c, n) in sizes.items()]
    assert report.write(made_measurement(*layers), tmp_path / "report.html").stat().st_size < 5_000_000


def test_hostile_names_stay_text(blank) -> None:
    measurement = made_measurement(made_layer(HOSTILE, notes=(HOSTILE,)), made_layer("b"))
    measurement.unmeasured[HOSTILE + "2"] = HOSTILE
    measurement.provenance.update(model=HOSTILE, command=HOSTILE, weights_source=HOSTILE, skipped={HOSTILE: HOSTILE})
    for results in (measurement, Comparison({HOSTILE: measurement, "other": measurement})):
        text = report.render(results)
        page = Page(text)
        assert len(page.all("script")) == 2
        assert not any("onmouseover" in attributes for _, attributes in page.elements)
        assert all(str(image["href"]).startswith("data:image/png") for image in page.all("image"))
        assert page.all("image")
        assert not page.all("img")
        assert "{{ 7*7 }}" in page.text
        assert FIRST_LINE in page.text


def test_names_of_files_that_are_no_utf_8(tmp_path: Path) -> None:
    odd = os.fsdecode(b"photo\xff<b>.png")
    measurement = made_measurement(made_layer("conv"))
    measurement.provenance.update(model=odd, command=odd, images=[odd], skipped={odd: "unreadable"})
    measurement.unmeasured[odd] = "sees the whole input"
    for results in (measurement, Comparison({odd: measurement, "other": measurement})):
        text = report.write(results, tmp_path / "report.html").read_text(encoding="utf-8")
        assert r"photo\udcff&lt;b&gt;.png" in text
        assert "<b>" not in text
    saved = Comparison({odd: measurement}).save(tmp_path / "saved")
    done = runner.invoke(app, ["report", str(saved), "--output", str(tmp_path / "again.html")])
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "again.html").exists()


def test_layers_that_are_not_finite_are_reported(tmp_path: Path) -> None:
    whole = made_layer("broken")
    layer = dataclasses.replace(
        whole,
        pattern=torch.full_like(whole.pattern, NAN),
        snr=Estimate(NAN, NAN, NAN),
        relative=Estimate(NAN, NAN, NAN),
        channels=dataclasses.replace(whole.channels, q=torch.full((3,), NAN), snr=torch.full((3,), NAN)),
    )
    measurement = made_measurement(layer, made_layer("fine"))
    page = Page(report.render(measurement))
    assert "broken: the features are not finite, so there is no ratio to noise." in page.text
    json.loads(page.raw["script"][0], parse_constant=lambda one: pytest.fail(f"{one} is no JSON"))


def test_a_layer_that_is_constant_but_for_its_borders_is_described() -> None:
    layer = made_layer("border", snr=Estimate(NAN, NAN, NAN))
    assert report.findings(made_measurement(layer))[-1].startswith(
        "border: the features do not vary, so there is no ratio to noise. 2 of 3 channels are padding-aware: "
    )


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (
            [-4.0, -2.0, 0.0],
            "88 % of the pattern's energy lies in cells whose receptive fields are centred 4 px or more outside",
        ),
        ([-0.25, 0.25, 0.75], "centred 0.25 px or more outside the crop"),
        ([0.0, 2.0, 4.0], "88 % of the pattern's energy lies within 1 px of the border, and"),
        ([1.0, -1.0, 3.0], "94 % of the pattern's energy lies within 2 px of the border, or outside the crop"),
    ],
)
def test_no_distance_is_negative_in_words(pixels: list[float], words: str) -> None:
    """Of cells centred outside the crop, as of upsampled maps: 7/8, 1/16 and 1/16 of the energy."""
    profile = {
        side: dataclasses.replace(one, pixels=torch.tensor(pixels, dtype=torch.float64))
        for side, one in one_sided("top").items()
    }
    said = " ".join(report.findings(made_measurement(made_layer(profile=profile, stride=(2, 2)))))
    assert words in said
    assert not re.search(r"-\d", said)


def test_a_comparison_says_what_was_not_measured_in_all(tmp_path: Path) -> None:
    a = made_measurement(made_layer("one"), made_layer("two"), made_layer("three"))
    b = made_measurement(made_layer("one", snr=Estimate(NAN, NAN, NAN)))
    b.unmeasured["two"] = "mean sees the whole input"
    c = dataclasses.replace(made_measurement(), layers={})
    result = Comparison({"a": a, "b": b, "c": c})
    assert [(d.layer, d.first, d.second) for d in result.differences()] == [("one", "a", "b")]
    assert result.differences()[0].estimate.value != result.differences()[0].estimate.value  # NaN
    page = Page(report.render(result)).text
    for text in (str(result), page):
        assert "b: not measured: two: mean sees the whole input" in text
        assert "b: not among its layers, so without a difference: three" in text
        assert "c: not among its layers, so without a difference: one, two, three" in text
    assert ["two", "b", "not", "measured"] in [line.split() for line in str(result).splitlines()]
    assert "not measured" in result._repr_html_()
    assert len(result.to_frame()) == 4
    assert len(result.difference_frame()) == 1
    assert result.to_dict()["differences"][0]["value"] is None
    assert load_comparison(result.save(tmp_path)) == result
    both = Comparison({"a": a, "b": b})
    page = Page(report.render(both)).text
    assert "one: there is no SNR with b." in page


def test_a_difference_has_one_sign_everywhere(blank) -> None:
    """The second SNR is 3 and the first 1: plus 2 in the table, the frame, JSON, the page and notebooks, in words too."""
    low, high = (
        made_measurement(made_layer("one", snr=Estimate(snr, snr - 0.1, snr + 0.1, (snr, snr)))) for snr in (1.0, 3.0)
    )
    result = Comparison({"low": low, "high": high})
    (found,) = result.differences()
    assert (found.first, found.second, found.estimate.value) == ("low", "high", 2.0)
    assert result.difference_frame()["value"].item() == 2.0
    assert result.to_dict()["differences"][0]["value"] == 2.0
    header, _, *rows = str(result).splitlines()[:4]
    assert header.endswith("SNR minus the first [95 %]")
    assert rows[1].endswith(" 3.10        2.00 [2.00, 2.00]")
    assert "SNR minus the first [95 %]" in result._repr_html_()
    page = Page(report.render(result)).text
    assert "second minus first [95 %]" in page
    assert "2.00 [2.00, 2.00]" in page
    assert "-2.00" not in page + str(result) + result._repr_html_()


def test_a_comparison_of_nothing_in_common_or_of_nothing() -> None:
    apart = Comparison({"a": made_measurement(made_layer("x")), "b": made_measurement(made_layer("y"))})
    assert apart.layers == apart.differences() == []
    assert list(apart.difference_frame().columns) == ["layer", "quantity", "first", "second", "value", "low", "high"]
    assert "Padding-aware channels" in str(Page(report.render(apart)).all("svg"))
    empty = Comparison({})
    assert "no measurement" in str(empty)
    assert len(empty.to_frame()) == len(empty.difference_frame()) == 0
    with pytest.raises(ResultError, match="nothing to report"):
        report.render(empty)


def test_several_measurements_and_differences(blank) -> None:
    weaker = made_measurement(made_layer("layer4", snr=Estimate(0.02, 0.01, 0.03)))
    stronger = made_measurement(made_layer("layer4", snr=Estimate(0.2, 0.1, 0.3)))
    page = Page(report.render(Comparison({"own": stronger, "reflect": weaker})))
    assert "Differences of SNR" in page.text
    assert "1 layer4" in page.text
    assert "the SNR is largest with own (0.200) and least with reflect (0.0200)" in page.text
    assert page.text.count("mean sees the whole input") == 1  # said once for both
    apart = dataclasses.replace(weaker, n_images=3)
    page = Page(report.render({"own": stronger, "other": apart}))
    assert "Differences of SNR" not in page.text


def test_what_weakens_a_measurement_is_in_its_report(blank, tmp_path: Path, monkeypatch) -> None:
    for i in range(2):
        pixels = torch.randint(60, 255, (30, 40, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{i}.png")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Sorted())
    found = checked.self_check
    monkeypatch.setattr(checked, "self_check", lambda *given: {**found(*given), "0": 0.03})
    result = measure(
        net,
        tmp_path,
        layers=["0", "1"],
        crop=32,
        resize_short_side=64,
        mean=[0.5] * 3,
        std=[0.25] * 3,
        crops_per_image=2,
    )
    page = Page(report.render(result)).text
    for words in (
        "warning: 2 images: intervals need at least 3",
        "warning: 2 of 2 images were enlarged so that a crop fits",
        "not measured: 1: ",
        "sees the whole input",
        "warning: 0: the pattern is within ten times the numeric floor",
    ):
        assert words in page


def test_what_may_be_chance_is_drawn_in_grey(blank) -> None:
    strong = made_layer("one", relative=Estimate(0.5, 0.4, 0.6))
    chance = made_layer("two", snr=Estimate(0.1, -0.1, 0.3), relative=Estimate(0.5, 0.1, 0.7))
    page = Page(report.render(made_measurement(strong, chance)))
    figures = [one["class"] for one in page.all("figure") if "map" in (one["class"] or "")]
    assert figures[:2] == ["map", "map chance"]
    assert "50 % [40, 60] of the features' size" in page.text
    assert "what is drawn may be chance; up to 70 % of the features' size cannot be ruled out" in page.text


def test_words_in_capitals_are_explained_where_a_command_has_them(blank) -> None:
    measurement = made_measurement(made_layer())
    page = Page(report.render(measurement)).text
    assert "In capitals, what is yours: MODEL, a network" in page
    assert "OTHERS, " not in page
    measurement.provenance["command"] = "padprint measure torchvision:resnet50 photos"
    assert "In capitals" not in Page(report.render(measurement)).text


def test_a_comparison_draws_its_first_layer_once(blank) -> None:
    result = Comparison({"own": made_measurement(), "reflect": made_measurement()})
    page = Page(report.render(result))
    ids = [one["data-map"] for one in page.all("figure") if "data-map" in one]
    rows = [one for one in ids if one and one.startswith(("hero", "row"))]
    assert len(rows) == len(set(rows)) == 4  # two layers of two measurements
    assert page.text.count("Its maps are the row at the top of this page.") == 1
    assert "With its own padding: padding marks the border" in page.text


def test_of_many_layers_five_are_drawn_and_all_are_in_a_folded_table(blank) -> None:
    """The first, the last, two between, and in the place of the nearest the one whose pattern is surely largest."""
    layers = [made_layer(f"l{i}", (2, 7, 9), relative=Estimate(0.1, 0.05 + 0.04 * (i == 5), 0.2)) for i in range(30)]
    measurement = made_measurement(*layers)
    page = report.render(measurement)
    drawn = [one["data-map"] for one in Page(page).all("figure") if (one.get("data-map") or "").startswith("hero")]
    assert drawn == ["hero-0", "hero-5", "hero-14", "hero-22", "hero-29"]
    assert page.count('<table class="scale">') == 1
    assert page.index("<details><summary>How strongly each of 30 layers is marked") < page.index(
        '<table class="scale">'
    )
    few = report.render(made_measurement(*layers[:3]))
    assert '<table class="scale">' not in few  # the row of maps says it


def test_more_measurements_than_layers_are_rows(blank) -> None:
    result = Comparison({name: made_measurement(made_layer("one")) for name in ("own", "reflect", "circular")})
    table = report.render(result).split('<table class="scale">')[1].split("</table>")[0]
    assert table.index('scope="col">1 one') < table.index('scope="row">own') < table.index('scope="row">circular')
    assert table.count('data-label="1 one"') == 3


def test_colours_of_a_comparison_end_at_the_first(blank) -> None:
    """The second pattern is ten times the first: its scale ends where the first's does, and says that cells go beyond."""
    one, two = made_layer("one"), made_layer("one", pattern=10 * made_layer("one").pattern)
    content = measured.content({"own": made_measurement(one), "b": made_measurement(two)}, None)
    (low, high), (same, beyond) = (row["map"].scale for row in content["hero"])
    assert (low, same) == ("0", "0")
    assert high == number(float(one.pattern.square().mean(0).sqrt().max()))
    assert beyond == f"{high}+"


def test_nothing_to_report_and_bad_places_are_said(blank, tmp_path: Path, monkeypatch) -> None:
    empty = made_measurement()
    empty.layers.clear()
    with pytest.raises(ResultError, match="nothing to report"):
        report.render(empty)
    with pytest.raises(ResultError, match="is a folder"):
        report.write(made_measurement(made_layer()), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="a file has that name"):
        report.write(made_measurement(made_layer()), tmp_path / "file" / "report.html")
    monkeypatch.setattr("padprint.report.layout.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"^jinja2 is needed"):
        report.render(made_measurement(made_layer()))


# ------------------------------------------------------------------------------------------------ command and paths


def test_a_command_keeps_its_words_and_loses_its_folders() -> None:
    arguments = [
        "measure",
        "net",
        "/home/me/my photos/",
        "--weights=/data/w.pth",
        "--layers",
        "a b",
        "C:\\x\\y.pth",
        "~/z",
    ]
    assert report.command_line(arguments) == ("padprint measure net 'my photos' --weights=w.pth --layers 'a b' y.pth z")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file /home/me/w.pth", "file w.pth"),
        ("photos/a.png", "photos/a.png"),
        ("1/2 of 3", "1/2 of 3"),
        ("torchvision:resnet18", "torchvision:resnet18"),
        ("/home/me/folder/", "folder"),
        ("<b>1</b> /x", "<b>1</b> /x"),
    ],
)
def test_absolute_paths_become_names(text: str, expected: str) -> None:
    assert report.names_only({"k": [text]}) == {"k": [expected]}


def test_no_absolute_path_is_in_a_report(blank) -> None:
    measurement = made_measurement()
    measurement.provenance.update(
        weights_source="file /secret/place/w.pth", skipped={"/secret/place/a.png": "/secret/place/a.png is broken"}
    )
    assert "secret" not in report.render(dataclasses.replace(measurement, warnings=("/secret/place/b.png skipped",)))


# --------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [made_measurement(made_layer(name)).save(tmp_path / name) for name in ("one", "two")]


def test_report_command_reads_folders(blank, folders: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    result = runner.invoke(app, ["report", str(folders[0]), "--output", str(target)])
    assert result.exit_code == 0, result.output
    assert "one" in Page(target.read_text()).text
    result = runner.invoke(app, ["report", *map(str, folders), "--output", str(target), "--quiet"])
    assert result.exit_code == 0, result.output
    assert "two" in Page(target.read_text()).text


def test_report_command_reads_a_comparison(tmp_path: Path) -> None:
    Comparison({"own": made_measurement(), "reflect": made_measurement()}).save(tmp_path / "c")
    found = report.collect([tmp_path / "c"])
    assert isinstance(found, Comparison)
    assert next(iter(report.collect([tmp_path / "c" / "00-own"]))) == "features.1"
    assert isinstance(report.collect([tmp_path / "c", tmp_path / "c" / "00-own"]), Comparison)


def test_report_command_says_what_is_missing(tmp_path: Path) -> None:
    result = runner.invoke(app, ["report", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "no such folder" in result.output


def test_report_option_needs_an_output() -> None:
    result = runner.invoke(app, ["measure", "net", "photos", "--report"])
    assert result.exit_code == 2


# ------------------------------------------------------------------------------------------------------- notebooks


def test_results_have_tables_for_notebooks() -> None:
    measurement = made_measurement(made_layer(HOSTILE))
    for result in (measurement, measurement[HOSTILE], Comparison({HOSTILE: measurement, "b": measurement})):
        page = Page(result._repr_html_())
        assert page.all("table")
        assert not page.all("script")
        assert FIRST_LINE in page.text
    assert isinstance(measurement, Measurement)
    commands = "\x1b[31mred\x1b]0;title\x07\r\n\x9b2J"  # what a terminal would obey
    measurement = made_measurement(made_layer(commands, notes=(commands,)), made_layer("b"))
    measurement.unmeasured[commands] = commands
    for result in (measurement, measurement[commands], Comparison({commands: measurement, "b": measurement})):
        lines = str(result).splitlines()
        assert all(line.isprintable() for line in lines)
        assert "�[31mred" in "".join(lines)
    text = str(made_layer())
    assert "0.123 [0.110, 0.136]" in text
    assert "2 of 3: 1 top, 1 bottom" in text
    assert "2 dead features" in text


@pytest.mark.parametrize("option", ["--plots", "--report"])
def test_what_cannot_be_drawn_is_said_before_the_work(option: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("padprint.plot._base.find_spec", lambda name: None)
    monkeypatch.setattr("padprint.cli._commands._measured", lambda *_, **__: pytest.fail("it was measured"))
    result = runner.invoke(app, ["measure", "net", "photos", "--output", str(tmp_path / "out"), option])
    assert result.exit_code == 1
    assert result.stderr == "error: matplotlib is needed to draw: pip install matplotlib\n"
    assert not (tmp_path / "out").exists()


def test_the_demonstration_writes_a_report(blank, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("padprint.demo.run", lambda progress: made_measurement(made_layer()))
    result = runner.invoke(app, ["demo", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert f"wrote {tmp_path / 'out' / 'report.html'}" in result.stderr.replace("\n", "")
    assert "layer4" in Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text


# ---------------------------------------------------------------------------------------------------------- studies


@pytest.fixture
def two_scores(monkeypatch) -> None:
    """The metrics of `made_reliability`."""

    def ppp(trial):
        raise AssertionError("nothing is tried")

    def posenet(trial):
        raise AssertionError("nothing is tried")

    pair = (Score("PPP-SNR", ppp, "us", "position"), Score("PosENet", posenet, "them", "position"))
    monkeypatch.setattr(scores, "SCORES", pair)


def test_the_page_of_a_reliability_study_says_which_metric_errs(two_scores) -> None:
    found = made_reliability()
    assert reliability_page.reliability_verdict(found) == (
        "On 2 networks of which the truth is known, the fewest errors are made by PPP-SNR (none), the most by PosENet (2); without "
        "a false alarm, the smallest pattern is seen by PPP-SNR: 10 % of the features' size."
    )
    page = Page(reliability_page.reliability_page(found))
    assert len([one for one in page.all("svg") if one.get("role") == "img"]) == 3
    assert "--repetitions 12" in page.text
    assert "nan" not in page.text


def test_the_page_of_a_formation_study_says_what_training_does() -> None:
    """Per seed the factor with zeros is 10 ** (0.9, 1, 1.1), with reflect 10 ** (-0.1, 0, 0.1)."""
    table = made_formation()
    found = document(table, FormationConfig())
    half = 4.302653 * 0.1 / 3**0.5
    low, high = (f"{10 ** (1 + side * half):.3g}" for side in (-1, 1))
    text = formation_page.formation_verdict(found)
    assert text.startswith(
        f"Training makes the pattern larger against the noise with zeros (10.0 [{low}, {high}] times); with reflect (1.00 ["
    )
    assert (
        " times) no change can be told from these seeds; after training reflect has the least SNR (0.0100), zeros the most (1.00)."
        in text
    )
    page = Page(formation_page.formation_page(table, found))
    assert len([one for one in page.all("svg") if one.get("role") == "img"]) == 2 + 2 + 1  # networks, layers, variances
    assert "convert(model, 'reflect')" in page.text
    none = table.assign(learned=False)
    page = Page(formation_page.formation_page(none, document(none, FormationConfig()))).text
    assert "there is nothing to say yet" in page
    assert "no training of the study has finished and learned its task" in page


def test_the_page_of_a_properties_study_says_what_the_size_goes_with() -> None:
    tables = {"swap": made_swaps()}
    assert properties_page.properties_verdict(tables) == (
        "Over all that these networks were trained with, running them with reflect leaves the least SNR in the last layer "
        "(0.0100), with zeros the most (1.00); 100 % of the variance of its logarithm goes with the padding that is run with, "
        "0 % with the one of the training."
    )
    page = Page(properties_page.properties_page(tables))
    assert len([one for one in page.all("svg") if one.get("role") == "img"]) == 2
    svgs = properties_page.properties_page(tables).split('<svg class="figure"')
    assert "#fefefe" in svgs[1]  # words in dark squares stay white where the page is dark
    assert "#010101" in svgs[1]
    assert "#010101" not in svgs[2]  # all alike: all dark
