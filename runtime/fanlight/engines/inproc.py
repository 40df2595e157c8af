"""The same core in one process, deterministic: for tests, for debugging, and without processes.

Nothing runs in the background. Tasks run, one at a time and in a fixed order, when the driver
blocks in ``get`` or ``wait`` (or calls ``shutdown``). A debugger stops in them like in any code.
When nothing can run any more, ``get`` says that the program is stuck instead of waiting for ever.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import secrets
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import msgspec

from fanlight import config, context, errors, events, ids
from fanlight import messages as m
from fanlight._version import __version__
from fanlight.client.client import Client
from fanlight.core import effects as fx
from fanlight.core.machine import Core, CoreConfig
from fanlight.engines.base import Call, Capabilities, FunctionSpec
from fanlight.engines.native import NativeEngine
from fanlight.node.hub import Hub
from fanlight.observe.discover import ConnectionInfo
from fanlight.worker.actor_host import ActorHost
from fanlight.worker.environment import Overlay
from fanlight.worker.executor import Executor, threads_of
from fanlight.worker.generators import Production
from fanlight.worker.gpus import VisibleGpus
from fanlight.worker.output import TaskStream

_DRIVER = 1


class _Link:
    """Messages of one client or worker, handed over without a socket."""

    def __init__(self, node: InprocNode, peer: int) -> None:
        self.node = node
        self.peer = peer
        self.lost = ""
        self.inside = False
        self.polling = False
        self.interrupted = False

    def send(self, messages: Sequence[Any]) -> None:
        if not self.lost:
            self.node.post([(self.peer, x) for x in messages])

    def send_soon(self, message: Any) -> None:
        self.send([message])

    def wait(self, done: Callable[[], Any], timeout: float | None = None) -> bool:
        return self.node.run_until(done, timeout)

    def wake(self) -> None:
        """Nothing runs in the background: dropped refs are flushed at the next step."""

    def prompt(self, on: bool) -> None:
        """Callbacks come when tasks run: see ``settle``."""

    def settle(self, done: Callable[[], Any]) -> None:
        while not done() and self.node.run_one():
            pass

    def ended(self) -> bool:
        return bool(self.lost)

    def close(self) -> None:
        self.lost = "the runtime was shut down"


class _InprocWorker:
    """A worker that is not a process: an executor and its link."""

    def __init__(self, node: InprocNode, number: int, peer: int) -> None:
        self.number = number
        self.peer = peer
        self.client = Client(ids.new_client_id(), None)
        self.client.link = _Link(node, peer)
        self.executor = _InprocExecutor(self.client, node.client, VisibleGpus(*node.gpus))

    def ready(self) -> bool:
        """Whether it has a task that it may run now; a plain actor runs one call at a time."""
        return self.executor.next_call() >= 0 or self.executor.next_production() is not None

    def step(self) -> None:
        """Run one task, or one step of a generator."""
        executor = self.executor
        position = executor.next_call()
        production = executor.next_production()
        if position >= 0:
            execute = executor.queue[position]
            del executor.queue[position]
            executor.dispatch(execute)
        elif production is not None:
            executor.advance(production)
        executor.flush()


class _InprocStream(TaskStream):
    """Where tasks print; what shows their output must print past it."""

    @property
    def behind(self) -> Any:
        """The driver's own stream."""
        return _real_streams[self._name == "stderr"]

    def _send(self, task: context.TaskContext | None, text: str) -> None:
        ours = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _real_streams
        try:
            super()._send(task, text)
        finally:
            sys.stdout, sys.stderr = ours


_real_streams: tuple[Any, Any] = (sys.stdout, sys.stderr)


class _InprocActor(ActorHost):
    """No lanes: methods of async and threaded actors run one after the other, unless one waits."""

    loop: asyncio.AbstractEventLoop | None = None

    def start_lanes(self) -> None:
        if self.is_async:
            self.loop = asyncio.new_event_loop()

    def on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        # In a thread, since the driver's own thread may have a loop that runs (a notebook has).
        assert self.loop is not None
        inside = contextvars.copy_context()
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(inside.run, self.loop.run_until_complete, coroutine).result()


