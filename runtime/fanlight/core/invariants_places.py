"""The part of :mod:`fanlight.core.invariants` about what work runs on: resources, placement groups,
queues, workers and runtime environments.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fanlight.config import UNITS
from fanlight.core import model, placement
from fanlight.core.environments import E_PREPARING
from fanlight.core.model import Worker
from fanlight.core.resources import Pool

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_LEASED = (model.W_BUSY, model.W_BLOCKED)


class PlaceChecks:
    """Checks of a core's places; raises AssertionError."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def that(self, holds: object, key: bytes, text: str) -> None:
        if not holds:
            raise AssertionError(f"{key.hex()}: {text}\nits story:\n{self.core.story.of(key)}")

    # --- resources ---------------------------------------------------------------------------

    def resources(self) -> None:
        core = self.core
        reserved: Counter[str] = Counter()
        devices = [UNITS] * len(core.pool.devices)
        for group in core.placement.table.values():
            for i, bundle in enumerate(group.bundles):
                parts = [0] * len(devices)
                for d in bundle.owned or ():
                    parts[d] = min(bundle.total["GPU"], UNITS)
                    devices[d] -= parts[d]
                reserved.update(bundle.total)
                assert bundle.total == group.demands[i], f"bundle {i} of {group.label} changed"
                self.pool(bundle, Counter(), parts, f"bundle {i} of {group.label}")
        self.pool(core.pool, reserved, devices, "the node")
        pools = [core.pool, *(b for g in core.placement.table.values() for b in g.bundles)]
        for worker in core.workers.values():
            if worker.pool is None:
                self.that(not worker.held, worker.id, f"holds {worker.held} of no pool")
            else:
                self.that(any(worker.pool is p for p in pools), worker.id, "holds of a lost pool")

    def pool(self, pool: Pool, reserved: Counter[str], devices: list[int], label: str) -> None:
        """Free + held + reserved = total, of each resource and of each GPU."""
        held: Counter[str] = Counter()
        for worker in self.core.workers.values():
            if worker.pool is not pool:
                continue
            for name, amount in worker.held.items():
                if name != "CPU" or not worker.blocked:
                    held[name] += amount
            for i in worker.gpus or ():
                devices[i] -= min(worker.held["GPU"], UNITS)
            gpu = worker.held.get("GPU", 0)
            want = -(-gpu // UNITS) if gpu else 0
            self.that(len(worker.gpus or ()) == want, worker.id, f"holds {worker.gpus} for {gpu}")
        for name in pool.total.keys() | pool.available.keys() | held.keys():
            total, free = pool.total.get(name, 0), pool.available.get(name, 0)
            assert free + held[name] + reserved[name] == total, (
                f"{label}: {name}: {free} available, {held[name]} held and {reserved[name]} "
                f"reserved are not {total}"
            )
            assert free >= 0 or name == "CPU", f"{label}: {name} is overcommitted: {free}"
        assert devices == pool.devices, f"{label}: free of GPUs: {pool.devices}, held: {devices}"
        assert all(part >= 0 for part in devices), f"{label}: a GPU is overcommitted: {devices}"

    # --- placement groups --------------------------------------------------------------------

    def placement(self) -> None:
        core, groups = self.core, self.core.placement
        named = {}
        for key, group in groups.table.items():
            self.that(group.id == key, key, "stands under another id")
            pending = group.state == placement.G_PENDING
            created = group.state == placement.G_CREATED
            self.that((key in groups.pending) == pending, key, "is pending against its state")
            self.that(bool(group.bundles) == created, key, "has bundles against its state")
            self.that(pending or not group.waiting, key, "is not pending, and objects wait for it")
            self.that(created or pending or key in groups.removed, key, "is never forgotten")
            if group.name and (created or pending):
                named[group.namespace, group.name] = group
            if group.owner and (created or pending) and not group.detached:
                actor = core.actors.table.get(group.owner)
                self.that(actor and actor.state != model.A_DEAD, key, "outlived its actor")
        assert groups.names == named, "names and placement groups do not match"
        oldest = next(iter(groups.pending.values()), None)
        if oldest is not None and not groups.never(oldest):
            fits = len(oldest.demands) == 1 and core.scheduler.pool_for(
                oldest, None, oldest.demands[0]
            )
            self.that(not fits, oldest.id, "could be reserved")
        for task in core.tasks.table.values():
            waits = task.state in (model.PENDING_ARGS, model.PENDING_RESOURCES)
            self.that(not waits or not groups.ended(task), task.id, "waits for a removed group")

    # --- the scheduler -----------------------------------------------------------------------

    def queues(self) -> None:
        core, scheduler = self.core, self.core.scheduler
        waiting = [q for q in scheduler.queues.values() if q.tasks]
        assert len(scheduler.turn) == len(waiting), "a queue has its turn twice, or not at all"
        for queue in waiting:
            assert queue in scheduler.turn, f"queue {queue.key} has tasks and never its turn"
            assert core.environments.ready(queue.env), f"{queue.key}: its environment is not ready"
            idle = any(w.env == queue.env for w in scheduler.idle)
            processes = core.processes
            idle = idle and (not processes.most or processes.may_lease(queue.tasks[0]))
            assert not (idle and scheduler.pool_for(queue.key[0], queue.where, queue.demand)), (
                f"{queue.tasks[0].name} could run on an idle worker"
            )
        for key, queue in scheduler.queues.items():
            assert key == queue.key
            assert queue.tasks or queue.workers or key[1] in core.clients, (
                f"queue {key} of a client that is gone"
            )
            for worker in queue.workers:
                self.that(worker.lease is queue, worker.id, "is leased to two queues")
                self.that(core.workers.get(worker.number) is worker, worker.id, "leased, but gone")
        for task in scheduler.creations:
            spec = task.spec.spec
            could = scheduler.pool_for(task, task.spec.where, spec.resources, spec.placement_cpu)
            idle = any(w.env == spec.env for w in scheduler.idle)
            idle = idle and core.processes.may_place()
            self.that(not (could and idle), task.id, "could be placed on an idle worker")

    # --- workers -----------------------------------------------------------------------------

    def workers(self) -> None:
        core, scheduler = self.core, self.core.scheduler
        states = Counter(w.state for w in core.workers.values())
        starting = Counter(w.env for w in core.workers.values() if w.state == model.W_STARTING)
        assert +scheduler.starting == starting, (
            f"{scheduler.starting} starting workers are counted, not {starting}"
        )
        most = core.processes.most
        assert not most or len(core.workers) <= most, f"{len(core.workers)} processes, not {most}"
        assert len(scheduler.idle) == states[model.W_IDLE], "idle list and states differ"
        assert scheduler.actor_workers == states[model.W_ACTOR], "actors' processes are miscounted"
        for worker in scheduler.idle:
            self.that(worker.state == model.W_IDLE, worker.id, "is in the idle list")
            self.that(worker.peer in core.clients, worker.id, "is idle and not connected")
            self.that(not worker.retiring, worker.id, "is idle and told to end")
        for number, worker in core.workers.items():
            self.that(worker.number == number, worker.id, "stands under another's number")
            self.worker(worker)
        for peer, client in core.clients.items():
            assert client.peer == peer
            if client.worker is not None:
                self.that(client.worker.peer == peer, client.worker.id, "has another connection")

    def worker(self, worker: Worker) -> None:
        leased = worker.state in _LEASED
        self.that((worker.lease is not None) == leased, worker.id, "leased against its state")
        self.that(bool(worker.queue) == leased, worker.id, "has tasks against its state")
        if worker.lease is not None:
            self.that(worker in worker.lease.workers, worker.id, "its queue does not know it")
            self.that(worker.held == worker.lease.demand, worker.id, "holds not what is leased")
            blocked = worker.state == model.W_BLOCKED
            self.that(bool(worker.blocked) == blocked, worker.id, "blocked against its state")
        elif worker.actor is None:
            # The GPUs of a process that ends to free their memory are its own until it is gone.
            ending = worker.spent and worker.state == model.W_DEAD and set(worker.held) == {"GPU"}
            self.that(not worker.held or ending, worker.id, f"holds {worker.held} for nothing")
        if worker.actor is not None:
            self.that(worker.state == model.W_ACTOR, worker.id, "is an actor against its state")
            self.that(worker.actor.worker is worker, worker.id, "is not its actor's process")
        free = worker.state in (model.W_STARTING, model.W_IDLE)
        self.that(not (worker.spent and free), worker.id, "ran a function too often and goes on")
        for position, task in enumerate(worker.queue):
            self.that(task.spec.spec.env == worker.env, task.id, "is in another environment")
            self.that(task.worker is worker, task.id, "is in the queue of another's worker")
            state = model.RUNNING if position == 0 else model.SUBMITTED
            self.that(task.state == state, task.id, f"is number {position} in a worker's queue")

    # --- runtime environments ----------------------------------------------------------------

    def environments(self) -> None:
        core = self.core
        numbers = {}
        for key, env in core.environments.table.items():
            name = key.encode()
            self.that(env.key == key, name, "stands under another key")
            preparing = env.state == E_PREPARING
            self.that(preparing == bool(env.number), name, "is prepared against its state")
            if preparing:
                numbers[env.number] = env
                self.that(env.waiting or env.eager, name, "is prepared for nobody")
            else:
                self.that(not env.waiting, name, "has tasks that wait for nothing")
        assert core.environments.preparing == numbers, "preparations and environments do not match"
        for worker in core.workers.values():
            known = not worker.env or worker.env in core.environments.table
            self.that(known, worker.id, "belongs to an unknown environment")
