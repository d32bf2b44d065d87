"""Why a layer is not measured, or what is to be said of a result: a kind for code, and words for people.

The words of refused layers are made here; those of a result's warnings in `padprint.measuring.outcome` and `padprint.overlap.running`, beside
what decides them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from padprint.support.axes import side_names, times


class Kind(Enum):
    """What a reason is about."""

    # of layers that are not measured
    GLOBAL = "global"
    """An operator sees the whole input, so that no margin holds all of it."""
    ABSOLUTE = "absolute"
    """Features depend on where the input lies, or on its size."""
    RANDOM = "random"
    """Features differ from pass to pass."""
    BATCH = "batch"
    """Features depend on the other images of the batch."""
    CONTRADICTED = "contradicted"
    """The data contradict what the trace found."""
    FAR = "far"
    """It reaches further than is traced."""
    ONE_SIZE = "one size"
    """The network takes inputs of one size."""
    UNEVEN = "uneven"
    """The map does not grow evenly with the input, or is lost on larger ones."""
    NO_MAP = "no map"
    """The output is no map `(batch, channels, *space)`."""
    HANDLER = "handler"
    """A handler of an operator that sees the whole map (`padprint.wholemap.register`) computes something else than the operator."""
    # of results
    SWAPPED = "swapped"
    """Padding was swapped in that the network was not trained with."""
    UNTRAINED = "untrained"
    """A learned scheme, or BatchNorm, has learnt nothing."""
    FEW = "few"
    """There are few images or groups."""
    IMAGES = "images"
    """Some images were enlarged, skipped, or are the same as others."""
    NOT_FINITE = "not finite"
    """A layer holds NaN or infinite values."""
    APPROXIMATE = "approximate"
    """The margin is below the reach."""
    FLOOR = "floor"
    """The pattern is near the numeric floor."""
    CONSTANT = "constant"
    """An output does not vary."""
    UNKNOWN = "unknown"
    """Of results that were saved without kinds."""


_LEADING = {Kind.GLOBAL, Kind.ABSOLUTE, Kind.RANDOM, Kind.BATCH, Kind.CONTRADICTED}


class Reason(str):
    """Words for people, and what code asks for.

    Args:
        kind: what it is about; the words begin with it where it is GLOBAL, ABSOLUTE, RANDOM, BATCH or CONTRADICTED.
        text: the words.
        operator: the call to blame, or empty.
        layer: that it is about, or empty.
    """

    kind: Kind
    operator: str
    layer: str
    _text: str

    def __new__(cls, kind: Kind, text: str, operator: str = "", layer: str = "") -> Reason:  # noqa: D102  # see the class
        self = super().__new__(cls, f"{kind.value}: {text}" if kind in _LEADING else text)
        self.kind, self._text, self.operator, self.layer = kind, text, operator, layer
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.kind, self._text, self.operator, self.layer

    def more(self, said: str) -> Reason:
        """The same reason with more said."""
        return Reason(self.kind, f"{self._text}{said}", self.operator, self.layer)

    def reworded(self, change: Callable[[str], str]) -> Reason:
        """The same reason, its words and its operator changed."""
        return Reason(self.kind, change(self._text), change(self.operator), self.layer)

    def of(self, layer: str) -> Reason:
        """The same reason of a layer."""
        return Reason(self.kind, self._text, self.operator, layer)

    def describe(self) -> dict[str, str]:
        """What is saved beside the words."""
        return {"kind": self.kind.value, "operator": self.operator, "layer": self.layer}


def restored(text: str, described: Mapping[str, str] | None) -> Reason:
    """A reason that was saved; without kind where that was not.

    Raises:
        ValueError: there is no such kind.
    """
    if described is None:
        return Reason(Kind.UNKNOWN, text)
    kind = Kind(described.get("kind", Kind.UNKNOWN.value))
    own = text.removeprefix(f"{kind.value}: ") if kind in _LEADING else text
    return Reason(kind, own, described.get("operator", ""), described.get("layer", ""))


def by_layer(reasons: Mapping[str, str]) -> str:
    """Reasons by layer, in one line."""
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


# ------------------------------------------------------------------------------------------- layers that see too much


def sees_all(operator: str, *, sure: bool = True) -> Reason:
    """A layer behind an operator that sees the whole input."""
    return Reason(
        Kind.GLOBAL, f"{operator} sees the whole input{'' if sure else ', for all that can be told'}", operator
    )


def changes_throughout(length: int) -> Reason:
    """Of a layer whose every cell moves with what lies outside inputs of so many px."""
    return Reason(Kind.GLOBAL, f"on an input of {length} px too every cell changes with what lies beyond the edge")


def beyond_margin(*, followed: bool) -> Reason:
    """Of a layer that moves with what lies beyond its margin; `followed`: its statistics are taken over the crop's window."""
    if followed:
        return Reason(
            Kind.GLOBAL,
            "with statistics over the crop's window the features still change with what lies beyond the margin: an operator sees "
            "the whole map in a way that is not followed",
        )
    return Reason(
        Kind.GLOBAL,
        "the features change with what lies beyond the margin that the trace found: an operator that sees the whole input (a "
        "normalisation, squeeze-and-excitation, attention, pooling), or padding that was not seen",
    )


