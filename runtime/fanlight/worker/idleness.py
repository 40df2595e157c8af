"""Whether a task that ran for long used the CPU that it held: for the coach.

Asked at the end of a long task only, so that short ones cost nothing. What the process used since
the last such moment is an upper bound of what this task used: short tasks between count too.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

LONG = 0.1  # seconds: shorter runs are not looked at


class Idleness:
    """Of one worker process; used by its main thread."""

    def __init__(self) -> None:
        self.blocked = False  # it waited in get, and had given its CPU back
        self._used = 0.0  # seconds of CPU time, at the last look
        self._delayed = 0.0

    def of(self, seconds: float) -> float:
        """For how many of the last ``seconds`` the process waited by its own will, at least.

        Time in which others had the CPU says nothing, and is taken to have passed as the rest did.
        0.0 where nothing is certain: it waited in ``get``, or children of it were at work.
        """
        times = os.times()
        used = time.process_time() + times.children_user + times.children_system
        delayed = _delayed()
        busy, delay = used - self._used, max(0.0, delayed - self._delayed)
        blocked, self.blocked = self.blocked, False
        self._used, self._delayed = used, delayed
        own = seconds - delay
        if blocked or delayed < 0 or own < 0.5 * seconds or busy > 0.5 * own or _has_children():
            return 0.0
        return seconds * (1 - max(0.0, busy) / own)


def _delayed() -> float:
    """Seconds for which this thread could have run, and others had the CPU; -1 if not known."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return -1.0


def _has_children() -> bool:
    """Whether processes of this one's are at work: their time is known only when they end."""
    try:
        return bool(Path(f"/proc/self/task/{os.getpid()}/children").read_text().strip())
    except OSError:
        return False
