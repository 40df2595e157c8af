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


_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Names("memory.max", "memory.current", "inactive_file")


def groups(membership: Path = _MEMBERSHIP, mounts: Path = _MOUNTS) -> list[tuple[_Names, Path]]:
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
def _own() -> list[tuple[_Names, Path]]:
    return groups()


def _number(path: Path) -> int:
    """The number in a file; ``_NONE`` for "max". Raises OSError, ValueError."""
    text = path.read_text().strip()
    return _NONE if text == "max" else min(int(text), _NONE)


def memory_limit(found: list[tuple[_Names, Path]] | None = None) -> int | None:
    """Bytes that this process and those in its groups may use together; None for no limit."""
    smallest = _NONE
    for names, folder in _own() if found is None else found:
        try:
            smallest = min(smallest, _number(folder / names.limit))
        except (OSError, ValueError):
            continue
    return smallest if smallest < _NONE else None


def memory_left(found: list[tuple[_Names, Path]] | None = None) -> int | None:
    """Bytes that may still be used within all limits, without what the kernel can drop; None for
    no limit."""
    least: int | None = None
    for names, folder in _own() if found is None else found:
        try:
            limit = _number(folder / names.limit)
            if limit >= _NONE:
                continue
            left = limit - _number(folder / names.usage) + _field(folder, names.cache)
        except (OSError, ValueError):
            continue
        least = max(0, left) if least is None else min(least, max(0, left))
    return least


def _field(folder: Path, name: str) -> int:
    for line in (folder / "memory.stat").read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
