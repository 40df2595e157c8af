"""The drivers and workers of a :class:`fanlight.testing.simulation.SimulatedNode`.

They keep what real clients keep (values, descriptors of segments, segments given back) and follow
the protocol to the letter, but hold no Python values: a value is its size and the refs inside it.
A client that is *deaf* has messages on the way that it has not read; so tests make messages cross.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fanlight import ids
from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.ids import handle_oid
from fanlight.store.segments import SegmentReader
from fanlight.testing.channels import Callers, Channels

if TYPE_CHECKING:
    from fanlight.testing.simulation import SimulatedNode

INLINE_LIMIT = 100  # bytes: larger values go to segments


class StoreFull(Exception):
    """The node refused room for an object."""


class SimulatedClient:
    """A driver; the base of workers."""

    def __init__(self, node: SimulatedNode, peer: int) -> None:
        self.node = node
        self.peer = peer
        self.id = b"client".ljust(12, b"\0") + peer.to_bytes(4, "big")
        self.next_task_id = ids.task_id_factory(self.id)
        self.values: dict[bytes, m.Value | None] = {}  # of the refs it holds; None while pending
        self.reader = SegmentReader(Path("/nowhere"))  # counts descriptors; maps nothing
        self.free: dict[str, int] = {}  # its segments that were given back
        self.inbox: deque[Any] = deque()
        self.channels = Channels(self)
        self.channel_inbox: deque[Any] = deque()
        self.deaf = False
        self.replies: dict[int, m.Reply] = {}
        self.received: dict[bytes, int] = {}  # items of each generator that has not ended
        self.unwanted: set[bytes] = set()  # generators among them that were dropped
        self.ended: dict[bytes, int] = {}  # generators that have ended: items that they had
        self.notices: list[str] = []
        self.outputs: list[m.Output] = []
        self._specs: dict[bytes, int] = {}
        self._forgotten = 0
        self._environments: set[str] = set()
        self._requests = 0
        self._made = 0
        self._actors = 0
        self._groups = 0

    # --- messages ----------------------------------------------------------------------------

    def send(self, *messages: Any) -> None:
        if self.peer in self.node.clients:  # else it was killed meanwhile: nobody reads it
            self.node.post([(self.peer, x) for x in messages])

    def receive(self, messages: Iterable[Any]) -> None:
        self.inbox.extend(messages)
        if not self.deaf:
            self._read()

    def listen(self) -> None:
        """Read what is on the way, and all that follows as it comes."""
        self.deaf = False
        if len(self.node.journal) % 2:  # between the node and a channel there is no order
            self._read()
        self.read_channels()
        self._read()

    def hear(self, worker: SimulatedWorker, message: m.Answers | None) -> None:
        """Something comes on the channel to an actor's process; None if the process ended."""
        self.channel_inbox.append((worker, message))
        if not self.deaf:
            self.read_channels()

    def read_channels(self) -> None:
        while self.channel_inbox and self.peer in self.node.clients:
            self.from_channel(*self.channel_inbox.popleft())

    def from_channel(self, *message: Any) -> None:
        worker, answers = message
        if answers is None:
            self.channels.lost(worker)
            return
        for line in [x for x in self.channels.lines.values() if x.process is worker]:
            self.channels.answered(line, answers)

    def _read(self) -> None:
        while self.inbox and self.peer in self.node.clients:
            self.handle(self.inbox.popleft())

    def handle(self, message: Any) -> None:
        match message:
            case m.Objects():
                for value in message.values:
                    self._arrived(value)
                self._return_segments()
            case m.StreamEnd():
                received = self.received.pop(message.task)
                assert received == message.count or message.task in self.unwanted
                assert message.count >= received
                self.unwanted.discard(message.task)
                self.ended[message.task] = message.count
            case m.Reply():
                self.replies[message.request] = message
            case m.Recycle():
                for name in message.segments:
                    self.free[name] = self.node.core.objects.segments[name].size
            case m.Discard():
                dropped = [n for n in message.segments if self.free.pop(n, None) is not None]
                if dropped:
                    self.send(m.Unmapped(dropped))
            case m.Notice():
                self.notices.append(message.text)
            case m.Output():
                self.outputs.append(message)
            case m.CancelRunning():
                self.channels.cancel(message.task)
            case m.Reach() | m.Idle():
                self.channels.handle(message)
            case _:
                raise AssertionError(f"a driver got {message}")

    def _arrived(self, value: m.Value) -> None:
        task = ids.task_of(value.oid)
        if task in self.received and ids.index_of(value.oid):
            self.received[task] += 1
            assert self.received[task] == ids.index_of(value.oid), "items out of order, or twice"
            self.new(value.oid, None)
            if task in self.unwanted:
                if value.kind == m.STORED:
                    self.reader.got(value.data.decode())
                self.values[value.oid] = value
                self.drop(value.oid)
                return
        self.channels.from_node(value.oid, value.oid in self.values)
        wanted = value.oid in self.values and self.values[value.oid] is None
        if value.kind == m.STORED:
            self.reader.got(value.data.decode())
            if not wanted:
                self.reader.done(value.data.decode())
        if wanted:
            self.values[value.oid] = value

    def _return_segments(self) -> None:
        names = list(self.reader.returned)
        self.reader.returned.clear()
        if names:
            self.send(m.Unmapped(names))

    def ask(self, message: Any) -> m.Reply:
        """Send a request and read until its answer."""
        self.send(message)
        while message.request not in self.replies:
            self.handle(self.inbox.popleft())
        return self.replies.pop(message.request)

    def query(self, what: str, **args: Any) -> Any:
        """The answer of the node. Raises LookupError."""
        self._requests += 1
        reply = self.ask(m.Query(self._requests, what, args))
        if reply.error:
            raise LookupError(reply.error)
        return msgspec.msgpack.decode(reply.data)

    def disconnect(self) -> None:
        if self.node.clients.pop(self.peer, None) is not None:
            self.channels.leave()
            self.node.post([(self.peer, fx.Disconnected())])

    # --- work --------------------------------------------------------------------------------

    def spec(self, spec: m.TaskSpec) -> int:
        key = msgspec.msgpack.encode(spec)
        number = self._specs.get(key)
        if number is None:
            number = self._specs[key] = len(self._specs) + self._forgotten + 1
            if spec.env:
                self.environment(spec.env)
            if spec.function:
                self.send(m.DefineFunction(spec.function, b"code"), m.DefineSpec(number, spec))
            else:
                self.send(m.DefineSpec(number, spec))
        return number

    def environment(self, key: str, *, eager: bool = False, timeout: float = 60.0) -> None:
        """Define a runtime environment. One whose key begins with "pip" needs preparation."""
        if key not in self._environments:
            self._environments.add(key)
            prepare = key.startswith("pip")
            self.send(m.DefineEnvironment(key, b"{}", key, prepare, eager, timeout))

    def forget_specs(self) -> None:
        """It will use nothing any more of what it has defined so far; it may define it again."""
        kept = {k: n for k, n in self._specs.items() if n in self.channels.uses()}
        numbers = [n for key, n in self._specs.items() if key not in kept]
        specs = [msgspec.msgpack.decode(key, type=m.TaskSpec) for key in self._specs]
        self._specs = kept
        self._forgotten += len(numbers)
        functions = {spec.function for spec in specs if spec.function}
        self.send(m.Forget(numbers, sorted(functions)))

    def new(self, oid: bytes, value: m.Value | None) -> None:
        self.values[oid] = value
        self.node.born.setdefault(oid, len(self.node.born))

    @property
    def current(self) -> bytes:
        """The task inside which this client submits."""
        return b""

    def submit(
        self,
        spec: m.TaskSpec,
        deps: Sequence[bytes] = (),
        pins: Sequence[bytes] = (),
        actor: bytes = b"",
    ) -> list[bytes]:
        """Call a function, or a method of ``actor``; returns the ids of its results."""
        if actor and self.node.core.config.channels:
            return self.channels.call(spec, deps, pins, actor)
        return self.submit_task(spec, deps, pins, actor)

    def submit_task(
        self,
        spec: m.TaskSpec,
        deps: Sequence[bytes],
        pins: Sequence[bytes],
        actor: bytes,
        after: int = 0,
        incarnation: int = 0,
    ) -> list[bytes]:
        """The same by the node, in any case."""
        self.channels.publish([*deps, *pins])
        number = self.spec(spec)
        task = self.next_task_id()
        if spec.num_returns == m.STREAMING:
            self.received[task] = 0
        count = spec.num_returns if spec.num_returns >= 0 else 1
        refs = [ids.object_id(task, i) for i in range(count)]
        for ref in refs:
            self.new(ref, None)
        message = m.Submit(task, number, b"", [*deps], [*pins], self.current, actor)
        message.after, message.incarnation = after, incarnation
        self.send(message)
        return refs

    def create_actor(
        self,
        spec: m.TaskSpec,
        deps: Sequence[bytes] = (),
        pins: Sequence[bytes] = (),
        **options: Any,
    ) -> bytes:
        """Make an actor; returns its id. ``options`` are fields of CreateActor.

        Raises LookupError if its name is taken.
        """
        self.channels.publish([*deps, *pins])
        number = self.spec(spec)
        task = self.next_task_id()
        self._actors += 1
        actor = b"actor".ljust(8, b"\0") + self.peer.to_bytes(4, "big")
        actor += self._actors.to_bytes(4, "big")
        message = m.CreateActor(actor, task, number, b"", [*deps], [*pins], self.current, **options)
        if not message.name:
            self.new(handle_oid(actor), None)
            self.send(message)
            return actor
        self._requests += 1
        message.request = self._requests
        reply = self.ask(message)
        if reply.error:
            raise LookupError(reply.error)
        found: bytes = msgspec.msgpack.decode(reply.data)["actor"]
        if handle_oid(found) not in self.values:
            self.new(handle_oid(found), None)
        return found

    def consume(self, task: bytes, count: int) -> None:
        """Tell how many items of a generator were taken."""
        self.send(m.Consumed(task, count))

    def close_stream(self, task: bytes) -> None:
        """Drop a generator, and those of its items that nobody took out of it."""
        if task in self.received:
            self.unwanted.add(task)
        self.send(m.Consumed(task, 0, True))

    def cancel(self, ref: bytes, force: bool = False, recursive: bool = True) -> None:
        if not self.channels.cancel(ids.task_of(ref)):
            self.send(m.Cancel(ids.task_of(ref), force, recursive))

    # --- placement groups --------------------------------------------------------------------

    def create_group(
        self, *bundles: dict[str, int], strategy: str = "PACK", **options: Any
    ) -> bytes:
        """Make a placement group; returns its id. ``options`` are fields of CreateGroup.

        Raises LookupError if its name is taken.
        """
        self._groups += 1
        group = b"group".ljust(8, b"\0") + self.peer.to_bytes(4, "big")
        group += self._groups.to_bytes(4, "big")
        message = m.CreateGroup(group, [*bundles], strategy, **options)
        if not message.name:
            self.send(message)
            return group
        self._requests += 1
        message.request = self._requests
        reply = self.ask(message)
        if reply.error:
            raise LookupError(reply.error)
        return group

    def remove_group(self, group: bytes) -> None:
        self.send(m.RemoveGroup(group))

    def group_ready(self, group: bytes) -> bytes:
        """A ref that has a value as soon as the group is reserved."""
        oid = ids.object_id(self.next_task_id(), 0)
        self.new(oid, None)
        self.send(m.GroupReady(group, oid, b"group"))
        return oid

    # --- objects -----------------------------------------------------------------------------

    def value(self, oid: bytes, size: int, contained: Sequence[bytes] = ()) -> m.Value:
        """A value as it travels; a large one is written to a segment. Raises StoreFull."""
        self.channels.publish(contained)
        inside = list(contained) or None
        if size <= INLINE_LIMIT:
            return m.Value(oid, m.INLINE, bytes(size), size, inside)
        fitting = [n for n, s in self.free.items() if size <= s <= size * 1.25]
        if fitting:
            name = fitting[0]
            del self.free[name]
        else:
            self.reserve(size)
            self._made += 1
            name = f"{self.peer}-{self._made}"
            if self.peer in self.node.clients:  # else it was killed while it waited for room
                self.node.files.add(name)
        self.reader.got(name)
        return m.Value(oid, m.STORED, name.encode(), size, inside)

    def reserve(self, size: int) -> None:
        for _ in range(2):
            self._requests += 1
            reply = self.ask(m.Reserve(self._requests, size))
            if not reply.error:
                return
            self._read()  # what the node wants back; then ask again
        raise StoreFull(reply.error)

    def put(self, size: int, contained: Sequence[bytes] = ()) -> bytes:
        oid = ids.object_id(self.next_task_id(), 0)
        value = self.value(oid, size, contained)
        self.new(oid, value)
        self.send(m.Put(value))
        return oid

    def adopt(self, oid: bytes) -> None:
        """Take a ref (or a handle) out of a value."""
        self.channels.found(oid)
        if oid not in self.values:
            self.values[oid] = None
            if not self.channels.keeps(oid):
                self.send(m.AddRefs([oid]))

    def subscribe(self, *oids: bytes) -> None:
        self.send(m.Subscribe([*oids]))

    def drop(self, *oids: bytes) -> None:
        """Let go of refs and handles."""
        for oid in oids:
            value = self.values.pop(oid)
            if value is not None and value.kind == m.STORED:
                self.reader.done(value.data.decode())
        told = self.channels.dropped(oids)
        if told:
            self.send(m.DropRefs(told))
        self._return_segments()


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
                    assert value.kind in (m.INLINE, m.STORED), "an argument without a value"
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
            self.running[execute.task] = execute
            self.begun = execute.task
        if self.exiting and not self.running:
            self.callers.report()
            self.crash("exit code 0")

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

    def _release(self, values: Iterable[m.Value]) -> None:
        for value in values:
            if value.kind == m.STORED:
                self.reader.done(value.data.decode())

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
            self.node.post([(0, fx.WorkerExited(self.number, how, log, begun))])
