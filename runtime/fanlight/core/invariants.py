"""What must hold of the core between two steps; called by the tests and by simulations.

``validate(core)`` recomputes from scratch what the core keeps up to date bit by bit: resources, pins,
counts, places. It costs time proportional to everything the core knows, so production never calls
it. The first thing that does not hold is raised as an AssertionError, with the recent story of the
record concerned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fanlight import ids
from fanlight import messages as m
from fanlight.config import UNITS
from fanlight.core import model, placement
from fanlight.core.environments import E_PREPARING
from fanlight.core.metrics import MOST_SERIES
from fanlight.core.model import Actor, Object, Task, Worker
from fanlight.core.resources import Pool
from fanlight.core.streams import may_go_on
from fanlight.ids import ACTOR_SUFFIX, handle_oid

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_LEASED = (model.W_BUSY, model.W_BLOCKED)
_SENT = (model.SUBMITTED, model.RUNNING)
_OPEN = (model.PENDING_ARGS, model.PENDING_RESOURCES, *_SENT)


def validate(core: Core) -> None:
    """Check every invariant. Raises AssertionError with the story of the first broken record."""
    _Check(core).run()


class _Check:
    def __init__(self, core: Core) -> None:
        self.core = core

    def that(self, holds: object, key: bytes, text: str) -> None:
        if not holds:
            raise AssertionError(f"{key.hex()}: {text}\nits story:\n{self.core.story.of(key)}")

    def run(self) -> None:
        self.resources()
        self.placement()
        self.queues()
        self.workers()
        self.tasks()
        self.environments()
        self.streams()
        self.groups()
        self.definitions()
        self.children()
        self.actors()
        self.objects()
        self.segments()
        self.channels()
        self.metrics()

    # --- channels ----------------------------------------------------------------------------

    def channels(self) -> None:
        core = self.core
        for oid, peer in core.objects.declared.items():
            obj = core.objects.table.get(oid)
            pending = obj is not None and obj.kind == model.PENDING
            self.that(pending, oid, "is promised, and does not wait for a value")
            self.that(peer in core.clients, oid, "is promised by a client that is gone")
        called: dict[int, dict[bytes, None]] = {}
        for actor in core.actors.table.values():
            for peer in actor.callers:
                called.setdefault(peer, {})[actor.id] = None
        assert core.channels.called == called, "actors and their callers do not match"
        lost = {t.id for t in core.tasks.table.values() if t.lost}
        assert core.channels.lost.keys() == lost, "lost calls and their records do not match"
        calls = [t for t in core.tasks.table.values() if t.spec.spec.kind == m.ACTOR_CALL]
        unfinished = Counter((t.actor.id, t.client) for t in calls if t.actor and not t.direct)
        for actor in core.actors.table.values():
            gone = actor.callers.keys() - core.clients.keys()
            self.that(not gone, actor.id, f"has callers that are gone: {gone}")
            for peer, caller in actor.callers.items():
                count = unfinished[actor.id, peer]
                self.that(
                    caller.unfinished == count,
                    actor.id,
                    f"{caller.unfinished} calls of client {peer} are counted, not {count}",
                )
            for task in actor.direct.values():
                self.that(task.direct and task.actor is actor, task.id, "is not called directly")
            again = actor.ended_calls & core.tasks.table.keys()
            self.that(not again, actor.id, f"calls have ended, and are under way: {again}")
            left = {t for t in actor.ended_calls if t[: ids.CLIENT_LEN] not in core.peers}
            self.that(not left, actor.id, "remembers calls of clients that are gone")

    # --- metrics -----------------------------------------------------------------------------

    def metrics(self) -> None:
        metrics = self.core.metrics
        found = [(metric, s) for metric in metrics.table.values() for s in metric.series.values()]
        self.that(metrics.count == len(found) <= MOST_SERIES, b"", f"{metrics.count} series")
        for metric, series in found:
            buckets = len(metric.boundaries) + 1 if metric.kind == m.HISTOGRAM else 0
            self.that(len(series.counts) == buckets, b"", "a histogram has other buckets")

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
            self.that(not (could and idle), task.id, "could be placed on an idle worker")

    # --- workers -----------------------------------------------------------------------------

    def workers(self) -> None:
        core, scheduler = self.core, self.core.scheduler
        states = Counter(w.state for w in core.workers.values())
        starting = Counter(w.env for w in core.workers.values() if w.state == model.W_STARTING)
        assert +scheduler.starting == starting, (
            f"{scheduler.starting} starting workers are counted, not {starting}"
        )
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

    # --- tasks -------------------------------------------------------------------------------

    def tasks(self) -> None:
        """Each task in exactly one place, the one of its state; nothing else in any place."""
        core = self.core
        places: dict[int, list[str]] = {}  # by id() of the record: what stands there must be it

        def put(tasks: Iterable[Task], place: str) -> None:
            for task in tasks:
                self.that(core.tasks.table.get(task.id) is task, task.id, f"{place}, not in table")
                places.setdefault(id(task), []).append(place)

        for queue in core.scheduler.queues.values():
            put(queue.tasks, "queue")
        put(core.scheduler.creations, "creations")
        for env in core.environments.table.values():
            put(env.waiting.values(), "environment")
        for worker in core.workers.values():
            put(worker.queue, "worker")
        for actor in core.actors.table.values():
            put(actor.backlog, "backlog")
            put(actor.flight.values(), "flight")
            put(actor.direct.values(), "direct")
            for line in actor.lines.values():
                put(line, "line")
        for key, task in core.tasks.table.items():
            self.that(task.id == key, task.id, "stands under another id")
            self.that(task.state in _OPEN, task.id, f"is in the table with state {task.state}")
            ready = core.environments.ready(task.spec.spec.env)
            held = task.state == model.PENDING_RESOURCES and not ready
            found = places.get(id(task), [])
            expected = ["environment"] if held else _place(task)
            self.that(found == expected, task.id, f"is in {found}, should be in {expected}")
            self.arguments(task)
            self.that(task.cancel or not task.doom, task.id, "is doomed and not cancelled")
            sent = task.state in _SENT
            self.that((task.worker is not None) == sent, task.id, "its worker is not as its state")

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

    def arguments(self, task: Task) -> None:
        table = self.core.objects.table
        if task.state != model.PENDING_ARGS:
            self.that(task.missing == 0, task.id, f"left PENDING_ARGS with {task.missing} missing")
            return
        missing = 0
        for oid in task.deps:
            obj = table.get(oid)
            self.that(obj is not None, task.id, f"waits for {oid.hex()}, which is not known")
            if obj is not None and obj.kind == model.PENDING:
                missing += 1
                waits = sum(waiter is task for waiter in obj.waiters or ())
                self.that(waits == task.deps.count(oid), task.id, "is not told of an argument")
        self.that(missing == task.missing, task.id, f"{missing} missing, not {task.missing}")
        if task.actor is None or task.spec.spec.kind == m.ACTOR_CREATE:
            self.that(missing, task.id, "its arguments are ready")

    def streams(self) -> None:
        core = self.core
        expected = {
            key: task
            for key, task in core.tasks.table.items()
            if task.spec.spec.num_returns == m.STREAMING
        }
        assert core.streams.table == expected, "generators and their streams do not match"
        for key, task in expected.items():
            stream = task.stream
            self.that(stream is not None, key, "has no stream")
            assert stream is not None
            self.that(stream.seen <= stream.delivered, key, "has items that were not delivered")
            gone = task.client not in core.clients
            self.that(stream.closed or not gone, key, "yields to a client that is gone")
            if stream.paused and task.worker is not None:
                self.that(not may_go_on(task, stream), key, "is paused for nothing")

    def groups(self) -> None:
        counted = Counter((t.spec.group.number, t.state) for t in self.core.tasks.table.values())
        for number, group in self.core.groups.items():
            assert group.number == number
            for state in _OPEN:
                assert group.counts[state] == counted[number, state], (
                    f"group {group.name}: {group.counts[state]} counted as "
                    f"{model.TASK_STATES[state]}, not {counted[number, state]}"
                )
            assert min(group.counts) >= 0, f"group {group.name} counts {group.counts}"

    def definitions(self) -> None:
        """What may still be used is known, and aggregates are found under their numbers."""
        core = self.core
        used = [spec for client in core.clients.values() for spec in client.specs.values()]
        used += [task.spec for task in core.tasks.table.values()]
        used += [a.spec for a in core.actors.table.values() if a.state != model.A_DEAD]
        for spec in used:
            name, key = spec.spec.name, spec.spec.function
            assert not key or key in core.functions, f"the function of {name} was forgotten"
            assert core.groups.get(spec.group.number) is spec.group, f"the group of {name} is gone"
        for source, target, _ in core.edges:
            known = source in core.groups and target in core.groups
            assert known, f"an edge of groups that are gone: {source} to {target}"

    def children(self) -> None:
        expected: dict[bytes, dict[bytes, None]] = {}
        for task in self.core.tasks.table.values():
            if task.parent and task.spec.spec.kind != m.ACTOR_CREATE:
                expected.setdefault(task.parent, {})[task.id] = None
        assert self.core.tasks.children == expected, "children and parents do not match"

    # --- actors ------------------------------------------------------------------------------

    def actors(self) -> None:
        core = self.core
        named = {}
        called: dict[int, dict[bytes, None]] = {}
        for key, actor in core.actors.table.items():
            for peer in actor.callers:
                called.setdefault(peer, {})[key] = None
        assert called == core.channels.called, "callers of actors are not found by their peer"
        for key, actor in core.actors.table.items():
            self.that(actor.id == key, actor.id, "stands under another id")
            if actor.state == model.A_DEAD:
                calls = actor.flight or actor.backlog or actor.lines or actor.direct
                empty = not (calls or actor.worker)
                self.that(empty, actor.id, "is dead and still has calls or a process")
                self.that(actor.id in core.dead_actors, actor.id, "is dead and never forgotten")
                continue
            if actor.name:
                named[actor.namespace, actor.name] = actor
            self.actor(actor)
        assert core.actors.names == named, "names and actors do not match"

    def actor(self, actor: Actor) -> None:
        core = self.core
        alive = actor.state == model.A_ALIVE
        create, worker = actor.create, actor.worker
        self.that(create is not None, actor.id, "has no constructor")
        assert create is not None
        building = core.tasks.table.get(create.id) is create
        self.that(building != alive, actor.id, "its constructor is not as its state")
        if worker is not None:
            self.that(worker.actor is actor, actor.id, "its process is not its own")
            own = worker.env == actor.spec.spec.env
            self.that(own, actor.id, "its process is in another runtime environment")
            self.that(core.workers.get(worker.number) is worker, actor.id, "its process is gone")
        else:
            self.that(not alive, actor.id, "is alive without a process")
        self.that(alive or not actor.flight, actor.id, "has calls in flight and is not alive")
        for line in actor.lines.values():
            self.that(line, actor.id, "keeps an empty line")
            self.that(not alive or line[0].missing, actor.id, "could have taken a call")
        if alive and actor.backlog and worker is not None and worker.peer in core.clients:
            self.that(
                len(actor.flight) > actor.spec.spec.max_concurrency, actor.id, "sends nothing"
            )
        handle = core.objects.table.get(handle_oid(actor.id))
        self.that(handle is not None, actor.id, "lives without a count of its handles")
        if handle is not None and not handle.holders and not handle.pins:
            self.that(actor.exit_reason, actor.id, "has no handle and does not end")
            self.that(building and worker, actor.id, "has no handle and nothing to finish")

    # --- objects -----------------------------------------------------------------------------

    def objects(self) -> None:
        core = self.core
        pins: Counter[bytes] = Counter()
        for task in core.tasks.table.values():
            pins.update(task.deps)
            pins.update(task.pins)
            if task.actor is None or task.direct:
                continue
            if task.spec.spec.kind != m.ACTOR_CREATE:
                pins[handle_oid(task.actor.id)] += 1
        for actor in core.actors.table.values():
            if actor.state != model.A_DEAD:
                pins.update(actor.message.deps)
                pins.update(actor.message.pins)
                pins[handle_oid(actor.id)] += actor.detached
        for obj in core.objects.table.values():
            pins.update(obj.contained or ())
        inline = 0
        for oid, obj in core.objects.table.items():
            self.that(obj.id == oid, oid, "stands under another id")
            self.that(obj.pins == pins[oid], oid, f"has {obj.pins} pins, should have {pins[oid]}")
            self.object(obj)
            if obj.kind not in (model.PENDING, m.STORED):
                inline += len(obj.data)
        assert core.objects.inline == inline, f"{core.objects.inline} inline bytes, not {inline}"

    def object(self, obj: Object) -> None:
        core = self.core
        handle = obj.id.endswith(ACTOR_SUFFIX) and obj.id[: ids.ACTOR_LEN] in core.actors.table
        groups = core.placement.table.values()
        awaited = any(oid == obj.id for group in groups for oid, _ in group.waiting)
        made = handle or awaited or core.objects.will_come(obj.id)
        if obj.kind == model.PENDING:
            self.that(made, obj.id, "is pending and nobody makes it")
        else:
            self.that(obj.holders or obj.pins, obj.id, "is held by nobody")
            self.that(obj.waiters is None, obj.id, "is ready, and tasks wait for it")
            self.that(obj.subscribers is None, obj.id, "is ready, and clients wait for it")
        peers = {*(obj.others or ()), *(obj.subscribers or ())} | ({obj.owner} - {0})
        gone = peers - core.clients.keys()
        self.that(not gone, obj.id, f"is held or awaited by clients that are gone: {gone}")
        unknown = peers - core.objects.touched
        self.that(not unknown, obj.id, f"is held by {unknown}, who would leave without a search")

    def segments(self) -> None:
        core, objects = self.core, self.core.objects
        stored = Counter(o.data.decode() for o in objects.table.values() if o.kind == m.STORED)
        for name, segment in objects.segments.items():
            users, gone = stored.pop(name, 0), segment.mapped.keys() - core.clients.keys()
            assert users == int(segment.live), f"segment {name} holds {users} objects"
            assert not gone, f"segment {name} is mapped by clients that are gone: {gone}"
            assert all(n > 0 for n in segment.mapped.values()), f"segment {name}: {segment.mapped}"
            if segment.cached:
                assert not segment.live and not segment.mapped, f"segment {name} is in use"
                assert segment.maker in core.clients, f"segment {name}: its maker is gone"
            else:
                assert segment.live or segment.mapped, f"segment {name} is of no use"
        assert not stored, f"objects in segments that are gone: {list(stored)}"
        sizes = [(s.size, s.cached) for s in objects.segments.values()]
        assert objects.used == sum(size for size, _ in sizes), "bytes used"
        assert objects.cached == sum(size for size, cached in sizes if cached), "bytes cached"
        reserved = [c.reserved for c in core.clients.values()]
        assert min(reserved, default=0) >= 0, f"bytes reserved: {reserved}"
        assert objects.reserved == sum(reserved), "bytes reserved"


def _place(task: Task) -> list[str]:
    """Where a task of its state and kind stands."""
    kind = task.spec.spec.kind
    if task.direct:
        return ["direct"] if task.state in _SENT else ["nowhere"]
    if kind == m.TASK:
        places: tuple[list[str], ...] = ([], ["queue"], ["worker"], ["worker"])
    elif kind == m.ACTOR_CREATE:
        places = ([], ["creations"], [], [])
    else:
        places = (["line"], ["backlog"], ["flight"], ["flight"])
    return places[task.state]
