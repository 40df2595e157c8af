"""Counts what a test left behind: processes, descriptors, segments, sessions, connection files.

Used by the fixtures of tests/conftest.py. Processes are known by a mark in their environment, which
children inherit and keep when their parent dies, so an orphan is found wherever it hangs.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "FANLIGHT_TEST_RUN"
ALLOWED_SECONDS = 5.0  # from the end of a test until everything must be gone


@dataclass(frozen=True)
class Snapshot:
    """What exists at one moment, and belongs to this test run."""

    processes: frozenset[tuple[int, float]]  # (pid, start time): a pid alone may come again
    files: frozenset[Path]
    descriptors: Counter[str]


def snapshot() -> Snapshot:
    gc.collect()
    return Snapshot(
        processes=frozenset((p.pid, p.create_time()) for p in _marked()),
        files=frozenset(_files()),
        descriptors=_descriptors(),
    )


def left_since(before: Snapshot, *, seconds: float = ALLOWED_SECONDS) -> list[str]:
    """What exists now, did not exist then, and is still there after `seconds`; empty if clean."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while True:
        left = _difference(before)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(pause)
        pause = min(2 * pause, 0.2)


def kill_since(before: Snapshot) -> None:
    """End the processes that were left, so that one leak does not fail the tests after it."""
    for process in _marked():
        try:
            if (process.pid, process.create_time()) not in before.processes:
                process.kill()
        except psutil.Error:
            pass


def _difference(before: Snapshot) -> list[str]:
    now = snapshot()
    left = []
    for pid, started in sorted(now.processes - before.processes):
        try:
            process = psutil.Process(pid)
            if process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"process {pid}: {' '.join(process.cmdline()) or process.name()}")
        except psutil.Error:
            pass
    left += [f"file {path}" for path in sorted(now.files - before.files)]
    for kind, count in sorted((now.descriptors - before.descriptors).items()):
        left.append(f"{count} more open descriptor(s): {kind}")
    return left


def _marked() -> list[psutil.Process]:
    """The processes of this run, without this one and the zombies."""
    mark = os.environ[MARK]
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            pass
    return found


def _files() -> list[Path]:
    """Segment directories, session directories and connection files, but of no live runtime.

    The first two lie where all runtimes of this user have theirs. One that lives, another's or a
    leaked one of ours, holds its session's lock; the leaked one is found by its processes.
    """
    from fanlight import config  # not earlier: the tests say themselves that it is missing
    from fanlight.observe import discover

    locked = _locked_inodes()
    sessions, segments = config.socket_dir(), config.segment_root()
    alive = {p.name for p in _entries(sessions) if _inode(p / "lock") in locked}
    alive |= {p.name for p in _entries(segments) if _inode(p) in locked}  # of other TMPDIRs, too
    found = [p for p in (*_entries(sessions), *_entries(segments)) if p.name not in alive]
    found = [p for p in found if not (p.is_symlink() and p.resolve().name in alive)]  # the latest
    return found + _entries(discover.connection_dir())


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _locked_inodes() -> set[int]:
    """Files that some process holds a lock on (Linux only). Trying the lock would disturb them."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    fields = (part for line in lines for part in line.split() if part.count(":") == 2)
    return {int(part.rpartition(":")[2]) for part in fields}


def _descriptors() -> Counter[str]:
    """Open sockets, pipes and segment files of this process, counted by kind (Linux only)."""
    kinds: Counter[str] = Counter()
    if not sys.platform.startswith("linux"):
        return kinds
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue
        kind = target.partition(":[")[0]
        if kind in ("socket", "pipe") or target.startswith("/memfd:"):
            kinds[kind] += 1
        elif "fanlight" in target and target.startswith(("/dev/shm/", "/tmp/")):
            kinds[target] += 1
    return kinds