class _InprocExecutor(Executor):
    """Runs everything in the thread of the driver."""

    own_process = False
    host_class = _InprocActor

    def __init__(self, client: Client, driver: Client, gpus: VisibleGpus) -> None:
        super().__init__(
            client,
            [_InprocStream(client, "stdout", None), _InprocStream(client, "stderr", None)],
            gpus,
        )
        self.running_groups: list[str] = []  # of the calls under way, each within the next
        # Nested calls are the driver's client's business: it is the same process.
        self._driver = driver
        driver.before_block = self._before_block_of_driver

    def _before_block_of_driver(self) -> Callable[[], None] | None:
        running = context.current.get()
        if running is None or not running.blocking:
            return None
        worker = self._driver.link.node.worker_of(running.task_id)  # type: ignore[attr-defined]
        if worker is None:
            return None
        link, task_id = worker.client.link, running.task_id
        link.send([m.Blocked(task_id, worker.executor._take_unstarted())])
        return lambda: link.send([m.Unblocked(task_id)])

    def _settle(self, result: Any) -> Any:
        actor = self.actor
        if inspect.iscoroutine(result) and actor is not None and actor.is_async:
            return actor.on_loop(result)
        return super()._settle(result)

    def next_call(self) -> int:
        """Which task of the queue may run now, while others of it may be waiting; -1 for none."""
        if self.actor is None:  # a generator that stands between two items is not done
            return 0 if self.queue and not self.productions else -1
        if self.actor.leaving or not self.queue:
            return -1
        running = Counter(self.running_groups)
        running.update(p.spec.group for p in self.productions.values())
        for i, execute in enumerate(self.queue):
            group = self.specs[execute.spec].group
            if running[group] < self.actor.limits.get(group, 1):
                return i
        return -1

    def next_production(self) -> Production | None:
        """A generator that can make an item now."""
        found = (p for p in self.productions.values() if not (p.full or p.stepping))
        return next(found, None)

    def advance(self, production: Production) -> None:
        """Let a generator make one item; its turn comes again after the others'."""
        task = production.context.task_id
        self.productions[task] = self.productions.pop(task)
        token = context.current.set(production.context)
        try:
            with self._under_way(task, production.spec):
                if production.gpus is not None:
                    self.gpus.show(production.gpus)
                production.step()
        finally:
            if production.gpus is not None:
                self.gpus.restore()
            context.current.reset(token)
        self._leave_if_done()
        if production.full:
            self._pause(production)

    def _pause(self, production: Production) -> None:
        """What a worker's process does when it waits: give its CPU to others meanwhile."""
        if not production.context.blocking:
            return
        task = production.context.task_id
        self.client.link.send([m.Blocked(task, self._take_unstarted())])
        production.on_consumed = lambda: self.client.link.send([m.Unblocked(task)])

    def close_generators(self) -> None:
        """The worker ends: what stands between two items is closed, not finished."""
        for production in list(self.productions.values()):
            if not production.stepping:
                production.close()
                production.leave()

    def dispatch(self, execute: m.Execute) -> None:
        spec = self.specs[execute.spec]
        if spec.num_returns == m.STREAMING:
            Production(self, execute, spec)  # steps follow
            return
        self.running_groups.append(spec.group)
        try:
            with self._under_way(execute.task, spec):
                self.run(execute, spec, main=True)
        finally:
            self.running_groups.pop()
        self._leave_if_done()

    @contextmanager
    def _under_way(self, task: bytes, spec: m.TaskSpec) -> Iterator[None]:
        """Around user code: what a process of its own would have to itself."""
        running, self.running = self.running, task
        out, err = self.streams
        node: InprocNode = self._driver.link.node  # type: ignore[attr-defined]
        outside, node.environment = node.environment, self.environment
        try:
            with (
                redirect_stdout(out),
                redirect_stderr(err),
                node.variables.put(self._variables(spec, node.set_threads)),
            ):
                yield
        finally:
            self.running = running
            node.environment = outside

    def _leave_if_done(self) -> None:
        actor = self.actor
        busy = self.exiting or self.running_groups or self.productions
        if actor is not None and actor.leaving and not busy:
            self._leave(actor)

    def _variables(self, spec: m.TaskSpec, set_threads: bool) -> dict[str, str]:
        """Environment variables of a task; an actor's methods have its constructor's."""
        wanted = dict(self.environment.get("env_vars", {})) if self.environment else {}
        if spec.kind != m.ACTOR_CALL:
            self.threads = threads_of(spec)
        if set_threads:
            wanted.setdefault("OMP_NUM_THREADS", str(self.threads))
        return wanted

    def _show_threads(self, spec: m.TaskSpec) -> None:
        """Done above."""

    def _exits(
        self, execute: Any, spec: Any, error: BaseException, duration: float
    ) -> m.Done | None:
        if spec.kind != m.ACTOR_CALL and isinstance(error, SystemExit):
            code = getattr(error, "code", None)
            wrapped = errors.WorkerCrashedError(f"{spec.name} called sys.exit({code!r}).")
            return self._failed(execute, spec, wrapped, duration)
        return super()._exits(execute, spec, error, duration)


