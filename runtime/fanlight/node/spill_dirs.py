"""Where a runtime's objects go that do not fit into memory: chosen, made, locked, removed.

It is a directory in the session's, unless the user names another place, or the session lies in memory
itself (a ``/tmp`` that is tmpfs): then a note in the session's directory says where, and whoever
removes that removes this, too. Should both be gone (the machine lost power, and ``/tmp`` with it), the
next runtime that uses the same place finds a directory that nobody has locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from pathlib import Path

from fanlight import private

_NOTE = "spill-dir"  # a file in the session's directory
_NAME = re.compile(r"fanlight-[0-9a-f]{16}")
_MOUNTS = Path("/proc/self/mountinfo")
_ON_DISK = Path("/var/tmp")  # kept over restarts, so no tmpfs


def _name(runtime_id: str) -> str:
    return f"fanlight-{runtime_id}"


def choose(runtime_id: str, session_dir: Path, wanted: str | None) -> Path:
    """The path for a new runtime, made later by its node; called by the driver.

    Raises ValueError for a place that cannot be used.
    """
    if wanted is None:
        place = _beside(session_dir)
        if place is None:
            return session_dir / "spill"
    else:
        place = Path(wanted).expanduser().absolute()
        try:
            private.make_parents(place / "x")
        except OSError as e:
            raise ValueError(
                f"object_spilling_directory={wanted!r} cannot be made: {e.strerror}."
            ) from None
        if not os.access(place, os.W_OK | os.X_OK):
            raise ValueError(f"object_spilling_directory={wanted!r} cannot be written to.")
        if problem := private.replaceable(place):  # what is read back is unpickled
            raise ValueError(
                f"object_spilling_directory={wanted!r} {problem}: others could replace what is in it."
            )
    _sweep(place)
    return place / _name(runtime_id)


def _beside(session_dir: Path) -> Path | None:
    """A place on disk for a session that lies in memory; None where that is not so."""
    if not in_memory(session_dir.parent) or in_memory(_ON_DISK):
        return None
    try:
        return private.make(private.place(_ON_DISK))
    except OSError:
        return None


def in_memory(path: Path, mounts: Path = _MOUNTS) -> bool:
    """Whether what is written there takes memory (Linux; elsewhere nothing is known to)."""
    kind, longest = "", -1
    real = os.path.realpath(path)
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return False
    for line in lines:
        ours, _, theirs = line.partition(" - ")
        point = ours.split(" ")[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # of two at one place, the later one is seen
            kind, longest = theirs.split(" ")[0], len(point)
    return kind in ("tmpfs", "ramfs")


def make(spill_dir: Path, session_dir: Path) -> list[int]:
    """Make it; called by the node. Returns the descriptors of locks that are to be kept open."""
    if spill_dir.parent == session_dir:
        spill_dir.mkdir(mode=0o700)
        return []
    (session_dir / _NOTE).write_text(str(spill_dir))  # first: who clears up finds it there
    unfinished = spill_dir.with_name(f".{spill_dir.name}")
    unfinished.mkdir(mode=0o700)
    fd = os.open(unfinished, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unfinished.rename(spill_dir)  # nobody sees it without its lock
    return [fd]


def remove(session_dir: Path) -> None:
    """Remove what lies elsewhere; called before the session's directory is removed."""
    with contextlib.suppress(OSError, ValueError):
        path = Path((session_dir / _NOTE).read_text())
        if path.name == _name(session_dir.name):
            shutil.rmtree(path, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove what dead runtimes left there."""
    with contextlib.suppress(OSError):
        for path in place.iterdir():
            if not _NAME.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
                continue
            if path.lstat().st_uid == os.getuid() and not private.locked(path):
                shutil.rmtree(path, ignore_errors=True)
