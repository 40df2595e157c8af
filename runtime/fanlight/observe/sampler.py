"""CPU and memory of worker processes, for the workers view.

The node's observer hub calls :meth:`ProcessSampler.sample` about once a second with the process
ids of the node and its workers.

Memory is the resident set size (RSS) minus its file-backed and shared-memory pages. Plain RSS
counts a mapped object-store segment again in every process that reads it, so that ten workers
reading one array would seem to hold ten; the object store is shown by itself. PSS would also
divide the pages that workers share with the zygote they were forked from, but to read it the
kernel walks the page tables: measured at 0.3 ms and more per process, growing with its size,
against 0.015 ms for this. Ten processes take about 0.7 ms in all. Systems that do not tell shared
pages apart (macOS) give plain RSS.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

try:
    _PAGE = os.sysconf("SC_PAGE_SIZE")
except (AttributeError, ValueError, OSError):
    _PAGE = 4096


class ProcessSampler:
    """Samples processes; remembers their CPU time between calls. One thread uses it.

    CPU is a percentage of one core since the previous call that had this process: 200 means two
    cores busy. It is 0 the first time a process is seen. ``clock`` is for tests (seconds).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[int, _Process] = {}

    def sample(self, pids: Iterable[int]) -> dict[int, tuple[float, int]]:
        """``{pid: (cpu_percent, bytes)}`` of those that still run. Never raises for a dead one."""
        now = self._clock()
        known: dict[int, _Process] = {}
        found: dict[int, tuple[float, int]] = {}
        for pid in pids:
            process = self._known.get(pid) or _open(pid)
            if process is None:
                continue
            figures = process.figures(now)
            if figures is None:  # gone, or its number now belongs to another process
                process = _open(pid)
                figures = process.figures(now) if process is not None else None
            if process is not None and figures is not None:
                known[pid] = process
                found[pid] = figures
        self._known = known
        return found


def _open(pid: int) -> _Process | None:
    import psutil

    try:
        return _Process(psutil.Process(pid))
    except (psutil.Error, ValueError, OSError):
        return None


class _Process:
    """One process and its CPU time when it was last asked."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self._cpu = 0.0
        self._at: float | None = None

    def figures(self, now: float) -> tuple[float, int] | None:
        """None if the process ended."""
        import psutil

        process = self._process
        try:
            # Not oneshot(): it costs more than the two files that it saves from being read twice.
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return None
            times = process.cpu_times()
            memory = process.memory_info()
        except (psutil.Error, OSError):
            return None
        cpu = times.user + times.system
        percent = 0.0
        if self._at is not None and now > self._at:
            percent = max(0.0, 100 * (cpu - self._cpu) / (now - self._at))
        self._cpu, self._at = cpu, now
        return percent, max(0, memory.rss - getattr(memory, "shared", 0))
