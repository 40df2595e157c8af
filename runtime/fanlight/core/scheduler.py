"""Which ready task runs where.

Ready tasks stand in queues, one for each *shape* (the resources they ask for) and client. A worker
is leased to one shape at a time: it holds the shape's resources once, and runs tasks of that shape
one after the other. Functions that are known to be quick are handed out several at a time
(:mod:`fanlight.core.ahead`), so that the worker need not wait for the node between them; what was
handed out too early comes back when a task blocks or turns out slow.

Queues take turns: first drivers, then the queues of each. What asks for so much that others would
overtake it for ever is helped by :mod:`fanlight.core.fairness`.
"""

from __future__ import annotations

import operator
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fanlight import config
from fanlight import messages as m
from fanlight.core.ahead import Ahead
from fanlight.core.effects import KillWorker, SpawnWorker
from fanlight.core.fairness import Patience
from fanlight.core.model import (
    PENDING_RESOURCES,
    RUNNING,
    SUBMITTED,
    W_ACTOR,
    W_BLOCKED,
    W_BUSY,
    W_DEAD,
    W_IDLE,
    W_STARTING,
    Spec,
    Task,
    Worker,
    take_out,
)

if TYPE_CHECKING:
    from fanlight.core.fairness import Waiter
    from fanlight.core.machine import Core
    from fanlight.core.resources import Pool

_shape_of = operator.attrgetter("shape")
_job_of = operator.attrgetter("job")
_ACTORS_AHEAD = 32  # constructors that a step passes by because they lack a process


class Queue:
    """Ready tasks of one shape and client, oldest first."""

    __slots__ = ("demand", "env", "job", "key", "shape", "tasks", "where", "workers")

    def __init__(self, key: tuple[tuple[object, ...], int], spec: Spec) -> None:
        self.key = key
        self.shape = key[0]
        self.demand = dict(spec.spec.resources)
        self.env = spec.spec.env
        self.where = spec.where
        self.tasks: deque[Task] = deque()
        self.workers: dict[Worker, None] = {}  # leased to it, in order
        self.job = 0  # whose it is

    @property
    def average(self) -> float:
        """Seconds that its next task will take; -1 if that is not known. There is one."""
        return self.tasks[0].spec.group.average


