"""A :class:`SimulatedNode` for long random histories (:mod:`fanlight.testing.histories`).

Beside what the base does it

* checks the invariants only every few steps (a failed history is repeated with a check after each);
* can hold messages back, so that those of several processes reach the core in one step;
* ends processes as the node sees it: the connection first, the exit first, or in the middle of what
  they were sending; and all of them at once, with the zygote;
* has clients that went *mad*: they ignore what they are told and send what no client sends;
* knows what must be true of clients: how often a task may begin, and in which order calls of one
  caller do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from fanlight import ids
from fanlight import messages as m
from fanlight.core import effects as fx
from fanlight.core import model
from fanlight.core.invariants import validate
from fanlight.core.machine import Core
from fanlight.ids import ACTOR_SUFFIX
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode
from fanlight.testing.workers import SimulatedWorker

T = TypeVar("T")


class Draw:
    """Choices made from one number, so that an action is a name and a number.

    >>> draw = Draw(1234)
    >>> draw.below(10), draw.below(10), draw.one("abc")
    (4, 3, 'a')
    """

    def __init__(self, number: int) -> None:
        self.left = number

    def below(self, limit: int) -> int:
        self.left, rest = divmod(self.left, limit)
        return rest

    def one(self, items: Sequence[T]) -> T:
        self.left, rest = divmod(self.left, len(items))
        return items[rest]

    def once_in(self, n: int) -> bool:
        self.left, rest = divmod(self.left, n)
        return rest == n - 1  # a number that ran out says no

    def some(self, items: Sequence[T], most: int) -> list[T]:
        """Up to ``most`` of them, with repetitions."""
        if not items:
            return []
        return [self.one(items) for _ in range(self.below(most + 1))]


class World(SimulatedNode):
    """``every``: steps of the core from one check of the invariants to the next."""

    def __init__(self, every: int, cpus: float, gpus: float, **options: Any) -> None:
        self.every = every
        self.steps = 0  # stimuli that the core has handled
        self.unchecked = 0
        self.held: list[tuple[int, Any]] | None = None  # not given to the core yet
        self.mad: dict[int, SimulatedClient] = {}  # by peer
        self.cut: dict[int, int] = {}  # clients that end after so many messages more
        self.fresh = 0  # ids that mad clients made up
        self.observers: set[int] = set()
        self.begun: Counter[bytes] = Counter()  # how often each task began
        self.exempt: set[bytes] = set()  # tasks that a mad worker had
        self.latest: dict[tuple[int, bytes], int] = {}  # the call that began last
        super().__init__(cpus, gpus, check=self.sample, **options)

    def sample(self, core: Core) -> None:
        self.steps += len(self.journal[-1][1])
        self.unchecked += 1
        if self.unchecked >= self.every:
            self.unchecked = 0
            validate(core)

    # --- what reaches the core, and when -----------------------------------------------------

    def post(self, stimuli: Iterable[tuple[int, Any]]) -> None:
        batch = list(stimuli)
        if self.cut and batch and batch[0][0] in self.cut:
            batch = self._cut(batch)
        if self.held is not None:
            self.held += batch
        else:
            super().post(batch)

    def _cut(self, batch: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """A client sends the last messages that it ever will."""
        peer = batch[0][0]
        self.cut[peer] -= len(batch)
        left = self.cut[peer]
        if left > 0:
            return batch
        del self.cut[peer]
        client = self.clients.get(peer)
        if client is None:
            return batch
        batch = batch[: len(batch) + left]
        if self.held is not None:
            self.held += batch
        else:
            super().post(batch)
        self.end(client, "killed by SIGSEGV", connection_first=left % 2 == 0)
        return []

    def hold(self) -> None:
        if self.held is None:
            self.held = []

    def flush(self) -> None:
        """Everything that was held back reaches the core in one step."""
        held, self.held = self.held, None
        if held:
            super().post(held)

    def settle(self, rounds: int = 10_000) -> None:
        self.flush()
        super().settle(rounds)

    # --- ends --------------------------------------------------------------------------------

    def end(self, client: SimulatedClient, how: str, *, connection_first: bool = True) -> None:
        """A process is gone, whatever it was doing."""
        self.mad.pop(client.peer, None)
        if not isinstance(client, SimulatedWorker):
            client.disconnect()
        elif connection_first:
            client.crash(how)
        else:
            self.end_workers([client], how)

    def end_workers(self, workers: Sequence[SimulatedWorker], how: str) -> None:
        """Processes whose parent says first that they ended; all that in one step."""
        stimuli: list[tuple[int, Any]] = []
        for worker in workers:
            self.workers.pop(worker.number, None)
            self.dying.pop(worker.number, None)
            self.mad.pop(worker.peer, None)
            begun = worker.begun if worker.watched else None
            exited = fx.WorkerExited(worker.number, how, "its last words", begun, self.low)
            stimuli.append((0, exited))
        self.post(stimuli)
        for worker in workers:
            worker.disconnect()

    def lose_zygote(self) -> None:
        """All worker processes die; those that were about to start are started anew."""
        for number in self.dying.keys() - self.workers.keys():
            del self.dying[number]  # to be killed before it had started: it is started after all
        self.end_workers(list(self.workers.values()), "its parent process (the zygote) died")
        for number in list(self.preparing):
            del self.preparing[number]
            self.post([(0, fx.EnvironmentPrepared(number, "its helper process died"))])

    def go_mad(self, client: SimulatedClient) -> None:
        self.mad[client.peer] = client
        client.receive = lambda messages: None  # type: ignore[method-assign]
        client.deaf = True
        if isinstance(client, SimulatedWorker):
            self.exempt.update(client.running)
            self.exempt.update(x.task for x in client.queue)
            client.running.clear()
            client.queue.clear()

    def stranger(self, role: str, info: dict[str, str]) -> SimulatedClient:
        """Somebody connects who is mad from the beginning."""
        client = SimulatedClient(self, self.peer())
        self.clients[client.peer] = client
        self.go_mad(client)
        if role == "observer":
            self.observers.add(client.peer)
        self.post([(client.peer, fx.Connected(role, client.id, client.peer, info))])
        return client

    # --- what must be true of clients --------------------------------------------------------

    def began(self, worker: SimulatedWorker, execute: m.Execute) -> None:
        task = execute.task
        if task in self.exempt:
            return
        self.begun[task] += 1
        spec = worker.specs[execute.spec]
        limit = spec.max_retries
        actor = self.core.actors.table.get(execute.actor)
        if spec.kind == m.ACTOR_CREATE:
            limit = actor.message.max_restarts if actor is not None else -1
        elif spec.kind == m.ACTOR_CALL and actor is not None and not limit:
            limit = actor.message.max_task_retries
        known = self.core.tasks.table.get(task)
        times = self.begun[task] - (self.core.memory.spared(known) if known is not None else 0)
        assert limit < 0 or times <= limit + 1, f"{spec.name} {task.hex()} began {times} times"
        if spec.kind == m.ACTOR_CALL and actor is not None and actor.ordered:
            number = self.born.get(ids.object_id(task, 0))
            if number is not None and not execute.attempt and spec.num_returns > 0:
                key = (worker.number, task[: ids.CLIENT_LEN])
                assert self.latest.get(key, -1) < number, f"{spec.name} {task.hex()} overtook"
                self.latest[key] = number

    # --- choosing ----------------------------------------------------------------------------

    def sane(self) -> list[SimulatedClient]:
        return [c for p, c in self.clients.items() if p not in self.mad]

    def drivers(self) -> list[SimulatedClient]:
        return [c for c in self.sane() if not isinstance(c, SimulatedWorker)]

    def submitters(self) -> list[SimulatedClient]:
        """Who may submit: drivers, and workers that run something."""
        return [c for c in self.sane() if not isinstance(c, SimulatedWorker) or c.running]

    def busy(self) -> list[SimulatedWorker]:
        return [
            w
            for w in self.workers.values()
            if w.running and w.peer in self.clients and w.peer not in self.mad
        ]

    def runners(self) -> list[tuple[SimulatedWorker, bytes]]:
        """Tasks that may do something, and their workers."""
        return [
            (w, t) for w in self.busy() if not w.blocked for t in w.running if t not in w.paused
        ]

    def generators(self) -> list[tuple[SimulatedWorker, bytes]]:
        return [
            (w, t)
            for w, t in self.runners()
            if w.specs[w.running[t].spec].num_returns == m.STREAMING
        ]

    def plain(self) -> list[SimulatedWorker]:
        """Workers that run a task, not an actor's."""
        return [
            w
            for w in self.busy()
            if not w.blocked
            and w.current not in w.paused
            and w.specs[w.running[w.current].spec].kind == m.TASK
        ]

    def refs(self, client: SimulatedClient) -> list[bytes]:
        return [oid for oid in client.values if not oid.endswith(ACTOR_SUFFIX)]

    def inside(self, client: SimulatedClient, into: bytes = b"") -> list[bytes]:
        """Refs and handles that may go into a value: older ones than the object that they go into,
        since counting references does not free rings."""
        born = self.born
        limit = born.get(into, len(born))
        return [oid for oid in client.values if born[oid] < limit]

    def handles(self, client: SimulatedClient) -> list[bytes]:
        return [oid[:16] for oid in client.values if oid.endswith(ACTOR_SUFFIX)]

    def groups(self) -> list[bytes]:
        placement = self.core.placement
        return [g for g in placement.table if g not in placement.removed]

    def channel(self, path: str) -> SimulatedWorker | None:
        if not path.isdigit():
            return None
        return super().channel(path)


