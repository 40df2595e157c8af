"""A core with nothing around it but peers that send anything: processes start and die at once."""

from __future__ import annotations

import itertools
import typing
from typing import Any

from fanlight import ids
from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.core.machine import Core
from fanlight.testing.builders import make_core
from fanlight.wire import codec
from fanlight.wire.failures import WireError
from fanlight.wire.framing import HEADER
from tests.security.fuzzing import Maker

TYPES = tuple(t for t in typing.get_args(m.FromClient) if t is not m.Shutdown)
_NAMES = (
    "nodes", "resources", "job", "drivers", "get_actor", "describe_actor", "named_actors", "task",
    "group_tasks", "object", "store", "placement_group", "placement_groups", "counts",
    "tasks_of_origin", "state", "state_summary", "timeline", "graph", "prometheus", "why", "status",
    "memory",
)  # fmt: skip

_OF_WORKERS = (
    m.Done, m.Yield, m.Blocked, m.Unblocked, m.Returned, m.ActorExit, m.EnvironmentEntered, m.Metrics,
    m.Listening, m.Calls,
)  # fmt: skip


class Shell:
    """Call ``step`` again and again: each sends the core a few messages that decode."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.maker = Maker(seed)
        self.maker.words += _NAMES
        self.random = self.maker.random
        self.core: Core = make_core(2, 1, capacity=1 << 20, channels=True, **options)
        self.now = 1000.0
        self.roles: dict[int, str] = {}
        self.workers: dict[int, int] = {}  # peers by number
        self.peers = itertools.count(1).__next__
        self.sent = self.refused = self.dropped = 0
        self.observers_told = 0
        self.reasons: list[str] = []
        self.recent: list[Any] = []
        self.perform(self.core.start())
        self.connect("driver")

    def connect(self, role: str, number: int = 0) -> int:
        peer = self.peers()
        self.roles[peer] = role
        client = b"client".ljust(12, b"\0") + peer.to_bytes(4, "big")
        for i in range(4):
            for mark in (0, 0x40, 0x80):
                task = client + bytes([mark]) + i.to_bytes(7, "big")
                self.maker.known.setdefault(24, []).append(task)
                self.maker.known.setdefault(28, []).append(ids.object_id(task, i % 2))
        self.maker.known.setdefault(16, []).extend([client, peer.to_bytes(16, "big")])
        self.maker.known[28].append(ids.handle_oid(peer.to_bytes(16, "big")))
        for known in self.maker.known.values():
            del known[:-60]
        if number:
            self.workers[number] = peer
        self.handle([(peer, fx.Connected(role, client, peer, {}, number))])
        return peer

    def handle(self, stimuli: list[tuple[int, Any]]) -> None:
        self.recent = (self.recent + stimuli)[-40:]
        self.perform(self.core.handle(stimuli, self.now))

    def perform(self, effects: fx.Effects) -> None:
        after: list[tuple[int, Any]] = []
        for messages in effects.out.values():
            codec.encode(messages)  # what the core says can be sent
        for action in effects.actions:
            match action:
                case fx.SpawnWorker():
                    if self.random.random() < 0.9:
                        self.connect("worker", action.number)
                    else:
                        after.append((0, fx.WorkerExited(action.number, "exit code 1")))
                case fx.KillWorker() if not action.task:
                    after += self.end(action.number)
                case fx.DropClient():
                    self.dropped += 1
                    self.reasons.append(action.reason)
                    if self.roles.get(action.peer):
                        after += self.leave(action.peer)
                case fx.PrepareEnvironment():
                    answer = self.random.choice(("", "", "it failed"))
                    after.append((0, fx.EnvironmentPrepared(action.number, answer)))
                case _:
                    pass
        if after:
            self.handle(after)
        if "driver" not in self.roles.values():
            self.connect("driver")

    def leave(self, peer: int) -> list[tuple[int, Any]]:
        role = self.roles.pop(peer)
        if role == "worker":  # a process that loses its connection ends
            return self.end(next(n for n, p in self.workers.items() if p == peer), peer)
        return [(peer, fx.Disconnected())]

    def end(self, number: int, left: int = 0) -> list[tuple[int, Any]]:
        peer = self.workers.pop(number, 0)
        gone = [(peer, fx.Disconnected())] if self.roles.pop(peer, "") or left else []
        return [(0, fx.WorkerExited(number, "killed by SIGKILL", "log", b"")), *gone]

    def step(self) -> None:
        draw = self.random
        self.now += draw.choice((0.0, 0.0, 0.01, 1.0))
        self.learn()
        if draw.random() < 0.03:
            self.handle([(0, fx.Tick())])
        if draw.random() < 0.01:
            self.handle(self.leave(draw.choice(list(self.roles))))
        if draw.random() < 0.01 and len(self.roles) < 12:
            self.connect("driver")
        peer = draw.choice(list(self.roles))
        stimuli = []
        for _ in range(draw.choice((1, 1, 2, 5))):
            try:
                frame = codec.encode([self.message(peer)])[HEADER:]
                stimuli += [(peer, x) for x in codec.decode_from_client(frame)]
            except (WireError, OverflowError, ValueError):
                self.refused += 1
        self.sent += len(stimuli)
        if stimuli:
            self.handle(stimuli)

    def message(self, peer: int) -> Any:
        """Mostly of a kind that fits its sender and the state of things."""
        draw, make = self.random, self.maker
        x = make.message(TYPES)
        client = self.core.clients.get(peer)
        if client is None or draw.random() < 0.05:
            return x  # as it comes
        worker = client.worker
        if isinstance(x, m.Submit | m.CreateActor | m.LostCall) and draw.random() < 0.9:
            x.task = client.id + x.task[16:24].ljust(8, b"\0")  # the decoder has not looked yet
        if worker is None and isinstance(x, _OF_WORKERS):
            x = make.message((m.Submit, m.CreateActor, m.DefineSpec, m.Put, m.DefineFunction))
        if isinstance(x, m.Query):
            x.what = draw.choice(_NAMES)
            x.args = {draw.choice(make.words): make.anything(2) for _ in range(2)} | {
                "id": draw.choice(make.known[draw.choice((16, 24, 28))]).hex(),
                "name": "x", "namespace": "", "kind": draw.choice(("tasks", "actors", "objects")),
            }  # fmt: skip
        elif isinstance(x, m.DefineSpec):
            self.fit(x.spec)
        elif isinstance(x, m.CreateGroup):
            x.bundles = x.bundles or [{"CPU": 10_000}]
            x.strategy = draw.choice(("PACK", "SPREAD", "STRICT_PACK"))
        elif isinstance(x, m.Submit | m.CreateActor):
            wanted = m.ACTOR_CREATE
            if isinstance(x, m.Submit):
                wanted = m.ACTOR_CALL if x.actor else m.TASK
            fitting = [n for n, spec in client.specs.items() if spec.spec.kind == wanted]
            x.spec = draw.choice(fitting or [x.spec])
        elif isinstance(x, m.LostCall | m.Deliver) and client.specs:
            x.spec = draw.choice(list(client.specs))
        elif isinstance(x, m.Done | m.Yield | m.Blocked) and worker is not None and worker.queue:
            x.task = worker.queue[0].id
            if not isinstance(x, m.Blocked) and draw.random() < 0.8:
                x.values = [self.result(x.task, i) for i in range(draw.choice((1, 1, 1, 0, 2)))]
        elif isinstance(x, m.Done) and worker is not None and worker.actor is not None:
            if worker.actor.flight:
                x.task = next(iter(worker.actor.flight))
                x.values = [self.result(x.task, 0)]
        elif isinstance(x, m.Put):
            x.value = self.result(client.id + x.value.oid[16:24].ljust(8, b"\0"), 0)
        elif isinstance(x, m.Declare):
            x.oids = [client.id + oid[16:] for oid in x.oids]
        return x

    def result(self, task: bytes, index: int) -> m.Value:
        draw = self.random
        kind = draw.choice((m.INLINE, m.INLINE, m.STORED, m.ERROR))
        pins = self.maker.known[28]
        contained = [draw.choice(pins)] if draw.random() < 0.2 else None
        data = b"segment-%d" % draw.randrange(9)
        return m.Value(ids.object_id(task, index), kind, data, draw.randrange(500), contained)

    def fit(self, spec: m.TaskSpec) -> None:
        draw, core = self.random, self.core
        if core.functions:
            spec.function = draw.choice(list(core.functions))
        spec.resources = draw.choice(({}, {"CPU": 10_000}, {"CPU": 10_000}, {"GPU": 5000}))
        spec.env = draw.choice(["", "", "", *core.environments.table])
        if draw.random() < 0.8:
            spec.where = None
        if spec.kind == m.ACTOR_CREATE:
            spec.num_returns = 0
        elif draw.random() < 0.6:
            spec.num_returns = 1

    def learn(self) -> None:
        """What a client could know by now."""
        core, make = self.core, self.maker
        for table in (core.tasks.table, core.objects.table, core.actors.table):
            if table and self.random.random() < 0.5:
                key = self.random.choice(list(table))
                known = make.known.setdefault(len(key), [])
                known.append(key)
                del known[:-60]
