"""The object directory: what exists, who holds it, who waits for it, which segment it is in."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.core import checks
from fanlight.core.effects import DeleteSegment
from fanlight.core.model import PENDING, Group, Object, ProtocolViolation, Segment, Task
from fanlight.ids import ACTOR_SUFFIX
from fanlight.messages import INLINE, STORED, Value

if TYPE_CHECKING:
    from fanlight.core.machine import Core


class Objects:
    def __init__(self, core: Core, capacity: int) -> None:
        self.core = core
        self.table: dict[bytes, Object] = {}
        self.segments: dict[str, Segment] = {}
        self.capacity = capacity
        self._large = core.config.large
        self.used = 0  # bytes of segments, cached ones included
        self.cached = 0  # bytes of segments that hold no object
        self.mapped = 0  # bytes of segments that some process may have mapped
        self.peak = 0  # most bytes that objects used since an observer last looked
        self.inline = 0  # bytes held in the node
        self.reserved = 0  # bytes promised to clients that write just now, and to what comes back
        self.on_disk = 0  # bytes of segments that are files on disk, and not counted in `used`
        self.sites: dict[bytes, str] = {}  # where objects were asked for, if that is recorded
        # Pending objects whose value their owner will put (results of calls on channels), by id.
        self.declared: dict[bytes, int] = {}
        # Values to be sent at the end of this step, by client.
        self.pushes: defaultdict[int, list[m.Value]] = defaultdict(list)
        self.touched: set[int] = set()  # clients that ever held or asked for an object
        # Chains of dependent tasks and of nested refs may be long: worked off in loops.
        self._arrivals: deque[tuple[Task, Object]] = deque()
        self._loose: deque[Object] = deque()
        self._telling = self._freeing = False

    # --- making and completing ---------------------------------------------------------------

    def create(self, oid: bytes, owner: int, group: Group | None) -> Object:
        self.touched.add(owner)
        self.table[oid] = obj = Object(oid, owner, group)
        return obj

    def check_new(self, peer: int, oid: bytes) -> None:
        """A client is about to make an object. Raises ProtocolViolation."""
        if oid in self.table or not oid.startswith(self.core.clients[peer].id):
            raise ProtocolViolation("an object made twice, or under another client's id")

    def check_segment(self, value: m.Value, maker: int) -> None:
        """A value comes that no task is known to have made. Raises ProtocolViolation."""
        if value.kind == STORED:
            segment = self.segments.get(checks.segment_name(value))
            if segment is not None and (segment.live or segment.maker != maker):
                raise ProtocolViolation("a value in a segment of another one")

    def complete(self, oid: bytes, value: m.Value, maker: int, tell_owner: bool = True) -> None:
        """A pending object gets its value (or its error); everyone who waits is told."""
        obj = self.table.get(oid)
        kind = value.kind
        if self.declared:
            self.declared.pop(oid, None)
        if kind:  # not INLINE
            if kind == STORED:
                self._adopt_segment(value, maker)
            elif kind < 0:
                raise ProtocolViolation("a value that is none")
        if obj is None or obj.kind != PENDING:
            # Nobody wants it any more, or a lost task finished twice.
            if kind == STORED:
                self._release_segment(value.data.decode())
            return
        obj.kind = kind
        obj.data = data = value.data
        obj.size = value.size or len(data)
        if value.contained:
            old = obj.contained  # of a value that was lost
            obj.contained = value.contained if old is None else [*old, *value.contained]
            self.pin(value.contained)
        if kind != STORED:
            self.inline += len(data)
        owner = obj.owner
        if owner and tell_owner:
            self.pushes[owner].append(self.descriptor(owner, obj))
        if obj.subscribers:
            for peer in obj.subscribers:
                self.push(peer, obj)
            obj.subscribers = None
        if obj.waiters:
            waiters, obj.waiters = obj.waiters, None
            self._arrivals.extend((task, obj) for task in waiters)
            self._tell_waiters()
        if not obj.owner and not obj.others and not obj.pins:
            self._free(obj)

    def discard(self, values: Iterable[m.Value], maker: int) -> None:
        """Values came that nobody waits for: their segments are their maker's again."""
        for value in values:
            if value.kind == STORED:
                self._adopt_segment(value, maker)
                self._release_segment(value.data.decode())

    def _tell_waiters(self) -> None:
        """Tell tasks of their arguments; what that completes in turn joins the same loop."""
        if self._telling:
            return
        self._telling = True
        try:
            while self._arrivals:
                task, obj = self._arrivals.popleft()
                self.core.tasks.argument_ready(task, obj)
        finally:
            self._telling = False

    def put(self, peer: int, value: m.Value) -> None:
        if value.kind:  # not INLINE
            checks.put(value)
        oid = value.oid
        if not self.declared or self.declared.get(oid) != peer:
            known = self.table.get(oid)
            if known is not None:
                if known.kind != m.STORED or known.data != value.data:
                    self.check_segment(value, peer)
                    self.discard([value], peer)  # else it would lose its own segment
                return
            if not oid.startswith(self.core.clients[peer].id):
                raise ProtocolViolation("an object under another client's id")
            if value.kind:
                self.check_segment(value, peer)
            self.create(oid, peer, None)
        elif value.kind:
            self.check_segment(value, peer)
        self.complete(oid, value, peer, False)

    # --- delivering --------------------------------------------------------------------------

    def push(self, peer: int, obj: Object) -> None:
        """Send a value to a client, at the end of this step."""
        self.pushes[peer].append(self.descriptor(peer, obj))

    def descriptor(self, peer: int, obj: Object) -> m.Value:
        """The value as it travels to ``peer``, who may map its segment from now on."""
        kind = obj.kind
        if kind == INLINE:
            return Value(obj.id, kind, obj.data, obj.size)
        if kind == STORED and peer in self.core.clients:
            segment = self.segments.get(obj.data.decode())
            if segment is None:  # its maker named it for another object, too
                text = self.core.failure("object_lost", "Its segment was used for something else.")
                return Value(obj.id, m.FAILURE, text, len(text))
            segment.mapped[peer] = segment.mapped.get(peer, 0) + 1
            self.core.room.place(segment)
        elif kind >= m.ERROR and obj.pins:
            return Value(obj.id, kind, obj.data, obj.size, [])
        return Value(obj.id, kind, obj.data, obj.size)

    def flush(self) -> None:
        """Called at the end of a step in which there were pushes."""
        pushes, self.pushes = self.pushes, defaultdict(list)
        clients, out = self.core.clients, self.core.effects.out
        for peer, values in pushes.items():
            if peer in clients:
                out[peer].append(m.Objects(values))

    def subscribe(self, peer: int, oids: Iterable[bytes]) -> None:
        self.touched.add(peer)
        for oid in oids:
            obj = self.table.get(oid)
            if obj is None:
                failure = self.core.failure("object_lost", "The object is not known here any more.")
                self.pushes[peer].append(m.Value(oid, m.FAILURE, failure, len(failure)))
            elif obj.kind != PENDING:
                self.push(peer, obj)
            elif obj.subscribers is None:
                obj.subscribers = [peer]
            elif peer not in obj.subscribers:
                obj.subscribers.append(peer)

    def wait_for(self, task: Task, oid: bytes) -> Object | None:
        """The object, after noting that ``task`` waits for it if it is pending."""
        obj = self.table.get(oid)
        if obj is not None and obj.kind == PENDING:
            if obj.waiters is None:
                obj.waiters = []
            obj.waiters.append(task)
        return obj

    # --- reference counts --------------------------------------------------------------------

    def pin(self, oids: Iterable[bytes]) -> None:
        table = self.table
        for oid in oids:
            obj = table.get(oid)
            if obj is not None:
                obj.pins += 1

    def unpin(self, oids: Iterable[bytes]) -> None:
        table = self.table
        for oid in oids:
            obj = table.get(oid)
            if obj is not None and obj.pins:
                obj.pins -= 1
                if not obj.pins and not obj.owner and not obj.others:
                    self._unreferenced(obj)

    def add_refs(self, peer: int, oids: Iterable[bytes]) -> None:
        self.touched.add(peer)
        for oid in oids:
            obj = self.table.get(oid)
            if obj is not None and obj.owner != peer:
                if obj.others is None:
                    obj.others = set()
                obj.others.add(peer)

    def drop_refs(self, peer: int, oids: Iterable[bytes]) -> None:
        table = self.table
        for oid in oids:
            obj = table.get(oid)
            if obj is None:
                continue
            if obj.owner == peer:
                obj.owner = 0
            elif obj.others:
                obj.others.discard(peer)
            if not obj.owner and not obj.others and not obj.pins:
                self._unreferenced(obj)

    def _unreferenced(self, obj: Object) -> None:
        if self._freeing:
            self._loose.append(obj)
            return
        if obj.kind == INLINE and not obj.contained and not obj.id.endswith(ACTOR_SUFFIX):
            self._free(obj)  # the usual case: nothing else is let go by it
            return
        self._loose.append(obj)
        self._freeing = True
        try:
            while self._loose:
                obj = self._loose.popleft()
                if obj.owner or obj.others or obj.pins:
                    continue
                if obj.id.endswith(ACTOR_SUFFIX) and self.core.actor_ends.out_of_scope(obj.id[:16]):
                    continue
                if obj.kind != PENDING or not self.will_come(obj.id):
                    self._free(obj)
                # Else its task still runs: complete() frees it.
        finally:
            self._freeing = False

    def will_come(self, oid: bytes) -> bool:
        """Whether somebody is going to complete this pending object."""
        return oid in self.declared or self.core.tasks.makes(oid)

    def fail(self, oids: Iterable[bytes], failure: bytes) -> None:
        """Give objects an error that no task stands for."""
        for oid in oids:
            self.complete(oid, m.Value(oid, m.FAILURE, failure, len(failure)), 0)

    def vacate(self, obj: Object) -> None:
        """Make an object pending whose value is gone; whoever calls this has it completed again.

        Its segment is deleted, also while somebody maps it. Who was told of the old value, its
        owner included, asks again when that cannot be read: only then the new one is sent.
        """
        if obj.kind in (STORED, m.AWAY):
            self.core.spilling.forget(obj)
        if obj.kind == STORED:
            self.delete(self.segments[obj.data.decode()])
        elif obj.kind != PENDING:
            self.inline -= len(obj.data)
        obj.kind, obj.data, obj.size = PENDING, b"", 0
        if obj.owner:
            obj.others = {*(obj.others or ()), obj.owner}
            obj.owner = 0
        # It goes on pinning what was inside: who read it need not have told of refs in it.

    def _free(self, obj: Object) -> None:
        if self.table.pop(obj.id, None) is None:
            return
        if self.sites:
            self.sites.pop(obj.id, None)
        kind = obj.kind
        if not kind:  # INLINE, the usual case
            self.inline -= len(obj.data)
        elif kind == STORED or kind < 0:
            if kind != PENDING:
                self.core.spilling.forget(obj)
            if kind == STORED:
                self._release_segment(obj.data.decode())
        else:
            self.inline -= len(obj.data)
        if obj.size > self._large:
            self.core.lineage.freed(obj)
        if obj.contained:
            self.unpin(obj.contained)

    def note_site(self, oids: Iterable[bytes], site: str) -> None:
        """A client records where in its code objects come from; forgotten with the object."""
        for oid in oids:
            if oid in self.table:
                self.sites[oid] = site

    def forget(self, oid: bytes) -> None:
        """Remove a bookkeeping object (an actor's handle count)."""
        obj = self.table.get(oid)
        if obj is not None:
            self._free(obj)

    def client_gone(self, peer: int) -> None:
        """Drop everything that a client held."""
        if self.declared:
            orphans = [oid for oid, owner in self.declared.items() if owner == peer]
            text = "The process that would have had the value of this object ended."
            self.fail(orphans, self.core.failure("owner_died", text) if orphans else b"")
        if peer in self.touched:  # else the table, which may be long, need not be looked through
            self.touched.remove(peer)
            held = []
            for oid, obj in self.table.items():
                if obj.owner == peer or (obj.others and peer in obj.others):
                    held.append(oid)
                if obj.subscribers and peer in obj.subscribers:
                    obj.subscribers = [p for p in obj.subscribers if p != peer] or None
            self.drop_refs(peer, held)
        self.pushes.pop(peer, None)
        self.core.spilling.client_gone(peer)
        self.core.room.client_gone(peer)
        for segment in list(self.segments.values()):
            if segment.mapped.pop(peer, None) is not None or segment.maker == peer:
                if segment.maker == peer:
                    segment.maker = 0
                self._settle(segment)
        client = self.core.clients.get(peer)
        if client is not None:
            self.reserved -= client.reserved
            client.reserved = 0

    # --- segments ----------------------------------------------------------------------------

    def _adopt_segment(self, value: m.Value, maker: int) -> None:
        name = checks.segment_name(value)
        client = self.core.clients.get(maker)
        segment = self.segments.get(name)
        if segment is None:
            segment = self.segments[name] = Segment(name, value.size, maker)
            if segment.disk:
                self.on_disk += value.size
            else:
                self.used += value.size
            if client is not None and not segment.disk:
                taken = min(client.reserved, value.size)
                client.reserved -= taken
                self.reserved -= taken
        elif segment.cached:
            segment.cached = False
            self.cached -= segment.size
        segment.live = True
        segment.oid = value.oid
        segment.asked, segment.asked_at = None, 0.0
        self.peak = max(self.peak, self.used - self.cached)
        if client is not None:
            segment.mapped[maker] = segment.mapped.get(maker, 0) + 1
        self.core.room.place(segment)

    def _release_segment(self, name: str) -> None:
        segment = self.segments.get(name)
        if segment is not None:
            segment.live = False
            self._settle(segment)

    def unmapped(self, peer: int, names: Iterable[str]) -> None:
        for name in names:
            segment = self.segments.get(name)
            if segment is None:
                continue
            if segment.cached and peer == segment.maker:
                self.delete(segment)
                continue
            left = segment.mapped.get(peer, 0) - 1
            if left > 0:
                segment.mapped[peer] = left
            elif left == 0:  # below: it never had it
                del segment.mapped[peer]
                self._settle(segment)

    def _settle(self, segment: Segment) -> None:
        """Reuse or delete a segment that holds no object and that nobody maps."""
        if segment.live or segment.mapped or segment.name not in self.segments:
            self.core.room.place(segment)
            return
        maker, room = segment.maker, self.core.room
        wanted = room.waiting or segment.disk or self.cached + segment.size > self.capacity // 4
        if maker in self.core.clients and (segment.cached or not wanted):
            if not segment.cached:
                segment.cached = segment.reused = True
                self.cached += segment.size
                self.core.effects.out[maker].append(m.Recycle([segment.name]))
            room.place(segment)
        else:
            self.delete(segment)

    def delete(self, segment: Segment) -> None:
        """Remove a segment, and its file."""
        del self.segments[segment.name]
        self.core.room.place(segment)
        if segment.disk:
            self.on_disk -= segment.size
        else:
            self.used -= segment.size
        if segment.cached:
            self.cached -= segment.size
        elif segment.reused and segment.maker in self.core.clients:
            self.core.effects.out[segment.maker].append(m.Discard([segment.name]))
        self.core.effects.actions.append(DeleteSegment(segment.name))
