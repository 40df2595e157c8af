"""Channels of simulated clients: what :mod:`fanlight.client.channels` and
:mod:`fanlight.worker.channels` do, without sockets and values.

A message on a channel arrives at once, unless its receiver is deaf. Used where the core's
configuration allows channels (``SimulatedNode(channels=True)``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fanlight import ids
from fanlight import messages as m
from fanlight.ids import ACTOR_SUFFIX, handle_oid

if TYPE_CHECKING:
    from fanlight.testing.clients import SimulatedClient
    from fanlight.testing.workers import SimulatedWorker


class Line:
    """What a client has sent to one actor, and on which way."""

    def __init__(self, actor: bytes) -> None:
        self.actor = actor
        self.via_node = 0
        self.idle_at = -1
        self.asked = False
        self.process: SimulatedWorker | None = None  # at the other end of the channel
        self.incarnation = 0
        self.sent = self.answered = 0
        self.drop = False  # the last handle is gone, and calls are not answered


class Channels:
    """All lines of one client."""

    def __init__(self, client: SimulatedClient) -> None:
        self.client = client
        self.lines: dict[bytes, Line] = {}
        self.inflight: dict[bytes, tuple[Line, int, int]] = {}  # line, spec, number of results
        self._next_id = ids.own_task_id_factory(client.id)
        self._published: set[bytes] = set()  # own results that the node knows
        self._promised: set[bytes] = set()  # and waits for
        self._unwanted: set[bytes] = set()  # that the node will send, though nobody wants them
        self._early: dict[bytes, bool] = {}  # that it sent before the answer; whether wanted

    def _own(self, oid: bytes) -> bool:
        return oid.startswith(self.client.id + ids.OWN)

    # --- calling -----------------------------------------------------------------------------

    def call(
        self, spec: m.TaskSpec, deps: Sequence[bytes], pins: Sequence[bytes], actor: bytes
    ) -> list[bytes]:
        line = self.lines.setdefault(actor, Line(actor))
        once = not spec.max_retries and spec.num_returns >= 0
        straight = line.process is not None and line.idle_at == line.via_node
        if straight and once and not deps and not pins:
            return self._call_direct(line, spec)
        after = line.sent if line.sent != line.answered else 0
        line.via_node += 1
        if not line.asked and line.via_node > 1:
            line.asked = True
            self.client.send(m.Connect(actor, line.via_node - 1))
        return self.client.submit_task(spec, deps, pins, actor, after, line.incarnation)

    def _call_direct(self, line: Line, spec: m.TaskSpec) -> list[bytes]:
        number, task = self.client.spec(spec), self._next_id()
        refs = [ids.object_id(task, i) for i in range(spec.num_returns)]
        for ref in refs:
            self.client.new(ref, None)
        self.inflight[task] = (line, number, spec.num_returns)
        line.sent += 1
        assert line.process is not None
        line.process.callers.hear(("call", self.client, task, number, spec))
        return refs

    def uses(self) -> set[int]:
        """Specs of calls that are not answered: not to be forgotten."""
        return {number for _, number, _ in self.inflight.values()}

    def cancel(self, task: bytes) -> bool:
        """Cancel a call that is under way on a channel; False if it is none."""
        call = self.inflight.get(task)
        if call is not None and call[0].process is not None:
            call[0].process.callers.hear(("cancel", task))
        return call is not None

    def cancel_calls(self, specs: Sequence[int]) -> None:
        for task in [t for t, (_, number, _) in self.inflight.items() if number in specs]:
            self.cancel(task)

    # --- opening and closing -----------------------------------------------------------------

    def handle(self, message: m.Reach | m.Idle) -> None:
        """What the node says of channels."""
        line = self.lines.get(message.actor)
        if line is None:
            return
        if isinstance(message, m.Idle):
            line.idle_at = message.accepted
            return
        if line.process is not None:
            return
        process = self.client.node.channel(message.path)
        if process is None:  # it has just ended: the node's way is open
            line.asked = False
            return
        line.incarnation = message.incarnation
        line.idle_at = message.accepted if message.idle else -1
        line.sent = line.answered = 0
        line.process = process
        process.callers.hear(("hello", self.client))

    def lost(self, process: SimulatedWorker) -> None:
        """An actor's process has ended: the node knows why."""
        for line in [x for x in self.lines.values() if x.process is process]:
            line.process, line.asked = None, False
            messages = []
            for task, (of, number, count) in list(self.inflight.items()):
                if of is not line:
                    continue
                del self.inflight[task]
                oids = [ids.object_id(task, i) for i in range(count)]
                for oid in oids:
                    self._early.pop(oid, None)
                    if oid in self.client.values:
                        self._published.add(oid)
                        self._promised.discard(oid)
                held = [o for o in oids if o in self._published or o in self._promised]
                self._promised.difference_update(oids)
                messages.append(m.LostCall(task, number, line.actor, line.incarnation, held))
            line.answered = line.sent
            self.client.send(*messages)
            self._settle(line)

    # --- results -----------------------------------------------------------------------------

    def answered(self, line: Line, x: m.Answers) -> None:
        """Results came on a channel."""
        client = self.client
        for value in x.values:
            if self.inflight.pop(ids.task_of(value.oid), None) is not None:
                line.answered += 1
            if value.oid in client.values:
                client.values[value.oid] = value
            if value.oid in self._promised:
                self._promised.discard(value.oid)
                client.send(m.Put(value))
        for task in x.ended:
            call = self.inflight.pop(task, None)
            if call is None:
                continue
            line.answered += 1
            for i in range(call[2]):
                oid = ids.object_id(task, i)
                self._promised.discard(oid)
                wanted = self._early.pop(oid, None)
                if wanted is None and oid in client.values:
                    self._published.add(oid)
                elif wanted is None:
                    self._unwanted.add(oid)
                elif not wanted:
                    client.send(m.DropRefs([oid]))
        self._settle(line)

    def from_node(self, oid: bytes, wanted: bool) -> None:
        """The node sent a value; if it is our own, it takes us for a holder."""
        if not self._own(oid):
            return
        if ids.task_of(oid) in self.inflight:
            self._early[oid] = wanted
            if wanted:
                self._published.add(oid)
        elif oid in self._unwanted:
            self._unwanted.discard(oid)
            self.client.send(m.DropRefs([oid]))

    def publish(self, oids: Iterable[bytes]) -> None:
        """Refs are about to leave this client: of its own results the node must know them."""
        for oid in oids:
            if self._own(oid) and oid not in self._published:
                self._published.add(oid)
                value = self.client.values[oid]
                if value is None:
                    self._promised.add(oid)
                self.client.send(m.Declare([oid]) if value is None else m.Put(value))

    def found(self, oid: bytes) -> None:
        if self._own(oid):
            self._published.add(oid)

    # --- drops -------------------------------------------------------------------------------

    def dropped(self, oids: Iterable[bytes]) -> list[bytes]:
        """The last refs here are gone; returns those that the node is to hear of now."""
        told = []
        for oid in oids:
            if self._own(oid):
                if oid not in self._published:
                    continue
                self._published.discard(oid)
            line = self.lines.get(oid[: ids.ACTOR_LEN]) if oid.endswith(ACTOR_SUFFIX) else None
            if line is not None and line.sent != line.answered:
                line.drop = True
                continue
            if line is not None:
                self._forget(line)
            told.append(oid)
        return told

    def keeps(self, oid: bytes) -> bool:
        """Whether a handle that comes back had not been dropped yet."""
        line = self.lines.get(oid[: ids.ACTOR_LEN]) if oid.endswith(ACTOR_SUFFIX) else None
        kept = line is not None and line.drop
        if line is not None:
            line.drop = False
        return kept

    def _settle(self, line: Line) -> None:
        if line.drop and line.sent == line.answered:
            self._forget(line)
            self.client.send(m.DropRefs([handle_oid(line.actor)]))

    def _forget(self, line: Line) -> None:
        if line.process is not None:
            line.process.callers.hear(("left", self.client))
        del self.lines[line.actor]

    def leave(self) -> None:
        """The client is gone."""
        for line in self.lines.values():
            if line.process is not None:
                line.process.callers.hear(("left", self.client))


