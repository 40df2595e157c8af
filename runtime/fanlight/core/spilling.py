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
* Who waits for an object's bytes waits for one that is away and on its way back, or for one that is
  pending (its file could not be read, and it is made again).
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


class Fetcher(msgspec.Struct, eq=False):
    """A client that waits for an object's bytes."""

    peer: int
    request: int
    blocked: bool = False  # its task gave its CPU back meanwhile


class Spilling:
    """A part of the core, beside :class:`fanlight.core.objects.Objects`."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.files: dict[bytes, str] = {}  # of objects, complete
        self.writes: dict[int, Write] = {}
        self.reads: dict[int, Read] = {}
        self.returning: dict[bytes, int] = {}  # objects on their way back: the read, or 0 in line
        self.fetches: dict[bytes, list[Fetcher]] = core.objects.fetches
        self.writing = 0  # bytes of memory that will be free when they are written
        self.away = 0  # bytes of objects that are on disk only
        self.spilled = self.restored = 0  # bytes written and brought back so far
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
            if not segment.mapped and core.room.waiting:
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
        """A client needs an object's bytes; answered by its Value, now or later."""
        core = self.core
        obj = core.objects.table.get(x.oid)
        if obj is None:
            failure = core.failure("object_lost", "The object is not known here any more.")
            gone = m.Value(x.oid, m.FAILURE, failure, len(failure))
            core.reply(peer, x.request, gone)
            return
        if obj.kind not in (m.AWAY, PENDING):
            core.reply(peer, x.request, core.objects.descriptor(peer, obj))
            return
        fetcher = Fetcher(peer, x.request)
        self.fetches.setdefault(x.oid, []).append(fetcher)
        if obj.kind == PENDING:
            self._block(fetcher)
        elif x.oid not in self.returning:
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
            self._cannot_read(obj, "its file is not known")
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
            self._cannot_read(obj, x.detail)
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
            objects.peak = max(objects.peak, objects.used - objects.cached)
        obj.kind, obj.data = m.STORED, name.encode()
        self.came(obj)
        self.core.room.place(segment)

    def _cannot_read(self, obj: Object, why: str) -> None:
        self.core.lineage.lost(obj, why)
        if obj.kind == PENDING:  # it is made again, which may take what its fetchers hold
            for fetcher in self.fetches.get(obj.id, ()):
                self._block(fetcher)

    def came(self, obj: Object) -> None:
        """An object may be waited for that has bytes, or an error, now: answer those who do."""
        core = self.core
        for fetcher in self.fetches.pop(obj.id, ()):
            self._unblock(fetcher)
            core.reply(fetcher.peer, fetcher.request, core.objects.descriptor(fetcher.peer, obj))

    def _block(self, fetcher: Fetcher) -> None:
        """The task that waits gives its CPU back: somebody may need it to make the object."""
        client = self.core.clients[fetcher.peer]
        if client.worker is not None and client.worker.actor is None and not fetcher.blocked:
            fetcher.blocked = True
            self.core.scheduler.blocked(client.worker)

    def _unblock(self, fetcher: Fetcher) -> None:
        if fetcher.blocked:
            worker = self.core.clients[fetcher.peer].worker
            if worker is not None:
                self.core.scheduler.unblocked(worker)

    # --- ends --------------------------------------------------------------------------------

    def withdraw(self, peer: int, request: int) -> None:
        """A client does not want any more what it fetches."""
        for oid, fetchers in self.fetches.items():
            for fetcher in fetchers:
                if fetcher.peer == peer and fetcher.request == request:
                    self._unblock(fetcher)
                    fetchers.remove(fetcher)
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

    def dropped(self, obj: Object) -> None:
        """An object with a value is gone from the table."""
        self.forget(obj)
        if obj.id in self.fetches:
            text = "The object was dropped while it was read."
            failure = self.core.failure("object_lost", text)
            gone = m.Value(obj.id, m.FAILURE, failure, len(failure))
            for fetcher in self.fetches.pop(obj.id):
                self._unblock(fetcher)
                self.core.reply(fetcher.peer, fetcher.request, gone)

    def _nobody_fetches(self, oid: bytes) -> None:
        del self.fetches[oid]
        if self.returning.get(oid) == 0:  # it stands in line
            del self.returning[oid]
            self.core.room.forget(oid)

    def client_gone(self, peer: int) -> None:
        for oid, fetchers in list(self.fetches.items()):
            fetchers[:] = [f for f in fetchers if f.peer != peer]
            if not fetchers:
                self._nobody_fetches(oid)
