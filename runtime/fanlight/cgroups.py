"""What the memory controller of Linux's control groups allows this process.

Both versions, and nested groups: each ancestor of the own group may have a limit, and the smallest
one counts. Where there are no control groups, nothing is limited.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNTS = Path("/proc/self/mountinfo")
_NONE = 1 << 60  # bytes; version 1 writes "no limit" as a number a little below 2**63


class _Names(NamedTuple):
    limit: str
    usage: str
    cache: str  # the field of memory.stat that counts pages that can be dropped at once
    events: str  # the file with the field "oom_kill"


_V1 = _Names(
    "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control"
)
_V2 = _Names("memory.max", "memory.current", "inactive_file", "memory.events")
Groups = list[tuple[_Names, Path]]


def groups(membership: Path = _MEMBERSHIP, mounts: Path = _MOUNTS) -> Groups:
    """The directories of the groups that this process is in, the innermost first.

    Called once for each process; the arguments are for tests.
    """
    try:
        own = dict(_memberships(membership))
        mounted = list(_mounted(mounts))
    except (OSError, ValueError):
        return []
    found = []
    for names, root, point in mounted:
        path = own.get(names)
        if path is None:
            continue
        inside = path[len(root.rstrip("/")) :] if _below(path, root) else "/"
        folder = point.joinpath(*[part for part in inside.split("/") if part not in ("", "..")])
        while True:
            if (folder / names.limit).exists():
                found.append((names, folder))
            if folder == point or point not in folder.parents:
                break
            folder = folder.parent
    return found


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _memberships(file: Path) -> Iterator[tuple[_Names, str]]:
    for line in file.read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            yield _V2, path
        elif "memory" in controllers.split(","):
            yield _V1, path


def _mounted(file: Path) -> Iterator[tuple[_Names, str, Path]]:
    for line in file.read_text().splitlines():
        ours, _, theirs = line.partition(" - ")
        fields, kind, *options = ours.split(" "), *theirs.split(" ")
        point = Path(fields[4].replace("\\040", " "))
        if kind == "cgroup2":
            yield _V2, fields[3], point
        elif kind == "cgroup" and "memory" in options[-1].split(","):
            yield _V1, fields[3], point


@functools.cache
def _own() -> Groups:
    return groups()


def _number(path: Path) -> int:
    """The number in a file; ``_NONE`` for "max". Raises OSError, ValueError."""
    text = path.read_text().strip()
    return _NONE if text == "max" else min(int(text), _NONE)


def memory_limit(found: Groups | None = None) -> int | None:
    """Bytes that this process and those in its groups may use together; None for no limit."""
    smallest = _NONE
    for names, folder in _own() if found is None else found:
        try:
            smallest = min(smallest, _number(folder / names.limit))
        except (OSError, ValueError):
            continue
    return smallest if smallest < _NONE else None


def memory_left(found: Groups | None = None) -> int | None:
    """Bytes that may still be used within all limits, without what the kernel can drop; None for
    no limit."""
    return min((max(0, limit - used) for used, limit in memory_use(found)), default=None)


def memory_use(found: Groups | None = None) -> list[tuple[int, int]]:
    """(used, limit) in bytes of each group with a limit, without what the kernel can drop."""
    uses = []
    for names, folder in _own() if found is None else found:
        try:
            limit = _number(folder / names.limit)
            if limit < _NONE:
                used = _number(folder / names.usage)
                cache = _field(folder / "memory.stat", names.cache)
                uses.append((used - cache, limit))
        except (OSError, ValueError):
            continue
    return uses


def memory_kills(found: Groups | None = None) -> int:
    """Processes that the kernel has ended because a group with a limit was full."""
    count = 0
    for names, folder in _own() if found is None else found:
        try:
            if _number(folder / names.limit) < _NONE:
                count += _field(folder / names.events, "oom_kill")
        except (OSError, ValueError):
            continue
    return count


def _field(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
