"""The core: one state machine that knows everything and touches nothing.

``Core.handle(stimuli, now)`` takes what happened (messages of clients and workers, connections that
came and went, processes that ended, time that passed) and returns what is to be done (messages to
send, processes to start or kill, segments to delete). It does no IO, reads no clock and draws no
random numbers, so every run can be repeated from its stimuli.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from fanlight import config
from fanlight import messages as m
from fanlight.config import UNITS
from fanlight.core import checks, model, notices, orders, queries
from fanlight.core.actor_ends import ActorEnds
from fanlight.core.actors import Actors
from fanlight.core.causes import Causes
from fanlight.core.channels import Channels
from fanlight.core.definitions import Definitions
from fanlight.core.effects import (
    Connected,
    Disconnected,
    DriversChanged,
    DropClient,
    Effects,
    EnvironmentPrepared,
    MemorySample,
    Restored,
    Slept,
    Spilled,
    Stop,
    Tick,
    WorkerExited,
    WorkerStopped,
)
from fanlight.core.environments import Environments
from fanlight.core.history import RAISED, History
from fanlight.core.kept import Kept
from fanlight.core.lineage import Lineage
from fanlight.core.memory import Memory
from fanlight.core.metrics import Metrics
from fanlight.core.model import (
    W_ACTOR,
    W_DEAD,
    W_STARTING,
    WORKER_MOVES,
    WORKER_STATES,
    Actor,
    Client,
    Group,
    Story,
    Task,
    Worker,
)
from fanlight.core.objects import Objects
from fanlight.core.placement import Placement
from fanlight.core.processes import Processes
from fanlight.core.resources import Pool
from fanlight.core.rolls import Rolls
from fanlight.core.room import Room
from fanlight.core.scheduler import Scheduler
from fanlight.core.sleep import slept
from fanlight.core.spilling import Spilling
from fanlight.core.stopped import Stopped
from fanlight.core.streams import Streams
from fanlight.core.tasks import Tasks
from fanlight.core.timeline import Timeline
from fanlight.core.worker_ends import worker_exited

_pack = msgspec.msgpack.encode
_size_of = operator.attrgetter("size")
ERRORS_KEPT = 200
DEAD_KEPT = 200  # dead actors that stay visible
_ERROR_TEXT = 50_000  # characters of one traceback that are kept
_NO_PHASES = (0.0, 0.0, 0.0)
RECENT_KEPT = 2000  # finished tasks that stay visible one by one


class CoreConfig(msgspec.Struct):
    """What a core is made with. Resources in units of 1/10000, times in seconds."""

    node_id: bytes
    resources: dict[str, int]
    capacity: int  # bytes of the object store
    pool_size: int
    address: str = "127.0.0.1"
    hostname: str = "localhost"
    persistent: bool = False  # goes on without drivers
    labels: dict[str, str] = {}  # of the node
    channels: bool = False  # its processes can reach each other
    # What a client sends and nobody foresaw ends that client, not the node. Off in simulations,
    # where it is a bug to be seen.
    forgiving: bool = False
    large: int = config.INLINE_LIMIT  # bytes: larger values can be lost
    max_processes: int = 0  # of workers and actors; 0 for no limit
    oom_retries: int = -1  # runs again of a task that was ended for want of memory; -1: no limit
    spill: bool = False  # what does not fit into memory goes to disk
    lineage_bytes: int = config.LINEAGE_BYTES  # that the pasts of tasks may take


class ErrorRecord(msgspec.Struct):
    task: bytes
    group: int
    name: str
    origin: str
    time: float
    message: str
    traceback: str


class Core:
    def __init__(self, config: CoreConfig, now: float = 0.0) -> None:
        self.config = config
        self.now = now
        self.started = now
        self.story = Story()
        self.effects = Effects()
        self.pool = Pool(config.resources)
        self.clients: dict[int, Client] = {}
        self.peers: dict[bytes, int] = {}  # by client id
        self.workers: dict[int, Worker] = {}
        self.definitions = Definitions(self)
        self.objects = Objects(self, config.capacity)
        self.room = Room(self)
        self.spilling: Spilling = Spilling(self)
        self.tasks = Tasks(self)
        self.lineage = Lineage(self)
        self.environments = Environments(self)
        self.streams = Streams(self)
        self.scheduler = Scheduler(self, config.pool_size)
        self.placement: Placement = Placement(self)
        self.actors: Actors = Actors(self)
        self.actor_ends = ActorEnds(self)
        self.metrics = Metrics(self)
        self.memory = Memory(self, config.oom_retries)
        self.processes = Processes(self, config.max_processes)
        self.channels = Channels(self)
        self.recent: deque[Task] = deque(maxlen=RECENT_KEPT)
        self.errors: deque[ErrorRecord] = deque(maxlen=ERRORS_KEPT)
        self.dead_actors: deque[bytes] = deque()
        self.history: History = History()
        self.timeline = Timeline()
        self.starved = notices.Starved(self)
        self.stopped = Stopped(self)
        # With one process for all (engine "inproc"): what really runs. None: work goes on by itself.
        self.executing: list[bytes] | None = None
        self.jobs = 0
        self._workers_made = 0
        self._had_driver = False
        # What observers have not been told yet, noted only while somebody watches.
        self.watched = False
        self.regrouped = False  # groups were folded: observers need a snapshot
        self.changed_groups: set[int] = set()
        self.changed_edges: set[tuple[int, int, str]] = set()
        self.changed_tasks: dict[bytes, Task] = {}
        self.changed_actors: dict[bytes, Actor] = {}
        self.new_errors: list[ErrorRecord] = []
        self.rolls = Rolls(self)
        self.causes = Causes()
        self.kept = Kept(self)
        self._handlers: dict[type, Callable[[int, Any], None]] = {
            m.Submit: self.tasks.submit,
            m.Done: self._done,
            m.DropRefs: lambda peer, x: self.objects.drop_refs(peer, x.oids),
            m.AddRefs: lambda peer, x: self.objects.add_refs(peer, x.oids),
            m.Put: lambda peer, x: self.objects.put(peer, x.value),
            m.Subscribe: lambda peer, x: self.objects.subscribe(peer, x.oids),
            m.DefineFunction: self.definitions.function,
            m.DefineSpec: self.definitions.spec,
            m.Forget: self.definitions.forget,
            m.CreateActor: self.actors.create,
            m.Cancel: lambda _, x: self.tasks.cancel(x.task, x.force, x.recursive),
            m.KillActor: lambda _, x: self.actor_ends.kill(x.actor, x.no_restart),
            m.CancelGroups: lambda peer, x: orders.cancel_groups(self, peer, x),
            m.Scale: lambda peer, x: orders.scale(self, peer, x),
            m.Reserve: self.room.reserve,
            m.Withdraw: self.room.withdraw,
            m.GaveUp: self.room.gave_up,
            m.Fetch: self.spilling.fetch,
            m.Query: self._query,
            m.Metrics: self.metrics.record,
            m.Unmapped: lambda peer, x: self.objects.unmapped(peer, x.segments),
            m.LostObject: self.lineage.report,
            m.CallSite: lambda _, x: self.objects.note_site(x.oids, x.site),
            m.RefFacts: self.kept.told,
            m.Blocked: self._blocked,
            m.Unblocked: self._unblocked,
            m.Returned: self._returned,
            m.Output: self._output,
            m.ActorExit: self._actor_exit,
            m.DefineEnvironment: self.environments.define,
            m.EnvironmentEntered: self._environment_entered,
            m.CreateGroup: self.placement.create,
            m.RemoveGroup: lambda _, x: self.placement.remove(x.group),
            m.GroupReady: self.placement.ready,
            m.Yield: self.streams.items,
            m.Consumed: self.streams.consumed,
            m.Connect: self.channels.connect,
            m.Listening: self.channels.listening,
            m.Calls: self.channels.calls,
            m.Declare: self.channels.declare,
            m.Deliver: self.channels.deliver,
            m.LostCall: self.channels.lost_call,
            m.Shutdown: lambda _, x: self.effects.actions.append(Stop(x.reason or "shutdown")),
            Connected: self._connected,
            Disconnected: self._disconnected,
            WorkerExited: lambda _, x: worker_exited(self, x),
            WorkerStopped: self.stopped.changed,
            EnvironmentPrepared: self.environments.prepared,
            Slept: lambda _, x: slept(self, x),
            MemorySample: self.memory.sampled,
            Spilled: self.spilling.written,
            Restored: self.spilling.read,
            Tick: self._tick,
        }

    # --- the one entrance --------------------------------------------------------------------

    def handle(self, stimuli: Iterable[tuple[int, Any]], now: float) -> Effects:
        """Take ``(peer, stimulus)`` pairs in order; return the effects of all of them.

        A client that sends what it must not send, or names what it did not define, is dropped.
        """
        self.now = now
        handlers = self._handlers
        for peer, stimulus in stimuli:
            try:
                handlers[type(stimulus)](peer, stimulus)
            except model.ProtocolViolation as e:
                self.effects.actions.append(DropClient(peer, str(e)))
            except Exception as e:
                if not self.config.forgiving:
                    raise
                self.effects.actions.append(checks.unforeseen(peer, stimulus, e))
        self.scheduler.run()
        if self.room.waiting:
            self.room.advance()
        if self.objects.pushes:
            self.objects.flush()
        if self.streams.ended:
            self.streams.flush()
        effects, self.effects = self.effects, Effects()
        return effects

    def start(self) -> Effects:
        """Ask for the first worker processes."""
        self.scheduler.fill()
        effects, self.effects = self.effects, Effects()
        return effects

    # --- connections -------------------------------------------------------------------------

    def _connected(self, peer: int, x: Connected) -> None:
        client = Client(peer, x.role, x.client_id, x.pid, x.info)
        self.clients[peer] = client
        self.peers[x.client_id] = peer
        if x.role == "driver":
            self.jobs += 1
            client.job = self.jobs
            self.history.job_started(client, self.now)
            self._had_driver = True
            self._drivers_changed()
        elif x.role == "worker":
            worker = self.workers.get(x.worker)
            if worker is None or worker.state != W_STARTING:
                raise model.ProtocolViolation("a worker that nobody asked for")
            worker.peer = peer
            worker.pid = x.pid
            client.worker = worker
            if worker.env:
                message = self.environments.table[worker.env].message
                self.effects.out[peer].append(message)
            self.scheduler.worker_ready(worker)

    def _drivers_changed(self) -> None:
        kernels = [c.info.get("kernel_id", "") for c in self.clients.values() if c.role == "driver"]
        self.effects.actions.append(DriversChanged([k for k in kernels if k]))

    def _disconnected(self, peer: int, _: Disconnected) -> None:
        client = self.clients.get(peer)
        if client is None:
            return
        if client.role == "driver":
            self.history.job_ended(client.job, self.now)
            self.tasks.withdraw_job(client.job)
            self.actor_ends.job_ended(client.job)
            self.placement.job_ended(client.job)
        worker = client.worker
        if worker is not None and worker.state != W_DEAD:
            self.scheduler.disconnected(worker)
        self.objects.client_gone(peer)
        self.scheduler.client_gone(peer)
        self.streams.client_gone(peer)
        self.channels.client_gone(peer)
        self.kept.client_gone(peer)
        del self.clients[peer]
        self.definitions.client_gone(client)
        if worker is None:
            self.actor_ends.makers.discard(peer)  # of a worker: when its process is gone
        if self.peers.get(client.id) == peer:
            del self.peers[client.id]
        if client.role == "driver":
            self._drivers_changed()
            drivers = any(c.role == "driver" for c in self.clients.values())
            if not drivers and not self.config.persistent:
                self.effects.actions.append(Stop("its last driver ended"))

    # --- definitions -------------------------------------------------------------------------

    @property
    def functions(self) -> dict[bytes, bytes]:
        return self.definitions.functions

    @property
    def groups(self) -> dict[int, Group]:
        return self.definitions.groups

    @property
    def edges(self) -> dict[tuple[int, int, str], int]:
        return self.definitions.edges

    # --- workers -----------------------------------------------------------------------------

    def new_worker(self, env: str) -> Worker:
        self._workers_made += 1
        number = self._workers_made
        wid = self.config.node_id[:24] + number.to_bytes(4, "big")
        worker = self.workers[number] = Worker(number, wid, self.now, env)
        self.move_worker(worker, W_STARTING, "wanted")
        return worker

    def move_worker(self, worker: Worker, new: int, cause: str) -> None:
        old = worker.state
        if new not in WORKER_MOVES[old]:
            raise self.story.illegal(worker.id, WORKER_STATES, old, new, cause)
        self.story.note((worker.id, WORKER_STATES, old, new, cause))
        if new == W_ACTOR or old == W_ACTOR:
            self.scheduler.actor_workers += 1 if new == W_ACTOR else -1
        worker.state = new

    def kill_worker(self, worker: Worker, reason: str) -> None:
        """End a worker's process; its tasks are dealt with when it is gone."""
        if not worker.retiring:
            worker.retiring = reason
            self.scheduler.kill(worker)

    def workers_retired(self, worker: Worker) -> None:
        """An idle worker is told to end."""
        worker.graceful = True
        self.effects.out[worker.peer].append(m.Exit(worker.retiring))
        self.move_worker(worker, W_DEAD, worker.retiring)

    # --- messages of workers -----------------------------------------------------------------

    def _done(self, peer: int, x: m.Done) -> None:
        task = self.tasks.table.get(x.task)
        worker = self.clients[peer].worker
        if worker is None:
            raise model.ProtocolViolation("only workers report results")
        if task is None or task.worker is not worker:
            # Failed meanwhile (its actor died, its driver left): the values are of no use.
            self.objects.discard(x.values, peer)
            return
        if len(x.values) < (task.spec.returns if x.ok else 1):
            raise model.ProtocolViolation("a task's end without its results")
        worker.finished += 1
        spec = task.spec.spec
        if spec.max_calls:
            self.scheduler.count_call(worker, task)
        if x.started:
            task.started = x.started
            reading, storing, idle = x.phases or _NO_PHASES
            self.timeline.record(
                task.id, task.spec.group.number, worker.number, worker.pid, x.started, x.duration,
                task.attempt, x.ok, reading, storing, x.started - task.submitted,
                sum(map(_size_of, x.values)), idle, task.gate,
            )  # fmt: skip
        actor = task.actor
        if actor is not None:
            if spec.kind == m.ACTOR_CREATE:
                self.actors.created(actor, x)
            else:
                self.actors.done(actor, task, x, peer)
            return
        queue = worker.queue
        if queue[0] is task:
            queue.popleft()
        else:
            queue.remove(task)
        if not x.ok and x.retriable and self.tasks.should_retry(task):
            self.objects.discard(x.values[1:], peer)
            notices.retried(self, task, spec.max_retries, x.error)
            self.tasks.requeue(task, f"retried after {x.error}", again=True, code=RAISED)
        else:
            self.tasks.done(task, x, peer)
        self.scheduler.next_on(worker)

    def _blocked(self, peer: int, x: m.Blocked) -> None:
        worker = self.clients[peer].worker
        if worker is not None and worker.actor is None:
            if x.returned:
                self.scheduler.give_back(worker, x.returned)
            self.scheduler.blocked(worker)

    def _unblocked(self, peer: int, _: m.Unblocked) -> None:
        worker = self.clients[peer].worker
        if worker is not None and worker.actor is None:
            self.scheduler.unblocked(worker)

    def _returned(self, peer: int, x: m.Returned) -> None:
        worker = self.clients[peer].worker
        if worker is not None and worker.actor is not None:
            self.actor_ends.constructor_returned(worker, x.tasks)
        elif worker is not None:
            self.scheduler.give_back(worker, x.tasks)

    def _environment_entered(self, peer: int, x: m.EnvironmentEntered) -> None:
        worker = self.clients[peer].worker
        if worker is not None and worker.state != W_DEAD:
            self.environments.entered(worker, x.problem)

    def _tick(self, _peer: int, _tick: Tick) -> None:
        self.environments.tick()
        self.channels.tick()
        self.scheduler.tick()
        self.channels.tick()
        self.starved.tick()
        self.lineage.told.tick()
        self.memory.tick()
        self.processes.tick()
        self.stopped.tick()

    def _output(self, peer: int, x: m.Output) -> None:
        task = self.tasks.table.get(x.task)
        worker = self.clients[peer].worker
        job = task.job if task is not None else x.job or (worker.job if worker is not None else 0)
        if task is not None and not x.origin:
            x.origin = task.spec.spec.origin
        for driver in self.clients.values():
            if driver.role == "driver" and (driver.job == job or not job):
                self.effects.out[driver.peer].append(x)

    def _actor_exit(self, peer: int, x: m.ActorExit) -> None:
        actor = self.actors.table.get(x.actor)
        worker = self.clients[peer].worker
        if actor is not None and worker is not None and actor.worker is worker:
            self.actor_ends.exits(actor, x.reason)

    # --- questions ---------------------------------------------------------------------------

    def _query(self, peer: int, x: m.Query) -> None:
        try:
            answer = queries.QUERIES[x.what](self, self.clients[peer], x.args)
        except (LookupError, ValueError, TypeError, ArithmeticError, AttributeError) as e:
            # The last three: arguments of a wrong type, or beyond all bounds.
            self.reply(peer, x.request, None, str(e.args[0] if e.args else e))
        else:
            self.reply(peer, x.request, answer)

    def reply(self, peer: int, request: int, data: Any, error: str = "") -> None:
        self.effects.out[peer].append(m.Reply(request, _pack(data), error))

    # --- help for the parts ------------------------------------------------------------------

    def failure(
        self,
        code: str,
        message: str,
        *,
        task: Task | None = None,
        actor: Actor | None = None,
        detail: dict[str, Any] | None = None,
    ) -> bytes:
        """An encoded Failure: the value that failed objects get."""
        if task is not None and task.spec.spec.origin:
            detail = {**(detail or {}), "origin": task.spec.spec.origin}
        return _pack(
            m.Failure(
                code,
                message,
                task.name if task is not None else "",
                task.id if task is not None else b"",
                actor.id if actor is not None else b"",
                detail or {},
            )
        )

    def notice(self, job: int, text: str) -> None:
        for client in self.clients.values():
            if client.role == "driver" and client.job == job:
                self.effects.out[client.peer].append(m.Notice(text))

    def record_error(self, task: Task, message: str, traceback: str) -> None:
        """A task failed."""
        task.error = message[:_ERROR_TEXT]
        self.note_error(task, message, traceback)

    def note_error(self, task: Task, message: str, traceback: str) -> None:
        """Something went wrong with a task, though it may be tried again."""
        record = ErrorRecord(
            task.id,
            task.spec.group.number,
            task.name,
            task.spec.spec.origin,
            self.now,
            message[:_ERROR_TEXT],
            traceback[:_ERROR_TEXT] + "…" if len(traceback) > _ERROR_TEXT else traceback,
        )
        self.errors.append(record)
        self.causes.add(record)
        if self.watched:
            self.new_errors.append(record)
            if len(self.new_errors) > ERRORS_KEPT:
                del self.new_errors[0]

    def retire_actor(self, actor: Actor) -> None:
        """Keep a dead actor visible for a while, then forget it."""
        self.dead_actors.append(actor.id)
        while len(self.dead_actors) > DEAD_KEPT:
            forgotten = self.actors.table.pop(self.dead_actors.popleft(), None)
            if forgotten is not None:
                self.channels.actor_gone(forgotten)

    def resources(self, amounts: dict[str, int]) -> dict[str, float]:
        """Resources as users see them: floats, zeros left out."""
        return {name: amount / UNITS for name, amount in amounts.items() if amount > 0}