# --- to the end ------------------------------------------------------------------------------------


def finish_everything(node: SimulatedNode) -> None:
    """Let all work end; then nothing is unfinished, and every ref held has a value.

    Only what lacks resources may be left when nothing moves any more; that is given up.
    """
    core = node.core
    node.settle()
    while core.tasks.table:
        stuck = [
            t
            for t in core.tasks.table.values()
            if t.state == model.PENDING_RESOURCES and t.spec.spec.kind != m.ACTOR_CALL
        ]
        if not stuck:  # what is left waits for groups, in vain
            assert core.placement.pending, node.waiting()
            remove_pending_groups(node)
            node.settle()
            continue
        crowded = any(map(core.processes.why, stuck))  # there may be no more processes
        assert crowded or core.scheduler.patience.kept is None, "kept, and nothing runs"
        for task in stuck:
            spec = task.spec.spec
            could = core.scheduler.pool_for(
                task, task.spec.where, spec.resources, spec.placement_cpu
            )
            assert not could or core.processes.why(task), node.waiting()
        if stuck[0].actor is not None:
            node.post([(0, m.KillActor(stuck[0].actor.id))])
        else:
            node.post([(0, m.Cancel(stuck[0].id, False, False))])
        node.settle()
    remove_pending_groups(node)
    for client in node.clients.values():
        for oid, value in client.values.items():
            if not oid.endswith(ACTOR_SUFFIX):
                assert value is not None, f"no value of {oid.hex()}: {core.story.of(oid[:24])}"


