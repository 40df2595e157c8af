"""Values that leave this process, and those that come: small ones in messages, large ones in shared
memory.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from fanlight import config, errors, ids, interrupts, serialization
from fanlight import messages as m
from fanlight.client import call_sites, failures, fetching, put_notes
from fanlight.refs import ObjectRef
from fanlight.store import files
from fanlight.store.segments import SegmentReader, SegmentWriter, Unreadable

if TYPE_CHECKING:
    from fanlight.client.client import Client

_unpack = msgspec.msgpack.decode


class Values:
    """A part of a client: serializes, stores and reads. Without a ``folder`` nothing is shared."""

    def __init__(self, client: Client, folder: Path | None, disk: Path | None = None) -> None:
        self._client = client
        self.folder = folder  # of segments
        self.away = False  # something is, or was, on disk: see client.fetching
        self.reader = SegmentReader(folder, disk) if folder is not None else None
        self.writer = (
            SegmentWriter(
                folder,
                client.id.hex()[:16],
                self._reserve,
                self._make_room,
                disk,
                self._refused,
                self._restore_folder,
            )
            if folder is not None
            else None
        )

    def put(self, value: Any) -> ObjectRef[Any]:
        """A ref to a new object. Raises TypeError if the value cannot be serialized."""
        try:
            packed = serialization.dumps(value)
        except Exception as e:
            raise failures.cannot_serialize("the put value", value, e) from e
        return self.put_packed(packed)

    def put_packed(self, packed: serialization.Serialized) -> ObjectRef[Any]:
        """A ref to an object of what is serialized already."""
        if packed.size > config.INLINE_LIMIT:
            with interrupts.held():  # what is written is counted, or nothing is
                return self._put_packed(packed)
        return self._put_packed(packed)

    def _put_packed(self, packed: serialization.Serialized) -> ObjectRef[Any]:
        client = self._client
        oid = ids.object_id(client.next_task_id(), 0)
        value = self.store(oid, packed)
        ref: ObjectRef[Any] = ObjectRef(oid)  # first: an interrupt from here on drops it
        client._counts[oid] = 1
        client.entries[oid] = value
        if value.kind == m.INLINE:
            client.link.send_soon(m.Put(value))
            if value.size > config.INLINE_LIMIT:  # in one process, nothing is shared
                put_notes.note(oid)
        else:
            put_notes.note(oid)
            client.link.send([m.Put(value)])
        if client._records_sites:
            client.link.send([m.CallSite([oid], call_sites.here("put object"))])
        return ref

    def store(self, oid: bytes, packed: serialization.Serialized) -> m.Value:
        """Turn a serialized value into one that travels; large ones go to shared memory.

        A stored one counts as a descriptor that this process got.
        """
        contained = packed.contained or None
        if packed.size <= config.INLINE_LIMIT or self.writer is None or self.reader is None:
            return m.Value(oid, m.INLINE, packed.to_bytes(), packed.size, contained)
        name = self.writer.write(packed)
        damaged = self.writer.damaged
        if damaged:
            self._client.link.send([m.Unmapped([damaged.popleft() for _ in range(len(damaged))])])
        with self._client._lock:
            self.reader.got(name)
        return m.Value(oid, m.STORED, name.encode(), packed.size, contained)

    def take(self, value: m.Value) -> None:
        """A descriptor came that no entry holds: ``release`` it when it is not needed any more."""
        if value.kind == m.STORED and self.reader is not None:
            with self._client._lock:
                self.reader.got(value.data.decode())
        elif value.kind == m.AWAY:
            self.away = True

    def abandon(self, value: m.Value) -> None:
        """A result that the task's report will not name: announced, its segment is taken back."""
        if value.kind == m.STORED:
            self._client.link.send([m.Put(value), m.DropRefs([value.oid])])
            self.release(value)

    def release(self, value: m.Value) -> None:
        """A descriptor that no entry holds is not needed any more."""
        if value.kind == m.STORED and self.reader is not None:
            with self._client._lock:
                self.reader.done(value.data.decode())

    def _reserve(self, size: int) -> bool:
        """Ask the node for room, which may take a while; whether only disk has room.

        Raises ObjectStoreFullError where there is no disk.
        """
        client = self._client
        client.flush_drops()
        request = client.next_request()
        came: list[m.Reply | None] = []
        wanted = True

        def answered(reply: m.Reply | None) -> None:
            with client._lock:
                came.append(reply)
                late = not wanted
            if late:
                self._not_wanted(reply, size)

        client.answers[request] = answered
        try:
            client.link.send([m.Reserve(request, size)])
            with interrupts.let_through():
                client.link.wait(lambda: came)
        except failures.ConnectionLost:
            raise client._lost_error() from None
        except BaseException:  # Ctrl-C: what is promised, now or later, is given back
            with client._lock:
                wanted = False
                there = bool(came)
            if there:
                self._not_wanted(came[0], size)
            else:
                client.link.send([m.Withdraw(request)])
            raise
        reply = came[0]
        if reply is None:
            raise client._lost_error()
        if reply.error:
            raise errors.ObjectStoreFullError(reply.error)
        return bool(_unpack(reply.data))

    def _not_wanted(self, reply: m.Reply | None, size: int) -> None:
        """An answer came after an interrupt."""
        if size > 0 and reply is not None and not reply.error and not _unpack(reply.data):
            self._client.link.send([m.Reserve(self._client.next_request(), -size)])

    def _refused(self, size: int, error: OSError) -> Exception:
        """What to raise when neither memory nor disk takes an object."""
        where = f" ({error.filename})" if error.filename else ""
        why = f"It cannot go to disk either: {error.strerror}{where}."
        text = self._client.query("store_full", size=size, why=why)
        full = error.errno in files.DISK_FULL
        return errors.OutOfDiskError(text) if full else errors.ObjectStoreFullError(text)

    def _give_back_warm(self) -> None:
        dropped = self.writer.discard_all() if self.writer is not None else []
        if dropped:
            self._client.link.send([m.Unmapped(dropped)])

    def _make_room(self, size: int) -> bool:
        """Shared memory is full, though the store is not: somebody else fills it. Whether there is
        room now that warm segments are given back."""
        assert self.folder is not None
        facts = os.statvfs(self.folder)
        if facts.f_blocks * facts.f_frsize < size:
            return False
        self._client.flush_drops()
        self._give_back_warm()
        self._client.query("trim")  # all makers are asked for theirs
        deadline = time.monotonic() + 1.0
        while facts.f_bavail * facts.f_frsize < size:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
            facts = os.statvfs(self.folder)
        return True

    def give_up(self, message: m.GiveUp) -> None:
        """The node wants room: what is not looked at may go to disk; its entry is AWAY then."""
        client, reader = self._client, self.reader
        assert reader is not None
        client.flush_drops()
        with client._lock:
            reader.settle()
            for oid, name in zip(message.oids, message.segments, strict=True):
                value = client.entries.get(oid)
                if value is None or value.kind != m.STORED or value.data != name.encode():
                    continue
                if reader.give_up(name):
                    value.kind = m.AWAY  # whoever has it, and is about to read, sees it: _view
                    value.data = b""
                    self.away = True
        client.flush_drops()  # what was given up is told
        client.link.send([m.GaveUp(message.number)])

    def _restore_folder(self) -> bool:
        """The folder of segments is gone: have the node make it anew."""
        assert self.folder is not None
        self._client.link.send([m.LostObject(b"", "", "the folder is gone", False)])
        deadline = time.monotonic() + 2.0
        while not self.folder.is_dir():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    # --- reading: what is lost is another module's business, see client.lost ----------------------

    def read(self, value: m.Value) -> Any:
        """The Python value; raises what the task raised, and Unreadable if it is lost."""
        if value.kind == m.INLINE:
            return serialization.loads(value.data, value.oid)
        if value.kind == m.STORED:
            view = self._view(value)
            if view is not None:
                return serialization.loads(view, value.oid)
        if value.kind == m.AWAY:
            with fetching.fetched(self._client, [value]) as found:
                return self.read(found[value.oid])
        if value.kind == m.LOST:
            self._is_lost(value, "it is being computed again")
        self._client.unhandled.seen((value.oid,))
        raise failures.exception_of(value)

    def read_all(self, values: list[m.Value]) -> list[Any]:
        """``read`` for several; what is on disk is brought back together."""
        if not self.away:
            return [*map(self.read, values)]
        away = {value.oid: value for value in values if value.kind == m.AWAY}
        if not away:
            return [*map(self.read, values)]
        with fetching.fetched(self._client, list(away.values())) as found:
            return [self.read(found.get(value.oid, value)) for value in values]

    def damage(self, value: m.Value) -> str:
        """Why a stored value cannot be read, as a clause; "" if it can."""
        if value.kind == m.STORED:
            try:
                self._view(value)
            except Unreadable as e:
                return str(e)
        return ""

    def decode(self, value: m.Value, deadline: float | None = None) -> Any:
        """``read``, which waits for what is lost and made again, until ``deadline`` by the monotonic
        clock. Raises GetTimeoutError then."""
        try:
            return self.read(value)
        except Unreadable as e:
            from fanlight.client import lost

            return lost.decode(self._client, e, deadline)

    def _view(self, value: m.Value) -> memoryview | None:
        """The bytes of a stored value; None if it was given up just now. Raises Unreadable."""
        reader = self.reader
        assert reader is not None
        try:
            with self._client._lock:
                if value.kind != m.STORED:
                    return None
                name = value.data.decode()
                view = reader.view(name, value.size)
            if saw := serialization.damage(view, value.size):
                raise Unreadable(saw)
            if serialization.wants_own_pages(view):
                return reader.own_view(name, value.size)
            return view
        except Unreadable as e:
            e.value = value
            raise

    @staticmethod
    def _is_lost(value: m.Value, saw: str) -> NoReturn:
        error = Unreadable(saw)
        error.value = value
        raise error
