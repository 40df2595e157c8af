"""The drivers of a :class:`fanlight.testing.simulation.SimulatedNode`.

They keep what real clients keep (values, descriptors of segments, segments given back) and follow
the protocol to the letter, but hold no Python values: a value is its size and the refs inside it.
A client that is *deaf* has messages on the way that it has not read; so tests make messages cross.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fanlight import ids
from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.ids import handle_oid
from fanlight.store.segments import SegmentReader
from fanlight.testing.builders import INLINE_LIMIT
from fanlight.testing.channels import Channels

if TYPE_CHECKING:
    from fanlight.testing.simulation import SimulatedNode
    from fanlight.testing.workers import SimulatedWorker


class StoreFull(Exception):
    """The node refused room for an object."""


class Gone(Exception):
    """The client ended before its question was answered."""


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
        self.looking: set[bytes] = set()  # objects whose memory it uses
        self.replies: dict[int, m.Reply] = {}
        self.received: dict[bytes, int] = {}  # items of each generator that has not ended
        self.unwanted: set[bytes] = set()  # generators among them that were dropped
        self.ended: dict[bytes, int] = {}  # generators that have ended: items that they had
        self.notices: list[str] = []
        self.outputs: list[m.Output] = []
        self.unread: dict[int, Callable[[m.Reply], None]] = {}  # answers that nobody waits for
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
            case m.Reply() if message.request in self.unread:
                self.unread.pop(message.request)(message)
            case m.Reply():
                self.replies[message.request] = message
            case m.GiveUp():
                self._give_up(message)
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
            case m.TellRefs():
                held = [oid for oid in message.oids if oid in self.values]
                self.send(
                    m.RefFacts([m.RefFact(oid, ["x"], "cell", "f.py", 3, 1.0) for oid in held])
                )
            case m.CancelRunning():
                self.channels.cancel(message.task)
            case m.CancelCalls():
                self.channels.cancel_calls(message.specs)
            case m.Reach() | m.Idle():
                self.channels.handle(message)
            case _:
                raise AssertionError(f"a driver got {message}")

    def _arrived(self, value: m.Value) -> None:
        task = ids.task_of(value.oid)
        new = value.oid not in self.values
        if new and ids.index_of(value.oid) > self.received.get(task, 1 << 32):
            self.received[task] += 1
            assert self.received[task] == ids.index_of(value.oid), "items out of order"
            self.new(value.oid, None)
            if task in self.unwanted:
                if value.kind == m.STORED:
                    self.reader.got(value.data.decode())
                self.values[value.oid] = value
                self.drop(value.oid)
                return
        self.channels.from_node(value.oid, value.oid in self.values)
        known = self.values.get(value.oid)
        wanted = value.oid in self.values and (known is None or known.kind == m.AWAY)
        if value.kind == m.STORED:
            self.reader.got(value.data.decode())
            if not wanted:
                self.reader.done(value.data.decode())
        if wanted:
            self.values[value.oid] = value

    def _release(self, values: Iterable[m.Value]) -> None:
        for value in values:
            if value.kind == m.STORED:
                self.reader.done(value.data.decode())

    def _return_segments(self) -> None:
        names = list(self.reader.returned)
        self.reader.returned.clear()
        if names:
            self.send(m.Unmapped(names))

    def ask(self, message: Any) -> m.Reply:
        """Send a request and read until its answer."""
        self.send(message)
        self.node.flush()
        hurried = 0
        while message.request not in self.replies:
            if self.peer not in self.node.clients:
                raise Gone
            if self.inbox:
                self.handle(self.inbox.popleft())
            else:
                hurried += 1
                assert hurried < 500, f"never answered: {message}"
                self.node.disk.hurry()
        if self.peer not in self.node.clients:
            raise Gone
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
            disk = self.reserve(size)
            self._made += 1
            name = f"{'@' * disk}{self.peer}-{self._made}"
            if self.peer in self.node.clients:  # else it was killed while it waited for room
                self.node.files.add(name)
        self.reader.got(name)
        return m.Value(oid, m.STORED, name.encode(), size, inside)

    def reserve(self, size: int) -> bool:
        """Ask for room; True for disk. Raises StoreFull."""
        self._requests += 1
        try:
            reply = self.ask(m.Reserve(self._requests, size))
        except Gone:
            raise StoreFull("it was killed while it waited") from None
        if reply.error:
            raise StoreFull(reply.error)
        on_disk = bool(msgspec.msgpack.decode(reply.data))
        if on_disk and self.node.disk.full:
            raise StoreFull("the disk is full")
        return on_disk

    def want_room(self, size: int) -> int:
        """Ask for room, and do not wait: it is given back when it comes. Returns the request."""

        def answered(reply: m.Reply) -> None:
            if not reply.error and not msgspec.msgpack.decode(reply.data):
                self._requests += 1
                self.unread[self._requests] = lambda reply: None
                self.send(m.Reserve(self._requests, -size))

        self._requests += 1
        self.unread[self._requests] = answered
        self.send(m.Reserve(request := self._requests, size))
        return request

    def withdraw(self, request: int) -> None:
        """What was asked for is not wanted any more."""
        self.send(m.Withdraw(request))

    def fetch(self, oid: bytes) -> int:
        """Ask for the bytes of a value that is away, and do not wait. Returns the request."""

        def answered(reply: m.Reply) -> None:
            if reply.error:
                return
            value = msgspec.msgpack.decode(reply.data, type=m.Value)
            assert value.kind != m.AWAY and value.oid == oid
            if value.kind != m.LOST:
                self._arrived(value)
            elif oid in self.values and (known := self.values[oid]) and known.kind == m.AWAY:
                self.values[oid] = None
                self.send(m.LostObject(oid, "", "it is made again"))
            self._return_segments()

        self._requests += 1
        self.unread[self._requests] = answered
        self.send(m.Fetch(request := self._requests, oid))
        return request

    def look(self, oid: bytes) -> m.Value:
        """The bytes of an object, brought back if they are away; to be released."""
        self._requests += 1
        reply = self.ask(m.Fetch(self._requests, oid))
        value = msgspec.msgpack.decode(reply.data, type=m.Value)
        assert value.kind != m.AWAY
        if value.kind == m.STORED:
            assert value.data.decode() in self.node.files, "bytes that are nowhere"
            self.reader.got(value.data.decode())
        return value

    def _give_up(self, message: m.GiveUp) -> None:
        for oid, name in zip(message.oids, message.segments, strict=True):
            value = self.values.get(oid)
            if value is None or value.kind != m.STORED or value.data.decode() != name:
                continue
            if oid not in self.looking and self.reader.give_up(name):
                self.values[oid] = m.Value(oid, m.AWAY, b"", value.size)
        self._return_segments()
        self.send(m.GaveUp(message.number))

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

    def unreadable(self, oid: bytes, saw: str) -> None:
        """It cannot read a value that it has, and asks for a new one."""
        value = self.values[oid]
        assert value is not None and value.kind == m.STORED
        name = value.data.decode()
        self.values[oid] = None
        self.reader.done(name)
        self.send(m.LostObject(oid, name, saw))
        self._return_segments()

    def drop(self, *oids: bytes) -> None:
        """Let go of refs and handles."""
        for oid in oids:
            self.looking.discard(oid)
            value = self.values.pop(oid)
            if value is not None and value.kind == m.STORED:
                self.reader.done(value.data.decode())
        told = self.channels.dropped(oids)
        if told:
            self.send(m.DropRefs(told))
        self._return_segments()
