"""A node that was stopped (``kill -STOP``): it is not dead, and answers nobody.

Its driver looks only while it waits, and nothing came for a while. Linux only: elsewhere the driver
waits without a word, and Ctrl-C and ``shutdown`` work as they do here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from fanlight.node.boot import stopped

_QUIET_SECONDS = 2.0  # until it is said: a laptop that wakes up continues one after the other


class NodeWatch:
    """Tells a driver, once, that its node is stopped."""

    def __init__(self, pid: int, notice: Callable[[str], None]) -> None:
        self._pid = pid
        self._notice = notice
        self._since = 0.0  # when it was found stopped first
        self._told = False

    def look(self) -> None:
        """Called by whoever waits for the node, after half a second or more without a word."""
        if not stopped(self._pid):
            self._since, self._told = 0.0, False
            return
        now = time.monotonic()
        self._since = self._since or now
        if not self._told and now - self._since >= _QUIET_SECONDS:
            self._told = True
            self._notice(
                f"The runtime does not answer: its node process (pid {self._pid}) is stopped. It "
                f"goes on after `kill -CONT {self._pid}`; shutdown() ends it. Ctrl-C ends the wait."
            )


def proceed(pid: int) -> None:
    """Have a node go on that is about to be told to end, and its zygote: they are one group."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGCONT)
