"""A fixed set of images: read once, kept in memory, the same at every step."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from padprint.images.source import Source, nothing_decoded


class CachedScenes(Source):
    """The images of another source, copied.

    Args:
        source: read once.

    Raises:
        ImagesError: there is no image in it, or one that cannot be used.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source.description, source.length)
        self._images: dict[int, Tensor] = {i: image.detach().to("cpu", copy=True) for i, image in source.items()}
        if not self._images:
            raise nothing_decoded(source)
        self.skipped, self._enlarged = dict(source.skipped), set(source._enlarged)
        self.channels = next(iter(self._images.values())).shape[0]

    def sizes(self) -> list[tuple[int, ...] | None] | None:
        """The size in space of every image by index, cells, None where it could not be decoded."""
        known = {i: tuple(image.shape[1:]) for i, image in self._images.items()}
        return [known.get(i) for i in range(max(known) + 1)]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._images.values())

    def _raw(self, rank: int, world: int) -> Iterator[tuple[int, str | None, object]]:
        return ((i, None, image) for i, image in self._images.items() if i % world == rank)