class Scheduler:
    def __init__(self, core: Core, pool_size: int) -> None:
        self.core = core
        self.queues: dict[tuple[tuple[object, ...], int], Queue] = {}
        self.turn: deque[Queue] = deque()  # queues that have tasks, next one first
        self.creations: deque[Task] = deque()  # actors to place
        self.patience = Patience(core)
        self.ahead = Ahead(core, self)
        self.idle: list[Worker] = []
        self.starting: Counter[str] = Counter()  # processes by runtime environment
        self.pool_size = pool_size
        self.limit = max(pool_size, 32)  # processes that run tasks, blocked ones not counted
        self.failed_starts = 0
        self.handed_ahead = False  # tasks stand behind others: ticks are wanted often
        self.retry_at = 0.0  # after failed starts: when to try again
        self.actor_workers = 0  # processes that are an actor's; kept by Core.move_worker
        self.crowded = False  # more processes are wanted than there may be: none to spare

    # --- queues ------------------------------------------------------------------------------

    def enqueue(self, task: Task) -> None:
        """A task's arguments are ready."""
        self.core.tasks.move(task, PENDING_RESOURCES, "arguments ready")
        self.stand(task)

    def requeue(self, task: Task) -> None:
        """A task that was handed out comes back; it keeps its place at the front."""
        self.stand(task, front=True)

    def stand(self, task: Task, front: bool = False) -> None:
        """Into its queue; or to those that wait for their runtime environment."""
        known = task.spec
        spec = known.spec
        if spec.env and self.core.environments.hold(task):
            return
        if spec.kind == m.ACTOR_CREATE:
            self.creations.append(task)
            return
        if known.where is not None and self.core.placement.ended(task):
            self.core.placement.fail_removed(task)
            return
        key = (known.shape, task.client)
        queue = self.queues.get(key)
        if queue is None:
            queue = self.queues[key] = Queue(key, known)
        tasks = queue.tasks
        if not tasks:
            self.turn.append(queue)
        queue.job = task.job
        if front:
            tasks.appendleft(task)
        else:
            tasks.append(task)

    def withdraw(self, task: Task) -> None:
        """Take a cancelled task out of its queue."""
        if task.state != PENDING_RESOURCES:
            return
        if task.spec.spec.env and self.core.environments.withdraw(task):
            return
        if self.core.memory.withdraw(task):
            return
        if task.spec.spec.kind == m.ACTOR_CREATE:
            self.creations.remove(task)
            return
        queue = self.queues[task.spec.shape, task.client]
        take_out(queue.tasks, task)
        if not queue.tasks:
            self.turn.remove(queue)
            self.prune(queue)

    def standing(self, env: str) -> list[Task]:
        """Tasks and constructors of a runtime environment that wait for their turn."""
        queued = [t for q in self.queues.values() if q.env == env for t in q.tasks]
        return queued + [t for t in self.creations if t.spec.spec.env == env]

    def client_gone(self, peer: int) -> None:
        """Forget the queues of a client whose tasks are all withdrawn."""
        for queue in [q for q in self.queues.values() if q.key[1] == peer]:
            if not queue.tasks and not queue.workers:
                del self.queues[queue.key]

    def prune(self, queue: Queue) -> None:
        """Forget a queue that ran empty after its client had gone (a worker that submitted)."""
        if not queue.tasks and not queue.workers and queue.key[1] not in self.core.clients:
            self.queues.pop(queue.key, None)

    # --- handing out -------------------------------------------------------------------------

    def run(self) -> None:
        """Give work to whoever can take it; called at the end of every step."""
        patience = self.patience
        if patience.waits or patience.kept:
            patience.review()
        elif not (self.turn or self.creations or self.core.placement.pending):
            self.crowded = False  # nobody waits
            return
        if self._hand_out() and self.core.now >= self.retry_at:
            for env, count in self._wanted().items():
                self._start_workers(env, count)
        self.ahead.hand_out()
        patience.end_of_step()

    def _hand_out(self) -> bool:
        """True if a queue could run something now if there were a process for it."""
        while True:
            kept = self.patience.kept
            if self.core.placement.pending:
                self.core.placement.reserve()
            if self.creations:
                self._place_actors()
            lacking = self._give_turns()
            if kept is None or (self.patience.kept is kept and not self.patience.forget()):
                return lacking
            # What was kept for one is no longer: there may be something left for others.

    def _give_turns(self) -> bool:
        turn = self.turn
        stuck = 0
        lacking = False  # a queue could run something if there were a process for it
        self.crowded = False
        others = self.patience.waits or self.creations or self.core.placement.pending
        alone = len(turn) == 1 and not others
        bounded = self.core.processes.most
        full: set[object] = set()  # shapes for which there is no room: there will be no more of it
        while stuck < len(turn):
            queue = turn[0]
            shape = queue.shape
            if shape in full:
                # Thousands may wait: on to the first one of another shape, without byte codes.
                skipped = _first(map(full.__contains__, map(_shape_of, turn)), False, len(turn))
                skipped = min(skipped, len(turn) - stuck)
                stuck += skipped
                turn.rotate(-skipped)
                continue
            pool = self.pool_for(shape, queue.where, queue.demand)
            if pool is None:
                full.add(shape)
                if not alone:
                    self.refused(shape, queue.where, queue.demand)
                stuck += 1
                turn.rotate(-1)
                continue
            if bounded and not self.core.processes.may_lease(queue.tasks[0]):
                stuck += 1
                turn.rotate(-1)
                continue
            worker = self.idle_of(queue.env)
            if worker is None:
                lacking = True
                self.patience.delayed(shape)
                stuck += 1
                turn.rotate(-1)
                continue
            stuck = 0
            self._lease(worker, queue, pool)
            turn.popleft()
            if turn:
                self._next_job(queue.job)
            if queue.tasks:
                turn.append(queue)
        return lacking

    def _next_job(self, job: int) -> None:
        """The next turn is another driver's, however many queues this one's work has."""
        turn = self.turn
        if turn[0].job == job:
            i = _first(map(job.__ne__, map(_job_of, turn)), True, 0)
            if i:
                queue = turn[i]
                del turn[i]
                turn.appendleft(queue)

    def _wanted(self) -> Counter[str]:
        """How many tasks could run now if there were a process for each, by runtime environment.

        All of them at once, that is: what the first queues would take is not there for the next.
        """
        wanted: Counter[str] = Counter()
        left: dict[Pool, dict[str, int]] = {}
        processes = self.core.processes
        for queue in self.turn:
            pool = self.pool_for(queue.shape, queue.where, queue.demand)
            if pool is not None and (not processes.most or processes.may_lease(queue.tasks[0])):
                free = left.setdefault(pool, dict(pool.available))
                count = min(len(queue.tasks), _room(free, queue.demand))
                for name, amount in queue.demand.items():
                    free[name] -= count * amount
                wanted[queue.env] += count
        return wanted

    def idle_of(self, env: str) -> Worker | None:
        """Take the idle worker of this runtime environment that was used last."""
        idle = self.idle
        if idle and idle[-1].env == env:
            return idle.pop()
        for i in range(len(idle) - 1, -1, -1):
            if idle[i].env == env:
                return idle.pop(i)
        return None

    def pools(self, where: m.Where | None) -> Sequence[Pool]:
        """From where work with these wishes may take, whether there is room or not."""
        return (self.core.pool,) if where is None else self.core.placement.pools(where)

    def pool_for(
        self, who: Waiter, where: m.Where | None, demand: dict[str, int], cpu: int = 0
    ) -> Pool | None:
        """A pool from which ``demand`` can be taken now; None while there is none.

        ``cpu`` must exist in it, though it is not taken (actors that hold no CPU).
        """
        for pool in self.pools(where):
            if (
                pool.fits(demand)
                and (not cpu or pool.total.get("CPU", 0) >= cpu)
                and (self.patience.kept is None or self.patience.lets(who, pool, demand))
            ):
                return pool
        return None

    def refused(self, who: Waiter, where: m.Where | None, demand: dict[str, int]) -> bool:
        """It is its turn, and there is no pool for it now. False if there never will be."""
        for pool in self.pools(where):
            if pool.feasible(demand):
                self.patience.refused(who, pool, demand)
                return True
        return False

    def _start_workers(self, env: str, wanted: int) -> None:
        workers = self.core.workers.values()
        active = sum(1 for w in workers if w.state not in (W_BLOCKED, W_ACTOR))
        missing = wanted - self.starting[env]
        # Idle processes that are left belong to other environments. Some may stay, for work that
        # alternates between two; beyond that they make room, the least recently used one first.
        over = active + missing - min(2 * self.pool_size, self.limit)
        if over > 0 and self.idle:
            ending = sum(1 for w in workers if w.state == W_DEAD)
            for worker in self.idle[: max(0, min(over, missing) - ending)]:
                self.retire(worker, "makes room")
        self.crowded = self.crowded or missing > self.limit - active
        for _ in range(self._allowed(env, min(missing, self.limit - active))):
            self.spawn(env)

    def spawn(self, env: str = "") -> None:
        self.starting[env] += 1
        worker = self.core.new_worker(env)
        self.core.effects.actions.append(SpawnWorker(worker.number, worker.id, env))

    def _lease(self, worker: Worker, queue: Queue, pool: Pool) -> None:
        task = queue.tasks.popleft()
        worker.held = demand = queue.demand
        worker.pool = pool
        worker.gpus = pool.take(demand)
        worker.job = task.job
        worker.reclaimed = bool(task.spec.spec.max_calls)  # nothing behind what may end it
        worker.lease = queue
        queue.workers[worker] = None
        self.core.move_worker(worker, W_BUSY, "leased")
        worker.queue.append(task)
        self.hand(worker, task, running=True)
        self.patience.granted(queue.shape, pool, demand)
        self.ahead.fresh.append(worker)

    def hand(self, worker: Worker, task: Task, running: bool) -> None:
        """Send one task to a worker, which runs it now or behind others."""
        core = self.core
        spec = task.spec
        peer = worker.peer
        out = core.effects.out[peer]
        if spec.number not in worker.specs:
            worker.specs.add(spec.number)
            key = spec.spec.function
            if key and key not in worker.functions:
                worker.functions.add(key)
                out.append(m.DefineFunction(key, core.functions[key]))
            out.append(m.DefineSpec(spec.number, spec.spec))
        task.worker = worker
        task.gpus = gpus = worker.gpus
        if task.stream is not None:
            core.streams.start_over(task)
        if running:
            task.started = core.now
        core.tasks.move(task, RUNNING if running else SUBMITTED, "handed to a worker")
        values = None
        if task.deps:
            table = core.objects.table
            values = [core.objects.descriptor(peer, table[oid]) for oid in task.deps]
        actor, after = b"", 0
        if task.actor is not None:
            actor = task.actor.id
            if task.after and task.incarnation == task.actor.deaths:
                after = task.after
        out.append(
            m.Execute(
                task.id, spec.number, task.args, values or [], task.attempt, actor, gpus, task.job,
                after,
            )
        )  # fmt: skip

    # --- coming back -------------------------------------------------------------------------

    def next_on(self, worker: Worker) -> None:
        """The first task of a worker's queue ended: the next one runs now, or the lease ends."""
        core = self.core
        if worker.queue:
            task = worker.queue[0]
            if task.state == SUBMITTED:
                task.started = core.now
                worker.job = task.job
                core.tasks.move(task, RUNNING, "its turn came")
            return
        spent = worker.spent
        if spent:
            self._release_but_gpus(worker)
        else:
            self.release(worker)
        if worker.state in (W_BUSY, W_BLOCKED):
            core.move_worker(worker, W_IDLE, "nothing left to do")
            worker.since = core.now
            worker.job = 0
            if worker.retiring:  # it was killed while its last report was on the way
                core.move_worker(worker, W_DEAD, worker.retiring)
            else:
                self.idle.append(worker)
                if spent:
                    self.retire(worker, "it ran a function max_calls times")

    def count_call(self, worker: Worker, task: Task) -> None:
        """A task ended whose function bounds its runs in one process."""
        key = task.spec.spec.function
        calls = worker.calls[key] = worker.calls.get(key, 0) + 1
        if calls >= task.spec.spec.max_calls:
            worker.spent = True

    def _release_but_gpus(self, worker: Worker) -> None:
        """Its memory on them is free only when its process is gone; they are given back then."""
        pool, gpus, gpu = worker.pool, worker.gpus, worker.held.get("GPU", 0)
        if gpus is not None:
            worker.held = {name: x for name, x in worker.held.items() if name != "GPU"}
            worker.gpus = None
        self.release(worker)
        if gpus is not None:
            worker.pool, worker.held, worker.gpus = pool, {"GPU": gpu}, gpus

    def release(self, worker: Worker) -> None:
        """Give back what the worker's lease holds."""
        lease = worker.lease
        if lease is not None:
            del lease.workers[worker]
            if not lease.tasks:
                self.prune(lease)
            worker.lease = None
        held = worker.held
        if held:
            if worker.blocked and "CPU" in held:  # its CPU was given back already
                held = {name: amount for name, amount in held.items() if name != "CPU"}
            worker.pool.give(held, worker.gpus)
        worker.held = {}
        worker.pool = None
        worker.gpus = None
        worker.blocked = 0

    def blocked(self, worker: Worker) -> None:
        """The worker's task waits for other work: its CPU can do that work."""
        if worker.state not in (W_BUSY, W_BLOCKED):
            return  # it has ended meanwhile, as far as we know
        worker.blocked += 1
        if worker.state == W_BUSY and worker.blocked == 1:
            self.core.move_worker(worker, W_BLOCKED, "waits in get")
            if worker.queue:
                worker.queue[0].spec.group.blocks = True
            cpu = worker.held.get("CPU", 0)
            if cpu:
                worker.pool.give({"CPU": cpu}, None)
            if len(worker.queue) > 1:
                # Sent while the worker began to wait: what it waits for may stand behind it.
                worker.reclaimed = True
                self.core.effects.out[worker.peer].append(m.Reclaim())

    def unblocked(self, worker: Worker) -> None:
        if not worker.blocked:
            return
        worker.blocked -= 1
        if worker.state == W_BLOCKED and not worker.blocked:
            self.core.move_worker(worker, W_BUSY, "goes on")
            cpu = worker.held.get("CPU", 0)
            if cpu:
                worker.pool.take({"CPU": cpu})

    def give_back(self, worker: Worker, task_ids: list[bytes]) -> None:
        """Tasks that the worker did not start return to the front of their queue."""
        returned = set(task_ids)
        kept: deque[Task] = deque()
        back: list[Task] = []
        for task in worker.queue:
            (back if task.id in returned else kept).append(task)
        worker.queue = kept
        for task in reversed(back):
            if task.cancel:
                self.core.tasks.fail_cancelled(task)
            else:
                self.core.tasks.requeue(task, "given back", again=False)
                if task.deps:
                    self.core.lineage.given_back(task)
        if back and (not kept or kept[0].state == SUBMITTED):
            self.next_on(worker)  # its first task had been reported when it gave the next one back

    # --- actors ------------------------------------------------------------------------------

    def _place_actors(self) -> None:
        waiting = self.creations
        self.creations = deque()
        lacking: Counter[str] = Counter()
        passed = 0
        refused = False
        processes = self.core.processes
        bounded = processes.most
        while waiting and passed < _ACTORS_AHEAD:  # of thousands, the first ones are enough
            task = waiting.popleft()
            spec = task.spec.spec
            where = task.spec.where
            pool = self.pool_for(task, where, spec.resources, spec.placement_cpu)
            if pool is None:
                if not refused:  # the oldest stands for all
                    refused = self.refused(task, where, spec.resources)
                self.creations.append(task)
            elif (not bounded or processes.may_place()) and (
                worker := self.idle_of(spec.env)
            ) is not None:
                self.core.actors.place(task, worker, pool)
                self.patience.granted(task, pool, spec.resources)
            else:
                self.patience.delayed(task)
                self.creations.append(task)
                lacking[spec.env] += 1
                passed += 1
        waiting.extendleft(reversed(self.creations))
        self.creations = waiting
        if self.core.now >= self.retry_at and lacking and processes.may_place():
            for env, count in lacking.items():
                for _ in range(self._allowed(env, min(count, 8) - self.starting[env])):
                    self.spawn(env)

    def _allowed(self, env: str, wanted: int) -> int:
        """How many of the processes that are wanted may be started; idle ones make room for them."""
        processes = self.core.processes
        room = processes.room()
        if wanted > room:
            processes.make_room(wanted - max(0, room), (env,))
        return min(wanted, room)

    # --- the pool ----------------------------------------------------------------------------

    def worker_ready(self, worker: Worker) -> None:
        self.starting[worker.env] -= 1
        self.failed_starts = 0
        self.retry_at = 0.0
        self.core.move_worker(worker, W_IDLE, "connected")
        worker.since = self.core.now
        self.idle.append(worker)

    def worker_lost(self, worker: Worker, was: int) -> None:
        if was == W_STARTING:
            self.starting[worker.env] -= 1
            self.failed_starts += 1
            self.retry_at = self.core.now + 0.1 * 2 ** min(self.failed_starts, 6)
        elif was == W_IDLE:
            self.idle.remove(worker)

    @property
    def pooled(self) -> int:
        """How many processes are no actors'."""
        return len(self.core.workers) - self.actor_workers

    def fill(self) -> None:
        """Keep as many processes as there are CPUs, ready before they are needed."""
        if self.core.now < self.retry_at or self.crowded:
            return
        processes = self.core.processes
        if processes.most and (self.turn or self.creations):
            return  # the room is for what waits
        for _ in range(min(self.pool_size - self.pooled, processes.room())):
            self.spawn()

    def resize(self, size: int) -> None:
        """Keep so many processes for tasks; the idle ones beyond end at once."""
        self.pool_size = size
        self.limit = max(size, 32)
        for worker in self.idle[: max(0, self.pooled - size)]:
            self.retire(worker, "the runtime was scaled down")
        self.fill()

    def tick(self) -> None:
        """Retire idle processes beyond the pool's size; reclaim what stands behind slow tasks."""
        now = self.core.now
        pooled = self.pooled
        while pooled > self.pool_size and self.idle:
            worker = self.idle[0]  # the one that was used least recently
            if now - worker.since < config.IDLE_WORKER_SECONDS:
                break
            self.retire(worker, "idle")
            pooled -= 1
        self.handed_ahead = any(len(w.queue) > 1 for w in self.core.workers.values())
        for worker in list(self.core.workers.values()):
            if worker.retiring and now - worker.since > config.RETIRE_SECONDS:
                self.kill(worker)
            if (
                len(worker.queue) > 1
                and worker.state == W_BUSY
                and not worker.reclaimed
                and now - worker.queue[0].started > config.RECLAIM_SECONDS
            ):
                worker.reclaimed = True
                self.core.effects.out[worker.peer].append(m.Reclaim())

    def retire(self, worker: Worker, reason: str) -> None:
        """Tell an idle worker to end; one that is ending already is left alone."""
        if worker.state == W_IDLE:
            self.idle.remove(worker)
            worker.retiring = reason
            worker.since = self.core.now
            self.core.workers_retired(worker)

    def disconnected(self, worker: Worker) -> None:
        """Its connection ended: it gets nothing more, and its process is of no use."""
        if worker.state == W_IDLE:
            self.idle.remove(worker)
            self.core.move_worker(worker, W_DEAD, "its connection ended")
        self.kill(worker)

    def kill(self, worker: Worker) -> None:
        self.core.effects.actions.append(KillWorker(worker.number))


def _first(answers: Iterable[bool], wanted: bool, default: int) -> int:
    """Where ``wanted`` is among the answers first; looks no further."""
    try:
        return operator.indexOf(answers, wanted)
    except ValueError:
        return default


def _room(free: dict[str, int], demand: dict[str, int]) -> int:
    """How many more tasks of this demand free resources allow."""
    return min((free[name] // amount for name, amount in demand.items()), default=64)
