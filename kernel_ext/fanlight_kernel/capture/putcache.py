"""Large inputs that are in the store already, by content: running again uploads nothing new.

A value is known by its pickle and its small buffers, which are hashed, and by its large buffers,
which are not: hashing 1 GB takes a second. Those are watched, or compared with the copy in the
store (see :mod:`fanlight_kernel.capture.unchanged`). A single changed byte is noticed either way.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from typing import Any

from fanlight_kernel.capture.carry import Packed
from fanlight_kernel.capture.unchanged import Fixed, Watch, Watcher, same_bytes, view_of

HASHED = 1 << 20  # bytes: larger buffers are watched or compared
ENTRIES = 64
SHARE = 0.5  # of the store that these may take; the oldest are let go first


@dataclass
class Entry:
    """One put value."""

    ref: Any
    size: int
    layout: tuple[int, ...]  # sizes of the large buffers
    watches: list[Watch | Fixed | None] = field(default_factory=list)

    def close(self) -> None:
        for watch in self.watches:
            if watch is not None:
                watch.close()
        self.watches = []


class PutCache:
    """Of one shell. ``puts``, ``compared`` and ``watched`` count what happened, for tests."""

    def __init__(self, limit: int = ENTRIES) -> None:
        self._entries: dict[tuple[str, str], list[Entry]] = {}  # the newest last
        self._limit = limit
        self._watcher = Watcher()
        self.puts = self.compared = self.watched = 0

    def put(self, runtime_id: str, packed: Packed, name: str) -> Any:
        """A ref to ``packed``: a new one only if nothing in the store holds the same.

        ``name`` is the variable's, for reports of what is stored.
        """
        from fanlight import session

        with session.putting(f"%%remote: {name}"):
            return self._put(runtime_id, packed)

    def _put(self, runtime_id: str, packed: Packed) -> Any:
        import fanlight

        if packed.refs:  # what they name may change; they are kept alive by whoever holds them
            self.puts += 1
            return fanlight.put(packed)
        digest = hashlib.blake2b(digest_size=20)
        digest.update(packed.data)
        large: list[memoryview] = []
        for buffer in packed.buffers:
            view = view_of(buffer)
            digest.update(b"%d." % view.nbytes)
            if view.nbytes > HASHED:
                large.append(view)
            else:
                digest.update(view)
        key = runtime_id, digest.hexdigest()
        entries = self._entries.pop(key, [])
        self._entries[key] = entries
        entry = self._find(entries, large)
        if entry is None:
            # First watch, then copy: what is written in between counts as changed.
            watches = [self._watcher.watch(view) for view in large]
            self.puts += 1
            try:
                ref = fanlight.put(packed)
            except BaseException:
                Entry(None, 0, (), watches).close()
                raise
            entry = Entry(ref, packed.size, tuple(v.nbytes for v in large), watches)
        else:
            entries.remove(entry)
        entries.append(entry)
        self._trim(entry)
        return entry.ref

    def _find(self, entries: list[Entry], large: list[memoryview]) -> Entry | None:
        for entry in reversed(entries):
            if all(
                watch is not None and watch.unwritten(view)
                for watch, view in zip(entry.watches, large, strict=True)
            ):
                self.watched += bool(large)
                return entry
        for entry in reversed(entries):
            fresh = [self._watcher.watch(view) for view in large]
            if self._equal(entry, large):
                entry.close()
                entry.watches = fresh
                return entry
            Entry(None, 0, (), fresh).close()
        return None

    def _equal(self, entry: Entry, large: list[memoryview]) -> bool:
        """Compare with the copy in the store."""
        import fanlight

        self.compared += 1
        with contextlib.suppress(fanlight.errors.FanlightError):
            stored = fanlight.get(entry.ref)
            held = [v for v in map(view_of, stored.buffers) if v.nbytes > HASHED]
            return all(map(same_bytes, large, held))
        return False

    def _trim(self, newest: Entry) -> None:
        """Keep to the limits; ``newest`` stays whatever its size."""
        everything = [(key, e) for key, entries in self._entries.items() for e in entries]
        total = sum(e.size for _, e in everything)
        room = self._room() if total > HASHED else total
        for key, entry in everything:
            if len(everything) <= self._limit and total <= room:
                return
            if entry is newest:
                continue
            entries = self._entries[key]
            entries.remove(entry)
            if not entries:
                del self._entries[key]
            entry.close()
            total -= entry.size
            everything = everything[1:]

    def _room(self) -> float:
        from fanlight import session

        current = session.current()
        resources = getattr(current, "resources", None) or {}
        return SHARE * float(resources.get("object_store_memory", 0)) or float("inf")

    def clear(self) -> None:
        for entries in self._entries.values():
            for entry in entries:
                entry.close()
        self._entries.clear()
        self._watcher.close()
