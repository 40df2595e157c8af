"""Everything that clients and workers may do, in any order; the invariants hold after each step."""

from __future__ import annotations

from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fanlight import ids
from fanlight import messages as m
from fanlight.core import definitions
from fanlight.core import effects as fx
from fanlight.core.objects import ACTOR_SUFFIX
from fanlight.testing.builders import actor_spec, method_spec, task_spec, units
from fanlight.testing.clients import SimulatedClient, StoreFull
from fanlight.testing.simulation import SimulatedNode
from fanlight.testing.workers import SimulatedWorker
from fanlight.testing.world import everybody_leaves, finish_everything

pick = st.integers(0, 1 << 16)
sizes = st.sampled_from([8, 8, 150, 400, 410, 900])
specs = st.sampled_from(
    [
        task_spec("quick"),
        task_spec("retried", retries=2),
        task_spec("tries", retries=1, retry_exceptions=True),
        task_spec("pair", returns=2),
        task_spec("silent", returns=0),
        task_spec("free", cpus=0),
        task_spec("wide", cpus=2),
        task_spec("gpu", gpus=1, retries=-1),
        task_spec("part", gpus=0.5),
        task_spec("custom", cpus=0, disk=1),
        task_spec("never", cpus=5),
        task_spec("twice", calls=2, retries=1, retry_exceptions=True),
        task_spec("frees", gpus=1, calls=1),
        task_spec("vars", env="vars"),
        task_spec("vars", env="vars", retries=1, gpus=0.5, calls=2),
        task_spec("pip", env="pip a"),
        task_spec("pip2", env="pip b", cpus=0),
        task_spec("items", returns=m.STREAMING, retries=1, retry_exceptions=True),
        task_spec("few", returns=m.STREAMING, backpressure=1, retries=-1),
    ]
)
actor_specs = st.sampled_from(
    [
        actor_spec("Plain"),
        actor_spec("Wide", concurrency=2),
        actor_spec("Heavy", cpus=1),
        actor_spec("Gpu", gpus=0.5),
        actor_spec("Vars", env="vars"),
        actor_spec("Pip", env="pip a"),
        actor_spec("Groups", groups={"io": 2, "one": 1}),
        actor_spec("Loose", unordered=True),
    ]
)
method_specs = st.sampled_from(
    [
        method_spec("A.m"),
        method_spec("A.two", returns=2),
        method_spec("A.none", returns=0),
        method_spec("A.io", group="io"),
        method_spec("A.one", group="one"),
        method_spec("A.r", retries=1, retry_exceptions=True),
        method_spec("A.g", returns=m.STREAMING, retries=1),
    ]
)


bundles = st.sampled_from(
    [
        [units(1)],
        [units(0.5, 1), units(0.5)],
        [units(gpus=0.5), units(gpus=0.5)],
        [units(1), units(1, disk=1)],
        [units(2, 1)],
        [units(3)],
    ]
)


_NO = m.Execute(b"", 0, b"", [])


def one(items: Any, index: int) -> Any:
    found = list(items)
    return found[index % len(found)]


