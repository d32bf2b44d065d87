"""Padding inside networks: which operators pad, the schemes by name, and how to watch, swap or replace them.

``with use("reflect"): model(x)`` swaps padding for as long as a block lasts; ``convert(model, "reflect")`` gives a copy
that keeps and trains with it; a scheme of your own is a `Scheme` with a `register`ed name.
"""

from padprint.padding.convert import convert, revert
from padprint.padding.scheme import Scheme, available, make, register
from padprint.padding.swap import Replaced, use

__all__ = ["Replaced", "Scheme", "available", "convert", "make", "register", "revert", "use"]
