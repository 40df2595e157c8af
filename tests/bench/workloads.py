"""Deterministic work for the guard: the core, a client and a worker, each without its surroundings.

A workload is called with n, does something n times and returns :class:`Spent`. The core is fed as
the node feeds it (calls of a burst in frames of sixteen, results in frames of up to 32), a client
or a worker has a link that answers from the same thread.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlight import ids, options, serialization
from fanlight import messages as m
from fanlight import session as sessions
from fanlight.client.client import Client
from fanlight.core import effects as fx
from fanlight.engines.base import Capabilities
from fanlight.engines.native import NativeEngine
from fanlight.refs import ObjectRef
from fanlight.remote_function import RemoteFunction
from fanlight.testing.builders import actor_spec, make_core, method_spec, task_spec
from fanlight.wire import codec
from fanlight.worker.executor import Executor
from fanlight.worker.gpus import VisibleGpus

from .counting import Opcodes

FRAME = 16  # calls of a burst in one frame
BATCH = 32  # results in one frame
QUICK = 1e-5  # seconds that a task is said to take: it is handed out ahead of time


@dataclass
class Spent:
    """What n things took: byte codes; messages into and out of the core, and frames that it sends."""

    n: int
    opcodes: int
    messages: int = 0
    frames: int = 0


class Shell:
    """A core with ``cpus`` workers and a driver; counts what goes through ``Core.handle``."""

    def __init__(self, cpus: int = 2, counted: bool = True) -> None:
        self.counted = counted  # counting takes ten times the time
        self.core = make_core(cpus, pool_size=cpus, capacity=1 << 30)
        self.counter = Opcodes()
        self.messages = self.frames = 0
        self.now = 0.0
        self.todo: dict[int, deque[m.Execute]] = {}
        self.specs: dict[int, dict[int, m.TaskSpec]] = {}
        self.peers = 0
        self._perform(self.core.start())
        self.driver = self.connect("driver")
        self.new_task = ids.task_id_factory(self.core.clients[self.driver].id)
        self.numbers = 0

    def connect(self, role: str, number: int = 0) -> int:
        self.peers += 1
        peer = self.peers
        client_id = role.encode().ljust(12, b"\0") + peer.to_bytes(4, "big")
        self.todo[peer] = deque()
        self.specs[peer] = {}
        self.step([(peer, fx.Connected(role, client_id, peer, {}, number))])
        return peer

    def restart(self) -> None:
        """Count from here on."""
        self.counter.count = self.messages = self.frames = 0

    def spent(self, n: int) -> Spent:
        return Spent(n, self.counter.count, self.messages, self.frames)

    def step(self, stimuli: Sequence[tuple[int, Any]]) -> None:
        self.now += 1e-6
        with self.counter if self.counted else contextlib.nullcontext():
            effects = self.core.handle(stimuli, self.now)
        self.messages += len(stimuli)
        self._perform(effects)

    def _perform(self, effects: fx.Effects) -> None:
        self.frames += len(effects.out)
        for peer, messages in effects.out.items():
            self.messages += len(messages)
            for message in messages:
                if type(message) is m.Execute:
                    self.todo[peer].append(message)
                elif type(message) is m.DefineSpec:
                    self.specs[peer][message.number] = message.spec
        for action in effects.actions:
            assert not isinstance(action, fx.DropClient), action
            if isinstance(action, fx.SpawnWorker):
                self.connect("worker", action.number)
            elif isinstance(action, fx.KillWorker):
                worker = self.core.workers[action.number]
                self.step([(worker.peer, fx.Disconnected())])
                self.step([(0, fx.WorkerExited(action.number, "killed"))])

    def define(self, spec: m.TaskSpec) -> int:
        self.numbers += 1
        stimuli: list[tuple[int, Any]] = [(self.driver, m.DefineSpec(self.numbers, spec))]
        if spec.function:
            stimuli.insert(0, (self.driver, m.DefineFunction(spec.function, b"code")))
        self.step(stimuli)
        return self.numbers

    def call(
        self,
        spec: int,
        deps: Sequence[bytes] = (),
        pins: Sequence[bytes] = (),
        actor: bytes = b"",
        parent: bytes = b"",
    ) -> m.Submit:
        return m.Submit(self.new_task(), spec, b"", [*deps], [*pins], parent, actor)

    def send(self, messages: Sequence[Any], frame: int = FRAME) -> None:
        """What the driver says, ``frame`` messages at a time."""
        for at in range(0, len(messages), frame):
            self.step([(self.driver, x) for x in messages[at : at + frame]])

    def work(self) -> None:
        """Let workers run all that they are given, a frame of results each in turn."""
        while any(self.todo.values()):
            stimuli: list[tuple[int, Any]] = []
            for peer, queue in self.todo.items():
                count = min(BATCH, len(queue))
                stimuli += [(peer, self.result(peer, queue.popleft())) for _ in range(count)]
            self.step(stimuli)

    def result(self, peer: int, execute: m.Execute) -> m.Done:
        count = self.specs[peer][execute.spec].num_returns
        values = [
            m.Value(ids.object_id(execute.task, i), m.INLINE, b"value", 5) for i in range(count)
        ]
        return m.Done(execute.task, True, values, QUICK)

    def put(self, n: int) -> list[bytes]:
        oids = [ids.object_id(self.new_task(), 0) for _ in range(n)]
        self.send([m.Put(m.Value(oid, m.INLINE, b"value", 5)) for oid in oids])
        return oids

    def warm(self, spec: int) -> None:
        """The function is known to be quick, and every worker knows it."""
        self.send([self.call(spec) for _ in range(200)])
        self.work()

    def actor(self) -> bytes:
        """A live actor."""
        actor = b"actor".ljust(8, b"\0") + self.new_task()[-8:]
        spec = self.define(actor_spec())
        self.step([(self.driver, m.CreateActor(actor, self.new_task(), spec, b"", [], []))])
        self.work()
        return actor


def results_of(calls: Sequence[m.Submit]) -> list[bytes]:
    return [ids.object_id(call.task, 0) for call in calls]


# --- the core ------------------------------------------------------------------------------------


def core_one_at_a_time(n: int) -> Spent:
    """Submit, result, and the ref dropped, n times; as in a loop of ``get(f.remote())``."""
    shell = Shell()
    spec = shell.define(task_spec())
    shell.warm(spec)
    shell.restart()
    for _ in range(n):
        call = shell.call(spec)
        shell.step([(shell.driver, call)])
        shell.work()
        shell.step([(shell.driver, m.DropRefs(results_of([call])))])
    return shell.spent(n)


def core_burst(n: int, watched: bool = False) -> Spent:
    shell = Shell()
    spec = shell.define(task_spec())
    shell.warm(spec)
    shell.core.watched = watched
    shell.restart()
    calls = [shell.call(spec) for _ in range(n)]
    shell.send(calls)
    shell.work()
    shell.send([m.DropRefs(results_of(calls))])
    return shell.spent(n)


def core_burst_watched(n: int) -> Spent:
    """The same while somebody observes."""
    return core_burst(n, watched=True)


def core_chain(n: int) -> Spent:
    """Each task has the one before as its argument."""
    shell = Shell()
    spec = shell.define(task_spec())
    shell.warm(spec)
    shell.restart()
    calls = [shell.call(spec)]
    for _ in range(n - 1):
        calls.append(shell.call(spec, results_of(calls[-1:])))
    shell.send(calls)
    shell.work()
    shell.send([m.DropRefs(results_of(calls))])
    return shell.spent(n)


def core_fan_in(n: int) -> Spent:
    """n tasks, and sums of ten of them."""
    shell = Shell()
    spec = shell.define(task_spec())
    shell.warm(spec)
    shell.restart()
    leaves = [shell.call(spec) for _ in range(n)]
    refs = results_of(leaves)
    sums = [shell.call(spec, refs[i : i + 10]) for i in range(0, n, 10)]
    shell.send(leaves + sums)
    shell.work()
    shell.send([m.DropRefs(refs + results_of(sums))])
    return shell.spent(n)


def core_actor_one_at_a_time(n: int) -> Spent:
    shell = Shell()
    actor = shell.actor()
    spec = shell.define(method_spec())
    shell.restart()
    for _ in range(n):
        call = shell.call(spec, actor=actor)
        shell.step([(shell.driver, call)])
        shell.work()
        shell.step([(shell.driver, m.DropRefs(results_of([call])))])
    return shell.spent(n)


def core_actor_burst(n: int) -> Spent:
    shell = Shell()
    actor = shell.actor()
    spec = shell.define(method_spec())
    shell.restart()
    calls = [shell.call(spec, actor=actor) for _ in range(n)]
    shell.send(calls)
    shell.work()
    shell.send([m.DropRefs(results_of(calls))])
    return shell.spent(n)


def core_refs_as_arguments(n: int) -> Spent:
    """One task whose arguments are n objects."""
    shell = Shell()
    spec = shell.define(task_spec())
    oids = shell.put(n)
    shell.restart()
    shell.send([shell.call(spec, oids)])
    shell.work()
    return shell.spent(n)


def core_returns(n: int) -> Spent:
    """One task with n returns."""
    shell = Shell()
    spec = shell.define(task_spec(returns=n))
    shell.restart()
    call = shell.call(spec)
    shell.send([call])
    shell.work()
    shell.send([m.DropRefs([ids.object_id(call.task, i) for i in range(n)])])
    return shell.spent(n)


def core_refs_in_a_value(n: int) -> Spent:
    """An object with n refs in it is made, its refs are taken out by another process, and dropped."""
    shell = Shell()
    other = shell.connect("driver")
    oids = shell.put(n)
    outer = ids.object_id(shell.new_task(), 0)
    shell.restart()
    shell.send([m.Put(m.Value(outer, m.INLINE, b"value", 5, oids))])
    shell.step([(other, m.AddRefs([outer])), (other, m.Subscribe([outer]))])
    shell.step([(other, m.AddRefs(oids))])
    shell.step([(other, m.DropRefs([*oids, outer]))])
    shell.send([m.DropRefs([outer])])
    return shell.spent(n)


def core_puts(n: int) -> Spent:
    """n small objects made one by one and dropped together."""
    shell = Shell()
    shell.restart()
    oids = [ids.object_id(shell.new_task(), 0) for _ in range(n)]
    shell.send([m.Put(m.Value(oid, m.INLINE, b"value", 5)) for oid in oids], frame=1)
    shell.send([m.DropRefs(oids)])
    return shell.spent(n)


def core_nested(n: int) -> Spent:
    """A task submits n tasks, waits for them and ends."""
    shell = Shell()
    spec = shell.define(task_spec())
    shell.warm(spec)
    parent = shell.call(shell.define(task_spec("parent")))
    shell.send([parent])
    peer, execute = next((p, q.popleft()) for p, q in shell.todo.items() if q)
    shell.step([(peer, m.DefineFunction(b"f", b"code")), (peer, m.DefineSpec(1, task_spec()))])
    shell.restart()
    new_task = ids.task_id_factory(shell.core.clients[peer].id)
    calls = [m.Submit(new_task(), 1, b"", [], [], parent.task) for _ in range(n)]
    for at in range(0, n, FRAME):
        shell.step([(peer, x) for x in calls[at : at + FRAME]])
    shell.step([(peer, m.Blocked(parent.task, []))])
    shell.work()
    shell.step([(peer, m.Unblocked(parent.task)), (peer, m.DropRefs(results_of(calls)))])
    shell.step([(peer, shell.result(peer, execute))])
    return shell.spent(n)


def core_cancel(n: int) -> Spent:
    """n tasks in the queue are cancelled, the newest first."""
    shell = Shell()
    spec = shell.define(task_spec("slow"))
    calls = [shell.call(spec) for _ in range(n + 2)]  # two of them run
    shell.send(calls)
    shell.restart()
    shell.send([m.Cancel(call.task) for call in reversed(calls[2:])])
    return shell.spent(n)


def core_actors(n: int) -> Spent:
    """n actors are made, called once, and killed."""
    shell = Shell()
    creates = [
        m.CreateActor(
            i.to_bytes(16, "big"), shell.new_task(), shell.define(actor_spec()), b"", [], []
        )
        for i in range(1, n + 1)
    ]
    method = shell.define(method_spec())
    shell.restart()
    shell.send(creates)
    shell.work()
    shell.send([shell.call(method, actor=create.actor) for create in creates])
    shell.work()
    shell.send([m.KillActor(create.actor) for create in creates])
    return shell.spent(n)


def core_waiting_clients(n: int) -> Spent:
    """Twenty tasks run one by one while n clients wait with a task that does not fit."""
    shell = Shell(cpus=2)
    spec = shell.define(task_spec())
    shell.warm(spec)
    big = task_spec("big", cpus=3)
    for _ in range(n):
        peer = shell.connect("driver")
        call = shell.call(1)
        call.task = ids.task_id_factory(shell.core.clients[peer].id)()
        messages = [m.DefineFunction(b"big", b"code"), m.DefineSpec(1, big), call]
        shell.step([(peer, x) for x in messages])
    shell.restart()
    for _ in range(20):
        call = shell.call(spec)
        shell.step([(shell.driver, call)])
        shell.work()
        shell.step([(shell.driver, m.DropRefs(results_of([call])))])
    return shell.spent(20)


# --- a client ------------------------------------------------------------------------------------


class AnsweringLink:
    """Has every task done the moment somebody waits, with ``value`` as its result."""

    lost = ""

    def __init__(self, value: Any = None) -> None:
        # Nothing is written there: what a client has no folder for, it does otherwise.
        self.client = Client(b"client".ljust(16, b"\0"), Path("/nowhere"))
        self.client.link = self
        self.value = serialization.dumps(value).to_bytes()
        self.batch = BATCH  # results that arrive together
        self.pending: deque[bytes] = deque()
        self.sent: list[Any] = []

    def send(self, messages: Sequence[Any]) -> None:
        self.sent += messages
        self.pending.extend(x.task for x in messages if type(x) is m.Submit)

    def send_soon(self, message: Any) -> None:
        self.send((message,))

    def wait(self, done: Callable[[], Any], timeout: float | None = None) -> bool:
        while not done():
            self.deliver()
        return True

    def deliver(self) -> None:
        values = []
        for _ in range(min(self.batch, len(self.pending))):
            oid = ids.object_id(self.pending.popleft(), 0)
            values.append(m.Value(oid, m.INLINE, self.value, len(self.value)))
        assert values, "waits for what nobody makes"
        self.client.handle(m.Objects(values))

    def wake(self) -> None: ...
    def prompt(self, on: bool) -> None: ...
    def settle(self, done: Callable[[], Any]) -> None: ...
    def close(self) -> None: ...
    def ended(self) -> bool:
        return False


class _Engine(NativeEngine):
    """A client as the API sees it; nothing is started."""

    name = "guard"
    capabilities = Capabilities(False, False, False, False)
    runtime_id = ""
    node_pid = 0
    connection = None

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.info: dict[str, Any] = {}


class Driver:
    """This process with a session whose node is an :class:`AnsweringLink`; a context manager."""

    def __init__(self, value: Any = None) -> None:
        self.link = AnsweringLink(value)
        self.client = self.link.client
        self.counter = Opcodes()
        self.f = RemoteFunction(_same, options.check({}, "task"))

    def __enter__(self) -> Driver:
        from fanlight import refs

        self._before = sessions._current
        sessions._current = sessions.Session(_Engine(self.client), "")
        refs.dropped.clear()
        refs.attach(self.client)
        self.f.remote(1)  # defines it
        self.link.deliver()
        self.link.sent.clear()
        return self

    def __exit__(self, *_: object) -> None:
        from fanlight import refs

        sessions._current = self._before
        refs.attach(self._before.client if self._before is not None else None)
        refs.dropped.clear()

    def spent(self, n: int) -> Spent:
        return Spent(n, self.counter.count, len(self.link.sent))


def _same(x: Any) -> Any:
    return x


def client_submit(n: int) -> Spent:
    """``f.remote(1)``, the session's look-up and the signature's check included."""
    with Driver() as driver:
        remote = driver.f.remote
        with driver.counter:
            for _ in range(n):
                remote(1)
        return driver.spent(n)


def client_one_at_a_time(n: int) -> Spent:
    """``get(f.remote(1))``, the ref dropped."""
    from fanlight import get

    with Driver() as driver:
        remote = driver.f.remote
        with driver.counter:
            for _ in range(n):
                get(remote(1))
            driver.client.flush_drops()
        return driver.spent(n)


def client_get_many(n: int) -> Spent:
    """``get`` of n refs, whose results arrive meanwhile."""
    from fanlight import get

    with Driver() as driver:
        refs = [driver.f.remote(1) for _ in range(n)]
        with driver.counter:
            get(refs)
        return driver.spent(n)


def client_wait_loop(n: int) -> Spent:
    """``wait`` called until none of n refs is left, each result arriving alone."""
    from fanlight import wait

    with Driver() as driver:
        driver.link.batch = 1
        left = [driver.f.remote(1) for _ in range(n)]
        with driver.counter:
            while left:
                _, left = wait(left)
        return driver.spent(n)


def client_put(n: int) -> Spent:
    """``put`` of a small object, the ref dropped later."""
    from fanlight import put

    with Driver() as driver:
        with driver.counter:
            refs = [put(i) for i in range(n)]
            refs.clear()
            driver.client.flush_drops()
        return driver.spent(n)


def client_refs_in_a_value(n: int) -> Spent:
    """``get`` of an object with n refs in it that this process did not know."""
    from fanlight import get

    oids = [b"elsewhere".ljust(16, b"\0") + i.to_bytes(12, "big") for i in range(n)]
    with Driver() as maker:
        for oid in oids:
            maker.client.adopt(oid)
        value = [ObjectRef(oid) for oid in oids]
        packed = AnsweringLink(value).value
    with Driver() as driver:
        driver.link.value = packed
        ref = driver.f.remote(1)
        with driver.counter:
            got = get(ref)
        assert len(got) == n
        spent = driver.spent(n)
        del got, value
        return spent


def client_refs_as_arguments(n: int) -> Spent:
    """One call with n refs as its arguments."""
    with Driver() as driver:
        refs = [driver.f.remote(1) for _ in range(n)]
        many = RemoteFunction(_all, options.check({}, "task"))
        many.remote(1)
        driver.link.sent.clear()
        with driver.counter:
            many.remote(*refs)
        return driver.spent(n)


def _all(*values: Any) -> int:
    return len(values)


# --- a worker ------------------------------------------------------------------------------------


def worker_tasks(n: int) -> Spent:
    """n tasks with one small argument and one small result, given in one go."""
    link = AnsweringLink()
    executor = Executor(link.client, [], VisibleGpus([], False))
    blob, _ = serialization.dumps_function(_same)
    arguments = serialization.dumps(((1,), {}, [])).to_bytes()
    link.client.handle(m.DefineFunction(b"f", blob))
    link.client.handle(m.DefineSpec(1, task_spec(returns=1)))
    new_task = ids.task_id_factory(b"driver".ljust(16, b"\0"))

    def give(count: int) -> None:
        for _ in range(count):
            link.client.handle(m.Execute(new_task(), 1, arguments, []))

    def run() -> None:
        while executor.queue:
            executor.dispatch(executor.queue.popleft())
        executor.flush()

    give(1)
    run()
    executor.specs[1].function = b"f"
    link.sent.clear()
    counter = Opcodes()
    with counter:
        give(n)
        run()
    assert len(link.sent) == n
    return Spent(n, counter.count, len(link.sent))


# --- messages ------------------------------------------------------------------------------------


def message_bytes() -> dict[str, int]:
    """How long the messages of a small task are, each in a frame of its own."""
    task = ids.task_id_factory(b"driver".ljust(16, b"\0"))()
    value = m.Value(ids.object_id(task, 0), m.INLINE, serialization.dumps(1).to_bytes(), 5)
    arguments = serialization.dumps(((1,), {}, [])).to_bytes()
    messages = {
        "Submit": m.Submit(task, 1, arguments, [], []),
        "Execute": m.Execute(task, 1, arguments, []),
        "Done": m.Done(task, True, [value], 0.001),
        "Objects": m.Objects([value]),
        "Put": m.Put(value),
        "DropRefs": m.DropRefs([value.oid]),
    }
    return {name: len(codec.encode([message])) for name, message in messages.items()}


WORKLOADS: dict[str, Callable[[int], Spent]] = {
    f.__name__: f
    for f in (
        core_one_at_a_time,
        core_burst,
        core_burst_watched,
        core_chain,
        core_fan_in,
        core_actor_one_at_a_time,
        core_actor_burst,
        core_refs_as_arguments,
        core_returns,
        core_refs_in_a_value,
        core_puts,
        core_nested,
        core_cancel,
        core_actors,
        core_waiting_clients,
        client_submit,
        client_one_at_a_time,
        client_get_many,
        client_wait_loop,
        client_put,
        client_refs_in_a_value,
        client_refs_as_arguments,
        worker_tasks,
    )
}
