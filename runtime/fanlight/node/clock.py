"""The node's clock: the time of day, and how much of it the node did not see pass."""

from __future__ import annotations

import time
from collections.abc import Callable

# The loop turns at least twice a second. Whoever finds more between two turns was stopped, or the
# clock was set; a step that takes this long (millions of records) is no harm, deadlines move a little.
LATE_SECONDS = 2.0
_BACK_SECONDS = 0.1


class Clock:
    """Read once for each step of the core."""

    def __init__(self, read: Callable[[], float] = time.time) -> None:
        self._read = read
        self.now = read()
        self._asleep = 0.0

    def turn(self) -> float:
        """Read the clock; returns the seconds that passed meanwhile and do not count, mostly 0.

        They are below 0 when the clock was set back.

        >>> times = iter([100.0, 100.5, 7300.5, 7301.0])
        >>> clock = Clock(lambda: next(times))
        >>> clock.turn(), clock.turn(), clock.turn()
        (0.0, 7200.0, 0.0)
        >>> clock.now, clock.awake
        (7301.0, 101.0)
        """
        before, self.now = self.now, self._read()
        passed = self.now - before
        if -_BACK_SECONDS < passed < LATE_SECONDS:
            return 0.0
        self._asleep += passed
        return passed

    @property
    def awake(self) -> float:
        """A clock that stands still while the node does; for deadlines."""
        return self.now - self._asleep
