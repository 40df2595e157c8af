"""A node without processes, sockets or time: the core, and scripted clients and workers around it.

The test says what each worker does next (finish, fail, block, crash, end) and when time passes;
everything else follows from the core's effects, in a fixed order. So a run is repeated by repeating
its calls, and ``SimulatedNode.journal`` holds the stimuli of a run for a replay without clients.

>>> from fanlight.testing.builders import task_spec
>>> node = SimulatedNode(cpus=1)
>>> driver = node.driver()
>>> [ref] = driver.submit(task_spec("f"))
>>> [worker] = node.busy()
>>> worker.finish()
>>> driver.values[ref].size
8
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.core import model
from fanlight.core.invariants import validate
from fanlight.core.machine import Core
from fanlight.testing.builders import make_core
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.disk import SimulatedDisk
from fanlight.testing.workers import SimulatedWorker

_START = 1000.0  # the first moment of every simulation

__all__ = ["SimulatedClient", "SimulatedNode", "SimulatedWorker"]


class SimulatedNode:
    """The shell around a core. Keyword arguments are those of ``builders.make_core``.

    ``check`` is called with the core after every step. With ``prompt=False``, processes are started
    and killed only when the test calls ``answer_spawn`` and ``reap``.
    """

    def __init__(
        self,
        cpus: float = 2,
        gpus: float = 0,
        *,
        prompt: bool = True,
        check: Callable[[Core], None] = validate,
        **options: Any,
    ) -> None:
        self.now = _START
        self.prompt = prompt
        self.check = check
        self.core = make_core(cpus, gpus, now=self.now, **options)
        self.clients: dict[int, SimulatedClient] = {}
        self.workers: dict[int, SimulatedWorker] = {}  # by number
        self.spawning: deque[fx.SpawnWorker] = deque()
        self.dying: dict[int, str] = {}  # workers' numbers: processes killed and not reaped
        self.preparing: dict[int, fx.PrepareEnvironment] = {}  # by number, not answered
        self.broken: set[str] = set()  # environments that no worker can enter
        self.entering: set[str] = set()  # environments that workers do not come to an end with
        self.files: set[str] = set()  # segments, and files on disk, that exist
        self.deleted: set[str] = set()  # those that somebody else has deleted
        self.disk = SimulatedDisk(self)
        self.born: dict[bytes, int] = {}  # objects and handles, by the order of their making
        self.low = ""  # why processes that are killed may have been killed by the system
        self.stopped = ""
        self.dropped: list[fx.DropClient] = []
        self.journal: list[tuple[float, list[tuple[int, Any]]]] = []
        self.effects: list[fx.Effects] = []  # of every step; the first are those of the start
        self._inbox: deque[list[tuple[int, Any]]] = deque()
        self._stepping = False
        self._next_peer = 1
        effects = self.core.start()
        self.effects.append(effects)
        self.perform(effects)
        self._drain()

    # --- steps -------------------------------------------------------------------------------

    def post(self, stimuli: Iterable[tuple[int, Any]]) -> None:
        """Give stimuli to the core in one step, after those that were posted before."""
        batch = list(stimuli)
        if batch:
            self._inbox.append(batch)
            self._drain()

    def flush(self) -> None:
        """Let the core have what is held back; nothing is, here."""

    def began(self, worker: SimulatedWorker, execute: m.Execute) -> None:
        """A worker begins a task."""

    def _drain(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._inbox:
                batch = self._inbox.popleft()
                self.journal.append((self.now, batch))
                effects = self.core.handle(batch, self.now)
                self.effects.append(effects)
                self.check(self.core)
                self.perform(effects)
                for peer, stimulus in batch:
                    if isinstance(stimulus, fx.Disconnected):
                        self._delete_unfinished(peer)
        finally:
            self._stepping = False

    def _delete_unfinished(self, peer: int) -> None:
        """Segments that a process was writing when it died go with it, as the node does it."""
        mine = {name for name in self.files if name.startswith((f"{peer}-", f"@{peer}-"))}
        self.files -= mine - self.core.objects.segments.keys()

    def perform(self, effects: fx.Effects) -> None:
        for peer, messages in effects.out.items():
            client = self.clients.get(peer)
            if client is not None:
                client.receive(messages)
        for action in effects.actions:
            if isinstance(action, fx.SpawnWorker):
                self.spawning.append(action)
                if self.prompt:
                    self.answer_spawn()
            elif isinstance(action, fx.KillWorker):
                self._kill(action)
            elif isinstance(action, fx.PrepareEnvironment):
                self.preparing[action.number] = action
            elif isinstance(action, fx.CancelPreparation):
                self.preparing.pop(action.number, None)  # its helper may have died just now
            elif isinstance(action, fx.DeleteSegment):
                if action.name not in self.deleted:
                    self.disk.delete(action.name)
            elif isinstance(action, fx.Spill | fx.Restore):
                self.disk.jobs[action.number] = action
            elif isinstance(action, fx.DropClient):
                self.dropped.append(action)
                client = self.clients.get(action.peer)
                if client is not None:
                    client.disconnect()
            elif isinstance(action, fx.Stop):
                self.stopped = self.stopped or action.reason

    def _kill(self, action: fx.KillWorker) -> None:
        worker = self.workers.get(action.number)
        if action.task:
            if worker is not None and worker.begun == action.task:
                worker.crash("killed by SIGKILL")  # at once: nothing else begins
            return
        self.dying[action.number] = "killed by SIGKILL"
        if self.prompt:
            self.reap(action.number)

    def memory(
        self, used: int, *each: int, limit: int = 1000, threshold: int = 900, store: int = 0
    ) -> None:
        """A sample arrives; ``each`` is what the workers have, by number from 1 on."""
        uses = {number: (size, size) for number, size in enumerate(each, 1)}
        self.post([(0, fx.MemorySample("this runtime", used, limit, threshold, uses, store))])

    def advance(self, seconds: float) -> None:
        """Let time pass; the core gets one tick at the end."""
        self.now += seconds
        self.post([(0, fx.Tick())])

    def sleep(self, seconds: float) -> None:
        """The machine sleeps (or its clock is set back, below 0), and the core is told so."""
        self.now += seconds
        self.post([(0, fx.Slept(seconds)), (0, fx.Tick())])

    # --- who takes part ----------------------------------------------------------------------

    def peer(self) -> int:
        self._next_peer += 1
        return self._next_peer - 1

    def driver(self, kernel_id: str = "") -> SimulatedClient:
        client = SimulatedClient(self, self.peer())
        self.clients[client.peer] = client
        connected = fx.Connected("driver", client.id, client.peer, {"kernel_id": kernel_id})
        self.post([(client.peer, connected)])
        return client

    def answer_spawn(self, ok: bool = True) -> None:
        """The oldest wanted process connects, or could not be started."""
        number = self.spawning.popleft().number
        if not ok or number in self.dying:
            self.dying.pop(number, None)
            self.post([(0, fx.WorkerExited(number, "cannot fork", "no memory"))])
            return
        worker = SimulatedWorker(self, self.peer(), number)
        self.clients[worker.peer] = self.workers[number] = worker
        self.post([(worker.peer, fx.Connected("worker", worker.id, number, {}, number))])

    def answer_preparation(self, problem: str = "", log: str = "") -> None:
        """The oldest preparation under way ends."""
        number = next(iter(self.preparing))
        del self.preparing[number]
        self.post([(0, fx.EnvironmentPrepared(number, problem, log))])

    def reap(self, number: int) -> None:
        """A process that the core wanted killed is gone."""
        how = self.dying.pop(number)
        worker = self.workers.get(number)
        if worker is not None:
            worker.crash(how)
        elif any(spawn.number == number for spawn in self.spawning):
            self.spawning = deque(s for s in self.spawning if s.number != number)
            self.post([(0, fx.WorkerExited(number, how))])

    def channel(self, path: str) -> SimulatedWorker | None:
        """Who accepts channels at a path; None when that process is gone."""
        worker = self.workers.get(int(path))
        return worker if worker is not None and worker.peer in self.clients else None

    def busy(self) -> list[SimulatedWorker]:
        """Workers that run something, in the order in which they were started."""
        return [w for w in self.workers.values() if w.running and w.peer in self.clients]

    def runs(self, name: str) -> SimulatedWorker:
        """The worker that runs a task of this name."""
        names = {w.specs[e.spec].name: w for w in self.busy() for e in w.running.values()}
        return names[name]

    def lose(self, oid: bytes, reason: str = "its file was deleted") -> None:
        """Somebody has found that the bytes of an object are gone."""
        name = self.core.objects.table[oid].data.decode()
        self.files.remove(name)
        self.deleted.add(name)
        for client in self.clients.values():
            value = client.values.get(oid)
            if value is not None and value.data == name.encode():
                client.unreadable(oid, reason)
                return
        peer = next(iter(self.clients))
        self.post([(peer, m.LostObject(oid, name, reason, False))])

    # --- to the end --------------------------------------------------------------------------

    def settle(self, rounds: int = 10_000) -> None:
        """Let every process do its work until nothing moves any more."""
        for _ in range(rounds):
            if not self._move():
                return
        raise AssertionError(f"not at rest after {rounds} rounds: {self.waiting()}")

    def _move(self) -> bool:
        for client in list(self.clients.values()):
            if client.deaf:
                client.listen()
                return True
        if self.disk.jobs:
            self.disk.answer()
            return True
        if self.core.room.waiting:
            self.advance(1.0)
            return True
        if self.spawning:
            self.answer_spawn()
            return True
        if self.preparing:
            self.answer_preparation()
            return True
        for number in list(self.dying):
            self.reap(number)
            return True
        for worker in self.busy():
            if worker.blocked:
                worker.unblock()
            elif worker.current in worker.paused:
                consumer = next(c for c in self.clients.values() if worker.current in c.received)
                consumer.consume(worker.current, consumer.received[worker.current])
                assert worker.current not in worker.paused
            else:
                worker.finish()
            return True
        for worker in list(self.workers.values()):
            if worker.callers.report():
                return True
        if self.core.channels.lost:
            self.advance(10.0)
            return True
        if self.core.memory.held:
            self.advance(100.0)
            return True
        if self.now < self.core.scheduler.retry_at:
            self.advance(self.core.scheduler.retry_at - self.now)
            return True
        return False

    def waiting(self) -> list[str]:
        """What is not finished, for error messages."""
        return [
            f"{t.name} {t.id.hex()} {model.TASK_STATES[t.state]}"
            for t in self.core.tasks.table.values()
        ]

    def replayed(self) -> list[fx.Effects]:
        """The effects of the same stimuli on a new core; to be compared with ``effects``."""
        core = Core(self.core.config, _START)
        return [core.start(), *(core.handle(batch, now) for now, batch in self.journal)]