class CoreMachine(RuleBasedStateMachine):
    """A runtime of two CPUs and one GPU under random use."""

    @initialize(
        prompt=st.booleans(), channels=st.sampled_from([True, True, False]),
        most=st.sampled_from([0, 0, 0, 1, 3]), spill=st.sampled_from([True, True, False]),
    )  # fmt: skip
    def begin(self, prompt: bool, channels: bool, most: int, spill: bool) -> None:
        self.patch = mock.patch.object(definitions, "_LOOSE", 0)  # swept at once
        self.patch.start()
        self.node = SimulatedNode(
            2,
            1,
            disk=1,
            prompt=prompt,
            capacity=1600 if spill else 4000,
            pool_size=2,
            persistent=True,
            channels=channels,
            lineage_bytes=8_000,  # of a few tasks
            max_processes=most,
            spill=spill,
        )
        self.node.driver()

    # --- choosing ----------------------------------------------------------------------------

    def drivers(self) -> list[SimulatedClient]:
        workers = {w.peer for w in self.node.workers.values()}
        return [c for p, c in self.node.clients.items() if p not in workers]

    def client(self, index: int) -> SimulatedClient:
        """Somebody who may submit: a driver, or a worker that runs something."""
        return one([*self.drivers(), *self.node.busy()], index)

    def refs(self, client: SimulatedClient, indices: list[int]) -> list[bytes]:
        held = [oid for oid in client.values if not oid.endswith(ACTOR_SUFFIX)]
        return [one(held, i) for i in indices] if held else []

    def inside(self, client: SimulatedClient, indices: list[int], into: bytes = b"") -> list[bytes]:
        """Refs and handles to put into a value; older ones than the object that they go into,
        since counting references does not free cycles."""
        born = self.node.born
        limit = born.get(into, len(born))
        held = [oid for oid in client.values if born[oid] < limit]
        return [one(held, i) for i in indices] if held else []

    def actors(self, client: SimulatedClient) -> list[bytes]:
        return [oid[:16] for oid in client.values if oid.endswith(ACTOR_SUFFIX)]

    def running(self, index: int) -> tuple[SimulatedWorker, bytes]:
        return one(self.runners(), index)

    def runners(self) -> list[tuple[SimulatedWorker, bytes]]:
        """Tasks that may do something, and their workers."""
        return [
            (w, t)
            for w in self.node.busy()
            for t in w.running
            if not w.blocked and t not in w.paused
        ]

    def some_run(self) -> bool:
        return bool(self.runners())

    def generators(self) -> list[tuple[SimulatedWorker, bytes]]:
        return [
            (w, t)
            for w, t in self.runners()
            if w.specs[w.running[t].spec].num_returns == m.STREAMING
        ]

    def some_plain(self) -> bool:
        return bool(self.plain())

    def plain(self) -> list[SimulatedWorker]:
        """Workers that run a task, not an actor's."""
        return [
            w
            for w in self.node.busy()
            if not w.blocked
            and w.current not in w.paused
            and w.specs[w.running[w.current].spec].kind == m.TASK
        ]

    # --- clients -----------------------------------------------------------------------------

    @rule(who=pick, spec=specs, deps=st.lists(pick, max_size=3), pins=st.lists(pick, max_size=2))
    def submit(self, who: int, spec: m.TaskSpec, deps: list[int], pins: list[int]) -> None:
        client = self.client(who)
        client.submit(spec, self.refs(client, deps), self.inside(client, pins))

    @rule(who=pick)
    def forget_specs(self, who: int) -> None:
        self.client(who).forget_specs()

    # --- placement groups --------------------------------------------------------------------

    @precondition(lambda self: len(self.groups()) < 4)
    @rule(
        who=pick, bundles=bundles, name=st.sampled_from(["", "g"]), detached=st.booleans(),
        strategy=st.sampled_from(["PACK", "PACK", "STRICT_SPREAD"]),
    )  # fmt: skip
    def create_group(
        self, who: int, bundles: list[dict[str, int]], name: str, detached: bool, strategy: str
    ) -> None:
        try:
            self.client(who).create_group(
                *bundles, strategy=strategy, name=name, detached=detached and bool(name)
            )
        except LookupError:
            assert name

    def groups(self) -> list[bytes]:
        removed = self.node.core.placement.removed
        return [g for g in self.node.core.placement.table if g not in removed]

    @precondition(lambda self: self.node.core.placement.table)
    @rule(
        who=pick, which=pick, bundle=st.sampled_from([-1, -1, 0, 1]), spec=specs,
        count=st.integers(1, 4), quick=st.booleans(),
    )  # fmt: skip
    def submit_inside(
        self, who: int, which: int, bundle: int, spec: m.TaskSpec, count: int, quick: bool
    ) -> None:
        where = m.Where(one(self.node.core.placement.table, which), bundle)
        client = self.client(who)
        for _ in range(count):
            client.submit(msgspec.structs.replace(spec, where=where))
        if quick and self.some_plain():
            one(self.plain(), which).finish(duration=0.0001)

    @precondition(lambda self: self.node.core.placement.table)
    @rule(who=pick, which=pick, spec=actor_specs, restarts=st.sampled_from([0, 1]))
    def create_actor_inside(self, who: int, which: int, spec: m.TaskSpec, restarts: int) -> None:
        where = m.Where(one(self.node.core.placement.table, which))
        spec = msgspec.structs.replace(spec, where=where)
        self.client(who).create_actor(spec, max_restarts=restarts)

    @precondition(lambda self: self.node.core.placement.table)
    @rule(who=pick, which=pick)
    def group_ready(self, who: int, which: int) -> None:
        self.client(who).group_ready(one(self.node.core.placement.table, which))

    @precondition(lambda self: self.node.core.placement.table)
    @rule(which=pick)
    def remove_group(self, which: int) -> None:
        group = one(self.node.core.placement.table, which)
        self.node.post([(0, m.RemoveGroup(group))])

    # --- many at once ------------------------------------------------------------------------

    @rule(who=pick, spec=specs, count=st.integers(2, 9), quick=st.booleans())
    def submit_many(self, who: int, spec: m.TaskSpec, count: int, quick: bool) -> None:
        client = self.client(who)
        for _ in range(count):
            client.submit(spec)
        if quick and self.some_plain():  # so that the next ones are handed out ahead
            one(self.plain(), who).finish(duration=0.0001)

    @rule(
        who=pick,
        spec=actor_specs,
        deps=st.lists(pick, max_size=2),
        pins=st.lists(pick, max_size=1),
        name=st.sampled_from(["", "", "a", "b"]),
        detached=st.booleans(),
        restarts=st.sampled_from([0, 0, 1, -1]),
        task_retries=st.sampled_from([0, 1]),
        exists=st.booleans(),
    )
    def create_actor(
        self, who: int, spec: m.TaskSpec, deps: list[int], pins: list[int], name: str,
        detached: bool, restarts: int, task_retries: int, exists: bool,
    ) -> None:  # fmt: skip
        client = self.client(who)
        try:
            client.create_actor(
                spec,
                self.refs(client, deps),
                self.inside(client, pins),
                name=name,
                detached=detached and bool(name),
                max_restarts=restarts,
                max_task_retries=task_retries,
                get_if_exists=exists,
            )
        except LookupError:
            assert name

    @rule(
        who=pick,
        which=pick,
        spec=method_specs,
        deps=st.lists(st.lists(pick, max_size=2), min_size=1, max_size=3),
    )
    def call(self, who: int, which: int, spec: m.TaskSpec, deps: list[list[int]]) -> None:
        client = self.client(who)
        actors = self.actors(client)
        if actors:
            for some in deps:
                client.submit(spec, self.refs(client, some), actor=one(actors, which))

    @rule(who=pick, which=pick, restarts=st.sampled_from([0, 1]), count=st.integers(1, 4))
    def open_channel(self, who: int, which: int, restarts: int, count: int) -> None:
        """Some use of one actor, as programs do it: calls go straight to it after a while."""
        client, spec = self.client(who), method_spec("A.m")
        actors = self.actors(client) or [
            client.create_actor(actor_spec("Plain"), max_restarts=restarts)
        ]
        actor = one(actors, which)
        for _ in range(3):
            for worker in self.node.busy():
                if worker.actor == actor or worker.running.get(worker.current, _NO).actor == actor:
                    worker.finish()
            client.submit(spec, actor=actor)
        for worker in self.node.busy():
            for task in list(worker.running) if worker.actor == actor else ():
                worker.finish(task)
        for _ in range(count):
            client.submit(spec, actor=actor)

    @precondition(lambda self: any(w.actor for w in self.node.workers.values()))
    @rule(who=pick, running=st.booleans())
    def report_calls(self, who: int, running: bool) -> None:
        one([w for w in self.node.workers.values() if w.actor], who).callers.report(running)

    @rule(who=pick, size=sizes, inside=st.lists(pick, max_size=2))
    def put(self, who: int, size: int, inside: list[int]) -> None:
        client = self.client(who)
        try:
            client.put(size, self.inside(client, inside))
        except StoreFull:
            pass

    @precondition(lambda self: self.stored())
    @rule(which=pick)
    def lose(self, which: int) -> None:
        """The bytes of an object are gone."""
        self.node.lose(one(self.stored(), which))

    def stored(self) -> list[bytes]:
        table = self.node.core.objects.table
        return [oid for oid, obj in table.items() if obj.kind == m.STORED]

    @rule(who=pick, which=st.lists(pick, min_size=1, max_size=3))
    def drop(self, who: int, which: list[int]) -> None:
        client = self.client(who)
        client.drop(*dict.fromkeys(self.inside(client, which)))

    @rule(who=pick, giver=pick, which=pick)
    def hand_over(self, who: int, giver: int, which: int) -> None:
        """A ref travels by hand from one client to another, which asks for its value."""
        client, held = self.client(who), self.inside(self.client(giver), [which])
        self.client(giver).channels.publish(held)
        for oid in held:
            new = oid not in client.values
            client.adopt(oid)
            if new and not oid.endswith(ACTOR_SUFFIX):
                client.subscribe(oid)

    @rule(who=pick, which=pick, force=st.booleans(), recursive=st.booleans())
    def cancel(self, who: int, which: int, force: bool, recursive: bool) -> None:
        client = self.client(who)
        for oid in self.refs(client, [which]):
            client.cancel(oid, force, recursive)

    @precondition(lambda self: any(c.received for c in self.node.clients.values()))
    @rule(who=pick, which=pick, count=st.integers(0, 9), close=st.integers(0, 3))
    def take_items(self, who: int, which: int, count: int, close: int) -> None:
        """A consumer takes items of a generator, or drops it."""
        client = one([c for c in self.node.clients.values() if c.received], who)
        task = one(client.received, which)
        if close:
            client.consume(task, min(count, client.received[task]))
        else:
            client.close_stream(task)

    @rule(who=pick, which=pick, no_restart=st.booleans())
    def kill(self, who: int, which: int, no_restart: bool) -> None:
        client = self.client(who)
        actors = self.actors(client)
        if actors:
            client.send(m.KillActor(one(actors, which), no_restart))

    @precondition(lambda self: len(self.drivers()) < 3)
    @rule()
    def connect(self) -> None:
        self.node.driver()

    @precondition(lambda self: len(self.drivers()) > 1)
    @rule(who=pick)
    def disconnect(self, who: int) -> None:
        one(self.drivers(), who).disconnect()

    @rule(who=pick)
    def stop_reading(self, who: int) -> None:
        one(self.node.clients.values(), who).deaf = True

    @precondition(lambda self: any(c.deaf for c in self.node.clients.values()))
    @rule(who=pick)
    def read(self, who: int) -> None:
        one([c for c in self.node.clients.values() if c.deaf], who).listen()

    # --- room, and the disk ------------------------------------------------------------------

    @precondition(lambda self: self.node.core.config.spill)
    @rule(who=pick, count=st.integers(2, 6), size=st.sampled_from([200, 400, 900]), look=pick)
    def put_many(self, who: int, count: int, size: int, look: int) -> None:
        """More than fits in all, and they are used afterwards."""
        client = self.client(who)
        try:
            refs = [client.put(size) for _ in range(count)]
        except StoreFull:
            return
        client.submit(task_spec("uses", retries=1), refs[:2])
        if look % 2:
            client.looking.add(one(refs, look))
        if look % 3:
            client.drop(*refs[3:])

    @rule(who=pick, size=st.sampled_from([300, 900, 1500, 5000]))
    def want_room(self, who: int, size: int) -> None:
        self.client(who).want_room(size)

    @precondition(lambda self: self.node.core.room.waiting)
    @rule(which=pick)
    def withdraw(self, which: int) -> None:
        wait = one(self.node.core.room.waiting, which)
        if wait.peer:
            self.node.clients[wait.peer].withdraw(wait.request)

    @precondition(lambda self: self.away())
    @rule(which=pick, waits=st.booleans(), looks=st.booleans())
    def fetch(self, which: int, waits: bool, looks: bool) -> None:
        """A client reads an object that is on disk; or begins to, and may think better of it."""
        client, oid = one(self.away(), which)
        if looks:
            client.looking.add(oid)
        if waits:
            value = client.look(oid)
            client._release([value])
            client._return_segments()
        else:
            request = client.fetch(oid)
            if which % 3 == 0:
                client.withdraw(request)

    def away(self) -> list[tuple[SimulatedClient, bytes]]:
        return [
            (client, oid)
            for client in self.node.clients.values()
            if not client.deaf
            for oid, value in client.values.items()
            if value is not None and value.kind == m.AWAY
        ]

    @precondition(lambda self: self.node.disk.jobs)
    @rule(which=pick, problem=st.sampled_from(["", "", "", "", "disk", "no_room", "lost"]))
    def answer_job(self, which: int, problem: str) -> None:
        job = one(self.node.disk.jobs.values(), which)
        if problem == ("disk" if isinstance(job, fx.Restore) else "no_room"):
            problem = ""
        self.node.disk.answer(job.number, problem)

    @precondition(lambda self: self.node.core.config.spill)
    @rule(full=st.booleans(), which=pick, damage=st.integers(0, 3))
    def disk_trouble(self, full: bool, which: int, damage: int) -> None:
        """The disk is full, or is not any more; something was overwritten or deleted."""
        self.node.disk.full = full
        if self.node.files and not damage:
            self.node.disk.damaged.add(one(sorted(self.node.files), which))

    # --- workers -----------------------------------------------------------------------------

    @precondition(some_run)
    @rule(which=pick, size=sizes, inside=st.lists(pick, max_size=2), quick=st.booleans())
    def finish(self, which: int, size: int, inside: list[int], quick: bool) -> None:
        worker, task = self.running(which)
        worker.finish(
            task,
            sizes=[size, size],
            contained=self.inside(worker, inside, ids.object_id(task, 0)),
            duration=0.0001 if quick else 1.0,
        )

    @rule(who=pick, few=st.booleans(), retries=st.sampled_from([0, 1, -1]))
    def generate(self, who: int, few: bool, retries: int) -> None:
        """A generator that needs no CPU: one of them is likely to run."""
        spec = task_spec(
            "generator", cpus=0, returns=m.STREAMING, retries=retries, backpressure=2 * few
        )
        self.client(who).submit(spec)
        for worker, task in self.generators():
            limited = worker.specs[worker.running[task].spec].backpressure
            worker.yields(*[8, 300][: limited or None], task=task, paused=limited in (1, 2))

    @precondition(lambda self: bool(self.generators()))
    @rule(
        which=pick, some=st.lists(sizes, min_size=1, max_size=3), inside=st.lists(pick, max_size=1)
    )
    def yields(self, which: int, some: list[int], inside: list[int]) -> None:
        worker, task = one(self.generators(), which)
        limited = worker.specs[worker.running[task].spec].backpressure
        worker.yields(
            *some[: limited or None],
            task=task,
            contained=self.inside(worker, inside, ids.object_id(task, 0)),
            paused=bool(limited),
        )

    @precondition(some_run)
    @rule(which=pick, retriable=st.booleans(), kept=st.integers(0, 2), size=sizes)
    def fail(self, which: int, retriable: bool, kept: int, size: int) -> None:
        worker, task = self.running(which)
        worker.finish(task, error="ValueError: no", retriable=retriable, kept=kept, sizes=[size])

    @precondition(some_plain)
    @rule(which=pick)
    def block(self, which: int) -> None:
        one(self.plain(), which).block()

    @precondition(lambda self: any(w.blocked for w in self.node.busy()))
    @rule(which=pick)
    def unblock(self, which: int) -> None:
        one([w for w in self.node.busy() if w.blocked], which).unblock()

    @precondition(some_plain)
    @rule(which=pick)
    def give_back_too_late(self, which: int) -> None:
        """The reading thread takes what is queued while the main thread finishes."""
        worker = one(self.plain(), which)
        taken = worker.take_unstarted()
        worker.finish()
        if worker.peer in self.node.clients and taken:
            worker.send(m.Returned(taken))

    @precondition(some_run)
    @rule(which=pick)
    def exit_actor(self, which: int) -> None:
        worker, _ = self.running(which)
        if worker.actor and len(worker.running) == 1:
            worker.exit_actor()

    @rule(
        used=st.sampled_from([0, 500, 950, 1500]), store=st.integers(0, 300),
        each=st.lists(st.sampled_from([0, 1, 30, 300, 800]), max_size=12),
    )  # fmt: skip
    def memory(self, used: int, each: list[int], store: int) -> None:
        self.node.memory(used, *each, store=store)

    @rule(low=st.booleans())
    def killed_by_the_system(self, low: bool) -> None:
        """What is killed from now on may be; or not any more."""
        self.node.low = "memory was almost full" if low else ""

    @precondition(lambda self: self.node.workers)
    @rule(which=pick, at_once=st.booleans(), watched=st.booleans())
    def crash(self, which: int, at_once: bool, watched: bool) -> None:
        """A process ends; its connection is seen to end first."""
        worker = one(self.node.workers.values(), which)
        worker.watched = watched
        if at_once:
            worker.crash("killed by SIGKILL" if self.node.low else "exit code 1")
        else:
            worker.disconnect()
            self.node.dying[worker.number] = "killed by SIGSEGV"

    @precondition(lambda self: self.node.dying)
    @rule(which=pick)
    def reap(self, which: int) -> None:
        self.node.reap(one(self.node.dying, which))

    @precondition(lambda self: self.node.spawning)
    @rule(ok=st.integers(0, 5))
    def answer_spawn(self, ok: int) -> None:
        self.node.answer_spawn(ok=ok > 0)

    @precondition(lambda self: self.node.preparing)
    @rule(ok=st.booleans())
    def answer_preparation(self, ok: bool) -> None:
        self.node.answer_preparation(problem="" if ok else "exit code 1")

    @rule(who=pick, key=st.sampled_from(["pip a", "pip c"]))
    def prepare_ahead(self, who: int, key: str) -> None:
        self.client(who).environment(key, eager=True)

    @rule(key=st.sampled_from(["vars", "pip a"]))
    def break_or_mend(self, key: str) -> None:
        """Workers that come from now on cannot enter it; or can again."""
        self.node.broken ^= {key}

    @rule(
        who=pick,
        name=st.sampled_from(["a", "b"]),
        kind=st.sampled_from([m.COUNTER, m.GAUGE, m.HISTOGRAM]),
        tag=st.sampled_from(["x", "y"]),
    )
    def measures(self, who: int, name: str, kind: int, tag: str) -> None:
        bounds, counts = ([1.0, 2.0], [0, 1, 2]) if kind == m.HISTOGRAM else ([], [])
        change = m.MetricChange(name, kind, "", {"tag": tag}, 1.0, bounds, counts)
        self.client(who).send(m.Metrics([change]))

    @rule(seconds=st.sampled_from([0.001, 0.1, 1.0, 30.0, 90.0]))
    def tick(self, seconds: float) -> None:
        self.node.advance(seconds)

    @rule(seconds=st.sampled_from([-3600.0, 7200.0]))
    def sleep(self, seconds: float) -> None:
        self.node.sleep(seconds)

    # --- the end -----------------------------------------------------------------------------

    def teardown(self) -> None:
        if hasattr(self, "node"):
            try:
                finish_everything(self.node)
                everybody_leaves(self.node)
            finally:
                self.patch.stop()


# A few histories with a check after each step; `tests/core/test_histories.py` has the many.
# `node.journal` of a failed run repeats it.
HISTORIES = 50
SEEDS = range(1)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", SEEDS)
def test_random_histories(number: int) -> None:
    """Always the same ones for a number; other numbers are other histories."""

    @seed(number)
    class Seeded(CoreMachine):
        pass

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Seeded,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=50,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # without shrinking, which takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
