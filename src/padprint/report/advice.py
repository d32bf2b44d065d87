"""What a reader can do: the next commands for the same network and images, and what the numbers suggest."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from padprint.overlap.result import Halo
from padprint.report.compared import ratios
from padprint.report.levels import level, stands_out
from padprint.results.comparison import Comparison
from padprint.results.measurement import Measurement
from padprint.support.axes import side_names
from padprint.support.wording import listed

Step = Mapping[str, Any]
"""A text, a command or None, and perhaps lines below."""

_OF_A_RUN = ("--output", "--padding", "--verify", "--config")
_OF_CROPS = ("--layers", "--crop", "--crops-per-image", "--groups")
_FLAGS = ("--plots", "--report", "--json", "--quiet", "--strict")
_LISTS = ("--padding", "--mean", "--std", "--layers", "--verify")
SWAPS = "reflect replicate circular"


def steps(measured: Measurement, result: Comparison | None = None) -> list[Step]:
    """What to do about one measurement, or about a comparison whose first it is.

    Each has a text, and a command or None.
    """
    proposed = [_about_swaps(measured, result), *_about_strides(measured.provenance.get("strides"), measured)]
    if any(level(layer) not in (None, "none") for layer in measured.values()):
        proposed.append(
            {
                "text": "If you run the network on tiles of large images, let them overlap so far that the border does not show. "
                "This finds the halo that they need:",
                "command": command(measured, "halo", "--tile 512 --tolerance 0.01 --output halo"),
            }
        )
    return proposed


def what_to_do(measurement: Measurement | None, strides: Any = None) -> str:
    """What a measurement and its strides suggest, in one sentence.

    Args:
        measurement: None where there is none.
        strides: as `padprint.geometry.inspection.stride_record` gives them; anything else: not known.
    """
    lines = []
    if isinstance(strides, Mapping) and strides.get("uneven"):
        even = [_times(strides[key]) for key in ("below", "above") if None not in strides[key]]
        lines.append(
            f"feed it {' or '.join(even)} px, where every stride is even"
            if even
            else f"expect a lopsided print, since no input size near {_times(strides['size'])} px makes every stride even"
        )
    if measurement is not None and any(map(stands_out, measurement.values())):
        lines.append("compare other paddings, and let tiles overlap if you tile")
    if lines:
        return f"What to do: {'; '.join(lines)}."
    if measurement is None:
        return "What to do: look at the layers that can be measured, or at one pass over whole images."
    if not any(level(layer) for layer in measurement.values()):
        return "What to do: calibrate the network, or measure other layers."
    return "Nothing needs to change; more and larger images would tell smaller marks."


def strides_step(strides: Mapping[str, Any], command: str | None) -> Step | None:
    """What uneven strides do, and the nearest sizes at which there are none; None where all are even.

    Args:
        strides: as `padprint.geometry.inspection.stride_record` gives it.
        command: to look at them.
    """
    if not strides.get("uneven"):
        return None
    size, sizes = (
        _times(strides["size"]),
        [_times(strides[key]) for key in ("below", "above") if None not in strides[key]],
    )
    far = listed([f"the {side}" for side in side_names(len(strides["size"]))[1::2]], "or")
    whole = (
        f"{strides['uneven']} of {strides['windows']} strided windows are uneven at {size} px: they leave cells over at {far}, "
        "where padding then goes unused, and the print is lopsided."
    )
    give = f" With inputs of {' or '.join(sizes)} px all would be even." if sizes else " No even size was found nearby."
    return {"text": f"{whole}{give}{' This names each uneven stride:' if command else ''}", "command": command}


def command(measured: Measurement | Halo, verb: str, options: str) -> str:
    """A command for the same network and images; in capitals what is not known.

    Args:
        measured: a measurement or a halo, whose provenance may hold the command that made it.
        verb: of the new command.
        options: of the new command.
    """
    line = str(measured.provenance.get("command") or "")
    without = _OF_A_RUN if verb == "compare" or line.startswith(f"padprint {verb} ") else (*_OF_A_RUN, *_OF_CROPS)
    model, images, kept = _given(line, without)
    places = [model] if verb == "inspect" else [model, images]
    kept = [] if verb == "inspect" else kept
    return " ".join(["padprint", verb, *places, *kept, *options.split()])


def _given(line: str, without: Sequence[str]) -> tuple[str, str, list[str]]:
    """Model, images and options, without some, of a command that ran a network."""
    try:
        _, verb, *words = shlex.split(line)
    except ValueError:
        verb, words = "", []
    if verb not in ("measure", "compare", "halo"):
        return "MODEL", "IMAGES", []
    places: list[str] = []
    kept: list[str] = []
    option = ""
    for word in words:
        if word.startswith("--"):
            option = "" if "=" in word or word in _FLAGS else word
            if word not in _FLAGS and word.partition("=")[0] not in without:
                kept.append(shlex.quote(word))
        elif option:
            if option not in without:
                kept.append(shlex.quote(word))
            if option not in _LISTS:
                option = ""
        else:
            places.append(shlex.quote(word))
    return (places[0], places[1], kept) if len(places) == 2 else ("MODEL", "IMAGES", [])


def _about_swaps(measured: Measurement, result: Comparison | None) -> Step:
    marked = any(stands_out(layer) for layer in measured.values())
    if result is not None and len(result) > 1:
        return _swapped(result)
    if not marked:
        return {
            "text": "Nothing needs to change. More images, or larger ones, would tell smaller marks.",
            "command": None,
        }
    return {
        "text": "See what other padding would leave of the print; nothing is trained for it:",
        "command": command(measured, "compare", f"--padding own {SWAPS} --report --output swaps"),
    }


def _swapped(result: Comparison) -> Step:
    left = ratios(result)
    less = sorted((name for name, each in left.items() if each.high < 1), key=lambda name: left[name].value)
    first, *_ = result
    if not less:
        return {
            "text": f"None of the others leaves less than {first}, as far as these images tell: keep {first}.",
            "command": None,
        }
    tied = [name for name in less[1:] if left[name].low <= left[less[0]].high]
    text = f"The least print is left by {less[0]}" + (f"; {listed(tied)} may leave as little" if tied else "") + "."
    if any(each.provenance.get("padding") for each in result.values()):
        text += (
            " Check your own metric before you switch: a network that was trained with one padding may lose accuracy with "
            "another. To train or fine-tune with it, in Python:"
        )
        return {"text": text, "command": f"model = padprint.padding.convert(model, {less[0].split(' / ')[-1]!r})"}
    return {"text": text, "command": None}


def _about_strides(strides: Any, measured: Measurement) -> Sequence[Step]:
    if not isinstance(strides, Mapping):
        return [
            {
                "text": "Look for an uneven stride, which makes the print lopsided, and for the nearest input size without:",
                "command": command(measured, "inspect", f"--size {_times(measured.crop)}"),
            }
        ]
    step = strides_step(strides, command(measured, "inspect", f"--size {_times(measured.crop)}"))
    return [] if step is None else [step]


def _times(size: Sequence[int]) -> str:
    return str(size[0]) if len(set(size)) == 1 else "x".join(map(str, size))
