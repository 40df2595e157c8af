"""Preparing runtime environments: helper processes beside the node, which itself never waits.

The zygote starts each helper (:mod:`fanlight.node.install`), so that whatever becomes of the node,
they end as workers do. The helper's request and its output are files in the session's directory.

Node -> zygote: lines ``prepare NUMBER``, ``cancel NUMBER``.
Zygote -> node: lines ``preparing NUMBER PID``, ``prepared NUMBER STATUS``.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from fanlight.core.effects import EnvironmentPrepared, PrepareEnvironment
from fanlight.node.zygote import describe_status, log_path, request_path

_LINES = 25  # of a failed helper's output that go into the error


class Preparations:
    """The helpers that run, and what they were asked; used by the node's loop."""

    def __init__(self, session_dir: str, tell_zygote: Callable[[str], None]) -> None:
        self.session_dir = session_dir
        self.tell = tell_zygote
        self.running: dict[int, int] = {}  # number -> pid, 0 while it is being started

    def start(self, action: PrepareEnvironment) -> EnvironmentPrepared | None:
        """Begin one. Returns its end if that has come already: no request could be written."""
        path = Path(request_path(self.session_dir, action.number))
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.write_bytes(action.description)
        except OSError as e:
            return EnvironmentPrepared(action.number, f"Its request could not be written: {e}")
        self.running[action.number] = 0
        self.tell(f"prepare {action.number}")
        return None

    def cancel(self, number: int) -> None:
        if number in self.running:
            self.tell(f"cancel {number}")

    def heard(self, words: list[str]) -> EnvironmentPrepared | None:
        """A line of the zygote; the stimulus that it means, if any."""
        number = int(words[1])
        if words[0] == "preparing":
            if number in self.running:
                self.running[number] = int(words[2])
            return None
        self.running.pop(number, None)
        return self._ended(number, words[2])

    def _ended(self, number: int, status: str) -> EnvironmentPrepared:
        with contextlib.suppress(OSError):
            os.unlink(request_path(self.session_dir, number))
        if status == "0":
            return EnvironmentPrepared(number)
        how = describe_status(status)
        return EnvironmentPrepared(number, f"Its installer ended: {how}.", self._tail(number))

    def _tail(self, number: int) -> str:
        try:
            text = Path(log_path(self.session_dir, number)).read_text("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-_LINES:])

    def zygote_died(self) -> None:
        """The helpers died with it, but not what they started; the new zygote starts them again."""
        for number, pid in self.running.items():
            if pid:
                with contextlib.suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
            self.running[number] = 0
            self.tell(f"prepare {number}")
