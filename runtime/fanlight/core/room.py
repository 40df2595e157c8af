"""Room in the object store: who waits for it, and from whom it is taken.

A client that is going to write reserves room first (``Reserve``); so does the node for what it brings
back from disk. What does not fit waits in one line, in order, while room is made from what was used
least recently:

1. warm segments are asked back from their makers (``Discard``);
2. objects that nobody maps are written to disk (:mod:`fanlight.core.spilling`);
3. clients are asked to give up objects that they hold refs to and do not look at (``GiveUp``), so
   that those can be written next.

When nothing of that can bring room any more, the answer is to write to disk instead, which is also
the answer for what is larger than the whole store. Nobody waits for a client that does not answer.

Rules, which :mod:`fanlight.core.invariants` checks:

* What is used and what is promised are never more than the capacity.
* A segment in memory that holds an object is *idle* (nobody maps it), *held*, or was asked for.
* Nobody waits while there is room for the first one in line.
"""

from __future__ import annotations

import heapq
import itertools
import operator
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from fanlight import messages as m
from fanlight.core.model import Object, Segment

if TYPE_CHECKING:
    from fanlight.core.machine import Core

PATIENCE = 0.5  # seconds for a client to answer, before others do not wait for it
KEPT_SECONDS = 1.0  # before a client is asked again for what it could not give up
DISK_SECONDS = 30.0  # longest wait for a slow disk
_SLACK = 10  # a tenth of the capacity is freed beyond what is asked for: the next one need not wait
_stamp_of = operator.attrgetter("stamp")


class Wait(msgspec.Struct, eq=False):
    """Somebody who waits for room: a client that writes, or an object to be brought back."""

    peer: int
    request: int
    size: int
    since: float
    oid: bytes = b""  # of what comes back from disk; b"" for a client


class Ask(msgspec.Struct, eq=False):
    """A client was asked to give up segments, and has not answered."""

    peer: int
    names: list[str]
    since: float