def stretched(operator: str) -> Reason:
    """A layer behind something of a fixed size that is stretched over the input."""
    return Reason(Kind.ABSOLUTE, f"{operator} stretches a map of fixed size over the input", operator)


def anchored(operator: str) -> Reason:
    """A layer behind resampling at positions that move with the input's size."""
    return Reason(Kind.ABSOLUTE, f"{operator} samples at positions that move with the input's size", operator)


def padded_in_parts(lengths: tuple[int, int]) -> Reason:
    """Of a layer whose inside is padded, elsewhere on inputs of other lengths."""
    return Reason(
        Kind.ABSOLUTE,
        "padding reaches cells inside its map, at places that depend on the input's size: parts of the input are padded on "
        f"their own ({lengths[0]} px and {lengths[1]} px have other rims)",
    )


def depends_on_size(larger: int | None = None) -> Reason:
    """Of a layer whose features depend on the size of the input: they are others on `larger` px."""
    more = "" if larger is None else f": those of the same content are others on {larger} px"
    return Reason(Kind.ABSOLUTE, f"its features depend on the size of the input{more}")


def depends_on_place(further: int, by: float) -> Reason:
    """Of a layer whose features are others so many px further on, by a share of their size."""
    return Reason(
        Kind.ABSOLUTE,
        "its features depend on where the input lies (a position embedding, coordinates, resizing): "
        f"{further} px further on they are others, by {by:.1e} of their size",
    )


def size_of_canvas() -> Reason:
    """Of a layer whose features depend on the size of the canvas around a crop."""
    return Reason(
        Kind.ABSOLUTE,
        "the features depend on the size of the input (resizing inside, align_corners, a position embedding that is stretched)",
    )


def place_in_scene() -> Reason:
    """Of a layer whose features depend on where a crop lies in its scene."""
    return Reason(
        Kind.ABSOLUTE,
        "the features depend on where the crop lies in its scene, so padding cannot be told apart from position (position "
        "embedding or coordinates)",
    )


def never_repeats() -> Reason:
    """Of a layer whose cells are not alike after any total stride."""
    return Reason(Kind.ABSOLUTE, "its features repeat after no total stride that was tried")


def differs_by_pass() -> Reason:
    """Of a layer whose features differ from pass to pass."""
    return Reason(
        Kind.RANDOM, "the features differ from pass to pass on the same input (dropout that is active, noise)"
    )


def gone_on_repetition() -> Reason:
    """Of a layer that differed beyond its rim once, and not when the crop was run again."""
    return Reason(
        Kind.RANDOM,
        "a difference beyond the rim was not there when the same crop was run again, so that the network is random or has changed "
        "while it was measured",
    )


def depends_on_batch() -> Reason:
    """Of a layer whose features depend on the other images of the batch."""
    return Reason(
        Kind.BATCH,
        "its features depend on the other images of the batch (statistics over it), or on how many there are",
    )


def changed_throughout(map_size: tuple[int, ...], rim: object) -> Reason:
    """Of a layer all of whose cells padding changes, where the trace found a rim."""
    return Reason(
        Kind.CONTRADICTED,
        f"padding changes every cell of its {times(map_size)} map, and the trace says that it reaches {rim} cells: something sees "
        "the whole input or pads unseen",
    )


def changed_beyond(cells: int, pixels: float, rim: tuple[int, ...] | None) -> Reason:
    """Of a layer that padding changes so far from the border, where the trace found a rim."""
    return Reason(
        Kind.CONTRADICTED,
        f"padding changes cells as far as {cells} cells ({pixels:g} px) from the border, and the trace says that it reaches {rim} "
        f"({', '.join(side_names(len(rim or (0,) * 4) // 2))}): something pads unseen",
    )


def handled_otherwise(by: float) -> Reason:
    """Of a layer behind a handler that computes something else, by a relative change."""
    return Reason(
        Kind.HANDLER,
        f"a handler of an operator that sees the whole map does not compute what the operator does; relative change {by:.1e}",
    )


# --------------------------------------------------------------------------------------------- layers that are no maps


def reaches_far(length: int) -> Reason:
    """Of a layer every cell of which padding from both ends touches on an input of so many px."""
    return Reason(Kind.FAR, f"its rims still meet on an input of {length} px: it reaches further than padprint traces")


def one_size(error: str | None) -> Reason:
    """Of a layer that is not there at another size, or on which the network fails with an error."""
    return Reason(Kind.ONE_SIZE, f"the model cannot be run at another size to reach it: {error}")


def lost_on(length: int, error: str | None) -> Reason:
    """Of a layer that is not there on an input of so many px."""
    return Reason(Kind.UNEVEN, f"the network fails on an input that is {length} px long, or does not reach it: {error}")


def grows_unevenly(cells: str) -> Reason:
    """Of a layer whose map does not grow evenly; `cells` says how."""
    return Reason(Kind.UNEVEN, f"its map does not grow evenly with the input ({cells})")


def nan_of_its_own() -> Reason:
    """Of a layer that holds NaN where padding is not the reason."""
    return Reason(
        Kind.NOT_FINITE,
        "its map holds NaN of the network's own, on an input of ordinary numbers too, so that NaN in the place of padding tells "
        "nothing: check the weights and what the network divides by",
    )


def no_map(text: str) -> Reason:
    """Of a layer whose output is no map, for what `text` says."""
    return Reason(Kind.NO_MAP, text)
