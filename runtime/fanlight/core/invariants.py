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
from fanlight.core import model
from fanlight.core.invariants_places import PlaceChecks
from fanlight.core.invariants_store import validate_room, validate_spilling
from fanlight.core.metrics import MOST_SERIES
from fanlight.core.model import Actor, Object, Task
from fanlight.core.streams import may_go_on
from fanlight.ids import ACTOR_SUFFIX, handle_oid

if TYPE_CHECKING:
    from fanlight.core.machine import Core

_SENT = (model.SUBMITTED, model.RUNNING)
_OPEN = (model.PENDING_ARGS, model.PENDING_RESOURCES, *_SENT)


def validate(core: Core) -> None:
    """Check every invariant. Raises AssertionError with the story of the first broken record."""
    _Check(core).run()


class _Check(PlaceChecks):
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
        self.lineage()
        validate_room(self.core)
        validate_spilling(self.core)
        self.channels()
        self.metrics()
        self.stopped()

    def stopped(self) -> None:
        """What is noted of stopped processes is of processes that there are."""
        stopped = self.core.stopped
        assert stopped.table.keys() <= self.core.workers.keys()
        assert stopped.table.keys() == stopped._since.keys() >= stopped._told

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

    # --- lineage -----------------------------------------------------------------------------

    def lineage(self) -> None:
        core, lineage = self.core, self.core.lineage
        table = core.objects.table
        wanted: Counter[bytes] = Counter()
        for key, past in lineage.table.items():
            self.that(past.id == key, key, "its past stands under another id")
            self.that(key not in lineage.evicted, key, "its past was dropped, and is there")
            wanted.update(past.needs)
            used = past.results or key in lineage.wanted or key in lineage.running
            self.that(used, key, "has a past that nobody needs")
            for oid in past.results:
                obj = table.get(oid)
                self.that(obj and obj.size > lineage.large, oid, "is kept track of, and is small")
        assert lineage.wanted == wanted, "pasts are not wanted as often as they are needed"
        assert lineage.size == sum(past.size for past in lineage.table.values()), "lineage's bytes"
        assert lineage.size <= core.config.lineage_bytes, "the lineage takes too much"
        for key, results in lineage.evicted.items():
            self.that(results and results <= table.keys(), key, "lost its past, and all results")
        for key in lineage.running:
            self.that(key in core.tasks.table, key, "runs again, and is not under way")
        for task in core.streams.table.values():
            assert task.stream is not None
            for oid in task.stream.missing:
                obj = table.get(oid)
                lost = obj is not None and obj.kind == model.PENDING
                self.that(lost, oid, "is to be made again, and was not lost")

    # --- metrics -----------------------------------------------------------------------------

    def metrics(self) -> None:
        metrics = self.core.metrics
        found = [(metric, s) for metric in metrics.table.values() for s in metric.series.values()]
        self.that(metrics.count == len(found) <= MOST_SERIES, b"", f"{metrics.count} series")
        for metric, series in found:
            buckets = len(metric.boundaries) + 1 if metric.kind == m.HISTOGRAM else 0
            self.that(len(series.counts) == buckets, b"", "a histogram has other buckets")

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
        put(core.memory.held.values(), "memory")
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
            if key in core.memory.held:
                expected = ["memory"]
                self.that(key in core.memory.records, key, "waits for memory and was not ended")
                waits = task.state == model.PENDING_RESOURCES
                self.that(waits, key, "waits for memory against its state")
            self.that(found == expected, task.id, f"is in {found}, should be in {expected}")
            self.arguments(task)
            self.that(task.cancel or not task.doom, task.id, "is doomed and not cancelled")
            sent = task.state in _SENT
            self.that((task.worker is not None) == sent, task.id, "its worker is not as its state")

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
        used += [past.spec for past in core.lineage.table.values()]
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
            if segment.live:
                held = objects.table[segment.oid]
                assert held.data.decode() == name, f"segment {name} holds another object"
            if segment.cached:
                assert not segment.live and not segment.mapped, f"segment {name} is in use"
                assert segment.maker in core.clients, f"segment {name}: its maker is gone"
            else:
                assert segment.live or segment.mapped, f"segment {name} is of no use"
        assert not stored, f"objects in segments that are gone: {list(stored)}"
        disk = sum(s.size for s in objects.segments.values() if s.disk)
        assert objects.on_disk == disk, "bytes of segments on disk"
        sizes = [(s.size, s.cached) for s in objects.segments.values() if not s.disk]
        assert objects.used == sum(size for size, _ in sizes), "bytes used"
        mapped = sum(s.size for s in objects.segments.values() if s.mapped and not s.disk)
        assert objects.mapped == mapped, "bytes mapped"
        assert objects.cached == sum(size for size, cached in sizes if cached), "bytes cached"
        reserved = [c.reserved for c in core.clients.values()]
        assert min(reserved, default=0) >= 0, f"bytes reserved: {reserved}"
        back = sum(read.size for read in core.spilling.reads.values())
        assert objects.reserved == sum(reserved) + back, "bytes reserved"


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
