"""What files must have in common, which of their channels are read, and how much a header may announce."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isclose, prod

from padprint.images.contents import Contents
from padprint.images.pixels import RefusedError


def differences(one: Contents, first: Contents, *, by_name: bool) -> Iterator[tuple[str, list[str], str]]:
    """What differs between files that must agree: in words, of each, and what to do."""
    if one.sample_rate != first.sample_rate:
        rates = [f"{x.sample_rate:g} Hz" if x.sample_rate else "which it does not say" for x in (one, first)]
        yield "the sample rate", rates, "all files need the same; resample them"
    if len(one.shape) == len(first.shape) and not _close(one.spacing, first.spacing):
        spacings = [f"{by(x.spacing)} mm" if x.spacing else "which it does not say" for x in (one, first)]
        yield "the spacing", spacings, "resample them alike, or say with spacing (--spacing) what all are to count as"
    if one.orientation != first.orientation:
        turned = [x.orientation or "which it does not say" for x in (one, first)]
        yield "the orientation", turned, "turn all files alike (in nibabel: as_closest_canonical)"
    if one.names != first.names and not by_name:
        names = [" ".join(x.names) or "without names" for x in (one, first)]
        yield (
            "the channels",
            names,
            "name those wanted with channels (--channels), in the order that the network takes",
        )


def _close(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(isclose(a, b, rel_tol=1e-3) for a, b in zip(one, other, strict=True))


def chosen(names: Sequence[str], n: int, channels: Sequence[int | str] | None) -> list[int]:
    """Places of the channels asked for, among `n` that may have names; the end of a name is enough where no other ends so.

    Raises:
        RefusedError: there is no such channel.
    """
    if channels is None:
        return list(range(n))
    found = []
    for wanted in channels:
        ends = [i for i, name in enumerate(names) if name.endswith(str(wanted))]
        whole = [i for i, name in enumerate(names) if name == wanted]
        places = [wanted] * (wanted < n) if isinstance(wanted, int) else whole or ends
        if len(places) != 1:
            called = f" ({' '.join(names)})" if names else " without names"
            raise RefusedError(f"has channels 0 to {n - 1}{called}, and channels asks for {wanted}")
        found.append(places[0])
    return found


BANDS = 16
"""Numbers that a file may hold for each cell that `max_megapixels` allows, and that may be decoded at once."""


def check_amount(contents: Contents, most: float) -> None:
    """Raise RefusedError where a header announces more numbers than a computer should be asked to hold."""
    for shape, what in ((contents.shape, "numbers"), (contents.piece, "numbers in one piece")):
        if prod(shape) > most * 1e6 * BANDS:
            raise RefusedError(
                f"has {by(shape)} {what}, and {most * BANDS:g} million are allowed: leave it out, cut it, or raise max_megapixels "
                "(--max-megapixels)"
            )


def by(sizes: Sequence[float]) -> str:
    """``2x3``."""
    return "x".join(f"{n:g}" for n in sizes)
