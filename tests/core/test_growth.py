"""The node's memory stays bounded, whatever runs through it and whatever it is called."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Sized
from typing import Any

import pytest

from fanlight import messages as m
from fanlight.client.definitions import IDLE, Definitions
from fanlight.core import definitions
from fanlight.core.invariants import validate
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.simulation import SimulatedNode

# Rounds of each half, of about three tasks each. With FANLIGHT_GROWTH_ROUNDS=50000 it is 300,000
# tasks, and the limits are those of production; that takes minutes.
ROUNDS = int(os.environ.get("FANLIGHT_GROWTH_ROUNDS", "0"))
CORE = (tracemalloc.Filter(True, "*/fanlight/core/*"),)


def sizes(thing: Any, seen: set[int], path: str = "core", depth: int = 0) -> dict[str, int]:
    """The lengths of all containers of the core and of its parts, by name."""
    found: dict[str, int] = {}
    names = getattr(thing, "__dict__", {})
    for name, value in names.items():
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Sized) and not isinstance(value, str | bytes):
            found[f"{path}.{name}"] = len(value)
        elif depth < 2 and type(value).__module__.startswith("fanlight.core"):
            found |= sizes(value, seen, f"{path}.{name}", depth + 1)
    return found


class Life:
    """A driver that does everything again and again, always under new names."""

    def __init__(self) -> None:
        self.node = SimulatedNode(2, check=lambda core: None)
        self.core = self.node.core
        if not ROUNDS:
            self.core.timeline.limit = 500
        self.count = 0
        self.other = self.node.driver()  # so that the first is not the last one to leave
        self.new_driver()

    def new_driver(self) -> None:
        self.driver = self.node.driver()
        self.definitions = Definitions(lambda messages: self.driver.send(*messages))
        self.driver.spec = self.spec  # type: ignore[method-assign]

    def spec(self, spec: m.TaskSpec) -> int:
        self.use = self.definitions.define(spec, b"code")
        return self.use.number

    def live(self, rounds: int) -> None:
        for _ in range(rounds):
            self.step()
            self.node.journal.clear()
            self.node.effects.clear()
            self.node.born.clear()

    def step(self) -> None:
        node, driver = self.node, self.driver
        self.count += 1
        n = self.count
        spec = task_spec(f"f{n}", retries=1, retry_exceptions=True, origin=f"cell {n // 10}")
        spec.function = str(n // 3).encode()  # functions are shared by a few
        held = driver.put(n % 200)
        first = driver.submit(spec, pins=[held])
        second = driver.submit(task_spec(f"g{n}"), deps=first)
        driver.send(m.CallSite([*first], f"place {n}"))
        worker = node.busy()[0]
        match n % 40:
            case 1:
                worker.crash(f"killed by {n}", log="x" * 500)
            case 2:
                driver.cancel(first[0])
            case 3:
                worker.finish(error=f"ValueError: {n}", retriable=True)
            case 4:
                driver.drop(*first)
                first = []
                worker.finish(error="x" * 5_000)
        node.settle()
        if n % 5 == 0:
            actor = driver.create_actor(actor_spec(f"A{n}"), name=f"name {n}", namespace="here")
            calls = [driver.submit(method_spec(f"A{n}.m"), actor=actor)[0] for _ in range(3)]
            node.settle()
            driver.drop(*calls)
            driver.send(m.KillActor(actor))
            node.settle()
            driver.values.pop(actor.ljust(28, b"\0"), None)
            driver.send(m.DropRefs([actor.ljust(28, b"\0")]))
        driver.drop(*first, *second, held)
        del self.use
        self.definitions.settle()
        if n % 50 == 0:
            driver.submit(task_spec(f"never {n}", never=1))
            driver.disconnect()
            self.new_driver()
        if n % 20 == 0:
            node.advance(3.0)
        driver.notices.clear()
        self.other.notices.clear()


@pytest.mark.timeout(3600)
def test_nothing_grows(monkeypatch):
    if not ROUNDS:  # small limits, reached soon
        for name, value in {
            "definitions.GROUPS_KEPT": 300,
            "definitions._FOLDED": 60,
            "definitions.EDGES_KEPT": 500,
            "machine.DEAD_KEPT": 20,
            "machine.RECENT_KEPT": 100,
            "machine.ERRORS_KEPT": 20,
            "history._ATTEMPTS_KEPT": 20,
            "history._ENDED_KEPT": 20,
        }.items():
            monkeypatch.setattr(f"fanlight.core.{name}", value)
    rounds = ROUNDS or 1_200
    life = Life()
    core = life.core
    tracemalloc.start()
    try:
        life.live(rounds)
        gc.collect()
        before = tracemalloc.take_snapshot().filter_traces(CORE)
        tables = sizes(core, set())
        life.live(rounds)
        gc.collect()
        after = tracemalloc.take_snapshot().filter_traces(CORE)
    finally:
        tracemalloc.stop()
    grown = {
        name: (tables.get(name, 0), size)
        for name, size in sizes(core, set()).items()
        if size > tables.get(name, 0) * 1.1 + 60
    }
    assert not grown, "tables that grew in the second half"
    total = [sum(t.size for t in s.traces) for s in (before, after)]
    growth = after.compare_to(before, "lineno")[:8]
    assert total[1] < total[0] * 1.05 + 100_000, "\n".join(str(g) for g in growth)
    assert len(core.groups) <= definitions.GROUPS_KEPT + 100
    assert len(core.edges) <= definitions.EDGES_KEPT
    counted = sum(sum(group.counts) for group in core.groups.values())
    actors = life.count // 5
    assert counted >= 2 * life.count + 4 * actors, "what was folded is still counted"
    validate(core)


# --- definitions ---------------------------------------------------------------------------------


def test_a_spec_is_defined_once_and_forgotten_when_idle_for_long():
    sent: list[Any] = []
    home = Definitions(sent.extend)
    first = home.define(task_spec("f"), b"code")
    again = home.define(task_spec("f"), b"code")
    assert first.number == again.number
    assert [type(x) for x in sent] == [m.DefineFunction, m.DefineSpec]
    del first, again
    home.settle()
    number = home.define(task_spec("f"), b"code").number
    assert number == 1 and len(sent) == 2, "kept for a while"
    sent.clear()
    for i in range(2 * IDLE + 1):
        home.define(task_spec(f"g{i}"), b"code")
        home.settle()
    (forget,) = [x for x in sent if isinstance(x, m.Forget)]
    assert number in forget.specs and len(forget.specs) == IDLE
    assert forget.functions == [
        spec.encode() for spec in ["f", *(f"g{i}" for i in range(IDLE - 1))]
    ]
    sent.clear()
    assert home.define(task_spec("f"), b"code").number > number
    assert [type(x) for x in sent] == [m.DefineFunction, m.DefineSpec]


def test_a_function_lives_as_long_as_one_of_its_specs():
    sent: list[Any] = []
    home = Definitions(sent.extend)
    keep = home.define(task_spec("f", cpus=2), b"code")
    for i in range(3 * IDLE):
        spec = task_spec("f")
        spec.name = f"name {i}"
        home.define(spec, b"code")
        home.settle()
    forgets = [x for x in sent if isinstance(x, m.Forget)]
    assert forgets and not any(f.functions for f in forgets)
    assert sum(isinstance(x, m.DefineFunction) for x in sent) == 1 and keep.number


def test_what_tasks_and_actors_use_is_not_forgotten(monkeypatch):
    monkeypatch.setattr(definitions, "_LOOSE", 0)
    node = SimulatedNode(cpus=1)
    driver, other = node.driver(), node.driver()
    driver.submit(task_spec("runs"))
    driver.submit(task_spec("waits"))
    driver.create_actor(actor_spec("Actor"), max_restarts=1)
    other.submit(task_spec("shared"))
    driver.submit(task_spec("shared"))
    driver.submit(task_spec("done"))
    keys = [b"runs", b"waits", b"Actor", b"shared", b"done"]
    assert set(node.core.functions) == set(keys)
    driver.send(m.Forget([1, 2, 3, 4, 5, 99], [*keys, b"none"]))
    assert set(node.core.functions) == set(keys), "all of it is still to run"
    node.settle()
    driver.send(m.Forget([6], [b"more"]))
    node.advance(1)
    assert set(node.core.functions) == {b"Actor", b"shared"}
    worker = next(w for w in node.workers.values() if not w.actor)
    assert b"runs" not in worker.functions, "workers forget, too"
    driver.spec(task_spec("runs"))
    driver._specs.clear()
    driver.submit(task_spec("runs"))
    node.settle()
    validate(node.core)


def test_folded_groups_are_still_counted_and_observers_start_anew(monkeypatch):
    monkeypatch.setattr(definitions, "GROUPS_KEPT", 10)
    monkeypatch.setattr(definitions, "_FOLDED", 5)
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    node.core.watched = True
    previous = []
    for i in range(30):
        ref = driver.submit(task_spec(f"f{i}"), deps=previous)
        node.settle()
        driver.drop(*previous)
        previous = ref
        driver.send(m.Forget([i + 1], []))
    core = node.core
    assert core.regrouped and len(core.groups) <= 12
    assert sum(g.counts[4] for g in core.groups.values()) == 30
    others = next(g for g in core.groups.values() if g.name == definitions.OTHERS)
    assert others.counts[4] >= 15
    numbers = core.groups.keys()
    assert all(a in numbers and b in numbers for a, b, _ in core.edges)
    assert core.changed_groups <= numbers and sum(core.edges.values()) == 29
    rows = driver.query("state_summary", kind="tasks")["summary"]
    assert sum(row["state_counts"]["FINISHED"] for row in rows.values()) == 30
    validate(core)


def test_a_process_that_ends_forgets_nothing(monkeypatch):
    """Calls of an actor that died may still be queued in its process."""
    monkeypatch.setattr(definitions, "_LOOSE", 0)
    node = SimulatedNode(1, prompt=False)
    node.answer_spawn()
    driver = node.driver()
    actor = driver.create_actor(actor_spec())
    driver.submit(method_spec(), actor=actor)
    [worker] = node.busy()
    worker.finish()
    worker.deaf = True
    driver.disconnect()  # forgets; the process is killed, which it has not noticed yet
    assert node.dying
    worker.listen()
    assert worker.running
    node.settle()


def test_an_actors_process_forgets_methods_too(monkeypatch):
    """It may live for months, and be called under ever new names."""
    monkeypatch.setattr(definitions, "_LOOSE", 10)
    node = SimulatedNode(cpus=1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec("Actor"))
    node.settle()
    (worker,) = [w for w in node.core.workers.values() if w.actor is not None]
    process = node.workers[worker.peer]
    for i in range(100):
        (ref,) = driver.submit(method_spec(f"Actor.m{i}"), actor=actor)
        waits = driver.submit(method_spec(f"Actor.waits{i}"), actor=actor)  # its spec stays
        driver.send(m.Forget([*driver._specs.values()], []))
        driver._specs.clear()
        node.settle()
        assert all(driver.values[one].kind == m.INLINE for one in (ref, *waits))
        driver.drop(ref, *waits)
    assert len(worker.specs) < 40 and len(process.specs) < 40
    validate(node.core)
