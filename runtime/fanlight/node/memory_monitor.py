"""Measures memory for the core, which decides what ends (:mod:`fanlight.core.memory`).

Called from the node's loop. Three bounds may hold at once: the machine's memory, those of the cgroups
that the node is in, and the runtime's own limit (``init(memory=…)``). Each look reads a few small
files; what is fullest is reported.

What a process has to itself is its resident memory without files and shared pages, which costs 3 µs
to read. That counts pages again that a worker still shares with the zygote; what is right to the
page (``smaps_rollup``) takes 0.1 ms and more, and is read only when the sum of the first is over
the threshold. The object store is counted by itself, once. What a task started counts as its own.

Looks are as rare as they may be: memory cannot fill faster than some GB/s, so far from the threshold
two seconds pass between two of them, near it ``refresh`` (0.25 s), and less only while memory fills so
fast that it would be over before the next one. They never take more than a thousandth of a core while
far from it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fanlight import cgroups
from fanlight.core.effects import OWN_LIMIT, MemorySample

if TYPE_CHECKING:
    from fanlight.core.machine import Core

THRESHOLD = 0.95  # of memory
REFRESH = 0.25  # seconds between two looks near the threshold
_FAR = 2.0  # seconds between two looks at most
_FILLS = 2 << 30  # bytes a second: no machine's tasks are expected to touch new pages faster
_QUICK = 0.02  # seconds between two looks at least, while memory fills fast
_SHARE_FAR, _SHARE_NEAR = 0.001, 0.02  # of a core that looking may take
_LOW = 0.9  # of the threshold: a SIGKILL from nowhere may be the kernel's
_LINUX = sys.platform.startswith("linux")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class MemoryMonitor:
    """One thread uses it. ``limit`` is the runtime's own, 0 for none; with ``refresh`` 0 nothing but
    that is looked at. ``root`` and ``clock`` are for tests.
    """

    def __init__(
        self,
        limit: int = 0,
        threshold: float = THRESHOLD,
        refresh: float = REFRESH,
        *,
        root: Path = Path("/"),
        groups: cgroups.Groups | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.threshold = threshold
        self.refresh = refresh or REFRESH
        self.next_look = 0.0 if refresh > 0 or limit else float("inf")
        self._own_only = refresh <= 0
        self.spent = 0.0  # seconds that all looks took
        self._root = root
        self._clock = clock
        self._groups = groups
        self._overcount = 0.0  # bytes per worker that the cheap figure has too much
        self._exact_at = -_FAR  # when that was found out
        self._low = False
        self._last = 0.0, "", 0  # the last look: when, of what, bytes used
        self._kills = self._count_kills()

    # --- looking -----------------------------------------------------------------------------

    def measure(
        self, core: Core, others: Iterable[int], *, now: bool = False
    ) -> list[tuple[int, MemorySample]]:
        """A sample, if it is time for one, as stimuli; called in every turn of the node's clock, and
        with ``now`` when the kernel has killed a process.
        """
        if self._clock() < self.next_look and not now:
            return []
        workers = [w.pid for w in core.workers.values() if w.pid]
        drivers = [c.pid for c in core.clients.values() if c.role == "driver"]
        store, detail = core.objects.used, core.memory.detail or now
        sample = self.look(workers, others, drivers, store, detail=detail)
        return [(0, sample)] if sample is not None else []

    def look(
        self, workers: Iterable[int], others: Iterable[int], drivers: Iterable[int], store: int,
        *, detail: bool = False,
    ) -> MemorySample | None:  # fmt: skip
        """Measure now. ``others`` are the node and the zygote, which count as the runtime's, too;
        ``detail``: the core wants to know what each process has. None if nothing can be measured.
        """
        begun = self._clock()
        workers, others = list(workers), list(others)
        sample = self._fullest(workers, others, store)
        if sample is None:
            self.next_look = float("inf")
            return None
        over = sample.used >= sample.threshold
        if over or detail:
            trees = {pid: self._tree(pid, exact=over) for pid in workers}
            trees |= {pid: self._one(pid, exact=over) for pid in (*others, *drivers)}
            sample = sample._replace(processes=trees)
        now = self._clock()
        self.spent += now - begun
        left = sample.threshold - sample.used
        pause = max(self.refresh, min(_FAR, left / _FILLS))
        share = _SHARE_FAR if pause > self.refresh else _SHARE_NEAR
        at, scope, before = self._last
        growth = (sample.used - before) / (now - at) if scope == sample.scope and now > at else 0.0
        self._last = now, sample.scope, sample.used
        if left > 0 and growth * pause > left:
            pause, share = max(_QUICK, 0.5 * left / growth), _SHARE_NEAR
        self.next_look = now + max(pause, (now - begun) / share)
        return sample

    def _fullest(self, workers: list[int], others: list[int], store: int) -> MemorySample | None:
        found: list[tuple[str, int, int]] = []
        if not self._own_only:
            machine = self._machine()
            if machine is not None:
                found.append(("this machine", *machine))
            groups = cgroups.memory_use(self._groups)
            found += [("this container", used, limit) for used, limit in groups]
        self._low = any(used >= _LOW * self.threshold * limit for _, used, limit in found)
        if self.limit:
            found.append((OWN_LIMIT, self._runtime(workers, others, store), self.limit))
        if not found:
            return None
        scope, used, limit = max(found, key=lambda x: x[1] / x[2])
        return MemorySample(scope, used, limit, int(limit * self.threshold), None, store)

    def _machine(self) -> tuple[int, int] | None:
        path = self._root / "proc/meminfo"
        try:
            text = _read(str(path))
            total = _field(text, b"MemTotal:") * 1024
            return total - _field(text, b"MemAvailable:") * 1024, total
        except (OSError, ValueError):
            pass
        if _LINUX:
            return None
        import psutil

        memory = psutil.virtual_memory()
        return memory.total - memory.available, memory.total

    def _runtime(self, workers: list[int], others: list[int], store: int) -> int:
        """Bytes of the runtime's processes and objects."""
        cheap = sum(self._tree(pid, exact=False)[0] for pid in workers)
        base = store + sum(self._one(pid, exact=False)[0] for pid in others)
        limit = self.limit * self.threshold
        if base + cheap < limit or not workers:
            return base + cheap
        now = self._clock()
        guess = base + cheap - int(self._overcount * len(workers))
        if guess < limit and now - self._exact_at < _FAR:
            return guess
        exact = sum(self._tree(pid, exact=True)[0] for pid in workers)
        self._overcount, self._exact_at = max(0, cheap - exact) / len(workers), now
        return base + exact

    # --- processes ---------------------------------------------------------------------------

    def _tree(self, pid: int, exact: bool) -> tuple[int, int]:
        """(own, resident) bytes of a process and of what it started."""
        own, resident = self._one(pid, exact)
        for child in self._children(pid):
            more = self._tree(child, exact)
            own, resident = own + more[0], resident + more[1]
        return own, resident

    def _one(self, pid: int, exact: bool) -> tuple[int, int]:
        """(0, 0) for a process that is gone."""
        folder = f"{self._root}/proc/{pid}"
        try:
            words = _read(f"{folder}/statm").split()
            resident, shared = int(words[1]) * _PAGE, int(words[2]) * _PAGE
        except (OSError, ValueError, IndexError):
            return (0, 0) if _LINUX else _ask_psutil(pid)
        own = max(0, resident - shared)
        if exact:
            try:
                own = _anonymous(_read(f"{folder}/smaps_rollup"))
            except (OSError, ValueError):
                pass  # an old kernel, or it has just ended
        return own, resident

    def _children(self, pid: int) -> list[int]:
        folder = f"{self._root}/proc/{pid}/task"
        found: list[int] = []
        try:
            for thread in os.listdir(folder):
                found += map(int, _read(f"{folder}/{thread}/children").split())
        except (OSError, ValueError):
            pass
        return found

    # --- the kernel's own killer -------------------------------------------------------------

    def why_killed(self, ends: Iterable[str]) -> str:
        """How processes have just ended: why the kernel killed one of them, probably; or ""."""
        if "killed by SIGKILL" not in ends:
            return ""
        (inside, everywhere), self._kills = self._kills, self._count_kills()
        if self._kills[0] > inside:
            return "the kernel ended a process because the container's memory was full"
        if self._kills[1] > everywhere:
            return "the kernel's out-of-memory killer ended a process at that time"
        return "memory was almost full" if self._low else ""

    def _count_kills(self) -> tuple[int, int]:
        """In the container, and on the machine."""
        try:
            machine = _field(_read(f"{self._root}/proc/vmstat"), b"oom_kill ")
        except (OSError, ValueError):
            machine = 0
        return cgroups.memory_kills(self._groups), machine


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def _field(text: bytes, name: bytes) -> int:
    """
    >>> _field(b"MemTotal:  5 kB\\nMemFree:   2 kB\\n", b"MemFree:")
    2
    """
    start = text.find(b"\n" + name) + 1
    if not start and not text.startswith(name):
        raise ValueError(name)
    return int(text[start + len(name) :].split(None, 1)[0])


def _anonymous(rollup: bytes) -> int:
    """Bytes of a process's own, its part of pages that it shares with relatives, and swap.

    >>> _anonymous(b"Rss: 9 kB\\nPss_Anon: 4 kB\\nSwapPss: 1 kB\\n")
    5120
    """
    found = {}
    for line in rollup.splitlines():
        name, _, rest = line.partition(b":")
        if name in (b"Pss_Anon", b"SwapPss"):
            found[name] = int(rest.split()[0]) * 1024
    if b"Pss_Anon" not in found:
        raise ValueError("no Pss_Anon")
    return sum(found.values())


def _ask_psutil(pid: int) -> tuple[int, int]:
    import psutil

    try:
        resident = psutil.Process(pid).memory_info().rss
    except (psutil.Error, OSError):
        return 0, 0
    return resident, resident
