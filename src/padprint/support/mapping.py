"""Results that are mappings over one of their attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, TypeVar

Key = TypeVar("Key")
Value_co = TypeVar("Value_co", covariant=True)


class Over(Mapping[Key, Value_co]):
    """A mapping over an attribute of its own, which holds the entries in order.

    Attributes:
        ENTRIES: the attribute's name.
    """

    ENTRIES: ClassVar[str]

    def __getitem__(self, key: Key) -> Value_co:
        entry: Value_co = getattr(self, self.ENTRIES)[key]
        return entry

    def __iter__(self) -> Iterator[Key]:
        return iter(getattr(self, self.ENTRIES))

    def __len__(self) -> int:
        return len(getattr(self, self.ENTRIES))
