"""What the node does about processes below it: those that were stopped, and those left to it."""

from __future__ import annotations

import contextlib
import os
import signal

from fanlight.core.effects import WorkerStopped
from fanlight.node import zygote


def stops(lines: list[list[str]]) -> list[WorkerStopped]:
    """The stimuli in what the zygote said.

    >>> stops(["stopped 3 19 -".split(), "continued 3 0 -".split(), "exited 4 9 -".split()])
    [WorkerStopped(number=3, how='SIGSTOP', begun=b''), WorkerStopped(number=3, how='', begun=b'')]
    """
    return [
        WorkerStopped(
            int(words[1]),
            zygote.signal_name(int(words[2])) if words[0] == "stopped" else "",
            zygote.begun_task(words) or b"",
        )
        for words in lines
        if words[0] in ("stopped", "continued")
    ]


def proceed(pid: int) -> None:
    """Have the zygote go on if somebody stopped it: no worker could be started or ended meanwhile."""
    with contextlib.suppress(OSError):
        if hasattr(os, "waitid") and os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG):
            os.kill(pid, signal.SIGCONT)


def end_orphans(keep: int) -> None:
    """Kill and reap all children but ``keep``: a dead zygote left them."""
    for pid in zygote.children_of(os.getpid()):
        if pid == keep:
            continue
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG)
