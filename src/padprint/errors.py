"""Errors padprint raises on purpose: each message names the thing, its value and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from padprint.support.reasons import Reason


def readable(text: str) -> str:
    """A text, which a file's name may be part of, that can be printed and saved, whatever bytes the name has."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class PadprintError(ValueError):
    """Base of every error padprint raises for input it cannot work with.

    Attributes:
        reasons: by layer, why it cannot be measured, where that is what the error is about (`padprint.support.reasons.Reason`).
    """

    def __init__(self, message: str = "", *, reasons: Mapping[str, Reason] | None = None) -> None:
        super().__init__(readable(message))
        self.reasons = dict(reasons or {})


class ImagesError(PadprintError):
    """The images cannot be used: none, unreadable, too small, not finite, or of the wrong shape."""


class ModelError(PadprintError):
    """The model cannot be used: it cannot be loaded, run, or moved, or its features depend on absolute position."""


class LayerError(PadprintError):
    """A layer that was asked for does not exist or cannot be measured."""


class PaddingError(PadprintError):
    """A padding scheme that does not exist, that cannot be applied to a layer, or that nothing was there to apply to."""


class HaloError(PadprintError):
    """No overlap of tiles keeps what was asked for: the output sees the whole input, or the tile is too small."""


class ResultError(PadprintError):
    """A saved result cannot be read: missing, half written, damaged, or of another schema."""


class MissingPackageError(PadprintError, ImportError):
    """An optional package is needed for what was asked, and is missing or broken."""
