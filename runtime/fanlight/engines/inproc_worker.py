"""What runs tasks in the ``inproc`` engine: workers and actors that are no processes.

Their executor differs from a process's where that has something to itself: its streams, its
environment variables, the lanes of an actor, the end.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

from fanlight import context, errors, ids
from fanlight import messages as m
from fanlight.client.client import Client
from fanlight.worker.actor_host import ActorHost
from fanlight.worker.executor import Executor, threads_of
from fanlight.worker.generators import Production
from fanlight.worker.gpus import VisibleGpus
from fanlight.worker.output import Outbox, TaskStream

if TYPE_CHECKING:
    from fanlight.engines.inproc_node import InprocNode


class InprocLink:
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

    def why(self) -> str:
        return self.lost

    def close(self) -> None:
        self.lost = "the runtime was shut down"


class InprocWorker:
    """A worker that is not a process: an executor and its link."""

    def __init__(self, node: InprocNode, number: int, peer: int) -> None:
        self.number = number
        self.peer = peer
        self.client = Client(ids.new_client_id(), None, lock=node.lock)
        self.client.link = InprocLink(node, peer)
        self._executing = node.core.executing
        self.executor = InprocExecutor(self.client, node.client, VisibleGpus(*node.gpus))

    def ready(self) -> bool:
        """Whether it has a task that it may run now; a plain actor runs one call at a time."""
        return self.executor.next_call() >= 0 or self.executor.next_production() is not None

    def step(self) -> None:
        """Run one task, or one step of a generator."""
        executor = self.executor
        position = executor.next_call()
        production = executor.next_production()
        executing = self._executing
        assert executing is not None
        if position >= 0:
            execute = executor.queue[position]
            del executor.queue[position]
            executing.append(execute.task)
            try:
                executor.dispatch(execute)
            finally:
                executing.pop()
        elif production is not None:
            executing.append(production.context.task_id)
            try:
                executor.advance(production)
            finally:
                executing.pop()
        executor.flush()


class InprocStream(TaskStream):
    """Where tasks print; what shows their output must print past it."""

    real: tuple[Any, Any] = (sys.stdout, sys.stderr)

    @classmethod
    def remember(cls) -> None:
        """Note the driver's own streams, which may change between cells; before tasks run."""
        if not isinstance(sys.stdout, cls):
            InprocStream.real = sys.stdout, sys.stderr

    @property
    def behind(self) -> Any:
        """The driver's own stream."""
        return self.real[self._name == "stderr"]


class InprocOutbox(Outbox):
    """Each line is shown at once, past the streams of whatever task runs."""

    def deliver(self, task: context.TaskContext | None, kind: str, what: Any) -> None:
        ours = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = InprocStream.real
        try:
            super().deliver(task, kind, what)
        finally:
            sys.stdout, sys.stderr = ours


class InprocActor(ActorHost):
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


class InprocExecutor(Executor):
    """Runs everything in the thread of the driver."""

    own_process = False
    host_class = InprocActor

    def __init__(self, client: Client, driver: Client, gpus: VisibleGpus) -> None:
        outbox = InprocOutbox(client, threaded=False)
        super().__init__(
            client,
            [InprocStream(outbox, "stdout", None), InprocStream(outbox, "stderr", None)],
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