class InprocNode:
    """The shell around the core, without any process or socket."""

    def __init__(
        self,
        resources: dict[str, int],
        labels: dict[str, str],
        capacity: int,
        info: dict[str, str],
        gpus: tuple[list[str], bool],
    ) -> None:
        self.gpus = gpus  # of VisibleGpus
        self.runtime_id = secrets.token_hex(8)
        self.now = time.time()
        cpus = resources.get("CPU", 0) // config.UNITS
        self.core = Core(
            CoreConfig(
                node_id=ids.new_node_id(),
                resources=resources,
                capacity=capacity,
                pool_size=max(1, cpus),
                hostname=socket.gethostname(),
                labels=labels,
            ),
            self.now,
        )
        self.client = Client(ids.new_client_id(), None)
        self.client.link = _Link(self, _DRIVER)
        self.workers: dict[int, _InprocWorker] = {}  # by peer
        self.clients: dict[int, Client] = {_DRIVER: self.client}
        # Of what runs at the moment, which the engine hands on to what that submits.
        self.environment: dict[str, Any] | None = None
        self.variables = Overlay()
        self.set_threads = "OMP_NUM_THREADS" not in os.environ
        self._inbox: deque[tuple[int, Any]] = deque()
        self._next_peer = _DRIVER + 1
        self._lock = threading.RLock()  # for steps of the core, which are short
        self._turn = threading.RLock()  # of the thread that runs tasks
        self._stepping = False
        self._subscribers: dict[int, Callable[[events.Event], None]] = {}
        self.info = ConnectionInfo(
            version=m.PROTOCOL_VERSION,
            runtime_id=self.runtime_id,
            name="inproc",
            engine="inproc",
            pid=os.getpid(),
            socket="",
            token="",
            session_dir="",
            created=self.now,
        )
        self.hub = Hub(self.core, self.info, __version__)
        self._perform(self.core.start())
        connected = fx.Connected("driver", self.client.id, os.getpid(), info)
        self.post([(_DRIVER, connected)])

    # --- messages ----------------------------------------------------------------------------

    def post(self, stimuli: list[tuple[int, Any]]) -> None:
        """Take stimuli; handled at once, unless this is called from within a step."""
        self._inbox.extend(stimuli)
        with self._lock:
            if not self._stepping:
                self._step()

    def _step(self) -> None:
        if self.client.owes_drops:
            self._stepping = True  # its message joins the others
            try:
                self.client.flush_drops()
            finally:
                self._stepping = False
        self._stepping = True
        try:
            while self._inbox:
                batch = list(self._inbox)
                self._inbox.clear()
                self._perform(self.core.handle(batch, time.time()))
        finally:
            self._stepping = False
        if self._subscribers:
            self._publish()

    def _perform(self, effects: fx.Effects) -> None:
        for action in effects.actions:
            if isinstance(action, fx.SpawnWorker):
                peer = self._next_peer
                self._next_peer += 1
                worker = _InprocWorker(self, action.number, peer)
                self.workers[peer] = worker
                self.clients[peer] = worker.client
                connected = fx.Connected("worker", worker.client.id, os.getpid(), {}, action.number)
                self._inbox.append((peer, connected))
            elif isinstance(action, fx.KillWorker):
                self._end_worker(action.number, "killed", action.task)
        for peer, messages in effects.out.items():
            client = self.clients.get(peer)
            if client is not None:
                for message in messages:
                    client.handle(message)
        for peer, worker in list(self.workers.items()):
            if worker.executor.exiting and not worker.executor.queue:
                if worker.executor.actor is not None:
                    worker.executor.actor.end()
                self._end_worker(worker.number, worker.executor.exiting)
                assert peer not in self.workers

    def _end_worker(self, number: int, how: str, task: bytes = b"") -> None:
        """With a ``task``: only if that is what it runs."""
        for peer, worker in list(self.workers.items()):
            if worker.number == number and task in (b"", worker.executor.running):
                del self.workers[peer]
                del self.clients[peer]
                worker.client.link.close()  # what it still says is of no use
                worker.executor.queue.clear()
                worker.executor.close_generators()
                self._inbox.append((peer, fx.Disconnected()))
                self._inbox.append((0, fx.WorkerExited(number, how)))

    def worker_of(self, task_id: bytes) -> _InprocWorker | None:
        task = self.core.tasks.table.get(task_id)
        if task is None or task.worker is None:
            return None
        return self.workers.get(task.worker.peer)

    # --- running -----------------------------------------------------------------------------

    def run_one(self) -> bool:
        """Run one task, workers taking turns; False when there is none to run."""
        self.client.flush_drops()
        for peer, worker in list(self.workers.items()):
            if worker.ready():
                self.workers[peer] = self.workers.pop(peer)  # the last one of the next round
                worker.step()
                self.post([])
                return True
        return False

    def run_until(self, done: Callable[[], Any], timeout: float | None) -> bool:
        global _real_streams
        if not isinstance(sys.stdout, _InprocStream):
            _real_streams = sys.stdout, sys.stderr
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done():
            if not self._turn.acquire(timeout=0.05 if timeout != 0 else 0):
                # Another thread of the driver runs tasks; what we wait for may be among them.
                if deadline is not None and time.monotonic() >= deadline:
                    return bool(done())
                continue
            try:
                if not done() and not self._advance(done, timeout):
                    return bool(done())
            finally:
                self._turn.release()
        return True

    def _advance(self, done: Callable[[], Any], timeout: float | None) -> bool:
        """Run one task; False when the caller is not to wait any longer."""
        if timeout == 0:  # so that a loop of polls gets somewhere
            self.run_one()
            return False
        if self.run_one():
            return True
        self.post([(0, fx.Tick())])
        if done():
            return True
        if timeout is not None:
            return False
        raise errors.FanlightError(
            "Nothing can run any more, and what this waits for is not ready: " + self._why()
        )

    def _why(self) -> str:
        from fanlight.core.queries import why

        waiting = list(self.core.tasks.table.values())[:5]
        if not waiting:
            return "no task is left that could make it."
        return " ".join(f"{t.name}: {why(self.core, t)}" for t in waiting)

    def finish(self) -> None:
        """Run what was submitted; generators, which may have no end, are closed."""
        while True:
            for worker in list(self.workers.values()):
                worker.executor.close_generators()
            if not self.run_one():
                break

    # --- watching ----------------------------------------------------------------------------

    def _publish(self) -> None:
        for peer, messages in self.hub.tick(time.time()):
            callback = self._subscribers.get(peer)
            if callback is not None:
                for message in messages:
                    callback(msgspec.json.decode(message.payload, type=events.Event))

    def subscribe(self, callback: Callable[[events.Event], None]) -> _InprocSubscription:
        peer = self._next_peer
        self._next_peer += 1
        self._subscribers[peer] = callback
        self.hub.attach(peer)
        self._publish()
        return _InprocSubscription(self, peer)