def remove_pending_groups(node: SimulatedNode) -> None:
    for group in list(node.core.placement.pending):
        node.post([(0, m.RemoveGroup(group))])


def everybody_leaves(node: SimulatedNode) -> None:
    """Drivers go, detached actors are killed, workers let go: nothing is left."""
    core = node.core
    for peer in [p for p, c in core.clients.items() if c.role != "worker"]:
        node.clients[peer].disconnect()
        node.settle()
    for actor in list(core.actors.names.values()):
        node.post([(0, m.KillActor(actor.id))])
    for group in list(core.placement.table):
        node.post([(0, m.RemoveGroup(group))])
    node.settle()
    for worker in list(node.workers.values()):
        worker.drop(*worker.values)
    node.settle()
    assert all(a.state == model.A_DEAD for a in core.actors.table.values())
    assert core.pool.available == core.pool.total
    assert core.objects.reserved == 0
    assert all(s.cached for s in core.objects.segments.values())
    assert node.files == set(core.objects.segments)
    left = {name: table for name, table in tables(core).items() if table}
    assert not left, f"left for ever: {left}"
    for worker in list(node.workers.values()):
        worker.crash()
    assert not core.objects.segments and not node.files


def tables(core: Core) -> dict[str, Any]:
    """What must be empty when no work is left, by name; of clients, what is of gone ones."""
    gone = core.clients.keys()
    objects, scheduler = core.objects, core.scheduler
    return {
        "tasks": core.tasks.table,
        "children": core.tasks.children,
        "streams": core.streams.table,
        "lost calls": core.channels.lost,
        "callers": core.channels.called.keys() - gone,
        "objects": [oid.hex() for oid in objects.table],
        "promises": objects.declared,
        "call sites": objects.sites,
        "pushes": objects.pushes,
        "touched": objects.touched - gone - {0},
        "names": core.actors.names,
        "makers": core.actor_ends.makers - gone,
        "creations": scheduler.creations,
        "queues": [q.key for q in scheduler.queues.values() if q.key[1] not in gone],
        "turns": scheduler.turn,
        "leased in this step": scheduler.ahead.fresh,
        "waits": scheduler.patience.waits,
        "kept": scheduler.patience.kept,
        "pending groups": core.placement.pending,
        "group names": core.placement.names,
        "preparations": core.environments.preparing,
        "peers": set(core.peers.values()) - gone,
    }
