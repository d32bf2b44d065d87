"""Padding inside networks: which operators pad, the schemes by name, and how to watch, swap or replace them.

``with use("reflect"): model(x)`` swaps padding for as long as a block lasts; ``convert(model, "reflect")`` gives a copy
that keeps and trains with it; a scheme of your own is a `Scheme` with a `register`ed name, an operator of your own that pads has a `register_reader`
that reads its calls into a `Windowed`.
"""

from padprint.padding.convert import convert, revert
from padprint.padding.operators import register_reader
from padprint.padding.scheme import Scheme, available, make, register
from padprint.padding.swap import Replaced, use
from padprint.padding.windowed import Windowed

__all__ = [
    "Replaced",
    "Scheme",
    "Windowed",
    "available",
    "convert",
    "make",
    "register",
    "register_reader",
    "revert",
    "use",
]