class _InprocSubscription:
    def __init__(self, node: InprocNode, peer: int) -> None:
        self._node = node
        self._peer = peer

    def close(self) -> None:
        self._node._subscribers.pop(self._peer, None)
        self._node.hub.detach(self._peer)


class InprocEngine(NativeEngine):
    name = "inproc"
    capabilities = Capabilities(
        processes=False, shared_memory=False, interrupt=False, detached=False
    )

    def __init__(
        self,
        *,
        resources: dict[str, int],
        labels: dict[str, str],
        capacity: int | None,
        info: dict[str, str],
        gpu_tokens: list[str],
        gpus_preset: bool,
    ) -> None:
        gpus = (gpu_tokens, gpus_preset)
        self.node = InprocNode(resources, labels, capacity or 1 << 30, info, gpus)
        super().__init__(self.node.client)
        self.runtime_id = self.node.runtime_id
        self.node_pid = os.getpid()
        self.connection: ConnectionInfo | None = None
        self.info = {
            "runtime_id": self.runtime_id,
            "node_id": self.node.core.config.node_id.hex(),
            "session_dir": "",
        }

    # --- runtime environments ----------------------------------------------------------------

    @property
    def environment(self) -> dict[str, Any] | None:
        return self.node.environment

    @environment.setter
    def environment(self, env: dict[str, Any] | None) -> None:
        self.node.environment = env

    def _environment(self, own: dict[str, Any] | None) -> str:
        if own:
            from fanlight.client import environments

            environments.refuse_for_inproc(own)
        return super()._environment(own)

    def start_job(self, env: dict[str, Any]) -> None:
        from fanlight.client import environments

        environments.refuse_for_inproc(env)
        super().start_job(env)

    def bind_task(self, spec: FunctionSpec) -> Call:
        """A call for each environment that it is made in: they all are in this process."""
        bind = super().bind_task
        calls: dict[str, Call] = {}

        def current() -> Call:
            key = ""
            if self.node.environment:
                from fanlight.client import environments

                key = environments.key_of(self.node.environment)
            if key not in calls:
                calls[key] = bind(spec)
            return calls[key]

        current()  # so that it is refused where it is written
        return lambda args, kwargs: current()(args, kwargs)

    def subscribe(self, callback: Callable[[events.Event], None]) -> _InprocSubscription:
        return self.node.subscribe(callback)

    def step(self) -> bool:
        """Let one task run; False if none can. For code that waits for more than refs."""
        return self.node.run_one()

    def close(self) -> None:
        """Run what was submitted and never waited for, then end."""
        self.node.finish()
        self.client.close()
