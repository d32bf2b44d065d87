"""The page of an inspection: what pads in a network, where strides are uneven, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from padprint.errors import ResultError
from padprint.geometry.inspection import Inspection, PaddingOperator, stride_record
from padprint.geometry.inspection_text import table, times
from padprint.plot._base import COLOURS, MARKERS, distinct, figure_of, new_figure
from padprint.report.advice import SWAPS, Step, strides_step
from padprint.report.charts import svg
from padprint.report.plain import Chart, Plain, Table, plain_page
from padprint.results import storage
from padprint.support.typed import Fields, restored
from padprint.support.wording import count, listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MODES = 4
"""Modes of padding named in a sentence."""
_WORDS = {"-inf": "minus infinity, which never wins in a maximum"}
_MEANING = (
    "Padded values are made up: near the border features are computed from them, in every image alike, and that marks the border. "
    "Measuring tells how strongly."
)


def inspection_page(inspection: Inspection, model: str) -> str:
    """The page as text.

    Args:
        inspection: the inspection.
        model: its name, as a command takes it.
    """
    headers, rows = table(inspection)
    uneven = [
        (w.module or w.operator, times(w.size), times(w.kernel), times(w.stride), times(w.remainder))
        for w in inspection.strided
    ]
    charts = [Chart(svg(figure_of(axes), text), text) for axes, text in _drawn(inspection)]
    return plain_page(
        Plain(
            heading="What pads in",
            title=f"{model} at {_size(inspection)} px",
            verdict=inspection_verdict(inspection),
            lead=_lead(inspection),
            charts_title="Where padding enters",
            charts=charts,
            steps=_steps(inspection, model),
            tables=[
                Table("Padding operators, in order of execution", headers, rows),
                Table("Strided windows", ("module", "map", "kernel", "stride", "cells left over"), uneven),
            ],
        )
    )


@dataclass(frozen=True)
class SavedInspection:
    """An inspection, and the model's name as a command takes it."""

    inspection: Inspection
    model: str

    def page(self) -> str:
        """The page as text."""
        return inspection_page(self.inspection, self.model)


def saved_inspection(folder: Path) -> SavedInspection:
    """What ``padprint inspect --output`` wrote.

    Raises:
        ResultError: it is missing or damaged.
    """
    file = folder / storage.INSPECTION_FILE
    try:
        source = Fields(storage.read_document(file))
        return SavedInspection(restored(Inspection, source), source.get("model", str))
    except ResultError:
        raise
    except ValueError as error:
        raise ResultError(f"{file} is damaged ({error}); inspect again or restore the file") from error


def inspection_verdict(inspection: Inspection) -> str:
    """One sentence: how many operators pad, how, whether that can be swapped, and whether strides are even."""
    pads = [operator for operator in inspection.operators if operator.mode != "unclassified"]
    if not pads:
        return "Nothing that can be read pads in this network."
    modes = Counter(operator.mode for operator in pads).most_common()
    named = listed(
        [f"{n} with {_WORDS.get(mode, mode)}" for mode, n in modes[:_MODES]]
        + [f"{len(modes) - _MODES} other modes"] * (len(modes) > _MODES)
    )
    fixed = sum(not operator.swappable for operator in pads)
    swap = "all can be given other padding" if not fixed else f"{len(pads) - fixed} of them can be given other padding"
    size = _size(inspection)
    uneven = [window for window in inspection.strided if not window.even]
    if not inspection.strided:
        strides = ""
    elif not uneven:
        strides = f"; all {count(len(inspection.strided), 'strided window')} are even at {size} px"
    else:
        strides = (
            f"; at {size} px {len(uneven)} of {count(len(inspection.strided), 'strided window')} "
            f"{'is' if len(uneven) == 1 else 'are'} uneven, so that padding at the bottom or the right goes unused"
        )
    return f"{count(len(pads), 'operator')} of this network {'pads' if len(pads) == 1 else 'pad'} ({named}); {swap}{strides}."


def _lead(inspection: Inspection) -> list[str]:
    hidden = [operator for operator in inspection.operators if operator.mode == "unclassified"]
    meaning = [_MEANING] * (len(hidden) < len(inspection.operators))
    if not hidden:
        return meaning
    kinds = listed(sorted({operator.operator for operator in hidden})[:_MODES])
    return [
        *meaning,
        f"{count(len(hidden), 'call')} may hide padding and could not be read ({kinds}): see the table of operators.",
    ]


def _steps(inspection: Inspection, model: str) -> list[Step]:
    steps = [strides_step(stride_record(inspection), None)]
    if any(operator.mode != "unclassified" for operator in inspection.operators):
        steps += [
            {
                "text": "Measure what this padding tells the network about position, and in which layers:",
                "command": f"padprint measure {model} IMAGES --output result --report",
            },
            {
                "text": "See what other padding would leave of the print:",
                "command": f"padprint compare {model} IMAGES --padding own {SWAPS} --output swaps --report",
            },
        ]
    return [step for step in steps if step is not None]


def _drawn(inspection: Inspection) -> Sequence[tuple[Axes, str]]:
    """How much each operator pads, as a share of its map; and the cells that each strided window leaves over."""
    from matplotlib.ticker import MaxNLocator

    charts = []
    pads = [operator for operator in inspection.operators if operator.amounts]
    if pads:
        axes = new_figure(4.8, 3.2).add_subplot()
        for i, mode in enumerate(dict.fromkeys(operator.mode for operator in pads)):
            places = [(k + 1, 100 * _share(operator)) for k, operator in enumerate(pads) if operator.mode == mode]
            axes.plot(
                *zip(*places, strict=True),
                MARKERS[i % len(MARKERS)],
                color=COLOURS[i % len(COLOURS)],
                markersize=5,
                label=mode,
            )
        axes.set_xlabel("padding operators, in order of execution")
        axes.set_ylabel("padded cells (% of the map's length)")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.legend(fontsize=9)
        charts.append(
            (
                axes,
                "How much of each map's length is padding: deeper maps are smaller, and the same padding weighs more.",
            )
        )
    if inspection.strided:
        axes = new_figure(4.8, 0.3 * len(inspection.strided) + 1.4).add_subplot()
        left = [max(window.remainder) for window in inspection.strided]
        axes.barh(range(len(left)), left, color=COLOURS[1])
        axes.set_yticks(
            range(len(left)), distinct([w.module or w.operator for w in inspection.strided], 28), fontsize=8
        )
        axes.invert_yaxis()
        axes.set_xlim(0, max([1, *left]) * 1.05)
        axes.set_xticks(range(max([1, *left]) + 1))
        axes.set_xlabel("cells left over at the far side; 0 is even")
        charts.append((axes, "Strided windows: an uneven stride leaves cells over, and the padding there is not used."))
    return charts


def _size(inspection: Inspection) -> str:
    size = inspection.shape[2:]
    return str(size[0]) if len(set(size)) == 1 else times(size)


def _share(operator: PaddingOperator) -> float:
    """Padded cells over the map's, along the axis where that is most."""
    return max(
        sum(amount) / max(1, operator.shape[axis]) for axis, amount in zip(operator.axes, operator.amounts, strict=True)
    )
