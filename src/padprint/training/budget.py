"""When to measure: at multiples of a number of steps, as far as a share of the time allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from padprint.errors import PadprintError


class Budget:
    """Decides which steps are measured, and keeps account of the time.

    A step that is due is measured if, at the cost of the latest measurement, all measuring so far would be within its
    share of all time so far. So the intervals stretch where measuring is dear, and the share is kept from the second
    measurement on, whatever the first one and the preparations cost.

    Args:
        every: steps from one measurement to the next, at least.
        share: of the time, above 0 and up to 1; None for no limit.
        clock: seconds that only grow.

    Raises:
        PadprintError: `every` or `share` make no sense.
    """

    def __init__(self, every: int, share: float | None, clock: Callable[[], float] = perf_counter) -> None:
        if type(every) is not int or every < 1:
            raise PadprintError(f"every must be a whole number of steps of 1 or more, but got {every!r}")
        if share is not None and not 0 < share <= 1:
            raise PadprintError(f"budget must be a share of the time above 0 and up to 1, or None, but got {share!r}")
        self._every, self._share, self._clock = every, share, clock
        self._done = 0.0
        self._since: float | None = None
        self._latest: float | None = None
        self._started: float | None = None

    def due(self, step: int) -> bool:
        """Whether to measure after so many steps. The first call starts the account of time."""
        if self._started is None:
            self._started = self._clock() - self._done
        if step % self._every:
            return False
        if self._share is None or self._latest is None:
            return True
        elapsed = self._clock() - self._started
        return self._done + self._latest <= self._share * (elapsed + self._latest)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """What is done inside is paid for, and is no measurement."""
        self._since = self._clock()
        try:
            yield
        finally:
            self._done, self._since = self.spent(), None

    @contextmanager
    def spending(self) -> Iterator[None]:
        """What is done inside is a measurement, a failed one too."""
        before = self._done
        try:
            with self.preparing():
                yield
        finally:
            self._latest = self._done - before

    def spent(self) -> float:
        """Seconds spent so far."""
        return self._done + (0.0 if self._since is None else self._clock() - self._since)

    def used(self) -> float:
        """Share of the time spent so far; 0 before the account starts."""
        elapsed = 0.0 if self._started is None else self._clock() - self._started
        return self.spent() / elapsed if elapsed > 0 else 0.0
