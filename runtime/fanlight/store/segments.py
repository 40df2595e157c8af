"""Shared-memory segments: files on tmpfs that hold one large object each.

The process that makes an object writes its segment and tells the node; readers map it read-only. A
segment that holds no object any more, and that nobody maps, is given back to its maker by the node:
the maker writes its next object into the warm pages, which is several times faster than fresh ones.

Fresh segments are written with ``write``, not through a mapping: a full tmpfs then is an error that
can be caught, instead of a SIGBUS.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

from fanlight.errors import ObjectStoreFullError
from fanlight.serialization import Serialized
from fanlight.store import files, mapping
from fanlight.store.files import DISK

_MANY = 200
_SLACK = 1.25  # a warm segment is taken for an object of at least 1/1.25 its size
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
_CHUNK = 1 << 30  # one write call moves at most about 2 GiB


class Unreadable(Exception):
    """A segment does not hold the value that it should. The text, a clause, says what was found."""

    value: Any = None  # set by who knows it


class SegmentWriter:
    """Writes objects into segments of ``folder``; one for each process."""

    def __init__(
        self,
        folder: Path,
        prefix: str,
        reserve: Callable[[int], bool | None],
        make_room: Callable[[int], bool] = lambda size: False,
        disk: Path | None = None,
        refused: Callable[[int, OSError], Exception] = lambda size, error: error,
        restore: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder = folder
        self._disk = disk  # where objects go that memory has no room for
        self._refused = refused  # what to raise when they cannot go there either
        self._prefix = prefix
        # Asks the node for room, or gives it back (below 0); true: only disk has room.
        self._reserve = reserve
        self._restore = restore  # the folder is gone: is it there again?
        self._make_room = make_room  # others fill tmpfs: frees what it can; is there room now?
        self._count = itertools.count(1).__next__
        self._lock = threading.Lock()
        self._free: dict[str, int] = {}  # segments given back to us: name -> size
        self._maps: dict[str, mapping.Mapping] = {}  # of segments that were written a second time
        self._sizes: dict[str, int] = {}
        self._most = _MANY  # of them, before those are forgotten that are gone
        self.damaged: deque[str] = deque()  # given back to us, and deleted or cut by somebody else

    def write(self, value: Serialized) -> str:
        """Store a value; returns the segment's name. Raises ObjectStoreFullError."""
        name = self._take(value.size)
        if name is not None:
            try:
                value.write_into(mapping.view(self._maps[name], mapping.WRITE)[: value.size])
            except BaseException:  # Ctrl-C: the node still counts it as ours to fill
                with self._lock:
                    self._free[name] = self._sizes[name]
                raise
            return name
        if self._reserve(value.size) and self._disk is not None:
            return self._write_to_disk(value, self._disk)
        name = f"{self._prefix}-{self._count()}"
        path = self._folder / name
        try:
            self._create(path, value)
        except BaseException as e:
            self._reserve(-value.size)  # what was promised is not used
            if isinstance(e, FileNotFoundError):
                raise ObjectStoreFullError(
                    f"The folder of shared memory, {self._folder}, was deleted while the runtime "
                    "was using it, and cannot be made again. Small values can still be passed; "
                    "shutdown() and init() start afresh."
                ) from None
            if isinstance(e, OSError) and e.errno in files.NO_ROOM and self._disk is not None:
                return self._write_to_disk(value, self._disk)
            if isinstance(e, OSError) and e.errno in files.NO_ROOM:
                raise ObjectStoreFullError(
                    f"{value.size / 1e6:.1f} MB do not fit into shared memory ({self._folder}): "
                    f"{e.strerror}."
                ) from None
            raise
        with self._lock:
            if len(self._sizes) >= self._most:  # the node does not tell of all that it deletes
                known = {n: s for n, s in self._sizes.items() if (self._folder / n).exists()}
                self._sizes, self._most = known, 2 * len(known) + _MANY
            self._sizes[name] = value.size
        return name

    def _write_to_disk(self, value: Serialized, folder: Path) -> str:
        """Write an object that has no room in memory; returns its name."""
        name = f"{DISK}{self._prefix}-{self._count()}"
        try:
            files.create(folder, name, value.size, value.pieces())
        except OSError as e:
            raise self._refused(value.size, e) from None
        return name

    def _create(self, path: Path, value: Serialized) -> None:
        """Write a new file; when tmpfs is full, once more after warm segments were given back."""
        for last in (False, True):
            try:
                fd = os.open(path, _NEW, 0o600)
            except (FileNotFoundError, NotADirectoryError):
                if not self._restore():
                    raise FileNotFoundError from None
                fd = os.open(path, _NEW, 0o600)
            try:
                self._write_fresh(fd, value)
                return
            except BaseException as e:
                os.unlink(path)
                full = isinstance(e, OSError) and e.errno in files.NO_ROOM
                if last or not full or not self._make_room(value.size):
                    raise
            finally:
                os.close(fd)

    @staticmethod
    def _write_fresh(fd: int, value: Serialized) -> None:
        position = 0
        for piece in value.pieces():
            view = memoryview(piece)
            while view.nbytes:
                written = os.pwrite(fd, view[:_CHUNK], position)
                position += written
                view = view[written:]

    def _take(self, size: int) -> str | None:
        with self._lock:
            fitting = [n for n, s in self._free.items() if size <= s <= size * _SLACK]
            if not fitting:
                return None
            name = min(fitting, key=self._free.__getitem__)
            whole = self._free.pop(name)
            try:
                if os.stat(self._folder / name).st_size < whole:
                    raise FileNotFoundError
            except OSError:  # written through a mapping, it would kill us, or be seen by nobody
                self._sizes.pop(name, None)
                self._maps.pop(name, None)
                self.damaged.append(name)
                return None
        if name not in self._maps:
            try:
                fd = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC)
                try:
                    self._maps[name] = mapping.map_file(fd, mapping.WARM, mapping.WRITE, whole)
                finally:
                    os.close(fd)
            except OSError:  # no descriptor or no mapping is to be had: it stays ready
                with self._lock:
                    self._free[name] = whole
                return None
        return name

    def recycle(self, names: list[str]) -> None:
        """The node gives segments back."""
        with self._lock:
            for name in names:
                if name in self._sizes:
                    self._free[name] = self._sizes[name]

    def discard(self, names: list[str]) -> list[str]:
        """The node wants segments back, or deleted them; returns those that were lying ready."""
        dropped = []
        with self._lock:
            for name in names:
                if self._free.pop(name, None) is not None:
                    dropped.append(name)
                elif os.path.exists(self._folder / name):
                    continue  # being written, or in use
                self._sizes.pop(name, None)
                self._maps.pop(name, None)  # unmapped when the last writer lets go
        return dropped

    def discard_all(self) -> list[str]:
        return self.discard(list(self._free))

    def close(self) -> None:
        with self._lock:
            self._free.clear()
            self._maps.clear()


