"""Settings of the embedded engine, with their defaults and where each comes from."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from fanlight import cgroups, private

UNITS = 10_000  # a resource of 1.0, in the core's integers

INLINE_LIMIT = 100 * 1024  # bytes: larger values go to shared memory
HANDSHAKE_SECONDS = 5.0  # to prove the token, or be dropped
IDLE_WORKER_SECONDS = 10.0  # how long a worker beyond the pool's size stays
RETIRE_SECONDS = 10.0  # for a process that was told to end, before it is killed
OBSERVE_SECONDS = 0.1  # between two deltas
PREFETCH_SECONDS = 0.002  # work given to a worker ahead of what it runs
PREFETCH_LIMIT = 64  # tasks
RECLAIM_SECONDS = 0.05  # a task that runs longer gives back what waits behind it
WORKER_MEMORY = 64 << 20  # bytes, or 1 % of all: what must be free for one more process
_LINEAGE = "RAY_max_lineage_bytes"
LINEAGE_BYTES = 64 << 20  # see lineage_bytes
STORE_FRACTION = 0.3  # of the machine's memory
DISK_FRACTION = 0.95  # of a disk: when more is used, no object goes there
TMPFS_FRACTION = 0.9  # of what is free there: the most that the object store takes


def cpu_count() -> int:
    """CPUs that this process may use (affinity and cgroup quota respected)."""
    try:
        n = len(os.sched_getaffinity(0))
    except AttributeError:
        n = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(n, quota)) if quota else max(1, n)


def _cgroup_quota() -> int:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return 0 if quota == "max" else max(1, int(int(quota) / int(period)))
    except (OSError, ValueError):
        return 0


def memory_bytes() -> int:
    """Memory that this process may use (limits of its control groups respected)."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = cgroups.memory_limit()
    return total if limit is None else min(total, limit)


def memory_available() -> int:
    """Memory that can be used without swapping, and within the limits of control groups; -1 if not
    known."""
    try:
        found = _field(Path("/proc/meminfo"), "MemAvailable:") * 1024
    except (OSError, ValueError):
        return -1
    left = cgroups.memory_left()
    return found if left is None else min(found, left)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ValueError(name)


def lineage_bytes() -> int:
    """Memory of the node for what it takes to compute lost objects again.

    ``RAY_max_lineage_bytes`` in the environment of the process that starts the runtime.
    """
    try:
        return max(0, int(os.environ[_LINEAGE]))
    except (KeyError, ValueError):
        return LINEAGE_BYTES


def segment_root() -> Path:
    """The directory under which each runtime keeps its segments: tmpfs where there is one."""
    base = Path("/dev/shm") if sys.platform.startswith("linux") else Path(tempfile.gettempdir())
    if not os.access(base, os.W_OK) or private.replaceable(base):
        base = Path(tempfile.gettempdir())
    return private.place(base)


def store_capacity(root: Path) -> int:
    """Default bound of the object store, in bytes: a fraction of the memory that there is for this
    process, and never more than the tmpfs of ``root`` has room for."""
    wanted = int(memory_bytes() * STORE_FRACTION)
    while not root.exists() and root != root.parent:  # made by the first runtime of this user
        root = root.parent
    try:
        stat = os.statvfs(root)
        wanted = min(wanted, int(stat.f_bavail * stat.f_frsize * TMPFS_FRACTION))
    except OSError:
        pass
    return max(wanted, 1 << 20)


def disk_limit() -> float:
    """The part of a disk beyond which no object is written to it, between 0 and 1."""
    for prefix in ("FANLIGHT", "RAY"):
        try:
            return float(os.environ[f"{prefix}_local_fs_capacity_threshold"])
        except (KeyError, ValueError):
            continue
    return DISK_FRACTION


def socket_dir() -> Path:
    """Where session directories (sockets, logs) live: short, since socket paths are bounded."""
    return private.place(Path(tempfile.gettempdir()))


def channel_path(session_dir: str, worker: int) -> str:
    """Where a worker accepts channels once it is an actor; as short as the node's own path."""
    return os.path.join(session_dir, f"a{worker}")
