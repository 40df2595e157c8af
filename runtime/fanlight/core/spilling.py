"""Objects on disk: written when room is needed, brought back when they are used.

An object that nobody maps can be written to a file (``Spill``, answered by ``Spilled``); then its
memory is freed, and its kind is ``AWAY``: it has a value, and no segment. Clients are told so, and
ask for the bytes when they need them (``Fetch``). They come back into memory as soon as there is room
in it (``Restore``, answered by ``Restored``). When there can be none, since all is mapped, the file is
checked and then mapped itself: it is a segment on *disk*. So are objects that their makers wrote to
disk in the first place.

Values do not change, so a file stays as long as its object: what came back leaves again for nothing.

Rules, which :mod:`fanlight.core.invariants` checks:

* An object that is away has a file, and a file has an object, or is being written for one that was
  dropped meanwhile.
* Who waits for an object's bytes waits for one that is away and on its way back.
* What cannot be read is :meth:`fanlight.core.lineage.Lineage.lost`; nothing else is.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from fanlight import messages as m
from fanlight.core.effects import DeleteSegment, Restore, Restored, Spill, Spilled
from fanlight.core.model import PENDING, Object, Segment

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_pack = msgspec.msgpack.encode
DISK = "@"  # names of segments on disk, and of files, begin with it
RETRY_SECONDS = 5.0  # after a file could not be written


class Write(msgspec.Struct, eq=False):
    """An object is being written to disk."""

    oid: bytes
    segment: Segment
    file: str
    dropped: bool = False  # the object is gone meanwhile


class Read(msgspec.Struct, eq=False):
    """An object is being brought back, or (without a segment) its file is being checked."""

    oid: bytes
    file: str
    segment: str
    size: int  # bytes of memory promised to it


class Spilling:
    """A part of the core, beside :class:`fanlight.core.objects.Objects`."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.files: dict[bytes, str] = {}  # of objects, complete
        self.writes: dict[int, Write] = {}
        self.reads: dict[int, Read] = {}
        self.returning: dict[bytes, int] = {}  # objects on their way back: the read, or 0 in line
        self.fetches: dict[bytes, list[tuple[int, int]]] = {}  # who waits: peer and request
        self.writing = 0  # bytes of memory that will be free when they are written
        self.away = 0  # bytes of objects that are on disk only
        self.spilled = self.restored = 0  # bytes written and brought back so far
        self.spills = self.restores = 0  # objects
        self.trouble = ""  # why nothing could be written the last time
        self._tried = 0.0  # when that was
        self._next = itertools.count(1).__next__

    # --- out ---------------------------------------------------------------------------------

    def may_write(self, segment: Segment) -> bool:
        """Whether an idle segment can make room now."""
        if not self.core.config.spill or segment.written:
            return False
        recently = self.trouble and 0 <= self.core.now - self._tried < RETRY_SECONDS
        return segment.oid in self.files or not recently

    def make_away(self, segment: Segment) -> None:
        """Free the memory of an idle segment, at once if its object is on disk already."""
        oid = segment.oid
        if oid in self.files:
            self._leave(segment)
            return
        number = self._next()
        file = f"{DISK}s{number}"
        segment.written = number
        self.writes[number] = Write(oid, segment, file)
        self.writing += segment.size
        size = self.core.objects.table[oid].size  # a warm segment may be larger than what is in it
        self.core.effects.actions.append(Spill(number, segment.name, file, size))

    def written(self, _: int, x: Spilled) -> None:
        write = self.writes.pop(x.number, None)
        if write is None:
            return
        segment, core = write.segment, self.core
        segment.written = 0
        if write.dropped:
            if not x.problem:
                core.effects.actions.append(DeleteSegment(write.file))
            return
        self.writing -= segment.size
        obj = core.objects.table[write.oid]
        if x.problem == "lost":
            core.lineage.lost(obj, x.detail)
        elif x.problem:
            self.trouble, self._tried = x.detail, core.now
        else:
            self.trouble = ""
            self.files[write.oid] = write.file
            self.spilled += obj.size
            self.spills += 1
            if not segment.mapped and (core.room.waiting or core.memory.over):
                self._leave(segment)

    def has_copy(self, obj: Object) -> bool:
        """The memory of a stored object was damaged: whether there is a file of it, which is used
        from now on."""
        if obj.id not in self.files:
            return False
        self._leave(self.core.objects.segments[obj.data.decode()])
        return True

    def _leave(self, segment: Segment) -> None:
        """The object's memory is not needed any more: its file has all of it."""
        core = self.core
        obj = core.objects.table[segment.oid]
        obj.kind, obj.data = m.AWAY, b""
        self.away += obj.size
        segment.reused = True  # so that its maker hears that it is gone
        segment.live = False
        core.objects.delete(segment)

    # --- back --------------------------------------------------------------------------------

    def fetch(self, peer: int, x: m.Fetch) -> None:
        """A client needs an object's bytes; answered by its Value, now or later.

        The value of one that is made again is LOST: the client waits for it as for a pending one.
        """
        core = self.core
        obj = core.objects.table.get(x.oid)
        if obj is None:
            failure = core.failure("object_lost", "The object is not known here any more.")
            gone = m.Value(x.oid, m.FAILURE, failure, len(failure))
            core.reply(peer, x.request, gone)
            return
        if obj.kind != m.AWAY:
            self._answer(obj, peer, x.request)
            return
        self.fetches.setdefault(x.oid, []).append((peer, x.request))
        if x.oid not in self.returning:
            self.returning[x.oid] = 0
            core.room.restore(obj)

    def bring_back(self, oid: bytes, size: int) -> None:
        """It is the object's turn: into memory, where ``size`` bytes were promised, or (0) as the
        file that it is."""
        obj = self.core.objects.table[oid]
        file = self.files.get(oid)
        if file is None:  # a client made up a value of this kind
            self.core.objects.reserved -= size
            del self.returning[oid]
            self.core.lineage.lost(obj, "its file is not known")
            return
        number = self._next()
        segment = f"r{number}" if size else ""
        self.returning[oid] = number
        self.reads[number] = Read(oid, file, segment, size)
        self.core.effects.actions.append(Restore(number, file, segment, obj.size))

    def read(self, _: int, x: Restored) -> None:
        read = self.reads.pop(x.number, None)
        if read is None:
            return
        core, objects = self.core, self.core.objects
        objects.reserved -= read.size
        wanted = self.returning.get(read.oid) == x.number
        if wanted:
            del self.returning[read.oid]
        obj = objects.table.get(read.oid)
        if not wanted or obj is None or obj.kind != m.AWAY:  # dropped meanwhile
            if read.segment and not x.problem:
                core.effects.actions.append(DeleteSegment(read.segment))
            return
        if x.problem == "no_room":  # somebody else fills tmpfs: the file itself will do
            self.bring_back(read.oid, 0)
        elif x.problem:
            core.lineage.lost(obj, x.detail)
        else:
            self._is_back(obj, read)

    def _is_back(self, obj: Object, read: Read) -> None:
        objects = self.core.objects
        self.away -= obj.size
        name = read.segment or read.file
        segment = Segment(name, obj.size, 0)
        segment.oid = obj.id
        segment.disk = not read.segment
        objects.segments[name] = segment
        if segment.disk:
            del self.files[obj.id]
            objects.on_disk += obj.size
        else:
            objects.used += obj.size
            self.restored += obj.size
            self.restores += 1
            objects.peak = max(objects.peak, objects.used - objects.cached)
        obj.kind, obj.data = m.STORED, name.encode()
        for peer, request in self.fetches.pop(obj.id, ()):
            self._answer(obj, peer, request)
        self.core.room.place(segment)

    def _answer(self, obj: Object, peer: int, request: int) -> None:
        lost = obj.kind == PENDING
        value = m.Value(obj.id, m.LOST, b"") if lost else self.core.objects.descriptor(peer, obj)
        self.core.reply(peer, request, value)

    # --- ends --------------------------------------------------------------------------------

    def withdraw(self, peer: int, request: int) -> None:
        """A client does not want any more what it fetches."""
        for oid, fetchers in self.fetches.items():
            if (peer, request) in fetchers:
                fetchers.remove((peer, request))
                if not fetchers:
                    self._nobody_fetches(oid)
                self.core.reply(peer, request, None, "not wanted any more")
                return

    def forget(self, obj: Object) -> None:
        """An object has no value any more (it was dropped, or lost): its file goes, too."""
        oid = obj.id
        if obj.kind == m.AWAY:
            self.away -= obj.size
        file = self.files.pop(oid, None)
        if file is not None:
            self.core.effects.actions.append(DeleteSegment(file))
        number = self.returning.pop(oid, None)
        if number == 0:
            self.core.room.forget(oid)
        for write in self.writes.values():
            if write.oid == oid and not write.dropped:
                write.dropped = True
                self.writing -= write.segment.size
        for peer, request in self.fetches.pop(oid, ()):
            self.core.reply(peer, request, m.Value(oid, m.LOST, b""))  # who asks again hears more

    def _nobody_fetches(self, oid: bytes) -> None:
        del self.fetches[oid]
        if self.returning.get(oid) == 0:  # it stands in line
            del self.returning[oid]
            self.core.room.forget(oid)

    def client_gone(self, peer: int) -> None:
        for oid, fetchers in list(self.fetches.items()):
            fetchers[:] = [fetcher for fetcher in fetchers if fetcher[0] != peer]
            if not fetchers:
                self._nobody_fetches(oid)