class Room:
    """A part of the core, beside :class:`fanlight.core.objects.Objects`, whose segments it uses."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.waiting: deque[Wait] = deque()
        self.wanted = 0  # bytes that they wait for
        # Segments, least recently used first.
        self.warm: dict[str, Segment] = {}  # hold no object: with their makers
        self.idle: dict[str, Segment] = {}  # hold one that nobody maps
        self.held: dict[str, Segment] = {}  # hold one that somebody may be asked for
        self.kept: dict[str, float] = {}  # hold one that somebody uses; until when not to ask again
        self.asks: dict[int, Ask] = {}
        self.deaf: set[int] = set()  # clients that did not answer in time
        self._next_ask = itertools.count(1).__next__
        self._next_stamp = itertools.count(1).__next__

    # --- what each segment is good for -------------------------------------------------------

    def place(self, segment: Segment) -> None:
        """A segment changed, or was used: put it where it belongs."""
        name = segment.name
        for places in (self.warm, self.idle, self.held, self.kept):
            places.pop(name, None)
        objects = self.core.objects
        known = not segment.disk and name in objects.segments
        if segment.counted is not (known and bool(segment.mapped)):
            segment.counted = not segment.counted
            objects.mapped += segment.size if segment.counted else -segment.size
        if not known:
            return
        segment.stamp = self._next_stamp()
        if segment.cached:
            self.warm[name] = segment
        elif not segment.live:
            return
        elif not segment.mapped:
            self.idle[name] = segment
        elif not segment.asked:
            self.held[name] = segment

    def fits(self, size: int) -> bool:
        objects = self.core.objects
        return objects.used + objects.reserved + size <= objects.capacity

    # --- asking for room ---------------------------------------------------------------------

    def reserve(self, peer: int, x: m.Reserve) -> None:
        """A client is about to write; a negative size gives back a promise that was not used.

        The answer, now or later, is False when it may write to memory, True for disk; or an error.
        """
        client = self.core.clients[peer]
        size = max(x.size, -client.reserved)
        if size > 0 and (self.waiting or not self.fits(size)):
            self._wait(Wait(peer, x.request, size, self.core.now))
            return
        client.reserved += size
        self.core.objects.reserved += size
        self.core.reply(peer, x.request, False)

    def withdraw(self, peer: int, x: m.Withdraw) -> None:
        """A client does not want any more what it asked for. Each request has one answer."""
        for wait in self.waiting:
            if wait.peer == peer and wait.request == x.request:
                self._remove([wait])
                self.core.reply(peer, x.request, None, "not wanted any more")
                return
        self.core.spilling.withdraw(peer, x.request)

    def restore(self, obj: Object) -> None:
        """An object on disk is wanted in memory: it waits in line, too."""
        wait = Wait(0, 0, obj.size, self.core.now, obj.id)
        if not self.waiting and self.fits(obj.size):
            self._grant(wait)
        else:
            self._wait(wait)

    def forget(self, oid: bytes) -> None:
        """An object is not wanted back any more."""
        self._remove([wait for wait in self.waiting if wait.oid == oid])

    def client_gone(self, peer: int) -> None:
        self.deaf.discard(peer)
        if self.waiting:
            self._remove([wait for wait in self.waiting if wait.peer == peer])
        if self.asks:
            for number in [n for n, ask in self.asks.items() if ask.peer == peer]:
                self._answered(self.asks.pop(number))

    def _wait(self, wait: Wait) -> None:
        self.waiting.append(wait)
        self.wanted += wait.size

    def _remove(self, waits: list[Wait]) -> None:
        for wait in waits:
            self.waiting.remove(wait)
            self.wanted -= wait.size

    def slept(self, seconds: float) -> None:
        """Time has passed that does not count: nobody was late."""
        for wait in self.waiting:
            wait.since += seconds
        for ask in self.asks.values():
            ask.since += seconds
        for name in self.kept:
            self.kept[name] += seconds
        for segment in self.warm.values():
            if segment.asked_at:
                segment.asked_at += seconds

    # --- giving room -------------------------------------------------------------------------

    def advance(self) -> None:
        """Called at the end of each step while somebody waits."""
        now = self.core.now
        while self.kept:
            name, until = next(iter(self.kept.items()))
            if until > now >= until - KEPT_SECONDS:
                break
            self.place(self.core.objects.segments[name])
        while self.waiting:
            wait = self.waiting[0]
            can_fit = wait.size <= self.core.objects.capacity
            if can_fit and not self.fits(wait.size):
                self._make_room()
            if self.fits(wait.size):
                self._remove([wait])
                self._grant(wait)
            elif can_fit and self._comes() and self._patient(wait.since, DISK_SECONDS):
                return
            else:
                self._remove([wait])
                self._to_disk(wait)

    def _grant(self, wait: Wait) -> None:
        objects = self.core.objects
        objects.reserved += wait.size
        if wait.oid:
            self.core.spilling.bring_back(wait.oid, wait.size)
        else:
            self.core.clients[wait.peer].reserved += wait.size
            self.core.reply(wait.peer, wait.request, False)

    def _to_disk(self, wait: Wait) -> None:
        if wait.oid:
            self.core.spilling.bring_back(wait.oid, 0)
        elif self.core.config.spill:
            self.core.reply(wait.peer, wait.request, True)
        else:
            self.core.reply(wait.peer, wait.request, None, self.full(wait.size))

    # --- making room -------------------------------------------------------------------------

    def _patient(self, since: float, seconds: float = PATIENCE) -> bool:
        return 0 <= self.core.now - since < seconds  # the clock may be set back

    def coming(self) -> int:
        """Bytes that will be free soon, as far as we can tell."""
        now, segments = self.core.now, self.core.objects.segments
        coming = sum(s.size for s in self.warm.values() if s.asked_at and self._patient(s.asked_at))
        for ask in self.asks.values():
            if self._patient(ask.since):
                coming += sum(segments[n].size for n in ask.names if n in segments)
            elif ask.since <= now:
                self.deaf.add(ask.peer)
        return coming + self.core.spilling.writing

    def _comes(self) -> bool:
        return self.coming() > 0

    def trim(self) -> None:
        """Ask for warm segments back. Their makers may be writing to one at this moment, so each
        is gone only when its maker says so."""
        names: defaultdict[int, list[str]] = defaultdict(list)
        for segment in self.warm.values():
            if not segment.asked_at:
                segment.asked_at = self.core.now
                names[segment.maker].append(segment.name)
        for maker, some in names.items():
            self.core.effects.out[maker].append(m.Discard(some))

    def _make_room(self) -> None:
        """Have as much freed as those in line want, and a little more."""
        objects = self.core.objects
        self.trim()
        wanted = min(self.wanted + objects.capacity // _SLACK, objects.capacity)
        self.shed(objects.used + objects.reserved + wanted - objects.capacity - self.coming())

    def shed(self, lacking: int) -> None:
        """Free so many bytes by writing to disk what was used least recently, if that is possible."""
        spilling = self.core.spilling
        if lacking <= 0:
            return
        asked: defaultdict[int, list[Segment]] = defaultdict(list)
        candidates = heapq.merge(self.idle.values(), self.held.values(), key=_stamp_of)
        chosen: list[Segment] = []
        for segment in candidates:
            if lacking <= 0:
                break
            if not segment.mapped:
                if not spilling.may_write(segment):
                    continue
            elif not self.core.config.spill or not self.deaf.isdisjoint(segment.mapped):
                continue
            chosen.append(segment)
            lacking -= segment.size
        for segment in chosen:
            if not segment.mapped:
                spilling.make_away(segment)
                continue
            segment.asked = set(segment.mapped)
            self.held.pop(segment.name)
            for peer in segment.mapped:
                asked[peer].append(segment)
        for peer, segments in asked.items():
            self._ask(peer, segments)

    def _ask(self, peer: int, segments: Iterable[Segment]) -> None:
        number = self._next_ask()
        names = [s.name for s in segments]
        self.asks[number] = Ask(peer, names, self.core.now)
        oids = [s.oid for s in segments]
        self.core.effects.out[peer].append(m.GiveUp(number, oids, names))

    def gave_up(self, peer: int, x: m.GaveUp) -> None:
        """A client answers; what it could give up came before this."""
        ask = self.asks.get(x.number)
        if ask is not None and ask.peer == peer:
            del self.asks[x.number]
            self.deaf.discard(peer)
            self._answered(ask)

    def _answered(self, ask: Ask) -> None:
        for name in ask.names:
            segment = self.core.objects.segments.get(name)
            if segment is None or ask.peer not in (segment.asked or ()):
                continue  # gone, or used for another object meanwhile
            assert segment.asked is not None
            segment.asked.discard(ask.peer)
            if segment.asked:
                continue
            segment.asked = None
            if segment.mapped and segment.live:
                self.kept[name] = self.core.now + KEPT_SECONDS
            else:
                self.place(segment)

    # --- no room -----------------------------------------------------------------------------

    def full(self, size: int, why: str = "") -> str:
        """The text of an error: the store cannot take ``size`` bytes, and disk neither."""
        objects = self.core.objects
        stored = (o for o in objects.table.values() if o.kind in (m.STORED, m.AWAY))
        largest = heapq.nlargest(5, stored, key=operator.attrgetter("size"))
        rows = "".join(f"\n  {self._row(obj)}" for obj in largest)
        return (
            f"The object store is full: {size / 1e6:.1f} MB are needed, "
            f"{(objects.used + objects.reserved) / 1e6:.1f} of {objects.capacity / 1e6:.1f} MB are "
            f"in use. {why}{' ' if why else ''}Drop references (del ref) to what you no longer "
            f"need, or start with a larger object_store_memory=. The largest objects:"
            f"{rows or ' none'}"
        )

    def _row(self, obj: Object) -> str:
        core = self.core
        made = f"made by {obj.group.name}" if obj.group is not None else "made by put"
        place = self.place_of(obj)
        site = core.objects.sites.get(obj.id, "")
        peers = [p for p in (obj.owner, *sorted(obj.others or ())) if p in core.clients]
        who = ", ".join(f"{core.clients[p].role} {core.clients[p].pid}" for p in peers[:3])
        more = f" and {len(peers) - 3} more" if len(peers) > 3 else ""
        held = f"held by {who}{more}" if who else "held by no process"
        pins = f" and {obj.pins} task(s) or object(s)" if obj.pins else ""
        at = f", at {site}" if site else ""
        return f"{obj.size / 1e6:10.1f} MB {place}  {made}, {held}{pins}{at}"

    def place_of(self, obj: Object) -> str:
        """Where the bytes of an object are: "node" (a small one), "memory", "mapped" (memory that
        some process may use) or "disk"; "" if it has none."""
        if obj.kind == m.AWAY:
            return "disk"
        if obj.kind != m.STORED:
            return "node" if obj.kind == m.INLINE else ""
        segment = self.core.objects.segments.get(obj.data.decode())
        if segment is None or segment.disk:
            return "disk" if segment is not None else ""
        return "mapped" if segment.mapped else "memory"
