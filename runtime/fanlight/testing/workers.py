"""The workers of a :class:`fanlight.testing.simulation.SimulatedNode`: processes that run a task when
the test says so. Each is a client too, see :mod:`fanlight.testing.clients`.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fanlight import ids
from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.testing.channels import Callers
from fanlight.testing.clients import Gone, SimulatedClient, StoreFull

if TYPE_CHECKING:
    from fanlight.testing.simulation import SimulatedNode


class SimulatedWorker(SimulatedClient):
    """A worker process: it runs what it is given when the test says so."""

    def __init__(self, node: SimulatedNode, peer: int, number: int) -> None:
        super().__init__(node, peer)
        self.number = number
        self.callers = Callers(self)
        self.env = ""
        self.broken = False  # it has not entered its environment, and must run nothing
        self.functions: set[bytes] = set()
        self.specs: dict[int, m.TaskSpec] = {}
        self.queue: deque[m.Execute] = deque()  # not started
        self.running: dict[bytes, m.Execute] = {}
        self.cancelled: set[bytes] = set()
        self.produced: dict[bytes, int] = {}  # items of running generators
        self.paused: set[bytes] = set()  # generators that wait for their consumer
        self.concurrency = 1
        self.actor = b""
        self.blocked = False
        self.exiting = ""
        self.draining = False  # what came on channels is run yet
        self.begun = b""  # the task that began last
        self.watched = True  # whether anybody knows, when it is dead

    def handle(self, message: Any) -> None:
        match message:
            case m.DefineEnvironment():
                assert not self.functions and not self.env, "an environment after work"
                self.env = message.key
                self.broken = message.key in self.node.broken | self.node.entering
                if message.key not in self.node.entering:
                    self.send(m.EnvironmentEntered("no such module" if self.broken else ""))
            case m.DefineFunction():
                assert message.key not in self.functions, "a function was sent twice"
                self.functions.add(message.key)
            case m.DefineSpec():
                assert message.number not in self.specs, "a spec was sent twice"
                assert not message.spec.function or message.spec.function in self.functions
                self.specs[message.number] = message.spec
            case m.Forget():
                using = {e.spec for e in [*self.queue, *self.running.values()]}
                assert not using & set(message.specs), "it forgets what it was given"
                for number in message.specs:
                    del self.specs[number]
                self.functions.difference_update(message.functions)
            case m.Execute():
                assert message.spec in self.specs, "a task of an unknown spec"
                assert self.actor or self.specs[message.spec].env == self.env, "not its environment"
                for value in message.deps:
                    known = value.kind in (m.INLINE, m.STORED, m.AWAY)
                    assert known or self.node.deleted or self.node.disk.lost, "no value"
                    if value.kind == m.STORED:
                        self.reader.got(value.data.decode())
                if not self.callers.open or self.callers.in_order(message):
                    self.queue.append(message)
                self.start()
            case m.Consumed():
                self.paused.discard(message.task)
            case m.CancelRunning():
                if not self.channels.cancel(message.task):
                    self.cancelled.add(message.task)
            case m.Listen():
                self.callers.listen()
            case m.Reclaim():
                taken = self.take_unstarted()
                if taken:
                    self.send(m.Returned(taken))
            case m.Exit():
                self.draining = not self.exiting
                self.exiting = self.exiting or message.reason or "told to end"
                self.start()
            case _:
                super().handle(message)

    def start(self) -> None:
        """Begin what may begin; end if told to and nothing runs."""
        if self.draining:
            self.queue = deque(x for x in self.queue if x.task in self.callers.direct)
        free = (self.draining or not self.exiting) and not self.broken
        while free and self.queue and len(self.running) < self.concurrency:
            execute = self.queue.popleft()
            if self._lost_arguments(execute):
                continue
            self.running[execute.task] = execute
            self.begun = execute.task
            self.node.began(self, execute)
        if self.exiting and not self.running:
            self.callers.report()
            self.crash("exit code 0")

    def _lost_arguments(self, execute: m.Execute) -> bool:
        """Give back what cannot begin, since segments of its arguments are gone."""
        lost = [
            v for v in execute.deps if v.kind == m.STORED and v.data.decode() in self.node.deleted
        ]
        gone = any(v.kind == m.LOST for v in execute.deps)
        if not (lost or gone) or self.specs[execute.spec].kind == m.ACTOR_CALL:
            return False
        self._release(execute.deps)
        reports = [m.LostObject(v.oid, v.data.decode(), "it was deleted", False) for v in lost]
        self.send(*reports, m.Returned([execute.task]))
        self._return_segments()
        return True

    def _give_back(self, execute: m.Execute) -> None:
        """A task whose argument is made again had not begun."""
        if self.running.pop(execute.task, None) is not None and self.peer in self.node.clients:
            self.cancelled.discard(execute.task)
            self._release(execute.deps)
            self.send(m.Returned([execute.task]))
            self._return_segments()
            self.start()

    def from_channel(self, *message: Any) -> None:
        if isinstance(message[0], str):
            self.callers.handle(message)
        else:
            super().from_channel(*message)

    def disconnect(self) -> None:
        self.callers.ended()
        super().disconnect()

    @property
    def current(self) -> bytes:
        return next(iter(self.running), b"")

    def take_unstarted(self) -> list[bytes]:
        """Empty the queue; the caller sends Returned (or Blocked) with the tasks."""
        taken = list(self.queue)
        self.queue.clear()
        for execute in taken:
            self._release(execute.deps)
        return [execute.task for execute in taken]

    # --- what the test makes it do -----------------------------------------------------------

    def yields(
        self,
        *sizes: int,
        task: bytes = b"",
        contained: Sequence[bytes] = (),
        paused: bool = False,
    ) -> None:
        """A running generator yields items of these sizes; ``contained`` refs are in the first."""
        execute = self.running[task or self.current]
        values: list[m.Value] = []
        for size in sizes:
            index = self.produced.get(execute.task, 0) + 1
            oid = ids.object_id(execute.task, index)
            try:
                values.append(self.value(oid, size, () if values else contained))
            except StoreFull:
                break
            self.produced[execute.task] = index
        if paused:
            self.paused.add(execute.task)
        self.send(m.Yield(execute.task, values, paused))
        self._release(values)
        self._return_segments()

    def finish(
        self,
        task: bytes = b"",
        *,
        sizes: Sequence[int] = (),
        contained: Sequence[bytes] = (),
        error: str = "",
        retriable: bool = False,
        duration: float = 1.0,
        kept: int = 0,
    ) -> None:
        """Report the end of a running task (the first one, unless named).

        ``sizes`` of the results (8 bytes where missing); ``contained`` refs are in the first one.
        ``kept`` results have a value though the task failed.
        """
        execute = self.running[task or self.current]
        spec = self.specs[execute.spec]
        for value in execute.deps:
            if value.kind >= m.ERROR:  # lost after the task was ready
                error = error or "ObjectLostError"
            elif value.kind == m.AWAY and self.peer in self.node.clients:
                try:
                    looked = self.look(value.oid)
                except Gone:  # it was killed while it waited
                    return
                self._release([looked])
                if looked.kind == m.LOST and spec.kind == m.TASK:
                    self._give_back(execute)
                    return
                if looked.kind not in (m.INLINE, m.STORED):
                    error = error or "ObjectLostError"
        if not error and execute.task in self.cancelled:
            error = "TaskCancelledError"
        values: list[m.Value] = []
        if not error:
            try:
                for i in range(spec.num_returns if spec.num_returns >= 0 else 1):
                    size = sizes[i] if i < len(sizes) else 8
                    oid = ids.object_id(execute.task, i)
                    values.append(self.value(oid, size, contained if i == 0 else ()))
            except StoreFull as e:
                self._abandon(values)
                error = str(e)
        if error:
            oid = ids.object_id(execute.task, 0)
            self.channels.publish(contained)
            values = [m.Value(oid, m.ERROR, b"error", 5, [*contained] or None)]
            if spec.num_returns == m.STREAMING:
                values.append(m.Value(oid, m.INLINE, b"none", 4))
            for i in range(min(kept, spec.num_returns)):
                size = sizes[i] if i < len(sizes) else 8
                with contextlib.suppress(StoreFull):
                    values.append(self.value(ids.object_id(execute.task, i), size))
        if execute.task not in self.running or self.peer not in self.node.clients:
            return  # it was killed while it waited for room
        del self.running[execute.task]
        self.produced.pop(execute.task, None)
        self.paused.discard(execute.task)
        self.cancelled.discard(execute.task)
        if spec.kind == m.ACTOR_CREATE:
            self.actor = execute.actor
            self.concurrency = spec.max_concurrency + sum(spec.groups.values())
            if error:
                self.exiting = "its constructor failed"
        retriable = retriable and spec.retry_exceptions and bool(error)
        trace = f"Traceback\n{error}" if error else ""
        if execute.task in self.callers.direct:
            self.callers.answer(execute, not error, values[:1] if error else values, error)
        else:
            self.send(m.Done(execute.task, not error, values, duration, error, trace, retriable))
        self._release(execute.deps)
        self._release(values)
        self._return_segments()
        if self.peer in self.node.clients:
            self.start()

    def _abandon(self, values: Sequence[m.Value]) -> None:
        """Stored results of a task that failed later: announce and drop them, under other ids."""
        for value in values:
            if value.kind == m.STORED:
                oid = ids.object_id(self.next_task_id(), 0)
                self.send(m.Put(m.Value(oid, m.STORED, value.data, value.size)))
                self.send(m.DropRefs([oid]))
        self._release(values)
        self._return_segments()

    def block(self) -> None:
        """The running task waits in get."""
        if not self.actor:
            self.blocked = True
            self.send(m.Blocked(self.current, self.take_unstarted()))

    def unblock(self) -> None:
        self.blocked = False
        self.send(m.Unblocked(self.current))

    def exit_actor(self) -> None:
        """The running method leaves with exit_actor()."""
        task = self.current
        self.exiting = "exit_actor() is called."
        self.send(m.ActorExit(self.actor, self.exiting))
        if task not in self.callers.direct:
            self.send(m.Done(task, False, [], 1.0, "exit"))
        self.running.clear()
        self.start()

    def crash(self, how: str = "exit code 1", log: str = "Segmentation fault") -> None:
        """Its process ends, whatever it was doing."""
        self.disconnect()
        self.exited(how, log)

    def exited(self, how: str = "exit code 1", log: str = "") -> None:
        """The second half of ``crash``, after ``disconnect``."""
        if self.node.workers.pop(self.number, None) is not None:
            self.node.dying.pop(self.number, None)
            begun = self.begun if self.watched else None
            exited = fx.WorkerExited(self.number, how, log, begun, self.node.low)
            self.node.post([(0, exited)])
