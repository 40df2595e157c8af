"""Generators whose items become objects one by one, while they run.

A streaming task has object 0 for its end; the worker reports items with ``Yield``, and each is made,
given to the submitter and complete in one go. Rules, which :mod:`fanlight.core.invariants` checks:

* An unfinished task has a stream exactly if its spec says so, and the consumer is a client.
* The consumer sees each index once: what an earlier attempt delivered is thrown away later.
* An error is one more item. After the last item the consumer gets ``StreamEnd``, once.
* A worker that paused is answered as soon as the consumer took enough, or dropped the generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import ids
from fanlight import messages as m
from fanlight.core import model
from fanlight.core.model import FAILED, Stream, Task

if TYPE_CHECKING:
    from fanlight.core.machine import Core


class Streams:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.table: dict[bytes, Task] = {}  # unfinished generators by task id
        self.ended: list[Task] = []  # ended in this step; told when their items were

    def begin(self, task: Task) -> None:
        """A streaming task was submitted."""
        task.stream = Stream()
        self.table[task.id] = task

    def start_over(self, task: Task) -> None:
        """The task is handed to a worker, which runs it from the start."""
        stream = task.stream
        assert stream is not None
        stream.seen = 0
        stream.paused = False

    # --- items -------------------------------------------------------------------------------

    def items(self, peer: int, message: m.Yield) -> None:
        """A worker reports items of a generator that it runs."""
        core = self.core
        worker = core.clients[peer].worker
        if worker is None:
            raise model.ProtocolViolation("only workers report items")
        task = self.table.get(message.task)
        if task is None or task.worker is not worker:
            core.objects.discard(message.values, peer)
            return
        stream = task.stream
        assert stream is not None
        objects = core.objects
        for value in message.values:
            if ids.task_of(value.oid) != task.id:
                raise model.ProtocolViolation("an item of another task")
            stream.seen = index = ids.index_of(value.oid)
            new = index > stream.delivered and value.oid not in objects.table
            if value.size > self.core.lineage.large:
                stream.large.add(value.oid)
            if value.oid in stream.missing:
                stream.missing.discard(value.oid)
                objects.complete(value.oid, value, peer)
            elif new and not stream.closed:
                objects.create(value.oid, task.client, task.spec.group)
                objects.complete(value.oid, value, peer)
            else:  # delivered by an earlier attempt, or not wanted
                objects.discard((value,), peer)
            stream.delivered = max(stream.delivered, index)
        if message.paused:
            stream.paused = True
            self._resume(task, stream)

    def add_failure(
        self, task: Task, kind: int, data: bytes, contained: list[bytes] | None
    ) -> None:
        """The task failed: its next item is the error."""
        stream = task.stream
        assert stream is not None
        missing, stream.missing = stream.missing, set()
        for oid in missing:
            self.core.objects.complete(oid, m.Value(oid, kind, data, len(data), contained), 0)
        if stream.again:
            return
        stream.delivered += 1
        oid = ids.object_id(task.id, stream.delivered)
        if not stream.closed and oid not in self.core.objects.table:
            self.core.objects.create(oid, task.client, task.spec.group)
            value = m.Value(oid, kind, data, len(data), contained)
            self.core.objects.complete(oid, value, 0)

    # --- the consumer ------------------------------------------------------------------------

    def consumed(self, peer: int, message: m.Consumed) -> None:
        """The consumer took items, or dropped the generator."""
        task = self.table.get(message.task)
        if task is None:
            return  # it has ended meanwhile
        if task.client != peer:
            raise model.ProtocolViolation("items of another client's generator")
        stream = task.stream
        assert stream is not None
        stream.consumed = max(stream.consumed, message.count)
        stream.closed = stream.closed or message.closed
        self._resume(task, stream)

    def client_gone(self, peer: int) -> None:
        """A consumer is gone: what it submitted and still runs, runs to its end unheard."""
        for task in self.table.values():
            if task.client == peer:
                stream = task.stream
                assert stream is not None
                stream.closed = True
                self._resume(task, stream)

    def _resume(self, task: Task, stream: Stream) -> None:
        """Let a worker go on that paused, if it may."""
        worker = task.worker
        if stream.paused and worker is not None and may_go_on(task, stream):
            stream.paused = False
            out = self.core.effects.out[worker.peer]
            out.append(m.Consumed(task.id, stream.consumed, stream.closed))

    # --- the end -----------------------------------------------------------------------------

    def fell_short(self, task: Task) -> bool:
        """Fail a task that returned after fewer items than an earlier attempt delivered."""
        stream = task.stream
        assert stream is not None
        if stream.seen >= stream.delivered:
            return False
        failure = self.core.failure(
            "replay_inconsistent",
            f"The generator {task.name} was run again after a failure, and yielded only "
            f"{stream.seen} item(s); {stream.delivered} had been delivered before. Generators that "
            "may be retried must yield the same items each time; or set max_retries=0.",
            task=task,
        )
        self.core.tasks.fail(task, failure, FAILED, "it yielded fewer items than before")
        return True

    def end(self, task: Task) -> None:
        """The task leaves the table; its last item may still be made in this step."""
        del self.table[task.id]
        assert task.stream is not None
        if not task.stream.again:
            self.ended.append(task)

    def flush(self) -> None:
        """Tell consumers of ends, if there are any; called after all items of the step were sent."""
        ended, self.ended = self.ended, []
        for task in ended:
            if task.client in self.core.clients:
                assert task.stream is not None
                out = self.core.effects.out[task.client]
                out.append(m.StreamEnd(task.id, task.stream.delivered))


def may_go_on(task: Task, stream: Stream) -> bool:
    """Whether the consumer has taken enough for one more item."""
    limit = task.spec.spec.backpressure
    return stream.closed or not limit or stream.seen - stream.consumed < limit
