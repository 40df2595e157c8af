"""Values that leave this process, and those that come: small ones in messages, large ones in shared
memory.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanlight import config, errors, ids, serialization
from fanlight import messages as m
from fanlight.client import call_sites, failures
from fanlight.refs import ObjectRef
from fanlight.store.segments import SegmentReader, SegmentWriter

if TYPE_CHECKING:
    from fanlight.client.client import Client


class Values:
    """A part of a client: serializes, stores and reads. Without a ``folder`` nothing is shared."""

    def __init__(self, client: Client, folder: Path | None) -> None:
        self._client = client
        self._folder = folder  # of segments
        self.reader = SegmentReader(folder) if folder is not None else None
        self.writer = (
            SegmentWriter(folder, client.id.hex()[:16], self._reserve, self._make_room)
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
        client = self._client
        oid = ids.object_id(client.next_task_id(), 0)
        value = self.store(oid, packed)
        ref: ObjectRef[Any] = ObjectRef(oid)  # first: an interrupt from here on drops it
        client._counts[oid] = 1
        client.entries[oid] = value
        if value.kind == m.INLINE:
            client.link.send_soon(m.Put(value))
        else:
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
        with self._client._lock:
            self.reader.got(name)
        return m.Value(oid, m.STORED, name.encode(), packed.size, contained)

    def take(self, value: m.Value) -> None:
        """A descriptor came that no entry holds: ``release`` it when it is not needed any more."""
        if value.kind == m.STORED and self.reader is not None:
            with self._client._lock:
                self.reader.got(value.data.decode())

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

    def _reserve(self, size: int) -> None:
        deadline = time.monotonic() + 2.0
        while True:
            self._client.flush_drops()
            request = self._client.next_request()
            try:
                reply = self._client.ask(request, m.Reserve(request, size))
            except KeyboardInterrupt:  # a promise that nobody hears of is given back
                self._client.link.send([m.Reserve(self._client.next_request(), -size)])
                raise
            if not reply.error:
                return
            # Warm segments come back within moments: of this process, and of others.
            self._give_back_warm()
            if time.monotonic() > deadline:
                raise errors.ObjectStoreFullError(reply.error)
            time.sleep(0.02)

    def _give_back_warm(self) -> None:
        dropped = self.writer.discard_all() if self.writer is not None else []
        if dropped:
            self._client.link.send([m.Unmapped(dropped)])

    def _make_room(self, size: int) -> bool:
        """Shared memory is full, though the store is not: somebody else fills it. Whether there is
        room now that warm segments are given back."""
        assert self._folder is not None
        facts = os.statvfs(self._folder)
        if facts.f_blocks * facts.f_frsize < size:
            return False
        self._client.flush_drops()
        self._give_back_warm()
        request = self._client.next_request()
        self._client.ask(
            request, m.Reserve(request, 1 << 62)
        )  # refused, and all makers are asked for theirs
        deadline = time.monotonic() + 1.0
        while facts.f_bavail * facts.f_frsize < size:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
            facts = os.statvfs(self._folder)
        return True

    def decode(self, value: m.Value) -> Any:
        """The Python value; raises what the task raised."""
        kind = value.kind
        if kind == m.INLINE:
            return serialization.loads(value.data, value.oid)
        if kind == m.STORED:
            assert self.reader is not None
            try:
                name = value.data.decode()
                view = self.reader.view(name)
                if serialization.wants_own_pages(view):
                    view = self.reader.own_view(name)
                return serialization.loads(view, value.oid)
            except FileNotFoundError:
                raise errors.ObjectLostError(
                    "The object's shared memory is gone.", value.oid.hex()
                ) from None
        self._client.unhandled.seen((value.oid,))
        raise failures.exception_of(value)
