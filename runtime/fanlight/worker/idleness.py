"""Whether a task that ran for long used the CPU that it held: for the coach.

Asked at the end of a long task only, so that short ones cost nothing. What the process used since
the last such moment is an upper bound of what this task used: short tasks between count too.
"""

from __future__ import annotations

import os
from pathlib import Path

LONG = 0.1  # seconds: shorter runs are not looked at; the system counts CPU time in 0.01


class Idleness:
    """Of one worker process; used by its main thread."""

    def __init__(self) -> None:
        self.blocked = False  # it waited in get, and had given its CPU back
        self._used = 0.0  # seconds, at the last look
        self._delayed = 0.0

    def of(self, seconds: float) -> float:
        """For how many of the last ``seconds`` the process waited by its own will, at least.

        Waiting for a CPU that others use does not count, nor does what a child did meanwhile: 0.0
        where that cannot be told apart.
        """
        times = os.times()
        used = times.user + times.system + times.children_user + times.children_system
        delayed = _delayed()
        busy = used - self._used + max(0.0, delayed - self._delayed)
        blocked, self.blocked = self.blocked, False
        self._used, self._delayed = used, delayed
        waited = seconds - busy
        if blocked or delayed < 0 or waited <= 0.5 * seconds or _has_children():
            return 0.0
        return waited


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
