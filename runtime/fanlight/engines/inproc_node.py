"""The node of the ``inproc`` engine: the shell around the core without processes or sockets."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from fanlight import config, errors, events, ids
from fanlight import messages as m
from fanlight._version import __version__
from fanlight.client.client import Client
from fanlight.core import effects as fx
from fanlight.core.machine import Core, CoreConfig
from fanlight.engines.inproc_worker import InprocLink, InprocStream, InprocWorker
from fanlight.node.hub import Hub
from fanlight.observe.discover import ConnectionInfo
from fanlight.worker.environment import Overlay

_DRIVER = 1


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
                lineage_bytes=config.lineage_bytes(),
            ),
            self.now,
        )
        self.core.executing = []
        # For steps of the core, which are short. The clients', too: they send while they hold theirs,
        # and a step hands them messages and asks for their drops.
        self.lock = threading.RLock()
        self.client = Client(ids.new_client_id(), None, lock=self.lock)
        self.client.link = InprocLink(self, _DRIVER)
        self.workers: dict[int, InprocWorker] = {}  # by peer
        self.clients: dict[int, Client] = {_DRIVER: self.client}
        # Of what runs at the moment, which the engine hands on to what that submits.
        self.environment: dict[str, Any] | None = None
        self.variables = Overlay()
        self.set_threads = "OMP_NUM_THREADS" not in os.environ
        self._inbox: deque[tuple[int, Any]] = deque()
        self._next_peer = _DRIVER + 1
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
        self.hub = Hub(self.core, self.info, __version__, gpus[0])
        self._perform(self.core.start())
        connected = fx.Connected("driver", self.client.id, os.getpid(), info)
        self.post([(_DRIVER, connected)])

    # --- messages ----------------------------------------------------------------------------

    def post(self, stimuli: list[tuple[int, Any]]) -> None:
        """Take stimuli; handled at once, unless this is called from within a step."""
        self._inbox.extend(stimuli)
        with self.lock:
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
                # What another thread adds just now, without the lock, is taken by the next round.
                batch = [self._inbox.popleft() for _ in range(len(self._inbox))]
                self._perform(self.core.handle(batch, time.time()))
        finally:
            self._stepping = False
        if self._subscribers:
            self.publish()

    def _perform(self, effects: fx.Effects) -> None:
        for action in effects.actions:
            if isinstance(action, fx.SpawnWorker):
                peer = self._next_peer
                self._next_peer += 1
                worker = InprocWorker(self, action.number, peer)
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

    def lose(self, oid: bytes, reason: str) -> None:
        """As if the value of an object were in shared memory, and lost there; for tests."""
        with self.lock:
            self.core.lineage.lost(self.core.objects.table[oid], reason)
            asking = [peer for peer, client in self.clients.items() if oid in client.entries]
            for peer in asking:
                self.clients[peer].entries[oid] = None
        self.post([(peer, m.Subscribe([oid])) for peer in asking])

    def worker_of(self, task_id: bytes) -> InprocWorker | None:
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
        InprocStream.remember()
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
        from fanlight.core.why import text as why

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

    def publish(self, flush: bool = False) -> None:
        for peer, messages in self.hub.tick(time.time(), flush):
            callback = self._subscribers.get(peer)
            if callback is not None:
                for message in messages:
                    callback(msgspec.json.decode(message.payload, type=events.Event))

    def subscribe(self, callback: Callable[[events.Event], None]) -> InprocSubscription:
        peer = self._next_peer
        self._next_peer += 1
        self._subscribers[peer] = callback
        self.hub.attach(peer)
        self.publish()
        return InprocSubscription(self, peer)


class InprocSubscription:
    """What ``InprocNode.subscribe`` returns; ``close`` ends it."""

    def __init__(self, node: InprocNode, peer: int) -> None:
        self._node = node
        self._peer = peer

    def close(self) -> None:
        self._node._subscribers.pop(self._peer, None)
        self._node.hub.detach(self._peer)