class Callers:
    """The end of channels in a worker's process."""

    def __init__(self, worker: SimulatedWorker) -> None:
        self.worker = worker
        self.open = False
        self.known: dict[bytes, SimulatedClient] = {}
        self.direct: dict[bytes, tuple[SimulatedClient, int]] = {}  # calls that are not over
        self._gone: set[bytes] = set()
        self._received: dict[bytes, int] = {}
        self._behind: dict[bytes, list[m.Execute]] = {}
        self._records: list[m.CallRecord] = []
        self._sums: list[m.CallSum] = []

    def listen(self) -> None:
        self.open = True
        self.worker.send(m.Listening(str(self.worker.number)))

    def hear(self, message: tuple[Any, ...]) -> None:
        """Something comes on a channel."""
        self.worker.channel_inbox.append(message)
        if not self.worker.deaf:
            self.worker.read_channels()

    def handle(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("hello", client):
                self.known[client.id] = client
                self._gone.discard(client.id)
                self._received[client.id] = 0
            case ("call", client, task, number, spec):
                self._called(client, task, number, spec)
            case ("cancel", task):
                self.worker.cancelled.add(task)
            case ("left", client):
                if self.known.pop(client.id, None) is not None:
                    self._gone.add(client.id)
                    self.worker.queue.extend(self._behind.pop(client.id, ()))
                    self.worker.start()

    def _called(self, client: SimulatedClient, task: bytes, number: int, spec: m.TaskSpec) -> None:
        key = -(client.peer * 10_000 + number)  # beside the node's numbers
        self.worker.specs[key] = spec
        self.direct[task] = (client, number)
        self.worker.queue.append(m.Execute(task, key, b"", []))
        self._received[client.id] += 1
        behind = self._behind.get(client.id, [])
        while behind and behind[0].after <= self._received[client.id]:
            self.worker.queue.append(behind.pop(0))
        if not behind:
            self._behind.pop(client.id, None)
        self.worker.start()

    def in_order(self, x: m.Execute) -> bool:
        """Whether a call that came by the node may stand in line; else it is kept behind."""
        client_id = x.task[: ids.CLIENT_LEN]
        if client_id in self._behind:
            self._behind[client_id].append(x)
            return False
        received = self._received.get(client_id, 0) if client_id in self.known else 0
        if x.after > received and client_id not in self._gone:
            self._behind[client_id] = [x]
            return False
        return True

    @property
    def behind(self) -> int:
        return sum(map(len, self._behind.values()))

    def answer(self, execute: m.Execute, ok: bool, values: list[m.Value], error: str) -> None:
        """A call that came on a channel is over."""
        client, number = self.direct.pop(execute.task)
        spec = self.worker.specs[execute.spec]
        if not ok:
            bad = values[0]
            oids = [ids.object_id(execute.task, i) for i in range(spec.num_returns)]
            values = [m.Value(o, bad.kind, bad.data, bad.size, bad.contained) for o in oids]
        if any(v.kind == m.STORED or v.contained for v in values):
            self.worker.send(m.Deliver(number, values))
            values = []
        state = 1 if ok else 3 if error == "TaskCancelledError" else 2
        if state == 1 and len(self._records) > 2:
            self._sums.append(m.CallSum(client.id, number, 1, 0.1))
        else:
            now = self.worker.node.now
            self._records.append(m.CallRecord(execute.task, number, b"", state, now, 0.1, error))
        if self.known.get(client.id) is client:
            client.hear(self.worker, m.Answers(values, [] if values else [execute.task]))

    def report(self, running: bool = False) -> bool:
        """Tell the node what was done, and what runs; False if there is nothing to tell."""
        records, self._records = self._records, []
        sums, self._sums = self._sums, []
        if running:
            for task in self.worker.running:
                if task in self.direct:
                    number, now = self.direct[task][1], self.worker.node.now
                    records.append(m.CallRecord(task, number, b"", 0, now))
        if records or sums:
            self.worker.send(m.Calls(records, sums))
        return bool(records or sums)

    def ended(self) -> None:
        """The process is gone: its callers notice."""
        self.open = False
        for message in self.worker.channel_inbox:
            if message[0] == "hello":  # not accepted yet, but its connection ends, too
                self.known[message[1].id] = message[1]
        for client in list(self.known.values()):
            client.hear(self.worker, None)
