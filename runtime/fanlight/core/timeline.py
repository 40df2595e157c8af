"""When each of the newest tasks ran, and where: what ``fanlight.timeline()`` is made of.

A ring of packed records, not objects: :data:`RECORD` bytes a task, :data:`LIMIT` tasks at most, so
8 MB when it is full; it grows as it fills. Times are the worker's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from fanlight.core.model import RUNNING

if TYPE_CHECKING:
    from fanlight.core.machine import Core
    from fanlight.core.model import Task, Worker

# task id, group, worker's number, its pid, attempt, flags, start (epoch), duration, the parts of it
# that went into reading arguments and storing results, the time from submission to start (seconds),
# the size of the results (bytes), and the end of the id of the task whose result was the last argument
# to come (zeros: it waited for none): 12 bytes are enough to find it again among these.
_RECORD = struct.Struct("<24sIIIHHdfffff12s")
GATE = slice(12, 24)  # of a task's id
RECORD = _RECORD.size
_GROUP = 24  # where in a record its group stands, after the task's id
_TAIL = 23  # the last byte of the id
LIMIT = 100_000  # tasks
PAGE = 5_000  # records in one answer
RUNNING_SHOWN = 1_000  # unfinished tasks in one answer
FAILED = 1  # a flag
WAITED = 2  # a flag: it used hardly any of the CPU time that it held
_IDLE = 0.9  # part of a run, for that

_pack_into = _RECORD.pack_into
unpack = _RECORD.iter_unpack  # (task, group, worker, pid, attempt, flags, start, …) of a page


class Timeline:
    """The spans of the newest finished attempts, in the order in which they were reported."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.total = 0  # spans recorded so far, forgotten ones included
        self._ring = bytearray()
        self._tails = (0, b"")  # how many records there were, and a byte of each

    def record(
        self,
        task: bytes,
        group: int,
        worker: int,
        pid: int,
        started: float,
        duration: float,
        attempt: int = 0,
        ok: bool = True,
        reading: float = 0.0,
        storing: float = 0.0,
        waited: float = 0.0,
        size: float = 0,
        idle: float = 0.0,
        gate: bytes = b"",
    ) -> None:
        """Note one attempt that ended.

        Called for each report of a worker, and for calls that went past the node, when the node is
        told of them. ``started`` is the worker's wall clock (0: not measured, nothing is noted);
        ``reading`` and ``storing`` are the parts of ``duration`` before and after the user's code,
        ``waited`` the time from submission to start, ``size`` the bytes of the results, ``idle`` the
        part of ``duration`` in which it waited, but not for a CPU or in ``get``, ``gate`` the
        :data:`GATE` part of the id of the task that made the last argument it waited for.
        """
        if not started:
            return
        flags = 0 if ok else FAILED
        if idle and idle >= _IDLE * duration:
            flags |= WAITED
        slot = self.total % self.limit
        ring = self._ring
        if len(ring) == slot * RECORD:
            ring.extend(bytes(RECORD * min(1024, self.limit - slot)))
        _pack_into(
            ring, slot * RECORD, task, group, worker & 0xFFFFFFFF, pid & 0xFFFFFFFF,
            attempt & 0xFFFF, flags, started, duration, reading, storing,
            waited, size, gate,
        )  # fmt: skip
        self.total += 1

    def page(self, after: int) -> tuple[int, bytes]:
        """Records from number ``after`` on, at most :data:`PAGE`, and the number to go on with."""
        first = min(max(after, self.total - self.limit, 0), self.total)
        last = min(first + PAGE, self.total)
        begin, end = first % self.limit, last % self.limit
        ring = memoryview(self._ring)
        if end > begin or last == first:
            return last, bytes(ring[begin * RECORD : end * RECORD])
        return last, bytes(ring[begin * RECORD : self.limit * RECORD]) + bytes(ring[: end * RECORD])

    def newest(self, group: int, count: int | None = None) -> Iterator[tuple[Any, ...]]:
        """The records of one group, the newest first; of the last ``count`` records only."""
        have = min(self.total, self.limit)
        have = have if count is None else min(count, have)
        ring, end = self._ring, self.total % self.limit
        parts = [(max(0, end - have), end)]
        if have > end:
            parts.append((self.limit - (have - end), self.limit))
        low = bytes((group & 0xFF,))
        for first, last in parts:
            # The low bytes of the groups, so that the others are not looked at one by one.
            column = ring[first * RECORD + _GROUP : last * RECORD : RECORD]
            at = column.rfind(low)
            while at >= 0:
                record = _RECORD.unpack_from(ring, (first + at) * RECORD)
                if record[1] == group:
                    yield record
                at = column.rfind(low, 0, at)

    def find(self, task: bytes) -> list[tuple[Any, ...]]:
        """The records of one task, the oldest first."""
        ring, found, last = self._ring, [], task[-1:]
        if self._tails[0] != self.total:  # the last bytes of the ids: they differ most
            self._tails = (self.total, bytes(ring[_TAIL::RECORD]))
        column = self._tails[1]
        at = column.find(last)
        while 0 <= at < self.total:
            begin = at * RECORD
            if ring[begin : begin + _GROUP] == task:
                found.append(_RECORD.unpack_from(ring, begin))
            at = column.find(last, at + 1)
        return sorted(found, key=lambda record: record[4])  # by attempt


def query(core: Core, _client: Any, args: dict[str, Any]) -> Any:
    """A page of the timeline: packed records, the names that they use, and where to go on.

    The last page also has what runs just now, and what the living workers are.
    """
    last, records = core.timeline.page(int(args.get("after", 0)))
    used = {row[1] for row in unpack(records)}
    more = last < core.timeline.total
    running = [] if more else list(islice(_running(core), RUNNING_SHOWN))
    used.update(row[1] for row in running)
    groups = {n: core.groups[n] for n in used if n in core.groups}
    return {
        "records": records,
        "record": RECORD,
        "next": last,
        "more": more,
        "forgotten": max(core.timeline.total - core.timeline.limit, 0),
        "names": {n: [group.name, group.kind, group.origin] for n, group in groups.items()},
        "running": running,
        "lanes": {} if more else {w.number: _lane(w) for w in core.workers.values() if w.pid},
        # What their tasks' ids begin with: who submitted what.
        "clients": {} if more else {w.number: _submitter(core, w) for w in core.workers.values()},
        "now": core.now,
        "node": core.config.node_id,
        "address": core.config.address,
    }


def _running(core: Core) -> Iterator[tuple[Any, ...]]:
    """Task, group, worker's number, pid, attempt, start, submission and gate of what runs now."""
    for worker in core.workers.values():
        actor = worker.actor
        tasks: Iterator[Task] = iter(worker.queue)
        if actor is not None:
            tasks = chain(tasks, actor.flight.values(), actor.direct.values())
        for task in tasks:
            if task.state == RUNNING and task.started:
                yield (
                    task.id, task.spec.group.number, worker.number, worker.pid, task.attempt,
                    task.started, task.submitted, task.gate,
                )  # fmt: skip


def _lane(worker: Worker) -> list[Any]:
    """The class and the name of the actor that a worker is, and its GPUs."""
    actor = worker.actor
    shown = [actor.spec.spec.name[:100], actor.name[:100]] if actor is not None else ["", ""]
    return [*shown, worker.gpus or []]


def _submitter(core: Core, worker: Worker) -> str:
    client = core.clients.get(worker.peer)
    return client.id.hex() if client is not None else ""
