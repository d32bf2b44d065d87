"""The verdict: its words by hand from made-up numbers, and that it never says more than the intervals carry."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from measurements import NAN, made_layer, made_measurement
from padprint.report.advice import command, steps, strides_step
from padprint.report.compared import bracketed, comparison_verdict, print_of, ratio, simple_share
from padprint.report.levels import everywhere, level, reach, shown_first, sides
from padprint.report.terms import GLOSSARY, marked
from padprint.report.verdict import called, spanned, verdict, voids
from padprint.results.comparison import Comparison
from padprint.results.measurement import Curve, Estimate, Profile
from padprint.support.wording import percent

SIDES = ("top", "bottom", "left", "right")
SURE = Estimate(1.0, 0.5, 1.5)


def layer(name: str, relative: float, half: float = 0.01, snr: Estimate = SURE, **changes):
    """A layer on a 14 x 14 map of stride 16, whose energy lies 7/8 in the border cells."""
    size = Estimate(relative, relative - half, relative + half)
    return made_layer(
        name,
        (2, 14, 14),
        relative=size,
        snr=snr,
        stride=(16, 16),
        notes=(),
        rim=(2, 2, 2, 2),
        **{"profile": lying(), "positional": Estimate(0.9, 0.8, 1.0), **changes},
    )


def lying(top: float = 1.0, half: float = 0.1, first: float = 7.0) -> dict[str, Profile]:
    """Profiles whose border cells hold `first` of 8 parts; the top side `top` times as much as the others."""

    def one(level: float) -> Profile:
        value = level * torch.tensor([first, 0.5, 7.5 - first], dtype=torch.float64)
        curve = Curve(value, value * (1 - half), value * (1 + half))
        return Profile(torch.arange(3), torch.tensor([8.0, 24.0, 40.0]), torch.full((3,), 10), curve, curve, curve)

    return {"all": one(3 + top), "top": one(top)} | {side: one(1.0) for side in SIDES[1:]}


def said(*layers, **changes) -> str:
    return verdict(dataclasses.replace(made_measurement(*layers), **{"crop": (224, 224), **changes}))


# ---------------------------------------------------------------------------------------------------------- levels


@pytest.mark.parametrize(
    ("relative", "snr", "word"),
    [
        (Estimate(0.25, 0.20, 0.30), SURE, "strong"),
        (Estimate(0.25, 0.19, 0.31), SURE, "clear"),  # the interval does not carry "strong"
        (Estimate(0.06, 0.05, 0.07), SURE, "clear"),
        (Estimate(0.06, 0.04, 0.08), SURE, "faint"),
        (Estimate(0.90, 0.80, 1.00), Estimate(0.5, -0.1, 1.1), "none"),
        (Estimate(0.25, NAN, NAN), Estimate(1.0, NAN, NAN), "strong"),
        (Estimate(NAN, NAN, NAN), SURE, None),
        (SURE, Estimate(NAN, NAN, NAN), None),
        (Estimate(0.0, 0.0, 0.0), Estimate(0.0, 0.0, 0.0), "none"),
    ],
)
def test_a_word_is_never_too_strong_for_the_interval(relative: Estimate, snr: Estimate, word: str | None) -> None:
    assert level(made_layer(relative=relative, snr=snr)) == word


def test_reach_is_the_far_edge_of_the_cells_that_hold_most() -> None:
    one = layer("a", 0.3)
    assert reach(one, 0.5) == 16.0
    assert reach(one) == 32.0  # 7/8 in the first cells, 15/16 in the first two
    assert not everywhere(one, (224, 224))
    assert everywhere(one, (80, 224))
    assert reach(made_layer(profile={})) is None


def test_a_side_is_named_only_where_intervals_part() -> None:
    assert sides(layer("a", 0.3, profile=lying(top=3.0))) == ("top",)
    assert sides(layer("a", 0.3, profile=lying(top=1.1))) == ()
    assert sides(layer("a", 0.3, profile=lying(top=3.0, half=0.6))) == ()
    assert sides(layer("a", 0.3, profile=lying(top=3.0, half=NAN))) == ()
    both = lying(top=3.0)
    assert sides(layer("a", 0.3, profile=both | {"left": both["top"]})) == ("top", "left")
    assert sides(made_layer(profile={})) == ()


def test_the_layer_shown_first_is_the_strongest_that_can_be_seen() -> None:
    thin = made_layer("thin", (2, 112, 112), rim=(1, 1, 1, 1), relative=Estimate(0.9, 0.8, 1.0), snr=SURE)
    weak, strong = layer("weak", 0.1), layer("strong", 0.4)
    chance = layer("chance", 0.8, snr=Estimate(0.1, -0.1, 0.3))
    one = made_measurement(thin, weak, strong, chance)
    assert shown_first(one) == "strong"
    assert shown_first(one, ["thin", "weak"]) == "weak"
    assert shown_first(made_measurement(thin, chance)) == "thin"
    assert shown_first(made_measurement(chance)) == "chance"
    unsure = layer("unsure", 0.6, 0.55)  # larger than "strong", and surely only 5 %
    assert shown_first(made_measurement(strong, unsure)) == "strong"


# --------------------------------------------------------------------------------------------------------- verdict


def test_one_sentence_tells_strength_depth_place_size_and_side() -> None:
    top = {"profile": lying(top=3.0)}
    text = said(layer("a", 0.5, **top), layer("b", 0.3, **top), layer("c", 0.1, **top), layer("d", 0.02))
    assert text == (
        "Padding marks the border: strongly in a and b, clearly in c, faintly in d, most of it within 32 px of "
        "the edge; the last, d, carries 2.0 % of its features' size as position; the top edge most."
    )


def test_the_first_and_the_last_layer_may_reach_differently_far() -> None:
    text = said(layer("a", 0.5), layer("b", 0.3, profile=lying(first=0.5)), crop=(96, 96))
    assert "strongly in all 2 layers, most of it within 32 px of the edge in a and over the whole frame in b" in text


def test_a_constant_shift_is_not_called_position() -> None:
    text = said(layer("a", 0.5, positional=Estimate(0.6, 0.4, 0.8)))
    assert text.endswith("; it carries a pattern of 50 % of its features' size.")


def test_what_is_not_known_closely_is_said_by_its_ends() -> None:
    assert "; it carries 7.4 to 27 % of its features' size as position." in said(layer("a", 0.172, 0.098))
    assert "; it carries < 0.01 to 57 % of" in said(
        dataclasses.replace(layer("a", 0.1), relative=Estimate(0.1, 1e-9, 0.57))
    )


def test_what_does_not_stand_out_is_said_to_be_so() -> None:
    chance = layer("b", 0.4, snr=Estimate(0.1, -0.1, 0.3))
    assert "; no mark stands out in b." in said(layer("a", 0.5), chance)
    assert said(chance) == (
        "No mark of padding stands out from what differs between images in b; marks of up to 41 % of the features' "
        "size cannot be ruled out."
    )
    silent = layer("a", 0.0, snr=Estimate(0.0, 0.0, 0.0))
    assert said(silent) == "Padding changes nothing above rounding error in 1 measured layer."
    dead = layer("d", 0.5, snr=Estimate(NAN, NAN, NAN))
    assert said(dead) == "Nothing can be said of d."
    assert "; of d nothing can be said" in said(layer("a", 0.5), dead)


def test_what_voids_a_verdict_is_told() -> None:
    one = made_measurement(layer("a", 0.5))
    assert voids(one) == []
    assert "Only 2 images: there are no intervals" in voids(dataclasses.replace(one, n_images=2))[0]
    dead = made_measurement(layer("d", 0.5, snr=Estimate(NAN, NAN, NAN)))
    assert voids(dead)[0].startswith("Nothing can be said of d: the features do not vary")
    assert "margin is too small for r" in voids(made_measurement(layer("r", 0.1, residual=0.06)))[0]
    assert voids(made_measurement(layer("r", 0.1, residual=0.04))) == []
    assert "what rounding alone changes" in voids(made_measurement(layer("n", 0.1, numeric_floor=0.02)))[0]


@pytest.mark.parametrize(
    ("places", "whole", "words"),
    [
        ([0, 1, 2, 4], 6, "a to c and e"),
        ([1], 3, "b"),
        ([0, 1], 2, "all 2 layers"),
        ([0], 1, "a"),
        ([0, 2, 4, 5], 9, "a, c, e and f"),
        ([], 3, ""),
    ],
)
def test_layers_are_told_by_name(places: list[int], whole: int, words: str) -> None:
    assert spanned(places, "abcdefghi"[:whole]) == words
    assert spanned([0], ["", "a"]) == "the output"


def test_long_names_lose_their_middle_unless_they_would_look_alike() -> None:
    one, two = f"{'encoder' * 5}.first", f"{'encoder' * 5}.second"
    text = said(layer(one, 0.5), layer("b", 0.4, snr=Estimate(0.1, -0.1, 0.3)), layer(two, 0.5))
    assert one not in text and two not in text and "first" in text and "second" in text
    assert all(len(word) <= 29 for word in text.split())  # a name of 28, and a comma
    alike = [f"{'a' * 20}{middle}{'b' * 20}" for middle in ("1", "2")]
    assert called(alike) == alike
    assert called(["", "a"]) == ["the output", "a"]


def test_percents_keep_two_digits() -> None:
    assert [percent(x) for x in (0.5, 0.0996, 0.0123, NAN)] == ["50 %", "10 %", "1.2 %", "n/a"]


# ------------------------------------------------------------------------------------------------------ comparison


def paired(name: str, sizes: list[float], snr: Estimate = SURE):
    """A measurement of one layer whose relative size has these leave-one-out replicates."""
    value = sum(sizes) / len(sizes)
    size = Estimate(value, value - 0.01, value + 0.01, tuple(sizes))
    return made_measurement(dataclasses.replace(layer(name, 0.3, snr=snr), relative=size))


def test_a_ratio_is_paired_over_groups() -> None:
    a, b = [0.4, 0.5, 0.6], [0.04, 0.05, 0.06]  # always a tenth
    found = ratio(Estimate(0.05, 0, 1, tuple(b)), Estimate(0.5, 0, 1, tuple(a)))
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert math.isnan(ratio(Estimate(0.05, 0, 1), Estimate(0.5, 0, 1, tuple(a))).low)
    assert math.isnan(ratio(Estimate(0.05, 0, 1), Estimate(0.0, 0, 0)).value)


def test_the_print_is_the_root_mean_square_over_layers() -> None:
    one = made_measurement(layer("a", 0.3), layer("b", 0.4))
    assert print_of(one, ["a", "b"]).value == pytest.approx(math.sqrt(0.125))


def test_a_comparison_leads_with_what_each_leaves() -> None:
    own = paired("a", [0.49, 0.50, 0.51])
    result = Comparison(
        {
            "own": own,
            "reflect": paired("a", [0.049, 0.050, 0.051]),
            "circular": paired("a", [0.70, 0.75, 0.80]),
            "randn": paired("a", [0.2, 0.5, 0.9]),
        }
    )
    text = comparison_verdict(result)
    assert text.startswith(
        "reflect leaves about a tenth of the print of the network's own padding (10 %, 95 % interval 10 to 10 %); circular makes it 1.5 times as large ("
    )
    assert "; randn (" in text
    assert text.endswith("cannot be told from the network's own padding.")
    first = steps(own, result)[0]
    assert "The least print is left by reflect." in first["text"]


def test_what_makes_the_print_larger_is_said_in_times() -> None:
    own, larger = paired("a", [0.49, 0.50, 0.51]), paired("a", [0.98, 1.00, 1.02])
    assert comparison_verdict(Comparison({"own": own, "partial": larger})) == (
        "partial makes the print of the network's own padding 2.0 times as large (95 % interval 2.0 to 2.0 times)."
    )


def test_no_difference_is_claimed_that_the_interval_does_not_carry() -> None:
    own, wide = paired("a", [0.49, 0.50, 0.51]), paired("a", [0.01, 0.1, 0.6])
    text = comparison_verdict(Comparison({"own": own, "wide": wide}))
    assert "leaves" not in text
    assert "cannot be told from the network's own padding." in text
    few = made_measurement(dataclasses.replace(layer("a", 0.3), relative=Estimate(0.3, NAN, NAN)))
    text = comparison_verdict(Comparison({"own": few, "half": few}))
    assert (
        text == "half (100 %) cannot be told from the network's own padding: there are too few images for an interval."
    )


def test_without_a_print_there_is_no_share_of_it() -> None:
    chance = made_measurement(layer("a", 0.4, snr=Estimate(0.1, -0.1, 0.3)))
    assert "No mark of padding stands out with the network's own padding" in comparison_verdict(
        Comparison({"own": chance, "b": chance})
    )
    apart = Comparison({"a": made_measurement(layer("x", 0.4)), "b": made_measurement(layer("y", 0.4))})
    assert "nothing to compare" in comparison_verdict(apart)


def test_many_measurements_are_counted() -> None:
    own = paired("a", [0.49, 0.50, 0.51])
    others = {f"p{i}": paired("a", [0.1 + 0.01 * i + d for d in (-0.001, 0, 0.001)]) for i in range(6)}
    text = comparison_verdict(Comparison({"own": own, **others}))
    assert "p0 leaves about a fifth" in text
    assert text.endswith("and 3 more less than the network's own padding.")


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(0.104, 0.09, 0.12), "a tenth"),
        (Estimate(0.104, 0.101, 0.107), None),  # a tenth is outside the interval
        (Estimate(0.33, 0.2, 0.4), "a third"),
        (Estimate(0.15, 0.1, 0.2), None),
    ],
)
def test_simple_shares_lie_in_the_interval(estimate: Estimate, words: str | None) -> None:
    assert simple_share(estimate) == words


def test_intervals_are_named_once_and_then_in_brackets() -> None:
    own = paired("a", [0.49, 0.50, 0.51])
    others = {f"p{i}": paired("a", [0.05 * (i + 1) + d for d in (-0.001, 0, 0.001)]) for i in range(2)}
    assert comparison_verdict(Comparison({"own": own, **others})).count("95 % interval") == 1
    assert bracketed(Estimate(0.17, 0.124, 0.2)) == "17 % [12, 20]"
    assert bracketed(Estimate(0.017, -0.1, 0.02)) == "1.7 % [0, 2.0]"
    assert bracketed(Estimate(0.17, NAN, NAN)) == "17 %"
    assert bracketed(Estimate(0.17, 6e-12, 0.57)) == "17 % [< 0.01, 57]"


# ---------------------------------------------------------------------------------------------------------- advice


def test_the_next_commands_are_for_the_same_network_and_images() -> None:
    one = made_measurement(layer("a", 0.3))
    one.provenance["command"] = (
        "padprint measure torchvision:resnet50 'my photos' --weights w.pth --mean 0.5 0.5 0.5 --layers layer1 --report "
        "--crop=96 --calibrate 8 --output out"
    )
    assert command(one, "halo", "--tile 512") == (
        "padprint halo torchvision:resnet50 'my photos' --weights w.pth --mean 0.5 0.5 0.5 --calibrate 8 --tile 512"
    )
    assert "--layers layer1 --crop=96" in command(one, "compare", "--padding own reflect")
    assert command(one, "inspect", "--size 224") == "padprint inspect torchvision:resnet50 --size 224"
    for unknown in ("padprint demo --output x", "padprint compare photos --model a --model b", "'", None):
        one.provenance["command"] = unknown
        assert command(one, "halo", "--tile 512") == "padprint halo MODEL IMAGES --tile 512"


def test_uneven_strides_are_named_with_the_nearest_even_sizes() -> None:
    found = {"size": [224, 224], "windows": 5, "uneven": 5, "below": [193, 193], "above": [225, 225]}
    step = strides_step(found, "c")
    assert step is not None
    assert "5 of 5 strided windows are uneven at 224 px" in step["text"]
    assert "With inputs of 193 or 225 px all would be even." in step["text"]
    none = strides_step(found | {"below": [None, 3], "above": [225, 449]}, None)
    assert none is not None
    assert "With inputs of 225x449 px" in none["text"]
    assert strides_step(found | {"uneven": 0}, None) is None


def test_nothing_is_advised_where_nothing_is_marked() -> None:
    texts = [step["text"] for step in steps(made_measurement(layer("a", 0.4, snr=Estimate(0.1, -0.1, 0.3))))]
    assert texts[0].startswith("Nothing needs to change.")
    assert not any("tiles" in text for text in texts)


# ----------------------------------------------------------------------------------------------------------- terms


def test_terms_are_explained_once_and_text_stays_text() -> None:
    html = str(marked("the SNR & the SNR of <b>, a halo; padprint, layer.cells"))
    assert html.count('class="term"') == 2
    assert "&amp; the SNR of &lt;b&gt;" in html
    assert GLOSSARY["halo"] in html
    assert "padprint, layer.cells" in html
