"""What a padding scheme is, and the vocabulary of schemes by name.

A scheme of your own takes five lines::

    @register("mean")
    class Mean(Scheme):
        def pad(self, x, pads):
            return pad_constant(x, pads, x.mean((-2, -1), keepdim=True))

and then works wherever a name does: ``use("mean")``, ``measure(..., padding="mean")``, ``convert(model, "mean")``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from padprint.errors import PaddingError
from padprint.padding.windowed import Pads, Windowed


class Scheme(nn.Module):
    """A way to invent the cells beyond the edge of a map.

    A module, so that what it learns is trained, moved, saved and copied with the network it sits in. Most schemes
    define `pad` alone; one that changes what the operator does with the cells (partial convolution) or how many there
    are (full, none) overrides `run`.

    Attributes:
        name: in the registry; set by `register`.
        changes_size: the operators' outputs get another size, so features cannot be compared cell by cell.
        stochastic: fresh numbers at every call.
        moves: the cells of the map change their places, so features cannot be compared cell by cell either.
        learned: has parameters; each layer gets a scheme of its own from `sized`.
    """

    name: ClassVar[str] = ""
    changes_size: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    moves: ClassVar[bool] = False
    learned: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()

    @property
    def untrained(self) -> bool:
        """Whether it learns and nothing has changed the parameters that it started with."""
        return False

    def sized(self, channels: int) -> Scheme:  # noqa: ARG002  # most schemes are the same for any number
        """The scheme for one layer whose maps have so many channels.

        Called once for each layer that gets the scheme. What learns returns a scheme with parameters of its own; the
        rest, itself.

        Raises:
            PaddingError: it was made for another number of channels.
        """
        return self

    def for_layer(self, name: str) -> Scheme:  # noqa: ARG002  # most schemes are the same for any layer
        """What supplies the cells of one layer while one scheme stands in for the padding of a whole network."""
        return self

    def reseed(self, seed: int | None) -> None:
        """Start the random numbers anew; a scheme without any has nothing to do."""

    def pad(self, x: Tensor, pads: Pads) -> Tensor:
        """`x` with cells added at its edges.

        Args:
            x: `(B, C, *spatial)` map, or `(C, *spatial)`.
            pads: (before, after) cells for each of the last ``len(pads)`` dimensions, in their order; 0 or more.

        Returns:
            `x` extended; its own cells are unchanged.

        Raises:
            PaddingError: the scheme cannot supply so many cells for a map of this size.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither pad nor run")

    def run(self, op: Windowed) -> Any:
        """Run an operator with the cells that this scheme supplies.

        Args:
            op: the call; `op.pads` may be negative on sides that are cropped.

        Returns:
            what the operator returns.

        Raises:
            PaddingError: see `pad`.
        """
        return op.apply(op, op.extended(self.pad))


Made = TypeVar("Made", bound=type[Scheme])
_SCHEMES: dict[str, type[Scheme]] = {}


def register(name: str) -> Callable[[Made], Made]:
    """Class decorator: make a scheme known by `name`.

    Raises:
        PaddingError: the name is taken by another scheme, or holds ":", "," or "=".
    """

    def add(scheme: Made) -> Made:
        import padprint.padding.schemes  # noqa: F401  # padprint's own names are taken

        if set(name) & set(":,= ") or not name:
            raise PaddingError(f"{name!r} cannot name a padding scheme: use letters, digits, '-' and '_'")
        known = _SCHEMES.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (scheme.__module__, scheme.__qualname__):
            raise PaddingError(
                f"the padding scheme {name!r} exists already ({known.__module__}.{known.__qualname__}); take another name"
            )
        scheme.name = name
        _SCHEMES[name] = scheme
        return scheme

    return add


def available() -> dict[str, type[Scheme]]:
    """Every registered scheme by name."""
    import padprint.padding.schemes  # noqa: F401  # registers padprint's own

    return dict(sorted(_SCHEMES.items()))


def make(spec: str | Scheme) -> Scheme:
    """The scheme that a specification names: ``"reflect"``, ``"constant:value=0.5"``, ``"polynomial:order=2"``.

    Args:
        spec: a registered name, with parameters as ``name:key=value,key=value``; or a scheme, which is returned.

    Raises:
        PaddingError: no such scheme, or a parameter it does not take.

    Examples:
        >>> from padprint.padding import make
        >>> make("constant:value=0.5").value
        0.5
    """
    if isinstance(spec, Scheme):
        return spec
    name, _, rest = spec.partition(":")
    known = available()
    if name not in known:
        near = get_close_matches(name, known, n=3) or list(known)
        raise PaddingError(f"there is no padding scheme {name!r}; did you mean {' or '.join(near)}?")
    options: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise PaddingError(f"{part!r} in {spec!r} is no parameter: write {name}:key=value,key=value")
        if key.strip() in options:
            raise PaddingError(f"{key.strip()} is there twice in {spec!r}")
        options[key.strip()] = _literal(value.strip())
    accepted = inspect.signature(known[name]).parameters
    unknown = [key for key in options if key not in accepted]
    if unknown:
        takes = ", ".join(accepted) or "none"
        raise PaddingError(f"the padding scheme {name!r} takes no {', '.join(unknown)}; its parameters: {takes}")
    return known[name](**options)


def _literal(text: str) -> Any:
    """A whole number, a decimal number, true or false; else the text itself."""
    words: dict[str, Any] = {"true": True, "false": False}
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return words.get(text.lower(), text)