class SegmentReader:
    """Maps segments and knows when a mapping is not used any more.

    The node counts the descriptors it sends; each is *got* once and *done* once here, and goes back
    to the node when, besides, no array or buffer uses the mapping. ``returned`` collects the names
    to report. Finalizers run at any moment in any thread, so they only append to a deque.
    """

    def __init__(self, folder: Path, disk: Path | None = None) -> None:
        self._folder = folder
        self._disk = disk  # where segments are whose names begin with "@"
        self._got: dict[str, int] = {}  # descriptors not yet returned
        self._using: dict[str, int] = {}  # those that some object or task still needs
        self._maps: weakref.WeakValueDictionary[str, mapping.Mapping] = (
            weakref.WeakValueDictionary()
        )
        self._own: dict[str, list[weakref.ref[mapping.Mapping]]] = {}  # private mappings
        self._mapping = threading.Lock()
        self._dead: deque[str] = deque()
        self.returned: deque[str] = deque()

    def got(self, name: str) -> None:
        """A descriptor arrived."""
        self._got[name] = self._got.get(name, 0) + 1
        self._using[name] = self._using.get(name, 0) + 1

    def done(self, name: str) -> None:
        """Whoever got the descriptor does not need it any more."""
        left = self._using.get(name, 0) - 1
        if left > 0:
            self._using[name] = left
            return
        self._using.pop(name, None)
        if not self._mapped(name):
            self._return(name)

    def give_up(self, name: str) -> bool:
        """``done`` for the only one that needs a descriptor; False, and nothing happens, if others
        do, or something uses the mapping."""
        if self._using.get(name) != 1 or self._mapped(name):
            return False
        self.done(name)
        return True

    def share(self, name: str) -> None:
        """One more needs a descriptor that came; ``done`` is called for it, too."""
        self._using[name] += 1

    def _mapped(self, name: str) -> bool:
        return name in self._maps or any(ref() is not None for ref in self._own.get(name, ()))

    def _return(self, name: str) -> None:
        for _ in range(self._got.pop(name, 0)):
            self.returned.append(name)

    def settle(self) -> None:
        """Return the descriptors of mappings that died since the last call."""
        while self._dead:
            name = self._dead.popleft()
            with self._mapping:
                own = [ref for ref in self._own.pop(name, ()) if ref() is not None]
                if own:
                    self._own[name] = own
            if name not in self._using and not self._mapped(name):
                self._return(name)

    @property
    def pending(self) -> bool:
        return bool(self._dead or self.returned)

    def view(self, name: str, size: int = 0) -> memoryview:
        """The segment's bytes, read-only; valid as long as anything refers to them.

        Raises Unreadable if they are not there, or fewer than ``size``.
        """
        with self._mapping:  # never two shared mappings of one segment: only one of them is watched
            mapped = self._maps.get(name)
            if mapped is None:
                mapped = self._maps[name] = self._map(name, mapping.SHARED, mapping.READ, size)
            return self._content(name, mapped, mapping.READ)

    def holds(self, mapped: mapping.Mapping) -> bool:
        """Whether it is a mapping that :meth:`view` made: nobody writes to what it shows, and it shows
        the same for as long as it lives."""
        with self._mapping:
            return any(held is mapped for held in self._maps.values())

    def own_view(self, name: str, size: int = 0) -> memoryview:
        """The segment's bytes, writable: pages that are written to are copied first, and are seen
        by nobody else. Each call gives a mapping of its own."""
        mapped = self._map(name, mapping.PRIVATE, mapping.WRITE, size)
        with self._mapping:
            self._own[name] = [*self._own.get(name, ()), weakref.ref(mapped)]
        return self._content(name, mapped, mapping.WRITE)

    @staticmethod
    def _content(name: str, mapped: mapping.Mapping, protection: int) -> memoryview:
        view = mapping.view(mapped, protection)
        return view[files.HEADER :] if name[0] == DISK else view

    def folder_of(self, name: str) -> Path | None:
        """Where the file of a segment lies; None if it is on a disk that this process does not use."""
        return self._disk if name[:1] == DISK else self._folder

    def _map(self, name: str, flags: int, protection: int, size: int) -> mapping.Mapping:
        on_disk = name[0] == DISK and self._disk is not None
        where = "on disk" if on_disk else "in shared memory"
        folder = self._disk if on_disk and self._disk is not None else self._folder
        try:
            file = FileIO(folder / name)  # closed by itself, should Ctrl-C strike
        except (FileNotFoundError, NotADirectoryError):
            raise Unreadable(f"its file {where} was deleted") from None
        with file:
            found = os.fstat(file.fileno()).st_size - (files.HEADER if on_disk else 0)
            if found < max(size, 1):
                raise Unreadable(f"its file {where} has {max(found, 0)} of {size} bytes")
            mapped = mapping.map_file(file.fileno(), flags, protection)
        weakref.finalize(mapped, self._dead.append, name).atexit = False
        return mapped
